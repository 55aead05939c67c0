/* layer: view; uses: contact_sheet, picture, io, base */
#include "view/contact_sheet.h"
#include "view/picture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TEXT_SIZE 9.0f
#define CAPTIONS 34 /* pixels of two lines */
#define HEADING 30
#define ROW_GAP 12
#define FRAME 3

static const ij_color ink = 0x222222, paper = 0xffffff, empty = 0xf1f1f1, gone = 0xd8d8d8, faint = 0x777777, accent = 0xd95f02;

/* ---- shrinking ---- */

/* The source pixels that pixel i of `to` covers, out of `from`: begin and end, with parts of pixels. */
static void covered(int i, int from, int to, double *begin, double *end) {
    *begin = (double)i * from / to;
    *end = (double)(i + 1) * from / to;
    if (to >= from) *begin = floor((i + 0.5) * from / to), *end = *begin + 1;
}

/* How much of source pixel s lies between begin and end. */
static double part_of(int s, double begin, double end) { return fmin(s + 1, end) - fmax(s, begin); }

static void mean_of(const uint8_t *pixels, int width, int channels, const double x[2], const double y[2], uint8_t out[3]) {
    double sum[3] = {0}, area = 0;
    for (int v = (int)y[0]; v < y[1]; v++)
        for (int u = (int)x[0]; u < x[1]; u++) {
            const uint8_t *from = pixels + ((size_t)v * (size_t)width + (size_t)u) * (size_t)channels;
            double weight = part_of(u, x[0], x[1]) * part_of(v, y[0], y[1]);
            area += weight;
            for (int c = 0; c < 3; c++) sum[c] += weight * from[channels == 3 ? c : 0];
        }
    for (int c = 0; c < 3; c++) out[c] = (uint8_t)(sum[c] / area + 0.5);
}

void ij_shrink(const uint8_t *pixels, int width, int height, int channels, int to_width, int to_height, uint8_t *out) {
    double x[2], y[2];
    for (int v = 0; v < to_height; v++)
        for (int u = 0; u < to_width; u++, out += 3) {
            covered(u, width, to_width, &x[0], &x[1]);
            covered(v, height, to_height, &y[0], &y[1]);
            if (x[1] > width) x[1] = width; /* rounding */
            if (y[1] > height) y[1] = height;
            mean_of(pixels, width, channels, x, y, out);
        }
}

/* ---- tiles ---- */

/* Text cut with ".." to a tile's width. */
static void draw_caption(ij_picture *picture, int x, int y, ij_color color, const char *text) {
    char shown[256];
    snprintf(shown, sizeof shown, "%s", text);
    size_t length = strlen(shown);
    while (length > 3 && ij_picture_text_width(TEXT_SIZE, shown) > IJ_SHEET_SIDE) snprintf(shown + --length - 2, 3, "..");
    ij_picture_text(picture, (float)x, (float)y, TEXT_SIZE, IJ_ALIGN_LEFT, color, shown);
}

static void draw_image(ij_picture *picture, int x, int y, const ij_image *image) {
    static const int side = IJ_SHEET_SIDE;
    uint8_t pixels[IJ_SHEET_SIDE * IJ_SHEET_SIDE * 3];
    bool wide = image->width >= image->height;
    int width = wide ? side : (int)((int64_t)image->width * side / image->height);
    int height = wide ? (int)((int64_t)image->height * side / image->width) : side;
    if (width < 1) width = 1;
    if (height < 1) height = 1;
    ij_shrink(image->pixels, image->width, image->height, image->channels, width, height, pixels);
    ij_picture_image(picture, x + (side - width) / 2, y + (side - height) / 2, width, height, pixels, width, height, 3);
}

static void draw_tile(ij_picture *picture, const ij_sheet *sheet, int i, int x, int y, ij_image *image) {
    const ij_sheet_tile *tile = &sheet->tiles[i];
    bool read = sheet->read(sheet->user, i, image, NULL) == IJ_OK;
    ij_picture_fill(picture, x, y, IJ_SHEET_SIDE, IJ_SHEET_SIDE, read ? empty : gone, 1);
    if (read)
        draw_image(picture, x, y, image);
    else
        ij_picture_text(picture, (float)x + IJ_SHEET_SIDE / 2.0f, (float)y + IJ_SHEET_SIDE / 2.0f, TEXT_SIZE, IJ_ALIGN_CENTER, faint,
                        "picture is gone");
    for (int f = 1; tile->framed && f <= FRAME; f++)
        ij_picture_frame(picture, x - f, y - f, IJ_SHEET_SIDE + 2 * f, IJ_SHEET_SIDE + 2 * f, accent);
    for (int line = 0; line < 2; line++)
        if (tile->caption[line]) draw_caption(picture, x, y + IJ_SHEET_SIDE + 15 + 15 * line, line ? faint : ink, tile->caption[line]);
}

/* Where a tile goes. */
typedef struct place {
    int column, y;
    bool headed; /* there is room for headings above the row */
} place;

/* Tiles from i to the next heading. */
static int block_length(const ij_sheet *sheet, int i) {
    int end = i + 1;
    while (end < sheet->count && !sheet->tiles[end].heading) end++;
    return end - i;
}

/* The place of tile i behind `at`, the one before it. A block goes on in the row that another has begun where all of it fits. */
static place next_place(const ij_sheet *sheet, int i, place at) {
    if (i == 0) return (place){0, IJ_SHEET_TOP, true};
    bool heading = sheet->tiles[i].heading != NULL;
    int free = IJ_SHEET_COLUMNS - at.column - 1;
    if (heading ? at.headed && block_length(sheet, i) <= free : free > 0) return (place){at.column + 1, at.y, at.headed};
    return (place){0, at.y + IJ_SHEET_SIDE + CAPTIONS + ROW_GAP + (heading ? HEADING : 0), heading};
}

/* The heading, and a line over those of its tiles that are in the row. */
static void draw_heading(ij_picture *picture, const ij_sheet *sheet, int i, int x, place at) {
    int length = block_length(sheet, i), here = length < IJ_SHEET_COLUMNS - at.column ? length : IJ_SHEET_COLUMNS - at.column;
    ij_picture_text(picture, (float)x, (float)at.y - 10, 10, IJ_ALIGN_LEFT, ink, sheet->tiles[i].heading);
    ij_picture_fill(picture, x, at.y - 6, here * IJ_SHEET_STEP - (IJ_SHEET_STEP - IJ_SHEET_SIDE), 1, faint, 1);
}

ij_status ij_contact_sheet(const ij_sheet *sheet, const char *path, ij_error *err) {
    if (sheet->count < 1 || sheet->count > IJ_SHEET_TILES_MAX)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "a sheet of %d pictures: 1 to %d fit", sheet->count, IJ_SHEET_TILES_MAX);
    place at = {0};
    for (int i = 0; i < sheet->count; i++) at = next_place(sheet, i, at);
    ij_picture picture;
    ij_image image = {0};
    IJ_TRY(ij_picture_open(2 * IJ_SHEET_LEFT + IJ_SHEET_COLUMNS * IJ_SHEET_STEP - (IJ_SHEET_STEP - IJ_SHEET_SIDE),
                           at.y + IJ_SHEET_SIDE + CAPTIONS + ROW_GAP + 8, paper, &picture, err));
    ij_picture_text(&picture, IJ_SHEET_LEFT, 34, 13, IJ_ALIGN_LEFT, ink, sheet->title);
    for (int i = 0; i < sheet->count; i++) {
        at = next_place(sheet, i, at);
        int x = IJ_SHEET_LEFT + at.column * IJ_SHEET_STEP;
        if (sheet->tiles[i].heading) draw_heading(&picture, sheet, i, x, at);
        draw_tile(&picture, sheet, i, x, at.y, &image);
    }
    ij_status status = ij_picture_write(&picture, path, err);
    ij_picture_free(&picture);
    ij_image_free(&image);
    return status;
}
