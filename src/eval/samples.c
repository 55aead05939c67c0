/* layer: eval; uses: base */
#include "eval/samples.h"

#include <math.h>

ij_status ij_samples_check(const ij_samples *s, const char *name, ij_error *err) {
    if (s->count < 1 || s->dim < 1 || s->classes < 1)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: %lld samples of %d features in %d classes", name, (long long)s->count, s->dim,
                       s->classes);
    for (int64_t i = 0; i < s->count; i++) {
        if (s->labels[i] < 0 || s->labels[i] >= s->classes)
            return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: sample %lld has label %d of %d classes", name, (long long)i, s->labels[i],
                           s->classes);
        for (int64_t d = 0; d < s->dim; d++)
            if (!isfinite(s->x[i * s->dim + d]))
                return ij_fail(err, IJ_ERROR_NUMBER, "%s: feature %lld of sample %lld is not a finite number", name, (long long)d,
                               (long long)i);
    }
    return IJ_OK;
}

ij_accuracy ij_accuracy_of(int64_t right, int64_t count) {
    const double z = 1.959963984540054; /* 97.5 % of the normal distribution */
    double n = (double)count, p = (double)right / n;
    double centre = (p + z * z / (2 * n)) / (1 + z * z / n);
    double half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    return (ij_accuracy){100 * p, 100 * fmax(0, centre - half), 100 * fmin(1, centre + half)};
}

int64_t ij_count_right(const int *predicted, const int *labels, int64_t count) {
    int64_t right = 0;
    for (int64_t i = 0; i < count; i++) right += predicted[i] == labels[i];
    return right;
}
