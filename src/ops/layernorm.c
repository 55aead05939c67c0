/* LayerNorm.       layer: ops; uses: gpu
 * Case dims: [0] rows, [1] rows_max, [2] dim, [3] flags, [4] op_dtype of y and dy, [5] of dx_copy (OP_F32: none);
 * reals: [0] mean of x, in standard deviations. */
#include "ops/layernorm.h"
#include "ops/rows.h"
#include "shaders/layernorm.h"

#include <assert.h>
#include <math.h>

#define EPS_TESTED 1e-6

ij_status op_layernorm(gpu_program *program, const op_layernorm_args *args, ij_error *err) {
    gpu_device *device = gpu_program_device(program);
    uint64_t rows_max = args->rows.max, y_bytes = gpu_matrix_bytes(args->y.element, rows_max, args->dim);
    assert(args->dim > 0 && rows_max > 0 && args->y.bytes >= y_bytes);
    assert(!args->gamma.arena == !args->beta.arena && !args->mean.arena == !args->rstd.arena);
    assert(rows_max * args->dim <= UINT32_MAX);

    rows_plan plan = rows_plan_make(device, args->dim, args->no_subgroups);
    bool half = args->y.element != GPU_WORD;
    if (half) rows_plan_pairs(&plan);
    const gpu_tensor none = {0};
    bool affine = args->gamma.arena, indexed = args->index.arena, keep = args->mean.arena;
    struct layernorm_push push = {args->dim, plan.columns, args->rows.at, args->rows.max, args->eps};
    gpu_dispatch_desc dispatch = {
        .label = args->label ? args->label : "layernorm",
        .tensors = {args->x, args->index, args->gamma, args->beta, args->rows.offsets, half ? none : args->y, args->mean, args->rstd,
                    half ? args->y : none},
        .tensor_count = 9,
        .push = &push,
        .push_bytes = sizeof push,
        .flops = 8.0 * (double)(rows_max * args->dim),
        .bytes = 4.0 * (double)(rows_max * args->dim) + (double)y_bytes,
    };
    rows_groups_ragged(device, dispatch.groups, op_groups(args->rows.max, plan.rows_per_group));
    IJ_TRY(rows_kernel(device, &plan, "layernorm_fwd", (uint32_t[]){affine, indexed, keep, args->y.element}, 4, &dispatch.kernel, err));
    return gpu_dispatch(program, &dispatch, err);
}

static uint32_t chunks_of(uint32_t rows_max) { return op_groups(rows_max, LAYERNORM_CHUNK); }

uint64_t op_layernorm_bwd_scratch(uint32_t dim, uint32_t rows_max) { return 4 * 2 * (uint64_t)chunks_of(rows_max) * dim; }

static ij_status sum_params(gpu_program *program, const op_layernorm_bwd_args *args, const struct layernorm_push *push, ij_error *err) {
    gpu_kernel_desc desc = {.shader = "layernorm_params", .specs = {args->add_params}, .spec_count = 1};
    double values = 2.0 * chunks_of(args->rows.max) * args->dim;
    gpu_dispatch_desc dispatch = {
        .label = "layernorm_params",
        .tensors = {args->scratch, args->rows.offsets, args->dgamma, args->dbeta},
        .tensor_count = 4,
        .push = push,
        .push_bytes = sizeof *push,
        .groups = {op_groups(2 * (int64_t)args->dim, LAYERNORM_COLUMNS)},
        .flops = values,
        .bytes = 4 * values,
    };
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &desc, &dispatch.kernel, err));
    return gpu_dispatch(program, &dispatch, err);
}

ij_status op_layernorm_bwd(gpu_program *program, const op_layernorm_bwd_args *args, ij_error *err) {
    gpu_device *device = gpu_program_device(program);
    uint64_t elements = (uint64_t)args->rows.max * args->dim;
    bool affine = args->gamma.arena, params = args->dgamma.arena;
    assert(args->dim > 0 && args->rows.max > 0 && elements <= UINT32_MAX);
    const gpu_tensor none = {0};
    bool half = args->dy.element != GPU_WORD, copied = args->dx_copy.arena;
    uint64_t dy_bytes = gpu_matrix_bytes(args->dy.element, args->rows.max, args->dim);
    uint64_t copy_bytes = copied ? gpu_matrix_bytes(args->dx_copy.element, args->rows.max, args->dim) : 0;
    assert(args->x.bytes >= 4 * elements && args->dy.bytes >= dy_bytes && args->dx.bytes >= 4 * elements);
    assert(args->dx_copy.bytes >= copy_bytes && (!copied || args->dx_copy.element != GPU_WORD));
    assert(params == (args->dbeta.arena != NULL) &&
           (!params || args->scratch.bytes >= op_layernorm_bwd_scratch(args->dim, args->rows.max)));

    rows_plan plan = rows_plan_make(device, args->dim, args->no_subgroups);
    if (copied || half) rows_plan_pairs(&plan);
    struct layernorm_push push = {args->dim, plan.columns, args->rows.at, args->rows.max, 0};
    gpu_dispatch_desc dispatch = {
        .label = args->label ? args->label : "layernorm_bwd",
        .tensors = {args->x, half ? none : args->dy, args->gamma, args->mean, args->rstd, args->rows.offsets, args->dx, args->scratch,
                    half ? args->dy : none, args->dx_copy},
        .tensor_count = 10,
        .push = &push,
        .push_bytes = sizeof push,
        .flops = 16.0 * (double)elements,
        .bytes = (args->add ? 12.0 : 8.0) * (double)elements + (double)(dy_bytes + copy_bytes),
    };
    rows_groups_ragged(device, dispatch.groups, op_groups(chunks_of(args->rows.max), plan.rows_per_group));
    IJ_TRY(rows_kernel(device, &plan, "layernorm_bwd", (uint32_t[]){affine, args->add, params, args->dy.element, args->dx_copy.element}, 5,
                       &dispatch.kernel, err));
    IJ_TRY(gpu_dispatch(program, &dispatch, err));
    return params ? sum_params(program, args, &push, err) : IJ_OK;
}

/* ---- as data ---- */

enum { PLAIN = 1, INDEXED = 2, ADD = 4, NO_SUBGROUPS = 8 }; /* flags of a case; PLAIN: no affine part, statistics not kept */

static const op_case cases[] = {
    /* E[x^2] - mean^2 would be wrong in the second digit here. Forward only: a mean rounded to f32 is off by 3e-5 deviations. */
    {.name = "far_from_zero", .dims = {19, 19, 192, 0}, .reals = {1000}},
    {.name = "one", .dims = {1, 1, 4, 0}},
    {.name = "none_of_5", .dims = {0, 5, 12, 0}},
    {.name = "odd_dim", .dims = {37, 37, 49, 0}},
    {.name = "odd_dim_plain", .dims = {5, 9, 3, PLAIN}},
    {.name = "ragged", .dims = {67, 130, 52, INDEXED | ADD}},
    {.name = "plain_indexed", .dims = {33, 40, 24, PLAIN | INDEXED}},
    {.name = "off_centre", .dims = {19, 19, 192, 0}, .reals = {8}},
    {.name = "no_subgroups", .dims = {67, 70, 100, NO_SUBGROUPS}},
    {.name = "no_subgroups_add", .dims = {130, 131, 36, NO_SUBGROUPS | ADD | INDEXED}},
    {.name = "vit_huge", .dims = {41, 41, 1280, 0}},
    {.name = "f16", .dims = {67, 80, 192, ADD, OP_F16, OP_F16}},
    {.name = "bf16", .dims = {35, 40, 260, 0, OP_BF16, OP_BF16}},
    {.name = "f16_one", .dims = {1, 1, 1, 0, OP_F16, OP_F16}},
    {.name = "bf16_none_of_5", .dims = {0, 5, 12, 0, OP_BF16, OP_BF16}},
    {.name = "f16_odd_dim", .dims = {37, 39, 49, ADD | INDEXED, OP_F16, OP_F16}},
    {.name = "bf16_even_dim", .dims = {9, 11, 134, PLAIN, OP_BF16, OP_BF16}},
    {.name = "bf16_copy_of_f32", .dims = {33, 33, 71, ADD, OP_F32, OP_BF16}},
    {.name = "f16_no_copy", .dims = {21, 22, 51, 0, OP_F16}},
    {.name = "f16_no_subgroups", .dims = {67, 70, 101, NO_SUBGROUPS, OP_F16, OP_F16}},
    {.name = "bf16_no_subgroups", .dims = {33, 34, 68, NO_SUBGROUPS | ADD, OP_BF16, OP_BF16}},
    {.name = "f16_vit_huge", .dims = {41, 41, 1280, ADD, OP_F16, OP_F16}},
    {.name = "vit_192", .dims = {4096, 4096, 192, ADD}, .large = true},
    {.name = "vit_base", .dims = {4096, 4096, 768, ADD}, .large = true},
    {.name = "vit_base_f16", .dims = {4096, 4096, 768, ADD, OP_F16, OP_F16}, .large = true},
    {.name = "vit_base_bf16", .dims = {4096, 4096, 768, ADD, OP_BF16, OP_BF16}, .large = true},
};

static bool flag(const op_case *c, int f) { return (c->dims[3] & f) != 0; }
static bool copied(const op_case *c) { return c->dims[5] != OP_F32; }
static double element_bytes(const op_case *c, int at) { return c->dims[at] == OP_F32 ? 4 : 2; }
static ij_rows rows_of(const op_case *c, gpu_tensor offsets) { return (ij_rows){offsets, 1, (uint32_t)c->dims[1]}; }

/* Sums of dim terms; a mean far from zero loses as many digits in x - mean, which is the data's doing, not the kernel's. */
static double tolerance(const op_case *c) { return op_tolerance(c->dims[2]) * (1 + c->reals[0]); }

static void prepare_x(const op_case *c, double *x) {
    for (int64_t e = 0; e < c->dims[1] * c->dims[2]; e++) x[e] = (double)(float)(x[e] + c->reals[0]);
}
static void prepare_offsets(const op_case *c, uint32_t *offsets) { offsets[0] = 12345, offsets[1] = (uint32_t)c->dims[0]; }

static int fwd_args(const op_case *c, op_arg *args) {
    int64_t rows = c->dims[1], dim = c->dims[2];
    op_role statistics = flag(c, PLAIN) ? OP_SCRATCH : OP_OUT;
    args[0] = (op_arg){"x", OP_IN, OP_F32, rows * dim, 1, 0};
    args[1] = (op_arg){"index", OP_IN, OP_U32, rows, 0, 0};
    args[2] = (op_arg){"gamma", OP_IN, OP_F32, dim, 1, 0};
    args[3] = (op_arg){"beta", OP_IN, OP_F32, dim, 1, 0};
    args[4] = (op_arg){"rows", OP_IN, OP_U32, 2, 0, 0};
    args[5] = (op_arg){"y", OP_OUT, (op_dtype)c->dims[4], rows * dim, 0, tolerance(c), dim};
    args[6] = (op_arg){"mean", statistics, OP_F32, rows, 0, op_tolerance(dim)};
    args[7] = (op_arg){"rstd", statistics, OP_F32, rows, 0, tolerance(c)};
    return 8;
}
static void fwd_prepare(const op_case *c, void *const *h) {
    prepare_x(c, h[0]);
    for (int64_t r = 0; r < c->dims[1]; r++) ((uint32_t *)h[1])[r] = flag(c, INDEXED) ? (uint32_t)((r * 7 + 3) % c->dims[1]) : UINT32_MAX;
    prepare_offsets(c, h[4]);
}
static ij_status fwd_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_layernorm_args args = {.x = t[0],
                              .y = t[5],
                              .rows = rows_of(c, t[4]),
                              .dim = (uint32_t)c->dims[2],
                              .eps = (float)EPS_TESTED,
                              .no_subgroups = flag(c, NO_SUBGROUPS)};
    if (flag(c, INDEXED)) args.index = t[1];
    if (!flag(c, PLAIN)) args.gamma = t[2], args.beta = t[3], args.mean = t[6], args.rstd = t[7];
    return op_layernorm(program, &args, err);
}
static void fwd_ref(const op_case *c, void *const *h) {
    bool plain = flag(c, PLAIN);
    ref_layernorm(h[0], flag(c, INDEXED) ? h[1] : NULL, plain ? NULL : h[2], plain ? NULL : h[3], h[5], plain ? NULL : h[6],
                  plain ? NULL : h[7], c->dims[0], c->dims[2], (double)(float)EPS_TESTED);
}

/* The backward op has no index: its forward op is the same case with the identity in it. */
static int bwd_args(const op_case *c, op_arg *args) {
    int64_t rows = c->dims[1], dim = c->dims[2];
    op_role out = flag(c, ADD) ? OP_INOUT : OP_OUT;
    op_role params = flag(c, PLAIN) ? OP_SCRATCH : out;
    args[0] = (op_arg){"x", OP_IN, OP_F32, rows * dim, 1, 0};
    args[1] = (op_arg){"dy", OP_IN, (op_dtype)c->dims[4], rows * dim, 1, 0, dim};
    args[2] = (op_arg){"gamma", OP_IN, OP_F32, dim, 1, 0};
    args[3] = (op_arg){"mean", OP_IN, OP_F32, rows, 0, 0};
    args[4] = (op_arg){"rstd", OP_IN, OP_F32, rows, 0, 0};
    args[5] = (op_arg){"rows", OP_IN, OP_U32, 2, 0, 0};
    args[6] = (op_arg){"dx", out, OP_F32, rows * dim, 1, 2 * tolerance(c)};
    args[7] = (op_arg){"dgamma", params, OP_F32, dim, 1, op_tolerance(c->dims[0]) * (1 + c->reals[0])};
    args[8] = (op_arg){"dbeta", params, OP_F32, dim, 1, op_tolerance(c->dims[0])};
    args[9] = (op_arg){"scratch", OP_SCRATCH, OP_F32, (int64_t)op_layernorm_bwd_scratch((uint32_t)dim, (uint32_t)rows) / 4, 0, 0};
    args[10] = (op_arg){"index", OP_IN, OP_U32, rows, 0, 0};
    args[11] = (op_arg){"dx_copy", copied(c) ? OP_OUT : OP_SCRATCH, (op_dtype)c->dims[5], rows * dim, 0, 2 * tolerance(c), dim};
    return 12;
}
static void bwd_prepare(const op_case *c, void *const *h) {
    prepare_x(c, h[0]);
    prepare_offsets(c, h[5]);
    for (int64_t r = 0; r < c->dims[1]; r++) ((uint32_t *)h[10])[r] = (uint32_t)r;
    double *x = h[0], *mean = h[3], *rstd = h[4];
    for (int64_t r = 0; r < c->dims[0]; r++) {
        double variance = 0;
        mean[r] = 0;
        for (int64_t d = 0; d < c->dims[2]; d++) mean[r] += x[r * c->dims[2] + d] / (double)c->dims[2];
        for (int64_t d = 0; d < c->dims[2]; d++) variance += pow(x[r * c->dims[2] + d] - mean[r], 2) / (double)c->dims[2];
        rstd[r] = 1 / sqrt(variance + EPS_TESTED);
    }
}
static ij_status bwd_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_layernorm_bwd_args args = {.x = t[0],
                                  .dy = t[1],
                                  .mean = t[3],
                                  .rstd = t[4],
                                  .dx = t[6],
                                  .rows = rows_of(c, t[5]),
                                  .dim = (uint32_t)c->dims[2],
                                  .add = flag(c, ADD),
                                  .add_params = flag(c, ADD),
                                  .no_subgroups = flag(c, NO_SUBGROUPS)};
    if (!flag(c, PLAIN)) args.gamma = t[2], args.dgamma = t[7], args.dbeta = t[8], args.scratch = t[9];
    if (copied(c)) args.dx_copy = t[11];
    return op_layernorm_bwd(program, &args, err);
}
static void bwd_ref(const op_case *c, void *const *h) {
    int64_t rows = c->dims[0], dim = c->dims[2];
    bool plain = flag(c, PLAIN);
    for (int64_t e = 0; e < rows * dim && !flag(c, ADD); e++) ((double *)h[6])[e] = 0;
    for (int64_t d = 0; d < dim && !flag(c, ADD) && !plain; d++) ((double *)h[7])[d] = ((double *)h[8])[d] = 0;
    ref_layernorm_bwd(h[0], h[1], plain ? NULL : h[2], h[3], h[4], h[6], plain ? NULL : h[7], plain ? NULL : h[8], rows, dim);
    for (int64_t e = 0; e < rows * dim && copied(c); e++) ((double *)h[11])[e] = ((double *)h[6])[e];
}

static void fwd_cost(const op_case *c, double *flops, double *bytes) {
    *flops = 8.0 * (double)(c->dims[0] * c->dims[2]), *bytes = (4 + element_bytes(c, 4)) * (double)(c->dims[0] * c->dims[2]);
}
static void bwd_cost(const op_case *c, double *flops, double *bytes) {
    double elements = (double)(c->dims[0] * c->dims[2]);
    *flops = 16 * elements, *bytes = ((flag(c, ADD) ? 12 : 8) + element_bytes(c, 4) + (copied(c) ? 2 : 0)) * elements;
}

static const op_desc ops[] = {
    {"layernorm", NULL, cases, IJ_COUNT(cases), fwd_args, fwd_prepare, fwd_record, fwd_ref, fwd_cost},
    {"layernorm_bwd", "layernorm", cases + 1, IJ_COUNT(cases) - 1, bwd_args, bwd_prepare, bwd_record, bwd_ref, bwd_cost},
};
const op_family op_family_layernorm = {"layernorm", ops, IJ_COUNT(ops)};
