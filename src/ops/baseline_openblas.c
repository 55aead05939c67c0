/* OpenBLAS's sgemm, or any CBLAS's, on the host's memory.       layer: ops; uses: base */
#include "base/file.h"
#include "base/memory.h"
#include "ops/baseline.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* cblas_sgemm as every CBLAS declares it; its enums are ints. */
typedef void (*sgemm_function)(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float *a, int lda,
                               const float *b, int ldb, float beta, float *c, int ldc);
enum { CBLAS_ROW_MAJOR = 101, CBLAS_NO_TRANS = 111, CBLAS_TRANS = 112 };

typedef struct openblas {
    baseline base; /* first: a baseline is an openblas */
    void *library;
    sgemm_function sgemm;
    baseline_product product;
    float *c;
} openblas;

static bool takes(gpu_element element) { return element == GPU_WORD; }

static ij_status load(baseline *base, const baseline_product *product, ij_error *err) {
    openblas *o = (openblas *)base;
    IJ_TRY(ij_alloc(&o->c, product->m * product->n, 4, "OpenBLAS's result", err));
    o->product = *product;
    for (int64_t i = 0; i < product->m * product->n; i++) o->c[i] = NAN;
    return IJ_OK;
}

static ij_status run(baseline *base, int repeats, double *seconds, ij_error *err) {
    openblas *o = (openblas *)base;
    const baseline_product *p = &o->product;
    (void)err;
    double begin = ij_seconds();
    for (int i = 0; i < repeats; i++)
        o->sgemm(CBLAS_ROW_MAJOR, p->form == OP_MATMUL_TN ? CBLAS_TRANS : CBLAS_NO_TRANS,
                 p->form == OP_MATMUL_NT ? CBLAS_TRANS : CBLAS_NO_TRANS, (int)p->m, (int)p->n, (int)p->k, 1, p->a->data, (int)p->a->row,
                 p->b->data, (int)p->b->row, 0, o->c, (int)p->n);
    *seconds = (ij_seconds() - begin) / repeats;
    return IJ_OK;
}

static ij_status read_row(baseline *base, int64_t row, void *out, ij_error *err) {
    openblas *o = (openblas *)base;
    (void)err;
    memcpy(out, o->c + row * o->product.n, 4 * (size_t)o->product.n);
    return IJ_OK;
}

static void unload(baseline *base) {
    openblas *o = (openblas *)base;
    free(o->c);
    o->c = NULL;
}

static void close_openblas(baseline *base) {
    openblas *o = (openblas *)base;
    unload(base);
    if (o->library) dlclose(o->library);
    free(o);
}

ij_status baseline_openblas_open(const char *path, baseline **out, ij_error *err) {
    static const char *const names[] = {"libopenblas.so.0", "libopenblas.so", "libblas.so.3"};
    openblas *o;
    IJ_TRY(ij_alloc(&o, 1, sizeof *o, "OpenBLAS", err));
    o->base = (baseline){.takes = takes, .load = load, .run = run, .read_row = read_row, .unload = unload, .close = close_openblas};
    const baseline_symbol symbols[] = {{"cblas_sgemm", (void **)&o->sgemm}};
    ij_status status = baseline_library("OpenBLAS", names, IJ_COUNT(names), path, &o->library, err);
    if (status == IJ_OK) status = baseline_symbols("OpenBLAS", o->library, symbols, IJ_COUNT(symbols), err);
    if (status != IJ_OK) {
        close_openblas(&o->base);
        ij_hint(err, "Debian, Ubuntu: apt install libopenblas0-pthread; --baseline-library PATH takes another CBLAS");
        return status;
    }
    const char *(*config)(void) = NULL;
    *(void **)&config = dlsym(o->library, "openblas_get_config");
    int length = 0, words = 0; /* "OpenBLAS 0.3.29" of a long line of options */
    const char *text = config ? config() : "CBLAS";
    while (text[length] && (text[length] != ' ' || ++words < 2)) length++;
    snprintf(o->base.name, sizeof o->base.name, "%.*s, sgemm on the host", length, text);
    *out = &o->base;
    return IJ_OK;
}
