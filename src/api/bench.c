/* Benchmarks: rows as they are measured. A row is verified before it is timed.       layer: api; uses: base, gpu, ops, train, view */
#include "api/bench.h"
#include "base/memory.h"
#include "ops/bench_values.h"
#include "ops/op.h"
#include "train/bench.h"
#include "view/bench_picture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNS_DEFAULT 15
#define RUNS_MAX 10000

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
        op->cost(c, &flops, &bytes);
        ijepa_bench_row row = {.element = "",
                               .kernel = "",
                               .milliseconds = 1e3 * bench_median(seconds, runs),
                               .gflops = 1e-9 * flops,
                               .gbytes = 1e-9 * bytes,
                               .runs = runs,
                               .verified = true};
        snprintf(row.name, sizeof row.name, "%s  %s", op->name, c->name);
        options->on_row(options->user, &row);
    }
    return IJ_OK;
}

static ij_status bench_ops(api_bench *b, ij_error *err) {
    const ijepa_bench_options *options = b->options;
    int runs = b->runs;
    double *seconds;
    int found = 0;
    IJ_TRY(ij_alloc(&seconds, runs, sizeof *seconds, "times", err));
    ij_status status = IJ_OK;
    for (int f = 0; f < op_family_count; f++)
        for (int i = 0; i < op_families[f]->count && status == IJ_OK; i++) {
            const op_desc *op = &op_families[f]->ops[i];
            if (options->op && !strstr(op->name, options->op)) continue;
            found++;
            status = bench_op(b->device, options, op, runs, seconds, err);
        }
    free(seconds);
    if (status == IJ_OK && !found) return ij_fail(err, IJ_ERROR_ARGUMENT, "no op's name contains \"%s\"", options->op);
    return status;
}

/* ---- step ---- */

typedef struct step_rows {
    api_bench *bench;
    unsigned elements; /* bits of those that products had */
} step_rows;

static void on_step_row(void *user, const ij_bench_row *from) {
    step_rows *rows = user;
    const ijepa_bench_options *options = rows->bench->options;
    gpu_element element = from->element;
    ijepa_bench_row row = {.element = api_element_name(element),
                           .kernel = "",
                           .milliseconds = 1e3 * from->seconds,
                           .gflops = 1e-9 * from->flops,
                           .gbytes = 1e-9 * from->bytes,
                           .runs = from->count,
                           .product = from->product,
                           .verified = true};
    snprintf(row.name, sizeof row.name, "%s", from->label);
    snprintf(row.detail, sizeof row.detail, "%s", from->detail);
    if (from->product) {
        rows->elements |= 1u << element;
        api_bench_raise(&rows->bench->summary->roof, element, row.gflops / from->seconds);
    }
    options->on_row(options->user, &row);
}

static ij_status bench_step(api_bench *b, ij_error *err) {
    ij_train_config *config;
    ij_bench_step result;
    step_rows rows = {.bench = b, .elements = 1u << GPU_WORD};
    ijepa_bench_summary *s = b->summary;
    IJ_TRY(ij_alloc(&config, 1, sizeof *config, "configuration", err));
    ij_status status = api_config_read(b->options->config, config, NULL, 0, err);
    if (status == IJ_OK) status = ij_bench_step_run(b->device, config, b->runs, b->options->by_detail, on_step_row, &rows, &result, err);
    free(config);
    if (status == IJ_OK) status = api_bench_roof(b, rows.elements, err);
    if (status != IJ_OK) return status;
    s->precision = api_element_name(result.element);
    snprintf(s->rungs, sizeof s->rungs, "%s", result.precision);
    s->images_per_second = result.images / result.seconds;
    s->milliseconds = 1e3 * result.seconds;
    s->gflops = 1e-9 * result.flops;
    s->context_rows = result.context_rows, s->target_rows = result.target_rows;
    s->device_bytes = result.device_bytes;
    s->dispatches = result.dispatches, s->barriers = result.barriers;
    return IJ_OK;
}

/* ---- all ---- */

static const struct {
    const char *name;
    ij_status (*run)(api_bench *bench, ij_error *err);
} benchmarks[] = {{"matmul", api_bench_matmul}, {"attention", api_bench_attention}, {"ops", bench_ops}, {"step", bench_step}};

static ij_status run(api_bench *b, int which, ij_error *err) {
    gpu_device_desc desc = api_device_desc(&b->options->device);
    IJ_TRY(gpu_device_open(&desc, &b->device, err));
    snprintf(b->summary->device, sizeof b->summary->device, "%s", gpu_device_info(b->device)->name);
    ij_status status = benchmarks[which].run(b, err);
    gpu_device_close(b->device);
    if (status != IJ_OK || !b->wrong) return status;
    return ij_fail(err, b->first_wrong.status, "%d wrong or failed results of %d rows were not timed; the first: %.400s", b->wrong, b->rows,
                   b->first_wrong.text);
}

ijepa_status ijepa_bench(const ijepa_bench_options *options, ijepa_bench_summary *summary, ijepa_error *err) {
    API_NEED(options);
    API_NEED(options->what);
    API_NEED(options->on_row);
    API_CONTEXT(&options->device);
    if (options->runs < 0 || options->runs > RUNS_MAX) return api_range(__func__, "runs", options->runs, "0 to 10000", err);
    if (options->batch < 0 || options->batch > 65536) return api_range(__func__, "batch", options->batch, "0 to 65536", err);
    ij_error ours = {0};
    int which = 0;
    while (which < IJ_COUNT(benchmarks) && strcmp(options->what, benchmarks[which].name) != 0) which++;
    if (which == IJ_COUNT(benchmarks))
        return api_result(
            ij_fail(&ours, IJ_ERROR_ARGUMENT, "no benchmark is called \"%s\"; there are matmul, attention, ops, step", options->what),
            &ours, err);
    if (strcmp(options->what, "step") == 0) API_NEED(options->config);
    ijepa_bench_summary own, *filled = summary ? summary : &own;
    *filled = (ijepa_bench_summary){.precision = ""};
    api_bench b = {.options = options, .runs = options->runs ? options->runs : RUNS_DEFAULT, .summary = filled};
    return api_result(run(&b, which, &ours), &ours, err);
}

/* ---- what they mean ---- */

/* A device that multiplies 16 bits slower than f32 could have used f32. */
static double roof_of(const ijepa_bench_roof *roof, const char *element) {
    double rate = strcmp(element, "f16") == 0 ? roof->gflops_f16 : strcmp(element, "bf16") == 0 ? roof->gflops_bf16 : 0;
    return rate > roof->gflops_f32 ? rate : roof->gflops_f32;
}

double ijepa_bench_bound(const ijepa_bench_row *row, const ijepa_bench_roof *roof, bool *memory) {
    double peak = roof_of(roof, row->element), compute = peak > 0 ? row->gflops / peak : 0;
    double moving = roof->gbytes > 0 ? row->gbytes / roof->gbytes : 0, seconds = 1e-3 * row->milliseconds;
    if (memory) *memory = moving > compute;
    if (!(seconds > 0) || !(peak > 0) || !(roof->gbytes > 0)) return 0;
    return (moving > compute ? moving : compute) / seconds;
}

ijepa_status ijepa_draw_bench(const ijepa_bench_row *rows, int count, const ijepa_bench_summary *summary, const char *path,
                              ijepa_error *err) {
    API_NEED(summary);
    API_NEED(path);
    if (count < 0) return api_range(__func__, "count", count, "0 or more", err);
    if (count) API_NEED(rows);
    ij_error ours = {0};
    ij_bench_mark *marks; /* NULL after a failure */
    ij_status status = ij_alloc(&marks, count, sizeof *marks, "rows", &ours);
    int used = 0;
    for (int i = 0; status == IJ_OK && i < count; i++) {
        const ijepa_bench_row *r = &rows[i];
        if (!(r->milliseconds > 0)) continue;
        marks[used++] = (ij_bench_mark){.name = r->name,
                                        .element = r->element,
                                        .kernel = r->kernel,
                                        .rate = r->gflops / r->milliseconds * 1e12,
                                        .intensity = r->gbytes > 0 ? r->gflops / r->gbytes : 0,
                                        .ratio = r->baseline_milliseconds / r->milliseconds};
    }
    ij_bench_picture picture = {.device = summary->device,
                                .baseline = summary->baseline,
                                .marks = marks,
                                .count = used,
                                .roofs = {1e9 * summary->roof.gflops_f32, 1e9 * summary->roof.gflops_f16, 1e9 * summary->roof.gflops_bf16},
                                .memory = 1e9 * summary->roof.gbytes};
    if (status == IJ_OK) status = ij_bench_picture_write(&picture, path, &ours);
    free(marks);
    return api_result(status, &ours, err);
}
