/* dz (+)= centred S: [rows, dim] x [dim, dim], a workgroup a tile. Small (rows <= some hundred), so plain. */
//! variant collapse_vicreg_grad
#version 460
#extension GL_GOOGLE_include_directive : require
#include "collapse.h"

layout(local_size_x = COLLAPSE_TILE, local_size_y = COLLAPSE_TILE) in;
layout(constant_id = 0) const bool ADD = false;
layout(push_constant) uniform Push { collapse_vicreg_push push; };

layout(binding = 0) readonly restrict buffer Centred { float centred[]; };  /* [rows, dim] */
layout(binding = 1) readonly restrict buffer Slope { float slope[]; };      /* [dim, dim] */
layout(binding = 2) restrict buffer DZ { float dz[]; };                     /* [rows, dim] */

shared float left[COLLAPSE_TILE][COLLAPSE_TILE], right[COLLAPSE_TILE][COLLAPSE_TILE];

void main() {
    uint x = gl_LocalInvocationID.x, y = gl_LocalInvocationID.y, column = gl_GlobalInvocationID.x, row = gl_GlobalInvocationID.y;
    float sum = 0;
    for (uint base = 0; base < push.dim; base += COLLAPSE_TILE) {
        left[y][x] = row < push.rows && base + x < push.dim ? centred[row * push.dim + base + x] : 0;
        right[y][x] = base + y < push.dim && column < push.dim ? slope[(base + y) * push.dim + column] : 0;
        barrier();
        for (uint k = 0; k < COLLAPSE_TILE; k++) sum += left[y][k] * right[k][x];
        barrier();
    }
    if (row >= push.rows || column >= push.dim) return;
    uint at = row * push.dim + column;
    dz[at] = ADD ? dz[at] + sum : sum;
}
