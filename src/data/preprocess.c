/* layer: data; uses: crop, io, base */
#include "data/preprocess.h"
#include "base/memory.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CENTRE_SIZE 224 /* the centre is this part of a short side of CENTRE_RESIZE */
#define CENTRE_RESIZE 256
#define SIZE_MAX_SIDE 16384

const char *const ij_resize_names[IJ_RESIZE_COUNT] = {"trained", "exact", "shorter"};
const char *const ij_filter_names[IJ_FILTER_COUNT] = {"bilinear", "bicubic"};
const char *const ij_resampler_names[IJ_RESAMPLER_COUNT] = {"device", "pil", "torchvision"};

/* ---- what is asked for ---- */

static ij_status find(const char *text, size_t length, const char *what, const char *const *names, int count, int *out, ij_error *err) {
    char list[128] = "";
    for (int i = 0; i < count; i++) {
        if (strlen(names[i]) == length && strncmp(text, names[i], length) == 0) {
            *out = i;
            return IJ_OK;
        }
        strcat(strcat(list, i ? ", " : ""), names[i]);
    }
    return ij_fail(err, IJ_ERROR_ARGUMENT, "%s \"%.40s\": there are %s", what, text, list);
}

/* *shorter: what the text names, else 0. */
static ij_status read_resize(const char *text, ij_resize *resize, int *shorter, ij_error *err) {
    const char *colon = strchr(text, ':');
    int choice;
    IJ_TRY(find(text, colon ? (size_t)(colon - text) : strlen(text), "resize", ij_resize_names, IJ_RESIZE_COUNT, &choice, err));
    *resize = (ij_resize)choice;
    if (!colon) return IJ_OK;
    char *end;
    long side = strtol(colon + 1, &end, 10);
    if (choice != IJ_RESIZE_SHORTER || end == colon + 1 || *end || side < 1 || side > SIZE_MAX_SIDE)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "resize \"%.40s\": shorter:N is expected, N from 1 to %d", text, SIZE_MAX_SIDE);
    *shorter = (int)side;
    return IJ_OK;
}

ij_status ij_preprocess_settle(const ij_preprocess *trained, const ij_preprocess_wish *wish, int model_height, int model_width,
                               ij_preprocess *out, ij_error *err) {
    ij_preprocess p = *trained;
    int choice, named = 0;
    if (!p.height) p.height = model_height;
    if (!p.width) p.width = model_width;
    int before = p.height < p.width ? p.height : p.width;
    if (!p.shorter) p.shorter = (int)((int64_t)before * CENTRE_RESIZE / CENTRE_SIZE);
    if (wish->height) p.height = wish->height;
    if (wish->width) p.width = wish->width;
    int after = p.height < p.width ? p.height : p.width;
    if (after != before) p.shorter = (int)((int64_t)p.shorter * after / before);
    if (wish->resize) IJ_TRY(read_resize(wish->resize, &p.resize, &named, err));
    if (named) p.shorter = named;
    if (wish->filter) {
        IJ_TRY(find(wish->filter, strlen(wish->filter), "filter", ij_filter_names, IJ_FILTER_COUNT, &choice, err));
        p.filter = (ij_filter)choice;
    }
    if (wish->resampler) {
        IJ_TRY(find(wish->resampler, strlen(wish->resampler), "resampler", ij_resampler_names, IJ_RESAMPLER_COUNT, &choice, err));
        p.resampler = (ij_resampler)choice;
    }
    if (p.resize == IJ_RESIZE_SHORTER && (p.shorter < p.height || p.shorter < p.width))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "resize: a shorter side of %d pixels has no centre of %d x %d", p.shorter, p.height,
                       p.width);
    *out = p;
    return IJ_OK;
}

/* ---- one picture ---- */

/* Where the input lies in the picture resized so that its shorter side has a length. */
typedef struct centre {
    int width, height; /* of the resized picture */
    int left, top;
} centre;

static centre centre_of(const ij_image *image, const ij_preprocess *p) {
    centre c;
    bool upright = image->width <= image->height;
    int shorter = upright ? image->width : image->height, longer = upright ? image->height : image->width;
    int64_t other = (int64_t)p->shorter * longer / shorter;
    c.width = upright ? p->shorter : (int)other;
    c.height = upright ? (int)other : p->shorter;
    c.left = (int)rint((c.width - p->width) / 2.0); /* halves to even, as Python's round */
    c.top = (int)rint((c.height - p->height) / 2.0);
    return c;
}

/* "trained", said in the host's terms. */
static ij_resize host_resize(const ij_preprocess *p, bool whole) {
    if (p->resize != IJ_RESIZE_TRAINED) return p->resize;
    return whole || p->shorter < p->height || p->shorter < p->width ? IJ_RESIZE_EXACT : IJ_RESIZE_SHORTER;
}

static ij_status resize_on_host(const ij_preprocess *p, bool whole, const ij_image *image, ij_image *out, ij_error *err) {
    ij_resample_desc d = {.width = p->width,
                          .height = p->height,
                          .filter = p->filter,
                          .rounding = p->resampler == IJ_RESAMPLER_PIL ? IJ_ROUNDING_PIL : IJ_ROUNDING_TORCH};
    if (host_resize(p, whole) == IJ_RESIZE_SHORTER) {
        centre c = centre_of(image, p);
        d.left = c.left, d.top = c.top, d.part_width = p->width, d.part_height = p->height;
        d.width = c.width, d.height = c.height;
    }
    return ij_resample(image, &d, out, err);
}

static ij_crop device_crop(const ij_preprocess *p, bool whole, const ij_image *image) {
    ij_crop all = {0, 0, (float)image->width, (float)image->height};
    if (p->resize == IJ_RESIZE_EXACT || (p->resize == IJ_RESIZE_TRAINED && whole)) return all;
    if (p->resize == IJ_RESIZE_TRAINED) return ij_crop_center(image->width, image->height, CENTRE_RESIZE, CENTRE_SIZE);
    centre c = centre_of(image, p);
    float across = (float)image->width / (float)c.width, down = (float)image->height / (float)c.height;
    ij_crop crop = {(float)c.left * across, (float)c.top * down, (float)p->width * across, (float)p->height * down};
    crop.w = fminf(crop.w, (float)image->width - crop.x); /* what rounding put outside */
    crop.h = fminf(crop.h, (float)image->height - crop.y);
    return crop;
}

ij_status ij_preprocess_cut(const ij_preprocess *p, bool whole, const ij_image *image, int64_t cap_bytes, ij_image *scratch, uint8_t **out,
                            int64_t *capacity, ij_crop *crop, int *width, int *height, ij_error *err) {
    *crop = device_crop(p, whole, image);
    if (ij_preprocess_on_host(p)) {
        assert((int64_t)p->width * p->height * image->channels <= cap_bytes);
        IJ_TRY(resize_on_host(p, whole, image, scratch, err));
        image = scratch;
        *crop = (ij_crop){0, 0, (float)image->width, (float)image->height};
    }
    return ij_crop_cut(image, cap_bytes, crop, out, capacity, width, height, err);
}
