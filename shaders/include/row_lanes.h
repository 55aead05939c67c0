/* Kernels in which a subgroup takes a row: [rows, dim], one row over ROW_LANES lanes, nothing crosses a row but its sums.
 *
 * SUBGROUPS=1  the lanes of a row are a subgroup, whatever its size: sums by subgroupAdd, no barrier, no shared memory.
 * SUBGROUPS=0  devices without subgroup arithmetic: the lanes are a slice of the workgroup; each lane leaves its part in shared
 *              memory and reads all parts of its row back in lane order.
 * WIDTH        elements that a lane loads at once, 4 or 1 (dim not a multiple of 4); `fvec` is a vector of as many.
 * The plan on the host's side is src/ops/rows.h. Control flow around row_sum must be uniform over the workgroup. */
#ifndef IJ_SHADER_ROW_LANES_H
#define IJ_SHADER_ROW_LANES_H

#define ROW_GROUP 128 /* invocations of a workgroup: one to four subgroups on GPUs, so that small problems spread */

#ifndef __STDC__
#if SUBGROUPS
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif

layout(local_size_x = ROW_GROUP) in;
layout(constant_id = 0) const uint ROW_LANES = 32; /* with SUBGROUPS: the subgroup size */
const uint ROWS_PER_GROUP = ROW_GROUP / ROW_LANES;

#if WIDTH == 4
#define fvec vec4
float fvec_sum(vec4 v) { return (v.x + v.y) + (v.z + v.w); }
#else
#define fvec float
float fvec_sum(float v) { return v; }
#endif

/* Workgroups are dispatched as a plane, because an axis may be limited to 65,535; along z they are dealt out in turn, so that
 * each thread of a CPU driver, which gets a contiguous share, has as many of the rows that exist (src/ops/rows.h). */
uint group_index() { return (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * gl_NumWorkGroups.z + gl_WorkGroupID.z; }

#if SUBGROUPS
uint row_slot() { return gl_SubgroupID; } /* which of the workgroup's rows */
uint row_lane() { return gl_SubgroupInvocationID; }
vec2 row_sum(vec2 v) { return subgroupAdd(v); }
float row_sum(float v) { return subgroupAdd(v); }
#else
uint row_slot() { return gl_LocalInvocationIndex / ROW_LANES; }
uint row_lane() { return gl_LocalInvocationIndex % ROW_LANES; }
shared vec2 row_parts[ROW_GROUP];
vec2 row_sum(vec2 v) {
    row_parts[gl_LocalInvocationIndex] = v;
    barrier();
    vec2 sum = vec2(0);
    for (uint i = 0; i < ROW_LANES; i++) sum += row_parts[row_slot() * ROW_LANES + i];
    barrier(); /* the next call overwrites */
    return sum;
}
float row_sum(float v) { return row_sum(vec2(v, 0)).x; }
#endif
#endif

#endif
