/* out[k, n] = in[n, k]: the weights of a product NT, turned so that matmul_vector reads them along n.
 *
 * One subgroup a workgroup and LANES x LANES elements: rows are read across the lanes (see matmul_vector) and scattered to columns,
 * all of them into the same LANES cache lines. */
//! variant matmul_transpose
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_KHR_shader_subgroup_basic : require
#define MATMUL_BY_ADDRESS
#include "matmul.h"

layout(local_size_x_id = MATMUL_SPEC_THREADS) in;
layout(constant_id = MATMUL_SPEC_THREADS) const uint LANES = 16;
layout(push_constant) uniform Push { matmul_transpose_push push; };
layout(binding = 1) writeonly buffer Out { float result[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Floats { float v[]; };

void main() {
    uint lane = gl_SubgroupInvocationID;
    uint row = gl_WorkGroupID.y * LANES, column = gl_WorkGroupID.x * LANES, mine = column + lane;
    [[unroll]] for (uint i = 0; i < LANES; i++) { /* rows beyond the last: the last one again */
        uint from = min(row + i, push.rows - 1);
        Floats source = Floats(push.from + 4 * (uint64_t(from) * uint64_t(push.columns) + column));
        float value = 0;
        [[unroll]] for (uint l = 0; l < LANES; l++) value = mix(value, source.v[l], lane == l);
        if (mine < push.columns) result[mine * push.rows + from] = value;
    }
}
