/* layer: cli; uses: ijepa.h */
#include "bench_output.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static double per_second(double work, const ijepa_bench_row *row) { return row->milliseconds > 0 ? 1e3 * work / row->milliseconds : 0; }

static double ratio_of(const ijepa_bench_row *row) { return row->milliseconds > 0 ? row->baseline_milliseconds / row->milliseconds : 0; }

/* ---- tab-separated ---- */

static void tsv_number(FILE *file, double value, const char *format, char end) {
    if (value > 0) fprintf(file, format, value);
    fputc(end, file);
}

static void tsv_text(FILE *file, const char *text, char end) {
    for (; *text; text++) fputc(*text == '\t' || *text == '\n' || *text == '\r' ? ' ' : *text, file);
    fputc(end, file);
}

static void tsv_row(FILE *file, const ijepa_bench_row *row, const ijepa_bench_roof *roof) {
    bool memory = false;
    double bound = roof ? ijepa_bench_bound(row, roof, &memory) : 0;
    tsv_text(file, row->name, '\t');
    tsv_text(file, row->element, '\t');
    tsv_text(file, row->kernel, '\t');
    fprintf(file, "%lld\t%lld\t%lld\t%d\t%d\t", (long long)row->m, (long long)row->n, (long long)row->k, row->count, row->runs);
    tsv_number(file, row->milliseconds, "%.6g", '\t');
    tsv_number(file, per_second(row->gflops, row), "%.6g", '\t');
    tsv_number(file, per_second(row->gbytes, row), "%.6g", '\t');
    tsv_number(file, row->baseline_milliseconds, "%.6g", '\t');
    tsv_number(file, ratio_of(row), "%.4g", '\t');
    tsv_number(file, bound, "%.4f", '\t');
    tsv_text(file, bound > 0 ? (memory ? "memory" : "compute") : "", '\t');
    tsv_text(file, row->verified ? "yes" : "no", '\t');
    tsv_text(file, row->detail, '\t');
    tsv_text(file, row->note, '\n');
}

static void tsv_head(FILE *file) {
    fputs("name\telement\tkernel\tm\tn\tk\tcount\truns\tms\tgflops_per_second\tgbytes_per_second\tbaseline_ms\tratio\tof_roof\tbound\t"
          "verified\tdetail\tnote\n",
          file);
}

bool bench_tsv(FILE *file, const bench_table *t, const ijepa_bench_roof *roof) {
    rewind(file);
    if (ftruncate(fileno(file), 0) != 0) return false;
    tsv_head(file);
    for (int i = 0; i < t->count; i++) tsv_row(file, &t->rows[i], roof);
    return fflush(file) == 0 && !ferror(file);
}

/* ---- JSON ---- */

static void json_row(cli_json *json, const ijepa_bench_row *row, const ijepa_bench_roof *roof) {
    bool memory;
    double bound = ijepa_bench_bound(row, roof, &memory);
    json_open(json, NULL, '{');
    json_text(json, "name", row->name);
    if (row->element[0]) json_text(json, "element", row->element);
    if (row->kernel[0]) json_text(json, "kernel", row->kernel);
    if (row->detail[0]) json_text(json, "detail", row->detail);
    if (row->note[0]) json_text(json, "note", row->note);
    json_number(json, "milliseconds", row->milliseconds);
    json_number(json, "gflops_per_second", per_second(row->gflops, row));
    json_number(json, "gbytes_per_second", per_second(row->gbytes, row));
    if (row->baseline_milliseconds > 0) {
        json_number(json, "baseline_milliseconds", row->baseline_milliseconds);
        json_number(json, "ratio", ratio_of(row));
    }
    if (bound > 0) {
        json_number(json, "of_roof", bound);
        json_text(json, "bound", memory ? "memory" : "compute");
    }
    json_integer(json, "runs", row->runs);
    json_bool(json, "verified", row->verified);
    json_close(json, '}');
}

static void json_step(cli_json *json, const ijepa_bench_summary *s) {
    json_text(json, "precision", s->precision);
    json_text(json, "rungs", s->rungs);
    json_number(json, "milliseconds", s->milliseconds);
    json_number(json, "images_per_second", s->images_per_second);
    json_number(json, "gflop", s->gflops);
    json_number(json, "context_rows", s->context_rows);
    json_number(json, "target_rows", s->target_rows);
    json_integer(json, "device_bytes", (int64_t)s->device_bytes);
    json_integer(json, "dispatches", s->dispatches);
    json_integer(json, "barriers", s->barriers);
}

void bench_json(const bench_table *t, const ijepa_bench_summary *s) {
    cli_json json = {.file = stdout};
    json_open(&json, NULL, '{');
    json_text(&json, "device", s->device);
    if (s->baseline[0]) json_text(&json, "baseline", s->baseline);
    if (s->shapes[0]) json_text(&json, "shapes", s->shapes);
    json_open(&json, "rows", '[');
    for (int i = 0; i < t->count; i++) json_row(&json, &t->rows[i], &s->roof);
    json_close(&json, ']');
    json_open(&json, "roof", '{');
    json_number(&json, "gflops_per_second_f32", s->roof.gflops_f32);
    json_number(&json, "gflops_per_second_f16", s->roof.gflops_f16);
    json_number(&json, "gflops_per_second_bf16", s->roof.gflops_bf16);
    json_number(&json, "gbytes_per_second", s->roof.gbytes);
    json_close(&json, '}');
    if (t->kind == BENCH_STEP && s->milliseconds > 0) json_step(&json, s);
    json_close(&json, '}');
}

/* ---- the table ---- */

static bool has_kernels(const bench_table *t) { return t->kind == BENCH_MATMUL || t->kind == BENCH_ATTENTION; }

static void print_row(const bench_table *t, const ijepa_bench_row *row) {
    char what[256];
    if (t->count == 1) {
        printf("%-44s %s%10s %10s %8s", "what", has_kernels(t) ? "element kernel   " : "", "ms", "GFLOP/s", "GB/s");
        printf("%s  verified\n", t->baseline ? "  baseline  speed-up" : "");
    }
    snprintf(what, sizeof what, "%s", row->name);
    if (t->kind == BENCH_MATMUL)
        snprintf(what, sizeof what, "%.120s %lldx%lldx%lld", row->name, (long long)row->m, (long long)row->n, (long long)row->k);
    printf("%-44s ", what);
    if (has_kernels(t)) printf("%-7s %-9s", row->element, row->kernel);
    if (row->milliseconds > 0)
        printf("%10.3f %10.1f %8.1f", row->milliseconds, per_second(row->gflops, row), per_second(row->gbytes, row));
    else
        printf("%10s %10s %8s", "-", "-", "-");
    if (t->baseline && row->baseline_milliseconds > 0)
        printf("  %8.3f  %7.2fx", row->baseline_milliseconds, ratio_of(row));
    else if (t->baseline)
        printf("  %8s  %8s", "-", "-");
    printf("  %s\n", row->verified ? "yes" : "NO");
    if (row->note[0]) printf("    %s\n", row->note);
    fflush(stdout);
}

void bench_add(bench_table *t, const ijepa_bench_row *row) {
    if (t->count == t->capacity) {
        int capacity = t->capacity ? 2 * t->capacity : 64;
        ijepa_bench_row *rows = realloc(t->rows, (size_t)capacity * sizeof *rows);
        if (!rows) {
            t->lost = true;
            return;
        }
        t->rows = rows, t->capacity = capacity;
    }
    t->rows[t->count++] = *row;
    if (t->tsv && t->count == 1) tsv_head(t->tsv);
    if (t->tsv) tsv_row(t->tsv, row, NULL), fflush(t->tsv);
    if (!t->json && t->kind != BENCH_STEP) print_row(t, row);
}

static void print_roofs(const ijepa_bench_roof *roof) {
    const double rates[] = {roof->gflops_f32, roof->gflops_f16, roof->gflops_bf16};
    static const char *const names[] = {"f32", "f16", "bf16"};
    printf("roofs              memory %.1f GB/s (the faster of a copy and a fill)", roof->gbytes);
    for (int i = 0; i < CLI_COUNT(rates); i++)
        if (rates[i] > 0) printf(", %s %.1f GFLOP/s", names[i], rates[i]);
    printf("\n                   (the fastest products of this run, not the maker's figures)\n");
}

/* For each element and kernel: range of what it reaches of its bounds, and its speed against the baseline. */
static void print_kernels(const bench_table *t, const ijepa_bench_summary *s) {
    for (int i = 0; i < t->count; i++) {
        double low = INFINITY, high = 0, logs = 0, slowest = INFINITY, fastest = 0;
        int same = 0, compared = 0;
        bool first = true;
        for (int j = 0; j < t->count; j++) {
            const ijepa_bench_row *row = &t->rows[j];
            if (strcmp(row->element, t->rows[i].element) != 0 || strcmp(row->kernel, t->rows[i].kernel) != 0) continue;
            if (j < i) first = false;
            double bound = ijepa_bench_bound(row, &s->roof, NULL), ratio = ratio_of(row);
            if (bound > 0) low = fmin(low, bound), high = fmax(high, bound), same++;
            if (ratio > 0) slowest = fmin(slowest, ratio), fastest = fmax(fastest, ratio), logs += log(ratio), compared++;
        }
        if (!first || !same) continue;
        printf("%-4s %-13s %d timed, %.0f to %.0f %% of their bounds", t->rows[i].element, t->rows[i].kernel, same, 100 * low, 100 * high);
        if (compared) printf("; %.2f to %.2f of the baseline's speed, geometric mean %.2f", slowest, fastest, exp(logs / compared));
        printf("\n");
    }
}

static void print_bounds(const bench_table *t, const ijepa_bench_summary *s) {
    printf("\n%-52s %-7s %-9s %8s  %-8s %s\n", "what", "element", "kernel", "of roof", "bound", "how");
    for (int i = 0; i < t->count; i++) {
        const ijepa_bench_row *row = &t->rows[i];
        bool memory;
        double bound = ijepa_bench_bound(row, &s->roof, &memory);
        if (bound > 0)
            printf("%-52s %-7s %-9s %7.1f%%  %-8s %s\n", row->name, row->element, row->kernel, 100 * bound, memory ? "memory" : "compute",
                   row->detail);
    }
}

static void print_step(const bench_table *t, const ijepa_bench_summary *s) {
    double total = 0, products = 0;
    char bytes[32];
    for (int i = 0; i < t->count; i++) {
        total += t->rows[i].milliseconds;
        if (t->rows[i].product) products += t->rows[i].milliseconds;
    }
    if (t->count)
        printf("%-38s %5s %9s %6s %9s %8s %7s  %s%s\n", "op", "times", "ms", "share", "GFLOP/s", "GB/s", "of roof", "bound",
               t->verbose ? "    how" : "");
    for (int i = 0; i < t->count; i++) {
        const ijepa_bench_row *row = &t->rows[i];
        bool memory;
        double bound = ijepa_bench_bound(row, &s->roof, &memory);
        printf("%-38s %5d %9.3f %5.1f%% %9.1f %8.1f ", row->name, row->runs, row->milliseconds, 100 * row->milliseconds / total,
               per_second(row->gflops, row), per_second(row->gbytes, row));
        printf("%6.1f%%  %s", 100 * bound, memory ? "memory " : "compute");
        if (t->verbose) printf("  %s", row->detail);
        printf("\n");
    }
    if (t->count) printf("%-38s %5s %9.3f (each op by itself, with timestamps)\n\n", "all", "", total);
    printf("step               %.3f ms, %.1f images/s", s->milliseconds, s->images_per_second);
    if (s->gflops > 0) printf(", %.1f GFLOP, %.1f GFLOP/s", s->gflops, 1e3 * s->gflops / s->milliseconds);
    printf("\nprecision          %s\n", s->rungs);
    if (total > 0) printf("matrix products    %.1f %% of the time of all ops\n", 100 * products / total);
    printf("rows of an image   %.1f context, %.1f target\n", s->context_rows, s->target_rows);
    printf("recorded           %d dispatches, %d barriers; %s of device memory\n", s->dispatches, s->barriers,
           text_bytes(s->device_bytes, bytes));
    if (!t->count) printf("This device has no timestamps: no time by op.\n");
}

void bench_finish(const bench_table *t, const ijepa_bench_summary *s, bool complete) {
    if (t->kind == BENCH_STEP && complete) print_step(t, s);
    if (t->kind != BENCH_STEP && t->count) printf("\ndevice             %s\n", s->device);
    if (s->baseline[0] && t->count) printf("baseline           %s\n", s->baseline);
    if (s->shapes[0] && t->count) printf("shapes             %s\n", s->shapes);
    if (s->roof.gbytes > 0 && (complete || t->count)) print_roofs(&s->roof);
    if (has_kernels(t)) print_kernels(t, s);
    if (has_kernels(t) && t->verbose && t->count) print_bounds(t, s);
    if (t->lost) printf("Some rows are missing here: no memory to keep them.\n");
}
