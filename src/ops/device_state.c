/* layer: ops; uses: gpu */
#include "ops/device_state.h"

#include <stdlib.h>

static void destroy(void *state) {
    op_device_state *s = state;
    if (s) free(s->matmul);
    free(s);
}

op_device_state *op_device_state_of(gpu_device *device) {
    void **slot = gpu_device_slot(device, destroy);
    if (!*slot) *slot = calloc(1, sizeof(op_device_state));
    return *slot;
}
