/* The term's value, one workgroup: variance = sum_d relu(gamma - deviation[d]) / dim, covariance = sum of the tiles' squares / dim. */
//! variant collapse_vicreg_sum
#version 460
#extension GL_GOOGLE_include_directive : require
#include "collapse.h"
#define GROUP_SUM_TYPE vec2
#include "group_sum.h"

layout(local_size_x = GROUP_SUM_LANES) in;
layout(push_constant) uniform Push { collapse_vicreg_push push; };

layout(binding = 0) readonly restrict buffer Deviation { float deviations[]; };  /* [dim] */
layout(binding = 1) readonly restrict buffer Partial { float partial[]; };       /* [tiles, tiles] */
layout(binding = 2) writeonly restrict buffer Loss { collapse_vicreg result; };

void main() {
    uint tiles = (push.dim + COLLAPSE_TILE - 1) / COLLAPSE_TILE;
    vec2 sums = vec2(0);
    for (uint d = gl_LocalInvocationID.x; d < push.dim; d += GROUP_SUM_LANES) sums.x += max(push.gamma - deviations[d], 0.0);
    for (uint t = gl_LocalInvocationID.x; t < tiles * tiles; t += GROUP_SUM_LANES) sums.y += partial[t];
    sums = group_sum(sums) / float(push.dim);
    if (gl_LocalInvocationID.x != 0) return;
    result.variance = sums.x;
    result.covariance = sums.y;
    result.loss = push.weight * (sums.x + push.covariance_weight * sums.y);
    result.spare = 0;
}
