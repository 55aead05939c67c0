/* safetensors files: weights, training state, recorded steps.       layer: io; uses: base
 *
 * The format (https://github.com/huggingface/safetensors): 8 bytes header length n, little-endian; n bytes of JSON
 * {"name": {"dtype", "shape", "data_offsets": [begin, end]}, ..., "__metadata__": {"key": "text"}}; then the tensors' bytes.
 *
 * What an open file guarantees, whatever the bytes were:
 *   1. every tensor lies inside the file, no two overlap, no byte between the header and the end belongs to none;
 *   2. bytes = product of shape x dtype size, without overflow;  3. names are distinct;  4. data is aligned to its element.
 *
 * Checksum: files written here hold "ijepa.checksum" in __metadata__: 16 hexadecimal digits, ij_checksum (io/checksum.h) of the
 * whole file with these digits read as zeros. Opening does not check it (that would read gigabytes to look at one tensor). */
#ifndef IJ_IO_SAFETENSORS_H
#define IJ_IO_SAFETENSORS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IJ_SAFETENSORS_LIST(X)                                                                                                             \
    X(BOOL, 1)                                                                                                                             \
    X(U8, 1)                                                                                                                               \
    X(I8, 1)                                                                                                                               \
    X(I16, 2)                                                                                                                              \
    X(U16, 2)                                                                                                                              \
    X(F16, 2)                                                                                                                              \
    X(BF16, 2)                                                                                                                             \
    X(I32, 4)                                                                                                                              \
    X(U32, 4)                                                                                                                              \
    X(F32, 4)                                                                                                                              \
    X(F64, 8)                                                                                                                              \
    X(I64, 8)                                                                                                                              \
    X(U64, 8)

typedef enum ij_safetensors_dtype {
#define IJ_SAFETENSORS_ENUM(name, bytes) IJ_SAFETENSORS_##name,
    IJ_SAFETENSORS_LIST(IJ_SAFETENSORS_ENUM)
#undef IJ_SAFETENSORS_ENUM
} ij_safetensors_dtype;

const char *ij_safetensors_dtype_name(ij_safetensors_dtype dtype);
size_t ij_safetensors_dtype_bytes(ij_safetensors_dtype dtype);

#define IJ_SAFETENSORS_MAX_DIMS 8

typedef struct ij_safetensors_tensor {
    const char *name;
    ij_safetensors_dtype dtype;
    int ndim; /* 0: a single number */
    int64_t shape[IJ_SAFETENSORS_MAX_DIMS];
    int64_t count; /* elements */
    size_t bytes;
    const void *data; /* [shape], row-major; lives as long as the file is open */
} ij_safetensors_tensor;

typedef struct ij_safetensors ij_safetensors;

/* Maps the file and checks its header. A file must not be shortened by others while it is open (files written here are never:
 * a new version takes the name, the old bytes stay). */
ij_status ij_safetensors_open(const char *path, ij_safetensors **out, ij_error *err);

/* The same for bytes in memory, which must outlive the result; `name` is for the error texts. */
ij_status ij_safetensors_open_memory(const void *bytes, size_t count, const char *name, ij_safetensors **out, ij_error *err);
void ij_safetensors_close(ij_safetensors *file); /* NULL is fine */

int64_t ij_safetensors_count(const ij_safetensors *file);
const ij_safetensors_tensor *ij_safetensors_at(const ij_safetensors *file, int64_t i);          /* in bytewise order of the names */
const ij_safetensors_tensor *ij_safetensors_find(const ij_safetensors *file, const char *name); /* NULL: there is none */

/* The tensor `name`, which must have this dtype and shape; the error text says what is there and what is needed. */
ij_status ij_safetensors_need(const ij_safetensors *file, const char *name, ij_safetensors_dtype dtype, int ndim, const int64_t *shape,
                              const ij_safetensors_tensor **out, ij_error *err);

/* Metadata: the text of a key, or NULL; and all pairs, in the file's order. */
const char *ij_safetensors_get(const ij_safetensors *file, const char *key);
int64_t ij_safetensors_pairs(const ij_safetensors *file);
void ij_safetensors_pair(const ij_safetensors *file, int64_t i, const char **key, const char **value);

/* Reads the whole file against its checksum. IJ_OK with *present = false for a file without one; `present` may be NULL. */
ij_status ij_safetensors_verify(const ij_safetensors *file, bool *present, ij_error *err);

/* ---- writing ---- */

typedef struct ij_safetensors_writer ij_safetensors_writer;

/* Supplies bytes [offset, offset + bytes) of a tensor; asked for in ascending order, each byte once, at most 4 MiB a call. */
typedef ij_status (*ij_safetensors_fill)(void *user, uint64_t offset, void *out, size_t bytes, ij_error *err);

/* Begin; declare pairs and tensors in any order; finish. Nothing is written before finish, which writes a temporary file, syncs it
 * and renames it over `path`: the old file is there until the new one is complete. Every name and key is copied.
 * The key "ijepa.checksum" is the writer's own: putting it does nothing, so that another file's pairs can be passed on whole. */
ij_status ij_safetensors_begin(const char *path, ij_safetensors_writer **out, ij_error *err);
ij_status ij_safetensors_put(ij_safetensors_writer *writer, const char *key, const char *value, ij_error *err);
ij_status ij_safetensors_add(ij_safetensors_writer *writer, const char *name, ij_safetensors_dtype dtype, int ndim, const int64_t *shape,
                             const void *data, ij_error *err); /* data is read at finish */
ij_status ij_safetensors_add_filled(ij_safetensors_writer *writer, const char *name, ij_safetensors_dtype dtype, int ndim,
                                    const int64_t *shape, ij_safetensors_fill fill, void *user, ij_error *err);
ij_status ij_safetensors_finish(ij_safetensors_writer *writer, ij_error *err); /* frees the writer, whatever happens */
void ij_safetensors_abandon(ij_safetensors_writer *writer);                    /* instead of finish; NULL is fine */

/* "[3, 4]", for error texts. */
void ij_shape_text(char *out, size_t out_bytes, int ndim, const int64_t *shape);

#endif
