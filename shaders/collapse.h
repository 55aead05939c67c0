/* Push constants and results of shaders/collapse_*.comp, for C and GLSL. */
#ifndef IJ_SHADER_COLLAPSE_H
#define IJ_SHADER_COLLAPSE_H

#ifdef __STDC__
#include <sys/types.h> /* uint, as in GLSL */
#endif

#define COLLAPSE_COLUMNS 64 /* lanes of a workgroup that owns columns */
#define COLLAPSE_TILE 16    /* rows and columns of a workgroup's product */

struct collapse_position {
    float within;       /* variance across images at the same position, averaged over positions; also the L2 loss of the position's mean */
    float between;      /* variance across positions of the positions' means */
    float total;        /* within + between: variance across all rows */
    float trivial_loss; /* of predicting the position's mean */
};

struct collapse_vicreg {
    float loss;       /* weight (variance + covariance_weight covariance) */
    float variance;   /* mean over dims of relu(gamma - deviation) */
    float covariance; /* squared covariances off the diagonal, over dim */
    float spare;
};

struct collapse_position_push {
    uint images, patches, dim;
    uint kind;
};

struct collapse_cosine_push {
    uint rows, dim;
    uint columns; /* loads of a row */
};

struct collapse_vicreg_push {
    uint rows, dim;
    float weight, covariance_weight, gamma, eps;
};

#endif
