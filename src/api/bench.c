/* Benchmarks: rows as they are measured. A row is verified before it is timed.       layer: api; uses: base, gpu, ops, train */
#include "api/api.h"
#include "base/memory.h"
#include "ops/bench_matmul.h"
#include "ops/op.h"
#include "train/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNS_DEFAULT 15
#define RUNS_MAX 10000

static int by_size(const void *x, const void *y) {
    return (*(const double *)x > *(const double *)y) - (*(const double *)x < *(const double *)y);
}

/* ---- matmul ---- */

/* A square one, then the layers of ViT-S on the tokens of 10 images of 196 patches and a tail: forward, backward to the input, backward
 * to the weight. */
typedef struct shape {
    const char *name;
    op_matmul_form form;
    int64_t m, n, k;
} shape;
static const shape shapes[] = {
    {"square", OP_MATMUL_NT, 1024, 1024, 1024},       {"qkv forward", OP_MATMUL_NT, 2000, 1152, 384},
    {"fc1 forward", OP_MATMUL_NT, 2000, 1536, 384},   {"fc2 forward", OP_MATMUL_NT, 2000, 384, 1536},
    {"fc1 to input", OP_MATMUL_NN, 2000, 384, 1536},  {"fc2 to input", OP_MATMUL_NN, 2000, 1536, 384},
    {"fc1 to weight", OP_MATMUL_TN, 1536, 384, 2000}, {"fc2 to weight", OP_MATMUL_TN, 384, 1536, 2000},
};

static ij_status bench_shape(gpu_device *device, const ijepa_bench_options *options, int runs, const shape *s, ij_error *err) {
    static const char *const forms[] = {"nt", "nn", "tn"};
    matmul_bench_result result;
    IJ_TRY(matmul_bench(device,
                        &(matmul_bench_desc){.form = s->form, .m = s->m, .n = s->n, .k = s->k, .runs = runs, .openblas = options->openblas},
                        &result, err));
    double m = (double)s->m, n = (double)s->n, k = (double)s->k;
    ijepa_bench_row row = {.milliseconds = 1e3 * result.seconds,
                           .gflops = 2e-9 * m * n * k,
                           .gbytes = 4e-9 * (m * k + n * k + m * n),
                           .baseline_milliseconds = 1e3 * result.openblas_seconds,
                           .runs = runs,
                           .verified = result.verified};
    snprintf(row.name, sizeof row.name, "%s %lld x %lld x %lld%s%s", forms[s->form], (long long)s->m, (long long)s->n, (long long)s->k,
             *s->name ? "  " : "", s->name);
    options->on_row(options->user, &row);
    return IJ_OK;
}

static ij_status bench_matmul(gpu_device *device, const ijepa_bench_options *options, int runs, ij_error *err) {
    if (options->m || options->n || options->k) {
        for (int form = 0; form < 3; form++)
            IJ_TRY(bench_shape(device, options, runs, &(shape){"", (op_matmul_form)form, options->m, options->n, options->k}, err));
        return IJ_OK;
    }
    for (int i = 0; i < IJ_COUNT(shapes); i++) IJ_TRY(bench_shape(device, options, runs, &shapes[i], err));
    return IJ_OK;
}

/* ---- ops ---- */

/* The cases worth timing: the large ones where an op has any, else all. */
static ij_status bench_op(gpu_device *device, const ijepa_bench_options *options, const op_desc *op, int runs, double *seconds,
                          ij_error *err) {
    bool has_large = false;
    for (int i = 0; i < op->case_count; i++) has_large |= op->cases[i].large;
    for (int i = 0; i < op->case_count; i++) {
        const op_case *c = &op->cases[i];
        if (c->large != has_large) continue;
        op_report report;
        double flops = 0, bytes = 0;
        IJ_TRY(op_check_timed(device, op, c, runs, seconds, &report, err));
        if (report.skipped) continue;
        qsort(seconds, (size_t)runs, sizeof *seconds, by_size);
        op->cost(c, &flops, &bytes);
        ijepa_bench_row row = {
            .milliseconds = 1e3 * seconds[runs / 2], .gflops = 1e-9 * flops, .gbytes = 1e-9 * bytes, .runs = runs, .verified = true};
        snprintf(row.name, sizeof row.name, "%s  %s", op->name, c->name);
        options->on_row(options->user, &row);
    }
    return IJ_OK;
}

static ij_status bench_ops(gpu_device *device, const ijepa_bench_options *options, int runs, ij_error *err) {
    double *seconds;
    int found = 0;
    IJ_TRY(ij_alloc(&seconds, runs, sizeof *seconds, "times", err));
    ij_status status = IJ_OK;
    for (int f = 0; f < op_family_count; f++)
        for (int i = 0; i < op_families[f]->count && status == IJ_OK; i++) {
            const op_desc *op = &op_families[f]->ops[i];
            if (options->op && !strstr(op->name, options->op)) continue;
            found++;
            status = bench_op(device, options, op, runs, seconds, err);
        }
    free(seconds);
    if (status == IJ_OK && !found) return ij_fail(err, IJ_ERROR_ARGUMENT, "no op's name contains \"%s\"", options->op);
    return status;
}

/* ---- step ---- */

static void on_step_row(void *user, const ij_bench_row *from) {
    const ijepa_bench_options *options = user;
    ijepa_bench_row row = {.milliseconds = 1e3 * from->seconds,
                           .gflops = 1e-9 * from->flops,
                           .gbytes = 1e-9 * from->bytes,
                           .runs = from->count,
                           .verified = true};
    snprintf(row.name, sizeof row.name, "%s", from->label);
    options->on_row(options->user, &row);
}

static ij_status bench_step(gpu_device *device, const ijepa_bench_options *options, int runs, ijepa_bench_step *step, ij_error *err) {
    ij_train_config *config;
    ij_bench_step result;
    IJ_TRY(ij_alloc(&config, 1, sizeof *config, "configuration", err));
    ij_status status = api_config_read(options->config, config, NULL, 0, err);
    if (status == IJ_OK) status = ij_bench_step_run(device, config, runs, on_step_row, (void *)options, &result, err);
    free(config);
    if (status == IJ_OK && step)
        *step = (ijepa_bench_step){.images_per_second = result.images / result.seconds,
                                   .milliseconds = 1e3 * result.seconds,
                                   .gflops = 1e-9 * result.flops,
                                   .context_rows = result.context_rows,
                                   .target_rows = result.target_rows,
                                   .device_bytes = result.device_bytes,
                                   .dispatches = result.dispatches,
                                   .barriers = result.barriers};
    return status;
}

ijepa_status ijepa_bench(const ijepa_bench_options *options, ijepa_bench_step *step, ijepa_error *err) {
    API_NEED(options);
    API_NEED(options->what);
    API_NEED(options->on_row);
    if (options->runs < 0 || options->runs > RUNS_MAX) return api_range(__func__, "runs", options->runs, "0 to 10000", err);
    int runs = options->runs ? options->runs : RUNS_DEFAULT;
    bool matmul = strcmp(options->what, "matmul") == 0, ops = strcmp(options->what, "ops") == 0, whole = strcmp(options->what, "step") == 0;
    ij_error ours = {0};
    if (!matmul && !ops && !whole)
        return api_result(ij_fail(&ours, IJ_ERROR_ARGUMENT, "no benchmark is called \"%s\"; there are matmul, ops, step", options->what),
                          &ours, err);
    if (whole) API_NEED(options->config);
    gpu_device *device;
    gpu_device_desc desc = api_device_desc(&options->device);
    ij_status status = gpu_device_open(&desc, &device, &ours);
    if (status != IJ_OK) return api_result(status, &ours, err);
    if (matmul)
        status = bench_matmul(device, options, runs, &ours);
    else if (ops)
        status = bench_ops(device, options, runs, &ours);
    else
        status = bench_step(device, options, runs, step, &ours);
    gpu_device_close(device);
    return api_result(status, &ours, err);
}
