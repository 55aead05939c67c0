/* The partials of reduce_squares.comp, to the norm and whether it is one: lane l adds partials l, l + REDUCE_LANES, ..., then the lanes are added. */
//! variant reduce_norm
#version 460
#extension GL_GOOGLE_include_directive : require
#include "reduce.h"
#define GROUP_SUM_TYPE vec2
#include "group_sum.h"

layout(local_size_x = REDUCE_LANES) in;
layout(push_constant) uniform Push { reduce_norm_push push; };

layout(binding = 0) readonly restrict buffer Partial { float partial[]; };   /* [partials] */
layout(binding = 1) writeonly restrict buffer Result { reduce_norm result; };

const uint EXPONENT = 0x7f800000u; /* all ones: infinity or NaN */

bool strange_bits(float value) { return (floatBitsToUint(value) & EXPONENT) == EXPONENT; }

void main() {
    float sum = 0, strange = 0;
    for (uint i = gl_LocalInvocationID.x; i < push.partials; i += REDUCE_LANES) {
        float value = partial[i];
        if (strange_bits(value)) strange = 1;
        else sum += value;
    }
    vec2 sums = group_sum(vec2(sum, strange));
    if (gl_LocalInvocationID.x != 0) return;
    bool finite = sums.y == 0 && !strange_bits(sums.x);
    result.norm = finite ? sqrt(sums.x) : -1;
    result.sum_squares = finite ? sums.x : -1;
    result.finite = finite ? 1 : 0;
    result.spare = 0;
}
