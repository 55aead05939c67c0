/* layer: eval; uses: base, data, gpu, model, train */
#include "eval/eval.h"
#include "base/file.h"
#include "base/memory.h"
#include "eval/features.h"
#include "eval/knn.h"
#include "eval/probe.h"
#include "train/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIXEL_BYTES_MAX ((int64_t)128 << 20) /* of a batch: what every device can bind */
#define PICTURE_BYTES_MAX ((int64_t)2 << 20) /* of one picture; a larger one is averaged down, as in training */
#define BATCH_MAX 4096

static const char *const row_names[] = {"trained target encoder", "random initialisation", "raw pixels"};
enum { TRAINED, RANDOM, PIXELS, ROWS };

typedef struct split {
    const char *name; /* for texts: "training images" */
    char path[4200];
    ij_dataset *dataset;
    ij_features features;
} split;

typedef struct eval {
    const ij_eval_options *options;
    ij_train_config config;
    char checkpoint[4600];
    gpu_device *device;
    ij_weights *trained, *random;
    ij_embedder *embedders[ROWS];
    split train, test;
    const char *row; /* at hand, for progress */
} eval;

/* ---- data ---- */

static bool try_path(char out[4200], const char *folder, const char *name) {
    return ij_path_join(out, 4200, folder, name, NULL) == IJ_OK && (ij_file_exists(out) || ij_is_folder(out));
}

static void folder_of(const char *path, char out[4200]) {
    snprintf(out, 4200, "%s", path);
    for (size_t n = strlen(out); n > 1 && out[n - 1] == '/';) out[--n] = 0;
    char *slash = strrchr(out, '/');
    if (slash && slash != out)
        *slash = 0;
    else
        strcpy(out, slash ? "/" : ".");
}

/* Test images where they usually are. */
static ij_status find_test(const char *train, char out[4200], ij_error *err) {
    static const char *const idx[] = {"t10k-images-idx3-ubyte", "t10k-images-idx3-ubyte.gz", "t10k-images.idx3-ubyte",
                                      "t10k-images.idx3-ubyte.gz"};
    static const char *const folders[] = {"val", "test", "validation"};
    char beside[4200];
    folder_of(train, beside);
    for (int i = 0; i < IJ_COUNT(idx); i++)
        if (try_path(out, ij_is_folder(train) ? train : beside, idx[i])) return IJ_OK;
    for (int i = 0; i < IJ_COUNT(folders); i++)
        if (ij_is_folder(train) && try_path(out, beside, folders[i])) return IJ_OK;
    ij_fail(err, IJ_ERROR_ARGUMENT, "no test images given, and none found beside %s", train);
    return ij_hint(err, "--test DIR: a folder of class folders, or an IDX file");
}

static ij_status open_split(eval *e, split *s, ij_error *err) {
    IJ_TRY(ij_dataset_open(s->path, &(ij_dataset_desc){.channels = e->config.channels, .pad_to = e->config.pad_to}, &s->dataset, err));
    int64_t count = ij_dataset_count(s->dataset), unlabelled = 0;
    for (int64_t i = 0; i < count; i++) unlabelled += ij_dataset_label(s->dataset, i) < 0;
    if (count == 0 || unlabelled == 0) return IJ_OK;
    ij_fail(err, IJ_ERROR_ARGUMENT, "%s: %" PRId64 " of %" PRId64 " images have no label", s->path, unlabelled, count);
    return ij_hint(err, "labels are the names of the folders below it, or the labels file beside an IDX file");
}

static ij_status open_data(eval *e, ij_error *err) {
    const char *train = e->options->train && *e->options->train ? e->options->train : e->config.data_path, *test = e->options->test;
    if (!*train) return ij_fail(err, IJ_ERROR_ARGUMENT, "no training images given, and the run has no data.path");
    snprintf(e->train.path, sizeof e->train.path, "%s", train);
    IJ_TRY(open_split(e, &e->train, err));
    if (test && *test)
        snprintf(e->test.path, sizeof e->test.path, "%s", test);
    else
        IJ_TRY(find_test(e->train.path, e->test.path, err));
    return open_split(e, &e->test, err);
}

/* labels of `test` become those of `train`, by the classes' names: folders are numbered by what lies beside them. */
static ij_status match_classes(eval *e, ij_error *err) {
    int train_classes = ij_dataset_classes(e->train.dataset), test_classes = ij_dataset_classes(e->test.dataset);
    int *map, *seen = NULL;
    IJ_TRY(ij_alloc(&map, test_classes, sizeof *map, "classes", err));
    ij_status status = ij_alloc(&seen, train_classes, sizeof *seen, "classes", err);
    for (int64_t i = 0; i < e->train.features.count && status == IJ_OK; i++) seen[e->train.features.labels[i]] = 1;
    for (int c = 0; c < test_classes && status == IJ_OK; c++) {
        map[c] = -1;
        for (int k = 0; k < train_classes; k++)
            if (strcmp(ij_dataset_class_name(e->test.dataset, c), ij_dataset_class_name(e->train.dataset, k)) == 0) map[c] = k;
    }
    for (int64_t i = 0; i < e->test.features.count && status == IJ_OK; i++) {
        int *label = &e->test.features.labels[i];
        const char *name = ij_dataset_class_name(e->test.dataset, *label);
        if (map[*label] < 0 || !seen[map[*label]])
            status = ij_fail(err, IJ_ERROR_MISMATCH, "test images have class \"%s\", which %s %" PRId64 " training images lack", name,
                             map[*label] < 0 ? "all" : "the chosen", e->train.features.count);
        else
            *label = map[*label];
    }
    int classes = 0;
    for (int k = 0; k < train_classes && status == IJ_OK; k++) classes += seen[k];
    if (status == IJ_OK && classes < 2)
        status = ij_fail(err, IJ_ERROR_ARGUMENT, "%s: the %" PRId64 " training images are of one class; there is nothing to tell apart",
                         e->train.path, e->train.features.count);
    free(map);
    free(seen);
    return status;
}

/* ---- features ---- */

/* Room for one picture of either split: what an IDX file's images need, else what a batch leaves each. */
static int64_t picture_bytes(const eval *e, int batch) {
    int64_t train = ij_dataset_image_bytes(e->train.dataset), test = ij_dataset_image_bytes(e->test.dataset), most = PIXEL_BYTES_MAX;
    if ((uint64_t)most > gpu_device_info(e->device)->range_max) most = (int64_t)gpu_device_info(e->device)->range_max;
    int64_t room = most / batch / 16 * 16 < PICTURE_BYTES_MAX ? most / batch / 16 * 16 : PICTURE_BYTES_MAX;
    int64_t need = train > test ? train : test;
    return train > 0 && test > 0 && need < room ? need : room;
}

/* An IDX file's images all have one size and are taken whole, as are those of a run that trained on whole images. */
static ij_features_desc features_desc(const eval *e, const split *s, int64_t limit) {
    int batch = e->options->batch ? e->options->batch : 32;
    return (ij_features_desc){.batch = batch,
                              .seed = e->options->seed,
                              .limit = limit,
                              .whole = ij_dataset_image_bytes(s->dataset) > 0 || !e->config.random_crop,
                              .picture_bytes = picture_bytes(e, batch),
                              .progress = e->options->progress,
                              .user = e->options->user,
                              .what = s->name};
}

static ij_status open_encoder(eval *e, bool random, ij_error *err) {
    const ij_train_config *c = &e->config;
    ij_weights **weights = random ? &e->random : &e->trained;
    ij_features_desc desc = features_desc(e, &e->train, 0);
    IJ_TRY(ij_weights_create(e->device, &c->model, IJ_KEEP_TARGET, weights, err));
    IJ_TRY(ij_weights_commit(*weights, err));
    if (random)
        IJ_TRY(ij_weights_initialise(*weights, c->seed, err));
    else
        IJ_TRY(ij_checkpoint_read(e->checkpoint, *weights, err));
    ij_embed_desc embed = {.model = c->model, .batch = desc.batch, .pixel_bytes = ij_features_pixel_bytes(&desc)};
    memcpy(embed.mean, c->mean, sizeof embed.mean);
    memcpy(embed.std, c->std, sizeof embed.std);
    return ij_embedder_create(e->device, &embed, *weights, &e->embedders[random ? RANDOM : TRAINED], err);
}

static ij_status open_all(eval *e, const char *run, ij_error *err) {
    int64_t step;
    int batch = e->options->batch;
    if (batch < 0 || batch > BATCH_MAX) return ij_fail(err, IJ_ERROR_ARGUMENT, "batch of %d images, expected 1 to %d", batch, BATCH_MAX);
    IJ_TRY(ij_checkpoint_find(run, e->checkpoint, sizeof e->checkpoint, NULL, 0, err));
    IJ_TRY(ij_checkpoint_config(e->checkpoint, &e->config, &step, err));
    IJ_TRY(open_data(e, err));
    IJ_TRY(gpu_device_open(&e->options->device, &e->device, err));
    IJ_TRY(open_encoder(e, false, err));
    IJ_TRY(open_encoder(e, true, err));
    ij_features_desc desc = features_desc(e, &e->train, 0);
    ij_embed_desc pixels = ij_pixels_embed(&e->config.model, e->config.mean, e->config.std);
    pixels.batch = desc.batch;
    pixels.pixel_bytes = ij_features_pixel_bytes(&desc);
    return ij_embedder_create(e->device, &pixels, NULL, &e->embedders[PIXELS], err);
}

static ij_status collect(eval *e, split *s, int64_t limit, ij_error *err) {
    ij_features_desc desc = features_desc(e, s, limit);
    return ij_features_collect(s->dataset, &desc, e->embedders, ROWS, &s->features, err);
}

/* ---- the table ---- */

static void on_progress(void *user, const char *what, int64_t done, int64_t total) {
    const eval *e = user;
    char text[160];
    snprintf(text, sizeof text, "%s, %s", what, e->row);
    e->options->progress(e->options->user, text, done, total);
}

static ij_samples samples_of(const eval *e, const split *s, int set) {
    return (ij_samples){s->features.x[set], s->features.labels, s->features.count, s->features.dim[set],
                        ij_dataset_classes(e->train.dataset)};
}

static ij_status fill_row(eval *e, int set, int *predicted, ij_eval_row *row, ij_error *err) {
    const ij_eval_options *o = e->options;
    ij_samples train = samples_of(e, &e->train, set), test = samples_of(e, &e->test, set);
    ij_probe_result probe;
    e->row = row_names[set];
    *row = (ij_eval_row){.dim = train.dim};
    snprintf(row->features, sizeof row->features, "%s", row_names[set]);
    IJ_TRY(ij_samples_check(&train, row_names[set], err));
    IJ_TRY(ij_samples_check(&test, row_names[set], err));
    ij_knn_desc knn = {.k = o->knn_k, .temperature = o->knn_temperature, .progress = o->progress ? on_progress : NULL, .user = e};
    IJ_TRY(ij_knn(e->device, &train, &test, &knn, predicted, err));
    row->knn = ij_accuracy_of(ij_count_right(predicted, test.labels, test.count), test.count);
    ij_probe_desc linear = {.seed = o->seed, .iterations = o->probe_iterations, .progress = o->progress ? on_progress : NULL, .user = e};
    IJ_TRY(ij_probe(e->device, &train, &test, &linear, predicted, &probe, err));
    row->linear = ij_accuracy_of(ij_count_right(predicted, test.labels, test.count), test.count);
    row->linear_l2 = probe.l2;
    return IJ_OK;
}

static ij_status measure(eval *e, ij_eval_result *result, ij_error *err) {
    int *predicted = NULL;
    IJ_TRY(collect(e, &e->train, e->options->train_limit, err));
    IJ_TRY(collect(e, &e->test, e->options->test_limit, err));
    IJ_TRY(match_classes(e, err));
    const ij_features *train = &e->train.features, *test = &e->test.features;
    *result = (ij_eval_result){.train_images = train->count,
                               .test_images = test->count,
                               .damaged_images = train->damaged + test->damaged,
                               .classes = ij_dataset_classes(e->train.dataset),
                               .rows = ROWS,
                               .knn_k = e->options->knn_k ? e->options->knn_k : 10,
                               .knn_temperature = e->options->knn_temperature != 0 ? e->options->knn_temperature : 0.07,
                               .seed = e->options->seed};
    result->images_per_second = (double)(train->count + test->count) / (train->seconds[TRAINED] + test->seconds[TRAINED] + 1e-9);
    IJ_TRY(ij_alloc(&predicted, test->count, sizeof *predicted, "predictions", err));
    ij_status status = IJ_OK;
    for (int set = 0; set < ROWS && status == IJ_OK; set++) status = fill_row(e, set, predicted, &result->row[set], err);
    free(predicted);
    return status;
}

static void close_all(eval *e) {
    split *splits[] = {&e->train, &e->test};
    for (int i = 0; i < IJ_COUNT(splits); i++) {
        ij_features_free(&splits[i]->features);
        ij_dataset_close(splits[i]->dataset);
    }
    for (int i = 0; i < IJ_COUNT(e->embedders); i++) ij_embedder_destroy(e->embedders[i]);
    ij_weights_destroy(e->trained);
    ij_weights_destroy(e->random);
    gpu_device_close(e->device);
    free(e);
}

ij_status ij_eval_run(const char *run, const ij_eval_options *options, ij_eval_result *result, ij_error *err) {
    double start = ij_seconds();
    eval *e; /* its paths are too much for a thread's stack */
    IJ_TRY(ij_alloc(&e, 1, sizeof *e, "evaluation", err));
    e->options = options;
    e->train.name = "features of the training images";
    e->test.name = "features of the test images";
    ij_status status = open_all(e, run, err);
    if (status == IJ_OK) status = measure(e, result, err);
    close_all(e);
    if (status == IJ_OK) result->seconds = ij_seconds() - start;
    return status;
}
