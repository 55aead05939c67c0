/* Running the recorded step: slots in, results out.      layer: model; uses: data, gpu, ops */
#include "model/jepa.h"
#include "data/loader.h"
#include "ops/reduce.h"

#include <assert.h>
#include <math.h>
#include <string.h>

ij_jepa_image ij_jepa_image_of(const ij_loader_item *item, int channels) {
    return (ij_jepa_image){.offset = item->offset,
                           .width = item->width,
                           .height = item->height,
                           .channels = channels,
                           .crop_x = item->crop.x,
                           .crop_y = item->crop.y,
                           .crop_w = item->crop.w,
                           .crop_h = item->crop.h,
                           .sample = (uint32_t)item->sample};
}

struct patches_crop ij_jepa_crop(const ij_jepa_image *image) {
    return (struct patches_crop){.offset = (uint32_t)image->offset,
                                 .width = (uint32_t)image->width,
                                 .height = (uint32_t)image->height,
                                 .channels = (uint32_t)image->channels,
                                 .x = image->crop_x,
                                 .y = image->crop_y,
                                 .w = image->crop_w,
                                 .h = image->crop_h};
}

static void write_crops(struct patches_crop *crops, uint32_t *samples, const ij_jepa_image *images, int count) {
    for (int i = 0; i < count; i++) {
        crops[i] = ij_jepa_crop(&images[i]);
        samples[i] = images[i].sample;
    }
}

static struct optim_step scalars_of(const ij_step_scalars *s, int64_t moment_offset) {
    return op_optim_step_make(&(op_optim_desc){.lr = s->lr,
                                               .weight_decay = s->weight_decay,
                                               .beta1 = s->beta1,
                                               .beta2 = s->beta2,
                                               .eps = s->eps,
                                               .ema = s->momentum,
                                               .grad_scale = 1,
                                               .clip_norm = s->clip_norm,
                                               .step = (int64_t)s->step + moment_offset + 1});
}

ij_status ij_jepa_pass(ij_jepa *j, int slot, const ij_step_scalars *scalars, const ij_jepa_image *images, const void *pixels,
                       uint64_t pixel_bytes, ij_error *err) {
    assert(slot >= 0 && slot < IJ_JEPA_SLOTS && pixel_bytes <= j->upload_pixels[slot].bytes && pixel_bytes % 4 == 0);
    IJ_TRY(gpu_wait(j->device, j->ticket[slot], err));
    gpu_program *upload = j->upload_program[slot];
    gpu_program_reset(upload);
    struct optim_step step = scalars_of(scalars, j->weights->moment_offset);
    memcpy(gpu_map(j->upload_scalars[slot]), &step, sizeof step);
    IJ_TRY(gpu_copy(upload, j->scalars, j->upload_scalars[slot], sizeof step, err));
    if (j->prepare) {
        struct masks_params params = {(uint32_t)scalars->seed, (uint32_t)(scalars->seed >> 32), scalars->epoch, (uint32_t)scalars->step};
        memcpy(gpu_map(j->upload_mask_params[slot]), &params, sizeof params);
        memcpy(gpu_map(j->upload_pixels[slot]), pixels, pixel_bytes);
        write_crops(gpu_map(j->upload_crops[slot]), gpu_map(j->upload_ids[slot]), images, j->desc.batch);
        IJ_TRY(gpu_copy(upload, j->mask_params, j->upload_mask_params[slot], sizeof params, err));
        IJ_TRY(gpu_copy(upload, j->pixels, j->upload_pixels[slot], pixel_bytes, err));
        IJ_TRY(gpu_copy(upload, j->crops, j->upload_crops[slot], (uint64_t)j->desc.batch * sizeof(struct patches_crop), err));
        IJ_TRY(gpu_copy(upload, j->sample_ids, j->upload_ids[slot], 4 * (uint64_t)j->desc.batch, err));
    }
    IJ_TRY(gpu_program_finish(upload, err));
    IJ_TRY(gpu_submit(upload, NULL, err));
    if (j->prepare) IJ_TRY(gpu_submit(j->prepare, NULL, err));
    return gpu_submit(j->pass, &j->ticket[slot], err);
}

ij_status ij_jepa_update(ij_jepa *j, int slot, ij_error *err) {
    IJ_TRY(gpu_submit(j->update, NULL, err));
    return gpu_submit(j->readback_program[slot], &j->ticket[slot], err);
}

ij_status ij_jepa_result(ij_jepa *j, int slot, ij_step_result *out, ij_error *err) {
    IJ_TRY(gpu_wait(j->device, j->ticket[slot], err));
    const char *results = gpu_map(j->results[slot]);
    uint64_t sequences = (uint64_t)j->desc.batch * (uint64_t)j->desc.masks.blocks, tgt_bytes = 4 * (sequences + 1);
    float loss, regularizer;
    struct reduce_norm norm;
    uint32_t context, target;
    memcpy(&loss, results + IJ_JEPA_LOSS_AT, 4);
    memcpy(&regularizer, results + IJ_JEPA_REGULARIZER_AT, 4);
    memcpy(&norm, results + IJ_JEPA_NORM_AT, sizeof norm);
    struct optim_scale scale = {.scale = 1};
    if (j->desc.element == GPU_F16) memcpy(&scale, results + IJ_JEPA_SCALE_AT, sizeof scale);
    memcpy(&context, results + IJ_JEPA_OFFSETS_AT + 4 * (uint64_t)j->desc.batch, 4);
    memcpy(&target, results + IJ_JEPA_OFFSETS_AT + (tgt_bytes + 255) / 256 * 256 + 4 * sequences, 4);
    *out = (ij_step_result){.loss = (double)loss,
                            .regularizer = (double)regularizer * j->desc.accumulation,
                            .gradient_norm = (double)norm.norm,
                            .loss_scale = (double)scale.scale,
                            .finite = norm.finite != 0 && isfinite(loss),
                            .context_rows = (double)context / j->desc.batch,
                            .target_rows = (double)target / j->desc.batch};
    return IJ_OK;
}
