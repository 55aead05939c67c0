/* layer: train; uses: base */
#include "train/import_names.h"
#include "base/error.h"

#include <stdio.h>
#include <string.h>

typedef struct name_row {
    const char *ours;
    const char *theirs[2][3]; /* of IJ_NAMING_HF, IJ_NAMING_HF_MODULES; inside a block what follows its number */
} name_row;

static const char *const block_prefix[2] = {"encoder.layer", "layers"};

static const name_row block_rows[] = {
    {"norm1", {{"layernorm_before"}, {"layernorm_before"}}},
    {"attn.qkv",
     {{"attention.attention.query", "attention.attention.key", "attention.attention.value"},
      {"attention.q_proj", "attention.k_proj", "attention.v_proj"}}},
    {"attn.proj", {{"attention.output.dense"}, {"attention.o_proj"}}},
    {"norm2", {{"layernorm_after"}, {"layernorm_after"}}},
    {"mlp.fc1", {{"intermediate.dense"}, {"mlp.fc1"}}},
    {"mlp.fc2", {{"output.dense"}, {"mlp.fc2"}}},
};

static const name_row top_rows[] = {
    {"patch_embed.proj", {{"embeddings.patch_embeddings.projection"}, {"embeddings.patch_embeddings.projection"}}},
    {"norm", {{"layernorm"}, {"layernorm"}}},
};

/* The row whose name stands before ".weight" or ".bias"; *end is that. */
static const name_row *find(const name_row *rows, int count, const char *name, const char **end) {
    for (int i = 0; i < count; i++) {
        size_t length = strlen(rows[i].ours);
        if (strncmp(name, rows[i].ours, length) != 0) continue;
        *end = name + length;
        if (strcmp(*end, ".weight") == 0 || strcmp(*end, ".bias") == 0) return &rows[i];
    }
    return NULL;
}

int ij_foreign_names(ij_naming naming, const char *param, char out[3][IJ_NAME_BYTES]) {
    int column = naming == IJ_NAMING_HF_MODULES, count = 0, block, used = 0;
    const char *end;
    char before[64] = "";
    if (naming == IJ_NAMING_RELEASED) return snprintf(out[0], IJ_NAME_BYTES, "%s", param), 1;
    if (strcmp(param, "pos_embed") == 0) return strcpy(out[0], "embeddings.position_embeddings"), 1;
    const name_row *row = find(top_rows, IJ_COUNT(top_rows), param, &end);
    if (!row && sscanf(param, "blocks.%d.%n", &block, &used) == 1 && used > 0) {
        row = find(block_rows, IJ_COUNT(block_rows), param + used, &end);
        snprintf(before, sizeof before, "%s.%d.", block_prefix[column], block);
    }
    for (; row && count < 3 && row->theirs[column][count]; count++)
        snprintf(out[count], IJ_NAME_BYTES, "%s%s%s", before, row->theirs[column][count], end);
    return count;
}
