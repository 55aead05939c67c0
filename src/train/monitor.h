/* The collapse monitor: is the representation still about the image?      layer: train; uses: base, gpu, ops, model
 *
 * Looks, every so many steps, at what a pass left on the device: the target encoder's features y of all patches, targets and
 * predictions of the target rows. No further forward pass, but where the step has no such features (meta.targets: pixels,
 * meta.target_mask: input): there a look runs the target encoder over the whole images itself, so that y is always what evaluation uses.
 *   RankMe             of y [batch patches, dim] and of the predictions [target rows, dim], from their Gram matrices, not centred
 *   cosine             mean over all pairs of images; a target's image is the mean of its patches' y (the feature that evaluation
 *                      uses), a prediction's the mean of its predictions
 *   position variance  across images at the same position / across all rows; of the targets (y after their LayerNorm; with pixels,
 *                      the normalised patches) at all positions, of the predictions at the positions that are targets in two images
 *                      or more. With target_mask: input a target exists at target rows only, and is treated as the predictions are
 *   trivial loss       of predicting, for each target row, the mean target of its position over the other images of the batch
 *   loss               of the predictor on this micro-batch, unscaled
 *   spectrum           of the covariance of y; the share of images in it, and the LiDAR-like rank: train/spectrum.h
 *   EMA distance       |encoder - target encoder| / |encoder| over all their weights, those that the pass used
 * The device computes all but the predictions' cosine and position variance, for which rows are grouped by a position that only the
 * masks know: predictions and masks are read back (target rows x dim floats a look) and grouped on the host; with target_mask: input
 * the targets too. */
#ifndef IJ_TRAIN_MONITOR_H
#define IJ_TRAIN_MONITOR_H

#include "model/jepa.h"
#include "train/verdict.h"

typedef struct ij_monitor ij_monitor;

/* The jepa must be built and live longer. */
ij_status ij_monitor_create(ij_jepa *jepa, ij_monitor **out, ij_error *err);
void ij_monitor_destroy(ij_monitor *monitor); /* NULL is fine; the device must be idle */

/* Queues the look behind the pass that was queued last. */
ij_status ij_monitor_record(ij_monitor *monitor, ij_error *err);

/* Waits for the look and fills sample; what a batch of one image cannot tell is NaN. */
ij_status ij_monitor_read(ij_monitor *monitor, ij_monitor_sample *sample, ij_error *err);

/* Takes the sample of a step into the history and judges; reason gets one sentence. */
ij_verdict ij_monitor_judge(ij_monitor *monitor, int64_t step, const ij_monitor_sample *sample, char *reason, size_t reason_bytes);

/* The latest verdict. */
ij_verdict ij_monitor_verdict(const ij_monitor *monitor);

/* ---- its host part, for tests ---- */

/* Of x [rows, dim], row r at place[r] = image x patches + position: the mean cosine between images' means, and the variance at the same
 * position as a part of the variance of those rows whose position occurs twice or more. NaN where there are less than two images, or no
 * such rows. */
ij_status ij_grouped_stats(const float *x, const uint32_t *place, int64_t rows, int64_t images, int64_t patches, int64_t dim,
                           double *cosine, double *position_variance, ij_error *err);

/* Of the same rows: the mean loss (LOSS_SMOOTH_L1, LOSS_L2, LOSS_L1) of predicting, for each row, the mean row of its position in the
 * other images. Rows whose position no other image has are left out; NaN where none is left. Image-major: all rows of image 0 first. */
ij_status ij_grouped_trivial(const float *x, const uint32_t *place, int64_t rows, int64_t images, int64_t patches, int64_t dim,
                             uint32_t kind, double *loss, ij_error *err);

#endif
