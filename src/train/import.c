/* layer: train; uses: base, io, model */
#include "train/import.h"
#include "base/file.h"
#include "base/memory.h"
#include "model/positions.h"
#include "train/checkpoint.h"
#include "train/import_file.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- texts ---- */

void import_note(ij_import *import, const char *format, ...) {
    char *notes = import->info.notes;
    size_t room = sizeof import->info.notes;
    va_list args;
    va_start(args, format);
    ij_append_va(notes, room - 1, format, args); /* the line's end fits in any case */
    va_end(args);
    ij_append(notes, room, "\n");
}

void name_list_add(name_list *list, const char *name) {
    size_t used = strlen(list->text), length = strlen(name);
    if (list->count++ < 4 && used + length + 3 < sizeof list->text - 40)
        snprintf(list->text + used, sizeof list->text - used, "%s%s", used ? ", " : "", name);
    else
        list->left_out++;
}

const char *name_list_text(name_list *list) {
    size_t used = strlen(list->text);
    if (list->left_out) snprintf(list->text + used, sizeof list->text - used, " and %d more", list->left_out);
    list->left_out = 0;
    return list->text;
}

/* ---- a net's tensors ---- */

int import_sources(const ij_import *import, int net, const char *name, const ij_tensor_entry *out[3], char missing[2 * IJ_NAME_BYTES]) {
    const import_net *n = &import->nets[net];
    char names[3][IJ_NAME_BYTES], full[2 * IJ_NAME_BYTES];
    int count = ij_foreign_names(n->naming, name, names);
    for (int i = 0; i < count; i++) {
        snprintf(full, sizeof full, "%s%.*s", n->prefix, IJ_NAME_BYTES - 1, names[i]);
        out[i] = ij_tensor_file_find(import->file, full);
        if (out[i]) continue;
        if (missing) memcpy(missing, full, sizeof full);
        return 0;
    }
    return count;
}

const ij_tensor_entry *import_find(const ij_import *import, int net, const char *name) {
    const ij_tensor_entry *parts[3];
    return import_sources(import, net, name, parts, NULL) == 1 ? parts[0] : NULL;
}

/* The net that a slot's parameter is read from: one encoder stands for both. -1: the file has none. */
static int net_of(const ij_import *import, ij_slot slot, const ij_param *param) {
    const import_net *nets = import->nets;
    if (param->predictor) return nets[NET_PREDICTOR].there ? NET_PREDICTOR : -1;
    int wanted = slot == IJ_SLOT_TARGET ? NET_TARGET : NET_CONTEXT, other = slot == IJ_SLOT_TARGET ? NET_CONTEXT : NET_TARGET;
    return nets[wanted].there ? wanted : nets[other].there ? other : -1;
}

static ij_status lacks(const ij_import *import, const ij_param *param, const char *what, ij_error *err) {
    return ij_fail(err, IJ_ERROR_MISMATCH, "%s: it has no %s for %s.%s", import->path, what, param->predictor ? "predictor" : "encoder",
                   param->name);
}

/* The tensors that a slot's parameter is made of; *count = 0: zeros. */
static ij_status sources_of(const ij_import *import, ij_slot slot, const ij_param *param, const ij_tensor_entry *parts[3], int *count,
                            ij_error *err) {
    char name[2 * IJ_NAME_BYTES];
    int net = net_of(import, slot, param);
    *count = 0;
    if (slot == IJ_SLOT_MOMENT1 || slot == IJ_SLOT_MOMENT2) {
        parts[0] = import->info.has_moments ? import_moment(import, slot, param) : NULL;
        if (!parts[0]) return lacks(import, param, "moments", err);
        *count = 1;
        return IJ_OK;
    }
    if (net < 0) return lacks(import, param, "weights", err);
    *count = import_sources(import, net, param->name, parts, name);
    if (*count == 0 && !(import->no_qkv_bias && import_is_qkv_bias(param->name)))
        return ij_fail(err, IJ_ERROR_MISMATCH, "%s: no tensor %s", import->path, name);
    return IJ_OK;
}

ij_status import_check_shape(const ij_import *import, const ij_param *p, const ij_tensor_entry *const *parts, int count, ij_error *err) {
    for (int i = 0; i < count; i++) {
        int64_t shape[4];
        memcpy(shape, p->shape, sizeof shape);
        shape[0] /= count;
        const ij_tensor_entry *e = parts[i];
        if (e->ndim == p->dims && memcmp(e->shape, shape, (size_t)p->dims * sizeof *shape) == 0) continue;
        char is[128], wanted[128];
        ij_shape_text(is, sizeof is, e->ndim, e->shape);
        ij_shape_text(wanted, sizeof wanted, p->dims, shape);
        return ij_fail(err, IJ_ERROR_MISMATCH, "%s: %s has shape %s, needed is %s", import->path, e->name, is, wanted);
    }
    return IJ_OK;
}

ij_status ij_import_read(const ij_import *import, ij_slot slot, const ij_param *param, float *out, ij_error *err) {
    const ij_tensor_entry *parts[3];
    int count;
    assert(slot != IJ_SLOT_GRADIENT);
    IJ_TRY(sources_of(import, slot, param, parts, &count, err));
    IJ_TRY(import_check_shape(import, param, parts, count, err));
    if (count == 0) memset(out, 0, (size_t)param->count * sizeof *out);
    for (int i = 0; i < count; out += parts[i++]->count) IJ_TRY(ij_tensor_file_read(import->file, parts[i], 0, parts[i]->count, out, err));
    return IJ_OK;
}

/* ---- positions ---- */

/* Reads stored positions [1, patches, dim] or [patches, dim]; *differ: from the fixed table. */
static ij_status read_positions(const ij_import *import, const ij_tensor_entry *e, int dim, float **out, bool *differ, ij_error *err) {
    int64_t count = (int64_t)import->info.positions_height * import->info.positions_width * dim;
    char shape[128];
    ij_shape_text(shape, sizeof shape, e->ndim, e->shape);
    if (e->count != count || e->shape[e->ndim - 1] != dim)
        return ij_fail(err, IJ_ERROR_MISMATCH, "%s: %s has shape %s, a grid of %d x %d patches of width %d needs %lld numbers",
                       import->path, e->name, shape, import->info.positions_height, import->info.positions_width, dim, (long long)count);
    IJ_TRY(ij_alloc(out, count, sizeof **out, "positions", err));
    IJ_TRY(ij_tensor_file_read(import->file, e, 0, count, *out, err));
    *differ = !ij_positions_fixed(*out, import->info.positions_height, import->info.positions_width, dim);
    return IJ_OK;
}

static ij_status find_positions(ij_import *import, ij_error *err) {
    int net = import->info.has_target ? NET_TARGET : NET_CONTEXT;
    const ij_tensor_entry *e = import_find(import, net, "pos_embed");
    bool differ = false;
    if (e) IJ_TRY(read_positions(import, e, import->info.config.model.dim, &import->positions, &differ, err));
    if (!differ) free(import->positions), import->positions = NULL;
    e = import->info.has_predictor ? import_find(import, NET_PREDICTOR, "predictor_pos_embed") : NULL;
    if (!e) return IJ_OK;
    float *predictor = NULL;
    ij_status status = read_positions(import, e, import->info.config.model.pred_dim, &predictor, &differ, err);
    free(predictor);
    if (status == IJ_OK && differ) {
        import_note(import, "%s: %s is not the fixed table that I-JEPA's predictor has, so its predictor is left out", import->path,
                    e->name);
        import->info.has_predictor = import->nets[NET_PREDICTOR].there = false;
    }
    return status;
}

/* ---- opening ---- */

static void find_state_nets(ij_import *import) {
    static const char *const prefixes[NET_COUNT] = {"encoder.", "target_encoder.", "predictor."};
    static const char *const first[NET_COUNT] = {"patch_embed.proj.weight", "patch_embed.proj.weight", "predictor_embed.weight"};
    for (int n = 0; n < NET_COUNT; n++) {
        snprintf(import->nets[n].prefix, sizeof import->nets[n].prefix, "%s", prefixes[n]);
        import->nets[n].there = import_find(import, n, first[n]) != NULL;
    }
    ij_import_info *info = &import->info;
    info->kind = IJ_IMPORT_STATE;
    info->has_context = import->nets[NET_CONTEXT].there, info->has_target = import->nets[NET_TARGET].there;
    info->has_predictor = import->nets[NET_PREDICTOR].there;
    info->has_moments = ij_tensor_file_find(import->file, "opt.exp_avg.encoder.patch_embed.proj.weight") != NULL;
}

/* One net's absence is no error: what it means for the features is said. */
static void say_which(ij_import *import) {
    const ij_import_info *info = &import->info;
    if (info->kind == IJ_IMPORT_STATE || info->has_context == info->has_target) return;
    if (info->kind == IJ_IMPORT_RELEASED)
        import_note(import, "%s: it holds the %s encoder alone, which is used for both", import->path,
                    info->has_target ? "target" : "context");
    else
        import_note(import, "%s: it holds one encoder, which is used for context and target (published ones are the context encoder)",
                    import->path);
}

static void set_title(ij_import *import) {
    ij_import_info *info = &import->info;
    const char *format = ij_tensor_file_format(import->file), *of = import->hf_there ? import->hf.architecture : "";
    int room = sizeof info->title;
    if (info->kind == IJ_IMPORT_STATE)
        snprintf(info->title, (size_t)room, "ijepa training state, step %lld (%s)", (long long)info->step, format);
    else if (info->kind == IJ_IMPORT_RELEASED)
        snprintf(info->title, (size_t)room, "released training state, epoch %lld (%s)", (long long)info->epoch, format);
    else
        snprintf(info->title, (size_t)room, "encoder of %s%s%s (%s)", info->kind == IJ_IMPORT_HF ? "transformers" : "timm or PyTorch",
                 *of ? ", " : "", of, format);
}

static void read_epoch(ij_import *import) {
    const char *text = ij_tensor_file_get(import->file, "epoch");
    char *end;
    long long epoch = text ? strtoll(text, &end, 10) : 0;
    if (text && end != text && !*end && epoch > 0 && epoch < 1000000) import->info.epoch = epoch;
}

static ij_status open_all(ij_import *import, ij_error *err) {
    ij_model_config measured = {0};
    IJ_TRY(ij_tensor_file_open(import->path, &import->file, err));
    const char *format = ij_tensor_file_get(import->file, "format");
    bool state = format && strcmp(format, IJ_STATE_FORMAT) == 0;
    if (state) {
        find_state_nets(import);
        IJ_TRY(import_state_settings(import, err));
    } else {
        IJ_TRY(import_find_nets(import, err));
        IJ_TRY(import_measure(import, &measured, err));
        IJ_TRY(import_settings(import, &measured, err));
    }
    IJ_TRY(ij_param_table_make(&import->info.config.model, &import->table, err));
    IJ_TRY(import_check(import, err));
    IJ_TRY(find_positions(import, err));
    if (import->info.kind == IJ_IMPORT_RELEASED) {
        read_epoch(import);
        IJ_TRY(import_moments(import, err));
    }
    say_which(import);
    set_title(import);
    return IJ_OK;
}

ij_status ij_import_open(const char *path, const ij_model_config *reader, ij_import **out, ij_error *err) {
    ij_import *import;
    *out = NULL;
    if (strlen(path) >= sizeof import->path) return ij_fail(err, IJ_ERROR_ARGUMENT, "path too long: %.200s", path);
    IJ_TRY(ij_alloc(&import, 1, sizeof *import, "import", err));
    strcpy(import->path, path);
    import->reader = reader;
    ij_status status = open_all(import, err);
    import->reader = NULL;
    if (status == IJ_OK)
        *out = import;
    else
        ij_import_close(import);
    return status;
}

void ij_import_close(ij_import *import) {
    if (!import) return;
    ij_tensor_file_close(import->file);
    ij_param_table_free(&import->table);
    free(import->ids);
    free(import->positions);
    free(import);
}

const ij_import_info *ij_import_about(const ij_import *import) { return &import->info; }

const float *ij_import_positions(const ij_import *import) { return import->positions; }

const ij_tensor_file *ij_import_file(const ij_import *import) { return import->file; }

bool ij_import_is_folder(const char *path) {
    static const char *const weights[] = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                          "pytorch_model.bin.index.json"};
    char inside[4200];
    for (int i = 0; i < IJ_COUNT(weights); i++)
        if (ij_path_join(inside, sizeof inside, path, weights[i], NULL) == IJ_OK && ij_file_exists(inside)) return true;
    return false;
}
