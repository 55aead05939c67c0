/* layer: eval; uses: search_rows, search, base */
#include "eval/search_rows.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "eval/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PIECE 256

double ij_search_scale(const ij_search_rows *r, const float *vector) {
    double square = 0, whole = 0;
    for (int d = 0; d < r->dim; d++) {
        double value = vector[d], part = value - r->mean[d];
        square += part * part;
        whole += value * value;
    }
    return square > 1e-12 * whole ? 1 / sqrt(square) : 0;
}

double ij_search_cosine(const ij_search_rows *r, const float *a, double scale_a, const float *b, double scale_b) {
    double sum = 0;
    for (int d = 0; d < r->dim; d++) sum += ((double)a[d] - r->mean[d]) * ((double)b[d] - r->mean[d]);
    return sum * scale_a * scale_b;
}

static void scale_rows(void *user, int64_t begin, int64_t end, int64_t piece) {
    (void)piece;
    ij_search_rows *r = user;
    for (int64_t i = begin; i < end; i++) r->scale[i] = ij_search_scale(r, r->x + i * r->dim);
}

static ij_status add_up(ij_search_rows *r, bool centre, ij_error *err) {
    for (int64_t i = 0; i < r->count; i++)
        for (int d = 0; d < r->dim; d++) {
            float value = r->x[i * r->dim + d];
            if (!isfinite(value))
                return ij_fail(err, IJ_ERROR_NUMBER, "index: feature %d of image %lld is %g", d, (long long)i, (double)value);
            r->mean[d] += (double)value;
        }
    r->centred = centre && r->count >= IJ_SEARCH_CENTRE_MIN;
    for (int d = 0; d < r->dim; d++) r->mean[d] = r->centred ? r->mean[d] / (double)r->count : 0;
    return IJ_OK;
}

ij_status ij_search_rows_open(const float *x, int64_t count, int dim, bool centre, ij_search_rows *out, ij_error *err) {
    *out = (ij_search_rows){.x = x, .count = count, .dim = dim};
    ij_status status = ij_alloc(&out->mean, dim, sizeof *out->mean, "mean of an index", err);
    if (status == IJ_OK) status = ij_alloc(&out->scale, count, sizeof *out->scale, "lengths of an index", err);
    if (status == IJ_OK) status = add_up(out, centre, err);
    if (status == IJ_OK)
        ij_parallel(0, count, PIECE, scale_rows, out);
    else
        ij_search_rows_close(out);
    return status;
}

void ij_search_rows_close(ij_search_rows *rows) {
    free(rows->mean);
    free(rows->scale);
    memset(rows, 0, sizeof *rows);
}
