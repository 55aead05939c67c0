/* layer: base; uses: nothing */
#include "base/error.h"

#include <stdio.h>
#include <string.h>

ij_status ij_fail_va(ij_error *err, ij_status status, const char *format, va_list args) {
    if (!err) return status;
    err->status = status;
    err->hint[0] = 0;
    vsnprintf(err->text, sizeof err->text, format, args);
    /* One line, whatever a file name or a driver's message contains. */
    for (char *c = err->text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    return status;
}

ij_status ij_fail(ij_error *err, ij_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    ij_fail_va(err, status, format, args);
    va_end(args);
    return status;
}

ij_status ij_hint(ij_error *err, const char *format, ...) {
    if (!err) return IJ_OK;
    va_list args;
    va_start(args, format);
    vsnprintf(err->hint, sizeof err->hint, format, args);
    va_end(args);
    return err->status;
}

void ij_append_va(char *text, size_t bytes, const char *format, va_list args) {
    size_t used = strlen(text);
    vsnprintf(text + used, bytes - used, format, args);
}

void ij_append(char *text, size_t bytes, const char *format, ...) {
    va_list args;
    va_start(args, format);
    ij_append_va(text, bytes, format, args);
    va_end(args);
}

const char *ij_status_name(ij_status status) {
    static const char *const names[] = {
#define IJ_STATUS_TEXT(code, text) text,
        IJ_STATUS_LIST(IJ_STATUS_TEXT)
#undef IJ_STATUS_TEXT
    };
    return (unsigned)status < (unsigned)IJ_COUNT(names) ? names[status] : "unknown";
}
