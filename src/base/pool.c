/* layer: base; uses: error, memory */
#include "base/pool.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES 65536
#define HEAD_BYTES 16 /* of a chunk: the pointer to the next */

ij_status ij_pool_charge(ij_pool *pool, int64_t bytes, ij_error *err) {
    if (bytes > pool->budget - pool->used)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: its contents need more than the %lld MiB that are given to a file of its size",
                       pool->name, (long long)(pool->budget >> 20));
    pool->used += bytes;
    return IJ_OK;
}

ij_status ij_pool_alloc(ij_pool *pool, void *out, int64_t bytes, ij_error *err) {
    bytes = (bytes + 15) / 16 * 16;
    if (bytes > pool->end - pool->at) {
        int64_t chunk = HEAD_BYTES + (bytes > CHUNK_BYTES - HEAD_BYTES ? bytes : CHUNK_BYTES - HEAD_BYTES);
        char *memory;
        IJ_TRY(ij_pool_charge(pool, chunk, err));
        IJ_TRY(ij_alloc(&memory, chunk, 1, pool->name, err));
        memcpy(memory, &pool->chunks, sizeof pool->chunks);
        pool->chunks = memory;
        pool->at = memory + HEAD_BYTES;
        pool->end = memory + chunk;
    }
    memcpy(out, &pool->at, sizeof pool->at);
    pool->at += bytes;
    return IJ_OK;
}

void ij_pool_free(ij_pool *pool) {
    for (void *chunk = pool->chunks, *next; chunk; chunk = next) {
        memcpy(&next, chunk, sizeof next);
        free(chunk);
    }
    *pool = (ij_pool){0};
}
