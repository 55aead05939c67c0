/* YAML configuration as text: a flat list of dotted keys with their values and lines. What a key means is the layers' above.
 * layer: io; uses: base
 *
 *     optimization:                         optimization.lr = 0.001          (line 2)
 *       lr: 0.001                           data.crop_scale = [0.3, 1.0]     (line 4)
 *     data:
 *       crop_scale: [0.3, 1.0]
 *
 * Reading order: load the file, apply the --set overrides, get each value (which marks it used), then let
 * ij_config_text_unused name what nobody asked for: a misspelt key is an error, not a silent default.
 *
 * Out of YAML this takes nested mappings of plain values and lists of plain values. Refused, with the line: aliases, lists of lists
 * or mappings, two documents, a key given twice, a key that is both a value and a section, more than 1 MB, 16 levels or
 * 10,000 values. */
#ifndef IJ_IO_CONFIG_TEXT_H
#define IJ_IO_CONFIG_TEXT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ij_config_entry {
    char *key;   /* dotted */
    char **text; /* the value, or the list's items */
    int count;   /* of texts: 1 for a plain value, 0 or more for a list */
    bool list;
    bool quoted; /* it (or the list's first item) was written in quotes: "3" is a text, 3 a number */
    bool used;
    int line;           /* 0: not from a file */
    const char *source; /* the file's name, "--set" or "default" */
} ij_config_entry;

typedef struct ij_config_text {
    ij_config_entry *entries; /* in the order they were given */
    int64_t count, capacity;
    char **sources; /* owns the names that entries point to */
    int64_t source_count, source_capacity;
} ij_config_text; /* zeroed: empty */

/* Adds a file's keys; with keys already there, the file's replace them (a second recipe on top of a first). */
ij_status ij_config_text_load(ij_config_text *config, const char *path, ij_error *err);
ij_status ij_config_text_load_memory(ij_config_text *config, const void *yaml, size_t bytes, const char *name, ij_error *err);

/* One override, "data.batch_size=64" or "data.crop_scale=[0.3, 1.0]". The value is YAML, or else the bare text. */
ij_status ij_config_text_override(ij_config_text *config, const char *assignment, ij_error *err);
void ij_config_text_free(ij_config_text *config);

const ij_config_entry *ij_config_text_find(const ij_config_text *config, const char *key); /* NULL: not given. Marks nothing. */

/* Getters. A key that is not given, or null, leaves *out as it was: put the default there first. A value of the wrong type or outside
 * [low, high] fails naming file, line, key, value and what is expected. All mark the key used. */
ij_status ij_config_text_integer(ij_config_text *config, const char *key, int64_t low, int64_t high, int64_t *out, ij_error *err);
ij_status ij_config_text_number(ij_config_text *config, const char *key, double low, double high, double *out, ij_error *err);
ij_status ij_config_text_bool(ij_config_text *config, const char *key, bool *out, ij_error *err);
ij_status ij_config_text_string(ij_config_text *config, const char *key, char *out, size_t out_bytes, ij_error *err);

/* Exactly `count` numbers in [low, high]; a plain value stands for `count` equal ones. */
ij_status ij_config_text_numbers(ij_config_text *config, const char *key, double low, double high, int count, double *out, ij_error *err);

/* One of `choices` (count texts); *out becomes its place in the list. */
ij_status ij_config_text_choice(ij_config_text *config, const char *key, const char *const *choices, int count, int *out, ij_error *err);

/* Marks a key used without reading it (known and ignored, on purpose). Returns whether it was given. */
bool ij_config_text_ignore(ij_config_text *config, const char *key);

/* The first entry that nobody used, from entry *cursor on [start with 0]; NULL when there is none left. */
const ij_config_entry *ij_config_text_unused(const ij_config_text *config, int64_t *cursor);

/* Fails for an unused key, naming file and line, with the most similar key of `known` (count texts; may be NULL) as the hint. */
ij_status ij_config_text_check_used(const ij_config_text *config, const char *const *known, int count, ij_error *err);

/* Building a configuration to write. Replaces the key's value. `value` is the text as it shall read back: numbers and booleans with
 * quoted = false; texts with quoted = true come out in quotes where YAML would take them for something else. */
ij_status ij_config_text_put(ij_config_text *config, const char *key, const char *value, bool quoted, ij_error *err);
ij_status ij_config_text_put_number(ij_config_text *config, const char *key, double value, ij_error *err);
ij_status ij_config_text_put_integer(ij_config_text *config, const char *key, int64_t value, ij_error *err);
ij_status ij_config_text_put_bool(ij_config_text *config, const char *key, bool value, ij_error *err);
ij_status ij_config_text_put_numbers(ij_config_text *config, const char *key, const double *values, int count, ij_error *err);

/* The whole list as nested YAML, keys sorted; *out is free()d by the caller. Loading it again gives the same keys and values. */
ij_status ij_config_text_print(const ij_config_text *config, char **out, ij_error *err);

#endif
