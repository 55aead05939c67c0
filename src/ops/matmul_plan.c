/* Which kernel, which tile, which specialisation.       layer: ops; uses: gpu
 *
 * Tiles are lists; a choice is an index. Without a measurement (matmul_table_find) the tile is the one for which
 *   ceil(workgroups / cores) x area of the tile / speed of the tile
 * is least: it weighs columns and rows that are computed for nothing, cores that stand idle in the last round, and what a small
 * tile loses because each element that it reads is used fewer times. */
#include "ops/matmul_plan.h"
#include "ops/rows.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define VENDOR_NVIDIA 0x10deu
#define VENDOR_AMD 0x1002u
#define VENDOR_INTEL 0x8086u
#define CORES_UNKNOWN 64 /* where the driver does not say: a middling GPU */

/* matmul_lane: rows x columns of c an invocation holds. On lavapipe 32 x 6 gave 60 GFLOP/s in all forms on two cores, 32 x 4
 * 54, 16 x 8 47, 16 x 4 50, 64 x 2 58, 48 x 4 less than 44 (instruction cache); tools/SPEED.md has the ladder. */
#define LANE_ROWS 32
#define LANE_COLS 6
#define LANE_COLS_NARROW 4

/* matmul_vector: rows x columns that fill 32 registers of 16 lanes beside a row of b, or 16 of 8; several such tiles a workgroup
 * and 16 k an iteration; tools/SPEED.md has the ladder. */
#define VECTOR_STEP 16
#define VECTOR_TURNS 8

/* matmul_tile. */
enum { TILE_LARGE, TILE_TALL, TILE_SMALL };
static const matmul_tile tile_tiles[] = {{128, 128, 16, 8, 8, 1}, {128, 64, 16, 8, 4, 1}, {64, 64, 16, 4, 4, 1}};

/* matmul_coopmat: tm x tn of a subgroup. Speeds are guesses from public measurements (64x64 subgroup tiles are the best known on
 * NVIDIA and AMD, half of the reads are shared in them; Intel's registers take 16x32), for want of hardware: the tuner decides. */
static const matmul_tile coopmat_tiles[] = {
    {256, 128, 32, 64, 64, 1},     {128, 256, 32, 64, 64, 1},    {128, 128, 32, 64, 64, 0.93f}, {128, 128, 64, 64, 64, 0.9f},
    {128, 128, 32, 32, 64, 0.85f}, {128, 128, 32, 16, 32, 0.8f}, {128, 64, 32, 64, 32, 0.75f},  {64, 128, 32, 32, 64, 0.75f},
    {64, 64, 32, 32, 32, 0.6f},    {32, 32, 32, 16, 16, 0.3f},
};
#define ACCUMULATORS_MAX 128 /* f32 sums a lane may hold: half of NVIDIA's and AMD's registers, all but one in four of Intel's */

/* matmul_coopmat2: tm is the number of invocations. 128x256x64 is the best known on recent NVIDIA, 64x64x64 fills small grids. */
static const matmul_tile coopmat2_tiles[] = {
    {128, 256, 64, 256, 1, 1}, {256, 128, 64, 256, 1, 1}, {128, 128, 64, 256, 1, 0.85f}, {64, 64, 64, 128, 1, 0.55f}};

/* Workgroups that keep a large GPU busy; below it smaller tiles, or in TN chunks of rows, make more of them. */
#define GROUPS_WANTED 256

/* Chunks on a CPU driver: a chunk's part of a and b stays in the second-level cache; where c is large, adding parts up costs more
 * than that saves. */
#define CPU_CHUNK 512
#define CPU_CHUNK_LARGE 2048
#define CPU_LARGE (64 * 1024) /* elements of c */

struct matmul_push matmul_dims(const op_matmul_desc *desc) {
    struct matmul_push push = {.m = desc->m, .n = desc->n, .k = desc->k, .at = desc->rows.at, .residual_period = desc->residual_period};
    if (desc->form == OP_MATMUL_TN)
        push.k = desc->rows.max;
    else
        push.m = desc->rows.max;
    return push;
}

uint32_t matmul_epilogue(const op_matmul_desc *desc) {
    return (matmul_given(desc->bias) ? MATMUL_BIAS : 0u) | (matmul_given(desc->gelu_grad_of) ? MATMUL_GELU_GRAD : 0u) |
           (matmul_given(desc->residual) ? MATMUL_RESIDUAL : 0u) | (desc->accumulate ? MATMUL_ACCUMULATE : 0u) |
           (desc->gelu ? MATMUL_GELU : 0u) | (matmul_given(desc->pre) ? MATMUL_KEEP_PRE : 0u) |
           (matmul_given(desc->bias_grad) ? MATMUL_ROW_SUMS : 0u) | (matmul_given(desc->rows.offsets) ? MATMUL_DEVICE_ROWS : 0u) |
           (matmul_given(desc->gather) ? MATMUL_GATHER : 0u) | (desc->residual_period ? MATMUL_RESIDUAL_PERIOD : 0u) |
           (matmul_given(desc->residual_index) ? MATMUL_RESIDUAL_INDEX : 0u);
}

/* ---- chunks of token rows in TN ----
 * A function of m, n and the device alone, never of the tile: what was tuned must not change a gradient's bits. On a GPU longer
 * where c is larger, so that writing and adding the parts stays a small share of the multiplying. */

uint32_t matmul_chunk(gpu_device *device, const op_matmul_desc *desc) {
    const gpu_info *info = gpu_device_info(device);
    if (desc->form != OP_MATMUL_TN) return ~0u;
    if (desc->chunk) return desc->chunk;
    if (info->kind == GPU_KIND_CPU) return (uint64_t)desc->m * desc->n < CPU_LARGE ? CPU_CHUNK : CPU_CHUNK_LARGE;
    uint32_t tiles = op_groups(desc->m, 128) * op_groups(desc->n, 128), wanted = info->cores ? 2 * info->cores : GROUPS_WANTED;
    return tiles >= wanted ? ~0u : MATMUL_CHUNK_UNIT * op_groups(tiles, 8);
}

uint32_t matmul_parts(gpu_device *device, const op_matmul_desc *desc) {
    uint32_t chunk = matmul_chunk(device, desc), k = matmul_dims(desc).k;
    return chunk < k ? op_groups(k, chunk) : 1;
}

/* ---- what can run ---- */

static const char *shader_of(op_matmul_kernel kernel, gpu_element element) {
    if (kernel == OP_MATMUL_COOPMAT) return element == GPU_BF16 ? "matmul_coopmat_bf16" : "matmul_coopmat_f16";
    if (kernel == OP_MATMUL_COOPMAT2) return element == GPU_BF16 ? "matmul_coopmat2_bf16" : "matmul_coopmat2_f16";
    return kernel == OP_MATMUL_LANE ? "matmul_lane" : kernel == OP_MATMUL_VECTOR ? "matmul_vector" : "matmul_tile";
}

static int tiles_of(op_matmul_kernel kernel, const matmul_tile **tiles) {
    /* The shapes of these two follow from m and n. */
    static const matmul_tile lane_tiles[] = {{LANE_ROWS, 8 * LANE_COLS, 2, 1, 1, 1}};
    static const matmul_tile vector_tiles[] = {{64, 48, VECTOR_STEP, 8, 3, 1}};
    *tiles = kernel == OP_MATMUL_LANE      ? lane_tiles
             : kernel == OP_MATMUL_VECTOR  ? vector_tiles
             : kernel == OP_MATMUL_TILE    ? tile_tiles
             : kernel == OP_MATMUL_COOPMAT ? coopmat_tiles
                                           : coopmat2_tiles;
    return kernel == OP_MATMUL_LANE      ? IJ_COUNT(lane_tiles)
           : kernel == OP_MATMUL_VECTOR  ? IJ_COUNT(vector_tiles)
           : kernel == OP_MATMUL_TILE    ? IJ_COUNT(tile_tiles)
           : kernel == OP_MATMUL_COOPMAT ? IJ_COUNT(coopmat_tiles)
                                         : IJ_COUNT(coopmat2_tiles);
}

/* Lanes of a subgroup for matrices. AMD multiplies in both widths; 64 halves the registers a sum takes of each lane, and Mesa's
 * own users require it. Intel's engine is as wide as its smallest subgroup. */
static uint32_t lanes_of(const gpu_info *info) {
    if (info->vendor == VENDOR_AMD && info->subgroup_max >= 64) return 64;
    if (info->vendor == VENDOR_INTEL) return info->subgroup_min;
    return info->subgroup_size;
}

/* The fragment for a tile: 16x16x16 where the device has it, else the largest that fits; NULL: none does. */
static const gpu_matrix_shape *fragment_of(const gpu_info *info, gpu_element element, const matmul_tile *tile) {
    const gpu_matrix_shape *best = NULL;
    for (uint32_t i = 0; i < info->shape_count; i++) {
        const gpu_matrix_shape *s = &info->shapes[i];
        if (s->element != element || tile->tm % s->m || tile->tn % s->n || tile->bk % s->k || s->n % 8 || s->k % 8 || s->m % 8) continue;
        if (s->m == 16 && s->n == 16 && s->k == 16) return s;
        if (!best || s->m * s->n * s->k > best->m * best->n * best->k) best = s;
    }
    return best;
}

static uint32_t subgroups_of(const matmul_tile *tile) { return tile->bm / tile->tm * (tile->bn / tile->tn); }

static bool coopmat_fits(const gpu_info *info, const op_matmul_desc *desc, const matmul_tile *tile) {
    const gpu_matrix_shape *fragment = fragment_of(info, desc->a.element, tile);
    uint32_t lanes = lanes_of(info);
    if (!fragment || lanes * subgroups_of(tile) > info->invocations_max || tile->tm * tile->tn > ACCUMULATORS_MAX * lanes) return false;
    bool a_k_inner = desc->form != OP_MATMUL_TN, b_k_inner = desc->form == OP_MATMUL_NT;
    uint32_t panels = MATMUL_PANEL(a_k_inner, tile->bm, tile->bk) + MATMUL_PANEL(b_k_inner, tile->bn, tile->bk);
    uint32_t stage = MATMUL_STAGE(subgroups_of(tile), fragment->m, tile->tn);
    return 16 * (panels > stage ? panels : stage) <= info->shared_bytes;
}

static bool coopmat2_fits(const gpu_info *info, const op_matmul_desc *desc, const matmul_tile *tile) {
    uint32_t widest = tile->bm > tile->bn ? tile->bm : tile->bn;
    if (!info->f16) return false; /* 16-bit results leave as f16 whatever they are */
    for (uint32_t i = 0; i < info->flexible_count; i++) {
        const gpu_matrix_flexible *f = &info->flexible[i];
        if (f->element == desc->a.element && f->invocations == tile->tm && f->m && f->n && f->k && tile->bm % f->m == 0 &&
            tile->bn % f->n == 0 && tile->bk % f->k == 0 && MATMUL_ONES % f->n == 0)
            return widest <= info->flexible_dimension_max;
    }
    return false;
}

bool matmul_rung_runs(const gpu_device *device, op_matmul_kernel kernel, gpu_element element) {
    const gpu_info *info = gpu_device_info(device);
    if (kernel == OP_MATMUL_LANE) return element == GPU_WORD;
    if (kernel == OP_MATMUL_VECTOR) return element == GPU_WORD && info->addresses && gpu_shader_exists("matmul_vector");
    if (kernel == OP_MATMUL_TILE) return true;
    if (element == GPU_WORD || !gpu_shader_exists(shader_of(kernel, element))) return false;
    const matmul_tile *tiles;
    int count = tiles_of(kernel, &tiles);
    op_matmul_desc desc = {.a = {.element = element}};
    for (int i = 0; i < count; i++)
        if (kernel == OP_MATMUL_COOPMAT ? coopmat_fits(info, &desc, &tiles[i]) : coopmat2_fits(info, &desc, &tiles[i])) return true;
    return false;
}

bool matmul_choice_runs(const gpu_device *device, const op_matmul_desc *desc, matmul_choice choice) {
    const gpu_info *info = gpu_device_info(device);
    const matmul_tile *tiles;
    if (choice.kernel == OP_MATMUL_AUTO || choice.variant >= (uint32_t)tiles_of(choice.kernel, &tiles)) return false;
    if (!matmul_rung_runs(device, choice.kernel, desc->a.element)) return false;
    if (choice.kernel == OP_MATMUL_COOPMAT) return coopmat_fits(info, desc, &tiles[choice.variant]);
    if (choice.kernel == OP_MATMUL_COOPMAT2) return !matmul_given(desc->gather) && coopmat2_fits(info, desc, &tiles[choice.variant]);
    return true;
}

/* ---- what is chosen ---- */

static uint32_t default_tile(const op_matmul_desc *desc, const struct matmul_push *d) {
    uint32_t best = d->n % 128 == 0 || d->n > 256 + 64 ? TILE_LARGE : TILE_TALL;
    if (d->n % 128 > 0 && d->n % 128 <= 64) best = TILE_TALL;
    if (d->m <= 64) return TILE_SMALL;
    if (desc->form == OP_MATMUL_TN) return best; /* chunks make the workgroups */
    uint64_t groups = (uint64_t)op_groups(d->m, tile_tiles[best].bm) * op_groups(d->n, tile_tiles[best].bn);
    return groups >= GROUPS_WANTED ? best : TILE_SMALL;
}

/* Least cost by the formula at the head of this file. Tiles beyond 128 x 128 are for NVIDIA, elsewhere the last resort: with AMD's
 * compiler they leave few workgroups a core, and nothing public says that they help. On a CPU driver the smallest tile: it has no
 * registers to fill. */
static bool default_matrix_tile(gpu_device *device, const op_matmul_desc *desc, op_matmul_kernel kernel, uint32_t *variant) {
    const gpu_info *info = gpu_device_info(device);
    const struct matmul_push d = matmul_dims(desc);
    const matmul_tile *tiles;
    int count = tiles_of(kernel, &tiles);
    double least = 0, cores = info->cores ? info->cores : CORES_UNKNOWN;
    bool found = false;
    for (int i = 0; i < count; i++) {
        const matmul_tile *t = &tiles[i];
        if (!matmul_choice_runs(device, desc, (matmul_choice){kernel, (uint32_t)i})) continue;
        uint32_t area = t->bm * t->bn;
        double groups = (double)op_groups(d.m, t->bm) * op_groups(d.n, t->bn) * matmul_parts(device, desc);
        double rounds = (double)op_groups((int64_t)groups, (int64_t)cores);
        double cost = info->kind == GPU_KIND_CPU ? area : rounds * area / (double)t->speed;
        if (kernel == OP_MATMUL_COOPMAT && info->vendor != VENDOR_NVIDIA && area > 128 * 128) cost *= 4;
        if (found && !(cost < least)) continue;
        least = cost, *variant = (uint32_t)i, found = true;
    }
    return found;
}

static bool default_of(gpu_device *device, const op_matmul_desc *desc, op_matmul_kernel kernel, matmul_choice *out) {
    const struct matmul_push d = matmul_dims(desc);
    *out = (matmul_choice){kernel, 0};
    if (kernel == OP_MATMUL_COOPMAT || kernel == OP_MATMUL_COOPMAT2) return default_matrix_tile(device, desc, kernel, &out->variant);
    if (kernel == OP_MATMUL_TILE) out->variant = default_tile(desc, &d);
    return matmul_choice_runs(device, desc, *out);
}

/* Whether AUTO may take a rung. lane is for drivers that run shaders on the CPU, and not a second choice beside vector: which of
 * them runs, and with it a result's last bits, must not hang on what a tuner measured. */
static bool automatic(gpu_device *device, const op_matmul_desc *desc, op_matmul_kernel kernel) {
    if (kernel == OP_MATMUL_LANE && gpu_device_info(device)->kind != GPU_KIND_CPU) return false;
    if (kernel == OP_MATMUL_LANE && matmul_rung_runs(device, OP_MATMUL_VECTOR, desc->a.element)) return false;
    return matmul_rung_runs(device, kernel, desc->a.element) && matmul_rung_trusted(device, kernel, desc->a.element);
}

static const op_matmul_kernel ladder[] = {OP_MATMUL_COOPMAT2, OP_MATMUL_COOPMAT, OP_MATMUL_VECTOR, OP_MATMUL_LANE, OP_MATMUL_TILE};

static bool choose(gpu_device *device, const op_matmul_desc *desc, matmul_choice *out) {
    if (desc->kernel != OP_MATMUL_AUTO && desc->variant) {
        *out = (matmul_choice){desc->kernel, desc->variant - 1};
        return matmul_choice_runs(device, desc, *out);
    }
    if (desc->kernel != OP_MATMUL_AUTO) return default_of(device, desc, desc->kernel, out);
    matmul_key key = matmul_key_of(desc);
    bool known = matmul_table_find(device, &key, out) || matmul_table_tune(device, desc, out);
    if (known && automatic(device, desc, out->kernel) && matmul_choice_runs(device, desc, *out)) return true;
    for (int i = 0; i < IJ_COUNT(ladder); i++)
        if (automatic(device, desc, ladder[i]) && default_of(device, desc, ladder[i], out)) return true;
    return false;
}

int matmul_candidates(gpu_device *device, const op_matmul_desc *desc, matmul_choice *out, int max) {
    int count = 0;
    for (int i = 0; i < IJ_COUNT(ladder); i++) {
        op_matmul_kernel kernel = ladder[i];
        matmul_choice first;
        if (desc->kernel == OP_MATMUL_AUTO ? !automatic(device, desc, kernel) : desc->kernel != kernel) continue;
        if (!default_of(device, desc, kernel, &first)) continue;
        if (count < max) out[count++] = first;
        const matmul_tile *tiles;
        for (int v = 0; v < tiles_of(kernel, &tiles) && count < max; v++) {
            matmul_choice choice = {kernel, (uint32_t)v};
            if (choice.variant != first.variant && matmul_choice_runs(device, desc, choice)) out[count++] = choice;
        }
    }
    return count;
}

const char *matmul_choice_name(gpu_device *device, const op_matmul_desc *desc, matmul_choice choice, char out[80]) {
    static const char *const names[] = {"auto", "lane", "vector", "tile", "coopmat", "coopmat2"};
    const matmul_tile *tiles;
    const gpu_matrix_shape *fragment = NULL;
    uint32_t count = (uint32_t)tiles_of(choice.kernel, &tiles);
    const matmul_tile *t = &tiles[choice.variant < count ? choice.variant : 0];
    if (choice.kernel == OP_MATMUL_COOPMAT) fragment = fragment_of(gpu_device_info(device), desc->a.element, t);
    if (choice.kernel == OP_MATMUL_LANE || choice.kernel == OP_MATMUL_VECTOR || choice.kernel == OP_MATMUL_AUTO)
        snprintf(out, 80, "%s", names[choice.kernel]);
    else if (fragment)
        snprintf(out, 80, "%s %ux%ux%u, subgroup %ux%u, fragment %ux%ux%u", names[choice.kernel], t->bm, t->bn, t->bk, t->tm, t->tn,
                 fragment->m, fragment->n, fragment->k);
    else
        snprintf(out, 80, "%s %ux%ux%u", names[choice.kernel], t->bm, t->bn, t->bk);
    return out;
}

/* ---- kernels ---- */

/* Epilogue bits of the two kernels for CPU drivers; `columns` a workgroup, `step` k an iteration. */
static uint32_t cpu_bits(const op_matmul_desc *desc, const matmul_plan *plan, uint32_t columns, uint32_t step) {
    uint32_t bits = matmul_epilogue(desc);
    if (plan->push.n % columns != 0) bits |= MATMUL_COLUMN_TAIL;
    if (plan->push.k % step != 0 || (desc->form == OP_MATMUL_TN && matmul_given(desc->rows.offsets))) bits |= MATMUL_K_TAIL;
    if (plan->parts > 1) bits = (bits & ~(uint32_t)MATMUL_ACCUMULATE) | MATMUL_SPLIT; /* matmul_reduce accumulates */
    return bits;
}

/* Their grid: row tiles that may not exist, only the first ones do, are dealt out over the driver's threads. */
static void cpu_grid(gpu_device *device, const op_matmul_desc *desc, uint32_t rows, uint32_t columns, matmul_plan *plan) {
    struct matmul_push *push = &plan->push;
    bool dealt = desc->form != OP_MATMUL_TN && matmul_given(desc->rows.offsets);
    push->tiles = op_groups(push->m, rows), push->tile_columns = op_groups(push->n, columns);
    uint32_t dividable = push->tiles * (dealt ? 1 : push->tile_columns), shares = rows_shares(device);
    if (shares > dividable) shares = dividable;
    plan->groups[0] = op_groups(dividable, shares) * (dealt ? push->tile_columns : 1);
    plan->groups[1] = plan->parts;
    plan->groups[2] = shares;
}

static void plan_lane(gpu_device *device, const op_matmul_desc *desc, matmul_plan *plan) {
    uint32_t subgroup = gpu_device_info(device)->subgroup_size, m = plan->push.m, n = plan->push.n;
    uint32_t lanes = subgroup < 8 ? 8 : subgroup > 16 ? 16 : subgroup;
    uint32_t rows = m > 16 ? LANE_ROWS : m > 4 ? 16 : 4;
    uint32_t wide = op_groups(n, lanes * LANE_COLS) * LANE_COLS, narrow = op_groups(n, lanes * LANE_COLS_NARROW) * LANE_COLS_NARROW;
    uint32_t cols = 10 * narrow < 9 * wide ? LANE_COLS_NARROW : LANE_COLS; /* the narrow one is a tenth slower */
    uint32_t bits = cpu_bits(desc, plan, lanes * cols, 2);
    plan->kernel = (gpu_kernel_desc){.shader = "matmul_lane", .specs = {lanes, desc->form, bits, rows, cols}, .spec_count = 5};
    cpu_grid(device, desc, rows, lanes * cols, plan);
}

/* Four columns where that leaves fewer of them over. */
static void plan_vector(gpu_device *device, const op_matmul_desc *desc, matmul_plan *plan) {
    uint32_t lanes = gpu_device_info(device)->subgroup_size, units = op_groups(plan->push.n, lanes);
    bool four = lanes >= 16 && op_groups(units, 4) * 4 < op_groups(units, 3) * 3;
    uint32_t rows = lanes < 16 ? 4 : four ? 6 : 8, cols = four ? 4 : 3;
    uint32_t form = desc->form == OP_MATMUL_NT ? MATMUL_NN : (uint32_t)desc->form; /* b is turned first, see record_transpose */
    uint32_t bits = cpu_bits(desc, plan, lanes * cols, VECTOR_STEP);
    plan->kernel =
        (gpu_kernel_desc){.shader = "matmul_vector", .specs = {lanes, form, bits, rows, cols, VECTOR_STEP, VECTOR_TURNS}, .spec_count = 7};
    cpu_grid(device, desc, rows * VECTOR_TURNS, lanes * cols, plan);
}

/* The kernels with tiles. Epilogue bits of a split product are matmul_reduce's to apply. */
static void plan_tiled(gpu_device *device, const op_matmul_desc *desc, matmul_plan *plan) {
    const struct matmul_push *d = &plan->push;
    const gpu_info *info = gpu_device_info(device);
    gpu_element element = desc->a.element;
    op_matmul_kernel kernel = plan->choice.kernel;
    const matmul_tile *tiles;
    tiles_of(kernel, &tiles);
    matmul_tile tile = tiles[plan->choice.variant];
    assert(d->chunk == ~0u || d->chunk % tile.bk == 0);
    uint32_t bits = matmul_epilogue(desc), threads = tile.bm / tile.tm * (tile.bn / tile.tn);
    if (plan->parts > 1) bits = (bits & (MATMUL_ROW_SUMS | MATMUL_DEVICE_ROWS | MATMUL_GATHER)) | MATMUL_SPLIT;
    if ((desc->form == OP_MATMUL_TN ? d->m : d->k) % 4 == 0 && element == GPU_WORD) bits |= MATMUL_VECTOR_A;
    if ((desc->form == OP_MATMUL_NT ? d->k : d->n) % 4 == 0 && element == GPU_WORD) bits |= MATMUL_VECTOR_B;
    if (d->n % 4 == 0) bits |= MATMUL_VECTOR_C;
    plan->kernel = (gpu_kernel_desc){.shader = shader_of(kernel, element),
                                     .specs = {threads, desc->form, bits, tile.bm, tile.bn, tile.bk, tile.tm, tile.tn, element,
                                               plan->parts > 1 ? GPU_WORD : desc->c.element},
                                     .spec_count = 10};
    if (kernel == OP_MATMUL_COOPMAT) {
        const gpu_matrix_shape *f = fragment_of(info, element, &tile);
        uint32_t lanes = lanes_of(info), more[] = {f->m, f->n, f->k, lanes};
        memcpy(plan->kernel.specs + MATMUL_SPEC_FM, more, sizeof more);
        plan->kernel.specs[MATMUL_SPEC_THREADS] = lanes * subgroups_of(&tile);
        plan->kernel.spec_count = MATMUL_SPEC_LANES + 1;
        plan->kernel.full_subgroups = true;
        if (info->subgroup_min != info->subgroup_max) plan->kernel.subgroup_size = lanes;
    } else if (kernel == OP_MATMUL_COOPMAT2)
        plan->kernel.specs[MATMUL_SPEC_THREADS] = tile.tm;
    plan->groups[0] = op_groups(d->n, tile.bn);
    plan->groups[1] = op_groups(d->m, tile.bm);
    plan->groups[2] = plan->parts;
}

bool matmul_plan_make(gpu_device *device, const op_matmul_desc *desc, matmul_plan *plan) {
    memset(plan, 0, sizeof *plan);
    if (!choose(device, desc, &plan->choice)) return false;
    plan->push = matmul_dims(desc);
    plan->push.chunk = matmul_chunk(device, desc);
    plan->parts = matmul_parts(device, desc);
    if (plan->choice.kernel == OP_MATMUL_LANE)
        plan_lane(device, desc, plan);
    else if (plan->choice.kernel == OP_MATMUL_VECTOR)
        plan_vector(device, desc, plan);
    else
        plan_tiled(device, desc, plan);
    return true;
}
