/* Search in an index, and its near-duplicates.       layer: api; uses: base, data, gpu, eval, view */
#include "api/api.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/dataset.h"
#include "eval/search.h"
#include "eval/search_query.h"
#include "eval/search_rows.h"
#include "view/contact_sheet.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define K_DEFAULT 12
#define PAIRS_DEFAULT 1000
#define PAIRS_MAX ((int64_t)10000000)
#define SHEET_GROUPS 60
#define SHEET_MEMBERS 12 /* of a group */

/* ---- an index with its classes and pictures ---- */

typedef struct library {
    ij_feature_index index;
    char *class_text; /* the names, each ended by a 0 byte */
    const char **classes;
    int64_t class_count, class_capacity;
    ij_dataset *idx; /* where the pictures come from an IDX file */
    bool idx_tried;
    /* duplicates: what the result points into */
    ij_duplicates duplicates;
    const char **member_names;
} library;

static void close_library(library *l) {
    if (!l) return;
    ij_feature_index_close(&l->index);
    ij_dataset_close(l->idx);
    ij_duplicates_free(&l->duplicates);
    free(l->class_text);
    free(l->classes);
    free(l->member_names);
    free(l);
}

static ij_status read_classes(library *l, ij_error *err) {
    const char *text = ij_feature_index_get(&l->index, "classes");
    if (!text || !*text) return IJ_OK;
    IJ_TRY(ij_copy_text(&l->class_text, text, strlen(text), err));
    for (char *at = l->class_text; at && *at;) {
        IJ_TRY(ij_grow(&l->classes, &l->class_capacity, l->class_count + 1, sizeof *l->classes, "class names", err));
        l->classes[l->class_count++] = at;
        at = strchr(at, '\n');
        if (at) *at++ = 0;
    }
    return IJ_OK;
}

static ij_status open_library(const char *path, library **out, ij_error *err) {
    library *l;
    IJ_TRY(ij_alloc(&l, 1, sizeof *l, "index", err));
    ij_status status = ij_feature_index_open(path, &l->index, err);
    if (status == IJ_OK && l->index.count < 1) status = ij_fail(err, IJ_ERROR_FORMAT, "%s: an index of no images", path);
    if (status == IJ_OK) status = read_classes(l, err);
    if (status == IJ_OK)
        *out = l;
    else
        close_library(l);
    return status;
}

static const char *label_of(const library *l, int64_t row) {
    int label = l->index.labels ? l->index.labels[row] : -1;
    return label >= 0 && label < l->class_count ? l->classes[label] : "";
}

/* Row's picture: a file below `data`, or number N of the IDX file that `data` is ("train-images-idx3-ubyte:N"). */
static ij_status read_picture(library *l, int64_t row, ij_image *image, ij_error *err) {
    const char *name = l->index.names[row], *colon = strrchr(name, ':');
    char path[8192];
    if (!ij_file_exists(l->index.data)) {
        if (name[0] == '/') return ij_image_read(name, 3, image, err);
        IJ_TRY(ij_path_join(path, sizeof path, l->index.data, name, err));
        return ij_image_read(path, 3, image, err);
    }
    if (!l->idx && !l->idx_tried) ij_dataset_open(l->index.data, NULL, &l->idx, err);
    l->idx_tried = true;
    int64_t number = colon ? strtoll(colon + 1, NULL, 10) : -1;
    if (!l->idx || number < 0 || number >= ij_dataset_count(l->idx)) return ij_fail(err, IJ_ERROR_FILE, "%s: no such image", name);
    return ij_dataset_read(l->idx, number, image, err);
}

/* ---- sheets ---- */

enum { QUERY = -1 };
typedef struct sheet_rows {
    library *library;
    const char *query;
    int64_t row[IJ_SHEET_TILES_MAX];
    char similarity[IJ_SHEET_TILES_MAX][64], heading[SHEET_GROUPS][48];
    ij_sheet_tile tile[IJ_SHEET_TILES_MAX];
    int count;
} sheet_rows;

static ij_status read_tile(void *user, int i, ij_image *image, ij_error *err) {
    sheet_rows *s = user;
    return s->row[i] == QUERY ? ij_image_read(s->query, 3, image, err) : read_picture(s->library, s->row[i], image, err);
}

static ij_status write_sheet(sheet_rows *s, const char *title, const char *path, ij_error *err) {
    return ij_contact_sheet(&(ij_sheet){title, s->tile, s->count, read_tile, s}, path, err);
}

/* The last part of a path: what tells images of a folder apart is at its end. */
static const char *short_name(const char *name) {
    const char *slash = strrchr(name, '/');
    return slash && slash[1] ? slash + 1 : name;
}

/* Adds a tile; the similarity's line has the label behind it. Returns the tile. */
static ij_sheet_tile *add_tile(sheet_rows *s, int64_t row, double similarity) {
    int i = s->count++;
    s->row[i] = row;
    snprintf(s->similarity[i], sizeof s->similarity[i], "%.4f  %.40s", similarity, label_of(s->library, row));
    s->tile[i] = (ij_sheet_tile){.caption = {short_name(s->library->index.names[row]), s->similarity[i]}};
    return &s->tile[i];
}

/* ---- search ---- */

static ij_status draw_hits(library *l, const char *picture, const ijepa_search_result *r, const char *path, ij_error *err) {
    char title[160];
    sheet_rows *s;
    IJ_TRY(ij_alloc(&s, 1, sizeof *s, "contact sheet", err));
    s->library = l;
    s->query = picture;
    s->row[0] = QUERY;
    s->tile[0] = (ij_sheet_tile){.caption = {"query", short_name(picture)}, .framed = true};
    s->count = 1;
    for (int i = 0; i < r->count && s->count < IJ_SHEET_TILES_MAX; i++) add_tile(s, r->hits[i].row, r->hits[i].similarity);
    snprintf(title, sizeof title, "The %d nearest of %lld images", s->count - 1, (long long)r->images);
    ij_status status = write_sheet(s, title, path, err);
    free(s);
    return status;
}

static ij_status find_hits(library *l, const float *query, int64_t k, bool raw, ijepa_search_result *r, ij_error *err) {
    const ij_feature_index *x = &l->index;
    ij_search_hit *hits;
    int64_t found;
    if (k > x->count) k = x->count;
    IJ_TRY(ij_alloc(&hits, k, sizeof *hits, "neighbours", err));
    ij_status status = ij_search_nearest(x->x, x->count, x->dim, query, k, !raw, hits, &found, &r->centred, err);
    if (status == IJ_OK) status = ij_alloc(&r->hits, found, sizeof *r->hits, "neighbours", err);
    if (status == IJ_OK) r->count = (int)found;
    for (int i = 0; i < r->count; i++)
        r->hits[i] = (ijepa_search_hit){hits[i].row, hits[i].similarity, x->names[hits[i].row], label_of(l, hits[i].row)};
    free(hits);
    return status;
}

static ij_status search(library *l, const char *picture, const ijepa_search_options *o, ijepa_search_result *r, ij_error *err) {
    float *query;
    ij_search_query ask = {.device = api_device_desc(&o->device), .model = o->model, .whole = o->whole};
    IJ_TRY(ij_alloc(&query, l->index.dim, sizeof *query, "features of the query", err));
    ij_status status = ij_search_encode(&l->index, picture, &ask, query, err);
    if (status == IJ_OK) status = find_hits(l, query, o->k ? o->k : K_DEFAULT, o->raw, r, err);
    free(query);
    if (status != IJ_OK) return status;
    r->images = l->index.count;
    snprintf(r->model, sizeof r->model, "%s", l->index.model);
    snprintf(r->data, sizeof r->data, "%s", l->index.data);
    return o->sheet ? draw_hits(l, picture, r, o->sheet, err) : IJ_OK;
}

ijepa_status ijepa_search(const char *index, const char *picture, const ijepa_search_options *options, ijepa_search_result *result,
                          ijepa_error *err) {
    API_NEED(index);
    API_NEED(picture);
    API_NEED(result);
    static const ijepa_search_options defaults = {0};
    const ijepa_search_options *o = options ? options : &defaults;
    *result = (ijepa_search_result){0};
    API_CONTEXT(&o->device);
    if (o->k < 0) return api_range(__func__, "k", o->k, "1 or more", err);
    ij_error ours = {0};
    library *l = NULL;
    ij_status status = open_library(index, &l, &ours);
    if (status == IJ_OK) status = search(l, picture, o, result, &ours);
    result->owner = l;
    if (status != IJ_OK) ijepa_search_free(result);
    return api_result(status, &ours, err);
}

void ijepa_search_free(ijepa_search_result *result) {
    if (!result) return;
    free(result->hits);
    close_library(result->owner);
    *result = (ijepa_search_result){0};
}

/* ---- duplicates ---- */

/* The first groups, each image with its similarity to the group's first. */
static ij_status draw_groups(library *l, const ijepa_duplicates_result *r, const char *path, ij_error *err) {
    const ij_feature_index *x = &l->index;
    ij_search_rows rows = {0};
    char title[160];
    sheet_rows *s = NULL;
    int64_t shown = r->group_count < SHEET_GROUPS ? r->group_count : SHEET_GROUPS;
    ij_status status = ij_alloc(&s, 1, sizeof *s, "contact sheet", err);
    if (status == IJ_OK) status = ij_search_rows_open(x->x, x->count, x->dim, r->centred, &rows, err);
    for (int64_t g = 0; status == IJ_OK && g < shown; g++) {
        const ijepa_duplicate_group *group = &r->groups[g];
        int64_t first = group->rows[0];
        s->library = l;
        snprintf(s->heading[g], sizeof s->heading[g], "%lld images", (long long)group->count);
        for (int64_t i = 0; i < group->count && i < SHEET_MEMBERS; i++) {
            int64_t row = group->rows[i];
            double similarity = ij_search_cosine(&rows, x->x + first * x->dim, rows.scale[first], x->x + row * x->dim, rows.scale[row]);
            ij_sheet_tile *tile = add_tile(s, row, similarity);
            if (i == 0) tile->heading = s->heading[g];
        }
    }
    snprintf(title, sizeof title, "Near-duplicates: %lld of %lld groups, similarity %g and above", (long long)shown,
             (long long)r->group_count, r->threshold);
    if (status == IJ_OK) status = write_sheet(s, title, path, err);
    ij_search_rows_close(&rows);
    free(s);
    return status;
}

static ij_status copy_duplicates(library *l, ijepa_duplicates_result *r, ij_error *err) {
    const ij_duplicates *d = &l->duplicates;
    const char *const *names = l->index.names;
    int64_t members = d->offsets[d->group_count];
    IJ_TRY(ij_alloc(&r->pairs, d->pair_count, sizeof *r->pairs, "pairs", err));
    IJ_TRY(ij_alloc(&r->groups, d->group_count, sizeof *r->groups, "groups", err));
    IJ_TRY(ij_alloc(&l->member_names, members, sizeof *l->member_names, "names of groups", err));
    for (int64_t i = 0; i < d->pair_count; i++) {
        const ij_duplicate_pair *p = &d->pairs[i];
        r->pairs[i] = (ijepa_duplicate_pair){p->a, p->b, p->similarity, names[p->a], names[p->b]};
    }
    for (int64_t i = 0; i < members; i++) l->member_names[i] = names[d->members[i]];
    for (int64_t g = 0; g < d->group_count; g++)
        r->groups[g] =
            (ijepa_duplicate_group){d->offsets[g + 1] - d->offsets[g], d->members + d->offsets[g], l->member_names + d->offsets[g]};
    r->pair_count = d->pair_count;
    r->pairs_found = d->pairs_found;
    r->group_count = d->group_count;
    r->centred = d->centred;
    return IJ_OK;
}

static ij_status find_duplicates(library *l, const ijepa_duplicates_options *o, ijepa_duplicates_result *r, ij_error *err) {
    const ij_feature_index *x = &l->index;
    ij_duplicates_desc desc = {.threshold = o->threshold != 0 ? o->threshold : IJ_DUPLICATES_THRESHOLD,
                               .max_pairs = o->max_pairs ? o->max_pairs : PAIRS_DEFAULT,
                               .centre = !o->raw,
                               .progress = o->progress,
                               .stop = o->stop,
                               .user = o->user};
    gpu_device_desc device_desc = api_device_desc(&o->device);
    gpu_device *device;
    IJ_TRY(gpu_device_open(&device_desc, &device, err));
    double start = ij_seconds();
    ij_status status = ij_duplicates_find(device, x->x, x->count, x->dim, &desc, &l->duplicates, err);
    r->seconds = ij_seconds() - start;
    gpu_device_close(device);
    if (status == IJ_OK) status = copy_duplicates(l, r, err);
    if (status != IJ_OK) return status;
    r->images = x->count;
    r->threshold = desc.threshold;
    return o->sheet && r->group_count ? draw_groups(l, r, o->sheet, err) : IJ_OK;
}

ijepa_status ijepa_duplicates(const char *index, const ijepa_duplicates_options *options, ijepa_duplicates_result *result,
                              ijepa_error *err) {
    API_NEED(index);
    API_NEED(result);
    static const ijepa_duplicates_options defaults = {0};
    const ijepa_duplicates_options *o = options ? options : &defaults;
    *result = (ijepa_duplicates_result){0};
    API_CONTEXT(&o->device);
    if (!(o->threshold >= -1 && o->threshold <= 1)) return api_range(__func__, "threshold", o->threshold, "-1 to 1", err);
    if (o->max_pairs < 0 || o->max_pairs > PAIRS_MAX) return api_range(__func__, "max_pairs", (double)o->max_pairs, "1 to 10000000", err);
    ij_error ours = {0};
    library *l = NULL;
    ij_status status = open_library(index, &l, &ours);
    if (status == IJ_OK) status = find_duplicates(l, o, result, &ours);
    result->owner = l;
    if (status != IJ_OK) ijepa_duplicates_free(result);
    return api_result(status, &ours, err);
}

void ijepa_duplicates_free(ijepa_duplicates_result *result) {
    if (!result) return;
    free(result->pairs);
    free(result->groups);
    close_library(result->owner);
    *result = (ijepa_duplicates_result){0};
}
