/* Any bytes as a training configuration: what is taken is written as it would be read back, and reads back. */
#include "fuzz.h"

#include "train/config.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ij_config_text given = {0}, written = {0};
    ij_train_config config, again;
    ij_error err;
    char notes[512];
    ij_train_config_defaults(&config);
    ij_train_config_defaults(&again);
    if (ij_config_text_load_memory(&given, data, size, "input", &err) == IJ_OK &&
        ij_train_config_read(&given, &config, notes, sizeof notes, &err) == IJ_OK) {
        FUZZ_REQUIRE(ij_train_config_write(&config, &written, &err) == IJ_OK);
        FUZZ_REQUIRE(ij_train_config_read(&written, &again, NULL, 0, &err) == IJ_OK);
        FUZZ_REQUIRE(memcmp(&config.model, &again.model, sizeof config.model) == 0);
    }
    ij_config_text_free(&given);
    ij_config_text_free(&written);
    return 0;
}
