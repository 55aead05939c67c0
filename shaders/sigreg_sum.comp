/* The mean of the directions' statistics, one workgroup. */
//! variant sigreg_sum
#version 460
#extension GL_GOOGLE_include_directive : require
#include "sigreg.h"
#include "group_sum.h"

layout(local_size_x = GROUP_SUM_LANES) in;
layout(push_constant) uniform Push { sigreg_push push; };

layout(binding = 0) readonly restrict buffer Statistic { float statistic[]; }; /* [directions] */
layout(binding = 1) writeonly restrict buffer Result { sigreg_result result; };

void main() {
    float sum = 0;
    for (uint m = gl_LocalInvocationID.x; m < push.directions; m += GROUP_SUM_LANES) sum += statistic[m];
    float mean = group_sum(sum) / float(push.directions);
    if (gl_LocalInvocationID.x == 0) result = sigreg_result(push.weight * mean, mean, 0, 0);
}
