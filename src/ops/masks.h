/* Which patches are context and which are targets, and the moves of rows that follow from it.      layer: ops; uses: gpu
 *
 * Packed rows, image-major. B images, P = grid_h grid_w patches, M target blocks an image:
 *   context sequences    one an image             ctx_offsets [B + 1]      ctx_rows [context rows]   image P + patch, ascending
 *   target sequences     s = image M + block      tgt_offsets [B M + 1]    tgt_rows [target rows]    image P + patch, ascending
 *   predictor sequences  s = image M + block      pred_offsets [B M + 1]   pred_src [predictor rows]
 *     the context rows of the image, then the target rows of the block: a context row's index, or MASKS_TOKEN | a target row's index
 * All are uint32 on the device. Rows beyond the last offset hold nothing. The host knows the capacities only (masks_capacity).
 *
 * Modes
 *   multiblock  M target blocks: scale in pred_scale and aspect in aspect drawn independently, position uniform over all that fit;
 *               one context block: scale in enc_scale, aspect 1, position likewise; the context is that block without the
 *               targets, and of it a random subset if it exceeds context_keep P patches.
 *               (Paper, Appendix A.1; what the released collator does otherwise is corrected.)
 *   official    the released collator's statistics: sizes drawn once a batch, one random number for scale and aspect; a side
 *               as long as the grid is cut by one; the last position is never drawn; a context that would be too small first
 *               tries 20 positions, then lets targets overlap, the last first; all contexts are cut to the smallest of the
 *               batch, in raster order. Its endless loop on small grids is not reproduced: when no position can satisfy
 *               min_keep, the last one is taken.
 *   block       one target of scale block_scale, context = the rest
 *   random      one target: a random subset of random_ratio P patches, context = the rest
 *   rasterized  the four quadrants: one drawn as context, three targets
 * In all modes but `official` the masks of a sample depend on (seed, epoch, sample) alone, whatever batch it is in.
 *
 * Every sampler ends, with at least one context patch and one target patch a block, on every grid that masks_check accepts:
 * multiblock draws all blocks again while the context has less than min(min_keep, max(1, P / 4)) patches, MASKS_ATTEMPTS times
 * at most. Then it takes what the last attempt left, if that is anything; else the context is all patches outside the targets;
 * else block 1, 2 ... are laid on block 0 until that has a patch, and one block never covers the grid. */
#ifndef IJ_OPS_MASKS_H
#define IJ_OPS_MASKS_H

#include "ops/op.h"
#include "shaders/masks.h"

typedef enum masks_mode { MASKS_MULTIBLOCK, MASKS_OFFICIAL, MASKS_RANDOM, MASKS_BLOCK, MASKS_RASTERIZED } masks_mode;

/* Zero fields take the defaults in brackets, through masks_defaults. */
typedef struct masks_config {
    masks_mode mode;
    int grid_h, grid_w;   /* patches; no default */
    int blocks;           /* target blocks an image [4; random, block: 1; rasterized: 3] */
    double enc_scale[2];  /* context block, fraction of the patches [.85, 1] */
    double pred_scale[2]; /* target block [.15, .2] */
    double aspect[2];     /* of target blocks, height / width [.75, 1.5] */
    int min_keep;         /* least patches of a context [10] */
    int allow_overlap;    /* the context block keeps what targets cover [0] */
    double context_keep;  /* most patches of a context, as a fraction of all, never below min_keep; not in official [1] */
    double random_ratio;  /* random: fraction of patches that are targets [.6] */
    double block_scale;   /* block: scale of the target [.6] */
} masks_config;

/* Rows that a batch can need; tight for the worst draw. Image: most rows of one image. */
typedef struct masks_limits {
    int64_t context_image, target_block, target_image;
    int64_t context_rows, target_rows, pred_rows; /* of the batch */
} masks_limits;

/* Replaces zero fields by the defaults of the mode. */
void masks_defaults(masks_config *config);

/* A geometry that cannot work is IJ_ERROR_ARGUMENT with the numbers. config must have its defaults. */
ij_status masks_check(const masks_config *config, ij_error *err);

const char *masks_mode_name(masks_mode mode);
ij_status masks_mode_find(const char *name, masks_mode *out, ij_error *err);

masks_limits masks_capacity(const masks_config *config, int64_t batch);

/* The sizes that blocks can have: table[0 .. MASKS_SIZES) of targets, then as many of the context block. Computed on the host,
 * so that the device needs no square root and gives the same bits everywhere; upload it once. */
#define MASKS_TABLE_WORDS (2 * MASKS_SIZES)
void masks_table(const masks_config *config, uint32_t table[MASKS_TABLE_WORDS]);

/* Words of the scratch tensor of op_masks_sample. */
int64_t masks_scratch_words(const masks_config *config, int64_t batch);

typedef struct masks_tensors {
    gpu_tensor params;                                                               /* struct masks_params: seed, epoch, step */
    gpu_tensor sample_ids;                                                           /* [B] */
    gpu_tensor table;                                                                /* [MASKS_TABLE_WORDS] */
    gpu_tensor scratch;                                                              /* [masks_scratch_words] */
    gpu_tensor ctx_offsets, ctx_rows, tgt_offsets, tgt_rows, pred_offsets, pred_src; /* outputs, see above */
} masks_tensors;

/* Draws the masks of a batch and fills all lists. */
ij_status op_masks_sample(gpu_program *program, const masks_config *config, int64_t batch, const masks_tensors *t, ij_error *err);

/* Fills tgt/pred lists and offsets from masks that are given instead of drawn: bits [B, 1 + M, ceil(P / 32)], the context's mask
 * first, then the blocks'. */
ij_status op_masks_lists(gpu_program *program, const masks_config *config, int64_t batch, gpu_tensor bits, const masks_tensors *t,
                         ij_error *err);

/* ---- moves of rows; dim is any, multiples of 4 are faster. f32, but where an element is named ---- */

/* x[r, :] += pos[(rows ? rows[r] : r) % patches, :]. pos: [patches, dim]; rows: [count.max] u32 or a zero tensor. */
ij_status op_add_positions(gpu_program *program, gpu_tensor x, gpu_tensor pos, gpu_tensor rows, ij_rows count, int64_t dim, int64_t patches,
                           ij_error *err);

/* The lists that the predictor's ops read. */
typedef struct pred_lists {
    gpu_tensor ctx_offsets, ctx_rows, tgt_rows, pred_offsets, pred_src;
    int64_t batch, blocks, patches;
    int64_t context_rows, target_rows, pred_rows; /* capacities */
} pred_lists;

/* out[pr, :] = (context row ? embed[r_c, :] : mask_token[:]) + pos[patch, :]. embed: [context rows, dim]; pos: [patches, dim];
 * out: [predictor rows, dim]. */
ij_status op_predictor_input(gpu_program *program, const pred_lists *lists, gpu_tensor embed, gpu_tensor mask_token, gpu_tensor pos,
                             gpu_tensor out, int64_t dim, ij_error *err);

/* dembed[r_c, :] = sum over blocks of dout at that row; dmask_token[:] (+)= sum of dout over all mask rows.
 * scratch: [ceil(pred_rows / MASKS_CHUNK), dim] f32. dembed is f32, f16 or bf16. */
ij_status op_predictor_input_bwd(gpu_program *program, const pred_lists *lists, gpu_tensor dout, gpu_tensor dembed, gpu_tensor dmask_token,
                                 gpu_tensor scratch, int64_t dim, bool accumulate, ij_error *err);
int64_t predictor_input_bwd_scratch(const pred_lists *lists, int64_t dim); /* elements */

/* out[r_t, :] = x[predictor row of mask token r_t, :]. x: [predictor rows, dim]; out: [target rows, dim]; both f32, f16 or bf16. */
ij_status op_predictor_output(gpu_program *program, const pred_lists *lists, gpu_tensor x, gpu_tensor out, int64_t dim, ij_error *err);

/* dx[pr, :] = mask row ? dout[r_t, :] : 0. Writes every predictor row. Both f32, f16 or bf16. */
ij_status op_predictor_output_bwd(gpu_program *program, const pred_lists *lists, gpu_tensor dout, gpu_tensor dx, int64_t dim,
                                  ij_error *err);

/* What the configuration means in numbers: the sampler's push constants, for the device and for the reference. */
struct masks_push masks_plan(const masks_config *config, int64_t batch);

/* ---- references ---- */

/* Masks of one image before official's cut: context [P] and targets [M, P] of 0 or 1. */
void ref_masks_image(const masks_config *config, const uint32_t *table, const struct masks_params *params, uint32_t sample,
                     uint8_t *context, uint8_t *targets);

/* Everything that op_masks_sample writes, on the host; lists have room for masks_capacity. */
typedef struct masks_lists {
    uint32_t *ctx_offsets, *ctx_rows, *tgt_offsets, *tgt_rows, *pred_offsets, *pred_src;
} masks_lists;
ij_status ref_masks_sample(const masks_config *config, const uint32_t *table, const struct masks_params *params, const uint32_t *sample_ids,
                           int64_t batch, const masks_lists *lists, ij_error *err);
/* The same from given masks, bytes of 0 or 1: context [B, P], targets [B, M, P]. cut: official's truncation. */
void ref_masks_lists(const masks_config *config, const uint8_t *context, const uint8_t *targets, int64_t batch, bool cut,
                     const masks_lists *lists);

/* What a mask configuration does over many images. */
typedef struct masks_stats {
    int64_t images;
    double context_mean, context_min, context_max; /* patches of a context, as a fraction of all */
    double target_mean, target_min, target_max;    /* of one block */
    double union_mean;                             /* patches in any target block */
    double block_overlap_mean;                     /* patches in two or more target blocks */
    int64_t leaks;                                 /* images whose context has a target patch */
    int64_t below_min_keep;                        /* images with less context than min_keep */
    double *context_coverage;                      /* [P] how often a patch is context; free with masks_stats_free */
    double *target_coverage;                       /* [P] how often a patch is in any target */
} masks_stats;
/* Statistics of `batches` batches of `batch` samples 0, 1, 2 ... with the given seed. */
ij_status masks_measure(const masks_config *config, uint64_t seed, int64_t batches, int64_t batch, masks_stats *out, ij_error *err);
void masks_stats_free(masks_stats *stats);

void ref_add_positions(double *x, const double *pos, const uint32_t *rows, int64_t count, int64_t dim, int64_t patches);

typedef struct ref_lists {
    const uint32_t *ctx_offsets, *ctx_rows, *tgt_rows, *pred_offsets, *pred_src;
    int64_t batch, blocks, patches;
} ref_lists;
void ref_predictor_input(const ref_lists *lists, const double *embed, const double *mask_token, const double *pos, double *out,
                         int64_t dim);
void ref_predictor_input_bwd(const ref_lists *lists, const double *dout, double *dembed, double *dmask_token, int64_t dim, bool accumulate);
void ref_predictor_output(const ref_lists *lists, const double *x, double *out, int64_t dim);
void ref_predictor_output_bwd(const ref_lists *lists, const double *dout, double *dx, int64_t dim);

#endif
