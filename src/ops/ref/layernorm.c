/* layer: ops (reference); uses: nothing */
#include "ops/layernorm.h"

#include <math.h>

void ref_layernorm(const double *x, const uint32_t *index, const double *gamma, const double *beta, double *y, double *mean, double *rstd,
                   int64_t rows, int64_t dim, double eps) {
    for (int64_t r = 0; r < rows; r++) {
        const double *in = x + (index ? index[r] : r) * dim;
        double *out = y + r * dim, m = 0, variance = 0;
        for (int64_t d = 0; d < dim; d++) m += in[d] / (double)dim;
        for (int64_t d = 0; d < dim; d++) variance += (in[d] - m) * (in[d] - m) / (double)dim;
        double s = 1 / sqrt(variance + eps);
        for (int64_t d = 0; d < dim; d++) out[d] = (in[d] - m) * s * (gamma ? gamma[d] : 1) + (beta ? beta[d] : 0);
        if (mean) mean[r] = m, rstd[r] = s;
    }
}

void ref_layernorm_bwd(const double *x, const double *dy, const double *gamma, const double *mean, const double *rstd, double *dx,
                       double *dgamma, double *dbeta, int64_t rows, int64_t dim) {
    for (int64_t r = 0; r < rows; r++) {
        const double *in = x + r * dim, *grad = dy + r * dim;
        double sum_g = 0, sum_gx = 0;
        for (int64_t d = 0; d < dim; d++) {
            double xhat = (in[d] - mean[r]) * rstd[r], g = grad[d] * (gamma ? gamma[d] : 1);
            sum_g += g / (double)dim, sum_gx += g * xhat / (double)dim;
            if (dgamma) dgamma[d] += grad[d] * xhat, dbeta[d] += grad[d];
        }
        for (int64_t d = 0; d < dim; d++) {
            double xhat = (in[d] - mean[r]) * rstd[r], g = grad[d] * (gamma ? gamma[d] : 1);
            dx[r * dim + d] += rstd[r] * (g - sum_g - xhat * sum_gx);
        }
    }
}
