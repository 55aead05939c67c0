/* Evaluation.       layer: api; uses: base, eval */
#include "api/api.h"
#include "eval/eval.h"

#include <assert.h>
#include <stdio.h>

static_assert(sizeof(((ijepa_eval_result *)0)->row) == EVAL_ROWS_MAX * sizeof(ijepa_eval_row), "the two tables have room for as many rows");

static void copy_result(const ij_eval_result *from, ijepa_eval_result *to) {
    *to = (ijepa_eval_result){.train_images = from->train_images,
                              .test_images = from->test_images,
                              .damaged_images = from->damaged_images,
                              .classes = from->classes,
                              .rows = from->rows,
                              .knn_k = from->knn_k,
                              .knn_temperature = from->knn_temperature,
                              .seed = from->seed,
                              .seconds = from->seconds,
                              .images_per_second = from->images_per_second};
    for (int i = 0; i < from->rows; i++) {
        const ij_eval_row *row = &from->row[i];
        to->row[i] = (ijepa_eval_row){.dim = row->dim,
                                      .knn = row->knn.percent,
                                      .knn_low = row->knn.low,
                                      .knn_high = row->knn.high,
                                      .linear = row->linear.percent,
                                      .linear_low = row->linear.low,
                                      .linear_high = row->linear.high};
        snprintf(to->row[i].features, sizeof to->row[i].features, "%s", row->features);
    }
}

ijepa_status ijepa_eval(const char *run, const ijepa_eval_options *options, ijepa_eval_result *result, ijepa_error *err) {
    API_NEED(run);
    API_NEED(result);
    static const ijepa_eval_options defaults = {0};
    const ijepa_eval_options *o = options ? options : &defaults;
    if (o->train_limit < 0) return api_range(__func__, "train_limit", (double)o->train_limit, "0 or more", err);
    if (o->test_limit < 0) return api_range(__func__, "test_limit", (double)o->test_limit, "0 or more", err);
    if (o->knn_k < 0) return api_range(__func__, "knn_k", o->knn_k, "0 or more", err);
    if (!(o->knn_temperature >= 0)) return api_range(__func__, "knn_temperature", o->knn_temperature, "0 or more", err);
    if (o->probe_iterations < 0) return api_range(__func__, "probe_iterations", o->probe_iterations, "0 or more", err);
    if (o->batch < 0 || o->batch > 65536) return api_range(__func__, "batch", o->batch, "0 to 65536", err);
    ij_eval_options ours = {.device = api_device_desc(&o->device),
                            .train = o->train,
                            .test = o->test,
                            .train_limit = o->train_limit,
                            .test_limit = o->test_limit,
                            .knn_k = o->knn_k,
                            .knn_temperature = o->knn_temperature,
                            .probe_iterations = o->probe_iterations,
                            .seed = o->seed,
                            .batch = o->batch,
                            .progress = o->progress,
                            .user = o->user};
    ij_error own = {0};
    ij_eval_result found;
    ij_status status = ij_eval_run(run, &ours, &found, &own);
    if (status == IJ_OK) copy_result(&found, result);
    return api_result(status, &own, err);
}
