/* The partials of reduce_distance.comp to the relative distance, one workgroup. */
//! variant reduce_distance_sum
#version 460
#extension GL_GOOGLE_include_directive : require
#include "reduce.h"
#define GROUP_SUM_TYPE vec2
#include "group_sum.h"

layout(local_size_x = REDUCE_LANES) in;
layout(push_constant) uniform Push { reduce_norm_push push; };

layout(binding = 0) readonly restrict buffer Partial { vec2 partial[]; }; /* [partials] */
layout(binding = 1) writeonly restrict buffer Result { reduce_distance result; };

void main() {
    vec2 sums = vec2(0);
    for (uint i = gl_LocalInvocationID.x; i < push.partials; i += REDUCE_LANES) sums += partial[i];
    sums = group_sum(sums);
    if (gl_LocalInvocationID.x == 0) result = reduce_distance(sums.y > 0 ? sqrt(sums.x / sums.y) : 0, sums.x, sums.y, 0);
}
