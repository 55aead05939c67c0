/* layer: data; uses: scene_set, scene, scene_render, io, base */
#include "data/scene_set.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "data/scene_render.h"
#include "io/image.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PARAMETERS_MAX 2048
#define ROW_MAX 128 /* bytes of a row of labels.csv */
#define HEADER "file,count,dist,distance,shape,colour,size,material\n"

static const char *const part_names[SCENE_PARTS] = {"train", "test"};

/* ---- parameters ---- */

static void parameters_text(const scene_set_desc *d, char text[PARAMETERS_MAX]) {
    snprintf(
        text, PARAMETERS_MAX,
        "{\n  \"format\": \"ijepa scenes 1\",\n  \"seed\": %llu,\n  \"train\": %lld,\n  \"test\": %lld,\n  \"height\": %d,\n  \"width\": "
        "%d,\n  \"objects_min\": %d,\n  \"objects_max\": %d,\n  \"samples\": %d,\n  \"hard_shadows\": %s\n}\n",
        (unsigned long long)d->scene.seed, (long long)d->count[SCENE_TRAIN], (long long)d->count[SCENE_TEST], d->scene.height,
        d->scene.width, d->scene.objects_min, d->scene.objects_max, d->samples, d->scene.hard_shadows ? "true" : "false");
}

/* The line that begins at text without its blanks and comma, for an error. */
static const char *bare_line(const char *text, char out[80]) {
    text += strspn(text, " ");
    snprintf(out, 80, "%.*s", (int)strcspn(text, ",\n"), text);
    return out;
}

/* Names the first line that differs. */
static ij_status check_parameters(const char *path, const char *wanted, ij_error *err) {
    void *found;
    size_t bytes;
    char theirs[80], ours[80];
    IJ_TRY(ij_file_read(path, PARAMETERS_MAX, &found, &bytes, err));
    const char *a = found, *b = wanted, *line_a = a, *line_b = b;
    for (; *a && *a == *b; a++, b++)
        if (*a == '\n') line_a = a + 1, line_b = b + 1;
    ij_status status = IJ_OK;
    if (*a != *b) {
        status = ij_fail(err, IJ_ERROR_MISMATCH, "%s: made with other parameters: it has %s, asked for is %s", path,
                         bare_line(line_a, theirs), bare_line(line_b, ours));
        ij_hint(err, "choose another folder, or give --overwrite");
    }
    free(found);
    return status;
}

/* ---- the folder ---- */

/* "000123.png" alone, or with the ending of a file that was being written. */
static bool is_picture(const char *name, bool unfinished) {
    if (strspn(name, "0123456789") != 6 || strncmp(name + 6, ".png", 4) != 0) return false;
    return unfinished ? strncmp(name + 10, ".tmp", 4) == 0 : name[10] == 0;
}

/* Removes what a killed run left half written; with `all`, pictures and labels too. */
static ij_status sweep(const char *path, bool all, ij_error *err) {
    DIR *folder = opendir(path);
    if (!folder) return ij_fail(err, IJ_ERROR_FILE, "%s: %s", path, strerror(errno));
    ij_status status = IJ_OK;
    for (struct dirent *entry; status == IJ_OK && (entry = readdir(folder));) {
        const char *name = entry->d_name;
        if (!is_picture(name, true) && !(all && (is_picture(name, false) || strcmp(name, "labels.csv") == 0))) continue;
        if (unlinkat(dirfd(folder), name, 0) != 0) status = ij_fail(err, IJ_ERROR_FILE, "%s/%s: %s", path, name, strerror(errno));
    }
    closedir(folder);
    return status;
}

/* Sweeps a part's folder, or makes it; `fresh`: nothing that was there is to be kept. */
static ij_status prepare_part(const char *folder, int part, bool fresh, const scene_set_desc *desc, ij_error *err) {
    char path[4096];
    IJ_TRY(ij_path_join(path, sizeof path, folder, part_names[part], err));
    if (ij_is_folder(path)) {
        if (fresh && !desc->overwrite) {
            ij_fail(err, IJ_ERROR_MISMATCH, "%s is there, but no scenes.json beside it: not a set of scenes", path);
            ij_hint(err, "choose another folder, or give --overwrite");
            return IJ_ERROR_MISMATCH;
        }
        IJ_TRY(sweep(path, fresh, err));
    }
    return desc->count[part] ? ij_make_folders(path, err) : IJ_OK;
}

/* Leaves scenes.json and the parts' folders ready for pictures. */
static ij_status prepare(const char *folder, const scene_set_desc *desc, ij_error *err) {
    char path[4096], text[PARAMETERS_MAX];
    IJ_TRY(ij_make_folders(folder, err));
    IJ_TRY(ij_path_join(path, sizeof path, folder, "scenes.json", err));
    parameters_text(desc, text);
    bool begun = ij_file_exists(path), fresh = !begun;
    if (begun) {
        ij_status same = check_parameters(path, text, err);
        if (same != IJ_OK && !(desc->overwrite && same == IJ_ERROR_MISMATCH)) return same;
        fresh = same != IJ_OK;
    }
    for (int part = 0; part < SCENE_PARTS; part++) IJ_TRY(prepare_part(folder, part, fresh, desc, err));
    return begun && !fresh ? IJ_OK : ij_file_replace(path, text, strlen(text), err);
}

/* ---- pictures ---- */

typedef struct part_job {
    const scene_set_desc *desc;
    const char *folder; /* of the part */
    int part;
    int64_t before, total; /* pictures of earlier parts, of all */
    char *rows;            /* [count, ROW_MAX] of labels.csv */
    scene_set_result *result;
    pthread_mutex_t lock; /* for what follows, and the result */
    int64_t done;
    ij_status status; /* of the first failure; the others stop */
    ij_error error;
} part_job;

static void write_row(const scene *s, int64_t i, char *row) {
    const scene_object *o = &s->objects[s->nearest];
    double distance = scene_distance(s);
    snprintf(row, ROW_MAX, "%06lld.png,%d,%d,%.4f,%s,%s,%s,%s\n", (long long)i, s->count, scene_distance_class(distance), distance,
             scene_shape_name(o->shape), scene_colour_name(o->colour), scene_size_name(o->size), scene_material_name(o->material));
}

static ij_status render_file(const part_job *job, const scene *s, const char *path, ij_error *err) {
    int width = job->desc->scene.width, height = job->desc->scene.height;
    uint8_t *pixels;
    IJ_TRY(ij_alloc(&pixels, (int64_t)width * height, 3, "picture of a scene", err));
    scene_render(s, width, height, job->desc->samples, pixels);
    ij_status status = ij_png_write(path, pixels, width, height, 3, err);
    free(pixels);
    return status;
}

static ij_status make_picture(part_job *job, int64_t i, scene *s, bool *kept, ij_error *err) {
    char path[4096], name[32];
    scene_draw(&job->desc->scene, (uint64_t)job->part << 32 | (uint64_t)i, s);
    write_row(s, i, job->rows + i * ROW_MAX);
    snprintf(name, sizeof name, "%06lld.png", (long long)i);
    IJ_TRY(ij_path_join(path, sizeof path, job->folder, name, err));
    *kept = ij_file_exists(path);
    return *kept ? IJ_OK : render_file(job, s, path, err);
}

static void note_picture(part_job *job, const scene *s, bool kept) {
    scene_set_result *r = job->result;
    *(kept ? &r->kept : &r->rendered) += 1;
    r->with_count[job->part][s->count]++;
    r->with_distance[job->part][scene_distance_class(scene_distance(s))]++;
    job->done++;
    if (job->desc->progress) job->desc->progress(job->desc->user, job->before + job->done, job->total);
}

static void make_pictures(void *user, int64_t begin, int64_t end, int64_t piece) {
    (void)piece;
    part_job *job = user;
    for (int64_t i = begin; i < end; i++) {
        scene s;
        bool kept;
        ij_error error = {0};
        pthread_mutex_lock(&job->lock);
        ij_status status = job->status;
        pthread_mutex_unlock(&job->lock);
        if (status != IJ_OK) return;
        status = make_picture(job, i, &s, &kept, &error);
        pthread_mutex_lock(&job->lock);
        if (status == IJ_OK)
            note_picture(job, &s, kept);
        else if (job->status == IJ_OK)
            job->status = status, job->error = error;
        pthread_mutex_unlock(&job->lock);
    }
}

static ij_status write_labels(const part_job *job, ij_error *err) {
    char path[4096];
    ij_file_writer writer;
    IJ_TRY(ij_path_join(path, sizeof path, job->folder, "labels.csv", err));
    IJ_TRY(ij_file_begin(&writer, path, err));
    ij_status status = ij_file_write(&writer, HEADER, strlen(HEADER), err);
    for (int64_t i = 0; status == IJ_OK && i < job->desc->count[job->part]; i++)
        status = ij_file_write(&writer, job->rows + i * ROW_MAX, strlen(job->rows + i * ROW_MAX), err);
    if (status == IJ_OK) return ij_file_commit(&writer, err);
    ij_file_abandon(&writer);
    return status;
}

static ij_status write_part(const char *folder, const scene_set_desc *desc, int part, scene_set_result *result, ij_error *err) {
    char path[4096];
    IJ_TRY(ij_path_join(path, sizeof path, folder, part_names[part], err));
    part_job job = {.desc = desc,
                    .folder = path,
                    .part = part,
                    .before = part == SCENE_TEST ? desc->count[SCENE_TRAIN] : 0,
                    .total = desc->count[SCENE_TRAIN] + desc->count[SCENE_TEST],
                    .result = result,
                    .lock = PTHREAD_MUTEX_INITIALIZER};
    IJ_TRY(ij_alloc(&job.rows, desc->count[part], ROW_MAX, "labels of scenes", err));
    ij_parallel(desc->threads, desc->count[part], 1, make_pictures, &job);
    if (job.status != IJ_OK && err) *err = job.error;
    ij_status status = job.status == IJ_OK ? write_labels(&job, err) : job.status;
    free(job.rows);
    return status;
}

ij_status scene_set_write(const char *folder, const scene_set_desc *desc, scene_set_result *result, ij_error *err) {
    double start = ij_seconds();
    memset(result, 0, sizeof *result);
    IJ_TRY(prepare(folder, desc, err));
    for (int part = 0; part < SCENE_PARTS; part++)
        if (desc->count[part]) IJ_TRY(write_part(folder, desc, part, result, err));
    result->seconds = ij_seconds() - start;
    return IJ_OK;
}
