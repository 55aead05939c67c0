/* Pictures: JPEG, PNG and BMP in, PNG out.       layer: io; uses: base
 *
 * What a decoded image is: 8-bit pixels, rows from the top, channels interleaved, [height, width, channels]. The pixels are those of
 * PIL's convert("RGB") or convert("L"): alpha is dropped, a palette is looked up, CMYK becomes RGB as PIL does it, 16-bit
 * samples keep their high byte, RGB becomes grey as (19595 R + 38470 G + 7471 B + 32768) >> 16. EXIF orientation is ignored, as
 * torchvision's loader ignores it. JPEG is decoded at full size, never scaled in the DCT: that would change every pixel that
 * follows. A file that ends early is an error. */
#ifndef IJ_IO_IMAGE_H
#define IJ_IO_IMAGE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IJ_IMAGE_SIDE_MAX 65500                /* JPEG's own limit */
#define IJ_IMAGE_PIXELS_MAX ((int64_t)1 << 28) /* checked before any memory is asked for */

typedef struct ij_image {
    uint8_t *pixels; /* [height, width, channels]; grows and is reused */
    int64_t capacity;
    int width, height, channels;
} ij_image; /* zeroed: empty */

/* Decodes by content, whatever the name says. channels: 1, 3, or 0 for what the file has (1 for grey, else 3). `name` is for the
 * error text. On failure the image's pixels are unset, its memory stays usable. */
ij_status ij_image_decode(const void *bytes, size_t count, int channels, const char *name, ij_image *image, ij_error *err);
ij_status ij_image_read(const char *path, int channels, ij_image *image, ij_error *err);

/* Makes room for width x height x channels; the pixels are unset. Fails beyond the limits above. */
ij_status ij_image_resize(ij_image *image, int width, int height, int channels, const char *name, ij_error *err);

/* "libjpeg-turbo" or "stb_image": the second one's pixels differ from the first one's by a few units. */
const char *ij_image_jpeg_decoder(void);
void ij_image_free(ij_image *image);

/* PNG of [height, width, channels] pixels, 1 or 3 channels; stride bytes from row to row [0: width x channels]. *out is free()d by
 * the caller. */
ij_status ij_png_encode(const uint8_t *pixels, int width, int height, int channels, size_t stride, void **out, size_t *bytes,
                        ij_error *err);
ij_status ij_png_write(const char *path, const uint8_t *pixels, int width, int height, int channels, ij_error *err);

#endif
