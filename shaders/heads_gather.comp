/* to[r] = from[index[r] - begin] for the rows r whose index is in this part of a larger set; other rows stay as they are. */
//! variant heads_gather
#version 460
#extension GL_GOOGLE_include_directive : require
#include "heads.h"

layout(local_size_x = HEADS_COLUMNS) in;
layout(push_constant) uniform Push { heads_gather_push push; };

layout(binding = 0) readonly restrict buffer From { vec4 from[]; };     /* [count, loads] */
layout(binding = 1) readonly restrict buffer Index { uint index[]; };   /* [rows] */
layout(binding = 2) writeonly restrict buffer To { vec4 to[]; };        /* [rows, loads] */

void main() {
    uint column = gl_GlobalInvocationID.x, row = gl_WorkGroupID.y, source = index[row] - push.begin;
    if (column < push.loads && source < push.count) to[row * push.loads + column] = from[source * push.loads + column];
}
