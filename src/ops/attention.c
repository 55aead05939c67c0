/* Attention: plans and records shaders/attention*.comp, and describes them as data.       layer: ops; uses: gpu
 *
 * Case dims: [0] heads, [1] head_dim, [2] sequences, [3] how many lengths follow, [4 ..] lengths, taken in turn by the sequences; reals:
 * [0] split. Small cases have three rows behind the last sequence, which must stay untouched. */
#include "ops/attention.h"
#include "shaders/attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- plan and record ---- */

/* What a kernel keeps in registers for a row of one head: q and the output; q, dout, dq; k, v, dk, dv. */
typedef enum attention_kernel { ATTENTION_FWD, ATTENTION_DQ, ATTENTION_DKV } attention_kernel;

static ij_status check_shape(const gpu_info *info, const op_attention_shape *shape, ij_error *err) {
    if (shape->head_dim == 0 || shape->head_dim % 4 != 0 || shape->head_dim > ATTENTION_HEAD_DIM_MAX)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "attention: head_dim is %u, it must be a multiple of 4 up to %d", shape->head_dim,
                       ATTENTION_HEAD_DIM_MAX);
    if (shape->heads == 0 || shape->sequences == 0 || shape->rows_max == 0 || shape->length_max == 0)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "attention: heads %u, sequences %u, rows_max %u, length_max %u: none may be 0", shape->heads,
                       shape->sequences, shape->rows_max, shape->length_max);
    if (shape->sequences > info->groups_max[2] || shape->heads > info->groups_max[1] || shape->length_max > info->groups_max[0])
        return ij_fail(err, IJ_ERROR_ARGUMENT, "attention: %u sequences, %u heads, length %u: the device takes %u, %u, %u",
                       shape->sequences, shape->heads, shape->length_max, info->groups_max[2], info->groups_max[1], info->groups_max[0]);
    if (shape->split > 4 || shape->split == 3)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "attention: split is %u, it must be 0, 1, 2 or 4", shape->split);
    return IJ_OK;
}

static ij_status check_tensor(gpu_tensor tensor, const char *name, uint64_t rows, uint64_t columns, ij_error *err) {
    if (tensor.arena && tensor.bytes >= rows * columns * 4) return IJ_OK;
    return ij_fail(err, IJ_ERROR_ARGUMENT, "attention: %s has %llu bytes, [%llu, %llu] needs %llu", name, (unsigned long long)tensor.bytes,
                   (unsigned long long)rows, (unsigned long long)columns, (unsigned long long)(rows * columns * 4));
}

/* Mesa's software driver before version 26 sees no uniform address in a loop: every load is one a lane (head_dim 64: 4 GFLOP/s with 25.0.7
 * where 26.1.6 has 27), and so much code that these kernels took it 17 and 26 s to compile. There a shared row costs about a third of what
 * speed is left and compiles in 1 and 2 s. */
static bool loads_lane_by_lane(const gpu_info *info) {
    const char *mesa = strstr(info->driver, "Mesa ");
    return info->kind == GPU_KIND_CPU && mesa && atoi(mesa + 5) < 26;
}

/* Fills specialisation values, push constants, groups and costs.
 *
 * A software driver vectorises over the invocations of a subgroup and pays for barriers: one subgroup, rows whole. On a GPU registers are
 * the limit: rows up to 64 floats (forward) or 32 (backward, where two or four vectors stay and two pass by) are kept whole, longer ones
 * are shared by four invocations; then nothing spills on RDNA 2, 3 and 4 up to 128. Workgroups are one subgroup, so that barriers cost
 * little and short sequences waste few lanes. Forward, several keys a turn share one rescaling of the output; backward there is none, and a
 * row that passes by stays in registers from the scores to the gradients, so one at a time. */
static void plan(const gpu_info *info, const op_attention_shape *shape, attention_kernel which, gpu_kernel_desc *kernel,
                 gpu_dispatch_desc *dispatch, struct attention_push *push) {
    bool cpu = info->kind == GPU_KIND_CPU && shape->split == 0;
    uint32_t lanes = cpu && info->subgroup_size <= 32 ? info->subgroup_size : info->subgroup_min <= 32 ? 32 : 64;
    uint32_t whole_max = cpu ? (loads_lane_by_lane(info) ? 32 : ATTENTION_HEAD_DIM_MAX) : which == ATTENTION_FWD ? 64 : 32;
    uint32_t split = shape->head_dim <= whole_max ? 1 : 4;
    /* Tests share rows among more; among fewer only where registers are no limit. */
    if (shape->split > split || (shape->split && info->kind == GPU_KIND_CPU)) split = shape->split;
    uint32_t block = which != ATTENTION_FWD ? 1 : cpu ? 2 : 4;
    uint32_t specs[] = {lanes, shape->head_dim / 4, split, block};
    memcpy(kernel->specs, specs, sizeof specs);
    kernel->spec_count = IJ_COUNT(specs);
    double scale = 1 / sqrt((double)shape->head_dim);
    *push = (struct attention_push){shape->heads, shape->rows_max, (float)(scale * 1.4426950408889634074), (float)scale};
    dispatch->push = push;
    dispatch->push_bytes = sizeof *push;
    dispatch->groups[0] = op_groups(shape->length_max, lanes / split);
    dispatch->groups[1] = shape->heads;
    dispatch->groups[2] = shape->sequences;
    /* Two products of [length, head_dim] forward, three for dq, four for dkv, as if every sequence had its greatest length. */
    double dim = (double)shape->heads * shape->head_dim, pairs = (double)shape->rows_max * shape->length_max;
    dispatch->flops = 2 * (which == ATTENTION_FWD ? 2 : which == ATTENTION_DQ ? 3 : 4) * pairs * dim;
    dispatch->bytes = 4 * (which == ATTENTION_FWD ? 4 : 6) * (double)shape->rows_max * dim;
}

static ij_status record(gpu_program *program, const op_attention_shape *shape, attention_kernel which, const char *shader,
                        const gpu_tensor *tensors, uint32_t tensor_count, ij_error *err) {
    gpu_device *device = gpu_program_device(program);
    gpu_kernel_desc kernel_desc = {.shader = shader};
    gpu_dispatch_desc dispatch = {.label = shader, .tensor_count = tensor_count};
    struct attention_push push;
    plan(gpu_device_info(device), shape, which, &kernel_desc, &dispatch, &push);
    for (uint32_t i = 0; i < tensor_count; i++) dispatch.tensors[i] = tensors[i];
    IJ_TRY(gpu_kernel_get(device, &kernel_desc, &dispatch.kernel, err));
    return gpu_dispatch(program, &dispatch, err);
}

ij_status op_attention(gpu_program *program, const op_attention_desc *desc, ij_error *err) {
    const op_attention_shape *shape = &desc->shape;
    uint64_t dim = (uint64_t)shape->heads * shape->head_dim;
    IJ_TRY(check_shape(gpu_device_info(gpu_program_device(program)), shape, err));
    IJ_TRY(check_tensor(shape->offsets, "offsets", shape->sequences + (uint64_t)1, 1, err));
    IJ_TRY(check_tensor(desc->qkv, "qkv", shape->rows_max, 3 * dim, err));
    IJ_TRY(check_tensor(desc->out, "out", shape->rows_max, dim, err));
    if (desc->lse.arena) IJ_TRY(check_tensor(desc->lse, "lse", shape->rows_max, shape->heads, err));
    gpu_tensor tensors[] = {desc->qkv, shape->offsets, desc->out, desc->lse};
    return record(program, shape, ATTENTION_FWD, desc->lse.arena ? "attention_fwd_lse" : "attention_fwd", tensors, desc->lse.arena ? 4 : 3,
                  err);
}

ij_status op_attention_bwd(gpu_program *program, const op_attention_bwd_desc *desc, ij_error *err) {
    const op_attention_shape *shape = &desc->shape;
    uint64_t dim = (uint64_t)shape->heads * shape->head_dim;
    IJ_TRY(check_shape(gpu_device_info(gpu_program_device(program)), shape, err));
    IJ_TRY(check_tensor(shape->offsets, "offsets", shape->sequences + (uint64_t)1, 1, err));
    IJ_TRY(check_tensor(desc->qkv, "qkv", shape->rows_max, 3 * dim, err));
    IJ_TRY(check_tensor(desc->out, "out", shape->rows_max, dim, err));
    IJ_TRY(check_tensor(desc->lse, "lse", shape->rows_max, shape->heads, err));
    IJ_TRY(check_tensor(desc->dout, "dout", shape->rows_max, dim, err));
    IJ_TRY(check_tensor(desc->delta, "delta", shape->rows_max, shape->heads, err));
    IJ_TRY(check_tensor(desc->dqkv, "dqkv", shape->rows_max, 3 * dim, err));
    /* dq first: it has dout and out of its row at hand and leaves delta for dkv. */
    gpu_tensor tensors[] = {desc->qkv, shape->offsets, desc->lse, desc->dout, desc->dqkv, desc->delta, desc->out};
    IJ_TRY(record(program, shape, ATTENTION_DQ, "attention_bwd_dq", tensors, 7, err));
    return record(program, shape, ATTENTION_DKV, "attention_bwd_dkv", tensors, 6, err);
}

/* ---- as data ---- */

static const op_case cases[] = {
    {.name = "one_row", .dims = {1, 8, 2, 2, 1, 5}},
    {.name = "ragged", .dims = {3, 12, 5, 5, 1, 7, 0, 33, 64}},
    {.name = "primes", .dims = {5, 24, 4, 4, 13, 0, 3, 31}},
    {.name = "recorded_step", .dims = {5, 12, 6, 3, 4, 11, 9}},
    {.name = "dim_4", .dims = {2, 4, 3, 3, 0, 2, 17}},
    {.name = "dim_16", .dims = {1, 16, 3, 3, 9, 1, 20}},
    {.name = "dim_60", .dims = {1, 60, 2, 2, 10, 3}},
    {.name = "dim_64", .dims = {3, 64, 3, 3, 70, 1, 8}},
    {.name = "dim_80", .dims = {2, 80, 3, 3, 5, 0, 37}},
    {.name = "dim_88", .dims = {1, 88, 2, 2, 6, 29}},
    {.name = "dim_128", .dims = {1, 128, 3, 3, 4, 41, 1}},
    {.name = "empty_batch_end", .dims = {1, 20, 4, 4, 3, 6, 0, 0}},
    {.name = "dim_12_split_2", .dims = {3, 12, 3, 3, 5, 0, 18}, .reals = {2}}, /* three vec4s for two */
    {.name = "dim_60_split_4", .dims = {1, 60, 3, 3, 7, 19, 2}, .reals = {4}},
    {.name = "dim_64_split_1", .dims = {2, 64, 2, 2, 3, 67}, .reals = {1}},
    {.name = "dim_88_split_4", .dims = {2, 88, 3, 3, 23, 1, 6}, .reals = {4}},
    {.name = "dim_128_split_2", .dims = {1, 128, 2, 2, 35, 4}, .reals = {2}},
    {.name = "vit_192_heads_6", .dims = {6, 32, 32, 1, 64}, .large = true},
    {.name = "vit_192_heads_3", .dims = {3, 64, 32, 1, 64}, .large = true},
    {.name = "context", .dims = {6, 32, 32, 8, 14, 22, 9, 31, 17, 38, 11, 26}, .large = true},
    {.name = "predictor", .dims = {6, 16, 128, 8, 31, 24, 57, 42, 20, 36, 49, 28}, .large = true},
    {.name = "long", .dims = {2, 64, 2, 2, 1031, 196}, .large = true},
};

static int64_t length_of(const op_case *c, int64_t sequence) { return c->dims[4 + sequence % c->dims[3]]; }

static int64_t length_max_of(const op_case *c) {
    int64_t length = 1;
    for (int64_t i = 0; i < c->dims[3]; i++) length = c->dims[4 + i] > length ? c->dims[4 + i] : length;
    return length;
}

static int64_t rows_of(const op_case *c) {
    int64_t rows = c->large ? 0 : 3;
    for (int64_t s = 0; s < c->dims[2]; s++) rows += length_of(c, s);
    return rows;
}

/* Pairs of a query and a key of one head. */
static double pairs_of(const op_case *c) {
    double pairs = 0;
    for (int64_t s = 0; s < c->dims[2]; s++) pairs += (double)length_of(c, s) * (double)length_of(c, s);
    return pairs;
}

static op_attention_shape shape_of(const op_case *c, gpu_tensor offsets) {
    return (op_attention_shape){offsets,
                                (uint32_t)c->dims[2],
                                (uint32_t)rows_of(c),
                                (uint32_t)length_max_of(c),
                                (uint32_t)c->dims[0],
                                (uint32_t)c->dims[1],
                                (uint32_t)c->reals[0]};
}

static void prepare_offsets(const op_case *c, uint32_t *offsets) {
    offsets[0] = 0;
    for (int64_t s = 0; s < c->dims[2]; s++) offsets[s + 1] = offsets[s] + (uint32_t)length_of(c, s);
}

/* A score is a sum of head_dim products; its absolute error is the relative error of exp(score). The sum over the keys comes on top, and
 * exp2, which Vulkan lets be wrong by 3 + 2 |x| units in the last place: of exp2(x) <= 1 that is at most 4 of the greatest term, whatever x
 * is. */
static double tolerance(const op_case *c) { return op_tolerance(c->dims[1]) + op_tolerance(length_max_of(c)) + 0x1p-24 * 8; }

static int fwd_args(const op_case *c, op_arg *args) {
    int64_t rows = rows_of(c), dim = c->dims[0] * c->dims[1];
    args[0] = (op_arg){"qkv", OP_IN, OP_F32, rows * 3 * dim, 1.3, 0};
    args[1] = (op_arg){"offsets", OP_IN, OP_U32, c->dims[2] + 1, 0, 0};
    args[2] = (op_arg){"out", OP_OUT, OP_F32, rows * dim, 0, tolerance(c)};
    args[3] = (op_arg){"lse", OP_OUT, OP_F32, rows * c->dims[0], 0, tolerance(c)};
    return 4;
}

static void fwd_prepare(const op_case *c, void *const *h) { prepare_offsets(c, h[1]); }

static ij_status fwd_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    return op_attention(program, &(op_attention_desc){shape_of(c, t[1]), t[0], t[2], t[3]}, err);
}

static void fwd_ref(const op_case *c, void *const *h) { ref_attention(h[0], h[1], c->dims[2], c->dims[0], c->dims[1], h[2], h[3]); }

static void fwd_cost(const op_case *c, double *flops, double *bytes) {
    double dim = (double)(c->dims[0] * c->dims[1]);
    *flops = 4 * pairs_of(c) * dim;
    *bytes = 4 * (double)rows_of(c) * (4 * dim + (double)c->dims[0]);
}

/* Without lse, as the target encoder runs it. */
static int infer_args(const op_case *c, op_arg *args) { return fwd_args(c, args) - 1; }

static ij_status infer_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    return op_attention(program, &(op_attention_desc){.shape = shape_of(c, t[1]), .qkv = t[0], .out = t[2]}, err);
}

static void infer_ref(const op_case *c, void *const *h) { ref_attention(h[0], h[1], c->dims[2], c->dims[0], c->dims[1], h[2], NULL); }

/* dp and delta are sums of head_dim products of which the difference is taken: their errors stand beside the score's. */
static double bwd_tolerance(const op_case *c) { return tolerance(c) + 2 * op_tolerance(c->dims[1]); }

static int bwd_args(const op_case *c, op_arg *args) {
    int64_t rows = rows_of(c), dim = c->dims[0] * c->dims[1];
    args[0] = (op_arg){"qkv", OP_IN, OP_F32, rows * 3 * dim, 1.3, 0};
    args[1] = (op_arg){"offsets", OP_IN, OP_U32, c->dims[2] + 1, 0, 0};
    args[2] = (op_arg){"out", OP_IN, OP_F32, rows * dim, 0, 0};
    args[3] = (op_arg){"lse", OP_IN, OP_F32, rows * c->dims[0], 0, 0};
    args[4] = (op_arg){"dout", OP_IN, OP_F32, rows * dim, 1, 0};
    args[5] = (op_arg){"delta", OP_SCRATCH, OP_F32, rows * c->dims[0], 0, 0};
    args[6] = (op_arg){"dqkv", OP_OUT, OP_F32, rows * 3 * dim, 0, bwd_tolerance(c)};
    return 7;
}

static void bwd_prepare(const op_case *c, void *const *h) {
    prepare_offsets(c, h[1]);
    ref_attention(h[0], h[1], c->dims[2], c->dims[0], c->dims[1], h[2], h[3]);
}

static ij_status bwd_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_attention_bwd_desc desc = {
        .shape = shape_of(c, t[1]), .qkv = t[0], .out = t[2], .lse = t[3], .dout = t[4], .delta = t[5], .dqkv = t[6]};
    return op_attention_bwd(program, &desc, err);
}

static void bwd_ref(const op_case *c, void *const *h) { ref_attention_bwd(h[0], h[1], c->dims[2], c->dims[0], c->dims[1], h[4], h[6]); }

/* Five products are needed; the two kernels do seven, because both compute the scores and dp. */
static void bwd_cost(const op_case *c, double *flops, double *bytes) {
    double dim = (double)(c->dims[0] * c->dims[1]);
    *flops = 10 * pairs_of(c) * dim;
    *bytes = 4 * (double)rows_of(c) * (8 * dim + (double)c->dims[0]);
}

static const op_desc ops[] = {
    {"attention", NULL, cases, IJ_COUNT(cases), fwd_args, fwd_prepare, fwd_record, fwd_ref, fwd_cost},
    {"attention_infer", NULL, cases, IJ_COUNT(cases), infer_args, fwd_prepare, infer_record, infer_ref, fwd_cost},
    {"attention_bwd", "attention", cases, IJ_COUNT(cases), bwd_args, bwd_prepare, bwd_record, bwd_ref, bwd_cost},
};
const op_family op_family_attention = {"attention", ops, IJ_COUNT(ops)};
