/* Features of many images, into a file.       layer: api; uses: base, eval, model */
#include "api/api.h"
#include "eval/embed_data.h"

#include <stdio.h>
#include <string.h>

/* What an embedding tells goes through these where the context's log stands in for `damaged`. */
static void log_damaged(void *user, const char *line) {
    const ijepa_embed_options *o = user;
    api_log(o->device.context, IJEPA_LOG_WARNING, line);
}

static void own_progress(void *user, const char *what, int64_t done, int64_t total) {
    const ijepa_embed_options *o = user;
    o->progress(o->user, what, done, total);
}

static bool own_stop(void *user) {
    const ijepa_embed_options *o = user;
    return o->stop(o->user);
}

static ij_status convert(ijepa_embed_options *from, ij_embed_data_options *to, ij_error *err) {
    static const char *const layers[] = {"last", "last4"}, *const encoders[] = {"target", "context"};
    int four, context;
    IJ_TRY(api_choose(from->layers, "layers", layers, 2, &four, err));
    IJ_TRY(api_choose(from->encoder, "encoder", encoders, 2, &context, err));
    if (four && from->patches)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "layers \"last4\" are pooled; the features of patches are of \"last\"");
    *to = (ij_embed_data_options){.device = api_device_desc(&from->device),
                                  .out = from->out,
                                  .output = from->patches ? IJ_EMBED_TOKENS
                                            : four        ? IJ_EMBED_LAST4
                                                          : IJ_EMBED_LAST,
                                  .context = context,
                                  .height = from->height,
                                  .width = from->width,
                                  .resize = from->resize,
                                  .filter = from->filter,
                                  .resampler = from->resampler,
                                  .positions = from->positions,
                                  .whole = from->whole,
                                  .batch = from->batch,
                                  .progress = from->progress,
                                  .stop = from->stop,
                                  .on_damaged = from->damaged,
                                  .message = from->message,
                                  .user = from->user};
    if (!from->damaged && api_logs(from->device.context)) {
        to->on_damaged = log_damaged, to->user = from;
        if (from->progress) to->progress = own_progress;
        if (from->stop) to->stop = own_stop;
    }
    return from->precision ? ij_precision_find(from->precision, &to->precision, err) : IJ_OK;
}

static void copy_result(const ij_embed_data_result *from, ijepa_embed_result *to) {
    *to = (ijepa_embed_result){.count = from->count,
                               .damaged = from->damaged,
                               .dim = from->dim,
                               .patches = from->patches,
                               .height = from->height,
                               .width = from->width,
                               .seconds = from->seconds,
                               .images_per_second = (double)from->count / (from->seconds + 1e-9),
                               .busy = from->busy};
    snprintf(to->model, sizeof to->model, "%s", from->mark);
    snprintf(to->device, sizeof to->device, "%s", from->device);
    snprintf(to->precision, sizeof to->precision, "%s", from->precision);
}

ijepa_status ijepa_embed(const char *model, const char *const *data, int count, const ijepa_embed_options *options,
                         ijepa_embed_result *result, ijepa_error *err) {
    API_NEED(model);
    API_NEED(data);
    API_NEED(options);
    API_NEED(options->out);
    if (count < 1) return api_range(__func__, "count", count, "1 or more", err);
    for (int i = 0; i < count; i++) API_NEED(data[i]);
    if (options->height < 0) return api_range(__func__, "height", options->height, "0 or more", err);
    if (options->width < 0) return api_range(__func__, "width", options->width, "0 or more", err);
    API_CONTEXT(&options->device);
    ij_error ours = {0};
    ijepa_embed_options asked = *options;
    ij_embed_data_options o;
    ij_embed_data_result found;
    ij_status status = convert(&asked, &o, &ours);
    if (status == IJ_OK) status = ij_embed_data(model, data, count, &o, &found, &ours);
    if (status == IJ_OK && result) copy_result(&found, result);
    return api_result(status, &ours, err);
}
