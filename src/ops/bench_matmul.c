/* layer: ops; uses: base, gpu
 *
 * Tolerance. Operands are uniform in [-1, 1] and exact, so a product of two has variance 1/9 and partial sums of k of them have size
 * sqrt(k) / 3. op_tolerance(k) bounds the rounding of f32 sums in any order, relative to that size and to the element. Matrix units may
 * cut off instead of rounding: an error of a whole unit in the last place, 2^-23, always to the same side, once for every group of at
 * least four products that they add at once; for 16-bit operands k / 4 of those are allowed on top. Storing c in 16 bits adds half a unit
 * of its own. A product left out moves an element by 1/4 on average, thousands of times the f32 tolerance of k = 1024. */
#include "ops/bench_matmul.h"
#include "base/file.h"
#include "base/memory.h"
#include "ops/matmul_rungs.h"
#include "philox.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLES 64 /* rows, and columns of each */
#define ELEMENTS_MAX ((int64_t)1 << 31)
#define FLOPS_PER_RUN 20e9 /* on a GPU: shorter products are repeated within a run, so that what surrounds them does not count */
#define REPEATS_MAX 32

typedef struct product {
    const matmul_bench_desc *desc;
    gpu_device *device;
    bench_matrix a, b; /* a [m, k] or [k, m], b [n, k] or [k, n] by form */
    gpu_element result;
    int repeats;
    gpu_arena *arena;
    gpu_tensor da, db, dc, scratch; /* dc [m, n] */
    gpu_program *programs[OP_MATMUL_KERNEL_COUNT];
    int64_t at_rows[SAMPLES], at_columns[SAMPLES];
    double *rows_a, *columns_b; /* [SAMPLES, k] of a and b^T */
    void *row;                  /* one of c */
    double *times;              /* [KERNEL_COUNT + 1, runs] */
} product;

const char *matmul_kernel_name(op_matmul_kernel kernel) {
    static const char *const names[OP_MATMUL_KERNEL_COUNT] = {"auto", "lane", "vector", "tile", "coopmat", "coopmat2"};
    return names[kernel];
}

bool matmul_bench_supports(const gpu_device *device, op_matmul_kernel kernel, gpu_element element) {
    if (kernel == OP_MATMUL_AUTO) return true;
    if (kernel == OP_MATMUL_LANE && gpu_device_info(device)->kind != GPU_KIND_CPU) return false;
    return matmul_rung_runs(device, kernel, element);
}

static void product_free(product *p) {
    for (int i = 0; i < OP_MATMUL_KERNEL_COUNT; i++) gpu_program_destroy(p->programs[i]);
    gpu_arena_destroy(p->arena);
    bench_matrix_free(&p->a), bench_matrix_free(&p->b);
    free(p->rows_a), free(p->columns_b), free(p->row), free(p->times);
}

/* ---- operands and what they should give ---- */

static void sample_places(product *p) {
    const matmul_bench_desc *d = p->desc;
    for (uint32_t s = 0; s < SAMPLES; s++) {
        philox_words w = philox(7, 0, s, 0, 0, PHILOX_STREAM_TEST);
        p->at_rows[s] = s == 0 ? 0 : s == 1 ? d->m - 1 : (int64_t)(w.x % (uint64_t)d->m);
        p->at_columns[s] = s == 0 ? 0 : s == 1 ? d->n - 1 : (int64_t)(w.y % (uint64_t)d->n);
    }
}

static ij_status make_operands(product *p, ij_error *err) {
    const matmul_bench_desc *d = p->desc;
    bool nt = d->form == OP_MATMUL_NT, tn = d->form == OP_MATMUL_TN;
    IJ_TRY(bench_matrix_make(d->element, tn ? d->k : d->m, tn ? d->m : d->k, 1, 1, "matrix a", &p->a, err));
    IJ_TRY(bench_matrix_make(d->element, nt ? d->n : d->k, nt ? d->k : d->n, 2, 1, "matrix b", &p->b, err));
    IJ_TRY(ij_alloc(&p->rows_a, SAMPLES * d->k, sizeof *p->rows_a, "sampled rows", err));
    IJ_TRY(ij_alloc(&p->columns_b, SAMPLES * d->k, sizeof *p->columns_b, "sampled columns", err));
    IJ_TRY(ij_alloc(&p->row, d->n + 8, 4, "a row", err));
    IJ_TRY(ij_alloc(&p->times, (OP_MATMUL_KERNEL_COUNT + 1) * (int64_t)d->runs, sizeof *p->times, "times", err));
    sample_places(p);
    for (int64_t l = 0; l < d->k; l++)
        for (int s = 0; s < SAMPLES; s++) {
            int64_t i = p->at_rows[s], j = p->at_columns[s];
            p->rows_a[s * d->k + l] = tn ? bench_matrix_at(&p->a, l, i) : bench_matrix_at(&p->a, i, l);
            p->columns_b[s * d->k + l] = nt ? bench_matrix_at(&p->b, j, l) : bench_matrix_at(&p->b, l, j);
        }
    return IJ_OK;
}

/* Compares the sampled elements of row at_rows[s], which is in p->row. */
static ij_status verify_row(const product *p, int s, const char *whose, ij_error *err) {
    const matmul_bench_desc *d = p->desc;
    double size = sqrt((double)d->k) / 3, tolerance = op_tolerance(d->k) + (d->element == GPU_WORD ? 0 : (double)d->k / 4 * 0x1p-23);
    double rounding = p->result == GPU_WORD ? 0 : op_rounding(op_dtype_of(p->result));
    for (int t = 0; t < SAMPLES; t++) {
        double sum = 0, got = bench_element(p->result, p->row, p->at_columns[t]);
        for (int64_t l = 0; l < d->k; l++) sum += p->rows_a[s * d->k + l] * p->columns_b[t * d->k + l];
        if (!(fabs(got - sum) <= tolerance * (fabs(sum) + size) + rounding * fabs(got)))
            return ij_fail(err, IJ_ERROR_MISMATCH, "%s: m %lld, n %lld, k %lld: element (%lld, %lld) is %.9g, it should be %.9g", whose,
                           (long long)d->m, (long long)d->n, (long long)d->k, (long long)p->at_rows[s], (long long)p->at_columns[t], got,
                           sum);
    }
    return IJ_OK;
}

/* ---- our kernels ---- */

static op_matmul_desc describe(const product *p, op_matmul_kernel kernel) {
    const matmul_bench_desc *d = p->desc;
    op_matmul_desc desc = {.form = d->form,
                           .m = (uint32_t)d->m,
                           .n = (uint32_t)d->n,
                           .k = (uint32_t)d->k,
                           .a = p->da,
                           .b = p->db,
                           .c = p->dc,
                           .scratch = p->scratch,
                           .kernel = kernel};
    desc.rows.max = d->form == OP_MATMUL_TN ? desc.k : desc.m;
    return desc;
}

static ij_status reserve(product *p, ij_error *err) {
    const matmul_bench_desc *d = p->desc;
    uint64_t scratch = 0;
    IJ_TRY(gpu_arena_create(p->device, "matrices", GPU_MEMORY_DEVICE, &p->arena, err));
    IJ_TRY(gpu_reserve_matrix(p->arena, d->element, (uint64_t)p->a.rows, (uint64_t)p->a.columns, "a", &p->da, err));
    IJ_TRY(gpu_reserve_matrix(p->arena, d->element, (uint64_t)p->b.rows, (uint64_t)p->b.columns, "b", &p->db, err));
    IJ_TRY(gpu_reserve_matrix(p->arena, p->result, (uint64_t)d->m, (uint64_t)d->n, "c", &p->dc, err));
    for (int i = 0; i < OP_MATMUL_KERNEL_COUNT; i++) {
        op_matmul_desc desc = describe(p, (op_matmul_kernel)i);
        uint64_t bytes = d->kernels[i] ? op_matmul_scratch(p->device, &desc) : 0;
        if (bytes > scratch) scratch = bytes;
    }
    if (scratch) IJ_TRY(gpu_reserve(p->arena, scratch, "scratch", &p->scratch, err));
    IJ_TRY(gpu_arena_commit(p->arena, err));
    IJ_TRY(gpu_write(p->device, p->da, 0, p->a.data, p->a.bytes, err));
    return gpu_write(p->device, p->db, 0, p->b.data, p->b.bytes, err);
}

static ij_status record(product *p, op_matmul_kernel kernel, ij_error *err) {
    op_matmul_desc desc = describe(p, kernel);
    IJ_TRY(gpu_program_create(p->device, matmul_kernel_name(kernel), true, &p->programs[kernel], err));
    for (int i = 0; i < p->repeats; i++) IJ_TRY(op_matmul(p->programs[kernel], &desc, err));
    return gpu_program_finish(p->programs[kernel], err);
}

static ij_status poison(product *p, ij_error *err) {
    gpu_program *program;
    IJ_TRY(gpu_program_create(p->device, "poison", false, &program, err));
    ij_status status = gpu_fill(program, p->dc, 0x7fff7fffu, err);
    if (status == IJ_OK) status = gpu_program_finish(program, err);
    if (status == IJ_OK) status = gpu_run(program, err);
    gpu_program_destroy(program);
    return status;
}

static ij_status verify_device(product *p, op_matmul_kernel kernel, ij_error *err) {
    uint64_t bytes = gpu_matrix_bytes(p->result, 1, (uint64_t)p->desc->n);
    char whose[300];
    snprintf(whose, sizeof whose, "%.200s, kernel %s", gpu_device_info(p->device)->name, matmul_kernel_name(kernel));
    for (int s = 0; s < SAMPLES; s++) {
        IJ_TRY(gpu_read(p->device, p->dc, (uint64_t)p->at_rows[s] * bytes, p->row, bytes, err));
        IJ_TRY(verify_row(p, s, whose, err));
    }
    return IJ_OK;
}

/* Records, runs and verifies a kernel. What is its own fault goes into *time; the rest is returned. */
static ij_status prepare_kernel(product *p, op_matmul_kernel kernel, matmul_bench_time *time, ij_error *err) {
    const gpu_op_time *ops;
    int count;
    ij_error own = {0};
    time->status = record(p, kernel, &own);
    if (time->status == IJ_OK) {
        IJ_TRY(poison(p, err));
        IJ_TRY(gpu_run(p->programs[kernel], err));
        time->status = verify_device(p, kernel, &own);
    }
    if (time->status == IJ_OK && gpu_program_times(p->programs[kernel], &ops, &count, NULL) == IJ_OK && count)
        snprintf(time->detail, sizeof time->detail, "%s", ops[0].detail);
    if (time->status == IJ_OK) return IJ_OK;
    snprintf(time->note, sizeof time->note, "%.239s", own.text);
    gpu_program_destroy(p->programs[kernel]);
    p->programs[kernel] = NULL;
    if (time->status == IJ_ERROR_MISMATCH || time->status == IJ_ERROR_ARGUMENT || time->status == IJ_ERROR_DEVICE) return IJ_OK;
    if (err) *err = own;
    return time->status;
}

static ij_status time_kernel(product *p, gpu_program *program, double *seconds, ij_error *err) {
    const gpu_op_time *rows;
    int count;
    double begin = ij_seconds();
    IJ_TRY(gpu_run(program, err));
    *seconds = (ij_seconds() - begin) / p->repeats;
    if (gpu_program_times(program, &rows, &count, NULL) != IJ_OK) return IJ_OK;
    *seconds = 0;
    for (int i = 0; i < count; i++) *seconds += rows[i].seconds / p->repeats;
    return IJ_OK;
}

/* ---- the other library ---- */

static ij_status prepare_library(product *p, ij_error *err) {
    const matmul_bench_desc *d = p->desc;
    baseline *library = d->library;
    double seconds;
    IJ_TRY(library->load(library, &(baseline_product){d->form, d->m, d->n, d->k, &p->a, &p->b, p->result}, err));
    IJ_TRY(library->run(library, 1, &seconds, err)); /* it starts its threads, chooses its kernel */
    for (int s = 0; s < SAMPLES; s++) {
        IJ_TRY(library->read_row(library, p->at_rows[s], p->row, err));
        IJ_TRY(verify_row(p, s, library->name, err));
    }
    return IJ_OK;
}

/* ---- all ---- */

/* Run by run in turn, ours and the library's. But on a CPU both have threads that go on spinning for work when a product is done, and
 * in turn they take each other's cores (768^3 on two cores: 5 ms alone, 32 in turn): there one after the other. */
static ij_status time_all(product *p, bool library, matmul_bench_result *out, ij_error *err) {
    const matmul_bench_desc *d = p->desc;
    bool in_turn = gpu_device_info(p->device)->kind != GPU_KIND_CPU;
    double ignored, *const library_times = p->times + OP_MATMUL_KERNEL_COUNT * d->runs;
    for (int r = -1; r < d->runs; r++) { /* one more to warm up */
        for (int i = 0; i < OP_MATMUL_KERNEL_COUNT; i++)
            if (p->programs[i]) IJ_TRY(time_kernel(p, p->programs[i], r < 0 ? &ignored : &p->times[i * d->runs + r], err));
        if (library && in_turn) IJ_TRY(d->library->run(d->library, p->repeats, r < 0 ? &ignored : &library_times[r], err));
    }
    for (int r = -1; r < d->runs && library && !in_turn; r++)
        IJ_TRY(d->library->run(d->library, p->repeats, r < 0 ? &ignored : &library_times[r], err));
    for (int i = 0; i < OP_MATMUL_KERNEL_COUNT; i++)
        if (p->programs[i]) out->kernels[i].seconds = bench_median(p->times + i * d->runs, d->runs);
    if (library) out->library.seconds = bench_median(library_times, d->runs);
    return IJ_OK;
}

static ij_status measure(product *p, matmul_bench_result *out, ij_error *err) {
    const matmul_bench_desc *d = p->desc;
    bool library = d->library && d->library->takes(d->element);
    int timed = 0;
    IJ_TRY(make_operands(p, err));
    IJ_TRY(reserve(p, err));
    for (int i = 0; i < OP_MATMUL_KERNEL_COUNT; i++) {
        if (!d->kernels[i]) continue;
        IJ_TRY(prepare_kernel(p, (op_matmul_kernel)i, &out->kernels[i], err));
        timed += out->kernels[i].status == IJ_OK;
    }
    if (!timed) return IJ_OK;
    if (library) {
        ij_error own = {0};
        out->library.status = prepare_library(p, &own);
        snprintf(out->library.note, sizeof out->library.note, "%.239s", own.text);
    }
    return time_all(p, library && out->library.status == IJ_OK, out, err);
}

ij_status matmul_bench(gpu_device *device, const matmul_bench_desc *desc, matmul_bench_result *out, ij_error *err) {
    int64_t m = desc->m, n = desc->n, k = desc->k, side = ELEMENTS_MAX;
    memset(out, 0, sizeof *out);
    if (m < 1 || n < 1 || k < 1 || m > side || n > side || k > side || m * k > side || n * k > side || m * n > side)
        return ij_fail(err, IJ_ERROR_ARGUMENT,
                       "matmul: m %lld, n %lld, k %lld: all must be positive and no matrix larger than 2^31 elements", (long long)m,
                       (long long)n, (long long)k);
    if (desc->runs < 1) return ij_fail(err, IJ_ERROR_ARGUMENT, "matmul: %d runs; at least 1 is needed", desc->runs);
    double repeats = FLOPS_PER_RUN / (2.0 * (double)m * (double)n * (double)k);
    product p = {.desc = desc,
                 .device = device,
                 .result = desc->form == OP_MATMUL_TN ? GPU_WORD : desc->element,
                 .repeats = gpu_device_info(device)->kind == GPU_KIND_CPU || repeats < 1 ? 1
                            : repeats > REPEATS_MAX                                      ? REPEATS_MAX
                                                                                         : (int)repeats};
    ij_status status = measure(&p, out, err);
    if (desc->library) desc->library->unload(desc->library);
    product_free(&p);
    return status;
}
