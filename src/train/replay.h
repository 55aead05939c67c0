/* Recorded steps: one safetensors file that holds what one or more training steps start from and what must come out, computed
 * elsewhere. Running them on a device and comparing every tensor is how a driver earns trust.      layer: train; uses: base, io, gpu, model */
#ifndef IJ_TRAIN_REPLAY_H
#define IJ_TRAIN_REPLAY_H

#include "gpu/gpu.h"

#include <stdbool.h>

typedef struct ij_replay_row {
    char name[112];
    int tensors;    /* 1 for a tensor, more for a group */
    double max_abs; /* largest absolute difference */
    double rel_l2;  /* |got - expected| / |expected|, over all elements */
    double tolerance;
    bool pass;
} ij_replay_row;

typedef struct ij_replay_result {
    bool pass;
    ij_replay_row *groups, *tensors; /* ij_replay_free */
    int64_t group_count, tensor_count, group_capacity, tensor_capacity;
} ij_replay_result;

/* f32: relative L2 error at most 1e-4 for every tensor, 1e-5 for the loss, 1e-3 for weights after more than one step. f16 and bf16:
 * bounds derived from how often a number is rounded on its way, see src/train/replay_bounds.c. A file that cannot be used is an error;
 * numbers out of tolerance are in the result. */
ij_status ij_replay_run(gpu_device *device, const char *path, gpu_element element, ij_replay_result *result, ij_error *err);
void ij_replay_free(ij_replay_result *result);

#endif
