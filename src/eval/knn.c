/* layer: eval; uses: base, gpu, ops */
#include "eval/knn.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "ops/matmul.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A tile is at most 1024 test x 8192 train samples: 32 MiB of similarities, enough work for a large GPU to hide its start. Wide
 * features (raw pixels) get smaller tiles. */
#define TEST_ROWS 1024
#define TRAIN_ROWS 8192
#define TILE_BYTES ((int64_t)64 << 20)
#define ROWS_A_PIECE 16

typedef struct neighbour {
    float similarity;
    int label;
} neighbour;

typedef struct knn {
    gpu_device *device;
    const ij_samples *train, *test;
    int k;
    int width; /* of a row on the device: dim, padded with zeros to a multiple of 4 */
    int64_t test_rows, train_rows;
    gpu_arena *arena, *readback;
    gpu_tensor test_tile, train_tile, similarity, similarity_host; /* [test_rows, width], [train_rows, width], [test_rows, train_rows] */
    gpu_program *program;
    float *staging;     /* [max of the tiles' rows, width] */
    neighbour *nearest; /* [test->count, k] nearest first */
    int *found;         /* [test->count] how many of them there are yet */
    /* the tile at hand */
    int64_t test_begin, test_count, train_begin, train_count;
} knn;

static ij_status prepare(knn *s, ij_error *err) {
    int64_t fit = TILE_BYTES / (4 * (int64_t)s->width);
    if (fit < 1) return ij_fail(err, IJ_ERROR_ARGUMENT, "kNN: %d features a sample", s->train->dim);
    s->test_rows = s->test->count < TEST_ROWS ? s->test->count : TEST_ROWS;
    s->train_rows = s->train->count < TRAIN_ROWS ? s->train->count : TRAIN_ROWS;
    if (s->test_rows > fit) s->test_rows = fit;
    if (s->train_rows > fit) s->train_rows = fit;
    uint64_t tile = 4 * (uint64_t)(s->test_rows * s->train_rows);
    IJ_TRY(gpu_arena_create(s->device, "kNN", GPU_MEMORY_DEVICE, &s->arena, err));
    IJ_TRY(gpu_reserve(s->arena, 4 * (uint64_t)(s->test_rows * s->width), "test features", &s->test_tile, err));
    IJ_TRY(gpu_reserve(s->arena, 4 * (uint64_t)(s->train_rows * s->width), "training features", &s->train_tile, err));
    IJ_TRY(gpu_reserve(s->arena, tile, "similarities", &s->similarity, err));
    IJ_TRY(gpu_arena_commit(s->arena, err));
    IJ_TRY(gpu_arena_create(s->device, "kNN similarities", GPU_MEMORY_READBACK, &s->readback, err));
    IJ_TRY(gpu_reserve(s->readback, tile, "similarities", &s->similarity_host, err));
    IJ_TRY(gpu_arena_commit(s->readback, err));
    IJ_TRY(ij_alloc(&s->staging, (s->test_rows > s->train_rows ? s->test_rows : s->train_rows) * s->width, sizeof(float), "kNN tile", err));
    IJ_TRY(ij_alloc(&s->nearest, s->test->count * s->k, sizeof *s->nearest, "nearest neighbours", err));
    IJ_TRY(ij_alloc(&s->found, s->test->count, sizeof *s->found, "nearest neighbours", err));

    op_matmul_desc product = {.label = "similarity",
                              .form = OP_MATMUL_NT,
                              .n = (uint32_t)s->train_rows,
                              .k = (uint32_t)s->width,
                              .rows = {.max = (uint32_t)s->test_rows},
                              .a = s->test_tile,
                              .b = s->train_tile,
                              .c = s->similarity};
    IJ_TRY(gpu_program_create(s->device, "kNN", false, &s->program, err));
    IJ_TRY(op_matmul(s->program, &product, err));
    IJ_TRY(gpu_copy(s->program, s->similarity_host, s->similarity, tile, err));
    return gpu_program_finish(s->program, err);
}

/* Rows scaled to length 1, on the device; rows behind `count` are zero. */
static ij_status upload(knn *s, const ij_samples *from, int64_t begin, int64_t count, int64_t rows, gpu_tensor to, ij_error *err) {
    memset(s->staging, 0, (size_t)(rows * s->width) * sizeof(float));
    for (int64_t i = 0; i < count; i++) {
        const float *x = from->x + (begin + i) * from->dim;
        double square = 0;
        for (int d = 0; d < from->dim; d++) square += (double)x[d] * (double)x[d];
        double scale = square > 0 ? 1 / sqrt(square) : 0;
        for (int d = 0; d < from->dim; d++) s->staging[i * s->width + d] = (float)((double)x[d] * scale);
    }
    return gpu_write(s->device, to, 0, s->staging, 4 * (uint64_t)(rows * s->width), err);
}

/* Puts the tile's similarities into the sorted lists of test rows begin .. end. Training samples come in ascending order and only a larger
 * similarity moves one aside, so that of equals the lower index stays first. */
static void keep_nearest(void *user, int64_t begin, int64_t end, int64_t piece) {
    (void)piece;
    knn *s = user;
    const float *tile = gpu_map(s->similarity_host);
    for (int64_t i = begin; i < end; i++) {
        const float *row = tile + i * s->train_rows;
        neighbour *list = s->nearest + (s->test_begin + i) * s->k;
        int found = s->found[s->test_begin + i];
        for (int64_t j = 0; j < s->train_count; j++) {
            if (found == s->k && !(row[j] > list[found - 1].similarity)) continue;
            int at = found < s->k ? found++ : found - 1;
            for (; at > 0 && row[j] > list[at - 1].similarity; at--) list[at] = list[at - 1];
            list[at] = (neighbour){row[j], s->train->labels[s->train_begin + j]};
        }
        s->found[s->test_begin + i] = found;
    }
}

static ij_status compare_all(knn *s, const ij_knn_desc *desc, ij_error *err) {
    for (s->train_begin = 0; s->train_begin < s->train->count; s->train_begin += s->train_rows) {
        int64_t left = s->train->count - s->train_begin;
        s->train_count = left < s->train_rows ? left : s->train_rows;
        IJ_TRY(upload(s, s->train, s->train_begin, s->train_count, s->train_rows, s->train_tile, err));
        for (s->test_begin = 0; s->test_begin < s->test->count; s->test_begin += s->test_rows) {
            left = s->test->count - s->test_begin;
            s->test_count = left < s->test_rows ? left : s->test_rows;
            IJ_TRY(upload(s, s->test, s->test_begin, s->test_count, s->test_rows, s->test_tile, err));
            IJ_TRY(gpu_run(s->program, err));
            ij_parallel(0, s->test_count, ROWS_A_PIECE, keep_nearest, s);
        }
        if (desc->progress) desc->progress(desc->user, "kNN", s->train_begin + s->train_count, s->train->count);
    }
    return IJ_OK;
}

/* Weights relative to the nearest one's, so that no temperature overflows. */
static int vote(const neighbour *list, int found, double temperature, double *votes, int classes) {
    memset(votes, 0, (size_t)classes * sizeof *votes);
    for (int i = 0; i < found; i++) votes[list[i].label] += exp(((double)list[i].similarity - (double)list[0].similarity) / temperature);
    int best = 0;
    for (int c = 1; c < classes; c++)
        if (votes[c] > votes[best]) best = c;
    return best;
}

ij_status ij_knn(gpu_device *device, const ij_samples *train, const ij_samples *test, const ij_knn_desc *desc, int *predicted,
                 ij_error *err) {
    double temperature = desc->temperature != 0 ? desc->temperature : 0.07;
    knn s = {.device = device, .train = train, .test = test, .k = desc->k ? desc->k : 10, .width = (train->dim + 3) / 4 * 4};
    if (s.k < 1 || !(temperature > 0))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "kNN: k is %d, temperature %g; both must be positive", s.k, temperature);
    if (train->dim != test->dim)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "kNN: %d features a training sample, %d a test sample", train->dim, test->dim);
    if (s.k > train->count) s.k = (int)train->count;
    double *votes = NULL;
    ij_status status = ij_alloc(&votes, train->classes, sizeof *votes, "votes", err);
    if (status == IJ_OK) status = prepare(&s, err);
    if (status == IJ_OK) status = compare_all(&s, desc, err);
    for (int64_t i = 0; i < test->count && status == IJ_OK; i++)
        predicted[i] = vote(s.nearest + i * s.k, s.found[i], temperature, votes, train->classes);
    gpu_program_destroy(s.program);
    gpu_arena_destroy(s.arena);
    gpu_arena_destroy(s.readback);
    free(s.staging);
    free(s.nearest);
    free(s.found);
    free(votes);
    return status;
}
