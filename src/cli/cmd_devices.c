/* ijepa devices       layer: cli; uses: ijepa.h */
#include "cli.h"

#define DEVICES_MAX 64

static void print_table(const ijepa_device_info *infos, int count) {
    for (int i = 0; i < count; i++) {
        const ijepa_device_info *d = &infos[i];
        char memory[32], unused[32], tensor[32];
        printf("%d%c %s (%s)\n", i, d->chosen ? '*' : ' ', d->name, d->kind);
        printf("     driver     %s, Vulkan %s\n", d->driver, d->api);
        printf("     memory     %s, %s free, tensors up to %s\n", text_bytes(d->memory_bytes, memory), text_bytes(d->free_bytes, unused),
               text_bytes(d->tensor_bytes_max, tensor));
        if (d->subgroup_min == d->subgroup_max)
            printf("     subgroup   %u lanes", d->subgroup_size);
        else
            printf("     subgroup   %u lanes (%u to %u)", d->subgroup_size, d->subgroup_min, d->subgroup_max);
        printf(", %s shared memory", text_bytes(d->shared_bytes, memory));
        printf(d->cores ? ", %u cores\n" : "\n", d->cores);
        printf("     matrices   %s\n", d->matrices[0] ? d->matrices : "no engine: scalar arithmetic");
        if (!d->usable) printf("     NOT usable: %s\n", d->why_not);
    }
    printf("* is taken when none is asked for (--device INDEX or part of a name).\n");
}

static void print_json(const ijepa_device_info *infos, int count) {
    cli_json json = {.file = stdout};
    json_open(&json, NULL, '[');
    for (int i = 0; i < count; i++) {
        const ijepa_device_info *d = &infos[i];
        json_open(&json, NULL, '{');
        json_integer(&json, "index", i);
        json_text(&json, "name", d->name);
        json_text(&json, "kind", d->kind);
        json_text(&json, "driver", d->driver);
        json_text(&json, "api", d->api);
        json_integer(&json, "memory_bytes", (int64_t)d->memory_bytes);
        json_integer(&json, "free_bytes", (int64_t)d->free_bytes);
        json_integer(&json, "tensor_bytes_max", (int64_t)d->tensor_bytes_max);
        json_integer(&json, "subgroup_size", d->subgroup_size);
        json_integer(&json, "shared_bytes", d->shared_bytes);
        json_integer(&json, "cores", d->cores);
        json_text(&json, "matrices", d->matrices);
        json_bool(&json, "usable", d->usable);
        json_text(&json, "why_not", d->why_not);
        json_bool(&json, "chosen", d->chosen);
        json_close(&json, '}');
    }
    json_close(&json, ']');
}

static int run(const cli_environment *environment, int argc, char **argv) {
    cli_common common = {0};
    const cli_option options[] = {CLI_OPTION_DEVICE(common), CLI_OPTION_VALIDATION(common), CLI_OPTION_JSON(common)};
    int operands, code = cli_parse(&cmd_devices, options, CLI_COUNT(options), argc, argv, &operands);
    if (code >= 0) return code;
    ijepa_device_info infos[DEVICES_MAX];
    int count = 0;
    ijepa_error err;
    ijepa_device_options device = cli_device(&common, environment);
    if (ijepa_devices(&device, infos, DEVICES_MAX, &count, &err) != IJEPA_OK) return cli_fail(&err);
    if (count > DEVICES_MAX) count = DEVICES_MAX;
    (common.json ? print_json : print_table)(infos, count);
    return CLI_DONE;
}

const cli_command cmd_devices = {
    .name = "devices",
    .purpose = "list the Vulkan devices of this machine and the one that is taken",
    .operands = "",
    .examples = "  ijepa devices\n"
                "  ijepa devices --device nvidia\n",
    .run = run,
};
