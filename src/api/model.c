/* Features of single pictures.       layer: api; uses: base, io, data, gpu, model, train */
#include "api/api.h"
#include "base/memory.h"
#include "data/preprocess.h"
#include "io/image.h"
#include "model/embed.h"
#include "model/positions.h"
#include "train/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_DEFAULT 32
#define BATCH_MAX 4096
#define PIXEL_BYTES_MAX ((int64_t)128 << 20) /* of a batch on its way to the device */
#define PICTURE_BYTES_MAX ((int64_t)4 << 20) /* of one picture in it; a larger one is averaged down, as it was in training */

struct ijepa_model {
    ijepa_model_info info;
    ij_train_config config; /* what it was trained with; its image size is what was asked for */
    ijepa_context *context; /* held; NULL: none */
    gpu_device *device;
    ij_precision precision;
    ij_embed_output pooled; /* IJ_EMBED_LAST or IJ_EMBED_LAST4 */
    bool use_context;       /* the context encoder */
    bool lent;              /* device and weights are somebody else's, and ijepa_model_close does nothing */
    ij_weights *weights;
    ij_embedder *embedders[IJ_EMBED_TOKENS + 1]; /* of each output that was asked for */
    int batch;
    int64_t picture_bytes;    /* a multiple of 16 */
    ij_jepa_image *places;    /* [batch] */
    uint8_t *pixels;          /* [batch, picture_bytes] */
    ij_preprocess preprocess; /* settled */
    ij_image decoded, padded, resized;
    uint8_t *cut; /* of the picture at hand */
    int64_t cut_capacity;
};

/* Made when it is first asked for: most callers want pooled features alone. */
static ij_status need_embedder(ijepa_model *m, ij_embed_output output, ij_error *err) {
    const ij_train_config *c = &m->config;
    if (m->embedders[output]) return IJ_OK;
    ij_embed_desc desc = {.model = c->model,
                          .batch = m->batch,
                          .pixel_bytes = (uint64_t)(m->batch * m->picture_bytes),
                          .output = output,
                          .context = m->use_context,
                          .filter = m->preprocess.filter};
    memcpy(desc.mean, c->mean, sizeof desc.mean);
    memcpy(desc.std, c->std, sizeof desc.std);
    return ij_embedder_create(m->device, &desc, m->weights, &m->embedders[output], err);
}

static ij_status make_room(ijepa_model *m, ij_error *err) {
    int64_t limit = PIXEL_BYTES_MAX;
    if (gpu_device_info(m->device)->range_max < (uint64_t)limit) limit = (int64_t)gpu_device_info(m->device)->range_max;
    m->picture_bytes = limit / m->batch / 16 * 16;
    if (m->picture_bytes > PICTURE_BYTES_MAX) m->picture_bytes = PICTURE_BYTES_MAX;
    int64_t need = 3 * (int64_t)m->preprocess.width * m->preprocess.height;
    if (ij_preprocess_on_host(&m->preprocess) && m->picture_bytes < need)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "a batch of %d pictures of %d x %d is more than %lld MiB of pixels; there is room for %lld",
                       m->batch, m->preprocess.height, m->preprocess.width, (long long)(limit >> 20), (long long)(limit / (need + 15)));
    IJ_TRY(ij_alloc(&m->places, m->batch, sizeof *m->places, "pictures", err));
    return ij_alloc(&m->pixels, m->batch, (size_t)m->picture_bytes, "pixels of a batch", err);
}

static ij_status open_encoder(ijepa_model *m, const char *checkpoint, const gpu_device_desc *desc, ij_error *err) {
    const ij_train_config *c = &m->config;
    gpu_element element;
    IJ_TRY(gpu_device_open(desc, &m->device, err));
    IJ_TRY(make_room(m, err));
    IJ_TRY(ij_precision_resolve(m->device, m->precision, &element, NULL, 0, err));
    IJ_TRY(ij_weights_create(m->device, &c->model, m->use_context ? IJ_KEEP_CONTEXT : IJ_KEEP_TARGET, &m->weights, err));
    IJ_TRY(ij_weights_keep_half(m->weights, element, err));
    IJ_TRY(ij_weights_commit(m->weights, err));
    return ij_checkpoint_read(checkpoint, m->weights, err);
}

static void fill_info(ijepa_model *m, int64_t step) {
    const ij_model_config *c = &m->config.model;
    int layers = c->depth < IJ_EMBED_LAYERS ? c->depth : IJ_EMBED_LAYERS;
    m->info = (ijepa_model_info){.image_height = c->image_height,
                                 .image_width = c->image_width,
                                 .channels = c->channels,
                                 .patch_size = c->patch_size,
                                 .patches = ij_patches(c),
                                 .dim = c->dim,
                                 .depth = c->depth,
                                 .heads = c->heads,
                                 .parameters = m->weights->table.encoder_elements,
                                 .step = step,
                                 .features = m->pooled == IJ_EMBED_LAST4 ? layers * c->dim : c->dim};
    memcpy(m->info.mean, m->config.mean, sizeof m->info.mean);
    memcpy(m->info.std, m->config.std, sizeof m->info.std);
}

static ij_status open_model(ijepa_model *m, const char *path, const ijepa_model_options *o, ij_error *err) {
    char checkpoint[4600], notes[2048];
    int64_t step;
    gpu_device_desc desc = api_device_desc(&o->device);
    ij_model_config *c = &m->config.model;
    IJ_TRY(ij_checkpoint_find(path, checkpoint, sizeof checkpoint, NULL, 0, err));
    IJ_TRY(ij_checkpoint_describe(checkpoint, &m->config, &step, notes, sizeof notes, err));
    for (char *rest, *line = strtok_r(notes, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        api_log(m->context, IJEPA_LOG_WARNING, line);
    ij_preprocess_wish wish = {o->whole && !o->resize ? "exact" : o->resize, o->filter, o->resampler, o->height, o->width};
    IJ_TRY(ij_preprocess_settle(&m->config.preprocess, &wish, c->image_height, c->image_width, &m->preprocess, err));
    const ij_model_config trained = *c;
    c->image_height = m->preprocess.height, c->image_width = m->preprocess.width;
    IJ_TRY(ij_model_check(c, err));
    IJ_TRY(open_encoder(m, checkpoint, &desc, err));
    IJ_TRY(ij_weights_choose_positions(m->weights, o->positions, &trained, c, err));
    IJ_TRY(need_embedder(m, m->pooled, err));
    fill_info(m, step);
    return IJ_OK;
}

static ij_status read_options(ijepa_model *m, const ijepa_model_options *o, ij_error *err) {
    static const char *const layers[] = {"last", "last4"}, *const encoders[] = {"target", "context"};
    int four, context;
    IJ_TRY(api_choose(o->layers, "layers", layers, 2, &four, err));
    IJ_TRY(api_choose(o->encoder, "encoder", encoders, 2, &context, err));
    m->use_context = context;
    m->pooled = four ? IJ_EMBED_LAST4 : IJ_EMBED_LAST;
    m->batch = o->batch ? o->batch : BATCH_DEFAULT;
    return o->precision ? ij_precision_find(o->precision, &m->precision, err) : IJ_OK;
}

ijepa_status ijepa_model_open_with(const char *path, const ijepa_model_options *options, ijepa_model **out, ijepa_error *err) {
    API_NEED(out);
    *out = NULL;
    API_NEED(path);
    static const ijepa_model_options defaults = {0};
    if (!options) options = &defaults;
    if (options->batch < 0 || options->batch > BATCH_MAX) return api_range(__func__, "batch", options->batch, "0 to 4096", err);
    if (options->height < 0) return api_range(__func__, "height", options->height, "0 or more", err);
    if (options->width < 0) return api_range(__func__, "width", options->width, "0 or more", err);
    API_CONTEXT(&options->device);
    ij_error ours = {0};
    ijepa_model *model;
    ij_status status = ij_alloc(&model, 1, sizeof *model, "model", &ours);
    if (status != IJ_OK) return api_result(status, &ours, err);
    model->precision = IJ_PRECISION_F32;
    model->context = api_context_hold(options->device.context);
    status = read_options(model, options, &ours);
    if (status == IJ_OK) status = open_model(model, path, options, &ours);
    if (status == IJ_OK)
        *out = model;
    else
        api_model_destroy(model);
    return api_result(status, &ours, err);
}

ijepa_status ijepa_model_open(const char *path, const ijepa_device_options *device, int batch, ijepa_model **out, ijepa_error *err) {
    ijepa_model_options options = {.batch = batch};
    if (device) options.device = *device;
    return ijepa_model_open_with(path, &options, out, err);
}

ij_status api_model_lend(const ij_trainer_view *view, ijepa_model **out, ij_error *err) {
    *out = NULL;
    ijepa_model *model;
    IJ_TRY(ij_alloc(&model, 1, sizeof *model, "model", err));
    model->lent = true;
    model->config = *view->config;
    model->device = view->device, model->weights = view->weights;
    model->pooled = IJ_EMBED_LAST;
    model->batch = BATCH_DEFAULT;
    fill_info(model, view->step);
    const ij_model_config *c = &model->config.model;
    ij_status status =
        ij_preprocess_settle(&view->config->preprocess, &(ij_preprocess_wish){0}, c->image_height, c->image_width, &model->preprocess, err);
    if (status == IJ_OK) status = make_room(model, err);
    if (status == IJ_OK)
        *out = model;
    else
        api_model_destroy(model);
    return status;
}

void api_model_set_step(ijepa_model *model, int64_t step) { model->info.step = step; }

void ijepa_model_close(ijepa_model *model) {
    if (model && !model->lent) api_model_destroy(model);
}

void api_model_destroy(ijepa_model *model) {
    if (!model) return;
    for (int i = 0; i < IJ_COUNT(model->embedders); i++) ij_embedder_destroy(model->embedders[i]);
    if (!model->lent) {
        ij_weights_destroy(model->weights);
        gpu_device_close(model->device);
    }
    api_context_release(model->context);
    ij_image_free(&model->decoded);
    ij_image_free(&model->padded);
    ij_image_free(&model->resized);
    free(model->places);
    free(model->pixels);
    free(model->cut);
    free(model);
}

void ijepa_model_describe(const ijepa_model *model, ijepa_model_info *info) {
    if (info) *info = model ? model->info : (ijepa_model_info){0};
}

/* ---- encoding ---- */

/* Puts a small picture into the middle of a black one of pad_to x pad_to, as its data set was (IDX files). */
static ij_status pad(ijepa_model *m, const ij_image *image, const ij_image **out, ij_error *err) {
    int side = m->config.pad_to, channels = image->channels;
    *out = image;
    if (image->width >= side || image->height >= side) return IJ_OK;
    IJ_TRY(ij_image_resize(&m->padded, side, side, channels, "padded picture", err));
    memset(m->padded.pixels, 0, (size_t)side * (size_t)side * (size_t)channels);
    int left = (side - image->width) / 2, top = (side - image->height) / 2;
    for (int y = 0; y < image->height; y++)
        memcpy(m->padded.pixels + (((size_t)(top + y) * (size_t)side) + (size_t)left) * (size_t)channels,
               image->pixels + (size_t)y * (size_t)image->width * (size_t)channels, (size_t)image->width * (size_t)channels);
    *out = &m->padded;
    return IJ_OK;
}

/* Puts the part of the picture that is used into place `at` of the batch, resized already where that is the host's. */
static ij_status place_picture(ijepa_model *m, const ij_image *image, int at, ij_error *err) {
    ij_jepa_image *place = &m->places[at];
    IJ_TRY(pad(m, image, &image, err));
    ij_crop crop;
    place->offset = (uint64_t)at * (uint64_t)m->picture_bytes;
    place->channels = image->channels;
    IJ_TRY(ij_preprocess_cut(&m->preprocess, !m->config.random_crop, image, m->picture_bytes, &m->resized, &m->cut, &m->cut_capacity, &crop,
                             &place->width, &place->height, err));
    memcpy(m->pixels + place->offset, m->cut, (size_t)place->width * (size_t)place->height * (size_t)place->channels);
    place->crop_x = crop.x, place->crop_y = crop.y, place->crop_w = crop.w, place->crop_h = crop.h;
    return IJ_OK;
}

static ij_status run(ijepa_model *m, int count, bool pooled, float *features, ij_error *err) {
    ij_embed_output output = pooled ? m->pooled : IJ_EMBED_TOKENS;
    IJ_TRY(need_embedder(m, output, err));
    return ij_embedder_run(m->embedders[output], m->places, count, m->pixels, (uint64_t)(count * m->picture_bytes), features, err);
}

/* Of one picture. */
static size_t floats_of(const ijepa_model *m, bool pooled) {
    return pooled ? (size_t)m->info.features : (size_t)m->info.dim * (size_t)m->info.patches;
}

static ij_status encode_files(ijepa_model *m, const char *const *paths, int64_t count, bool pooled, float *features, ij_error *err) {
    size_t each = floats_of(m, pooled);
    for (int64_t begin = 0; begin < count; begin += m->batch) {
        int here = count - begin < m->batch ? (int)(count - begin) : m->batch;
        for (int i = 0; i < here; i++) {
            IJ_TRY(ij_image_read(paths[begin + i], m->info.channels, &m->decoded, err));
            IJ_TRY(place_picture(m, &m->decoded, i, err));
        }
        IJ_TRY(run(m, here, pooled, features + (size_t)begin * each, err));
    }
    return IJ_OK;
}

ijepa_status ijepa_model_encode_files(ijepa_model *model, const char *const *paths, int64_t count, bool pooled, float *features,
                                      ijepa_error *err) {
    API_NEED(model);
    API_NEED(paths);
    API_NEED(features);
    if (count < 0) return api_range(__func__, "count", (double)count, "0 or more", err);
    for (int64_t i = 0; i < count; i++) API_NEED(paths[i]);
    ij_error ours = {0};
    ij_status status = encode_files(model, paths, count, pooled, features, &ours);
    return api_result(status, &ours, err);
}

ijepa_status ijepa_model_encode_file(ijepa_model *model, const char *path, bool pooled, float *features, ijepa_error *err) {
    API_NEED(path);
    return ijepa_model_encode_files(model, &path, 1, pooled, features, err);
}

/* ---- pixels in memory ---- */

static ij_status check_image(const ijepa_image *image, int64_t number, ij_error *err) {
    int height = image->height, width = image->width, channels = image->channels;
    int64_t row = (int64_t)width * channels, stride = image->stride_bytes;
    bool possible = height > 0 && width > 0 && height <= IJ_IMAGE_SIDE_MAX && width <= IJ_IMAGE_SIDE_MAX &&
                    (int64_t)height * width <= IJ_IMAGE_PIXELS_MAX;
    if (!image->pixels) return ij_fail(err, IJ_ERROR_ARGUMENT, "picture %lld: pixels is NULL", (long long)number);
    if (!possible || (channels != 1 && channels != 3))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "picture %lld: pixels [%d, %d, %d]: a picture of 1 or 3 channels is expected",
                       (long long)number, height, width, channels);
    if (stride && stride < row && stride > -row)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "picture %lld: %lld bytes from row to row, a row has %lld", (long long)number,
                       (long long)stride, (long long)row);
    return IJ_OK;
}

/* The picture as it is where its rows follow each other, else a copy in m->decoded. */
static ij_status gather(ijepa_model *m, const ijepa_image *image, ij_image *out, ij_error *err) {
    int64_t row = (int64_t)image->width * image->channels, stride = image->stride_bytes;
    if (!stride || stride == row) {
        *out = (ij_image){.pixels = (uint8_t *)image->pixels, .width = image->width, .height = image->height, .channels = image->channels};
        return IJ_OK; /* only read */
    }
    IJ_TRY(ij_image_resize(&m->decoded, image->width, image->height, image->channels, "picture", err));
    for (int64_t y = 0; y < image->height; y++) memcpy(m->decoded.pixels + y * row, image->pixels + y * stride, (size_t)row);
    *out = m->decoded;
    return IJ_OK;
}

static ij_status encode_images(ijepa_model *m, const ijepa_image *images, int64_t count, bool pooled, float *features, ij_error *err) {
    size_t each = floats_of(m, pooled);
    for (int64_t i = 0; i < count; i++) IJ_TRY(check_image(&images[i], i, err));
    for (int64_t begin = 0; begin < count; begin += m->batch) {
        int here = count - begin < m->batch ? (int)(count - begin) : m->batch;
        for (int i = 0; i < here; i++) {
            ij_image image;
            IJ_TRY(gather(m, &images[begin + i], &image, err));
            IJ_TRY(place_picture(m, &image, i, err));
        }
        IJ_TRY(run(m, here, pooled, features + (size_t)begin * each, err));
    }
    return IJ_OK;
}

ijepa_status ijepa_model_encode_images(ijepa_model *model, const ijepa_image *images, int64_t count, bool pooled, float *features,
                                       ijepa_error *err) {
    API_NEED(model);
    API_NEED(images);
    API_NEED(features);
    if (count < 0) return api_range(__func__, "count", (double)count, "0 or more", err);
    ij_error ours = {0};
    ij_status status = encode_images(model, images, count, pooled, features, &ours);
    return api_result(status, &ours, err);
}

ijepa_status ijepa_model_encode(ijepa_model *model, const uint8_t *pixels, int height, int width, int channels, bool pooled,
                                float *features, ijepa_error *err) {
    API_NEED(pixels);
    return ijepa_model_encode_images(model, &(ijepa_image){.pixels = pixels, .height = height, .width = width, .channels = channels}, 1,
                                     pooled, features, err);
}
