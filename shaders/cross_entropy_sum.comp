/* A workgroup a head: loss[h] (+)= scale / counted rows x sum of the rows' losses, right[h] (+)= rows that are right, counted = rows with
 * a label. Lane l adds rows l, l + CROSS_ENTROPY_LANES, ..., then the lanes are added: the order does not depend on the number of rows. */
//! variant cross_entropy_sum
#version 460
#extension GL_GOOGLE_include_directive : require
#include "cross_entropy.h"
#define GROUP_SUM_TYPE vec3
#include "group_sum.h"

layout(local_size_x = CROSS_ENTROPY_LANES) in;
layout(constant_id = 0) const bool ACCUMULATE = false;
layout(constant_id = 1) const bool RIGHT = true; /* right is wanted */
layout(constant_id = 2) const bool RAGGED = true;
layout(push_constant) uniform Push { cross_entropy_push push; };

layout(binding = 0) readonly restrict buffer Stats { vec4 stats[]; };         /* [rows, heads] */
layout(binding = 1) readonly restrict buffer Labels { uint labels[]; };       /* [rows] */
layout(binding = 2) readonly restrict buffer Offsets { uint offsets[]; };
layout(binding = 3) restrict buffer Loss { float loss[]; };                   /* [heads] */
layout(binding = 4) restrict buffer Right { uint right[]; };                  /* [heads] */
layout(binding = 5) writeonly restrict buffer Counted { uint counted[]; };    /* [1] */

void main() {
    uint rows = RAGGED ? min(push.rows_max, offsets[push.rows_at]) : push.rows_max, head = gl_WorkGroupID.x;
    vec3 sum = vec3(0); /* losses, right, counted: the counts are below 2^24, so exact */
    for (uint row = gl_LocalInvocationID.x; row < rows; row += CROSS_ENTROPY_LANES)
        sum += vec3(stats[row * push.heads + head].zw, labels[row] < push.classes ? 1 : 0);
    sum = group_sum(sum);
    if (gl_LocalInvocationID.x != 0) return;
    float value = sum.x * (push.scale / max(sum.z, 1.0));
    loss[head] = ACCUMULATE ? loss[head] + value : value;
    if (RIGHT) right[head] = ACCUMULATE ? right[head] + uint(sum.y) : uint(sum.y);
    if (head == 0) counted[0] = uint(sum.z);
}
