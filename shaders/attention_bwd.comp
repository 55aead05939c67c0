/* Gradient of shaders/attention.comp:
 *   p[i, j]  = exp(score[i, j] - lse[i])            recomputed
 *   delta[i] = dout[i] . out[i]                     = sum_j p[i, j] dp[i, j]
 *   ds[i, j] = p[i, j] (dout[i] . v[j] - delta[i])
 *   dq[i] = sum_j ds[i, j] k[j] / sqrt(head_dim)    attention_bwd_dq, which also stores delta
 *   dk[j] = sum_i ds[i, j] q[i] / sqrt(head_dim)    attention_bwd_dkv
 *   dv[j] = sum_i p[i, j] dout[i]                   attention_bwd_dkv
 *
 * No atomics: in dq an invocation owns a query and keys pass by, in dkv it owns a key and queries pass by; scores are computed
 * twice for that. What passes by is read at one address by all invocations, as in the forward kernel.
 *
 * Workgroups: x = blocks of owned rows of a sequence, y = heads, z = sequences. */
//! variant attention_bwd_dq
//! variant attention_bwd_dkv -DDKV
//! variant attention_bwd_dq_half -DHALF
//! variant attention_bwd_dkv_half -DDKV -DHALF
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#define PARTIALS 2
#include "attention_row.h"

layout(binding = 0) readonly restrict buffer QKV { ROW_VEC4 qkv[]; };     /* [rows, 3 (q k v), heads, head_dim / 4] */
layout(binding = 1) readonly restrict buffer Offsets { uint offsets[]; }; /* [sequences + 1] */
layout(binding = 2) readonly restrict buffer Lse { float lse[]; };        /* [rows, heads] */
layout(binding = 3) readonly restrict buffer DOut { ROW_VEC4 dout[]; };   /* [rows, heads, head_dim / 4] */
layout(binding = 4) writeonly restrict buffer DQKV { ROW_VEC4 dqkv[]; };  /* [rows, 3 (q k v), heads, head_dim / 4] */
#ifdef DKV
layout(binding = 5) readonly restrict buffer Delta { float delta[]; };    /* [rows, heads] */
#else
layout(binding = 5) writeonly restrict buffer Delta { float delta[]; };
layout(binding = 6) readonly restrict buffer Out { ROW_VEC4 outputs[]; }; /* [rows, heads, head_dim / 4] */
#endif

void main() {
    uint sequence = gl_WorkGroupID.z, head = gl_WorkGroupID.y, lane = gl_LocalInvocationID.x;
    uint end = min(offsets[sequence + 1], push.rows_max), begin = min(offsets[sequence], end), count = end - begin;
    uint owned_first = gl_WorkGroupID.x * (gl_WorkGroupSize.x / SPLIT);
    if (owned_first >= count) return; /* the whole workgroup */
    uint owned = owned_first + lane / SPLIT;
    uint row = begin + min(owned, count - 1); /* lanes beyond the end do the last row's work again and do not store */
    uint row_vec4 = push.heads * HEAD_VEC4, column = head * HEAD_VEC4;
    uint qkv_row = row_vec4s(3 * row_vec4), out_row = row_vec4s(row_vec4);
    uint at_row = row * qkv_row + column, turn = 0;

#ifdef DKV
    vec4 k[SLICE], v[SLICE], dk[SLICE], dv[SLICE];
    [[unroll]] for (uint i = 0; i < SLICE; i++) {
        k[i] = slice_has(i) ? from_row(qkv[at_row + row_vec4 + slice_at(i)]) * push.scale_log2 : vec4(0);
        v[i] = slice_has(i) ? from_row(qkv[at_row + 2 * row_vec4 + slice_at(i)]) : vec4(0);
        dk[i] = dv[i] = vec4(0);
    }
#else
    vec4 q[SLICE], d[SLICE], dq[SLICE], dot4 = vec4(0);
    [[unroll]] for (uint i = 0; i < SLICE; i++) {
        q[i] = slice_has(i) ? from_row(qkv[at_row + slice_at(i)]) * push.scale_log2 : vec4(0);
        d[i] = slice_has(i) ? from_row(dout[row * out_row + column + slice_at(i)]) : vec4(0);
        dq[i] = vec4(0);
        dot4 = fma(d[i], from_row(outputs[row * out_row + column + slice_at(i)]), dot4);
    }
    float sums[SUMS];
    [[unroll]] for (uint n = 0; n < SUMS; n++) sums[n] = n == 0 ? sum4(dot4) : 0;
    add_slices(sums, turn++);
    float row_delta = sums[0], row_lse = lse[row * push.heads + head] * LOG2_E;
    if (owned < count && lane % SPLIT == 0) delta[row * push.heads + head] = row_delta;
#endif

    for (uint other = 0; other < count; other += BLOCK) {
        float sums[SUMS]; /* BLOCK scores in base 2, then BLOCK values of dp */
        [[unroll]] for (uint t = 0; t < BLOCK; t++) {
            uint passing = begin + min(other + t, count - 1);
            vec4 s = vec4(0), dp = vec4(0);
#ifdef DKV
            uint at = passing * qkv_row + column, at_d = passing * out_row + column;
            [[unroll]] for (uint i = 0; i < SLICE; i++) {
                s = fma(k[i], from_row(qkv[at + slice_at(i)]), s);
                dp = fma(v[i], from_row(dout[at_d + slice_at(i)]), dp);
            }
#else
            uint at = passing * qkv_row + row_vec4 + column;
            [[unroll]] for (uint i = 0; i < SLICE; i++) {
                s = fma(q[i], from_row(qkv[at + slice_at(i)]), s);
                dp = fma(d[i], from_row(qkv[at + row_vec4 + slice_at(i)]), dp);
            }
#endif
            sums[t] = sum4(s);
            sums[BLOCK + t] = sum4(dp);
        }
        add_slices(sums, turn++);
        [[unroll]] for (uint t = 0; t < BLOCK; t++) {
            uint passing = begin + min(other + t, count - 1);
#ifdef DKV
            float row_lse = lse[passing * push.heads + head] * LOG2_E, row_delta = delta[passing * push.heads + head];
#endif
            float p = other + t < count ? exp2(sums[t] - row_lse) : 0, ds = p * (sums[BLOCK + t] - row_delta);
            [[unroll]] for (uint i = 0; i < SLICE; i++) {
#ifdef DKV
                dk[i] = fma(vec4(ds), from_row(qkv[passing * qkv_row + column + slice_at(i)]), dk[i]);
                dv[i] = fma(vec4(p), from_row(dout[passing * out_row + column + slice_at(i)]), dv[i]);
#else
                dq[i] = fma(vec4(ds), from_row(qkv[passing * qkv_row + row_vec4 + column + slice_at(i)]), dq[i]);
#endif
            }
        }
    }
    if (owned >= count) return;
#if defined(HALF) && defined(DKV)
    if (3 * row_vec4 < qkv_row && head == push.heads - 1 && lane % SPLIT == 0) dqkv[row * qkv_row + 3 * row_vec4] = uvec2(0);
#endif
    [[unroll]] for (uint i = 0; i < SLICE; i++) {
        if (!slice_has(i)) continue;
#ifdef DKV
        dqkv[at_row + row_vec4 + slice_at(i)] = to_row(dk[i] * push.scale);
        dqkv[at_row + 2 * row_vec4 + slice_at(i)] = to_row(dv[i]);
#else
        dqkv[at_row + slice_at(i)] = to_row(dq[i] * push.scale);
#endif
    }
}
