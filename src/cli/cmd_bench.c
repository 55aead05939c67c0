/* ijepa bench matmul | ops | step       layer: cli; uses: ijepa.h */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

typedef struct table {
    ijepa_bench_row *rows; /* kept for `step`, whose shares need the total */
    int count, capacity;
    bool step, openblas;
    cli_json *json;
} table;

static void print_json_row(cli_json *json, const ijepa_bench_row *row) {
    double seconds = 1e-3 * row->milliseconds;
    json_open(json, NULL, '{');
    json_text(json, "name", row->name);
    json_number(json, "milliseconds", row->milliseconds);
    json_number(json, "gflops_per_second", row->gflops / seconds);
    json_number(json, "gbytes_per_second", row->gbytes / seconds);
    if (row->baseline_milliseconds > 0) json_number(json, "openblas_milliseconds", row->baseline_milliseconds);
    json_integer(json, "runs", row->runs);
    json_bool(json, "verified", row->verified);
    json_close(json, '}');
}

static void print_head(const table *t) {
    if (t->step)
        printf("%-38s %5s %9s %6s %9s %7s\n", "op", "times", "ms", "share", "GFLOP/s", "GB/s");
    else
        printf("%-44s %10s %10s %8s%s  %s\n", "what", "ms", "GFLOP/s", "GB/s", t->openblas ? "  OpenBLAS  speed-up" : "", "verified");
}

static void on_row(void *user, const ijepa_bench_row *row) {
    table *t = user;
    if (t->json) {
        print_json_row(t->json, row);
        return;
    }
    if (t->step) {
        if (t->count == t->capacity) {
            int capacity = t->capacity ? 2 * t->capacity : 64;
            ijepa_bench_row *rows = realloc(t->rows, (size_t)capacity * sizeof *rows);
            if (!rows) return;
            t->rows = rows, t->capacity = capacity;
        }
        t->rows[t->count++] = *row;
        return;
    }
    double seconds = 1e-3 * row->milliseconds;
    if (t->count++ == 0) print_head(t);
    printf("%-44s %10.3f %10.1f %8.1f", row->name, row->milliseconds, row->gflops / seconds, row->gbytes / seconds);
    if (t->openblas) printf("  %8.3f  %7.2fx", row->baseline_milliseconds, row->baseline_milliseconds / row->milliseconds);
    printf("  %s\n", row->verified ? "yes" : "NO");
    fflush(stdout);
}

static void print_step(const table *t, const ijepa_bench_step *step) {
    double total = 0;
    char bytes[32];
    for (int i = 0; i < t->count; i++) total += t->rows[i].milliseconds;
    if (t->count) print_head(t);
    for (int i = 0; i < t->count; i++) {
        const ijepa_bench_row *row = &t->rows[i];
        double seconds = 1e-3 * row->milliseconds;
        printf("%-38s %5d %9.3f %5.1f%% %9.1f %7.1f\n", row->name, row->runs, row->milliseconds, 100 * row->milliseconds / total,
               row->gflops / seconds, row->gbytes / seconds);
    }
    if (t->count) printf("%-38s %5s %9.3f (each op by itself, with timestamps)\n\n", "all", "", total);
    printf("step               %.3f ms, %.1f images/s", step->milliseconds, step->images_per_second);
    if (step->gflops > 0) printf(", %.1f GFLOP, %.1f GFLOP/s", step->gflops, step->gflops / (1e-3 * step->milliseconds));
    printf("\nrows of an image   %.1f context, %.1f target\n", step->context_rows, step->target_rows);
    printf("recorded           %d dispatches, %d barriers; %s of device memory\n", step->dispatches, step->barriers,
           text_bytes(step->device_bytes, bytes));
    if (!t->count) printf("This device has no timestamps: no time by op.\n");
}

static void json_step(cli_json *json, const ijepa_bench_step *step) {
    json_number(json, "milliseconds", step->milliseconds);
    json_number(json, "images_per_second", step->images_per_second);
    json_number(json, "gflop", step->gflops);
    json_number(json, "context_rows", step->context_rows);
    json_number(json, "target_rows", step->target_rows);
    json_integer(json, "device_bytes", (int64_t)step->device_bytes);
    json_integer(json, "dispatches", step->dispatches);
    json_integer(json, "barriers", step->barriers);
}

static int measure(ijepa_bench_options *ask, table *t) {
    ijepa_bench_step step = {0};
    ijepa_error err;
    if (t->json) json_open(t->json, NULL, '{'), json_open(t->json, "rows", '[');
    ijepa_status status = ijepa_bench(ask, &step, &err);
    if (t->json) {
        json_close(t->json, ']');
        if (t->step && status == IJEPA_OK) json_step(t->json, &step);
        json_close(t->json, '}');
    } else if (t->step && status == IJEPA_OK) {
        print_step(t, &step);
    }
    return status == IJEPA_OK ? CLI_DONE : cli_fail(&err);
}

static int run(const cli_environment *environment, int argc, char **argv) {
    cli_common common = {0};
    cli_texts assignments = {0};
    const char *op = NULL;
    int64_t m = 0, n = 0, k = 0, runs = 0;
    bool openblas = false;
    const cli_option options[] = {
        {"--m", "M", "matmul: rows of the result", "a table of shapes", CLI_INTEGER, &m, 1},
        {"--n", "N", "matmul: columns of the result", NULL, CLI_INTEGER, &n, 1},
        {"--k", "K", "matmul: length of the sums", NULL, CLI_INTEGER, &k, 1},
        {"--openblas", NULL, "matmul: time OpenBLAS's sgemm beside it, loaded at run time", NULL, CLI_FLAG, &openblas, 0},
        {"--op", "NAME", "ops: only those whose name contains this", "all", CLI_TEXT, &op, 0},
        {"--set", "KEY=VALUE", "step: change the configuration; may be given again", NULL, CLI_TEXTS, &assignments, 0},
        {"--runs", "N", "runs that are timed, the median counts", "15", CLI_INTEGER, &runs, 1},
        CLI_OPTION_DEVICE(common),
        CLI_OPTION_VALIDATION(common),
        CLI_OPTION_JSON(common),
    };
    int operands, code = cli_parse(&cmd_bench, options, CLI_COUNT(options), argc, argv, &operands);
    if (code >= 0) return code;
    static const char *const names[] = {"matmul", "ops", "step"};
    const char *what = argv[1];
    bool step = strcmp(what, "step") == 0;
    if (!step && strcmp(what, "matmul") != 0 && strcmp(what, "ops") != 0) {
        const char *nearest = cli_nearest(what, names, CLI_COUNT(names));
        return cli_usage("bench", "no benchmark is called \"%s\"; %s%s", what, nearest ? "did you mean " : "there are matmul, ops, step",
                         nearest ? nearest : "");
    }
    if (step && operands < 2) return cli_usage("bench", "step needs a configuration: ijepa bench step CONFIG.yaml");
    if (!step && operands > 1) return cli_usage("bench", "%s takes no configuration: \"%s\" is one word too many", what, argv[2]);
    if ((m || n || k) && !(m && n && k)) return cli_usage("bench", "--m, --n and --k go together");
    if (runs > 10000) return cli_usage("bench", "--runs %lld: it must be at most 10000", (long long)runs);
    ijepa_error err;
    ijepa_config *config = NULL;
    if (step && cli_config(argv[2], &assignments, &config, &err) != IJEPA_OK) return cli_fail(&err);
    cli_json json = {.file = stdout};
    table t = {.step = step, .openblas = openblas, .json = common.json ? &json : NULL};
    ijepa_bench_options ask = {.device = cli_device(&common, environment),
                               .what = what,
                               .op = op,
                               .m = m,
                               .n = n,
                               .k = k,
                               .runs = (int)runs,
                               .openblas = openblas,
                               .config = config,
                               .on_row = on_row,
                               .user = &t};
    code = measure(&ask, &t);
    free(t.rows);
    ijepa_config_destroy(config);
    return code;
}

const cli_command cmd_bench = {
    .name = "bench",
    .purpose = "time matrix products, all ops, or a whole training step",
    .operands = "matmul|ops|step [CONFIG.yaml]",
    .operands_min = 1,
    .operands_max = 2,
    .notes = "Every result is verified before it is timed. Times are the device's own where it has timestamps. `step` runs on noise\n"
             "and needs no data set; its table has one row for each op and part of the model.\n",
    .examples = "  ijepa bench matmul --openblas\n"
                "  ijepa bench ops --op attention\n"
                "  ijepa bench step samples/configs/fashion-mnist.yaml --set data.batch_size=64\n",
    .run = run,
};
