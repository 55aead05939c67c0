/* config.json and preprocessor_config.json.       layer: train; uses: base, io, model */
#include "train/export_files.h"
#include "io/json_writer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CENTER_SIZE 224 /* what evaluation keeps of a shorter side of RESIZE_SIZE */
#define RESIZE_SIZE 256
#define PIL_BILINEAR 2
#define PIL_BICUBIC 3
#define TIMM_EPS 1e-6f

static const char *const torch_names[IJ_EXPORT_DTYPE_COUNT] = {"float32", "float16", "bfloat16"};

static int before_crop(int side) { return (side * RESIZE_SIZE + CENTER_SIZE / 2) / CENTER_SIZE; }

/* As training took pictures: whole, or of their centre. */
static void as_trained(bool whole, ij_export_resize *r) {
    bool square = r->input_height == r->input_width;
    r->crop = !whole;
    if (whole)
        r->height = r->input_height, r->width = r->input_width;
    else if (square)
        r->shorter = before_crop(r->input_height);
    else
        r->height = before_crop(r->input_height), r->width = before_crop(r->input_width);
}

ij_export_resize ij_export_resize_of(const ij_train_config *config) {
    const ij_preprocess *p = &config->preprocess;
    ij_export_resize r = {.input_height = p->height ? p->height : config->model.image_height,
                          .input_width = p->width ? p->width : config->model.image_width,
                          .bicubic = p->filter == IJ_FILTER_BICUBIC};
    int smaller = r.input_height < r.input_width ? r.input_height : r.input_width;
    if (p->resize == IJ_RESIZE_SHORTER)
        r.crop = true, r.shorter = p->shorter ? p->shorter : before_crop(smaller);
    else
        as_trained(p->resize == IJ_RESIZE_EXACT || !config->random_crop, &r);
    return r;
}

/* ---- parts ---- */

static void text(ij_json *j, const char *key, const char *value) { ij_json_key(j, key), ij_json_string(j, value); }
static void integer(ij_json *j, const char *key, int64_t value) { ij_json_key(j, key), ij_json_integer(j, value); }
static void boolean(ij_json *j, const char *key, bool value) { ij_json_key(j, key), ij_json_bool(j, value); }

static void zero(ij_json *j, const char *key) { ij_json_key(j, key), ij_json_raw(j, "0.0"), j->comma = true, j->keyed = false; }

static void floats(ij_json *j, const char *key, const float *values, int count) {
    ij_json_key(j, key), ij_json_open(j, '[');
    for (int i = 0; i < count; i++) ij_json_float(j, values[i]);
    ij_json_close(j, ']');
}

static void size(ij_json *j, const char *key, int height, int width) {
    ij_json_key(j, key), ij_json_open(j, '{');
    integer(j, "height", height), integer(j, "width", width);
    ij_json_close(j, '}');
}

static void pair(ij_json *j, const char *key, int height, int width) {
    ij_json_key(j, key), ij_json_open(j, '[');
    ij_json_integer(j, height), ij_json_integer(j, width);
    ij_json_close(j, ']');
}

static ij_status finish(ij_json *j, char **out, ij_error *err) {
    ij_json_close(j, '}');
    ij_json_raw(j, "\n");
    if (!j->failed) {
        *out = j->text;
        return IJ_OK;
    }
    ij_json_free(j);
    return ij_fail(err, IJ_ERROR_MEMORY, "out of host memory: a configuration as JSON");
}

/* ---- transformers ---- */

ij_status ij_export_hf_config(const ij_model_config *m, ij_export_dtype dtype, char **json, ij_error *err) {
    ij_json j = {.indent = 2};
    ij_json_open(&j, '{');
    ij_json_key(&j, "architectures"), ij_json_open(&j, '['), ij_json_string(&j, "IJepaModel"), ij_json_close(&j, ']');
    zero(&j, "attention_probs_dropout_prob");
    text(&j, "hidden_act", "gelu");
    zero(&j, "hidden_dropout_prob");
    integer(&j, "hidden_size", m->dim);
    if (m->image_height == m->image_width)
        integer(&j, "image_size", m->image_height);
    else
        pair(&j, "image_size", m->image_height, m->image_width);
    ij_json_key(&j, "initializer_range"), ij_json_float(&j, 0.02f);
    integer(&j, "intermediate_size", m->hidden);
    ij_json_key(&j, "layer_norm_eps"), ij_json_float(&j, m->norm_eps);
    text(&j, "model_type", "ijepa");
    integer(&j, "num_attention_heads", m->heads);
    integer(&j, "num_channels", m->channels);
    integer(&j, "num_hidden_layers", m->depth);
    integer(&j, "patch_size", m->patch_size);
    boolean(&j, "qkv_bias", true);
    text(&j, "torch_dtype", torch_names[dtype]);
    return finish(&j, json, err);
}

ij_status ij_export_hf_preprocessor(const ij_train_config *c, char **json, ij_error *err) {
    const ij_model_config *m = &c->model;
    ij_export_resize resize = ij_export_resize_of(c);
    ij_json j = {.indent = 2};
    ij_json_open(&j, '{');
    text(&j, "image_processor_type", resize.crop ? "BitImageProcessor" : "ViTImageProcessor");
    boolean(&j, "do_resize", true);
    if (resize.shorter) {
        ij_json_key(&j, "size"), ij_json_open(&j, '{');
        integer(&j, "shortest_edge", resize.shorter);
        ij_json_close(&j, '}');
    } else {
        size(&j, "size", resize.height, resize.width);
    }
    integer(&j, "resample", resize.bicubic ? PIL_BICUBIC : PIL_BILINEAR);
    if (resize.crop) {
        boolean(&j, "do_center_crop", true);
        size(&j, "crop_size", resize.input_height, resize.input_width);
    }
    boolean(&j, "do_convert_rgb", m->channels == 3);
    boolean(&j, "do_rescale", true);
    ij_json_key(&j, "rescale_factor"), ij_json_number(&j, 1.0 / 255);
    boolean(&j, "do_normalize", true);
    floats(&j, "image_mean", c->mean, m->channels);
    floats(&j, "image_std", c->std, m->channels);
    return finish(&j, json, err);
}

/* ---- timm ---- */

/* timm makes the MLP's width as int(dim x ratio). */
static double mlp_ratio(const ij_model_config *m) {
    double ratio = (double)m->hidden / m->dim;
    return (int)(m->dim * ratio) == m->hidden ? ratio : nextafter(ratio, INFINITY);
}

/* Its VisionTransformer as I-JEPA has it: no class token, the last LayerNorm before the mean over patches. */
static void timm_arguments(ij_json *j, const ij_model_config *m) {
    ij_json_key(j, "model_args"), ij_json_open(j, '{');
    pair(j, "img_size", m->image_height, m->image_width);
    integer(j, "patch_size", m->patch_size);
    integer(j, "in_chans", m->channels);
    integer(j, "embed_dim", m->dim);
    integer(j, "depth", m->depth);
    integer(j, "num_heads", m->heads);
    ij_json_key(j, "mlp_ratio"), ij_json_number(j, mlp_ratio(m));
    boolean(j, "class_token", false);
    text(j, "global_pool", "avg");
    boolean(j, "fc_norm", false);
    ij_json_close(j, '}');
}

/* timm makes the shorter side floor(side / crop_pct). */
static double crop_pct(const ij_export_resize *r) {
    int side = r->input_height < r->input_width ? r->input_height : r->input_width;
    if (!r->crop) return 1;
    if (!r->shorter) return (double)CENTER_SIZE / RESIZE_SIZE;
    double part = (double)side / r->shorter;
    return floor(side / part) < r->shorter ? nextafter(part, 0) : part;
}

static void timm_input(ij_json *j, const ij_train_config *c) {
    const ij_model_config *m = &c->model;
    ij_export_resize resize = ij_export_resize_of(c);
    ij_json_key(j, "pretrained_cfg"), ij_json_open(j, '{');
    ij_json_key(j, "input_size"), ij_json_open(j, '[');
    ij_json_integer(j, m->channels), ij_json_integer(j, resize.input_height), ij_json_integer(j, resize.input_width);
    ij_json_close(j, ']');
    boolean(j, "fixed_input_size", true);
    text(j, "interpolation", resize.bicubic ? "bicubic" : "bilinear");
    ij_json_key(j, "crop_pct"), ij_json_number(j, crop_pct(&resize));
    text(j, "crop_mode", resize.shorter ? "center" : "squash");
    floats(j, "mean", c->mean, m->channels);
    floats(j, "std", c->std, m->channels);
    integer(j, "num_classes", 0);
    text(j, "first_conv", "patch_embed.proj");
    text(j, "classifier", "head");
    ij_json_close(j, '}');
}

ij_status ij_export_timm_config(const ij_train_config *c, char **json, ij_error *err) {
    if (c->model.norm_eps != TIMM_EPS) {
        ij_fail(err, IJ_ERROR_ARGUMENT, "LayerNorm's eps is %g; a configuration of timm has 1e-6 and no word for another",
                (double)c->model.norm_eps);
        return ij_hint(err, "--to hf or safetensors");
    }
    ij_json j = {.indent = 2};
    ij_json_open(&j, '{');
    text(&j, "architecture", "vit_base_patch16_224");
    integer(&j, "num_classes", 0);
    integer(&j, "num_features", c->model.dim);
    text(&j, "global_pool", "avg");
    timm_arguments(&j, &c->model);
    timm_input(&j, c);
    return finish(&j, json, err);
}
