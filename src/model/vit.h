/* A run of transformer blocks with its final LayerNorm: the encoder's trunk and the predictor's are the same thing at different
 * widths.       layer: model; uses: gpu, ops
 *
 * Block (pre-norm, Dosovitskiy et al. 2021):  x1 = x + proj(attention(qkv(norm1(x))));  x2 = x1 + fc2(gelu(fc1(norm2(x1)))).
 * Tokens are ragged: all sequences' rows are packed, [rows, dim], and attention reads where each begins. */
#ifndef IJ_MODEL_VIT_H
#define IJ_MODEL_VIT_H

#include "gpu/gpu.h"
#include "model/params.h"
#include "ops/op.h"

typedef struct vit_linear {
    gpu_tensor weight; /* [out, in]; in mixed precision the 16-bit copy, but for gradients */
    gpu_tensor bias;   /* [out] */
} vit_linear;

typedef struct vit_norm {
    gpu_tensor weight, bias; /* [dim] */
} vit_norm;

typedef struct vit_block {
    vit_norm norm1;
    vit_linear qkv, proj;
    vit_norm norm2;
    vit_linear fc1, fc2;
} vit_block;

/* The tensors of one trunk in one slot: its weights, or their gradients, or the target encoder's. */
typedef struct vit_trunk {
    int dim, depth, heads, hidden;
    gpu_element element; /* of what the products read: GPU_WORD in f32 */
    float eps;
    vit_block *blocks; /* [depth] */
    vit_norm norm;
} vit_trunk;

/* Looks the trunk's tensors up. predictor: the predictor's trunk, else the encoder's. */
ij_status vit_trunk_make(const ij_weights *weights, const ij_model_config *config, ij_slot slot, bool predictor, vit_trunk *out,
                         ij_error *err);
void vit_trunk_free(vit_trunk *trunk);

/* The tensor of one parameter by its released name; it must exist. */
gpu_tensor vit_param(const ij_weights *weights, ij_slot slot, bool predictor, const char *name);
vit_linear vit_linear_of(const ij_weights *weights, ij_slot slot, bool predictor, const char *name);

/* Sequences of tokens: rows of sequence s are offsets[s] .. offsets[s + 1]. */
typedef struct vit_tokens {
    gpu_tensor offsets;  /* [sequences + 1] u32, on the device */
    uint32_t sequences;  /* exact */
    uint32_t rows_max;   /* capacity */
    uint32_t length_max; /* of one sequence */
} vit_tokens;
static inline ij_rows vit_rows(const vit_tokens *t) { return (ij_rows){t->offsets, t->sequences, t->rows_max}; }

/* What forward leaves behind. With keep, every block has its own (backward needs it); without, all blocks share. The residual
 * stream (x, x1) and statistics are f32; what products read or write is of the trunk's element. */
typedef struct vit_saved_block {
    gpu_tensor x;              /* [rows, dim] f32, the block's input */
    gpu_tensor mean1, rstd1;   /* [rows] */
    gpu_tensor xn1;            /* [rows, dim] */
    gpu_tensor qkv;            /* [rows, 3 dim] */
    gpu_tensor lse;            /* [rows, heads] f32 */
    gpu_tensor attended;       /* [rows, dim] */
    gpu_tensor x1;             /* [rows, dim] f32 */
    gpu_tensor mean2, rstd2;   /* [rows] */
    gpu_tensor xn2;            /* [rows, dim] */
    gpu_tensor pre, activated; /* [rows, hidden] before and after GELU; without keep, pre is absent */
} vit_saved_block;

typedef struct vit_saved {
    vit_saved_block *blocks; /* [depth] */
    gpu_tensor x_last;       /* [rows, dim] f32, the last block's output */
    gpu_tensor mean, rstd;   /* [rows] */
    gpu_tensor y;            /* [rows, dim] after the final LayerNorm: of the trunk's element with keep, f32 without */
} vit_saved;

ij_status vit_saved_reserve(gpu_arena *arena, const vit_trunk *trunk, const vit_tokens *tokens, bool keep, vit_saved *out, ij_error *err);
void vit_saved_free(vit_saved *saved);

/* Memory of a backward pass; of the trunk's element, but for what is said to be f32. */
typedef struct vit_scratch {
    gpu_tensor dx;      /* [rows, dim] f32, the running gradient */
    gpu_tensor dx_copy; /* [rows, dim] dx for the products; in f32 absent: they read dx itself */
    gpu_tensor dnormed; /* [rows, dim] */
    gpu_tensor dhidden; /* [rows, hidden] */
    gpu_tensor dqkv;    /* [rows, 3 dim] */
    gpu_tensor delta;   /* [rows, heads] f32 */
    gpu_tensor norm;    /* LayerNorm's partial sums */
    gpu_tensor matmul;  /* partial products of weight gradients */
} vit_scratch;
/* `edge_in` x `edge_out`: the linear layers at the trunk's ends, whose weight gradients use the same memory. */
ij_status vit_scratch_reserve(gpu_arena *arena, const vit_trunk *trunk, const vit_tokens *tokens, int edge_in, int edge_out,
                              vit_scratch *out, ij_error *err);

/* Records the forward pass: saved->blocks[0].x in, saved->y out. It is vit_block_forward of every block and vit_norm_forward of the last. */
ij_status vit_forward(gpu_program *program, const vit_trunk *trunk, const vit_tokens *tokens, const vit_saved *saved, ij_error *err);

/* Records one block, blocks[index].x in. Without keep, its output is overwritten by the block after the next. */
ij_status vit_block_forward(gpu_program *program, const vit_trunk *trunk, const vit_tokens *tokens, const vit_saved *saved, int index,
                            ij_error *err);

/* Records saved->y = the trunk's final LayerNorm of block index's output. */
ij_status vit_norm_forward(gpu_program *program, const vit_trunk *trunk, const vit_tokens *tokens, const vit_saved *saved, int index,
                           ij_error *err);

/* What products read the running gradient from. */
static inline gpu_tensor vit_dx(const vit_scratch *s) { return s->dx_copy.arena ? s->dx_copy : s->dx; }

/* Records the backward pass of a kept forward pass: dy [rows, dim] in; scratch->dx (and dx_copy) becomes the gradient of
 * blocks[0].x; parameter gradients are added to `gradients`. dy may be scratch->dnormed. */
ij_status vit_backward(gpu_program *program, const vit_trunk *trunk, const vit_trunk *gradients, const vit_tokens *tokens,
                       const vit_saved *saved, const vit_scratch *scratch, gpu_tensor dy, ij_error *err);

/* x [rows, dim] = patches weight^T + bias + positions, where row r's patch is that of index[r] among all of the batch [r]:
 * patches [*, patch_dim], row index[r] of it; positions [period, dim], row index[r] % period of it. */
ij_status vit_patch_embed(gpu_program *program, vit_linear embed, gpu_tensor patches, gpu_tensor index, gpu_tensor positions, int period,
                          gpu_tensor x, ij_rows rows, int patch_dim, int dim, ij_error *err);

/* y = x weight^T + bias over rows; residual (may be absent) is added. x [rows, in], y [rows, out]. */
ij_status vit_linear_forward(gpu_program *program, const char *label, vit_linear linear, gpu_tensor x, gpu_tensor y, gpu_tensor residual,
                             ij_rows rows, int in, int out, ij_error *err);

/* dx = dy weight (absent dx: not wanted), gradients += dy^T x and column sums of dy. x_index (may be absent): row r of x is row
 * x_index[r] of the tensor given. */
ij_status vit_linear_backward(gpu_program *program, const char *label, vit_linear linear, vit_linear gradient, gpu_tensor x,
                              gpu_tensor x_index, gpu_tensor dy, gpu_tensor dx, gpu_tensor scratch, ij_rows rows, int in, int out,
                              ij_error *err);

#endif
