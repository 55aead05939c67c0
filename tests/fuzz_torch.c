/* Any bytes as a file of tensors (zip, PyTorch's legacy stream, safetensors): what opens can be read, in little memory. */
#include "fuzz.h"

#include "io/tensor_file.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ij_tensor_file *file;
    ij_error err;
    if (ij_tensor_file_open_memory(data, size, "input", &file, &err) != IJ_OK) return 0;
    for (int64_t i = 0; i < ij_tensor_file_count(file) && i < 100; i++) {
        const ij_tensor_entry *entry = ij_tensor_file_at(file, i);
        FUZZ_REQUIRE(ij_tensor_file_find(file, entry->name) == entry);
        float values[300];
        int64_t count = entry->count < 300 ? entry->count : 300;
        (void)ij_tensor_file_read(file, entry, 0, count, values, &err);
        (void)ij_tensor_file_read(file, entry, entry->count - count, count, values, &err);
    }
    for (int64_t i = 0; i < ij_tensor_file_values(file); i++) {
        const char *key, *text;
        ij_tensor_file_value(file, i, &key, &text);
        FUZZ_REQUIRE(ij_tensor_file_get(file, key) != NULL && strlen(text) < size + 64);
    }
    ij_tensor_file_close(file);
    return 0;
}
