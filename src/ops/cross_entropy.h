/* Softmax and cross-entropy of one or many classifiers over the same rows, and their gradient.       layer: ops; uses: gpu */
#ifndef IJ_OPS_CROSS_ENTROPY_H
#define IJ_OPS_CROSS_ENTROPY_H

#include "ops/op.h"
#include "shaders/cross_entropy.h"

/* logits z [rows, heads x classes]: `heads` independent classifiers beside each other over the same rows.
 *   p = softmax of a head's classes,  t = (1 - smoothing) one-hot(label) + smoothing / classes      (Szegedy et al. 2016, section 7)
 *   loss[h] (+)= scale / counted rows x sum over them of -sum_c t_c log p_c
 *   dlogits = loss scale x scale / counted rows x (p - t)
 *   right[h] (+)= rows whose first largest logit is the label's
 * A row counts when its label is below classes; others add nothing and their gradient is 0. No counted rows: the loss is 0, not NaN. */
typedef struct op_cross_entropy_args {
    gpu_tensor logits;     /* [rows, heads x classes] f32 */
    gpu_tensor labels;     /* [rows] u32 */
    gpu_tensor dlogits;    /* [rows, heads x classes] f32, f16 or bf16; not logits itself [not wanted] */
    gpu_tensor loss_scale; /* struct optim_scale: dlogits (not loss) is multiplied with its scale [1] */
    gpu_tensor loss;       /* [heads] f32 */
    gpu_tensor right;      /* [heads] u32 [not wanted] */
    gpu_tensor scratch;    /* op_cross_entropy_scratch bytes */
    ij_rows rows;          /* offsets may be a zero tensor: rows.max rows; at most 2^24 */
    uint32_t heads, classes;
    float smoothing;   /* 0 .. 1 */
    float scale;       /* gradient accumulation: 1 / micro-batches [1] */
    bool accumulate;   /* loss +=, right += [loss =, right =] */
    const char *label; /* ["cross_entropy"] */
    bool no_subgroups; /* take the path of devices without subgroup arithmetic; for tests */
} op_cross_entropy_args;

ij_status op_cross_entropy(gpu_program *program, const op_cross_entropy_args *args, ij_error *err);

uint64_t op_cross_entropy_scratch(uint32_t rows_max, uint32_t heads, uint32_t classes);

/* Reference, in double; loss [heads] and right [heads] are set. dlogits may be NULL. */
void ref_cross_entropy(const double *logits, const uint32_t *labels, double *dlogits, double *loss, uint32_t *right, int64_t rows,
                       int64_t heads, int64_t classes, double smoothing, double scale);

#endif
