/* Errors of the world (files, devices, memory, options, numbers): a status and one line of text that names the thing and the
 * numbers. Errors of the programmer are asserts.       layer: base; uses: nothing
 *
 * Use: a function that can fail returns ij_status and takes `ij_error *err` last; err may be NULL. It fills err once, where
 * the cause is known, and callers pass it on with IJ_TRY. On failure outputs are unset unless the function says otherwise. */
#ifndef IJ_BASE_ERROR_H
#define IJ_BASE_ERROR_H

#include <stdarg.h>
#include <stddef.h>

/* One list for codes and their words. */
#define IJ_STATUS_LIST(X)                                                                                                                  \
    X(IJ_OK, "ok")                                                                                                                         \
    X(IJ_ERROR_ARGUMENT, "argument") /* an option, a configuration value, a shape */                                                       \
    X(IJ_ERROR_FILE, "file")         /* missing, unreadable, no space, no permission */                                                    \
    X(IJ_ERROR_FORMAT, "format")     /* bytes that are not what they claim to be */                                                        \
    X(IJ_ERROR_MEMORY, "memory")     /* host or device memory */                                                                           \
    X(IJ_ERROR_DEVICE, "device")     /* no driver, no device, device lost, a missing feature */                                            \
    X(IJ_ERROR_NUMBER, "number")     /* NaN or infinity where a number is needed */                                                        \
    X(IJ_ERROR_MISMATCH, "mismatch") /* two things that should agree do not: checkpoint and configuration, result and record */            \
    X(IJ_ERROR_STOPPED, "stopped")   /* the user asked to stop */

typedef enum ij_status {
#define IJ_STATUS_ENUM(code, text) code,
    IJ_STATUS_LIST(IJ_STATUS_ENUM)
#undef IJ_STATUS_ENUM
} ij_status;

typedef struct ij_error {
    ij_status status;
    char text[600]; /* one line, no trailing newline */
    char hint[300]; /* what to do about it, or empty */
} ij_error;

/* Fills err (if not NULL) and returns status: `return ij_fail(err, IJ_ERROR_FILE, "%s: %s", path, strerror(errno));` */
ij_status ij_fail(ij_error *err, ij_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
ij_status ij_fail_va(ij_error *err, ij_status status, const char *format, va_list args);

/* Adds a hint to an error that is already filled; does nothing when err is NULL. Returns err's status. */
ij_status ij_hint(ij_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Adds to a text in `bytes` bytes of memory what still fits; for notes that come line by line. */
void ij_append(char *text, size_t bytes, const char *format, ...) __attribute__((format(printf, 3, 4)));
void ij_append_va(char *text, size_t bytes, const char *format, va_list args);

const char *ij_status_name(ij_status status);

/* Passes a failure on. */
#define IJ_TRY(call)                                                                                                                       \
    do {                                                                                                                                   \
        ij_status ij_try_status_ = (call);                                                                                                 \
        if (ij_try_status_ != IJ_OK) return ij_try_status_;                                                                                \
    } while (0)

/* Passes a failure on through a clean-up label; `status` is the caller's variable. */
#define IJ_TRY_GOTO(call, label)                                                                                                           \
    do {                                                                                                                                   \
        status = (call);                                                                                                                   \
        if (status != IJ_OK) goto label;                                                                                                   \
    } while (0)

#define IJ_COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

#endif
