/* How a picture becomes the encoder's input, beside mean and deviation.       layer: data; uses: crop, io, base
 *
 * A trained model expects pictures resized as they were when it was trained, and pipelines differ in three things:
 *
 *   resize     trained   as this project trains and evaluates: the whole picture where training took whole pictures (and of IDX files),
 *                        else the centre: the short side to 256 / 224 of the input's, of which the centre is kept
 *              exact     to height x width, whatever the picture's shape: Hugging Face's ViTImageProcessor, torchvision's Resize((h, w))
 *              shorter   the shorter side to `shorter`, the longer one in proportion (rounded down), then a centre crop of height x width:
 *                        torchvision's Resize(shorter) and CenterCrop((h, w)), timm, the published evaluations
 *   filter     bilinear (a triangle) or bicubic (Keys, a = -1/2); both stretched when shrinking, which is what "antialias" means
 *   resampler  device       floats, on the device, with the cut into patches in one pass: torchvision on float tensors. `shorter` takes the
 *                           rectangle of the picture that would remain, with windows cut at its edge as training's crops are
 *              pil          8 bits, on the host, bit for bit PIL's Image.resize: ViTImageProcessor, and torchvision given PIL pictures
 *              torchvision  8 bits, on the host, torchvision on uint8 tensors with antialias=True: ViTImageProcessorFast
 *
 * The 8-bit resamplers round after each direction, so they differ from the device's floats by up to about one of 255 steps; features of
 * published models differ accordingly. They have no rectangle: with them, `trained` is `exact` where it is the whole picture and
 * `shorter` 256 / 224 of the size where it is the centre. Grey pictures are resized grey and repeated on the device.
 *
 * A model file says what its model was trained with (data.resize and the keys beside it in the configuration); options override it.
 * Training itself crops at random, on the device, in any case. */
#ifndef IJ_DATA_PREPROCESS_H
#define IJ_DATA_PREPROCESS_H

#include "base/error.h"
#include "data/crop.h"
#include "io/resample.h"

#include <stdbool.h>

typedef enum ij_resize { IJ_RESIZE_TRAINED, IJ_RESIZE_EXACT, IJ_RESIZE_SHORTER, IJ_RESIZE_COUNT } ij_resize;
typedef enum ij_resampler { IJ_RESAMPLER_DEVICE, IJ_RESAMPLER_PIL, IJ_RESAMPLER_TORCHVISION, IJ_RESAMPLER_COUNT } ij_resampler;

extern const char *const ij_resize_names[IJ_RESIZE_COUNT];       /* "trained", "exact", "shorter" */
extern const char *const ij_filter_names[IJ_FILTER_COUNT];       /* "bilinear", "bicubic" */
extern const char *const ij_resampler_names[IJ_RESAMPLER_COUNT]; /* "device", "pil", "torchvision" */

typedef struct ij_preprocess {
    ij_resize resize;
    int shorter;       /* of IJ_RESIZE_SHORTER [the input's shorter side x 256 / 224] */
    int height, width; /* of the encoder's input where it is not the model's own image size [0: that] */
    ij_filter filter;
    ij_resampler resampler;
} ij_preprocess; /* zeroed: as this project trains */

/* What a user asks for instead; NULL and 0: what the model says. */
typedef struct ij_preprocess_wish {
    const char *resize; /* "trained", "exact", "shorter", "shorter:256" */
    const char *filter, *resampler;
    int height, width; /* of the encoder's input */
} ij_preprocess_wish;

/* What is to be done, every size settled: height and width are the input's, shorter is set. trained: as the model's file says; its shorter side
 * grows with the input's size unless the wish names one. Names that do not exist, and a shorter side below height or width, fail. */
ij_status ij_preprocess_settle(const ij_preprocess *trained, const ij_preprocess_wish *wish, int model_height, int model_width,
                               ij_preprocess *out, ij_error *err);

/* 8 bits on the host: the device then sees height x width pixels and copies them. */
static inline bool ij_preprocess_on_host(const ij_preprocess *settled) { return settled->resampler != IJ_RESAMPLER_DEVICE; }

/* One picture, cut or resized as settled says, into *out ([height, width, channels]; grown, the caller's), and the rectangle of it that is the
 * input. whole: what "trained" means. On the device's way more than cap_bytes are averaged down (ij_crop_cut); the host's
 * result, height x width, must fit them. scratch is reused from call to call. */
ij_status ij_preprocess_cut(const ij_preprocess *settled, bool whole, const ij_image *image, int64_t cap_bytes, ij_image *scratch,
                            uint8_t **out, int64_t *capacity, ij_crop *crop, int *width, int *height, ij_error *err);

#endif
