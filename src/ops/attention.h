/* Attention inside each sequence of a ragged batch, forward and backward.       layer: ops; uses: gpu
 *
 * Rows of all sequences are packed; sequence s has rows offsets[s] .. offsets[s + 1] - 1 of every tensor. Empty sequences are fine.
 * Rows from min(offsets[sequences], rows_max) on are neither read nor written. What a sequence gets depends on its own rows only, to the
 * bit: not on its place, nor on who else is in the batch. scale = 1 / sqrt(head_dim). qkv, out, dout and dqkv are f32, or all f16, or
 * all bf16 (with padded rows, gpu_row, when heads x head_dim is no multiple of 8); lse and delta are f32. Scores, softmax and sums are
 * f32 always; where matrices are multiplied in 16 bits, exp(score - lse) and ds are rounded to them. */
#ifndef IJ_OPS_ATTENTION_H
#define IJ_OPS_ATTENTION_H

#include "ops/op.h"

typedef enum op_attention_kernel {
    OP_ATTENTION_AUTO,     /* by device and element */
    OP_ATTENTION_ROW,      /* any device, any element: an invocation (or a few) a row */
    OP_ATTENTION_COOPMAT,  /* 16-bit elements, matrices of a subgroup */
    OP_ATTENTION_COOPMAT2, /* 16-bit elements, matrices of a workgroup */
    OP_ATTENTION_KERNEL_COUNT
} op_attention_kernel;

typedef struct op_attention_shape {
    gpu_tensor offsets; /* [sequences + 1], not decreasing */
    uint32_t sequences;
    uint32_t rows_max;   /* rows the tensors have */
    uint32_t length_max; /* no sequence is longer; queries beyond it would get no result */
    uint32_t heads;
    uint32_t head_dim; /* a multiple of 4, at most 128 */
    uint32_t
        split; /* tests: lay the work out as for a GPU, with 1, 2 or 4 invocations a row [as the device needs it]; a GPU never takes fewer than it needs */
    op_attention_kernel kernel; /* [chosen] */
} op_attention_shape;

typedef struct op_attention_desc {
    op_attention_shape shape;
    gpu_tensor qkv; /* [rows_max, 3 (q k v), heads, head_dim] */
    gpu_tensor out; /* [rows_max, heads, head_dim], written */
    gpu_tensor lse; /* [rows_max, heads], written: log of the sum of exponentials, for the backward pass [not wanted] */
} op_attention_desc;

typedef struct op_attention_bwd_desc {
    op_attention_shape shape;
    gpu_tensor qkv, out, lse; /* of the forward pass */
    gpu_tensor dout;          /* [rows_max, heads, head_dim] */
    gpu_tensor delta;         /* [rows_max, heads], scratch */
    gpu_tensor dqkv;          /* [rows_max, 3 (q k v), heads, head_dim], overwritten */
} op_attention_bwd_desc;

/* Whether the device and this build have OP_ATTENTION_COOPMAT or _COOPMAT2 for an element; whether its numbers were checked, which is what
 * AUTO asks (src/ops/rungs_check.h). */
bool attention_rung_runs(const gpu_device *device, op_attention_kernel kernel, gpu_element element);
bool attention_rung_trusted(gpu_device *device, op_attention_kernel kernel, gpu_element element);
void attention_rung_trust(gpu_device *device, op_attention_kernel kernel, gpu_element element, bool trusted);

/* Both fail with IJ_ERROR_ARGUMENT, naming the tensor or the dim, when shapes do not fit or the device has too few workgroups. */
ij_status op_attention(gpu_program *program, const op_attention_desc *desc, ij_error *err);
ij_status op_attention_bwd(gpu_program *program, const op_attention_bwd_desc *desc, ij_error *err);

/* Whether the device can do what shape->kernel asks for (AUTO and ROW: always). */
bool op_attention_supported(const gpu_device *device, const op_attention_shape *shape, gpu_element element);

/* References, in double. lse may be NULL. The backward one needs nothing of the forward pass: it computes the softmax again, and
 * delta = dout . out; _from takes delta from `out` [rows, heads, head_dim] as the forward pass stored it, perhaps in 16 bits. */
void ref_attention(const double *qkv, const uint32_t *offsets, int64_t sequences, int64_t heads, int64_t head_dim, double *out,
                   double *lse);
void ref_attention_bwd(const double *qkv, const uint32_t *offsets, int64_t sequences, int64_t heads, int64_t head_dim, const double *dout,
                       double *dqkv);
void ref_attention_bwd_from(const double *qkv, const uint32_t *offsets, int64_t sequences, int64_t heads, int64_t head_dim,
                            const double *out, const double *dout, double *dqkv);

#endif
