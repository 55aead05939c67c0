/* What the row kernels, shaders/attention.comp and attention_bwd.comp, share (GLSL only). */
#ifndef IJ_SHADER_ATTENTION_ROW_H
#define IJ_SHADER_ATTENTION_ROW_H

#include "attention.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint HEAD_VEC4 = 8; /* head_dim / 4 */
layout(constant_id = 2) const uint SPLIT = 1;     /* invocations that share a row, a power of two, at most 4 */
layout(constant_id = 3) const uint BLOCK = 1;     /* rows that pass by in one turn of the inner loop */
const uint SLICE = (HEAD_VEC4 + SPLIT - 1) / SPLIT; /* vec4s of a row that one invocation owns */
const uint SUMS = PARTIALS * BLOCK; /* what add_slices adds: PARTIALS sums for each of BLOCK rows */

layout(push_constant) uniform Push { attention_push push; };

/* Rows in memory: vec4s, or four 16-bit elements in a uvec2. row_vec4s is how many there are from one row to the next; 16-bit rows are
 * padded to 8 elements, so one uvec2 of zeros ends a row of an odd number of them. f32 and 16-bit modules are apart: the f32 one is
 * the production path of software drivers and keeps its code. */
#ifdef HALF
#include "half.h"
layout(constant_id = 4) const uint ELEMENT = ELEMENT_F16;
#define ROW_VEC4 uvec2
uint row_vec4s(uint vec4s) { return (vec4s + 1) & ~1u; }
vec4 from_row(uvec2 words) { return unpack_half4(ELEMENT, words); }
uvec2 to_row(vec4 v) { return pack_half4(ELEMENT, v); }
#else
#define ROW_VEC4 vec4
uint row_vec4s(uint vec4s) { return vec4s; }
vec4 from_row(vec4 v) { return v; }
vec4 to_row(vec4 v) { return v; }
#endif

/* The i-th vec4 of this invocation's slice of a row. Slices interleave, so that the invocations of a row read neighbours. Where
 * SPLIT does not divide the row, the last one repeats the row's last vec4; the owned vectors hold zero there. */
uint slice_at(uint i) {
    uint at = i * SPLIT + gl_LocalInvocationID.x % SPLIT;
    return HEAD_VEC4 % SPLIT == 0 ? at : min(at, HEAD_VEC4 - 1);
}
bool slice_has(uint i) { return HEAD_VEC4 % SPLIT == 0 || i * SPLIT + gl_LocalInvocationID.x % SPLIT < HEAD_VEC4; }

float sum4(vec4 v) { return (v.x + v.y) + (v.z + v.w); }

/* Sums over the invocations of a row, in the same order for each of them: all get the same bits. Two buffers taken in turn make
 * one barrier a call enough: whoever writes a buffer again has passed the barrier behind its last read. Shared memory, not
 * subgroup operations: only the basic ones are everywhere. All invocations of the workgroup must come here. */
shared float slice_sums[2][gl_WorkGroupSize.x][SUMS];
void add_slices(inout float v[SUMS], uint turn) {
    if (SPLIT == 1) return;
    uint lane = gl_LocalInvocationID.x, first = lane - lane % SPLIT;
    [[unroll]] for (uint n = 0; n < SUMS; n++) slice_sums[turn & 1][lane][n] = v[n];
    barrier();
    [[unroll]] for (uint n = 0; n < SUMS; n++) {
        v[n] = slice_sums[turn & 1][first][n];
        [[unroll]] for (uint s = 1; s < SPLIT; s++) v[n] += slice_sums[turn & 1][first + s][n];
    }
}

#endif
