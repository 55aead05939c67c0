/* Pixels to patches.       layer: ops; uses: gpu
 *
 * Case dims: [0] batch, [1] output height, [2] width, [3] patch, [4] channels, [5] bicubic, [6] source channels,
 * [7] source height, [8] width of the first image (later ones differ a little), [9] crop: 0 whole image, 1 inner rectangle,
 * 2 inner rectangle at fractional pixels, 3 a rectangle of the output's size, [10] op_dtype of rows. */
#include "ops/patches.h"

#include <assert.h>

ij_status op_patches(gpu_program *program, const patches_desc *desc, gpu_tensor pixels, gpu_tensor crops, gpu_tensor rows, ij_error *err) {
    assert(desc->batch > 0 && desc->patch > 0 && desc->image_h % desc->patch == 0 && desc->image_w % desc->patch == 0);
    assert(desc->channels == 1 || desc->channels == 3);
    double outputs = (double)desc->batch * desc->image_h * desc->image_w * desc->channels;
    if (outputs > UINT32_MAX || desc->batch > 65535 || desc->image_h > 65535)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "patches: a batch of %lld images of %d x %d pixels is more than one dispatch can count",
                       (long long)desc->batch, desc->image_h, desc->image_w);
    struct patches_push push = {
        (uint32_t)desc->image_h, (uint32_t)desc->image_w, (uint32_t)desc->patch, (uint32_t)desc->channels, (uint32_t)(pixels.bytes / 4),
        desc->mean[0],           desc->mean[1],           desc->mean[2],         1 / desc->std[0],         1 / desc->std[1],
        1 / desc->std[2]};
    bool half = rows.element != GPU_WORD, even = !half || desc->patch % 2 == 0;
    uint64_t row_elements = (uint64_t)desc->channels * (uint64_t)desc->patch * (uint64_t)desc->patch;
    uint64_t rows_bytes = gpu_matrix_bytes(rows.element, (uint64_t)(outputs / (double)row_elements), row_elements);
    assert(rows.bytes >= rows_bytes);
    if (!even) { /* halves of words are set one by one */
        gpu_tensor written = rows;
        written.bytes = rows_bytes;
        IJ_TRY(gpu_fill(program, written, 0, err));
    }
    const gpu_tensor none = {0};
    gpu_kernel_desc kernel_desc = {
        .shader = desc->bicubic ? "patches_bicubic" : "patches_bilinear", .specs = {rows.element, even}, .spec_count = 2};
    gpu_dispatch_desc dispatch = {.label = "patches",
                                  .tensors = {pixels, crops, half ? none : rows, half ? rows : none},
                                  .tensor_count = 4,
                                  .push = &push,
                                  .push_bytes = sizeof push};
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &kernel_desc, &dispatch.kernel, err));
    dispatch.groups[0] = op_groups(desc->image_w, PATCHES_LANES);
    dispatch.groups[1] = (uint32_t)desc->image_h;
    dispatch.groups[2] = (uint32_t)desc->batch;
    dispatch.bytes = (double)rows_bytes + (double)pixels.bytes;
    dispatch.flops = 40 * outputs;
    return gpu_dispatch(program, &dispatch, err);
}

/* ---- as data ---- */

static const op_case cases[] = {
    {.name = "down_odd", .dims = {3, 12, 20, 4, 3, 0, 3, 31, 47, 1}},
    {.name = "up_odd", .dims = {2, 35, 21, 7, 3, 0, 3, 11, 13, 0}},
    {.name = "copy", .dims = {2, 16, 24, 8, 3, 0, 3, 29, 37, 3}},
    {.name = "one_pixel", .dims = {2, 6, 4, 2, 1, 0, 1, 1, 1, 0}},
    {.name = "grey_to_three", .dims = {2, 8, 8, 4, 3, 0, 1, 19, 23, 1}},
    {.name = "colour_to_grey", .dims = {3, 28, 28, 7, 1, 0, 3, 45, 33, 2}},
    {.name = "fractional", .dims = {4, 10, 15, 5, 3, 0, 3, 41, 26, 2}},
    {.name = "bicubic_down", .dims = {2, 16, 12, 4, 3, 1, 3, 53, 39, 1}},
    {.name = "bicubic_up", .dims = {2, 27, 27, 9, 1, 1, 1, 10, 14, 2}},
    {.name = "two_tiles", .dims = {1, 4, 132, 2, 3, 0, 3, 9, 301, 1}},
    {.name = "wider_than_stage", .dims = {1, 2, 4, 2, 3, 0, 3, 3, 2600, 0}},
    {.name = "f16_down", .dims = {3, 12, 20, 4, 3, 0, 3, 31, 47, 1, OP_F16}},
    {.name = "bf16_padded_rows", .dims = {2, 28, 28, 14, 3, 0, 3, 45, 33, 2, OP_BF16}},
    {.name = "f16_smallest", .dims = {2, 6, 4, 2, 1, 0, 1, 1, 1, 0, OP_F16}},
    {.name = "f16_three_tiles", .dims = {1, 4, 132, 2, 3, 1, 3, 9, 301, 1, OP_F16}},
    {.name = "bf16_patches_over_tiles", .dims = {1, 12, 132, 6, 3, 0, 1, 9, 111, 1, OP_BF16}},
    {.name = "f16_odd", .dims = {3, 28, 28, 7, 1, 0, 1, 45, 33, 2, OP_F16}},
    {.name = "f16_odd_colour", .dims = {2, 15, 10, 5, 3, 0, 3, 41, 26, 1, OP_F16}},
    {.name = "bf16_odd_tiles", .dims = {1, 9, 72, 9, 3, 1, 3, 10, 95, 0, OP_BF16}},
    {.name = "bf16_patch_of_one", .dims = {2, 3, 5, 1, 3, 0, 3, 7, 9, 0, OP_BF16}},
    {.name = "photos_to_64", .dims = {32, 64, 64, 8, 3, 0, 3, 120, 160, 1}, .large = true},
    {.name = "photos_to_224_f16", .dims = {4, 224, 224, 14, 3, 0, 3, 375, 500, 1, OP_F16}, .large = true},
    {.name = "photos_to_224", .dims = {4, 224, 224, 16, 3, 0, 3, 375, 500, 1}, .large = true},
};

static patches_desc desc_of(const op_case *c) {
    return (patches_desc){.batch = c->dims[0],
                          .image_h = (int)c->dims[1],
                          .image_w = (int)c->dims[2],
                          .patch = (int)c->dims[3],
                          .channels = (int)c->dims[4],
                          .bicubic = (int)c->dims[5],
                          .mean = {0.485f, 0.456f, 0.406f},
                          .std = {0.229f, 0.224f, 0.225f}};
}

/* The table of a case: images one behind the other, each an odd number of bytes after the one before. Returns all bytes. */
static int64_t fill_crops(const op_case *c, struct patches_crop *crops) {
    int64_t offset = 0, kind = c->dims[9];
    for (int64_t i = 0; i < c->dims[0]; i++) {
        struct patches_crop crop = {.offset = (uint32_t)offset,
                                    .width = (uint32_t)(c->dims[8] + 3 * i),
                                    .height = (uint32_t)(c->dims[7] + i),
                                    .channels = (uint32_t)c->dims[6]};
        float w = (float)crop.width, h = (float)crop.height;
        if (kind == 0)
            crop.w = w, crop.h = h;
        else if (kind == 1)
            crop.x = 2, crop.y = 1, crop.w = w - 5, crop.h = h - 1;
        else if (kind == 2)
            crop.x = 1.25f, crop.y = 0.5f, crop.w = w - 2.5f, crop.h = h - 1.75f;
        else
            crop.x = 5, crop.y = 3, crop.w = (float)c->dims[2], crop.h = (float)c->dims[1];
        offset += (int64_t)crop.width * crop.height * crop.channels + 1;
        if (crops) crops[i] = crop;
    }
    return offset - 1;
}

/* Two things err. A centre is rounded at 2^-24 of its distance from the crop's edge, twice, and so moves by up to 2^-23 max(out,
 * source) filter widths; an output moves by that times the contrast of its neighbours, below 1 / std = 4.5. And the sums. */
static double patches_tolerance(const op_case *c) {
    int64_t sizes[] = {c->dims[1], c->dims[2], c->dims[7] + c->dims[0], c->dims[8] + 3 * c->dims[0]}, most = 0;
    for (int i = 0; i < IJ_COUNT(sizes); i++) most = sizes[i] > most ? sizes[i] : most;
    return 0x1p-23 * 4.5 * (double)most + op_tolerance(64);
}

static int args_of(const op_case *c, op_arg *args) {
    args[0] = (op_arg){"pixels", OP_IN, OP_U8, fill_crops(c, NULL), 1, 0};
    args[1] = (op_arg){"crops", OP_IN, OP_U32, c->dims[0] * (int64_t)sizeof(struct patches_crop) / 4, 0, 0};
    args[2] = (op_arg){"rows",
                       OP_OUT,
                       (op_dtype)c->dims[10],
                       c->dims[0] * c->dims[1] * c->dims[2] * c->dims[4],
                       0,
                       patches_tolerance(c),
                       c->dims[4] * c->dims[3] * c->dims[3]};
    return 3;
}
static void prepare(const op_case *c, void *const *h) { fill_crops(c, h[1]); }
static ij_status record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    patches_desc desc = desc_of(c);
    return op_patches(program, &desc, t[0], t[1], t[2], err);
}
static void ref(const op_case *c, void *const *h) {
    patches_desc desc = desc_of(c);
    ref_patches(&desc, h[0], h[1], h[2]);
}
static void cost(const op_case *c, double *flops, double *bytes) {
    double outputs = (double)(c->dims[0] * c->dims[1] * c->dims[2] * c->dims[4]);
    *flops = 40 * outputs, *bytes = (c->dims[10] == OP_F32 ? 4 : 2) * outputs + (double)fill_crops(c, NULL);
}

static const op_desc ops[] = {
    {"patches", NULL, cases, IJ_COUNT(cases), args_of, prepare, record, ref, cost},
};
const op_family op_family_patches = {"patches", ops, IJ_COUNT(ops)};
