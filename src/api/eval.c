/* Evaluation.       layer: api; uses: base, eval */
#include "api/api.h"
#include "base/memory.h"
#include "eval/eval.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static ijepa_eval_row row_out(const ij_eval_row *from) {
    ijepa_eval_row row = {.chosen = from->chosen,
                          .percent = from->accuracy.percent,
                          .low = from->accuracy.low,
                          .high = from->accuracy.high,
                          .held_out = from->held_out,
                          .mean = from->mean,
                          .settings = from->settings,
                          .train_images = from->train_images,
                          .test_images = from->test_images,
                          .classes = from->classes,
                          .seeds = from->seeds,
                          .dim = from->dim,
                          .seed = from->seed,
                          .seconds = from->seconds,
                          .paper = ij_eval_paper(from->task, from->method)};
    snprintf(row.task, sizeof row.task, "%s", from->task);
    snprintf(row.method, sizeof row.method, "%s", eval_method_names[from->method]);
    snprintf(row.features, sizeof row.features, "%s", eval_features_names[from->features]);
    snprintf(row.setting, sizeof row.setting, "%s", from->setting);
    return row;
}

static ij_status result_out(const ij_eval_result *from, ijepa_eval_result *to, ij_error *err) {
    *to = (ijepa_eval_result){.count = (int)from->count,
                              .step = from->step,
                              .damaged_images = from->damaged_images,
                              .seed = from->seed,
                              .seconds = from->seconds,
                              .images_per_second = from->images_per_second};
    snprintf(to->checkpoint, sizeof to->checkpoint, "%s", from->checkpoint);
    snprintf(to->device, sizeof to->device, "%s", from->device);
    snprintf(to->precision, sizeof to->precision, "%s", from->precision);
    IJ_TRY(ij_alloc(&to->rows, from->count, sizeof *to->rows, "results", err));
    for (int i = 0; i < to->count; i++) to->rows[i] = row_out(&from->rows[i]);
    return ij_eval_json(from, &to->json, err);
}

ijepa_status ijepa_eval(const char *run, const ijepa_eval_options *options, ijepa_eval_result *result, ijepa_error *err) {
    API_NEED(run);
    API_NEED(result);
    static const ijepa_eval_options defaults = {0};
    const ijepa_eval_options *o = options ? options : &defaults;
    if (o->train_limit < 0) return api_range(__func__, "train_limit", (double)o->train_limit, "0 or more", err);
    if (o->test_limit < 0) return api_range(__func__, "test_limit", (double)o->test_limit, "0 or more", err);
    if (!(o->knn_temperature >= 0)) return api_range(__func__, "knn_temperature", o->knn_temperature, "0 or more", err);
    if (o->probe_epochs < 0) return api_range(__func__, "probe_epochs", o->probe_epochs, "0 or more", err);
    if (o->finetune_epochs < 0) return api_range(__func__, "finetune_epochs", o->finetune_epochs, "0 or more", err);
    if (!(o->fraction >= 0 && o->fraction <= 1)) return api_range(__func__, "fraction", o->fraction, "0 to 1", err);
    if (o->seeds < 0) return api_range(__func__, "seeds", o->seeds, "0 or more", err);
    if (o->blocks < 0) return api_range(__func__, "blocks", o->blocks, "0 or more", err);
    if (o->batch < 0 || o->batch > 65536) return api_range(__func__, "batch", o->batch, "0 to 65536", err);
    ij_eval_options ours = {.device = api_device_desc(&o->device),
                            .tasks = o->tasks,
                            .methods = o->methods,
                            .all = o->all,
                            .features = o->features,
                            .encoder = o->encoder,
                            .precision = o->precision,
                            .train = o->train,
                            .test = o->test,
                            .scenes = o->scenes,
                            .train_limit = o->train_limit,
                            .test_limit = o->test_limit,
                            .knn_temperature = o->knn_temperature,
                            .probe_epochs = o->probe_epochs,
                            .finetune_epochs = o->finetune_epochs,
                            .fraction = o->fraction,
                            .seeds = o->seeds,
                            .blocks = o->blocks,
                            .seed = o->seed,
                            .batch = o->batch,
                            .no_files = o->no_files,
                            .progress = o->progress,
                            .message = o->message,
                            .stop = o->stop,
                            .user = o->user};
    ij_error own = {0};
    ij_eval_result found;
    ij_status status = ij_eval_run(run, &ours, &found, &own);
    if (status != IJ_OK) return api_result(status, &own, err);
    status = result_out(&found, result, &own);
    ij_eval_result_free(&found);
    if (status != IJ_OK) ijepa_eval_free(result);
    return api_result(status, &own, err);
}

void ijepa_eval_free(ijepa_eval_result *result) {
    if (!result) return;
    free(result->rows);
    free(result->json);
    *result = (ijepa_eval_result){0};
}

const ijepa_eval_row *ijepa_eval_find(const ijepa_eval_result *result, const char *task, const char *method, const char *features) {
    for (int i = 0; i < result->count; i++) {
        const ijepa_eval_row *row = &result->rows[i];
        if (row->chosen && strcmp(row->task, task) == 0 && strcmp(row->method, method) == 0 && strcmp(row->features, features) == 0)
            return row;
    }
    return NULL;
}
