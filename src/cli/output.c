/* Environment, JSON, and the small texts of the commands.       layer: cli; uses: ijepa.h */
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the environment ---- */

cli_environment cli_environment_read(void) {
    cli_environment environment = {0};
    const char *device = getenv("IJEPA_DEVICE"), *validation = getenv("IJEPA_VALIDATION"), *cache = getenv("IJEPA_CACHE");
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    const char *off = getenv("IJEPA_OFF");
    if (device && *device) environment.device = device;
    if (off && *off) environment.off = off;
    environment.validation = validation && *validation && strcmp(validation, "0") != 0;
    int length = 0;
    if (cache)
        length = snprintf(environment.cache, sizeof environment.cache, "%s", cache);
    else if (xdg && *xdg)
        length = snprintf(environment.cache, sizeof environment.cache, "%s/ijepa", xdg);
    else if (home && *home)
        length = snprintf(environment.cache, sizeof environment.cache, "%s/.cache/ijepa", home);
    if (length < 0 || (size_t)length >= sizeof environment.cache) environment.cache[0] = 0;
    return environment;
}

/* lavapipe takes 256-bit vectors of itself. This program's kernels read what all lanes share once a vector, so wider ones pay: on a Zen 5
 * CPU the training step is 1.4 times as fast with 512 (tools/SPEED.md). A driver reads its environment when it is loaded, so it is set
 * before the first call; other drivers do not look at it. */
void cli_environment_tune(void) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        setenv("LP_NATIVE_VECTOR_WIDTH", "512", 0);
#endif
}

void cli_environment_help(void) {
    static const char *const table[][2] = {
        {"IJEPA_DEVICE", "the device when --device is not given: an index or part of a name"},
        {"IJEPA_OFF", "what not to use though the device has it: f16, bf16, coopmat, coopmat2, addresses; comma-separated"},
        {"IJEPA_VALIDATION", "1: as if --validation were given"},
        {"IJEPA_CACHE", "folder for compiled pipelines; empty: they are not kept [$XDG_CACHE_HOME/ijepa]"},
        {"XDG_CACHE_HOME", "where caches are [~/.cache]"},
        {"LP_NATIVE_VECTOR_WIDTH", "read by Mesa's CPU driver: bits of a vector, 128, 256 or 512 [512 where the CPU has AVX-512]"},
        {"VK_DRIVER_FILES", "read by the Vulkan loader: which drivers exist"},
    };
    printf("Environment variables\n");
    for (int i = 0; i < CLI_COUNT(table); i++) printf("  %-23s %s\n", table[i][0], table[i][1]);
}

ijepa_device_options cli_device(const cli_common *common, const cli_environment *environment) {
    return (ijepa_device_options){.device = common->device ? common->device : environment->device,
                                  .validation = common->validation || environment->validation,
                                  .cache_folder = environment->cache[0] ? environment->cache : NULL,
                                  .off = common->off ? common->off : environment->off};
}

/* ---- JSON ---- */

static void quoted(FILE *file, const char *text) {
    fputc('"', file);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(file, "\\%c", *c);
        else if (*c == '\n')
            fputs("\\n", file);
        else if (*c < 0x20)
            fprintf(file, "\\u%04x", *c);
        else
            fputc(*c, file);
    }
    fputc('"', file);
}

/* Comma, line, indentation, key: what stands before a value. */
static void before(cli_json *json, const char *key) {
    if (json->comma) fputc(',', json->file);
    if (json->depth) fprintf(json->file, "\n%*s", 2 * json->depth, "");
    if (key) quoted(json->file, key), fputs(": ", json->file);
    json->comma = true;
}

void json_open(cli_json *json, const char *key, char bracket) {
    before(json, key);
    fputc(bracket, json->file);
    json->depth++;
    json->comma = false;
}

void json_close(cli_json *json, char bracket) {
    json->depth--;
    if (json->comma) fprintf(json->file, "\n%*s", 2 * json->depth, "");
    fputc(bracket, json->file);
    if (json->depth == 0) fputc('\n', json->file);
    json->comma = true;
}

void json_text(cli_json *json, const char *key, const char *value) { before(json, key), quoted(json->file, value); }

void json_number(cli_json *json, const char *key, double value) {
    before(json, key);
    if (isfinite(value))
        fprintf(json->file, "%.9g", value);
    else
        fputs("null", json->file);
}

void json_integer(cli_json *json, const char *key, int64_t value) { before(json, key), fprintf(json->file, "%lld", (long long)value); }

void json_bool(cli_json *json, const char *key, bool value) { before(json, key), fputs(value ? "true" : "false", json->file); }

/* ---- text ---- */

const char *text_bytes(uint64_t bytes, char out[32]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    int unit = 0;
    for (; value >= 1024 && unit + 1 < CLI_COUNT(units); unit++) value /= 1024;
    snprintf(out, 32, "%.*f %s", unit && value < 100 ? 1 : 0, value, units[unit]);
    return out;
}

const char *text_duration(double seconds, char out[32]) {
    if (!(seconds >= 0) || seconds > 1e9) return snprintf(out, 32, "-"), out;
    long long whole = (long long)(seconds + 0.5);
    if (whole >= 3600)
        snprintf(out, 32, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
    else
        snprintf(out, 32, "%lld:%02lld", whole / 60, whole % 60);
    return out;
}

/* ---- configuration ---- */

ijepa_status cli_config_text(ijepa_config *config, const char *key, const char *value, ijepa_error *err) {
    char assignment[8400];
    int at = snprintf(assignment, sizeof assignment, "%s=\"", key);
    for (; *value && at < (int)sizeof assignment - 4; value++) { /* a double-quoted YAML scalar */
        if (*value == '"' || *value == '\\') assignment[at++] = '\\';
        assignment[at++] = *value;
    }
    assignment[at++] = '"', assignment[at] = 0;
    return ijepa_config_set(config, assignment, err);
}

ijepa_status cli_config(const char *path, const cli_texts *assignments, ijepa_config **out, ijepa_error *err) {
    ijepa_status status = ijepa_config_create(out, err);
    if (status != IJEPA_OK) return status;
    if (path) status = ijepa_config_load(*out, path, err);
    for (int i = 0; i < assignments->count && status == IJEPA_OK; i++) status = ijepa_config_set(*out, assignments->at[i], err);
    if (status != IJEPA_OK) ijepa_config_destroy(*out);
    return status;
}
