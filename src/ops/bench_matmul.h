/* Times one matrix product by several of our kernels and by another library, on the same operands, turn by turn.
 * layer: ops; uses: base, gpu */
#ifndef IJ_OPS_BENCH_MATMUL_H
#define IJ_OPS_BENCH_MATMUL_H

#include "ops/baseline.h"
#include "ops/matmul.h"

#include <stdbool.h>

typedef struct matmul_bench_desc {
    op_matmul_form form;
    int64_t m, n, k;
    gpu_element element; /* of a and b; c is f32 in TN (gradients are), else the same */
    const bool *kernels; /* [OP_MATMUL_KERNEL_COUNT] which to time */
    baseline *library;   /* time it too, where it takes the element [NULL] */
    int runs;            /* of each, taken in turn */
} matmul_bench_desc;

typedef struct matmul_bench_time {
    double seconds;   /* median of a product, on the device (the host's clock where there are no timestamps); 0: not timed */
    ij_status status; /* why it was not: IJ_ERROR_MISMATCH for a wrong result, else what recording said */
    char note[240];   /* its text */
    char detail[96];  /* what the kernel said of itself */
} matmul_bench_time;

typedef struct matmul_bench_result {
    matmul_bench_time kernels[OP_MATMUL_KERNEL_COUNT], library;
} matmul_bench_result;

/* A kernel or a library that cannot do the product or gets it wrong is not timed and says why in its own status; the call itself fails
 * where nothing can go on (memory, device, arguments).
 *
 * Every result is verified before it is timed: 64 x 64 sampled elements (corners among them) of a c that held NaN, against sums in
 * double of the very operands; the tolerance is derived in bench_matmul.c. */
ij_status matmul_bench(gpu_device *device, const matmul_bench_desc *desc, matmul_bench_result *out, ij_error *err);

/* Whether a kernel is meant for the element on this device; AUTO always is, LANE on CPU drivers only. */
bool matmul_bench_supports(const gpu_device *device, op_matmul_kernel kernel, gpu_element element);

const char *matmul_kernel_name(op_matmul_kernel kernel); /* "auto", "lane", ... */

#endif
