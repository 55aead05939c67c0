/* LayerNorm over the last dimension, forward and backward.       layer: ops; uses: gpu
 *
 *   mean = sum x / dim, rstd = 1 / sqrt(sum (x - mean)^2 / dim + eps), y = (x - mean) rstd gamma + beta
 * The variance is of the differences, never E[x^2] - mean^2: I-JEPA activations reach 2e4. */
#ifndef IJ_OPS_LAYERNORM_H
#define IJ_OPS_LAYERNORM_H

#include "ops/op.h"

typedef struct op_layernorm_args {
    gpu_tensor x;           /* [rows of x, dim] */
    gpu_tensor index;       /* [rows] u32: which row of x becomes row r of y [row r] */
    gpu_tensor gamma, beta; /* [dim]; both or none [no affine part] */
    gpu_tensor y;           /* [rows, dim], f32, f16 or bf16; not x */
    gpu_tensor mean, rstd;  /* [rows]; both or none [not kept] */
    ij_rows rows;
    uint32_t dim; /* any; multiples of 4 are faster */
    float eps;
    const char *label; /* ["layernorm"] */
    bool no_subgroups; /* take the path of devices without subgroup arithmetic; for tests */
} op_layernorm_args;

ij_status op_layernorm(gpu_program *program, const op_layernorm_args *args, ij_error *err);

typedef struct op_layernorm_bwd_args {
    gpu_tensor x;             /* [rows, dim] f32 */
    gpu_tensor dy;            /* [rows, dim], f32, f16 or bf16 */
    gpu_tensor gamma;         /* [dim]; [no affine part] */
    gpu_tensor mean, rstd;    /* [rows], of the forward pass */
    gpu_tensor dx;            /* [rows, dim] f32; not dy */
    gpu_tensor dx_copy;       /* [rows, dim], f16 or bf16: what dx became, for the products that read it next [not wanted] */
    gpu_tensor dgamma, dbeta; /* [dim]; both or none [not wanted] */
    gpu_tensor scratch;       /* op_layernorm_bwd_scratch bytes; needed with dgamma */
    ij_rows rows;
    uint32_t dim;
    bool add;          /* dx += (a residual's gradient is in dx already) [dx =] */
    bool add_params;   /* dgamma, dbeta += (gradient accumulation) [=]; no rows: = gives 0 */
    const char *label; /* ["layernorm_bwd"] */
    bool no_subgroups; /* as above */
} op_layernorm_bwd_args;

ij_status op_layernorm_bwd(gpu_program *program, const op_layernorm_bwd_args *args, ij_error *err);

/* Bytes of scratch for rows_max rows. */
uint64_t op_layernorm_bwd_scratch(uint32_t dim, uint32_t rows_max);

/* References, in double; index, gamma, beta, mean and rstd may be NULL as above. */
void ref_layernorm(const double *x, const uint32_t *index, const double *gamma, const double *beta, double *y, double *mean, double *rstd,
                   int64_t rows, int64_t dim, double eps);
/* dx, dgamma and dbeta are added to. */
void ref_layernorm_bwd(const double *x, const double *dy, const double *gamma, const double *mean, const double *rstd, double *dx,
                       double *dgamma, double *dbeta, int64_t rows, int64_t dim);

#endif
