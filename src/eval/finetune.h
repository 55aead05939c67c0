/* Adapted evaluation: an encoder fine-tuned on few or all labels, and tested.       layer: eval; uses: base, io, data, gpu, model, train
 *
 * Assran et al. 2023, tables 2 and 15, recipes of appendix A.2, where they can be had with what is here: AdamW, cosine schedule after a
 * warm-up, label smoothing, layer decay, RandAugment; no mixup, no cutmix, no stochastic depth, which the full recipe has too.
 *
 * The accuracy that is reported is that of the last epoch. Nothing is chosen by looking at test images, and so no training images are
 * held out either: in a low-shot test they would be missed.
 *
 * Seeds: run i draws its training images, its order, crops and augmentation, and its head from seed + i; with random_init the encoder too.
 *
 * Learning rate: the paper's is 3e-5 for 1 % of ImageNet with ViT-L (width 1024) and 1e-4 for all of it with ViT-H (width 1280). An update
 * of Adam moves each of a layer's `width` inputs by lr, so the default is lr x that width / this encoder's: 3e-5 x 1024 / width for some of
 * the images, 1e-4 x 1280 / width for all. A random start takes the same recipe unless another is asked for.
 *
 * Augmentation `auto` is randaugment for photographs, that is for coloured pictures of 48 pixels a side or more as the model sees them; and
 * `crop` for the rest: letters and small grey pictures are not what they are when they are mirrored, inverted or posterised. */
#ifndef IJ_EVAL_FINETUNE_H
#define IJ_EVAL_FINETUNE_H

#include "data/dataset.h"
#include "eval/samples.h"
#include "gpu/gpu.h"
#include "model/precision.h"

#include <stdbool.h>
#include <stdint.h>

#define FINETUNE_SEEDS_MAX 32

typedef enum ij_augmentation {
    IJ_AUGMENT_AUTO,
    IJ_AUGMENT_NONE,        /* pictures as in the test */
    IJ_AUGMENT_CROP,        /* random crop of 70 to 100 % of the area */
    IJ_AUGMENT_FLIP,        /* random crop of 30 to 100 %, mirrored in every other case */
    IJ_AUGMENT_RANDAUGMENT, /* the same, and two operations (src/ops/augment.h) */
    IJ_AUGMENT_COUNT
} ij_augmentation;
extern const char *const ij_augmentation_names[IJ_AUGMENT_COUNT];
ij_status ij_augmentation_find(const char *name, ij_augmentation *out, ij_error *err);

typedef struct ij_finetune_progress {
    const char *what;                   /* "training", "testing" */
    int seed, seeds;                    /* from 1 */
    int64_t epoch, epochs, step, steps; /* of this seed; epoch from 1; while testing, step counts test batches */
    double loss;                        /* of the newest finished step; NaN: none yet */
    double images_per_second;           /* 0: not known yet */
    double seconds_left;                /* of all seeds */
} ij_finetune_progress;

/* Zeros are defaults, in []. */
typedef struct ij_finetune_desc {
    gpu_device_desc device;
    const char *train, *test; /* as in ij_eval_options */
    ij_dataset *train_set, *test_set;
    double fraction;      /* of each class's training images, at least one image [1] */
    int64_t per_class;    /* images of each class instead [off] */
    int last_blocks;      /* trained blocks, from the end [all, and the patch embedding] */
    int epochs;           /* [50] */
    double warmup_epochs; /* [5; at most a tenth of the epochs]; below 0: none */
    int batch;            /* images of a step [512; at most what leaves 25 steps an epoch, as 1 % of ImageNet has; 8 or more] */
    double lr;            /* of the head [see above] */
    double weight_decay;  /* [0.05 for some of the images, 0.04 for all]; below 0: none */
    double layer_decay;   /* [0.75] */
    double smoothing;     /* [0.1]; below 0: none */
    ij_augmentation augment;
    ij_precision precision;
    bool random_init; /* start from no pretraining, for comparison */
    uint64_t seed;
    int seeds;       /* runs [1] */
    const char *out; /* file for the first seed's encoder and head [none] */
    /* Told at least every step; false: stop. */
    bool (*progress)(void *user, const ij_finetune_progress *progress);
    void (*message)(void *user, const char *line); /* a damaged image, a skipped step [none] */
    void *user;
} ij_finetune_desc;

typedef struct ij_finetune_seed {
    uint64_t seed;
    ij_accuracy test;   /* of n test images, 95 % Wilson interval */
    double train_right; /* percent of the last epoch's training images, as augmented, before each one's step */
    double loss;        /* mean of the last epoch's steps */
    int64_t skipped_steps;
} ij_finetune_seed;

typedef struct ij_finetune_result {
    int64_t train_images, test_images, damaged_images;
    int classes, seeds; /* seeds that were finished */
    ij_finetune_seed seed[FINETUNE_SEEDS_MAX];
    double mean, low, high; /* over seeds: ij_accuracy_over */
    /* what was used where nothing was asked for */
    int last_blocks, epochs, batch;
    double warmup_epochs, lr, weight_decay, layer_decay, smoothing;
    ij_augmentation augment;
    char precision[300];
    int64_t steps; /* of a seed */
    double seconds, images_per_second;
    bool out_written;
} ij_finetune_result;

/* run: a run folder (its newest intact checkpoint) or a checkpoint; its target encoder is the start, its configuration the model.
 * Stopped by progress: IJ_ERROR_STOPPED; `out` is written with what there is, and result says how far it came. Steps in a row without
 * finite gradients are IJ_ERROR_NUMBER, ten of them, or forty with a loss scale. */
ij_status ij_finetune_run(const char *run, const ij_finetune_desc *desc, ij_finetune_result *result, ij_error *err);

#endif
