/* kNN and the linear probe on features whose answers are known, against plain doubles, and the whole table on a small run. */
#include "suites.h"
#include "scratch.h"
#include "base/parallel.h"
#include "data/order.h"
#include "eval/eval.h"
#include "eval/features.h"
#include "eval/knn.h"
#include "eval/lbfgs.h"
#include "eval/probe.h"
#define SAMPLES_SEED 2026
#include "samples.h"
#include "train/checkpoint.h"

#include <math.h>
#include <string.h>

/* The definition, in double: sort all, take k, vote. */
static int naive_knn(const ij_samples *train, const float *test, int k, double temperature) {
    static double best_similarity[1024];
    static int best_label[1024];
    double votes[64] = {0}, length = 0;
    int found = 0;
    for (int d = 0; d < train->dim; d++) length += (double)test[d] * (double)test[d];
    for (int64_t j = 0; j < train->count; j++) {
        const float *x = train->x + j * train->dim;
        double dot = 0, own = 0;
        for (int d = 0; d < train->dim; d++) dot += (double)x[d] * (double)test[d], own += (double)x[d] * (double)x[d];
        double s = own > 0 && length > 0 ? dot / sqrt(own * length) : 0;
        int at = found < k ? found++ : s > best_similarity[k - 1] ? k - 1 : -1;
        if (at < 0) continue;
        for (; at > 0 && s > best_similarity[at - 1]; at--)
            best_similarity[at] = best_similarity[at - 1], best_label[at] = best_label[at - 1];
        best_similarity[at] = s, best_label[at] = train->labels[j];
    }
    int winner = 0;
    for (int i = 0; i < found; i++) votes[best_label[i]] += exp(best_similarity[i] / temperature);
    for (int c = 1; c < train->classes; c++)
        if (votes[c] > votes[winner]) winner = c;
    return winner;
}

/* ---- kNN ---- */

START_TEST(test_knn_matches_naive) {
    ij_error err = {0};
    /* More of both than a tile holds is in the large case; odd dims, few samples, k of all of them in the others. */
    const struct {
        int64_t train, test;
        int dim, classes, k;
        double temperature;
    } cases[] = {
        {300, 77, 13, 7, 10, 0.07}, {9000, 1100, 8, 5, 20, 0.2}, {6, 5, 3, 2, 6, 0.07}, {1, 3, 1, 1, 1, 1}, {500, 40, 100, 10, 1, 1e-6}};
    for (int c = 0; c < IJ_COUNT(cases); c++) {
        made train = make_samples(10, cases[c].train, cases[c].dim, cases[c].classes, 1, 1);
        made test = make_samples(20, cases[c].test, cases[c].dim, cases[c].classes, 1, 1);
        int *predicted = calloc((size_t)cases[c].test, sizeof *predicted), differ = 0;
        ij_knn_desc desc = {.ks = {cases[c].k}, .temperature = cases[c].temperature};
        CHECK_OK(ij_knn(test_device, &train.samples, &test.samples, &desc, predicted, &err));
        for (int64_t i = 0; i < cases[c].test; i++)
            differ += predicted[i] != naive_knn(&train.samples, test.x + i * cases[c].dim, cases[c].k, cases[c].temperature);
        /* f32 similarities order two neighbours otherwise once in a while; that must stay rare. */
        ck_assert_msg(differ * 200 <= cases[c].test, "case %d: %d of %d predictions differ", c, differ, (int)cases[c].test);
        free(predicted);
        free_made(train);
        free_made(test);
    }
}
END_TEST

/* Several k of one pass, in no order, are what each k alone gives; far more candidates than are kept at once come in a bad order. */
START_TEST(test_knn_many_ks) {
    ij_error err = {0};
    const int ks[] = {10, 200, 20, 1, 900};
    made train = make_samples(11, 9001, 6, 5, 1, 1), test = make_samples(21, 37, 6, 5, 1, 1);
    int *all = calloc(5 * 37, sizeof *all), alone[37];
    for (int64_t i = 0; i < 9001; i++) train.x[i * 6] = (float)i * 1e-4f; /* the later the nearer, for some */
    for (int i = 0; i < 20; i++) test.x[i * 6] = 9;
    CHECK_OK(ij_knn(test_device, &train.samples, &test.samples, &(ij_knn_desc){.ks = {10, 200, 20, 1, 900}}, all, &err));
    for (int k = 0; k < 5; k++) {
        int differ = 0;
        CHECK_OK(ij_knn(test_device, &train.samples, &test.samples, &(ij_knn_desc){.ks = {ks[k]}}, alone, &err));
        ck_assert_mem_eq(alone, all + k * 37, sizeof alone);
        for (int i = 0; i < 37; i++) differ += alone[i] != naive_knn(&train.samples, test.x + i * 6, ks[k], 0.07);
        ck_assert_msg(differ <= 1, "k = %d: %d predictions differ", ks[k], differ);
    }
    free(all);
    free_made(train);
    free_made(test);
}
END_TEST

START_TEST(test_knn_ties) {
    /* Five identical samples: the first k are the neighbours. With k = 3 the votes are 1, 1, 1: the lowest class wins; k = 4: class 2. */
    ij_error err = {0};
    float train[5 * 2] = {1, 0, 1, 0, 1, 0, 1, 0, 1, 0}, test[2 * 2] = {2, 0, 0, 0};
    int labels[5] = {2, 1, 0, 2, 1}, predicted[2];
    ij_samples a = {train, labels, 5, 2, 3}, b = {test, NULL, 2, 2, 3};
    CHECK_OK(ij_knn(test_device, &a, &b, &(ij_knn_desc){.ks = {3}}, predicted, &err));
    ck_assert_int_eq(predicted[0], 0);
    ck_assert_int_eq(predicted[1], 0); /* the zero vector: similarity 0 to all, not NaN */
    CHECK_OK(ij_knn(test_device, &a, &b, &(ij_knn_desc){.ks = {4}}, predicted, &err));
    ck_assert_int_eq(predicted[0], 2);
    CHECK_OK(ij_knn(test_device, &a, &b, &(ij_knn_desc){.ks = {1}}, predicted, &err));
    ck_assert_int_eq(predicted[0], 2);
}
END_TEST

START_TEST(test_knn_refuses) {
    ij_error err = {0};
    float x[4] = {1, 2, 3, 4};
    int labels[2] = {0, 1}, predicted[2];
    ij_samples a = {x, labels, 2, 2, 2}, b = {x, labels, 1, 3, 2};
    CHECK_FAILS(ij_knn(test_device, &a, &b, &(ij_knn_desc){0}, predicted, &err), IJ_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "2 features"));
    CHECK_FAILS(ij_knn(test_device, &a, &a, &(ij_knn_desc){.ks = {1, -1}}, predicted, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(ij_knn(test_device, &a, &a, &(ij_knn_desc){.ks = {1, 3, 2}}, predicted, &err), IJ_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "3 neighbours of 2 training samples"));
    CHECK_FAILS(ij_knn(test_device, &a, &a, &(ij_knn_desc){.ks = {1, 1, 1, 1, 1, 1, 1, 1, 1}}, predicted, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(ij_knn(test_device, &a, &a, &(ij_knn_desc){.ks = {1}, .temperature = -1}, predicted, &err), IJ_ERROR_ARGUMENT);
}
END_TEST

/* ---- both ---- */

/* Right predictions of test: kNN, and the probe. */
static void classify(const made *train, const made *test, int64_t *knn, int64_t *probe) {
    ij_error err = {0};
    int *predicted = calloc((size_t)test->samples.count, sizeof *predicted);
    CHECK_OK(ij_knn(test_device, &train->samples, &test->samples, &(ij_knn_desc){0}, predicted, &err));
    *knn = ij_count_right(predicted, test->labels, test->samples.count);
    CHECK_OK(ij_probe(test_device, &train->samples, &test->samples, &(ij_probe_desc){.seed = 3}, predicted, NULL, &err));
    *probe = ij_count_right(predicted, test->labels, test->samples.count);
    free(predicted);
}

START_TEST(test_labels_as_features) {
    made train = make_samples(30, 400, 7, 7, 0, 0), test = make_samples(40, 150, 7, 7, 0, 0);
    for (int i = 0; i < 400; i++) train.x[i * 7 + train.labels[i]] = 1;
    for (int i = 0; i < 150; i++) test.x[i * 7 + test.labels[i]] = 1;
    int64_t knn, probe;
    classify(&train, &test, &knn, &probe);
    ck_assert_int_eq(knn, 150);
    ck_assert_int_eq(probe, 150);
    free_made(train);
    free_made(test);
}
END_TEST

START_TEST(test_separable) {
    made train = make_samples(50, 500, 24, 10, 3, 1), test = make_samples(60, 200, 24, 10, 3, 1);
    int64_t knn, probe;
    classify(&train, &test, &knn, &probe);
    ck_assert_int_eq(knn, 200);
    ck_assert_int_eq(probe, 200);
    free_made(train);
    free_made(test);
}
END_TEST

START_TEST(test_noise_is_chance) {
    made train = make_samples(70, 1000, 16, 5, 0, 1), test = make_samples(80, 600, 16, 5, 0, 1);
    int64_t right[2];
    classify(&train, &test, &right[0], &right[1]);
    for (int i = 0; i < 2; i++) {
        ij_accuracy accuracy = ij_accuracy_of(right[i], 600);
        ck_assert_msg(accuracy.low <= 20 && accuracy.high >= 20, "method %d: %g [%g, %g]", i, accuracy.percent, accuracy.low,
                      accuracy.high);
    }
    free_made(train);
    free_made(test);
}
END_TEST

/* With labels dealt out anew one draw's accuracy may be anything, because there are few clusters; the mean over draws is chance. */
START_TEST(test_shuffled_labels_are_chance) {
    enum { DRAWS = 16, COUNT = 500 };
    made train = make_samples(140, COUNT, 16, 5, 0.6, 1), test = make_samples(150, COUNT, 16, 5, 0.6, 1);
    uint32_t order[COUNT];
    int labels[COUNT];
    int64_t right[2];
    ij_accuracy accuracy[2][DRAWS];
    memcpy(labels, train.labels, sizeof labels);
    classify(&train, &test, &right[0], &right[1]);
    for (int m = 0; m < 2; m++) ck_assert_int_gt(right[m], COUNT * 7 / 10);
    for (int d = 0; d < DRAWS; d++) {
        ij_order_shuffle(3, d, order, COUNT);
        for (int i = 0; i < COUNT; i++) train.labels[i] = labels[order[i]];
        classify(&train, &test, &right[0], &right[1]);
        for (int m = 0; m < 2; m++) accuracy[m][d] = exactly(100.0 * (double)right[m] / COUNT);
    }
    for (int m = 0; m < 2; m++) {
        ij_accuracy mean = ij_accuracy_over(accuracy[m], DRAWS);
        ck_assert_msg(mean.low <= 20 && mean.high >= 20 && mean.high - mean.low < 20, "method %d: %g [%g, %g]", m, mean.percent, mean.low,
                      mean.high);
    }
    free_made(train);
    free_made(test);
}
END_TEST

START_TEST(test_wilson) {
    /* Brown, Cai & DasGupta 2001 and the formula by hand. */
    ij_accuracy a = ij_accuracy_of(8, 10);
    ck_assert_double_eq_tol(a.percent, 80, 1e-9);
    ck_assert_double_eq_tol(a.low, 49.0162, 1e-3);
    ck_assert_double_eq_tol(a.high, 94.3318, 1e-3);
    a = ij_accuracy_of(0, 10);
    ck_assert_double_eq_tol(a.low, 0, 1e-9);
    ck_assert_double_eq_tol(a.high, 27.7533, 1e-3);
    a = ij_accuracy_of(10, 10);
    ck_assert_double_eq_tol(a.low, 72.2467, 1e-3);
    ck_assert_double_eq_tol(a.high, 100, 1e-9);
}
END_TEST

START_TEST(test_accuracy_over) {
    const ij_accuracy one = {50, 40, 60}, apart[3] = {{40, 39, 41}, {50, 49, 51}, {60, 59, 61}}, same[2] = {{20, 18, 23}, {20, 18, 23}};
    ij_accuracy over = ij_accuracy_over(&one, 1);
    ck_assert_mem_eq(&over, &one, sizeof one);
    over = ij_accuracy_over(apart, 3); /* standard deviation 10, so Student's half width is 4.303 x 10 / sqrt(3) */
    ck_assert_double_eq_tol(over.percent, 50, 1e-12);
    ck_assert_double_eq_tol(over.low, 50 - 4.303 * 10 / sqrt(3), 1e-9);
    ck_assert_double_eq_tol(over.high, 50 + 4.303 * 10 / sqrt(3), 1e-9);
    over = ij_accuracy_over(same, 2); /* seeds that agree do not make the test images more */
    ck_assert_double_eq_tol(over.low, 18, 1e-9);
    ck_assert_double_eq_tol(over.high, 23, 1e-9);
    over = ij_accuracy_over((ij_accuracy[]){{0, 0, 1}, {100, 99, 100}}, 2);
    ck_assert(over.low == 0 && over.high == 100);
}
END_TEST

START_TEST(test_samples_are_covered) {
    ij_error err = {0};
    float x[4] = {0};
    ij_samples train = {x, (int[]){0, 0, 2}, 3, 1, 4}, test = {x, (int[]){2, 0, 2, 0}, 4, 1, 4}, other = {x, (int[]){0, 1, 1, 2}, 4, 1, 4};
    CHECK_OK(ij_samples_cover(&train, &test, &err));
    CHECK_FAILS(ij_samples_cover(&train, &other, &err), IJ_ERROR_ARGUMENT);
    ck_assert_str_eq(err.text, "class 1 has 2 test samples and no training sample");
}
END_TEST

START_TEST(test_samples_are_checked) {
    ij_error err = {0};
    float x[2] = {1, 2};
    int labels[2] = {0, 2};
    ij_samples s = {x, labels, 2, 1, 2};
    CHECK_FAILS(ij_samples_check(&s, "train", &err), IJ_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "label 2 of 2"));
    labels[1] = 1;
    CHECK_OK(ij_samples_check(&s, "train", &err));
    x[1] = NAN;
    CHECK_FAILS(ij_samples_check(&s, "train", &err), IJ_ERROR_NUMBER);
    s.count = 0;
    CHECK_FAILS(ij_samples_check(&s, "train", &err), IJ_ERROR_ARGUMENT);
}
END_TEST

/* ---- the probe ---- */

START_TEST(test_probe_gradient) {
    /* f is evaluated in f32 underneath: differences of h = 1/64 have errors of about 1e-7 / h from that, h^2 from the third derivative. */
    ij_error err = {0};
    made train = make_samples(90, 61, 5, 3, 1, 1);
    probe_problem *problem;
    CHECK_OK(probe_problem_create(test_device, &train.samples, 5, &problem, &err));
    int width = probe_problem_width(problem), count = 3 * width;
    double w[3 * 8], gradient[3 * 8], unused[3 * 8];
    ck_assert_int_eq(width, 8);
    for (int i = 0; i < count; i++) w[i] = i % width <= 5 ? 0.5 * normal(91, (uint32_t)i) : 0;
    for (int held_out = 0; held_out <= 20; held_out += 20) {
        probe_value value, plus, minus;
        CHECK_OK(probe_evaluate(problem, w, 0.3, held_out, gradient, &value, &err));
        ck_assert_int_le(value.right, 61 - held_out);
        ck_assert_int_le(value.held_out_right, held_out);
        for (int i = 0; i < count; i++) {
            if (i % width > 5) continue;
            double h = 1.0 / 64, old = w[i];
            w[i] = old + h;
            CHECK_OK(probe_evaluate(problem, w, 0.3, held_out, unused, &plus, &err));
            w[i] = old - h;
            CHECK_OK(probe_evaluate(problem, w, 0.3, held_out, unused, &minus, &err));
            w[i] = old;
            ck_assert_double_eq_tol(gradient[i], (plus.loss - minus.loss) / (2 * h), 2e-4);
        }
    }
    probe_problem_destroy(problem);
    free_made(train);
}
END_TEST

START_TEST(test_probe_is_deterministic) {
    ij_error err = {0};
    made train = make_samples(100, 700, 12, 4, 0.5, 1), test = make_samples(110, 100, 12, 4, 0.5, 1);
    int predicted[2][100];
    ij_probe_result result[2];
    for (int i = 0; i < 2; i++)
        CHECK_OK(ij_probe(test_device, &train.samples, &test.samples, &(ij_probe_desc){.seed = 11}, predicted[i], &result[i], &err));
    ck_assert_mem_eq(predicted[0], predicted[1], sizeof predicted[0]);
    ck_assert_mem_eq(&result[0], &result[1], sizeof result[0]);
    free_made(train);
    free_made(test);
}
END_TEST

/* With a given l2 there is one fit, and it ends lower than the one that chose it and stopped early. */
START_TEST(test_probe_given_l2) {
    ij_error err = {0};
    made train = make_samples(160, 700, 12, 4, 0.5, 1), test = make_samples(170, 100, 12, 4, 0.5, 1);
    int predicted[100];
    ij_probe_result chosen, given;
    CHECK_OK(ij_probe(test_device, &train.samples, &test.samples, &(ij_probe_desc){0}, predicted, &chosen, &err));
    CHECK_OK(ij_probe(test_device, &train.samples, &test.samples, &(ij_probe_desc){.l2 = chosen.l2}, predicted, &given, &err));
    ck_assert(given.l2 == chosen.l2 && isnan(given.held_out));
    ck_assert_double_le(given.loss, chosen.loss + 1e-7);
    ck_assert_double_ge(given.loss, chosen.loss - 1e-2);
    CHECK_FAILS(ij_probe(test_device, &train.samples, &test.samples, &(ij_probe_desc){.l2 = -1}, predicted, &given, &err),
                IJ_ERROR_ARGUMENT);
    free_made(train);
    free_made(test);
}
END_TEST

START_TEST(test_probe_constant_and_unscaled_features) {
    /* A constant feature, and one ten million times the others: neither matters to a standardised probe. */
    ij_error err = {0};
    made train = make_samples(120, 300, 10, 3, 2, 1), test = make_samples(130, 100, 10, 3, 2, 1);
    for (int i = 0; i < 300; i++) train.x[i * 10] = 42, train.x[i * 10 + 1] *= 1e7f;
    for (int i = 0; i < 100; i++) test.x[i * 10] = 42, test.x[i * 10 + 1] *= 1e7f;
    int predicted[100];
    CHECK_OK(ij_probe(test_device, &train.samples, &test.samples, &(ij_probe_desc){0}, predicted, NULL, &err));
    ck_assert_int_ge(ij_count_right(predicted, test.labels, 100), 97);
    free_made(train);
    free_made(test);
}
END_TEST

/* ---- the whole ---- */

#define SIDE 8

/* IDX files of `count` images whose class is written in their pixels: stripes, of a width and direction a class, and noise. */
static void write_idx(const char *prefix, int count, int classes, int first_class, bool labels) {
    uint8_t *images = calloc((size_t)(16 + count * SIDE * SIDE), 1), *text = calloc((size_t)(8 + count), 1);
    const uint8_t head[16] = {0, 0, 8, 3, 0, 0, (uint8_t)(count >> 8), (uint8_t)count, 0, 0, 0, SIDE, 0, 0, 0, SIDE};
    memcpy(images, head, 16);
    memcpy(text, (uint8_t[]){0, 0, 8, 1, 0, 0, (uint8_t)(count >> 8), (uint8_t)count}, 8);
    for (int i = 0; i < count; i++) {
        int label = first_class + i % classes;
        text[8 + i] = (uint8_t)label;
        for (int at = 0; at < SIDE * SIDE; at++) {
            int place = label % 2 ? at / SIDE : at % SIDE;
            bool light = place / (1 + label / 2) % 2;
            images[16 + i * SIDE * SIDE + at] = (uint8_t)((light ? 180 : 20) + 50 * uniform(777, (uint32_t)(i * SIDE * SIDE + at)));
        }
    }
    char name[64];
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", prefix);
    scratch_write(name, images, (size_t)(16 + count * SIDE * SIDE));
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", prefix);
    if (labels) scratch_write(name, text, (size_t)(8 + count));
    free(images);
    free(text);
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

static ij_status run_eval(const ij_eval_options *extra, ij_eval_result *result, ij_error *err) {
    ij_eval_options options = extra ? *extra : (ij_eval_options){0};
    options.device = (gpu_device_desc){.select = getenv("IJEPA_DEVICE")};
    return ij_eval_run(scratch_path("run.safetensors"), &options, result, err);
}

static void count_progress(void *user, const char *what, int64_t done, int64_t total) {
    ck_assert(strlen(what) > 0 && done >= 0 && done <= total);
    ++*(int *)user;
}

static const ij_eval_row *chosen(const ij_eval_result *r, const char *task, eval_method method, eval_features features) {
    for (int64_t i = 0; i < r->count; i++)
        if (r->rows[i].chosen && strcmp(r->rows[i].task, task) == 0 && r->rows[i].method == method && r->rows[i].features == features)
            return &r->rows[i];
    ck_abort_msg("no row of %s, %s, %s", task, eval_method_names[method], eval_features_names[features]);
    return NULL;
}

START_TEST(test_table) {
    ij_error err = {0};
    ij_eval_result first, second;
    int calls = 0;
    scratch_begin();
    write_run(scratch_path("run.safetensors"));
    write_idx("train", 300, 4, 0, true);
    write_idx("t10k", 90, 4, 0, true);
    ij_eval_options options = {.seed = 5, .batch = 7, .methods = "knn,logistic", .progress = count_progress, .user = &calls};
    CHECK_OK(run_eval(&options, &first, &err)); /* train and test found from the run's own data path */
    ck_assert_int_gt(calls, 10);
    const ij_eval_row *pixels = chosen(&first, "classes", EVAL_KNN, EVAL_PIXELS),
                      *trained = chosen(&first, "classes", EVAL_KNN, EVAL_TRAINED);
    ck_assert_int_eq(pixels->train_images, 300);
    ck_assert_int_eq(pixels->test_images, 90);
    ck_assert_int_eq(pixels->classes, 4);
    ck_assert_int_eq(pixels->dim, SIDE * SIDE);
    ck_assert_double_eq(pixels->accuracy.percent, 100); /* stripes are plain to see */
    ck_assert_double_eq(pixels->held_out, 100);
    ck_assert_int_eq(pixels->settings, 4);
    ck_assert_double_eq(chosen(&first, "classes", EVAL_LOGISTIC, EVAL_PIXELS)->accuracy.percent, 100);
    ck_assert_int_eq(trained->dim, 16);
    /* The "trained" weights are the initial ones of the same seed: the same features to the last bit. */
    const ij_eval_row *random = chosen(&first, "classes", EVAL_KNN, EVAL_RANDOM);
    ck_assert_mem_eq(&trained->accuracy, &random->accuracy, sizeof random->accuracy);
    ck_assert_str_eq(trained->setting, random->setting);
    CHECK_OK(run_eval(&options, &second, &err));
    ck_assert_int_eq(first.count, second.count);
    for (int64_t i = 0; i < first.count; i++) ck_assert_double_eq(first.rows[i].accuracy.percent, second.rows[i].accuracy.percent);
    ij_eval_result_free(&second);
    options.train_limit = 40, options.test_limit = 10, options.batch = 0, options.features = "pixels";
    CHECK_OK(run_eval(&options, &second, &err));
    pixels = chosen(&second, "classes", EVAL_KNN, EVAL_PIXELS);
    ck_assert_int_eq(pixels->train_images, 40);
    ck_assert_int_eq(pixels->test_images, 10);
    ck_assert_int_eq(pixels->settings, 2); /* 100 and 200 neighbours are more than there are */
    ij_eval_result_free(&first);
    ij_eval_result_free(&second);
    scratch_end();
}
END_TEST

/* A chosen setting is the one that the held-out images prefer, whatever the test images say. */
START_TEST(test_choice) {
    ij_error err = {0};
    ij_eval_result r = {0};
    const double held[4] = {50, 70, 70, NAN}, test[4] = {90, 40, 60, 100};
    for (int i = 0; i < 4; i++) {
        ij_eval_row row = {.held_out = held[i], .accuracy = {test[i], 0, 100}};
        snprintf(row.setting, sizeof row.setting, "%d", i);
        CHECK_OK(ij_eval_add(&r, &row, &err));
    }
    CHECK_OK(ij_eval_choose(&r, 0, &err));
    ck_assert_int_eq(r.count, 5);
    ck_assert(r.rows[4].chosen && strcmp(r.rows[4].setting, "1") == 0 && r.rows[4].settings == 4);
    ck_assert_double_eq(r.rows[4].mean, 72.5);
    CHECK_OK(ij_eval_choose(&r, 3, &err)); /* of a setting without and one with: the one with */
    ck_assert_str_eq(r.rows[5].setting, "1");
    ij_eval_result_free(&r);
}
END_TEST

START_TEST(test_table_refuses) {
    ij_error err = {0};
    ij_eval_result result;
    scratch_begin();
    write_run(scratch_path("run.safetensors"));
    write_idx("train", 40, 4, 0, true);
    CHECK_FAILS(run_eval(NULL, &result, &err), IJ_ERROR_ARGUMENT); /* no test images anywhere */
    ck_assert_ptr_nonnull(strstr(err.text, "no test images"));
    write_idx("t10k", 20, 2, 3, true);
    CHECK_FAILS(run_eval(NULL, &result, &err), IJ_ERROR_MISMATCH);
    ck_assert_ptr_nonnull(strstr(err.text, "class \"4\""));
    write_idx("t10k", 20, 2, 0, true);
    CHECK_FAILS(run_eval(&(ij_eval_options){.train_limit = 1}, &result, &err), IJ_ERROR_MISMATCH); /* the one image is of one class */
    ck_assert_ptr_nonnull(strstr(err.text, "the chosen 1 training images lack"));
    write_idx("train", 40, 1, 0, true);
    write_idx("t10k", 20, 1, 0, true);
    CHECK_FAILS(run_eval(NULL, &result, &err), IJ_ERROR_ARGUMENT);
    ck_assert_msg(strstr(err.text, "of 1 class"), "%s", err.text);
    remove(scratch_path("train-labels-idx1-ubyte"));
    CHECK_FAILS(run_eval(NULL, &result, &err), IJ_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "40 of 40 images have no label"));
    CHECK_FAILS(run_eval(&(ij_eval_options){.batch = -1}, &result, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(run_eval(&(ij_eval_options){.methods = "knn,guess"}, &result, &err), IJ_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "\"guess\""));
    CHECK_FAILS(run_eval(&(ij_eval_options){.features = "trained,more"}, &result, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(run_eval(&(ij_eval_options){.encoder = "student"}, &result, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(run_eval(&(ij_eval_options){.tasks = "count"}, &result, &err),
                IJ_ERROR_ARGUMENT); /* a file alone has no place for scenes */
    ck_assert_ptr_nonnull(strstr(err.text, "scenes"));
    CHECK_FAILS(run_eval(&(ij_eval_options){.train = "/nowhere"}, &result, &err), IJ_ERROR_FILE);
    remove(scratch_path("run.safetensors"));
    CHECK_FAILS(run_eval(NULL, &result, &err), IJ_ERROR_FILE);
    scratch_end();
}
END_TEST

/* ---- L-BFGS and threads ---- */

/* A stretched bowl: sum of i (x_i - i)^2, minimum at x_i = i. */
static ij_status bowl(void *user, const double *x, double *value, double *gradient) {
    (void)user;
    *value = 1;
    for (int i = 0; i < 40; i++) {
        double d = x[i] - i;
        *value += (i + 1) * d * d;
        gradient[i] = 2 * (i + 1) * d;
    }
    return IJ_OK;
}

static ij_status nowhere(void *user, const double *x, double *value, double *gradient) {
    (void)user, (void)x;
    *value = NAN;
    memset(gradient, 0, 40 * sizeof *gradient);
    return IJ_OK;
}

START_TEST(test_lbfgs) {
    ij_error err = {0};
    double x[40] = {0};
    CHECK_OK(lbfgs(&(lbfgs_desc){.count = 40, .iterations = 100, .gain = 1e-9, .objective = bowl}, x, &err));
    for (int i = 0; i < 40; i++) ck_assert_double_eq_tol(x[i], i, 1e-3);
    CHECK_FAILS(lbfgs(&(lbfgs_desc){.count = 40, .iterations = 100, .gain = 1e-9, .objective = nowhere}, x, &err), IJ_ERROR_NUMBER);
}
END_TEST

static void note_piece(void *user, int64_t begin, int64_t end, int64_t piece) {
    int *seen = user;
    ck_assert_int_eq(begin, piece * 7);
    for (int64_t i = begin; i < end; i++) seen[i]++;
}

START_TEST(test_parallel) {
    for (int threads = 0; threads <= 5; threads++)
        for (int count = 0; count <= 50; count += 5) {
            int seen[64] = {0};
            ij_parallel(threads, count, 7, note_piece, seen);
            for (int i = 0; i < 64; i++) ck_assert_int_eq(seen[i], i < count);
        }
}
END_TEST

Suite *eval_suite(void) {
    Suite *suite = suite_create("eval");
    TCase *host = tcase_create("host");
    tcase_add_test(host, test_wilson);
    tcase_add_test(host, test_choice);
    tcase_add_test(host, test_accuracy_over);
    tcase_add_test(host, test_samples_are_covered);
    tcase_add_test(host, test_samples_are_checked);
    tcase_add_test(host, test_lbfgs);
    tcase_add_test(host, test_parallel);
    suite_add_tcase(suite, host);
    TCase *on_device = tcase_create("device");
    tcase_add_unchecked_fixture(on_device, open_test_device, close_test_device);
    tcase_set_timeout(on_device, 0);
    tcase_add_test(on_device, test_knn_matches_naive);
    tcase_add_test(on_device, test_knn_many_ks);
    tcase_add_test(on_device, test_knn_ties);
    tcase_add_test(on_device, test_knn_refuses);
    tcase_add_test(on_device, test_labels_as_features);
    tcase_add_test(on_device, test_separable);
    tcase_add_test(on_device, test_noise_is_chance);
    tcase_add_test(on_device, test_shuffled_labels_are_chance);
    tcase_add_test(on_device, test_probe_given_l2);
    tcase_add_test(on_device, test_probe_gradient);
    tcase_add_test(on_device, test_table);
    tcase_add_test(on_device, test_table_refuses);
    tcase_add_test(on_device, test_probe_is_deterministic);
    tcase_add_test(on_device, test_probe_constant_and_unscaled_features);
    suite_add_tcase(suite, on_device);
    return suite;
}
