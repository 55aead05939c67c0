/* Sums that leave a number, or a row a sequence: the gradient's norm, a distance, mean pooling.       layer: ops; uses: gpu
 * All sums have a shape that does not depend on the device's subgroups nor, per image, on the rest of the batch. */
#ifndef IJ_OPS_REDUCE_H
#define IJ_OPS_REDUCE_H

#include "ops/op.h"
#include "shaders/reduce.h"

/* Partial sums of squares of x [count] into partials[first ...]; one partial for REDUCE_CHUNK elements, op_sum_squares_partials(count)
 * in all. Several arrays share one partials tensor by their `first`. An element that is no finite number makes its partial infinite. */
ij_status op_sum_squares(gpu_program *program, gpu_tensor x, uint64_t count, gpu_tensor partials, uint32_t first, ij_error *err);
uint32_t op_sum_squares_partials(uint64_t count);

/* norm (struct reduce_norm) of partials[0 .. count). Where the sum is not finite: finite 0, norm and sum_squares -1. */
ij_status op_norm_finish(gpu_program *program, gpu_tensor partials, uint32_t count, gpu_tensor norm, ij_error *err);

/* The same for how far b is from a: partials [chunks, 2], op_sum_squares_partials(count) of them, and then struct reduce_distance. */
ij_status op_distance(gpu_program *program, gpu_tensor a, gpu_tensor b, uint64_t count, gpu_tensor partials, uint32_t first, ij_error *err);
ij_status op_distance_finish(gpu_program *program, gpu_tensor partials, uint32_t count, gpu_tensor distance, ij_error *err);

/* pooled[s] = mean of rows offsets[s] .. offsets[s + 1] of x, for s < sequences; a sequence without rows gives 0.
 * Backward: every row of sequence s has dx (+)= dpooled[s] / length. */
typedef struct op_mean_rows_args {
    gpu_tensor x;          /* [rows, dim], f32, f16 or bf16; in the backward op dx */
    gpu_tensor pooled;     /* [sequences, dim] f32; in the backward op dpooled */
    gpu_tensor loss_scale; /* backward: struct optim_scale, what is added to dx is multiplied with its scale [1] */
    gpu_tensor offsets;    /* [sequences + 1] u32, ascending */
    uint32_t sequences, dim;
    uint32_t rows_max; /* of x: offsets are cut to it */
    bool add;          /* backward: dx += [dx =] */
    const char *label; /* ["mean_rows", "mean_rows_bwd"] */
} op_mean_rows_args;

ij_status op_mean_rows(gpu_program *program, const op_mean_rows_args *args, ij_error *err);
ij_status op_mean_rows_bwd(gpu_program *program, const op_mean_rows_args *args, ij_error *err);

/* References, in double. */
struct reduce_norm ref_norm(const double *const *arrays, const int64_t *counts, int array_count);
void ref_distance(const double *a, const double *b, int64_t count, double out[4]); /* as the struct */
void ref_mean_rows(const double *x, const uint32_t *offsets, double *pooled, int64_t sequences, int64_t dim);
void ref_mean_rows_bwd(const double *dpooled, const uint32_t *offsets, double *dx, int64_t sequences, int64_t dim, bool add);

#endif
