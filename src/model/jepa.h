/* I-JEPA's training step on the device: patches, masks, three passes, loss, backward, update.      layer: model; uses: gpu, ops
 *
 * One step (Assran et al. 2023, section 3, figure 3), micro-batch by micro-batch:
 *   rows        = patches(pixels)                                          [batch patches, patch_dim]
 *   features    = target_encoder(rows)               no gradient           [batch patches, dim]
 *   targets     = LayerNorm(features[target rows])   no affine, eps 1e-5   [target rows, dim]
 *   context     = encoder(rows[context rows])                              [context rows, dim]
 *   predictions = predictor(context, positions of the targets)             [target rows, dim]
 *   loss        = mean over target rows of distance(predictions, targets), + regularizer(mean context of each image)
 * Two variations of the paper's ablations (model/config.h), the released behaviour being the default:
 *   targets: pixels      targets = LayerNorm(rows[target rows]), no affine, eps 1e-6 inside the root      [target rows, patch_dim]
 *                        (MAE's norm_pix_loss, but the variance is divided by patch_dim, not by one less); no target encoder pass
 *   target_mask: input   targets = LayerNorm(target_encoder(rows[target rows])), every target block a sequence of its own
 * then one update: norm of all gradients, AdamW, target encoder = momentum x target encoder + (1 - momentum) x encoder.
 * A step whose gradients are not finite changes nothing and says so.
 *
 * Mixed precision (desc.element): master weights, moments, moving average, LayerNorm statistics, softmax, the residual stream, its
 * gradient, parameter gradients, targets and predictions are f32. What a matrix product or attention reads, and what only they read
 * of their results, is 16-bit: every such tensor is written in 16 bits by the kernel that makes it, no pass only casts.
 *
 * Everything is recorded once. The host writes a slot (pixels, crops, scalars), submits, and looks at a slot's results when the slot
 * comes round again; it never waits inside a step. Two slots, so that the host prepares one while the device works on the other. */
#ifndef IJ_MODEL_JEPA_H
#define IJ_MODEL_JEPA_H

#include "gpu/gpu.h"
#include "model/config.h"
#include "model/params.h"
#include "model/vit.h"
#include "ops/loss.h"
#include "ops/masks.h"
#include "ops/optim.h"
#include "ops/patches.h"

#include <stdbool.h>
#include <stdint.h>

#define IJ_JEPA_SLOTS 2
#define IJ_TARGET_NORM_EPS 1e-5f /* of the targets' own LayerNorm: PyTorch's default */
#define IJ_PIXEL_NORM_EPS 1e-6f  /* of a patch of pixels: MAE's */

typedef struct ij_jepa_desc {
    ij_model_config model;
    masks_config masks;  /* grid must be the model's */
    int batch;           /* images of a micro-batch */
    int accumulation;    /* micro-batches of a step [1] */
    gpu_element element; /* of what matrix products read: GPU_F16 (with loss scale) or GPU_BF16 [f32] */
    uint32_t loss;       /* LOSS_SMOOTH_L1, LOSS_L2, LOSS_L1 */
    float mean[3], std[3];
    uint64_t pixel_bytes; /* most bytes of a batch's pixels; 0: patch rows and masks are written by the caller (recorded steps) */
    masks_limits limits;  /* capacities, for masks written by the caller [masks_capacity] */
    double loss_divisor;  /* instead of target rows x dim, for tests [0: off] */
    bool vicreg;
    double vicreg_weight, vicreg_covariance;
    bool profile; /* time every op */
} ij_jepa_desc;

/* Scalars of one optimiser step. */
typedef struct ij_step_scalars {
    uint64_t seed;
    uint32_t epoch;
    uint64_t step; /* from 0; AdamW's bias correction counts step + 1 + ij_weights.moment_offset */
    double lr, weight_decay, momentum, beta1, beta2, eps, clip_norm;
} ij_step_scalars;

/* One image of a micro-batch, where its pixels are in what ij_jepa_upload is given. */
typedef struct ij_jepa_image {
    uint64_t offset; /* bytes, a multiple of 4 */
    int width, height, channels;
    float crop_x, crop_y, crop_w, crop_h;
    uint32_t sample; /* keys the mask */
} ij_jepa_image;

/* A batch's picture as the model takes it, and as the kernel that cuts patches does. */
struct ij_loader_item;
ij_jepa_image ij_jepa_image_of(const struct ij_loader_item *item, int channels);
struct patches_crop ij_jepa_crop(const ij_jepa_image *image);

typedef struct ij_step_result {
    double loss;        /* mean over the step's micro-batches, prediction only */
    double regularizer; /* the added term, weighted, of the last micro-batch; 0 without */
    double gradient_norm;
    double loss_scale;                /* of the next step; 1 but in f16 */
    bool finite;                      /* false: this step changed nothing */
    double context_rows, target_rows; /* mean per image, over the step */
} ij_step_result;

/* Bytes of a slot's results: where each is read back. */
enum {
    IJ_JEPA_LOSS_AT = 0,
    IJ_JEPA_REGULARIZER_AT = 256,
    IJ_JEPA_NORM_AT = 512,
    IJ_JEPA_SCALE_AT = 768,
    IJ_JEPA_OFFSETS_AT = 1024, /* context, then target offsets, each on a multiple of 256 */
};

/* Device tensors and capacities that diagnostics, tests and replay look at; see the head of this file. */
typedef struct ij_jepa {
    gpu_device *device;
    ij_jepa_desc desc;
    ij_weights *weights;
    masks_limits limits;
    vit_trunk encoder, encoder_gradient, target, predictor, predictor_gradient;
    vit_tokens full, seen, context, prediction; /* sequences: whole images; what the target encoder sees of them; the two other passes */
    gpu_arena *constants, *inputs, *activations, *upload[IJ_JEPA_SLOTS], *readback[IJ_JEPA_SLOTS];
    /* constants */
    gpu_tensor positions, predictor_positions, mask_table, full_offsets;
    /* inputs of a step */
    gpu_tensor pixels, crops, sample_ids, mask_params, scalars;
    masks_tensors masks;
    /* activations */
    gpu_tensor rows;       /* [batch patches, patch_dim] in the step's element */
    gpu_tensor pixel_rows; /* the same in f32, where pixels are predicted: in f32 it is rows itself; absent otherwise */
    gpu_tensor embedded, predictor_features, predictions, targets, dpredictions, loss, loss_parts;
    gpu_tensor dpredictor_features, pooled, dpooled, regularizer, regularizer_scratch, norm, norm_parts, counts;
    gpu_tensor token_scratch, embed_gradient;
    vit_saved target_saved, context_saved, prediction_saved;
    vit_scratch context_scratch, prediction_scratch;
    /* programs */
    gpu_program *prepare, *pass, *update;
    gpu_program *upload_program[IJ_JEPA_SLOTS], *readback_program[IJ_JEPA_SLOTS];
    gpu_tensor upload_pixels[IJ_JEPA_SLOTS], upload_crops[IJ_JEPA_SLOTS], upload_ids[IJ_JEPA_SLOTS], upload_mask_params[IJ_JEPA_SLOTS],
        upload_scalars[IJ_JEPA_SLOTS], results[IJ_JEPA_SLOTS];
    uint64_t ticket[IJ_JEPA_SLOTS];
} ij_jepa;

/* Plans: sizes are known, nothing is allocated. weights are the caller's and live longer. A plan that cannot fit the device is
 * IJ_ERROR_MEMORY with what it needs and what would fit. */
ij_status ij_jepa_plan(gpu_device *device, const ij_jepa_desc *desc, ij_weights *weights, ij_jepa **out, ij_error *err);

/* Records the passes for nothing, between plan and build: what op_matmul tunes at first use is tuned now, while the device's memory is
 * still free, and kernels are compiled. */
ij_status ij_jepa_rehearse(ij_jepa *jepa, ij_error *err);

/* Allocates and records; weights must be committed. */
ij_status ij_jepa_build(ij_jepa *jepa, ij_error *err);
void ij_jepa_destroy(ij_jepa *jepa);

/* Takes the weights' positions again (model/positions.h), after a file has brought others. They are not trained. Waits. */
ij_status ij_jepa_take_positions(ij_jepa *jepa, ij_error *err);

/* Records the target encoder's pass over the batch's whole images into saved (reserved for j->full, without keep), for who needs the
 * features in a step that does not compute them. */
ij_status ij_jepa_record_features(const ij_jepa *jepa, gpu_program *program, const vit_saved *saved, ij_error *err);

/* Bytes of device memory: weights and their companions, and everything else. */
void ij_jepa_memory(const ij_jepa *jepa, uint64_t *weights, uint64_t *rest);

/* Writes a micro-batch into a slot and queues its passes. Waits only if the slot's previous use is still running. */
ij_status ij_jepa_pass(ij_jepa *jepa, int slot, const ij_step_scalars *scalars, const ij_jepa_image *images, const void *pixels,
                       uint64_t pixel_bytes, ij_error *err);

/* Queues the update of a step, whose results will be in `slot`. */
ij_status ij_jepa_update(ij_jepa *jepa, int slot, ij_error *err);

/* Results of the last update queued with this slot; waits for it. */
ij_status ij_jepa_result(ij_jepa *jepa, int slot, ij_step_result *out, ij_error *err);

#endif
