/* Learning rate, weight decay and momentum by step, exactly as the released training advances them.     layer: train; uses: nothing
 *
 * `step` counts optimiser steps from 0. The released code advances its learning-rate and weight-decay schedules *before* each
 * update, so step 0 already uses one increment; its momentum generator is read after the update, starting at the first value.
 * T_max = ipe_scale x epochs x steps_per_epoch stretches all three; with a scale above 1 they end before their final value. */
#ifndef IJ_TRAIN_SCHEDULE_H
#define IJ_TRAIN_SCHEDULE_H

#include <stdint.h>

typedef struct ij_schedule {
    double start_lr, lr, final_lr;
    double warmup_epochs;
    double weight_decay, final_weight_decay;
    double ema, final_ema;
    double ipe_scale;
    int64_t epochs, steps_per_epoch;
    int64_t steps; /* length of the schedules in place of epochs x steps_per_epoch [0: that] */
    /* Backing off (not in the released code): each time, the learning rate and 1 - momentum are halved for good. */
    int64_t backoffs;      /* how often so far [0] */
    int64_t backoff_since; /* first step that the last of them holds for */
} ij_schedule;

/* Linear warm-up from start_lr to lr, then cosine to final_lr (Assran et al. 2023, appendix A.1; released configuration). */
double ij_schedule_lr(const ij_schedule *s, int64_t step);

/* Cosine from weight_decay to final_weight_decay. */
double ij_schedule_weight_decay(const ij_schedule *s, int64_t step);

/* Momentum of the target encoder: linear from ema to final_ema. */
double ij_schedule_momentum(const ij_schedule *s, int64_t step);

/* Steps of the run. */
int64_t ij_schedule_steps(const ij_schedule *s);

#endif
