/* What the parts of the import share; for import*.c alone.       layer: train; uses: import, base, io, model */
#ifndef IJ_TRAIN_IMPORT_FILE_H
#define IJ_TRAIN_IMPORT_FILE_H

#include "io/tensor_file.h"
#include "train/hf_config.h"
#include "train/import.h"
#include "train/import_names.h"

enum { NET_CONTEXT, NET_TARGET, NET_PREDICTOR, NET_COUNT };

typedef struct import_net {
    bool there;
    ij_naming naming;
    char prefix[IJ_NAME_BYTES]; /* "target_encoder.module." */
} import_net;

struct ij_import {
    ij_import_info info;
    char path[4096];
    const ij_model_config *reader; /* while opening; NULL: none */
    ij_tensor_file *file;
    import_net nets[NET_COUNT];
    ij_param_table table; /* of the file's model */
    bool no_qkv_bias;
    bool hf_there; /* a config.json was read */
    ij_hf_config hf;
    int64_t *ids; /* [table.count]: numbers of RELEASED parameters in opt.state */
    float *positions;
};

/* Adds a line to the notes; what does not fit is cut. */
void import_note(ij_import *import, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Names for an error or a note: the first few, and how many more. Zeroed: none. */
typedef struct name_list {
    char text[360];
    int count, left_out;
} name_list;
void name_list_add(name_list *list, const char *name);
const char *name_list_text(name_list *list); /* "a, b, c and 12 more" */

/* The tensor that the file has for name inside a net, in the net's own naming: "pos_embed". NULL: none, or it is made of three. */
const ij_tensor_entry *import_find(const ij_import *import, int net, const char *name);

/* Tensors that make up a parameter of a net, to be joined by rows. 0: one of them is missing, `missing` (may be NULL) is its name. */
int import_sources(const ij_import *import, int net, const char *name, const ij_tensor_entry *out[3], char missing[2 * IJ_NAME_BYTES]);

/* IJ_ERROR_MISMATCH with both shapes where the parts' rows do not add up to the parameter's, or another dimension differs. */
ij_status import_check_shape(const ij_import *import, const ij_param *param, const ij_tensor_entry *const *parts, int count, ij_error *err);

/* A parameter that models without qkv_bias lack. */
bool import_is_qkv_bias(const char *name);

/* import_nets.c: which nets the file has, under which names, and that they are I-JEPA's. */
ij_status import_find_nets(ij_import *import, ij_error *err);
/* Sizes of the nets, from their tensors' shapes. */
ij_status import_measure(const ij_import *import, ij_model_config *model, ij_error *err);
/* Every parameter is there with its shape; what else is there is an error or a note. */
ij_status import_check(ij_import *import, ij_error *err);

/* import_settings.c: what tensors do not tell. */
ij_status import_settings(ij_import *import, const ij_model_config *measured, ij_error *err);
ij_status import_state_settings(ij_import *import, ij_error *err);

/* import_moments.c: numbers of the released optimiser's state, and its steps. */
ij_status import_moments(ij_import *import, ij_error *err);
/* A parameter's moment, of a STATE too; NULL: none. */
const ij_tensor_entry *import_moment(const ij_import *import, ij_slot slot, const ij_param *param);

#endif
