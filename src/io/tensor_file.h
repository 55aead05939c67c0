/* One view of named tensors, whatever file they come from.       layer: io; uses: base, safetensors
 *
 * What opens, told by content and never by name:
 *   safetensors            one file; or a folder that holds model.safetensors
 *   sharded safetensors    a folder that holds model.safetensors.index.json, or that index itself; its "weight_map" {name: file} names files
 *                          beside it. A tensor that is in a shard but not in the map, or the other way round, is an error.
 *   PyTorch                torch.save's zip archives (1.6 and later, deflated ones too) and its older stream, whatever they are called
 *                          (.pth, .pt, .pth.tar, .bin); a folder that holds pytorch_model.bin, or pytorch_model.bin.index.json and its shards.
 *                          io/torch_file.h says what is read of them.
 *
 * Nothing in a file is executed. Files are mapped, not read: opening one of 10 GB needs memory for its names alone, and a tensor's bytes are
 * touched when it is read. Whatever the bytes are, opening needs no more memory than the file's size and 64 MiB.
 *
 * Names. safetensors: as they stand. PyTorch: the path through the nested dicts, lists and tuples, joined by dots:
 *     torch.save({"encoder": net.state_dict(), "opt": opt.state_dict(), "epoch": 12}, path)
 *     tensors   encoder.module.blocks.0.attn.qkv.weight, opt.state.3.exp_avg, opt.state.3.step (torch >= 1.12: a tensor of no dimension)
 *     values    epoch = "12", opt.param_groups.0.lr = "0.001", opt.param_groups.0.betas.1 = "0.999", opt.param_groups.0.params.3 = "3"
 * A file that is one tensor alone names it "tensor"; one value alone has the key "value". Prefixes such as module. are kept.
 *
 * Values are what is no tensor, as text: numbers (shortest that reads back), texts, true, false, null, "<12 bytes>"; of safetensors, its
 * metadata pairs (of all shards; equal keys: the first shard's).
 *
 * One thread at a time reads from a file: the place in a deflated stream is remembered, so that reading on does not inflate anew. */
#ifndef IJ_IO_TENSOR_FILE_H
#define IJ_IO_TENSOR_FILE_H

#include "io/safetensors.h"

typedef struct ij_tensor_file ij_tensor_file;

typedef struct ij_tensor_entry {
    const char *name; /* lives as long as the file is open */
    ij_safetensors_dtype dtype;
    int ndim; /* 0: a single number */
    int64_t shape[IJ_SAFETENSORS_MAX_DIMS];
    int64_t count; /* elements; count x bytes of the dtype does not overflow */
} ij_tensor_entry;

/* Errors name the file and what in it is wrong. A file must not be shortened by others while it is open. */
ij_status ij_tensor_file_open(const char *path, ij_tensor_file **out, ij_error *err);

/* The same for one file's bytes in memory (no folder, no index), which must outlive the result; `name` is for the error texts. */
ij_status ij_tensor_file_open_memory(const void *bytes, size_t count, const char *name, ij_tensor_file **out, ij_error *err);
void ij_tensor_file_close(ij_tensor_file *file); /* NULL is fine */

/* "safetensors", "safetensors, 3 shards", "PyTorch zip", "PyTorch zip, deflated", "PyTorch legacy". */
const char *ij_tensor_file_format(const ij_tensor_file *file);

int64_t ij_tensor_file_count(const ij_tensor_file *file);
const ij_tensor_entry *ij_tensor_file_at(const ij_tensor_file *file, int64_t i);          /* in bytewise order of the names */
const ij_tensor_entry *ij_tensor_file_find(const ij_tensor_file *file, const char *name); /* NULL: there is none */

/* Elements [first, first + count) in row-major order of the shape, whatever the strides in the file; `entry` is one of this file's own.
 * ij_tensor_file_read converts to f32: f16 and bf16 exactly, f64 and integers to the nearest, BOOL to 0 and 1. ij_tensor_file_read_raw
 * gives the dtype's bytes, little-endian. A range outside the tensor is IJ_ERROR_ARGUMENT; a deflated stream that is damaged
 * IJ_ERROR_FORMAT. */
ij_status ij_tensor_file_read(const ij_tensor_file *file, const ij_tensor_entry *entry, int64_t first, int64_t count, float *out,
                              ij_error *err);
ij_status ij_tensor_file_read_raw(const ij_tensor_file *file, const ij_tensor_entry *entry, int64_t first, int64_t count, void *out,
                                  ij_error *err);

/* Values, in bytewise order of their keys. */
int64_t ij_tensor_file_values(const ij_tensor_file *file);
void ij_tensor_file_value(const ij_tensor_file *file, int64_t i, const char **key, const char **text);
const char *ij_tensor_file_get(const ij_tensor_file *file, const char *key); /* NULL: there is none */

#endif
