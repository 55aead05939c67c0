/* The pictures below a folder, as a sorted list of paths.       layer: data; uses: base */
#ifndef IJ_DATA_FOLDER_H
#define IJ_DATA_FOLDER_H

#include "base/error.h"

#include <stdint.h>

typedef struct ij_folder {
    char *names;        /* all paths below the root, each ending in 0 */
    const char **paths; /* [count], into names, sorted with '/' before every other byte */
    int64_t count;
} ij_folder;

/* Every .jpg .jpeg .png .bmp (any case) at any depth up to 64. Links are followed; a link to a folder that leads back to itself is
 * passed over. Names that begin with '.' are not looked at. A folder that cannot be read is an error. */
ij_status ij_folder_scan(const char *root, ij_folder *out, ij_error *err);
void ij_folder_free(ij_folder *folder);

#endif
