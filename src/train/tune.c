/* layer: train; uses: gpu, ops, model */
#include "train/tune.h"

ij_status ij_tune_step(ij_jepa *jepa, bool measure, void (*on_row)(void *user, const tune_row *row), void *user, ij_error *err) {
    if (gpu_device_info(jepa->device)->kind == GPU_KIND_CPU) return IJ_OK;
    if (!measure) return tune_load(jepa->device, err);
    IJ_TRY(tune_enable(jepa->device, false, on_row, user, err));
    ij_status status = ij_jepa_rehearse(jepa, err);
    tune_disable(jepa->device);
    return status;
}

static ij_status rehearse(gpu_device *device, const ij_train_config *c, gpu_element element, ij_error *err) {
    ij_jepa_desc desc = {.model = c->model,
                         .masks = c->masks,
                         .batch = c->batch,
                         .accumulation = c->accumulation,
                         .element = element,
                         .loss = c->loss,
                         .regularizer = c->regularizer,
                         .regularizer_directions = c->regularizer_directions};
    ij_weights *weights = NULL;
    ij_jepa *jepa = NULL;
    ij_status status = ij_weights_create(device, &c->model, IJ_KEEP_TRAINING, &weights, err);
    if (status == IJ_OK) status = ij_jepa_plan(device, &desc, weights, &jepa, err);
    if (status == IJ_OK) status = ij_jepa_rehearse(jepa, err);
    ij_jepa_destroy(jepa);
    ij_weights_destroy(weights);
    return status;
}

ij_status ij_tune_model(gpu_device *device, const ij_train_config *config, bool retune, void (*on_row)(void *user, const tune_row *row),
                        void *user, char *rung, size_t rung_bytes, ij_error *err) {
    gpu_element element;
    IJ_TRY(ij_precision_resolve(device, config->precision, &element, rung, rung_bytes, err));
    IJ_TRY(tune_enable(device, retune, on_row, user, err));
    ij_status status = rehearse(device, config, element, err);
    tune_disable(device);
    return status;
}
