/* Looking up images by their features: the nearest to a query, and near-duplicates within an index.       layer: eval; uses: base, gpu, ops
 *
 * Similarity is the cosine of two feature vectors, by default after the index's mean vector is taken off both (centred). Mean-pooled
 * features of a JEPA encoder share much of their direction: with three small models unrelated photographs had a median cosine of 0.54, 0.79
 * and 0.82 as they are, and of 0 centred. That spreads the scale; it hardly changes which pair is more alike than which. An index of fewer
 * than IJ_SEARCH_CENTRE_MIN images is compared as it is: the mean of a few is mostly themselves. A vector of length 0 has similarity 0
 * to all.
 *
 * Numbers that are handed out are computed in double, so they are the same on every device; of equal similarities the lower row comes
 * first. */
#ifndef IJ_EVAL_SEARCH_H
#define IJ_EVAL_SEARCH_H

#include "eval/feature_file.h"
#include "gpu/gpu.h"

#include <stdbool.h>
#include <stdint.h>

#define IJ_SEARCH_CENTRE_MIN 16

typedef struct ij_search_hit {
    int64_t row;
    double similarity;
} ij_search_hit;

/* The k rows of x [count, dim] nearest to query [dim], nearest first; k above count gives count. hits has room for k. *centred (may be NULL)
 * says what was done. Numbers that are not finite are IJ_ERROR_NUMBER. */
ij_status ij_search_nearest(const float *x, int64_t count, int dim, const float *query, int64_t k, bool centre, ij_search_hit *hits,
                            int64_t *found, bool *centred, ij_error *err);

/* ---- near-duplicates ---- */

/* Measured on 3,249 photographs of clothes (160 pixels) with 400 copies planted among them, by three small models (5 epochs on these photographs
 * at 64 pixels; two on Fashion-MNIST), centred; precision over all pairs, recall by the kind of copy:
 *     threshold   precision            JPEG again (quality 40)   scaled to 60 %   mirrored      a crop of 90 %
 *     0.98        0.03  0.49  0.40     100 %                     100 %            11 to 65 %    5 to 42 %
 *     0.995       0.50  0.99  0.96     100 %                     100 %            0 to 32 %     1 to 11 %
 *     0.999       0.995 (all three)    98 to 100 %               96 to 100 %      0 to 6 %      0 to 2 %
 * The one wrong pair at 0.999 is a photograph that the data have twice, in two classes. So the default finds copies of the same picture in another
 * encoding or size; mirrored and cropped ones are not near for these features, and a lower threshold pays for them with unrelated pairs. */
#define IJ_DUPLICATES_THRESHOLD 0.999

typedef struct ij_duplicate_pair {
    int64_t a, b; /* rows, a < b */
    double similarity;
} ij_duplicate_pair;

typedef struct ij_duplicates_desc {
    double threshold;  /* a pair of at least this similarity; -1 to 1 */
    int64_t max_pairs; /* kept, the most similar ones */
    bool centre;
    int64_t tile;                                                                /* rows of a tile's side [2048, less for wide features] */
    void (*progress)(void *user, const char *what, int64_t done, int64_t total); /* in tiles [none] */
    bool (*stop)(void *user);                                                    /* asked before each tile; IJ_ERROR_STOPPED [never] */
    void *user;
} ij_duplicates_desc;

typedef struct ij_duplicates {
    ij_duplicate_pair *pairs; /* [pair_count] most similar first, then by rows */
    int64_t pair_count;
    int64_t pairs_found; /* above the threshold in all */
    /* Images that pairs connect, directly or through others; each of two or more. Largest first, then by their first row. */
    int64_t *members; /* [offsets[group_count]] rows, ascending in a group */
    int64_t *offsets; /* [group_count + 1] */
    int64_t group_count;
    bool centred;
} ij_duplicates;

/* Compares all pairs of x [count, dim], a tile at a time on the device, the upper triangle of tiles alone: memory grows with count and
 * max_pairs, not with their squares. Pairs that come near the threshold there are computed anew in double. */
ij_status ij_duplicates_find(gpu_device *device, const float *x, int64_t count, int dim, const ij_duplicates_desc *desc, ij_duplicates *out,
                             ij_error *err);
void ij_duplicates_free(ij_duplicates *duplicates); /* zeroed or filled */

#endif
