/* layer: ops (reference); uses: nothing */
#include "ops/heads.h"

#include <math.h>

void ref_heads_stats(const double *x, int64_t rows, int64_t width, double *batch, double *running, double momentum) {
    for (int64_t c = 0; c < width; c++) {
        double mean = 0, squares = 0;
        for (int64_t r = 0; r < rows; r++) mean += x[r * width + c] / (double)rows;
        for (int64_t r = 0; r < rows; r++) squares += (x[r * width + c] - mean) * (x[r * width + c] - mean);
        batch[2 * c] = mean, batch[2 * c + 1] = squares / (double)rows;
        running[2 * c] += momentum * (mean - running[2 * c]);
        running[2 * c + 1] += momentum * (squares / (double)(rows - 1) - running[2 * c + 1]);
    }
}

void ref_heads_columns(const double *x, const double *stats, double *to, int64_t rows, int64_t width, int64_t first, int64_t columns,
                       int64_t padded, double eps) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < padded; c++) {
            double value = c < columns ? x[r * width + first + c] : 0;
            const double *s = stats && c < columns ? stats + 2 * (first + c) : NULL;
            to[r * padded + c] = s ? (value - s[0]) / sqrt(s[1] + eps) : value;
        }
}

static double norm_of(const double *x, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += x[i] * x[i];
    return sqrt(sum);
}

void ref_heads_update(double *p, double *v, const double *g, const struct heads_setting *settings, int64_t heads, int64_t count,
                      bool bias) {
    for (int64_t h = 0; h < heads; h++, p += count, v += count, g += count) {
        double decay = bias ? 0 : (double)settings[h].weight_decay, ratio = 1;
        double weights = norm_of(p, count), gradient = norm_of(g, count);
        if (!bias && settings[h].trust > 0 && weights > 0 && gradient > 0)
            ratio = (double)settings[h].trust * weights / (gradient + decay * weights);
        for (int64_t i = 0; i < count; i++) {
            v[i] = (double)settings[h].momentum * v[i] + ratio * (g[i] + decay * p[i]);
            p[i] -= (double)settings[h].lr * v[i];
        }
    }
}
