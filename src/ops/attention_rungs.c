/* Whether attention may use matrix engines on a device.       layer: ops; uses: gpu */
#include "ops/attention.h"
#include "ops/device_state.h"

/* A CPU driver runs matrices lane by lane: the row kernels are faster there. */
bool attention_rung_runs(const gpu_device *device, op_attention_kernel kernel, gpu_element element) {
    if (kernel < OP_ATTENTION_COOPMAT) return true;
    const op_attention_shape usual = {.heads = 1, .head_dim = 64, .length_max = 256, .kernel = kernel};
    return gpu_device_info(device)->kind != GPU_KIND_CPU && op_attention_supported(device, &usual, element);
}

bool attention_rung_trusted(gpu_device *device, op_attention_kernel kernel, gpu_element element) {
    const op_device_state *state = op_device_state_of(device);
    return kernel < OP_ATTENTION_COOPMAT || (state && state->attention_trusted[kernel][element]);
}

void attention_rung_trust(gpu_device *device, op_attention_kernel kernel, gpu_element element, bool trusted) {
    op_device_state *state = op_device_state_of(device);
    if (state) state->attention_trusted[kernel][element] = trusted;
}
