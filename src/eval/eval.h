/* The paper's evaluation of a run: which tasks, by which methods, of which features.       layer: eval; uses: base, data, gpu, model, train
 *
 * Assran et al. 2023, sections 5 and 6, appendix A.2. Features: the trained target encoder (mean over patches), the same architecture at its
 * random initialisation (the run's seed), raw pixels. A representation is worth its training when it beats both. */
#ifndef IJ_EVAL_EVAL_H
#define IJ_EVAL_EVAL_H

#include "data/dataset.h"
#include "eval/results.h"
#include "gpu/gpu.h"
#include "model/params.h"
#include "train/config.h"

/* An encoder that is being trained: it is evaluated as it is, frozen. The weights' device is the one of ij_eval_options. */
typedef struct ij_eval_live {
    ij_weights *weights; /* all slots */
    const ij_train_config *config;
    int64_t step;
} ij_eval_live;

typedef struct ij_eval_options {
    gpu_device_desc device;
    const char *tasks;                /* "classes", or columns of the scenes' labels.csv, comma-separated ["classes"] */
    const char *methods;              /* names of eval_method, comma-separated ["knn,linear,logistic"] */
    bool all;                         /* tasks classes, count, dist; every method */
    const char *features;             /* names of eval_features, comma-separated [all] */
    const char *encoder;              /* "target", "context" ["target"] */
    const char *precision;            /* ["auto"] */
    const char *train;                /* folder of class folders, or an IDX file [the run's data] */
    const char *test;                 /* likewise [beside train: t10k-images-idx3-ubyte, or the folder val, test or validation] */
    ij_dataset *train_set, *test_set; /* open ones instead of `train` and `test`; shared */
    const ij_eval_live *live;         /* instead of a run: nothing is kept, precision is what the weights keep [none] */
    const char *scenes;               /* folder with train/ and test/, a labels.csv in each [RUN/scenes, rendered when it is needed] */
    int64_t train_limit, test_limit;  /* the first n of a seeded shuffle [all] */
    double knn_temperature;           /* [0.07] */
    int probe_epochs;                 /* [50] */
    int finetune_epochs;              /* [50] */
    double fraction;                  /* low-shot [0.01] */
    int seeds;                        /* low-shot [3] */
    int blocks;                       /* partial [1] */
    uint64_t seed;
    int batch; /* images encoded at once [32] */
    bool no_files;
    void (*progress)(void *user, const char *what, int64_t done, int64_t total); /* [none] */
    void (*message)(void *user, const char *line);                               /* [none] */
    bool (*stop)(void *user);                                                    /* [never] */
    void *user;
} ij_eval_options;

/* run: a run folder (its newest intact checkpoint) or a checkpoint; with `live` a name for the result. Images without labels, a single class, or a test class that the
 * training images lack are errors that say so. A run folder gets eval.json unless no_files. result is ij_eval_result_free()d by the caller
 * when it succeeds. */
ij_status ij_eval_run(const char *run, const ij_eval_options *options, ij_eval_result *result, ij_error *err);

#endif
