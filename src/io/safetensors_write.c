/* Writing safetensors: header, data and checksum in one pass.       layer: io; uses: base, checksum, json_writer
 *
 * Tensors go to the file by descending element size, then in the order they were added, behind a header padded to 64 bytes:
 * so every tensor is aligned to its element without gaps, which the format does not allow. */
#include "io/safetensors.h"
#include "base/file.h"
#include "base/memory.h"
#include "io/checksum.h"
#include "io/json_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES (4u << 20)

typedef struct pending_tensor {
    char *name;
    ij_safetensors_dtype dtype;
    int ndim;
    int64_t shape[IJ_SAFETENSORS_MAX_DIMS];
    uint64_t bytes;
    const void *data;         /* or */
    ij_safetensors_fill fill; /* with user */
    void *user;
    int64_t rank; /* when it was added */
} pending_tensor;

typedef struct pending_pair {
    char *key, *value;
} pending_pair;

struct ij_safetensors_writer {
    char *path;
    pending_tensor *tensors;
    int64_t count, capacity;
    pending_pair *pairs;
    int64_t pair_count, pair_capacity;
};

ij_status ij_safetensors_begin(const char *path, ij_safetensors_writer **out, ij_error *err) {
    *out = NULL;
    ij_safetensors_writer *writer;
    IJ_TRY(ij_alloc(&writer, 1, sizeof *writer, "safetensors writer", err));
    ij_status status = ij_copy_text(&writer->path, path, strlen(path), err);
    if (status != IJ_OK) {
        free(writer);
        return status;
    }
    *out = writer;
    return IJ_OK;
}

void ij_safetensors_abandon(ij_safetensors_writer *writer) {
    if (!writer) return;
    for (int64_t i = 0; i < writer->count; i++) free(writer->tensors[i].name);
    for (int64_t i = 0; i < writer->pair_count; i++) free(writer->pairs[i].key), free(writer->pairs[i].value);
    free(writer->tensors);
    free(writer->pairs);
    free(writer->path);
    free(writer);
}

ij_status ij_safetensors_put(ij_safetensors_writer *writer, const char *key, const char *value, ij_error *err) {
    if (strcmp(key, "ijepa.checksum") == 0) return IJ_OK;
    IJ_TRY(ij_grow(&writer->pairs, &writer->pair_capacity, writer->pair_count + 1, sizeof *writer->pairs, "metadata", err));
    pending_pair *pair = &writer->pairs[writer->pair_count];
    IJ_TRY(ij_copy_text(&pair->key, key, strlen(key), err));
    writer->pair_count++; /* from here abandon frees it */
    return ij_copy_text(&pair->value, value, strlen(value), err);
}

static ij_status add(ij_safetensors_writer *writer, const char *name, pending_tensor tensor, const int64_t *shape, ij_error *err) {
    if (tensor.ndim < 0 || tensor.ndim > IJ_SAFETENSORS_MAX_DIMS)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: tensor %s has %d dimensions, at most %d fit", writer->path, name, tensor.ndim,
                       IJ_SAFETENSORS_MAX_DIMS);
    tensor.bytes = ij_safetensors_dtype_bytes(tensor.dtype);
    for (int i = 0; i < tensor.ndim; i++) {
        if (shape[i] < 0 || (shape[i] && tensor.bytes > ((uint64_t)1 << 53) / (uint64_t)shape[i]))
            return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: tensor %s: dimension %d is %lld", writer->path, name, i, (long long)shape[i]);
        tensor.shape[i] = shape[i];
        tensor.bytes *= (uint64_t)shape[i];
    }
    IJ_TRY(ij_grow(&writer->tensors, &writer->capacity, writer->count + 1, sizeof *writer->tensors, "tensor list", err));
    IJ_TRY(ij_copy_text(&tensor.name, name, strlen(name), err));
    tensor.rank = writer->count;
    writer->tensors[writer->count++] = tensor;
    return IJ_OK;
}

ij_status ij_safetensors_add(ij_safetensors_writer *writer, const char *name, ij_safetensors_dtype dtype, int ndim, const int64_t *shape,
                             const void *data, ij_error *err) {
    return add(writer, name, (pending_tensor){.dtype = dtype, .ndim = ndim, .data = data}, shape, err);
}

ij_status ij_safetensors_add_filled(ij_safetensors_writer *writer, const char *name, ij_safetensors_dtype dtype, int ndim,
                                    const int64_t *shape, ij_safetensors_fill fill, void *user, ij_error *err) {
    return add(writer, name, (pending_tensor){.dtype = dtype, .ndim = ndim, .fill = fill, .user = user}, shape, err);
}

static int by_pending_name(const void *a, const void *b) {
    return strcmp(((const pending_tensor *)a)->name, ((const pending_tensor *)b)->name);
}

static int by_file_order(const void *a, const void *b) {
    const pending_tensor *x = a, *y = b;
    size_t p = ij_safetensors_dtype_bytes(x->dtype), q = ij_safetensors_dtype_bytes(y->dtype);
    return p != q ? (p > q ? -1 : 1) : (x->rank > y->rank) - (x->rank < y->rank);
}

static ij_status order_tensors(ij_safetensors_writer *writer, ij_error *err) {
    if (writer->count == 0) return IJ_OK;
    qsort(writer->tensors, (size_t)writer->count, sizeof *writer->tensors, by_pending_name);
    for (int64_t i = 1; i < writer->count; i++)
        if (strcmp(writer->tensors[i - 1].name, writer->tensors[i].name) == 0)
            return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: two tensors are named %s", writer->path, writer->tensors[i].name);
    qsort(writer->tensors, (size_t)writer->count, sizeof *writer->tensors, by_file_order);
    return IJ_OK;
}

/* The header's text, padded, with the checksum's digits (at *digits_at) still zeros. */
static ij_status build_header(const ij_safetensors_writer *writer, ij_json *json, size_t *digits_at, ij_error *err) {
    ij_json_open(json, '{');
    ij_json_key(json, "__metadata__"), ij_json_open(json, '{');
    ij_json_key(json, "ijepa.checksum");
    *digits_at = (size_t)json->length + 1;
    ij_json_string(json, "0000000000000000");
    for (int64_t i = 0; i < writer->pair_count; i++) ij_json_key(json, writer->pairs[i].key), ij_json_string(json, writer->pairs[i].value);
    ij_json_close(json, '}');
    uint64_t offset = 0;
    for (int64_t i = 0; i < writer->count; i++) {
        const pending_tensor *tensor = &writer->tensors[i];
        ij_json_key(json, tensor->name), ij_json_open(json, '{');
        ij_json_key(json, "dtype"), ij_json_string(json, ij_safetensors_dtype_name(tensor->dtype));
        ij_json_key(json, "shape"), ij_json_open(json, '[');
        for (int d = 0; d < tensor->ndim; d++) ij_json_integer(json, tensor->shape[d]);
        ij_json_close(json, ']');
        ij_json_key(json, "data_offsets"), ij_json_open(json, '[');
        ij_json_integer(json, (int64_t)offset);
        ij_json_integer(json, (int64_t)(offset += tensor->bytes));
        ij_json_close(json, ']'), ij_json_close(json, '}');
    }
    ij_json_close(json, '}');
    while (!json->failed && (json->length + 8) % 64) ij_json_raw(json, " ");
    if (json->failed) return ij_fail(err, IJ_ERROR_MEMORY, "out of host memory: the header of %s", writer->path);
    return IJ_OK;
}

static ij_status write_tensor(ij_file_writer *file, ij_checksum *sum, const pending_tensor *tensor, void *chunk, ij_error *err) {
    for (uint64_t done = 0; done < tensor->bytes;) {
        size_t bytes = tensor->bytes - done < CHUNK_BYTES ? (size_t)(tensor->bytes - done) : CHUNK_BYTES;
        const void *data = chunk;
        if (tensor->fill)
            IJ_TRY(tensor->fill(tensor->user, done, chunk, bytes, err));
        else
            data = (const char *)tensor->data + done;
        ij_checksum_add(sum, data, bytes);
        IJ_TRY(ij_file_write(file, data, bytes, err));
        done += bytes;
    }
    return IJ_OK;
}

static ij_status write_all(const ij_safetensors_writer *writer, const ij_json *header, size_t digits_at, ij_file_writer *file, void *chunk,
                           ij_error *err) {
    ij_checksum sum;
    ij_checksum_begin(&sum);
    uint64_t length = (uint64_t)header->length;
    ij_checksum_add(&sum, &length, 8);
    ij_checksum_add(&sum, header->text, (size_t)length);
    IJ_TRY(ij_file_write(file, &length, 8, err));
    IJ_TRY(ij_file_write(file, header->text, (size_t)length, err));
    for (int64_t i = 0; i < writer->count; i++) IJ_TRY(write_tensor(file, &sum, &writer->tensors[i], chunk, err));
    char digits[17];
    snprintf(digits, sizeof digits, "%016llx", (unsigned long long)ij_checksum_end(&sum));
    if (fseek(file->file, (long)(8 + digits_at), SEEK_SET) != 0)
        return ij_fail(err, IJ_ERROR_FILE, "%s: cannot write its checksum: %s", writer->path, strerror(errno));
    return ij_file_write(file, digits, 16, err);
}

ij_status ij_safetensors_finish(ij_safetensors_writer *writer, ij_error *err) {
    ij_json header = {0};
    ij_file_writer file = {0};
    void *chunk = NULL;
    size_t digits_at = 0;
    ij_status status;
    IJ_TRY_GOTO(order_tensors(writer, err), done);
    IJ_TRY_GOTO(build_header(writer, &header, &digits_at, err), done);
    IJ_TRY_GOTO(ij_alloc(&chunk, CHUNK_BYTES, 1, "write buffer", err), done);
    IJ_TRY_GOTO(ij_file_begin(&file, writer->path, err), done);
    IJ_TRY_GOTO(write_all(writer, &header, digits_at, &file, chunk, err), done);
    status = ij_file_commit(&file, err);
done:
    ij_file_abandon(&file);
    free(chunk);
    ij_json_free(&header);
    ij_safetensors_abandon(writer);
    return status;
}
