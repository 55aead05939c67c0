/* AdamW with the moving average.       layer: ops; uses: gpu
 * Case dims: [0] count, [1] flags, [2] step. */
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
    bool target = args->target.arena, guard = args->norm.arena;
    gpu_kernel_desc desc = {.shader = shader, .specs = {args->decay, target, args->zero_gradient, guard}, .spec_count = 4};
    struct optim_push push = {(uint32_t)first, (uint32_t)count};
    double elements = (double)count * width, streams = 7 + 2 * target + args->zero_gradient;
    gpu_dispatch_desc dispatch = {
        .label = args->label ? args->label : "adamw",
        .tensors = {args->p, args->m, args->v, args->g, args->target, args->step, args->norm},
        .tensor_count = 7,
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
    if (fours) IJ_TRY(record_part(program, args, "optim_adamw", 4, 0, fours, err));
    if (rest) IJ_TRY(record_part(program, args, "optim_adamw_tail", 1, 4 * fours, rest, err));
    return IJ_OK;
}

/* ---- as data ---- */

enum { DECAY = 1, TARGET = 2, ZERO = 4, GUARD = 8, NOT_FINITE = 16, CLIP = 32 };

static const op_case cases[] = {
    {.name = "one", .dims = {1, DECAY, 1}},
    {.name = "three_first_step", .dims = {3, TARGET, 1}},
    {.name = "prime", .dims = {1009, DECAY | TARGET | ZERO, 7}},
    {.name = "four", .dims = {4, DECAY | GUARD, 1000}},
    {.name = "not_finite", .dims = {131, DECAY | TARGET | GUARD | NOT_FINITE, 3}},
    {.name = "not_finite_zeroed", .dims = {262, DECAY | TARGET | GUARD | NOT_FINITE | ZERO, 3}},
    {.name = "clipped", .dims = {1030, DECAY | GUARD | CLIP, 20}},
    {.name = "vit_small", .dims = {22 << 20, DECAY | TARGET | GUARD, 5}, .large = true},
};

static bool flag(const op_case *c, int f) { return (c->dims[1] & f) != 0; }

static struct optim_step step_of(const op_case *c) {
    return op_optim_step_make(&(op_optim_desc){
        .lr = 1e-3, .weight_decay = 0.04, .ema = 0.996, .grad_scale = 0.125, .clip_norm = flag(c, CLIP) ? 0.5 : 0, .step = c->dims[2]});
}
static struct reduce_norm norm_of(const op_case *c) {
    float norm = (float)sqrt((double)c->dims[0]);
    return (struct reduce_norm){.norm = norm, .sum_squares = norm * norm, .finite = !flag(c, NOT_FINITE)};
}

/* A dozen operations of which none cancels more than the rms of its result: the same bound as a sum of four terms. */
static int case_args(const op_case *c, op_arg *args) {
    int64_t count = c->dims[0];
    args[0] = (op_arg){"p", OP_INOUT, OP_F32, count, 0.02, op_tolerance(4)};
    args[1] = (op_arg){"m", OP_INOUT, OP_F32, count, 0.01, op_tolerance(4)};
    args[2] = (op_arg){"v", OP_INOUT, OP_F32, count, 1e-4, op_tolerance(4)};
    args[3] = (op_arg){"g", flag(c, ZERO) ? OP_INOUT : OP_IN, OP_F32, count, 1, op_tolerance(4)};
    args[4] = (op_arg){"target", flag(c, TARGET) ? OP_INOUT : OP_IN, OP_F32, count, 0.02, op_tolerance(4)};
    args[5] = (op_arg){"step", OP_IN, OP_F32, OPTIM_STEP_FLOATS, 0, 0};
    args[6] = (op_arg){"norm", OP_IN, OP_U32, sizeof(struct reduce_norm) / 4, 0, 0};
    return 7;
}
static void prepare(const op_case *c, void *const *h) {
    for (int64_t i = 0; i < c->dims[0]; i++) ((double *)h[2])[i] = fabs(((double *)h[2])[i]);
    struct optim_step step = step_of(c);
    float floats[OPTIM_STEP_FLOATS];
    memcpy(floats, &step, sizeof floats);
    for (int i = 0; i < OPTIM_STEP_FLOATS; i++) ((double *)h[5])[i] = (double)floats[i];
    struct reduce_norm norm = norm_of(c);
    memcpy(h[6], &norm, sizeof norm);
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
    return op_adamw(program, &args, err);
}
static void ref(const op_case *c, void *const *h) {
    struct optim_step step = step_of(c);
    struct reduce_norm norm = norm_of(c);
    ref_adamw(h[0], h[1], h[2], h[3], flag(c, TARGET) ? h[4] : NULL, c->dims[0], &step, flag(c, GUARD) ? &norm : NULL, flag(c, DECAY),
              flag(c, ZERO));
}
static void cost(const op_case *c, double *flops, double *bytes) {
    *flops = 16.0 * (double)c->dims[0];
    *bytes = 4.0 * (double)c->dims[0] * (7 + 2 * flag(c, TARGET) + flag(c, ZERO));
}

static const op_desc ops[] = {{"adamw", NULL, cases, IJ_COUNT(cases), case_args, prepare, record, ref, cost}};
const op_family op_family_optim = {"optim", ops, IJ_COUNT(ops)};
