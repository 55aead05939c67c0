/* Mean pooling of sequences of rows, a lane a column of a sequence, rows in order:
 *   forward:  pooled[s, d] = sum of x[r, d] over the rows r of sequence s / their number
 *   backward: x[r, d] (+)= pooled[s, d] / their number      (x stands for dx, pooled for dpooled) */
//! variant reduce_rows -DBACKWARD=0
//! variant reduce_rows_bwd -DBACKWARD=1
#version 460
#extension GL_GOOGLE_include_directive : require
#include "reduce.h"

layout(local_size_x = REDUCE_COLUMNS) in;
layout(constant_id = 0) const bool ADD = false; /* backward only */
layout(push_constant) uniform Push { reduce_rows_push push; };

#if BACKWARD
layout(binding = 0) restrict buffer X { float x[]; };                     /* [rows, dim] */
layout(binding = 1) readonly restrict buffer Offsets { uint offsets[]; }; /* [sequences + 1] */
layout(binding = 2) readonly restrict buffer Pooled { float pooled[]; };  /* [sequences, dim] */
#else
layout(binding = 0) readonly restrict buffer X { float x[]; };
layout(binding = 1) readonly restrict buffer Offsets { uint offsets[]; };
layout(binding = 2) writeonly restrict buffer Pooled { float pooled[]; };
#endif

void main() {
    uint column = gl_GlobalInvocationID.x, sequence = gl_WorkGroupID.y;
    if (column >= push.dim) return;
    uint begin = min(offsets[sequence], push.rows_max), end = min(offsets[sequence + 1], push.rows_max);
    float share = end > begin ? 1.0 / float(end - begin) : 0;
#if BACKWARD
    float value = share * pooled[sequence * push.dim + column];
    for (uint row = begin; row < end; row++) {
        uint at = row * push.dim + column;
        x[at] = ADD ? x[at] + value : value;
    }
#else
    float sum = 0;
    for (uint row = begin; row < end; row++) sum += x[row * push.dim + column];
    pooled[sequence * push.dim + column] = sum * share;
#endif
}
