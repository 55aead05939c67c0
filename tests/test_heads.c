/* The linear heads on features whose answers are known, and against the same training in plain doubles, weight by weight. */
#include "suites.h"
#include "data/order.h"
#include "eval/heads.h"
#define SAMPLES_SEED 77
#include "samples.h"

#include <math.h>
#include <string.h>

/* ---- the same training in doubles ---- */

enum { DIM = 10, LAST = 6, CLASSES = 3, TRAIN = 67, EPOCHS = 4, BATCH = 16 };

/* One head: W [CLASSES, columns], columns DIM or the last LAST of them; the batch's rows in x [BATCH, columns]. */
typedef struct plain {
    double w[CLASSES][DIM], v[CLASSES][DIM], b[CLASSES], bv[CLASSES], mean[DIM], variance[DIM];
} plain;

static double start_weight(uint64_t seed, int64_t element) {
    philox_words word = philox((uint32_t)seed, (uint32_t)(seed >> 32), PHILOX_STREAM_EVAL, (uint32_t)element, 0, 0);
    return (double)(float)(0.01 * sqrt(-2 * log(((double)word.x + 1) * 0x1p-32)) * cos(6.283185307179586477 * (double)word.y * 0x1p-32));
}

static void plain_norm(plain *p, double x[BATCH][DIM], int columns) {
    for (int k = 0; k < columns; k++) {
        double mean = 0, squares = 0;
        for (int r = 0; r < BATCH; r++) mean += x[r][k] / BATCH;
        for (int r = 0; r < BATCH; r++) squares += (x[r][k] - mean) * (x[r][k] - mean);
        for (int r = 0; r < BATCH; r++) x[r][k] = (x[r][k] - mean) / sqrt(squares / BATCH + 1e-5);
        p->mean[k] += 0.1 * (mean - p->mean[k]);
        p->variance[k] += 0.1 * (squares / (BATCH - 1) - p->variance[k]);
    }
}

/* Returns the batch's loss. */
static double plain_step(plain *p, const ij_head_setting *s, double lr, double x[BATCH][DIM], const int *labels, int columns) {
    double g[CLASSES][DIM] = {{0}}, bg[CLASSES] = {0}, loss = 0, weights = 0, gradient = 0;
    if (s->batch_norm) plain_norm(p, x, columns);
    for (int r = 0; r < BATCH; r++) {
        double z[CLASSES], sum = 0;
        for (int c = 0; c < CLASSES; c++) {
            z[c] = p->b[c];
            for (int k = 0; k < columns; k++) z[c] += p->w[c][k] * x[r][k];
            sum += exp(z[c]);
        }
        loss -= (z[labels[r]] - log(sum)) / BATCH;
        for (int c = 0; c < CLASSES; c++) {
            double dz = (exp(z[c]) / sum - (c == labels[r])) / BATCH;
            bg[c] += dz;
            for (int k = 0; k < columns; k++) g[c][k] += dz * x[r][k];
        }
    }
    for (int c = 0; c < CLASSES; c++)
        for (int k = 0; k < columns; k++) weights += p->w[c][k] * p->w[c][k], gradient += g[c][k] * g[c][k];
    double ratio = s->lars ? 0.001 * sqrt(weights) / (sqrt(gradient) + s->weight_decay * sqrt(weights)) : 1;
    for (int c = 0; c < CLASSES; c++) {
        for (int k = 0; k < columns; k++) {
            p->v[c][k] = 0.9 * p->v[c][k] + ratio * (g[c][k] + s->weight_decay * p->w[c][k]);
            p->w[c][k] -= lr * p->v[c][k];
        }
        p->bv[c] = 0.9 * p->bv[c] + bg[c];
        p->b[c] -= lr * p->bv[c];
    }
    return loss;
}

/* weights [CLASSES, columns + 1] as ij_heads_run leaves them; returns the last epoch's mean loss. */
static double plain_train(const made *train, const ij_head_setting *s, uint64_t seed, int held_out, double *weights) {
    plain p = {0};
    uint32_t order[TRAIN], shuffled[TRAIN];
    int columns = s->all_columns ? DIM : LAST, first = DIM - columns, rows = TRAIN - held_out, steps = rows / BATCH;
    double loss = 0;
    for (int c = 0; c < CLASSES; c++)
        for (int k = 0; k < columns; k++) p.w[c][k] = start_weight(seed, c * columns + k), p.variance[k] = 1;
    ij_order_shuffle(seed, 0, order, TRAIN);
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        double lr = s->lr * BATCH / 256;
        for (int limit = 15; limit < 50; limit += 15)
            if (epoch * 50 >= limit * EPOCHS) lr /= 10;
        ij_order_shuffle(seed, 1 + epoch, shuffled, rows);
        loss = 0;
        for (int step = 0; step < steps; step++) {
            double x[BATCH][DIM];
            int labels[BATCH];
            for (int r = 0; r < BATCH; r++) {
                uint32_t sample = order[held_out + (int)shuffled[step * BATCH + r]];
                labels[r] = train->labels[sample];
                for (int k = 0; k < columns; k++) x[r][k] = (double)train->x[(int)sample * DIM + first + k];
            }
            loss += plain_step(&p, s, lr, x, labels, columns) / steps;
        }
    }
    for (int c = 0; c < CLASSES; c++) {
        double *row = weights + c * (columns + 1);
        row[columns] = p.b[c];
        for (int k = 0; k < columns; k++) {
            double deviation = s->batch_norm ? sqrt(p.variance[k] + 1e-5) : 1, mean = s->batch_norm ? p.mean[k] : 0;
            row[k] = p.w[c][k] / deviation;
            row[columns] -= row[k] * mean;
        }
    }
    return loss;
}

START_TEST(test_heads_match_doubles) {
    /* Rates so large that the weights move by more than they are: what is compared is the training, not its start. */
    const ij_head_setting settings[] = {
        {true, false, false, 8, 0},     {true, true, false, 8, 0.05},   {false, false, false, 8, 0.05}, {false, true, false, 8, 0},
        {true, false, true, 8000, 0.3}, {false, true, true, 8000, 0.3}, {true, true, true, 4000, 0},
    };
    ij_error err = {0};
    made train = make_samples(10, TRAIN, DIM, CLASSES, 1, 1), test = make_samples(20, 30, DIM, CLASSES, 1, 1);
    for (int i = 0; i < IJ_COUNT(settings); i++)
        for (int again = 0; again <= 1; again++) {
            int columns = settings[i].all_columns ? DIM : LAST;
            float got[CLASSES * (DIM + 1)];
            double want[CLASSES * (DIM + 1)], largest = 0;
            ij_heads_result result;
            ij_heads_desc desc = {.last_dim = LAST,
                                  .epochs = EPOCHS,
                                  .batch = BATCH,
                                  .seed = 5,
                                  .settings = &settings[i],
                                  .setting_count = 1,
                                  .no_retrain = !again,
                                  .weights = got};
            CHECK_OK(ij_heads_run(test_device, &train.samples, &test.samples, &desc, &result, &err));
            double loss = plain_train(&train, &settings[i], 5, again ? 0 : TRAIN / 10, want);
            for (int e = 0; e < CLASSES * (columns + 1); e++) largest = fmax(largest, fabs(want[e]));
            ck_assert_double_gt(largest, 0.05); /* ten times an initial weight's usual size */
            for (int e = 0; e < CLASSES * (columns + 1); e++)
                ck_assert_msg(fabs((double)got[e] - want[e]) <= 2e-5 * largest, "setting %d, weight %d: %g, in doubles %g", i, e,
                              (double)got[e], want[e]);
            ck_assert_double_eq_tol(result.loss, loss, 2e-5 * (1 + loss));
        }
    free_made(train);
    free_made(test);
}
END_TEST

/* Heads do not see each other: one of many ends where it ends alone. */
START_TEST(test_heads_are_independent) {
    ij_error err = {0};
    made train = make_samples(30, 300, 12, 5, 1, 1), test = make_samples(40, 200, 12, 5, 1, 1);
    ij_heads_result all, one;
    ij_heads_desc desc = {.last_dim = 3, .epochs = 5, .seed = 9, .no_retrain = true};
    CHECK_OK(ij_heads_run(test_device, &train.samples, &test.samples, &desc, &all, &err));
    ck_assert_int_eq(all.count, 64);
    for (int h = 0; h < all.count; h += 9) {
        desc.settings = &all.head[h].setting, desc.setting_count = 1;
        CHECK_OK(ij_heads_run(test_device, &train.samples, &test.samples, &desc, &one, &err));
        ck_assert_double_eq_tol(one.head[0].test, all.head[h].test, 0.51); /* one sample: the products' tiles differ with their width */
        ck_assert_double_eq_tol(one.head[0].loss, all.head[h].loss, 1e-4 * all.head[h].loss);
    }
    free_made(train);
    free_made(test);
}
END_TEST

START_TEST(test_heads_are_deterministic) {
    ij_error err = {0};
    made train = make_samples(50, 500, 20, 4, 0.5, 1), test = make_samples(60, 100, 20, 4, 0.5, 1);
    ij_heads_result result[3];
    float weights[3][4 * 21];
    for (int i = 0; i < 3; i++) {
        ij_heads_desc desc = {.epochs = 6, .seed = i == 2 ? 12 : 11, .weights = weights[i]};
        memset(weights[i], 0, sizeof weights[i]);
        memset(&result[i], 0, sizeof result[i]);
        CHECK_OK(ij_heads_run(test_device, &train.samples, &test.samples, &desc, &result[i], &err));
    }
    ck_assert_mem_eq(weights[0], weights[1], sizeof weights[0]);
    ck_assert_int_eq(result[0].best, result[1].best);
    for (int h = 0; h < result[0].count; h++) ck_assert(result[0].head[h].loss == result[1].head[h].loss);
    ck_assert(memcmp(weights[0], weights[2], sizeof weights[0]) != 0);
    free_made(train);
    free_made(test);
}
END_TEST

/* ---- known answers ---- */

START_TEST(test_heads_read_labels) {
    ij_error err = {0};
    made train = make_samples(70, 400, 7, 7, 0, 0), test = make_samples(80, 150, 7, 7, 0, 0);
    for (int i = 0; i < 400; i++) train.x[i * 7 + train.labels[i]] = 1;
    for (int i = 0; i < 150; i++) test.x[i * 7 + test.labels[i]] = 1;
    ij_heads_result result;
    CHECK_OK(ij_heads_run(test_device, &train.samples, &test.samples, &(ij_heads_desc){0}, &result, &err));
    ck_assert_double_eq(result.test.percent, 100);
    ck_assert_double_eq(result.head[result.best].held_out, 100);
    ck_assert(result.retrained);
    free_made(train);
    free_made(test);
}
END_TEST

/* 2,000 test samples: an advantage of 5 points over chance would be noticed. */
START_TEST(test_heads_noise_is_chance) {
    ij_error err = {0};
    made train = make_samples(90, 1000, 16, 5, 0, 1), test = make_samples(100, 2000, 16, 5, 0, 1);
    ij_heads_result result;
    CHECK_OK(ij_heads_run(test_device, &train.samples, &test.samples, &(ij_heads_desc){.epochs = 10}, &result, &err));
    ck_assert_msg(result.test.low <= 20 && result.test.high >= 20, "%g [%g, %g]", result.test.percent, result.test.low, result.test.high);
    ck_assert_double_lt(result.test.high - result.test.low, 5);
    free_made(train);
    free_made(test);
}
END_TEST

/* With labels dealt out anew a head still learns something of the few clusters there are, so one draw's accuracy may be anything; the mean
 * over draws is chance. */
START_TEST(test_heads_shuffled_labels_are_chance) {
    enum { DRAWS = 16, COUNT = 2000 };
    const ij_head_setting setting = {.all_columns = true, .lr = 1};
    const ij_heads_desc desc = {.epochs = 4, .settings = &setting, .setting_count = 1, .no_retrain = true};
    ij_error err = {0};
    ij_heads_result result;
    made train = make_samples(110, COUNT, 16, 5, 0.6, 1), test = make_samples(120, COUNT, 16, 5, 0.6, 1);
    uint32_t order[COUNT];
    int labels[COUNT];
    ij_accuracy accuracy[DRAWS];
    memcpy(labels, train.labels, sizeof labels);
    CHECK_OK(ij_heads_run(test_device, &train.samples, &test.samples, &desc, &result, &err));
    ck_assert_double_gt(result.test.percent, 75);
    for (int d = 0; d < DRAWS; d++) {
        ij_order_shuffle(3, d, order, COUNT);
        for (int i = 0; i < COUNT; i++) train.labels[i] = labels[order[i]];
        CHECK_OK(ij_heads_run(test_device, &train.samples, &test.samples, &desc, &result, &err));
        accuracy[d] = exactly(result.test.percent);
    }
    ij_accuracy mean = ij_accuracy_over(accuracy, DRAWS);
    ck_assert_msg(mean.low <= 20 && mean.high >= 20 && mean.high - mean.low < 20, "%g [%g, %g]", mean.percent, mean.low, mean.high);
    free_made(train);
    free_made(test);
}
END_TEST

/* The signal is in the last layer's columns, in the other ones, or in all: the held-out samples find the input that has it. */
START_TEST(test_heads_choose_the_input) {
    ij_error err = {0};
    for (int where = 0; where < 2; where++) {
        made train = make_samples(130, 600, 16, 4, 4, 1), test = make_samples(140, 300, 16, 4, 4, 1);
        made sets[] = {train, test};
        for (int s = 0; s < 2; s++)
            for (int64_t i = 0; i < sets[s].samples.count; i++)
                for (int k = where ? 12 : 0; k < (where ? 16 : 12); k++) sets[s].x[i * 16 + k] = (float)normal(150, (uint32_t)(i * 16 + k));
        ij_heads_result result;
        CHECK_OK(ij_heads_run(test_device, &train.samples, &test.samples, &(ij_heads_desc){.last_dim = 4, .epochs = 20}, &result, &err));
        double best[2] = {0};
        for (int h = 0; h < result.count; h++) {
            double *of = &best[result.head[h].setting.all_columns];
            *of = fmax(*of, result.head[h].test);
        }
        if (where) {
            ck_assert(result.head[result.best].setting.all_columns);
            ck_assert_double_lt(best[0], 35); /* noise: 25 % */
        }
        ck_assert_double_gt(best[1], 90);
        ck_assert_double_gt(result.test.percent, 90);
        free_made(train);
        free_made(test);
    }
}
END_TEST

/* ---- what is refused, and the smallest that is not ---- */

START_TEST(test_heads_refuse) {
    ij_error err = {0};
    made train = make_samples(160, 40, 6, 3, 1, 1), test = make_samples(170, 20, 6, 3, 1, 1), narrow = make_samples(180, 20, 5, 3, 1, 1);
    ij_heads_result result;
    const ij_head_setting wrong = {.lr = -1};
    const struct {
        const char *what;
        ij_heads_desc desc;
    } cases[] = {
        {"a batch of 37", {.batch = 37}},
        {"a batch of 1", {.batch = 1}},
        {"-1 epochs", {.epochs = -1}},
        {"7 of 6 features", {.last_dim = 7}},
        {"learning rate -1", {.settings = &wrong, .setting_count = 1}},
        {"97 settings", {.settings = &wrong, .setting_count = 97}},
    };
    for (int i = 0; i < IJ_COUNT(cases); i++) {
        CHECK_FAILS(ij_heads_run(test_device, &train.samples, &test.samples, &cases[i].desc, &result, &err), IJ_ERROR_ARGUMENT);
        ck_assert_msg(strstr(err.text, cases[i].what) != NULL, "%s", err.text);
    }
    CHECK_FAILS(ij_heads_run(test_device, &train.samples, &narrow.samples, &(ij_heads_desc){0}, &result, &err), IJ_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "6 features a training sample, 5 a test sample"));
    train.samples.count = 9;
    CHECK_FAILS(ij_heads_run(test_device, &train.samples, &test.samples, &(ij_heads_desc){0}, &result, &err), IJ_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "9 training samples"));
    train.samples.count = 40;
    for (int i = 0; i < 40; i++) train.labels[i] = i % 2;
    test.labels[0] = 2;
    CHECK_FAILS(ij_heads_run(test_device, &train.samples, &test.samples, &(ij_heads_desc){0}, &result, &err), IJ_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "class 2 has"));
    free_made(train);
    free_made(test);
    free_made(narrow);
}
END_TEST

static void count_steps(void *user, const char *what, int64_t done, int64_t total) {
    int64_t *seen = user;
    ck_assert_str_eq(what, "linear heads");
    ck_assert(done == seen[0] + 1 && done <= total);
    seen[0] = done, seen[1] = total;
}

/* Ten samples, two of three classes among them, one test sample without a label. */
START_TEST(test_heads_of_few) {
    ij_error err = {0};
    made train = make_samples(190, 10, 5, 3, 3, 1), test = make_samples(200, 1, 5, 3, 3, 1);
    for (int i = 0; i < 10; i++) train.labels[i] = i % 2;
    test.samples.labels = NULL;
    ij_heads_result result;
    int64_t seen[2] = {0};
    ij_heads_desc desc = {.epochs = 3, .progress = count_steps, .user = seen};
    CHECK_OK(ij_heads_run(test_device, &train.samples, &test.samples, &desc, &result, &err));
    ck_assert_int_eq(result.batch, 9);
    ck_assert_int_eq(result.held_out_samples, 1);
    ck_assert(isnan(result.test.percent) && isnan(result.head[0].test) && isfinite(result.head[0].loss));
    ck_assert_int_eq(seen[0], 6);
    ck_assert_int_eq(seen[1], 6);
    free_made(train);
    free_made(test);
}
END_TEST

Suite *heads_suite(void) {
    Suite *suite = suite_create("heads");
    TCase *on_device = tcase_create("device");
    tcase_add_unchecked_fixture(on_device, open_test_device, close_test_device);
    tcase_set_timeout(on_device, 0);
    tcase_add_test(on_device, test_heads_match_doubles);
    tcase_add_test(on_device, test_heads_are_independent);
    tcase_add_test(on_device, test_heads_are_deterministic);
    tcase_add_test(on_device, test_heads_read_labels);
    tcase_add_test(on_device, test_heads_noise_is_chance);
    tcase_add_test(on_device, test_heads_shuffled_labels_are_chance);
    tcase_add_test(on_device, test_heads_choose_the_input);
    tcase_add_test(on_device, test_heads_refuse);
    tcase_add_test(on_device, test_heads_of_few);
    suite_add_tcase(suite, on_device);
    return suite;
}
