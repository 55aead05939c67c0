/* Labels of images from a table: one row an image, one column a question.       layer: data; uses: dataset, base
 *
 *     file,count,dist                        CSV (RFC 4180): a header line, fields in quotes where they hold commas, quotes ("") or
 *     000000.png,3,1                         line ends; lines end in LF or CR LF. A byte order mark is skipped, blank lines too.
 *     "odd, name.png",10,0                   The column `file` has an image's name in its dataset: its path below the data folder
 *                                            with '/', or "train-images-idx3-ubyte:17" for an IDX file.
 *
 * A column's distinct values, byte for byte, are the classes: in the order of the numbers where every value is one ("3" before "10"; "3"
 * and "3.0" are two classes), else bytewise. Datasets that are asked for together share their classes, so that train and test agree by
 * value whatever each of them lacks. Rows of images that a dataset has not are left alone.
 *
 * Errors name file, line and column. Refused: no header, no `file` column, a column's name given twice, a row with more or fewer fields than
 * the header, a file named twice, quotes that do not close or stand inside a field, a lone CR, zero bytes, more than IJ_LABELS_BYTES_MAX
 * bytes or IJ_LABELS_COLUMNS_MAX columns; of a column: an image without a row, an empty value, more than IJ_LABELS_CLASSES_MAX classes. */
#ifndef IJ_DATA_LABELS_H
#define IJ_DATA_LABELS_H

#include "base/error.h"
#include "data/dataset.h"

#include <stddef.h>
#include <stdint.h>

#define IJ_LABELS_BYTES_MAX ((int64_t)1 << 30)
#define IJ_LABELS_COLUMNS_MAX 1000
#define IJ_LABELS_CLASSES_MAX 100000

typedef struct ij_labels ij_labels;

ij_status ij_labels_read(const char *csv, ij_labels **out, ij_error *err);
/* The same for bytes in memory, which are copied; `name` is for the error texts. */
ij_status ij_labels_parse(const void *bytes, size_t count, const char *name, ij_labels **out, ij_error *err);
void ij_labels_free(ij_labels *labels); /* NULL is fine */

int64_t ij_labels_rows(const ij_labels *labels);
int ij_labels_columns(const ij_labels *labels);
const char *ij_labels_column_name(const ij_labels *labels, int column);
const char *ij_labels_value(const ij_labels *labels, int64_t row, int column);

/* A dataset and the table that describes it. */
typedef struct ij_labels_part {
    const ij_labels *labels;
    const ij_dataset *images;
} ij_labels_part;

enum { IJ_LABELS_PARTS_MAX = 2 };

typedef struct ij_label_column {
    int classes;
    char **names;                         /* [classes] the values */
    int32_t *labels[IJ_LABELS_PARTS_MAX]; /* part k: [count of its images] the class of each */
} ij_label_column;

/* The classes of all images of 1 or 2 parts (train, test) in a column. What is missing is IJ_ERROR_MISMATCH; the hint lists the columns that
 * there are. ij_label_column_free for a zeroed or filled one. */
ij_status ij_labels_column(const ij_labels_part *parts, int count, const char *column, ij_label_column *out, ij_error *err);
void ij_label_column_free(ij_label_column *column);

#endif
