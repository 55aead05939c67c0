/* Attention of every sequence of a batch onto itself, one head at a time, sequences packed row by row:
 *   score[i, j] = q[i] . k[j] / sqrt(head_dim)         i, j: rows of one sequence
 *   lse[i]      = log sum_j exp(score[i, j])
 *   out[i]      = sum_j exp(score[i, j] - lse[i]) v[j]
 *
 * An invocation owns a query (or, SPLIT > 1, a slice of one): q and the output stay in registers, keys pass by, BLOCK
 * at a time, with a running maximum. All invocations read the same key at the same time. That suits both kinds of device:
 * a GPU broadcasts the load, and a software driver that vectorises over invocations makes it one scalar load, where a load at
 * a different address in each lane costs it one load a lane.
 *
 * Workgroups: x = query blocks of a sequence, y = heads, z = sequences. */
//! variant attention_fwd
//! variant attention_fwd_lse -DLSE
//! variant attention_fwd_half -DHALF
//! variant attention_fwd_lse_half -DLSE -DHALF
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#define PARTIALS 1
#include "attention_row.h"

layout(binding = 0) readonly restrict buffer QKV { ROW_VEC4 qkv[]; };     /* [rows, 3 (q k v), heads, head_dim / 4] */
layout(binding = 1) readonly restrict buffer Offsets { uint offsets[]; }; /* [sequences + 1] */
layout(binding = 2) writeonly restrict buffer Out { ROW_VEC4 outputs[]; };/* [rows, heads, head_dim / 4] */
#ifdef LSE
layout(binding = 3) writeonly restrict buffer Lse { float lse[]; };       /* [rows, heads] */
#endif

void main() {
    uint sequence = gl_WorkGroupID.z, head = gl_WorkGroupID.y, lane = gl_LocalInvocationID.x;
    uint end = min(offsets[sequence + 1], push.rows_max), begin = min(offsets[sequence], end), count = end - begin;
    uint query_first = gl_WorkGroupID.x * (gl_WorkGroupSize.x / SPLIT);
    if (query_first >= count) return; /* the whole workgroup */
    uint query = query_first + lane / SPLIT;
    uint row = begin + min(query, count - 1); /* lanes beyond the end do the last row's work again and do not store */
    uint row_vec4 = push.heads * HEAD_VEC4, column = head * HEAD_VEC4;
    uint qkv_row = row_vec4s(3 * row_vec4), out_row = row_vec4s(row_vec4);

    vec4 q[SLICE], acc[SLICE];
    [[unroll]] for (uint i = 0; i < SLICE; i++) {
        q[i] = slice_has(i) ? from_row(qkv[row * qkv_row + column + slice_at(i)]) * push.scale_log2 : vec4(0);
        acc[i] = vec4(0);
    }
    float peak = -1e30, total = 0; /* finite, so that the first exp2(peak - new) is 0 and never NaN */
    for (uint key = 0; key < count; key += BLOCK) {
        uint at[BLOCK];
        float score[SUMS];
        [[unroll]] for (uint t = 0; t < BLOCK; t++) {
            at[t] = (begin + min(key + t, count - 1)) * qkv_row + row_vec4 + column;
            vec4 sum = vec4(0);
            [[unroll]] for (uint i = 0; i < SLICE; i++) sum = fma(q[i], from_row(qkv[at[t] + slice_at(i)]), sum);
            score[t] = sum4(sum);
        }
        add_slices(score, key / BLOCK);
        float peak_new = peak; /* the last key, repeated beyond the end, does not change it */
        [[unroll]] for (uint t = 0; t < BLOCK; t++) peak_new = max(peak_new, score[t]);
        float shrink = exp2(peak - peak_new);
        peak = peak_new;
        total *= shrink;
        [[unroll]] for (uint t = 0; t < BLOCK; t++) {
            score[t] = key + t < count ? exp2(score[t] - peak) : 0;
            total += score[t];
        }
        [[unroll]] for (uint i = 0; i < SLICE; i++) {
            vec4 sum = acc[i] * shrink;
            [[unroll]] for (uint t = 0; t < BLOCK; t++) sum = fma(vec4(score[t]), from_row(qkv[at[t] + row_vec4 + slice_at(i)]), sum);
            acc[i] = sum;
        }
    }
    if (query >= count) return;
    [[unroll]] for (uint i = 0; i < SLICE; i++)
        if (slice_has(i)) outputs[row * out_row + column + slice_at(i)] = to_row(acc[i] / total);
#ifdef HALF
    if (row_vec4 < out_row && head == push.heads - 1 && lane % SPLIT == 0) outputs[row * out_row + row_vec4] = uvec2(0);
#endif
#ifdef LSE
    if (lane % SPLIT == 0) lse[row * push.heads + head] = (peak + log2(total)) * LN_2;
#endif
}
