/* Where a tensor's elements lie, and taking them from there.       layer: io; uses: base, tensor_file.h
 *
 * Element [i, j, ...] is at offset + (i strides[0] + j strides[1] + ...) x bytes of the dtype in the view's storage. Who makes a view has checked
 * that all of them lie inside it. */
#ifndef IJ_IO_TENSOR_VIEW_H
#define IJ_IO_TENSOR_VIEW_H

#include "io/tensor_file.h"

typedef struct ij_tensor_view {
    ij_tensor_entry entry;                    /* first: a pointer to it is one to the view */
    int64_t strides[IJ_SAFETENSORS_MAX_DIMS]; /* elements, >= 0 */
    int64_t offset;                           /* bytes, of the first element */
    const uint8_t *bytes;                     /* the storage */
    int shard;                                /* number of the file it comes from, where there are several */
} ij_tensor_view;

/* Row-major strides of the entry's shape. */
void ij_tensor_view_pack(ij_tensor_view *view);

/* Elements [first, first + count), which lie inside the tensor: raw, and as f32. */
ij_status ij_tensor_view_read_raw(const ij_tensor_view *view, int64_t first, int64_t count, void *out, ij_error *err);
ij_status ij_tensor_view_read(const ij_tensor_view *view, int64_t first, int64_t count, float *out, ij_error *err);

#endif
