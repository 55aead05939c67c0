/* What the kernels that move rows share (GLSL only): a workgroup is `lanes` x `rows` invocations (specialisation constants 0
 * and 1), an invocation moves units lane, lane + lanes ... of one row; a unit is a vec4 where dim % 4 = 0, else a float. Kernels that
 * only copy move BITS: rows of 16-bit elements, whose padding is part of them, are moved as uvec4 whatever their dim. */
#ifndef IJ_SHADER_MASKS_MOVE_H
#define IJ_SHADER_MASKS_MOVE_H

#include "masks.h"

#if VEC4
#define UNIT vec4
#define BITS uvec4
#else
#define UNIT float
#define BITS uint
#endif

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(push_constant) uniform Push { masks_move_push push; };

uint move_row() { /* dealt out along z, as in row_lanes.h */
    uint group = (gl_WorkGroupID.y * push.groups_x + gl_WorkGroupID.x) * gl_NumWorkGroups.z + gl_WorkGroupID.z;
    return group * gl_WorkGroupSize.y + gl_LocalInvocationID.y;
}

#define FOR_UNITS(u) for (uint u = gl_LocalInvocationID.x; u < push.units; u += gl_WorkGroupSize.x)

#endif
