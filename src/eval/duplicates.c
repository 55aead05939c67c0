/* Near-duplicates: all pairs of an index, a tile at a time on the device.       layer: eval; uses: search, search_rows, base, gpu, ops */
#include "base/memory.h"
#include "base/parallel.h"
#include "eval/search.h"
#include "eval/search_rows.h"
#include "ops/matmul.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TILE_ROWS 2048                 /* 16 MiB of similarities: enough work for a large GPU to hide its start */
#define TILE_BYTES ((int64_t)64 << 20) /* of one side's features */
#define ROWS_A_PIECE 16

typedef struct pair_list {
    ij_duplicate_pair *at;
    int64_t count, capacity;
} pair_list;

typedef struct finder {
    gpu_device *device;
    const ij_duplicates_desc *desc;
    ij_search_rows rows;
    int64_t side; /* rows of a tile */
    int width;    /* of a row on the device: dim, padded with zeros to a multiple of 4 */
    float margin; /* by which the device's sums in f32 may be off */
    gpu_arena *arena, *readback;
    gpu_tensor left, right, similarity, similarity_host; /* [side, width] twice, [side, side] twice */
    gpu_program *program;
    float *staging;       /* [side, width] */
    int64_t upload_begin; /* row of the index that its first row is */
    int64_t *parent;      /* [count] of the forest that groups are */
    pair_list kept;       /* a heap of at most max_pairs, the least similar on top */
    int64_t pairs_found;
    /* the tile at hand */
    int64_t row_begin, row_count, column_begin, column_count;
    pair_list *pieces; /* [side / ROWS_A_PIECE, rounded up] what each piece of rows has found */
    ij_status *failed; /* of each piece */
} finder;

static int64_t piece_count(const finder *f) { return (f->side + ROWS_A_PIECE - 1) / ROWS_A_PIECE; }

/* ---- the device ---- */

static ij_status reserve(finder *f, ij_error *err) {
    uint64_t features = 4 * (uint64_t)(f->side * f->width), tile = 4 * (uint64_t)(f->side * f->side);
    IJ_TRY(gpu_arena_create(f->device, "duplicates", GPU_MEMORY_DEVICE, &f->arena, err));
    IJ_TRY(gpu_reserve(f->arena, features, "features", &f->left, err));
    IJ_TRY(gpu_reserve(f->arena, features, "features", &f->right, err));
    IJ_TRY(gpu_reserve(f->arena, tile, "similarities", &f->similarity, err));
    IJ_TRY(gpu_arena_commit(f->arena, err));
    IJ_TRY(gpu_arena_create(f->device, "similarities", GPU_MEMORY_READBACK, &f->readback, err));
    IJ_TRY(gpu_reserve(f->readback, tile, "similarities", &f->similarity_host, err));
    return gpu_arena_commit(f->readback, err);
}

static ij_status prepare(finder *f, ij_error *err) {
    int64_t fit = TILE_BYTES / (4 * (int64_t)f->width);
    f->side = f->desc->tile ? f->desc->tile : TILE_ROWS;
    if (f->side > f->rows.count) f->side = f->rows.count;
    if (f->side > fit) f->side = fit;
    if (f->side < 1)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "duplicates: %lld images of %d features", (long long)f->rows.count, f->rows.dim);
    IJ_TRY(reserve(f, err));
    IJ_TRY(ij_alloc(&f->staging, f->side * f->width, sizeof(float), "tile of features", err));
    IJ_TRY(ij_alloc(&f->parent, f->rows.count, sizeof *f->parent, "groups", err));
    IJ_TRY(ij_alloc(&f->pieces, piece_count(f), sizeof *f->pieces, "pairs", err));
    IJ_TRY(ij_alloc(&f->failed, piece_count(f), sizeof *f->failed, "pairs", err));
    for (int64_t i = 0; i < f->rows.count; i++) f->parent[i] = i;
    op_matmul_desc product = {.label = "similarity",
                              .form = OP_MATMUL_NT,
                              .n = (uint32_t)f->side,
                              .k = (uint32_t)f->width,
                              .rows = {.max = (uint32_t)f->side},
                              .a = f->left,
                              .b = f->right,
                              .c = f->similarity};
    IJ_TRY(gpu_program_create(f->device, "duplicates", false, &f->program, err));
    IJ_TRY(op_matmul(f->program, &product, err));
    IJ_TRY(gpu_copy(f->program, f->similarity_host, f->similarity, 4 * (uint64_t)(f->side * f->side), err));
    return gpu_program_finish(f->program, err);
}

static void fill_rows(void *user, int64_t begin, int64_t end, int64_t piece) {
    (void)piece;
    finder *f = user;
    const ij_search_rows *r = &f->rows;
    for (int64_t i = begin; i < end; i++) {
        const float *x = r->x + (f->upload_begin + i) * r->dim;
        double scale = r->scale[f->upload_begin + i];
        for (int d = 0; d < r->dim; d++) f->staging[i * f->width + d] = (float)(((double)x[d] - r->mean[d]) * scale);
    }
}

/* Rows begin ... of the index, less the mean and of length 1, on the device; what follows the last is zero. */
static ij_status upload(finder *f, int64_t begin, int64_t *count, gpu_tensor to, ij_error *err) {
    int64_t left = f->rows.count - begin;
    *count = left < f->side ? left : f->side;
    memset(f->staging, 0, (size_t)(f->side * f->width) * sizeof(float));
    f->upload_begin = begin;
    ij_parallel(0, *count, ROWS_A_PIECE, fill_rows, f);
    return gpu_write(f->device, to, 0, f->staging, 4 * (uint64_t)(f->side * f->width), err);
}

/* ---- pairs ---- */

/* What a piece of rows finds in the tile; in the tiles of the diagonal only what lies above it. */
static void scan_rows(void *user, int64_t begin, int64_t end, int64_t piece) {
    finder *f = user;
    const ij_search_rows *r = &f->rows;
    pair_list *list = &f->pieces[piece];
    float least = (float)f->desc->threshold - f->margin;
    list->count = 0;
    for (int64_t i = begin; i < end; i++) {
        const float *row = (const float *)gpu_map(f->similarity_host) + i * f->side;
        int64_t a = f->row_begin + i;
        for (int64_t j = f->row_begin == f->column_begin ? i + 1 : 0; j < f->column_count; j++) {
            int64_t b = f->column_begin + j;
            if (row[j] < least) continue;
            double similarity = ij_search_cosine(r, r->x + a * r->dim, r->scale[a], r->x + b * r->dim, r->scale[b]);
            if (similarity < f->desc->threshold) continue;
            f->failed[piece] = ij_grow(&list->at, &list->capacity, list->count + 1, sizeof *list->at, "pairs", NULL);
            if (f->failed[piece] != IJ_OK) return;
            list->at[list->count++] = (ij_duplicate_pair){a, b, similarity};
        }
    }
}

static int64_t root_of(finder *f, int64_t i) {
    while (f->parent[i] != i) i = f->parent[i] = f->parent[f->parent[i]];
    return i;
}

/* The lower root stays, so that a group's root is its first row. */
static void connect(finder *f, int64_t a, int64_t b) {
    a = root_of(f, a);
    b = root_of(f, b);
    if (a < b)
        f->parent[b] = a;
    else
        f->parent[a] = b;
}

/* Negative: a comes before b in the list that is handed out. */
static int pair_order(const void *a, const void *b) {
    const ij_duplicate_pair *x = a, *y = b;
    if (x->similarity != y->similarity) return x->similarity > y->similarity ? -1 : 1;
    if (x->a != y->a) return x->a < y->a ? -1 : 1;
    return (x->b > y->b) - (x->b < y->b);
}

static void swap_pairs(ij_duplicate_pair *a, ij_duplicate_pair *b) {
    ij_duplicate_pair c = *a;
    *a = *b;
    *b = c;
}

/* Keeps the first max_pairs in pair_order: the heap's top is the last of them, and gives way. */
static ij_status keep_pair(finder *f, ij_duplicate_pair pair, ij_error *err) {
    pair_list *h = &f->kept;
    int64_t i = 0;
    if (h->count < f->desc->max_pairs) {
        IJ_TRY(ij_grow(&h->at, &h->capacity, h->count + 1, sizeof *h->at, "pairs", err));
        i = h->count++;
        h->at[i] = pair;
        for (; i > 0 && pair_order(&h->at[(i - 1) / 2], &h->at[i]) < 0; i = (i - 1) / 2) swap_pairs(&h->at[i], &h->at[(i - 1) / 2]);
        return IJ_OK;
    }
    if (h->count == 0 || pair_order(&pair, &h->at[0]) >= 0) return IJ_OK;
    h->at[0] = pair;
    for (;;) {
        int64_t last = i;
        for (int64_t child = 2 * i + 1; child <= 2 * i + 2 && child < h->count; child++)
            if (pair_order(&h->at[last], &h->at[child]) < 0) last = child;
        if (last == i) return IJ_OK;
        swap_pairs(&h->at[i], &h->at[last]);
        i = last;
    }
}

static ij_status take_pairs(finder *f, ij_error *err) {
    for (int64_t p = 0; p * ROWS_A_PIECE < f->row_count; p++) {
        const pair_list *list = &f->pieces[p];
        if (f->failed[p] != IJ_OK)
            return ij_fail(err, f->failed[p], "no memory for the pairs of a tile above %g: too many", f->desc->threshold);
        f->pairs_found += list->count;
        for (int64_t i = 0; i < list->count; i++) {
            connect(f, list->at[i].a, list->at[i].b);
            IJ_TRY(keep_pair(f, list->at[i], err));
        }
    }
    return IJ_OK;
}

static ij_status compare_tile(finder *f, int64_t column, ij_error *err) {
    if (f->desc->stop && f->desc->stop(f->desc->user)) return ij_fail(err, IJ_ERROR_STOPPED, "stopped");
    f->column_begin = column;
    IJ_TRY(upload(f, column, &f->column_count, f->right, err));
    IJ_TRY(gpu_run(f->program, err));
    ij_parallel(0, f->row_count, ROWS_A_PIECE, scan_rows, f);
    return take_pairs(f, err);
}

static ij_status compare_all(finder *f, ij_error *err) {
    int64_t sides = (f->rows.count + f->side - 1) / f->side, tiles = sides * (sides + 1) / 2, done = 0;
    for (int64_t row = 0; row < f->rows.count; row += f->side) {
        f->row_begin = row;
        IJ_TRY(upload(f, row, &f->row_count, f->left, err));
        for (int64_t column = row; column < f->rows.count; column += f->side) {
            IJ_TRY(compare_tile(f, column, err));
            if (f->desc->progress) f->desc->progress(f->desc->user, "pairs", ++done, tiles);
        }
    }
    return IJ_OK;
}

/* ---- groups ---- */

typedef struct group {
    int64_t first, size; /* its root; images */
} group;

static int group_order(const void *a, const void *b) {
    const group *x = a, *y = b;
    if (x->size != y->size) return x->size > y->size ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

/* sizes [count]: first the images of each root, then where its group's next member goes. */
static ij_status list_groups(finder *f, int64_t *sizes, group **groups, ij_duplicates *out, ij_error *err) {
    int64_t members = 0, n = 0;
    for (int64_t i = 0; i < f->rows.count; i++) sizes[root_of(f, i)]++;
    for (int64_t i = 0; i < f->rows.count; i++)
        if (sizes[i] > 1) out->group_count++, members += sizes[i];
    IJ_TRY(ij_alloc(groups, out->group_count, sizeof **groups, "groups", err));
    IJ_TRY(ij_alloc(&out->offsets, out->group_count + 1, sizeof *out->offsets, "groups", err));
    IJ_TRY(ij_alloc(&out->members, members, sizeof *out->members, "members of groups", err));
    for (int64_t i = 0; i < f->rows.count; i++)
        if (sizes[i] > 1)
            (*groups)[n++] = (group){i, sizes[i]};
        else
            sizes[i] = -1; /* alone, or no root */
    qsort(*groups, (size_t)n, sizeof **groups, group_order);
    for (int64_t g = 0; g < n; g++) {
        out->offsets[g + 1] = out->offsets[g] + (*groups)[g].size;
        sizes[(*groups)[g].first] = out->offsets[g];
    }
    for (int64_t i = 0; i < f->rows.count; i++) {
        int64_t *next = &sizes[root_of(f, i)];
        if (*next >= 0) out->members[(*next)++] = i;
    }
    return IJ_OK;
}

static ij_status make_groups(finder *f, ij_duplicates *out, ij_error *err) {
    int64_t *sizes;
    group *groups = NULL;
    IJ_TRY(ij_alloc(&sizes, f->rows.count, sizeof *sizes, "sizes of groups", err));
    ij_status status = list_groups(f, sizes, &groups, out, err);
    free(sizes);
    free(groups);
    return status;
}

/* ---- all of it ---- */

static void close_finder(finder *f) {
    gpu_program_destroy(f->program);
    gpu_arena_destroy(f->arena);
    gpu_arena_destroy(f->readback);
    for (int64_t p = 0; f->pieces && p < piece_count(f); p++) free(f->pieces[p].at);
    free(f->pieces);
    free(f->failed);
    free(f->staging);
    free(f->parent);
    free(f->kept.at);
    ij_search_rows_close(&f->rows);
}

static ij_status find(finder *f, const float *x, int64_t count, int dim, ij_duplicates *out, ij_error *err) {
    IJ_TRY(ij_search_rows_open(x, count, dim, f->desc->centre, &f->rows, err));
    IJ_TRY(prepare(f, err));
    IJ_TRY(compare_all(f, err));
    IJ_TRY(make_groups(f, out, err));
    if (f->kept.count) qsort(f->kept.at, (size_t)f->kept.count, sizeof *f->kept.at, pair_order);
    out->pairs = f->kept.at;
    out->pair_count = f->kept.count;
    out->pairs_found = f->pairs_found;
    out->centred = f->rows.centred;
    f->kept.at = NULL;
    return IJ_OK;
}

ij_status ij_duplicates_find(gpu_device *device, const float *x, int64_t count, int dim, const ij_duplicates_desc *desc, ij_duplicates *out,
                             ij_error *err) {
    memset(out, 0, sizeof *out);
    if (!(desc->threshold >= -1 && desc->threshold <= 1))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "threshold %g: a cosine, -1 to 1", desc->threshold);
    finder f = {.device = device, .desc = desc, .width = (dim + 3) / 4 * 4, .margin = 1e-5f + 1.2e-7f * (float)dim};
    ij_status status = find(&f, x, count, dim, out, err);
    if (status != IJ_OK) ij_duplicates_free(out);
    close_finder(&f);
    return status;
}

void ij_duplicates_free(ij_duplicates *duplicates) {
    free(duplicates->pairs);
    free(duplicates->members);
    free(duplicates->offsets);
    memset(duplicates, 0, sizeof *duplicates);
}
