/* What watches for representation collapse, and what works against it.       layer: ops; uses: gpu
 *
 * A falling loss is not learning: targets that depend on the position alone, or on nothing, are easy to predict. So the monitor looks
 * at the variance across images at the same position, at the loss of the trivial predictor (the position's mean target), at the
 * mean cosine between images. The VICReg term (Bardes, Ponce, LeCun, 2022; with I-JEPA: C-JEPA, arXiv 2410.19560) keeps the context
 * encoder's pooled output spread out; it is off by default, published runs have none. */
#ifndef IJ_OPS_COLLAPSE_H
#define IJ_OPS_COLLAPSE_H

#include "ops/op.h"
#include "shaders/collapse.h"

/* Of x [images patches, dim], all images of equal length; variances are of the population, averaged over dim. */
typedef struct op_position_stats_args {
    gpu_tensor x;       /* [images patches, dim] */
    gpu_tensor mean;    /* [patches, dim]: the trivial predictor */
    gpu_tensor stats;   /* struct collapse_position */
    gpu_tensor scratch; /* op_position_stats_scratch bytes */
    uint32_t images, patches, dim;
    uint32_t kind; /* of the trivial predictor's loss: LOSS_SMOOTH_L1, LOSS_L2, LOSS_L1 */
} op_position_stats_args;

ij_status op_position_stats(gpu_program *program, const op_position_stats_args *args, ij_error *err);
uint64_t op_position_stats_scratch(uint32_t patches, uint32_t dim);

/* y [images patches, dim] = x - the mean [images, dim] of its image. */
typedef struct op_centre_images_args {
    gpu_tensor x, mean, y; /* y is not x */
    uint32_t images, patches, dim;
} op_centre_images_args;

ij_status op_centre_images(gpu_program *program, const op_centre_images_args *args, ij_error *err);

/* cosine[0] = mean cosine of all pairs of different rows of x [rows, dim] = (|sum of x / |x||^2 - rows) / (rows (rows - 1)). */
typedef struct op_cosine_stats_args {
    gpu_tensor x;       /* [rows, dim], rows >= 2; a row of zeros has cosine 0 with every other */
    gpu_tensor cosine;  /* [1] */
    gpu_tensor scratch; /* 4 rows bytes */
    uint32_t rows, dim;
} op_cosine_stats_args;

ij_status op_cosine_stats(gpu_program *program, const op_cosine_stats_args *args, ij_error *err);

/* loss = weight (mean_d relu(gamma - sqrt(var_d + eps)) + covariance_weight sum_{i != j} C_ij^2 / dim), var and C with rows - 1;
 * dz (+)= dloss / dz. */
typedef struct op_vicreg_args {
    gpu_tensor z;       /* [rows, dim], rows >= 2 */
    gpu_tensor dz;      /* [rows, dim], not z [not wanted] */
    gpu_tensor loss;    /* struct collapse_vicreg */
    gpu_tensor scratch; /* op_vicreg_scratch bytes */
    uint32_t rows, dim;
    float weight, covariance_weight;
    float gamma, eps; /* [1, 1e-4] */
    bool add;         /* dz += [dz =] */
} op_vicreg_args;

ij_status op_vicreg(gpu_program *program, const op_vicreg_args *args, ij_error *err);
uint64_t op_vicreg_scratch(uint32_t rows, uint32_t dim);

/* References, in double; stats [4] and loss [3] in the order of the structs. dz may be NULL; it is added to. */
void ref_position_stats(const double *x, double *mean, double *stats, int64_t images, int64_t patches, int64_t dim, uint32_t kind);
void ref_centre_images(const double *x, const double *mean, double *y, int64_t images, int64_t patches, int64_t dim);
double ref_cosine_stats(const double *x, int64_t rows, int64_t dim);
void ref_vicreg(const double *z, double *loss, double *dz, int64_t rows, int64_t dim, double weight, double covariance_weight, double gamma,
                double eps);

#endif
