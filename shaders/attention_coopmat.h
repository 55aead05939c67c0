/* What shaders/attention_coopmat*.comp share (GLSL only): one layout for forward, dq and dkv.
 *
 * A subgroup owns M rows of one sequence and head and keeps their fragments (use A) and what it sums up (accumulators) in registers.
 * BLOCK rows of the other side pass by, staged in shared memory for all subgroups of the workgroup, with zeros behind the sequence's end
 * and behind head_dim: ragged lengths and head dims of 24 or 88 cost no other code. Both products read the same staging:
 *   scores [M, BLOCK] = owned passing^T     passing as B, column-major: a transpose that is free when a fragment is loaded
 *   sums [M, WIDTH] += p passing            passing as B, row-major
 * p comes out of the first product as an accumulator and has to go into the second one as A, in 16 bits: nothing converts between uses,
 * so it goes through shared memory once, in f32 to where lanes know which element is which, in 16 bits back. It is never transposed.
 *
 * Staged rows are 16 bytes longer than their elements, rows of scores and of p likewise: eight rows then begin in eight different groups
 * of banks, for the fragments and for the lanes. No subgroup arithmetic here: one driver crashes on it beside cooperative matrices, and what
 * the lanes of a row exchange is one number a block. */
#ifndef IJ_SHADER_ATTENTION_COOPMAT_H
#define IJ_SHADER_ATTENTION_COOPMAT_H

#include "attention.h"
#include "half.h"

layout(local_size_x_id = 0) in;                 /* LANES x SUBGROUPS */
layout(constant_id = 1) const uint HEAD_DIM = 64; /* a multiple of 8 */
layout(constant_id = 2) const uint WIDTH = 64;    /* head_dim rounded up to multiples of N and K */
layout(constant_id = 3) const uint LANES = 32;    /* of a subgroup, a multiple of M */
layout(constant_id = 4) const uint SUBGROUPS = 4; /* SUBGROUPS * M <= 2 * BLOCK */
layout(constant_id = 5) const uint M = 16;        /* shape of the device's fragments */
layout(constant_id = 6) const uint N = 16;
layout(constant_id = 7) const uint K = 16;
layout(constant_id = 8) const uint BLOCK = 32;    /* a multiple of N, of K, and of 8 LANES / M */

layout(push_constant) uniform Push { attention_push push; };

#ifdef BF16
#define ELEMENT ELEMENT_BF16
#define FRAGMENT bfloat16_t
uint round_pair(vec2 v) { return pack_half(ELEMENT_BF16, v); }
#else
#define ELEMENT ELEMENT_F16
#define FRAGMENT float16_t
uint round_pair(vec2 v) { return packFloat2x16(f16vec2(v)); }
#endif
#define FRAGMENT_A coopmat<FRAGMENT, gl_ScopeSubgroup, M, K, gl_MatrixUseA>
#define FRAGMENT_B coopmat<FRAGMENT, gl_ScopeSubgroup, K, N, gl_MatrixUseB>
#define FRAGMENT_SUM coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
#define ROW_MAJOR gl_CooperativeMatrixLayoutRowMajor
#define COLUMN_MAJOR gl_CooperativeMatrixLayoutColumnMajor

const uint WIDTH_UVEC4 = WIDTH / 8, STAGED_ROW = WIDTH_UVEC4 + 1; /* uvec4s */
const uint SCORES_ROW = BLOCK / 4 + 1;                            /* vec4s */
const uint ROUNDED_ROW = BLOCK / 8 + 1;                           /* uvec4s */
const uint OWNED = SUBGROUPS * M;                                 /* rows of a workgroup */
const uint SECOND = BLOCK * STAGED_ROW;                           /* where the second of two passing matrices is staged */

shared uvec4 staged[2 * BLOCK * STAGED_ROW];
shared vec4 scores[OWNED * SCORES_ROW];    /* of each subgroup: [M, BLOCK], f32 */
shared uvec4 rounded[OWNED * ROUNDED_ROW]; /* of each subgroup: [M, BLOCK], 16 bits */
shared float of_lane[SUBGROUPS * LANES];   /* what the lanes of a row exchange */

layout(binding = 0) readonly restrict buffer QKV { uvec4 qkv[]; };        /* [rows, 3 (q k v), heads, head_dim / 8] */
layout(binding = 1) readonly restrict buffer Offsets { uint offsets[]; }; /* [sequences + 1] */
#ifdef BACKWARD
layout(binding = 3) readonly restrict buffer DOut { uvec4 dout[]; };      /* [rows, heads, head_dim / 8] */
#endif

/* Lanes of a row: its columns are cut in PARTS. In every group of 8 lanes each has another row. */
const uint PARTS = LANES / M;
uint lane = gl_SubgroupInvocationID, lane_row = lane % M, lane_part = lane / M;

uint begin, count, owned_first;                              /* the sequence's rows; the workgroup's first, counted from `begin` */
uint at_scores = gl_SubgroupID * M * SCORES_ROW, at_rounded = gl_SubgroupID * M * ROUNDED_ROW;
uint row_uvec4 = push.heads * (HEAD_DIM / 8), column = gl_WorkGroupID.y * (HEAD_DIM / 8);

/* Where this workgroup is; false: behind the end of its sequence. */
bool locate() {
    uint end = min(offsets[gl_WorkGroupID.z + 1], push.rows_max);
    begin = min(offsets[gl_WorkGroupID.z], end);
    count = end - begin;
    owned_first = gl_WorkGroupID.x * OWNED;
    return owned_first < count;
}

/* A subgroup whose rows are all behind the end leaves the products out, but comes to every barrier: software drivers make one of the whole
 * workgroup from a subgroup's, and are right only where all of it comes. */
bool subgroup_busy() { return owned_first + gl_SubgroupID * M < count; }

/* The row of the whole tensor that is row r of this subgroup; whether there is one. */
uint subgroup_row(uint r) { return begin + owned_first + gl_SubgroupID * M + r; }
bool subgroup_has(uint r) { return owned_first + gl_SubgroupID * M + r < count; }

/* Orders what the lanes of this subgroup, and its fragments, read and write in shared memory. */
void subgroup_sync() { controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease); }

#define MATRIX_Q 0
#define MATRIX_K 1
#define MATRIX_V 2
#define MATRIX_DOUT 3

/* Eight elements of row r of the sequence; zeros behind its end and behind head_dim. */
uvec4 load8(uint matrix, uint r, uint c) {
    if (r >= count || c >= HEAD_DIM / 8) return uvec4(0);
#ifdef BACKWARD
    if (matrix == MATRIX_DOUT) return dout[(begin + r) * row_uvec4 + column + c];
#endif
    return qkv[((begin + r) * 3 + matrix) * row_uvec4 + column + c];
}

/* How often an invocation loads, to stage the rows that the workgroup owns or a block. */
const uint OWNED_STEPS = (OWNED * WIDTH_UVEC4 + LANES * SUBGROUPS - 1) / (LANES * SUBGROUPS);
const uint STEPS = (BLOCK * WIDTH_UVEC4 + LANES * SUBGROUPS - 1) / (LANES * SUBGROUPS);

/* Stages the rows that the workgroup owns, or BLOCK rows of two matrices that pass by; a barrier before and after. All loads are on
 * their way before the first is waited for. */
void stage_owned(uint matrix) {
    uvec4 a[OWNED_STEPS];
    [[unroll]] for (uint i = 0; i < OWNED_STEPS; i++) {
        uint e = gl_LocalInvocationIndex + i * LANES * SUBGROUPS;
        a[i] = load8(matrix, owned_first + e / WIDTH_UVEC4, e % WIDTH_UVEC4);
    }
    [[unroll]] for (uint i = 0; i < OWNED_STEPS; i++) {
        uint e = gl_LocalInvocationIndex + i * LANES * SUBGROUPS;
        if (e < OWNED * WIDTH_UVEC4) staged[e / WIDTH_UVEC4 * STAGED_ROW + e % WIDTH_UVEC4] = a[i];
    }
}
void stage_passing(uint first_matrix, uint second_matrix, uint first_row) {
    uvec4 a[STEPS], b[STEPS];
    [[unroll]] for (uint i = 0; i < STEPS; i++) {
        uint e = gl_LocalInvocationIndex + i * LANES * SUBGROUPS;
        a[i] = load8(first_matrix, first_row + e / WIDTH_UVEC4, e % WIDTH_UVEC4);
        b[i] = load8(second_matrix, first_row + e / WIDTH_UVEC4, e % WIDTH_UVEC4);
    }
    [[unroll]] for (uint i = 0; i < STEPS; i++) {
        uint e = gl_LocalInvocationIndex + i * LANES * SUBGROUPS;
        if (e >= BLOCK * WIDTH_UVEC4) continue;
        staged[e / WIDTH_UVEC4 * STAGED_ROW + e % WIDTH_UVEC4] = a[i];
        staged[SECOND + e / WIDTH_UVEC4 * STAGED_ROW + e % WIDTH_UVEC4] = b[i];
    }
}

uvec4 round8(vec4 a, vec4 b) { return uvec4(round_pair(a.xy), round_pair(a.zw), round_pair(b.xy), round_pair(b.zw)); }

/* The same for results: to nearest, ties to even, whatever the device does. */
uvec4 store8(vec4 a, vec4 b) { return uvec4(pack_half4(ELEMENT, a), pack_half4(ELEMENT, b)); }

/* A number a row, one of each lane of that row: in every element of a row of the subgroup's scores [M, N], to be loaded as a fragment. */
void spread_rows(float v) {
    for (uint g = lane_part; g < N / 4; g += PARTS) scores[at_scores + lane_row * SCORES_ROW + g] = vec4(v);
}

#endif
