/* Mask sampling and the row lists on the host: one byte a patch instead of bits, the same draws, the same masks.
 * layer: ops (reference); uses: base */
#include "ops/masks.h"
#include "base/memory.h"
#include "philox.h"

#include <stdlib.h>
#include <string.h>

typedef struct rect {
    int top, left, h, w;
} rect;

/* One image in the making. */
typedef struct sampler {
    struct masks_push plan;
    const uint32_t *table;
    const struct masks_params *params;
    uint32_t sample;
    uint8_t *context, *targets; /* [P], [M, P] */
    rect blocks[MASKS_BLOCKS_MAX], context_block;
} sampler;

static philox_words draw(const sampler *s, uint32_t number) {
    return philox(s->params->seed_low, s->params->seed_high, PHILOX_STREAM_MASK, s->sample, s->params->epoch, number);
}

static uint32_t pick_target_size(const sampler *s, uint32_t word) { return s->table[philox_below(word, MASKS_SIZES)]; }
static uint32_t pick_context_size(const sampler *s, uint32_t word) { return s->table[MASKS_SIZES + philox_below(word, MASKS_SIZES)]; }

/* A block at a random place; `spare` is 1 where the last place counts. */
static rect place(const sampler *s, uint32_t size, philox_words d, uint32_t spare) {
    uint32_t h = size >> 16, w = size & 0xffff;
    return (rect){(int)philox_below(d.y, s->plan.grid_h - h + spare), (int)philox_below(d.z, s->plan.grid_w - w + spare), (int)h, (int)w};
}

static int64_t patches_of(const sampler *s) { return (int64_t)s->plan.grid_h * s->plan.grid_w; }

static void paint(const sampler *s, uint8_t *mask, rect r, uint8_t value) {
    for (int y = r.top; y < r.top + r.h; y++)
        for (int x = r.left; x < r.left + r.w; x++) mask[y * (int)s->plan.grid_w + x] = value;
}

static int64_t count_ones(const uint8_t *mask, int64_t patches) {
    int64_t count = 0;
    for (int64_t p = 0; p < patches; p++) count += mask[p];
    return count;
}

/* The context block without the first `kept` targets. */
static int64_t paint_context(sampler *s, uint32_t kept) {
    memset(s->context, 0, (size_t)patches_of(s));
    paint(s, s->context, s->context_block, 1);
    for (uint32_t m = 0; m < kept; m++) paint(s, s->context, s->blocks[m], 0);
    return count_ones(s->context, patches_of(s));
}

static int64_t sample_multiblock(sampler *s) {
    uint32_t blocks = s->plan.blocks, kept = s->plan.allow_overlap ? 0 : blocks;
    int64_t count = 0;
    for (uint32_t attempt = 0; attempt < MASKS_ATTEMPTS && count < s->plan.min_keep; attempt++) {
        for (uint32_t m = 0; m <= blocks; m++) {
            philox_words d = draw(s, attempt * (blocks + 1) + m);
            if (m < blocks)
                s->blocks[m] = place(s, pick_target_size(s, d.x), d, 1);
            else
                s->context_block = place(s, pick_context_size(s, d.x), d, 1);
        }
        count = paint_context(s, kept);
    }
    if (count == 0) {
        s->context_block = (rect){0, 0, (int)s->plan.grid_h, (int)s->plan.grid_w};
        count = paint_context(s, kept);
    }
    for (uint32_t m = 1; m < blocks && count == 0; m++) {
        s->blocks[m] = s->blocks[0];
        count = paint_context(s, kept);
    }
    return count;
}

static int64_t sample_official(sampler *s) {
    philox_words sizes = philox(s->params->seed_low, s->params->seed_high, PHILOX_STREAM_MASK_SIZE, s->params->step, 0, 0);
    uint32_t blocks = s->plan.blocks, kept = blocks;
    for (uint32_t m = 0; m < blocks; m++) s->blocks[m] = place(s, pick_target_size(s, sizes.x), draw(s, m), 0);
    for (uint32_t k = 0;; k++) {
        kept = s->plan.allow_overlap ? 0 : blocks - k / MASKS_TRIES;
        s->context_block = place(s, pick_context_size(s, sizes.y), draw(s, blocks + k), 0);
        int64_t count = paint_context(s, kept);
        if (count > s->plan.min_keep || kept == 0) return count;
    }
}

static int64_t sample_rasterized(sampler *s) {
    int h = (int)s->plan.grid_h / 2, w = (int)s->plan.grid_w / 2, rest_h = (int)s->plan.grid_h - h, rest_w = (int)s->plan.grid_w - w;
    rect quadrants[4] = {{0, 0, h, w}, {0, w, h, rest_w}, {h, 0, rest_h, w}, {h, w, rest_h, rest_w}};
    int chosen = (int)philox_below(draw(s, 0).x, 4), m = 0;
    for (int k = 0; k < 4; k++)
        if (k == chosen)
            s->context_block = quadrants[k];
        else
            s->blocks[m++] = quadrants[k];
    return paint_context(s, 3);
}

/* The word of patch p in a list of draws, one a patch. */
static uint32_t patch_word(const sampler *s, uint32_t first, int64_t p) {
    philox_words d = draw(s, first + (uint32_t)(p / 4));
    uint32_t words[4] = {d.x, d.y, d.z, d.w};
    return words[p % 4];
}

/* Leaves `need` of the `left` ones of mask, every subset equally likely (Knuth's algorithm S). */
static void thin(const sampler *s, uint8_t *mask, int64_t left, int64_t need, uint32_t first) {
    if (need >= left) return;
    for (int64_t p = 0; p < patches_of(s); p++) {
        if (!mask[p]) continue;
        mask[p] = philox_below(patch_word(s, first, p), (uint32_t)left) < need;
        need -= mask[p];
        left--;
    }
}

void ref_masks_image(const masks_config *config, const uint32_t *table, const struct masks_params *params, uint32_t sample,
                     uint8_t *context, uint8_t *targets) {
    sampler s = {.plan = masks_plan(config, 1), .table = table, .params = params, .sample = sample, .context = context, .targets = targets};
    int64_t patches = patches_of(&s), count = 0;
    if (s.plan.mode == MASKS_MODE_RANDOM) {
        memset(targets, 1, (size_t)patches);
        thin(&s, targets, patches, s.plan.targets, MASKS_DRAW_TARGETS);
        for (int64_t p = 0; p < patches; p++) context[p] = !targets[p];
        count = patches - s.plan.targets;
    } else {
        if (s.plan.mode == MASKS_MODE_MULTIBLOCK)
            count = sample_multiblock(&s);
        else if (s.plan.mode == MASKS_MODE_OFFICIAL)
            count = sample_official(&s);
        else
            count = sample_rasterized(&s);
        memset(targets, 0, (size_t)(s.plan.blocks * patches));
        for (uint32_t m = 0; m < s.plan.blocks; m++) paint(&s, targets + m * patches, s.blocks[m], 1);
    }
    thin(&s, context, count, s.plan.budget, MASKS_DRAW_SUBSET);
}

/* ---- lists ---- */

void ref_masks_lists(const masks_config *config, const uint8_t *context, const uint8_t *targets, int64_t batch, bool cut,
                     const masks_lists *lists) {
    int64_t patches = (int64_t)config->grid_h * config->grid_w, blocks = config->blocks, context_most = patches, target_most = patches;
    for (int64_t i = 0; i < batch && cut; i++) {
        int64_t count = count_ones(context + i * patches, patches);
        if (count < context_most) context_most = count;
        for (int64_t m = 0; m < blocks; m++) {
            count = count_ones(targets + (i * blocks + m) * patches, patches);
            if (count < target_most) target_most = count;
        }
    }
    uint32_t ctx = 0, tgt = 0, pred = 0;
    lists->ctx_offsets[0] = lists->tgt_offsets[0] = lists->pred_offsets[0] = 0;
    for (int64_t i = 0; i < batch; i++) {
        uint32_t first = ctx;
        for (int64_t p = 0; p < patches; p++)
            if (context[i * patches + p] && ctx - first < context_most) lists->ctx_rows[ctx++] = (uint32_t)(i * patches + p);
        lists->ctx_offsets[i + 1] = ctx;
        for (int64_t s = i * blocks; s < (i + 1) * blocks; s++) {
            uint32_t first_target = tgt;
            for (uint32_t r = first; r < ctx; r++) lists->pred_src[pred++] = r;
            for (int64_t p = 0; p < patches; p++)
                if (targets[s * patches + p] && tgt - first_target < target_most) {
                    lists->pred_src[pred++] = MASKS_TOKEN | tgt;
                    lists->tgt_rows[tgt++] = (uint32_t)(i * patches + p);
                }
            lists->tgt_offsets[s + 1] = tgt;
            lists->pred_offsets[s + 1] = pred;
        }
    }
}

ij_status ref_masks_sample(const masks_config *config, const uint32_t *table, const struct masks_params *params, const uint32_t *sample_ids,
                           int64_t batch, const masks_lists *lists, ij_error *err) {
    int64_t patches = (int64_t)config->grid_h * config->grid_w;
    uint8_t *context;
    IJ_TRY(ij_alloc(&context, batch * patches * (1 + config->blocks), 1, "masks", err));
    uint8_t *targets = context + batch * patches;
    for (int64_t i = 0; i < batch; i++)
        ref_masks_image(config, table, params, sample_ids[i], context + i * patches, targets + i * patches * config->blocks);
    ref_masks_lists(config, context, targets, batch, config->mode == MASKS_OFFICIAL, lists);
    free(context);
    return IJ_OK;
}
