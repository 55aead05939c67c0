/* inverse[r] = 1 / |x[r]|, a subgroup a row; 0 for a row of zeros. */
//! variant collapse_lengths -DSUBGROUPS=1 -DWIDTH=4
//! variant collapse_lengths_any -DSUBGROUPS=1 -DWIDTH=1
//! variant collapse_lengths_shared -DSUBGROUPS=0 -DWIDTH=1
#version 460
#extension GL_GOOGLE_include_directive : require
#include "row_lanes.h"
#include "collapse.h"

layout(constant_id = 1) const uint LOADS = 1;
layout(push_constant) uniform Push { collapse_cosine_push push; };

layout(binding = 0) readonly restrict buffer X { fvec x[]; };                /* [rows, dim] */
layout(binding = 1) writeonly restrict buffer Inverse { float inverse[]; };  /* [rows] */

void main() {
    uint row = group_index() * ROWS_PER_GROUP + row_slot();
    fvec parts = fvec(0);
    for (uint i = 0; i < LOADS; i++) {
        uint column = i * ROW_LANES + row_lane();
        if (row >= push.rows || column >= push.columns) continue;
        fvec value = x[row * push.columns + column];
        parts += value * value;
    }
    float squares = row_sum(fvec_sum(parts));
    if (row < push.rows && row_lane() == 0) inverse[row] = squares > 0 ? 1.0 / sqrt(squares) : 0;
}
