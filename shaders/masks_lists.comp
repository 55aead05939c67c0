/* Row lists from bit masks and offsets: an invocation has one word of 32 patches of one mask, counts the bits before it and
 * writes its own. A context patch is written once as a context row and once for each block as a predictor row. */
//! variant masks_lists
#version 460
#extension GL_GOOGLE_include_directive : require
#include "masks.h"

layout(local_size_x = MASKS_ROWS_LANES) in;
layout(push_constant) uniform Push { masks_push push; };

layout(binding = 0) readonly restrict buffer Bits { uint bits[]; };                /* [batch, 1 + blocks, words] */
layout(binding = 1) readonly restrict buffer CtxOffsets { uint ctx_offsets[]; };   /* [batch + 1] */
layout(binding = 2) readonly restrict buffer TgtOffsets { uint tgt_offsets[]; };   /* [batch blocks + 1] */
layout(binding = 3) readonly restrict buffer PredOffsets { uint pred_offsets[]; }; /* [batch blocks + 1] */
layout(binding = 4) writeonly restrict buffer CtxRows { uint ctx_rows[]; };        /* [context rows] */
layout(binding = 5) writeonly restrict buffer TgtRows { uint tgt_rows[]; };        /* [target rows] */
layout(binding = 6) writeonly restrict buffer PredSrc { uint pred_src[]; };        /* [predictor rows] */

void main() {
    uint index = gl_GlobalInvocationID.x, masks = 1 + push.blocks;
    if (index >= push.batch * masks * push.words) return;
    uint word = index % push.words, mask = index / push.words, image = mask / masks, m = mask % masks;
    uint rank = 0;
    for (uint i = 0; i < word; i++) rank += bitCount(bits[index - word + i]);
    uint left = bits[index], row = image * push.grid_h * push.grid_w + 32 * word;
    uint context_first = ctx_offsets[image], contexts = ctx_offsets[image + 1] - context_first;
    uint sequence = m == 0 ? 0 : image * push.blocks + m - 1;
    uint target_first = tgt_offsets[sequence], count = m == 0 ? contexts : tgt_offsets[sequence + 1] - target_first;
    for (; left != 0 && rank < count; left &= left - 1) { /* rank reaches count only where official cuts */
        uint patch_row = row + uint(findLSB(left));
        if (m == 0) {
            ctx_rows[context_first + rank] = patch_row;
            for (uint b = 0; b < push.blocks; b++) pred_src[pred_offsets[image * push.blocks + b] + rank] = context_first + rank;
        } else {
            tgt_rows[target_first + rank] = patch_row;
            pred_src[pred_offsets[sequence] + contexts + rank] = MASKS_TOKEN | (target_first + rank);
        }
        rank++;
    }
}
