/* How many directions a set of features uses: eigenvalues of a symmetric matrix, and RankMe.       layer: train; uses: base */
#ifndef IJ_TRAIN_SPECTRUM_H
#define IJ_TRAIN_SPECTRUM_H

#include "base/error.h"

/* Eigenvalues of the symmetric matrix a [n, n], in no order; a is destroyed. Householder's reduction to a tridiagonal matrix (Golub & Van
 * Loan, algorithm 8.3.1), 4/3 n^3 operations, then the QL iteration with implicit shifts, a few n^2. Fails with IJ_ERROR_NUMBER where
 * an element is not finite. */
ij_status ij_eigenvalues(double *a, int n, double *eigenvalues, ij_error *err);

/* RankMe (Garrido et al. 2023, arXiv 2210.02885): exp of the entropy of the normalised singular values of Z, here from the Gram matrix Z^T
 * Z [n, n] in f32, whose eigenvalues are their squares. As in the paper Z is not centred. 1: all rows are one direction; n: all directions
 * alike; 0: Z is 0. Eigenvalues below a millionth of the largest are the rounding of the f32 products and are left out: singular values
 * below a thousandth of the largest one count as none. */
ij_status ij_rankme(const float *gram, int n, double *rank, ij_error *err);

#endif
