/* The step as a whole: batch invariance, small and odd grids, schedules, configuration. */
#include "suites.h"
#include "base/memory.h"
#include "model/jepa.h"
#include "ops/layernorm.h"
#include "philox.h"
#include "train/config.h"
#include "train/schedule.h"

#include <math.h>
#include <string.h>

/* A step whose patch rows and masks the test writes: image i of the batch is picture `pictures[i]`, the same content wherever it stands. */
typedef struct step {
    ij_jepa_desc desc;
    ij_weights *weights;
    ij_jepa *jepa;
    uint32_t *ctx_offsets, *tgt_offsets;
    float *gradients;                     /* all parameters, one after the other */
    float *token_gradients, *predictions; /* [context rows, dim], [target rows, target dim] */
    float *targets;                       /* [target rows, target dim] */
    float *rows;                          /* [batch patches, patch dim] as given */
} step;

static void fill_rows(step *s, const int *pictures) {
    ij_error err = {0};
    int64_t per_image = (int64_t)ij_patches(&s->desc.model) * ij_patch_dim(&s->desc.model);
    bool half = s->desc.element != GPU_WORD;
    uint64_t size = half ? 2 : 4;
    float *rows;
    uint16_t *halves;
    ck_assert(ij_patch_dim(&s->desc.model) % 8 == 0); /* rows without padding */
    CHECK_OK(ij_alloc(&rows, per_image, 4, "rows", &err));
    CHECK_OK(ij_alloc(&halves, per_image, 2, "rows", &err));
    CHECK_OK(ij_alloc(&s->rows, s->desc.batch * per_image, 4, "rows", &err));
    for (int i = 0; i < s->desc.batch; i++) {
        for (int64_t e = 0; e < per_image; e++) {
            philox_words w = philox(11, 0, PHILOX_STREAM_TEST, (uint32_t)e, 0, (uint32_t)pictures[i]);
            rows[e] = 4 * philox_unit(w.x) - 2;
            halves[e] = op_encode(half ? op_dtype_of(s->desc.element) : OP_F16, (double)rows[e]);
        }
        memcpy(s->rows + i * per_image, rows, 4 * (size_t)per_image);
        CHECK_OK(gpu_write(test_device, s->jepa->rows, size * (uint64_t)(i * per_image), half ? (void *)halves : (void *)rows,
                           size * (uint64_t)per_image, &err));
        if (half && s->jepa->pixel_rows.arena)
            CHECK_OK(gpu_write(test_device, s->jepa->pixel_rows, 4 * (uint64_t)(i * per_image), rows, 4 * (uint64_t)per_image, &err));
    }
    free(rows), free(halves);
}

/* only_first: images after the first have a context but no targets, so they add nothing to the loss. */
static void fill_masks(step *s, const int *pictures, bool only_first) {
    ij_error err = {0};
    int64_t batch = s->desc.batch, patches = ij_patches(&s->desc.model), blocks = s->desc.masks.blocks;
    uint32_t table[MASKS_TABLE_WORDS];
    uint8_t *context, *targets;
    masks_lists l;
    struct masks_params params = {5, 0, 1, 0};
    masks_table(&s->desc.masks, table);
    CHECK_OK(ij_alloc(&context, batch * patches, 1, "masks", &err));
    CHECK_OK(ij_alloc(&targets, batch * blocks * patches, 1, "masks", &err));
    for (int64_t i = 0; i < batch; i++) {
        ref_masks_image(&s->desc.masks, table, &params, (uint32_t)pictures[i], context + i * patches, targets + i * blocks * patches);
        if (only_first && i > 0) memset(targets + i * blocks * patches, 0, (size_t)(blocks * patches));
    }
    const masks_limits *lim = &s->jepa->limits;
    uint32_t **lists[] = {&l.ctx_offsets, &l.ctx_rows, &l.tgt_offsets, &l.tgt_rows, &l.pred_offsets, &l.pred_src};
    const int64_t counts[] = {batch + 1, lim->context_rows, batch * blocks + 1, lim->target_rows, batch * blocks + 1, lim->pred_rows};
    for (int i = 0; i < 6; i++) CHECK_OK(ij_alloc(lists[i], counts[i], 4, "lists", &err));
    ref_masks_lists(&s->desc.masks, context, targets, batch, false, &l);
    const masks_tensors *t = &s->jepa->masks;
    const gpu_tensor to[] = {t->ctx_offsets, t->ctx_rows, t->tgt_offsets, t->tgt_rows, t->pred_offsets, t->pred_src};
    for (int i = 0; i < 6; i++) CHECK_OK(gpu_write(test_device, to[i], 0, *lists[i], 4 * (uint64_t)counts[i], &err));
    s->ctx_offsets = l.ctx_offsets;
    s->tgt_offsets = l.tgt_offsets;
    free(l.ctx_rows), free(l.tgt_rows), free(l.pred_offsets), free(l.pred_src);
    free(context), free(targets);
}

static void read_results(step *s) {
    ij_error err = {0};
    const ij_param_table *table = &s->weights->table;
    int64_t dim = s->desc.model.dim, batch = s->desc.batch, at = 0;
    CHECK_OK(ij_alloc(&s->gradients, table->elements, 4, "gradients", &err));
    for (int i = 0; i < table->count; i++) {
        CHECK_OK(ij_weights_read(s->weights, IJ_SLOT_GRADIENT, i, s->gradients + at, &err));
        at += table->params[i].count;
    }
    int64_t context = s->ctx_offsets[batch], target = s->tgt_offsets[batch * s->desc.masks.blocks];
    CHECK_OK(ij_alloc(&s->token_gradients, context * dim, 4, "gradients", &err));
    int64_t width = ij_target_dim(&s->desc.model);
    CHECK_OK(ij_alloc(&s->predictions, target * width, 4, "predictions", &err));
    CHECK_OK(ij_alloc(&s->targets, target * width, 4, "targets", &err));
    CHECK_OK(gpu_read(test_device, s->jepa->context_scratch.dx, 0, s->token_gradients, 4 * (uint64_t)(context * dim), &err));
    CHECK_OK(gpu_read(test_device, s->jepa->predictions, 0, s->predictions, 4 * (uint64_t)(target * width), &err));
    CHECK_OK(gpu_read(test_device, s->jepa->targets, 0, s->targets, 4 * (uint64_t)(target * width), &err));
}

static const gpu_element elements[] = {GPU_WORD, GPU_F16, GPU_BF16};

/* As released; pixels as targets; blocks masked at the target encoder's input. */
typedef enum variation { RELEASED, PIXELS, INPUT, VARIATIONS } variation;

static void run_step(step *s, const int *pictures, int count, bool only_first, gpu_element element, variation mode) {
    ij_error err = {0};
    memset(s, 0, sizeof *s);
    s->desc = (ij_jepa_desc){.model = {.image_height = 24,
                                       .image_width = 32,
                                       .patch_size = 4,
                                       .channels = 1,
                                       .dim = 24,
                                       .depth = 2,
                                       .heads = 3,
                                       .hidden = 52,
                                       .pred_dim = 12,
                                       .pred_depth = 2,
                                       .pred_heads = 1,
                                       .pred_hidden = 20,
                                       .norm_eps = 1e-6f,
                                       .targets = mode == PIXELS ? IJ_TARGETS_PIXELS : IJ_TARGETS_LATENT,
                                       .target_mask = mode == INPUT ? IJ_TARGET_MASK_INPUT : IJ_TARGET_MASK_OUTPUT},
                             .masks = {.mode = MASKS_MULTIBLOCK, .grid_h = 6, .grid_w = 8},
                             .batch = count,
                             .element = element,
                             .loss = LOSS_SMOOTH_L1,
                             .loss_divisor = 1000};
    masks_defaults(&s->desc.masks);
    CHECK_OK(ij_weights_create(test_device, &s->desc.model, IJ_KEEP_TRAINING, &s->weights, &err));
    CHECK_OK(ij_jepa_plan(test_device, &s->desc, s->weights, &s->jepa, &err));
    CHECK_OK(ij_weights_commit(s->weights, &err));
    CHECK_OK(ij_jepa_build(s->jepa, &err));
    CHECK_OK(ij_weights_initialise(s->weights, 3, &err));
    fill_rows(s, pictures);
    fill_masks(s, pictures, only_first);
    CHECK_OK(ij_jepa_pass(s->jepa, 0, &(ij_step_scalars){.lr = 1e-3, .momentum = 0.996}, NULL, NULL, 0, &err));
    CHECK_OK(gpu_wait_all(test_device, &err));
    read_results(s);
}

static void free_step(step *s) {
    ij_jepa_destroy(s->jepa);
    ij_weights_destroy(s->weights);
    free(s->ctx_offsets), free(s->tgt_offsets), free(s->gradients), free(s->token_gradients), free(s->predictions);
    free(s->targets), free(s->rows);
}

/* Picture 0 among others. */
static void pictures_with_first_at(int *pictures, int count, int place) {
    for (int i = 0; i < count; i++) pictures[i] = 100 + i;
    pictures[place] = 0;
}

static double largest(const float *values, int64_t count) {
    double most = 0;
    for (int64_t i = 0; i < count; i++) most = fmax(most, fabs((double)values[i]));
    return most;
}

/* Targets and predictions of an image, and the loss's gradient at each of its tokens: the same bits alone, among 7, among 32, at any
 * place. */
START_TEST(test_an_image_does_not_see_its_batch) {
    static const int counts[] = {7, 7, 32, 32}, places[] = {0, 4, 17, 31};
    int pictures[32] = {0}, turn = _i % IJ_COUNT(counts);
    gpu_element element = elements[_i / IJ_COUNT(counts) % IJ_COUNT(elements)];
    variation mode = (variation)(_i / IJ_COUNT(counts) / IJ_COUNT(elements));
    step alone, batch;
    run_step(&alone, pictures, 1, false, element, mode);
    int64_t dim = alone.desc.model.dim, width = ij_target_dim(&alone.desc.model), blocks = alone.desc.masks.blocks;
    size_t context_bytes = 4 * (size_t)(alone.ctx_offsets[1] * dim), target_bytes = 4 * (size_t)(alone.tgt_offsets[blocks] * width);
    ck_assert(largest(alone.token_gradients, alone.ctx_offsets[1] * dim) > 0);
    ck_assert(largest(alone.targets, alone.tgt_offsets[blocks] * width) > 0);
    pictures_with_first_at(pictures, counts[turn], places[turn]);
    run_step(&batch, pictures, counts[turn], false, element, mode);
    int64_t place = batch.tgt_offsets[places[turn] * blocks] * width;
    ck_assert(memcmp(batch.token_gradients + batch.ctx_offsets[places[turn]] * dim, alone.token_gradients, context_bytes) == 0);
    ck_assert(memcmp(batch.predictions + place, alone.predictions, target_bytes) == 0);
    ck_assert(memcmp(batch.targets + place, alone.targets, target_bytes) == 0);
    /* The comparison can fail: a neighbour's are others. */
    int other = places[turn] == 0 ? 1 : places[turn] - 1;
    ck_assert(memcmp(batch.token_gradients + batch.ctx_offsets[other] * dim, alone.token_gradients, 4 * (size_t)dim) != 0);
    free_step(&alone);
    free_step(&batch);
}
END_TEST

/* Its parameter gradients: the same bits whatever follows it in the accumulation. */
START_TEST(test_a_gradient_does_not_see_what_follows) {
    static const int counts[] = {7, 32};
    int pictures[32] = {0}, count = counts[_i % IJ_COUNT(counts)];
    gpu_element element = elements[_i / IJ_COUNT(counts) % IJ_COUNT(elements)];
    variation mode = (variation)(_i / IJ_COUNT(counts) / IJ_COUNT(elements));
    step alone, batch;
    run_step(&alone, pictures, 1, true, element, mode);
    pictures_with_first_at(pictures, count, 0);
    run_step(&batch, pictures, count, true, element, mode);
    const ij_param_table *table = &alone.weights->table;
    int64_t at = 0;
    for (int i = 0; i < table->count; i++) {
        const ij_param *p = &table->params[i];
        for (int64_t e = 0; e < p->count; e++) /* -0 and 0 are the same number */
            ck_assert_msg(alone.gradients[at + e] == batch.gradients[at + e], "%s[%lld]: %.9g alone, %.9g among %d", p->name, (long long)e,
                          (double)alone.gradients[at + e], (double)batch.gradients[at + e], count);
        at += p->count;
    }
    ck_assert(largest(alone.gradients, table->elements) > 0);
    free_step(&alone);
    free_step(&batch);
}
END_TEST

/* ---- what a step computes, against its definition ---- */

/* The step's loss in double, from the targets and predictions on the device after one more pass. */
static double loss_of(step *s) {
    ij_error err = {0};
    int64_t count = s->tgt_offsets[s->desc.batch * s->desc.masks.blocks] * (int64_t)ij_target_dim(&s->desc.model);
    double sum = 0;
    CHECK_OK(ij_jepa_pass(s->jepa, 0, &(ij_step_scalars){.lr = 1e-3, .momentum = 0.996}, NULL, NULL, 0, &err));
    CHECK_OK(gpu_wait_all(test_device, &err));
    CHECK_OK(gpu_read(test_device, s->jepa->predictions, 0, s->predictions, 4 * (uint64_t)count, &err));
    for (int64_t i = 0; i < count; i++) {
        double d = fabs((double)s->predictions[i] - (double)s->targets[i]);
        sum += d < 1 ? 0.5 * d * d : d - 0.5;
    }
    return sum / s->desc.loss_divisor;
}

/* (loss(w + h d) - loss(w - h d)) / 2h of one parameter, and what the gradient says: g . d. */
static void slopes(step *s, int index, const float *weights, const float *gradient, const double *direction, double *measured,
                   double *claimed) {
    ij_error err = {0};
    const ij_param *p = &s->weights->table.params[index];
    const double h = 1.0 / 128;
    double loss[2];
    float *moved;
    CHECK_OK(ij_alloc(&moved, p->count, 4, "weights", &err));
    *claimed = 0;
    for (int side = 0; side < 2; side++) {
        for (int64_t e = 0; e < p->count; e++) moved[e] = (float)((double)weights[e] + (side ? -h : h) * direction[e]);
        CHECK_OK(ij_weights_write(s->weights, IJ_SLOT_WEIGHT, index, moved, &err));
        loss[side] = loss_of(s);
    }
    CHECK_OK(ij_weights_write(s->weights, IJ_SLOT_WEIGHT, index, weights, &err));
    for (int64_t e = 0; e < p->count; e++) *claimed += (double)gradient[e] * direction[e];
    *measured = (loss[0] - loss[1]) / (2 * h);
    free(moved);
}

/* Every parameter's gradient against central differences of the loss, in f32: along the gradient itself, which fails where it is too
 * long or too short, and along a random direction, which fails where it has a part that it should not have. What f32 forward passes
 * leave of a difference of losses is 1e-4 of a gradient's length here. */
START_TEST(test_gradients_are_slopes) {
    ij_error err = {0};
    const int pictures[3] = {0, 1, 2};
    variation mode = (variation)_i;
    step s;
    run_step(&s, pictures, 3, false, GPU_WORD, mode);
    const ij_param_table *table = &s.weights->table;
    double longest = 0;
    int64_t at = 0;
    for (int i = 0; i < table->count; at += table->params[i++].count) {
        const ij_param *p = &table->params[i];
        double *direction, length = 0;
        float *weights;
        CHECK_OK(ij_alloc(&direction, p->count, sizeof *direction, "direction", &err));
        CHECK_OK(ij_alloc(&weights, p->count, 4, "weights", &err));
        CHECK_OK(ij_weights_read(s.weights, IJ_SLOT_WEIGHT, i, weights, &err));
        for (int64_t e = 0; e < p->count; e++) length += (double)s.gradients[at + e] * (double)s.gradients[at + e];
        length = sqrt(length);
        longest = fmax(longest, length);
        for (int turn = 0; turn < 2; turn++) {
            double measured, claimed;
            for (int64_t e = 0; e < p->count; e++) {
                philox_words w = philox(12, 0, PHILOX_STREAM_TEST, (uint32_t)e, 0, (uint32_t)i);
                direction[e] = turn ? (double)(w.x & 1) * 2 - 1 : (double)s.gradients[at + e] / fmax(length, 1e-30);
                if (turn) direction[e] /= sqrt((double)p->count);
            }
            slopes(&s, i, weights, s.gradients + at, direction, &measured, &claimed);
            ck_assert_msg(fabs(measured - claimed) <= 1e-3 * fmax(length, 1e-3), "%s%s: the loss's slope is %.6g, its gradient says %.6g",
                          p->predictor ? "predictor." : "", p->name, measured, claimed);
        }
        free(direction), free(weights);
    }
    ck_assert_msg(longest > 0.1, "longest gradient %g", longest);
    free_step(&s);
}
END_TEST

/* Pixels: the target of a row is its patch, less its mean, over its deviation; in 16-bit steps too it comes from the f32 pixels. */
START_TEST(test_pixel_targets) {
    ij_error err = {0};
    const int pictures[3] = {5, 6, 7};
    step s;
    run_step(&s, pictures, 3, false, elements[_i], PIXELS);
    int64_t width = ij_patch_dim(&s.desc.model), count = s.tgt_offsets[3 * s.desc.masks.blocks];
    uint32_t *place;
    CHECK_OK(ij_alloc(&place, count, 4, "rows", &err));
    CHECK_OK(gpu_read(test_device, s.jepa->masks.tgt_rows, 0, place, 4 * (uint64_t)count, &err));
    for (int64_t r = 0; r < count; r++) {
        const float *patch = s.rows + place[r] * width;
        double mean = 0, variance = 0;
        for (int64_t d = 0; d < width; d++) mean += (double)patch[d] / (double)width;
        for (int64_t d = 0; d < width; d++) variance += pow((double)patch[d] - mean, 2) / (double)width;
        for (int64_t d = 0; d < width; d++)
            ck_assert_double_eq_tol((double)s.targets[r * width + d], ((double)patch[d] - mean) / sqrt(variance + 1e-6), 1e-5);
    }
    ck_assert_ptr_null(s.jepa->target_saved.blocks); /* no target encoder's pass is even planned */
    free(place);
    free_step(&s);
}
END_TEST

/* Masked at the input: the target encoder sees a block as the context encoder would see a context of these patches. Both hold the same
 * weights in the beginning, so a context that is the first block gets the first block's targets, bit for bit. */
START_TEST(test_masked_input_sees_its_block_only) {
    ij_error err = {0};
    const int pictures[2] = {8, 9};
    step s;
    run_step(&s, pictures, 2, false, GPU_WORD, INPUT);
    int64_t dim = s.desc.model.dim, block = s.tgt_offsets[1];
    uint32_t *place, offsets[3] = {0, (uint32_t)block, (uint32_t)block + 1};
    float *features, *block_features;
    CHECK_OK(ij_alloc(&place, block + 1, 4, "rows", &err));
    CHECK_OK(ij_alloc(&features, block * dim, 4, "features", &err));
    CHECK_OK(ij_alloc(&block_features, block * dim, 4, "features", &err));
    CHECK_OK(gpu_read(test_device, s.jepa->masks.tgt_rows, 0, place, 4 * (uint64_t)block, &err));
    place[block] = (uint32_t)ij_patches(&s.desc.model); /* the second image's context: its first patch */
    CHECK_OK(gpu_write(test_device, s.jepa->masks.ctx_offsets, 0, offsets, sizeof offsets, &err));
    CHECK_OK(gpu_write(test_device, s.jepa->masks.ctx_rows, 0, place, 4 * (uint64_t)block + 4, &err));
    CHECK_OK(ij_jepa_pass(s.jepa, 0, &(ij_step_scalars){.lr = 1e-3, .momentum = 0.996}, NULL, NULL, 0, &err));
    CHECK_OK(gpu_wait_all(test_device, &err));
    CHECK_OK(gpu_read(test_device, s.jepa->context_saved.y, 0, features, 4 * (uint64_t)(block * dim), &err));
    CHECK_OK(gpu_read(test_device, s.jepa->target_saved.y, 0, block_features, 4 * (uint64_t)(block * dim), &err));
    ck_assert(memcmp(features, block_features, 4 * (size_t)(block * dim)) == 0);
    ck_assert(largest(features, block * dim) > 0.1);
    double *x, *y;
    CHECK_OK(ij_alloc(&x, block * dim, sizeof *x, "features", &err));
    CHECK_OK(ij_alloc(&y, block * dim, sizeof *y, "targets", &err));
    for (int64_t e = 0; e < block * dim; e++) x[e] = (double)features[e];
    ref_layernorm(x, NULL, NULL, NULL, y, NULL, NULL, block, dim, 1e-5);
    for (int64_t e = 0; e < block * dim; e++) ck_assert_double_eq_tol((double)s.targets[e], y[e], 1e-4);
    free(x), free(y), free(place), free(features), free(block_features);
    free_step(&s);
}
END_TEST

/* Whole steps, masks drawn on the device, on every grid from 2 x 2 up: they end, and their numbers are finite. */
START_TEST(test_small_grids) {
    static const int grids[][2] = {{2, 2}, {2, 3}, {3, 2}, {3, 3}, {4, 4}, {2, 7}, {5, 5}, {6, 6}, {7, 7}, {8, 8}};
    static const masks_mode modes[] = {MASKS_MULTIBLOCK, MASKS_OFFICIAL, MASKS_RANDOM, MASKS_BLOCK, MASKS_RASTERIZED};
    ij_error err = {0};
    int height = grids[_i][0], width = grids[_i][1], ran = 0;
    for (int m = 0; m < IJ_COUNT(modes) * VARIATIONS; m++) {
        variation mode = (variation)(m / IJ_COUNT(modes));
        ij_jepa_desc desc = {.model = {.image_height = 4 * height,
                                       .image_width = 4 * width,
                                       .patch_size = 4,
                                       .channels = 3,
                                       .dim = 16,
                                       .depth = 1,
                                       .heads = 2,
                                       .hidden = 32,
                                       .pred_dim = 8,
                                       .pred_depth = 1,
                                       .pred_heads = 1,
                                       .pred_hidden = 16,
                                       .norm_eps = 1e-6f,
                                       .targets = mode == PIXELS ? IJ_TARGETS_PIXELS : IJ_TARGETS_LATENT,
                                       .target_mask = mode == INPUT ? IJ_TARGET_MASK_INPUT : IJ_TARGET_MASK_OUTPUT},
                             .masks = {.mode = modes[m % IJ_COUNT(modes)], .grid_h = height, .grid_w = width},
                             .batch = 3,
                             .mean = {0.5f, 0.5f, 0.5f},
                             .std = {0.5f, 0.5f, 0.5f},
                             .pixel_bytes = 3 * 4096};
        masks_defaults(&desc.masks);
        if (masks_check(&desc.masks, &err) != IJ_OK) continue; /* a geometry that cannot work is refused in words */
        ij_weights *weights;
        ij_jepa *jepa;
        ij_jepa_image images[3];
        uint8_t pixels[3 * 4096];
        for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 2654435761u >> 13);
        for (int i = 0; i < 3; i++)
            images[i] = (ij_jepa_image){
                .offset = (uint64_t)i * 4096, .width = 30, .height = 40, .channels = 3, .crop_w = 30, .crop_h = 40, .sample = (uint32_t)i};
        CHECK_OK(ij_weights_create(test_device, &desc.model, IJ_KEEP_TRAINING, &weights, &err));
        CHECK_OK(ij_jepa_plan(test_device, &desc, weights, &jepa, &err));
        CHECK_OK(ij_weights_commit(weights, &err));
        CHECK_OK(ij_jepa_build(jepa, &err));
        CHECK_OK(ij_weights_initialise(weights, 3, &err));
        for (int t = 0; t < 3; t++) {
            ij_step_result result;
            ij_step_scalars scalars = {.seed = 1, .step = (uint64_t)t, .lr = 1e-3, .momentum = 0.99, .weight_decay = 0.04};
            CHECK_OK(ij_jepa_pass(jepa, t % 2, &scalars, images, pixels, sizeof pixels, &err));
            CHECK_OK(ij_jepa_update(jepa, t % 2, &err));
            CHECK_OK(ij_jepa_result(jepa, t % 2, &result, &err));
            ck_assert_msg(result.finite && result.loss > 0 && result.context_rows >= 1 && result.target_rows >= 1,
                          "%d x %d, %s: loss %g, context %g, targets %g", height, width, masks_mode_name(modes[m % IJ_COUNT(modes)]),
                          result.loss, result.context_rows, result.target_rows);
        }
        ij_jepa_destroy(jepa);
        ij_weights_destroy(weights);
        ran++;
    }
    ck_assert_msg(ran >= 1, "no mask mode accepts %d x %d", height, width);
}
END_TEST

/* A step whose gradients are not finite changes no weight and says so; the next good one trains. */
START_TEST(test_not_finite_changes_nothing) {
    ij_error err = {0};
    int pictures[2] = {0, 1};
    step s;
    run_step(&s, pictures, 2, false, elements[_i % IJ_COUNT(elements)], (variation)(_i / IJ_COUNT(elements)));
    int index = ij_param_find(&s.weights->table, false, "blocks.0.mlp.fc1.weight");
    int64_t count = s.weights->table.params[index].count;
    float *before, *after, poison = NAN;
    ij_step_result result;
    CHECK_OK(ij_alloc(&before, count, 4, "weights", &err));
    CHECK_OK(ij_alloc(&after, count, 4, "weights", &err));
    CHECK_OK(ij_weights_read(s.weights, IJ_SLOT_WEIGHT, index, before, &err));
    CHECK_OK(gpu_write(test_device, s.weights->tensors[IJ_SLOT_GRADIENT][0], 0, &poison, 4, &err));
    CHECK_OK(ij_jepa_update(s.jepa, 0, &err));
    CHECK_OK(ij_jepa_result(s.jepa, 0, &result, &err));
    ck_assert(!result.finite);
    ck_assert_double_eq(result.loss_scale, elements[_i % IJ_COUNT(elements)] == GPU_F16 ? (double)OP_SCALE_START / 2 : 1);
    CHECK_OK(ij_weights_read(s.weights, IJ_SLOT_WEIGHT, index, after, &err));
    ck_assert(memcmp(before, after, 4 * (size_t)count) == 0);
    CHECK_OK(ij_jepa_pass(s.jepa, 1, &(ij_step_scalars){.step = 1, .lr = 1e-3, .momentum = 0.996}, NULL, NULL, 0, &err));
    CHECK_OK(ij_jepa_update(s.jepa, 1, &err));
    CHECK_OK(ij_jepa_result(s.jepa, 1, &result, &err));
    ck_assert(result.finite);
    CHECK_OK(ij_weights_read(s.weights, IJ_SLOT_WEIGHT, index, after, &err));
    ck_assert(memcmp(before, after, 4 * (size_t)count) != 0);
    free(before), free(after);
    free_step(&s);
}
END_TEST

/* ---- without a device ---- */

/* Values of the released schedules, worked out by hand from their definition. */
START_TEST(test_schedules) {
    ij_schedule s = {.start_lr = 2e-4,
                     .lr = 1e-3,
                     .final_lr = 1e-6,
                     .warmup_epochs = 2,
                     .weight_decay = 0.04,
                     .final_weight_decay = 0.4,
                     .ema = 0.996,
                     .final_ema = 1.0,
                     .ipe_scale = 1.0,
                     .epochs = 10,
                     .steps_per_epoch = 10};
    const double pi = 3.14159265358979323846;
    ck_assert_double_eq_tol(ij_schedule_lr(&s, 0), 2e-4 + 8e-4 / 20, 1e-15); /* the first step has one increment already */
    ck_assert_double_eq_tol(ij_schedule_lr(&s, 18), 2e-4 + 19 * 8e-4 / 20, 1e-15);
    ck_assert_double_eq_tol(ij_schedule_lr(&s, 19), 1e-3, 1e-15);                       /* warm-up is over */
    ck_assert_double_eq_tol(ij_schedule_lr(&s, 59), 1e-6 + (1e-3 - 1e-6) * 0.5, 1e-12); /* half of the cosine */
    ck_assert_double_eq_tol(ij_schedule_lr(&s, 99), 1e-6, 1e-15);
    ck_assert_double_eq_tol(ij_schedule_weight_decay(&s, 0), 0.4 - 0.36 * 0.5 * (1 + cos(pi / 100)), 1e-12);
    ck_assert_double_eq_tol(ij_schedule_weight_decay(&s, 49), 0.22, 1e-12);
    ck_assert_double_eq_tol(ij_schedule_weight_decay(&s, 99), 0.4, 1e-12);
    ck_assert_double_eq_tol(ij_schedule_momentum(&s, 0), 0.996, 1e-15);
    ck_assert_double_eq_tol(ij_schedule_momentum(&s, 50), 0.998, 1e-12);
    s.ipe_scale = 1.25; /* stretches all three: they end early */
    ck_assert_double_eq_tol(ij_schedule_momentum(&s, 100), 0.996 + 0.004 * 100 / 125, 1e-12);
    ck_assert(ij_schedule_lr(&s, 99) > 1e-5);
}
END_TEST

static const char *const released =
    "data:\n  batch_size: 128\n  color_jitter_strength: 0.0\n  crop_scale:\n  - 0.3\n  - 1.0\n  crop_size: 224\n  image_folder: imagenet/\n"
    "  num_workers: 10\n  pin_mem: true\n  root_path: /data/\n  use_color_distortion: false\n  use_gaussian_blur: false\n"
    "  use_horizontal_flip: false\nlogging:\n  folder: /logs/\n  write_tag: jepa\nmask:\n  allow_overlap: false\n  aspect_ratio:\n  - "
    "0.75\n"
    "  - 1.5\n  enc_mask_scale:\n  - 0.85\n  - 1.0\n  min_keep: 10\n  num_enc_masks: 1\n  num_pred_masks: 4\n  patch_size: 14\n"
    "  pred_mask_scale:\n  - 0.15\n  - 0.2\nmeta:\n  copy_data: false\n  load_checkpoint: false\n  model_name: vit_huge\n  pred_depth: 12\n"
    "  pred_emb_dim: 384\n  read_checkpoint: null\n  use_bfloat16: true\noptimization:\n  ema:\n  - 0.996\n  - 1.0\n  epochs: 300\n"
    "  final_lr: 1.0e-06\n  final_weight_decay: 0.4\n  ipe_scale: 1.0\n  lr: 0.001\n  start_lr: 0.0002\n  warmup: 40\n  weight_decay: "
    "0.04\n";

static ij_status read_config(const char *yaml, const char *set, ij_train_config *config, char *notes, size_t notes_bytes, ij_error *err) {
    ij_config_text text = {0};
    ij_train_config_defaults(config);
    ij_status status = ij_config_text_load_memory(&text, yaml, strlen(yaml), "recipe.yaml", err);
    if (status == IJ_OK && set) status = ij_config_text_override(&text, set, err);
    if (status == IJ_OK) status = ij_train_config_read(&text, config, notes, notes_bytes, err);
    ij_config_text_free(&text);
    return status;
}

START_TEST(test_released_configuration) {
    ij_error err = {0};
    ij_train_config c, again;
    char notes[1000], *yaml;
    CHECK_OK(read_config(released, NULL, &c, notes, sizeof notes, &err));
    ck_assert_int_eq(c.model.dim, 1280);
    ck_assert_int_eq(c.model.depth, 32);
    ck_assert_int_eq(c.model.pred_depth, 12);
    ck_assert_int_eq(c.model.pred_heads, 16);
    ck_assert_int_eq(ij_patches(&c.model), 256);
    ck_assert_str_eq(c.data_path, "/data/imagenet/");
    ck_assert_double_eq(c.schedule.warmup_epochs, 40);
    ck_assert_int_eq(c.precision, IJ_PRECISION_AUTO); /* its autocast: the best that the device has */
    ck_assert_int_eq(c.preprocess.resize, IJ_RESIZE_TRAINED);
    /* Written out and read back it is the same configuration, how pictures are resized included. */
    c.preprocess = (ij_preprocess){IJ_RESIZE_SHORTER, 256, 224, 210, IJ_FILTER_BICUBIC, IJ_RESAMPLER_TORCHVISION};
    ij_config_text text = {0};
    CHECK_OK(ij_train_config_write(&c, &text, &err));
    CHECK_OK(ij_config_text_print(&text, &yaml, &err));
    ij_config_text_free(&text);
    CHECK_OK(read_config(yaml, NULL, &again, notes, sizeof notes, &err));
    ck_assert_msg(memcmp(&c, &again, sizeof c) == 0, "written and read back:\n%s", yaml);
    free(yaml);
}
END_TEST

START_TEST(test_impossible_configurations) {
    static const struct {
        const char *set, *named, *number;
    } cases[] = {
        {"data.crop_size=225", "225", "14"},
        {"meta.num_heads=7", "7 heads", "1280"},
        {"optimization.lrr=1", "lrr", ""},
        {"optimization.lr=fast", "lr", "fast"},
        {"mask.num_pred_masks=99", "num_pred_masks", "99"},
        {"data.use_horizontal_flip=true", "use_horizontal_flip", ""},
        {"meta.model_name=vit_enormous", "vit_enormous", ""},
        {"mask.pred_mask_scale=[0.15, 1.2]", "pred_mask_scale", "1.2"},
        {"data.channels=2", "channels", "2"},
        {"data.resize_filter=lanczos", "one of bilinear, bicubic", "lanczos"},
        {"data.resize_shorter=-3", "resize_shorter", "-3"},
        {"data.crop_scale=[1.0, 0.3]", "crop_scale", "0.3"},
        {"meta.targets=sound", "one of latent, pixels", "sound"},
        {"meta.target_mask=both", "one of output, input", "both"},
    };
    ij_error err = {0};
    ij_train_config c;
    ck_assert_int_eq(read_config(released, cases[_i].set, &c, NULL, 0, &err), IJ_ERROR_ARGUMENT);
    ck_assert_msg(strstr(err.text, cases[_i].named) && strstr(err.text, cases[_i].number), "%s: %s", cases[_i].set, err.text);
}
END_TEST

/* Parameter counts of the presets as published (facts of the paper's models: 5.5, 21.7, 85.8, 303.3, 630.8, 1011 M). */
START_TEST(test_presets) {
    static const struct {
        const char *name;
        int patch;
        double millions;
    } presets[] = {{"vit_tiny", 16, 5.5},    {"vit_small", 16, 21.7}, {"vit_base", 16, 85.8},
                   {"vit_large", 16, 303.3}, {"vit_huge", 14, 630.8}, {"vit_giant", 16, 1011}};
    ij_error err = {0};
    ij_model_config m = {.image_height = 224, .image_width = 224, .patch_size = presets[_i].patch, .channels = 3};
    ij_param_table table;
    CHECK_OK(ij_model_preset(presets[_i].name, &m, &err));
    CHECK_OK(ij_model_check(&m, &err));
    CHECK_OK(ij_param_table_make(&m, &table, &err));
    int64_t fixed = (int64_t)ij_patches(&m) * m.dim; /* the published counts include the positions */
    ck_assert_double_eq_tol((double)(table.encoder_elements + fixed) / 1e6, presets[_i].millions, 0.006 * presets[_i].millions);
    ij_param_table_free(&table);
}
END_TEST

Suite *train_suite(void) {
    Suite *suite = suite_create("train");
    TCase *on_device = tcase_create("device");
    tcase_add_unchecked_fixture(on_device, open_test_device, close_test_device);
    tcase_set_timeout(on_device, 0);
    tcase_add_loop_test(on_device, test_an_image_does_not_see_its_batch, 0, 4 * IJ_COUNT(elements) * VARIATIONS);
    tcase_add_loop_test(on_device, test_a_gradient_does_not_see_what_follows, 0, 2 * IJ_COUNT(elements) * VARIATIONS);
    tcase_add_loop_test(on_device, test_gradients_are_slopes, 0, VARIATIONS);
    tcase_add_loop_test(on_device, test_pixel_targets, 0, IJ_COUNT(elements));
    tcase_add_test(on_device, test_masked_input_sees_its_block_only);
    tcase_add_loop_test(on_device, test_small_grids, 0, 10);
    tcase_add_loop_test(on_device, test_not_finite_changes_nothing, 0, IJ_COUNT(elements) * VARIATIONS);
    suite_add_tcase(suite, on_device);
    TCase *on_host = tcase_create("host");
    tcase_add_test(on_host, test_schedules);
    tcase_add_test(on_host, test_released_configuration);
    tcase_add_loop_test(on_host, test_impossible_configurations, 0, 12);
    tcase_add_loop_test(on_host, test_presets, 0, 6);
    suite_add_tcase(suite, on_host);
    return suite;
}
