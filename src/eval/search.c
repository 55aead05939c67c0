/* The nearest rows to a query: one pass over the index on the host.       layer: eval; uses: search, search_rows, base */
#include "eval/search.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "eval/search_rows.h"

#include <math.h>
#include <stdlib.h>

#define PIECE 256

typedef struct comparison {
    const ij_search_rows *rows;
    const float *query;
    double scale;       /* of the query */
    ij_search_hit *all; /* [count] */
} comparison;

static void compare_rows(void *user, int64_t begin, int64_t end, int64_t piece) {
    (void)piece;
    comparison *c = user;
    const ij_search_rows *r = c->rows;
    for (int64_t i = begin; i < end; i++)
        c->all[i] = (ij_search_hit){i, ij_search_cosine(r, c->query, c->scale, r->x + i * r->dim, r->scale[i])};
}

static int nearer(const void *a, const void *b) {
    const ij_search_hit *x = a, *y = b;
    if (x->similarity != y->similarity) return x->similarity > y->similarity ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

ij_status ij_search_nearest(const float *x, int64_t count, int dim, const float *query, int64_t k, bool centre, ij_search_hit *hits,
                            int64_t *found, bool *centred, ij_error *err) {
    ij_search_rows rows = {0};
    comparison c = {.rows = &rows, .query = query};
    for (int d = 0; d < dim; d++)
        if (!isfinite(query[d])) return ij_fail(err, IJ_ERROR_NUMBER, "query: feature %d is %g", d, (double)query[d]);
    ij_status status = ij_search_rows_open(x, count, dim, centre, &rows, err);
    if (status == IJ_OK) status = ij_alloc(&c.all, count, sizeof *c.all, "similarities", err);
    if (status == IJ_OK) {
        c.scale = ij_search_scale(&rows, query);
        ij_parallel(0, count, PIECE, compare_rows, &c);
        qsort(c.all, (size_t)count, sizeof *c.all, nearer);
        *found = k < count ? k : count;
        for (int64_t i = 0; i < *found; i++) hits[i] = c.all[i];
        if (centred) *centred = rows.centred;
    }
    free(c.all);
    ij_search_rows_close(&rows);
    return status;
}
