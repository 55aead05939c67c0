/* layer: eval; uses: base, data, gpu */
#include "eval/frozen.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/order.h"
#include "eval/heads.h"
#include "eval/knn.h"
#include "eval/probe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELD_OUT_MAX 10000 /* images that choose k: the interval of an accuracy is then at most 2 points wide */

static const int knn_ks[] = {10, 20, 100, 200};

static ij_eval_row row_of(const eval_frozen *d, eval_method method) {
    ij_eval_row row = {.method = method,
                       .features = d->features,
                       .held_out = NAN,
                       .train_images = d->train.count,
                       .test_images = d->test.count,
                       .classes = d->train.classes,
                       .seeds = 1,
                       .dim = d->last_dim,
                       .seed = d->seed};
    snprintf(row.task, sizeof row.task, "%s", d->task);
    return row;
}

/* The last layer's columns as samples of their own; *copy is NULL where all columns are the last layer's. */
static ij_status last_layer(const ij_samples *all, int last_dim, ij_samples *out, float **copy, ij_error *err) {
    *out = *all;
    *copy = NULL;
    if (all->dim == last_dim) return IJ_OK;
    IJ_TRY(ij_alloc(copy, all->count * last_dim, sizeof **copy, "features of the last layer", err));
    for (int64_t i = 0; i < all->count; i++)
        memcpy(*copy + i * last_dim, all->x + (i + 1) * all->dim - last_dim, (size_t)last_dim * sizeof **copy);
    out->x = *copy, out->dim = last_dim;
    return IJ_OK;
}

/* ---- kNN ---- */

/* Training images that choose k: each is classified by all others. */
typedef struct held_out {
    int64_t count;
    int64_t *at; /* [count] their places among the training images */
    float *x;    /* [count, dim] */
    int *labels;
} held_out;

static void held_out_free(held_out *h) {
    free(h->at);
    free(h->x);
    free(h->labels);
}

static ij_status held_out_draw(const ij_samples *train, uint64_t seed, held_out *h, ij_error *err) {
    uint32_t *order;
    h->count = train->count < 10 ? train->count : train->count / 10 < HELD_OUT_MAX ? train->count / 10 : HELD_OUT_MAX;
    IJ_TRY(ij_alloc(&order, train->count, sizeof *order, "order", err));
    ij_order_shuffle(seed, 0, order, train->count);
    ij_status status = ij_alloc(&h->at, h->count, sizeof *h->at, "held-out images", err);
    if (status == IJ_OK) status = ij_alloc(&h->x, h->count * train->dim, sizeof *h->x, "held-out features", err);
    if (status == IJ_OK) status = ij_alloc(&h->labels, h->count, sizeof *h->labels, "held-out labels", err);
    for (int64_t i = 0; i < h->count && status == IJ_OK; i++) {
        h->at[i] = order[i];
        h->labels[i] = train->labels[order[i]];
        memcpy(h->x + i * train->dim, train->x + (int64_t)order[i] * train->dim, (size_t)train->dim * sizeof *h->x);
    }
    free(order);
    return status;
}

/* The numbers of neighbours that so many training images have; all of them where they are few. */
static int choose_ks(int64_t train_count, int ks[IJ_COUNT(knn_ks) + 1]) {
    int count = 0;
    for (int i = 0; i < IJ_COUNT(knn_ks); i++)
        if (knn_ks[i] < train_count) ks[count++] = knn_ks[i];
    if (count == 0) ks[count++] = (int)train_count - 1;
    ks[count] = 0;
    return count;
}

static ij_status knn_predict(gpu_device *device, const eval_frozen *d, const ij_samples *train, const ij_samples *test, const int *ks,
                             const int64_t *self, int *predicted, ij_error *err) {
    ij_knn_desc desc = {.temperature = d->temperature, .self = self, .progress = d->progress, .user = d->user};
    for (int i = 0; ks[i]; i++) desc.ks[i] = ks[i];
    return ij_knn(device, train, test, &desc, predicted, err);
}

static ij_status knn_rows(gpu_device *device, const eval_frozen *d, const ij_samples *train, const ij_samples *test, const held_out *h,
                          int *predicted, ij_eval_result *result, ij_error *err) {
    double held[IJ_COUNT(knn_ks)];
    int ks[IJ_COUNT(knn_ks) + 1], count = choose_ks(train->count, ks);
    int64_t first = result->count;
    ij_samples others = {h->x, h->labels, h->count, train->dim, train->classes};
    IJ_TRY(knn_predict(device, d, train, &others, ks, h->at, predicted, err));
    for (int k = 0; k < count; k++)
        held[k] = 100.0 * (double)ij_count_right(predicted + k * h->count, h->labels, h->count) / (double)h->count;
    IJ_TRY(knn_predict(device, d, train, test, ks, NULL, predicted, err));
    for (int k = 0; k < count; k++) {
        ij_eval_row row = row_of(d, EVAL_KNN);
        row.held_out = held[k];
        row.accuracy = ij_accuracy_of(ij_count_right(predicted + k * test->count, test->labels, test->count), test->count);
        snprintf(row.setting, sizeof row.setting, "k %d, temperature %g", ks[k], d->temperature);
        IJ_TRY(ij_eval_add(result, &row, err));
    }
    return ij_eval_choose(result, first, err);
}

static ij_status run_knn(gpu_device *device, const eval_frozen *d, const ij_samples *train, const ij_samples *test, ij_eval_result *result,
                         ij_error *err) {
    held_out h = {0};
    int *predicted = NULL;
    ij_status status = held_out_draw(train, d->seed, &h, err);
    int64_t most = h.count > test->count ? h.count : test->count;
    if (status == IJ_OK) status = ij_alloc(&predicted, IJ_COUNT(knn_ks) * most, sizeof *predicted, "predictions", err);
    if (status == IJ_OK) status = knn_rows(device, d, train, test, &h, predicted, result, err);
    free(predicted);
    held_out_free(&h);
    return status;
}

/* ---- logistic regression ---- */

static ij_status run_logistic(gpu_device *device, const eval_frozen *d, const ij_samples *train, const ij_samples *test,
                              ij_eval_result *result, ij_error *err) {
    ij_probe_desc desc = {.seed = d->seed, .progress = d->progress, .user = d->user};
    ij_probe_result found;
    ij_eval_row row = row_of(d, EVAL_LOGISTIC);
    int64_t first = result->count;
    int *predicted;
    IJ_TRY(ij_alloc(&predicted, test->count, sizeof *predicted, "predictions", err));
    ij_status status = ij_probe(device, train, test, &desc, predicted, &found, err);
    if (status == IJ_OK) {
        row.held_out = found.held_out;
        row.accuracy = ij_accuracy_of(ij_count_right(predicted, test->labels, test->count), test->count);
        snprintf(row.setting, sizeof row.setting, "last layer, standardised, l2 %g", found.l2);
        status = ij_eval_add(result, &row, err);
    }
    free(predicted);
    return status == IJ_OK ? ij_eval_choose(result, first, err) : status;
}

/* ---- linear probes ---- */

static void write_head(const ij_heads_result *r, const ij_head_setting *h, char *out, size_t out_bytes) {
    snprintf(out, out_bytes, "%s, %s, %s, lr %g, weight decay %g, %d epochs of batches of %d",
             h->all_columns ? "last four layers" : "last layer", h->batch_norm ? "BatchNorm" : "no BatchNorm", h->lars ? "LARS" : "SGD",
             h->lr, h->weight_decay, r->epochs, r->batch);
}

/* Every head as it was trained without the held-out tenth; the chosen one trained once more on all. */
static ij_status heads_rows(const eval_frozen *d, const ij_heads_result *found, ij_eval_result *result, ij_error *err) {
    for (int i = 0; i <= found->count; i++) {
        bool chosen = i == found->count;
        const ij_head *head = &found->head[chosen ? found->best : i];
        ij_eval_row row = row_of(d, EVAL_LINEAR);
        row.held_out = head->held_out;
        row.accuracy = chosen ? found->test : ij_accuracy_of((int64_t)(head->test / 100 * (double)d->test.count + 0.5), d->test.count);
        row.chosen = chosen;
        row.settings = chosen ? found->count : 0;
        row.mean = chosen ? found->mean_test : 0;
        row.dim = head->setting.all_columns ? d->train.dim : d->last_dim;
        write_head(found, &head->setting, row.setting, sizeof row.setting);
        IJ_TRY(ij_eval_add(result, &row, err));
    }
    return IJ_OK;
}

static ij_status run_heads(gpu_device *device, const eval_frozen *d, ij_eval_result *result, ij_error *err) {
    ij_heads_desc desc = {.last_dim = d->last_dim, .epochs = d->epochs, .seed = d->seed, .progress = d->progress, .user = d->user};
    ij_heads_result *found;
    IJ_TRY(ij_alloc(&found, 1, sizeof *found, "linear probes", err));
    ij_status status = ij_heads_run(device, &d->train, &d->test, &desc, found, err);
    if (status == IJ_OK) status = heads_rows(d, found, result, err);
    free(found);
    return status;
}

/* ---- all ---- */

static ij_status run(gpu_device *device, const eval_frozen *d, eval_method method, ij_eval_result *result, ij_error *err) {
    if (method == EVAL_LINEAR) return run_heads(device, d, result, err);
    ij_samples train, test;
    float *train_copy = NULL, *test_copy = NULL;
    ij_status status = last_layer(&d->train, d->last_dim, &train, &train_copy, err);
    if (status == IJ_OK) status = last_layer(&d->test, d->last_dim, &test, &test_copy, err);
    if (status == IJ_OK)
        status = method == EVAL_KNN ? run_knn(device, d, &train, &test, result, err) : run_logistic(device, d, &train, &test, result, err);
    free(train_copy);
    free(test_copy);
    return status;
}

ij_status ij_frozen_rows(gpu_device *device, const eval_frozen *desc, eval_method method, ij_eval_result *result, ij_error *err) {
    eval_frozen d = *desc;
    double start = ij_seconds();
    if (!d.temperature) d.temperature = 0.07;
    if (!d.epochs) d.epochs = 50;
    IJ_TRY(ij_samples_check(&d.train, eval_features_names[d.features], err));
    IJ_TRY(ij_samples_check(&d.test, eval_features_names[d.features], err));
    IJ_TRY(run(device, &d, method, result, err));
    result->rows[result->count - 1].seconds = ij_seconds() - start;
    return IJ_OK;
}
