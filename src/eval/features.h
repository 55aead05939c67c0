/* Features of a whole data set, from any number of extractors in one pass over its pictures.
 * layer: eval; uses: base, data, gpu, ops, model */
#ifndef IJ_EVAL_FEATURES_H
#define IJ_EVAL_FEATURES_H

#include "data/loader.h"
#include "eval/samples.h"
#include "model/embed.h"

#include <stdbool.h>

#define FEATURE_SETS_MAX 4

/* Turns images into vectors: out [count, dim]. */
typedef struct ij_extractor {
    int dim;
    ij_status (*run)(void *user, const ij_jepa_image *images, int count, const void *pixels, uint64_t pixel_bytes, float *out,
                     ij_error *err);
    void *user;
    double seconds; /* spent in run so far */
} ij_extractor;

typedef struct ij_features_desc {
    int batch;             /* [32] */
    uint64_t seed;         /* of the shuffle whose first `limit` are taken */
    int64_t limit;         /* [all] */
    bool whole;            /* the whole image [the centre: short side to 256 / 224 of the size, centre crop] */
    int64_t picture_bytes; /* most pixels kept of one picture; larger ones are averaged down, as in training */
    void (*progress)(void *user, const char *what, int64_t done, int64_t total);
    void *user;
    const char *what;
} ij_features_desc;

typedef struct ij_features {
    int64_t count;
    int sets;
    int dim[FEATURE_SETS_MAX];
    float *x[FEATURE_SETS_MAX]; /* [count, dim] of an extractor */
    int *labels;                /* [count] the data set's own */
    int64_t damaged;            /* images that could not be read; they are left out */
} ij_features;

/* out is ij_features_free()d by the caller when it succeeds. No image that can be read is IJ_ERROR_FORMAT. */
ij_status ij_features_collect(const ij_dataset *dataset, const ij_features_desc *desc, ij_extractor *extractors, int extractor_count,
                              ij_features *out, ij_error *err);
void ij_features_free(ij_features *features);

/* Bytes of pixels that a batch of such a loader can have: what extractors must have room for. */
uint64_t ij_features_pixel_bytes(const ij_features_desc *desc);

/* ---- raw pixels ---- */

#define PIXELS_SIDE_MAX 32 /* pictures are shrunk to this: what a nearest neighbour of pixels can use */

typedef struct ij_pixels ij_pixels;

/* The picture after crop and resize to the model's size, or to PIXELS_SIDE_MAX where that is less, normalised as the model's input. */
ij_status ij_pixels_create(gpu_device *device, const ij_model_config *model, const float mean[3], const float std[3], int batch,
                           uint64_t pixel_bytes, ij_pixels **out, ij_error *err);
void ij_pixels_destroy(ij_pixels *pixels);
ij_extractor ij_pixels_extractor(ij_pixels *pixels);

/* Mean-pooled features of an embedder with this width. */
ij_extractor ij_embedder_extractor(ij_embedder *embedder, int dim);

#endif
