/* The features of a data set into a file.       layer: eval; uses: base, io, data, gpu, model, train */
#ifndef IJ_EVAL_EMBED_DATA_H
#define IJ_EVAL_EMBED_DATA_H

#include "eval/features.h"
#include "model/precision.h"

typedef struct ij_embed_data_options {
    gpu_device_desc device;
    const char *out;                         /* by its ending: eval/feature_file.h */
    ij_embed_output output;                  /* no pixels [last] */
    bool context;                            /* the context encoder [the target encoder] */
    ij_precision precision;                  /* [auto] */
    int height, width;                       /* [the trained size] */
    const char *resize, *filter, *resampler; /* data/preprocess.h [as the model file says] */
    const char *positions;                   /* ij_weights_choose_positions */
    bool whole;                              /* [IDX files, and runs that trained on whole images: the whole; else the centre] */
    int batch;                               /* [32] */
    void (*progress)(void *user, const char *what, int64_t done, int64_t total); /* [none] */
    bool (*stop)(void *user);                                                    /* [never] */
    void (*on_damaged)(void *user, const char *text);                            /* [not told] */
    void (*message)(void *user, const char *line);                               /* things a user should see of the model [not told] */
    void *user;
} ij_embed_data_options;

typedef struct ij_embed_data_result {
    int64_t count, damaged;
    int dim, patches, height, width; /* patches 1: pooled */
    char mark[IJ_MODEL_MARK];
    char device[256], precision[300];
    double seconds, busy; /* of the pass; the device's part of them, NaN without timestamps */
} ij_embed_data_result;

/* model: a run folder (its newest intact checkpoint) or a checkpoint. data: one folder, one IDX file, or pictures. */
ij_status ij_embed_data(const char *model, const char *const *data, int count, const ij_embed_data_options *options,
                        ij_embed_data_result *result, ij_error *err);

#endif
