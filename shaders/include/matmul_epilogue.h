/* Bindings of both matrix kernels and what they do with a finished sum. Include after `FORM` and `EPILOGUE` are declared. */
#ifndef IJ_MATMUL_EPILOGUE_H
#define IJ_MATMUL_EPILOGUE_H

layout(push_constant) uniform Push { matmul_push push; };
layout(binding = 0) readonly restrict buffer A { float a[]; };               /* [m, k], TN: [k, m] */
layout(binding = 1) readonly restrict buffer B { float b[]; };               /* [k, n], NT: [n, k] */
layout(binding = 2) restrict buffer C { float c[]; };                        /* [m, n] */
layout(binding = 3) readonly restrict buffer Offsets { uint offsets[]; };
layout(binding = 4) readonly restrict buffer Bias { float bias[]; };         /* [n] */
layout(binding = 5) readonly restrict buffer Residual { float residual[]; }; /* [m, n] */
layout(binding = 6) restrict buffer Pre { float pre[]; };                    /* [m, n] */
layout(binding = 7) restrict buffer Sums { float sums[]; };                  /* [m] */

bool has(uint bit) { return (EPILOGUE & bit) != 0; }

/* The dims of this product: the one that is token rows may be smaller than what was dispatched for. */
uvec3 true_dims() {
    uint rows = FORM == MATMUL_TN ? push.k : push.m;
    if (has(MATMUL_DEVICE_ROWS)) rows = min(rows, offsets[push.at]);
    return FORM == MATMUL_TN ? uvec3(push.m, push.n, rows) : uvec3(rows, push.n, push.k);
}

/* Everything cheap: what is to be stored, or put through GELU. at = row n + column; bias_here = bias[column]. */
float add_to_sum(float sum, float bias_here, uint at) {
    if (has(MATMUL_BIAS)) sum += bias_here;
    if (has(MATMUL_GELU_GRAD)) sum *= gelu_grad(pre[at]);
    if (has(MATMUL_RESIDUAL)) sum += residual[at];
    if (has(MATMUL_ACCUMULATE)) sum += c[at];
    return sum;
}

#endif
