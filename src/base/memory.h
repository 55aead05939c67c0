/* Host memory that can fail with words.        layer: base; uses: error */
#ifndef IJ_BASE_MEMORY_H
#define IJ_BASE_MEMORY_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* Zeroed memory for count elements; free() releases it. count = 0 gives a valid pointer. Fails with IJ_ERROR_MEMORY, naming
 * `what` and the bytes; the product is checked. *out is NULL on failure. */
ij_status ij_alloc(void *out, int64_t count, size_t element_bytes, const char *what, ij_error *err);

/* Grows *array (capacity in *capacity elements) to hold at least `needed` elements, doubling; new elements are zeroed. */
ij_status ij_grow(void *array, int64_t *capacity, int64_t needed, size_t element_bytes, const char *what, ij_error *err);

/* A copy of text, or of the first `length` bytes of it; free() releases it. */
ij_status ij_copy_text(char **out, const char *text, size_t length, ij_error *err);

#endif
