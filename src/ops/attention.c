/* Attention: plans and records shaders/attention*.comp; src/ops/attention_cases.c describes them as data.       layer: ops; uses: gpu */
#include "ops/attention.h"
#include "shaders/attention.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- plan and record ---- */

/* What a pass keeps in registers for a row of one head: q and the output; q, dout, dq; k, v, dk, dv. */
typedef enum attention_pass { ATTENTION_FWD, ATTENTION_FWD_LSE, ATTENTION_DQ, ATTENTION_DKV, ATTENTION_PASSES } attention_pass;

/* A dispatch in the making. */
typedef struct attention_plan {
    gpu_kernel_desc kernel;
    gpu_dispatch_desc dispatch;
    struct attention_push push;
    char detail[80]; /* for the report */
} attention_plan;

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

static ij_status check_tensor(gpu_tensor tensor, const char *name, gpu_element element, uint64_t rows, uint64_t columns, ij_error *err) {
    static const char *const names[] = {"words", "f16", "bf16"};
    uint64_t bytes = gpu_matrix_bytes(element, rows, columns);
    if (tensor.element != element)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "attention: %s has %s, it must have %s", name, names[tensor.element], names[element]);
    if (tensor.arena && tensor.bytes >= bytes) return IJ_OK;
    return ij_fail(err, IJ_ERROR_ARGUMENT, "attention: %s has %llu bytes, [%llu, %llu] needs %llu", name, (unsigned long long)tensor.bytes,
                   (unsigned long long)rows, (unsigned long long)columns, (unsigned long long)bytes);
}

/* Mesa's software driver before version 26 sees no uniform address in a loop: every load is one a lane (head_dim 64: 4 GFLOP/s with 25.0.7
 * where 26.1.6 has 27), and so much code that these kernels took it 17 and 26 s to compile. There a shared row costs about a third of what
 * speed is left and compiles in 1 and 2 s. */
static bool loads_lane_by_lane(const gpu_info *info) {
    const char *mesa = strstr(info->driver, "Mesa ");
    return info->kind == GPU_KIND_CPU && mesa && atoi(mesa + 5) < 26;
}

/* What a software driver and a GPU want of the row kernels.
 *
 * A software driver vectorises over the invocations of a subgroup and pays for barriers: one subgroup, rows whole. On a GPU registers are
 * the limit: rows up to 64 floats (forward) or 32 (backward, where two or four vectors stay and two pass by) are kept whole, longer ones
 * are shared by four invocations; then nothing spills on RDNA 2, 3 and 4 up to 128. Workgroups are one subgroup, so that barriers cost
 * little and short sequences waste few lanes. Forward, several keys a turn share one rescaling of the output; backward there is none, and a
 * row that passes by stays in registers from the scores to the gradients, so one at a time. */
static void plan_rows(const gpu_info *info, const op_attention_shape *shape, attention_pass pass, gpu_element element,
                      attention_plan *plan) {
    static const char *const shaders[2][ATTENTION_PASSES] = {
        {"attention_fwd", "attention_fwd_lse", "attention_bwd_dq", "attention_bwd_dkv"},
        {"attention_fwd_half", "attention_fwd_lse_half", "attention_bwd_dq_half", "attention_bwd_dkv_half"}};
    bool cpu = info->kind == GPU_KIND_CPU && shape->split == 0, forward = pass <= ATTENTION_FWD_LSE;
    uint32_t lanes = cpu && info->subgroup_size <= 32 ? info->subgroup_size : info->subgroup_min <= 32 ? 32 : 64;
    uint32_t whole_max = cpu ? (loads_lane_by_lane(info) ? 32 : ATTENTION_HEAD_DIM_MAX) : forward ? 64 : 32;
    uint32_t split = shape->head_dim <= whole_max ? 1 : 4;
    /* Tests share rows among more; among fewer only where registers are no limit. */
    if (shape->split > split || (shape->split && info->kind == GPU_KIND_CPU)) split = shape->split;
    uint32_t block = !forward ? 1 : cpu ? 2 : 4;
    uint32_t specs[] = {lanes, shape->head_dim / 4, split, block, (uint32_t)element};
    plan->kernel.shader = shaders[element != GPU_WORD][pass];
    memcpy(plan->kernel.specs, specs, sizeof specs);
    plan->kernel.spec_count = element == GPU_WORD ? 4 : 5;
    plan->dispatch.groups[0] = op_groups(shape->length_max, lanes / split);
}

/* Which fragments to use and how much of a sequence a workgroup takes; false: the device has no fragments, or shared memory, for it.
 *
 * A block of 32 rows that pass by and four subgroups, of 16 rows each mostly: 24 to 28 KiB for heads of 64 to 96, so that several workgroups
 * share a core. Sequences are short and many: more rows a workgroup would leave more of its last one idle. */
typedef struct coopmat_layout {
    gpu_matrix_shape fragment;
    uint32_t width, lanes, subgroups, block;
} coopmat_layout;

static uint32_t round_up(uint32_t n, uint32_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/* As in shaders/attention_coopmat*.comp, the largest of them. */
static uint32_t shared_bytes(const coopmat_layout *l) {
    uint32_t owned = l->subgroups * l->fragment.m;
    return 16 * (2 * l->block * (l->width / 8 + 1) + owned * (l->block / 4 + 1 + l->block / 8 + 1)) + 4 * l->subgroups * l->lanes +
           8 * l->block;
}

static bool layout_fits(const gpu_info *info, const coopmat_layout *l) {
    const gpu_matrix_shape *f = &l->fragment;
    return l->lanes % f->m == 0 && l->block % f->n == 0 && l->block % f->k == 0 && l->block / 8 % (l->lanes / f->m) == 0 && f->m % 8 == 0 &&
           f->n % 8 == 0 && f->k % 8 == 0 && l->subgroups * l->lanes <= info->invocations_max && shared_bytes(l) <= info->shared_bytes;
}

static bool choose_layout(const gpu_info *info, const op_attention_shape *shape, attention_pass pass, gpu_element element,
                          coopmat_layout *out) {
    if (element == GPU_WORD || shape->head_dim % 8 != 0 || shape->head_dim > ATTENTION_COOPMAT_HEAD_DIM_MAX) return false;
    if (!(element == GPU_BF16 ? info->bf16 : info->f16)) return false;
    /* Intel's fragments want the smallest subgroup there is; elsewhere 32 lanes, with which AMD's need fewer registers than with 64. */
    bool smallest = info->vendor == 0x8086;
    uint32_t lanes = smallest ? info->subgroup_min : info->subgroup_min <= 32 && info->subgroup_max >= 32 ? 32 : info->subgroup_size;
    bool found = false;
    for (uint32_t i = 0; i < info->shape_count; i++) {
        const gpu_matrix_shape *f = &info->shapes[i];
        if (f->element != element) continue;
        uint32_t width = round_up(shape->head_dim, f->n > f->k ? f->n : f->k);
        /* dkv has the most to keep: above 80, 32 rows made RDNA 3 spill. A software driver unrolls all products of a block to scalar
         * code: with 32 rows it compiles for a minute. */
        uint32_t block_max = info->kind == GPU_KIND_CPU ? (width <= 32 ? 16 : 8) : pass == ATTENTION_DKV && width > 80 ? 16 : 32;
        for (uint32_t block = block_max; block >= 8; block /= 2) {
            uint32_t subgroups = 4;
            while (subgroups * f->m > 2 * block) subgroups /= 2;
            coopmat_layout l = {*f, width, lanes, subgroups, block};
            if (!subgroups || !layout_fits(info, &l)) continue;
            /* 16 x 16 x 16 is what drivers know best; else the first of the list. */
            if (!found || (f->m == 16 && f->n == 16 && f->k == 16)) *out = l;
            found = true;
            break;
        }
    }
    return found;
}

static void plan_coopmat(const op_attention_shape *shape, attention_pass pass, gpu_element element, const coopmat_layout *l,
                         attention_plan *plan) {
    static const char *const shaders[2][ATTENTION_PASSES] = {
        {"attention_coopmat_fwd_f16", "attention_coopmat_fwd_lse_f16", "attention_coopmat_dq_f16", "attention_coopmat_dkv_f16"},
        {"attention_coopmat_fwd_bf16", "attention_coopmat_fwd_lse_bf16", "attention_coopmat_dq_bf16", "attention_coopmat_dkv_bf16"}};
    uint32_t specs[] = {l->lanes * l->subgroups, shape->head_dim, l->width,      l->lanes, l->subgroups,
                        l->fragment.m,           l->fragment.n,   l->fragment.k, l->block};
    plan->kernel.shader = shaders[element == GPU_BF16][pass];
    memcpy(plan->kernel.specs, specs, sizeof specs);
    plan->kernel.spec_count = IJ_COUNT(specs);
    plan->kernel.subgroup_size = l->lanes;
    plan->kernel.full_subgroups = true;
    plan->dispatch.groups[0] = op_groups(shape->length_max, l->subgroups * l->fragment.m);
    snprintf(plan->detail, sizeof plan->detail, "coopmat %ux%u, fragment %ux%ux%u", l->subgroups * l->fragment.m, l->block, l->fragment.m,
             l->fragment.n, l->fragment.k);
}

/* The same for matrices of a workgroup.
 *
 * 64 rows that a workgroup owns and 64 that pass by, for 128 invocations: 16 registers each for every 32 columns of sums, 32 for scores.
 * Backward has two of both, so above 64 columns 32 rows pass by. Sequences of up to 32 rows would leave half of 64 idle. How many rows
 * pass by at once decides the bits of a sum: it does not depend on the lengths of the batch. */
#define COOPMAT2_INVOCATIONS 128
typedef struct coopmat2_layout {
    uint32_t width, owned, block, narrow;
} coopmat2_layout;

static bool coopmat2_fits(const gpu_info *info, const gpu_matrix_flexible *f, const coopmat2_layout *l) {
    uint32_t own_bytes = 4 * (4 * l->owned > 2 * l->block ? 4 * l->owned : 2 * l->block); /* as in shaders/attention_coopmat2_bwd.comp */
    uint32_t rows = l->owned > l->block ? l->owned : l->block, widest = rows > l->width ? rows : l->width;
    return l->owned % f->m == 0 && l->block % f->n == 0 && l->block % f->k == 0 && l->width % f->n == 0 && l->width % f->k == 0 &&
           widest <= info->flexible_dimension_max && (uint64_t)info->flexible_reserved_bytes + own_bytes <= info->shared_bytes;
}

static bool choose_coopmat2(const gpu_info *info, const op_attention_shape *shape, attention_pass pass, gpu_element element,
                            coopmat2_layout *out) {
    if (element == GPU_WORD || shape->head_dim % 8 != 0 || shape->head_dim > ATTENTION_COOPMAT_HEAD_DIM_MAX) return false;
    /* Results leave as f16 whatever they are. */
    if (!info->f16 || (element == GPU_BF16 && !info->bf16) || info->invocations_max < COOPMAT2_INVOCATIONS) return false;
    for (uint32_t i = 0; i < info->flexible_count; i++) {
        const gpu_matrix_flexible *f = &info->flexible[i];
        if (f->element != element || f->invocations != COOPMAT2_INVOCATIONS || !f->m || !f->n || !f->k) continue;
        uint32_t width = round_up(shape->head_dim, f->n > f->k ? f->n : f->k);
        uint32_t owned = shape->length_max <= 32 && 32 % f->m == 0 ? 32 : 64;
        *out = (coopmat2_layout){width, owned, pass > ATTENTION_FWD_LSE && width > 64 ? 32 : 64, f->n};
        if (coopmat2_fits(info, f, out)) return true;
    }
    return false;
}

static void plan_coopmat2(const op_attention_shape *shape, attention_pass pass, gpu_element element, const coopmat2_layout *l,
                          attention_plan *plan) {
    static const char *const shaders[2][ATTENTION_PASSES] = {
        {"attention_coopmat2_fwd_f16", "attention_coopmat2_fwd_lse_f16", "attention_coopmat2_dq_f16", "attention_coopmat2_dkv_f16"},
        {"attention_coopmat2_fwd_bf16", "attention_coopmat2_fwd_lse_bf16", "attention_coopmat2_dq_bf16", "attention_coopmat2_dkv_bf16"}};
    uint32_t specs[] = {COOPMAT2_INVOCATIONS, shape->head_dim, l->width, l->owned, l->block, l->narrow};
    plan->kernel.shader = shaders[element == GPU_BF16][pass];
    memcpy(plan->kernel.specs, specs, sizeof specs);
    plan->kernel.spec_count = IJ_COUNT(specs);
    plan->dispatch.groups[0] = op_groups(shape->length_max, l->owned);
    snprintf(plan->detail, sizeof plan->detail, "coopmat2 %ux%u", l->owned, l->block);
}

bool op_attention_supported(const gpu_device *device, const op_attention_shape *shape, gpu_element element) {
    const gpu_info *info = gpu_device_info(device);
    coopmat_layout l;
    coopmat2_layout l2;
    if (shape->kernel == OP_ATTENTION_COOPMAT)
        return gpu_shader_exists(element == GPU_BF16 ? "attention_coopmat_dq_bf16" : "attention_coopmat_dq_f16") &&
               choose_layout(info, shape, ATTENTION_DKV, element, &l);
    if (shape->kernel == OP_ATTENTION_COOPMAT2)
        return gpu_shader_exists(element == GPU_BF16 ? "attention_coopmat2_dq_bf16" : "attention_coopmat2_dq_f16") &&
               choose_coopmat2(info, shape, ATTENTION_FWD, element, &l2) && choose_coopmat2(info, shape, ATTENTION_DKV, element, &l2);
    return true;
}

/* The fastest kernel that was checked and can do it. */
static op_attention_kernel best_kernel(gpu_device *device, const op_attention_shape *shape, gpu_element element) {
    static const op_attention_kernel order[] = {OP_ATTENTION_COOPMAT2, OP_ATTENTION_COOPMAT};
    for (int i = 0; i < IJ_COUNT(order) && !shape->split; i++) {
        op_attention_shape asked = *shape;
        asked.kernel = order[i];
        if (attention_rung_trusted(device, order[i], element) && op_attention_supported(device, &asked, element)) return order[i];
    }
    return OP_ATTENTION_ROW;
}

/* The kernel that a shape gets. */
static ij_status choose(gpu_device *device, const op_attention_shape *shape, attention_pass pass, gpu_element element, attention_plan *plan,
                        ij_error *err) {
    op_attention_shape asked = *shape;
    if (asked.kernel == OP_ATTENTION_AUTO) asked.kernel = best_kernel(device, shape, element);
    if (!op_attention_supported(device, &asked, element))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "attention: this device has no matrices of a %s for heads of %u elements of this kind",
                       asked.kernel == OP_ATTENTION_COOPMAT2 ? "workgroup" : "subgroup", shape->head_dim);
    const gpu_info *info = gpu_device_info(device);
    coopmat_layout l;
    coopmat2_layout l2;
    if (asked.kernel == OP_ATTENTION_COOPMAT2 && choose_coopmat2(info, shape, pass, element, &l2))
        plan_coopmat2(shape, pass, element, &l2, plan);
    else if (asked.kernel == OP_ATTENTION_COOPMAT && choose_layout(info, shape, pass, element, &l))
        plan_coopmat(shape, pass, element, &l, plan);
    else
        plan_rows(info, shape, pass, element, plan);
    return IJ_OK;
}

/* Two products of [length, head_dim] forward, three for dq, four for dkv, as if every sequence had its greatest length. */
static void estimate(const op_attention_shape *shape, attention_pass pass, gpu_element element, gpu_dispatch_desc *dispatch) {
    bool forward = pass <= ATTENTION_FWD_LSE;
    double dim = (double)shape->heads * shape->head_dim, pairs = (double)shape->rows_max * shape->length_max;
    dispatch->flops = 2 * (forward ? 2 : pass == ATTENTION_DQ ? 3 : 4) * pairs * dim;
    dispatch->bytes = (element == GPU_WORD ? 4 : 2) * (forward ? 4 : 6) * (double)shape->rows_max * dim;
}

static ij_status record(gpu_program *program, const op_attention_shape *shape, attention_pass pass, gpu_element element,
                        const gpu_tensor *tensors, uint32_t tensor_count, ij_error *err) {
    gpu_device *device = gpu_program_device(program);
    double scale = 1 / sqrt((double)shape->head_dim);
    attention_plan plan = {.push = {shape->heads, shape->rows_max, (float)(scale * LOG2_E), (float)scale}};
    IJ_TRY(choose(device, shape, pass, element, &plan, err));
    gpu_dispatch_desc *dispatch = &plan.dispatch;
    estimate(shape, pass, element, dispatch);
    dispatch->label = plan.kernel.shader;
    dispatch->detail = plan.detail;
    dispatch->push = &plan.push;
    dispatch->push_bytes = sizeof plan.push;
    dispatch->groups[1] = shape->heads;
    dispatch->groups[2] = shape->sequences;
    dispatch->tensor_count = tensor_count;
    for (uint32_t i = 0; i < tensor_count; i++) dispatch->tensors[i] = tensors[i];
    IJ_TRY(gpu_kernel_get(device, &plan.kernel, &dispatch->kernel, err));
    return gpu_dispatch(program, dispatch, err);
}

ij_status op_attention(gpu_program *program, const op_attention_desc *desc, ij_error *err) {
    const op_attention_shape *shape = &desc->shape;
    uint64_t dim = (uint64_t)shape->heads * shape->head_dim;
    gpu_element element = desc->qkv.element;
    IJ_TRY(check_shape(gpu_device_info(gpu_program_device(program)), shape, err));
    IJ_TRY(check_tensor(shape->offsets, "offsets", GPU_WORD, shape->sequences + (uint64_t)1, 1, err));
    IJ_TRY(check_tensor(desc->qkv, "qkv", element, shape->rows_max, 3 * dim, err));
    IJ_TRY(check_tensor(desc->out, "out", element, shape->rows_max, dim, err));
    if (desc->lse.arena) IJ_TRY(check_tensor(desc->lse, "lse", GPU_WORD, shape->rows_max, shape->heads, err));
    gpu_tensor tensors[] = {desc->qkv, shape->offsets, desc->out, desc->lse};
    bool lse = desc->lse.arena != NULL;
    return record(program, shape, lse ? ATTENTION_FWD_LSE : ATTENTION_FWD, element, tensors, lse ? 4 : 3, err);
}

ij_status op_attention_bwd(gpu_program *program, const op_attention_bwd_desc *desc, ij_error *err) {
    const op_attention_shape *shape = &desc->shape;
    uint64_t dim = (uint64_t)shape->heads * shape->head_dim;
    gpu_element element = desc->qkv.element;
    IJ_TRY(check_shape(gpu_device_info(gpu_program_device(program)), shape, err));
    IJ_TRY(check_tensor(shape->offsets, "offsets", GPU_WORD, shape->sequences + (uint64_t)1, 1, err));
    IJ_TRY(check_tensor(desc->qkv, "qkv", element, shape->rows_max, 3 * dim, err));
    IJ_TRY(check_tensor(desc->out, "out", element, shape->rows_max, dim, err));
    IJ_TRY(check_tensor(desc->lse, "lse", GPU_WORD, shape->rows_max, shape->heads, err));
    IJ_TRY(check_tensor(desc->dout, "dout", element, shape->rows_max, dim, err));
    IJ_TRY(check_tensor(desc->delta, "delta", GPU_WORD, shape->rows_max, shape->heads, err));
    IJ_TRY(check_tensor(desc->dqkv, "dqkv", element, shape->rows_max, 3 * dim, err));
    /* dq first: it has dout and out of its row at hand and leaves delta for dkv. */
    gpu_tensor tensors[] = {desc->qkv, shape->offsets, desc->lse, desc->dout, desc->dqkv, desc->delta, desc->out};
    IJ_TRY(record(program, shape, ATTENTION_DQ, element, tensors, 7, err));
    return record(program, shape, ATTENTION_DKV, element, tensors, 6, err);
}
