/* Rows of an evaluation that leaves the encoder as it is: kNN, linear probes, logistic regression.       layer: eval; uses: base, data, gpu
 *
 * A setting is chosen on training images alone: kNN by leaving out one image at a time, for a seeded draw of at most a tenth of them; the
 * probes on a tenth that they are not fitted to. The test images report. */
#ifndef IJ_EVAL_FROZEN_H
#define IJ_EVAL_FROZEN_H

#include "eval/results.h"
#include "gpu/gpu.h"

typedef struct eval_frozen {
    const char *task;
    eval_features features;
    ij_samples train, test; /* of all layers; the last last_dim columns are the last layer's */
    int last_dim;
    uint64_t seed;
    double temperature; /* of kNN [0.07] */
    int epochs;         /* of the linear probes [50] */
    void (*progress)(void *user, const char *what, int64_t done, int64_t total);
    void *user;
} eval_frozen;

/* Rows of one method are appended to result: every setting that was tried, and the chosen one. */
ij_status ij_frozen_rows(gpu_device *device, const eval_frozen *desc, eval_method method, ij_eval_result *result, ij_error *err);

#endif
