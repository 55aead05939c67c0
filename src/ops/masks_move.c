/* Gathers and scatters of token rows.      layer: ops; uses: base, gpu */
#include "ops/masks.h"
#include "ops/rows.h"

#include <assert.h>
#include <stdio.h>

/* Groups along x of a folded dispatch: what every device can do (Vulkan's least maximum is 65535). */
#define GROUPS_X_MAX 32768

typedef struct move {
    const char *shader;
    gpu_tensor tensors[8];
    uint32_t tensor_count;
    struct masks_move_push push; /* units and groups_x are filled in by record_move */
    int64_t dim;
    double moved;       /* times that a row is read or written */
    gpu_element copied; /* of rows whose bits are copied: 16-bit rows go as uvec4, padding and all */
    gpu_element summed; /* of what predictor_input_bwd writes */
} move;

static bool moves_vec4(const move *m) { return m->copied != GPU_WORD || m->dim % 4 == 0; }
static uint32_t units_of(const move *m) {
    return (uint32_t)(m->copied != GPU_WORD ? (int64_t)gpu_row(m->copied, (uint64_t)m->dim) / 8 : m->dim % 4 == 0 ? m->dim / 4 : m->dim);
}

static ij_status plan_move(gpu_program *program, const move *m, uint32_t lanes, uint32_t rows, gpu_dispatch_desc *dispatch,
                           struct masks_move_push *push, ij_error *err) {
    char name[64];
    snprintf(name, sizeof name, "%s%s", m->shader, moves_vec4(m) ? "_vec4" : "");
    gpu_kernel_desc kernel_desc = {.shader = name, .specs = {lanes, rows, m->summed}, .spec_count = m->summed != GPU_WORD ? 3 : 2};
    *push = m->push;
    push->units = units_of(m);
    *dispatch = (gpu_dispatch_desc){.label = m->shader, .tensor_count = m->tensor_count, .push = push, .push_bytes = sizeof *push};
    dispatch->bytes = (m->copied != GPU_WORD ? 2.0 : 4.0) * m->moved * (double)m->push.rows_max * (double)m->dim;
    for (uint32_t i = 0; i < m->tensor_count; i++) dispatch->tensors[i] = m->tensors[i];
    return gpu_kernel_get(gpu_program_device(program), &kernel_desc, &dispatch->kernel, err);
}

/* A workgroup of 64 x 4 on a GPU: a row of 256 floats is one pass. Software drivers run lanes one subgroup after the other and
 * start a workgroup cheaply: one row each, so that the row's index is one scalar load. */
static ij_status record_move(gpu_program *program, const move *m, ij_error *err) {
    assert(m->dim > 0 && m->push.rows_max > 0);
    gpu_device *device = gpu_program_device(program);
    bool cpu = gpu_device_info(device)->kind == GPU_KIND_CPU;
    uint32_t units = units_of(m), lanes = 8, rows = cpu ? 1 : 4;
    while (lanes < units && lanes < 64) lanes *= 2;
    gpu_dispatch_desc dispatch;
    struct masks_move_push push;
    IJ_TRY(plan_move(program, m, lanes, rows, &dispatch, &push, err));
    uint32_t shares = rows_shares(device), groups = op_groups(op_groups(m->push.rows_max, rows), shares);
    push.groups_x = groups < GROUPS_X_MAX ? groups : GROUPS_X_MAX;
    dispatch.groups[0] = push.groups_x;
    dispatch.groups[1] = op_groups(groups, push.groups_x);
    dispatch.groups[2] = shares;
    return gpu_dispatch(program, &dispatch, err);
}

ij_status op_add_positions(gpu_program *program, gpu_tensor x, gpu_tensor pos, gpu_tensor rows, ij_rows count, int64_t dim, int64_t patches,
                           ij_error *err) {
    move m = {"add_positions", {count.offsets, pos, rows, x}, 4, {.rows_max = count.max, .rows_at = count.at}, dim, 3, GPU_WORD, GPU_WORD};
    m.push.patches = (uint32_t)patches;
    m.push.indexed = rows.arena != NULL;
    return record_move(program, &m, err);
}

/* ---- the predictor's sequences ---- */

static struct masks_move_push over_pred_rows(const pred_lists *lists) {
    return (struct masks_move_push){.rows_max = (uint32_t)lists->pred_rows,
                                    .rows_at = (uint32_t)(lists->batch * lists->blocks),
                                    .patches = (uint32_t)lists->patches,
                                    .blocks = (uint32_t)lists->blocks};
}

ij_status op_predictor_input(gpu_program *program, const pred_lists *lists, gpu_tensor embed, gpu_tensor mask_token, gpu_tensor pos,
                             gpu_tensor out, int64_t dim, ij_error *err) {
    move m = {"predictor_input",
              {lists->pred_offsets, embed, out, lists->pred_src, lists->ctx_rows, lists->tgt_rows, mask_token, pos},
              8,
              over_pred_rows(lists),
              dim,
              3,
              GPU_WORD,
              GPU_WORD};
    return record_move(program, &m, err);
}

int64_t predictor_input_bwd_scratch(const pred_lists *lists, int64_t dim) {
    return (int64_t)op_groups(lists->pred_rows, MASKS_CHUNK) * dim;
}

ij_status op_predictor_input_bwd(gpu_program *program, const pred_lists *lists, gpu_tensor dout, gpu_tensor dembed, gpu_tensor dmask_token,
                                 gpu_tensor scratch, int64_t dim, bool accumulate, ij_error *err) {
    const gpu_tensor none = {0};
    bool half = dembed.element != GPU_WORD;
    move context = {"predictor_input_bwd",
                    {lists->pred_offsets, dout, half ? none : dembed, lists->ctx_offsets, lists->ctx_rows, half ? dembed : none},
                    6,
                    over_pred_rows(lists),
                    dim,
                    (double)lists->blocks + (half ? 0.5 : 1),
                    GPU_WORD,
                    dembed.element};
    context.push.rows_max = (uint32_t)lists->context_rows;
    context.push.rows_at = (uint32_t)lists->batch;
    IJ_TRY(record_move(program, &context, err));

    uint32_t lanes = 64;
    gpu_dispatch_desc dispatch;
    struct masks_move_push push;
    move partial = {
        "mask_token_partial", {lists->pred_offsets, lists->pred_src, dout, scratch}, 4, over_pred_rows(lists), dim, 1, GPU_WORD, GPU_WORD};
    IJ_TRY(plan_move(program, &partial, lanes, 1, &dispatch, &push, err));
    dispatch.groups[0] = op_groups(push.units, lanes);
    dispatch.groups[1] = op_groups(lists->pred_rows, MASKS_CHUNK);
    assert(dispatch.groups[1] <= 65535);
    IJ_TRY(gpu_dispatch(program, &dispatch, err));

    move finish = {"mask_token_finish",
                   {lists->pred_offsets, scratch, dmask_token},
                   3,
                   over_pred_rows(lists),
                   dim,
                   1.0 / MASKS_CHUNK,
                   GPU_WORD,
                   GPU_WORD};
    finish.push.accumulate = accumulate;
    IJ_TRY(plan_move(program, &finish, lanes, 1, &dispatch, &push, err));
    dispatch.groups[0] = op_groups(push.units, lanes);
    return gpu_dispatch(program, &dispatch, err);
}

ij_status op_predictor_output(gpu_program *program, const pred_lists *lists, gpu_tensor x, gpu_tensor out, int64_t dim, ij_error *err) {
    assert(x.element == out.element);
    move m = {"predictor_output", {lists->pred_offsets, x, out, lists->pred_src}, 4, over_pred_rows(lists), dim, 1, x.element, GPU_WORD};
    return record_move(program, &m, err);
}

ij_status op_predictor_output_bwd(gpu_program *program, const pred_lists *lists, gpu_tensor dout, gpu_tensor dx, int64_t dim,
                                  ij_error *err) {
    assert(dout.element == dx.element);
    move m = {
        "predictor_output_bwd", {lists->pred_offsets, dout, dx, lists->pred_src}, 4, over_pred_rows(lists), dim, 2, dx.element, GPU_WORD};
    return record_move(program, &m, err);
}
