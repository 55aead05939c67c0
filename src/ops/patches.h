/* From decoded pixels to normalised patch rows, in one pass.       layer: ops; uses: gpu
 *
 * The formula, for output pixel (i, j), channel c of an image with crop rectangle (x, y, w, h):
 *   resized = sum over crop pixels of ky(i, py) kx(j, px) pixel(py, px, c)      antialiased triangle (bilinear) or cubic a = -0.5
 *   row     = (resized / 255 - mean_c) / std_c
 * kx: stretched by max(1, w / image_w), half-pixel centres, windows cut at the crop, weights normalised: what torchvision's
 * resized_crop does on floats, and PIL's resize but for its rounding and clamping to 8 bits after each direction (a cubic overshoots).
 * A crop of the output's size is copied exactly. A crop need not start at whole pixels; then the pixels that it touches count as its own.
 * A row holds one patch in the order (c, py, px), so a conv weight [D, C, ps, ps] flattened is the matmul weight. */
#ifndef IJ_OPS_PATCHES_H
#define IJ_OPS_PATCHES_H

#include "ops/op.h"
#include "shaders/patches.h"

typedef struct patches_desc {
    int64_t batch;
    int image_h, image_w; /* output, multiples of patch */
    int patch;
    int channels; /* of the output: 1 or 3; a grey image is repeated, a colour image made grey (ITU-R 601) */
    int bicubic;  /* [0] bilinear */
    float mean[3], std[3];
} patches_desc;

/* rows[image P + patch, (c, py, px)] = normalised resized crop. pixels: u8, height x width x channels interleaved, images wherever
 * crops says, tensor padded to whole words; crops: [batch] struct patches_crop; rows: [batch P, channels patch patch], f32, f16 or bf16. */
ij_status op_patches(gpu_program *program, const patches_desc *desc, gpu_tensor pixels, gpu_tensor crops, gpu_tensor rows, ij_error *err);

/* The reference, in double. */
void ref_patches(const patches_desc *desc, const uint8_t *pixels, const struct patches_crop *crops, double *rows);

#endif
