/* The loss.       layer: ops; uses: gpu
 * Case dims: [0] rows, [1] rows_max, [2] dim, [3] kind, [4] flags, [5] op_dtype of dprediction;
 * reals: [0] divisor, [1] scale, [2] loss scale (0: none).
 * The gradient comes with the value; for the check against central differences "loss_grad" is the same op, seen as a backward op. */
#include "ops/loss.h"
#include "ops/rows.h"
#include "shaders/optim.h"

#include <assert.h>
#include <math.h>

static uint32_t chunks_of(uint32_t rows_max) { return op_groups(rows_max, LOSS_CHUNK); }

uint64_t op_loss_scratch(uint32_t rows_max) { return 4 * (uint64_t)chunks_of(rows_max); }

static ij_status sum_chunks(gpu_program *program, const op_loss_args *args, const struct loss_push *push, ij_error *err) {
    gpu_kernel_desc desc = {.shader = "loss_sum", .specs = {args->accumulate}, .spec_count = 1};
    gpu_dispatch_desc dispatch = {
        .label = "loss_sum",
        .tensors = {args->scratch, args->rows.offsets, args->loss},
        .tensor_count = 3,
        .push = push,
        .push_bytes = sizeof *push,
        .groups = {1},
        .flops = chunks_of(args->rows.max),
        .bytes = 4.0 * chunks_of(args->rows.max),
    };
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &desc, &dispatch.kernel, err));
    return gpu_dispatch(program, &dispatch, err);
}

ij_status op_loss(gpu_program *program, const op_loss_args *args, ij_error *err) {
    gpu_device *device = gpu_program_device(program);
    uint64_t elements = (uint64_t)args->rows.max * args->dim;
    assert(args->dim > 0 && args->rows.max > 0 && elements <= UINT32_MAX && args->kind <= LOSS_L1 && args->divisor >= 0);
    assert(args->prediction.bytes >= 4 * elements && args->target.bytes >= 4 * elements);
    assert(args->scratch.bytes >= op_loss_scratch(args->rows.max));

    rows_plan plan = rows_plan_make(device, args->dim, args->no_subgroups);
    const gpu_tensor none = {0};
    bool gradient = args->dprediction.arena, row_loss = args->row_loss.arena, half = args->dprediction.element != GPU_WORD;
    bool scaled = args->loss_scale.arena;
    uint64_t gradient_bytes = gradient ? gpu_matrix_bytes(args->dprediction.element, args->rows.max, args->dim) : 0;
    assert(args->dprediction.bytes >= gradient_bytes);
    if (half) rows_plan_pairs(&plan);
    struct loss_push push = {args->dim, plan.columns, args->rows.at, args->rows.max, args->divisor, args->scale != 0 ? args->scale : 1};
    gpu_dispatch_desc dispatch = {
        .label = args->label ? args->label : "loss",
        .tensors = {args->prediction, args->target, args->rows.offsets, half ? none : args->dprediction, args->row_loss, args->scratch,
                    half ? args->dprediction : none, args->loss_scale},
        .tensor_count = 8,
        .push = &push,
        .push_bytes = sizeof push,
        .flops = 6.0 * (double)elements,
        .bytes = 8.0 * (double)elements + (double)gradient_bytes,
    };
    rows_groups_ragged(device, dispatch.groups, op_groups(chunks_of(args->rows.max), plan.rows_per_group));
    IJ_TRY(rows_kernel(device, &plan, "loss", (uint32_t[]){args->kind, gradient, row_loss, args->dprediction.element, scaled}, 5,
                       &dispatch.kernel, err));
    IJ_TRY(gpu_dispatch(program, &dispatch, err));
    return sum_chunks(program, args, &push, err);
}

/* ---- as data ---- */

enum { ACCUMULATE = 1, VALUE_ONLY = 2, NO_SUBGROUPS = 4 };

static const op_case cases[] = {
    {.name = "one", .dims = {1, 1, 4, LOSS_SMOOTH_L1}, .reals = {0, 1}},
    {.name = "none_of_3", .dims = {0, 3, 8, LOSS_SMOOTH_L1}, .reals = {0, 1}},
    {.name = "none_accumulated", .dims = {0, 3, 8, LOSS_L2, ACCUMULATE}, .reals = {0, 1}},
    {.name = "odd_dim_l1", .dims = {41, 50, 27, LOSS_L1}, .reals = {0, 1}},
    {.name = "ragged_l2", .dims = {67, 130, 52, LOSS_L2, ACCUMULATE}, .reals = {0, 0.25}},
    {.name = "fixed_divisor", .dims = {131, 140, 48, LOSS_SMOOTH_L1, ACCUMULATE}, .reals = {9000, 0.5}},
    {.name = "value_only", .dims = {23, 23, 192, LOSS_SMOOTH_L1, VALUE_ONLY}, .reals = {0, 1}},
    {.name = "no_subgroups", .dims = {77, 80, 36, LOSS_SMOOTH_L1, NO_SUBGROUPS}, .reals = {0, 1}},
    {.name = "scaled", .dims = {9, 10, 24, LOSS_L2}, .reals = {0, 1, 1024}},
    {.name = "f16_scaled", .dims = {67, 70, 192, LOSS_SMOOTH_L1, 0, OP_F16}, .reals = {0, 0.5, 65536}},
    {.name = "f16_one", .dims = {1, 2, 1, LOSS_L2, 0, OP_F16}, .reals = {0, 1}},
    {.name = "f16_odd_dim", .dims = {41, 50, 27, LOSS_L1, ACCUMULATE, OP_F16}, .reals = {0, 1, 4096}},
    {.name = "bf16", .dims = {35, 36, 68, LOSS_SMOOTH_L1, 0, OP_BF16}, .reals = {0, 1}},
    {.name = "bf16_even_dim", .dims = {13, 17, 134, LOSS_L2, 0, OP_BF16}, .reals = {700, 1}},
    {.name = "f16_no_subgroups", .dims = {77, 80, 37, LOSS_SMOOTH_L1, NO_SUBGROUPS, OP_F16}, .reals = {0, 1, 256}},
    {.name = "bf16_no_subgroups", .dims = {5, 8, 36, LOSS_L2, NO_SUBGROUPS, OP_BF16}, .reals = {0, 1}},
    {.name = "vit_192_f16", .dims = {4096, 4096, 192, LOSS_SMOOTH_L1, 0, OP_F16}, .reals = {0, 1, 65536}, .large = true},
    {.name = "vit_192", .dims = {4096, 4096, 192, LOSS_SMOOTH_L1}, .reals = {0, 1}, .large = true},
    {.name = "vit_huge", .dims = {2048, 2048, 1280, LOSS_L2}, .reals = {0, 1}, .large = true},
};

/* Central differences run the forward op many times, so it must not accumulate. */
static const op_case grad_cases[] = {
    {.name = "smooth_l1", .dims = {13, 17, 20, LOSS_SMOOTH_L1}, .reals = {0, 0.5}},
    {.name = "l2", .dims = {11, 11, 24, LOSS_L2}, .reals = {1000, 1}},
    {.name = "l1", .dims = {7, 9, 27, LOSS_L1}, .reals = {0, 1}},
    {.name = "f16", .dims = {13, 17, 20, LOSS_SMOOTH_L1, 0, OP_F16}, .reals = {0, 0.5}},
    {.name = "bf16", .dims = {11, 11, 25, LOSS_L2, 0, OP_BF16}, .reals = {1000, 1}},
};

static bool flag(const op_case *c, int f) { return (c->dims[4] & f) != 0; }

static int case_args(const op_case *c, op_arg *args) {
    int64_t rows = c->dims[1], dim = c->dims[2];
    args[0] = (op_arg){"prediction", OP_IN, OP_F32, rows * dim, 1, 0};
    args[1] = (op_arg){"target", OP_IN, OP_F32, rows * dim, 1, 0};
    args[2] = (op_arg){"rows", OP_IN, OP_U32, 2, 0, 0};
    args[3] = (op_arg){"dprediction", flag(c, VALUE_ONLY) ? OP_SCRATCH : OP_OUT, (op_dtype)c->dims[5], rows * dim, 0, op_tolerance(1), dim};
    args[4] = (op_arg){"row_loss", flag(c, VALUE_ONLY) ? OP_SCRATCH : OP_OUT, OP_F32, rows, 0, op_tolerance(dim)};
    args[5] = (op_arg){"loss", flag(c, ACCUMULATE) ? OP_INOUT : OP_OUT, OP_F32, 1, 1, op_tolerance(c->dims[0] * dim)};
    args[6] = (op_arg){"scratch", OP_SCRATCH, OP_F32, (int64_t)op_loss_scratch((uint32_t)rows) / 4, 0, 0};
    args[7] = (op_arg){"loss_scale", OP_IN, OP_U32, sizeof(struct optim_scale) / 4, 0, 0};
    return 8;
}

/* As a backward op: dloss = 1, the gradient of the target is not computed. */
static int grad_args(const op_case *c, op_arg *args) {
    int count = case_args(c, args);
    args[5].name = "loss_again"; /* not an output of which a gradient could be asked */
    args[count] = (op_arg){"dloss", OP_IN, OP_F32, 1, 0, 0};
    return count + 1;
}

static void prepare(const op_case *c, void *const *h) {
    ((uint32_t *)h[2])[0] = 12345, ((uint32_t *)h[2])[1] = (uint32_t)c->dims[0];
    *(struct optim_scale *)h[7] = (struct optim_scale){.scale = (float)c->reals[2], .inverse = NAN};
}

static void grad_prepare(const op_case *c, void *const *h) {
    prepare(c, h);
    *(double *)h[8] = 1;
}

static ij_status record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_loss_args args = {.prediction = t[0],
                         .target = t[1],
                         .loss = t[5],
                         .scratch = t[6],
                         .rows = {t[2], 1, (uint32_t)c->dims[1]},
                         .dim = (uint32_t)c->dims[2],
                         .kind = (uint32_t)c->dims[3],
                         .divisor = (float)c->reals[0],
                         .scale = (float)c->reals[1],
                         .accumulate = flag(c, ACCUMULATE),
                         .no_subgroups = flag(c, NO_SUBGROUPS)};
    if (!flag(c, VALUE_ONLY)) args.dprediction = t[3], args.row_loss = t[4];
    if (c->reals[2] > 0) args.loss_scale = t[7];
    return op_loss(program, &args, err);
}

static void ref(const op_case *c, void *const *h) {
    double *loss = h[5];
    double value = ref_loss(h[0], h[1], flag(c, VALUE_ONLY) ? NULL : h[3], flag(c, VALUE_ONLY) ? NULL : h[4], c->dims[0], c->dims[2],
                            (uint32_t)c->dims[3], c->reals[0], c->reals[1]);
    *loss = flag(c, ACCUMULATE) ? *loss + value : value;
    for (int64_t e = 0; e < c->dims[0] * c->dims[2] && c->reals[2] > 0; e++) ((double *)h[3])[e] *= c->reals[2];
}

static void cost(const op_case *c, double *flops, double *bytes) {
    *flops = 6.0 * (double)(c->dims[0] * c->dims[2]), *bytes = (c->dims[5] == OP_F32 ? 12.0 : 10.0) * (double)(c->dims[0] * c->dims[2]);
}

static const op_desc ops[] = {
    {"loss", NULL, cases, IJ_COUNT(cases), case_args, prepare, record, ref, cost},
    {"loss_grad", "loss", grad_cases, IJ_COUNT(grad_cases), grad_args, grad_prepare, record, ref, cost},
};
const op_family op_family_loss = {"loss", ops, IJ_COUNT(ops)};
