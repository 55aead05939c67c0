/* Features of images: against a plain encoder in double, whoever else is in the batch, in files and from the cache. */
#include "suites.h"
#include "scratch.h"
#include "base/file.h"
#include "eval/embed_data.h"
#include "eval/features.h"
#include "ijepa.h"
#include "io/npy.h"
#include "io/safetensors.h"
#include "model/positions.h"
#include "philox.h"
#include "train/checkpoint.h"
#include "train/replay_bounds.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>

#define PATCH 4
#define DIM 16
#define DEPTH 5
#define HEADS 2
#define HIDDEN (4 * DIM)
#define PICTURE_BYTES (40 * 40 * 3)

static double uniform(uint32_t stream, uint32_t i) { return (double)philox(31, 0, PHILOX_STREAM_TEST, i, stream, 0).x * 0x1p-32; }

static const float mean[3] = {0.4f, 0.5f, 0.6f}, std_[3] = {0.2f, 0.25f, 0.3f};

static ij_model_config model_of(int height, int width) {
    return (ij_model_config){.image_height = height,
                             .image_width = width,
                             .patch_size = PATCH,
                             .channels = 3,
                             .dim = DIM,
                             .depth = DEPTH,
                             .heads = HEADS,
                             .hidden = HIDDEN,
                             .pred_dim = 8,
                             .pred_depth = 1,
                             .pred_heads = 1,
                             .pred_hidden = 32,
                             .norm_eps = 1e-6f};
}

/* Weights of which no two parts are alike, LayerNorms and biases included, and the context encoder's are not the target's. */
static ij_weights *make_weights(ij_keep keep, gpu_element element) {
    ij_error err = {0};
    ij_weights *w;
    ij_model_config model = model_of(16, 16);
    CHECK_OK(ij_weights_create(test_device, &model, keep, &w, &err));
    CHECK_OK(ij_weights_keep_half(w, element, &err));
    CHECK_OK(ij_weights_commit(w, &err));
    CHECK_OK(ij_weights_initialise(w, 5, &err));
    for (int slot = 0; slot <= IJ_SLOT_TARGET; slot++)
        for (int i = 0; i < ij_weights_params(w, (ij_slot)slot); i++) {
            const ij_param *p = &w->table.params[i];
            float *values = malloc(4 * (size_t)p->count);
            for (int64_t k = 0; k < p->count; k++)
                values[k] = (p->init == IJ_INIT_ONE) + (float)(0.4 * (uniform((uint32_t)(100 * slot + i), (uint32_t)k) - 0.5));
            CHECK_OK(ij_weights_write(w, (ij_slot)slot, i, values, &err));
            free(values);
        }
    CHECK_OK(ij_weights_round(w, &err));
    return w;
}

/* ---- pictures in memory ---- */

#define IMAGES 7

typedef struct pictures {
    ij_jepa_image images[IMAGES];
    uint8_t pixels[IMAGES * PICTURE_BYTES];
} pictures;

static pictures *make_pictures(void) {
    pictures *p = calloc(1, sizeof *p);
    for (int i = 0; i < IMAGES; i++) {
        ij_jepa_image image = {.offset = (uint64_t)i * PICTURE_BYTES, .width = 21 + 2 * i, .height = 34 - i, .channels = 3};
        image.crop_x = 1.5f, image.crop_y = (float)i, image.crop_w = 17, image.crop_h = 20.25f;
        p->images[i] = image;
    }
    for (uint32_t i = 0; i < sizeof p->pixels; i++) p->pixels[i] = (uint8_t)(256 * uniform(1, i));
    return p;
}

static ij_embedder *make_embedder(ij_weights *weights, ij_embed_output output, int height, int width, int batch, bool context) {
    ij_error err = {0};
    ij_embedder *e;
    ij_embed_desc desc = {.model = model_of(height, width), .batch = batch, .pixel_bytes = (uint64_t)IMAGES * PICTURE_BYTES};
    desc.output = output, desc.context = context;
    memcpy(desc.mean, mean, sizeof mean);
    memcpy(desc.std, std_, sizeof std_);
    if (output == IJ_EMBED_PIXELS)
        desc = ij_pixels_embed(&desc.model, mean, std_), desc.batch = batch, desc.pixel_bytes = sizeof((pictures *)0)->pixels;
    CHECK_OK(ij_embedder_create(test_device, &desc, weights, &e, &err));
    return e;
}

/* Features of pictures first .. first + count - 1; free() them. */
static float *run_embedder(ij_embedder *e, const pictures *p, int first, int count) {
    ij_error err = {0};
    float *out = malloc(4 * (size_t)count * (size_t)ij_embedder_floats(e));
    CHECK_OK(ij_embedder_run(e, p->images + first, count, p->pixels, sizeof p->pixels, out, &err));
    return out;
}

static float *features_of(ij_weights *weights, ij_embed_output output, int height, int width, const pictures *p, bool context) {
    ij_embedder *e = make_embedder(weights, output, height, width, IMAGES, context);
    float *out = run_embedder(e, p, 0, IMAGES);
    ij_embedder_destroy(e);
    return out;
}

/* ---- the same in double ---- */

typedef struct reference {
    const ij_weights *weights;
    ij_slot slot;
    int tokens;
    double *x, *y; /* [tokens, DIM]; y: after the final LayerNorm */
} reference;

static double *param(const reference *r, const char *format, int block) {
    ij_error err = {0};
    char name[80];
    snprintf(name, sizeof name, format, block);
    int index = ij_param_find(&r->weights->table, false, name);
    ck_assert_int_ge(index, 0);
    int64_t count = r->weights->table.params[index].count;
    float *values = malloc(4 * (size_t)count);
    double *out = malloc(8 * (size_t)count);
    CHECK_OK(ij_weights_read(r->weights, r->slot, index, values, &err));
    for (int64_t i = 0; i < count; i++) out[i] = (double)values[i];
    free(values);
    return out;
}

/* out [tokens, to] = x [tokens, from] weight^T + bias. */
static double *linear(const reference *r, const double *x, int from, int to, const char *weight_name, const char *bias_name, int block) {
    double *weight = param(r, weight_name, block), *bias = param(r, bias_name, block), *out = malloc(8 * (size_t)(r->tokens * to));
    for (int t = 0; t < r->tokens; t++)
        for (int o = 0; o < to; o++) {
            double sum = bias[o];
            for (int i = 0; i < from; i++) sum += x[t * from + i] * weight[o * from + i];
            out[t * to + o] = sum;
        }
    free(weight);
    free(bias);
    return out;
}

static double *layernorm(const reference *r, const double *x, const char *weight_name, const char *bias_name, int block) {
    double *gamma = param(r, weight_name, block), *beta = param(r, bias_name, block), *out = malloc(8 * (size_t)(r->tokens * DIM));
    for (int t = 0; t < r->tokens; t++) {
        double sum = 0, squares = 0;
        for (int d = 0; d < DIM; d++) sum += x[t * DIM + d] / DIM;
        for (int d = 0; d < DIM; d++) squares += pow(x[t * DIM + d] - sum, 2) / DIM;
        for (int d = 0; d < DIM; d++) out[t * DIM + d] = (x[t * DIM + d] - sum) / sqrt(squares + 1e-6) * gamma[d] + beta[d];
    }
    free(gamma);
    free(beta);
    return out;
}

static double *attention(const reference *r, const double *qkv) {
    const int head = DIM / HEADS;
    double *out = calloc((size_t)(r->tokens * DIM), 8), *score = malloc(8 * (size_t)r->tokens);
    for (int h = 0; h < HEADS; h++)
        for (int t = 0; t < r->tokens; t++) {
            double sum = 0;
            for (int u = 0; u < r->tokens; u++) {
                double dot = 0;
                for (int d = 0; d < head; d++) dot += qkv[t * 3 * DIM + h * head + d] * qkv[u * 3 * DIM + DIM + h * head + d];
                sum += score[u] = exp(dot / sqrt(head));
            }
            for (int u = 0; u < r->tokens; u++)
                for (int d = 0; d < head; d++) out[t * DIM + h * head + d] += score[u] / sum * qkv[u * 3 * DIM + 2 * DIM + h * head + d];
        }
    free(score);
    return out;
}

static void add_and_free(double *x, double *more, int count) {
    for (int i = 0; i < count; i++) x[i] += more[i];
    free(more);
}

static void reference_block(reference *r, int block) {
    int floats = r->tokens * DIM;
    double *normed = layernorm(r, r->x, "blocks.%d.norm1.weight", "blocks.%d.norm1.bias", block);
    double *qkv = linear(r, normed, DIM, 3 * DIM, "blocks.%d.attn.qkv.weight", "blocks.%d.attn.qkv.bias", block);
    double *attended = attention(r, qkv);
    add_and_free(r->x, linear(r, attended, DIM, DIM, "blocks.%d.attn.proj.weight", "blocks.%d.attn.proj.bias", block), floats);
    free(normed);
    normed = layernorm(r, r->x, "blocks.%d.norm2.weight", "blocks.%d.norm2.bias", block);
    double *hidden = linear(r, normed, DIM, HIDDEN, "blocks.%d.mlp.fc1.weight", "blocks.%d.mlp.fc1.bias", block);
    for (int i = 0; i < r->tokens * HIDDEN; i++) hidden[i] *= 0.5 * (1 + erf(hidden[i] / sqrt(2)));
    add_and_free(r->x, linear(r, hidden, HIDDEN, DIM, "blocks.%d.mlp.fc2.weight", "blocks.%d.mlp.fc2.bias", block), floats);
    free(normed), free(qkv), free(attended), free(hidden);
}

/* Of picture i: tokens [tokens, DIM], and of the last four blocks pooled [4 DIM]. */
static void reference_features(const ij_weights *weights, ij_slot slot, int height, int width, const pictures *p, int i, double *tokens,
                               double last4[4 * DIM]) {
    ij_model_config m = model_of(height, width);
    reference r = {.weights = weights, .slot = slot, .tokens = ij_patches(&m)};
    const ij_jepa_image *image = &p->images[i];
    patches_desc patches = {.batch = 1, .image_h = height, .image_w = width, .patch = PATCH, .channels = 3};
    memcpy(patches.mean, mean, sizeof mean);
    memcpy(patches.std, std_, sizeof std_);
    struct patches_crop crop = {(uint32_t)image->offset, (uint32_t)image->width, (uint32_t)image->height, 3,
                                image->crop_x,           image->crop_y,          image->crop_w,           image->crop_h};
    double *rows = malloc(8 * (size_t)(r.tokens * ij_patch_dim(&m)));
    float *positions = malloc(4 * (size_t)(r.tokens * DIM));
    ref_patches(&patches, p->pixels, &crop, rows);
    ij_positions(ij_grid_height(&m), ij_grid_width(&m), DIM, positions);
    r.x = linear(&r, rows, ij_patch_dim(&m), DIM, "patch_embed.proj.weight", "patch_embed.proj.bias", 0);
    for (int k = 0; k < r.tokens * DIM; k++) r.x[k] += (double)positions[k];
    memset(last4, 0, 4 * DIM * sizeof *last4);
    for (int block = 0; block < DEPTH; block++) {
        reference_block(&r, block);
        if (block < DEPTH - 4) continue;
        double *y = layernorm(&r, r.x, "norm.weight", "norm.bias", 0);
        for (int k = 0; k < r.tokens * DIM; k++) last4[(block - DEPTH + 4) * DIM + k % DIM] += y[k] / r.tokens;
        if (block == DEPTH - 1) memcpy(tokens, y, 8 * (size_t)(r.tokens * DIM));
        free(y);
    }
    free(rows), free(positions), free(r.x);
}

/* |got - expected| / |expected| */
static double distance(const float *got, const double *expected, int64_t count) {
    double difference = 0, size = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += pow((double)got[i] - expected[i], 2);
        size += pow(expected[i], 2);
    }
    return sqrt(difference / size);
}

static void check_reference(gpu_element element, int height, int width, bool context) {
    ij_weights *weights = make_weights(IJ_KEEP_TRAINING, element);
    pictures *p = make_pictures();
    int floats = height / PATCH * (width / PATCH) * DIM;
    double bound = replay_bounds_of(element, &(replay_facts){.encoder_depth = DEPTH, .target_rows = 1}).features;
    float *tokens = features_of(weights, IJ_EMBED_TOKENS, height, width, p, context);
    float *last4 = features_of(weights, IJ_EMBED_LAST4, height, width, p, context);
    double *expected = malloc(8 * (size_t)floats), expected4[4 * DIM];
    for (int i = 0; i < IMAGES; i++) {
        reference_features(weights, context ? IJ_SLOT_WEIGHT : IJ_SLOT_TARGET, height, width, p, i, expected, expected4);
        double off[2] = {distance(tokens + i * floats, expected, floats), distance(last4 + i * 4 * DIM, expected4, 4 * DIM)};
        for (int k = 0; k < 2; k++)
            ck_assert_msg(off[k] < bound, "image %d, %s: off by %.2e of its size, bound %.2e", i, k ? "last4" : "tokens", off[k], bound);
        if (element != GPU_WORD) ck_assert_msg(off[0] > 1e-6, "%.2e: nothing was rounded", off[0]);
    }
    free(tokens), free(last4), free(expected), free(p);
    ij_weights_destroy(weights);
}

START_TEST(test_reference) {
    check_reference(GPU_WORD, 16, 16, false);
    check_reference(GPU_WORD, 8, 20, false); /* another size, another shape than trained: 2 x 5 patches */
    check_reference(GPU_WORD, 16, 16, true);
}
END_TEST

START_TEST(test_reference_16_bits) {
    check_reference(GPU_F16, 16, 16, false);
    check_reference(GPU_F16, 20, 8, true);
    check_reference(GPU_BF16, 16, 16, false);
}
END_TEST

/* ---- what is handed out ---- */

START_TEST(test_outputs_agree) {
    ij_weights *weights = make_weights(IJ_KEEP_TRAINING, GPU_WORD);
    pictures *p = make_pictures();
    float *last = features_of(weights, IJ_EMBED_LAST, 16, 16, p, false), *last4 = features_of(weights, IJ_EMBED_LAST4, 16, 16, p, false);
    float *tokens = features_of(weights, IJ_EMBED_TOKENS, 16, 16, p, false),
          *context = features_of(weights, IJ_EMBED_LAST, 16, 16, p, true);
    for (int i = 0; i < IMAGES; i++) {
        ck_assert_mem_eq(last4 + i * 4 * DIM + 3 * DIM, last + i * DIM, DIM * sizeof *last);
        for (int block = 0; block < 3; block++) ck_assert_mem_ne(last4 + i * 4 * DIM + block * DIM, last + i * DIM, DIM * sizeof *last);
        double pooled[DIM] = {0};
        for (int k = 0; k < 16 * DIM; k++) pooled[k % DIM] += (double)tokens[i * 16 * DIM + k] / 16;
        ck_assert_double_le(distance(last + i * DIM, pooled, DIM), 1e-6);
        ck_assert_mem_ne(last + i * DIM, context + i * DIM, DIM * sizeof *last);
    }
    free(last), free(last4), free(tokens), free(context), free(p);
    ij_weights_destroy(weights);
}
END_TEST

/* The same bits alone, in a part of a batch, and in a batch that follows another at once. */
START_TEST(test_batches_do_not_matter) {
    ij_error err = {0};
    ij_weights *weights = make_weights(IJ_KEEP_TARGET, GPU_WORD);
    pictures *p = make_pictures();
    for (int output = IJ_EMBED_LAST; output <= IJ_EMBED_PIXELS; output++) {
        ij_weights *used = output == IJ_EMBED_PIXELS ? NULL : weights;
        float *all = features_of(used, (ij_embed_output)output, 16, 16, p, false), *some;
        ij_embedder *e = make_embedder(used, (ij_embed_output)output, 16, 16, 3, false);
        size_t bytes = 4 * (size_t)ij_embedder_floats(e);
        some = run_embedder(e, p, 4, 1);
        ck_assert_mem_eq(some, (char *)all + 4 * bytes, bytes);
        free(some);
        some = malloc(IMAGES * bytes);
        int done = 0, count;
        for (int first = 0; first < IMAGES; first += 3) {
            if (ij_embedder_pending(e) == IJ_EMBED_SLOTS) {
                CHECK_OK(ij_embedder_collect(e, some + (size_t)done * bytes / 4, &count, &err));
                done += count;
            }
            count = IMAGES - first < 3 ? IMAGES - first : 3;
            CHECK_OK(ij_embedder_submit(e, p->images + first, count, p->pixels, sizeof p->pixels, &err));
        }
        for (; ij_embedder_pending(e); done += count) CHECK_OK(ij_embedder_collect(e, some + (size_t)done * bytes / 4, &count, &err));
        ck_assert_int_eq(done, IMAGES);
        ck_assert_mem_eq(some, all, IMAGES * bytes);
        if (gpu_device_info(test_device)->tick_ns > 0) ck_assert(ij_embedder_busy(e) > 0);
        free(some), free(all);
        ij_embedder_destroy(e);
    }
    free(p);
    ij_weights_destroy(weights);
}
END_TEST

START_TEST(test_embedder_refuses) {
    ij_error err = {0};
    ij_weights *weights = make_weights(IJ_KEEP_TARGET, GPU_WORD);
    ij_embedder *e;
    ij_embed_desc desc = {.model = model_of(18, 16), .batch = 1, .pixel_bytes = 64};
    CHECK_FAILS(ij_embedder_create(test_device, &desc, weights, &e, &err), IJ_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "18 x 16"));
    ij_weights_destroy(weights);
}
END_TEST

/* ---- weights that are kept in part ---- */

static void checkpoint_config(ij_train_config *config, int channels) {
    static const char yaml[] =
        "meta: {model_name: custom, embed_dim: 16, depth: 5, num_heads: 2, pred_emb_dim: 8, pred_depth: 1, pred_num_heads: 1}\n"
        "data: {crop_size: 16, channels: %d, random_crop: false, batch_size: 4}\n"
        "mask: {patch_size: 4, min_keep: 2}\n";
    char text_of[400];
    ij_error err = {0};
    ij_config_text text = {0};
    snprintf(text_of, sizeof text_of, yaml, channels);
    CHECK_OK(ij_config_text_load_memory(&text, text_of, strlen(text_of), "test", &err));
    ij_train_config_defaults(config);
    CHECK_OK(ij_train_config_read(&text, config, NULL, 0, &err));
    config->schedule.steps_per_epoch = 1;
    memcpy(config->mean, mean, sizeof mean);
    memcpy(config->std, std_, sizeof std_);
    ij_config_text_free(&text);
}

/* A checkpoint whose context encoder is not its target encoder; the marks of both. */
static void write_checkpoint(const char *path, char target[IJ_MODEL_MARK], char context[IJ_MODEL_MARK]) {
    ij_error err = {0};
    ij_train_config config;
    checkpoint_config(&config, 3);
    ij_weights *weights = make_weights(IJ_KEEP_TRAINING, GPU_WORD);
    CHECK_OK(ij_checkpoint_write(path, weights, &config, 7, &err));
    CHECK_OK(ij_model_mark(weights, IJ_SLOT_TARGET, target, &err));
    CHECK_OK(ij_model_mark(weights, IJ_SLOT_WEIGHT, context, &err));
    ck_assert_str_ne(target, context);
    ck_assert_uint_eq(strlen(target), 16);
    ij_weights_destroy(weights);
}

/* Positions that are not the fixed table: kept by a checkpoint, part of the mark, and seen in the features. */
START_TEST(test_checkpoint_keeps_stored_positions) {
    enum { GRID = 4, COUNT = GRID * GRID * DIM };
    ij_error err = {0};
    char plain[IJ_MODEL_MARK], marks[2][IJ_MODEL_MARK];
    float rows[COUNT], fixed[COUNT];
    ij_train_config config;
    ij_model_config model = model_of(16, 16);
    scratch_begin();
    checkpoint_config(&config, 3);
    ij_weights *weights = make_weights(IJ_KEEP_TRAINING, GPU_WORD), *read;
    CHECK_OK(ij_model_mark(weights, IJ_SLOT_TARGET, plain, &err));
    ij_positions(GRID, GRID, DIM, fixed);
    for (int i = 0; i < COUNT; i++) rows[i] = fixed[i] + 0.1f * (float)uniform(77, (uint32_t)i);
    CHECK_OK(ij_weights_set_positions(weights, GRID, GRID, rows, &err));
    CHECK_OK(ij_model_mark(weights, IJ_SLOT_TARGET, marks[0], &err));
    ck_assert_str_ne(plain, marks[0]);
    CHECK_OK(ij_checkpoint_write(scratch_path("stored.safetensors"), weights, &config, 7, &err));
    CHECK_OK(ij_weights_create(test_device, &model, IJ_KEEP_TARGET, &read, &err));
    CHECK_OK(ij_weights_commit(read, &err));
    CHECK_OK(ij_checkpoint_read(scratch_path("stored.safetensors"), read, &err));
    ck_assert(read->positions && read->positions_height == GRID && read->positions_width == GRID);
    ck_assert_int_eq(memcmp(read->positions, rows, sizeof rows), 0);
    CHECK_OK(ij_model_mark(read, IJ_SLOT_TARGET, marks[1], &err));
    ck_assert_str_eq(marks[0], marks[1]);

    uint8_t pixels[16 * 16 * 3];
    float features[2][DIM];
    for (int i = 0; i < IJ_COUNT(pixels); i++) pixels[i] = (uint8_t)(i * 31);
    for (int stored = 1; stored >= 0; stored--) {
        ij_embedder *e;
        ij_embed_desc desc = {.model = model, .std = {1, 1, 1}, .batch = 1, .pixel_bytes = sizeof pixels};
        ij_jepa_image image = {.width = 16, .height = 16, .channels = 3, .crop_w = 16, .crop_h = 16};
        if (!stored) CHECK_OK(ij_weights_set_positions(read, 0, 0, NULL, &err));
        CHECK_OK(ij_embedder_create(test_device, &desc, read, &e, &err));
        CHECK_OK(ij_embedder_run(e, &image, 1, pixels, sizeof pixels, features[stored], &err));
        ij_embedder_destroy(e);
    }
    ck_assert_int_ne(memcmp(features[0], features[1], sizeof features[0]), 0);
    /* The file of a run of this project has the fixed table, and reads as having none. */
    CHECK_OK(ij_weights_set_positions(weights, 0, 0, NULL, &err));
    CHECK_OK(ij_checkpoint_write(scratch_path("fixed.safetensors"), weights, &config, 7, &err));
    CHECK_OK(ij_checkpoint_read(scratch_path("fixed.safetensors"), read, &err));
    ck_assert_ptr_null(read->positions);
    ij_weights_destroy(weights);
    ij_weights_destroy(read);
    scratch_end();
}
END_TEST

START_TEST(test_one_encoder_of_a_checkpoint) {
    ij_error err = {0};
    char marks[2][IJ_MODEL_MARK], mark[IJ_MODEL_MARK];
    ij_model_config model = model_of(16, 16);
    scratch_begin();
    write_checkpoint(scratch_path("run.safetensors"), marks[0], marks[1]);
    for (int context = 0; context < 2; context++) {
        ij_weights *all = make_weights(IJ_KEEP_TRAINING, GPU_F16), *one;
        CHECK_OK(ij_weights_create(test_device, &model, context ? IJ_KEEP_CONTEXT : IJ_KEEP_TARGET, &one, &err));
        CHECK_OK(ij_weights_keep_half(one, GPU_F16, &err));
        CHECK_OK(ij_weights_commit(one, &err));
        CHECK_OK(ij_checkpoint_read(scratch_path("run.safetensors"), one, &err));
        CHECK_OK(ij_model_mark(one, context ? IJ_SLOT_WEIGHT : IJ_SLOT_TARGET, mark, &err));
        ck_assert_str_eq(mark, marks[context]);
        ck_assert_int_eq(ij_weights_params(one, context ? IJ_SLOT_TARGET : IJ_SLOT_WEIGHT), 0);
        ck_assert_uint_lt(ij_weights_bytes(one), ij_weights_bytes(all) / 3);
        pictures *p = make_pictures(); /* what a whole training state gives, to the bit */
        float *expected = features_of(all, IJ_EMBED_LAST, 16, 16, p, context), *got = features_of(one, IJ_EMBED_LAST, 16, 16, p, context);
        ck_assert_mem_eq(got, expected, IMAGES * DIM * sizeof *got);
        free(expected), free(got), free(p);
        ij_weights_destroy(all);
        ij_weights_destroy(one);
    }
    scratch_end();
}
END_TEST

/* ---- a folder of pictures ---- */

#define FILES 11

static void write_picture(const char *name, uint32_t stream) {
    ij_error err = {0};
    uint8_t pixels[20 * 24 * 3];
    for (uint32_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(256 * uniform(stream, i));
    CHECK_OK(ij_png_write(scratch_path(name), pixels, 20, 24, 3, &err));
}

/* data/a/0.png ... data/b/...: two classes. */
static void write_folder(void) {
    ij_error err = {0};
    char name[32];
    CHECK_OK(ij_make_folders(scratch_path("data/a"), &err));
    CHECK_OK(ij_make_folders(scratch_path("data/b"), &err));
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "data/%c/%02d.png", i < 6 ? 'a' : 'b', i);
        write_picture(name, 40 + (uint32_t)i);
    }
}

typedef struct watch {
    int progress, messages, damaged, stop_after;
    char message[1000];
} watch;

static void on_progress(void *user, const char *what, int64_t done, int64_t total) {
    watch *w = user;
    ck_assert(done > 0 && done <= total && *what);
    w->progress++;
}

static void on_message(void *user, const char *line) {
    watch *w = user;
    w->messages++;
    snprintf(w->message, sizeof w->message, "%s", line);
}

static void on_damaged(void *user, const char *line) {
    ((watch *)user)->damaged++;
    ck_assert_ptr_nonnull(strstr(line, ".png"));
}

static bool must_stop(void *user) {
    watch *w = user;
    return w->stop_after && w->progress >= w->stop_after;
}

static ij_features_source source_of(ij_weights *weights, ij_embed_output output) {
    ij_error err = {0};
    ij_features_source s = {.device = test_device, .embed = {.model = model_of(16, 16), .output = output}, .weights = weights};
    memcpy(s.embed.mean, mean, sizeof mean);
    memcpy(s.embed.std, std_, sizeof std_);
    if (!weights) s.embed = ij_pixels_embed(&s.embed.model, mean, std_);
    if (weights) CHECK_OK(ij_model_mark(weights, IJ_SLOT_TARGET, s.mark, &err));
    return s;
}

static ij_features_desc pass_of(watch *w) {
    return (ij_features_desc){.batch = 4,
                              .whole = true,
                              .picture_bytes = 4096,
                              .progress = on_progress,
                              .message = on_message,
                              .on_damaged = on_damaged,
                              .user = w,
                              .what = "test"};
}

/* Features of the folder through the cache; expects these hits, whether pictures were read, and messages. */
static ij_features cached(const ij_features_source *sources, int count, int64_t limit, uint64_t seed, const bool *expected, int messages) {
    ij_error err = {0};
    ij_dataset *dataset;
    ij_features f;
    watch w = {0};
    bool hits[FEATURE_SETS_MAX], all = true;
    ij_features_desc desc = pass_of(&w);
    desc.limit = limit, desc.seed = seed;
    CHECK_OK(ij_dataset_open(scratch_path("data"), NULL, &dataset, &err));
    CHECK_OK(ij_features_cached(dataset, &desc, sources, count, scratch_path("features"), &f, hits, &err));
    for (int i = 0; i < count; i++) {
        ck_assert_msg(hits[i] == expected[i], "source %d of %d: %s", i, count, hits[i] ? "a hit" : "no hit");
        all = all && hits[i];
    }
    ck_assert(all ? w.progress == 0 : w.progress > 0);
    ck_assert_msg(w.messages == messages, "%d messages: %s", w.messages, w.message);
    ij_dataset_close(dataset);
    return f;
}

static void check_same(const ij_features *a, const ij_features *b, int set) {
    ck_assert_int_eq(a->count, b->count);
    ck_assert_int_eq(a->dim[set], b->dim[set]);
    ck_assert_mem_eq(a->x[set], b->x[set], 4 * (size_t)a->count * (size_t)a->dim[set]);
    ck_assert_mem_eq(a->labels, b->labels, (size_t)a->count * sizeof *a->labels);
}

static const bool MISS[FEATURE_SETS_MAX] = {false}, HIT[FEATURE_SETS_MAX] = {true, true, true, true}, FIRST[FEATURE_SETS_MAX] = {true};

START_TEST(test_cache_hits) {
    ij_error err = {0};
    ij_weights *weights = make_weights(IJ_KEEP_TRAINING, GPU_WORD);
    ij_features_source s[3] = {source_of(weights, IJ_EMBED_LAST), source_of(weights, IJ_EMBED_LAST4), source_of(NULL, IJ_EMBED_PIXELS)};
    scratch_begin();
    write_folder();
    ij_features first = cached(s, 1, 0, 0, MISS, 0);
    ck_assert(first.count == FILES && first.labels[0] == 0 && first.labels[FILES - 1] == 1 && first.seconds[0] > 0);
    ij_features second = cached(s, 3, 0, 0, FIRST, 0); /* the other two are made in one pass */
    check_same(&first, &second, 0);
    ck_assert_double_eq(second.seconds[0], 0);
    for (int i = 0; i < FILES; i++) ck_assert_mem_eq(second.x[1] + i * 4 * DIM + 3 * DIM, second.x[0] + i * DIM, 4 * DIM);
    /* A picture's bytes go, its name, size and time stay: only who opens it can tell. */
    struct stat info;
    const char *path = scratch_path("data/a/02.png");
    ck_assert_int_eq(stat(path, &info), 0);
    char *zeros = calloc(1, (size_t)info.st_size);
    scratch_write("data/a/02.png", zeros, (size_t)info.st_size);
    ck_assert_int_eq(utimensat(AT_FDCWD, path, (struct timespec[2]){info.st_atim, info.st_mtim}, 0), 0);
    free(zeros);
    ij_features third = cached(s, 3, 0, 0, HIT, 0);
    for (int set = 0; set < 3; set++) check_same(&second, &third, set);
    ij_features_free(&third);
    /* Without a folder it is the same call without a memory; the picture is found out. */
    ij_dataset *dataset;
    watch w = {0};
    ij_features_desc desc = pass_of(&w);
    CHECK_OK(ij_dataset_open(scratch_path("data"), NULL, &dataset, &err));
    CHECK_OK(ij_features_cached(dataset, &desc, s, 1, NULL, &third, NULL, &err));
    ck_assert(third.count == FILES - 1 && third.damaged == 1 && w.damaged == 1);
    ij_dataset_close(dataset);
    ij_features_free(&first), ij_features_free(&second), ij_features_free(&third);
    ij_weights_destroy(weights);
    scratch_end();
}
END_TEST

START_TEST(test_cache_misses) {
    ij_weights *weights = make_weights(IJ_KEEP_TRAINING, GPU_WORD);
    ij_features_source s = source_of(weights, IJ_EMBED_LAST), other = s;
    ij_features f;
#define EXPECT(sources, limit, seed, hit) (f = cached(sources, 1, limit, seed, hit, 0), ij_features_free(&f))
    scratch_begin();
    write_folder();
    EXPECT(&s, 0, 0, MISS);
    EXPECT(&s, 0, 9, HIT); /* the seed shuffles only what is a part */
    EXPECT(&s, 5, 0, MISS);
    EXPECT(&s, 5, 0, HIT);
    EXPECT(&s, 5, 1, MISS);
    other.embed.context = true; /* with the right mark or not: another encoder */
    EXPECT(&other, 0, 0, MISS);
    other = s, other.mark[3] ^= 1;
    EXPECT(&other, 0, 0, MISS);
    other = s, other.embed.mean[1] = 0.51f;
    EXPECT(&other, 0, 0, MISS);
    other = s, other.embed.model.image_width = 20;
    EXPECT(&other, 0, 0, MISS);
    EXPECT(&s, 0, 0, HIT);
    write_picture("data/a/02.png", 99); /* a changed file */
    EXPECT(&s, 0, 0, MISS);
    EXPECT(&s, 0, 0, HIT);
    ck_assert_int_eq(rename(scratch_path("data/b/07.png"), scratch_path("data/b/zz.png")), 0); /* a new name */
    EXPECT(&s, 0, 0, MISS);
    scratch_end();
#undef EXPECT
    ij_weights_destroy(weights);
}
END_TEST

static void only_file_of(const char *folder, char out[600]) {
    DIR *dir = opendir(folder);
    int files = 0;
    ck_assert_ptr_nonnull(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.') snprintf(out, 600, "%s/%s", folder, entry->d_name), files++;
    closedir(dir);
    ck_assert_int_eq(files, 1);
}

START_TEST(test_cache_repairs) {
    ij_weights *weights = make_weights(IJ_KEEP_TRAINING, GPU_WORD);
    ij_features_source s = source_of(weights, IJ_EMBED_LAST);
    char path[600];
    scratch_begin();
    write_folder();
    ij_features first = cached(&s, 1, 0, 0, MISS, 0);
    only_file_of(scratch_path("features"), path);
    FILE *file = fopen(path, "r+b");
    ck_assert(file && fseek(file, -400, SEEK_END) == 0 && fputc('!', file) == '!');
    fclose(file);
    ij_features second = cached(&s, 1, 0, 0, MISS, 1), third = cached(&s, 1, 0, 0, HIT, 0);
    check_same(&first, &second, 0);
    check_same(&first, &third, 0);
    ij_features_free(&first), ij_features_free(&second), ij_features_free(&third);
    /* Where nothing can be kept the features come all the same. */
    remove(path);
    ck_assert_int_eq(remove(scratch_path("features")), 0);
    scratch_write("features", "a file", 6);
    first = cached(&s, 1, 0, 0, MISS, 1);
    ck_assert_int_eq(first.count, FILES);
    ij_features_free(&first);
    scratch_end();
    ij_weights_destroy(weights);
}
END_TEST

/* ---- files of features ---- */

/* Three images of dim 2, in a file of the ending given. */
static const char *write_three(const char *name, int patches, bool labels) {
    ij_error err = {0};
    ij_feature_writer *w;
    const char *path = scratch_path(name), *const names[] = {"a/x.png", "b/with, \"comma\".png", "y.png"};
    ij_feature_file_desc desc = {.model = "0123456789abcdef", .run = "/runs/r", .data = "/data", .encoder = "target", .layers = "last"};
    desc.dim = 2, desc.patches = patches, desc.height = 16, desc.width = 20, desc.classes = labels ? "a\nb" : NULL;
    CHECK_OK(ij_feature_writer_begin(path, &desc, &w, &err));
    for (int i = 0; i < 3; i++) CHECK_OK(ij_feature_writer_add(w, names[i], i < 2 ? i : -1, (float[6]){(float)i, 0.1f, -3, 4, 5, 6}, &err));
    CHECK_OK(ij_feature_writer_finish(w, 2, &err));
    return path;
}

START_TEST(test_index) {
    ij_error err = {0};
    ij_feature_index index;
    scratch_begin();
    CHECK_OK(ij_feature_index_open(write_three("three.safetensors", 0, true), &index, &err));
    ck_assert(index.count == 3 && index.dim == 2 && index.height == 16 && index.width == 20);
    for (int i = 0; i < 3; i++) ck_assert(index.x[2 * i] == (float)i && index.x[2 * i + 1] == 0.1f && index.labels[i] == (i < 2 ? i : -1));
    ck_assert_str_eq(index.names[1], "b/with, \"comma\".png");
    ck_assert_str_eq(index.model, "0123456789abcdef");
    ck_assert_str_eq(index.encoder, "target");
    ck_assert_str_eq(index.layers, "last");
    ck_assert_str_eq(index.run, "/runs/r");
    ck_assert_str_eq(index.data, "/data");
    ck_assert_str_eq(ij_feature_index_get(&index, "classes"), "a\nb");
    ck_assert_str_eq(ij_feature_index_get(&index, "damaged"), "2");
    ij_feature_index_close(&index);
    ij_feature_index_close(&index);
    CHECK_OK(ij_feature_index_open(write_three("unlabelled.safetensors", 0, false), &index, &err));
    ck_assert_ptr_null(index.labels);
    ij_feature_index_close(&index);
    CHECK_FAILS(ij_feature_index_open(write_three("patches.safetensors", 3, true), &index, &err), IJ_ERROR_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.text, "every patch"));
    CHECK_FAILS(ij_feature_index_open(IJ_TEST_DATA "/step.safetensors", &index, &err), IJ_ERROR_FORMAT);
    CHECK_FAILS(ij_feature_index_open(scratch_path("missing.safetensors"), &index, &err), IJ_ERROR_FILE);
    scratch_end();
}
END_TEST

/* Reads all that an open index promises, for AddressSanitizer to watch. */
static double read_all(const ij_feature_index *index) {
    double sum = 0;
    for (int64_t i = 0; i < index->count; i++) {
        for (int d = 0; d < index->dim; d++) sum += (double)index->x[i * index->dim + d];
        sum += (double)strlen(index->names[i]) + (index->labels ? index->labels[i] : 0);
    }
    return sum;
}

/* Opens the file with each byte changed in turn; returns how often it opened. */
static int change_each_byte(const void *bytes, size_t count) {
    ij_error err = {0};
    ij_feature_index index;
    int opened = 0;
    volatile double read = 0; /* keeps the reads alive */
    for (size_t at = 0; at < count; at++) {
        uint8_t *changed = exact_copy(bytes, count);
        changed[at] ^= (uint8_t)(1 + 254 * uniform(3, (uint32_t)at));
        if (ij_feature_index_open_memory(changed, count, "changed", &index, &err) == IJ_OK) {
            opened++;
            read += read_all(&index);
            ij_feature_index_close(&index);
        }
        free(changed);
    }
    return opened;
}

/* Cut anywhere, and every byte changed: an error, never a crash. */
START_TEST(test_index_hostile) {
    ij_error err = {0};
    ij_feature_index index;
    void *bytes;
    size_t count;
    scratch_begin();
    CHECK_OK(ij_file_read(write_three("three.safetensors", 0, true), 0, &bytes, &count, &err));
    for (size_t length = 0; length < count; length++) {
        void *cut = exact_copy(bytes, length);
        CHECK_FAILS(ij_feature_index_open_memory(cut, length, "cut", &index, &err), IJ_ERROR_FORMAT);
        free(cut);
    }
    ck_assert_int_le(change_each_byte(bytes, count), 16); /* where the checksum's own name is changed there is none */
    char *name = memmem(bytes, count, "ijepa.checksum", 14);
    ck_assert_ptr_nonnull(name);
    *name = 'I'; /* a file without a checksum: what is behind it is met */
    CHECK_OK(ij_feature_index_open_memory(bytes, count, "without", &index, &err));
    ij_feature_index_close(&index);
    int opened = change_each_byte(bytes, count);
    ck_assert(opened > 0 && opened < (int)count);
    free(bytes);
    scratch_end();
}
END_TEST

/* What a file must hold, each thing wrong once, in files without a checksum's help: they are whole. */
START_TEST(test_index_refuses) {
    ij_error err = {0};
    ij_feature_index index;
    const float x[6] = {1, 2, 3, 4, 5, 6};
    const int32_t labels[3] = {0, 1, 0};
    static const struct {
        const char *names;
        int64_t names_bytes, count, dim, labels;
        bool format;
        const char *part;
    } cases[] = {
        {"a\0b\0c\0", 6, 3, 2, 3, true, NULL},         {"a\0b\0c", 5, 3, 2, 3, true, "2 names for 3"},
        {"a\0b\0", 4, 3, 2, 3, true, "2 names for 3"}, {"a\0b\0c\0d", 7, 3, 2, 3, true, "3 names for 3"},
        {"a\0b\0c\0", 6, 3, 2, 2, true, "labels"},     {"a\0b\0c\0", 6, 3, 2, 3, false, "no file of features"},
        {"", 0, 0, 2, 0, true, "needed is F32"},       {"a\0b\0c\0", 6, 3, 0, 3, true, "needed is F32"},
    };
    scratch_begin();
    for (int i = 0; i < IJ_COUNT(cases); i++) {
        ij_safetensors_writer *w;
        const char *path = scratch_path("made.safetensors");
        CHECK_OK(ij_safetensors_begin(path, &w, &err));
        if (cases[i].format) CHECK_OK(ij_safetensors_put(w, "format", "ijepa-features-1", &err));
        CHECK_OK(ij_safetensors_add(w, "features", IJ_SAFETENSORS_F32, 2, (int64_t[]){cases[i].count, cases[i].dim}, x, &err));
        CHECK_OK(ij_safetensors_add(w, "labels", IJ_SAFETENSORS_I32, 1, &cases[i].labels, labels, &err));
        CHECK_OK(ij_safetensors_add(w, "names", IJ_SAFETENSORS_U8, 1, &cases[i].names_bytes, cases[i].names, &err));
        CHECK_OK(ij_safetensors_finish(w, &err));
        ij_status status = ij_feature_index_open(path, &index, &err);
        ck_assert_msg((status == IJ_OK) == !cases[i].part, "case %d: status %d", i, (int)status);
        if (cases[i].part) ck_assert_msg(strstr(err.text, cases[i].part) != NULL, "case %d: %s", i, err.text);
        ij_feature_index_close(&index);
    }
    scratch_end();
}
END_TEST

START_TEST(test_other_formats) {
    ij_error err = {0};
    ij_npy array;
    ij_feature_writer *w;
    void *text;
    size_t bytes;
    scratch_begin();
    CHECK_OK(ij_npy_read(write_three("three.npy", 0, true), &array, &err));
    ck_assert(array.dtype == IJ_NPY_F32 && array.ndim == 2 && array.shape[0] == 3 && array.shape[1] == 2);
    ck_assert(((float *)array.data)[2] == 1 && ((float *)array.data)[5] == 0.1f);
    ij_npy_free(&array);
    CHECK_OK(ij_npy_read(write_three("patches.npy", 3, true), &array, &err));
    ck_assert(array.ndim == 3 && array.shape[0] == 3 && array.shape[1] == 3 && array.shape[2] == 2 && ((float *)array.data)[17] == 6);
    ij_npy_free(&array);
    CHECK_OK(ij_file_read(scratch_path("three.npy.names.txt"), 0, &text, &bytes, &err));
    ck_assert_str_eq(text, "a/x.png\nb/with, \"comma\".png\ny.png\n");
    free(text);
    CHECK_OK(ij_file_read(write_three("three.csv", 0, true), 0, &text, &bytes, &err));
    ck_assert_str_eq(text,
                     "name,label,f0,f1\na/x.png,0,0,0.100000001\n\"b/with, \"\"comma\"\".png\",1,1,0.100000001\ny.png,,2,0.100000001\n");
    free(text);
    ij_feature_file_desc desc = {.dim = 2, .patches = 3};
    CHECK_FAILS(ij_feature_writer_begin(scratch_path("x.csv"), &desc, &w, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(ij_feature_writer_begin(scratch_path("x.txt"), &desc, &w, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(ij_feature_writer_begin(scratch_path("no/x.npy"), &desc, &w, &err), IJ_ERROR_FILE);
    scratch_end();
}
END_TEST

/* ---- the whole ---- */

static ij_status embed(const char *const *data, int count, ij_embed_data_options options, watch *w, ij_embed_data_result *r,
                       ij_error *err) {
    options.device = (gpu_device_desc){.select = getenv("IJEPA_DEVICE")};
    options.batch = options.batch ? options.batch : 3;
    options.progress = on_progress, options.stop = must_stop, options.on_damaged = on_damaged, options.user = w;
    return ij_embed_data(scratch_path("run.safetensors"), data, count, &options, r, err);
}

START_TEST(test_embed_folder) {
    ij_error err = {0};
    ij_embed_data_result r;
    ij_feature_index index, other;
    watch w = {0};
    char marks[2][IJ_MODEL_MARK], data[600], out[600];
    scratch_begin();
    write_folder();
    write_checkpoint(scratch_path("run.safetensors"), marks[0], marks[1]);
    scratch_write("data/b/broken.png", "no picture", 10);
    snprintf(data, sizeof data, "%s/data", scratch_folder);
    snprintf(out, sizeof out, "%s/out.safetensors", scratch_folder);
    const char *const folder[] = {data};
    CHECK_OK(embed(folder, 1, (ij_embed_data_options){.out = out}, &w, &r, &err));
    ck_assert(r.count == FILES && r.damaged == 1 && w.damaged == 1 && r.dim == DIM && r.patches == 1 && r.height == 16 && r.width == 16);
    if (gpu_device_info(test_device)->tick_ns > 0) ck_assert_msg(r.busy > 0 && r.busy <= 1.05, "busy %g of the time", r.busy);
    CHECK_OK(ij_feature_index_open(out, &index, &err));
    ck_assert(index.count == FILES && index.labels[0] == 0 && index.labels[FILES - 1] == 1);
    ck_assert_str_eq(index.model, marks[0]);
    ck_assert_str_eq(r.mark, marks[0]);
    ck_assert_str_eq(index.names[0], "a/00.png");
    ck_assert_str_eq(index.names[FILES - 1], "b/10.png");
    ck_assert_str_eq(index.data, data);
    /* What `ijepa_model_encode_file` gives, in f32 on every device. */
    ijepa_error error;
    ijepa_model *model;
    ijepa_model_options model_options = {.device = {.device = getenv("IJEPA_DEVICE")}, .batch = 1};
    ck_assert_int_eq(ijepa_model_open_with(scratch_path("run.safetensors"), &model_options, &model, &error), IJEPA_OK);
    CHECK_OK(embed(folder, 1, (ij_embed_data_options){.out = out, .precision = IJ_PRECISION_F32}, &w, &r, &err));
    ij_feature_index_close(&index);
    CHECK_OK(ij_feature_index_open(out, &index, &err));
    for (int i = 0; i < FILES; i += 5) {
        float single[DIM];
        char path[1200];
        snprintf(path, sizeof path, "%s/%s", data, index.names[i]);
        ck_assert_int_eq(ijepa_model_encode_file(model, path, true, single, &error), IJEPA_OK);
        ck_assert_mem_eq(single, index.x + i * DIM, sizeof single);
    }
    ijepa_model_close(model);
    CHECK_OK(embed(folder, 1, (ij_embed_data_options){.out = out, .context = true, .output = IJ_EMBED_LAST4}, &w, &r, &err));
    CHECK_OK(ij_feature_index_open(out, &other, &err));
    ck_assert_str_eq(other.model, marks[1]);
    ck_assert_str_eq(other.layers, "last4");
    ck_assert_int_eq(other.dim, 4 * DIM);
    ck_assert_mem_ne(other.x + 3 * DIM, index.x, DIM * sizeof *index.x);
    ij_feature_index_close(&index), ij_feature_index_close(&other);
    scratch_end();
}
END_TEST

START_TEST(test_embed_refuses_and_stops) {
    ij_error err = {0};
    ij_embed_data_result r;
    watch w = {0};
    char marks[2][IJ_MODEL_MARK], data[600], picture[600], other[600], out[600], left[600];
    scratch_begin();
    write_folder();
    write_checkpoint(scratch_path("run.safetensors"), marks[0], marks[1]);
    ck_assert_int_eq(mkdir(scratch_path("out"), 0777), 0);
    snprintf(data, sizeof data, "%s/data", scratch_folder);
    snprintf(picture, sizeof picture, "%s/data/a/01.png", scratch_folder);
    snprintf(other, sizeof other, "%s/data/b/09.png", scratch_folder);
    snprintf(out, sizeof out, "%s/out/x.npy", scratch_folder);
    const char *const mixed[] = {picture, data}, *const two[] = {other, picture}, *const folder[] = {data}, *const none[] = {"/nowhere"};
    CHECK_FAILS(embed(mixed, 2, (ij_embed_data_options){.out = out}, &w, &r, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(embed(none, 1, (ij_embed_data_options){.out = out}, &w, &r, &err), IJ_ERROR_FILE);
    CHECK_FAILS(embed(folder, 1, (ij_embed_data_options){.out = out, .height = 18}, &w, &r, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(embed(folder, 1, (ij_embed_data_options){.out = "x.bin"}, &w, &r, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(embed(folder, 1, (ij_embed_data_options){.out = out, .batch = 5000}, &w, &r, &err), IJ_ERROR_ARGUMENT);
    for (int format = 0; format < 2; format++) { /* one batch, then stopped: nothing is left */
        snprintf(out, sizeof out, "%s/out/x.%s", scratch_folder, format ? "npy" : "safetensors");
        w = (watch){.stop_after = 1};
        CHECK_FAILS(embed(folder, 1, (ij_embed_data_options){.out = out}, &w, &r, &err), IJ_ERROR_STOPPED);
        ck_assert_int_eq(rmdir(scratch_path("out")), 0);
        ck_assert_int_eq(mkdir(scratch_path("out"), 0777), 0);
    }
    /* Single pictures, in the order given. */
    ij_feature_index index;
    snprintf(out, sizeof out, "%s/out/x.safetensors", scratch_folder);
    w = (watch){0};
    CHECK_OK(embed(two, 2, (ij_embed_data_options){.out = out, .height = 8, .width = 20}, &w, &r, &err));
    ck_assert(r.count == 2 && r.height == 8 && r.width == 20);
    only_file_of(scratch_path("out"), left);
    CHECK_OK(ij_feature_index_open(left, &index, &err));
    ck_assert_str_eq(index.names[0], other);
    ck_assert(!index.labels && index.height == 8 && index.width == 20);
    ij_feature_index_close(&index);
    scratch_end();
}
END_TEST

Suite *embed_suite(void) {
    Suite *suite = suite_create("embed");
    TCase *host = tcase_create("files");
    tcase_add_test(host, test_index);
    tcase_add_test(host, test_index_hostile);
    tcase_add_test(host, test_index_refuses);
    tcase_add_test(host, test_other_formats);
    suite_add_tcase(suite, host);
    TCase *on_device = tcase_create("device");
    tcase_add_unchecked_fixture(on_device, open_test_device, close_test_device);
    tcase_set_timeout(on_device, 0);
    tcase_add_test(on_device, test_reference);
    tcase_add_test(on_device, test_reference_16_bits);
    tcase_add_test(on_device, test_outputs_agree);
    tcase_add_test(on_device, test_batches_do_not_matter);
    tcase_add_test(on_device, test_embedder_refuses);
    tcase_add_test(on_device, test_one_encoder_of_a_checkpoint);
    tcase_add_test(on_device, test_checkpoint_keeps_stored_positions);
    tcase_add_test(on_device, test_cache_hits);
    tcase_add_test(on_device, test_cache_misses);
    tcase_add_test(on_device, test_cache_repairs);
    tcase_add_test(on_device, test_embed_folder);
    tcase_add_test(on_device, test_embed_refuses_and_stops);
    suite_add_tcase(suite, on_device);
    return suite;
}
