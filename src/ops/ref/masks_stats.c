/* What a mask configuration does, counted over many images: shown by `ijepa masks` before a training starts, and held against
 * published figures by the tests.       layer: ops (reference); uses: base */
#include "ops/masks.h"
#include "base/memory.h"

#include <stdlib.h>

typedef struct measure {
    const masks_config *config;
    int64_t batch, patches;
    uint32_t *table, *sample_ids;
    masks_lists lists;
    uint8_t *in_context, *in_targets; /* [P] of one image; in_targets counts blocks */
    masks_stats *out;
} measure;

static double lower(double a, double b) { return a < b ? a : b; }
static double higher(double a, double b) { return a > b ? a : b; }

static void add_image(measure *m, int64_t image) {
    masks_stats *out = m->out;
    int64_t blocks = m->config->blocks;
    double patches = (double)m->patches, contexts = 0, covered = 0, doubly = 0;
    for (int64_t p = 0; p < m->patches; p++) m->in_context[p] = m->in_targets[p] = 0;
    for (uint32_t r = m->lists.ctx_offsets[image]; r < m->lists.ctx_offsets[image + 1]; r++, contexts++)
        m->in_context[m->lists.ctx_rows[r] % m->patches] = 1;
    for (int64_t s = image * blocks; s < (image + 1) * blocks; s++) {
        uint32_t first = m->lists.tgt_offsets[s], last = m->lists.tgt_offsets[s + 1];
        double size = (last - first) / patches;
        out->target_mean += size / (double)blocks;
        out->target_min = lower(out->target_min, size);
        out->target_max = higher(out->target_max, size);
        for (uint32_t r = first; r < last; r++) m->in_targets[m->lists.tgt_rows[r] % m->patches]++;
    }
    int leak = 0;
    for (int64_t p = 0; p < m->patches; p++) {
        out->context_coverage[p] += m->in_context[p];
        out->target_coverage[p] += m->in_targets[p] > 0;
        covered += m->in_targets[p] > 0;
        doubly += m->in_targets[p] > 1;
        leak |= m->in_context[p] && m->in_targets[p];
    }
    out->images++;
    out->leaks += leak;
    out->below_min_keep += contexts < m->config->min_keep;
    out->union_mean += covered / patches;
    out->block_overlap_mean += doubly / patches;
    out->context_mean += contexts / patches;
    out->context_min = lower(out->context_min, contexts / patches);
    out->context_max = higher(out->context_max, contexts / patches);
}

/* One piece of memory for all lists; m->table is its start. */
static ij_status measure_alloc(measure *m, ij_error *err) {
    masks_limits limits = masks_capacity(m->config, m->batch);
    int64_t sequences = m->batch * m->config->blocks + 1;
    int64_t words = MASKS_TABLE_WORDS + 2 * m->batch + 1 + 2 * sequences + limits.context_rows + limits.target_rows + limits.pred_rows;
    IJ_TRY(ij_alloc(&m->table, words, 4, "masks", err));
    m->sample_ids = m->table + MASKS_TABLE_WORDS;
    m->lists.ctx_offsets = m->sample_ids + m->batch;
    m->lists.tgt_offsets = m->lists.ctx_offsets + m->batch + 1;
    m->lists.pred_offsets = m->lists.tgt_offsets + sequences;
    m->lists.ctx_rows = m->lists.pred_offsets + sequences;
    m->lists.tgt_rows = m->lists.ctx_rows + limits.context_rows;
    m->lists.pred_src = m->lists.tgt_rows + limits.target_rows;
    IJ_TRY(ij_alloc(&m->in_context, 2 * m->patches, 1, "masks", err));
    m->in_targets = m->in_context + m->patches;
    IJ_TRY(ij_alloc(&m->out->context_coverage, 2 * m->patches, sizeof(double), "mask coverage", err));
    m->out->target_coverage = m->out->context_coverage + m->patches;
    return IJ_OK;
}

static ij_status measure_batches(measure *m, uint64_t seed, int64_t batches, ij_error *err) {
    masks_table(m->config, m->table);
    m->out->context_min = m->out->target_min = 1;
    for (int64_t b = 0; b < batches; b++) {
        struct masks_params params = {(uint32_t)seed, (uint32_t)(seed >> 32), 0, (uint32_t)b};
        for (int64_t i = 0; i < m->batch; i++) m->sample_ids[i] = (uint32_t)(b * m->batch + i);
        IJ_TRY(ref_masks_sample(m->config, m->table, &params, m->sample_ids, m->batch, &m->lists, err));
        for (int64_t i = 0; i < m->batch; i++) add_image(m, i);
    }
    double each = 1 / (double)(batches * m->batch);
    m->out->context_mean *= each;
    m->out->target_mean *= each;
    m->out->union_mean *= each;
    m->out->block_overlap_mean *= each;
    for (int64_t p = 0; p < 2 * m->patches; p++) m->out->context_coverage[p] *= each;
    return IJ_OK;
}

ij_status masks_measure(const masks_config *config, uint64_t seed, int64_t batches, int64_t batch, masks_stats *out, ij_error *err) {
    IJ_TRY(masks_check(config, err));
    *out = (masks_stats){0};
    measure m = {.config = config, .batch = batch, .patches = (int64_t)config->grid_h * config->grid_w, .out = out};
    ij_status status = measure_alloc(&m, err);
    if (status == IJ_OK) status = measure_batches(&m, seed, batches, err);
    free(m.table);
    free(m.in_context);
    if (status != IJ_OK) masks_stats_free(out);
    return status;
}

void masks_stats_free(masks_stats *stats) {
    free(stats->context_coverage); /* target_coverage is its second half */
    stats->context_coverage = stats->target_coverage = NULL;
}
