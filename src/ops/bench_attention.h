/* Times attention of one ragged batch, forward and backward, by several kernels in turn.       layer: ops; uses: base, gpu */
#ifndef IJ_OPS_BENCH_ATTENTION_H
#define IJ_OPS_BENCH_ATTENTION_H

#include "ops/attention.h"

#include <stdbool.h>

typedef struct attention_bench_desc {
    const uint32_t *offsets; /* [sequences + 1], from 0, on the host */
    uint32_t sequences, heads, head_dim;
    gpu_element element; /* of qkv, out and their gradients */
    const bool *kernels; /* [OP_ATTENTION_KERNEL_COUNT] which to time */
    bool forward_only;   /* as the target encoder runs it: no log-sum-exp, no backward */
    int runs;
} attention_bench_desc;

typedef struct attention_bench_time {
    double forward, backward; /* seconds, medians; 0: not timed */
    ij_status status;         /* why not, as in matmul_bench_time */
    char note[240], detail[96];
} attention_bench_time;

/* Each kernel's results are verified first: two heads of three sequences against the reference in double. What is a kernel's own fault is
 * in times[kernel]; the call fails where nothing can go on. times: [OP_ATTENTION_KERNEL_COUNT]. */
ij_status attention_bench(gpu_device *device, const attention_bench_desc *desc, attention_bench_time *times, ij_error *err);

/* Flops and bytes that the definition needs: two products of each pair of rows forward, five backward; every tensor once. */
void attention_bench_cost(const attention_bench_desc *desc, bool backward, double *flops, double *bytes);

/* Whether the device has the kernel for heads of the usual size; others may still be refused, in their times' notes. */
bool attention_bench_supports(const gpu_device *device, op_attention_kernel kernel, gpu_element element);
const char *attention_kernel_name(op_attention_kernel kernel); /* "auto", "row", "coopmat", "coopmat2" */

#endif
