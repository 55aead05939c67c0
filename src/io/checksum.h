/* A 64-bit checksum against damage (not against an adversary), fast enough to vanish beside the disk.   layer: io; uses: nothing
 *
 * The bytes are read as stripes of four little-endian 64-bit words, zeros behind the end; lane i takes word i of every stripe:
 *     lane = rotate_left(lane ^ word, 27) * 0x9E3779B97F4A7C15
 * Every step is a bijection of the lane for a given word and of the word for a given lane, so damage inside one word is always
 * noticed. The end folds the four lanes and the length in with the same step and finishes as splitmix64 does. */
#ifndef IJ_IO_CHECKSUM_H
#define IJ_IO_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

typedef struct ij_checksum {
    uint64_t lanes[4];
    uint64_t bytes;
    unsigned char tail[32]; /* the unfinished stripe */
} ij_checksum;

void ij_checksum_begin(ij_checksum *sum);
void ij_checksum_add(ij_checksum *sum, const void *data, size_t bytes); /* in pieces of any size: only the concatenation counts */
uint64_t ij_checksum_end(const ij_checksum *sum);                       /* leaves sum as it was, so that more can be added */

#endif
