/* The loss scale after a step, one lane:
 *   finite:  norm /= scale, sum_squares /= scale^2;  after `interval` finite steps in a row scale = min(2 scale, largest)
 *   else:    scale = max(scale / 2, 1), one more step skipped
 * Scales are powers of two, so that every line is exact. */
//! variant optim_scale
#version 460
#extension GL_GOOGLE_include_directive : require
#include "optim.h"
#include "reduce.h"

layout(local_size_x = 1) in;
layout(push_constant) uniform Push { optim_scale_push push; };

layout(binding = 0) restrict buffer Norm { reduce_norm norm; };
layout(binding = 1) restrict buffer Scale { optim_scale s; };

void main() {
    float scale = s.scale, inverse = s.inverse;
    if (norm.finite != 0) {
        norm.norm *= inverse;
        norm.sum_squares *= inverse * inverse;
        uint good = s.good + 1;
        bool enough = good >= push.interval, grows = enough && 2 * scale <= push.scale_max;
        s.good = enough ? 0 : good;
        if (grows) scale *= 2, inverse *= 0.5;
    } else {
        s.good = 0;
        s.skipped++;
        if (scale >= 2) scale *= 0.5, inverse *= 2;
    }
    s.scale = scale;
    s.inverse = inverse;
}
