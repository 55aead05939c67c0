/* layer: train; uses: base, io, gpu, model */
#include "train/replay.h"
#include "base/memory.h"
#include "io/safetensors.h"
#include "model/jepa.h"
#include "train/replay_bounds.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct replay {
    const char *path;
    const ij_safetensors *file;
    gpu_device *device;
    ij_jepa_desc desc;
    ij_step_scalars scalars;
    int blocks, steps;
    replay_bounds bounds;
    ij_weights *weights;
    ij_jepa *jepa;
    ij_replay_result *result;
    masks_lists lists; /* of the current step, on the host */
    float *scratch;    /* large enough for any tensor */
    int64_t scratch_count;
} replay;

/* ---- metadata ---- */

static ij_status number(const replay *r, const char *key, double low, double high, double *out, ij_error *err) {
    const char *text = ij_safetensors_get(r->file, key);
    char *end;
    if (!text) return ij_fail(err, IJ_ERROR_FORMAT, "%s: no \"%s\" in its metadata: not a recorded step", r->path, key);
    *out = strtod(text, &end);
    if (end == text || *end || !(*out >= low && *out <= high))
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: metadata \"%s\" is \"%.40s\", expected a number from %g to %g", r->path, key, text, low,
                       high);
    return IJ_OK;
}

static ij_status whole(const replay *r, const char *key, double high, int *out, ij_error *err) {
    double value = 0;
    IJ_TRY(number(r, key, 1, high, &value, err));
    *out = (int)value;
    return IJ_OK;
}

static ij_status read_metadata(replay *r, ij_error *err) {
    ij_model_config *m = &r->desc.model;
    double ratio, eps;
    IJ_TRY(whole(r, "image_size", 4096, &m->image_height, err));
    m->image_width = m->image_height;
    IJ_TRY(whole(r, "patch_size", 4096, &m->patch_size, err));
    IJ_TRY(whole(r, "channels", 3, &m->channels, err));
    IJ_TRY(whole(r, "embed_dim", 16384, &m->dim, err));
    IJ_TRY(whole(r, "depth", 1024, &m->depth, err));
    IJ_TRY(whole(r, "num_heads", 1024, &m->heads, err));
    IJ_TRY(number(r, "mlp_ratio", 0.25, 64, &ratio, err));
    IJ_TRY(whole(r, "pred_embed_dim", 16384, &m->pred_dim, err));
    IJ_TRY(whole(r, "pred_depth", 1024, &m->pred_depth, err));
    m->pred_heads = m->heads;
    m->hidden = (int)(m->dim * ratio), m->pred_hidden = (int)(m->pred_dim * ratio);
    IJ_TRY(number(r, "ln_eps", 0, 1, &eps, err));
    m->norm_eps = (float)eps;
    IJ_TRY(whole(r, "batch", 4096, &r->desc.batch, err));
    IJ_TRY(whole(r, "npred", MASKS_BLOCKS_MAX, &r->blocks, err));
    IJ_TRY(whole(r, "steps", 1000, &r->steps, err));
    const char *loss = ij_safetensors_get(r->file, "loss");
    if (loss && strcmp(loss, "l2") == 0)
        r->desc.loss = LOSS_L2;
    else if (loss && strcmp(loss, "smooth_l1") == 0)
        r->desc.loss = LOSS_SMOOTH_L1;
    else
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: loss \"%.40s\"; smooth_l1 or l2", r->path, loss ? loss : "");
    ij_step_scalars *s = &r->scalars;
    IJ_TRY(number(r, "lr", 0, 100, &s->lr, err));
    IJ_TRY(number(r, "weight_decay", 0, 100, &s->weight_decay, err));
    IJ_TRY(number(r, "beta1", 0, 1, &s->beta1, err));
    IJ_TRY(number(r, "beta2", 0, 1, &s->beta2, err));
    IJ_TRY(number(r, "eps", 0, 1, &s->eps, err));
    IJ_TRY(number(r, "ema", 0, 1, &s->momentum, err));
    return ij_model_check(m, err);
}

/* ---- set-up ---- */

static ij_status load_weights(replay *r, ij_error *err) {
    static const ij_slot slots[] = {IJ_SLOT_WEIGHT, IJ_SLOT_TARGET};
    const ij_param_table *table = &r->weights->table;
    for (int s = 0; s < IJ_COUNT(slots); s++) {
        int count = slots[s] == IJ_SLOT_TARGET ? table->encoder_count : table->count;
        for (int i = 0; i < count; i++) {
            const ij_param *p = &table->params[i];
            const ij_safetensors_tensor *tensor;
            char name[160];
            snprintf(name, sizeof name, "%s.%s",
                     slots[s] == IJ_SLOT_TARGET ? "target_encoder"
                     : p->predictor             ? "predictor"
                                                : "encoder",
                     p->name);
            IJ_TRY(ij_safetensors_need(r->file, name, IJ_SAFETENSORS_F32, p->dims, p->shape, &tensor, err));
            IJ_TRY(ij_weights_write(r->weights, slots[s], i, tensor->data, err));
        }
    }
    return ij_weights_round(r->weights, err);
}

/* Bounds of this file: how much predictions and targets cancel is a property of its numbers. */
static ij_status find_bounds(replay *r, ij_error *err) {
    const ij_safetensors_tensor *p = ij_safetensors_find(r->file, "expect.predictions"),
                                *t = ij_safetensors_find(r->file, "expect.targets");
    if (!p || !t || p->dtype != IJ_SAFETENSORS_F32 || t->dtype != IJ_SAFETENSORS_F32 || p->count != t->count || p->count == 0)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: expect.predictions and expect.targets must be F32 of one shape", r->path);
    const float *prediction = p->data, *target = t->data;
    double sizes = 0, difference = 0;
    for (int64_t i = 0; i < p->count; i++) {
        double x = (double)prediction[i], y = (double)target[i];
        sizes += x * x + y * y, difference += (x - y) * (x - y);
    }
    replay_facts facts = {r->desc.model.depth, r->desc.model.pred_depth, difference > 0 ? sqrt(sizes / difference) : 1,
                          (double)(p->count / r->desc.model.dim)};
    r->bounds = replay_bounds_of(r->desc.element, &facts);
    return IJ_OK;
}

/* Positions of the file must be those that this program computes: they are not parameters. */
static ij_status compare_positions(const replay *r, const char *name, int dim, ij_error *err) {
    const ij_model_config *m = &r->desc.model;
    const ij_safetensors_tensor *tensor;
    const int64_t shape[3] = {1, ij_patches(m), dim};
    IJ_TRY(ij_safetensors_need(r->file, name, IJ_SAFETENSORS_F32, 3, shape, &tensor, err));
    ij_positions(ij_grid_height(m), ij_grid_width(m), dim, r->scratch);
    const float *given = tensor->data;
    for (int64_t i = 0; i < tensor->count; i++)
        if (!(fabs((double)given[i] - (double)r->scratch[i]) <= 1e-6))
            return ij_fail(err, IJ_ERROR_MISMATCH, "%s: %s[%lld] is %.9g, the sine-cosine table has %.9g", r->path, name, (long long)i,
                           (double)given[i], (double)r->scratch[i]);
    return IJ_OK;
}

static ij_status set_up(replay *r, ij_error *err) {
    const ij_model_config *m = &r->desc.model;
    int64_t patches = ij_patches(m), batch = r->desc.batch;
    r->desc.masks = (masks_config){.mode = MASKS_MULTIBLOCK, .grid_h = ij_grid_height(m), .grid_w = ij_grid_width(m), .blocks = r->blocks};
    masks_defaults(&r->desc.masks);
    masks_limits *l = &r->desc.limits;
    l->context_image = l->target_block = patches;
    l->target_image = patches * r->blocks;
    l->context_rows = batch * patches;
    l->target_rows = batch * r->blocks * patches;
    l->pred_rows = 2 * l->target_rows;
    IJ_TRY(ij_weights_create(r->device, m, IJ_KEEP_TRAINING, &r->weights, err));
    IJ_TRY(ij_jepa_plan(r->device, &r->desc, r->weights, &r->jepa, err));
    IJ_TRY(ij_weights_commit(r->weights, err));
    IJ_TRY(ij_jepa_build(r->jepa, err));
    r->scratch_count = l->target_rows * m->dim;
    if (r->scratch_count < batch * patches * ij_patch_dim(m)) r->scratch_count = batch * patches * ij_patch_dim(m);
    for (int i = 0; i < r->weights->table.count; i++)
        if (r->weights->table.params[i].count > r->scratch_count) r->scratch_count = r->weights->table.params[i].count;
    IJ_TRY(ij_alloc(&r->scratch, r->scratch_count, sizeof(float), "replay", err));
    IJ_TRY(ij_alloc(&r->lists.ctx_offsets, batch + 1, 4, "lists", err));
    IJ_TRY(ij_alloc(&r->lists.ctx_rows, l->context_rows, 4, "lists", err));
    IJ_TRY(ij_alloc(&r->lists.tgt_offsets, batch * r->blocks + 1, 4, "lists", err));
    IJ_TRY(ij_alloc(&r->lists.tgt_rows, l->target_rows, 4, "lists", err));
    IJ_TRY(ij_alloc(&r->lists.pred_offsets, batch * r->blocks + 1, 4, "lists", err));
    IJ_TRY(ij_alloc(&r->lists.pred_src, l->pred_rows, 4, "lists", err));
    IJ_TRY(compare_positions(r, "encoder.pos_embed", m->dim, err));
    IJ_TRY(compare_positions(r, "predictor.predictor_pos_embed", m->pred_dim, err));
    struct optim_scale scale = op_optim_scale_make(OP_SCALE_START);
    if (r->desc.element != GPU_WORD) IJ_TRY(gpu_write(r->device, r->weights->loss_scale, 0, &scale, sizeof scale, err));
    IJ_TRY(find_bounds(r, err));
    return load_weights(r, err);
}

/* ---- one step's inputs ---- */

static void step_name(char out[64], const char *stem, int step) {
    if (step)
        snprintf(out, 64, "%s.%d", stem, step);
    else
        snprintf(out, 64, "%s", stem);
}

/* Ones in bits [rows, patches] where the file's index lists, [rows, K] ending in -1, say. */
static ij_status read_mask(const replay *r, const char *name, int64_t rows, int64_t patches, uint8_t *bits, ij_error *err) {
    const ij_safetensors_tensor *t = ij_safetensors_find(r->file, name);
    if (!t) return ij_fail(err, IJ_ERROR_FORMAT, "%s: no tensor %s", r->path, name);
    if (t->dtype != IJ_SAFETENSORS_I32 || t->ndim < 2 || t->shape[t->ndim - 1] < 1 || t->count / t->shape[t->ndim - 1] != rows)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: %s must be I32 with %lld lists of patches", r->path, name, (long long)rows);
    int64_t length = t->shape[t->ndim - 1];
    const int32_t *index = t->data;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t k = 0; k < length; k++) {
            int32_t patch = index[row * length + k];
            if (patch == -1) continue;
            if (patch < 0 || patch >= patches)
                return ij_fail(err, IJ_ERROR_FORMAT, "%s: %s has patch %d, there are %lld", r->path, name, patch, (long long)patches);
            bits[row * patches + patch] = 1;
        }
    return IJ_OK;
}

static ij_status write_lists(replay *r, ij_error *err) {
    const masks_tensors *t = &r->jepa->masks;
    int64_t batch = r->desc.batch, sequences = batch * r->blocks;
    struct {
        gpu_tensor to;
        const uint32_t *from;
        int64_t count;
    } lists[] = {
        {t->ctx_offsets, r->lists.ctx_offsets, batch + 1},       {t->ctx_rows, r->lists.ctx_rows, r->lists.ctx_offsets[batch]},
        {t->tgt_offsets, r->lists.tgt_offsets, sequences + 1},   {t->tgt_rows, r->lists.tgt_rows, r->lists.tgt_offsets[sequences]},
        {t->pred_offsets, r->lists.pred_offsets, sequences + 1}, {t->pred_src, r->lists.pred_src, r->lists.pred_offsets[sequences]},
    };
    for (int i = 0; i < IJ_COUNT(lists); i++)
        IJ_TRY(gpu_write(r->device, lists[i].to, 0, lists[i].from, 4 * (uint64_t)lists[i].count, err));
    return IJ_OK;
}

static ij_status write_masks(replay *r, int step, ij_error *err) {
    int64_t batch = r->desc.batch, patches = ij_patches(&r->desc.model);
    uint8_t *bits; /* [batch, patches] context, [blocks, batch, patches] as recorded, [batch, blocks, patches] as used here */
    IJ_TRY(ij_alloc(&bits, (1 + 2 * r->blocks) * batch * patches, 1, "masks", err));
    uint8_t *context = bits, *recorded = bits + batch * patches, *targets = recorded + r->blocks * batch * patches;
    char name[64];
    step_name(name, "masks_enc", step);
    ij_status status = read_mask(r, name, batch, patches, context, err);
    step_name(name, "masks_pred", step);
    if (status == IJ_OK) status = read_mask(r, name, r->blocks * batch, patches, recorded, err);
    for (int64_t m = 0; m < r->blocks; m++)
        for (int64_t b = 0; b < batch; b++)
            memcpy(targets + (b * r->blocks + m) * patches, recorded + (m * batch + b) * patches, (size_t)patches);
    if (status == IJ_OK) {
        ref_masks_lists(&r->desc.masks, context, targets, batch, false, &r->lists);
        status = write_lists(r, err);
    }
    free(bits);
    return status;
}

/* scratch [rows, columns] into a tensor of any element. */
static ij_status write_matrix(replay *r, gpu_tensor to, int64_t rows, int64_t columns, ij_error *err) {
    if (to.element == GPU_WORD) return gpu_write(r->device, to, 0, r->scratch, 4 * (uint64_t)(rows * columns), err);
    int64_t row = (int64_t)gpu_row(to.element, (uint64_t)columns);
    uint16_t *halves;
    IJ_TRY(ij_alloc(&halves, rows * row, sizeof *halves, "images in 16 bits", err)); /* zeros, padding included */
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < columns; c++) halves[i * row + c] = op_encode(op_dtype_of(to.element), (double)r->scratch[i * columns + c]);
    ij_status status = gpu_write(r->device, to, 0, halves, 2 * (uint64_t)(rows * row), err);
    free(halves);
    return status;
}

/* images [batch, channels, H, W] to patch rows [batch patches, (channel, y, x)]. */
static ij_status write_images(replay *r, int step, ij_error *err) {
    const ij_model_config *m = &r->desc.model;
    int64_t side = m->image_height, ps = m->patch_size, grid = side / ps;
    const int64_t shape[4] = {r->desc.batch, m->channels, side, side};
    const ij_safetensors_tensor *t;
    char name[64];
    step_name(name, "images", step);
    IJ_TRY(ij_safetensors_need(r->file, name, IJ_SAFETENSORS_F32, 4, shape, &t, err));
    const float *pixels = t->data;
    float *out = r->scratch;
    for (int64_t b = 0; b < r->desc.batch; b++)
        for (int64_t patch = 0; patch < grid * grid; patch++)
            for (int64_t c = 0; c < m->channels; c++)
                for (int64_t y = 0; y < ps; y++)
                    for (int64_t x = 0; x < ps; x++)
                        *out++ = pixels[((b * m->channels + c) * side + patch / grid * ps + y) * side + patch % grid * ps + x];
    return write_matrix(r, r->jepa->rows, r->desc.batch * grid * grid, m->channels * ps * ps, err);
}

/* ---- comparing ---- */

typedef struct sums {
    double max_abs, difference, expected; /* the last two: sums of squares */
} sums;

static void add_sums(sums *s, const float *got, const float *expected, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        double d = fabs((double)got[i] - (double)expected[i]);
        if (!(d <= s->max_abs)) s->max_abs = d; /* NaN sticks */
        s->difference += d * d;
        s->expected += (double)expected[i] * (double)expected[i];
    }
}

static ij_status add_row(ij_replay_row **rows, int64_t *count, int64_t *capacity, const char *name, int tensors, const sums *s,
                         double tolerance, bool *pass, ij_error *err) {
    IJ_TRY(ij_grow(rows, capacity, *count + 1, sizeof **rows, "replay rows", err));
    ij_replay_row *row = &(*rows)[(*count)++];
    snprintf(row->name, sizeof row->name, "%.*s", (int)sizeof row->name - 1, name);
    row->tensors = tensors;
    row->max_abs = s->max_abs;
    row->rel_l2 = s->expected > 0 ? sqrt(s->difference / s->expected) : sqrt(s->difference);
    row->tolerance = tolerance;
    row->pass = row->rel_l2 <= tolerance && row->max_abs < INFINITY;
    if (!row->pass) *pass = false;
    return IJ_OK;
}

static ij_status add_tensor(replay *r, const char *name, const sums *s, double tolerance, ij_error *err) {
    ij_replay_result *out = r->result;
    return add_row(&out->tensors, &out->tensor_count, &out->tensor_capacity, name, 1, s, tolerance, &out->pass, err);
}

/* A group's row; it fails where one of its tensors failed. */
static ij_status add_group(replay *r, const char *name, int64_t first_tensor, const sums *s, double tolerance, ij_error *err) {
    ij_replay_result *out = r->result;
    IJ_TRY(add_row(&out->groups, &out->group_count, &out->group_capacity, name, (int)(out->tensor_count - first_tensor), s, tolerance,
                   &out->pass, err));
    ij_replay_row *group = &out->groups[out->group_count - 1];
    for (int64_t i = first_tensor; i < out->tensor_count; i++)
        if (!out->tensors[i].pass) group->pass = false;
    return IJ_OK;
}

static ij_status compare_one(replay *r, const char *name, const char *group, const float *got, const float *expected, int64_t count,
                             double tolerance, ij_error *err) {
    sums s = {0};
    int64_t first = r->result->tensor_count;
    add_sums(&s, got, expected, count);
    IJ_TRY(add_tensor(r, name, &s, tolerance, err));
    return add_group(r, group, first, &s, tolerance, err);
}

/* A recorded row tensor, in the order (block, image, index) where block_major; ours is (image, block, index). */
static ij_status compare_rows(replay *r, const char *name, const char *group, gpu_tensor tensor, int64_t rows, bool block_major,
                              double tolerance, ij_error *err) {
    const ij_safetensors_tensor *t;
    int64_t dim = r->desc.model.dim, batch = r->desc.batch;
    const int64_t shape[2] = {rows, dim};
    IJ_TRY(ij_safetensors_need(r->file, name, IJ_SAFETENSORS_F32, 2, shape, &t, err));
    IJ_TRY(op_read_floats(r->device, tensor, rows, dim, r->scratch, err));
    if (!block_major) return compare_one(r, name, group, r->scratch, t->data, t->count, tolerance, err);
    float *ordered;
    IJ_TRY(ij_alloc(&ordered, t->count, sizeof *ordered, name, err));
    int64_t at = 0;
    for (int64_t m = 0; m < r->blocks; m++)
        for (int64_t b = 0; b < batch; b++) {
            int64_t begin = r->lists.tgt_offsets[b * r->blocks + m], end = r->lists.tgt_offsets[b * r->blocks + m + 1];
            memcpy(ordered + at * dim, r->scratch + begin * dim, (size_t)((end - begin) * dim) * 4);
            at += end - begin;
        }
    ij_status status = compare_one(r, name, group, ordered, t->data, t->count, tolerance, err);
    free(ordered);
    return status;
}

/* |after - before| / |after| of a parameter, of the file's own numbers. */
static ij_status movement(replay *r, const ij_param *p, const char *net, const ij_safetensors_tensor *after, double *out, ij_error *err) {
    const ij_safetensors_tensor *before;
    char name[160];
    snprintf(name, sizeof name, "%s.%s", net, p->name);
    IJ_TRY(ij_safetensors_need(r->file, name, IJ_SAFETENSORS_F32, p->dims, p->shape, &before, err));
    sums s = {0};
    add_sums(&s, before->data, after->data, p->count);
    *out = s.expected > 0 ? sqrt(s.difference / s.expected) : 1;
    return IJ_OK;
}

/* A group's bound is not below that of any of its tensors where these differ: a group fails where one of its tensors does. */
static ij_status compare_params(replay *r, const char *group, const char *prefix, const char *net, ij_slot slot, bool predictor,
                                double scale, ij_error *err) {
    const ij_param_table *table = &r->weights->table;
    int64_t first = r->result->tensor_count;
    sums all = {0};
    double widest = 0;
    for (int i = 0; i < table->count; i++) {
        const ij_param *p = &table->params[i];
        const ij_safetensors_tensor *t;
        char name[160];
        if (p->predictor != predictor) continue;
        snprintf(name, sizeof name, "%s.%s.%s", prefix, net, p->name);
        IJ_TRY(ij_safetensors_need(r->file, name, IJ_SAFETENSORS_F32, p->dims, p->shape, &t, err));
        IJ_TRY(ij_weights_read(r->weights, slot, i, r->scratch, err));
        double tolerance = r->bounds.gradients, moved = 0;
        for (int64_t e = 0; e < p->count && slot == IJ_SLOT_GRADIENT; e++) r->scratch[e] *= (float)scale;
        if (slot != IJ_SLOT_GRADIENT) {
            IJ_TRY(movement(r, p, net, t, &moved, err));
            tolerance = replay_bound_after(r->desc.element, &r->bounds, r->steps, moved, strstr(p->name, "attn.qkv.bias") != NULL);
        }
        if (tolerance > widest) widest = tolerance;
        sums s = {0};
        add_sums(&s, r->scratch, t->data, p->count);
        add_sums(&all, r->scratch, t->data, p->count);
        IJ_TRY(add_tensor(r, name, &s, tolerance, err));
    }
    return add_group(r, group, first, &all, widest, err);
}

static ij_status compare_first_pass(replay *r, ij_error *err) {
    const ij_jepa *j = r->jepa;
    const replay_bounds *b = &r->bounds;
    int64_t batch = r->desc.batch, sequences = batch * r->blocks, patches = ij_patches(&r->desc.model);
    struct optim_scale scale = {.inverse = 1};
    if (r->desc.element == GPU_F16) IJ_TRY(gpu_read(r->device, r->weights->loss_scale, 0, &scale, sizeof scale, err));
    double inverse = (double)scale.inverse;
    IJ_TRY(compare_rows(r, "expect.target_features", "target features", j->target_saved.y, batch * patches, false, b->features, err));
    IJ_TRY(compare_rows(r, "expect.targets", "targets", j->targets, r->lists.tgt_offsets[sequences], true, b->features, err));
    IJ_TRY(compare_rows(r, "expect.context_features", "context features", j->context_saved.y, r->lists.ctx_offsets[batch], false,
                        b->features, err));
    IJ_TRY(
        compare_rows(r, "expect.predictions", "predictions", j->predictions, r->lists.tgt_offsets[sequences], true, b->predictions, err));
    IJ_TRY(compare_params(r, "gradients, encoder", "grad", "encoder", IJ_SLOT_GRADIENT, false, inverse, err));
    return compare_params(r, "gradients, predictor", "grad", "predictor", IJ_SLOT_GRADIENT, true, inverse, err);
}

static ij_status run_steps(replay *r, ij_error *err) {
    const int64_t one[1] = {1};
    for (int step = 0; step < r->steps; step++) {
        const ij_safetensors_tensor *t;
        ij_step_result result;
        char name[64], group[64];
        IJ_TRY(write_images(r, step, err));
        IJ_TRY(write_masks(r, step, err));
        r->scalars.step = (uint64_t)step;
        IJ_TRY(ij_jepa_pass(r->jepa, 0, &r->scalars, NULL, NULL, 0, err));
        IJ_TRY(gpu_wait(r->device, r->jepa->ticket[0], err));
        if (step == 0) IJ_TRY(compare_first_pass(r, err));
        IJ_TRY(ij_jepa_update(r->jepa, 0, err));
        IJ_TRY(ij_jepa_result(r->jepa, 0, &result, err));
        step_name(name, "expect.loss", step);
        IJ_TRY(ij_safetensors_need(r->file, name, IJ_SAFETENSORS_F32, 1, one, &t, err));
        snprintf(group, sizeof group, step ? "loss, step %d" : "loss", step + 1);
        float loss = (float)result.loss;
        IJ_TRY(compare_one(r, name, group, &loss, t->data, 1, r->bounds.loss, err));
        if (!result.finite)
            return ij_fail(err, IJ_ERROR_NUMBER, "%s: step %d has no finite gradients in this precision (loss scale %g)", r->path, step + 1,
                           result.loss_scale);
    }
    IJ_TRY(compare_params(r, "after, encoder", "after", "encoder", IJ_SLOT_WEIGHT, false, 1, err));
    IJ_TRY(compare_params(r, "after, predictor", "after", "predictor", IJ_SLOT_WEIGHT, true, 1, err));
    return compare_params(r, "after, target encoder", "after", "target_encoder", IJ_SLOT_TARGET, false, 1, err);
}

ij_status ij_replay_run(gpu_device *device, const char *path, gpu_element element, ij_replay_result *result, ij_error *err) {
    ij_safetensors *file;
    memset(result, 0, sizeof *result);
    result->pass = true;
    IJ_TRY(ij_safetensors_open(path, &file, err));
    replay r = {.path = path, .file = file, .device = device, .result = result, .desc.element = element};
    ij_status status = read_metadata(&r, err);
    if (status == IJ_OK) status = set_up(&r, err);
    if (status == IJ_OK) status = run_steps(&r, err);
    ij_jepa_destroy(r.jepa);
    ij_weights_destroy(r.weights);
    uint32_t *lists[] = {r.lists.ctx_offsets, r.lists.ctx_rows,     r.lists.tgt_offsets,
                         r.lists.tgt_rows,    r.lists.pred_offsets, r.lists.pred_src};
    for (int i = 0; i < IJ_COUNT(lists); i++) free(lists[i]);
    free(r.scratch);
    ij_safetensors_close(file);
    if (status != IJ_OK) ij_replay_free(result);
    return status;
}

void ij_replay_free(ij_replay_result *result) {
    free(result->groups);
    free(result->tensors);
    memset(result, 0, sizeof *result);
}
