/* The linear probe of the paper: linear classifiers on frozen features, many settings trained at once.
 * layer: eval; uses: base, data, gpu, ops
 *
 * Assran et al. 2023, appendix A.2 (the protocol of VISSL): momentum 0.9, 50 epochs, the learning rate divided by 10 after 15, 30 and 45 of
 * 50; a sweep over learning rate and weight decay, on the last layer or the last four side by side, each with and without a BatchNorm
 * without parameters (statistics of the batch in training, running ones at test, momentum 0.1, eps 1e-5). Weights start from N(0, 0.01), the
 * same for all heads of an input; biases from 0, with neither decay nor trust ratio.
 *
 * All heads see the same batches in the same order and are trained in one pass: heads that read the same input are one matrix product,
 * [batch, features] x [features, heads x classes]. Features lie on the device for the whole run.
 *
 * The sweep [settings not given], for each input and with and without BatchNorm, times weight decay 0.0005 and 0:
 *   LARS  0.05, 0.01, 0.001           the paper's, trust coefficient 0.001 (You et al. 2017)
 *   SGD   1, 0.25, 0.05, 0.01, 0.001  for sets of thousands of images, whose few steps LARS's small ones do not fill
 * These are reference rates: a head learns with rate x batch / 256 (Goyal et al. 2017). The paper does not say whether its were scaled.
 *
 * A tenth of the training samples (a seeded draw) is held out and chooses the head; of equal ones the stronger decay, then the lower rate. The
 * test samples are only reported. The chosen setting is trained once more on all training samples. */
#ifndef IJ_EVAL_HEADS_H
#define IJ_EVAL_HEADS_H

#include "eval/samples.h"
#include "gpu/gpu.h"

#include <stdbool.h>

#define IJ_HEADS_MAX 96
#define IJ_HEADS_SAMPLES_MIN 10 /* training samples, so that a tenth is one */

typedef struct ij_head_setting {
    bool all_columns; /* all features; else the last layer's, which are the last last_dim columns */
    bool batch_norm;
    bool lars; /* else SGD */
    double lr; /* for a batch of 256 */
    double weight_decay;
} ij_head_setting;

typedef struct ij_heads_desc {
    int last_dim;  /* features of the last layer [all: one input] */
    int epochs;    /* [50] */
    int batch;     /* [a sixteenth of the training samples, at least 32, at most 16384, and what the memory of a tensor holds] */
    uint64_t seed; /* held-out draw, initial weights, order of the batches */
    const ij_head_setting *settings; /* [the sweep] */
    int setting_count;               /* at most IJ_HEADS_MAX */
    bool no_retrain;                 /* report the chosen head as it was trained without the held-out samples */
    float *weights; /* [classes, features of its input + 1] of the reported head, bias last, BatchNorm folded in: they apply to features as
                     * they are [not wanted] */
    void (*progress)(void *user, const char *what, int64_t done, int64_t total); /* in steps [none] */
    void *user;
} ij_heads_desc;

typedef struct ij_head {
    ij_head_setting setting;
    double held_out, test; /* accuracy in percent; test is NaN where the test samples have no labels */
    double loss;           /* mean over the last epoch's batches, as trained; not finite: it diverged */
} ij_head;

typedef struct ij_heads_result {
    int count;
    ij_head head[IJ_HEADS_MAX]; /* trained without the held-out samples */
    int best;                   /* by held-out accuracy */
    double mean_held_out, mean_test;
    int epochs, batch;
    int64_t held_out_samples;
    bool retrained;
    ij_accuracy test; /* of the best: retrained on all training samples, or as it was */
    double loss;      /* of that training */
} ij_heads_result;

/* The samples have passed ij_samples_check. IJ_ERROR_ARGUMENT: different dims, fewer than IJ_HEADS_SAMPLES_MIN training samples, a class that
 * only the test samples have, a batch that is too large. */
ij_status ij_heads_run(gpu_device *device, const ij_samples *train, const ij_samples *test, const ij_heads_desc *desc,
                       ij_heads_result *result, ij_error *err);

#endif
