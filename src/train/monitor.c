/* layer: train; uses: base, gpu, ops, model */
#include "train/monitor.h"
#include "base/memory.h"
#include "ops/collapse.h"
#include "ops/layernorm.h"
#include "ops/matmul.h"
#include "ops/reduce.h"
#include "train/spectrum.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A number of results and where it lies in the readback. */
typedef struct result {
    gpu_tensor device, host;
} result;

struct ij_monitor {
    ij_jepa *jepa;
    gpu_arena *arena, *readback;
    vit_saved own;      /* the features of a step that has none; else unused */
    gpu_tensor y;       /* [batch patches, dim] the features of all patches */
    gpu_tensor normed;  /* [batch patches, target dim] all targets; absent where blocks are masked at the input */
    gpu_tensor means;   /* [patches, target dim] of a position over the batch; likewise */
    gpu_tensor trivial; /* [target rows, target dim] the trivial predictions; likewise */
    gpu_tensor pooled;  /* [batch, dim] */
    gpu_tensor centred; /* [batch patches, dim] features less their image's mean */
    gpu_tensor distance_parts;
    gpu_tensor position_scratch, cosine_scratch, loss_scratch, matmul_scratch;
    result position;                                 /* struct collapse_position */
    result cosine, loss, trivial_loss;               /* [1] */
    result means_target, within;                     /* [batch, dim]; Gram matrix of the centred features, [dim, dim] */
    result distance;                                 /* struct reduce_distance */
    result gram_target, gram_prediction;             /* [dim, dim], [target dim, target dim] */
    result predictions, target_rows, target_offsets; /* the step's own, read back */
    result targets;                                  /* likewise, where blocks are masked at the input */
    gpu_program *program;
    uint64_t ticket;
    ij_verdict_history history;
};

static ij_rows target_rows(const ij_jepa *j) {
    return (ij_rows){j->masks.tgt_offsets, (uint32_t)(j->desc.batch * j->desc.masks.blocks), (uint32_t)j->limits.target_rows};
}

/* Every block is a sequence of its own: a position's target depends on the block it is in, and exists in blocks only. */
static bool masks_input(const ij_jepa *j) { return j->desc.model.target_mask == IJ_TARGET_MASK_INPUT; }
static bool predicts_pixels(const ij_jepa *j) { return j->desc.model.targets == IJ_TARGETS_PIXELS; }
static uint32_t target_dim(const ij_jepa *j) { return (uint32_t)ij_target_dim(&j->desc.model); }

/* x^T x over the true rows. */
static op_matmul_desc gram(const ij_monitor *m, const char *label, gpu_tensor x, ij_rows rows, uint32_t dim, gpu_tensor out) {
    return (op_matmul_desc){
        .label = label, .form = OP_MATMUL_TN, .m = dim, .n = dim, .rows = rows, .a = x, .b = x, .c = out, .scratch = m->matmul_scratch};
}

/* ---- plan ---- */

static ij_status reserve_result(ij_monitor *m, uint64_t bytes, const char *what, result *out, ij_error *err) {
    IJ_TRY(gpu_reserve(m->arena, bytes, what, &out->device, err));
    return gpu_reserve(m->readback, bytes, what, &out->host, err);
}

static ij_status reserve_copy(ij_monitor *m, gpu_tensor from, const char *what, result *out, ij_error *err) {
    out->device = from;
    return gpu_reserve(m->readback, from.bytes, what, &out->host, err);
}

/* The features: the step's own, or memory for a pass of the look's. */
static ij_status plan_features(ij_monitor *m, ij_error *err) {
    const ij_jepa *j = m->jepa;
    m->y = j->target_saved.y;
    if (!masks_input(j) && !predicts_pixels(j)) return IJ_OK;
    IJ_TRY(vit_saved_reserve(m->arena, &j->target, &j->full, false, &m->own, err));
    m->y = m->own.y;
    return IJ_OK;
}

/* What the trivial predictor needs on the device. */
static ij_status plan_trivial(ij_monitor *m, ij_error *err) {
    const ij_jepa *j = m->jepa;
    uint64_t dim = target_dim(j), patches = (uint64_t)ij_patches(&j->desc.model), batch = (uint64_t)j->desc.batch;
    if (masks_input(j)) return reserve_copy(m, j->targets, "targets", &m->targets, err);
    IJ_TRY(gpu_reserve(m->arena, 4 * batch * patches * dim, "normalised targets", &m->normed, err));
    IJ_TRY(gpu_reserve(m->arena, 4 * patches * dim, "mean targets", &m->means, err));
    IJ_TRY(gpu_reserve(m->arena, 4 * (uint64_t)j->limits.target_rows * dim, "trivial predictions", &m->trivial, err));
    return gpu_reserve(m->arena, op_position_stats_scratch((uint32_t)patches, (uint32_t)dim), "position scratch", &m->position_scratch,
                       err);
}

/* Parts of the encoders' weights that lie together: all that both have. */
static ij_status encoder_runs(const ij_monitor *m, ij_param_run **runs, int *count, uint32_t *parts, ij_error *err) {
    int all;
    IJ_TRY(ij_weights_runs(m->jepa->weights, runs, &all, err));
    *count = 0, *parts = 0;
    for (int i = 0; i < all; i++) {
        if ((*runs)[i].predictor) continue;
        *parts += op_sum_squares_partials((uint64_t)(*runs)[i].elements);
        (*runs)[(*count)++] = (*runs)[i];
    }
    return IJ_OK;
}

static ij_status plan_distance(ij_monitor *m, ij_error *err) {
    ij_param_run *runs;
    int count;
    uint32_t parts;
    IJ_TRY(encoder_runs(m, &runs, &count, &parts, err));
    free(runs);
    IJ_TRY(gpu_reserve(m->arena, 8 * (uint64_t)parts, "distance sums", &m->distance_parts, err));
    return reserve_result(m, sizeof(struct reduce_distance), "distance of the encoders", &m->distance, err);
}

static ij_status plan(ij_monitor *m, ij_error *err) {
    const ij_jepa *j = m->jepa;
    uint64_t dim = (uint64_t)j->desc.model.dim, wide = target_dim(j), batch = (uint64_t)j->desc.batch;
    IJ_TRY(gpu_arena_create(j->device, "collapse monitor", GPU_MEMORY_DEVICE, &m->arena, err));
    IJ_TRY(gpu_arena_create(j->device, "collapse monitor readback", GPU_MEMORY_READBACK, &m->readback, err));
    IJ_TRY(plan_features(m, err));
    IJ_TRY(plan_distance(m, err));
    IJ_TRY(gpu_reserve(m->arena, 4 * (uint64_t)ij_patches(&j->desc.model) * batch * dim, "centred features", &m->centred, err));
    IJ_TRY(plan_trivial(m, err));
    IJ_TRY(gpu_reserve(m->arena, 4 * batch * dim, "pooled targets", &m->pooled, err));
    IJ_TRY(gpu_reserve(m->arena, 4 * batch, "cosine scratch", &m->cosine_scratch, err));
    IJ_TRY(gpu_reserve(m->arena, op_loss_scratch((uint32_t)j->limits.target_rows), "loss scratch", &m->loss_scratch, err));
    op_matmul_desc products[] = {gram(m, NULL, m->y, vit_rows(&j->full), (uint32_t)dim, (gpu_tensor){0}),
                                 gram(m, NULL, j->predictions, target_rows(j), (uint32_t)wide, (gpu_tensor){0})};
    uint64_t scratch = 16;
    for (int i = 0; i < IJ_COUNT(products); i++) {
        uint64_t bytes = op_matmul_scratch(j->device, &products[i]);
        if (bytes > scratch) scratch = bytes;
    }
    IJ_TRY(gpu_reserve(m->arena, scratch, "Gram scratch", &m->matmul_scratch, err));
    IJ_TRY(reserve_result(m, sizeof(struct collapse_position), "position variance", &m->position, err));
    IJ_TRY(reserve_result(m, 4, "cosine", &m->cosine, err));
    IJ_TRY(reserve_result(m, 4, "loss", &m->loss, err));
    IJ_TRY(reserve_result(m, 4, "trivial loss", &m->trivial_loss, err));
    IJ_TRY(reserve_result(m, 4 * dim * dim, "Gram matrix of the targets", &m->gram_target, err));
    IJ_TRY(reserve_result(m, 4 * dim * dim, "Gram matrix of the centred targets", &m->within, err));
    IJ_TRY(reserve_copy(m, m->pooled, "pooled targets", &m->means_target, err));
    IJ_TRY(reserve_result(m, 4 * wide * wide, "Gram matrix of the predictions", &m->gram_prediction, err));
    IJ_TRY(reserve_copy(m, j->predictions, "predictions", &m->predictions, err));
    IJ_TRY(reserve_copy(m, j->masks.tgt_rows, "target rows", &m->target_rows, err));
    IJ_TRY(reserve_copy(m, j->masks.tgt_offsets, "target offsets", &m->target_offsets, err));
    IJ_TRY(gpu_arena_commit(m->arena, err));
    return gpu_arena_commit(m->readback, err);
}

/* ---- record ---- */

static ij_status record_features(ij_monitor *m, ij_error *err) {
    const ij_jepa *j = m->jepa;
    uint32_t dim = (uint32_t)j->desc.model.dim, patches = (uint32_t)ij_patches(&j->desc.model), batch = (uint32_t)j->desc.batch;
    if (m->own.blocks) IJ_TRY(ij_jepa_record_features(j, m->program, &m->own, err));
    IJ_TRY(op_mean_rows(
        m->program,
        &(op_mean_rows_args){
            .x = m->y, .pooled = m->pooled, .offsets = j->full.offsets, .sequences = batch, .dim = dim, .rows_max = batch * patches},
        err));
    if (batch > 1)
        IJ_TRY(op_cosine_stats(
            m->program,
            &(op_cosine_stats_args){.x = m->pooled, .cosine = m->cosine.device, .scratch = m->cosine_scratch, .rows = batch, .dim = dim},
            err));
    op_matmul_desc product = gram(m, "Gram matrix of the targets", m->y, vit_rows(&j->full), dim, m->gram_target.device);
    IJ_TRY(op_matmul(m->program, &product, err));
    IJ_TRY(op_centre_images(m->program, &(op_centre_images_args){m->y, m->pooled, m->centred, batch, patches, dim}, err));
    product = gram(m, "Gram matrix of the centred targets", m->centred, vit_rows(&j->full), dim, m->within.device);
    return op_matmul(m->program, &product, err);
}

static ij_status record_distance(ij_monitor *m, ij_error *err) {
    const ij_weights *w = m->jepa->weights;
    ij_param_run *runs;
    int count;
    uint32_t parts, first = 0;
    IJ_TRY(encoder_runs(m, &runs, &count, &parts, err));
    ij_status status = IJ_OK;
    for (int i = 0; i < count && status == IJ_OK; i++) {
        status = op_distance(m->program, ij_weights_run(w, IJ_SLOT_WEIGHT, &runs[i]), ij_weights_run(w, IJ_SLOT_TARGET, &runs[i]),
                             (uint64_t)runs[i].elements, m->distance_parts, first, err);
        first += op_sum_squares_partials((uint64_t)runs[i].elements);
    }
    free(runs);
    return status == IJ_OK ? op_distance_finish(m->program, m->distance_parts, parts, m->distance.device, err) : status;
}

/* The targets of all patches and their mean at each position. */
static ij_status record_targets(ij_monitor *m, ij_error *err) {
    const ij_jepa *j = m->jepa;
    op_layernorm_args norm = {.x = predicts_pixels(j) ? j->pixel_rows : m->y,
                              .y = m->normed,
                              .rows = vit_rows(&j->full),
                              .dim = target_dim(j),
                              .eps = predicts_pixels(j) ? IJ_PIXEL_NORM_EPS : IJ_TARGET_NORM_EPS};
    IJ_TRY(op_layernorm(m->program, &norm, err));
    return op_position_stats(m->program,
                             &(op_position_stats_args){.x = m->normed,
                                                       .mean = m->means,
                                                       .stats = m->position.device,
                                                       .scratch = m->position_scratch,
                                                       .images = (uint32_t)j->desc.batch,
                                                       .patches = (uint32_t)ij_patches(&j->desc.model),
                                                       .dim = target_dim(j),
                                                       .kind = (uint32_t)j->desc.loss},
                             err);
}

static ij_status record_predictions(ij_monitor *m, ij_error *err) {
    const ij_jepa *j = m->jepa;
    ij_rows rows = target_rows(j);
    op_loss_args loss = {.prediction = j->predictions,
                         .target = j->targets,
                         .loss = m->loss.device,
                         .scratch = m->loss_scratch,
                         .rows = rows,
                         .dim = target_dim(j),
                         .kind = (uint32_t)j->desc.loss};
    IJ_TRY(op_loss(m->program, &loss, err));
    if (!masks_input(j)) {
        IJ_TRY(gpu_fill(m->program, m->trivial, 0, err));
        IJ_TRY(op_add_positions(m->program, m->trivial, m->means, j->masks.tgt_rows, rows, target_dim(j), ij_patches(&j->desc.model), err));
        loss.prediction = m->trivial, loss.loss = m->trivial_loss.device;
        IJ_TRY(op_loss(m->program, &loss, err));
    }
    op_matmul_desc product = gram(m, "Gram matrix of the predictions", j->predictions, rows, target_dim(j), m->gram_prediction.device);
    return op_matmul(m->program, &product, err);
}

static ij_status record(ij_monitor *m, ij_error *err) {
    const result *results[] = {&m->position,        &m->cosine,      &m->loss,        &m->trivial_loss,   &m->gram_target,
                               &m->gram_prediction, &m->predictions, &m->target_rows, &m->target_offsets, &m->targets,
                               &m->means_target,    &m->within,      &m->distance};
    IJ_TRY(gpu_program_create(m->jepa->device, "collapse monitor", false, &m->program, err));
    gpu_program_scope(m->program, "monitor");
    IJ_TRY(gpu_fill(m->program, m->cosine.device, 0, err));
    IJ_TRY(record_features(m, err));
    IJ_TRY(record_distance(m, err));
    if (!masks_input(m->jepa)) IJ_TRY(record_targets(m, err));
    IJ_TRY(record_predictions(m, err));
    for (int i = 0; i < IJ_COUNT(results); i++)
        if (results[i]->host.arena) IJ_TRY(gpu_copy(m->program, results[i]->host, results[i]->device, results[i]->device.bytes, err));
    return gpu_program_finish(m->program, err);
}

ij_status ij_monitor_create(ij_jepa *jepa, ij_monitor **out, ij_error *err) {
    *out = NULL;
    ij_monitor *m;
    IJ_TRY(ij_alloc(&m, 1, sizeof *m, "collapse monitor", err));
    m->jepa = jepa;
    ij_status status = plan(m, err);
    if (status == IJ_OK) status = record(m, err);
    if (status == IJ_OK)
        *out = m;
    else
        ij_monitor_destroy(m);
    return status;
}

void ij_monitor_destroy(ij_monitor *m) {
    if (!m) return;
    gpu_program_destroy(m->program);
    gpu_arena_destroy(m->arena);
    gpu_arena_destroy(m->readback);
    vit_saved_free(&m->own);
    free(m);
}

ij_status ij_monitor_record(ij_monitor *m, ij_error *err) { return gpu_submit(m->program, &m->ticket, err); }

/* ---- reading ---- */

/* Mean cosine of all pairs of rows of sums [images, dim]: (|sum of directions|^2 - images) / (images (images - 1)). */
static double mean_cosine(const double *sums, int64_t images, int64_t dim, double *direction) {
    double square = 0, directed = 0;
    memset(direction, 0, (size_t)dim * sizeof *direction);
    for (int64_t i = 0; i < images; i++) {
        double length = 0;
        for (int64_t d = 0; d < dim; d++) length += sums[i * dim + d] * sums[i * dim + d];
        if (!(length > 0)) continue;
        directed++;
        for (int64_t d = 0; d < dim; d++) direction[d] += sums[i * dim + d] / sqrt(length);
    }
    for (int64_t d = 0; d < dim; d++) square += direction[d] * direction[d];
    return (square - directed) / ((double)images * (double)(images - 1));
}

ij_status ij_grouped_stats(const float *x, const uint32_t *place, int64_t rows, int64_t images, int64_t patches, int64_t dim,
                           double *cosine, double *position_variance, ij_error *err) {
    double *memory, within = 0, total = 0, used = 0;
    *cosine = *position_variance = NAN;
    for (int64_t r = 0; r < rows; r++)
        if (place[r] >= images * patches)
            return ij_fail(err, IJ_ERROR_MISMATCH, "collapse monitor: target row %lld is patch %u of %lld", (long long)r, place[r],
                           (long long)(images * patches));
    IJ_TRY(ij_alloc(&memory, (images + patches + 1) * dim + patches, sizeof *memory, "collapse monitor", err));
    double *image_sum = memory, *mean = image_sum + images * dim, *grand = mean + patches * dim, *count = grand + dim;
    for (int64_t r = 0; r < rows; r++) {
        int64_t image = place[r] / patches, position = place[r] % patches;
        count[position]++;
        for (int64_t d = 0; d < dim; d++)
            image_sum[image * dim + d] += (double)x[r * dim + d], mean[position * dim + d] += (double)x[r * dim + d];
    }
    if (images > 1) *cosine = mean_cosine(image_sum, images, dim, grand);
    memset(grand, 0, (size_t)dim * sizeof *grand);
    for (int64_t p = 0; p < patches; p++) {
        if (count[p] < 2) continue; /* one row is its own mean */
        used += count[p];
        for (int64_t d = 0; d < dim; d++) grand[d] += mean[p * dim + d], mean[p * dim + d] /= count[p];
    }
    for (int64_t r = 0; r < rows; r++) {
        int64_t position = place[r] % patches;
        for (int64_t d = 0; d < dim && count[position] >= 2; d++) {
            double value = (double)x[r * dim + d], here = value - mean[position * dim + d], all = value - grand[d] / used;
            within += here * here, total += all * all;
        }
    }
    if (total > 0) *position_variance = within / total;
    free(memory);
    return IJ_OK;
}

static double distance(double difference, uint32_t kind) {
    double size = fabs(difference);
    if (kind == LOSS_L1) return size;
    if (kind == LOSS_L2) return size * size;
    return size < 1 ? 0.5 * size * size : size - 0.5;
}

ij_status ij_grouped_trivial(const float *x, const uint32_t *place, int64_t rows, int64_t images, int64_t patches, int64_t dim,
                             uint32_t kind, double *loss, ij_error *err) {
    double *memory, sum = 0, used = 0;
    int64_t width = dim + 1; /* a position's sum, and how many rows are in it */
    *loss = NAN;
    IJ_TRY(ij_alloc(&memory, 2 * patches * width, sizeof *memory, "collapse monitor", err));
    double *all = memory, *own = memory + patches * width;
    for (int64_t r = 0; r < rows; r++) {
        double *at = all + place[r] % patches * width;
        for (int64_t d = 0; d < dim; d++) at[d] += (double)x[r * dim + d];
        at[dim]++;
    }
    for (int64_t begin = 0, end; begin < rows && images > 1; begin = end) {
        memset(own, 0, (size_t)(patches * width) * sizeof *own);
        for (end = begin; end < rows && place[end] / patches == place[begin] / patches; end++) {
            double *at = own + place[end] % patches * width;
            for (int64_t d = 0; d < dim; d++) at[d] += (double)x[end * dim + d];
            at[dim]++;
        }
        for (int64_t r = begin; r < end; r++) {
            const double *a = all + place[r] % patches * width, *o = own + place[r] % patches * width;
            double others = a[dim] - o[dim];
            if (!(others > 0)) continue;
            used += (double)dim;
            for (int64_t d = 0; d < dim; d++) sum += distance((double)x[r * dim + d] - (a[d] - o[d]) / others, kind);
        }
    }
    if (used > 0) *loss = sum / used;
    free(memory);
    return IJ_OK;
}

/* The mean that the device took has the image itself in it. With the mean m' of the others, t - m' = (t - m) n / (n - 1): a factor for L1,
 * its square for L2, and for smooth L1 as far as differences stay below 1. */
static double leave_one_out(double loss, uint32_t kind, int images) {
    if (images < 2) return NAN;
    double factor = (double)images / (images - 1);
    return loss * (kind == LOSS_L1 ? factor : factor * factor);
}

/* What the device found of the targets, or the same of targets that exist at target rows only. */
static ij_status read_targets(ij_monitor *m, int64_t rows, ij_monitor_sample *sample, ij_error *err) {
    const ij_jepa *j = m->jepa;
    int64_t images = j->desc.batch, patches = ij_patches(&j->desc.model);
    if (masks_input(j)) {
        const float *targets = gpu_map(m->targets.host);
        const uint32_t *place = gpu_map(m->target_rows.host);
        double cosine; /* of blocks; that of images is the device's */
        IJ_TRY(ij_grouped_stats(targets, place, rows, images, patches, target_dim(j), &cosine, &sample->position_variance_target, err));
        return ij_grouped_trivial(targets, place, rows, images, patches, target_dim(j), j->desc.loss, &sample->trivial_loss, err);
    }
    const struct collapse_position *position = gpu_map(m->position.host);
    const float *trivial = gpu_map(m->trivial_loss.host);
    sample->trivial_loss = leave_one_out((double)*trivial, j->desc.loss, j->desc.batch);
    if (images > 1 && position->total > 0) sample->position_variance_target = (double)position->within / (double)position->total;
    return IJ_OK;
}

/* Spectrum, shares and LiDAR of the targets; a batch of one image has none. */
static ij_status read_spectrum(ij_monitor *m, ij_monitor_sample *sample, ij_error *err) {
    const ij_jepa *j = m->jepa;
    int n = j->desc.model.dim;
    ij_image_stats stats;
    double *values;
    if (j->desc.batch < 2) return IJ_OK;
    IJ_TRY(ij_alloc(&values, n, sizeof *values, "spectrum of the features", err));
    ij_status status = ij_image_spectrum(gpu_map(m->within.host), gpu_map(m->means_target.host), j->desc.batch, ij_patches(&j->desc.model),
                                         n, values, &stats, err);
    if (status == IJ_OK) {
        sample->lidar_target = stats.lidar;
        sample->image_share_target = stats.image_share;
        sample->top_share_target = stats.top_share;
        sample->spectrum_count = ij_spectrum_points(n, sample->spectrum_at);
        for (int i = 0; i < sample->spectrum_count; i++) sample->spectrum_target[i] = values[sample->spectrum_at[i] - 1];
    }
    free(values);
    return status;
}

ij_status ij_monitor_read(ij_monitor *m, ij_monitor_sample *sample, ij_error *err) {
    const ij_jepa *j = m->jepa;
    int batch = j->desc.batch;
    IJ_TRY(gpu_wait(j->device, m->ticket, err));
    const float *cosine = gpu_map(m->cosine.host), *loss = gpu_map(m->loss.host);
    const uint32_t *offsets = gpu_map(m->target_offsets.host);
    int64_t rows = offsets[target_rows(j).at];
    *sample = (ij_monitor_sample){.loss = (double)*loss,
                                  .trivial_loss = NAN,
                                  .cosine_target = batch > 1 ? (double)*cosine : NAN,
                                  .position_variance_target = NAN,
                                  .lidar_target = NAN,
                                  .image_share_target = NAN,
                                  .top_share_target = NAN,
                                  .ema_distance = (double)((const struct reduce_distance *)gpu_map(m->distance.host))->relative};
    if (rows > j->limits.target_rows)
        return ij_fail(err, IJ_ERROR_MISMATCH, "collapse monitor: %lld target rows, room for %lld", (long long)rows,
                       (long long)j->limits.target_rows);
    IJ_TRY(read_targets(m, rows, sample, err));
    IJ_TRY(read_spectrum(m, sample, err));
    IJ_TRY(ij_rankme(gpu_map(m->gram_target.host), j->desc.model.dim, &sample->rankme_target, err));
    IJ_TRY(ij_rankme(gpu_map(m->gram_prediction.host), (int)target_dim(j), &sample->rankme_prediction, err));
    return ij_grouped_stats(gpu_map(m->predictions.host), gpu_map(m->target_rows.host), rows, batch, ij_patches(&j->desc.model),
                            target_dim(j), &sample->cosine_prediction, &sample->position_variance_prediction, err);
}

ij_verdict ij_monitor_judge(ij_monitor *m, int64_t step, const ij_monitor_sample *sample, char *reason, size_t reason_bytes) {
    return ij_verdict_judge(&m->history, step, sample, reason, reason_bytes);
}

ij_verdict ij_monitor_verdict(const ij_monitor *m) { return m->history.verdict; }
