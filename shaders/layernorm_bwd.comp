/* LayerNorm backward, a subgroup for LAYERNORM_CHUNK rows one after the other:
 *   xhat = (x - mean) rstd,  g = dy gamma
 *   dx (+)= rstd (g - sum_d g / dim - xhat sum_d(g xhat) / dim),  dx_half = dx rounded
 *   partial[chunk] = { sum over the chunk's rows of dy xhat, of dy }
 * Every lane keeps its columns' parameter gradients in registers, so x and dy are read once for both results. The chunks are
 * added up by layernorm_params.comp. */
//! variant layernorm_bwd -DSUBGROUPS=1 -DWIDTH=4
//! variant layernorm_bwd_any -DSUBGROUPS=1 -DWIDTH=1
//! variant layernorm_bwd_shared -DSUBGROUPS=0 -DWIDTH=1
#version 460
#extension GL_GOOGLE_include_directive : require
#include "layernorm.h"
#include "row_lanes.h"

layout(constant_id = 1) const uint LOADS = 1;
layout(constant_id = 2) const bool AFFINE = true;
layout(constant_id = 3) const bool ADD = false;
layout(constant_id = 4) const bool PARAMS = true;
layout(constant_id = 5) const uint ELEMENT = ELEMENT_WORD; /* of dy */
layout(constant_id = 6) const uint COPY = ELEMENT_WORD;    /* of a second dx, rounded; ELEMENT_WORD: none */
const bool COPIED = COPY != ELEMENT_WORD;
const bool PAIRS = COPIED || ELEMENT != ELEMENT_WORD;
layout(push_constant) uniform Push { layernorm_push push; };

layout(binding = 0) readonly restrict buffer X { fvec x[]; };               /* [rows, dim] */
layout(binding = 1) readonly restrict buffer DY { fvec dy[]; };             /* [rows, dim], or binding 8 */
layout(binding = 2) readonly restrict buffer Gamma { fvec gamma[]; };       /* [dim] */
layout(binding = 3) readonly restrict buffer Mean { float means[]; };       /* [rows] */
layout(binding = 4) readonly restrict buffer Rstd { float rstds[]; };       /* [rows] */
layout(binding = 5) readonly restrict buffer Offsets { uint offsets[]; };
layout(binding = 6) restrict buffer DX { fvec dx[]; };                      /* [rows, dim] */
layout(binding = 7) writeonly restrict buffer Partial { fvec partial[]; };  /* [chunks, 2, dim] */
layout(binding = 8) readonly restrict buffer DYHalf { hvec dy_half[]; };    /* [rows, dim] in 16 bits */
layout(binding = 9) writeonly restrict buffer DXHalf { hvec dx_half[]; };   /* [rows, dim] in 16 bits */


void main() {
    uint rows = min(push.rows_max, offsets[push.rows_at]);
    uint chunk = group_index() * ROWS_PER_GROUP + row_slot();
    if (group_index() * ROWS_PER_GROUP * LAYERNORM_CHUNK >= rows) return;

    fvec dgamma[LOADS], dbeta[LOADS];
    for (uint i = 0; i < LOADS; i++) dgamma[i] = dbeta[i] = fvec(0);
    for (uint r = 0; r < LAYERNORM_CHUNK; r++) {
        bool mine = chunk * LAYERNORM_CHUNK + r < rows; /* else: repeat the last row and keep nothing of it */
        uint row = min(chunk * LAYERNORM_CHUNK + r, rows - 1);
        float mean = means[row], rstd = rstds[row];
        fvec g[LOADS], xhat[LOADS];
        fvec g_parts = fvec(0), gx_parts = fvec(0);
        hvec word = hvec(0);
        for (uint i = 0; i < LOADS; i++) {
            uint column = row_column(i, PAIRS);
            g[i] = xhat[i] = fvec(0);
            if (column >= push.columns) continue;
            xhat[i] = (x[row * push.columns + column] - mean) * rstd;
            if (ELEMENT == ELEMENT_WORD) g[i] = dy[row * push.columns + column];
            else g[i] = ROW_LOAD_HALF(dy_half, ELEMENT, row, i, column, word);
            if (PARAMS && mine) {
                dgamma[i] += g[i] * xhat[i];
                dbeta[i] += g[i];
            }
            if (AFFINE) g[i] *= gamma[column]; /* not kept across rows: with 4 lanes that takes more registers than LLVM can copy */
            g_parts += g[i];
            gx_parts += g[i] * xhat[i];
        }
        vec2 sums = row_sum(vec2(fvec_sum(g_parts), fvec_sum(gx_parts))) / float(push.dim);
        fvec before = fvec(0);
        for (uint i = 0; i < LOADS; i++) {
            uint column = row_column(i, PAIRS);
            fvec value = fvec(0);
            if (column < push.columns && mine) {
                value = rstd * (g[i] - sums.x - xhat[i] * sums.y);
                uint at = row * push.columns + column;
                if (ADD) value += dx[at];
                dx[at] = value;
            }
            if (COPIED && mine) {
                ROW_STORE_HALF(dx_half, COPY, row, i, column, before, value)
                before = value;
            }
        }
        if (COPIED && mine) {
            ROW_PAD_HALF(dx_half, row)
        }
    }
    if (!PARAMS || chunk * LAYERNORM_CHUNK >= rows) return;
    for (uint i = 0; i < LOADS; i++) {
        uint column = row_column(i, PAIRS);
        if (column >= push.columns) continue;
        partial[2 * chunk * push.columns + column] = dgamma[i];
        partial[(2 * chunk + 1) * push.columns + column] = dbeta[i];
    }
}
