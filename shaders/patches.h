/* Crop table and push constants of shaders/patches.comp, for C and GLSL. */
#ifndef IJ_SHADER_PATCHES_H
#define IJ_SHADER_PATCHES_H

#ifdef __STDC__
#include <sys/types.h> /* uint, as in GLSL */
#endif

#define PATCHES_LANES 64

/* Where an image's pixels are and which part of it is wanted. 32 bytes. */
struct patches_crop {
    uint offset;        /* bytes from the start of the pixel buffer; images may start at any byte */
    uint width, height; /* of the image */
    uint channels;      /* of the image: 1 or 3 */
    float x, y, w, h;   /* crop rectangle in pixels, whole numbers, inside the image */
};

#endif
