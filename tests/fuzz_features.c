/* Any bytes as a file of features: what opens has the rows, labels and names that it says. */
#include "fuzz.h"

#include "eval/feature_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ij_feature_index index;
    ij_error err;
    if (ij_feature_index_open_memory(data, size, "input", &index, &err) != IJ_OK) return 0;
    FUZZ_REQUIRE(index.count > 0 && index.dim > 0);
    double sum = 0;
    for (int64_t i = 0; i < index.count; i++) { /* AddressSanitizer watches */
        for (int d = 0; d < index.dim; d++) sum += index.x[i * index.dim + d];
        for (const char *c = index.names[i]; *c; c++) sum += *c;
        if (index.labels) sum += index.labels[i];
    }
    ij_feature_index_close(&index);
    return sum == 1 ? -1 : 0; /* keeps the reads alive */
}
