/* Linear probe: multinomial logistic regression on frozen features.       layer: eval; uses: base, data, gpu, ops
 *
 *   minimise  f(W) = mean over training samples of -log softmax(W [x, 1])[label]  +  l2 / 2 |W without biases|^2
 *
 * x is standardised by the training samples' mean and standard deviation (a constant feature becomes 0). f is convex; L-BFGS (Nocedal &
 * Wright, algorithm 7.5) on all samples at once finds its minimum, whatever the scale of the features, without a learning rate to tune.
 * The two products of an evaluation run on the device, softmax and the optimiser in double on the host.
 *
 * l2 is chosen on a tenth of the training samples (a seeded draw) from five values, strong to weak, each started from the one before, until
 * one is worse than the one before; then W is fitted to all samples. Where that tenth would have fewer samples than there are classes, l2
 * is PROBE_L2_FEW. Those fits end when an iteration gains little; with a given l2 there is one fit, which goes to the minimum.
 *
 * scikit-learn's LogisticRegression(C = 1 / (l2 x training samples)) on the same standardised features minimises the same function
 * (tests/peers_frozen.py compares). */
#ifndef IJ_EVAL_PROBE_H
#define IJ_EVAL_PROBE_H

#include "eval/samples.h"
#include "gpu/gpu.h"

#define PROBE_L2_FEW 1e-3

typedef struct ij_probe_desc {
    uint64_t seed;  /* of the held-out draw */
    double l2;      /* given: one fit, to the minimum [chosen] */
    int iterations; /* most of one fit; an iteration is about one pass over the samples [100; 1000 with a given l2] */
    void (*progress)(void *user, const char *what, int64_t done, int64_t total); /* in iterations of all fits together [none] */
    void *user;
} ij_probe_desc;

typedef struct ij_probe_result {
    double l2;                /* chosen */
    double held_out;          /* accuracy in percent that chose it; NaN: given, or nothing held out */
    double loss, train_right; /* f and accuracy in percent on the training samples, of the final W */
    int evaluations;          /* of f, all fits together */
} ij_probe_result;

/* predicted [test->count]; test->labels may be NULL; result may be NULL. */
ij_status ij_probe(gpu_device *device, const ij_samples *train, const ij_samples *test, const ij_probe_desc *desc, int *predicted,
                   ij_probe_result *result, ij_error *err);

/* ---- its parts, for tests ---- */

typedef struct probe_problem probe_problem;

/* Training samples on the device, in an order drawn from the seed: the first `held_out` of that order are those that a fit leaves out. */
ij_status probe_problem_create(gpu_device *device, const ij_samples *train, uint64_t seed, probe_problem **out, ij_error *err);
void probe_problem_destroy(probe_problem *problem);
int probe_problem_width(const probe_problem *problem); /* of a row of W: the features, the bias, padding */

typedef struct probe_value {
    double loss;
    int64_t right, held_out_right; /* predictions among the fitted and among the held-out samples */
} probe_value;

/* f and its gradient at w [classes, width], the first held_out samples left out. */
ij_status probe_evaluate(probe_problem *problem, const double *w, double l2, int64_t held_out, double *gradient, probe_value *value,
                         ij_error *err);

#endif
