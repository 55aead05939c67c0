/* What a model is: sizes of encoder and predictor, and the presets by their released names.      layer: model; uses: base */
#ifndef IJ_MODEL_CONFIG_H
#define IJ_MODEL_CONFIG_H

#include "base/error.h"

#include <stdint.h>

/* What the predictor predicts (Assran et al. 2023, table 7). PIXELS: the normalised pixels of the hidden patches, as MAE does (He et al.
 * 2022), by the same predictor, whose last layer is then [patch_dim, pred_dim]. The target encoder has no part in that loss; its moving
 * average goes on, since it is what is evaluated. */
typedef enum ij_targets { IJ_TARGETS_LATENT, IJ_TARGETS_PIXELS } ij_targets;

/* Where a target block is cut out (table 11). OUTPUT: the target encoder sees the whole image, the block is cut out of what it gives.
 * INPUT: it sees the block's patches alone, every block as an image of its own. */
typedef enum ij_target_mask { IJ_TARGET_MASK_OUTPUT, IJ_TARGET_MASK_INPUT } ij_target_mask;

typedef struct ij_model_config {
    int image_height, image_width; /* pixels; multiples of patch_size */
    int patch_size, channels;
    int dim, depth, heads, hidden; /* encoder: width, blocks, attention heads, MLP width */
    int pred_dim, pred_depth, pred_heads, pred_hidden;
    float norm_eps;             /* LayerNorm of both nets; the targets' own is 1e-5, that of pixels 1e-6 */
    ij_targets targets;         /* [latent] */
    ij_target_mask target_mask; /* [output]; pixels have no encoder to mask */
} ij_model_config;

/* Fills the sizes of a preset: vit_tiny, vit_small, vit_base, vit_large, vit_huge, vit_giant (Assran et al. 2023, appendix A.1;
 * predictor width 384, depth 6 up to vit_base, 12 for large and huge, 16 for giant). Leaves image and patch sizes alone.
 * Fails with the list of presets. */
ij_status ij_model_preset(const char *name, ij_model_config *config, ij_error *err);

/* The preset whose width, depth and MLP width of the encoder these are; NULL: none. */
const char *ij_model_preset_of(const ij_model_config *config);

/* Every size must be possible; the error names the two numbers that do not fit. */
ij_status ij_model_check(const ij_model_config *config, ij_error *err);

static inline int ij_grid_height(const ij_model_config *c) { return c->image_height / c->patch_size; }
static inline int ij_grid_width(const ij_model_config *c) { return c->image_width / c->patch_size; }
static inline int ij_patches(const ij_model_config *c) { return ij_grid_height(c) * ij_grid_width(c); }
static inline int ij_patch_dim(const ij_model_config *c) { return c->channels * c->patch_size * c->patch_size; }

/* Numbers that the predictor gives for a patch. */
static inline int ij_target_dim(const ij_model_config *c) { return c->targets == IJ_TARGETS_PIXELS ? ij_patch_dim(c) : c->dim; }

/* Fixed 2-D sine-cosine positions for any grid (Assran et al. 2023, section 3; the released layout): out [height*width, dim] f32.
 * The first half of dim encodes the column, the second the row; each half is [sin | cos] over dim/4 frequencies 10000^(-i/(dim/4)). */
void ij_positions(int height, int width, int dim, float *out);

#endif
