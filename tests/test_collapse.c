/* Whole runs on pictures that have nothing to tell apart, and what a run does about collapse. */
#include "suites.h"
#include "scratch.h"
#include "io/npy.h"
#include "io/safetensors.h"
#include "model/jepa.h"
#include "train/config.h"
#include "train/trainer.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#define PICTURES 64
#define SIZE 16

/* An IDX file of grey pictures; picture i is all `grey[i]`. */
static void write_pictures(const uint8_t grey[PICTURES]) {
    static uint8_t file[16 + PICTURES * SIZE * SIZE];
    const uint8_t head[16] = {0, 0, 8, 3, 0, 0, 0, PICTURES, 0, 0, 0, SIZE, 0, 0, 0, SIZE};
    memcpy(file, head, sizeof head);
    for (int i = 0; i < PICTURES; i++) memset(file + 16 + i * SIZE * SIZE, grey[i], SIZE * SIZE);
    scratch_write("pictures-idx3-ubyte", file, sizeof file);
}

static ij_train_config config_of(const char *run, ij_on_collapse on_collapse, int64_t steps) {
    ij_error err = {0};
    ij_config_text text = {0};
    ij_train_config c;
    char yaml[1200];
    snprintf(yaml, sizeof yaml,
             "data: {path: %s, crop_size: 16, batch_size: 8, channels: 1, random_crop: false, mean: [0.5], std: [0.5], num_workers: 1}\n"
             "mask: {patch_size: 4}\n"
             "meta: {model_name: custom, embed_dim: 16, depth: 1, num_heads: 1, pred_emb_dim: 8, pred_depth: 1, pred_num_heads: 1,\n"
             "  precision: f32}\n"
             "optimization: {epochs: 100, steps: %lld, warmup: 0, lr: 0.001}\n"
             "logging: {folder: %s, monitor_every: 1, checkpoint_every: 9, keep: 0}\n",
             scratch_path("pictures-idx3-ubyte"), (long long)steps, scratch_path(run));
    ij_train_config_defaults(&c);
    CHECK_OK(ij_config_text_load_memory(&text, yaml, strlen(yaml), "test", &err));
    CHECK_OK(ij_train_config_read(&text, &c, NULL, 0, &err));
    ij_config_text_free(&text);
    c.on_collapse = on_collapse;
    return c;
}

static gpu_device_desc device_desc(void) {
    return (gpu_device_desc){.select = getenv("IJEPA_DEVICE"), .validation = getenv("IJEPA_VALIDATION") != NULL};
}

/* The trainer has a device of its own. */
static void close_trainer(ij_trainer *trainer) {
    const char *first;
    int messages = gpu_device_messages(ij_trainer_jepa(trainer)->device, &first);
    ck_assert_msg(messages == 0, "%d validation messages, the first: %s", messages, first);
    ij_trainer_close(trainer);
}

static void open_trainer(const ij_train_config *c, bool resume, ij_trainer **trainer) {
    ij_error err = {0};
    ij_trainer_options options = {.device = device_desc(), .resume = resume, .no_tune = true};
    CHECK_OK(ij_trainer_open(c, &options, trainer, &err));
}

/* Steps until the run is finished, or has made `most`. */
static ij_progress make_steps(ij_trainer *trainer, int64_t most) {
    ij_error err = {0};
    ij_progress progress = {0};
    bool finished = false;
    for (int64_t i = 0; i < most && !finished; i++) CHECK_OK(ij_trainer_step(trainer, &progress, &finished, &err));
    return progress;
}

static void constant_pictures(void) {
    uint8_t grey[PICTURES];
    memset(grey, 140, sizeof grey);
    write_pictures(grey);
}

START_TEST(test_constant_pictures_stop_a_run) {
    ij_trainer *trainer;
    scratch_begin();
    constant_pictures();
    ij_train_config c = config_of("run", IJ_ON_COLLAPSE_STOP, 40);
    open_trainer(&c, false, &trainer);
    ij_progress p = make_steps(trainer, 40);
    ck_assert(p.collapsed && p.step < 10);
    ck_assert_str_eq(p.verdict, "collapsed");
    ck_assert_ptr_nonnull(strstr(p.reason, "pictures"));
    char name[80];
    snprintf(name, sizeof name, "run/checkpoints/step-%08lld.safetensors", (long long)p.step);
    ck_assert_int_eq(access(scratch_path(name), R_OK), 0);
    close_trainer(trainer);
    scratch_end();
}
END_TEST

/* Shades differ: there is one thing to know of a picture, and a network that was not trained long knows it still. */
START_TEST(test_shades_are_not_collapse) {
    ij_trainer *trainer;
    uint8_t grey[PICTURES];
    scratch_begin();
    for (int i = 0; i < PICTURES; i++) grey[i] = (uint8_t)(4 * i);
    write_pictures(grey);
    ij_train_config c = config_of("run", IJ_ON_COLLAPSE_STOP, 20);
    open_trainer(&c, false, &trainer);
    ij_progress p = make_steps(trainer, 20);
    ck_assert_msg(!p.collapsed && p.step == 20, "step %lld: %s: %s", (long long)p.step, p.verdict, p.reason);
    close_trainer(trainer);
    scratch_end();
}
END_TEST

/* Backs off three times, six looks apart, and a run that is saved between two of them and resumed ends with the same weights. */
START_TEST(test_backoff_survives_a_resume) {
    enum { STEPS = 30 };
    ij_error err = {0};
    ij_trainer *trainer;
    scratch_begin();
    constant_pictures();
    for (int cut = 0; cut < 3; cut++) { /* never, before the first backing off holds, between two */
        ij_train_config c = config_of(cut ? "cut" : "whole", IJ_ON_COLLAPSE_BACKOFF, STEPS);
        ij_trainer_options options = {.device = device_desc(), .overwrite = true, .no_tune = true};
        CHECK_OK(ij_trainer_open(&c, &options, &trainer, &err));
        if (cut) {
            make_steps(trainer, cut == 1 ? 5 : 13);
            CHECK_OK(ij_trainer_save(trainer, NULL, &err));
            ij_trainer_close(trainer);
            open_trainer(&c, true, &trainer);
        }
        ij_progress p = make_steps(trainer, STEPS);
        ck_assert_int_eq(p.step, STEPS);
        ck_assert_double_eq_tol(p.lr, ij_schedule_lr(&c.schedule, STEPS - 1) / 8, 1e-12);
        close_trainer(trainer);
        float *weights[2];
        for (int i = 0; i < 2 && cut; i++) {
            char path[80];
            snprintf(path, sizeof path, "%s/checkpoints/step-%08d.safetensors", i ? "cut" : "whole", STEPS);
            ij_safetensors *file;
            const ij_safetensors_tensor *tensor;
            CHECK_OK(ij_safetensors_open(scratch_path(path), &file, &err));
            CHECK_OK(ij_safetensors_need(file, "target_encoder.blocks.0.attn.qkv.weight", IJ_SAFETENSORS_F32, 2, (int64_t[]){48, 16},
                                         &tensor, &err));
            weights[i] = exact_copy(tensor->data, 4 * 48 * 16);
            ij_safetensors_close(file);
        }
        if (!cut) continue;
        ck_assert_mem_eq(weights[0], weights[1], 4 * 48 * 16);
        free(weights[0]), free(weights[1]);
    }
    scratch_end();
}
END_TEST

START_TEST(test_backoff_schedule) {
    ij_schedule s = {
        .lr = 1, .final_lr = 1, .start_lr = 1, .ema = 0.9, .final_ema = 0.9, .epochs = 1, .steps_per_epoch = 100, .ipe_scale = 1};
    ck_assert_double_eq(ij_schedule_lr(&s, 50), 1);
    ck_assert_double_eq(ij_schedule_momentum(&s, 50), 0.9);
    s.backoffs = 2, s.backoff_since = 60;
    ck_assert_double_eq(ij_schedule_lr(&s, 59), 0.5);
    ck_assert_double_eq(ij_schedule_lr(&s, 60), 0.25);
    ck_assert_double_eq_tol(ij_schedule_momentum(&s, 59), 0.95, 1e-12);
    ck_assert_double_eq_tol(ij_schedule_momentum(&s, 60), 0.975, 1e-12);
}
END_TEST

/* For tests/peers_monitor.py: a short run, the tensors that its last look saw beside it. Without $IJEPA_PEER_MONITOR, a folder, and
 * $IJEPA_PEER_PICTURES, an IDX file, there is no such test. */
static void export_matrix(const char *folder, const char *name, gpu_device *device, gpu_tensor from, int64_t rows, int64_t columns) {
    ij_error err = {0};
    char path[4096];
    float *values = malloc((size_t)(rows * columns) * sizeof *values);
    snprintf(path, sizeof path, "%s/%s.npy", folder, name);
    CHECK_OK(op_read_floats(device, from, rows, columns, values, &err));
    CHECK_OK(ij_npy_write(path, IJ_NPY_F32, 2, (int64_t[]){rows, columns}, values, &err));
    free(values);
}

START_TEST(test_peers_monitor) {
    enum { STEPS = 20, BATCH = 16 };
    const char *folder = getenv("IJEPA_PEER_MONITOR");
    ij_error err = {0};
    ij_trainer *trainer;
    scratch_begin();
    ij_train_config c = config_of("run", IJ_ON_COLLAPSE_WARN, STEPS);
    snprintf(c.data_path, sizeof c.data_path, "%s", getenv("IJEPA_PEER_PICTURES"));
    snprintf(c.folder, sizeof c.folder, "%s/run", folder);
    c.batch = BATCH, c.checkpoint_every = 1, c.model.dim = 32, c.model.hidden = 128, c.schedule.epochs = 1;
    open_trainer(&c, false, &trainer);
    ck_assert_int_eq(make_steps(trainer, STEPS).step, STEPS);
    const ij_jepa *j = ij_trainer_jepa(trainer);
    uint32_t offsets[BATCH * MASKS_BLOCKS_MAX + 1], count = (uint32_t)(BATCH * j->desc.masks.blocks);
    CHECK_OK(gpu_read(j->device, j->masks.tgt_offsets, 0, offsets, 4 * ((uint64_t)count + 1), &err));
    int64_t rows = offsets[count];
    export_matrix(folder, "features", j->device, j->target_saved.y, BATCH * ij_patches(&j->desc.model), c.model.dim);
    export_matrix(folder, "targets", j->device, j->targets, rows, c.model.dim);
    export_matrix(folder, "predictions", j->device, j->predictions, rows, c.model.dim);
    int32_t *place = malloc((size_t)rows * 4);
    char path[4096];
    snprintf(path, sizeof path, "%s/place.npy", folder);
    CHECK_OK(gpu_read(j->device, j->masks.tgt_rows, 0, place, 4 * (uint64_t)rows, &err));
    CHECK_OK(ij_npy_write(path, IJ_NPY_I32, 1, (int64_t[]){rows}, place, &err));
    free(place);
    close_trainer(trainer);
    scratch_end();
}
END_TEST

Suite *collapse_suite(void) {
    Suite *suite = suite_create("collapse");
    TCase *runs = tcase_create("runs");
    tcase_set_timeout(runs, 0);
    tcase_add_test(runs, test_backoff_schedule);
    tcase_add_test(runs, test_constant_pictures_stop_a_run);
    tcase_add_test(runs, test_shades_are_not_collapse);
    tcase_add_test(runs, test_backoff_survives_a_resume);
    if (getenv("IJEPA_PEER_MONITOR") && getenv("IJEPA_PEER_PICTURES")) tcase_add_test(runs, test_peers_monitor);
    suite_add_tcase(suite, runs);
    return suite;
}
