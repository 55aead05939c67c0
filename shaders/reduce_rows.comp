/* Mean pooling of sequences of rows, a lane a column of a sequence (in 16 bits a pair of them: a word), rows in order:
 *   forward:  pooled[s, d] = sum of x[r, d] over the rows r of sequence s / their number
 *   backward: x[r, d] (+)= loss scale pooled[s, d] / their number      (x stands for dx, pooled for dpooled) */
//! variant reduce_rows -DBACKWARD=0
//! variant reduce_rows_bwd -DBACKWARD=1
#version 460
#extension GL_GOOGLE_include_directive : require
#include "reduce.h"
#include "optim.h"
#include "half.h"

layout(local_size_x = REDUCE_COLUMNS) in;
layout(constant_id = 0) const bool ADD = false; /* backward only */
layout(constant_id = 1) const uint ELEMENT = ELEMENT_WORD; /* of x */
layout(constant_id = 2) const bool SCALED = false; /* backward only: there is a loss scale */
layout(push_constant) uniform Push { reduce_rows_push push; };

#if BACKWARD
layout(binding = 0) restrict buffer X { float x[]; };                     /* [rows, dim], or ... */
layout(binding = 1) readonly restrict buffer Offsets { uint offsets[]; }; /* [sequences + 1] */
layout(binding = 2) readonly restrict buffer Pooled { float pooled[]; };  /* [sequences, dim] */
layout(binding = 3) restrict buffer XHalf { uint x_half[]; };             /* ... [rows, dim] in 16 bits */
layout(binding = 4) readonly restrict buffer Scale { optim_scale loss_scale; };

/* Columns 2 word, 2 word + 1 of rows begin .. end; the last words are padding. */
void add_words(uint word, uint stride, uint begin, uint end, float share) {
    uint from = gl_WorkGroupID.y * push.dim + 2 * word;
    vec2 value = vec2(0);
    if (2 * word < push.dim) value.x = share * pooled[from];
    if (2 * word + 1 < push.dim) value.y = share * pooled[from + 1];
    for (uint row = begin; row < end; row++) {
        uint at = row * stride + word;
        x_half[at] = pack_half(ELEMENT, ADD ? unpack_half(ELEMENT, x_half[at]) + value : value);
    }
}
#else
layout(binding = 0) readonly restrict buffer X { float x[]; };
layout(binding = 1) readonly restrict buffer Offsets { uint offsets[]; };
layout(binding = 2) writeonly restrict buffer Pooled { float pooled[]; };
layout(binding = 3) readonly restrict buffer XHalf { uint x_half[]; };

void sum_words(uint word, uint stride, uint begin, uint end, float share) {
    uint to = gl_WorkGroupID.y * push.dim + 2 * word;
    vec2 sum = vec2(0);
    for (uint row = begin; row < end; row++) sum += unpack_half(ELEMENT, x_half[row * stride + word]);
    sum *= share;
    if (2 * word < push.dim) pooled[to] = sum.x;
    if (2 * word + 1 < push.dim) pooled[to + 1] = sum.y;
}
#endif

void main() {
    uint column = gl_GlobalInvocationID.x, sequence = gl_WorkGroupID.y;
    bool half_words = ELEMENT != ELEMENT_WORD;
    uint stride = half_words ? half_row(push.dim) / 2 : push.dim;
    if (column >= stride) return;
    uint begin = min(offsets[sequence], push.rows_max), end = min(offsets[sequence + 1], push.rows_max);
    float share = end > begin ? 1.0 / float(end - begin) : 0;
#if BACKWARD
    if (SCALED) share *= loss_scale.scale;
    if (half_words) {
        add_words(column, stride, begin, end, share);
        return;
    }
    float value = share * pooled[sequence * push.dim + column];
    for (uint row = begin; row < end; row++) {
        uint at = row * push.dim + column;
        x[at] = ADD ? x[at] + value : value;
    }
#else
    if (half_words) {
        sum_words(column, stride, begin, end, share);
        return;
    }
    float sum = 0;
    for (uint row = begin; row < end; row++) sum += x[row * push.dim + column];
    pooled[sequence * push.dim + column] = sum * share;
#endif
}
