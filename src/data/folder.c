/* layer: data; uses: base */
#include "data/folder.h"
#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define DEPTH_MAX 64

/* A folder on the way from the root to where the scan is: a link is a loop when it leads to one of them. */
typedef struct ancestor {
    const struct ancestor *parent;
    dev_t device;
    ino_t inode;
    int depth;
} ancestor;

typedef struct scan {
    char path[4096]; /* the current folder or file; `below` is where the part under the root begins */
    size_t below;
    char *names;
    int64_t used, capacity, count;
    ij_error *err;
} scan;

static bool has_image_suffix(const char *name) {
    static const char *const suffixes[] = {".jpg", ".jpeg", ".png", ".bmp"};
    const char *dot = strrchr(name, '.');
    for (int i = 0; dot && i < IJ_COUNT(suffixes); i++)
        if (strcasecmp(dot, suffixes[i]) == 0) return true;
    return false;
}

static ij_status add_name(scan *s) {
    const char *name = s->path + s->below;
    int64_t bytes = (int64_t)strlen(name) + 1;
    IJ_TRY(ij_grow(&s->names, &s->capacity, s->used + bytes, 1, "list of images", s->err));
    memcpy(s->names + s->used, name, (size_t)bytes);
    s->used += bytes;
    s->count++;
    return IJ_OK;
}

static ij_status scan_folder(scan *s, const ancestor *parent);

/* s->path names an entry; `type` is readdir's word about it. */
static ij_status scan_entry(scan *s, const ancestor *here, unsigned char type) {
    bool image = has_image_suffix(s->path + s->below);
    if (type == DT_REG) return image ? add_name(s) : IJ_OK;
    if (type != DT_DIR && type != DT_LNK && type != DT_UNKNOWN) return IJ_OK;
    struct stat info;
    if (stat(s->path, &info) != 0) {
        if (errno == ENOENT || errno == ELOOP) return IJ_OK; /* a dangling link, or a file deleted meanwhile */
        return ij_fail(s->err, IJ_ERROR_FILE, "%s: %s", s->path, strerror(errno));
    }
    if (S_ISREG(info.st_mode)) return image ? add_name(s) : IJ_OK;
    if (!S_ISDIR(info.st_mode)) return IJ_OK;
    for (const ancestor *up = here; up; up = up->parent)
        if (up->device == info.st_dev && up->inode == info.st_ino) return IJ_OK;
    ancestor next = {here, info.st_dev, info.st_ino, here->depth + 1};
    if (next.depth > DEPTH_MAX) return ij_fail(s->err, IJ_ERROR_FILE, "%s: more than %d folders deep", s->path, DEPTH_MAX);
    return scan_folder(s, &next);
}

static ij_status scan_folder(scan *s, const ancestor *here) {
    DIR *folder = opendir(s->path);
    if (!folder) return ij_fail(s->err, IJ_ERROR_FILE, "%s: %s", s->path, strerror(errno));
    size_t length = strlen(s->path);
    ij_status status = IJ_OK;
    while (status == IJ_OK) {
        errno = 0;
        struct dirent *entry = readdir(folder);
        if (!entry) {
            if (errno) status = ij_fail(s->err, IJ_ERROR_FILE, "%s: %s", s->path, strerror(errno));
            break;
        }
        if (entry->d_name[0] == '.') continue;
        if (length + 1 + strlen(entry->d_name) >= sizeof s->path) {
            status = ij_fail(s->err, IJ_ERROR_FILE, "%s: a path of more than %zu bytes", s->path, sizeof s->path);
            break;
        }
        snprintf(s->path + length, sizeof s->path - length, "/%s", entry->d_name);
        status = scan_entry(s, here, entry->d_type);
        s->path[length] = 0;
    }
    closedir(folder);
    return status;
}

static int by_path(const void *a, const void *b) {
    const unsigned char *x = *(const unsigned char *const *)a, *y = *(const unsigned char *const *)b;
    while (*x && *x == *y) x++, y++;
    int p = *x == '/' ? 1 : *x, q = *y == '/' ? 1 : *y; /* so that a class's files stay together, in the order of class names */
    return p - q;
}

static ij_status sort_names(scan *s, ij_folder *out) {
    IJ_TRY(ij_alloc(&out->paths, s->count, sizeof *out->paths, "list of images", s->err));
    const char *name = s->names;
    for (int64_t i = 0; i < s->count; i++, name += strlen(name) + 1) out->paths[i] = name;
    qsort(out->paths, (size_t)s->count, sizeof *out->paths, by_path);
    out->names = s->names;
    out->count = s->count;
    return IJ_OK;
}

ij_status ij_folder_scan(const char *root, ij_folder *out, ij_error *err) {
    memset(out, 0, sizeof *out);
    scan s = {.err = err};
    size_t length = strlen(root);
    while (length > 1 && root[length - 1] == '/') length--;
    struct stat info;
    if (length == 0 || length >= sizeof s.path - 1) return ij_fail(err, IJ_ERROR_ARGUMENT, "folder name of %zu bytes", length);
    if (stat(root, &info) != 0) return ij_fail(err, IJ_ERROR_FILE, "%s: %s", root, strerror(errno));
    memcpy(s.path, root, length);
    s.below = length == 1 && root[0] == '/' ? 2 : length + 1; /* "/" + "/name" */
    ancestor top = {NULL, info.st_dev, info.st_ino, 0};
    ij_status status = scan_folder(&s, &top);
    if (status == IJ_OK) status = sort_names(&s, out);
    if (status != IJ_OK) free(s.names);
    return status;
}

void ij_folder_free(ij_folder *folder) {
    free(folder->names);
    free(folder->paths);
    memset(folder, 0, sizeof *folder);
}
