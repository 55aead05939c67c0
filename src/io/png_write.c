/* PNG out: filtered rows, one zlib stream.       layer: io; uses: base, image */
#include "base/file.h"
#include "base/memory.h"
#include "io/image.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static void put32(uint8_t *p, uint32_t value) {
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* Appends a chunk at `at` (its data may already lie at at + 8) and returns where the next one goes. */
static uint8_t *put_chunk(uint8_t *at, const char *kind, const void *data, size_t bytes) {
    put32(at, (uint32_t)bytes);
    memcpy(at + 4, kind, 4);
    if (bytes && data != at + 8) memcpy(at + 8, data, bytes);
    put32(at + 8 + bytes, (uint32_t)crc32(crc32(0, NULL, 0), at + 4, (uInt)(bytes + 4)));
    return at + 12 + bytes;
}

/* Filters of a byte with left neighbour a and upper neighbour b. */
enum { FILTER_NONE, FILTER_SUB, FILTER_UP, FILTERS };

/* Writes filter byte and filtered row; picks the filter whose bytes are smallest as signed numbers (the usual heuristic). */
static void filter_row(const uint8_t *row, const uint8_t *above, size_t bytes, size_t pixel_bytes, uint8_t *out) {
    uint64_t cost[FILTERS] = {0};
    for (size_t i = 0; i < bytes; i++) {
        int left = i < pixel_bytes ? 0 : row[i - pixel_bytes], up = above ? above[i] : 0;
        cost[FILTER_NONE] += (uint64_t)abs((int8_t)row[i]);
        cost[FILTER_SUB] += (uint64_t)abs((int8_t)(row[i] - left));
        cost[FILTER_UP] += (uint64_t)abs((int8_t)(row[i] - up));
    }
    int best = FILTER_NONE;
    for (int f = 1; f < FILTERS; f++)
        if (cost[f] < cost[best]) best = f;
    *out++ = (uint8_t)best;
    for (size_t i = 0; i < bytes; i++) {
        int left = i < pixel_bytes ? 0 : row[i - pixel_bytes], up = above ? above[i] : 0;
        out[i] = (uint8_t)(row[i] - (best == FILTER_SUB ? left : best == FILTER_UP ? up : 0));
    }
}

ij_status ij_png_encode(const uint8_t *pixels, int width, int height, int channels, size_t stride, void **out, size_t *bytes,
                        ij_error *err) {
    *out = NULL;
    *bytes = 0;
    if (width < 1 || height < 1 || (channels != 1 && channels != 3) || (int64_t)width * height > IJ_IMAGE_PIXELS_MAX)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "PNG of %d x %d pixels, %d channels", width, height, channels);
    size_t row_bytes = (size_t)width * (size_t)channels;
    if (!stride) stride = row_bytes;
    uint8_t *rows = NULL, *file = NULL;
    IJ_TRY(ij_alloc(&rows, height, row_bytes + 1, "PNG rows", err));
    for (int y = 0; y < height; y++)
        filter_row(pixels + (size_t)y * stride, y ? pixels + (size_t)(y - 1) * stride : NULL, row_bytes, (size_t)channels,
                   rows + (size_t)y * (row_bytes + 1));

    uLong raw = (uLong)(row_bytes + 1) * (uLong)height, packed = compressBound(raw);
    ij_status status = ij_alloc(&file, (int64_t)packed + 100, 1, "PNG file", err);
    if (status == IJ_OK) {
        uint8_t header[13] = {0};
        put32(header, (uint32_t)width);
        put32(header + 4, (uint32_t)height);
        header[8] = 8;                     /* bits */
        header[9] = channels == 3 ? 2 : 0; /* RGB or grey */
        memcpy(file, "\x89PNG\r\n\x1a\n", 8);
        uint8_t *at = put_chunk(file + 8, "IHDR", header, sizeof header);
        if (compress2(at + 8, &packed, rows, raw, 6) == Z_OK && packed <= 0x7fffffff) {
            at = put_chunk(at, "IDAT", at + 8, packed);
            at = put_chunk(at, "IEND", NULL, 0);
            *out = file;
            *bytes = (size_t)(at - file);
        } else {
            status = ij_fail(err, IJ_ERROR_MEMORY, "PNG of %d x %d pixels: zlib could not pack it", width, height);
            free(file);
        }
    }
    free(rows);
    return status;
}

ij_status ij_png_write(const char *path, const uint8_t *pixels, int width, int height, int channels, ij_error *err) {
    void *file;
    size_t bytes;
    IJ_TRY(ij_png_encode(pixels, width, height, channels, 0, &file, &bytes, err));
    ij_status status = ij_file_replace(path, file, bytes, err);
    free(file);
    return status;
}
