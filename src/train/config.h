/* What a training run is: every option, its default, and where it comes from.      layer: train; uses: base, io, data, model, ops
 *
 * The keys are those of the released YAML configurations, which load unchanged; further keys are ours and have defaults. A key
 * that nobody knows is an error that names it. */
#ifndef IJ_TRAIN_CONFIG_H
#define IJ_TRAIN_CONFIG_H

#include "base/error.h"
#include "data/preprocess.h"
#include "io/config_text.h"
#include "model/config.h"
#include "model/precision.h"
#include "ops/loss.h"
#include "ops/masks.h"
#include "train/schedule.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum ij_regularizer { IJ_REGULARIZER_NONE, IJ_REGULARIZER_VICREG } ij_regularizer;

typedef struct ij_train_config {
    char model_name[32];
    ij_model_config model;
    masks_config masks;
    ij_schedule schedule; /* steps_per_epoch is filled when the data set is known */
    uint64_t seed;
    ij_precision precision;
    uint32_t loss; /* LOSS_SMOOTH_L1, LOSS_L2, LOSS_L1 */
    /* data */
    char data_path[4096];
    int batch;        /* images of one forward pass */
    int accumulation; /* forward passes of one optimiser step */
    double crop_scale[2], crop_ratio[2];
    bool random_crop; /* else the whole image */
    int channels, pad_to, threads;
    float mean[3], std[3]; /* of pixel values in [0, 1] */
    ij_preprocess
        preprocess; /* when features are made: data.resize, resize_shorter, resize_height, resize_width, resize_filter, resampler */
    /* optimiser */
    double beta1, beta2, eps, clip_norm;
    ij_regularizer regularizer;
    double regularizer_weight, regularizer_covariance;
    /* run */
    char folder[4096];
    int64_t checkpoint_every; /* steps [0: an epoch] */
    int64_t monitor_every;    /* steps; 0 turns the monitor off */
    int keep;                 /* newest checkpoints kept; 0: all */
} ij_train_config;

/* Defaults of every field. */
void ij_train_config_defaults(ij_train_config *config);

/* Reads text into config (defaults first), marks keys used, checks ranges and geometry, and refuses unknown keys. Notes that a
 * user should see (an option of the released files that has no meaning here) are written to notes, one line each, "" if none. */
ij_status ij_train_config_read(ij_config_text *text, ij_train_config *config, char *notes, size_t notes_bytes, ij_error *err);

/* The effective configuration, every key, as it would be read back. */
ij_status ij_train_config_write(const ij_train_config *config, ij_config_text *out, ij_error *err);

#endif
