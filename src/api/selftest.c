/* Every case of every op, walked from the registry.       layer: api; uses: base, gpu, ops */
#include "api/api.h"
#include "ops/op.h"

#include <stdio.h>
#include <string.h>

/* One case. A difference is the case's; a device that fails is the run's. */
static ij_status run_case(gpu_device *device, const op_family *family, const op_desc *op, const op_case *c, ijepa_selftest_case *out,
                          char *text, size_t text_bytes, ij_error *err) {
    op_report report;
    const char *message;
    int messages = gpu_device_messages(device, &message);
    ij_status status = op_check(device, op, c, &report, err);
    if (status == IJ_ERROR_DEVICE || status == IJ_ERROR_MEMORY) return status;
    *out = (ijepa_selftest_case){.family = family->name,
                                 .op = op->name,
                                 .name = c->name,
                                 .pass = status == IJ_OK && !report.skipped,
                                 .text = text,
                                 .error = report.error,
                                 .milliseconds = 1e3 * report.seconds,
                                 .skipped = report.skipped};
    snprintf(text, text_bytes, "%s", status == IJ_OK ? "" : err->text);
    if (gpu_device_messages(device, &message) > messages && out->pass) {
        out->pass = false;
        snprintf(text, text_bytes, "%s %s: the validation layers object; the first message: %s", op->name, c->name, message);
    }
    return IJ_OK;
}

static ij_status run_all(gpu_device *device, const ijepa_selftest_options *options, int *passed, int *failed, ij_error *err) {
    int asked = 0;
    for (int f = 0; f < op_family_count; f++)
        for (int i = 0; i < op_families[f]->count; i++) {
            const op_desc *op = &op_families[f]->ops[i];
            if (options->op && !strstr(op->name, options->op)) continue;
            asked++;
            for (int j = 0; j < op->case_count; j++) {
                if (options->small && op->cases[j].large) continue;
                char text[1200];
                ijepa_selftest_case c;
                IJ_TRY(run_case(device, op_families[f], op, &op->cases[j], &c, text, sizeof text, err));
                if (!c.skipped) *(c.pass ? passed : failed) += 1;
                if (options->on_case) options->on_case(options->user, &c);
            }
        }
    if (!asked) return ij_fail(err, IJ_ERROR_ARGUMENT, "no op's name contains \"%s\"", options->op);
    return IJ_OK;
}

ijepa_status ijepa_selftest(const ijepa_selftest_options *options, int *passed, int *failed, ijepa_error *err) {
    API_NEED(passed);
    API_NEED(failed);
    static const ijepa_selftest_options defaults = {0};
    if (!options) options = &defaults;
    API_CONTEXT(&options->device);
    *passed = *failed = 0;
    ij_error ours = {0};
    gpu_device *device;
    gpu_device_desc desc = api_device_desc(&options->device);
    ij_status status = gpu_device_open(&desc, &device, &ours);
    if (status != IJ_OK) return api_result(status, &ours, err);
    status = run_all(device, options, passed, failed, &ours);
    gpu_device_close(device);
    return api_result(status, &ours, err);
}
