/* Pictures on their way to the encoder: resizing as PIL and torchvision do it (tests/peers_preprocess.py made tests/data/preprocess.safetensors,
 * and a larger file at $IJEPA_PEER_PREPROCESS), the parts that pipelines keep, the device's copy of what the host resized, and positions. */
#include "suites.h"
#include "data/preprocess.h"
#include "io/safetensors.h"
#include "model/embed.h"
#include "model/positions.h"

#include <math.h>
#include <string.h>

static const char *peer_file(void) {
    const char *path = getenv("IJEPA_PEER_PREPROCESS");
    return path ? path : IJ_TEST_DATA "/preprocess.safetensors";
}

static ij_safetensors *open_peers(void) {
    ij_error err = {0};
    ij_safetensors *file;
    CHECK_OK(ij_safetensors_open(peer_file(), &file, &err));
    return file;
}

static ij_image image_of(const ij_safetensors_tensor *t) {
    return (ij_image){
        .pixels = (uint8_t *)(uintptr_t)t->data, .height = (int)t->shape[0], .width = (int)t->shape[1], .channels = (int)t->shape[2]};
}

/* Compares one picture's result, whole and a part of it, with the recorded one. Returns whether there is one. */
static bool compare(const ij_safetensors *file, int n, ij_filter filter, ij_rounding rounding) {
    static const char *const as[] = {"pil", "torchvision"};
    ij_error err = {0};
    char name[64];
    snprintf(name, sizeof name, "%d.%s.%s", n, ij_filter_names[filter], as[rounding]);
    const ij_safetensors_tensor *want = ij_safetensors_find(file, name);
    if (!want) return false;
    snprintf(name, sizeof name, "%d.in", n);
    ij_image image = image_of(ij_safetensors_find(file, name)), wanted = image_of(want), out = {0};
    ij_resample_desc desc = {.width = wanted.width, .height = wanted.height, .filter = filter, .rounding = rounding};
    CHECK_OK(ij_resample(&image, &desc, &out, &err));
    size_t row = (size_t)out.width * (size_t)out.channels;
    ck_assert_msg(memcmp(out.pixels, wanted.pixels, row * (size_t)out.height) == 0, "%s: not the same bits", name);
    desc.left = out.width / 3, desc.top = out.height / 2, desc.part_width = out.width - desc.left, desc.part_height = out.height - desc.top;
    CHECK_OK(ij_resample(&image, &desc, &out, &err));
    for (int y = 0; y < out.height; y++)
        ck_assert_int_eq(memcmp(out.pixels + (size_t)(y * out.width * out.channels),
                                wanted.pixels + (size_t)(desc.top + y) * row + (size_t)(desc.left * out.channels),
                                (size_t)(out.width * out.channels)),
                         0);
    ij_image_free(&out);
    return true;
}

START_TEST(test_resampling_is_that_of_pil_and_torchvision) {
    ij_safetensors *file = open_peers();
    int found[2] = {0, 0};
    char name[64] = "0.in";
    for (int n = 0; ij_safetensors_find(file, name); snprintf(name, sizeof name, "%d.in", ++n))
        for (int filter = 0; filter < IJ_FILTER_COUNT; filter++)
            for (int rounding = 0; rounding < 2; rounding++) found[rounding] += compare(file, n, (ij_filter)filter, (ij_rounding)rounding);
    ck_assert_int_ge(found[IJ_ROUNDING_PIL], 12);
    ck_assert_int_ge(found[IJ_ROUNDING_TORCH], 6);
    ij_safetensors_close(file);
}
END_TEST

START_TEST(test_positions_are_interpolated_as_torch_does) {
    ij_safetensors *file = open_peers();
    char name[64];
    int n = 0;
    for (;; n++) {
        snprintf(name, sizeof name, "%d.rows", n);
        const ij_safetensors_tensor *rows = ij_safetensors_find(file, name), *want;
        if (!rows) break;
        want = ij_safetensors_find(file, strcat(name, ".out"));
        float *out = malloc(4 * (size_t)want->count);
        const float *wanted = want->data;
        ij_positions_interpolate(rows->data, (int)rows->shape[0], (int)rows->shape[1], (int)rows->shape[2], (int)want->shape[0],
                                 (int)want->shape[1], out);
        for (int64_t i = 0; i < want->count; i++)
            ck_assert_msg(fabsf(out[i] - wanted[i]) <= 1e-6f, "%s[%lld] is %.9g, torch has %.9g", name, (long long)i, (double)out[i],
                          (double)wanted[i]);
        free(out);
    }
    ck_assert_int_ge(n, 3);
    ij_safetensors_close(file);
}
END_TEST

START_TEST(test_settling) {
    ij_error err = {0};
    ij_preprocess p, none = {0}, file = {IJ_RESIZE_SHORTER, 256, 224, 224, IJ_FILTER_BICUBIC, IJ_RESAMPLER_PIL};
    CHECK_OK(ij_preprocess_settle(&none, &(ij_preprocess_wish){0}, 96, 64, &p, &err));
    ck_assert(p.resize == IJ_RESIZE_TRAINED && p.height == 96 && p.width == 64 && !ij_preprocess_on_host(&p));
    CHECK_OK(ij_preprocess_settle(&file, &(ij_preprocess_wish){.height = 448, .width = 448}, 224, 224, &p, &err));
    ck_assert(p.shorter == 512 && p.height == 448 && p.filter == IJ_FILTER_BICUBIC); /* grows with the input */
    CHECK_OK(ij_preprocess_settle(&file, &(ij_preprocess_wish){"exact", "bilinear", "torchvision", 0, 0}, 224, 224, &p, &err));
    ck_assert(p.resize == IJ_RESIZE_EXACT && p.filter == IJ_FILTER_BILINEAR && p.resampler == IJ_RESAMPLER_TORCHVISION && p.height == 224);
    static const ij_preprocess_wish wrong[] = {{.resize = "smaller"},      {.resize = "exact:3"},    {.resize = "shorter:"},
                                               {.resize = "shorter:1e3"},  {.resize = "shorter:90"}, {.filter = "lanczos"},
                                               {.resampler = "tensorflow"}};
    for (int i = 0; i < IJ_COUNT(wrong); i++) CHECK_FAILS(ij_preprocess_settle(&file, &wrong[i], 224, 224, &p, &err), IJ_ERROR_ARGUMENT);
}
END_TEST

/* A picture whose rows and columns can be told apart: what a centre crop keeps is seen in the result. */
START_TEST(test_shorter_side_and_centre) {
    ij_error err = {0};
    uint8_t pixels[20 * 31];
    for (int i = 0; i < 20 * 31; i++) pixels[i] = (uint8_t)(i / 31 * 8 + i % 31);
    ij_image image = {.pixels = pixels, .width = 31, .height = 20, .channels = 1}, scratch = {0}, whole = {0};
    ij_preprocess p = {IJ_RESIZE_SHORTER, 10, 8, 8, IJ_FILTER_BICUBIC, IJ_RESAMPLER_PIL};
    uint8_t *out = NULL;
    int64_t capacity = 0;
    int width, height;
    ij_crop crop;
    CHECK_OK(ij_preprocess_cut(&p, true, &image, 64, &scratch, &out, &capacity, &crop, &width, &height, &err));
    /* 31 x 20 becomes 15 x 10 (rounded down); the centre begins at (15 - 8) / 2 = 3.5, halves to even 4, and at 1. */
    CHECK_OK(ij_resample(&image, &(ij_resample_desc){.width = 15, .height = 10, .filter = IJ_FILTER_BICUBIC}, &whole, &err));
    ck_assert(width == 8 && height == 8 && crop.x == 0 && crop.w == 8);
    for (int y = 0; y < 8; y++) ck_assert_int_eq(memcmp(out + 8 * y, whole.pixels + (size_t)(15 * (y + 1) + 4), 8), 0);
    p.resampler = IJ_RESAMPLER_DEVICE;
    CHECK_OK(ij_preprocess_cut(&p, true, &image, 1000, &scratch, &out, &capacity, &crop, &width, &height, &err));
    ck_assert(fabsf(crop.w - 8 * 31.0f / 15) < 1e-4f && fabsf(crop.h - 16) < 1e-4f && height == 16);
    p.resize = IJ_RESIZE_EXACT, p.resampler = IJ_RESAMPLER_TORCHVISION;
    CHECK_OK(ij_preprocess_cut(&p, false, &image, 64, &scratch, &out, &capacity, &crop, &width, &height, &err));
    CHECK_OK(ij_resample(&image, &(ij_resample_desc){8, 8, 0, 0, 0, 0, IJ_FILTER_BICUBIC, IJ_ROUNDING_TORCH}, &whole, &err));
    ck_assert_int_eq(memcmp(out, whole.pixels, 64), 0);
    free(out);
    ij_image_free(&scratch);
    ij_image_free(&whole);
}
END_TEST

/* With mean 0 and deviation 1 the encoder's input is pixel / 255, bit for bit, whichever filter the device has. */
START_TEST(test_device_copies_what_the_host_resized) {
    enum { SIDE = 12, BYTES = SIDE * SIDE * 3 };
    ij_error err = {0};
    uint8_t pixels[BYTES];
    float rows[BYTES];
    for (int i = 0; i < BYTES; i++) pixels[i] = (uint8_t)(i * 37 + i / 7);
    for (int filter = 0; filter < IJ_FILTER_COUNT; filter++) {
        ij_embedder *embedder;
        ij_embed_desc desc = {.model = {.image_height = SIDE, .image_width = SIDE, .patch_size = 1, .channels = 3},
                              .std = {1, 1, 1},
                              .filter = (ij_filter)filter,
                              .batch = 1,
                              .pixel_bytes = BYTES,
                              .output = IJ_EMBED_PIXELS};
        ij_jepa_image image = {.width = SIDE, .height = SIDE, .channels = 3, .crop_w = SIDE, .crop_h = SIDE};
        CHECK_OK(ij_embedder_create(test_device, &desc, NULL, &embedder, &err));
        CHECK_OK(ij_embedder_run(embedder, &image, 1, pixels, BYTES, rows, &err));
        for (int i = 0; i < BYTES; i++) ck_assert_float_eq(rows[i], (float)pixels[i] * (1.0f / 255.0f));
        ij_embedder_destroy(embedder);
    }
}
END_TEST

START_TEST(test_stored_positions) {
    ij_error err = {0};
    ij_weights w = {.model.dim = 8};
    float fixed[12 * 8], rows[12 * 8], out[12 * 8], other[6 * 8], wanted[6 * 8];
    ij_positions(3, 4, 8, fixed);
    ck_assert(ij_positions_fixed(fixed, 3, 4, 8));
    ij_weights_positions(&w, 3, 4, out);
    ck_assert_int_eq(memcmp(out, fixed, sizeof fixed), 0);
    for (int i = 0; i < 12 * 8; i++) rows[i] = fixed[i] + 0.01f * (float)(i % 5);
    ck_assert(!ij_positions_fixed(rows, 3, 4, 8));
    CHECK_OK(ij_weights_set_positions(&w, 3, 4, rows, &err));
    ij_weights_positions(&w, 3, 4, out);
    ck_assert_int_eq(memcmp(out, rows, sizeof rows), 0);
    ij_weights_positions(&w, 2, 3, other);
    ij_positions_interpolate(rows, 3, 4, 8, 2, 3, wanted);
    ck_assert_int_eq(memcmp(other, wanted, sizeof wanted), 0);
    const ij_model_config trained = {.image_height = 6, .image_width = 8, .patch_size = 2},
                          now = {.image_height = 4, .image_width = 6, .patch_size = 2};
    CHECK_OK(ij_weights_choose_positions(&w, "fixed", &trained, &now, &err));
    CHECK_OK(ij_weights_choose_positions(&w, "interpolated", &trained, &trained, &err)); /* nothing to interpolate */
    ck_assert_ptr_null(w.positions);
    CHECK_OK(ij_weights_choose_positions(&w, "interpolated", &trained, &now, &err));
    ij_weights_positions(&w, 2, 3, other);
    ij_positions_interpolate(fixed, 3, 4, 8, 2, 3, wanted);
    ck_assert_int_eq(memcmp(other, wanted, sizeof wanted), 0);
    CHECK_FAILS(ij_weights_choose_positions(&w, "learned", &trained, &now, &err), IJ_ERROR_ARGUMENT);
    CHECK_OK(ij_weights_set_positions(&w, 0, 0, NULL, &err));
    ij_weights_positions(&w, 3, 4, out);
    ck_assert_int_eq(memcmp(out, fixed, sizeof fixed), 0);
}
END_TEST

Suite *preprocess_suite(void) {
    Suite *suite = suite_create("preprocess");
    TCase *host = tcase_create("host"), *device = tcase_create("device");
    tcase_set_timeout(host, 120);
    tcase_add_test(host, test_resampling_is_that_of_pil_and_torchvision);
    tcase_add_test(host, test_positions_are_interpolated_as_torch_does);
    tcase_add_test(host, test_settling);
    tcase_add_test(host, test_shorter_side_and_centre);
    tcase_add_test(host, test_stored_positions);
    suite_add_tcase(suite, host);
    tcase_set_timeout(device, 120);
    tcase_add_checked_fixture(device, open_test_device, close_test_device);
    tcase_add_test(device, test_device_copies_what_the_host_resized);
    suite_add_tcase(suite, device);
    return suite;
}
