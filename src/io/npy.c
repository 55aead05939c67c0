/* layer: io; uses: base */
#include "io/npy.h"
#include "base/file.h"
#include "base/memory.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t bytes;
} dtypes[] = {[IJ_NPY_F32] = {"<f4", 4}, [IJ_NPY_I32] = {"<i4", 4}, [IJ_NPY_U8] = {"|u1", 1}};

size_t ij_npy_header(ij_npy_dtype dtype, int ndim, const int64_t *shape, char out[IJ_NPY_HEADER_MAX]) {
    int used = 10 + snprintf(out + 10, 400, "{'descr': '%s', 'fortran_order': False, 'shape': (", dtypes[dtype].name);
    for (int i = 0; i < ndim; i++) used += snprintf(out + used, 30, ndim == 1 ? "%lld," : i ? ", %lld" : "%lld", (long long)shape[i]);
    used += snprintf(out + used, 8, "), }");
    while (used < 127 || used % 64 != 63) out[used++] = ' '; /* so that the data begins at a multiple of 64 */
    out[used++] = '\n';
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (char)((used - 10) & 255);
    out[9] = (char)((used - 10) >> 8);
    return (size_t)used;
}

ij_status ij_npy_write(const char *path, ij_npy_dtype dtype, int ndim, const int64_t *shape, const void *data, ij_error *err) {
    char header[IJ_NPY_HEADER_MAX];
    if (ndim < 0 || ndim > IJ_NPY_MAX_DIMS) return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: an array of %d dimensions", path, ndim);
    size_t bytes = dtypes[dtype].bytes, used = ij_npy_header(dtype, ndim, shape, header);
    for (int i = 0; i < ndim; i++) bytes *= (size_t)shape[i];

    ij_file_writer file;
    IJ_TRY(ij_file_begin(&file, path, err));
    ij_status status = ij_file_write(&file, header, used, err);
    if (status == IJ_OK) status = ij_file_write(&file, data, bytes, err);
    if (status == IJ_OK) return ij_file_commit(&file, err);
    ij_file_abandon(&file);
    return status;
}

/* The header is a Python dict literal. The cursor moves over the exact pieces that NumPy writes, white space aside. */
static void skip_space(const char **at) {
    while (**at == ' ' || **at == '\n' || **at == '\t') ++*at;
}

static bool accept(const char **at, const char *text) {
    skip_space(at);
    size_t length = strlen(text);
    if (strncmp(*at, text, length) != 0) return false;
    *at += length;
    return true;
}

static bool parse_shape(const char **at, ij_npy *out) {
    if (!accept(at, "(")) return false;
    while (!accept(at, ")")) {
        skip_space(at);
        int64_t dim = 0;
        const char *first = *at;
        for (; **at >= '0' && **at <= '9'; ++*at) {
            if (dim > INT64_MAX / 16 / 10) return false;
            dim = dim * 10 + (**at - '0');
        }
        if (*at == first || out->ndim == IJ_NPY_MAX_DIMS) return false;
        out->shape[out->ndim++] = dim;
        if (!accept(at, ",")) return accept(at, ")");
    }
    return true;
}

static bool parse_dict(const char *at, ij_npy *out, char descr[16]) {
    bool has_descr = false, has_order = false, has_shape = false;
    if (!accept(&at, "{")) return false;
    while (!accept(&at, "}")) {
        if (!has_descr && accept(&at, "'descr':")) {
            if (!accept(&at, "'")) return false;
            size_t length = strcspn(at, "'");
            if (length == 0 || length > 15) return false;
            memcpy(descr, at, length);
            descr[length] = 0;
            at += length;
            if (!accept(&at, "'")) return false;
            has_descr = true;
        } else if (!has_order && accept(&at, "'fortran_order':")) {
            if (!accept(&at, "False")) return false;
            has_order = true;
        } else if (!has_shape && accept(&at, "'shape':")) {
            if (!parse_shape(&at, out)) return false;
            has_shape = true;
        } else {
            return false;
        }
        accept(&at, ",");
    }
    skip_space(&at);
    return has_descr && has_order && has_shape && *at == 0;
}

ij_status ij_npy_parse(const void *data, size_t count, const char *name, ij_npy *out, ij_error *err) {
    const uint8_t *bytes = data;
    memset(out, 0, sizeof *out);
    if (count < 12 || memcmp(bytes, "\x93NUMPY", 6) != 0 || bytes[6] < 1 || bytes[6] > 3)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: not a .npy file (%zu bytes)", name, count);
    bool short_form = bytes[6] == 1;
    size_t begin = short_form ? 10 : 12, length = (size_t)bytes[8] | (size_t)bytes[9] << 8;
    if (!short_form) length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    char header[4096], descr[16] = "";
    if (length > count - begin || length >= sizeof header)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: .npy header of %zu bytes in a file of %zu", name, length, count);
    memcpy(header, bytes + begin, length);
    header[length] = 0;
    ij_npy array = {0};
    if (strlen(header) != length || !parse_dict(header, &array, descr))
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: .npy header not understood, or Fortran order: %.200s", name, header);
    int found = 0;
    while (found < IJ_COUNT(dtypes) && strcmp(dtypes[found].name, descr) != 0) found++;
    if (found == IJ_COUNT(dtypes)) return ij_fail(err, IJ_ERROR_FORMAT, "%s: dtype %s; <f4, <i4 and |u1 are read", name, descr);
    array.dtype = (ij_npy_dtype)found;
    uint64_t need = dtypes[found].bytes, have = count - begin - length;
    for (int i = 0; i < array.ndim; i++) {
        uint64_t dim = (uint64_t)array.shape[i];
        need = dim && need > UINT64_MAX / dim ? UINT64_MAX : need * dim;
    }
    if (need != have)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: its shape needs %llu bytes of data, it has %llu", name, (unsigned long long)need,
                       (unsigned long long)have);
    array.count = (int64_t)(need / dtypes[found].bytes);
    IJ_TRY(ij_alloc(&array.data, (int64_t)need, 1, name, err));
    memcpy(array.data, bytes + begin + length, (size_t)need);
    *out = array;
    return IJ_OK;
}

ij_status ij_npy_read(const char *path, ij_npy *out, ij_error *err) {
    void *bytes;
    size_t count;
    memset(out, 0, sizeof *out);
    IJ_TRY(ij_file_read(path, 0, &bytes, &count, err));
    ij_status status = ij_npy_parse(bytes, count, path, out, err);
    free(bytes);
    return status;
}

void ij_npy_free(ij_npy *array) {
    free(array->data);
    memset(array, 0, sizeof *array);
}
