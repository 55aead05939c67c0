/* Data sets.       layer: api; uses: base, io, data */
#include "data/dataset.h"
#include "api/api.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct ijepa_dataset {
    ij_dataset *set;
    ij_image image;  /* the one that was decoded last */
    int64_t decoded; /* its number; -1: none */
    char name[8192];
};

ij_dataset *api_dataset(const ijepa_dataset *dataset) { return dataset ? dataset->set : NULL; }

/* ---- opening ---- */

static ij_status make_handle(ijepa_dataset **out, ij_error *err) {
    IJ_TRY(ij_alloc(out, 1, sizeof **out, "data set", err));
    (*out)->decoded = -1;
    return IJ_OK;
}

/* Hands the handle out, or closes it. */
static ijepa_status finish(ij_status status, ijepa_dataset *made, const ij_error *from, ijepa_dataset **out, ijepa_error *err) {
    if (status == IJ_OK)
        *out = made;
    else
        ijepa_dataset_close(made);
    return api_result(status, from, err);
}

ijepa_status ijepa_dataset_open(const char *path, const ijepa_dataset_options *options, ijepa_dataset **out, ijepa_error *err) {
    API_NEED(out);
    *out = NULL;
    API_NEED(path);
    ij_error ours = {0};
    ijepa_dataset *made = NULL;
    ij_dataset_desc desc = {0};
    if (options) desc = (ij_dataset_desc){.channels = options->channels, .pad_to = options->pad_to};
    ij_status status = make_handle(&made, &ours);
    if (status == IJ_OK) status = ij_dataset_open(path, &desc, &made->set, &ours);
    return finish(status, made, &ours, out, err);
}

ijepa_status ijepa_dataset_from_callback(const ijepa_dataset_source *source, ijepa_dataset **out, ijepa_error *err) {
    API_NEED(out);
    *out = NULL;
    API_NEED(source);
    for (int k = 0; k < source->classes && source->class_names; k++) API_NEED(source->class_names[k]);
    ij_error ours = {0};
    ijepa_dataset *made = NULL;
    ij_dataset_source from = {.count = source->count,
                              .channels = source->channels,
                              .height = source->height,
                              .width = source->width,
                              .size = source->size,
                              .read = source->read,
                              .labels = source->labels,
                              .classes = source->classes,
                              .class_names = source->class_names,
                              .mark = source->mark,
                              .name = source->name,
                              .user = source->user};
    ij_status status = make_handle(&made, &ours);
    if (status == IJ_OK) status = ij_dataset_open_source(&from, &made->set, &ours);
    return finish(status, made, &ours, out, err);
}

void ijepa_dataset_close(ijepa_dataset *dataset) {
    if (!dataset) return;
    ij_dataset_close(dataset->set);
    ij_image_free(&dataset->image);
    free(dataset);
}

/* ---- what is in it ---- */

static bool has(const ijepa_dataset *dataset, int64_t i) { return dataset && i >= 0 && i < ij_dataset_count(dataset->set); }

int64_t ijepa_dataset_count(const ijepa_dataset *dataset) { return dataset ? ij_dataset_count(dataset->set) : 0; }

int ijepa_dataset_channels(const ijepa_dataset *dataset) { return dataset ? ij_dataset_channels(dataset->set) : 0; }

int ijepa_dataset_classes(const ijepa_dataset *dataset) { return dataset ? ij_dataset_classes(dataset->set) : 0; }

const char *ijepa_dataset_class_name(const ijepa_dataset *dataset, int label) {
    return label >= 0 && label < ijepa_dataset_classes(dataset) ? ij_dataset_class_name(dataset->set, label) : NULL;
}

int ijepa_dataset_label(const ijepa_dataset *dataset, int64_t i) { return has(dataset, i) ? ij_dataset_label(dataset->set, i) : -1; }

const char *ijepa_dataset_name(ijepa_dataset *dataset, int64_t i) {
    return has(dataset, i) ? ij_dataset_name(dataset->set, i, dataset->name, sizeof dataset->name) : "";
}

static ij_status read_image(ijepa_dataset *d, int64_t i, uint8_t *pixels, size_t bytes, int *height, int *width, ij_error *err) {
    if (!has(d, i))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "ijepa_dataset_read: image %" PRId64 ", there are %" PRId64, i, ij_dataset_count(d->set));
    if (d->decoded != i) {
        d->decoded = -1;
        IJ_TRY(ij_dataset_read(d->set, i, &d->image, err));
        d->decoded = i;
    }
    *height = d->image.height, *width = d->image.width;
    size_t need = (size_t)d->image.height * (size_t)d->image.width * (size_t)d->image.channels;
    if (!pixels) return IJ_OK;
    if (bytes < need)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "ijepa_dataset_read: %s: room for %zu bytes, the image [%d, %d, %d] has %zu",
                       ijepa_dataset_name(d, i), bytes, d->image.height, d->image.width, d->image.channels, need);
    memcpy(pixels, d->image.pixels, need);
    return IJ_OK;
}

ijepa_status ijepa_dataset_read(ijepa_dataset *dataset, int64_t i, uint8_t *pixels, size_t bytes, int *height, int *width,
                                ijepa_error *err) {
    API_NEED(dataset);
    API_NEED(height);
    API_NEED(width);
    ij_error ours = {0};
    ij_status status = read_image(dataset, i, pixels, bytes, height, width, &ours);
    return api_result(status, &ours, err);
}
