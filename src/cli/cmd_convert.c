/* ijepa convert       layer: cli; uses: ijepa.h */
#include "cli.h"

static void print_text(const ijepa_convert_result *r, const char *out) {
    char size[32];
    printf("%s: %s%s%s%s, %lld tensors, %lld parameters, %s", out, r->to, *r->encoder ? ", " : "", r->encoder, *r->encoder ? " encoder" : "",
           (long long)r->tensors, (long long)r->parameters, text_bytes(r->bytes, size));
    if (*r->license) printf(", license %s", r->license);
    printf("\n");
}

static void print_json(const ijepa_convert_result *r, const char *out) {
    cli_json json = {.file = stdout};
    json_open(&json, NULL, '{');
    json_text(&json, "out", out);
    json_text(&json, "to", r->to);
    json_text(&json, "encoder", r->encoder);
    json_integer(&json, "tensors", r->tensors);
    json_integer(&json, "parameters", r->parameters);
    json_integer(&json, "bytes", (int64_t)r->bytes);
    json_text(&json, "license", r->license);
    json_text(&json, "notes", r->notes);
    json_close(&json, '}');
}

static int run(const cli_environment *environment, int argc, char **argv) {
    (void)environment;
    bool json = false;
    ijepa_convert_options ask = {.progress = cli_progress, .stop = cli_stopped};
    const cli_option options[] = {
        {"--to", "F", "hf, safetensors or timm", "by OUT: .safetensors, else hf", CLI_TEXT, &ask.to, 0},
        {"--encoder", "E", "of hf and timm: target or context", "target", CLI_TEXT, &ask.encoder, 0},
        {"--dtype", "T", "of the weights: f32, f16, bf16", "f32", CLI_TEXT, &ask.dtype, 0},
        {"--license", "TEXT", "identifier for the model card: mit, cc-by-4.0", "the origin's; other for a run of your own", CLI_TEXT,
         &ask.license, 0},
        {"--overwrite", NULL, "replace OUT if it exists", NULL, CLI_FLAG, &ask.overwrite, 0},
        {"--json", NULL, "print JSON instead of a line", NULL, CLI_FLAG, &json, 0},
    };
    int operands, code = cli_parse(&cmd_convert, options, CLI_COUNT(options), argc, argv, &operands);
    if (code >= 0) return code;
    ijepa_convert_result result;
    ijepa_error err;
    cli_catch_signals();
    ijepa_status status = ijepa_convert(argv[1], argv[2], &ask, &result, &err);
    cli_progress_end();
    if (status == IJEPA_ERROR_STOPPED) {
        fprintf(stderr, "ijepa: stopped; nothing is written\n");
        return cli_stop_code();
    }
    if (status != IJEPA_OK) return cli_fail(&err);
    if (!json) fputs(result.notes, stderr);
    (json ? print_json : print_text)(&result, argv[2]);
    return CLI_DONE;
}

const cli_command cmd_convert = {
    .name = "convert",
    .purpose = "write a model for transformers, timm or PyTorch",
    .operands = "IN OUT",
    .operands_min = 2,
    .operands_max = 2,
    .notes = "IN is a run folder, a checkpoint, or any file of weights that the other commands take. OUT is a folder for transformers (hf) or\n"
             "timm, with a model card that has what was measured, or one .safetensors file with all nets by their released names, which\n"
             "samples/load_in_pytorch.py loads. Weights that come from published ones keep their licence. No device is needed.\n",
    .examples = "  ijepa convert runs/photos photos-vit --license mit\n"
                "  ijepa convert runs/photos photos.safetensors --dtype f16\n"
                "  ijepa convert IN1K-vit.h.14-300e.pth.tar vith14 --encoder context\n",
    .run = run,
};
