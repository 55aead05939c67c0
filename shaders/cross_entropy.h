/* Push constants of shaders/cross_entropy*.comp, for C and GLSL. */
#ifndef IJ_SHADER_CROSS_ENTROPY_H
#define IJ_SHADER_CROSS_ENTROPY_H

#ifdef __STDC__
#include <sys/types.h> /* uint, as in GLSL */
#endif

#define CROSS_ENTROPY_LANES 256 /* of a workgroup of cross_entropy_sum and cross_entropy_grad */

struct cross_entropy_push {
    uint columns; /* loads of a head's classes: classes / WIDTH */
    uint rows_at; /* rows = min(rows_max, offsets[rows_at]) */
    uint rows_max;
    uint heads;
    uint classes;
    float smoothing;
    float scale;
};

#endif
