/* Contexts: a device that handles share, and where the library's lines go.       layer: api; uses: base, gpu
 *
 * The device counts its users (gpu_device_desc.open): the context is one, each model and trainer another. The context's own memory is
 * counted by `holders`, since the log is called for as long as a handle lives. */
#include "api/api.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

struct ijepa_context {
    gpu_device *device; /* until it is closed */
    ijepa_context_options options;
    int holders; /* the caller, until it is closed, and each handle */
    bool closed;
};

/* ---- the log ---- */

bool api_logs(const ijepa_context *context) { return context && context->options.log; }

void api_log(const ijepa_context *context, ijepa_log_level level, const char *line) {
    if (api_logs(context)) context->options.log(context->options.user, level, line);
}

static void on_validation(void *user, const char *text) { api_log(user, IJEPA_LOG_WARNING, text); }

/* ---- what calls make of device options ---- */

gpu_device_desc api_device_desc(const ijepa_device_options *options) {
    if (!options) return (gpu_device_desc){0};
    return (gpu_device_desc){.select = options->device,
                             .validation = options->validation,
                             .cache_folder = options->cache_folder,
                             .open = options->context ? options->context->device : NULL,
                             .off = options->off};
}

ijepa_status api_context_check(const char *function, const ijepa_device_options *options, ijepa_error *err) {
    ij_error ours = {0};
    if (!options || !options->context || !options->context->closed) return IJEPA_OK;
    return api_result(ij_fail(&ours, IJ_ERROR_ARGUMENT, "%s: the context is closed", function), &ours, err);
}

ijepa_context *api_context_hold(ijepa_context *context) {
    if (context) context->holders++;
    return context;
}

void api_context_release(ijepa_context *context) {
    if (context && --context->holders == 0) free(context);
}

/* ---- opening and closing ---- */

static ij_status open_context(ijepa_context *c, ij_error *err) {
    gpu_device_desc desc = api_device_desc(&c->options.device);
    if (c->options.log) desc.on_message = on_validation, desc.user = c;
    IJ_TRY(gpu_device_open(&desc, &c->device, err));
    char line[800];
    const gpu_info *info = gpu_device_info(c->device);
    snprintf(line, sizeof line, "device: %s (%s)", info->name, info->driver);
    api_log(c, IJEPA_LOG_INFO, line);
    return IJ_OK;
}

ijepa_status ijepa_context_open(const ijepa_context_options *options, ijepa_context **out, ijepa_error *err) {
    API_NEED(out);
    *out = NULL;
    ij_error ours = {0};
    if (options && options->device.context)
        return api_result(ij_fail(&ours, IJ_ERROR_ARGUMENT, "ijepa_context_open: the device of a context has no context of its own"), &ours,
                          err);
    ijepa_context *context;
    ij_status status = ij_alloc(&context, 1, sizeof *context, "context", &ours);
    if (status != IJ_OK) return api_result(status, &ours, err);
    if (options) context->options = *options;
    context->holders = 1;
    status = open_context(context, &ours);
    context->options.device = (ijepa_device_options){0}; /* its texts are the caller's */
    if (status == IJ_OK)
        *out = context;
    else
        api_context_release(context);
    return api_result(status, &ours, err);
}

void ijepa_context_close(ijepa_context *context) {
    if (!context || context->closed) return;
    context->closed = true;
    gpu_device_close(context->device);
    context->device = NULL;
    api_context_release(context);
}

void ijepa_context_describe(const ijepa_context *context, ijepa_device_info *info) {
    if (!info) return;
    *info = (ijepa_device_info){0};
    if (!context || !context->device) return;
    api_describe_device(gpu_device_info(context->device), info);
    info->chosen = true;
}

int ijepa_context_messages(const ijepa_context *context, const char **first) {
    if (first) *first = "";
    return context && context->device ? gpu_device_messages(context->device, first) : 0;
}
