/* Libraries that multiply matrices beside ours: OpenBLAS on the host, cuBLAS on an NVIDIA GPU.       layer: ops; uses: base, gpu
 *
 * They are loaded at run time, by the benchmarks only; nothing of them is needed to build. The declarations of what is called are here,
 * checked once against cblas.h 0.3, and cuda.h and cublas_api.h of CUDA 13.0. */
#ifndef IJ_OPS_BASELINE_H
#define IJ_OPS_BASELINE_H

#include "ops/bench_values.h"
#include "ops/matmul.h"

#include <stdbool.h>

typedef enum baseline_kind { BASELINE_NONE, BASELINE_OPENBLAS, BASELINE_CUBLAS } baseline_kind;

/* c = a b in a form of op_matmul, by the library, with sums in f32. */
typedef struct baseline_product {
    op_matmul_form form;
    int64_t m, n, k;
    const bench_matrix *a, *b; /* of one element; live until unload */
    gpu_element result;        /* of c */
} baseline_product;

typedef struct baseline {
    char name[160]; /* with version and where it runs */
    bool (*takes)(gpu_element element);
    /* Takes a product: memory for it, its operands where they are needed, NaN in c. On failure nothing is kept. */
    ij_status (*load)(struct baseline *baseline, const baseline_product *product, ij_error *err);
    /* Multiplies `repeats` times; *seconds is the mean of one. */
    ij_status (*run)(struct baseline *baseline, int repeats, double *seconds, ij_error *err);
    /* Row `row` of c, gpu_row(result, n) elements. */
    ij_status (*read_row)(struct baseline *baseline, int64_t row, void *out, ij_error *err);
    void (*unload)(struct baseline *baseline); /* frees what load took */
    void (*close)(struct baseline *baseline);
} baseline;

/* Loads the library, from `path` [where the system's loader finds it]. device: name of the GPU that cuBLAS must run on. What is
 * missing is IJ_ERROR_FILE (a library, a function of it) or IJ_ERROR_DEVICE (that GPU) with a hint. */
ij_status baseline_open(baseline_kind kind, const char *path, const char *device, baseline **out, ij_error *err);
void baseline_close(baseline *baseline); /* NULL is fine */

ij_status baseline_openblas_open(const char *path, baseline **out, ij_error *err);
ij_status baseline_cublas_open(const char *path, const char *device, baseline **out, ij_error *err);

/* A library by one of its names, or by `path` alone [NULL]; and its functions. who: for errors, "cuBLAS". */
typedef struct baseline_symbol {
    const char *name;
    void **function;
} baseline_symbol;
ij_status baseline_library(const char *who, const char *const *names, int name_count, const char *path, void **out, ij_error *err);
ij_status baseline_symbols(const char *who, void *library, const baseline_symbol *symbols, int count, ij_error *err);

#endif
