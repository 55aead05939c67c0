/* Resizing 8-bit pictures on the host, bit for bit as PIL or PyTorch does it.       layer: io; uses: image, base
 *
 * Both libraries resize along the rows first, round to 8 bits, then down the columns, and round again. Output i of n, out of m pixels, with
 * s = m / n and the filter f stretched by z = max(1, s) and reaching r (bilinear 1, bicubic 2):
 *
 *     centre c = (i + 1/2) s;  pixels j from [c - r z + 1/2] to below [c + r z + 1/2], cut at the picture;  w_j = f((j - c + 1/2) / z)
 *     out_i = clamp((sum over j of W_j p_j + 2^(b - 1)) >> b, 0, 255),  W_j = w_j / sum w, times 2^b, rounded half away from zero
 *
 *     PIL      b = 22 (Image.resize with BILINEAR or BICUBIC; Pillow 11)
 *     PyTorch  b is the most with which the largest weight of the direction stays below 2^15, at most 22
 *
 * A direction whose size does not change is copied. What torch 2.6 on a CPU and torchvision 0.21 do with a uint8 tensor and antialias=True
 * depends on the machine: bicubic is always the integers above, and so is bilinear where torch.backends.cpu.get_cpu_capability() is "AVX2",
 * contiguous or channels last. Elsewhere (AVX512, none) torchvision resizes bilinearly in floats and rounds once, which differs by at
 * most one step. A result one pixel wide is wrong or an error in some of torch's paths; here it is what the others give. */
#ifndef IJ_IO_RESAMPLE_H
#define IJ_IO_RESAMPLE_H

#include "base/error.h"
#include "io/image.h"

typedef enum ij_filter { IJ_FILTER_BILINEAR, IJ_FILTER_BICUBIC, IJ_FILTER_COUNT } ij_filter;
typedef enum ij_rounding { IJ_ROUNDING_PIL, IJ_ROUNDING_TORCH } ij_rounding;

/* Of the picture resized to width x height, this part is made. */
typedef struct ij_resample_desc {
    int width, height;
    int left, top, part_width, part_height; /* [all of it: part_width 0] */
    ij_filter filter;
    ij_rounding rounding;
} ij_resample_desc;

/* image has 1 or 3 channels; *out grows and is not image. Besides it memory is asked for the rows that one output row needs, and for weights:
 * in the order of the picture's sides. */
ij_status ij_resample(const ij_image *image, const ij_resample_desc *desc, ij_image *out, ij_error *err);

#endif
