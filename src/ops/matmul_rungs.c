/* What is known of a device's matrix kernels: which are trusted, which tile was the fastest.       layer: ops; uses: gpu, base */
#include "ops/matmul_rungs.h"
#include "ops/device_state.h"
#include "ops/matmul_plan.h"

#include <stdlib.h>
#include <string.h>

#define ROWS_MAX 256 /* kinds of product; a model has about 40 */

typedef struct matmul_state {
    bool trusted[OP_MATMUL_KERNEL_COUNT][3]; /* [kernel][gpu_element] */
    int count;
    matmul_key keys[ROWS_MAX];
    matmul_choice choices[ROWS_MAX];
    matmul_tune on_miss;
    void *on_miss_user;
} matmul_state;

/* NULL: no memory; then nothing is trusted beyond lane and tile, and nothing was measured. */
static matmul_state *state_of(gpu_device *device) {
    op_device_state *ops = op_device_state_of(device);
    if (ops && !ops->matmul) ops->matmul = calloc(1, sizeof(matmul_state));
    return ops ? ops->matmul : NULL;
}

bool matmul_rung_trusted(gpu_device *device, op_matmul_kernel kernel, gpu_element element) {
    if (kernel == OP_MATMUL_LANE || kernel == OP_MATMUL_VECTOR || kernel == OP_MATMUL_TILE) return true;
    const matmul_state *state = state_of(device);
    return state && state->trusted[kernel][element];
}

void matmul_rung_trust(gpu_device *device, op_matmul_kernel kernel, gpu_element element, bool trusted) {
    matmul_state *state = state_of(device);
    if (state) state->trusted[kernel][element] = trusted;
}

static uint32_t power_of_two(uint32_t count) {
    uint32_t power = 1;
    while (power < count && power < 1u << 31) power *= 2;
    return power;
}

matmul_key matmul_key_of(const op_matmul_desc *desc) {
    struct matmul_push d = matmul_dims(desc);
    uint32_t rows = power_of_two(desc->rows.max);
    matmul_key key = {.form = desc->form,
                      .m = desc->form == OP_MATMUL_TN ? d.m : rows,
                      .n = d.n,
                      .k = desc->form == OP_MATMUL_TN ? rows : d.k,
                      .element = desc->a.element,
                      .element_c = desc->c.element,
                      .epilogue = matmul_epilogue(desc) & ~(uint32_t)(MATMUL_DEVICE_ROWS | MATMUL_RESIDUAL_INDEX)};
    return key;
}

static int row_of(const matmul_state *state, const matmul_key *key) {
    for (int i = 0; state && i < state->count; i++)
        if (memcmp(&state->keys[i], key, sizeof *key) == 0) return i;
    return -1;
}

bool matmul_table_find(gpu_device *device, const matmul_key *key, matmul_choice *out) {
    const matmul_state *state = state_of(device);
    int row = row_of(state, key);
    if (row >= 0) *out = state->choices[row];
    return row >= 0;
}

bool matmul_table_put(gpu_device *device, const matmul_key *key, matmul_choice choice) {
    matmul_state *state = state_of(device);
    int row = row_of(state, key);
    if (!state || (row < 0 && state->count == ROWS_MAX)) return false;
    if (row < 0) row = state->count++;
    state->keys[row] = *key;
    state->choices[row] = choice;
    return true;
}

bool matmul_table_row(gpu_device *device, int i, matmul_key *key, matmul_choice *choice) {
    const matmul_state *state = state_of(device);
    if (!state || i < 0 || i >= state->count) return false;
    *key = state->keys[i];
    *choice = state->choices[i];
    return true;
}

void *matmul_on_miss(gpu_device *device, matmul_tune tune, void *user) {
    matmul_state *state = state_of(device);
    void *before = state ? state->on_miss_user : NULL;
    if (state) state->on_miss = tune, state->on_miss_user = user;
    return before;
}

bool matmul_table_tune(gpu_device *device, const op_matmul_desc *desc, matmul_choice *out) {
    const matmul_state *state = state_of(device);
    return state && state->on_miss && state->on_miss(device, desc, state->on_miss_user, out);
}
