/* Push constants and results of shaders/sigreg_*.comp, for C and GLSL. */
#ifndef IJ_SHADER_SIGREG_H
#define IJ_SHADER_SIGREG_H

#ifdef __STDC__
#include <sys/types.h> /* uint, as in GLSL */
#endif

#define SIGREG_LANES 64
#define SIGREG_KNOTS 17 /* of the quadrature, on [0, SIGREG_END] */
#define SIGREG_END 3.0f

/* What the directions are keyed by: the beginning of struct masks_params. */
struct sigreg_key {
    uint seed_low, seed_high;
    uint epoch; /* not used: step counts the whole run's */
    uint step;
};

struct sigreg_result {
    float loss;      /* weight x statistic */
    float statistic; /* mean over the directions */
    float spare0, spare1;
};

struct sigreg_directions_push {
    uint directions, dim;
};

struct sigreg_push {
    uint rows, directions;
    float weight;
};

#endif
