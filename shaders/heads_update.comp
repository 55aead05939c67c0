/* SGD with momentum, of many heads at once, each with its own setting; the formulas are in src/ops/heads.h. */
//! variant heads_update
#version 460
#extension GL_GOOGLE_include_directive : require
#include "heads.h"
#define GROUP_SUM_TYPE vec2
#include "group_sum.h"

layout(local_size_x = HEADS_LANES) in;
layout(constant_id = 0) const bool BIAS = false; /* neither decay nor trust ratio */
layout(push_constant) uniform Push { heads_update_push push; };

layout(binding = 0) restrict buffer P { float p[]; };                              /* [heads, count] */
layout(binding = 1) restrict buffer V { float v[]; };                              /* [heads, count] */
layout(binding = 2) readonly restrict buffer G { float g[]; };                     /* [heads, count] */
layout(binding = 3) readonly restrict buffer Settings { heads_setting settings[]; };  /* [heads] */
layout(binding = 4) readonly restrict buffer Partial { vec2 partial[]; };          /* [heads, chunks] */

/* Lane l adds chunks l, l + HEADS_LANES, ..., then the lanes are added. */
float trust_ratio(uint head, heads_setting s) {
    vec2 sum = vec2(0);
    for (uint chunk = gl_LocalInvocationID.x; chunk < push.chunks; chunk += HEADS_LANES) sum += partial[head * push.chunks + chunk];
    vec2 norms = sqrt(group_sum(sum));
    return s.trust > 0 && norms.x > 0 && norms.y > 0 ? s.trust * norms.x / (norms.y + s.weight_decay * norms.x) : 1;
}

void main() {
    uint chunk = gl_WorkGroupID.x, head = gl_WorkGroupID.y, end = min((chunk + 1) * HEADS_CHUNK, push.count);
    heads_setting s = settings[head];
    float ratio = 1, decay = BIAS ? 0 : s.weight_decay;
    if (!BIAS) ratio = trust_ratio(head, s);
    for (uint i = chunk * HEADS_CHUNK + gl_LocalInvocationID.x; i < end; i += HEADS_LANES) {
        uint at = head * push.count + i;
        float moved = s.momentum * v[at] + ratio * (g[at] + decay * p[at]);
        v[at] = moved;
        p[at] -= s.lr * moved;
    }
}
