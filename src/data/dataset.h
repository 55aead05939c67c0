/* Where images come from: a folder of pictures, IDX files (MNIST and its relatives), or the program's own memory.       layer: data; uses: io, base
 *
 * Folder: .jpg .jpeg .png .bmp in any case, at any depth. The class is the first folder below the root; pictures in the root itself have
 * none. Order is bytewise by path with '/' before every other byte, so that it is the same on every machine and file system.
 * IDX: `train-images-idx3-ubyte` (or with .gz), beside it `train-labels-idx1-ubyte`; the file's path, or its folder for
 * the training part (t10k-images-idx3-ubyte is named as a file).
 *
 * An open dataset does not change: any number of threads may read it at once. */
#ifndef IJ_DATA_DATASET_H
#define IJ_DATA_DATASET_H

#include "base/error.h"
#include "io/image.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct ij_dataset_desc {
    int channels; /* 1 or 3 [0: 3 for a folder, 1 for IDX] */
    int pad_to;   /* IDX: zeros around the image up to this many pixels a side, the odd one right and below [0: none] */
} ij_dataset_desc;

typedef struct ij_dataset ij_dataset;

/* desc may be NULL. */
ij_status ij_dataset_open(const char *path, const ij_dataset_desc *desc, ij_dataset **out, ij_error *err);

/* Single pictures as a data set without labels, in the order given; a name is the path as given. Those of less than pad_to pixels a side get
 * zeros around them, as IDX images do. Whether they can be read is seen when they are. */
ij_status ij_dataset_open_files(const char *const *paths, int64_t count, const ij_dataset_desc *desc, ij_dataset **out, ij_error *err);

/* Images that the caller has or makes. size and read are called by several threads at once; false: this image cannot be had, which is a
 * damaged image to whoever reads it. */
typedef struct ij_dataset_source {
    int64_t count;
    int channels;      /* 1 or 3 */
    int height, width; /* of every image; 0 and 0: `size` tells, before each read */
    bool (*size)(void *user, int64_t i, int *height, int *width);
    bool (*read)(void *user, int64_t i, uint8_t *pixels); /* all [height, width, channels] of them */
    const int *labels;                                    /* [count], 0 to classes - 1 or -1; copied [none] */
    int classes;
    const char *const *class_names; /* [classes], copied ["0", "1", ...] */
    uint64_t mark;                  /* what tells these images from others [0: all are read where that is asked] */
    const char *name;               /* copied ["memory"] */
    void *user;
} ij_dataset_source;

ij_status ij_dataset_open_source(const ij_dataset_source *source, ij_dataset **out, ij_error *err);

/* One more owner: it is gone when all have closed it. Owners may be different threads. */
ij_dataset *ij_dataset_share(ij_dataset *dataset);
void ij_dataset_close(ij_dataset *dataset); /* NULL is fine */

/* The folder or IDX file as it was given, "" for single pictures, a source's name. */
const char *ij_dataset_title(const ij_dataset *dataset);

/* What tells two data sets apart, as `make` tells: for pictures ij_checksum over each one's path (below the root), size and modification
 * time in ns, so no picture is read; one that cannot be looked at counts as size -1. For IDX it is the files' bytes, for a source its mark
 * or else its pixels, and its labels. Channels and pad_to go into it. */
ij_status ij_dataset_mark(const ij_dataset *dataset, uint64_t *out, ij_error *err);

int64_t ij_dataset_count(const ij_dataset *dataset);
int ij_dataset_channels(const ij_dataset *dataset);
int ij_dataset_classes(const ij_dataset *dataset);                       /* 0: no labels */
const char *ij_dataset_class_name(const ij_dataset *dataset, int label); /* folder's name, or the number for IDX */
int ij_dataset_label(const ij_dataset *dataset, int64_t i);              /* -1: none */

/* Path below the root, or "train-images-idx3-ubyte:17", "memory:17". Written into out, cut where it does not fit; returns out. */
const char *ij_dataset_name(const ij_dataset *dataset, int64_t i, char *out, size_t out_bytes);

/* Largest image in bytes where it is known (IDX, a source of images of one size), else 0. */
int64_t ij_dataset_image_bytes(const ij_dataset *dataset);

/* Pixels of sample i, [height, width, channels]. The image is the caller's and is reused from call to call. */
ij_status ij_dataset_read(const ij_dataset *dataset, int64_t i, ij_image *image, ij_error *err);

#endif
