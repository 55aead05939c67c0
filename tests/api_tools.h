/* What the suites of the public interface share: checks, and a run small enough to take no time. */
#ifndef IJ_TESTS_API_TOOLS_H
#define IJ_TESTS_API_TOOLS_H

#include "scratch.h"
#include "suites.h"

#include "ijepa.h"

#include <string.h>

static inline ijepa_device_options device_options(void) {
    return (ijepa_device_options){.device = getenv("IJEPA_DEVICE"), .validation = getenv("IJEPA_VALIDATION") != NULL};
}

#define API_OK(call) ck_assert_msg((call) == IJEPA_OK, "%s: %s", #call, err.text)
/* Fails with this status and a text that contains `part`. */
#define API_FAILS(call, wanted, part)                                                                                                      \
    do {                                                                                                                                   \
        err = (ijepa_error){0};                                                                                                            \
        ijepa_status api_fails_status_ = (call);                                                                                           \
        ck_assert_msg(api_fails_status_ == (wanted), "%s gave status %d: %s", #call, (int)api_fails_status_, err.text);                    \
        ck_assert_msg(err.status == (wanted) && strstr(err.text, part), "%s: status %d, text \"%s\"", #call, (int)err.status, err.text);   \
    } while (0)
#define API_NULL(call, part) API_FAILS(call, IJEPA_ERROR_ARGUMENT, part " is NULL")

static inline ijepa_config *config_of(const char *yaml, const char *assignment) {
    ijepa_error err;
    ijepa_config *config;
    API_OK(ijepa_config_create(&config, &err));
    API_OK(ijepa_config_load(config, scratch_write("config.yaml", yaml, strlen(yaml)), &err));
    if (assignment) API_OK(ijepa_config_set(config, assignment, &err));
    return config;
}

enum { SIDE = 16, IMAGES = 48, CLASSES = 3 };

static inline uint8_t pixel_of(int image, int p) { return (uint8_t)(image % CLASSES * 70 + (image * 31 + p * 17 + p / SIDE * 5) % 61); }

/* IDX files of IMAGES small pictures with labels. Returns the images' path. */
static inline const char *write_data(const char *images_name, const char *labels_name) {
    uint8_t bytes[16 + IMAGES * SIDE * SIDE] = {0, 0, 8, 3, 0, 0, 0, IMAGES, 0, 0, 0, SIDE, 0, 0, 0, SIDE},
                                       labels[8 + IMAGES] = {0, 0, 8, 1, 0, 0, 0, IMAGES};
    for (int i = 0; i < IMAGES; i++) {
        labels[8 + i] = (uint8_t)(i % CLASSES);
        for (int p = 0; p < SIDE * SIDE; p++) bytes[16 + i * SIDE * SIDE + p] = pixel_of(i, p);
    }
    scratch_write(labels_name, labels, sizeof labels);
    return scratch_write(images_name, bytes, sizeof bytes);
}

static inline ijepa_config *run_config(const char *run) {
    char yaml[1400];
    const char *data = write_data("train-images-idx3-ubyte", "train-labels-idx1-ubyte");
    snprintf(yaml, sizeof yaml,
             "data: {path: \"%s\", channels: 1, crop_size: 16, random_crop: false, batch_size: 8, mean: 0.5, std: 0.25, num_workers: 2}\n"
             "mask: {patch_size: 4, min_keep: 1}\n"
             "meta: {model_name: custom, embed_dim: 16, depth: 2, num_heads: 2, pred_emb_dim: 8, pred_depth: 1, pred_num_heads: 1}\n"
             "optimization: {epochs: 2, warmup: 1, start_lr: 0.0001, lr: 0.001}\n"
             "logging: {folder: \"%s\", monitor_every: 4, checkpoint_every: 5}\n",
             data, run);
    return config_of(yaml, NULL);
}

#endif
