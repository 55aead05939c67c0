/* ijepa eval       layer: cli; uses: ijepa.h */
#include "cli.h"

#include <string.h>
#include <unistd.h>

static void on_progress(void *user, const char *what, int64_t done, int64_t total) {
    (void)user;
    fprintf(stderr, "\r\033[K%s %lld/%lld", what, (long long)done, (long long)total);
    if (done == total) fprintf(stderr, "\r\033[K");
    fflush(stderr);
}

static void print_table(const ijepa_eval_result *r) {
    printf("%lld training images, %lld test images, %lld classes; kNN: k %d, temperature %g; seed %llu\n\n", (long long)r->train_images,
           (long long)r->test_images, (long long)r->classes, r->knn_k, r->knn_temperature, (unsigned long long)r->seed);
    printf("%-26s %5s  %-23s %-23s\n", "features", "dim", "kNN % [95 % interval]", "linear % [95 % interval]");
    for (int i = 0; i < r->rows; i++) {
        const ijepa_eval_row *row = &r->row[i];
        printf("%-26s %5d  %5.2f [%5.2f, %5.2f]    %5.2f [%5.2f, %5.2f]\n", row->features, row->dim, row->knn, row->knn_low, row->knn_high,
               row->linear, row->linear_low, row->linear_high);
    }
    char time[32];
    if (r->damaged_images) printf("\n%lld images could not be decoded and were left out\n", (long long)r->damaged_images);
    printf("\n%s in all, %.1f images/s encoded\n", text_duration(r->seconds, time), r->images_per_second);
}

static void print_json(const ijepa_eval_result *r) {
    cli_json json = {.file = stdout};
    json_open(&json, NULL, '{');
    json_integer(&json, "train_images", r->train_images);
    json_integer(&json, "test_images", r->test_images);
    json_integer(&json, "damaged_images", r->damaged_images);
    json_integer(&json, "classes", r->classes);
    json_integer(&json, "knn_k", r->knn_k);
    json_number(&json, "knn_temperature", r->knn_temperature);
    json_integer(&json, "seed", (int64_t)r->seed);
    json_number(&json, "seconds", r->seconds);
    json_number(&json, "images_per_second", r->images_per_second);
    json_open(&json, "rows", '[');
    for (int i = 0; i < r->rows; i++) {
        const ijepa_eval_row *row = &r->row[i];
        json_open(&json, NULL, '{');
        json_text(&json, "features", row->features);
        json_integer(&json, "dim", row->dim);
        json_number(&json, "knn", row->knn);
        json_number(&json, "knn_low", row->knn_low);
        json_number(&json, "knn_high", row->knn_high);
        json_number(&json, "linear", row->linear);
        json_number(&json, "linear_low", row->linear_low);
        json_number(&json, "linear_high", row->linear_high);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_close(&json, '}');
}

static int run(const cli_environment *environment, int argc, char **argv) {
    cli_common common = {0};
    const char *train = NULL, *test = NULL;
    int64_t train_limit = 0, test_limit = 0, k = 0, iterations = 0, seed = 0, batch = 0;
    const cli_option options[] = {
        {"--train", "DIR", "labelled images to learn from: folder or IDX file", "the run's own data", CLI_TEXT, &train, 0},
        {"--test", "DIR", "labelled images to classify", "its test part, where it has one", CLI_TEXT, &test, 0},
        {"--train-limit", "N", "use N images of a seeded shuffle", "all", CLI_INTEGER, &train_limit, 1},
        {"--test-limit", "N", "the same for the test images", "all", CLI_INTEGER, &test_limit, 1},
        {"--k", "N", "neighbours that vote", "10", CLI_INTEGER, &k, 1},
        {"--probe-iterations", "N", "most of one fit of the linear probe", "100", CLI_INTEGER, &iterations, 1},
        {"--batch", "N", "images encoded at once", "32", CLI_INTEGER, &batch, 1},
        {"--seed", "N", "of the shuffle and the probe", "0", CLI_INTEGER, &seed, 0},
        CLI_OPTION_DEVICE(common),
        CLI_OPTION_VALIDATION(common),
        CLI_OPTION_JSON(common),
    };
    int operands, code = cli_parse(&cmd_eval, options, CLI_COUNT(options), argc, argv, &operands);
    if (code >= 0) return code;
    if (k > 1000000 || iterations > 1000000 || batch > 65536)
        return cli_usage("eval", "--k and --probe-iterations are at most 1000000, --batch 65536");
    ijepa_eval_options ask = {.device = cli_device(&common, environment),
                              .train = train,
                              .test = test,
                              .train_limit = train_limit,
                              .test_limit = test_limit,
                              .knn_k = (int)k,
                              .probe_iterations = (int)iterations,
                              .seed = (uint64_t)seed,
                              .batch = (int)batch,
                              .progress = isatty(STDERR_FILENO) ? on_progress : NULL};
    ijepa_eval_result result;
    ijepa_error err;
    ijepa_status status = ijepa_eval(argv[1], &ask, &result, &err);
    if (ask.progress) fprintf(stderr, "\r\033[K");
    if (status != IJEPA_OK) return cli_fail(&err);
    (common.json ? print_json : print_table)(&result);
    return CLI_DONE;
}

const cli_command cmd_eval = {
    .name = "eval",
    .purpose = "classify with frozen features: weighted kNN and a linear probe",
    .operands = "RUN|CHECKPOINT",
    .operands_min = 1,
    .operands_max = 1,
    .notes = "The trained target encoder stands beside its own random initialisation and raw pixels: what training has added is the "
             "difference.\n",
    .examples = "  ijepa eval runs/fashion\n"
                "  ijepa eval runs/photos --train photos/train --test photos/val --k 20 --json\n",
    .run = run,
};
