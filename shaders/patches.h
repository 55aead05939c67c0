/* Crop table and push constants of shaders/patches.comp, for C and GLSL. */
#ifndef IJ_SHADER_PATCHES_H
#define IJ_SHADER_PATCHES_H

#ifdef __STDC__
#include <sys/types.h> /* uint, as in GLSL */
#endif

#define PATCHES_LANES 64    /* output pixels of a workgroup: a stretch of one output row */
#define PATCHES_STAGE 3072  /* floats in shared memory, a multiple of 12: whole pixels of 1 or 3 channels, whole words */

/* Where an image's pixels are and which part of it is wanted. 32 bytes. */
struct patches_crop {
    uint offset;        /* bytes from the start of the pixel buffer; images may start at any byte */
    uint width, height; /* of the image */
    uint channels;      /* of the image: 1 or 3 */
    float x, y, w, h;   /* crop rectangle in pixels, inside the image */
};

struct patches_push {
    uint image_h, image_w; /* output */
    uint patch_size, channels;
    uint pixel_words;      /* of the pixel buffer */
    float mean_r, mean_g, mean_b;
    float inv_std_r, inv_std_g, inv_std_b;
};

#endif
