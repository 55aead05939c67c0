/* config.json and preprocessor_config.json of Hugging Face's folders, and config.json of timm's.      layer: train; uses: base, data
 *
 * Read from bytes, so that they can be fuzzed: at most 1 MiB each, depth as cJSON limits it (1000). A key that is missing has the default of
 * transformers' IJepaConfig and ViTImageProcessor. What would change the features and is not done here is refused by name, with what is
 * done. */
#ifndef IJ_TRAIN_HF_CONFIG_H
#define IJ_TRAIN_HF_CONFIG_H

#include "base/error.h"
#include "data/preprocess.h"

#include <stdbool.h>
#include <stddef.h>

#define IJ_HF_JSON_BYTES_MAX (1u << 20)

/* How a picture becomes the input, as the folder says it. */
typedef struct ij_hf_preprocessor {
    char type[64]; /* "ViTImageProcessor"; "" where the file does not say */
    ij_preprocess preprocess;
    float mean[3], std[3]; /* of pixel values in [0, 1]; 0 and 1 without do_normalize */
} ij_hf_preprocessor;

typedef struct ij_hf_config {
    bool timm;             /* a folder of timm's: "architecture" and "pretrained_cfg"; it has no sizes (0 below) but for the picture's */
    char architecture[64]; /* "IJepaModel", "IJepaForImageClassification", "vit_huge_patch14_gap_224"; "" where the file does not say */
    int major;             /* of the transformers that wrote it; 0 where the file does not say */
    int dim, depth, heads, hidden, patch_size, channels;
    int image_height, image_width;
    double norm_eps; /* transformers' default is 1e-12, that of the published models and of timm 1e-6 */
    bool qkv_bias;
    ij_hf_preprocessor preprocessor; /* timm's pretrained_cfg */
} ij_hf_config;

/* `name` is for the error texts. IJ_ERROR_FORMAT: no such JSON, or another model_type (named); IJ_ERROR_ARGUMENT: a setting that is not
 * done here. */
ij_status ij_hf_config_parse(const void *json, size_t bytes, const char *name, ij_hf_config *out, ij_error *err);

/* resize      size {height, width}: exact; {shortest_edge} with do_center_crop: shorter
 * filter      resample 2 bilinear, 3 bicubic
 * resampler   image_processor_type ...Fast: torchvision; ...Pil: PIL; else PIL as transformers 4 has it, torchvision as 5 does (major) */
ij_status ij_hf_preprocessor_parse(const void *json, size_t bytes, const char *name, int major, ij_hf_preprocessor *out, ij_error *err);

#endif
