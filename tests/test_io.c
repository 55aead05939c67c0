/* Files: what is written reads back, known files give known values, damage is noticed, nothing reads outside its bytes. */
#include "suites.h"
#include "scratch.h"

#include "base/file.h"
#include "io/checksum.h"
#include "io/config_text.h"
#include "io/image.h"
#include "io/json_writer.h"
#include "io/npy.h"
#include "io/runlog.h"
#include "io/safetensors.h"

#include <float.h>
#include <math.h>

/* ---- safetensors ---- */

static ij_status fill_counting(void *user, uint64_t offset, void *out, size_t bytes, ij_error *err) {
    (void)err;
    uint64_t *expected = user;
    ck_assert_uint_eq(offset, *expected);
    *expected += bytes;
    for (size_t i = 0; i < bytes; i++) ((uint8_t *)out)[i] = (uint8_t)((offset + i) * 7);
    return IJ_OK;
}

static const char *write_small_file(const char *name) {
    ij_error err;
    ij_safetensors_writer *writer;
    static const float weights[6] = {1, -2, 0.5f, 3e38f, 1e-40f, 0};
    static const uint8_t bytes[3] = {1, 2, 3};
    static const int64_t steps[1] = {-5};
    const char *path = scratch_path(name);
    CHECK_OK(ij_safetensors_begin(path, &writer, &err));
    CHECK_OK(ij_safetensors_put(writer, "step", "12", &err));
    CHECK_OK(ij_safetensors_put(writer, "odd \"key\"\n", "v\\alue \xc3\xa9", &err));
    CHECK_OK(ij_safetensors_put(writer, "ijepa.checksum", "passed on from another file", &err));
    CHECK_OK(ij_safetensors_add(writer, "mask", IJ_SAFETENSORS_U8, 1, (int64_t[]){3}, bytes, &err));
    CHECK_OK(ij_safetensors_add(writer, "weights", IJ_SAFETENSORS_F32, 2, (int64_t[]){2, 3}, weights, &err));
    CHECK_OK(ij_safetensors_add(writer, "empty", IJ_SAFETENSORS_F16, 2, (int64_t[]){0, 7}, NULL, &err));
    CHECK_OK(ij_safetensors_add(writer, "step", IJ_SAFETENSORS_I64, 0, NULL, steps, &err));
    CHECK_OK(ij_safetensors_finish(writer, &err));
    return path;
}

START_TEST(test_safetensors_round_trip) {
    ij_error err;
    ij_safetensors *file;
    const ij_safetensors_tensor *tensor;
    bool present;
    CHECK_OK(ij_safetensors_open(write_small_file("a.safetensors"), &file, &err));
    CHECK_OK(ij_safetensors_verify(file, &present, &err));
    ck_assert(present);
    ck_assert_int_eq(ij_safetensors_count(file), 4);
    ck_assert_str_eq(ij_safetensors_at(file, 0)->name, "empty");
    ck_assert_str_eq(ij_safetensors_at(file, 3)->name, "weights");
    ck_assert_str_eq(ij_safetensors_get(file, "odd \"key\"\n"), "v\\alue \xc3\xa9");
    ck_assert_ptr_null(ij_safetensors_get(file, "Step"));
    ck_assert_int_eq(ij_safetensors_pairs(file), 3);
    CHECK_OK(ij_safetensors_need(file, "weights", IJ_SAFETENSORS_F32, 2, (int64_t[]){2, 3}, &tensor, &err));
    ck_assert_float_eq(((const float *)tensor->data)[3], 3e38f);
    ck_assert_uint_eq((uintptr_t)tensor->data % 4, 0);
    tensor = ij_safetensors_find(file, "step");
    ck_assert_int_eq(*(const int64_t *)tensor->data, -5);
    ck_assert_int_eq(tensor->ndim, 0);
    ck_assert_ptr_null(ij_safetensors_find(file, "weight"));
    CHECK_FAILS(ij_safetensors_need(file, "weights", IJ_SAFETENSORS_F32, 2, (int64_t[]){3, 2}, &tensor, &err), IJ_ERROR_MISMATCH);
    ck_assert_ptr_nonnull(strstr(err.text, "weights is F32 [2, 3], needed is F32 [3, 2]"));
    ij_safetensors_close(file);
}
END_TEST

START_TEST(test_safetensors_filled_in_chunks) {
    ij_error err;
    ij_safetensors_writer *writer;
    ij_safetensors *file;
    const int64_t shape[1] = {(9 << 20) + 3}; /* more than two chunks and a tail */
    uint64_t expected = 0;
    CHECK_OK(ij_safetensors_begin(scratch_path("b.safetensors"), &writer, &err));
    CHECK_OK(ij_safetensors_add_filled(writer, "x", IJ_SAFETENSORS_U8, 1, shape, fill_counting, &expected, &err));
    CHECK_OK(ij_safetensors_finish(writer, &err));
    CHECK_OK(ij_safetensors_open(scratch_path("b.safetensors"), &file, &err));
    const uint8_t *data = ij_safetensors_find(file, "x")->data;
    for (int64_t i = 0; i < shape[0]; i += 4099) ck_assert_uint_eq(data[i], (uint8_t)(i * 7));
    CHECK_OK(ij_safetensors_verify(file, NULL, &err));
    ij_safetensors_close(file);
}
END_TEST

START_TEST(test_safetensors_writer_refuses) {
    ij_error err;
    ij_safetensors_writer *writer;
    CHECK_OK(ij_safetensors_begin(scratch_path("c.safetensors"), &writer, &err));
    CHECK_OK(ij_safetensors_add(writer, "twice", IJ_SAFETENSORS_F32, 1, (int64_t[]){0}, NULL, &err));
    CHECK_OK(ij_safetensors_add(writer, "twice", IJ_SAFETENSORS_F32, 1, (int64_t[]){0}, NULL, &err));
    CHECK_FAILS(ij_safetensors_add(writer, "long", IJ_SAFETENSORS_F32, 9, (int64_t[9]){0}, NULL, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(ij_safetensors_add(writer, "negative", IJ_SAFETENSORS_F32, 1, (int64_t[]){-1}, NULL, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(ij_safetensors_finish(writer, &err), IJ_ERROR_ARGUMENT);
    ck_assert(!ij_file_exists(scratch_path("c.safetensors")));
    CHECK_OK(ij_safetensors_begin("/nonexistent/c.safetensors", &writer, &err));
    CHECK_FAILS(ij_safetensors_finish(writer, &err), IJ_ERROR_FILE);
}
END_TEST

/* Files written by others: values that PyTorch put there. */
START_TEST(test_safetensors_recorded_steps) {
    static const struct {
        const char *name, *loss;
        int64_t tensors;
        double expected;
    } files[] = {{"step.safetensors", "smooth_l1", 244, 0},
                 {"step-ragged.safetensors", "smooth_l1", 244, 0},
                 {"step-l2-3steps.safetensors", "l2", 156, 0}};
    for (int i = 0; i < IJ_COUNT(files); i++) {
        ij_error err;
        ij_safetensors *file;
        bool present;
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", IJ_TEST_DATA, files[i].name);
        CHECK_OK(ij_safetensors_open(path, &file, &err));
        CHECK_OK(ij_safetensors_verify(file, &present, &err));
        ck_assert(!present);
        ck_assert_int_eq(ij_safetensors_count(file), files[i].tensors);
        ck_assert_str_eq(ij_safetensors_get(file, "loss"), files[i].loss);
        for (int64_t t = 0; t < ij_safetensors_count(file); t++) {
            const ij_safetensors_tensor *tensor = ij_safetensors_at(file, t);
            ck_assert_ptr_eq(ij_safetensors_find(file, tensor->name), tensor);
            for (int64_t k = 0; k < tensor->count && tensor->dtype == IJ_SAFETENSORS_F32; k++)
                ck_assert_msg(isfinite(((const float *)tensor->data)[k]), "%s[%lld]", tensor->name, (long long)k);
        }
        const ij_safetensors_tensor *loss;
        CHECK_OK(ij_safetensors_need(file, "expect.loss", IJ_SAFETENSORS_F32, 1, (int64_t[]){1}, &loss, &err));
        float value = *(const float *)loss->data;
        ck_assert_msg(value > 0.01f && value < 10, "loss %g", value);
        ij_safetensors_close(file);
    }
}
END_TEST

START_TEST(test_safetensors_cut_anywhere) {
    ij_error err;
    ij_safetensors *file;
    void *whole;
    size_t bytes;
    CHECK_OK(ij_file_read(write_small_file("d.safetensors"), 0, &whole, &bytes, &err));
    for (size_t length = 0; length < bytes; length++) {
        void *cut = exact_copy(whole, length);
        ck_assert_msg(ij_safetensors_open_memory(cut, length, "cut", &file, &err) == IJ_ERROR_FORMAT, "%zu of %zu bytes", length, bytes);
        free(cut);
    }
    void *longer = malloc(bytes + 1);
    memcpy(longer, whole, bytes);
    CHECK_FAILS(ij_safetensors_open_memory(longer, bytes + 1, "longer", &file, &err), IJ_ERROR_FORMAT);
    free(longer);
    free(whole);
}
END_TEST

START_TEST(test_safetensors_every_bit_flip_is_noticed) {
    ij_error err;
    void *whole;
    size_t bytes;
    CHECK_OK(ij_file_read(write_small_file("e.safetensors"), 0, &whole, &bytes, &err));
    uint8_t *copy = exact_copy(whole, bytes);
    const size_t key = 8 + strlen("{\"__metadata__\":{\""),
                 key_end = key + strlen("ijepa.checksum"); /* renamed: a file without a checksum */
    ck_assert_mem_eq(copy + key, "ijepa.checksum", 14);
    for (size_t bit = 0; bit < bytes * 8; bit++) {
        ij_safetensors *file;
        bool present = true;
        copy[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        ij_status status = ij_safetensors_open_memory(copy, bytes, "flipped", &file, &err);
        if (status == IJ_OK) status = ij_safetensors_verify(file, &present, &err);
        if (bit / 8 < key || bit / 8 >= key_end)
            ck_assert_msg(status != IJ_OK, "bit %zu of byte %zu", bit % 8, bit / 8);
        else
            ck_assert(status != IJ_OK || !present);
        ij_safetensors_close(file);
        copy[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    free(copy);
    free(whole);
}
END_TEST

/* Headers that lie; each with a word that the error text must hold. */
START_TEST(test_safetensors_bad_headers) {
    static const char *const cases[][2] = {
        {"[]", "JSON object"},
        {"{}x", "JSON object"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}", "JSON object"},
        {"{\"a\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}", "F33"},
        {"{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", "dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", "needs 8 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", "whole number"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0.5,2],\"data_offsets\":[0,4]}}", "whole number"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]}}", "overflows"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", "dimensions"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", "bytes 4 to 8 of 4"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", "bytes 4 to 0"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", "pair"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", "pair"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
         "overlap"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
         "gap"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}", "belong to no tensor"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
         "two tensors"},
        {"{\"__metadata__\":{\"a\":1},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "not a text"},
        {"{\"__metadata__\":[],\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "__metadata__"},
        {"{\"a\":[1]}", "dtype"},
        {"{\"a\":null}", "dtype"},
    };
    for (int i = 0; i < IJ_COUNT(cases); i++) {
        ij_error err = {0};
        ij_safetensors *file;
        size_t length = strlen(cases[i][0]);
        uint8_t *bytes = malloc(8 + length + 4);
        memcpy(bytes, (uint64_t[]){length}, 8);
        memcpy(bytes + 8, cases[i][0], length);
        memset(bytes + 8 + length, 0, 4);
        ck_assert_msg(ij_safetensors_open_memory(bytes, 12 + length, "bad", &file, &err) == IJ_ERROR_FORMAT, "%s was taken", cases[i][0]);
        ck_assert_msg(strstr(err.text, cases[i][1]) != NULL, "%s: \"%s\" does not say \"%s\"", cases[i][0], err.text, cases[i][1]);
        free(bytes);
    }
}
END_TEST

START_TEST(test_safetensors_unaligned_is_readable) {
    static const char header[] =
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]}}";
    uint8_t bytes[8 + sizeof header - 1 + 9];
    const float values[2] = {1.5f, -2.5f};
    memcpy(bytes, (uint64_t[]){sizeof header - 1}, 8);
    memcpy(bytes + 8, header, sizeof header - 1);
    bytes[8 + sizeof header - 1] = 9;
    memcpy(bytes + 8 + sizeof header, values, 8);
    ij_error err;
    ij_safetensors *file;
    CHECK_OK(ij_safetensors_open_memory(bytes, sizeof bytes, "unaligned", &file, &err));
    const ij_safetensors_tensor *tensor = ij_safetensors_find(file, "b");
    ck_assert_uint_eq((uintptr_t)tensor->data % 4, 0);
    ck_assert_float_eq(((const float *)tensor->data)[1], -2.5f);
    ij_safetensors_close(file);
}
END_TEST

START_TEST(test_checksum_in_pieces) {
    uint8_t bytes[203];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 37 + 11);
    ij_checksum whole;
    ij_checksum_begin(&whole);
    ij_checksum_add(&whole, bytes, sizeof bytes);
    for (size_t a = 0; a <= sizeof bytes; a += 3)
        for (size_t b = a; b <= sizeof bytes; b += 7) {
            ij_checksum pieces;
            ij_checksum_begin(&pieces);
            ij_checksum_add(&pieces, bytes, a);
            ij_checksum_add(&pieces, bytes + a, b - a);
            ij_checksum_add(&pieces, bytes + b, sizeof bytes - b);
            ck_assert_uint_eq(ij_checksum_end(&pieces), ij_checksum_end(&whole));
        }
    ij_checksum_add(&whole, "", 1); /* a zero byte more is another text, though the stripes are equal */
    ij_checksum without;
    ij_checksum_begin(&without);
    ij_checksum_add(&without, bytes, sizeof bytes);
    ck_assert_uint_ne(ij_checksum_end(&without), ij_checksum_end(&whole));
}
END_TEST

/* ---- configuration ---- */

static const char recipe[] = "# a comment\n"
                             "data:\n"
                             "  batch_size: 64\n"
                             "  crop_scale:\n"
                             "  - 0.3\n"
                             "  - 1.0\n"
                             "  pin_mem: true\n"
                             "  root_path: \"$IMAGENET: here\"\n"
                             "mask: {patch_size: 14, aspect_ratio: [0.75, 1.5]}\n"
                             "meta:\n"
                             "  read_checkpoint: null\n"
                             "  model_name: vit_huge\n"
                             "optimization:\n"
                             "  lr: 1.0e-06\n"
                             "  deeper: {still: {more: 3}}\n";

START_TEST(test_config_values) {
    ij_error err;
    ij_config_text config = {0};
    CHECK_OK(ij_config_text_load_memory(&config, recipe, strlen(recipe), "recipe.yaml", &err));
    int64_t batch = 0, absent = 77;
    double pair[2], lr, ema[2] = {5, 6};
    bool pin = false;
    char text[40] = "default";
    CHECK_OK(ij_config_text_integer(&config, "data.batch_size", 1, 4096, &batch, &err));
    CHECK_OK(ij_config_text_integer(&config, "data.num_workers", 1, 4096, &absent, &err));
    CHECK_OK(ij_config_text_numbers(&config, "data.crop_scale", 0, 1, 2, pair, &err));
    CHECK_OK(ij_config_text_numbers(&config, "optimization.ema", 0, 1, 2, ema, &err));
    CHECK_OK(ij_config_text_number(&config, "optimization.lr", 0, 1, &lr, &err));
    CHECK_OK(ij_config_text_bool(&config, "data.pin_mem", &pin, &err));
    CHECK_OK(ij_config_text_string(&config, "meta.read_checkpoint", text, sizeof text, &err));
    ck_assert_str_eq(text, "default");
    CHECK_OK(ij_config_text_string(&config, "data.root_path", text, sizeof text, &err));
    ck_assert_str_eq(text, "$IMAGENET: here");
    ck_assert_int_eq(batch, 64);
    ck_assert_int_eq(absent, 77);
    ck_assert_double_eq(pair[0], 0.3);
    ck_assert_double_eq(pair[1], 1.0);
    ck_assert_double_eq(ema[1], 6);
    ck_assert_double_eq(lr, 1e-6);
    ck_assert(pin);
    int choice = -1;
    CHECK_OK(ij_config_text_choice(&config, "meta.model_name", (const char *[]){"vit_base", "vit_huge"}, 2, &choice, &err));
    ck_assert_int_eq(choice, 1);
    ck_assert(ij_config_text_ignore(&config, "mask.patch_size"));
    ck_assert(ij_config_text_ignore(&config, "optimization.deeper.still.more"));
    const char *known[] = {"mask.aspect_ratios", "data.batch_size"};
    CHECK_FAILS(ij_config_text_check_used(&config, known, 2, &err), IJ_ERROR_ARGUMENT);
    ck_assert_str_eq(err.text, "recipe.yaml line 9: unknown key mask.aspect_ratio");
    ck_assert_str_eq(err.hint, "did you mean mask.aspect_ratios?");
    CHECK_OK(ij_config_text_numbers(&config, "mask.aspect_ratio", 0, 2, 2, pair, &err));
    CHECK_OK(ij_config_text_check_used(&config, known, 2, &err));
    ij_config_text_free(&config);
}
END_TEST

START_TEST(test_config_complaints) {
    ij_error err;
    ij_config_text config = {0};
    int64_t integer = 3;
    double number = 3, pair[2] = {3, 3};
    bool truth = true;
    char text[4] = "abc";
    CHECK_OK(ij_config_text_load_memory(&config, recipe, strlen(recipe), "recipe.yaml", &err));
    CHECK_FAILS(ij_config_text_integer(&config, "data.batch_size", 1, 32, &integer, &err), IJ_ERROR_ARGUMENT);
    ck_assert_str_eq(err.text, "recipe.yaml line 3: data.batch_size is \"64\", expected a whole number from 1 to 32");
    CHECK_FAILS(ij_config_text_integer(&config, "optimization.lr", 0, 32, &integer, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(ij_config_text_number(&config, "data.crop_scale", 0, 32, &number, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(ij_config_text_numbers(&config, "data.crop_scale", 0, 0.5, 2, pair, &err), IJ_ERROR_ARGUMENT);
    ck_assert_str_eq(err.text, "recipe.yaml line 5: data.crop_scale is [0.3, 1.0], expected 2 numbers from 0 to 0.5");
    CHECK_FAILS(ij_config_text_number(&config, "meta.model_name", 0, 1, &number, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(ij_config_text_bool(&config, "data.batch_size", &truth, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(ij_config_text_string(&config, "meta.model_name", text, sizeof text, &err), IJ_ERROR_ARGUMENT);
    ck_assert(integer == 3 && number == 3 && pair[0] == 3 && truth && strcmp(text, "abc") == 0); /* untouched by failures */
    ij_config_text_free(&config);
}
END_TEST

START_TEST(test_config_override) {
    ij_error err;
    ij_config_text config = {0};
    int64_t batch = 0;
    double scale[2];
    char text[40];
    CHECK_OK(ij_config_text_load_memory(&config, recipe, strlen(recipe), "recipe.yaml", &err));
    CHECK_OK(ij_config_text_override(&config, "data.batch_size=8", &err));
    CHECK_OK(ij_config_text_override(&config, "data.crop_scale=[0.1, 0.2]", &err));
    CHECK_OK(ij_config_text_override(&config, "new.key=#1: a=b", &err));
    CHECK_OK(ij_config_text_integer(&config, "data.batch_size", 1, 4096, &batch, &err));
    CHECK_OK(ij_config_text_numbers(&config, "data.crop_scale", 0, 1, 2, scale, &err));
    CHECK_OK(ij_config_text_string(&config, "new.key", text, sizeof text, &err));
    ck_assert(batch == 8 && scale[1] == 0.2);
    ck_assert_str_eq(text, "#1: a=b");
    CHECK_FAILS(ij_config_text_integer(&config, "data.batch_size", 1, 4, &batch, &err), IJ_ERROR_ARGUMENT);
    ck_assert_str_eq(err.text, "--set: data.batch_size is \"8\", expected a whole number from 1 to 4");
    static const char *const bad[] = {"",       "=", "x", "=3", ".a=3", "a.=3", "data.crop_scale=[0.1", "data=3", "data.batch_size.x=3",
                                      "x=[[1]]"};
    for (int i = 0; i < IJ_COUNT(bad); i++)
        ck_assert_msg(ij_config_text_override(&config, bad[i], &err) == IJ_ERROR_ARGUMENT, "--set %s was taken", bad[i]);
    ij_config_text_free(&config);
}
END_TEST

START_TEST(test_config_refuses) {
    static const char *const cases[][2] = {
        {"a: &x [1]\nb: *x\n", "line 2: aliases"},
        {"a: 1\nb: 2\na: 3\n", "line 3: a is given again, first in line 1"},
        {"a: [1, [2]]\n", "plain values only"},
        {"a: [{b: 1}]\n", "plain values only"},
        {"a: 1\n---\nb: 1\n", "second document"},
        {"a: [1\n", "line 2"},
        {"- 1\n- 2\n", "without a key"},
        {"just text", "without a key"},
        {"{[1]: 2}", "a key must be"},
        {"a:\n\tb: 1\n", "line 2"},
        {"a: \"\\0\"\n", "0 byte"},
        {"a: 1\na.b: 2\n", "makes a a value"},
        {"{a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: 1}}}}}}}}}}}}}}}}}}", "16 levels"},
    };
    for (int i = 0; i < IJ_COUNT(cases); i++) {
        ij_error err = {0};
        ij_config_text config = {0};
        ij_status status = ij_config_text_load_memory(&config, cases[i][0], strlen(cases[i][0]), "bad.yaml", &err);
        ck_assert_msg(status != IJ_OK, "taken: %s", cases[i][0]);
        ck_assert_msg(strstr(err.text, cases[i][1]) != NULL, "%s: \"%s\" does not say \"%s\"", cases[i][0], err.text, cases[i][1]);
        ij_config_text_free(&config);
    }
}
END_TEST

/* "Billion laughs", a deep flow sequence, too many values, too many bytes: all end quickly in an error. */
START_TEST(test_config_bombs) {
    ij_error err;
    ij_config_text config = {0};
    static char text[2 << 20];
    size_t used = (size_t)sprintf(text, "a0: &a0 [x, x]\n");
    for (int i = 1; i < 30; i++) used += (size_t)sprintf(text + used, "a%d: &a%d [*a%d, *a%d]\n", i, i, i - 1, i - 1);
    CHECK_FAILS(ij_config_text_load_memory(&config, text, used, "laughs", &err), IJ_ERROR_FORMAT);
    memset(text, '[', sizeof text);
    CHECK_FAILS(ij_config_text_load_memory(&config, text, 100000, "deep", &err), IJ_ERROR_FORMAT);
    CHECK_FAILS(ij_config_text_load_memory(&config, text, sizeof text, "large", &err), IJ_ERROR_FORMAT);
    used = (size_t)sprintf(text, "a: [1");
    for (int i = 0; i < 20000; i++) used += (size_t)sprintf(text + used, ",1");
    used += (size_t)sprintf(text + used, "]");
    CHECK_FAILS(ij_config_text_load_memory(&config, text, used, "many", &err), IJ_ERROR_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.text, "10000"));
    ck_assert_int_eq(config.count, 0);
    ij_config_text_free(&config);
}
END_TEST

START_TEST(test_config_prints_what_it_reads) {
    ij_error err;
    ij_config_text config = {0}, again = {0};
    char *first, *second;
    CHECK_OK(ij_config_text_load_memory(&config, recipe, strlen(recipe), "recipe.yaml", &err));
    CHECK_OK(ij_config_text_put(&config, "text.true", "true", true, &err));
    CHECK_OK(ij_config_text_put(&config, "text.odd", " a: \"b\" # \n\x01\\ \xc3\xa9", true, &err));
    CHECK_OK(ij_config_text_put(&config, "text.empty", "", true, &err));
    CHECK_OK(ij_config_text_put(&config, "text-b", "x", true, &err)); /* sorts between "text" and "text." bytewise */
    CHECK_OK(ij_config_text_put_number(&config, "n.third", 1.0 / 3, &err));
    CHECK_OK(ij_config_text_put_integer(&config, "n.low", INT64_MIN, &err));
    CHECK_OK(ij_config_text_put_bool(&config, "n.yes", true, &err));
    CHECK_OK(ij_config_text_put_numbers(&config, "n.list", (double[]){0.1, 2}, 2, &err));
    CHECK_OK(ij_config_text_put_numbers(&config, "n.none", NULL, 0, &err));
    CHECK_OK(ij_config_text_print(&config, &first, &err));
    CHECK_OK(ij_config_text_load_memory(&again, first, strlen(first), "printed", &err));
    CHECK_OK(ij_config_text_print(&again, &second, &err));
    ck_assert_str_eq(first, second);
    ck_assert_int_eq(again.count, config.count);
    for (int64_t i = 0; i < config.count; i++) {
        const ij_config_entry *a = &config.entries[i], *b = ij_config_text_find(&again, a->key);
        ck_assert_msg(b != NULL && a->count == b->count && a->list == b->list, "%s", a->key);
        for (int k = 0; k < a->count; k++) ck_assert_str_eq(a->text[k], b->text[k]);
    }
    double third;
    CHECK_OK(ij_config_text_number(&again, "n.third", 0, 1, &third, &err));
    ck_assert(third == 1.0 / 3);
    free(first);
    free(second);
    ij_config_text_free(&config);
    ij_config_text_free(&again);
}
END_TEST

/* ---- images ---- */

static void *read_data(const char *name, size_t *bytes) {
    ij_error err;
    void *data;
    char path[1024];
    snprintf(path, sizeof path, "%s/images/%s", IJ_TEST_DATA, name);
    CHECK_OK(ij_file_read(path, 0, &data, bytes, &err));
    return data;
}

static const char *const pictures[] = {"rgb.png",     "alpha.png",  "palette.png",     "bits.png", "grey16.png", "rgb.bmp",
                                       "palette.bmp", "rgb420.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg"};

/* The pixels beside each picture are PIL's (13, with libjpeg-turbo 3.2), convert("RGB"). stb_image's JPEG pixels are other ones: measured
 * over these files they differ by 0.33 on average at most. */
START_TEST(test_image_matches_pil) {
    const char *name = pictures[_i];
    bool exact = strstr(name, ".jpg") == NULL || strcmp(ij_image_jpeg_decoder(), "libjpeg-turbo") == 0;
    ij_error err;
    ij_npy expected;
    ij_image image = {0};
    size_t bytes, npy_bytes;
    char npy[64];
    snprintf(npy, sizeof npy, "%s.npy", name);
    void *data = read_data(name, &bytes), *npy_data = read_data(npy, &npy_bytes);
    CHECK_OK(ij_npy_parse(npy_data, npy_bytes, npy, &expected, &err));
    CHECK_OK(ij_image_decode(data, bytes, 3, name, &image, &err));
    ck_assert(image.height == expected.shape[0] && image.width == expected.shape[1] && image.channels == 3);
    double sum = 0;
    for (int64_t i = 0; i < expected.count; i++) {
        int difference = abs(image.pixels[i] - ((uint8_t *)expected.data)[i]);
        ck_assert_msg(!exact || difference == 0, "%s: byte %lld differs by %d", name, (long long)i, difference);
        sum += difference;
    }
    ck_assert_msg(sum < 0.5 * (double)expected.count, "%s: mean difference %g", name, sum / (double)expected.count);
    ij_npy_free(&expected);
    ij_image_free(&image);
    free(data);
    free(npy_data);
}
END_TEST

START_TEST(test_image_grey) {
    ij_error err;
    ij_npy expected;
    ij_image image = {0};
    size_t bytes, npy_bytes;
    void *data = read_data("rgb.png", &bytes), *npy_data = read_data("rgb.L.npy", &npy_bytes);
    CHECK_OK(ij_npy_parse(npy_data, npy_bytes, "rgb.L.npy", &expected, &err));
    CHECK_OK(ij_image_decode(data, bytes, 1, "rgb.png", &image, &err));
    ck_assert_int_eq(image.channels, 1);
    ck_assert_mem_eq(image.pixels, expected.data, (size_t)expected.count);
    free(data);
    data = read_data("grey.jpg", &bytes);
    CHECK_OK(ij_image_decode(data, bytes, 0, "grey.jpg", &image, &err)); /* as the file has it */
    ck_assert_int_eq(image.channels, 1);
    ij_npy_free(&expected);
    ij_image_free(&image);
    free(data);
    free(npy_data);
}
END_TEST

START_TEST(test_image_cut_anywhere) {
    ij_error err;
    ij_image image = {0};
    size_t bytes;
    uint8_t *whole = read_data(pictures[_i], &bytes);
    for (size_t length = 0; length < bytes; length++) {
        void *cut = exact_copy(whole, length);
        ck_assert_msg(ij_image_decode(cut, length, 3, pictures[_i], &image, &err) == IJ_ERROR_FORMAT, "%zu of %zu bytes of %s", length,
                      bytes, pictures[_i]);
        ck_assert_ptr_nonnull(strstr(err.text, pictures[_i]));
        free(cut);
    }
    free(whole);
    ij_image_free(&image);
}
END_TEST

START_TEST(test_image_bit_flips) {
    ij_error err;
    ij_image image = {0};
    size_t bytes;
    uint8_t *whole = read_data(pictures[_i], &bytes);
    bool png = strstr(pictures[_i], ".png") != NULL;
    for (size_t bit = 0; bit < bytes * 8; bit += bytes > 2000 ? 3 : 1) {
        whole[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        ij_status status = ij_image_decode(whole, bytes, 3, "flipped", &image, &err);
        if (png)
            ck_assert_msg(status == IJ_ERROR_FORMAT, "PNG: bit %zu of byte %zu", bit % 8, bit / 8); /* every byte is under a check sum */
        whole[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    free(whole);
    ij_image_free(&image);
}
END_TEST

/* A header that promises 65000 x 65000 pixels must not cost their memory. */
START_TEST(test_image_too_large) {
    ij_error err;
    ij_image image = {0};
    size_t bytes;
    uint8_t *bmp = read_data("rgb.bmp", &bytes);
    memcpy(bmp + 18, (uint32_t[]){65000, 65000}, 8);
    CHECK_FAILS(ij_image_decode(bmp, bytes, 3, "large.bmp", &image, &err), IJ_ERROR_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.text, "large.bmp: image of 65000 x 65000 pixels"));
    free(bmp);
    uint8_t *jpeg = read_data("rgb420.jpg", &bytes);
    for (size_t i = 0; i + 9 < bytes; i++)
        if (jpeg[i] == 0xff && jpeg[i + 1] == 0xc0) memcpy(jpeg + i + 5, "\xfd\xe8\xfd\xe8", 4);
    CHECK_FAILS(ij_image_decode(jpeg, bytes, 3, "large.jpg", &image, &err), IJ_ERROR_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.text, "large.jpg"));
    free(jpeg);
    ck_assert_int_eq(image.capacity, 0);
}
END_TEST

START_TEST(test_png_round_trip) {
    ij_error err;
    ij_image image = {0};
    for (int channels = 1; channels <= 3; channels += 2) {
        uint8_t pixels[23 * 3 * 11];
        for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * i / 7 + (i % 5 ? i : 255));
        CHECK_OK(ij_png_write(scratch_path("x.png"), pixels, 23, 11, channels, &err));
        CHECK_OK(ij_image_read(scratch_path("x.png"), 0, &image, &err));
        ck_assert(image.width == 23 && image.height == 11 && image.channels == channels);
        ck_assert_mem_eq(image.pixels, pixels, (size_t)(23 * 11 * channels));
    }
    ij_image_free(&image);
}
END_TEST

/* ---- npy, JSON, run log ---- */

START_TEST(test_npy_round_trip) {
    ij_error err;
    ij_npy array;
    const float values[2][3] = {{1, -2, 3.5f}, {0, FLT_MIN, 1e30f}};
    const int32_t number = -7;
    CHECK_OK(ij_npy_write(scratch_path("a.npy"), IJ_NPY_F32, 2, (int64_t[]){2, 3}, values, &err));
    CHECK_OK(ij_npy_read(scratch_path("a.npy"), &array, &err));
    ck_assert(array.dtype == IJ_NPY_F32 && array.ndim == 2 && array.shape[0] == 2 && array.shape[1] == 3);
    ck_assert_mem_eq(array.data, values, sizeof values);
    ij_npy_free(&array);
    CHECK_OK(ij_npy_write(scratch_path("b.npy"), IJ_NPY_I32, 0, NULL, &number, &err));
    CHECK_OK(ij_npy_read(scratch_path("b.npy"), &array, &err));
    ck_assert(array.ndim == 0 && array.count == 1 && *(int32_t *)array.data == -7);
    ij_npy_free(&array);

    void *whole;
    size_t bytes;
    CHECK_OK(ij_npy_write(scratch_path("c.npy"), IJ_NPY_U8, 1, (int64_t[]){5}, "abcde", &err));
    CHECK_OK(ij_file_read(scratch_path("c.npy"), 0, &whole, &bytes, &err));
    ck_assert_uint_eq(bytes, 128 + 5);
    for (size_t length = 0; length < bytes; length++) {
        void *cut = exact_copy(whole, length);
        ck_assert_msg(ij_npy_parse(cut, length, "cut", &array, &err) == IJ_ERROR_FORMAT, "%zu bytes", length);
        free(cut);
    }
    for (size_t bit = 0; bit < bytes * 8; bit++) { /* no crash; a flip may turn "|u1" into nothing known or stay in the values */
        ((uint8_t *)whole)[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        if (ij_npy_parse(whole, bytes, "flipped", &array, &err) == IJ_OK) ij_npy_free(&array);
        ((uint8_t *)whole)[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    free(whole);
}
END_TEST

START_TEST(test_json_text) {
    ij_json json = {0};
    ij_json_open(&json, '{');
    ij_json_key(&json, "a\"\\\n\x1f"), ij_json_string(&json, "\xc3\xa9 \xff \xed\xa0\x80 \xf0\x9f\x98\x80");
    ij_json_key(&json, "n"), ij_json_open(&json, '[');
    ij_json_number(&json, 0.1), ij_json_number(&json, NAN), ij_json_number(&json, -INFINITY), ij_json_number(&json, 3),
        ij_json_number(&json, -0.0);
    ij_json_integer(&json, INT64_MAX), ij_json_bool(&json, true), ij_json_string(&json, NULL);
    ij_json_open(&json, '{'), ij_json_close(&json, '}');
    ij_json_close(&json, ']'), ij_json_close(&json, '}');
    ck_assert_str_eq(json.text,
                     "{\"a\\\"\\\\\\u000a\\u001f\":\"\xc3\xa9 \xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xf0\x9f\x98\x80\","
                     "\"n\":[0.1,null,null,3,-0,9223372036854775807,true,null,{}]}");
    ij_json_free(&json);
    static const double numbers[] = {1.0 / 3, 1e-320, DBL_MAX, DBL_MIN, 0.1 + 0.2, 123456789.123456789, 5e-324};
    for (int i = 0; i < IJ_COUNT(numbers); i++) {
        char text[32];
        ij_number_text(numbers[i], text);
        ck_assert_msg(strtod(text, NULL) == numbers[i], "%s", text);
    }
}
END_TEST

static void check_file_text(const char *name, const char *expected) {
    ij_error err;
    void *text;
    size_t bytes;
    CHECK_OK(ij_file_read(scratch_path(name), 0, &text, &bytes, &err));
    ck_assert_str_eq(text, expected);
    free(text);
}

START_TEST(test_runlog_resumes_without_duplicates) {
    ij_error err;
    ij_runlog *log;
    static const char *const columns[] = {"epoch", "itr", "loss"};
    ij_runlog_desc desc = {.folder = scratch_folder, .columns = columns, .column_count = 3};
    CHECK_OK(ij_runlog_open(&desc, &log, &err));
    for (int step = 0; step < 6; step++) CHECK_OK(ij_runlog_row(log, (double[]){1 + step / 3, step % 3, 0.25 * step}, &err));
    ij_json *event = ij_runlog_event(log, "begin");
    ij_json_key(event, "loss"), ij_json_number(event, NAN);
    CHECK_OK(ij_runlog_event_end(log, &err));
    ij_runlog_close(log);
    FILE *file = fopen(scratch_path("log.csv"), "ab");
    fputs("3,0,0.", file); /* cut by a crash */
    fclose(file);

    desc.resume = true, desc.epoch = 2, desc.itr = 1;
    CHECK_OK(ij_runlog_open(&desc, &log, &err));
    CHECK_OK(ij_runlog_row(log, (double[]){2, 1, NAN}, &err));
    ij_runlog_event(log, "resume");
    CHECK_OK(ij_runlog_event_end(log, &err));
    ij_runlog_close(log);
    check_file_text("log.csv", "epoch,itr,loss\n1,0,0\n1,1,0.25\n1,2,0.5\n2,0,0.75\n2,1,nan\n");

    desc.epoch = 9;
    CHECK_OK(ij_runlog_open(&desc, &log, &err));
    ij_runlog_close(log);
    check_file_text("log.csv", "epoch,itr,loss\n1,0,0\n1,1,0.25\n1,2,0.5\n2,0,0.75\n2,1,nan\n");

    void *text;
    size_t bytes;
    CHECK_OK(ij_file_read(scratch_path("events.jsonl"), 0, &text, &bytes, &err));
    ck_assert_ptr_nonnull(strstr(text, "{\"event\":\"begin\",\"time\":"));
    ck_assert_ptr_nonnull(strstr(text, ",\"loss\":null}\n{\"event\":\"resume\","));
    free(text);
    desc.column_count = 2;
    CHECK_FAILS(ij_runlog_open(&desc, &log, &err), IJ_ERROR_MISMATCH);
}
END_TEST

Suite *io_suite(void) {
    Suite *suite = suite_create("io");
    TCase *cases = tcase_create("io");
    tcase_set_timeout(cases, 120);
    tcase_add_checked_fixture(cases, scratch_begin, scratch_end);
    tcase_add_test(cases, test_safetensors_round_trip);
    tcase_add_test(cases, test_safetensors_filled_in_chunks);
    tcase_add_test(cases, test_safetensors_writer_refuses);
    tcase_add_test(cases, test_safetensors_recorded_steps);
    tcase_add_test(cases, test_safetensors_cut_anywhere);
    tcase_add_test(cases, test_safetensors_every_bit_flip_is_noticed);
    tcase_add_test(cases, test_safetensors_bad_headers);
    tcase_add_test(cases, test_safetensors_unaligned_is_readable);
    tcase_add_test(cases, test_checksum_in_pieces);
    tcase_add_test(cases, test_config_values);
    tcase_add_test(cases, test_config_complaints);
    tcase_add_test(cases, test_config_override);
    tcase_add_test(cases, test_config_refuses);
    tcase_add_test(cases, test_config_bombs);
    tcase_add_test(cases, test_config_prints_what_it_reads);
    tcase_add_loop_test(cases, test_image_matches_pil, 0, IJ_COUNT(pictures));
    tcase_add_test(cases, test_image_grey);
    tcase_add_loop_test(cases, test_image_cut_anywhere, 0, IJ_COUNT(pictures));
    tcase_add_loop_test(cases, test_image_bit_flips, 0, IJ_COUNT(pictures));
    tcase_add_test(cases, test_image_too_large);
    tcase_add_test(cases, test_png_round_trip);
    tcase_add_test(cases, test_npy_round_trip);
    tcase_add_test(cases, test_json_text);
    tcase_add_test(cases, test_runlog_resumes_without_duplicates);
    suite_add_tcase(suite, cases);
    return suite;
}
