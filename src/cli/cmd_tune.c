/* ijepa tune       layer: cli; uses: ijepa.h */
#include "cli.h"

static void on_row(void *user, const ijepa_tune_row *row) {
    cli_json *json = user;
    if (json) {
        json_open(json, NULL, '{');
        json_text(json, "product", row->product);
        json_text(json, "choice", row->choice);
        json_number(json, "milliseconds", row->milliseconds);
        json_text(json, "default", row->fallback);
        json_number(json, "default_milliseconds", row->fallback_milliseconds);
        json_integer(json, "candidates", row->candidates);
        json_integer(json, "wrong", row->wrong);
        json_integer(json, "failed", row->failed);
        json_close(json, '}');
        return;
    }
    printf("%-48s %9.3f ms  %-40s %5.2fx of the default", row->product, row->milliseconds, row->choice,
           row->fallback_milliseconds / row->milliseconds);
    if (row->wrong) printf("  %d computed WRONGLY and left out", row->wrong);
    if (row->failed) printf("  %d refused by the driver", row->failed);
    printf("\n");
    fflush(stdout);
}

static int run(const cli_environment *environment, int argc, char **argv) {
    cli_common common = {0};
    cli_texts assignments = {0};
    bool retune = false;
    const cli_option options[] = {
        {"--retune", NULL, "measure again what is known already", NULL, CLI_FLAG, &retune, 0},
        {"--set", "KEY=VALUE", "change the configuration; may be given again", NULL, CLI_TEXTS, &assignments, 0},
        CLI_OPTION_DEVICE(common),
        CLI_OPTION_OFF(common),
        CLI_OPTION_VALIDATION(common),
        CLI_OPTION_JSON(common),
    };
    int operands, tuned = 0, code = cli_parse(&cmd_tune, options, CLI_COUNT(options), argc, argv, &operands);
    if (code >= 0) return code;
    ijepa_error err;
    ijepa_config *config;
    if (cli_config(argv[1], &assignments, &config, &err) != IJEPA_OK) return cli_fail(&err);
    cli_json json = {.file = stdout};
    ijepa_tune_options ask = {
        .device = cli_device(&common, environment), .retune = retune, .on_row = on_row, .user = common.json ? &json : NULL};
    if (common.json) json_open(&json, NULL, '[');
    ijepa_status status = ijepa_tune(config, &ask, &tuned, &err);
    if (common.json) json_close(&json, ']');
    ijepa_config_destroy(config);
    if (status != IJEPA_OK) return cli_fail(&err);
    if (!common.json) {
        if (tuned == 0)
            printf("nothing to do: every product of this model is tuned for this device and driver (--retune measures again)\n");
        if (!ask.device.cache_folder) printf("not kept: no cache folder (see: ijepa help environment)\n");
    }
    return CLI_DONE;
}

const cli_command cmd_tune = {
    .name = "tune",
    .purpose = "time the kernels for a model's matrix products on this device and keep the fastest",
    .operands = "CONFIG.yaml",
    .operands_min = 1,
    .operands_max = 1,
    .notes = "Training does this by itself the first time on a GPU. Each candidate's numbers are verified before it may win. Results are "
             "kept by\n"
             "device, driver version and kernels in $IJEPA_CACHE.\n",
    .examples = "  ijepa tune samples/configs/in1k_vith14_ep300.yaml\n"
                "  ijepa tune samples/configs/photos.yaml --set data.batch_size=32 --retune\n",
    .run = run,
};
