/* What a trained encoder is worth: kNN and a linear probe on its frozen features, beside what costs nothing.
 * layer: eval; uses: base, data, gpu, model, train
 *
 * Rows of the table: the trained target encoder (mean over patches, Assran et al. 2023, appendix A.2), the same architecture at its random
 * initialisation (the run's seed), raw pixels. A representation is worth its training when it beats both. */
#ifndef IJ_EVAL_EVAL_H
#define IJ_EVAL_EVAL_H

#include "eval/samples.h"
#include "gpu/gpu.h"

#define EVAL_ROWS_MAX 8

typedef struct ij_eval_options {
    gpu_device_desc device;
    const char *train;               /* folder of class folders, or an IDX file [the run's data] */
    const char *test;                /* likewise [beside train: t10k-images-idx3-ubyte, or the folder val, test or validation] */
    int64_t train_limit, test_limit; /* the first n of a seeded shuffle [all] */
    int knn_k;                       /* [10] */
    double knn_temperature;          /* [0.07] */
    int probe_iterations;            /* most of one fit [100] */
    uint64_t seed;
    int batch;                                                                   /* images encoded at once [32] */
    void (*progress)(void *user, const char *what, int64_t done, int64_t total); /* [none] */
    void *user;
} ij_eval_options;

typedef struct ij_eval_row {
    char features[64];
    int dim;
    ij_accuracy knn, linear;
    double linear_l2; /* chosen on held-out training images */
} ij_eval_row;

typedef struct ij_eval_result {
    int64_t train_images, test_images, damaged_images, classes;
    int rows;
    ij_eval_row row[EVAL_ROWS_MAX];
    int knn_k;
    double knn_temperature;
    uint64_t seed;
    double seconds;
    double images_per_second; /* of the trained encoder, reading pictures not counted */
} ij_eval_result;

/* run: a run folder (its newest intact checkpoint) or a checkpoint. Images without labels, a single class, or a test class that the
 * training images lack are errors that say so. */
ij_status ij_eval_run(const char *run, const ij_eval_options *options, ij_eval_result *result, ij_error *err);

#endif
