/* Modes, limits and push constants of shaders/masks_*.comp, for C and GLSL. */
#ifndef IJ_SHADER_MASKS_H
#define IJ_SHADER_MASKS_H

#ifdef __STDC__
#include <sys/types.h> /* uint, as in GLSL */
#endif

#define MASKS_MODE_MULTIBLOCK 0 /* also mode `block`: one target, the whole grid as context block */
#define MASKS_MODE_OFFICIAL 1
#define MASKS_MODE_RANDOM 2
#define MASKS_MODE_RASTERIZED 3

#define MASKS_PATCHES_MAX 4096
#define MASKS_SIDE_MAX 255   /* a rectangle is four bytes: top, left, height, width */
#define MASKS_BLOCKS_MAX 16  /* target blocks of an image */
#define MASKS_SIZES 4096     /* equally likely block sizes in a table; words height << 16 | width */
#define MASKS_ATTEMPTS 16    /* times that multiblock draws all blocks again for want of context */
#define MASKS_TRIES 20       /* official: context positions tried before one more target may overlap */
#define MASKS_TOKEN 0x80000000u /* in pred_src: this row is a mask token */

#define MASKS_SAMPLE_LANES 32
#define MASKS_OFFSETS_LANES 128
#define MASKS_ROWS_LANES 64
#define MASKS_CHUNK 128 /* predictor rows of one partial sum of the mask token's gradient */

/* Draws of philox(seed, PHILOX_STREAM_MASK, sample, epoch, draw): blocks count from 0, one draw each (x: size, y: top, z: left);
 * the subset of the patches takes word p % 4 of draw MASKS_DRAW_SUBSET + p / 4. */
#define MASKS_DRAW_SUBSET 0x10000u
#define MASKS_DRAW_TARGETS 0x20000u /* the same for the targets of mode random */

/* What changes from step to step, read by the sampler from a buffer. */
struct masks_params {
    uint seed_low, seed_high;
    uint epoch;
    uint step; /* official: keys the block sizes that a batch shares */
};

struct masks_push {
    uint mode, batch, grid_h, grid_w, blocks;
    uint words;         /* of a bit mask of the patches */
    uint min_keep;      /* least patches of a context */
    uint allow_overlap; /* context keeps what targets cover */
    uint budget;        /* most patches of a context */
    uint targets;       /* random: patches of a block */
    uint cut;           /* official: all contexts, and all targets, are as long as the shortest of the batch */
};

/* Row movers: one workgroup has `rows` rows of `lanes` lanes (specialisation 0, 1), a lane takes units lane, lane + lanes ... */
struct masks_move_push {
    uint rows_max, rows_at; /* rows: min(rows_max, offsets[rows_at]) */
    uint units;             /* of a row: dim, or dim / 4 in the vec4 variants */
    uint patches, blocks;
    uint indexed;    /* positions: rows are looked up in a list */
    uint accumulate; /* add to what is there */
    uint groups_x;   /* a long dispatch is folded: group = y * groups_x + x */
};

#endif
