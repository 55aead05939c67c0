/* Matrix products of 16-bit operands on matrix engines, a workgroup at a time (VK_NV_cooperative_matrix2); sums in f32.
 *   NT: c[m, n] = sum_k a[m, k] b[n, k]    NN: c[m, n] = sum_k a[m, k] b[k, n]    TN: c[m, n] = sum_k a[k, m] b[k, n]
 *
 * Layout: a workgroup makes a BM x BN tile of c as one matrix. How panels reach the engines (copies in the background, what is
 * shared, who holds what) is the driver's business: it is told slices of tensors, transposed by a view where the form wants it.
 * It uses the widest copies where it can prove their alignment, so lines are a multiple of 8 elements by a mask that it sees
 * (half_row), and tiles that lie inside the matrices go through a loop without clamping, four panels a turn. The rest, edges and
 * the last k, is clamped: what lies outside is 0.
 * The epilogue is a function of (row, column, element) on the sums where they are; what it reads, it reads an element at a time, so
 * that no second tile of registers is needed. 16-bit results leave as tensors too: whole padded rows, zeros beyond n. Their bits
 * are made by half.h and travel as f16 whichever element they are, since a device need not have sums of bfloat16 as a type: each sum
 * becomes the f32 that turns into the f16 with those bits. Lost on the way: bf16 beyond 2^121 (f16 calls them NaN), and they are.
 * Row sums of a (TN) are its product with ones, exact as sums are in f32.
 * TN as in matmul_tile: workgroup z sums `chunk` token rows into its own part of c. No gather: a tensor's rows follow each other. */
//! variant matmul_coopmat2_f16 -DOPERAND=float16_t needs GL_NV_cooperative_matrix2
//! variant matmul_coopmat2_bf16 -DOPERAND=bfloat16_t -DBFLOAT needs GL_EXT_bfloat16
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int32 : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_NV_cooperative_matrix2 : require
#ifdef BFLOAT
#extension GL_EXT_bfloat16 : require
#endif
#pragma use_vulkan_memory_model
#include "matmul.h"

layout(local_size_x_id = MATMUL_SPEC_THREADS) in;
layout(constant_id = MATMUL_SPEC_FORM) const uint FORM = MATMUL_NT;
layout(constant_id = MATMUL_SPEC_EPILOGUE) const uint EPILOGUE = 0;
layout(constant_id = MATMUL_SPEC_BM) const uint BM = 128;
layout(constant_id = MATMUL_SPEC_BN) const uint BN = 128;
layout(constant_id = MATMUL_SPEC_BK) const uint BK = 64;
layout(constant_id = MATMUL_SPEC_ELEMENT) const uint ELEMENT = 1;
layout(constant_id = MATMUL_SPEC_ELEMENT_C) const uint ELEMENT_C = 1;
#include "matmul_epilogue.h"
layout(binding = 0) readonly restrict buffer AElements { OPERAND a_elements[]; };
layout(binding = 1) readonly restrict buffer BElements { OPERAND b_elements[]; };
layout(binding = 2) restrict buffer CBits { float16_t c_bits[]; };
layout(binding = 6) restrict buffer PreBits { float16_t pre_bits[]; };

const bool A_K_INNER = FORM != MATMUL_TN, B_K_INNER = FORM == MATMUL_NT;
const uint TURN = 4; /* panels a turn of the loop without clamping */
#define CLAMP gl_CooperativeMatrixClampModeConstantNV

/* ---- of each element; start is the tile's first row and column ---- */

float finish(const in uint32_t row, const in uint32_t col, const in float sum, const in uvec2 start, const in uvec3 dims) {
    uint r = start.x + row, c_at = start.y + col;
    if (r >= dims.x || c_at >= dims.y) return 0; /* the padding of 16-bit rows */
    return add_to_sum(sum, has(MATMUL_BIAS) ? bias[c_at] : 0, r, c_at, dims.y);
}

float activate(const in uint32_t row, const in uint32_t col, const in float x) { return gelu(x); }

float to_carrier(const in uint32_t row, const in uint32_t col, const in float x) {
    return unpackHalf2x16(pack_half(ELEMENT, vec2(x, 0))).x;
}

float keep_row_sum(const in uint32_t row, const in uint32_t col, const in float sum, const in uint row_start, const in uvec3 dims,
                   const in uint part) {
    if (col == 0) store_row_sum(row_start + row, sum, dims, part);
    return sum;
}

void main() {
    uvec3 dims = true_dims();
    uvec2 start = uvec2(gl_WorkGroupID.y * BM, gl_WorkGroupID.x * BN); /* row, column */
    uint k = has(MATMUL_SPLIT) ? gl_WorkGroupID.z * push.chunk & ~63u : 0; /* chunks are multiples of 64: it shows the alignment */
    uint k_end = has(MATMUL_SPLIT) ? min(dims.z, k + push.chunk) : dims.z;
    if (start.x >= dims.x || (has(MATMUL_SPLIT) && k >= k_end)) return; /* uniform over the workgroup */
    bool inside = start.x + BM <= dims.x && start.y + BN <= dims.y;
    bool summing = has(MATMUL_ROW_SUMS) && gl_WorkGroupID.x == 0;

    /* Lines and columns of a and b in memory; padding counts, it is zeros. Lines that are k end with this part's k. */
    uint a_lines = A_K_INNER ? dims.x : k_end, a_cols = half_row(A_K_INNER ? dims.z : dims.x);
    uint b_lines = B_K_INNER ? dims.y : k_end, b_cols = half_row(B_K_INNER ? dims.z : dims.y);
    tensorLayoutNV<2> a_free = setTensorLayoutDimensionNV(createTensorLayoutNV(2), a_lines, a_cols);
    tensorLayoutNV<2> b_free = setTensorLayoutDimensionNV(createTensorLayoutNV(2), b_lines, b_cols);
    tensorLayoutNV<2, CLAMP> a_clamped = setTensorLayoutDimensionNV(createTensorLayoutNV(2, CLAMP), a_lines, a_cols);
    tensorLayoutNV<2, CLAMP> b_clamped = setTensorLayoutDimensionNV(createTensorLayoutNV(2, CLAMP), b_lines, b_cols);
    tensorViewNV<2, false, 1, 0> transposed = createTensorViewNV(2, false, 1, 0);

    coopmat<float, gl_ScopeWorkgroup, BM, BN, gl_MatrixUseAccumulator> sum =
        coopmat<float, gl_ScopeWorkgroup, BM, BN, gl_MatrixUseAccumulator>(0.0);
    coopmat<float, gl_ScopeWorkgroup, BM, MATMUL_ONES, gl_MatrixUseAccumulator> row_sums =
        coopmat<float, gl_ScopeWorkgroup, BM, MATMUL_ONES, gl_MatrixUseAccumulator>(0.0);
    coopmat<OPERAND, gl_ScopeWorkgroup, BK, MATMUL_ONES, gl_MatrixUseB> ones =
        coopmat<OPERAND, gl_ScopeWorkgroup, BK, MATMUL_ONES, gl_MatrixUseB>(OPERAND(1.0));
    coopmat<OPERAND, gl_ScopeWorkgroup, BM, BK, gl_MatrixUseA> a_here;
    coopmat<OPERAND, gl_ScopeWorkgroup, BK, BN, gl_MatrixUseB> b_here;

    for (; inside && k + TURN * BK <= k_end; k += TURN * BK)
        [[unroll]] for (uint turn = 0; turn < TURN; turn++) {
            uint at = k + turn * BK;
            if (A_K_INNER) coopMatLoadTensorNV(a_here, a_elements, 0, sliceTensorLayoutNV(a_free, start.x, BM, at, BK));
            else coopMatLoadTensorNV(a_here, a_elements, 0, sliceTensorLayoutNV(a_free, at, BK, start.x, BM), transposed);
            if (B_K_INNER) coopMatLoadTensorNV(b_here, b_elements, 0, sliceTensorLayoutNV(b_free, start.y, BN, at, BK), transposed);
            else coopMatLoadTensorNV(b_here, b_elements, 0, sliceTensorLayoutNV(b_free, at, BK, start.y, BN));
            sum = coopMatMulAdd(a_here, b_here, sum);
            if (summing) row_sums = coopMatMulAdd(a_here, ones, row_sums);
        }
    for (; k < k_end; k += BK) {
        if (A_K_INNER) coopMatLoadTensorNV(a_here, a_elements, 0, sliceTensorLayoutNV(a_clamped, start.x, BM, k, BK));
        else coopMatLoadTensorNV(a_here, a_elements, 0, sliceTensorLayoutNV(a_clamped, k, BK, start.x, BM), transposed);
        if (B_K_INNER) coopMatLoadTensorNV(b_here, b_elements, 0, sliceTensorLayoutNV(b_clamped, start.y, BN, k, BK), transposed);
        else coopMatLoadTensorNV(b_here, b_elements, 0, sliceTensorLayoutNV(b_clamped, k, BK, start.y, BN));
        sum = coopMatMulAdd(a_here, b_here, sum);
        if (summing) row_sums = coopMatMulAdd(a_here, ones, row_sums);
    }

    uint part = part_start(gl_WorkGroupID.z, dims);
    tensorLayoutNV<2, CLAMP> words = setTensorLayoutDimensionNV(createTensorLayoutNV(2, CLAMP), dims.x, dims.y);
    tensorLayoutNV<2, CLAMP> halves = setTensorLayoutDimensionNV(createTensorLayoutNV(2, CLAMP), dims.x, half_row(dims.y));
    words = sliceTensorLayoutNV(words, start.x, BM, start.y, BN);
    halves = sliceTensorLayoutNV(halves, start.x, BM, start.y, BN);
    coopmat<float, gl_ScopeWorkgroup, BM, BN, gl_MatrixUseAccumulator> carrier;
    if (!has(MATMUL_SPLIT)) coopMatPerElementNV(sum, sum, finish, start, dims);
    if (has(MATMUL_KEEP_PRE)) {
        coopMatPerElementNV(carrier, sum, to_carrier);
        coopMatStoreTensorNV(coopmat<float16_t, gl_ScopeWorkgroup, BM, BN, gl_MatrixUseAccumulator>(carrier), pre_bits, 0, halves);
    }
    if (has(MATMUL_GELU)) coopMatPerElementNV(sum, sum, activate);
    if (ELEMENT_C != ELEMENT_WORD) {
        coopMatPerElementNV(carrier, sum, to_carrier);
        coopMatStoreTensorNV(coopmat<float16_t, gl_ScopeWorkgroup, BM, BN, gl_MatrixUseAccumulator>(carrier), c_bits, 0, halves);
    } else
        coopMatStoreTensorNV(sum, c, part, words);
    if (summing) coopMatPerElementNV(row_sums, row_sums, keep_row_sum, start.x, dims, part);
}
