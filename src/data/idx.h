/* IDX files: big-endian header, bytes (http://yann.lecun.com/exdb/mnist/).       layer: data; uses: base */
#ifndef IJ_DATA_IDX_H
#define IJ_DATA_IDX_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct ij_idx {
    int ndim;         /* 1 (labels) or 3 (images: [count, height, width]) */
    int64_t shape[3]; /* unused ones are 1 */
    const uint8_t *values;
} ij_idx;

/* Checks header and size; values points into bytes. */
ij_status ij_idx_parse(const void *bytes, size_t count, const char *name, ij_idx *out, ij_error *err);

/* Reads a file, unpacked if it is gzip. *bytes is free()d by the caller. At most 4 GiB unpacked. */
ij_status ij_idx_read(const char *path, void **bytes, ij_idx *out, ij_error *err);

#endif
