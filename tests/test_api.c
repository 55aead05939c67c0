/* The public interface: what a caller can do wrong is an error with words, and one small run goes all the way. */
#include "api_tools.h"
#include "base/file.h"
#include "io/image.h"

#include <math.h>
#include <string.h>

/* ---- arguments ---- */

START_TEST(test_null_arguments) {
    ijepa_error err;
    ijepa_config *config;
    char *yaml;
    int count;
    bool finished;
    float feature;
    uint8_t pixel = 0;
    ijepa_progress progress;
    ijepa_masks_result masks;
    ijepa_model_info info;
    ijepa_replay_result replay;
    ijepa_eval_result eval;
    ijepa_model *model;
    ijepa_trainer *trainer;
    API_OK(ijepa_config_create(&config, &err));
    API_NULL(ijepa_config_create(NULL, &err), "out");
    API_NULL(ijepa_config_load(NULL, "x", &err), "config");
    API_NULL(ijepa_config_load(config, NULL, &err), "path");
    API_NULL(ijepa_config_set(config, NULL, &err), "assignment");
    API_NULL(ijepa_config_check(NULL, NULL, 0, &err), "config");
    API_NULL(ijepa_config_text(config, NULL, &err), "yaml");
    API_NULL(ijepa_config_text(NULL, &yaml, &err), "config");
    API_NULL(ijepa_devices(NULL, NULL, 0, NULL, &err), "count");
    API_NULL(ijepa_devices(NULL, NULL, 1, &count, &err), "infos");
    API_NULL(ijepa_trainer_open(NULL, NULL, &trainer, &err), "config");
    API_NULL(ijepa_trainer_open(config, NULL, NULL, &err), "out");
    API_NULL(ijepa_trainer_step(NULL, &progress, &finished, &err), "trainer");
    API_NULL(ijepa_trainer_save(NULL, NULL, &err), "trainer");
    API_NULL(ijepa_model_open(NULL, NULL, 0, &model, &err), "path");
    API_NULL(ijepa_model_open("x", NULL, 0, NULL, &err), "out");
    API_NULL(ijepa_model_encode_file(NULL, "x", true, &feature, &err), "model");
    API_NULL(ijepa_model_encode(NULL, &pixel, 1, 1, 1, true, &feature, &err), "model");
    API_NULL(ijepa_replay(NULL, NULL, &replay, &err), "path");
    API_NULL(ijepa_replay("x", NULL, NULL, &err), "result");
    API_NULL(ijepa_selftest(NULL, NULL, &count, &err), "passed");
    API_NULL(ijepa_masks(NULL, 1, NULL, &masks, &err), "config");
    API_NULL(ijepa_masks(config, 1, NULL, NULL, &err), "result");
    API_NULL(ijepa_bench(NULL, NULL, &err), "options");
    API_NULL(ijepa_draw_bench(NULL, 0, NULL, "x", &err), "summary");
    API_NULL(ijepa_draw_run(NULL, &err), "run");
    API_NULL(ijepa_eval(NULL, NULL, &eval, &err), "run");
    API_NULL(ijepa_eval("x", NULL, NULL, &err), "result");
    API_NULL(ijepa_model_encode_files(NULL, NULL, 1, true, &feature, &err), "model");
    const char *const data[] = {"x", NULL};
    API_NULL(ijepa_model_open_with(NULL, NULL, &model, &err), "path");
    API_NULL(ijepa_embed(NULL, data, 1, &(ijepa_embed_options){.out = "x.npy"}, NULL, &err), "model");
    API_NULL(ijepa_embed("x", NULL, 1, &(ijepa_embed_options){.out = "x.npy"}, NULL, &err), "data");
    API_NULL(ijepa_embed("x", data, 2, &(ijepa_embed_options){.out = "x.npy"}, NULL, &err), "data[i]");
    API_NULL(ijepa_embed("x", data, 1, NULL, NULL, &err), "options");
    API_NULL(ijepa_embed("x", data, 1, &(ijepa_embed_options){0}, NULL, &err), "options->out");
    /* Without an error to fill, and things to close that are not there. */
    ck_assert_int_eq(ijepa_config_load(NULL, NULL, NULL), IJEPA_ERROR_ARGUMENT);
    ijepa_config_destroy(NULL);
    ijepa_trainer_close(NULL);
    ijepa_model_close(NULL);
    ijepa_replay_free(NULL);
    ijepa_model_describe(NULL, &info);
    ck_assert_int_eq(info.dim, 0);
    ck_assert_str_eq(ijepa_trainer_folder(NULL), "");
    ijepa_config_destroy(config);
}
END_TEST

START_TEST(test_garbage_arguments) {
    ijepa_error err;
    ijepa_config *config;
    ijepa_masks_result masks;
    ijepa_model *model;
    int count, passed, failed;
    API_OK(ijepa_config_create(&config, &err));
    API_FAILS(ijepa_devices(NULL, NULL, -1, &count, &err), IJEPA_ERROR_ARGUMENT, "capacity is -1");
    API_FAILS(ijepa_masks(config, 0, NULL, &masks, &err), IJEPA_ERROR_ARGUMENT, "batches is 0");
    API_FAILS(ijepa_model_open("/nonexistent/run", NULL, 0, &model, &err), IJEPA_ERROR_FILE, "/nonexistent/run");
    API_FAILS(ijepa_model_open("x", NULL, -1, &model, &err), IJEPA_ERROR_ARGUMENT, "batch is -1");
    const char *const data[] = {"x"};
    API_FAILS(ijepa_embed("x", data, 0, &(ijepa_embed_options){.out = "x.npy"}, NULL, &err), IJEPA_ERROR_ARGUMENT, "count is 0");
    API_FAILS(ijepa_embed("x", data, 1, &(ijepa_embed_options){.out = "x.npy", .encoder = "both"}, NULL, &err), IJEPA_ERROR_ARGUMENT,
              "encoder \"both\": there are target, context");
    API_FAILS(ijepa_embed("x", data, 1, &(ijepa_embed_options){.out = "x.npy", .precision = "f8"}, NULL, &err), IJEPA_ERROR_ARGUMENT, "f8");
    API_FAILS(ijepa_model_open_with("x", &(ijepa_model_options){.precision = "f8"}, &model, &err), IJEPA_ERROR_ARGUMENT, "f8");
    API_FAILS(ijepa_draw_run("/nonexistent/run", &err), IJEPA_ERROR_FILE, "/nonexistent/run/log.csv");
    ijepa_device_options nosuch = {.device = "no such device"};
    ijepa_selftest_options selftest = {.device = nosuch};
    API_FAILS(ijepa_selftest(&selftest, &passed, &failed, &err), IJEPA_ERROR_ARGUMENT, "no such device");
    selftest = (ijepa_selftest_options){.device = device_options(), .op = "no such op"};
    API_FAILS(ijepa_selftest(&selftest, &passed, &failed, &err), IJEPA_ERROR_ARGUMENT, "no such op");
    ijepa_config_destroy(config);
}
END_TEST

/* ---- configurations ---- */

static void check_fails(const char *yaml, const char *assignment, ijepa_status status, const char *part, const char *hint) {
    ijepa_error err = {0};
    ijepa_config *config = config_of(yaml, assignment);
    API_FAILS(ijepa_config_check(config, NULL, 0, &err), status, part);
    if (hint) ck_assert_msg(strstr(err.hint, hint) != NULL, "the hint is \"%s\"", err.hint);
    ijepa_config_destroy(config);
}

START_TEST(test_config_errors) {
    ijepa_error err;
    ijepa_config *config;
    scratch_begin();
    check_fails("optimization:\n  lr_max: 1\n", NULL, IJEPA_ERROR_ARGUMENT, "optimization.lr_max", NULL);
    check_fails("data:\n  batchsize: 3\n", NULL, IJEPA_ERROR_ARGUMENT, "data.batchsize", "data.batch_size");
    check_fails("data:\n  batch_size: many\n", NULL, IJEPA_ERROR_ARGUMENT, "line 2", NULL);
    check_fails("data:\n  batch_size: 0\n", NULL, IJEPA_ERROR_ARGUMENT, "data.batch_size", NULL);
    check_fails("data:\n  crop_size: 224\n", "mask.patch_size=15", IJEPA_ERROR_ARGUMENT, "224 x 224 is not a multiple of patch size 15",
                NULL);
    check_fails("meta:\n  model_name: vit_enormous\n", NULL, IJEPA_ERROR_ARGUMENT, "vit_enormous", NULL);
    check_fails("meta:\n  model_name: custom\n  embed_dim: 60\n  num_heads: 7\n", NULL, IJEPA_ERROR_ARGUMENT, "7 heads", NULL);
    check_fails("data:\n  use_horizontal_flip: true\n", NULL, IJEPA_ERROR_ARGUMENT, "use_horizontal_flip", NULL);
    API_OK(ijepa_config_create(&config, &err));
    API_FAILS(ijepa_config_load(config, scratch_path("missing.yaml"), &err), IJEPA_ERROR_FILE, "missing.yaml");
    API_FAILS(ijepa_config_load(config, scratch_write("bad.yaml", "a: [1, 2", 8), &err), IJEPA_ERROR_FORMAT, "bad.yaml");
    API_FAILS(ijepa_config_set(config, "no assignment", &err), IJEPA_ERROR_ARGUMENT, "no assignment");
    ijepa_config_destroy(config);
    scratch_end();
}
END_TEST

static const char *const recipes[] = {"fashion-mnist",     "photos",           "in1k_vith14_ep300", "in1k_vith16-448_ep300",
                                      "in22k_vith14_ep66", "in22k_vitg16_ep44"};

/* Every recipe is valid, and its effective configuration reads back as itself: a stored run is the run. */
START_TEST(test_recipe) {
    ijepa_error err;
    ijepa_config *config, *again;
    char path[600], notes[1000], *first, *second;
    scratch_begin();
    snprintf(path, sizeof path, "%s/../../samples/configs/%s.yaml", IJ_TEST_DATA, recipes[_i]);
    API_OK(ijepa_config_create(&config, &err));
    API_OK(ijepa_config_load(config, path, &err));
    API_OK(ijepa_config_check(config, notes, sizeof notes, &err));
    ck_assert_str_eq(notes, "");
    API_OK(ijepa_config_text(config, &first, &err));
    again = config_of(first, NULL);
    API_OK(ijepa_config_text(again, &second, &err));
    ck_assert_str_eq(first, second);
    free(first);
    free(second);
    ijepa_config_destroy(config);
    ijepa_config_destroy(again);
    scratch_end();
}
END_TEST

/* ---- devices, masks, proofs ---- */

START_TEST(test_devices) {
    ijepa_error err;
    ijepa_device_info infos[16];
    int count, chosen = 0;
    ijepa_device_options options = device_options();
    API_OK(ijepa_devices(&options, infos, 16, &count, &err));
    ck_assert_int_ge(count, 1);
    for (int i = 0; i < count && i < 16; i++) {
        chosen += infos[i].chosen;
        ck_assert(!infos[i].chosen || infos[i].usable);
        ck_assert_uint_ge(infos[i].memory_bytes, 1);
    }
    ck_assert_int_eq(chosen, 1);
}
END_TEST

START_TEST(test_masks) {
    ijepa_error err;
    ijepa_masks_result r;
    ij_image picture = {0};
    ij_error own = {0};
    scratch_begin();
    ijepa_config *config =
        config_of("data: {crop_size: 96, batch_size: 16}\nmask: {patch_size: 8, context_keep: 0.25}\nmeta: {model_name: vit_tiny}\n", NULL);
    API_OK(ijepa_masks(config, 20, scratch_path("masks"), &r, &err));
    ck_assert_int_eq(r.grid_height * r.grid_width, 144);
    ck_assert_int_eq(r.images, 320);
    ck_assert_double_le(r.context_max, 0.25);
    ck_assert(r.target_mean > 0.15 && r.target_mean < 0.2 && r.union_mean > r.target_mean);
    ck_assert_int_eq(r.leaks + r.below_min_keep, 0);
    ck_assert_msg(ij_image_read(scratch_path("masks/coverage.png"), 3, &picture, &own) == IJ_OK, "%s", own.text);
    ck_assert_int_ge(picture.width, 600);
    ck_assert_msg(ij_image_read(scratch_path("masks/examples.png"), 3, &picture, &own) == IJ_OK, "%s", own.text);
    ck_assert_int_ge(picture.height, 300);
    ij_image_free(&picture);
    ijepa_config_destroy(config);
    scratch_end();
}
END_TEST

START_TEST(test_replay) {
    ijepa_error err;
    ijepa_replay_result r;
    ijepa_device_options device = device_options();
    scratch_begin();
    API_FAILS(ijepa_replay(scratch_write("short.safetensors", "\x10", 1), &(ijepa_replay_options){.device = device}, &r, &err),
              IJEPA_ERROR_FORMAT, "short.safetensors");
    API_FAILS(ijepa_replay(scratch_path("missing.safetensors"), &(ijepa_replay_options){.device = device}, &r, &err), IJEPA_ERROR_FILE,
              "missing.safetensors");
    API_OK(ijepa_replay(IJ_TEST_DATA "/step.safetensors", &(ijepa_replay_options){.device = device}, &r, &err));
    ck_assert_msg(r.pass, "%s: a recorded step differs", r.device);
    ck_assert_int_gt(r.tensor_count, 100);
    ijepa_replay_free(&r);
    ck_assert_ptr_null(r.tensors);
    scratch_end();
}
END_TEST

static void count_row(void *user, const ijepa_bench_row *row) {
    ck_assert(row->verified && row->milliseconds > 0 && row->gflops > 0);
    ck_assert(row->note[0] == 0 && row->product && row->m == 67 && row->n == 33 && row->k == 41);
    ck_assert_str_eq(row->element, "f32");
    *(int *)user += 1;
}

START_TEST(test_bench) {
    ijepa_error err;
    int rows = 0;
    ijepa_bench_summary summary;
    ijepa_bench_options options = {.device = device_options(), .what = "everything", .on_row = count_row, .user = &rows, .runs = 2};
    API_FAILS(ijepa_bench(&options, NULL, &err), IJEPA_ERROR_ARGUMENT, "everything");
    options.what = "step";
    API_NULL(ijepa_bench(&options, NULL, &err), "options->config");
    options.what = "matmul", options.m = 67, options.n = 33, options.k = 41;
    API_OK(ijepa_bench(&options, NULL, &err));
    ck_assert_int_eq(rows, 3);
    options.kernel = "tile";
    API_OK(ijepa_bench(&options, &summary, &err));
    ck_assert_int_eq(rows, 6);
    ck_assert(summary.roof.gflops_f32 > 0 && summary.roof.gflops_f16 == 0 && summary.roof.gbytes > 0 && summary.device[0] &&
              !summary.baseline[0]);
    options.kernel = "magic";
    API_FAILS(ijepa_bench(&options, NULL, &err), IJEPA_ERROR_ARGUMENT, "auto, lane, vector, tile, coopmat, coopmat2, all");
    options.kernel = "coopmat"; /* multiplies 16 bits only */
    API_FAILS(ijepa_bench(&options, NULL, &err), IJEPA_ERROR_DEVICE, "no kernel \"coopmat\" for f32");
    options.kernel = NULL, options.element = "f8";
    API_FAILS(ijepa_bench(&options, NULL, &err), IJEPA_ERROR_ARGUMENT, "f32, f16, bf16, all");
    options.element = NULL, options.baseline = "mkl";
    API_FAILS(ijepa_bench(&options, NULL, &err), IJEPA_ERROR_ARGUMENT, "none, openblas, cublas");
    options.baseline = "cublas", options.baseline_library = "/nowhere/libcublas.so";
    API_FAILS(ijepa_bench(&options, NULL, &err), IJEPA_ERROR_FILE, "/nowhere/libcublas.so");
    ck_assert(err.hint[0]);
    options.what = "attention";
    API_FAILS(ijepa_bench(&options, NULL, &err), IJEPA_ERROR_ARGUMENT, "no baseline");
    options.what = "matmul", options.baseline = NULL, options.m = -1;
    API_FAILS(ijepa_bench(&options, NULL, &err), IJEPA_ERROR_ARGUMENT, "m -1");
    options.m = options.n = options.k = 0, options.model = "vit_vast";
    API_FAILS(ijepa_bench(&options, NULL, &err), IJEPA_ERROR_ARGUMENT, "vit_vast");
    ck_assert_int_eq(rows, 6);
}
END_TEST

/* 10 ms for 200 GFLOP and 1 GB under 40 TFLOP/s and 200 GB/s: half of each roof; what is larger counts. */
START_TEST(test_bench_bound) {
    bool memory;
    ijepa_bench_roof roof = {.gflops_f32 = 40e3, .gflops_f16 = 400e3, .gbytes = 200};
    ijepa_bench_row row = {.element = "f32", .kernel = "", .milliseconds = 10, .gflops = 200, .gbytes = 1};
    ck_assert_double_eq_tol(ijepa_bench_bound(&row, &roof, &memory), 0.5, 1e-12);
    row.gbytes = 1.6;
    ck_assert_double_eq_tol(ijepa_bench_bound(&row, &roof, &memory), 0.8, 1e-12);
    ck_assert(memory);
    row.element = "f16", row.gbytes = 0.01;
    ck_assert_double_eq_tol(ijepa_bench_bound(&row, &roof, &memory), 0.05, 1e-12);
    ck_assert(!memory);
    row.element = "bf16"; /* no roof of its own: f32's */
    ck_assert_double_eq_tol(ijepa_bench_bound(&row, &roof, NULL), 0.5, 1e-12);
    row.milliseconds = 0;
    ck_assert_double_eq(ijepa_bench_bound(&row, &roof, NULL), 0);
}
END_TEST

/* ---- a run ---- */

static int64_t run_steps(ijepa_config *config, const ijepa_trainer_options *options, int64_t stop_after, double *loss) {
    ijepa_error err;
    ijepa_trainer *trainer;
    ijepa_progress p = {0};
    bool finished = false;
    int64_t calls = 0;
    API_OK(ijepa_trainer_open(config, options, &trainer, &err));
    while (!finished && calls < stop_after) {
        API_OK(ijepa_trainer_step(trainer, &p, &finished, &err));
        calls++;
    }
    if (!finished) API_OK(ijepa_trainer_save(trainer, NULL, &err));
    ijepa_trainer_close(trainer);
    *loss = p.loss;
    return calls;
}

START_TEST(test_run) {
    ijepa_error err;
    double loss;
    scratch_begin();
    ijepa_config *config = run_config(scratch_path("run"));
    ijepa_trainer_options options = {.device = device_options()};
    ck_assert_int_eq(run_steps(config, &options, 7, &loss), 7);
    ijepa_trainer *trainer;
    API_FAILS(ijepa_trainer_open(config, &options, &trainer, &err), IJEPA_ERROR_ARGUMENT, "holds a run at step 7");
    ck_assert_ptr_null(trainer);
    options.resume = true;
    ck_assert_int_eq(run_steps(config, &options, 100, &loss), 5); /* 2 epochs of 6 steps */
    ck_assert(isfinite(loss) && loss > 0);
    API_OK(ijepa_draw_run(scratch_path("run"), &err));
    /* The same run without a stop ends at the same loss. */
    double whole;
    ijepa_config *second = run_config(scratch_path("second"));
    options.resume = false;
    ck_assert_int_eq(run_steps(second, &options, 100, &whole), 12);
    ck_assert_double_eq(loss, whole);
    ijepa_config_destroy(second);
    ijepa_config_destroy(config);
    scratch_end();
}
END_TEST

START_TEST(test_trainer_without_files) {
    ijepa_error err;
    ijepa_trainer *trainer;
    ijepa_progress p;
    bool finished;
    scratch_begin();
    ijepa_config *config = run_config(scratch_path("nothing"));
    ijepa_trainer_options options = {.device = device_options(), .no_files = true};
    API_OK(ijepa_trainer_open(config, &options, &trainer, &err));
    API_OK(ijepa_trainer_step(trainer, &p, &finished, &err));
    API_FAILS(ijepa_trainer_save(trainer, NULL, &err), IJEPA_ERROR_ARGUMENT, "a path is needed");
    API_OK(ijepa_trainer_save(trainer, scratch_path("state.safetensors"), &err));
    ijepa_trainer_close(trainer);
    ck_assert_int_ne(access(scratch_path("nothing"), F_OK), 0);
    ijepa_config_destroy(config);
    scratch_end();
}
END_TEST

/* Features do not depend on what else is in the batch, nor on whether the picture came from a file or from memory. */
START_TEST(test_model) {
    ijepa_error err;
    ijepa_model *one, *three;
    ijepa_model_info info;
    double loss;
    scratch_begin();
    ijepa_config *config = run_config(scratch_path("run"));
    ijepa_trainer_options options = {.device = device_options()};
    run_steps(config, &options, 3, &loss);
    API_OK(ijepa_model_open(scratch_path("run"), &options.device, 1, &one, &err));
    API_OK(ijepa_model_open(scratch_path("run"), &options.device, 3, &three, &err));
    ijepa_model_describe(one, &info);
    ck_assert(info.dim == 16 && info.patches == 16 && info.channels == 1 && info.step == 3 && info.parameters > 0);
    const char *const paths[] = {IJ_TEST_DATA "/images/grey.jpg", IJ_TEST_DATA "/images/rgb.png", IJ_TEST_DATA "/images/rgb.bmp",
                                 IJ_TEST_DATA "/images/rgb.png"};
    float single[16], many[4][16], tokens[16 * 16], from_memory[16];
    API_OK(ijepa_model_encode_files(three, paths, 4, true, &many[0][0], &err));
    for (int i = 0; i < 4; i++) {
        API_OK(ijepa_model_encode_file(one, paths[i], true, single, &err));
        ck_assert_mem_eq(single, many[i], sizeof single);
    }
    API_OK(ijepa_model_encode_file(one, paths[0], false, tokens, &err));
    API_OK(ijepa_model_encode_file(one, paths[0], true, single, &err));
    for (int d = 0; d < 16; d++) {
        double mean = 0;
        for (int p = 0; p < 16; p++) mean += (double)tokens[p * 16 + d] / 16;
        ck_assert_double_eq_tol(mean, (double)single[d], 1e-5);
    }
    ij_image picture = {0};
    ij_error own = {0};
    ck_assert_msg(ij_image_read(paths[0], 1, &picture, &own) == IJ_OK, "%s", own.text);
    API_OK(ijepa_model_encode(one, picture.pixels, picture.height, picture.width, 1, true, from_memory, &err));
    ck_assert_mem_eq(single, from_memory, sizeof single);
    API_FAILS(ijepa_model_encode(one, picture.pixels, 4, 4, 2, true, from_memory, &err), IJEPA_ERROR_ARGUMENT, "[4, 4, 2]");
    API_FAILS(ijepa_model_encode(one, picture.pixels, 0, 4, 1, true, from_memory, &err), IJEPA_ERROR_ARGUMENT, "[0, 4, 1]");
    API_FAILS(ijepa_model_encode_file(one, scratch_path("missing.png"), true, single, &err), IJEPA_ERROR_FILE, "missing.png");
    ij_image_free(&picture);
    ijepa_model_close(one);
    ijepa_model_close(three);
    ijepa_config_destroy(config);
    scratch_end();
}
END_TEST

START_TEST(test_eval) {
    ijepa_error err;
    ijepa_eval_result r;
    double loss;
    scratch_begin();
    ijepa_config *config = run_config(scratch_path("run"));
    ijepa_trainer_options options = {.device = device_options()};
    run_steps(config, &options, 2, &loss);
    ijepa_eval_options ask = {.device = device_options(), .batch = 16, .seeds = -1};
    API_FAILS(ijepa_eval(scratch_path("run"), &ask, &r, &err), IJEPA_ERROR_ARGUMENT, "seeds is -1");
    ask.seeds = 0;
    API_FAILS(ijepa_eval(scratch_path("no run"), &ask, &r, &err), IJEPA_ERROR_FILE, "no run");
    write_data("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte");
    API_OK(ijepa_eval(scratch_path("run"), &ask, &r, &err));
    static const char *const features[] = {"trained", "random", "pixels"};
    for (int i = 0; i < 3; i++) {
        const ijepa_eval_row *knn = ijepa_eval_find(&r, "classes", "knn", features[i]),
                             *logistic = ijepa_eval_find(&r, "classes", "logistic", features[i]),
                             *linear = ijepa_eval_find(&r, "classes", "linear", features[i]);
        ck_assert(knn && logistic && linear);
        ck_assert(knn->train_images == IMAGES && knn->test_images == IMAGES && knn->classes == CLASSES);
        ck_assert(knn->low <= knn->percent + 1e-9 && knn->percent <= knn->high + 1e-9);
        ck_assert_int_gt(linear->settings, 10);
        /* The test images are the training images, their classes differ in brightness. */
        ck_assert_msg(logistic->percent > 90, "%s: logistic regression %.1f %%", features[i], logistic->percent);
    }
    ck_assert_ptr_null(ijepa_eval_find(&r, "classes", "low-shot", "trained"));
    ck_assert_ptr_nonnull(strstr(r.json, "\"method\":\"logistic\""));
    void *kept;
    size_t bytes;
    ij_error own = {0};
    CHECK_OK(ij_file_read(scratch_path("run/eval.json"), 0, &kept, &bytes, &own));
    ck_assert_str_eq(r.json, kept); /* what the folder keeps is what the call returns */
    free(kept);
    ijepa_eval_free(&r);
    ijepa_config_destroy(config);
    scratch_end();
}
END_TEST

Suite *api_suite(void) {
    Suite *suite = suite_create("api");
    TCase *arguments = tcase_create("arguments");
    tcase_add_test(arguments, test_null_arguments);
    tcase_add_test(arguments, test_garbage_arguments);
    tcase_add_test(arguments, test_config_errors);
    tcase_add_loop_test(arguments, test_recipe, 0, IJ_COUNT(recipes));
    suite_add_tcase(suite, arguments);
    TCase *work = tcase_create("work");
    tcase_set_timeout(work, 0);
    tcase_add_test(work, test_devices);
    tcase_add_test(work, test_masks);
    tcase_add_test(work, test_replay);
    tcase_add_test(work, test_bench);
    tcase_add_test(work, test_bench_bound);
    tcase_add_test(work, test_run);
    tcase_add_test(work, test_trainer_without_files);
    tcase_add_test(work, test_model);
    tcase_add_test(work, test_eval);
    suite_add_tcase(suite, work);
    return suite;
}
