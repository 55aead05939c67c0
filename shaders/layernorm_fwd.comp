/* LayerNorm, a subgroup a row:
 *   mean = sum_d x[d] / dim
 *   rstd = 1 / sqrt(sum_d (x[d] - mean)^2 / dim + eps)
 *   y[d] = (x[d] - mean) rstd gamma[d] + beta[d]
 * The row stays in registers (LOADS vectors a lane), so the second pass over it costs no memory traffic. */
//! variant layernorm_fwd -DSUBGROUPS=1 -DWIDTH=4
//! variant layernorm_fwd_any -DSUBGROUPS=1 -DWIDTH=1
//! variant layernorm_fwd_shared -DSUBGROUPS=0 -DWIDTH=1
#version 460
#extension GL_GOOGLE_include_directive : require
#include "layernorm.h"
#include "row_lanes.h"

layout(constant_id = 1) const uint LOADS = 1;
layout(constant_id = 2) const bool AFFINE = true;
layout(constant_id = 3) const bool INDEXED = false;
layout(constant_id = 4) const bool KEEP = false; /* mean and rstd, for the backward pass */
layout(constant_id = 5) const uint ELEMENT = ELEMENT_WORD; /* of y */
const bool HALF = ELEMENT != ELEMENT_WORD;
layout(push_constant) uniform Push { layernorm_push push; };

layout(binding = 0) readonly restrict buffer X { fvec x[]; };              /* [rows of x, dim] */
layout(binding = 1) readonly restrict buffer Index { uint index[]; };      /* [rows] */
layout(binding = 2) readonly restrict buffer Gamma { fvec gamma[]; };      /* [dim] */
layout(binding = 3) readonly restrict buffer Beta { fvec beta[]; };        /* [dim] */
layout(binding = 4) readonly restrict buffer Offsets { uint offsets[]; };
layout(binding = 5) writeonly restrict buffer Y { fvec y[]; };             /* [rows, dim], or ... */
layout(binding = 6) writeonly restrict buffer Mean { float means[]; };     /* [rows] */
layout(binding = 7) writeonly restrict buffer Rstd { float rstds[]; };     /* [rows] */
layout(binding = 8) writeonly restrict buffer YHalf { hvec y_half[]; };    /* ... [rows, dim] in 16 bits */

void main() {
    uint rows = min(push.rows_max, offsets[push.rows_at]);
    uint first = group_index() * ROWS_PER_GROUP;
    if (first >= rows) return;
    uint row = min(first + row_slot(), rows - 1); /* spare slots repeat the last row and write nothing: sums stay in uniform flow */
    bool mine = first + row_slot() < rows;
    uint source = (INDEXED ? index[row] : row) * push.columns;

    fvec v[LOADS];
    fvec parts = fvec(0);
    for (uint i = 0; i < LOADS; i++) {
        uint column = row_column(i, HALF);
        v[i] = fvec(0);
        if (column < push.columns) v[i] = x[source + column];
        parts += v[i];
    }
    float mean = row_sum(fvec_sum(parts)) / float(push.dim);
    parts = fvec(0);
    for (uint i = 0; i < LOADS; i++) {
        v[i] -= mean;
        if (row_column(i, HALF) < push.columns) parts += v[i] * v[i];
    }
    float rstd = 1.0 / sqrt(row_sum(fvec_sum(parts)) / float(push.dim) + push.eps);
    if (!mine) return;
    fvec before = fvec(0);
    for (uint i = 0; i < LOADS; i++) {
        uint column = row_column(i, HALF);
        fvec value = fvec(0);
        if (column < push.columns) {
            value = v[i] * rstd;
            if (AFFINE) value = value * gamma[column] + beta[column];
            if (!HALF) y[row * push.columns + column] = value;
        }
        if (HALF) {
            ROW_STORE_HALF(y_half, ELEMENT, row, i, column, before, value)
            before = value;
        }
    }
    if (HALF) {
        ROW_PAD_HALF(y_half, row)
    }
    if (KEEP && row_lane() == 0) {
        means[row] = mean;
        rstds[row] = rstd;
    }
}
