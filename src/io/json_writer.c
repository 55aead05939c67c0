/* layer: io; uses: base */
#include "io/json_writer.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void append(ij_json *json, const char *text, size_t bytes) {
    if (json->failed) return;
    if (ij_grow(&json->text, &json->capacity, json->length + (int64_t)bytes + 1, 1, "JSON text", NULL) != IJ_OK) {
        json->failed = true;
        return;
    }
    memcpy(json->text + json->length, text, bytes);
    json->length += (int64_t)bytes;
    json->text[json->length] = 0;
}

static void begin_line(ij_json *json) {
    if (!json->indent) return;
    append(json, "\n", 1);
    for (int i = 0; i < json->indent * json->depth; i++) append(json, " ", 1);
}

static void begin_value(ij_json *json) {
    if (json->comma) append(json, ",", 1);
    if (json->depth && !json->keyed) begin_line(json);
    json->comma = true;
    json->keyed = false;
}

/* Length of the well-formed UTF-8 sequence at text (no overlong forms, no surrogates, at most U+10FFFF), or 0. */
static size_t utf8_length(const unsigned char *text) {
    unsigned char a = text[0];
    if (a < 0x80) return 1;
    size_t length = a >= 0xc2 && a <= 0xdf ? 2 : (a & 0xf0) == 0xe0 ? 3 : a >= 0xf0 && a <= 0xf4 ? 4 : 0;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80) return 0; /* also stops at the final 0 */
    if (a == 0xe0 && text[1] < 0xa0) return 0;
    if (a == 0xed && text[1] > 0x9f) return 0;
    if (a == 0xf0 && text[1] < 0x90) return 0;
    if (a == 0xf4 && text[1] > 0x8f) return 0;
    return length;
}

static void append_quoted(ij_json *json, const char *text) {
    append(json, "\"", 1);
    for (const unsigned char *c = (const unsigned char *)text; *c;) {
        size_t length = utf8_length(c);
        char escape[8];
        if (length == 0) {
            append(json, "\xef\xbf\xbd", 3);
            length = 1;
        } else if (*c == '"' || *c == '\\') {
            append(json, escape, (size_t)snprintf(escape, sizeof escape, "\\%c", *c));
        } else if (*c < 0x20 || *c == 0x7f) {
            append(json, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", *c));
        } else {
            append(json, (const char *)c, length);
        }
        c += length;
    }
    append(json, "\"", 1);
}

void ij_json_open(ij_json *json, char bracket) {
    begin_value(json);
    append(json, &bracket, 1);
    json->depth++;
    json->comma = false;
}

void ij_json_close(ij_json *json, char bracket) {
    json->depth--;
    if (json->comma) begin_line(json); /* nothing between "{" and "}" */
    append(json, &bracket, 1);
    json->comma = true;
}

void ij_json_key(ij_json *json, const char *key) {
    begin_value(json);
    append_quoted(json, key);
    append(json, json->indent ? ": " : ":", json->indent ? 2 : 1);
    json->comma = false;
    json->keyed = true;
}

void ij_json_string(ij_json *json, const char *text) {
    begin_value(json);
    if (text)
        append_quoted(json, text);
    else
        append(json, "null", 4);
}

void ij_number_text(double value, char out[32]) {
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out, 32, "%.*g", digits, value);
        if (strtod(out, NULL) == value) break;
    }
    for (char *c = out; *c; c++)
        if (*c == ',') *c = '.';
}

void ij_float_text(float value, char out[32]) {
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(out, 32, "%.*g", digits, (double)value);
        if (strtof(out, NULL) == value) break;
    }
    for (char *c = out; *c; c++)
        if (*c == ',') *c = '.';
}

void ij_json_float(ij_json *json, float value) {
    char text[32] = "null";
    if (isfinite(value)) ij_float_text(value, text);
    begin_value(json);
    append(json, text, strlen(text));
}

void ij_json_number(ij_json *json, double value) {
    char text[32] = "null";
    if (isfinite(value)) ij_number_text(value, text);
    begin_value(json);
    append(json, text, strlen(text));
}

void ij_json_integer(ij_json *json, int64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    begin_value(json);
    append(json, text, strlen(text));
}

void ij_json_bool(ij_json *json, bool value) {
    begin_value(json);
    append(json, value ? "true" : "false", value ? 4 : 5);
}

void ij_json_raw(ij_json *json, const char *text) { append(json, text, strlen(text)); }

void ij_json_clear(ij_json *json) {
    json->length = 0;
    json->depth = 0;
    json->comma = json->keyed = false;
    if (json->text) json->text[0] = 0;
}

void ij_json_free(ij_json *json) {
    free(json->text);
    memset(json, 0, sizeof *json);
}
