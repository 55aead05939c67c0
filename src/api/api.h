/* What the files that implement include/ijepa.h share: handles, and the way from the layers' errors to the caller's.
 * layer: api; uses: all layers below
 *
 * The functions here check pointers and options, convert structs and pass errors on; what they do is done by the layers. */
#ifndef IJ_API_API_H
#define IJ_API_API_H

#include "base/error.h"
#include "data/dataset.h"
#include "gpu/gpu.h"
#include "ijepa.h"
#include "train/config.h"
#include "train/trainer.h"

struct ijepa_config {
    ij_config_text text; /* as given: files, then overrides */
};

/* Reads what was given into numbers, defaults first, and checks all of it. notes may be NULL. */
ij_status api_config_read(ijepa_config *config, ij_train_config *out, char *notes, size_t notes_bytes, ij_error *err);

/* Options of the caller in the gpu layer's words; options may be NULL. */
gpu_device_desc api_device_desc(const ijepa_device_options *options);

void api_describe_device(const gpu_info *from, ijepa_device_info *to);

/* Handles that outlive the call hold the context; with the last of them a closed one is gone. NULL is fine. */
ijepa_context *api_context_hold(ijepa_context *context);
void api_context_release(ijepa_context *context);

/* Whether anybody listens, and telling him; context may be NULL. */
bool api_logs(const ijepa_context *context);
void api_log(const ijepa_context *context, ijepa_log_level level, const char *line);

/* A context that was closed while handles still hold it: IJEPA_ERROR_ARGUMENT. In every call that takes device options. */
ijepa_status api_context_check(const char *function, const ijepa_device_options *options, ijepa_error *err);
#define API_CONTEXT(options)                                                                                                               \
    do {                                                                                                                                   \
        ijepa_status api_context_status_ = api_context_check(__func__, options, err);                                                      \
        if (api_context_status_ != IJEPA_OK) return api_context_status_;                                                                   \
    } while (0)

/* `text`'s place among the names; NULL is the first. IJ_ERROR_ARGUMENT lists them: layers "last5": there are last, last4. */
ij_status api_choose(const char *text, const char *what, const char *const *names, int count, int *out, ij_error *err);

/* The data set of a handle; NULL for NULL. */
ij_dataset *api_dataset(const ijepa_dataset *dataset);

/* What a trainer is looked at through; the trainer is no NULL. */
ij_trainer_view api_trainer_view(const ijepa_trainer *trainer);
ij_dataset *api_trainer_dataset(const ijepa_trainer *trainer); /* that it was given; NULL: none */

/* A model of somebody else's weights (all slots, on his device), which outlive it. ijepa_model_close leaves it alone. */
ij_status api_model_lend(const ij_trainer_view *view, ijepa_model **out, ij_error *err);
void api_model_set_step(ijepa_model *model, int64_t step);
void api_model_destroy(ijepa_model *model); /* NULL is fine */

/* Hands status and text to the caller; err may be NULL. Returns the status in the caller's type. */
ijepa_status api_result(ij_status status, const ij_error *from, ijepa_error *err);

/* A NULL where there must be something: IJEPA_ERROR_ARGUMENT, "ijepa_config_load: path is NULL". */
ijepa_status api_null(const char *function, const char *argument, ijepa_error *err);
#define API_NEED(pointer)                                                                                                                  \
    do {                                                                                                                                   \
        if (!(pointer)) return api_null(__func__, #pointer, err);                                                                          \
    } while (0)

/* A number outside of what it may be: IJEPA_ERROR_ARGUMENT. */
ijepa_status api_range(const char *function, const char *argument, double value, const char *wanted, ijepa_error *err);

#endif
