/* What a mask configuration looks like.       layer: view; uses: picture, ops, base */
#ifndef IJ_VIEW_MASK_PICTURE_H
#define IJ_VIEW_MASK_PICTURE_H

#include "ops/masks.h"

/* Two maps of the grid side by side: how often each patch is context, and how often it is in any target block. A patch that is
 * never one of them is seen at once. Each scale begins at 0. PNG. */
ij_status ij_mask_picture_coverage(const masks_config *config, const masks_stats *stats, const char *path, ij_error *err);

/* The masks of the first 24 images of a batch drawn with this seed: context in blue, each target block in a colour of its own. PNG. */
ij_status ij_mask_picture_examples(const masks_config *config, uint64_t seed, int64_t batch, const char *path, ij_error *err);

#endif
