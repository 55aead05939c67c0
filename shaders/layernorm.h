/* Push constants of shaders/layernorm*.comp, for C and GLSL. */
#ifndef IJ_SHADER_LAYERNORM_H
#define IJ_SHADER_LAYERNORM_H

#ifdef __STDC__
#include <sys/types.h> /* uint, as in GLSL */
#endif

#define LAYERNORM_CHUNK 32   /* rows whose parameter gradients one subgroup sums */
#define LAYERNORM_COLUMNS 16 /* of a workgroup that adds the chunks up */
#define LAYERNORM_SLICES 16  /* chunks are dealt to so many sums, then these are added in order */

struct layernorm_push {
    uint dim;
    uint columns;  /* loads of a row: dim / WIDTH */
    uint rows_at;  /* rows = min(rows_max, offsets[rows_at]) */
    uint rows_max;
    float eps;
};

#endif
