/* The matrix products and attentions of a training step, by layer, with the token rows of a real batch.       layer: train; uses: model, ops */
#ifndef IJ_TRAIN_BENCH_SHAPES_H
#define IJ_TRAIN_BENCH_SHAPES_H

#include "ops/matmul.h"
#include "train/config.h"

/* Token rows of one batch: those of masks drawn as in training (seed 1, images 0, 1, 2 ...). */
typedef struct ij_batch_shape {
    uint32_t batch, blocks, patches;
    uint32_t *full_offsets, *context_offsets;     /* [batch + 1] sequences of the target and the context encoder */
    uint32_t *target_offsets, *predictor_offsets; /* [batch blocks + 1] target rows by block; the predictor's sequences */
} ij_batch_shape;
ij_status ij_batch_shape_draw(const ij_train_config *config, ij_batch_shape *out, ij_error *err);
void ij_batch_shape_free(ij_batch_shape *shape);

typedef struct ij_product_shape {
    const char *layer; /* "fc1" */
    const char *part;  /* "target", "context", "predictor" */
    op_matmul_form form;
    int64_t m, n, k;
    int count; /* of a forward and backward pass over the batch */
} ij_product_shape;

/* All linear layers: patch_embed, qkv, proj, fc1, fc2 of both encoders (the target encoder has no backward pass), the predictor's, and
 * the two between them. Returns how many. Token rows are m of NT and NN and k of TN. */
#define IJ_PRODUCTS_MAX 48
int ij_step_products(const ij_train_config *config, const ij_batch_shape *shape, ij_product_shape out[IJ_PRODUCTS_MAX]);

typedef struct ij_attention_step {
    const char *part;
    const uint32_t *offsets; /* the batch shape's */
    uint32_t sequences, heads, head_dim;
    bool forward_only;
    int count;
} ij_attention_step;
#define IJ_ATTENTIONS 3
void ij_step_attentions(const ij_train_config *config, const ij_batch_shape *shape, ij_attention_step out[IJ_ATTENTIONS]);

/* A preset as its published recipe trains it: 224 pixels, patch 14 for vit_huge, else 16, the batch that one GPU had (16 for
 * vit_giant, else 128 of 2048 on 16), the paper's masks. batch: another one [0]. */
ij_status ij_recipe(const char *model, int batch, ij_train_config *out, ij_error *err);

#endif
