/* What the benchmarks of the api share.       layer: api; uses: gpu */
#ifndef IJ_API_BENCH_H
#define IJ_API_BENCH_H

#include "api/api.h"

/* A benchmark while it runs: what was asked for, and what it has seen. */
typedef struct api_bench {
    const ijepa_bench_options *options;
    gpu_device *device;
    int runs;
    ijepa_bench_summary *summary;
    int rows, wrong;
    ij_error first_wrong;
} api_bench;

ij_status api_bench_matmul(api_bench *bench, ij_error *err);
ij_status api_bench_attention(api_bench *bench, ij_error *err);

/* Measures memory's roof, and with a square product that of each element that is wanted: bit (1 << gpu_element). */
ij_status api_bench_roof(api_bench *bench, unsigned elements, ij_error *err);

/* Raises the roof of an element to a rate that was seen. */
void api_bench_raise(ijepa_bench_roof *roof, gpu_element element, double gflops_per_second);

/* "f32", "f16", "bf16" for a tensor's element. */
const char *api_element_name(gpu_element element);

#endif
