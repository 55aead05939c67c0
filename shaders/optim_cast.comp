/* to[r, c] = from[r, c] rounded to f16 or bf16, rows padded with zeros; a lane makes one store of a row: four elements, or a word. */
//! variant optim_cast -DWIDTH=4
//! variant optim_cast_any -DWIDTH=1
#version 460
#extension GL_GOOGLE_include_directive : require
#include "optim.h"
#include "half.h"

#if WIDTH == 4
#define fvec vec4
#define hvec uvec2
#else
#define fvec float
#define hvec uint
#endif

layout(local_size_x = OPTIM_LANES) in;
layout(constant_id = 0) const uint ELEMENT = ELEMENT_F16;
layout(push_constant) uniform Push { optim_cast_push push; };

layout(binding = 0) readonly restrict buffer From { fvec from[]; }; /* [rows, columns] */
layout(binding = 1) writeonly restrict buffer To { hvec to[]; };    /* [rows, columns] in 16 bits */

void main() {
    uint i = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * OPTIM_LANES + gl_LocalInvocationID.x;
    if (i >= push.count) return;
    uint row = i / push.stores, store = i % push.stores;
#if WIDTH == 4
    vec4 v = vec4(0);
    if (store < push.loads) v = from[row * push.loads + store];
    to[i] = pack_half4(ELEMENT, v);
#else
    vec2 v = vec2(0);
    if (2 * store < push.loads) v.x = from[row * push.loads + 2 * store];
    if (2 * store + 1 < push.loads) v.y = from[row * push.loads + 2 * store + 1];
    to[i] = pack_half(ELEMENT, v);
#endif
}
