/* Features of a whole data set, from any number of encoders in one pass over its pictures; and the cache that keeps them.
 * layer: eval; uses: base, io, data, gpu, model
 *
 * Batches are read ahead by the loader's threads, and two are under way on the device (model/embed.h), so reading, computing and
 * what is done with the results overlap. Memory does not grow with the data set, but for what is kept of it. */
#ifndef IJ_EVAL_FEATURES_H
#define IJ_EVAL_FEATURES_H

#include "data/loader.h"
#include "eval/feature_file.h"
#include "eval/samples.h"
#include "model/embed.h"

#include <stdbool.h>

#define FEATURE_SETS_MAX 4

typedef struct ij_features_desc {
    int batch;                /* [32] */
    uint64_t seed;            /* of the shuffle whose first `limit` are taken */
    int64_t limit;            /* [all] */
    ij_preprocess preprocess; /* settled (data/preprocess.h) [trained] */
    bool whole;               /* "trained" is the whole image [the centre: short side to 256 / 224 of the size, centre crop] */
    int64_t picture_bytes;    /* most pixels kept of one picture; larger ones are averaged down, as in training */
    void (*progress)(void *user, const char *what, int64_t done, int64_t total);
    bool (*stop)(void *user);                         /* asked before each batch; true ends the pass with IJ_ERROR_STOPPED [never] */
    void (*on_damaged)(void *user, const char *text); /* an image that cannot be read, one line [not told] */
    void (*message)(void *user, const char *line);    /* what a person should know: a damaged file of the cache [not told] */
    void *user;
    const char *what;
} ij_features_desc;

/* Bytes of pixels that a batch of such a pass can have: what embedders must have room for. */
uint64_t ij_features_pixel_bytes(const ij_features_desc *desc);

/* Most bytes a picture may have, in batches of this many, for a device and data set: what an IDX file's images need, else what a batch leaves
 * each, at most `most`. */
int64_t ij_features_picture_bytes(const gpu_info *info, const ij_dataset *dataset, int batch, int64_t most);

/* The same with what `how`, settled, needs: resized on the host, a picture is as large as the input, and a batch for which a device has no room
 * is IJ_ERROR_ARGUMENT. */
ij_status ij_features_room(const gpu_info *info, const ij_dataset *dataset, const ij_preprocess *how, int batch, int64_t most, int64_t *out,
                           ij_error *err);

/* ---- a pass ---- */

/* A batch's images that could be read, in the order of the pass: count of them, each one's index in the data set and label, and of
 * embedder s rows[s], [count, ij_embedder_floats]. */
typedef ij_status (*ij_features_sink)(void *user, int count, const int64_t *samples, const int *labels, float *const *rows, ij_error *err);

typedef struct ij_features_pass {
    int64_t count;   /* images */
    int64_t damaged; /* that could not be read; they are left out */
    double seconds;
} ij_features_pass;

/* Embedders have desc's batch and room for ij_features_pixel_bytes. No image that can be read is IJ_ERROR_FORMAT. */
ij_status ij_features_stream(const ij_dataset *dataset, const ij_features_desc *desc, ij_embedder *const *embedders, int embedder_count,
                             ij_features_sink sink, void *sink_user, ij_features_pass *out, ij_error *err);

/* ---- in memory ---- */

typedef struct ij_features {
    int64_t count;
    int sets;
    int dim[FEATURE_SETS_MAX];        /* floats of an image */
    float *x[FEATURE_SETS_MAX];       /* [count, dim] of an embedder */
    double seconds[FEATURE_SETS_MAX]; /* the device's, for them; without timestamps the pass's; 0: from the cache */
    int64_t *samples;                 /* [count] an image's place in the data set */
    int *labels;                      /* [count] the data set's own */
    int64_t damaged;                  /* images that could not be read; they are left out */
} ij_features;

/* out is ij_features_free()d by the caller when it succeeds. */
ij_status ij_features_collect(const ij_dataset *dataset, const ij_features_desc *desc, ij_embedder *const *embedders, int embedder_count,
                              ij_features *out, ij_error *err);
void ij_features_free(ij_features *features);

/* Names of a data set's classes, one a line, as files of features keep them; free() *out. NULL: there are none. */
ij_status ij_features_classes(const ij_dataset *dataset, char **out, ij_error *err);

/* ---- raw pixels ---- */

#define PIXELS_SIDE_MAX 32 /* pictures are shrunk to this: what a nearest neighbour of pixels can use */

/* The picture after crop and resize to the model's size, or to PIXELS_SIDE_MAX where that is less, normalised as the model's input: what
 * an embedder is made from. batch and pixel_bytes are the caller's. */
ij_embed_desc ij_pixels_embed(const ij_model_config *model, const float mean[3], const float std[3]);

/* ---- the cache ---- */

/* What makes features, as far as it changes them. */
typedef struct ij_features_source {
    gpu_device *device;
    ij_embed_desc embed;      /* pooled or pixels; batch and pixel_bytes are set from the pass */
    ij_weights *weights;      /* NULL with IJ_EMBED_PIXELS */
    char mark[IJ_MODEL_MARK]; /* ij_model_mark of the encoder; "" for pixels */
} ij_features_source;

/* 16 hexadecimal digits: ij_checksum over the encoder's mark, which encoder, output and precision, sizes, mean and deviation, crop, resize and resampler, cap, JPEG
 * decoder, limit and seed, ij_dataset_mark and the first image's name. Not over the device: two devices' features differ by rounding. */
ij_status ij_features_key(const ij_dataset *dataset, const ij_features_desc *desc, const ij_features_source *source,
                          char out[IJ_MODEL_MARK], ij_error *err);

/* ij_features_collect with a memory: features that `folder` holds as KEY.safetensors (eval/feature_file.h) are read, verified by their
 * checksum; those of the other sources are made in one pass and kept there. hits [source_count] (may be NULL): which were read. Embedders are
 * made for what is missing alone. A damaged file is remade, and a folder that cannot be written is no failure; both are told to
 * desc->message. folder NULL: nothing is read or kept. */
ij_status ij_features_cached(const ij_dataset *dataset, const ij_features_desc *desc, const ij_features_source *sources, int source_count,
                             const char *folder, ij_features *out, bool *hits, ij_error *err);

#endif
