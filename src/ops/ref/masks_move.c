/* Row moves in plain C.        layer: ops (reference); uses: nothing */
#include "ops/masks.h"

#include <string.h>

void ref_add_positions(double *x, const double *pos, const uint32_t *rows, int64_t count, int64_t dim, int64_t patches) {
    for (int64_t r = 0; r < count; r++) {
        int64_t patch = (rows ? rows[r] : r) % patches;
        for (int64_t i = 0; i < dim; i++) x[r * dim + i] += pos[patch * dim + i];
    }
}

static int64_t pred_rows(const ref_lists *lists) { return lists->pred_offsets[lists->batch * lists->blocks]; }

void ref_predictor_input(const ref_lists *lists, const double *embed, const double *mask_token, const double *pos, double *out,
                         int64_t dim) {
    for (int64_t r = 0; r < pred_rows(lists); r++) {
        bool token = lists->pred_src[r] & MASKS_TOKEN;
        int64_t from = lists->pred_src[r] & ~MASKS_TOKEN, patch = (token ? lists->tgt_rows : lists->ctx_rows)[from] % lists->patches;
        for (int64_t i = 0; i < dim; i++) out[r * dim + i] = (token ? mask_token[i] : embed[from * dim + i]) + pos[patch * dim + i];
    }
}

void ref_predictor_input_bwd(const ref_lists *lists, const double *dout, double *dembed, double *dmask_token, int64_t dim,
                             bool accumulate) {
    int64_t context_rows = lists->ctx_offsets[lists->batch];
    memset(dembed, 0, (size_t)(context_rows * dim) * sizeof *dembed);
    if (!accumulate) memset(dmask_token, 0, (size_t)dim * sizeof *dmask_token);
    for (int64_t r = 0; r < pred_rows(lists); r++) {
        bool token = lists->pred_src[r] & MASKS_TOKEN;
        double *to = token ? dmask_token : dembed + (lists->pred_src[r] & ~MASKS_TOKEN) * dim;
        for (int64_t i = 0; i < dim; i++) to[i] += dout[r * dim + i];
    }
}

void ref_predictor_output(const ref_lists *lists, const double *x, double *out, int64_t dim) {
    for (int64_t r = 0; r < pred_rows(lists); r++)
        if (lists->pred_src[r] & MASKS_TOKEN)
            memcpy(out + (lists->pred_src[r] & ~MASKS_TOKEN) * dim, x + r * dim, (size_t)dim * sizeof *out);
}

void ref_predictor_output_bwd(const ref_lists *lists, const double *dout, double *dx, int64_t dim) {
    for (int64_t r = 0; r < pred_rows(lists); r++) {
        if (lists->pred_src[r] & MASKS_TOKEN)
            memcpy(dx + r * dim, dout + (lists->pred_src[r] & ~MASKS_TOKEN) * dim, (size_t)dim * sizeof *dx);
        else
            memset(dx + r * dim, 0, (size_t)dim * sizeof *dx);
    }
}
