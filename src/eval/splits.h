/* A training and a test set that belong together: finding, opening, matching their classes, choosing a few images of each class.
 * layer: eval; uses: base, data */
#ifndef IJ_EVAL_SPLITS_H
#define IJ_EVAL_SPLITS_H

#include "data/dataset.h"

#include <stdint.h>

#define IJ_SPLIT_PATH 4200

/* Test images where they usually are: beside an IDX file t10k-images-idx3-ubyte (also with .gz), beside a folder val, test or
 * validation. IJ_ERROR_ARGUMENT with a hint when there are none. */
ij_status ij_split_find_test(const char *train, char out[IJ_SPLIT_PATH], ij_error *err);

/* Opens a set whose images all have a label; one that has none is IJ_ERROR_ARGUMENT with how many. */
ij_status ij_split_open(const char *path, const ij_dataset_desc *desc, ij_dataset **out, ij_error *err);

/* The same of a set that is open already, shared; its channels are what desc says. */
ij_status ij_split_share(ij_dataset *dataset, const ij_dataset_desc *desc, ij_dataset **out, ij_error *err);

/* (*map)[test's label] = train's label of the class of that name, -1 where train has none: folders are numbered by what lies beside them.
 * A class that test images have and none of the training images is IJ_ERROR_MISMATCH with its name; training images of a single
 * class are IJ_ERROR_ARGUMENT. counts [classes of train]: chosen training images of each [all of the dataset]. free() *map. */
ij_status ij_split_match(const ij_dataset *train, const ij_dataset *test, const int64_t *counts, int **map, ij_error *err);

/* Samples of `dataset`, stratified: of each class the same fraction, rounded, at least one; or per_class of each, where there are as many.
 * fraction 0 and per_class 0: all. Which ones depends on seed and class alone, and more images of a class contain fewer. In the
 * dataset's order. A class without images is IJ_ERROR_ARGUMENT with its name. free() *out. */
ij_status ij_split_choose(const ij_dataset *dataset, double fraction, int64_t per_class, uint64_t seed, int64_t **out, int64_t *count,
                          ij_error *err);

#endif
