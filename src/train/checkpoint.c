/* layer: train; uses: base, io, gpu, model */
#include "train/checkpoint.h"
#include "base/file.h"
#include "base/memory.h"
#include "io/tensor_file.h"
#include "model/positions.h"
#include "ops/optim.h"
#include "train/import.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const slot_prefix[IJ_SLOT_COUNT] = {
    [IJ_SLOT_WEIGHT] = "", [IJ_SLOT_TARGET] = "", [IJ_SLOT_MOMENT1] = "opt.exp_avg.", [IJ_SLOT_MOMENT2] = "opt.exp_avg_sq."};

static void tensor_name(char out[160], const ij_param *p, ij_slot slot) {
    const char *net = slot == IJ_SLOT_TARGET ? "target_encoder" : p->predictor ? "predictor" : "encoder";
    snprintf(out, 160, "%s%s.%s", slot_prefix[slot], net, p->name);
}

/* A tensor that is read from the device when the file is written. */
typedef struct source {
    const ij_weights *weights;
    ij_slot slot;
    int index;
} source;

static ij_status fill_from_device(void *user, uint64_t offset, void *out, size_t bytes, ij_error *err) {
    const source *s = user;
    return gpu_read(s->weights->device, s->weights->tensors[s->slot][s->index], offset, out, bytes, err);
}

static ij_status add_tensors(ij_safetensors_writer *writer, const ij_weights *w, source *sources, ij_error *err) {
    static const ij_slot slots[] = {IJ_SLOT_WEIGHT, IJ_SLOT_TARGET, IJ_SLOT_MOMENT1, IJ_SLOT_MOMENT2};
    int used = 0;
    for (int s = 0; s < IJ_COUNT(slots); s++) {
        int count = slots[s] == IJ_SLOT_TARGET ? w->table.encoder_count : w->table.count;
        for (int i = 0; i < count; i++) {
            char name[160];
            tensor_name(name, &w->table.params[i], slots[s]);
            source *from = &sources[used++];
            *from = (source){w, slots[s], i};
            IJ_TRY(ij_safetensors_add_filled(writer, name, IJ_SAFETENSORS_F32, w->table.params[i].dims, w->table.params[i].shape,
                                             fill_from_device, from, err));
        }
    }
    return IJ_OK;
}

static ij_status add_positions(ij_safetensors_writer *writer, const ij_weights *w, const ij_model_config *m, float **memory,
                               ij_error *err) {
    int64_t patches = ij_patches(m), encoder = patches * m->dim, predictor = patches * m->pred_dim;
    IJ_TRY(ij_alloc(memory, encoder + predictor, 4, "positions", err));
    ij_weights_positions(w, ij_grid_height(m), ij_grid_width(m), *memory);
    ij_positions(ij_grid_height(m), ij_grid_width(m), m->pred_dim, *memory + encoder);
    const int64_t shape[3] = {1, patches, m->dim}, pred_shape[3] = {1, patches, m->pred_dim};
    IJ_TRY(ij_safetensors_add(writer, "encoder.pos_embed", IJ_SAFETENSORS_F32, 3, shape, *memory, err));
    IJ_TRY(ij_safetensors_add(writer, "target_encoder.pos_embed", IJ_SAFETENSORS_F32, 3, shape, *memory, err));
    return ij_safetensors_add(writer, "predictor.predictor_pos_embed", IJ_SAFETENSORS_F32, 3, pred_shape, *memory + encoder, err);
}

/* The loss scale is state: a resumed f16 run must go on with it. */
static ij_status put_loss_scale(ij_safetensors_writer *writer, const ij_weights *weights, ij_error *err) {
    struct optim_scale scale;
    char text[96];
    if (weights->half != GPU_F16) return IJ_OK;
    IJ_TRY(gpu_read(weights->device, weights->loss_scale, 0, &scale, sizeof scale, err));
    snprintf(text, sizeof text, "%.9g %u %u", (double)scale.scale, scale.good, scale.skipped);
    return ij_safetensors_put(writer, "loss_scale", text, err);
}

static ij_status read_loss_scale(const ij_import *import, const char *path, ij_weights *weights, ij_error *err) {
    const char *text = ij_tensor_file_get(ij_import_file(import), "loss_scale");
    if (weights->half != GPU_F16 || !text) return IJ_OK; /* a run that went on in f32 so far: the scale begins anew */
    float value;
    unsigned good, skipped;
    int end = 0;
    if (sscanf(text, "%f %u %u%n", &value, &good, &skipped, &end) != 3 || text[end] || !(value >= 1 && value <= OP_SCALE_MAX))
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: \"loss_scale\" is \"%.40s\"", path, text);
    struct optim_scale scale = op_optim_scale_make(value);
    scale.good = good, scale.skipped = skipped;
    return gpu_write(weights->device, weights->loss_scale, 0, &scale, sizeof scale, err);
}

/* Where a run took over moments that had seen other steps than its own. */
static ij_status put_moment_offset(ij_safetensors_writer *writer, const ij_weights *weights, ij_error *err) {
    char text[32];
    if (weights->moment_offset == 0) return IJ_OK;
    snprintf(text, sizeof text, "%" PRId64, weights->moment_offset);
    return ij_safetensors_put(writer, "moment_offset", text, err);
}

ij_status ij_checkpoint_put_metadata(ij_safetensors_writer *writer, const ij_train_config *config, int64_t step, ij_error *err) {
    char text[128];
    ij_config_text flat = {0};
    char *yaml = NULL;
    ij_status status = ij_train_config_write(config, &flat, err);
    if (status == IJ_OK) status = ij_config_text_print(&flat, &yaml, err);
    if (status == IJ_OK) status = ij_safetensors_put(writer, "format", IJ_STATE_FORMAT, err);
    if (status == IJ_OK) status = ij_safetensors_put(writer, "config", yaml, err);
    snprintf(text, sizeof text, "%" PRId64, step);
    if (status == IJ_OK) status = ij_safetensors_put(writer, "step", text, err);
    snprintf(text, sizeof text, "%" PRId64, config->schedule.steps_per_epoch);
    if (status == IJ_OK) status = ij_safetensors_put(writer, "steps_per_epoch", text, err);
    snprintf(text, sizeof text, "%.9g %.9g %.9g", (double)config->mean[0], (double)config->mean[1], (double)config->mean[2]);
    if (status == IJ_OK) status = ij_safetensors_put(writer, "mean", text, err);
    snprintf(text, sizeof text, "%.9g %.9g %.9g", (double)config->std[0], (double)config->std[1], (double)config->std[2]);
    if (status == IJ_OK) status = ij_safetensors_put(writer, "std", text, err);
    free(yaml);
    ij_config_text_free(&flat);
    return status;
}

ij_status ij_checkpoint_write(const char *path, const ij_weights *weights, const ij_train_config *config, int64_t step, ij_error *err) {
    ij_safetensors_writer *writer;
    source *sources = NULL;
    float *positions = NULL;
    IJ_TRY(ij_safetensors_begin(path, &writer, err));
    ij_status status = ij_alloc(&sources, 4 * (int64_t)weights->table.count, sizeof *sources, "checkpoint list", err);
    if (status == IJ_OK) status = ij_checkpoint_put_metadata(writer, config, step, err);
    if (status == IJ_OK) status = put_loss_scale(writer, weights, err);
    if (status == IJ_OK) status = put_moment_offset(writer, weights, err);
    if (status == IJ_OK) status = add_tensors(writer, weights, sources, err);
    if (status == IJ_OK) status = add_positions(writer, weights, &config->model, &positions, err);
    if (status == IJ_OK)
        status = ij_safetensors_finish(writer, err);
    else
        ij_safetensors_abandon(writer);
    free(positions);
    free(sources);
    return status;
}

/* ---- reading ---- */

ij_status ij_checkpoint_describe(const char *path, ij_train_config *config, int64_t *step, char *notes, size_t notes_bytes, ij_error *err) {
    ij_import *import;
    IJ_TRY(ij_import_open(path, NULL, &import, err));
    const ij_import_info *info = ij_import_about(import);
    *config = info->config;
    *step = info->step;
    if (notes) snprintf(notes, notes_bytes, "%s", info->notes);
    ij_import_close(import);
    return IJ_OK;
}

ij_status ij_checkpoint_config(const char *path, ij_train_config *config, int64_t *step, ij_error *err) {
    return ij_checkpoint_describe(path, config, step, NULL, 0, err);
}

static ij_status verify(const char *path, ij_error *err) {
    ij_safetensors *file;
    IJ_TRY(ij_safetensors_open(path, &file, err));
    ij_status status = ij_safetensors_verify(file, NULL, err);
    ij_safetensors_close(file);
    return status;
}

/* The file's model may not be larger than the one it is read into: what was left over would be missed by nobody. */
static ij_status compare_counts(const ij_import *import, const char *path, const ij_weights *w, ij_error *err) {
    const ij_import_info *info = ij_import_about(import);
    ij_param_table table;
    IJ_TRY(ij_param_table_make(&info->config.model, &table, err));
    int encoder = table.encoder_count, predictor = table.count - encoder;
    ij_param_table_free(&table);
    if (encoder != w->table.encoder_count)
        return ij_fail(err, IJ_ERROR_MISMATCH, "%s: its encoder has %d parameters (depth %d), the configuration's %d", path, encoder,
                       info->config.model.depth, w->table.encoder_count);
    bool needed = w->keep == IJ_KEEP_TRAINING && info->has_predictor;
    if (needed && predictor != w->table.count - w->table.encoder_count)
        return ij_fail(err, IJ_ERROR_MISMATCH, "%s: its predictor has %d parameters (depth %d), the configuration's %d", path, predictor,
                       info->config.model.pred_depth, w->table.count - w->table.encoder_count);
    return IJ_OK;
}

/* Positions that a file stores and that are not the fixed table are kept as they are. */
static ij_status take_positions(const ij_import *import, ij_weights *w, ij_error *err) {
    const ij_import_info *info = ij_import_about(import);
    assert(info->config.model.dim == w->model.dim); /* the parameters, read before, have it */
    return ij_weights_set_positions(w, info->positions_height, info->positions_width, ij_import_positions(import), err);
}

/* A training state is complete; of another file, what it lacks stays as it is. */
static bool skips(const ij_import_info *info, ij_slot slot, const ij_param *p) {
    if (info->kind == IJ_IMPORT_STATE) return false;
    bool moment = slot == IJ_SLOT_MOMENT1 || slot == IJ_SLOT_MOMENT2;
    return (moment && !info->has_moments) || (p->predictor && !info->has_predictor);
}

static ij_status read_slot(const ij_import *import, ij_weights *w, ij_slot slot, float *values, ij_error *err) {
    for (int i = 0; i < ij_weights_params(w, slot); i++) {
        const ij_param *p = &w->table.params[i];
        if (skips(ij_import_about(import), slot, p)) continue;
        IJ_TRY(ij_import_read(import, slot, p, values, err));
        IJ_TRY(ij_weights_write(w, slot, i, values, err));
    }
    return IJ_OK;
}

static ij_status read_slots(const ij_import *import, ij_weights *w, ij_error *err) {
    static const ij_slot slots[] = {IJ_SLOT_TARGET, IJ_SLOT_WEIGHT, IJ_SLOT_MOMENT1, IJ_SLOT_MOMENT2};
    int64_t largest = 1;
    float *values;
    for (int i = 0; i < w->table.count; i++)
        if (w->table.params[i].count > largest) largest = w->table.params[i].count;
    IJ_TRY(ij_alloc(&values, largest, sizeof *values, "weights", err));
    ij_status status = IJ_OK;
    for (int i = 0; i < IJ_COUNT(slots) && status == IJ_OK; i++) status = read_slot(import, w, slots[i], values, err);
    free(values);
    return status;
}

static ij_status read_moment_offset(const ij_import *import, const char *path, ij_weights *w, ij_error *err) {
    const ij_import_info *info = ij_import_about(import);
    const char *text = ij_tensor_file_get(ij_import_file(import), "moment_offset");
    int end = 0;
    w->moment_offset = info->has_moments ? info->step : 0;
    if (info->kind != IJ_IMPORT_STATE) return IJ_OK;
    w->moment_offset = 0;
    if (!text) return IJ_OK;
    bool number = sscanf(text, "%" SCNd64 "%n", &w->moment_offset, &end) == 1 && !text[end];
    return number && w->moment_offset + info->step >= 0 ? IJ_OK
                                                        : ij_fail(err, IJ_ERROR_FORMAT, "%s: \"moment_offset\" is \"%.40s\"", path, text);
}

ij_status ij_checkpoint_read(const char *path, ij_weights *weights, ij_error *err) {
    ij_import *import;
    IJ_TRY(ij_import_open(path, &weights->model, &import, err));
    bool state = ij_import_about(import)->kind == IJ_IMPORT_STATE;
    ij_status status = state ? verify(path, err) : IJ_OK;
    if (status == IJ_OK) status = compare_counts(import, path, weights, err);
    if (status == IJ_OK) status = read_slots(import, weights, err);
    if (status == IJ_OK) status = take_positions(import, weights, err);
    if (status == IJ_OK) status = read_moment_offset(import, path, weights, err);
    if (status == IJ_OK && weights->keep == IJ_KEEP_TRAINING && state) status = read_loss_scale(import, path, weights, err);
    if (status == IJ_OK) status = ij_weights_round(weights, err);
    ij_import_close(import);
    return status;
}

/* ---- finding ---- */

static int64_t step_of_name(const char *name) {
    int64_t step;
    int end = 0;
    if (sscanf(name, "step-%" SCNd64 ".safetensors%n", &step, &end) != 1 || end == 0 || name[end]) return -1;
    return step;
}

static bool intact(const char *path, ij_error *err) {
    ij_safetensors *file;
    if (ij_safetensors_open(path, &file, err) != IJ_OK) return false;
    bool good = ij_safetensors_verify(file, NULL, err) == IJ_OK;
    ij_safetensors_close(file);
    return good;
}

ij_status ij_checkpoint_find(const char *run_or_file, char *out, size_t out_bytes, char *damaged, size_t damaged_bytes, ij_error *err) {
    char folder[4096];
    if (damaged && damaged_bytes) damaged[0] = 0;
    if (!ij_is_folder(run_or_file) || ij_import_is_folder(run_or_file)) {
        if (!ij_is_folder(run_or_file) && !ij_file_exists(run_or_file))
            return ij_fail(err, IJ_ERROR_FILE, "%s: no such run folder or checkpoint", run_or_file);
        if (strlen(run_or_file) >= out_bytes) return ij_fail(err, IJ_ERROR_ARGUMENT, "path too long: %.200s", run_or_file);
        strcpy(out, run_or_file);
        return IJ_OK;
    }
    IJ_TRY(ij_path_join(folder, sizeof folder, run_or_file, "checkpoints", err));
    for (int64_t below = INT64_MAX;;) { /* newest first, until one is intact */
        int64_t best = -1;
        DIR *dir = opendir(folder);
        for (struct dirent *entry; dir && (entry = readdir(dir));) {
            int64_t step = step_of_name(entry->d_name);
            if (step < below && step > best) best = step;
        }
        if (dir) closedir(dir);
        if (best < 0)
            return ij_fail(err, IJ_ERROR_FILE,
                           "%s: no %scheckpoint (looked for checkpoints/step-N.safetensors, model.safetensors and pytorch_model.bin)",
                           run_or_file, below == INT64_MAX ? "" : "intact ");
        char name[64];
        snprintf(name, sizeof name, "step-%08" PRId64 ".safetensors", best);
        IJ_TRY(ij_path_join(out, out_bytes, folder, name, err));
        ij_error why;
        if (intact(out, &why)) return IJ_OK;
        size_t used = damaged ? strlen(damaged) : 0;
        if (damaged && used + 1 < damaged_bytes) snprintf(damaged + used, damaged_bytes - used, "%s\n", why.text);
        below = best;
    }
}
