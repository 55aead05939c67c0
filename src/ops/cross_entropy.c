/* Softmax and cross-entropy.       layer: ops; uses: gpu
 * Case dims: [0] rows, [1] rows_max, [2] heads, [3] classes, [4] flags, [5] op_dtype of dlogits;
 * reals: [0] smoothing, [1] scale, [2] loss scale (0: none), [3] size of the logits (0: 1).
 * The gradient comes with the value; for the check against central differences "cross_entropy_grad" is the same op, seen as a backward op. */
#include "ops/cross_entropy.h"
#include "ops/rows.h"
#include "shaders/optim.h"

#include <assert.h>
#include <math.h>

#define STATS_BYTES 16    /* of a row and head */
#define COUNTED_BYTES 256 /* the number of counted rows, before the stats: a part begins at a multiple of 256 */

uint64_t op_cross_entropy_scratch(uint32_t rows_max, uint32_t heads, uint32_t classes) {
    (void)classes;
    return COUNTED_BYTES + STATS_BYTES * (uint64_t)rows_max * heads;
}

typedef struct plan {
    gpu_tensor counted, stats; /* the parts of scratch */
    struct cross_entropy_push push;
    bool ragged;
    double elements;
} plan;

static ij_status row_stats(gpu_program *program, const op_cross_entropy_args *args, plan *p, ij_error *err) {
    gpu_device *device = gpu_program_device(program);
    rows_plan rows = rows_plan_make(device, args->classes, args->no_subgroups);
    rows.loads = 0; /* counted by push.columns: no kernel of its own for each number of classes */
    p->push.columns = rows.columns;
    gpu_dispatch_desc dispatch = {
        .label = args->label ? args->label : "cross_entropy",
        .tensors = {args->logits, args->labels, args->rows.offsets, p->stats, args->logits},
        .tensor_count = 5,
        .push = &p->push,
        .push_bytes = sizeof p->push,
        .flops = 8 * p->elements,
        .bytes = 4 * p->elements,
    };
    rows_groups_ragged(device, dispatch.groups, op_groups((int64_t)args->rows.max * args->heads, rows.rows_per_group));
    IJ_TRY(rows_kernel(device, &rows, "cross_entropy", (uint32_t[]){p->ragged}, 1, &dispatch.kernel, err));
    return gpu_dispatch(program, &dispatch, err);
}

static ij_status sum_rows(gpu_program *program, const op_cross_entropy_args *args, const plan *p, ij_error *err) {
    gpu_kernel_desc desc = {
        .shader = "cross_entropy_sum", .specs = {args->accumulate, args->right.arena != NULL, p->ragged}, .spec_count = 3};
    gpu_dispatch_desc dispatch = {
        .label = "cross_entropy_sum",
        .tensors = {p->stats, args->labels, args->rows.offsets, args->loss, args->right, p->counted},
        .tensor_count = 6,
        .push = &p->push,
        .push_bytes = sizeof p->push,
        .groups = {args->heads},
        .flops = 3.0 * args->rows.max * args->heads,
        .bytes = (double)STATS_BYTES * args->rows.max * args->heads,
    };
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &desc, &dispatch.kernel, err));
    return gpu_dispatch(program, &dispatch, err);
}

static ij_status gradient(gpu_program *program, const op_cross_entropy_args *args, const plan *p, ij_error *err) {
    gpu_element element = args->dlogits.element;
    uint64_t bytes = gpu_matrix_bytes(element, args->rows.max, (uint64_t)args->heads * args->classes), words = bytes / 4 / args->rows.max;
    assert(args->dlogits.bytes >= bytes);
    gpu_kernel_desc desc = {.shader = "cross_entropy_grad",
                            .specs = {args->classes, (uint32_t)words, element, args->loss_scale.arena != NULL, p->ragged},
                            .spec_count = 5};
    gpu_dispatch_desc dispatch = {
        .label = "cross_entropy_grad",
        .tensors = {args->logits, args->labels, args->rows.offsets, p->stats, p->counted, args->dlogits, args->loss_scale},
        .tensor_count = 7,
        .push = &p->push,
        .push_bytes = sizeof p->push,
        .flops = 5 * p->elements,
        .bytes = 4 * p->elements + (double)bytes,
    };
    rows_groups(dispatch.groups, op_groups((int64_t)(words * args->rows.max), CROSS_ENTROPY_LANES));
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &desc, &dispatch.kernel, err));
    return gpu_dispatch(program, &dispatch, err);
}

ij_status op_cross_entropy(gpu_program *program, const op_cross_entropy_args *args, ij_error *err) {
    uint64_t rows = args->rows.max, elements = rows * args->heads * args->classes;
    assert(args->heads > 0 && args->heads < 65536 && args->classes > 0 && args->classes <= 1 << 24 && rows > 0 && rows <= 1 << 24);
    assert(elements <= UINT32_MAX && args->smoothing >= 0 && args->smoothing <= 1);
    assert(args->logits.bytes >= 4 * elements && args->labels.bytes >= 4 * rows && args->loss.bytes >= 4 * (uint64_t)args->heads);
    assert(!args->right.arena || args->right.bytes >= 4 * (uint64_t)args->heads);
    assert(args->scratch.bytes >= op_cross_entropy_scratch(args->rows.max, args->heads, args->classes));
    plan p = {.counted = gpu_part(args->scratch, 0, 4),
              .stats = gpu_part(args->scratch, COUNTED_BYTES, STATS_BYTES * rows * args->heads),
              .push = {.rows_at = args->rows.at,
                       .rows_max = args->rows.max,
                       .heads = args->heads,
                       .classes = args->classes,
                       .smoothing = args->smoothing,
                       .scale = args->scale != 0 ? args->scale : 1},
              .ragged = args->rows.offsets.arena,
              .elements = (double)elements};
    IJ_TRY(row_stats(program, args, &p, err));
    IJ_TRY(sum_rows(program, args, &p, err));
    return args->dlogits.arena ? gradient(program, args, &p, err) : IJ_OK;
}

/* ---- as data ---- */

enum { ACCUMULATE = 1, VALUE_ONLY = 2, NO_SUBGROUPS = 4, HOLES = 8, NO_OFFSETS = 16, TIES = 32 };

static const op_case cases[] = {
    {.name = "one", .dims = {1, 1, 1, 2}, .reals = {0, 1}},
    {.name = "one_class", .dims = {3, 4, 2, 1}, .reals = {0.1, 1}},
    {.name = "none_of_3", .dims = {0, 3, 2, 8}, .reals = {0, 1}},
    {.name = "none_accumulated", .dims = {0, 3, 2, 8, ACCUMULATE}, .reals = {0, 1}},
    {.name = "ten_classes", .dims = {257, 257, 5, 10, NO_OFFSETS}, .reals = {0, 1}},
    {.name = "smoothed", .dims = {41, 50, 3, 12}, .reals = {0.1, 0.25}},
    {.name = "prime", .dims = {31, 37, 7, 13, ACCUMULATE}, .reals = {0.2, 1}},
    {.name = "holes", .dims = {67, 67, 2, 20, HOLES | NO_OFFSETS}, .reals = {0.1, 1}},
    {.name = "holes_accumulated", .dims = {67, 70, 3, 5, HOLES | ACCUMULATE}, .reals = {0, 0.5}},
    {.name = "ties", .dims = {120, 120, 4, 11, TIES}, .reals = {0, 1}},
    {.name = "ties_by_four", .dims = {120, 120, 4, 16, TIES | HOLES}, .reals = {0, 1}},
    {.name = "large_logits", .dims = {50, 50, 2, 24}, .reals = {0, 1, 0, 300}},
    {.name = "value_only", .dims = {23, 23, 3, 100, VALUE_ONLY}, .reals = {0, 1}},
    {.name = "no_subgroups", .dims = {77, 80, 3, 36, NO_SUBGROUPS | HOLES}, .reals = {0.1, 1}},
    {.name = "f16_scaled", .dims = {33, 35, 1, 100, 0, OP_F16}, .reals = {0.1, 1, 1024}},
    {.name = "f16_odd", .dims = {13, 13, 3, 7, HOLES, OP_F16}, .reals = {0, 1, 65536}},
    {.name = "bf16", .dims = {29, 31, 2, 21, ACCUMULATE, OP_BF16}, .reals = {0.1, 0.5}},
    {.name = "imagenet22k", .dims = {9, 9, 1, 22000}, .reals = {0, 1}},
    {.name = "imagenet_heads", .dims = {640, 640, 48, 1000, NO_OFFSETS}, .reals = {0, 1}, .large = true},
    {.name = "imagenet_f16", .dims = {1024, 1024, 1, 1000, 0, OP_F16}, .reals = {0.1, 1, 1024}, .large = true},
    {.name = "fashion_heads", .dims = {4096, 4096, 48, 10, NO_OFFSETS}, .reals = {0, 1}, .large = true},
};

/* Central differences run the forward op many times, so it must not accumulate. */
static const op_case grad_cases[] = {
    {.name = "plain", .dims = {13, 17, 3, 5}, .reals = {0, 0.5}},
    {.name = "smoothed", .dims = {11, 11, 2, 8, HOLES}, .reals = {0.1, 1}},
    {.name = "smoothed_much", .dims = {7, 9, 1, 13}, .reals = {0.6, 1}},
    {.name = "one_row", .dims = {1, 1, 2, 3}, .reals = {0.1, 1}},
    {.name = "f16", .dims = {13, 17, 2, 7, 0, OP_F16}, .reals = {0.1, 0.5}},
};

static bool flag(const op_case *c, int f) { return (c->dims[4] & f) != 0; }

static int case_args(const op_case *c, op_arg *args) {
    int64_t rows = c->dims[1], heads = c->dims[2], columns = heads * c->dims[3];
    op_role sum = flag(c, ACCUMULATE) ? OP_INOUT : OP_OUT;
    args[0] = (op_arg){"logits", OP_IN, OP_F32, rows * columns, c->reals[3], 0};
    args[1] = (op_arg){"labels", OP_IN, OP_U32, rows, 0, 0};
    args[2] = (op_arg){"rows", OP_IN, OP_U32, 2, 0, 0};
    args[3] = (op_arg){
        "dlogits", flag(c, VALUE_ONLY) ? OP_SCRATCH : OP_OUT, (op_dtype)c->dims[5], rows * columns, 0, op_tolerance(c->dims[3]), columns};
    args[4] = (op_arg){"loss", sum, OP_F32, heads, 1, op_tolerance(c->dims[0] + c->dims[3])};
    args[5] = (op_arg){"right", flag(c, VALUE_ONLY) ? OP_SCRATCH : sum, OP_U32, heads, 0, 0};
    args[6] = (op_arg){
        "scratch", OP_SCRATCH, OP_F32, (int64_t)op_cross_entropy_scratch((uint32_t)rows, (uint32_t)heads, (uint32_t)c->dims[3]) / 4, 0, 0};
    args[7] = (op_arg){"loss_scale", OP_IN, OP_U32, sizeof(struct optim_scale) / 4, 0, 0};
    return 8;
}

/* As a backward op: dloss = 1 for every head. */
static int grad_args(const op_case *c, op_arg *args) {
    int count = case_args(c, args);
    args[4].name = "loss_again"; /* not an output of which a gradient could be asked */
    args[count] = (op_arg){"dloss", OP_IN, OP_F32, c->dims[2], 0, 0};
    return count + 1;
}

static void prepare(const op_case *c, void *const *h) {
    double *logits = h[0];
    uint32_t *labels = h[1], *right = h[5];
    for (int64_t r = 0; r < c->dims[1]; r++)
        labels[r] = flag(c, HOLES) && r % 3 == 1 ? UINT32_MAX - (uint32_t)r : (uint32_t)(r * 7 % c->dims[3]);
    for (int64_t i = 0; i < c->dims[1] * c->dims[2] * c->dims[3] && flag(c, TIES); i++) logits[i] = logits[i] < 0 ? 0 : 1;
    for (int64_t i = 0; i < c->dims[2] && flag(c, ACCUMULATE); i++) right[i] = 100 + (uint32_t)i;
    ((uint32_t *)h[2])[0] = 12345, ((uint32_t *)h[2])[1] = (uint32_t)c->dims[0];
    *(struct optim_scale *)h[7] = (struct optim_scale){.scale = (float)c->reals[2], .inverse = NAN};
}

static void grad_prepare(const op_case *c, void *const *h) {
    prepare(c, h);
    for (int64_t i = 0; i < c->dims[2]; i++) ((double *)h[8])[i] = 1;
}

static ij_status record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_cross_entropy_args args = {.logits = t[0],
                                  .labels = t[1],
                                  .loss = t[4],
                                  .scratch = t[6],
                                  .rows = {t[2], 1, (uint32_t)c->dims[1]},
                                  .heads = (uint32_t)c->dims[2],
                                  .classes = (uint32_t)c->dims[3],
                                  .smoothing = (float)c->reals[0],
                                  .scale = (float)c->reals[1],
                                  .accumulate = flag(c, ACCUMULATE),
                                  .no_subgroups = flag(c, NO_SUBGROUPS)};
    if (flag(c, NO_OFFSETS)) args.rows.offsets = (gpu_tensor){0};
    if (!flag(c, VALUE_ONLY)) args.dlogits = t[3], args.right = t[5];
    if (c->reals[2] > 0) args.loss_scale = t[7];
    return op_cross_entropy(program, &args, err);
}

static void ref(const op_case *c, void *const *h) {
    enum { HEADS_MAX = 64 };
    double loss[HEADS_MAX], *dlogits = flag(c, VALUE_ONLY) ? NULL : h[3], *sum = h[4];
    uint32_t right[HEADS_MAX], *count = h[5];
    assert(c->dims[2] <= HEADS_MAX);
    ref_cross_entropy(h[0], h[1], dlogits, loss, right, c->dims[0], c->dims[2], c->dims[3], c->reals[0], c->reals[1]);
    for (int64_t i = 0; i < c->dims[2]; i++) {
        sum[i] = flag(c, ACCUMULATE) ? sum[i] + loss[i] : loss[i];
        if (!flag(c, VALUE_ONLY)) count[i] = flag(c, ACCUMULATE) ? count[i] + right[i] : right[i];
    }
    for (int64_t e = 0; e < c->dims[0] * c->dims[2] * c->dims[3] && dlogits && c->reals[2] > 0; e++) dlogits[e] *= c->reals[2];
}

static void cost(const op_case *c, double *flops, double *bytes) {
    double elements = (double)(c->dims[0] * c->dims[2] * c->dims[3]);
    *flops = 13 * elements, *bytes = (c->dims[5] == OP_F32 ? 12.0 : 10.0) * elements;
}

static const op_desc ops[] = {
    {"cross_entropy", NULL, cases, IJ_COUNT(cases), case_args, prepare, record, ref, cost},
    {"cross_entropy_grad", "cross_entropy", grad_cases, IJ_COUNT(grad_cases), grad_args, grad_prepare, record, ref, cost},
};
const op_family op_family_cross_entropy = {"cross_entropy", ops, IJ_COUNT(ops)};
