/* The tuner: which kernel and tile multiplies a shape fastest on this device, measured on it.       layer: ops; uses: base, gpu
 *
 * A device's drivers and caches decide what no rule foresees, so candidates (every rung the device has and passed the start-up check
 * with, every tile that fits its shared memory) are timed on the shape itself, with the same epilogue. Each candidate's numbers are
 * verified before it may win: autotuners that only look at clocks have picked kernels that computed nonsense.
 *
 * Results are kept in the cache folder, keyed by device, driver version and the kernels' own words; a table of another driver or
 * build is not read. Choices change time, and bits only where they change the rung: how the rows of a weight gradient are cut into
 * chunks is not tuned. */
#ifndef IJ_OPS_TUNE_H
#define IJ_OPS_TUNE_H

#include "ops/matmul.h"

typedef struct tune_row {
    char product[96];              /* "nt 32768 x 5120 x 1280 bf16, bias, gelu, pre" */
    char choice[80], fallback[80]; /* the fastest candidate, and what is taken without tuning */
    double seconds, fallback_seconds;
    int candidates, wrong, failed; /* wrong: verified and refused; failed: the driver could not make or run it */
} tune_row;

/* From now on a product of this device that has no entry in its table is tuned when it is planned. on_row (may be NULL) hears of each. A
 * table on disk is read first. retune forgets it. Off again: tune_disable. */
ij_status tune_enable(gpu_device *device, bool retune, void (*on_row)(void *user, const tune_row *row), void *user, ij_error *err);
void tune_disable(gpu_device *device);

/* Reads the table of an earlier run, where there is one; without it products take their defaults. */
ij_status tune_load(gpu_device *device, ij_error *err);

#endif
