/* A training loop of one's own, on images of one's own: drawn shapes come through a callback, the encoder is evaluated while it trains (which
 * quarter of the picture is the shape in?), and the loop stops when the monitor calls the representation collapsed.
 *
 *   cc custom_loop.c $(pkg-config --cflags --libs ijepa) -o custom_loop
 *   ./custom_loop shapes.safetensors 200 */
#include <ijepa.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 32, IMAGES = 1200, TEST = 300, EVALUATE_EVERY = 200 };

static const char *const quarters[] = {"upper left", "upper right", "lower left", "lower right"};

/* The data: image i shows a shape in quarter i % 4; where in it, which shape, its size and brightness follow from i. Called by several threads
 * at once, so it uses nothing but its arguments; *user is the number of the set's first image. */
static bool draw(void *user, int64_t i, uint8_t *pixels) {
    uint64_t r = (uint64_t)(i + *(const int *)user) * 0x9e3779b97f4a7c15u;
    r = (r ^ (r >> 29)) * 0xbf58476d1ce4e5b9u;
    int size = 3 + (int)(r >> 61) / 2, light = 120 + (int)((r >> 44) & 127), dark = 20 + (int)((r >> 8) & 31), shape = (int)(r >> 16) & 3;
    int cx = 8 + (int)(i & 1) * 16 + (int)((r >> 20) & 7) - 4, cy = 8 + (int)((i >> 1) & 1) * 16 + (int)((r >> 32) & 7) - 4;
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            int dx = abs(x - cx), dy = abs(y - cy), far = dx * dx + dy * dy;
            bool in[4] = {far <= size * size, dx <= size && dy <= size, far <= size * size && 4 * far >= size * size,
                          (dx <= 1 || dy <= 1) && dx + dy <= size};
            pixels[y * SIDE + x] = (uint8_t)(in[shape] ? light : dark);
        }
    return true;
}

static ijepa_status open_images(int first, int count, ijepa_dataset **out, ijepa_error *err) {
    static const int firsts[2] = {0, IMAGES};
    int labels[IMAGES];
    for (int i = 0; i < count; i++) labels[i] = i % 4;
    ijepa_dataset_source source = {.count = count,
                                   .channels = 1,
                                   .height = SIDE,
                                   .width = SIDE,
                                   .read = draw,
                                   .labels = labels,
                                   .classes = 4,
                                   .class_names = quarters,
                                   .name = "shapes",
                                   .user = (void *)&firsts[first > 0]};
    return ijepa_dataset_from_callback(&source, out, err);
}

/* The configuration, key by key; a YAML file does it too (ijepa_config_load). One's own learning rate is a key like the others. */
static ijepa_status configure(ijepa_config *config, const char *steps, ijepa_error *err) {
    char text[64];
    snprintf(text, sizeof text, "optimization.steps=%ld", strtol(steps, NULL, 10));
    /* clang-format off */
    const char *const keys[] = {
        text, "optimization.lr=0.002", "optimization.warmup=0.5", "optimization.regularizer=vicreg", "optimization.regularizer_weight=0.1",
        "optimization.regularizer_covariance=0.04", "data.channels=1", "data.crop_size=32", "data.random_crop=false", "data.batch_size=32",
        "data.mean=0.2", "data.std=0.25", "mask.patch_size=4", "mask.context_keep=0.25", "meta.model_name=custom", "meta.embed_dim=64",
        "meta.depth=3", "meta.num_heads=2", "meta.pred_emb_dim=32", "meta.pred_depth=2", "meta.pred_num_heads=1"};
    /* clang-format on */
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (ijepa_config_set(config, keys[i], err) != IJEPA_OK) return err->status;
    return IJEPA_OK;
}

/* The loop: a step, now and then a look at what the features are worth. */
static ijepa_status train(ijepa_trainer *trainer, ijepa_dataset *test, ijepa_error *err) {
    ijepa_progress p = {0};
    bool finished = false;
    for (int64_t step = 1; !finished; step++) {
        if (ijepa_trainer_step(trainer, &p, &finished, err) != IJEPA_OK) return err->status;
        if (strcmp(p.verdict, "collapsed") == 0) return printf("given up at step %lld: %s\n", (long long)p.step, p.reason), IJEPA_OK;
        if (step % EVALUATE_EVERY && !finished) continue;
        ijepa_eval_result result;
        ijepa_eval_options ask = {.methods = "knn", .features = "trained,random", .test_data = test};
        if (ijepa_trainer_evaluate(trainer, &ask, &result, err) != IJEPA_OK) return err->status;
        printf("step %lld: loss %.4f; nearest neighbours %.1f %% right, before training %.1f %%\n", (long long)step, p.loss,
               ijepa_eval_find(&result, "classes", "knn", "trained")->percent,
               ijepa_eval_find(&result, "classes", "knn", "random")->percent);
        ijepa_eval_free(&result);
    }
    return IJEPA_OK;
}

int main(int argc, char **argv) {
    if (argc != 3) return fputs("usage: custom_loop CHECKPOINT.safetensors STEPS\n", stderr), 2;
    ijepa_error err = {0};
    ijepa_config *config = NULL;
    ijepa_dataset *data = NULL, *test = NULL;
    ijepa_trainer *trainer = NULL;
    ijepa_status status = ijepa_config_create(&config, &err);
    if (status == IJEPA_OK) status = configure(config, argv[2], &err);
    if (status == IJEPA_OK) status = open_images(0, IMAGES, &data, &err);
    if (status == IJEPA_OK) status = open_images(IMAGES, TEST, &test, &err);
    ijepa_trainer_options options = {.device.device = getenv("IJEPA_DEVICE"), .no_files = true, .dataset = data};
    if (status == IJEPA_OK) status = ijepa_trainer_open(config, &options, &trainer, &err);
    if (status == IJEPA_OK) status = train(trainer, test, &err);
    if (status == IJEPA_OK) status = ijepa_trainer_save(trainer, argv[1], &err);
    if (status == IJEPA_OK) printf("saved %s\n", argv[1]);
    ijepa_trainer_close(trainer);
    ijepa_dataset_close(test);
    ijepa_dataset_close(data);
    ijepa_config_destroy(config);
    if (status != IJEPA_OK) fprintf(stderr, "%s\n%s%s%s", err.text, err.hint[0] ? "  hint: " : "", err.hint, err.hint[0] ? "\n" : "");
    return status == IJEPA_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
