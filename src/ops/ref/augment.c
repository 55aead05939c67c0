/* RandAugment in double, a picture at a time; histogram and windows written out.       layer: ops (reference); uses: nothing */
#include "ops/augment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct picture {
    const double *at;
    int height, width, channels;
    bool mirrored;
} picture;

static double value(const picture *p, int y, int x, int c) {
    if (p->mirrored) x = p->width - 1 - x;
    return p->at[((int64_t)y * p->width + x) * p->channels + c];
}

static double whole(double v) { return fmin(fmax(floor(v + 0.5), 0), 255); }
static double blend(double from, double v, double factor) { return fmin(fmax(from + factor * (v - from), 0), 255); }

static double grey(const picture *p, int y, int x) {
    if (p->channels == 1) return value(p, y, x, 0);
    return 0.299 * value(p, y, x, 0) + 0.587 * value(p, y, x, 1) + 0.114 * value(p, y, x, 2);
}

static double mean_grey(const picture *p) {
    double sum = 0;
    for (int y = 0; y < p->height; y++)
        for (int x = 0; x < p->width; x++) sum += grey(p, y, x);
    return sum / ((double)p->height * p->width);
}

static void limits(const picture *p, int c, double *low, double *high) {
    *low = *high = value(p, 0, 0, c);
    for (int y = 0; y < p->height; y++)
        for (int x = 0; x < p->width; x++) *low = fmin(*low, value(p, y, x, c)), *high = fmax(*high, value(p, y, x, c));
}

static void equalizer(const picture *p, int c, double table[256]) {
    int64_t counts[256] = {0}, all = 0, last = 0;
    for (int y = 0; y < p->height; y++)
        for (int x = 0; x < p->width; x++) counts[(int)whole(value(p, y, x, c))]++, all++;
    for (int i = 0; i < 256; i++)
        if (counts[i]) last = counts[i];
    int64_t per_value = (all - last) / 255, sum = per_value / 2;
    for (int i = 0; i < 256; i++) {
        table[i] = per_value ? fmin((double)(sum / per_value), 255) : i;
        sum += counts[i];
    }
}

static int inside(int i, int count) { return i < 0 ? 0 : i >= count ? count - 1 : i; }

/* The place is computed in f32, as on the device: whether it is in the picture is a question of its last bit. */
static double affine(const picture *p, const float v[6], double fill, int y, int x, int c) {
    float i = (float)x + 0.5f, j = (float)y + 0.5f;
    double from_x = (double)(v[0] * i + v[1] * j + v[2]), from_y = (double)(v[3] * i + v[4] * j + v[5]);
    if (from_x < 0 || from_y < 0 || from_x >= p->width || from_y >= p->height) return fill;
    int left = (int)floor(from_x - 0.5), top = (int)floor(from_y - 0.5);
    double sum = 0;
    for (int dy = 0; dy < 2; dy++)
        for (int dx = 0; dx < 2; dx++) {
            double wx = 1 - fabs(from_x - 0.5 - (left + dx)), wy = 1 - fabs(from_y - 0.5 - (top + dy));
            sum += wx * wy * value(p, inside(top + dy, p->height), inside(left + dx, p->width), c);
        }
    return sum;
}

static double smoothed(const picture *p, int y, int x, int c) {
    if (x == 0 || y == 0 || x == p->width - 1 || y == p->height - 1) return value(p, y, x, c);
    double sum = 4 * value(p, y, x, c);
    for (int k = 0; k < 9; k++) sum += value(p, y + k / 3 - 1, x + k % 3 - 1, c);
    return sum / 13;
}

/* What an operation knows of one channel of the picture. */
typedef struct knowledge {
    double low, high, mean, table[256];
} knowledge;

static double changed(const picture *p, const struct augment_step *s, const knowledge *k, double fill, int y, int x, int c) {
    double here = value(p, y, x, c), v = (double)s->v[0];
    switch (s->kind) {
    case AUGMENT_AUTOCONTRAST: return k->high > k->low ? (here - k->low) * 255 / (k->high - k->low) : here;
    case AUGMENT_EQUALIZE: return k->table[(int)whole(here)];
    case AUGMENT_INVERT: return 255 - here;
    case AUGMENT_AFFINE: return affine(p, s->v, fill, y, x, c);
    case AUGMENT_POSTERIZE: return floor(whole(here) / v) * v;
    case AUGMENT_SOLARIZE: return whole(here) < v ? here : 255 - here;
    case AUGMENT_SOLARIZE_ADD: return whole(here) < 128 ? fmin(here + v, 255) : here;
    case AUGMENT_COLOR: return blend(grey(p, y, x), here, v);
    case AUGMENT_CONTRAST: return blend(k->mean, here, v);
    case AUGMENT_BRIGHTNESS: return blend(0, here, v);
    case AUGMENT_SHARPNESS: return blend(smoothed(p, y, x, c), here, v);
    default: return here;
    }
}

void ref_augment_step(const struct augment_step *step, int height, int width, int channels, const double fill[3], const double *from,
                      double *to) {
    picture p = {from, height, width, channels, step->flip != 0};
    for (int c = 0; c < channels; c++) {
        knowledge k;
        limits(&p, c, &k.low, &k.high);
        k.mean = mean_grey(&p);
        equalizer(&p, c, k.table);
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++) to[((int64_t)y * width + x) * channels + c] = changed(&p, step, &k, fill[c], y, x, c);
    }
}

static void cut(const augment_desc *d, const double *from, double *rows) {
    int ps = d->patch, grid_w = d->image_w / ps, row_size = d->channels * ps * ps;
    for (int y = 0; y < d->image_h; y++)
        for (int x = 0; x < d->image_w; x++)
            for (int c = 0; c < d->channels; c++) {
                double v = from[((int64_t)y * d->image_w + x) * d->channels + c];
                int64_t row = y / ps * grid_w + x / ps;
                rows[row * row_size + c * ps * ps + y % ps * ps + x % ps] = (v / 255 - (double)d->mean[c]) / (double)d->std[c];
            }
}

void ref_augment(const augment_desc *d, const double *pixels, const struct augment_step *steps, double *rows) {
    int64_t size = (int64_t)d->image_h * d->image_w * d->channels;
    double *a = malloc((size_t)size * sizeof *a), *b = malloc((size_t)size * sizeof *b), fill[3];
    for (int c = 0; c < 3; c++) fill[c] = 255 * (double)d->mean[c];
    for (int64_t image = 0; a && b && image < d->batch; image++) {
        memcpy(a, pixels + image * size, (size_t)size * sizeof *a);
        for (int s = 0; s < AUGMENT_STEPS; s++) {
            ref_augment_step(&steps[image * AUGMENT_STEPS + s], d->image_h, d->image_w, d->channels, fill, a, b);
            double *other = a;
            a = b, b = other;
        }
        cut(d, a, rows + image * size);
    }
    free(a);
    free(b);
}
