/* ijepa selftest       layer: cli; uses: ijepa.h */
#include "cli.h"

#include <string.h>

#define FAMILIES_MAX 32

typedef struct family {
    const char *name;
    int passed, failed, skipped;
    double worst; /* error / tolerance of the passed cases */
    double milliseconds;
} family;

typedef struct tally {
    family families[FAMILIES_MAX];
    int count;
    bool verbose;
    cli_json *json;
} tally;

static void on_case(void *user, const ijepa_selftest_case *c) {
    tally *t = user;
    int i = 0;
    while (i < t->count && strcmp(t->families[i].name, c->family) != 0) i++;
    if (i == FAMILIES_MAX) i--;
    family *f = &t->families[i];
    if (i == t->count) f->name = c->family, t->count++;
    if (c->skipped)
        f->skipped++;
    else if (c->pass)
        f->passed++;
    else
        f->failed++;
    if (c->pass && c->error > f->worst) f->worst = c->error;
    f->milliseconds += c->milliseconds;
    if (t->json) {
        json_open(t->json, NULL, '{');
        json_text(t->json, "family", c->family);
        json_text(t->json, "op", c->op);
        json_text(t->json, "case", c->name);
        json_bool(t->json, "pass", c->pass);
        json_bool(t->json, "skipped", c->skipped);
        json_number(t->json, "error", c->error);
        json_number(t->json, "milliseconds", c->milliseconds);
        json_text(t->json, "text", c->text);
        json_close(t->json, '}');
    } else if (c->skipped) {
        if (t->verbose) printf("skipped %-26s %-22s this device cannot run it\n", c->op, c->name);
    } else if (!c->pass) {
        printf("FAILED  %s\n", c->text);
    } else if (t->verbose) {
        printf("passed  %-26s %-22s error %.3f of the tolerance, %.3f ms\n", c->op, c->name, c->error, c->milliseconds);
    }
    fflush(stdout);
}

static void print_summary(const tally *t, int passed, int failed) {
    printf("\n%-12s %8s %8s %8s %22s %12s\n", "family", "passed", "failed", "skipped", "largest error/tolerance", "device ms");
    for (int i = 0; i < t->count; i++)
        printf("%-12s %8d %8d %8d %22.3f %12.1f\n", t->families[i].name, t->families[i].passed, t->families[i].failed,
               t->families[i].skipped, t->families[i].worst, t->families[i].milliseconds);
    printf("%s: %d of %d cases agree with the reference in double precision.\n", failed ? "FAILED" : "passed", passed, passed + failed);
}

static int run(const cli_environment *environment, int argc, char **argv) {
    cli_common common = {0};
    const char *op = NULL;
    bool small = false, verbose = false;
    const cli_option options[] = {
        {"--op", "NAME", "only ops whose name contains this", "all", CLI_TEXT, &op, 0},
        {"--small", NULL, "leave out the large cases (slow devices)", NULL, CLI_FLAG, &small, 0},
        {"--verbose", NULL, "list every case", NULL, CLI_FLAG, &verbose, 0},
        CLI_OPTION_DEVICE(common),
        CLI_OPTION_OFF(common),
        CLI_OPTION_VALIDATION(common),
        CLI_OPTION_JSON(common),
    };
    int operands, code = cli_parse(&cmd_selftest, options, CLI_COUNT(options), argc, argv, &operands);
    if (code >= 0) return code;
    cli_json json = {.file = stdout};
    tally t = {.verbose = verbose, .json = common.json ? &json : NULL};
    ijepa_selftest_options ask = {.device = cli_device(&common, environment), .op = op, .small = small, .on_case = on_case, .user = &t};
    int passed = 0, failed = 0;
    ijepa_error err;
    if (common.json) json_open(&json, NULL, '{'), json_open(&json, "cases", '[');
    ijepa_status status = ijepa_selftest(&ask, &passed, &failed, &err);
    if (common.json) {
        json_close(&json, ']');
        json_integer(&json, "passed", passed);
        json_integer(&json, "failed", failed);
        json_bool(&json, "pass", status == IJEPA_OK && failed == 0);
        json_close(&json, '}');
    } else if (passed + failed) {
        print_summary(&t, passed, failed);
    }
    if (status != IJEPA_OK) return cli_fail(&err);
    return failed ? CLI_FAILED : CLI_DONE;
}

const cli_command cmd_selftest = {
    .name = "selftest",
    .purpose = "run every case of every op on the device and compare with the reference",
    .operands = "",
    .notes =
        "Each case has seeded inputs and poisoned outputs with guard bytes around them. It runs twice, the bits must be the same, and\n"
        "an element moved by four tolerances must be noticed.\n",
    .examples = "  ijepa selftest\n"
                "  ijepa selftest --device 1 --op attention --verbose\n",
    .run = run,
};
