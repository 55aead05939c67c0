/* The positions' moments to four numbers, one workgroup; between = sum over patches of (mean - mean over patches)^2 / patches. */
//! variant collapse_position_sum
#version 460
#extension GL_GOOGLE_include_directive : require
#include "collapse.h"
#define GROUP_SUM_TYPE vec3
#include "group_sum.h"

layout(local_size_x = GROUP_SUM_LANES) in;
layout(push_constant) uniform Push { collapse_position_push push; };

layout(binding = 0) readonly restrict buffer Mean { float means[]; };      /* [patches, dim] */
layout(binding = 1) readonly restrict buffer Moments { vec2 moments[]; };  /* [patches, dim] */
layout(binding = 2) writeonly restrict buffer Stats { collapse_position stats; };

void main() {
    vec3 sums = vec3(0); /* within, trivial loss, between */
    for (uint column = gl_LocalInvocationID.x; column < push.dim; column += GROUP_SUM_LANES) {
        float grand = 0;
        for (uint p = 0; p < push.patches; p++) grand += means[p * push.dim + column];
        grand /= float(push.patches);
        for (uint p = 0; p < push.patches; p++) {
            float d = means[p * push.dim + column] - grand;
            sums += vec3(moments[p * push.dim + column], d * d);
        }
    }
    sums = group_sum(sums) / (float(push.patches) * float(push.dim));
    if (gl_LocalInvocationID.x != 0) return;
    stats.within = sums.x;
    stats.trivial_loss = sums.y;
    stats.between = sums.z;
    stats.total = sums.x + sums.z;
}
