/* One pass over all parameters: AdamW, and the target encoder's moving average.       layer: ops; uses: gpu
 *
 * Decoupled weight decay (Loshchilov & Hutter, 2019), bias correction, and the order of operations of torch.optim.AdamW:
 *   c = clip_norm ? min(1, clip_norm / (norm grad_scale + 1e-6)) : 1,  g = gradient grad_scale c
 *   p = p (1 - lr weight_decay)
 *   m = m + (1 - beta1)(g - m),  v = beta2 v + (1 - beta2) g^2
 *   p = p - lr / (1 - beta1^t)  m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
 *   target = ema target + (1 - ema) p
 * Scalars are computed in double on the host and rounded once, as PyTorch does; each line is the same f32 operations, so a
 * parameter differs from PyTorch's by rounding of the last operations only (division, root: up to 2.5 units on a device). */
#ifndef IJ_OPS_OPTIM_H
#define IJ_OPS_OPTIM_H

#include "ops/op.h"
#include "shaders/optim.h"
#include "shaders/reduce.h"

/* Zeros are defaults, in []; weight_decay, clip_norm: zero is off. */
typedef struct op_optim_desc {
    double lr, weight_decay;
    double beta1, beta2, eps; /* [0.9, 0.999, 1e-8] */
    double ema;               /* 1: the target stays as it is; read only by dispatches with a target */
    double grad_scale;        /* [1] */
    double clip_norm;
    int64_t step; /* t, from 1 */
} op_optim_desc;

struct optim_step op_optim_step_make(const op_optim_desc *desc);

typedef struct op_adamw_args {
    gpu_tensor p, m, v; /* [count] */
    gpu_tensor g;       /* [count] gradient */
    gpu_tensor target;  /* [count] moving average of p [none] */
    gpu_tensor step;    /* struct optim_step */
    gpu_tensor
        norm; /* struct reduce_norm of op_norm_finish: where it is not finite, p, m, v and target stay as they are [no guard, no clip] */
    uint64_t count;     /* any; below 2^32 */
    bool decay;         /* apply weight_decay: not to biases and other parameters of one dimension */
    bool zero_gradient; /* g = 0 afterwards, also in a step that is not finite */
    const char *label;  /* ["adamw"] */
} op_adamw_args;

ij_status op_adamw(gpu_program *program, const op_adamw_args *args, ij_error *err);

/* Reference, in double; target and norm may be NULL. */
void ref_adamw(double *p, double *m, double *v, double *g, double *target, int64_t count, const struct optim_step *step,
               const struct reduce_norm *norm, bool decay, bool zero_gradient);

#endif
