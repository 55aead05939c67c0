/* layer: ops; uses: base */
#include "ops/baseline.h"

#include <dlfcn.h>
#include <stdio.h>

/* The reason told is that of the first name: the others are older or more general. */
ij_status baseline_library(const char *who, const char *const *names, int name_count, const char *path, void **out, ij_error *err) {
    char why[300] = "";
    for (int i = 0; i < (path ? 1 : name_count); i++) {
        *out = dlopen(path ? path : names[i], RTLD_NOW | RTLD_LOCAL);
        if (*out) return IJ_OK;
        const char *text = dlerror();
        if (i == 0) snprintf(why, sizeof why, "%s", text ? text : "");
    }
    return ij_fail(err, IJ_ERROR_FILE, "%s: %s cannot be loaded (%s)", who, path ? path : names[0], why);
}

ij_status baseline_symbols(const char *who, void *library, const baseline_symbol *symbols, int count, ij_error *err) {
    for (int i = 0; i < count; i++) {
        *symbols[i].function = dlsym(library, symbols[i].name);
        if (!*symbols[i].function) return ij_fail(err, IJ_ERROR_FILE, "%s: the library has no %s", who, symbols[i].name);
    }
    return IJ_OK;
}

ij_status baseline_open(baseline_kind kind, const char *path, const char *device, baseline **out, ij_error *err) {
    *out = NULL;
    if (kind == BASELINE_OPENBLAS) return baseline_openblas_open(path, out, err);
    if (kind == BASELINE_CUBLAS) return baseline_cublas_open(path, device, out, err);
    return IJ_OK;
}

void baseline_close(baseline *b) {
    if (b) b->close(b);
}
