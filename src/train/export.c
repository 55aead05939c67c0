/* layer: train; uses: base, io, ops, model */
#include "train/export.h"
#include "base/file.h"
#include "base/memory.h"
#include "io/json_writer.h"
#include "io/safetensors.h"
#include "ops/op.h"
#include "train/checkpoint.h"
#include "train/export_files.h"
#include "train/import_names.h"

#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define F16_MAX 65520.0 /* from here on rounding gives infinity */
#define NAME_BYTES 192

const char *const ij_export_to_names[IJ_EXPORT_TO_COUNT] = {"auto", "hf", "safetensors", "timm"};
const char *const ij_export_dtype_names[IJ_EXPORT_DTYPE_COUNT] = {"f32", "f16", "bf16"};
const char *const ij_export_encoder_names[IJ_EXPORT_ENCODER_COUNT] = {"target", "context"};

/* A parameter of the input, or a table of positions. */
typedef struct block {
    ij_slot slot;
    const ij_param *param;  /* NULL: */
    const float *positions; /* [count] */
} block;

/* A tensor of the output: rows of a block, from element `first` on. */
typedef struct source {
    struct exporter *exporter;
    block block;
    int64_t first;
    char name[NAME_BYTES];
} source;

typedef struct exporter {
    const ij_export_options *options;
    ij_export_result *result;
    ij_import *import;
    const ij_import_info *about;
    ij_origin origin;
    ij_param_table table;
    char weights[4600];         /* the file that holds them */
    const char *run;            /* the folder that was asked for, or NULL */
    float *encoder_positions;   /* [patches, dim] */
    float *predictor_positions; /* [patches, pred_dim] */
    ij_safetensors_writer *writer;
    source *sources; /* [sources_max]; the writer points into it */
    int source_count;
    block held; /* whose values are in `values` */
    float *values;
    uint64_t bytes, done; /* of tensors: in all, written */
} exporter;

/* ---- numbers on their way ---- */

static size_t element_bytes(const exporter *e) { return e->options->dtype == IJ_EXPORT_F32 ? 4 : 2; }

static bool holds(const exporter *e, const block *b) {
    return e->held.slot == b->slot && e->held.param == b->param && e->held.positions == b->positions;
}

/* The block's values, in memory until the next one is asked for. */
static ij_status block_values(exporter *e, const block *b, const float **out, ij_error *err) {
    if (b->positions) {
        *out = b->positions;
        return IJ_OK;
    }
    if (!holds(e, b)) {
        memset(&e->held, 0, sizeof e->held);
        IJ_TRY(ij_import_read(e->import, b->slot, b->param, e->values, err));
        e->held = *b;
    }
    *out = e->values;
    return IJ_OK;
}

static ij_status round_to(const source *s, ij_export_dtype dtype, const float *from, uint16_t *to, size_t count, ij_error *err) {
    for (size_t i = 0; i < count; i++) {
        double size = fabs((double)from[i]);
        if (dtype == IJ_EXPORT_F16 && size >= F16_MAX && size <= DBL_MAX) {
            ij_fail(err, IJ_ERROR_NUMBER, "%s has the value %g, which f16 cannot hold (at most 65504)", s->name, (double)from[i]);
            return ij_hint(err, "--dtype bf16 or f32");
        }
        to[i] = op_encode(dtype == IJ_EXPORT_F16 ? OP_F16 : OP_BF16, (double)from[i]);
    }
    return IJ_OK;
}

static ij_status fill(void *user, uint64_t offset, void *out, size_t bytes, ij_error *err) {
    const source *s = user;
    exporter *e = s->exporter;
    const ij_export_options *o = e->options;
    size_t width = element_bytes(e), count = bytes / width;
    const float *values;
    if (o->stop && o->stop(o->user)) return ij_fail(err, IJ_ERROR_STOPPED, "stopped; nothing is written");
    IJ_TRY(block_values(e, &s->block, &values, err));
    values += s->first + (int64_t)(offset / width);
    if (o->dtype == IJ_EXPORT_F32)
        memcpy(out, values, bytes);
    else
        IJ_TRY(round_to(s, o->dtype, values, out, count, err));
    e->done += bytes;
    if (o->progress) o->progress(o->user, "writing, MiB", (int64_t)(e->done >> 20), (int64_t)(e->bytes >> 20));
    return IJ_OK;
}

/* ---- which tensors ---- */

static ij_status add(exporter *e, const char *name, block b, int64_t first, int dims, const int64_t *shape, ij_error *err) {
    static const ij_safetensors_dtype dtypes[] = {IJ_SAFETENSORS_F32, IJ_SAFETENSORS_F16, IJ_SAFETENSORS_BF16};
    source *s = &e->sources[e->source_count++];
    int64_t count = 1;
    for (int i = 0; i < dims; i++) count *= shape[i];
    *s = (source){.exporter = e, .block = b, .first = first};
    snprintf(s->name, sizeof s->name, "%s", name);
    e->result->tensors++;
    e->result->parameters += count;
    e->bytes += (uint64_t)count * element_bytes(e);
    return ij_safetensors_add_filled(e->writer, name, dtypes[e->options->dtype], dims, shape, fill, s, err);
}

static ij_status add_positions(exporter *e, const char *name, bool predictor, ij_error *err) {
    const ij_model_config *m = &e->about->config.model;
    const int64_t shape[3] = {1, ij_patches(m), predictor ? m->pred_dim : m->dim};
    return add(e, name, (block){.positions = predictor ? e->predictor_positions : e->encoder_positions}, 0, 3, shape, err);
}

/* One net by its released names, each behind `prefix`. */
static ij_status add_net(exporter *e, const char *prefix, ij_slot slot, bool predictor, ij_error *err) {
    char name[NAME_BYTES];
    for (int i = 0; i < e->table.count; i++) {
        const ij_param *p = &e->table.params[i];
        if (p->predictor != predictor) continue;
        snprintf(name, sizeof name, "%s%s", prefix, p->name);
        IJ_TRY(add(e, name, (block){slot, p, NULL}, 0, p->dims, p->shape, err));
    }
    snprintf(name, sizeof name, "%s%s", prefix, predictor ? "predictor_pos_embed" : "pos_embed");
    return add_positions(e, name, predictor, err);
}

/* The names of transformers' files; qkv, whose rows are q, k, v, as three tensors. */
static ij_status add_hf(exporter *e, ij_slot slot, ij_error *err) {
    char names[3][IJ_NAME_BYTES];
    for (int i = 0; i < e->table.encoder_count; i++) {
        const ij_param *p = &e->table.params[i];
        int count = ij_foreign_names(IJ_NAMING_HF, p->name, names);
        int64_t shape[4];
        memcpy(shape, p->shape, sizeof shape);
        shape[0] /= count;
        for (int k = 0; k < count; k++) IJ_TRY(add(e, names[k], (block){slot, p, NULL}, k * p->count / count, p->dims, shape, err));
    }
    ij_foreign_names(IJ_NAMING_HF, "pos_embed", names);
    return add_positions(e, names[0], false, err);
}

static ij_status add_released(exporter *e, ij_error *err) {
    const ij_import_info *a = e->about;
    if (a->has_context) IJ_TRY(add_net(e, "encoder.", IJ_SLOT_WEIGHT, false, err));
    if (a->has_target) IJ_TRY(add_net(e, "target_encoder.", IJ_SLOT_TARGET, false, err));
    return a->has_predictor ? add_net(e, "predictor.", IJ_SLOT_WEIGHT, true, err) : IJ_OK;
}

/* ---- metadata ---- */

static ij_status put_floats(exporter *e, const char *key, const float *values, int count, ij_error *err) {
    char text[128], *end = text;
    for (int i = 0; i < count; i++) {
        if (i) *end++ = ' ';
        ij_float_text(values[i], end);
        end += strlen(end);
    }
    return ij_safetensors_put(e->writer, key, text, err);
}

static ij_status put_integer(exporter *e, const char *key, int64_t value, ij_error *err) {
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    return ij_safetensors_put(e->writer, key, text, err);
}

static ij_status put_config(exporter *e, ij_error *err) {
    ij_config_text flat = {0};
    char *yaml = NULL;
    ij_status status = ij_train_config_write(&e->about->config, &flat, err);
    if (status == IJ_OK) status = ij_config_text_print(&flat, &yaml, err);
    if (status == IJ_OK) status = ij_safetensors_put(e->writer, "config", yaml, err);
    free(yaml);
    ij_config_text_free(&flat);
    return status;
}

static ij_status put_metadata(exporter *e, ij_error *err) {
    const ij_train_config *c = &e->about->config;
    IJ_TRY(ij_safetensors_put(e->writer, "format", IJ_WEIGHTS_FORMAT, err));
    IJ_TRY(put_config(e, err));
    IJ_TRY(put_integer(e, "step", e->about->step, err));
    IJ_TRY(put_integer(e, "steps_per_epoch", c->schedule.steps_per_epoch, err));
    IJ_TRY(put_integer(e, "heads", c->model.heads, err));
    IJ_TRY(put_floats(e, "norm_eps", &c->model.norm_eps, 1, err));
    IJ_TRY(put_floats(e, "mean", c->mean, c->model.channels, err));
    IJ_TRY(put_floats(e, "std", c->std, c->model.channels, err));
    if (e->result->license[0]) IJ_TRY(ij_safetensors_put(e->writer, "license", e->result->license, err));
    return e->origin.name[0] ? ij_safetensors_put(e->writer, "origin", e->origin.name, err) : IJ_OK;
}

/* ---- what is to be done ---- */

static bool ends_in(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

static bool one_encoder(const exporter *e) { return e->about->has_context != e->about->has_target; }

static ij_status choose_license(exporter *e, ij_error *err) {
    const char *asked = e->options->license;
    ij_origin_find(e->weights, e->about->kind == IJ_IMPORT_STATE, &e->origin);
    if (asked) IJ_TRY(ij_license_check(asked, err));
    if (asked && strcmp(e->origin.license, IJ_RELEASED_LICENSE) == 0 && strcmp(asked, IJ_RELEASED_LICENSE) != 0)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "license %s: these weights come from published ones (%s) under %s, which goes on to hold",
                       asked, e->origin.name[0] ? e->origin.name : "as their files say", IJ_RELEASED_LICENSE);
    snprintf(e->result->license, sizeof e->result->license, "%s", asked ? asked : e->origin.license);
    if (!e->result->license[0])
        ij_append(e->result->notes, sizeof e->result->notes,
                  "the licence of these weights is not known, and none is written (--license TEXT); "
                  "the checkpoints that Meta published are %s\n",
                  IJ_RELEASED_LICENSE);
    return IJ_OK;
}

static ij_status choose(exporter *e, const char *out, ij_error *err) {
    ij_export_result *r = e->result;
    r->to = e->options->to ? e->options->to : ends_in(out, ".safetensors") ? IJ_EXPORT_SAFETENSORS : IJ_EXPORT_HF;
    r->encoder = e->options->encoder;
    if (r->to != IJ_EXPORT_SAFETENSORS && e->options->encoder == IJ_EXPORT_CONTEXT && !e->about->has_context)
        return ij_fail(err, IJ_ERROR_MISMATCH, "%s has no context encoder", e->weights);
    if (r->to != IJ_EXPORT_SAFETENSORS && e->options->encoder == IJ_EXPORT_TARGET && !e->about->has_target) r->encoder = IJ_EXPORT_CONTEXT;
    return choose_license(e, err);
}

static ij_status make_positions(exporter *e, ij_error *err) {
    const ij_model_config *m = &e->about->config.model;
    int64_t patches = ij_patches(m);
    const float *stored = ij_import_positions(e->import);
    IJ_TRY(ij_alloc(&e->encoder_positions, patches * m->dim, sizeof(float), "positions", err));
    IJ_TRY(ij_alloc(&e->predictor_positions, patches * m->pred_dim, sizeof(float), "positions", err));
    ij_positions(ij_grid_height(m), ij_grid_width(m), m->pred_dim, e->predictor_positions);
    if (stored)
        memcpy(e->encoder_positions, stored, (size_t)(patches * m->dim) * sizeof(float));
    else
        ij_positions(ij_grid_height(m), ij_grid_width(m), m->dim, e->encoder_positions);
    return IJ_OK;
}

static ij_status prepare(exporter *e, const char *in, const char *out, ij_error *err) {
    IJ_TRY(ij_checkpoint_find(in, e->weights, sizeof e->weights, NULL, 0, err));
    if (strcmp(in, e->weights) != 0) e->run = in;
    IJ_TRY(ij_import_open(e->weights, NULL, &e->import, err));
    e->about = ij_import_about(e->import);
    ij_append(e->result->notes, sizeof e->result->notes, "%s", e->about->notes);
    IJ_TRY(choose(e, out, err));
    IJ_TRY(ij_param_table_make(&e->about->config.model, &e->table, err));
    int64_t largest = 1;
    for (int i = 0; i < e->table.count; i++)
        if (e->table.params[i].count > largest) largest = e->table.params[i].count;
    IJ_TRY(ij_alloc(&e->values, largest, sizeof(float), "a parameter", err));
    IJ_TRY(ij_alloc(&e->sources, 3 * (int64_t)e->table.count + 3, sizeof *e->sources, "tensors to write", err));
    return make_positions(e, err);
}

/* ---- files ---- */

static ij_status write_weights(exporter *e, const char *path, ij_error *err) {
    ij_slot slot = e->result->encoder == IJ_EXPORT_CONTEXT ? IJ_SLOT_WEIGHT : IJ_SLOT_TARGET;
    IJ_TRY(ij_safetensors_begin(path, &e->writer, err));
    ij_status status;
    if (e->result->to == IJ_EXPORT_SAFETENSORS)
        status = add_released(e, err);
    else
        status = e->result->to == IJ_EXPORT_HF ? add_hf(e, slot, err) : add_net(e, "", slot, false, err);
    if (status == IJ_OK) /* transformers refuses a file that does not say "pt" */
        status = e->result->to == IJ_EXPORT_SAFETENSORS ? put_metadata(e, err) : ij_safetensors_put(e->writer, "format", "pt", err);
    ij_safetensors_writer *writer = e->writer;
    e->writer = NULL;
    if (status == IJ_OK)
        status = ij_safetensors_finish(writer, err);
    else
        ij_safetensors_abandon(writer);
    e->result->bytes = e->bytes;
    return status;
}

/* text is freed. */
static ij_status write_text(const char *folder, const char *name, char *text, ij_error *err) {
    char path[4700];
    ij_status status = ij_path_join(path, sizeof path, folder, name, err);
    if (status == IJ_OK) status = ij_file_replace(path, text, strlen(text), err);
    free(text);
    return status;
}

static ij_status write_texts(exporter *e, const char *folder, const char *title, ij_error *err) {
    char *text;
    bool hf = e->result->to == IJ_EXPORT_HF;
    const ij_train_config *c = &e->about->config;
    IJ_TRY(hf ? ij_export_hf_config(&c->model, e->options->dtype, &text, err) : ij_export_timm_config(c, &text, err));
    IJ_TRY(write_text(folder, "config.json", text, err));
    if (hf) {
        IJ_TRY(ij_export_hf_preprocessor(c, &text, err));
        IJ_TRY(write_text(folder, "preprocessor_config.json", text, err));
    }
    const ij_model_card card = {.title = title,
                                .run = e->run,
                                .about = e->about,
                                .origin = &e->origin,
                                .license = e->result->license,
                                .to = e->result->to,
                                .encoder = e->result->encoder,
                                .encoder_known = !one_encoder(e),
                                .dtype = e->options->dtype,
                                .parameters = e->result->parameters};
    IJ_TRY(ij_model_card_text(&card, &text, err));
    return write_text(folder, "README.md", text, err);
}

static const char *const folder_files[] = {"config.json", "preprocessor_config.json", "model.safetensors", "README.md"};

/* Removes a folder that this file wrote: its own files, and the folder when nothing else is in it. */
static bool remove_folder(const char *folder) {
    char path[4700];
    for (int i = 0; i < IJ_COUNT(folder_files); i++)
        if (ij_path_join(path, sizeof path, folder, folder_files[i], NULL) == IJ_OK) unlink(path);
    return rmdir(folder) == 0;
}

static ij_status fill_folder(exporter *e, const char *folder, const char *title, ij_error *err) {
    char path[4700];
    IJ_TRY(ij_path_join(path, sizeof path, folder, "model.safetensors", err));
    IJ_TRY(write_weights(e, path, err));
    return write_texts(e, folder, title, err);
}

/* The whole folder takes the name; an older one is set aside first, and put back when that fails. */
static ij_status take_name(const char *made, const char *out, ij_error *err) {
    char aside[4700];
    snprintf(aside, sizeof aside, "%s.old%ld", out, (long)getpid());
    bool replaces = ij_is_folder(out);
    if (replaces && rename(out, aside) != 0) return ij_fail(err, IJ_ERROR_FILE, "%s: cannot be set aside: %s", out, strerror(errno));
    if (rename(made, out) != 0) {
        ij_fail(err, IJ_ERROR_FILE, "%s: cannot finish writing: %s", out, strerror(errno));
        if (replaces) (void)rename(aside, out);
        return IJ_ERROR_FILE;
    }
    if (replaces && !remove_folder(aside))
        return ij_fail(err, IJ_ERROR_FILE, "%s is written, but the folder before it had other files, which are now in %s", out, aside);
    return IJ_OK;
}

static void parent_of(const char *path, char out[4096]) {
    snprintf(out, 4096, "%s", path);
    char *slash = strrchr(out, '/');
    if (slash)
        slash[slash == out] = 0;
    else
        strcpy(out, ".");
}

static ij_status write_folder(exporter *e, const char *out, ij_error *err) {
    char made[4700], parent[4096];
    const char *slash = strrchr(out, '/');
    parent_of(out, parent);
    IJ_TRY(ij_make_folders(parent, err));
    snprintf(made, sizeof made, "%s.tmp%ld", out, (long)getpid());
    if (mkdir(made, 0777) != 0) return ij_fail(err, IJ_ERROR_FILE, "cannot make folder %s: %s", made, strerror(errno));
    ij_status status = fill_folder(e, made, slash ? slash + 1 : out, err);
    if (status == IJ_OK) status = take_name(made, out, err);
    if (status != IJ_OK) (void)remove_folder(made); /* nothing when it has taken the name */
    return status;
}

/* An output that may be written: nothing is there, or `overwrite` and it is of the same kind. */
static ij_status check_output(const exporter *e, const char *out, ij_error *err) {
    struct stat info;
    bool folder = e->result->to != IJ_EXPORT_SAFETENSORS;
    if (stat(out, &info) != 0) return IJ_OK;
    if (folder != S_ISDIR(info.st_mode))
        return ij_fail(err, IJ_ERROR_FILE, "%s is a %s, what would be written is a %s", out, folder ? "file" : "folder",
                       folder ? "folder" : "file");
    if (e->options->overwrite) return IJ_OK;
    ij_fail(err, IJ_ERROR_FILE, "%s exists already", out);
    return ij_hint(err, "--overwrite replaces it");
}

static void release(exporter *e) {
    ij_import_close(e->import);
    ij_param_table_free(&e->table);
    free(e->encoder_positions);
    free(e->predictor_positions);
    free(e->sources);
    free(e->values);
}

ij_status ij_export(const char *in, const char *out, const ij_export_options *options, ij_export_result *result, ij_error *err) {
    char path[4096];
    size_t length = strlen(out);
    while (length > 1 && out[length - 1] == '/') length--;
    if (length == 0 || length >= sizeof path) return ij_fail(err, IJ_ERROR_ARGUMENT, "output name of %zu characters", length);
    snprintf(path, sizeof path, "%.*s", (int)length, out);
    memset(result, 0, sizeof *result);
    exporter e = {.options = options, .result = result};
    ij_status status = prepare(&e, in, path, err);
    if (status == IJ_OK) status = check_output(&e, path, err);
    if (status == IJ_OK) status = result->to == IJ_EXPORT_SAFETENSORS ? write_weights(&e, path, err) : write_folder(&e, path, err);
    release(&e);
    return status;
}
