/* From the monitor's numbers to a verdict.      layer: train; uses: nothing below
 *
 * The question is whether the representation is still about the image. Signs, as medians of the last VERDICT_WINDOW looks:
 *   - loss against the trivial predictor's loss (which knows the position and no image). Below 1 the predictor uses the context.
 *   - the trivial loss against the first look's. It measures how much the targets of one position differ between images, on an absolute
 * scale, since every target is normalised. Learning lets it grow; collapse is its fall.
 *   - the mean cosine between images' pooled features.
 * RankMe and the target's position variance are reported, not judged: while the features of all images become one, the positional part
 * shrinks as well, and both can look as in a healthy run.
 *
 * Measured on Fashion-MNIST, 32 x 32, patch 4, encoder 64 x 3, 24,000 images (kNN: before training -> after):
 *   run                             loss / trivial     trivial, first -> last   cosine   variance of predictions   kNN
 *   lr 2e-3, no regulariser         1.12               .0229 -> .0012           .9996    4e-5                      53.6 -> 53.5  collapsed
 *   lr 1e-3, batch 64, none         1.43               -> .0103                 .997     .014                      45.6 -> 62.7, falling
 *   lr 2e-3, vicreg .1              .66 (3.2 at 2,400 images, 1.1 at 4,800)    .0229 -> .21   .45   .32            53.6 -> 65.5
 *   larger initial weights, none    .55                -> .159                  .79      .55                       61.7 -> 66.7
 *   larger initial weights, vicreg  .65                .124 -> .252             .32      .46                       59.9 -> 70.3 */
#ifndef IJ_TRAIN_VERDICT_H
#define IJ_TRAIN_VERDICT_H

#include <stddef.h>
#include <stdint.h>

typedef enum ij_verdict { IJ_VERDICT_HEALTHY, IJ_VERDICT_WARNING, IJ_VERDICT_COLLAPSED } ij_verdict;
const char *ij_verdict_name(ij_verdict verdict); /* "healthy", "warning", "collapsed" */

typedef struct ij_monitor_sample {
    double loss;         /* of the predictor, on this micro-batch */
    double trivial_loss; /* of predicting the mean target of each position over the other images */
    double rankme_target, rankme_prediction;
    double cosine_target, cosine_prediction;                       /* mean pairwise cosine of images' means */
    double position_variance_target, position_variance_prediction; /* across images at the same position, as a part of the total */
} ij_monitor_sample;

#define VERDICT_WINDOW 3

/* Of the last 2 x VERDICT_WINDOW looks; zeroed: none yet. */
typedef struct ij_verdict_history {
    ij_monitor_sample samples[2 * VERDICT_WINDOW]; /* newest last */
    int64_t count;                                 /* looks taken in so far */
    double first_trivial;
    ij_verdict verdict;  /* given out */
    ij_verdict proposed; /* the last look's own; given out when two looks in a row agree */
} ij_verdict_history;

/* Takes a look in and judges; reason gets one sentence. A batch of one image (NaN in sample) is never judged. */
ij_verdict ij_verdict_judge(ij_verdict_history *history, int64_t step, const ij_monitor_sample *sample, char *reason, size_t reason_bytes);

#endif
