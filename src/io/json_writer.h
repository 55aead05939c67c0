/* JSON out: one value after another into a growing text. Reading is cJSON's job.       layer: io; uses: base
 *
 *     ij_json json = {0};
 *     ij_json_open(&json, '{');
 *     ij_json_key(&json, "loss"), ij_json_number(&json, 0.25);
 *     ij_json_close(&json, '}');
 *     if (json.failed) ...                     out of memory; sticky, so that it is asked once
 *     fputs(json.text, file);
 *     ij_json_free(&json);
 *
 * Commas are put where they belong. The text is always valid UTF-8: bytes of a string that are not become U+FFFD. */
#ifndef IJ_IO_JSON_WRITER_H
#define IJ_IO_JSON_WRITER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ij_json {
    char *text; /* ends in a 0 byte that `length` does not count; NULL before the first value */
    int64_t length, capacity;
    bool comma;  /* the next value or key needs one before it */
    bool keyed;  /* a key waits for its value */
    bool failed; /* out of memory; the text is cut short */
    int indent;  /* set before the first value: a line for each key and item, so many spaces deeper a level [0: all in one line] */
    int depth;   /* open brackets */
} ij_json;

void ij_json_open(ij_json *json, char bracket);  /* '{' or '[' */
void ij_json_close(ij_json *json, char bracket); /* '}' or ']' */
void ij_json_key(ij_json *json, const char *key);
void ij_json_string(ij_json *json, const char *text); /* NULL writes null */
void ij_json_number(ij_json *json, double value);     /* reads back as the same double; NaN and infinities become null */
void ij_json_float(ij_json *json, float value);       /* likewise the same float, as short as it can be: 0.286 */
void ij_json_integer(ij_json *json, int64_t value);
void ij_json_bool(ij_json *json, bool value);
void ij_json_raw(ij_json *json, const char *text); /* as it is: white space, or a value made elsewhere; no comma is put */
void ij_json_clear(ij_json *json);                 /* empty again, memory kept */
void ij_json_free(ij_json *json);

/* Shortest of %.15g, %.16g and %.17g that reads back as the same double, with a point whatever the locale; "nan", "inf" as printf. */
void ij_number_text(double value, char out[32]);

/* The shortest decimal that reads back as the same float. */
void ij_float_text(float value, char out[32]);

#endif
