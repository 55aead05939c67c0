/* Kernels in which a subgroup takes a row: [rows, dim], one row over ROW_LANES lanes, nothing crosses a row but its sums.
 *
 * SUBGROUPS=1  the lanes of a row are a subgroup, whatever its size: sums by subgroupAdd, no barrier, no shared memory.
 * SUBGROUPS=0  devices without subgroup arithmetic: the lanes are a slice of the workgroup; each lane leaves its part in shared
 *              memory and reads all parts of its row back in lane order.
 * WIDTH        elements that a lane loads at once, 4 or 1 (dim not a multiple of 4); `fvec` is a vector of as many.
 *
 * 16-bit tensors: `hvec` holds four elements, or two where WIDTH is 1. A word has two elements and must be written by one lane, so
 * with WIDTH 1 a kernel that writes them deals columns out in pairs (row_column, an even number of loads: rows_plan_pairs).
 *
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

#if WIDTH == 4
#define hvec uvec2
#else
#define hvec uint
#endif
#include "half.h"

/* The column of load i, in loads. */
uint row_column(uint i, bool pairs) {
#if WIDTH == 1
    if (pairs) return 2 * ((i / 2) * ROW_LANES + row_lane()) + i % 2;
#endif
    return i * ROW_LANES + row_lane();
}

/* What a lane has of `row` at `column` = row_column(i, true). With WIDTH 1 it loads at every second i and keeps the `word`. */
#if WIDTH == 4
#define ROW_LOAD_HALF(from, element, row, i, column, word) unpack_half4(element, from[(row) * (half_row(push.dim) / 4) + (column)])
#else
#define ROW_LOAD_HALF(from, element, row, i, column, word)                                                                                 \
    unpack_half(element, ((i) & 1) == 0 ? word = from[(row) * (half_row(push.dim) / 2) + (column) / 2] : word >> 16).x
#endif

/* Stores what a lane has for `column` = row_column(i, true) of `row`. With WIDTH 1 it does so at every second i: `before` is the value
 * at i - 1, and a value behind the row must be 0. ROW_PAD_HALF stores the zeros behind a row (up to 3 words; a row has 4 lanes or
 * more); once a row and not in the loop over loads, which is unrolled. */
#if WIDTH == 4
#define ROW_STORE_HALF(to, element, row, i, column, before, value)                                                                         \
    if ((column) < push.columns) to[(row) * (half_row(push.dim) / 4) + (column)] = pack_half4(element, value);
#define ROW_PAD_HALF(to, row)                                                                                                              \
    if (push.columns + row_lane() < half_row(push.dim) / 4) to[(row) * (half_row(push.dim) / 4) + push.columns + row_lane()] = uvec2(0);
#else
#define ROW_STORE_HALF(to, element, row, i, column, before, value)                                                                         \
    if (((i) & 1) != 0 && (column) - 1 < push.columns)                                                                                     \
        to[(row) * (half_row(push.dim) / 2) + (column) / 2] = pack_half(element, vec2(before, value));
#define ROW_PAD_HALF(to, row)                                                                                                              \
    if ((push.dim + 1) / 2 + row_lane() < half_row(push.dim) / 2)                                                                          \
        to[(row) * (half_row(push.dim) / 2) + (push.dim + 1) / 2 + row_lane()] = 0;
#endif
#endif

#endif
