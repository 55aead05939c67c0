/* layer: ops (reference); uses: nothing */
#include "ops/reduce.h"

#include <math.h>

struct reduce_norm ref_norm(const double *const *arrays, const int64_t *counts, int array_count) {
    double sum = 0;
    for (int a = 0; a < array_count; a++)
        for (int64_t i = 0; i < counts[a]; i++) sum += arrays[a][i] * arrays[a][i];
    if (!(sum <= 3.4028234e38)) return (struct reduce_norm){-1, -1, 0, 0};
    return (struct reduce_norm){(float)sqrt(sum), (float)sum, 1, 0};
}

void ref_distance(const double *a, const double *b, int64_t count, double out[4]) {
    double difference = 0, squares = 0;
    for (int64_t i = 0; i < count; i++) difference += (a[i] - b[i]) * (a[i] - b[i]), squares += a[i] * a[i];
    out[0] = squares > 0 ? sqrt(difference / squares) : 0, out[1] = difference, out[2] = squares, out[3] = 0;
}

void ref_mean_rows(const double *x, const uint32_t *offsets, double *pooled, int64_t sequences, int64_t dim) {
    for (int64_t s = 0; s < sequences; s++)
        for (int64_t d = 0; d < dim; d++) {
            double sum = 0;
            for (int64_t r = offsets[s]; r < offsets[s + 1]; r++) sum += x[r * dim + d];
            pooled[s * dim + d] = offsets[s + 1] > offsets[s] ? sum / (offsets[s + 1] - offsets[s]) : 0;
        }
}

void ref_mean_rows_bwd(const double *dpooled, const uint32_t *offsets, double *dx, int64_t sequences, int64_t dim, bool add) {
    for (int64_t s = 0; s < sequences; s++)
        for (int64_t r = offsets[s]; r < offsets[s + 1]; r++)
            for (int64_t d = 0; d < dim; d++)
                dx[r * dim + d] = (add ? dx[r * dim + d] : 0) + dpooled[s * dim + d] / (offsets[s + 1] - offsets[s]);
}
