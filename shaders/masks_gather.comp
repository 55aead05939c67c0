/* gather_rows:   out[r, :] = x[rows[r], :]
 *                (f32, f16 or bf16: bits are copied)
 * add_positions: out[r, :] += x[(indexed ? rows[r] : r) % patches, :]      out: tokens, x: positions */
//! variant gather_rows -DADD=0 -DVEC4=0
//! variant gather_rows_vec4 -DADD=0 -DVEC4=1
//! variant add_positions -DADD=1 -DVEC4=0
//! variant add_positions_vec4 -DADD=1 -DVEC4=1
#version 460
#extension GL_GOOGLE_include_directive : require
#include "masks_move.h"

layout(binding = 0) readonly restrict buffer Offsets { uint offsets[]; };
#if !ADD
#define UNIT_MOVED BITS
#else
#define UNIT_MOVED UNIT
#endif
layout(binding = 1) readonly restrict buffer X { UNIT_MOVED x[]; }; /* [*, dim] */
layout(binding = 2) readonly restrict buffer Rows { uint rows[]; }; /* [rows_max] */
#if ADD
layout(binding = 3) restrict buffer Out { UNIT_MOVED y[]; };           /* [rows_max, dim] */
#else
layout(binding = 3) writeonly restrict buffer Out { UNIT_MOVED y[]; }; /* [rows_max, dim] */
#endif

void main() {
    uint row = move_row();
    if (row >= min(push.rows_max, offsets[push.rows_at])) return;
#if ADD
    uint from = row;
    if (push.indexed != 0) from = rows[row]; /* else `rows` is bound to a dummy */
    from %= push.patches;
    FOR_UNITS(u) y[row * push.units + u] += x[from * push.units + u];
#else
    uint from = rows[row];
    FOR_UNITS(u) y[row * push.units + u] = x[from * push.units + u];
#endif
}
