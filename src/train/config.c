/* layer: train; uses: base, io, data, model, ops */
#include "train/config.h"

#include <stdio.h>
#include <string.h>

static const char *const loss_names[] = {"smooth_l1", "l2", "l1"};
static const char *const targets_names[] = {"latent", "pixels"}, *const target_mask_names[] = {"output", "input"};
static const char *const regularizer_names[] = {"none", "vicreg"};
static const char *const mask_names[] = {"multiblock", "official", "random", "block", "rasterized"};

void ij_train_config_defaults(ij_train_config *c) {
    memset(c, 0, sizeof *c);
    strcpy(c->model_name, "vit_small");
    (void)ij_model_preset(c->model_name, &c->model, NULL);
    c->model.image_height = c->model.image_width = 224;
    c->model.patch_size = 16;
    c->model.channels = c->channels = 3;
    c->schedule = (ij_schedule){.start_lr = 2e-4,
                                .lr = 1e-3,
                                .final_lr = 1e-6,
                                .warmup_epochs = 40,
                                .weight_decay = 0.04,
                                .final_weight_decay = 0.4,
                                .ema = 0.996,
                                .final_ema = 1.0,
                                .ipe_scale = 1.0,
                                .epochs = 300};
    c->loss = LOSS_SMOOTH_L1;
    c->batch = 64;
    c->accumulation = 1;
    c->crop_scale[0] = 0.3, c->crop_scale[1] = 1.0;
    c->crop_ratio[0] = 3.0 / 4, c->crop_ratio[1] = 4.0 / 3;
    c->random_crop = true;
    const float mean[3] = {0.485f, 0.456f, 0.406f}, std[3] = {0.229f, 0.224f, 0.225f}; /* ImageNet */
    memcpy(c->mean, mean, sizeof mean);
    memcpy(c->std, std, sizeof std);
    c->beta1 = 0.9, c->beta2 = 0.999, c->eps = 1e-8;
    c->regularizer_weight = 0.1, c->regularizer_covariance = 0.04;
    strcpy(c->folder, "runs/ijepa");
    c->monitor_every = 50;
    c->keep = 3;
    masks_defaults(&c->masks);
}

typedef struct reader {
    ij_config_text *text;
    char *notes;
    size_t notes_bytes;
    ij_error *err;
} reader;

static void note(reader *r, const char *key, const char *why) {
    size_t used = strlen(r->notes);
    if (used + 1 < r->notes_bytes) snprintf(r->notes + used, r->notes_bytes - used, "%s: %s\n", key, why);
}

static ij_status integer(reader *r, const char *key, int64_t low, int64_t high, int *out) {
    int64_t value = *out;
    IJ_TRY(ij_config_text_integer(r->text, key, low, high, &value, r->err));
    *out = (int)value;
    return IJ_OK;
}

/* An augmentation of the released files' vocabulary that this program does not do: it must be off. */
static ij_status must_be_off(reader *r, const char *key) {
    bool on = false;
    IJ_TRY(ij_config_text_bool(r->text, key, &on, r->err));
    if (on) return ij_fail(r->err, IJ_ERROR_ARGUMENT, "%s: true is not supported; the released recipes have it false", key);
    return IJ_OK;
}

static ij_status read_preprocess(reader *r, ij_preprocess *p) {
    int resize = (int)p->resize, filter = (int)p->filter, resampler = (int)p->resampler;
    IJ_TRY(ij_config_text_choice(r->text, "data.resize", ij_resize_names, IJ_RESIZE_COUNT, &resize, r->err));
    IJ_TRY(integer(r, "data.resize_shorter", 0, 16384, &p->shorter));
    IJ_TRY(integer(r, "data.resize_height", 0, 16384, &p->height));
    IJ_TRY(integer(r, "data.resize_width", 0, 16384, &p->width));
    IJ_TRY(ij_config_text_choice(r->text, "data.resize_filter", ij_filter_names, IJ_FILTER_COUNT, &filter, r->err));
    IJ_TRY(ij_config_text_choice(r->text, "data.resampler", ij_resampler_names, IJ_RESAMPLER_COUNT, &resampler, r->err));
    p->resize = (ij_resize)resize, p->filter = (ij_filter)filter, p->resampler = (ij_resampler)resampler;
    return IJ_OK;
}

static ij_status read_data(reader *r, ij_train_config *c) {
    char root[2048] = "", folder[2048] = "";
    int size = c->model.image_height;
    IJ_TRY(integer(r, "data.batch_size", 1, 65536, &c->batch));
    IJ_TRY(integer(r, "data.crop_size", 1, 16384, &size));
    if (ij_config_text_find(r->text, "data.crop_size")) c->model.image_height = c->model.image_width = size;
    int64_t height = c->model.image_height, width = c->model.image_width;
    IJ_TRY(ij_config_text_integer(r->text, "data.image_height", 1, 16384, &height, r->err));
    IJ_TRY(ij_config_text_integer(r->text, "data.image_width", 1, 16384, &width, r->err));
    c->model.image_height = (int)height, c->model.image_width = (int)width;
    IJ_TRY(ij_config_text_numbers(r->text, "data.crop_scale", 0.001, 1, 2, c->crop_scale, r->err));
    IJ_TRY(ij_config_text_numbers(r->text, "data.crop_ratio", 0.01, 100, 2, c->crop_ratio, r->err));
    IJ_TRY(ij_config_text_bool(r->text, "data.random_crop", &c->random_crop, r->err));
    IJ_TRY(ij_config_text_string(r->text, "data.root_path", root, sizeof root, r->err));
    IJ_TRY(ij_config_text_string(r->text, "data.image_folder", folder, sizeof folder, r->err));
    if (*root || *folder)
        snprintf(c->data_path, sizeof c->data_path, "%s%s%s", root, *root && *folder && root[strlen(root) - 1] != '/' ? "/" : "", folder);
    IJ_TRY(ij_config_text_string(r->text, "data.path", c->data_path, sizeof c->data_path, r->err));
    IJ_TRY(integer(r, "data.channels", 1, 3, &c->channels));
    c->model.channels = c->channels;
    IJ_TRY(integer(r, "data.pad_to", 0, 4096, &c->pad_to));
    IJ_TRY(integer(r, "data.num_workers", 0, 256, &c->threads));
    double mean[3] = {(double)c->mean[0], (double)c->mean[1], (double)c->mean[2]},
           std[3] = {(double)c->std[0], (double)c->std[1], (double)c->std[2]};
    IJ_TRY(ij_config_text_numbers(r->text, "data.mean", -10, 10, c->channels, mean, r->err));
    IJ_TRY(ij_config_text_numbers(r->text, "data.std", 1e-6, 100, c->channels, std, r->err));
    for (int i = 0; i < 3; i++) c->mean[i] = (float)mean[i], c->std[i] = (float)std[i];
    IJ_TRY(read_preprocess(r, &c->preprocess));
    IJ_TRY(must_be_off(r, "data.use_color_distortion"));
    IJ_TRY(must_be_off(r, "data.use_gaussian_blur"));
    IJ_TRY(must_be_off(r, "data.use_horizontal_flip"));
    ij_config_text_ignore(r->text, "data.color_jitter_strength"); /* has no effect while the distortion is off, there as here */
    ij_config_text_ignore(r->text, "data.pin_mem");
    return IJ_OK;
}

static ij_status read_masks(reader *r, ij_train_config *c) {
    int mode = c->masks.mode, contexts = 1;
    IJ_TRY(ij_config_text_choice(r->text, "mask.mode", mask_names, IJ_COUNT(mask_names), &mode, r->err));
    memset(&c->masks, 0, sizeof c->masks);
    c->masks.mode = (masks_mode)mode;
    c->masks.grid_h = c->model.image_height / (c->model.patch_size > 0 ? c->model.patch_size : 1);
    c->masks.grid_w = c->model.image_width / (c->model.patch_size > 0 ? c->model.patch_size : 1);
    masks_defaults(&c->masks);
    bool overlap = c->masks.allow_overlap != 0;
    IJ_TRY(ij_config_text_bool(r->text, "mask.allow_overlap", &overlap, r->err));
    c->masks.allow_overlap = overlap;
    IJ_TRY(ij_config_text_numbers(r->text, "mask.aspect_ratio", 0.01, 100, 2, c->masks.aspect, r->err));
    IJ_TRY(ij_config_text_numbers(r->text, "mask.enc_mask_scale", 0.001, 1, 2, c->masks.enc_scale, r->err));
    IJ_TRY(ij_config_text_numbers(r->text, "mask.pred_mask_scale", 0.001, 1, 2, c->masks.pred_scale, r->err));
    IJ_TRY(integer(r, "mask.min_keep", 1, MASKS_PATCHES_MAX, &c->masks.min_keep));
    IJ_TRY(integer(r, "mask.num_enc_masks", 1, 64, &contexts));
    if (contexts != 1)
        return ij_fail(r->err, IJ_ERROR_ARGUMENT, "mask.num_enc_masks: %d; one context block is supported, as in all released recipes",
                       contexts);
    IJ_TRY(integer(r, "mask.num_pred_masks", 1, MASKS_BLOCKS_MAX, &c->masks.blocks));
    IJ_TRY(ij_config_text_number(r->text, "mask.context_keep", 0.001, 1, &c->masks.context_keep, r->err));
    IJ_TRY(ij_config_text_number(r->text, "mask.random_ratio", 0.001, 0.999, &c->masks.random_ratio, r->err));
    return ij_config_text_number(r->text, "mask.block_scale", 0.001, 0.999, &c->masks.block_scale, r->err);
}

static ij_status read_model(reader *r, ij_train_config *c) {
    bool half = true, load = false, copy = false;
    IJ_TRY(ij_config_text_string(r->text, "meta.model_name", c->model_name, sizeof c->model_name, r->err));
    int pred_depth_default = c->model.pred_depth;
    if (strcmp(c->model_name, "custom") != 0)
        IJ_TRY(ij_model_preset(c->model_name, &c->model, r->err));
    else
        c->model.pred_depth = pred_depth_default;
    IJ_TRY(integer(r, "meta.embed_dim", 4, 16384, &c->model.dim));
    IJ_TRY(integer(r, "meta.depth", 1, 1024, &c->model.depth));
    IJ_TRY(integer(r, "meta.num_heads", 1, 1024, &c->model.heads));
    IJ_TRY(integer(r, "meta.pred_emb_dim", 4, 16384, &c->model.pred_dim));
    IJ_TRY(integer(r, "meta.pred_depth", 1, 1024, &c->model.pred_depth));
    int heads = c->model.heads;
    IJ_TRY(integer(r, "meta.pred_num_heads", 1, 1024, &heads));
    c->model.pred_heads = heads;
    double ratio = strcmp(c->model_name, "custom") == 0 || c->model.dim == 0 ? 4.0 : (double)c->model.hidden / c->model.dim;
    if (strcmp(c->model_name, "vit_giant") != 0) ratio = 4.0;
    IJ_TRY(ij_config_text_number(r->text, "meta.mlp_ratio", 0.25, 64, &ratio, r->err));
    c->model.hidden = (int)(c->model.dim * ratio + 0.5);
    c->model.pred_hidden = 4 * c->model.pred_dim;
    double norm_eps = (double)c->model.norm_eps;
    IJ_TRY(ij_config_text_number(r->text, "meta.norm_eps", 0, 1, &norm_eps, r->err));
    c->model.norm_eps = (float)norm_eps;
    IJ_TRY(integer(r, "mask.patch_size", 1, 1024, &c->model.patch_size));
    /* The released files say whether autocast is on; with it, the best that the device has is taken. precision overrides it. */
    IJ_TRY(ij_config_text_bool(r->text, "meta.use_bfloat16", &half, r->err));
    int precision = half ? IJ_PRECISION_AUTO : IJ_PRECISION_F32;
    IJ_TRY(ij_config_text_choice(r->text, "meta.precision", ij_precision_names, IJ_PRECISION_COUNT, &precision, r->err));
    c->precision = (ij_precision)precision;
    IJ_TRY(ij_config_text_bool(r->text, "meta.load_checkpoint", &load, r->err));
    if (load) note(r, "meta.load_checkpoint", "use --resume instead; the run begins from random weights otherwise");
    IJ_TRY(ij_config_text_bool(r->text, "meta.copy_data", &copy, r->err));
    if (copy) note(r, "meta.copy_data", "data are read where they are");
    ij_config_text_ignore(r->text, "meta.read_checkpoint");
    int64_t seed = (int64_t)c->seed;
    IJ_TRY(ij_config_text_integer(r->text, "meta.seed", 0, INT64_MAX, &seed, r->err));
    c->seed = (uint64_t)seed;
    int kind = (int)c->loss;
    IJ_TRY(ij_config_text_choice(r->text, "meta.loss", loss_names, IJ_COUNT(loss_names), &kind, r->err));
    c->loss = (uint32_t)kind;
    int targets = (int)c->model.targets, target_mask = (int)c->model.target_mask;
    IJ_TRY(ij_config_text_choice(r->text, "meta.targets", targets_names, IJ_COUNT(targets_names), &targets, r->err));
    c->model.targets = (ij_targets)targets;
    IJ_TRY(ij_config_text_choice(r->text, "meta.target_mask", target_mask_names, IJ_COUNT(target_mask_names), &target_mask, r->err));
    c->model.target_mask = (ij_target_mask)target_mask;
    return IJ_OK;
}

static ij_status read_optimization(reader *r, ij_train_config *c) {
    double ema[2] = {c->schedule.ema, c->schedule.final_ema};
    ij_schedule *s = &c->schedule;
    IJ_TRY(ij_config_text_numbers(r->text, "optimization.ema", 0, 1, 2, ema, r->err));
    s->ema = ema[0], s->final_ema = ema[1];
    IJ_TRY(ij_config_text_integer(r->text, "optimization.epochs", 1, 1000000, &s->epochs, r->err));
    IJ_TRY(ij_config_text_number(r->text, "optimization.lr", 0, 100, &s->lr, r->err));
    IJ_TRY(ij_config_text_number(r->text, "optimization.start_lr", 0, 100, &s->start_lr, r->err));
    IJ_TRY(ij_config_text_number(r->text, "optimization.final_lr", 0, 100, &s->final_lr, r->err));
    IJ_TRY(ij_config_text_number(r->text, "optimization.warmup", 0, 1000000, &s->warmup_epochs, r->err));
    IJ_TRY(ij_config_text_number(r->text, "optimization.weight_decay", 0, 100, &s->weight_decay, r->err));
    s->final_weight_decay = s->final_weight_decay > s->weight_decay ? s->final_weight_decay : s->weight_decay;
    IJ_TRY(ij_config_text_number(r->text, "optimization.final_weight_decay", 0, 100, &s->final_weight_decay, r->err));
    IJ_TRY(ij_config_text_number(r->text, "optimization.ipe_scale", 0.01, 100, &s->ipe_scale, r->err));
    IJ_TRY(integer(r, "optimization.accumulation", 1, 65536, &c->accumulation));
    IJ_TRY(ij_config_text_number(r->text, "optimization.beta1", 0, 0.999999, &c->beta1, r->err));
    IJ_TRY(ij_config_text_number(r->text, "optimization.beta2", 0, 0.999999, &c->beta2, r->err));
    IJ_TRY(ij_config_text_number(r->text, "optimization.eps", 1e-20, 1, &c->eps, r->err));
    IJ_TRY(ij_config_text_number(r->text, "optimization.clip_norm", 0, 1e6, &c->clip_norm, r->err));
    int kind = c->regularizer;
    IJ_TRY(ij_config_text_choice(r->text, "optimization.regularizer", regularizer_names, IJ_COUNT(regularizer_names), &kind, r->err));
    c->regularizer = (ij_regularizer)kind;
    IJ_TRY(ij_config_text_number(r->text, "optimization.regularizer_weight", 0, 1000, &c->regularizer_weight, r->err));
    return ij_config_text_number(r->text, "optimization.regularizer_covariance", 0, 1000, &c->regularizer_covariance, r->err);
}

static ij_status read_run(reader *r, ij_train_config *c) {
    ij_config_text_ignore(r->text, "logging.write_tag");
    IJ_TRY(ij_config_text_string(r->text, "logging.folder", c->folder, sizeof c->folder, r->err));
    IJ_TRY(ij_config_text_integer(r->text, "logging.checkpoint_every", 0, INT64_MAX, &c->checkpoint_every, r->err));
    IJ_TRY(ij_config_text_integer(r->text, "logging.monitor_every", 0, INT64_MAX, &c->monitor_every, r->err));
    IJ_TRY(integer(r, "logging.keep", 0, 1000000, &c->keep));
    return ij_config_text_integer(r->text, "optimization.steps", 0, INT64_MAX, &c->schedule.steps, r->err);
}

/* Every key, for "did you mean". */
static const char *const known_keys[] = {
    "data.batch_size",
    "data.crop_size",
    "data.image_height",
    "data.image_width",
    "data.crop_scale",
    "data.crop_ratio",
    "data.random_crop",
    "data.root_path",
    "data.image_folder",
    "data.path",
    "data.channels",
    "data.pad_to",
    "data.num_workers",
    "data.mean",
    "data.std",
    "data.resize",
    "data.resize_shorter",
    "data.resize_height",
    "data.resize_width",
    "data.resize_filter",
    "data.resampler",
    "data.use_color_distortion",
    "data.use_gaussian_blur",
    "data.use_horizontal_flip",
    "data.color_jitter_strength",
    "data.pin_mem",
    "mask.mode",
    "mask.allow_overlap",
    "mask.aspect_ratio",
    "mask.enc_mask_scale",
    "mask.pred_mask_scale",
    "mask.min_keep",
    "mask.num_enc_masks",
    "mask.num_pred_masks",
    "mask.patch_size",
    "mask.context_keep",
    "mask.random_ratio",
    "mask.block_scale",
    "meta.model_name",
    "meta.embed_dim",
    "meta.depth",
    "meta.num_heads",
    "meta.mlp_ratio",
    "meta.norm_eps",
    "meta.pred_emb_dim",
    "meta.pred_depth",
    "meta.pred_num_heads",
    "meta.use_bfloat16",
    "meta.precision",
    "meta.load_checkpoint",
    "meta.read_checkpoint",
    "meta.copy_data",
    "meta.seed",
    "meta.loss",
    "meta.targets",
    "meta.target_mask",
    "optimization.ema",
    "optimization.epochs",
    "optimization.steps",
    "optimization.lr",
    "optimization.start_lr",
    "optimization.final_lr",
    "optimization.warmup",
    "optimization.weight_decay",
    "optimization.final_weight_decay",
    "optimization.ipe_scale",
    "optimization.accumulation",
    "optimization.beta1",
    "optimization.beta2",
    "optimization.eps",
    "optimization.clip_norm",
    "optimization.regularizer",
    "optimization.regularizer_weight",
    "optimization.regularizer_covariance",
    "logging.folder",
    "logging.write_tag",
    "logging.checkpoint_every",
    "logging.monitor_every",
    "logging.keep",
};

ij_status ij_train_config_read(ij_config_text *text, ij_train_config *config, char *notes, size_t notes_bytes, ij_error *err) {
    char none[1] = "";
    reader r = {text, notes ? notes : none, notes ? notes_bytes : 1, err};
    r.notes[0] = 0;
    IJ_TRY(read_model(&r, config)); /* before data: a preset leaves image sizes alone */
    IJ_TRY(read_data(&r, config));
    IJ_TRY(ij_model_check(&config->model, err));
    IJ_TRY(read_masks(&r, config));
    IJ_TRY(read_optimization(&r, config));
    IJ_TRY(read_run(&r, config));
    IJ_TRY(ij_config_text_check_used(text, known_keys, IJ_COUNT(known_keys), err));
    if (config->channels == 2) return ij_fail(err, IJ_ERROR_ARGUMENT, "data.channels: 2; 1 or 3 are supported");
    for (int i = 0; i < 2; i++) {
        const double *range = i ? config->crop_ratio : config->crop_scale;
        if (range[0] > range[1])
            return ij_fail(err, IJ_ERROR_ARGUMENT, "data.%s: [%g, %g]: the first is larger", i ? "crop_ratio" : "crop_scale", range[0],
                           range[1]);
    }
    return masks_check(&config->masks, err);
}

/* The shortest decimal that is this float: 0.485, not 0.48500001430511475. */
static double shortest(float value) {
    char text[32];
    double decimal = (double)value;
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value), sscanf(text, "%lf", &decimal);
        if ((float)decimal == value) break;
    }
    return decimal;
}

ij_status ij_train_config_write(const ij_train_config *c, ij_config_text *out, ij_error *err) {
    const ij_model_config *m = &c->model;
    const ij_schedule *s = &c->schedule;
    double mean[3], std[3], ema[2] = {s->ema, s->final_ema};
    for (int i = 0; i < 3; i++) mean[i] = shortest(c->mean[i]), std[i] = shortest(c->std[i]);
#define TEXT(key, value) IJ_TRY(ij_config_text_put(out, key, value, true, err))
#define INTEGER(key, value) IJ_TRY(ij_config_text_put_integer(out, key, (int64_t)(value), err))
#define NUMBER(key, value) IJ_TRY(ij_config_text_put_number(out, key, value, err))
#define NUMBERS(key, values, count) IJ_TRY(ij_config_text_put_numbers(out, key, values, count, err))
#define BOOLEAN(key, value) IJ_TRY(ij_config_text_put_bool(out, key, value, err))
    TEXT("data.path", c->data_path);
    INTEGER("data.batch_size", c->batch);
    INTEGER("data.image_height", m->image_height);
    INTEGER("data.image_width", m->image_width);
    NUMBERS("data.crop_scale", c->crop_scale, 2);
    NUMBERS("data.crop_ratio", c->crop_ratio, 2);
    BOOLEAN("data.random_crop", c->random_crop);
    INTEGER("data.channels", c->channels);
    INTEGER("data.pad_to", c->pad_to);
    INTEGER("data.num_workers", c->threads);
    NUMBERS("data.mean", mean, c->channels);
    NUMBERS("data.std", std, c->channels);
    TEXT("data.resize", ij_resize_names[c->preprocess.resize]);
    INTEGER("data.resize_shorter", c->preprocess.shorter);
    INTEGER("data.resize_height", c->preprocess.height);
    INTEGER("data.resize_width", c->preprocess.width);
    TEXT("data.resize_filter", ij_filter_names[c->preprocess.filter]);
    TEXT("data.resampler", ij_resampler_names[c->preprocess.resampler]);
    TEXT("mask.mode", mask_names[c->masks.mode]);
    BOOLEAN("mask.allow_overlap", c->masks.allow_overlap != 0);
    NUMBERS("mask.aspect_ratio", c->masks.aspect, 2);
    NUMBERS("mask.enc_mask_scale", c->masks.enc_scale, 2);
    NUMBERS("mask.pred_mask_scale", c->masks.pred_scale, 2);
    INTEGER("mask.min_keep", c->masks.min_keep);
    INTEGER("mask.num_pred_masks", c->masks.blocks);
    INTEGER("mask.patch_size", m->patch_size);
    NUMBER("mask.context_keep", c->masks.context_keep);
    NUMBER("mask.random_ratio", c->masks.random_ratio);
    NUMBER("mask.block_scale", c->masks.block_scale);
    TEXT("meta.model_name", c->model_name);
    INTEGER("meta.embed_dim", m->dim);
    INTEGER("meta.depth", m->depth);
    INTEGER("meta.num_heads", m->heads);
    NUMBER("meta.mlp_ratio", (double)m->hidden / m->dim);
    NUMBER("meta.norm_eps", shortest(m->norm_eps));
    INTEGER("meta.pred_emb_dim", m->pred_dim);
    INTEGER("meta.pred_depth", m->pred_depth);
    INTEGER("meta.pred_num_heads", m->pred_heads);
    INTEGER("meta.seed", c->seed);
    TEXT("meta.precision", ij_precision_names[c->precision]);
    TEXT("meta.loss", loss_names[c->loss]);
    TEXT("meta.targets", targets_names[m->targets]);
    TEXT("meta.target_mask", target_mask_names[m->target_mask]);
    NUMBERS("optimization.ema", ema, 2);
    INTEGER("optimization.epochs", s->epochs);
    INTEGER("optimization.steps", s->steps);
    NUMBER("optimization.lr", s->lr);
    NUMBER("optimization.start_lr", s->start_lr);
    NUMBER("optimization.final_lr", s->final_lr);
    NUMBER("optimization.warmup", s->warmup_epochs);
    NUMBER("optimization.weight_decay", s->weight_decay);
    NUMBER("optimization.final_weight_decay", s->final_weight_decay);
    NUMBER("optimization.ipe_scale", s->ipe_scale);
    INTEGER("optimization.accumulation", c->accumulation);
    NUMBER("optimization.beta1", c->beta1);
    NUMBER("optimization.beta2", c->beta2);
    NUMBER("optimization.eps", c->eps);
    NUMBER("optimization.clip_norm", c->clip_norm);
    TEXT("optimization.regularizer", regularizer_names[c->regularizer]);
    NUMBER("optimization.regularizer_weight", c->regularizer_weight);
    NUMBER("optimization.regularizer_covariance", c->regularizer_covariance);
    TEXT("logging.folder", c->folder);
    INTEGER("logging.checkpoint_every", c->checkpoint_every);
    INTEGER("logging.monitor_every", c->monitor_every);
    INTEGER("logging.keep", c->keep);
    return IJ_OK;
}
