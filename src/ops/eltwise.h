/* Element-wise ops that stand alone: GELU and its gradient.       layer: ops; uses: gpu */
#ifndef IJ_OPS_ELTWISE_H
#define IJ_OPS_ELTWISE_H

#include "ops/op.h"

/* y[i] = gelu(x[i]), exact (erf) form; x, y: [count] f32. */
ij_status op_gelu(gpu_program *program, gpu_tensor x, gpu_tensor y, int64_t count, ij_error *err);

/* dx[i] = dy[i] gelu'(x[i]); x, dy, dx: [count] f32. */
ij_status op_gelu_bwd(gpu_program *program, gpu_tensor x, gpu_tensor dy, gpu_tensor dx, int64_t count, ij_error *err);

/* References, in double. */
void ref_gelu(const double *x, double *y, int64_t count);
void ref_gelu_bwd(const double *x, const double *dy, double *dx, int64_t count);

#endif
