/* The epilogue four columns at a time, for kernels that have finished sums in that shape. Include after matmul_epilogue.h.
 *
 * f32 matrices are read and written as vec4 where n is a multiple of 4 (MATMUL_VECTOR_C). Of 16-bit outputs whole padded rows are
 * written, zeros beyond n: what reads them as an operand counts on it. */
#ifndef IJ_MATMUL_STORE_H
#define IJ_MATMUL_STORE_H

layout(binding = 2) restrict buffer CVec { vec4 c_vec[]; };
layout(binding = 2) restrict buffer CHalf { uvec2 c_half[]; };
layout(binding = 4) readonly restrict buffer BiasVec { vec4 bias_vec[]; };
layout(binding = 5) readonly restrict buffer ResidualVec { vec4 residual_vec[]; };
layout(binding = 6) restrict buffer PreVec { vec4 pre_vec[]; };
layout(binding = 6) restrict buffer PreHalf { uvec2 pre_half[]; };

/* Indices of four columns from col; those beyond n read the last one, and what is made of it is not kept. */
uvec4 columns_at(uint col, uint n) { return min(uvec4(col) + uvec4(0, 1, 2, 3), uvec4(n - 1)); }

vec4 bias_four(uint col, uint n) {
    if (has(MATMUL_VECTOR_C)) return bias_vec[col / 4];
    uvec4 at = columns_at(col, n);
    return vec4(bias[at.x], bias[at.y], bias[at.z], bias[at.w]);
}

vec4 residual_four(uint row, uint col, uint n) {
    uint start = residual_row(row) * n;
    if (has(MATMUL_VECTOR_C)) return residual_vec[(start + col) / 4];
    uvec4 at = start + columns_at(col, n);
    return vec4(residual[at.x], residual[at.y], residual[at.z], residual[at.w]);
}

vec4 c_four(uint row, uint col, uint n) {
    if (has(MATMUL_VECTOR_C)) return c_vec[(row * n + col) / 4];
    uvec4 at = row * n + columns_at(col, n);
    return vec4(c[at.x], c[at.y], c[at.z], c[at.w]);
}

vec4 gelu_grad_four(uint row, uint col, uint n) {
    vec4 x;
    if (ELEMENT != ELEMENT_WORD) x = unpack_half4(ELEMENT, pre_half[(row * half_row(n) + col) / 4]);
    else if (has(MATMUL_VECTOR_C)) x = pre_vec[(row * n + col) / 4];
    else {
        uvec4 at = row * n + columns_at(col, n);
        x = vec4(pre[at.x], pre[at.y], pre[at.z], pre[at.w]);
    }
    return vec4(gelu_grad(x.x), gelu_grad(x.y), gelu_grad(x.z), gelu_grad(x.w));
}

/* Zero beyond n. */
vec4 cut(vec4 value, uint col, uint n) {
    if (has(MATMUL_VECTOR_C)) return col < n ? value : vec4(0);
    return mix(vec4(0), value, lessThan(uvec4(col) + uvec4(0, 1, 2, 3), uvec4(n)));
}

void put_pre(uint row, uint col, vec4 value, uint n) {
    if (ELEMENT != ELEMENT_WORD) pre_half[(row * half_row(n) + col) / 4] = pack_half4(ELEMENT, cut(value, col, n));
    else if (has(MATMUL_VECTOR_C)) pre_vec[(row * n + col) / 4] = value;
    else
        [[unroll]] for (uint e = 0; e < 4; e++)
            if (col + e < n) pre[row * n + col + e] = value[e];
}

void put_c(uint row, uint col, vec4 value, uint n, uint part) {
    if (ELEMENT_C != ELEMENT_WORD) c_half[(row * half_row(n) + col) / 4] = pack_half4(ELEMENT_C, cut(value, col, n));
    else if (col >= n) return;
    else if (has(MATMUL_VECTOR_C)) c_vec[(part + row * n + col) / 4] = value;
    else
        [[unroll]] for (uint e = 0; e < 4; e++)
            if (col + e < n) c[part + row * n + col + e] = value[e];
}

/* Columns col .. col + 3 of a row of c, col a multiple of 4. */
void store_four(uint row, uint col, vec4 value, uvec3 dims, uint part) {
    uint n = dims.y;
    bool padded = ELEMENT_C != ELEMENT_WORD || (has(MATMUL_KEEP_PRE) && ELEMENT != ELEMENT_WORD);
    if (row >= dims.x || col >= (padded ? half_row(n) : n)) return;
    if (col < n && !has(MATMUL_SPLIT)) {
        if (has(MATMUL_BIAS)) value += bias_four(col, n);
        if (has(MATMUL_GELU_GRAD)) value *= gelu_grad_four(row, col, n);
        if (has(MATMUL_RESIDUAL)) value += residual_four(row, col, n);
        if (has(MATMUL_ACCUMULATE)) value += c_four(row, col, n);
    }
    if (has(MATMUL_KEEP_PRE)) put_pre(row, col, value, n);
    if (has(MATMUL_GELU)) value = vec4(gelu(value.x), gelu(value.y), gelu(value.z), gelu(value.w));
    put_c(row, col, value, n, part);
}

#endif
