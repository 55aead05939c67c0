/* Positions of the encoder's patches.       layer: model; uses: base, gpu
 *
 * The positions of a run of this project are the fixed sine-cosine table (ij_positions), which exists for any grid: at another resolution
 * it is made anew, so that a patch at column x has the encoding it would have in training at that size. Files of others may store rows
 * that are not that table. They are used as stored, bit for bit, at the grid they are stored for, and are interpolated to any other as
 * Hugging Face transformers does (interpolate_pos_encoding): torch.nn.functional.interpolate, bicubic with a = -3/4, align_corners=False, not
 * antialiased. transformers interpolates the fixed table too; ij_weights_set_positions with its rows does the same here, for comparison. */
#ifndef IJ_MODEL_POSITIONS_H
#define IJ_MODEL_POSITIONS_H

#include "model/params.h"

/* Rows that take the place of the fixed table, [height width, dim], copied. NULL: the fixed table again. Before an embedder, a training step or
 * a classifier is made of these weights. */
ij_status ij_weights_set_positions(ij_weights *weights, int height, int width, const float *rows, ij_error *err);

/* What a user asks for, of weights that were read: "fixed": the table, whatever the file stores; "interpolated": where the file stores none
 * and the model runs at another grid than the trained one, the table of the trained grid interpolated, as transformers does; NULL: as the
 * header says. Another text is IJ_ERROR_ARGUMENT. trained and now: of the model's sizes. */
ij_status ij_weights_choose_positions(ij_weights *weights, const char *choice, const ij_model_config *trained, const ij_model_config *now,
                                      ij_error *err);

/* The rows for a grid, out [height width, dim]. */
void ij_weights_positions(const ij_weights *weights, int height, int width, float *out);

/* [height width, dim] rows to another grid, as above; coordinates are rounded to f32 as torch's are, sums are in double. Within 1e-6 of torch for rows
 * up to 1. */
void ij_positions_interpolate(const float *rows, int height, int width, int dim, int out_height, int out_width, float *out);

/* Whether rows are the fixed table of their grid, to 1e-5: as far as another's float arithmetic may be off. */
bool ij_positions_fixed(const float *rows, int height, int width, int dim);

#endif
