/* Element by element:
 *   gelu_fwd:  y[i]  = gelu(x[i])
 *   gelu_bwd:  dx[i] = dy[i] gelu'(x[i])
 * The matrix products do both in their epilogues; these stand alone for measuring and for checking shaders/include/gelu.h. */
//! variant gelu_fwd -DBACKWARD=0
//! variant gelu_bwd -DBACKWARD=1
#version 460
#extension GL_GOOGLE_include_directive : require
#include "eltwise.h"
#include "gelu.h"

layout(local_size_x = ELTWISE_LANES) in;
layout(push_constant) uniform Push { eltwise_push push; };

layout(binding = 0) readonly restrict buffer X { float x[]; };          /* [count] */
#if BACKWARD
layout(binding = 1) readonly restrict buffer DY { float dy[]; };        /* [count] */
layout(binding = 2) writeonly restrict buffer DX { float dx[]; };       /* [count] */
#else
layout(binding = 1) writeonly restrict buffer Y { float y[]; };         /* [count] */
#endif

void main() {
    uint i = gl_GlobalInvocationID.x;
    if (i >= push.count) return;
#if BACKWARD
    dx[i] = dy[i] * gelu_grad(x[i]);
#else
    y[i] = gelu(x[i]);
#endif
}
