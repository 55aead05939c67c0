/* What shaders/attention_coopmat2*.comp share (GLSL only): one layout for forward, dq and dkv.
 *
 * A workgroup owns OWNED rows of one sequence and head, as one matrix (use A), and what it sums up, as another (accumulator). BLOCK rows
 * of the other side pass by. How rows reach the engines is the driver's business: it is told slices of a tensor that has the rows of this
 * sequence and the columns of this head and nothing else, so what lies behind the end or behind head_dim is 0 when it is loaded and stays
 * untouched when it is stored: ragged lengths and head dims of 24 or 88 cost no other code. Both products read the same rows:
 *   scores [OWNED, BLOCK] = owned passing^T     transposed by a view
 *   sums [OWNED, WIDTH] += p passing
 * p comes out of the first product as an accumulator and is converted to the A of the second, in 16 bits. It is never transposed.
 * Slices that are inside go without clamping, which the driver's widest copies want.
 *
 * 16-bit results leave as f16 whichever element they are, as in matmul_coopmat2.comp, and for its reasons. */
#ifndef IJ_SHADER_ATTENTION_COOPMAT2_H
#define IJ_SHADER_ATTENTION_COOPMAT2_H

#include "attention.h"
#include "half.h"

layout(local_size_x_id = 0) in;                   /* what the device asks for */
layout(constant_id = 1) const uint HEAD_DIM = 64; /* a multiple of 8 */
layout(constant_id = 2) const uint WIDTH = 64;    /* head_dim rounded up to multiples of the granularities of n and k */
layout(constant_id = 3) const uint OWNED = 64;    /* a multiple of the granularity of m */
layout(constant_id = 4) const uint BLOCK = 64;    /* a multiple of those of n and k */
layout(constant_id = 5) const uint NARROW = 16;   /* that of n: columns of what is one number a row */

layout(push_constant) uniform Push { attention_push push; };

#ifdef BF16
#define ELEMENT ELEMENT_BF16
#define OPERAND bfloat16_t
#else
#define ELEMENT ELEMENT_F16
#define OPERAND float16_t
#endif
#define OWNED_ROWS coopmat<OPERAND, gl_ScopeWorkgroup, OWNED, WIDTH, gl_MatrixUseA>
#define PASSING_ROWS coopmat<OPERAND, gl_ScopeWorkgroup, BLOCK, WIDTH, gl_MatrixUseB>
#define PASSING_COLUMNS coopmat<OPERAND, gl_ScopeWorkgroup, WIDTH, BLOCK, gl_MatrixUseB>
#define ROUNDED coopmat<OPERAND, gl_ScopeWorkgroup, OWNED, BLOCK, gl_MatrixUseA>
#define SUMS(columns) coopmat<float, gl_ScopeWorkgroup, OWNED, columns, gl_MatrixUseAccumulator>
#define BITS(columns) coopmat<float16_t, gl_ScopeWorkgroup, OWNED, columns, gl_MatrixUseAccumulator>

#define PEAK_BITS 10 /* as in shaders/attention_coopmat.comp: what p lacks to be a normal f16 begins at 2^-24 instead of 2^-14 */

layout(binding = 0) readonly restrict buffer QKV { OPERAND qkv[]; };      /* [rows, 3 (q k v), heads, head_dim] */
layout(binding = 1) readonly restrict buffer Offsets { uint offsets[]; }; /* [sequences + 1] */

#define MATRIX_Q 0
#define MATRIX_K 1
#define MATRIX_V 2

uint begin, count, owned_first; /* the sequence's rows; the workgroup's first, counted from `begin` */
uint row_length = push.heads * HEAD_DIM, column = gl_WorkGroupID.y * HEAD_DIM; /* elements of a row of one matrix; this head's first */

/* Where this workgroup is; false: behind the end of its sequence. */
bool locate() {
    uint end = min(offsets[gl_WorkGroupID.z + 1], push.rows_max);
    begin = min(offsets[gl_WorkGroupID.z], end);
    count = end - begin;
    owned_first = gl_WorkGroupID.x * OWNED;
    return owned_first < count;
}

/* The sequence's first element of this head in q, k or v; in out or dout; its place in lse and delta of row r. */
uint first_of(uint matrix) { return (begin * 3 + matrix) * row_length + column; }
uint first_of_one() { return begin * row_length + column; }
uint statistic(uint r) { return (begin + r) * push.heads + gl_WorkGroupID.y; }

#define CLAMP gl_CooperativeMatrixClampModeConstantNV

/* Layouts of the sequence's rows and this head's columns, `of` rows of the tensor apart: 3 for q, k and v. */
#define LAYOUT(of) setTensorLayoutStrideNV(setTensorLayoutDimensionNV(createTensorLayoutNV(2), count, HEAD_DIM), (of) * row_length, 1)
#define LAYOUT_CLAMPED(of) \
    setTensorLayoutStrideNV(setTensorLayoutDimensionNV(createTensorLayoutNV(2, CLAMP), count, HEAD_DIM), (of) * row_length, 1)

/* Rows first .. first + rows - 1 of a tensor, from its element `at` on, as they lie or transposed. */
#define LOAD(to, from, at, of, first, rows)                                                                                  \
    if (WIDTH == HEAD_DIM && (first) + (rows) <= count)                                                                      \
        coopMatLoadTensorNV(to, from, at, sliceTensorLayoutNV(LAYOUT(of), first, rows, 0, WIDTH));                           \
    else                                                                                                                     \
        coopMatLoadTensorNV(to, from, at, sliceTensorLayoutNV(LAYOUT_CLAMPED(of), first, rows, 0, WIDTH))
#define LOAD_TRANSPOSED(to, from, at, of, first, rows)                                                                       \
    if (WIDTH == HEAD_DIM && (first) + (rows) <= count)                                                                      \
        coopMatLoadTensorNV(to, from, at, sliceTensorLayoutNV(LAYOUT(of), first, rows, 0, WIDTH),                            \
                            createTensorViewNV(2, false, 1, 0));                                                             \
    else                                                                                                                     \
        coopMatLoadTensorNV(to, from, at, sliceTensorLayoutNV(LAYOUT_CLAMPED(of), first, rows, 0, WIDTH),                    \
                            createTensorViewNV(2, false, 1, 0))

/* The owned rows of a result, which hold bits of elements (bits_of). */
#define STORE(sums, to, at, of) \
    coopMatStoreTensorNV(BITS(WIDTH)(sums), to, at, sliceTensorLayoutNV(LAYOUT_CLAMPED(of), owned_first, OWNED, 0, WIDTH))

/* The f32 that turns into the f16 with the bits of x. */
float bits_of(float x) { return unpackHalf2x16(pack_half(ELEMENT, vec2(x, 0))).x; }

#endif
