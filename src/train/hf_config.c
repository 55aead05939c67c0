/* layer: train; uses: base, data, cJSON */
#include "train/hf_config.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CENTER_SIZE 224 /* `trained` (data/preprocess.h) keeps this of a side of RESIZE_SIZE */
#define RESIZE_SIZE 256
#define SIDE_MAX 16384

typedef struct reader {
    const cJSON *object;
    const char *name; /* of the file */
    ij_error *err;
} reader;

/* The value of a key; NULL where it is missing or null. */
static const cJSON *get(const reader *r, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(r->object, key);
    return item && !cJSON_IsNull(item) ? item : NULL;
}

static ij_status wrong(const reader *r, const char *key, const char *expected) {
    return ij_fail(r->err, IJ_ERROR_FORMAT, "%s: \"%s\" is not %s", r->name, key, expected);
}

static ij_status number(const reader *r, const char *key, double low, double high, double *out) {
    const cJSON *item = get(r, key);
    if (!item) return IJ_OK;
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= low && item->valuedouble <= high)) {
        char expected[80];
        snprintf(expected, sizeof expected, "a number from %g to %g", low, high);
        return wrong(r, key, expected);
    }
    *out = item->valuedouble;
    return IJ_OK;
}

static ij_status whole(const reader *r, const char *key, int low, int high, int *out) {
    double value = *out;
    IJ_TRY(number(r, key, low, high, &value));
    if (value != floor(value)) return wrong(r, key, "a whole number");
    *out = (int)value;
    return IJ_OK;
}

static ij_status boolean(const reader *r, const char *key, bool *out) {
    const cJSON *item = get(r, key);
    if (!item) return IJ_OK;
    if (!cJSON_IsBool(item)) return wrong(r, key, "true or false");
    *out = cJSON_IsTrue(item);
    return IJ_OK;
}

static ij_status text(const reader *r, const char *key, char *out, size_t out_bytes) {
    const cJSON *item = get(r, key);
    if (!item) return IJ_OK;
    if (!cJSON_IsString(item) || strlen(item->valuestring) >= out_bytes) return wrong(r, key, "a text of reasonable length");
    strcpy(out, item->valuestring);
    return IJ_OK;
}

static ij_status refuse(const reader *r, const char *key, const char *is, const char *done) {
    return ij_fail(r->err, IJ_ERROR_ARGUMENT, "%s: \"%s\" is %s, which is not supported; %s", r->name, key, is, done);
}

/* One number, or a pair [height, width]. */
static ij_status sides(const reader *r, const char *key, int *height, int *width) {
    const cJSON *item = get(r, key);
    if (!cJSON_IsArray(item)) {
        IJ_TRY(whole(r, key, 1, SIDE_MAX, height));
        if (item) *width = *height;
        return IJ_OK;
    }
    const cJSON *first = item->child, *second = first ? first->next : NULL;
    bool good = second && !second->next && cJSON_IsNumber(first) && cJSON_IsNumber(second) && first->valuedouble >= 1 &&
                second->valuedouble >= 1 && first->valuedouble <= SIDE_MAX && second->valuedouble <= SIDE_MAX;
    if (!good) return wrong(r, key, "a number or a pair of numbers");
    *height = (int)first->valuedouble, *width = (int)second->valuedouble;
    return IJ_OK;
}

/* Three numbers; one stands for three equal ones. */
static ij_status triple(const reader *r, const char *key, double low, float out[3]) {
    const cJSON *item = get(r, key);
    if (!item) return IJ_OK;
    int count = cJSON_IsArray(item) ? cJSON_GetArraySize(item) : 1;
    const cJSON *at = cJSON_IsArray(item) ? item->child : item;
    if (count != 1 && count != 3) return wrong(r, key, "a list of 1 or 3 numbers");
    for (int i = 0; i < 3; i++) {
        if (!cJSON_IsNumber(at) || !(at->valuedouble >= low && at->valuedouble <= 100)) return wrong(r, key, "a list of 1 or 3 numbers");
        out[i] = (float)at->valuedouble;
        if (count == 3) at = at->next;
    }
    return IJ_OK;
}

/* The whole file as an object. cJSON stops at depth 1000. */
static ij_status parse(const void *json, size_t bytes, const char *name, cJSON **out, ij_error *err) {
    *out = NULL;
    if (bytes > IJ_HF_JSON_BYTES_MAX)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: %zu bytes; a configuration has at most %u", name, bytes, IJ_HF_JSON_BYTES_MAX);
    *out = cJSON_ParseWithLength(json, bytes);
    if (cJSON_IsObject(*out)) return IJ_OK;
    cJSON_Delete(*out);
    return ij_fail(err, IJ_ERROR_FORMAT, "%s: not a JSON object", name);
}

/* ---- preprocessor_config.json ---- */

static ij_status read_filter(const reader *r, ij_preprocess *p) {
    int resample = 2;
    IJ_TRY(whole(r, "resample", 0, 100, &resample));
    static const char *const names[] = {"0 (nearest)", "1 (Lanczos)", "2", "3", "4 (box)", "5 (Hamming)"};
    if (resample != 2 && resample != 3)
        return refuse(r, "resample", resample < IJ_COUNT(names) ? names[resample] : "unknown", "2 (bilinear) and 3 (bicubic) are");
    p->filter = resample == 3 ? IJ_FILTER_BICUBIC : IJ_FILTER_BILINEAR;
    return IJ_OK;
}

static bool ends_with(const char *word, const char *end) {
    size_t a = strlen(word), b = strlen(end);
    return a >= b && strcmp(word + a - b, end) == 0;
}

/* {"height": h, "width": w}, {"shortest_edge": n}, or n. 0 where a key is not there. */
static ij_status read_size(const reader *r, const char *key, int *shorter, int *height, int *width) {
    const cJSON *item = get(r, key);
    if (!cJSON_IsObject(item)) return sides(r, key, height, width);
    reader inside = {item, r->name, r->err};
    IJ_TRY(whole(&inside, "height", 1, SIDE_MAX, height));
    IJ_TRY(whole(&inside, "width", 1, SIDE_MAX, width));
    IJ_TRY(whole(&inside, "shortest_edge", 1, SIDE_MAX, shorter));
    if (*shorter ? *height || *width || get(&inside, "longest_edge") : !*height || !*width)
        return refuse(r, key, "neither {height, width} nor {shortest_edge}", "these two are");
    return IJ_OK;
}

static int before_crop(int side) { return (side * RESIZE_SIZE + CENTER_SIZE / 2) / CENTER_SIZE; }

static ij_status read_resize(const reader *r, ij_preprocess *p) {
    bool resize = true, crop = false;
    int shorter = 0, height = 0, width = 0, crop_shorter = 0, crop_height = 0, crop_width = 0;
    IJ_TRY(boolean(r, "do_resize", &resize));
    IJ_TRY(boolean(r, "do_center_crop", &crop));
    IJ_TRY(read_size(r, "size", &shorter, &height, &width));
    IJ_TRY(read_size(r, "crop_size", &crop_shorter, &crop_height, &crop_width));
    if (crop_shorter) crop_height = crop_width = crop_shorter;
    p->resize = IJ_RESIZE_EXACT;
    if (!resize) return crop ? refuse(r, "do_resize", "false beside a centre crop", "a crop after resizing is") : IJ_OK;
    if (shorter) {
        if (!crop || !crop_height)
            return refuse(r, "size", "{shortest_edge} without a centre crop",
                          "{height, width}, and {shortest_edge} with do_center_crop and crop_size, are");
        p->resize = IJ_RESIZE_SHORTER;
        p->shorter = shorter, p->height = crop_height, p->width = crop_width;
        return IJ_OK;
    }
    if (crop && height == before_crop(crop_height) && width == before_crop(crop_width)) { /* as train/export.h writes it */
        p->resize = IJ_RESIZE_TRAINED;
        p->height = crop_height, p->width = crop_width;
        return IJ_OK;
    }
    if (crop && crop_height && (crop_height != height || crop_width != width))
        return refuse(r, "do_center_crop", "true after a resize to {height, width}", "a centre crop after {shortest_edge} is");
    p->height = height, p->width = width;
    return IJ_OK;
}

static ij_status read_values(const reader *r, ij_hf_preprocessor *out) {
    bool rescale = true, normalize = true, pad = false;
    double factor = 1 / 255.0;
    IJ_TRY(boolean(r, "do_rescale", &rescale));
    IJ_TRY(boolean(r, "do_normalize", &normalize));
    IJ_TRY(boolean(r, "do_pad", &pad));
    IJ_TRY(number(r, "rescale_factor", 0, 1e6, &factor));
    if (!rescale) return refuse(r, "do_rescale", "false", "true with 1/255 is");
    if (pad) return refuse(r, "do_pad", "true", "false is");
    if (fabs(factor * 255 - 1) > 1e-6) return refuse(r, "rescale_factor", "another number than 1/255", "1/255 is");
    for (int i = 0; i < 3; i++) out->mean[i] = out->std[i] = 0.5f;
    IJ_TRY(triple(r, "image_mean", -10, out->mean));
    IJ_TRY(triple(r, "image_std", 1e-6, out->std));
    for (int i = 0; i < 3 && !normalize; i++) out->mean[i] = 0, out->std[i] = 1;
    return IJ_OK;
}

static ij_status read_preprocessor(const reader *r, int major, ij_hf_preprocessor *out) {
    IJ_TRY(text(r, "feature_extractor_type", out->type, sizeof out->type)); /* the name of old */
    IJ_TRY(text(r, "image_processor_type", out->type, sizeof out->type));
    IJ_TRY(read_filter(r, &out->preprocess));
    IJ_TRY(read_resize(r, &out->preprocess));
    bool torchvision = ends_with(out->type, "Fast") || (major >= 5 && !ends_with(out->type, "Pil"));
    if (out->preprocess.resize != IJ_RESIZE_TRAINED) out->preprocess.resampler = torchvision ? IJ_RESAMPLER_TORCHVISION : IJ_RESAMPLER_PIL;
    return read_values(r, out);
}

ij_status ij_hf_preprocessor_parse(const void *json, size_t bytes, const char *name, int major, ij_hf_preprocessor *out, ij_error *err) {
    cJSON *root;
    *out = (ij_hf_preprocessor){0};
    IJ_TRY(parse(json, bytes, name, &root, err));
    ij_status status = read_preprocessor(&(reader){root, name, err}, major, out);
    cJSON_Delete(root);
    return status;
}

/* ---- config.json ---- */

static ij_status read_architecture(const reader *r, ij_hf_config *c) {
    const cJSON *list = get(r, "architectures");
    if (!list) return IJ_OK;
    const cJSON *first = cJSON_IsArray(list) ? list->child : NULL;
    if (!cJSON_IsString(first) || strlen(first->valuestring) >= sizeof c->architecture) return wrong(r, "architectures", "a list of names");
    strcpy(c->architecture, first->valuestring);
    return IJ_OK;
}

static ij_status read_transformers(const reader *r, ij_hf_config *c) {
    char type[64] = "", act[64] = "gelu", version[64] = "";
    IJ_TRY(text(r, "model_type", type, sizeof type));
    if (strcmp(type, "ijepa") != 0)
        return ij_fail(r->err, IJ_ERROR_FORMAT, "%s: model_type \"%s\"; \"ijepa\" is read, and timm's folders", r->name, type);
    IJ_TRY(read_architecture(r, c));
    IJ_TRY(text(r, "transformers_version", version, sizeof version));
    c->major = atoi(version);
    c->dim = 768, c->depth = 12, c->heads = 12, c->hidden = 3072, c->patch_size = 16, c->channels = 3;
    c->image_height = c->image_width = 224;
    c->norm_eps = 1e-12, c->qkv_bias = true;
    int patch_width = c->patch_size;
    IJ_TRY(whole(r, "hidden_size", 1, 65536, &c->dim));
    IJ_TRY(whole(r, "num_hidden_layers", 1, 1024, &c->depth));
    IJ_TRY(whole(r, "num_attention_heads", 1, 1024, &c->heads));
    IJ_TRY(whole(r, "intermediate_size", 1, 65536, &c->hidden));
    IJ_TRY(whole(r, "num_channels", 1, 3, &c->channels));
    IJ_TRY(sides(r, "patch_size", &c->patch_size, &patch_width));
    IJ_TRY(sides(r, "image_size", &c->image_height, &c->image_width));
    IJ_TRY(number(r, "layer_norm_eps", 0, 1, &c->norm_eps));
    IJ_TRY(boolean(r, "qkv_bias", &c->qkv_bias));
    IJ_TRY(text(r, "hidden_act", act, sizeof act));
    if (strcmp(act, "gelu") != 0) {
        char is[80];
        snprintf(is, sizeof is, "\"%s\"", act);
        return refuse(r, "hidden_act", is, "\"gelu\" is");
    }
    if (get(r, "patch_size") && patch_width != c->patch_size) return refuse(r, "patch_size", "not square", "square patches are");
    return IJ_OK;
}

static bool is_side(const cJSON *item) { return cJSON_IsNumber(item) && item->valuedouble >= 1 && item->valuedouble <= SIDE_MAX; }

/* "squash": both sides to size / crop_pct, then the centre. All of the picture, or the part that `trained` takes. */
static ij_status squash(const reader *r, double part, ij_preprocess *p) {
    if (part != 1 && fabs(part * RESIZE_SIZE / CENTER_SIZE - 1) > 0.01)
        return refuse(r, "crop_pct", "neither 1 nor 0.875 with \"squash\"", "these two are");
    p->resize = part == 1 ? IJ_RESIZE_EXACT : IJ_RESIZE_TRAINED;
    if (part != 1) p->resampler = IJ_RESAMPLER_DEVICE; /* the others take `trained` for a square */
    return IJ_OK;
}

/* timm's evaluation: the shorter side to size / crop_pct (rounded down), bicubic, on PIL pictures, then the centre. */
static ij_status read_timm_picture(const reader *r, ij_hf_config *c) {
    char interpolation[32] = "bicubic", mode[32] = "center";
    double part = 0.875;
    ij_hf_preprocessor *out = &c->preprocessor;
    const cJSON *size = get(r, "input_size"), *height = cJSON_GetArrayItem(size, 1), *width = cJSON_GetArrayItem(size, 2);
    if (is_side(height) && is_side(width)) c->image_height = (int)height->valuedouble, c->image_width = (int)width->valuedouble;
    IJ_TRY(text(r, "interpolation", interpolation, sizeof interpolation));
    IJ_TRY(text(r, "crop_mode", mode, sizeof mode));
    IJ_TRY(number(r, "crop_pct", 0.1, 1, &part));
    for (int i = 0; i < 3; i++) out->mean[i] = out->std[i] = 0.5f;
    IJ_TRY(triple(r, "mean", -10, out->mean));
    IJ_TRY(triple(r, "std", 1e-6, out->std));
    bool bicubic = strcmp(interpolation, "bicubic") == 0;
    if (!bicubic && strcmp(interpolation, "bilinear") != 0)
        return refuse(r, "interpolation", "another filter than bicubic and bilinear", "these two are");
    bool squashed = strcmp(mode, "squash") == 0;
    if (!squashed && strcmp(mode, "center") != 0) return refuse(r, "crop_mode", "neither \"center\" nor \"squash\"", "these two are");
    if (!c->image_height) return IJ_OK;
    int smaller = c->image_height < c->image_width ? c->image_height : c->image_width;
    out->preprocess = (ij_preprocess){.resize = IJ_RESIZE_SHORTER,
                                      .shorter = (int)floor(smaller / part),
                                      .height = c->image_height,
                                      .width = c->image_width,
                                      .filter = bicubic ? IJ_FILTER_BICUBIC : IJ_FILTER_BILINEAR,
                                      .resampler = IJ_RESAMPLER_PIL};
    return squashed ? squash(r, part, &out->preprocess) : IJ_OK;
}

static ij_status read_timm(const reader *r, ij_hf_config *c) {
    reader picture = {get(r, "pretrained_cfg"), r->name, r->err}, arguments = {get(r, "model_args"), r->name, r->err};
    c->timm = true, c->qkv_bias = true, c->norm_eps = 1e-6;
    IJ_TRY(text(r, "architecture", c->architecture, sizeof c->architecture));
    strcpy(c->preprocessor.type, "timm");
    IJ_TRY(whole(&arguments, "num_heads", 1, 1024, &c->heads));
    return read_timm_picture(&picture, c);
}

ij_status ij_hf_config_parse(const void *json, size_t bytes, const char *name, ij_hf_config *out, ij_error *err) {
    cJSON *root;
    *out = (ij_hf_config){0};
    IJ_TRY(parse(json, bytes, name, &root, err));
    reader r = {root, name, err};
    bool timm = cJSON_IsObject(get(&r, "pretrained_cfg")) && get(&r, "architecture") && !get(&r, "model_type");
    ij_status status = timm ? read_timm(&r, out) : read_transformers(&r, out);
    cJSON_Delete(root);
    return status;
}
