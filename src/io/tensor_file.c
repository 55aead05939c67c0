/* Telling files apart, joining shards, finding by name.       layer: io; uses: base, safetensors, torch_file */
#include "io/tensor_file.h"
#include "base/file.h"
#include "base/memory.h"
#include "io/torch_file.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INDEX_BYTES_MAX (32u << 20)
#define SHARDS_MAX 4096

typedef struct pair {
    const char *key, *text;
    int shard;
} pair;

/* One file: its bytes and who reads them. */
typedef struct part {
    const void *bytes;
    size_t size;
    bool mapped;
    ij_safetensors *safetensors; /* or */
    ij_torch_file *torch;
    ij_zip_cursor *cursor; /* of its archive, or NULL */
    char *name;
} part;

struct ij_tensor_file {
    char *name; /* the path, for error texts */
    char format[48];
    part *parts;
    int64_t part_count, part_capacity;
    ij_tensor_view *views;
    int64_t count, capacity;
    pair *values;
    int64_t value_count, value_capacity;
};

/* ---- one file ---- */

static ij_status add_safetensors(ij_tensor_file *file, const ij_safetensors *from, int shard, ij_error *err) {
    int64_t tensors = ij_safetensors_count(from), pairs = ij_safetensors_pairs(from);
    IJ_TRY(ij_grow(&file->views, &file->capacity, file->count + tensors, sizeof *file->views, "tensor table", err));
    IJ_TRY(ij_grow(&file->values, &file->value_capacity, file->value_count + pairs, sizeof *file->values, "metadata", err));
    for (int64_t i = 0; i < tensors; i++) {
        const ij_safetensors_tensor *tensor = ij_safetensors_at(from, i);
        ij_tensor_view *view = &file->views[file->count++];
        view->entry = (ij_tensor_entry){.name = tensor->name, .dtype = tensor->dtype, .ndim = tensor->ndim, .count = tensor->count};
        memcpy(view->entry.shape, tensor->shape, sizeof tensor->shape);
        ij_tensor_view_pack(view);
        view->bytes = tensor->data;
        view->shard = shard;
    }
    for (int64_t i = 0; i < pairs; i++) {
        pair *value = &file->values[file->value_count++];
        ij_safetensors_pair(from, i, &value->key, &value->text);
        value->shard = shard;
    }
    return IJ_OK;
}

/* A header length below 2^32 is followed by the header's brace. */
static bool is_safetensors(const uint8_t *bytes, size_t size) {
    return size > 8 && memcmp(bytes + 4, "\0\0\0\0", 4) == 0 && bytes[8] == '{';
}

static ij_status add_torch(ij_tensor_file *file, part *from, int shard, ij_error *err) {
    const ij_tensor_view *views;
    const ij_torch_value *pairs;
    int64_t tensors = ij_torch_tensors(from->torch, &views), values = ij_torch_values(from->torch, &pairs);
    IJ_TRY(ij_grow(&file->views, &file->capacity, file->count + tensors, sizeof *file->views, "tensor table", err));
    IJ_TRY(ij_grow(&file->values, &file->value_capacity, file->value_count + values, sizeof *file->values, "values", err));
    for (int64_t i = 0; i < tensors; i++) {
        file->views[file->count] = views[i];
        file->views[file->count++].shard = shard;
    }
    for (int64_t i = 0; i < values; i++) file->values[file->value_count++] = (pair){pairs[i].key, pairs[i].text, shard};
    if (!ij_torch_archive(from->torch)) return IJ_OK;
    return ij_zip_cursor_open(ij_torch_archive(from->torch), &from->cursor, err);
}

/* From here on the bytes are the file's, also when it fails. */
static ij_status add_bytes(ij_tensor_file *file, const void *bytes, size_t size, bool mapped, const char *name, ij_error *err) {
    ij_status status = ij_grow(&file->parts, &file->part_capacity, file->part_count + 1, sizeof *file->parts, "files", err);
    if (status != IJ_OK && mapped) ij_file_unmap(bytes, size);
    if (status != IJ_OK) return status;
    int shard = (int)file->part_count++;
    part *to = &file->parts[shard];
    *to = (part){.bytes = bytes, .size = size, .mapped = mapped};
    IJ_TRY(ij_copy_text(&to->name, name, strlen(name), err));
    if (is_safetensors(bytes, size)) {
        strcpy(file->format, "safetensors");
        IJ_TRY(ij_safetensors_open_memory(bytes, size, name, &to->safetensors, err));
        return add_safetensors(file, to->safetensors, shard, err);
    }
    if (ij_torch_is(bytes, size)) {
        IJ_TRY(ij_torch_open(bytes, size, to->name, &to->torch, err));
        strcpy(file->format, ij_torch_format(to->torch));
        return add_torch(file, to, shard, err);
    }
    ij_fail(err, IJ_ERROR_FORMAT, "%s: no file of tensors (%zu bytes)", name, size);
    return ij_hint(err, "read are safetensors, and what torch.save writes");
}

static ij_status add_file(ij_tensor_file *file, const char *path, ij_error *err) {
    const void *bytes;
    size_t size;
    IJ_TRY(ij_file_map(path, &bytes, &size, err));
    return add_bytes(file, bytes, size, true, path, err);
}

/* ---- shards ---- */

typedef struct place {
    const char *name, *shard;
} place;

static int by_shard(const void *a, const void *b) { return strcmp(((const place *)a)->shard, ((const place *)b)->shard); }

static int by_name(const void *a, const void *b) { return strcmp(((const place *)a)->name, ((const place *)b)->name); }

/* The index's map as places; the texts are the JSON's. */
static ij_status parse_map(const char *path, const cJSON *root, place **out, int64_t *count, ij_error *err) {
    const cJSON *map = cJSON_GetObjectItemCaseSensitive(root, "weight_map"), *item;
    if (!cJSON_IsObject(map)) return ij_fail(err, IJ_ERROR_FORMAT, "%s: no index of shards: it has no object \"weight_map\"", path);
    *count = cJSON_GetArraySize(map);
    IJ_TRY(ij_alloc(out, *count, sizeof **out, "map of shards", err));
    int64_t i = 0;
    cJSON_ArrayForEach(item, map) {
        if (!cJSON_IsString(item)) return ij_fail(err, IJ_ERROR_FORMAT, "%s: the file of %.100s is not a text", path, item->string);
        if (!item->valuestring[0] || item->valuestring[0] == '.' || strchr(item->valuestring, '/'))
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: %.100s is said to be in \"%.100s\"; only files beside the index are read", path,
                           item->string, item->valuestring);
        (*out)[i++] = (place){item->string, item->valuestring};
    }
    return IJ_OK;
}

static ij_status add_shards(ij_tensor_file *file, const char *path, place *places, int64_t count, ij_error *err) {
    char folder[4096], shard[4096];
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) + 1 : 0;
    if (length >= sizeof folder) return ij_fail(err, IJ_ERROR_ARGUMENT, "path too long: %.200s", path);
    memcpy(folder, path, length);
    folder[length] = 0;
    qsort(places, (size_t)count, sizeof *places, by_shard);
    for (int64_t i = 0; i < count; i++) {
        if (i && strcmp(places[i].shard, places[i - 1].shard) == 0) continue;
        if (file->part_count == SHARDS_MAX) return ij_fail(err, IJ_ERROR_FORMAT, "%s: more than %d shards", path, SHARDS_MAX);
        if (length)
            IJ_TRY(ij_path_join(shard, sizeof shard, folder, places[i].shard, err));
        else
            snprintf(shard, sizeof shard, "%s", places[i].shard);
        IJ_TRY(add_file(file, shard, err));
    }
    return IJ_OK;
}

static ij_status check_map(const ij_tensor_file *file, const place *places, int64_t count, ij_error *err) {
    for (int64_t i = 0; i < count || i < file->count; i++) {
        const char *said = i < count ? places[i].name : NULL, *is = i < file->count ? file->views[i].entry.name : NULL;
        int order = !said ? 1 : !is ? -1 : strcmp(said, is);
        if (order < 0)
            return ij_fail(err, IJ_ERROR_MISMATCH, "%s: tensor %.200s is not in %.200s, nor in another shard", file->name, said,
                           places[i].shard);
        if (order > 0)
            return ij_fail(err, IJ_ERROR_MISMATCH, "%s: the index does not know tensor %.200s, which is in a shard", file->name, is);
    }
    return IJ_OK;
}

static int view_by_name(const void *a, const void *b) {
    return strcmp(((const ij_tensor_view *)a)->entry.name, ((const ij_tensor_view *)b)->entry.name);
}

static int value_by_key(const void *a, const void *b) { return strcmp(((const pair *)a)->key, ((const pair *)b)->key); }

static int value_by_key_and_shard(const void *a, const void *b) {
    int order = value_by_key(a, b);
    return order ? order : ((const pair *)a)->shard - ((const pair *)b)->shard;
}

/* Sorts what was added; two tensors of one name are an error, of equal keys the first stays. */
static ij_status settle(ij_tensor_file *file, ij_error *err) {
    qsort(file->views, (size_t)file->count, sizeof *file->views, view_by_name);
    for (int64_t i = 1; i < file->count; i++)
        if (strcmp(file->views[i - 1].entry.name, file->views[i].entry.name) == 0)
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: two tensors are named %.200s", file->name, file->views[i].entry.name);
    qsort(file->values, (size_t)file->value_count, sizeof *file->values, value_by_key_and_shard);
    int64_t kept = 0;
    for (int64_t i = 0; i < file->value_count; i++)
        if (kept == 0 || strcmp(file->values[kept - 1].key, file->values[i].key) != 0) file->values[kept++] = file->values[i];
    file->value_count = kept;
    return IJ_OK;
}

static ij_status open_index(ij_tensor_file *file, const char *path, ij_error *err) {
    void *text;
    size_t size;
    IJ_TRY(ij_file_read(path, INDEX_BYTES_MAX, &text, &size, err));
    cJSON *root = cJSON_ParseWithLength(text, size);
    free(text);
    place *places = NULL;
    int64_t count = 0;
    ij_status status = parse_map(path, root, &places, &count, err);
    if (status == IJ_OK) status = add_shards(file, path, places, count, err);
    if (status == IJ_OK) status = settle(file, err);
    if (status == IJ_OK) {
        qsort(places, (size_t)count, sizeof *places, by_name);
        status = check_map(file, places, count, err);
    }
    if (status == IJ_OK)
        snprintf(file->format + strlen(file->format), sizeof file->format - strlen(file->format), ", %lld shards",
                 (long long)file->part_count);
    free(places);
    cJSON_Delete(root);
    return status;
}

/* ---- opening ---- */

/* Names that a folder's file of tensors has, the preferred first. */
static ij_status find_in_folder(const char *folder, char *out, size_t out_bytes, ij_error *err) {
    static const char *const names[] = {"model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json",
                                        "pytorch_model.bin"};
    for (int i = 0; i < IJ_COUNT(names); i++) {
        IJ_TRY(ij_path_join(out, out_bytes, folder, names[i], err));
        if (ij_file_exists(out)) return IJ_OK;
    }
    return ij_fail(err, IJ_ERROR_FILE, "%s: a folder without %s or %s", folder, names[1], names[3]);
}

static ij_status open_path(ij_tensor_file *file, const char *path, ij_error *err) {
    char inside[4096];
    if (ij_is_folder(path)) {
        IJ_TRY(find_in_folder(path, inside, sizeof inside, err));
        path = inside;
    }
    const void *bytes;
    size_t size;
    IJ_TRY(ij_file_map(path, &bytes, &size, err));
    /* JSON has no 0 byte; a safetensors header's length, which may begin with a brace's code, has. */
    bool index = size > 8 && ((const char *)bytes)[0] == '{' && !memchr(bytes, 0, 8);
    ij_file_unmap(bytes, size);
    if (index) return open_index(file, path, err);
    IJ_TRY(add_file(file, path, err));
    return settle(file, err);
}

static ij_status open_common(const char *name, const void *bytes, size_t count, ij_tensor_file **out, ij_error *err) {
    *out = NULL;
    ij_tensor_file *file;
    IJ_TRY(ij_alloc(&file, 1, sizeof *file, "file of tensors", err));
    ij_status status = ij_copy_text(&file->name, name, strlen(name), err);
    if (status == IJ_OK) status = ij_grow(&file->views, &file->capacity, 1, sizeof *file->views, "tensor table", err);
    if (status == IJ_OK) status = ij_grow(&file->values, &file->value_capacity, 1, sizeof *file->values, "values", err);
    if (status == IJ_OK && bytes) {
        status = add_bytes(file, bytes, count, false, name, err);
        if (status == IJ_OK) status = settle(file, err);
    } else if (status == IJ_OK) {
        status = open_path(file, name, err);
    }
    if (status == IJ_OK)
        *out = file;
    else
        ij_tensor_file_close(file);
    return status;
}

ij_status ij_tensor_file_open(const char *path, ij_tensor_file **out, ij_error *err) { return open_common(path, NULL, 0, out, err); }

ij_status ij_tensor_file_open_memory(const void *bytes, size_t count, const char *name, ij_tensor_file **out, ij_error *err) {
    return open_common(name, bytes ? bytes : "", count, out, err);
}

void ij_tensor_file_close(ij_tensor_file *file) {
    if (!file) return;
    for (int64_t i = 0; i < file->part_count; i++) {
        ij_safetensors_close(file->parts[i].safetensors);
        ij_zip_cursor_close(file->parts[i].cursor);
        ij_torch_close(file->parts[i].torch);
        free(file->parts[i].name);
        if (file->parts[i].mapped) ij_file_unmap(file->parts[i].bytes, file->parts[i].size);
    }
    free(file->parts);
    free(file->views);
    free(file->values);
    free(file->name);
    free(file);
}

/* ---- asking ---- */

const char *ij_tensor_file_format(const ij_tensor_file *file) { return file->format; }

int64_t ij_tensor_file_count(const ij_tensor_file *file) { return file->count; }

const ij_tensor_entry *ij_tensor_file_at(const ij_tensor_file *file, int64_t i) { return &file->views[i].entry; }

const ij_tensor_entry *ij_tensor_file_find(const ij_tensor_file *file, const char *name) {
    ij_tensor_view key = {.entry.name = name};
    return bsearch(&key, file->views, (size_t)file->count, sizeof key, view_by_name);
}

int64_t ij_tensor_file_values(const ij_tensor_file *file) { return file->value_count; }

void ij_tensor_file_value(const ij_tensor_file *file, int64_t i, const char **key, const char **text) {
    *key = file->values[i].key;
    *text = file->values[i].text;
}

const char *ij_tensor_file_get(const ij_tensor_file *file, const char *key) {
    pair wanted = {.key = key};
    const pair *found = bsearch(&wanted, file->values, (size_t)file->value_count, sizeof wanted, value_by_key);
    return found ? found->text : NULL;
}

static ij_status check_range(const ij_tensor_file *file, const ij_tensor_entry *entry, int64_t first, int64_t count, ij_error *err) {
    if (first >= 0 && count >= 0 && first <= entry->count && count <= entry->count - first) return IJ_OK;
    return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: elements %lld to %lld of %s, which has %lld", file->name, (long long)first,
                   (long long)first + (long long)count, entry->name, (long long)entry->count);
}

ij_status ij_tensor_file_read(const ij_tensor_file *file, const ij_tensor_entry *entry, int64_t first, int64_t count, float *out,
                              ij_error *err) {
    IJ_TRY(check_range(file, entry, first, count, err));
    return ij_tensor_view_read((const ij_tensor_view *)entry, file->parts[((const ij_tensor_view *)entry)->shard].cursor, first, count, out,
                               err);
}

ij_status ij_tensor_file_read_raw(const ij_tensor_file *file, const ij_tensor_entry *entry, int64_t first, int64_t count, void *out,
                                  ij_error *err) {
    IJ_TRY(check_range(file, entry, first, count, err));
    return ij_tensor_view_read_raw((const ij_tensor_view *)entry, file->parts[((const ij_tensor_view *)entry)->shard].cursor, first, count,
                                   out, err);
}
