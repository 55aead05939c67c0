/* layer: ops (reference); uses: nothing */
#include "ops/sigreg.h"
#include "philox.h"

#include <math.h>

static const double two_pi = 6.28318530717958647692;

/* Element e of the normal vector of direction m. */
static double normal_at(const uint32_t key[4], uint32_t m, int64_t e) {
    philox_words w = philox(key[0], key[1], PHILOX_STREAM_SIGREG, m, key[3], (uint32_t)(e / 4));
    uint32_t a = e % 4 < 2 ? w.x : w.z, b = e % 4 < 2 ? w.y : w.w;
    double r = sqrt(-2 * log((double)((a >> 8) + 1) * 0x1p-24)), turn = two_pi * (double)(b >> 8) * 0x1p-24;
    return r * (e % 2 ? sin(turn) : cos(turn));
}

void ref_sigreg_directions(const uint32_t key[4], double *directions, int64_t count, int64_t dim) {
    for (int64_t m = 0; m < count; m++) {
        double squares = 0;
        for (int64_t d = 0; d < dim; d++) squares += pow(normal_at(key, (uint32_t)m, d), 2);
        for (int64_t d = 0; d < dim; d++) directions[m * dim + d] = squares > 0 ? normal_at(key, (uint32_t)m, d) / sqrt(squares) : 0;
    }
}

static double project(const double *z, const double *direction, int64_t dim) {
    double u = 0;
    for (int64_t d = 0; d < dim; d++) u += z[d] * direction[d];
    return u;
}

void ref_sigreg(const double *z, const double *directions, double *loss, double *dz, int64_t rows, int64_t dim, int64_t count,
                double weight) {
    double spacing = (double)SIGREG_END / (SIGREG_KNOTS - 1), mean = 0;
    for (int64_t m = 0; m < count; m++) {
        const double *a = directions + m * dim;
        for (int k = 0; k < SIGREG_KNOTS; k++) {
            double t = spacing * k, window = exp(-t * t / 2), e = -window, s = 0;
            double w = (k == 0 || k == SIGREG_KNOTS - 1 ? 1 : 2) * spacing * window;
            for (int64_t r = 0; r < rows; r++) {
                double u = project(z + r * dim, a, dim);
                e += cos(t * u) / (double)rows, s += sin(t * u) / (double)rows;
            }
            mean += (double)rows * w * (e * e + s * s) / (double)count;
            for (int64_t r = 0; r < rows && dz; r++) {
                double u = project(z + r * dim, a, dim), slope = 2 * weight / (double)count * w * t * (s * cos(t * u) - e * sin(t * u));
                for (int64_t d = 0; d < dim; d++) dz[r * dim + d] += slope * a[d];
            }
        }
    }
    loss[0] = weight * mean, loss[1] = mean;
}
