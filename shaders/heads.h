/* Push constants and settings of shaders/heads_*.comp, for C and GLSL. */
#ifndef IJ_SHADER_HEADS_H
#define IJ_SHADER_HEADS_H

#ifdef __STDC__
#include <sys/types.h> /* uint, as in GLSL */
#endif

#define HEADS_LANES 256
#define HEADS_COLUMNS 64      /* lanes of a workgroup that owns columns of a row */
#define HEADS_STAT_COLUMNS 32 /* of a workgroup of heads_stats, times ... */
#define HEADS_STAT_SLICES 8   /* ... lanes that share a column's rows */
#define HEADS_CHUNK 4096      /* weights of a head that a workgroup updates */

/* How one head learns. */
struct heads_setting {
    float lr;
    float momentum;
    float weight_decay;
    float trust; /* LARS's coefficient; 0: plain SGD */
};

struct heads_gather_push {
    uint loads; /* of four elements, of a row */
    uint begin; /* index of the first row of `from` */
    uint count; /* rows of `from` */
};

struct heads_stats_push {
    uint rows;
    uint width;
    float momentum;
};

struct heads_columns_push {
    uint width;   /* of a row of x */
    uint first;   /* column of x that is column 0 of the result */
    uint columns; /* that are taken */
    uint padded;  /* of a row of the result: zeros behind the columns */
    float eps;
};

struct heads_update_push {
    uint count;  /* weights of a head */
    uint chunks; /* of a head */
};

#endif
