/* Between the files of the matmul family: what a product will dispatch.       layer: ops; uses: gpu */
#ifndef IJ_OPS_MATMUL_PLAN_H
#define IJ_OPS_MATMUL_PLAN_H

#include "ops/matmul_rungs.h"
#include "shaders/matmul.h"

#define MATMUL_CHUNK_UNIT 256 /* rows of the shortest chunk; a multiple of every BK */

typedef struct matmul_plan {
    matmul_choice choice;
    gpu_kernel_desc kernel;
    uint32_t groups[3];
    struct matmul_push push;
    uint32_t parts; /* > 1: through scratch and matmul_reduce */
} matmul_plan;

/* A tile of c that a workgroup makes, and its part for an invocation (matmul_tile) or a subgroup (matmul_coopmat). */
typedef struct matmul_tile {
    uint32_t bm, bn, bk, tm, tn;
    float speed; /* of a full device with this tile, the best being 1; see the lists */
} matmul_tile;

static inline bool matmul_given(gpu_tensor tensor) { return tensor.arena != NULL; }

/* m, n, k with token rows taken from rows.max. */
struct matmul_push matmul_dims(const op_matmul_desc *desc);

/* MATMUL_ bits of what is given, without those that a plan adds. */
uint32_t matmul_epilogue(const op_matmul_desc *desc);

/* Rows of a partial sum, and how many such there are. */
uint32_t matmul_chunk(gpu_device *device, const op_matmul_desc *desc);
uint32_t matmul_parts(gpu_device *device, const op_matmul_desc *desc);

/* False: no kernel that desc and device allow; only where a kernel or tile was forced. */
bool matmul_plan_make(gpu_device *device, const op_matmul_desc *desc, matmul_plan *plan);

#endif
