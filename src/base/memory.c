/* layer: base; uses: error */
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

ij_status ij_alloc(void *out, int64_t count, size_t element_bytes, const char *what, ij_error *err) {
    void *memory = NULL;
    if (count >= 0 && (element_bytes == 0 || (uint64_t)count <= (uint64_t)PTRDIFF_MAX / element_bytes))
        memory = calloc(count ? (size_t)count : 1, element_bytes ? element_bytes : 1);
    memcpy(out, &memory, sizeof memory);
    if (memory) return IJ_OK;
    return ij_fail(err, IJ_ERROR_MEMORY, "out of host memory: %s needs %.1f MiB", what, (double)count * (double)element_bytes / 1048576.0);
}

ij_status ij_grow(void *array, int64_t *capacity, int64_t needed, size_t element_bytes, const char *what, ij_error *err) {
    if (needed <= *capacity) return IJ_OK;
    int64_t grown = *capacity ? *capacity : 16;
    while (grown < needed) grown *= 2;
    void *old, *memory = NULL;
    memcpy(&old, array, sizeof old);
    if ((uint64_t)grown <= (uint64_t)PTRDIFF_MAX / element_bytes) memory = realloc(old, (size_t)grown * element_bytes);
    if (!memory)
        return ij_fail(err, IJ_ERROR_MEMORY, "out of host memory: %s needs %.1f MiB", what,
                       (double)grown * (double)element_bytes / 1048576.0);
    memset((char *)memory + (size_t)*capacity * element_bytes, 0, (size_t)(grown - *capacity) * element_bytes);
    memcpy(array, &memory, sizeof memory);
    *capacity = grown;
    return IJ_OK;
}

ij_status ij_copy_text(char **out, const char *text, size_t length, ij_error *err) {
    IJ_TRY(ij_alloc(out, (int64_t)length + 1, 1, "text", err));
    memcpy(*out, text, length);
    return IJ_OK;
}
