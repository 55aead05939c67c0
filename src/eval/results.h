/* What an evaluation found, as rows; the paper's rows of the same kind; and all of it as JSON.       layer: eval; uses: base, io */
#ifndef IJ_EVAL_RESULTS_H
#define IJ_EVAL_RESULTS_H

#include "eval/samples.h"

#include <stdbool.h>

typedef enum eval_method { EVAL_KNN, EVAL_LINEAR, EVAL_LOGISTIC, EVAL_LOW_SHOT, EVAL_FINE_TUNE, EVAL_PARTIAL, EVAL_METHODS } eval_method;
typedef enum eval_features { EVAL_TRAINED, EVAL_RANDOM, EVAL_PIXELS, EVAL_FEATURES } eval_features;

/* "knn", "linear", "logistic", "low-shot", "fine-tune", "partial"; "trained", "random", "pixels". */
extern const char *const eval_method_names[EVAL_METHODS];
extern const char *const eval_features_names[EVAL_FEATURES];

typedef struct ij_eval_row {
    char task[32]; /* "classes", or a column of the scenes' labels */
    eval_method method;
    eval_features features;
    char setting[160];
    bool chosen;          /* reported; else one of the settings that were tried */
    ij_accuracy accuracy; /* on the test images */
    double held_out;      /* accuracy in percent that chose it; NaN: nothing was held out */
    double mean;          /* chosen rows: over all settings tried, on the test images */
    int settings;         /* chosen rows: how many those are */
    int64_t train_images, test_images;
    int classes, seeds, dim;
    uint64_t seed;
    double seconds;
    const char *paper; /* ij_eval_paper of it */
} ij_eval_row;

typedef struct ij_eval_result {
    ij_eval_row *rows;
    int64_t count, capacity;
    char checkpoint[4600], device[256], precision[8];
    int64_t step;
    int64_t damaged_images;
    uint64_t seed;
    double seconds;
    double images_per_second; /* encoded; 0: all features were kept from before */
} ij_eval_result;

/* Appends a copy of row; its `paper` is filled in. */
ij_status ij_eval_add(ij_eval_result *result, const ij_eval_row *row, ij_error *err);
void ij_eval_result_free(ij_eval_result *result);

/* Ends a list of settings that were tried: of the rows from `first` on, the one with the best held-out accuracy is appended once more as
 * the chosen one, with the mean over all. Of equal ones the first, so that the order of the rows says which is preferred. A NaN held-out
 * accuracy (nothing was held out) is never better than a number; where all are NaN the first is chosen. */
ij_status ij_eval_choose(ij_eval_result *result, int64_t first, ij_error *err);

/* The paper's row of the same kind, as a text; "" where there is none. */
const char *ij_eval_paper(const char *task, eval_method method);

/* JSON text; free() it. */
ij_status ij_eval_json(const ij_eval_result *result, char **json, ij_error *err);

#endif
