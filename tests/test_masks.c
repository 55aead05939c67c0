/* Mask sampling on the host: the statistics that the modes promise, and that nothing hangs, leaks or runs out of its lists.
 * That the device draws the same bits is the op registry's business (tests/test_ops.c). */
#include "suites.h"
#include "base/memory.h"
#include "ops/masks.h"

#include <math.h>
#include <string.h>

static const masks_mode all_modes[] = {MASKS_MULTIBLOCK, MASKS_OFFICIAL, MASKS_RANDOM, MASKS_BLOCK, MASKS_RASTERIZED};

static masks_config config_of(masks_mode mode, int grid_h, int grid_w) {
    masks_config config = {.mode = mode, .grid_h = grid_h, .grid_w = grid_w};
    masks_defaults(&config);
    return config;
}

/* Mean and standard deviation over batches of (context ratio, then coverage of each grid row). */
typedef struct spread {
    int64_t batches;
    double sum[64], square[64];
} spread;

static void spread_add(spread *s, int at, double value) { s->sum[at] += value, s->square[at] += value * value; }
static double spread_mean(const spread *s, int at) { return s->sum[at] / (double)s->batches; }
static double spread_deviation(const spread *s, int at) {
    double mean = spread_mean(s, at), n = (double)s->batches;
    return sqrt(fmax(0, s->square[at] / n - mean * mean) * n / (n - 1));
}

static spread measure_spread(const masks_config *config, int64_t batch, int64_t batches) {
    ij_error err = {0};
    spread s = {.batches = batches};
    for (int64_t b = 0; b < batches; b++) {
        masks_stats stats;
        CHECK_OK(masks_measure(config, (uint64_t)b + 1, 1, batch, &stats, &err));
        spread_add(&s, 0, stats.context_mean);
        for (int y = 0; y < config->grid_h; y++) {
            double row = 0;
            for (int x = 0; x < config->grid_w; x++) row += stats.context_coverage[y * config->grid_w + x] / config->grid_w;
            spread_add(&s, 1 + y, row);
        }
        masks_stats_free(&stats);
    }
    return s;
}

/* Bound of the difference of our mean and a published one of `published` batches, rounded to `digit`: 4.5 standard errors. */
static double bound(const spread *s, int at, double published, double digit) {
    return 4.5 * spread_deviation(s, at) * sqrt(1 / published + 1 / (double)s->batches) + digit / 2;
}

/* Context kept by the released collator, 16 x 16 patches, by images per device: a simulation of about 4000 images a row. */
START_TEST(test_official_context_depends_on_batch) {
    static const struct {
        int64_t batch;
        double kept;
    } published[] = {{1, .430}, {2, .392}, {4, .362}, {8, .335}, {16, .316}, {32, .297}, {64, .283}, {128, .264}};
    masks_config config = config_of(MASKS_OFFICIAL, 16, 16);
    for (int i = 0; i < IJ_COUNT(published); i++) {
        int64_t batch = published[i].batch, batches = 4096 / batch;
        spread s = measure_spread(&config, batch, batches);
        double kept = spread_mean(&s, 0), allowed = bound(&s, 0, 4000.0 / (double)batch, .001);
        if (getenv("IJEPA_VERBOSE"))
            fprintf(stderr, "official, batch %3d: context %.4f, published %.3f, allowed %.4f\n", (int)batch, kept, published[i].kept,
                    allowed);
        ck_assert_msg(fabs(kept - published[i].kept) <= allowed, "batch %d keeps %.4f of the patches, published is %.3f +- %.4f",
                      (int)batch, kept, published[i].kept, allowed);
    }
}
END_TEST

START_TEST(test_official_loses_bottom_rows) {
    static const double published[16] = {.77, .63, .52, .43, .33, .25, .21, .19, .19, .19, .19, .17, .12, .06, .02, .00};
    masks_config config = config_of(MASKS_OFFICIAL, 16, 16);
    spread s = measure_spread(&config, 128, 64);
    for (int y = 0; y < 16; y++) {
        double mean = spread_mean(&s, 1 + y), allowed = bound(&s, 1 + y, 4000.0 / 128, .01);
        if (getenv("IJEPA_VERBOSE"))
            fprintf(stderr, "official, batch 128, row %2d: %.3f, published %.2f, allowed %.3f\n", y, mean, published[y], allowed);
        ck_assert_msg(fabs(mean - published[y]) <= allowed, "row %d is context %.3f of the time, published is %.2f +- %.3f", y, mean,
                      published[y], allowed);
    }
}
END_TEST

START_TEST(test_official_never_reaches_last_row_and_column) {
    ij_error err = {0};
    masks_config config = config_of(MASKS_OFFICIAL, 14, 14);
    masks_stats stats;
    CHECK_OK(masks_measure(&config, 3, 256, 8, &stats, &err));
    for (int y = 0; y < 14; y++)
        for (int x = 0; x < 14; x++) {
            int p = y * 14 + x;
            if (y == 13 || x == 13)
                ck_assert_msg(stats.context_coverage[p] == 0 && stats.target_coverage[p] == 0, "patch %d, %d was reached", y, x);
            else
                ck_assert_msg(stats.target_coverage[p] > 0, "patch %d, %d is never a target", y, x);
        }
    masks_stats_free(&stats);
}
END_TEST

/* One random number for scale and aspect leaves five sizes on 14 x 14 patches. */
START_TEST(test_official_block_sizes) {
    static const uint32_t known[] = {5 << 16 | 6, 6 << 16 | 5, 6 << 16 | 6, 7 << 16 | 5, 8 << 16 | 5};
    uint32_t table[MASKS_TABLE_WORDS];
    int seen[5] = {0};
    masks_config config = config_of(MASKS_OFFICIAL, 14, 14);
    masks_table(&config, table);
    for (int i = 0; i < MASKS_SIZES; i++) {
        int k = 0;
        while (k < 5 && known[k] != table[i]) k++;
        ck_assert_msg(k < 5, "a block of %u x %u", table[i] >> 16, table[i] & 0xffff);
        seen[k]++;
        ck_assert_msg(table[MASKS_SIZES + i] == (13 << 16 | 13), "a context block of %u x %u", table[MASKS_SIZES + i] >> 16,
                      table[MASKS_SIZES + i] & 0xffff);
    }
    for (int k = 0; k < 5; k++) ck_assert(seen[k] > 0);
}
END_TEST

START_TEST(test_multiblock_block_sizes) {
    uint32_t table[MASKS_TABLE_WORDS];
    masks_config config = config_of(MASKS_MULTIBLOCK, 16, 16);
    masks_table(&config, table);
    double area = 0, tall = 0, context = 0;
    for (int i = 0; i < MASKS_SIZES; i++) {
        double h = table[i] >> 16, w = table[i] & 0xffff, scale = h * w / 256;
        area += scale / MASKS_SIZES;
        tall += (h > w) / (double)MASKS_SIZES;
        /* each side is rounded by at most 1/2: (h - 1/2)(w - 1/2) to (h + 1/2)(w + 1/2) holds the drawn area */
        ck_assert_msg((h - .5) * (w - .5) / 256 <= .2 && (h + .5) * (w + .5) / 256 >= .15, "a block of %g x %g", h, w);
        ck_assert_msg((h + .5) / (w - .5) >= .75 && (h - .5) / (w + .5) <= 1.5, "a block of %g x %g", h, w);
        context += (table[MASKS_SIZES + i] >> 16) * (table[MASKS_SIZES + i] & 0xffff) / 256.0 / MASKS_SIZES;
    }
    ck_assert_msg(fabs(area - .175) < .005, "mean scale of targets is %g", area); /* rounding of the sides is not centred exactly */
    ck_assert_msg(fabs(context - .925) < .02, "mean scale of context blocks is %g", context);
    ck_assert_msg(tall > .4 && tall < .7, "%g of the blocks are tall", tall);
}
END_TEST

/* By symmetry a patch is as often context, and as often target, as its mirror image: 5 standard errors of a difference of two
 * frequencies, times P comparisons, and every patch is reached. */
static void check_symmetric(const masks_config *config) {
    ij_error err = {0};
    masks_stats stats;
    int64_t images = 4096;
    int patches = config->grid_h * config->grid_w;
    CHECK_OK(masks_measure(config, 9, 1, images, &stats, &err));
    for (int p = 0; p < patches; p++) {
        int mirror = patches - 1 - p;
        double c = stats.context_coverage[p], t = stats.target_coverage[p];
        ck_assert_msg(c > 0 && t > 0, "patch %d of %d x %d: context %g, target %g", p, config->grid_h, config->grid_w, c, t);
        double c_allowed = 5 * sqrt(2 * c * (1 - c) / (double)images) + 1e-9, t_allowed = 5 * sqrt(2 * t * (1 - t) / (double)images) + 1e-9;
        ck_assert_msg(fabs(c - stats.context_coverage[mirror]) <= c_allowed, "patch %d is context %.4f, its mirror %.4f", p, c,
                      stats.context_coverage[mirror]);
        ck_assert_msg(fabs(t - stats.target_coverage[mirror]) <= t_allowed, "patch %d is target %.4f, its mirror %.4f", p, t,
                      stats.target_coverage[mirror]);
    }
    ck_assert_int_eq(stats.leaks, 0);
    masks_stats_free(&stats);
}

START_TEST(test_every_patch_is_reached) {
    static const int grids[][2] = {{14, 14}, {16, 16}, {8, 8}, {4, 4}, {7, 12}};
    for (int i = 0; i < IJ_COUNT(grids); i++) {
        masks_config config = config_of(MASKS_MULTIBLOCK, grids[i][0], grids[i][1]);
        check_symmetric(&config);
        config.context_keep = .25;
        check_symmetric(&config);
        config = config_of(MASKS_RANDOM, grids[i][0], grids[i][1]);
        check_symmetric(&config);
    }
}
END_TEST

START_TEST(test_context_budget) {
    ij_error err = {0};
    masks_stats stats;
    masks_config config = config_of(MASKS_MULTIBLOCK, 16, 16);
    config.context_keep = .25;
    CHECK_OK(masks_measure(&config, 1, 1, 2000, &stats, &err));
    ck_assert_msg(stats.context_max == .25, "the largest context is %g", stats.context_max);
    ck_assert_msg(stats.context_mean > .245, "the mean context is %g", stats.context_mean);
    ck_assert_int_eq(masks_capacity(&config, 3).context_rows, 3 * 64);
    masks_stats_free(&stats);
}
END_TEST

START_TEST(test_counts_of_the_ablation_modes) {
    ij_error err = {0};
    masks_stats stats;
    masks_config config = config_of(MASKS_RANDOM, 14, 14);
    CHECK_OK(masks_measure(&config, 1, 1, 300, &stats, &err));
    ck_assert(stats.target_min == 118 / 196.0 && stats.target_max == 118 / 196.0 && stats.context_min == 78 / 196.0 &&
              stats.context_max == 78 / 196.0);
    masks_stats_free(&stats);
    config = config_of(MASKS_BLOCK, 16, 16);
    CHECK_OK(masks_measure(&config, 1, 1, 2000, &stats, &err));
    ck_assert_msg(fabs(stats.target_mean - .6) < .01 && fabs(stats.context_mean + stats.target_mean - 1) < 1e-9,
                  "block: target %g, context %g", stats.target_mean, stats.context_mean);
    masks_stats_free(&stats);
    config = config_of(MASKS_RASTERIZED, 14, 14);
    CHECK_OK(masks_measure(&config, 1, 1, 2000, &stats, &err));
    ck_assert(stats.target_min == .25 && stats.target_max == .25 && stats.context_min == .25 && stats.block_overlap_mean == 0);
    for (int p = 0; p < 196; p++) /* 5 standard errors of a quarter in 2000 */
        ck_assert_msg(fabs(stats.context_coverage[p] - .25) < 5 * sqrt(.25 * .75 / 2000), "patch %d is context %g", p,
                      stats.context_coverage[p]);
    masks_stats_free(&stats);
}
END_TEST

/* ---- every grid ---- */

static void check_image(const masks_config *config, const masks_limits *limits, const uint8_t *context, const uint8_t *targets,
                        bool leak_allowed) {
    int64_t patches = (int64_t)config->grid_h * config->grid_w, contexts = 0, target_image = 0;
    for (int64_t p = 0; p < patches; p++) contexts += context[p];
    for (int64_t m = 0; m < config->blocks; m++) {
        int64_t count = 0;
        for (int64_t p = 0; p < patches; p++) {
            count += targets[m * patches + p];
            ck_assert_msg(leak_allowed || !(context[p] && targets[m * patches + p]), "%s %d x %d: patch %d is context and target",
                          masks_mode_name(config->mode), config->grid_h, config->grid_w, (int)p);
        }
        ck_assert_msg(count >= 1 && count <= limits->target_block, "%s %d x %d: a target of %d patches, capacity %d",
                      masks_mode_name(config->mode), config->grid_h, config->grid_w, (int)count, (int)limits->target_block);
        target_image += count;
    }
    ck_assert_msg(contexts >= 1 && contexts <= limits->context_image && target_image <= limits->target_image &&
                      config->blocks * contexts + target_image <= limits->pred_rows,
                  "%s %d x %d: %d context and %d target patches, capacity %d and %d, predictor %d", masks_mode_name(config->mode),
                  config->grid_h, config->grid_w, (int)contexts, (int)target_image, (int)limits->context_image, (int)limits->target_image,
                  (int)limits->pred_rows);
}

static void check_grid(const masks_config *config, int samples) {
    ij_error err = {0};
    uint32_t table[MASKS_TABLE_WORDS];
    uint8_t context[256], targets[256 * MASKS_BLOCKS_MAX];
    CHECK_OK(masks_check(config, &err));
    masks_table(config, table);
    masks_limits limits = masks_capacity(config, 1);
    for (uint32_t sample = 0; sample < (uint32_t)samples; sample++) {
        struct masks_params params = {5, 6, 7, sample};
        ref_masks_image(config, table, &params, sample, context, targets);
        check_image(config, &limits, context, targets, config->allow_overlap || config->mode == MASKS_OFFICIAL);
    }
}

START_TEST(test_no_grid_hangs) {
    for (int h = 2; h <= 9; h++)
        for (int w = 2; w <= 9; w++)
            for (int m = 0; m < IJ_COUNT(all_modes); m++) {
                masks_config config = config_of(all_modes[m], h, w);
                check_grid(&config, 60);
                config.context_keep = .25;
                check_grid(&config, 20);
                config.allow_overlap = 1;
                check_grid(&config, 20);
            }
    masks_config crowded = config_of(MASKS_MULTIBLOCK, 4, 4); /* the union of the targets often covers everything */
    crowded.pred_scale[0] = .7, crowded.pred_scale[1] = .9;
    check_grid(&crowded, 500);
    crowded.blocks = 16;
    check_grid(&crowded, 500);
    masks_config narrow = config_of(MASKS_MULTIBLOCK, 2, 128);
    check_grid(&narrow, 60);
}
END_TEST

/* ---- what a mask depends on ---- */

START_TEST(test_mask_depends_on_seed_epoch_and_sample_only) {
    for (int m = 0; m < IJ_COUNT(all_modes); m++) {
        masks_config config = config_of(all_modes[m], 12, 10);
        config.context_keep = .2; /* thins every context, so that equal quadrants differ */
        uint32_t table[MASKS_TABLE_WORDS];
        uint8_t first[5 * 120], other[5 * 120];
        size_t bytes = (size_t)(1 + config.blocks) * 120;
        masks_table(&config, table);
        struct masks_params params = {1, 2, 3, 4};
        struct masks_params variants[] = {{1, 2, 3, 5}, {9, 2, 3, 4}, {1, 9, 3, 4}, {1, 2, 9, 4}};
        int equal_samples = 0, equal[4] = {0}, samples = 40;
        for (uint32_t sample = 0; sample < (uint32_t)samples; sample++) {
            ref_masks_image(&config, table, &params, sample, first, first + 120);
            ref_masks_image(&config, table, &params, sample + 1, other, other + 120);
            equal_samples += memcmp(first, other, bytes) == 0;
            for (int v = 0; v < 4; v++) {
                ref_masks_image(&config, table, variants + v, sample, other, other + 120);
                equal[v] += memcmp(first, other, bytes) == 0;
            }
        }
        if (config.mode != MASKS_OFFICIAL) ck_assert_int_eq(equal[0], samples); /* the step does not matter */
        /* official has few positions and is not thinned: two samples can agree by chance */
        for (int v = 1; v < 4; v++) ck_assert_msg(equal[v] <= 1, "%s: %d of %d equal", masks_mode_name(config.mode), equal[v], samples);
        ck_assert_int_le(equal_samples, 1);
    }
}
END_TEST

/* The lists of a sample are the same whoever else is in the batch. */
START_TEST(test_lists_do_not_depend_on_the_batch) {
    ij_error err = {0};
    masks_config config = config_of(MASKS_MULTIBLOCK, 9, 11);
    uint32_t table[MASKS_TABLE_WORDS], ids[3] = {40, 7, 1000000}, offsets[3][13], rows[3][3 * 4 * 4 * 99];
    struct masks_params params = {1, 2, 3, 4};
    masks_lists lists = {offsets[0], rows[0], offsets[1], rows[1], offsets[2], rows[2]};
    masks_table(&config, table);
    CHECK_OK(ref_masks_sample(&config, table, &params, ids, 3, &lists, &err));
    uint8_t context[99], targets[4 * 99];
    for (uint32_t image = 0; image < 3; image++) {
        ref_masks_image(&config, table, &params, ids[image], context, targets);
        uint32_t at = offsets[0][image];
        for (uint32_t p = 0; p < 99; p++)
            if (context[p]) ck_assert_uint_eq(rows[0][at++], image * 99 + p);
        ck_assert_uint_eq(at, offsets[0][image + 1]);
        for (uint32_t s = 4 * image; s < 4 * image + 4; s++) {
            uint32_t pred = offsets[2][s], target = offsets[1][s];
            for (uint32_t r = offsets[0][image]; r < offsets[0][image + 1]; r++) ck_assert_uint_eq(rows[2][pred++], r);
            for (uint32_t p = 0; p < 99; p++)
                if (targets[s % 4 * 99 + p]) {
                    ck_assert_uint_eq(rows[2][pred++], MASKS_TOKEN | target);
                    ck_assert_uint_eq(rows[1][target++], image * 99 + p);
                }
            ck_assert_uint_eq(pred, offsets[2][s + 1]);
            ck_assert_uint_eq(target, offsets[1][s + 1]);
        }
    }
}
END_TEST

START_TEST(test_impossible_configurations) {
    ij_error err = {0};
    masks_config config = config_of(MASKS_MULTIBLOCK, 1, 14);
    CHECK_FAILS(masks_check(&config, &err), IJ_ERROR_ARGUMENT);
    ck_assert_msg(strstr(err.text, "1 x 14"), "%s", err.text);
    config = config_of(MASKS_MULTIBLOCK, 128, 128);
    CHECK_FAILS(masks_check(&config, &err), IJ_ERROR_ARGUMENT);
    config = config_of(MASKS_MULTIBLOCK, 8, 8);
    config.blocks = 17;
    CHECK_FAILS(masks_check(&config, &err), IJ_ERROR_ARGUMENT);
    ck_assert_msg(strstr(err.text, "17"), "%s", err.text);
    config.blocks = -1;
    CHECK_FAILS(masks_check(&config, &err), IJ_ERROR_ARGUMENT);
    config = config_of(MASKS_MULTIBLOCK, 2, 3);
    config.blocks = 7;
    CHECK_FAILS(masks_check(&config, &err), IJ_ERROR_ARGUMENT);
    config = config_of(MASKS_OFFICIAL, 8, 8);
    config.pred_scale[0] = .3;
    CHECK_FAILS(masks_check(&config, &err), IJ_ERROR_ARGUMENT); /* falling range */
    config.pred_scale[0] = config.pred_scale[1] = 1;
    CHECK_FAILS(masks_check(&config, &err), IJ_ERROR_ARGUMENT); /* nothing left for the context */
    config = config_of(MASKS_BLOCK, 8, 8);
    config.block_scale = 1.5;
    CHECK_FAILS(masks_check(&config, &err), IJ_ERROR_ARGUMENT);
    config = config_of(MASKS_RANDOM, 8, 8);
    config.random_ratio = (double)NAN;
    CHECK_FAILS(masks_check(&config, &err), IJ_ERROR_ARGUMENT);
    config = config_of(MASKS_RASTERIZED, 8, 8);
    config.blocks = 2;
    CHECK_FAILS(masks_check(&config, &err), IJ_ERROR_ARGUMENT);
    config = config_of(MASKS_MULTIBLOCK, 8, 8);
    config.context_keep = 1.01;
    CHECK_FAILS(masks_check(&config, &err), IJ_ERROR_ARGUMENT);
    masks_mode mode;
    CHECK_OK(masks_mode_find("rasterized", &mode, &err));
    ck_assert_int_eq(mode, MASKS_RASTERIZED);
    CHECK_FAILS(masks_mode_find("paper", &mode, &err), IJ_ERROR_ARGUMENT);
}
END_TEST

Suite *masks_suite(void) {
    Suite *suite = suite_create("masks");
    TCase *statistics = tcase_create("statistics");
    tcase_set_timeout(statistics, 0);
    tcase_add_test(statistics, test_official_context_depends_on_batch);
    tcase_add_test(statistics, test_official_loses_bottom_rows);
    tcase_add_test(statistics, test_official_never_reaches_last_row_and_column);
    tcase_add_test(statistics, test_official_block_sizes);
    tcase_add_test(statistics, test_multiblock_block_sizes);
    tcase_add_test(statistics, test_every_patch_is_reached);
    tcase_add_test(statistics, test_context_budget);
    tcase_add_test(statistics, test_counts_of_the_ablation_modes);
    suite_add_tcase(suite, statistics);
    TCase *rules = tcase_create("rules");
    tcase_set_timeout(rules, 60); /* a sampler that does not end fails here */
    tcase_add_test(rules, test_no_grid_hangs);
    tcase_add_test(rules, test_mask_depends_on_seed_epoch_and_sample_only);
    tcase_add_test(rules, test_lists_do_not_depend_on_the_batch);
    tcase_add_test(rules, test_impossible_configurations);
    suite_add_tcase(suite, rules);
    return suite;
}
