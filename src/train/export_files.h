/* The texts beside exported weights.       layer: train; uses: base, io, model, import */
#ifndef IJ_TRAIN_EXPORT_FILES_H
#define IJ_TRAIN_EXPORT_FILES_H

#include "train/export.h"
#include "train/import.h"
#include "train/origin.h"

/* What a picture goes through before it is normalised, in words that transformers and timm have: a resize, then perhaps a centre crop. */
typedef struct ij_export_resize {
    int shorter;        /* the shorter side becomes so long, the other in proportion; 0: */
    int height, width;  /* each side its own length, whatever the picture's shape */
    bool crop;          /* then the centre of the input's size is cut out; else that is the input */
    int input_height, input_width;
    bool bicubic; /* else bilinear */
} ij_export_resize;
ij_export_resize ij_export_resize_of(const ij_train_config *config);

/* JSON, indented; free() it. timm has one LayerNorm eps, 1e-6: another one is an error. */
ij_status ij_export_hf_config(const ij_model_config *model, ij_export_dtype dtype, char **json, ij_error *err);
ij_status ij_export_hf_preprocessor(const ij_train_config *config, char **json, ij_error *err);
ij_status ij_export_timm_config(const ij_train_config *config, char **json, ij_error *err);

/* The README.md of a folder: its front matter (library, task, tags, licence), how to use it, the configuration, and what was measured: the
 * rows of the run folder's eval.json, the loss of its log.csv, the verdict of its events.jsonl. */
typedef struct ij_model_card {
    const char *title;           /* the folder's name */
    const char *run;             /* run folder, or NULL: nothing measured is known */
    const ij_import_info *about; /* of the input */
    const ij_origin *origin;
    const char *license; /* "": none */
    ij_export_to to;
    ij_export_encoder encoder;
    ij_export_dtype dtype;
    int64_t parameters;
    bool encoder_known; /* which of the two it is; else the input has one and does not tell */
} ij_model_card;
ij_status ij_model_card_text(const ij_model_card *card, char **markdown, ij_error *err);

#endif
