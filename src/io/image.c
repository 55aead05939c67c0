/* Decoding. libjpeg-turbo where the build found it (IJ_HAVE_JPEG), stb_image for the rest.       layer: io; uses: base
 *
 * stb_image trusts more than it should for training data: it reads zeros behind the end of a JPEG or BMP and ignores PNG's check
 * sums. check_png, check_bmp and check_jpeg_end look first, so that a damaged file is an error and not a black picture. */
#include "io/image.h"
#include "base/file.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_NO_GIF          /* follows from the three above, but its declaration comes before that is known */
#define STBI_FAILURE_USERMSG /* the other texts have one that is written while it decodes: a global for all threads */
#define STBI_MAX_DIMENSIONS IJ_IMAGE_SIDE_MAX
#include <stb/stb_image.h>

#ifdef IJ_HAVE_JPEG
#include <setjmp.h>
#include <stdio.h> /* jpeglib.h needs it */
#include <jpeglib.h>
#include <jerror.h>
#endif

#define FILE_BYTES_MAX ((uint64_t)1 << 29)
#define JPEG_SCANS_MAX 500 /* a progressive file of more is made to keep a decoder busy */

static ij_status check_size(int64_t width, int64_t height, const char *name, ij_error *err) {
    if (width < 1 || height < 1)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: image of %lld x %lld pixels", name, (long long)width, (long long)height);
    if (width > IJ_IMAGE_SIDE_MAX || height > IJ_IMAGE_SIDE_MAX || width * height > IJ_IMAGE_PIXELS_MAX)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: image of %lld x %lld pixels; at most %d on a side and %lld in all are read", name,
                       (long long)width, (long long)height, IJ_IMAGE_SIDE_MAX, (long long)IJ_IMAGE_PIXELS_MAX);
    return IJ_OK;
}

ij_status ij_image_resize(ij_image *image, int width, int height, int channels, const char *name, ij_error *err) {
    IJ_TRY(check_size(width, height, name, err));
    int64_t needed = (int64_t)width * height * channels;
    if (needed > image->capacity) { /* exact, and without copying what will be overwritten */
        uint8_t *pixels = malloc((size_t)needed);
        if (!pixels) return ij_fail(err, IJ_ERROR_MEMORY, "out of host memory: %s needs %.1f MiB", name, (double)needed / 1048576.0);
        free(image->pixels);
        image->pixels = pixels;
        image->capacity = needed;
    }
    image->width = width, image->height = height, image->channels = channels;
    return IJ_OK;
}

void ij_image_free(ij_image *image) {
    free(image->pixels);
    memset(image, 0, sizeof *image);
}

static inline uint8_t grey_of(int r, int g, int b) { return (uint8_t)((19595 * r + 38470 * g + 7471 * b + 32768) >> 16); }

/* Converts `count` pixels of 1 to 4 channels (2 and 4 end in alpha) to 1 or 3. May work in place when the pixels do not grow. */
static void convert_pixels(const uint8_t *from, int from_channels, uint8_t *to, int to_channels, int64_t count) {
    bool grey = from_channels <= 2;
    for (int64_t i = 0; i < count; i++, from += from_channels, to += to_channels) {
        uint8_t r = from[0], g = grey ? r : from[1], b = grey ? r : from[2];
        if (to_channels == 1)
            to[0] = grey ? r : grey_of(r, g, b);
        else
            to[0] = r, to[1] = g, to[2] = b;
    }
}

/* ---- what stb_image does not check ---- */

static uint32_t big32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

static uint32_t little32(const uint8_t *p) { return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0]; }

/* Every chunk inside the file with the right CRC, up to IEND; and no more compressed data than the picture can need, because stb_image
 * unpacks all of it before it looks. */
static ij_status check_png(const uint8_t *bytes, size_t count, const char *name, ij_error *err) {
    uint64_t packed = 0, rows = 0;
    for (size_t at = 8; count - at >= 12;) {
        uint64_t length = big32(bytes + at);
        if (length > count - at - 12) break;
        const uint8_t *kind = bytes + at + 4;
        if (crc32(crc32(0, NULL, 0), kind, (uInt)(length + 4)) != big32(kind + 4 + length))
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: damaged PNG: chunk %.4s at byte %zu has a wrong check sum", name, (const char *)kind,
                           at);
        if (memcmp(kind, "IHDR", 4) == 0 && length >= 13) {
            IJ_TRY(check_size(big32(kind + 4), big32(kind + 8), name, err));
            rows = big32(kind + 8) * ((uint64_t)big32(kind + 4) * 8 + 16); /* 4 channels of 16 bits, filter bytes, interlacing */
        }
        if (memcmp(kind, "IDAT", 4) == 0) packed += length;
        if (memcmp(kind, "IEND", 4) == 0) {
            /* deflate never expands by more than a few bytes a block, so honest data is smaller than the raw rows */
            if (packed > rows + rows / 8 + 4096)
                return ij_fail(err, IJ_ERROR_FORMAT, "%s: PNG with %llu bytes of data for %llu of pixels", name, (unsigned long long)packed,
                               (unsigned long long)rows);
            return IJ_OK;
        }
        at += 12 + (size_t)length;
    }
    return ij_fail(err, IJ_ERROR_FORMAT, "%s: PNG ends early (%zu bytes)", name, count);
}

static ij_status check_bmp(const uint8_t *bytes, size_t count, const char *name, ij_error *err) {
    if (count < 30) return ij_fail(err, IJ_ERROR_FORMAT, "%s: BMP ends early (%zu bytes)", name, count);
    bool old = little32(bytes + 14) == 12;
    int64_t width = old ? bytes[18] | bytes[19] << 8 : (int32_t)little32(bytes + 18);
    int64_t height = old ? bytes[20] | bytes[21] << 8 : (int32_t)little32(bytes + 22);
    int64_t bits = old ? bytes[24] | bytes[25] << 8 : bytes[28] | bytes[29] << 8;
    if (height < 0) height = -height;
    IJ_TRY(check_size(width, height, name, err));
    int64_t stride = (width * bits + 31) / 32 * 4, needed = (int64_t)little32(bytes + 10) + stride * height;
    if ((int64_t)count < needed)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: BMP ends early: %zu bytes, %lld x %lld pixels need %lld", name, count, (long long)width,
                       (long long)height, (long long)needed);
    return IJ_OK;
}

#ifndef IJ_HAVE_JPEG
/* The last end marker lies behind the last start of scan: true for a whole file, false for one cut inside its picture. */
static ij_status check_jpeg_end(const uint8_t *bytes, size_t count, const char *name, ij_error *err) {
    for (size_t i = count - 1; i > 0; i--) {
        if (bytes[i - 1] != 0xff) continue;
        if (bytes[i] == 0xd9) return IJ_OK;
        if (bytes[i] == 0xda) break;
    }
    return ij_fail(err, IJ_ERROR_FORMAT, "%s: JPEG ends early (%zu bytes)", name, count);
}
#endif

/* ---- stb_image ---- */

static ij_status decode_stb(const uint8_t *bytes, size_t count, int channels, const char *name, ij_image *image, ij_error *err) {
    int width, height, found;
    if (!stbi_info_from_memory(bytes, (int)count, &width, &height, &found))
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: damaged image: %s", name, stbi_failure_reason());
    IJ_TRY(check_size(width, height, name, err));
    uint8_t *pixels = stbi_load_from_memory(bytes, (int)count, &width, &height, &found, 0);
    if (!pixels) return ij_fail(err, IJ_ERROR_FORMAT, "%s: damaged image: %s", name, stbi_failure_reason());
    ij_status status = ij_image_resize(image, width, height, channels ? channels : found <= 2 ? 1 : 3, name, err);
    if (status == IJ_OK) convert_pixels(pixels, found, image->pixels, image->channels, (int64_t)width * height);
    stbi_image_free(pixels);
    return status;
}

/* ---- libjpeg-turbo ---- */

#ifdef IJ_HAVE_JPEG

typedef struct jpeg_failure {
    struct jpeg_error_mgr manager; /* first: libjpeg hands back a pointer to it */
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    char text[JMSG_LENGTH_MAX];
} jpeg_failure;

static void jpeg_error_exit(j_common_ptr info) {
    jpeg_failure *failure = (jpeg_failure *)info->err;
    info->err->format_message(info, failure->text);
    longjmp(failure->escape, 1);
}

/* Warnings pass as they do in PIL (libjpeg conceals small damage); only the end of the data is an error. */
static void jpeg_emit_message(j_common_ptr info, int level) {
    if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) jpeg_error_exit(info);
}

static void jpeg_progress(j_common_ptr info) {
    if (((j_decompress_ptr)info)->input_scan_number > JPEG_SCANS_MAX) {
        strcpy(((jpeg_failure *)info->err)->text, "too many scans");
        longjmp(((jpeg_failure *)info->err)->escape, 1);
    }
}

static inline uint8_t multiply255(int a, int b) {
    int t = a * b + 128;
    return (uint8_t)(((t >> 8) + t) >> 8);
}

/* One row of CMYK as Adobe stores it (inverted) to RGB, PIL's arithmetic. */
static void cmyk_to_rgb(const uint8_t *from, uint8_t *to, int width) {
    for (int x = 0; x < width; x++, from += 4, to += 3)
        for (int c = 0; c < 3; c++) to[c] = (uint8_t)(from[3] - multiply255(255 - from[c], from[3]));
}

/* `row`: scratch of 4 bytes a pixel, for the colour spaces that need one step more. */
static void read_rows(struct jpeg_decompress_struct *info, ij_image *image, uint8_t *row) {
    size_t stride = (size_t)image->width * (size_t)image->channels;
    while (info->output_scanline < info->output_height) {
        uint8_t *out = image->pixels + stride * info->output_scanline;
        bool direct = info->output_components == image->channels;
        JSAMPROW target = direct ? out : row;
        jpeg_read_scanlines(info, &target, 1);
        if (direct) continue;
        int components = info->output_components;
        if (components == 4) cmyk_to_rgb(row, row, image->width), components = 3;
        convert_pixels(row, components, out, image->channels, image->width);
    }
}

/* Everything that longjmp may leave lives in the caller's frame. */
static ij_status decode_jpeg_guarded(struct jpeg_decompress_struct *info, jpeg_failure *failure, const uint8_t *bytes, size_t count,
                                     int channels, const char *name, ij_image *image, uint8_t **row, ij_error *err) {
    if (setjmp(failure->escape)) return ij_fail(err, IJ_ERROR_FORMAT, "%s: damaged JPEG: %s", name, failure->text);
    jpeg_create_decompress(info); /* zeroes all but the error manager */
    info->progress = &failure->progress;
    jpeg_mem_src(info, (unsigned char *)(uintptr_t)bytes, (unsigned long)count);
    jpeg_read_header(info, TRUE);
    IJ_TRY(check_size(info->image_width, info->image_height, name, err));
    if (info->num_components == 1)
        info->out_color_space = JCS_GRAYSCALE;
    else
        info->out_color_space = info->num_components == 4 ? JCS_CMYK : JCS_RGB;
    int wanted = channels ? channels : info->num_components == 1 ? 1 : 3;
    IJ_TRY(ij_image_resize(image, (int)info->image_width, (int)info->image_height, wanted, name, err));
    IJ_TRY(ij_alloc(row, (int64_t)info->image_width * 4, 1, name, err));
    jpeg_start_decompress(info);
    read_rows(info, image, *row);
    jpeg_finish_decompress(info);
    return IJ_OK;
}

static ij_status decode_jpeg(const uint8_t *bytes, size_t count, int channels, const char *name, ij_image *image, ij_error *err) {
    struct jpeg_decompress_struct info = {0};
    jpeg_failure failure;
    uint8_t *row = NULL;
    info.err = jpeg_std_error(&failure.manager);
    failure.manager.error_exit = jpeg_error_exit;
    failure.manager.emit_message = jpeg_emit_message;
    failure.text[0] = 0;
    failure.progress = (struct jpeg_progress_mgr){.progress_monitor = jpeg_progress};
    ij_status status = decode_jpeg_guarded(&info, &failure, bytes, count, channels, name, image, &row, err);
    jpeg_destroy_decompress(&info);
    free(row);
    return status;
}

const char *ij_image_jpeg_decoder(void) { return "libjpeg-turbo"; }

#else

const char *ij_image_jpeg_decoder(void) { return "stb_image"; }

static ij_status decode_jpeg(const uint8_t *bytes, size_t count, int channels, const char *name, ij_image *image, ij_error *err) {
    IJ_TRY(check_jpeg_end(bytes, count, name, err));
    return decode_stb(bytes, count, channels, name, image, err);
}

#endif

ij_status ij_image_decode(const void *data, size_t count, int channels, const char *name, ij_image *image, ij_error *err) {
    const uint8_t *bytes = data;
    if (count > FILE_BYTES_MAX) return ij_fail(err, IJ_ERROR_FORMAT, "%s: image file of %zu bytes", name, count);
    if (count >= 3 && memcmp(bytes, "\xff\xd8\xff", 3) == 0) return decode_jpeg(bytes, count, channels, name, image, err);
    if (count >= 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0) {
        IJ_TRY(check_png(bytes, count, name, err));
        return decode_stb(bytes, count, channels, name, image, err);
    }
    if (count >= 2 && memcmp(bytes, "BM", 2) == 0) {
        IJ_TRY(check_bmp(bytes, count, name, err));
        return decode_stb(bytes, count, channels, name, image, err);
    }
    return ij_fail(err, IJ_ERROR_FORMAT, "%s: neither JPEG, PNG nor BMP (%zu bytes)", name, count);
}

ij_status ij_image_read(const char *path, int channels, ij_image *image, ij_error *err) {
    void *bytes;
    size_t count;
    IJ_TRY(ij_file_read(path, FILE_BYTES_MAX, &bytes, &count, err));
    ij_status status = ij_image_decode(bytes, count, channels, path, image, err);
    free(bytes);
    return status;
}
