/* Version, errors, devices.       layer: api; uses: base, gpu */
#include "api/api.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STRING_OF(number) #number
#define STRING(number) STRING_OF(number)

/* The two lists of statuses are one list seen from two sides. */
#define SAME(ours, theirs) static_assert((int)(ours) == (int)(theirs), #ours " is not " #theirs)
SAME(IJ_OK, IJEPA_OK);
SAME(IJ_ERROR_ARGUMENT, IJEPA_ERROR_ARGUMENT);
SAME(IJ_ERROR_FILE, IJEPA_ERROR_FILE);
SAME(IJ_ERROR_FORMAT, IJEPA_ERROR_FORMAT);
SAME(IJ_ERROR_MEMORY, IJEPA_ERROR_MEMORY);
SAME(IJ_ERROR_DEVICE, IJEPA_ERROR_DEVICE);
SAME(IJ_ERROR_NUMBER, IJEPA_ERROR_NUMBER);
SAME(IJ_ERROR_MISMATCH, IJEPA_ERROR_MISMATCH);
SAME(IJ_ERROR_STOPPED, IJEPA_ERROR_STOPPED);

const char *ijepa_version(void) { return STRING(IJEPA_VERSION_MAJOR) "." STRING(IJEPA_VERSION_MINOR) ".0"; }

ijepa_status api_result(ij_status status, const ij_error *from, ijepa_error *err) {
    if (err) {
        memset(err, 0, sizeof *err);
        err->status = (ijepa_status)status;
        if (status != IJ_OK) {
            snprintf(err->text, sizeof err->text, "%s", from->text);
            snprintf(err->hint, sizeof err->hint, "%s", from->hint);
        }
    }
    return (ijepa_status)status;
}

ijepa_status api_null(const char *function, const char *argument, ijepa_error *err) {
    ij_error ours = {0};
    return api_result(ij_fail(&ours, IJ_ERROR_ARGUMENT, "%s: %s is NULL", function, argument), &ours, err);
}

ijepa_status api_range(const char *function, const char *argument, double value, const char *wanted, ijepa_error *err) {
    ij_error ours = {0};
    return api_result(ij_fail(&ours, IJ_ERROR_ARGUMENT, "%s: %s is %g, it must be %s", function, argument, value, wanted), &ours, err);
}

ij_status api_choose(const char *text, const char *what, const char *const *names, int count, int *out, ij_error *err) {
    char list[200] = "";
    for (*out = 0; *out < count; ++*out) {
        if (!text || strcmp(text, names[*out]) == 0) return IJ_OK;
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", names[*out]);
    }
    return ij_fail(err, IJ_ERROR_ARGUMENT, "%s \"%.40s\": there are %s", what, text, list);
}

const char *ijepa_status_name(ijepa_status status) { return ij_status_name((ij_status)status); }

/* ---- layout ---- */

int ijepa_abi_version(void) { return IJEPA_ABI_VERSION; }

static ij_status compare_layout(int abi_version, const ijepa_struct_size *theirs, int count, ij_error *err) {
#define SIZE_OF(name) {#name, sizeof(name)},
    static const ijepa_struct_size ours[] = {IJEPA_STRUCTS(SIZE_OF)};
#undef SIZE_OF
    if (abi_version != IJEPA_ABI_VERSION)
        return ij_fail(err, IJ_ERROR_MISMATCH, "the program was compiled for version %d of this library's interface, this is version %d",
                       abi_version, IJEPA_ABI_VERSION);
    for (int i = 0; i < count && i < IJ_COUNT(ours); i++)
        if (strcmp(ours[i].name, theirs[i].name) != 0 || ours[i].bytes != theirs[i].bytes)
            return ij_fail(err, IJ_ERROR_MISMATCH, "the program's header has %s of %zu bytes where the library has %s of %zu",
                           theirs[i].name, theirs[i].bytes, ours[i].name, ours[i].bytes);
    if (count != IJ_COUNT(ours))
        return ij_fail(err, IJ_ERROR_MISMATCH, "the program's header has %d structs, the library %d", count, IJ_COUNT(ours));
    return IJ_OK;
}

ijepa_status ijepa_abi_compare(int abi_version, const ijepa_struct_size *sizes, int count, ijepa_error *err) {
    API_NEED(sizes);
    ij_error ours = {0};
    ij_status status = compare_layout(abi_version, sizes, count, &ours);
    return api_result(status, &ours, err);
}

/* ---- devices ---- */

static const char *const kind_names[] = {[GPU_KIND_OTHER] = "other",
                                         [GPU_KIND_INTEGRATED] = "integrated",
                                         [GPU_KIND_DISCRETE] = "discrete",
                                         [GPU_KIND_VIRTUAL] = "virtual",
                                         [GPU_KIND_CPU] = "cpu"};

/* Adds to a list: "a", then ", b". */
static void add(char *list, size_t bytes, const char *separator, const char *text) {
    size_t used = strlen(list);
    if (used + 1 < bytes) snprintf(list + used, bytes - used, "%s%s", used ? separator : "", text);
}

static void describe_matrices(const gpu_info *from, char *list, size_t bytes) {
    static const char *const elements[] = {"f32", "f16", "bf16"};
    char text[64];
    for (uint32_t i = 0; i < from->shape_count; i++) {
        const gpu_matrix_shape *s = &from->shapes[i];
        snprintf(text, sizeof text, "%s%s %ux%ux%u", i ? "" : "coopmat ", elements[s->element], s->m, s->n, s->k);
        add(list, bytes, ", ", text);
    }
    bool listed[3] = {false};
    for (uint32_t i = 0, first = 1; i < from->flexible_count; i++) {
        gpu_element element = from->flexible[i].element;
        if (listed[element]) continue;
        listed[element] = true;
        snprintf(text, sizeof text, "%s%s", first ? "coopmat2 " : "", elements[element]);
        add(list, bytes, first ? "; " : ", ", text);
        first = 0;
    }
}

void api_describe_device(const gpu_info *from, ijepa_device_info *to) {
    memset(to, 0, sizeof *to);
    snprintf(to->name, sizeof to->name, "%s", from->name);
    snprintf(to->driver, sizeof to->driver, "%s", from->driver);
    to->kind = kind_names[from->kind];
    snprintf(to->api, sizeof to->api, "%u.%u.%u", from->api_major, from->api_minor, from->api_patch);
    to->memory_bytes = from->heap_bytes;
    to->free_bytes = from->budget_bytes;
    to->subgroup_size = from->subgroup_size, to->subgroup_min = from->subgroup_min, to->subgroup_max = from->subgroup_max;
    to->shared_bytes = from->shared_bytes;
    to->tensor_bytes_max = from->range_max;
    to->cores = from->cores;
    describe_matrices(from, to->matrices, sizeof to->matrices);
    to->usable = !from->refused;
    snprintf(to->why_not, sizeof to->why_not, "%s", from->refused ? from->refused : "");
}

ijepa_status ijepa_devices(const ijepa_device_options *options, ijepa_device_info *infos, int capacity, int *count, ijepa_error *err) {
    API_NEED(count);
    if (capacity > 0) API_NEED(infos);
    if (capacity < 0) return api_range(__func__, "capacity", capacity, "0 or more", err);
    ij_error ours = {0};
    gpu_info *found = NULL;
    int found_count = 0, chosen = -1;
    gpu_device_desc desc = api_device_desc(options);
    ij_status status = gpu_list(desc.validation, &found, &found_count, &ours);
    if (status == IJ_OK) {
        /* Which one is taken is asked of the code that takes it. None that can be used is an answer here, not an error. */
        status = gpu_choose(found, found_count, desc.select, &chosen, &ours);
        if (status == IJ_ERROR_DEVICE && !desc.select) status = IJ_OK;
    }
    if (status == IJ_OK) {
        for (int i = 0; i < found_count && i < capacity; i++) {
            api_describe_device(&found[i], &infos[i]);
            infos[i].chosen = i == chosen;
        }
        *count = found_count;
    }
    free(found);
    return api_result(status, &ours, err);
}
