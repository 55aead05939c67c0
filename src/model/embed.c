/* layer: model; uses: gpu, ops */
#include "model/embed.h"
#include "base/memory.h"
#include "ops/reduce.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct ij_embedder {
    gpu_device *device;
    ij_model_config model;
    int batch;
    ij_weights *weights;
    vit_trunk trunk;
    vit_tokens tokens;
    vit_saved saved;
    gpu_arena *memory, *upload, *readback;
    gpu_tensor positions, offsets, pixels, crops, rows, pooled;
    gpu_tensor upload_pixels, upload_crops, read_pooled, read_tokens;
    gpu_program *upload_program, *program;
};

static patches_desc patches_of(const ij_embedder *e, const float mean[3], const float std[3]) {
    patches_desc p = {.batch = e->batch,
                      .image_h = e->model.image_height,
                      .image_w = e->model.image_width,
                      .patch = e->model.patch_size,
                      .channels = e->model.channels};
    memcpy(p.mean, mean, sizeof p.mean);
    memcpy(p.std, std, sizeof p.std);
    return p;
}

static ij_status plan(ij_embedder *e, uint64_t pixel_bytes, ij_error *err) {
    const ij_model_config *m = &e->model;
    uint64_t all = (uint64_t)e->batch * (uint64_t)ij_patches(m), dim = (uint64_t)m->dim;
    IJ_TRY(gpu_arena_create(e->device, "embedding", GPU_MEMORY_DEVICE, &e->memory, err));
    IJ_TRY(gpu_reserve(e->memory, 4 * (uint64_t)ij_patches(m) * dim, "positions", &e->positions, err));
    IJ_TRY(gpu_reserve(e->memory, 4 * ((uint64_t)e->batch + 1), "offsets", &e->offsets, err));
    IJ_TRY(gpu_reserve(e->memory, pixel_bytes, "pixels", &e->pixels, err));
    IJ_TRY(gpu_reserve(e->memory, (uint64_t)e->batch * sizeof(struct patches_crop), "crops", &e->crops, err));
    IJ_TRY(gpu_reserve(e->memory, 4 * all * (uint64_t)ij_patch_dim(m), "patch rows", &e->rows, err));
    IJ_TRY(gpu_reserve(e->memory, 4 * (uint64_t)e->batch * dim, "pooled", &e->pooled, err));
    e->tokens = (vit_tokens){e->offsets, (uint32_t)e->batch, (uint32_t)all, (uint32_t)ij_patches(m)};
    IJ_TRY(vit_saved_reserve(e->memory, &e->trunk, &e->tokens, false, &e->saved, err));
    IJ_TRY(gpu_arena_create(e->device, "embedding upload", GPU_MEMORY_UPLOAD, &e->upload, err));
    IJ_TRY(gpu_reserve(e->upload, pixel_bytes, "pixels", &e->upload_pixels, err));
    IJ_TRY(gpu_reserve(e->upload, (uint64_t)e->batch * sizeof(struct patches_crop), "crops", &e->upload_crops, err));
    IJ_TRY(gpu_arena_create(e->device, "embedding results", GPU_MEMORY_READBACK, &e->readback, err));
    IJ_TRY(gpu_reserve(e->readback, 4 * (uint64_t)e->batch * dim, "pooled", &e->read_pooled, err));
    return gpu_reserve(e->readback, 4 * all * dim, "tokens", &e->read_tokens, err);
}

static ij_status write_constants(ij_embedder *e, ij_error *err) {
    const ij_model_config *m = &e->model;
    int64_t patches = ij_patches(m);
    float *positions;
    uint32_t *offsets;
    IJ_TRY(ij_alloc(&positions, patches * m->dim, 4, "positions", err));
    ij_positions(ij_grid_height(m), ij_grid_width(m), m->dim, positions);
    ij_status status = gpu_write(e->device, e->positions, 0, positions, 4 * (uint64_t)(patches * m->dim), err);
    free(positions);
    IJ_TRY(status);
    IJ_TRY(ij_alloc(&offsets, e->batch + 1, 4, "offsets", err));
    for (int i = 0; i <= e->batch; i++) offsets[i] = (uint32_t)(i * patches);
    status = gpu_write(e->device, e->offsets, 0, offsets, 4 * ((uint64_t)e->batch + 1), err);
    free(offsets);
    return status;
}

static ij_status record(ij_embedder *e, const patches_desc *patches, ij_error *err) {
    const gpu_tensor none = {0};
    const ij_model_config *m = &e->model;
    ij_rows rows = vit_rows(&e->tokens);
    gpu_tensor x = e->saved.blocks[0].x;
    IJ_TRY(gpu_program_create(e->device, "upload", false, &e->upload_program, err));
    IJ_TRY(gpu_program_create(e->device, "embed", false, &e->program, err));
    IJ_TRY(op_patches(e->program, patches, e->pixels, e->crops, e->rows, err));
    IJ_TRY(vit_patch_embed(e->program, vit_linear_of(e->weights, IJ_SLOT_TARGET, false, "patch_embed.proj"), e->rows, none, e->positions,
                           ij_patches(m), x, rows, ij_patch_dim(m), m->dim, err));
    IJ_TRY(vit_forward(e->program, &e->trunk, &e->tokens, &e->saved, err));
    IJ_TRY(op_mean_rows(e->program,
                        &(op_mean_rows_args){.x = e->saved.y,
                                             .offsets = e->offsets,
                                             .pooled = e->pooled,
                                             .sequences = (uint32_t)e->batch,
                                             .dim = (uint32_t)m->dim,
                                             .rows_max = e->tokens.rows_max},
                        err));
    IJ_TRY(gpu_copy(e->program, e->read_pooled, e->pooled, e->pooled.bytes, err));
    IJ_TRY(gpu_copy(e->program, e->read_tokens, e->saved.y, e->saved.y.bytes, err));
    return gpu_program_finish(e->program, err);
}

ij_status ij_embedder_create(gpu_device *device, const ij_model_config *model, const float mean[3], const float std[3], int batch,
                             uint64_t pixel_bytes, ij_weights *weights, ij_embedder **out, ij_error *err) {
    *out = NULL;
    ij_embedder *e;
    IJ_TRY(ij_model_check(model, err));
    IJ_TRY(ij_alloc(&e, 1, sizeof *e, "embedder", err));
    e->device = device;
    e->model = *model;
    e->batch = batch;
    e->weights = weights;
    patches_desc patches = patches_of(e, mean, std);
    ij_status status = IJ_OK;
    IJ_TRY_GOTO(vit_trunk_make(weights, model, IJ_SLOT_TARGET, false, &e->trunk, err), failed);
    IJ_TRY_GOTO(plan(e, pixel_bytes, err), failed);
    IJ_TRY_GOTO(gpu_arena_commit(e->memory, err), failed);
    IJ_TRY_GOTO(gpu_arena_commit(e->upload, err), failed);
    IJ_TRY_GOTO(gpu_arena_commit(e->readback, err), failed);
    IJ_TRY_GOTO(write_constants(e, err), failed);
    IJ_TRY_GOTO(record(e, &patches, err), failed);
    *out = e;
    return IJ_OK;
failed:
    ij_embedder_destroy(e);
    return status;
}

void ij_embedder_destroy(ij_embedder *e) {
    if (!e) return;
    gpu_program_destroy(e->upload_program);
    gpu_program_destroy(e->program);
    gpu_arena_destroy(e->memory);
    gpu_arena_destroy(e->upload);
    gpu_arena_destroy(e->readback);
    vit_saved_free(&e->saved);
    vit_trunk_free(&e->trunk);
    free(e);
}

ij_status ij_embedder_run(ij_embedder *e, const ij_jepa_image *images, int count, const void *pixels, uint64_t pixel_bytes, float *pooled,
                          float *tokens, ij_error *err) {
    assert(count >= 1 && count <= e->batch && pixel_bytes <= e->upload_pixels.bytes);
    struct patches_crop *crops = gpu_map(e->upload_crops);
    for (int i = 0; i < e->batch; i++) { /* places beyond count repeat the last image; their features are not handed out */
        const ij_jepa_image *image = &images[i < count ? i : count - 1];
        crops[i] = (struct patches_crop){.offset = (uint32_t)image->offset,
                                         .width = (uint32_t)image->width,
                                         .height = (uint32_t)image->height,
                                         .channels = (uint32_t)image->channels,
                                         .x = image->crop_x,
                                         .y = image->crop_y,
                                         .w = image->crop_w,
                                         .h = image->crop_h};
    }
    memcpy(gpu_map(e->upload_pixels), pixels, pixel_bytes);
    gpu_program_reset(e->upload_program);
    IJ_TRY(gpu_copy(e->upload_program, e->pixels, e->upload_pixels, (pixel_bytes + 3) / 4 * 4, err));
    IJ_TRY(gpu_copy(e->upload_program, e->crops, e->upload_crops, (uint64_t)e->batch * sizeof *crops, err));
    IJ_TRY(gpu_program_finish(e->upload_program, err));
    IJ_TRY(gpu_submit(e->upload_program, NULL, err));
    IJ_TRY(gpu_run(e->program, err));
    size_t dim = (size_t)e->model.dim, patches = (size_t)ij_patches(&e->model);
    if (pooled) memcpy(pooled, gpu_map(e->read_pooled), 4 * (size_t)count * dim);
    if (tokens) memcpy(tokens, gpu_map(e->read_tokens), 4 * (size_t)count * patches * dim);
    return IJ_OK;
}
