/* The loss over all elements of all target rows, and its gradient, in one pass.       layer: ops; uses: gpu */
#ifndef IJ_OPS_LOSS_H
#define IJ_OPS_LOSS_H

#include "ops/op.h"
#include "shaders/loss.h" /* LOSS_SMOOTH_L1, LOSS_L2, LOSS_L1 */

/* loss[0] (+)= scale / divisor x sum of f(prediction - target);  dprediction = scale / divisor x f'(prediction - target)
 * No rows: the sum is 0, not NaN. */
typedef struct op_loss_args {
    gpu_tensor prediction, target; /* [rows, dim] */
    gpu_tensor dprediction;        /* [rows, dim], f32, f16 or bf16; may be neither of them [not wanted] */
    gpu_tensor loss_scale;         /* struct optim_scale: dprediction (not loss) is multiplied with its scale [1] */
    gpu_tensor row_loss;           /* [rows] mean of f over a row, without scale and divisor [not wanted] */
    gpu_tensor loss;               /* [1] */
    gpu_tensor scratch;            /* op_loss_scratch bytes */
    ij_rows rows;
    uint32_t dim;
    uint32_t kind;     /* LOSS_SMOOTH_L1 (beta 1), LOSS_L2, LOSS_L1 */
    float divisor;     /* [rows x dim, as counted on the device: the mean] */
    float scale;       /* gradient accumulation: 1 / micro-batches [1] */
    bool accumulate;   /* loss += [loss =] */
    const char *label; /* ["loss"] */
    bool no_subgroups; /* take the path of devices without subgroup arithmetic; for tests */
} op_loss_args;

ij_status op_loss(gpu_program *program, const op_loss_args *args, ij_error *err);

uint64_t op_loss_scratch(uint32_t rows_max);

/* Reference, in double; returns the loss. dprediction and row_loss may be NULL. */
double ref_loss(const double *prediction, const double *target, double *dprediction, double *row_loss, int64_t rows, int64_t dim,
                uint32_t kind, double divisor, double scale);

#endif
