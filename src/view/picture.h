/* A small RGB canvas: rectangles, lines, text, images.       layer: view; uses: io, base
 *
 * Coordinates are in pixels from the upper left corner, pixel (0, 0) covers [0, 1) x [0, 1); everything is clipped. Lines and letters
 * (strokes, font.h) are anti-aliased by their distance from the pixel's centre, so they are smooth at any size. */
#ifndef IJ_VIEW_PICTURE_H
#define IJ_VIEW_PICTURE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef uint32_t ij_color; /* 0xRRGGBB */

typedef struct ij_picture {
    uint8_t *pixels; /* [height, width, 3] */
    uint8_t *mask;   /* [height, width] coverage of the stroke being drawn, zero between calls */
    int width, height;
} ij_picture;

typedef struct ij_point {
    float x, y;
} ij_point;

typedef enum ij_align { IJ_ALIGN_LEFT, IJ_ALIGN_CENTER, IJ_ALIGN_RIGHT } ij_align;

/* Filled with `background`. ij_picture_free for a zeroed or opened one. */
ij_status ij_picture_open(int width, int height, ij_color background, ij_picture *out, ij_error *err);
void ij_picture_free(ij_picture *picture);
ij_status ij_picture_write(const ij_picture *picture, const char *path, ij_error *err); /* PNG */

/* opacity: 0 to 1. */
void ij_picture_fill(ij_picture *picture, int x, int y, int width, int height, ij_color color, float opacity);
void ij_picture_frame(ij_picture *picture, int x, int y, int width, int height, ij_color color); /* one pixel wide, inside */

/* Straight pieces through points[count] with round ends and joints; one point is a dot. Overlaps of the line with itself are painted once.
 */
void ij_picture_polyline(ij_picture *picture, const ij_point *points, int64_t count, float width, ij_color color, float opacity);

/* One line of text; y is the base line, size the height of a capital in pixels. ASCII; other characters appear as '?'. */
void ij_picture_text(ij_picture *picture, float x, float y, float size, ij_align align, ij_color color, const char *text);
void ij_picture_text_up(ij_picture *picture, float x, float y, float size, ij_align align, ij_color color,
                        const char *text); /* reads upwards, x is the base line */
float ij_picture_text_width(float size, const char *text);

/* pixels [height, width, channels] with 1 or 3 channels into the rectangle, nearest neighbour. */
void ij_picture_image(ij_picture *picture, int x, int y, int to_width, int to_height, const uint8_t *pixels, int width, int height,
                      int channels);

/* values [rows, columns] as colours from low (dark blue) to high (yellow); NaN is grey. low = high: their own range. */
void ij_picture_heat(ij_picture *picture, int x, int y, int to_width, int to_height, const float *values, int rows, int columns, float low,
                     float high);
/* The scale that belongs to it: a vertical strip of colours with its two ends and the middle written beside it (about 60 pixels). */
void ij_picture_heat_scale(ij_picture *picture, int x, int y, int width, int height, float low, float high);
ij_color ij_heat_color(float part); /* part: 0 to 1 */

#endif
