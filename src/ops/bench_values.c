/* layer: ops; uses: base, gpu */
#include "ops/bench_values.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "ops/op.h"

#include <stdlib.h>

#define F16_STEPS 1024 /* of [0, scale] that 11 significant bits hold */
#define BF16_STEPS 128 /* 8 bits */

typedef struct filling {
    const bench_matrix *matrix;
    const uint16_t *table; /* [2 steps + 1] the numbers of a 16-bit element */
    uint32_t stream, steps;
    float scale;
} filling;

/* 32 well-mixed bits of a counter (the finaliser of MurmurHash3 over both words). */
static uint32_t mixed(uint32_t stream, uint64_t i) {
    uint64_t h = i + 0x9e3779b97f4a7c15u * (stream + 1u);
    h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
    return (uint32_t)(h >> 32);
}

static void fill_rows(void *user, int64_t begin, int64_t end, int64_t piece) {
    const filling *f = user;
    const bench_matrix *m = f->matrix;
    (void)piece;
    for (int64_t r = begin; r < end; r++)
        for (int64_t c = 0; c < m->columns; c++) {
            uint32_t bits = mixed(f->stream, (uint64_t)r * (uint64_t)m->columns + (uint64_t)c);
            if (m->element == GPU_WORD)
                ((float *)m->data)[r * m->row + c] = f->scale * ((float)(bits >> 8) - 0x1p23f) * 0x1p-23f;
            else
                ((uint16_t *)m->data)[r * m->row + c] = f->table[(uint64_t)bits * (2 * f->steps + 1) >> 32];
        }
}

ij_status bench_matrix_make(gpu_element element, int64_t rows, int64_t columns, uint32_t stream, float scale, const char *what,
                            bench_matrix *out, ij_error *err) {
    uint16_t table[2 * F16_STEPS + 1];
    uint32_t steps = element == GPU_BF16 ? BF16_STEPS : F16_STEPS;
    *out = (bench_matrix){.element = element,
                          .rows = rows,
                          .columns = columns,
                          .row = (int64_t)gpu_row(element, (uint64_t)columns),
                          .bytes = gpu_matrix_bytes(element, (uint64_t)rows, (uint64_t)columns)};
    IJ_TRY(ij_alloc(&out->data, rows * out->row, bench_width(element), what, err));
    for (uint32_t i = 0; element != GPU_WORD && i <= 2 * steps; i++)
        table[i] = op_encode(op_dtype_of(element), (double)scale * ((double)i - steps) / steps);
    filling f = {out, table, stream, steps, scale};
    ij_parallel(0, rows, rows / 64 + 1, fill_rows, &f);
    return IJ_OK;
}

void bench_matrix_free(bench_matrix *matrix) {
    free(matrix->data);
    matrix->data = NULL;
}

double bench_element(gpu_element element, const void *row, int64_t column) {
    return element == GPU_WORD ? (double)((const float *)row)[column] : op_decode(op_dtype_of(element), ((const uint16_t *)row)[column]);
}

double bench_matrix_at(const bench_matrix *m, int64_t row, int64_t column) {
    return bench_element(m->element, (const char *)m->data + bench_width(m->element) * (uint64_t)(row * m->row), column);
}

static int by_size(const void *x, const void *y) {
    return (*(const double *)x > *(const double *)y) - (*(const double *)x < *(const double *)y);
}

double bench_median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, by_size);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}
