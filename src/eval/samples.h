/* Labelled feature vectors, what kNN and the linear probe work on, and what is said about accuracies.      layer: eval; uses: base */
#ifndef IJ_EVAL_SAMPLES_H
#define IJ_EVAL_SAMPLES_H

#include "base/error.h"

#include <stdint.h>

/* A view: the memory is somebody else's. */
typedef struct ij_samples {
    const float *x;    /* [count, dim] */
    const int *labels; /* [count], 0 .. classes - 1 */
    int64_t count;
    int dim, classes;
} ij_samples;

/* No samples, no features, or a label that is not below classes is IJ_ERROR_ARGUMENT; a feature that is not finite IJ_ERROR_NUMBER. `name`
 * is for the text. */
ij_status ij_samples_check(const ij_samples *samples, const char *name, ij_error *err);

/* A class of the test samples that no training sample has is IJ_ERROR_ARGUMENT; both have passed ij_samples_check. */
ij_status ij_samples_cover(const ij_samples *train, const ij_samples *test, ij_error *err);

typedef struct ij_accuracy {
    double percent, low, high; /* with the 95 % interval of Wilson (1927), which holds at 0 and 100 % too */
} ij_accuracy;

ij_accuracy ij_accuracy_of(int64_t right, int64_t count);

/* Over runs that differ by their seeds: the mean, with Student's 95 % interval, or the mean of the runs' own intervals where that is wider: all
 * have the same test images, and what another draw of those would change is not in their differences. One run: its own. count >= 1. */
ij_accuracy ij_accuracy_over(const ij_accuracy *runs, int count);

/* Predictions that are right. */
int64_t ij_count_right(const int *predicted, const int *labels, int64_t count);

#endif
