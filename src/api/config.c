/* Configurations.       layer: api; uses: base, io, train */
#include "api/api.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

ijepa_status ijepa_config_create(ijepa_config **out, ijepa_error *err) {
    API_NEED(out);
    *out = NULL;
    ij_error ours = {0};
    ij_status status = ij_alloc(out, 1, sizeof **out, "configuration", &ours);
    return api_result(status, &ours, err);
}

void ijepa_config_destroy(ijepa_config *config) {
    if (!config) return;
    ij_config_text_free(&config->text);
    free(config);
}

ijepa_status ijepa_config_load(ijepa_config *config, const char *path, ijepa_error *err) {
    API_NEED(config);
    API_NEED(path);
    ij_error ours = {0};
    ij_status status = ij_config_text_load(&config->text, path, &ours);
    return api_result(status, &ours, err);
}

ijepa_status ijepa_config_set(ijepa_config *config, const char *assignment, ijepa_error *err) {
    API_NEED(config);
    API_NEED(assignment);
    ij_error ours = {0};
    ij_status status = ij_config_text_override(&config->text, assignment, &ours);
    return api_result(status, &ours, err);
}

ij_status api_config_read(ijepa_config *config, ij_train_config *out, char *notes, size_t notes_bytes, ij_error *err) {
    ij_train_config_defaults(out);
    return ij_train_config_read(&config->text, out, notes, notes_bytes, err);
}

ijepa_status ijepa_config_check(ijepa_config *config, char *notes, size_t notes_bytes, ijepa_error *err) {
    API_NEED(config);
    ij_error ours = {0};
    ij_train_config *read = NULL; /* 9 KB: not on a caller's stack */
    ij_status status = ij_alloc(&read, 1, sizeof *read, "configuration", &ours);
    if (status == IJ_OK) status = api_config_read(config, read, notes_bytes ? notes : NULL, notes_bytes, &ours);
    free(read);
    return api_result(status, &ours, err);
}

static ij_status effective_text(ijepa_config *config, char **yaml, ij_error *err) {
    ij_train_config *read;
    ij_config_text text = {0};
    IJ_TRY(ij_alloc(&read, 1, sizeof *read, "configuration", err));
    ij_status status = api_config_read(config, read, NULL, 0, err);
    if (status == IJ_OK) status = ij_train_config_write(read, &text, err);
    if (status == IJ_OK) status = ij_config_text_print(&text, yaml, err);
    ij_config_text_free(&text);
    free(read);
    return status;
}

ijepa_status ijepa_config_text(ijepa_config *config, char **yaml, ijepa_error *err) {
    API_NEED(config);
    API_NEED(yaml);
    *yaml = NULL;
    ij_error ours = {0};
    ij_status status = effective_text(config, yaml, &ours);
    return api_result(status, &ours, err);
}
