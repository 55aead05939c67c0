/* layer: eval; uses: base */
#include "eval/lbfgs.h"
#include "base/memory.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PAIRS 8
#define HALVINGS 30

/* Vectors of one minimisation, in one allocation. */
typedef struct lbfgs_state {
    int64_t count;
    double *memory;
    double *gradient, *trial, *trial_gradient, *direction;
    double *s[PAIRS], *y[PAIRS]; /* newest last: a ring from `first` */
    double rho[PAIRS];
    int pairs, first;
} lbfgs_state;

static double dot(const double *a, const double *b, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

static void add_scaled(double *to, double factor, const double *from, int64_t count) {
    for (int64_t i = 0; i < count; i++) to[i] += factor * from[i];
}

/* direction = -H gradient, by the two loops of algorithm 7.4. Without pairs: the gradient, at most one long. */
static void find_direction(lbfgs_state *st) {
    double alpha[PAIRS], *q = st->direction;
    for (int64_t i = 0; i < st->count; i++) q[i] = -st->gradient[i];
    if (st->pairs == 0) {
        double length = sqrt(dot(q, q, st->count));
        for (int64_t i = 0; i < st->count && length > 1; i++) q[i] /= length;
        return;
    }
    for (int i = st->pairs - 1; i >= 0; i--) {
        int at = (st->first + i) % PAIRS;
        alpha[i] = st->rho[at] * dot(st->s[at], q, st->count);
        add_scaled(q, -alpha[i], st->y[at], st->count);
    }
    int newest = (st->first + st->pairs - 1) % PAIRS;
    double gamma = 1 / (st->rho[newest] * dot(st->y[newest], st->y[newest], st->count));
    for (int64_t i = 0; i < st->count; i++) q[i] *= gamma;
    for (int i = 0; i < st->pairs; i++) {
        int at = (st->first + i) % PAIRS;
        add_scaled(q, alpha[i] - st->rho[at] * dot(st->y[at], q, st->count), st->s[at], st->count);
    }
}

/* The pair of the step from x to trial. */
static void remember(lbfgs_state *st, const double *x) {
    int at = (st->first + st->pairs) % PAIRS;
    for (int64_t i = 0; i < st->count; i++) {
        st->s[at][i] = st->trial[i] - x[i];
        st->y[at][i] = st->trial_gradient[i] - st->gradient[i];
    }
    double curvature = dot(st->s[at], st->y[at], st->count);
    if (!(curvature > 1e-12 * dot(st->y[at], st->y[at], st->count))) {
        if (st->pairs == PAIRS) st->first = (st->first + 1) % PAIRS, st->pairs--; /* its place was overwritten */
        return;
    }
    st->rho[at] = 1 / curvature;
    if (st->pairs < PAIRS)
        st->pairs++;
    else
        st->first = (st->first + 1) % PAIRS;
}

/* Halves the step along the direction until the function falls enough; *found is false when it never does. */
static ij_status search(const lbfgs_desc *desc, lbfgs_state *st, const double *x, double value, double *trial_value, bool *found) {
    double slope = dot(st->gradient, st->direction, st->count), step = 1;
    *found = false;
    for (int i = 0; i < HALVINGS && slope < 0; i++, step /= 2) {
        for (int64_t k = 0; k < st->count; k++) st->trial[k] = x[k] + step * st->direction[k];
        IJ_TRY(desc->objective(desc->user, st->trial, trial_value, st->trial_gradient));
        if (*trial_value <= value + 1e-4 * step * slope) { /* false for NaN */
            *found = true;
            return IJ_OK;
        }
    }
    return IJ_OK;
}

static ij_status descend(const lbfgs_desc *desc, lbfgs_state *st, double *x, ij_error *err) {
    size_t bytes = (size_t)st->count * sizeof *x;
    double value, trial_value;
    IJ_TRY(desc->objective(desc->user, x, &value, st->gradient));
    if (!isfinite(value)) return ij_fail(err, IJ_ERROR_NUMBER, "the function to be minimised is %g at the start", value);
    for (int i = 0; i < desc->iterations; i++) {
        bool found;
        find_direction(st);
        IJ_TRY(search(desc, st, x, value, &trial_value, &found));
        if (!found && st->pairs) { /* the model of the curvature misleads: once more along the gradient */
            st->pairs = 0;
            find_direction(st);
            IJ_TRY(search(desc, st, x, value, &trial_value, &found));
        }
        if (!found) return desc->objective(desc->user, x, &value, st->gradient);
        remember(st, x);
        memcpy(x, st->trial, bytes);
        memcpy(st->gradient, st->trial_gradient, bytes);
        double gain = value - trial_value;
        value = trial_value;
        if (desc->iterated) desc->iterated(desc->user);
        if (gain <= desc->gain * fabs(value)) break;
    }
    return IJ_OK;
}

ij_status lbfgs(const lbfgs_desc *desc, double *x, ij_error *err) {
    lbfgs_state st = {.count = desc->count};
    IJ_TRY(ij_alloc(&st.memory, (4 + 2 * PAIRS) * desc->count, sizeof(double), "vectors of L-BFGS", err));
    double *next = st.memory;
    double **vectors[] = {&st.gradient, &st.trial, &st.trial_gradient, &st.direction};
    for (int i = 0; i < IJ_COUNT(vectors); i++, next += desc->count) *vectors[i] = next;
    for (int i = 0; i < PAIRS; i++, next += 2 * desc->count) st.s[i] = next, st.y[i] = next + desc->count;
    ij_status status = descend(desc, &st, x, err);
    free(st.memory);
    return status;
}
