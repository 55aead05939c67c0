/* Offsets of all sequences, from the bit masks: exclusive sums over the images of
 *   (context patches, target patches, predictor rows = blocks x context + target patches).
 * One workgroup; a lane has a run of neighbouring images, lanes meet in one exchange through shared memory. */
//! variant masks_offsets
#version 460
#extension GL_GOOGLE_include_directive : require
#include "masks.h"

layout(local_size_x = MASKS_OFFSETS_LANES) in;
layout(push_constant) uniform Push { masks_push push; };

layout(binding = 0) readonly restrict buffer Bits { uint bits[]; };                 /* [batch, 1 + blocks, words] */
layout(binding = 1) writeonly restrict buffer CtxOffsets { uint ctx_offsets[]; };   /* [batch + 1] */
layout(binding = 2) writeonly restrict buffer TgtOffsets { uint tgt_offsets[]; };   /* [batch blocks + 1] */
layout(binding = 3) writeonly restrict buffer PredOffsets { uint pred_offsets[]; }; /* [batch blocks + 1] */

shared uvec3 sums[MASKS_OFFSETS_LANES];
shared uint context_least, target_least;

/* Patches of mask m of an image; m = 0 is the context. */
uint count_bits(uint image, uint m) {
    uint first = (image * (1 + push.blocks) + m) * push.words, count = 0;
    for (uint i = 0; i < push.words; i++) count += bitCount(bits[first + i]);
    return count;
}

void main() {
    uint lane = gl_LocalInvocationID.x, run = (push.batch + MASKS_OFFSETS_LANES - 1) / MASKS_OFFSETS_LANES;
    uint first = min(lane * run, push.batch), last = min(first + run, push.batch);
    if (lane == 0) {
        context_least = MASKS_PATCHES_MAX;
        target_least = MASKS_PATCHES_MAX;
    }
    barrier();
    if (push.cut != 0)
        for (uint image = first; image < last; image++) {
            atomicMin(context_least, count_bits(image, 0));
            for (uint m = 1; m <= push.blocks; m++) atomicMin(target_least, count_bits(image, m));
        }
    barrier();
    uvec3 sum = uvec3(0);
    for (uint image = first; image < last; image++) {
        uint context = min(count_bits(image, 0), context_least), targets = 0;
        for (uint m = 1; m <= push.blocks; m++) targets += min(count_bits(image, m), target_least);
        sum += uvec3(context, targets, push.blocks * context + targets);
    }
    sums[lane] = sum;
    barrier();
    uvec3 at = uvec3(0);
    for (uint i = 0; i < lane; i++) at += sums[i];
    if (lane == 0) {
        ctx_offsets[0] = 0;
        tgt_offsets[0] = 0;
        pred_offsets[0] = 0;
    }
    for (uint image = first; image < last; image++) {
        uint context = min(count_bits(image, 0), context_least);
        at.x += context;
        ctx_offsets[image + 1] = at.x;
        for (uint m = 1; m <= push.blocks; m++) {
            uint target = min(count_bits(image, m), target_least);
            at.y += target;
            at.z += context + target;
            tgt_offsets[image * push.blocks + m] = at.y;
            pred_offsets[image * push.blocks + m] = at.z;
        }
    }
}
