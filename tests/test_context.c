/* Contexts, data sets of the program's own, batches of buffers, a trainer's live encoder, threads, and the layout check. */
#include "api_tools.h"
#include "io/image.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

/* ---- contexts ---- */

typedef struct heard {
    int lines[2]; /* info, warning */
    char first[400];
} heard;

static void on_log(void *user, ijepa_log_level level, const char *line) {
    heard *h = user;
    if (h->lines[0] + h->lines[1] == 0) snprintf(h->first, sizeof h->first, "%s", line);
    h->lines[level]++;
}

static ijepa_context *open_context(heard *h) {
    ijepa_error err;
    ijepa_context *context;
    ijepa_context_options options = {.device = device_options(), .log = h ? on_log : NULL, .user = h};
    API_OK(ijepa_context_open(&options, &context, &err));
    return context;
}

/* The layers must have said nothing. */
static void close_context(ijepa_context *context) {
    const char *first;
    ck_assert_msg(ijepa_context_messages(context, &first) == 0, "validation: %s", first);
    ijepa_context_close(context);
}

/* A checkpoint after `steps` steps. */
static const char *make_checkpoint(ijepa_config *config, ijepa_context *context, int steps) {
    ijepa_error err;
    ijepa_trainer *trainer;
    ijepa_progress p;
    bool finished;
    static char path[600]; /* scratch_path's own are soon used again */
    snprintf(path, sizeof path, "%s", scratch_path("state.safetensors"));
    ijepa_trainer_options options = {.device.context = context, .no_files = true};
    API_OK(ijepa_trainer_open(config, &options, &trainer, &err));
    for (int i = 0; i < steps; i++) API_OK(ijepa_trainer_step(trainer, &p, &finished, &err));
    API_OK(ijepa_trainer_save(trainer, path, &err));
    ijepa_trainer_close(trainer);
    return path;
}

START_TEST(test_context) {
    ijepa_error err;
    heard h = {0};
    ijepa_model *shared, *own, *second;
    ijepa_device_info info;
    float a[16], b[16];
    scratch_begin();
    ijepa_context *context = open_context(&h);
    ck_assert_int_eq(h.lines[IJEPA_LOG_INFO], 1);
    ck_assert_ptr_nonnull(strstr(h.first, "device: "));
    ijepa_context_describe(context, &info);
    ck_assert(info.usable && info.chosen && info.memory_bytes > 0 && strstr(h.first, info.name));
    ijepa_config *config = run_config("unused");
    const char *path = make_checkpoint(config, context, 2);
    ck_assert_int_gt(h.lines[IJEPA_LOG_INFO], 3); /* what the trainer had to say */
    ijepa_device_options with = {.context = context}, without = device_options();
    API_OK(ijepa_model_open(path, &with, 1, &shared, &err));
    API_OK(ijepa_model_open(path, &without, 1, &own, &err));
    API_OK(ijepa_model_encode_file(shared, IJ_TEST_DATA "/images/grey.jpg", true, a, &err));
    API_OK(ijepa_model_encode_file(own, IJ_TEST_DATA "/images/grey.jpg", true, b, &err));
    ck_assert_mem_eq(a, b, sizeof a);
    /* What a context was opened with is not said again, and a context has none. */
    with.validation = true;
    API_FAILS(ijepa_model_open(path, &with, 1, &second, &err), IJEPA_ERROR_ARGUMENT, "is used as it is");
    ck_assert_ptr_null(second);
    with = (ijepa_device_options){.context = context};
    ijepa_context *inner;
    API_FAILS(ijepa_context_open(&(ijepa_context_options){.device = with}, &inner, &err), IJEPA_ERROR_ARGUMENT, "no context of its own");
    API_FAILS(ijepa_context_open(&(ijepa_context_options){.device.device = "no such device"}, &inner, &err), IJEPA_ERROR_ARGUMENT,
              "no such device");
    API_NULL(ijepa_context_open(NULL, NULL, &err), "out");
    /* A model outlives the context, which takes nothing new. */
    close_context(context);
    API_FAILS(ijepa_model_open(path, &with, 1, &second, &err), IJEPA_ERROR_ARGUMENT, "the context is closed");
    ijepa_trainer *trainer;
    API_FAILS(ijepa_trainer_open(config, &(ijepa_trainer_options){.device = with}, &trainer, &err), IJEPA_ERROR_ARGUMENT, "is closed");
    ijepa_context_describe(context, &info);
    ck_assert_int_eq(info.usable, 0);
    memset(a, 0, sizeof a);
    API_OK(ijepa_model_encode_file(shared, IJ_TEST_DATA "/images/grey.jpg", true, a, &err));
    ck_assert_mem_eq(a, b, sizeof a);
    ijepa_model_close(shared);
    ijepa_model_close(own);
    ijepa_context_close(NULL);
    ck_assert_int_eq(ijepa_context_messages(NULL, NULL), 0);
    ijepa_config_destroy(config);
    scratch_end();
}
END_TEST

/* What options leave without a callback comes to the log; what they have does not. */
static void count_line(void *user, const char *line) {
    (void)line;
    *(int *)user += 1;
}

START_TEST(test_log) {
    ijepa_error err;
    heard h = {0};
    ijepa_embed_result r;
    int own = 0;
    scratch_begin();
    ijepa_context *context = open_context(&h);
    ijepa_config *config = run_config("unused");
    const char *model = make_checkpoint(config, context, 1);
    char folder[600], out[600];
    snprintf(out, sizeof out, "%s", scratch_path("x.npy"));
    mkdir(scratch_path("pictures"), 0777);
    scratch_write("pictures/broken.png", "no picture", 10);
    ij_image picture = {0};
    ij_error ours = {0};
    CHECK_OK(ij_image_read(IJ_TEST_DATA "/images/grey.jpg", 1, &picture, &ours));
    CHECK_OK(ij_png_write(scratch_path("pictures/good.png"), picture.pixels, picture.width, picture.height, 1, &ours));
    ij_image_free(&picture);
    snprintf(folder, sizeof folder, "%s", scratch_path("pictures"));
    const char *const data[] = {folder};
    ijepa_embed_options ask = {.device.context = context, .out = out};
    API_OK(ijepa_embed(model, data, 1, &ask, &r, &err));
    ck_assert_int_eq(r.damaged, 1);
    ck_assert_int_eq(h.lines[IJEPA_LOG_WARNING], 1);
    ask.damaged = count_line, ask.user = &own;
    API_OK(ijepa_embed(model, data, 1, &ask, &r, &err));
    ck_assert_int_eq(own, 1);
    ck_assert_int_eq(h.lines[IJEPA_LOG_WARNING], 1);
    close_context(context);
    ijepa_config_destroy(config);
    scratch_end();
}
END_TEST

/* ---- data sets ---- */

typedef struct own_images {
    atomic_int reads;
    int64_t broken; /* -1: none; -2: all */
    bool sized;
} own_images;

static bool own_size(void *user, int64_t i, int *height, int *width) {
    (void)user, (void)i;
    *height = *width = SIDE;
    return true;
}

static bool own_read(void *user, int64_t i, uint8_t *pixels) {
    own_images *o = user;
    o->reads++;
    for (int p = 0; p < SIDE * SIDE; p++) pixels[p] = pixel_of((int)i, p);
    return i != o->broken && o->broken != -2;
}

static ijepa_dataset *own_dataset(own_images *o) {
    ijepa_error err;
    ijepa_dataset *dataset;
    int labels[IMAGES];
    for (int i = 0; i < IMAGES; i++) labels[i] = i % CLASSES;
    ijepa_dataset_source source = {.count = IMAGES,
                                   .channels = 1,
                                   .height = o->sized ? 0 : SIDE,
                                   .width = o->sized ? 0 : SIDE,
                                   .size = o->sized ? own_size : NULL,
                                   .read = own_read,
                                   .labels = labels,
                                   .classes = CLASSES,
                                   .name = "ours",
                                   .user = o};
    API_OK(ijepa_dataset_from_callback(&source, &dataset, &err));
    memset(labels, 0x7f, sizeof labels); /* they were copied */
    return dataset;
}

/* A program's images and the same in a file are the same data set. */
START_TEST(test_dataset) {
    ijepa_error err;
    own_images o = {.broken = -1, .sized = _i};
    ijepa_dataset *file, *own = own_dataset(&o);
    uint8_t a[SIDE * SIDE], b[SIDE * SIDE];
    int height, width;
    scratch_begin();
    API_OK(ijepa_dataset_open(write_data("train-images-idx3-ubyte", "train-labels-idx1-ubyte"), NULL, &file, &err));
    ck_assert(ijepa_dataset_count(own) == IMAGES && ijepa_dataset_count(file) == IMAGES);
    ck_assert(ijepa_dataset_classes(own) == CLASSES && ijepa_dataset_channels(own) == 1);
    for (int64_t i = 0; i < IMAGES; i++) {
        ck_assert_int_eq(ijepa_dataset_label(own, i), ijepa_dataset_label(file, i));
        ck_assert_str_eq(ijepa_dataset_class_name(own, (int)(i % CLASSES)), ijepa_dataset_class_name(file, (int)(i % CLASSES)));
        API_OK(ijepa_dataset_read(own, i, NULL, 0, &height, &width, &err));
        ck_assert(height == SIDE && width == SIDE);
        API_OK(ijepa_dataset_read(own, i, a, sizeof a, &height, &width, &err));
        API_OK(ijepa_dataset_read(file, i, b, sizeof b, &height, &width, &err));
        ck_assert_mem_eq(a, b, sizeof a);
    }
    ck_assert_int_eq(o.reads, IMAGES); /* asking for the size and reading decode once */
    ck_assert_str_eq(ijepa_dataset_name(own, 17), "ours:17");
    ck_assert_str_eq(ijepa_dataset_name(file, 17), "train-images-idx3-ubyte:17");
    ck_assert_str_eq(ijepa_dataset_name(own, IMAGES), "");
    ck_assert(!ijepa_dataset_class_name(own, CLASSES) && !ijepa_dataset_class_name(own, -1) && ijepa_dataset_label(own, -1) == -1);
    height = width = 0;
    API_FAILS(ijepa_dataset_read(own, 3, a, sizeof a - 1, &height, &width, &err), IJEPA_ERROR_ARGUMENT, "has 256");
    ck_assert(height == SIDE && width == SIDE);
    API_FAILS(ijepa_dataset_read(own, IMAGES, a, sizeof a, &height, &width, &err), IJEPA_ERROR_ARGUMENT, "image 48, there are 48");
    o.broken = 5;
    API_FAILS(ijepa_dataset_read(own, 5, a, sizeof a, &height, &width, &err), IJEPA_ERROR_FILE, "ours:5");
    ijepa_dataset_close(own);
    ijepa_dataset_close(file);
    scratch_end();
}
END_TEST

START_TEST(test_dataset_misuse) {
    ijepa_error err;
    ijepa_dataset *dataset;
    int labels[2] = {0, 2}, height, width;
    own_images o = {0};
    const ijepa_dataset_source good = {.count = 2, .channels = 1, .height = SIDE, .width = SIDE, .read = own_read, .user = &o};
    ijepa_dataset_source s = good;
    API_NULL(ijepa_dataset_from_callback(NULL, &dataset, &err), "source");
    API_NULL(ijepa_dataset_from_callback(&s, NULL, &err), "out");
    API_NULL(ijepa_dataset_open(NULL, NULL, &dataset, &err), "path");
    API_NULL(ijepa_dataset_read(NULL, 0, NULL, 0, &height, &width, &err), "dataset");
    API_FAILS(ijepa_dataset_open("/nonexistent/data", NULL, &dataset, &err), IJEPA_ERROR_FILE, "/nonexistent/data");
    ck_assert_ptr_null(dataset);
    s.count = 0;
    API_FAILS(ijepa_dataset_from_callback(&s, &dataset, &err), IJEPA_ERROR_ARGUMENT, "0 images");
    s = good, s.channels = 2;
    API_FAILS(ijepa_dataset_from_callback(&s, &dataset, &err), IJEPA_ERROR_ARGUMENT, "2 channels");
    s = good, s.read = NULL;
    API_FAILS(ijepa_dataset_from_callback(&s, &dataset, &err), IJEPA_ERROR_ARGUMENT, "needs `read`");
    s = good, s.height = s.width = 0;
    API_FAILS(ijepa_dataset_from_callback(&s, &dataset, &err), IJEPA_ERROR_ARGUMENT, "`size`");
    s = good, s.width = -3;
    API_FAILS(ijepa_dataset_from_callback(&s, &dataset, &err), IJEPA_ERROR_ARGUMENT, "-3 x 16");
    s = good, s.labels = labels;
    API_FAILS(ijepa_dataset_from_callback(&s, &dataset, &err), IJEPA_ERROR_ARGUMENT, "go together");
    s.classes = 2;
    API_FAILS(ijepa_dataset_from_callback(&s, &dataset, &err), IJEPA_ERROR_ARGUMENT, "label 2 of image 1");
    const char *const names[] = {"a", NULL, "c"};
    s.classes = 3, s.class_names = names;
    API_NULL(ijepa_dataset_from_callback(&s, &dataset, &err), "source->class_names[k]");
    ijepa_dataset_close(NULL);
    ck_assert(ijepa_dataset_count(NULL) == 0 && ijepa_dataset_classes(NULL) == 0 && ijepa_dataset_label(NULL, 0) == -1);
    ck_assert_str_eq(ijepa_dataset_name(NULL, 0), "");
}
END_TEST

/* ---- a trainer's own data, its encoder, its evaluation ---- */

static double train(ijepa_config *config, ijepa_context *context, ijepa_dataset *dataset, int64_t *damaged) {
    ijepa_error err;
    ijepa_trainer *trainer;
    ijepa_progress p = {0};
    bool finished = false;
    ijepa_trainer_options options = {.device.context = context, .no_files = true, .dataset = dataset};
    API_OK(ijepa_trainer_open(config, &options, &trainer, &err));
    ijepa_dataset_close(dataset); /* the trainer has it now */
    while (!finished) API_OK(ijepa_trainer_step(trainer, &p, &finished, &err));
    ijepa_trainer_close(trainer);
    *damaged = p.damaged_images;
    return p.loss;
}

START_TEST(test_train_own_data) {
    ijepa_error err;
    ijepa_trainer *trainer;
    int64_t damaged;
    scratch_begin();
    ijepa_context *context = open_context(NULL);
    ijepa_config *config = run_config("unused");
    own_images o = {.broken = -1}, sized = {.broken = -1, .sized = true}, one = {.broken = 7}, all = {.broken = -2};
    double from_file = train(config, context, NULL, &damaged);
    ck_assert_double_eq(train(config, context, own_dataset(&o), &damaged), from_file);
    ck_assert_int_eq(damaged, 0);
    ck_assert_double_eq(train(config, context, own_dataset(&sized), &damaged), from_file);
    ck_assert(isfinite(train(config, context, own_dataset(&one), &damaged)));
    ck_assert_int_eq(damaged, 1);
    ijepa_dataset *broken = own_dataset(&all);
    ijepa_trainer_options options = {.device.context = context, .no_files = true, .dataset = broken};
    ijepa_progress p;
    bool finished;
    API_OK(ijepa_trainer_open(config, &options, &trainer, &err));
    API_FAILS(ijepa_trainer_step(trainer, &p, &finished, &err), IJEPA_ERROR_FORMAT, "cannot be decoded");
    ijepa_trainer_close(trainer);
    API_OK(ijepa_config_set(config, "data.channels=3", &err));
    API_FAILS(ijepa_trainer_open(config, &options, &trainer, &err), IJEPA_ERROR_MISMATCH, "images of 1 channels");
    ijepa_dataset_close(broken);
    ijepa_config_destroy(config);
    close_context(context);
    scratch_end();
}
END_TEST

START_TEST(test_trainer_model_and_evaluation) {
    ijepa_error err;
    ijepa_trainer *trainer;
    ijepa_model *live, *again, *saved;
    ijepa_model_info info;
    ijepa_eval_result r, other;
    ijepa_progress p = {0};
    bool finished = false;
    int64_t damaged;
    own_images o = {.broken = -1};
    float a[16], b[16];
    scratch_begin();
    ijepa_context *context = open_context(NULL);
    ijepa_config *config = run_config("unused");
    API_OK(ijepa_config_set(config, _i ? "meta.precision=f16" : "meta.precision=f32", &err));
    double undisturbed = train(config, context, own_dataset(&o), &damaged);
    ijepa_dataset *data = own_dataset(&o);
    ijepa_trainer_options options = {.device.context = context, .no_files = true, .dataset = data};
    API_OK(ijepa_trainer_open(config, &options, &trainer, &err));
    for (int i = 0; i < 5; i++) API_OK(ijepa_trainer_step(trainer, &p, &finished, &err));
    /* The live encoder is the saved one. */
    API_OK(ijepa_trainer_model(trainer, &live, &err));
    ijepa_model_describe(live, &info);
    ck_assert(info.step == 5 && info.dim == 16 && info.features == 16);
    API_OK(ijepa_model_encode_file(live, IJ_TEST_DATA "/images/grey.jpg", true, a, &err));
    API_OK(ijepa_trainer_save(trainer, scratch_path("state.safetensors"), &err));
    API_OK(ijepa_model_open_with(scratch_path("state.safetensors"),
                                 &(ijepa_model_options){.device.context = context, .precision = _i ? "f16" : "f32"}, &saved, &err));
    API_OK(ijepa_model_encode_file(saved, IJ_TEST_DATA "/images/grey.jpg", true, b, &err));
    ck_assert_mem_eq(a, b, sizeof a);
    ijepa_model_close(saved);
    ijepa_model_close(live); /* does nothing */
    /* So is its evaluation. */
    ijepa_eval_options ask = {.methods = "knn,logistic", .features = "trained,random", .test_data = data};
    API_OK(ijepa_trainer_evaluate(trainer, &ask, &r, &err));
    ask.device.context = context, ask.train_data = data, ask.precision = _i ? "f16" : "f32";
    API_OK(ijepa_eval(scratch_path("state.safetensors"), &ask, &other, &err));
    ck_assert(r.step == 5 && r.count == other.count && r.count > 4);
    for (int i = 0; i < r.count; i++) ck_assert_double_eq(r.rows[i].percent, other.rows[i].percent);
    ck_assert_ptr_nonnull(ijepa_eval_find(&r, "classes", "knn", "trained"));
    ijepa_eval_free(&r);
    ijepa_eval_free(&other);
    API_FAILS(ijepa_trainer_evaluate(trainer, &ask, &r, &err), IJEPA_ERROR_ARGUMENT, "in its own");
    ask.precision = NULL;
    API_FAILS(ijepa_trainer_evaluate(trainer, &ask, &r, &err), IJEPA_ERROR_ARGUMENT, "its own device");
    ask = (ijepa_eval_options){.methods = "knn,fine-tune", .test_data = data};
    API_FAILS(ijepa_trainer_evaluate(trainer, &ask, &r, &err), IJEPA_ERROR_ARGUMENT, "fine-tune trains the encoder further");
    API_NULL(ijepa_trainer_evaluate(NULL, &ask, &r, &err), "trainer");
    API_NULL(ijepa_trainer_model(NULL, &again, &err), "trainer");
    /* And the training has not noticed. */
    while (!finished) API_OK(ijepa_trainer_step(trainer, &p, &finished, &err));
    ck_assert_double_eq(p.loss, undisturbed);
    API_OK(ijepa_trainer_model(trainer, &again, &err));
    ck_assert_ptr_eq(again, live);
    ijepa_model_describe(again, &info);
    ck_assert_int_eq(info.step, 12);
    API_OK(ijepa_model_encode_file(again, IJ_TEST_DATA "/images/grey.jpg", true, b, &err));
    ck_assert_mem_ne(a, b, sizeof a);
    ijepa_trainer_close(trainer);
    ijepa_dataset_close(data);
    ijepa_config_destroy(config);
    close_context(context);
    scratch_end();
}
END_TEST

/* Fine-tuning on data sets of the program's own: what a file gives. */
START_TEST(test_finetune_own_data) {
    ijepa_error err;
    ijepa_finetune_result own, file;
    own_images o = {.broken = -1};
    scratch_begin();
    ijepa_context *context = open_context(NULL);
    ijepa_config *config = run_config("unused");
    const char *model = make_checkpoint(config, context, 1);
    ijepa_dataset *data = own_dataset(&o);
    ijepa_finetune_options ask = {
        .device.context = context, .epochs = 1, .batch = 8, .augment = "none", .train_data = data, .test_data = data};
    API_OK(ijepa_finetune(model, &ask, &own, &err));
    char path[600];
    snprintf(path, sizeof path, "%s", scratch_path("train-images-idx3-ubyte"));
    ask.train_data = ask.test_data = NULL, ask.train = ask.test = path;
    API_OK(ijepa_finetune(model, &ask, &file, &err));
    ck_assert(own.classes == CLASSES && own.train_images == IMAGES && own.test_images == IMAGES);
    ck_assert_double_eq(own.seed[0].loss, file.seed[0].loss);
    ck_assert_double_eq(own.mean, file.mean);
    ijepa_dataset_close(data);
    ijepa_config_destroy(config);
    close_context(context);
    scratch_end();
}
END_TEST

/* ---- batches of buffers, and what options change ---- */

START_TEST(test_encode_images) {
    ijepa_error err;
    enum { COUNT = 7, TALL = 23, WIDE = 41, STRIDE = WIDE * 3 + 5 };
    static uint8_t pixels[COUNT][TALL * STRIDE], packed[TALL * WIDE * 3], upwards[TALL * STRIDE];
    float single[16], many[COUNT][16], tokens[2][16 * 16], token[16 * 16], copy[16];
    ijepa_model *model;
    scratch_begin();
    ijepa_context *context = open_context(NULL);
    ijepa_config *config = run_config("unused");
    const char *path = make_checkpoint(config, context, 1);
    API_OK(ijepa_model_open(path, &(ijepa_device_options){.context = context}, 3, &model, &err));
    ijepa_image images[COUNT];
    for (int i = 0; i < COUNT; i++) {
        for (size_t p = 0; p < sizeof pixels[i]; p++) pixels[i][p] = (uint8_t)(p * (size_t)(i + 3) / 7 + p % 13 * 11);
        images[i] =
            (ijepa_image){.pixels = pixels[i], .height = TALL - i, .width = WIDE, .channels = i % 2 ? 1 : 3, .stride_bytes = STRIDE};
    }
    API_OK(ijepa_model_encode_images(model, images, COUNT, true, &many[0][0], &err));
    for (int i = 0; i < COUNT; i++) {
        int row = WIDE * images[i].channels, height = images[i].height;
        for (int y = 0; y < height; y++) memcpy(packed + y * row, pixels[i] + y * STRIDE, (size_t)row);
        API_OK(ijepa_model_encode(model, packed, height, WIDE, images[i].channels, true, single, &err));
        ck_assert_mem_eq(single, many[i], sizeof single);
        for (int y = 0; y < height; y++) memcpy(upwards + (height - 1 - y) * row, packed + y * row, (size_t)row);
        ijepa_image up = {upwards + (height - 1) * row, height, WIDE, images[i].channels, -row};
        API_OK(ijepa_model_encode_images(model, &up, 1, true, copy, &err));
        ck_assert_mem_eq(single, copy, sizeof single);
    }
    API_OK(ijepa_model_encode_images(model, images, 2, false, &tokens[0][0], &err));
    API_OK(ijepa_model_encode_images(model, images + 1, 1, false, token, &err));
    ck_assert_mem_eq(token, tokens[1], sizeof token);
    API_OK(ijepa_model_encode_images(model, images, 0, true, single, &err)); /* nothing to do */
    API_FAILS(ijepa_model_encode_images(model, images, -1, true, single, &err), IJEPA_ERROR_ARGUMENT, "count is -1");
    images[4].stride_bytes = 3;
    API_FAILS(ijepa_model_encode_images(model, images, COUNT, true, &many[0][0], &err), IJEPA_ERROR_ARGUMENT, "picture 4: 3 bytes");
    images[4].stride_bytes = 0, images[5].pixels = NULL;
    API_FAILS(ijepa_model_encode_images(model, images, COUNT, true, &many[0][0], &err), IJEPA_ERROR_ARGUMENT, "picture 5: pixels is NULL");
    API_NULL(ijepa_model_encode_images(NULL, images, 1, true, single, &err), "model");
    API_NULL(ijepa_model_encode_images(model, NULL, 1, true, single, &err), "images");
    API_NULL(ijepa_model_encode_images(model, images, 1, true, NULL, &err), "features");
    ijepa_model_close(model);
    ijepa_config_destroy(config);
    close_context(context);
    scratch_end();
}
END_TEST

START_TEST(test_model_options) {
    ijepa_error err;
    ijepa_model *model, *last, *large;
    ijepa_model_info info;
    static float four[64], one[16], tokens[6 * 8 * 16];
    scratch_begin();
    ijepa_context *context = open_context(NULL);
    ijepa_config *config = run_config("unused");
    const char *path = make_checkpoint(config, context, 2), *picture = IJ_TEST_DATA "/images/grey.jpg";
    ijepa_model_options o = {.device.context = context, .layers = "last4"};
    API_OK(ijepa_model_open_with(path, &o, &model, &err));
    API_OK(ijepa_model_open_with(path, &(ijepa_model_options){.device.context = context}, &last, &err));
    ijepa_model_describe(model, &info);
    ck_assert(info.features == 32 && info.dim == 16); /* two blocks are all there are */
    API_OK(ijepa_model_encode_file(model, picture, true, four, &err));
    API_OK(ijepa_model_encode_file(last, picture, true, one, &err));
    ck_assert_mem_eq(four + 16, one, sizeof one);
    ijepa_model_close(model);
    o = (ijepa_model_options){.device.context = context, .height = 24, .width = 32};
    API_OK(ijepa_model_open_with(path, &o, &large, &err));
    ijepa_model_describe(large, &info);
    ck_assert(info.image_height == 24 && info.image_width == 32 && info.patches == 48);
    API_OK(ijepa_model_encode_file(large, picture, false, tokens, &err));
    API_OK(ijepa_model_encode_file(large, picture, true, four, &err));
    for (int d = 0; d < 16; d++) {
        double mean = 0;
        for (int p = 0; p < 48; p++) mean += (double)tokens[p * 16 + d] / 48;
        ck_assert_double_eq_tol(mean, (double)four[d], 1e-5);
    }
    ijepa_model_close(large);
    o = (ijepa_model_options){.device.context = context, .encoder = "context"};
    API_OK(ijepa_model_open_with(path, &o, &model, &err));
    API_OK(ijepa_model_encode_file(model, picture, true, four, &err));
    ck_assert_mem_ne(four, one, sizeof one); /* the target encoder moves slowly */
    ijepa_model_close(model);
    ijepa_model_close(last);
    o = (ijepa_model_options){.device.context = context, .layers = "first"};
    API_FAILS(ijepa_model_open_with(path, &o, &model, &err), IJEPA_ERROR_ARGUMENT, "layers \"first\": there are last, last4");
    o.layers = NULL, o.encoder = "both";
    API_FAILS(ijepa_model_open_with(path, &o, &model, &err), IJEPA_ERROR_ARGUMENT, "encoder \"both\"");
    o.encoder = NULL, o.height = 22;
    API_FAILS(ijepa_model_open_with(path, &o, &model, &err), IJEPA_ERROR_ARGUMENT, "22");
    o.height = -4;
    API_FAILS(ijepa_model_open_with(path, &o, &model, &err), IJEPA_ERROR_ARGUMENT, "height is -4");
    ijepa_config_destroy(config);
    close_context(context);
    scratch_end();
}
END_TEST

/* ---- threads ---- */

typedef struct job {
    const char *checkpoint;
    ijepa_config *config;
    ijepa_dataset *data; /* shared by all jobs */
    double loss;
    float features[16];
    int messages;
    ijepa_error err;
} job;

/* A whole life: a context, a training, an encoding. */
static void *run_job(void *user) {
    job *j = user;
    ijepa_context *context = NULL;
    ijepa_trainer *trainer = NULL;
    ijepa_model *model = NULL;
    ijepa_progress p = {0};
    bool finished = false;
    ijepa_context_options options = {.device = device_options()};
    ijepa_status status = ijepa_context_open(&options, &context, &j->err);
    ijepa_device_options with = {.context = context};
    if (status == IJEPA_OK) status = ijepa_model_open(j->checkpoint, &with, 2, &model, &j->err);
    ijepa_trainer_options how = {.device = with, .no_files = true, .dataset = j->data};
    if (status == IJEPA_OK) status = ijepa_trainer_open(j->config, &how, &trainer, &j->err);
    while (status == IJEPA_OK && !finished) {
        status = ijepa_trainer_step(trainer, &p, &finished, &j->err);
        if (status == IJEPA_OK) status = ijepa_model_encode_file(model, IJ_TEST_DATA "/images/grey.jpg", true, j->features, &j->err);
    }
    j->loss = p.loss;
    j->messages = ijepa_context_messages(context, NULL);
    ijepa_trainer_close(trainer);
    ijepa_context_close(context);
    ijepa_model_close(model);
    return NULL;
}

START_TEST(test_threads) {
    enum { THREADS = 2 };
    own_images o = {.broken = -1};
    job alone = {0}, jobs[THREADS];
    pthread_t threads[THREADS];
    scratch_begin();
    ijepa_config *config = run_config("unused");
    ijepa_context *context = open_context(NULL);
    ijepa_dataset *data = own_dataset(&o);
    alone.checkpoint = make_checkpoint(config, context, 1), alone.config = config, alone.data = data;
    close_context(context);
    run_job(&alone);
    ck_assert_msg(alone.err.status == IJEPA_OK, "%s", alone.err.text);
    for (int i = 0; i < THREADS; i++) {
        jobs[i] = (job){.checkpoint = alone.checkpoint, .config = run_config("unused"), .data = data};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_job, &jobs[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++) {
        ck_assert_msg(jobs[i].err.status == IJEPA_OK, "%s", jobs[i].err.text);
        ck_assert_int_eq(jobs[i].messages, 0);
        ck_assert_double_eq(jobs[i].loss, alone.loss);
        ck_assert_mem_eq(jobs[i].features, alone.features, sizeof alone.features);
        ijepa_config_destroy(jobs[i].config);
    }
    ijepa_dataset_close(data);
    ijepa_config_destroy(config);
    scratch_end();
}
END_TEST

/* ---- layout ---- */

START_TEST(test_layout) {
    ijepa_error err;
    ck_assert_int_eq(ijepa_abi_version(), IJEPA_ABI_VERSION);
    API_OK(ijepa_abi_check(&err));
    ck_assert_int_eq(ijepa_abi_check(NULL), IJEPA_OK);
#define SIZE_OF(name) {#name, sizeof(name)},
    ijepa_struct_size sizes[] = {IJEPA_STRUCTS(SIZE_OF)};
#undef SIZE_OF
    int count = IJ_COUNT(sizes);
    API_FAILS(ijepa_abi_compare(IJEPA_ABI_VERSION + 1, sizes, count, &err), IJEPA_ERROR_MISMATCH, "this is version");
    API_FAILS(ijepa_abi_compare(IJEPA_ABI_VERSION, sizes, count - 1, &err), IJEPA_ERROR_MISMATCH, "structs");
    sizes[5].bytes -= 8;
    API_FAILS(ijepa_abi_compare(IJEPA_ABI_VERSION, sizes, count, &err), IJEPA_ERROR_MISMATCH, sizes[5].name);
    API_NULL(ijepa_abi_compare(IJEPA_ABI_VERSION, NULL, 0, &err), "sizes");
    ck_assert_str_eq(ijepa_status_name(IJEPA_ERROR_FORMAT), "format");
    ck_assert_str_eq(ijepa_status_name((ijepa_status)99), "unknown");
}
END_TEST

Suite *context_suite(void) {
    Suite *suite = suite_create("context");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 0);
    tcase_add_test(all, test_context);
    tcase_add_test(all, test_log);
    tcase_add_loop_test(all, test_dataset, 0, 2);
    tcase_add_test(all, test_dataset_misuse);
    tcase_add_test(all, test_train_own_data);
    tcase_add_loop_test(all, test_trainer_model_and_evaluation, 0, 2);
    tcase_add_test(all, test_finetune_own_data);
    tcase_add_test(all, test_encode_images);
    tcase_add_test(all, test_model_options);
    tcase_add_test(all, test_threads);
    tcase_add_test(all, test_layout);
    suite_add_tcase(suite, all);
    return suite;
}
