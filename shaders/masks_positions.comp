/* x[r, :] += pos[(indexed ? rows[r] : r) % patches, :]
 * The patch embedding adds positions in its product's epilogue; the collapse monitor's trivial predictor is made with this. */
//! variant add_positions -DVEC4=0
//! variant add_positions_vec4 -DVEC4=1
#version 460
#extension GL_GOOGLE_include_directive : require
#include "masks_move.h"

layout(binding = 0) readonly restrict buffer Offsets { uint offsets[]; };
layout(binding = 1) readonly restrict buffer Pos { UNIT pos[]; };   /* [patches, dim] */
layout(binding = 2) readonly restrict buffer Rows { uint rows[]; }; /* [rows_max] */
layout(binding = 3) restrict buffer X { UNIT x[]; };                /* [rows_max, dim] */

void main() {
    uint row = move_row();
    if (row >= min(push.rows_max, offsets[push.rows_at])) return;
    uint from = row;
    if (push.indexed != 0) from = rows[row]; /* else `rows` is bound to a dummy */
    from %= push.patches;
    FOR_UNITS(u) x[row * push.units + u] += pos[from * push.units + u];
}
