/* layer: io; uses: nothing */
#include "io/checksum.h"

#include <string.h>

#define MULTIPLIER 0x9E3779B97F4A7C15u

static inline uint64_t step(uint64_t lane, uint64_t word) {
    lane ^= word;
    return ((lane << 27) | (lane >> 37)) * MULTIPLIER;
}

static void add_stripes(uint64_t lanes[4], const unsigned char *data, size_t stripes) {
    uint64_t a = lanes[0], b = lanes[1], c = lanes[2], d = lanes[3];
    for (size_t i = 0; i < stripes; i++, data += 32) {
        uint64_t words[4];
        memcpy(words, data, 32);
        a = step(a, words[0]);
        b = step(b, words[1]);
        c = step(c, words[2]);
        d = step(d, words[3]);
    }
    lanes[0] = a, lanes[1] = b, lanes[2] = c, lanes[3] = d;
}

void ij_checksum_begin(ij_checksum *sum) {
    memset(sum, 0, sizeof *sum);
    for (uint64_t i = 0; i < 4; i++) sum->lanes[i] = MULTIPLIER * (i + 1); /* distinct, so that swapped lanes differ */
}

void ij_checksum_add(ij_checksum *sum, const void *data, size_t bytes) {
    const unsigned char *next = data;
    size_t filled = (size_t)(sum->bytes % 32);
    sum->bytes += bytes;
    if (filled) {
        size_t taken = 32 - filled < bytes ? 32 - filled : bytes;
        memcpy(sum->tail + filled, next, taken);
        next += taken;
        bytes -= taken;
        if (filled + taken < 32) return;
        add_stripes(sum->lanes, sum->tail, 1);
    }
    add_stripes(sum->lanes, next, bytes / 32);
    if (bytes % 32) memcpy(sum->tail, next + bytes / 32 * 32, bytes % 32);
}

uint64_t ij_checksum_end(const ij_checksum *sum) {
    uint64_t lanes[4];
    memcpy(lanes, sum->lanes, sizeof lanes);
    size_t filled = (size_t)(sum->bytes % 32);
    if (filled) {
        unsigned char last[32] = {0};
        memcpy(last, sum->tail, filled);
        add_stripes(lanes, last, 1);
    }
    uint64_t hash = step(0, sum->bytes);
    for (int i = 0; i < 4; i++) hash = step(hash, lanes[i]);
    hash = (hash ^ (hash >> 30)) * 0xBF58476D1CE4E5B9u;
    hash = (hash ^ (hash >> 27)) * 0x94D049BB133111EBu;
    return hash ^ (hash >> 31);
}
