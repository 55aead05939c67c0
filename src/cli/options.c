/* Options of all commands, from one table each; and how errors are said.       layer: cli; uses: ijepa.h */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- nearest name ---- */

/* Levenshtein distance, at most 32 characters of b. */
static int distance(const char *a, const char *b) {
    int row[33], length = (int)strnlen(b, 32);
    for (int j = 0; j <= length; j++) row[j] = j;
    for (int i = 1; *a; a++, i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= length; j++) {
            int replaced = diagonal + (*a != b[j - 1]);
            diagonal = row[j];
            int shorter = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = replaced < shorter ? replaced : shorter;
        }
    }
    return row[length];
}

const char *cli_nearest(const char *text, const char *const *names, int count) {
    int best = 1 + (int)strnlen(text, 32) / 3; /* farther than that is not a slip */
    const char *nearest = NULL;
    for (int i = 0; i < count; i++) {
        int d = distance(text, names[i]);
        if (d <= best && (!nearest || d < best)) nearest = names[i], best = d;
    }
    return nearest;
}

/* ---- errors ---- */

int cli_fail(const ijepa_error *err) {
    fflush(stdout);
    fprintf(stderr, "ijepa: %s\n", err->text[0] ? err->text : "failed without a reason given");
    if (err->hint[0]) fprintf(stderr, "  hint: %s\n", err->hint);
    return CLI_FAILED;
}

int cli_usage(const char *command, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fprintf(stderr, "ijepa%s%s: ", command ? " " : "", command ? command : "");
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return CLI_USAGE;
}

/* ---- help ---- */

static void print_option(const cli_option *option) {
    char left[64];
    snprintf(left, sizeof left, "%s%s%s", option->name, option->argument ? " " : "", option->argument ? option->argument : "");
    printf("  %-22s %s", left, option->help);
    if (option->fallback) printf(" [%s]", option->fallback);
    putchar('\n');
}

static void print_help(const cli_command *command, const cli_option *options, int option_count) {
    printf("ijepa %s: %s\n\nUsage: ijepa %s%s%s [OPTIONS]\n\nOptions\n", command->name, command->purpose, command->name,
           *command->operands ? " " : "", command->operands);
    for (int i = 0; i < option_count; i++) print_option(&options[i]);
    printf("  %-22s %s\n", "--help", "this text");
    if (command->notes) printf("\n%s", command->notes);
    printf("\nExamples\n%s", command->examples);
}

/* ---- parsing ---- */

static int unknown_option(const cli_command *command, const cli_option *options, int option_count, const char *name) {
    const char *names[64];
    int count = 0;
    for (int i = 0; i < option_count && i < 63; i++) names[count++] = options[i].name;
    names[count++] = "--help";
    const char *nearest = cli_nearest(name, names, count);
    if (nearest) return cli_usage(command->name, "no option is called \"%s\"; did you mean \"%s\"?", name, nearest);
    return cli_usage(command->name, "no option is called \"%s\"; see: ijepa %s --help", name, command->name);
}

static int store(const cli_command *command, const cli_option *option, const char *text) {
    char *end;
    switch (option->kind) {
    case CLI_FLAG: *(bool *)option->value = true; break;
    case CLI_TEXT: *(const char **)option->value = text; break;
    case CLI_TEXTS: {
        cli_texts *texts = option->value;
        if (texts->count == CLI_TEXTS_MAX) return cli_usage(command->name, "%s is given more than %d times", option->name, CLI_TEXTS_MAX);
        texts->at[texts->count++] = text;
        break;
    }
    case CLI_INTEGER:
        errno = 0;
        *(int64_t *)option->value = strtoll(text, &end, 10);
        if (!*text || *end || errno) return cli_usage(command->name, "%s %s: a whole number is expected", option->name, text);
        if (*(int64_t *)option->value < option->low)
            return cli_usage(command->name, "%s %s: it must be at least %lld", option->name, text, (long long)option->low);
        break;
    case CLI_NUMBER:
        *(double *)option->value = strtod(text, &end);
        if (!*text || *end) return cli_usage(command->name, "%s %s: a number is expected", option->name, text);
        if (!(*(double *)option->value >= (double)option->low))
            return cli_usage(command->name, "%s %s: it must be at least %lld", option->name, text, (long long)option->low);
        break;
    }
    return -1;
}

/* One option at argv[*at]; *at moves to the last word it took. */
static int parse_option(const cli_command *command, const cli_option *options, int option_count, int argc, char **argv, int *at) {
    char name[64];
    const char *word = argv[*at], *value = strncmp(word, "--", 2) == 0 ? strchr(word, '=') : NULL;
    size_t length = value ? (size_t)(value - word) : strlen(word);
    snprintf(name, sizeof name, "%.*s", (int)(length < 63 ? length : 63), word);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_help(command, options, option_count);
        return CLI_DONE;
    }
    for (int i = 0; i < option_count; i++) {
        const cli_option *option = &options[i];
        if (strcmp(option->name, name) != 0) continue;
        if (option->kind == CLI_FLAG) return value ? cli_usage(command->name, "%s takes no value", name) : store(command, option, NULL);
        if (value) return store(command, option, value + 1);
        if (*at + 1 >= argc) return cli_usage(command->name, "%s needs a value: %s %s", name, name, option->argument);
        return store(command, option, argv[++*at]);
    }
    return unknown_option(command, options, option_count, name);
}

int cli_parse(const cli_command *command, const cli_option *options, int option_count, int argc, char **argv, int *operands) {
    bool options_end = false;
    *operands = 0;
    for (int i = 1; i < argc; i++) {
        if (!options_end && strcmp(argv[i], "--") == 0) {
            options_end = true;
        } else if (!options_end && argv[i][0] == '-' && argv[i][1]) {
            int code = parse_option(command, options, option_count, argc, argv, &i);
            if (code >= 0) return code;
        } else if (*operands == command->operands_max) {
            return cli_usage(command->name, "\"%s\" is one word too many; usage: ijepa %s %s [OPTIONS]", argv[i], command->name,
                             command->operands);
        } else {
            argv[++*operands] = argv[i]; /* never ahead of i */
        }
    }
    if (*operands < command->operands_min)
        return cli_usage(command->name, "%s is missing; usage: ijepa %s %s [OPTIONS]", command->operands, command->name, command->operands);
    return -1;
}
