/* Attention (formulas and tensors: shaders/attention.comp) of 16-bit rows, on matrices of a workgroup (VK_NV_cooperative_matrix2):
 *   scores [OWNED, BLOCK] = q k^T        q stays, keys pass by
 *   p = exp2(scores - peak)              with a running peak and total of each row, f32
 *   out [OWNED, WIDTH] = out shrink + p v     shrink = exp2(old peak - new peak)
 * and at the end out / total. Layout: shaders/attention_coopmat2.h.
 *
 * What is a number a row (peak, shrink, total) is a matrix whose columns are alike: a reduction over rows makes it, and makes it as wide as
 * the matrix that it meets element by element. total is summed from p in f32, before p is rounded: lse is as good as in f32.
 *
 * Workgroups: x = blocks of OWNED queries of a sequence, y = heads, z = sequences. */
//! variant attention_coopmat2_fwd_f16 needs GL_NV_cooperative_matrix2
//! variant attention_coopmat2_fwd_lse_f16 -DLSE needs GL_NV_cooperative_matrix2
//! variant attention_coopmat2_fwd_bf16 -DBF16 needs GL_EXT_bfloat16
//! variant attention_coopmat2_fwd_lse_bf16 -DBF16 -DLSE needs GL_EXT_bfloat16
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int32 : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_NV_cooperative_matrix2 : require
#ifdef BF16
#extension GL_EXT_bfloat16 : require
#endif
#pragma use_vulkan_memory_model
#include "attention_coopmat2.h"

layout(binding = 2) writeonly restrict buffer Out { float16_t out_bits[]; }; /* [rows, heads, head_dim] */
#ifdef LSE
layout(binding = 3) writeonly restrict buffer Lse { float lse[]; }; /* [rows, heads] */
#endif

/* ---- of two elements of a row ---- */

float greater(const in float a, const in float b) { return max(a, b); }
float add(const in float a, const in float b) { return a + b; }
float either(const in float a, const in float b) { return a; } /* they are alike */

/* ---- of each element, and of the same element of a second matrix; of the workgroup they know their arguments only ---- */

float mask(const in uint32_t row, const in uint32_t col, const in float score, const in uint keys) { return col < keys ? score : -1e30; }

float raise(const in uint32_t row, const in uint32_t col, const in float score, const in float peak) {
    return max(score * push.scale_log2, peak);
}

float shrink_by(const in uint32_t row, const in uint32_t col, const in float peak_new, const in float peak) {
    return exp2(peak - peak_new);
}

float probability(const in uint32_t row, const in uint32_t col, const in float score, const in float peak) {
    return exp2(score * push.scale_log2 - (peak - PEAK_BITS));
}

float divide(const in uint32_t row, const in uint32_t col, const in float sum, const in float total) { return bits_of(sum / total); }

#ifdef LSE
/* at: the place of the first of `rows` rows. */
float keep_lse(const in uint32_t row, const in uint32_t col, const in float total, const in float peak, const in uint at,
               const in uint rows) {
    if (col == 0 && row < rows) lse[at + row * push.heads] = (peak + log2(total) - PEAK_BITS) * LN_2;
    return total;
}
#endif

#define ROWS gl_CooperativeMatrixReduceRowNV

void main() {
    if (!locate()) return; /* uniform over the workgroup */
    OWNED_ROWS q;
    LOAD(q, qkv, first_of(MATRIX_Q), 3, owned_first, OWNED);
    SUMS(WIDTH) sums = SUMS(WIDTH)(0.0), wide;
    SUMS(NARROW) total = SUMS(NARROW)(0.0), narrow, part;
    SUMS(BLOCK) peak = SUMS(BLOCK)(-1e30), peak_new, shrink; /* finite, so that the first shrink is 0 and never NaN */
    for (uint key = 0; key < count; key += BLOCK) {
        PASSING_COLUMNS k;
        PASSING_ROWS v;
        LOAD_TRANSPOSED(k, qkv, first_of(MATRIX_K), 3, key, BLOCK);
        SUMS(BLOCK) s = coopMatMulAdd(q, k, SUMS(BLOCK)(0.0));
        if (key + BLOCK > count) coopMatPerElementNV(s, s, mask, count - key);
        coopMatReduceNV(peak_new, s, ROWS, greater);
        coopMatPerElementNV(peak_new, peak_new, raise, peak);
        coopMatPerElementNV(shrink, peak_new, shrink_by, peak);
        peak = peak_new;
        coopMatPerElementNV(s, s, probability, peak);
        coopMatReduceNV(narrow, shrink, ROWS, either);
        coopMatReduceNV(part, s, ROWS, add);
        total = total * narrow + part;
        LOAD(v, qkv, first_of(MATRIX_V), 3, key, BLOCK);
        coopMatReduceNV(wide, shrink, ROWS, either);
        sums = coopMatMulAdd(ROUNDED(s), v, sums * wide);
    }
#ifdef LSE
    coopMatReduceNV(narrow, peak, ROWS, either);
    coopMatPerElementNV(total, total, keep_lse, narrow, statistic(owned_first), count - owned_first);
#endif
    coopMatReduceNV(wide, total, ROWS, either);
    coopMatPerElementNV(sums, sums, divide, wide);
    STORE(sums, out_bits, first_of_one(), 1);
}
