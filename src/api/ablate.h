/* What the files behind ijepa_ablate share.       layer: api; uses: base, io, train
 *
 *   ablate.c          the specification, and the plan it makes: tables, rows, and the runs that they share
 *   ablate_paper.c    the paper's tables as data
 *   ablate_run.c      one run: refuse, resume, train, evaluate, keep the score
 *   ablate_report.c   rows from runs, and the report as text, Markdown, CSV and JSON */
#ifndef IJ_API_ABLATE_H
#define IJ_API_ABLATE_H

#include "api/api.h"

#define ABLATE_SEEDS_MAX 16
#define ABLATE_SET_BYTES 600

/* ---- the paper ---- */

/* What of a row depends on the user's model. */
typedef enum ablate_scale {
    ABLATE_AS_WRITTEN,
    ABLATE_DEPTH_HALF, /* of the base's predictor, which counts as two blocks at least */
    ABLATE_DEPTH_FULL,
    ABLATE_WIDTH_NARROW, /* the base's predictor; half the encoder's width where that is as wide as the encoder */
    ABLATE_WIDTH_FULL,   /* the encoder's */
} ablate_scale;

typedef struct ablate_row_desc {
    const char *name;    /* in the run's name */
    const char *setting; /* as the paper writes it */
    const char *set;     /* what it is here: "key=value; key=value" */
    const char *model;   /* that the paper trained; NULL: the paper has no such row */
    double top1;         /* the paper's */
    ablate_scale scale;
} ablate_row_desc;

typedef struct ablate_table_desc {
    const char *name, *title;
    const char *source; /* "table 6" */
    const char *note;   /* what is set here beside the table's own keys, a sentence; "" */
    const ablate_row_desc *rows;
    int row_count;
} ablate_table_desc;

extern const ablate_table_desc ablate_tables[];
extern const int ablate_table_count;
#define ABLATE_MEASURED "top-1 on ImageNet with 1 % of the labels"

/* ---- the plan ---- */

/* Where an evaluation reads and how much; zero fields are ijepa_eval's defaults. */
typedef struct ablate_eval {
    char train[4096], test[4096];
    int64_t train_limit, test_limit, seed;
} ablate_eval;

/* A configuration that is trained, seed after seed; rows that mean the same share it. */
typedef struct ablate_setup {
    char name[96];  /* "base", "mask-rasterized" */
    char *identity; /* the effective configuration as text, without seed and folder */
    char set[ABLATE_SET_BYTES];
    int first_run; /* in the result's runs: seed s is at first_run + s x used setups; -1: no row of the report wants it */
} ablate_setup;

typedef struct ablate {
    const ijepa_ablate_options *options;
    ijepa_ablate_result *result;
    char base[4096];       /* path of the base configuration */
    ij_config_text spec;   /* as given */
    ij_train_config *work; /* memory to read configurations into */
    ablate_eval eval;
    ablate_setup *setups;
    int64_t setup_count, setup_capacity;
    int used; /* setups that are trained */
    int64_t steps;
    uint64_t seed;         /* the base's; run s has seed + s */
    int64_t steps_trained; /* in this call */
    double seconds;        /* of the runs of this call, evaluation included */
} ablate;

/* The configuration of base, spec and options, with a row's assignments ("" for none) on top, read into a->work. */
ij_status ablate_configure(ablate *a, const char *set, ij_error *err);

/* Where run number `run` of the result keeps its files: out/name. */
ij_status ablate_folder(const ablate *a, int run, char out[4200], ij_error *err);

/* Neither done nor failed. */
bool ablate_waits(const ijepa_ablate_run *run);

/* ---- runs ---- */

/* Reads what the run's folder holds into the result: a score, or nothing. Refuses, naming the key, what was made with another
 * configuration or evaluation. */
ij_status ablate_look(ablate *a, int run, ij_error *err);

/* Trains (resuming), evaluates, and keeps the score. What is wrong with this run alone (numbers, memory) becomes its state; all else is
 * returned, IJ_ERROR_STOPPED among it. */
ij_status ablate_run(ablate *a, int run, ij_error *err);

/* ---- the report ---- */

/* Fills the rows' numbers from the runs. */
void ablate_summarise(ablate *a);

typedef enum ablate_format { ABLATE_TEXT, ABLATE_MARKDOWN, ABLATE_CSV, ABLATE_JSON, ABLATE_FORMATS } ablate_format;
ij_status ablate_print(const ijepa_ablate_result *result, ablate_format format, char **out, ij_error *err);

/* ablation.md, .csv and .json in the result's folder. */
ij_status ablate_write_report(const ijepa_ablate_result *result, ij_error *err);

#endif
