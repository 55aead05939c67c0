/* A folder for a test's files, and files in it. */
#ifndef IJ_TESTS_SCRATCH_H
#define IJ_TESTS_SCRATCH_H

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char scratch_folder[64];

static inline void scratch_begin(void) {
    strcpy(scratch_folder, "/tmp/ijepa-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(scratch_folder));
}

static inline int scratch_remove(const char *path, const struct stat *info, int type, struct FTW *ftw) {
    (void)info, (void)type, (void)ftw;
    return remove(path);
}

static inline void scratch_end(void) { nftw(scratch_folder, scratch_remove, 16, FTW_DEPTH | FTW_PHYS); }

/* The path of `name` in the folder. Four results live at once. */
static inline const char *scratch_path(const char *name) {
    static char paths[4][512];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", scratch_folder, name);
    return path;
}

static inline const char *scratch_write(const char *name, const void *bytes, size_t count) {
    const char *path = scratch_path(name);
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, count, file), count);
    fclose(file);
    return path;
}

/* bytes[count] in memory of exactly that size, so that AddressSanitizer sees the first byte read behind it. */
static inline void *exact_copy(const void *bytes, size_t count) {
    void *copy = malloc(count ? count : 1);
    memcpy(copy, bytes, count);
    return copy;
}

#endif
