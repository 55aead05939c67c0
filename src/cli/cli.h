/* What the program's files share: commands, their options, and how they talk to a person or a script.      layer: cli; uses: ijepa.h
 *
 * Exit codes: 0 done; 1 it failed (one line on stderr, `ijepa: text`, and a hint where there is one); 2 it was asked for wrongly;
 * 130 and 143 stopped by Ctrl-C and SIGTERM. */
#ifndef IJ_CLI_CLI_H
#define IJ_CLI_CLI_H

#include "ijepa.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_COLLAPSED = 3 /* train --on-collapse stop */ };

/* ---- options ---- */

typedef enum cli_kind { CLI_FLAG, CLI_TEXT, CLI_INTEGER, CLI_NUMBER, CLI_TEXTS } cli_kind;

#define CLI_TEXTS_MAX 256
typedef struct cli_texts {
    const char *at[CLI_TEXTS_MAX];
    int count;
} cli_texts;

typedef struct cli_option {
    const char *name;     /* "--steps" */
    const char *argument; /* "N"; NULL for a flag */
    const char *help;
    const char *fallback; /* what holds without it, shown in [ ]; NULL: nothing to say */
    cli_kind kind;
    void *value; /* bool, const char *, int64_t, double, cli_texts */
    int64_t low; /* CLI_INTEGER, CLI_NUMBER: least value */
} cli_option;

typedef struct cli_environment {
    const char *device, *off; /* NULL: not set */
    bool validation;
    char cache[4096]; /* "": pipelines are not kept */
} cli_environment;

typedef struct cli_command {
    const char *name;
    const char *purpose;  /* one line */
    const char *operands; /* "CONFIG.yaml"; "" for none */
    int operands_min, operands_max;
    const char *examples;                                                  /* lines */
    const char *notes;                                                     /* lines, or NULL */
    int (*run)(const cli_environment *environment, int argc, char **argv); /* argv[0] is the command's name; returns the exit code */
} cli_command;

/* Every command has these; take the ones that apply. */
typedef struct cli_common {
    const char *device, *off;
    bool validation, json;
} cli_common;
#define CLI_OPTION_DEVICE(common)                                                                                                          \
    {"--device", "D", "index or part of a name, see: ijepa devices", "$IJEPA_DEVICE, else the best", CLI_TEXT, &(common).device, 0}
#define CLI_OPTION_VALIDATION(common)                                                                                                      \
    {"--validation", NULL, "run with the Vulkan validation layers", NULL, CLI_FLAG, &(common).validation, 0}
#define CLI_OPTION_OFF(common)                                                                                                             \
    {"--off",       "LIST", "do not use: f16, bf16, coopmat, coopmat2, addresses; comma-separated", "$IJEPA_OFF, else nothing", CLI_TEXT,  \
     &(common).off, 0}
#define CLI_OPTION_JSON(common) {"--json", NULL, "print JSON instead of a table", NULL, CLI_FLAG, &(common).json, 0}

/* Parses argv[1 ...] of a command; operands are moved to argv[1 ...] and counted in *operands. Returns -1 to go on, or the exit
 * code when --help was printed or something is wrong (then said on stderr). */
int cli_parse(const cli_command *command, const cli_option *options, int option_count, int argc, char **argv, int *operands);
#define CLI_COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* The name of `names` most like `text`; NULL when none is near. */
const char *cli_nearest(const char *text, const char *const *names, int count);

/* ---- errors ---- */

/* Prints `ijepa: text` and the hint on stderr. Returns the exit code: CLI_FAILED. */
int cli_fail(const ijepa_error *err);
int cli_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- the environment ---- */

/* Read once, by main. */
cli_environment cli_environment_read(void);
void cli_environment_tune(void); /* sets what a driver reads and the user did not */
void cli_environment_help(void);

/* Options given, else the environment's. The texts live as long as `environment`. */
ijepa_device_options cli_device(const cli_common *common, const cli_environment *environment);

/* ---- JSON on stdout or into a file ---- */

typedef struct cli_json {
    FILE *file;
    int depth;
    bool comma; /* the next key or value needs one before it */
} cli_json;
void json_open(cli_json *json, const char *key, char bracket); /* key NULL: an item of a list, or the whole */
void json_close(cli_json *json, char bracket);
void json_text(cli_json *json, const char *key, const char *value);
void json_number(cli_json *json, const char *key, double value); /* NaN and infinities become null */
void json_integer(cli_json *json, const char *key, int64_t value);
void json_bool(cli_json *json, const char *key, bool value);

/* ---- text ---- */

/* 1536 MiB as "1.5 GiB". */
const char *text_bytes(uint64_t bytes, char out[32]);
/* 3723 s as "1:02:03", 65 s as "1:05". */
const char *text_duration(double seconds, char out[32]);

/* ---- configuration from the command line ---- */

/* Sets `key` to a path or another text, whatever characters it has. */
ijepa_status cli_config_text(ijepa_config *config, const char *key, const char *value, ijepa_error *err);
/* Loads `path` (NULL: none) and applies the assignments. *out is destroyed by the caller when the call succeeds. */
ijepa_status cli_config(const char *path, const cli_texts *assignments, ijepa_config **out, ijepa_error *err);

/* ---- long commands ---- */

/* After this, Ctrl-C and SIGTERM ask to stop, and a second one ends at once. cli_stopped says whether it was asked (its argument is not
 * looked at, so that it can be a callback); cli_stop_code is the exit code that belongs to it. */
void cli_catch_signals(void);
bool cli_stopped(void *user);
int cli_stop_code(void);

/* Callbacks for the library: a line on stderr that overwrites itself on a terminal and comes every few seconds elsewhere, with the time
 * left; and lines a user should see. cli_progress_end takes the line away. */
void cli_progress(void *user, const char *what, int64_t done, int64_t total);
void cli_progress_end(void);
void cli_message(void *user, const char *text);

double cli_seconds(void); /* of a clock that never goes back */

/* ---- commands ---- */

extern const cli_command cmd_devices, cmd_train, cmd_embed, cmd_eval, cmd_finetune, cmd_ablate, cmd_search, cmd_scenes;
extern const cli_command cmd_convert, cmd_inspect;
extern const cli_command cmd_masks, cmd_replay, cmd_selftest, cmd_tune, cmd_bench;

#endif
