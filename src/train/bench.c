/* layer: train; uses: base, gpu, model */
#include "train/bench.h"
#include "base/file.h"
#include "base/memory.h"
#include "model/jepa.h"
#include "train/tune.h"
#include "philox.h"

#include <stdlib.h>
#include <string.h>

#define WARM_UP 2

typedef struct bench {
    const ij_train_config *config;
    gpu_device *device;
    ij_weights *weights;
    ij_jepa *jepa;
    ij_jepa_image *images; /* [batch] */
    uint8_t *pixels;       /* [batch, image_height, image_width, channels], each image padded to 16 bytes */
    uint64_t image_bytes;
    gpu_element element;
    bool initialised; /* the weights */
    int64_t step;
    double *seconds; /* [runs] */
} bench;

static void bench_free(bench *b) {
    ij_jepa_destroy(b->jepa);
    ij_weights_destroy(b->weights);
    free(b->images);
    free(b->pixels);
    free(b->seconds);
}

static ij_status make_images(bench *b, ij_error *err) {
    const ij_model_config *m = &b->config->model;
    int batch = b->config->batch;
    b->image_bytes = ((uint64_t)m->image_height * (uint64_t)m->image_width * (uint64_t)m->channels + 15) / 16 * 16;
    IJ_TRY(ij_alloc(&b->images, batch, sizeof *b->images, "images", err));
    IJ_TRY(ij_alloc(&b->pixels, batch, b->image_bytes, "pixels", err));
    for (uint64_t i = 0; i < (uint64_t)batch * b->image_bytes / 16; i++) {
        philox_words w = philox(1, 0, (uint32_t)i, (uint32_t)(i >> 32), 0, PHILOX_STREAM_TEST);
        memcpy(b->pixels + 16 * i, &w, 16);
    }
    for (int i = 0; i < batch; i++)
        b->images[i] = (ij_jepa_image){.offset = (uint64_t)i * b->image_bytes,
                                       .width = m->image_width,
                                       .height = m->image_height,
                                       .channels = m->channels,
                                       .crop_w = (float)m->image_width,
                                       .crop_h = (float)m->image_height,
                                       .sample = (uint32_t)i};
    return IJ_OK;
}

static ij_status make_step(bench *b, bool profile, ij_error *err) {
    const ij_train_config *c = b->config;
    ij_jepa_desc desc = {.model = c->model,
                         .masks = c->masks,
                         .batch = c->batch,
                         .accumulation = c->accumulation,
                         .element = b->element,
                         .loss = c->loss,
                         .pixel_bytes = (uint64_t)c->batch * b->image_bytes,
                         .regularizer = c->regularizer,
                         .regularizer_weight = c->regularizer_weight,
                         .regularizer_covariance = c->regularizer_covariance,
                         .regularizer_directions = c->regularizer_directions,
                         .profile = profile};
    memcpy(desc.mean, c->mean, sizeof desc.mean);
    memcpy(desc.std, c->std, sizeof desc.std);
    ij_jepa_destroy(b->jepa);
    b->jepa = NULL;
    IJ_TRY(ij_jepa_plan(b->device, &desc, b->weights, &b->jepa, err));
    IJ_TRY(ij_tune_step(b->jepa, true, NULL, NULL, err));
    if (!b->initialised) IJ_TRY(ij_weights_commit(b->weights, err)); /* after the first plan, before the first build */
    IJ_TRY(ij_jepa_build(b->jepa, err));
    if (!b->initialised) IJ_TRY(ij_weights_initialise(b->weights, c->seed, err));
    b->initialised = true;
    return IJ_OK;
}

/* Queues a step; the device may still be busy with the one before, in the other slot. */
static ij_status queue_step(bench *b, ij_error *err) {
    const ij_train_config *c = b->config;
    int slot = (int)(b->step % IJ_JEPA_SLOTS);
    ij_step_scalars scalars = {.seed = c->seed,
                               .step = (uint64_t)b->step,
                               .lr = c->schedule.lr,
                               .weight_decay = c->schedule.weight_decay,
                               .momentum = c->schedule.ema,
                               .beta1 = c->beta1,
                               .beta2 = c->beta2,
                               .eps = c->eps,
                               .clip_norm = c->clip_norm};
    for (int i = 0; i < c->batch; i++) b->images[i].sample += (uint32_t)c->batch; /* other masks every step */
    for (int pass = 0; pass < c->accumulation; pass++)
        IJ_TRY(ij_jepa_pass(b->jepa, slot, &scalars, b->images, b->pixels, (uint64_t)c->batch * b->image_bytes, err));
    IJ_TRY(ij_jepa_update(b->jepa, slot, err));
    b->step++;
    return IJ_OK;
}

static int by_size(const void *x, const void *y) {
    return (*(const double *)x > *(const double *)y) - (*(const double *)x < *(const double *)y);
}

static ij_status time_steps(bench *b, int runs, ij_bench_step *out, ij_error *err) {
    ij_step_result result = {0};
    double last = 0;
    IJ_TRY(queue_step(b, err));
    for (int i = 0; i < WARM_UP + runs; i++) {
        IJ_TRY(queue_step(b, err));
        IJ_TRY(ij_jepa_result(b->jepa, (int)((b->step - 2) % IJ_JEPA_SLOTS), &result, err));
        double now = ij_seconds();
        if (i >= WARM_UP) b->seconds[i - WARM_UP] = now - last;
        last = now;
        out->context_rows += i >= WARM_UP ? result.context_rows / runs : 0;
        out->target_rows += i >= WARM_UP ? result.target_rows / runs : 0;
    }
    qsort(b->seconds, (size_t)runs, sizeof *b->seconds, by_size);
    out->seconds = b->seconds[runs / 2];
    return ij_jepa_result(b->jepa, (int)((b->step - 1) % IJ_JEPA_SLOTS), &result, err);
}

/* ---- the profile ---- */

typedef struct profile {
    ij_bench_row *rows;
    int64_t count, capacity;
    double context, prediction; /* rows that were there / the most there can be */
    bool by_detail;
} profile;

/* Whether a label is that of a linear layer: those of vit.c and jepa.c begin with the layer's name. */
static bool is_product(const char *label) {
    static const char *const layers[] = {"patch_embed", "qkv", "proj", "fc1", "fc2", "predictor_embed", "predictor_proj", "matmul"};
    for (int i = 0; i < IJ_COUNT(layers); i++) {
        size_t length = strlen(layers[i]);
        if (strncmp(label, layers[i], length) == 0 && (label[length] == 0 || label[length] == ' ' || label[length] == '_')) return true;
    }
    return false;
}

static bool same_row(const profile *p, const ij_bench_row *row, const gpu_op_time *op) {
    return strcmp(row->label, op->label) == 0 && (!p->by_detail || strcmp(row->detail, op->detail) == 0);
}

/* Adds a program's ops, `times` runs of each. A label ends in the part of the model that it works for. */
static ij_status add_program(profile *p, gpu_program *program, int times, ij_error *err) {
    const gpu_op_time *ops;
    int count;
    IJ_TRY(gpu_program_times(program, &ops, &count, err));
    for (int i = 0; i < count; i++) {
        int64_t at = 0;
        while (at < p->count && !same_row(p, &p->rows[at], &ops[i])) at++;
        if (at == p->count) {
            IJ_TRY(ij_grow(&p->rows, &p->capacity, at + 1, sizeof *p->rows, "profile", err));
            p->rows[p->count++] = (ij_bench_row){.label = ops[i].label, .detail = ops[i].detail, .product = is_product(ops[i].label)};
        }
        double share = strstr(ops[i].label, " context") ? p->context : strstr(ops[i].label, " predictor") ? p->prediction : 1;
        p->rows[at].seconds += times * ops[i].seconds;
        p->rows[at].flops += times * share * ops[i].flops;
        p->rows[at].bytes += times * share * ops[i].bytes;
        p->rows[at].count += times;
    }
    return IJ_OK;
}

static int slowest_first(const void *x, const void *y) {
    double a = ((const ij_bench_row *)x)->seconds, b = ((const ij_bench_row *)y)->seconds;
    return (a < b) - (a > b);
}

static ij_status profile_step(bench *b, profile *p, ij_error *err) {
    ij_step_result result;
    for (int i = 0; i < 2; i++) { /* the first one compiles nothing, but touches all memory */
        IJ_TRY(queue_step(b, err));
        IJ_TRY(ij_jepa_result(b->jepa, (int)((b->step - 1) % IJ_JEPA_SLOTS), &result, err));
    }
    int batch = b->config->batch, blocks = b->config->masks.blocks;
    p->context = batch * result.context_rows / (double)b->jepa->limits.context_rows;
    p->prediction = batch * (blocks * result.context_rows + result.target_rows) / (double)b->jepa->limits.pred_rows;
    if (gpu_device_info(b->device)->tick_ns == 0) return IJ_OK;
    IJ_TRY(add_program(p, b->jepa->prepare, b->config->accumulation, err));
    IJ_TRY(add_program(p, b->jepa->pass, b->config->accumulation, err));
    IJ_TRY(add_program(p, b->jepa->update, 1, err));
    qsort(p->rows, (size_t)p->count, sizeof *p->rows, slowest_first);
    return IJ_OK;
}

static void measure_size(const bench *b, ij_bench_step *out) {
    gpu_program *const programs[] = {b->jepa->prepare, b->jepa->pass, b->jepa->update};
    for (int i = 0; i < IJ_COUNT(programs); i++) {
        int times = i < 2 ? b->config->accumulation : 1;
        out->dispatches += times * gpu_program_dispatches(programs[i]);
        out->barriers += times * gpu_program_barriers(programs[i]);
    }
    uint64_t weights, rest;
    ij_jepa_memory(b->jepa, &weights, &rest);
    out->device_bytes = weights + rest;
    out->images = b->config->batch * b->config->accumulation;
}

static ij_status measure(bench *b, int runs, profile *p, void (*on_row)(void *, const ij_bench_row *), void *user, ij_bench_step *out,
                         ij_error *err) {
    IJ_TRY(ij_alloc(&b->seconds, runs, sizeof *b->seconds, "times", err));
    IJ_TRY(make_images(b, err));
    IJ_TRY(ij_precision_resolve(b->device, b->config->precision, &b->element, out->precision, sizeof out->precision, err));
    out->element = b->element;
    IJ_TRY(ij_weights_create(b->device, &b->config->model, IJ_KEEP_TRAINING, &b->weights, err));
    IJ_TRY(make_step(b, false, err));
    measure_size(b, out);
    IJ_TRY(time_steps(b, runs, out, err));
    IJ_TRY(make_step(b, true, err));
    IJ_TRY(profile_step(b, p, err));
    for (int64_t i = 0; i < p->count; i++) {
        out->flops += p->rows[i].flops;
        if (p->rows[i].product || strstr(p->rows[i].label, "attention")) p->rows[i].element = b->element;
        on_row(user, &p->rows[i]);
    }
    return IJ_OK;
}

ij_status ij_bench_step_run(gpu_device *device, const ij_train_config *config, int runs, bool by_detail,
                            void (*on_row)(void *user, const ij_bench_row *row), void *user, ij_bench_step *out, ij_error *err) {
    *out = (ij_bench_step){0};
    bench b = {.config = config, .device = device};
    profile p = {.by_detail = by_detail};
    ij_status status = measure(&b, runs, &p, on_row, user, out, err);
    free(p.rows);
    bench_free(&b);
    return status;
}
