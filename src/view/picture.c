/* layer: view; uses: font, io, base */
#include "view/picture.h"
#include "base/memory.h"
#include "io/image.h"
#include "view/font.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

ij_status ij_picture_open(int width, int height, ij_color background, ij_picture *out, ij_error *err) {
    memset(out, 0, sizeof *out);
    if (width < 1 || height < 1 || (int64_t)width * height > IJ_IMAGE_PIXELS_MAX)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "picture of %d x %d pixels", width, height);
    int64_t count = (int64_t)width * height;
    ij_picture picture = {.width = width, .height = height};
    ij_status status = ij_alloc(&picture.pixels, count, 3, "picture", err);
    if (status == IJ_OK) status = ij_alloc(&picture.mask, count, 1, "picture", err);
    if (status != IJ_OK) {
        ij_picture_free(&picture);
        return status;
    }
    ij_picture_fill(&picture, 0, 0, width, height, background, 1);
    *out = picture;
    return IJ_OK;
}

void ij_picture_free(ij_picture *picture) {
    free(picture->pixels);
    free(picture->mask);
    memset(picture, 0, sizeof *picture);
}

ij_status ij_picture_write(const ij_picture *picture, const char *path, ij_error *err) {
    return ij_png_write(path, picture->pixels, picture->width, picture->height, 3, err);
}

/* weight: 0 to 255. */
static inline void blend(uint8_t *pixel, ij_color color, int weight) {
    for (int c = 0; c < 3; c++) {
        int to = (int)(color >> (16 - 8 * c) & 255);
        pixel[c] = (uint8_t)((pixel[c] * (255 - weight) + to * weight + 127) / 255);
    }
}

static int clamp(int value, int low, int high) { return value < low ? low : value > high ? high : value; }

void ij_picture_fill(ij_picture *picture, int x, int y, int width, int height, ij_color color, float opacity) {
    int left = clamp(x, 0, picture->width), right = clamp(x + width, left, picture->width);
    int top = clamp(y, 0, picture->height), bottom = clamp(y + height, top, picture->height);
    int weight = (int)(opacity * 255 + 0.5f);
    for (int v = top; v < bottom; v++)
        for (int u = left; u < right; u++) blend(picture->pixels + ((size_t)v * (size_t)picture->width + (size_t)u) * 3, color, weight);
}

void ij_picture_frame(ij_picture *picture, int x, int y, int width, int height, ij_color color) {
    ij_picture_fill(picture, x, y, width, 1, color, 1);
    ij_picture_fill(picture, x, y + height - 1, width, 1, color, 1);
    ij_picture_fill(picture, x, y, 1, height, color, 1);
    ij_picture_fill(picture, x + width - 1, y, 1, height, color, 1);
}

/* ---- strokes ---- */

typedef struct box {
    int left, top, right, bottom; /* right and bottom are behind the last pixel */
} box;

/* Far points (and NaN) would leave the range of int and of a float's square. */
static bool is_near(ij_point p) { return fabsf(p.x) < 1e6f && fabsf(p.y) < 1e6f; }

/* Pixels that a line of half width `reach` from a to b can touch. */
static box box_of(const ij_picture *picture, ij_point a, ij_point b, float reach) {
    float left = fminf(a.x, b.x) - reach, right = fmaxf(a.x, b.x) + reach, top = fminf(a.y, b.y) - reach, bottom = fmaxf(a.y, b.y) + reach;
    return (box){clamp((int)floorf(left), 0, picture->width), clamp((int)floorf(top), 0, picture->height),
                 clamp((int)ceilf(right), 0, picture->width), clamp((int)ceilf(bottom), 0, picture->height)};
}

/* Raises the mask to the coverage of the segment: 1 inside, falling to 0 over one pixel around half the width. */
static void cover_segment(ij_picture *picture, ij_point a, ij_point b, float half) {
    float dx = b.x - a.x, dy = b.y - a.y, length2 = dx * dx + dy * dy;
    box area = box_of(picture, a, b, half + 1);
    for (int v = area.top; v < area.bottom; v++) {
        uint8_t *row = picture->mask + (size_t)v * (size_t)picture->width;
        for (int u = area.left; u < area.right; u++) {
            float px = (float)u + 0.5f - a.x, py = (float)v + 0.5f - a.y;
            float along = length2 > 0 ? (px * dx + py * dy) / length2 : 0;
            along = along < 0 ? 0 : along > 1 ? 1 : along;
            float ex = px - along * dx, ey = py - along * dy, inside = half + 0.5f - sqrtf(ex * ex + ey * ey);
            int coverage = inside >= 1 ? 255 : inside <= 0 ? 0 : (int)(inside * 255 + 0.5f);
            if (coverage > row[u]) row[u] = (uint8_t)coverage;
        }
    }
}

/* Paints the masked pixels of the box and clears the mask there. */
static void paint_mask(ij_picture *picture, box area, ij_color color, float opacity) {
    for (int v = area.top; v < area.bottom; v++) {
        uint8_t *row = picture->mask + (size_t)v * (size_t)picture->width;
        for (int u = area.left; u < area.right; u++) {
            if (row[u])
                blend(picture->pixels + ((size_t)v * (size_t)picture->width + (size_t)u) * 3, color, (int)((float)row[u] * opacity + 0.5f));
            row[u] = 0;
        }
    }
}

static box join(box a, box b) {
    return (box){a.left < b.left ? a.left : b.left, a.top < b.top ? a.top : b.top, a.right > b.right ? a.right : b.right,
                 a.bottom > b.bottom ? a.bottom : b.bottom};
}

void ij_picture_polyline(ij_picture *picture, const ij_point *points, int64_t count, float width, ij_color color, float opacity) {
    if (count < 1) return;
    float half = width / 2;
    box whole = {picture->width, picture->height, 0, 0};
    for (int64_t i = 0; i < count - (count > 1); i++) {
        ij_point a = points[i], b = points[count > 1 ? i + 1 : i];
        if (!is_near(a) || !is_near(b)) continue;
        cover_segment(picture, a, b, half);
        whole = join(whole, box_of(picture, a, b, half + 1));
    }
    paint_mask(picture, whole, color, opacity);
}

/* ---- text ---- */

float ij_picture_text_width(float size, const char *text) {
    float width = 0;
    for (; *text; text++) {
        if (((unsigned char)*text & 0xc0) == 0x80) continue; /* the rest of a UTF-8 character */
        const char *glyph = ij_font_glyph((unsigned char)*text);
        width += (*glyph ? (float)ij_font_width(glyph) : IJ_FONT_SPACE) + IJ_FONT_GAP;
    }
    return width > 0 ? (width - IJ_FONT_GAP) * size / IJ_FONT_CAPITAL : 0;
}

static int grid(char c) { return c >= 'A' ? c - 'A' + 10 : c - '0'; }

/* (dx, dy) is the unit vector of the base line; the letters' up is (dy, -dx). */
static void draw_text(ij_picture *picture, float x, float y, float size, ij_align align, ij_color color, const char *text, float dx,
                      float dy) {
    float unit = size / IJ_FONT_CAPITAL, stroke = fmaxf(size * 0.135f, 1.1f);
    float at = align == IJ_ALIGN_LEFT ? 0 : ij_picture_text_width(size, text) * (align == IJ_ALIGN_CENTER ? -0.5f : -1);
    for (; *text; text++) {
        if (((unsigned char)*text & 0xc0) == 0x80) continue;
        const char *glyph = ij_font_glyph((unsigned char)*text);
        float width = *glyph ? (float)ij_font_width(glyph) : IJ_FONT_SPACE;
        ij_point points[32];
        int count = 0;
        for (const char *c = glyph; *c; c += c[2] ? 3 : 2) {
            float along = at + (float)grid(c[0]) * unit, up = (IJ_FONT_CAPITAL - (float)grid(c[1])) * unit;
            points[count++] = (ij_point){x + along * dx + up * dy, y + along * dy - up * dx};
            if (c[2] == ' ' && count < IJ_COUNT(points)) continue;
            ij_picture_polyline(picture, points, count, stroke, color, 1);
            count = 0;
        }
        at += (width + IJ_FONT_GAP) * unit;
    }
}

void ij_picture_text(ij_picture *picture, float x, float y, float size, ij_align align, ij_color color, const char *text) {
    draw_text(picture, x, y, size, align, color, text, 1, 0);
}

void ij_picture_text_up(ij_picture *picture, float x, float y, float size, ij_align align, ij_color color, const char *text) {
    draw_text(picture, x, y, size, align, color, text, 0, -1);
}

/* ---- images ---- */

void ij_picture_image(ij_picture *picture, int x, int y, int to_width, int to_height, const uint8_t *pixels, int width, int height,
                      int channels) {
    for (int v = clamp(-y, 0, to_height); v < to_height && y + v < picture->height; v++)
        for (int u = clamp(-x, 0, to_width); u < to_width && x + u < picture->width; u++) {
            int64_t row = (int64_t)v * height / to_height, column = (int64_t)u * width / to_width;
            const uint8_t *from = pixels + (row * width + column) * channels;
            uint8_t *to = picture->pixels + ((size_t)(y + v) * (size_t)picture->width + (size_t)(x + u)) * 3;
            for (int c = 0; c < 3; c++) to[c] = from[channels == 3 ? c : 0];
        }
}

ij_color ij_heat_color(float part) {
    /* Even steps of lightness, readable without colour vision: dark violet, blue, teal, green, yellow. */
    static const ij_color stops[] = {0x440154, 0x414487, 0x2a788e, 0x22a884, 0x7ad151, 0xfde725};
    float at = fminf(fmaxf(part, 0), 1) * (float)(IJ_COUNT(stops) - 1);
    int i = clamp((int)at, 0, IJ_COUNT(stops) - 2);
    uint8_t mixed[3] = {(uint8_t)(stops[i] >> 16), (uint8_t)(stops[i] >> 8), (uint8_t)stops[i]};
    blend(mixed, stops[i + 1], (int)((at - (float)i) * 255 + 0.5f));
    return (ij_color)mixed[0] << 16 | (ij_color)mixed[1] << 8 | mixed[2];
}

void ij_picture_heat(ij_picture *picture, int x, int y, int to_width, int to_height, const float *values, int rows, int columns, float low,
                     float high) {
    if (low == high) {
        low = INFINITY, high = -INFINITY;
        for (int i = 0; i < rows * columns; i++)
            if (isfinite(values[i])) low = fminf(low, values[i]), high = fmaxf(high, values[i]);
    }
    float range = high > low ? high - low : 1;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) {
            float value = values[r * columns + c];
            int left = (int)((int64_t)c * to_width / columns), right = (int)((int64_t)(c + 1) * to_width / columns);
            int top = (int)((int64_t)r * to_height / rows), bottom = (int)((int64_t)(r + 1) * to_height / rows);
            ij_color color = isnan(value) ? 0xb0b0b0 : ij_heat_color((value - low) / range);
            ij_picture_fill(picture, x + left, y + top, right - left, bottom - top, color, 1);
        }
}

void ij_picture_heat_scale(ij_picture *picture, int x, int y, int width, int height, float low, float high) {
    for (int v = 0; v < height; v++) ij_picture_fill(picture, x, y + v, width, 1, ij_heat_color(1 - ((float)v + 0.5f) / (float)height), 1);
    for (int i = 0; i <= 2; i++) {
        char text[32];
        float part = (float)i / 2;
        snprintf(text, sizeof text, "%.3g", (double)(high + (low - high) * part));
        ij_picture_text(picture, (float)(x + width + 6), (float)y + 4 + part * (float)(height - 1), 8, IJ_ALIGN_LEFT, 0x333333, text);
    }
}
