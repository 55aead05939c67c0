/* A model out of any file that is known.       layer: train; uses: base, io, data, model
 *
 *   kind       what it is                                                             what it holds
 *   STATE      this project's training state (train/checkpoint.h)                     everything; of a fine-tuned one the target encoder
 *   RELEASED   the released .pth.tar (a dict of encoder, target_encoder, predictor,   both encoders, the predictor, AdamW's moments; any
 *              opt, epoch, ...), or safetensors with those names                      part may be missing but for one encoder
 *   ENCODER    one encoder with released names: timm, a state_dict                    that encoder
 *   HF         transformers: IJepaModel, IJepaForImageClassification; names of        that encoder
 *              train/import_names.h, one file or shards
 *
 * Names may have a prefix ("module.", "_orig_mod.", "ijepa.", "model.", ...): it is found, not asked for. f16 and bf16 become f32.
 *
 * Sizes are those of the tensors. What tensors do not tell:
 *   heads        the sidecar; config.json; else those of the preset (model/config.h) whose width, depth and MLP width the tensors have;
 *                else the reader's; else an error
 *   image size   the sidecar; config.json; else that of a square grid of the stored positions; else an error
 *   norm_eps     the sidecar; config.json; else 1e-6
 *   mean, std    the sidecar; preprocessor_config.json, or timm's pretrained_cfg; else ImageNet's, with which published models were trained
 *   preprocess   the same; else as this project trains
 * The sidecar is a training configuration, every key optional, that one may write: FILE.yaml beside FILE, ijepa.yaml in a folder. Safetensors
 * that train/export.h wrote have theirs inside (IJ_WEIGHTS_FORMAT), which one beside the file goes over. A
 * released configuration (in1k_vith14_ep300.yaml) does. config.json and preprocessor_config.json are looked for in the folder, or beside a
 * file with transformers' names.
 *
 * What is not as it must be is an error that names it: a missing tensor, one of another shape, one that an I-JEPA encoder does not have (a
 * class token, registers, LayerScale), patches of video. A head (`head`, `classifier`) and whatever stands beside the nets is named in
 * the notes and left out. */
#ifndef IJ_TRAIN_IMPORT_H
#define IJ_TRAIN_IMPORT_H

#include "model/params.h"
#include "train/config.h"

#define IJ_WEIGHTS_FORMAT "ijepa weights 1" /* "format" in the metadata */

typedef enum ij_import_kind { IJ_IMPORT_STATE, IJ_IMPORT_RELEASED, IJ_IMPORT_ENCODER, IJ_IMPORT_HF } ij_import_kind;

typedef struct ij_import ij_import;

typedef struct ij_import_info {
    ij_import_kind kind;
    char title[160]; /* "released training state, epoch 12", "IJepaModel of transformers" */
    bool has_context, has_target, has_predictor, has_moments;
    int64_t step;  /* STATE: of the run; else optimiser steps that the moments have seen; 0 without */
    int64_t epoch; /* RELEASED: completed epochs; else 0 */
    /* Model sizes, mean, std, preprocess, as far as the file tells (above), and all of it for a STATE; else defaults. Without a predictor its
     * sizes are those of the preset, or some that are possible. */
    ij_train_config config;
    int positions_height, positions_width; /* grid of the stored positions */
    char notes[2048];                      /* what a user should see, one line each; "" if nothing */
} ij_import_info;

/* path: a file, or a folder of transformers or timm. Reads names, not weights; needs no device. reader (may be NULL): the model that it is to
 * be read into, which gives the heads where nothing in or beside the file does. */
ij_status ij_import_open(const char *path, const ij_model_config *reader, ij_import **out, ij_error *err);
void ij_import_close(ij_import *import); /* NULL is fine */
const ij_import_info *ij_import_about(const ij_import *import);

/* One parameter, f32, [param->count]; query, key and value are joined to qkv, a missing qkv bias (qkv_bias false) is zeros. slot: WEIGHT,
 * TARGET, MOMENT1, MOMENT2. Where the file has one encoder it stands for both. IJ_ERROR_MISMATCH: the file does not have it, or has it with
 * another shape. */
ij_status ij_import_read(const ij_import *import, ij_slot slot, const ij_param *param, float *out, ij_error *err);

/* [positions_height * positions_width, dim] where the file stores positions that are not the fixed table of model/config.h (largest
 * difference above 1e-5), else NULL. */
const float *ij_import_positions(const ij_import *import);

/* The file itself: what it is made of, and values such as the text of "loss_scale". */
const struct ij_tensor_file *ij_import_file(const ij_import *import);

/* Whether a folder is one of transformers or timm: it holds model.safetensors or pytorch_model.bin, whole or in shards. */
bool ij_import_is_folder(const char *path);

#endif
