/* The gradient's norm, a distance, and mean pooling.       layer: ops; uses: gpu */
#include "ops/reduce.h"
#include "ops/rows.h"
#include "shaders/optim.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* ---- norm ---- */

uint32_t op_sum_squares_partials(uint64_t count) { return op_groups((int64_t)count, REDUCE_CHUNK); }

ij_status op_sum_squares(gpu_program *program, gpu_tensor x, uint64_t count, gpu_tensor partials, uint32_t first, ij_error *err) {
    uint32_t chunks = op_sum_squares_partials(count);
    assert(count > 0 && count <= UINT32_MAX - REDUCE_CHUNK && x.bytes >= 4 * count && partials.bytes >= 4 * ((uint64_t)first + chunks));
    gpu_kernel_desc desc = {.shader = "reduce_squares"};
    struct reduce_squares_push push = {(uint32_t)count, first};
    gpu_dispatch_desc dispatch = {.label = "sum_squares",
                                  .tensors = {x, partials, x},
                                  .tensor_count = 3,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .flops = 2.0 * (double)count,
                                  .bytes = 4.0 * (double)count};
    rows_groups(dispatch.groups, chunks);
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &desc, &dispatch.kernel, err));
    return gpu_dispatch(program, &dispatch, err);
}

ij_status op_norm_finish(gpu_program *program, gpu_tensor partials, uint32_t count, gpu_tensor norm, ij_error *err) {
    assert(partials.bytes >= 4 * (uint64_t)count && norm.bytes >= sizeof(struct reduce_norm));
    gpu_kernel_desc desc = {.shader = "reduce_norm"};
    struct reduce_norm_push push = {count};
    gpu_dispatch_desc dispatch = {.label = "norm_finish",
                                  .tensors = {partials, norm},
                                  .tensor_count = 2,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {1},
                                  .flops = count,
                                  .bytes = 4.0 * count};
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &desc, &dispatch.kernel, err));
    return gpu_dispatch(program, &dispatch, err);
}

/* ---- distance ---- */

ij_status op_distance(gpu_program *program, gpu_tensor a, gpu_tensor b, uint64_t count, gpu_tensor partials, uint32_t first,
                      ij_error *err) {
    uint32_t chunks = op_sum_squares_partials(count);
    assert(count > 0 && count <= UINT32_MAX - REDUCE_CHUNK && a.bytes >= 4 * count && b.bytes >= 4 * count);
    assert(partials.bytes >= 8 * ((uint64_t)first + chunks));
    gpu_kernel_desc desc = {.shader = "reduce_distance"};
    struct reduce_squares_push push = {(uint32_t)count, first};
    gpu_dispatch_desc dispatch = {.label = "distance",
                                  .tensors = {a, b, partials},
                                  .tensor_count = 3,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .flops = 5.0 * (double)count,
                                  .bytes = 8.0 * (double)count};
    rows_groups(dispatch.groups, chunks);
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &desc, &dispatch.kernel, err));
    return gpu_dispatch(program, &dispatch, err);
}

ij_status op_distance_finish(gpu_program *program, gpu_tensor partials, uint32_t count, gpu_tensor distance, ij_error *err) {
    assert(partials.bytes >= 8 * (uint64_t)count && distance.bytes >= sizeof(struct reduce_distance));
    gpu_kernel_desc desc = {.shader = "reduce_distance_sum"};
    struct reduce_norm_push push = {count};
    gpu_dispatch_desc dispatch = {.label = "distance_finish",
                                  .tensors = {partials, distance},
                                  .tensor_count = 2,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {1},
                                  .flops = 2.0 * count,
                                  .bytes = 8.0 * count};
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &desc, &dispatch.kernel, err));
    return gpu_dispatch(program, &dispatch, err);
}

/* ---- pooling ---- */

static ij_status record_rows(gpu_program *program, const op_mean_rows_args *args, const char *shader, const char *label, ij_error *err) {
    assert(args->sequences > 0 && args->dim > 0 && (uint64_t)args->rows_max * args->dim <= UINT32_MAX);
    assert(args->pooled.bytes >= 4 * (uint64_t)args->sequences * args->dim && args->offsets.bytes >= 4 * ((uint64_t)args->sequences + 1));
    gpu_element element = args->x.element;
    uint64_t x_bytes = gpu_matrix_bytes(element, args->rows_max, args->dim);
    bool half = element != GPU_WORD, scaled = args->loss_scale.arena;
    assert(args->x.bytes >= x_bytes);
    const gpu_tensor none = {0};
    gpu_kernel_desc desc = {.shader = shader, .specs = {args->add, element, scaled}, .spec_count = 3};
    uint64_t columns = half ? gpu_row(element, args->dim) / 2 : args->dim; /* a lane each */
    struct reduce_rows_push push = {args->dim, args->rows_max};
    double elements = (double)args->rows_max * args->dim;
    gpu_dispatch_desc dispatch = {
        .label = args->label ? args->label : label,
        .tensors = {half ? none : args->x, args->offsets, args->pooled, half ? args->x : none, args->loss_scale},
        .tensor_count = 5,
        .push = &push,
        .push_bytes = sizeof push,
        .groups = {op_groups((int64_t)columns, REDUCE_COLUMNS), args->sequences},
        .flops = elements,
        .bytes = (double)x_bytes * (args->add ? 2 : 1),
    };
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &desc, &dispatch.kernel, err));
    return gpu_dispatch(program, &dispatch, err);
}

ij_status op_mean_rows(gpu_program *program, const op_mean_rows_args *args, ij_error *err) {
    assert(!args->add && !args->loss_scale.arena);
    return record_rows(program, args, "reduce_rows", "mean_rows", err);
}

ij_status op_mean_rows_bwd(gpu_program *program, const op_mean_rows_args *args, ij_error *err) {
    return record_rows(program, args, "reduce_rows_bwd", "mean_rows_bwd", err);
}

/* ---- as data: the norm of two arrays. Case dims: [0] and [1] counts, [2] element of the second that is replaced by reals[0], or -1 ---- */

static const op_case norm_cases[] = {
    {.name = "ones", .dims = {1, 1, -1}},
    {.name = "tails", .dims = {16411, 1009, -1}},
    {.name = "exact_chunks", .dims = {2 * REDUCE_CHUNK, REDUCE_CHUNK, -1}},
    {.name = "rest_of_a_chunk", .dims = {REDUCE_CHUNK + 2, 2 * REDUCE_CHUNK + 1, -1}},
    {.name = "nan_last", .dims = {7, REDUCE_CHUNK + 3, REDUCE_CHUNK + 2}, .reals = {NAN}},
    {.name = "infinity_first_of_rest", .dims = {7, 42, 40}, .reals = {INFINITY}},
    {.name = "nan", .dims = {5000, 39001, 39000}, .reals = {NAN}},
    {.name = "infinity", .dims = {300, 4097, 4096}, .reals = {INFINITY}},
    {.name = "minus_infinity", .dims = {300, 77, 0}, .reals = {-INFINITY}},
    {.name = "overflow", .dims = {300, 77, 5}, .reals = {1e20}},
    {.name = "vit_small", .dims = {22 << 20, 1000, -1}, .large = true},
};

static uint32_t norm_partials(const op_case *c) {
    return op_sum_squares_partials((uint64_t)c->dims[0]) + op_sum_squares_partials((uint64_t)c->dims[1]);
}

static int norm_args(const op_case *c, op_arg *args) {
    args[0] = (op_arg){"x", OP_IN, OP_F32, c->dims[0], 1, 0};
    args[1] = (op_arg){"more", OP_IN, OP_F32, c->dims[1], 0.1, 0};
    args[2] = (op_arg){"partials", OP_SCRATCH, OP_F32, norm_partials(c), 0, 0};
    args[3] = (op_arg){"result", OP_SCRATCH, OP_U32, sizeof(struct reduce_norm) / 4, 0, 0};
    args[4] = (op_arg){"sums", OP_OUT, OP_F32, 2, 0, op_tolerance(c->dims[0] + c->dims[1])};
    args[5] = (op_arg){"finite", OP_OUT, OP_U32, 2, 0, 0};
    return 6;
}
static void norm_prepare(const op_case *c, void *const *h) {
    if (c->dims[2] >= 0) ((double *)h[1])[c->dims[2]] = c->reals[0];
}
static ij_status norm_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    IJ_TRY(op_sum_squares(program, t[0], (uint64_t)c->dims[0], t[2], 0, err));
    IJ_TRY(op_sum_squares(program, t[1], (uint64_t)c->dims[1], t[2], op_sum_squares_partials((uint64_t)c->dims[0]), err));
    IJ_TRY(op_norm_finish(program, t[2], norm_partials(c), t[3], err));
    gpu_tensor words = t[3]; /* the numbers are compared with a tolerance, the flag is not */
    words.offset += 8;
    words.bytes = 8;
    IJ_TRY(gpu_copy(program, t[4], t[3], 8, err));
    return gpu_copy(program, t[5], words, 8, err);
}
static void norm_ref(const op_case *c, void *const *h) {
    struct reduce_norm norm = ref_norm((const double *[]){h[0], h[1]}, (int64_t[]){c->dims[0], c->dims[1]}, 2);
    ((double *)h[4])[0] = (double)norm.norm, ((double *)h[4])[1] = (double)norm.sum_squares;
    ((uint32_t *)h[5])[0] = norm.finite, ((uint32_t *)h[5])[1] = norm.spare;
}
static void norm_cost(const op_case *c, double *flops, double *bytes) {
    *flops = 2.0 * (double)(c->dims[0] + c->dims[1]), *bytes = 4.0 * (double)(c->dims[0] + c->dims[1]);
}

/* ---- the distance. Case dims: [0] count, [1] a is zero ---- */

static const op_case distance_cases[] = {
    {.name = "one", .dims = {1}},
    {.name = "prime", .dims = {1009}},
    {.name = "tail", .dims = {2 * REDUCE_CHUNK + 3}},
    {.name = "from_nothing", .dims = {77, 1}},
    {.name = "vit_small", .dims = {22 << 20}, .large = true},
};

static int distance_args(const op_case *c, op_arg *args) {
    args[0] = (op_arg){"a", OP_IN, OP_F32, c->dims[0], 1, 0};
    args[1] = (op_arg){"b", OP_IN, OP_F32, c->dims[0], 1, 0};
    args[2] = (op_arg){"partials", OP_SCRATCH, OP_F32, 2 * op_sum_squares_partials((uint64_t)c->dims[0]), 0, 0};
    args[3] = (op_arg){"distance", OP_OUT, OP_F32, 4, 0, op_tolerance(c->dims[0])};
    return 4;
}
static void distance_prepare(const op_case *c, void *const *h) {
    for (int64_t i = 0; i < c->dims[0] && c->dims[1]; i++) ((double *)h[0])[i] = 0;
}
static ij_status distance_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    IJ_TRY(op_distance(program, t[0], t[1], (uint64_t)c->dims[0], t[2], 0, err));
    return op_distance_finish(program, t[2], op_sum_squares_partials((uint64_t)c->dims[0]), t[3], err);
}
static void distance_ref(const op_case *c, void *const *h) { ref_distance(h[0], h[1], c->dims[0], h[3]); }
static void distance_cost(const op_case *c, double *flops, double *bytes) {
    *flops = 5.0 * (double)c->dims[0], *bytes = 8.0 * (double)c->dims[0];
}

/* ---- pooling. Case dims: [0] sequences, [1] length of the longest, [2] dim, [3] flags, [4] op_dtype of x and dx;
 * reals: [0] loss scale (0: none) ---- */

enum { ADD = 1, EQUAL = 2 };

static const op_case rows_cases[] = {
    {.name = "one", .dims = {1, 1, 1}},
    {.name = "ragged", .dims = {7, 13, 53}},
    {.name = "ragged_add", .dims = {5, 11, 68, ADD}},
    {.name = "equal", .dims = {3, 49, 192, EQUAL}},
    {.name = "f16_ragged", .dims = {7, 13, 53, 0, OP_F16}},
    {.name = "f16_one", .dims = {1, 1, 1, 0, OP_F16}},
    {.name = "bf16_ragged_add", .dims = {5, 11, 70, ADD, OP_BF16}},
    {.name = "bf16_equal", .dims = {3, 49, 192, EQUAL, OP_BF16}},
    {.name = "f16_add_wide", .dims = {4, 9, 300, ADD, OP_F16}},
    {.name = "vit_base", .dims = {64, 196, 768, EQUAL}, .large = true},
    {.name = "vit_base_f16", .dims = {64, 196, 768, EQUAL, OP_F16}, .large = true},
};
static const op_case scaled_cases[] = {
    {.name = "ragged_add", .dims = {5, 11, 68, ADD}, .reals = {1024}},
    {.name = "f16_ragged_add", .dims = {7, 13, 53, ADD, OP_F16}, .reals = {64}},
    {.name = "bf16_equal", .dims = {3, 5, 40, EQUAL, OP_BF16}, .reals = {65536}},
};

/* Lengths 0 .. longest in a mixed order. */
static int64_t length_of(const op_case *c, int64_t s) {
    return c->dims[3] & EQUAL ? c->dims[1] : c->dims[0] == 1 ? c->dims[1] : (s * 5 + 3) % (c->dims[1] + 1) * (s != 2);
}
static int64_t rows_of(const op_case *c) {
    int64_t rows = 0;
    for (int64_t s = 0; s < c->dims[0]; s++) rows += length_of(c, s);
    return rows;
}
static int rows_args(const op_case *c, op_arg *args) {
    args[0] = (op_arg){"x", OP_IN, (op_dtype)c->dims[4], rows_of(c) * c->dims[2], 1, 0, c->dims[2]};
    args[1] = (op_arg){"offsets", OP_IN, OP_U32, c->dims[0] + 1, 0, 0};
    args[2] = (op_arg){"pooled", OP_OUT, OP_F32, c->dims[0] * c->dims[2], 0, op_tolerance(c->dims[1])};
    return 3;
}
static int rows_bwd_args(const op_case *c, op_arg *args) {
    args[0] =
        (op_arg){"dx", c->dims[3] & ADD ? OP_INOUT : OP_OUT, (op_dtype)c->dims[4], rows_of(c) * c->dims[2], 1, op_tolerance(1), c->dims[2]};
    args[1] = (op_arg){"offsets", OP_IN, OP_U32, c->dims[0] + 1, 0, 0};
    args[2] = (op_arg){"dpooled", OP_IN, OP_F32, c->dims[0] * c->dims[2], 1, 0};
    return 3;
}
static void rows_prepare(const op_case *c, void *const *h) {
    uint32_t *offsets = h[1];
    offsets[0] = 0;
    for (int64_t s = 0; s < c->dims[0]; s++) offsets[s + 1] = offsets[s] + (uint32_t)length_of(c, s);
}
static int rows_scaled_args(const op_case *c, op_arg *args) {
    int count = rows_bwd_args(c, args);
    args[count] = (op_arg){"loss_scale", OP_IN, OP_U32, sizeof(struct optim_scale) / 4, 0, 0};
    return count + 1;
}
static void rows_scaled_prepare(const op_case *c, void *const *h) {
    rows_prepare(c, h);
    *(struct optim_scale *)h[3] = (struct optim_scale){.scale = (float)c->reals[0], .inverse = NAN};
}
static op_mean_rows_args rows_call(const op_case *c, const gpu_tensor *t) {
    return (op_mean_rows_args){.x = t[0],
                               .offsets = t[1],
                               .pooled = t[2],
                               .sequences = (uint32_t)c->dims[0],
                               .dim = (uint32_t)c->dims[2],
                               .rows_max = (uint32_t)rows_of(c)};
}
static ij_status rows_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_mean_rows_args args = rows_call(c, t);
    return op_mean_rows(program, &args, err);
}
static ij_status rows_bwd_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_mean_rows_args args = rows_call(c, t);
    args.add = c->dims[3] & ADD;
    if (c->reals[0] > 0) args.loss_scale = t[3];
    return op_mean_rows_bwd(program, &args, err);
}
static void rows_ref(const op_case *c, void *const *h) { ref_mean_rows(h[0], h[1], h[2], c->dims[0], c->dims[2]); }
static void rows_bwd_ref(const op_case *c, void *const *h) {
    ref_mean_rows_bwd(h[2], h[1], h[0], c->dims[0], c->dims[2], c->dims[3] & ADD);
}
/* The loss scale goes into dpooled, which is compared with nothing. */
static void rows_scaled_ref(const op_case *c, void *const *h) {
    for (int64_t e = 0; e < c->dims[0] * c->dims[2]; e++) ((double *)h[2])[e] *= c->reals[0];
    rows_bwd_ref(c, h);
}
static void rows_cost(const op_case *c, double *flops, double *bytes) {
    *flops = (double)(rows_of(c) * c->dims[2]), *bytes = (c->dims[4] == OP_F32 ? 4.0 : 2.0) * (double)(rows_of(c) * c->dims[2]);
}

static const op_desc ops[] = {
    {"norm", NULL, norm_cases, IJ_COUNT(norm_cases), norm_args, norm_prepare, norm_record, norm_ref, norm_cost},
    {"distance", NULL, distance_cases, IJ_COUNT(distance_cases), distance_args, distance_prepare, distance_record, distance_ref,
     distance_cost},
    {"mean_rows", NULL, rows_cases, IJ_COUNT(rows_cases), rows_args, rows_prepare, rows_record, rows_ref, rows_cost},
    {"mean_rows_bwd", "mean_rows", rows_cases, IJ_COUNT(rows_cases), rows_bwd_args, rows_prepare, rows_bwd_record, rows_bwd_ref, rows_cost},
    {"mean_rows_bwd_scaled", NULL, scaled_cases, IJ_COUNT(scaled_cases), rows_scaled_args, rows_scaled_prepare, rows_bwd_record,
     rows_scaled_ref, rows_cost},
};
const op_family op_family_reduce = {"reduce", ops, IJ_COUNT(ops)};
