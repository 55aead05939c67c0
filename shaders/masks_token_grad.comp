/* dmask_token[:] (+)= sum over the predictor rows that are mask tokens of dout[pr, :].
 * Two kernels: partial[c, :] is the sum over rows MASKS_CHUNK c ... in order; then the partials in order. The shape of the sum
 * depends on the number of rows only at its end, and there is no atomic: the same bits every time. */
//! variant mask_token_partial -DFINISH=0 -DVEC4=0
//! variant mask_token_partial_vec4 -DFINISH=0 -DVEC4=1
//! variant mask_token_finish -DFINISH=1 -DVEC4=0
//! variant mask_token_finish_vec4 -DFINISH=1 -DVEC4=1
#version 460
#extension GL_GOOGLE_include_directive : require
#include "masks_move.h"

layout(binding = 0) readonly restrict buffer PredOffsets { uint pred_offsets[]; }; /* [batch blocks + 1] */
#if FINISH
layout(binding = 1) readonly restrict buffer Partial { UNIT partial[]; }; /* [chunks, dim] */
layout(binding = 2) restrict buffer Out { UNIT dmask_token[]; };          /* [dim] */
#else
layout(binding = 1) readonly restrict buffer PredSrc { uint pred_src[]; }; /* [predictor rows] */
layout(binding = 2) readonly restrict buffer Dout { UNIT dout[]; };        /* [predictor rows, dim] */
layout(binding = 3) writeonly restrict buffer Out { UNIT partial[]; };     /* [chunks, dim] */
#endif

void main() {
    uint rows = min(push.rows_max, pred_offsets[push.rows_at]), chunks = (rows + MASKS_CHUNK - 1) / MASKS_CHUNK;
    uint unit = gl_GlobalInvocationID.x, units = push.units;
    if (unit >= units) return;
#if FINISH
    UNIT sum = UNIT(0);
    for (uint c = 0; c < chunks; c++) sum += partial[c * units + unit];
    if (push.accumulate != 0) sum += dmask_token[unit];
    dmask_token[unit] = sum;
#else
    uint chunk = gl_WorkGroupID.y;
    if (chunk >= chunks) return;
    UNIT sum = UNIT(0);
    uint last = min(rows, (chunk + 1) * MASKS_CHUNK);
    for (uint row = chunk * MASKS_CHUNK; row < last; row++)
        if ((pred_src[row] & MASKS_TOKEN) != 0) sum += dout[row * units + unit];
    partial[chunk * units + unit] = sum;
#endif
}
