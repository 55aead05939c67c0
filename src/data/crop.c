/* layer: data; uses: philox */
#include "data/crop.h"

#include "philox.h"

#include <math.h>

#define TRIES 10

/* 32 random bits as a double in [0, 1): torchvision draws finer than 24 bits too. */
static double unit(uint32_t word) {
    return (double)word * 0x1p-32;
}

ij_crop ij_crop_random(uint64_t seed, uint32_t epoch, uint64_t sample, int width, int height, const double scale[2],
                       const double ratio[2]) {
    double area = (double)width * (double)height, log_low = log(ratio[0]), log_high = log(ratio[1]);
    for (uint32_t i = 0; i < TRIES; i++) {
        philox_words word =
            philox((uint32_t)seed, (uint32_t)(seed >> 32), PHILOX_STREAM_CROP, (uint32_t)sample, (uint32_t)(sample >> 32), epoch << 16 | i);
        double target = area * (scale[0] + (scale[1] - scale[0]) * unit(word.x));
        double aspect = exp(log_low + (log_high - log_low) * unit(word.y));
        double w = rint(sqrt(target * aspect)), h = rint(sqrt(target / aspect)); /* rint: halves to even, as Python's round */
        if (w < 1 || h < 1 || w > width || h > height) continue;
        uint32_t left = philox_below(word.z, (uint32_t)(width - (int)w + 1)), top = philox_below(word.w, (uint32_t)(height - (int)h + 1));
        return (ij_crop){(float)left, (float)top, (float)w, (float)h};
    }
    double shape = (double)width / (double)height;
    int w = width, h = height;
    if (shape < ratio[0])
        h = (int)rint(w / ratio[0]);
    else if (shape > ratio[1])
        w = (int)rint(h * ratio[1]);
    if (w > width) w = width;
    if (h > height) h = height;
    return (ij_crop){(float)((width - w) / 2), (float)((height - h) / 2), (float)w, (float)h};
}

ij_crop ij_crop_center(int width, int height, int resize, int size) {
    float shorter = (float)(width < height ? width : height);
    float side = size < resize ? shorter * (float)size / (float)resize : shorter;
    return (ij_crop){((float)width - side) / 2, ((float)height - side) / 2, side, side};
}
