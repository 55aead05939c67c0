/* NumPy's .npy files: features out, arrays in.       layer: io; uses: base
 * Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, versions 1 to 3; little-endian, C order only. */
#ifndef IJ_IO_NPY_H
#define IJ_IO_NPY_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define IJ_NPY_MAX_DIMS 8

typedef enum ij_npy_dtype { IJ_NPY_F32, IJ_NPY_I32, IJ_NPY_U8 } ij_npy_dtype;

typedef struct ij_npy {
    ij_npy_dtype dtype;
    int ndim;
    int64_t shape[IJ_NPY_MAX_DIMS];
    int64_t count; /* elements */
    void *data;    /* [shape], row-major; ij_npy_free */
} ij_npy;

/* What stands before the data: returns its bytes, a multiple of 64. Of arrays of at most three dimensions it has 128, so that one written
 * before the shape is known can be overwritten. ndim is at most IJ_NPY_MAX_DIMS. */
#define IJ_NPY_HEADER_MAX 512
size_t ij_npy_header(ij_npy_dtype dtype, int ndim, const int64_t *shape, char out[IJ_NPY_HEADER_MAX]);

ij_status ij_npy_write(const char *path, ij_npy_dtype dtype, int ndim, const int64_t *shape, const void *data, ij_error *err);

/* Reads a whole file; every other dtype, Fortran order, and a size that does not match the shape are errors. */
ij_status ij_npy_read(const char *path, ij_npy *out, ij_error *err);
ij_status ij_npy_parse(const void *bytes, size_t count, const char *name, ij_npy *out, ij_error *err);
void ij_npy_free(ij_npy *array);

#endif
