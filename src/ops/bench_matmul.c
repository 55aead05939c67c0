/* layer: ops; uses: base, gpu */
#include "ops/bench_matmul.h"
#include "base/file.h"
#include "base/memory.h"
#include "philox.h"

#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>

#define SAMPLES 4096
#define ELEMENTS_MAX ((int64_t)1 << 30)

/* cblas_sgemm as every CBLAS declares it; its enums are ints. */
typedef void (*sgemm_function)(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float *a, int lda,
                               const float *b, int ldb, float beta, float *c, int ldc);
enum { CBLAS_ROW_MAJOR = 101, CBLAS_NO_TRANS = 111, CBLAS_TRANS = 112 };

typedef struct product {
    const matmul_bench_desc *desc;
    float *a, *b, *c; /* a [m, k] or [k, m], b [n, k] or [k, n] by form, c [m, n] */
    gpu_arena *arena;
    gpu_program *program;
    gpu_tensor da, db, dc;
    void *library;
} product;

static void product_free(product *p) {
    gpu_program_destroy(p->program);
    gpu_arena_destroy(p->arena);
    free(p->a), free(p->b), free(p->c);
    if (p->library) dlclose(p->library);
}

static float a_at(const product *p, int64_t i, int64_t l) {
    return p->a[p->desc->form == OP_MATMUL_TN ? l * p->desc->m + i : i * p->desc->k + l];
}
static float b_at(const product *p, int64_t l, int64_t j) {
    return p->b[p->desc->form == OP_MATMUL_NT ? j * p->desc->k + l : l * p->desc->n + j];
}

/* Uniform in [-1, 1). */
static void fill(float *values, int64_t count, uint32_t stream) {
    for (int64_t i = 0; i < count; i++) {
        philox_words w = philox(20230408, 0, stream, (uint32_t)i, (uint32_t)(i >> 32), PHILOX_STREAM_TEST);
        values[i] = (float)((double)w.x / 2147483648.0 - 1);
    }
}

/* Sampled elements of c, corners first, against sums in double. The tolerance is that of every sum of k products, relative to the
 * element and to the size such sums have: sqrt(k) / 3 for products of two numbers uniform in [-1, 1]. */
static ij_status verify(const product *p, const char *whose, ij_error *err) {
    const matmul_bench_desc *d = p->desc;
    double size = sqrt((double)d->k) / 3, tolerance = op_tolerance(d->k);
    for (uint32_t s = 0; s < SAMPLES; s++) {
        philox_words w = philox(7, 0, s, 0, 0, PHILOX_STREAM_TEST);
        int64_t i = s < 4 ? (s & 1 ? d->m - 1 : 0) : (int64_t)(w.x % (uint64_t)d->m),
                j = s < 4 ? (s & 2 ? d->n - 1 : 0) : (int64_t)(w.y % (uint64_t)d->n);
        double sum = 0, got = (double)p->c[i * d->n + j];
        for (int64_t l = 0; l < d->k; l++) sum += (double)a_at(p, i, l) * (double)b_at(p, l, j);
        if (!(fabs(got - sum) <= tolerance * (fabs(sum) + size)))
            return ij_fail(err, IJ_ERROR_MISMATCH, "%s: m %lld, n %lld, k %lld: element (%lld, %lld) is %.9g, it should be %.9g", whose,
                           (long long)d->m, (long long)d->n, (long long)d->k, (long long)i, (long long)j, got, sum);
    }
    return IJ_OK;
}

static int by_size(const void *x, const void *y) {
    return (*(const double *)x > *(const double *)y) - (*(const double *)x < *(const double *)y);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, by_size);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static ij_status prepare(product *p, gpu_device *device, ij_error *err) {
    const matmul_bench_desc *d = p->desc;
    IJ_TRY(ij_alloc(&p->a, d->m * d->k, 4, "matrix a", err));
    IJ_TRY(ij_alloc(&p->b, d->n * d->k, 4, "matrix b", err));
    IJ_TRY(ij_alloc(&p->c, d->m * d->n, 4, "matrix c", err));
    fill(p->a, d->m * d->k, 1);
    fill(p->b, d->n * d->k, 2);
    IJ_TRY(gpu_arena_create(device, "matrices", GPU_MEMORY_DEVICE, &p->arena, err));
    IJ_TRY(gpu_reserve(p->arena, 4 * (uint64_t)(d->m * d->k), "a", &p->da, err));
    IJ_TRY(gpu_reserve(p->arena, 4 * (uint64_t)(d->n * d->k), "b", &p->db, err));
    IJ_TRY(gpu_reserve(p->arena, 4 * (uint64_t)(d->m * d->n), "c", &p->dc, err));
    op_matmul_desc desc = {
        .form = d->form, .m = (uint32_t)d->m, .n = (uint32_t)d->n, .k = (uint32_t)d->k, .a = p->da, .b = p->db, .c = p->dc};
    desc.rows.max = d->form == OP_MATMUL_TN ? desc.k : desc.m;
    uint64_t scratch = op_matmul_scratch(device, &desc);
    if (scratch) IJ_TRY(gpu_reserve(p->arena, scratch, "scratch", &desc.scratch, err));
    IJ_TRY(gpu_arena_commit(p->arena, err));
    IJ_TRY(gpu_write(device, p->da, 0, p->a, 4 * (uint64_t)(d->m * d->k), err));
    IJ_TRY(gpu_write(device, p->db, 0, p->b, 4 * (uint64_t)(d->n * d->k), err));
    IJ_TRY(gpu_program_create(device, "matmul", true, &p->program, err));
    IJ_TRY(op_matmul(p->program, &desc, err));
    return gpu_program_finish(p->program, err);
}

static ij_status time_device(product *p, double *times, double *seconds, ij_error *err) {
    for (int r = 0; r < p->desc->runs; r++) {
        const gpu_op_time *rows;
        int count;
        double begin = ij_seconds();
        IJ_TRY(gpu_run(p->program, err));
        times[r] = ij_seconds() - begin;
        if (gpu_program_times(p->program, &rows, &count, NULL) != IJ_OK) continue;
        times[r] = 0;
        for (int i = 0; i < count; i++) times[r] += rows[i].seconds;
    }
    *seconds = median(times, p->desc->runs);
    return IJ_OK;
}

static ij_status time_openblas(product *p, double *times, double *seconds, ij_error *err) {
    static const char *const names[] = {"libopenblas.so.0", "libopenblas.so", "libblas.so.3"};
    const matmul_bench_desc *d = p->desc;
    sgemm_function sgemm = NULL;
    for (int i = 0; i < IJ_COUNT(names) && !sgemm; i++) {
        if (p->library) dlclose(p->library);
        p->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        if (p->library) *(void **)&sgemm = dlsym(p->library, "cblas_sgemm");
    }
    if (!sgemm) {
        ij_fail(err, IJ_ERROR_FILE, "OpenBLAS: libopenblas.so.0 cannot be loaded");
        return ij_hint(err, "Debian, Ubuntu: apt install libopenblas0-pthread");
    }
    int lda = (int)(d->form == OP_MATMUL_TN ? d->m : d->k), ldb = (int)(d->form == OP_MATMUL_NT ? d->k : d->n);
    for (int r = -1; r < d->runs; r++) { /* the first run starts its threads */
        double begin = ij_seconds();
        sgemm(CBLAS_ROW_MAJOR, d->form == OP_MATMUL_TN ? CBLAS_TRANS : CBLAS_NO_TRANS,
              d->form == OP_MATMUL_NT ? CBLAS_TRANS : CBLAS_NO_TRANS, (int)d->m, (int)d->n, (int)d->k, 1, p->a, lda, p->b, ldb, 0, p->c,
              (int)d->n);
        if (r >= 0)
            times[r] = ij_seconds() - begin;
        else
            IJ_TRY(verify(p, "OpenBLAS", err));
    }
    *seconds = median(times, d->runs);
    return IJ_OK;
}

static ij_status measure(product *p, gpu_device *device, matmul_bench_result *out, double *times, ij_error *err) {
    const matmul_bench_desc *d = p->desc;
    IJ_TRY(prepare(p, device, err));
    IJ_TRY(gpu_run(p->program, err));
    IJ_TRY(gpu_read(device, p->dc, 0, p->c, 4 * (uint64_t)(d->m * d->n), err));
    IJ_TRY(verify(p, gpu_device_info(device)->name, err));
    out->verified = true;
    IJ_TRY(time_device(p, times, &out->seconds, err));
    return d->openblas ? time_openblas(p, times, &out->openblas_seconds, err) : IJ_OK;
}

ij_status matmul_bench(gpu_device *device, const matmul_bench_desc *desc, matmul_bench_result *out, ij_error *err) {
    int64_t m = desc->m, n = desc->n, k = desc->k, side = ELEMENTS_MAX;
    *out = (matmul_bench_result){0};
    if (m < 1 || n < 1 || k < 1 || m > side || n > side || k > side || m * k > side || n * k > side || m * n > side)
        return ij_fail(err, IJ_ERROR_ARGUMENT,
                       "matmul: m %lld, n %lld, k %lld: all must be positive and no matrix larger than 2^30 elements", (long long)m,
                       (long long)n, (long long)k);
    if (desc->runs < 1) return ij_fail(err, IJ_ERROR_ARGUMENT, "matmul: %d runs; at least 1 is needed", desc->runs);
    product p = {.desc = desc};
    double *times;
    IJ_TRY(ij_alloc(&times, desc->runs, sizeof *times, "times", err));
    ij_status status = measure(&p, device, out, times, err);
    product_free(&p);
    free(times);
    return status;
}
