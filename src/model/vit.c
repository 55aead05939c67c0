/* layer: model; uses: gpu, ops */
#include "model/vit.h"
#include "base/memory.h"
#include "ops/attention.h"
#include "ops/layernorm.h"
#include "ops/matmul.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- parameters ---- */

gpu_tensor vit_param(const ij_weights *weights, ij_slot slot, bool predictor, const char *name) {
    int index = ij_param_find(&weights->table, predictor, name);
    assert(index >= 0);
    return weights->tensors[slot][index];
}

vit_linear vit_linear_of(const ij_weights *weights, ij_slot slot, bool predictor, const char *name) {
    char full[80];
    vit_linear linear;
    snprintf(full, sizeof full, "%s.weight", name);
    int index = ij_param_find(&weights->table, predictor, full);
    bool half = weights->half != GPU_WORD && slot <= IJ_SLOT_TARGET && weights->half_tensors[slot][index].arena;
    linear.weight = half ? weights->half_tensors[slot][index] : vit_param(weights, slot, predictor, full);
    snprintf(full, sizeof full, "%s.bias", name);
    linear.bias = vit_param(weights, slot, predictor, full);
    return linear;
}

static vit_norm norm_of(const ij_weights *weights, ij_slot slot, bool predictor, const char *name) {
    vit_linear both = vit_linear_of(weights, slot, predictor, name);
    return (vit_norm){both.weight, both.bias};
}

ij_status vit_trunk_make(const ij_weights *weights, const ij_model_config *c, ij_slot slot, bool predictor, vit_trunk *out, ij_error *err) {
    *out =
        predictor
            ? (vit_trunk){.dim = c->pred_dim, .depth = c->pred_depth, .heads = c->pred_heads, .hidden = c->pred_hidden, .eps = c->norm_eps}
            : (vit_trunk){.dim = c->dim, .depth = c->depth, .heads = c->heads, .hidden = c->hidden, .eps = c->norm_eps};
    out->element = weights->half;
    IJ_TRY(ij_alloc(&out->blocks, out->depth, sizeof *out->blocks, "trunk", err));
    const char *prefix = predictor ? "predictor_blocks" : "blocks";
    for (int i = 0; i < out->depth; i++) {
        vit_block *b = &out->blocks[i];
        char name[64];
#define AT(part) (snprintf(name, sizeof name, "%s.%d.%s", prefix, i, part), name)
        b->norm1 = norm_of(weights, slot, predictor, AT("norm1"));
        b->qkv = vit_linear_of(weights, slot, predictor, AT("attn.qkv"));
        b->proj = vit_linear_of(weights, slot, predictor, AT("attn.proj"));
        b->norm2 = norm_of(weights, slot, predictor, AT("norm2"));
        b->fc1 = vit_linear_of(weights, slot, predictor, AT("mlp.fc1"));
        b->fc2 = vit_linear_of(weights, slot, predictor, AT("mlp.fc2"));
#undef AT
    }
    out->norm = norm_of(weights, slot, predictor, predictor ? "predictor_norm" : "norm");
    return IJ_OK;
}

void vit_trunk_free(vit_trunk *trunk) {
    free(trunk->blocks);
    trunk->blocks = NULL;
}

/* What dweight += dy^T x and dbias += column sums of dy have in common. */
static op_matmul_desc weight_gradient(const char *label, gpu_element element, ij_rows rows, int in, int out) {
    const gpu_tensor operand = {.element = element}; /* what a plan reads of it */
    return (op_matmul_desc){.label = label,
                            .form = OP_MATMUL_TN,
                            .rows = rows,
                            .m = (uint32_t)out,
                            .n = (uint32_t)in,
                            .a = operand,
                            .b = operand,
                            .accumulate = true};
}

/* ---- memory ---- */

static ij_status reserve(gpu_arena *arena, gpu_element element, const vit_tokens *tokens, int columns, const char *what, gpu_tensor *out,
                         ij_error *err) {
    return gpu_reserve_matrix(arena, element, tokens->rows_max, (uint64_t)columns, what, out, err);
}

static ij_status reserve_block(gpu_arena *arena, const vit_trunk *trunk, const vit_tokens *tokens, bool keep, vit_saved_block *b,
                               ij_error *err) {
    int dim = trunk->dim;
    IJ_TRY(reserve(arena, trunk->element, tokens, 3 * dim, "qkv", &b->qkv, err));
    IJ_TRY(reserve(arena, trunk->element, tokens, dim, "attended", &b->attended, err));
    IJ_TRY(reserve(arena, trunk->element, tokens, dim, "xn1", &b->xn1, err));
    IJ_TRY(reserve(arena, GPU_WORD, tokens, dim, "x1", &b->x1, err));
    IJ_TRY(reserve(arena, trunk->element, tokens, trunk->hidden, "activated", &b->activated, err));
    if (!keep) { /* the normalised rows are used up before the next are made */
        b->xn2 = b->xn1;
        return IJ_OK;
    }
    IJ_TRY(reserve(arena, trunk->element, tokens, dim, "xn2", &b->xn2, err));
    IJ_TRY(reserve(arena, trunk->element, tokens, trunk->hidden, "pre", &b->pre, err));
    IJ_TRY(reserve(arena, GPU_WORD, tokens, trunk->heads, "lse", &b->lse, err));
    IJ_TRY(reserve(arena, GPU_WORD, tokens, 1, "mean1", &b->mean1, err));
    IJ_TRY(reserve(arena, GPU_WORD, tokens, 1, "rstd1", &b->rstd1, err));
    IJ_TRY(reserve(arena, GPU_WORD, tokens, 1, "mean2", &b->mean2, err));
    return reserve(arena, GPU_WORD, tokens, 1, "rstd2", &b->rstd2, err);
}

ij_status vit_saved_reserve(gpu_arena *arena, const vit_trunk *trunk, const vit_tokens *tokens, bool keep, vit_saved *out, ij_error *err) {
    memset(out, 0, sizeof *out);
    gpu_element y_element = keep ? trunk->element : GPU_WORD;
    IJ_TRY(ij_alloc(&out->blocks, trunk->depth, sizeof *out->blocks, "saved blocks", err));
    gpu_tensor x[2]; /* without keep, block i reads one and writes the other */
    for (int i = 0; i < 2; i++) IJ_TRY(reserve(arena, GPU_WORD, tokens, trunk->dim, "x", &x[i], err));
    for (int i = 0; i < trunk->depth; i++) {
        vit_saved_block *b = &out->blocks[i];
        if (keep || i == 0)
            IJ_TRY(reserve_block(arena, trunk, tokens, keep, b, err));
        else
            *b = out->blocks[0];
        if (keep && i >= 2)
            IJ_TRY(reserve(arena, GPU_WORD, tokens, trunk->dim, "x", &b->x, err));
        else
            b->x = x[i % 2];
    }
    if (keep) {
        IJ_TRY(reserve(arena, GPU_WORD, tokens, 1, "mean", &out->mean, err));
        IJ_TRY(reserve(arena, GPU_WORD, tokens, 1, "rstd", &out->rstd, err));
    }
    if (keep && trunk->depth >= 2)
        IJ_TRY(reserve(arena, GPU_WORD, tokens, trunk->dim, "x_last", &out->x_last, err));
    else
        out->x_last = x[trunk->depth % 2];
    return reserve(arena, y_element, tokens, trunk->dim, "y", &out->y, err);
}

void vit_saved_free(vit_saved *saved) {
    free(saved->blocks);
    saved->blocks = NULL;
}

ij_status vit_scratch_reserve(gpu_arena *arena, const vit_trunk *trunk, const vit_tokens *tokens, int edge_in, int edge_out,
                              vit_scratch *out, ij_error *err) {
    IJ_TRY(reserve(arena, GPU_WORD, tokens, trunk->dim, "dx", &out->dx, err));
    out->dx_copy = (gpu_tensor){0};
    if (trunk->element != GPU_WORD) IJ_TRY(reserve(arena, trunk->element, tokens, trunk->dim, "dx_copy", &out->dx_copy, err));
    IJ_TRY(reserve(arena, trunk->element, tokens, trunk->dim, "dnormed", &out->dnormed, err));
    IJ_TRY(reserve(arena, trunk->element, tokens, trunk->hidden, "dhidden", &out->dhidden, err));
    IJ_TRY(reserve(arena, trunk->element, tokens, 3 * trunk->dim, "dqkv", &out->dqkv, err));
    IJ_TRY(reserve(arena, GPU_WORD, tokens, trunk->heads, "delta", &out->delta, err));
    IJ_TRY(gpu_reserve(arena, op_layernorm_bwd_scratch((uint32_t)trunk->dim, tokens->rows_max), "LayerNorm sums", &out->norm, err));
    const int shapes[][2] = {{trunk->dim, 3 * trunk->dim}, {trunk->dim, trunk->dim}, {trunk->dim, trunk->hidden},
                             {trunk->hidden, trunk->dim},  {edge_in, edge_out},      {edge_out, edge_in}};
    uint64_t largest = 0;
    for (int i = 0; i < IJ_COUNT(shapes); i++) {
        op_matmul_desc desc = weight_gradient("", trunk->element, vit_rows(tokens), shapes[i][0], shapes[i][1]);
        desc.bias_grad = out->dx; /* any tensor: that there is one */
        uint64_t bytes = op_matmul_scratch(gpu_arena_device(arena), &desc);
        if (bytes > largest) largest = bytes;
    }
    return gpu_reserve(arena, largest, "weight gradient parts", &out->matmul, err);
}

/* ---- linear layers ---- */

ij_status vit_linear_forward(gpu_program *program, const char *label, vit_linear linear, gpu_tensor x, gpu_tensor y, gpu_tensor residual,
                             ij_rows rows, int in, int out, ij_error *err) {
    return op_matmul(program,
                     &(op_matmul_desc){.label = label,
                                       .form = OP_MATMUL_NT,
                                       .rows = rows,
                                       .n = (uint32_t)out,
                                       .k = (uint32_t)in,
                                       .a = x,
                                       .b = linear.weight,
                                       .c = y,
                                       .bias = linear.bias,
                                       .residual = residual},
                     err);
}

ij_status vit_patch_embed(gpu_program *program, vit_linear embed, gpu_tensor patches, gpu_tensor index, gpu_tensor positions, int period,
                          gpu_tensor x, ij_rows rows, int patch_dim, int dim, ij_error *err) {
    return op_matmul(program,
                     &(op_matmul_desc){.label = "patch_embed",
                                       .form = OP_MATMUL_NT,
                                       .rows = rows,
                                       .n = (uint32_t)dim,
                                       .k = (uint32_t)patch_dim,
                                       .a = patches,
                                       .gather = index,
                                       .b = embed.weight,
                                       .c = x,
                                       .bias = embed.bias,
                                       .residual = positions,
                                       .residual_period = (uint32_t)period,
                                       .residual_index = index},
                     err);
}

/* dx = dy weight, times gelu'(pre) where the input was GELU's output. */
static ij_status linear_input_gradient(gpu_program *program, const char *label, vit_linear linear, gpu_tensor dy, gpu_tensor pre,
                                       gpu_tensor dx, ij_rows rows, int in, int out, ij_error *err) {
    return op_matmul(program,
                     &(op_matmul_desc){.label = label,
                                       .form = OP_MATMUL_NN,
                                       .rows = rows,
                                       .n = (uint32_t)in,
                                       .k = (uint32_t)out,
                                       .a = dy,
                                       .b = linear.weight,
                                       .c = dx,
                                       .gelu_grad_of = pre},
                     err);
}

static ij_status linear_weight_gradient(gpu_program *program, const char *label, vit_linear gradient, gpu_tensor x, gpu_tensor x_index,
                                        gpu_tensor dy, gpu_tensor scratch, ij_rows rows, int in, int out, ij_error *err) {
    op_matmul_desc desc = weight_gradient(label, dy.element, rows, in, out);
    desc.a = dy, desc.b = x, desc.gather = x_index, desc.c = gradient.weight, desc.bias_grad = gradient.bias, desc.scratch = scratch;
    return op_matmul(program, &desc, err);
}

ij_status vit_linear_backward(gpu_program *program, const char *label, vit_linear linear, vit_linear gradient, gpu_tensor x,
                              gpu_tensor x_index, gpu_tensor dy, gpu_tensor dx, gpu_tensor scratch, ij_rows rows, int in, int out,
                              ij_error *err) {
    const gpu_tensor none = {0};
    IJ_TRY(linear_weight_gradient(program, label, gradient, x, x_index, dy, scratch, rows, in, out, err));
    if (!dx.arena) return IJ_OK;
    return linear_input_gradient(program, label, linear, dy, none, dx, rows, in, out, err);
}

/* ---- forward ---- */

static op_attention_shape attention_shape(const vit_trunk *trunk, const vit_tokens *tokens) {
    return (op_attention_shape){.offsets = tokens->offsets,
                                .sequences = tokens->sequences,
                                .rows_max = tokens->rows_max,
                                .length_max = tokens->length_max,
                                .heads = (uint32_t)trunk->heads,
                                .head_dim = (uint32_t)(trunk->dim / trunk->heads)};
}

static ij_status norm_forward(gpu_program *program, vit_norm norm, float eps, gpu_tensor x, gpu_tensor y, gpu_tensor mean, gpu_tensor rstd,
                              ij_rows rows, int dim, ij_error *err) {
    return op_layernorm(program,
                        &(op_layernorm_args){.label = "norm",
                                             .rows = rows,
                                             .dim = (uint32_t)dim,
                                             .eps = eps,
                                             .x = x,
                                             .gamma = norm.weight,
                                             .beta = norm.bias,
                                             .y = y,
                                             .mean = mean,
                                             .rstd = rstd},
                        err);
}

static ij_status block_forward(gpu_program *program, const vit_trunk *trunk, const vit_block *w, const vit_tokens *tokens,
                               const vit_saved_block *b, gpu_tensor x2, ij_error *err) {
    const gpu_tensor none = {0};
    ij_rows rows = vit_rows(tokens);
    int dim = trunk->dim;
    IJ_TRY(norm_forward(program, w->norm1, trunk->eps, b->x, b->xn1, b->mean1, b->rstd1, rows, dim, err));
    IJ_TRY(vit_linear_forward(program, "qkv", w->qkv, b->xn1, b->qkv, none, rows, dim, 3 * dim, err));
    IJ_TRY(op_attention(
        program, &(op_attention_desc){.shape = attention_shape(trunk, tokens), .qkv = b->qkv, .out = b->attended, .lse = b->lse}, err));
    IJ_TRY(vit_linear_forward(program, "proj", w->proj, b->attended, b->x1, b->x, rows, dim, dim, err));
    IJ_TRY(norm_forward(program, w->norm2, trunk->eps, b->x1, b->xn2, b->mean2, b->rstd2, rows, dim, err));
    IJ_TRY(op_matmul(program,
                     &(op_matmul_desc){.label = "fc1",
                                       .form = OP_MATMUL_NT,
                                       .rows = rows,
                                       .n = (uint32_t)trunk->hidden,
                                       .k = (uint32_t)dim,
                                       .a = b->xn2,
                                       .b = w->fc1.weight,
                                       .c = b->activated,
                                       .bias = w->fc1.bias,
                                       .gelu = true,
                                       .pre = b->pre},
                     err));
    return vit_linear_forward(program, "fc2", w->fc2, b->activated, x2, b->x1, rows, trunk->hidden, dim, err);
}

static gpu_tensor output_of(const vit_trunk *trunk, const vit_saved *saved, int index) {
    return index + 1 < trunk->depth ? saved->blocks[index + 1].x : saved->x_last;
}

ij_status vit_block_forward(gpu_program *program, const vit_trunk *trunk, const vit_tokens *tokens, const vit_saved *saved, int index,
                            ij_error *err) {
    return block_forward(program, trunk, &trunk->blocks[index], tokens, &saved->blocks[index], output_of(trunk, saved, index), err);
}

ij_status vit_norm_forward(gpu_program *program, const vit_trunk *trunk, const vit_tokens *tokens, const vit_saved *saved, int index,
                           ij_error *err) {
    return norm_forward(program, trunk->norm, trunk->eps, output_of(trunk, saved, index), saved->y, saved->mean, saved->rstd,
                        vit_rows(tokens), trunk->dim, err);
}

ij_status vit_forward(gpu_program *program, const vit_trunk *trunk, const vit_tokens *tokens, const vit_saved *saved, ij_error *err) {
    for (int i = 0; i < trunk->depth; i++) IJ_TRY(vit_block_forward(program, trunk, tokens, saved, i, err));
    return vit_norm_forward(program, trunk, tokens, saved, trunk->depth - 1, err);
}

/* ---- backward ---- */

/* s->dx (+)= LayerNorm's gradient of dy, and its copy; gamma's and beta's gradients are added to `gradient`. */
static ij_status norm_backward(gpu_program *program, vit_norm norm, vit_norm gradient, gpu_tensor x, gpu_tensor mean, gpu_tensor rstd,
                               gpu_tensor dy, const vit_scratch *s, bool add, ij_rows rows, int dim, ij_error *err) {
    return op_layernorm_bwd(program,
                            &(op_layernorm_bwd_args){.label = "norm",
                                                     .rows = rows,
                                                     .dim = (uint32_t)dim,
                                                     .x = x,
                                                     .gamma = norm.weight,
                                                     .mean = mean,
                                                     .rstd = rstd,
                                                     .dy = dy,
                                                     .dx = s->dx,
                                                     .dx_copy = s->dx_copy,
                                                     .add = add,
                                                     .dgamma = gradient.weight,
                                                     .dbeta = gradient.bias,
                                                     .add_params = true,
                                                     .scratch = s->norm},
                            err);
}

/* s->dx (and its copy) holds the gradient of the block's output on entry, of its input on return. */
static ij_status block_backward(gpu_program *program, const vit_trunk *trunk, const vit_block *w, const vit_block *g,
                                const vit_tokens *tokens, const vit_saved_block *b, const vit_scratch *s, ij_error *err) {
    const gpu_tensor none = {0};
    ij_rows rows = vit_rows(tokens);
    int dim = trunk->dim, hidden = trunk->hidden;
    gpu_tensor dx = vit_dx(s);
    IJ_TRY(linear_weight_gradient(program, "fc2", g->fc2, b->activated, none, dx, s->matmul, rows, hidden, dim, err));
    IJ_TRY(linear_input_gradient(program, "fc2", w->fc2, dx, b->pre, s->dhidden, rows, hidden, dim, err));
    IJ_TRY(vit_linear_backward(program, "fc1", w->fc1, g->fc1, b->xn2, none, s->dhidden, s->dnormed, s->matmul, rows, dim, hidden, err));
    IJ_TRY(norm_backward(program, w->norm2, g->norm2, b->x1, b->mean2, b->rstd2, s->dnormed, s, true, rows, dim, err));
    IJ_TRY(vit_linear_backward(program, "proj", w->proj, g->proj, b->attended, none, dx, s->dnormed, s->matmul, rows, dim, dim, err));
    IJ_TRY(op_attention_bwd(program,
                            &(op_attention_bwd_desc){.shape = attention_shape(trunk, tokens),
                                                     .qkv = b->qkv,
                                                     .out = b->attended,
                                                     .lse = b->lse,
                                                     .dout = s->dnormed,
                                                     .delta = s->delta,
                                                     .dqkv = s->dqkv},
                            err));
    IJ_TRY(vit_linear_backward(program, "qkv", w->qkv, g->qkv, b->xn1, none, s->dqkv, s->dnormed, s->matmul, rows, dim, 3 * dim, err));
    return norm_backward(program, w->norm1, g->norm1, b->x, b->mean1, b->rstd1, s->dnormed, s, true, rows, dim, err);
}

ij_status vit_backward(gpu_program *program, const vit_trunk *trunk, const vit_trunk *gradients, const vit_tokens *tokens,
                       const vit_saved *saved, const vit_scratch *scratch, gpu_tensor dy, ij_error *err) {
    IJ_TRY(norm_backward(program, trunk->norm, gradients->norm, saved->x_last, saved->mean, saved->rstd, dy, scratch, false,
                         vit_rows(tokens), trunk->dim, err));
    for (int i = trunk->depth - 1; i >= 0; i--)
        IJ_TRY(block_backward(program, trunk, &trunk->blocks[i], &gradients->blocks[i], tokens, &saved->blocks[i], scratch, err));
    return IJ_OK;
}
