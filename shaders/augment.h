/* What is done to each picture, and push constants of shaders/augment*.comp, for C and GLSL. */
#ifndef IJ_SHADER_AUGMENT_H
#define IJ_SHADER_AUGMENT_H

#ifdef __STDC__
#include <sys/types.h> /* uint, as in GLSL */
#endif

#define AUGMENT_STEPS 2     /* operations a picture goes through */
#define AUGMENT_LANES 256
#define AUGMENT_TABLE 256   /* floats that an operation may keep of one channel of one picture */

#define AUGMENT_NONE 0
#define AUGMENT_AUTOCONTRAST 1
#define AUGMENT_EQUALIZE 2
#define AUGMENT_INVERT 3
#define AUGMENT_AFFINE 4
#define AUGMENT_POSTERIZE 5
#define AUGMENT_SOLARIZE 6
#define AUGMENT_SOLARIZE_ADD 7
#define AUGMENT_COLOR 8
#define AUGMENT_CONTRAST 9
#define AUGMENT_BRIGHTNESS 10
#define AUGMENT_SHARPNESS 11
#define AUGMENT_KINDS 12

/* One operation on one picture; what v means is in src/ops/augment.h. 32 bytes. */
struct augment_step {
    uint kind;
    uint flip; /* 1: the picture is mirrored, left for right, before the operation */
    float v[6];
};

struct augment_push {
    uint batch, height, width, channels;
    uint step;       /* which of the AUGMENT_STEPS */
    uint patch_size; /* what follows is read where patch rows are written */
    float fill_r, fill_g, fill_b; /* what comes in from outside of a picture, 0 .. 255 */
    float mean_r, mean_g, mean_b;
    float inv_std_r, inv_std_g, inv_std_b;
};

#endif
