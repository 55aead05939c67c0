/* What other programs call our parameters.       layer: train; uses: base
 *
 *   released, timm (and here)   transformers' files, whatever version wrote them     modules of transformers 5
 *   patch_embed.proj.*          embeddings.patch_embeddings.projection.*             the same
 *   blocks.3.norm1.*            encoder.layer.3.layernorm_before.*                   layers.3.layernorm_before.*
 *   blocks.3.attn.qkv.*         encoder.layer.3.attention.attention.query.* key value  layers.3.attention.q_proj.* k_proj v_proj
 *   blocks.3.attn.proj.*        encoder.layer.3.attention.output.dense.*             layers.3.attention.o_proj.*
 *   blocks.3.norm2.*            encoder.layer.3.layernorm_after.*                    layers.3.layernorm_after.*
 *   blocks.3.mlp.fc1.*          encoder.layer.3.intermediate.dense.*                 layers.3.mlp.fc1.*
 *   blocks.3.mlp.fc2.*          encoder.layer.3.output.dense.*                       layers.3.mlp.fc2.*
 *   norm.*                      layernorm.*                                          the same
 *   pos_embed                   embeddings.position_embeddings                       the same
 *
 * The rows of qkv are those of query, key and value, one below the other; inside each, head by head, everywhere. */
#ifndef IJ_TRAIN_IMPORT_NAMES_H
#define IJ_TRAIN_IMPORT_NAMES_H

#include <stdbool.h>

typedef enum ij_naming { IJ_NAMING_RELEASED, IJ_NAMING_HF, IJ_NAMING_HF_MODULES, IJ_NAMING_COUNT } ij_naming;

#define IJ_NAME_BYTES 160

/* Names of an encoder's parameter, "blocks.3.attn.qkv.weight" or "pos_embed": 1, or 3 to be joined by rows. 0: the parameter has none (a
 * predictor's, but for RELEASED, which has all names). */
int ij_foreign_names(ij_naming naming, const char *param, char out[3][IJ_NAME_BYTES]);

#endif
