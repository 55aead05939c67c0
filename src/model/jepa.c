/* Planning and recording of the step; running it is in jepa_run.c.      layer: model; uses: gpu, ops */
#include "model/jepa.h"
#include "base/memory.h"
#include "model/positions.h"
#include "ops/matmul.h"
#include "ops/collapse.h"
#include "ops/layernorm.h"
#include "ops/reduce.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- plan ---- */

static ij_status reserve_floats(gpu_arena *arena, int64_t count, const char *what, gpu_tensor *out, ij_error *err) {
    return gpu_reserve(arena, 4 * (uint64_t)count, what, out, err);
}

/* An activation that products read. */
static ij_status reserve_matrix(ij_jepa *j, int64_t rows, int64_t columns, const char *what, gpu_tensor *out, ij_error *err) {
    return gpu_reserve_matrix(j->activations, j->desc.element, (uint64_t)rows, (uint64_t)columns, what, out, err);
}

static bool predicts_pixels(const ij_jepa *j) { return j->desc.model.targets == IJ_TARGETS_PIXELS; }

/* Scales the loss's gradient in f16; absent otherwise. */
static gpu_tensor loss_scale(const ij_jepa *j) { return j->desc.element == GPU_F16 ? j->weights->loss_scale : (gpu_tensor){0}; }

static void plan_tokens(ij_jepa *j) {
    const masks_limits *l = &j->limits;
    uint32_t batch = (uint32_t)j->desc.batch, blocks = (uint32_t)j->desc.masks.blocks, patches = (uint32_t)ij_patches(&j->desc.model);
    j->full = (vit_tokens){j->full_offsets, batch, batch * patches, patches};
    j->context = (vit_tokens){j->masks.ctx_offsets, batch, (uint32_t)l->context_rows, (uint32_t)l->context_image};
    j->seen = j->full;
    if (j->desc.model.target_mask == IJ_TARGET_MASK_INPUT)
        j->seen = (vit_tokens){j->masks.tgt_offsets, batch * blocks, (uint32_t)l->target_rows, (uint32_t)l->target_block};
    j->prediction =
        (vit_tokens){j->masks.pred_offsets, batch * blocks, (uint32_t)l->pred_rows, (uint32_t)(l->context_image + l->target_block)};
}

static ij_rows target_rows(const ij_jepa *j) {
    return (ij_rows){j->masks.tgt_offsets, (uint32_t)(j->desc.batch * j->desc.masks.blocks), (uint32_t)j->limits.target_rows};
}

static pred_lists lists_of(const ij_jepa *j) {
    return (pred_lists){j->masks.ctx_offsets,   j->masks.ctx_rows,     j->masks.tgt_rows,    j->masks.pred_offsets,
                        j->masks.pred_src,      j->desc.batch,         j->desc.masks.blocks, ij_patches(&j->desc.model),
                        j->limits.context_rows, j->limits.target_rows, j->limits.pred_rows};
}

static patches_desc patches_of(const ij_jepa_desc *d) {
    patches_desc p = {.batch = d->batch,
                      .image_h = d->model.image_height,
                      .image_w = d->model.image_width,
                      .patch = d->model.patch_size,
                      .channels = d->model.channels};
    memcpy(p.mean, d->mean, sizeof p.mean);
    memcpy(p.std, d->std, sizeof p.std);
    return p;
}

static ij_status plan_constants(ij_jepa *j, ij_error *err) {
    const ij_model_config *m = &j->desc.model;
    IJ_TRY(gpu_arena_create(j->device, "constants", GPU_MEMORY_DEVICE, &j->constants, err));
    IJ_TRY(reserve_floats(j->constants, (int64_t)ij_patches(m) * m->dim, "pos_embed", &j->positions, err));
    IJ_TRY(reserve_floats(j->constants, (int64_t)ij_patches(m) * m->pred_dim, "predictor_pos_embed", &j->predictor_positions, err));
    IJ_TRY(reserve_floats(j->constants, MASKS_TABLE_WORDS, "mask sizes", &j->mask_table, err));
    return reserve_floats(j->constants, j->desc.batch + 1, "offsets", &j->full_offsets, err);
}

static ij_status plan_inputs(ij_jepa *j, ij_error *err) {
    const ij_jepa_desc *d = &j->desc;
    int64_t batch = d->batch, sequences = batch * d->masks.blocks;
    gpu_arena *a;
    IJ_TRY(gpu_arena_create(j->device, "inputs", GPU_MEMORY_DEVICE, &j->inputs, err));
    a = j->inputs;
    IJ_TRY(gpu_reserve(a, d->pixel_bytes, "pixels", &j->pixels, err));
    IJ_TRY(gpu_reserve(a, (uint64_t)batch * sizeof(struct patches_crop), "crops", &j->crops, err));
    IJ_TRY(reserve_floats(a, batch, "sample ids", &j->sample_ids, err));
    IJ_TRY(gpu_reserve(a, sizeof(struct masks_params), "mask parameters", &j->mask_params, err));
    IJ_TRY(gpu_reserve(a, sizeof(struct optim_step), "step scalars", &j->scalars, err));
    j->masks = (masks_tensors){.params = j->mask_params, .sample_ids = j->sample_ids, .table = j->mask_table};
    IJ_TRY(reserve_floats(a, masks_scratch_words(&d->masks, batch), "mask scratch", &j->masks.scratch, err));
    IJ_TRY(reserve_floats(a, batch + 1, "context offsets", &j->masks.ctx_offsets, err));
    IJ_TRY(reserve_floats(a, j->limits.context_rows, "context rows", &j->masks.ctx_rows, err));
    IJ_TRY(reserve_floats(a, sequences + 1, "target offsets", &j->masks.tgt_offsets, err));
    IJ_TRY(reserve_floats(a, j->limits.target_rows, "target rows", &j->masks.tgt_rows, err));
    IJ_TRY(reserve_floats(a, sequences + 1, "predictor offsets", &j->masks.pred_offsets, err));
    return reserve_floats(a, j->limits.pred_rows, "predictor rows", &j->masks.pred_src, err);
}

static ij_status plan_slots(ij_jepa *j, ij_error *err) {
    const ij_jepa_desc *d = &j->desc;
    uint64_t offsets_bytes = 4 * ((uint64_t)d->batch * (uint64_t)d->masks.blocks + 1);
    for (int s = 0; s < IJ_JEPA_SLOTS; s++) {
        IJ_TRY(gpu_arena_create(j->device, "upload", GPU_MEMORY_UPLOAD, &j->upload[s], err));
        IJ_TRY(gpu_reserve(j->upload[s], d->pixel_bytes, "pixels", &j->upload_pixels[s], err));
        IJ_TRY(gpu_reserve(j->upload[s], (uint64_t)d->batch * sizeof(struct patches_crop), "crops", &j->upload_crops[s], err));
        IJ_TRY(reserve_floats(j->upload[s], d->batch, "sample ids", &j->upload_ids[s], err));
        IJ_TRY(gpu_reserve(j->upload[s], sizeof(struct masks_params), "mask parameters", &j->upload_mask_params[s], err));
        IJ_TRY(gpu_reserve(j->upload[s], sizeof(struct optim_step), "step scalars", &j->upload_scalars[s], err));
        IJ_TRY(gpu_arena_create(j->device, "readback", GPU_MEMORY_READBACK, &j->readback[s], err));
        IJ_TRY(gpu_reserve(j->readback[s], IJ_JEPA_OFFSETS_AT + 2 * ((offsets_bytes + 255) / 256 * 256), "results", &j->results[s], err));
    }
    return IJ_OK;
}

static ij_status plan_activations(ij_jepa *j, ij_error *err) {
    const ij_jepa_desc *d = &j->desc;
    const ij_model_config *m = &d->model;
    const masks_limits *l = &j->limits;
    gpu_arena *a;
    IJ_TRY(gpu_arena_create(j->device, "activations", GPU_MEMORY_DEVICE, &j->activations, err));
    a = j->activations;
    int64_t all = (int64_t)d->batch * ij_patches(m), target_dim = ij_target_dim(m);
    IJ_TRY(reserve_matrix(j, all, ij_patch_dim(m), "patch rows", &j->rows, err));
    if (predicts_pixels(j)) {
        j->pixel_rows = j->rows;
        if (d->element != GPU_WORD) IJ_TRY(reserve_floats(a, all * ij_patch_dim(m), "pixel rows", &j->pixel_rows, err));
    } else {
        IJ_TRY(vit_saved_reserve(a, &j->target, &j->seen, false, &j->target_saved, err));
    }
    IJ_TRY(reserve_floats(a, l->target_rows * target_dim, "targets", &j->targets, err));
    IJ_TRY(vit_saved_reserve(a, &j->encoder, &j->context, true, &j->context_saved, err));
    IJ_TRY(reserve_floats(a, l->context_rows * m->pred_dim, "embedded context", &j->embedded, err));
    IJ_TRY(vit_saved_reserve(a, &j->predictor, &j->prediction, true, &j->prediction_saved, err));
    IJ_TRY(reserve_matrix(j, l->target_rows, m->pred_dim, "predictor features", &j->predictor_features, err));
    IJ_TRY(reserve_floats(a, l->target_rows * target_dim, "predictions", &j->predictions, err));
    IJ_TRY(reserve_matrix(j, l->target_rows, target_dim, "prediction gradients", &j->dpredictions, err));
    IJ_TRY(reserve_matrix(j, l->target_rows, m->pred_dim, "predictor feature gradients", &j->dpredictor_features, err));
    IJ_TRY(reserve_matrix(j, l->context_rows, m->pred_dim, "embedded gradients", &j->embed_gradient, err));
    pred_lists lists = lists_of(j);
    IJ_TRY(reserve_floats(a, predictor_input_bwd_scratch(&lists, m->pred_dim), "mask token sums", &j->token_scratch, err));
    IJ_TRY(gpu_reserve(a, 256, "loss", &j->loss, err));
    IJ_TRY(gpu_reserve(a, op_loss_scratch((uint32_t)l->target_rows), "loss sums", &j->loss_parts, err));
    IJ_TRY(gpu_reserve(a, 256, "regularizer", &j->regularizer, err));
    IJ_TRY(gpu_reserve(a, sizeof(struct reduce_norm), "gradient norm", &j->norm, err));
    if (d->vicreg) {
        IJ_TRY(reserve_floats(a, (int64_t)d->batch * m->dim, "pooled context", &j->pooled, err));
        IJ_TRY(reserve_floats(a, (int64_t)d->batch * m->dim, "pooled gradients", &j->dpooled, err));
        IJ_TRY(
            gpu_reserve(a, op_vicreg_scratch((uint32_t)d->batch, (uint32_t)m->dim), "regularizer scratch", &j->regularizer_scratch, err));
    }
    /* The predictor's backward memory is dead when the encoder's begins. */
    gpu_mark mark = gpu_arena_mark(a);
    IJ_TRY(vit_scratch_reserve(a, &j->predictor, &j->prediction, m->pred_dim, (int)target_dim, &j->prediction_scratch, err));
    gpu_arena_rewind(a, mark);
    return vit_scratch_reserve(a, &j->encoder, &j->context, ij_patch_dim(m), m->dim, &j->context_scratch, err);
}

/* ---- record ---- */

static ij_status record_prepare(ij_jepa *j, ij_error *err) {
    patches_desc patches = patches_of(&j->desc);
    IJ_TRY(gpu_program_create(j->device, "prepare", j->desc.profile, &j->prepare, err));
    IJ_TRY(op_masks_sample(j->prepare, &j->desc.masks, j->desc.batch, &j->masks, err));
    IJ_TRY(op_patches(j->prepare, &patches, j->pixels, j->crops, j->rows, err));
    if (predicts_pixels(j) && j->desc.element != GPU_WORD)
        IJ_TRY(op_patches(j->prepare, &patches, j->pixels, j->crops, j->pixel_rows, err));
    return gpu_program_finish(j->prepare, err);
}

static ij_status record_patch_embed(const ij_jepa *j, gpu_program *p, ij_slot slot, gpu_tensor index, ij_rows rows, gpu_tensor x,
                                    ij_error *err) {
    const ij_model_config *m = &j->desc.model;
    return vit_patch_embed(p, vit_linear_of(j->weights, slot, false, "patch_embed.proj"), j->rows, index, j->positions, ij_patches(m), x,
                           rows, ij_patch_dim(m), m->dim, err);
}

ij_status ij_jepa_record_features(const ij_jepa *j, gpu_program *p, const vit_saved *saved, ij_error *err) {
    const gpu_tensor none = {0};
    IJ_TRY(record_patch_embed(j, p, IJ_SLOT_TARGET, none, vit_rows(&j->full), saved->blocks[0].x, err));
    return vit_forward(p, &j->target, &j->full, saved, err);
}

/* The target encoder over the blocks' patches alone: what it gives is in the order of the target rows. */
static ij_status record_block_features(ij_jepa *j, gpu_program *p, ij_error *err) {
    IJ_TRY(record_patch_embed(j, p, IJ_SLOT_TARGET, j->masks.tgt_rows, vit_rows(&j->seen), j->target_saved.blocks[0].x, err));
    return vit_forward(p, &j->target, &j->seen, &j->target_saved, err);
}

static ij_status record_targets(ij_jepa *j, gpu_program *p, ij_error *err) {
    bool pixels = predicts_pixels(j), masked = j->desc.model.target_mask == IJ_TARGET_MASK_INPUT;
    op_layernorm_args norm = {.label = "targets",
                              .x = pixels ? j->pixel_rows : j->target_saved.y,
                              .y = j->targets,
                              .rows = target_rows(j),
                              .dim = (uint32_t)ij_target_dim(&j->desc.model),
                              .eps = pixels ? IJ_PIXEL_NORM_EPS : IJ_TARGET_NORM_EPS};
    gpu_program_scope(p, "target");
    if (!masked) norm.index = j->masks.tgt_rows;
    if (masked)
        IJ_TRY(record_block_features(j, p, err));
    else if (!pixels)
        IJ_TRY(ij_jepa_record_features(j, p, &j->target_saved, err));
    return op_layernorm(p, &norm, err);
}

static ij_status record_context(ij_jepa *j, gpu_program *p, ij_error *err) {
    gpu_program_scope(p, "context");
    IJ_TRY(record_patch_embed(j, p, IJ_SLOT_WEIGHT, j->masks.ctx_rows, vit_rows(&j->context), j->context_saved.blocks[0].x, err));
    return vit_forward(p, &j->encoder, &j->context, &j->context_saved, err);
}

static ij_status record_predictions(ij_jepa *j, gpu_program *p, ij_error *err) {
    const gpu_tensor none = {0};
    const ij_model_config *m = &j->desc.model;
    gpu_program_scope(p, "predictor");
    pred_lists lists = lists_of(j);
    vit_linear embed = vit_linear_of(j->weights, IJ_SLOT_WEIGHT, true, "predictor_embed"),
               proj = vit_linear_of(j->weights, IJ_SLOT_WEIGHT, true, "predictor_proj");
    gpu_tensor mask_token = vit_param(j->weights, IJ_SLOT_WEIGHT, true, "mask_token");
    IJ_TRY(vit_linear_forward(p, "predictor_embed", embed, j->context_saved.y, j->embedded, none, vit_rows(&j->context), m->dim,
                              m->pred_dim, err));
    IJ_TRY(
        op_predictor_input(p, &lists, j->embedded, mask_token, j->predictor_positions, j->prediction_saved.blocks[0].x, m->pred_dim, err));
    IJ_TRY(vit_forward(p, &j->predictor, &j->prediction, &j->prediction_saved, err));
    IJ_TRY(op_predictor_output(p, &lists, j->prediction_saved.y, j->predictor_features, m->pred_dim, err));
    return vit_linear_forward(p, "predictor_proj", proj, j->predictor_features, j->predictions, none, target_rows(j), m->pred_dim,
                              ij_target_dim(m), err);
}

static ij_status record_loss(ij_jepa *j, gpu_program *p, ij_error *err) {
    gpu_program_scope(p, "");
    return op_loss(p,
                   &(op_loss_args){.prediction = j->predictions,
                                   .target = j->targets,
                                   .dprediction = j->dpredictions,
                                   .loss_scale = loss_scale(j),
                                   .loss = j->loss,
                                   .scratch = j->loss_parts,
                                   .rows = target_rows(j),
                                   .dim = (uint32_t)ij_target_dim(&j->desc.model),
                                   .kind = j->desc.loss,
                                   .divisor = (float)j->desc.loss_divisor,
                                   .scale = 1.0f / (float)j->desc.accumulation,
                                   .accumulate = true},
                   err);
}

static ij_status record_predictor_backward(ij_jepa *j, gpu_program *p, ij_error *err) {
    const gpu_tensor none = {0};
    const ij_model_config *m = &j->desc.model;
    gpu_program_scope(p, "predictor, backward");
    pred_lists lists = lists_of(j);
    const vit_scratch *s = &j->prediction_scratch;
    vit_linear embed = vit_linear_of(j->weights, IJ_SLOT_WEIGHT, true, "predictor_embed"),
               dembed = vit_linear_of(j->weights, IJ_SLOT_GRADIENT, true, "predictor_embed");
    vit_linear proj = vit_linear_of(j->weights, IJ_SLOT_WEIGHT, true, "predictor_proj"),
               dproj = vit_linear_of(j->weights, IJ_SLOT_GRADIENT, true, "predictor_proj");
    gpu_tensor dmask_token = vit_param(j->weights, IJ_SLOT_GRADIENT, true, "mask_token");
    IJ_TRY(vit_linear_backward(p, "predictor_proj", proj, dproj, j->predictor_features, none, j->dpredictions, j->dpredictor_features,
                               s->matmul, target_rows(j), m->pred_dim, ij_target_dim(m), err));
    IJ_TRY(op_predictor_output_bwd(p, &lists, j->dpredictor_features, s->dnormed, m->pred_dim, err));
    IJ_TRY(vit_backward(p, &j->predictor, &j->predictor_gradient, &j->prediction, &j->prediction_saved, s, s->dnormed, err));
    IJ_TRY(op_predictor_input_bwd(p, &lists, s->dx, j->embed_gradient, dmask_token, j->token_scratch, m->pred_dim, true, err));
    return vit_linear_backward(p, "predictor_embed", embed, dembed, j->context_saved.y, none, j->embed_gradient, j->context_scratch.dnormed,
                               j->context_scratch.matmul, vit_rows(&j->context), m->dim, m->pred_dim, err);
}

/* Adds the regulariser's gradient to that of the context features. */
static ij_status record_regularizer(ij_jepa *j, gpu_program *p, ij_error *err) {
    uint32_t batch = (uint32_t)j->desc.batch, dim = (uint32_t)j->desc.model.dim;
    gpu_program_scope(p, "regularizer");
    IJ_TRY(op_mean_rows(p,
                        &(op_mean_rows_args){.x = j->context_saved.y,
                                             .offsets = j->masks.ctx_offsets,
                                             .pooled = j->pooled,
                                             .sequences = batch,
                                             .dim = dim,
                                             .rows_max = (uint32_t)j->limits.context_rows},
                        err));
    IJ_TRY(op_vicreg(p,
                     &(op_vicreg_args){.z = j->pooled,
                                       .dz = j->dpooled,
                                       .loss = j->regularizer,
                                       .scratch = j->regularizer_scratch,
                                       .rows = batch,
                                       .dim = dim,
                                       .weight = (float)(j->desc.vicreg_weight / j->desc.accumulation),
                                       .covariance_weight = (float)j->desc.vicreg_covariance},
                     err));
    return op_mean_rows_bwd(p,
                            &(op_mean_rows_args){.x = j->context_scratch.dnormed,
                                                 .pooled = j->dpooled,
                                                 .loss_scale = loss_scale(j),
                                                 .offsets = j->masks.ctx_offsets,
                                                 .sequences = batch,
                                                 .dim = dim,
                                                 .rows_max = (uint32_t)j->limits.context_rows,
                                                 .add = true},
                            err);
}

static ij_status record_context_backward(ij_jepa *j, gpu_program *p, ij_error *err) {
    const gpu_tensor none = {0};
    const ij_model_config *m = &j->desc.model;
    gpu_program_scope(p, "context, backward");
    const vit_scratch *s = &j->context_scratch;
    vit_linear embed = vit_linear_of(j->weights, IJ_SLOT_WEIGHT, false, "patch_embed.proj"),
               dembed = vit_linear_of(j->weights, IJ_SLOT_GRADIENT, false, "patch_embed.proj");
    IJ_TRY(vit_backward(p, &j->encoder, &j->encoder_gradient, &j->context, &j->context_saved, s, s->dnormed, err));
    return vit_linear_backward(p, "patch_embed", embed, dembed, j->rows, j->masks.ctx_rows, vit_dx(s), none, s->matmul,
                               vit_rows(&j->context), ij_patch_dim(m), m->dim, err);
}

static ij_status record_passes(ij_jepa *j, gpu_program *p, ij_error *err) {
    IJ_TRY(record_targets(j, p, err));
    IJ_TRY(record_context(j, p, err));
    IJ_TRY(record_predictions(j, p, err));
    IJ_TRY(record_loss(j, p, err));
    IJ_TRY(record_predictor_backward(j, p, err));
    if (j->desc.vicreg) IJ_TRY(record_regularizer(j, p, err));
    return record_context_backward(j, p, err);
}

static ij_status record_pass(ij_jepa *j, ij_error *err) {
    IJ_TRY(gpu_program_create(j->device, "pass", j->desc.profile, &j->pass, err));
    IJ_TRY(record_passes(j, j->pass, err));
    return gpu_program_finish(j->pass, err);
}

ij_status ij_jepa_rehearse(ij_jepa *j, ij_error *err) {
    gpu_program *p;
    IJ_TRY(gpu_program_create_dry(j->device, "rehearsal", &p, err));
    ij_status status = record_passes(j, p, err);
    gpu_program_destroy(p);
    return status;
}

/* The few matrices whose rows are padded in 16 bits (patches of 14 x 14 x 3) have copies that no flat pass writes. */
static ij_status record_padded_copies(ij_jepa *j, ij_error *err) {
    const ij_weights *w = j->weights;
    for (int slot = 0; slot <= IJ_SLOT_TARGET && w->half != GPU_WORD; slot++)
        for (int i = 0; i < w->table.count; i++) {
            const ij_param *p = &w->table.params[i];
            if (!w->half_tensors[slot][i].arena || !ij_param_padded(p)) continue;
            IJ_TRY(op_cast_rows(j->update, w->tensors[slot][i], w->half_tensors[slot][i], (uint64_t)p->shape[0],
                                (uint64_t)ij_param_columns(p), err));
        }
    return IJ_OK;
}

static ij_status record_update(ij_jepa *j, ij_error *err) {
    ij_weights *w = j->weights;
    ij_param_run *runs = NULL;
    int count = 0;
    IJ_TRY(gpu_program_create(j->device, "update", j->desc.profile, &j->update, err));
    IJ_TRY(ij_weights_runs(w, &runs, &count, err));
    ij_status status = IJ_OK;
    uint32_t parts = 0;
    for (int i = 0; i < count && status == IJ_OK; i++) {
        status =
            op_sum_squares(j->update, ij_weights_run(w, IJ_SLOT_GRADIENT, &runs[i]), (uint64_t)runs[i].elements, j->norm_parts, parts, err);
        parts += op_sum_squares_partials((uint64_t)runs[i].elements);
    }
    if (status == IJ_OK) status = op_norm_finish(j->update, j->norm_parts, parts, j->norm, err);
    for (int i = 0; i < count && status == IJ_OK; i++) {
        op_adamw_args args = {.p = ij_weights_run(w, IJ_SLOT_WEIGHT, &runs[i]),
                              .m = ij_weights_run(w, IJ_SLOT_MOMENT1, &runs[i]),
                              .v = ij_weights_run(w, IJ_SLOT_MOMENT2, &runs[i]),
                              .g = ij_weights_run(w, IJ_SLOT_GRADIENT, &runs[i]),
                              .step = j->scalars,
                              .norm = j->norm,
                              .count = (uint64_t)runs[i].elements,
                              .decay = runs[i].decay,
                              .zero_gradient = true,
                              .loss_scale = loss_scale(j)};
        if (!runs[i].predictor) args.target = ij_weights_run(w, IJ_SLOT_TARGET, &runs[i]);
        if (w->half != GPU_WORD && runs[i].decay) {
            args.copy = w->half_runs[IJ_SLOT_WEIGHT][i];
            if (!runs[i].predictor) args.target_copy = w->half_runs[IJ_SLOT_TARGET][i];
        }
        status = op_adamw(j->update, &args, err);
    }
    free(runs);
    if (status == IJ_OK) status = record_padded_copies(j, err);
    if (status == IJ_OK && loss_scale(j).arena) status = op_scale_update(j->update, j->norm, w->loss_scale, OP_SCALE_INTERVAL, err);
    return status == IJ_OK ? gpu_program_finish(j->update, err) : status;
}

static uint64_t aligned(uint64_t bytes) { return (bytes + 255) / 256 * 256; }

static ij_status record_readback(ij_jepa *j, int s, ij_error *err) {
    gpu_program *p;
    gpu_tensor to = j->results[s];
    gpu_tensor scale = loss_scale(j);
    uint64_t ctx_bytes = 4 * ((uint64_t)j->desc.batch + 1), tgt_bytes = 4 * ((uint64_t)j->desc.batch * (uint64_t)j->desc.masks.blocks + 1);
    IJ_TRY(gpu_program_create(j->device, "readback", false, &p, err));
    j->readback_program[s] = p;
    IJ_TRY(gpu_copy(p, gpu_part(to, IJ_JEPA_LOSS_AT, 16), j->loss, 4, err));
    IJ_TRY(gpu_copy(p, gpu_part(to, IJ_JEPA_REGULARIZER_AT, 16), j->regularizer, 4, err));
    IJ_TRY(gpu_copy(p, gpu_part(to, IJ_JEPA_NORM_AT, 16), j->norm, sizeof(struct reduce_norm), err));
    if (scale.arena) IJ_TRY(gpu_copy(p, gpu_part(to, IJ_JEPA_SCALE_AT, 16), scale, sizeof(struct optim_scale), err));
    IJ_TRY(gpu_copy(p, gpu_part(to, IJ_JEPA_OFFSETS_AT, aligned(ctx_bytes)), j->masks.ctx_offsets, ctx_bytes, err));
    IJ_TRY(gpu_copy(p, gpu_part(to, IJ_JEPA_OFFSETS_AT + aligned(tgt_bytes), tgt_bytes), j->masks.tgt_offsets, tgt_bytes, err));
    IJ_TRY(gpu_fill(p, j->loss, 0, err)); /* added to by the passes of the next step */
    return gpu_program_finish(p, err);
}

/* ---- create ---- */

ij_status ij_jepa_take_positions(ij_jepa *j, ij_error *err) {
    const ij_model_config *m = &j->desc.model;
    int64_t patches = ij_patches(m), widest = m->dim > m->pred_dim ? m->dim : m->pred_dim;
    float *positions;
    IJ_TRY(ij_alloc(&positions, patches * widest, sizeof *positions, "positions", err));
    ij_weights_positions(j->weights, ij_grid_height(m), ij_grid_width(m), positions);
    ij_status status = gpu_write(j->device, j->positions, 0, positions, 4 * (uint64_t)(patches * m->dim), err);
    ij_positions(ij_grid_height(m), ij_grid_width(m), m->pred_dim, positions);
    if (status == IJ_OK) status = gpu_write(j->device, j->predictor_positions, 0, positions, 4 * (uint64_t)(patches * m->pred_dim), err);
    free(positions);
    return status;
}

static ij_status write_constants(ij_jepa *j, ij_error *err) {
    uint32_t table[MASKS_TABLE_WORDS], *offsets = NULL;
    int patches = ij_patches(&j->desc.model);
    IJ_TRY(ij_jepa_take_positions(j, err));
    masks_table(&j->desc.masks, table);
    IJ_TRY(gpu_write(j->device, j->mask_table, 0, table, sizeof table, err));
    IJ_TRY(ij_alloc(&offsets, j->desc.batch + 1, sizeof *offsets, "offsets", err));
    for (int i = 0; i <= j->desc.batch; i++) offsets[i] = (uint32_t)(i * patches);
    ij_status status = gpu_write(j->device, j->full_offsets, 0, offsets, 4 * ((uint64_t)j->desc.batch + 1), err);
    free(offsets);
    const uint32_t zeros[64] = {0};
    if (status == IJ_OK) status = gpu_write(j->device, j->loss, 0, zeros, sizeof zeros, err);
    if (status == IJ_OK) status = gpu_write(j->device, j->regularizer, 0, zeros, sizeof zeros, err);
    return status;
}

static ij_status commit(ij_jepa *j, ij_error *err) {
    gpu_arena *arenas[] = {j->constants, j->inputs, j->activations};
    for (int i = 0; i < IJ_COUNT(arenas); i++) IJ_TRY(gpu_arena_commit(arenas[i], err));
    for (int s = 0; s < IJ_JEPA_SLOTS; s++) {
        IJ_TRY(gpu_arena_commit(j->upload[s], err));
        IJ_TRY(gpu_arena_commit(j->readback[s], err));
    }
    return IJ_OK;
}

static ij_status plan_norm_parts(ij_jepa *j, ij_error *err) {
    ij_param_run *runs;
    int count;
    uint64_t parts = 0;
    IJ_TRY(ij_weights_runs(j->weights, &runs, &count, err));
    for (int i = 0; i < count; i++) parts += op_sum_squares_partials((uint64_t)runs[i].elements);
    free(runs);
    return reserve_floats(j->activations, (int64_t)parts, "norm sums", &j->norm_parts, err);
}

/* The plan against what the device has, in words before a driver says no. */
static ij_status check_memory(const ij_jepa *j, ij_error *err) {
    uint64_t weights, rest, have = gpu_device_info(j->device)->budget_bytes;
    ij_jepa_memory(j, &weights, &rest);
    if (!have || weights + rest <= have) return IJ_OK;
    ij_fail(err, IJ_ERROR_MEMORY, "the plan needs %.2f GiB (weights, gradients and optimiser %.2f, batch of %d %.2f), %s has %.2f GiB free",
            (double)(weights + rest) / 0x1p30, (double)weights / 0x1p30, j->desc.batch, (double)rest / 0x1p30,
            gpu_device_info(j->device)->name, (double)have / 0x1p30);
    return IJ_ERROR_MEMORY;
}

static ij_status plan_once(gpu_device *device, const ij_jepa_desc *desc, ij_weights *weights, ij_jepa **out, ij_error *err) {
    *out = NULL;
    ij_jepa *j;
    IJ_TRY(ij_model_check(&desc->model, err));
    if (desc->pixel_bytes) IJ_TRY(masks_check(&desc->masks, err));
    IJ_TRY(ij_weights_keep_half(weights, desc->element, err));
    if (weights->half != desc->element)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "the weights have %s-bit copies, the step was asked for in another precision",
                       weights->half == GPU_WORD ? "no 16" : "other 16");
    IJ_TRY(ij_alloc(&j, 1, sizeof *j, "training step", err));
    j->device = device;
    j->desc = *desc;
    if (j->desc.accumulation < 1) j->desc.accumulation = 1;
    j->weights = weights;
    j->limits = desc->limits.context_rows ? desc->limits : masks_capacity(&desc->masks, desc->batch);
    ij_status status = IJ_OK;
    const ij_model_config *m = &desc->model;
    IJ_TRY_GOTO(vit_trunk_make(weights, m, IJ_SLOT_WEIGHT, false, &j->encoder, err), failed);
    IJ_TRY_GOTO(vit_trunk_make(weights, m, IJ_SLOT_GRADIENT, false, &j->encoder_gradient, err), failed);
    IJ_TRY_GOTO(vit_trunk_make(weights, m, IJ_SLOT_TARGET, false, &j->target, err), failed);
    IJ_TRY_GOTO(vit_trunk_make(weights, m, IJ_SLOT_WEIGHT, true, &j->predictor, err), failed);
    IJ_TRY_GOTO(vit_trunk_make(weights, m, IJ_SLOT_GRADIENT, true, &j->predictor_gradient, err), failed);
    IJ_TRY_GOTO(plan_constants(j, err), failed);
    IJ_TRY_GOTO(plan_inputs(j, err), failed);
    plan_tokens(j);
    IJ_TRY_GOTO(plan_slots(j, err), failed);
    IJ_TRY_GOTO(plan_activations(j, err), failed);
    IJ_TRY_GOTO(plan_norm_parts(j, err), failed);
    IJ_TRY_GOTO(check_memory(j, err), failed);
    *out = j;
    return IJ_OK;
failed:
    ij_jepa_destroy(j);
    return status;
}

/* A plan that does not fit says which batch would. */
ij_status ij_jepa_plan(gpu_device *device, const ij_jepa_desc *desc, ij_weights *weights, ij_jepa **out, ij_error *err) {
    ij_status status = plan_once(device, desc, weights, out, err);
    if (status != IJ_ERROR_MEMORY) return status;
    ij_jepa_desc smaller = *desc;
    while (smaller.batch > 1) {
        smaller.batch /= 2;
        ij_jepa *fits;
        if (plan_once(device, &smaller, weights, &fits, NULL) != IJ_OK) continue;
        ij_jepa_destroy(fits);
        int passes = (desc->batch + smaller.batch - 1) / smaller.batch * (desc->accumulation > 1 ? desc->accumulation : 1);
        return ij_hint(err, "data.batch_size=%d with optimization.accumulation=%d fits and takes the same images a step", smaller.batch,
                       passes);
    }
    return ij_hint(err, "not even one image fits beside the weights; a smaller model does");
}

ij_status ij_jepa_build(ij_jepa *j, ij_error *err) {
    IJ_TRY(commit(j, err));
    IJ_TRY(write_constants(j, err));
    if (j->desc.pixel_bytes) IJ_TRY(record_prepare(j, err));
    IJ_TRY(record_pass(j, err));
    IJ_TRY(record_update(j, err));
    for (int s = 0; s < IJ_JEPA_SLOTS; s++) {
        IJ_TRY(gpu_program_create(j->device, "upload", false, &j->upload_program[s], err));
        IJ_TRY(record_readback(j, s, err));
    }
    return IJ_OK;
}

void ij_jepa_destroy(ij_jepa *j) {
    if (!j) return;
    gpu_program_destroy(j->prepare);
    gpu_program_destroy(j->pass);
    gpu_program_destroy(j->update);
    for (int s = 0; s < IJ_JEPA_SLOTS; s++) {
        gpu_program_destroy(j->upload_program[s]);
        gpu_program_destroy(j->readback_program[s]);
        gpu_arena_destroy(j->upload[s]);
        gpu_arena_destroy(j->readback[s]);
    }
    gpu_arena_destroy(j->constants);
    gpu_arena_destroy(j->inputs);
    gpu_arena_destroy(j->activations);
    vit_saved_free(&j->target_saved);
    vit_saved_free(&j->context_saved);
    vit_saved_free(&j->prediction_saved);
    vit_trunk *trunks[] = {&j->encoder, &j->encoder_gradient, &j->target, &j->predictor, &j->predictor_gradient};
    for (int i = 0; i < IJ_COUNT(trunks); i++) vit_trunk_free(trunks[i]);
    free(j);
}

void ij_jepa_memory(const ij_jepa *j, uint64_t *weights, uint64_t *rest) {
    *weights = ij_weights_bytes(j->weights);
    *rest = gpu_arena_bytes(j->constants) + gpu_arena_bytes(j->inputs) + gpu_arena_bytes(j->activations);
    for (int s = 0; s < IJ_JEPA_SLOTS; s++) *rest += gpu_arena_bytes(j->upload[s]) + gpu_arena_bytes(j->readback[s]);
}
