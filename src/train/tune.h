/* Tuning the products of a configured model, without its data and without its memory.       layer: train; uses: gpu, ops, model */
#ifndef IJ_TRAIN_TUNE_H
#define IJ_TRAIN_TUNE_H

#include "model/jepa.h"
#include "ops/tune.h"
#include "train/config.h"

/* For a planned step, before it is built: its products take what was tuned for the device; where nothing was and `measure` is set, they
 * are measured now. On a CPU driver nothing happens: its kernels are chosen by rule. */
ij_status ij_tune_step(ij_jepa *jepa, bool measure, void (*on_row)(void *user, const tune_row *row), void *user, ij_error *err);

/* Plans the step, and tunes every product of it that the device's table does not have (retune: all). rung (may be NULL) gets what
 * ij_precision_resolve says. */
ij_status ij_tune_model(gpu_device *device, const ij_train_config *config, bool retune, void (*on_row)(void *user, const tune_row *row),
                        void *user, char *rung, size_t rung_bytes, ij_error *err);

#endif
