/* Whether attention may use matrix engines on a device.       layer: ops; uses: gpu */
#include "ops/attention.h"
#include "ops/device_state.h"

bool attention_rung_runs(const gpu_device *device, gpu_element element) {
    const gpu_info *info = gpu_device_info(device);
    for (uint32_t i = 0; i < info->shape_count; i++)
        if (info->shapes[i].element == element)
            return gpu_shader_exists(element == GPU_BF16 ? "attention_coopmat_fwd_bf16" : "attention_coopmat_fwd_f16");
    return false;
}

bool attention_rung_trusted(gpu_device *device, gpu_element element) {
    const op_device_state *state = op_device_state_of(device);
    return state && state->attention_trusted[element];
}

void attention_rung_trust(gpu_device *device, gpu_element element, bool trusted) {
    op_device_state *state = op_device_state_of(device);
    if (state) state->attention_trusted[element] = trusted;
}
