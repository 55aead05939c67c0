/* layer: ops (reference); uses: nothing */
#include "ops/loss.h"

#include <math.h>

static double value(uint32_t kind, double d) {
    return kind == LOSS_L2 ? d * d : kind == LOSS_L1 ? fabs(d) : fabs(d) < 1 ? 0.5 * d * d : fabs(d) - 0.5;
}

static double derivative(uint32_t kind, double d) {
    double sign = (d > 0) - (d < 0);
    return kind == LOSS_L2 ? 2 * d : kind == LOSS_L1 ? sign : fabs(d) < 1 ? d : sign;
}

double ref_loss(const double *prediction, const double *target, double *dprediction, double *row_loss, int64_t rows, int64_t dim,
                uint32_t kind, double divisor, double scale) {
    double sum = 0, weight = scale / (divisor > 0 ? divisor : (double)(rows > 0 ? rows * dim : 1));
    for (int64_t r = 0; r < rows; r++) {
        double row_sum = 0;
        for (int64_t e = r * dim; e < (r + 1) * dim; e++) {
            double d = prediction[e] - target[e];
            row_sum += value(kind, d);
            if (dprediction) dprediction[e] = weight * derivative(kind, d);
        }
        if (row_loss) row_loss[r] = row_sum / (double)dim;
        sum += row_sum;
    }
    return weight * sum;
}
