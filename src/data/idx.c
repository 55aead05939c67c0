/* layer: data; uses: base */
#include "data/idx.h"
#include "base/memory.h"
#include "io/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define UNPACKED_BYTES_MAX ((int64_t)1 << 32)
#define CHUNK_BYTES (1 << 20)

ij_status ij_idx_parse(const void *data, size_t count, const char *name, ij_idx *out, ij_error *err) {
    const uint8_t *bytes = data;
    memset(out, 0, sizeof *out);
    if (count < 8 || bytes[0] || bytes[1] || bytes[2] != 8 || (bytes[3] != 1 && bytes[3] != 3))
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: not an IDX file of bytes with 1 or 3 dimensions (%zu bytes)", name, count);
    ij_idx idx = {.ndim = bytes[3], .shape = {1, 1, 1}};
    size_t begin = 4 + 4 * (size_t)idx.ndim;
    if (count < begin) return ij_fail(err, IJ_ERROR_FORMAT, "%s: IDX header cut after %zu bytes", name, count);
    for (int d = 0; d < idx.ndim; d++) {
        const uint8_t *p = bytes + 4 + 4 * d;
        idx.shape[d] = (int64_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
    }
    if (idx.ndim == 3 && (idx.shape[1] < 1 || idx.shape[1] > IJ_IMAGE_SIDE_MAX || idx.shape[2] < 1 || idx.shape[2] > IJ_IMAGE_SIDE_MAX))
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: IDX images of %lld x %lld pixels", name, (long long)idx.shape[2],
                       (long long)idx.shape[1]);
    /* Divided, not multiplied: count x height x width can exceed 64 bits. */
    uint64_t each = (uint64_t)(idx.shape[1] * idx.shape[2]), have = count - begin;
    if (have / each != (uint64_t)idx.shape[0] || have % each)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: IDX header promises %lld x %llu bytes, the file has %llu", name, (long long)idx.shape[0],
                       (unsigned long long)each, (unsigned long long)have);
    idx.values = bytes + begin;
    *out = idx;
    return IJ_OK;
}

ij_status ij_idx_read(const char *path, void **bytes, ij_idx *out, ij_error *err) {
    *bytes = NULL;
    gzFile file = gzopen(path, "rb"); /* reads files that are not gzip as they are */
    if (!file) return ij_fail(err, IJ_ERROR_FILE, "%s: %s", path, strerror(errno));
    uint8_t *data = NULL;
    int64_t used = 0, capacity = 0;
    ij_status status = IJ_OK;
    for (;;) {
        IJ_TRY_GOTO(ij_grow(&data, &capacity, used + CHUNK_BYTES, 1, path, err), done);
        int got = gzread(file, data + used, CHUNK_BYTES);
        int code;
        const char *problem = gzerror(file, &code);
        if (got < 0 || (got < CHUNK_BYTES && code != Z_OK)) { /* gzread returns what it had before the data broke off */
            status = ij_fail(err, IJ_ERROR_FORMAT, "%s: %s", path, code == Z_ERRNO ? strerror(errno) : problem);
            goto done;
        }
        used += got;
        if (got < CHUNK_BYTES) break;
        if (used > UNPACKED_BYTES_MAX) {
            status = ij_fail(err, IJ_ERROR_FORMAT, "%s: more than %lld bytes unpacked", path, (long long)UNPACKED_BYTES_MAX);
            goto done;
        }
    }
    IJ_TRY_GOTO(ij_idx_parse(data, (size_t)used, path, out, err), done);
    *bytes = data;
    data = NULL;
done:
    gzclose(file);
    free(data);
    return status;
}
