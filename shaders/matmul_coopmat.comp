/* Matrix products of 16-bit operands on matrix engines, a subgroup at a time (VK_KHR_cooperative_matrix); sums in f32.
 *   NT: c[m, n] = sum_k a[m, k] b[n, k]    NN: c[m, n] = sum_k a[m, k] b[k, n]    TN: c[m, n] = sum_k a[k, m] b[k, n]
 *
 * Layout: a workgroup makes a BM x BN tile of c, each of its subgroups TM x TN of it in fragments of FM x FN, which the device
 * names. Panels of a and b, BK deep, lie in shared memory the way they lie in memory, so that they are copied in units of 16 bytes
 * whatever the form: the fragment's load transposes (row or column major). Lines are 16 bytes longer than they need be: with a
 * power of two between them all rows of a fragment would lie in the same banks; 16 is what keeps fragment loads aligned.
 * While one pair of panels is multiplied the next is on its way into registers. Tiles that lie inside the matrices skip all guards;
 * elsewhere what lies outside is 0.
 * How a subgroup holds a fragment is the driver's own business, so finished sums go through shared memory, a strip of fragments at
 * a time in the panels' place, and come out as rows of four columns for the same epilogue as matmul_tile's. Each subgroup has a
 * stage of its own and waits for nobody else there.
 * TN as in matmul_tile: workgroup z sums `chunk` token rows into its own part of c. */
//! variant matmul_coopmat_f16 -DOPERAND=float16_t needs GL_KHR_cooperative_matrix
//! variant matmul_coopmat_bf16 -DOPERAND=bfloat16_t -DBFLOAT needs GL_EXT_bfloat16
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#ifdef BFLOAT
#extension GL_EXT_bfloat16 : require
#endif
#pragma use_vulkan_memory_model
#include "matmul.h"

layout(local_size_x_id = MATMUL_SPEC_THREADS) in;
layout(constant_id = MATMUL_SPEC_THREADS) const uint THREADS = 128;
layout(constant_id = MATMUL_SPEC_FORM) const uint FORM = MATMUL_NT;
layout(constant_id = MATMUL_SPEC_EPILOGUE) const uint EPILOGUE = 0;
layout(constant_id = MATMUL_SPEC_BM) const uint BM = 128;
layout(constant_id = MATMUL_SPEC_BN) const uint BN = 128;
layout(constant_id = MATMUL_SPEC_BK) const uint BK = 32;
layout(constant_id = MATMUL_SPEC_TM) const uint TM = 64;
layout(constant_id = MATMUL_SPEC_TN) const uint TN = 64;
layout(constant_id = MATMUL_SPEC_ELEMENT) const uint ELEMENT = 1;
layout(constant_id = MATMUL_SPEC_ELEMENT_C) const uint ELEMENT_C = 1;
layout(constant_id = MATMUL_SPEC_FM) const uint FM = 16;
layout(constant_id = MATMUL_SPEC_FN) const uint FN = 16;
layout(constant_id = MATMUL_SPEC_FK) const uint FK = 16;
layout(constant_id = MATMUL_SPEC_LANES) const uint LANES = 32;
#include "matmul_epilogue.h"
#include "matmul_store.h"
layout(binding = 0) readonly restrict buffer AWide { uvec4 a_wide[]; };
layout(binding = 1) readonly restrict buffer BWide { uvec4 b_wide[]; };

const bool A_K_INNER = FORM != MATMUL_TN, B_K_INNER = FORM == MATMUL_NT;
const uint A_LINE = A_K_INNER ? MATMUL_LINE(BK) : MATMUL_LINE(BM), B_LINE = B_K_INNER ? MATMUL_LINE(BK) : MATMUL_LINE(BN);
const uint A_PANEL = MATMUL_PANEL(A_K_INNER, BM, BK), B_PANEL = MATMUL_PANEL(B_K_INNER, BN, BK);
const uint STRIP = MATMUL_STRIP(TN), STAGE_LINE = MATMUL_STAGE_LINE(TN), STAGE = MATMUL_STAGE(BM / TM * (BN / TN), FM, TN);
shared uvec4 pool[A_PANEL + B_PANEL > STAGE ? A_PANEL + B_PANEL : STAGE]; /* panel of a, panel of b; then the stage */

/* Slot s of a panel: eight elements, in line s / CHUNKS. */
const uint A_CHUNKS = A_LINE - 1, B_CHUNKS = B_LINE - 1;
const uint A_LOADS = (BM * BK / 8 + THREADS - 1) / THREADS, B_LOADS = (BN * BK / 8 + THREADS - 1) / THREADS;

uvec4 load_a(uint slot, uint row, uint k, uvec3 dims, uint k_end, bool guarded) {
    uint line = slot / A_CHUNKS, col = slot % A_CHUNKS * 8, cols = A_K_INNER ? dims.z : dims.x;
    line += A_K_INNER ? row : k, col += A_K_INNER ? k : row;
    if (guarded && (line >= (A_K_INNER ? dims.x : k_end) || col >= cols)) return uvec4(0);
    if (has(MATMUL_GATHER) && FORM == MATMUL_NT) line = gather[line];
    return a_wide[line * (half_row(cols) / 8) + col / 8];
}

uvec4 load_b(uint slot, uint column, uint k, uvec3 dims, uint k_end, bool guarded) {
    uint line = slot / B_CHUNKS, col = slot % B_CHUNKS * 8, cols = B_K_INNER ? dims.z : dims.y;
    line += B_K_INNER ? column : k, col += B_K_INNER ? k : column;
    if (guarded && (line >= (B_K_INNER ? dims.y : k_end) || col >= cols)) return uvec4(0);
    if (has(MATMUL_GATHER) && FORM == MATMUL_TN) line = gather[line];
    return b_wide[line * (half_row(cols) / 8) + col / 8];
}

uvec4 a_next[A_LOADS], b_next[B_LOADS]; /* the panels to come */

void fetch(uvec2 start, uint k, uvec3 dims, uint k_end, bool inside) {
    uint me = gl_LocalInvocationID.x;
    const bool even = BM * BK / 8 % THREADS == 0 && BN * BK / 8 % THREADS == 0; /* no slot lies beyond a panel */
    if (even && inside && k + BK <= k_end) {
        [[unroll]] for (uint i = 0; i < A_LOADS; i++) a_next[i] = load_a(me + i * THREADS, start.x, k, dims, k_end, false);
        [[unroll]] for (uint i = 0; i < B_LOADS; i++) b_next[i] = load_b(me + i * THREADS, start.y, k, dims, k_end, false);
    } else {
        [[unroll]] for (uint i = 0; i < A_LOADS; i++) a_next[i] = load_a(me + i * THREADS, start.x, k, dims, k_end, true);
        [[unroll]] for (uint i = 0; i < B_LOADS; i++) b_next[i] = load_b(me + i * THREADS, start.y, k, dims, k_end, true);
    }
}

void fill_panels() {
    [[unroll]] for (uint i = 0; i < A_LOADS; i++) {
        uint slot = gl_LocalInvocationID.x + i * THREADS;
        if (BM * BK / 8 % THREADS == 0 || slot < BM * BK / 8) pool[slot / A_CHUNKS * A_LINE + slot % A_CHUNKS] = a_next[i];
    }
    [[unroll]] for (uint i = 0; i < B_LOADS; i++) {
        uint slot = gl_LocalInvocationID.x + i * THREADS;
        if (BN * BK / 8 % THREADS == 0 || slot < BN * BK / 8) pool[A_PANEL + slot / B_CHUNKS * B_LINE + slot % B_CHUNKS] = b_next[i];
    }
}

/* Row sums of a (TN): an invocation takes rows me, me + THREADS ... of the tile. */
const uint ROW_SUMS = (BM + THREADS - 1) / THREADS;
float row_sum[ROW_SUMS];

void add_row_sums() {
    [[unroll]] for (uint i = 0; i < ROW_SUMS; i++) {
        uint row = gl_LocalInvocationID.x + i * THREADS;
        if (row < BM)
            for (uint k = 0; k < BK; k++) row_sum[i] += unpack_half(ELEMENT, pool[k * A_LINE + row / 8][row % 8 / 2])[row % 2];
    }
}

/* A strip of this subgroup's sums, FM x STRIP, from the stage to memory. */
void store_strip(uint stage, uvec2 start, uvec3 dims, uint part) {
    for (uint i = 0; i < (FM * STRIP / 4 + LANES - 1) / LANES; i++) {
        uint slot = gl_SubgroupInvocationID + i * LANES, row = slot / (STRIP / 4), four = slot % (STRIP / 4);
        if (FM * STRIP / 4 % LANES != 0 && slot >= FM * STRIP / 4) break;
        store_four(start.x + row, start.y + four * 4, uintBitsToFloat(pool[stage + row * STAGE_LINE + four]), dims, part);
    }
}

void main() {
    uvec3 dims = true_dims();
    uvec2 start = uvec2(gl_WorkGroupID.y * BM, gl_WorkGroupID.x * BN); /* row, column */
    uint k_start = has(MATMUL_SPLIT) ? gl_WorkGroupID.z * push.chunk : 0;
    uint k_end = has(MATMUL_SPLIT) ? min(dims.z, k_start + push.chunk) : dims.z;
    if (start.x >= dims.x || (has(MATMUL_SPLIT) && k_start >= k_end)) return; /* uniform over the workgroup */
    bool inside = start.x + BM <= dims.x && start.y + BN <= dims.y;
    bool summing = has(MATMUL_ROW_SUMS) && gl_WorkGroupID.x == 0;
    uvec2 mine = uvec2(gl_SubgroupID / (BN / TN) * TM, gl_SubgroupID % (BN / TN) * TN); /* of the tile */

    coopmat<float, gl_ScopeSubgroup, FM, FN, gl_MatrixUseAccumulator> sum[TM / FM * (TN / FN)];
    [[unroll]] for (uint i = 0; i < TM / FM * (TN / FN); i++)
        sum[i] = coopmat<float, gl_ScopeSubgroup, FM, FN, gl_MatrixUseAccumulator>(0.0);
    [[unroll]] for (uint i = 0; i < ROW_SUMS; i++) row_sum[i] = 0;

    fetch(start, k_start, dims, k_end, inside);
    for (uint k = k_start; k < k_end; k += BK) {
        barrier(); /* the panels' last readers are done */
        fill_panels();
        barrier();
        if (k + BK < k_end) fetch(start, k + BK, dims, k_end, inside);
        if (summing) add_row_sums();
        [[unroll]] for (uint kk = 0; kk < BK; kk += FK) {
            coopmat<OPERAND, gl_ScopeSubgroup, FM, FK, gl_MatrixUseA> a_here[TM / FM];
            coopmat<OPERAND, gl_ScopeSubgroup, FK, FN, gl_MatrixUseB> b_here;
            [[unroll]] for (uint i = 0; i < TM / FM; i++) {
                uint row = mine.x + i * FM;
                if (A_K_INNER) coopMatLoad(a_here[i], pool, row * A_LINE + kk / 8, A_LINE, gl_CooperativeMatrixLayoutRowMajor);
                else coopMatLoad(a_here[i], pool, kk * A_LINE + row / 8, A_LINE, gl_CooperativeMatrixLayoutColumnMajor);
            }
            [[unroll]] for (uint j = 0; j < TN / FN; j++) {
                uint col = mine.y + j * FN;
                if (B_K_INNER) coopMatLoad(b_here, pool, A_PANEL + col * B_LINE + kk / 8, B_LINE, gl_CooperativeMatrixLayoutColumnMajor);
                else coopMatLoad(b_here, pool, A_PANEL + kk * B_LINE + col / 8, B_LINE, gl_CooperativeMatrixLayoutRowMajor);
                [[unroll]] for (uint i = 0; i < TM / FM; i++)
                    sum[i * (TN / FN) + j] = coopMatMulAdd(a_here[i], b_here, sum[i * (TN / FN) + j]);
            }
        }
    }

    uint part = part_start(gl_WorkGroupID.z, dims), stage = gl_SubgroupID * FM * STAGE_LINE;
    barrier(); /* the panels' last readers are done */
    [[unroll]] for (uint i = 0; i < TM / FM; i++)
        [[unroll]] for (uint strip = 0; strip < TN; strip += STRIP) {
            [[unroll]] for (uint j = 0; j < STRIP / FN; j++)
                coopMatStore(sum[i * (TN / FN) + strip / FN + j], pool, stage + j * FN / 4, STAGE_LINE, gl_CooperativeMatrixLayoutRowMajor);
            subgroupBarrier();
            store_strip(stage, start + mine + uvec2(i * FM, strip), dims, part);
            subgroupBarrier();
        }
    if (summing)
        [[unroll]] for (uint i = 0; i < ROW_SUMS; i++) {
            uint row = gl_LocalInvocationID.x + i * THREADS;
            if (row < BM) store_row_sum(start.x + row, row_sum[i], dims, part);
        }
}
