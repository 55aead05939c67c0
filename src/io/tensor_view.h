/* Where a tensor's elements lie, and taking them from there.       layer: io; uses: base, tensor_file.h, zip
 *
 * Element [i, j, ...] is at offset + (i strides[0] + j strides[1] + ...) x bytes of the dtype in the view's storage. Who makes a view has checked
 * that all of them lie inside it. */
#ifndef IJ_IO_TENSOR_VIEW_H
#define IJ_IO_TENSOR_VIEW_H

#include "io/tensor_file.h"
#include "io/zip.h"

typedef struct ij_tensor_view {
    ij_tensor_entry entry;                    /* first: a pointer to it is one to the view */
    int64_t strides[IJ_SAFETENSORS_MAX_DIMS]; /* elements, >= 0 */
    int64_t offset;                           /* bytes, of the first element */
    const uint8_t *bytes;                     /* the storage; or NULL, then it is: */
    const ij_zip_member *member;              /* a deflated member of an archive */
    int shard;                                /* number of the file it comes from, where there are several */
} ij_tensor_view;

/* Row-major strides of the entry's shape. */
void ij_tensor_view_pack(ij_tensor_view *view);

/* Elements [first, first + count), which lie inside the tensor: raw, and as f32. The cursor is that of the view's archive; NULL where there is none. A
 * deflated storage that is not read in its own order is inflated up to the tensor's last element; more than 64 MiB of that are refused. */
ij_status ij_tensor_view_read_raw(const ij_tensor_view *view, ij_zip_cursor *cursor, int64_t first, int64_t count, void *out,
                                  ij_error *err);
ij_status ij_tensor_view_read(const ij_tensor_view *view, ij_zip_cursor *cursor, int64_t first, int64_t count, float *out, ij_error *err);

#endif
