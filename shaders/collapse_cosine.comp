/* cosine = (sum_d (sum_r x[r, d] / |x[r]|)^2 - rows) / (rows (rows - 1)), one workgroup, a lane a column; rows of zeros do not count in
 * the term that is subtracted. */
//! variant collapse_cosine
#version 460
#extension GL_GOOGLE_include_directive : require
#include "collapse.h"
#define GROUP_SUM_TYPE vec2
#include "group_sum.h"

layout(local_size_x = GROUP_SUM_LANES) in;
layout(push_constant) uniform Push { collapse_cosine_push push; };

layout(binding = 0) readonly restrict buffer X { float x[]; };              /* [rows, dim] */
layout(binding = 1) readonly restrict buffer Inverse { float inverse[]; };  /* [rows] */
layout(binding = 2) writeonly restrict buffer Cosine { float cosine[]; };   /* [1] */

void main() {
    vec2 sums = vec2(0); /* of squares of the column sums, of rows that have a direction */
    for (uint column = gl_LocalInvocationID.x; column < push.dim; column += GROUP_SUM_LANES) {
        float sum = 0;
        for (uint r = 0; r < push.rows; r++) sum += x[r * push.dim + column] * inverse[r];
        sums.x += sum * sum;
    }
    for (uint r = gl_LocalInvocationID.x; r < push.rows; r += GROUP_SUM_LANES) sums.y += inverse[r] > 0 ? 1 : 0;
    sums = group_sum(sums);
    if (gl_LocalInvocationID.x == 0) cosine[0] = (sums.x - sums.y) / (float(push.rows) * float(push.rows - 1));
}
