/* From the monitor's numbers to a verdict.      layer: train; uses: base
 *
 * The question is whether the representation is still about the image. Signs, as medians of the last VERDICT_WINDOW looks:
 *   rank      RankMe of the targets' patches against the first look's. Its fall is collapse of either kind.
 *   trivial   the loss of the trivial predictor (which knows the position and no image) against the first look's. It measures how much the
 *             targets of one position differ between images, on an absolute scale, since every target is normalised. Learning lets it grow.
 *   ratio     loss / trivial loss. Below 1 the predictor uses the context; that alone is no proof (second run below).
 *   cosine    mean, between images' pooled features.
 * The targets' position variance is reported, not judged: where the features of all images become one, the positional part shrinks as well,
 * and it rose in both collapsed runs.
 *
 * Measured in PyTorch on Fashion-MNIST, 32 x 32, patch 4, encoder 64 x 3, batch 32, 24,000 images (start -> end; kNN on 10,000):
 *   run                                    rank          trivial          ratio   cosine           kNN
 *   plain, lr 2e-3, three channels         11.8 -> 2.4   .0229 -> .0012   1.12    .993 -> .9996    53.6 -> 53.5   collapsed to the position
 *   plain, lr 2e-3, one channel             9.9 -> 4.0   .0076 -> .035    .55     .998 -> .966     45.6 -> 48.4   collapsed to few directions
 *   plain, lr 1e-3, larger init            21.4 -> 20.6  .141  -> .159    .55     .93  -> .79      61.7 -> 66.7   learns (lowest rank 19.0)
 *   vicreg .1, lr 2e-3, one channel        10.1 -> 21.0  .0073 -> .140    .69     .998 -> .59      44.9 -> 68.3   learns
 *   vicreg .1, lr 2e-3, three channels     11.8 -> 22.0  .0229 -> .21     .66     .993 -> .45      53.6 -> 65.5   learns
 * Measured by tools/collapse_study.sh on the same data and model, one channel, 600 steps of 32 images, a look every 10 steps, seeds 0 to 4; kNN
 * with 5,000 training and 2,000 test images, for plain every 50 steps, and "falls" is the first that is 5 points below the best so far:
 *   plain              collapsed at step 181, 211, 171, 231, 231; kNN falls at 300, 250, 450, 250, 350
 *                      kNN at random 41 to 44, best 56.6 to 64.1 (step 150 to 200), last 47.4 to 55.0; rank 10 -> 2.6 to 3.7
 *   vicreg .1          healthy throughout; kNN last 64.6 to 67.4; rank 10 -> 19 to 20
 *   sigreg .003        healthy throughout; kNN last 62.6 to 68.1; rank 10 -> 13.5 to 14.3
 * The limits that name the rank's height and start together were set with plain's seeds 0 to 3 in sight, and that on the cosine with sigreg's
 * seed 4. A verdict takes about five looks from its first sign: 50 steps here, 250 at the default of a look every 50, and then kNN
 * may be first. Other sets, 400 steps, one seed: a single class (one garment): plain collapsed at step 111 and 121, vicreg and sigreg never,
 * with warnings while the predictor was no better than the trivial one. Pictures all the same: collapsed at the fourth look whatever the
 * recipe, for there is nothing to tell apart; pictures of one shade each: plain collapsed, vicreg and sigreg healthy.
 * A fresh network looks collapsed itself (cosine .998), so the signs are read against the first look, which should be step 0; a resumed
 * run reads its earlier looks from its log. */
#ifndef IJ_TRAIN_VERDICT_H
#define IJ_TRAIN_VERDICT_H

#include <stddef.h>
#include <stdint.h>

#include "train/spectrum.h"

typedef enum ij_verdict { IJ_VERDICT_HEALTHY, IJ_VERDICT_WARNING, IJ_VERDICT_COLLAPSED } ij_verdict;
const char *ij_verdict_name(ij_verdict verdict); /* "healthy", "warning", "collapsed" */

typedef struct ij_monitor_sample {
    double loss;         /* of the predictor, on this micro-batch */
    double trivial_loss; /* of predicting the mean target of each position over the other images */
    double rankme_target, rankme_prediction;
    double cosine_target, cosine_prediction;                       /* mean pairwise cosine of images' means */
    double position_variance_target, position_variance_prediction; /* across images at the same position, as a part of the total */
    /* Not judged: */
    double lidar_target, image_share_target, top_share_target; /* train/spectrum.h */
    double ema_distance;                                       /* |encoder - target encoder| / |encoder|, over all weights */
    int spectrum_count;
    int spectrum_at[IJ_SPECTRUM_POINTS];        /* which eigenvalues of the targets' covariance, from 1 on */
    double spectrum_target[IJ_SPECTRUM_POINTS]; /* these */
} ij_monitor_sample;

#define VERDICT_WINDOW 3

/* Of the last 2 x VERDICT_WINDOW looks; zeroed: none yet. */
typedef struct ij_verdict_history {
    ij_monitor_sample samples[2 * VERDICT_WINDOW]; /* newest last */
    int64_t count;                                 /* looks taken in so far */
    double first_trivial, first_rank;
    double highest_rank; /* of any window's median */
    ij_verdict verdict;  /* given out */
    ij_verdict proposed; /* the last look's own; given out when two looks in a row agree */
} ij_verdict_history;

/* Takes a look in and judges; reason gets one sentence. A batch of one image (NaN in sample) is never judged. */
ij_verdict ij_verdict_judge(ij_verdict_history *history, int64_t step, const ij_monitor_sample *sample, char *reason, size_t reason_bytes);

#endif
