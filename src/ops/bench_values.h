/* Operands of the benchmarks: seeded numbers that 16 bits hold exactly, made by all processors.       layer: ops; uses: base, gpu */
#ifndef IJ_OPS_BENCH_VALUES_H
#define IJ_OPS_BENCH_VALUES_H

#include "base/error.h"
#include "gpu/gpu.h"

#include <stdint.h>

/* A matrix [rows, columns] on the host, laid out as the device has it: rows padded with zeros (gpu_row). */
typedef struct bench_matrix {
    gpu_element element;
    int64_t rows, columns, row; /* row: elements from one to the next */
    uint64_t bytes;
    void *data; /* float, or uint16_t */
} bench_matrix;

/* Fills a new matrix with numbers uniform in [-scale, scale], scale a power of two: multiples of scale / 1024 in f16, of scale / 128
 * in bf16, of scale / 2^23 in f32. Free with bench_matrix_free, also after a failure. */
ij_status bench_matrix_make(gpu_element element, int64_t rows, int64_t columns, uint32_t stream, float scale, const char *what,
                            bench_matrix *out, ij_error *err);
void bench_matrix_free(bench_matrix *matrix);

double bench_matrix_at(const bench_matrix *matrix, int64_t row, int64_t column);

/* One element of a row as the device stores it. */
double bench_element(gpu_element element, const void *row, int64_t column);

/* Bytes of an element. */
static inline uint64_t bench_width(gpu_element element) { return element == GPU_WORD ? 4 : 2; }

/* The middle one of count numbers, which are sorted. */
double bench_median(double *values, int count);

#endif
