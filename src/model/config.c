/* layer: model; uses: base */
#include "model/config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct preset {
    const char *name;
    int dim, depth, heads, hidden, pred_depth;
} preset;

static const preset presets[] = {
    {"vit_tiny", 192, 12, 3, 768, 6},      {"vit_small", 384, 12, 6, 1536, 6},   {"vit_base", 768, 12, 12, 3072, 6},
    {"vit_large", 1024, 24, 16, 4096, 12}, {"vit_huge", 1280, 32, 16, 5120, 12}, {"vit_giant", 1408, 40, 16, 6144, 16},
};

ij_status ij_model_preset(const char *name, ij_model_config *config, ij_error *err) {
    for (int i = 0; i < IJ_COUNT(presets); i++) {
        const preset *p = &presets[i];
        if (strcmp(p->name, name) != 0) continue;
        config->dim = p->dim, config->depth = p->depth, config->heads = p->heads, config->hidden = p->hidden;
        config->pred_dim = 384, config->pred_depth = p->pred_depth, config->pred_heads = p->heads, config->pred_hidden = 4 * 384;
        config->norm_eps = 1e-6f;
        return IJ_OK;
    }
    return ij_fail(err, IJ_ERROR_ARGUMENT,
                   "no model is called \"%s\"; there are vit_tiny, vit_small, vit_base, vit_large, vit_huge, vit_giant, and custom", name);
}

const char *ij_model_preset_of(const ij_model_config *config) {
    for (int i = 0; i < IJ_COUNT(presets); i++)
        if (presets[i].dim == config->dim && presets[i].depth == config->depth && presets[i].hidden == config->hidden)
            return presets[i].name;
    return NULL;
}

static ij_status check_net(const char *net, int dim, int depth, int heads, int hidden, ij_error *err) {
    if (dim < 4 || depth < 1 || heads < 1 || hidden < 1 || dim > 16384 || depth > 1024 || hidden > 65536)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: dim %d, depth %d, heads %d, hidden %d: all must be positive, dim at least 4", net, dim,
                       depth, heads, hidden);
    if (dim % heads) return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: %d heads do not divide its dim %d", net, heads, dim);
    if (dim % 4) return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: dim %d is not a multiple of 4, which 2-D positions need", net, dim);
    int head_dim = dim / heads;
    if (head_dim % 4 || head_dim > 128)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: dim %d with %d heads gives head dim %d; it must be a multiple of 4, at most 128", net,
                       dim, heads, head_dim);
    if (hidden % 4) return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: MLP width %d is not a multiple of 4", net, hidden);
    return IJ_OK;
}

ij_status ij_model_check(const ij_model_config *c, ij_error *err) {
    if (c->patch_size < 1 || c->image_height < 1 || c->image_width < 1)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "image %d x %d with patch size %d: all must be positive", c->image_height, c->image_width,
                       c->patch_size);
    if (c->image_height % c->patch_size || c->image_width % c->patch_size)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "image size %d x %d is not a multiple of patch size %d", c->image_height, c->image_width,
                       c->patch_size);
    if (ij_patches(c) < 4 || ij_patches(c) > 4096)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "image %d x %d with patch size %d gives %d patches; 4 to 4096 are supported",
                       c->image_height, c->image_width, c->patch_size, ij_patches(c));
    if (c->channels != 1 && c->channels != 3) return ij_fail(err, IJ_ERROR_ARGUMENT, "channels %d: 1 or 3 are supported", c->channels);
    if (c->targets == IJ_TARGETS_PIXELS && c->target_mask == IJ_TARGET_MASK_INPUT)
        return ij_fail(err, IJ_ERROR_ARGUMENT,
                       "targets: pixels with target_mask: input; pixels are no encoder's output, there is nothing to mask");
    IJ_TRY(check_net("encoder", c->dim, c->depth, c->heads, c->hidden, err));
    return check_net("predictor", c->pred_dim, c->pred_depth, c->pred_heads, c->pred_hidden, err);
}

void ij_positions(int height, int width, int dim, float *out) {
    int quarter = dim / 4;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            float *row = out + ((int64_t)y * width + x) * dim;
            for (int i = 0; i < quarter; i++) {
                double omega = pow(10000.0, -(double)i / quarter);
                row[i] = (float)sin(x * omega);
                row[quarter + i] = (float)cos(x * omega);
                row[2 * quarter + i] = (float)sin(y * omega);
                row[3 * quarter + i] = (float)cos(y * omega);
            }
        }
}
