/* Linear heads on frozen features.       layer: ops; uses: gpu */
#include "ops/heads.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define ROWS_MAX 65535 /* a workgroup's y: every device takes as many */

static ij_status dispatch_of(gpu_program *program, const char *shader, uint32_t spec, gpu_dispatch_desc *dispatch, ij_error *err) {
    gpu_kernel_desc desc = {.shader = shader, .specs = {spec}, .spec_count = 1};
    dispatch->label = shader;
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &desc, &dispatch->kernel, err));
    return gpu_dispatch(program, dispatch, err);
}

ij_status op_heads_gather(gpu_program *program, const op_heads_gather_args *args, ij_error *err) {
    uint64_t row = 4 * (uint64_t)args->width;
    assert(args->width > 0 && args->width % 4 == 0 && args->count > 0 && args->rows > 0 && args->rows <= ROWS_MAX);
    assert(args->from.bytes >= row * args->count && args->to.bytes >= row * args->rows && args->index.bytes >= 4 * (uint64_t)args->rows);
    assert((uint64_t)args->count * args->width <= UINT32_MAX && (uint64_t)args->rows * args->width <= UINT32_MAX);
    struct heads_gather_push push = {args->width / 4, args->begin, args->count};
    gpu_dispatch_desc dispatch = {.tensors = {args->from, args->index, args->to},
                                  .tensor_count = 3,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {op_groups(push.loads, HEADS_COLUMNS), args->rows},
                                  .bytes = 2.0 * (double)row * args->rows};
    return dispatch_of(program, "heads_gather", 0, &dispatch, err);
}

ij_status op_heads_stats(gpu_program *program, gpu_tensor x, uint32_t rows, uint32_t width, gpu_tensor batch, gpu_tensor running,
                         float momentum, ij_error *err) {
    uint64_t elements = (uint64_t)rows * width;
    assert(rows >= 2 && width > 0 && elements <= UINT32_MAX && x.bytes >= 4 * elements);
    assert(batch.bytes >= 8 * (uint64_t)width && running.bytes >= 8 * (uint64_t)width);
    struct heads_stats_push push = {rows, width, momentum};
    gpu_dispatch_desc dispatch = {.tensors = {x, batch, running},
                                  .tensor_count = 3,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {op_groups(width, HEADS_STAT_COLUMNS)},
                                  .flops = 4.0 * (double)elements,
                                  .bytes = 8.0 * (double)elements};
    return dispatch_of(program, "heads_stats", 0, &dispatch, err);
}

ij_status op_heads_columns(gpu_program *program, const op_heads_columns_args *args, ij_error *err) {
    bool normalise = args->stats.arena;
    uint64_t to = (uint64_t)args->rows * args->padded;
    assert(args->columns > 0 && args->first + args->columns <= args->width && args->columns <= args->padded);
    assert(args->rows > 0 && args->rows <= ROWS_MAX && to <= UINT32_MAX);
    assert(args->x.bytes >= 4 * (uint64_t)args->rows * args->width && args->to.bytes >= 4 * to &&
           (!normalise || args->stats.bytes >= 8 * (uint64_t)args->width));
    struct heads_columns_push push = {args->width, args->first, args->columns, args->padded, args->eps};
    gpu_dispatch_desc dispatch = {.tensors = {args->x, args->stats, args->to},
                                  .tensor_count = 3,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {op_groups(args->padded, HEADS_COLUMNS), args->rows},
                                  .flops = normalise ? 4.0 * (double)to : 0,
                                  .bytes = 8.0 * (double)to};
    return dispatch_of(program, "heads_columns", normalise, &dispatch, err);
}

/* ---- the update ---- */

static uint32_t chunks_of(uint32_t count) { return op_groups(count, HEADS_CHUNK); }

uint64_t op_heads_update_scratch(uint32_t heads, uint32_t count) { return 8 * (uint64_t)heads * chunks_of(count); }

static ij_status sum_squares(gpu_program *program, const op_heads_update_args *args, const struct heads_update_push *push, ij_error *err) {
    double elements = (double)args->heads * args->count;
    assert(args->scratch.bytes >= op_heads_update_scratch(args->heads, args->count));
    gpu_dispatch_desc dispatch = {.tensors = {args->p, args->g, args->scratch},
                                  .tensor_count = 3,
                                  .push = push,
                                  .push_bytes = sizeof *push,
                                  .groups = {push->chunks, args->heads},
                                  .flops = 4 * elements,
                                  .bytes = 8 * elements};
    return dispatch_of(program, "heads_squares", 0, &dispatch, err);
}

ij_status op_heads_update(gpu_program *program, const op_heads_update_args *args, ij_error *err) {
    uint64_t elements = (uint64_t)args->heads * args->count;
    assert(args->heads > 0 && args->heads <= ROWS_MAX && args->count > 0 && elements <= UINT32_MAX && chunks_of(args->count) <= ROWS_MAX);
    assert(args->p.bytes >= 4 * elements && args->v.bytes >= 4 * elements && args->g.bytes >= 4 * elements);
    assert(args->settings.bytes >= sizeof(struct heads_setting) * args->heads);
    struct heads_update_push push = {args->count, chunks_of(args->count)};
    if (!args->bias) IJ_TRY(sum_squares(program, args, &push, err));
    gpu_dispatch_desc dispatch = {.tensors = {args->p, args->v, args->g, args->settings, args->bias ? (gpu_tensor){0} : args->scratch},
                                  .tensor_count = 5,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {push.chunks, args->heads},
                                  .flops = 6.0 * (double)elements,
                                  .bytes = 20.0 * (double)elements};
    return dispatch_of(program, "heads_update", args->bias, &dispatch, err);
}

/* ---- as data: gather. Case dims: [0] rows, [1] width, [2] rows of the set, [3] and [4] begin and count of the part ---- */

static const op_case gather_cases[] = {
    {.name = "one", .dims = {1, 4, 1, 0, 1}},
    {.name = "all", .dims = {37, 12, 11, 0, 11}},
    {.name = "last_part", .dims = {61, 260, 29, 17, 12}},
    {.name = "middle_part", .dims = {64, 384, 100, 31, 13}},
    {.name = "none_of_them", .dims = {5, 8, 7, 7, 3}},
    {.name = "vit_small", .dims = {3750, 384, 60000, 20000, 20000}, .large = true},
};
static int gather_args(const op_case *c, op_arg *args) {
    args[0] = (op_arg){"from", OP_IN, OP_F32, c->dims[4] * c->dims[1], 1, 0};
    args[1] = (op_arg){"index", OP_IN, OP_U32, c->dims[0], 0, 0};
    args[2] = (op_arg){"to", OP_OUT, OP_F32, c->dims[0] * c->dims[1], 0, op_tolerance(1)};
    return 3;
}
static void gather_prepare(const op_case *c, void *const *h) {
    for (int64_t r = 0; r < c->dims[0]; r++) ((uint32_t *)h[1])[r] = r % 13 == 12 ? UINT32_MAX : (uint32_t)(r * 7919 % c->dims[2]);
}
static ij_status gather_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_heads_gather_args args = {t[0], t[1], t[2], (uint32_t)c->dims[3], (uint32_t)c->dims[4], (uint32_t)c->dims[0], (uint32_t)c->dims[1]};
    return op_heads_gather(program, &args, err);
}
static void gather_ref(const op_case *c, void *const *h) {
    size_t row = sizeof(double) * (size_t)c->dims[1];
    for (int64_t r = 0; r < c->dims[0]; r++) {
        int64_t source = (int64_t)((uint32_t *)h[1])[r] - c->dims[3];
        if (source >= 0 && source < c->dims[4]) memcpy((double *)h[2] + r * c->dims[1], (double *)h[0] + source * c->dims[1], row);
    }
}
static void gather_cost(const op_case *c, double *flops, double *bytes) { *flops = 0, *bytes = 8.0 * (double)(c->dims[0] * c->dims[1]); }

/* ---- statistics. Case dims: [0] rows, [1] width; reals: [0] momentum, [1] mean of x ---- */

static const op_case stats_cases[] = {
    {.name = "two_of_one", .dims = {2, 1}, .reals = {0.1}},
    {.name = "tails", .dims = {31, 37}, .reals = {0.1, 3}},
    {.name = "prime", .dims = {257, 131}, .reals = {1}},
    {.name = "whole_groups", .dims = {64, 64}, .reals = {0.1, -20}},
    {.name = "vit_small_4", .dims = {3750, 1536}, .reals = {0.1, 1}, .large = true},
};
static int stats_args(const op_case *c, op_arg *args) {
    double tolerance = op_tolerance(c->dims[0]) * (1 + c->reals[1] * c->reals[1]); /* the mean's rounding, beside a deviation of 1 */
    args[0] = (op_arg){"x", OP_IN, OP_F32, c->dims[0] * c->dims[1], 1, 0};
    args[1] = (op_arg){"batch", OP_OUT, OP_F32, 2 * c->dims[1], 0, tolerance};
    args[2] = (op_arg){"running", OP_INOUT, OP_F32, 2 * c->dims[1], 1, tolerance};
    return 3;
}
static void stats_prepare(const op_case *c, void *const *h) {
    for (int64_t i = 0; i < c->dims[0] * c->dims[1]; i++) ((double *)h[0])[i] += c->reals[1];
}
static ij_status stats_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    return op_heads_stats(program, t[0], (uint32_t)c->dims[0], (uint32_t)c->dims[1], t[1], t[2], (float)c->reals[0], err);
}
static void stats_ref(const op_case *c, void *const *h) { ref_heads_stats(h[0], c->dims[0], c->dims[1], h[1], h[2], c->reals[0]); }
static void stats_cost(const op_case *c, double *flops, double *bytes) {
    *flops = 4.0 * (double)(c->dims[0] * c->dims[1]), *bytes = 2 * *flops;
}

/* ---- columns. Case dims: [0] rows, [1] width, [2] first, [3] columns, [4] padded, [5] normalise ---- */

static const op_case columns_cases[] = {
    {.name = "one", .dims = {1, 1, 0, 1, 1, 1}},
    {.name = "last_of_four", .dims = {33, 52, 39, 13, 16, 1}},
    {.name = "copied", .dims = {17, 148, 111, 37, 40, 0}},
    {.name = "all_columns", .dims = {64, 128, 0, 128, 128, 1}},
    {.name = "vit_small_4", .dims = {3750, 1536, 1152, 384, 384, 1}, .large = true},
};
static int columns_args(const op_case *c, op_arg *args) {
    args[0] = (op_arg){"x", OP_IN, OP_F32, c->dims[0] * c->dims[1], 1, 0};
    args[1] = (op_arg){"stats", OP_IN, OP_F32, 2 * c->dims[1], 1, 0};
    args[2] = (op_arg){"to", OP_OUT, OP_F32, c->dims[0] * c->dims[4], 0, op_tolerance(1)};
    return 3;
}
static void columns_prepare(const op_case *c, void *const *h) {
    for (int64_t i = 0; i < c->dims[1]; i++) ((double *)h[1])[2 * i + 1] = fabs(((double *)h[1])[2 * i + 1]) + 0.1;
}
static ij_status columns_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_heads_columns_args args = {.x = t[0],
                                  .to = t[2],
                                  .rows = (uint32_t)c->dims[0],
                                  .width = (uint32_t)c->dims[1],
                                  .first = (uint32_t)c->dims[2],
                                  .columns = (uint32_t)c->dims[3],
                                  .padded = (uint32_t)c->dims[4],
                                  .eps = 1e-5f};
    if (c->dims[5]) args.stats = t[1];
    return op_heads_columns(program, &args, err);
}
static void columns_ref(const op_case *c, void *const *h) {
    ref_heads_columns(h[0], c->dims[5] ? h[1] : NULL, h[2], c->dims[0], c->dims[1], c->dims[2], c->dims[3], c->dims[4], (double)1e-5f);
}
static void columns_cost(const op_case *c, double *flops, double *bytes) {
    *flops = 4.0 * (double)(c->dims[0] * c->dims[4]), *bytes = 2 * *flops;
}

/* ---- update. Case dims: [0] heads, [1] count, [2] flags. Head h has LARS where h is even, decay where h / 2 is ---- */

enum { BIAS = 1, ZERO_WEIGHTS = 2, ZERO_GRADIENT = 4 };

static const op_case update_cases[] = {
    {.name = "one", .dims = {1, 1}},
    {.name = "prime", .dims = {5, 1009}},
    {.name = "chunks", .dims = {4, 2 * HEADS_CHUNK}},
    {.name = "tail_of_chunks", .dims = {7, 3 * HEADS_CHUNK + 5}},
    {.name = "bias", .dims = {6, 10, BIAS}},
    {.name = "from_zero", .dims = {4, 130, ZERO_WEIGHTS}},
    {.name = "no_gradient", .dims = {4, 130, ZERO_GRADIENT}},
    {.name = "fashion", .dims = {14, 15360}, .large = true},
    {.name = "imagenet", .dims = {8, 1280000}, .large = true},
};
static int update_args(const op_case *c, op_arg *args) {
    int64_t count = c->dims[0] * c->dims[1];
    double tolerance = op_tolerance(c->dims[1]);
    args[0] = (op_arg){"p", OP_INOUT, OP_F32, count, 1, tolerance};
    args[1] = (op_arg){"v", OP_INOUT, OP_F32, count, 0.1, tolerance};
    args[2] = (op_arg){"g", OP_IN, OP_F32, count, 0.3, 0};
    args[3] = (op_arg){"settings", OP_IN, OP_U32, c->dims[0] * (int64_t)sizeof(struct heads_setting) / 4, 0, 0};
    args[4] =
        (op_arg){"scratch", OP_SCRATCH, OP_F32, (int64_t)op_heads_update_scratch((uint32_t)c->dims[0], (uint32_t)c->dims[1]) / 4, 0, 0};
    return 5;
}
static void update_prepare(const op_case *c, void *const *h) {
    struct heads_setting *settings = h[3];
    for (int64_t i = 0; i < c->dims[0]; i++)
        settings[i] = (struct heads_setting){0.3f + 0.1f * (float)i, 0.9f, i / 2 % 2 ? 0 : 0.2f, i % 2 ? 0 : 0.5f};
    if (c->dims[2] & ZERO_WEIGHTS) memset(h[0], 0, sizeof(double) * (size_t)(c->dims[0] * c->dims[1]));
    if (c->dims[2] & ZERO_GRADIENT) memset(h[2], 0, sizeof(double) * (size_t)(c->dims[0] * c->dims[1]));
}
static ij_status update_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_heads_update_args args = {t[0], t[1], t[2], t[3], t[4], (uint32_t)c->dims[0], (uint32_t)c->dims[1], (c->dims[2] & BIAS) != 0};
    return op_heads_update(program, &args, err);
}
static void update_ref(const op_case *c, void *const *h) {
    ref_heads_update(h[0], h[1], h[2], h[3], c->dims[0], c->dims[1], (c->dims[2] & BIAS) != 0);
}
static void update_cost(const op_case *c, double *flops, double *bytes) {
    *flops = 10.0 * (double)(c->dims[0] * c->dims[1]), *bytes = 28.0 * (double)(c->dims[0] * c->dims[1]);
}

static const op_desc ops[] = {
    {"heads_gather", NULL, gather_cases, IJ_COUNT(gather_cases), gather_args, gather_prepare, gather_record, gather_ref, gather_cost},
    {"heads_stats", NULL, stats_cases, IJ_COUNT(stats_cases), stats_args, stats_prepare, stats_record, stats_ref, stats_cost},
    {"heads_columns", NULL, columns_cases, IJ_COUNT(columns_cases), columns_args, columns_prepare, columns_record, columns_ref,
     columns_cost},
    {"heads_update", NULL, update_cases, IJ_COUNT(update_cases), update_args, update_prepare, update_record, update_ref, update_cost},
};
const op_family op_family_heads = {"heads", ops, IJ_COUNT(ops)};
