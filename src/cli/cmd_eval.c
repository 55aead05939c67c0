/* ijepa eval       layer: cli; uses: ijepa.h */
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const methods[][2] = {{"knn", "kNN"},
                                         {"linear", "linear probe"},
                                         {"logistic", "logistic regression"},
                                         {"low-shot", "low-shot fine-tuning"},
                                         {"fine-tune", "fine-tuning"},
                                         {"partial", "partial fine-tuning"}};
static const char *const features[][2] = {{"trained", "trained"}, {"random", "random initialisation"}, {"pixels", "raw pixels"}};

/* ---- the table ---- */

static void print_head(const ijepa_eval_row *row, const bool has[3]) {
    printf("%s: %d classes, %lld training images, %lld test images\n\n", row->task, row->classes, (long long)row->train_images,
           (long long)row->test_images);
    printf("%-34s", "accuracy in % [95 % interval]");
    for (int f = 0; f < CLI_COUNT(features); f++)
        if (has[f]) printf("%-23s", features[f][1]);
    printf("paper\n");
}

/* A method's line, and the mean over its settings where there was a choice. */
static void print_method(const ijepa_eval_result *r, const char *task, int method, const bool has[3]) {
    const ijepa_eval_row *rows[3], *any = NULL;
    for (int f = 0; f < CLI_COUNT(features); f++) {
        rows[f] = ijepa_eval_find(r, task, methods[method][0], features[f][0]);
        if (!any) any = rows[f];
    }
    if (!any) return;
    char label[80];
    if (any->settings > 1)
        snprintf(label, sizeof label, "%s, the chosen of %d", methods[method][1], any->settings);
    else if (any->seeds > 1)
        snprintf(label, sizeof label, "%s, %d seeds", methods[method][1], any->seeds);
    else
        snprintf(label, sizeof label, "%s", methods[method][1]);
    printf("%-34s", label);
    for (int f = 0; f < CLI_COUNT(features); f++) {
        char cell[64] = "-";
        if (rows[f]) snprintf(cell, sizeof cell, "%5.2f [%5.2f, %5.2f]", rows[f]->percent, rows[f]->low, rows[f]->high);
        if (has[f]) printf("%-23s", cell);
    }
    printf("%s\n", any->paper);
    if (any->settings < 2) return;
    printf("%-34s", "  mean of them");
    for (int f = 0; f < CLI_COUNT(features); f++) {
        char cell[64] = "-";
        if (rows[f]) snprintf(cell, sizeof cell, "%5.2f", rows[f]->mean);
        if (has[f]) printf("%-23s", cell);
    }
    printf("\n");
}

static void print_task(const ijepa_eval_result *r, int first) {
    const char *task = r->rows[first].task;
    bool has[3] = {false, false, false};
    for (int i = first; i < r->count; i++)
        for (int f = 0; f < CLI_COUNT(features); f++)
            has[f] |= strcmp(r->rows[i].task, task) == 0 && strcmp(r->rows[i].features, features[f][0]) == 0;
    print_head(&r->rows[first], has);
    for (int m = 0; m < CLI_COUNT(methods); m++) print_method(r, task, m, has);
    printf("\nsettings\n");
    for (int i = first; i < r->count; i++) {
        const ijepa_eval_row *row = &r->rows[i];
        if (row->chosen && strcmp(row->task, task) == 0) printf("  %-10s %-8s %s\n", row->method, row->features, row->setting);
    }
    printf("\n");
}

static void print_table(const ijepa_eval_result *r) {
    for (int i = 0; i < r->count; i++) {
        bool new_task = true;
        for (int k = 0; k < i && new_task; k++) new_task = strcmp(r->rows[k].task, r->rows[i].task) != 0;
        if (new_task) print_task(r, i);
    }
    char time[32];
    if (r->damaged_images) printf("%lld images could not be decoded and were left out\n", (long long)r->damaged_images);
    printf("step %lld, %s, seed %llu; %s in all", (long long)r->step, r->precision, (unsigned long long)r->seed,
           text_duration(r->seconds, time));
    if (r->images_per_second > 0)
        printf(", %.1f images/s encoded\n", r->images_per_second);
    else
        printf(", features kept from before\n");
}

/* ---- the command ---- */

static const char notes[] =
    "Tasks: classes (the images' own labels), count, dist, shape, colour (scenes rendered by ijepa scenes, labels.csv).\n"
    "Methods\n"
    "  knn        weighted nearest neighbours, k of 10, 20, 100, 200\n"
    "  linear     the paper's probe: last layer and last four, with and without BatchNorm, SGD and LARS, all rates and decays at once\n"
    "  logistic   logistic regression by L-BFGS\n"
    "  low-shot   fine-tuning on a fraction of the training images, several draws\n"
    "  fine-tune  the whole encoder on all training images\n"
    "  partial    its last blocks\n"
    "A held-out part of the training images chooses every setting; the test images only report. Beside the trained encoder stand its own\n"
    "random initialisation and raw pixels: what training has added is the difference. Results are kept in RUN/eval.json, features in "
    "RUN/features.\n";

static int run(const cli_environment *environment, int argc, char **argv) {
    cli_common common = {0};
    ijepa_eval_options ask = {0};
    const char *fraction = NULL;
    int64_t batch = 0, seed = 0, epochs = 0, tune_epochs = 0, seeds = 0, blocks = 0;
    const cli_option options[] = {
        {"--all", NULL, "tasks classes, count, dist; every method", NULL, CLI_FLAG, &ask.all, 0},
        {"--tasks", "LIST", "what is to be told apart", "classes", CLI_TEXT, &ask.tasks, 0},
        {"--methods", "LIST", "how", "knn,linear,logistic", CLI_TEXT, &ask.methods, 0},
        {"--features", "LIST", "of: trained, random, pixels", "all three", CLI_TEXT, &ask.features, 0},
        {"--train", "DIR", "labelled images to learn from: folder or IDX file", "the run's own data", CLI_TEXT, &ask.train, 0},
        {"--test", "DIR", "labelled images to classify", "its test part, where it has one", CLI_TEXT, &ask.test, 0},
        {"--scenes", "DIR", "rendered scenes, for count and dist", "RUN/scenes, rendered when needed", CLI_TEXT, &ask.scenes, 0},
        {"--train-limit", "N", "use N images of a seeded shuffle", "all", CLI_INTEGER, &ask.train_limit, 1},
        {"--test-limit", "N", "the same for the test images", "all", CLI_INTEGER, &ask.test_limit, 1},
        {"--encoder", "E", "target or context", "target", CLI_TEXT, &ask.encoder, 0},
        {"--epochs", "N", "of the linear probes", "50", CLI_INTEGER, &epochs, 1},
        {"--tune-epochs", "N", "of fine-tuning", "50", CLI_INTEGER, &tune_epochs, 1},
        {"--fraction", "F", "of the training images, low-shot", "0.01", CLI_TEXT, &fraction, 0},
        {"--seeds", "N", "draws of a low-shot set", "3", CLI_INTEGER, &seeds, 1},
        {"--blocks", "N", "last blocks that partial fine-tuning trains", "1", CLI_INTEGER, &blocks, 1},
        {"--batch", "N", "images encoded at once", "32", CLI_INTEGER, &batch, 1},
        {"--precision", "P", "of the encoder: auto, f32, f16, bf16", "auto", CLI_TEXT, &ask.precision, 0},
        {"--seed", "N", "of shuffles, held-out parts, low-shot draws", "0", CLI_INTEGER, &seed, 0},
        {"--no-files", NULL, "keep neither features nor eval.json", NULL, CLI_FLAG, &ask.no_files, 0},
        CLI_OPTION_DEVICE(common),
        CLI_OPTION_OFF(common),
        CLI_OPTION_VALIDATION(common),
        CLI_OPTION_JSON(common),
    };
    int operands, code = cli_parse(&cmd_eval, options, CLI_COUNT(options), argc, argv, &operands);
    if (code >= 0) return code;
    if (epochs > 1000000 || tune_epochs > 1000000 || seeds > 1000 || blocks > 1000 || batch > 65536)
        return cli_usage("eval", "--epochs and --tune-epochs are at most 1000000, --seeds and --blocks 1000, --batch 65536");
    if (fraction) {
        char *end;
        ask.fraction = strtod(fraction, &end);
        if (!*fraction || *end || !(ask.fraction > 0 && ask.fraction <= 1))
            return cli_usage("eval", "--fraction %s: a number above 0, at most 1, is expected", fraction);
    }
    ask.device = cli_device(&common, environment);
    ask.probe_epochs = (int)epochs, ask.finetune_epochs = (int)tune_epochs, ask.seeds = (int)seeds, ask.blocks = (int)blocks;
    ask.batch = (int)batch, ask.seed = (uint64_t)seed;
    ask.progress = cli_progress, ask.message = cli_message, ask.stop = cli_stopped;
    ijepa_eval_result result;
    ijepa_error err;
    cli_catch_signals();
    ijepa_status status = ijepa_eval(argv[1], &ask, &result, &err);
    cli_progress_end();
    if (status == IJEPA_ERROR_STOPPED) return cli_stop_code();
    if (status != IJEPA_OK) return cli_fail(&err);
    if (common.json)
        fputs(result.json, stdout);
    else
        print_table(&result);
    ijepa_eval_free(&result);
    return CLI_DONE;
}

const cli_command cmd_eval = {
    .name = "eval",
    .purpose = "the paper's evaluation: kNN, linear probes, logistic regression, low-shot, fine-tuning, counting, depth",
    .operands = "RUN|CHECKPOINT",
    .operands_min = 1,
    .operands_max = 1,
    .notes = notes,
    .examples = "  ijepa eval runs/fashion\n"
                "  ijepa eval runs/fashion --all\n"
                "  ijepa eval runs/photos --train photos/train --test photos/val --methods knn,low-shot --fraction 0.1 --json\n"
                "  ijepa eval runs/fashion --tasks count,dist --scenes scenes\n",
    .run = run,
};
