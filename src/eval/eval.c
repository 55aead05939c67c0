/* layer: eval; uses: base, data, gpu, model, train */
#include "eval/eval.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/labels.h"
#include "data/scene_set.h"
#include "eval/adapted.h"
#include "eval/features.h"
#include "eval/frozen.h"
#include "eval/splits.h"
#include "model/precision.h"
#include "train/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TASKS_MAX 8
#define BATCH_MAX 4096
#define PICTURE_BYTES_MAX ((int64_t)2 << 20) /* of one picture; a larger one is averaged down, as in training */
#define SCENES_TRAIN 2000
#define SCENES_TEST 500
#define SCENES_SIDE_MIN 64 /* smaller pictures do not show ten objects */

/* Pictures to learn from and to be tested on, opened once; their features are made when the first task needs them. */
typedef struct images {
    ij_dataset *part[2]; /* train, test */
    ij_features features[2];
    bool ready;
    char tables[2][4300]; /* labels.csv of each part; "": labels are the data set's own */
} images;

typedef struct eval {
    const ij_eval_options *options;
    ij_train_config config;
    char checkpoint[4600], folder[4200]; /* of the run; "": files are not kept */
    gpu_device *device;
    gpu_element element;
    char tasks[TASKS_MAX][32];
    int task_count;
    bool methods[EVAL_METHODS], features[EVAL_FEATURES];
    ij_weights *weights[EVAL_FEATURES];
    ij_features_source sources[EVAL_FEATURES]; /* of the features asked for, in their order */
    eval_features source_of[EVAL_FEATURES];
    int source_count;
    images classes, scenes;
    int64_t encoded;
    double encode_seconds;
    ij_eval_result *result;
    char what[200]; /* at hand, for progress */
} eval;

/* ---- what is asked for ---- */

/* Calls take for every name of a comma-separated list. */
static ij_status each_name(const char *list, ij_status (*take)(eval *, const char *, ij_error *), eval *e, ij_error *err) {
    char name[32];
    for (const char *at = list; *at;) {
        size_t length = strcspn(at, ",");
        if (length >= sizeof name) return ij_fail(err, IJ_ERROR_ARGUMENT, "\"%.60s\" is no name of a task, method or features", at);
        memcpy(name, at, length), name[length] = 0;
        if (length) IJ_TRY(take(e, name, err));
        at += length + (at[length] == ',');
    }
    return IJ_OK;
}

static int index_of(const char *name, const char *const *names, int count) {
    for (int i = 0; i < count; i++)
        if (strcmp(name, names[i]) == 0) return i;
    return -1;
}

static ij_status take_task(eval *e, const char *name, ij_error *err) {
    for (int i = 0; i < e->task_count; i++)
        if (strcmp(e->tasks[i], name) == 0) return IJ_OK;
    if (e->task_count == TASKS_MAX) return ij_fail(err, IJ_ERROR_ARGUMENT, "more than %d tasks", TASKS_MAX);
    snprintf(e->tasks[e->task_count++], sizeof e->tasks[0], "%s", name);
    return IJ_OK;
}

static ij_status take_method(eval *e, const char *name, ij_error *err) {
    int i = index_of(name, eval_method_names, EVAL_METHODS);
    if (i < 0) return ij_fail(err, IJ_ERROR_ARGUMENT, "method \"%s\": there are knn, linear, logistic, low-shot, fine-tune, partial", name);
    e->methods[i] = true;
    return IJ_OK;
}

static ij_status take_features(eval *e, const char *name, ij_error *err) {
    int i = index_of(name, eval_features_names, EVAL_FEATURES);
    if (i < 0) return ij_fail(err, IJ_ERROR_ARGUMENT, "features \"%s\": there are trained, random, pixels", name);
    e->features[i] = true;
    return IJ_OK;
}

static ij_status read_wishes(eval *e, ij_error *err) {
    const ij_eval_options *o = e->options;
    const char *encoder = o->encoder ? o->encoder : "target";
    if (strcmp(encoder, "target") != 0 && strcmp(encoder, "context") != 0)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "encoder \"%.40s\": there are target, context", encoder);
    if (o->batch < 0 || o->batch > BATCH_MAX)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "batch of %d images, expected 1 to %d", o->batch, BATCH_MAX);
    IJ_TRY(each_name(o->all ? "classes,count,dist" : o->tasks ? o->tasks : "classes", take_task, e, err));
    IJ_TRY(each_name(o->methods ? o->methods
                     : o->all   ? "knn,linear,logistic,low-shot,fine-tune,partial"
                                : "knn,linear,logistic",
                     take_method, e, err));
    IJ_TRY(each_name(o->features ? o->features : "trained,random,pixels", take_features, e, err));
    if (e->task_count == 0) return ij_fail(err, IJ_ERROR_ARGUMENT, "no task is named");
    return IJ_OK;
}

/* ---- pictures ---- */

static ij_status open_classes(eval *e, ij_error *err) {
    const ij_eval_options *o = e->options;
    const ij_dataset_desc desc = {.channels = e->config.channels, .pad_to = e->config.pad_to};
    const char *train = o->train && *o->train ? o->train : e->config.data_path;
    char test[IJ_SPLIT_PATH];
    if (!*train) {
        ij_fail(err, IJ_ERROR_ARGUMENT, "no training images given, and the model has no data.path");
        return ij_hint(err, "--train DIR");
    }
    IJ_TRY(ij_split_open(train, &desc, &e->classes.part[0], err));
    if (o->test && *o->test)
        snprintf(test, sizeof test, "%s", o->test);
    else
        IJ_TRY(ij_split_find_test(train, test, err));
    return ij_split_open(test, &desc, &e->classes.part[1], err);
}

static void on_scene(void *user, int64_t done, int64_t total) {
    const eval *e = user;
    if (e->options->progress) e->options->progress(e->options->user, "rendering scenes", done, total);
}

/* Scenes of the size that the model sees; a set that is there is kept. */
static ij_status render_scenes(eval *e, const char *folder, ij_error *err) {
    const ij_model_config *m = &e->config.model;
    scene_set_desc desc = {
        .scene = {.seed = e->options->seed, .width = m->image_width, .height = m->image_height, .objects_min = 1, .objects_max = 10},
        .count = {SCENES_TRAIN, SCENES_TEST},
        .samples = 4,
        .progress = on_scene,
        .user = e};
    scene_set_result done;
    while (desc.scene.width < SCENES_SIDE_MIN || desc.scene.height < SCENES_SIDE_MIN) desc.scene.width *= 2, desc.scene.height *= 2;
    return scene_set_write(folder, &desc, &done, err);
}

static ij_status open_scenes(eval *e, ij_error *err) {
    static const char *const parts[2] = {"train", "test"};
    const ij_dataset_desc desc = {.channels = e->config.channels, .pad_to = e->config.pad_to};
    char folder[4200], path[4300];
    if (e->options->scenes)
        snprintf(folder, sizeof folder, "%s", e->options->scenes);
    else if (!*e->folder) {
        ij_fail(err, IJ_ERROR_ARGUMENT, "tasks other than classes need scenes, and there is no run folder to render them into");
        return ij_hint(err, "ijepa scenes DIR renders them; then --scenes DIR");
    } else {
        IJ_TRY(ij_path_join(folder, sizeof folder, e->folder, "scenes", err));
        IJ_TRY(render_scenes(e, folder, err));
    }
    for (int p = 0; p < 2; p++) {
        IJ_TRY(ij_path_join(path, sizeof path, folder, parts[p], err));
        IJ_TRY(ij_path_join(e->scenes.tables[p], sizeof e->scenes.tables[p], path, "labels.csv", err));
        IJ_TRY(ij_dataset_open(path, &desc, &e->scenes.part[p], err));
    }
    return IJ_OK;
}

/* ---- features ---- */

static bool is_context(const eval *e) { return e->options->encoder && strcmp(e->options->encoder, "context") == 0; }

static ij_status open_weights(eval *e, bool random, ij_error *err) {
    ij_weights **weights = &e->weights[random ? EVAL_RANDOM : EVAL_TRAINED];
    IJ_TRY(ij_weights_create(e->device, &e->config.model, is_context(e) ? IJ_KEEP_CONTEXT : IJ_KEEP_TARGET, weights, err));
    IJ_TRY(ij_weights_keep_half(*weights, e->element, err));
    IJ_TRY(ij_weights_commit(*weights, err));
    if (!random) return ij_checkpoint_read(e->checkpoint, *weights, err);
    IJ_TRY(ij_weights_initialise(*weights, e->config.seed, err));
    return ij_weights_round(*weights, err);
}

static ij_status open_source(eval *e, eval_features features, ij_error *err) {
    const ij_train_config *c = &e->config;
    ij_features_source *source = &e->sources[e->source_count];
    e->source_of[e->source_count++] = features;
    *source = (ij_features_source){.device = e->device};
    if (features == EVAL_PIXELS) {
        source->embed = ij_pixels_embed(&c->model, c->mean, c->std);
        return IJ_OK;
    }
    IJ_TRY(open_weights(e, features == EVAL_RANDOM, err));
    source->weights = e->weights[features];
    source->embed = (ij_embed_desc){.model = c->model, .output = IJ_EMBED_LAST4, .context = is_context(e), .filter = c->preprocess.filter};
    memcpy(source->embed.mean, c->mean, sizeof c->mean);
    memcpy(source->embed.std, c->std, sizeof c->std);
    return ij_model_mark(source->weights, is_context(e) ? IJ_SLOT_WEIGHT : IJ_SLOT_TARGET, source->mark, err);
}

/* An IDX file's images all have one size and are taken whole, as are those of a run that trained on whole images, and scenes. */
static ij_status make_features(eval *e, images *set, ij_error *err) {
    static const char *const names[2] = {"features of the training images", "features of the test images"};
    const ij_eval_options *o = e->options;
    const gpu_info *info = gpu_device_info(e->device);
    char cache[4300];
    const ij_model_config *m = &e->config.model;
    ij_preprocess how;
    if (set->ready) return IJ_OK;
    ij_preprocess_wish wish = {.height = m->image_height, .width = m->image_width};
    IJ_TRY(ij_preprocess_settle(&e->config.preprocess, &wish, m->image_height, m->image_width, &how, err));
    if (*e->folder) IJ_TRY(ij_path_join(cache, sizeof cache, e->folder, "features", err));
    for (int p = 0; p < 2; p++) {
        ij_features_desc desc = {.batch = o->batch ? o->batch : 32,
                                 .seed = o->seed,
                                 .limit = set->tables[0][0] ? 0
                                          : p == 0          ? o->train_limit
                                                            : o->test_limit,
                                 .preprocess = how,
                                 .whole = set->tables[0][0] || ij_dataset_image_bytes(set->part[p]) > 0 || !e->config.random_crop,
                                 .progress = o->progress,
                                 .stop = o->stop,
                                 .message = o->message,
                                 .user = o->user,
                                 .what = names[p]};
        bool hits[EVAL_FEATURES] = {false};
        IJ_TRY(ij_features_room(info, set->part[p], &how, desc.batch, PICTURE_BYTES_MAX, &desc.picture_bytes, err));
        IJ_TRY(
            ij_features_cached(set->part[p], &desc, e->sources, e->source_count, *e->folder ? cache : NULL, &set->features[p], hits, err));
        e->result->damaged_images += set->features[p].damaged;
        if (e->source_of[0] != EVAL_TRAINED || hits[0]) continue;
        e->encoded += set->features[p].count;
        e->encode_seconds += set->features[p].seconds[0];
    }
    set->ready = true;
    return IJ_OK;
}

/* ---- labels of a task ---- */

/* Labels of the rows of both parts' features. */
typedef struct task_labels {
    int *of[2];
    int classes;
    const char *const *names; /* [classes] */
    ij_label_column column;   /* a table's */
    const char **own_names;   /* the training data's */
} task_labels;

static void task_labels_free(task_labels *l) {
    free(l->of[0]);
    free(l->of[1]);
    free(l->own_names);
    ij_label_column_free(&l->column);
}

/* A table's column; train and test agree by value. */
static ij_status labels_of_table(const images *set, const char *task, task_labels *l, ij_error *err) {
    ij_labels *tables[2] = {NULL, NULL};
    ij_labels_part parts[2];
    ij_status status = IJ_OK;
    for (int p = 0; p < 2 && status == IJ_OK; p++) {
        status = ij_labels_read(set->tables[p], &tables[p], err);
        parts[p] = (ij_labels_part){tables[p], set->part[p]};
    }
    if (status == IJ_OK) status = ij_labels_column(parts, 2, task, &l->column, err);
    for (int p = 0; p < 2 && status == IJ_OK; p++)
        for (int64_t i = 0; i < set->features[p].count; i++) l->of[p][i] = l->column.labels[p][set->features[p].samples[i]];
    l->classes = l->column.classes;
    l->names = (const char *const *)l->column.names;
    ij_labels_free(tables[0]);
    ij_labels_free(tables[1]);
    return status;
}

/* The data set's own classes; train and test agree by name. */
static ij_status labels_of_folders(const images *set, task_labels *l, ij_error *err) {
    int *map;
    IJ_TRY(ij_split_match(set->part[0], set->part[1], NULL, &map, err));
    for (int p = 0; p < 2; p++)
        for (int64_t i = 0; i < set->features[p].count; i++) {
            int label = set->features[p].labels[i];
            l->of[p][i] = p == 0 ? label : map[label];
        }
    free(map);
    l->classes = ij_dataset_classes(set->part[0]);
    IJ_TRY(ij_alloc(&l->own_names, l->classes, sizeof *l->own_names, "class names", err));
    for (int c = 0; c < l->classes; c++) l->own_names[c] = ij_dataset_class_name(set->part[0], c);
    l->names = l->own_names;
    return IJ_OK;
}

/* Of the images that are used: a class that only test images have, and a single class, are errors that name them. */
static ij_status check_labels(const images *set, const char *task, const task_labels *l, ij_error *err) {
    int *seen, found = 0;
    IJ_TRY(ij_alloc(&seen, l->classes, sizeof *seen, "classes", err));
    ij_status status = IJ_OK;
    for (int64_t i = 0; i < set->features[0].count; i++) found += seen[l->of[0][i]]++ == 0;
    for (int64_t i = 0; i < set->features[1].count && status == IJ_OK; i++)
        if (!seen[l->of[1][i]])
            status = ij_fail(err, IJ_ERROR_MISMATCH, "%s: test images have class \"%s\", which the chosen %" PRId64 " training images lack",
                             task, l->names[l->of[1][i]], set->features[0].count);
    if (status == IJ_OK && found < 2)
        status = ij_fail(err, IJ_ERROR_ARGUMENT, "%s: the %" PRId64 " training images are of one class; there is nothing to tell apart",
                         task, set->features[0].count);
    free(seen);
    return status;
}

static ij_status read_labels(const images *set, const char *task, task_labels *l, ij_error *err) {
    for (int p = 0; p < 2; p++) IJ_TRY(ij_alloc(&l->of[p], set->features[p].count, sizeof *l->of[p], "labels", err));
    IJ_TRY(set->tables[0][0] ? labels_of_table(set, task, l, err) : labels_of_folders(set, l, err));
    return check_labels(set, task, l, err);
}

/* ---- tasks ---- */

static void on_progress(void *user, const char *what, int64_t done, int64_t total) {
    const eval *e = user;
    char text[300];
    snprintf(text, sizeof text, "%s, %s", e->what, what);
    if (e->options->progress) e->options->progress(e->options->user, text, done, total);
}

static bool on_stop(void *user) {
    const eval *e = user;
    return e->options->stop && e->options->stop(e->options->user);
}

static ij_samples samples_of(const images *set, const task_labels *l, int part, int source) {
    const ij_features *f = &set->features[part];
    return (ij_samples){f->x[source], l->of[part], f->count, f->dim[source], l->classes};
}

static ij_status frozen(eval *e, const char *task, images *set, const task_labels *l, eval_method method, ij_error *err) {
    for (int s = 0; s < e->source_count; s++) {
        if (on_stop(e)) return ij_fail(err, IJ_ERROR_STOPPED, "stopped before %s of %s", eval_method_names[method], task);
        eval_frozen desc = {.task = task,
                            .features = e->source_of[s],
                            .train = samples_of(set, l, 0, s),
                            .test = samples_of(set, l, 1, s),
                            .last_dim = e->source_of[s] == EVAL_PIXELS ? set->features[0].dim[s] : e->config.model.dim,
                            .seed = e->options->seed,
                            .temperature = e->options->knn_temperature,
                            .epochs = e->options->probe_epochs,
                            .progress = on_progress,
                            .user = e};
        snprintf(e->what, sizeof e->what, "%s, %s", task, eval_features_names[e->source_of[s]]);
        IJ_TRY(ij_frozen_rows(e->device, &desc, method, e->result, err));
    }
    return IJ_OK;
}

/* Pixels have no encoder to be trained further. */
static ij_status adapted(eval *e, const char *task, eval_method method, ij_error *err) {
    const ij_eval_options *o = e->options;
    ij_precision precision = IJ_PRECISION_AUTO;
    if (o->precision) IJ_TRY(ij_precision_find(o->precision, &precision, err));
    for (int s = 0; s < e->source_count; s++) {
        if (e->source_of[s] == EVAL_PIXELS) continue;
        eval_adapted desc = {.finetune = {.device = o->device,
                                          .train = o->train,
                                          .test = o->test,
                                          .epochs = o->finetune_epochs,
                                          .precision = precision,
                                          .seed = o->seed,
                                          .message = o->message},
                             .task = task,
                             .fraction = o->fraction > 0 ? o->fraction : 0.01,
                             .seeds = o->seeds > 0 ? o->seeds : 3,
                             .blocks = o->blocks > 0 ? o->blocks : 1,
                             .progress = on_progress,
                             .stop = on_stop,
                             .user = e};
        snprintf(e->what, sizeof e->what, "%s", task);
        IJ_TRY(ij_adapted_row(e->checkpoint, &desc, method, e->source_of[s], e->result, err));
    }
    return IJ_OK;
}

static ij_status run_task(eval *e, const char *task, ij_error *err) {
    bool own = strcmp(task, "classes") == 0;
    images *set = own ? &e->classes : &e->scenes;
    task_labels labels = {0};
    ij_status status = IJ_OK;
    bool any_frozen = e->methods[EVAL_KNN] || e->methods[EVAL_LINEAR] || e->methods[EVAL_LOGISTIC];
    if (any_frozen) {
        IJ_TRY(make_features(e, set, err));
        status = read_labels(set, task, &labels, err);
    }
    for (int m = 0; m < EVAL_METHODS && status == IJ_OK; m++) {
        if (!e->methods[m]) continue;
        if (m < EVAL_LOW_SHOT)
            status = frozen(e, task, set, &labels, (eval_method)m, err);
        else if (own)
            status = adapted(e, task, (eval_method)m, err);
    }
    task_labels_free(&labels);
    return status;
}

/* ---- all ---- */

static void say_lines(const ij_eval_options *o, char *lines) {
    char *rest, *line = strtok_r(lines, "\n", &rest);
    for (; line && o->message; line = strtok_r(NULL, "\n", &rest)) o->message(o->user, line);
}

static ij_status open_all(eval *e, const char *run, ij_error *err) {
    const ij_eval_options *o = e->options;
    ij_precision precision = IJ_PRECISION_AUTO;
    char notes[2048];
    IJ_TRY(read_wishes(e, err));
    if (o->precision) IJ_TRY(ij_precision_find(o->precision, &precision, err));
    IJ_TRY(ij_checkpoint_find(run, e->checkpoint, sizeof e->checkpoint, NULL, 0, err));
    IJ_TRY(ij_checkpoint_describe(e->checkpoint, &e->config, &e->result->step, notes, sizeof notes, err));
    say_lines(o, notes);
    if (!o->no_files && strcmp(run, e->checkpoint) != 0) /* a run folder, not a file or a model of others */
        snprintf(e->folder, sizeof e->folder, "%s", run);
    for (int t = 0; t < e->task_count; t++) { /* what cannot be opened is said before anything is computed */
        images *set = strcmp(e->tasks[t], "classes") == 0 ? &e->classes : &e->scenes;
        if (!set->part[0]) IJ_TRY(set == &e->classes ? open_classes(e, err) : open_scenes(e, err));
    }
    IJ_TRY(gpu_device_open(&o->device, &e->device, err));
    IJ_TRY(ij_precision_resolve(e->device, precision, &e->element, NULL, 0, err));
    for (int f = 0; f < EVAL_FEATURES; f++)
        if (e->features[f]) IJ_TRY(open_source(e, (eval_features)f, err));
    snprintf(e->result->checkpoint, sizeof e->result->checkpoint, "%s", e->checkpoint);
    snprintf(e->result->device, sizeof e->result->device, "%s", gpu_device_info(e->device)->name);
    snprintf(e->result->precision, sizeof e->result->precision, "%s", ij_element_name(e->element));
    e->result->seed = o->seed;
    return IJ_OK;
}

static void close_all(eval *e) {
    images *sets[] = {&e->classes, &e->scenes};
    for (int i = 0; i < IJ_COUNT(sets); i++)
        for (int p = 0; p < 2; p++) {
            ij_features_free(&sets[i]->features[p]);
            ij_dataset_close(sets[i]->part[p]);
        }
    for (int f = 0; f < EVAL_FEATURES; f++) ij_weights_destroy(e->weights[f]);
    gpu_device_close(e->device);
    free(e);
}

/* A folder that cannot be written does not take the results away. */
static void keep_json(const eval *e) {
    char path[4300], *json = NULL, line[900];
    ij_error why = {0};
    if (!*e->folder) return;
    ij_status status = ij_path_join(path, sizeof path, e->folder, "eval.json", &why);
    if (status == IJ_OK) status = ij_eval_json(e->result, &json, &why);
    if (status == IJ_OK) status = ij_file_replace(path, json, strlen(json), &why);
    free(json);
    if (status == IJ_OK || !e->options->message) return;
    snprintf(line, sizeof line, "%s; the results are not kept", why.text);
    e->options->message(e->options->user, line);
}

ij_status ij_eval_run(const char *run, const ij_eval_options *options, ij_eval_result *result, ij_error *err) {
    double start = ij_seconds();
    eval *e; /* its paths are too much for a thread's stack */
    *result = (ij_eval_result){0};
    IJ_TRY(ij_alloc(&e, 1, sizeof *e, "evaluation", err));
    e->options = options;
    e->result = result;
    ij_status status = open_all(e, run, err);
    for (int t = 0; t < e->task_count && status == IJ_OK; t++) status = run_task(e, e->tasks[t], err);
    result->seconds = ij_seconds() - start;
    result->images_per_second = e->encoded ? (double)e->encoded / (e->encode_seconds + 1e-9) : 0;
    if (status == IJ_OK) keep_json(e);
    close_all(e);
    if (status != IJ_OK) ij_eval_result_free(result);
    return status;
}
