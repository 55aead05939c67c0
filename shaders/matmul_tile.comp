/* Matrix products in f32 for GPUs.
 *   NT: c[m, n] = sum_k a[m, k] b[n, k]    NN: c[m, n] = sum_k a[m, k] b[k, n]    TN: c[m, n] = sum_k a[k, m] b[k, n]
 *
 * Layout: a workgroup makes a BM x BN tile of c, an invocation TM x TN of it, as 4 x 4 blocks spread over the tile so that
 * neighbours read neighbouring vec4s of shared memory. Panels of a and b, BK deep, lie in shared memory with k outermost,
 * whichever way they lie in memory; while one pair is multiplied the next is on its way into registers.
 * Everything is guarded: what lies outside c is 0 in the panels and is not stored. Where the dims are multiples of 4
 * (MATMUL_VECTOR_*), memory is read and written as vec4.
 * TN sums over token rows, of which there are many, into a c that may be small: workgroup z takes `chunk` of them and writes
 * its own part of c; matmul_reduce adds the parts. */
//! variant matmul_tile
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "matmul.h"
#include "gelu.h"

layout(local_size_x_id = MATMUL_SPEC_THREADS) in;
layout(constant_id = MATMUL_SPEC_THREADS) const uint THREADS = 256;
layout(constant_id = MATMUL_SPEC_FORM) const uint FORM = MATMUL_NT;
layout(constant_id = MATMUL_SPEC_EPILOGUE) const uint EPILOGUE = 0;
layout(constant_id = MATMUL_SPEC_BM) const uint BM = 64;
layout(constant_id = MATMUL_SPEC_BN) const uint BN = 64;
layout(constant_id = MATMUL_SPEC_BK) const uint BK = 16;
layout(constant_id = MATMUL_SPEC_TM) const uint TM = 4;
layout(constant_id = MATMUL_SPEC_TN) const uint TN = 4;
#include "matmul_epilogue.h"
layout(binding = 0) readonly restrict buffer AVec { vec4 a_vec[]; };
layout(binding = 1) readonly restrict buffer BVec { vec4 b_vec[]; };
layout(binding = 2) restrict buffer CVec { vec4 c_vec[]; };
layout(binding = 4) readonly restrict buffer BiasVec { vec4 bias_vec[]; };
layout(binding = 5) readonly restrict buffer ResidualVec { vec4 residual_vec[]; };
layout(binding = 6) restrict buffer PreVec { vec4 pre_vec[]; };

/* Panels: [BK][BM / 4 + 1] and [BK][BN / 4 + 1] of vec4; the odd stride keeps transposing stores off each other's banks. */
const uint A_STRIDE = BM / 4 + 1, B_STRIDE = BN / 4 + 1;
shared vec4 a_panel[BK * A_STRIDE];
shared vec4 b_panel[BK * B_STRIDE];

/* Loads of vec4 an invocation does for a panel; the last may go beyond it. */
const uint A_LOADS = (BM * BK / 4 + THREADS - 1) / THREADS, B_LOADS = (BN * BK / 4 + THREADS - 1) / THREADS;
const bool A_K_INNER = FORM != MATMUL_TN, B_K_INNER = FORM == MATMUL_NT;

/* Slot s of a panel: four elements from (outer, k), along k when k is contiguous in memory, along the outer dim otherwise. */
uvec2 slot_place(uint slot, uint outer_count, bool k_inner) {
    return k_inner ? uvec2(slot / (BK / 4), slot % (BK / 4) * 4) : uvec2(slot % (outer_count / 4) * 4, slot / (outer_count / 4));
}

vec4 load_a(uint row, uint k, uvec3 dims, uint k_end) {
    uint at = A_K_INNER ? row * dims.z + k : k * dims.x + row;
    bool inside = row < dims.x && k < k_end;
    if (has(MATMUL_VECTOR_A)) return inside ? a_vec[at / 4] : vec4(0);
    vec4 value = vec4(0);
    [[unroll]] for (uint e = 0; e < 4; e++)
        if (A_K_INNER ? row < dims.x && k + e < k_end : row + e < dims.x && k < k_end) value[e] = a[at + e];
    return value;
}

vec4 load_b(uint col, uint k, uvec3 dims, uint k_end) {
    uint at = B_K_INNER ? col * dims.z + k : k * dims.y + col;
    bool inside = col < dims.y && k < k_end;
    if (has(MATMUL_VECTOR_B)) return inside ? b_vec[at / 4] : vec4(0);
    vec4 value = vec4(0);
    [[unroll]] for (uint e = 0; e < 4; e++)
        if (B_K_INNER ? col < dims.y && k + e < k_end : col + e < dims.y && k < k_end) value[e] = b[at + e];
    return value;
}

void store_vector(uint row, uint col, vec4 value, uvec3 dims) {
    if (row >= dims.x || col >= dims.y) return;
    uint at = (row * dims.y + col) / 4;
    if (has(MATMUL_BIAS)) value += bias_vec[col / 4];
    if (has(MATMUL_GELU_GRAD)) {
        vec4 x = pre_vec[at];
        value *= vec4(gelu_grad(x.x), gelu_grad(x.y), gelu_grad(x.z), gelu_grad(x.w));
    }
    if (has(MATMUL_RESIDUAL)) value += residual_vec[at];
    if (has(MATMUL_ACCUMULATE)) value += c_vec[at];
    if (has(MATMUL_KEEP_PRE)) pre_vec[at] = value;
    if (has(MATMUL_GELU)) value = vec4(gelu(value.x), gelu(value.y), gelu(value.z), gelu(value.w));
    c_vec[at] = value;
}

void store_scalars(uint row, uint col, vec4 value, uvec3 dims, uint part_start) {
    [[unroll]] for (uint e = 0; e < 4; e++)
        if (row < dims.x && col + e < dims.y) {
            uint at = row * dims.y + col + e;
            float one = add_to_sum(value[e], has(MATMUL_BIAS) ? bias[col + e] : 0, at);
            if (has(MATMUL_KEEP_PRE)) pre[at] = one;
            c[part_start + at] = has(MATMUL_GELU) ? gelu(one) : one;
        }
}

void main() {
    uvec3 dims = true_dims();
    uint row_start = gl_WorkGroupID.y * BM, col_start = gl_WorkGroupID.x * BN, me = gl_LocalInvocationID.x;
    uint k_start = has(MATMUL_SPLIT) ? gl_WorkGroupID.z * push.chunk : 0;
    uint k_end = has(MATMUL_SPLIT) ? min(dims.z, k_start + push.chunk) : dims.z;
    if (row_start >= dims.x || (has(MATMUL_SPLIT) && k_start >= k_end)) return; /* uniform over the workgroup */

    vec4 a_next[A_LOADS], b_next[B_LOADS];
    float sum[TM * TN];
    [[unroll]] for (uint i = 0; i < TM * TN; i++) sum[i] = 0;
    float row_sum = 0;
    uint my_row = me / (BN / TN), my_col = me % (BN / TN); /* in units of 4 */

    [[unroll]] for (uint i = 0; i < A_LOADS; i++) {
        uvec2 place = slot_place(me + i * THREADS, BM, A_K_INNER);
        a_next[i] = load_a(row_start + place.x, k_start + place.y, dims, k_end);
    }
    [[unroll]] for (uint i = 0; i < B_LOADS; i++) {
        uvec2 place = slot_place(me + i * THREADS, BN, B_K_INNER);
        b_next[i] = load_b(col_start + place.x, k_start + place.y, dims, k_end);
    }
    for (uint k = k_start; k < k_end; k += BK) {
        barrier(); /* the panels' last readers are done */
        [[unroll]] for (uint i = 0; i < A_LOADS; i++) {
            uint slot = me + i * THREADS;
            uvec2 place = slot_place(slot, BM, A_K_INNER);
            if (slot < BM * BK / 4) {
                if (!A_K_INNER) a_panel[place.y * A_STRIDE + place.x / 4] = a_next[i];
                else
                    [[unroll]] for (uint e = 0; e < 4; e++) a_panel[(place.y + e) * A_STRIDE + place.x / 4][place.x % 4] = a_next[i][e];
            }
        }
        [[unroll]] for (uint i = 0; i < B_LOADS; i++) {
            uint slot = me + i * THREADS;
            uvec2 place = slot_place(slot, BN, B_K_INNER);
            if (slot < BN * BK / 4) {
                if (!B_K_INNER) b_panel[place.y * B_STRIDE + place.x / 4] = b_next[i];
                else
                    [[unroll]] for (uint e = 0; e < 4; e++) b_panel[(place.y + e) * B_STRIDE + place.x / 4][place.x % 4] = b_next[i][e];
            }
        }
        barrier();
        if (k + BK < k_end) {
            [[unroll]] for (uint i = 0; i < A_LOADS; i++) {
                uvec2 place = slot_place(me + i * THREADS, BM, A_K_INNER);
                a_next[i] = load_a(row_start + place.x, k + BK + place.y, dims, k_end);
            }
            [[unroll]] for (uint i = 0; i < B_LOADS; i++) {
                uvec2 place = slot_place(me + i * THREADS, BN, B_K_INNER);
                b_next[i] = load_b(col_start + place.x, k + BK + place.y, dims, k_end);
            }
        }
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

    uint part = has(MATMUL_SPLIT) ? gl_WorkGroupID.z * (dims.x * dims.y + (has(MATMUL_ROW_SUMS) ? dims.x : 0)) : 0;
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TN / 4; j++) {
            uint row = row_start + (my_row + i / 4 * (BM / TM)) * 4 + i % 4, col = col_start + (my_col + j * (BN / TN)) * 4;
            vec4 value = vec4(sum[i * TN + j * 4], sum[i * TN + j * 4 + 1], sum[i * TN + j * 4 + 2], sum[i * TN + j * 4 + 3]);
            if (has(MATMUL_VECTOR_C) && !has(MATMUL_SPLIT)) store_vector(row, col, value, dims);
            else store_scalars(row, col, value, dims, part);
        }
    if (has(MATMUL_ROW_SUMS) && gl_WorkGroupID.x == 0 && me < BM && row_start + me < dims.x) {
        uint row = row_start + me;
        if (has(MATMUL_SPLIT)) c[part + dims.x * dims.y + row] = row_sum;
        else sums[row] = has(MATMUL_ACCUMULATE) ? sums[row] + row_sum : row_sum;
    }
}
