/* partial[first + chunk] = sum of x[i]^2 over REDUCE_CHUNK elements, a workgroup a chunk.
 * Compilers may assume that there are no NaNs, so what is not finite is found by its bits, and stands in the partial as infinity. */
//! variant reduce_squares
#version 460
#extension GL_GOOGLE_include_directive : require
#include "reduce.h"
#define GROUP_SUM_TYPE vec2
#include "group_sum.h"

layout(local_size_x = REDUCE_LANES) in;
layout(push_constant) uniform Push { reduce_squares_push push; };

layout(binding = 0) readonly restrict buffer X { float x[]; };              /* [count] */
layout(binding = 1) writeonly restrict buffer Partial { float partial[]; }; /* [partials] */

const uint EXPONENT = 0x7f800000u; /* all ones: infinity or NaN */

void main() {
    uint chunk = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    uint begin = chunk * REDUCE_CHUNK;
    if (begin >= push.count) return;
    float sum = 0, strange = 0;
    for (uint i = gl_LocalInvocationID.x; i < REDUCE_CHUNK; i += REDUCE_LANES) {
        if (i >= push.count - begin) break;
        float value = x[begin + i];
        if ((floatBitsToUint(value) & EXPONENT) == EXPONENT) strange = 1;
        else sum += value * value;
    }
    vec2 sums = group_sum(vec2(sum, strange));
    if (gl_LocalInvocationID.x == 0) partial[push.first + chunk] = sums.y > 0 ? uintBitsToFloat(EXPONENT) : sums.x;
}
