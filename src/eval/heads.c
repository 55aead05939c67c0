/* layer: eval; uses: base, data, gpu, ops, philox */
#include "eval/heads.h"
#include "base/memory.h"
#include "data/order.h"
#include "ops/cross_entropy.h"
#include "ops/heads.h"
#include "ops/matmul.h"
#include "philox.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOMENTUM 0.9f
#define TRUST 0.001f
#define INIT_STD 0.01
#define NORM_MOMENTUM 0.1f
#define NORM_EPS 1e-5f
#define BATCH_MAX 16384
#define PART_BYTES ((uint64_t)1 << 30)   /* of the features in one tensor, where a binding may span as much */
#define BAND_BYTES ((uint64_t)256 << 20) /* of the weights, or of the logits, that go through one product */
#define NO_SAMPLE UINT32_MAX

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }
static int round4(int count) { return (count + 3) / 4 * 4; }

/* ---- features on the device ---- */

/* The rows of a set, padded with zeros to a multiple of 4, in as many tensors as bindings need. */
typedef struct store {
    const ij_samples *samples;
    int width, parts;
    int64_t part_rows;
    gpu_tensor *x;
} store;

static int64_t rows_of_part(const store *s, int part) {
    return (int64_t)least((uint64_t)s->part_rows, (uint64_t)(s->samples->count - part * s->part_rows));
}

static ij_status store_reserve(store *s, gpu_arena *arena, const ij_samples *samples, ij_error *err) {
    uint64_t part = least(PART_BYTES, gpu_device_info(gpu_arena_device(arena))->range_max);
    s->samples = samples;
    s->width = round4(samples->dim);
    s->part_rows = (int64_t)least(part / (4 * (uint64_t)s->width), (uint64_t)samples->count);
    s->parts = (int)((samples->count + s->part_rows - 1) / s->part_rows);
    IJ_TRY(ij_alloc(&s->x, s->parts, sizeof *s->x, "features", err));
    for (int p = 0; p < s->parts; p++)
        IJ_TRY(gpu_reserve(arena, 4 * (uint64_t)rows_of_part(s, p) * (uint64_t)s->width, "features", &s->x[p], err));
    return IJ_OK;
}

static ij_status store_fill(gpu_device *device, const store *s, ij_error *err) {
    enum { ROWS = 1024 };
    float *staging;
    int dim = s->samples->dim;
    ij_status status = IJ_OK;
    IJ_TRY(ij_alloc(&staging, (int64_t)ROWS * s->width, sizeof *staging, "features", err));
    for (int p = 0; p < s->parts; p++)
        for (int64_t begin = 0; begin < rows_of_part(s, p) && status == IJ_OK; begin += ROWS) {
            int64_t rows = (int64_t)least(ROWS, (uint64_t)(rows_of_part(s, p) - begin));
            const float *from = s->samples->x + (p * s->part_rows + begin) * dim;
            for (int64_t r = 0; r < rows; r++) memcpy(staging + r * s->width, from + r * dim, (size_t)dim * sizeof *staging);
            status = gpu_write(device, s->x[p], 4 * (uint64_t)(begin * s->width), staging, 4 * (uint64_t)(rows * s->width), err);
        }
    free(staging);
    return status;
}

/* ---- a fit: a list of settings, trained on a list of samples ---- */

enum { ALL = 2, NORM = 1, KINDS = 4 }; /* kinds of input: all columns or the last layer's, with BatchNorm or without */

static int kind_of(const ij_head_setting *s) { return (s->all_columns ? ALL : 0) + (s->batch_norm ? NORM : 0); }

/* What the heads of a kind read. */
typedef struct input {
    bool used;
    int first, columns, padded;
    gpu_tensor x; /* [batch, padded] */
} input;

/* Heads of one kind that go through one product. */
typedef struct band {
    int kind, heads;
    int head[IJ_HEADS_MAX]; /* their indices among the settings */
    gpu_tensor w, v, g;     /* [heads x classes, padded] */
    gpu_tensor b, bv, bg;   /* [heads x classes] */
    gpu_tensor settings;    /* [heads] struct heads_setting */
    gpu_tensor loss, right; /* [heads] */
} band;

typedef struct fit {
    gpu_device *device;
    const ij_samples *train;
    const store *features;
    const ij_head_setting *settings;
    int count, classes;
    int epochs, batch;
    uint64_t seed;
    const uint32_t *rows; /* [row_count] of the training samples */
    int64_t row_count;
    int steps;  /* an epoch; what is left behind the last whole batch of an epoch's order is not seen in it */
    int stride; /* entries of order and labels for a step */
    gpu_arena *arena;
    gpu_tensor raw; /* [batch, width] the batch as it is */
    input inputs[KINDS];
    gpu_tensor stats, running;  /* [width] pairs */
    gpu_tensor order, labels;   /* [steps, stride] of the epoch */
    gpu_tensor logits, dlogits; /* [batch, heads x classes of the widest band] */
    gpu_tensor product, rest;   /* scratch */
    gpu_tensor unused;          /* [heads] losses that nobody asked for */
    band *bands;                /* [band_count] */
    int band_count;
    gpu_program **programs; /* [steps] */
    uint32_t *host_order, *host_labels;
    const ij_heads_desc *desc;
    int64_t done, total; /* steps, of all fits */
} fit;

/* The batch as it is will do for all columns without BatchNorm. */
static bool is_raw(const fit *f, int kind) { return !(kind & NORM) && f->inputs[kind].columns == f->train->dim; }

static uint64_t columns_of(const fit *f, const band *b) { return (uint64_t)b->heads * (uint64_t)f->classes; }

/* How many heads of this width one product may have. */
static int band_heads(const fit *f, int padded) {
    uint64_t bytes = least(BAND_BYTES, gpu_device_info(f->device)->range_max), rows = (uint64_t)(f->batch > padded ? f->batch : padded);
    return (int)least(bytes / (4 * rows * (uint64_t)f->classes), IJ_HEADS_MAX);
}

static ij_status make_bands(fit *f, ij_error *err) {
    int last_dim = f->desc->last_dim ? f->desc->last_dim : f->train->dim;
    IJ_TRY(ij_alloc(&f->bands, f->count, sizeof *f->bands, "linear heads", err));
    for (int kind = 0; kind < KINDS; kind++) {
        input *in = &f->inputs[kind];
        in->columns = kind & ALL ? f->train->dim : last_dim;
        in->first = f->train->dim - in->columns;
        in->padded = round4(in->columns);
        int fit_in = band_heads(f, in->padded);
        band *b = NULL;
        for (int h = 0; h < f->count; h++) {
            if (kind_of(&f->settings[h]) != kind) continue;
            if (fit_in < 1) {
                ij_fail(err, IJ_ERROR_ARGUMENT,
                        "linear heads: a batch of %d with %d features and %d classes is more than a tensor may have", f->batch, in->columns,
                        f->classes);
                return ij_hint(err, "ask for a smaller batch");
            }
            if (!b || b->heads == fit_in) b = &f->bands[f->band_count++], b->kind = kind;
            b->head[b->heads++] = h;
            in->used = true;
        }
    }
    return IJ_OK;
}

static op_matmul_desc gradient_product(const fit *f, const band *b) {
    const input *in = &f->inputs[b->kind];
    return (op_matmul_desc){.label = "heads gradient",
                            .form = OP_MATMUL_TN,
                            .m = (uint32_t)columns_of(f, b),
                            .n = (uint32_t)in->padded,
                            .rows = {.max = (uint32_t)f->batch},
                            .a = f->dlogits,
                            .b = in->x,
                            .c = b->g,
                            .bias_grad = b->bg,
                            .scratch = f->product};
}

static ij_status reserve_band(fit *f, band *b, ij_error *err) {
    uint64_t columns = 4 * columns_of(f, b), weights = columns * (uint64_t)f->inputs[b->kind].padded;
    gpu_tensor *const matrices[] = {&b->w, &b->v, &b->g}, *const vectors[] = {&b->b, &b->bv, &b->bg};
    for (int i = 0; i < 3; i++) {
        IJ_TRY(gpu_reserve(f->arena, weights, "weights of the heads", matrices[i], err));
        IJ_TRY(gpu_reserve(f->arena, columns, "biases of the heads", vectors[i], err));
    }
    IJ_TRY(gpu_reserve(f->arena, sizeof(struct heads_setting) * (uint64_t)b->heads, "settings of the heads", &b->settings, err));
    IJ_TRY(gpu_reserve(f->arena, 4 * (uint64_t)b->heads, "losses", &b->loss, err));
    return gpu_reserve(f->arena, 4 * (uint64_t)b->heads, "right predictions", &b->right, err);
}

static ij_status reserve_shared(fit *f, ij_error *err) {
    uint64_t batch = (uint64_t)f->batch, width = (uint64_t)f->features->width, product = 0, rest = 0, columns = 0;
    for (int i = 0; i < f->band_count; i++) {
        const band *b = &f->bands[i];
        op_matmul_desc desc = gradient_product(f, b);
        uint64_t update = op_heads_update_scratch((uint32_t)b->heads, (uint32_t)(f->classes * f->inputs[b->kind].padded));
        uint64_t softmax = op_cross_entropy_scratch((uint32_t)batch, (uint32_t)b->heads, (uint32_t)f->classes);
        uint64_t own = op_matmul_scratch(f->device, &desc);
        if (own > product) product = own;
        if (update > rest) rest = update;
        if (softmax > rest) rest = softmax;
        if (columns_of(f, b) > columns) columns = columns_of(f, b);
    }
    IJ_TRY(gpu_reserve(f->arena, 4 * batch * width, "a batch of features", &f->raw, err));
    for (int kind = 0; kind < KINDS; kind++) {
        input *in = &f->inputs[kind];
        if (is_raw(f, kind))
            in->x = f->raw;
        else if (in->used)
            IJ_TRY(gpu_reserve(f->arena, 4 * batch * (uint64_t)in->padded, "a batch of features", &in->x, err));
    }
    IJ_TRY(gpu_reserve(f->arena, 8 * width, "statistics", &f->stats, err));
    IJ_TRY(gpu_reserve(f->arena, 8 * width, "running statistics", &f->running, err));
    IJ_TRY(gpu_reserve(f->arena, 4 * (uint64_t)f->steps * (uint64_t)f->stride, "order of an epoch", &f->order, err));
    IJ_TRY(gpu_reserve(f->arena, 4 * (uint64_t)f->steps * (uint64_t)f->stride, "labels of an epoch", &f->labels, err));
    IJ_TRY(gpu_reserve(f->arena, 4 * batch * columns, "logits", &f->logits, err));
    IJ_TRY(gpu_reserve(f->arena, 4 * batch * columns, "gradient of the logits", &f->dlogits, err));
    if (product) IJ_TRY(gpu_reserve(f->arena, product, "scratch of products", &f->product, err));
    IJ_TRY(gpu_reserve(f->arena, rest, "scratch of heads", &f->rest, err));
    return gpu_reserve(f->arena, 4 * IJ_HEADS_MAX, "losses", &f->unused, err);
}

/* ---- recording ---- */

/* The batch's features in every form that heads read: normalised with the batch's own statistics, or with the running ones. */
static ij_status record_inputs(fit *f, gpu_program *program, const store *from, gpu_tensor order, bool training, ij_error *err) {
    uint32_t batch = (uint32_t)f->batch, width = (uint32_t)from->width;
    for (int p = 0; p < from->parts; p++) {
        op_heads_gather_args gather = {.from = from->x[p],
                                       .index = order,
                                       .to = f->raw,
                                       .begin = (uint32_t)(p * from->part_rows),
                                       .count = (uint32_t)rows_of_part(from, p),
                                       .rows = batch,
                                       .width = width};
        IJ_TRY(op_heads_gather(program, &gather, err));
    }
    if (training && (f->inputs[NORM].used || f->inputs[ALL + NORM].used))
        IJ_TRY(op_heads_stats(program, f->raw, batch, width, f->stats, f->running, NORM_MOMENTUM, err));
    for (int kind = 0; kind < KINDS; kind++) {
        const input *in = &f->inputs[kind];
        if (!in->used || is_raw(f, kind)) continue;
        op_heads_columns_args columns = {.x = f->raw,
                                         .to = in->x,
                                         .rows = batch,
                                         .width = width,
                                         .first = (uint32_t)in->first,
                                         .columns = (uint32_t)in->columns,
                                         .padded = (uint32_t)in->padded,
                                         .eps = NORM_EPS};
        if (kind & NORM) columns.stats = training ? f->stats : f->running;
        IJ_TRY(op_heads_columns(program, &columns, err));
    }
    return IJ_OK;
}

static ij_status record_logits(fit *f, gpu_program *program, const band *b, ij_error *err) {
    const input *in = &f->inputs[b->kind];
    op_matmul_desc product = {.label = "heads logits",
                              .form = OP_MATMUL_NT,
                              .n = (uint32_t)columns_of(f, b),
                              .k = (uint32_t)in->padded,
                              .rows = {.max = (uint32_t)f->batch},
                              .a = in->x,
                              .b = b->w,
                              .c = f->logits,
                              .bias = b->b};
    return op_matmul(program, &product, err);
}

static op_cross_entropy_args softmax_of(const fit *f, const band *b, gpu_tensor labels) {
    return (op_cross_entropy_args){.logits = f->logits,
                                   .labels = labels,
                                   .loss = b->loss,
                                   .scratch = f->rest,
                                   .rows = {.max = (uint32_t)f->batch},
                                   .heads = (uint32_t)b->heads,
                                   .classes = (uint32_t)f->classes,
                                   .label = "heads loss"};
}

static ij_status record_update(fit *f, gpu_program *program, const band *b, ij_error *err) {
    op_heads_update_args weights = {.p = b->w,
                                    .v = b->v,
                                    .g = b->g,
                                    .settings = b->settings,
                                    .scratch = f->rest,
                                    .heads = (uint32_t)b->heads,
                                    .count = (uint32_t)(f->classes * f->inputs[b->kind].padded)};
    op_heads_update_args biases = {.p = b->b,
                                   .v = b->bv,
                                   .g = b->bg,
                                   .settings = b->settings,
                                   .heads = (uint32_t)b->heads,
                                   .count = (uint32_t)f->classes,
                                   .bias = true};
    IJ_TRY(op_heads_update(program, &weights, err));
    return op_heads_update(program, &biases, err);
}

static ij_status record_step(fit *f, int step, ij_error *err) {
    uint64_t at = 4 * (uint64_t)step * (uint64_t)f->stride, bytes = 4 * (uint64_t)f->batch;
    gpu_tensor labels = gpu_part(f->labels, at, bytes);
    IJ_TRY(gpu_program_create(f->device, "linear heads", false, &f->programs[step], err));
    gpu_program *program = f->programs[step];
    IJ_TRY(record_inputs(f, program, f->features, gpu_part(f->order, at, bytes), true, err));
    for (int i = 0; i < f->band_count; i++) {
        const band *b = &f->bands[i];
        op_cross_entropy_args softmax = softmax_of(f, b, labels);
        softmax.dlogits = f->dlogits;
        softmax.accumulate = step > 0;
        op_matmul_desc gradient = gradient_product(f, b);
        IJ_TRY(record_logits(f, program, b, err));
        IJ_TRY(op_cross_entropy(program, &softmax, err));
        IJ_TRY(op_matmul(program, &gradient, err));
        IJ_TRY(record_update(f, program, b, err));
    }
    return gpu_program_finish(program, err);
}

/* ---- training ---- */

static ij_status write_settings(const fit *f, double factor, ij_error *err) {
    for (int i = 0; i < f->band_count; i++) {
        const band *b = &f->bands[i];
        struct heads_setting settings[IJ_HEADS_MAX];
        for (int h = 0; h < b->heads; h++) {
            const ij_head_setting *s = &f->settings[b->head[h]];
            settings[h] = (struct heads_setting){.lr = (float)(s->lr * f->batch / 256 * factor),
                                                 .momentum = MOMENTUM,
                                                 .weight_decay = (float)s->weight_decay,
                                                 .trust = s->lars ? TRUST : 0};
        }
        IJ_TRY(gpu_write(f->device, b->settings, 0, settings, sizeof *settings * (uint64_t)b->heads, err));
    }
    return IJ_OK;
}

static double init_weight(uint64_t seed, int64_t element) {
    philox_words word = philox((uint32_t)seed, (uint32_t)(seed >> 32), PHILOX_STREAM_EVAL, (uint32_t)element, (uint32_t)(element >> 32), 0);
    return INIT_STD * sqrt(-2 * log(((double)word.x + 1) * 0x1p-32)) * cos(6.283185307179586477 * (double)word.y * 0x1p-32);
}

static ij_status zero(gpu_device *device, const gpu_tensor *const *tensors, int count, ij_error *err) {
    gpu_program *program;
    IJ_TRY(gpu_program_create(device, "linear heads", false, &program, err));
    ij_status status = IJ_OK;
    for (int i = 0; i < count && status == IJ_OK; i++) status = gpu_fill(program, *tensors[i], 0, err);
    if (status == IJ_OK) status = gpu_program_finish(program, err);
    if (status == IJ_OK) status = gpu_run(program, err);
    gpu_program_destroy(program);
    return status;
}

static ij_status initialise_band(const fit *f, const band *b, ij_error *err) {
    const input *in = &f->inputs[b->kind];
    int64_t count = (int64_t)f->classes * in->padded;
    float *head;
    IJ_TRY(zero(f->device, (const gpu_tensor *const[]){&b->v, &b->b, &b->bv}, 3, err));
    IJ_TRY(ij_alloc(&head, count, sizeof *head, "weights of a head", err));
    for (int64_t c = 0; c < f->classes; c++)
        for (int64_t k = 0; k < in->columns; k++) head[c * in->padded + k] = (float)init_weight(f->seed, c * in->columns + k);
    ij_status status = IJ_OK;
    for (int h = 0; h < b->heads && status == IJ_OK; h++)
        status = gpu_write(f->device, b->w, 4 * (uint64_t)(h * count), head, 4 * (uint64_t)count, err);
    free(head);
    return status;
}

static ij_status initialise(fit *f, ij_error *err) {
    float *running;
    for (int i = 0; i < f->band_count; i++) IJ_TRY(initialise_band(f, &f->bands[i], err));
    IJ_TRY(ij_alloc(&running, 2 * (int64_t)f->features->width, sizeof *running, "running statistics", err));
    for (int c = 0; c < f->features->width; c++) running[2 * c + 1] = 1; /* mean 0, variance 1 */
    ij_status status = gpu_write(f->device, f->running, 0, running, 8 * (uint64_t)f->features->width, err);
    free(running);
    return status;
}

static ij_status fit_prepare(fit *f, ij_error *err) {
    f->classes = f->train->classes;
    f->steps = (int)(f->row_count / f->batch);
    f->stride = (f->batch + 63) / 64 * 64; /* parts of a tensor begin at multiples of 256 bytes */
    IJ_TRY(make_bands(f, err));
    IJ_TRY(gpu_arena_create(f->device, "linear heads", GPU_MEMORY_DEVICE, &f->arena, err));
    for (int i = 0; i < f->band_count; i++) IJ_TRY(reserve_band(f, &f->bands[i], err));
    IJ_TRY(reserve_shared(f, err));
    IJ_TRY(gpu_arena_commit(f->arena, err));
    int64_t entries = (int64_t)f->steps * f->stride;
    IJ_TRY(ij_alloc(&f->host_order, entries, sizeof *f->host_order, "order of an epoch", err));
    IJ_TRY(ij_alloc(&f->host_labels, entries, sizeof *f->host_labels, "labels of an epoch", err));
    IJ_TRY(ij_alloc(&f->programs, f->steps, sizeof *f->programs, "steps of an epoch", err));
    for (int s = 0; s < f->steps; s++) IJ_TRY(record_step(f, s, err));
    return initialise(f, err);
}

static void fit_free(fit *f) {
    if (f->device) gpu_wait_all(f->device, NULL); /* after a failure work may be under way */
    for (int s = 0; s < f->steps && f->programs; s++) gpu_program_destroy(f->programs[s]);
    gpu_arena_destroy(f->arena);
    free(f->programs);
    free(f->bands);
    free(f->host_order);
    free(f->host_labels);
}

static ij_status write_order(fit *f, ij_error *err) {
    uint64_t bytes = 4 * (uint64_t)f->steps * (uint64_t)f->stride;
    IJ_TRY(gpu_write(f->device, f->order, 0, f->host_order, bytes, err));
    return gpu_write(f->device, f->labels, 0, f->host_labels, bytes, err);
}

static ij_status begin_epoch(fit *f, int epoch, uint32_t *shuffled, ij_error *err) {
    ij_order_shuffle(f->seed, 1 + epoch, shuffled, f->row_count);
    for (int64_t s = 0; s < f->steps; s++)
        for (int64_t r = 0; r < f->batch; r++) {
            uint32_t sample = f->rows[shuffled[s * f->batch + r]];
            f->host_order[s * f->stride + r] = sample;
            f->host_labels[s * f->stride + r] = (uint32_t)f->train->labels[sample];
        }
    int drops = epoch * 50 / (f->epochs * 15); /* after 15, 30 and 45 of 50 epochs */
    IJ_TRY(gpu_wait_all(f->device, err));
    IJ_TRY(write_settings(f, pow(0.1, drops), err));
    return write_order(f, err);
}

static ij_status fit_train(fit *f, ij_error *err) {
    uint32_t *shuffled;
    uint64_t ticket = 0, before = 0;
    ij_status status = IJ_OK;
    IJ_TRY(ij_alloc(&shuffled, f->row_count, sizeof *shuffled, "order of an epoch", err));
    for (int epoch = 0; epoch < f->epochs && status == IJ_OK; epoch++) {
        status = begin_epoch(f, epoch, shuffled, err);
        for (int s = 0; s < f->steps && status == IJ_OK; s++) {
            status = gpu_submit(f->programs[s], &ticket, err);
            if (status == IJ_OK && s > 0) status = gpu_wait(f->device, before, err); /* one step ahead is enough */
            before = ticket;
            f->done++;
            if (f->desc->progress) f->desc->progress(f->desc->user, "linear heads", f->done, f->total);
        }
    }
    free(shuffled);
    return status == IJ_OK ? gpu_wait_all(f->device, err) : status;
}

/* ---- reading the result ---- */

static ij_status record_evaluation(fit *f, gpu_program *program, const store *from, ij_error *err) {
    uint64_t bytes = 4 * (uint64_t)f->batch;
    IJ_TRY(record_inputs(f, program, from, gpu_part(f->order, 0, bytes), false, err));
    for (int i = 0; i < f->band_count; i++) {
        const band *b = &f->bands[i];
        op_cross_entropy_args softmax = softmax_of(f, b, gpu_part(f->labels, 0, bytes));
        softmax.loss = f->unused;
        softmax.right = b->right;
        softmax.accumulate = true;
        IJ_TRY(record_logits(f, program, b, err));
        IJ_TRY(op_cross_entropy(program, &softmax, err));
    }
    return gpu_program_finish(program, err);
}

/* rows NULL: all of them. Behind the last one there is no sample and no label, so the row counts for nothing. */
static ij_status evaluate_rows(fit *f, gpu_program *program, const ij_samples *set, const uint32_t *rows, int64_t count, ij_error *err) {
    for (int64_t begin = 0; begin < count; begin += f->batch) {
        for (int64_t r = 0; r < f->batch; r++) {
            bool there = begin + r < count;
            uint32_t sample = !there ? NO_SAMPLE : rows ? rows[begin + r] : (uint32_t)(begin + r);
            f->host_order[r] = sample;
            f->host_labels[r] = there ? (uint32_t)set->labels[sample] : NO_SAMPLE;
        }
        IJ_TRY(gpu_write(f->device, f->order, 0, f->host_order, 4 * (uint64_t)f->batch, err));
        IJ_TRY(gpu_write(f->device, f->labels, 0, f->host_labels, 4 * (uint64_t)f->batch, err));
        IJ_TRY(gpu_run(program, err));
    }
    return IJ_OK;
}

/* right [count of settings]: predictions that are. */
static ij_status fit_evaluate(fit *f, const store *from, const uint32_t *rows, int64_t count, int64_t *right, ij_error *err) {
    gpu_program *program;
    for (int i = 0; i < f->band_count; i++) IJ_TRY(zero(f->device, (const gpu_tensor *const[]){&f->bands[i].right, &f->unused}, 2, err));
    IJ_TRY(gpu_program_create(f->device, "linear heads evaluation", false, &program, err));
    ij_status status = record_evaluation(f, program, from, err);
    if (status == IJ_OK) status = evaluate_rows(f, program, from->samples, rows, count, err);
    gpu_program_destroy(program);
    for (int i = 0; i < f->band_count && status == IJ_OK; i++) {
        const band *b = &f->bands[i];
        uint32_t counts[IJ_HEADS_MAX];
        status = gpu_read(f->device, b->right, 0, counts, 4 * (uint64_t)b->heads, err);
        for (int h = 0; h < b->heads && status == IJ_OK; h++) right[b->head[h]] = counts[h];
    }
    return status;
}

static ij_status fit_losses(const fit *f, double *losses, ij_error *err) {
    for (int i = 0; i < f->band_count; i++) {
        const band *b = &f->bands[i];
        float values[IJ_HEADS_MAX];
        IJ_TRY(gpu_read(f->device, b->loss, 0, values, 4 * (uint64_t)b->heads, err));
        for (int h = 0; h < b->heads; h++) losses[b->head[h]] = (double)values[h] / f->steps; /* they were added up */
    }
    return IJ_OK;
}

/* The weights of place h in the band, with W (x - mean) / deviation + b written as W' x + b'. */
static ij_status read_band(const fit *f, const band *b, int h, float *weights, ij_error *err) {
    const input *in = &f->inputs[b->kind];
    int64_t count = (int64_t)f->classes * in->padded, width = f->features->width;
    float *memory;
    IJ_TRY(ij_alloc(&memory, count + f->classes + 2 * width, sizeof *memory, "weights of a head", err));
    float *w = memory, *bias = w + count, *running = bias + f->classes;
    ij_status status = gpu_read(f->device, b->w, 4 * (uint64_t)(h * count), w, 4 * (uint64_t)count, err);
    if (status == IJ_OK) status = gpu_read(f->device, b->b, 4 * (uint64_t)(h * f->classes), bias, 4 * (uint64_t)f->classes, err);
    if (status == IJ_OK) status = gpu_read(f->device, f->running, 0, running, 8 * (uint64_t)width, err);
    for (int64_t c = 0; c < f->classes && status == IJ_OK; c++) {
        float *row = weights + c * (in->columns + 1);
        double sum = (double)bias[c];
        for (int64_t k = 0; k < in->columns; k++) {
            const float *stats = running + 2 * (in->first + k);
            double value = (double)w[c * in->padded + k];
            if (b->kind & NORM) {
                value /= sqrt((double)stats[1] + (double)NORM_EPS);
                sum -= value * (double)stats[0];
            }
            row[k] = (float)value;
        }
        row[in->columns] = (float)sum;
    }
    free(memory);
    return status;
}

static ij_status fit_weights(const fit *f, int head, float *weights, ij_error *err) {
    for (int i = 0; i < f->band_count; i++)
        for (int h = 0; h < f->bands[i].heads; h++)
            if (f->bands[i].head[h] == head) return read_band(f, &f->bands[i], h, weights, err);
    return IJ_OK;
}

/* ---- the sweep ---- */

static int sweep(bool two_inputs, ij_head_setting *out) {
    static const double lars[] = {0.05, 0.01, 0.001}, sgd[] = {1, 0.25, 0.05, 0.01, 0.001}, decays[] = {0.0005, 0};
    int count = 0;
    for (int all = 0; all <= two_inputs; all++)
        for (int norm = 0; norm <= 1; norm++)
            for (int d = 0; d < IJ_COUNT(decays); d++) {
                for (int i = 0; i < IJ_COUNT(lars); i++) out[count++] = (ij_head_setting){all, norm, true, lars[i], decays[d]};
                for (int i = 0; i < IJ_COUNT(sgd); i++) out[count++] = (ij_head_setting){all, norm, false, sgd[i], decays[d]};
            }
    return count;
}

/* Whether a is to be taken where both have as many held-out samples right. */
static bool simpler(const ij_head_setting *a, const ij_head_setting *b) {
    return a->weight_decay != b->weight_decay ? a->weight_decay > b->weight_decay : a->lr < b->lr;
}

static int choose(const ij_head_setting *settings, const int64_t *right, int count) {
    int best = 0;
    for (int h = 1; h < count; h++)
        if (right[h] > right[best] || (right[h] == right[best] && simpler(&settings[h], &settings[best]))) best = h;
    return best;
}

static int default_batch(gpu_device *device, const ij_samples *train, int64_t fitted) {
    int64_t batch = fitted / 16;
    uint64_t fits = least(BAND_BYTES, gpu_device_info(device)->range_max) / (4 * (uint64_t)train->classes); /* logits of one head */
    if (batch < 32) batch = 32;
    batch = (int64_t)least(least((uint64_t)batch, BATCH_MAX), least(fits, (uint64_t)fitted));
    return (int)batch;
}

/* Everything of one run. */
typedef struct run {
    const ij_samples *train, *test;
    const ij_heads_desc *desc;
    ij_heads_result *result;
    ij_head_setting settings[IJ_HEADS_MAX];
    int64_t right[IJ_HEADS_MAX];
    double losses[IJ_HEADS_MAX];
    uint32_t *order; /* [train->count]: the held-out samples, then the others */
    int64_t held_out;
    gpu_arena *arena;
    store train_store, test_store;
    int64_t done, total;
} run;

static ij_status check(const run *r, ij_error *err) {
    const ij_heads_desc *desc = r->desc;
    int dim = r->train->dim, fitted = (int)(r->train->count - r->held_out), batch = r->result->batch;
    if (dim != r->test->dim)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "linear heads: %d features a training sample, %d a test sample", dim, r->test->dim);
    if (desc->last_dim < 0 || desc->last_dim > dim)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "linear heads: %d of %d features are the last layer's", desc->last_dim, dim);
    if (r->train->count > UINT32_MAX - 1 || r->test->count > UINT32_MAX - 1)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "linear heads: more than 2^32 samples");
    if (r->result->epochs < 1) return ij_fail(err, IJ_ERROR_ARGUMENT, "linear heads: %d epochs", r->result->epochs);
    if (batch < 2 || batch > fitted || batch > BATCH_MAX)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "linear heads: a batch of %d; there are %d samples to train on, and it is 2 to %d", batch,
                       fitted, BATCH_MAX);
    for (int h = 0; h < r->result->count; h++) {
        const ij_head_setting *s = &r->settings[h];
        if (!(s->lr > 0) || !isfinite(s->lr) || !(s->weight_decay >= 0) || !isfinite(s->weight_decay))
            return ij_fail(err, IJ_ERROR_ARGUMENT, "linear heads: learning rate %g, weight decay %g", s->lr, s->weight_decay);
    }
    return r->test->labels ? ij_samples_cover(r->train, r->test, err) : IJ_OK;
}

static ij_status begin(run *r, gpu_device *device, ij_error *err) {
    const ij_heads_desc *desc = r->desc;
    ij_heads_result *out = r->result;
    int64_t count = r->train->count;
    if (count < IJ_HEADS_SAMPLES_MIN)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "linear heads: %lld training samples; a tenth is held out, so at least %d are needed",
                       (long long)count, IJ_HEADS_SAMPLES_MIN);
    if (desc->setting_count < 0 || desc->setting_count > IJ_HEADS_MAX)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "linear heads: %d settings, at most %d", desc->setting_count, IJ_HEADS_MAX);
    r->held_out = count / 10;
    out->held_out_samples = r->held_out;
    out->epochs = desc->epochs ? desc->epochs : 50;
    out->batch = desc->batch ? desc->batch : default_batch(device, r->train, count - r->held_out);
    out->count = desc->setting_count;
    if (out->count)
        memcpy(r->settings, desc->settings, sizeof *r->settings * (size_t)out->count);
    else
        out->count = sweep(desc->last_dim && desc->last_dim < r->train->dim, r->settings);
    IJ_TRY(check(r, err));
    int64_t steps = (count - r->held_out) / out->batch + (desc->no_retrain ? 0 : count / out->batch);
    r->total = steps * out->epochs;
    IJ_TRY(ij_alloc(&r->order, count, sizeof *r->order, "order of the samples", err));
    ij_order_shuffle(desc->seed, 0, r->order, count);
    IJ_TRY(gpu_arena_create(device, "features", GPU_MEMORY_DEVICE, &r->arena, err));
    IJ_TRY(store_reserve(&r->train_store, r->arena, r->train, err));
    IJ_TRY(store_reserve(&r->test_store, r->arena, r->test, err));
    IJ_TRY(gpu_arena_commit(r->arena, err));
    IJ_TRY(store_fill(device, &r->train_store, err));
    return store_fill(device, &r->test_store, err);
}

static fit fit_of(const run *r, gpu_device *device, const ij_head_setting *settings, int count, int64_t from) {
    return (fit){.device = device,
                 .train = r->train,
                 .features = &r->train_store,
                 .settings = settings,
                 .count = count,
                 .epochs = r->result->epochs,
                 .batch = r->result->batch,
                 .seed = r->desc->seed,
                 .rows = r->order + from,
                 .row_count = r->train->count - from,
                 .desc = r->desc,
                 .done = r->done,
                 .total = r->total};
}

static ij_status test_right(const run *r, fit *f, int64_t *right, ij_error *err) {
    return r->test->labels ? fit_evaluate(f, &r->test_store, NULL, r->test->count, right, err) : IJ_OK;
}

static double percent(const ij_samples *set, int64_t right) { return set->labels ? 100.0 * (double)right / (double)set->count : NAN; }

static ij_accuracy accuracy(const ij_samples *set, int64_t right) {
    return set->labels ? ij_accuracy_of(right, set->count) : (ij_accuracy){NAN, NAN, NAN};
}

/* All settings on nine tenths. */
static ij_status sweep_pass(run *r, gpu_device *device, ij_error *err) {
    ij_heads_result *out = r->result;
    int64_t held_out_right[IJ_HEADS_MAX];
    fit f = fit_of(r, device, r->settings, out->count, r->held_out);
    ij_status status = fit_prepare(&f, err);
    if (status == IJ_OK) status = fit_train(&f, err);
    if (status == IJ_OK) status = fit_losses(&f, r->losses, err);
    if (status == IJ_OK) status = fit_evaluate(&f, &r->train_store, r->order, r->held_out, held_out_right, err);
    if (status == IJ_OK) status = test_right(r, &f, r->right, err);
    if (status == IJ_OK) {
        out->best = choose(r->settings, held_out_right, out->count);
        for (int h = 0; h < out->count; h++) {
            out->head[h] = (ij_head){.setting = r->settings[h],
                                     .held_out = 100.0 * (double)held_out_right[h] / (double)r->held_out,
                                     .test = percent(r->test, r->right[h]),
                                     .loss = r->losses[h]};
            out->mean_held_out += out->head[h].held_out / out->count;
            out->mean_test += out->head[h].test / out->count;
        }
        out->loss = r->losses[out->best];
        out->test = accuracy(r->test, r->right[out->best]);
        if (r->desc->weights && r->desc->no_retrain) status = fit_weights(&f, out->best, r->desc->weights, err);
    }
    r->done = f.done;
    fit_free(&f);
    return status;
}

/* The chosen one on all. */
static ij_status final_pass(run *r, gpu_device *device, ij_error *err) {
    ij_heads_result *out = r->result;
    fit f = fit_of(r, device, &r->settings[out->best], 1, 0);
    ij_status status = fit_prepare(&f, err);
    if (status == IJ_OK) status = fit_train(&f, err);
    if (status == IJ_OK) status = fit_losses(&f, &out->loss, err);
    if (status == IJ_OK) status = test_right(r, &f, r->right, err);
    if (status == IJ_OK && r->desc->weights) status = fit_weights(&f, 0, r->desc->weights, err);
    out->test = accuracy(r->test, r->right[0]);
    out->retrained = true;
    fit_free(&f);
    return status;
}

ij_status ij_heads_run(gpu_device *device, const ij_samples *train, const ij_samples *test, const ij_heads_desc *desc,
                       ij_heads_result *result, ij_error *err) {
    run *r;
    *result = (ij_heads_result){0};
    IJ_TRY(ij_alloc(&r, 1, sizeof *r, "linear heads", err));
    r->train = train, r->test = test, r->desc = desc, r->result = result;
    ij_status status = begin(r, device, err);
    if (status == IJ_OK) status = sweep_pass(r, device, err);
    if (status == IJ_OK && !desc->no_retrain) status = final_pass(r, device, err);
    gpu_arena_destroy(r->arena);
    free(r->train_store.x);
    free(r->test_store.x);
    free(r->order);
    free(r);
    return status;
}
