/* Features of images: a trained encoder, forward only, two batches under way.       layer: model; uses: gpu, ops
 *
 * Each batch has a slot with staging memory of its own, so that while the device computes one batch the host fills the next and
 * reads the one before:
 *
 *     while (there are images) {
 *         if (ij_embedder_pending(e) == IJ_EMBED_SLOTS) ij_embedder_collect(e, out, &count, err);   the oldest; waits for it
 *         ij_embedder_submit(e, images, count, pixels, bytes, err);                                 returns at once
 *     }
 *     while (ij_embedder_pending(e)) ij_embedder_collect(e, out, &count, err);
 *
 * An image's features have the same bits whoever else is in its batch; a batch that is not full costs what its images cost. */
#ifndef IJ_MODEL_EMBED_H
#define IJ_MODEL_EMBED_H

#include "io/resample.h"
#include "model/jepa.h"

#define IJ_EMBED_SLOTS 2
#define IJ_EMBED_LAYERS 4 /* of IJ_EMBED_LAST4; a model with fewer blocks gives all it has */

/* What is handed out, and nothing else is read back. f32 in every precision. */
typedef enum ij_embed_output {
    IJ_EMBED_LAST,   /* [count, dim] the mean over patches of the encoder's output */
    IJ_EMBED_LAST4,  /* [count, 4 dim] the same of the last four blocks, first to last, so that the last dim columns are IJ_EMBED_LAST:
                      * every block's output goes through the encoder's final LayerNorm, then the mean (as DINO's linear evaluation and
                      * Assran et al. 2023, appendix A.2, take several layers) */
    IJ_EMBED_TOKENS, /* [count, patches, dim] the encoder's output */
    IJ_EMBED_PIXELS, /* [count, height width channels] no encoder: the resized, normalised picture, in the order (y, x, channel) */
} ij_embed_output;

typedef struct ij_embed_desc {
    ij_model_config model; /* image_height and image_width need not be the trained ones: positions are made for any grid of patches */
    float mean[3], std[3];
    ij_filter filter;     /* of the device's resize; a picture of the input's size is copied whatever it is */
    int batch;            /* most images of a submission */
    uint64_t pixel_bytes; /* most bytes of its pixels */
    ij_embed_output output;
    bool context; /* the context encoder, IJ_SLOT_WEIGHT [the target encoder, IJ_SLOT_TARGET] */
} ij_embed_desc;

typedef struct ij_embedder ij_embedder;

/* Products read what `weights` keep: their 16-bit copies, or f32. They are committed and written, hold the encoder, and live longer; NULL
 * with IJ_EMBED_PIXELS. An image size that is no multiple of the patch size is IJ_ERROR_ARGUMENT. */
ij_status ij_embedder_create(gpu_device *device, const ij_embed_desc *desc, ij_weights *weights, ij_embedder **out, ij_error *err);
void ij_embedder_destroy(ij_embedder *embedder); /* waits for what is under way; NULL is fine */

int ij_embedder_dim(const ij_embedder *embedder);        /* floats of a row */
int64_t ij_embedder_floats(const ij_embedder *embedder); /* of an image: dim, with IJ_EMBED_TOKENS patches x dim */

/* Queues 1 <= count <= batch images; pixels and images are copied. A slot must be free. */
ij_status ij_embedder_submit(ij_embedder *embedder, const ij_jepa_image *images, int count, const void *pixels, uint64_t pixel_bytes,
                             ij_error *err);

/* Waits for the oldest batch under way and writes its features, [count, ij_embedder_floats]. There must be one. */
ij_status ij_embedder_collect(ij_embedder *embedder, float *out, int *count, ij_error *err);
int ij_embedder_pending(const ij_embedder *embedder); /* batches under way */

/* Both at once; nothing may be under way. */
ij_status ij_embedder_run(ij_embedder *embedder, const ij_jepa_image *images, int count, const void *pixels, uint64_t pixel_bytes,
                          float *out, ij_error *err);

/* Seconds that the device has spent on the batches collected so far: from the begin of each one's upload, or the end of the batch
 * before where that is later, to the end of its results' copy, by the device's own clock. 0 where it has no timestamps. */
double ij_embedder_busy(const ij_embedder *embedder);

#endif
