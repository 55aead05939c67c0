/* What a file is.       layer: api; uses: base, io, train */
#include "api/api.h"
#include "base/file.h"
#include "base/memory.h"
#include "io/npy.h"
#include "io/tensor_file.h"
#include "train/checkpoint.h"
#include "train/import.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX 65536      /* tensors and values that are listed: bounds memory, whatever a file's header claims */
#define CHUNK_FLOATS 262144 /* read at once for the statistics */

/* What the result's texts point into. */
typedef struct owner {
    ij_tensor_file *file;
    ij_npy array;
} owner;

typedef struct looker {
    const ijepa_inspect_options *options;
    ijepa_inspect_result *out;
    owner *owner;
    int64_t measured; /* elements read for statistics so far */
} looker;

/* ---- numbers ---- */

/* Mean and sum of squared deviations of what was seen so far, joined chunk by chunk (Chan et al. 1979). */
typedef struct moments {
    int64_t count, nans, infinities;
    double mean, squares, low, high;
} moments;

static void join(moments *all, const float *values, int64_t count) {
    double sum = 0, squares = 0;
    int64_t finite = 0;
    for (int64_t i = 0; i < count; i++) {
        double v = (double)values[i];
        all->nans += isnan(v) != 0;
        all->infinities += isinf(v) != 0;
        if (!isfinite(v)) continue;
        finite++, sum += v;
        if (v < all->low) all->low = v;
        if (v > all->high) all->high = v;
    }
    if (!finite) return;
    double mean = sum / (double)finite, apart = mean - all->mean;
    for (int64_t i = 0; i < count; i++)
        if (isfinite(values[i])) squares += ((double)values[i] - mean) * ((double)values[i] - mean);
    double total = (double)(all->count + finite);
    all->squares += squares + apart * apart * (double)all->count * (double)finite / total;
    all->mean += apart * (double)finite / total;
    all->count += finite;
}

static void set_statistics(ijepa_inspect_tensor *row, const moments *m) {
    row->measured = true;
    row->nans = m->nans, row->infinities = m->infinities;
    row->mean = m->count ? m->mean : (double)NAN;
    row->std = m->count ? sqrt(m->squares / (double)m->count) : (double)NAN;
    row->min = m->count ? m->low : (double)NAN;
    row->max = m->count ? m->high : (double)NAN;
}

static ij_status measure_tensor(looker *l, const ij_tensor_entry *entry, ijepa_inspect_tensor *row, float *chunk, ij_error *err) {
    moments m = {.low = DBL_MAX, .high = -DBL_MAX};
    const ijepa_inspect_options *o = l->options;
    for (int64_t done = 0; done < entry->count; done += CHUNK_FLOATS) {
        int64_t count = entry->count - done < CHUNK_FLOATS ? entry->count - done : CHUNK_FLOATS;
        if (o->stop && o->stop(o->user)) return ij_fail(err, IJ_ERROR_STOPPED, "stopped");
        IJ_TRY(ij_tensor_file_read(l->owner->file, entry, done, count, chunk, err));
        join(&m, chunk, count);
        l->measured += count;
        if (o->progress) o->progress(o->user, "reading, million numbers", l->measured / 1000000, l->out->elements / 1000000);
    }
    set_statistics(row, &m);
    return IJ_OK;
}

static ij_status measure_all(looker *l, ij_error *err) {
    float *chunk;
    IJ_TRY(ij_alloc(&chunk, CHUNK_FLOATS, sizeof *chunk, "statistics", err));
    ij_status status = IJ_OK;
    for (int64_t i = 0; i < l->out->tensors_listed && status == IJ_OK; i++)
        status = measure_tensor(l, ij_tensor_file_at(l->owner->file, i), &l->out->tensors[i], chunk, err);
    free(chunk);
    return status;
}

/* ---- tensors and values ---- */

static void fill_row(ijepa_inspect_tensor *row, const char *name, const char *dtype, int dims, const int64_t *shape, int64_t count) {
    *row = (ijepa_inspect_tensor){.name = name, .dtype = dtype, .dims = dims, .count = count};
    memcpy(row->shape, shape, (size_t)dims * sizeof *shape);
}

static ij_status list_tensors(looker *l, ij_error *err) {
    const ij_tensor_file *file = l->owner->file;
    ijepa_inspect_result *out = l->out;
    out->tensor_count = ij_tensor_file_count(file);
    out->tensors_listed = out->tensor_count < ROWS_MAX ? out->tensor_count : ROWS_MAX;
    IJ_TRY(ij_alloc(&out->tensors, out->tensors_listed, sizeof *out->tensors, "list of tensors", err));
    for (int64_t i = 0; i < out->tensor_count; i++) {
        const ij_tensor_entry *entry = ij_tensor_file_at(file, i);
        out->elements += entry->count;
        out->bytes += (uint64_t)entry->count * ij_safetensors_dtype_bytes(entry->dtype);
        if (i < out->tensors_listed)
            fill_row(&out->tensors[i], entry->name, ij_safetensors_dtype_name(entry->dtype), entry->ndim, entry->shape, entry->count);
    }
    return l->options->stats ? measure_all(l, err) : IJ_OK;
}

static ij_status list_values(looker *l, ij_error *err) {
    ijepa_inspect_result *out = l->out;
    out->value_count = ij_tensor_file_values(l->owner->file);
    out->values_listed = out->value_count < ROWS_MAX ? out->value_count : ROWS_MAX;
    IJ_TRY(ij_alloc(&out->values, out->values_listed, sizeof *out->values, "list of values", err));
    for (int64_t i = 0; i < out->values_listed; i++) ij_tensor_file_value(l->owner->file, i, &out->values[i].key, &out->values[i].text);
    return IJ_OK;
}

/* ---- what it is ---- */

static void describe_model(ijepa_inspect_result *out, const ij_import_info *about, ij_error *err) {
    const ij_train_config *c = &about->config;
    const ij_model_config *m = &c->model;
    ij_param_table table;
    out->model = true;
    out->context = about->has_context, out->target = about->has_target;
    out->predictor = about->has_predictor, out->moments = about->has_moments;
    out->steps_per_epoch = c->schedule.steps_per_epoch;
    out->epoch = about->kind == IJ_IMPORT_STATE && out->steps_per_epoch ? about->step / out->steps_per_epoch : about->epoch;
    out->norm_eps = m->norm_eps;
    out->info = (ijepa_model_info){.image_height = m->image_height,
                                   .image_width = m->image_width,
                                   .channels = m->channels,
                                   .patch_size = m->patch_size,
                                   .patches = ij_patches(m),
                                   .dim = m->dim,
                                   .depth = m->depth,
                                   .heads = m->heads,
                                   .step = about->step};
    out->hidden = m->hidden;
    if (about->has_predictor) out->predictor_dim = m->pred_dim, out->predictor_depth = m->pred_depth, out->predictor_heads = m->pred_heads;
    memcpy(out->info.mean, c->mean, sizeof out->info.mean);
    memcpy(out->info.std, c->std, sizeof out->info.std);
    snprintf(out->what, sizeof out->what, "%s", about->title);
    ij_append(out->notes, sizeof out->notes, "%s", about->notes);
    if (ij_param_table_make(m, &table, err) != IJ_OK) return;
    out->info.parameters = table.encoder_elements;
    if (about->has_predictor) out->predictor_parameters = table.elements - table.encoder_elements;
    ij_param_table_free(&table);
}

/* Features of `ijepa embed`, recorded steps, weights of some other program, an adapter: their tensors say more than a guess. */
static void describe_other(ijepa_inspect_result *out, const ij_tensor_file *file, const ij_error *why) {
    const char *format = ij_tensor_file_get(file, "format");
    const ij_tensor_entry *features = ij_tensor_file_find(file, "features");
    char shape[128];
    if (features && format && strncmp(format, "ijepa-features", 14) == 0) {
        ij_shape_text(shape, sizeof shape, features->ndim, features->shape);
        snprintf(out->what, sizeof out->what, "features written by ijepa embed, %s", shape);
        return;
    }
    snprintf(out->what, sizeof out->what, "no model that ijepa opens; %" PRId64 " tensor%s", out->tensor_count,
             out->tensor_count == 1 ? "" : "s");
    ij_append(out->notes, sizeof out->notes, "as a model: %s\n", why->text);
}

static void describe(ijepa_inspect_result *out, const ij_tensor_file *file) {
    ij_import *import;
    ij_error why = {0};
    if (ij_import_open(out->path, NULL, &import, &why) != IJ_OK) {
        describe_other(out, file, &why);
        return;
    }
    describe_model(out, ij_import_about(import), &why);
    ij_import_close(import);
}

/* ---- other files ---- */

static bool is_npy(const char *path) {
    char magic[6] = "";
    FILE *file = fopen(path, "rb");
    bool found = file && fread(magic, 1, 6, file) == 6 && memcmp(magic, "\x93NUMPY", 6) == 0;
    if (file) fclose(file);
    return found;
}

static float array_value(const ij_npy *a, int64_t i) {
    return a->dtype == IJ_NPY_F32   ? ((float *)a->data)[i]
           : a->dtype == IJ_NPY_I32 ? (float)((int32_t *)a->data)[i]
                                    : ((uint8_t *)a->data)[i];
}

static ij_status look_at_npy(looker *l, ij_error *err) {
    static const char *const dtypes[] = {"F32", "I32", "U8"};
    static const size_t bytes[] = {4, 4, 1};
    ijepa_inspect_result *out = l->out;
    ij_npy *a = &l->owner->array;
    IJ_TRY(ij_npy_read(out->path, a, err));
    IJ_TRY(ij_alloc(&out->tensors, 1, sizeof *out->tensors, "list of tensors", err));
    strcpy(out->format, "npy");
    strcpy(out->what, "an array of NumPy");
    fill_row(out->tensors, "array", dtypes[a->dtype], a->ndim, a->shape, a->count);
    out->tensor_count = out->tensors_listed = 1;
    out->elements = a->count;
    out->bytes = (uint64_t)a->count * bytes[a->dtype];
    if (!l->options->stats) return IJ_OK;
    moments m = {.low = DBL_MAX, .high = -DBL_MAX};
    for (int64_t i = 0; i < a->count; i++) {
        float value = array_value(a, i);
        join(&m, &value, 1);
    }
    set_statistics(out->tensors, &m);
    return IJ_OK;
}

/* ---- all of it ---- */

/* A run folder is its newest checkpoint. */
static ij_status find(const char *path, ijepa_inspect_result *out, ij_error *err) {
    char checkpoints[4600];
    if (ij_is_folder(path) && ij_path_join(checkpoints, sizeof checkpoints, path, "checkpoints", NULL) == IJ_OK &&
        ij_is_folder(checkpoints))
        return ij_checkpoint_find(path, out->path, sizeof out->path, NULL, 0, err);
    if (strlen(path) >= sizeof out->path) return ij_fail(err, IJ_ERROR_ARGUMENT, "path of %zu characters is too long", strlen(path));
    strcpy(out->path, path);
    return IJ_OK;
}

static ij_status look(looker *l, const char *path, ij_error *err) {
    ijepa_inspect_result *out = l->out;
    IJ_TRY(find(path, out, err));
    if (is_npy(out->path)) return look_at_npy(l, err);
    IJ_TRY(ij_tensor_file_open(out->path, &l->owner->file, err));
    snprintf(out->format, sizeof out->format, "%s", ij_tensor_file_format(l->owner->file));
    IJ_TRY(list_tensors(l, err));
    IJ_TRY(list_values(l, err));
    describe(out, l->owner->file);
    return IJ_OK;
}

void ijepa_inspect_free(ijepa_inspect_result *result) {
    if (!result) return;
    owner *o = result->owner;
    if (o) ij_tensor_file_close(o->file), ij_npy_free(&o->array);
    free(o);
    free(result->tensors);
    free(result->values);
    memset(result, 0, sizeof *result);
}

ijepa_status ijepa_inspect(const char *path, const ijepa_inspect_options *options, ijepa_inspect_result *result, ijepa_error *err) {
    API_NEED(path);
    API_NEED(result);
    static const ijepa_inspect_options defaults = {0};
    ij_error ours = {0};
    memset(result, 0, sizeof *result);
    looker l = {.options = options ? options : &defaults, .out = result};
    ij_status status = ij_alloc(&l.owner, 1, sizeof *l.owner, "file", &ours);
    result->owner = l.owner;
    if (status == IJ_OK) status = look(&l, path, &ours);
    if (status != IJ_OK) ijepa_inspect_free(result);
    return api_result(status, &ours, err);
}
