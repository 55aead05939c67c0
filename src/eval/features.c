/* A pass over a data set; the cache is in feature_cache.c.      layer: eval; uses: base, data, gpu, ops, model */
#include "eval/features.h"
#include "base/file.h"
#include "base/memory.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- sizes ---- */

static int batch_of(const ij_features_desc *desc) { return desc->batch ? desc->batch : 32; }

uint64_t ij_features_pixel_bytes(const ij_features_desc *desc) {
    return (uint64_t)batch_of(desc) * (((uint64_t)desc->picture_bytes + 15) / 16 * 16);
}

#define PIXEL_BYTES_MAX ((int64_t)128 << 20) /* of a batch: what every device can bind */

int64_t ij_features_picture_bytes(const gpu_info *info, const ij_dataset *dataset, int batch, int64_t most) {
    int64_t bytes = PIXEL_BYTES_MAX, need = ij_dataset_image_bytes(dataset);
    if ((uint64_t)bytes > info->range_max) bytes = (int64_t)info->range_max;
    int64_t room = bytes / batch / 16 * 16 < most ? bytes / batch / 16 * 16 : most;
    return need > 0 && need < room ? need : room;
}

ij_status ij_features_room(const gpu_info *info, const ij_dataset *dataset, const ij_preprocess *how, int batch, int64_t most, int64_t *out,
                           ij_error *err) {
    *out = ij_features_picture_bytes(info, dataset, batch, most);
    if (!ij_preprocess_on_host(how)) return IJ_OK;
    int64_t need = (int64_t)how->width * how->height * ij_dataset_channels(dataset), bytes = PIXEL_BYTES_MAX;
    if ((uint64_t)bytes > info->range_max) bytes = (int64_t)info->range_max;
    *out = (need + 15) / 16 * 16;
    if (*out * batch <= bytes) return IJ_OK;
    return ij_fail(err, IJ_ERROR_ARGUMENT, "a batch of %d pictures of %d x %d is more than %lld MiB of pixels; there is room for %lld",
                   batch, how->height, how->width, (long long)(bytes >> 20), (long long)(bytes / *out));
}

/* ---- a pass ---- */

/* What is known of a batch under way. */
typedef struct under_way {
    int64_t *samples; /* [batch] */
    int *labels;      /* [batch] */
} under_way;

typedef struct stream {
    const ij_features_desc *desc;
    ij_embedder *const *embedders;
    int embedder_count;
    ij_features_sink sink;
    void *sink_user;
    int64_t queued, done, total;
    ij_jepa_image *images; /* [batch] */
    float *rows[FEATURE_SETS_MAX];
    under_way ring[IJ_EMBED_SLOTS];
    int next, pending;
} stream;

static ij_status open_stream(stream *s, ij_error *err) {
    int batch = batch_of(s->desc);
    IJ_TRY(ij_alloc(&s->images, batch, sizeof *s->images, "batch", err));
    for (int i = 0; i < s->embedder_count; i++)
        IJ_TRY(ij_alloc(&s->rows[i], batch * ij_embedder_floats(s->embedders[i]), sizeof(float), "features of a batch", err));
    for (int i = 0; i < IJ_EMBED_SLOTS; i++) {
        IJ_TRY(ij_alloc(&s->ring[i].samples, batch, sizeof *s->ring[i].samples, "batch", err));
        IJ_TRY(ij_alloc(&s->ring[i].labels, batch, sizeof *s->ring[i].labels, "batch", err));
    }
    return IJ_OK;
}

/* Embedders are left with nothing under way, so that they can be used again. */
static void close_stream(stream *s) {
    for (int i = 0, count; i < s->embedder_count; i++)
        while (s->rows[i] && ij_embedder_pending(s->embedders[i]) &&
               ij_embedder_collect(s->embedders[i], s->rows[i], &count, NULL) == IJ_OK);
    for (int i = 0; i < IJ_EMBED_SLOTS; i++) {
        free(s->ring[i].samples);
        free(s->ring[i].labels);
    }
    for (int i = 0; i < FEATURE_SETS_MAX; i++) free(s->rows[i]);
    free(s->images);
}

/* The batch's images that are themselves: one that stands in for a damaged one would count twice. */
static int take_images(stream *s, const ij_loader_batch *batch) {
    under_way *to = &s->ring[s->next];
    int count = 0;
    for (int i = 0; i < batch->count && s->queued + count < s->total; i++) {
        const ij_loader_item *item = &batch->items[i];
        if (item->replaced) continue;
        to->samples[count] = item->sample;
        to->labels[count] = item->label;
        s->images[count++] = ij_jepa_image_of(item, batch->channels);
    }
    return count;
}

static ij_status collect_oldest(stream *s, ij_error *err) {
    const under_way *from = &s->ring[(s->next + IJ_EMBED_SLOTS - s->pending) % IJ_EMBED_SLOTS];
    int count = 0;
    for (int i = 0; i < s->embedder_count; i++) IJ_TRY(ij_embedder_collect(s->embedders[i], s->rows[i], &count, err));
    s->pending--;
    IJ_TRY(s->sink(s->sink_user, count, from->samples, from->labels, s->rows, err));
    s->done += count;
    if (s->desc->progress) s->desc->progress(s->desc->user, s->desc->what, s->done, s->total);
    return IJ_OK;
}

static ij_status submit(stream *s, const ij_loader_batch *batch, ij_error *err) {
    if (s->pending == IJ_EMBED_SLOTS) IJ_TRY(collect_oldest(s, err));
    int count = take_images(s, batch);
    if (count == 0) return IJ_OK;
    for (int i = 0; i < s->embedder_count; i++)
        IJ_TRY(ij_embedder_submit(s->embedders[i], s->images, count, batch->pixels, batch->bytes, err));
    s->next = (s->next + 1) % IJ_EMBED_SLOTS;
    s->pending++;
    s->queued += count;
    return IJ_OK;
}

static ij_status walk(stream *s, ij_loader *loader, ij_error *err) {
    const ij_loader_batch *batch;
    IJ_TRY(ij_loader_start(loader, 0, 0, err));
    while (s->queued < s->total) {
        if (s->desc->stop && s->desc->stop(s->desc->user))
            return ij_fail(err, IJ_ERROR_STOPPED, "%s: stopped after %lld of %lld images", s->desc->what, (long long)s->done,
                           (long long)s->total);
        IJ_TRY(ij_loader_next(loader, &batch, err));
        if (batch->count == 0) break;
        IJ_TRY(submit(s, batch, err));
    }
    while (s->pending) IJ_TRY(collect_oldest(s, err));
    return s->done ? IJ_OK : ij_fail(err, IJ_ERROR_FORMAT, "%s: none of %lld images can be read", s->desc->what, (long long)s->total);
}

static bool is_part(const ij_dataset *dataset, const ij_features_desc *desc) {
    return desc->limit > 0 && desc->limit < ij_dataset_count(dataset);
}

static void on_damaged(void *user, int64_t sample, const char *text) {
    const ij_features_desc *desc = user;
    (void)sample;
    desc->on_damaged(desc->user, text);
}

ij_status ij_features_stream(const ij_dataset *dataset, const ij_features_desc *desc, ij_embedder *const *embedders, int embedder_count,
                             ij_features_sink sink, void *sink_user, ij_features_pass *out, ij_error *err) {
    assert(embedder_count >= 1 && embedder_count <= FEATURE_SETS_MAX && desc->picture_bytes > 0);
    double start = ij_seconds();
    bool some = is_part(dataset, desc);
    stream s = {.desc = desc,
                .embedders = embedders,
                .embedder_count = embedder_count,
                .sink = sink,
                .sink_user = sink_user,
                .total = some ? desc->limit : ij_dataset_count(dataset)};
    ij_loader_desc loader_desc = {.seed = desc->seed,
                                  .batch = batch_of(desc),
                                  .shuffle = some,
                                  .crop = IJ_CROP_SETTLED,
                                  .preprocess = desc->preprocess,
                                  .whole = desc->whole,
                                  .cap_bytes = desc->picture_bytes,
                                  .on_damaged = desc->on_damaged ? on_damaged : NULL,
                                  .user = (void *)desc};
    ij_loader *loader = NULL;
    ij_status status = ij_loader_open(dataset, &loader_desc, &loader, err);
    if (status == IJ_OK) status = open_stream(&s, err);
    if (status == IJ_OK) status = walk(&s, loader, err);
    if (status == IJ_OK) *out = (ij_features_pass){s.done, ij_loader_damaged(loader), ij_seconds() - start};
    close_stream(&s);
    ij_loader_close(loader);
    return status;
}

/* ---- in memory ---- */

static ij_status keep_rows(void *user, int count, const int64_t *samples, const int *labels, float *const *rows, ij_error *err) {
    ij_features *f = user;
    (void)err;
    memcpy(f->samples + f->count, samples, (size_t)count * sizeof *samples);
    memcpy(f->labels + f->count, labels, (size_t)count * sizeof *labels);
    for (int s = 0; s < f->sets; s++) memcpy(f->x[s] + f->count * f->dim[s], rows[s], (size_t)count * (size_t)f->dim[s] * sizeof(float));
    f->count += count;
    return IJ_OK;
}

ij_status ij_features_collect(const ij_dataset *dataset, const ij_features_desc *desc, ij_embedder *const *embedders, int embedder_count,
                              ij_features *out, ij_error *err) {
    int64_t total = is_part(dataset, desc) ? desc->limit : ij_dataset_count(dataset);
    double busy[FEATURE_SETS_MAX];
    ij_features_pass pass;
    *out = (ij_features){.sets = embedder_count};
    ij_status status = ij_alloc(&out->labels, total, sizeof *out->labels, "labels", err);
    if (status == IJ_OK) status = ij_alloc(&out->samples, total, sizeof *out->samples, "places of images", err);
    for (int s = 0; s < embedder_count && status == IJ_OK; s++) {
        int64_t floats = ij_embedder_floats(embedders[s]);
        out->dim[s] = (int)floats;
        busy[s] = ij_embedder_busy(embedders[s]);
        status = ij_alloc(&out->x[s], total * floats, sizeof(float), "features", err);
    }
    if (status == IJ_OK) status = ij_features_stream(dataset, desc, embedders, embedder_count, keep_rows, out, &pass, err);
    if (status != IJ_OK) {
        ij_features_free(out);
        return status;
    }
    out->damaged = pass.damaged;
    for (int s = 0; s < embedder_count; s++) {
        double seconds = ij_embedder_busy(embedders[s]) - busy[s];
        out->seconds[s] = seconds > 0 ? seconds : pass.seconds;
    }
    return IJ_OK;
}

void ij_features_free(ij_features *f) {
    for (int s = 0; s < FEATURE_SETS_MAX; s++) free(f->x[s]);
    free(f->labels);
    free(f->samples);
    memset(f, 0, sizeof *f);
}

ij_status ij_features_classes(const ij_dataset *dataset, char **out, ij_error *err) {
    size_t bytes = 1;
    int classes = ij_dataset_classes(dataset);
    *out = NULL;
    if (classes == 0) return IJ_OK;
    for (int i = 0; i < classes; i++) bytes += strlen(ij_dataset_class_name(dataset, i)) + 1;
    IJ_TRY(ij_alloc(out, (int64_t)bytes, 1, "class names", err));
    char *next = *out;
    for (int i = 0; i < classes; i++) next += sprintf(next, i ? "\n%s" : "%s", ij_dataset_class_name(dataset, i));
    return IJ_OK;
}

/* ---- raw pixels ---- */

/* One pixel a patch: rows come in the order (y, x, channel). */
ij_embed_desc ij_pixels_embed(const ij_model_config *model, const float mean[3], const float std[3]) {
    int longest = model->image_height > model->image_width ? model->image_height : model->image_width;
    ij_embed_desc d = {.model = *model, .output = IJ_EMBED_PIXELS};
    d.model.patch_size = 1;
    if (longest > PIXELS_SIDE_MAX) {
        d.model.image_height = model->image_height * PIXELS_SIDE_MAX / longest;
        d.model.image_width = model->image_width * PIXELS_SIDE_MAX / longest;
        if (d.model.image_height < 1) d.model.image_height = 1;
        if (d.model.image_width < 1) d.model.image_width = 1;
    }
    memcpy(d.mean, mean, sizeof d.mean);
    memcpy(d.std, std, sizeof d.std);
    return d;
}
