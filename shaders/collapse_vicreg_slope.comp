/* C = centred^T centred / (rows - 1), a workgroup a tile of C, and from it the matrix S of the gradient dz = centred S:
 *   S[i, j] = weight covariance_weight 4 C[i, j] / (dim (rows - 1))          i != j
 *   S[d, d] = -weight / (dim (rows - 1) deviation[d])                        where deviation[d] < gamma, else 0
 *   partial[tile] = sum of C[i, j]^2 over its i != j
 * Centring has no term of its own in dz: the columns of centred S already have mean 0. */
//! variant collapse_vicreg_slope
#version 460
#extension GL_GOOGLE_include_directive : require
#include "collapse.h"
#include "group_sum.h"

layout(local_size_x = COLLAPSE_TILE, local_size_y = COLLAPSE_TILE) in;
layout(push_constant) uniform Push { collapse_vicreg_push push; };

layout(binding = 0) readonly restrict buffer Centred { float centred[]; };       /* [rows, dim] */
layout(binding = 1) readonly restrict buffer Deviation { float deviations[]; };  /* [dim] */
layout(binding = 2) writeonly restrict buffer Slope { float slope[]; };          /* [dim, dim] */
layout(binding = 3) writeonly restrict buffer Partial { float partial[]; };      /* [tiles, tiles] */

shared float left[COLLAPSE_TILE][COLLAPSE_TILE], right[COLLAPSE_TILE][COLLAPSE_TILE];

void main() {
    uint x = gl_LocalInvocationID.x, y = gl_LocalInvocationID.y;
    uint j = gl_GlobalInvocationID.x, i = gl_GlobalInvocationID.y, i_base = gl_WorkGroupID.y * COLLAPSE_TILE;
    float sum = 0;
    for (uint base = 0; base < push.rows; base += COLLAPSE_TILE) {
        uint row = base + y;
        left[y][x] = row < push.rows && i_base + x < push.dim ? centred[row * push.dim + i_base + x] : 0;
        right[y][x] = row < push.rows && j < push.dim ? centred[row * push.dim + j] : 0;
        barrier();
        for (uint r = 0; r < COLLAPSE_TILE; r++) sum += left[r][y] * right[r][x];
        barrier();
    }
    float c = sum / float(push.rows - 1), share = push.weight / (float(push.dim) * float(push.rows - 1));
    bool inside = i < push.dim && j < push.dim;
    float value = 4 * push.covariance_weight * share * c;
    if (i == j) {
        float deviation = inside ? deviations[i] : push.gamma;
        value = deviation < push.gamma ? -share / deviation : 0;
        c = 0;
    }
    if (inside) slope[i * push.dim + j] = value;
    float squares = group_sum(c * c); /* what lies outside is 0 */
    if (x == 0 && y == 0) partial[gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x] = squares;
}
