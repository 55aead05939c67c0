/* layer: eval; uses: search_query, features, base, io, data, gpu, model, train */
#include "eval/search_query.h"
#include "base/file.h"
#include "base/memory.h"
#include "eval/features.h"
#include "io/image.h"
#include "model/precision.h"
#include "train/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PICTURE_BYTES_MAX ((int64_t)4 << 20) /* as embedding a data set has it */

typedef struct encoding {
    const ij_feature_index *index;
    const ij_search_query *query;
    ij_preprocess preprocess; /* as the model file says */
    ij_train_config config;   /* of the size that the index has */
    char checkpoint[4600];
    ij_embed_output output;
    bool context;
    ij_dataset *picture;
    gpu_device *device;
    ij_weights *weights;
    ij_embedder *embedder;
} encoding;

static ij_status understand_index(encoding *e, ij_error *err) {
    const ij_feature_index *x = e->index;
    bool last = strcmp(x->layers, "last") == 0;
    e->context = strcmp(x->encoder, "context") == 0;
    e->output = last ? IJ_EMBED_LAST : IJ_EMBED_LAST4;
    if ((!last && strcmp(x->layers, "last4") != 0) || (!e->context && strcmp(x->encoder, "target") != 0))
        return ij_fail(err, IJ_ERROR_FORMAT, "index: encoder \"%s\", layers \"%s\": a picture cannot be encoded so", x->encoder, x->layers);
    return IJ_OK;
}

static ij_status open_model(encoding *e, ij_error *err) {
    const char *model = e->query->model ? e->query->model : e->index->run;
    int64_t step;
    ij_status status = ij_checkpoint_find(model, e->checkpoint, sizeof e->checkpoint, NULL, 0, err);
    if (status != IJ_OK && !e->query->model) ij_hint(err, "the index was made with this run; where it is now: --model RUN");
    IJ_TRY(status);
    IJ_TRY(ij_checkpoint_config(e->checkpoint, &e->config, &step, err));
    ij_model_config *m = &e->config.model;
    ij_preprocess_wish wish = {.height = e->index->height, .width = e->index->width};
    IJ_TRY(ij_preprocess_settle(&e->config.preprocess, &wish, m->image_height, m->image_width, &e->preprocess, err));
    m->image_height = e->preprocess.height, m->image_width = e->preprocess.width;
    return ij_model_check(&e->config.model, err);
}

/* A file that cannot be read is said here: a pass over a data set would only count it. */
static ij_status open_picture(encoding *e, const char *path, ij_error *err) {
    ij_image image = {0};
    ij_status status = ij_image_read(path, e->config.channels, &image, err);
    ij_image_free(&image);
    IJ_TRY(status);
    return ij_dataset_open_files(&path, 1, &(ij_dataset_desc){.channels = e->config.channels, .pad_to = e->config.pad_to}, &e->picture,
                                 err);
}

static ij_status check_mark(encoding *e, ij_error *err) {
    char mark[IJ_MODEL_MARK];
    IJ_TRY(ij_model_mark(e->weights, e->context ? IJ_SLOT_WEIGHT : IJ_SLOT_TARGET, mark, err));
    if (strcmp(mark, e->index->model) == 0) return IJ_OK;
    ij_status status = ij_fail(err, IJ_ERROR_MISMATCH, "%s has weights %s, the index is of weights %s: their features cannot be compared",
                               e->checkpoint, mark, e->index->model);
    ij_hint(err, "the run has gone on, or is another: embed again, or name the checkpoint with --model");
    return status;
}

static ij_status open_weights(encoding *e, ij_error *err) {
    gpu_element element;
    IJ_TRY(gpu_device_open(&e->query->device, &e->device, err));
    IJ_TRY(ij_precision_resolve(e->device, IJ_PRECISION_AUTO, &element, NULL, 0, err));
    IJ_TRY(ij_weights_create(e->device, &e->config.model, e->context ? IJ_KEEP_CONTEXT : IJ_KEEP_TARGET, &e->weights, err));
    IJ_TRY(ij_weights_keep_half(e->weights, element, err));
    IJ_TRY(ij_weights_commit(e->weights, err));
    IJ_TRY(ij_checkpoint_read(e->checkpoint, e->weights, err));
    return check_mark(e, err);
}

static ij_status encode(encoding *e, float *out, ij_error *err) {
    const ij_train_config *c = &e->config;
    bool idx = !ij_is_folder(e->index->data) && ij_file_exists(e->index->data);
    int64_t picture_bytes;
    IJ_TRY(ij_features_room(gpu_device_info(e->device), e->picture, &e->preprocess, 1, PICTURE_BYTES_MAX, &picture_bytes, err));
    ij_features_desc desc = {.batch = 1,
                             .preprocess = e->preprocess,
                             .whole = e->query->whole || idx || !c->random_crop,
                             .picture_bytes = picture_bytes,
                             .what = "query"};
    ij_embed_desc embed = {.model = c->model,
                           .batch = 1,
                           .pixel_bytes = ij_features_pixel_bytes(&desc),
                           .output = e->output,
                           .context = e->context,
                           .filter = e->preprocess.filter};
    memcpy(embed.mean, c->mean, sizeof embed.mean);
    memcpy(embed.std, c->std, sizeof embed.std);
    IJ_TRY(ij_embedder_create(e->device, &embed, e->weights, &e->embedder, err));
    if (ij_embedder_dim(e->embedder) != e->index->dim)
        return ij_fail(err, IJ_ERROR_MISMATCH, "index: %d features an image, its model gives %d", e->index->dim,
                       ij_embedder_dim(e->embedder));
    ij_features features;
    IJ_TRY(ij_features_collect(e->picture, &desc, &e->embedder, 1, &features, err));
    memcpy(out, features.x[0], (size_t)e->index->dim * sizeof *out);
    ij_features_free(&features);
    return IJ_OK;
}

ij_status ij_search_encode(const ij_feature_index *index, const char *picture, const ij_search_query *query, float *out, ij_error *err) {
    encoding *e; /* its configuration is too much for a thread's stack */
    IJ_TRY(ij_alloc(&e, 1, sizeof *e, "query", err));
    e->index = index;
    e->query = query;
    ij_status status = understand_index(e, err);
    if (status == IJ_OK) status = open_model(e, err);
    if (status == IJ_OK) status = open_picture(e, picture, err);
    if (status == IJ_OK) status = open_weights(e, err);
    if (status == IJ_OK) status = encode(e, out, err);
    ij_embedder_destroy(e->embedder);
    ij_weights_destroy(e->weights);
    gpu_device_close(e->device);
    ij_dataset_close(e->picture);
    free(e);
    return status;
}
