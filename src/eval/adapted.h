/* Rows of an evaluation that trains the encoder further: low-shot, whole and partial fine-tuning.       layer: eval; uses: base, eval */
#ifndef IJ_EVAL_ADAPTED_H
#define IJ_EVAL_ADAPTED_H

#include "eval/finetune.h"
#include "eval/results.h"

/* Appends one row of the method for trained or random features (`desc` has the data, the device and what was asked for; method and features
 * decide its fraction, last_blocks, seeds and random_init). progress is told of finished optimiser steps; it and stop may be NULL. */
typedef struct eval_adapted {
    ij_finetune_desc finetune;
    const char *task;
    double fraction;
    int seeds, blocks;
    void (*progress)(void *user, const char *what, int64_t done, int64_t total);
    bool (*stop)(void *user);
    void *user;
} eval_adapted;

ij_status ij_adapted_row(const char *run, const eval_adapted *desc, eval_method method, eval_features features, ij_eval_result *result,
                         ij_error *err);

#endif
