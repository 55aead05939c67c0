/* Fine-tuning: the classifier's step against plain doubles, layer decay, frozen blocks; choosing images; and the whole on small data. */
#include "suites.h"
#include "scratch.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/loader.h"
#include "eval/finetune.h"
#include "eval/splits.h"
#include "io/safetensors.h"
#include "model/classifier.h"
#include "ops/attention.h"
#include "ops/cross_entropy.h"
#include "ops/eltwise.h"
#include "ops/layernorm.h"
#include "ops/matmul.h"
#include "ops/reduce.h"
#include "philox.h"
#include "train/checkpoint.h"

#include <math.h>
#include <string.h>

static double uniform(uint32_t stream, uint32_t i) { return (double)philox(2027, 0, PHILOX_STREAM_TEST, i, stream, 0).x * 0x1p-32; }

/* ---- the network in double ---- */

#define BATCH 5
#define CLASSES 7
#define SMOOTHING 0.1
static const ij_model_config small_model = {.image_height = 8,
                                            .image_width = 12,
                                            .patch_size = 4,
                                            .channels = 3,
                                            .dim = 24,
                                            .depth = 3,
                                            .heads = 3,
                                            .hidden = 52,
                                            .pred_dim = 12,
                                            .pred_depth = 1,
                                            .pred_heads = 1,
                                            .pred_hidden = 20,
                                            .norm_eps = 1e-6f};

typedef struct network {
    const ij_param_table *table;
    double **values; /* [table.count] */
    double *rows;    /* [batch patches, patch_dim] */
    const uint32_t *labels;
} network;

static const double *param(const network *n, const char *format, int block) {
    char name[80];
    snprintf(name, sizeof name, format, block);
    int index = ij_param_find(n->table, false, name);
    ck_assert_msg(index >= 0, "%s", name);
    return n->values[index];
}

static double *linear(const network *n, const char *format, int block, const double *x, int64_t rows, int in, int out) {
    char weight[80], bias[80];
    snprintf(weight, sizeof weight, "%s.weight", format);
    snprintf(bias, sizeof bias, "%s.bias", format);
    double *y = calloc((size_t)(rows * out), sizeof *y);
    const double *b = param(n, bias, block);
    ref_matmul(OP_MATMUL_NT, rows, out, in, x, param(n, weight, block), y, false);
    for (int64_t i = 0; i < rows * out; i++) y[i] += b[i % out];
    return y;
}

static double *normed(const network *n, const char *format, int block, const double *x, int64_t rows, int dim) {
    char weight[80], bias[80];
    snprintf(weight, sizeof weight, "%s.weight", format);
    snprintf(bias, sizeof bias, "%s.bias", format);
    double *y = calloc((size_t)(rows * dim), sizeof *y), *mean = calloc((size_t)rows, sizeof *mean),
           *rstd = calloc((size_t)rows, sizeof *rstd);
    ref_layernorm(x, NULL, param(n, weight, block), param(n, bias, block), y, mean, rstd, rows, dim, (double)small_model.norm_eps);
    free(mean), free(rstd);
    return y;
}

static void add_to(double *x, double *y, int64_t count) {
    for (int64_t i = 0; i < count; i++) x[i] += y[i];
    free(y);
}

static void block_of(const network *n, int i, double *x, const uint32_t *offsets, int64_t rows) {
    const ij_model_config *m = &small_model;
    int dim = m->dim, hidden = m->hidden;
    double *normed1 = normed(n, "blocks.%d.norm1", i, x, rows, dim), *qkv = linear(n, "blocks.%d.attn.qkv", i, normed1, rows, dim, 3 * dim);
    double *attended = calloc((size_t)(rows * dim), sizeof *attended), *lse = calloc((size_t)(rows * m->heads), sizeof *lse);
    ref_attention(qkv, offsets, BATCH, m->heads, dim / m->heads, attended, lse);
    add_to(x, linear(n, "blocks.%d.attn.proj", i, attended, rows, dim, dim), rows * dim);
    double *normed2 = normed(n, "blocks.%d.norm2", i, x, rows, dim), *pre = linear(n, "blocks.%d.mlp.fc1", i, normed2, rows, dim, hidden);
    double *active = calloc((size_t)(rows * hidden), sizeof *active);
    ref_gelu(pre, active, rows * hidden);
    add_to(x, linear(n, "blocks.%d.mlp.fc2", i, active, rows, hidden, dim), rows * dim);
    free(normed1), free(qkv), free(attended), free(lse), free(normed2), free(pre), free(active);
}

static double loss_of(const network *n) {
    const ij_model_config *m = &small_model;
    int64_t patches = ij_patches(m), rows = BATCH * patches;
    uint32_t offsets[BATCH + 1], right;
    float *positions = calloc((size_t)(patches * m->dim), sizeof *positions);
    ij_positions(ij_grid_height(m), ij_grid_width(m), m->dim, positions);
    for (int i = 0; i <= BATCH; i++) offsets[i] = (uint32_t)(i * patches);
    double *x = linear(n, "patch_embed.proj", 0, n->rows, rows, ij_patch_dim(m), m->dim), pooled[BATCH * 64], loss;
    for (int64_t i = 0; i < rows * m->dim; i++) x[i] += (double)positions[i % (patches * m->dim)];
    for (int i = 0; i < m->depth; i++) block_of(n, i, x, offsets, rows);
    double *y = normed(n, "norm", 0, x, rows, m->dim);
    ref_mean_rows(y, offsets, pooled, BATCH, m->dim);
    double *logits = linear(n, "head", 0, pooled, BATCH, m->dim, CLASSES);
    ref_cross_entropy(logits, n->labels, NULL, &loss, &right, BATCH, 1, CLASSES, SMOOTHING, 1);
    free(positions), free(x), free(y), free(logits);
    return loss;
}

/* ---- a classifier and its batch ---- */

#define IMAGE_BYTES 288 /* 8 x 12 x 3 */
typedef struct fixture {
    ij_classifier *classifier;
    uint8_t pixels[BATCH * IMAGE_BYTES];
    ij_jepa_image images[BATCH];
    uint32_t labels[BATCH];
    struct augment_step steps[BATCH * AUGMENT_STEPS];
    ij_classifier_batch batch;
} fixture;

/* Weights far from symmetric, so that no gradient vanishes. */
static void scramble(ij_classifier *c) {
    ij_error err = {0};
    const ij_param_table *t = &c->weights->table;
    for (int i = 0; i < t->count; i++) {
        float *values = calloc((size_t)t->params[i].count, sizeof *values);
        bool scale = t->params[i].dims == 1 && strstr(t->params[i].name, "norm") && strstr(t->params[i].name, "weight");
        for (int64_t e = 0; e < t->params[i].count; e++)
            values[e] = (float)((scale ? 1 : 0) + 0.4 * (uniform((uint32_t)(50 + i), (uint32_t)e) - 0.5));
        CHECK_OK(ij_weights_write(c->weights, IJ_SLOT_WEIGHT, i, values, &err));
        free(values);
    }
    CHECK_OK(ij_weights_round(c->weights, &err));
}

static void open_fixture(fixture *f, gpu_element element, int last_blocks, bool augment) {
    ij_error err = {0};
    ij_weights *encoder;
    memset(f, 0, sizeof *f);
    ij_classifier_desc desc = {.model = small_model,
                               .classes = CLASSES,
                               .batch = BATCH,
                               .last_blocks = last_blocks,
                               .element = element,
                               .smoothing = SMOOTHING,
                               .augment = augment,
                               .mean = {0.5f, 0.4f, 0.3f},
                               .std = {0.2f, 0.25f, 0.3f},
                               .pixel_bytes = sizeof f->pixels};
    CHECK_OK(ij_classifier_create(test_device, &desc, &f->classifier, &err));
    CHECK_OK(ij_weights_create(test_device, &small_model, IJ_KEEP_TARGET, &encoder, &err));
    CHECK_OK(ij_weights_commit(encoder, &err));
    CHECK_OK(ij_weights_initialise(encoder, 3, &err));
    CHECK_OK(ij_classifier_load(f->classifier, encoder, 3, &err));
    ij_weights_destroy(encoder);
    scramble(f->classifier);
    for (int i = 0; i < BATCH * IMAGE_BYTES; i++) f->pixels[i] = (uint8_t)(256 * uniform(1, (uint32_t)i));
    for (int i = 0; i < BATCH; i++) {
        f->labels[i] = (uint32_t)(3 * i % CLASSES);
        f->images[i] = (ij_jepa_image){.offset = (uint64_t)(i * IMAGE_BYTES),
                                       .width = 12,
                                       .height = 8,
                                       .channels = 3,
                                       .crop_w = 12,
                                       .crop_h = 8,
                                       .sample = (uint32_t)i};
        op_augment_draw(&(augment_recipe){.flip = true, .randaugment = true}, 9, 0, (uint64_t)i, 8, 12, f->steps + i * AUGMENT_STEPS);
    }
    f->batch = (ij_classifier_batch){.images = f->images,
                                     .labels = f->labels,
                                     .steps = augment ? f->steps : NULL,
                                     .count = BATCH,
                                     .pixels = f->pixels,
                                     .pixel_bytes = sizeof f->pixels};
}

static void close_fixture(fixture *f) { ij_classifier_destroy(f->classifier); }

static float *read_param(const fixture *f, ij_slot slot, int index) {
    ij_error err = {0};
    float *values = calloc((size_t)f->classifier->weights->table.params[index].count, sizeof *values);
    CHECK_OK(ij_weights_read(f->classifier->weights, slot, index, values, &err));
    return values;
}

static void pass(fixture *f, const ij_classifier_scalars *scalars) {
    ij_error err = {0};
    CHECK_OK(ij_classifier_pass(f->classifier, 0, scalars, &f->batch, &err));
    CHECK_OK(gpu_wait_all(test_device, &err));
}

static ij_classifier_result update(fixture *f) {
    ij_error err = {0};
    ij_classifier_result result;
    CHECK_OK(ij_classifier_update(f->classifier, 0, &err));
    CHECK_OK(ij_classifier_result_of(f->classifier, 0, &result, &err));
    return result;
}

/* What the network of doubles sees of the fixture: its weights, and its pictures as patch rows. */
static void open_network(const fixture *f, network *n) {
    const ij_model_config *m = &small_model;
    const ij_param_table *t = &f->classifier->weights->table;
    struct patches_crop crops[BATCH];
    patches_desc desc = {.batch = BATCH, .image_h = 8, .image_w = 12, .patch = 4, .channels = 3};
    augment_desc augment = {.batch = BATCH, .image_h = 8, .image_w = 12, .patch = 4, .channels = 3};
    memcpy(desc.mean, f->classifier->desc.mean, sizeof desc.mean), memcpy(augment.mean, desc.mean, sizeof desc.mean);
    memcpy(desc.std, f->classifier->desc.std, sizeof desc.std), memcpy(augment.std, desc.std, sizeof desc.std);
    for (int i = 0; i < BATCH; i++)
        crops[i] = (struct patches_crop){.offset = (uint32_t)f->images[i].offset, .width = 12, .height = 8, .channels = 3, .w = 12, .h = 8};
    *n = (network){.table = t, .labels = f->labels, .values = calloc((size_t)t->count, sizeof *n->values)};
    n->rows = calloc((size_t)(BATCH * ij_patches(m) * ij_patch_dim(m)), sizeof *n->rows);
    if (f->batch.steps) {
        double pictures[BATCH * IMAGE_BYTES];
        for (int i = 0; i < BATCH * IMAGE_BYTES; i++) pictures[i] = f->pixels[i];
        ref_augment(&augment, pictures, f->steps, n->rows);
    } else {
        ref_patches(&desc, f->pixels, crops, n->rows);
    }
    for (int i = 0; i < t->count; i++) {
        float *values = read_param(f, IJ_SLOT_WEIGHT, i);
        n->values[i] = calloc((size_t)t->params[i].count, sizeof(double));
        for (int64_t e = 0; e < t->params[i].count; e++) n->values[i][e] = (double)values[e];
        free(values);
    }
}

static void close_network(network *n) {
    for (int i = 0; i < n->table->count; i++) free(n->values[i]);
    free(n->values), free(n->rows);
}

static bool is_trained(const fixture *f, int index) { return f->classifier->weights->tensors[IJ_SLOT_GRADIENT][index].arena != NULL; }

/* ---- gradients ---- */

static double derivative(network *n, int index, int64_t element) {
    const double h = 1e-5;
    double *at = &n->values[index][element], value = *at;
    *at = value + h;
    double up = loss_of(n);
    *at = value - h;
    double down = loss_of(n);
    *at = value;
    return (up - down) / (2 * h);
}

/* Sampled elements of every parameter of the trained part; whether a parameter is trained at all is the layers' rule. */
START_TEST(test_gradients) {
    const struct {
        int last_blocks;
        bool augment;
    } all[] = {{3, false}, {3, true}, {1, false}, {2, false}};
    fixture f;
    network n;
    open_fixture(&f, GPU_WORD, all[_i].last_blocks, all[_i].augment);
    pass(&f, &(ij_classifier_scalars){.lr = 1e-3});
    open_network(&f, &n);
    double expected_loss = loss_of(&n);
    for (int i = 0; i < n.table->count; i++) {
        const ij_param *p = &n.table->params[i];
        int layer = ij_classifier_layer(p->name, small_model.depth), first = all[_i].last_blocks == 3 ? 0 : 4 - all[_i].last_blocks;
        ck_assert_msg(is_trained(&f, i) == (layer >= first), "%s: layer %d", p->name, layer);
        if (!is_trained(&f, i)) continue;
        float *gradient = read_param(&f, IJ_SLOT_GRADIENT, i);
        double rms = 0;
        for (int64_t e = 0; e < p->count; e++) rms += (double)gradient[e] * (double)gradient[e] / (double)p->count;
        rms = sqrt(rms);
        ck_assert_msg(rms > 1e-5, "%s: no gradient", p->name);
        for (int64_t s = 0; s < 5; s++) {
            int64_t e = (s * 7919 + 13) % p->count;
            double expected = derivative(&n, i, e), got = (double)gradient[e];
            /* f32 sums through the whole net and back against 1e-10 of the differences. */
            ck_assert_msg(fabs(got - expected) <= 2e-5 * (rms + fabs(expected)), "%s[%lld]: %.9g, expected %.9g", p->name, (long long)e,
                          got, expected);
        }
        free(gradient);
    }
    ij_classifier_result result = update(&f);
    ck_assert_double_eq_tol(result.loss, expected_loss, 1e-6 * expected_loss);
    ck_assert(result.finite);
    close_network(&n);
    close_fixture(&f);
}
END_TEST

/* All gradients of a 16-bit step as one vector, against the f32 step's. Each block rounds some 20 tensors on the way there and back. */
START_TEST(test_half) {
    static const gpu_element elements[] = {GPU_F16, GPU_BF16};
    fixture exact, half;
    double difference = 0, length = 0, scale = elements[_i] == GPU_F16 ? 65536 : 1;
    open_fixture(&exact, GPU_WORD, 0, true);
    open_fixture(&half, elements[_i], 0, true);
    pass(&exact, &(ij_classifier_scalars){.lr = 1e-3});
    pass(&half, &(ij_classifier_scalars){.lr = 1e-3});
    for (int i = 0; i < exact.classifier->weights->table.count; i++) {
        float *a = read_param(&exact, IJ_SLOT_GRADIENT, i), *b = read_param(&half, IJ_SLOT_GRADIENT, i);
        for (int64_t e = 0; e < exact.classifier->weights->table.params[i].count; e++) {
            double d = (double)b[e] / scale - (double)a[e];
            difference += d * d, length += (double)a[e] * (double)a[e];
        }
        free(a), free(b);
    }
    double bound = 2 * sqrt(20.0 * small_model.depth) * op_rounding(elements[_i] == GPU_F16 ? OP_F16 : OP_BF16);
    ck_assert_msg(sqrt(difference / length) < bound && difference > 0, "%g of %g", sqrt(difference / length), bound);
    ij_classifier_result a = update(&exact), b = update(&half);
    ck_assert_double_eq_tol(a.loss, b.loss, bound);
    ck_assert_double_eq_tol(a.gradient_norm, b.gradient_norm, bound * a.gradient_norm); /* the loss scale is taken out of it */
    ck_assert(b.finite);
    close_fixture(&exact);
    close_fixture(&half);
}
END_TEST

/* Gradients of two micro-batches add up, each halved. */
START_TEST(test_accumulation) {
    ij_error err = {0};
    fixture f;
    open_fixture(&f, GPU_WORD, 0, false);
    ij_classifier *one = f.classifier;
    pass(&f, &(ij_classifier_scalars){.lr = 1e-3});
    int index = ij_param_find(&one->weights->table, false, "blocks.1.attn.qkv.weight");
    float *once = read_param(&f, IJ_SLOT_GRADIENT, index);
    ij_classifier_desc desc = one->desc;
    desc.accumulation = 2;
    ij_classifier *two;
    CHECK_OK(ij_classifier_create(test_device, &desc, &two, &err));
    for (int i = 0; i < two->weights->table.count; i++) {
        float *values = read_param(&f, IJ_SLOT_WEIGHT, i);
        CHECK_OK(ij_weights_write(two->weights, IJ_SLOT_WEIGHT, i, values, &err));
        free(values);
    }
    gpu_program *zero; /* what ij_classifier_load does */
    CHECK_OK(gpu_program_create(test_device, "zero", false, &zero, &err));
    CHECK_OK(gpu_fill(zero, two->weights->tensors[IJ_SLOT_GRADIENT][index], 0, &err));
    CHECK_OK(gpu_program_finish(zero, &err));
    CHECK_OK(gpu_run(zero, &err));
    gpu_program_destroy(zero);
    f.classifier = two;
    pass(&f, &(ij_classifier_scalars){.lr = 1e-3});
    pass(&f, &(ij_classifier_scalars){.lr = 1e-3});
    float *twice = read_param(&f, IJ_SLOT_GRADIENT, index);
    for (int64_t e = 0; e < two->weights->table.params[index].count; e++)
        ck_assert_double_eq_tol((double)once[e], (double)twice[e], 1e-6 * fabs((double)once[e]));
    free(once), free(twice);
    ij_classifier_destroy(two);
    f.classifier = one;
    close_fixture(&f);
}
END_TEST

/* ---- the update ---- */

/* Layers by hand, as the MAE code counts: num_layers = depth + 1. */
static double lr_scale_by_hand(const char *name) {
    static const struct {
        const char *prefix;
        double scale;
    } layers[] = {{"patch_embed.", 0.7 * 0.7 * 0.7 * 0.7},
                  {"blocks.0.", 0.7 * 0.7 * 0.7},
                  {"blocks.1.", 0.7 * 0.7},
                  {"blocks.2.", 0.7},
                  {"norm.", 1},
                  {"head.", 1}};
    for (int i = 0; i < IJ_COUNT(layers); i++)
        if (strncmp(name, layers[i].prefix, strlen(layers[i].prefix)) == 0) return layers[i].scale;
    ck_abort_msg("%s", name);
}

/* Two steps of AdamW on every parameter against the reference, each with its layer's rate; after the first, a parameter has moved by its
 * layer's rate wherever there is a gradient to speak of. In 16 bits the copies must be the rounded masters. */
START_TEST(test_layer_decay) {
    static const gpu_element elements[] = {GPU_WORD, GPU_F16, GPU_BF16};
    const double lr = 1e-3, weight_decay = 0.05;
    fixture f;
    open_fixture(&f, elements[_i], 0, false);
    const ij_param_table *t = &f.classifier->weights->table;
    double inverse = elements[_i] == GPU_F16 ? 1 / 65536.0 : 1;
    double *moments[2] = {calloc((size_t)t->elements, sizeof(double)), calloc((size_t)t->elements, sizeof(double))};
    for (int step = 0; step < 2; step++) {
        float **before = calloc((size_t)t->count, sizeof *before), **gradients = calloc((size_t)t->count, sizeof *gradients);
        pass(&f, &(ij_classifier_scalars){.lr = lr, .weight_decay = weight_decay, .layer_decay = 0.7, .step = (uint64_t)step});
        for (int i = 0; i < t->count; i++)
            before[i] = read_param(&f, IJ_SLOT_WEIGHT, i), gradients[i] = read_param(&f, IJ_SLOT_GRADIENT, i);
        ck_assert(update(&f).finite);
        int64_t at = 0;
        for (int i = 0; i < t->count; i++) {
            const ij_param *p = &t->params[i];
            double rate = lr * lr_scale_by_hand(p->name);
            struct optim_step s = op_optim_step_make(
                &(op_optim_desc){.lr = rate, .weight_decay = weight_decay, .grad_scale = inverse, .ema = 1, .step = step + 1});
            float *after = read_param(&f, IJ_SLOT_WEIGHT, i), *cleared = read_param(&f, IJ_SLOT_GRADIENT, i);
            for (int64_t e = 0; e < p->count; e++, at++) {
                double value = (double)before[i][e], g = (double)gradients[i][e];
                ref_adamw(&value, &moments[0][at], &moments[1][at], &g, NULL, 1, &s, NULL, p->decay, false);
                ck_assert_msg(fabs((double)after[e] - value) <= 1e-7 * (1 + fabs(value)), "%s[%lld]: %.9g, expected %.9g", p->name,
                              (long long)e, (double)after[e], value);
                double moved = (double)after[e] - (double)before[i][e] * (p->decay ? 1 - rate * weight_decay : 1);
                if (step == 0 && fabs((double)gradients[i][e]) * inverse > 1e-3) ck_assert_double_eq_tol(fabs(moved), rate, 1e-3 * rate);
                ck_assert(cleared[e] == 0);
            }
            free(after), free(cleared), free(before[i]), free(gradients[i]);
        }
        free(before), free(gradients);
    }
    ij_error err = {0};
    for (int i = 0; i < t->count && elements[_i] != GPU_WORD; i++) {
        const ij_param *p = &t->params[i];
        gpu_tensor half = f.classifier->weights->half_tensors[IJ_SLOT_WEIGHT][i];
        ck_assert_msg((half.arena != NULL) == (p->decay && strncmp(p->name, "head", 4) != 0), "%s", p->name);
        if (!half.arena) continue;
        float *master = read_param(&f, IJ_SLOT_WEIGHT, i), *copy = calloc((size_t)p->count, sizeof *copy);
        CHECK_OK(op_read_floats(test_device, half, p->shape[0], ij_param_columns(p), copy, &err));
        for (int64_t e = 0; e < p->count; e++) { /* below 2^-14 an f16 is rounded as the device likes (shaders/include/half.h) */
            double unit = elements[_i] == GPU_F16 && fabs((double)master[e]) < 0x1p-14 ? 0x1p-24 : 0;
            ck_assert_double_le(fabs((double)copy[e] - op_round(op_dtype_of(elements[_i]), (double)master[e])), unit);
        }
        free(master), free(copy);
    }
    free(moments[0]), free(moments[1]);
    close_fixture(&f);
}
END_TEST

START_TEST(test_lr_scale) {
    ck_assert_int_eq(ij_classifier_layer("patch_embed.proj.bias", 12), 0);
    ck_assert_int_eq(ij_classifier_layer("blocks.11.norm1.weight", 12), 12);
    ck_assert_int_eq(ij_classifier_layer("norm.bias", 12), 13);
    ck_assert_int_eq(ij_classifier_layer("head.weight", 12), 13);
    ck_assert_double_eq(ij_classifier_lr_scale(0.75, 13, 12), 1);
    ck_assert_double_eq_tol(ij_classifier_lr_scale(0.75, 0, 12), 0.0237567, 1e-6); /* 0.75^13 */
    ck_assert_double_eq(ij_classifier_lr_scale(0, 0, 12), 1);
}
END_TEST

/* Ten steps: what is frozen keeps its bytes, what is not has moved. */
START_TEST(test_frozen_blocks) {
    fixture f;
    open_fixture(&f, _i ? GPU_F16 : GPU_WORD, 1, false);
    const ij_param_table *t = &f.classifier->weights->table;
    float **before = calloc((size_t)t->count, sizeof *before);
    for (int i = 0; i < t->count; i++) before[i] = read_param(&f, IJ_SLOT_WEIGHT, i);
    for (int step = 0; step < 10; step++) {
        pass(&f, &(ij_classifier_scalars){.lr = 1e-3, .weight_decay = 0.1, .step = (uint64_t)step});
        update(&f);
    }
    int frozen = 0;
    for (int i = 0; i < t->count; i++) {
        float *after = read_param(&f, IJ_SLOT_WEIGHT, i);
        bool same = memcmp(before[i], after, sizeof *after * (size_t)t->params[i].count) == 0;
        bool trained = strncmp(t->params[i].name, "blocks.2.", 9) == 0 || strncmp(t->params[i].name, "norm.", 5) == 0 ||
                       strncmp(t->params[i].name, "head.", 5) == 0;
        ck_assert_msg(same == !trained, "%s", t->params[i].name);
        frozen += same;
        free(before[i]), free(after);
    }
    free(before);
    ck_assert_int_eq(frozen, 2 + 2 * 12);
    close_fixture(&f);
}
END_TEST

/* A test looks at `count` images and leaves the next step as it is. */
START_TEST(test_short_batches) {
    ij_error err = {0};
    fixture f;
    network n;
    ij_classifier_result result;
    int64_t right = 0, all;
    double loss = 0, whole;
    open_fixture(&f, GPU_WORD, 2, true);
    ij_classifier_batch batch = f.batch;
    batch.steps = NULL;
    CHECK_OK(ij_classifier_test(f.classifier, 1, &batch, &err));
    CHECK_OK(ij_classifier_result_of(f.classifier, 1, &result, &err));
    all = result.right, whole = result.loss;
    batch.count = 1;
    for (int i = 0; i < BATCH; i++) {
        batch.images = f.images + i, batch.labels = f.labels + i;
        CHECK_OK(ij_classifier_test(f.classifier, i % 2, &batch, &err));
        CHECK_OK(ij_classifier_result_of(f.classifier, i % 2, &result, &err));
        right += result.right, loss += result.loss / BATCH;
    }
    ck_assert_int_eq(right, all);
    ck_assert_double_eq_tol(loss, whole, 1e-6 * whole);
    f.batch.steps = NULL; /* the network of doubles sees what a test sees */
    open_network(&f, &n);
    ck_assert_double_eq_tol(loss_of(&n), whole, 1e-6 * whole);
    close_network(&n);
    f.batch.steps = f.steps;
    open_network(&f, &n);
    double expected = loss_of(&n);
    pass(&f, &(ij_classifier_scalars){.lr = 1e-3});
    ck_assert_double_eq_tol(update(&f).loss, expected, 1e-6 * expected);
    close_network(&n);
    close_fixture(&f);
}
END_TEST

/* Four steps on the same batch, written for tests/peers_finetune.py: patch rows, labels, losses, weights before and after. */
static void record_steps(const char *path) {
    ij_error err = {0};
    fixture f;
    network n;
    ij_safetensors_writer *writer;
    float losses[4];
    open_fixture(&f, GPU_WORD, 2, true);
    open_network(&f, &n);
    int64_t patches = ij_patches(&small_model), size = ij_patch_dim(&small_model), values = BATCH * patches * size;
    float *rows = calloc((size_t)values, sizeof *rows), **kept = calloc((size_t)(2 * n.table->count), sizeof *kept);
    for (int64_t i = 0; i < values; i++) rows[i] = (float)n.rows[i];
    for (int i = 0; i < n.table->count; i++) kept[i] = read_param(&f, IJ_SLOT_WEIGHT, i);
    for (int step = 0; step < IJ_COUNT(losses); step++) {
        pass(&f, &(ij_classifier_scalars){.lr = 1e-3, .weight_decay = 0.05, .layer_decay = 0.7, .step = (uint64_t)step});
        losses[step] = (float)update(&f).loss;
    }
    CHECK_OK(ij_safetensors_begin(path, &writer, &err));
    CHECK_OK(ij_safetensors_add(writer, "rows", IJ_SAFETENSORS_F32, 3, (int64_t[]){BATCH, patches, size}, rows, &err));
    CHECK_OK(ij_safetensors_add(writer, "labels", IJ_SAFETENSORS_U32, 1, (int64_t[]){BATCH}, f.labels, &err));
    CHECK_OK(ij_safetensors_add(writer, "losses", IJ_SAFETENSORS_F32, 1, (int64_t[]){IJ_COUNT(losses)}, losses, &err));
    for (int i = 0; i < n.table->count; i++) {
        const ij_param *p = &n.table->params[i];
        char name[96];
        kept[n.table->count + i] = read_param(&f, IJ_SLOT_WEIGHT, i);
        for (int after = 0; after < 2; after++) {
            snprintf(name, sizeof name, "%s.%s", after ? "after" : "before", p->name);
            CHECK_OK(ij_safetensors_add(writer, name, IJ_SAFETENSORS_F32, p->dims, p->shape, kept[after * n.table->count + i], &err));
        }
    }
    CHECK_OK(ij_safetensors_finish(writer, &err));
    for (int i = 0; i < 2 * n.table->count; i++) free(kept[i]);
    free(kept), free(rows);
    close_network(&n);
    close_fixture(&f);
}

START_TEST(test_recorded) {
    ij_error err = {0};
    ij_safetensors *file;
    const char *path = getenv("IJEPA_PEER_FINETUNE");
    scratch_begin();
    record_steps(path ? path : scratch_path("steps.safetensors"));
    CHECK_OK(ij_safetensors_open(path ? path : scratch_path("steps.safetensors"), &file, &err));
    const float *losses = ij_safetensors_find(file, "losses")->data;
    for (int i = 1; i < 4; i++) ck_assert_double_lt((double)losses[i], (double)losses[i - 1]); /* one batch again and again */
    ij_safetensors_close(file);
    scratch_end();
}
END_TEST

/* Infinite weights: the step changes nothing and says so. */
START_TEST(test_not_finite) {
    ij_error err = {0};
    fixture f;
    open_fixture(&f, GPU_WORD, 0, false);
    int index = ij_param_find(&f.classifier->weights->table, false, "blocks.0.mlp.fc1.bias");
    float *values = read_param(&f, IJ_SLOT_WEIGHT, index);
    values[3] = INFINITY;
    CHECK_OK(ij_weights_write(f.classifier->weights, IJ_SLOT_WEIGHT, index, values, &err));
    free(values);
    float *before = read_param(&f, IJ_SLOT_WEIGHT, 0);
    pass(&f, &(ij_classifier_scalars){.lr = 1e-3, .weight_decay = 0.1});
    ck_assert(!update(&f).finite);
    float *after = read_param(&f, IJ_SLOT_WEIGHT, 0);
    ck_assert_mem_eq(before, after, sizeof *after * (size_t)f.classifier->weights->table.params[0].count);
    free(before), free(after);
    close_fixture(&f);
}
END_TEST

/* ---- what is drawn ---- */

START_TEST(test_draws) {
    const augment_recipe recipe = {.flip = true, .randaugment = true};
    int flips = 0, kinds[AUGMENT_KINDS] = {0};
    for (uint64_t i = 0; i < 6000; i++) {
        struct augment_step s[AUGMENT_STEPS], again[AUGMENT_STEPS];
        op_augment_draw(&recipe, 5, 1, i, 32, 48, s);
        op_augment_draw(&recipe, 5, 1, i, 32, 48, again);
        ck_assert_mem_eq(s, again, sizeof s);
        flips += (int)s[0].flip;
        ck_assert_uint_eq(s[1].flip, 0);
        for (int k = 0; k < AUGMENT_STEPS; k++) kinds[s[k].kind]++;
        op_augment_draw(&(augment_recipe){.flip = true}, 5, 1, i, 32, 48, again);
        ck_assert_uint_eq(again[0].flip, s[0].flip);
        ck_assert(again[0].kind == AUGMENT_NONE && again[1].kind == AUGMENT_NONE);
    }
    ck_assert_int_lt(abs(flips - 3000), 5 * 39);                 /* five standard deviations of a coin */
    ck_assert_int_lt(abs(kinds[AUGMENT_NONE] - 6000), 5 * 55);   /* half of 12000 */
    ck_assert_int_lt(abs(kinds[AUGMENT_AFFINE] - 2000), 5 * 41); /* five of fifteen kinds */
    for (int k = AUGMENT_NONE + 1; k < AUGMENT_KINDS; k++)
        if (k != AUGMENT_AFFINE) ck_assert_int_lt(abs(kinds[k] - 400), 5 * 20);
    struct augment_step s[AUGMENT_STEPS];
    op_augment_draw(&(augment_recipe){0}, 5, 1, 0, 32, 48, s);
    ck_assert(s[0].kind == AUGMENT_NONE && s[0].flip == 0);
}
END_TEST

/* ---- small data ---- */

#define SIDE 8
typedef struct made_data {
    const char *prefix;
    int count, classes, first_class;
    int step_class; /* [1] */
    bool no_labels, shuffled;
} made_data;

/* IDX files of `count` images whose class is written in their pixels: stripes, of a width and direction a class, and noise. */
static void write_idx(const made_data *d) {
    uint8_t *images = calloc((size_t)(16 + d->count * SIDE * SIDE), 1), *text = calloc((size_t)(8 + d->count), 1);
    const uint8_t head[16] = {0, 0, 8, 3, 0, 0, (uint8_t)(d->count >> 8), (uint8_t)d->count, 0, 0, 0, SIDE, 0, 0, 0, SIDE};
    memcpy(images, head, 16);
    memcpy(text, (uint8_t[]){0, 0, 8, 1, 0, 0, (uint8_t)(d->count >> 8), (uint8_t)d->count}, 8);
    for (int i = 0; i < d->count; i++) {
        int label = d->first_class + i % d->classes * (d->step_class ? d->step_class : 1);
        text[8 + i] = (uint8_t)(d->shuffled ? (int)(uniform(90, (uint32_t)i) * d->classes) : label);
        for (int at = 0; at < SIDE * SIDE; at++) {
            int place = label % 2 ? at / SIDE : at % SIDE;
            bool light = place / (1 + label / 2) % 2;
            uint32_t noise = (uint32_t)(i * SIDE * SIDE + at) + (d->prefix[1] == '1' ? 1000000u : 0);
            images[16 + i * SIDE * SIDE + at] = (uint8_t)((light ? 180 : 20) + 50 * uniform(777, noise));
        }
    }
    char name[64];
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", d->prefix);
    scratch_write(name, images, (size_t)(16 + d->count * SIDE * SIDE));
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", d->prefix);
    if (d->no_labels)
        remove(scratch_path(name));
    else
        scratch_write(name, text, (size_t)(8 + d->count));
    free(images), free(text);
}

/* A checkpoint of the initial weights of a small model, whose data are the scratch folder's. */
static void write_run(const char *path) {
    static const char yaml[] =
        "meta: {model_name: custom, embed_dim: 16, depth: 2, num_heads: 2, pred_emb_dim: 8, pred_depth: 1, pred_num_heads: 1}\n"
        "data: {crop_size: 8, channels: 1, mean: [0.4], std: [0.3], batch_size: 4}\n"
        "mask: {patch_size: 2, min_keep: 2}\n";
    ij_error err = {0};
    ij_config_text text = {0};
    ij_train_config config;
    ij_weights *weights;
    char assignment[600];
    snprintf(assignment, sizeof assignment, "data.path=%s", scratch_folder);
    CHECK_OK(ij_config_text_load_memory(&text, yaml, strlen(yaml), "test", &err));
    CHECK_OK(ij_config_text_override(&text, assignment, &err));
    ij_train_config_defaults(&config);
    CHECK_OK(ij_train_config_read(&text, &config, NULL, 0, &err));
    config.schedule.steps_per_epoch = 1;
    CHECK_OK(ij_weights_create(test_device, &config.model, IJ_KEEP_TRAINING, &weights, &err));
    CHECK_OK(ij_weights_commit(weights, &err));
    CHECK_OK(ij_weights_initialise(weights, config.seed, &err));
    CHECK_OK(ij_checkpoint_write(path, weights, &config, 7, &err));
    ij_weights_destroy(weights);
    ij_config_text_free(&text);
}

static ij_status run_finetune(const ij_finetune_desc *desc, ij_finetune_result *result, ij_error *err) {
    ij_finetune_desc d = *desc;
    d.device = (gpu_device_desc){.select = getenv("IJEPA_DEVICE")};
    return ij_finetune_run(scratch_path("run.safetensors"), &d, result, err);
}

static void begin_data(const made_data *train, const made_data *test) {
    scratch_begin();
    write_run(scratch_path("run.safetensors"));
    write_idx(train);
    write_idx(test);
}

/* Stripes are plain to see: all of them are learnt, in every precision, and the last block alone suffices. */
START_TEST(test_learns) {
    const ij_finetune_desc all[] = {{.precision = IJ_PRECISION_F32},
                                    {.precision = IJ_PRECISION_F16},
                                    {.precision = IJ_PRECISION_BF16},
                                    {.precision = IJ_PRECISION_F32, .last_blocks = 1}};
    ij_error err = {0};
    ij_finetune_result result;
    begin_data(&(made_data){.prefix = "train", .count = 64, .classes = 4}, &(made_data){.prefix = "t10k", .count = 50, .classes = 4});
    ij_finetune_desc desc = all[_i];
    desc.epochs = 40, desc.lr = 1e-2, desc.batch = 16, desc.augment = IJ_AUGMENT_NONE, desc.smoothing = -1, desc.seeds = 1;
    CHECK_OK(run_finetune(&desc, &result, &err));
    ck_assert_int_eq(result.train_images, 64);
    ck_assert_int_eq(result.test_images, 50);
    ck_assert_int_eq(result.classes, 4);
    ck_assert_int_eq(result.steps, 160);
    ck_assert_double_lt(result.seed[0].loss, 0.05);
    ck_assert_double_eq(result.seed[0].train_right, 100);
    ck_assert_double_eq(result.seed[0].test.percent, 100);
    ck_assert_double_eq(result.mean, 100);
    ck_assert_double_lt(result.low, 100); /* 50 images are not certainty */
    scratch_end();
}
END_TEST

/* Labels that say nothing are learnt by heart and are chance on test images: within five standard deviations. */
START_TEST(test_chance) {
    ij_error err = {0};
    ij_finetune_result result;
    begin_data(&(made_data){.prefix = "train", .count = 48, .classes = 4, .shuffled = true},
               &(made_data){.prefix = "t10k", .count = 400, .classes = 4, .shuffled = true});
    CHECK_OK(run_finetune(&(ij_finetune_desc){.epochs = 10, .lr = 1e-2, .batch = 16, .augment = IJ_AUGMENT_NONE}, &result, &err));
    ck_assert_double_eq_tol(result.seed[0].test.percent, 25, 5 * 100 * sqrt(0.25 * 0.75 / 400));
    scratch_end();
}
END_TEST

static void read_bytes(const char *name, void **bytes, size_t *count) {
    ij_error err = {0};
    CHECK_OK(ij_file_read(scratch_path(name), 0, bytes, count, &err));
}

/* The same twice: the same results and files to the last bit. Seeds differ, and their interval is Student's. */
START_TEST(test_same_twice) {
    ij_error err = {0};
    ij_finetune_result first, second;
    void *bytes[2];
    size_t counts[2];
    begin_data(&(made_data){.prefix = "train", .count = 200, .classes = 4}, &(made_data){.prefix = "t10k", .count = 90, .classes = 4});
    char out[512];
    snprintf(out, sizeof out, "%s", scratch_path("a.safetensors"));
    ij_finetune_desc desc = {
        .epochs = 4, .fraction = 0.2, .lr = 2e-3, .augment = IJ_AUGMENT_RANDAUGMENT, .seeds = 3, .seed = 4, .out = out};
    CHECK_OK(run_finetune(&desc, &first, &err));
    ck_assert_int_eq(first.train_images, 40);
    ck_assert_int_eq(first.batch, 8);
    ck_assert_int_eq(first.seeds, 3);
    ck_assert(first.out_written);
    snprintf(out, sizeof out, "%s", scratch_path("b.safetensors"));
    CHECK_OK(run_finetune(&desc, &second, &err));
    ck_assert_mem_eq(first.seed, second.seed, sizeof first.seed);
    read_bytes("a.safetensors", &bytes[0], &counts[0]);
    read_bytes("b.safetensors", &bytes[1], &counts[1]);
    ck_assert_uint_eq(counts[0], counts[1]);
    ck_assert_mem_eq(bytes[0], bytes[1], counts[0]);
    free(bytes[0]), free(bytes[1]);
    ck_assert(first.seed[0].loss != first.seed[1].loss && first.seed[1].loss != first.seed[2].loss);
    ij_accuracy over = ij_accuracy_over((ij_accuracy[]){first.seed[0].test, first.seed[1].test, first.seed[2].test}, 3);
    ck_assert_double_eq_tol(first.mean, over.percent, 1e-9);
    ck_assert(first.low == over.low && first.high == over.high && first.low < first.mean && first.mean < first.high);
    scratch_end();
}
END_TEST

/* The written file is a checkpoint of the fine-tuned encoder, with a head and the classes' names beside it. */
START_TEST(test_out) {
    ij_error err = {0};
    ij_finetune_result result;
    ij_safetensors *file;
    ij_train_config config;
    int64_t step;
    const ij_safetensors_tensor *head, *tensor;
    begin_data(&(made_data){.prefix = "train", .count = 40, .classes = 4, .first_class = 0},
               &(made_data){.prefix = "t10k", .count = 20, .classes = 4});
    char out[512];
    snprintf(out, sizeof out, "%s", scratch_path("out.safetensors"));
    CHECK_OK(run_finetune(&(ij_finetune_desc){.epochs = 3, .lr = 1e-2, .last_blocks = 1, .out = out}, &result, &err));
    CHECK_OK(ij_safetensors_open(out, &file, &err));
    CHECK_OK(ij_safetensors_verify(file, NULL, &err));
    CHECK_OK(ij_safetensors_need(file, "head.weight", IJ_SAFETENSORS_F32, 2, (int64_t[]){4, 16}, &head, &err));
    CHECK_OK(ij_safetensors_need(file, "head.bias", IJ_SAFETENSORS_F32, 1, (int64_t[]){4}, &tensor, &err));
    ck_assert_str_eq(ij_safetensors_get(file, "classes"), "[\"0\",\"1\",\"2\",\"3\"]");
    CHECK_OK(ij_checkpoint_config(out, &config, &step, &err));
    ij_weights *loaded, *began;
    CHECK_OK(ij_weights_create(test_device, &config.model, IJ_KEEP_TARGET, &loaded, &err));
    CHECK_OK(ij_weights_commit(loaded, &err));
    CHECK_OK(ij_checkpoint_read(out, loaded, &err));
    CHECK_OK(ij_weights_create(test_device, &config.model, IJ_KEEP_TARGET, &began, &err));
    CHECK_OK(ij_weights_commit(began, &err));
    CHECK_OK(ij_checkpoint_read(scratch_path("run.safetensors"), began, &err));
    for (int i = 0; i < loaded->table.count && !loaded->table.params[i].predictor; i++) {
        const ij_param *p = &loaded->table.params[i];
        float *a = calloc((size_t)p->count, 4), *b = calloc((size_t)p->count, 4);
        CHECK_OK(ij_weights_read(loaded, IJ_SLOT_TARGET, i, a, &err));
        CHECK_OK(ij_weights_read(began, IJ_SLOT_TARGET, i, b, &err));
        bool frozen = strncmp(p->name, "patch_embed.", 12) == 0 || strncmp(p->name, "blocks.0.", 9) == 0;
        ck_assert_msg((memcmp(a, b, 4 * (size_t)p->count) == 0) == frozen, "%s", p->name);
        free(a), free(b);
    }
    ij_weights_destroy(loaded);
    ij_weights_destroy(began);
    ij_safetensors_close(file);
    scratch_end();
}
END_TEST

static bool stop_at_step_six(void *user, const ij_finetune_progress *p) {
    ck_assert(p->step >= 0 && p->step <= p->steps && p->seed >= 1 && p->seed <= p->seeds && strlen(p->what) > 0);
    ++*(int *)user;
    return p->step < 6;
}

START_TEST(test_stops) {
    ij_error err = {0};
    ij_finetune_result result;
    int calls = 0;
    begin_data(&(made_data){.prefix = "train", .count = 40, .classes = 4}, &(made_data){.prefix = "t10k", .count = 20, .classes = 4});
    char out[512];
    snprintf(out, sizeof out, "%s", scratch_path("out.safetensors"));
    ij_finetune_desc desc = {.epochs = 3, .lr = 1e-2, .out = out, .progress = stop_at_step_six, .user = &calls};
    CHECK_FAILS(run_finetune(&desc, &result, &err), IJ_ERROR_STOPPED);
    ck_assert_int_eq(calls, 7);
    ck_assert_int_eq(result.seeds, 0);
    ck_assert(result.out_written);
    ck_assert(ij_file_exists(out));
    scratch_end();
}
END_TEST

START_TEST(test_refuses) {
    ij_error err = {0};
    ij_finetune_result result;
    const ij_finetune_desc plain = {.epochs = 1};
    const made_data test = {.prefix = "t10k", .count = 20, .classes = 4};
    begin_data(&(made_data){.prefix = "train", .count = 40, .classes = 4}, &test);
    CHECK_FAILS(run_finetune(&(ij_finetune_desc){.last_blocks = 3, .epochs = 1}, &result, &err), IJ_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "last 3 blocks"));
    CHECK_FAILS(run_finetune(&(ij_finetune_desc){.fraction = 1.5}, &result, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(run_finetune(&(ij_finetune_desc){.fraction = 0.5, .per_class = 3}, &result, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(run_finetune(&(ij_finetune_desc){.seeds = 33}, &result, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(run_finetune(&(ij_finetune_desc){.lr = NAN}, &result, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(run_finetune(&(ij_finetune_desc){.lr = 1e30, .weight_decay = -1, .epochs = 20}, &result, &err), IJ_ERROR_NUMBER);
    ck_assert_ptr_nonnull(strstr(err.text, "10 steps in a row without finite gradients"));
    write_idx(&(made_data){.prefix = "train", .count = 40, .classes = 2, .step_class = 2});
    CHECK_FAILS(run_finetune(&plain, &result, &err), IJ_ERROR_ARGUMENT);
    ck_assert_str_eq(err.text, "class \"1\" has no training images");
    write_idx(&(made_data){.prefix = "train", .count = 1, .classes = 1});
    CHECK_FAILS(run_finetune(&plain, &result, &err), IJ_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "of 1 class"));
    write_idx(&(made_data){.prefix = "train", .count = 40, .classes = 3});
    CHECK_FAILS(run_finetune(&plain, &result, &err), IJ_ERROR_MISMATCH);
    ck_assert_str_eq(err.text, "5 test images have class \"3\", which the training images lack");
    write_idx(&(made_data){.prefix = "train", .count = 40, .classes = 4, .no_labels = true});
    CHECK_FAILS(run_finetune(&plain, &result, &err), IJ_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "40 of 40 images have no label"));
    remove(scratch_path("t10k-images-idx3-ubyte"));
    write_idx(&(made_data){.prefix = "train", .count = 40, .classes = 4});
    CHECK_FAILS(run_finetune(&plain, &result, &err), IJ_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "no test images given"));
    scratch_end();
}
END_TEST

/* ---- choosing ---- */

static void count_classes(const ij_dataset *dataset, const int64_t *chosen, int64_t count, int64_t *counts) {
    for (int k = 0; k < 4; k++) counts[k] = 0;
    for (int64_t i = 0; i < count; i++) counts[ij_dataset_label(dataset, chosen[i])]++;
}

START_TEST(test_choosing) {
    const struct {
        double fraction;
        int64_t per_class, each;
    } all[] = {{0.1, 0, 5}, {0.001, 0, 1}, {0, 7, 7}, {0, 100, 50}, {0, 0, 50}, {1, 0, 50}};
    ij_error err = {0};
    ij_dataset *dataset;
    int64_t *chosen, *again, count, count_again, counts[4];
    scratch_begin();
    write_idx(&(made_data){.prefix = "train", .count = 200, .classes = 4});
    CHECK_OK(ij_split_open(scratch_folder, NULL, &dataset, &err));
    for (int i = 0; i < IJ_COUNT(all); i++) {
        CHECK_OK(ij_split_choose(dataset, all[i].fraction, all[i].per_class, 3, &chosen, &count, &err));
        count_classes(dataset, chosen, count, counts);
        for (int k = 0; k < 4; k++) ck_assert_int_eq(counts[k], all[i].each);
        for (int64_t j = 1; j < count; j++) ck_assert_int_lt(chosen[j - 1], chosen[j]);
        CHECK_OK(ij_split_choose(dataset, all[i].fraction, all[i].per_class, 3, &again, &count_again, &err));
        ck_assert_int_eq(count, count_again);
        ck_assert_mem_eq(chosen, again, sizeof *chosen * (size_t)count);
        free(again);
        CHECK_OK(ij_split_choose(dataset, all[i].fraction, all[i].per_class, 4, &again, &count_again, &err));
        ck_assert_int_eq(memcmp(chosen, again, sizeof *chosen * (size_t)count) == 0, all[i].each == 50);
        free(again), free(chosen);
    }
    /* Five of a class are among seven of it. */
    CHECK_OK(ij_split_choose(dataset, 0, 5, 3, &chosen, &count, &err));
    CHECK_OK(ij_split_choose(dataset, 0, 7, 3, &again, &count_again, &err));
    for (int64_t i = 0, j = 0; i < count; i++, j++) {
        while (j < count_again && again[j] != chosen[i]) j++;
        ck_assert_int_lt(j, count_again);
    }
    free(again);
    /* A loader of these gives each of them once, and nothing else. */
    ij_loader *loader;
    const ij_loader_batch *batch;
    int seen[200] = {0};
    CHECK_OK(ij_loader_open(dataset, &(ij_loader_desc){.batch = 6, .shuffle = true, .threads = 2, .subset = chosen, .subset_count = count},
                            &loader, &err));
    ck_assert_int_eq(ij_loader_batches(loader), 4);
    CHECK_OK(ij_loader_start(loader, 2, 0, &err));
    for (;;) {
        CHECK_OK(ij_loader_next(loader, &batch, &err));
        if (batch->count == 0) break;
        for (int i = 0; i < batch->count; i++) {
            seen[batch->items[i].sample]++;
            ck_assert_int_eq(batch->items[i].label, ij_dataset_label(dataset, batch->items[i].sample));
        }
    }
    for (int64_t i = 0; i < count; i++) seen[chosen[i]]--;
    for (int i = 0; i < 200; i++) ck_assert_int_eq(seen[i], 0);
    ij_loader_close(loader);
    free(chosen);
    ij_dataset_close(dataset);
    scratch_end();
}
END_TEST

/* Folders number their classes by what lies beside them: they are matched by name. */
START_TEST(test_matching) {
    static const char *const train_names[] = {"ant", "bee", "cat"}, *const test_names[] = {"bee", "cat"};
    ij_error err = {0};
    ij_dataset *train, *test;
    int *map;
    static const uint8_t bmp[] = {'B', 'M', 58, 0, 0, 0, 0, 0, 0, 0, 54, 0, 0, 0, 40, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 24,
                                  0,   0,   0,  0, 0, 4, 0, 0, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0};
    char folder[200], name[64], *found;
    scratch_begin();
    for (int i = 0; i < 5; i++) {
        snprintf(folder, sizeof folder, "%s/%s/%s", scratch_folder, i < 3 ? "train" : "val", i < 3 ? train_names[i] : test_names[i - 3]);
        CHECK_OK(ij_make_folders(folder, &err));
        snprintf(name, sizeof name, "%s/%s/1.bmp", i < 3 ? "train" : "val", i < 3 ? train_names[i] : test_names[i - 3]);
        scratch_write(name, bmp, sizeof bmp);
    }
    char test_path[IJ_SPLIT_PATH];
    CHECK_OK(ij_split_find_test(scratch_path("train"), test_path, &err));
    found = strrchr(test_path, '/');
    ck_assert_str_eq(found, "/val");
    CHECK_OK(ij_split_open(scratch_path("train"), NULL, &train, &err));
    CHECK_OK(ij_split_open(test_path, NULL, &test, &err));
    CHECK_OK(ij_split_match(train, test, NULL, &map, &err));
    ck_assert_int_eq(map[0], 1);
    ck_assert_int_eq(map[1], 2);
    free(map);
    const int64_t counts[3] = {4, 4, 0}; /* no cat was chosen */
    CHECK_FAILS(ij_split_match(train, test, counts, &map, &err), IJ_ERROR_MISMATCH);
    ck_assert_str_eq(err.text, "1 test images have class \"cat\", which the training images lack");
    ij_dataset_close(train), ij_dataset_close(test);
    scratch_write("train/loose.bmp", bmp, sizeof bmp);
    CHECK_FAILS(ij_split_open(scratch_path("train"), NULL, &train, &err), IJ_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "1 of 4 images have no label"));
    scratch_end();
}
END_TEST

Suite *finetune_suite(void) {
    Suite *suite = suite_create("finetune");
    TCase *host = tcase_create("host");
    tcase_add_test(host, test_lr_scale);
    tcase_add_test(host, test_draws);
    tcase_add_test(host, test_choosing);
    tcase_add_test(host, test_matching);
    suite_add_tcase(suite, host);
    TCase *on_device = tcase_create("device");
    tcase_add_unchecked_fixture(on_device, open_test_device, close_test_device);
    tcase_set_timeout(on_device, 0);
    tcase_add_loop_test(on_device, test_gradients, 0, 4);
    tcase_add_loop_test(on_device, test_half, 0, 2);
    tcase_add_test(on_device, test_accumulation);
    tcase_add_loop_test(on_device, test_layer_decay, 0, 3);
    tcase_add_loop_test(on_device, test_frozen_blocks, 0, 2);
    tcase_add_test(on_device, test_short_batches);
    tcase_add_test(on_device, test_not_finite);
    tcase_add_loop_test(on_device, test_learns, 0, 4);
    tcase_add_test(on_device, test_chance);
    tcase_add_test(on_device, test_same_twice);
    tcase_add_test(on_device, test_out);
    tcase_add_test(on_device, test_stops);
    tcase_add_test(on_device, test_refuses);
    suite_add_tcase(suite, on_device);
    TCase *recorded = tcase_create("recorded");
    tcase_set_tags(recorded, "recorded"); /* what tests/test_peers.sh runs of this suite */
    tcase_add_unchecked_fixture(recorded, open_test_device, close_test_device);
    tcase_set_timeout(recorded, 0);
    tcase_add_test(recorded, test_recorded);
    suite_add_tcase(suite, recorded);
    return suite;
}
