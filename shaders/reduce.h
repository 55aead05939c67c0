/* Push constants and results of shaders/reduce_*.comp, for C and GLSL. */
#ifndef IJ_SHADER_REDUCE_H
#define IJ_SHADER_REDUCE_H

#ifdef __STDC__
#include <sys/types.h> /* uint, as in GLSL */
#endif

#define REDUCE_LANES 256
#define REDUCE_COLUMNS 64 /* lanes of a workgroup that owns columns */
#define REDUCE_CHUNK 16384 /* elements of one partial sum of squares */

/* What op_norm_finish leaves on the device, for the optimiser and the host. */
struct reduce_norm {
    float norm;        /* square root of the next */
    float sum_squares;
    uint finite;       /* 1: every element was a number and the sum did not overflow; 0: the step must change nothing */
    uint spare;
};

/* What op_distance_finish leaves. */
struct reduce_distance {
    float relative;   /* |a - b| / |a|; 0 where a is 0 */
    float difference; /* |a - b|^2 */
    float squares;    /* |a|^2 */
    float spare;
};

struct reduce_squares_push {
    uint count;
    uint first; /* partial that the first chunk goes to */
};

struct reduce_norm_push {
    uint partials;
};

struct reduce_rows_push {
    uint dim;
    uint rows_max;
};

#endif
