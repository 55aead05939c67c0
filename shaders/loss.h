/* Push constants and kinds of shaders/loss*.comp, for C and GLSL; in GLSL the loss functions themselves. */
#ifndef IJ_SHADER_LOSS_H
#define IJ_SHADER_LOSS_H

#ifdef __STDC__
#include <sys/types.h> /* uint, as in GLSL */
#endif

#define LOSS_SMOOTH_L1 0 /* d^2 / 2 for |d| < 1, |d| - 1/2 beyond */
#define LOSS_L2 1        /* d^2 */
#define LOSS_L1 2        /* |d| */

#define LOSS_CHUNK 4   /* rows that one subgroup sums */
#define LOSS_LANES 256 /* of the workgroup that adds the chunks up */

struct loss_push {
    uint dim;
    uint columns; /* loads of a row: dim / WIDTH */
    uint rows_at; /* rows = min(rows_max, offsets[rows_at]) */
    uint rows_max;
    float divisor; /* 0: rows dim */
    float scale;
};

#ifndef __STDC__
/* With c = d cut to [-1, 1], smooth L1 is c (d - c/2) on both sides of 1, and c is its derivative. */
#define LOSS_FUNCTIONS(T)                                                                                                                  \
    T loss_value(uint kind, T d) {                                                                                                         \
        T c = clamp(d, T(-1), T(1));                                                                                                       \
        return kind == LOSS_SMOOTH_L1 ? c * (d - 0.5 * c) : kind == LOSS_L2 ? d * d : abs(d);                                              \
    }                                                                                                                                      \
    T loss_derivative(uint kind, T d) { return kind == LOSS_SMOOTH_L1 ? clamp(d, T(-1), T(1)) : kind == LOSS_L2 ? 2 * d : sign(d); }
LOSS_FUNCTIONS(float)
LOSS_FUNCTIONS(vec4)
#endif

#endif
