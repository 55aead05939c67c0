/* Files and folders.       layer: base; uses: error, memory */
#ifndef IJ_BASE_FILE_H
#define IJ_BASE_FILE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Reads a whole file into *out (free() it; one 0 byte is added behind the end, not counted). Fails naming the path, and with
 * IJ_ERROR_FORMAT when it is larger than max_bytes [0: no limit]. */
ij_status ij_file_read(const char *path, uint64_t max_bytes, void **out, size_t *bytes, ij_error *err);

/* Maps a whole file for reading: *out holds its *bytes until ij_file_unmap. Pages are read when they are touched. The file must not be
 * shortened by others meanwhile. An empty file gives "" and 0. */
ij_status ij_file_map(const char *path, const void **out, size_t *bytes, ij_error *err);
void ij_file_unmap(const void *mapped, size_t bytes);

/* A file that appears complete or not at all: written under a temporary name in the same folder, synced, renamed over `path`.
 * Until ij_file_commit succeeds the old file stays as it was. */
typedef struct ij_file_writer {
    FILE *file;
    char path[4096];
    char temporary[4200];
} ij_file_writer;
ij_status ij_file_begin(ij_file_writer *writer, const char *path, ij_error *err);
ij_status ij_file_write(ij_file_writer *writer, const void *data, size_t bytes, ij_error *err);
ij_status ij_file_commit(ij_file_writer *writer, ij_error *err); /* sync, rename; on failure the temporary file is removed */
void ij_file_abandon(ij_file_writer *writer);                    /* safe after a failed begin, a commit, and twice */

/* The three above in one. */
ij_status ij_file_replace(const char *path, const void *data, size_t bytes, ij_error *err);

bool ij_file_exists(const char *path);
bool ij_is_folder(const char *path);
ij_status ij_make_folders(const char *path, ij_error *err); /* with parents; existing ones are fine */

/* dir/name into out; fails when it does not fit. */
ij_status ij_path_join(char *out, size_t out_bytes, const char *dir, const char *name, ij_error *err);

/* Seconds of a clock that never goes back. */
double ij_seconds(void);

#endif
