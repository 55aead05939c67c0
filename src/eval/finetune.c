/* layer: eval; uses: base, io, data, gpu, model, train */
#include "eval/finetune.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/loader.h"
#include "eval/splits.h"
#include "io/json_writer.h"
#include "io/safetensors.h"
#include "model/classifier.h"
#include "model/positions.h"
#include "train/checkpoint.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIXEL_BYTES_MAX ((int64_t)128 << 20) /* of a batch: what every device can bind */
#define PICTURE_BYTES_MAX ((int64_t)2 << 20) /* of one picture; a larger one is averaged down, as in training */
#define BATCH_MAX 4096
#define STEPS_AN_EPOCH 25 /* that the paper's 1 % of ImageNet has at its batch of 512 */
#define PHOTO_SIDE 48
#define BAD_STEPS_MAX 10        /* steps in a row without finite gradients before it gives up ... */
#define BAD_STEPS_MAX_SCALED 40 /* ... with a loss scale, which halves in each of them */

const char *const ij_augmentation_names[IJ_AUGMENT_COUNT] = {"auto", "none", "crop", "flip", "randaugment"};

ij_status ij_augmentation_find(const char *name, ij_augmentation *out, ij_error *err) {
    for (int i = 0; i < IJ_AUGMENT_COUNT; i++)
        if (strcmp(name, ij_augmentation_names[i]) == 0) return *out = (ij_augmentation)i, IJ_OK;
    return ij_fail(err, IJ_ERROR_ARGUMENT, "augmentation \"%.40s\", expected auto, none, crop, flip or randaugment", name);
}

typedef struct finetune {
    const ij_finetune_desc *desc;
    ij_finetune_result *result;
    ij_train_config config;
    bool own_state; /* the checkpoint is a training state of this project */
    char checkpoint[4600], train_path[IJ_SPLIT_PATH], test_path[IJ_SPLIT_PATH];
    gpu_device *device;
    ij_dataset *train, *test;
    int *map; /* test's label to train's */
    gpu_element element;
    int64_t picture_bytes;
    ij_weights *encoder;
    ij_classifier *classifier;
    ij_loader *loader;            /* of the split that is read just now */
    ij_jepa_image *images;        /* [batch] */
    uint32_t *labels;             /* [batch] */
    struct augment_step *augment; /* [batch, AUGMENT_STEPS] */
    ij_schedule schedule;
    /* of the seed that runs */
    int run;
    uint64_t seed;
    int64_t *chosen, chosen_count;
    int bad_steps;
    bool encoder_is_changed; /* something was trained since the last load */
    ij_finetune_progress progress;
    double started;      /* the first seed's first step */
    int64_t images_done; /* trained, since then; a tested one is a third of it */
} finetune;

static void say(const finetune *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(const finetune *f, const char *format, ...) {
    char line[800];
    va_list args;
    if (!f->desc->message) return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    f->desc->message(f->desc->user, line);
}

static void on_damaged(void *user, int64_t sample, const char *text) {
    (void)sample;
    say(user, "damaged image, left out: %s", text);
}

/* ---- settings ---- */

static bool some_images(const ij_finetune_desc *d) { return d->per_class > 0 || (d->fraction > 0 && d->fraction < 1); }
static double or_default(double given, double fallback) { return given > 0 ? given : given < 0 ? 0 : fallback; }

static ij_status check_desc(const ij_finetune_desc *d, ij_error *err) {
    if (!(d->fraction >= 0 && d->fraction <= 1))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "fraction %g, expected above 0, at most 1", d->fraction);
    if (d->fraction > 0 && d->per_class > 0)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "a fraction and a number of images a class exclude each other");
    if (d->seeds < 0 || d->seeds > FINETUNE_SEEDS_MAX)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "%d seeds, expected 1 to %d", d->seeds, FINETUNE_SEEDS_MAX);
    if (d->batch < 0 || d->batch > BATCH_MAX)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "batch of %d images, expected 1 to %d", d->batch, BATCH_MAX);
    if (d->epochs < 0 || d->epochs > 65535) return ij_fail(err, IJ_ERROR_ARGUMENT, "%d epochs, expected 1 to 65535", d->epochs);
    if (!(d->lr >= 0) || !(d->layer_decay >= 0 && d->layer_decay <= 1))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "learning rate %g, layer decay %g", d->lr, d->layer_decay);
    return IJ_OK;
}

static int batch_of(const ij_finetune_desc *d, int64_t images) {
    int64_t batch = images / STEPS_AN_EPOCH < 512 ? images / STEPS_AN_EPOCH : 512;
    if (d->batch) batch = d->batch;
    if (!d->batch && batch < 8) batch = 8;
    return (int)(batch < images ? batch : images);
}

static bool photographs(const finetune *f) {
    const ij_model_config *m = &f->config.model;
    return m->channels == 3 && m->image_height >= PHOTO_SIDE && m->image_width >= PHOTO_SIDE;
}

static void settle(finetune *f) {
    const ij_finetune_desc *d = f->desc;
    const ij_model_config *m = &f->config.model;
    ij_finetune_result *r = f->result;
    bool some = some_images(d);
    r->last_blocks = d->last_blocks ? d->last_blocks : m->depth;
    r->epochs = d->epochs ? d->epochs : 50;
    r->batch = batch_of(d, f->chosen_count);
    r->warmup_epochs = or_default(d->warmup_epochs, fmin(5, 0.1 * r->epochs));
    r->lr = or_default(d->lr, some ? 3e-5 * 1024 / m->dim : 1e-4 * 1280 / m->dim);
    r->weight_decay = or_default(d->weight_decay, some ? 0.05 : 0.04);
    r->layer_decay = or_default(d->layer_decay, 0.75);
    r->smoothing = or_default(d->smoothing, 0.1);
    r->augment = d->augment != IJ_AUGMENT_AUTO ? d->augment : photographs(f) ? IJ_AUGMENT_RANDAUGMENT : IJ_AUGMENT_CROP;
    r->train_images = f->chosen_count;
    r->test_images = ij_dataset_count(f->test);
    r->classes = ij_dataset_classes(f->train);
    f->schedule = (ij_schedule){.lr = r->lr,
                                .final_lr = 0.01 * r->lr,
                                .warmup_epochs = r->warmup_epochs,
                                .ipe_scale = 1,
                                .epochs = r->epochs,
                                .steps_per_epoch = f->chosen_count / r->batch};
    r->steps = ij_schedule_steps(&f->schedule);
}

/* ---- opening ---- */

static ij_status choose(finetune *f, uint64_t seed, ij_error *err) {
    free(f->chosen);
    f->chosen = NULL;
    return ij_split_choose(f->train, f->desc->fraction, f->desc->per_class, seed, &f->chosen, &f->chosen_count, err);
}

static ij_status open_data(finetune *f, ij_error *err) {
    const ij_finetune_desc *d = f->desc;
    const char *train = d->train && *d->train ? d->train : f->config.data_path;
    ij_dataset_desc dataset = {.channels = f->config.channels, .pad_to = f->config.pad_to};
    if (!*train) {
        ij_fail(err, IJ_ERROR_ARGUMENT, "no training images given, and the model has no data.path");
        return ij_hint(err, "--train DIR");
    }
    snprintf(f->train_path, sizeof f->train_path, "%s", train);
    IJ_TRY(ij_split_open(f->train_path, &dataset, &f->train, err));
    if (d->test && *d->test)
        snprintf(f->test_path, sizeof f->test_path, "%s", d->test);
    else
        IJ_TRY(ij_split_find_test(f->train_path, f->test_path, err));
    IJ_TRY(ij_split_open(f->test_path, &dataset, &f->test, err));
    IJ_TRY(choose(f, d->seed, err)); /* every class has some, whatever the seed */
    return ij_split_match(f->train, f->test, NULL, &f->map, err);
}

/* Room for one picture of either split: what an IDX file's images need, else what a batch leaves each. */
static int64_t picture_bytes(const finetune *f) {
    int64_t train = ij_dataset_image_bytes(f->train), test = ij_dataset_image_bytes(f->test), most = PIXEL_BYTES_MAX;
    if ((uint64_t)most > gpu_device_info(f->device)->range_max) most = (int64_t)gpu_device_info(f->device)->range_max;
    most = most / 8 * 7; /* crops, labels and steps of augmentation are staged in the same tensor */
    int64_t room = most / f->result->batch / 16 * 16 < PICTURE_BYTES_MAX ? most / f->result->batch / 16 * 16 : PICTURE_BYTES_MAX;
    int64_t need = train > test ? train : test;
    return train > 0 && test > 0 && need < room ? need : room;
}

static ij_status open_encoder(finetune *f, ij_error *err) {
    IJ_TRY(ij_weights_create(f->device, &f->config.model, IJ_KEEP_TARGET, &f->encoder, err));
    IJ_TRY(ij_weights_commit(f->encoder, err));
    return f->desc->random_init ? IJ_OK : ij_checkpoint_read(f->checkpoint, f->encoder, err);
}

static ij_status open_classifier(finetune *f, ij_error *err) {
    const ij_finetune_result *r = f->result;
    f->picture_bytes = picture_bytes(f);
    ij_classifier_desc desc = {.model = f->config.model,
                               .classes = r->classes,
                               .batch = r->batch,
                               .last_blocks = r->last_blocks,
                               .element = f->element,
                               .smoothing = r->smoothing,
                               .augment = r->augment == IJ_AUGMENT_FLIP || r->augment == IJ_AUGMENT_RANDAUGMENT,
                               .pixel_bytes = (uint64_t)r->batch * (((uint64_t)f->picture_bytes + 15) / 16 * 16)};
    memcpy(desc.mean, f->config.mean, sizeof desc.mean);
    memcpy(desc.std, f->config.std, sizeof desc.std);
    IJ_TRY(ij_alloc(&f->images, r->batch, sizeof *f->images, "batch", err));
    IJ_TRY(ij_alloc(&f->labels, r->batch, sizeof *f->labels, "batch", err));
    IJ_TRY(ij_alloc(&f->augment, (int64_t)r->batch * AUGMENT_STEPS, sizeof *f->augment, "batch", err));
    return ij_classifier_create(f->device, &desc, &f->classifier, err);
}

static ij_status open_all(finetune *f, const char *run, ij_error *err) {
    int64_t step;
    char notes[2048];
    IJ_TRY(check_desc(f->desc, err));
    IJ_TRY(ij_checkpoint_find(run, f->checkpoint, sizeof f->checkpoint, NULL, 0, err));
    IJ_TRY(ij_checkpoint_describe(f->checkpoint, &f->config, &step, notes, sizeof notes, err));
    f->own_state = f->config.schedule.steps_per_epoch > 0; /* which other models do not say */
    char *rest, *line = strtok_r(notes, "\n", &rest);
    for (; line; line = strtok_r(NULL, "\n", &rest)) say(f, "%s", line);
    IJ_TRY(open_data(f, err));
    IJ_TRY(gpu_device_open(&f->desc->device, &f->device, err));
    IJ_TRY(ij_precision_resolve(f->device, f->desc->precision, &f->element, f->result->precision, sizeof f->result->precision, err));
    settle(f);
    IJ_TRY(open_encoder(f, err));
    return open_classifier(f, err);
}

/* ---- progress ---- */

static int runs_of(const finetune *f) { return f->desc->seeds ? f->desc->seeds : 1; }

/* Tells how far it is; IJ_ERROR_STOPPED when that was enough. */
static ij_status report(finetune *f, const char *what, int64_t step, int64_t steps, ij_error *err) {
    const ij_finetune_result *r = f->result;
    ij_finetune_progress *p = &f->progress;
    double seconds = ij_seconds() - f->started, each = (double)(r->steps * r->batch) + (double)r->test_images / 3;
    p->what = what, p->step = step, p->steps = steps;
    p->images_per_second = f->images_done && seconds > 0 ? (double)f->images_done / seconds : 0;
    p->seconds_left = p->images_per_second > 0 ? (each * runs_of(f) - (double)f->images_done) / p->images_per_second : 0;
    if (p->seconds_left < 0) p->seconds_left = 0;
    if (!f->desc->progress || f->desc->progress(f->desc->user, p)) return IJ_OK;
    return ij_fail(err, IJ_ERROR_STOPPED, "stopped at seed %d of %d, epoch %" PRId64 " of %" PRId64, p->seed, p->seeds, p->epoch,
                   p->epochs);
}

/* ---- reading pictures ---- */

/* An IDX file's images all have one size and are taken whole, as are those of a run that trained on whole images. */
static ij_crop_mode test_crop(const finetune *f, const ij_dataset *dataset) {
    return ij_dataset_image_bytes(dataset) > 0 || !f->config.random_crop ? IJ_CROP_FULL : IJ_CROP_CENTER;
}

static ij_status open_loader(finetune *f, bool training, ij_error *err) {
    ij_dataset *dataset = training ? f->train : f->test;
    ij_augmentation augment = f->result->augment;
    ij_loader_desc desc = {.seed = f->seed,
                           .batch = f->result->batch,
                           .threads = f->config.threads,
                           .shuffle = training,
                           .drop_last = training,
                           .crop = test_crop(f, dataset),
                           .scale = {augment == IJ_AUGMENT_CROP ? 0.7 : 0.3, 1},
                           .cap_bytes = f->picture_bytes,
                           .on_damaged = on_damaged,
                           .user = f};
    if (training && augment != IJ_AUGMENT_NONE) desc.crop = IJ_CROP_RANDOM;
    if (training) desc.subset = f->chosen, desc.subset_count = f->chosen_count;
    return ij_loader_open(dataset, &desc, &f->loader, err);
}

static void close_loader(finetune *f) {
    if (f->loader && f->run == 0) f->result->damaged_images += ij_loader_damaged(f->loader);
    ij_loader_close(f->loader);
    f->loader = NULL;
}

/* The loader's batch in the classifier's words. In a test, an image that stands in for a damaged one would count twice. */
static ij_classifier_batch take(finetune *f, const ij_loader_batch *batch, bool training, uint32_t epoch) {
    const ij_model_config *m = &f->config.model;
    augment_recipe recipe = {.flip = f->result->augment >= IJ_AUGMENT_FLIP, .randaugment = f->result->augment == IJ_AUGMENT_RANDAUGMENT};
    ij_classifier_batch out = {.images = f->images, .labels = f->labels, .pixels = batch->pixels, .pixel_bytes = batch->bytes};
    for (int i = 0; i < batch->count; i++) {
        const ij_loader_item *item = &batch->items[i];
        if (!training && item->replaced) continue;
        op_augment_draw(&recipe, f->seed, epoch, (uint64_t)item->sample, m->image_height, m->image_width,
                        f->augment + out.count * AUGMENT_STEPS);
        f->labels[out.count] = (uint32_t)(training ? item->label : f->map[item->label]);
        f->images[out.count++] = ij_jepa_image_of(item, batch->channels);
    }
    if (training && f->classifier->desc.augment) out.steps = f->augment;
    return out;
}

/* ---- training ---- */

static ij_status judge_finite(finetune *f, const ij_classifier_result *r, int64_t step, ij_error *err) {
    bool scaled = f->element == GPU_F16; /* there it is the search for the largest scale, and no news but the first times */
    if (r->finite) return f->bad_steps = 0, IJ_OK;
    f->bad_steps++;
    f->result->seed[f->run].skipped_steps++;
    if (!scaled || f->bad_steps > 3)
        say(f, "step %" PRId64 ": loss %g, gradient norm %g: not finite, the step changed nothing", step + 1, r->loss, r->gradient_norm);
    if (f->bad_steps < (scaled ? BAD_STEPS_MAX_SCALED : BAD_STEPS_MAX)) return IJ_OK;
    ij_fail(err, IJ_ERROR_NUMBER, "%d steps in a row without finite gradients, the last at step %" PRId64 ", learning rate %g",
            f->bad_steps, step + 1, ij_schedule_lr(&f->schedule, step));
    return ij_hint(err, "a lower learning rate, --lr, may help");
}

/* Reads the results of step `step`, and tells of it. */
static ij_status collect(finetune *f, int64_t step, ij_error *err) {
    ij_classifier_result r;
    ij_finetune_seed *seed = &f->result->seed[f->run];
    int64_t per_epoch = f->schedule.steps_per_epoch, last = f->result->steps - per_epoch;
    IJ_TRY(ij_classifier_result_of(f->classifier, (int)(step % IJ_CLASSIFIER_SLOTS), &r, err));
    if (step >= last) {
        seed->loss += r.loss / (double)per_epoch;
        seed->train_right += 100 * (double)r.right / (double)(per_epoch * f->result->batch);
    }
    f->images_done += f->result->batch;
    f->progress.loss = r.loss;
    f->progress.epoch = step / per_epoch + 1;
    IJ_TRY(judge_finite(f, &r, step, err));
    return report(f, "training", step + 1, f->result->steps, err);
}

static ij_status next_batch(finetune *f, int64_t step, ij_classifier_batch *out, ij_error *err) {
    const ij_loader_batch *batch;
    int64_t epoch = step / f->schedule.steps_per_epoch;
    if (step % f->schedule.steps_per_epoch == 0) IJ_TRY(ij_loader_start(f->loader, epoch, 0, err));
    IJ_TRY(ij_loader_next(f->loader, &batch, err));
    if (batch->count != f->result->batch)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: a batch of %d instead of %d: too many images are damaged", f->train_path, batch->count,
                       f->result->batch);
    *out = take(f, batch, true, (uint32_t)epoch);
    return IJ_OK;
}

static ij_status train_steps(finetune *f, ij_error *err) {
    for (int64_t step = 0; step < f->result->steps; step++) {
        ij_classifier_batch batch;
        ij_classifier_scalars scalars = {.step = (uint64_t)step,
                                         .lr = ij_schedule_lr(&f->schedule, step),
                                         .weight_decay = f->result->weight_decay,
                                         .layer_decay = f->result->layer_decay};
        int slot = (int)(step % IJ_CLASSIFIER_SLOTS);
        IJ_TRY(next_batch(f, step, &batch, err));
        IJ_TRY(ij_classifier_pass(f->classifier, slot, &scalars, &batch, err));
        if (step > 0) IJ_TRY(collect(f, step - 1, err)); /* while the device works on this one */
        IJ_TRY(ij_classifier_update(f->classifier, slot, err));
        f->encoder_is_changed = true;
    }
    return collect(f, f->result->steps - 1, err);
}

static ij_status train(finetune *f, ij_error *err) {
    IJ_TRY(open_loader(f, true, err));
    ij_status status = train_steps(f, err);
    close_loader(f);
    return status;
}

/* ---- testing ---- */

static ij_status read_test(finetune *f, int slot, int *counts, int64_t *right, ij_error *err) {
    ij_classifier_result r;
    if (counts[slot] == 0) return IJ_OK;
    IJ_TRY(ij_classifier_result_of(f->classifier, slot, &r, err));
    *right += r.right;
    counts[slot] = 0;
    return IJ_OK;
}

static ij_status test_batches(finetune *f, int64_t *right, int64_t *tested, ij_error *err) {
    int64_t batches = ij_loader_batches(f->loader);
    int counts[IJ_CLASSIFIER_SLOTS] = {0};
    *right = *tested = 0;
    IJ_TRY(ij_loader_start(f->loader, 0, 0, err));
    for (int64_t b = 0; b < batches; b++) {
        const ij_loader_batch *from;
        int slot = (int)(b % IJ_CLASSIFIER_SLOTS);
        IJ_TRY(ij_loader_next(f->loader, &from, err));
        ij_classifier_batch batch = take(f, from, false, 0);
        IJ_TRY(read_test(f, slot, counts, right, err));
        if (batch.count) IJ_TRY(ij_classifier_test(f->classifier, slot, &batch, err));
        counts[slot] = batch.count;
        *tested += batch.count;
        f->images_done += batch.count / 3;
        IJ_TRY(report(f, "testing", b + 1, batches, err));
    }
    for (int slot = 0; slot < IJ_CLASSIFIER_SLOTS; slot++) IJ_TRY(read_test(f, slot, counts, right, err));
    if (*tested) return IJ_OK;
    return ij_fail(err, IJ_ERROR_FORMAT, "%s: none of %" PRId64 " images can be read", f->test_path, ij_dataset_count(f->test));
}

static ij_status test(finetune *f, ij_error *err) {
    int64_t right, tested;
    IJ_TRY(open_loader(f, false, err));
    ij_status status = test_batches(f, &right, &tested, err);
    close_loader(f);
    IJ_TRY(status);
    f->result->seed[f->run].test = ij_accuracy_of(right, tested);
    f->result->test_images = tested;
    return IJ_OK;
}

/* ---- writing ---- */

typedef struct source {
    const ij_weights *weights;
    int index;
} source;

static ij_status fill_from_device(void *user, uint64_t offset, void *out, size_t bytes, ij_error *err) {
    const source *s = user;
    return gpu_read(s->weights->device, s->weights->tensors[IJ_SLOT_WEIGHT][s->index], offset, out, bytes, err);
}

/* What the checkpoint said of itself (from; NULL: a model of others, which says it in other words), and the classes' names as a JSON list, in the order of the head's rows. */
static ij_status put_metadata(const finetune *f, const ij_safetensors *from, ij_safetensors_writer *to, ij_error *err) {
    ij_json json = {0};
    if (!from) IJ_TRY(ij_checkpoint_put_metadata(to, &f->config, 0, err));
    for (int64_t i = 0; from && i < ij_safetensors_pairs(from); i++) {
        const char *key, *value;
        ij_safetensors_pair(from, i, &key, &value);
        if (strcmp(key, "loss_scale") != 0 && strcmp(key, "classes") != 0) IJ_TRY(ij_safetensors_put(to, key, value, err));
    }
    ij_json_open(&json, '[');
    for (int k = 0; k < f->result->classes; k++) ij_json_string(&json, ij_dataset_class_name(f->train, k));
    ij_json_close(&json, ']');
    ij_status status = json.failed ? ij_fail(err, IJ_ERROR_MEMORY, "no memory for the names of %d classes", f->result->classes)
                                   : ij_safetensors_put(to, "classes", json.text, err);
    ij_json_free(&json);
    return status;
}

static ij_status add_tensors(const finetune *f, ij_safetensors_writer *writer, source *sources, ij_error *err) {
    const ij_weights *w = f->classifier->weights;
    for (int i = 0; i < w->table.count; i++) {
        const ij_param *p = &w->table.params[i];
        char name[160];
        snprintf(name, sizeof name, "%s%s", strncmp(p->name, "head.", 5) == 0 ? "" : "target_encoder.", p->name);
        sources[i] = (source){w, i};
        IJ_TRY(ij_safetensors_add_filled(writer, name, IJ_SAFETENSORS_F32, p->dims, p->shape, fill_from_device, &sources[i], err));
    }
    return IJ_OK;
}

static ij_status write_file(const finetune *f, const ij_safetensors *from, float *positions, source *sources, ij_error *err) {
    const ij_model_config *m = &f->config.model;
    const int64_t shape[3] = {1, ij_patches(m), m->dim};
    ij_safetensors_writer *writer;
    IJ_TRY(ij_safetensors_begin(f->desc->out, &writer, err));
    ij_weights_positions(f->encoder, ij_grid_height(m), ij_grid_width(m), positions);
    ij_status status = put_metadata(f, from, writer, err);
    if (status == IJ_OK) status = add_tensors(f, writer, sources, err);
    if (status == IJ_OK) status = ij_safetensors_add(writer, "target_encoder.pos_embed", IJ_SAFETENSORS_F32, 3, shape, positions, err);
    if (status == IJ_OK) return ij_safetensors_finish(writer, err);
    ij_safetensors_abandon(writer);
    return status;
}

/* The fine-tuned encoder under the names of a target encoder, so that what reads checkpoints reads it, and the head. */
static ij_status save(finetune *f, ij_error *err) {
    const ij_model_config *m = &f->config.model;
    ij_safetensors *from = NULL;
    float *positions = NULL;
    source *sources = NULL;
    IJ_TRY(gpu_wait_all(f->device, err));
    if (f->own_state) IJ_TRY(ij_safetensors_open(f->checkpoint, &from, err));
    ij_status status = ij_alloc(&positions, (int64_t)ij_patches(m) * m->dim, sizeof *positions, "positions", err);
    if (status == IJ_OK) status = ij_alloc(&sources, f->classifier->weights->table.count, sizeof *sources, "list of tensors", err);
    if (status == IJ_OK) status = write_file(f, from, positions, sources, err);
    free(positions);
    free(sources);
    ij_safetensors_close(from);
    if (status == IJ_OK) f->result->out_written = true;
    return status;
}

/* ---- seeds ---- */

static ij_status begin(finetune *f, ij_error *err) {
    f->seed = f->desc->seed + (uint64_t)f->run;
    f->bad_steps = 0;
    f->encoder_is_changed = false;
    f->result->seed[f->run] = (ij_finetune_seed){.seed = f->seed};
    f->progress = (ij_finetune_progress){.seed = f->run + 1, .seeds = runs_of(f), .epoch = 1, .epochs = f->result->epochs, .loss = NAN};
    IJ_TRY(choose(f, f->seed, err));
    if (f->desc->random_init) IJ_TRY(ij_weights_initialise(f->encoder, f->seed, err));
    IJ_TRY(ij_classifier_load(f->classifier, f->encoder, f->seed, err));
    if (f->run == 0) f->started = ij_seconds();
    return report(f, "training", 0, f->result->steps, err);
}

static ij_status run_seed(finetune *f, ij_error *err) {
    bool first = f->run == 0 && f->desc->out;
    IJ_TRY(begin(f, err));
    ij_status status = train(f, err);
    if (first && f->encoder_is_changed && (status == IJ_OK || status == IJ_ERROR_STOPPED)) {
        ij_error own;
        ij_status saved = save(f, status == IJ_OK ? err : &own);
        if (status == IJ_OK) status = saved;
        if (status == IJ_ERROR_STOPPED && saved != IJ_OK) say(f, "%s", own.text);
    }
    IJ_TRY(status);
    IJ_TRY(test(f, err));
    f->result->seeds++;
    return IJ_OK;
}

static void summarise(ij_finetune_result *r) {
    ij_accuracy runs[FINETUNE_SEEDS_MAX];
    for (int i = 0; i < r->seeds; i++) runs[i] = r->seed[i].test;
    ij_accuracy all = ij_accuracy_over(runs, r->seeds);
    r->mean = all.percent, r->low = all.low, r->high = all.high;
}

static void close_all(finetune *f) {
    close_loader(f);
    ij_classifier_destroy(f->classifier);
    ij_weights_destroy(f->encoder);
    ij_dataset_close(f->train);
    ij_dataset_close(f->test);
    gpu_device_close(f->device);
    free(f->map);
    free(f->images);
    free(f->labels);
    free(f->augment);
    free(f->chosen);
    free(f);
}

ij_status ij_finetune_run(const char *run, const ij_finetune_desc *desc, ij_finetune_result *result, ij_error *err) {
    double start = ij_seconds();
    finetune *f; /* its paths are too much for a thread's stack */
    IJ_TRY(ij_alloc(&f, 1, sizeof *f, "fine-tuning", err));
    *result = (ij_finetune_result){0};
    f->desc = desc;
    f->result = result;
    ij_status status = open_all(f, run, err);
    for (; status == IJ_OK && f->run < runs_of(f); f->run++) status = run_seed(f, err);
    if (result->seeds) summarise(result);
    result->images_per_second = f->progress.images_per_second;
    result->seconds = ij_seconds() - start;
    close_all(f);
    return status;
}
