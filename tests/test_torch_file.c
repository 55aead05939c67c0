/* Files of tensors, whoever wrote them: one view over safetensors, shards and PyTorch's formats; hostile files give an error, soon and in
 * little memory. */
#include "suites.h"
#include "scratch.h"

#include "io/tensor_file.h"

/* ---- safetensors and shards ---- */

static void write_shard(const char *path, const char *name, float value) {
    ij_error err;
    ij_safetensors_writer *writer;
    CHECK_OK(ij_safetensors_begin(path, &writer, &err));
    CHECK_OK(ij_safetensors_put(writer, "from", name, &err));
    CHECK_OK(ij_safetensors_add(writer, name, IJ_SAFETENSORS_F32, 1, (int64_t[]){2}, (float[]){value, -value}, &err));
    CHECK_OK(ij_safetensors_finish(writer, &err));
}

static void open_and_expect(const char *path, ij_status status, const char *part_of_text) {
    ij_error err = {0};
    ij_tensor_file *file;
    CHECK_FAILS(ij_tensor_file_open(path, &file, &err), status);
    ck_assert_msg(strstr(err.text, part_of_text) != NULL, "\"%s\" is not in \"%s\"", part_of_text, err.text);
    ck_assert_ptr_null(file);
}

static void write_index(const char *text) { scratch_write("model.safetensors.index.json", text, strlen(text)); }

START_TEST(test_shards) {
    static const char *const good =
        "{\"metadata\": {\"total_size\": 16}, \"weight_map\": {\"b\": \"two.safetensors\", \"a\": \"one.safetensors\"}}";
    ij_error err;
    ij_tensor_file *file;
    float values[2];
    write_shard(scratch_path("one.safetensors"), "a", 1);
    write_shard(scratch_path("two.safetensors"), "b", 2);
    write_index(good);
    const char *paths[] = {scratch_folder, scratch_path("model.safetensors.index.json")};
    for (int i = 0; i < 2; i++) {
        CHECK_OK(ij_tensor_file_open(paths[i], &file, &err));
        ck_assert_str_eq(ij_tensor_file_format(file), "safetensors, 2 shards");
        ck_assert_int_eq(ij_tensor_file_count(file), 2);
        ck_assert_str_eq(ij_tensor_file_at(file, 0)->name, "a");
        CHECK_OK(ij_tensor_file_read(file, ij_tensor_file_find(file, "b"), 0, 2, values, &err));
        ck_assert(values[0] == 2 && values[1] == -2);
        ck_assert_str_eq(ij_tensor_file_get(file, "from"), "a");
        CHECK_FAILS(ij_tensor_file_read(file, ij_tensor_file_at(file, 0), 1, 2, values, &err), IJ_ERROR_ARGUMENT);
        ij_tensor_file_close(file);
    }
    write_index("{\"weight_map\": {\"b\": \"two.safetensors\", \"a\": \"one.safetensors\", \"c\": \"one.safetensors\"}}");
    open_and_expect(scratch_folder, IJ_ERROR_MISMATCH, "tensor c is not in");
    write_index("{\"weight_map\": {\"b\": \"two.safetensors\", \"aa\": \"one.safetensors\"}}");
    open_and_expect(scratch_folder, IJ_ERROR_MISMATCH, "does not know tensor a");
    write_index("{\"weight_map\": {\"b\": \"../two.safetensors\"}}");
    open_and_expect(scratch_folder, IJ_ERROR_FORMAT, "only files beside the index");
    write_index("{\"weight_map\": {\"b\": \"missing.safetensors\"}}");
    open_and_expect(scratch_folder, IJ_ERROR_FILE, "missing.safetensors");
    write_index("{\"weight_map\": 3}");
    open_and_expect(scratch_folder, IJ_ERROR_FORMAT, "no index of shards");
    write_index("{\"weight_map\": {\"b\": ");
    open_and_expect(scratch_folder, IJ_ERROR_FORMAT, "no index of shards");
    unlink(scratch_path("model.safetensors.index.json"));
    open_and_expect(scratch_folder, IJ_ERROR_FILE, "a folder without");
    write_shard(scratch_path("model.safetensors"), "c", 3);
    CHECK_OK(ij_tensor_file_open(scratch_folder, &file, &err));
    ck_assert_str_eq(ij_tensor_file_format(file), "safetensors");
    ij_tensor_file_close(file);
    open_and_expect(scratch_write("empty", "", 0), IJ_ERROR_FORMAT, "no file of tensors");
}
END_TEST

Suite *torch_suite(void) {
    Suite *suite = suite_create("torch");
    TCase *files = tcase_create("files");
    tcase_add_checked_fixture(files, scratch_begin, scratch_end);
    tcase_add_test(files, test_shards);
    suite_add_tcase(suite, files);
    return suite;
}
