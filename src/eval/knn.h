/* Weighted k-nearest-neighbour classification of frozen features.       layer: eval; uses: base, gpu, ops
 *
 * Wu et al. 2018 (arXiv 1805.01978), section 3.4, as DINO uses it: features are scaled to length 1, the k training samples with the
 * largest cosine similarity s vote for their classes with weight exp(s / T). Similarities come from the device's matrix product, a
 * tile of test x train at a time, so memory does not grow with either; the host keeps the best k of each test sample. */
#ifndef IJ_EVAL_KNN_H
#define IJ_EVAL_KNN_H

#include "eval/samples.h"
#include "gpu/gpu.h"

typedef struct ij_knn_desc {
    int k;                                                                       /* neighbours [10], at most the training samples */
    double temperature;                                                          /* [0.07] */
    void (*progress)(void *user, const char *what, int64_t done, int64_t total); /* in samples compared [none] */
    void *user;
} ij_knn_desc;

/* predicted [test->count]. Of equal similarities the sample with the lower index is nearer; of equal votes the lower class wins.
 * test->labels may be NULL. A vector of length 0 has similarity 0 to all. */
ij_status ij_knn(gpu_device *device, const ij_samples *train, const ij_samples *test, const ij_knn_desc *desc, int *predicted,
                 ij_error *err);

#endif
