/* layer: eval; uses: base, io */
#include "eval/feature_file.h"
#include "base/file.h"
#include "base/memory.h"
#include "io/npy.h"
#include "io/safetensors.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FORMAT "ijepa-features-1"

/* ---- reading ---- */

typedef struct owner {
    ij_safetensors *file;
    const char **names;
} owner;

static void copy_pair(const ij_safetensors *file, const char *key, char *out, size_t out_bytes) {
    const char *text = ij_safetensors_get(file, key);
    snprintf(out, out_bytes, "%s", text ? text : "");
}

static int number_of(const ij_safetensors *file, const char *key) {
    const char *text = ij_safetensors_get(file, key);
    char *end;
    long value = text ? strtol(text, &end, 10) : 0;
    return text && end != text && !*end && value > 0 && value <= INT_MAX ? (int)value : 0;
}

static ij_status read_features(const ij_safetensors *file, const char *path, ij_feature_index *out, ij_error *err) {
    const char *format = ij_safetensors_get(file, "format");
    const ij_safetensors_tensor *x = ij_safetensors_find(file, "features");
    if (!format || strcmp(format, FORMAT) != 0 || !x)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: no file of features (\"format\" is \"%.40s\", not \"%s\")", path, format ? format : "",
                       FORMAT);
    if (x->ndim == 3) return ij_fail(err, IJ_ERROR_FORMAT, "%s: holds features of every patch; an index has one row an image", path);
    if (x->dtype != IJ_SAFETENSORS_F32 || x->ndim != 2 || x->shape[0] < 1 || x->shape[1] < 1 || x->shape[1] > INT_MAX) {
        char shape[128];
        ij_shape_text(shape, sizeof shape, x->ndim, x->shape);
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: features are %s %s, needed is F32 [count, dim]", path,
                       ij_safetensors_dtype_name(x->dtype), shape);
    }
    out->count = x->shape[0];
    out->dim = (int)x->shape[1];
    out->x = x->data;
    if (!ij_safetensors_find(file, "labels")) return IJ_OK;
    const ij_safetensors_tensor *labels;
    IJ_TRY(ij_safetensors_need(file, "labels", IJ_SAFETENSORS_I32, 1, &out->count, &labels, err));
    out->labels = labels->data;
    return IJ_OK;
}

/* The names' beginnings: as many as there are images, each ended by a 0 byte. */
static ij_status read_names(const ij_safetensors *file, const char *path, ij_feature_index *out, ij_error *err) {
    owner *o = out->owner;
    const ij_safetensors_tensor *names = ij_safetensors_find(file, "names");
    if (!names || names->dtype != IJ_SAFETENSORS_U8 || names->ndim != 1)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: no names of its images (U8 [bytes])", path);
    const char *text = names->data;
    int64_t found = 0;
    for (size_t i = 0; i < names->bytes; i++) found += text[i] == 0;
    if (found != out->count || (names->bytes && text[names->bytes - 1]))
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: %" PRId64 " names for %" PRId64 " images", path, found, out->count);
    IJ_TRY(ij_alloc(&o->names, out->count, sizeof *o->names, "names", err));
    for (int64_t i = 0; i < out->count; i++, text += strlen(text) + 1) o->names[i] = text;
    out->names = o->names;
    return IJ_OK;
}

/* Takes the file, whatever happens. */
static ij_status open_index(ij_safetensors *file, const char *path, ij_feature_index *out, ij_error *err) {
    owner *o;
    ij_status status = ij_alloc(&o, 1, sizeof *o, "index", err);
    if (status != IJ_OK) {
        ij_safetensors_close(file);
        return status;
    }
    o->file = file;
    out->owner = o;
    status = ij_safetensors_verify(file, NULL, err);
    if (status == IJ_OK) status = read_features(file, path, out, err);
    if (status == IJ_OK) status = read_names(file, path, out, err);
    copy_pair(file, "model", out->model, sizeof out->model);
    copy_pair(file, "encoder", out->encoder, sizeof out->encoder);
    copy_pair(file, "layers", out->layers, sizeof out->layers);
    copy_pair(file, "run", out->run, sizeof out->run);
    copy_pair(file, "data", out->data, sizeof out->data);
    out->height = number_of(file, "height");
    out->width = number_of(file, "width");
    if (status != IJ_OK) ij_feature_index_close(out);
    return status;
}

ij_status ij_feature_index_open(const char *path, ij_feature_index *out, ij_error *err) {
    ij_safetensors *file;
    memset(out, 0, sizeof *out);
    IJ_TRY(ij_safetensors_open(path, &file, err));
    return open_index(file, path, out, err);
}

ij_status ij_feature_index_open_memory(const void *bytes, size_t count, const char *name, ij_feature_index *out, ij_error *err) {
    ij_safetensors *file;
    memset(out, 0, sizeof *out);
    IJ_TRY(ij_safetensors_open_memory(bytes, count, name, &file, err));
    return open_index(file, name, out, err);
}

void ij_feature_index_close(ij_feature_index *index) {
    owner *o = index->owner;
    if (o) {
        ij_safetensors_close(o->file);
        free(o->names);
        free(o);
    }
    memset(index, 0, sizeof *index);
}

const char *ij_feature_index_get(const ij_feature_index *index, const char *key) {
    return ij_safetensors_get(((const owner *)index->owner)->file, key);
}

/* ---- writing ---- */

typedef enum file_format { SAFETENSORS, NPY, CSV } file_format;

/* The metadata that are texts. */
enum { MODEL, RUN, DATA, ENCODER, LAYERS, CLASSES, KEY, TEXTS };
static const char *const text_keys[TEXTS] = {"model", "run", "data", "encoder", "layers", "classes", "key"};

struct ij_feature_writer {
    char path[4096];
    file_format format;
    int dim, patches, height, width;
    char *texts[TEXTS]; /* NULL: not given */
    /* .safetensors begins with the number of rows, which damaged images change: rows wait in a file without a name. */
    FILE *rows;
    ij_file_writer file; /* .npy and .csv */
    int64_t count;
    int32_t *labels;
    char *names;
    int64_t label_capacity, names_bytes, names_capacity;
};

static size_t row_bytes(const ij_feature_writer *w) { return 4 * (size_t)w->dim * (size_t)(w->patches ? w->patches : 1); }

static ij_status format_of(const char *path, file_format *out, ij_error *err) {
    static const char *const endings[] = {".safetensors", ".npy", ".csv"};
    const char *dot = strrchr(path, '.');
    for (int i = 0; i < IJ_COUNT(endings); i++)
        if (dot && strcmp(dot, endings[i]) == 0) {
            *out = (file_format)i;
            return IJ_OK;
        }
    return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: features are written as .safetensors, .npy or .csv", path);
}

static ij_status open_rows(ij_feature_writer *w, ij_error *err) {
    char name[4200];
    snprintf(name, sizeof name, "%s.tmp%ld", w->path, (long)getpid());
    w->rows = fopen(name, "w+b");
    if (!w->rows) return ij_fail(err, IJ_ERROR_FILE, "%s: cannot write: %s", w->path, strerror(errno));
    unlink(name); /* the disk takes it back when it is closed, however the process ends */
    return IJ_OK;
}

static ij_status write_npy_header(ij_feature_writer *w, ij_error *err) {
    char header[IJ_NPY_HEADER_MAX];
    int64_t shape[3] = {w->count, w->patches ? w->patches : w->dim, w->dim};
    if (fseek(w->file.file, 0, SEEK_SET) != 0) return ij_fail(err, IJ_ERROR_FILE, "%s: %s", w->path, strerror(errno));
    return ij_file_write(&w->file, header, ij_npy_header(IJ_NPY_F32, w->patches ? 3 : 2, shape, header), err);
}

static ij_status write_csv_header(ij_feature_writer *w, ij_error *err) {
    IJ_TRY(ij_file_write(&w->file, "name,label", 10, err));
    for (int i = 0; i < w->dim; i++) {
        char text[24];
        IJ_TRY(ij_file_write(&w->file, text, (size_t)snprintf(text, sizeof text, ",f%d", i), err));
    }
    return ij_file_write(&w->file, "\n", 1, err);
}

static ij_status open_writer(ij_feature_writer *w, const ij_feature_file_desc *d, ij_error *err) {
    const char *texts[TEXTS] = {[MODEL] = d->model,   [RUN] = d->run,         [DATA] = d->data, [ENCODER] = d->encoder,
                                [LAYERS] = d->layers, [CLASSES] = d->classes, [KEY] = d->key};
    for (int i = 0; i < TEXTS; i++)
        if (texts[i]) IJ_TRY(ij_copy_text(&w->texts[i], texts[i], strlen(texts[i]), err));
    if (w->format == SAFETENSORS) return open_rows(w, err);
    IJ_TRY(ij_file_begin(&w->file, w->path, err));
    return w->format == NPY ? write_npy_header(w, err) : write_csv_header(w, err);
}

ij_status ij_feature_writer_begin(const char *path, const ij_feature_file_desc *desc, ij_feature_writer **out, ij_error *err) {
    *out = NULL;
    file_format format = SAFETENSORS;
    ij_feature_writer *w;
    IJ_TRY(format_of(path, &format, err));
    if (format == CSV && desc->patches)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: features of every patch are written as .safetensors or .npy", path);
    if (strlen(path) >= sizeof w->path) return ij_fail(err, IJ_ERROR_ARGUMENT, "path of %zu characters is too long", strlen(path));
    IJ_TRY(ij_alloc(&w, 1, sizeof *w, "features file", err));
    strcpy(w->path, path);
    w->format = format;
    w->dim = desc->dim, w->patches = desc->patches, w->height = desc->height, w->width = desc->width;
    ij_status status = open_writer(w, desc, err);
    if (status == IJ_OK)
        *out = w;
    else
        ij_feature_writer_abandon(w);
    return status;
}

void ij_feature_writer_abandon(ij_feature_writer *w) {
    if (!w) return;
    ij_file_abandon(&w->file);
    if (w->rows) fclose(w->rows);
    for (int i = 0; i < TEXTS; i++) free(w->texts[i]);
    free(w->labels);
    free(w->names);
    free(w);
}

/* A name that holds what separates fields goes into quotes, its own ones doubled (RFC 4180). */
static ij_status write_csv_name(ij_feature_writer *w, const char *name, ij_error *err) {
    if (!strpbrk(name, ",\"\r\n")) return ij_file_write(&w->file, name, strlen(name), err);
    IJ_TRY(ij_file_write(&w->file, "\"", 1, err));
    for (; *name; name++) IJ_TRY(ij_file_write(&w->file, *name == '"' ? "\"\"" : name, *name == '"' ? 2 : 1, err));
    return ij_file_write(&w->file, "\"", 1, err);
}

static ij_status write_csv_row(ij_feature_writer *w, const char *name, int label, const float *features, ij_error *err) {
    char text[32];
    IJ_TRY(write_csv_name(w, name, err));
    IJ_TRY(ij_file_write(&w->file, text, (size_t)(label < 0 ? snprintf(text, sizeof text, ",") : snprintf(text, sizeof text, ",%d", label)),
                         err));
    for (int i = 0; i < w->dim; i++)
        IJ_TRY(ij_file_write(&w->file, text, (size_t)snprintf(text, sizeof text, ",%.9g", (double)features[i]), err));
    return ij_file_write(&w->file, "\n", 1, err);
}

static ij_status note_name(ij_feature_writer *w, const char *name, int label, ij_error *err) {
    int64_t bytes = (int64_t)strlen(name) + 1;
    IJ_TRY(ij_grow(&w->labels, &w->label_capacity, w->count + 1, sizeof *w->labels, "labels", err));
    IJ_TRY(ij_grow(&w->names, &w->names_capacity, w->names_bytes + bytes, 1, "names", err));
    w->labels[w->count] = label;
    memcpy(w->names + w->names_bytes, name, (size_t)bytes);
    w->names_bytes += bytes;
    return IJ_OK;
}

ij_status ij_feature_writer_add(ij_feature_writer *w, const char *name, int label, const float *features, ij_error *err) {
    if (w->format == CSV) {
        IJ_TRY(write_csv_row(w, name, label, features, err));
        w->count++;
        return IJ_OK;
    }
    IJ_TRY(note_name(w, name, label, err));
    w->count++;
    if (w->format == NPY) return ij_file_write(&w->file, features, row_bytes(w), err);
    if (fwrite(features, row_bytes(w), 1, w->rows) != 1)
        return ij_fail(err, IJ_ERROR_FILE, "%s: writing %zu bytes: %s", w->path, row_bytes(w), strerror(errno));
    return IJ_OK;
}

/* ---- finishing ---- */

static ij_status read_rows(void *user, uint64_t offset, void *out, size_t bytes, ij_error *err) {
    ij_feature_writer *w = user;
    (void)offset; /* asked for in ascending order, each byte once */
    if (fread(out, 1, bytes, w->rows) == bytes) return IJ_OK;
    return ij_fail(err, IJ_ERROR_FILE, "%s: reading rows back: %s", w->path, ferror(w->rows) ? strerror(errno) : "they end early");
}

static ij_status put_number(ij_safetensors_writer *out, const char *key, int64_t value, ij_error *err) {
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    return ij_safetensors_put(out, key, text, err);
}

static ij_status declare(ij_feature_writer *w, ij_safetensors_writer *out, int64_t damaged, ij_error *err) {
    int64_t shape[3] = {w->count, w->patches ? w->patches : w->dim, w->dim};
    IJ_TRY(ij_safetensors_put(out, "format", FORMAT, err));
    for (int i = 0; i < TEXTS; i++)
        if (w->texts[i]) IJ_TRY(ij_safetensors_put(out, text_keys[i], w->texts[i], err));
    IJ_TRY(ij_safetensors_put(out, "pool", w->patches ? "none" : "mean", err));
    IJ_TRY(put_number(out, "height", w->height, err));
    IJ_TRY(put_number(out, "width", w->width, err));
    IJ_TRY(put_number(out, "damaged", damaged, err));
    IJ_TRY(ij_safetensors_add_filled(out, "features", IJ_SAFETENSORS_F32, w->patches ? 3 : 2, shape, read_rows, w, err));
    if (w->texts[CLASSES]) IJ_TRY(ij_safetensors_add(out, "labels", IJ_SAFETENSORS_I32, 1, &w->count, w->labels, err));
    return ij_safetensors_add(out, "names", IJ_SAFETENSORS_U8, 1, &w->names_bytes, w->names, err);
}

static ij_status finish_safetensors(ij_feature_writer *w, int64_t damaged, ij_error *err) {
    ij_safetensors_writer *out;
    if (fflush(w->rows) != 0) return ij_fail(err, IJ_ERROR_FILE, "%s: writing rows: %s", w->path, strerror(errno));
    rewind(w->rows);
    IJ_TRY(ij_safetensors_begin(w->path, &out, err));
    ij_status status = declare(w, out, damaged, err);
    if (status == IJ_OK) return ij_safetensors_finish(out, err);
    ij_safetensors_abandon(out);
    return status;
}

/* FILE.names.txt, a name a line; a line's end inside a name becomes a '?'. */
static ij_status finish_npy(ij_feature_writer *w, ij_error *err) {
    char path[4200];
    snprintf(path, sizeof path, "%s.names.txt", w->path);
    for (int64_t i = 0; i < w->names_bytes; i++)
        if (w->names[i] == '\n')
            w->names[i] = '?';
        else if (w->names[i] == 0)
            w->names[i] = '\n';
    IJ_TRY(write_npy_header(w, err));
    IJ_TRY(ij_file_replace(path, w->names, (size_t)w->names_bytes, err));
    return ij_file_commit(&w->file, err);
}

ij_status ij_feature_writer_finish(ij_feature_writer *w, int64_t damaged, ij_error *err) {
    ij_status status = w->format == SAFETENSORS ? finish_safetensors(w, damaged, err)
                       : w->format == NPY       ? finish_npy(w, err)
                                                : ij_file_commit(&w->file, err);
    ij_feature_writer_abandon(w);
    return status;
}
