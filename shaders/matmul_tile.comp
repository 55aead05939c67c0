/* Matrix products for GPUs, with scalar arithmetic in f32.
 *   NT: c[m, n] = sum_k a[m, k] b[n, k]    NN: c[m, n] = sum_k a[m, k] b[k, n]    TN: c[m, n] = sum_k a[k, m] b[k, n]
 *
 * Layout: a workgroup makes a BM x BN tile of c, an invocation TM x TN of it, as 4 x 4 blocks spread over the tile so that
 * neighbours read neighbouring vec4s of shared memory. Panels of a and b, BK deep, lie in shared memory as f32 with k outermost,
 * whichever way they lie in memory; while one pair is multiplied the next is on its way into registers, in the form it has in
 * memory: 16-bit operands are half the registers there, and are unpacked only on their way into a panel.
 * Everything is guarded: what lies outside c is 0 in the panels and is not stored. f32 is read and written as vec4 where the dims
 * are multiples of 4 (MATMUL_VECTOR_*); 16-bit rows are padded with zeros, so four elements are a uvec2 always.
 * TN sums over token rows, of which there are many, into a c that may be small: workgroup z takes `chunk` of them and writes
 * its own part of c; matmul_reduce adds the parts. */
//! variant matmul_tile
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "matmul.h"

layout(local_size_x_id = MATMUL_SPEC_THREADS) in;
layout(constant_id = MATMUL_SPEC_THREADS) const uint THREADS = 256;
layout(constant_id = MATMUL_SPEC_FORM) const uint FORM = MATMUL_NT;
layout(constant_id = MATMUL_SPEC_EPILOGUE) const uint EPILOGUE = 0;
layout(constant_id = MATMUL_SPEC_BM) const uint BM = 64;
layout(constant_id = MATMUL_SPEC_BN) const uint BN = 64;
layout(constant_id = MATMUL_SPEC_BK) const uint BK = 16;
layout(constant_id = MATMUL_SPEC_TM) const uint TM = 4;
layout(constant_id = MATMUL_SPEC_TN) const uint TN = 4;
layout(constant_id = MATMUL_SPEC_ELEMENT) const uint ELEMENT = 0;
layout(constant_id = MATMUL_SPEC_ELEMENT_C) const uint ELEMENT_C = 0;
#include "matmul_epilogue.h"
#include "matmul_store.h"
layout(binding = 0) readonly restrict buffer AVec { uvec4 a_vec[]; };
layout(binding = 0) readonly restrict buffer AHalf { uvec2 a_half[]; };
layout(binding = 1) readonly restrict buffer BVec { uvec4 b_vec[]; };
layout(binding = 1) readonly restrict buffer BHalf { uvec2 b_half[]; };

/* Panels: [BK][BM / 4 + 1] and [BK][BN / 4 + 1] of vec4; the odd stride keeps transposing stores off each other's banks. */
const uint A_STRIDE = BM / 4 + 1, B_STRIDE = BN / 4 + 1;
shared vec4 a_panel[BK * A_STRIDE];
shared vec4 b_panel[BK * B_STRIDE];

/* Loads of four elements an invocation does for a panel; the last may go beyond it. */
const uint A_LOADS = (BM * BK / 4 + THREADS - 1) / THREADS, B_LOADS = (BN * BK / 4 + THREADS - 1) / THREADS;
const bool A_K_INNER = FORM != MATMUL_TN, B_K_INNER = FORM == MATMUL_NT;

/* Slot s of a panel: four elements from (outer, k), along k when k is contiguous in memory, along the outer dim otherwise. */
uvec2 slot_place(uint slot, uint outer_count, bool k_inner) {
    return k_inner ? uvec2(slot / (BK / 4), slot % (BK / 4) * 4) : uvec2(slot % (outer_count / 4) * 4, slot / (outer_count / 4));
}

/* Four elements as they lie in memory; zeros outside. */
uvec4 load_a(uvec2 place, uvec3 dims, uint k_end) {
    uint line = A_K_INNER ? place.x : place.y, col = A_K_INNER ? place.y : place.x, cols = A_K_INNER ? dims.z : dims.x;
    if (place.x >= dims.x || place.y >= k_end) return uvec4(0);
    if (has(MATMUL_GATHER) && FORM == MATMUL_NT) line = gather[line];
    if (ELEMENT != ELEMENT_WORD) return uvec4(a_half[(line * half_row(cols) + col) / 4], 0, 0);
    if (has(MATMUL_VECTOR_A)) return a_vec[(line * cols + col) / 4];
    uvec4 value = uvec4(0);
    [[unroll]] for (uint e = 0; e < 4; e++)
        if (col + e < cols) value[e] = floatBitsToUint(a[line * cols + col + e]);
    return value;
}

uvec4 load_b(uvec2 place, uvec3 dims, uint k_end) {
    uint line = B_K_INNER ? place.x : place.y, col = B_K_INNER ? place.y : place.x, cols = B_K_INNER ? dims.z : dims.y;
    if (place.x >= dims.y || place.y >= k_end) return uvec4(0);
    if (has(MATMUL_GATHER) && FORM == MATMUL_TN) line = gather[line];
    if (ELEMENT != ELEMENT_WORD) return uvec4(b_half[(line * half_row(cols) + col) / 4], 0, 0);
    if (has(MATMUL_VECTOR_B)) return b_vec[(line * cols + col) / 4];
    uvec4 value = uvec4(0);
    [[unroll]] for (uint e = 0; e < 4; e++)
        if (col + e < cols) value[e] = floatBitsToUint(b[line * cols + col + e]);
    return value;
}

vec4 unpack_four(uvec4 bits) { return ELEMENT == ELEMENT_WORD ? uintBitsToFloat(bits) : unpack_half4(ELEMENT, bits.xy); }

uvec4 a_next[A_LOADS], b_next[B_LOADS]; /* the panels to come */

void fetch(uvec2 start, uint k, uvec3 dims, uint k_end) {
    [[unroll]] for (uint i = 0; i < A_LOADS; i++)
        a_next[i] = load_a(uvec2(start.x, k) + slot_place(gl_LocalInvocationID.x + i * THREADS, BM, A_K_INNER), dims, k_end);
    [[unroll]] for (uint i = 0; i < B_LOADS; i++)
        b_next[i] = load_b(uvec2(start.y, k) + slot_place(gl_LocalInvocationID.x + i * THREADS, BN, B_K_INNER), dims, k_end);
}

void fill_panels() {
    [[unroll]] for (uint i = 0; i < A_LOADS; i++) {
        uint slot = gl_LocalInvocationID.x + i * THREADS;
        uvec2 place = slot_place(slot, BM, A_K_INNER);
        vec4 value = unpack_four(a_next[i]);
        if (slot < BM * BK / 4) {
            if (!A_K_INNER) a_panel[place.y * A_STRIDE + place.x / 4] = value;
            else
                [[unroll]] for (uint e = 0; e < 4; e++) a_panel[(place.y + e) * A_STRIDE + place.x / 4][place.x % 4] = value[e];
        }
    }
    [[unroll]] for (uint i = 0; i < B_LOADS; i++) {
        uint slot = gl_LocalInvocationID.x + i * THREADS;
        uvec2 place = slot_place(slot, BN, B_K_INNER);
        vec4 value = unpack_four(b_next[i]);
        if (slot < BN * BK / 4) {
            if (!B_K_INNER) b_panel[place.y * B_STRIDE + place.x / 4] = value;
            else
                [[unroll]] for (uint e = 0; e < 4; e++) b_panel[(place.y + e) * B_STRIDE + place.x / 4][place.x % 4] = value[e];
        }
    }
}

void main() {
    uvec3 dims = true_dims();
    uvec2 start = uvec2(gl_WorkGroupID.y * BM, gl_WorkGroupID.x * BN); /* row, column */
    uint me = gl_LocalInvocationID.x;
    uint k_start = has(MATMUL_SPLIT) ? gl_WorkGroupID.z * push.chunk : 0;
    uint k_end = has(MATMUL_SPLIT) ? min(dims.z, k_start + push.chunk) : dims.z;
    if (start.x >= dims.x || (has(MATMUL_SPLIT) && k_start >= k_end)) return; /* uniform over the workgroup */

    float sum[TM * TN];
    [[unroll]] for (uint i = 0; i < TM * TN; i++) sum[i] = 0;
    float row_sum = 0;
    uint my_row = me / (BN / TN), my_col = me % (BN / TN); /* in units of 4 */

    fetch(start, k_start, dims, k_end);
    for (uint k = k_start; k < k_end; k += BK) {
        barrier(); /* the panels' last readers are done */
        fill_panels();
        barrier();
        if (k + BK < k_end) fetch(start, k + BK, dims, k_end);
        if (has(MATMUL_ROW_SUMS) && gl_WorkGroupID.x == 0 && me < BM)
            for (uint kk = 0; kk < BK; kk++) row_sum += a_panel[kk * A_STRIDE + me / 4][me % 4];
        [[unroll]] for (uint kk = 0; kk < BK; kk++) {
            vec4 a_here[TM / 4], b_here[TN / 4];
            [[unroll]] for (uint i = 0; i < TM / 4; i++) a_here[i] = a_panel[kk * A_STRIDE + my_row + i * (BM / TM)];
            [[unroll]] for (uint j = 0; j < TN / 4; j++) b_here[j] = b_panel[kk * B_STRIDE + my_col + j * (BN / TN)];
            [[unroll]] for (uint i = 0; i < TM; i++)
                [[unroll]] for (uint j = 0; j < TN; j++) sum[i * TN + j] = fma(a_here[i / 4][i % 4], b_here[j / 4][j % 4], sum[i * TN + j]);
        }
    }

    uint part = part_start(gl_WorkGroupID.z, dims);
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TN / 4; j++) {
            uint row = start.x + (my_row + i / 4 * (BM / TM)) * 4 + i % 4, col = start.y + (my_col + j * (BN / TN)) * 4;
            vec4 value = vec4(sum[i * TN + j * 4], sum[i * TN + j * 4 + 1], sum[i * TN + j * 4 + 2], sum[i * TN + j * 4 + 3]);
            store_four(row, col, value, dims, part);
        }
    if (has(MATMUL_ROW_SUMS) && gl_WorkGroupID.x == 0 && me < BM) store_row_sum(start.x + me, row_sum, dims, part);
}
