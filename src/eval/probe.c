/* layer: eval; uses: base, data, gpu, ops */
#include "eval/probe.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "data/order.h"
#include "eval/lbfgs.h"
#include "ops/matmul.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES ((int64_t)64 << 20) /* of a block of rows, and of its logits: every device can bind that */
#define ROWS_A_PIECE 1024

/* A fit ends when an iteration gains less than this part of the loss. With 1e-7 for both, 60,000 x 192 features took 593 evaluations
 * instead of 154, for 83.35 % on the test images instead of 83.30 %. */
#define GAIN_CHOOSE 1e-4
#define GAIN_FINAL 1e-5
#define GAIN_GIVEN 1e-7 /* where l2 is given there is one fit, and it goes to the minimum */

static const double l2_values[] = {1e-1, 1e-2, 1e-3, 1e-4, 1e-5};

/* A block of standardised rows that stays on the device, and the two products with it. */
typedef struct block {
    int64_t begin, rows;
    gpu_tensor x;          /* [rows, width] */
    gpu_program *forward;  /* logits = w x^T: with the many rows as columns, lanes of a CPU driver are full */
    gpu_program *backward; /* gradient (+)= dlogits^T x */
} block;

/* Rows of features against the weights of all classes; training and test samples have one each. */
typedef struct design {
    gpu_device *device;
    int64_t rows, block_rows;
    int width, classes;
    block *blocks;
    int block_count;
    gpu_arena *arena, *upload, *readback;
    gpu_tensor w, gradient; /* [classes, width] */
    gpu_tensor logits;      /* [classes, rows of a block] */
    gpu_tensor dlogits;     /* [block_rows, classes] */
    gpu_tensor scratch;
    gpu_tensor w_host, dlogits_host;       /* where the host writes */
    gpu_tensor logits_host, gradient_host; /* where it reads */
} design;

struct probe_problem {
    design design;
    int dim;
    double *mean, *scale; /* [dim] x' = (x - mean) scale */
    int *labels;          /* [rows] in the design's order */
    /* of the evaluation at hand */
    const block *block;
    int64_t held_out;
    double *losses; /* [pieces of a block] */
    int64_t *right, *held_out_right;
};

/* ---- the design on the device ---- */

static op_matmul_desc backward_product(const design *d, const block *b) {
    return (op_matmul_desc){.label = "probe gradient",
                            .form = OP_MATMUL_TN,
                            .m = (uint32_t)d->classes,
                            .n = (uint32_t)d->width,
                            .rows = {.max = (uint32_t)b->rows},
                            .a = d->dlogits,
                            .b = b->x,
                            .c = d->gradient,
                            .accumulate = b->begin > 0,
                            .scratch = d->scratch};
}

static ij_status reserve(design *d, bool gradient, ij_error *err) {
    uint64_t weights = 4 * (uint64_t)d->classes * (uint64_t)d->width, logits = 4 * (uint64_t)d->block_rows * (uint64_t)d->classes,
             scratch = 0;
    for (int i = 0; i < d->block_count; i++) {
        block *b = &d->blocks[i];
        b->begin = i * d->block_rows;
        b->rows = d->rows - b->begin < d->block_rows ? d->rows - b->begin : d->block_rows;
        IJ_TRY(gpu_reserve(d->arena, 4 * (uint64_t)(b->rows * d->width), "features", &b->x, err));
        op_matmul_desc product = backward_product(d, b);
        uint64_t bytes = op_matmul_scratch(d->device, &product);
        if (bytes > scratch) scratch = bytes;
    }
    IJ_TRY(gpu_reserve(d->arena, weights, "probe weights", &d->w, err));
    IJ_TRY(gpu_reserve(d->arena, logits, "logits", &d->logits, err));
    IJ_TRY(gpu_reserve(d->upload, weights, "probe weights", &d->w_host, err));
    IJ_TRY(gpu_reserve(d->readback, logits, "logits", &d->logits_host, err));
    if (!gradient) return IJ_OK;
    if (scratch) IJ_TRY(gpu_reserve(d->arena, scratch, "probe scratch", &d->scratch, err));
    IJ_TRY(gpu_reserve(d->arena, weights, "probe gradient", &d->gradient, err));
    IJ_TRY(gpu_reserve(d->arena, logits, "gradient of logits", &d->dlogits, err));
    IJ_TRY(gpu_reserve(d->upload, logits, "gradient of logits", &d->dlogits_host, err));
    return gpu_reserve(d->readback, weights, "probe gradient", &d->gradient_host, err);
}

static ij_status record(design *d, block *b, bool gradient, ij_error *err) {
    uint64_t logits = 4 * (uint64_t)(b->rows * d->classes);
    op_matmul_desc product = {.label = "probe logits",
                              .form = OP_MATMUL_NT,
                              .n = (uint32_t)b->rows,
                              .k = (uint32_t)d->width,
                              .rows = {.max = (uint32_t)d->classes},
                              .a = d->w,
                              .b = b->x,
                              .c = d->logits};
    IJ_TRY(gpu_program_create(d->device, "probe forward", false, &b->forward, err));
    if (b->begin == 0) IJ_TRY(gpu_copy(b->forward, d->w, d->w_host, d->w.bytes, err));
    IJ_TRY(op_matmul(b->forward, &product, err));
    IJ_TRY(gpu_copy(b->forward, d->logits_host, d->logits, logits, err));
    IJ_TRY(gpu_program_finish(b->forward, err));
    if (!gradient) return IJ_OK;
    product = backward_product(d, b);
    IJ_TRY(gpu_program_create(d->device, "probe backward", false, &b->backward, err));
    IJ_TRY(gpu_copy(b->backward, d->dlogits, d->dlogits_host, logits, err));
    IJ_TRY(op_matmul(b->backward, &product, err));
    if (b->begin + b->rows == d->rows) IJ_TRY(gpu_copy(b->backward, d->gradient_host, d->gradient, d->gradient.bytes, err));
    return gpu_program_finish(b->backward, err);
}

static ij_status design_make(design *d, gpu_device *device, int64_t rows, int dim, int classes, bool gradient, ij_error *err) {
    d->device = device;
    d->rows = rows;
    d->width = (dim + 1 + 3) / 4 * 4;
    d->classes = classes;
    int64_t widest = d->width > classes ? d->width : classes;
    d->block_rows = BLOCK_BYTES / (4 * widest);
    if (d->block_rows < 1) return ij_fail(err, IJ_ERROR_ARGUMENT, "linear probe: %d features, %d classes", dim, classes);
    if (d->block_rows > rows) d->block_rows = rows;
    d->block_count = (int)((rows + d->block_rows - 1) / d->block_rows);
    IJ_TRY(ij_alloc(&d->blocks, d->block_count, sizeof *d->blocks, "linear probe", err));
    IJ_TRY(gpu_arena_create(device, "linear probe", GPU_MEMORY_DEVICE, &d->arena, err));
    IJ_TRY(gpu_arena_create(device, "linear probe upload", GPU_MEMORY_UPLOAD, &d->upload, err));
    IJ_TRY(gpu_arena_create(device, "linear probe readback", GPU_MEMORY_READBACK, &d->readback, err));
    IJ_TRY(reserve(d, gradient, err));
    IJ_TRY(gpu_arena_commit(d->arena, err));
    IJ_TRY(gpu_arena_commit(d->upload, err));
    IJ_TRY(gpu_arena_commit(d->readback, err));
    for (int i = 0; i < d->block_count; i++) IJ_TRY(record(d, &d->blocks[i], gradient, err));
    return IJ_OK;
}

static void design_free(design *d) {
    for (int i = 0; i < d->block_count && d->blocks; i++)
        gpu_program_destroy(d->blocks[i].forward), gpu_program_destroy(d->blocks[i].backward);
    gpu_arena_destroy(d->arena);
    gpu_arena_destroy(d->upload);
    gpu_arena_destroy(d->readback);
    free(d->blocks);
}

/* Standardised rows with a one for the bias, in the given order (NULL: as they are). */
static ij_status design_fill(design *d, const ij_samples *from, const uint32_t *order, const double *mean, const double *scale,
                             ij_error *err) {
    float *staging;
    IJ_TRY(ij_alloc(&staging, d->block_rows * d->width, sizeof *staging, "standardised features", err));
    ij_status status = IJ_OK;
    for (int i = 0; i < d->block_count && status == IJ_OK; i++) {
        const block *b = &d->blocks[i];
        for (int64_t r = 0; r < b->rows; r++) {
            const float *x = from->x + (order ? (int64_t)order[b->begin + r] : b->begin + r) * from->dim;
            float *row = staging + r * d->width;
            for (int k = 0; k < from->dim; k++) row[k] = (float)(((double)x[k] - mean[k]) * scale[k]);
            row[from->dim] = 1;
        }
        status = gpu_write(d->device, b->x, 0, staging, 4 * (uint64_t)(b->rows * d->width), err);
    }
    free(staging);
    return status;
}

/* ---- the objective ---- */

static ij_status standardise(probe_problem *p, const ij_samples *train, ij_error *err) {
    int dim = train->dim;
    IJ_TRY(ij_alloc(&p->mean, dim, sizeof *p->mean, "mean of the features", err));
    IJ_TRY(ij_alloc(&p->scale, dim, sizeof *p->scale, "scale of the features", err));
    for (int64_t i = 0; i < train->count; i++)
        for (int k = 0; k < dim; k++) p->mean[k] += (double)train->x[i * dim + k];
    for (int k = 0; k < dim; k++) p->mean[k] /= (double)train->count;
    for (int64_t i = 0; i < train->count; i++)
        for (int k = 0; k < dim; k++) {
            double difference = (double)train->x[i * dim + k] - p->mean[k];
            p->scale[k] += difference * difference;
        }
    for (int k = 0; k < dim; k++) {
        double deviation = sqrt(p->scale[k] / (double)train->count);
        p->scale[k] = deviation > 1e-12 * (1 + fabs(p->mean[k])) ? 1 / deviation : 0;
    }
    return IJ_OK;
}

ij_status probe_problem_create(gpu_device *device, const ij_samples *train, uint64_t seed, probe_problem **out, ij_error *err) {
    *out = NULL;
    probe_problem *p;
    uint32_t *order = NULL;
    int64_t pieces;
    IJ_TRY(ij_alloc(&p, 1, sizeof *p, "linear probe", err));
    p->dim = train->dim;
    ij_status status = design_make(&p->design, device, train->count, train->dim, train->classes, true, err);
    if (status != IJ_OK) goto done;
    pieces = (p->design.block_rows + ROWS_A_PIECE - 1) / ROWS_A_PIECE;
    IJ_TRY_GOTO(ij_alloc(&order, train->count, sizeof *order, "order of the samples", err), done);
    IJ_TRY_GOTO(ij_alloc(&p->labels, train->count, sizeof *p->labels, "labels", err), done);
    IJ_TRY_GOTO(ij_alloc(&p->losses, pieces, sizeof *p->losses, "linear probe", err), done);
    IJ_TRY_GOTO(ij_alloc(&p->right, pieces, sizeof *p->right, "linear probe", err), done);
    IJ_TRY_GOTO(ij_alloc(&p->held_out_right, pieces, sizeof *p->held_out_right, "linear probe", err), done);
    IJ_TRY_GOTO(standardise(p, train, err), done);
    ij_order_shuffle(seed, 0, order, train->count);
    for (int64_t i = 0; i < train->count; i++) p->labels[i] = train->labels[order[i]];
    status = design_fill(&p->design, train, order, p->mean, p->scale, err);
done:
    free(order);
    if (status == IJ_OK)
        *out = p;
    else
        probe_problem_destroy(p);
    return status;
}

void probe_problem_destroy(probe_problem *p) {
    if (!p) return;
    design_free(&p->design);
    free(p->mean);
    free(p->scale);
    free(p->labels);
    free(p->losses);
    free(p->right);
    free(p->held_out_right);
    free(p);
}

int probe_problem_width(const probe_problem *p) { return p->design.width; }

/* The class with the largest logit; the logits of a row are a column of [classes, rows]. */
static int largest(const float *z, int64_t stride, int classes) {
    int best = 0;
    for (int c = 1; c < classes; c++)
        if (z[c * stride] > z[best * stride]) best = c;
    return best;
}

/* Loss of the block's rows begin .. end, and dlogits = (softmax - one-hot) / fitted samples; held-out rows have none. */
static void softmax_rows(void *user, int64_t begin, int64_t end, int64_t piece) {
    probe_problem *p = user;
    const float *logits = gpu_map(p->design.logits_host);
    float *dlogits = gpu_map(p->design.dlogits_host);
    int64_t stride = p->block->rows;
    int classes = p->design.classes;
    double loss = 0, fitted = (double)(p->design.rows - p->held_out);
    int64_t right = 0, held_out_right = 0;
    for (int64_t r = begin; r < end; r++) {
        const float *z = logits + r;
        float *dz = dlogits + r * classes;
        int label = p->labels[p->block->begin + r], best = largest(z, stride, classes);
        if (p->block->begin + r < p->held_out) {
            memset(dz, 0, (size_t)classes * sizeof *dz);
            held_out_right += best == label;
            continue;
        }
        double sum = 0, top = (double)z[best * stride];
        for (int c = 0; c < classes; c++) sum += exp((double)z[c * stride] - top);
        for (int c = 0; c < classes; c++) dz[c] = (float)((exp((double)z[c * stride] - top) / sum - (c == label)) / fitted);
        loss += (log(sum) + top - (double)z[label * stride]) / fitted;
        right += best == label;
    }
    p->losses[piece] = loss;
    p->right[piece] = right;
    p->held_out_right[piece] = held_out_right;
}

ij_status probe_evaluate(probe_problem *p, const double *w, double l2, int64_t held_out, double *gradient, probe_value *value,
                         ij_error *err) {
    design *d = &p->design;
    int64_t count = (int64_t)d->classes * d->width;
    float *w_host = gpu_map(d->w_host);
    for (int64_t i = 0; i < count; i++) w_host[i] = (float)w[i];
    *value = (probe_value){0};
    p->held_out = held_out;
    for (int i = 0; i < d->block_count; i++) {
        p->block = &d->blocks[i];
        IJ_TRY(gpu_run(p->block->forward, err));
        ij_parallel(0, p->block->rows, ROWS_A_PIECE, softmax_rows, p);
        for (int64_t piece = 0; piece * ROWS_A_PIECE < p->block->rows; piece++) {
            value->loss += p->losses[piece];
            value->right += p->right[piece];
            value->held_out_right += p->held_out_right[piece];
        }
        IJ_TRY(gpu_run(p->block->backward, err));
    }
    const float *gradient_host = gpu_map(d->gradient_host);
    for (int64_t i = 0; i < count; i++) {
        bool decayed = i % d->width != p->dim; /* all but the bias */
        gradient[i] = (double)gradient_host[i] + (decayed ? l2 * w[i] : 0);
        if (decayed) value->loss += l2 / 2 * w[i] * w[i];
    }
    return IJ_OK;
}

/* ---- fitting ---- */

typedef struct fit {
    probe_problem *problem;
    double l2;
    int64_t held_out;
    probe_value value; /* of the newest evaluation */
    const ij_probe_desc *desc;
    int done, total; /* iterations, for progress */
    int evaluations;
    ij_error *err;
} fit;

static ij_status objective(void *user, const double *w, double *value, double *gradient) {
    fit *f = user;
    f->evaluations++;
    IJ_TRY(probe_evaluate(f->problem, w, f->l2, f->held_out, gradient, &f->value, f->err));
    *value = f->value.loss;
    return IJ_OK;
}

static void iterated(void *user) {
    fit *f = user;
    if (f->done < f->total) f->done++;
    if (f->desc->progress) f->desc->progress(f->desc->user, "linear probe", f->done, f->total);
}

static ij_status minimise(fit *f, double *w, int iterations, double gain, ij_error *err) {
    lbfgs_desc desc = {.count = (int64_t)f->problem->design.classes * f->problem->design.width,
                       .iterations = iterations,
                       .gain = gain,
                       .objective = objective,
                       .iterated = iterated,
                       .user = f};
    f->err = err;
    return lbfgs(&desc, w, err);
}

/* Leaves the weights of the best l2 in w and says what it was; of equal ones the strongest. */
static ij_status choose_l2(fit *f, double *w, int iterations, ij_probe_result *result, ij_error *err) {
    int64_t count = (int64_t)f->problem->design.classes * f->problem->design.width;
    double *trial;
    int64_t best = -1;
    IJ_TRY(ij_alloc(&trial, count, sizeof *trial, "probe weights", err));
    ij_status status = IJ_OK;
    for (int i = 0; i < IJ_COUNT(l2_values) && status == IJ_OK; i++) {
        f->l2 = l2_values[i];
        status = minimise(f, trial, iterations, GAIN_CHOOSE, err);
        f->done = iterations * (i + 1);
        if (status != IJ_OK || f->value.held_out_right < best) break; /* past the top: the weaker are the dearer */
        if (f->value.held_out_right == best) continue;
        best = f->value.held_out_right;
        result->l2 = f->l2;
        result->held_out = 100.0 * (double)best / (double)f->held_out;
        memcpy(w, trial, (size_t)count * sizeof *w);
    }
    free(trial);
    return status;
}

static ij_status predict(gpu_device *device, const probe_problem *p, const double *w, const ij_samples *test, int *predicted,
                         ij_error *err) {
    design d = {0};
    ij_status status = design_make(&d, device, test->count, test->dim, p->design.classes, false, err);
    if (status == IJ_OK) status = design_fill(&d, test, NULL, p->mean, p->scale, err);
    if (status == IJ_OK)
        for (int64_t i = 0; i < (int64_t)d.classes * d.width; i++) ((float *)gpu_map(d.w_host))[i] = (float)w[i];
    for (int i = 0; i < d.block_count && status == IJ_OK; i++) {
        status = gpu_run(d.blocks[i].forward, err);
        const float *logits = status == IJ_OK ? gpu_map(d.logits_host) : NULL;
        for (int64_t r = 0; r < d.blocks[i].rows && logits; r++)
            predicted[d.blocks[i].begin + r] = largest(logits + r, d.blocks[i].rows, d.classes);
    }
    design_free(&d);
    return status;
}

ij_status ij_probe(gpu_device *device, const ij_samples *train, const ij_samples *test, const ij_probe_desc *desc, int *predicted,
                   ij_probe_result *result, ij_error *err) {
    if (train->dim != test->dim)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "linear probe: %d features a training sample, %d a test sample", train->dim, test->dim);
    bool given = desc->l2 > 0;
    int iterations = desc->iterations ? desc->iterations : given ? 1000 : 100;
    if (iterations < 1) return ij_fail(err, IJ_ERROR_ARGUMENT, "linear probe: %d iterations", iterations);
    if (!(desc->l2 >= 0) || !isfinite(desc->l2)) return ij_fail(err, IJ_ERROR_ARGUMENT, "linear probe: an l2 of %g", desc->l2);
    ij_probe_result mine = {.l2 = given ? desc->l2 : PROBE_L2_FEW, .held_out = NAN};
    int64_t tenth = train->count / 10;
    bool choose = !given && tenth >= train->classes;
    fit f = {.desc = desc, .total = iterations * (choose ? IJ_COUNT(l2_values) + 1 : 1)};
    double *w = NULL;
    ij_status status = probe_problem_create(device, train, desc->seed, &f.problem, err);
    if (status == IJ_OK) status = ij_alloc(&w, (int64_t)train->classes * probe_problem_width(f.problem), sizeof *w, "probe weights", err);
    if (status == IJ_OK && choose) {
        f.held_out = tenth;
        status = choose_l2(&f, w, iterations, &mine, err);
    }
    f.l2 = mine.l2, f.held_out = 0;
    if (status == IJ_OK) status = minimise(&f, w, iterations, given ? GAIN_GIVEN : GAIN_FINAL, err);
    if (status == IJ_OK) status = predict(device, f.problem, w, test, predicted, err);
    mine.loss = f.value.loss;
    mine.train_right = 100.0 * (double)f.value.right / (double)train->count;
    mine.evaluations = f.evaluations;
    if (result) *result = mine;
    probe_problem_destroy(f.problem);
    free(w);
    return status;
}
