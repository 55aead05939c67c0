/* What torch.save writes: tensors and values by their dotted names (io/tensor_file.h).       layer: io; uses: base, zip, pickle, tensor_view
 *
 * Zip (PyTorch 1.6 and later): members FOLDER/data.pkl, a pickle whose tensors name storages, and FOLDER/data/KEY, a storage's raw bytes; byteorder,
 * version and others beside them. Stored members are used in place; deflated ones (made by zipping again) are read through a cursor.
 * Legacy (before 1.6, or _use_new_zipfile_serialization=False): pickles of the number 0x1950a86a20f9469cfc6c, of 1001, of the machine's sizes, of the
 * object, of a list of storage keys; then each storage: i64 number of elements, and these.
 *
 * Read are tensors of the dtypes of io/safetensors.h (_rebuild_tensor, _v2, _v3, parameters), also strided, shared and expanded ones. Refused, in words:
 * other classes, big-endian files, TorchScript archives, PyTorch's tar files of before 0.1.10, sparse and quantised tensors. Of every tensor it is
 * checked that its elements lie inside its storage; a view that repeats elements may be 64 MiB larger than its storage.
 *
 * Walking the tree is limited to 64 levels and to as many steps as the pickle has bytes, four times over: loops and lists of lists of the same list
 * end in an error. Memory: the file's size and 40 MiB. */
#ifndef IJ_IO_TORCH_FILE_H
#define IJ_IO_TORCH_FILE_H

#include "io/tensor_view.h"

typedef struct ij_torch_file ij_torch_file;

typedef struct ij_torch_value {
    const char *key, *text;
} ij_torch_value;

bool ij_torch_is(const void *bytes, size_t count); /* begins like one of the formats, the refused ones included */
ij_status ij_torch_open(const void *bytes, size_t count, const char *name, ij_torch_file **out,
                        ij_error *err);   /* bytes, name: must outlive it */
void ij_torch_close(ij_torch_file *file); /* NULL is fine */

const char *ij_torch_format(const ij_torch_file *file);    /* "PyTorch zip", "PyTorch zip, deflated", "PyTorch legacy" */
const ij_zip *ij_torch_archive(const ij_torch_file *file); /* NULL: not a zip */
int64_t ij_torch_tensors(const ij_torch_file *file, const ij_tensor_view **out); /* in the file's order */
int64_t ij_torch_values(const ij_torch_file *file, const ij_torch_value **out);

#endif
