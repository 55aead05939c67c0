/* layer: eval; uses: base, gpu, ops */
#include "eval/knn.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "ops/matmul.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A tile is at most 512 test x 4096 train samples: 8 MiB of similarities, enough work for a large GPU to hide its start. Wide features (raw
 * pixels) get smaller tiles. */
#define TEST_ROWS 512
#define TRAIN_ROWS 4096
#define TILE_BYTES ((int64_t)64 << 20)
#define ROWS_A_PIECE 16
#define SCAN 32 /* similarities that are compared with the k-th best at once */

/* What is kept of a training sample, in an order of its own: the larger is the nearer, of equal similarities the lower index. */
typedef uint64_t neighbour;

static neighbour neighbour_of(float similarity, int64_t index) {
    uint32_t bits;
    similarity += 0.0f; /* -0 is 0 */
    memcpy(&bits, &similarity, 4);
    bits = bits >> 31 ? ~bits : bits | 0x80000000u;
    return (uint64_t)bits << 32 | (uint32_t)~(uint32_t)index;
}
static float similarity_of(neighbour n) {
    uint32_t bits = (uint32_t)(n >> 32);
    float similarity;
    bits = bits >> 31 ? bits & 0x7fffffffu : ~bits;
    memcpy(&similarity, &bits, 4);
    return similarity;
}
static uint32_t index_of(neighbour n) { return ~(uint32_t)n; }

typedef struct slice {
    int64_t begin, count;
} slice;

/* One tile on its way: the device fills a slot while the host reads the other. */
typedef struct slot {
    gpu_program *program;
    gpu_tensor similarity, host; /* [test rows, train rows] */
    slice test, train;
    uint64_t ticket;
} slot;

typedef struct knn {
    gpu_device *device;
    const ij_samples *train, *test;
    int k;     /* the largest */
    int width; /* of a row on the device: dim, padded with zeros to a multiple of 4 */
    int64_t test_rows, train_rows, test_tiles;
    gpu_arena *arena, *readback;
    gpu_tensor *test_tile;    /* [test_tiles] of [test_rows, width] */
    gpu_tensor train_tile[2]; /* [width, rows of the tile]: turned, as the faster form of the product reads it */
    slot slots[2];
    float *staging;    /* a tile of either on its way */
    int64_t room;      /* neighbours that are kept of a test sample before the best k of them are taken */
    neighbour *kept;   /* [test->count, room] */
    int64_t *count;    /* [test->count] how many of them there are */
    float *threshold;  /* [test->count] only what is nearer can still be among the k */
    const slot *ready; /* the tile at hand */
    /* of an upload, of the vote */
    const ij_samples *from;
    slice rows;
    const ij_knn_desc *desc;
    double temperature;
    int *predicted;
} knn;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static ij_status reserve(knn *s, ij_error *err) {
    uint64_t row = 4 * (uint64_t)s->width, tile = 4 * (uint64_t)(s->test_rows * s->train_rows);
    IJ_TRY(gpu_arena_create(s->device, "kNN", GPU_MEMORY_DEVICE, &s->arena, err));
    IJ_TRY(gpu_arena_create(s->device, "kNN similarities", GPU_MEMORY_READBACK, &s->readback, err));
    for (int64_t t = 0; t < s->test_tiles; t++)
        IJ_TRY(gpu_reserve(s->arena, row * (uint64_t)s->test_rows, "test features", &s->test_tile[t], err));
    for (int i = 0; i < 2; i++) {
        IJ_TRY(gpu_reserve(s->arena, row * (uint64_t)s->train_rows, "training features", &s->train_tile[i], err));
        IJ_TRY(gpu_reserve(s->arena, tile, "similarities", &s->slots[i].similarity, err));
        IJ_TRY(gpu_reserve(s->readback, tile, "similarities", &s->slots[i].host, err));
        IJ_TRY(gpu_program_create(s->device, "kNN", false, &s->slots[i].program, err));
    }
    IJ_TRY(gpu_arena_commit(s->arena, err));
    return gpu_arena_commit(s->readback, err);
}

static ij_status prepare(knn *s, ij_error *err) {
    int64_t fit = TILE_BYTES / (4 * (int64_t)s->width);
    if (fit < 1) return ij_fail(err, IJ_ERROR_ARGUMENT, "kNN: %d features a sample", s->train->dim);
    s->test_rows = least(least(s->test->count, TEST_ROWS), fit);
    s->train_rows = least(least(s->train->count, TRAIN_ROWS), fit);
    s->test_tiles = (s->test->count + s->test_rows - 1) / s->test_rows;
    s->room = 2 * (int64_t)s->k + 64;
    int64_t rows = s->test_rows > s->train_rows ? s->test_rows : s->train_rows;
    IJ_TRY(ij_alloc(&s->test_tile, s->test_tiles, sizeof *s->test_tile, "test tiles", err));
    IJ_TRY(ij_alloc(&s->staging, rows * s->width, sizeof(float), "kNN tile", err));
    IJ_TRY(ij_alloc(&s->kept, s->test->count * s->room, sizeof *s->kept, "nearest neighbours", err));
    IJ_TRY(ij_alloc(&s->count, s->test->count, sizeof *s->count, "nearest neighbours", err));
    IJ_TRY(ij_alloc(&s->threshold, s->test->count, sizeof *s->threshold, "nearest neighbours", err));
    for (int64_t i = 0; i < s->test->count; i++) s->threshold[i] = -INFINITY;
    return reserve(s, err);
}

/* ---- features to the device ---- */

static void normalise(void *user, int64_t begin, int64_t end, int64_t piece) {
    (void)piece;
    knn *s = user;
    int dim = s->from->dim;
    for (int64_t i = begin; i < end; i++) {
        const float *x = s->from->x + (s->rows.begin + i) * dim;
        float *to = s->staging + i * s->width;
        double square = 0;
        for (int d = 0; d < dim; d++) square += (double)x[d] * (double)x[d];
        double scale = square > 0 ? 1 / sqrt(square) : 0;
        for (int d = 0; d < dim; d++) to[d] = (float)((double)x[d] * scale);
        for (int d = dim; d < s->width; d++) to[d] = 0;
    }
}

/* The same, each sample a column. */
static void normalise_turned(void *user, int64_t begin, int64_t end, int64_t piece) {
    (void)piece;
    knn *s = user;
    int dim = s->from->dim;
    double scales[ROWS_A_PIECE];
    for (int64_t i = begin; i < end; i++) {
        const float *x = s->from->x + (s->rows.begin + i) * dim;
        double square = 0;
        for (int d = 0; d < dim; d++) square += (double)x[d] * (double)x[d];
        scales[i - begin] = square > 0 ? 1 / sqrt(square) : 0;
    }
    for (int d = 0; d < s->width; d++)
        for (int64_t i = begin; i < end; i++)
            s->staging[d * s->rows.count + i] =
                d < dim ? (float)((double)s->from->x[(s->rows.begin + i) * dim + d] * scales[i - begin]) : 0;
}

/* Samples scaled to length 1, on the device: as rows, or turned as columns. */
static ij_status upload(knn *s, const ij_samples *from, slice rows, bool turned, gpu_tensor to, ij_error *err) {
    s->from = from, s->rows = rows;
    ij_parallel(0, rows.count, ROWS_A_PIECE, turned ? normalise_turned : normalise, s);
    return gpu_write(s->device, to, 0, s->staging, 4 * (uint64_t)(rows.count * s->width), err);
}

/* ---- the best of a tile ---- */

static int nearer_first(const void *a, const void *b) {
    neighbour x = *(const neighbour *)a, y = *(const neighbour *)b;
    return (x < y) - (x > y);
}

/* Moves the k nearest of n to the front, in any order (Hoare's quickselect; no two are equal). */
static void select_nearest(neighbour *list, int64_t n, int64_t k) {
    int64_t low = 0, high = n - 1;
    while (low < high) {
        neighbour pivot = list[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (list[i] > pivot) i++;
            while (list[j] < pivot) j--;
            if (i > j) break;
            neighbour swap = list[i];
            list[i++] = list[j], list[j--] = swap;
        }
        if (k - 1 <= j)
            high = j;
        else if (k - 1 >= i)
            low = i;
        else
            return;
    }
}

/* Keeps the k nearest of what was collected and says how near the next must be. */
static float shrink(neighbour *list, int64_t *count, int64_t k) {
    if (*count > k) select_nearest(list, *count, k);
    *count = least(*count, k);
    neighbour last = list[0];
    for (int64_t i = 1; i < k; i++)
        if (list[i] < last) last = list[i];
    return similarity_of(last);
}

static bool any_above(const float *row, float threshold) {
    int above = 0;
    for (int j = 0; j < SCAN; j++) above |= row[j] > threshold;
    return above;
}

/* Training samples come in ascending order, so one that is only as near as the k-th nearest is none of the k. */
static void collect(knn *s, int64_t sample, const float *row, slice train) {
    neighbour *list = s->kept + sample * s->room;
    int64_t count = s->count[sample];
    float threshold = s->threshold[sample];
    int64_t self = s->desc->self ? s->desc->self[sample] - train.begin : -1;
    for (int64_t block = 0; block < train.count; block += SCAN) {
        int64_t end = least(block + SCAN, train.count);
        if (end - block == SCAN && !any_above(row + block, threshold)) continue;
        for (int64_t j = block; j < end; j++) {
            if (!(row[j] > threshold) || j == self) continue;
            list[count++] = neighbour_of(row[j], train.begin + j);
            if (count == s->room) threshold = shrink(list, &count, s->k);
        }
    }
    s->count[sample] = count;
    s->threshold[sample] = threshold;
}

static void collect_rows(void *user, int64_t begin, int64_t end, int64_t piece) {
    (void)piece;
    knn *s = user;
    const float *tile = gpu_map(s->ready->host);
    for (int64_t i = begin; i < end; i++) collect(s, s->ready->test.begin + i, tile + i * s->ready->train.count, s->ready->train);
}

/* ---- all tiles ---- */

static ij_status submit(slot *to, gpu_tensor test, gpu_tensor train, int width, ij_error *err) {
    op_matmul_desc product = {.label = "similarity",
                              .form = OP_MATMUL_NN,
                              .n = (uint32_t)to->train.count,
                              .k = (uint32_t)width,
                              .rows = {.max = (uint32_t)to->test.count},
                              .a = test,
                              .b = train,
                              .c = to->similarity};
    gpu_program_reset(to->program);
    IJ_TRY(op_matmul(to->program, &product, err));
    IJ_TRY(gpu_copy(to->program, to->host, to->similarity, 4 * (uint64_t)(to->test.count * to->train.count), err));
    IJ_TRY(gpu_program_finish(to->program, err));
    return gpu_submit(to->program, &to->ticket, err);
}

static ij_status take(knn *s, const slot *from, ij_error *err) {
    IJ_TRY(gpu_wait(s->device, from->ticket, err));
    s->ready = from;
    ij_parallel(0, from->test.count, ROWS_A_PIECE, collect_rows, s);
    return IJ_OK;
}

static slice slice_of(int64_t tile, int64_t rows, int64_t count) { return (slice){tile * rows, least(rows, count - tile * rows)}; }

static ij_status compare_all(knn *s, ij_error *err) {
    int64_t train_tiles = (s->train->count + s->train_rows - 1) / s->train_rows, step = 0;
    for (int64_t t = 0; t < s->test_tiles; t++)
        IJ_TRY(upload(s, s->test, slice_of(t, s->test_rows, s->test->count), false, s->test_tile[t], err));
    for (int64_t r = 0; r < train_tiles; r++) {
        slice train = slice_of(r, s->train_rows, s->train->count);
        IJ_TRY(upload(s, s->train, train, true, s->train_tile[r % 2], err));
        for (int64_t t = 0; t < s->test_tiles; t++, step++) {
            slot *next = &s->slots[step % 2];
            next->test = slice_of(t, s->test_rows, s->test->count);
            next->train = train;
            IJ_TRY(submit(next, s->test_tile[t], s->train_tile[r % 2], s->width, err));
            if (step > 0) IJ_TRY(take(s, &s->slots[(step + 1) % 2], err));
        }
        if (s->desc->progress) s->desc->progress(s->desc->user, "kNN", train.begin + train.count, s->train->count);
    }
    return take(s, &s->slots[(step + 1) % 2], err);
}

/* ---- the vote ---- */

/* Weights relative to the nearest one's, so that no temperature overflows. */
static int vote(const knn *s, const neighbour *list, int k, double *votes) {
    memset(votes, 0, (size_t)s->train->classes * sizeof *votes);
    double nearest = (double)similarity_of(list[0]);
    for (int i = 0; i < k; i++)
        votes[s->train->labels[index_of(list[i])]] += exp(((double)similarity_of(list[i]) - nearest) / s->temperature);
    int best = 0;
    for (int c = 1; c < s->train->classes; c++)
        if (votes[c] > votes[best]) best = c;
    return best;
}

static ij_status vote_all(knn *s, ij_error *err) {
    double *votes;
    IJ_TRY(ij_alloc(&votes, s->train->classes, sizeof *votes, "votes", err));
    for (int64_t i = 0; i < s->test->count; i++) {
        neighbour *list = s->kept + i * s->room;
        shrink(list, &s->count[i], s->k);
        qsort(list, (size_t)s->k, sizeof *list, nearer_first);
        for (int j = 0; j == 0 || s->desc->ks[j]; j++)
            s->predicted[j * s->test->count + i] = vote(s, list, s->desc->ks[j] ? s->desc->ks[j] : s->k, votes);
    }
    free(votes);
    return IJ_OK;
}

static ij_status check(knn *s, ij_error *err) {
    if (s->train->dim != s->test->dim)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "kNN: %d features a training sample, %d a test sample", s->train->dim, s->test->dim);
    if (s->test->count < 1) return ij_fail(err, IJ_ERROR_ARGUMENT, "kNN: no test samples");
    if (!(s->temperature > 0)) return ij_fail(err, IJ_ERROR_ARGUMENT, "kNN: a temperature of %g; it must be positive", s->temperature);
    s->k = s->desc->ks[0] ? 0 : 10;
    for (int i = 0; s->desc->ks[i]; i++) {
        if (i == KNN_KS_MAX) return ij_fail(err, IJ_ERROR_ARGUMENT, "kNN: more than %d numbers of neighbours", KNN_KS_MAX);
        if (s->desc->ks[i] < 1) return ij_fail(err, IJ_ERROR_ARGUMENT, "kNN: k is %d; it must be positive", s->desc->ks[i]);
        if (s->desc->ks[i] > s->k) s->k = s->desc->ks[i];
    }
    int64_t most = s->train->count - (s->desc->self != NULL);
    if (s->k <= most) return IJ_OK;
    ij_fail(err, IJ_ERROR_ARGUMENT, "kNN: %d neighbours of %lld training samples", s->k, (long long)most);
    return ij_hint(err, "ask for at most %lld neighbours", (long long)most);
}

ij_status ij_knn(gpu_device *device, const ij_samples *train, const ij_samples *test, const ij_knn_desc *desc, int *predicted,
                 ij_error *err) {
    knn s = {.device = device,
             .train = train,
             .test = test,
             .width = (train->dim + 3) / 4 * 4,
             .desc = desc,
             .temperature = desc->temperature != 0 ? desc->temperature : 0.07,
             .predicted = predicted};
    IJ_TRY(check(&s, err));
    ij_status status = prepare(&s, err);
    if (status == IJ_OK) status = compare_all(&s, err);
    if (status == IJ_OK)
        status = vote_all(&s, err);
    else
        gpu_wait_all(device, NULL); /* before its memory is gone */
    for (int i = 0; i < 2; i++) gpu_program_destroy(s.slots[i].program);
    gpu_arena_destroy(s.arena);
    gpu_arena_destroy(s.readback);
    free(s.test_tile);
    free(s.staging);
    free(s.kept);
    free(s.count);
    free(s.threshold);
    return status;
}
