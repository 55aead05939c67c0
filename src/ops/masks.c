/* Mask configuration, the table of block sizes, and the recording of the sampler.      layer: ops; uses: base, gpu */
#include "ops/masks.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static const char *const mode_names[] = {"multiblock", "official", "random", "block", "rasterized"};

const char *masks_mode_name(masks_mode mode) { return mode_names[mode]; }

ij_status masks_mode_find(const char *name, masks_mode *out, ij_error *err) {
    for (int i = 0; i < IJ_COUNT(mode_names); i++)
        if (strcmp(name, mode_names[i]) == 0) {
            *out = (masks_mode)i;
            return IJ_OK;
        }
    return ij_fail(err, IJ_ERROR_ARGUMENT, "no mask mode \"%s\"; there are multiblock, official, random, block, rasterized", name);
}

static void default_range(double range[2], double low, double high) {
    if (range[0] == 0 && range[1] == 0) range[0] = low, range[1] = high;
}

void masks_defaults(masks_config *config) {
    if (config->blocks == 0)
        config->blocks = config->mode == MASKS_RASTERIZED ? 3 : config->mode == MASKS_RANDOM || config->mode == MASKS_BLOCK ? 1 : 4;
    default_range(config->enc_scale, 0.85, 1);
    default_range(config->pred_scale, 0.15, 0.2);
    default_range(config->aspect, 0.75, 1.5);
    if (config->min_keep == 0) config->min_keep = 10;
    if (config->context_keep == 0) config->context_keep = 1;
    if (config->random_ratio == 0) config->random_ratio = 0.6;
    if (config->block_scale == 0) config->block_scale = 0.6;
}

static ij_status check_range(const char *name, const double range[2], double most, ij_error *err) {
    if (!(range[0] > 0 && range[0] <= range[1] && range[1] <= most))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "masks: %s is (%g, %g), it must be rising and in (0, %g]", name, range[0], range[1], most);
    return IJ_OK;
}

ij_status masks_check(const masks_config *config, ij_error *err) {
    int h = config->grid_h, w = config->grid_w,
        most = config->mode == MASKS_RANDOM       ? 1
               : config->mode == MASKS_RASTERIZED ? 3
                                                  : MASKS_BLOCKS_MAX;
    if (h < 2 || w < 2 || h > MASKS_SIDE_MAX || w > MASKS_SIDE_MAX || h * w > MASKS_PATCHES_MAX)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "masks: a grid of %d x %d patches; sides must be 2 to %d and patches at most %d", h, w,
                       MASKS_SIDE_MAX, MASKS_PATCHES_MAX);
    int patches = h * w;
    if (config->blocks < 1 || config->blocks > most || (config->mode == MASKS_RASTERIZED && config->blocks != 3))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "masks: %d target blocks; mode %s takes %s%d", config->blocks, masks_mode_name(config->mode),
                       most == MASKS_BLOCKS_MAX ? "1 to " : "", most);
    if (config->blocks > patches)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "masks: %d target blocks on a grid of %d patches", config->blocks, patches);
    IJ_TRY(check_range("enc_mask_scale", config->enc_scale, 1, err));
    IJ_TRY(check_range("pred_mask_scale", config->pred_scale, 1, err));
    IJ_TRY(check_range("aspect_ratio", config->aspect, 100, err));
    double target = config->mode == MASKS_RANDOM  ? config->random_ratio
                    : config->mode == MASKS_BLOCK ? config->block_scale
                                                  : config->pred_scale[0];
    if (config->mode != MASKS_RASTERIZED && !(target > 0 && target * patches <= patches - 0.5))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "masks: a target of %g of the %d patches of a %d x %d grid leaves none for the context",
                       target, patches, h, w);
    if (!(config->context_keep > 0 && config->context_keep <= 1))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "masks: context_keep is %g, it must be in (0, 1]", config->context_keep);
    if (config->min_keep < 0) return ij_fail(err, IJ_ERROR_ARGUMENT, "masks: min_keep is %d", config->min_keep);
    return IJ_OK;
}

/* ---- block sizes ---- */

static int at_least_one(double side) { return side < 1.5 ? 1 : (int)floor(side + 0.5); }

/* Height and width nearest to scale and aspect; a side that does not fit is cut and the other takes up the area. */
static uint32_t block_size(const masks_config *config, double scale, double aspect) {
    double area = scale * config->grid_h * config->grid_w;
    int h = at_least_one(sqrt(area * aspect)), w = at_least_one(sqrt(area / aspect));
    if (h > config->grid_h) h = config->grid_h, w = at_least_one(area / h);
    if (w > config->grid_w) w = config->grid_w, h = at_least_one(area / w);
    if (h > config->grid_h) h = config->grid_h;
    return (uint32_t)h << 16 | (uint32_t)w;
}

/* A target never covers the grid: something must be left to predict it from. */
static uint32_t target_size(const masks_config *config, double scale, double aspect) {
    uint32_t size = block_size(config, scale, aspect);
    if ((int)(size >> 16) == config->grid_h && (int)(size & 0xffff) == config->grid_w)
        size -= config->grid_h >= config->grid_w ? 0x10000 : 1;
    return size;
}

/* As released: the area is cut to whole patches, and a side as long as the grid is shortened by one. */
static uint32_t official_size(const masks_config *config, double scale, double aspect) {
    double area = floor(scale * config->grid_h * config->grid_w);
    int h = at_least_one(sqrt(area * aspect)), w = at_least_one(sqrt(area / aspect));
    if (h >= config->grid_h) h = config->grid_h - 1;
    if (w >= config->grid_w) w = config->grid_w - 1;
    return (uint32_t)h << 16 | (uint32_t)w;
}

static double between(const double range[2], double u) { return range[0] + u * (range[1] - range[0]); }

/* Point i of a Hammersley set: the second coordinate mirrors the bits of i, so that the points fill the square evenly. */
static double mirrored(uint32_t i) {
    double value = 0, digit = 0.5;
    for (; i; i >>= 1, digit /= 2) value += (i & 1) * digit;
    return value + 0.5 / MASKS_SIZES;
}

void masks_table(const masks_config *config, uint32_t table[MASKS_TABLE_WORDS]) {
    double block_scale[2] = {config->block_scale, config->block_scale}, all[2] = {1, 1};
    const double *pred_scale = config->mode == MASKS_BLOCK ? block_scale : config->pred_scale;
    const double *enc_scale = config->mode == MASKS_BLOCK ? all : config->enc_scale;
    for (uint32_t i = 0; i < MASKS_SIZES; i++) {
        double u = (i + 0.5) / MASKS_SIZES, v = mirrored(i);
        if (config->mode == MASKS_OFFICIAL) { /* one number for both: small blocks are wide, large ones tall */
            table[i] = official_size(config, between(pred_scale, u), between(config->aspect, u));
            table[MASKS_SIZES + i] = official_size(config, between(enc_scale, u), 1);
        } else {
            table[i] = target_size(config, between(pred_scale, u), between(config->aspect, v));
            table[MASKS_SIZES + i] = block_size(config, between(enc_scale, u), 1);
        }
    }
}

/* ---- limits ---- */

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

struct masks_push masks_plan(const masks_config *config, int64_t batch) {
    int64_t patches = (int64_t)config->grid_h * config->grid_w;
    bool official = config->mode == MASKS_OFFICIAL;
    int64_t min_keep = official ? config->min_keep : smaller(config->min_keep, larger(1, patches / 4));
    int64_t budget = official ? patches : larger(min_keep, (int64_t)(config->context_keep * (double)patches));
    int64_t targets = (int64_t)floor(config->random_ratio * (double)patches + 0.5);
    static const uint32_t device_mode[] = {MASKS_MODE_MULTIBLOCK, MASKS_MODE_OFFICIAL, MASKS_MODE_RANDOM, MASKS_MODE_MULTIBLOCK,
                                           MASKS_MODE_RASTERIZED};
    return (struct masks_push){.mode = device_mode[config->mode],
                               .batch = (uint32_t)batch,
                               .grid_h = (uint32_t)config->grid_h,
                               .grid_w = (uint32_t)config->grid_w,
                               .blocks = (uint32_t)config->blocks,
                               .words = (uint32_t)((patches + 31) / 32),
                               .min_keep = (uint32_t)larger(min_keep, official ? 0 : 1),
                               .allow_overlap = config->allow_overlap && config->mode <= MASKS_OFFICIAL,
                               .budget = (uint32_t)budget,
                               .targets = (uint32_t)smaller(larger(targets, 1), patches - 1),
                               .cut = official};
}

static void area_range(const uint32_t *sizes, int64_t *least, int64_t *most) {
    *least = MASKS_PATCHES_MAX, *most = 0;
    for (int i = 0; i < MASKS_SIZES; i++) {
        int64_t area = (int64_t)(sizes[i] >> 16) * (sizes[i] & 0xffff);
        *least = smaller(*least, area), *most = larger(*most, area);
    }
}

masks_limits masks_capacity(const masks_config *config, int64_t batch) {
    struct masks_push plan = masks_plan(config, batch);
    int64_t patches = (int64_t)config->grid_h * config->grid_w, blocks = config->blocks;
    masks_limits limits = {0};
    bool overlap = plan.allow_overlap || config->mode == MASKS_OFFICIAL;
    if (config->mode == MASKS_RANDOM) {
        limits.target_block = limits.target_image = plan.targets;
        limits.context_image = patches - plan.targets;
    } else if (config->mode == MASKS_RASTERIZED) {
        int64_t small = (int64_t)(config->grid_h / 2) * (config->grid_w / 2);
        limits.target_block = limits.context_image = (int64_t)(config->grid_h - config->grid_h / 2) * (config->grid_w - config->grid_w / 2);
        limits.target_image = patches - small;
    } else {
        uint32_t table[MASKS_TABLE_WORDS];
        int64_t target_least, context_least;
        masks_table(config, table);
        area_range(table, &target_least, &limits.target_block);
        area_range(table + MASKS_SIZES, &context_least, &limits.context_image);
        limits.target_image = blocks * limits.target_block;
        if (!overlap) /* in the block and outside a target, or outside the block because targets hide all of it */
            limits.context_image = smaller(larger(limits.context_image, patches - context_least), patches - target_least);
    }
    limits.context_image = smaller(limits.context_image, plan.budget);
    int64_t pred_image = blocks * limits.context_image + limits.target_image;
    if (!overlap) pred_image = smaller(pred_image, blocks * patches); /* a block and the context have no patch in common */
    limits.context_rows = batch * limits.context_image;
    limits.target_rows = batch * limits.target_image;
    limits.pred_rows = batch * pred_image;
    return limits;
}

int64_t masks_scratch_words(const masks_config *config, int64_t batch) {
    return batch * (1 + config->blocks) * (((int64_t)config->grid_h * config->grid_w + 31) / 32);
}

/* ---- recording ---- */

static ij_status record(gpu_program *program, const char *shader, const struct masks_push *push, const gpu_tensor *tensors,
                        uint32_t tensor_count, uint32_t groups, ij_error *err) {
    gpu_kernel_desc kernel_desc = {.shader = shader};
    gpu_dispatch_desc dispatch = {
        .label = shader, .tensor_count = tensor_count, .push = push, .push_bytes = sizeof *push, .groups = {groups}};
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &kernel_desc, &dispatch.kernel, err));
    for (uint32_t i = 0; i < tensor_count; i++) dispatch.tensors[i] = tensors[i], dispatch.bytes += (double)tensors[i].bytes;
    return gpu_dispatch(program, &dispatch, err);
}

static ij_status record_lists(gpu_program *program, const struct masks_push *push, gpu_tensor bits, const masks_tensors *t, ij_error *err) {
    gpu_tensor offsets[] = {bits, t->ctx_offsets, t->tgt_offsets, t->pred_offsets};
    IJ_TRY(record(program, "masks_offsets", push, offsets, IJ_COUNT(offsets), 1, err));
    gpu_tensor lists[] = {bits, t->ctx_offsets, t->tgt_offsets, t->pred_offsets, t->ctx_rows, t->tgt_rows, t->pred_src};
    int64_t words = (int64_t)push->batch * (1 + push->blocks) * push->words;
    return record(program, "masks_lists", push, lists, IJ_COUNT(lists), op_groups(words, MASKS_ROWS_LANES), err);
}

ij_status op_masks_sample(gpu_program *program, const masks_config *config, int64_t batch, const masks_tensors *t, ij_error *err) {
    assert(batch > 0 && batch * MASKS_PATCHES_MAX * (config->blocks + 1) <= UINT32_MAX);
    IJ_TRY(masks_check(config, err));
    struct masks_push push = masks_plan(config, batch);
    gpu_tensor sample[] = {t->params, t->sample_ids, t->table, t->scratch};
    IJ_TRY(record(program, "masks_sample", &push, sample, IJ_COUNT(sample), op_groups(batch, MASKS_SAMPLE_LANES), err));
    return record_lists(program, &push, t->scratch, t, err);
}

ij_status op_masks_lists(gpu_program *program, const masks_config *config, int64_t batch, gpu_tensor bits, const masks_tensors *t,
                         ij_error *err) {
    assert(batch > 0 && batch * MASKS_PATCHES_MAX * (config->blocks + 1) <= UINT32_MAX);
    struct masks_push push = masks_plan(config, batch);
    push.cut = 0;
    return record_lists(program, &push, bits, t, err);
}
