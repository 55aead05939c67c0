/* What tensors do not tell: heads, image size, eps, mean and std, preprocessing.       layer: train; uses: base, io, model, cJSON
 *
 * In this order, a later one over an earlier one: defaults, the tensors' sizes, a preset of these sizes, config.json and
 * preprocessor_config.json, the sidecar. */
#include "base/file.h"
#include "train/checkpoint.h"
#include "train/import_file.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- this project's own ---- */

static ij_status state_number(const ij_import *import, const char *key, int64_t *out, ij_error *err) {
    const char *text = ij_tensor_file_get(import->file, key);
    char *end;
    if (!text) return ij_fail(err, IJ_ERROR_FORMAT, "%s: no \"%s\" in its metadata: not a training state of ijepa", import->path, key);
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || *end || end == text || value < 0)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: \"%s\" is \"%.40s\", not a count", import->path, key, text);
    *out = value;
    return IJ_OK;
}

ij_status import_state_settings(ij_import *import, ij_error *err) {
    ij_train_config *config = &import->info.config;
    const char *yaml = ij_tensor_file_get(import->file, "config");
    if (!yaml) return ij_fail(err, IJ_ERROR_FORMAT, "%s: no \"config\" in its metadata: not a training state of ijepa", import->path);
    ij_config_text text = {0};
    ij_train_config_defaults(config);
    ij_status status = ij_config_text_load_memory(&text, yaml, strlen(yaml), import->path, err);
    if (status == IJ_OK) status = ij_train_config_read(&text, config, NULL, 0, err);
    ij_config_text_free(&text);
    IJ_TRY(status);
    import->info.positions_height = ij_grid_height(&config->model), import->info.positions_width = ij_grid_width(&config->model);
    IJ_TRY(state_number(import, "steps_per_epoch", &config->schedule.steps_per_epoch, err));
    return state_number(import, "step", &import->info.step, err);
}

/* ---- Hugging Face's and timm's ---- */

/* The folder that may hold config.json: the path itself, or what a file with transformers' names stands in. */
static bool folder_of(const ij_import *import, char *out, size_t out_bytes) {
    const char *slash = strrchr(import->path, '/');
    snprintf(out, out_bytes, "%s", import->path);
    if (ij_is_folder(import->path)) return true;
    if (slash)
        out[slash - import->path] = 0;
    else
        snprintf(out, out_bytes, ".");
    return import->info.kind == IJ_IMPORT_HF;
}

/* config.json's sizes must be those of the tensors. */
static ij_status compare_sizes(const ij_import *import, const ij_model_config *m, ij_error *err) {
    const ij_hf_config *c = &import->hf;
    const struct {
        const char *key;
        int said, found;
    } sizes[] = {{"hidden_size", c->dim, m->dim},
                 {"num_hidden_layers", c->depth, m->depth},
                 {"intermediate_size", c->hidden, m->hidden},
                 {"patch_size", c->patch_size, m->patch_size},
                 {"num_channels", c->channels, m->channels}};
    for (int i = 0; i < IJ_COUNT(sizes); i++)
        if (sizes[i].said && sizes[i].said != sizes[i].found)
            return ij_fail(err, IJ_ERROR_MISMATCH, "%s: config.json says %s %d, its tensors have %d", import->path, sizes[i].key,
                           sizes[i].said, sizes[i].found);
    return IJ_OK;
}

/* *json is NULL where the folder has no such file. */
static ij_status read_json(const char *folder, const char *name, char path[4300], void **json, size_t *bytes, ij_error *err) {
    *json = NULL;
    IJ_TRY(ij_path_join(path, 4300, folder, name, err));
    return ij_file_exists(path) ? ij_file_read(path, IJ_HF_JSON_BYTES_MAX, json, bytes, err) : IJ_OK;
}

static void take_preprocessor(ij_import *import, const ij_hf_preprocessor *p) {
    ij_train_config *config = &import->info.config;
    config->preprocess = p->preprocess;
    memcpy(config->mean, p->mean, sizeof config->mean);
    memcpy(config->std, p->std, sizeof config->std);
}

static ij_status read_preprocessor(ij_import *import, const char *folder, ij_error *err) {
    char path[4300];
    void *json;
    size_t bytes;
    ij_hf_preprocessor preprocessor;
    IJ_TRY(read_json(folder, "preprocessor_config.json", path, &json, &bytes, err));
    if (!json) return IJ_OK;
    ij_status status = ij_hf_preprocessor_parse(json, bytes, path, import->hf.major, &preprocessor, err);
    free(json);
    if (status == IJ_OK) take_preprocessor(import, &preprocessor);
    return status;
}

static ij_status read_hf(ij_import *import, const ij_model_config *measured, ij_error *err) {
    char folder[4096], path[4300];
    void *json;
    size_t bytes;
    if (!folder_of(import, folder, sizeof folder)) return IJ_OK;
    IJ_TRY(read_json(folder, "config.json", path, &json, &bytes, err));
    if (!json) return IJ_OK;
    ij_status status = ij_hf_config_parse(json, bytes, path, &import->hf, err);
    free(json);
    IJ_TRY(status);
    import->hf_there = true;
    IJ_TRY(compare_sizes(import, measured, err));
    ij_model_config *m = &import->info.config.model;
    m->norm_eps = (float)import->hf.norm_eps;
    if (import->hf.heads) m->heads = import->hf.heads;
    import->no_qkv_bias = !import->hf.qkv_bias;
    if (!import->hf.timm) return read_preprocessor(import, folder, err);
    take_preprocessor(import, &import->hf.preprocessor);
    return IJ_OK;
}

/* ---- the size of a picture ---- */

/* Of config.json where its grid has as many patches as positions are stored, else of a square grid. false: neither. */
static bool find_image_size(ij_import *import, const ij_tensor_entry *positions) {
    ij_model_config *m = &import->info.config.model;
    int64_t patches = positions && positions->ndim >= 2 ? positions->shape[positions->ndim - 2] : 0, side = (int64_t)sqrt((double)patches);
    int height = import->hf.image_height, width = import->hf.image_width;
    m->image_height = m->image_width = 0;
    if (height && (!positions || (int64_t)(height / m->patch_size) * (width / m->patch_size) == patches))
        m->image_height = height, m->image_width = width;
    else if (side > 0 && side <= 4096 && side * side == patches)
        m->image_height = m->image_width = (int)side * m->patch_size;
    return m->image_height > 0;
}

/* timm's picture may have another size than its model, which was made with img_size: the same part of it is taken. */
static void fit_picture(ij_import *import) {
    const ij_model_config *m = &import->info.config.model;
    ij_preprocess *p = &import->info.config.preprocess;
    if (!import->hf.timm || p->height == m->image_height || !p->height) return;
    p->shorter = (int)((int64_t)p->shorter * m->image_height / p->height);
    p->height = m->image_height, p->width = m->image_width;
}

/* ---- the sidecar ---- */

/* The configuration that train/export.h writes into a file of weights is a sidecar inside; one beside the file goes over it. */
static ij_status open_sidecar(const ij_import *import, ij_config_text *text, char path[4300], ij_error *err) {
    bool folder = ij_is_folder(import->path);
    const char *format = ij_tensor_file_get(import->file, "format"), *yaml = ij_tensor_file_get(import->file, "config");
    snprintf(path, 4300, folder ? "%s/ijepa.yaml" : "%s.yaml", import->path);
    if (yaml && format && strcmp(format, IJ_WEIGHTS_FORMAT) == 0)
        IJ_TRY(ij_config_text_load_memory(text, yaml, strlen(yaml), import->path, err));
    return ij_file_exists(path) ? ij_config_text_load(text, path, err) : IJ_OK;
}

static bool gives(const ij_config_text *text, const char *key) { return ij_config_text_find(text, key) != NULL; }

static ij_status need_known(const ij_import *import, const ij_config_text *text, const char *sidecar, ij_error *err) {
    const ij_model_config *m = &import->info.config.model;
    if (!m->heads && !gives(text, "meta.num_heads") && !gives(text, "meta.model_name")) {
        ij_fail(err, IJ_ERROR_MISMATCH, "%s: its attention heads are not known: width %d, depth %d and MLP width %d are no preset's",
                import->path, m->dim, m->depth, m->hidden);
        return ij_hint(err, "write them into %.200s:  meta: {num_heads: N}", sidecar);
    }
    if (!m->image_height && !gives(text, "data.crop_size") && !gives(text, "data.image_height")) {
        ij_fail(err, IJ_ERROR_MISMATCH, "%s: its image size is not known: its positions are no square grid", import->path);
        return ij_hint(err, "write it into %.180s:  data: {image_height: H, image_width: W}", sidecar);
    }
    return IJ_OK;
}

static ij_status check_sidecar(const ij_import *import, const ij_model_config *measured, const char *sidecar, ij_error *err) {
    const ij_model_config *m = &import->info.config.model;
    const struct {
        const char *what;
        int said, found;
    } sizes[] = {{"width", m->dim, measured->dim},
                 {"depth", m->depth, measured->depth},
                 {"patch size", m->patch_size, measured->patch_size},
                 {"channels", m->channels, measured->channels}};
    for (int i = 0; i < IJ_COUNT(sizes); i++)
        if (sizes[i].said != sizes[i].found)
            return ij_fail(err, IJ_ERROR_MISMATCH, "%s gives %s %d, the tensors of %s have %d", sidecar, sizes[i].what, sizes[i].said,
                           import->path, sizes[i].found);
    return IJ_OK;
}

/* Reads the sidecar over what is known; the tensors' sizes stay. */
static ij_status read_sidecar(ij_import *import, const ij_model_config *measured, ij_error *err) {
    ij_train_config *c = &import->info.config;
    ij_config_text text = {0};
    char path[4300], model[32];
    float norm_eps = c->model.norm_eps;
    snprintf(model, sizeof model, "%s", c->model_name);
    ij_status status = open_sidecar(import, &text, path, err);
    if (status == IJ_OK) status = need_known(import, &text, path, err);
    bool own_eps = gives(&text, "meta.norm_eps"), own_heads = gives(&text, "meta.pred_num_heads");
    strcpy(c->model_name, "custom"); /* a preset would put its own sizes over the tensors' */
    if (status == IJ_OK) status = ij_train_config_read(&text, c, NULL, 0, err);
    ij_config_text_free(&text);
    IJ_TRY(status);
    if (strcmp(c->model_name, "custom") == 0) strcpy(c->model_name, model);
    if (!own_eps) c->model.norm_eps = norm_eps;
    IJ_TRY(check_sidecar(import, measured, path, err));
    c->model.hidden = measured->hidden;
    if (!import->info.has_predictor) return ij_model_check(&c->model, err);
    c->model.pred_dim = measured->pred_dim, c->model.pred_depth = measured->pred_depth, c->model.pred_hidden = measured->pred_hidden;
    bool same = import->reader && import->reader->pred_dim == measured->pred_dim;
    if (same && !own_heads) c->model.pred_heads = import->reader->pred_heads;
    return ij_model_check(&c->model, err);
}

/* ---- all ---- */

/* Published folders have the class's 0.5 though the models were trained with ImageNet's; another program's choice is its own. */
static void say_normalisation(ij_import *import) {
    const ij_train_config *c = &import->info.config;
    for (int i = 0; i < 3; i++)
        if (c->mean[i] != 0.5f || c->std[i] != 0.5f) return;
    if (import->info.kind != IJ_IMPORT_HF || !import->hf_there) return;
    import_note(import,
                "%s: its preprocessor_config.json says mean 0.5, std 0.5 (transformers' default), which is used; the published models were "
                "trained with mean [0.485, 0.456, 0.406], std [0.229, 0.224, 0.225]. To use these, write into %s:  data: {mean: [0.485, "
                "0.456, 0.406], std: [0.229, 0.224, 0.225]}",
                import->path, ij_is_folder(import->path) ? "ijepa.yaml in this folder" : "FILE.yaml beside this file");
}

ij_status import_settings(ij_import *import, const ij_model_config *measured, ij_error *err) {
    ij_train_config *c = &import->info.config;
    ij_train_config_defaults(c);
    ij_model_config *m = &c->model;
    *m = *measured;
    c->channels = m->channels;
    m->norm_eps = 1e-6f, m->heads = 0;
    const char *preset = ij_model_preset_of(m);
    snprintf(c->model_name, sizeof c->model_name, "%s", preset ? preset : "custom");
    if (preset) (void)ij_model_preset(preset, m, err);
    IJ_TRY(read_hf(import, measured, err));
    if (!m->heads && import->reader && import->reader->dim == m->dim) m->heads = import->reader->heads;
    int net = import->info.has_target ? NET_TARGET : NET_CONTEXT;
    const ij_tensor_entry *positions = import_find(import, net, "pos_embed");
    bool known = find_image_size(import, positions);
    int height = m->image_height, width = m->image_width;
    if (!import->info.has_predictor && !preset) m->pred_dim = m->dim, m->pred_depth = 6; /* its heads are the encoder's, so that fits */
    IJ_TRY(read_sidecar(import, measured, err));
    if (!known) height = m->image_height, width = m->image_width;
    import->info.positions_height = height / m->patch_size, import->info.positions_width = width / m->patch_size;
    fit_picture(import);
    say_normalisation(import);
    return IJ_OK;
}
