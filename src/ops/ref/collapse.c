/* layer: ops (reference); uses: nothing */
#include "ops/collapse.h"
#include "ops/loss.h"

#include <math.h>

void ref_position_stats(const double *x, double *mean, double *stats, int64_t images, int64_t patches, int64_t dim, uint32_t kind) {
    int64_t image_size = patches * dim;
    double count = (double)image_size, within = 0, between = 0, trivial = 0;
    for (int64_t at = 0; at < image_size; at++) {
        mean[at] = 0;
        for (int64_t i = 0; i < images; i++) mean[at] += x[i * image_size + at] / (double)images;
        for (int64_t i = 0; i < images; i++) {
            double d = x[i * image_size + at] - mean[at];
            within += d * d / (double)images / count;
            trivial += ref_loss(&x[i * image_size + at], &mean[at], NULL, NULL, 1, 1, kind, 0, 1) / (double)images / count;
        }
    }
    for (int64_t d = 0; d < dim; d++) {
        double grand = 0;
        for (int64_t p = 0; p < patches; p++) grand += mean[p * dim + d] / (double)patches;
        for (int64_t p = 0; p < patches; p++) between += pow(mean[p * dim + d] - grand, 2) / count;
    }
    stats[0] = within, stats[1] = between, stats[2] = within + between, stats[3] = trivial;
}

void ref_centre_images(const double *x, const double *mean, double *y, int64_t images, int64_t patches, int64_t dim) {
    for (int64_t r = 0; r < images * patches; r++)
        for (int64_t d = 0; d < dim; d++) y[r * dim + d] = x[r * dim + d] - mean[r / patches * dim + d];
}

/* Pair by pair, as it is defined. */
double ref_cosine_stats(const double *x, int64_t rows, int64_t dim) {
    double sum = 0;
    for (int64_t a = 0; a < rows; a++)
        for (int64_t b = 0; b < rows; b++) {
            double ab = 0, aa = 0, bb = 0;
            for (int64_t d = 0; d < dim; d++) {
                double u = x[a * dim + d], v = x[b * dim + d];
                ab += u * v, aa += u * u, bb += v * v;
            }
            if (a != b && aa > 0 && bb > 0) sum += ab / sqrt(aa * bb);
        }
    return sum / (double)(rows * (rows - 1));
}

static double column_mean(const double *z, int64_t rows, int64_t dim, int64_t column) {
    double mean = 0;
    for (int64_t r = 0; r < rows; r++) mean += z[r * dim + column] / (double)rows;
    return mean;
}

void ref_vicreg(const double *z, double *loss, double *dz, int64_t rows, int64_t dim, double weight, double covariance_weight, double gamma,
                double eps) {
    double variance = 0, covariance = 0, n1 = (double)(rows - 1);
    for (int64_t i = 0; i < dim; i++) {
        double mean_i = column_mean(z, rows, dim, i);
        for (int64_t j = 0; j < dim; j++) {
            double mean_j = column_mean(z, rows, dim, j), c = 0;
            for (int64_t r = 0; r < rows; r++) c += (z[r * dim + i] - mean_i) * (z[r * dim + j] - mean_j) / n1;
            double slope; /* of the loss with respect to z[r, i], over the centred z[r, j] */
            if (i == j) {
                double deviation = sqrt(c + eps);
                variance += fmax(gamma - deviation, 0) / (double)dim;
                slope = deviation < gamma ? -weight / ((double)dim * n1 * deviation) : 0;
            } else {
                covariance += c * c / (double)dim;
                slope = 4 * weight * covariance_weight * c / ((double)dim * n1);
            }
            for (int64_t r = 0; r < rows && dz; r++) dz[r * dim + i] += slope * (z[r * dim + j] - mean_j);
        }
    }
    loss[0] = weight * (variance + covariance_weight * covariance), loss[1] = variance, loss[2] = covariance;
}
