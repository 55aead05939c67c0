/* The plan of kernels in which a subgroup takes a row (shaders/include/row_lanes.h).       layer: ops; uses: gpu */
#ifndef IJ_OPS_ROWS_H
#define IJ_OPS_ROWS_H

#include "ops/op.h"

typedef struct rows_plan {
    const char *suffix;     /* of the variant: "", "_any" (dim not a multiple of 4), "_shared" (no subgroup arithmetic) */
    uint32_t width;         /* elements a lane loads at once */
    uint32_t columns;       /* loads a row takes: dim / width */
    uint32_t lanes;         /* that share a row */
    uint32_t loads;         /* of a lane a row: ceil(columns / lanes) */
    uint32_t subgroup_size; /* to be required of the pipeline; 0: any */
    uint32_t rows_per_group;
} rows_plan;

/* no_subgroups takes the path of devices without subgroup arithmetic everywhere; for tests. */
rows_plan rows_plan_make(gpu_device *device, uint32_t dim, bool no_subgroups);

/* For 16-bit elements: where a lane loads one element at a time, it gets an even number of loads, of which two
 * are neighbours in the row (row_column with pairs). */
void rows_plan_pairs(rows_plan *plan);

/* The kernel `stem` + suffix; specs[0] and specs[1] are the lanes and loads of the plan, `extra` those that follow. */
ij_status rows_kernel(gpu_device *device, const rows_plan *plan, const char *stem, const uint32_t *extra, uint32_t extra_count,
                      gpu_kernel **out, ij_error *err);

/* Contiguous shares that the driver cuts a dispatch into, in order of x, y, z: one for each thread of a CPU driver; 1 on a GPU.
 * Where only the first rows of many exist, dealing them out over that many shares keeps all threads busy. No result depends on it. */
uint32_t rows_shares(gpu_device *device);

/* Lays `count` workgroups out as a plane (the shader's group_index): no axis is longer than every device takes. */
void rows_groups(uint32_t groups[3], int64_t count);

/* The same where only the first of them may have rows: dealt out over the shares. Up to rows_shares - 1 more than `count`. */
void rows_groups_ragged(gpu_device *device, uint32_t groups[3], int64_t count);

#endif
