/* Column statistics of z, a lane a column: centred = z - mean over rows, deviation = sqrt(sum centred^2 / (rows - 1) + eps). */
//! variant collapse_vicreg_centre
#version 460
#extension GL_GOOGLE_include_directive : require
#include "collapse.h"

layout(local_size_x = COLLAPSE_COLUMNS) in;
layout(push_constant) uniform Push { collapse_vicreg_push push; };

layout(binding = 0) readonly restrict buffer Z { float z[]; };                    /* [rows, dim] */
layout(binding = 1) writeonly restrict buffer Centred { float centred[]; };       /* [rows, dim] */
layout(binding = 2) writeonly restrict buffer Deviation { float deviations[]; };  /* [dim] */

void main() {
    uint column = gl_GlobalInvocationID.x;
    if (column >= push.dim) return;
    float sum = 0, squares = 0;
    for (uint r = 0; r < push.rows; r++) sum += z[r * push.dim + column];
    float mean = sum / float(push.rows);
    for (uint r = 0; r < push.rows; r++) {
        float d = z[r * push.dim + column] - mean;
        centred[r * push.dim + column] = d;
        squares += d * d;
    }
    deviations[column] = sqrt(squares / float(push.rows - 1) + push.eps);
}
