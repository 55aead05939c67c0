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

/* ---- running one ---- */

static void log_message(void *user, const char *line) {
    const ijepa_eval_options *o = user;
    api_log(o->device.context, IJEPA_LOG_INFO, line);
}

static void own_progress(void *user, const char *what, int64_t done, int64_t total) {
    const ijepa_eval_options *o = user;
    o->progress(o->user, what, done, total);
}

static bool own_stop(void *user) {
    const ijepa_eval_options *o = user;
    return o->stop(o->user);
}

static ij_eval_options options_in(const ijepa_eval_options *o) {
    return (ij_eval_options){.device = api_device_desc(&o->device),
                             .tasks = o->tasks,
                             .methods = o->methods,
                             .all = o->all,
                             .features = o->features,
                             .encoder = o->encoder,
                             .precision = o->precision,
                             .train = o->train,
                             .test = o->test,
                             .train_set = api_dataset(o->train_data),
                             .test_set = api_dataset(o->test_data),
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
}

static ijepa_status check_options(const char *function, const ijepa_eval_options *o, ijepa_error *err) {
    if (o->train_limit < 0) return api_range(function, "train_limit", (double)o->train_limit, "0 or more", err);
    if (o->test_limit < 0) return api_range(function, "test_limit", (double)o->test_limit, "0 or more", err);
    if (!(o->knn_temperature >= 0)) return api_range(function, "knn_temperature", o->knn_temperature, "0 or more", err);
    if (o->probe_epochs < 0) return api_range(function, "probe_epochs", o->probe_epochs, "0 or more", err);
    if (o->finetune_epochs < 0) return api_range(function, "finetune_epochs", o->finetune_epochs, "0 or more", err);
    if (!(o->fraction >= 0 && o->fraction <= 1)) return api_range(function, "fraction", o->fraction, "0 to 1", err);
    if (o->seeds < 0) return api_range(function, "seeds", o->seeds, "0 or more", err);
    if (o->blocks < 0) return api_range(function, "blocks", o->blocks, "0 or more", err);
    if (o->batch < 0 || o->batch > 65536) return api_range(function, "batch", o->batch, "0 to 65536", err);
    return IJEPA_OK;
}

static ij_status evaluate(const char *run, const ij_eval_options *ours, ijepa_eval_result *result, ij_error *err) {
    ij_eval_result found;
    IJ_TRY(ij_eval_run(run, ours, &found, err));
    ij_status status = result_out(&found, result, err);
    ij_eval_result_free(&found);
    if (status != IJ_OK) ijepa_eval_free(result);
    return status;
}

ijepa_status ijepa_eval(const char *run, const ijepa_eval_options *options, ijepa_eval_result *result, ijepa_error *err) {
    API_NEED(run);
    API_NEED(result);
    static const ijepa_eval_options defaults = {0};
    ijepa_eval_options o = options ? *options : defaults;
    ijepa_status checked = check_options(__func__, &o, err);
    if (checked != IJEPA_OK) return checked;
    API_CONTEXT(&o.device);
    ij_eval_options ours = options_in(&o);
    if (!o.message && api_logs(o.device.context)) {
        ours.message = log_message, ours.user = &o;
        if (o.progress) ours.progress = own_progress;
        if (o.stop) ours.stop = own_stop;
    }
    ij_error own = {0};
    ij_status status = evaluate(run, &ours, result, &own);
    return api_result(status, &own, err);
}

static ij_status evaluate_live(const ij_trainer_view *view, const ijepa_eval_options *o, ij_dataset *trained_on, ijepa_eval_result *result,
                               ij_error *err) {
    ij_eval_live live = {view->weights, view->config, view->step};
    ij_eval_options ours = options_in(o);
    if (o->precision) return ij_fail(err, IJ_ERROR_ARGUMENT, "precision \"%.20s\": a trainer is evaluated in its own", o->precision);
    if (o->device.device || o->device.context || o->device.validation || o->device.off || o->device.cache_folder)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "a trainer is evaluated on its own device: no device is named");
    ours.device = (gpu_device_desc){.open = view->device};
    ours.live = &live;
    ours.no_files = true;
    if (!ours.train_set && !(o->train && *o->train)) ours.train_set = trained_on;
    return evaluate("", &ours, result, err);
}

ijepa_status ijepa_trainer_evaluate(ijepa_trainer *trainer, const ijepa_eval_options *options, ijepa_eval_result *result,
                                    ijepa_error *err) {
    API_NEED(trainer);
    API_NEED(result);
    static const ijepa_eval_options defaults = {0};
    const ijepa_eval_options *o = options ? options : &defaults;
    ijepa_status checked = check_options(__func__, o, err);
    if (checked != IJEPA_OK) return checked;
    ij_error own = {0};
    ij_trainer_view view = api_trainer_view(trainer);
    ij_status status = evaluate_live(&view, o, api_trainer_dataset(trainer), result, &own);
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
