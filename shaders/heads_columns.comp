/* to[r, c] = x[r, first + c], or (x - mean) / sqrt(variance + eps) with that column's stats; zeros behind the columns. */
//! variant heads_columns
#version 460
#extension GL_GOOGLE_include_directive : require
#include "heads.h"

layout(local_size_x = HEADS_COLUMNS) in;
layout(constant_id = 0) const bool NORMALISE = true;
layout(push_constant) uniform Push { heads_columns_push push; };

layout(binding = 0) readonly restrict buffer X { float x[]; };        /* [rows, width] */
layout(binding = 1) readonly restrict buffer Stats { vec2 stats[]; }; /* [width] mean and variance */
layout(binding = 2) writeonly restrict buffer To { float to[]; };     /* [rows, padded] */

void main() {
    uint column = gl_GlobalInvocationID.x, row = gl_WorkGroupID.y;
    if (column >= push.padded) return;
    float value = 0;
    if (column < push.columns) {
        value = x[row * push.width + push.first + column];
        vec2 of = NORMALISE ? stats[push.first + column] : vec2(0, 1);
        if (NORMALISE) value = (value - of.x) / sqrt(of.y + push.eps);
    }
    to[row * push.padded + column] = value;
}
