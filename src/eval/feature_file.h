/* Features of many images in one file: what `ijepa embed` writes, what search reads, what the cache keeps.       layer: eval; uses: base, io
 *
 * The whole form is a safetensors file: `features` [count, dim] (pooled) or [count, patches, dim] F32; `labels` [count] I32 where the images
 * have classes (-1: none); `names` [bytes] U8, the images' names below `data`, each ended by a 0 byte, in the order of the rows. Metadata:
 * "format" "ijepa-features-1", "model" (ij_model_mark), "run", "data", "encoder" ("target", "context"), "layers" ("last", "last4"),
 * "pool" ("mean", "none"), "height", "width", "classes" (the classes' names, one a line). A file of the cache has "key" and "damaged" too
 * (eval/features.h), and encoder "pixels" where no encoder made it. Written here, so the checksum of io/safetensors.h is in it.
 * .npy has the features alone, and the names beside it in FILE.names.txt; .csv a row a picture: name, label, f0, f1, ...  */
#ifndef IJ_EVAL_FEATURE_FILE_H
#define IJ_EVAL_FEATURE_FILE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IJ_MODEL_MARK 17 /* 16 hexadecimal digits and the end: what ij_model_mark (model/params.h) writes */

/* ---- reading ---- */

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

/* Maps a pooled .safetensors index and verifies its checksum. What is not one, or holds features per patch, is IJ_ERROR_FORMAT that says
 * so; texts that are missing are "", numbers 0. */
ij_status ij_feature_index_open(const char *path, ij_feature_index *out, ij_error *err);

/* The same for a file's bytes in memory, which must outlive the index; `name` is for the error texts. */
ij_status ij_feature_index_open_memory(const void *bytes, size_t count, const char *name, ij_feature_index *out, ij_error *err);
void ij_feature_index_close(ij_feature_index *index); /* zeroed or opened */

/* A text of the file's metadata, or NULL. */
const char *ij_feature_index_get(const ij_feature_index *index, const char *key);

/* ---- writing ---- */

/* What a file says of itself; texts are copied, NULL is "". */
typedef struct ij_feature_file_desc {
    const char *model, *run, *data, *encoder, *layers;
    const char *classes; /* names, one a line; NULL: the images have no classes, and no labels are kept */
    int dim;             /* of a row */
    int patches;         /* rows of an image [0: one, pooled] */
    int height, width;   /* of the images the encoder saw */
    const char *key;     /* of the cache [none] */
} ij_feature_file_desc;

/* Rows are added in any number of calls and go to the disk at once; memory grows by names and labels alone. The file appears, whole, at
 * finish: until then an older one of the name stays as it is, and a process that is killed leaves at most PATH.tmpPID. */
typedef struct ij_feature_writer ij_feature_writer;

/* By the path's ending: .safetensors, .npy or .csv; another is IJ_ERROR_ARGUMENT, and so is .csv with patches. */
ij_status ij_feature_writer_begin(const char *path, const ij_feature_file_desc *desc, ij_feature_writer **out, ij_error *err);
ij_status ij_feature_writer_add(ij_feature_writer *writer, const char *name, int label, const float *features, ij_error *err);
/* damaged: images that were left out. Frees the writer, whatever happens. */
ij_status ij_feature_writer_finish(ij_feature_writer *writer, int64_t damaged, ij_error *err);
void ij_feature_writer_abandon(ij_feature_writer *writer); /* instead of finish; NULL is fine */

#endif
