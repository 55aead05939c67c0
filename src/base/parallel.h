/* A loop shared out to threads.       layer: base; uses: nothing */
#ifndef IJ_BASE_PARALLEL_H
#define IJ_BASE_PARALLEL_H

#include <stdint.h>

/* Works on items begin .. end - 1, the piece'th piece of the loop. */
typedef void ij_parallel_body(void *user, int64_t begin, int64_t end, int64_t piece);

/* Calls body for [0, count) cut into pieces of `size` items (the last may be shorter), on at most `threads` threads [0: the
 * machine's processors, at most 32], the caller's among them, and returns when all are done. The pieces do not depend on the number of
 * threads: a sum kept per piece and added up in order has the same bits on every machine. Where threads cannot be made, fewer do the work.
 */
void ij_parallel(int threads, int64_t count, int64_t size, ij_parallel_body *body, void *user);

#endif
