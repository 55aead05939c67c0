/* What the op families remember about a device, kept with it (gpu_device_slot): what was checked, measured and chosen.
 * layer: ops (private); uses: gpu */
#ifndef IJ_OPS_DEVICE_STATE_H
#define IJ_OPS_DEVICE_STATE_H

#include "ops/attention.h"

typedef struct op_device_state {
    struct matmul_state *matmul;                          /* src/ops/matmul_rungs.c; one allocation */
    bool attention_trusted[OP_ATTENTION_KERNEL_COUNT][3]; /* [kernel][gpu_element] attention on matrix engines passed the start-up check */
} op_device_state;

/* NULL: no memory; then nothing is trusted beyond what needs no trust, and nothing was measured. */
op_device_state *op_device_state_of(gpu_device *device);

#endif
