/* layer: train; uses: base, model, ops */
#include "train/bench_shapes.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- rows ---- */

void ij_batch_shape_free(ij_batch_shape *shape) {
    free(shape->full_offsets); /* the first of one allocation */
    *shape = (ij_batch_shape){0};
}

static ij_status draw(const masks_config *masks, uint32_t batch, ij_batch_shape *out, ij_error *err) {
    masks_limits limits = masks_capacity(masks, batch);
    uint32_t *words, table[MASKS_TABLE_WORDS];
    struct masks_params params = {.seed_low = 1};
    masks_lists lists = {.ctx_offsets = out->context_offsets, .tgt_offsets = out->target_offsets, .pred_offsets = out->predictor_offsets};
    IJ_TRY(ij_alloc(&words, batch + limits.context_rows + limits.target_rows + limits.pred_rows, 4, "masks", err));
    lists.ctx_rows = words + batch;
    lists.tgt_rows = lists.ctx_rows + limits.context_rows;
    lists.pred_src = lists.tgt_rows + limits.target_rows;
    for (uint32_t i = 0; i < batch; i++) words[i] = i;
    masks_table(masks, table);
    ij_status status = ref_masks_sample(masks, table, &params, words, batch, &lists, err);
    free(words);
    return status;
}

ij_status ij_batch_shape_draw(const ij_train_config *config, ij_batch_shape *out, ij_error *err) {
    masks_config masks = config->masks;
    masks.grid_h = ij_grid_height(&config->model), masks.grid_w = ij_grid_width(&config->model);
    masks_defaults(&masks);
    *out = (ij_batch_shape){
        .batch = (uint32_t)config->batch, .blocks = (uint32_t)masks.blocks, .patches = (uint32_t)ij_patches(&config->model)};
    IJ_TRY(masks_check(&masks, err));
    int64_t images = out->batch + (int64_t)1, blocks = (int64_t)out->batch * out->blocks + 1;
    IJ_TRY(ij_alloc(&out->full_offsets, 2 * images + 2 * blocks, 4, "offsets", err));
    out->context_offsets = out->full_offsets + images;
    out->target_offsets = out->context_offsets + images;
    out->predictor_offsets = out->target_offsets + blocks;
    for (uint32_t i = 0; i <= out->batch; i++) out->full_offsets[i] = i * out->patches;
    ij_status status = draw(&masks, out->batch, out, err);
    if (status != IJ_OK) ij_batch_shape_free(out);
    return status;
}

/* ---- products ---- */

typedef struct list {
    ij_product_shape *at;
    int count;
} list;

/* A layer [in] -> [out] over `rows` tokens, `count` times; backward to the input only where something is before it. */
static void add_layer(list *l, const char *layer, const char *part, int64_t rows, int in, int out, int count, bool backward,
                      bool to_input) {
    l->at[l->count++] = (ij_product_shape){layer, part, OP_MATMUL_NT, rows, out, in, count};
    if (backward && to_input) l->at[l->count++] = (ij_product_shape){layer, part, OP_MATMUL_NN, rows, in, out, count};
    if (backward) l->at[l->count++] = (ij_product_shape){layer, part, OP_MATMUL_TN, out, in, rows, count};
}

static void add_blocks(list *l, const char *part, int64_t rows, int dim, int hidden, int depth, bool backward) {
    add_layer(l, "qkv", part, rows, dim, 3 * dim, depth, backward, true);
    add_layer(l, "proj", part, rows, dim, dim, depth, backward, true);
    add_layer(l, "fc1", part, rows, dim, hidden, depth, backward, true);
    add_layer(l, "fc2", part, rows, hidden, dim, depth, backward, true);
}

int ij_step_products(const ij_train_config *config, const ij_batch_shape *shape, ij_product_shape out[IJ_PRODUCTS_MAX]) {
    const ij_model_config *m = &config->model;
    uint32_t sequences = shape->batch * shape->blocks;
    int64_t full = shape->full_offsets[shape->batch], context = shape->context_offsets[shape->batch];
    int64_t targets = shape->target_offsets[sequences], predictor = shape->predictor_offsets[sequences];
    list l = {.at = out};
    int64_t seen = m->target_mask == IJ_TARGET_MASK_INPUT ? targets : full;
    if (m->targets == IJ_TARGETS_LATENT) {
        add_layer(&l, "patch_embed", "target", seen, ij_patch_dim(m), m->dim, 1, false, false);
        add_blocks(&l, "target", seen, m->dim, m->hidden, m->depth, false);
    }
    add_layer(&l, "patch_embed", "context", context, ij_patch_dim(m), m->dim, 1, true, false);
    add_blocks(&l, "context", context, m->dim, m->hidden, m->depth, true);
    add_layer(&l, "predictor_embed", "predictor", context, m->dim, m->pred_dim, 1, true, true);
    add_blocks(&l, "predictor", predictor, m->pred_dim, m->pred_hidden, m->pred_depth, true);
    add_layer(&l, "predictor_proj", "predictor", targets, m->pred_dim, ij_target_dim(m), 1, true, true);
    return l.count;
}

void ij_step_attentions(const ij_train_config *config, const ij_batch_shape *shape, ij_attention_step out[IJ_ATTENTIONS]) {
    const ij_model_config *m = &config->model;
    uint32_t heads = (uint32_t)m->heads, head_dim = (uint32_t)(m->dim / m->heads);
    out[0] = (ij_attention_step){"target", shape->full_offsets, shape->batch, heads, head_dim, true, m->depth};
    if (m->targets == IJ_TARGETS_PIXELS) out[0].count = 0;
    if (m->target_mask == IJ_TARGET_MASK_INPUT) out[0].offsets = shape->target_offsets, out[0].sequences = shape->batch * shape->blocks;
    out[1] = (ij_attention_step){"context", shape->context_offsets, shape->batch, heads, head_dim, false, m->depth};
    out[2] = (ij_attention_step){.part = "predictor",
                                 .offsets = shape->predictor_offsets,
                                 .sequences = shape->batch * shape->blocks,
                                 .heads = (uint32_t)m->pred_heads,
                                 .head_dim = (uint32_t)(m->pred_dim / m->pred_heads),
                                 .count = m->pred_depth};
}

/* ---- recipes ---- */

ij_status ij_recipe(const char *model, int batch, ij_train_config *out, ij_error *err) {
    ij_train_config_defaults(out);
    IJ_TRY(ij_model_preset(model, &out->model, err));
    snprintf(out->model_name, sizeof out->model_name, "%s", model);
    out->model.patch_size = strcmp(model, "vit_huge") == 0 ? 14 : 16;
    out->batch = batch ? batch : strcmp(model, "vit_giant") == 0 ? 16 : 128;
    return ij_model_check(&out->model, err);
}
