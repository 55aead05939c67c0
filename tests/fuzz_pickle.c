/* Any bytes as a pickle, and as the data.pkl of an archive whose storages are the same bytes: the fuzzer need not keep zip's checksums right. */
#include "fuzz.h"

#include "io/torch_tree.h"

typedef struct input {
    const uint8_t *data;
    size_t size;
} input;

static ij_status find(void *user, const char *key, int64_t key_bytes, ij_torch_storage *out, ij_error *err) {
    (void)key, (void)key_bytes, (void)err;
    const input *in = user;
    *out = (ij_torch_storage){in->data, NULL, (int64_t)in->size};
    return IJ_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input in = {data, size};
    ij_pool pool = {.name = "input", .budget = 8 << 20};
    ij_torch_tree tree = {.name = "input", .pool = &pool, .find = find, .user = &in, .steps = 4 * (int64_t)size + 1024};
    const ij_pickle_value *root;
    size_t used;
    ij_error err;
    if (ij_pickle_read(data, size, "input", &pool, &root, &used, &err) == IJ_OK) {
        FUZZ_REQUIRE(used <= size);
        (void)ij_torch_walk(&tree, root, &err);
        for (int64_t i = 0; i < tree.view_count && i < 100; i++) {
            const ij_tensor_view *view = &tree.views[i];
            float values[300];
            int64_t count = view->entry.count < 300 ? view->entry.count : 300;
            FUZZ_REQUIRE(ij_tensor_view_read(view, NULL, 0, count, values, &err) == IJ_OK);
            FUZZ_REQUIRE(ij_tensor_view_read(view, NULL, view->entry.count - count, count, values, &err) == IJ_OK);
        }
    }
    free(tree.views);
    free(tree.values);
    ij_pool_free(&pool);
    return 0;
}
