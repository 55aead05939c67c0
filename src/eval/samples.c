/* layer: eval; uses: base */
#include "eval/samples.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>

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

ij_status ij_samples_cover(const ij_samples *train, const ij_samples *test, ij_error *err) {
    int64_t *counts;
    int classes = train->classes > test->classes ? train->classes : test->classes;
    ij_status status = IJ_OK;
    IJ_TRY(ij_alloc(&counts, 2 * (int64_t)classes, sizeof *counts, "samples of the classes", err));
    for (int64_t i = 0; i < train->count; i++) counts[train->labels[i]]++;
    for (int64_t i = 0; i < test->count; i++) counts[classes + test->labels[i]]++;
    for (int c = 0; c < classes && status == IJ_OK; c++)
        if (counts[c] == 0 && counts[classes + c] > 0)
            status =
                ij_fail(err, IJ_ERROR_ARGUMENT, "class %d has %lld test samples and no training sample", c, (long long)counts[classes + c]);
    free(counts);
    return status;
}

ij_accuracy ij_accuracy_of(int64_t right, int64_t count) {
    const double z = 1.959963984540054; /* 97.5 % of the normal distribution */
    double n = (double)count, p = (double)right / n;
    double centre = (p + z * z / (2 * n)) / (1 + z * z / n);
    double half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    return (ij_accuracy){100 * p, 100 * fmax(0, centre - half), 100 * fmin(1, centre + half)};
}

/* 97.5 % quantile of Student's distribution: the table to 30 degrees of freedom, from there the normal's. */
static double student(int freedom) {
    static const double t[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
                               2.120,  2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042};
    return freedom <= IJ_COUNT(t) ? t[freedom - 1] : 2.04; /* a little wide */
}

ij_accuracy ij_accuracy_over(const ij_accuracy *runs, int count) {
    if (count == 1) return runs[0];
    ij_accuracy mean = {0};
    double squares = 0;
    for (int i = 0; i < count; i++)
        mean.percent += runs[i].percent / count, mean.low += runs[i].low / count, mean.high += runs[i].high / count;
    for (int i = 0; i < count; i++) squares += (runs[i].percent - mean.percent) * (runs[i].percent - mean.percent);
    double half = student(count - 1) * sqrt(squares / (count - 1) / count);
    mean.low = fmax(0, fmin(mean.low, mean.percent - half));
    mean.high = fmin(100, fmax(mean.high, mean.percent + half));
    return mean;
}

int64_t ij_count_right(const int *predicted, const int *labels, int64_t count) {
    int64_t right = 0;
    for (int64_t i = 0; i < count; i++) right += predicted[i] == labels[i];
    return right;
}
