/* layer: data; uses: philox */
#include "data/order.h"

#include "philox.h"

void ij_order_shuffle(uint64_t seed, int64_t epoch, uint32_t *order, int64_t count) {
    for (int64_t i = 0; i < count; i++) order[i] = (uint32_t)i;
    for (int64_t i = count - 1; i > 0; i--) {
        philox_words word =
            philox((uint32_t)seed, (uint32_t)(seed >> 32), PHILOX_STREAM_ORDER, (uint32_t)i, (uint32_t)(i >> 32), (uint32_t)epoch);
        /* 64 random bits times (i + 1), high word: no bias that 14 million samples could show. */
        uint64_t range = (uint64_t)i + 1, low = (uint64_t)word.x * range;
        uint64_t j = ((uint64_t)word.y * range + (low >> 32)) >> 32;
        uint32_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
}
