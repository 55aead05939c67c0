/* layer: ops (reference); uses: nothing */
#include "ops/cross_entropy.h"

#include <math.h>

/* One row of one head: its loss; dz (may be NULL) and *right. */
static double classify(const double *z, uint32_t label, int64_t classes, double smoothing, double weight, double *dz, uint32_t *right) {
    int64_t best = 0;
    for (int64_t c = 1; c < classes; c++)
        if (z[c] > z[best]) best = c;
    *right += best == label;
    double sum = 0, loss = 0;
    for (int64_t c = 0; c < classes; c++) sum += exp(z[c] - z[best]);
    for (int64_t c = 0; c < classes; c++) {
        double log_p = z[c] - z[best] - log(sum), t = smoothing / (double)classes + (c == label ? 1 - smoothing : 0);
        loss -= t * log_p;
        if (dz) dz[c] = weight * (exp(log_p) - t);
    }
    return loss;
}

void ref_cross_entropy(const double *logits, const uint32_t *labels, double *dlogits, double *loss, uint32_t *right, int64_t rows,
                       int64_t heads, int64_t classes, double smoothing, double scale) {
    int64_t counted = 0;
    for (int64_t r = 0; r < rows; r++) counted += labels[r] < classes;
    double weight = scale / (double)(counted > 0 ? counted : 1);
    for (int64_t h = 0; h < heads; h++) {
        double sum = 0;
        right[h] = 0;
        for (int64_t r = 0; r < rows; r++) {
            const double *z = logits + (r * heads + h) * classes;
            double *dz = dlogits ? dlogits + (r * heads + h) * classes : NULL;
            if (labels[r] < classes)
                sum += classify(z, labels[r], classes, smoothing, weight, dz, &right[h]);
            else
                for (int64_t c = 0; c < classes && dz; c++) dz[c] = 0;
        }
        loss[h] = weight * sum;
    }
}
