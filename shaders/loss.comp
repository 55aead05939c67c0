/* d = prediction - target, a subgroup for LOSS_CHUNK rows one after the other:
 *   dprediction = loss scale x scale / divisor f'(d),  row_loss = sum_d f(d) / dim,  partial[chunk] = sum of the chunk's f(d) */
//! variant loss -DSUBGROUPS=1 -DWIDTH=4
//! variant loss_any -DSUBGROUPS=1 -DWIDTH=1
//! variant loss_shared -DSUBGROUPS=0 -DWIDTH=1
#version 460
#extension GL_GOOGLE_include_directive : require
#include "row_lanes.h"
#include "loss.h"
#include "optim.h"

layout(constant_id = 1) const uint LOADS = 1;
layout(constant_id = 2) const uint KIND = LOSS_SMOOTH_L1;
layout(constant_id = 3) const bool GRADIENT = true;
layout(constant_id = 4) const bool ROW_LOSS = false;
layout(constant_id = 5) const uint ELEMENT = ELEMENT_WORD; /* of dprediction */
layout(constant_id = 6) const bool SCALED = false;         /* there is a loss scale */
const bool HALF = GRADIENT && ELEMENT != ELEMENT_WORD;
layout(push_constant) uniform Push { loss_push push; };

layout(binding = 0) readonly restrict buffer Prediction { fvec prediction[]; };    /* [rows, dim] */
layout(binding = 1) readonly restrict buffer Target { fvec target[]; };            /* [rows, dim] */
layout(binding = 2) readonly restrict buffer Offsets { uint offsets[]; };
layout(binding = 3) writeonly restrict buffer DPrediction { fvec dprediction[]; }; /* [rows, dim], or ... */
layout(binding = 4) writeonly restrict buffer RowLoss { float row_loss[]; };       /* [rows] */
layout(binding = 5) writeonly restrict buffer Partial { float partial[]; };        /* [chunks] */
layout(binding = 6) writeonly restrict buffer Half { hvec dprediction_half[]; };   /* ... [rows, dim] in 16 bits */
layout(binding = 7) readonly restrict buffer Scale { optim_scale loss_scale; };

void main() {
    uint rows = min(push.rows_max, offsets[push.rows_at]);
    uint chunk = group_index() * ROWS_PER_GROUP + row_slot();
    if (group_index() * ROWS_PER_GROUP * LOSS_CHUNK >= rows) return;
    float weight = push.scale / (push.divisor > 0 ? push.divisor : float(rows) * float(push.dim)), grad_weight = weight;
    if (SCALED) grad_weight *= loss_scale.scale;

    float chunk_sum = 0;
    for (uint r = 0; r < LOSS_CHUNK; r++) {
        uint row = chunk * LOSS_CHUNK + r;
        fvec parts = fvec(0), before = fvec(0);
        for (uint i = 0; i < LOADS; i++) {
            uint column = row_column(i, HALF);
            fvec value = fvec(0);
            if (row < rows && column < push.columns) {
                uint at = row * push.columns + column;
                fvec d = prediction[at] - target[at];
                parts += loss_value(KIND, d);
                value = grad_weight * loss_derivative(KIND, d);
                if (GRADIENT && !HALF) dprediction[at] = value;
            }
            if (HALF && row < rows) {
                ROW_STORE_HALF(dprediction_half, ELEMENT, row, i, column, before, value)
                before = value;
            }
        }
        if (HALF && row < rows) {
            ROW_PAD_HALF(dprediction_half, row)
        }
        float sum = row_sum(fvec_sum(parts));
        chunk_sum += sum;
        if (ROW_LOSS && row < rows && row_lane() == 0) row_loss[row] = sum / float(push.dim);
    }
    if (chunk * LOSS_CHUNK < rows && row_lane() == 0) partial[chunk] = chunk_sum;
}
