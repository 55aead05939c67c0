/* Any bytes as a .npy file. */
#include "fuzz.h"

#include "io/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ij_npy array;
    ij_error err;
    if (ij_npy_parse(data, size, "input", &array, &err) != IJ_OK) return 0;
    int64_t count = 1;
    for (int i = 0; i < array.ndim; i++) count *= array.shape[i];
    FUZZ_REQUIRE(count == array.count);
    ij_npy_free(&array);
    return 0;
}
