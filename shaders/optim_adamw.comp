/* AdamW and the moving average, element by element; the formulas are in src/ops/optim.h.
 * Seven streams of memory and nothing else: 4 loads (p, m, v, g) and 3 stores, and 2 more with the target. */
//! variant optim_adamw -DWIDTH=4
//! variant optim_adamw_tail -DWIDTH=1
#version 460
#extension GL_GOOGLE_include_directive : require
#include "optim.h"
#include "reduce.h"

#if WIDTH == 4
#define fvec vec4
#else
#define fvec float
#endif

layout(local_size_x = OPTIM_LANES) in;
layout(constant_id = 0) const bool DECAY = true;
layout(constant_id = 1) const bool TARGET = false;
layout(constant_id = 2) const bool ZERO_GRADIENT = false;
layout(constant_id = 3) const bool GUARD = false;
layout(push_constant) uniform Push { optim_push push; };

layout(binding = 0) restrict buffer P { fvec p[]; };            /* [count] */
layout(binding = 1) restrict buffer M { fvec m[]; };            /* [count] */
layout(binding = 2) restrict buffer V { fvec v[]; };            /* [count] */
layout(binding = 3) restrict buffer G { fvec g[]; };            /* [count] */
layout(binding = 4) restrict buffer Target { fvec target[]; };  /* [count] */
layout(binding = 5) readonly restrict buffer Step { optim_step s; };
layout(binding = 6) readonly restrict buffer Norm { reduce_norm norm; };

void main() {
    uint i = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * OPTIM_LANES + gl_LocalInvocationID.x;
    if (i >= push.count) return;
    i += push.first;
    if (!GUARD || norm.finite != 0) {
        float scale = s.grad_scale;
        if (GUARD && s.clip_norm > 0) scale *= min(1.0, s.clip_norm / (norm.norm * s.grad_scale + 1e-6));
        fvec gradient = g[i] * scale, first = m[i], second = v[i], value = p[i];
        if (DECAY) value *= s.keep;
        first += s.beta1_rest * (gradient - first);
        second = s.beta2 * second + s.beta2_rest * gradient * gradient;
        value -= s.step_size * first / (sqrt(second) / s.bias2_root + s.eps);
        m[i] = first;
        v[i] = second;
        p[i] = value;
        if (TARGET) target[i] = s.ema * target[i] + s.ema_rest * value;
    }
    if (ZERO_GRADIENT) g[i] = fvec(0);
}
