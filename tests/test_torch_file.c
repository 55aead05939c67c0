/* Files of tensors, whoever wrote them: one view over safetensors, shards and PyTorch's formats; hostile files give an error, soon and in
 * little memory. */
#include "suites.h"
#include "scratch.h"

#include "base/file.h"
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

/* ---- PyTorch ---- */

static const char *data_path(const char *name) {
    static char path[1024];
    snprintf(path, sizeof path, "%s/torch/%s", IJ_TEST_DATA, name);
    return path;
}

/* Every tensor of the file has the bytes that PyTorch wrote into `values`, read whole and in pieces of 5 elements; returns how many there are. */
static int64_t compare_all(const char *path, const char *values) {
    ij_error err;
    ij_tensor_file *file;
    ij_safetensors *expected;
    CHECK_OK(ij_tensor_file_open(path, &file, &err));
    CHECK_OK(ij_safetensors_open(values, &expected, &err));
    for (int64_t i = 0; i < ij_safetensors_count(expected); i++) {
        const ij_safetensors_tensor *wanted = ij_safetensors_at(expected, i);
        const ij_tensor_entry *entry = ij_tensor_file_find(file, wanted->name);
        ck_assert_msg(entry != NULL, "%s: no %s", path, wanted->name);
        ck_assert_int_eq(entry->dtype, wanted->dtype);
        ck_assert_int_eq(entry->ndim, wanted->ndim);
        for (int d = 0; d < entry->ndim; d++) ck_assert_int_eq(entry->shape[d], wanted->shape[d]);
        uint8_t *bytes = malloc(wanted->bytes + 1);
        CHECK_OK(ij_tensor_file_read_raw(file, entry, 0, entry->count, bytes, &err));
        ck_assert_msg(memcmp(bytes, wanted->data, wanted->bytes) == 0, "%s: %s differs", path, wanted->name);
        int64_t piece = entry->count > 1000 ? 997 : 5, width = (int64_t)ij_safetensors_dtype_bytes(entry->dtype);
        memset(bytes, 0xa5, wanted->bytes);
        for (int64_t at = 0; at < entry->count; at += piece)
            CHECK_OK(
                ij_tensor_file_read_raw(file, entry, at, entry->count - at < piece ? entry->count - at : piece, bytes + at * width, &err));
        ck_assert_msg(memcmp(bytes, wanted->data, wanted->bytes) == 0, "%s: %s differs in pieces", path, wanted->name);
        free(bytes);
    }
    int64_t count = ij_safetensors_count(expected);
    ck_assert_int_ge(ij_tensor_file_count(file), count);
    ij_safetensors_close(expected);
    ij_tensor_file_close(file);
    return count;
}

static const char *const containers[][2] = {
    {"zip.pt", "PyTorch zip"}, {"deflated.pt", "PyTorch zip, deflated"}, {"legacy.pt", "PyTorch legacy"}, {"unsigned.pt", "PyTorch zip"}};

START_TEST(test_torch_tensors) {
    char values[1024];
    snprintf(values, sizeof values, "%s", data_path("values.safetensors"));
    ck_assert_int_eq(compare_all(data_path(containers[_i][0]), values), 32);
}
END_TEST

START_TEST(test_torch_values) {
    static const char *const pairs[][2] = {{"epoch", "12"},
                                           {"loss", "0.125"},
                                           {"count", "-7"},
                                           {"name", "a text"},
                                           {"none", "null"},
                                           {"yes", "true"},
                                           {"big", "<integer of 9 bytes>"},
                                           {"device", "cuda:1"},
                                           {"dtype", "torch.float16"},
                                           {"size.1", "3"},
                                           {"bytes", "<3 bytes>"},
                                           {"opt.param_groups.0.lr", "0.001"},
                                           {"opt.param_groups.0.betas.1", "0.999"},
                                           {"opt.param_groups.0.params.3", "3"}};
    ij_error err;
    ij_tensor_file *file;
    float half[7], whole[2], step;
    CHECK_OK(ij_tensor_file_open(data_path(containers[_i][0]), &file, &err));
    ck_assert_str_eq(ij_tensor_file_format(file), containers[_i][1]);
    for (int i = 0; i < IJ_COUNT(pairs); i++) {
        const char *text = ij_tensor_file_get(file, pairs[i][0]);
        ck_assert_msg(text && strcmp(text, pairs[i][1]) == 0, "%s is %s", pairs[i][0], text ? text : "missing");
    }
    ck_assert_ptr_null(ij_tensor_file_get(file, "absent"));
    CHECK_OK(ij_tensor_file_read(file, ij_tensor_file_find(file, "opt.state.3.step"), 0, 1, &step, &err));
    ck_assert(step == 1);
    CHECK_OK(ij_tensor_file_read(file, ij_tensor_file_find(file, "kinds.i64"), 0, 2, whole, &err));
    ck_assert(whole[0] == -1 && whole[1] == 0x1p40f);
    CHECK_OK(ij_tensor_file_read(file, ij_tensor_file_find(file, "kinds.f16"), 0, 7, half, &err));
    for (int i = 0; i < 7; i++) ck_assert(half[i] > -6 && half[i] < 6 && half[i] != 0);
    ij_tensor_file_close(file);
}
END_TEST

/* Each gives the error that hostile.txt says, within a second. */
START_TEST(test_torch_hostile) {
    char line[256], copy[1024];
    snprintf(copy, sizeof copy, "%s", data_path("hostile.txt"));
    FILE *list = fopen(copy, "r");
    ck_assert_ptr_nonnull(list);
    int count = 0;
    while (fgets(line, sizeof line, list)) {
        line[strcspn(line, "\n")] = 0;
        char *says = strchr(line, '\t');
        ck_assert_ptr_nonnull(says);
        *says++ = 0;
        double begin = ij_seconds();
        open_and_expect(data_path(line), IJ_ERROR_FORMAT, says);
        ck_assert_msg(ij_seconds() - begin < 1, "%s took %.1f s", line, ij_seconds() - begin);
        count++;
    }
    fclose(list);
    ck_assert_int_eq(count, 23);
}
END_TEST

/* A deflated stream with other than its claimed bytes is noticed where it is read. */
START_TEST(test_torch_streams) {
    static const char *const names[] = {"stream_short.pt", "stream_long.pt"};
    ij_error err;
    ij_tensor_file *file;
    float values[1001];
    CHECK_OK(ij_tensor_file_open(data_path(names[_i]), &file, &err));
    const ij_tensor_entry *entry = ij_tensor_file_at(file, 0);
    ck_assert_str_eq(entry->name, "tensor");
    CHECK_OK(ij_tensor_file_read(file, entry, 0, 10, values, &err));
    CHECK_FAILS(ij_tensor_file_read(file, entry, 0, entry->count, values, &err), IJ_ERROR_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.text, "its deflated stream has"));
    ij_tensor_file_close(file);
}
END_TEST

/* Cut short at every byte, and each byte changed: an error or a file whose tensors can be read. */
START_TEST(test_torch_damage) {
    ij_error err;
    void *bytes;
    size_t size;
    CHECK_OK(ij_file_read(data_path(containers[_i][0]), 0, &bytes, &size, &err));
    for (size_t cut = 0; cut < size; cut++) {
        ij_tensor_file *file;
        uint8_t *copy = exact_copy(bytes, cut);
        ck_assert_msg(ij_tensor_file_open_memory(copy, cut, "cut", &file, &err) == IJ_ERROR_FORMAT, "%zu of %zu bytes open", cut, size);
        free(copy);
    }
    uint8_t *copy = exact_copy(bytes, size);
    for (size_t at = 0; at < size; at++) {
        ij_tensor_file *file;
        copy[at] ^= 0x41;
        if (ij_tensor_file_open_memory(copy, size, "changed", &file, &err) == IJ_OK) {
            for (int64_t i = 0; i < ij_tensor_file_count(file); i++) {
                const ij_tensor_entry *entry = ij_tensor_file_at(file, i);
                float values[64];
                (void)ij_tensor_file_read(file, entry, 0, entry->count < 64 ? entry->count : 64, values, &err);
            }
            ij_tensor_file_close(file);
        }
        copy[at] ^= 0x41;
    }
    free(copy);
    free(bytes);
}
END_TEST

Suite *torch_suite(void) {
    Suite *suite = suite_create("torch");
    TCase *files = tcase_create("files");
    tcase_set_timeout(files, 120);
    tcase_add_checked_fixture(files, scratch_begin, scratch_end);
    tcase_add_test(files, test_shards);
    tcase_add_loop_test(files, test_torch_tensors, 0, IJ_COUNT(containers));
    tcase_add_loop_test(files, test_torch_values, 0, IJ_COUNT(containers));
    tcase_add_test(files, test_torch_hostile);
    tcase_add_loop_test(files, test_torch_streams, 0, 2);
    tcase_add_loop_test(files, test_torch_damage, 0, IJ_COUNT(containers));
    suite_add_tcase(suite, files);
    return suite;
}
