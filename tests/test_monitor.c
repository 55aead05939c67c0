/* The collapse monitor: its numbers against plain doubles on a real step, its verdicts on histories whose end is known. */
#include "suites.h"
#include "model/embed.h"
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

/* X X^T of many more rows than columns, as a batch larger than the model's width gives: the eigenvalues of X^T X, and zeros. */
START_TEST(test_eigenvalues_of_a_singular_matrix) {
    enum { ROWS = 128, COLUMNS = 48, TRIES = 40 };
    double *x = malloc(sizeof(double) * ROWS * COLUMNS), *a = malloc(sizeof(double) * ROWS * ROWS);
    double small[COLUMNS * COLUMNS], got[ROWS], wanted[COLUMNS];
    for (uint32_t try = 0; try < TRIES; try++) {
        ij_error err = {0};
        for (uint32_t i = 0; i < ROWS * COLUMNS; i++) x[i] = uniform(100 + try, i) - 0.5;
        for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < ROWS; j++) {
                a[i * ROWS + j] = 0;
                for (int d = 0; d < COLUMNS; d++) a[i * ROWS + j] += x[i * COLUMNS + d] * x[j * COLUMNS + d];
            }
        for (int i = 0; i < COLUMNS; i++)
            for (int j = 0; j < COLUMNS; j++) {
                small[i * COLUMNS + j] = 0;
                for (int r = 0; r < ROWS; r++) small[i * COLUMNS + j] += x[r * COLUMNS + i] * x[r * COLUMNS + j];
            }
        CHECK_OK(ij_eigenvalues(a, ROWS, got, &err));
        CHECK_OK(ij_eigenvalues(small, COLUMNS, wanted, &err));
        qsort(got, ROWS, sizeof *got, ascending);
        qsort(wanted, COLUMNS, sizeof *wanted, ascending);
        for (int i = 0; i < ROWS; i++)
            ck_assert_double_eq_tol(got[i], i < ROWS - COLUMNS ? 0 : wanted[i - (ROWS - COLUMNS)], 1e-13 * ROWS * wanted[COLUMNS - 1]);
    }
    free(x);
    free(a);
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

/* Four images (+-a, 0), (0, +-b) about (5, 7): B = diag(a^2, b^2) / 2; W = diag(w0, w1) by hand. */
START_TEST(test_image_spectrum) {
    ij_error err = {0};
    const double a = 2, b = 0.5, w[2] = {3, 0.01};
    const float means[4][2] = {{5 + 2, 7}, {5 - 2, 7}, {5, 7.5f}, {5, 6.5f}};
    const int64_t patches = 10;
    const float within[4] = {(float)(40 * w[0]), 0, 0, (float)(40 * w[1])};
    double eigenvalues[2], between[2] = {a * a / 2, b * b / 2}, total = w[0] + w[1] + between[0] + between[1];
    ij_image_stats stats;
    CHECK_OK(ij_image_spectrum(within, means[0], 4, patches, 2, eigenvalues, &stats, &err));
    ck_assert_double_eq_tol(eigenvalues[0], w[0] + between[0], 1e-6);
    ck_assert_double_eq_tol(eigenvalues[1], w[1] + between[1], 1e-6);
    ck_assert_double_eq_tol(stats.image_share, (between[0] + between[1]) / total, 1e-6);
    ck_assert_double_eq_tol(stats.top_share, (w[0] + between[0]) / total, 1e-6);
    double ridge = IJ_LIDAR_RIDGE * total / 2, l0 = between[0] / (w[0] + ridge), l1 = between[1] / (w[1] + ridge), p = l0 / (l0 + l1);
    ck_assert_double_eq_tol(stats.lidar, exp(-p * log(p) - (1 - p) * log(1 - p)), 1e-5);
    /* Images alike: no share; nothing at all: no number. */
    const float alike[4][2] = {{1, 2}, {1, 2}, {1, 2}, {1, 2}}, none[4] = {0};
    CHECK_OK(ij_image_spectrum(within, alike[0], 4, patches, 2, eigenvalues, &stats, &err));
    ck_assert(stats.image_share == 0 && stats.lidar == 0);
    CHECK_OK(ij_image_spectrum(none, alike[0], 4, patches, 2, eigenvalues, &stats, &err));
    ck_assert(isnan(stats.image_share) && isnan(stats.lidar) && isnan(stats.top_share) && eigenvalues[0] == 0);
}
END_TEST

START_TEST(test_spectrum_points) {
    int at[IJ_SPECTRUM_POINTS];
    for (int n = 1; n <= 1400; n++) {
        int count = ij_spectrum_points(n, at);
        ck_assert_int_eq(count, n < IJ_SPECTRUM_POINTS ? n : IJ_SPECTRUM_POINTS);
        ck_assert(at[0] == 1 && at[count - 1] == n);
        for (int i = 1; i < count; i++) ck_assert_int_gt(at[i], at[i - 1]);
    }
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
    int64_t rows, patches, width; /* target rows; patches of an image; numbers of a target */
    bool blocks;                  /* targets exist in blocks only */
    bool squares;                 /* the loss is L2, else smooth L1 */
    double *y, *all; /* [BATCH patches, DIM] features; [BATCH patches, width] what targets are the LayerNorm of, NULL with blocks */
    double eps;      /* of that LayerNorm */
    double *targets, *predictions;
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

/* The features of whole images come from the embedder: not every step computes them. */
static double *read_features(const ij_jepa *j, const ij_jepa_image *images, const uint8_t *pixels, uint64_t bytes) {
    ij_error err = {0};
    ij_embedder *embedder;
    int64_t count = (int64_t)BATCH * ij_patches(&j->desc.model) * DIM;
    float *tokens = malloc((size_t)count * 4);
    double *out = malloc((size_t)count * sizeof *out);
    ij_embed_desc desc = {.model = j->desc.model, .batch = BATCH, .pixel_bytes = bytes, .output = IJ_EMBED_TOKENS};
    memcpy(desc.mean, j->desc.mean, sizeof desc.mean);
    memcpy(desc.std, j->desc.std, sizeof desc.std);
    CHECK_OK(ij_embedder_create(test_device, &desc, j->weights, &embedder, &err));
    CHECK_OK(ij_embedder_run(embedder, images, BATCH, pixels, bytes, tokens, &err));
    for (int64_t i = 0; i < count; i++) out[i] = (double)tokens[i];
    ij_embedder_destroy(embedder);
    free(tokens);
    return out;
}

static snapshot take_snapshot(const ij_jepa *j, const ij_jepa_image *images, const uint8_t *pixels, uint64_t bytes) {
    ij_error err = {0};
    uint32_t offsets[BATCH * 4 + 1];
    CHECK_OK(gpu_read(test_device, j->masks.tgt_offsets, 0, offsets, sizeof offsets, &err));
    const ij_model_config *m = &j->desc.model;
    snapshot s = {.rows = offsets[BATCH * 4],
                  .patches = ij_patches(m),
                  .width = ij_target_dim(m),
                  .squares = j->desc.loss == LOSS_L2,
                  .blocks = m->target_mask == IJ_TARGET_MASK_INPUT,
                  .eps = m->targets == IJ_TARGETS_PIXELS ? 1e-6 : 1e-5};
    s.y = read_features(j, images, pixels, bytes);
    if (!s.blocks) s.all = read_doubles(m->targets == IJ_TARGETS_PIXELS ? j->rows : j->target_saved.y, BATCH * s.patches * s.width);
    s.targets = read_doubles(j->targets, s.rows * s.width);
    s.predictions = read_doubles(j->predictions, s.rows * s.width);
    s.place = malloc((size_t)s.rows * 4);
    CHECK_OK(gpu_read(test_device, j->masks.tgt_rows, 0, s.place, 4 * (uint64_t)s.rows, &err));
    return s;
}

static double distance(const snapshot *s, double d) { return s->squares ? d * d : fabs(d) < 1 ? d * d / 2 : fabs(d) - 0.5; }

/* RankMe of x itself, through the one-sided Jacobi method: columns are rotated until they are orthogonal, their lengths are the singular
 * values. */
static double naive_rankme(double *x, int64_t rows, int dim) {
    for (int round = 0; round < 40; round++)
        for (int p = 0; p < dim; p++)
            for (int q = p + 1; q < dim; q++) {
                double pp = 0, qq = 0, pq = 0;
                for (int64_t r = 0; r < rows; r++)
                    pp += x[r * dim + p] * x[r * dim + p], qq += x[r * dim + q] * x[r * dim + q], pq += x[r * dim + p] * x[r * dim + q];
                if (fabs(pq) < 1e-300) continue;
                double theta = 0.5 * atan2(2 * pq, pp - qq), c = cos(theta), s = sin(theta);
                for (int64_t r = 0; r < rows; r++) {
                    double a = x[r * dim + p], b = x[r * dim + q];
                    x[r * dim + p] = c * a + s * b, x[r * dim + q] = c * b - s * a;
                }
            }
    double length[DIM], total = 0, entropy = 0, largest = 0;
    for (int d = 0; d < dim; d++) {
        length[d] = 0;
        for (int64_t r = 0; r < rows; r++) length[d] += x[r * dim + d] * x[r * dim + d];
        length[d] = sqrt(length[d]), largest = fmax(largest, length[d]);
    }
    for (int d = 0; d < dim; d++) total += length[d] > 1e-3 * largest ? length[d] : 0;
    for (int d = 0; d < dim; d++)
        if (length[d] > 1e-3 * largest) entropy -= length[d] / total * log(length[d] / total);
    return exp(entropy);
}

/* The mean loss of predicting, for each target, the mean target of its position in the other images. */
static double naive_trivial(const snapshot *s, const double *normed) {
    double sum = 0, used = 0;
    int64_t P = s->patches, W = s->width;
    for (int64_t r = 0; r < s->rows; r++) {
        int64_t image = s->place[r] / P, position = s->place[r] % P;
        double others[DIM] = {0}, count = 0;
        for (int64_t q = 0; q < (normed ? BATCH * P : s->rows); q++) { /* all patches, or those of all blocks */
            int64_t at = normed ? q : s->place[q];
            if (at % P != position || at / P == image) continue;
            count++;
            for (int64_t d = 0; d < W; d++) others[d] += (normed ? normed : s->targets)[q * W + d];
        }
        for (int64_t d = 0; d < W && count > 0; d++) sum += distance(s, others[d] / count - s->targets[r * W + d]), used++;
    }
    return sum / used;
}

/* Trace of the features' covariance, the part of it between images, and its squared Frobenius norm. */
typedef struct covariance {
    double trace, between, squares;
} covariance;

static covariance naive_covariance(const snapshot *s) {
    covariance out = {0};
    double mean[DIM] = {0}, image[BATCH][DIM] = {{0}}, rows = (double)(BATCH * s->patches);
    for (int64_t r = 0; r < BATCH * s->patches; r++)
        for (int d = 0; d < DIM; d++)
            mean[d] += s->y[r * DIM + d] / rows, image[r / s->patches][d] += s->y[r * DIM + d] / (double)s->patches;
    for (int a = 0; a < DIM; a++)
        for (int b = 0; b < DIM; b++) {
            double c = 0;
            for (int64_t r = 0; r < BATCH * s->patches; r++) c += (s->y[r * DIM + a] - mean[a]) * (s->y[r * DIM + b] - mean[b]) / rows;
            out.squares += c * c;
            if (a == b) out.trace += c;
        }
    for (int i = 0; i < BATCH; i++)
        for (int d = 0; d < DIM; d++) out.between += pow(image[i][d] - mean[d], 2) / BATCH;
    return out;
}

/* |encoder - target| / |encoder| over all weights that both have. */
static double naive_distance(const ij_weights *w) {
    ij_error err = {0};
    double difference = 0, squares = 0;
    for (int i = 0; i < w->table.encoder_count; i++) {
        int64_t count = w->table.params[i].count;
        float *values = malloc(8 * (size_t)count), *target = values + count;
        CHECK_OK(ij_weights_read(w, IJ_SLOT_WEIGHT, i, values, &err));
        CHECK_OK(ij_weights_read(w, IJ_SLOT_TARGET, i, target, &err));
        for (int64_t e = 0; e < count; e++)
            difference += pow((double)values[e] - (double)target[e], 2), squares += pow((double)values[e], 2);
        free(values);
    }
    return sqrt(difference / squares);
}

/* Each number by its definition. */
static ij_monitor_sample naive_sample(snapshot *s) {
    ij_monitor_sample out = {.position_variance_target = NAN};
    int64_t P = s->patches, W = s->width;
    double *normed = NULL, stats[4], pooled[BATCH * DIM] = {0};
    if (s->all) {
        double *mean = malloc((size_t)(P * W) * sizeof(double));
        normed = malloc((size_t)(BATCH * P * W) * sizeof(double));
        ref_layernorm(s->all, NULL, NULL, NULL, normed, NULL, NULL, BATCH * P, W, s->eps);
        ref_position_stats(normed, mean, stats, BATCH, P, W, LOSS_L2);
        out.position_variance_target = stats[0] / stats[2];
        free(mean);
    }
    for (int64_t i = 0; i < BATCH * P; i++)
        for (int d = 0; d < DIM; d++) pooled[i / P * DIM + d] += s->y[i * DIM + d] / (double)P;
    out.cosine_target = ref_cosine_stats(pooled, BATCH, DIM);
    out.trivial_loss = naive_trivial(s, normed);
    for (int64_t e = 0; e < s->rows * W; e++) out.loss += distance(s, s->predictions[e] - s->targets[e]) / (double)(s->rows * W);
    memset(pooled, 0, sizeof pooled);
    for (int64_t r = 0; r < s->rows; r++)
        for (int64_t d = 0; d < W; d++) pooled[s->place[r] / P * W + d] += s->predictions[r * W + d];
    out.cosine_prediction = ref_cosine_stats(pooled, BATCH, W);
    out.rankme_prediction = naive_rankme(s->predictions, s->rows, (int)W);
    out.rankme_target = naive_rankme(s->y, BATCH * P, DIM);
    free(normed);
    return out;
}

/* The step as released, with pixels as targets, and with blocks masked at the target encoder's input. */
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
                                   .norm_eps = 1e-6f,
                                   .targets = _i == 1 ? IJ_TARGETS_PIXELS : IJ_TARGETS_LATENT,
                                   .target_mask = _i == 2 ? IJ_TARGET_MASK_INPUT : IJ_TARGET_MASK_OUTPUT},
                         .masks = {.grid_h = 6, .grid_w = 5, .blocks = 4, .min_keep = 3},
                         .batch = BATCH,
                         .accumulation = 1,
                         .loss = _i == 1 ? LOSS_L2 : LOSS_SMOOTH_L1,
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
    ij_monitor_sample got, after;
    for (int i = 0; i < 2; i++) { /* twice: nothing adds up from look to look */
        CHECK_OK(ij_jepa_pass(jepa, 0, &scalars, images, pixels, sizeof pixels, &err));
        CHECK_OK(ij_monitor_record(monitor, &err));
        CHECK_OK(ij_monitor_read(monitor, &got, &err));
    }
    snapshot s = take_snapshot(jepa, images, pixels, sizeof pixels);
    covariance spread = naive_covariance(&s);
    double trace = 0, squares = 0;
    ck_assert_int_eq(got.spectrum_count, DIM); /* all of them, so that their sums are known */
    for (int i = 0; i < DIM; i++) trace += got.spectrum_target[i], squares += got.spectrum_target[i] * got.spectrum_target[i];
    ck_assert_double_eq_tol(trace, spread.trace, 1e-5 * spread.trace);
    ck_assert_double_eq_tol(squares, spread.squares, 1e-5 * spread.squares);
    ck_assert_double_eq_tol(got.image_share_target, spread.between / spread.trace, 1e-5);
    ck_assert_double_eq_tol(got.top_share_target, got.spectrum_target[0] / spread.trace, 1e-5);
    ck_assert(got.lidar_target >= 1 && got.lidar_target <= BATCH - 1 + 1e-9);
    ck_assert_double_eq(got.ema_distance, 0); /* no step was made */
    for (int i = 0; i < 3; i++) {             /* three steps, and the distance after two */
        CHECK_OK(ij_jepa_pass(jepa, 0, &scalars, images, pixels, sizeof pixels, &err));
        if (i == 2) CHECK_OK(ij_monitor_record(monitor, &err));
        if (i == 2) CHECK_OK(ij_monitor_read(monitor, &after, &err));
        if (i < 2) CHECK_OK(ij_jepa_update(jepa, 0, &err));
    }
    double moved = naive_distance(weights);
    ck_assert(moved > 1e-4);
    ck_assert_double_eq_tol(after.ema_distance, moved, 1e-5 * moved);
    ij_monitor_sample want = naive_sample(&s);
    ck_assert_double_eq_tol(got.loss, want.loss, 1e-5 * want.loss);
    /* On the host leaving one out is exact. The device's factor is exact for L2, and for smooth L1 as far as differences stay below 1; few
     * here are larger. */
    double trivial_bound = s.blocks || s.squares ? 1e-5 : 0.02;
    ck_assert_double_eq_tol(got.trivial_loss, want.trivial_loss, trivial_bound * want.trivial_loss);
    ck_assert_double_eq_tol(got.cosine_target, want.cosine_target, 1e-5);
    ck_assert_double_eq_tol(got.cosine_prediction, want.cosine_prediction, 1e-5);
    if (s.blocks)
        ck_assert(got.position_variance_target > 0 && got.position_variance_target < 1);
    else
        ck_assert_double_eq_tol(got.position_variance_target, want.position_variance_target, 1e-5);
    ck_assert(got.position_variance_prediction > 0 && got.position_variance_prediction < 1);
    ck_assert_double_eq_tol(got.rankme_target, want.rankme_target, 0.02 * want.rankme_target);
    ck_assert_double_eq_tol(got.rankme_prediction, want.rankme_prediction, 0.02 * want.rankme_prediction);
    ck_assert(want.rankme_target > 1.5 && want.rankme_prediction > 1.01);
    free(s.y), free(s.all), free(s.targets), free(s.predictions), free(s.place);
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
    for (int i = 0; i < 12; i++) looks[i] = (look){0.08, 0.1, 0.985, 0.05, 10};
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

/* Three images, positions 0 and 1, one number a row, by hand: position 0 has 1 and 3 (image 0, two blocks), 6 (image 1), 0 (image 2);
 * position 1 has 5 in image 2 alone. Others' means: 3, 3, 4/3, 10/3. */
START_TEST(test_grouped_trivial) {
    ij_error err = {0};
    const float x[] = {1, 3, 6, 0, 5};
    const uint32_t place[] = {0, 0, 2, 4, 5};
    double loss;
    CHECK_OK(ij_grouped_trivial(x, place, 5, 3, 2, 1, LOSS_L1, &loss, &err));
    ck_assert_double_eq_tol(loss, (2 + 0 + 14.0 / 3 + 10.0 / 3) / 4, 1e-12);
    CHECK_OK(ij_grouped_trivial(x, place, 5, 3, 2, 1, LOSS_L2, &loss, &err));
    ck_assert_double_eq_tol(loss, (4 + 0 + 196.0 / 9 + 100.0 / 9) / 4, 1e-12);
    CHECK_OK(ij_grouped_trivial(x, place, 5, 3, 2, 1, LOSS_SMOOTH_L1, &loss, &err));
    ck_assert_double_eq_tol(loss, (1.5 + 0 + 14.0 / 3 - 0.5 + 10.0 / 3 - 0.5) / 4, 1e-12);
    CHECK_OK(ij_grouped_trivial(x, place, 2, 1, 2, 1, LOSS_L1, &loss, &err)); /* one image: nobody else */
    ck_assert(isnan(loss));
}
END_TEST

Suite *monitor_suite(void) {
    Suite *suite = suite_create("monitor");
    TCase *host = tcase_create("host");
    tcase_add_test(host, test_eigenvalues);
    tcase_add_test(host, test_eigenvalues_of_a_singular_matrix);
    tcase_add_test(host, test_eigenvalues_refuse);
    tcase_add_test(host, test_rankme);
    tcase_add_test(host, test_image_spectrum);
    tcase_add_test(host, test_spectrum_points);
    tcase_add_test(host, test_grouped_stats);
    tcase_add_test(host, test_grouped_trivial);
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
    tcase_add_loop_test(on_device, test_sample_of_a_step, 0, 3);
    suite_add_tcase(suite, on_device);
    return suite;
}
