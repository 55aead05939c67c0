/* Any bytes as a table of labels: what parses has a value in every field, inside of the text. */
#include "fuzz.h"

#include "data/labels.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ij_labels *labels;
    ij_error err;
    size_t length = 0;
    if (ij_labels_parse(data, size, "input", &labels, &err) != IJ_OK) {
        FUZZ_REQUIRE(labels == NULL && strlen(err.text) > 0 && !strchr(err.text, '\n'));
        return 0;
    }
    for (int64_t row = -1; row < ij_labels_rows(labels); row++)
        for (int column = 0; column < ij_labels_columns(labels); column++)
            length += strlen(row < 0 ? ij_labels_column_name(labels, column) : ij_labels_value(labels, row, column));
    FUZZ_REQUIRE(length <= size);
    ij_labels_free(labels);
    return 0;
}
