/* Training state in one safetensors file; and reading models of others as if they were one.       layer: train; uses: base, io, gpu, model
 *
 * Tensors: encoder.*, predictor.*, target_encoder.* by their released names (positions included), and for each trained
 * one opt.exp_avg.NAME and opt.exp_avg_sq.NAME. Metadata: format, step, config (the effective YAML), mean, std, moment_offset (where a run
 * took over another's moments), and the checksum.
 * Written to a temporary name, synced, renamed. */
#ifndef IJ_TRAIN_CHECKPOINT_H
#define IJ_TRAIN_CHECKPOINT_H

#include "io/safetensors.h"
#include "model/params.h"
#include "train/config.h"

#define IJ_STATE_FORMAT "ijepa training state 1"

ij_status ij_checkpoint_write(const char *path, const ij_weights *weights, const ij_train_config *config, int64_t step, ij_error *err);

/* What a state says of itself: format, config, step, steps_per_epoch, mean, std; for a file with other tensors of it. */
ij_status ij_checkpoint_put_metadata(ij_safetensors_writer *writer, const ij_train_config *config, int64_t step, ij_error *err);

/* Any other model is read as well: path is a checkpoint of this project, or whatever train/import.h knows (.pth.tar, folders of transformers
 * and timm, ...). Its configuration, as far as the file tells, and step: of a training state the run's, else the steps that its moments have
 * seen, 0 without. notes (may be NULL): what a user should see, one line each, "" if nothing; to be shown once. */
ij_status ij_checkpoint_describe(const char *path, ij_train_config *config, int64_t *step, char *notes, size_t notes_bytes, ij_error *err);

/* The same without notes. */
ij_status ij_checkpoint_config(const char *path, ij_train_config *config, int64_t *step, ij_error *err);

/* Reads a checkpoint or another model into weights made for its configuration: the slots that they keep; 16-bit copies are rounded.
 * Verifies a training state's checksum first. A tensor that is missing or of another shape is an error with both shapes; then weights are
 * partly written and must not be used. A file with one encoder gives it to both. What a model of others lacks (predictor, moments) is
 * left as it was. weights->moment_offset is set as for a run that begins at step 0. */
ij_status ij_checkpoint_read(const char *path, ij_weights *weights, ij_error *err);

/* Path of the newest intact checkpoint of a run folder (checksum verified; damaged ones are skipped, and named through `damaged`, one
 * line each, may be NULL). IJ_ERROR_FILE when there is none. The path of a file, or of a folder of transformers or timm, is taken as it
 * is: then out equals run_or_file, and there is no run folder to write into. */
ij_status ij_checkpoint_find(const char *run_or_file, char *out, size_t out_bytes, char *damaged, size_t damaged_bytes, ij_error *err);

#endif
