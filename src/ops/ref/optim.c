/* layer: ops (reference); uses: nothing */
#include "ops/optim.h"

#include <math.h>

void ref_adamw(double *p, double *m, double *v, double *g, double *target, int64_t count, const struct optim_step *step,
               const struct reduce_norm *norm, bool decay, bool zero_gradient) {
    double scale = (double)step->grad_scale;
    if (norm && step->clip_norm > 0) scale *= fmin(1, (double)step->clip_norm / ((double)norm->norm * scale + 1e-6));
    for (int64_t i = 0; i < count; i++) {
        double gradient = g[i] * scale;
        if (zero_gradient) g[i] = 0;
        if (norm && !norm->finite) continue;
        if (decay) p[i] *= (double)step->keep;
        m[i] = (1 - (double)step->beta1_rest) * m[i] + (double)step->beta1_rest * gradient;
        v[i] = (double)step->beta2 * v[i] + (double)step->beta2_rest * gradient * gradient;
        p[i] -= (double)step->step_size * m[i] / (sqrt(v[i]) / (double)step->bias2_root + (double)step->eps);
        if (target) target[i] = (double)step->ema * target[i] + (double)step->ema_rest * p[i];
    }
}

/* In f32: with powers of two every line is exact. */
void ref_scale_update(struct reduce_norm *norm, struct optim_scale *scale, uint32_t interval) {
    if (norm->finite) {
        norm->norm /= scale->scale;
        norm->sum_squares /= scale->scale * scale->scale;
        if (++scale->good >= interval) {
            scale->good = 0;
            scale->scale = fminf(2 * scale->scale, OP_SCALE_MAX);
        }
    } else {
        scale->good = 0;
        scale->skipped++;
        scale->scale = fmaxf(scale->scale / 2, 1);
    }
    scale->inverse = 1 / scale->scale;
}
