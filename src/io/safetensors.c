/* Reading safetensors. Bytes are untrusted until parse_header has returned.       layer: io; uses: base, checksum */
#include "io/safetensors.h"
#include "base/file.h"
#include "base/memory.h"
#include "io/checksum.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors data is used in place, which needs a little-endian machine"
#endif

#define HEADER_BYTES_MAX 100000000u
#define HEADER_NODES_MAX                                                                                                                   \
    400000 /* a JSON value costs 80 bytes here and two in the file: this bounds the tree at 32 MB; a tensor has about 10 */

struct ij_safetensors {
    char *name; /* the path, for error texts */
    const uint8_t *bytes;
    size_t size, data_begin;
    bool mapped;
    cJSON *header;         /* owns every name, key and value */
    const cJSON *metadata; /* "__metadata__" inside it, or NULL */
    ij_safetensors_tensor *tensors;
    int64_t count;
    void *copies; /* tensors whose place in the file is not aligned to their element */
};

static const struct {
    const char *name;
    size_t bytes;
} dtypes[] = {
#define DTYPE_ROW(name, bytes) {#name, bytes},
    IJ_SAFETENSORS_LIST(DTYPE_ROW)
#undef DTYPE_ROW
};

const char *ij_safetensors_dtype_name(ij_safetensors_dtype dtype) { return dtypes[dtype].name; }

size_t ij_safetensors_dtype_bytes(ij_safetensors_dtype dtype) { return dtypes[dtype].bytes; }

void ij_shape_text(char *out, size_t out_bytes, int ndim, const int64_t *shape) {
    size_t used = (size_t)snprintf(out, out_bytes, "[");
    for (int i = 0; i < ndim && used < out_bytes; i++)
        used += (size_t)snprintf(out + used, out_bytes - used, i ? ", %lld" : "%lld", (long long)shape[i]);
    if (used < out_bytes) snprintf(out + used, out_bytes - used, "]");
}

/* A JSON number that is an integer in [0, 2^53]. */
static bool whole_number(const cJSON *item, uint64_t *out) {
    if (!cJSON_IsNumber(item)) return false;
    double value = item->valuedouble;
    if (!(value >= 0 && value <= 9007199254740992.0) || value != floor(value)) return false;
    *out = (uint64_t)value;
    return true;
}

static ij_status parse_shape(const ij_safetensors *file, const cJSON *shape, ij_safetensors_tensor *tensor, ij_error *err) {
    if (!cJSON_IsArray(shape)) return ij_fail(err, IJ_ERROR_FORMAT, "%s: tensor %s has no shape", file->name, tensor->name);
    uint64_t count = 1;
    const cJSON *item;
    cJSON_ArrayForEach(item, shape) {
        uint64_t dim;
        if (!whole_number(item, &dim))
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: tensor %s: dimension %d is not a whole number", file->name, tensor->name,
                           tensor->ndim);
        if (tensor->ndim == IJ_SAFETENSORS_MAX_DIMS)
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: tensor %s has more than %d dimensions", file->name, tensor->name,
                           IJ_SAFETENSORS_MAX_DIMS);
        tensor->shape[tensor->ndim++] = (int64_t)dim;
        if (dim && count > (uint64_t)INT64_MAX / 8 / dim)
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: tensor %s: the product of its dimensions overflows", file->name, tensor->name);
        count *= dim;
    }
    tensor->count = (int64_t)count;
    tensor->bytes = (size_t)count * dtypes[tensor->dtype].bytes;
    return IJ_OK;
}

static ij_status parse_tensor(const ij_safetensors *file, const cJSON *entry, ij_safetensors_tensor *tensor, ij_error *err) {
    tensor->name = entry->string;
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(entry, "dtype");
    const char *text = cJSON_IsString(dtype) ? dtype->valuestring : "(none)";
    int found = 0;
    while (found < IJ_COUNT(dtypes) && strcmp(dtypes[found].name, text) != 0) found++;
    if (found == IJ_COUNT(dtypes))
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: tensor %s has unknown dtype %.40s", file->name, tensor->name, text);
    tensor->dtype = (ij_safetensors_dtype)found;
    IJ_TRY(parse_shape(file, cJSON_GetObjectItemCaseSensitive(entry, "shape"), tensor, err));

    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(entry, "data_offsets");
    uint64_t begin, end;
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 || !whole_number(offsets->child, &begin) ||
        !whole_number(offsets->child->next, &end))
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: tensor %s: data_offsets is not a pair of whole numbers", file->name, tensor->name);
    uint64_t room = file->size - file->data_begin;
    if (begin > end || end > room)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: tensor %s occupies bytes %llu to %llu of %llu", file->name, tensor->name,
                       (unsigned long long)begin, (unsigned long long)end, (unsigned long long)room);
    if (end - begin != tensor->bytes) {
        char shape[128];
        ij_shape_text(shape, sizeof shape, tensor->ndim, tensor->shape);
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: tensor %s: %s %s needs %zu bytes, the file gives it %llu", file->name, tensor->name, text,
                       shape, tensor->bytes, (unsigned long long)(end - begin));
    }
    tensor->data = file->bytes + file->data_begin + begin;
    return IJ_OK;
}

/* The header's JSON as a tree; white space may follow it. */
static ij_status parse_json(ij_safetensors *file, ij_error *err) {
    if (file->size < 8) return ij_fail(err, IJ_ERROR_FORMAT, "%s: %zu bytes, too short for a safetensors file", file->name, file->size);
    uint64_t length;
    memcpy(&length, file->bytes, 8);
    if (length > HEADER_BYTES_MAX || length > file->size - 8)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: header of %llu bytes in a file of %zu: cut short, or no safetensors file", file->name,
                       (unsigned long long)length, file->size);
    file->data_begin = 8 + (size_t)length;
    const char *source = (const char *)file->bytes + 8;
    int64_t nodes = 0;
    for (uint64_t i = 0; i < length; i++) nodes += source[i] == ',' || source[i] == '[' || source[i] == '{';
    if (nodes > HEADER_NODES_MAX)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: header with %lld values, at most %d are read", file->name, (long long)nodes,
                       HEADER_NODES_MAX);

    char *text; /* with a final 0, which the parser's look-ahead needs */
    IJ_TRY(ij_copy_text(&text, source, (size_t)length, err));
    const char *end = text;
    file->header = cJSON_ParseWithLengthOpts(text, (size_t)length + 1, &end, 0);
    while (file->header && (*end == ' ' || *end == '\n' || *end == '\t' || *end == '\r')) end++;
    size_t rest = (size_t)(text + length - end);
    free(text);
    if (!cJSON_IsObject(file->header) || rest)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: header is not a JSON object (at byte %llu of %llu)", file->name,
                       (unsigned long long)(length - rest), (unsigned long long)length);
    return IJ_OK;
}

static int by_place(const void *a, const void *b) {
    const ij_safetensors_tensor *x = a, *y = b;
    uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;
    return p != q ? (p < q ? -1 : 1) : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const ij_safetensors_tensor *)a)->name, ((const ij_safetensors_tensor *)b)->name);
}

static ij_status check_places(ij_safetensors *file, ij_error *err) {
    qsort(file->tensors, (size_t)file->count, sizeof *file->tensors, by_place);
    const uint8_t *base = file->bytes + file->data_begin, *cursor = base;
    for (int64_t i = 0; i < file->count; i++) {
        const ij_safetensors_tensor *tensor = &file->tensors[i];
        if ((const uint8_t *)tensor->data != cursor)
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: tensor %s begins at byte %zu, the one before it (%s) ends at %zu: %s", file->name,
                           tensor->name, (size_t)((const uint8_t *)tensor->data - base), i ? tensor[-1].name : "none",
                           (size_t)(cursor - base), (const uint8_t *)tensor->data < cursor ? "they overlap" : "a gap");
        cursor += tensor->bytes;
    }
    size_t rest = (size_t)(file->bytes + file->size - cursor);
    if (rest) return ij_fail(err, IJ_ERROR_FORMAT, "%s: %zu bytes at the end belong to no tensor", file->name, rest);
    return IJ_OK;
}

/* Elements must be readable in place; other writers do not always align them. */
static ij_status align_tensors(ij_safetensors *file, ij_error *err) {
    for (int pass = 0; pass < 2; pass++) {
        int64_t used = 0;
        for (int64_t i = 0; i < file->count; i++) {
            ij_safetensors_tensor *tensor = &file->tensors[i];
            if ((uintptr_t)tensor->data % dtypes[tensor->dtype].bytes == 0) continue;
            if (pass == 1) tensor->data = memcpy((char *)file->copies + used, tensor->data, tensor->bytes);
            used += ((int64_t)tensor->bytes + 15) / 16 * 16;
        }
        if (pass == 0 && used == 0) return IJ_OK;
        if (pass == 0) IJ_TRY(ij_alloc(&file->copies, used, 1, "tensors that are not aligned in their file", err));
    }
    return IJ_OK;
}

static ij_status parse_header(ij_safetensors *file, ij_error *err) {
    IJ_TRY(parse_json(file, err));
    IJ_TRY(ij_alloc(&file->tensors, cJSON_GetArraySize(file->header), sizeof *file->tensors, "tensor table", err));
    const cJSON *entry;
    cJSON_ArrayForEach(entry, file->header) {
        if (strcmp(entry->string, "__metadata__") == 0) {
            if (!cJSON_IsObject(entry) || file->metadata)
                return ij_fail(err, IJ_ERROR_FORMAT, "%s: __metadata__ is not one JSON object", file->name);
            file->metadata = entry;
            const cJSON *pair;
            cJSON_ArrayForEach(pair, entry) if (!cJSON_IsString(pair)) return ij_fail(err, IJ_ERROR_FORMAT, "%s: metadata %s is not a text",
                                                                                      file->name, pair->string);
        } else {
            IJ_TRY(parse_tensor(file, entry, &file->tensors[file->count], err));
            file->count++;
        }
    }
    IJ_TRY(check_places(file, err));
    qsort(file->tensors, (size_t)file->count, sizeof *file->tensors, by_name);
    for (int64_t i = 1; i < file->count; i++)
        if (strcmp(file->tensors[i - 1].name, file->tensors[i].name) == 0)
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: two tensors are named %s", file->name, file->tensors[i].name);
    return align_tensors(file, err);
}

static ij_status map_file(ij_safetensors *file, ij_error *err) {
    const void *bytes;
    IJ_TRY(ij_file_map(file->name, &bytes, &file->size, err));
    file->bytes = bytes;
    file->mapped = true;
    return IJ_OK;
}

static ij_status open_common(const char *name, const void *bytes, size_t count, ij_safetensors **out, ij_error *err) {
    *out = NULL;
    ij_safetensors *file;
    IJ_TRY(ij_alloc(&file, 1, sizeof *file, "safetensors file", err));
    ij_status status = ij_copy_text(&file->name, name, strlen(name), err);
    if (status == IJ_OK && bytes)
        file->bytes = bytes, file->size = count;
    else if (status == IJ_OK)
        status = map_file(file, err);
    if (status == IJ_OK) status = parse_header(file, err);
    if (status == IJ_OK)
        *out = file;
    else
        ij_safetensors_close(file);
    return status;
}

ij_status ij_safetensors_open(const char *path, ij_safetensors **out, ij_error *err) { return open_common(path, NULL, 0, out, err); }

ij_status ij_safetensors_open_memory(const void *bytes, size_t count, const char *name, ij_safetensors **out, ij_error *err) {
    return open_common(name, bytes ? bytes : "", count, out, err);
}

void ij_safetensors_close(ij_safetensors *file) {
    if (!file) return;
    if (file->mapped) ij_file_unmap(file->bytes, file->size);
    cJSON_Delete(file->header);
    free(file->tensors);
    free(file->copies);
    free(file->name);
    free(file);
}

int64_t ij_safetensors_count(const ij_safetensors *file) { return file->count; }

const ij_safetensors_tensor *ij_safetensors_at(const ij_safetensors *file, int64_t i) { return &file->tensors[i]; }

const ij_safetensors_tensor *ij_safetensors_find(const ij_safetensors *file, const char *name) {
    ij_safetensors_tensor key = {.name = name};
    return bsearch(&key, file->tensors, (size_t)file->count, sizeof key, by_name);
}

ij_status ij_safetensors_need(const ij_safetensors *file, const char *name, ij_safetensors_dtype dtype, int ndim, const int64_t *shape,
                              const ij_safetensors_tensor **out, ij_error *err) {
    const ij_safetensors_tensor *tensor = ij_safetensors_find(file, name);
    if (!tensor) return ij_fail(err, IJ_ERROR_MISMATCH, "%s: no tensor %s", file->name, name);
    bool same = tensor->dtype == dtype && tensor->ndim == ndim;
    for (int i = 0; same && i < ndim; i++) same = tensor->shape[i] == shape[i];
    if (!same) {
        char is[128], needed[128];
        ij_shape_text(is, sizeof is, tensor->ndim, tensor->shape);
        ij_shape_text(needed, sizeof needed, ndim, shape);
        return ij_fail(err, IJ_ERROR_MISMATCH, "%s: %s is %s %s, needed is %s %s", file->name, name, dtypes[tensor->dtype].name, is,
                       dtypes[dtype].name, needed);
    }
    *out = tensor;
    return IJ_OK;
}

const char *ij_safetensors_get(const ij_safetensors *file, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(file->metadata, key);
    return item ? item->valuestring : NULL;
}

int64_t ij_safetensors_pairs(const ij_safetensors *file) { return cJSON_GetArraySize(file->metadata); }

void ij_safetensors_pair(const ij_safetensors *file, int64_t i, const char **key, const char **value) {
    const cJSON *item = cJSON_GetArrayItem(file->metadata, (int)i);
    *key = item->string;
    *value = item->valuestring;
}

ij_status ij_safetensors_verify(const ij_safetensors *file, bool *present, ij_error *err) {
    const char *recorded = ij_safetensors_get(file, "ijepa.checksum");
    if (present) *present = recorded != NULL;
    if (!recorded) return IJ_OK;

    /* Where the digits are: the quotes of a key cannot occur unescaped inside another JSON text. */
    static const char mark[] = "\"ijepa.checksum\":\"";
    const size_t mark_bytes = sizeof mark - 1, digits = 16;
    size_t at = 8;
    while (at + mark_bytes + digits <= file->data_begin && memcmp(file->bytes + at, mark, mark_bytes) != 0) at++;
    if (at + mark_bytes + digits > file->data_begin || strlen(recorded) != digits)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: its checksum %.40s is not one of ijepa's", file->name, recorded);
    at += mark_bytes;

    ij_checksum sum;
    ij_checksum_begin(&sum);
    ij_checksum_add(&sum, file->bytes, at);
    ij_checksum_add(&sum, "0000000000000000", digits);
    ij_checksum_add(&sum, file->bytes + at + digits, file->size - at - digits);
    char computed[17];
    snprintf(computed, sizeof computed, "%016llx", (unsigned long long)ij_checksum_end(&sum));
    if (strcmp(computed, recorded) != 0)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: damaged: its bytes have checksum %s, recorded is %s", file->name, computed, recorded);
    return IJ_OK;
}
