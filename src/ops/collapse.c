/* The collapse monitor and the VICReg term.       layer: ops; uses: gpu */
#include "ops/collapse.h"
#include "ops/loss.h"
#include "ops/rows.h"

#include <assert.h>

static uint64_t align_up(uint64_t bytes) { return (bytes + 255) / 256 * 256; } /* what gpu_part asks for */

/* A dispatch whose kernel has no specialisation constants, or one. */
static ij_status record(gpu_program *program, const char *shader, uint32_t spec_count, uint32_t spec, gpu_dispatch_desc *dispatch,
                        ij_error *err) {
    gpu_kernel_desc desc = {.shader = shader, .specs = {spec}, .spec_count = spec_count};
    dispatch->label = shader;
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &desc, &dispatch->kernel, err));
    return gpu_dispatch(program, dispatch, err);
}

/* ---- positions ---- */

uint64_t op_position_stats_scratch(uint32_t patches, uint32_t dim) { return 8 * (uint64_t)patches * dim; }

ij_status op_position_stats(gpu_program *program, const op_position_stats_args *args, ij_error *err) {
    uint64_t positions = (uint64_t)args->patches * args->dim;
    assert(args->images > 0 && positions > 0 && positions * args->images <= UINT32_MAX && args->x.bytes >= 4 * positions * args->images);
    assert(args->mean.bytes >= 4 * positions && args->scratch.bytes >= 8 * positions &&
           args->stats.bytes >= sizeof(struct collapse_position));
    struct collapse_position_push push = {args->images, args->patches, args->dim, args->kind};
    double elements = (double)positions * args->images;
    gpu_dispatch_desc each = {.tensors = {args->x, args->mean, args->scratch},
                              .tensor_count = 3,
                              .push = &push,
                              .push_bytes = sizeof push,
                              .groups = {op_groups(args->dim, COLLAPSE_COLUMNS), args->patches},
                              .flops = 8 * elements,
                              .bytes = 8 * elements};
    IJ_TRY(record(program, "collapse_position", 0, 0, &each, err));
    gpu_dispatch_desc sum = {.tensors = {args->mean, args->scratch, args->stats},
                             .tensor_count = 3,
                             .push = &push,
                             .push_bytes = sizeof push,
                             .flops = 6 * (double)positions,
                             .bytes = 16 * (double)positions};
    return record(program, "collapse_position_sum", 0, 0, &sum, err);
}

ij_status op_centre_images(gpu_program *program, const op_centre_images_args *args, ij_error *err) {
    uint64_t elements = (uint64_t)args->images * args->patches * args->dim;
    assert(elements > 0 && elements <= UINT32_MAX && args->x.bytes >= 4 * elements && args->y.bytes >= 4 * elements);
    assert(args->mean.bytes >= 4 * (uint64_t)args->images * args->dim);
    struct collapse_position_push push = {args->images, args->patches, args->dim, 0};
    gpu_dispatch_desc dispatch = {.tensors = {args->x, args->mean, args->y},
                                  .tensor_count = 3,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {op_groups(args->dim, COLLAPSE_COLUMNS), args->patches, args->images},
                                  .flops = (double)elements,
                                  .bytes = 8 * (double)elements};
    return record(program, "collapse_centre", 0, 0, &dispatch, err);
}

/* ---- cosine ---- */

static ij_status record_cosine(gpu_program *program, const op_cosine_stats_args *args, bool no_subgroups, ij_error *err) {
    gpu_device *device = gpu_program_device(program);
    uint64_t elements = (uint64_t)args->rows * args->dim;
    assert(args->rows >= 2 && args->dim > 0 && elements <= UINT32_MAX && args->x.bytes >= 4 * elements);
    assert(args->cosine.bytes >= 4 && args->scratch.bytes >= 4 * (uint64_t)args->rows);
    rows_plan plan = rows_plan_make(device, args->dim, no_subgroups);
    struct collapse_cosine_push push = {args->rows, args->dim, plan.columns};
    gpu_dispatch_desc lengths = {.label = "collapse_lengths",
                                 .tensors = {args->x, args->scratch},
                                 .tensor_count = 2,
                                 .push = &push,
                                 .push_bytes = sizeof push,
                                 .flops = 2 * (double)elements,
                                 .bytes = 4 * (double)elements};
    rows_groups(lengths.groups, op_groups(args->rows, plan.rows_per_group));
    IJ_TRY(rows_kernel(device, &plan, "collapse_lengths", NULL, 0, &lengths.kernel, err));
    IJ_TRY(gpu_dispatch(program, &lengths, err));
    gpu_dispatch_desc cosine = {.tensors = {args->x, args->scratch, args->cosine},
                                .tensor_count = 3,
                                .push = &push,
                                .push_bytes = sizeof push,
                                .flops = 2 * (double)elements,
                                .bytes = 4 * (double)elements};
    return record(program, "collapse_cosine", 0, 0, &cosine, err);
}

ij_status op_cosine_stats(gpu_program *program, const op_cosine_stats_args *args, ij_error *err) {
    return record_cosine(program, args, false, err);
}

/* ---- VICReg ---- */

typedef struct vicreg_scratch {
    gpu_tensor centred;   /* [rows, dim] */
    gpu_tensor slope;     /* [dim, dim] */
    gpu_tensor deviation; /* [dim] */
    gpu_tensor partial;   /* [tiles, tiles] */
} vicreg_scratch;

/* The parts of the scratch; with scratch NULL only their end is computed. */
static uint64_t carve(const gpu_tensor *scratch, uint32_t rows, uint32_t dim, vicreg_scratch *out) {
    uint64_t tiles = op_groups(dim, COLLAPSE_TILE), at = 0;
    uint64_t bytes[4] = {4 * (uint64_t)rows * dim, 4 * (uint64_t)dim * dim, 4 * (uint64_t)dim, 4 * tiles * tiles};
    gpu_tensor parts[4];
    for (int i = 0; i < 4; i++) {
        if (scratch) parts[i] = gpu_part(*scratch, at, bytes[i]);
        at += align_up(bytes[i]);
    }
    if (scratch) *out = (vicreg_scratch){parts[0], parts[1], parts[2], parts[3]};
    return at;
}

uint64_t op_vicreg_scratch(uint32_t rows, uint32_t dim) { return carve(NULL, rows, dim, NULL); }

ij_status op_vicreg(gpu_program *program, const op_vicreg_args *args, ij_error *err) {
    uint32_t rows = args->rows, dim = args->dim, tiles = op_groups(dim, COLLAPSE_TILE);
    assert(rows >= 2 && dim > 0 && (uint64_t)dim * dim <= UINT32_MAX && (uint64_t)rows * dim <= UINT32_MAX);
    assert(args->z.bytes >= 4 * (uint64_t)rows * dim && args->loss.bytes >= sizeof(struct collapse_vicreg));
    assert(args->scratch.bytes >= op_vicreg_scratch(rows, dim));
    vicreg_scratch s;
    carve(&args->scratch, rows, dim, &s);
    struct collapse_vicreg_push push = {
        rows, dim, args->weight, args->covariance_weight, args->gamma != 0 ? args->gamma : 1, args->eps != 0 ? args->eps : 1e-4f};
    double elements = (double)rows * dim, product = 2 * elements * dim, square = 4 * (double)dim * dim;
    gpu_dispatch_desc centre = {.tensors = {args->z, s.centred, s.deviation},
                                .tensor_count = 3,
                                .push = &push,
                                .push_bytes = sizeof push,
                                .groups = {op_groups(dim, COLLAPSE_COLUMNS)},
                                .flops = 5 * elements,
                                .bytes = 12 * elements};
    IJ_TRY(record(program, "collapse_vicreg_centre", 0, 0, &centre, err));
    gpu_dispatch_desc slope = {.tensors = {s.centred, s.deviation, s.slope, s.partial},
                               .tensor_count = 4,
                               .push = &push,
                               .push_bytes = sizeof push,
                               .groups = {tiles, tiles},
                               .flops = product,
                               .bytes = 4 * elements + square};
    IJ_TRY(record(program, "collapse_vicreg_slope", 0, 0, &slope, err));
    gpu_dispatch_desc grad = {.tensors = {s.centred, s.slope, args->dz},
                              .tensor_count = 3,
                              .push = &push,
                              .push_bytes = sizeof push,
                              .groups = {tiles, op_groups(rows, COLLAPSE_TILE)},
                              .flops = product,
                              .bytes = 8 * elements + square};
    if (args->dz.arena) IJ_TRY(record(program, "collapse_vicreg_grad", 1, args->add, &grad, err));
    gpu_dispatch_desc sum = {.tensors = {s.deviation, s.partial, args->loss},
                             .tensor_count = 3,
                             .push = &push,
                             .push_bytes = sizeof push,
                             .flops = dim,
                             .bytes = 4 * dim};
    return record(program, "collapse_vicreg_sum", 0, 0, &sum, err);
}

/* ---- as data: positions. Case dims: [0] images, [1] patches, [2] dim, [3] kind ---- */

static const op_case position_cases[] = {
    {.name = "one", .dims = {1, 1, 1, LOSS_L2}},
    {.name = "prime", .dims = {5, 7, 13, LOSS_L1}},
    {.name = "tails", .dims = {3, 49, 70, LOSS_L2}},
    {.name = "vit_192", .dims = {64, 64, 192, LOSS_SMOOTH_L1}, .large = true},
};

static int position_args(const op_case *c, op_arg *args) {
    int64_t positions = c->dims[1] * c->dims[2];
    args[0] = (op_arg){"x", OP_IN, OP_F32, c->dims[0] * positions, 1, 0};
    args[1] = (op_arg){"mean", OP_OUT, OP_F32, positions, 0, op_tolerance(c->dims[0])};
    args[2] = (op_arg){"stats", OP_OUT, OP_F32, 4, 0, op_tolerance(c->dims[0] * positions)};
    args[3] = (op_arg){"scratch", OP_SCRATCH, OP_F32, 2 * positions, 0, 0};
    return 4;
}
static ij_status position_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_position_stats_args args = {.x = t[0],
                                   .mean = t[1],
                                   .stats = t[2],
                                   .scratch = t[3],
                                   .images = (uint32_t)c->dims[0],
                                   .patches = (uint32_t)c->dims[1],
                                   .dim = (uint32_t)c->dims[2],
                                   .kind = (uint32_t)c->dims[3]};
    return op_position_stats(program, &args, err);
}
static void position_ref(const op_case *c, void *const *h) {
    ref_position_stats(h[0], h[1], h[2], c->dims[0], c->dims[1], c->dims[2], (uint32_t)c->dims[3]);
}
static void position_cost(const op_case *c, double *flops, double *bytes) {
    *flops = *bytes = 8.0 * (double)(c->dims[0] * c->dims[1] * c->dims[2]);
}

/* ---- centring; the same cases ---- */

static int centre_args(const op_case *c, op_arg *args) {
    int64_t elements = c->dims[0] * c->dims[1] * c->dims[2];
    args[0] = (op_arg){"x", OP_IN, OP_F32, elements, 1, 0};
    args[1] = (op_arg){"mean", OP_IN, OP_F32, c->dims[0] * c->dims[2], 1, 0};
    args[2] = (op_arg){"y", OP_OUT, OP_F32, elements, 0, op_tolerance(1)};
    return 3;
}
static ij_status centre_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_centre_images_args args = {t[0], t[1], t[2], (uint32_t)c->dims[0], (uint32_t)c->dims[1], (uint32_t)c->dims[2]};
    return op_centre_images(program, &args, err);
}
static void centre_ref(const op_case *c, void *const *h) { ref_centre_images(h[0], h[1], h[2], c->dims[0], c->dims[1], c->dims[2]); }

/* ---- cosine. Case dims: [0] rows, [1] dim, [2] flags; reals: [0] what is added to every element ---- */

enum { ZERO_ROW = 1, NO_SUBGROUPS = 2 };

static const op_case cosine_cases[] = {
    {.name = "two", .dims = {2, 3}},
    {.name = "prime_alike", .dims = {67, 53}, .reals = {1}},
    {.name = "zero_row", .dims = {9, 300, ZERO_ROW}, .reals = {0.5}},
    {.name = "no_subgroups", .dims = {9, 40, NO_SUBGROUPS}, .reals = {-1}},
    {.name = "vit_192", .dims = {512, 192}, .reals = {0.3}, .large = true},
};

/* The difference of |sum|^2 and rows loses what the quotient by rows (rows - 1) gives back: as the sum, and once more for the squares. */
static int cosine_args(const op_case *c, op_arg *args) {
    args[0] = (op_arg){"x", OP_IN, OP_F32, c->dims[0] * c->dims[1], 1, 0};
    args[1] = (op_arg){"cosine", OP_OUT, OP_F32, 1, 0, 2 * op_tolerance(c->dims[0] + c->dims[1])};
    args[2] = (op_arg){"scratch", OP_SCRATCH, OP_F32, c->dims[0], 0, 0};
    return 3;
}
static void cosine_prepare(const op_case *c, void *const *h) {
    double *x = h[0];
    for (int64_t e = 0; e < c->dims[0] * c->dims[1]; e++) x[e] = (c->dims[2] & ZERO_ROW) && e / c->dims[1] == 4 ? 0 : x[e] + c->reals[0];
}
static ij_status cosine_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_cosine_stats_args args = {.x = t[0], .cosine = t[1], .scratch = t[2], .rows = (uint32_t)c->dims[0], .dim = (uint32_t)c->dims[1]};
    return record_cosine(program, &args, c->dims[2] & NO_SUBGROUPS, err);
}
static void cosine_ref(const op_case *c, void *const *h) { *(double *)h[1] = ref_cosine_stats(h[0], c->dims[0], c->dims[1]); }
static void cosine_cost(const op_case *c, double *flops, double *bytes) {
    *flops = 4.0 * (double)(c->dims[0] * c->dims[1]), *bytes = 8.0 * (double)(c->dims[0] * c->dims[1]);
}

/* ---- VICReg. Case dims: [0] rows, [1] dim, [2] add, [3] no gradient; reals: [0] weight, [1] covariance weight, [2] gamma, [3] eps ---- */

static const op_case vicreg_cases[] = {
    {.name = "two_rows", .dims = {2, 5}, .reals = {1, 1, 1.5, 0.01}},
    {.name = "prime", .dims = {17, 37}, .reals = {0.1, 0.04}},
    {.name = "add", .dims = {33, 16, 1}, .reals = {2, 0.5}},
    {.name = "value_only", .dims = {12, 20, 0, 1}, .reals = {1, 1}},
    {.name = "no_covariance", .dims = {40, 19}, .reals = {1, 0, 1.1}},
    {.name = "vit_192", .dims = {64, 192}, .reals = {0.1, 0.04}, .large = true},
};

static int vicreg_args(const op_case *c, op_arg *args) {
    int64_t rows = c->dims[0], dim = c->dims[1];
    args[0] = (op_arg){"z", OP_IN, OP_F32, rows * dim, 1, 0};
    args[1] = (op_arg){"loss", OP_OUT, OP_F32, 4, 0, op_tolerance(rows * dim)};
    args[2] = (op_arg){
        "dz", c->dims[3] ? OP_SCRATCH : c->dims[2] ? OP_INOUT : OP_OUT, OP_F32, rows * dim, 0.1, op_tolerance(rows) + op_tolerance(dim)};
    args[3] = (op_arg){"scratch", OP_SCRATCH, OP_F32, (int64_t)op_vicreg_scratch((uint32_t)rows, (uint32_t)dim) / 4, 0, 0};
    return 4;
}
/* As the gradient of itself: dloss picks the whole loss out of the four numbers. */
static int vicreg_grad_args(const op_case *c, op_arg *args) {
    int count = vicreg_args(c, args);
    args[1].name = "loss_again";
    args[count] = (op_arg){"dloss", OP_IN, OP_F32, 4, 0, 0};
    return count + 1;
}
static void vicreg_grad_prepare(const op_case *c, void *const *h) {
    (void)c;
    for (int i = 0; i < 4; i++) ((double *)h[4])[i] = i == 0;
}
static ij_status vicreg_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_vicreg_args args = {.z = t[0],
                           .loss = t[1],
                           .scratch = t[3],
                           .rows = (uint32_t)c->dims[0],
                           .dim = (uint32_t)c->dims[1],
                           .weight = (float)c->reals[0],
                           .covariance_weight = (float)c->reals[1],
                           .gamma = (float)c->reals[2],
                           .eps = (float)c->reals[3],
                           .add = c->dims[2]};
    if (!c->dims[3]) args.dz = t[2];
    return op_vicreg(program, &args, err);
}
static void vicreg_ref(const op_case *c, void *const *h) {
    int64_t elements = c->dims[0] * c->dims[1];
    for (int64_t e = 0; e < elements && !c->dims[2] && !c->dims[3]; e++) ((double *)h[2])[e] = 0;
    ref_vicreg(h[0], h[1], c->dims[3] ? NULL : h[2], c->dims[0], c->dims[1], c->reals[0], c->reals[1], c->reals[2] != 0 ? c->reals[2] : 1,
               c->reals[3] != 0 ? c->reals[3] : 1e-4);
    ((double *)h[1])[3] = 0;
}
static void vicreg_cost(const op_case *c, double *flops, double *bytes) {
    *flops = 4.0 * (double)(c->dims[0] * c->dims[1] * c->dims[1]);
    *bytes = 4.0 * (double)(5 * c->dims[0] * c->dims[1] + 2 * c->dims[1] * c->dims[1]);
}

static const op_desc ops[] = {
    {"position_stats", NULL, position_cases, IJ_COUNT(position_cases), position_args, NULL, position_record, position_ref, position_cost},
    {"centre_images", NULL, position_cases, IJ_COUNT(position_cases), centre_args, NULL, centre_record, centre_ref, position_cost},
    {"cosine_stats", NULL, cosine_cases, IJ_COUNT(cosine_cases), cosine_args, cosine_prepare, cosine_record, cosine_ref, cosine_cost},
    {"vicreg", NULL, vicreg_cases, IJ_COUNT(vicreg_cases), vicreg_args, NULL, vicreg_record, vicreg_ref, vicreg_cost},
    {"vicreg_grad", "vicreg", vicreg_cases, 3, vicreg_grad_args, vicreg_grad_prepare, vicreg_record, vicreg_ref, vicreg_cost},
};
const op_family op_family_collapse = {"collapse", ops, IJ_COUNT(ops)};
