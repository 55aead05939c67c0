/* Times one matrix product, beside OpenBLAS where it is installed.       layer: ops; uses: base, gpu */
#ifndef IJ_OPS_BENCH_MATMUL_H
#define IJ_OPS_BENCH_MATMUL_H

#include "ops/matmul.h"

#include <stdbool.h>

typedef struct matmul_bench_desc {
    op_matmul_form form;
    int64_t m, n, k;
    int runs;
    bool openblas; /* time cblas_sgemm too; it is an error when the library is not there */
} matmul_bench_desc;

typedef struct matmul_bench_result {
    double seconds;          /* median, on the device (the host's clock where there are no timestamps) */
    double openblas_seconds; /* median; 0: not asked for */
    bool verified;           /* 4096 sampled elements agree with sums in double */
} matmul_bench_result;

/* Result and OpenBLAS's are verified before they are timed; a wrong one is IJ_ERROR_MISMATCH with the element. */
ij_status matmul_bench(gpu_device *device, const matmul_bench_desc *desc, matmul_bench_result *out, ij_error *err);

#endif
