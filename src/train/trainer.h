/* The training loop's body: data in, steps out, checkpoints, log, collapse monitor.      layer: train; uses: base, io, data, gpu, ops, model
 *
 * States: open -> stepping -> finished. A trainer may be saved in any state between two steps. Resuming from that file continues
 * bit for bit: order, crops, masks and schedules depend on (seed, epoch, index, step) only. */
#ifndef IJ_TRAIN_TRAINER_H
#define IJ_TRAIN_TRAINER_H

#include "gpu/gpu.h"
#include "model/jepa.h"
#include "train/config.h"

typedef struct ij_trainer ij_trainer;

typedef struct ij_trainer_options {
    gpu_device_desc device;
    bool resume;            /* the run folder's newest intact checkpoint */
    const char *checkpoint; /* this one, or any model that train/import.h knows; see below */
    bool overwrite, no_files;
    bool profile; /* time every op */
    bool no_tune; /* take the kernels' defaults; a CPU driver's are taken always */
    void (*message)(void *user, const char *line);
    void *user;
} ij_trainer_options;

typedef struct ij_progress {
    int64_t step, steps, epoch, epochs;
    ij_step_result result; /* of the newest finished step */
    double trivial_loss;   /* NaN before the first look */
    double lr, weight_decay, momentum;
    double images_per_second, seconds_left;
    const char *verdict, *reason; /* "" before the first look */
    int64_t damaged_images, skipped_steps;
} ij_progress;

/* checkpoint: a training state of this project continues bit for bit. A released .pth.tar continues with weights, predictor, target encoder
 * and AdamW's moments at step = its completed epochs x the steps an epoch of this data set, which places it in all schedules; AdamW's bias
 * correction goes on from the steps that the file says it took (they agree for all parameters, or the largest counts, and that is said). The
 * configuration is the caller's: such files hold none. Where there is only an encoder it is both encoders, predictor and moments begin
 * anew, at step 0. What was taken is said through `message`. */
ij_status ij_trainer_open(const ij_train_config *config, const ij_trainer_options *options, ij_trainer **out, ij_error *err);
void ij_trainer_close(ij_trainer *trainer);
ij_status ij_trainer_step(ij_trainer *trainer, ij_progress *progress, bool *finished, ij_error *err);
ij_status ij_trainer_save(ij_trainer *trainer, const char *path, ij_error *err);

/* For benchmarks and tests. */
ij_jepa *ij_trainer_jepa(ij_trainer *trainer);

#endif
