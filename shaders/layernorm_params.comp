/* Adds the chunks of layernorm_bwd.comp up, in an order that does not depend on their number:
 *   slice[s] = sum over k of partial[s + k LAYERNORM_SLICES],  dgamma, dbeta (+)= slice[0] + slice[1] + ...
 * A workgroup has LAYERNORM_COLUMNS columns of the 2 dim of a chunk, a lane one column of one slice. */
//! variant layernorm_params
#version 460
#extension GL_GOOGLE_include_directive : require
#include "layernorm.h"

layout(local_size_x = LAYERNORM_COLUMNS, local_size_y = LAYERNORM_SLICES) in;
layout(constant_id = 0) const bool ADD = false;
layout(push_constant) uniform Push { layernorm_push push; };

layout(binding = 0) readonly restrict buffer Partial { float partial[]; };  /* [chunks, 2, dim] */
layout(binding = 1) readonly restrict buffer Offsets { uint offsets[]; };
layout(binding = 2) restrict buffer DGamma { float dgamma[]; };             /* [dim] */
layout(binding = 3) restrict buffer DBeta { float dbeta[]; };               /* [dim] */

shared float slices[LAYERNORM_SLICES][LAYERNORM_COLUMNS];

void main() {
    uint rows = min(push.rows_max, offsets[push.rows_at]);
    uint chunks = (rows + LAYERNORM_CHUNK - 1) / LAYERNORM_CHUNK;
    uint column = gl_GlobalInvocationID.x, slice = gl_LocalInvocationID.y;
    float sum = 0;
    if (column < 2 * push.dim)
        for (uint chunk = slice; chunk < chunks; chunk += LAYERNORM_SLICES) sum += partial[2 * chunk * push.dim + column];
    slices[slice][gl_LocalInvocationID.x] = sum;
    barrier();
    if (slice != 0 || column >= 2 * push.dim) return;
    for (uint s = 1; s < LAYERNORM_SLICES; s++) sum += slices[s][gl_LocalInvocationID.x];
    if (column < push.dim) dgamma[column] = ADD ? dgamma[column] + sum : sum;
    else dbeta[column - push.dim] = ADD ? dbeta[column - push.dim] + sum : sum;
}
