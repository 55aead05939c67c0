/* layer: model; uses: gpu, ops */
#include "model/classifier.h"
#include "base/memory.h"
#include "model/positions.h"
#include "ops/cross_entropy.h"
#include "ops/matmul.h"
#include "ops/reduce.h"
#include "philox.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUN_BYTES_MAX ((uint64_t)64 << 20) /* of one dispatch of AdamW: what every device can bind */
#define STEP_STRIDE 256                    /* from one layer's scalars to the next: a tensor's part begins at a multiple of it */
#define HEAD_STD 2e-5

/* Bytes of a slot's results. */
enum { LOSS_AT = 0, RIGHT_AT = 256, NORM_AT = 512, SCALE_AT = 768, RESULT_BYTES = 1024 };

/* ---- layers ---- */

int ij_classifier_layer(const char *name, int depth) {
    int block;
    if (strncmp(name, "patch_embed.", 12) == 0) return 0;
    return sscanf(name, "blocks.%d.", &block) == 1 ? block + 1 : depth + 1;
}

double ij_classifier_lr_scale(double layer_decay, int layer, int depth) {
    return layer_decay != 0 ? pow(layer_decay, depth + 1 - layer) : 1;
}

static int layers_of(const ij_classifier *c) { return c->desc.model.depth + 2; }
static int layer_of(const ij_classifier *c, int param) {
    return ij_classifier_layer(c->weights->table.params[param].name, c->desc.model.depth);
}
static bool trained(const ij_classifier *c, int param) { return layer_of(c, param) >= c->first_layer; }
static bool is_head(const ij_param *p) { return strncmp(p->name, "head.", 5) == 0; }

/* ---- weights ---- */

/* The head's parameters take the place of the predictor's, of which there are more. */
static ij_status make_table(ij_classifier *c, ij_error *err) {
    ij_param_table *t = &c->weights->table;
    IJ_TRY(ij_param_table_make(&c->desc.model, t, err));
    assert(t->count >= t->encoder_count + 2);
    t->count = t->encoder_count;
    t->elements = t->encoder_elements;
    ij_param heads[2] = {{.name = "head.weight", .shape = {c->desc.classes, c->desc.model.dim}, .dims = 2, .decay = true},
                         {.name = "head.bias", .shape = {c->desc.classes}, .dims = 1, .init = IJ_INIT_ZERO}};
    for (int i = 0; i < IJ_COUNT(heads); i++) {
        heads[i].count = heads[i].shape[0] * (i == 0 ? heads[i].shape[1] : 1);
        t->params[t->count++] = heads[i];
        t->elements += heads[i].count;
    }
    t->encoder_count = t->count, t->encoder_elements = t->elements;
    return IJ_OK;
}

static ij_status reserve_slot(ij_classifier *c, ij_slot slot, const char *name, ij_error *err) {
    ij_weights *w = c->weights;
    IJ_TRY(ij_alloc(&w->tensors[slot], w->table.count, sizeof(gpu_tensor), name, err));
    IJ_TRY(gpu_arena_create(c->device, name, GPU_MEMORY_DEVICE, &w->arenas[slot], err));
    for (int i = 0; i < w->table.count; i++) {
        const ij_param *p = &w->table.params[i];
        if (slot == IJ_SLOT_WEIGHT || trained(c, i))
            IJ_TRY(gpu_reserve(w->arenas[slot], 4 * (uint64_t)p->count, p->name, &w->tensors[slot][i], err));
    }
    return IJ_OK;
}

static bool joins(const ij_classifier *c, const ij_classifier_run *run, int i) {
    const gpu_tensor *at = c->weights->tensors[IJ_SLOT_WEIGHT], *gradient = c->weights->tensors[IJ_SLOT_GRADIENT];
    return run->last + 1 == i && run->layer == layer_of(c, i) && run->decay == c->weights->table.params[i].decay &&
           at[run->first].block == at[i].block && gradient[run->first].block == gradient[i].block &&
           at[i].offset + at[i].bytes - at[run->first].offset <= RUN_BYTES_MAX;
}

static ij_status make_runs(ij_classifier *c, ij_error *err) {
    const ij_weights *w = c->weights;
    IJ_TRY(ij_alloc(&c->runs, w->table.count, sizeof *c->runs, "parameter runs", err));
    for (int i = 0; i < w->table.count; i++) {
        if (!trained(c, i)) continue;
        if (c->run_count == 0 || !joins(c, &c->runs[c->run_count - 1], i))
            c->runs[c->run_count++] = (ij_classifier_run){.first = i, .layer = layer_of(c, i), .decay = w->table.params[i].decay};
        ij_classifier_run *run = &c->runs[c->run_count - 1];
        run->last = i;
        run->elements = (int64_t)(gpu_span(w->tensors[IJ_SLOT_WEIGHT][run->first], w->tensors[IJ_SLOT_WEIGHT][i]).bytes / 4);
    }
    return IJ_OK;
}

static gpu_tensor run_of(const ij_classifier *c, ij_slot slot, const ij_classifier_run *run) {
    return gpu_span(c->weights->tensors[slot][run->first], c->weights->tensors[slot][run->last]);
}

/* 16-bit copies: flat ones of the runs, which the optimiser writes; of frozen matrices, and of those whose rows are padded, one each. */
static ij_status reserve_half(ij_classifier *c, ij_error *err) {
    ij_weights *w = c->weights;
    if (c->desc.element == GPU_WORD) return IJ_OK;
    w->half = c->desc.element;
    IJ_TRY(gpu_arena_create(c->device, "16-bit weights", GPU_MEMORY_DEVICE, &w->half_arena, err));
    IJ_TRY(gpu_reserve(w->half_arena, sizeof(struct optim_scale), "loss scale", &w->loss_scale, err));
    for (int slot = 0; slot <= IJ_SLOT_TARGET; slot++) /* the second stays empty: there is no target encoder */
        IJ_TRY(ij_alloc(&w->half_tensors[slot], w->table.count, sizeof(gpu_tensor), "16-bit weights", err));
    for (int r = 0; r < c->run_count; r++) {
        ij_classifier_run *run = &c->runs[r];
        if (!run->decay || is_head(&w->table.params[run->first])) continue;
        IJ_TRY(gpu_reserve(w->half_arena, 2 * (uint64_t)run->elements, "16-bit weights", &run->half, err));
        run->half.element = w->half;
        const gpu_tensor *at = w->tensors[IJ_SLOT_WEIGHT];
        for (int i = run->first; i <= run->last; i++)
            w->half_tensors[IJ_SLOT_WEIGHT][i] =
                gpu_part(run->half, (at[i].offset - at[run->first].offset) / 2, 2 * (uint64_t)w->table.params[i].count);
    }
    for (int i = 0; i < w->table.count; i++) {
        const ij_param *p = &w->table.params[i];
        if (!p->decay || is_head(p) || (trained(c, i) && !ij_param_padded(p))) continue;
        IJ_TRY(gpu_reserve_matrix(w->half_arena, w->half, (uint64_t)p->shape[0], (uint64_t)ij_param_columns(p), p->name,
                                  &w->half_tensors[IJ_SLOT_WEIGHT][i], err));
    }
    return IJ_OK;
}

static ij_status plan_weights(ij_classifier *c, ij_error *err) {
    IJ_TRY(ij_alloc(&c->weights, 1, sizeof *c->weights, "weights", err));
    c->weights->device = c->device;
    c->weights->keep = IJ_KEEP_TRAINING;
    c->weights->model = c->desc.model;
    IJ_TRY(make_table(c, err));
    IJ_TRY(reserve_slot(c, IJ_SLOT_WEIGHT, "weights", err));
    IJ_TRY(reserve_slot(c, IJ_SLOT_GRADIENT, "gradients", err));
    IJ_TRY(reserve_slot(c, IJ_SLOT_MOMENT1, "first moments", err));
    IJ_TRY(reserve_slot(c, IJ_SLOT_MOMENT2, "second moments", err));
    IJ_TRY(make_runs(c, err));
    return reserve_half(c, err);
}

/* ---- plan ---- */

static ij_status reserve_floats(gpu_arena *arena, int64_t count, const char *what, gpu_tensor *out, ij_error *err) {
    return gpu_reserve(arena, 4 * (uint64_t)count, what, out, err);
}

static gpu_tensor loss_scale(const ij_classifier *c) { return c->desc.element == GPU_F16 ? c->weights->loss_scale : (gpu_tensor){0}; }
static ij_rows image_rows(const ij_classifier *c) { return (ij_rows){c->count, 0, (uint32_t)c->desc.batch}; }

static ij_status plan_trunks(ij_classifier *c, ij_error *err) {
    const ij_model_config *m = &c->desc.model;
    int frozen = m->depth - c->desc.last_blocks;
    IJ_TRY(vit_trunk_make(c->weights, m, IJ_SLOT_WEIGHT, false, &c->encoder, err));
    IJ_TRY(vit_trunk_make(c->weights, m, IJ_SLOT_GRADIENT, false, &c->gradient, err));
    c->lower = c->upper = c->encoder, c->upper_gradient = c->gradient;
    c->lower.depth = frozen;
    c->upper.depth = c->upper_gradient.depth = c->desc.last_blocks;
    c->upper.blocks += frozen, c->upper_gradient.blocks += frozen;
    return IJ_OK;
}

/* What one micro-batch is staged as: offsets into a slot's upload tensor. */
typedef struct layout {
    uint64_t crops, labels, count, steps, scalars, pixels, bytes;
} layout;

static uint64_t aligned(uint64_t bytes) { return (bytes + 255) / 256 * 256; }

static layout layout_of(const ij_classifier *c) {
    uint64_t batch = (uint64_t)c->desc.batch;
    layout l = {0};
    l.labels = l.crops + aligned(batch * sizeof(struct patches_crop));
    l.count = l.labels + aligned(4 * batch);
    l.steps = l.count + aligned(4);
    l.scalars = l.steps + aligned(batch * AUGMENT_STEPS * sizeof(struct augment_step));
    l.pixels = l.scalars + (uint64_t)layers_of(c) * STEP_STRIDE;
    l.bytes = l.pixels + c->desc.pixel_bytes;
    return l;
}

static ij_status plan_inputs(ij_classifier *c, ij_error *err) {
    const ij_model_config *m = &c->desc.model;
    int64_t batch = c->desc.batch;
    IJ_TRY(gpu_arena_create(c->device, "constants", GPU_MEMORY_DEVICE, &c->constants, err));
    IJ_TRY(reserve_floats(c->constants, (int64_t)ij_patches(m) * m->dim, "pos_embed", &c->positions, err));
    IJ_TRY(reserve_floats(c->constants, batch + 1, "offsets", &c->offsets, err));
    IJ_TRY(gpu_arena_create(c->device, "inputs", GPU_MEMORY_DEVICE, &c->inputs, err));
    IJ_TRY(gpu_reserve(c->inputs, c->desc.pixel_bytes, "pixels", &c->pixels, err));
    IJ_TRY(gpu_reserve(c->inputs, (uint64_t)batch * sizeof(struct patches_crop), "crops", &c->crops, err));
    IJ_TRY(reserve_floats(c->inputs, batch, "labels", &c->labels, err));
    IJ_TRY(reserve_floats(c->inputs, 1, "images", &c->count, err));
    IJ_TRY(gpu_reserve(c->inputs, (uint64_t)batch * AUGMENT_STEPS * sizeof(struct augment_step), "augmentation", &c->steps, err));
    IJ_TRY(gpu_reserve(c->inputs, (uint64_t)layers_of(c) * STEP_STRIDE, "step scalars", &c->scalars, err));
    for (int s = 0; s < IJ_CLASSIFIER_SLOTS; s++) {
        IJ_TRY(gpu_arena_create(c->device, "upload", GPU_MEMORY_UPLOAD, &c->upload[s], err));
        IJ_TRY(gpu_reserve(c->upload[s], layout_of(c).bytes, "a batch", &c->staged[s], err));
        IJ_TRY(gpu_arena_create(c->device, "readback", GPU_MEMORY_READBACK, &c->readback[s], err));
        IJ_TRY(gpu_reserve(c->readback[s], RESULT_BYTES, "results", &c->results[s], err));
    }
    return IJ_OK;
}

static augment_desc augment_of(const ij_classifier_desc *d) {
    augment_desc a = {.batch = d->batch,
                      .image_h = d->model.image_height,
                      .image_w = d->model.image_width,
                      .patch = d->model.patch_size,
                      .channels = d->model.channels};
    memcpy(a.mean, d->mean, sizeof a.mean);
    memcpy(a.std, d->std, sizeof a.std);
    return a;
}

static ij_status plan_augment(ij_classifier *c, ij_error *err) {
    if (!c->desc.augment) return IJ_OK;
    augment_desc a = augment_of(&c->desc);
    int64_t values = a.batch * a.image_h * a.image_w * a.channels;
    IJ_TRY(reserve_floats(c->activations, values, "pictures", &c->augment.pixels, err));
    IJ_TRY(reserve_floats(c->activations, values, "augmented pictures", &c->augment.between, err));
    c->augment.steps = c->steps;
    c->augment.rows = c->rows;
    return gpu_reserve(c->activations, op_augment_table_bytes(&a), "augmentation tables", &c->augment.table, err);
}

static op_matmul_desc head_gradient(const ij_classifier *c) {
    return (op_matmul_desc){.form = OP_MATMUL_TN,
                            .rows = image_rows(c),
                            .m = (uint32_t)c->desc.classes,
                            .n = (uint32_t)c->desc.model.dim,
                            .bias_grad = c->pooled,
                            .accumulate = true};
}

static ij_status plan_activations(ij_classifier *c, ij_error *err) {
    const ij_model_config *m = &c->desc.model;
    int64_t batch = c->desc.batch, classes = c->desc.classes, all = batch * ij_patches(m);
    uint64_t parts = 0;
    gpu_arena *a;
    IJ_TRY(gpu_arena_create(c->device, "activations", GPU_MEMORY_DEVICE, &c->activations, err));
    a = c->activations;
    c->tokens = (vit_tokens){c->offsets, (uint32_t)batch, (uint32_t)all, (uint32_t)ij_patches(m)};
    IJ_TRY(gpu_reserve_matrix(a, c->desc.element, (uint64_t)all, (uint64_t)ij_patch_dim(m), "patch rows", &c->rows, err));
    IJ_TRY(vit_saved_reserve(a, &c->upper, &c->tokens, true, &c->upper_saved, err));
    IJ_TRY(reserve_floats(a, batch * m->dim, "pooled", &c->pooled, err));
    IJ_TRY(reserve_floats(a, batch * m->dim, "pooled gradients", &c->dpooled, err));
    IJ_TRY(reserve_floats(a, batch * classes, "logits", &c->logits, err));
    IJ_TRY(reserve_floats(a, batch * classes, "logit gradients", &c->dlogits, err));
    IJ_TRY(gpu_reserve(a, 256, "loss", &c->loss, err));
    IJ_TRY(gpu_reserve(a, 256, "right", &c->right, err));
    IJ_TRY(gpu_reserve(a, op_cross_entropy_scratch((uint32_t)batch, 1, (uint32_t)classes), "loss sums", &c->loss_scratch, err));
    IJ_TRY(gpu_reserve(a, sizeof(struct reduce_norm), "gradient norm", &c->norm, err));
    for (int i = 0; i < c->run_count; i++) parts += op_sum_squares_partials((uint64_t)c->runs[i].elements);
    IJ_TRY(reserve_floats(a, (int64_t)parts, "norm sums", &c->norm_parts, err));
    op_matmul_desc head = head_gradient(c);
    IJ_TRY(gpu_reserve(a, op_matmul_scratch(c->device, &head), "head gradient parts", &c->head_scratch, err));
    /* Three times that follow one another share the rest: augmentation, the frozen blocks, the backward pass. */
    gpu_mark mark = gpu_arena_mark(a);
    IJ_TRY(plan_augment(c, err));
    gpu_arena_rewind(a, mark);
    if (c->lower.depth) {
        IJ_TRY(vit_saved_reserve(a, &c->lower, &c->tokens, false, &c->lower_saved, err));
        c->lower_saved.x_last = c->upper_saved.blocks[0].x;
    }
    gpu_arena_rewind(a, mark);
    return vit_scratch_reserve(a, &c->upper, &c->tokens, ij_patch_dim(m), m->dim, &c->scratch, err);
}

void ij_classifier_memory(const ij_classifier *c, uint64_t *weights, uint64_t *rest) {
    *weights = ij_weights_bytes(c->weights);
    *rest = gpu_arena_bytes(c->constants) + gpu_arena_bytes(c->inputs) + gpu_arena_bytes(c->activations);
    for (int s = 0; s < IJ_CLASSIFIER_SLOTS; s++) *rest += gpu_arena_bytes(c->upload[s]) + gpu_arena_bytes(c->readback[s]);
}

static ij_status check_memory(const ij_classifier *c, ij_error *err) {
    uint64_t weights, rest, have = gpu_device_info(c->device)->budget_bytes;
    ij_classifier_memory(c, &weights, &rest);
    if (!have || weights + rest <= have) return IJ_OK;
    ij_fail(err, IJ_ERROR_MEMORY,
            "fine-tuning needs %.2f GiB (weights, gradients and optimiser %.2f, batch of %d %.2f), %s has %.2f GiB free",
            (double)(weights + rest) / 0x1p30, (double)weights / 0x1p30, c->desc.batch, (double)rest / 0x1p30,
            gpu_device_info(c->device)->name, (double)have / 0x1p30);
    return ij_hint(err, "a smaller batch, or training the last blocks only, takes less");
}

/* ---- record ---- */

static patches_desc patches_of(const ij_classifier_desc *d, bool pictures) {
    patches_desc p = {.batch = d->batch,
                      .image_h = d->model.image_height,
                      .image_w = d->model.image_width,
                      .patch = pictures ? 1 : d->model.patch_size,
                      .channels = d->model.channels,
                      .std = {1 / 255.0f, 1 / 255.0f, 1 / 255.0f}};
    if (!pictures) memcpy(p.mean, d->mean, sizeof p.mean), memcpy(p.std, d->std, sizeof p.std);
    return p;
}

static ij_status record_prepare(ij_classifier *c, ij_error *err) {
    patches_desc plain = patches_of(&c->desc, false), pictures = patches_of(&c->desc, true);
    IJ_TRY(gpu_program_create(c->device, "patches", false, &c->prepare_plain, err));
    IJ_TRY(op_patches(c->prepare_plain, &plain, c->pixels, c->crops, c->rows, err));
    IJ_TRY(gpu_program_finish(c->prepare_plain, err));
    if (!c->desc.augment) return IJ_OK;
    augment_desc augment = augment_of(&c->desc);
    IJ_TRY(gpu_program_create(c->device, "augmented patches", false, &c->prepare, err));
    IJ_TRY(op_patches(c->prepare, &pictures, c->pixels, c->crops, c->augment.pixels, err));
    IJ_TRY(op_augment(c->prepare, &augment, &c->augment, err));
    return gpu_program_finish(c->prepare, err);
}

static ij_status record_forward(ij_classifier *c, ij_error *err) {
    const gpu_tensor none = {0};
    const ij_model_config *m = &c->desc.model;
    gpu_program *p;
    IJ_TRY(gpu_program_create(c->device, "forward", false, &c->forward, err));
    p = c->forward;
    gpu_tensor x = c->lower.depth ? c->lower_saved.blocks[0].x : c->upper_saved.blocks[0].x;
    IJ_TRY(vit_patch_embed(p, vit_linear_of(c->weights, IJ_SLOT_WEIGHT, false, "patch_embed.proj"), c->rows, none, c->positions,
                           ij_patches(m), x, vit_rows(&c->tokens), ij_patch_dim(m), m->dim, err));
    for (int i = 0; i < c->lower.depth; i++) IJ_TRY(vit_block_forward(p, &c->lower, &c->tokens, &c->lower_saved, i, err));
    IJ_TRY(vit_forward(p, &c->upper, &c->tokens, &c->upper_saved, err));
    IJ_TRY(op_mean_rows(p,
                        &(op_mean_rows_args){.x = c->upper_saved.y,
                                             .offsets = c->offsets,
                                             .pooled = c->pooled,
                                             .sequences = (uint32_t)c->desc.batch,
                                             .dim = (uint32_t)m->dim,
                                             .rows_max = c->tokens.rows_max},
                        err));
    IJ_TRY(vit_linear_forward(p, "head", vit_linear_of(c->weights, IJ_SLOT_WEIGHT, false, "head"), c->pooled, c->logits, none,
                              image_rows(c), m->dim, c->desc.classes, err));
    return gpu_program_finish(p, err);
}

static ij_status record_loss(ij_classifier *c, gpu_program *p, bool gradient, ij_error *err) {
    op_cross_entropy_args args = {.logits = c->logits,
                                  .labels = c->labels,
                                  .loss = c->loss,
                                  .right = c->right,
                                  .scratch = c->loss_scratch,
                                  .rows = image_rows(c),
                                  .heads = 1,
                                  .classes = (uint32_t)c->desc.classes,
                                  .smoothing = (float)c->desc.smoothing,
                                  .scale = 1,
                                  .accumulate = true};
    if (gradient) args.dlogits = c->dlogits, args.loss_scale = loss_scale(c), args.scale = 1 / (float)c->desc.accumulation;
    return op_cross_entropy(p, &args, err);
}

static ij_status record_backward(ij_classifier *c, ij_error *err) {
    const gpu_tensor none = {0};
    const ij_model_config *m = &c->desc.model;
    gpu_program *p;
    IJ_TRY(gpu_program_create(c->device, "backward", false, &c->backward, err));
    p = c->backward;
    IJ_TRY(record_loss(c, p, true, err));
    IJ_TRY(vit_linear_backward(p, "head", vit_linear_of(c->weights, IJ_SLOT_WEIGHT, false, "head"),
                               vit_linear_of(c->weights, IJ_SLOT_GRADIENT, false, "head"), c->pooled, none, c->dlogits, c->dpooled,
                               c->head_scratch, image_rows(c), m->dim, c->desc.classes, err));
    IJ_TRY(op_mean_rows_bwd(p,
                            &(op_mean_rows_args){.x = c->scratch.dnormed,
                                                 .pooled = c->dpooled,
                                                 .offsets = c->offsets,
                                                 .sequences = (uint32_t)c->desc.batch,
                                                 .dim = (uint32_t)m->dim,
                                                 .rows_max = c->tokens.rows_max},
                            err));
    IJ_TRY(vit_backward(p, &c->upper, &c->upper_gradient, &c->tokens, &c->upper_saved, &c->scratch, c->scratch.dnormed, err));
    if (c->lower.depth == 0)
        IJ_TRY(vit_linear_backward(p, "patch_embed", vit_linear_of(c->weights, IJ_SLOT_WEIGHT, false, "patch_embed.proj"),
                                   vit_linear_of(c->weights, IJ_SLOT_GRADIENT, false, "patch_embed.proj"), c->rows, none,
                                   vit_dx(&c->scratch), none, c->scratch.matmul, vit_rows(&c->tokens), ij_patch_dim(m), m->dim, err));
    return gpu_program_finish(p, err);
}

static ij_status record_judge(ij_classifier *c, ij_error *err) {
    IJ_TRY(gpu_program_create(c->device, "judge", false, &c->judge, err));
    IJ_TRY(record_loss(c, c->judge, false, err));
    return gpu_program_finish(c->judge, err);
}

/* Trained matrices whose rows are padded in 16 bits have copies that no flat pass writes. */
static ij_status record_padded_copies(ij_classifier *c, ij_error *err) {
    const ij_weights *w = c->weights;
    for (int i = 0; i < w->table.count && w->half != GPU_WORD; i++) {
        const ij_param *p = &w->table.params[i];
        gpu_tensor half = w->half_tensors[IJ_SLOT_WEIGHT][i];
        if (half.arena && trained(c, i) && ij_param_padded(p))
            IJ_TRY(op_cast_rows(c->update, w->tensors[IJ_SLOT_WEIGHT][i], half, (uint64_t)p->shape[0], (uint64_t)ij_param_columns(p), err));
    }
    return IJ_OK;
}

static ij_status record_update(ij_classifier *c, ij_error *err) {
    uint32_t parts = 0;
    IJ_TRY(gpu_program_create(c->device, "update", false, &c->update, err));
    for (int i = 0; i < c->run_count; i++) {
        const ij_classifier_run *run = &c->runs[i];
        IJ_TRY(op_sum_squares(c->update, run_of(c, IJ_SLOT_GRADIENT, run), (uint64_t)run->elements, c->norm_parts, parts, err));
        parts += op_sum_squares_partials((uint64_t)run->elements);
    }
    IJ_TRY(op_norm_finish(c->update, c->norm_parts, parts, c->norm, err));
    for (int i = 0; i < c->run_count; i++) {
        const ij_classifier_run *run = &c->runs[i];
        IJ_TRY(op_adamw(c->update,
                        &(op_adamw_args){.p = run_of(c, IJ_SLOT_WEIGHT, run),
                                         .m = run_of(c, IJ_SLOT_MOMENT1, run),
                                         .v = run_of(c, IJ_SLOT_MOMENT2, run),
                                         .g = run_of(c, IJ_SLOT_GRADIENT, run),
                                         .step = gpu_part(c->scalars, (uint64_t)run->layer * STEP_STRIDE, STEP_STRIDE),
                                         .norm = c->norm,
                                         .copy = run->half,
                                         .loss_scale = loss_scale(c),
                                         .count = (uint64_t)run->elements,
                                         .decay = run->decay,
                                         .zero_gradient = true},
                        err));
    }
    IJ_TRY(record_padded_copies(c, err));
    if (loss_scale(c).arena) IJ_TRY(op_scale_update(c->update, c->norm, c->weights->loss_scale, OP_SCALE_INTERVAL, err));
    return gpu_program_finish(c->update, err);
}

static ij_status record_readback(ij_classifier *c, int s, ij_error *err) {
    gpu_program *p;
    gpu_tensor to = c->results[s];
    IJ_TRY(gpu_program_create(c->device, "readback", false, &c->readback_program[s], err));
    p = c->readback_program[s];
    IJ_TRY(gpu_copy(p, gpu_part(to, LOSS_AT, 16), c->loss, 4, err));
    IJ_TRY(gpu_copy(p, gpu_part(to, RIGHT_AT, 16), c->right, 4, err));
    IJ_TRY(gpu_copy(p, gpu_part(to, NORM_AT, 16), c->norm, sizeof(struct reduce_norm), err));
    if (loss_scale(c).arena) IJ_TRY(gpu_copy(p, gpu_part(to, SCALE_AT, 16), loss_scale(c), sizeof(struct optim_scale), err));
    IJ_TRY(gpu_fill(p, c->loss, 0, err)); /* added to by the passes of the next step */
    IJ_TRY(gpu_fill(p, c->right, 0, err));
    return gpu_program_finish(p, err);
}

/* ---- create ---- */

static ij_status write_positions(ij_classifier *c, const ij_weights *encoder, ij_error *err) {
    const ij_model_config *m = &c->desc.model;
    int64_t count = (int64_t)ij_patches(m) * m->dim;
    float *positions;
    IJ_TRY(ij_alloc(&positions, count, sizeof *positions, "positions", err));
    ij_weights_positions(encoder, ij_grid_height(m), ij_grid_width(m), positions);
    ij_status status = gpu_write(c->device, c->positions, 0, positions, 4 * (uint64_t)count, err);
    free(positions);
    return status;
}

static ij_status write_constants(ij_classifier *c, ij_error *err) {
    int64_t patches = ij_patches(&c->desc.model);
    uint32_t *offsets = NULL;
    IJ_TRY(write_positions(c, c->weights, err));
    IJ_TRY(ij_alloc(&offsets, c->desc.batch + 1, sizeof *offsets, "offsets", err));
    for (int i = 0; i <= c->desc.batch; i++) offsets[i] = (uint32_t)(i * patches);
    ij_status status = gpu_write(c->device, c->offsets, 0, offsets, 4 * ((uint64_t)c->desc.batch + 1), err);
    free(offsets);
    return status;
}

static ij_status commit(ij_classifier *c, ij_error *err) {
    gpu_arena *arenas[] = {c->constants, c->inputs, c->activations, c->weights->half_arena};
    for (int i = 0; i < IJ_COUNT(arenas); i++)
        if (arenas[i]) IJ_TRY(gpu_arena_commit(arenas[i], err));
    for (int slot = 0; slot < IJ_SLOT_COUNT; slot++)
        if (c->weights->arenas[slot]) IJ_TRY(gpu_arena_commit(c->weights->arenas[slot], err));
    for (int s = 0; s < IJ_CLASSIFIER_SLOTS; s++) {
        IJ_TRY(gpu_arena_commit(c->upload[s], err));
        IJ_TRY(gpu_arena_commit(c->readback[s], err));
    }
    return IJ_OK;
}

static ij_status build(ij_classifier *c, ij_error *err) {
    IJ_TRY(commit(c, err));
    IJ_TRY(write_constants(c, err));
    IJ_TRY(record_prepare(c, err));
    IJ_TRY(record_forward(c, err));
    IJ_TRY(record_backward(c, err));
    IJ_TRY(record_judge(c, err));
    IJ_TRY(record_update(c, err));
    for (int s = 0; s < IJ_CLASSIFIER_SLOTS; s++) {
        IJ_TRY(gpu_program_create(c->device, "upload", false, &c->upload_program[s], err));
        IJ_TRY(record_readback(c, s, err));
    }
    return IJ_OK;
}

static ij_status check_desc(ij_classifier_desc *d, ij_error *err) {
    IJ_TRY(ij_model_check(&d->model, err));
    if (d->accumulation < 1) d->accumulation = 1;
    if (d->last_blocks == 0) d->last_blocks = d->model.depth;
    if (d->last_blocks < 1 || d->last_blocks > d->model.depth)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "the last %d blocks are to be trained, the encoder has %d", d->last_blocks, d->model.depth);
    if (d->classes < 2) return ij_fail(err, IJ_ERROR_ARGUMENT, "%d classes: there is nothing to tell apart", d->classes);
    if (d->batch < 1) return ij_fail(err, IJ_ERROR_ARGUMENT, "batch of %d images", d->batch);
    if (!(d->smoothing >= 0 && d->smoothing < 1))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "label smoothing %g, expected 0 or more, below 1", d->smoothing);
    d->pixel_bytes = aligned(d->pixel_bytes);
    return IJ_OK;
}

ij_status ij_classifier_create(gpu_device *device, const ij_classifier_desc *desc, ij_classifier **out, ij_error *err) {
    *out = NULL;
    ij_classifier *c;
    IJ_TRY(ij_alloc(&c, 1, sizeof *c, "classifier", err));
    c->device = device;
    c->desc = *desc;
    ij_status status = IJ_OK;
    IJ_TRY_GOTO(check_desc(&c->desc, err), failed);
    int frozen = c->desc.model.depth - c->desc.last_blocks;
    c->first_layer = frozen ? frozen + 1 : 0;
    IJ_TRY_GOTO(plan_weights(c, err), failed);
    IJ_TRY_GOTO(plan_trunks(c, err), failed);
    IJ_TRY_GOTO(plan_inputs(c, err), failed);
    IJ_TRY_GOTO(plan_activations(c, err), failed);
    IJ_TRY_GOTO(check_memory(c, err), failed);
    IJ_TRY_GOTO(build(c, err), failed);
    *out = c;
    return IJ_OK;
failed:
    ij_classifier_destroy(c);
    return status;
}

void ij_classifier_destroy(ij_classifier *c) {
    if (!c) return;
    (void)gpu_wait_all(c->device, NULL);
    gpu_program *programs[] = {c->prepare, c->prepare_plain, c->forward, c->backward, c->judge, c->update};
    for (int i = 0; i < IJ_COUNT(programs); i++) gpu_program_destroy(programs[i]);
    for (int s = 0; s < IJ_CLASSIFIER_SLOTS; s++) {
        gpu_program_destroy(c->upload_program[s]);
        gpu_program_destroy(c->readback_program[s]);
        gpu_arena_destroy(c->upload[s]);
        gpu_arena_destroy(c->readback[s]);
    }
    gpu_arena_destroy(c->constants);
    gpu_arena_destroy(c->inputs);
    gpu_arena_destroy(c->activations);
    vit_saved_free(&c->lower_saved);
    vit_saved_free(&c->upper_saved);
    vit_trunk_free(&c->encoder);
    vit_trunk_free(&c->gradient);
    ij_weights_destroy(c->weights);
    free(c->runs);
    free(c);
}

/* ---- beginning ---- */

static ij_status write_head(ij_classifier *c, uint64_t seed, ij_error *err) {
    const ij_weights *w = c->weights;
    int weight = ij_param_find(&w->table, false, "head.weight"), bias = ij_param_find(&w->table, false, "head.bias");
    int64_t count = w->table.params[weight].count;
    float *values;
    IJ_TRY(ij_alloc(&values, count + c->desc.classes, sizeof *values, "head", err)); /* behind count: zeros for the bias */
    for (int64_t i = 0; i < count; i++) {
        philox_words r = philox((uint32_t)seed, (uint32_t)(seed >> 32), PHILOX_STREAM_INIT, (uint32_t)i, (uint32_t)(i >> 32), 0x68656164u);
        double u = ((double)r.x + 1) / 4294967297.0, v = (double)r.y / 4294967296.0;
        values[i] = (float)(HEAD_STD * sqrt(-2 * log(u)) * cos(6.283185307179586477 * v));
    }
    ij_status status = ij_weights_write(w, IJ_SLOT_WEIGHT, weight, values, err);
    if (status == IJ_OK) status = ij_weights_write(w, IJ_SLOT_WEIGHT, bias, values + count, err);
    free(values);
    return status;
}

static ij_status copy_encoder(ij_classifier *c, const ij_weights *from, ij_error *err) {
    const ij_weights *w = c->weights;
    for (int i = 0; i < from->table.encoder_count; i++) {
        const ij_param *p = &w->table.params[i];
        float *values;
        assert(i < w->table.count && strcmp(p->name, from->table.params[i].name) == 0 && p->count == from->table.params[i].count);
        IJ_TRY(ij_alloc(&values, p->count, sizeof *values, p->name, err));
        ij_status status = ij_weights_read(from, IJ_SLOT_TARGET, i, values, err);
        if (status == IJ_OK) status = ij_weights_write(w, IJ_SLOT_WEIGHT, i, values, err);
        free(values);
        IJ_TRY(status);
    }
    return IJ_OK;
}

/* Everything that is trained, with the rounding-up between tensors; the encoder's values come after. */
static ij_status zero(ij_classifier *c, ij_error *err) {
    static const ij_slot slots[] = {IJ_SLOT_WEIGHT, IJ_SLOT_GRADIENT, IJ_SLOT_MOMENT1, IJ_SLOT_MOMENT2};
    gpu_program *program;
    IJ_TRY(gpu_program_create(c->device, "zero", false, &program, err));
    ij_status status = gpu_fill(program, c->loss, 0, err);
    if (status == IJ_OK) status = gpu_fill(program, c->right, 0, err);
    for (int i = 0; i < c->run_count; i++) {
        for (int s = 0; s < IJ_COUNT(slots) && status == IJ_OK; s++) status = gpu_fill(program, run_of(c, slots[s], &c->runs[i]), 0, err);
        if (status == IJ_OK && c->runs[i].half.arena) status = gpu_fill(program, c->runs[i].half, 0, err);
    }
    if (status == IJ_OK) status = gpu_program_finish(program, err);
    if (status == IJ_OK) status = gpu_run(program, err);
    gpu_program_destroy(program);
    return status;
}

ij_status ij_classifier_load(ij_classifier *c, const ij_weights *encoder, uint64_t seed, ij_error *err) {
    struct optim_scale scale = op_optim_scale_make(OP_SCALE_START);
    IJ_TRY(zero(c, err));
    IJ_TRY(copy_encoder(c, encoder, err));
    IJ_TRY(write_positions(c, encoder, err));
    IJ_TRY(write_head(c, seed, err));
    if (c->weights->half != GPU_WORD) IJ_TRY(gpu_write(c->device, c->weights->loss_scale, 0, &scale, sizeof scale, err));
    return ij_weights_round(c->weights, err);
}

/* ---- running ---- */

static void write_step(const ij_classifier *c, const ij_classifier_scalars *s, char *to) {
    for (int layer = 0; layer < layers_of(c); layer++) {
        struct optim_step step =
            op_optim_step_make(&(op_optim_desc){.lr = s->lr * ij_classifier_lr_scale(s->layer_decay, layer, c->desc.model.depth),
                                                .weight_decay = s->weight_decay,
                                                .beta1 = s->beta1,
                                                .beta2 = s->beta2,
                                                .eps = s->eps,
                                                .ema = 1,
                                                .clip_norm = s->clip_norm,
                                                .step = (int64_t)s->step + 1});
        memcpy(to + layer * STEP_STRIDE, &step, sizeof step);
    }
}

/* Images, labels, and what is done to them, into the slot; places beyond count repeat the last image and count for nothing. */
static void write_batch(const ij_classifier *c, const ij_classifier_batch *b, char *to) {
    layout l = layout_of(c);
    struct patches_crop *crops = (struct patches_crop *)(to + l.crops);
    uint32_t *labels = (uint32_t *)(to + l.labels), count = (uint32_t)b->count;
    for (int i = 0; i < c->desc.batch; i++) {
        int at = i < b->count ? i : b->count - 1;
        crops[i] = ij_jepa_crop(&b->images[at]);
        labels[i] = b->labels[at];
    }
    memcpy(to + l.count, &count, sizeof count);
    memcpy(to + l.pixels, b->pixels, b->pixel_bytes);
    if (b->steps) memcpy(to + l.steps, b->steps, (size_t)b->count * AUGMENT_STEPS * sizeof *b->steps);
}

/* Waits for the slot, stages the batch and queues its copies. */
static ij_status stage(ij_classifier *c, int slot, const ij_classifier_scalars *scalars, const ij_classifier_batch *b, ij_error *err) {
    assert(slot >= 0 && slot < IJ_CLASSIFIER_SLOTS && b->count >= 1 && b->count <= c->desc.batch);
    assert(b->pixel_bytes <= c->desc.pixel_bytes && b->pixel_bytes % 4 == 0);
    IJ_TRY(gpu_wait(c->device, c->ticket[slot], err));
    gpu_program *upload = c->upload_program[slot];
    gpu_tensor from = c->staged[slot];
    layout l = layout_of(c);
    char *to = gpu_map(from);
    write_batch(c, b, to);
    gpu_program_reset(upload);
    if (scalars) {
        write_step(c, scalars, to + l.scalars);
        IJ_TRY(gpu_copy(upload, c->scalars, gpu_part(from, l.scalars, c->scalars.bytes), (uint64_t)layers_of(c) * STEP_STRIDE, err));
    }
    IJ_TRY(gpu_copy(upload, c->crops, gpu_part(from, l.crops, c->crops.bytes), (uint64_t)c->desc.batch * sizeof(struct patches_crop), err));
    IJ_TRY(gpu_copy(upload, c->labels, gpu_part(from, l.labels, c->labels.bytes), 4 * (uint64_t)c->desc.batch, err));
    IJ_TRY(gpu_copy(upload, c->count, gpu_part(from, l.count, 4), 4, err));
    if (b->steps)
        IJ_TRY(gpu_copy(upload, c->steps, gpu_part(from, l.steps, c->steps.bytes),
                        (uint64_t)c->desc.batch * AUGMENT_STEPS * sizeof(struct augment_step), err));
    IJ_TRY(gpu_copy(upload, c->pixels, gpu_part(from, l.pixels, b->pixel_bytes), b->pixel_bytes, err));
    IJ_TRY(gpu_program_finish(upload, err));
    return gpu_submit(upload, NULL, err);
}

ij_status ij_classifier_pass(ij_classifier *c, int slot, const ij_classifier_scalars *scalars, const ij_classifier_batch *b,
                             ij_error *err) {
    assert(b->count == c->desc.batch && (b->steps != NULL) == c->desc.augment);
    IJ_TRY(stage(c, slot, scalars, b, err));
    IJ_TRY(gpu_submit(c->desc.augment ? c->prepare : c->prepare_plain, NULL, err));
    IJ_TRY(gpu_submit(c->forward, NULL, err));
    return gpu_submit(c->backward, &c->ticket[slot], err);
}

ij_status ij_classifier_update(ij_classifier *c, int slot, ij_error *err) {
    IJ_TRY(gpu_submit(c->update, NULL, err));
    return gpu_submit(c->readback_program[slot], &c->ticket[slot], err);
}

ij_status ij_classifier_test(ij_classifier *c, int slot, const ij_classifier_batch *b, ij_error *err) {
    IJ_TRY(stage(c, slot, NULL, b, err));
    IJ_TRY(gpu_submit(c->prepare_plain, NULL, err));
    IJ_TRY(gpu_submit(c->forward, NULL, err));
    IJ_TRY(gpu_submit(c->judge, NULL, err));
    return gpu_submit(c->readback_program[slot], &c->ticket[slot], err);
}

ij_status ij_classifier_result_of(ij_classifier *c, int slot, ij_classifier_result *out, ij_error *err) {
    IJ_TRY(gpu_wait(c->device, c->ticket[slot], err));
    const char *results = gpu_map(c->results[slot]);
    float loss;
    uint32_t right;
    struct reduce_norm norm;
    struct optim_scale scale = {.scale = 1};
    memcpy(&loss, results + LOSS_AT, sizeof loss);
    memcpy(&right, results + RIGHT_AT, sizeof right);
    memcpy(&norm, results + NORM_AT, sizeof norm);
    if (c->desc.element == GPU_F16) memcpy(&scale, results + SCALE_AT, sizeof scale);
    *out = (ij_classifier_result){.loss = (double)loss,
                                  .right = right,
                                  .gradient_norm = (double)norm.norm,
                                  .loss_scale = (double)scale.scale,
                                  .finite = norm.finite != 0 && isfinite(loss),
                                  .skipped_steps = scale.skipped};
    return IJ_OK;
}
