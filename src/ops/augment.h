/* RandAugment and mirroring on the device, between op_patches and the model.       layer: ops; uses: gpu
 *
 * A picture of values 0 .. 255 goes through AUGMENT_STEPS operations, is normalised and cut into patch rows, as op_patches would write
 * them. It comes from op_patches itself: patch 1, mean 0, std 1/255 gives [batch, height, width, channels] f32.
 *
 * One operation on value x of a channel (Cubuk et al. 2020; the numbers v are those of struct augment_step):
 *   autocontrast   (x - low) 255 / (high - low), low and high of the channel; a channel of one value stays
 *   equalize       PIL's table from the histogram of the rounded values
 *   invert         255 - x
 *   affine         bilinear at (v0 (i + 1/2) + v1 (j + 1/2) + v2, v3 .. + v4 .. + v5), i the column; outside: the data set's mean
 *   posterize      floor(round(x) / v0) v0, v0 = 2^(8 - bits kept)
 *   solarize       round(x) < v0 ? x : 255 - x
 *   solarize add   round(x) < 128 ? min(x + v0, 255) : x
 *   color, contrast, brightness, sharpness     blend(d, x, v0) = clamp(d + v0 (x - d)): d is the pixel's grey, the mean grey of the
 *                  picture, 0, the picture under the 3 x 3 filter (1 1 1, 1 5 1, 1 1 1) / 13 with its border left alone
 *   grey = 0.299 r + 0.587 g + 0.114 b; a picture of one channel is its own grey.
 * Where this differs from PIL: nothing is rounded to 8 bits between operations (but where a rule asks for a whole number), the mean of
 * `contrast` is not rounded, and geometry is bilinear always (timm draws bilinear or bicubic). */
#ifndef IJ_OPS_AUGMENT_H
#define IJ_OPS_AUGMENT_H

#include "ops/op.h"
#include "shaders/augment.h"

#include <stdbool.h>

typedef struct augment_desc {
    int64_t batch;
    int image_h, image_w; /* multiples of patch */
    int patch, channels;  /* 1 or 3 */
    float mean[3], std[3];
} augment_desc;

/* rows[image P + patch, (c, py, px)]: f32, f16 or bf16. pixels [batch, image_h, image_w, channels] f32; steps [batch, AUGMENT_STEPS]
 * struct augment_step; between: like pixels; table: op_augment_table_bytes. */
typedef struct augment_tensors {
    gpu_tensor pixels, steps, between, table, rows;
} augment_tensors;
uint64_t op_augment_table_bytes(const augment_desc *desc);
ij_status op_augment(gpu_program *program, const augment_desc *desc, const augment_tensors *t, ij_error *err);

/* What happens to one sample in one epoch: a mirror image in every other case, and timm's `rand-m9-mstd0.5-inc1`: two operations out
 * of fifteen (shear and translation have two directions each, all turns are one), each left out in every other case, of magnitude 9
 * with standard deviation 1/2, cut at 0 and 10. Drawn from Philox (seed, stream AUGMENT, sample, epoch) and nothing else. */
typedef struct augment_recipe {
    bool flip, randaugment;
    double magnitude, magnitude_std; /* [9, 0.5] */
} augment_recipe;
void op_augment_draw(const augment_recipe *recipe, uint64_t seed, uint32_t epoch, uint64_t sample, int height, int width,
                     struct augment_step out[AUGMENT_STEPS]);

/* The reference, in double: one picture [height, width, channels] through one operation; and all of it. */
void ref_augment_step(const struct augment_step *step, int height, int width, int channels, const double fill[3], const double *from,
                      double *to);
void ref_augment(const augment_desc *desc, const double *pixels, const struct augment_step *steps, double *rows);

#endif
