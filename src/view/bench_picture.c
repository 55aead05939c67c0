/* layer: view; uses: picture, base
 *
 * Above: one line of bars for each name, one panel for each element, one colour for each kernel; the dark line is the baseline's speed.
 * Below: flops a second over flops a byte, both logarithmic, under the roofs of memory (slope) and arithmetic (flat). */
#include "view/bench_picture.h"
#include "base/memory.h"
#include "view/picture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INK 0x222222
#define PALE 0x666666
#define GRID 0xe4e4e4
#define WIDTH 1280
#define LABEL_WIDTH 360
#define BAR 11
#define HEAD 92
#define ROOF_HEIGHT 560
#define MARGIN 24
#define KERNELS_MAX 8

/* Okabe and Ito's colours, which the colour-blind tell apart; the yellow one is too pale for a white ground. */
static const ij_color palette[] = {0x0072b2, 0xd55e00, 0x009e73, 0xcc79a7, 0xe69f00, 0x56b4e9, 0x444444, 0x882255};
static const char *const elements[] = {"f32", "f16", "bf16"};

typedef struct sheet {
    const ij_bench_picture *from;
    ij_picture picture;
    const char *kernels[KERNELS_MAX]; /* in order of appearance */
    int kernel_count;
    const char **names; /* [count] distinct names with a bar */
    int name_count;
    bool panels[3];
    int panel_count;
    double ratio_max;
} sheet;

static int kernel_of(const sheet *s, const char *kernel) {
    for (int i = 0; i < s->kernel_count; i++)
        if (strcmp(s->kernels[i], kernel) == 0) return i;
    return -1;
}

static int element_of(const char *element) { return strcmp(element, "f16") == 0 ? 1 : strcmp(element, "bf16") == 0 ? 2 : 0; }

static ij_color color_of(const sheet *s, const char *kernel) {
    int i = kernel_of(s, kernel);
    return palette[i < 0 ? IJ_COUNT(palette) - 1 : i];
}

/* ---- what there is ---- */

static void survey(sheet *s) {
    for (int i = 0; i < s->from->count; i++) {
        const ij_bench_mark *m = &s->from->marks[i];
        if (kernel_of(s, m->kernel) < 0 && s->kernel_count < KERNELS_MAX) s->kernels[s->kernel_count++] = m->kernel;
        if (!(m->ratio > 0)) continue;
        s->panels[element_of(m->element)] = true;
        s->ratio_max = fmax(s->ratio_max, m->ratio);
        int at = 0;
        while (at < s->name_count && strcmp(s->names[at], m->name) != 0) at++;
        if (at == s->name_count) s->names[s->name_count++] = m->name;
    }
    for (int e = 0; e < 3; e++) s->panel_count += s->panels[e];
    s->ratio_max = fmax(1.1, s->ratio_max * 1.08);
}

static int line_height(const sheet *s) { return BAR * s->kernel_count + 7; }

static int bars_height(const sheet *s) { return s->name_count ? HEAD + s->name_count * line_height(s) + 40 : 0; }

/* ---- bars ---- */

/* The vertical lines of a panel and their numbers: 0, then steps of 1, 2 or 5 times a power of ten. */
static void panel_grid(sheet *s, int left, int width, int top, int height) {
    double raw = s->ratio_max / 5, power = pow(10, floor(log10(raw))), part = raw / power;
    double step = power * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10);
    for (double at = 0; at <= s->ratio_max; at += step) {
        char text[16];
        int x = left + (int)(at / s->ratio_max * width);
        ij_picture_fill(&s->picture, x, top, 1, height, GRID, 1);
        snprintf(text, sizeof text, "%g", round(at * 1000) / 1000);
        ij_picture_text(&s->picture, (float)x, (float)(top + height + 18), 9, IJ_ALIGN_CENTER, PALE, text);
    }
}

static void draw_panel(sheet *s, int element, int left, int width) {
    int top = HEAD, height = s->name_count * line_height(s);
    panel_grid(s, left, width, top, height);
    ij_picture_text(&s->picture, (float)left, (float)(top - 8), 10, IJ_ALIGN_LEFT, INK, elements[element]);
    for (int i = 0; i < s->from->count; i++) {
        const ij_bench_mark *m = &s->from->marks[i];
        int line = 0, kernel = kernel_of(s, m->kernel);
        char text[16];
        if (!(m->ratio > 0) || element_of(m->element) != element || kernel < 0) continue;
        while (strcmp(s->names[line], m->name) != 0) line++;
        int y = top + line * line_height(s) + 3 + kernel * BAR, length = (int)(m->ratio / s->ratio_max * width);
        ij_picture_fill(&s->picture, left, y, length > 1 ? length : 1, BAR - 2, palette[kernel], 1);
        snprintf(text, sizeof text, "%.2f", m->ratio);
        bool inside = length > width - 40;
        ij_picture_text(&s->picture, (float)(left + length + (inside ? -4 : 4)), (float)(y + BAR - 3), 7,
                        inside ? IJ_ALIGN_RIGHT : IJ_ALIGN_LEFT, inside ? 0xffffff : PALE, text);
    }
    ij_picture_fill(&s->picture, left + (int)(width / s->ratio_max), top, 2, height, INK, 0.8f);
    ij_picture_fill(&s->picture, left, top, 1, height, PALE, 1);
}

static void legend(sheet *s, float right, float y) {
    for (int i = s->kernel_count - 1; i >= 0; i--) {
        const char *name = s->kernels[i][0] ? s->kernels[i] : "ops";
        right -= ij_picture_text_width(9, name);
        ij_picture_text(&s->picture, right, y, 9, IJ_ALIGN_LEFT, INK, name);
        ij_picture_fill(&s->picture, (int)right - 18, (int)y - 9, 12, 9, palette[i], 1);
        right -= 34;
    }
}

static void draw_bars(sheet *s) {
    char title[480];
    int room = WIDTH - LABEL_WIDTH - MARGIN, each = room / s->panel_count, drawn = 0;
    ij_picture_text(&s->picture, MARGIN, 32, 12, IJ_ALIGN_LEFT, INK, "Speed against the baseline: 1 is as fast, longer is better");
    snprintf(title, sizeof title, "%.250s against %.150s", s->from->device, s->from->baseline);
    ij_picture_text(&s->picture, MARGIN, 56, 10, IJ_ALIGN_LEFT, PALE, title);
    legend(s, WIDTH - MARGIN, 56);
    for (int i = 0; i < s->name_count; i++)
        ij_picture_text(&s->picture, LABEL_WIDTH - 10, (float)(HEAD + i * line_height(s) + line_height(s) / 2 + 4), 8, IJ_ALIGN_RIGHT, INK,
                        s->names[i]);
    for (int e = 0; e < 3; e++)
        if (s->panels[e]) draw_panel(s, e, LABEL_WIDTH + drawn++ * each, each - 16);
}

/* ---- the roofline ---- */

typedef struct plot {
    double x_low, x_high, y_low, y_high; /* powers of ten */
    float left, top, width, height;
} plot;

static ij_point place(const plot *p, double intensity, double rate) {
    return (ij_point){p->left + (float)((log10(intensity) - p->x_low) / (p->x_high - p->x_low)) * p->width,
                      p->top + p->height - (float)((log10(rate) - p->y_low) / (p->y_high - p->y_low)) * p->height};
}

/* Ranges of all points and roofs, a little wider; false: nothing to draw. */
static bool find_ranges(const sheet *s, plot *p) {
    double low = INFINITY, high = -INFINITY, slow = INFINITY, fast = -INFINITY;
    for (int i = 0; i < s->from->count; i++) {
        const ij_bench_mark *m = &s->from->marks[i];
        if (!(m->intensity > 0) || !(m->rate > 0)) continue;
        low = fmin(low, m->intensity), high = fmax(high, m->intensity);
        slow = fmin(slow, m->rate), fast = fmax(fast, m->rate);
    }
    if (!(low <= high) || !(s->from->memory > 0)) return false;
    for (int e = 0; e < 3; e++) {
        double roof = s->from->roofs[e];
        if (!(roof > 0)) continue;
        fast = fmax(fast, roof);
        low = fmin(low, roof / s->from->memory / 4), high = fmax(high, roof / s->from->memory * 4);
    }
    p->x_low = log10(low) - 0.1, p->x_high = log10(high) + 0.1;
    p->y_low = log10(slow) - 0.2, p->y_high = log10(fast) + 0.25;
    return true;
}

static void rate_text(double value, char out[32]) {
    static const char *const units[] = {"", "k", "M", "G", "T", "P"};
    int unit = 0;
    for (; value >= 999.5 && unit < 5; unit++) value /= 1000;
    snprintf(out, 32, "%.3g %sFLOP/s", value, units[unit]);
}

static void plot_grid(sheet *s, const plot *p) {
    static const int digits[] = {1, 2, 5};
    for (int power = (int)floor(p->x_low); power <= (int)ceil(p->x_high); power++)
        for (int d = 0; d < 3; d++) {
            char text[32];
            double value = digits[d] * pow(10, power);
            if (log10(value) < p->x_low || log10(value) > p->x_high) continue;
            ij_point at = place(p, value, pow(10, p->y_low));
            ij_picture_fill(&s->picture, (int)at.x, (int)p->top, 1, (int)p->height, GRID, 1);
            snprintf(text, sizeof text, "%g", value);
            ij_picture_text(&s->picture, at.x, at.y + 18, 9, IJ_ALIGN_CENTER, PALE, text);
        }
    for (int power = (int)floor(p->y_low); power <= (int)ceil(p->y_high); power++)
        for (int d = 0; d < 3; d++) {
            char text[32];
            double value = digits[d] * pow(10, power);
            if (log10(value) < p->y_low || log10(value) > p->y_high) continue;
            ij_point at = place(p, pow(10, p->x_low), value);
            ij_picture_fill(&s->picture, (int)p->left, (int)at.y, (int)p->width, 1, GRID, 1);
            rate_text(value, text);
            ij_picture_text(&s->picture, at.x - 8, at.y + 4, 9, IJ_ALIGN_RIGHT, PALE, text);
        }
    ij_picture_fill(&s->picture, (int)p->left, (int)(p->top + p->height), (int)p->width, 1, PALE, 1);
    ij_picture_fill(&s->picture, (int)p->left, (int)p->top, 1, (int)p->height, PALE, 1);
    ij_picture_text(&s->picture, p->left + p->width / 2, p->top + p->height + 40, 10, IJ_ALIGN_CENTER, INK,
                    "FLOP per byte (each tensor moved once)");
}

/* The slope of memory up to the highest roof, and a flat line from it for each element. */
static void draw_roofs(sheet *s, const plot *p) {
    double memory = s->from->memory, start = pow(10, p->x_low), end = pow(10, p->x_high), highest = 0, bottom = pow(10, p->y_low);
    char text[64], rate[32];
    for (int e = 0; e < 3; e++) {
        double roof = s->from->roofs[e];
        highest = fmax(highest, roof);
        if (!(roof > 0)) continue;
        ij_point flat[2] = {place(p, fmax(start, roof / memory), roof), place(p, end, roof)};
        ij_picture_polyline(&s->picture, flat, 2, 1.6f, PALE, 1);
        rate_text(roof, rate);
        snprintf(text, sizeof text, "%s %s", elements[e], rate);
        bool above = e != 1 || !(s->from->roofs[2] > roof); /* f16 and bf16 are often alike: one above its line, one below */
        ij_picture_text(&s->picture, flat[1].x, flat[1].y + (above ? -6.0f : 15.0f), 9, IJ_ALIGN_RIGHT, PALE, text);
    }
    if (memory * start < bottom) start = bottom / memory;
    ij_point slope[2] = {place(p, start, memory * start), place(p, fmin(end, highest / memory), fmin(highest, memory * end))};
    if (!(highest > 0) || slope[1].x < slope[0].x) return;
    ij_picture_polyline(&s->picture, slope, 2, 1.6f, PALE, 1);
    snprintf(text, sizeof text, 1e-9 * memory < 99.5 ? "memory %.1f GB/s" : "memory %.0f GB/s", 1e-9 * memory);
    ij_picture_text(&s->picture, slope[0].x + 34, slope[0].y - 10, 9, IJ_ALIGN_LEFT, PALE, text);
}

/* f32 is a disc, f16 a square, bf16 a triangle. */
static void draw_point(sheet *s, ij_point at, int element, ij_color color) {
    if (element == 0) {
        ij_picture_polyline(&s->picture, &at, 1, 8, color, 0.85f);
    } else if (element == 1) {
        ij_picture_fill(&s->picture, (int)at.x - 4, (int)at.y - 4, 8, 8, color, 0.85f);
    } else {
        ij_point corners[4] = {{at.x, at.y - 4}, {at.x + 4, at.y + 3}, {at.x - 4, at.y + 3}, {at.x, at.y - 4}};
        ij_picture_polyline(&s->picture, corners, 4, 2.5f, color, 0.85f);
    }
}

static void draw_roofline(sheet *s, int top) {
    plot p = {.left = 150, .top = (float)(top + 84), .width = WIDTH - 150 - MARGIN, .height = ROOF_HEIGHT - 84 - 60};
    bool present[3] = {false};
    float at = p.left;
    if (!find_ranges(s, &p)) {
        ij_picture_text(&s->picture, MARGIN, (float)(top + 32), 12, IJ_ALIGN_LEFT, PALE, "Nothing was timed that a roofline could show.");
        return;
    }
    ij_picture_text(&s->picture, MARGIN, (float)(top + 32), 12, IJ_ALIGN_LEFT, INK, "Roofline: the roofs are the fastest seen in this run");
    ij_picture_text(&s->picture, MARGIN, (float)(top + 54), 10, IJ_ALIGN_LEFT, PALE, s->from->device);
    legend(s, WIDTH - MARGIN, (float)(top + 54));
    plot_grid(s, &p);
    draw_roofs(s, &p);
    for (int i = 0; i < s->from->count; i++) {
        const ij_bench_mark *m = &s->from->marks[i];
        if (!(m->intensity > 0) || !(m->rate > 0)) continue;
        present[element_of(m->element)] = true;
        draw_point(s, place(&p, m->intensity, m->rate), element_of(m->element), color_of(s, m->kernel));
    }
    for (int e = 0; e < 3; e++) {
        if (!present[e]) continue;
        draw_point(s, (ij_point){at + 5, (float)(top + 72)}, e, INK);
        ij_picture_text(&s->picture, at + 16, (float)(top + 76), 9, IJ_ALIGN_LEFT, INK, elements[e]);
        at += 70;
    }
}

ij_status ij_bench_picture_write(const ij_bench_picture *picture, const char *path, ij_error *err) {
    sheet s = {.from = picture};
    IJ_TRY(ij_alloc(&s.names, picture->count, sizeof *s.names, "names", err));
    survey(&s);
    int bars = bars_height(&s);
    ij_status status = ij_picture_open(WIDTH, bars + ROOF_HEIGHT, 0xffffff, &s.picture, err);
    if (status == IJ_OK) {
        if (bars) draw_bars(&s);
        draw_roofline(&s, bars);
        status = ij_picture_write(&s.picture, path, err);
        ij_picture_free(&s.picture);
    }
    free(s.names);
    return status;
}
