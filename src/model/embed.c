/* layer: model; uses: gpu, ops */
#include "model/embed.h"
#include "base/memory.h"
#include "model/positions.h"
#include "ops/reduce.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Staging of one batch under way. */
typedef struct slot {
    gpu_arena *upload, *readback;
    gpu_tensor pixels, crops, offsets, results;
    gpu_program *upload_program, *readback_program; /* both take timestamps: the batch's begin and end */
    uint64_t ticket;
    int count;
} slot;

struct ij_embedder {
    gpu_device *device;
    ij_embed_desc desc;
    ij_weights *weights;
    int layers; /* that are pooled, one behind the other in results; tokens and pixels: 1 */
    vit_trunk trunk;
    vit_tokens tokens;
    vit_saved saved;
    gpu_arena *memory;
    gpu_tensor positions, offsets, pixels, crops, rows;
    gpu_tensor results;   /* pooled: [layers] parts of [batch, dim], each rounded up; else saved.y or rows */
    uint64_t layer_bytes; /* of such a part */
    gpu_program *program;
    slot slots[IJ_EMBED_SLOTS];
    int next, pending; /* the slot that is filled next; how many before it are under way */
    double busy, ended;
};

/* ---- making one ---- */

static bool pooled(const ij_embedder *e) { return e->desc.output == IJ_EMBED_LAST || e->desc.output == IJ_EMBED_LAST4; }

static ij_status check(const ij_embedder *e, ij_error *err) {
    const ij_embed_desc *d = &e->desc;
    assert(d->batch > 0 && (d->output == IJ_EMBED_PIXELS) == (e->weights == NULL));
    if (d->output == IJ_EMBED_PIXELS) return IJ_OK;
    assert(ij_weights_params(e->weights, d->context ? IJ_SLOT_WEIGHT : IJ_SLOT_TARGET) > 0);
    return ij_model_check(&d->model, err);
}

static ij_status plan_encoder(ij_embedder *e, ij_error *err) {
    const ij_model_config *m = &e->desc.model;
    uint64_t batch = (uint64_t)e->desc.batch, patches = (uint64_t)ij_patches(m), dim = (uint64_t)m->dim;
    IJ_TRY(gpu_reserve(e->memory, 4 * patches * dim, "positions", &e->positions, err));
    e->tokens = (vit_tokens){e->offsets, (uint32_t)batch, (uint32_t)(batch * patches), (uint32_t)patches};
    IJ_TRY(vit_trunk_make(e->weights, m, e->desc.context ? IJ_SLOT_WEIGHT : IJ_SLOT_TARGET, false, &e->trunk, err));
    IJ_TRY(vit_saved_reserve(e->memory, &e->trunk, &e->tokens, false, &e->saved, err));
    if (e->desc.output == IJ_EMBED_LAST4) e->layers = m->depth < IJ_EMBED_LAYERS ? m->depth : IJ_EMBED_LAYERS;
    e->layer_bytes = (4 * batch * dim + 255) / 256 * 256;
    e->results = e->saved.y;
    if (!pooled(e)) return IJ_OK;
    return gpu_reserve(e->memory, (uint64_t)e->layers * e->layer_bytes, "pooled", &e->results, err);
}

static ij_status plan(ij_embedder *e, ij_error *err) {
    const ij_model_config *m = &e->desc.model;
    uint64_t batch = (uint64_t)e->desc.batch, crops = batch * sizeof(struct patches_crop), offsets = 4 * (batch + 1);
    gpu_element element = e->weights ? e->weights->half : GPU_WORD;
    IJ_TRY(gpu_arena_create(e->device, "embedding", GPU_MEMORY_DEVICE, &e->memory, err));
    IJ_TRY(gpu_reserve(e->memory, e->desc.pixel_bytes, "pixels", &e->pixels, err));
    IJ_TRY(gpu_reserve(e->memory, crops, "crops", &e->crops, err));
    IJ_TRY(gpu_reserve(e->memory, offsets, "offsets", &e->offsets, err));
    IJ_TRY(gpu_reserve_matrix(e->memory, element, batch * (uint64_t)ij_patches(m), (uint64_t)ij_patch_dim(m), "patch rows", &e->rows, err));
    e->results = e->rows;
    e->layers = 1;
    if (e->weights) IJ_TRY(plan_encoder(e, err));
    for (int i = 0; i < IJ_EMBED_SLOTS; i++) {
        slot *s = &e->slots[i];
        IJ_TRY(gpu_arena_create(e->device, "embedding upload", GPU_MEMORY_UPLOAD, &s->upload, err));
        IJ_TRY(gpu_reserve(s->upload, e->desc.pixel_bytes, "pixels", &s->pixels, err));
        IJ_TRY(gpu_reserve(s->upload, crops, "crops", &s->crops, err));
        IJ_TRY(gpu_reserve(s->upload, offsets, "offsets", &s->offsets, err));
        IJ_TRY(gpu_arena_create(e->device, "embedding results", GPU_MEMORY_READBACK, &s->readback, err));
        IJ_TRY(gpu_reserve(s->readback, e->results.bytes, "results", &s->results, err));
    }
    return IJ_OK;
}

static ij_status commit(ij_embedder *e, ij_error *err) {
    IJ_TRY(gpu_arena_commit(e->memory, err));
    for (int i = 0; i < IJ_EMBED_SLOTS; i++) {
        IJ_TRY(gpu_arena_commit(e->slots[i].upload, err));
        IJ_TRY(gpu_arena_commit(e->slots[i].readback, err));
    }
    if (!e->weights) return IJ_OK;
    const ij_model_config *m = &e->desc.model;
    int64_t count = (int64_t)ij_patches(m) * m->dim;
    float *positions;
    IJ_TRY(ij_alloc(&positions, count, 4, "positions", err));
    ij_weights_positions(e->weights, ij_grid_height(m), ij_grid_width(m), positions);
    ij_status status = gpu_write(e->device, e->positions, 0, positions, 4 * (uint64_t)count, err);
    free(positions);
    return status;
}

static ij_status record_pooling(ij_embedder *e, int layer, ij_error *err) {
    return op_mean_rows(e->program,
                        &(op_mean_rows_args){.x = e->saved.y,
                                             .offsets = e->offsets,
                                             .pooled = gpu_part(e->results, (uint64_t)layer * e->layer_bytes, e->layer_bytes),
                                             .sequences = e->tokens.sequences,
                                             .dim = (uint32_t)e->trunk.dim,
                                             .rows_max = e->tokens.rows_max},
                        err);
}

/* The blocks; the last `layers` of them each give what is read back, before the next ones overwrite it. */
static ij_status record_encoder(ij_embedder *e, ij_error *err) {
    const gpu_tensor none = {0};
    const ij_model_config *m = &e->desc.model;
    vit_linear embed = vit_linear_of(e->weights, e->desc.context ? IJ_SLOT_WEIGHT : IJ_SLOT_TARGET, false, "patch_embed.proj");
    IJ_TRY(vit_patch_embed(e->program, embed, e->rows, none, e->positions, ij_patches(m), e->saved.blocks[0].x, vit_rows(&e->tokens),
                           ij_patch_dim(m), m->dim, err));
    for (int i = 0, layer = i - m->depth + e->layers; i < m->depth; i++, layer++) {
        IJ_TRY(vit_block_forward(e->program, &e->trunk, &e->tokens, &e->saved, i, err));
        if (layer < 0) continue;
        IJ_TRY(vit_norm_forward(e->program, &e->trunk, &e->tokens, &e->saved, i, err));
        if (pooled(e)) IJ_TRY(record_pooling(e, layer, err));
    }
    return IJ_OK;
}

static ij_status record(ij_embedder *e, ij_error *err) {
    const ij_model_config *m = &e->desc.model;
    patches_desc patches = {
        .batch = e->desc.batch, .image_h = m->image_height, .image_w = m->image_width, .patch = m->patch_size, .channels = m->channels};
    patches.bicubic = e->desc.filter == IJ_FILTER_BICUBIC;
    memcpy(patches.mean, e->desc.mean, sizeof patches.mean);
    memcpy(patches.std, e->desc.std, sizeof patches.std);
    IJ_TRY(gpu_program_create(e->device, "embed", false, &e->program, err));
    IJ_TRY(op_patches(e->program, &patches, e->pixels, e->crops, e->rows, err));
    if (e->weights) IJ_TRY(record_encoder(e, err));
    IJ_TRY(gpu_program_finish(e->program, err));
    for (int i = 0; i < IJ_EMBED_SLOTS; i++) {
        slot *s = &e->slots[i];
        IJ_TRY(gpu_program_create(e->device, "upload", true, &s->upload_program, err));
        IJ_TRY(gpu_program_create(e->device, "results", true, &s->readback_program, err));
        IJ_TRY(gpu_copy(s->readback_program, s->results, e->results, e->results.bytes, err));
        IJ_TRY(gpu_program_finish(s->readback_program, err));
    }
    return IJ_OK;
}

ij_status ij_embedder_create(gpu_device *device, const ij_embed_desc *desc, ij_weights *weights, ij_embedder **out, ij_error *err) {
    *out = NULL;
    ij_embedder *e;
    IJ_TRY(ij_alloc(&e, 1, sizeof *e, "embedder", err));
    e->device = device;
    e->desc = *desc;
    e->weights = weights;
    ij_status status = check(e, err);
    if (status == IJ_OK) status = plan(e, err);
    if (status == IJ_OK) status = commit(e, err);
    if (status == IJ_OK) status = record(e, err);
    if (status == IJ_OK)
        *out = e;
    else
        ij_embedder_destroy(e);
    return status;
}

void ij_embedder_destroy(ij_embedder *e) {
    if (!e) return;
    (void)gpu_wait_all(e->device, NULL); /* a lost device has nothing under way either */
    gpu_program_destroy(e->program);
    for (int i = 0; i < IJ_EMBED_SLOTS; i++) {
        gpu_program_destroy(e->slots[i].upload_program);
        gpu_program_destroy(e->slots[i].readback_program);
        gpu_arena_destroy(e->slots[i].upload);
        gpu_arena_destroy(e->slots[i].readback);
    }
    gpu_arena_destroy(e->memory);
    vit_saved_free(&e->saved);
    vit_trunk_free(&e->trunk);
    free(e);
}

int ij_embedder_dim(const ij_embedder *e) {
    const ij_model_config *m = &e->desc.model;
    return e->weights ? e->layers * m->dim : m->image_height * m->image_width * m->channels;
}

int64_t ij_embedder_floats(const ij_embedder *e) {
    return ij_embedder_dim(e) * (e->desc.output == IJ_EMBED_TOKENS ? (int64_t)ij_patches(&e->desc.model) : 1);
}

int ij_embedder_pending(const ij_embedder *e) { return e->pending; }

double ij_embedder_busy(const ij_embedder *e) { return e->busy; }

/* ---- running it ---- */

/* The crops; places beyond count repeat the last image and have no tokens. */
static void fill_slot(ij_embedder *e, slot *s, const ij_jepa_image *images, int count, const void *pixels, uint64_t pixel_bytes) {
    struct patches_crop *crops = gpu_map(s->crops);
    uint32_t *offsets = gpu_map(s->offsets), patches = (uint32_t)ij_patches(&e->desc.model);
    for (int i = 0; i < e->desc.batch; i++) crops[i] = ij_jepa_crop(&images[i < count ? i : count - 1]);
    for (int i = 0; i <= e->desc.batch; i++) offsets[i] = (uint32_t)(i < count ? i : count) * patches;
    memcpy(gpu_map(s->pixels), pixels, pixel_bytes);
    s->count = count;
}

ij_status ij_embedder_submit(ij_embedder *e, const ij_jepa_image *images, int count, const void *pixels, uint64_t pixel_bytes,
                             ij_error *err) {
    assert(count >= 1 && count <= e->desc.batch && pixel_bytes <= e->desc.pixel_bytes && e->pending < IJ_EMBED_SLOTS);
    slot *s = &e->slots[e->next];
    fill_slot(e, s, images, count, pixels, pixel_bytes);
    gpu_program_reset(s->upload_program);
    IJ_TRY(gpu_copy(s->upload_program, e->pixels, s->pixels, (pixel_bytes + 3) / 4 * 4, err));
    IJ_TRY(gpu_copy(s->upload_program, e->crops, s->crops, (uint64_t)e->desc.batch * sizeof(struct patches_crop), err));
    IJ_TRY(gpu_copy(s->upload_program, e->offsets, s->offsets, 4 * ((uint64_t)e->desc.batch + 1), err));
    IJ_TRY(gpu_program_finish(s->upload_program, err));
    IJ_TRY(gpu_submit(s->upload_program, NULL, err));
    IJ_TRY(gpu_submit(e->program, NULL, err));
    IJ_TRY(gpu_submit(s->readback_program, &s->ticket, err));
    e->next = (e->next + 1) % IJ_EMBED_SLOTS;
    e->pending++;
    return IJ_OK;
}

static ij_status count_busy(ij_embedder *e, slot *s, ij_error *err) {
    const gpu_op_time *first, *last;
    int count;
    if (gpu_device_info(e->device)->tick_ns == 0) return IJ_OK;
    IJ_TRY(gpu_program_times(s->upload_program, &first, &count, err));
    IJ_TRY(gpu_program_times(s->readback_program, &last, &count, err));
    double end = last->begin + last->seconds, begin = first->begin > e->ended ? first->begin : e->ended;
    if (end > begin) e->busy += end - begin;
    e->ended = end;
    return IJ_OK;
}

/* Layers lie one behind the other on the device, side by side in the rows that are handed out. */
static void read_slot(const ij_embedder *e, const slot *s, float *out) {
    const char *results = gpu_map(s->results);
    size_t each = (size_t)ij_embedder_floats(e), dim = each / (size_t)e->layers;
    if (e->layers == 1) {
        memcpy(out, results, 4 * (size_t)s->count * each);
        return;
    }
    for (int layer = 0; layer < e->layers; layer++)
        for (int i = 0; i < s->count; i++)
            memcpy(out + (size_t)i * each + (size_t)layer * dim, results + (size_t)layer * e->layer_bytes + 4 * (size_t)i * dim, 4 * dim);
}

ij_status ij_embedder_collect(ij_embedder *e, float *out, int *count, ij_error *err) {
    assert(e->pending > 0);
    slot *s = &e->slots[(e->next + IJ_EMBED_SLOTS - e->pending) % IJ_EMBED_SLOTS];
    IJ_TRY(gpu_wait(e->device, s->ticket, err));
    e->pending--;
    IJ_TRY(count_busy(e, s, err));
    read_slot(e, s, out);
    *count = s->count;
    return IJ_OK;
}

ij_status ij_embedder_run(ij_embedder *e, const ij_jepa_image *images, int count, const void *pixels, uint64_t pixel_bytes, float *out,
                          ij_error *err) {
    assert(e->pending == 0);
    IJ_TRY(ij_embedder_submit(e, images, count, pixels, pixel_bytes, err));
    return ij_embedder_collect(e, out, &count, err);
}
