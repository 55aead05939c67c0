/* Where weights came from, as far as their files tell: the licence that goes with them.       layer: train; uses: base, io
 *
 * The released checkpoints (and their copies on Hugging Face) are CC-BY-NC-4.0, and so is what is made of them; a conversion must not
 * lose that. In this order:
 *   1. "license" and "origin" in the metadata of a .safetensors file, as ij_export writes them
 *   2. "license:" in the front matter of a README.md beside the weights (a Hugging Face folder)
 *   3. the released files' and folders' own names: IN1K-vit.h.14-300e.pth.tar, facebook/ijepa_vith14_1k in config.json, ...
 *   4. a training state of this program: its owner's, "other"
 * Else it is not known, and "". A published file under another name, without its README.md, is not recognised. */
#ifndef IJ_TRAIN_ORIGIN_H
#define IJ_TRAIN_ORIGIN_H

#include "base/error.h"

#include <stdbool.h>

#define IJ_RELEASED_LICENSE "cc-by-nc-4.0"

typedef struct ij_origin {
    char license[64]; /* "cc-by-nc-4.0", "other", "mit"; "" not known */
    char name[160];   /* "IN1K-vit.h.14-300e.pth.tar", "facebook/ijepa_vith14_1k"; "" none */
} ij_origin;

/* path: the file or folder that holds the weights (not a run folder). own: it is a training state of this program. A README.md or
 * config.json that cannot be read counts as none. */
void ij_origin_find(const char *path, bool own, ij_origin *out);

/* Hugging Face's identifiers: letters, digits, ".", "-", "+". */
ij_status ij_license_check(const char *license, ij_error *err);

#endif
