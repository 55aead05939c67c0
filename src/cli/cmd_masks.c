/* ijepa masks       layer: cli; uses: ijepa.h */
#include "cli.h"

static void print_table(const ijepa_masks_result *r, const char *folder) {
    int patches = r->grid_height * r->grid_width;
    printf("grid           %d x %d = %d patches, %d target block%s an image, %lld images\n", r->grid_height, r->grid_width, patches,
           r->blocks, r->blocks == 1 ? "" : "s", (long long)r->images);
    printf("%-14s %8s %8s %8s   of the patches\n", "", "mean", "least", "most");
    printf("%-14s %8.3f %8.3f %8.3f   (%.1f patches)\n", "context", r->context_mean, r->context_min, r->context_max,
           r->context_mean * patches);
    printf("%-14s %8.3f %8.3f %8.3f   (%.1f patches)\n", "target block", r->target_mean, r->target_min, r->target_max,
           r->target_mean * patches);
    printf("%-14s %8.3f\n", "any target", r->union_mean);
    printf("%-14s %8.3f                     in two or more blocks\n", "overlap", r->overlap_mean);
    printf("leaks          %lld images have a target patch in their context\n", (long long)r->leaks);
    printf("min_keep       %lld images have less context than mask.min_keep\n", (long long)r->below_min_keep);
    printf("never          %d patches never context, %d never target\n", r->never_context, r->never_target);
    if (folder) printf("pictures       %s/coverage.png, %s/examples.png\n", folder, folder);
}

static void print_json(const ijepa_masks_result *r) {
    cli_json json = {.file = stdout};
    json_open(&json, NULL, '{');
    json_integer(&json, "grid_height", r->grid_height);
    json_integer(&json, "grid_width", r->grid_width);
    json_integer(&json, "blocks", r->blocks);
    json_integer(&json, "images", r->images);
    json_number(&json, "context_mean", r->context_mean);
    json_number(&json, "context_min", r->context_min);
    json_number(&json, "context_max", r->context_max);
    json_number(&json, "target_mean", r->target_mean);
    json_number(&json, "target_min", r->target_min);
    json_number(&json, "target_max", r->target_max);
    json_number(&json, "union_mean", r->union_mean);
    json_number(&json, "overlap_mean", r->overlap_mean);
    json_integer(&json, "leaks", r->leaks);
    json_integer(&json, "below_min_keep", r->below_min_keep);
    json_integer(&json, "never_context", r->never_context);
    json_integer(&json, "never_target", r->never_target);
    json_close(&json, '}');
}

static int run(const cli_environment *environment, int argc, char **argv) {
    (void)environment; /* masks are measured on the host: the device gives the same bits */
    cli_common common = {0};
    cli_texts assignments = {0};
    const char *folder = NULL;
    int64_t batches = 100;
    const cli_option options[] = {
        {"--set", "KEY=VALUE", "change the configuration; may be given again", NULL, CLI_TEXTS, &assignments, 0},
        {"--out", "DIR", "write coverage.png and examples.png there", "no pictures", CLI_TEXT, &folder, 0},
        {"--batches", "N", "batches to draw", "100", CLI_INTEGER, &batches, 1},
        CLI_OPTION_JSON(common),
    };
    int operands, code = cli_parse(&cmd_masks, options, CLI_COUNT(options), argc, argv, &operands);
    if (code >= 0) return code;
    ijepa_error err;
    ijepa_config *config;
    ijepa_masks_result result;
    if (cli_config(argv[1], &assignments, &config, &err) != IJEPA_OK) return cli_fail(&err);
    ijepa_status status = ijepa_masks(config, batches, folder, &result, &err);
    ijepa_config_destroy(config);
    if (status != IJEPA_OK) return cli_fail(&err);
    if (common.json)
        print_json(&result);
    else
        print_table(&result, folder);
    return CLI_DONE;
}

const cli_command cmd_masks = {
    .name = "masks",
    .purpose = "measure and draw the masks of a configuration, before a run is paid for",
    .operands = "CONFIG.yaml",
    .operands_min = 1,
    .operands_max = 1,
    .examples = "  ijepa masks samples/configs/fashion-mnist.yaml --out masks\n"
                "  ijepa masks samples/configs/in1k_vith14_ep300.yaml --set mask.mode=official --batches 20\n",
    .run = run,
};
