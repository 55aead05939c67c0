/* layer: train; uses: base */
#include "train/spectrum.h"
#include "base/memory.h"

#include <float.h>
#include <stdbool.h>
#include <math.h>
#include <stdlib.h>

#define ROUNDING 1e-6
#define TURNS_MAX 60 /* of QL for one eigenvalue; two or three are usual */

/* a becomes H a H with H = I - v v^T / h, which zeroes row and column k beyond the off-diagonal element. a's lower triangle only. */
static void reflect(double *a, int n, int k, double *v, double *p) {
    double scale = 0, square = 0;
    for (int i = k + 1; i < n; i++) scale = fmax(scale, fabs(a[i * n + k]));
    if (scale == 0) return;
    for (int i = k + 1; i < n; i++) v[i] = a[i * n + k] / scale, square += v[i] * v[i];
    double length = v[k + 1] > 0 ? -sqrt(square) : sqrt(square); /* the sign that does not cancel */
    double h = square - v[k + 1] * length;
    v[k + 1] -= length;
    a[(k + 1) * n + k] = scale * length;
    if (h == 0) return;

    /* p = a v / h by rows of the triangle, each element used for both of its places */
    for (int i = k + 1; i < n; i++) p[i] = 0;
    for (int i = k + 1; i < n; i++) {
        const double *row = a + (size_t)i * (size_t)n;
        double sum = row[i] * v[i], vi = v[i];
        for (int j = k + 1; j < i; j++) sum += row[j] * v[j], p[j] += row[j] * vi;
        p[i] += sum;
    }
    double pv = 0;
    for (int i = k + 1; i < n; i++) p[i] /= h, pv += p[i] * v[i];
    for (int i = k + 1; i < n; i++) p[i] -= pv / (2 * h) * v[i];
    for (int i = k + 1; i < n; i++) {
        double *row = a + (size_t)i * (size_t)n, vi = v[i], pi = p[i];
        for (int j = k + 1; j <= i; j++) row[j] -= vi * p[j] + pi * v[j];
    }
}

/* One QL sweep on rows low .. high of the tridiagonal matrix (diagonal d, e[i] between i and i + 1), shifted towards the eigenvalue of the
 * leading 2 x 2 block: a rotation at the bottom makes a bulge, the others chase it up. */
static void sweep(double *d, double *e, int low, int high) {
    double g = (d[low + 1] - d[low]) / (2 * e[low]), r = hypot(g, 1);
    g = d[high] - d[low] + e[low] / (g + copysign(r, g));
    double s = 1, c = 1, p = 0;
    for (int i = high - 1; i >= low; i--) {
        double f = s * e[i], b = c * e[i];
        r = hypot(f, g);
        e[i + 1] = r;
        if (r == 0) { /* the matrix falls apart here */
            d[i + 1] -= p;
            e[high] = 0;
            return;
        }
        s = f / r, c = g / r;
        g = d[i + 1] - p;
        r = (d[i] - g) * s + 2 * c * b;
        p = s * r;
        d[i + 1] = g + p;
        g = c * r - b;
    }
    d[low] -= p;
    e[low] = g;
    e[high] = 0;
}

static bool iterate(double *d, double *e, int n) {
    for (int low = 0; low < n; low++)
        for (int turn = 0;; turn++) {
            int high = low;
            while (high < n - 1 && fabs(e[high]) > DBL_EPSILON * (fabs(d[high]) + fabs(d[high + 1]))) high++;
            if (high == low) break;
            if (turn == TURNS_MAX) return false;
            sweep(d, e, low, high);
        }
    return true;
}

ij_status ij_eigenvalues(double *a, int n, double *eigenvalues, ij_error *err) {
    double *memory;
    for (size_t i = 0; i < (size_t)n * (size_t)n; i++)
        if (!isfinite(a[i])) return ij_fail(err, IJ_ERROR_NUMBER, "eigenvalues: element %zu of a %d x %d matrix is not finite", i, n, n);
    IJ_TRY(ij_alloc(&memory, 3 * (int64_t)n, sizeof *memory, "eigenvalues", err));
    double *v = memory, *p = memory + n, *e = memory + 2 * n;
    for (int k = 0; k + 2 < n; k++) reflect(a, n, k, v, p);
    for (int i = 0; i < n; i++) eigenvalues[i] = a[(size_t)i * (size_t)n + (size_t)i];
    for (int i = 0; i + 1 < n; i++) e[i] = a[(size_t)(i + 1) * (size_t)n + (size_t)i];
    bool done = iterate(eigenvalues, e, n);
    free(memory);
    return done ? IJ_OK : ij_fail(err, IJ_ERROR_NUMBER, "eigenvalues of a %d x %d matrix: no convergence", n, n);
}

ij_status ij_rankme(const float *gram, int n, double *rank, ij_error *err) {
    double *a, *values = NULL, largest = 0, total = 0, entropy = 0;
    IJ_TRY(ij_alloc(&a, (int64_t)n * n + n, sizeof *a, "Gram matrix", err));
    values = a + (size_t)n * (size_t)n;
    for (size_t i = 0; i < (size_t)n * (size_t)n; i++) a[i] = (double)gram[i];
    ij_status status = ij_eigenvalues(a, n, values, err);
    for (int i = 0; i < n && status == IJ_OK; i++) largest = fmax(largest, values[i]);
    for (int i = 0; i < n && status == IJ_OK; i++) {
        values[i] = values[i] > ROUNDING * largest ? sqrt(values[i]) : 0;
        total += values[i];
    }
    for (int i = 0; i < n && status == IJ_OK; i++)
        if (values[i] > 0) entropy -= values[i] / total * log(values[i] / total);
    if (status == IJ_OK) *rank = total > 0 ? exp(entropy) : 0;
    free(a);
    return status;
}
