/* Mean and variance of each column over the rows, in two passes: lane s of a column adds rows s, s + HEADS_STAT_SLICES, ..., then
 * the lanes are added in order.
 *   batch = (mean, sum of squares / rows),  running += momentum ((mean, sum of squares / (rows - 1)) - running) */
//! variant heads_stats
#version 460
#extension GL_GOOGLE_include_directive : require
#include "heads.h"

layout(local_size_x = HEADS_STAT_COLUMNS, local_size_y = HEADS_STAT_SLICES) in;
layout(push_constant) uniform Push { heads_stats_push push; };

layout(binding = 0) readonly restrict buffer X { float x[]; };         /* [rows, width] */
layout(binding = 1) writeonly restrict buffer Batch { vec2 batch[]; }; /* [width] */
layout(binding = 2) restrict buffer Running { vec2 running[]; };       /* [width] */

shared float slices[HEADS_STAT_SLICES][HEADS_STAT_COLUMNS];

float column_sum(float part) {
    slices[gl_LocalInvocationID.y][gl_LocalInvocationID.x] = part;
    barrier();
    float sum = 0;
    for (uint s = 0; s < HEADS_STAT_SLICES; s++) sum += slices[s][gl_LocalInvocationID.x];
    barrier(); /* the next call overwrites */
    return sum;
}

void main() {
    uint column = gl_GlobalInvocationID.x;
    uint rows = column < push.width ? push.rows : 0;
    float part = 0;
    for (uint row = gl_LocalInvocationID.y; row < rows; row += HEADS_STAT_SLICES) part += x[row * push.width + column];
    float mean = column_sum(part) / float(push.rows);
    part = 0;
    for (uint row = gl_LocalInvocationID.y; row < rows; row += HEADS_STAT_SLICES) {
        float d = x[row * push.width + column] - mean;
        part += d * d;
    }
    float squares = column_sum(part);
    if (rows == 0 || gl_LocalInvocationID.y != 0) return;
    batch[column] = vec2(mean, squares / float(push.rows));
    running[column] += push.momentum * (vec2(mean, squares / float(push.rows - 1)) - running[column]);
}
