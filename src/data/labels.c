/* layer: data; uses: labels, dataset, base */
#include "data/labels.h"

#include "base/file.h"
#include "base/memory.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 8192 /* of an image's name in a dataset */

typedef struct by_file {
    const char *file;
    int64_t row;
} by_file;

struct ij_labels {
    char *name;          /* of the file, for errors */
    char *text;          /* the file's bytes; fields are unpacked where they stand and end in a 0 byte */
    const char **fields; /* [rows + 1, columns], the header first */
    int64_t field_count, field_capacity;
    int64_t *lines; /* [rows + 1] where each begins, from 1 */
    int64_t line_count, line_capacity;
    int columns;
    by_file *files; /* [rows] sorted by file */
};

int64_t ij_labels_rows(const ij_labels *labels) { return labels->line_count - 1; }
int ij_labels_columns(const ij_labels *labels) { return labels->columns; }
const char *ij_labels_column_name(const ij_labels *labels, int column) { return labels->fields[column]; }
const char *ij_labels_value(const ij_labels *labels, int64_t row, int column) {
    return labels->fields[(row + 1) * labels->columns + column];
}

void ij_labels_free(ij_labels *labels) {
    if (!labels) return;
    free(labels->name);
    free(labels->text);
    free(labels->fields);
    free(labels->lines);
    free(labels->files);
    free(labels);
}

/* Text of a file as a part of an error's one line: at most 80 bytes, '?' for what would end the line. */
static const char *shown(const char *text, char out[84]) {
    int length = snprintf(out, 84, "%.80s", text);
    for (int i = 0; i < length; i++)
        if (iscntrl((unsigned char)out[i])) out[i] = '?';
    return out;
}

/* ---- the table ---- */

typedef struct cursor {
    ij_labels *labels;
    char *at, *end; /* *end is a 0 byte */
    int64_t line;
    ij_error *err;
} cursor;

static ij_status bad_field(const cursor *c, int64_t line, int field, const char *what) {
    return ij_fail(c->err, IJ_ERROR_FORMAT, "%s: line %lld, field %d: %s", c->labels->name, (long long)line, field + 1, what);
}

/* Unpacks the field in quotes that begins at c->at, leaves c->at behind the closing quote and *stop where its 0 byte belongs. */
static ij_status quoted_field(cursor *c, int field, char **stop) {
    int64_t begun = c->line;
    char *to = c->at++;
    for (;; c->at++) {
        if (c->at == c->end) return bad_field(c, begun, field, "its quotes do not close");
        if (*c->at == '\n') c->line++;
        if (*c->at == '"') {
            if (c->at[1] != '"') break;
            c->at++;
        }
        *to++ = *c->at;
    }
    c->at++;
    *stop = to;
    return IJ_OK;
}

static ij_status bare_field(cursor *c, int field, char **stop) {
    c->at += strcspn(c->at, ",\r\n\"");
    if (*c->at == '"') return bad_field(c, c->line, field, "a quote inside a field that does not begin with one");
    *stop = c->at;
    return IJ_OK;
}

/* Takes a field and the comma or line end behind it. *last: it was the line's last. */
static ij_status take_field(cursor *c, int field, bool *last) {
    ij_labels *t = c->labels;
    char *begin = c->at, *stop = NULL;
    bool quoted = *begin == '"';
    IJ_TRY(ij_grow(&t->fields, &t->field_capacity, t->field_count + 1, sizeof *t->fields, "fields of labels", c->err));
    IJ_TRY(quoted ? quoted_field(c, field, &stop) : bare_field(c, field, &stop));
    t->fields[t->field_count++] = begin;
    *last = *c->at != ',';
    if (*c->at == '\r' && c->at[1] == '\n') c->at++;
    if (c->at < c->end && *c->at != ',' && *c->at != '\n')
        return bad_field(c, c->line, field, *c->at == '\r' ? "a carriage return without a line feed" : "text behind the closing quote");
    if (*c->at == '\n') c->line++;
    if (c->at < c->end) c->at++;
    *stop = 0;
    return IJ_OK;
}

/* The header decides how many fields a row has. */
static ij_status take_row(cursor *c) {
    ij_labels *t = c->labels;
    int64_t line = c->line, before = t->field_count;
    bool header = t->line_count == 0, last = false;
    IJ_TRY(ij_grow(&t->lines, &t->line_capacity, t->line_count + 1, sizeof *t->lines, "lines of labels", c->err));
    t->lines[t->line_count++] = line;
    for (int field = 0; !last; field++) {
        if (field == IJ_LABELS_COLUMNS_MAX || (!header && field == t->columns))
            return ij_fail(c->err, IJ_ERROR_FORMAT, "%s: line %lld: more than %d fields", t->name, (long long)line, field);
        IJ_TRY(take_field(c, field, &last));
    }
    int64_t found = t->field_count - before;
    if (header) t->columns = (int)found;
    if (found == t->columns) return IJ_OK;
    return ij_fail(c->err, IJ_ERROR_FORMAT, "%s: line %lld: %lld fields, the header has %d", t->name, (long long)line, (long long)found,
                   t->columns);
}

static bool skip_blank_line(cursor *c) {
    int bytes = *c->at == '\n' ? 1 : c->at[0] == '\r' && c->at[1] == '\n' ? 2 : 0;
    c->at += bytes;
    c->line += bytes > 0;
    return bytes > 0;
}

static ij_status take_table(ij_labels *t, size_t bytes, ij_error *err) {
    cursor c = {t, t->text, t->text + bytes, 1, err};
    const char *zero = memchr(t->text, 0, bytes);
    if (zero) return ij_fail(err, IJ_ERROR_FORMAT, "%s: byte %lld is zero: not a text", t->name, (long long)(zero - t->text));
    if (bytes >= 3 && memcmp(t->text, "\xef\xbb\xbf", 3) == 0) c.at += 3;
    while (c.at < c.end)
        if (!skip_blank_line(&c)) IJ_TRY(take_row(&c));
    if (t->line_count == 0) return ij_fail(err, IJ_ERROR_FORMAT, "%s: no header line", t->name);
    return IJ_OK;
}

/* ---- columns ---- */

static int find_column(const ij_labels *t, const char *name) {
    for (int i = 0; i < t->columns; i++)
        if (strcmp(t->fields[i], name) == 0) return i;
    return -1;
}

/* Fails for a column that is missing, with those that there are as the hint. */
static ij_status no_column(const ij_labels *t, const char *name, ij_error *err) {
    char list[220], text[84];
    size_t used = 0;
    for (int i = 0; i < t->columns && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", shown(t->fields[i], text));
    ij_status status = ij_fail(err, IJ_ERROR_MISMATCH, "%s: no column is called \"%s\"", t->name, shown(name, text));
    ij_hint(err, "its columns: %s", list);
    return status;
}

static int compare_files(const void *a, const void *b) {
    const by_file *x = a, *y = b;
    int order = strcmp(x->file, y->file);
    return order ? order : (x->row > y->row) - (x->row < y->row);
}

static ij_status index_files(ij_labels *t, ij_error *err) {
    char text[84];
    int64_t rows = ij_labels_rows(t);
    int column = find_column(t, "file");
    if (column < 0) return no_column(t, "file", err);
    for (int i = 0; i < t->columns; i++)
        if (find_column(t, t->fields[i]) != i)
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: two columns are called \"%s\"", t->name, shown(t->fields[i], text));
    IJ_TRY(ij_alloc(&t->files, rows, sizeof *t->files, "names of labels", err));
    for (int64_t i = 0; i < rows; i++) t->files[i] = (by_file){ij_labels_value(t, i, column), i};
    qsort(t->files, (size_t)rows, sizeof *t->files, compare_files);
    for (int64_t i = 1; i < rows; i++)
        if (strcmp(t->files[i - 1].file, t->files[i].file) == 0)
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: lines %lld and %lld are both of file \"%s\"", t->name,
                           (long long)t->lines[t->files[i - 1].row + 1], (long long)t->lines[t->files[i].row + 1],
                           shown(t->files[i].file, text));
    return IJ_OK;
}

/* Owns `text` from here on. */
static ij_status open_table(char *text, size_t bytes, const char *name, ij_labels **out, ij_error *err) {
    ij_labels *t;
    ij_status status = ij_alloc(&t, 1, sizeof *t, "labels", err);
    if (status != IJ_OK) {
        free(text);
        return status;
    }
    t->text = text;
    status = ij_copy_text(&t->name, name, strlen(name), err);
    if (status == IJ_OK) status = take_table(t, bytes, err);
    if (status == IJ_OK) status = index_files(t, err);
    if (status == IJ_OK)
        *out = t;
    else
        ij_labels_free(t);
    return status;
}

ij_status ij_labels_read(const char *csv, ij_labels **out, ij_error *err) {
    void *text;
    size_t bytes;
    *out = NULL;
    IJ_TRY(ij_file_read(csv, IJ_LABELS_BYTES_MAX, &text, &bytes, err));
    return open_table(text, bytes, csv, out, err);
}

ij_status ij_labels_parse(const void *bytes, size_t count, const char *name, ij_labels **out, ij_error *err) {
    char *text;
    *out = NULL;
    if (count > (size_t)IJ_LABELS_BYTES_MAX) return ij_fail(err, IJ_ERROR_FORMAT, "%s: %zu bytes of labels", name, count);
    IJ_TRY(ij_alloc(&text, (int64_t)count + 1, 1, "text of labels", err));
    memcpy(text, bytes, count);
    return open_table(text, count, name, out, err);
}

/* ---- classes ---- */

/* The value of one image, or a class: the text and the number that it is, if it is one. */
typedef struct value {
    const char *text;
    double number;
} value;

/* A decimal number and nothing else: no blanks, hexadecimal digits or names of infinity. */
static bool read_number(const char *text, double *number) {
    char *end;
    if (text[strspn(text, "+-.0123456789eE")] != 0 || !strpbrk(text, "0123456789")) return false;
    *number = strtod(text, &end);
    return *end == 0;
}

static int compare_texts(const void *a, const void *b) { return strcmp(((const value *)a)->text, ((const value *)b)->text); }
static int compare_numbers(const void *a, const void *b) {
    const value *x = a, *y = b;
    return x->number != y->number ? (x->number > y->number ? 1 : -1) : compare_texts(a, b);
}

/* The row of a file, or -1. */
static int64_t find_row(const ij_labels *t, const char *file) {
    int64_t low = 0, high = ij_labels_rows(t);
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (strcmp(t->files[middle].file, file) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < ij_labels_rows(t) && strcmp(t->files[low].file, file) == 0 ? t->files[low].row : -1;
}

static ij_status part_values(const ij_labels_part *part, const char *column, value *values, ij_error *err) {
    const ij_labels *t = part->labels;
    char name[NAME_MAX_BYTES], text[84], column_text[84];
    int which = find_column(t, column);
    if (which < 0) return no_column(t, column, err);
    for (int64_t i = 0; i < ij_dataset_count(part->images); i++) {
        int64_t row = find_row(t, ij_dataset_name(part->images, i, name, sizeof name));
        if (row < 0) return ij_fail(err, IJ_ERROR_MISMATCH, "%s: no row for image \"%s\"", t->name, shown(name, text));
        values[i].text = ij_labels_value(t, row, which);
        if (!*values[i].text)
            return ij_fail(err, IJ_ERROR_MISMATCH, "%s: line %lld: \"%s\" has no value in column \"%s\"", t->name,
                           (long long)t->lines[row + 1], shown(name, text), shown(column, column_text));
    }
    return IJ_OK;
}

/* Sorts values[count] (text alone is set) and keeps one of each. */
static ij_status distinct(value *values, int64_t count, const char *column, int *classes, ij_error *err) {
    char text[84];
    int64_t kept = 0;
    bool numbers = true;
    qsort(values, (size_t)count, sizeof *values, compare_texts);
    for (int64_t i = 0; i < count; i++)
        if (kept == 0 || strcmp(values[kept - 1].text, values[i].text) != 0) values[kept++] = values[i];
    if (kept > IJ_LABELS_CLASSES_MAX)
        return ij_fail(err, IJ_ERROR_MISMATCH, "column \"%s\" has %lld different values, more than %d classes", shown(column, text),
                       (long long)kept, IJ_LABELS_CLASSES_MAX);
    for (int64_t i = 0; i < kept; i++) numbers = numbers && read_number(values[i].text, &values[i].number);
    if (numbers) qsort(values, (size_t)kept, sizeof *values, compare_numbers);
    *classes = (int)kept;
    return IJ_OK;
}

/* Numbers every value by its class: classes sorted bytewise are searched, `order` says where each stands among the classes. */
static void number_values(const value *values, int64_t count, const value *sorted, int classes, const int32_t *order, int32_t *labels) {
    for (int64_t i = 0; i < count; i++) {
        const value *found = bsearch(&values[i], sorted, (size_t)classes, sizeof *sorted, compare_texts);
        labels[i] = order[found - sorted];
    }
}

/* Names the classes and leaves in sorted[] the same values bytewise, in order[] the class of each. */
static ij_status name_classes(ij_label_column *out, value *sorted, int32_t *order, ij_error *err) {
    IJ_TRY(ij_alloc(&out->names, out->classes, sizeof *out->names, "class names", err));
    for (int i = 0; i < out->classes; i++) {
        IJ_TRY(ij_copy_text(&out->names[i], sorted[i].text, strlen(sorted[i].text), err));
        sorted[i].number = i;
    }
    qsort(sorted, (size_t)out->classes, sizeof *sorted, compare_texts);
    for (int i = 0; i < out->classes; i++) order[i] = (int32_t)sorted[i].number;
    return IJ_OK;
}

static ij_status fill_column(const ij_labels_part *parts, int count, const char *column, value *values, value *sorted, int32_t *order,
                             int64_t images, ij_label_column *out, ij_error *err) {
    int64_t at = 0;
    for (int k = 0; k < count; k++) {
        IJ_TRY(part_values(&parts[k], column, values + at, err));
        at += ij_dataset_count(parts[k].images);
    }
    memcpy(sorted, values, (size_t)images * sizeof *values);
    IJ_TRY(distinct(sorted, images, column, &out->classes, err));
    IJ_TRY(name_classes(out, sorted, order, err));
    at = 0;
    for (int k = 0; k < count; k++) {
        int64_t n = ij_dataset_count(parts[k].images);
        IJ_TRY(ij_alloc(&out->labels[k], n, sizeof *out->labels[k], "labels", err));
        number_values(values + at, n, sorted, out->classes, order, out->labels[k]);
        at += n;
    }
    return IJ_OK;
}

ij_status ij_labels_column(const ij_labels_part *parts, int count, const char *column, ij_label_column *out, ij_error *err) {
    value *values = NULL, *sorted = NULL;
    int32_t *order = NULL;
    int64_t images = 0;
    for (int k = 0; k < count; k++) images += ij_dataset_count(parts[k].images);
    memset(out, 0, sizeof *out);
    ij_status status = ij_alloc(&values, images, sizeof *values, "values of labels", err);
    if (status == IJ_OK) status = ij_alloc(&sorted, images, sizeof *sorted, "values of labels", err);
    if (status == IJ_OK) status = ij_alloc(&order, images, sizeof *order, "classes of labels", err);
    if (status == IJ_OK) status = fill_column(parts, count, column, values, sorted, order, images, out, err);
    if (status != IJ_OK) ij_label_column_free(out);
    free(values);
    free(sorted);
    free(order);
    return status;
}

void ij_label_column_free(ij_label_column *column) {
    for (int i = 0; column->names && i < column->classes; i++) free(column->names[i]);
    free(column->names);
    for (int k = 0; k < IJ_LABELS_PARTS_MAX; k++) free(column->labels[k]);
    memset(column, 0, sizeof *column);
}
