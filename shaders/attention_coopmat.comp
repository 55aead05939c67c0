/* Attention (formulas and tensors: shaders/attention.comp) of 16-bit rows, on matrices of a subgroup:
 *   scores [M, BLOCK] = q k^T            q stays in fragments, keys pass by
 *   p = exp2(scores - peak)              with a running peak and total of each row, f32
 *   out [M, WIDTH] = out shrink + p v    shrink = exp2(old peak - new peak)
 * and at the end out / total. Layout: shaders/attention_coopmat.h.
 *
 * Where an element of an accumulator lies, only the driver knows: shrink, a number a row, is spread over a matrix in shared memory and
 * loaded as an accumulator; element by element the two then agree.
 *
 * p is kept 2^PEAK_BITS times too large, from the exponent's sum on: what it lacks to be a normal f16 begins at 2^-24 instead of 2^-14.
 *
 * Workgroups: x = blocks of OWNED queries of a sequence, y = heads, z = sequences. */
//! variant attention_coopmat_fwd_f16 needs GL_KHR_cooperative_matrix
//! variant attention_coopmat_fwd_lse_f16 -DLSE needs GL_KHR_cooperative_matrix
//! variant attention_coopmat_fwd_bf16 -DBF16 needs GL_EXT_bfloat16
//! variant attention_coopmat_fwd_lse_bf16 -DBF16 -DLSE needs GL_EXT_bfloat16
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
#include "attention_coopmat.h"

layout(binding = 2) writeonly restrict buffer Out { uvec4 outputs[]; }; /* [rows, heads, head_dim / 8] */
#ifdef LSE
layout(binding = 3) writeonly restrict buffer Lse { float lse[]; };     /* [rows, heads] */
#endif

#define PEAK_BITS 10
const uint PART_VEC4 = BLOCK / PARTS / 4; /* of a row of scores, what a lane has */

/* Softmax of this subgroup's scores against BLOCK keys from `key`: p to `rounded`; returns shrink. */
float softmax(uint key, inout float peak, inout float total) {
    vec4 s[PART_VEC4];
    float peak_new = peak;
    [[unroll]] for (uint g = 0; g < PART_VEC4; g++) {
        uint at = lane_part * PART_VEC4 + g;
        s[g] = scores[at_scores + lane_row * SCORES_ROW + at] * push.scale_log2;
        s[g] = mix(vec4(-1e30), s[g], lessThan(key + 4 * at + uvec4(0, 1, 2, 3), uvec4(count)));
        peak_new = max(peak_new, max(max(s[g].x, s[g].y), max(s[g].z, s[g].w)));
    }
    if (PARTS > 1) {
        of_lane[gl_SubgroupID * LANES + lane] = peak_new;
        subgroup_sync();
        [[unroll]] for (uint p = 0; p < PARTS; p++) peak_new = max(peak_new, of_lane[gl_SubgroupID * LANES + p * M + lane_row]);
    }
    float shrink = exp2(peak - peak_new), sum = 0;
    peak = peak_new;
    [[unroll]] for (uint g = 0; g < PART_VEC4; g += 2) {
        vec4 a = exp2(s[g] - (peak - PEAK_BITS)), b = exp2(s[g + 1] - (peak - PEAK_BITS));
        sum += ((a.x + a.y) + (a.z + a.w)) + ((b.x + b.y) + (b.z + b.w));
        rounded[at_rounded + lane_row * ROUNDED_ROW + (lane_part * PART_VEC4 + g) / 2] = round8(a, b);
    }
    total = total * shrink + sum;
    return shrink;
}

/* Columns first .. first + BLOCK - 1 of the result, which lie in `scores`; of_lane has 1 / total of the subgroup's rows. */
void write_columns(uint first) {
    for (uint u = lane; u < M * (BLOCK / 8); u += LANES) {
        uint r = u / (BLOCK / 8), at = u % (BLOCK / 8), c = first / 8 + at;
        if (!subgroup_has(r) || c >= HEAD_DIM / 8) continue;
        float factor = of_lane[gl_SubgroupID * LANES + r];
        vec4 a = scores[at_scores + r * SCORES_ROW + 2 * at], b = scores[at_scores + r * SCORES_ROW + 2 * at + 1];
        outputs[subgroup_row(r) * row_uvec4 + column + c] = store8(a * factor, b * factor);
    }
}

void main() {
    if (!locate()) return; /* the whole workgroup */
    stage_owned(MATRIX_Q);
    barrier();
    FRAGMENT_A q[WIDTH / K];
    FRAGMENT_SUM sums[WIDTH / N];
    [[unroll]] for (uint k = 0; k < WIDTH / K; k++)
        coopMatLoad(q[k], staged, gl_SubgroupID * M * STAGED_ROW + k * K / 8, STAGED_ROW, ROW_MAJOR);
    [[unroll]] for (uint n = 0; n < WIDTH / N; n++) sums[n] = FRAGMENT_SUM(0);
    float peak = -1e30, total = 0; /* finite, so that the first shrink is 0 and never NaN */
    bool busy = subgroup_busy();
    for (uint key = 0; key < count; key += BLOCK) {
        barrier();
        stage_passing(MATRIX_K, MATRIX_V, key);
        barrier();
        FRAGMENT_B b;
        if (busy) [[unroll]] for (uint n = 0; n < BLOCK / N; n++) {
            FRAGMENT_SUM s = FRAGMENT_SUM(0);
            [[unroll]] for (uint k = 0; k < WIDTH / K; k++) {
                coopMatLoad(b, staged, n * N * STAGED_ROW + k * K / 8, STAGED_ROW, COLUMN_MAJOR);
                s = coopMatMulAdd(q[k], b, s);
            }
            coopMatStore(s, scores, at_scores + n * N / 4, SCORES_ROW, ROW_MAJOR);
        }
        subgroup_sync();
        float shrink = softmax(key, peak, total);
        spread_rows(shrink);
        subgroup_sync();
        FRAGMENT_SUM s;
        coopMatLoad(s, scores, at_scores, SCORES_ROW, ROW_MAJOR);
        [[unroll]] for (uint n = 0; n < WIDTH / N; n++) sums[n] = sums[n] * s;
        if (busy) [[unroll]] for (uint k = 0; k < BLOCK / K; k++) {
            FRAGMENT_A p;
            coopMatLoad(p, rounded, at_rounded + k * K / 8, ROUNDED_ROW, ROW_MAJOR);
            [[unroll]] for (uint n = 0; n < WIDTH / N; n++) {
                coopMatLoad(b, staged, SECOND + k * K * STAGED_ROW + n * N / 8, STAGED_ROW, ROW_MAJOR);
                sums[n] = coopMatMulAdd(p, b, sums[n]);
            }
        }
        subgroup_sync(); /* before the next scores */
    }
    of_lane[gl_SubgroupID * LANES + lane] = total;
    subgroup_sync();
    total = 0;
    [[unroll]] for (uint p = 0; p < PARTS; p++) total += of_lane[gl_SubgroupID * LANES + p * M + lane_row];
    subgroup_sync();
    if (lane_part == 0) of_lane[gl_SubgroupID * LANES + lane_row] = 1 / total;
#ifdef LSE
    if (lane_part == 0 && subgroup_has(lane_row))
        lse[subgroup_row(lane_row) * push.heads + gl_WorkGroupID.y] = (peak + log2(total) - PEAK_BITS) * LN_2;
#endif
    [[unroll]] for (uint n = 0; n < WIDTH / N; n++) {
        coopMatStore(sums[n], scores, at_scores + n * N % BLOCK / 4, SCORES_ROW, ROW_MAJOR);
        if ((n + 1) * N % BLOCK != 0 && n + 1 < WIDTH / N) continue;
        subgroup_sync();
        write_columns(n * N / BLOCK * BLOCK);
        subgroup_sync();
    }
}
