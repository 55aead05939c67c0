/* Adds the parts that matmul_tile made of a product in chunks of k, in order:
 *   c[i] = [c[i] +] sum over z of part[z][i], and the same for the row sums that follow a part's c.
 * The chunk's length does not depend on how many chunks there are, so a row's contribution is rounded alike whatever
 * follows it. Parts beyond the true k were never written and are not read. */
//! variant matmul_reduce
#version 460
#extension GL_GOOGLE_include_directive : require
#include "matmul.h"

layout(local_size_x = MATMUL_REDUCE_THREADS) in;
layout(constant_id = 0) const uint FLAGS = 0;
layout(push_constant) uniform Push { matmul_reduce_push push; };
layout(binding = 0) readonly restrict buffer Parts { float parts[]; };       /* [chunks][stride] */
layout(binding = 1) restrict buffer C { float c[]; };                        /* [count] */
layout(binding = 2) restrict buffer Sums { float sums[]; };                  /* [sums] */
layout(binding = 3) readonly restrict buffer Offsets { uint offsets[]; };

void main() {
    uint i = gl_GlobalInvocationID.x;
    if (i >= push.count + push.sums) return;
    uint k = push.k;
    if ((FLAGS & MATMUL_REDUCE_DEVICE_ROWS) != 0) k = min(k, offsets[push.at]);
    uint chunks = (k + push.chunk - 1) / push.chunk;
    bool accumulate = (FLAGS & MATMUL_REDUCE_ACCUMULATE) != 0;
    float total = 0;
    for (uint z = 0; z < chunks; z++) total += parts[z * push.stride + i];
    if (i < push.count) c[i] = accumulate ? c[i] + total : total;
    else sums[i - push.count] = accumulate ? sums[i - push.count] + total : total;
}
