/* Batches of decoded crops, made ahead of time by threads.       layer: data; uses: dataset, crop, base
 *
 * What a batch holds depends on (seed, epoch, batch number) and on the files, never on the number of threads or their timing:
 *   1. The epoch's order is a Fisher-Yates shuffle drawn from Philox (seed, stream ORDER, epoch).
 *   2. Batch k of rank r takes the places (k x world + r) x batch ... + batch - 1 of that order: the samples of k are the same set
 *      however they are divided into ranks and micro-batches.
 *   3. A crop is drawn from (seed, epoch, sample) alone.
 *   4. A sample that cannot be decoded is replaced by the one at the same place of the next batch in the order (world x batch places on,
 *      and from there one by one, round the end), so the batch keeps its size and has no sample twice.
 *
 * Threads take (batch, place) tickets in order and may run `prefetch` batches ahead; the thread that finishes a batch packs it.
 *
 *     IJ_TRY(ij_loader_open(dataset, &desc, &loader, err));
 *     for each epoch: IJ_TRY(ij_loader_start(loader, epoch, first_batch, err));
 *                     for (;;) { IJ_TRY(ij_loader_next(loader, &batch, err)); if (batch->count == 0) break; ... } */
#ifndef IJ_DATA_LOADER_H
#define IJ_DATA_LOADER_H

#include "base/error.h"
#include "data/crop.h"
#include "data/dataset.h"
#include "data/preprocess.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum ij_crop_mode {
    IJ_CROP_RANDOM, /* RandomResizedCrop with scale and ratio */
    IJ_CROP_CENTER, /* short side to resize_size, centre image_size */
    IJ_CROP_FULL,   /* the whole image, whatever its shape */
    IJ_CROP_SETTLED /* as `preprocess` and `whole` say */
} ij_crop_mode;

typedef struct ij_loader_desc {
    uint64_t seed;
    int batch;       /* samples a batch on this rank [1] */
    int threads;     /* [0: the machine's processors, at most 32] */
    int prefetch;    /* batches made ahead [3] */
    bool shuffle;    /* [false: the dataset's order] */
    bool drop_last;  /* leave out the places that do not fill a batch on every rank [false: the last batch may be shorter] */
    int rank, world; /* [0 of 1] */
    ij_crop_mode crop;
    double scale[2];          /* random: part of the area [0.3, 1] */
    double ratio[2];          /* random: width / height [3/4, 4/3] */
    int image_size;           /* center: [224] */
    int resize_size;          /* center: [image_size x 256 / 224] */
    ij_preprocess preprocess; /* settled */
    bool whole;
    const int64_t *subset; /* samples that the loader knows of, distinct, copied [all of the dataset] */
    int64_t subset_count;
    int64_t cap_bytes; /* pixels kept of one crop; a larger crop is averaged over 2 x 2, 3 x 3, ... pixels until it fits [4 MiB] */
    /* Told once for each sample that cannot be decoded, from the thread that calls ij_loader_next. [NULL] */
    void (*on_damaged)(void *user, int64_t sample, const char *text);
    void *user;
} ij_loader_desc;

typedef struct ij_loader_item {
    int64_t sample; /* index in the dataset */
    int label;      /* -1: none */
    bool replaced;  /* stands in for a damaged sample */
    int width, height;
    uint64_t offset; /* into the batch's pixels, a multiple of 16; [height, width, channels] bytes from there */
    ij_crop crop;    /* in these width x height pixels */
} ij_loader_item;

typedef struct ij_loader_batch {
    int64_t number; /* within the epoch */
    int count;      /* 0: the epoch is over */
    int channels;
    const ij_loader_item *items; /* [count] */
    const uint8_t *pixels;       /* [bytes] */
    uint64_t bytes;              /* a multiple of 16 */
} ij_loader_batch;

typedef struct ij_loader ij_loader;

/* The dataset must outlive the loader. */
ij_status ij_loader_open(const ij_dataset *dataset, const ij_loader_desc *desc, ij_loader **out, ij_error *err);
void ij_loader_close(ij_loader *loader); /* ends the threads; NULL is fine */

/* Begins an epoch at a batch (0, or where a checkpoint says). What was being made for another place is thrown away. */
ij_status ij_loader_start(ij_loader *loader, int64_t epoch, int64_t first_batch, ij_error *err);

/* The next batch, in order; it is valid until the next call of next, start or close. Waits for it. */
ij_status ij_loader_next(ij_loader *loader, const ij_loader_batch **out, ij_error *err);

int64_t ij_loader_batches(const ij_loader *loader);    /* an epoch */
uint64_t ij_loader_max_bytes(const ij_loader *loader); /* no batch's pixels are more */
int64_t ij_loader_damaged(const ij_loader *loader);    /* samples that could not be decoded so far */

#endif
