/* Which part of an image is used.       layer: data; uses: philox, io, base
 *
 * A crop is a rectangle in source pixels, not a resized picture: the resize to the model's size runs on the device with the rest
 * of the preprocessing. */
#ifndef IJ_DATA_CROP_H
#define IJ_DATA_CROP_H

#include "base/error.h"
#include "io/image.h"

#include <stdint.h>

typedef struct ij_crop {
    float x, y, w, h; /* left, top, width, height; inside the image */
} ij_crop;

/* torchvision's RandomResizedCrop.get_params: ten tries of area = uniform(scale) x image, ratio = exp(uniform(log ratio)), sides rounded
 * to even; then the largest centred rectangle of an allowed ratio. Whole pixels. Drawn from Philox (seed, stream CROP, sample, epoch
 * and try) and nothing else, so that it does not depend on threads, batch, order or number of devices. */
ij_crop ij_crop_random(uint64_t seed, uint32_t epoch, uint64_t sample, int width, int height, const double scale[2], const double ratio[2]);

/* What remains of the image after "resize the short side to `resize`, cut the centre `size` x `size`", as a source rectangle. A size
 * above `resize` gives the largest centred square. */
ij_crop ij_crop_center(int width, int height, int resize, int size);

/* Copies the pixels that the crop touches into *out ([height, width, channels]; grown, the caller's) and moves the crop into them. More than
 * cap_bytes (at least one pixel's) are averaged over 2 x 2, 3 x 3, ... pixels until they fit. */
ij_status ij_crop_cut(const ij_image *image, int64_t cap_bytes, ij_crop *crop, uint8_t **out, int64_t *capacity, int *width, int *height,
                      ij_error *err);

#endif
