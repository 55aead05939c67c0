/* layer: view; uses: picture, ops, base */
#include "view/mask_picture.h"
#include "base/memory.h"
#include "view/picture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARGIN 28
#define MAP_SIDE 336 /* pixels of the longer side of a map */
#define SCALE_WIDTH 16
#define SCALE_ROOM 96 /* the strip and its numbers */
#define COLUMNS 6
#define EXAMPLES 24
#define EXAMPLE_SIDE 140
#define EXAMPLE_GAP 14

static const ij_color ink = 0x222222, paper = 0xffffff, hidden = 0xe6e6e6, context_color = 0x2f6fb5, line_color = 0xffffff;
/* Target blocks, in order; they repeat after eight. Far from the context's blue and from each other. */
static const ij_color block_colors[] = {0xe66101, 0x1a9850, 0xb2182b, 0x8e44ad, 0xd4b106, 0x17becf, 0xe377c2, 0x7f5539};

static ij_color block_color(int block) { return block_colors[block % IJ_COUNT(block_colors)]; }

/* Pixels of one patch, so that the longer side of the grid fills `side`. */
static int cell_of(const masks_config *c, int side) {
    int longer = c->grid_h > c->grid_w ? c->grid_h : c->grid_w, cell = side / longer;
    return cell > 0 ? cell : 1;
}

/* ---- coverage ---- */

static void draw_map(ij_picture *picture, const masks_config *c, int x, int y, int cell, const char *title, const double *coverage,
                     float *values) {
    int patches = c->grid_h * c->grid_w, never = 0;
    float high = 0;
    char text[96];
    for (int p = 0; p < patches; p++) {
        values[p] = (float)coverage[p];
        high = values[p] > high ? values[p] : high;
        never += coverage[p] == 0;
    }
    high = ceilf(high * 10 - 1e-4f) / 10; /* the scale ends at a round number */
    if (high <= 0) high = 0.1f;
    ij_picture_text(picture, (float)x, (float)y - 14, 11, IJ_ALIGN_LEFT, ink, title);
    ij_picture_heat(picture, x, y, c->grid_w * cell, c->grid_h * cell, values, c->grid_h, c->grid_w, 0, high);
    ij_picture_frame(picture, x - 1, y - 1, c->grid_w * cell + 2, c->grid_h * cell + 2, ink);
    ij_picture_heat_scale(picture, x + c->grid_w * cell + 14, y, SCALE_WIDTH, c->grid_h * cell, 0, high);
    snprintf(text, sizeof text, never ? "%d of %d patches never" : "every patch is reached", never, patches);
    ij_picture_text(picture, (float)x, (float)(y + c->grid_h * cell) + 24, 10, IJ_ALIGN_LEFT, never ? block_color(2) : ink, text);
}

ij_status ij_mask_picture_coverage(const masks_config *config, const masks_stats *stats, const char *path, ij_error *err) {
    int cell = cell_of(config, MAP_SIDE), map_w = config->grid_w * cell, map_h = config->grid_h * cell, top = 92;
    char title[128];
    float *values;
    ij_picture picture = {0};
    IJ_TRY(ij_alloc(&values, (int64_t)config->grid_h * config->grid_w, sizeof *values, "mask coverage", err));
    ij_status status = ij_picture_open(2 * (MARGIN + map_w + SCALE_ROOM), top + map_h + 52, paper, &picture, err);
    if (status == IJ_OK) {
        snprintf(title, sizeof title, "Masks: %s, %d x %d patches, %lld images", masks_mode_name(config->mode), config->grid_h,
                 config->grid_w, (long long)stats->images);
        ij_picture_text(&picture, MARGIN, 36, 14, IJ_ALIGN_LEFT, ink, title);
        snprintf(title, sizeof title, "is context (mean %.3f)", stats->context_mean);
        draw_map(&picture, config, MARGIN, top, cell, title, stats->context_coverage, values);
        snprintf(title, sizeof title, "is in a target (mean %.3f)", stats->union_mean);
        draw_map(&picture, config, 2 * MARGIN + map_w + SCALE_ROOM, top, cell, title, stats->target_coverage, values);
        status = ij_picture_write(&picture, path, err);
    }
    ij_picture_free(&picture);
    free(values);
    return status;
}

/* ---- examples ---- */

typedef struct drawn_masks {
    uint32_t *table, *samples, *words;
    masks_lists lists;
} drawn_masks;

static void drawn_masks_free(drawn_masks *m) {
    free(m->table);
    free(m->samples);
    free(m->words);
}

static ij_status draw_masks(const masks_config *config, uint64_t seed, int64_t batch, drawn_masks *m, ij_error *err) {
    masks_limits limits = masks_capacity(config, batch);
    int64_t sequences = batch * config->blocks + 1;
    IJ_TRY(ij_alloc(&m->table, MASKS_TABLE_WORDS, sizeof *m->table, "mask sizes", err));
    IJ_TRY(ij_alloc(&m->samples, batch, sizeof *m->samples, "sample numbers", err));
    IJ_TRY(ij_alloc(&m->words, batch + 1 + 2 * sequences + limits.context_rows + limits.target_rows + limits.pred_rows, sizeof *m->words,
                    "mask lists", err));
    m->lists.ctx_offsets = m->words;
    m->lists.tgt_offsets = m->lists.ctx_offsets + batch + 1;
    m->lists.pred_offsets = m->lists.tgt_offsets + sequences;
    m->lists.ctx_rows = m->lists.pred_offsets + sequences;
    m->lists.tgt_rows = m->lists.ctx_rows + limits.context_rows;
    m->lists.pred_src = m->lists.tgt_rows + limits.target_rows;
    for (int64_t i = 0; i < batch; i++) m->samples[i] = (uint32_t)i;
    masks_table(config, m->table);
    struct masks_params params = {(uint32_t)seed, (uint32_t)(seed >> 32), 0, 0};
    return ref_masks_sample(config, m->table, &params, m->samples, batch, &m->lists, err);
}

/* covered [patches]: patches that a block has already; there the new colour is mixed with the old. */
static void paint_rows(ij_picture *picture, const masks_config *c, int x, int y, int cell, const uint32_t *rows, uint32_t begin,
                       uint32_t end, ij_color color, uint8_t *covered) {
    int patches = c->grid_h * c->grid_w, gap = cell >= 5;
    for (uint32_t r = begin; r < end; r++) {
        int patch = (int)(rows[r] % (uint32_t)patches);
        ij_picture_fill(picture, x + patch % c->grid_w * cell, y + patch / c->grid_w * cell, cell - gap, cell - gap, color,
                        covered[patch] ? 0.55f : 1.0f);
        covered[patch] = 1;
    }
}

static void draw_example(ij_picture *picture, const masks_config *c, const masks_lists *lists, int image, int x, int y, int cell) {
    ij_picture_fill(picture, x, y, c->grid_w * cell, c->grid_h * cell, hidden, 1);
    for (int column = 1; column < c->grid_w && cell >= 5; column++)
        ij_picture_fill(picture, x + column * cell - 1, y, 1, c->grid_h * cell, line_color, 1);
    for (int row = 1; row < c->grid_h && cell >= 5; row++)
        ij_picture_fill(picture, x, y + row * cell - 1, c->grid_w * cell, 1, line_color, 1);
    uint8_t covered[MASKS_PATCHES_MAX] = {0};
    paint_rows(picture, c, x, y, cell, lists->ctx_rows, lists->ctx_offsets[image], lists->ctx_offsets[image + 1], context_color, covered);
    for (int block = 0; block < c->blocks; block++) {
        const uint32_t *offsets = lists->tgt_offsets + image * c->blocks + block;
        paint_rows(picture, c, x, y, cell, lists->tgt_rows, offsets[0], offsets[1], block_color(block), covered);
    }
}

static void draw_legend(ij_picture *picture, const masks_config *c, float y) {
    float x = MARGIN;
    for (int i = -2; i < c->blocks && i < 8; i++) {
        char text[32];
        ij_color color = i == -2 ? context_color : i == -1 ? hidden : block_color(i);
        snprintf(text, sizeof text, i == -2 ? "context" : i == -1 ? "neither" : c->blocks == 1 ? "target" : "target %d", i + 1);
        ij_picture_fill(picture, (int)x, (int)y - 12, 14, 14, color, 1);
        ij_picture_text(picture, x + 20, y, 10, IJ_ALIGN_LEFT, ink, text);
        x += 20 + ij_picture_text_width(10, text) + 22;
    }
}

ij_status ij_mask_picture_examples(const masks_config *config, uint64_t seed, int64_t batch, const char *path, ij_error *err) {
    int count = batch < EXAMPLES ? (int)batch : EXAMPLES, rows = (count + COLUMNS - 1) / COLUMNS, cell = cell_of(config, EXAMPLE_SIDE);
    int width = config->grid_w * cell, height = config->grid_h * cell, top = 84;
    char title[128];
    drawn_masks masks = {0};
    ij_picture picture = {0};
    ij_status status = draw_masks(config, seed, batch, &masks, err);
    int full_width = 2 * MARGIN + COLUMNS * (width + EXAMPLE_GAP) - EXAMPLE_GAP;
    if (status == IJ_OK)
        status =
            ij_picture_open(full_width < 760 ? 760 : full_width, top + rows * (height + EXAMPLE_GAP) + MARGIN / 2, paper, &picture, err);
    if (status == IJ_OK) {
        snprintf(title, sizeof title, "Masks: %s, %d x %d patches, %d images of a batch of %lld", masks_mode_name(config->mode),
                 config->grid_h, config->grid_w, count, (long long)batch);
        ij_picture_text(&picture, MARGIN, 34, 14, IJ_ALIGN_LEFT, ink, title);
        draw_legend(&picture, config, 64);
        for (int i = 0; i < count; i++)
            draw_example(&picture, config, &masks.lists, i, MARGIN + i % COLUMNS * (width + EXAMPLE_GAP),
                         top + i / COLUMNS * (height + EXAMPLE_GAP), cell);
        status = ij_picture_write(&picture, path, err);
    }
    ij_picture_free(&picture);
    drawn_masks_free(&masks);
    return status;
}
