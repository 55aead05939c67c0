/* AdamW and the moving average, element by element; the formulas are in src/ops/optim.h.
 * Seven streams of memory and nothing else: 4 loads (p, m, v, g) and 3 stores, and 2 more with the target. The rounded copies for the
 * next step's products are made here, where p is in a register: half a stream each, no pass of their own. */
//! variant optim_adamw -DWIDTH=4
//! variant optim_adamw_tail -DWIDTH=1
#version 460
#extension GL_GOOGLE_include_directive : require
#include "optim.h"
#include "reduce.h"
#include "half.h"

#if WIDTH == 4
#define fvec vec4
#define hvec uvec2
#else
#define fvec float
#define hvec uint
#endif

layout(local_size_x = OPTIM_LANES) in;
layout(constant_id = 0) const bool DECAY = true;
layout(constant_id = 1) const bool TARGET = false;
layout(constant_id = 2) const bool ZERO_GRADIENT = false;
layout(constant_id = 3) const bool GUARD = false;
layout(constant_id = 4) const uint COPY = ELEMENT_WORD;        /* element of the copies; ELEMENT_WORD: none */
layout(constant_id = 5) const uint TARGET_COPY = ELEMENT_WORD; /* only with TARGET */
layout(constant_id = 6) const bool SCALED = false;             /* there is a loss scale */
layout(push_constant) uniform Push { optim_push push; };

layout(binding = 0) restrict buffer P { fvec p[]; };            /* [count] */
layout(binding = 1) restrict buffer M { fvec m[]; };            /* [count] */
layout(binding = 2) restrict buffer V { fvec v[]; };            /* [count] */
layout(binding = 3) restrict buffer G { fvec g[]; };            /* [count] */
layout(binding = 4) restrict buffer Target { fvec target[]; };  /* [count] */
layout(binding = 5) readonly restrict buffer Step { optim_step s; };
layout(binding = 6) readonly restrict buffer Norm { reduce_norm norm; };
layout(binding = 7) restrict buffer Copy { hvec copy[]; };               /* [count] in 16 bits */
layout(binding = 8) restrict buffer TargetCopy { hvec target_copy[]; };  /* [count] in 16 bits */
layout(binding = 9) readonly restrict buffer Scale { optim_scale loss_scale; };

/* Elements of load i: p becomes value, target becomes average. */
void update(uint i, out fvec value, out fvec average) {
    float scale = s.grad_scale;
    if (SCALED) scale *= loss_scale.inverse;
    if (GUARD && s.clip_norm > 0) scale *= min(1.0, s.clip_norm / (norm.norm * scale + 1e-6));
    fvec gradient = g[i] * scale, first = m[i], second = v[i];
    value = p[i];
    average = fvec(0);
    if (DECAY) value *= s.keep;
    first += s.beta1_rest * (gradient - first);
    second = s.beta2 * second + s.beta2_rest * gradient * gradient;
    value -= s.step_size * first / (sqrt(second) / s.bias2_root + s.eps);
    m[i] = first;
    v[i] = second;
    p[i] = value;
    if (TARGET) {
        average = s.ema * target[i] + s.ema_rest * value;
        target[i] = average;
    }
}

#if WIDTH == 4
void main() {
    uint i = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * OPTIM_LANES + gl_LocalInvocationID.x;
    if (i >= push.count) return;
    i += push.first;
    if (!GUARD || norm.finite != 0) {
        vec4 value, average;
        update(i, value, average);
        if (COPY != ELEMENT_WORD) copy[i] = pack_half4(COPY, value);
        if (TARGET_COPY != ELEMENT_WORD) target_copy[i] = pack_half4(TARGET_COPY, average);
    }
    if (ZERO_GRADIENT) g[i] = vec4(0);
}
#else
/* `word` with element i of the two in it replaced. */
uint replace_half(uint element, uint word, uint i, float value) {
    return bitfieldInsert(word, pack_half(element, vec2(value, 0)), int(16 * (i & 1)), 16);
}

/* The last one to three elements, all by one lane: two of them may share a word of a copy, and what lies behind stays as it is. */
void main() {
    if (gl_GlobalInvocationID.x != 0) return;
    for (uint i = push.first; i < push.first + push.count; i++) {
        if (!GUARD || norm.finite != 0) {
            float value, average;
            update(i, value, average);
            if (COPY != ELEMENT_WORD) copy[i / 2] = replace_half(COPY, copy[i / 2], i, value);
            if (TARGET_COPY != ELEMENT_WORD) target_copy[i / 2] = replace_half(TARGET_COPY, target_copy[i / 2], i, average);
        }
        if (ZERO_GRADIENT) g[i] = 0;
    }
}
#endif
