/* Sketched isotropic Gaussian regularisation (Balestriero & LeCun 2025, LeJEPA, arXiv 2511.08544).       layer: ops; uses: gpu
 *
 * Rows z are projected on random unit vectors; on each, the Epps-Pulley statistic says how far the projections are from N(0, 1):
 *   statistic = rows x integral of |mean exp(i t u) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt,  trapezoid with 17 knots on [0, 3], doubled
 * (the integrand is even; knots, window and the factor `rows` as the authors' code has them). loss = weight x mean over directions.
 * Collapsed rows are as far as can be, so the term keeps z spread out in all directions, as VICReg's does, with one weight. */
#ifndef IJ_OPS_SIGREG_H
#define IJ_OPS_SIGREG_H

#include "ops/op.h"
#include "shaders/sigreg.h"

/* directions [count, dim], unit vectors uniform on the sphere, keyed by seed and step of key (struct sigreg_key). */
ij_status op_sigreg_directions(gpu_program *program, gpu_tensor key, gpu_tensor directions, uint32_t count, uint32_t dim, ij_error *err);

typedef struct op_sigreg_args {
    gpu_tensor z;          /* [rows, dim] */
    gpu_tensor directions; /* [count, dim] */
    gpu_tensor dz;         /* [rows, dim], not z [not wanted]; dz (+)= dloss / dz */
    gpu_tensor loss;       /* struct sigreg_result */
    gpu_tensor scratch;    /* op_sigreg_scratch bytes */
    uint32_t rows, dim, count;
    float weight;
    bool add; /* dz += [dz =] */
} op_sigreg_args;

ij_status op_sigreg(gpu_program *program, const op_sigreg_args *args, ij_error *err);
uint64_t op_sigreg_scratch(uint32_t rows, uint32_t count);

/* References, in double; loss [2]: loss, statistic. dz may be NULL; it is added to. */
void ref_sigreg_directions(const uint32_t key[4], double *directions, int64_t count, int64_t dim);
void ref_sigreg(const double *z, const double *directions, double *loss, double *dz, int64_t rows, int64_t dim, int64_t count,
                double weight);

#endif
