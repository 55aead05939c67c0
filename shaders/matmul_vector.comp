/* Matrix products in f32 for CPU drivers that have buffer addresses: matmul_lane without its gathers.
 *   NN: c[m, n] = sum_k a[m, k] b[k, n]    TN: c[m, n] = sum_k a[k, m] b[k, n]
 *   NT, c[m, n] = sum_k a[m, k] b[n, k], comes here as NN: matmul_transpose has turned b first.
 *
 * Layout: one subgroup a workgroup, lanes across columns of c. A workgroup makes TURNS tiles of ROWS x COLS registers, one below
 * the other; a is read uniformly, a row of b across the lanes.
 * What makes it fast is `across`. The driver makes a gather of every load whose address differs between lanes, 20 cycles for 16
 * of them, but a plain load of one whose address is uniform. So a vector is asked for element by element, each at a uniform
 * address, and put together by lane: the number of a lane is a constant of the compiled code, so every selection folds into an
 * insertion, and LLVM makes one vector load of insertions of neighbours. It does so only where nothing stands between the
 * address and the load: buffers bring a bounds check, addresses do not. With loads that cheap a register tile is enough.
 * What the loop carries from one iteration to the next is masked and goes through memory, so an iteration makes the sums of STEP k
 * in registers and adds them to those of the tile once. Its condition is at the end: with it at the start the driver would run
 * a last iteration with all lanes off, and read where it would have read.
 * Reads go beyond a row's end (columns that are not stored) by less than a workgroup's columns; memory.c keeps room for that
 * behind the last tensor. Nothing that is read there reaches a result.
 * The grid is matmul_lane's: see there. */
//! variant matmul_vector
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_KHR_shader_subgroup_basic : require
#define MATMUL_BY_ADDRESS
#include "matmul.h"

layout(local_size_x_id = MATMUL_SPEC_THREADS) in;
layout(constant_id = MATMUL_SPEC_THREADS) const uint LANES = 16;
layout(constant_id = MATMUL_SPEC_FORM) const uint FORM = MATMUL_NN;
layout(constant_id = MATMUL_SPEC_EPILOGUE) const uint EPILOGUE = 0;
layout(constant_id = MATMUL_SPEC_ROWS) const uint ROWS = 8;
layout(constant_id = MATMUL_SPEC_COLS) const uint COLS = 3;
layout(constant_id = MATMUL_SPEC_STEP) const uint STEP = 16;
layout(constant_id = MATMUL_SPEC_TURNS) const uint TURNS = 8;
const uint ELEMENT = 0, ELEMENT_C = 0; /* f32 only */
#include "matmul_epilogue.h"

layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Floats { float v[]; };

float sum[ROWS * COLS];
uint64_t a_row[ROWS];
bool is_lane[LANES]; /* constants of the compiled code */

/* LANES floats from a uniform address on, one for each lane. */
float across(uint64_t address) {
    Floats from = Floats(address);
    float value = 0;
    [[unroll]] for (uint i = 0; i < LANES; i++) value = mix(value, from.v[i], is_lane[i]);
    return value;
}

uint64_t floats(uint count) { return 4 * uint64_t(count); }

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

/* sum += the products of STEP k from k on; of those before k_end where the tail is asked for: beyond it a counts as 0. */
void add_products(uint k, uint k_end, bool tail, uint64_t b_column, uvec3 dims) {
    float here[ROWS * COLS];
    uint64_t a_step = FORM == MATMUL_TN ? floats(dims.x) : 4, b_step = floats(dims.y);
    uint64_t a_k = uint64_t(k) * a_step, b_k = b_column + uint64_t(k) * b_step;
    [[unroll]] for (uint e = 0; e < STEP; e++) {
        uint64_t past = tail ? uint64_t(min(e, k_end - 1 - k)) : e;
        float b_here[COLS];
        uint64_t b_from = has(MATMUL_GATHER) && FORM == MATMUL_TN ? b_column + uint64_t(gather[k + uint(past)]) * b_step : b_k + past * b_step;
        [[unroll]] for (uint j = 0; j < COLS; j++) b_here[j] = across(b_from + 4 * LANES * j);
        [[unroll]] for (uint i = 0; i < ROWS; i++) {
            float a_here = Floats(a_row[i] + a_k + past * a_step).v[0];
            if (tail) a_here = mix(0.0, a_here, k + e < k_end);
            [[unroll]] for (uint j = 0; j < COLS; j++) {
                uint at = i * COLS + j;
                here[at] = e == 0 ? a_here * b_here[j] : fma(a_here, b_here[j], here[at]);
            }
        }
    }
    [[unroll]] for (uint at = 0; at < ROWS * COLS; at++) sum[at] += here[at];
}

/* Rows beyond the last are the last one again and store the same values a second time: that costs less than a branch for each
 * row. So everything is read before anything is stored. */
void store_tile(uint row, uint column, uint part, uvec3 dims, uint lane) {
    [[unroll]] for (uint j = 0; j < COLS; j++) {
        uint first = column + j * LANES;
        float bias_here = has(MATMUL_BIAS) ? across(push.bias + floats(first)) : 0;
        [[unroll]] for (uint i = 0; i < ROWS; i++) {
            uint mine = min(row + i, dims.x - 1), at = mine * dims.y + first;
            float value = sum[i * COLS + j] + bias_here;
            if (has(MATMUL_GELU_GRAD)) value *= gelu_grad(across(push.pre + floats(at)));
            if (has(MATMUL_RESIDUAL)) value += across(push.residual + floats(residual_row(mine) * dims.y + first));
            if (has(MATMUL_ACCUMULATE)) value += across(push.c + floats(at));
            sum[i * COLS + j] = value;
        }
    }
    [[unroll]] for (uint j = 0; j < COLS; j++) {
        uint mine = column + j * LANES + lane;
        if (has(MATMUL_COLUMN_TAIL) && mine >= dims.y) continue;
        [[unroll]] for (uint i = 0; i < ROWS; i++) {
            uint at = min(row + i, dims.x - 1) * dims.y + mine;
            float value = sum[i * COLS + j];
            if (has(MATMUL_KEEP_PRE)) pre[at] = value;
            c[part + at] = has(MATMUL_GELU) ? gelu(value) : value;
        }
    }
}

/* Row sums of a in the transposed form: the workgroups along n take LANES of the tile's rows each, lanes across rows. */
void store_row_sums(uvec2 tile, uint k_start, uint k_end, uint part, uvec3 dims, uint lane) {
    uint first = tile.y * LANES;
    if (first >= ROWS * TURNS) return;
    do {
        uint row = tile.x * ROWS * TURNS + first, k = k_start;
        float total = 0;
        if (k < k_end) {
            do {
                float here = 0;
                [[unroll]] for (uint e = 0; e < STEP; e++) {
                    float value = across(push.a + floats(min(k + e, k_end - 1) * dims.x + row));
                    here += mix(0.0, value, k + e < k_end);
                }
                total += here;
                k += STEP;
            } while (k < k_end);
        }
        if (first + lane < ROWS * TURNS) store_row_sum(row + lane, total, dims, part);
        first += push.tile_columns * LANES;
    } while (first < ROWS * TURNS);
}

void main() {
    uint lane = gl_SubgroupInvocationID; /* read once, before all loops: read in one it is no longer a constant */
    [[unroll]] for (uint i = 0; i < LANES; i++) is_lane[i] = lane == i;
    uvec3 dims = true_dims();
    uvec2 tile = choose_tile();
    uint first = tile.x * ROWS * TURNS, column = tile.y * COLS * LANES;
    uint k_start = has(MATMUL_SPLIT) ? gl_WorkGroupID.y * push.chunk : 0;
    uint k_end = has(MATMUL_SPLIT) ? min(dims.z, k_start + push.chunk) : dims.z;
    if (first >= dims.x || tile.y >= push.tile_columns || (has(MATMUL_SPLIT) && k_start >= k_end)) return;
    uint part = part_start(gl_WorkGroupID.y, dims);
    uint k_full = has(MATMUL_K_TAIL) ? k_start + (k_end - k_start) / STEP * STEP : k_end;
    uint64_t b_column = push.b + floats(column);

    uint row = first;
    do {
        [[unroll]] for (uint at = 0; at < ROWS * COLS; at++) sum[at] = 0;
        [[unroll]] for (uint i = 0; i < ROWS; i++) {
            uint mine = min(row + i, dims.x - 1);
            if (has(MATMUL_GATHER) && FORM == MATMUL_NN) mine = gather[mine];
            a_row[i] = push.a + (FORM == MATMUL_TN ? floats(mine) : floats(mine) * uint64_t(dims.z));
        }
        uint k = k_start;
        if (!has(MATMUL_K_TAIL) || k < k_full) {
            do {
                add_products(k, k_end, false, b_column, dims);
                k += STEP;
            } while (k < k_full);
        }
        if (has(MATMUL_K_TAIL) && k < k_end) add_products(k, k_end, true, b_column, dims);
        store_tile(row, column, part, dims, lane);
        row += ROWS;
    } while (row < min(dims.x, first + ROWS * TURNS));
    if (has(MATMUL_ROW_SUMS)) store_row_sums(tile, k_start, k_end, part, dims, lane);
}
