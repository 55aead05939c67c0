/* The training loop's body: data in, steps out, checkpoints, log, collapse monitor.      layer: train; uses: base, io, data, gpu, ops, model
 *
 * States: open -> stepping -> finished. A trainer may be saved in any state between two steps. Resuming from that file continues
 * bit for bit: order, crops, masks and schedules depend on (seed, epoch, index, step) only.
 *
 * When a look's verdict is "collapsed", logging.on_collapse decides:
 *   warn     it is said and logged, the run goes on
 *   stop     the run saves a checkpoint and is finished, progress.collapsed set. A run resumed from there stops at its next such look
 *   backoff  learning rate and 1 - momentum are halved for good, from the second step after the look on (the next is under way), at most
 *            IJ_BACKOFFS_MAX times and not within IJ_BACKOFF_LOOKS looks of the last. How often and since when is in the checkpoint's
 *            configuration (optimization.backoffs, backoff_since), so that a resumed run goes on with the same numbers */
#ifndef IJ_TRAIN_TRAINER_H
#define IJ_TRAIN_TRAINER_H

#include "data/dataset.h"
#include "gpu/gpu.h"
#include "model/jepa.h"
#include "train/config.h"

#define IJ_BACKOFFS_MAX 3
#define IJ_BACKOFF_LOOKS 6 /* the verdict's memory: none of the looks of before */

typedef struct ij_trainer ij_trainer;

typedef struct ij_trainer_options {
    gpu_device_desc device;
    ij_dataset *dataset;    /* to train on; shared with the caller [data.path, opened] */
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
    bool collapsed; /* the run ended before its time, for on_collapse: stop */
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

/* What the trainer works with, for reading: everything queued on its device is done first, so what is read is the newest step's. */
typedef struct ij_trainer_view {
    gpu_device *device;
    ij_weights *weights;
    const ij_train_config *config;
    int64_t step;
} ij_trainer_view;
ij_trainer_view ij_trainer_look(const ij_trainer *trainer);

/* For benchmarks and tests. */
ij_jepa *ij_trainer_jepa(ij_trainer *trainer);

#endif
