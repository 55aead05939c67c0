/* partial = sums of squares of the weights and of the gradient over a chunk of a head, a workgroup a chunk. */
//! variant heads_squares
#version 460
#extension GL_GOOGLE_include_directive : require
#include "heads.h"
#define GROUP_SUM_TYPE vec2
#include "group_sum.h"

layout(local_size_x = HEADS_LANES) in;
layout(push_constant) uniform Push { heads_update_push push; };

layout(binding = 0) readonly restrict buffer P { float p[]; };                 /* [heads, count] */
layout(binding = 1) readonly restrict buffer G { float g[]; };                 /* [heads, count] */
layout(binding = 2) writeonly restrict buffer Partial { vec2 partial[]; };     /* [heads, chunks] */

void main() {
    uint chunk = gl_WorkGroupID.x, head = gl_WorkGroupID.y, end = min((chunk + 1) * HEADS_CHUNK, push.count);
    vec2 sum = vec2(0);
    for (uint i = chunk * HEADS_CHUNK + gl_LocalInvocationID.x; i < end; i += HEADS_LANES) {
        vec2 both = vec2(p[head * push.count + i], g[head * push.count + i]);
        sum += both * both;
    }
    sum = group_sum(sum);
    if (gl_LocalInvocationID.x == 0) partial[head * push.chunks + chunk] = sum;
}
