/* SIGReg.       layer: ops; uses: gpu */
#include "ops/sigreg.h"
#include "ops/matmul.h"
#include "philox.h"

#include <assert.h>
#include <string.h>

static uint64_t align_up(uint64_t bytes) { return (bytes + 255) / 256 * 256; } /* what gpu_part asks for */

static ij_status record(gpu_program *program, const char *shader, uint32_t spec_count, uint32_t spec, gpu_dispatch_desc *dispatch,
                        ij_error *err) {
    gpu_kernel_desc desc = {.shader = shader, .specs = {spec}, .spec_count = spec_count};
    dispatch->label = shader;
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &desc, &dispatch->kernel, err));
    return gpu_dispatch(program, dispatch, err);
}

ij_status op_sigreg_directions(gpu_program *program, gpu_tensor key, gpu_tensor directions, uint32_t count, uint32_t dim, ij_error *err) {
    assert(count > 0 && count <= 65535 && dim > 0 && key.bytes >= sizeof(struct sigreg_key) &&
           directions.bytes >= 4 * (uint64_t)count * dim);
    struct sigreg_directions_push push = {count, dim};
    gpu_dispatch_desc dispatch = {.tensors = {key, directions},
                                  .tensor_count = 2,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {count},
                                  .flops = 200.0 * count * dim,
                                  .bytes = 4.0 * count * dim};
    return record(program, "sigreg_directions", 0, 0, &dispatch, err);
}

uint64_t op_sigreg_scratch(uint32_t rows, uint32_t count) {
    return 2 * align_up(4 * (uint64_t)rows * count) + align_up(4 * (uint64_t)count);
}

ij_status op_sigreg(gpu_program *program, const op_sigreg_args *args, ij_error *err) {
    uint32_t rows = args->rows, dim = args->dim, count = args->count;
    uint64_t matrix = 4 * (uint64_t)rows * count;
    assert(rows > 0 && dim > 0 && count > 0 && count <= 65535 && (uint64_t)rows * dim <= UINT32_MAX && matrix <= UINT32_MAX);
    assert(args->z.bytes >= 4 * (uint64_t)rows * dim && args->directions.bytes >= 4 * (uint64_t)count * dim);
    assert(args->scratch.bytes >= op_sigreg_scratch(rows, count) && args->loss.bytes >= sizeof(struct sigreg_result));
    gpu_tensor projection = gpu_part(args->scratch, 0, matrix), slope = gpu_part(args->scratch, align_up(matrix), matrix),
               statistic = gpu_part(args->scratch, 2 * align_up(matrix), 4 * (uint64_t)count);
    struct sigreg_push push = {rows, count, args->weight};
    op_matmul_desc project = {.label = "sigreg_project",
                              .form = OP_MATMUL_NT,
                              .n = count,
                              .k = dim,
                              .rows = {.max = rows},
                              .a = args->z,
                              .b = args->directions,
                              .c = projection};
    IJ_TRY(op_matmul(program, &project, err));
    gpu_dispatch_desc each = {.tensors = {projection, statistic, slope},
                              .tensor_count = 3,
                              .push = &push,
                              .push_bytes = sizeof push,
                              .groups = {count},
                              .flops = 20.0 * SIGREG_KNOTS * rows * count,
                              .bytes = 2.0 * (double)matrix};
    IJ_TRY(record(program, "sigreg_statistic", 1, args->dz.arena != NULL, &each, err));
    op_matmul_desc back = {.label = "sigreg_gradient",
                           .form = OP_MATMUL_NN,
                           .n = dim,
                           .k = count,
                           .rows = {.max = rows},
                           .a = slope,
                           .b = args->directions,
                           .c = args->dz,
                           .accumulate = args->add};
    if (args->dz.arena) IJ_TRY(op_matmul(program, &back, err));
    gpu_dispatch_desc sum = {.tensors = {statistic, args->loss},
                             .tensor_count = 2,
                             .push = &push,
                             .push_bytes = sizeof push,
                             .groups = {1},
                             .flops = count,
                             .bytes = 4.0 * count};
    return record(program, "sigreg_sum", 0, 0, &sum, err);
}

/* ---- as data: directions. Case dims: [0] directions, [1] dim ---- */

static const op_case directions_cases[] = {
    {.name = "one", .dims = {1, 1}},
    {.name = "prime", .dims = {7, 53}},
    {.name = "tail", .dims = {3, 1030}},
    {.name = "vit_192", .dims = {256, 192}, .large = true},
};

static int directions_args(const op_case *c, op_arg *args) {
    args[0] = (op_arg){"key", OP_IN, OP_U32, 4, 0, 0};
    args[1] = (op_arg){"directions", OP_OUT, OP_F32, c->dims[0] * c->dims[1], 0, op_tolerance(c->dims[1])};
    return 2;
}
static void directions_prepare(const op_case *c, void *const *h) {
    (void)c;
    memcpy(h[0], (const uint32_t[4]){2026, 7, 0, 41}, 16);
}
static ij_status directions_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    return op_sigreg_directions(program, t[0], t[1], (uint32_t)c->dims[0], (uint32_t)c->dims[1], err);
}
static void directions_ref(const op_case *c, void *const *h) { ref_sigreg_directions(h[0], h[1], c->dims[0], c->dims[1]); }
static void directions_cost(const op_case *c, double *flops, double *bytes) {
    *flops = 200.0 * (double)(c->dims[0] * c->dims[1]), *bytes = 4.0 * (double)(c->dims[0] * c->dims[1]);
}

/* ---- the term. Case dims: [0] rows, [1] dim, [2] directions, [3] add, [4] no gradient; reals: [0] weight ---- */

static const op_case sigreg_cases[] = {
    {.name = "one_row", .dims = {1, 5, 3}, .reals = {1}},
    {.name = "prime", .dims = {67, 37, 13}, .reals = {0.1}},
    {.name = "add", .dims = {33, 16, 40, 1}, .reals = {2}},
    {.name = "value_only", .dims = {12, 20, 9, 0, 1}, .reals = {1}},
    {.name = "vit_192", .dims = {64, 192, 256}, .reals = {0.1}, .large = true},
};

/* A projection's rounding turns by up to SIGREG_END times as much, and the last knot is SIGREG_KNOTS rotations away. */
static int sigreg_args(const op_case *c, op_arg *args) {
    int64_t rows = c->dims[0], dim = c->dims[1], count = c->dims[2];
    double tolerance = 3 * op_tolerance(dim) + op_tolerance(SIGREG_KNOTS * SIGREG_KNOTS) + op_tolerance(rows);
    args[0] = (op_arg){"z", OP_IN, OP_F32, rows * dim, 1, 0};
    args[1] = (op_arg){"directions", OP_IN, OP_F32, count * dim, 0.3, 0};
    args[2] = (op_arg){"loss", OP_OUT, OP_F32, 4, 0, tolerance};
    args[3] =
        (op_arg){"dz", c->dims[4] ? OP_SCRATCH : c->dims[3] ? OP_INOUT : OP_OUT, OP_F32, rows * dim, 0.1, tolerance + op_tolerance(count)};
    args[4] = (op_arg){"scratch", OP_SCRATCH, OP_F32, (int64_t)op_sigreg_scratch((uint32_t)rows, (uint32_t)count) / 4, 0, 0};
    return 5;
}
/* As the gradient of itself: dloss picks the loss out of the four numbers. */
static int sigreg_grad_args(const op_case *c, op_arg *args) {
    int count = sigreg_args(c, args);
    args[2].name = "loss_again";
    args[count] = (op_arg){"dloss", OP_IN, OP_F32, 4, 0, 0};
    return count + 1;
}
static void sigreg_grad_prepare(const op_case *c, void *const *h) {
    (void)c;
    for (int i = 0; i < 4; i++) ((double *)h[5])[i] = i == 0;
}
static ij_status sigreg_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_sigreg_args args = {.z = t[0],
                           .directions = t[1],
                           .loss = t[2],
                           .scratch = t[4],
                           .rows = (uint32_t)c->dims[0],
                           .dim = (uint32_t)c->dims[1],
                           .count = (uint32_t)c->dims[2],
                           .weight = (float)c->reals[0],
                           .add = c->dims[3]};
    if (!c->dims[4]) args.dz = t[3];
    return op_sigreg(program, &args, err);
}
static void sigreg_ref(const op_case *c, void *const *h) {
    double *loss = h[2];
    for (int64_t e = 0; e < c->dims[0] * c->dims[1] && !c->dims[3] && !c->dims[4]; e++) ((double *)h[3])[e] = 0;
    ref_sigreg(h[0], h[1], loss, c->dims[4] ? NULL : h[3], c->dims[0], c->dims[1], c->dims[2], c->reals[0]);
    loss[2] = loss[3] = 0;
}
static void sigreg_cost(const op_case *c, double *flops, double *bytes) {
    *flops = (double)(c->dims[0] * c->dims[2]) * (4.0 * (double)c->dims[1] + 20.0 * SIGREG_KNOTS);
    *bytes = 4.0 * (double)(2 * c->dims[0] * c->dims[1] + 2 * c->dims[2] * c->dims[1] + 3 * c->dims[0] * c->dims[2]);
}

static const op_desc ops[] = {
    {"sigreg_directions", NULL, directions_cases, IJ_COUNT(directions_cases), directions_args, directions_prepare, directions_record,
     directions_ref, directions_cost},
    {"sigreg", NULL, sigreg_cases, IJ_COUNT(sigreg_cases), sigreg_args, NULL, sigreg_record, sigreg_ref, sigreg_cost},
    {"sigreg_grad", "sigreg", sigreg_cases, 3, sigreg_grad_args, sigreg_grad_prepare, sigreg_record, sigreg_ref, sigreg_cost},
};
const op_family op_family_sigreg = {"sigreg", ops, IJ_COUNT(ops)};
