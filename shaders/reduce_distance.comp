/* partial[first + chunk] = sums of (a[i] - b[i])^2 and of a[i]^2 over REDUCE_CHUNK elements, a workgroup a chunk. */
//! variant reduce_distance
#version 460
#extension GL_GOOGLE_include_directive : require
#include "reduce.h"
#define GROUP_SUM_TYPE vec2
#include "group_sum.h"

layout(local_size_x = REDUCE_LANES) in;
layout(push_constant) uniform Push { reduce_squares_push push; };

layout(binding = 0) readonly restrict buffer A { float a[]; };               /* [count] */
layout(binding = 1) readonly restrict buffer B { float b[]; };               /* [count] */
layout(binding = 2) writeonly restrict buffer Partial { vec2 partial[]; };   /* [partials] */

void main() {
    uint chunk = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (chunk * REDUCE_CHUNK >= push.count) return;
    uint end = min((chunk + 1) * REDUCE_CHUNK, push.count);
    vec2 parts = vec2(0);
    for (uint i = chunk * REDUCE_CHUNK + gl_LocalInvocationID.x; i < end; i += REDUCE_LANES) {
        float value = a[i], difference = value - b[i];
        parts += vec2(difference * difference, value * value);
    }
    parts = group_sum(parts);
    if (gl_LocalInvocationID.x == 0) partial[push.first + chunk] = parts;
}
