/* Any bytes as config.json and as preprocessor_config.json: what is taken has sizes that are possible. */
#include "fuzz.h"

#include "train/hf_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ij_hf_config config;
    ij_hf_preprocessor preprocessor;
    ij_error err;
    if (ij_hf_config_parse(data, size, "input", &config, &err) == IJ_OK) {
        FUZZ_REQUIRE(config.timm || (config.dim > 0 && config.depth > 0 && config.heads > 0 && config.hidden > 0 && config.patch_size > 0));
        FUZZ_REQUIRE(config.image_height >= 0 && config.image_height <= 16384 && config.image_width >= 0 && config.image_width <= 16384);
    }
    for (int major = 4; major <= 5; major++)
        if (ij_hf_preprocessor_parse(data, size, "input", major, &preprocessor, &err) == IJ_OK)
            for (int i = 0; i < 3; i++) FUZZ_REQUIRE(preprocessor.std[i] > 0);
    return 0;
}
