/* layer: eval; uses: base, io, data, gpu, model, train */
#include "eval/embed_data.h"
#include "base/file.h"
#include "base/memory.h"
#include "model/positions.h"
#include "train/checkpoint.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PICTURE_BYTES_MAX ((int64_t)4 << 20) /* of one picture; a larger one is averaged down, as in training */
#define BATCH_MAX 4096

typedef struct embedding {
    const ij_embed_data_options *options;
    ij_preprocess preprocess;
    ij_model_config trained;
    ij_train_config config; /* image size: what was asked for */
    char checkpoint[4600];
    char model_place[PATH_MAX], data_place[PATH_MAX]; /* for the file */
    ij_dataset *dataset;
    gpu_device *device;
    ij_weights *weights;
    ij_embedder *embedder;
    ij_feature_writer *writer;
    ij_features_desc desc;
    int64_t row; /* floats of an image */
} embedding;

/* ---- opening ---- */

static void absolute(const char *path, char out[PATH_MAX]) {
    if (!realpath(path, out)) snprintf(out, PATH_MAX, "%s", path);
}

/* IDX files, packed or not, are told from pictures by their first bytes. */
static bool looks_like_idx(const char *path) {
    unsigned char head[4] = {0};
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    size_t got = fread(head, 1, sizeof head, file);
    fclose(file);
    bool packed = head[0] == 0x1f && head[1] == 0x8b, plain = !head[0] && !head[1] && head[2] == 8;
    return got == sizeof head && (packed || plain);
}

static ij_status open_data(embedding *e, const char *const *data, int count, ij_error *err) {
    ij_dataset_desc desc = {.channels = e->config.channels, .pad_to = e->config.pad_to};
    if (count == 1 && (ij_is_folder(data[0]) || looks_like_idx(data[0]))) {
        absolute(data[0], e->data_place);
        return ij_dataset_open(data[0], &desc, &e->dataset, err);
    }
    for (int i = 0; i < count; i++) {
        if (ij_is_folder(data[i]) || looks_like_idx(data[i]))
            return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: a folder or an IDX file is given alone, not beside %d others", data[i], count - 1);
        if (!ij_file_exists(data[i])) return ij_fail(err, IJ_ERROR_FILE, "%s: no such folder or file", data[i]);
    }
    absolute(".", e->data_place);
    return ij_dataset_open_files(data, count, &desc, &e->dataset, err);
}

static ij_status open_encoder(embedding *e, ij_embed_data_result *result, ij_error *err) {
    const ij_train_config *c = &e->config;
    const ij_embed_data_options *o = e->options;
    gpu_element element;
    IJ_TRY(gpu_device_open(&o->device, &e->device, err));
    snprintf(result->device, sizeof result->device, "%s", gpu_device_info(e->device)->name);
    IJ_TRY(ij_precision_resolve(e->device, o->precision, &element, result->precision, sizeof result->precision, err));
    IJ_TRY(ij_weights_create(e->device, &c->model, o->context ? IJ_KEEP_CONTEXT : IJ_KEEP_TARGET, &e->weights, err));
    IJ_TRY(ij_weights_keep_half(e->weights, element, err));
    IJ_TRY(ij_weights_commit(e->weights, err));
    IJ_TRY(ij_checkpoint_read(e->checkpoint, e->weights, err));
    IJ_TRY(ij_weights_choose_positions(e->weights, o->positions, &e->trained, &c->model, err));
    IJ_TRY(ij_model_mark(e->weights, o->context ? IJ_SLOT_WEIGHT : IJ_SLOT_TARGET, result->mark, err));
    int batch = o->batch ? o->batch : 32;
    int64_t picture_bytes;
    IJ_TRY(ij_features_room(gpu_device_info(e->device), e->dataset, &e->preprocess, batch, PICTURE_BYTES_MAX, &picture_bytes, err));
    e->desc = (ij_features_desc){.batch = batch,
                                 .preprocess = e->preprocess,
                                 .whole = o->whole || ij_dataset_image_bytes(e->dataset) > 0 || !c->random_crop,
                                 .picture_bytes = picture_bytes,
                                 .progress = o->progress,
                                 .stop = o->stop,
                                 .on_damaged = o->on_damaged,
                                 .user = o->user,
                                 .what = "features"};
    ij_embed_desc embed = {.model = c->model,
                           .batch = batch,
                           .pixel_bytes = ij_features_pixel_bytes(&e->desc),
                           .output = o->output,
                           .context = o->context,
                           .filter = e->preprocess.filter};
    memcpy(embed.mean, c->mean, sizeof embed.mean);
    memcpy(embed.std, c->std, sizeof embed.std);
    IJ_TRY(ij_embedder_create(e->device, &embed, e->weights, &e->embedder, err));
    e->row = ij_embedder_floats(e->embedder);
    return IJ_OK;
}

static ij_status open_writer(embedding *e, const ij_embed_data_result *r, ij_error *err) {
    const ij_embed_data_options *o = e->options;
    char *classes;
    IJ_TRY(ij_features_classes(e->dataset, &classes, err));
    ij_feature_file_desc desc = {.model = r->mark,
                                 .run = e->model_place,
                                 .data = e->data_place,
                                 .encoder = o->context ? "context" : "target",
                                 .layers = o->output == IJ_EMBED_LAST4 ? "last4" : "last",
                                 .classes = classes,
                                 .dim = r->dim,
                                 .patches = o->output == IJ_EMBED_TOKENS ? r->patches : 0,
                                 .height = r->height,
                                 .width = r->width};
    ij_status status = ij_feature_writer_begin(o->out, &desc, &e->writer, err);
    free(classes);
    return status;
}

static ij_status open_all(embedding *e, const char *model, const char *const *data, int count, ij_embed_data_result *r, ij_error *err) {
    const ij_embed_data_options *o = e->options;
    ij_model_config *m = &e->config.model;
    int64_t step;
    char notes[2048];
    if (o->batch < 0 || o->batch > BATCH_MAX)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "batch of %d images, expected 1 to %d", o->batch, BATCH_MAX);
    IJ_TRY(ij_checkpoint_find(model, e->checkpoint, sizeof e->checkpoint, NULL, 0, err));
    IJ_TRY(ij_checkpoint_describe(e->checkpoint, &e->config, &step, notes, sizeof notes, err));
    for (char *rest, *line = strtok_r(notes, "\n", &rest); line && o->message; line = strtok_r(NULL, "\n", &rest))
        o->message(o->user, line);
    e->trained = *m;
    ij_preprocess_wish wish = {o->whole && !o->resize ? "exact" : o->resize, o->filter, o->resampler, o->height, o->width};
    IJ_TRY(ij_preprocess_settle(&e->config.preprocess, &wish, m->image_height, m->image_width, &e->preprocess, err));
    m->image_height = e->preprocess.height, m->image_width = e->preprocess.width;
    IJ_TRY(ij_model_check(m, err));
    IJ_TRY(open_data(e, data, count, err));
    absolute(model, e->model_place);
    IJ_TRY(open_encoder(e, r, err));
    r->dim = ij_embedder_dim(e->embedder);
    r->patches = o->output == IJ_EMBED_TOKENS ? ij_patches(m) : 1;
    r->height = m->image_height, r->width = m->image_width;
    return open_writer(e, r, err);
}

static void close_all(embedding *e) {
    ij_feature_writer_abandon(e->writer);
    ij_embedder_destroy(e->embedder);
    ij_weights_destroy(e->weights);
    gpu_device_close(e->device);
    ij_dataset_close(e->dataset);
    free(e);
}

/* ---- the pass ---- */

static ij_status write_rows(void *user, int count, const int64_t *samples, const int *labels, float *const *rows, ij_error *err) {
    embedding *e = user;
    char name[8192];
    for (int i = 0; i < count; i++) {
        ij_dataset_name(e->dataset, samples[i], name, sizeof name);
        IJ_TRY(ij_feature_writer_add(e->writer, name, labels[i], rows[0] + i * e->row, err));
    }
    return IJ_OK;
}

static ij_status run(embedding *e, ij_embed_data_result *r, ij_error *err) {
    ij_features_pass pass;
    IJ_TRY(ij_features_stream(e->dataset, &e->desc, &e->embedder, 1, write_rows, e, &pass, err));
    ij_feature_writer *writer = e->writer;
    e->writer = NULL; /* finish frees it */
    IJ_TRY(ij_feature_writer_finish(writer, pass.damaged, err));
    r->count = pass.count;
    r->damaged = pass.damaged;
    r->seconds = pass.seconds;
    double busy = ij_embedder_busy(e->embedder);
    r->busy = busy > 0 ? busy / pass.seconds : (double)NAN;
    return IJ_OK;
}

ij_status ij_embed_data(const char *model, const char *const *data, int count, const ij_embed_data_options *options,
                        ij_embed_data_result *result, ij_error *err) {
    embedding *e; /* its paths are too much for a thread's stack */
    IJ_TRY(ij_alloc(&e, 1, sizeof *e, "embedding", err));
    *result = (ij_embed_data_result){0};
    e->options = options;
    ij_status status = open_all(e, model, data, count, result, err);
    if (status == IJ_OK) status = run(e, result, err);
    close_all(e);
    return status;
}
