/* What tests/peers_frozen.py compares with scikit-learn and PyTorch: predictions for the features in the folder $IJEPA_PEERS, of kNN, of
 * the logistic regression and of linear heads. Without that variable the suite has no test. */
#include "suites.h"
#include "eval/heads.h"
#include "eval/knn.h"
#include "eval/probe.h"
#include "io/npy.h"

#include <string.h>

static const char *path_of(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s.npy", getenv("IJEPA_PEERS"), name);
    return path;
}

static ij_npy read_array(const char *name) {
    ij_error err = {0};
    ij_npy array;
    CHECK_OK(ij_npy_read(path_of(name), &array, &err));
    return array;
}

typedef struct sets {
    ij_npy x[2], labels[2];
    ij_samples train, test;
} sets;

static sets read_sets(void) {
    ij_error err = {0};
    sets s = {.x = {read_array("train_x"), read_array("test_x")}, .labels = {read_array("train_y"), read_array("test_y")}};
    ij_samples *to[] = {&s.train, &s.test};
    for (int i = 0; i < 2; i++) {
        *to[i] = (ij_samples){s.x[i].data, s.labels[i].data, s.x[i].shape[0], (int)s.x[i].shape[1], 10};
        CHECK_OK(ij_samples_check(to[i], "peers", &err));
    }
    return s;
}

static void free_sets(sets *s) {
    for (int i = 0; i < 2; i++) ij_npy_free(&s->x[i]), ij_npy_free(&s->labels[i]);
}

static void write_array(const char *name, ij_npy_dtype dtype, int64_t rows, int64_t columns, const void *data) {
    ij_error err = {0};
    CHECK_OK(ij_npy_write(path_of(name), dtype, 2, (int64_t[]){rows, columns}, data, &err));
}

START_TEST(test_peers_knn) {
    ij_error err = {0};
    sets s = read_sets();
    int *predicted = calloc((size_t)(4 * s.test.count), sizeof *predicted);
    CHECK_OK(ij_knn(test_device, &s.train, &s.test, &(ij_knn_desc){.ks = {10, 20, 100, 200}}, predicted, &err));
    write_array("knn", IJ_NPY_I32, 4, s.test.count, predicted);
    free(predicted);
    free_sets(&s);
}
END_TEST

START_TEST(test_peers_logistic) {
    static const double l2[] = {0, 1e-1, 1e-2};
    ij_error err = {0};
    sets s = read_sets();
    int *predicted = calloc((size_t)(IJ_COUNT(l2) * s.test.count), sizeof *predicted);
    float used[2 * IJ_COUNT(l2)];
    for (int i = 0; i < IJ_COUNT(l2); i++) {
        ij_probe_result result;
        CHECK_OK(ij_probe(test_device, &s.train, &s.test, &(ij_probe_desc){.l2 = l2[i]}, predicted + i * s.test.count, &result, &err));
        used[2 * i] = (float)result.l2, used[2 * i + 1] = (float)result.loss;
    }
    write_array("logistic", IJ_NPY_I32, IJ_COUNT(l2), s.test.count, predicted);
    write_array("logistic_l2_loss", IJ_NPY_F32, IJ_COUNT(l2), 2, used);
    free(predicted);
    free_sets(&s);
}
END_TEST

/* Row i of heads_settings: batch, epochs, BatchNorm, LARS, rate of the step, weight decay; the weights go to heads_i. */
START_TEST(test_peers_heads) {
    static const ij_head_setting settings[] = {{true, false, false, 0.05, 0.0005},
                                               {true, true, false, 0.01, 0.0005},
                                               {true, true, false, 0.05, 0},
                                               {true, true, true, 2, 0.0005}}; /* LARS: so that it is at its end, wherever it started */
    enum { BATCH = 256, EPOCHS = 50 };
    ij_error err = {0};
    sets s = read_sets();
    float *weights = calloc((size_t)(10 * (s.train.dim + 1)), sizeof *weights), used[7 * IJ_COUNT(settings)];
    for (int i = 0; i < IJ_COUNT(settings); i++) {
        const ij_head_setting *at = &settings[i];
        char name[32];
        ij_heads_result result;
        ij_heads_desc desc = {.batch = BATCH, .epochs = EPOCHS, .settings = at, .setting_count = 1, .weights = weights};
        CHECK_OK(ij_heads_run(test_device, &s.train, &s.test, &desc, &result, &err));
        const float row[7] = {
            BATCH, EPOCHS, at->batch_norm, at->lars, (float)(at->lr * BATCH / 256), (float)at->weight_decay, (float)result.test.percent};
        memcpy(used + 7 * i, row, sizeof row);
        snprintf(name, sizeof name, "heads_%d", i);
        write_array(name, IJ_NPY_F32, 10, s.train.dim + 1, weights);
    }
    write_array("heads_settings", IJ_NPY_F32, IJ_COUNT(settings), 7, used);
    free(weights);
    free_sets(&s);
}
END_TEST

Suite *peers_suite(void) {
    Suite *suite = suite_create("peers");
    if (!getenv("IJEPA_PEERS")) return suite;
    TCase *on_device = tcase_create("device");
    tcase_add_unchecked_fixture(on_device, open_test_device, close_test_device);
    tcase_set_timeout(on_device, 0);
    tcase_add_test(on_device, test_peers_knn);
    tcase_add_test(on_device, test_peers_logistic);
    tcase_add_test(on_device, test_peers_heads);
    suite_add_tcase(suite, on_device);
    return suite;
}
