/* How many directions a set of features uses: eigenvalues of a symmetric matrix, and RankMe.       layer: train; uses: base */
#ifndef IJ_TRAIN_SPECTRUM_H
#define IJ_TRAIN_SPECTRUM_H

#include "base/error.h"

#include <stdint.h>

/* Eigenvalues of the symmetric matrix a [n, n], in no order; a is destroyed. Householder's reduction to a tridiagonal matrix (Golub & Van
 * Loan, algorithm 8.3.1), 4/3 n^3 operations, then the QL iteration with implicit shifts, a few n^2. Fails with IJ_ERROR_NUMBER where
 * an element is not finite. */
ij_status ij_eigenvalues(double *a, int n, double *eigenvalues, ij_error *err);

/* RankMe (Garrido et al. 2023, arXiv 2210.02885): exp of the entropy of the normalised singular values of Z, here from the Gram matrix Z^T
 * Z [n, n] in f32, whose eigenvalues are their squares. As in the paper Z is not centred. 1: all rows are one direction; n: all directions
 * alike; 0: Z is 0. Eigenvalues below a millionth of the largest are the rounding of the f32 products and are left out: singular values
 * below a thousandth of the largest one count as none. */
ij_status ij_rankme(const float *gram, int n, double *rank, ij_error *err);

/* How features spread between and within images. Features are f[i, p] [images, patches, n], means m[i], mean m:
 *   B = mean_i (m[i] - m)(m[i] - m)^T       between images
 *   W = mean_ip (f[i, p] - m[i])(f[i, p] - m[i])^T       within an image
 *   covariance of all features = B + W */
typedef struct ij_image_stats {
    double image_share; /* trace B / trace (B + W); NaN where that is 0. 0: all images have the same mean */
    double lidar;       /* see ij_image_spectrum; 0: all images have the same mean; NaN likewise */
    double top_share;   /* largest eigenvalue of B + W / their sum; NaN likewise */
} ij_image_stats;

/* From within = (images patches) W [n, n], and means [images, n], both f32; eigenvalues [n] of B + W, descending, those below 0 by rounding
 * as 0. images >= 2.
 *
 * lidar is LiDAR (Thilak et al. 2024, arXiv 2312.04000) on what a look has at hand: exp of the entropy of l / sum l, l the eigenvalues of
 *   (W + d I)^(-1/2) B (W + d I)^(-1/2),  d = IJ_LIDAR_RIDGE trace (B + W) / n
 * the effective number of directions in which images differ more than what is inside one image. It differs from the paper in the views
 * of an image, which there are augmented or masked copies and here are the image's own patches (so positions count as noise within); in the
 * number of images, a batch instead of about a thousand, so it is at most images - 1 and must be compared at one batch size; in a ridge
 * that is relative to the features' size, and without the small number that the paper adds to each share. Like RankMe it is a rank and
 * blind to size: image_share says how much there is. */
#define IJ_LIDAR_RIDGE 1e-4
ij_status ij_image_spectrum(const float *within, const float *means, int64_t images, int64_t patches, int n, double *eigenvalues,
                            ij_image_stats *stats, ij_error *err);

#define IJ_SPECTRUM_POINTS 24

/* Which eigenvalues of n a log keeps, from 1 on, ascending, the first and the last among them: all of up to 24, else evenly by logarithm.
 * Returns how many. */
int ij_spectrum_points(int n, int at[IJ_SPECTRUM_POINTS]);

#endif
