/* layer: eval; uses: base, io */
#include "eval/results.h"
#include "base/memory.h"
#include "io/json_writer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const eval_method_names[EVAL_METHODS] = {"knn", "linear", "logistic", "low-shot", "fine-tune", "partial"};
const char *const eval_features_names[EVAL_FEATURES] = {"trained", "random", "pixels"};

/* ---- the paper ---- */

/* Assran et al. 2023; I-JEPA's own rows. Accuracies in percent. */
static const struct {
    const char *task;
    eval_method method;
    const char *text;
} paper[] = {
    {"classes", EVAL_LINEAR, "79.3: ViT-H/14, ImageNet-1k (Table 1)"},
    {"classes", EVAL_LOW_SHOT, "73.3: ViT-H/14, 1 % of ImageNet-1k (Table 2)"},
    {"classes", EVAL_FINE_TUNE, "87.1: ViT-H/16 at 448 px, ImageNet-1k (Table 15)"},
    {"count", EVAL_LINEAR, "86.7: ViT-H/14, CLEVR/Count (Table 4)"},
    {"dist", EVAL_LINEAR, "72.4: ViT-H/14, CLEVR/Dist (Table 4)"},
};

const char *ij_eval_paper(const char *task, eval_method method) {
    for (int i = 0; i < IJ_COUNT(paper); i++)
        if (paper[i].method == method && strcmp(paper[i].task, task) == 0) return paper[i].text;
    return "";
}

/* ---- rows ---- */

ij_status ij_eval_add(ij_eval_result *result, const ij_eval_row *row, ij_error *err) {
    IJ_TRY(ij_grow(&result->rows, &result->capacity, result->count + 1, sizeof *result->rows, "results", err));
    result->rows[result->count] = *row;
    result->rows[result->count++].paper = ij_eval_paper(row->task, row->method);
    return IJ_OK;
}

void ij_eval_result_free(ij_eval_result *result) {
    free(result->rows);
    memset(result, 0, sizeof *result);
}

ij_status ij_eval_choose(ij_eval_result *result, int64_t first, ij_error *err) {
    ij_eval_row best = result->rows[first];
    double sum = 0;
    for (int64_t i = first; i < result->count; i++) {
        const ij_eval_row *row = &result->rows[i];
        sum += row->accuracy.percent;
        if (row->held_out > best.held_out || (isnan(best.held_out) && !isnan(row->held_out))) best = *row;
    }
    best.settings = (int)(result->count - first);
    best.mean = sum / best.settings;
    best.chosen = true;
    return ij_eval_add(result, &best, err);
}

/* ---- JSON ---- */

static void write_row(ij_json *j, const ij_eval_row *r) {
    ij_json_open(j, '{');
    ij_json_key(j, "task"), ij_json_string(j, r->task);
    ij_json_key(j, "method"), ij_json_string(j, eval_method_names[r->method]);
    ij_json_key(j, "features"), ij_json_string(j, eval_features_names[r->features]);
    ij_json_key(j, "setting"), ij_json_string(j, r->setting);
    ij_json_key(j, "chosen"), ij_json_bool(j, r->chosen);
    ij_json_key(j, "accuracy"), ij_json_number(j, r->accuracy.percent);
    ij_json_key(j, "low"), ij_json_number(j, r->accuracy.low);
    ij_json_key(j, "high"), ij_json_number(j, r->accuracy.high);
    ij_json_key(j, "held_out"), ij_json_number(j, r->held_out);
    if (r->chosen) {
        ij_json_key(j, "mean_of_settings"), ij_json_number(j, r->mean);
        ij_json_key(j, "settings"), ij_json_integer(j, r->settings);
        ij_json_key(j, "paper"), ij_json_string(j, r->paper);
        ij_json_key(j, "seconds"), ij_json_number(j, r->seconds);
    }
    ij_json_key(j, "train_images"), ij_json_integer(j, r->train_images);
    ij_json_key(j, "test_images"), ij_json_integer(j, r->test_images);
    ij_json_key(j, "classes"), ij_json_integer(j, r->classes);
    ij_json_key(j, "dim"), ij_json_integer(j, r->dim);
    ij_json_key(j, "seeds"), ij_json_integer(j, r->seeds);
    ij_json_key(j, "seed"), ij_json_integer(j, (int64_t)r->seed);
    ij_json_close(j, '}');
    ij_json_raw(j, "\n");
}

ij_status ij_eval_json(const ij_eval_result *result, char **json, ij_error *err) {
    ij_json j = {0};
    ij_json_open(&j, '{');
    ij_json_key(&j, "format"), ij_json_string(&j, "ijepa-eval-1");
    ij_json_key(&j, "checkpoint"), ij_json_string(&j, result->checkpoint);
    ij_json_key(&j, "step"), ij_json_integer(&j, result->step);
    ij_json_key(&j, "device"), ij_json_string(&j, result->device);
    ij_json_key(&j, "precision"), ij_json_string(&j, result->precision);
    ij_json_key(&j, "seed"), ij_json_integer(&j, (int64_t)result->seed);
    ij_json_key(&j, "damaged_images"), ij_json_integer(&j, result->damaged_images);
    ij_json_key(&j, "seconds"), ij_json_number(&j, result->seconds);
    ij_json_key(&j, "images_per_second"), ij_json_number(&j, result->images_per_second);
    ij_json_key(&j, "rows"), ij_json_open(&j, '[');
    ij_json_raw(&j, "\n");
    for (int64_t i = 0; i < result->count; i++) write_row(&j, &result->rows[i]);
    ij_json_close(&j, ']');
    ij_json_close(&j, '}');
    ij_json_raw(&j, "\n");
    if (!j.failed) {
        *json = j.text;
        return IJ_OK;
    }
    ij_json_free(&j);
    return ij_fail(err, IJ_ERROR_MEMORY, "no memory for the results as JSON");
}
