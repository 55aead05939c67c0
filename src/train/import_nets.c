/* Which nets a file has.       layer: train; uses: base, io, model */
#include "base/memory.h"
#include "train/import_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const embed_weight[2] = {"patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight"};
static const char *const predictor_weight = "predictor_embed.weight";

/* Tensors by which a transformer tells that it is none of ours. */
static const struct {
    const char *name, *hf, *what;
} foreign[] = {
    {"cls_token", "embeddings.cls_token", "a class token (MAE, DINO and supervised transformers have one)"},
    {"reg_token", "embeddings.register_tokens", "register tokens (DINOv2 has them)"},
    {"register_tokens", "embeddings.register_tokens", "register tokens (DINOv2 has them)"},
    {"storage_tokens", "embeddings.storage_tokens", "register tokens (DINOv3 has them)"},
    {"dist_token", "embeddings.distillation_token", "a distillation token (DeiT has one)"},
    {"blocks.0.ls1.gamma", "encoder.layer.0.layer_scale1.lambda1", "LayerScale"},
    {"blocks.0.attn.q_norm.weight", "encoder.layer.0.attention.attention.q_norm.weight", "norms of queries and keys"},
    {"blocks.0.mlp.w12.weight", "encoder.layer.0.mlp.weights_in.weight", "a gated MLP (SwiGLU)"},
};

/* What may stand inside an encoder's names and is no part of it. */
static const char *const heads[] = {"head.", "fc_norm.", "head_dist.", "classifier.", "pooler.", "embeddings.mask_token"};

static bool starts(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

/* Whether name is `end`, or ends with it behind a dot; then its prefix, with the dot. */
static bool split(const char *name, const char *end, char prefix[IJ_NAME_BYTES]) {
    size_t all = strlen(name), tail = strlen(end);
    if (all < tail || strcmp(name + all - tail, end) != 0 || all - tail >= IJ_NAME_BYTES) return false;
    if (all > tail && name[all - tail - 1] != '.') return false;
    memcpy(prefix, name, all - tail), prefix[all - tail] = 0;
    return true;
}

/* "a.encoder.module." ends in the component "encoder" when wrappers are left aside. */
static bool ends_in(const char *prefix, const char *component) {
    static const char *const wrappers[] = {"module.", "_orig_mod."};
    size_t length = strlen(prefix), want = strlen(component);
    for (bool again = true; again;) {
        again = false;
        for (int i = 0; i < IJ_COUNT(wrappers); i++) {
            size_t w = strlen(wrappers[i]);
            if (length < w || strncmp(prefix + length - w, wrappers[i], w) != 0) continue;
            length -= w, again = true;
        }
    }
    if (length < want + 1 || strncmp(prefix + length - want - 1, component, want) != 0) return false;
    return length == want + 1 || prefix[length - want - 2] == '.';
}

static ij_status take_net(ij_import *import, int net, ij_naming naming, const char *prefix, ij_error *err) {
    import_net *n = &import->nets[net];
    if (n->there)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: two %ss, \"%s\" and \"%s\": it is not clear which is meant", import->path,
                       net == NET_PREDICTOR ? "predictor" : "encoder", n->prefix, prefix);
    n->there = true;
    n->naming = naming;
    snprintf(n->prefix, sizeof n->prefix, "%s", prefix);
    return IJ_OK;
}

static ij_status take_encoder(ij_import *import, ij_naming naming, const char *prefix, bool *single, ij_error *err) {
    bool target = ends_in(prefix, "target_encoder"), context = !target && ends_in(prefix, "encoder");
    if (!target && !context) *single = true;
    IJ_TRY(take_net(import, target ? NET_TARGET : NET_CONTEXT, naming, prefix, err));
    if (*single && import->nets[NET_TARGET].there)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: two encoders, \"%s\" and \"%s\": it is not clear which is meant", import->path,
                       import->nets[NET_CONTEXT].prefix, import->nets[NET_TARGET].prefix);
    return IJ_OK;
}

/* "layers.0." of transformers' modules, or "encoder.layer.0." of its files. */
static ij_naming naming_of_hf(const ij_import *import, const char *prefix) {
    char name[2 * IJ_NAME_BYTES];
    snprintf(name, sizeof name, "%slayers.0.layernorm_before.weight", prefix);
    return ij_tensor_file_find(import->file, name) ? IJ_NAMING_HF_MODULES : IJ_NAMING_HF;
}

static ij_status check_foreign(const ij_import *import, const import_net *net, ij_error *err) {
    char name[2 * IJ_NAME_BYTES];
    for (int i = 0; i < IJ_COUNT(foreign); i++) {
        snprintf(name, sizeof name, "%s%s", net->prefix, net->naming == IJ_NAMING_RELEASED ? foreign[i].name : foreign[i].hf);
        if (ij_tensor_file_find(import->file, name))
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: it has %s, %s: no encoder of I-JEPA", import->path, name, foreign[i].what);
    }
    const ij_tensor_entry *patch = import_find(import, (int)(net - import->nets), "patch_embed.proj.weight");
    if (patch && patch->ndim == 5)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: %s has 5 dimensions: patches of video (V-JEPA); I-JEPA's are [dim, channels, side, side]",
                       import->path, patch->name);
    return IJ_OK;
}

static ij_status none_found(const ij_import *import, ij_error *err) {
    name_list list = {0};
    for (int64_t i = 0; i < ij_tensor_file_count(import->file); i++) name_list_add(&list, ij_tensor_file_at(import->file, i)->name);
    if (!list.count) return ij_fail(err, IJ_ERROR_FORMAT, "%s: it has no tensors", import->path);
    return ij_fail(err, IJ_ERROR_FORMAT, "%s: no encoder: it has no %s and no %s, but %s", import->path, embed_weight[0], embed_weight[1],
                   name_list_text(&list));
}

ij_status import_find_nets(ij_import *import, ij_error *err) {
    char prefix[IJ_NAME_BYTES];
    bool single = false;
    for (int64_t i = 0; i < ij_tensor_file_count(import->file); i++) {
        const char *name = ij_tensor_file_at(import->file, i)->name;
        if (starts(name, "opt.")) continue;
        if (split(name, embed_weight[0], prefix)) IJ_TRY(take_encoder(import, IJ_NAMING_RELEASED, prefix, &single, err));
        if (split(name, embed_weight[1], prefix)) IJ_TRY(take_encoder(import, naming_of_hf(import, prefix), prefix, &single, err));
        if (split(name, predictor_weight, prefix)) IJ_TRY(take_net(import, NET_PREDICTOR, IJ_NAMING_RELEASED, prefix, err));
    }
    const import_net *nets = import->nets;
    if (!nets[NET_CONTEXT].there && !nets[NET_TARGET].there) return none_found(import, err);
    for (int n = 0; n < NET_PREDICTOR; n++)
        if (nets[n].there) IJ_TRY(check_foreign(import, &nets[n], err));
    ij_import_info *info = &import->info;
    info->has_context = nets[NET_CONTEXT].there, info->has_target = nets[NET_TARGET].there;
    info->has_predictor = nets[NET_PREDICTOR].there;
    bool hf = nets[info->has_context ? NET_CONTEXT : NET_TARGET].naming != IJ_NAMING_RELEASED;
    info->kind = hf ? IJ_IMPORT_HF : single ? IJ_IMPORT_ENCODER : IJ_IMPORT_RELEASED;
    return IJ_OK;
}

/* ---- sizes ---- */

#define SIZE_MAX_READ 65536 /* larger ones are no model's */

static ij_status need(const ij_import *import, int net, const char *name, int ndim, const ij_tensor_entry **out, ij_error *err) {
    const ij_tensor_entry *parts[3];
    char missing[2 * IJ_NAME_BYTES];
    if (!import_sources(import, net, name, parts, missing))
        return ij_fail(err, IJ_ERROR_MISMATCH, "%s: no tensor %s", import->path, missing);
    *out = parts[0];
    bool good = (*out)->ndim == ndim;
    for (int i = 0; i < (*out)->ndim; i++) good = good && (*out)->shape[i] >= 1 && (*out)->shape[i] <= SIZE_MAX_READ;
    if (good) return IJ_OK;
    char shape[128];
    ij_shape_text(shape, sizeof shape, (*out)->ndim, (*out)->shape);
    return ij_fail(err, IJ_ERROR_MISMATCH, "%s: %s has shape %s; %d dimensions of a model's sizes are expected", import->path, (*out)->name,
                   shape, ndim);
}

static int count_blocks(const ij_import *import, int net, const char *prefix) {
    char name[64];
    int depth = 0;
    const ij_tensor_entry *parts[3];
    do snprintf(name, sizeof name, "%s.%d.norm1.weight", prefix, depth);
    while (import_sources(import, net, name, parts, NULL) && ++depth < SIZE_MAX_READ);
    return depth;
}

static ij_status measure_blocks(const ij_import *import, int net, const char *prefix, int *depth, int *hidden, ij_error *err) {
    const ij_tensor_entry *fc1;
    char name[64];
    *depth = count_blocks(import, net, prefix);
    snprintf(name, sizeof name, "%s.0.mlp.fc1.weight", prefix);
    IJ_TRY(need(import, net, name, 2, &fc1, err));
    *hidden = (int)fc1->shape[0];
    return IJ_OK;
}

ij_status import_measure(const ij_import *import, ij_model_config *m, ij_error *err) {
    int net = import->info.has_context ? NET_CONTEXT : NET_TARGET;
    const ij_tensor_entry *patch, *embed;
    IJ_TRY(need(import, net, "patch_embed.proj.weight", 4, &patch, err));
    m->dim = (int)patch->shape[0], m->channels = (int)patch->shape[1], m->patch_size = (int)patch->shape[2];
    if (patch->shape[3] != patch->shape[2])
        return ij_fail(err, IJ_ERROR_MISMATCH, "%s: patches of %lld x %lld; square ones are supported", import->path,
                       (long long)patch->shape[2], (long long)patch->shape[3]);
    IJ_TRY(measure_blocks(import, net, "blocks", &m->depth, &m->hidden, err));
    if (!import->info.has_predictor) return IJ_OK;
    IJ_TRY(need(import, NET_PREDICTOR, "predictor_embed.weight", 2, &embed, err));
    m->pred_dim = (int)embed->shape[0];
    return measure_blocks(import, NET_PREDICTOR, "predictor_blocks", &m->pred_depth, &m->pred_hidden, err);
}

/* ---- complete, and nothing else ---- */

/* The tensors that were found, to tell the others. */
typedef struct used_list {
    const ij_tensor_entry **entries;
    int64_t count, capacity;
} used_list;

static ij_status use(used_list *used, const ij_tensor_entry *entry, ij_error *err) {
    IJ_TRY(ij_grow(&used->entries, &used->capacity, used->count + 1, sizeof *used->entries, "list of tensors", err));
    used->entries[used->count++] = entry;
    return IJ_OK;
}

bool import_is_qkv_bias(const char *name) {
    size_t length = strlen(name);
    return length >= 13 && strcmp(name + length - 13, ".attn.qkv.bias") == 0;
}

static ij_status check_net(const ij_import *import, int net, used_list *used, name_list *missing, ij_error *err) {
    char name[2 * IJ_NAME_BYTES];
    for (int i = 0; i < import->table.count; i++) {
        const ij_param *p = &import->table.params[i];
        const ij_tensor_entry *parts[3];
        if (p->predictor != (net == NET_PREDICTOR) || (import->no_qkv_bias && import_is_qkv_bias(p->name))) continue;
        int count = import_sources(import, net, p->name, parts, name);
        if (count == 0) name_list_add(missing, name);
        IJ_TRY(import_check_shape(import, p, parts, count, err));
        for (int k = 0; k < count; k++) IJ_TRY(use(used, parts[k], err));
    }
    const ij_tensor_entry *positions = import_find(import, net, net == NET_PREDICTOR ? "predictor_pos_embed" : "pos_embed");
    return positions ? use(used, positions, err) : IJ_OK;
}

static int by_address(const void *a, const void *b) {
    const ij_tensor_entry *x = *(const ij_tensor_entry *const *)a, *y = *(const ij_tensor_entry *const *)b;
    return x < y ? -1 : x > y;
}

static bool is_head(const char *name) {
    for (int i = 0; i < IJ_COUNT(heads); i++)
        if (starts(name, heads[i])) return true;
    return false;
}

/* Whether a tensor stands inside a net and is no head: it would have a part in the features. */
static bool is_inside(const ij_import *import, const char *name) {
    for (int n = 0; n < NET_COUNT; n++) {
        const import_net *net = &import->nets[n];
        if (net->there && starts(name, net->prefix)) return !is_head(name + strlen(net->prefix));
    }
    return false;
}

static ij_status check_rest(ij_import *import, used_list *used, ij_error *err) {
    name_list inside = {0}, beside = {0};
    qsort(used->entries, (size_t)used->count, sizeof *used->entries, by_address);
    for (int64_t i = 0; i < ij_tensor_file_count(import->file); i++) {
        const ij_tensor_entry *e = ij_tensor_file_at(import->file, i);
        bool known = starts(e->name, "opt.") || starts(e->name, "scaler.");
        if (known || bsearch(&e, used->entries, (size_t)used->count, sizeof *used->entries, by_address)) continue;
        name_list_add(is_inside(import, e->name) ? &inside : &beside, e->name);
    }
    if (inside.count)
        return ij_fail(err, IJ_ERROR_MISMATCH, "%s: tensors that an I-JEPA model does not have: %s", import->path, name_list_text(&inside));
    if (beside.count) import_note(import, "not used: %s", name_list_text(&beside));
    return IJ_OK;
}

/* A norm that is applied to the average is named otherwise by timm: features would not be those of an I-JEPA. */
static ij_status say_missing(const ij_import *import, name_list *missing, ij_error *err) {
    ij_fail(err, IJ_ERROR_MISMATCH, "%s: missing tensors: %s", import->path, name_list_text(missing));
    for (int n = 0; n < NET_PREDICTOR; n++)
        if (import->nets[n].there && import_find(import, n, "fc_norm.weight"))
            return ij_hint(
                err, "it has fc_norm, which normalises the average of the patches; an I-JEPA has norm, before it (timm: fc_norm=False)");
    return IJ_ERROR_MISMATCH;
}

ij_status import_check(ij_import *import, ij_error *err) {
    used_list used = {0};
    name_list missing = {0};
    ij_status status = IJ_OK;
    for (int n = 0; n < NET_COUNT && status == IJ_OK; n++)
        if (import->nets[n].there) status = check_net(import, n, &used, &missing, err);
    if (status == IJ_OK && missing.count) status = say_missing(import, &missing, err);
    if (status == IJ_OK) status = check_rest(import, &used, err);
    free(used.entries);
    return status;
}
