/* ijepa bench matmul | attention | ops | step       layer: cli; uses: ijepa.h */
#include "bench_output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = {"matmul", "attention", "ops", "step"};

/* What was asked for, with the files that the rows go to. */
typedef struct request {
    ijepa_bench_options options;
    cli_texts assignments;
    const char *config_path, *tsv, *png;
    bool json, verbose;
} request;

static void on_row(void *user, const ijepa_bench_row *row) { bench_add(user, row); }

static int cannot_write(const char *path) {
    fflush(stdout);
    fprintf(stderr, "ijepa: %s: %s\n", path, strerror(errno ? errno : EIO));
    return CLI_FAILED;
}

/* Everything that was measured is kept, also when the run then failed. */
static int measure(const request *r, bench_table *t) {
    ijepa_bench_summary summary = {.precision = ""};
    ijepa_bench_options ask = r->options;
    ijepa_error err, picture_err;
    ask.on_row = on_row, ask.user = t;
    ijepa_status status = ijepa_bench(&ask, &summary, &err);
    if (t->json)
        bench_json(t, &summary);
    else
        bench_finish(t, &summary, status == IJEPA_OK);
    errno = 0;
    if (t->tsv && !bench_tsv(t->tsv, t, &summary.roof)) return cannot_write(r->tsv);
    if (r->png && t->count && ijepa_draw_bench(t->rows, t->count, &summary, r->png, &picture_err) != IJEPA_OK)
        return cli_fail(&picture_err);
    return status == IJEPA_OK ? CLI_DONE : cli_fail(&err);
}

static int start(request *r, bench_kind kind) {
    ijepa_error err;
    bench_table t = {
        .kind = kind, .json = r->json, .verbose = r->verbose, .baseline = r->options.baseline && strcmp(r->options.baseline, "none") != 0};
    if (r->config_path && cli_config(r->config_path, &r->assignments, &r->options.config, &err) != IJEPA_OK) return cli_fail(&err);
    if (r->tsv && !(t.tsv = fopen(r->tsv, "w"))) {
        ijepa_config_destroy(r->options.config);
        return cannot_write(r->tsv);
    }
    int code = measure(r, &t);
    if (t.tsv && fclose(t.tsv) != 0) code = cannot_write(r->tsv);
    free(t.rows);
    ijepa_config_destroy(r->options.config);
    return code;
}

/* Options that belong together, and those that a kind does not have. Returns -1 to go on. */
static int check(const request *r, bench_kind kind) {
    const ijepa_bench_options *o = &r->options;
    const char *what = kinds[kind];
    bool shapes = kind == BENCH_MATMUL || kind == BENCH_ATTENTION;
    if (kind == BENCH_STEP && !r->config_path) return cli_usage("bench", "step needs a configuration: ijepa bench step CONFIG.yaml");
    if (kind == BENCH_OPS && r->config_path)
        return cli_usage("bench", "ops takes no configuration: \"%s\" is one word too many", r->config_path);
    if (!shapes && (o->model || o->element || o->kernel || o->baseline || o->batch))
        return cli_usage("bench", "%s has no --model, --batch, --element, --kernel or --baseline", what);
    if (r->assignments.count && !r->config_path) return cli_usage("bench", "--set changes a configuration, and none is given");
    if ((o->m || o->n || o->k) && !(o->m && o->n && o->k)) return cli_usage("bench", "--m, --n and --k go together");
    if (o->m && (kind != BENCH_MATMUL || o->model || r->config_path))
        return cli_usage("bench", "--m, --n and --k are a shape of matmul by themselves");
    if (o->model && r->config_path) return cli_usage("bench", "--model and a configuration exclude each other");
    if (o->batch && !o->model) return cli_usage("bench", "--batch goes with --model");
    if (o->baseline_library && !o->baseline) return cli_usage("bench", "--baseline-library goes with --baseline");
    if (o->op && kind != BENCH_OPS) return cli_usage("bench", "--op is an option of ops");
    return -1;
}

static int run(const cli_environment *environment, int argc, char **argv) {
    cli_common common = {0};
    request r = {0};
    ijepa_bench_options *o = &r.options;
    int64_t runs = 0, batch = 0;
    const cli_option options[] = {
        {"--m", "M", "matmul: rows of the result, in all three forms", "a table of shapes", CLI_INTEGER, &o->m, 1},
        {"--n", "N", "matmul: columns of the result", NULL, CLI_INTEGER, &o->n, 1},
        {"--k", "K", "matmul: length of the sums", NULL, CLI_INTEGER, &o->k, 1},
        {"--model", "NAME", "matmul, attention: shapes of a preset as published", "GPU: vit_base, vit_large, vit_huge", CLI_TEXT, &o->model,
         0},
        {"--batch", "N", "matmul, attention: images of a pass, with --model", "as published: 128", CLI_INTEGER, &batch, 1},
        {"--element", "E", "matmul, attention: f32, f16, bf16 or all", "f32", CLI_TEXT, &o->element, 0},
        {"--kernel", "K", "matmul: auto, lane, vector, tile, coopmat, coopmat2; attention: auto, row, coopmat; or all", "auto", CLI_TEXT,
         &o->kernel, 0},
        {"--baseline", "B", "matmul: openblas, cublas or none, loaded at run time, timed in turn", "none", CLI_TEXT, &o->baseline, 0},
        {"--baseline-library", "FILE", "the baseline's library", "the system's", CLI_TEXT, &o->baseline_library, 0},
        {"--op", "NAME", "ops: only those whose name contains this", "all", CLI_TEXT, &o->op, 0},
        {"--set", "KEY=VALUE", "change the configuration; may be given again", NULL, CLI_TEXTS, &r.assignments, 0},
        {"--runs", "N", "runs that are timed, the median counts", "15", CLI_INTEGER, &runs, 1},
        {"--tsv", "FILE", "write the rows tab-separated", NULL, CLI_TEXT, &r.tsv, 0},
        {"--png", "FILE", "draw them: speed against the baseline, and the roofline", NULL, CLI_TEXT, &r.png, 0},
        {"--verbose", NULL, "say how each was computed, and what bounds it", NULL, CLI_FLAG, &r.verbose, 0},
        CLI_OPTION_DEVICE(common),
        CLI_OPTION_OFF(common),
        CLI_OPTION_VALIDATION(common),
        CLI_OPTION_JSON(common),
    };
    int operands, kind = 0, code = cli_parse(&cmd_bench, options, CLI_COUNT(options), argc, argv, &operands);
    if (code >= 0) return code;
    while (kind < CLI_COUNT(kinds) && strcmp(argv[1], kinds[kind]) != 0) kind++;
    if (kind == CLI_COUNT(kinds)) {
        const char *nearest = cli_nearest(argv[1], kinds, CLI_COUNT(kinds));
        return cli_usage("bench", "no benchmark is called \"%s\"; %s%s", argv[1],
                         nearest ? "did you mean " : "there are matmul, attention, ops, step", nearest ? nearest : "");
    }
    if (runs > 10000) return cli_usage("bench", "--runs %lld: it must be at most 10000", (long long)runs);
    if (batch > 65536) return cli_usage("bench", "--batch %lld: it must be at most 65536", (long long)batch);
    r.config_path = operands > 1 ? argv[2] : NULL;
    r.json = common.json;
    o->device = cli_device(&common, environment);
    o->what = kinds[kind], o->runs = (int)runs, o->batch = (int)batch, o->by_detail = r.verbose;
    code = check(&r, (bench_kind)kind);
    return code >= 0 ? code : start(&r, (bench_kind)kind);
}

const cli_command cmd_bench = {
    .name = "bench",
    .purpose = "time matrix products, attention, all ops, or a whole training step",
    .operands = "matmul|attention|ops|step [CONFIG.yaml]",
    .operands_min = 1,
    .operands_max = 2,
    .notes = "Every result is verified before it is timed. Times are the device's own where it has timestamps. Token rows of matmul and\n"
             "attention are those of a batch with the configuration's masks. `of roof` is the share of what this run saw the device do at\n"
             "best: max(flops / the fastest product, bytes / the fastest copy) over the time. `step` runs on noise and needs no data set;\n"
             "its table has one row for each op and part of the model.\n",
    .examples = "  ijepa bench matmul --baseline openblas\n"
                "  ijepa bench matmul --model vit_huge --element all --kernel all --baseline cublas --tsv h14.tsv --png h14.png\n"
                "  ijepa bench attention --model vit_base --element f16 --kernel all\n"
                "  ijepa bench ops --op attention\n"
                "  ijepa bench step samples/configs/fashion-mnist.yaml --set data.batch_size=64 --verbose\n",
    .run = run,
};
