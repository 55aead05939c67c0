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
 * The driver runs workgroups in order of x, y, z and hands every thread one contiguous share of them. So z is the thread's share
 * of the tiles, picked so that each has as many rows that exist (choose_tile). Within a share row tiles come first: their columns
 * of b stay in the second-level cache from one workgroup to the next. With columns first all of b passes through it for every row
 * tile, and gathers wait for memory: 768^3 fell from 52 to 30 GFLOP/s in NN and from 55 to 29 in TN on a busy machine. y is the
 * chunk of k in TN, where k is token rows: a chunk of a and b stays in the cache for all tiles. */
//! variant matmul_lane
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "matmul.h"

layout(local_size_x_id = MATMUL_SPEC_THREADS) in;
layout(constant_id = MATMUL_SPEC_FORM) const uint FORM = MATMUL_NT;
layout(constant_id = MATMUL_SPEC_EPILOGUE) const uint EPILOGUE = 0;
layout(constant_id = MATMUL_SPEC_ROWS) const uint ROWS = 32;
layout(constant_id = MATMUL_SPEC_COLS) const uint COLS = 6;
const uint ELEMENT = 0, ELEMENT_C = 0; /* f32 only */
#include "matmul_epilogue.h"

const uint STEP = 2; /* k an iteration */

/* The part of a's and b's index that does not depend on k, and how far one k is. Rows and columns beyond the edge read the
 * last one instead and are not stored. */
uint a_start(uint row, uvec3 dims) {
    uint line = min(row, dims.x - 1);
    if (has(MATMUL_GATHER) && FORM == MATMUL_NT) line = gather[line];
    return FORM == MATMUL_TN ? line : line * dims.z;
}
uint b_start(uint col, uvec3 dims) { return FORM == MATMUL_NT ? min(col, dims.y - 1) * dims.z : min(col, dims.y - 1); }

/* The tile of c of this workgroup: x row, y column, in tiles; push.tiles rows of them and push.tile_columns columns. */
uvec2 choose_tile() {
    uint share = gl_WorkGroupID.z, shares = gl_NumWorkGroups.z;
    if (has(MATMUL_DEVICE_ROWS) && FORM != MATMUL_TN) { /* only the first of the row tiles may exist: deal them out in turn */
        uint turns = gl_NumWorkGroups.x / push.tile_columns, column = gl_WorkGroupID.x / turns;
        return uvec2(gl_WorkGroupID.x % turns * shares + (share + column) % shares, column);
    }
    uint tile = share * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    return uvec2(tile % push.tiles, tile / push.tiles);
}

void main() {
    const uint columns = COLS * gl_WorkGroupSize.x;
    uvec3 dims = true_dims();
    uvec2 tile = choose_tile();
    uint row = tile.x * ROWS, col = tile.y * columns + gl_LocalInvocationID.x;
    uint k_start = has(MATMUL_SPLIT) ? gl_WorkGroupID.y * push.chunk : 0;
    uint k_end = has(MATMUL_SPLIT) ? min(dims.z, k_start + push.chunk) : dims.z;
    if (row >= dims.x || tile.y >= push.tile_columns || (has(MATMUL_SPLIT) && k_start >= k_end)) return;
    uint a_step = FORM == MATMUL_TN ? dims.x : 1, b_step = FORM == MATMUL_NT ? 1 : dims.y;

    float sum[ROWS * COLS];
    uint a_at[ROWS], b_at[COLS];
    [[unroll]] for (uint i = 0; i < ROWS * COLS; i++) sum[i] = 0;
    [[unroll]] for (uint i = 0; i < ROWS; i++) a_at[i] = a_start(row + i, dims);
    [[unroll]] for (uint j = 0; j < COLS; j++) b_at[j] = b_start(col + j * gl_WorkGroupSize.x, dims);

    for (uint k = k_start; k < k_end; k += STEP) {
        float b_here[COLS * STEP];
        uint a_k[STEP];
        [[unroll]] for (uint e = 0; e < STEP; e++) {
            uint k_read = has(MATMUL_K_TAIL) ? min(k + e, k_end - 1) : k + e; /* beyond an odd k: the last one again, times 0 */
            a_k[e] = k_read * a_step;
            uint b_k = (has(MATMUL_GATHER) && FORM == MATMUL_TN ? gather[k_read] : k_read) * b_step;
            [[unroll]] for (uint j = 0; j < COLS; j++) {
                float value = b[b_at[j] + b_k];
                b_here[e * COLS + j] = has(MATMUL_K_TAIL) && k + e >= k_end ? 0 : value;
            }
        }
        [[unroll]] for (uint i = 0; i < ROWS; i++)
            [[unroll]] for (uint e = 0; e < STEP; e++) {
                float a_here = a[a_at[i] + a_k[e]];
                [[unroll]] for (uint j = 0; j < COLS; j++) sum[i * COLS + j] = fma(a_here, b_here[e * COLS + j], sum[i * COLS + j]);
            }
    }

    /* GELU and its gradient are too much code to unroll ROWS x COLS times: their argument is stored, and a second pass takes
     * it from there (an invocation sees its own stores), a row an iteration. */
    const bool second_pass = has(MATMUL_GELU | MATMUL_GELU_GRAD);
    uint part = part_start(gl_WorkGroupID.y, dims);
    [[unroll]] for (uint j = 0; j < COLS; j++) {
        uint at_col = col + j * gl_WorkGroupSize.x;
        if (has(MATMUL_COLUMN_TAIL) && at_col >= dims.y) continue;
        float bias_here = has(MATMUL_BIAS) ? bias[at_col] : 0;
        [[unroll]] for (uint i = 0; i < ROWS; i++)
            if (row + i < dims.x) {
                uint at = (row + i) * dims.y + at_col;
                float value = sum[i * COLS + j];
                if (!has(MATMUL_GELU_GRAD)) value = add_to_sum(value, bias_here, row + i, at_col, dims.y);
                if (has(MATMUL_KEEP_PRE)) pre[at] = value;
                else c[part + at] = value;
            }
    }
    if (second_pass)
        for (uint at = row * dims.y + col; at < min(row + ROWS, dims.x) * dims.y; at += dims.y)
            [[unroll]] for (uint j = 0; j < COLS; j++) {
                uint here = at + j * gl_WorkGroupSize.x;
                if (has(MATMUL_COLUMN_TAIL) && col + j * gl_WorkGroupSize.x >= dims.y) continue;
                if (has(MATMUL_GELU_GRAD)) c[here] *= gelu_grad(pre[here]);
                else c[here] = gelu(has(MATMUL_KEEP_PRE) ? pre[here] : c[here]);
            }
    /* Row sums of a in the transposed form: the workgroups along n take THREADS of the tile's rows each, lanes across rows. */
    if (has(MATMUL_ROW_SUMS))
        for (uint first = tile.y * gl_WorkGroupSize.x; first < ROWS; first += push.tile_columns * gl_WorkGroupSize.x) {
            uint mine = row + first + gl_LocalInvocationID.x;
            if (first + gl_LocalInvocationID.x < ROWS && mine < dims.x) {
                float total = 0;
                for (uint k = k_start; k < k_end; k++) total += a[k * dims.x + mine];
                store_row_sum(mine, total, dims, part);
            }
        }
}
