/* Masks, measured and drawn before a run is paid for.       layer: api; uses: base, ops, train, view */
#include "api/api.h"
#include "base/file.h"
#include "base/memory.h"
#include "ops/masks.h"
#include "view/mask_picture.h"

#include <stdlib.h>

#define BATCHES_MAX 100000

static ij_status write_pictures(const ij_train_config *config, const masks_stats *stats, const char *folder, ij_error *err) {
    char path[4096];
    IJ_TRY(ij_make_folders(folder, err));
    IJ_TRY(ij_path_join(path, sizeof path, folder, "coverage.png", err));
    IJ_TRY(ij_mask_picture_coverage(&config->masks, stats, path, err));
    IJ_TRY(ij_path_join(path, sizeof path, folder, "examples.png", err));
    return ij_mask_picture_examples(&config->masks, config->seed, config->batch, path, err);
}

static ijepa_masks_result result_of(const masks_config *masks, const masks_stats *stats) {
    ijepa_masks_result out = {.grid_height = masks->grid_h,
                              .grid_width = masks->grid_w,
                              .blocks = masks->blocks,
                              .context_mean = stats->context_mean,
                              .context_min = stats->context_min,
                              .context_max = stats->context_max,
                              .target_mean = stats->target_mean,
                              .target_min = stats->target_min,
                              .target_max = stats->target_max,
                              .union_mean = stats->union_mean,
                              .overlap_mean = stats->block_overlap_mean,
                              .images = stats->images,
                              .leaks = stats->leaks,
                              .below_min_keep = stats->below_min_keep};
    for (int p = 0; p < masks->grid_h * masks->grid_w; p++) {
        out.never_context += stats->context_coverage[p] == 0;
        out.never_target += stats->target_coverage[p] == 0;
    }
    return out;
}

static ij_status measure(ijepa_config *config, int64_t batches, const char *folder, ij_train_config *read, ijepa_masks_result *result,
                         ij_error *err) {
    masks_stats stats;
    IJ_TRY(api_config_read(config, read, NULL, 0, err));
    IJ_TRY(masks_measure(&read->masks, read->seed, batches, read->batch, &stats, err));
    ij_status status = folder ? write_pictures(read, &stats, folder, err) : IJ_OK;
    if (status == IJ_OK) *result = result_of(&read->masks, &stats);
    masks_stats_free(&stats);
    return status;
}

ijepa_status ijepa_masks(ijepa_config *config, int64_t batches, const char *folder, ijepa_masks_result *result, ijepa_error *err) {
    API_NEED(config);
    API_NEED(result);
    if (batches < 1 || batches > BATCHES_MAX) return api_range(__func__, "batches", (double)batches, "1 to 100000", err);
    ij_error ours = {0};
    ij_train_config *read;
    ij_status status = ij_alloc(&read, 1, sizeof *read, "configuration", &ours);
    if (status == IJ_OK) status = measure(config, batches, folder, read, result, &ours);
    free(read);
    return api_result(status, &ours, err);
}
