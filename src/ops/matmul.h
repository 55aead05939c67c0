/* Matrix products in the three forms a linear layer needs.       layer: ops; uses: gpu
 *
 *   y  = x W^T  (NT)      x [rows, in], W [out, in], y [rows, out]
 *   dx = dy W   (NN)      dy [rows, out], W [out, in], dx [rows, in]
 *   dW = dy^T x (TN)      dy [rows, out], x [rows, in], dW [out, in]; the sum runs over the rows
 *
 * Operands are f32, or both f16, or both bf16; sums are f32 always; the result is f32 or what the operands are. 16-bit matrices have
 * padded rows (gpu_row). What surrounds a product in the model is done while its result is still in registers; see op_matmul_desc. */
#ifndef IJ_OPS_MATMUL_H
#define IJ_OPS_MATMUL_H

#include "ops/op.h"

typedef enum op_matmul_form {
    OP_MATMUL_NT, /* c[m, n] = sum_k a[m, k] b[n, k] */
    OP_MATMUL_NN, /* c[m, n] = sum_k a[m, k] b[k, n] */
    OP_MATMUL_TN, /* c[m, n] = sum_k a[k, m] b[k, n] */
} op_matmul_form;

typedef enum op_matmul_kernel {
    OP_MATMUL_AUTO,     /* what was tuned for this device and shape, else the best that the device has */
    OP_MATMUL_LANE,     /* f32 on CPU drivers: no shared memory, lanes across columns */
    OP_MATMUL_VECTOR,   /* f32 on CPU drivers with addresses: the same with vector loads */
    OP_MATMUL_TILE,     /* any device, any element: tiles in shared memory, scalar arithmetic in f32 */
    OP_MATMUL_COOPMAT,  /* 16-bit operands, matrices of a subgroup (VK_KHR_cooperative_matrix) */
    OP_MATMUL_COOPMAT2, /* 16-bit operands, matrices of a workgroup (VK_NV_cooperative_matrix2); no gather */
    OP_MATMUL_KERNEL_COUNT
} op_matmul_kernel;

/* A zero tensor (arena NULL) means "none". The sum goes through what is given, in this order, and is stored in c:
 *   + bias,  x gelu'(gelu_grad_of),  + residual,  + c,  kept in pre,  gelu. */
typedef struct op_matmul_desc {
    const char *label; /* for times and errors ["matmul_nt" and so on] */
    op_matmul_form form;
    uint32_t m, n, k;   /* the one that is token rows (m in NT and NN, k in TN) is taken from `rows` instead */
    ij_rows rows;       /* offsets may be a zero tensor: rows.max rows */
    gpu_tensor a, b, c; /* shapes above; c is neither a nor b; a and b have the same element, c that or f32 (TN: f32) */
    gpu_tensor gather;  /* [rows] u32: token row r of the input x (a in NT, b in TN) is row gather[r] of the tensor given [row r] */

    gpu_tensor bias;           /* [n] f32, NT */
    gpu_tensor gelu_grad_of;   /* [m, n] pre-activations, element of a, NN: c = sum x gelu'(them); goes with nothing else */
    gpu_tensor residual;       /* [m, n] f32, not c itself (say accumulate) */
    uint32_t residual_period;  /* residual is [period, n]: row r takes row (residual_index ? residual_index[r] : r) % period of it; this
                               * is how positions are added [0: residual has a row for each] */
    gpu_tensor residual_index; /* [rows] u32 */
    bool accumulate;           /* add to what c (and bias_grad) holds; c is f32 */
    bool gelu;                 /* exact GELU, NT */
    gpu_tensor pre;            /* [m, n], element of a, with gelu: what GELU was applied to, for the backward pass */
    gpu_tensor bias_grad;      /* [m] f32, TN: sum_k a[k, m], the gradient of the bias */

    gpu_tensor scratch;      /* at least op_matmul_scratch bytes; needed where that is not 0 */
    op_matmul_kernel kernel; /* [chosen]; one that this device or product cannot have is IJ_ERROR_ARGUMENT */
    uint32_t variant;        /* 1 + index of that kernel's tile, see matmul_rungs.h [chosen] */
    uint32_t chunk;          /* rows a partial sum takes in TN, a multiple of 64 but for tests; ~0: no split [by m, n and device] */
} op_matmul_desc;

/* Bytes of scratch the product needs on this device: 0, but for TN with a small c, where the rows are summed in
 * chunks. The chunk depends on m, n and the device alone, so what a row adds is rounded alike whatever follows it.
 * Reads form, m, n, k, rows.max, kernel and chunk only: it can be asked before there are tensors. */
uint64_t op_matmul_scratch(gpu_device *device, const op_matmul_desc *desc);

/* Records the product. Nothing is read or written beyond the true rows. Wrong sizes are IJ_ERROR_ARGUMENT. */
ij_status op_matmul(gpu_program *program, const op_matmul_desc *desc, ij_error *err);

/* References in double; the same shapes. ref_matmul: c = a b in the form given, [+ c]. */
void ref_matmul(op_matmul_form form, int64_t m, int64_t n, int64_t k, const double *a, const double *b, double *c, bool accumulate);
#endif
