/* Recorded steps, and the pictures of a run.       layer: api; uses: base, gpu, train, view */
#include "api/api.h"
#include "base/memory.h"
#include "train/replay.h"
#include "view/run_picture.h"

#include <stdio.h>
#include <stdlib.h>

ijepa_status ijepa_draw_run(const char *run, ijepa_error *err) {
    API_NEED(run);
    ij_error ours = {0};
    ij_status status = ij_run_picture(run, &ours);
    return api_result(status, &ours, err);
}

/* ---- replay ---- */

static ij_status copy_rows(const ij_replay_row *from, int64_t count, ijepa_replay_row **out, int *out_count, ij_error *err) {
    IJ_TRY(ij_alloc(out, count, sizeof **out, "replay rows", err));
    for (int64_t i = 0; i < count; i++) {
        ijepa_replay_row *row = &(*out)[i];
        snprintf(row->name, sizeof row->name, "%s", from[i].name);
        row->tensors = from[i].tensors;
        row->max_abs = from[i].max_abs, row->rel_l2 = from[i].rel_l2, row->tolerance = from[i].tolerance;
        row->pass = from[i].pass;
    }
    *out_count = (int)count;
    return IJ_OK;
}

static ij_status replay(gpu_device *device, const char *path, ij_precision precision, ijepa_replay_result *out, ij_error *err) {
    ij_replay_result result = {0};
    const gpu_info *info = gpu_device_info(device);
    gpu_element element = GPU_WORD;
    const char *first;
    int before = gpu_device_messages(device, NULL); /* of a context that has done other things */
    *out = (ijepa_replay_result){0};
    ij_status status = ij_precision_resolve(device, precision, &element, out->rungs, sizeof out->rungs, err);
    if (status == IJ_OK) status = ij_replay_run(device, path, element, &result, err);
    if (status == IJ_OK) status = copy_rows(result.groups, result.group_count, &out->groups, &out->group_count, err);
    if (status == IJ_OK) status = copy_rows(result.tensors, result.tensor_count, &out->tensors, &out->tensor_count, err);
    if (status == IJ_OK) {
        out->validation_messages = gpu_device_messages(device, &first) - before;
        if (out->validation_messages) snprintf(out->validation_message, sizeof out->validation_message, "%s", first);
        out->pass = result.pass && out->validation_messages == 0;
        snprintf(out->device, sizeof out->device, "%s", info->name);
        snprintf(out->driver, sizeof out->driver, "%s", info->driver);
        snprintf(out->precision, sizeof out->precision, "%s", ij_element_name(element));
    } else {
        ijepa_replay_free(out);
    }
    ij_replay_free(&result);
    return status;
}

ijepa_status ijepa_replay(const char *path, const ijepa_replay_options *options, ijepa_replay_result *result, ijepa_error *err) {
    API_NEED(path);
    API_NEED(result);
    static const ijepa_replay_options defaults = {0};
    if (!options) options = &defaults;
    API_CONTEXT(&options->device);
    ij_error ours = {0};
    gpu_device *open;
    ij_precision precision = IJ_PRECISION_F32;
    ij_status status = options->precision ? ij_precision_find(options->precision, &precision, &ours) : IJ_OK;
    gpu_device_desc desc = api_device_desc(&options->device);
    if (status == IJ_OK) status = gpu_device_open(&desc, &open, &ours);
    if (status != IJ_OK) return api_result(status, &ours, err);
    status = replay(open, path, precision, result, &ours);
    gpu_device_close(open);
    return api_result(status, &ours, err);
}

void ijepa_replay_free(ijepa_replay_result *result) {
    if (!result) return;
    free(result->groups);
    free(result->tensors);
    *result = (ijepa_replay_result){0};
}
