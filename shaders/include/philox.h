/* Philox 4x32-10, a counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): the same
 * bits from C and from GLSL for the same key and counter, in any order, on any number of devices.
 *
 * Key: the run's 64-bit seed. Counter: (stream, index low, index high, draw). Streams are listed below; `index` says what the
 * numbers are for (a sample of an epoch, an element of a tensor), `draw` counts within it. */
#ifndef IJ_PHILOX_H
#define IJ_PHILOX_H

#ifdef __STDC__
#include <stdint.h>
typedef struct philox_words {
    uint32_t x, y, z, w;
} philox_words;
#define PHILOX_UINT uint32_t
#define PHILOX_MULHI(a, b) ((uint32_t)(((uint64_t)(a) * (uint64_t)(b)) >> 32))
#define PHILOX_FUNC static inline
#define PHILOX_FLOAT(x) ((float)(x))
#define PHILOX_WORDS(a, b, c, d) ((philox_words){a, b, c, d})
#else
#define philox_words uvec4
#define PHILOX_UINT uint
uint philox_mulhi(uint a, uint b) {
    uint high, low;
    umulExtended(a, b, high, low);
    return high;
}
#define PHILOX_MULHI(a, b) philox_mulhi(a, b)
#define PHILOX_FUNC
#define PHILOX_FLOAT(x) float(x)
#define PHILOX_WORDS(a, b, c, d) uvec4(a, b, c, d)
#endif

#define PHILOX_STREAM_INIT 1    /* weights at the start: index = element, draw = tensor */
#define PHILOX_STREAM_ORDER 2   /* the epoch's shuffle */
#define PHILOX_STREAM_CROP 3    /* crop of a sample: index = sample, draw above 2^16 x epoch */
#define PHILOX_STREAM_MASK 4    /* masks of a sample */
#define PHILOX_STREAM_MASK_SIZE 5 /* block sizes drawn once a batch, mode `official` only */
#define PHILOX_STREAM_TEST 6    /* test inputs */
#define PHILOX_STREAM_EVAL 7    /* probe initialisation, splits */
#define PHILOX_STREAM_AUGMENT 8 /* flip and colour of a sample: index = sample, draw above 2^16 x epoch */
#define PHILOX_STREAM_SIGREG 9  /* directions of the regulariser: index = direction, above 2^32 x step */
#define PHILOX_STREAM_SCENE 16  /* drawn scenes: index = image, above 2^32 for the test part */

/* Four random words of (seed, stream, index, draw). */
PHILOX_FUNC philox_words philox(PHILOX_UINT seed_low, PHILOX_UINT seed_high, PHILOX_UINT stream, PHILOX_UINT index_low,
                                PHILOX_UINT index_high, PHILOX_UINT draw) {
    PHILOX_UINT c0 = draw, c1 = index_low, c2 = index_high, c3 = stream, k0 = seed_low, k1 = seed_high;
    for (int round = 0; round < 10; round++) {
        PHILOX_UINT high0 = PHILOX_MULHI(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
        PHILOX_UINT high1 = PHILOX_MULHI(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return PHILOX_WORDS(c0, c1, c2, c3);
}

/* A word as a number in [0, 1): 24 bits, exact in f32, the same in C and GLSL. */
PHILOX_FUNC float philox_unit(PHILOX_UINT word) {
    return PHILOX_FLOAT(word >> 8) * 5.9604644775390625e-8f; /* 2^-24 */
}

/* A word as an integer in [0, count), count >= 1: the high half of the product, bias below count / 2^32. */
PHILOX_FUNC PHILOX_UINT philox_below(PHILOX_UINT word, PHILOX_UINT count) {
    return PHILOX_MULHI(word, count);
}

#endif
