/* Tuning.       layer: api; uses: base, gpu, train */
#include "train/tune.h"
#include "api/api.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct listener {
    const ijepa_tune_options *options;
    int tuned;
} listener;

static void on_row(void *user, const tune_row *from) {
    listener *l = user;
    ijepa_tune_row row = {.milliseconds = 1e3 * from->seconds,
                          .fallback_milliseconds = 1e3 * from->fallback_seconds,
                          .candidates = from->candidates,
                          .wrong = from->wrong,
                          .failed = from->failed};
    snprintf(row.product, sizeof row.product, "%s", from->product);
    snprintf(row.choice, sizeof row.choice, "%s", from->choice);
    snprintf(row.fallback, sizeof row.fallback, "%s", from->fallback);
    l->tuned++;
    if (l->options->on_row) l->options->on_row(l->options->user, &row);
}

ijepa_status ijepa_tune(ijepa_config *config, const ijepa_tune_options *options, int *tuned, ijepa_error *err) {
    API_NEED(config);
    API_NEED(tuned);
    static const ijepa_tune_options defaults = {0};
    listener l = {options ? options : &defaults, 0};
    API_CONTEXT(&l.options->device);
    ij_error ours = {0};
    ij_train_config *read;
    gpu_device *device = NULL;
    gpu_device_desc desc = api_device_desc(&l.options->device);
    ij_status status = ij_alloc(&read, 1, sizeof *read, "configuration", &ours);
    if (status != IJ_OK) return api_result(status, &ours, err);
    status = api_config_read(config, read, NULL, 0, &ours);
    if (status == IJ_OK) status = gpu_device_open(&desc, &device, &ours);
    if (status == IJ_OK) status = ij_tune_model(device, read, l.options->retune, on_row, &l, NULL, 0, &ours);
    gpu_device_close(device);
    free(read);
    *tuned = l.tuned;
    return api_result(status, &ours, err);
}
