/* Push constants of shaders/eltwise.comp, for C and GLSL. */
#ifndef IJ_SHADER_ELTWISE_H
#define IJ_SHADER_ELTWISE_H

#ifdef __STDC__
#include <sys/types.h> /* uint, as in GLSL */
#endif

#define ELTWISE_LANES 64 /* invocations of a workgroup */

struct eltwise_push {
    uint count; /* elements */
};

#endif
