/* layer: eval; uses: base, data, gpu, ops, model */
#include "eval/features.h"
#include "base/file.h"
#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- a pass over the data ---- */

static int batch_of(const ij_features_desc *desc) { return desc->batch ? desc->batch : 32; }

uint64_t ij_features_pixel_bytes(const ij_features_desc *desc) {
    return (uint64_t)batch_of(desc) * (((uint64_t)desc->picture_bytes + 15) / 16 * 16);
}

static ij_status allocate(ij_features *f, int64_t count, const ij_extractor *extractors, ij_error *err) {
    IJ_TRY(ij_alloc(&f->labels, count, sizeof *f->labels, "labels", err));
    for (int s = 0; s < f->sets; s++) {
        f->dim[s] = extractors[s].dim;
        IJ_TRY(ij_alloc(&f->x[s], count * f->dim[s], sizeof(float), "features", err));
    }
    return IJ_OK;
}

/* The batch's images that are themselves: one that stands in for a damaged one would count twice. Labels go behind those of f. */
static int take_images(const ij_loader_batch *batch, int64_t most, ij_jepa_image *images, int *labels) {
    int count = 0;
    for (int i = 0; i < batch->count && count < most; i++) {
        const ij_loader_item *item = &batch->items[i];
        if (item->replaced) continue;
        labels[count] = item->label;
        images[count++] = (ij_jepa_image){.offset = item->offset,
                                          .width = item->width,
                                          .height = item->height,
                                          .channels = batch->channels,
                                          .crop_x = item->crop.x,
                                          .crop_y = item->crop.y,
                                          .crop_w = item->crop.w,
                                          .crop_h = item->crop.h,
                                          .sample = (uint32_t)item->sample};
    }
    return count;
}

static ij_status walk(ij_loader *loader, const ij_features_desc *desc, int64_t total, ij_extractor *extractors, ij_features *f,
                      ij_jepa_image *images, ij_error *err) {
    const ij_loader_batch *batch;
    IJ_TRY(ij_loader_start(loader, 0, 0, err));
    while (f->count < total) {
        IJ_TRY(ij_loader_next(loader, &batch, err));
        if (batch->count == 0) break;
        int count = take_images(batch, total - f->count, images, f->labels + f->count);
        for (int s = 0; s < f->sets && count > 0; s++) {
            double start = ij_seconds();
            IJ_TRY(extractors[s].run(extractors[s].user, images, count, batch->pixels, batch->bytes, f->x[s] + f->count * f->dim[s], err));
            extractors[s].seconds += ij_seconds() - start;
        }
        f->count += count;
        if (desc->progress) desc->progress(desc->user, desc->what, f->count, total);
    }
    f->damaged = ij_loader_damaged(loader);
    return f->count ? IJ_OK : ij_fail(err, IJ_ERROR_FORMAT, "%s: none of %lld images can be read", desc->what, (long long)total);
}

ij_status ij_features_collect(const ij_dataset *dataset, const ij_features_desc *desc, ij_extractor *extractors, int extractor_count,
                              ij_features *out, ij_error *err) {
    assert(extractor_count >= 1 && extractor_count <= FEATURE_SETS_MAX && desc->picture_bytes > 0);
    *out = (ij_features){.sets = extractor_count};
    int64_t total = ij_dataset_count(dataset);
    bool some = desc->limit > 0 && desc->limit < total;
    if (some) total = desc->limit;
    ij_loader *loader = NULL;
    ij_jepa_image *images = NULL;
    ij_status status = ij_loader_open(dataset,
                                      &(ij_loader_desc){.seed = desc->seed,
                                                        .batch = batch_of(desc),
                                                        .shuffle = some,
                                                        .crop = desc->whole ? IJ_CROP_FULL : IJ_CROP_CENTER,
                                                        .cap_bytes = desc->picture_bytes},
                                      &loader, err);
    if (status == IJ_OK) status = ij_alloc(&images, batch_of(desc), sizeof *images, "batch", err);
    if (status == IJ_OK) status = allocate(out, total, extractors, err);
    if (status == IJ_OK) status = walk(loader, desc, total, extractors, out, images, err);
    ij_loader_close(loader);
    free(images);
    if (status != IJ_OK) ij_features_free(out);
    return status;
}

void ij_features_free(ij_features *f) {
    for (int s = 0; s < FEATURE_SETS_MAX; s++) free(f->x[s]);
    free(f->labels);
    memset(f, 0, sizeof *f);
}

/* ---- an encoder ---- */

static ij_status run_embedder(void *user, const ij_jepa_image *images, int count, const void *pixels, uint64_t pixel_bytes, float *out,
                              ij_error *err) {
    return ij_embedder_run(user, images, count, pixels, pixel_bytes, out, NULL, err);
}

ij_extractor ij_embedder_extractor(ij_embedder *embedder, int dim) {
    return (ij_extractor){.dim = dim, .run = run_embedder, .user = embedder};
}

/* ---- raw pixels ---- */

struct ij_pixels {
    gpu_device *device;
    int batch, dim;
    gpu_arena *memory, *upload, *readback;
    gpu_tensor pixels, crops, rows;
    gpu_tensor upload_pixels, upload_crops, read_rows;
    gpu_program *program;
};

/* One pixel a patch: rows come in the order (y, x, channel). */
static patches_desc patches_of(const ij_model_config *model, const float mean[3], const float std[3], int batch) {
    int longest = model->image_height > model->image_width ? model->image_height : model->image_width;
    patches_desc p = {
        .batch = batch, .image_h = model->image_height, .image_w = model->image_width, .patch = 1, .channels = model->channels};
    if (longest > PIXELS_SIDE_MAX) {
        p.image_h = p.image_h * PIXELS_SIDE_MAX / longest;
        p.image_w = p.image_w * PIXELS_SIDE_MAX / longest;
        if (p.image_h < 1) p.image_h = 1;
        if (p.image_w < 1) p.image_w = 1;
    }
    memcpy(p.mean, mean, sizeof p.mean);
    memcpy(p.std, std, sizeof p.std);
    return p;
}

static ij_status plan_pixels(ij_pixels *p, const patches_desc *patches, uint64_t pixel_bytes, ij_error *err) {
    uint64_t crops = (uint64_t)p->batch * sizeof(struct patches_crop), rows = 4 * (uint64_t)p->batch * (uint64_t)p->dim;
    IJ_TRY(gpu_arena_create(p->device, "raw pixels", GPU_MEMORY_DEVICE, &p->memory, err));
    IJ_TRY(gpu_reserve(p->memory, pixel_bytes, "pixels", &p->pixels, err));
    IJ_TRY(gpu_reserve(p->memory, crops, "crops", &p->crops, err));
    IJ_TRY(gpu_reserve(p->memory, rows, "resized pixels", &p->rows, err));
    IJ_TRY(gpu_arena_create(p->device, "raw pixels upload", GPU_MEMORY_UPLOAD, &p->upload, err));
    IJ_TRY(gpu_reserve(p->upload, pixel_bytes, "pixels", &p->upload_pixels, err));
    IJ_TRY(gpu_reserve(p->upload, crops, "crops", &p->upload_crops, err));
    IJ_TRY(gpu_arena_create(p->device, "raw pixels readback", GPU_MEMORY_READBACK, &p->readback, err));
    IJ_TRY(gpu_reserve(p->readback, rows, "resized pixels", &p->read_rows, err));
    IJ_TRY(gpu_arena_commit(p->memory, err));
    IJ_TRY(gpu_arena_commit(p->upload, err));
    IJ_TRY(gpu_arena_commit(p->readback, err));
    IJ_TRY(gpu_program_create(p->device, "raw pixels", false, &p->program, err));
    IJ_TRY(gpu_copy(p->program, p->pixels, p->upload_pixels, pixel_bytes, err));
    IJ_TRY(gpu_copy(p->program, p->crops, p->upload_crops, crops, err));
    IJ_TRY(op_patches(p->program, patches, p->pixels, p->crops, p->rows, err));
    IJ_TRY(gpu_copy(p->program, p->read_rows, p->rows, rows, err));
    return gpu_program_finish(p->program, err);
}

ij_status ij_pixels_create(gpu_device *device, const ij_model_config *model, const float mean[3], const float std[3], int batch,
                           uint64_t pixel_bytes, ij_pixels **out, ij_error *err) {
    *out = NULL;
    ij_pixels *p;
    IJ_TRY(ij_alloc(&p, 1, sizeof *p, "raw pixels", err));
    patches_desc patches = patches_of(model, mean, std, batch);
    p->device = device;
    p->batch = batch;
    p->dim = patches.image_h * patches.image_w * patches.channels;
    ij_status status = plan_pixels(p, &patches, (pixel_bytes + 15) / 16 * 16, err);
    if (status == IJ_OK)
        *out = p;
    else
        ij_pixels_destroy(p);
    return status;
}

void ij_pixels_destroy(ij_pixels *p) {
    if (!p) return;
    gpu_program_destroy(p->program);
    gpu_arena_destroy(p->memory);
    gpu_arena_destroy(p->upload);
    gpu_arena_destroy(p->readback);
    free(p);
}

static ij_status run_pixels(void *user, const ij_jepa_image *images, int count, const void *pixels, uint64_t pixel_bytes, float *out,
                            ij_error *err) {
    ij_pixels *p = user;
    assert(count >= 1 && count <= p->batch && pixel_bytes <= p->upload_pixels.bytes);
    struct patches_crop *crops = gpu_map(p->upload_crops);
    for (int i = 0; i < p->batch; i++) { /* places beyond count repeat the last image */
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
    memcpy(gpu_map(p->upload_pixels), pixels, pixel_bytes);
    IJ_TRY(gpu_run(p->program, err));
    memcpy(out, gpu_map(p->read_rows), 4 * (size_t)count * (size_t)p->dim);
    return IJ_OK;
}

ij_extractor ij_pixels_extractor(ij_pixels *pixels) { return (ij_extractor){.dim = pixels->dim, .run = run_pixels, .user = pixels}; }
