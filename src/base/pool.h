/* Many small pieces of memory that are freed at once, within a budget.       layer: base; uses: error, memory
 *
 * For trees made of untrusted bytes: who makes one says what it may cost, and a file that asks for more gets an error instead. */
#ifndef IJ_BASE_POOL_H
#define IJ_BASE_POOL_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct ij_pool {
    const char *name;     /* for the error text: what is read */
    int64_t budget, used; /* bytes */
    void *chunks;         /* a list; the newest first */
    char *at, *end;       /* what is free of the newest */
} ij_pool;

/* Counts memory that lies elsewhere; IJ_ERROR_FORMAT when the budget does not hold it. */
ij_status ij_pool_charge(ij_pool *pool, int64_t bytes, ij_error *err);

/* Zeroed, aligned to 16 bytes. */
ij_status ij_pool_alloc(ij_pool *pool, void *out, int64_t bytes, ij_error *err);
void ij_pool_free(ij_pool *pool);

#endif
