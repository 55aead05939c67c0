/* Bindings of all matrix kernels and what they do with a finished sum. Include after `FORM`, `EPILOGUE`, `ELEMENT` (of a, b and
 * pre) and `ELEMENT_C` are declared. */
#ifndef IJ_MATMUL_EPILOGUE_H
#define IJ_MATMUL_EPILOGUE_H

#include "gelu.h"
#include "half.h"

#ifdef MATMUL_BY_ADDRESS
layout(push_constant) uniform Push { matmul_vector_push push; };
#else
layout(push_constant) uniform Push { matmul_push push; };
#endif
layout(binding = 0) readonly restrict buffer A { float a[]; };               /* [m, k], TN: [k, m] */
layout(binding = 1) readonly restrict buffer B { float b[]; };               /* [k, n], NT: [n, k] */
layout(binding = 2) restrict buffer C { float c[]; };                        /* [m, n] */
layout(binding = 3) readonly restrict buffer Offsets { uint offsets[]; };
layout(binding = 4) readonly restrict buffer Bias { float bias[]; };         /* [n] */
layout(binding = 5) readonly restrict buffer Residual { float residual[]; }; /* [m, n] or [period, n] */
layout(binding = 6) restrict buffer Pre { float pre[]; };                    /* [m, n] */
layout(binding = 6) restrict buffer PreWords { uint pre_words[]; };          /* the same, two 16-bit elements a word */
layout(binding = 7) restrict buffer Sums { float sums[]; };                  /* [m] */
layout(binding = 8) readonly restrict buffer Gather { uint gather[]; };      /* [token rows] */
layout(binding = 9) readonly restrict buffer ResidualIndex { uint residual_index[]; }; /* [m] */

bool has(uint bit) { return (EPILOGUE & bit) != 0; }

/* The dims of this product: the one that is token rows may be smaller than what was dispatched for. */
uvec3 true_dims() {
    uint rows = FORM == MATMUL_TN ? push.k : push.m;
    if (has(MATMUL_DEVICE_ROWS)) rows = min(rows, offsets[push.at]);
    return FORM == MATMUL_TN ? uvec3(push.m, push.n, rows) : uvec3(rows, push.n, push.k);
}

/* Where this workgroup's part of a split sum begins in c. */
uint part_start(uint part, uvec3 dims) {
    return has(MATMUL_SPLIT) ? part * MATMUL_PART(dims.x, dims.y, has(MATMUL_ROW_SUMS) ? dims.x : 0) : 0;
}

uint residual_row(uint row) {
    if (!has(MATMUL_RESIDUAL_PERIOD)) return row;
    return (has(MATMUL_RESIDUAL_INDEX) ? residual_index[row] : row) % push.residual_period;
}

float pre_at(uint row, uint col, uint n) {
    if (ELEMENT == ELEMENT_WORD) return pre[row * n + col];
    return unpack_half(ELEMENT, pre_words[(row * half_row(n) + col) / 2])[col % 2];
}

/* Everything cheap: what is to be stored, or put through GELU. bias_here = bias[col]. */
float add_to_sum(float sum, float bias_here, uint row, uint col, uint n) {
    if (has(MATMUL_BIAS)) sum += bias_here;
    if (has(MATMUL_GELU_GRAD)) sum *= gelu_grad(pre_at(row, col, n));
    if (has(MATMUL_RESIDUAL)) sum += residual[residual_row(row) * n + col];
    if (has(MATMUL_ACCUMULATE)) sum += c[row * n + col];
    return sum;
}

/* The end of a row sum of a (TN). */
void store_row_sum(uint row, float total, uvec3 dims, uint part) {
    if (row >= dims.x) return;
    if (has(MATMUL_SPLIT)) c[part + dims.x * dims.y + row] = total;
    else sums[row] = has(MATMUL_ACCUMULATE) ? sums[row] + total : total;
}

#endif
