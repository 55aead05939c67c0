/* ijepa ablate       layer: cli; uses: ijepa.h */
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void on_run(void *user, const ijepa_ablate_run *run, double seconds_left) {
    char took[32], left[32], line[900];
    if (*run->error)
        snprintf(line, sizeof line, "%s: failed: %s", run->name, run->error);
    else
        snprintf(line, sizeof line, "%s: kNN %.1f, linear %.1f, %s, %s%s%s%s", run->name, run->knn, run->linear,
                 *run->verdict ? run->verdict : "not judged", text_duration(run->seconds, took), seconds_left > 0 ? "; " : "",
                 seconds_left > 0 ? text_duration(seconds_left, left) : "", seconds_left > 0 ? " left in all" : "");
    cli_message(user, line);
}

static int print(const ijepa_ablate_result *result, bool json) {
    ijepa_error err;
    char *text;
    if (ijepa_ablate_text(result, json ? "json" : "text", &text, &err) != IJEPA_OK) return cli_fail(&err);
    fputs(text, stdout);
    free(text);
    return CLI_DONE;
}

static int finish(const ijepa_ablate_result *result, bool list, bool json) {
    int code = print(result, json);
    if (code != CLI_DONE || list) return code;
    if (!json) printf("\nwritten: %s/ablation.md, .csv, .json\n", result->out);
    if (!result->failed) return CLI_DONE;
    fprintf(stderr, "ijepa: %d of %d runs failed\n", result->failed, result->run_count);
    return CLI_FAILED;
}

static int run(const cli_environment *environment, int argc, char **argv) {
    cli_common common = {0};
    ijepa_ablate_options ask = {.stop = cli_stopped, .progress = cli_progress, .on_run = on_run};
    cli_texts assignments = {0};
    int64_t seeds = 0, steps = 0;
    bool verbose = false;
    const cli_option options[] = {
        {"--out", "DIR", "folder of the runs and the report", "the specification's, else runs/NAME", CLI_TEXT, &ask.out, 0},
        {"--tables", "LIST", "only these, comma-separated; rows: the specification's own", "the specification's", CLI_TEXT, &ask.tables, 0},
        {"--seeds", "N", "runs of each row, at most 16", "the specification's, else 1", CLI_INTEGER, &seeds, 1},
        {"--steps", "N", "of each run", "the specification's, else the base's", CLI_INTEGER, &steps, 1},
        {"--set", "KEY=VALUE", "change the base; may be given again", NULL, CLI_TEXTS, &assignments, 0},
        {"--list", NULL, "print tables, rows and what is done, and stop", NULL, CLI_FLAG, &ask.list, 0},
        {"--verbose", NULL, "print what each run says of device, data and memory", NULL, CLI_FLAG, &verbose, 0},
        {"--no-tune", NULL, "do not time kernels on this GPU's first run; take their defaults", NULL, CLI_FLAG, &ask.no_tune, 0},
        CLI_OPTION_DEVICE(common),
        CLI_OPTION_OFF(common),
        CLI_OPTION_VALIDATION(common),
        CLI_OPTION_JSON(common),
    };
    int operands, code = cli_parse(&cmd_ablate, options, CLI_COUNT(options), argc, argv, &operands);
    if (code >= 0) return code;
    if (seeds > 16) return cli_usage("ablate", "--seeds %lld: at most 16", (long long)seeds);
    ask.device = cli_device(&common, environment);
    ask.seeds = (int)seeds, ask.steps = steps;
    ask.set = assignments.at, ask.set_count = assignments.count;
    if (verbose) ask.message = cli_message;
    ijepa_ablate_result result;
    ijepa_error err;
    if (!ask.list) cli_catch_signals();
    ijepa_status status = ijepa_ablate(argv[1], &ask, &result, &err);
    cli_progress_end();
    if (status == IJEPA_ERROR_STOPPED) {
        cli_fail(&err);
        code = cli_stop_code();
    } else if (status != IJEPA_OK) {
        return cli_fail(&err);
    } else {
        code = finish(&result, ask.list, common.json);
    }
    ijepa_ablate_free(&result);
    return code;
}

const cli_command cmd_ablate = {
    .name = "ablate",
    .purpose = "train and evaluate the paper's ablations (tables 6 to 14) on one's own data",
    .operands = "SPEC.yaml",
    .operands_min = 1,
    .operands_max = 1,
    .notes = "SPEC.yaml names a training configuration (base) and the tables to fill: mask, targets, target_scale, context_scale,\n"
             "target_count, target_mask, predictor_depth, weight_decay, predictor_width, loss, and rows of one's own. A finished run is\n"
             "not repeated; Ctrl-C saves, and the same command goes on. The paper's numbers stand beside: they are top-1 of large\n"
             "models on ImageNet, to be compared in their order, not their size.\n",
    .examples = "  ijepa ablate samples/configs/ablate-fashion-mnist.yaml --list\n"
                "  ijepa ablate samples/configs/ablate-fashion-mnist.yaml --tables mask,targets --out runs/ablation\n",
    .run = run,
};
