/* Matrix products: check, plan, record; and the ops as data.       layer: ops; uses: gpu, base
 *
 * Two kernels behind one function. matmul_lane is for drivers that run shaders on the CPU, matmul_tile for GPUs; what each does
 * and why is at the head of its shader. */
#include "ops/matmul.h"
#include "ops/eltwise.h"
#include "ops/rows.h"
#include "shaders/matmul.h"

#include <assert.h>
#include <string.h>

/* matmul_lane: rows x columns of c an invocation holds. On lavapipe 32 x 6 gave 60 GFLOP/s in all forms on two cores, 32 x 4
 * 54, 16 x 8 47, 16 x 4 50, 64 x 2 58, 48 x 4 less than 44 (instruction cache); tools/SPEED.md has the ladder. */
#define LANE_ROWS 32
#define LANE_COLS 6
#define LANE_COLS_NARROW 4
#define LANE_CHUNK 512         /* rows of token a partial sum takes in TN: its part of a and b stays in the second-level cache ... */
#define LANE_CHUNK_LARGE 2048  /* ... where c is large, adding parts up costs more than that saves */
#define LANE_LARGE (64 * 1024) /* elements of c */

/* matmul_tile. */
typedef struct tile_shape {
    uint32_t bm, bn, bk, tm, tn;
} tile_shape;
static const tile_shape tile_large = {128, 128, 16, 8, 8};
static const tile_shape tile_tall = {128, 64, 16, 8, 4};
static const tile_shape tile_small = {64, 64, 16, 4, 4};

/* Workgroups that keep a large GPU busy; below it smaller tiles, or in TN chunks of rows, make more of them. */
#define GROUPS_WANTED 256
#define CHUNK_UNIT 256 /* rows of the shortest chunk; a multiple of every bk */

typedef struct matmul_plan {
    bool lane;
    gpu_kernel_desc kernel;
    uint32_t groups[3];
    struct matmul_push push;
    uint32_t parts; /* > 1: through scratch and matmul_reduce */
} matmul_plan;

static bool given(gpu_tensor tensor) { return tensor.arena != NULL; }

static bool use_lane(gpu_device *device, const op_matmul_desc *desc) {
    if (desc->kernel != OP_MATMUL_AUTO) return desc->kernel == OP_MATMUL_LANE;
    return gpu_device_info(device)->kind == GPU_KIND_CPU;
}

static struct matmul_push dims_of(const op_matmul_desc *desc) {
    struct matmul_push push = {.m = desc->m, .n = desc->n, .k = desc->k, .at = desc->rows.at};
    if (desc->form == OP_MATMUL_TN)
        push.k = desc->rows.max;
    else
        push.m = desc->rows.max;
    return push;
}

/* ---- check ---- */

static ij_status check_tensor(const char *label, const char *name, gpu_tensor tensor, uint64_t rows, uint64_t cols, bool needed,
                              ij_error *err) {
    if (!given(tensor)) return needed ? ij_fail(err, IJ_ERROR_ARGUMENT, "%s: %s is missing", label, name) : IJ_OK;
    if (rows * cols > UINT32_MAX)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: %s is [%llu, %llu], more than 2^32 elements", label, name, (unsigned long long)rows,
                       (unsigned long long)cols);
    if (tensor.bytes < 4 * rows * cols)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: %s has %llu bytes, [%llu, %llu] needs %llu", label, name,
                       (unsigned long long)tensor.bytes, (unsigned long long)rows, (unsigned long long)cols,
                       (unsigned long long)(4 * rows * cols));
    return IJ_OK;
}

static bool overlap(gpu_tensor x, gpu_tensor y) {
    return given(x) && given(y) && x.arena == y.arena && x.block == y.block && x.offset < y.offset + y.bytes &&
           y.offset < x.offset + x.bytes;
}

static ij_status check(const char *label, const op_matmul_desc *desc, ij_error *err) {
    struct matmul_push d = dims_of(desc);
    bool nt = desc->form == OP_MATMUL_NT, nn = desc->form == OP_MATMUL_NN, tn = desc->form == OP_MATMUL_TN;
    if (d.m == 0 || d.n == 0 || d.k == 0)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: empty product, m %u, n %u, k %u", label, d.m, d.n, d.k);
    IJ_TRY(check_tensor(label, "a", desc->a, tn ? d.k : d.m, tn ? d.m : d.k, true, err));
    IJ_TRY(check_tensor(label, "b", desc->b, nt ? d.n : d.k, nt ? d.k : d.n, true, err));
    IJ_TRY(check_tensor(label, "c", desc->c, d.m, d.n, true, err));
    IJ_TRY(check_tensor(label, "bias", desc->bias, 1, d.n, false, err));
    IJ_TRY(check_tensor(label, "gelu_grad_of", desc->gelu_grad_of, d.m, d.n, false, err));
    IJ_TRY(check_tensor(label, "residual", desc->residual, d.m, d.n, false, err));
    IJ_TRY(check_tensor(label, "pre", desc->pre, d.m, d.n, false, err));
    IJ_TRY(check_tensor(label, "bias_grad", desc->bias_grad, 1, d.m, false, err));
    IJ_TRY(check_tensor(label, "row offsets", desc->rows.offsets, 1, (uint64_t)desc->rows.at + 1, false, err));
    /* What does not go together is a mistake in the calling code. */
    assert(!given(desc->bias) || nt);
    assert(!desc->gelu || nt);
    assert(!given(desc->pre) || desc->gelu);
    assert(!given(desc->bias_grad) || tn);
    assert(!given(desc->gelu_grad_of) || (nn && !given(desc->residual) && !desc->accumulate));
    (void)nn;
    if (overlap(desc->c, desc->a) || overlap(desc->c, desc->b) || overlap(desc->c, desc->residual) || overlap(desc->c, desc->pre))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: c overlaps another tensor of the product", label);
    return IJ_OK;
}

/* ---- plan ---- */

static uint32_t epilogue_bits(const op_matmul_desc *desc) {
    return (given(desc->bias) ? MATMUL_BIAS : 0u) | (given(desc->gelu_grad_of) ? MATMUL_GELU_GRAD : 0u) |
           (given(desc->residual) ? MATMUL_RESIDUAL : 0u) | (desc->accumulate ? MATMUL_ACCUMULATE : 0u) | (desc->gelu ? MATMUL_GELU : 0u) |
           (given(desc->pre) ? MATMUL_KEEP_PRE : 0u) | (given(desc->bias_grad) ? MATMUL_ROW_SUMS : 0u) |
           (given(desc->rows.offsets) ? MATMUL_DEVICE_ROWS : 0u);
}

/* Rows of a partial sum, a function of m and n alone. */
static uint32_t lane_chunk(const op_matmul_desc *desc) {
    if (desc->form != OP_MATMUL_TN) return ~0u;
    if (desc->chunk) return desc->chunk;
    return (uint64_t)desc->m * desc->n < LANE_LARGE ? LANE_CHUNK : LANE_CHUNK_LARGE;
}

static void plan_lane(gpu_device *device, const op_matmul_desc *desc, matmul_plan *plan) {
    uint32_t subgroup = gpu_device_info(device)->subgroup_size, m = plan->push.m, n = plan->push.n;
    uint32_t lanes = subgroup < 8 ? 8 : subgroup > 16 ? 16 : subgroup;
    uint32_t rows = m > 16 ? LANE_ROWS : m > 4 ? 16 : 4;
    uint32_t wide = op_groups(n, lanes * LANE_COLS) * LANE_COLS, narrow = op_groups(n, lanes * LANE_COLS_NARROW) * LANE_COLS_NARROW;
    uint32_t cols = 10 * narrow < 9 * wide ? LANE_COLS_NARROW : LANE_COLS; /* the narrow one is a tenth slower */
    uint32_t bits = epilogue_bits(desc);
    if (n % (lanes * cols) != 0) bits |= MATMUL_COLUMN_TAIL;
    if (plan->push.k % 2 != 0 || (desc->form == OP_MATMUL_TN && given(desc->rows.offsets))) bits |= MATMUL_K_TAIL;
    struct matmul_push *push = &plan->push;
    bool dealt = desc->form != OP_MATMUL_TN && given(desc->rows.offsets); /* only the first row tiles may exist */
    push->chunk = lane_chunk(desc);
    plan->parts = push->chunk < push->k ? op_groups(push->k, push->chunk) : 1;
    if (plan->parts > 1) bits = (bits & ~(uint32_t)MATMUL_ACCUMULATE) | MATMUL_SPLIT; /* matmul_reduce accumulates */
    push->tiles = op_groups(m, rows), push->tile_columns = op_groups(n, lanes * cols);
    uint32_t dividable = push->tiles * (dealt ? 1 : push->tile_columns), shares = rows_shares(device);
    if (shares > dividable) shares = dividable;
    plan->kernel = (gpu_kernel_desc){.shader = "matmul_lane", .specs = {lanes, desc->form, bits, rows, cols}, .spec_count = 5};
    plan->groups[0] = op_groups(dividable, shares) * (dealt ? push->tile_columns : 1);
    plan->groups[1] = plan->parts;
    plan->groups[2] = shares;
}

static tile_shape choose_tile(const op_matmul_desc *desc, const struct matmul_push *d) {
    tile_shape best = d->n % 128 == 0 || d->n > 256 + 64 ? tile_large : tile_tall;
    if (d->n % 128 > 0 && d->n % 128 <= 64) best = tile_tall;
    if (d->m <= 64) return tile_small;
    if (desc->form == OP_MATMUL_TN) return best; /* chunks make the workgroups */
    return (uint64_t)op_groups(d->m, best.bm) * op_groups(d->n, best.bn) >= GROUPS_WANTED ? best : tile_small;
}

/* Rows of a chunk in TN, a function of m, n and the tile alone: longer where c is larger, so that writing and adding the
 * parts stays a small share of the multiplying. ~0: not split. */
static uint32_t choose_chunk(const op_matmul_desc *desc, const struct matmul_push *d, tile_shape tile) {
    if (desc->form != OP_MATMUL_TN) return ~0u;
    if (desc->chunk) return desc->chunk;
    uint32_t tiles = op_groups(d->m, tile.bm) * op_groups(d->n, tile.bn);
    return tiles >= GROUPS_WANTED ? ~0u : CHUNK_UNIT * op_groups(tiles, 8);
}

static void plan_tile(const op_matmul_desc *desc, matmul_plan *plan) {
    const struct matmul_push *d = &plan->push;
    tile_shape tile = choose_tile(desc, d);
    plan->push.chunk = choose_chunk(desc, d, tile);
    assert(plan->push.chunk == ~0u || plan->push.chunk % tile.bk == 0);
    plan->parts = plan->push.chunk < d->k ? op_groups(d->k, plan->push.chunk) : 1;
    uint32_t bits = epilogue_bits(desc);
    if (plan->parts > 1) bits = (bits & (MATMUL_ROW_SUMS | MATMUL_DEVICE_ROWS)) | MATMUL_SPLIT; /* matmul_reduce accumulates */
    if ((desc->form == OP_MATMUL_TN ? d->m : d->k) % 4 == 0) bits |= MATMUL_VECTOR_A;
    if ((desc->form == OP_MATMUL_NT ? d->k : d->n) % 4 == 0) bits |= MATMUL_VECTOR_B;
    if (d->n % 4 == 0) bits |= MATMUL_VECTOR_C;
    uint32_t threads = tile.bm / tile.tm * (tile.bn / tile.tn);
    plan->kernel = (gpu_kernel_desc){
        .shader = "matmul_tile", .specs = {threads, desc->form, bits, tile.bm, tile.bn, tile.bk, tile.tm, tile.tn}, .spec_count = 8};
    plan->groups[0] = op_groups(d->n, tile.bn);
    plan->groups[1] = op_groups(d->m, tile.bm);
    plan->groups[2] = plan->parts;
}

static void make_plan(gpu_device *device, const op_matmul_desc *desc, matmul_plan *plan) {
    memset(plan, 0, sizeof *plan);
    plan->push = dims_of(desc);
    plan->lane = use_lane(device, desc);
    if (plan->lane)
        plan_lane(device, desc, plan);
    else
        plan_tile(desc, plan);
}

/* Elements of one part: the sums and the row sums. */
static uint64_t part_stride(const op_matmul_desc *desc, const struct matmul_push *d) {
    return (uint64_t)d->m * d->n + (given(desc->bias_grad) ? d->m : 0);
}

/* With room for row sums whether they are asked for or not: it is planned before there are tensors. */
static uint64_t scratch_bytes(const matmul_plan *plan) {
    return plan->parts > 1 ? 4 * plan->parts * ((uint64_t)plan->push.m * plan->push.n + plan->push.m) : 0;
}

uint64_t op_matmul_scratch(gpu_device *device, const op_matmul_desc *desc) {
    matmul_plan plan;
    make_plan(device, desc, &plan);
    return scratch_bytes(&plan);
}

/* ---- record ---- */

static ij_status record_reduce(gpu_program *program, const op_matmul_desc *desc, const matmul_plan *plan, const char *label,
                               ij_error *err) {
    uint64_t stride = part_stride(desc, &plan->push);
    uint32_t flags = (desc->accumulate ? MATMUL_REDUCE_ACCUMULATE : 0u) | (given(desc->rows.offsets) ? MATMUL_REDUCE_DEVICE_ROWS : 0u);
    gpu_kernel_desc kernel_desc = {.shader = "matmul_reduce", .specs = {flags}, .spec_count = 1};
    struct matmul_reduce_push push = {
        desc->m * desc->n, given(desc->bias_grad) ? desc->m : 0, plan->push.k, desc->rows.at, plan->push.chunk, (uint32_t)stride};
    gpu_dispatch_desc dispatch = {.label = label,
                                  .tensors = {desc->scratch, desc->c, desc->bias_grad, desc->rows.offsets},
                                  .tensor_count = 4,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {op_groups((int64_t)stride, MATMUL_REDUCE_THREADS)},
                                  .flops = (double)plan->parts * (double)stride,
                                  .bytes = 4.0 * ((double)plan->parts + 1) * (double)stride};
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &kernel_desc, &dispatch.kernel, err));
    return gpu_dispatch(program, &dispatch, err);
}

ij_status op_matmul(gpu_program *program, const op_matmul_desc *desc, ij_error *err) {
    static const char *const names[] = {"matmul_nt", "matmul_nn", "matmul_tn"};
    const char *label = desc->label ? desc->label : names[desc->form];
    IJ_TRY(check(label, desc, err));
    matmul_plan plan;
    make_plan(gpu_program_device(program), desc, &plan);
    bool split = plan.parts > 1;
    uint64_t scratch = scratch_bytes(&plan);
    if (scratch > 4 * (uint64_t)UINT32_MAX || (split && desc->scratch.bytes < scratch))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: scratch has %llu bytes, %u chunks of %u rows need %llu", label,
                       (unsigned long long)desc->scratch.bytes, plan.parts, plan.push.chunk, (unsigned long long)scratch);
    gpu_tensor zero = {0};
    double m = plan.push.m, n = plan.push.n, k = plan.push.k;
    gpu_dispatch_desc dispatch = {.label = label,
                                  .tensors = {desc->a, desc->b, split ? desc->scratch : desc->c, desc->rows.offsets, desc->bias,
                                              desc->residual, given(desc->pre) ? desc->pre : desc->gelu_grad_of,
                                              split ? zero : desc->bias_grad},
                                  .tensor_count = 8,
                                  .push = &plan.push,
                                  .push_bytes = sizeof plan.push,
                                  .groups = {plan.groups[0], plan.groups[1], plan.groups[2]},
                                  .flops = 2 * m * n * k,
                                  .bytes = 4 * (m * k + n * k + m * n)};
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &plan.kernel, &dispatch.kernel, err));
    IJ_TRY(gpu_dispatch(program, &dispatch, err));
    return split ? record_reduce(program, desc, &plan, label, err) : IJ_OK;
}

/* ---- as data ------------------------------------------------------------------------------------------------------------
 * All ops are one linear layer and its gradients, so that a case has the same tensors in each.
 * Case dims: [ROWS] rows there is room for, [OUT], [IN], [TRUE_ROWS] rows there are (0: all, and no offsets), [EXTRAS] bits,
 * [KERNEL], [CHUNK] as in op_matmul_desc. */
enum { ROWS, OUT, IN, TRUE_ROWS, EXTRAS, KERNEL, CHUNK };
enum { BIAS = 1, RESIDUAL = 2, GELU = 4, PRE = 8, ADD = 16 /* gradients are added to what is there */ };
#define LANE OP_MATMUL_LANE
#define TILE OP_MATMUL_TILE

static const op_case nt_cases[] = {
    {.name = "lane_one", .dims = {1, 1, 1, 0, 0, LANE}},
    {.name = "tile_one", .dims = {1, 1, 1, 0, 0, TILE}},
    {.name = "lane_prime", .dims = {37, 29, 53, 0, BIAS, LANE}},
    {.name = "tile_prime", .dims = {67, 29, 53, 0, BIAS, TILE}},
    {.name = "lane_tail_gelu", .dims = {65, 52, 36, 0, BIAS | GELU, LANE}},
    {.name = "tile_tail_gelu", .dims = {68, 132, 20, 0, BIAS | GELU, TILE}},
    {.name = "lane_ragged_gelu_pre", .dims = {70, 96, 44, 41, BIAS | GELU | PRE, LANE}},
    {.name = "tile_ragged_gelu_pre", .dims = {134, 61, 44, 71, BIAS | GELU | PRE, TILE}},
    {.name = "lane_ragged_residual", .dims = {13, 96, 48, 7, BIAS | RESIDUAL, LANE}},
    {.name = "tile_ragged_residual", .dims = {140, 96, 48, 130, BIAS | RESIDUAL, TILE}},
    {.name = "lane_no_rows_left", .dims = {33, 10, 7, 1, BIAS, LANE}},
    {.name = "tile_large", .dims = {16400, 130, 36, 16390, BIAS, TILE}, .large = true},
    {.name = "vit_192_qkv", .dims = {608, 576, 192, 600, BIAS}, .large = true},
    {.name = "vit_192_proj", .dims = {608, 192, 192, 600, BIAS | RESIDUAL}, .large = true},
    {.name = "vit_192_fc1", .dims = {608, 768, 192, 600, BIAS | GELU | PRE}, .large = true},
    {.name = "vit_192_fc2", .dims = {608, 192, 768, 600, BIAS | RESIDUAL}, .large = true},
    {.name = "predictor_96_fc1", .dims = {2048, 384, 96, 2000, BIAS | GELU | PRE}, .large = true},
    {.name = "cube_768", .dims = {768, 768, 768}, .large = true},
};
static const op_case grad_cases[] = {
    {.name = "lane_one", .dims = {1, 1, 1, 0, BIAS, LANE}},
    {.name = "tile_one", .dims = {1, 1, 1, 0, BIAS, TILE}},
    {.name = "lane_prime", .dims = {37, 29, 53, 0, BIAS, LANE}},
    {.name = "tile_prime", .dims = {67, 71, 53, 0, BIAS, TILE}},
    {.name = "lane_tail_add", .dims = {65, 36, 52, 0, BIAS | ADD, LANE}},
    {.name = "tile_tail_add", .dims = {68, 132, 20, 0, BIAS | ADD, TILE}},
    {.name = "lane_ragged_add", .dims = {70, 44, 96, 41, ADD, LANE}},
    {.name = "lane_chunks", .dims = {100, 68, 61, 0, BIAS, LANE, 32}},
    {.name = "lane_chunks_add", .dims = {131, 67, 64, 91, BIAS | ADD, LANE, 32}},
    {.name = "tile_ragged", .dims = {134, 61, 44, 71, 0, TILE, ~0u}},
    {.name = "tile_chunks", .dims = {100, 68, 61, 0, BIAS, TILE, 32}},
    {.name = "tile_chunks_add", .dims = {131, 67, 64, 90, BIAS | ADD, TILE, 32}},
    {.name = "vit_192_qkv", .dims = {608, 576, 192, 600, BIAS | ADD}, .large = true},
    {.name = "vit_192_proj", .dims = {608, 192, 192, 600, BIAS | ADD}, .large = true},
    {.name = "vit_192_fc1", .dims = {608, 768, 192, 600, BIAS | ADD}, .large = true},
    {.name = "vit_192_fc2", .dims = {608, 192, 768, 600, BIAS | ADD}, .large = true},
    {.name = "predictor_96_fc1", .dims = {2048, 384, 96, 2000, BIAS | ADD}, .large = true},
    {.name = "cube_768", .dims = {768, 768, 768}, .large = true},
};
static const op_case gelu_grad_cases[] = {
    {.name = "lane_prime", .dims = {37, 29, 53, 0, 0, LANE}},
    {.name = "tile_prime", .dims = {67, 29, 53, 0, 0, TILE}},
    {.name = "lane_ragged", .dims = {70, 44, 96, 41, 0, LANE}},
    {.name = "tile_ragged", .dims = {134, 44, 68, 71, 0, TILE}},
    {.name = "vit_192_fc2", .dims = {608, 192, 768, 600}, .large = true},
};

static bool has(const op_case *c, int bit) { return (c->dims[EXTRAS] & bit) != 0; }
static int64_t true_rows(const op_case *c) { return c->dims[TRUE_ROWS] ? c->dims[TRUE_ROWS] : c->dims[ROWS]; }

static op_matmul_desc desc_of(const op_case *c, op_matmul_form form, gpu_tensor offsets) {
    op_matmul_desc desc = {.form = form,
                           .rows = {.at = 1, .max = (uint32_t)c->dims[ROWS]},
                           .kernel = (op_matmul_kernel)c->dims[KERNEL],
                           .chunk = (uint32_t)c->dims[CHUNK]};
    if (c->dims[TRUE_ROWS]) desc.rows.offsets = offsets;
    return desc;
}

static op_arg offsets_arg(void) { return (op_arg){"offsets", OP_IN, OP_U32, 2, 1, 0}; }
static void set_offsets(const op_case *c, uint32_t *offsets) { offsets[0] = 0, offsets[1] = (uint32_t)true_rows(c); }

/* GELU adds its own error, at most that of eltwise's gelu, to the sum's. */
static double tolerance(int64_t terms, bool gelu) { return op_tolerance(terms) + (gelu ? 0x1p-24 * 32 : 0); }

/* matmul_nt: offsets, x, w, bias, residual, y, pre; what a case has not is one element that nobody touches. */
static int nt_args(const op_case *c, op_arg *args) {
    int64_t rows = c->dims[ROWS], out = c->dims[OUT], in = c->dims[IN];
    double bound = tolerance(in, has(c, GELU));
    args[0] = offsets_arg();
    args[1] = (op_arg){"x", OP_IN, OP_F32, rows * in, 1, 0};
    args[2] = (op_arg){"w", OP_IN, OP_F32, out * in, 1, 0};
    args[3] = (op_arg){"bias", OP_IN, OP_F32, out, 1, 0};
    args[4] = (op_arg){"residual", OP_IN, OP_F32, has(c, RESIDUAL) ? rows * out : 1, 1, 0};
    args[5] = (op_arg){"y", OP_OUT, OP_F32, rows * out, 1, bound};
    args[6] = (op_arg){"pre", OP_OUT, OP_F32, has(c, PRE) ? rows * out : 1, 1, bound};
    return 7;
}
static ij_status nt_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_matmul_desc desc = desc_of(c, OP_MATMUL_NT, t[0]);
    desc.n = (uint32_t)c->dims[OUT], desc.k = (uint32_t)c->dims[IN];
    desc.a = t[1], desc.b = t[2], desc.c = t[5];
    desc.gelu = has(c, GELU);
    if (has(c, BIAS)) desc.bias = t[3];
    if (has(c, RESIDUAL)) desc.residual = t[4];
    if (has(c, PRE)) desc.pre = t[6];
    return op_matmul(program, &desc, err);
}
static void nt_ref(const op_case *c, void *const *h) {
    int64_t out = c->dims[OUT], count = true_rows(c) * out;
    double *y = h[5], *pre = h[6], *bias = h[3], *residual = h[4];
    ref_matmul(OP_MATMUL_NT, true_rows(c), out, c->dims[IN], h[1], h[2], y, false);
    for (int64_t i = 0; i < count; i++) y[i] += (has(c, BIAS) ? bias[i % out] : 0) + (has(c, RESIDUAL) ? residual[i] : 0);
    if (has(c, PRE)) memcpy(pre, y, (size_t)count * sizeof *pre);
    if (has(c, GELU)) ref_gelu(y, y, count);
}
static void any_prepare(const op_case *c, void *const *h) { set_offsets(c, h[0]); }

/* matmul_nn: offsets, dy, w, dx. */
static int nn_args(const op_case *c, op_arg *args) {
    int64_t rows = c->dims[ROWS], out = c->dims[OUT], in = c->dims[IN];
    args[0] = offsets_arg();
    args[1] = (op_arg){"dy", OP_IN, OP_F32, rows * out, 1, 0};
    args[2] = (op_arg){"w", OP_IN, OP_F32, out * in, 1, 0};
    args[3] = (op_arg){"dx", has(c, ADD) ? OP_INOUT : OP_OUT, OP_F32, rows * in, 1, tolerance(out, false)};
    return 4;
}
static ij_status nn_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_matmul_desc desc = desc_of(c, OP_MATMUL_NN, t[0]);
    desc.n = (uint32_t)c->dims[IN], desc.k = (uint32_t)c->dims[OUT];
    desc.a = t[1], desc.b = t[2], desc.c = t[3];
    desc.accumulate = has(c, ADD);
    return op_matmul(program, &desc, err);
}
static void nn_ref(const op_case *c, void *const *h) {
    ref_matmul(OP_MATMUL_NN, true_rows(c), c->dims[IN], c->dims[OUT], h[1], h[2], h[3], has(c, ADD));
}

/* matmul_nn_gelu: offsets, dy, w, pre, dpre: the gradient of gelu(pre) W^T. */
static int nn_gelu_args(const op_case *c, op_arg *args) {
    int64_t rows = c->dims[ROWS], out = c->dims[OUT], in = c->dims[IN];
    args[0] = offsets_arg();
    args[1] = (op_arg){"dy", OP_IN, OP_F32, rows * out, 1, 0};
    args[2] = (op_arg){"w", OP_IN, OP_F32, out * in, 1, 0};
    args[3] = (op_arg){"pre", OP_IN, OP_F32, rows * in, 1.5, 0};
    args[4] = (op_arg){"dpre", OP_OUT, OP_F32, rows * in, 1, tolerance(out, true)};
    return 5;
}
static ij_status nn_gelu_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_matmul_desc desc = desc_of(c, OP_MATMUL_NN, t[0]);
    desc.n = (uint32_t)c->dims[IN], desc.k = (uint32_t)c->dims[OUT];
    desc.a = t[1], desc.b = t[2], desc.gelu_grad_of = t[3], desc.c = t[4];
    return op_matmul(program, &desc, err);
}
static void nn_gelu_ref(const op_case *c, void *const *h) {
    ref_matmul(OP_MATMUL_NN, true_rows(c), c->dims[IN], c->dims[OUT], h[1], h[2], h[4], false);
    ref_gelu_bwd(h[3], h[4], h[4], true_rows(c) * c->dims[IN]);
}

/* matmul_tn: offsets, dy, x, dw, dbias, scratch. */
static int tn_args(const op_case *c, op_arg *args) {
    int64_t rows = c->dims[ROWS], out = c->dims[OUT], in = c->dims[IN];
    int64_t chunk = c->dims[CHUNK] ? c->dims[CHUNK] : CHUNK_UNIT, parts = (rows + chunk - 1) / chunk;
    op_role role = has(c, ADD) ? OP_INOUT : OP_OUT;
    double bound = tolerance(true_rows(c), false);
    args[0] = offsets_arg();
    args[1] = (op_arg){"dy", OP_IN, OP_F32, rows * out, 1, 0};
    args[2] = (op_arg){"x", OP_IN, OP_F32, rows * in, 1, 0};
    args[3] = (op_arg){"dw", role, OP_F32, out * in, 1, bound};
    args[4] = (op_arg){"dbias", role, OP_F32, out, 1, bound};
    args[5] = (op_arg){"scratch", OP_SCRATCH, OP_F32, parts > 1 ? parts * (out * in + out) : 1, 1, 0};
    return 6;
}
static ij_status tn_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_matmul_desc desc = desc_of(c, OP_MATMUL_TN, t[0]);
    desc.m = (uint32_t)c->dims[OUT], desc.n = (uint32_t)c->dims[IN];
    desc.a = t[1], desc.b = t[2], desc.c = t[3], desc.scratch = t[5];
    desc.accumulate = has(c, ADD);
    if (has(c, BIAS)) desc.bias_grad = t[4];
    return op_matmul(program, &desc, err);
}
static void tn_ref(const op_case *c, void *const *h) {
    int64_t out = c->dims[OUT];
    const double *dy = h[1];
    double *dbias = h[4];
    ref_matmul(OP_MATMUL_TN, out, c->dims[IN], true_rows(c), dy, h[2], h[3], has(c, ADD));
    for (int64_t i = 0; i < out && has(c, BIAS); i++) {
        double sum = has(c, ADD) ? dbias[i] : 0;
        for (int64_t row = 0; row < true_rows(c); row++) sum += dy[row * out + i];
        dbias[i] = sum;
    }
}

static void any_cost(const op_case *c, double *flops, double *bytes) {
    double rows = (double)true_rows(c), out = (double)c->dims[OUT], in = (double)c->dims[IN];
    *flops = 2 * rows * out * in;
    *bytes = 4 * (rows * in + out * in + rows * out);
}

static const op_desc ops[] = {
    {"matmul_nt", NULL, nt_cases, IJ_COUNT(nt_cases), nt_args, any_prepare, nt_record, nt_ref, any_cost},
    {"matmul_nn", "matmul_nt", grad_cases, IJ_COUNT(grad_cases), nn_args, any_prepare, nn_record, nn_ref, any_cost},
    {"matmul_nn_gelu", NULL, gelu_grad_cases, IJ_COUNT(gelu_grad_cases), nn_gelu_args, any_prepare, nn_gelu_record, nn_gelu_ref, any_cost},
    {"matmul_tn", "matmul_nt", grad_cases, IJ_COUNT(grad_cases), tn_args, any_prepare, tn_record, tn_ref, any_cost},
};
const op_family op_family_matmul = {"matmul", ops, IJ_COUNT(ops)};
