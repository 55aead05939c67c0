/* The features of a picture as an index has them.       layer: eval; uses: base, io, data, gpu, model, train */
#ifndef IJ_EVAL_SEARCH_QUERY_H
#define IJ_EVAL_SEARCH_QUERY_H

#include "eval/feature_file.h"
#include "gpu/gpu.h"

#include <stdbool.h>

typedef struct ij_search_query {
    gpu_device_desc device;
    const char *model; /* run folder or checkpoint [the one that the index names] */
    bool whole;        /* the whole picture [as `ijepa embed` does by default: IDX files, and runs that trained on whole images] */
} ij_search_query;

/* Encodes a picture with the index's encoder, layers and size: out [index->dim]. Weights whose mark is not the index's are
 * IJ_ERROR_MISMATCH with both marks. */
ij_status ij_search_encode(const ij_feature_index *index, const char *picture, const ij_search_query *query, float *out, ij_error *err);

#endif
