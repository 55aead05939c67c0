/* Minimisation of a smooth function of many variables: L-BFGS.       layer: eval; uses: base
 *
 * Nocedal & Wright, Numerical Optimization (2006), algorithms 7.4 and 7.5, eight pairs; the step is halved until the function falls by a
 * ten-thousandth of what its slope promises (Armijo). Pairs without positive curvature are not taken. */
#ifndef IJ_EVAL_LBFGS_H
#define IJ_EVAL_LBFGS_H

#include "base/error.h"

#include <stdint.h>

typedef struct lbfgs_desc {
    int64_t count;  /* variables */
    int iterations; /* at most */
    double gain;    /* ends when a step gains less than this part of the value, or no step gains */
    ij_status (*objective)(void *user, const double *x, double *value, double *gradient); /* a failure is passed on */
    void (*iterated)(void *user);                                                         /* after each iteration [none] */
    void *user;
} lbfgs_desc;

/* x [count]: start in, minimum out. The newest call of the objective was at the returned x. */
ij_status lbfgs(const lbfgs_desc *desc, double *x, ij_error *err);

#endif
