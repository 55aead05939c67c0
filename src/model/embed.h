/* Features of images: a trained (target) encoder, forward only.       layer: model; uses: gpu, ops */
#ifndef IJ_MODEL_EMBED_H
#define IJ_MODEL_EMBED_H

#include "model/jepa.h"

typedef struct ij_embedder ij_embedder;

/* batch images at a time; pixel_bytes: most bytes of a batch's pixels. weights: committed, hold the target encoder; live longer. */
ij_status ij_embedder_create(gpu_device *device, const ij_model_config *model, const float mean[3], const float std[3], int batch,
                             uint64_t pixel_bytes, ij_weights *weights, ij_embedder **out, ij_error *err);
void ij_embedder_destroy(ij_embedder *embedder);

/* count <= batch images. pooled [count, dim] (mean over patches) and tokens [count, patches, dim]: either may be NULL. */
ij_status ij_embedder_run(ij_embedder *embedder, const ij_jepa_image *images, int count, const void *pixels, uint64_t pixel_bytes,
                          float *pooled, float *tokens, ij_error *err);

#endif
