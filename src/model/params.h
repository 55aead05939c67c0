/* The table of trained tensors, and where they live on the device.       layer: model; uses: base, gpu
 *
 * Order of the table: encoder with decay, encoder without, predictor with, predictor without. Names and shapes are those of
 * the released checkpoints (without the `module.` prefix), but for predictor_proj where pixels are predicted: [patch_dim, pred_dim].
 * Positions are not trained and not in the table.
 *
 * Invariants: weights, gradients and both moments are reserved in the same order in arenas of their own, so entry i has the
 * same block and offset in each; the target encoder's arena holds the table's encoder part in the same order. */
#ifndef IJ_MODEL_PARAMS_H
#define IJ_MODEL_PARAMS_H

#include "gpu/gpu.h"
#include "model/config.h"

#include <stdbool.h>

typedef enum ij_init { IJ_INIT_NORMAL, IJ_INIT_ZERO, IJ_INIT_ONE } ij_init;

typedef struct ij_param {
    char name[80]; /* within its net: "blocks.3.attn.qkv.weight" */
    int64_t shape[4];
    int dims;
    int64_t count;  /* elements */
    bool predictor; /* else encoder */
    bool decay;     /* weight decay applies: more than one dimension and not a bias */
    ij_init init;   /* normal: mean 0, standard deviation 0.02 */
} ij_param;

typedef struct ij_param_table {
    ij_param *params;
    int count, encoder_count; /* the first encoder_count belong to the encoder */
    int64_t elements, encoder_elements;
} ij_param_table;

ij_status ij_param_table_make(const ij_model_config *config, ij_param_table *out, ij_error *err);
void ij_param_table_free(ij_param_table *table);
int ij_param_find(const ij_param_table *table, bool predictor, const char *name); /* -1: none */

/* What is kept of each parameter. */
typedef enum ij_slot { IJ_SLOT_WEIGHT, IJ_SLOT_TARGET, IJ_SLOT_GRADIENT, IJ_SLOT_MOMENT1, IJ_SLOT_MOMENT2, IJ_SLOT_COUNT } ij_slot;

/* Which of them: the whole training state, or one encoder to run forward. */
typedef enum ij_keep {
    IJ_KEEP_TARGET,   /* TARGET: the target encoder */
    IJ_KEEP_TRAINING, /* all slots */
    IJ_KEEP_CONTEXT,  /* the encoder part of WEIGHT: the context encoder */
} ij_keep;

typedef struct ij_weights {
    gpu_device *device;
    ij_param_table table;
    ij_keep keep;
    gpu_arena *arenas[IJ_SLOT_COUNT];
    gpu_tensor *tensors[IJ_SLOT_COUNT]; /* [ij_weights_params]; absent slots are NULL */
    /* Mixed precision: the matrices of WEIGHT and TARGET once more, rounded, for the products to read. The optimiser writes them in
     * the pass that updates the f32 ones: a run's copy is flat, so matrix i lies in it at half the offset it has in the run. */
    gpu_element half; /* GPU_WORD: none */
    gpu_arena *half_arena;
    gpu_tensor *half_tensors[IJ_SLOT_TARGET + 1]; /* [table.count], absent for parameters without decay; NULL for absent slots */
    gpu_tensor *half_runs[IJ_SLOT_TARGET + 1];    /* [runs], as ij_weights_runs lists them; absent for runs without decay */
    gpu_tensor loss_scale;                        /* struct optim_scale; with f16 */
    ij_model_config model;                        /* that they are of */
    float *positions; /* [positions_height positions_width, dim] stored by the file [NULL: the fixed table]; model/positions.h */
    int positions_height, positions_width;
    int64_t moment_offset; /* AdamW's bias correction counts a run's steps and this: moments may come from elsewhere [0] */
} ij_weights;

/* Reserves and, with ij_weights_commit, allocates. */
ij_status ij_weights_create(gpu_device *device, const ij_model_config *config, ij_keep keep, ij_weights **out, ij_error *err);
ij_status ij_weights_commit(ij_weights *weights, ij_error *err);
void ij_weights_destroy(ij_weights *weights);
uint64_t ij_weights_bytes(const ij_weights *weights);

/* Parameters of a slot: the first so many of the table. 0: the slot is not kept. */
int ij_weights_params(const ij_weights *weights, ij_slot slot);

/* Before the commit: keeps rounded copies too. Nothing happens when they are kept already. */
ij_status ij_weights_keep_half(ij_weights *weights, gpu_element element, ij_error *err);

/* Rounds all copies from the f32 values; after these were written from outside. Waits. */
ij_status ij_weights_round(ij_weights *weights, ij_error *err);

/* Columns of a matrix: all dimensions but the first. */
int64_t ij_param_columns(const ij_param *param);

/* A matrix whose rows are padded in 16 bits has a copy of its own, which the flat pass of the optimiser cannot write. */
static inline bool ij_param_padded(const ij_param *param) { return ij_param_columns(param) % 8 != 0; }

/* Initial values as the released code trains with: every weight matrix, the patch convolution and the mask token normal with
 * standard deviation 0.02 (its depth-dependent rescaling is undone by its own later initialisation), biases 0, LayerNorm 1
 * and 0; target = encoder; gradients and moments 0. Depends on the seed and the tensor's name only. */
ij_status ij_weights_initialise(ij_weights *weights, uint64_t seed, ij_error *err);

/* Runs of neighbouring parameters of one kind, small enough for one binding: what flat passes over all of them (update, norm) walk.
 * A run covers the rounding-up between its tensors, which is zero and stays zero. */
typedef struct ij_param_run {
    int first, last;  /* parameters, inclusive */
    int64_t elements; /* with rounding up */
    bool predictor, decay;
} ij_param_run;
ij_status ij_weights_runs(const ij_weights *weights, ij_param_run **out, int *count, ij_error *err); /* free() *out */
gpu_tensor ij_weights_run(const ij_weights *weights, ij_slot slot, const ij_param_run *run);

/* Values of one parameter between host and device, f32, table[index].count elements. */
ij_status ij_weights_read(const ij_weights *weights, ij_slot slot, int index, float *out, ij_error *err);
ij_status ij_weights_write(const ij_weights *weights, ij_slot slot, int index, const float *values, ij_error *err);

/* By what features know the encoder that made them: ij_checksum of its f32 values in the order of the table and of stored positions,
 * whichever file they came from, as 16 hexadecimal digits. slot: TARGET or WEIGHT. Reads them from the device. */
ij_status ij_model_mark(const ij_weights *weights, ij_slot slot, char out[17], ij_error *err);

#endif
