/* Any bytes as an IDX file. */
#include "fuzz.h"

#include "data/idx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ij_idx idx;
    ij_error err;
    if (ij_idx_parse(data, size, "input", &idx, &err) != IJ_OK) return 0;
    FUZZ_REQUIRE(idx.values + idx.shape[0] * idx.shape[1] * idx.shape[2] == data + size);
    return 0;
}
