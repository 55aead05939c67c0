/* Training state in one safetensors file.       layer: train; uses: base, io, gpu, model
 *
 * Tensors: encoder.*, predictor.*, target_encoder.* by their released names (positions included), and for each trained
 * one opt.exp_avg.NAME and opt.exp_avg_sq.NAME. Metadata: format, step, config (the effective YAML), mean, std, and the checksum.
 * Written to a temporary name, synced, renamed. */
#ifndef IJ_TRAIN_CHECKPOINT_H
#define IJ_TRAIN_CHECKPOINT_H

#include "model/params.h"
#include "train/config.h"

ij_status ij_checkpoint_write(const char *path, const ij_weights *weights, const ij_train_config *config, int64_t step, ij_error *err);

/* The configuration and step that a checkpoint was written with. */
ij_status ij_checkpoint_config(const char *path, ij_train_config *config, int64_t *step, ij_error *err);

/* Reads a checkpoint into weights made for its configuration: the slots that they keep; 16-bit copies are rounded.
 * Verifies the checksum first. A tensor that is missing or of another shape is an error with both shapes; then weights are
 * partly written and must not be used. */
ij_status ij_checkpoint_read(const char *path, ij_weights *weights, ij_error *err);

/* Path of the newest intact checkpoint of a run folder (checksum verified; damaged ones are skipped, and named through `damaged`, one
 * line each, may be NULL). IJ_ERROR_FILE when there is none. A path of a file is taken as it is. */
ij_status ij_checkpoint_find(const char *run_or_file, char *out, size_t out_bytes, char *damaged, size_t damaged_bytes, ij_error *err);

#endif
