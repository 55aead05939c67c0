/* What AdamW reads on the device (shaders/optim_adamw.comp), for C and GLSL. */
#ifndef IJ_SHADER_OPTIM_H
#define IJ_SHADER_OPTIM_H

#ifdef __STDC__
#include <sys/types.h> /* uint, as in GLSL */
#endif

#define OPTIM_LANES 256

/* Changes every step; written by the host (op_optim_step_make), so that a recorded program can be replayed. */
struct optim_step {
    float keep;        /* 1 - lr weight_decay */
    float step_size;   /* lr / (1 - beta1^t) */
    float beta1_rest;  /* 1 - beta1, of the double */
    float beta2;
    float beta2_rest;  /* 1 - beta2 */
    float bias2_root;  /* sqrt(1 - beta2^t) */
    float eps;
    float ema;         /* of the target encoder */
    float ema_rest;    /* 1 - ema */
    float grad_scale;  /* what gradients are multiplied with: 1 / loss scale */
    float clip_norm;   /* largest norm of the scaled gradient; 0: any */
    float spare;
};
#define OPTIM_STEP_FLOATS 12

/* Loss scale, on the device and in checkpoints. */
struct optim_scale {
    float scale;   /* a power of two */
    float inverse; /* 1 / scale */
    uint good;     /* finite steps in a row since the scale last changed */
    uint skipped;  /* steps that were not finite, in all */
};

struct optim_push {
    uint first, count; /* in loads of WIDTH elements */
};

struct optim_scale_push {
    uint interval;   /* finite steps in a row that double the scale */
    float scale_max;
};

struct optim_cast_push {
    uint count;  /* stores in all */
    uint stores; /* of a row, with its padding: of four elements or of two */
    uint loads;  /* of a row: of four elements or of one */
};

#endif
