/* Push constants and limits of shaders/attention*.comp, for C and GLSL. */
#ifndef IJ_SHADER_ATTENTION_H
#define IJ_SHADER_ATTENTION_H

#ifdef __STDC__
#include <sys/types.h> /* uint, as in GLSL */
#endif

#define ATTENTION_HEAD_DIM_MAX 128
#define ATTENTION_COOPMAT_HEAD_DIM_MAX 96 /* longer ones would not stay in registers */
#define LOG2_E 1.44269504088896341
#define LN_2 0.69314718055994531

struct attention_push {
    uint heads;
    uint rows_max;
    float scale_log2; /* log2(e) / sqrt(head_dim): scores are kept in base 2, exp2 is what devices have */
    float scale;      /* 1 / sqrt(head_dim) */
};

#endif
