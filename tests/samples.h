/* Samples whose answers are known, for tests of evaluators. SAMPLES_SEED is the including file's. */
#ifndef IJ_TESTS_SAMPLES_H
#define IJ_TESTS_SAMPLES_H

#include "eval/samples.h"
#include "philox.h"

#include <math.h>
#include <stdlib.h>

/* The i'th number of a stream, uniform in [0, 1). */
static inline double uniform(uint32_t stream, uint32_t i) {
    return (double)philox(SAMPLES_SEED, 0, PHILOX_STREAM_TEST, i, stream, 0).x * 0x1p-32;
}

static inline double normal(uint32_t stream, uint32_t i) {
    return sqrt(-2 * log(1 - uniform(stream, 2 * i))) * cos(6.283185307179586 * uniform(stream, 2 * i + 1));
}

typedef struct made {
    float *x;
    int *labels;
    ij_samples samples;
} made;

/* x = separation x (class's direction) + noise; the directions are the same in all streams. */
static inline made make_samples(uint32_t stream, int64_t count, int dim, int classes, double separation, double noise) {
    made m = {calloc((size_t)(count * dim), sizeof(float)), calloc((size_t)count, sizeof(int)), {0}};
    for (int64_t i = 0; i < count; i++) {
        m.labels[i] = (int)(uniform(stream + 1, (uint32_t)i) * classes);
        for (int d = 0; d < dim; d++)
            m.x[i * dim + d] =
                (float)(separation * normal(99, (uint32_t)(m.labels[i] * dim + d)) + noise * normal(stream, (uint32_t)(i * dim + d)));
    }
    m.samples = (ij_samples){m.x, m.labels, count, dim, classes};
    return m;
}

/* A number without an interval of its own: ij_accuracy_over then gives Student's over several. */
static inline ij_accuracy exactly(double percent) { return (ij_accuracy){percent, percent, percent}; }

static inline void free_made(made m) {
    free(m.x);
    free(m.labels);
}

#endif
