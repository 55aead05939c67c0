/* layer: model; uses: base, io, gpu */
#include "model/params.h"
#include "base/memory.h"
#include "io/checksum.h"
#include "ops/optim.h"
#include "philox.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the table ---- */

typedef struct table_maker {
    ij_param_table *table;
    int64_t capacity;
    bool predictor, decay; /* the pass: only parameters of this kind are added */
    ij_error *err;
    ij_status status;
} table_maker;

static void add(table_maker *maker, const char *name, ij_init init, int dims, int64_t a, int64_t b, int64_t c, int64_t d) {
    /* As the released optimiser groups them: a name with "bias" in it or a single dimension is not decayed. */
    bool decay = dims > 1 && !strstr(name, "bias");
    if (maker->status != IJ_OK || decay != maker->decay) return;
    ij_param_table *table = maker->table;
    maker->status = ij_grow(&table->params, &maker->capacity, table->count + 1, sizeof *table->params, "parameter table", maker->err);
    if (maker->status != IJ_OK) return;
    ij_param *p = &table->params[table->count++];
    snprintf(p->name, sizeof p->name, "%s", name);
    int64_t shape[4] = {a, b, c, d};
    p->count = 1;
    for (int i = 0; i < dims; i++) p->shape[i] = shape[i], p->count *= shape[i];
    p->dims = dims;
    p->predictor = maker->predictor;
    p->decay = decay;
    p->init = init;
    table->elements += p->count;
    if (!p->predictor) table->encoder_count++, table->encoder_elements += p->count;
}

static void add_linear(table_maker *maker, const char *name, int64_t out, int64_t in) {
    char full[80];
    snprintf(full, sizeof full, "%s.weight", name);
    add(maker, full, IJ_INIT_NORMAL, 2, out, in, 0, 0);
    snprintf(full, sizeof full, "%s.bias", name);
    add(maker, full, IJ_INIT_ZERO, 1, out, 0, 0, 0);
}

static void add_norm(table_maker *maker, const char *name, int64_t dim) {
    char full[80];
    snprintf(full, sizeof full, "%s.weight", name);
    add(maker, full, IJ_INIT_ONE, 1, dim, 0, 0, 0);
    snprintf(full, sizeof full, "%s.bias", name);
    add(maker, full, IJ_INIT_ZERO, 1, dim, 0, 0, 0);
}

static void add_blocks(table_maker *maker, const char *prefix, int depth, int64_t dim, int64_t hidden) {
    for (int i = 0; i < depth; i++) {
        char name[64];
#define AT(part) (snprintf(name, sizeof name, "%s.%d.%s", prefix, i, part), name)
        add_norm(maker, AT("norm1"), dim);
        add_linear(maker, AT("attn.qkv"), 3 * dim, dim);
        add_linear(maker, AT("attn.proj"), dim, dim);
        add_norm(maker, AT("norm2"), dim);
        add_linear(maker, AT("mlp.fc1"), hidden, dim);
        add_linear(maker, AT("mlp.fc2"), dim, hidden);
#undef AT
    }
}

static void add_encoder(table_maker *maker, const ij_model_config *c) {
    add(maker, "patch_embed.proj.weight", IJ_INIT_NORMAL, 4, c->dim, c->channels, c->patch_size, c->patch_size);
    add(maker, "patch_embed.proj.bias", IJ_INIT_ZERO, 1, c->dim, 0, 0, 0);
    add_blocks(maker, "blocks", c->depth, c->dim, c->hidden);
    add_norm(maker, "norm", c->dim);
}

static void add_predictor(table_maker *maker, const ij_model_config *c) {
    add(maker, "mask_token", IJ_INIT_NORMAL, 3, 1, 1, c->pred_dim, 0);
    add_linear(maker, "predictor_embed", c->pred_dim, c->dim);
    add_blocks(maker, "predictor_blocks", c->pred_depth, c->pred_dim, c->pred_hidden);
    add_norm(maker, "predictor_norm", c->pred_dim);
    add_linear(maker, "predictor_proj", ij_target_dim(c), c->pred_dim);
}

ij_status ij_param_table_make(const ij_model_config *config, ij_param_table *out, ij_error *err) {
    memset(out, 0, sizeof *out);
    table_maker maker = {.table = out, .err = err};
    for (int pass = 0; pass < 4; pass++) {
        maker.predictor = pass >= 2;
        maker.decay = pass % 2 == 0;
        if (maker.predictor)
            add_predictor(&maker, config);
        else
            add_encoder(&maker, config);
    }
    if (maker.status != IJ_OK) ij_param_table_free(out);
    return maker.status;
}

void ij_param_table_free(ij_param_table *table) {
    free(table->params);
    memset(table, 0, sizeof *table);
}

int ij_param_find(const ij_param_table *table, bool predictor, const char *name) {
    for (int i = 0; i < table->count; i++)
        if (table->params[i].predictor == predictor && strcmp(table->params[i].name, name) == 0) return i;
    return -1;
}

/* ---- on the device ---- */

static const char *const slot_names[IJ_SLOT_COUNT] = {"weights", "target encoder", "gradients", "first moments", "second moments"};

static bool kept(ij_keep keep, ij_slot slot) {
    return keep == IJ_KEEP_TRAINING || slot == (keep == IJ_KEEP_TARGET ? IJ_SLOT_TARGET : IJ_SLOT_WEIGHT);
}

int ij_weights_params(const ij_weights *w, ij_slot slot) {
    if (!kept(w->keep, slot)) return 0;
    return slot == IJ_SLOT_TARGET || w->keep == IJ_KEEP_CONTEXT ? w->table.encoder_count : w->table.count;
}

ij_status ij_weights_create(gpu_device *device, const ij_model_config *config, ij_keep keep, ij_weights **out, ij_error *err) {
    *out = NULL;
    ij_weights *w;
    IJ_TRY(ij_alloc(&w, 1, sizeof *w, "weights", err));
    w->device = device;
    w->keep = keep;
    w->model = *config;
    ij_status status = ij_param_table_make(config, &w->table, err);
    for (int slot = 0; slot < IJ_SLOT_COUNT && status == IJ_OK; slot++) {
        int params = ij_weights_params(w, (ij_slot)slot);
        if (params == 0) continue;
        status = ij_alloc(&w->tensors[slot], params, sizeof(gpu_tensor), slot_names[slot], err);
        if (status == IJ_OK) status = gpu_arena_create(device, slot_names[slot], GPU_MEMORY_DEVICE, &w->arenas[slot], err);
        for (int i = 0; i < params && status == IJ_OK; i++)
            status =
                gpu_reserve(w->arenas[slot], 4 * (uint64_t)w->table.params[i].count, w->table.params[i].name, &w->tensors[slot][i], err);
    }
    if (status == IJ_OK)
        *out = w;
    else
        ij_weights_destroy(w);
    return status;
}

/* Large enough to keep a GPU busy, small enough for every device's binding (lavapipe: 128 MiB). */
#define RUN_BYTES_MAX ((uint64_t)64 << 20)

gpu_tensor ij_weights_run(const ij_weights *weights, ij_slot slot, const ij_param_run *run) {
    return gpu_span(weights->tensors[slot][run->first], weights->tensors[slot][run->last]);
}

ij_status ij_weights_runs(const ij_weights *weights, ij_param_run **out, int *count, ij_error *err) {
    const ij_param_table *table = &weights->table;
    ij_slot slot = weights->keep == IJ_KEEP_TARGET ? IJ_SLOT_TARGET : IJ_SLOT_WEIGHT;
    const gpu_tensor *at = weights->tensors[slot];
    int params = ij_weights_params(weights, slot), runs = 0;
    IJ_TRY(ij_alloc(out, params, sizeof **out, "parameter runs", err));
    for (int i = 0; i < params; i++) {
        const ij_param *p = &table->params[i];
        ij_param_run *run = runs ? &(*out)[runs - 1] : NULL;
        bool joins = run && run->predictor == p->predictor && run->decay == p->decay && at[run->first].block == at[i].block &&
                     at[i].offset + at[i].bytes - at[run->first].offset <= RUN_BYTES_MAX;
        if (!joins) {
            run = &(*out)[runs++];
            *run = (ij_param_run){.first = i, .predictor = p->predictor, .decay = p->decay};
        }
        run->last = i;
        run->elements = (int64_t)(gpu_span(at[run->first], at[i]).bytes / 4);
    }
    *count = runs;
    return IJ_OK;
}

/* ---- 16-bit copies ---- */

int64_t ij_param_columns(const ij_param *param) { return param->count / param->shape[0]; }

static ij_status keep_half_of(ij_weights *w, ij_slot slot, const ij_param_run *runs, int run_count, ij_error *err) {
    if (!kept(w->keep, slot)) return IJ_OK;
    IJ_TRY(ij_alloc(&w->half_tensors[slot], w->table.count, sizeof(gpu_tensor), "16-bit weights", err));
    IJ_TRY(ij_alloc(&w->half_runs[slot], run_count, sizeof(gpu_tensor), "16-bit weights", err));
    for (int r = 0; r < run_count; r++) {
        const ij_param_run *run = &runs[r];
        if (!run->decay || (slot == IJ_SLOT_TARGET && run->predictor)) continue;
        gpu_tensor all;
        IJ_TRY(gpu_reserve(w->half_arena, 2 * (uint64_t)run->elements, slot_names[slot], &all, err));
        all.element = w->half;
        w->half_runs[slot][r] = all;
        for (int i = run->first; i <= run->last; i++) {
            const ij_param *p = &w->table.params[i];
            gpu_tensor *half = &w->half_tensors[slot][i];
            uint64_t rows = (uint64_t)p->shape[0], columns = (uint64_t)ij_param_columns(p);
            uint64_t offset = (w->tensors[slot][i].offset - w->tensors[slot][run->first].offset) / 2;
            if (ij_param_padded(p))
                IJ_TRY(gpu_reserve_matrix(w->half_arena, w->half, rows, columns, p->name, half, err));
            else
                *half = gpu_part(all, offset, 2 * rows * columns);
        }
    }
    return IJ_OK;
}

ij_status ij_weights_keep_half(ij_weights *w, gpu_element element, ij_error *err) {
    if (element == GPU_WORD || w->half == element) return IJ_OK;
    assert(w->half == GPU_WORD);
    ij_param_run *runs = NULL;
    int count = 0;
    w->half = element;
    IJ_TRY(gpu_arena_create(w->device, "16-bit weights", GPU_MEMORY_DEVICE, &w->half_arena, err));
    IJ_TRY(gpu_reserve(w->half_arena, sizeof(struct optim_scale), "loss scale", &w->loss_scale, err));
    IJ_TRY(ij_weights_runs(w, &runs, &count, err));
    ij_status status = keep_half_of(w, IJ_SLOT_WEIGHT, runs, count, err);
    if (status == IJ_OK) status = keep_half_of(w, IJ_SLOT_TARGET, runs, count, err);
    free(runs);
    return status;
}

ij_status ij_weights_round(ij_weights *w, ij_error *err) {
    gpu_program *program;
    if (w->half == GPU_WORD) return IJ_OK;
    IJ_TRY(gpu_program_create(w->device, "round weights", false, &program, err));
    ij_status status = IJ_OK;
    for (int slot = 0; slot <= IJ_SLOT_TARGET; slot++)
        for (int i = 0; i < ij_weights_params(w, (ij_slot)slot) && status == IJ_OK; i++) {
            const ij_param *p = &w->table.params[i];
            if (w->half_tensors[slot][i].arena)
                status = op_cast_rows(program, w->tensors[slot][i], w->half_tensors[slot][i], (uint64_t)p->shape[0],
                                      (uint64_t)ij_param_columns(p), err);
        }
    if (status == IJ_OK) status = gpu_program_finish(program, err);
    if (status == IJ_OK) status = gpu_run(program, err);
    gpu_program_destroy(program);
    return status;
}

/* Zeroes everything, the rounding-up between tensors included. */
static ij_status zero_all(ij_weights *weights, ij_error *err) {
    gpu_program *program;
    ij_param_run *runs = NULL;
    int count = 0;
    IJ_TRY(gpu_program_create(weights->device, "zero weights", false, &program, err));
    ij_status status = ij_weights_runs(weights, &runs, &count, err);
    for (int slot = 0; slot < IJ_SLOT_COUNT; slot++)
        for (int i = 0; i < count && status == IJ_OK; i++)
            if (weights->arenas[slot] && !(slot == IJ_SLOT_TARGET && runs[i].predictor))
                status = gpu_fill(program, ij_weights_run(weights, (ij_slot)slot, &runs[i]), 0, err);
    for (int slot = 0; slot <= IJ_SLOT_TARGET; slot++)
        for (int i = 0; i < count && weights->half_runs[slot] && status == IJ_OK; i++)
            if (weights->half_runs[slot][i].arena) status = gpu_fill(program, weights->half_runs[slot][i], 0, err);
    if (status == IJ_OK) status = gpu_program_finish(program, err);
    if (status == IJ_OK) status = gpu_run(program, err);
    free(runs);
    gpu_program_destroy(program);
    return status;
}

ij_status ij_weights_commit(ij_weights *weights, ij_error *err) {
    for (int slot = 0; slot < IJ_SLOT_COUNT; slot++)
        if (weights->arenas[slot]) IJ_TRY(gpu_arena_commit(weights->arenas[slot], err));
    if (weights->half_arena) IJ_TRY(gpu_arena_commit(weights->half_arena, err));
    return zero_all(weights, err);
}

void ij_weights_destroy(ij_weights *weights) {
    if (!weights) return;
    for (int slot = 0; slot < IJ_SLOT_COUNT; slot++) {
        gpu_arena_destroy(weights->arenas[slot]);
        free(weights->tensors[slot]);
    }
    gpu_arena_destroy(weights->half_arena);
    free(weights->positions);
    for (int slot = 0; slot <= IJ_SLOT_TARGET; slot++) {
        free(weights->half_tensors[slot]);
        free(weights->half_runs[slot]);
    }
    ij_param_table_free(&weights->table);
    free(weights);
}

uint64_t ij_weights_bytes(const ij_weights *weights) {
    uint64_t bytes = weights->half_arena ? gpu_arena_bytes(weights->half_arena) : 0;
    for (int slot = 0; slot < IJ_SLOT_COUNT; slot++)
        if (weights->arenas[slot]) bytes += gpu_arena_bytes(weights->arenas[slot]);
    return bytes;
}

ij_status ij_weights_read(const ij_weights *weights, ij_slot slot, int index, float *out, ij_error *err) {
    assert(weights->arenas[slot] && index < ij_weights_params(weights, slot));
    return gpu_read(weights->device, weights->tensors[slot][index], 0, out, 4 * (uint64_t)weights->table.params[index].count, err);
}

ij_status ij_weights_write(const ij_weights *weights, ij_slot slot, int index, const float *values, ij_error *err) {
    assert(weights->arenas[slot] && index < ij_weights_params(weights, slot));
    return gpu_write(weights->device, weights->tensors[slot][index], 0, values, 4 * (uint64_t)weights->table.params[index].count, err);
}

ij_status ij_model_mark(const ij_weights *weights, ij_slot slot, char out[17], ij_error *err) {
    int64_t largest = 1;
    float *values;
    ij_checksum sum;
    for (int i = 0; i < weights->table.encoder_count; i++)
        if (weights->table.params[i].count > largest) largest = weights->table.params[i].count;
    IJ_TRY(ij_alloc(&values, largest, sizeof *values, "weights", err));
    ij_checksum_begin(&sum);
    ij_status status = IJ_OK;
    for (int i = 0; i < weights->table.encoder_count && status == IJ_OK; i++) {
        status = ij_weights_read(weights, slot, i, values, err);
        if (status == IJ_OK) ij_checksum_add(&sum, values, 4 * (size_t)weights->table.params[i].count);
    }
    if (weights->positions)
        ij_checksum_add(&sum, weights->positions,
                        4 * (size_t)weights->positions_height * (size_t)weights->positions_width * (size_t)weights->model.dim);
    free(values);
    snprintf(out, 17, "%016llx", (unsigned long long)ij_checksum_end(&sum));
    return status;
}

static uint32_t name_key(const ij_param *p) {
    uint32_t hash = p->predictor ? 0x9e3779b9u : 0x811c9dc5u;
    for (const char *c = p->name; *c; c++) hash = (hash ^ (uint8_t)*c) * 0x01000193u;
    return hash;
}

static void initial_values(const ij_param *p, uint64_t seed, float *out) {
    uint32_t key = name_key(p);
    for (int64_t i = 0; i < p->count; i++) {
        if (p->init != IJ_INIT_NORMAL) {
            out[i] = p->init == IJ_INIT_ONE ? 1.0f : 0.0f;
            continue;
        }
        philox_words w = philox((uint32_t)seed, (uint32_t)(seed >> 32), PHILOX_STREAM_INIT, (uint32_t)i, (uint32_t)(i >> 32), key);
        double u = ((double)w.x + 1) / 4294967297.0, v = (double)w.y / 4294967296.0;
        out[i] = (float)(0.02 * sqrt(-2 * log(u)) * cos(6.283185307179586477 * v));
    }
}

ij_status ij_weights_initialise(ij_weights *weights, uint64_t seed, ij_error *err) {
    int64_t largest = 1;
    for (int i = 0; i < weights->table.count; i++)
        if (weights->table.params[i].count > largest) largest = weights->table.params[i].count;
    float *values;
    IJ_TRY(ij_alloc(&values, largest, sizeof *values, "initial values", err));
    ij_status status = zero_all(weights, err);
    for (int i = 0; i < weights->table.count && status == IJ_OK; i++) {
        const ij_param *p = &weights->table.params[i];
        initial_values(p, seed, values);
        for (int slot = 0; slot <= IJ_SLOT_TARGET && status == IJ_OK; slot++)
            if (i < ij_weights_params(weights, (ij_slot)slot)) status = ij_weights_write(weights, (ij_slot)slot, i, values, err);
    }
    free(values);
    struct optim_scale scale = op_optim_scale_make(OP_SCALE_START);
    if (status == IJ_OK && weights->half != GPU_WORD)
        status = gpu_write(weights->device, weights->loss_scale, 0, &scale, sizeof scale, err);
    return status == IJ_OK ? ij_weights_round(weights, err) : status;
}
