/* layer: base; uses: error, memory */
#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

ij_status ij_file_read(const char *path, uint64_t max_bytes, void **out, size_t *bytes, ij_error *err) {
    *out = NULL;
    *bytes = 0;
    FILE *file = fopen(path, "rb");
    if (!file) return ij_fail(err, IJ_ERROR_FILE, "%s: %s", path, strerror(errno));
    struct stat info;
    ij_status status = IJ_OK;
    char *data = NULL;
    if (fstat(fileno(file), &info) != 0) {
        status = ij_fail(err, IJ_ERROR_FILE, "%s: %s", path, strerror(errno));
    } else if (!S_ISREG(info.st_mode)) {
        status = ij_fail(err, IJ_ERROR_FILE, "%s: not a regular file", path);
    } else if (max_bytes && (uint64_t)info.st_size > max_bytes) {
        status = ij_fail(err, IJ_ERROR_FORMAT, "%s: %lld bytes, more than the %llu that are read of such a file", path,
                         (long long)info.st_size, (unsigned long long)max_bytes);
    } else if ((status = ij_alloc(&data, (int64_t)info.st_size + 1, 1, path, err)) == IJ_OK) {
        size_t got = fread(data, 1, (size_t)info.st_size, file);
        if (got != (size_t)info.st_size) {
            status = ij_fail(err, IJ_ERROR_FILE, "%s: read %zu of %lld bytes", path, got, (long long)info.st_size);
            free(data);
        } else {
            *out = data;
            *bytes = got;
        }
    }
    fclose(file);
    return status;
}

ij_status ij_file_map(const char *path, const void **out, size_t *bytes, ij_error *err) {
    *out = NULL;
    *bytes = 0;
    int handle = open(path, O_RDONLY | O_CLOEXEC);
    if (handle < 0) return ij_fail(err, IJ_ERROR_FILE, "%s: %s", path, strerror(errno));
    struct stat info;
    ij_status status = IJ_OK;
    if (fstat(handle, &info) != 0) {
        status = ij_fail(err, IJ_ERROR_FILE, "%s: %s", path, strerror(errno));
    } else if (!S_ISREG(info.st_mode)) {
        status = ij_fail(err, IJ_ERROR_FILE, "%s: not a regular file", path);
    } else if (info.st_size == 0) {
        *out = "";
    } else {
        void *mapped = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, handle, 0);
        if (mapped == MAP_FAILED)
            status = ij_fail(err, IJ_ERROR_FILE, "%s: cannot map %lld bytes: %s", path, (long long)info.st_size, strerror(errno));
        else
            *out = mapped, *bytes = (size_t)info.st_size;
    }
    close(handle);
    return status;
}

void ij_file_unmap(const void *mapped, size_t bytes) {
    if (bytes) munmap((void *)(uintptr_t)mapped, bytes);
}

ij_status ij_file_begin(ij_file_writer *writer, const char *path, ij_error *err) {
    memset(writer, 0, sizeof *writer);
    if (strlen(path) >= sizeof writer->path) return ij_fail(err, IJ_ERROR_ARGUMENT, "path of %zu characters is too long", strlen(path));
    strcpy(writer->path, path);
    snprintf(writer->temporary, sizeof writer->temporary, "%s.tmp%ld", path, (long)getpid());
    writer->file = fopen(writer->temporary, "wb");
    if (!writer->file) return ij_fail(err, IJ_ERROR_FILE, "%s: cannot write: %s", path, strerror(errno));
    return IJ_OK;
}

ij_status ij_file_write(ij_file_writer *writer, const void *data, size_t bytes, ij_error *err) {
    if (bytes == 0 || fwrite(data, 1, bytes, writer->file) == bytes) return IJ_OK;
    ij_fail(err, IJ_ERROR_FILE, "%s: writing %zu bytes: %s; the old file, if any, is untouched", writer->path, bytes, strerror(errno));
    return IJ_ERROR_FILE;
}

static void sync_folder_of(const char *path) {
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash == folder)
        slash[1] = 0;
    else if (slash)
        *slash = 0;
    else
        strcpy(folder, ".");
    int handle = open(folder, O_RDONLY | O_DIRECTORY);
    if (handle < 0) return;
    (void)fsync(handle);
    close(handle);
}

ij_status ij_file_commit(ij_file_writer *writer, ij_error *err) {
    int failed = fflush(writer->file) != 0 || fsync(fileno(writer->file)) != 0;
    int cause = errno;
    if (fclose(writer->file) != 0 && !failed) failed = 1, cause = errno;
    writer->file = NULL;
    if (!failed && rename(writer->temporary, writer->path) != 0) failed = 1, cause = errno;
    if (failed) {
        unlink(writer->temporary);
        return ij_fail(err, IJ_ERROR_FILE, "%s: cannot finish writing: %s; the old file, if any, is untouched", writer->path,
                       strerror(cause));
    }
    sync_folder_of(writer->path);
    return IJ_OK;
}

void ij_file_abandon(ij_file_writer *writer) {
    if (!writer->file) return;
    fclose(writer->file);
    writer->file = NULL;
    unlink(writer->temporary);
}

ij_status ij_file_replace(const char *path, const void *data, size_t bytes, ij_error *err) {
    ij_file_writer writer;
    ij_status status = ij_file_begin(&writer, path, err);
    if (status == IJ_OK) status = ij_file_write(&writer, data, bytes, err);
    if (status == IJ_OK) return ij_file_commit(&writer, err);
    ij_file_abandon(&writer);
    return status;
}

bool ij_file_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool ij_is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

ij_status ij_make_folders(const char *path, ij_error *err) {
    char partial[4096];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof partial) return ij_fail(err, IJ_ERROR_ARGUMENT, "folder name of %zu characters", length);
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != 0) continue;
        memcpy(partial, path, i);
        partial[i] = 0;
        if (mkdir(partial, 0777) != 0 && !ij_is_folder(partial))
            return ij_fail(err, IJ_ERROR_FILE, "cannot make folder %s: %s", partial, strerror(errno));
    }
    return IJ_OK;
}

ij_status ij_path_join(char *out, size_t out_bytes, const char *dir, const char *name, ij_error *err) {
    size_t length = strlen(dir);
    const char *separator = length && dir[length - 1] == '/' ? "" : "/";
    int written = snprintf(out, out_bytes, "%s%s%s", dir, separator, name);
    if (written < 0 || (size_t)written >= out_bytes) return ij_fail(err, IJ_ERROR_ARGUMENT, "path too long: %.200s/%.200s", dir, name);
    return IJ_OK;
}

double ij_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
