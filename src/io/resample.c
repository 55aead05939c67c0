/* layer: io; uses: image, base */
#include "io/resample.h"
#include "base/memory.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BITS_MAX 22 /* 8 of a pixel, 22 of a weight, and two for sums beyond 1 and the sign */

/* One direction: output begin + i is the sum over k < counts[i] of weights[i * window + k] x pixel firsts[i] + k. */
typedef struct axis {
    int *firsts, *counts; /* [outputs] */
    int32_t *weights;     /* [outputs, window] */
    int begin, window, bits;
    bool same; /* as many outputs as pixels: nothing to do */
} axis;

/* ---- weights ---- */

static double triangle(double t) { return fabs(t) < 1 ? 1 - fabs(t) : 0; }

static double cubic(double t) { /* Keys, a = -1/2 */
    t = fabs(t);
    if (t < 1) return (1.5 * t - 2.5) * t * t + 1;
    return t < 2 ? (((t - 5) * t + 8) * t - 4) * -0.5 : 0;
}

/* Whether weights of this size fit 16 bits when scaled by 2^bits. */
static bool fits(double largest, int bits) { return (int)(0.5 + largest * (double)(1 << bits)) < 1 << 15; }

static int torch_bits(double largest) {
    int bits = 0;
    while (bits < BITS_MAX && fits(largest, bits + 1)) bits++;
    return bits;
}

/* One output's weights in floats, summing to 1, from pixel *first on; returns how many. */
static int weigh(int output, int pixels, double scale, ij_filter filter, int *first_out, double *out) {
    double stretch = scale > 1 ? scale : 1, reach = (filter == IJ_FILTER_BICUBIC ? 2 : 1) * stretch, inverse = 1 / stretch;
    double centre = (output + 0.5) * scale, total = 0;
    int first = (int)(centre - reach + 0.5), end = (int)(centre + reach + 0.5);
    if (first < 0) first = 0;
    if (end > pixels) end = pixels;
    *first_out = first;
    for (int k = 0; k < end - first; k++) {
        double t = (k + first - centre + 0.5) * inverse;
        out[k] = filter == IJ_FILTER_BICUBIC ? cubic(t) : triangle(t);
        total += out[k];
    }
    for (int k = 0; k < end - first && total != 0; k++) out[k] /= total;
    return end - first;
}

/* Outputs from `first` on, `count` of `outputs`. PyTorch's precision is that of all of them. */
static ij_status make_axis(axis *a, int pixels, int outputs, int first, int count, const ij_resample_desc *d, ij_error *err) {
    double scale = (double)pixels / outputs, largest = 0, *weights;
    a->same = pixels == outputs;
    a->begin = first;
    a->window = (int)ceil((d->filter == IJ_FILTER_BICUBIC ? 2 : 1) * (scale > 1 ? scale : 1)) * 2 + 1;
    IJ_TRY(ij_alloc(&a->firsts, count, sizeof *a->firsts, "resampling", err));
    IJ_TRY(ij_alloc(&a->counts, count, sizeof *a->counts, "resampling", err));
    IJ_TRY(ij_alloc(&a->weights, (int64_t)count * a->window, sizeof *a->weights, "resampling", err));
    IJ_TRY(ij_alloc(&weights, a->window, sizeof *weights, "resampling", err));
    a->bits = BITS_MAX;
    if (d->rounding == IJ_ROUNDING_TORCH) {
        for (int i = 0, from; i < outputs; i++)
            for (int k = weigh(i, pixels, scale, d->filter, &from, weights); k-- > 0;) largest = fmax(largest, weights[k]);
        a->bits = torch_bits(largest);
    }
    for (int i = 0; i < count; i++) {
        int32_t *to = a->weights + (int64_t)i * a->window;
        a->counts[i] = weigh(first + i, pixels, scale, d->filter, &a->firsts[i], weights);
        for (int k = 0; k < a->counts[i]; k++) to[k] = (int32_t)(weights[k] * (double)(1 << a->bits) + (weights[k] < 0 ? -0.5 : 0.5));
    }
    free(weights);
    return IJ_OK;
}

static void free_axis(axis *a) {
    free(a->firsts);
    free(a->counts);
    free(a->weights);
}

/* ---- sums ---- */

static uint8_t clamp(int32_t sum, int bits) {
    if (sum < 0) return 0;
    sum >>= bits;
    return (uint8_t)(sum > 255 ? 255 : sum);
}

static void resize_row(const axis *a, const uint8_t *row, int outputs, int channels, uint8_t *out) {
    for (int i = 0; i < outputs; i++) {
        const int32_t *w = a->weights + (int64_t)i * a->window;
        const uint8_t *from = row + (int64_t)a->firsts[i] * channels;
        int32_t sum[3] = {1 << a->bits >> 1, 1 << a->bits >> 1, 1 << a->bits >> 1};
        if (channels == 3)
            for (int k = 0; k < a->counts[i]; k++, from += 3) sum[0] += w[k] * from[0], sum[1] += w[k] * from[1], sum[2] += w[k] * from[2];
        else
            for (int k = 0; k < a->counts[i]; k++) sum[0] += w[k] * from[k];
        for (int c = 0; c < channels; c++) *out++ = clamp(sum[c], a->bits);
    }
}

/* Resized rows wait in a ring of the window's size: row r in place r % window. Windows only move down, so each row is made once. */
typedef struct ring {
    uint8_t *rows; /* [window, stride] */
    int32_t *sums; /* [stride] */
    int64_t stride;
    int window, made; /* rows of the picture that were made or passed */
} ring;

static uint8_t *ring_row(const ring *r, int row) { return r->rows + (int64_t)(row % r->window) * r->stride; }

static void make_rows(ring *r, const axis *along, const ij_image *image, int width, int first, int end) {
    if (r->made < first) r->made = first;
    for (; r->made < end; r->made++) {
        const uint8_t *row = image->pixels + (int64_t)r->made * image->width * image->channels;
        if (along->same)
            memcpy(ring_row(r, r->made), row + (int64_t)along->begin * image->channels, (size_t)r->stride);
        else
            resize_row(along, row, width, image->channels, ring_row(r, r->made));
    }
}

static void add_rows(const ring *r, const axis *down, int i, uint8_t *out) {
    int first = down->firsts[i];
    for (int64_t e = 0; e < r->stride; e++) r->sums[e] = 1 << down->bits >> 1;
    for (int k = 0; k < down->counts[i]; k++) {
        const uint8_t *row = ring_row(r, first + k);
        int32_t w = down->weights[(int64_t)i * down->window + k];
        for (int64_t e = 0; e < r->stride; e++) r->sums[e] += w * row[e];
    }
    for (int64_t e = 0; e < r->stride; e++) out[e] = clamp(r->sums[e], down->bits);
}

static ij_status resize(const axis *along, const axis *down, const ij_image *image, ring *r, ij_image *out, ij_error *err) {
    r->stride = (int64_t)out->width * out->channels;
    r->window = down->same ? 1 : down->window;
    IJ_TRY(ij_alloc(&r->rows, r->window * r->stride, 1, "rows of a resized picture", err));
    IJ_TRY(ij_alloc(&r->sums, r->stride, sizeof *r->sums, "rows of a resized picture", err));
    for (int y = 0; y < out->height; y++) {
        uint8_t *to = out->pixels + y * r->stride;
        int first = down->same ? down->begin + y : down->firsts[y], count = down->same ? 1 : down->counts[y];
        make_rows(r, along, image, out->width, first, first + count);
        if (down->same)
            memcpy(to, ring_row(r, first), (size_t)r->stride);
        else
            add_rows(r, down, y, to);
    }
    return IJ_OK;
}

ij_status ij_resample(const ij_image *image, const ij_resample_desc *desc, ij_image *out, ij_error *err) {
    ij_resample_desc d = *desc;
    if (!d.part_width) d.left = d.top = 0, d.part_width = d.width, d.part_height = d.height;
    assert(image != out && image->width > 0 && image->height > 0 && (image->channels == 1 || image->channels == 3));
    assert(d.left >= 0 && d.top >= 0 && d.left + d.part_width <= d.width && d.top + d.part_height <= d.height);
    axis along = {0}, down = {0};
    ring r = {0};
    ij_status status = ij_image_resize(out, d.part_width, d.part_height, image->channels, "resized picture", err);
    if (status == IJ_OK) status = make_axis(&along, image->width, d.width, d.left, d.part_width, &d, err);
    if (status == IJ_OK) status = make_axis(&down, image->height, d.height, d.top, d.part_height, &d, err);
    if (status == IJ_OK) status = resize(&along, &down, image, &r, out, err);
    free(r.rows);
    free(r.sums);
    free_axis(&along);
    free_axis(&down);
    return status;
}
