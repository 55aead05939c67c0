/* layer: model; uses: base */
#include "model/positions.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Four neighbours of an output and their weights. */
typedef struct taps {
    int at[4];
    double weight[4];
} taps;

/* Keys' cubic, a = -3/4, at distances 1 + t, t, 1 - t, 2 - t; neighbours outside are the edge's. */
static taps taps_of(int output, int inputs, int outputs) {
    const double a = -0.75;
    float scale = (float)inputs / (float)outputs;
    float source = scale * ((float)output + 0.5f) - 0.5f; /* rounded as torch rounds it: at column 30 that alone is worth 1e-6 */
    double whole = floor((double)source);
    taps k;
    for (int i = 0; i < 4; i++) {
        double d = fabs((double)source - (whole + i - 1));
        k.weight[i] = d <= 1 ? ((a + 2) * d - (a + 3)) * d * d + 1 : ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
        k.at[i] = (int)whole + i - 1;
        if (k.at[i] < 0) k.at[i] = 0;
        if (k.at[i] > inputs - 1) k.at[i] = inputs - 1;
    }
    return k;
}

void ij_positions_interpolate(const float *rows, int height, int width, int dim, int out_height, int out_width, float *out) {
    for (int y = 0; y < out_height; y++) {
        taps down = taps_of(y, height, out_height);
        for (int x = 0; x < out_width; x++) {
            taps along = taps_of(x, width, out_width);
            float *to = out + ((int64_t)y * out_width + x) * dim;
            for (int d = 0; d < dim; d++) {
                double sum = 0;
                for (int j = 0; j < 4; j++)
                    for (int i = 0; i < 4; i++)
                        sum += down.weight[j] * along.weight[i] * (double)rows[((int64_t)down.at[j] * width + along.at[i]) * dim + d];
                to[d] = (float)sum;
            }
        }
    }
}

ij_status ij_weights_set_positions(ij_weights *w, int height, int width, const float *rows, ij_error *err) {
    float *copy = NULL;
    int64_t count = (int64_t)height * width * w->model.dim;
    if (rows) {
        if (height < 1 || width < 1 || height > 4096 || width > 4096)
            return ij_fail(err, IJ_ERROR_ARGUMENT, "positions of a grid of %d x %d", height, width);
        IJ_TRY(ij_alloc(&copy, count, sizeof *copy, "stored positions", err));
        memcpy(copy, rows, (size_t)count * sizeof *copy);
    }
    free(w->positions);
    w->positions = copy;
    w->positions_height = rows ? height : 0, w->positions_width = rows ? width : 0;
    return IJ_OK;
}

ij_status ij_weights_choose_positions(ij_weights *w, const char *choice, const ij_model_config *trained, const ij_model_config *now,
                                      ij_error *err) {
    int height = ij_grid_height(trained), width = ij_grid_width(trained);
    float *rows;
    if (!choice) return IJ_OK;
    if (strcmp(choice, "fixed") == 0) return ij_weights_set_positions(w, 0, 0, NULL, err);
    if (strcmp(choice, "interpolated") != 0)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "positions \"%.40s\": there are fixed, interpolated", choice);
    if (w->positions || (height == ij_grid_height(now) && width == ij_grid_width(now))) return IJ_OK;
    IJ_TRY(ij_alloc(&rows, (int64_t)height * width * w->model.dim, sizeof *rows, "positions", err));
    ij_positions(height, width, w->model.dim, rows);
    ij_status status = ij_weights_set_positions(w, height, width, rows, err);
    free(rows);
    return status;
}

void ij_weights_positions(const ij_weights *w, int height, int width, float *out) {
    if (!w->positions)
        ij_positions(height, width, w->model.dim, out);
    else if (height == w->positions_height && width == w->positions_width)
        memcpy(out, w->positions, (size_t)height * (size_t)width * (size_t)w->model.dim * sizeof *out);
    else
        ij_positions_interpolate(w->positions, w->positions_height, w->positions_width, w->model.dim, height, width, out);
}

bool ij_positions_fixed(const float *rows, int height, int width, int dim) {
    float *fixed;
    bool same = true;
    if (ij_alloc(&fixed, (int64_t)height * width * dim, sizeof *fixed, "positions", NULL) != IJ_OK) return false;
    ij_positions(height, width, dim, fixed);
    for (int64_t i = 0; i < (int64_t)height * width * dim && same; i++) same = fabsf(rows[i] - fixed[i]) <= 1e-5f; /* not for NaN */
    free(fixed);
    return same;
}
