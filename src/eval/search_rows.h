/* Rows as search compares them: less the mean, to length 1.       layer: eval; uses: base */
#ifndef IJ_EVAL_SEARCH_ROWS_H
#define IJ_EVAL_SEARCH_ROWS_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct ij_search_rows {
    const float *x; /* [count, dim] the caller's */
    int64_t count;
    int dim;
    double *mean;  /* [dim] zeros where nothing is taken off */
    double *scale; /* [count] 1 / length of a row less the mean; 0 for a row that has none */
    bool centred;
} ij_search_rows;

/* A number that is not finite is IJ_ERROR_NUMBER naming the row. A row less the mean that is shorter than 1e-6 of the row itself is rounding
 * and has no length. */
ij_status ij_search_rows_open(const float *x, int64_t count, int dim, bool centre, ij_search_rows *out, ij_error *err);
void ij_search_rows_close(ij_search_rows *rows); /* zeroed or opened */

/* 1 / length of any vector less the rows' mean. */
double ij_search_scale(const ij_search_rows *rows, const float *vector);

/* Cosine of two vectors less the rows' mean, by their scales. */
double ij_search_cosine(const ij_search_rows *rows, const float *a, double scale_a, const float *b, double scale_b);

#endif
