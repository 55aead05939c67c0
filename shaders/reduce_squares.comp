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

layout(binding = 0) readonly restrict buffer X { vec4 x[]; };               /* [count / 4] */
layout(binding = 1) writeonly restrict buffer Partial { float partial[]; }; /* [partials] */
layout(binding = 2) readonly restrict buffer Same { float elements[]; };    /* [count]: x again, for its last one to three */

const uint EXPONENT = 0x7f800000u; /* all ones: infinity or NaN */

bvec4 strange_bits(vec4 v) { return equal(floatBitsToUint(v) & EXPONENT, uvec4(EXPONENT)); }

void main() {
    uint chunk = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x, lane = gl_LocalInvocationID.x;
    if (chunk * REDUCE_CHUNK >= push.count) return;
    uint begin = chunk * (REDUCE_CHUNK / 4), end = min(begin + REDUCE_CHUNK / 4, push.count / 4), rest = push.count % 4;
    float strange = 0;
    vec4 parts = vec4(0);
    for (uint i = begin + lane; i < end; i += REDUCE_LANES) {
        vec4 v = x[i];
        if (any(strange_bits(v))) strange = 1;
        else parts += v * v;
    }
    if (lane < rest && (chunk + 1) * REDUCE_CHUNK >= push.count) {
        vec4 v = vec4(elements[push.count - rest + lane], 0, 0, 0);
        if (any(strange_bits(v))) strange = 1;
        else parts += v * v;
    }
    float sum = (parts.x + parts.y) + (parts.z + parts.w);
    vec2 sums = group_sum(vec2(sum, strange));
    if (lane == 0) partial[push.first + chunk] = sums.y > 0 ? uintBitsToFloat(EXPONENT) : sums.x;
}
