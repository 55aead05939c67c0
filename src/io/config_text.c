/* The flat list and its getters; reading and printing YAML is config_yaml.c's.       layer: io; uses: base */
#include "io/config_text.h"
#include "base/memory.h"
#include "io/config_yaml.h"
#include "io/json_writer.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- the list ---- */

static ij_config_entry *find(const ij_config_text *config, const char *key) {
    for (int64_t i = 0; i < config->count; i++)
        if (strcmp(config->entries[i].key, key) == 0) return &config->entries[i];
    return NULL;
}

const ij_config_entry *ij_config_text_find(const ij_config_text *config, const char *key) { return find(config, key); }

static void free_entry(ij_config_entry *entry) {
    for (int i = 0; i < entry->count; i++) free(entry->text[i]);
    free(entry->text);
    free(entry->key);
}

void ij_config_text_free(ij_config_text *config) {
    for (int64_t i = 0; i < config->count; i++) free_entry(&config->entries[i]);
    for (int64_t i = 0; i < config->source_count; i++) free(config->sources[i]);
    free(config->entries);
    free(config->sources);
    memset(config, 0, sizeof *config);
}

/* True when `key` names the section that `other` lies in. */
static bool is_section_of(const char *key, const char *other) {
    size_t length = strlen(key);
    return strncmp(key, other, length) == 0 && other[length] == '.';
}

/* "run.yaml line 12", "--set" or "default". */
static const char *place(const ij_config_entry *entry, char out[200]) {
    if (entry->line)
        snprintf(out, 200, "%.150s line %d", entry->source, entry->line);
    else
        snprintf(out, 200, "%.150s", entry->source);
    return out;
}

ij_status ij_config_add_source(ij_config_text *config, const char *name, const char **out, ij_error *err) {
    IJ_TRY(ij_grow(&config->sources, &config->source_capacity, config->source_count + 1, sizeof *config->sources, "configuration", err));
    IJ_TRY(ij_copy_text(&config->sources[config->source_count], name, strlen(name), err));
    *out = config->sources[config->source_count++];
    return IJ_OK;
}

ij_status ij_config_merge(ij_config_text *config, ij_config_entry *entry, ij_error *err) {
    for (int64_t i = 0; i < config->count; i++) {
        ij_config_entry *old = &config->entries[i];
        if (strcmp(old->key, entry->key) == 0) {
            free_entry(old);
            *old = *entry;
            memset(entry, 0, sizeof *entry);
            return IJ_OK;
        }
        bool below = is_section_of(old->key, entry->key);
        char here[200], there[200];
        if (below || is_section_of(entry->key, old->key))
            return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: %s, but %s (%s) makes %s a %s", place(entry, here), entry->key, old->key,
                           place(old, there), below ? old->key : entry->key, below ? "value" : "section");
    }
    IJ_TRY(ij_grow(&config->entries, &config->capacity, config->count + 1, sizeof *config->entries, "configuration", err));
    config->entries[config->count++] = *entry;
    memset(entry, 0, sizeof *entry);
    return IJ_OK;
}

/* ---- getters ---- */

/* "run.yaml line 12: data.batch_size is "many"": the beginning of every complaint. */
static void describe(const ij_config_entry *entry, char out[400]) {
    char where[200], value[120] = "";
    size_t used = 0;
    for (int i = 0; i < entry->count && used < sizeof value; i++)
        used += (size_t)snprintf(value + used, sizeof value - used, i ? ", %s" : "%s", entry->text[i]);
    snprintf(out, 400, entry->list ? "%s: %.60s is [%s]" : "%s: %.60s is \"%s\"", place(entry, where), entry->key, value);
}

static ij_status wrong(ij_error *err, const ij_config_entry *entry, const char *expected) {
    char what[400];
    describe(entry, what);
    return ij_fail(err, IJ_ERROR_ARGUMENT, "%s, expected %s", what, expected);
}

static bool is_null(const ij_config_entry *entry) {
    if (entry->list || entry->quoted) return false;
    const char *text = entry->text[0];
    return !*text || strcmp(text, "~") == 0 || strcasecmp(text, "null") == 0;
}

/* The entry to read, marked used; NULL when the default holds. */
static const ij_config_entry *take(ij_config_text *config, const char *key) {
    ij_config_entry *entry = find(config, key);
    if (!entry) return NULL;
    entry->used = true;
    return is_null(entry) ? NULL : entry;
}

static bool parse_number(const char *text, double *out) {
    char *end;
    if (!*text || strspn(text, "+-.0123456789eE") != strlen(text)) return false; /* no "inf", "nan", hexadecimal, spaces */
    *out = strtod(text, &end);
    return *end == 0 && isfinite(*out);
}

ij_status ij_config_text_integer(ij_config_text *config, const char *key, int64_t low, int64_t high, int64_t *out, ij_error *err) {
    const ij_config_entry *entry = take(config, key);
    if (!entry) return IJ_OK;
    char expected[100], *end = NULL;
    snprintf(expected, sizeof expected, "a whole number from %lld to %lld", (long long)low, (long long)high);
    if (entry->list) return wrong(err, entry, expected);
    errno = 0;
    long long value = strtoll(entry->text[0], &end, 10);
    if (errno || *end || end == entry->text[0] || strspn(entry->text[0], "+-0123456789") != strlen(entry->text[0]) || value < low ||
        value > high)
        return wrong(err, entry, expected);
    *out = value;
    return IJ_OK;
}

static ij_status get_numbers(ij_config_text *config, const char *key, double low, double high, int count, bool plain, double *out,
                             ij_error *err) {
    const ij_config_entry *entry = take(config, key);
    if (!entry) return IJ_OK;
    char expected[120];
    if (count == 1)
        snprintf(expected, sizeof expected, "a number from %g to %g", low, high);
    else
        snprintf(expected, sizeof expected, "%d numbers from %g to %g", count, low, high);
    if (entry->list && (plain || entry->count != count)) return wrong(err, entry, expected);
    for (int pass = 0; pass < 2; pass++) /* all are checked before the first is stored */
        for (int i = 0; i < count; i++) {
            double value;
            if (!parse_number(entry->text[entry->list ? i : 0], &value) || value < low || value > high) return wrong(err, entry, expected);
            if (pass) out[i] = value;
        }
    return IJ_OK;
}

ij_status ij_config_text_numbers(ij_config_text *config, const char *key, double low, double high, int count, double *out, ij_error *err) {
    return get_numbers(config, key, low, high, count, false, out, err);
}

ij_status ij_config_text_number(ij_config_text *config, const char *key, double low, double high, double *out, ij_error *err) {
    return get_numbers(config, key, low, high, 1, true, out, err);
}

ij_status ij_config_text_bool(ij_config_text *config, const char *key, bool *out, ij_error *err) {
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"}; /* odd ones are true */
    const ij_config_entry *entry = take(config, key);
    if (!entry) return IJ_OK;
    for (int i = 0; i < IJ_COUNT(words) && !entry->list; i++)
        if (strcasecmp(entry->text[0], words[i]) == 0) {
            *out = i % 2;
            return IJ_OK;
        }
    return wrong(err, entry, "true or false");
}

ij_status ij_config_text_string(ij_config_text *config, const char *key, char *out, size_t out_bytes, ij_error *err) {
    const ij_config_entry *entry = take(config, key);
    if (!entry) return IJ_OK;
    char expected[60];
    snprintf(expected, sizeof expected, "a text of at most %zu bytes", out_bytes - 1);
    if (entry->list || strlen(entry->text[0]) >= out_bytes) return wrong(err, entry, expected);
    strcpy(out, entry->text[0]);
    return IJ_OK;
}

ij_status ij_config_text_choice(ij_config_text *config, const char *key, const char *const *choices, int count, int *out, ij_error *err) {
    const ij_config_entry *entry = take(config, key);
    if (!entry) return IJ_OK;
    char expected[400] = "one of";
    size_t used = strlen(expected);
    for (int i = 0; i < count; i++) {
        if (!entry->list && strcmp(entry->text[0], choices[i]) == 0) {
            *out = i;
            return IJ_OK;
        }
        if (used < sizeof expected) used += (size_t)snprintf(expected + used, sizeof expected - used, i ? ", %s" : " %s", choices[i]);
    }
    return wrong(err, entry, expected);
}

bool ij_config_text_ignore(ij_config_text *config, const char *key) {
    ij_config_entry *entry = find(config, key);
    if (entry) entry->used = true;
    return entry != NULL;
}

const ij_config_entry *ij_config_text_unused(const ij_config_text *config, int64_t *cursor) {
    while (*cursor < config->count) {
        const ij_config_entry *entry = &config->entries[(*cursor)++];
        if (!entry->used) return entry;
    }
    return NULL;
}

/* Levenshtein's distance; texts over 63 bytes count as far away. */
static int distance(const char *a, const char *b) {
    int row[65], length = (int)strlen(b);
    if (length > 63 || strlen(a) > 63) return 1000;
    for (int j = 0; j <= length; j++) row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= length; j++) {
            int substitute = diagonal + (a[i - 1] != b[j - 1]), other = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = substitute < other ? substitute : other;
        }
    }
    return row[length];
}

ij_status ij_config_text_check_used(const ij_config_text *config, const char *const *known, int count, ij_error *err) {
    int64_t cursor = 0;
    const ij_config_entry *entry = ij_config_text_unused(config, &cursor);
    if (!entry) return IJ_OK;
    char where[200];
    ij_fail(err, IJ_ERROR_ARGUMENT, "%s: unknown key %s", place(entry, where), entry->key);
    int best = 4; /* more edits than three are a different word */
    for (int i = 0; i < count && known; i++) {
        int edits = distance(entry->key, known[i]);
        if (edits < best) best = edits, ij_hint(err, "did you mean %s?", known[i]);
    }
    return IJ_ERROR_ARGUMENT;
}

/* ---- building ---- */

static ij_status put(ij_config_text *config, const char *key, const char *const *texts, int count, ij_config_entry entry, ij_error *err) {
    ij_status status = ij_copy_text(&entry.key, key, strlen(key), err);
    if (status == IJ_OK) status = ij_alloc(&entry.text, count, sizeof *entry.text, "configuration", err);
    for (int i = 0; i < count && status == IJ_OK; i++) {
        status = ij_copy_text(&entry.text[i], texts[i], strlen(texts[i]), err);
        entry.count = i + 1;
    }
    if (status == IJ_OK) status = ij_config_merge(config, &entry, err);
    if (status != IJ_OK) free_entry(&entry);
    return status;
}

ij_status ij_config_put_override(ij_config_text *config, const char *key, const char *value, ij_error *err) {
    return put(config, key, &value, 1, (ij_config_entry){.source = "--set"}, err);
}

ij_status ij_config_text_put(ij_config_text *config, const char *key, const char *value, bool quoted, ij_error *err) {
    return put(config, key, &value, 1, (ij_config_entry){.quoted = quoted, .source = "default"}, err);
}

ij_status ij_config_text_put_number(ij_config_text *config, const char *key, double value, ij_error *err) {
    char text[32];
    ij_number_text(value, text);
    return ij_config_text_put(config, key, text, false, err);
}

ij_status ij_config_text_put_integer(ij_config_text *config, const char *key, int64_t value, ij_error *err) {
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return ij_config_text_put(config, key, text, false, err);
}

ij_status ij_config_text_put_bool(ij_config_text *config, const char *key, bool value, ij_error *err) {
    return ij_config_text_put(config, key, value ? "true" : "false", false, err);
}

ij_status ij_config_text_put_numbers(ij_config_text *config, const char *key, const double *values, int count, ij_error *err) {
    char texts[16][32];
    const char *pointers[16];
    if (count > IJ_COUNT(pointers)) return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: a list of %d numbers, at most 16 fit", key, count);
    for (int i = 0; i < count; i++) ij_number_text(values[i], texts[i]), pointers[i] = texts[i];
    return put(config, key, pointers, count, (ij_config_entry){.list = true, .source = "default"}, err);
}
