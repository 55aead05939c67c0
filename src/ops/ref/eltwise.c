/* layer: ops (reference); uses: nothing */
#include "ops/eltwise.h"

#include <math.h>

void ref_gelu(const double *x, double *y, int64_t count) {
    for (int64_t i = 0; i < count; i++) y[i] = 0.5 * x[i] * (1 + erf(x[i] * 0.70710678118654752440));
}

void ref_gelu_bwd(const double *x, const double *dy, double *dx, int64_t count) {
    const double inv_sqrt_2pi = 0.39894228040143267794;
    for (int64_t i = 0; i < count; i++)
        dx[i] = dy[i] * (0.5 * (1 + erf(x[i] * 0.70710678118654752440)) + x[i] * inv_sqrt_2pi * exp(-0.5 * x[i] * x[i]));
}
