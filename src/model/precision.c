/* layer: model; uses: gpu, ops */
#include "model/precision.h"
#include "ops/rungs_check.h"

#include <stdio.h>
#include <string.h>

const char *const ij_precision_names[IJ_PRECISION_COUNT] = {"auto", "f32", "f16", "bf16"};

const char *ij_element_name(gpu_element element) { return element == GPU_F16 ? "f16" : element == GPU_BF16 ? "bf16" : "f32"; }

ij_status ij_precision_find(const char *name, ij_precision *out, ij_error *err) {
    for (int i = 0; i < IJ_PRECISION_COUNT; i++)
        if (strcmp(name, ij_precision_names[i]) == 0) {
            *out = (ij_precision)i;
            return IJ_OK;
        }
    return ij_fail(err, IJ_ERROR_ARGUMENT, "precision \"%.40s\": there are auto, f32, f16, bf16", name);
}

ij_status ij_precision_resolve(gpu_device *device, ij_precision precision, gpu_element *out, char *why, size_t why_bytes, ij_error *err) {
    static const gpu_element best_first[] = {GPU_BF16, GPU_F16};
    char engines[256] = "";
    *out = precision == IJ_PRECISION_F16 ? GPU_F16 : precision == IJ_PRECISION_BF16 ? GPU_BF16 : GPU_WORD;
    bool cpu = gpu_device_info(device)->kind == GPU_KIND_CPU;
    if (precision == IJ_PRECISION_AUTO && !cpu)
        for (int i = 0; i < IJ_COUNT(best_first) && *out == GPU_WORD; i++) {
            IJ_TRY(rungs_check(device, best_first[i], engines, sizeof engines, err));
            if (rungs_trusted(device, best_first[i])) *out = best_first[i];
        }
    else if (*out != GPU_WORD)
        IJ_TRY(rungs_check(device, *out, engines, sizeof engines, err));
    if (precision == IJ_PRECISION_AUTO && cpu) snprintf(engines, sizeof engines, "a CPU driver");
    if (why) snprintf(why, why_bytes, *engines ? "%s (%s)" : "%s", ij_element_name(*out), engines);
    return IJ_OK;
}
