/* A model handed back to other programs.       layer: train; uses: base, io, ops, model, import
 *
 *   hf           a folder that transformers opens (AutoModel, AutoImageProcessor; 4.x and 5.x): config.json (IJepaModel),
 *                preprocessor_config.json, model.safetensors, README.md. One encoder. The tensors have the names of transformers 4.x, which
 *                5.x reads through a conversion of its own: qkv split into query, key, value; positions stored.
 *   timm         a folder that timm opens (timm.create_model("local-dir:FOLDER", pretrained=True), timm 1.0 and later): config.json
 *                (VisionTransformer without a class token), model.safetensors, README.md. One encoder, by its released names.
 *   safetensors  one file with all nets that the input has, by their released names: encoder.*, target_encoder.*, predictor.*, and their
 *                positions. Its metadata: "format" "ijepa weights 1", "config" (the configuration as YAML), "step", "steps_per_epoch", "mean",
 *                "std", "heads", "norm_eps", and "license" and "origin" where they are known. Moments are left out: what continues
 *                a training is its checkpoint. samples/load_in_pytorch.py reads it with PyTorch alone.
 *
 * What is written holds the numbers of the input: f32 in, f32 out is the same bits. f16 and bf16 round to nearest, ties to even;
 * a weight that f16 cannot hold (65520 and more) is an error that names it. Positions are those that the input stores, else the fixed
 * table of model/config.h.
 *
 * Parameters are streamed from the input: memory holds one of them at a time (ViT-H/14: 26 MB), and no device is needed. A folder
 * is written beside OUT under a temporary name and renamed when it is whole; so is a file. A failed or stopped call leaves nothing.
 *
 * The preprocessor that is written is the evaluation of this project in transformers' words:
 *   whole pictures  ViTImageProcessor, resize to height x width
 *   centre crops    BitImageProcessor, resize the shorter side to 256 / 224 of the model's size (256 for 224; rounded), cut out the centre;
 *                   a model that is not square: resize to 256 / 224 of height and width each, cut out the centre, which is the same for
 *                   square pictures
 * It differs from this program's own in three small things: it resamples bytes and rounds them, first along one side, then along the
 * other (this program: floats, both at once); it resamples the whole picture and crops the result, so that pixels beyond the crop's
 * edge have part in it; and sides are whole pixels. Padding (data.pad_to, IDX files) has no words there: the model card says it. */
#ifndef IJ_TRAIN_EXPORT_H
#define IJ_TRAIN_EXPORT_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum ij_export_to { IJ_EXPORT_BY_NAME, IJ_EXPORT_HF, IJ_EXPORT_SAFETENSORS, IJ_EXPORT_TIMM, IJ_EXPORT_TO_COUNT } ij_export_to;
typedef enum ij_export_dtype { IJ_EXPORT_F32, IJ_EXPORT_F16, IJ_EXPORT_BF16, IJ_EXPORT_DTYPE_COUNT } ij_export_dtype;
typedef enum ij_export_encoder { IJ_EXPORT_TARGET, IJ_EXPORT_CONTEXT, IJ_EXPORT_ENCODER_COUNT } ij_export_encoder;

extern const char *const ij_export_to_names[IJ_EXPORT_TO_COUNT];           /* "auto", "hf", "safetensors", "timm" */
extern const char *const ij_export_dtype_names[IJ_EXPORT_DTYPE_COUNT];     /* "f32", "f16", "bf16" */
extern const char *const ij_export_encoder_names[IJ_EXPORT_ENCODER_COUNT]; /* "target", "context" */

typedef struct ij_export_options {
    ij_export_to to;           /* [by the output's name: safetensors where it ends in .safetensors, else hf] */
    ij_export_encoder encoder; /* of hf and timm [target, the paper's choice]; an input with one encoder has only that, whichever it is */
    ij_export_dtype dtype;     /* [f32] */
    const char *license;       /* an SPDX identifier, "mit" [the origin's, train/origin.h] */
    bool overwrite;            /* replace what is there [an error] */
    void (*progress)(void *user, const char *what, int64_t done, int64_t total); /* MiB written */
    bool (*stop)(void *user); /* asked before each 4 MiB; true ends the call with IJ_ERROR_STOPPED [never] */
    void *user;
} ij_export_options;

typedef struct ij_export_result {
    ij_export_to to;
    ij_export_encoder encoder; /* that was written: hf, timm */
    int64_t tensors, parameters;
    uint64_t bytes;   /* of the weights */
    char license[64]; /* "": not known, none is written */
    char notes[4096]; /* lines that a user should see */
} ij_export_result;

/* in: a run folder (its newest checkpoint) or any file that train/import.h opens. Errors: what import says of the input; OUT exists
 * (without overwrite); an encoder that the input does not have; a model that the format has no words for. */
ij_status ij_export(const char *in, const char *out, const ij_export_options *options, ij_export_result *result, ij_error *err);

#endif
