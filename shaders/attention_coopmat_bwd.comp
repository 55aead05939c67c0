/* Gradient of attention (formulas and tensors: shaders/attention_bwd.comp) of 16-bit rows, on matrices of a subgroup:
 *   attention_coopmat_dq:  q, dout owned, k, v pass by    s = q k^T, dp = dout v^T    dq += ds k
 *   attention_coopmat_dkv: k, v owned, q, dout pass by    s = k q^T, dp = v dout^T    dv += p dout, dk += ds q
 * with p = exp2(s - lse), ds = p (dp - delta), all [M, BLOCK]: in dkv s and p are those of attention transposed, because the rows that
 * pass by are the columns of the product; nothing is transposed after a product. Layout: shaders/attention_coopmat.h.
 *
 * In dq, lse and delta belong to rows: spread over a matrix and loaded as accumulators before the loop, they agree with s and dp element
 * by element, and ds never leaves the registers in f32 but to be rounded. In dkv they belong to columns and change with each block: lanes,
 * which know their columns, compute p from s and ds from dp, one after the other through the same shared memory.
 *
 * p <= 1 is enforced: behind the end of a sequence s = 0 while lse may be very negative, and exp2 of the difference times the zeros that
 * are staged there must not be infinity times zero. In dv, p is kept 2^PEAK_BITS times too large, as in the forward pass.
 *
 * Workgroups: x = blocks of OWNED rows of a sequence, y = heads, z = sequences. */
//! variant attention_coopmat_dq_f16 needs GL_KHR_cooperative_matrix
//! variant attention_coopmat_dkv_f16 -DDKV needs GL_KHR_cooperative_matrix
//! variant attention_coopmat_dq_bf16 -DBF16 needs GL_EXT_bfloat16
//! variant attention_coopmat_dkv_bf16 -DBF16 -DDKV needs GL_EXT_bfloat16
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_shader_subgroup_basic : require
#ifdef BF16
#extension GL_EXT_bfloat16 : require
#else
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#endif
#define BACKWARD
#include "attention_coopmat.h"

layout(binding = 2) readonly restrict buffer Lse { float lse[]; };      /* [rows, heads] */
layout(binding = 4) writeonly restrict buffer DQKV { uvec4 dqkv[]; };   /* [rows, 3 (q k v), heads, head_dim / 8] */
#ifdef DKV
layout(binding = 5) readonly restrict buffer Delta { float delta[]; };  /* [rows, heads] */
shared float passing_lse[BLOCK], passing_delta[BLOCK];                  /* of the rows that pass by */
#else
layout(binding = 5) writeonly restrict buffer Delta { float delta[]; };
layout(binding = 6) readonly restrict buffer Out { uvec4 outputs[]; };  /* [rows, heads, head_dim / 8] */
#endif

#define PEAK_BITS 10
const uint UNITS = M * (BLOCK / 8) / LANES, UNIT_VEC4 = 2 * UNITS; /* of eight columns: what a lane has of [M, BLOCK] */

/* The unit's row and its place among the units of a row; groups of 8 lanes have different rows. */
uint unit_row(uint u) { return (u * LANES + lane) % M; }
uint unit_at(uint u) { return (u * LANES + lane) / M; }

/* Columns first .. first + BLOCK - 1 of a result, which lie in `scores`, to dq, dk or dv. */
void write_columns(uint matrix, uint first, float factor) {
    for (uint u = lane; u < M * (BLOCK / 8); u += LANES) {
        uint r = u / (BLOCK / 8), at = u % (BLOCK / 8), c = first / 8 + at;
        if (!subgroup_has(r) || c >= HEAD_DIM / 8) continue;
        vec4 a = scores[at_scores + r * SCORES_ROW + 2 * at], b = scores[at_scores + r * SCORES_ROW + 2 * at + 1];
        dqkv[(subgroup_row(r) * 3 + matrix) * row_uvec4 + column + c] = store8(a * factor, b * factor);
    }
}

#ifdef DKV
/* lse and delta of the block's rows; behind the end such that p = 0. */
void stage_statistics(uint first) {
    for (uint e = gl_LocalInvocationIndex; e < BLOCK; e += gl_WorkGroupSize.x) {
        uint at = (begin + first + e) * push.heads + gl_WorkGroupID.y;
        bool inside = first + e < count;
        passing_lse[e] = inside ? lse[at] * LOG2_E : 1e30;
        passing_delta[e] = inside ? delta[at] : 0;
    }
}

vec4 four_lse(uint at) { return vec4(passing_lse[at], passing_lse[at + 1], passing_lse[at + 2], passing_lse[at + 3]); }
vec4 four_delta(uint at) { return vec4(passing_delta[at], passing_delta[at + 1], passing_delta[at + 2], passing_delta[at + 3]); }

/* From s in `scores` to p: in f32 to the lanes' registers, in 16 bits and 2^PEAK_BITS times as large to `rounded`. */
void probabilities(out vec4 p[UNIT_VEC4]) {
    [[unroll]] for (uint u = 0; u < UNITS; u++) {
        uint from = at_scores + unit_row(u) * SCORES_ROW + 2 * unit_at(u), at = 8 * unit_at(u);
        p[2 * u] = exp2(min(scores[from] * push.scale_log2 - four_lse(at), 0.0));
        p[2 * u + 1] = exp2(min(scores[from + 1] * push.scale_log2 - four_lse(at + 4), 0.0));
        rounded[at_rounded + unit_row(u) * ROUNDED_ROW + unit_at(u)] = round8(p[2 * u] * (1 << PEAK_BITS), p[2 * u + 1] * (1 << PEAK_BITS));
    }
}

/* From dp in `scores` and p to ds. */
void score_gradients(vec4 p[UNIT_VEC4]) {
    [[unroll]] for (uint u = 0; u < UNITS; u++) {
        uint from = at_scores + unit_row(u) * SCORES_ROW + 2 * unit_at(u), at = 8 * unit_at(u);
        vec4 a = p[2 * u] * (scores[from] - four_delta(at)), b = p[2 * u + 1] * (scores[from + 1] - four_delta(at + 4));
        rounded[at_rounded + unit_row(u) * ROUNDED_ROW + unit_at(u)] = round8(a, b);
    }
}
#else
void round_scores() {
    [[unroll]] for (uint u = 0; u < UNITS; u++) {
        uint from = at_scores + unit_row(u) * SCORES_ROW + 2 * unit_at(u);
        rounded[at_rounded + unit_row(u) * ROUNDED_ROW + unit_at(u)] = round8(scores[from], scores[from + 1]);
    }
}

/* dout . out of the lane's row, whose lanes share the columns; kept for dkv. */
float row_delta() {
    float sum = 0;
    uint at = subgroup_row(lane_row) * row_uvec4 + column;
    for (uint c = lane_part; c < HEAD_DIM / 8 && subgroup_has(lane_row); c += PARTS) {
        uvec4 d = dout[at + c], o = outputs[at + c];
        [[unroll]] for (uint i = 0; i < 4; i++) sum += dot(unpack_half(ELEMENT, d[i]), unpack_half(ELEMENT, o[i]));
    }
    of_lane[gl_SubgroupID * LANES + lane] = sum;
    subgroup_sync();
    sum = 0;
    [[unroll]] for (uint p = 0; p < PARTS; p++) sum += of_lane[gl_SubgroupID * LANES + p * M + lane_row];
    if (lane_part == 0 && subgroup_has(lane_row)) delta[subgroup_row(lane_row) * push.heads + gl_WorkGroupID.y] = sum;
    return sum;
}
#endif

/* A fragment of the rows that pass by, as [K, N] of their transpose (columns k, rows n) or as they lie (rows k, columns n). */
#define LOAD_TRANSPOSED(b, where, k, n) coopMatLoad(b, staged, (where) + (n) * N * STAGED_ROW + (k) * K / 8, STAGED_ROW, COLUMN_MAJOR)
#define LOAD_STRAIGHT(b, where, k, n) coopMatLoad(b, staged, (where) + (k) * K * STAGED_ROW + (n) * N / 8, STAGED_ROW, ROW_MAJOR)
#define LOAD_OWNED(a, k) coopMatLoad(a, staged, gl_SubgroupID * M * STAGED_ROW + (k) * K / 8, STAGED_ROW, ROW_MAJOR)
#define LOAD_ROUNDED(a, k) coopMatLoad(a, rounded, at_rounded + (k) * K / 8, ROUNDED_ROW, ROW_MAJOR)

/* sums += rounded x the matrix that is staged at `where`. */
#define ADD_PRODUCT(sums, where)                                        \
    if (busy) [[unroll]] for (uint k = 0; k < BLOCK / K; k++) {         \
        FRAGMENT_A a;                                                   \
        FRAGMENT_B b;                                                   \
        LOAD_ROUNDED(a, k);                                             \
        [[unroll]] for (uint n = 0; n < WIDTH / N; n++) {               \
            LOAD_STRAIGHT(b, where, k, n);                              \
            sums[n] = coopMatMulAdd(a, b, sums[n]);                     \
        }                                                               \
    }

/* Block n of `scores` = owned x the transpose of the matrix that is staged at `where`. */
#define TAKE_PRODUCT(sum, owned, where, n)                              \
    sum = FRAGMENT_SUM(0);                                              \
    [[unroll]] for (uint k = 0; k < WIDTH / K; k++) {                   \
        FRAGMENT_B b;                                                   \
        LOAD_TRANSPOSED(b, where, k, n);                                \
        sum = coopMatMulAdd(owned[k], b, sum);                          \
    }

#define STORE_SCORES(sum, n) coopMatStore(sum, scores, at_scores + (n) * N / 4, SCORES_ROW, ROW_MAJOR)

#define WRITE_ROWS(sums, matrix, factor)                                \
    [[unroll]] for (uint n = 0; n < WIDTH / N; n++) {                   \
        STORE_SCORES(sums[n], n % (BLOCK / N));                         \
        if ((n + 1) * N % BLOCK == 0 || n + 1 == WIDTH / N) {           \
            subgroup_sync();                                            \
            write_columns(matrix, n * N / BLOCK * BLOCK, factor);       \
            subgroup_sync();                                            \
        }                                                               \
    }

void main() {
    if (!locate()) return; /* the whole workgroup */
    FRAGMENT_A first[WIDTH / K], second[WIDTH / K];
#ifdef DKV
    const uint owned_a = MATRIX_K, owned_b = MATRIX_V, passing_a = MATRIX_Q, passing_b = MATRIX_DOUT;
    FRAGMENT_SUM dk[WIDTH / N], dv[WIDTH / N];
    [[unroll]] for (uint n = 0; n < WIDTH / N; n++) dk[n] = dv[n] = FRAGMENT_SUM(0);
#else
    const uint owned_a = MATRIX_Q, owned_b = MATRIX_DOUT, passing_a = MATRIX_K, passing_b = MATRIX_V;
    FRAGMENT_SUM dq[WIDTH / N];
    [[unroll]] for (uint n = 0; n < WIDTH / N; n++) dq[n] = FRAGMENT_SUM(0);
#endif
    stage_owned(owned_a);
    barrier();
    [[unroll]] for (uint k = 0; k < WIDTH / K; k++) LOAD_OWNED(first[k], k);
    barrier();
    stage_owned(owned_b);
    barrier();
    [[unroll]] for (uint k = 0; k < WIDTH / K; k++) LOAD_OWNED(second[k], k);
    bool busy = subgroup_busy();
#ifndef DKV
    FRAGMENT_SUM row_lse, row_d;
    spread_rows(subgroup_has(lane_row) ? lse[subgroup_row(lane_row) * push.heads + gl_WorkGroupID.y] * LOG2_E : 0);
    subgroup_sync();
    coopMatLoad(row_lse, scores, at_scores, SCORES_ROW, ROW_MAJOR);
    subgroup_sync();
    spread_rows(row_delta());
    subgroup_sync();
    coopMatLoad(row_d, scores, at_scores, SCORES_ROW, ROW_MAJOR);
#endif
    for (uint passing = 0; passing < count; passing += BLOCK) {
        barrier();
        stage_passing(passing_a, passing_b, passing);
#ifdef DKV
        stage_statistics(passing);
#endif
        barrier();
        FRAGMENT_SUM s, dp;
#ifdef DKV
        vec4 p[UNIT_VEC4];
        if (busy) [[unroll]] for (uint n = 0; n < BLOCK / N; n++) {
            TAKE_PRODUCT(s, first, 0, n);
            STORE_SCORES(s, n);
        }
        subgroup_sync();
        probabilities(p);
        subgroup_sync();
        ADD_PRODUCT(dv, SECOND);
        if (busy) [[unroll]] for (uint n = 0; n < BLOCK / N; n++) {
            TAKE_PRODUCT(dp, second, SECOND, n);
            STORE_SCORES(dp, n);
        }
        subgroup_sync();
        score_gradients(p);
        subgroup_sync();
        ADD_PRODUCT(dk, 0);
#else
        if (busy) [[unroll]] for (uint n = 0; n < BLOCK / N; n++) {
            TAKE_PRODUCT(s, first, 0, n);
            TAKE_PRODUCT(dp, second, SECOND, n);
            for (int i = 0; i < s.length(); i++) s[i] = exp2(min(s[i] * push.scale_log2 - row_lse[i], 0.0)) * (dp[i] - row_d[i]);
            STORE_SCORES(s, n);
        }
        subgroup_sync();
        round_scores();
        subgroup_sync();
        ADD_PRODUCT(dq, 0);
#endif
    }
    subgroup_sync();
#ifdef DKV
    WRITE_ROWS(dk, MATRIX_K, push.scale);
    WRITE_ROWS(dv, MATRIX_V, 1.0 / (1 << PEAK_BITS));
#else
    WRITE_ROWS(dq, MATRIX_Q, push.scale);
#endif
}
