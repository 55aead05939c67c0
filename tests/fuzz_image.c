/* Any bytes as a picture, decoded to 1 and to 3 channels. */
#include "fuzz.h"

#include "io/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ij_image image = {0};
    ij_error err;
    unsigned sum = 0;
    for (int channels = 1; channels <= 3; channels += 2) {
        if (ij_image_decode(data, size, channels, "input", &image, &err) != IJ_OK) continue;
        FUZZ_REQUIRE(image.channels == channels);
        for (int64_t i = 0; i < (int64_t)image.width * image.height * channels; i++) sum += image.pixels[i];
    }
    ij_image_free(&image);
    return sum == 1 ? -1 : 0; /* keeps the reads alive */
}
