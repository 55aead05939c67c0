/* Weighted k-nearest-neighbour classification of frozen features.       layer: eval; uses: base, gpu, ops
 *
 * Wu et al. 2018 (arXiv 1805.01978), section 3.4, as DINO uses it: features are scaled to length 1, the k training samples with the
 * largest cosine similarity s vote for their classes with weight exp(s / T). One pass answers for several k.
 *
 * Similarities come from the device's matrix product, a tile of test x train at a time; while the device multiplies, the host takes the best
 * of the tile before. The test samples stay on the device, the training samples pass through it once. */
#ifndef IJ_EVAL_KNN_H
#define IJ_EVAL_KNN_H

#include "eval/samples.h"
#include "gpu/gpu.h"

#define KNN_KS_MAX 8

typedef struct ij_knn_desc {
    int ks[KNN_KS_MAX + 1]; /* numbers of neighbours, ended by 0 [10] */
    double temperature;     /* T [0.07] */
    const int64_t *self;    /* [test->count] a training sample that is no neighbour of this one: leaving one out at a time [none] */
    void (*progress)(void *user, const char *what, int64_t done, int64_t total); /* in training samples compared with all [none] */
    void *user;
} ij_knn_desc;

/* predicted [number of ks, test->count]. Of equal similarities the sample with the lower index is nearer; of equal votes the lower class
 * wins. test->labels may be NULL. A vector of length 0 has similarity 0 to all. More neighbours than training samples (but one with self),
 * and ks or a temperature that are not positive, are IJ_ERROR_ARGUMENT. */
ij_status ij_knn(gpu_device *device, const ij_samples *train, const ij_samples *test, const ij_knn_desc *desc, int *predicted,
                 ij_error *err);

#endif
