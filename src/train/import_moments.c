/* AdamW's state of a released file.       layer: train; uses: base, io, model
 *
 * torch.optim's state_dict numbers the parameters: param_groups.G.params lists the numbers of group G, state.N has exp_avg, exp_avg_sq and
 * step of number N. Which parameter a number is follows from the released optimiser's four groups, in which parameters stand in the order of
 * the module: 0 the encoder's matrices, positions first; 1 the predictor's, mask_token and positions first; 2 the encoder's biases and
 * LayerNorms; 3 the predictor's. Positions have a number and no state, since they are not trained. */
#include "base/memory.h"
#include "train/import_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS 4

static const char *const moment_names[IJ_SLOT_COUNT] = {[IJ_SLOT_MOMENT1] = "exp_avg", [IJ_SLOT_MOMENT2] = "exp_avg_sq"};

static const ij_tensor_entry *state_tensor(const ij_import *import, int64_t id, const char *what) {
    char name[64];
    snprintf(name, sizeof name, "opt.state.%" PRId64 ".%s", id, what);
    return ij_tensor_file_find(import->file, name);
}

const ij_tensor_entry *import_moment(const ij_import *import, ij_slot slot, const ij_param *param) {
    char name[2 * IJ_NAME_BYTES];
    if (import->info.kind == IJ_IMPORT_STATE) {
        snprintf(name, sizeof name, "opt.%s.%s.%s", moment_names[slot], param->predictor ? "predictor" : "encoder", param->name);
        return ij_tensor_file_find(import->file, name);
    }
    int at = ij_param_find(&import->table, param->predictor, param->name);
    return at < 0 ? NULL : state_tensor(import, import->ids[at], moment_names[slot]);
}

/* Number i of a group; -1: it has fewer. */
static int64_t number_of(const ij_import *import, int group, int i) {
    char key[64], *end;
    snprintf(key, sizeof key, "opt.param_groups.%d.params.%d", group, i);
    const char *text = ij_tensor_file_get(import->file, key);
    long long id = text ? strtoll(text, &end, 10) : -1;
    return text && end != text && !*end && id >= 0 ? id : -1;
}

static bool in_group(const ij_param *p, int group) { return p->predictor == (group % 2 == 1) && p->decay == (group < 2); }

/* Gives the parameters of a group their numbers. false: the group has another count than the released optimiser's. */
static bool number_group(ij_import *import, int group) {
    int listed = 0, count = 0, place = 0, positions_at = group == 1 ? 1 : 0;
    while (listed <= import->table.count + 1 && number_of(import, group, listed) >= 0) listed++;
    for (int i = 0; i < import->table.count; i++) count += in_group(&import->table.params[i], group);
    bool positions = group < 2 && listed == count + 1;
    if (listed != count && !positions) return false;
    for (int i = 0; i < import->table.count; i++) {
        if (!in_group(&import->table.params[i], group)) continue;
        if (positions && place == positions_at) place++;
        import->ids[i] = number_of(import, group, place++);
    }
    return true;
}

/* Steps of a parameter: a number, or since torch 1.12 a tensor of no dimension. -1: there are none. */
static ij_status steps_of(const ij_import *import, int64_t id, int64_t *out, ij_error *err) {
    char key[64];
    float value = -1;
    const ij_tensor_entry *e = state_tensor(import, id, "step");
    snprintf(key, sizeof key, "opt.state.%" PRId64 ".step", id);
    const char *text = ij_tensor_file_get(import->file, key);
    if (e && e->count == 1)
        IJ_TRY(ij_tensor_file_read(import->file, e, 0, 1, &value, err));
    else if (text)
        value = strtof(text, NULL);
    *out = value >= 0 && value < 1e15f ? (int64_t)value : -1;
    return IJ_OK;
}

static ij_status check_state(ij_import *import, ij_error *err) {
    int64_t least = INT64_MAX, most = -1;
    name_list missing = {0};
    for (int i = 0; i < import->table.count; i++) {
        const ij_param *p = &import->table.params[i];
        int64_t steps;
        const ij_tensor_entry *first = import_moment(import, IJ_SLOT_MOMENT1, p), *second = import_moment(import, IJ_SLOT_MOMENT2, p);
        if (first) IJ_TRY(import_check_shape(import, p, &first, 1, err));
        if (second) IJ_TRY(import_check_shape(import, p, &second, 1, err));
        IJ_TRY(steps_of(import, import->ids[i], &steps, err));
        if (!first || !second || steps < 0) {
            name_list_add(&missing, p->name);
            continue;
        }
        if (steps < least) least = steps;
        if (steps > most) most = steps;
    }
    if (missing.count == import->table.count) return IJ_OK; /* saved before the first step */
    if (missing.count)
        return ij_fail(err, IJ_ERROR_MISMATCH, "%s: its optimiser has no exp_avg, exp_avg_sq and step for %s", import->path,
                       name_list_text(&missing));
    import->info.has_moments = true;
    import->info.step = most;
    if (least != most)
        import_note(import, "%s: AdamW took %" PRId64 " steps on some parameters and %" PRId64 " on others; all go on from %" PRId64,
                    import->path, least, most, most);
    return IJ_OK;
}

ij_status import_moments(ij_import *import, ij_error *err) {
    if (!ij_tensor_file_get(import->file, "opt.param_groups.0.params.0")) return IJ_OK;
    bool released = import->info.has_predictor && number_of(import, GROUPS, 0) < 0;
    IJ_TRY(ij_alloc(&import->ids, import->table.count, sizeof *import->ids, "optimiser's numbers", err));
    for (int g = 0; g < GROUPS && released; g++) released = number_group(import, g);
    if (released) return check_state(import, err);
    import_note(import, "%s: its optimiser's groups are not the released ones, so its moments are left out", import->path);
    return IJ_OK;
}
