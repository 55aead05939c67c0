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

/* What counts as nothing is measured by the whole matrix, not by the neighbours: of a singular one whole blocks are rounding alone, and rotating
 * these might not end. The reflections have left an error of that size anyway. */
static bool iterate(double *d, double *e, int n) {
    double norm = 0;
    for (int i = 0; i < n; i++) norm = fmax(norm, fabs(d[i]) + fabs(e[i]));
    for (int low = 0; low < n; low++)
        for (int turn = 0;; turn++) {
            int high = low;
            while (high < n - 1 && fabs(e[high]) > DBL_EPSILON * norm) high++;
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

/* exp of the entropy of values / their sum; what is below 0 by rounding is nothing. */
static double effective_number(const double *values, int64_t count) {
    double total = 0, entropy = 0;
    for (int64_t i = 0; i < count; i++) total += fmax(values[i], 0);
    for (int64_t i = 0; i < count; i++)
        if (values[i] > 0) entropy -= values[i] / total * log(values[i] / total);
    return total > 0 ? exp(entropy) : 0;
}

ij_status ij_rankme(const float *gram, int n, double *rank, ij_error *err) {
    double *a, *values = NULL, largest = 0;
    IJ_TRY(ij_alloc(&a, (int64_t)n * n + n, sizeof *a, "Gram matrix", err));
    values = a + (size_t)n * (size_t)n;
    for (size_t i = 0; i < (size_t)n * (size_t)n; i++) a[i] = (double)gram[i];
    ij_status status = ij_eigenvalues(a, n, values, err);
    for (int i = 0; i < n && status == IJ_OK; i++) largest = fmax(largest, values[i]);
    for (int i = 0; i < n && status == IJ_OK; i++) {
        values[i] = values[i] > ROUNDING * largest ? sqrt(values[i]) : 0;
    }
    if (status == IJ_OK) *rank = effective_number(values, n);
    free(a);
    return status;
}

static int descending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* The upper triangle of a [n, n], positive definite, becomes U with U^T U = a: row after row, each taken off all below it. */
static bool cholesky(double *a, size_t n) {
    for (size_t k = 0; k < n; k++) {
        double *row = a + k * n;
        if (!(row[k] > 0)) return false;
        double root = sqrt(row[k]);
        for (size_t j = k; j < n; j++) row[j] /= root;
        for (size_t i = k + 1; i < n; i++) {
            double factor = row[i], *below = a + i * n;
            for (size_t j = i; j < n; j++) below[j] -= factor * row[j];
        }
    }
    return true;
}

/* x becomes U^-T x. */
static void solve(const double *u, size_t n, double *x) {
    for (size_t k = 0; k < n; k++) {
        double factor = x[k] /= u[k * n + k];
        for (size_t j = k + 1; j < n; j++) x[j] -= factor * u[k * n + j];
    }
}

/* The eigenvalues of (W + d I)^-1 B are those of the small matrix X X^T / images, X [images, n] = centred U^-1. */
static ij_status lidar(double *w, double *centred, int64_t images, size_t n, double ridge, double *rank, ij_error *err) {
    double *small;
    for (size_t d = 0; d < n; d++) w[d * n + d] += ridge;
    if (!cholesky(w, n)) return ij_fail(err, IJ_ERROR_NUMBER, "LiDAR: the features' covariance within images is not positive definite");
    IJ_TRY(ij_alloc(&small, images * images + images, sizeof *small, "LiDAR", err));
    for (int64_t i = 0; i < images; i++) solve(w, n, centred + (size_t)i * n);
    for (int64_t i = 0; i < images; i++)
        for (int64_t j = 0; j < images; j++)
            for (size_t d = 0; d < n; d++)
                small[i * images + j] += centred[(size_t)i * n + d] * centred[(size_t)j * n + d] / (double)images;
    ij_status status = ij_eigenvalues(small, (int)images, small + images * images, err);
    if (status == IJ_OK) *rank = effective_number(small + images * images, images);
    free(small);
    return status;
}

/* centred [images, n] from means. */
static void centre(const float *means, int64_t images, size_t n, double *centred) {
    for (size_t d = 0; d < n; d++) {
        double mean = 0;
        for (int64_t i = 0; i < images; i++) mean += (double)means[(size_t)i * n + d] / (double)images;
        for (int64_t i = 0; i < images; i++) centred[(size_t)i * n + d] = (double)means[(size_t)i * n + d] - mean;
    }
}

ij_status ij_image_spectrum(const float *within, const float *means, int64_t images, int64_t patches, int n, double *eigenvalues,
                            ij_image_stats *stats, ij_error *err) {
    size_t size = (size_t)n;
    double *memory, between = 0, total = 0;
    *stats = (ij_image_stats){NAN, NAN, NAN};
    IJ_TRY(ij_alloc(&memory, 2 * (int64_t)n * n + images * n, sizeof *memory, "spectrum of the features", err));
    double *w = memory, *all = w + size * size, *centred = all + size * size; /* all: its lower triangle */
    centre(means, images, size, centred);
    for (int64_t k = 0; k < images; k++)
        for (size_t i = 0; i < size; i++) {
            const double *row = centred + (size_t)k * size;
            double part = row[i] / (double)images;
            for (size_t j = 0; j <= i; j++) all[i * size + j] += part * row[j];
        }
    for (size_t i = 0; i < size; i++) {
        between += all[i * size + i];
        for (size_t j = 0; j < size; j++) w[i * size + j] = (double)within[i * size + j] / (double)(images * patches);
        for (size_t j = 0; j <= i; j++) all[i * size + j] += w[i * size + j];
        total += all[i * size + i];
    }
    ij_status status = ij_eigenvalues(all, n, eigenvalues, err);
    if (status == IJ_OK) qsort(eigenvalues, size, sizeof *eigenvalues, descending);
    for (int i = 0; i < n && status == IJ_OK; i++) eigenvalues[i] = fmax(eigenvalues[i], 0);
    if (status == IJ_OK && total > 0) {
        stats->image_share = between / total, stats->top_share = eigenvalues[0] / total;
        status = lidar(w, centred, images, size, IJ_LIDAR_RIDGE * total / n, &stats->lidar, err);
    }
    free(memory);
    return status;
}

int ij_spectrum_points(int n, int at[IJ_SPECTRUM_POINTS]) {
    int count = n < IJ_SPECTRUM_POINTS ? n : IJ_SPECTRUM_POINTS;
    for (int i = 0, last = 0; i < count; i++) {
        int point = n <= IJ_SPECTRUM_POINTS ? i + 1 : (int)lround(pow(n, (double)i / (count - 1)));
        int most = n - (count - 1 - i);
        at[i] = last = point <= last ? last + 1 : point > most ? most : point;
    }
    return count;
}
