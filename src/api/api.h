/* What the files that implement include/ijepa.h share: handles, and the way from the layers' errors to the caller's.
 * layer: api; uses: all layers below
 *
 * The functions here check pointers and options, convert structs and pass errors on; what they do is done by the layers. */
#ifndef IJ_API_API_H
#define IJ_API_API_H

#include "base/error.h"
#include "gpu/gpu.h"
#include "ijepa.h"
#include "train/config.h"

struct ijepa_config {
    ij_config_text text; /* as given: files, then overrides */
};

/* Reads what was given into numbers, defaults first, and checks all of it. notes may be NULL. */
ij_status api_config_read(ijepa_config *config, ij_train_config *out, char *notes, size_t notes_bytes, ij_error *err);

/* Options of the caller in the gpu layer's words; options may be NULL. */
gpu_device_desc api_device_desc(const ijepa_device_options *options);

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
