/* Recorded steps on the device under test: every activation, gradient and weight against double-checked numbers from elsewhere. */
#include "suites.h"
#include "io/safetensors.h"
#include "model/precision.h"
#include "train/replay.h"

#include <string.h>

static const char *const files[] = {"step", "step-l2-3steps", "step-ragged"};
static const gpu_element elements[] = {GPU_WORD, GPU_F16, GPU_BF16};

START_TEST(test_recorded_step) {
    ij_error err = {0};
    ij_replay_result result;
    char path[512];
    const char *name = files[_i / IJ_COUNT(elements)];
    gpu_element element = elements[_i % IJ_COUNT(elements)];
    snprintf(path, sizeof path, "%s/%s.safetensors", IJ_TEST_DATA, name);
    CHECK_OK(ij_replay_run(test_device, path, element, &result, &err));
    for (int64_t i = 0; i < result.group_count && getenv("IJEPA_VERBOSE"); i++)
        fprintf(stderr, "%-16s %-4s %-24s max %.2e  rel %.2e  tolerance %.1e\n", name, ij_element_name(element), result.groups[i].name,
                result.groups[i].max_abs, result.groups[i].rel_l2, result.groups[i].tolerance);
    for (int64_t i = 0; i < result.tensor_count; i++)
        ck_assert_msg(result.tensors[i].pass, "%s %s: %s: relative error %.3g, tolerance %.3g", name, ij_element_name(element),
                      result.tensors[i].name, result.tensors[i].rel_l2, result.tensors[i].tolerance);
    ck_assert(result.pass && result.tensor_count > 60);
    ij_replay_free(&result);
}
END_TEST

/* A recorded step with one weight changed must not pass: the comparison can fail. */
START_TEST(test_changed_weight_is_noticed) {
    ij_error err = {0};
    static const float changes[] = {0.02f, 0.2f, 1.0f}; /* a matrix of numbers around 0.02: a coarser precision notices a larger error */
    ij_safetensors *file;
    ij_safetensors_writer *writer;
    const char *changed_path = "/tmp/ijepa-test-changed.safetensors";
    char path[512];
    static float changed[1 << 16];
    snprintf(path, sizeof path, "%s/step.safetensors", IJ_TEST_DATA);
    CHECK_OK(ij_safetensors_open(path, &file, &err));
    CHECK_OK(ij_safetensors_begin(changed_path, &writer, &err));
    for (int64_t i = 0; i < ij_safetensors_pairs(file); i++) {
        const char *key, *value;
        ij_safetensors_pair(file, i, &key, &value);
        CHECK_OK(ij_safetensors_put(writer, key, value, &err));
    }
    for (int64_t i = 0; i < ij_safetensors_count(file); i++) {
        const ij_safetensors_tensor *t = ij_safetensors_at(file, i);
        const void *data = t->data;
        if (strcmp(t->name, "predictor.predictor_proj.weight") == 0) {
            memcpy(changed, data, t->bytes);
            for (int e = 0; e < (elements[_i] == GPU_WORD ? 1 : 40); e++) changed[7 + e] += changes[_i];
            data = changed;
        }
        CHECK_OK(ij_safetensors_add(writer, t->name, t->dtype, t->ndim, t->shape, data, &err));
    }
    CHECK_OK(ij_safetensors_finish(writer, &err));
    ij_safetensors_close(file);
    ij_replay_result result;
    CHECK_OK(ij_replay_run(test_device, changed_path, elements[_i], &result, &err));
    ck_assert(!result.pass);
    ij_replay_free(&result);
    remove(changed_path);
}
END_TEST

START_TEST(test_other_files_are_refused) {
    ij_error err = {0};
    ij_replay_result result;
    CHECK_FAILS(ij_replay_run(test_device, "/nowhere.safetensors", GPU_WORD, &result, &err), IJ_ERROR_FILE);
    ck_assert(strstr(err.text, "/nowhere.safetensors"));
}
END_TEST

Suite *replay_suite(void) {
    Suite *suite = suite_create("replay");
    TCase *tcase = tcase_create("recorded");
    tcase_set_timeout(tcase, 0);
    tcase_add_unchecked_fixture(tcase, open_test_device, close_test_device);
    tcase_add_loop_test(tcase, test_recorded_step, 0, IJ_COUNT(files) * IJ_COUNT(elements));
    tcase_add_loop_test(tcase, test_changed_weight_is_noticed, 0, IJ_COUNT(elements));
    tcase_add_test(tcase, test_other_files_are_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}
