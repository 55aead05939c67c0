/* layer: eval; uses: base, data */
#include "eval/splits.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/order.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- finding and opening ---- */

static bool try_path(char out[IJ_SPLIT_PATH], const char *folder, const char *name) {
    return ij_path_join(out, IJ_SPLIT_PATH, folder, name, NULL) == IJ_OK && (ij_file_exists(out) || ij_is_folder(out));
}

static void folder_of(const char *path, char out[IJ_SPLIT_PATH]) {
    snprintf(out, IJ_SPLIT_PATH, "%s", path);
    for (size_t n = strlen(out); n > 1 && out[n - 1] == '/';) out[--n] = 0;
    char *slash = strrchr(out, '/');
    if (slash && slash != out)
        *slash = 0;
    else
        strcpy(out, slash ? "/" : ".");
}

ij_status ij_split_find_test(const char *train, char out[IJ_SPLIT_PATH], ij_error *err) {
    static const char *const idx[] = {"t10k-images-idx3-ubyte", "t10k-images-idx3-ubyte.gz", "t10k-images.idx3-ubyte",
                                      "t10k-images.idx3-ubyte.gz"};
    static const char *const folders[] = {"val", "test", "validation"};
    char beside[IJ_SPLIT_PATH];
    folder_of(train, beside);
    for (int i = 0; i < IJ_COUNT(idx); i++)
        if (try_path(out, ij_is_folder(train) ? train : beside, idx[i])) return IJ_OK;
    for (int i = 0; i < IJ_COUNT(folders); i++)
        if (ij_is_folder(train) && try_path(out, beside, folders[i])) return IJ_OK;
    ij_fail(err, IJ_ERROR_ARGUMENT, "no test images given, and none found beside %s", train);
    return ij_hint(err, "--test DIR: a folder of class folders, or an IDX file");
}

/* Closes a set that does not have a label for every image. */
static ij_status need_labels(const char *title, ij_dataset **set, ij_error *err) {
    int64_t count = ij_dataset_count(*set), unlabelled = 0;
    for (int64_t i = 0; i < count; i++) unlabelled += ij_dataset_label(*set, i) < 0;
    if (count > 0 && unlabelled == 0) return IJ_OK;
    if (count == 0)
        ij_fail(err, IJ_ERROR_ARGUMENT, "%s: no images", title);
    else
        ij_fail(err, IJ_ERROR_ARGUMENT, "%s: %" PRId64 " of %" PRId64 " images have no label", title, unlabelled, count);
    ij_dataset_close(*set);
    *set = NULL;
    if (count > 0) ij_hint(err, "labels are the names of the folders below it, or the labels file beside an IDX file");
    return IJ_ERROR_ARGUMENT;
}

ij_status ij_split_open(const char *path, const ij_dataset_desc *desc, ij_dataset **out, ij_error *err) {
    IJ_TRY(ij_dataset_open(path, desc, out, err));
    return need_labels(path, out, err);
}

ij_status ij_split_share(ij_dataset *dataset, const ij_dataset_desc *desc, ij_dataset **out, ij_error *err) {
    if (desc->channels && ij_dataset_channels(dataset) != desc->channels)
        return ij_fail(err, IJ_ERROR_MISMATCH, "%s has images of %d channels, the model takes %d", ij_dataset_title(dataset),
                       ij_dataset_channels(dataset), desc->channels);
    *out = ij_dataset_share(dataset);
    return need_labels(ij_dataset_title(dataset), out, err);
}

/* ---- classes ---- */

/* counts[classes] of a dataset's labels; free() *out. */
static ij_status count_labels(const ij_dataset *dataset, int64_t **out, ij_error *err) {
    IJ_TRY(ij_alloc(out, ij_dataset_classes(dataset), sizeof **out, "classes", err));
    for (int64_t i = 0; i < ij_dataset_count(dataset); i++) (*out)[ij_dataset_label(dataset, i)]++;
    return IJ_OK;
}

static int class_of_name(const ij_dataset *dataset, const char *name) {
    for (int k = 0; k < ij_dataset_classes(dataset); k++)
        if (strcmp(ij_dataset_class_name(dataset, k), name) == 0) return k;
    return -1;
}

static ij_status check_classes(const ij_dataset *train, const ij_dataset *test, const int64_t *counts, const int64_t *test_counts,
                               const int *map, ij_error *err) {
    int classes = 0;
    for (int k = 0; k < ij_dataset_classes(train); k++) classes += counts[k] > 0;
    if (classes < 2)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "the training images are of %d class%s; there is nothing to tell apart", classes,
                       classes == 1 ? "" : "es");
    for (int k = 0; k < ij_dataset_classes(test); k++)
        if (test_counts[k] > 0 && (map[k] < 0 || counts[map[k]] == 0))
            return ij_fail(err, IJ_ERROR_MISMATCH, "%" PRId64 " test images have class \"%s\", which the training images lack",
                           test_counts[k], ij_dataset_class_name(test, k));
    return IJ_OK;
}

ij_status ij_split_match(const ij_dataset *train, const ij_dataset *test, const int64_t *counts, int **map, ij_error *err) {
    int64_t *all = NULL, *test_counts = NULL;
    IJ_TRY(ij_alloc(map, ij_dataset_classes(test), sizeof **map, "classes", err));
    for (int k = 0; k < ij_dataset_classes(test); k++) (*map)[k] = class_of_name(train, ij_dataset_class_name(test, k));
    ij_status status = count_labels(test, &test_counts, err);
    if (status == IJ_OK && !counts) status = count_labels(train, &all, err);
    if (status == IJ_OK) status = check_classes(train, test, counts ? counts : all, test_counts, *map, err);
    free(all);
    free(test_counts);
    if (status != IJ_OK) free(*map), *map = NULL;
    return status;
}

/* ---- choosing ---- */

static int64_t wanted(double fraction, int64_t per_class, int64_t have) {
    if (per_class > 0) return per_class < have ? per_class : have;
    if (fraction <= 0 || fraction >= 1) return have;
    int64_t some = (int64_t)floor(fraction * (double)have + 0.5);
    return some < 1 ? 1 : some;
}

/* members: places in the dataset, class by class; class k's begin at counts[0] + ... + counts[k - 1]. places [classes] is memory. */
static void group(const ij_dataset *dataset, const int64_t *counts, int64_t *places, uint32_t *members) {
    int64_t begin = 0;
    for (int k = 0; k < ij_dataset_classes(dataset); k++) places[k] = begin, begin += counts[k];
    for (int64_t i = 0; i < ij_dataset_count(dataset); i++) members[places[ij_dataset_label(dataset, i)]++] = (uint32_t)i;
}

static ij_status check_no_empty(const ij_dataset *dataset, const int64_t *counts, ij_error *err) {
    for (int k = 0; k < ij_dataset_classes(dataset); k++)
        if (counts[k] == 0)
            return ij_fail(err, IJ_ERROR_ARGUMENT, "class \"%s\" has no training images", ij_dataset_class_name(dataset, k));
    return IJ_OK;
}

ij_status ij_split_choose(const ij_dataset *dataset, double fraction, int64_t per_class, uint64_t seed, int64_t **out, int64_t *count,
                          ij_error *err) {
    int64_t all = ij_dataset_count(dataset), *counts = NULL, *places = NULL;
    uint32_t *members = NULL, *order = NULL;
    char *chosen = NULL;
    *out = NULL, *count = 0;
    ij_status status = count_labels(dataset, &counts, err);
    if (status == IJ_OK) status = check_no_empty(dataset, counts, err);
    if (status == IJ_OK) status = ij_alloc(&places, ij_dataset_classes(dataset), sizeof *places, "choice of images", err);
    if (status == IJ_OK) status = ij_alloc(&members, all, sizeof *members, "choice of images", err);
    if (status == IJ_OK) status = ij_alloc(&order, all, sizeof *order, "choice of images", err);
    if (status == IJ_OK) status = ij_alloc(&chosen, all, 1, "choice of images", err);
    if (status == IJ_OK) status = ij_alloc(out, all, sizeof **out, "chosen images", err);
    if (status == IJ_OK) group(dataset, counts, places, members);
    for (int k = 0; k < ij_dataset_classes(dataset) && status == IJ_OK; k++) {
        const uint32_t *own = members + places[k] - counts[k]; /* places is at the end of each class now */
        ij_order_shuffle(seed, k, order, counts[k]);
        for (int64_t i = 0; i < wanted(fraction, per_class, counts[k]); i++) chosen[own[order[i]]] = 1;
    }
    for (int64_t i = 0; i < all && status == IJ_OK; i++)
        if (chosen[i]) (*out)[(*count)++] = i;
    free(counts);
    free(places);
    free(members);
    free(order);
    free(chosen);
    return status;
}
