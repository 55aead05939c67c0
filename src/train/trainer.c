/* layer: train; uses: base, io, data, gpu, ops, model
 *
 * Order of a step, so that the device is never idle while the host looks at numbers:
 *   queue the first pass of step t;  read the results of step t - 1 (the device works on t meanwhile);  queue the rest of t. */
#include "train/trainer.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/loader.h"
#include "io/runlog.h"
#include "train/checkpoint.h"
#include "train/import.h"
#include "train/monitor.h"
#include "train/tune.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RATE_STEPS 32                /* images/s is over the last so many steps */
#define PIXEL_BYTES_MAX (128u << 20) /* of a micro-batch; larger crops are averaged down before the upload */
#define BAD_STEPS_MAX 10             /* steps in a row without finite gradients before the run gives up ... */
#define BAD_STEPS_MAX_SCALED 40      /* ... with a loss scale, which halves in each of them: 2^24, its greatest, is 1 after 24 */

/* log.csv: the released columns first. mask-A, mask-B: patches of a context and of a target block, means of the batch. */
static const char *const columns[] = {"epoch",
                                      "itr",
                                      "loss",
                                      "mask-A",
                                      "mask-B",
                                      "time",
                                      "lr",
                                      "weight_decay",
                                      "momentum",
                                      "gradient_norm",
                                      "regularizer",
                                      "finite",
                                      "trivial_loss",
                                      "rankme_target",
                                      "rankme_prediction",
                                      "cosine_target",
                                      "cosine_prediction",
                                      "position_variance_target",
                                      "position_variance_prediction",
                                      "verdict"};

struct ij_trainer {
    ij_train_config config;
    ij_trainer_options options;
    gpu_device *device;
    ij_dataset *dataset;
    ij_loader *loader;
    ij_weights *weights;
    ij_jepa *jepa;
    ij_monitor *monitor;
    ij_runlog *log;
    ij_jepa_image *images; /* [batch] */
    int64_t step, steps;   /* queued so far; in all */
    int64_t loader_epoch;  /* that the loader is in; -1: none */
    int64_t micro;         /* passes queued so far: its parity is the slot */
    bool pending;          /* a step is queued whose results were not read yet */
    int pending_slot;
    int64_t pending_step;
    bool pending_monitor;
    double pending_lr, pending_weight_decay, pending_momentum;
    int bad_steps;
    double finished_at[RATE_STEPS]; /* times at which results of steps were read */
    int64_t finished_count;
    ij_progress progress;
    char reason[300];
};

static void say(const ij_trainer *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(const ij_trainer *t, const char *format, ...) {
    if (!t->options.message) return;
    char line[1200];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    t->options.message(t->options.user, line);
}

static void on_damaged(void *user, int64_t sample, const char *text) {
    (void)sample;
    const ij_trainer *t = user;
    say(t, "damaged image, left out: %s", text);
    if (!t->log) return;
    ij_json *event = ij_runlog_event(t->log, "damaged image");
    ij_json_key(event, "text"), ij_json_string(event, text);
    (void)ij_runlog_event_end(t->log, NULL);
}

/* ---- opening ---- */

static ij_status open_dataset(ij_trainer *t, ij_error *err) {
    const ij_train_config *c = &t->config;
    if (t->options.dataset) {
        t->dataset = ij_dataset_share(t->options.dataset);
        if (ij_dataset_channels(t->dataset) == c->channels) return IJ_OK;
        ij_fail(err, IJ_ERROR_MISMATCH, "%s has images of %d channels, the configuration is for %d", ij_dataset_title(t->dataset),
                ij_dataset_channels(t->dataset), c->channels);
        return ij_hint(err, "data.channels=%d", ij_dataset_channels(t->dataset));
    }
    if (!c->data_path[0]) {
        ij_fail(err, IJ_ERROR_ARGUMENT, "no data: data.path is not set");
        return ij_hint(err, "give a folder of pictures or an IDX file: --data DIR");
    }
    return ij_dataset_open(c->data_path, &(ij_dataset_desc){.channels = c->channels, .pad_to = c->pad_to}, &t->dataset, err);
}

static ij_status open_data(ij_trainer *t, ij_error *err) {
    ij_train_config *c = &t->config;
    IJ_TRY(open_dataset(t, err));
    int64_t count = ij_dataset_count(t->dataset), per_step = (int64_t)c->batch * c->accumulation;
    c->schedule.steps_per_epoch = count / per_step;
    if (c->schedule.steps_per_epoch < 1) {
        ij_fail(err, IJ_ERROR_ARGUMENT, "%s has %" PRId64 " images, one step takes %" PRId64 " (batch %d x accumulation %d)",
                ij_dataset_title(t->dataset), count, per_step, c->batch, c->accumulation);
        return count < c->accumulation ? ij_hint(err, "--set optimization.accumulation=1 --set data.batch_size=%" PRId64 " fits", count)
                                       : ij_hint(err, "--set data.batch_size=%" PRId64 " fits", count / c->accumulation);
    }
    t->steps = ij_schedule_steps(&c->schedule);
    int64_t cap = ij_dataset_image_bytes(t->dataset), limit = PIXEL_BYTES_MAX;
    if ((uint64_t)limit > gpu_device_info(t->device)->range_max) limit = (int64_t)gpu_device_info(t->device)->range_max;
    if (cap <= 0 || cap > limit / c->batch) cap = limit / c->batch < 4 << 20 ? limit / c->batch : 4 << 20;
    cap = cap / 16 * 16 > 16 ? cap / 16 * 16 : 16;
    if (ij_dataset_image_bytes(t->dataset) > 0 && cap < ij_dataset_image_bytes(t->dataset)) cap += 16;
    return ij_loader_open(t->dataset,
                          &(ij_loader_desc){.seed = c->seed,
                                            .batch = c->batch,
                                            .threads = c->threads,
                                            .shuffle = true,
                                            .drop_last = true,
                                            .crop = c->random_crop ? IJ_CROP_RANDOM : IJ_CROP_FULL,
                                            .scale = {c->crop_scale[0], c->crop_scale[1]},
                                            .ratio = {c->crop_ratio[0], c->crop_ratio[1]},
                                            .cap_bytes = cap,
                                            .on_damaged = on_damaged,
                                            .user = t},
                          &t->loader, err);
}

static void on_tuned(void *user, const tune_row *row) {
    say(user, "tuned %s: %s, %.3f ms (default %s, %.3f ms)%s", row->product, row->choice, 1e3 * row->seconds, row->fallback,
        1e3 * row->fallback_seconds, row->wrong ? "; a kernel computed wrongly and was left out" : "");
}

static ij_status open_model(ij_trainer *t, ij_error *err) {
    const ij_train_config *c = &t->config;
    ij_jepa_desc desc = {.model = c->model,
                         .masks = c->masks,
                         .batch = c->batch,
                         .accumulation = c->accumulation,
                         .loss = c->loss,
                         .pixel_bytes = (ij_loader_max_bytes(t->loader) + 15) / 16 * 16,
                         .regularizer = c->regularizer,
                         .regularizer_weight = c->regularizer_weight,
                         .regularizer_covariance = c->regularizer_covariance,
                         .regularizer_directions = c->regularizer_directions,
                         .profile = t->options.profile};
    memcpy(desc.mean, c->mean, sizeof desc.mean);
    memcpy(desc.std, c->std, sizeof desc.std);
    char why[300];
    const gpu_info *info = gpu_device_info(t->device);
    if (info->shape_count && c->precision != IJ_PRECISION_F32 && info->kind != GPU_KIND_CPU)
        say(t, "checking the matrix engines (a driver that compiles these kernels for the first time takes a while)");
    IJ_TRY(ij_precision_resolve(t->device, c->precision, &desc.element, why, sizeof why, err));
    say(t, "precision: %s", why);
    if (desc.regularizer && c->batch < 2)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "optimization.regularizer: %s compares images of a batch, data.batch_size is %d",
                       ij_regularizer_names[c->regularizer], c->batch);
    IJ_TRY(ij_alloc(&t->images, c->batch, sizeof *t->images, "batch", err));
    IJ_TRY(ij_weights_create(t->device, &c->model, IJ_KEEP_TRAINING, &t->weights, err));
    IJ_TRY(ij_jepa_plan(t->device, &desc, t->weights, &t->jepa, err)); /* before anything is allocated */
    IJ_TRY(ij_tune_step(t->jepa, !t->options.no_tune, on_tuned, t, err));
    IJ_TRY(ij_weights_commit(t->weights, err));
    IJ_TRY(ij_jepa_build(t->jepa, err));
    IJ_TRY(ij_weights_initialise(t->weights, c->seed, err));
    if (c->monitor_every > 0) IJ_TRY(ij_monitor_create(t->jepa, &t->monitor, err));
    uint64_t weights, rest;
    ij_jepa_memory(t->jepa, &weights, &rest);
    say(t, "memory: %.1f MiB weights, gradients, optimiser; %.1f MiB for batches of %d", (double)weights / 1048576, (double)rest / 1048576,
        c->batch);
    return IJ_OK;
}

/* A name of a checkpoint that this program wrote into a run folder. */
static bool is_checkpoint(const char *name, int64_t *step) {
    int end = 0;
    return sscanf(name, "step-%" SCNd64 ".safetensors%n", step, &end) == 1 && end > 0 && name[end] == 0;
}

static ij_status checkpoint_folder(const ij_trainer *t, char out[4200], ij_error *err) {
    return ij_path_join(out, 4200, t->config.folder, "checkpoints", err);
}

/* The newest step in the run folder, -1: none. `remove_below` deletes all but the newest `keep` of them (0: none is deleted). */
static int64_t walk_checkpoints(const char *folder, int keep, bool remove_all) {
    int64_t newest = -1;
    for (;;) {
        int64_t oldest = INT64_MAX;
        int count = 0;
        DIR *dir = opendir(folder);
        char name[300], path[4600];
        for (struct dirent *entry; dir && (entry = readdir(dir));) {
            int64_t step;
            if (!is_checkpoint(entry->d_name, &step)) continue;
            count++;
            if (step > newest) newest = step;
            if (step < oldest) oldest = step, snprintf(name, sizeof name, "%s", entry->d_name);
        }
        if (dir) closedir(dir);
        bool drop = count > 0 && (remove_all || (keep > 0 && count > keep));
        if (!drop) return newest;
        snprintf(path, sizeof path, "%s/%s", folder, name);
        if (unlink(path) != 0) return newest;
    }
}

static ij_status write_config(const ij_trainer *t, ij_error *err) {
    char path[4200], *yaml = NULL;
    ij_config_text text = {0};
    IJ_TRY(ij_path_join(path, sizeof path, t->config.folder, "config.yaml", err));
    ij_status status = ij_train_config_write(&t->config, &text, err);
    if (status == IJ_OK) status = ij_config_text_print(&text, &yaml, err);
    if (status == IJ_OK) status = ij_file_replace(path, yaml, strlen(yaml), err);
    ij_config_text_free(&text);
    free(yaml);
    return status;
}

/* The monitor judges against the run's first look, so a resumed run reads the looks it had from its own log. A log that is missing or
 * was written by another version is no history, and no error. */
static void restore_looks(ij_trainer *t) {
    char path[4200], expected[1024] = "", *text = NULL;
    size_t bytes;
    if (!t->monitor || t->step == 0 || ij_path_join(path, sizeof path, t->config.folder, "log.csv", NULL) != IJ_OK) return;
    if (ij_file_read(path, 0, (void **)&text, &bytes, NULL) != IJ_OK) return;
    for (int i = 0; i < IJ_COUNT(columns); i++)
        snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "%s%s", i ? "," : "", columns[i]);
    char *rest, *line = strtok_r(text, "\n", &rest);
    bool known = line && strcmp(line, expected) == 0;
    while (known && (line = strtok_r(NULL, "\n", &rest))) {
        double v[IJ_COUNT(columns)];
        int n = 0;
        for (char *at = line, *end; n < IJ_COUNT(columns); at = end + 1) {
            v[n++] = strtod(at, &end);
            if (end == at || *end != ',') break;
        }
        if (n < IJ_COUNT(columns) || isnan(v[12])) continue;
        int64_t step = ((int64_t)v[0] - 1) * t->config.schedule.steps_per_epoch + (int64_t)v[1];
        if (step >= t->step) break;
        ij_monitor_sample sample = {.loss = v[2],
                                    .trivial_loss = v[12],
                                    .rankme_target = v[13],
                                    .rankme_prediction = v[14],
                                    .cosine_target = v[15],
                                    .cosine_prediction = v[16],
                                    .position_variance_target = v[17],
                                    .position_variance_prediction = v[18]};
        t->progress.verdict = ij_verdict_name(ij_monitor_judge(t->monitor, step, &sample, t->reason, sizeof t->reason));
        t->progress.reason = t->reason;
        t->progress.trivial_loss = sample.trivial_loss;
    }
    free(text);
}

static ij_status open_folder(ij_trainer *t, ij_error *err) {
    if (t->options.no_files) return IJ_OK;
    char folder[4200];
    IJ_TRY(checkpoint_folder(t, folder, err));
    bool resuming = t->step > 0 || t->options.resume;
    int64_t there = walk_checkpoints(folder, 0, false);
    if (there >= 0 && !resuming && !t->options.overwrite) {
        ij_fail(err, IJ_ERROR_ARGUMENT, "%s holds a run at step %" PRId64, t->config.folder, there);
        return ij_hint(err, "--resume continues it, --overwrite replaces it, --out DIR writes elsewhere");
    }
    IJ_TRY(ij_make_folders(folder, err));
    if (!resuming) walk_checkpoints(folder, 0, true);
    IJ_TRY(write_config(t, err));
    if (resuming) restore_looks(t);
    int64_t per_epoch = t->config.schedule.steps_per_epoch;
    IJ_TRY(ij_runlog_open(&(ij_runlog_desc){.folder = t->config.folder,
                                            .columns = columns,
                                            .column_count = IJ_COUNT(columns),
                                            .resume = resuming,
                                            .epoch = t->step / per_epoch + 1,
                                            .itr = t->step % per_epoch},
                          &t->log, err));
    ij_json *event = ij_runlog_event(t->log, resuming ? "resume" : "start");
    const gpu_info *info = gpu_device_info(t->device);
    ij_json_key(event, "step"), ij_json_integer(event, t->step);
    ij_json_key(event, "device"), ij_json_string(event, info->name);
    ij_json_key(event, "driver"), ij_json_string(event, info->driver);
    ij_json_key(event, "images"), ij_json_integer(event, ij_dataset_count(t->dataset));
    ij_json_key(event, "parameters"), ij_json_integer(event, t->weights->table.elements);
    return ij_runlog_event_end(t->log, err);
}

static void say_lines(const ij_trainer *t, const char *lines) {
    for (size_t length; *lines; lines += length + (lines[length] == '\n')) {
        length = strcspn(lines, "\n");
        say(t, "%.*s", (int)length, lines);
    }
}

/* A run of this program goes on at its step. */
static ij_status place_state(ij_trainer *t, const char *path, const ij_import_info *info, ij_error *err) {
    int64_t there = info->config.schedule.steps_per_epoch, here = t->config.schedule.steps_per_epoch;
    if (there != here)
        return ij_fail(err, IJ_ERROR_MISMATCH,
                       "%s was written with %" PRId64 " steps an epoch, this configuration and its data give %" PRId64, path, there, here);
    t->step = info->step;
    t->config.schedule.backoffs = info->config.schedule.backoffs, t->config.schedule.backoff_since = info->config.schedule.backoff_since;
    return IJ_OK;
}

/* A model of others goes on behind its epochs, which are counted in this data set's steps; AdamW goes on behind its own count. */
static ij_status place_model(ij_trainer *t, const char *path, const ij_import_info *info, ij_error *err) {
    t->step = info->epoch * t->config.schedule.steps_per_epoch;
    if (t->step > 0 && t->step >= t->steps) {
        ij_fail(err, IJ_ERROR_MISMATCH,
                "%s has %" PRId64 " epochs behind it, the configuration ends after %" PRId64 " steps of %" PRId64 " an epoch", path,
                info->epoch, t->steps, t->config.schedule.steps_per_epoch);
        return ij_hint(err, "--set optimization.epochs=%" PRId64 " goes on", info->epoch + 100);
    }
    if (info->config.model.heads != t->config.model.heads)
        return ij_fail(err, IJ_ERROR_MISMATCH, "%s has %d attention heads, the configuration %d (meta.num_heads)", path,
                       info->config.model.heads, t->config.model.heads);
    if (info->config.model.norm_eps != t->config.model.norm_eps)
        say(t, "%s has LayerNorm eps %g, this run's is %g: --set meta.norm_eps=%g takes the file's", path,
            (double)info->config.model.norm_eps, (double)t->config.model.norm_eps, (double)info->config.model.norm_eps);
    say(t, "%s: weights of the encoder%s%s; %s", path, info->has_context && info->has_target ? "s" : "",
        info->has_predictor ? " and the predictor" : ", the predictor begins anew",
        info->has_moments ? "AdamW's moments" : "AdamW's moments begin at zero");
    return IJ_OK;
}

static ij_status adopt(ij_trainer *t, const char *path, ij_error *err) {
    ij_import *import;
    IJ_TRY(ij_import_open(path, &t->config.model, &import, err));
    const ij_import_info *info = ij_import_about(import);
    bool state = info->kind == IJ_IMPORT_STATE;
    say_lines(t, info->notes);
    ij_status status = state ? place_state(t, path, info, err) : place_model(t, path, info, err);
    ij_import_close(import);
    IJ_TRY(status);
    IJ_TRY(ij_checkpoint_read(path, t->weights, err));
    IJ_TRY(ij_jepa_take_positions(t->jepa, err));
    if (!state) t->weights->moment_offset -= t->step;
    say(t, "resumed from %s, step %" PRId64, path, t->step);
    return IJ_OK;
}

static ij_status resume(ij_trainer *t, ij_error *err) {
    if (!t->options.resume && !t->options.checkpoint) return IJ_OK;
    char path[4600], damaged[4096];
    const char *from = t->options.checkpoint ? t->options.checkpoint : t->config.folder;
    IJ_TRY(ij_checkpoint_find(from, path, sizeof path, damaged, sizeof damaged, err));
    for (char *line = damaged, *next; *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        else
            next = line + strlen(line);
        say(t, "damaged checkpoint, passed over: %s", line);
    }
    return adopt(t, path, err);
}

ij_status ij_trainer_open(const ij_train_config *config, const ij_trainer_options *options, ij_trainer **out, ij_error *err) {
    *out = NULL;
    ij_trainer *t;
    IJ_TRY(ij_alloc(&t, 1, sizeof *t, "trainer", err));
    t->config = *config;
    t->options = *options;
    t->loader_epoch = -1;
    t->progress = (ij_progress){.trivial_loss = NAN, .verdict = "", .reason = ""};
    ij_status status = IJ_OK;
    IJ_TRY_GOTO(gpu_device_open(&options->device, &t->device, err), failed);
    const gpu_info *info = gpu_device_info(t->device);
    say(t, "device: %s (%s)", info->name, info->driver);
    IJ_TRY_GOTO(open_data(t, err), failed);
    say(t, "data: %s, %" PRId64 " images, %" PRId64 " steps an epoch", ij_dataset_title(t->dataset), ij_dataset_count(t->dataset),
        t->config.schedule.steps_per_epoch);
    IJ_TRY_GOTO(open_model(t, err), failed);
    IJ_TRY_GOTO(resume(t, err), failed);
    IJ_TRY_GOTO(open_folder(t, err), failed);
    *out = t;
    return IJ_OK;
failed:
    ij_trainer_close(t);
    return status;
}

void ij_trainer_close(ij_trainer *t) {
    if (!t) return;
    ij_loader_close(t->loader);
    if (t->device) (void)gpu_wait_all(t->device, NULL);
    ij_monitor_destroy(t->monitor);
    ij_jepa_destroy(t->jepa);
    ij_weights_destroy(t->weights);
    ij_dataset_close(t->dataset);
    ij_runlog_close(t->log);
    gpu_device_close(t->device);
    free(t->images);
    free(t);
}

ij_trainer_view ij_trainer_look(const ij_trainer *t) { return (ij_trainer_view){t->device, t->weights, &t->config, t->step}; }

ij_jepa *ij_trainer_jepa(ij_trainer *t) { return t->jepa; }

/* ---- results of a step ---- */

static void update_rate(ij_trainer *t) {
    double now = ij_seconds();
    int64_t n = t->finished_count++;
    int64_t span = n < RATE_STEPS ? n : RATE_STEPS;
    double since = span ? t->finished_at[(n - span) % RATE_STEPS] : now;
    t->finished_at[n % RATE_STEPS] = now;
    if (span == 0 || now <= since) return;
    double rate = (double)span / (now - since); /* steps a second */
    t->progress.images_per_second = rate * t->config.batch * t->config.accumulation;
    t->progress.seconds_left = (double)(t->steps - t->pending_step - 1) / rate;
}

/* The look as an event; its fields are listed in io/runlog.h. */
static ij_status log_look(ij_trainer *t, const ij_monitor_sample *s, const char *verdict, ij_error *err) {
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"loss", s->loss},
                   {"regularizer", t->progress.result.regularizer},
                   {"trivial_loss", s->trivial_loss},
                   {"rankme_target", s->rankme_target},
                   {"rankme_prediction", s->rankme_prediction},
                   {"lidar_target", s->lidar_target},
                   {"image_share_target", s->image_share_target},
                   {"top_share_target", s->top_share_target},
                   {"cosine_target", s->cosine_target},
                   {"cosine_prediction", s->cosine_prediction},
                   {"position_variance_target", s->position_variance_target},
                   {"position_variance_prediction", s->position_variance_prediction},
                   {"ema_distance", s->ema_distance}};
    if (!t->log) return IJ_OK;
    ij_json *event = ij_runlog_event(t->log, "look");
    ij_json_key(event, "step"), ij_json_integer(event, t->pending_step + 1);
    for (int i = 0; i < IJ_COUNT(numbers); i++) ij_json_key(event, numbers[i].key), ij_json_number(event, numbers[i].value);
    ij_json_key(event, "spectrum_at"), ij_json_open(event, '[');
    for (int i = 0; i < s->spectrum_count; i++) ij_json_integer(event, s->spectrum_at[i]);
    ij_json_close(event, ']');
    ij_json_key(event, "spectrum_target"), ij_json_open(event, '[');
    for (int i = 0; i < s->spectrum_count; i++) ij_json_number(event, s->spectrum_target[i]);
    ij_json_close(event, ']');
    ij_json_key(event, "verdict"), ij_json_string(event, verdict);
    ij_json_key(event, "reason"), ij_json_string(event, t->reason);
    return ij_runlog_event_end(t->log, err);
}

static ij_status stop_for_collapse(ij_trainer *t, ij_error *err) {
    t->progress.collapsed = true;
    if (!t->log) return IJ_OK;
    ij_json *event = ij_runlog_event(t->log, "stopped");
    ij_json_key(event, "step"), ij_json_integer(event, t->pending_step + 1);
    ij_json_key(event, "reason"), ij_json_string(event, t->reason);
    return ij_runlog_event_end(t->log, err);
}

static ij_status back_off(ij_trainer *t, ij_error *err) {
    ij_schedule *s = &t->config.schedule;
    if (s->backoffs >= IJ_BACKOFFS_MAX) return IJ_OK;
    if (s->backoffs > 0 && t->pending_step < s->backoff_since + IJ_BACKOFF_LOOKS * t->config.monitor_every) return IJ_OK;
    s->backoffs++;
    s->backoff_since = t->pending_step + 2;
    double factor = ldexp(1, -(int)s->backoffs);
    say(t, "step %" PRId64 ": backing off, %" PRId64 " of %d: learning rate and 1 - momentum x %g from step %" PRId64 " on",
        t->pending_step + 1, s->backoffs, IJ_BACKOFFS_MAX, factor, s->backoff_since + 1);
    if (!t->log) return IJ_OK;
    ij_json *event = ij_runlog_event(t->log, "backoff");
    ij_json_key(event, "step"), ij_json_integer(event, t->pending_step + 1);
    ij_json_key(event, "count"), ij_json_integer(event, s->backoffs);
    ij_json_key(event, "most"), ij_json_integer(event, IJ_BACKOFFS_MAX);
    ij_json_key(event, "lr_factor"), ij_json_number(event, factor);
    ij_json_key(event, "ema_factor"), ij_json_number(event, factor);
    ij_json_key(event, "reason"), ij_json_string(event, t->reason);
    return ij_runlog_event_end(t->log, err);
}

static ij_status react(ij_trainer *t, ij_verdict verdict, ij_error *err) {
    if (verdict != IJ_VERDICT_COLLAPSED) return IJ_OK;
    if (t->config.on_collapse == IJ_ON_COLLAPSE_STOP) return stop_for_collapse(t, err);
    return t->config.on_collapse == IJ_ON_COLLAPSE_BACKOFF ? back_off(t, err) : IJ_OK;
}

static ij_status read_monitor(ij_trainer *t, ij_monitor_sample *sample, ij_error *err) {
    IJ_TRY(ij_monitor_read(t->monitor, sample, err));
    ij_verdict verdict = ij_monitor_judge(t->monitor, t->pending_step, sample, t->reason, sizeof t->reason);
    const char *name = ij_verdict_name(verdict);
    t->progress.trivial_loss = sample->trivial_loss;
    IJ_TRY(log_look(t, sample, name, err));
    if (strcmp(name, t->progress.verdict) != 0 && t->log) {
        ij_json *event = ij_runlog_event(t->log, "verdict");
        ij_json_key(event, "step"), ij_json_integer(event, t->pending_step + 1);
        ij_json_key(event, "verdict"), ij_json_string(event, name);
        ij_json_key(event, "reason"), ij_json_string(event, t->reason);
        IJ_TRY(ij_runlog_event_end(t->log, err));
    }
    t->progress.verdict = name;
    t->progress.reason = t->reason;
    return react(t, verdict, err);
}

static ij_status log_row(ij_trainer *t, const ij_monitor_sample *m, double seconds, ij_error *err) {
    if (!t->log) return IJ_OK;
    const ij_step_result *r = &t->progress.result;
    int64_t per_epoch = t->config.schedule.steps_per_epoch;
    double verdict = m ? (double)ij_monitor_verdict(t->monitor) : NAN;
    double values[IJ_COUNT(columns)] = {(double)(t->pending_step / per_epoch + 1),
                                        (double)(t->pending_step % per_epoch),
                                        r->loss,
                                        r->context_rows,
                                        r->target_rows / t->config.masks.blocks,
                                        1e3 * seconds,
                                        t->pending_lr,
                                        t->pending_weight_decay,
                                        t->pending_momentum,
                                        r->gradient_norm,
                                        r->regularizer,
                                        r->finite ? 1 : 0,
                                        m ? m->trivial_loss : NAN,
                                        m ? m->rankme_target : NAN,
                                        m ? m->rankme_prediction : NAN,
                                        m ? m->cosine_target : NAN,
                                        m ? m->cosine_prediction : NAN,
                                        m ? m->position_variance_target : NAN,
                                        m ? m->position_variance_prediction : NAN,
                                        verdict};
    return ij_runlog_row(t->log, values, err);
}

static ij_status judge_finite(ij_trainer *t, ij_error *err) {
    if (t->progress.result.finite) {
        t->bad_steps = 0;
        return IJ_OK;
    }
    t->progress.skipped_steps++;
    t->bad_steps++;
    bool scaled = t->jepa->desc.element == GPU_F16; /* there it is the search for the largest scale, and no news but the first times */
    if (!scaled || t->bad_steps > 3)
        say(t, "step %" PRId64 ": loss %g, gradient norm %g: not finite, the step changed nothing", t->pending_step + 1,
            t->progress.result.loss, t->progress.result.gradient_norm);
    if (t->bad_steps < (scaled ? BAD_STEPS_MAX_SCALED : BAD_STEPS_MAX)) return IJ_OK;
    ij_fail(err, IJ_ERROR_NUMBER, "%d steps in a row without finite gradients, the last at step %" PRId64 ", learning rate %g",
            t->bad_steps, t->pending_step + 1, t->pending_lr);
    return ij_hint(err, "the weights are those of the last good step; a lower learning rate, or optimization.clip_norm, may help");
}

/* Reads the results of the step that is still out, if any. */
static ij_status collect(ij_trainer *t, ij_error *err) {
    if (!t->pending) return IJ_OK;
    t->pending = false;
    IJ_TRY(ij_jepa_result(t->jepa, t->pending_slot, &t->progress.result, err));
    double before = t->finished_count ? t->finished_at[(t->finished_count - 1) % RATE_STEPS] : ij_seconds();
    update_rate(t);
    ij_monitor_sample sample;
    bool looked = t->pending_monitor && t->progress.result.finite;
    if (looked) IJ_TRY(read_monitor(t, &sample, err));
    t->progress.step = t->pending_step + 1;
    t->progress.steps = t->steps;
    t->progress.epoch = t->pending_step / t->config.schedule.steps_per_epoch + 1;
    t->progress.epochs = (t->steps + t->config.schedule.steps_per_epoch - 1) / t->config.schedule.steps_per_epoch;
    t->progress.lr = t->pending_lr;
    t->progress.weight_decay = t->pending_weight_decay;
    t->progress.momentum = t->pending_momentum;
    t->progress.damaged_images = ij_loader_damaged(t->loader);
    IJ_TRY(log_row(t, looked ? &sample : NULL, ij_seconds() - before, err));
    return judge_finite(t, err);
}

/* ---- stepping ---- */

static ij_status next_batch(ij_trainer *t, const ij_loader_batch **batch, ij_error *err) {
    int64_t per_epoch = t->config.schedule.steps_per_epoch, epoch = t->step / per_epoch;
    if (t->loader_epoch != epoch) {
        IJ_TRY(ij_loader_start(t->loader, epoch, t->step % per_epoch * t->config.accumulation, err));
        t->loader_epoch = epoch;
    }
    IJ_TRY(ij_loader_next(t->loader, batch, err));
    if ((*batch)->count != t->config.batch)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: a batch of %d instead of %d: too many images are damaged", ij_dataset_title(t->dataset),
                       (*batch)->count, t->config.batch);
    for (int i = 0; i < (*batch)->count; i++) t->images[i] = ij_jepa_image_of(&(*batch)->items[i], (*batch)->channels);
    return IJ_OK;
}

static ij_step_scalars scalars_of(const ij_trainer *t) {
    const ij_train_config *c = &t->config;
    return (ij_step_scalars){.seed = c->seed,
                             .epoch = (uint32_t)(t->step / c->schedule.steps_per_epoch),
                             .step = (uint64_t)t->step,
                             .lr = ij_schedule_lr(&c->schedule, t->step),
                             .weight_decay = ij_schedule_weight_decay(&c->schedule, t->step),
                             .momentum = ij_schedule_momentum(&c->schedule, t->step),
                             .beta1 = c->beta1,
                             .beta2 = c->beta2,
                             .eps = c->eps,
                             .clip_norm = c->clip_norm};
}

static ij_status queue_step(ij_trainer *t, ij_error *err) {
    ij_step_scalars scalars = scalars_of(t);
    bool look = t->monitor && (t->step % t->config.monitor_every == 0 || t->step + 1 == t->steps);
    int slot = 0;
    for (int m = 0; m < t->config.accumulation; m++) {
        const ij_loader_batch *batch;
        IJ_TRY(next_batch(t, &batch, err));
        slot = (int)(t->micro++ % IJ_JEPA_SLOTS);
        IJ_TRY(ij_jepa_pass(t->jepa, slot, &scalars, t->images, batch->pixels, batch->bytes, err));
        if (m == 0) IJ_TRY(collect(t, err));
    }
    if (look) IJ_TRY(ij_monitor_record(t->monitor, err));
    IJ_TRY(ij_jepa_update(t->jepa, slot, err));
    t->pending = true;
    t->pending_slot = slot;
    t->pending_step = t->step++;
    t->pending_monitor = look;
    t->pending_lr = scalars.lr, t->pending_weight_decay = scalars.weight_decay, t->pending_momentum = scalars.momentum;
    return IJ_OK;
}

ij_status ij_trainer_step(ij_trainer *t, ij_progress *progress, bool *finished, ij_error *err) {
    *finished = false;
    if (t->step < t->steps) {
        IJ_TRY(queue_step(t, err));
        int64_t every = t->config.checkpoint_every > 0 ? t->config.checkpoint_every : t->config.schedule.steps_per_epoch;
        bool last = t->step == t->steps || t->progress.collapsed;
        if (last) IJ_TRY(collect(t, err));
        if (!t->options.no_files && (t->step % every == 0 || last)) IJ_TRY(ij_trainer_save(t, NULL, err));
    }
    *finished = t->step >= t->steps || t->progress.collapsed;
    *progress = t->progress;
    return IJ_OK;
}

ij_status ij_trainer_save(ij_trainer *t, const char *path, ij_error *err) {
    char folder[4200], own[4600], name[64];
    IJ_TRY(collect(t, err));
    IJ_TRY(checkpoint_folder(t, folder, err));
    snprintf(name, sizeof name, "step-%08" PRId64 ".safetensors", t->step);
    IJ_TRY(ij_path_join(own, sizeof own, folder, name, err));
    if (!path) IJ_TRY(ij_make_folders(folder, err));
    IJ_TRY(ij_checkpoint_write(path ? path : own, t->weights, &t->config, t->step, err));
    if (path) return IJ_OK;
    walk_checkpoints(folder, t->config.keep, false);
    if (!t->log) return IJ_OK;
    ij_json *event = ij_runlog_event(t->log, "checkpoint");
    ij_json_key(event, "step"), ij_json_integer(event, t->step);
    ij_json_key(event, "path"), ij_json_string(event, own);
    return ij_runlog_event_end(t->log, err);
}
