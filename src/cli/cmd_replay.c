/* ijepa replay       layer: cli; uses: ijepa.h */
#include "cli.h"

#include <string.h>

static void print_table(const ijepa_replay_result *r) {
    printf("%s\n%s\nprecision %s\n\n", r->device, r->driver, r->rungs);
    printf("%-40s %8s %12s %12s %12s  %s\n", "tensors", "count", "largest abs", "relative L2", "tolerance", "verdict");
    for (int i = 0; i < r->group_count; i++) {
        const ijepa_replay_row *g = &r->groups[i];
        printf("%-40s %8d %12.3e %12.3e %12.1e  %s\n", g->name, g->tensors, g->max_abs, g->rel_l2, g->tolerance,
               g->pass ? "agrees" : "DIFFERS");
    }
    for (int i = 0; i < r->tensor_count; i++) {
        const ijepa_replay_row *t = &r->tensors[i];
        if (!t->pass)
            printf("DIFFERS  %s: relative L2 error %.3e, tolerance %.1e, largest absolute error %.3e\n", t->name, t->rel_l2, t->tolerance,
                   t->max_abs);
    }
    bool agrees = true;
    for (int i = 0; i < r->tensor_count; i++) agrees &= r->tensors[i].pass;
    printf("%s: %d tensors\n", agrees ? "agrees" : "DIFFERS", r->tensor_count);
    if (r->validation_messages)
        printf("FAILS for the validation layers' %d message%s, the first: %s\n", r->validation_messages,
               r->validation_messages == 1 ? "" : "s", r->validation_message);
}

static bool write_json(const char *path, const ijepa_replay_result *r) {
    cli_json json = {.file = strcmp(path, "-") == 0 ? stdout : fopen(path, "w")};
    if (!json.file) return false;
    json_open(&json, NULL, '{');
    json_bool(&json, "pass", r->pass);
    json_text(&json, "device", r->device);
    json_text(&json, "driver", r->driver);
    json_text(&json, "precision", r->precision);
    json_number(&json, "validation_messages", r->validation_messages);
    json_text(&json, "validation_message", r->validation_message);
    json_open(&json, "tensors", '{');
    for (int i = 0; i < r->tensor_count; i++) {
        json_open(&json, r->tensors[i].name, '{');
        json_number(&json, "max_abs", r->tensors[i].max_abs);
        json_number(&json, "rel_l2", r->tensors[i].rel_l2);
        json_number(&json, "tol", r->tensors[i].tolerance);
        json_close(&json, '}');
    }
    json_close(&json, '}');
    json_close(&json, '}');
    bool written = fflush(json.file) == 0 && !ferror(json.file);
    if (json.file != stdout && fclose(json.file) != 0) written = false;
    return written;
}

static int run(const cli_environment *environment, int argc, char **argv) {
    cli_common common = {0};
    const char *precision = "f32", *json = NULL;
    const cli_option options[] = {
        {"--precision", "P", "arithmetic to replay in: f32, f16, bf16, auto", "f32", CLI_TEXT, &precision, 0},
        {"--json", "OUT", "write every tensor's errors into this file; - is standard output", NULL, CLI_TEXT, &json, 0},
        CLI_OPTION_DEVICE(common),
        CLI_OPTION_OFF(common),
        CLI_OPTION_VALIDATION(common),
    };
    int operands, code = cli_parse(&cmd_replay, options, CLI_COUNT(options), argc, argv, &operands);
    if (code >= 0) return code;
    static const char *const names[] = {"f32", "f16", "bf16", "auto"};
    bool known = false;
    for (int i = 0; i < CLI_COUNT(names); i++) known |= strcmp(precision, names[i]) == 0;
    if (!known) return cli_usage("replay", "--precision %s: there are f32, f16, bf16, auto", precision);
    ijepa_replay_result result;
    ijepa_error err;
    ijepa_replay_options ask = {.device = cli_device(&common, environment), .precision = precision};
    ijepa_status status = ijepa_replay(argv[1], &ask, &result, &err);
    if (status != IJEPA_OK) { /* a script must be able to tell "the numbers differ" from "there are no numbers" */
        cli_fail(&err);
        return status == IJEPA_ERROR_DEVICE || status == IJEPA_ERROR_MEMORY ? CLI_FAILED : CLI_USAGE;
    }
    code = result.pass ? CLI_DONE : CLI_FAILED;
    if (!json || strcmp(json, "-") != 0) print_table(&result);
    if (json && !write_json(json, &result)) {
        fprintf(stderr, "ijepa: %s cannot be written\n", json);
        code = CLI_FAILED;
    }
    ijepa_replay_free(&result);
    return code;
}

const cli_command cmd_replay = {
    .name = "replay",
    .purpose = "run a recorded training step on the device and compare every tensor",
    .operands = "FILE",
    .operands_min = 1,
    .operands_max = 1,
    .notes = "Exit code: 0 all within tolerance, 1 not, or the validation layers have something to say; 2 the file cannot be used.\n",
    .examples = "  ijepa replay tests/data/step.safetensors\n"
                "  ijepa replay tests/data/step.safetensors --precision f16\n"
                "  ijepa replay tests/data/step-ragged.safetensors --device 1 --json out.json\n",
    .run = run,
};
