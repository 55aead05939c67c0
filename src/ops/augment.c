/* RandAugment and mirroring.       layer: ops; uses: gpu
 * Case dims: [0] batch, [1] height, [2] width, [3] patch, [4] channels, [5] op_dtype of rows, [6] first and [7] second operation (EACH:
 * picture i has kind i; DRAWN: what op_augment_draw says), [8] mirrored, [9] each picture of one value. */
#include "ops/augment.h"
#include "ops/rows.h"
#include "philox.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static uint64_t values_of(const augment_desc *d) {
    return (uint64_t)d->batch * (uint64_t)d->image_h * (uint64_t)d->image_w * (uint64_t)d->channels;
}

static uint64_t rows_bytes(const augment_desc *d, gpu_element element) {
    uint64_t columns = (uint64_t)d->channels * (uint64_t)d->patch * (uint64_t)d->patch;
    return gpu_matrix_bytes(element, values_of(d) / columns, columns);
}

uint64_t op_augment_table_bytes(const augment_desc *d) { return 4 * (uint64_t)d->batch * (uint64_t)d->channels * AUGMENT_TABLE; }

static struct augment_push push_of(const augment_desc *d, int step) {
    return (struct augment_push){(uint32_t)d->batch, (uint32_t)d->image_h, (uint32_t)d->image_w, (uint32_t)d->channels, (uint32_t)step,
                                 (uint32_t)d->patch, 255 * d->mean[0],     255 * d->mean[1],     255 * d->mean[2],      d->mean[0],
                                 d->mean[1],         d->mean[2],           1 / d->std[0],        1 / d->std[1],         1 / d->std[2]};
}

/* What step `step` must know of whole pictures, in `from`, into the table. */
static ij_status record_stats(gpu_program *program, const augment_desc *d, const augment_tensors *t, gpu_tensor from, int step,
                              ij_error *err) {
    struct augment_push push = push_of(d, step);
    gpu_kernel_desc kernel = {.shader = "augment_stats"};
    gpu_dispatch_desc dispatch = {.label = "augment_stats",
                                  .tensors = {from, t->steps, t->table},
                                  .tensor_count = 3,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {(uint32_t)d->batch},
                                  .flops = 4.0 * (double)values_of(d),
                                  .bytes = 4.0 * (double)values_of(d)};
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &kernel, &dispatch.kernel, err));
    return gpu_dispatch(program, &dispatch, err);
}

/* Applies it: a picture again, or with the last step patch rows. */
static ij_status record_step(gpu_program *program, const augment_desc *d, const augment_tensors *t, gpu_tensor from, gpu_tensor to,
                             int step, ij_error *err) {
    bool rows = step == AUGMENT_STEPS - 1;
    struct augment_push push = push_of(d, step);
    uint64_t all = values_of(d), lanes = rows ? rows_bytes(d, to.element) / 4 : all / (uint64_t)d->channels;
    gpu_kernel_desc kernel = {.shader = rows ? "augment_rows" : "augment_picture", .specs = {to.element}, .spec_count = rows ? 1 : 0};
    gpu_dispatch_desc dispatch = {.label = rows ? "augment_rows" : "augment",
                                  .tensors = {from, t->steps, t->table, to},
                                  .tensor_count = 4,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .flops = 20.0 * (double)all,
                                  .bytes = 4.0 * (double)all + (double)to.bytes};
    rows_groups(dispatch.groups, op_groups((int64_t)lanes, AUGMENT_LANES));
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &kernel, &dispatch.kernel, err));
    return gpu_dispatch(program, &dispatch, err);
}

ij_status op_augment(gpu_program *program, const augment_desc *d, const augment_tensors *t, ij_error *err) {
    uint64_t all = values_of(d);
    assert(d->batch > 0 && d->patch > 0 && d->image_h % d->patch == 0 && d->image_w % d->patch == 0);
    assert((d->channels == 1 || d->channels == 3) && t->pixels.bytes >= 4 * all && t->between.bytes >= 4 * all);
    assert(t->table.bytes >= op_augment_table_bytes(d) &&
           t->steps.bytes >= (uint64_t)d->batch * AUGMENT_STEPS * sizeof(struct augment_step));
    assert(t->rows.bytes >= rows_bytes(d, t->rows.element));
    if (all > UINT32_MAX || d->batch > 65535)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "augment: a batch of %lld images of %d x %d pixels is more than one dispatch can count",
                       (long long)d->batch, d->image_h, d->image_w);
    IJ_TRY(record_stats(program, d, t, t->pixels, 0, err));
    IJ_TRY(record_step(program, d, t, t->pixels, t->between, 0, err));
    IJ_TRY(record_stats(program, d, t, t->between, 1, err));
    return record_step(program, d, t, t->between, t->rows, 1, err);
}

/* ---- drawing ---- */

/* The fifteen of RandAugment, in timm's order. */
enum draw_kind {
    DRAW_AUTOCONTRAST,
    DRAW_EQUALIZE,
    DRAW_INVERT,
    DRAW_ROTATE,
    DRAW_POSTERIZE,
    DRAW_SOLARIZE,
    DRAW_SOLARIZE_ADD,
    DRAW_COLOR,
    DRAW_CONTRAST,
    DRAW_BRIGHTNESS,
    DRAW_SHARPNESS,
    DRAW_SHEAR_X,
    DRAW_SHEAR_Y,
    DRAW_TRANSLATE_X,
    DRAW_TRANSLATE_Y,
    DRAW_COUNT
};

static struct augment_step affine_step(double a, double b, double c, double d, double e, double f) {
    return (struct augment_step){.kind = AUGMENT_AFFINE, .v = {(float)a, (float)b, (float)c, (float)d, (float)e, (float)f}};
}

/* About the picture's centre. */
static struct augment_step turn(double degrees, int height, int width) {
    double angle = degrees * 3.14159265358979323846 / 180, cosine = cos(angle), sine = sin(angle), x = width / 2.0, y = height / 2.0;
    return affine_step(cosine, sine, x - cosine * x - sine * y, -sine, cosine, y + sine * x - cosine * y);
}

/* level: 0 .. 10; sign: which way, where there are two. Ranges are timm's. */
static struct augment_step step_of(int kind, double level, double sign, int height, int width) {
    static const uint32_t plain[DRAW_COUNT] = {[DRAW_AUTOCONTRAST] = AUGMENT_AUTOCONTRAST,
                                               [DRAW_EQUALIZE] = AUGMENT_EQUALIZE,
                                               [DRAW_INVERT] = AUGMENT_INVERT,
                                               [DRAW_POSTERIZE] = AUGMENT_POSTERIZE,
                                               [DRAW_SOLARIZE] = AUGMENT_SOLARIZE,
                                               [DRAW_SOLARIZE_ADD] = AUGMENT_SOLARIZE_ADD,
                                               [DRAW_COLOR] = AUGMENT_COLOR,
                                               [DRAW_CONTRAST] = AUGMENT_CONTRAST,
                                               [DRAW_BRIGHTNESS] = AUGMENT_BRIGHTNESS,
                                               [DRAW_SHARPNESS] = AUGMENT_SHARPNESS};
    double part = level / 10;
    struct augment_step s = {.kind = plain[kind]};
    switch (kind) {
    case DRAW_ROTATE: return turn(sign * part * 30, height, width);
    case DRAW_SHEAR_X: return affine_step(1, sign * part * 0.3, 0, 0, 1, 0);
    case DRAW_SHEAR_Y: return affine_step(1, 0, 0, sign * part * 0.3, 1, 0);
    case DRAW_TRANSLATE_X: return affine_step(1, 0, sign * part * 0.45 * width, 0, 1, 0);
    case DRAW_TRANSLATE_Y: return affine_step(1, 0, 0, 0, 1, sign * part * 0.45 * height);
    case DRAW_POSTERIZE: s.v[0] = (float)(16 << (int)(part * 4)); break; /* 4 - (int)(4 part) bits are kept */
    case DRAW_SOLARIZE: s.v[0] = (float)(256 - (int)(part * 256)); break;
    case DRAW_SOLARIZE_ADD: s.v[0] = (float)(int)(part * 110); break;
    default: s.v[0] = (float)fmax(0.1, 1 + sign * part * 0.9);
    }
    return s;
}

void op_augment_draw(const augment_recipe *r, uint64_t seed, uint32_t epoch, uint64_t sample, int height, int width,
                     struct augment_step out[AUGMENT_STEPS]) {
    double magnitude = r->magnitude != 0 ? r->magnitude : 9, spread = r->magnitude_std != 0 ? r->magnitude_std : 0.5;
    memset(out, 0, AUGMENT_STEPS * sizeof *out);
    for (uint32_t i = 0; i < AUGMENT_STEPS && r->randaugment; i++) {
        philox_words w[2];
        for (uint32_t k = 0; k < 2; k++)
            w[k] = philox((uint32_t)seed, (uint32_t)(seed >> 32), PHILOX_STREAM_AUGMENT, (uint32_t)sample, (uint32_t)(sample >> 32),
                          epoch << 16 | (1 + 2 * i + k));
        double u = ((double)w[0].z + 1) / 4294967297.0, v = (double)w[0].w / 4294967296.0;
        double level = magnitude + spread * sqrt(-2 * log(u)) * cos(6.283185307179586477 * v);
        if (w[0].x & 1)
            out[i] = step_of((int)philox_below(w[0].y, DRAW_COUNT), fmin(fmax(level, 0), 10), w[1].x & 1 ? -1 : 1, height, width);
    }
    philox_words w =
        philox((uint32_t)seed, (uint32_t)(seed >> 32), PHILOX_STREAM_AUGMENT, (uint32_t)sample, (uint32_t)(sample >> 32), epoch << 16);
    out[0].flip = r->flip && (w.x & 1);
}

/* ---- as data ---- */

enum { EACH = -1, DRAWN = -2 };

static const op_case cases[] = {
    {.name = "none", .dims = {2, 6, 10, 2, 3, OP_F32, AUGMENT_NONE, AUGMENT_NONE}},
    {.name = "each_first", .dims = {AUGMENT_KINDS, 21, 14, 7, 3, OP_F32, EACH, AUGMENT_INVERT}},
    {.name = "each_second_mirrored", .dims = {AUGMENT_KINDS, 20, 30, 5, 3, OP_F32, AUGMENT_INVERT, EACH, 1}},
    {.name = "each_grey", .dims = {AUGMENT_KINDS, 28, 28, 7, 1, OP_F32, EACH, AUGMENT_BRIGHTNESS, 1}},
    {.name = "each_one_value", .dims = {AUGMENT_KINDS, 9, 6, 3, 3, OP_F32, EACH, AUGMENT_NONE, 0, 1}},
    {.name = "equalize_many", .dims = {1, 64, 48, 8, 3, OP_F32, AUGMENT_EQUALIZE, AUGMENT_SHARPNESS}},
    {.name = "one_pixel", .dims = {AUGMENT_KINDS, 1, 1, 1, 1, OP_F32, EACH, AUGMENT_NONE}},
    {.name = "two_lines", .dims = {AUGMENT_KINDS, 2, 13, 1, 3, OP_F32, EACH, AUGMENT_NONE, 1}},
    {.name = "f16_odd_patch", .dims = {3, 21, 14, 7, 3, OP_F16, AUGMENT_AFFINE, AUGMENT_CONTRAST, 1}},
    {.name = "bf16_padded_rows", .dims = {2, 28, 28, 14, 3, OP_BF16, AUGMENT_EQUALIZE, AUGMENT_AFFINE}},
    {.name = "f16_patch_of_one", .dims = {2, 3, 5, 1, 1, OP_F16, AUGMENT_SOLARIZE, AUGMENT_INVERT}},
    {.name = "drawn", .dims = {61, 16, 16, 4, 3, OP_F32, DRAWN, DRAWN}},
    {.name = "photos_224_f16", .dims = {8, 224, 224, 14, 3, OP_F16, DRAWN, DRAWN}, .large = true},
};

static augment_desc desc_of(const op_case *c) {
    return (augment_desc){.batch = c->dims[0],
                          .image_h = (int)c->dims[1],
                          .image_w = (int)c->dims[2],
                          .patch = (int)c->dims[3],
                          .channels = (int)c->dims[4],
                          .mean = {0.485f, 0.456f, 0.406f},
                          .std = {0.229f, 0.224f, 0.225f}};
}

/* An operation that rounds to whole values: behind one that leaves fractions, the last bit may decide. */
static bool rounds(const struct augment_step *s) {
    return s->kind == AUGMENT_EQUALIZE || s->kind == AUGMENT_POSTERIZE || s->kind == AUGMENT_SOLARIZE || s->kind == AUGMENT_SOLARIZE_ADD;
}

static void case_steps(const op_case *c, int64_t image, struct augment_step out[AUGMENT_STEPS]) {
    static const float numbers[AUGMENT_KINDS] = {
        [AUGMENT_POSTERIZE] = 32,  [AUGMENT_SOLARIZE] = 97,     [AUGMENT_SOLARIZE_ADD] = 83, [AUGMENT_COLOR] = 0.3f,
        [AUGMENT_CONTRAST] = 1.7f, [AUGMENT_BRIGHTNESS] = 1.6f, [AUGMENT_SHARPNESS] = 1.8f};
    int height = (int)c->dims[1], width = (int)c->dims[2];
    if (c->dims[6] == DRAWN) {
        op_augment_draw(&(augment_recipe){.flip = true, .randaugment = true}, 7, 3, (uint64_t)image, height, width, out);
        if (rounds(&out[1])) out[1] = (struct augment_step){0};
        return;
    }
    for (int s = 0; s < AUGMENT_STEPS; s++) {
        int64_t kind = c->dims[6 + s] == EACH ? image % AUGMENT_KINDS : c->dims[6 + s];
        out[s] = kind == AUGMENT_AFFINE ? turn(27.3, height, width) : (struct augment_step){.kind = (uint32_t)kind, .v = {numbers[kind]}};
    }
    out[0].flip = c->dims[8] != 0;
}

/* A place in a picture is rounded at 2^-24 of its size, some three times over, and a value moves by that times 255, the greatest
 * contrast of neighbours; 1 / std makes it 4.5. And the sums. */
static double augment_tolerance(const op_case *c) {
    int64_t most = c->dims[1] > c->dims[2] ? c->dims[1] : c->dims[2];
    return 0x1p-22 * 4.5 * (double)(most + 16) + op_tolerance(64);
}

static int args_of(const op_case *c, op_arg *args) {
    augment_desc d = desc_of(c);
    int64_t values = (int64_t)values_of(&d), row = c->dims[3] * c->dims[3] * c->dims[4];
    args[0] = (op_arg){"pixels", OP_IN, OP_F32, values, 1, 0};
    args[1] = (op_arg){"steps", OP_IN, OP_U32, d.batch * AUGMENT_STEPS * (int64_t)sizeof(struct augment_step) / 4, 0, 0};
    args[2] = (op_arg){"between", OP_SCRATCH, OP_F32, values, 0, 0};
    args[3] = (op_arg){"table", OP_SCRATCH, OP_F32, (int64_t)op_augment_table_bytes(&d) / 4, 0, 0};
    args[4] = (op_arg){"rows", OP_OUT, (op_dtype)c->dims[5], values, 0, augment_tolerance(c), row};
    return 5;
}

/* Pictures of whole values, as a decoder gives them: where a rule rounds, device and reference round alike. */
static void prepare(const op_case *c, void *const *h) {
    augment_desc d = desc_of(c);
    double *pixels = h[0];
    int64_t values = (int64_t)values_of(&d), size = values / d.batch;
    for (int64_t i = 0; i < values; i++) {
        double v = c->dims[9] ? 40 + 3 * (double)(i / size) : 120 + 60 * pixels[i];
        pixels[i] = fmin(fmax(floor(v), 0), 255);
    }
    for (int64_t i = 0; i < d.batch; i++) case_steps(c, i, (struct augment_step *)h[1] + i * AUGMENT_STEPS);
}
static ij_status record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    augment_desc d = desc_of(c);
    return op_augment(program, &d, &(augment_tensors){.pixels = t[0], .steps = t[1], .between = t[2], .table = t[3], .rows = t[4]}, err);
}
static void ref(const op_case *c, void *const *h) {
    augment_desc d = desc_of(c);
    ref_augment(&d, h[0], h[1], h[4]);
}
static void cost(const op_case *c, double *flops, double *bytes) {
    augment_desc d = desc_of(c);
    *flops = 48 * (double)values_of(&d), *bytes = (20 + (c->dims[5] == OP_F32 ? 4.0 : 2.0)) * (double)values_of(&d);
}

static const op_desc ops[] = {
    {"augment", NULL, cases, IJ_COUNT(cases), args_of, prepare, record, ref, cost},
};
const op_family op_family_augment = {"augment", ops, IJ_COUNT(ops)};
