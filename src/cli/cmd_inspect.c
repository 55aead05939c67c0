/* ijepa inspect       layer: cli; uses: ijepa.h */
#include "cli.h"

#include <string.h>

#define TENSORS_SHOWN 12 /* of a long list, unless all are asked for */
#define VALUES_SHOWN 12
#define KEY_COLUMNS 30
#define VALUE_COLUMNS 66

/* ---- text ---- */

/* A text of at most `columns` characters: a longer one loses its middle. */
static const char *shorten(const char *text, int columns, char out[128]) {
    int length = (int)strlen(text), half = (columns - 3) / 2;
    if (length <= columns)
        snprintf(out, 128, "%s", text);
    else
        snprintf(out, 128, "%.*s...%s", columns - 3 - half, text, text + length - half);
    return out;
}

static const char *shape_of(const ijepa_inspect_tensor *t, char out[128]) {
    int used = snprintf(out, 128, "[");
    for (int i = 0; i < t->dims && used < 100; i++) used += snprintf(out + used, (size_t)(128 - used), i ? ", %lld" : "%lld", (long long)t->shape[i]);
    snprintf(out + used, (size_t)(128 - used), "]");
    return out;
}

static void print_tensor(const ijepa_inspect_tensor *t) {
    char name[128], shape[128];
    shape_of(t, shape);
    if (!t->measured) {
        printf("  %-60s %-5s %s\n", shorten(t->name, 60, name), t->dtype, shape);
        return;
    }
    printf("  %-36s %-4s %-18s %8.3g %8.3g %8.3g %8.3g\n", shorten(t->name, 36, name), t->dtype, shape, t->mean, t->std, t->min, t->max);
    if (t->nans || t->infinities) printf("    not finite: %lld NaN, %lld infinite\n", (long long)t->nans, (long long)t->infinities);
}

static void print_tensors(const ijepa_inspect_result *r, bool all) {
    char size[32];
    int64_t shown = all || r->tensors_listed <= TENSORS_SHOWN ? r->tensors_listed : TENSORS_SHOWN;
    printf("tensors: %lld, %lld numbers, %s\n", (long long)r->tensor_count, (long long)r->elements, text_bytes(r->bytes, size));
    if (shown && r->tensors[0].measured) printf("  %-36s %-4s %-18s %8s %8s %8s %8s\n", "", "", "", "mean", "std", "min", "max");
    for (int64_t i = 0; i < shown; i++) print_tensor(&r->tensors[i]);
    if (shown < r->tensor_count) printf("  and %lld more%s\n", (long long)(r->tensor_count - shown), shown < r->tensors_listed ? " (--tensors)" : "");
}

static void print_value(const ijepa_inspect_value *v, bool full) {
    char key[128], text[128];
    const char *end = strchr(v->text, '\n');
    if (full && end) {
        printf("  %s\n", v->key);
        for (const char *line = v->text; *line; line = *end ? end + 1 : end) {
            end = line + strcspn(line, "\n");
            printf("    %.*s\n", (int)(end - line), line);
        }
        return;
    }
    int lines = 0;
    for (const char *c = v->text; *c; c++) lines += *c == '\n';
    printf("  %-*s ", KEY_COLUMNS, full ? v->key : shorten(v->key, KEY_COLUMNS, key));
    if (lines > 1)
        printf("(%d lines: --values)\n", lines);
    else
        printf("%s\n", full ? v->text : shorten(v->text, VALUE_COLUMNS, text));
}

static void print_values(const ijepa_inspect_result *r, bool all) {
    if (!r->value_count) return;
    int64_t shown = all || r->values_listed <= VALUES_SHOWN ? r->values_listed : VALUES_SHOWN;
    printf("values: %lld\n", (long long)r->value_count);
    for (int64_t i = 0; i < shown; i++) print_value(&r->values[i], all);
    if (shown < r->value_count) printf("  and %lld more%s\n", (long long)(r->value_count - shown), shown < r->values_listed ? " (--values)" : "");
}

static void print_floats(const char *name, const float *values, int count) {
    printf("%s", name);
    for (int i = 0; i < count; i++) printf(" %.6g", (double)values[i]);
}

static void print_model(const ijepa_inspect_result *r) {
    const ijepa_model_info *m = &r->info;
    printf("encoder: width %d, %d blocks, %d heads, MLP %d, patches of %d x %d, images of %d x %d x %d, %lld parameters\n", m->dim, m->depth,
           m->heads, r->hidden, m->patch_size, m->patch_size, m->image_height, m->image_width, m->channels, (long long)m->parameters);
    if (r->predictor)
        printf("predictor: width %d, %d blocks, %d heads, %lld parameters\n", r->predictor_dim, r->predictor_depth, r->predictor_heads,
               (long long)r->predictor_parameters);
    printf("nets:%s%s%s%s\n", r->context ? " context encoder," : "", r->target ? " target encoder," : "", r->predictor ? " predictor," : "",
           r->moments ? " AdamW's moments" : " no optimiser state");
    if (m->step || r->epoch) printf("trained: %lld steps, %lld whole epochs\n", (long long)m->step, (long long)r->epoch);
    print_floats("pixels: mean", m->mean, m->channels);
    print_floats(", deviation", m->std, m->channels);
    printf("; LayerNorm eps %g\n", (double)r->norm_eps);
}

static void print_notes(const char *notes) {
    for (const char *line = notes, *end; *line; line = *end ? end + 1 : end) {
        end = line + strcspn(line, "\n");
        printf("note: %.*s\n", (int)(end - line), line);
    }
}

/* ---- JSON ---- */

static void json_tensor(cli_json *json, const ijepa_inspect_tensor *t) {
    json_open(json, NULL, '{');
    json_text(json, "name", t->name);
    json_text(json, "dtype", t->dtype);
    json_open(json, "shape", '[');
    for (int i = 0; i < t->dims; i++) json_integer(json, NULL, t->shape[i]);
    json_close(json, ']');
    if (t->measured) {
        json_number(json, "mean", t->mean), json_number(json, "std", t->std);
        json_number(json, "min", t->min), json_number(json, "max", t->max);
        json_integer(json, "nans", t->nans), json_integer(json, "infinities", t->infinities);
    }
    json_close(json, '}');
}

static void json_floats(cli_json *json, const char *key, const float *values, int count) {
    json_open(json, key, '[');
    for (int i = 0; i < count; i++) json_number(json, NULL, (double)values[i]);
    json_close(json, ']');
}

static void json_model(cli_json *json, const ijepa_inspect_result *r) {
    const ijepa_model_info *m = &r->info;
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = {{"image_height", m->image_height}, {"image_width", m->image_width},
                   {"channels", m->channels},         {"patch_size", m->patch_size},
                   {"dim", m->dim},                   {"depth", m->depth},
                   {"heads", m->heads},               {"hidden", r->hidden},
                   {"parameters", m->parameters},     {"predictor_dim", r->predictor_dim},
                   {"predictor_depth", r->predictor_depth}, {"predictor_heads", r->predictor_heads},
                   {"predictor_parameters", r->predictor_parameters}, {"step", m->step},
                   {"epoch", r->epoch}};
    json_open(json, "model", '{');
    for (int i = 0; i < CLI_COUNT(numbers); i++) json_integer(json, numbers[i].key, numbers[i].value);
    json_bool(json, "context", r->context), json_bool(json, "target", r->target);
    json_bool(json, "predictor", r->predictor), json_bool(json, "moments", r->moments);
    json_number(json, "norm_eps", (double)r->norm_eps);
    json_floats(json, "mean", m->mean, m->channels);
    json_floats(json, "std", m->std, m->channels);
    json_close(json, '}');
}

static void print_json(const ijepa_inspect_result *r) {
    cli_json json = {.file = stdout};
    json_open(&json, NULL, '{');
    json_text(&json, "path", r->path);
    json_text(&json, "what", r->what);
    json_text(&json, "format", r->format);
    json_text(&json, "notes", r->notes);
    if (r->model) json_model(&json, r);
    json_integer(&json, "tensor_count", r->tensor_count);
    json_integer(&json, "elements", r->elements);
    json_integer(&json, "bytes", (int64_t)r->bytes);
    json_open(&json, "tensors", '[');
    for (int64_t i = 0; i < r->tensors_listed; i++) json_tensor(&json, &r->tensors[i]);
    json_close(&json, ']');
    json_open(&json, "values", '{');
    for (int64_t i = 0; i < r->values_listed; i++) json_text(&json, r->values[i].key, r->values[i].text);
    json_close(&json, '}');
    json_close(&json, '}');
}

/* ---- the command ---- */

static int run(const cli_environment *environment, int argc, char **argv) {
    (void)environment;
    bool json = false, tensors = false, values = false;
    ijepa_inspect_options ask = {.progress = cli_progress, .stop = cli_stopped};
    const cli_option options[] = {
        {"--tensors", NULL, "list all tensors, not the first of many", NULL, CLI_FLAG, &tensors, 0},
        {"--stats", NULL, "mean, deviation, least and greatest number of each tensor, and how many are not finite", NULL, CLI_FLAG, &ask.stats, 0},
        {"--values", NULL, "all that is no tensor, in full: configuration, metadata", NULL, CLI_FLAG, &values, 0},
        {"--json", NULL, "print JSON instead of text", NULL, CLI_FLAG, &json, 0},
    };
    int operands, code = cli_parse(&cmd_inspect, options, CLI_COUNT(options), argc, argv, &operands);
    if (code >= 0) return code;
    ijepa_inspect_result result;
    ijepa_error err;
    cli_catch_signals();
    ijepa_status status = ijepa_inspect(argv[1], &ask, &result, &err);
    cli_progress_end();
    if (status == IJEPA_ERROR_STOPPED) return cli_stop_code();
    if (status != IJEPA_OK) return cli_fail(&err);
    if (json) {
        print_json(&result);
    } else {
        printf(result.model ? "%s: %s\n" : "%s: %s (%s)\n", result.path, result.what, result.format);
        if (result.model) print_model(&result);
        print_notes(result.notes);
        print_values(&result, values);
        print_tensors(&result, tensors);
    }
    ijepa_inspect_free(&result);
    return CLI_DONE;
}

const cli_command cmd_inspect = {
    .name = "inspect",
    .purpose = "say what a file is: which model, its sizes, tensors, settings",
    .operands = "FILE|FOLDER",
    .operands_min = 1,
    .operands_max = 1,
    .notes = "Takes all that the other commands take for a model (of a run folder its newest checkpoint), and any safetensors, PyTorch or\n"
             ".npy file. Nothing in a file is ever executed: of a pickle only tensors, numbers, texts, lists and dicts are read, and anything\n"
             "else in it is an error that names it. No device is needed.\n",
    .examples = "  ijepa inspect runs/photos\n"
                "  ijepa inspect IN1K-vit.h.14-300e.pth.tar --tensors --stats\n"
                "  ijepa inspect photos-vit --json\n",
    .run = run,
};
