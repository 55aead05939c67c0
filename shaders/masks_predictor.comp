/* A predictor sequence is the context rows r_c of an image, then the mask tokens r_t of one target block; pred_src says which.
 *   predictor_input       out[pr] = (context ? embed[r_c] : mask_token) + pos[patch]
 *   predictor_output      out[r_t] = x[pr] of mask tokens
 *   predictor_output_bwd  dx[pr] = context ? 0 : dout[r_t]
 *   predictor_input_bwd   dembed[r_c] = sum over the blocks b of the image, in order, of dout[pr(b, r_c)]
 * The first three walk predictor rows, the last one context rows. x, out, dout and dx of predictor_output are f32, f16 or bf16 (bits
 * are copied); dembed is too, sums are f32. */
//! variant predictor_input -DKIND=0 -DVEC4=0
//! variant predictor_input_vec4 -DKIND=0 -DVEC4=1
//! variant predictor_output -DKIND=1 -DVEC4=0
//! variant predictor_output_vec4 -DKIND=1 -DVEC4=1
//! variant predictor_output_bwd -DKIND=2 -DVEC4=0
//! variant predictor_output_bwd_vec4 -DKIND=2 -DVEC4=1
//! variant predictor_input_bwd -DKIND=3 -DVEC4=0
//! variant predictor_input_bwd_vec4 -DKIND=3 -DVEC4=1
#version 460
#extension GL_GOOGLE_include_directive : require
#include "masks_move.h"
#include "half.h"

#if KIND == 1 || KIND == 2
#define UNIT_MOVED BITS
#else
#define UNIT_MOVED UNIT
#endif

layout(binding = 0) readonly restrict buffer PredOffsets { uint pred_offsets[]; }; /* [batch blocks + 1] */
layout(binding = 1) readonly restrict buffer X { UNIT_MOVED x[]; };                /* embed, x or dout */
layout(binding = 2) writeonly restrict buffer Out { UNIT_MOVED y[]; };             /* out, dx or dembed */
#if KIND == 3
layout(binding = 3) readonly restrict buffer CtxOffsets { uint ctx_offsets[]; }; /* [batch + 1] */
layout(binding = 4) readonly restrict buffer CtxRows { uint ctx_rows[]; };       /* [context rows] */
layout(constant_id = 2) const uint ELEMENT = ELEMENT_WORD;                       /* of dembed: f32, or ... */
#if VEC4
layout(binding = 5) writeonly restrict buffer OutHalf { uvec2 y_half[]; };       /* ... 16 bits */
#else
layout(binding = 5) writeonly restrict buffer OutHalf { uint y_half[]; };
#endif
#else
layout(binding = 3) readonly restrict buffer PredSrc { uint pred_src[]; };       /* [predictor rows] */
#endif
#if KIND == 0
layout(binding = 4) readonly restrict buffer CtxRows { uint ctx_rows[]; };       /* [context rows] */
layout(binding = 5) readonly restrict buffer TgtRows { uint tgt_rows[]; };       /* [target rows] */
layout(binding = 6) readonly restrict buffer MaskToken { UNIT mask_token[]; };   /* [dim] */
layout(binding = 7) readonly restrict buffer Positions { UNIT pos[]; };          /* [patches, dim] */
#endif

#if KIND == 3
/* Unit u of row `row` of dembed. */
UNIT sum_blocks(uint sequence, uint rank, uint u) {
    UNIT sum = x[(pred_offsets[sequence] + rank) * push.units + u];
    for (uint b = 1; b < push.blocks; b++) sum += x[(pred_offsets[sequence + b] + rank) * push.units + u];
    return sum;
}

/* In 16 bits; a lane makes whole words, the last one the padding too. */
void sum_row_half(uint row, uint sequence, uint rank) {
#if VEC4
    uint stride = half_row(4 * push.units) / 4;
    FOR_UNITS(u) {
        y_half[row * stride + u] = pack_half4(ELEMENT, sum_blocks(sequence, rank, u));
        if (u + 1 == push.units && u + 1 < stride) y_half[row * stride + u + 1] = uvec2(0);
    }
#else
    uint stride = half_row(push.units) / 2;
    for (uint word = gl_LocalInvocationID.x; word < stride; word += gl_WorkGroupSize.x) {
        vec2 sums = vec2(0);
        if (2 * word < push.units) sums.x = sum_blocks(sequence, rank, 2 * word);
        if (2 * word + 1 < push.units) sums.y = sum_blocks(sequence, rank, 2 * word + 1);
        y_half[row * stride + word] = pack_half(ELEMENT, sums);
    }
#endif
}
#endif

void main() {
    uint row = move_row(), units = push.units;
#if KIND == 3
    if (row >= min(push.rows_max, ctx_offsets[push.rows_at])) return;
    uint image = ctx_rows[row] / push.patches, rank = row - ctx_offsets[image], sequence = image * push.blocks;
    if (ELEMENT == ELEMENT_WORD) FOR_UNITS(u) y[row * units + u] = sum_blocks(sequence, rank, u);
    else sum_row_half(row, sequence, rank);
#else
    if (row >= min(push.rows_max, pred_offsets[push.rows_at])) return;
    uint src = pred_src[row], from = src & ~MASKS_TOKEN;
    bool token = (src & MASKS_TOKEN) != 0;
#if KIND == 0
    uint patch_row = (token ? tgt_rows[from] : ctx_rows[from]) % push.patches;
    if (token) FOR_UNITS(u) y[row * units + u] = mask_token[u] + pos[patch_row * units + u];
    else FOR_UNITS(u) y[row * units + u] = x[from * units + u] + pos[patch_row * units + u];
#elif KIND == 1
    if (token) FOR_UNITS(u) y[from * units + u] = x[row * units + u];
#else
    if (token) FOR_UNITS(u) y[row * units + u] = x[from * units + u];
    else FOR_UNITS(u) y[row * units + u] = BITS(0);
#endif
#endif
}
