/* Features that are kept: the key, and what is made where a file is missing.      layer: eval; uses: base, io, data, gpu, model */
#include "base/file.h"
#include "base/memory.h"
#include "data/order.h"
#include "eval/features.h"
#include "io/checksum.h"
#include "io/image.h"
#include "model/precision.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 4200

static const char *const output_names[] = {
    [IJ_EMBED_LAST] = "last", [IJ_EMBED_LAST4] = "last4", [IJ_EMBED_TOKENS] = "last", [IJ_EMBED_PIXELS] = ""};

/* listing: ij_dataset_mark, which may take a while with many files. */
static void make_key(const ij_dataset *dataset, uint64_t listing, const ij_features_desc *desc, const ij_features_source *source,
                     char out[IJ_MODEL_MARK]) {
    const ij_embed_desc *e = &source->embed;
    const ij_model_config *m = &e->model;
    bool part = desc->limit > 0 && desc->limit < ij_dataset_count(dataset);
    char text[1024], name[4200];
    int length = snprintf(text, sizeof text,
                          "features 2; encoder %s %d; output %d; %s; image %d %d %d, patch %d, dim %d, heads %d, depth %d, eps %.9g; "
                          "mean %.9g %.9g %.9g, std %.9g %.9g %.9g; whole %d, resize %d %d %d %d, filter %d %d, resampler %d, cap %" PRId64
                          ", %s; limit %" PRId64 ", seed %" PRIu64 "; data %016" PRIx64,
                          source->mark, e->context, e->output, ij_element_name(source->weights ? source->weights->half : GPU_WORD),
                          m->image_height, m->image_width, m->channels, m->patch_size, m->dim, m->heads, m->depth, (double)m->norm_eps,
                          (double)e->mean[0], (double)e->mean[1], (double)e->mean[2], (double)e->std[0], (double)e->std[1],
                          (double)e->std[2], desc->whole, desc->preprocess.resize, desc->preprocess.shorter, desc->preprocess.height,
                          desc->preprocess.width, desc->preprocess.filter, e->filter, desc->preprocess.resampler, desc->picture_bytes,
                          ij_image_jpeg_decoder(), part ? desc->limit : 0, part ? desc->seed : 0, listing);
    assert(length > 0 && (size_t)length < sizeof text);
    ij_checksum sum;
    ij_checksum_begin(&sum);
    ij_checksum_add(&sum, text, (size_t)length);
    ij_dataset_name(dataset, 0, name, sizeof name); /* files of the same bytes under two names: rows are found by their names */
    ij_checksum_add(&sum, name, strlen(name));
    snprintf(out, IJ_MODEL_MARK, "%016" PRIx64, ij_checksum_end(&sum));
}

ij_status ij_features_key(const ij_dataset *dataset, const ij_features_desc *desc, const ij_features_source *source,
                          char out[IJ_MODEL_MARK], ij_error *err) {
    uint64_t listing;
    IJ_TRY(ij_dataset_mark(dataset, &listing, err));
    make_key(dataset, listing, desc, source, out);
    return IJ_OK;
}

/* ---- one call of ij_features_cached ---- */

typedef struct cache {
    const ij_dataset *dataset;
    const ij_features_desc *desc;
    const ij_features_source *sources;
    int source_count;
    const char *folder;
    char keys[FEATURE_SETS_MAX][IJ_MODEL_MARK];
    char paths[FEATURE_SETS_MAX][PATH_BYTES];
    bool hits[FEATURE_SETS_MAX];
    ij_features *out;
    /* of the pass over what is missing; index i of these belongs to source missing[i] */
    int missing[FEATURE_SETS_MAX], missing_count;
    ij_embedder *embedders[FEATURE_SETS_MAX];
    ij_feature_writer *writers[FEATURE_SETS_MAX]; /* NULL: not kept */
    int64_t made;
} cache;

static void say(const cache *c, const char *text, const char *then) {
    char line[900];
    if (!c->desc->message) return;
    snprintf(line, sizeof line, "%s; %s", text, then);
    c->desc->message(c->desc->user, line);
}

/* ---- reading ---- */

/* Labels and count of every set are the same: pictures that cannot be read are left out of all. */
static bool agrees(const ij_features *f, const ij_feature_index *index) {
    if (!f->labels) return true;
    if (index->count != f->count) return false;
    for (int64_t i = 0; i < f->count; i++)
        if (f->labels[i] != (index->labels ? index->labels[i] : -1)) return false;
    return true;
}

/* places[i] = the i'th image of the pass. */
static ij_status order_of(const cache *c, uint32_t **out, ij_error *err) {
    int64_t count = ij_dataset_count(c->dataset);
    IJ_TRY(ij_alloc(out, count, sizeof **out, "order", err));
    if (c->desc->limit > 0 && c->desc->limit < count)
        ij_order_shuffle(c->desc->seed, 0, *out, count);
    else
        for (int64_t i = 0; i < count; i++) (*out)[i] = (uint32_t)i;
    return IJ_OK;
}

/* Places of a file's images by their names: they come in the order of the pass, with some left out that could not be read. *found is false
 * where the file holds others. */
static ij_status find_samples(cache *c, const ij_feature_index *index, bool *found, ij_error *err) {
    char name[4200];
    uint32_t *order;
    int64_t total = ij_dataset_count(c->dataset), at = 0, row = 0;
    IJ_TRY(order_of(c, &order, err));
    ij_status status = ij_alloc(&c->out->samples, index->count, sizeof *c->out->samples, "places of images", err);
    for (; status == IJ_OK && row < index->count && at < total; at++)
        if (strcmp(ij_dataset_name(c->dataset, order[at], name, sizeof name), index->names[row]) == 0) c->out->samples[row++] = order[at];
    *found = status == IJ_OK && row == index->count;
    if (!*found) free(c->out->samples), c->out->samples = NULL;
    free(order);
    return status;
}

static ij_status take_index(cache *c, int set, const ij_feature_index *index, ij_error *err) {
    ij_features *f = c->out;
    const char *damaged = ij_feature_index_get(index, "damaged");
    bool found = true;
    if (!f->samples) IJ_TRY(find_samples(c, index, &found, err));
    if (!found) return IJ_OK;
    IJ_TRY(ij_alloc(&f->x[set], index->count * index->dim, sizeof(float), "features", err));
    memcpy(f->x[set], index->x, (size_t)index->count * (size_t)index->dim * sizeof(float));
    f->dim[set] = index->dim;
    f->damaged = damaged ? strtoll(damaged, NULL, 10) : 0;
    if (!f->labels) {
        IJ_TRY(ij_alloc(&f->labels, index->count, sizeof *f->labels, "labels", err));
        for (int64_t i = 0; i < index->count; i++) f->labels[i] = index->labels ? index->labels[i] : -1;
        f->count = index->count;
    }
    c->hits[set] = true;
    return IJ_OK;
}

static ij_status look_up(cache *c, int set, uint64_t listing, ij_error *err) {
    ij_error why = {0};
    ij_feature_index index;
    char name[64];
    make_key(c->dataset, listing, c->desc, &c->sources[set], c->keys[set]);
    snprintf(name, sizeof name, "%s.safetensors", c->keys[set]);
    IJ_TRY(ij_path_join(c->paths[set], PATH_BYTES, c->folder, name, err));
    if (!ij_file_exists(c->paths[set])) return IJ_OK;
    if (ij_feature_index_open(c->paths[set], &index, &why) != IJ_OK) {
        say(c, why.text, "it is made anew");
        return IJ_OK;
    }
    const char *key = ij_feature_index_get(&index, "key");
    ij_status status = IJ_OK;
    if (key && strcmp(key, c->keys[set]) == 0 && agrees(c->out, &index)) status = take_index(c, set, &index, err);
    ij_feature_index_close(&index);
    return status;
}

/* ---- making what is missing ---- */

/* A cache that cannot be written does not keep the features from being made. */
static ij_status open_writer(cache *c, int at, ij_error *err) {
    int set = c->missing[at];
    const ij_features_source *s = &c->sources[set];
    ij_error why = {0};
    char *classes;
    if (!c->folder) return IJ_OK;
    IJ_TRY(ij_features_classes(c->dataset, &classes, err));
    ij_feature_file_desc desc = {.model = s->mark,
                                 .encoder = !s->weights        ? "pixels"
                                            : s->embed.context ? "context"
                                                               : "target",
                                 .layers = output_names[s->embed.output],
                                 .classes = classes,
                                 .dim = (int)ij_embedder_floats(c->embedders[at]),
                                 .height = s->embed.model.image_height,
                                 .width = s->embed.model.image_width,
                                 .key = c->keys[set]};
    if (ij_make_folders(c->folder, &why) != IJ_OK || ij_feature_writer_begin(c->paths[set], &desc, &c->writers[at], &why) != IJ_OK)
        say(c, why.text, "these features are not kept");
    free(classes);
    return IJ_OK;
}

static ij_status open_missing(cache *c, int at, ij_error *err) {
    int set = c->missing[at];
    ij_embed_desc embed = c->sources[set].embed;
    assert(embed.output != IJ_EMBED_TOKENS);
    embed.batch = c->desc->batch ? c->desc->batch : 32;
    embed.pixel_bytes = ij_features_pixel_bytes(c->desc);
    IJ_TRY(ij_embedder_create(c->sources[set].device, &embed, c->sources[set].weights, &c->embedders[at], err));
    return open_writer(c, at, err);
}

static void give_up_writing(cache *c, int at, const ij_error *why) {
    say(c, why->text, "these features are not kept");
    ij_feature_writer_abandon(c->writers[at]);
    c->writers[at] = NULL;
}

static ij_status keep_in_files(void *user, int count, const int64_t *samples, const int *labels, float *const *rows, ij_error *err) {
    cache *c = user;
    char name[4200];
    (void)err;
    for (int at = 0; at < c->missing_count; at++) {
        int64_t dim = ij_embedder_floats(c->embedders[at]);
        memcpy(c->out->x[c->missing[at]] + c->made * dim, rows[at], (size_t)count * (size_t)dim * sizeof(float));
        for (int i = 0; i < count && c->writers[at]; i++) {
            ij_error why = {0};
            ij_dataset_name(c->dataset, samples[i], name, sizeof name);
            if (ij_feature_writer_add(c->writers[at], name, labels[i], rows[at] + i * dim, &why) != IJ_OK) give_up_writing(c, at, &why);
        }
    }
    memcpy(c->out->labels + c->made, labels, (size_t)count * sizeof *labels);
    memcpy(c->out->samples + c->made, samples, (size_t)count * sizeof *samples);
    c->made += count;
    return IJ_OK;
}

/* Room for all images of the pass; labels and places that hits had are written again, the same ones. */
static ij_status make_room(cache *c, ij_error *err) {
    int64_t total = ij_dataset_count(c->dataset);
    if (c->desc->limit > 0 && c->desc->limit < total) total = c->desc->limit;
    free(c->out->labels);
    free(c->out->samples);
    c->out->labels = NULL, c->out->samples = NULL;
    IJ_TRY(ij_alloc(&c->out->labels, total, sizeof *c->out->labels, "labels", err));
    IJ_TRY(ij_alloc(&c->out->samples, total, sizeof *c->out->samples, "places of images", err));
    for (int at = 0; at < c->missing_count; at++) {
        int set = c->missing[at];
        c->out->dim[set] = (int)ij_embedder_floats(c->embedders[at]);
        IJ_TRY(ij_alloc(&c->out->x[set], total * c->out->dim[set], sizeof(float), "features", err));
    }
    return IJ_OK;
}

static void finish_writers(cache *c, int64_t damaged) {
    for (int at = 0; at < c->missing_count; at++) {
        ij_error why = {0};
        if (c->writers[at] && ij_feature_writer_finish(c->writers[at], damaged, &why) != IJ_OK)
            say(c, why.text, "these features are not kept");
        c->writers[at] = NULL;
    }
}

static ij_status make_missing(cache *c, ij_error *err) {
    ij_features_pass pass = {0};
    ij_status status = IJ_OK;
    c->made = c->missing_count = 0;
    for (int set = 0; set < c->source_count; set++)
        if (!c->hits[set]) c->missing[c->missing_count++] = set;
    if (c->missing_count == 0) return IJ_OK;
    for (int at = 0; at < c->missing_count && status == IJ_OK; at++) status = open_missing(c, at, err);
    if (status == IJ_OK) status = make_room(c, err);
    if (status == IJ_OK) status = ij_features_stream(c->dataset, c->desc, c->embedders, c->missing_count, keep_in_files, c, &pass, err);
    if (status == IJ_OK) finish_writers(c, pass.damaged);
    for (int at = 0; at < c->missing_count; at++) {
        double busy = c->embedders[at] ? ij_embedder_busy(c->embedders[at]) : 0;
        c->out->seconds[c->missing[at]] = busy > 0 ? busy : pass.seconds;
        ij_feature_writer_abandon(c->writers[at]);
        ij_embedder_destroy(c->embedders[at]);
        c->writers[at] = NULL, c->embedders[at] = NULL;
    }
    c->out->damaged = pass.damaged;
    return status;
}

/* ---- both ---- */

static ij_status gather(cache *c, ij_error *err) {
    uint64_t listing = 0;
    if (c->folder) IJ_TRY(ij_dataset_mark(c->dataset, &listing, err));
    for (int set = 0; set < c->source_count && c->folder; set++) IJ_TRY(look_up(c, set, listing, err));
    int64_t kept = c->out->count;
    IJ_TRY(make_missing(c, err));
    if (kept && c->missing_count && c->made != kept) { /* a picture became readable, or is no longer, under an unchanged listing */
        ij_features_free(c->out);
        c->out->sets = c->source_count;
        memset(c->hits, 0, sizeof c->hits);
        IJ_TRY(make_missing(c, err));
    }
    if (c->missing_count) c->out->count = c->made;
    return IJ_OK;
}

ij_status ij_features_cached(const ij_dataset *dataset, const ij_features_desc *desc, const ij_features_source *sources, int source_count,
                             const char *folder, ij_features *out, bool *hits, ij_error *err) {
    assert(source_count >= 1 && source_count <= FEATURE_SETS_MAX && desc->picture_bytes > 0);
    cache *c; /* its paths are too much for a thread's stack */
    *out = (ij_features){.sets = source_count};
    IJ_TRY(ij_alloc(&c, 1, sizeof *c, "cache of features", err));
    c->dataset = dataset, c->desc = desc, c->sources = sources, c->source_count = source_count, c->folder = folder, c->out = out;
    ij_status status = gather(c, err);
    if (hits) memcpy(hits, c->hits, (size_t)source_count * sizeof *hits);
    free(c);
    if (status != IJ_OK) ij_features_free(out);
    return status;
}
