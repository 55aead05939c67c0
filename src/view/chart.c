/* layer: view; uses: picture, base */
#include "view/chart.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INK 0x222222
#define PALE 0x666666
#define GRID 0xe4e4e4

/* An axis maps values (their logarithms, if log) from [low, high] to pixels [begin, end]. */
typedef struct axis {
    double low, high, begin, end;
    bool log;
} axis;

typedef struct frame {
    const ij_chart *chart;
    ij_picture *picture;
    axis x, y;
    int left, top, width, height; /* of the plot inside its axes */
} frame;

static const ij_color palette[] = {0x2166ac, 0xd6604d, 0x3a9150, 0x8856a7, 0xc08a1e, 0x17828f};

static double scaled(const axis *a, double value) { return a->log ? log10(value) : value; }

static bool drawable(const axis *a, double value) { return fabs(value) < 1e300 && (!a->log || value > 0); }

static float pixel(const axis *a, double value) {
    return (float)(a->begin + (scaled(a, value) - a->low) / (a->high - a->low) * (a->end - a->begin));
}

static double x_of(const ij_chart_series *series, int64_t i) { return series->x ? series->x[i] : (double)i; }

/* The step of 1, 2 or 5 times a power of ten that divides `range` into about `count` parts. */
static double nice_step(double range, int count) {
    double raw = range / count, power = pow(10, floor(log10(raw))), part = raw / power;
    return power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
}

/* Ranges of all that can be drawn, y widened to whole ticks (or by a twentieth when logarithmic). */
static void find_ranges(frame *f) {
    axis *x = &f->x, *y = &f->y;
    x->low = y->low = INFINITY;
    x->high = y->high = -INFINITY;
    for (int s = 0; s < f->chart->series_count; s++) {
        const ij_chart_series *series = &f->chart->series[s];
        for (int64_t i = 0; i < series->count; i++) {
            if (!drawable(y, series->y[i]) || !(fabs(x_of(series, i)) < 1e300)) continue;
            double value = scaled(y, series->y[i]);
            x->low = fmin(x->low, x_of(series, i)), x->high = fmax(x->high, x_of(series, i));
            y->low = fmin(y->low, value), y->high = fmax(y->high, value);
        }
    }
    if (!(x->low <= x->high)) x->low = y->low = 0, x->high = y->high = 1;
    if (x->low == x->high) x->low -= 0.5, x->high += 0.5;
    if (y->high - y->low < 1e-9 * fmax(fabs(y->low), fabs(y->high)) || y->low == y->high) {
        double room = y->log ? 0.5 : fmax(fabs(y->low) * 0.5, 1e-12);
        y->low -= room, y->high += room;
    }
    if (y->log) {
        double room = (y->high - y->low) / 20;
        y->low -= room, y->high += room;
    } else {
        double step = nice_step(y->high - y->low, 6);
        if (y->low > 0 && y->low < 0.35 * y->high) y->low = 0; /* near enough to zero to show it */
        y->low = floor(y->low / step + 1e-9) * step;
        y->high = ceil(y->high / step - 1e-9) * step;
    }
}

/* 5000 as "5k", 1500000 as "1.5M", small numbers as they are. */
static void tick_text(double value, char out[32]) {
    double size = fabs(value);
    if (size >= 1e6 && size < 1e9)
        snprintf(out, 32, "%gM", value / 1e6);
    else if (size >= 1e3 && size < 1e6)
        snprintf(out, 32, "%gk", value / 1e3);
    else
        snprintf(out, 32, "%.6g", size < 1e-12 ? 0 : value);
}

static void draw_x_tick(frame *f, double value) {
    char text[32];
    int at = (int)pixel(&f->x, value);
    ij_picture_fill(f->picture, at, f->top, 1, f->height, GRID, 1);
    tick_text(value, text);
    ij_picture_text(f->picture, (float)at + 0.5f, (float)(f->top + f->height) + 18, 9, IJ_ALIGN_CENTER, PALE, text);
}

static void draw_y_tick(frame *f, double value, bool label) {
    char text[32];
    if (!drawable(&f->y, value)) return; /* a decade beyond what a double holds */
    int at = (int)pixel(&f->y, value);
    if (at < f->top || at > f->top + f->height) return;
    ij_picture_fill(f->picture, f->left, at, f->width, 1, GRID, label ? 1 : 0.5f);
    tick_text(value, text);
    if (label) ij_picture_text(f->picture, (float)f->left - 8, (float)at + 5, 9, IJ_ALIGN_RIGHT, PALE, text);
}

static void draw_axes(frame *f) {
    const ij_chart *chart = f->chart;
    double step = nice_step(f->x.high - f->x.low, f->width / 90 + 1);
    for (double at = ceil(f->x.low / step - 1e-9); at * step <= f->x.high + 1e-9 * step; at++) draw_x_tick(f, at * step);
    if (f->y.log) {
        double decades = f->y.high - f->y.low;
        for (int power = (int)floor(f->y.low); power <= (int)ceil(f->y.high); power++)
            for (int digit = 1; digit <= 9; digit++) {
                bool label = digit == 1 || (decades < 3 && (digit == 2 || digit == 5)) || (decades < 0.7 && digit != 7 && digit != 9);
                draw_y_tick(f, digit * pow(10, power), label);
            }
    } else {
        step = nice_step(f->y.high - f->y.low, 6);
        for (double at = ceil(f->y.low / step - 1e-9); at * step <= f->y.high + 1e-9 * step; at++) draw_y_tick(f, at * step, true);
    }
    ij_picture_fill(f->picture, f->left, f->top + f->height, f->width + 1, 1, PALE, 1);
    ij_picture_fill(f->picture, f->left, f->top, 1, f->height + 1, PALE, 1);
    float middle = (float)f->left + (float)f->width / 2;
    if (chart->title) ij_picture_text(f->picture, (float)f->left, 30, 12, IJ_ALIGN_LEFT, INK, chart->title);
    if (chart->x_label) ij_picture_text(f->picture, middle, (float)(f->top + f->height) + 40, 10, IJ_ALIGN_CENTER, INK, chart->x_label);
    if (chart->y_label) ij_picture_text_up(f->picture, 24, (float)f->top + (float)f->height / 2, 10, IJ_ALIGN_CENTER, INK, chart->y_label);
}

static ij_color color_of(const ij_chart *chart, int s) {
    if (chart->series[s].color) return chart->series[s].color;
    return palette[s % IJ_COUNT(palette)];
}

/* Draws and forgets the points so far. */
static void end_piece(frame *f, const ij_point *points, int64_t *count, int s) {
    bool faint = f->chart->series[s].faint;
    ij_picture_polyline(f->picture, points, *count, faint ? 1.0f : 1.8f, color_of(f->chart, s), faint ? 0.35f : 1);
    *count = 0;
}

/* Points that fall into one column of pixels are drawn as its first, lowest, highest and last one, so that a million points cost no more
 * than the picture's width and no spike is lost. */
static void draw_series(frame *f, int s, ij_point *points) {
    const ij_chart_series *series = &f->chart->series[s];
    int64_t count = 0;
    for (int64_t i = 0; i < series->count;) {
        if (!drawable(&f->y, series->y[i]) || !(fabs(x_of(series, i)) < 1e300)) {
            end_piece(f, points, &count, s);
            i++;
            continue;
        }
        ij_point first = {pixel(&f->x, x_of(series, i)), pixel(&f->y, series->y[i])}, low = first, high = first, last = first;
        int64_t begin = i;
        for (i++; i < series->count && drawable(&f->y, series->y[i]); i++) {
            ij_point next = {pixel(&f->x, x_of(series, i)), pixel(&f->y, series->y[i])};
            if (!(floorf(next.x) == floorf(first.x))) break;
            if (next.y < low.y) low = next;
            if (next.y > high.y) high = next;
            last = next;
        }
        points[count++] = first;
        if (i - begin > 1) {
            bool low_first = low.x <= high.x;
            points[count++] = low_first ? low : high;
            points[count++] = low_first ? high : low;
            points[count++] = last;
            for (int64_t k = count - 4; k < count; k++) points[k].x = floorf(first.x) + 0.5f; /* one even column, no moire */
        }
    }
    end_piece(f, points, &count, s);
}

/* Names in a row above the plot, right-aligned; in the order of the series. */
static void draw_legend(frame *f) {
    float at = (float)(f->left + f->width), y = (float)f->top - 12;
    for (int s = f->chart->series_count - 1; s >= 0; s--) {
        const char *name = f->chart->series[s].name;
        if (!name) continue;
        at -= ij_picture_text_width(9, name);
        ij_picture_text(f->picture, at, y, 9, IJ_ALIGN_LEFT, INK, name);
        ij_point stroke[2] = {{at - 26, y - 4}, {at - 8, y - 4}};
        bool faint = f->chart->series[s].faint;
        ij_picture_polyline(f->picture, stroke, 2, faint ? 1.2f : 3, color_of(f->chart, s), faint ? 0.5f : 1);
        at -= 44;
    }
}

/* Width of the widest number beside the y axis. */
static float label_width(const axis *y) {
    float widest = 24;
    char text[32];
    double step = y->log ? 1 : nice_step(y->high - y->low, 6);
    for (double at = floor(y->low / step); at * step <= y->high + 1e-9 * step; at++) {
        tick_text(y->log ? pow(10, at) : at * step, text);
        widest = fmaxf(widest, ij_picture_text_width(9, text));
    }
    return widest;
}

ij_status ij_chart_draw(const ij_chart *chart, ij_picture *out, ij_error *err) {
    int width = chart->width ? chart->width : 900, height = chart->height ? chart->height : 520;
    if (width < 200 || height < 150) return ij_fail(err, IJ_ERROR_ARGUMENT, "chart of %d x %d pixels, at least 200 x 150", width, height);
    IJ_TRY(ij_picture_open(width, height, 0xffffff, out, err));
    frame f = {.chart = chart, .picture = out, .y.log = chart->log_y};
    find_ranges(&f);
    f.left = (int)label_width(&f.y) + (chart->y_label ? 44 : 20);
    f.top = chart->title ? 68 : 36;
    f.width = width - f.left - 24;
    f.height = height - f.top - (chart->x_label ? 56 : 34);
    f.x.begin = f.left, f.x.end = f.left + f.width;
    f.y.begin = f.top + f.height, f.y.end = f.top;
    ij_point *points; /* a group of points in one column gives at most four, and has at least one */
    int64_t longest = 1;
    for (int s = 0; s < chart->series_count; s++)
        if (chart->series[s].count > longest) longest = chart->series[s].count;
    ij_status status = ij_alloc(&points, 4 * longest, sizeof *points, "chart", err);
    if (status != IJ_OK) {
        ij_picture_free(out);
        return status;
    }
    draw_axes(&f);
    for (int pass = 0; pass < 2; pass++) /* the pale ones first */
        for (int s = 0; s < chart->series_count; s++)
            if (chart->series[s].faint == (pass == 0)) draw_series(&f, s, points);
    draw_legend(&f);
    free(points);
    return IJ_OK;
}

ij_status ij_chart_write(const ij_chart *chart, const char *path, ij_error *err) {
    ij_picture picture;
    IJ_TRY(ij_chart_draw(chart, &picture, err));
    ij_status status = ij_picture_write(&picture, path, err);
    ij_picture_free(&picture);
    return status;
}
