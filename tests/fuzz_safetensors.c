/* Any bytes as a safetensors file: what opens keeps the promises of io/safetensors.h. */
#include "fuzz.h"

#include "io/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ij_safetensors *file;
    ij_error err;
    if (ij_safetensors_open_memory(data, size, "input", &file, &err) != IJ_OK) return 0;
    unsigned sum = 0;
    for (int64_t i = 0; i < ij_safetensors_count(file); i++) {
        const ij_safetensors_tensor *tensor = ij_safetensors_at(file, i);
        FUZZ_REQUIRE(ij_safetensors_find(file, tensor->name) == tensor);
        FUZZ_REQUIRE((uintptr_t)tensor->data % ij_safetensors_dtype_bytes(tensor->dtype) == 0);
        for (size_t k = 0; k < tensor->bytes; k++) sum += ((const uint8_t *)tensor->data)[k]; /* AddressSanitizer watches */
    }
    for (int64_t i = 0; i < ij_safetensors_pairs(file); i++) {
        const char *key, *value;
        ij_safetensors_pair(file, i, &key, &value);
        sum += (unsigned char)key[0] + (unsigned char)value[0];
    }
    (void)ij_safetensors_verify(file, NULL, &err);
    ij_safetensors_close(file);
    return sum == 1 ? -1 : 0; /* keeps the reads alive */
}
