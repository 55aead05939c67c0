/* directions[m] = g / |g|, g [dim] standard normal: uniform on the sphere. A workgroup a direction; random numbers are philox's, keyed by
 * (seed, direction, step), four elements a draw. */
//! variant sigreg_directions
#version 460
#extension GL_GOOGLE_include_directive : require
#include "sigreg.h"
#include "philox.h"
#include "normal.h"
#include "group_sum.h"

layout(local_size_x = GROUP_SUM_LANES) in;
layout(push_constant) uniform Push { sigreg_directions_push push; };

layout(binding = 0) readonly restrict buffer Key { sigreg_key key; };
layout(binding = 1) writeonly restrict buffer Directions { float directions[]; }; /* [directions, dim] */

vec4 draw(uint m, uint number) {
    uvec4 words = philox(key.seed_low, key.seed_high, PHILOX_STREAM_SIGREG, m, key.step, number);
    return vec4(normal_pair(words.x, words.y), normal_pair(words.z, words.w));
}

void main() {
    uint m = gl_WorkGroupID.x, lane = gl_LocalInvocationID.x;
    float squares = 0;
    for (uint at = 4 * lane; at < push.dim; at += 4 * GROUP_SUM_LANES) {
        vec4 g = draw(m, at / 4);
        for (uint i = 0; i < 4 && at + i < push.dim; i++) squares += g[i] * g[i];
    }
    squares = group_sum(squares);
    float scale = squares > 0 ? 1 / sqrt(squares) : 0;
    for (uint at = 4 * lane; at < push.dim; at += 4 * GROUP_SUM_LANES) { /* drawn again: cheaper than keeping them */
        vec4 g = draw(m, at / 4);
        for (uint i = 0; i < 4 && at + i < push.dim; i++) directions[m * push.dim + at + i] = scale * g[i];
    }
}
