/* One pass over all parameters: AdamW, and the target encoder's moving average.       layer: ops; uses: gpu
 *
 * Decoupled weight decay (Loshchilov & Hutter, 2019), bias correction, and the order of operations of torch.optim.AdamW:
 *   c = clip_norm ? min(1, clip_norm / (norm grad_scale + 1e-6)) : 1,  g = gradient grad_scale c      (grad_scale / loss scale, if any)
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
    gpu_tensor p, m, v;     /* [count] */
    gpu_tensor g;           /* [count] gradient */
    gpu_tensor target;      /* [count] moving average of p [none] */
    gpu_tensor copy;        /* [count] flat f16 or bf16, written: p rounded, for the products of the next step [none] */
    gpu_tensor target_copy; /* the same of target; goes with both [none] */
    gpu_tensor step;        /* struct optim_step */
    gpu_tensor loss_scale;  /* struct optim_scale: gradients are multiplied with its inverse too [1] */
    gpu_tensor
        norm; /* struct reduce_norm of op_norm_finish: where it is not finite, p, m, v and target stay as they are [no guard, no clip] */
    uint64_t count;     /* any; below 2^32 */
    bool decay;         /* apply weight_decay: not to biases and other parameters of one dimension */
    bool zero_gradient; /* g = 0 afterwards, also in a step that is not finite */
    const char *label;  /* ["adamw"] */
} op_adamw_args;

ij_status op_adamw(gpu_program *program, const op_adamw_args *args, ij_error *err);

/* f16 or bf16 copy of a f32 matrix [rows, columns], rows padded: for the parameters whose rows a flat copy cannot lay out (columns no
 * multiple of 8), and once when weights are loaded. */
ij_status op_cast_rows(gpu_program *program, gpu_tensor from, gpu_tensor to, uint64_t rows, uint64_t columns, ij_error *err);

/* ---- loss scale: gradients in f16 must neither vanish below 2^-24 nor pass 65504 (Micikevicius et al. 2018) ----
 * The loss's gradient is multiplied with `scale`, the optimiser multiplies with `inverse`. A step whose gradients are not finite changes
 * nothing and halves the scale; `interval` good steps in a row double it. All on the device: the host never waits for the verdict. */
#define OP_SCALE_START 65536.0f
#define OP_SCALE_INTERVAL 2000u
#define OP_SCALE_MAX 16777216.0f
struct optim_scale op_optim_scale_make(float scale);

/* After the optimiser: scale by norm (struct reduce_norm), and norm's numbers divided by the scale they were measured under. */
ij_status op_scale_update(gpu_program *program, gpu_tensor norm, gpu_tensor scale, uint32_t interval, ij_error *err);

/* References; ref_adamw in double, target and norm may be NULL; a loss scale goes into step->grad_scale. */
void ref_scale_update(struct reduce_norm *norm, struct optim_scale *scale, uint32_t interval);
void ref_adamw(double *p, double *m, double *v, double *g, double *target, int64_t count, const struct optim_step *step,
               const struct reduce_norm *norm, bool decay, bool zero_gradient);

#endif
