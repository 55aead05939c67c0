/* Matrix products in f32 for CPU drivers, where a subgroup is one SIMD register and memory is a cache away.
 *   NT: c[m, n] = sum_k a[m, k] b[n, k]    NN: c[m, n] = sum_k a[m, k] b[k, n]    TN: c[m, n] = sum_k a[k, m] b[k, n]
 *
 * Layout: one subgroup a workgroup, lanes across columns of c; an invocation holds ROWS x COLS sums, its columns THREADS
 * apart. No shared memory: a barrier is a coroutine switch there.
 * What the driver makes of a load decides everything. One whose address is the same in all lanes is a scalar load (3 cycles,
 * bounds check included) and feeds COLS products; one whose address differs is a gather (13 cycles for 8 lanes, contiguous or
 * not) and feeds ROWS products. So a is read uniformly, b across the lanes, once per ROWS rows, and since a gather does not
 * care about strides all three forms are the same loop. Two k an iteration: COLS x 2 values of b are what fits in registers
 * beside a row's COLS sums; the other rows' sums wait on the stack, touched once an iteration.
 * Workgroups run in order of x, so x is the row tile: a tile's columns of b stay in the second-level cache from one workgroup to
 * the next. With x along the columns all of b passes through it for every row tile, and gathers wait for memory: 768^3 fell
 * from 52 to 30 GFLOP/s in NN and from 55 to 29 in TN on a busy machine. */
//! variant matmul_lane
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "matmul.h"
#include "gelu.h"

layout(local_size_x_id = MATMUL_SPEC_THREADS) in;
layout(constant_id = MATMUL_SPEC_FORM) const uint FORM = MATMUL_NT;
layout(constant_id = MATMUL_SPEC_EPILOGUE) const uint EPILOGUE = 0;
layout(constant_id = MATMUL_SPEC_ROWS) const uint ROWS = 32;
layout(constant_id = MATMUL_SPEC_COLS) const uint COLS = 6;
#include "matmul_epilogue.h"

const uint STEP = 2; /* k an iteration */

/* The part of a's and b's index that does not depend on k, and how far one k is. Rows and columns beyond the edge read the
 * last one instead and are not stored. */
uint a_start(uint row, uvec3 dims) { return FORM == MATMUL_TN ? min(row, dims.x - 1) : min(row, dims.x - 1) * dims.z; }
uint b_start(uint col, uvec3 dims) { return FORM == MATMUL_NT ? min(col, dims.y - 1) * dims.z : min(col, dims.y - 1); }

void main() {
    const uint columns = COLS * gl_WorkGroupSize.x;
    uvec3 dims = true_dims();
    uint row = gl_WorkGroupID.x * ROWS, col = gl_WorkGroupID.y * columns + gl_LocalInvocationID.x;
    if (row >= dims.x) return;
    uint a_step = FORM == MATMUL_TN ? dims.x : 1, b_step = FORM == MATMUL_NT ? 1 : dims.y;

    float sum[ROWS * COLS];
    uint a_at[ROWS], b_at[COLS];
    [[unroll]] for (uint i = 0; i < ROWS * COLS; i++) sum[i] = 0;
    [[unroll]] for (uint i = 0; i < ROWS; i++) a_at[i] = a_start(row + i, dims);
    [[unroll]] for (uint j = 0; j < COLS; j++) b_at[j] = b_start(col + j * gl_WorkGroupSize.x, dims);

    for (uint k = 0; k < dims.z; k += STEP) {
        float b_here[COLS * STEP];
        uint a_k[STEP];
        [[unroll]] for (uint e = 0; e < STEP; e++) {
            uint k_read = has(MATMUL_K_TAIL) ? min(k + e, dims.z - 1) : k + e; /* beyond an odd k: the last one again, times 0 */
            a_k[e] = k_read * a_step;
            [[unroll]] for (uint j = 0; j < COLS; j++) {
                float value = b[b_at[j] + k_read * b_step];
                b_here[e * COLS + j] = has(MATMUL_K_TAIL) && k + e >= dims.z ? 0 : value;
            }
        }
        [[unroll]] for (uint i = 0; i < ROWS; i++)
            [[unroll]] for (uint e = 0; e < STEP; e++) {
                float a_here = a[a_at[i] + a_k[e]];
                [[unroll]] for (uint j = 0; j < COLS; j++) sum[i * COLS + j] = fma(a_here, b_here[e * COLS + j], sum[i * COLS + j]);
            }
    }

    /* GELU and its gradient are too much code to unroll ROWS x COLS times: their argument is stored, and a second pass takes
     * it from there (an invocation sees its own stores). */
    const bool second_pass = has(MATMUL_GELU | MATMUL_GELU_GRAD);
    [[unroll]] for (uint j = 0; j < COLS; j++) {
        uint at_col = col + j * gl_WorkGroupSize.x;
        if (has(MATMUL_COLUMN_TAIL) && at_col >= dims.y) continue;
        float bias_here = has(MATMUL_BIAS) ? bias[at_col] : 0;
        [[unroll]] for (uint i = 0; i < ROWS; i++)
            if (row + i < dims.x) {
                uint at = (row + i) * dims.y + at_col;
                float value = sum[i * COLS + j];
                if (!has(MATMUL_GELU_GRAD)) value = add_to_sum(value, bias_here, at);
                if (has(MATMUL_KEEP_PRE)) pre[at] = value;
                else c[at] = value;
            }
    }
    if (second_pass)
        for (uint i = 0; i < min(ROWS, dims.x - row); i++)
            for (uint j = 0; j < COLS; j++) {
                uint at_col = col + j * gl_WorkGroupSize.x, at = (row + i) * dims.y + at_col;
                if (at_col < dims.y) {
                    if (has(MATMUL_GELU_GRAD)) c[at] *= gelu_grad(pre[at]);
                    else c[at] = gelu(has(MATMUL_KEEP_PRE) ? pre[at] : c[at]);
                }
            }
    /* Row sums of a in the transposed form: the first workgroups along n take THREADS of the tile's rows each, lanes across rows. */
    if (has(MATMUL_ROW_SUMS))
        for (uint first = gl_WorkGroupID.y * gl_WorkGroupSize.x; first < ROWS; first += gl_NumWorkGroups.y * gl_WorkGroupSize.x) {
            uint mine = row + first + gl_LocalInvocationID.x;
            if (first + gl_LocalInvocationID.x < ROWS && mine < dims.x) {
                float total = 0;
                for (uint k = 0; k < dims.z; k++) total += a[k * dims.x + mine];
                sums[mine] = has(MATMUL_ACCUMULATE) ? sums[mine] + total : total;
            }
        }
}
