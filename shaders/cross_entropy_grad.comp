/* dlogits = loss scale x scale / counted rows x (p - t), a lane an element (in 16 bits two of them, a word); rows without a label have 0. */
//! variant cross_entropy_grad
#version 460
#extension GL_GOOGLE_include_directive : require
#include "cross_entropy.h"
#include "half.h"
#include "optim.h"

layout(local_size_x = CROSS_ENTROPY_LANES) in;
layout(constant_id = 0) const uint CLASSES = 1; /* constants, because every lane divides by them */
layout(constant_id = 1) const uint WORDS = 1;   /* of a row of dlogits, with its padding */
layout(constant_id = 2) const uint ELEMENT = ELEMENT_WORD;
layout(constant_id = 3) const bool SCALED = false; /* there is a loss scale */
layout(constant_id = 4) const bool RAGGED = true;
const bool HALF = ELEMENT != ELEMENT_WORD;
layout(push_constant) uniform Push { cross_entropy_push push; };

layout(binding = 0) readonly restrict buffer Logits { float logits[]; };    /* [rows, heads, CLASSES] */
layout(binding = 1) readonly restrict buffer Labels { uint labels[]; };     /* [rows] */
layout(binding = 2) readonly restrict buffer Offsets { uint offsets[]; };
layout(binding = 3) readonly restrict buffer Stats { vec4 stats[]; };       /* [rows, heads] */
layout(binding = 4) readonly restrict buffer Counted { uint counted[]; };   /* [1] */
layout(binding = 5) writeonly restrict buffer DLogits { uint dlogits[]; };  /* [rows, WORDS] f32, or two 16-bit elements */
layout(binding = 6) readonly restrict buffer Scale { optim_scale loss_scale; };

float gradient(uint row, uint column, uint label, float weight) {
    uint head = column / CLASSES;
    if (head >= push.heads || label >= CLASSES) return 0;
    vec4 of = stats[row * push.heads + head];
    float p = exp(logits[row * push.heads * CLASSES + column] - of.x - of.y);
    float t = push.smoothing / float(CLASSES) + (column - head * CLASSES == label ? 1 - push.smoothing : 0);
    return weight * (p - t);
}

void main() {
    uint at = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * CROSS_ENTROPY_LANES + gl_LocalInvocationID.x;
    uint row = at / WORDS, word = at - row * WORDS;
    if (row >= (RAGGED ? min(push.rows_max, offsets[push.rows_at]) : push.rows_max)) return;
    float weight = push.scale / max(float(counted[0]), 1.0);
    if (SCALED) weight *= loss_scale.scale;
    uint label = labels[row];
    if (HALF) dlogits[at] = pack_half(ELEMENT, vec2(gradient(row, 2 * word, label, weight), gradient(row, 2 * word + 1, label, weight)));
    else dlogits[at] = floatBitsToUint(gradient(row, word, label, weight));
}
