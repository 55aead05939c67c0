/* How far a recorded step may be off in each precision.       layer: train; uses: gpu, ops, model */
#ifndef IJ_TRAIN_REPLAY_BOUNDS_H
#define IJ_TRAIN_REPLAY_BOUNDS_H

#include "gpu/gpu.h"
#include "model/config.h"

#include <stdbool.h>

/* What the bounds of a 16-bit step depend on besides its precision, all taken from the file. */
typedef struct replay_facts {
    int encoder_depth, predictor_depth;
    double cancellation; /* sqrt(|predictions|^2 + |targets|^2) / |predictions - targets| */
    double target_rows;
} replay_facts;

/* Bounds of the relative L2 error |got - expected| / |expected|. */
typedef struct replay_bounds {
    double features, predictions, gradients, loss;
} replay_bounds;
replay_bounds replay_bounds_of(gpu_element element, const replay_facts *facts);

/* Of a parameter after `steps` of AdamW; moved: |after - before| / |after|, of the file. qkv_bias: it holds an attention's key biases. */
double replay_bound_after(gpu_element element, const replay_bounds *bounds, int steps, double moved, bool qkv_bias);

#endif
