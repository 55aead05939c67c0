/* The collapse monitor: its numbers against plain doubles on a real step, its verdicts on histories whose end is known. */
#include "suites.h"
#include "model/jepa.h"
#include "ops/collapse.h"
#include "ops/layernorm.h"
#include "philox.h"
#include "train/monitor.h"
#include "train/spectrum.h"

#include <math.h>
#include <string.h>

static double uniform(uint32_t stream, uint32_t i) { return (double)philox(2026, 1, PHILOX_STREAM_TEST, i, stream, 0).x * 0x1p-32; }

/* ---- spectrum ---- */

/* Q diag(values) Q^T with Q a product of reflections. */
static void matrix_of(const double *values, int n, double *a) {
    memset(a, 0, (size_t)(n * n) * sizeof *a);
    for (int i = 0; i < n; i++) a[i * n + i] = values[i];
    for (uint32_t round = 0; round < 3; round++) {
        double v[64], square = 0;
        for (int i = 0; i < n; i++) v[i] = uniform(round, (uint32_t)i) - 0.5, square += v[i] * v[i];
        for (int side = 0; side < 2; side++) /* rows, then columns: H a H */
            for (int i = 0; i < n; i++) {
                double dot = 0;
                for (int k = 0; k < n; k++) dot += v[k] * (side ? a[i * n + k] : a[k * n + i]);
                for (int k = 0; k < n; k++) *(side ? &a[i * n + k] : &a[k * n + i]) -= 2 * dot / square * v[k];
            }
    }
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

START_TEST(test_eigenvalues) {
    static const int sizes[] = {1, 2, 3, 5, 17, 60};
    for (int s = 0; s < IJ_COUNT(sizes); s++)
        for (int kind = 0; kind < 3; kind++) {
            int n = sizes[s];
            double values[64], got[64], a[64 * 64];
            ij_error err = {0};
            /* distinct of both signs; many equal; ten orders of magnitude */
            for (int i = 0; i < n; i++) values[i] = kind == 0 ? i - n / 3.0 : kind == 1 ? i / 3 : pow(10, -10.0 * i / n);
            matrix_of(values, n, a);
            CHECK_OK(ij_eigenvalues(a, n, got, &err));
            qsort(values, (size_t)n, sizeof *values, ascending);
            qsort(got, (size_t)n, sizeof *got, ascending);
            for (int i = 0; i < n; i++) ck_assert_double_eq_tol(got[i], values[i], 1e-13 * n * (1 + fabs(values[n - 1])));
        }
}
END_TEST

START_TEST(test_eigenvalues_refuse) {
    ij_error err = {0};
    double a[4] = {1, NAN, NAN, 1}, values[2];
    CHECK_FAILS(ij_eigenvalues(a, 2, values, &err), IJ_ERROR_NUMBER);
}
END_TEST

START_TEST(test_rankme) {
    ij_error err = {0};
    float gram[40 * 40];
    double rank;
    memset(gram, 0, sizeof gram);
    for (int i = 0; i < 40; i++) gram[i * 41] = 7;
    CHECK_OK(ij_rankme(gram, 40, &rank, &err)); /* all directions alike */
    ck_assert_double_eq_tol(rank, 40, 1e-9);
    for (int i = 0; i < 40; i++)
        for (int j = 0; j < 40; j++) gram[i * 40 + j] = (float)((i + 1) * (j + 1));
    CHECK_OK(ij_rankme(gram, 40, &rank, &err)); /* one direction */
    ck_assert_double_eq_tol(rank, 1, 1e-3);
    memset(gram, 0, sizeof gram);
    CHECK_OK(ij_rankme(gram, 40, &rank, &err));
    ck_assert_double_eq(rank, 0);
    gram[0] = 9, gram[41] = 1; /* singular values 3 and 1: p = 3/4, 1/4 */
    CHECK_OK(ij_rankme(gram, 40, &rank, &err));
    ck_assert_double_eq_tol(rank, exp(-0.75 * log(0.75) - 0.25 * log(0.25)), 1e-9);
}
END_TEST

/* ---- grouping ---- */

START_TEST(test_grouped_stats) {
    ij_error err = {0};
    /* two images of three patches, dim 2; position 0 twice, position 2 twice in image 1 and once in image 0, position 1 once */
    const float x[6][2] = {{1, 0}, {3, 0}, {0, 5}, {0, 1}, {0, 2}, {9, 9}};
    const uint32_t place[6] = {0, 3, 2, 5, 5, 1};
    double cosine, variance;
    CHECK_OK(ij_grouped_stats(x[0], place, 6, 2, 3, 2, &cosine, &variance, &err));
    /* sums: image 0 (10, 14), image 1 (3, 3) */
    ck_assert_double_eq_tol(cosine, (10 * 3 + 14 * 3) / (sqrt(296) * sqrt(18)), 1e-12);
    /* within: 1 + 1, and 5, 1, 2 about 8/3; total about (4/5, 8/5) of the five rows */
    double within = 2 + pow(5 - 8 / 3., 2) + pow(1 - 8 / 3., 2) + pow(2 - 8 / 3., 2), total = 1 + 9 - 16 / 5. + 25 + 1 + 4 - 64 / 5.;
    ck_assert_double_eq_tol(variance, within / total, 1e-12);
    CHECK_OK(ij_grouped_stats(x[0], place, 1, 1, 3, 2, &cosine, &variance, &err));
    ck_assert(isnan(cosine) && isnan(variance));
    CHECK_FAILS(ij_grouped_stats(x[0], place, 6, 1, 3, 2, &cosine, &variance, &err), IJ_ERROR_MISMATCH);
}
END_TEST

/* ---- on a real step ---- */

#define BATCH 5
#define DIM 24

/* A step's tensors on the host, in double. */
typedef struct snapshot {
    int64_t rows, patches; /* target rows */
    double *y, *targets, *predictions;
    uint32_t *place;
} snapshot;

static double *read_doubles(gpu_tensor tensor, int64_t count) {
    ij_error err = {0};
    float *values = malloc((size_t)count * 4);
    double *out = malloc((size_t)count * sizeof *out);
    CHECK_OK(gpu_read(test_device, tensor, 0, values, 4 * (uint64_t)count, &err));
    for (int64_t i = 0; i < count; i++) out[i] = (double)values[i];
    free(values);
    return out;
}

static snapshot take_snapshot(const ij_jepa *j) {
    ij_error err = {0};
    uint32_t offsets[BATCH * 4 + 1];
    CHECK_OK(gpu_read(test_device, j->masks.tgt_offsets, 0, offsets, sizeof offsets, &err));
    snapshot s = {.rows = offsets[BATCH * 4], .patches = ij_patches(&j->desc.model)};
    s.y = read_doubles(j->target_saved.y, BATCH * s.patches * DIM);
    s.targets = read_doubles(j->targets, s.rows * DIM);
    s.predictions = read_doubles(j->predictions, s.rows * DIM);
    s.place = malloc((size_t)s.rows * 4);
    CHECK_OK(gpu_read(test_device, j->masks.tgt_rows, 0, s.place, 4 * (uint64_t)s.rows, &err));
    return s;
}

static double smooth_l1(double d) { return fabs(d) < 1 ? d * d / 2 : fabs(d) - 0.5; }

/* RankMe of x itself, through the one-sided Jacobi method: columns are rotated until they are orthogonal, their lengths are the singular
 * values. */
static double naive_rankme(double *x, int64_t rows) {
    for (int round = 0; round < 40; round++)
        for (int p = 0; p < DIM; p++)
            for (int q = p + 1; q < DIM; q++) {
                double pp = 0, qq = 0, pq = 0;
                for (int64_t r = 0; r < rows; r++)
                    pp += x[r * DIM + p] * x[r * DIM + p], qq += x[r * DIM + q] * x[r * DIM + q], pq += x[r * DIM + p] * x[r * DIM + q];
                if (fabs(pq) < 1e-300) continue;
                double theta = 0.5 * atan2(2 * pq, pp - qq), c = cos(theta), s = sin(theta);
                for (int64_t r = 0; r < rows; r++) {
                    double a = x[r * DIM + p], b = x[r * DIM + q];
                    x[r * DIM + p] = c * a + s * b, x[r * DIM + q] = c * b - s * a;
                }
            }
    double length[DIM], total = 0, entropy = 0, largest = 0;
    for (int d = 0; d < DIM; d++) {
        length[d] = 0;
        for (int64_t r = 0; r < rows; r++) length[d] += x[r * DIM + d] * x[r * DIM + d];
        length[d] = sqrt(length[d]), largest = fmax(largest, length[d]);
    }
    for (int d = 0; d < DIM; d++) total += length[d] > 1e-3 * largest ? length[d] : 0;
    for (int d = 0; d < DIM; d++)
        if (length[d] > 1e-3 * largest) entropy -= length[d] / total * log(length[d] / total);
    return exp(entropy);
}

/* Each number by its definition. */
static ij_monitor_sample naive_sample(snapshot *s) {
    ij_monitor_sample out = {0};
    int64_t P = s->patches;
    double *normed = malloc((size_t)(BATCH * P * DIM) * sizeof(double)), *mean = malloc((size_t)(P * DIM) * sizeof(double)), stats[4],
           pooled[BATCH * DIM] = {0};
    ref_layernorm(s->y, NULL, NULL, NULL, normed, NULL, NULL, BATCH * P, DIM, 1e-5);
    ref_position_stats(normed, mean, stats, BATCH, P, DIM, LOSS_L2);
    out.position_variance_target = stats[0] / stats[2];
    for (int64_t i = 0; i < BATCH * P; i++)
        for (int d = 0; d < DIM; d++) pooled[i / P * DIM + d] += s->y[i * DIM + d] / (double)P;
    out.cosine_target = ref_cosine_stats(pooled, BATCH, DIM);
    for (int64_t r = 0; r < s->rows; r++)
        for (int d = 0; d < DIM; d++) {
            int64_t image = s->place[r] / P, position = s->place[r] % P;
            double others = 0, target = s->targets[r * DIM + d];
            for (int64_t b = 0; b < BATCH; b++) others += b != image ? normed[(b * P + position) * DIM + d] / (BATCH - 1) : 0;
            out.trivial_loss += smooth_l1(others - target) / (double)(s->rows * DIM);
            out.loss += smooth_l1(s->predictions[r * DIM + d] - target) / (double)(s->rows * DIM);
        }
    memset(pooled, 0, sizeof pooled);
    for (int64_t r = 0; r < s->rows; r++)
        for (int d = 0; d < DIM; d++) pooled[s->place[r] / P * DIM + d] += s->predictions[r * DIM + d];
    out.cosine_prediction = ref_cosine_stats(pooled, BATCH, DIM);
    out.rankme_prediction = naive_rankme(s->predictions, s->rows);
    out.rankme_target = naive_rankme(s->y, BATCH * P);
    free(normed);
    free(mean);
    return out;
}

START_TEST(test_sample_of_a_step) {
    ij_error err = {0};
    ij_jepa_desc desc = {.model = {.image_height = 24,
                                   .image_width = 20,
                                   .patch_size = 4,
                                   .channels = 1,
                                   .dim = DIM,
                                   .depth = 2,
                                   .heads = 2,
                                   .hidden = 48,
                                   .pred_dim = 16,
                                   .pred_depth = 1,
                                   .pred_heads = 2,
                                   .pred_hidden = 32,
                                   .norm_eps = 1e-6f},
                         .masks = {.grid_h = 6, .grid_w = 5, .blocks = 4, .min_keep = 3},
                         .batch = BATCH,
                         .accumulation = 1,
                         .loss = LOSS_SMOOTH_L1,
                         .mean = {0.3f, 0.3f, 0.3f},
                         .std = {0.3f, 0.3f, 0.3f},
                         .pixel_bytes = BATCH * 24 * 20};
    masks_defaults(&desc.masks);
    ij_weights *weights;
    ij_jepa *jepa;
    ij_monitor *monitor;
    CHECK_OK(ij_weights_create(test_device, &desc.model, IJ_KEEP_TRAINING, &weights, &err));
    CHECK_OK(ij_jepa_plan(test_device, &desc, weights, &jepa, &err));
    CHECK_OK(ij_weights_commit(weights, &err));
    CHECK_OK(ij_jepa_build(jepa, &err));
    CHECK_OK(ij_weights_initialise(weights, 3, &err));
    CHECK_OK(ij_monitor_create(jepa, &monitor, &err));
    uint8_t pixels[BATCH * 24 * 20];
    ij_jepa_image images[BATCH];
    for (int i = 0; i < BATCH * 24 * 20; i++) pixels[i] = (uint8_t)(256 * uniform(9, (uint32_t)i));
    for (int i = 0; i < BATCH; i++)
        images[i] = (ij_jepa_image){
            .offset = (uint64_t)i * 24 * 20, .width = 20, .height = 24, .channels = 1, .crop_w = 20, .crop_h = 24, .sample = (uint32_t)i};
    ij_step_scalars scalars = {.seed = 1, .lr = 1e-3, .momentum = 0.99, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    ij_monitor_sample got;
    for (int i = 0; i < 2; i++) { /* twice: nothing adds up from look to look */
        CHECK_OK(ij_jepa_pass(jepa, 0, &scalars, images, pixels, sizeof pixels, &err));
        CHECK_OK(ij_monitor_record(monitor, &err));
        CHECK_OK(ij_monitor_read(monitor, &got, &err));
    }
    snapshot s = take_snapshot(jepa);
    ij_monitor_sample want = naive_sample(&s);
    ck_assert_double_eq_tol(got.loss, want.loss, 1e-5 * want.loss);
    /* leave-one-out by a factor is exact for differences below 1; few here are larger */
    ck_assert_double_eq_tol(got.trivial_loss, want.trivial_loss, 0.02 * want.trivial_loss);
    ck_assert_double_eq_tol(got.cosine_target, want.cosine_target, 1e-5);
    ck_assert_double_eq_tol(got.cosine_prediction, want.cosine_prediction, 1e-5);
    ck_assert_double_eq_tol(got.position_variance_target, want.position_variance_target, 1e-5);
    ck_assert(got.position_variance_prediction > 0 && got.position_variance_prediction < 1);
    ck_assert_double_eq_tol(got.rankme_target, want.rankme_target, 0.02 * want.rankme_target);
    ck_assert_double_eq_tol(got.rankme_prediction, want.rankme_prediction, 0.02 * want.rankme_prediction);
    ck_assert(want.rankme_target > 1.5 && want.rankme_prediction > 1.01);
    free(s.y), free(s.targets), free(s.predictions), free(s.place);
    ij_monitor_destroy(monitor);
    ij_jepa_destroy(jepa);
    ij_weights_destroy(weights);
}
END_TEST

/* ---- verdicts ---- */

typedef struct look {
    double loss, trivial, cosine, variance, rank;
} look;

/* Judges a history; every verdict goes to `all` (may be NULL), the last is returned. */
static ij_verdict judge(const look *looks, int count, ij_verdict *all, char *reason) {
    ij_verdict_history history = {0};
    ij_verdict verdict = IJ_VERDICT_HEALTHY;
    for (int i = 0; i < count; i++) {
        ij_monitor_sample s = {.loss = looks[i].loss,
                               .trivial_loss = looks[i].trivial,
                               .cosine_target = looks[i].cosine,
                               .position_variance_prediction = looks[i].variance,
                               .rankme_target = looks[i].rank};
        verdict = ij_verdict_judge(&history, 50 * i, &s, reason, 300);
        ck_assert(strlen(reason) > 10);
        if (all) all[i] = verdict;
    }
    return verdict;
}

/* The runs of train/verdict.h as measured, a look every 2,400 images (to_few_directions: 4,800): loss, trivial loss, cosine, variance of
 * the predictions, rank. */
static const look to_position[] = {{0.4422, 0.02294, 0.9934, 7.044e-05, 11.82},    {0.102, 0.024, 0.9929, 0.0002593, 11.87},
                                   {0.01473, 0.01095, 0.9974, 5.916e-05, 8.843},   {0.003189, 0.002638, 0.9993, 4.602e-05, 4.635},
                                   {0.002142, 0.001837, 0.9994, 3.527e-05, 3.458}, {0.001751, 0.001524, 0.9995, 3.499e-05, 2.96},
                                   {0.001569, 0.001366, 0.9995, 3.374e-05, 2.704}, {0.001451, 0.001288, 0.9995, 3.738e-05, 2.561},
                                   {0.00142, 0.00125, 0.9995, 4.127e-05, 2.481},   {0.00138, 0.001233, 0.9996, 4.414e-05, 2.44},
                                   {0.001376, 0.001228, 0.9996, 4.47e-05, 2.427}};
static const look to_few_directions[] = {{0.445, 0.007631, 0.9977, 6.637e-05, 9.943}, {0.04514, 0.02646, 0.9842, 0.0003938, 11.32},
                                         {0.01215, 0.01392, 0.9909, 0.2938, 4.52},    {0.01738, 0.02673, 0.9773, 0.5739, 4.107},
                                         {0.01925, 0.03328, 0.9686, 0.5977, 4.046},   {0.01952, 0.03529, 0.9656, 0.6455, 4.039}};
static const look plain_learns[] = {
    {0.5095, 0.1411, 0.9319, 0.037, 21.4},    {0.2049, 0.1282, 0.9439, 0.08469, 20.61}, {0.1214, 0.1232, 0.9267, 0.2402, 19.74},
    {0.1012, 0.1253, 0.8978, 0.3922, 18.99},  {0.09202, 0.1341, 0.8703, 0.475, 19.04},  {0.09106, 0.1416, 0.8475, 0.5441, 19.36},
    {0.08929, 0.1473, 0.8272, 0.5349, 19.74}, {0.08671, 0.1521, 0.8098, 0.5538, 20.11}, {0.08629, 0.1559, 0.7964, 0.5357, 20.4},
    {0.08718, 0.1582, 0.7881, 0.551, 20.58},  {0.0874, 0.159, 0.7853, 0.5481, 20.64}};
static const look vicreg_grey[] = {
    {0.467, 0.007291, 0.9982, 7.253e-05, 10.07}, {0.1571, 0.02263, 0.9874, 0.008257, 12.32}, {0.08253, 0.06069, 0.8536, 0.01219, 14.5},
    {0.06918, 0.08562, 0.662, 0.1147, 15.9},     {0.06564, 0.09425, 0.6736, 0.1063, 17.48},  {0.07334, 0.1057, 0.6702, 0.1366, 18.73},
    {0.08148, 0.1176, 0.6433, 0.1628, 19.59},    {0.08946, 0.127, 0.6203, 0.1598, 20.21},    {0.09171, 0.1343, 0.6016, 0.1885, 20.66},
    {0.09506, 0.1386, 0.5908, 0.2077, 20.93},    {0.09631, 0.14, 0.5872, 0.207, 21.01}};
static const look vicreg_colour[] = {
    {0.4422, 0.02294, 0.9934, 7.044e-05, 11.82}, {0.1767, 0.05536, 0.9629, 0.003461, 14.15}, {0.1136, 0.1045, 0.7325, 0.05313, 16.44},
    {0.09837, 0.1199, 0.6053, 0.0817, 18.78},    {0.1181, 0.144, 0.5482, 0.1484, 20.21},     {0.1262, 0.1677, 0.5136, 0.2157, 20.83},
    {0.132, 0.1851, 0.4931, 0.2546, 21.26},      {0.1343, 0.1962, 0.4785, 0.2862, 21.61},    {0.1354, 0.2043, 0.4653, 0.2862, 21.85},
    {0.1383, 0.2088, 0.457, 0.3224, 22},         {0.1385, 0.2103, 0.4546, 0.3168, 22.04}};

START_TEST(test_collapsed_runs) {
    ij_verdict all[32];
    char reason[300];
    ck_assert_int_eq(judge(to_position, IJ_COUNT(to_position), all, reason), IJ_VERDICT_COLLAPSED);
    for (int i = 0; i < 3; i++) ck_assert_int_eq(all[i], IJ_VERDICT_HEALTHY); /* not before the targets have fallen */
    for (int i = 6; i < IJ_COUNT(to_position); i++) ck_assert_int_eq(all[i], IJ_VERDICT_COLLAPSED);
    /* The other was looked at half as often: each look counts twice. */
    look twice[2 * IJ_COUNT(to_few_directions)];
    for (int i = 0; i < IJ_COUNT(twice); i++) twice[i] = to_few_directions[i / 2];
    ck_assert_int_eq(judge(twice, IJ_COUNT(twice), NULL, reason), IJ_VERDICT_COLLAPSED);
    ck_assert_ptr_nonnull(strstr(reason, "rank fell from 9.9 to 4.0"));
}
END_TEST

START_TEST(test_learning_runs) {
    const struct {
        const look *looks;
        int count;
    } runs[] = {{plain_learns, IJ_COUNT(plain_learns)}, {vicreg_grey, IJ_COUNT(vicreg_grey)}, {vicreg_colour, IJ_COUNT(vicreg_colour)}};
    for (int r = 0; r < IJ_COUNT(runs); r++) {
        ij_verdict all[32];
        char reason[300];
        judge(runs[r].looks, runs[r].count, all, reason);
        for (int i = 0; i < runs[r].count; i++)
            ck_assert_msg(all[i] == IJ_VERDICT_HEALTHY, "run %d, look %d: %s", r, i, ij_verdict_name(all[i]));
        ck_assert_ptr_nonnull(strstr(reason, "uses the context"));
    }
}
END_TEST

/* Ends with this verdict and a reason that has this part. */
static void check_ends(const look *looks, int count, ij_verdict wanted, const char *part) {
    char reason[300];
    ij_verdict got = judge(looks, count, NULL, reason);
    ck_assert_msg(got == wanted && strstr(reason, part), "%s: %s", ij_verdict_name(got), reason);
}

START_TEST(test_warnings) {
    look looks[12];
    /* Loss above the trivial predictor's for good. */
    for (int i = 0; i < 12; i++) looks[i] = (look){i < 4 ? 0.5 / (i + 1) : 0.12, 0.1, 0.9, 0.05, 10};
    check_ends(looks, 12, IJ_VERDICT_WARNING, "1.20 times");
    /* Images alike. */
    for (int i = 0; i < 12; i++) looks[i] = (look){0.08, 0.1, 0.97, 0.05, 10};
    check_ends(looks, 12, IJ_VERDICT_WARNING, "alike");
    /* Predictions that do not depend on the image. */
    for (int i = 0; i < 12; i++) looks[i] = (look){0.098, 0.1, 0.9, 1e-4, 10};
    check_ends(looks, 12, IJ_VERDICT_WARNING, "predictions are nearly the same");
    /* Rank sinking from the start, and from a height. */
    for (int i = 0; i < 12; i++) looks[i] = (look){0.05, 0.1, 0.5, 0.2, i < 3 ? 10 : 7};
    check_ends(looks, 12, IJ_VERDICT_WARNING, "rank is sinking");
    for (int i = 0; i < 12; i++) looks[i] = (look){0.05, 0.1, 0.5, 0.2, i == 0 ? 10 : i < 6 ? 30 : 12};
    check_ends(looks, 12, IJ_VERDICT_WARNING, "30.0 at its highest");
    /* The loss still falls: no warning yet. */
    for (int i = 0; i < 12; i++) looks[i] = (look){2.0 / (i + 1), 0.1, 0.99, 0.02, 10};
    check_ends(looks, 12, IJ_VERDICT_HEALTHY, "and falling");
}
END_TEST

START_TEST(test_constant_features) {
    look looks[5];
    char reason[300];
    for (int i = 0; i < 5; i++) looks[i] = (look){1e-7, 1e-7, 1, 0, 1};
    ck_assert_int_eq(judge(looks, 5, NULL, reason), IJ_VERDICT_COLLAPSED);
}
END_TEST

START_TEST(test_one_look_does_not_flip) {
    look looks[20];
    ij_verdict all[20];
    char reason[300];
    for (int i = 0; i < 20; i++) looks[i] = i % 7 == 5 ? (look){0.9, 1e-6, 1, 0, 1} : (look){0.06, 0.1, 0.5, 0.3, 10};
    judge(looks, 20, all, reason);
    for (int i = 0; i < 20; i++) ck_assert_int_eq(all[i], IJ_VERDICT_HEALTHY);
}
END_TEST

START_TEST(test_not_a_number_is_not_judged) {
    const look looks[3] = {{NAN, NAN, NAN, NAN, 1}, {0.1, NAN, NAN, NAN, 1}, {NAN, 0.1, 0.5, 0.1, 1}};
    char reason[300];
    ck_assert_int_eq(judge(looks, 3, NULL, reason), IJ_VERDICT_HEALTHY);
    ck_assert_ptr_nonnull(strstr(reason, "not judged"));
}
END_TEST

Suite *monitor_suite(void) {
    Suite *suite = suite_create("monitor");
    TCase *host = tcase_create("host");
    tcase_add_test(host, test_eigenvalues);
    tcase_add_test(host, test_eigenvalues_refuse);
    tcase_add_test(host, test_rankme);
    tcase_add_test(host, test_grouped_stats);
    tcase_add_test(host, test_collapsed_runs);
    tcase_add_test(host, test_learning_runs);
    tcase_add_test(host, test_warnings);
    tcase_add_test(host, test_constant_features);
    tcase_add_test(host, test_one_look_does_not_flip);
    tcase_add_test(host, test_not_a_number_is_not_judged);
    suite_add_tcase(suite, host);
    TCase *on_device = tcase_create("device");
    tcase_add_unchecked_fixture(on_device, open_test_device, close_test_device);
    tcase_set_timeout(on_device, 0);
    tcase_add_test(on_device, test_sample_of_a_step);
    suite_add_tcase(suite, on_device);
    return suite;
}
