/* The order of an epoch.       layer: data; uses: philox */
#ifndef IJ_DATA_ORDER_H
#define IJ_DATA_ORDER_H

#include <stdint.h>

/* order[count] becomes a permutation of 0 ... count - 1 that depends on (seed, epoch) only. count <= 2^32. */
void ij_order_shuffle(uint64_t seed, int64_t epoch, uint32_t *order, int64_t count);

#endif
