/* YAML to the flat list and back, over libyaml's event stream.       layer: io; uses: base, config_text
 *
 * Events, not documents: libyaml's document tree would resolve aliases (a few hundred bytes can then stand for billions of
 * values) before anything could be counted. Here every event is counted as it comes and an alias is an error. */
#include "io/config_yaml.h"
#include "base/file.h"
#include "base/memory.h"
#include "io/json_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#define YAML_BYTES_MAX (1u << 20)
#define DEPTH_MAX 16
#define NODES_MAX 10000
#define KEY_BYTES_MAX 512

typedef struct reader {
    yaml_parser_t parser;
    const char *source;
    char key[KEY_BYTES_MAX]; /* of the place where the reader is */
    int nodes;
    ij_config_entry *entries; /* what this text gives */
    int64_t count, capacity;
    ij_error *err;
} reader;

static ij_status refuse(reader *r, const yaml_event_t *event, const char *what) {
    return ij_fail(r->err, IJ_ERROR_FORMAT, "%s line %d: %s", r->source, (int)event->start_mark.line + 1, what);
}

static ij_status next(reader *r, yaml_event_t *event) {
    if (!yaml_parser_parse(&r->parser, event))
        return ij_fail(r->err, IJ_ERROR_FORMAT, "%s line %d: %s", r->source, (int)r->parser.problem_mark.line + 1,
                       r->parser.problem ? r->parser.problem : "not YAML");
    ij_status status = IJ_OK;
    if (event->type == YAML_ALIAS_EVENT)
        status = refuse(r, event, "aliases (*name) are not supported");
    else if (++r->nodes > NODES_MAX)
        status = refuse(r, event, "more than 10000 values");
    if (status != IJ_OK) yaml_event_delete(event);
    return status;
}

static ij_status add_scalar(reader *r, ij_config_entry *entry, const yaml_event_t *event) {
    const char *text = (const char *)event->data.scalar.value;
    if (strlen(text) != event->data.scalar.length) return refuse(r, event, "a value with a 0 byte inside");
    /* Doubling by hand: entry->text has no capacity of its own. */
    if ((entry->count & (entry->count - 1)) == 0) {
        size_t room = entry->count ? (size_t)entry->count * 2 : 1;
        char **grown = realloc(entry->text, room * sizeof *grown);
        if (!grown) return ij_fail(r->err, IJ_ERROR_MEMORY, "out of host memory: %s", r->source);
        entry->text = grown;
    }
    if (entry->count == 0) entry->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    IJ_TRY(ij_copy_text(&entry->text[entry->count], text, strlen(text), r->err));
    entry->count++;
    return IJ_OK;
}

/* A new entry for the reader's key. */
static ij_status begin_entry(reader *r, const yaml_event_t *event, ij_config_entry **out) {
    if (!r->key[0]) return refuse(r, event, "a value without a key; expected lines like \"name: value\"");
    IJ_TRY(ij_grow(&r->entries, &r->capacity, r->count + 1, sizeof *r->entries, "configuration", r->err));
    ij_config_entry *entry = *out = &r->entries[r->count];
    memset(entry, 0, sizeof *entry);
    IJ_TRY(ij_copy_text(&entry->key, r->key, strlen(r->key), r->err));
    entry->line = (int)event->start_mark.line + 1;
    entry->source = r->source;
    r->count++;
    return IJ_OK;
}

static ij_status read_list(reader *r, const yaml_event_t *start) {
    ij_config_entry *entry;
    IJ_TRY(begin_entry(r, start, &entry));
    entry->list = true;
    for (bool more = true; more;) {
        yaml_event_t event;
        ij_status status;
        IJ_TRY(next(r, &event));
        if (event.type == YAML_SCALAR_EVENT)
            status = add_scalar(r, entry, &event);
        else if (event.type == YAML_SEQUENCE_END_EVENT)
            more = false, status = IJ_OK;
        else
            status = refuse(r, &event, "a list may hold plain values only");
        yaml_event_delete(&event);
        IJ_TRY(status);
    }
    return IJ_OK;
}

static ij_status read_mapping(reader *r, int depth);

/* The value that `event` begins, under the reader's key. */
static ij_status read_value(reader *r, const yaml_event_t *event, int depth) {
    ij_config_entry *entry;
    switch (event->type) {
    case YAML_SCALAR_EVENT: IJ_TRY(begin_entry(r, event, &entry)); return add_scalar(r, entry, event);
    case YAML_SEQUENCE_START_EVENT: return read_list(r, event);
    case YAML_MAPPING_START_EVENT:
        if (depth == DEPTH_MAX) return refuse(r, event, "more than 16 levels");
        return read_mapping(r, depth + 1);
    default: return refuse(r, event, "unexpected YAML");
    }
}

/* Names between the dots of a key; 0 when one of them is empty. */
static int count_levels(const char *key) {
    int levels = 1;
    if (*key == 0 || *key == '.') return 0;
    for (; *key; key++) {
        if (*key != '.') continue;
        if (key[1] == '.' || key[1] == 0) return 0;
        levels++;
    }
    return levels;
}

static ij_status read_pair(reader *r, const yaml_event_t *key, int depth) {
    if (key->type != YAML_SCALAR_EVENT) return refuse(r, key, "a key must be a plain text");
    const char *text = (const char *)key->data.scalar.value;
    size_t outer = strlen(r->key), length = strlen(text);
    if (length == 0 || length != key->data.scalar.length) return refuse(r, key, "an empty key");
    if (outer + 1 + length >= sizeof r->key) return refuse(r, key, "a key of more than 500 characters");
    snprintf(r->key + outer, sizeof r->key - outer, "%s%s", outer ? "." : "", text);
    int levels = count_levels(r->key); /* a key may be written with its dots */
    if (levels == 0 || levels > DEPTH_MAX) {
        r->key[outer] = 0;
        return refuse(r, key, levels ? "more than 16 levels" : "a key with nothing before, between or after its dots");
    }
    yaml_event_t value;
    ij_status status = next(r, &value);
    if (status == IJ_OK) {
        status = read_value(r, &value, depth);
        yaml_event_delete(&value);
    }
    r->key[outer] = 0;
    return status;
}

static ij_status read_mapping(reader *r, int depth) {
    for (bool more = true; more;) {
        yaml_event_t event;
        IJ_TRY(next(r, &event));
        ij_status status = IJ_OK;
        if (event.type == YAML_MAPPING_END_EVENT)
            more = false;
        else
            status = read_pair(r, &event, depth);
        yaml_event_delete(&event);
        IJ_TRY(status);
    }
    return IJ_OK;
}

static ij_status read_stream(reader *r) {
    bool had_document = false;
    for (;;) {
        yaml_event_t event;
        IJ_TRY(next(r, &event));
        yaml_event_type_t type = event.type;
        ij_status status = IJ_OK;
        if (type == YAML_DOCUMENT_START_EVENT && had_document)
            status = refuse(r, &event, "a second document");
        else if (type == YAML_DOCUMENT_START_EVENT)
            had_document = true;
        else if (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_END_EVENT && type != YAML_STREAM_END_EVENT)
            status = read_value(r, &event, 0);
        yaml_event_delete(&event);
        if (status != IJ_OK || type == YAML_STREAM_END_EVENT) return status;
    }
}

static int by_key(const void *a, const void *b) {
    const ij_config_entry *x = a, *y = b;
    int order = strcmp(x->key, y->key);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

static ij_status check_twice(reader *r) {
    qsort(r->entries, (size_t)r->count, sizeof *r->entries, by_key);
    for (int64_t i = 1; i < r->count; i++)
        if (strcmp(r->entries[i - 1].key, r->entries[i].key) == 0)
            return ij_fail(r->err, IJ_ERROR_FORMAT, "%s line %d: %s is given again, first in line %d", r->source, r->entries[i].line,
                           r->entries[i].key, r->entries[i - 1].line);
    return IJ_OK;
}

static int by_line(const void *a, const void *b) {
    const ij_config_entry *x = a, *y = b;
    return x->line != y->line ? (x->line > y->line) - (x->line < y->line) : strcmp(x->key, y->key);
}

/* Reads YAML whose top level stands under `prefix` and merges it into config; nothing is merged after an error in the text. */
static ij_status load(ij_config_text *config, const void *yaml, size_t bytes, const char *name, const char *prefix, ij_error *err) {
    if (bytes > YAML_BYTES_MAX)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: %zu bytes, a configuration has at most %u", name, bytes, YAML_BYTES_MAX);
    reader r = {.err = err};
    if (strlen(prefix) >= sizeof r.key) return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: a key of %zu characters", name, strlen(prefix));
    strcpy(r.key, prefix);
    IJ_TRY(ij_config_add_source(config, name, &r.source, err));
    if (!yaml_parser_initialize(&r.parser)) return ij_fail(err, IJ_ERROR_MEMORY, "out of host memory: %s", name);
    yaml_parser_set_input_string(&r.parser, yaml, bytes);
    ij_status status = read_stream(&r);
    yaml_parser_delete(&r.parser);
    if (status == IJ_OK && r.count) status = check_twice(&r);
    if (status == IJ_OK && r.count) qsort(r.entries, (size_t)r.count, sizeof *r.entries, by_line);
    for (int64_t i = 0; i < r.count && status == IJ_OK; i++) status = ij_config_merge(config, &r.entries[i], err);
    for (int64_t i = 0; i < r.count; i++) {
        for (int k = 0; k < r.entries[i].count; k++) free(r.entries[i].text[k]);
        free(r.entries[i].text);
        free(r.entries[i].key);
    }
    free(r.entries);
    return status;
}

ij_status ij_config_text_load_memory(ij_config_text *config, const void *yaml, size_t bytes, const char *name, ij_error *err) {
    return load(config, yaml, bytes, name, "", err);
}

ij_status ij_config_text_load(ij_config_text *config, const char *path, ij_error *err) {
    void *yaml;
    size_t bytes;
    IJ_TRY(ij_file_read(path, YAML_BYTES_MAX, &yaml, &bytes, err));
    ij_status status = load(config, yaml, bytes, path, "", err);
    free(yaml);
    return status;
}

ij_status ij_config_text_override(ij_config_text *config, const char *assignment, ij_error *err) {
    const char *equals = strchr(assignment, '=');
    size_t length = equals ? (size_t)(equals - assignment) : 0;
    char key[KEY_BYTES_MAX] = "";
    if (length < sizeof key) memcpy(key, assignment, length);
    int levels = count_levels(key);
    if (levels == 0 || levels > DEPTH_MAX)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "--set %.200s: expected key=value, as in --set data.batch_size=64", assignment);
    const char *value = equals + 1;
    /* Only a bracket or a quote makes the value more than the bare text ("C: x" or "#1" are texts here). */
    if (*value != '[' && *value != '"' && *value != '\'') return ij_config_put_override(config, key, value, err);
    if (load(config, value, strlen(value), "--set", key, NULL) != IJ_OK)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "--set %.200s: the value is neither a list of plain values nor a text in quotes",
                       assignment);
    for (int64_t i = 0; i < config->count; i++)
        if (strcmp(config->entries[i].key, key) == 0) config->entries[i].line = 0; /* its line within the option says nothing */
    return IJ_OK;
}

/* ---- printing ---- */

/* Plain only where nothing in it could mean anything to YAML: letters, digits and a few marks, not at the edges of other types. */
static bool is_plain(const char *text, bool quoted) {
    static const char *const words[] = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"};
    if (strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-") != strlen(text)) return false;
    if (!quoted) return *text && strcmp(text, "-") != 0 && strncmp(text, "---", 3) != 0 && strcmp(text, "...") != 0;
    if (!((*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') || *text == '_' || *text == '/')) return false;
    for (int i = 0; i < IJ_COUNT(words); i++)
        if (strcasecmp(text, words[i]) == 0) return false;
    return true;
}

/* JSON's quoted form is also YAML's double-quoted form, but for the characters that YAML forbids or takes for line ends: C1 controls,
 * U+2028, U+2029, U+FEFF, U+FFFE, U+FFFF. */
static void print_quoted(ij_json *out, const char *text) {
    ij_json quoted = {0};
    ij_json_string(&quoted, text);
    out->failed |= quoted.failed;
    for (const unsigned char *c = (const unsigned char *)quoted.text; !quoted.failed && *c;) {
        char piece[8] = {(char)*c};
        int bytes = 1;
        if (c[0] == 0xc2 && c[1] <= 0xa0) bytes = 2, snprintf(piece, sizeof piece, "\\u00%02x", c[1]);
        if (c[0] == 0xe2 && c[1] == 0x80 && (c[2] == 0xa8 || c[2] == 0xa9))
            bytes = 3, snprintf(piece, sizeof piece, "\\u20%02x", c[2] - 0x80);
        if (c[0] == 0xef && c[1] == 0xbb && c[2] == 0xbf) bytes = 3, strcpy(piece, "\\ufeff");
        if (c[0] == 0xef && c[1] == 0xbf && c[2] >= 0xbe) bytes = 3, strcpy(piece, c[2] == 0xbe ? "\\ufffe" : "\\uffff");
        ij_json_raw(out, piece);
        c += bytes;
    }
    ij_json_free(&quoted);
}

static void print_scalar(ij_json *out, const char *text, bool quoted) {
    if (is_plain(text, quoted))
        ij_json_raw(out, text);
    else if (!*text && !quoted)
        ij_json_raw(out, "null");
    else
        print_quoted(out, text);
}

static int by_section(const void *a, const void *b) { /* '.' before every other character: a section stays together */
    const char *x = (*(ij_config_entry *const *)a)->key, *y = (*(ij_config_entry *const *)b)->key;
    while (*x && *x == *y) x++, y++;
    int p = *x == '.' ? 1 : (unsigned char)*x, q = *y == '.' ? 1 : (unsigned char)*y;
    return p - q;
}

/* Writes the section lines that lead from the previous key to this one, then this one's own "  name: ". */
static void print_key(ij_json *out, const char *previous, const char *key) {
    size_t shared = 0; /* bytes of whole sections in common */
    for (size_t i = 0; previous[i] && previous[i] == key[i]; i++)
        if (key[i] == '.') shared = i + 1;
    int depth = 0;
    for (size_t i = 0; i < shared; i++) depth += key[i] == '.';
    for (const char *part = key + shared; part; depth++) {
        const char *dot = strchr(part, '.');
        char name[KEY_BYTES_MAX];
        snprintf(name, sizeof name, "%.*s", dot ? (int)(dot - part) : (int)strlen(part), part);
        for (int i = 0; i < depth; i++) ij_json_raw(out, "  ");
        print_scalar(out, name, true);
        ij_json_raw(out, dot ? ":\n" : ": ");
        part = dot ? dot + 1 : NULL;
    }
}

ij_status ij_config_text_print(const ij_config_text *config, char **text, ij_error *err) {
    ij_config_entry **order;
    IJ_TRY(ij_alloc(&order, config->count, sizeof *order, "configuration", err));
    for (int64_t i = 0; i < config->count; i++) order[i] = &config->entries[i];
    qsort(order, (size_t)config->count, sizeof *order, by_section);
    ij_json out = {0};
    ij_json_raw(&out, "");
    for (int64_t i = 0; i < config->count; i++) {
        const ij_config_entry *entry = order[i];
        print_key(&out, i ? order[i - 1]->key : "", entry->key);
        if (entry->list) ij_json_raw(&out, "[");
        for (int k = 0; k < entry->count; k++) {
            if (k) ij_json_raw(&out, ", ");
            print_scalar(&out, entry->text[k], entry->quoted || (entry->list && !entry->text[k][0]));
        }
        ij_json_raw(&out, entry->list ? "]\n" : "\n");
    }
    free(order);
    *text = out.text; /* the caller's */
    if (!out.failed) return IJ_OK;
    ij_json_free(&out);
    *text = NULL;
    return ij_fail(err, IJ_ERROR_MEMORY, "out of host memory: configuration text");
}
