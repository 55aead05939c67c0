/* Features of many images in one file: what `ijepa embed` writes, what search reads, what the cache keeps.       layer: eval; uses: base, io
 *
 * The whole form is a safetensors file: `features` [count, dim] (pooled) or [count, patches, dim] F32; `labels` [count] I32 where the images
 * have classes (-1: none); `names` [bytes] U8, the images' names below `data`, each ended by a 0 byte, in the order of the rows. Metadata:
 * "format" "ijepa-features-1", "model" (ij_model_mark), "run", "data", "encoder" ("target", "context"), "layers" ("last", "last4"),
 * "pool" ("mean", "none"), "height", "width", "classes" (the classes' names, one a line).
 * .npy has the features alone, and the names beside it in FILE.names.txt; .csv a row a picture: name, label, f0, f1, ...  */
#ifndef IJ_EVAL_FEATURE_FILE_H
#define IJ_EVAL_FEATURE_FILE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define IJ_MODEL_MARK 17 /* 16 hexadecimal digits and the end */

/* An index in memory. Rows stay in the mapped file. */
typedef struct ij_feature_index {
    int64_t count;
    int dim;
    const float *x;            /* [count, dim] */
    const int32_t *labels;     /* [count], or NULL */
    const char *const *names;  /* [count] */
    char model[IJ_MODEL_MARK]; /* of the weights that made them */
    char encoder[16], layers[16];
    char run[4096], data[4096]; /* where model and images were */
    int height, width;          /* of the images the encoder saw */
    void *owner;
} ij_feature_index;

/* Reads a pooled .safetensors index. What is not one, or holds features per patch, is IJ_ERROR_FORMAT that says so. */
ij_status ij_feature_index_open(const char *path, ij_feature_index *out, ij_error *err);
void ij_feature_index_close(ij_feature_index *index); /* zeroed or opened */

#endif
