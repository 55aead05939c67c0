/* A predictor sequence is the context rows r_c of an image, then the mask tokens r_t of one target block; pred_src says which.
 *   predictor_input       out[pr] = (context ? embed[r_c] : mask_token) + pos[patch]
 *   predictor_output      out[r_t] = x[pr] of mask tokens
 *   predictor_output_bwd  dx[pr] = context ? 0 : dout[r_t]
 *   predictor_input_bwd   dembed[r_c] = sum over the blocks b of the image, in order, of dout[pr(b, r_c)]
 * The first three walk predictor rows, the last one context rows. */
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

layout(binding = 0) readonly restrict buffer PredOffsets { uint pred_offsets[]; }; /* [batch blocks + 1] */
layout(binding = 1) readonly restrict buffer X { UNIT x[]; };                      /* embed, x or dout */
layout(binding = 2) writeonly restrict buffer Out { UNIT y[]; };                   /* out, dx or dembed */
#if KIND == 3
layout(binding = 3) readonly restrict buffer CtxOffsets { uint ctx_offsets[]; }; /* [batch + 1] */
layout(binding = 4) readonly restrict buffer CtxRows { uint ctx_rows[]; };       /* [context rows] */
#else
layout(binding = 3) readonly restrict buffer PredSrc { uint pred_src[]; };       /* [predictor rows] */
#endif
#if KIND == 0
layout(binding = 4) readonly restrict buffer CtxRows { uint ctx_rows[]; };       /* [context rows] */
layout(binding = 5) readonly restrict buffer TgtRows { uint tgt_rows[]; };       /* [target rows] */
layout(binding = 6) readonly restrict buffer MaskToken { UNIT mask_token[]; };   /* [dim] */
layout(binding = 7) readonly restrict buffer Positions { UNIT pos[]; };          /* [patches, dim] */
#endif

void main() {
    uint row = move_row(), units = push.units;
#if KIND == 3
    if (row >= min(push.rows_max, ctx_offsets[push.rows_at])) return;
    uint image = ctx_rows[row] / push.patches, rank = row - ctx_offsets[image], sequence = image * push.blocks;
    FOR_UNITS(u) {
        UNIT sum = x[(pred_offsets[sequence] + rank) * units + u];
        for (uint b = 1; b < push.blocks; b++) sum += x[(pred_offsets[sequence + b] + rank) * units + u];
        y[row * units + u] = sum;
    }
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
    else FOR_UNITS(u) y[row * units + u] = UNIT(0);
#endif
#endif
}
