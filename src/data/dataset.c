/* layer: data; uses: folder, idx, io, base */
#include "data/dataset.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/folder.h"
#include "data/idx.h"
#include "io/checksum.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct ij_dataset {
    atomic_int shares; /* owners beside the first */
    char *path;        /* the root folder, or the IDX file; "" for single pictures; a source's name */
    int64_t count;
    int channels, classes;
    char **class_names; /* [classes] */
    /* folder */
    ij_folder folder;
    int32_t *labels; /* [count], NULL: none */
    int pad_to;      /* of IDX and of single pictures */
    /* IDX */
    bool is_idx;
    void *image_bytes, *label_bytes; /* what the two below point into */
    ij_idx images, image_labels;
    /* the caller's own: read is set */
    ij_dataset_source source;
};

/* ---- folder ---- */

static ij_status add_class(ij_dataset *dataset, int64_t *capacity, const char *name, size_t length, ij_error *err) {
    IJ_TRY(ij_grow(&dataset->class_names, capacity, dataset->classes + 1, sizeof *dataset->class_names, "class names", err));
    IJ_TRY(ij_copy_text(&dataset->class_names[dataset->classes], name, length, err));
    dataset->classes++;
    return IJ_OK;
}

/* The paths are sorted, so a class begins where the first folder's name changes. */
static ij_status label_folder(ij_dataset *dataset, ij_error *err) {
    IJ_TRY(ij_alloc(&dataset->labels, dataset->count, sizeof *dataset->labels, "labels", err));
    int64_t capacity = 0;
    for (int64_t i = 0; i < dataset->count; i++) {
        const char *path = dataset->folder.paths[i], *slash = strchr(path, '/');
        size_t length = slash ? (size_t)(slash - path) : 0;
        const char *last = dataset->classes ? dataset->class_names[dataset->classes - 1] : "";
        bool same = slash && strlen(last) == length && memcmp(last, path, length) == 0;
        if (slash && !same) IJ_TRY(add_class(dataset, &capacity, path, length, err));
        dataset->labels[i] = slash ? dataset->classes - 1 : -1;
    }
    return IJ_OK;
}

static ij_status open_folder(ij_dataset *dataset, const ij_dataset_desc *desc, ij_error *err) {
    dataset->channels = desc->channels ? desc->channels : 3;
    IJ_TRY(ij_folder_scan(dataset->path, &dataset->folder, err));
    dataset->count = dataset->folder.count;
    if (dataset->count == 0) return ij_fail(err, IJ_ERROR_FILE, "%s has no images (looked for .jpg .jpeg .png .bmp, IDX)", dataset->path);
    return label_folder(dataset, err);
}

/* ---- IDX ---- */

/* The labels' file name: the images' with "labels-idx1" for "images-idx3" (or with dots, as some copies have). False: no such name. */
static bool labels_path(const char *images, char *out, size_t out_bytes) {
    static const char *const marks[][2] = {{"images-idx3", "labels-idx1"}, {"images.idx3", "labels.idx1"}};
    for (int i = 0; i < IJ_COUNT(marks); i++) {
        const char *found = NULL;
        for (const char *next = images; (next = strstr(next, marks[i][0])) != NULL; next++) found = next;
        if (!found) continue;
        int written = snprintf(out, out_bytes, "%.*s%s%s", (int)(found - images), images, marks[i][1], found + strlen(marks[i][0]));
        return written > 0 && (size_t)written < out_bytes;
    }
    return false;
}

static ij_status read_labels(ij_dataset *dataset, const char *path, ij_error *err) {
    IJ_TRY(ij_idx_read(path, &dataset->label_bytes, &dataset->image_labels, err));
    if (dataset->image_labels.ndim != 1 || dataset->image_labels.shape[0] != dataset->count)
        return ij_fail(err, IJ_ERROR_MISMATCH, "%s has %lld labels, %s has %lld images", path, (long long)dataset->image_labels.shape[0],
                       dataset->path, (long long)dataset->count);
    int highest = 0;
    for (int64_t i = 0; i < dataset->count; i++)
        if (dataset->image_labels.values[i] > highest) highest = dataset->image_labels.values[i];
    int64_t capacity = 0;
    for (int label = 0; label <= highest; label++) {
        char name[8];
        int length = snprintf(name, sizeof name, "%d", label);
        IJ_TRY(add_class(dataset, &capacity, name, (size_t)length, err));
    }
    return IJ_OK;
}

static ij_status open_idx(ij_dataset *dataset, const ij_dataset_desc *desc, ij_error *err) {
    dataset->is_idx = true;
    dataset->channels = desc->channels ? desc->channels : 1;
    dataset->pad_to = desc->pad_to;
    IJ_TRY(ij_idx_read(dataset->path, &dataset->image_bytes, &dataset->images, err));
    const ij_idx *images = &dataset->images;
    if (images->ndim != 3 || images->shape[0] == 0)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s holds no images (%d dimensions, %lld entries)", dataset->path, images->ndim,
                       (long long)images->shape[0]);
    if (dataset->pad_to && (images->shape[1] > dataset->pad_to || images->shape[2] > dataset->pad_to))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "%s has images of %lld x %lld pixels, more than the %d they should be padded to",
                       dataset->path, (long long)images->shape[2], (long long)images->shape[1], dataset->pad_to);
    dataset->count = images->shape[0];
    char path[4096];
    if (!labels_path(dataset->path, path, sizeof path)) return IJ_OK;
    if (ij_file_exists(path)) return read_labels(dataset, path, err);
    /* Images packed and labels not, or the other way round. */
    size_t length = strlen(path);
    if (length > 3 && strcmp(path + length - 3, ".gz") == 0)
        path[length - 3] = 0;
    else if (length + 3 < sizeof path)
        strcat(path, ".gz");
    return ij_file_exists(path) ? read_labels(dataset, path, err) : IJ_OK;
}

static void read_idx(const ij_dataset *dataset, int64_t i, int width, int height, ij_image *image) {
    const uint8_t *from = dataset->images.values + i * width * height;
    int left = (image->width - width) / 2, top = (image->height - height) / 2, channels = image->channels;
    memset(image->pixels, 0, (size_t)image->width * (size_t)image->height * (size_t)channels);
    for (int y = 0; y < height; y++) {
        uint8_t *to = image->pixels + ((size_t)(y + top) * (size_t)image->width + (size_t)left) * (size_t)channels;
        for (int x = 0; x < width; x++, from++)
            for (int c = 0; c < channels; c++) *to++ = *from;
    }
}

/* ---- single pictures ---- */

static ij_status copy_paths(ij_dataset *dataset, const char *const *paths, int64_t count, ij_error *err) {
    size_t bytes = 0;
    for (int64_t i = 0; i < count; i++) bytes += strlen(paths[i]) + 1;
    IJ_TRY(ij_alloc(&dataset->folder.names, (int64_t)bytes, 1, "list of images", err));
    IJ_TRY(ij_alloc(&dataset->folder.paths, count, sizeof *dataset->folder.paths, "list of images", err));
    char *next = dataset->folder.names;
    for (int64_t i = 0; i < count; i++) {
        dataset->folder.paths[i] = next;
        next = stpcpy(next, paths[i]) + 1;
    }
    dataset->count = dataset->folder.count = count;
    return ij_copy_text(&dataset->path, "", 0, err);
}

ij_status ij_dataset_open_files(const char *const *paths, int64_t count, const ij_dataset_desc *desc, ij_dataset **out, ij_error *err) {
    *out = NULL;
    ij_dataset *dataset;
    if (count < 1) return ij_fail(err, IJ_ERROR_ARGUMENT, "no pictures given");
    IJ_TRY(ij_alloc(&dataset, 1, sizeof *dataset, "dataset", err));
    dataset->channels = desc && desc->channels ? desc->channels : 3;
    dataset->pad_to = desc ? desc->pad_to : 0;
    ij_status status = copy_paths(dataset, paths, count, err);
    if (status == IJ_OK)
        *out = dataset;
    else
        ij_dataset_close(dataset);
    return status;
}

/* Puts the picture into the middle of a black one of `side` pixels a side. */
static ij_status pad(ij_image *image, int side, const char *name, ij_error *err) {
    int width = image->width, height = image->height;
    if (width >= side || height >= side) return IJ_OK;
    size_t channels = (size_t)image->channels, row = (size_t)width * channels, wide = (size_t)side * channels;
    size_t left = (size_t)((side - width) / 2) * channels, top = (size_t)((side - height) / 2);
    uint8_t *copy;
    IJ_TRY(ij_alloc(&copy, (int64_t)(row * (size_t)height), 1, "padded picture", err));
    memcpy(copy, image->pixels, row * (size_t)height);
    ij_status status = ij_image_resize(image, side, side, image->channels, name, err);
    if (status == IJ_OK) memset(image->pixels, 0, wide * (size_t)side);
    for (size_t y = 0; y < (size_t)height && status == IJ_OK; y++) memcpy(image->pixels + (top + y) * wide + left, copy + y * row, row);
    free(copy);
    return status;
}

/* ---- the caller's own images ---- */

static bool sizes_possible(int height, int width) {
    return height > 0 && width > 0 && height <= IJ_IMAGE_SIDE_MAX && width <= IJ_IMAGE_SIDE_MAX &&
           (int64_t)height * width <= IJ_IMAGE_PIXELS_MAX;
}

static ij_status check_source(const ij_dataset_source *s, ij_error *err) {
    bool fixed = s->height || s->width;
    if (s->count < 1) return ij_fail(err, IJ_ERROR_ARGUMENT, "a data set of %lld images", (long long)s->count);
    if (s->channels != 1 && s->channels != 3) return ij_fail(err, IJ_ERROR_ARGUMENT, "images of %d channels, expected 1 or 3", s->channels);
    if (fixed && !sizes_possible(s->height, s->width))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "images of %d x %d pixels", s->width, s->height);
    if (!s->read || (!fixed && !s->size))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "a data set needs `read`, and `size` where images have no common height and width");
    if (s->classes < 0 || (!s->labels) != (s->classes == 0))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "labels and their %d classes go together", s->classes);
    for (int64_t i = 0; i < s->count && s->labels; i++)
        if (s->labels[i] < -1 || s->labels[i] >= s->classes)
            return ij_fail(err, IJ_ERROR_ARGUMENT, "label %d of image %lld: there are %d classes", s->labels[i], (long long)i, s->classes);
    return IJ_OK;
}

/* What the caller's pointers hold is copied; they are not kept. */
static ij_status take_source(ij_dataset *dataset, const ij_dataset_source *s, ij_error *err) {
    int64_t capacity = 0;
    const char *name = s->name ? s->name : "memory";
    dataset->source = *s;
    dataset->source.labels = NULL, dataset->source.class_names = NULL, dataset->source.name = NULL;
    dataset->count = s->count;
    dataset->channels = s->channels;
    IJ_TRY(ij_copy_text(&dataset->path, name, strlen(name), err));
    if (s->labels) IJ_TRY(ij_alloc(&dataset->labels, s->count, sizeof *dataset->labels, "labels", err));
    for (int64_t i = 0; i < s->count && s->labels; i++) dataset->labels[i] = s->labels[i];
    for (int k = 0; k < s->classes; k++) {
        char number[16];
        snprintf(number, sizeof number, "%d", k);
        const char *class_name = s->class_names ? s->class_names[k] : number;
        IJ_TRY(add_class(dataset, &capacity, class_name, strlen(class_name), err));
    }
    return IJ_OK;
}

ij_status ij_dataset_open_source(const ij_dataset_source *source, ij_dataset **out, ij_error *err) {
    *out = NULL;
    ij_dataset *dataset;
    IJ_TRY(check_source(source, err));
    IJ_TRY(ij_alloc(&dataset, 1, sizeof *dataset, "dataset", err));
    ij_status status = take_source(dataset, source, err);
    if (status == IJ_OK)
        *out = dataset;
    else
        ij_dataset_close(dataset);
    return status;
}

static ij_status read_source(const ij_dataset *dataset, int64_t i, ij_image *image, ij_error *err) {
    const ij_dataset_source *s = &dataset->source;
    int height = s->height, width = s->width;
    bool fixed = height > 0;
    if (!fixed && !s->size(s->user, i, &height, &width))
        return ij_fail(err, IJ_ERROR_FILE, "%s:%lld: its size cannot be had", dataset->path, (long long)i);
    if (!fixed && !sizes_possible(height, width))
        return ij_fail(err, IJ_ERROR_FORMAT, "%s:%lld: an image of %d x %d pixels", dataset->path, (long long)i, width, height);
    IJ_TRY(ij_image_resize(image, width, height, dataset->channels, dataset->path, err));
    if (s->read(s->user, i, image->pixels)) return IJ_OK;
    return ij_fail(err, IJ_ERROR_FILE, "%s:%lld: its pixels cannot be had", dataset->path, (long long)i);
}

/* An image that cannot be had counts as one without pixels. */
static ij_status add_source(const ij_dataset *dataset, ij_checksum *sum, ij_error *err) {
    ij_image image = {0};
    ij_status status = IJ_OK;
    ij_checksum_add(sum, &dataset->count, sizeof dataset->count);
    if (dataset->labels) ij_checksum_add(sum, dataset->labels, (size_t)dataset->count * sizeof *dataset->labels);
    if (dataset->source.mark) ij_checksum_add(sum, &dataset->source.mark, sizeof dataset->source.mark);
    for (int64_t i = 0; i < dataset->count && !dataset->source.mark && status != IJ_ERROR_MEMORY; i++) {
        status = read_source(dataset, i, &image, err);
        int32_t size[2] = {status == IJ_OK ? image.height : 0, status == IJ_OK ? image.width : 0};
        ij_checksum_add(sum, size, sizeof size);
        if (status == IJ_OK) ij_checksum_add(sum, image.pixels, (size_t)size[0] * (size_t)size[1] * (size_t)image.channels);
    }
    ij_image_free(&image);
    return status == IJ_ERROR_MEMORY ? status : IJ_OK;
}

/* ---- all ---- */

/* Decides what `path` is; on success dataset->path names the folder or the IDX file. */
static ij_status find_source(ij_dataset *dataset, const char *path, bool *idx, ij_error *err) {
    static const char *const names[] = {"train-images-idx3-ubyte", "train-images-idx3-ubyte.gz", "train-images.idx3-ubyte",
                                        "train-images.idx3-ubyte.gz"};
    *idx = ij_file_exists(path);
    if (*idx) return ij_copy_text(&dataset->path, path, strlen(path), err);
    if (!ij_is_folder(path)) return ij_fail(err, IJ_ERROR_FILE, "%s: no such folder or file", path);
    for (int i = 0; i < IJ_COUNT(names); i++) {
        char file[4096];
        IJ_TRY(ij_path_join(file, sizeof file, path, names[i], err));
        if (!ij_file_exists(file)) continue;
        *idx = true;
        return ij_copy_text(&dataset->path, file, strlen(file), err);
    }
    return ij_copy_text(&dataset->path, path, strlen(path), err);
}

ij_status ij_dataset_open(const char *path, const ij_dataset_desc *desc, ij_dataset **out, ij_error *err) {
    static const ij_dataset_desc defaults;
    if (!desc) desc = &defaults;
    *out = NULL;
    if ((desc->channels != 0 && desc->channels != 1 && desc->channels != 3) || desc->pad_to < 0 || desc->pad_to > IJ_IMAGE_SIDE_MAX)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: images with %d channels, padded to %d", path, desc->channels, desc->pad_to);
    ij_dataset *dataset;
    IJ_TRY(ij_alloc(&dataset, 1, sizeof *dataset, "dataset", err));
    bool idx;
    ij_status status = find_source(dataset, path, &idx, err);
    if (status == IJ_OK) status = idx ? open_idx(dataset, desc, err) : open_folder(dataset, desc, err);
    if (status == IJ_OK)
        *out = dataset;
    else
        ij_dataset_close(dataset);
    return status;
}

ij_dataset *ij_dataset_share(ij_dataset *dataset) {
    atomic_fetch_add(&dataset->shares, 1);
    return dataset;
}

void ij_dataset_close(ij_dataset *dataset) {
    if (!dataset || atomic_fetch_sub(&dataset->shares, 1) > 0) return;
    for (int i = 0; i < dataset->classes; i++) free(dataset->class_names[i]);
    free(dataset->class_names);
    ij_folder_free(&dataset->folder);
    free(dataset->labels);
    free(dataset->image_bytes);
    free(dataset->label_bytes);
    free(dataset->path);
    free(dataset);
}

const char *ij_dataset_title(const ij_dataset *dataset) { return dataset->path; }

int64_t ij_dataset_count(const ij_dataset *dataset) { return dataset->count; }

int ij_dataset_channels(const ij_dataset *dataset) { return dataset->channels; }

int ij_dataset_classes(const ij_dataset *dataset) { return dataset->classes; }

const char *ij_dataset_class_name(const ij_dataset *dataset, int label) { return dataset->class_names[label]; }

int ij_dataset_label(const ij_dataset *dataset, int64_t i) {
    if (dataset->labels) return dataset->labels[i];
    return dataset->image_labels.values ? dataset->image_labels.values[i] : -1;
}

const char *ij_dataset_name(const ij_dataset *dataset, int64_t i, char *out, size_t out_bytes) {
    const char *slash = strrchr(dataset->path, '/');
    if (dataset->is_idx)
        snprintf(out, out_bytes, "%s:%lld", slash ? slash + 1 : dataset->path, (long long)i);
    else if (dataset->source.read)
        snprintf(out, out_bytes, "%s:%lld", dataset->path, (long long)i);
    else
        snprintf(out, out_bytes, "%s", dataset->folder.paths[i]);
    return out;
}

int64_t ij_dataset_image_bytes(const ij_dataset *dataset) {
    if (dataset->source.read) return (int64_t)dataset->source.height * dataset->source.width * dataset->channels;
    if (!dataset->is_idx) return 0;
    int64_t pixels = dataset->pad_to ? (int64_t)dataset->pad_to * dataset->pad_to : dataset->images.shape[1] * dataset->images.shape[2];
    return pixels * dataset->channels;
}

static ij_status picture_path(const ij_dataset *dataset, int64_t i, char *out, size_t out_bytes, ij_error *err) {
    const char *name = dataset->folder.paths[i];
    if (*dataset->path) return ij_path_join(out, out_bytes, dataset->path, name, err);
    if (strlen(name) >= out_bytes) return ij_fail(err, IJ_ERROR_ARGUMENT, "path too long: %.200s", name);
    strcpy(out, name);
    return IJ_OK;
}

ij_status ij_dataset_mark(const ij_dataset *dataset, uint64_t *out, ij_error *err) {
    ij_checksum sum;
    ij_checksum_begin(&sum);
    int32_t shape[3] = {dataset->source.read ? 2 : dataset->is_idx, dataset->channels, dataset->pad_to};
    ij_checksum_add(&sum, shape, sizeof shape);
    if (dataset->source.read) {
        IJ_TRY(add_source(dataset, &sum, err));
        *out = ij_checksum_end(&sum);
        return IJ_OK;
    }
    if (dataset->is_idx) {
        const ij_idx *images = &dataset->images, *labels = &dataset->image_labels;
        ij_checksum_add(&sum, images->shape, sizeof images->shape);
        ij_checksum_add(&sum, images->values, (size_t)(images->shape[0] * images->shape[1] * images->shape[2]));
        if (labels->values) ij_checksum_add(&sum, labels->values, (size_t)labels->shape[0]);
    }
    for (int64_t i = 0; i < dataset->count && !dataset->is_idx; i++) {
        char path[8192];
        struct stat info;
        IJ_TRY(picture_path(dataset, i, path, sizeof path, err));
        int64_t of_file[3] = {-1, 0, 0};
        if (stat(path, &info) == 0) of_file[0] = info.st_size, of_file[1] = info.st_mtim.tv_sec, of_file[2] = info.st_mtim.tv_nsec;
        ij_checksum_add(&sum, dataset->folder.paths[i], strlen(dataset->folder.paths[i]) + 1);
        ij_checksum_add(&sum, of_file, sizeof of_file);
    }
    *out = ij_checksum_end(&sum);
    return IJ_OK;
}

ij_status ij_dataset_read(const ij_dataset *dataset, int64_t i, ij_image *image, ij_error *err) {
    if (dataset->source.read) return read_source(dataset, i, image, err);
    if (!dataset->is_idx) {
        char path[8192];
        IJ_TRY(picture_path(dataset, i, path, sizeof path, err));
        IJ_TRY(ij_image_read(path, dataset->channels, image, err));
        return pad(image, dataset->pad_to, path, err);
    }
    int height = (int)dataset->images.shape[1], width = (int)dataset->images.shape[2], pad = dataset->pad_to;
    IJ_TRY(ij_image_resize(image, pad ? pad : width, pad ? pad : height, dataset->channels, dataset->path, err));
    read_idx(dataset, i, width, height, image);
    return IJ_OK;
}
