/* AdamW with the moving average.       layer: ops; uses: gpu
 * Case dims: [0] count, [1] flags, [2] step, [3] op_dtype of the copies (OP_F32: none); reals: [0] loss scale (0: none). */
#include "ops/optim.h"
#include "ops/rows.h"

#include <assert.h>
#include <math.h>
#include <string.h>

_Static_assert(sizeof(struct optim_step) == 4 * OPTIM_STEP_FLOATS, "optim_step is an array of floats to the tests");

struct optim_step op_optim_step_make(const op_optim_desc *desc) {
    assert(desc->step >= 1);
    double beta1 = desc->beta1 != 0 ? desc->beta1 : 0.9, beta2 = desc->beta2 != 0 ? desc->beta2 : 0.999;
    return (struct optim_step){
        .keep = (float)(1 - desc->lr * desc->weight_decay),
        .step_size = (float)(desc->lr / (1 - pow(beta1, (double)desc->step))),
        .beta1_rest = (float)(1 - beta1),
        .beta2 = (float)beta2,
        .beta2_rest = (float)(1 - beta2),
        .bias2_root = (float)sqrt(1 - pow(beta2, (double)desc->step)),
        .eps = (float)(desc->eps != 0 ? desc->eps : 1e-8),
        .ema = (float)desc->ema,
        .ema_rest = (float)(1 - desc->ema),
        .grad_scale = (float)(desc->grad_scale != 0 ? desc->grad_scale : 1),
        .clip_norm = (float)desc->clip_norm,
    };
}

/* Loads first .. first + count of `width` elements each. */
static ij_status record_part(gpu_program *program, const op_adamw_args *args, const char *shader, uint32_t width, uint64_t first,
                             uint64_t count, ij_error *err) {
    bool target = args->target.arena, guard = args->norm.arena, scaled = args->loss_scale.arena;
    gpu_kernel_desc desc = {
        .shader = shader,
        .specs = {args->decay, target, args->zero_gradient, guard, args->copy.element, args->target_copy.element, scaled},
        .spec_count = 7};
    struct optim_push push = {(uint32_t)first, (uint32_t)count};
    double elements = (double)count * width, streams = 7 + 2 * target + args->zero_gradient;
    streams += 0.5 * (args->copy.element != GPU_WORD) + 0.5 * (args->target_copy.element != GPU_WORD);
    gpu_dispatch_desc dispatch = {
        .label = args->label ? args->label : "adamw",
        .tensors = {args->p, args->m, args->v, args->g, args->target, args->step, args->norm, args->copy, args->target_copy,
                    args->loss_scale},
        .tensor_count = 10,
        .push = &push,
        .push_bytes = sizeof push,
        .flops = 16 * elements,
        .bytes = 4 * streams * elements,
    };
    rows_groups(dispatch.groups, op_groups((int64_t)count, OPTIM_LANES));
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &desc, &dispatch.kernel, err));
    return gpu_dispatch(program, &dispatch, err);
}

ij_status op_adamw(gpu_program *program, const op_adamw_args *args, ij_error *err) {
    uint64_t count = args->count, fours = count / 4, rest = count % 4;
    assert(count > 0 && count <= UINT32_MAX && args->p.bytes >= 4 * count && args->m.bytes >= 4 * count);
    assert(args->v.bytes >= 4 * count && args->g.bytes >= 4 * count && args->step.bytes >= sizeof(struct optim_step));
    assert(!args->copy.arena || (args->copy.element != GPU_WORD && args->copy.bytes >= 2 * count));
    assert(!args->target_copy.arena ||
           (args->target.arena && args->target_copy.element != GPU_WORD && args->target_copy.bytes >= 2 * count));
    if (fours) IJ_TRY(record_part(program, args, "optim_adamw", 4, 0, fours, err));
    if (rest) IJ_TRY(record_part(program, args, "optim_adamw_tail", 1, 4 * fours, rest, err));
    return IJ_OK;
}

ij_status op_cast_rows(gpu_program *program, gpu_tensor from, gpu_tensor to, uint64_t rows, uint64_t columns, ij_error *err) {
    uint64_t width = columns % 4 ? 2 : 4, row = gpu_row(to.element, columns), stores = rows * (row / width);
    assert(rows > 0 && columns > 0 && to.element != GPU_WORD && rows * row <= UINT32_MAX);
    assert(from.bytes >= 4 * rows * columns && to.bytes >= gpu_matrix_bytes(to.element, rows, columns));
    gpu_kernel_desc desc = {.shader = columns % 4 ? "optim_cast_any" : "optim_cast", .specs = {to.element}, .spec_count = 1};
    struct optim_cast_push push = {(uint32_t)stores, (uint32_t)(row / width), (uint32_t)(columns % 4 ? columns : columns / 4)};
    gpu_dispatch_desc dispatch = {.label = "cast_rows",
                                  .tensors = {from, to},
                                  .tensor_count = 2,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .bytes = 4.0 * (double)(rows * columns) + 2.0 * (double)(rows * row)};
    rows_groups(dispatch.groups, op_groups((int64_t)stores, OPTIM_LANES));
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &desc, &dispatch.kernel, err));
    return gpu_dispatch(program, &dispatch, err);
}

/* ---- loss scale ---- */

struct optim_scale op_optim_scale_make(float scale) {
    int exponent;
    assert(scale >= 1 && scale <= OP_SCALE_MAX && frexpf(scale, &exponent) == 0.5f); /* a power of two */
    (void)exponent;
    return (struct optim_scale){.scale = scale, .inverse = 1 / scale};
}

ij_status op_scale_update(gpu_program *program, gpu_tensor norm, gpu_tensor scale, uint32_t interval, ij_error *err) {
    assert(interval > 0 && norm.bytes >= sizeof(struct reduce_norm) && scale.bytes >= sizeof(struct optim_scale));
    gpu_kernel_desc desc = {.shader = "optim_scale"};
    struct optim_scale_push push = {interval, OP_SCALE_MAX};
    gpu_dispatch_desc dispatch = {.label = "scale_update",
                                  .tensors = {norm, scale},
                                  .tensor_count = 2,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {1},
                                  .bytes = 2.0 * (sizeof(struct reduce_norm) + sizeof(struct optim_scale))};
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &desc, &dispatch.kernel, err));
    return gpu_dispatch(program, &dispatch, err);
}

/* ---- as data ---- */

enum { DECAY = 1, TARGET = 2, ZERO = 4, GUARD = 8, NOT_FINITE = 16, CLIP = 32, TARGET_COPY = 64 };

static const op_case cases[] = {
    {.name = "one", .dims = {1, DECAY, 1}},
    {.name = "three_first_step", .dims = {3, TARGET, 1}},
    {.name = "prime", .dims = {1009, DECAY | TARGET | ZERO, 7}},
    {.name = "four", .dims = {4, DECAY | GUARD, 1000}},
    {.name = "not_finite", .dims = {131, DECAY | TARGET | GUARD | NOT_FINITE, 3}},
    {.name = "not_finite_zeroed", .dims = {262, DECAY | TARGET | GUARD | NOT_FINITE | ZERO, 3}},
    {.name = "clipped", .dims = {1030, DECAY | GUARD | CLIP, 20}},
    {.name = "f16", .dims = {1032, DECAY | TARGET | TARGET_COPY | GUARD, 7, OP_F16}, .reals = {65536}},
    {.name = "f16_tail_one", .dims = {1, TARGET | TARGET_COPY, 1, OP_F16}, .reals = {2}},
    {.name = "bf16_tail_two", .dims = {1026, DECAY | TARGET | TARGET_COPY | ZERO, 7, OP_BF16}},
    {.name = "f16_tail_three", .dims = {7, TARGET, 3, OP_F16}},
    {.name = "bf16_not_finite", .dims = {131, DECAY | TARGET | TARGET_COPY | GUARD | NOT_FINITE | ZERO, 3, OP_BF16}, .reals = {1}},
    {.name = "scaled_clipped", .dims = {1030, DECAY | GUARD | CLIP, 20}, .reals = {256}},
    {.name = "vit_small_f16", .dims = {22 << 20, DECAY | TARGET | TARGET_COPY | GUARD, 5, OP_F16}, .reals = {65536}, .large = true},
    {.name = "vit_small", .dims = {22 << 20, DECAY | TARGET | GUARD, 5}, .large = true},
};

static bool flag(const op_case *c, int f) { return (c->dims[1] & f) != 0; }

static struct optim_step step_of(const op_case *c) {
    return op_optim_step_make(&(op_optim_desc){
        .lr = 1e-3, .weight_decay = 0.04, .ema = 0.996, .grad_scale = 0.125, .clip_norm = flag(c, CLIP) ? 0.5 : 0, .step = c->dims[2]});
}
static struct reduce_norm norm_of(const op_case *c) {
    float norm = (float)(sqrt((double)c->dims[0]) * (c->reals[0] > 0 ? c->reals[0] : 1));
    return (struct reduce_norm){.norm = norm, .sum_squares = norm * norm, .finite = !flag(c, NOT_FINITE)};
}

static op_dtype copy_dtype(const op_case *c) { return (op_dtype)c->dims[3]; }
static double copies(const op_case *c) { return (copy_dtype(c) != OP_F32) + flag(c, TARGET_COPY); }

/* A dozen operations of which none cancels more than the rms of its result: the same bound as a sum of four terms. */
/* A copy is one row; behind it, up to its padding, there must be what was there before: zeros. */
static int case_args(const op_case *c, op_arg *args) {
    int64_t count = c->dims[0];
    args[0] = (op_arg){"p", OP_INOUT, OP_F32, count, 0.02, op_tolerance(4)};
    args[1] = (op_arg){"m", OP_INOUT, OP_F32, count, 0.01, op_tolerance(4)};
    args[2] = (op_arg){"v", OP_INOUT, OP_F32, count, 1e-4, op_tolerance(4)};
    double scale = c->reals[0] > 0 ? c->reals[0] : 1;
    args[3] = (op_arg){"g", flag(c, ZERO) ? OP_INOUT : OP_IN, OP_F32, count, scale, op_tolerance(4)};
    args[4] = (op_arg){"target", flag(c, TARGET) ? OP_INOUT : OP_IN, OP_F32, count, 0.02, op_tolerance(4)};
    args[5] = (op_arg){"step", OP_IN, OP_F32, OPTIM_STEP_FLOATS, 0, 0};
    args[6] = (op_arg){"norm", OP_IN, OP_U32, sizeof(struct reduce_norm) / 4, 0, 0};
    args[7] = (op_arg){"copy", copy_dtype(c) ? OP_INOUT : OP_IN, copy_dtype(c), count, 0.02, op_tolerance(4), count};
    args[8] = (op_arg){"target_copy", flag(c, TARGET_COPY) ? OP_INOUT : OP_IN, copy_dtype(c), count, 0.02, op_tolerance(4), count};
    args[9] = (op_arg){"loss_scale", OP_IN, OP_U32, sizeof(struct optim_scale) / 4, 0, 0};
    return 10;
}
static void prepare(const op_case *c, void *const *h) {
    for (int64_t i = 0; i < c->dims[0]; i++) ((double *)h[2])[i] = fabs(((double *)h[2])[i]);
    struct optim_step step = step_of(c);
    float floats[OPTIM_STEP_FLOATS];
    memcpy(floats, &step, sizeof floats);
    for (int i = 0; i < OPTIM_STEP_FLOATS; i++) ((double *)h[5])[i] = (double)floats[i];
    struct reduce_norm norm = norm_of(c);
    memcpy(h[6], &norm, sizeof norm);
    *(struct optim_scale *)h[9] = (struct optim_scale){.scale = (float)c->reals[0], .inverse = (float)(1 / c->reals[0])};
}
static ij_status record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_adamw_args args = {.p = t[0],
                          .m = t[1],
                          .v = t[2],
                          .g = t[3],
                          .step = t[5],
                          .count = (uint64_t)c->dims[0],
                          .decay = flag(c, DECAY),
                          .zero_gradient = flag(c, ZERO)};
    if (flag(c, TARGET)) args.target = t[4];
    if (flag(c, GUARD)) args.norm = t[6];
    if (copy_dtype(c) != OP_F32) args.copy = t[7];
    if (flag(c, TARGET_COPY)) args.target_copy = t[8];
    if (c->reals[0] > 0) args.loss_scale = t[9];
    return op_adamw(program, &args, err);
}
static void ref(const op_case *c, void *const *h) {
    struct optim_step step = step_of(c);
    if (c->reals[0] > 0) step.grad_scale /= (float)c->reals[0];
    struct reduce_norm norm = norm_of(c);
    ref_adamw(h[0], h[1], h[2], h[3], flag(c, TARGET) ? h[4] : NULL, c->dims[0], &step, flag(c, GUARD) ? &norm : NULL, flag(c, DECAY),
              flag(c, ZERO));
    for (int64_t i = 0; i < c->dims[0] && norm.finite; i++) {
        if (copy_dtype(c) != OP_F32) ((double *)h[7])[i] = ((double *)h[0])[i];
        if (flag(c, TARGET_COPY)) ((double *)h[8])[i] = ((double *)h[4])[i];
    }
}
static void cost(const op_case *c, double *flops, double *bytes) {
    *flops = 16.0 * (double)c->dims[0];
    *bytes = 4.0 * (double)c->dims[0] * (7 + 2 * flag(c, TARGET) + flag(c, ZERO) + 0.5 * copies(c));
}

/* ---- casts. Case dims: [0] rows, [1] columns, [2] op_dtype ---- */

static const op_case cast_cases[] = {
    {.name = "f16_one", .dims = {1, 1, OP_F16}},
    {.name = "f16", .dims = {33, 64, OP_F16}},
    {.name = "bf16_prime", .dims = {13, 37, OP_BF16}},
    {.name = "f16_even", .dims = {5, 118, OP_F16}},
    {.name = "bf16_patch_rows", .dims = {17, 588, OP_BF16}},
    {.name = "f16_vit_base", .dims = {3072, 768, OP_F16}, .large = true},
};

static int cast_args(const op_case *c, op_arg *args) {
    int64_t count = c->dims[0] * c->dims[1];
    args[0] = (op_arg){"from", OP_IN, OP_F32, count, 1, 0};
    args[1] = (op_arg){"to", OP_OUT, (op_dtype)c->dims[2], count, 0, 0, c->dims[1]};
    return 2;
}
static ij_status cast_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    return op_cast_rows(program, t[0], t[1], (uint64_t)c->dims[0], (uint64_t)c->dims[1], err);
}
static void cast_ref(const op_case *c, void *const *h) { memcpy(h[1], h[0], sizeof(double) * (size_t)(c->dims[0] * c->dims[1])); }
static void cast_cost(const op_case *c, double *flops, double *bytes) { *flops = 0, *bytes = 6.0 * (double)(c->dims[0] * c->dims[1]); }

/* ---- loss scale. Case dims: [0] calls one after the other, [1] interval, [2] bits of the calls whose norm is not finite, [3] good
 * and [4] skipped steps before; reals: [0] scale before. All is exact, so all is compared as words. ---- */

enum { CALLS_MAX = 8 };

static const op_case scale_cases[] = {
    {.name = "grows", .dims = {1, 3, 0, 2, 0}, .reals = {1024}},
    {.name = "waits", .dims = {1, 3, 0, 1, 7}, .reals = {1024}},
    {.name = "shrinks", .dims = {1, 2000, 1, 1999, 3}, .reals = {OP_SCALE_START}},
    {.name = "grows_twice_and_shrinks", .dims = {8, 2, 0x60, 0, 0}, .reals = {4}},
    {.name = "between", .dims = {8, 4, 0x08, 0, 1}, .reals = {512}}, /* three good, one not, four good */
    {.name = "least", .dims = {5, 2, 0x07, 0, 0}, .reals = {2}},
    {.name = "most", .dims = {8, 1, 0x20, 0, 0}, .reals = {OP_SCALE_MAX / 4}},
};

static int scale_args(const op_case *c, op_arg *args) {
    static const char *const names[CALLS_MAX] = {"norm_0", "norm_1", "norm_2", "norm_3", "norm_4", "norm_5", "norm_6", "norm_7"};
    args[0] = (op_arg){"scale", OP_INOUT, OP_U32, sizeof(struct optim_scale) / 4, 0, 0};
    for (int k = 0; k < c->dims[0]; k++) args[1 + k] = (op_arg){names[k], OP_INOUT, OP_U32, sizeof(struct reduce_norm) / 4, 0, 0};
    return 1 + (int)c->dims[0];
}
static void scale_prepare(const op_case *c, void *const *h) {
    struct optim_scale *scale = h[0];
    *scale = op_optim_scale_make((float)c->reals[0]);
    scale->good = (uint32_t)c->dims[3], scale->skipped = (uint32_t)c->dims[4];
    for (int k = 0; k < c->dims[0]; k++) {
        float norm = 3.7f + (float)k;
        *(struct reduce_norm *)h[1 + k] =
            c->dims[2] >> k & 1 ? (struct reduce_norm){-1, -1, 0, 0} : (struct reduce_norm){norm, norm * norm, 1, 0};
    }
}
static ij_status scale_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    for (int k = 0; k < c->dims[0]; k++) IJ_TRY(op_scale_update(program, t[1 + k], t[0], (uint32_t)c->dims[1], err));
    return IJ_OK;
}
static void scale_ref(const op_case *c, void *const *h) {
    for (int k = 0; k < c->dims[0]; k++) ref_scale_update(h[1 + k], h[0], (uint32_t)c->dims[1]);
}
static void scale_cost(const op_case *c, double *flops, double *bytes) { *flops = 0, *bytes = 64.0 * (double)c->dims[0]; }

static const op_desc ops[] = {
    {"adamw", NULL, cases, IJ_COUNT(cases), case_args, prepare, record, ref, cost},
    {"cast_rows", NULL, cast_cases, IJ_COUNT(cast_cases), cast_args, NULL, cast_record, cast_ref, cast_cost},
    {"scale_update", NULL, scale_cases, IJ_COUNT(scale_cases), scale_args, scale_prepare, scale_record, scale_ref, scale_cost},
};
const op_family op_family_optim = {"optim", ops, IJ_COUNT(ops)};
