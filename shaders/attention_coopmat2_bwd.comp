/* Gradient of attention (formulas and tensors: shaders/attention_bwd.comp) of 16-bit rows, on matrices of a workgroup
 * (VK_NV_cooperative_matrix2):
 *   attention_coopmat2_dq:  q, dout owned, k, v pass by    s = q k^T, dp = dout v^T    dq += ds k
 *   attention_coopmat2_dkv: k, v owned, q, dout pass by    s = k q^T, dp = v dout^T    dv += p dout, dk += ds q
 * with p = exp2(s - lse), ds = p (dp - delta), all [OWNED, BLOCK]: in dkv s and p are those of attention transposed, because the rows that
 * pass by are the columns of the product; nothing is transposed after a product. Layout: shaders/attention_coopmat2.h.
 *
 * lse and delta belong to rows in dq and to columns in dkv. They lie in shared memory, where each element of s and dp finds its own: as
 * matrices they would take as many registers as s and dp. delta = dout . out is computed by dq, by PARTS invocations a row, for dkv too.
 *
 * p <= 1 is enforced: behind the end of a sequence s = 0 while lse may be very negative, and exp2 of the difference times the zeros that
 * are loaded there must not be infinity times zero. In dv, p is kept 2^PEAK_BITS times too large, as in the forward pass.
 *
 * Workgroups: x = blocks of OWNED rows of a sequence, y = heads, z = sequences. */
//! variant attention_coopmat2_dq_f16 needs GL_NV_cooperative_matrix2
//! variant attention_coopmat2_dkv_f16 -DDKV needs GL_NV_cooperative_matrix2
//! variant attention_coopmat2_dq_bf16 -DBF16 needs GL_EXT_bfloat16
//! variant attention_coopmat2_dkv_bf16 -DBF16 -DDKV needs GL_EXT_bfloat16
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

layout(binding = 2) readonly restrict buffer Lse { float lse[]; };              /* [rows, heads] */
layout(binding = 3) readonly buffer DOut { OPERAND dout[]; };                   /* [rows, heads, head_dim] */
layout(binding = 4) writeonly restrict buffer DQKV { float16_t dqkv_bits[]; };  /* [rows, 3 (q k v), heads, head_dim] */
#define PARTS 2 /* invocations of a row; the same for all OWNED, for the same bits */
#ifdef DKV
layout(binding = 5) readonly restrict buffer Delta { float delta[]; };          /* [rows, heads] */
shared float lse_of[BLOCK], delta_of[BLOCK];                                    /* of the rows that pass by */
#else
layout(binding = 3) readonly buffer DOutWords { uvec4 dout_words[]; };          /* the same: [rows, heads, head_dim / 8] */
layout(binding = 5) writeonly restrict buffer Delta { float delta[]; };
layout(binding = 6) readonly restrict buffer Out { uvec4 out_words[]; };        /* [rows, heads, head_dim / 8] */
shared float lse_of[OWNED], delta_of[OWNED];                                    /* of the owned rows */
shared float delta_parts[OWNED * PARTS];
#endif

/* ---- of each element, and of the same element of a second matrix ---- */

#ifdef DKV
float probability(const in uint32_t row, const in uint32_t col, const in float s) {
    return exp2(min(s * push.scale_log2 - lse_of[col], 0.0));
}

float score_gradient(const in uint32_t row, const in uint32_t col, const in float dp, const in float p) { return p * (dp - delta_of[col]); }
#else
float score_gradient(const in uint32_t row, const in uint32_t col, const in float dp, const in float s) {
    return exp2(min(s * push.scale_log2 - lse_of[row], 0.0)) * (dp - delta_of[row]);
}
#endif

float multiply(const in uint32_t row, const in uint32_t col, const in float sum, const in float factor) { return bits_of(sum * factor); }

#ifdef DKV
/* lse and delta of the block's rows; behind the end such that p = 0. */
void stage_statistics(uint first) {
    for (uint e = gl_LocalInvocationIndex; e < BLOCK; e += gl_WorkGroupSize.x) {
        bool inside = first + e < count;
        lse_of[e] = inside ? lse[statistic(first + e)] * LOG2_E : 1e30;
        delta_of[e] = inside ? delta[statistic(first + e)] : 0;
    }
}
#else
/* dout . out of a part of a row's columns. */
float part_of_delta(uint r, uint part) {
    float sum = 0;
    uint at = ((begin + r) * row_length + column) / 8;
    for (uint c = part; c < HEAD_DIM / 8 && r < count; c += PARTS) {
        uvec4 d = dout_words[at + c], o = out_words[at + c];
        [[unroll]] for (uint i = 0; i < 4; i++) sum += dot(unpack_half(ELEMENT, d[i]), unpack_half(ELEMENT, o[i]));
    }
    return sum;
}

/* lse and delta of the owned rows; what is behind the end meets zeros only. */
void stage_statistics() {
    for (uint e = gl_LocalInvocationIndex; e < OWNED * PARTS; e += gl_WorkGroupSize.x)
        delta_parts[e] = part_of_delta(owned_first + e % OWNED, e / OWNED);
    barrier();
    for (uint e = gl_LocalInvocationIndex; e < OWNED; e += gl_WorkGroupSize.x) {
        uint r = owned_first + e;
        float sum = 0;
        [[unroll]] for (uint p = 0; p < PARTS; p++) sum += delta_parts[p * OWNED + e];
        delta_of[e] = sum;
        lse_of[e] = r < count ? lse[statistic(r)] * LOG2_E : 0;
        if (r < count) delta[statistic(r)] = sum;
    }
    barrier();
}
#endif

void main() {
    if (!locate()) return; /* uniform over the workgroup */
    OWNED_ROWS first, second;
    PASSING_COLUMNS columns;
    PASSING_ROWS rows;
    SUMS(BLOCK) s, dp;
#ifdef DKV
    SUMS(WIDTH) dk = SUMS(WIDTH)(0.0), dv = SUMS(WIDTH)(0.0);
    LOAD(first, qkv, first_of(MATRIX_K), 3, owned_first, OWNED);
    LOAD(second, qkv, first_of(MATRIX_V), 3, owned_first, OWNED);
    for (uint passing = 0; passing < count; passing += BLOCK) {
        barrier(); /* the statistics of the block before were read */
        stage_statistics(passing);
        barrier();
        LOAD_TRANSPOSED(columns, qkv, first_of(MATRIX_Q), 3, passing, BLOCK);
        s = coopMatMulAdd(first, columns, SUMS(BLOCK)(0.0));
        coopMatPerElementNV(s, s, probability);
        LOAD(rows, dout, first_of_one(), 1, passing, BLOCK);
        dv = coopMatMulAdd(ROUNDED(s * float(1 << PEAK_BITS)), rows, dv);
        LOAD_TRANSPOSED(columns, dout, first_of_one(), 1, passing, BLOCK);
        dp = coopMatMulAdd(second, columns, SUMS(BLOCK)(0.0));
        coopMatPerElementNV(dp, dp, score_gradient, s);
        LOAD(rows, qkv, first_of(MATRIX_Q), 3, passing, BLOCK);
        dk = coopMatMulAdd(ROUNDED(dp), rows, dk);
    }
    coopMatPerElementNV(dk, dk, multiply, push.scale);
    STORE(dk, dqkv_bits, first_of(MATRIX_K), 3);
    coopMatPerElementNV(dv, dv, multiply, 1.0 / (1 << PEAK_BITS));
    STORE(dv, dqkv_bits, first_of(MATRIX_V), 3);
#else
    SUMS(WIDTH) dq = SUMS(WIDTH)(0.0);
    stage_statistics();
    LOAD(first, qkv, first_of(MATRIX_Q), 3, owned_first, OWNED);
    LOAD(second, dout, first_of_one(), 1, owned_first, OWNED);
    for (uint passing = 0; passing < count; passing += BLOCK) {
        LOAD_TRANSPOSED(columns, qkv, first_of(MATRIX_K), 3, passing, BLOCK);
        s = coopMatMulAdd(first, columns, SUMS(BLOCK)(0.0));
        LOAD_TRANSPOSED(columns, qkv, first_of(MATRIX_V), 3, passing, BLOCK);
        dp = coopMatMulAdd(second, columns, SUMS(BLOCK)(0.0));
        coopMatPerElementNV(dp, dp, score_gradient, s);
        LOAD(rows, qkv, first_of(MATRIX_K), 3, passing, BLOCK);
        dq = coopMatMulAdd(ROUNDED(dp), rows, dq);
    }
    coopMatPerElementNV(dq, dq, multiply, push.scale);
    STORE(dq, dqkv_bits, first_of(MATRIX_Q), 3);
#endif
}
