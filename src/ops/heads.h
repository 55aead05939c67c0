/* What linear heads on frozen features learn with: batches by index, BatchNorm's statistics, one update of many heads.
 * layer: ops; uses: gpu
 *
 * A step of all heads that read the same input: gather, stats, columns; logits = x W^T + b (op_matmul); op_cross_entropy; dW, db (op_matmul);
 * update. Rows are [rows, width] f32; rows are at most 65,535. */
#ifndef IJ_OPS_HEADS_H
#define IJ_OPS_HEADS_H

#include "ops/op.h"
#include "shaders/heads.h"

/* to[r] = from[index[r] - begin] for the rows r with begin <= index[r] < begin + count; other rows of `to` stay as they are. A set of
 * features that is larger than one binding may be lies in several parts, and each part's call brings its rows. */
typedef struct op_heads_gather_args {
    gpu_tensor from;  /* [count, width] */
    gpu_tensor index; /* [rows] u32 */
    gpu_tensor to;    /* [rows, width] */
    uint32_t begin, count, rows;
    uint32_t width; /* a multiple of 4 */
} op_heads_gather_args;
ij_status op_heads_gather(gpu_program *program, const op_heads_gather_args *args, ij_error *err);

/* Statistics of the columns of x [rows, width], rows >= 2, as BatchNorm keeps them (Ioffe & Szegedy 2015), [width] pairs (mean, variance):
 * batch has the rows' own, variance by rows; running += momentum (rows' - running), variance by rows - 1. */
ij_status op_heads_stats(gpu_program *program, gpu_tensor x, uint32_t rows, uint32_t width, gpu_tensor batch, gpu_tensor running,
                         float momentum, ij_error *err);

/* to[r, c] = x[r, first + c] for c < columns, with stats (x - mean) / sqrt(variance + eps) of that column; 0 for columns <= c < padded. */
typedef struct op_heads_columns_args {
    gpu_tensor x;     /* [rows, width] */
    gpu_tensor stats; /* [width] pairs [not normalised] */
    gpu_tensor to;    /* [rows, padded] */
    uint32_t rows, width, first, columns, padded;
    float eps;
} op_heads_columns_args;
ij_status op_heads_columns(gpu_program *program, const op_heads_columns_args *args, ij_error *err);

/* Of each head, with its own setting:
 *   ratio = trust |p| / (|g| + weight_decay |p|), where trust > 0 and both norms are (You et al. 2017, LARS), else 1
 *   v = momentum v + ratio (g + weight_decay p),  p = p - lr v
 * Norms are a head's; sums have a fixed order. */
typedef struct op_heads_update_args {
    gpu_tensor p, v, g;  /* [heads, count] */
    gpu_tensor settings; /* [heads] struct heads_setting */
    gpu_tensor scratch;  /* op_heads_update_scratch bytes; not for biases */
    uint32_t heads, count;
    bool bias; /* no decay, ratio 1 */
} op_heads_update_args;
ij_status op_heads_update(gpu_program *program, const op_heads_update_args *args, ij_error *err);
uint64_t op_heads_update_scratch(uint32_t heads, uint32_t count);

/* References, in double. */
void ref_heads_stats(const double *x, int64_t rows, int64_t width, double *batch, double *running, double momentum);
void ref_heads_columns(const double *x, const double *stats, double *to, int64_t rows, int64_t width, int64_t first, int64_t columns,
                       int64_t padded, double eps);
void ref_heads_update(double *p, double *v, const double *g, const struct heads_setting *settings, int64_t heads, int64_t count, bool bias);

#endif
