/* loss[0] (+)= scale / divisor sum of partial: lane l adds chunks l, l + LOSS_LANES, ..., then the lanes are added. The order
 * does not depend on the number of rows. */
//! variant loss_sum
#version 460
#extension GL_GOOGLE_include_directive : require
#include "loss.h"

layout(local_size_x = LOSS_LANES) in;
layout(constant_id = 0) const bool ACCUMULATE = false;
layout(push_constant) uniform Push { loss_push push; };

layout(binding = 0) readonly restrict buffer Partial { float partial[]; };  /* [chunks] */
layout(binding = 1) readonly restrict buffer Offsets { uint offsets[]; };
layout(binding = 2) restrict buffer Loss { float loss[]; };                 /* [1] */

#include "group_sum.h"

void main() {
    uint rows = min(push.rows_max, offsets[push.rows_at]);
    uint lane = gl_LocalInvocationID.x;
    float sum = 0;
    for (uint chunk = lane; chunk * LOSS_CHUNK < rows; chunk += LOSS_LANES) sum += partial[chunk];
    sum = group_sum(sum);
    if (lane != 0) return;
    float divisor = push.divisor > 0 ? push.divisor : max(float(rows), 1.0) * float(push.dim);
    float value = sum * (push.scale / divisor);
    loss[0] = ACCUMULATE ? loss[0] + value : value;
}
