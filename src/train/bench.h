/* Where a training step's time goes.       layer: train; uses: base, gpu, model
 *
 * The step is the trainer's own, on seeded noise instead of pictures, so that it needs no data set and its time is the device's. */
#ifndef IJ_TRAIN_BENCH_H
#define IJ_TRAIN_BENCH_H

#include "gpu/gpu.h"
#include "train/config.h"

typedef struct ij_bench_row {
    const char *label;            /* op and part of the model: "fc1 predictor" */
    const char *detail;           /* how, of the first that carries it: "coopmat f16 128x128x32"; "" where the op does not say */
    double seconds, flops, bytes; /* of all that carry it, in one step */
    int count;                    /* dispatches */
    bool product;                 /* a matrix product */
    gpu_element element;          /* of what it multiplies; GPU_WORD for what multiplies no matrices */
} ij_bench_row;

typedef struct ij_bench_step {
    gpu_element element;              /* of the step's products */
    char precision[300];              /* the same with the matrix engines that are used: "bf16 (coopmat2, coopmat)" */
    double seconds;                   /* of a step, median, not profiled, the next step being queued while one runs */
    int images;                       /* of a step */
    double flops;                     /* of a step; 0 where the device has no timestamps */
    double context_rows, target_rows; /* mean per image */
    uint64_t device_bytes;
    int dispatches, barriers;
} ij_bench_step;

/* Runs `runs` steps after two that warm up, then one step with timestamps around every op; its rows go to on_row, the slowest first.
 * Ops over ragged rows are charged for the rows that were there, not for the most there could be. by_detail: what has one label but is
 * done in different ways has a row for each. */
ij_status ij_bench_step_run(gpu_device *device, const ij_train_config *config, int runs, bool by_detail,
                            void (*on_row)(void *user, const ij_bench_row *row), void *user, ij_bench_step *out, ij_error *err);

#endif
