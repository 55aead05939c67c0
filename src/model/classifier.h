/* Fine-tuning: a pretrained encoder and a linear head trained on labels, and the same network tested.      layer: model; uses: gpu, ops
 *
 * One step (Assran et al. 2023, appendix A.2, which follows He et al. 2022, appendix A.1), micro-batch by micro-batch:
 *   rows   = patches(pixels), augmented where asked for                         [batch patches, patch_dim]
 *   x      = patch embedding + positions, then the blocks below the trained     nothing is kept of these, no gradient is computed
 *   y      = the last k blocks, the final LayerNorm                             kept for backward
 *   pooled = mean of y over an image's patches                                  [batch, dim] f32
 *   logits = pooled W^T + b                                                     [batch, classes] f32
 *   loss   = mean over images of cross entropy with smoothed labels
 * then backward through the k blocks (k = depth: and the patch embedding), the norm of all gradients, and AdamW. The kernels are those
 * of pretraining (src/model/vit.h). The head is small and f32 in every precision; the rest is as in src/model/jepa.h, loss scale included.
 *
 * Layer decay (Bao et al. 2021), counted as the MAE code counts: the patch embedding is layer 0, block i (from 0) layer i + 1, the final
 * LayerNorm and the head layer depth + 1. A parameter of layer l learns at lr layer_decay^(depth + 1 - l).
 *
 * Memory: weights of the whole encoder; gradients and moments of what is trained; no predictor, no second encoder. Two slots and
 * recorded programs as in src/model/jepa.h. What augmentation, the blocks below and the backward pass need lies in the same bytes. */
#ifndef IJ_MODEL_CLASSIFIER_H
#define IJ_MODEL_CLASSIFIER_H

#include "model/jepa.h"
#include "ops/augment.h"

#define IJ_CLASSIFIER_SLOTS 2

typedef struct ij_classifier_desc {
    ij_model_config model;
    int classes;
    int batch;           /* images of a micro-batch */
    int accumulation;    /* micro-batches of a step [1] */
    int last_blocks;     /* blocks that are trained, from the end; depth: the patch embedding too [depth] */
    gpu_element element; /* of what matrix products read [f32] */
    double smoothing;    /* of labels: 1 - smoothing for the right class, smoothing / classes for each */
    bool augment;        /* training batches come with steps of op_augment */
    float mean[3], std[3];
    uint64_t pixel_bytes; /* most bytes of a batch's pixels */
} ij_classifier_desc;

/* Scalars of one optimiser step; zeros are defaults. */
typedef struct ij_classifier_scalars {
    uint64_t step; /* from 0 */
    double lr, weight_decay;
    double layer_decay;       /* [1] */
    double beta1, beta2, eps; /* [0.9, 0.999, 1e-8] */
    double clip_norm;         /* [none] */
} ij_classifier_scalars;

/* Images of a micro-batch: `count` of them, desc.batch where it is for training. */
typedef struct ij_classifier_batch {
    const ij_jepa_image *images;
    const uint32_t *labels;
    const struct augment_step *steps; /* [count, AUGMENT_STEPS], with desc.augment and for training */
    int count;
    const void *pixels;
    uint64_t pixel_bytes;
} ij_classifier_batch;

typedef struct ij_classifier_result {
    double loss;           /* mean over images, smoothed labels */
    int64_t right;         /* images whose largest logit is their label's */
    double gradient_norm;  /* of training steps */
    double loss_scale;     /* of the next step; 1 but in f16 */
    bool finite;           /* false: this step changed nothing */
    int64_t skipped_steps; /* f16: in all, by the loss scale */
} ij_classifier_result;

/* Neighbouring trained parameters of one layer and kind: what one dispatch of AdamW takes. */
typedef struct ij_classifier_run {
    int first, last, layer;
    bool decay;
    int64_t elements; /* with rounding up */
    gpu_tensor half;  /* flat 16-bit copy; absent: none */
} ij_classifier_run;

typedef struct ij_classifier {
    gpu_device *device;
    ij_classifier_desc desc;
    ij_weights *weights; /* the encoder's table with head.weight and head.bias behind it; gradients and moments of what is trained */
    ij_classifier_run *runs;
    int run_count, first_layer; /* the first that is trained */
    vit_trunk encoder, gradient;
    vit_trunk lower, upper, upper_gradient; /* parts of these: frozen and trained blocks */
    vit_tokens tokens;
    gpu_arena *constants, *inputs, *activations, *upload[IJ_CLASSIFIER_SLOTS], *readback[IJ_CLASSIFIER_SLOTS];
    gpu_tensor positions, offsets;
    gpu_tensor pixels, crops, labels, count, steps, scalars;
    gpu_tensor rows, pooled, logits, dlogits, dpooled, head_scratch, loss, right, loss_scratch, norm, norm_parts;
    augment_tensors augment;
    vit_saved lower_saved, upper_saved;
    vit_scratch scratch;
    gpu_program *prepare, *prepare_plain, *forward, *backward, *judge, *update;
    gpu_program *upload_program[IJ_CLASSIFIER_SLOTS], *readback_program[IJ_CLASSIFIER_SLOTS];
    gpu_tensor staged[IJ_CLASSIFIER_SLOTS], results[IJ_CLASSIFIER_SLOTS];
    uint64_t ticket[IJ_CLASSIFIER_SLOTS];
} ij_classifier;

/* Plans, allocates, records. A plan that does not fit the device is IJ_ERROR_MEMORY with the numbers. */
ij_status ij_classifier_create(gpu_device *device, const ij_classifier_desc *desc, ij_classifier **out, ij_error *err);
void ij_classifier_destroy(ij_classifier *classifier);
void ij_classifier_memory(const ij_classifier *classifier, uint64_t *weights, uint64_t *rest);

/* Begins anew from the target encoder of `encoder` (made for the same model): head normal with standard deviation 2e-5 by the seed, as
 * MAE starts it, bias 0, moments 0. Waits. */
ij_status ij_classifier_load(ij_classifier *classifier, const ij_weights *encoder, uint64_t seed, ij_error *err);

/* The layer of a parameter as layer decay counts it, and its learning rate's factor. */
int ij_classifier_layer(const char *name, int depth);
double ij_classifier_lr_scale(double layer_decay, int layer, int depth);

/* Writes a micro-batch into a slot and queues forward and backward. Waits only if the slot's previous use still runs. */
ij_status ij_classifier_pass(ij_classifier *classifier, int slot, const ij_classifier_scalars *scalars, const ij_classifier_batch *batch,
                             ij_error *err);
/* Queues the update of a step, whose results will be in `slot`. */
ij_status ij_classifier_update(ij_classifier *classifier, int slot, ij_error *err);
/* Queues a test of 1 to desc.batch images, not augmented. */
ij_status ij_classifier_test(ij_classifier *classifier, int slot, const ij_classifier_batch *batch, ij_error *err);
/* Results of the last update or test queued with this slot; waits for it. */
ij_status ij_classifier_result_of(ij_classifier *classifier, int slot, ij_classifier_result *out, ij_error *err);

#endif
