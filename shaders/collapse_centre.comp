/* y[image, patch, :] = x[image, patch, :] - mean[image, :], a lane a column of a row. */
//! variant collapse_centre
#version 460
#extension GL_GOOGLE_include_directive : require
#include "collapse.h"

layout(local_size_x = COLLAPSE_COLUMNS) in;
layout(push_constant) uniform Push { collapse_position_push push; };

layout(binding = 0) readonly restrict buffer X { float x[]; };       /* [images, patches, dim] */
layout(binding = 1) readonly restrict buffer Mean { float mean[]; }; /* [images, dim] */
layout(binding = 2) writeonly restrict buffer Y { float y[]; };      /* like x */

void main() {
    uint column = gl_GlobalInvocationID.x, patch_index = gl_WorkGroupID.y, image = gl_WorkGroupID.z;
    if (column >= push.dim) return;
    uint at = (image * push.patches + patch_index) * push.dim + column;
    y[at] = x[at] - mean[image * push.dim + column];
}
