/* From a pickle's tree to named tensors and values; between torch_file.c and torch_tree.c, nobody else needs it.       layer: io; uses: base, pickle, tensor_view */
#ifndef IJ_IO_TORCH_TREE_H
#define IJ_IO_TORCH_TREE_H

#include "io/pickle.h"
#include "io/torch_file.h"

/* A storage's bytes: in memory, or a deflated member. */
typedef struct ij_torch_storage {
    const uint8_t *bytes;
    const ij_zip_member *member;
    int64_t size;
} ij_torch_storage;

/* Finds a storage by its key. */
typedef ij_status (*ij_torch_find)(void *user, const char *key, int64_t key_bytes, ij_torch_storage *out, ij_error *err);

typedef struct ij_torch_tree {
    const char *name;
    ij_pool *pool;
    ij_torch_find find;
    void *user;
    int64_t steps; /* that are left */
    ij_tensor_view *views;
    int64_t view_count, view_capacity;
    ij_torch_value *values;
    int64_t value_count, value_capacity;
    char path[2048];
    size_t path_bytes;
} ij_torch_tree;

/* Bytes of an element of the storage class; 0: it is none. */
size_t ij_torch_storage_element(int64_t name);

/* ("storage", class, key, place, elements, ...); NULL: it is not that. */
const ij_pickle_value *ij_torch_storage_id(const ij_pickle_value *outside);

/* Adds everything below `root` to the tree's arrays, which the caller frees. */
ij_status ij_torch_walk(ij_torch_tree *tree, const ij_pickle_value *root, ij_error *err);

#endif
