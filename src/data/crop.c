/* layer: data; uses: philox, io, base */
#include "data/crop.h"

#include "base/memory.h"
#include "philox.h"

#include <math.h>
#include <string.h>

#define TRIES 10

/* 32 random bits as a double in [0, 1): torchvision draws finer than 24 bits too. */
static double unit(uint32_t word) { return (double)word * 0x1p-32; }

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

/* Averages factor x factor pixels, fewer at the right and lower edge; rounds to nearest. */
static void reduce_box(const ij_image *image, int left, int top, int width, int height, int factor, uint8_t *out) {
    int channels = image->channels;
    for (int y = 0; y < height; y += factor)
        for (int x = 0; x < width; x += factor) {
            int rows = height - y < factor ? height - y : factor, columns = width - x < factor ? width - x : factor;
            for (int c = 0; c < channels; c++) {
                uint64_t sum = 0;
                for (int v = 0; v < rows; v++)
                    for (int u = 0; u < columns; u++)
                        sum += image->pixels[((int64_t)(top + y + v) * image->width + left + x + u) * channels + c];
                uint64_t area = (uint64_t)rows * (uint64_t)columns;
                *out++ = (uint8_t)((sum + area / 2) / area);
            }
        }
}

ij_status ij_crop_cut(const ij_image *image, int64_t cap_bytes, ij_crop *crop, uint8_t **out, int64_t *capacity, int *out_width,
                      int *out_height, ij_error *err) {
    int left = (int)floorf(crop->x), top = (int)floorf(crop->y);
    int right = (int)ceilf(crop->x + crop->w), bottom = (int)ceilf(crop->y + crop->h);
    if (right > image->width) right = image->width;
    if (bottom > image->height) bottom = image->height;
    int width = right - left, height = bottom - top, factor = 1;
    int64_t channels = image->channels, bytes;
    for (;; factor++) {
        *out_width = (width + factor - 1) / factor;
        *out_height = (height + factor - 1) / factor;
        bytes = (int64_t)*out_width * *out_height * channels;
        if (bytes <= cap_bytes) break;
    }
    IJ_TRY(ij_grow(out, capacity, bytes, 1, "crop", err));
    if (factor > 1) {
        reduce_box(image, left, top, width, height, factor, *out);
    } else {
        size_t row = (size_t)width * (size_t)channels;
        for (int y = 0; y < height; y++)
            memcpy(*out + (size_t)y * row, image->pixels + ((int64_t)(top + y) * image->width + left) * channels, row);
    }
    float inverse = 1.0f / (float)factor;
    *crop = (ij_crop){(crop->x - (float)left) * inverse, (crop->y - (float)top) * inverse, crop->w * inverse, crop->h * inverse};
    return IJ_OK;
}
