/* The report of an ablation: one table for each of the paper's, its rows beside ours.       layer: api; uses: base, io, eval */
#include "api/ablate.h"
#include "base/file.h"
#include "eval/samples.h"
#include "io/json_writer.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- rows from runs ---- */

static void judge(ijepa_ablate_row *row, int healthy, int warned, int collapsed) {
    int all = healthy + warned + collapsed;
    if (collapsed && collapsed < all)
        snprintf(row->verdict, sizeof row->verdict, "%d of %d collapsed", collapsed, all);
    else
        snprintf(row->verdict, sizeof row->verdict, "%s", collapsed ? "collapsed" : warned ? "warning" : healthy ? "healthy" : "");
}

static void summarise_row(const ablate *a, const ablate_setup *setup, ijepa_ablate_row *row) {
    ij_accuracy knn[ABLATE_SEEDS_MAX], linear[ABLATE_SEEDS_MAX];
    int counts[3] = {0};
    static const char *const names[] = {"healthy", "warning", "collapsed"};
    row->seeds = row->failed = 0;
    row->knn = row->knn_low = row->knn_high = row->linear = row->linear_low = row->linear_high = (double)NAN;
    for (int s = 0; s < a->result->seeds; s++) {
        const ijepa_ablate_run *run = &a->result->runs[setup->first_run + s * a->used];
        row->failed += strcmp(run->state, "failed") == 0;
        if (strcmp(run->state, "done") != 0) continue;
        knn[row->seeds] = (ij_accuracy){run->knn, run->knn_low, run->knn_high};
        linear[row->seeds++] = (ij_accuracy){run->linear, run->linear_low, run->linear_high};
        for (int i = 0; i < 3; i++) counts[i] += strcmp(run->verdict, names[i]) == 0;
    }
    if (row->seeds) {
        ij_accuracy over = ij_accuracy_over(knn, row->seeds);
        row->knn = over.percent, row->knn_low = over.low, row->knn_high = over.high;
        over = ij_accuracy_over(linear, row->seeds);
        row->linear = over.percent, row->linear_low = over.low, row->linear_high = over.high;
    }
    judge(row, counts[0], counts[1], counts[2]);
}

void ablate_summarise(ablate *a) {
    ijepa_ablate_result *r = a->result;
    r->done = r->failed = 0;
    for (int i = 0; i < r->run_count; i++) {
        r->done += strcmp(r->runs[i].state, "done") == 0;
        r->failed += strcmp(r->runs[i].state, "failed") == 0;
    }
    for (int t = 0; t < r->table_count; t++)
        for (int i = 0; i < r->tables[t].row_count; i++)
            for (int64_t s = 0; s < a->setup_count; s++)
                if (strcmp(a->setups[s].name, r->tables[t].rows[i].run) == 0) summarise_row(a, &a->setups[s], &r->tables[t].rows[i]);
}

/* ---- words ---- */

static const char *interval(double value, double low, double high, char out[64]) {
    if (isnan(value)) return strcpy(out, "-");
    snprintf(out, 64, "%.1f [%.1f, %.1f]", value, low, high);
    return out;
}

static const char *verdict_of(const ijepa_ablate_row *row, char out[96]) {
    if (row->note[0]) return strcpy(out, "not possible");
    if (row->failed && row->verdict[0])
        snprintf(out, 96, "%s, %d failed", row->verdict, row->failed);
    else if (row->failed)
        snprintf(out, 96, row->failed > 1 ? "%d failed" : "failed", row->failed);
    else
        snprintf(out, 96, "%s", row->verdict[0] ? row->verdict : row->seeds ? "unknown" : "waiting");
    return out;
}

static const char *paper_of(const ijepa_ablate_row *row, char out[96]) {
    out[0] = 0;
    if (row->paper_model[0]) snprintf(out, 96, "%s: %.1f", row->paper_setting, row->paper);
    return out;
}

/* "Assran et al. 2023, table 7: ...; ViT-L/16, 500 epochs and ViT-L/16, 800 epochs" */
static void caption(const ijepa_ablate_table *t, FILE *out) {
    const char *last = NULL;
    fprintf(out, "paper: %s", t->source);
    for (int i = 0; i < t->row_count; i++) {
        const char *model = t->rows[i].paper_model;
        if (!last || strcmp(last, model) != 0) fprintf(out, "%s%s", last ? " and " : "; ", model);
        last = model;
    }
    fprintf(out, "\n");
}

static double mean_over_runs(const ijepa_ablate_result *r, size_t offset) {
    double sum = 0, count = 0;
    for (int i = 0; i < r->run_count; i++) {
        double value;
        memcpy(&value, (const char *)&r->runs[i] + offset, sizeof value);
        if (!isnan(value)) sum += value, count++;
    }
    return count > 0 ? sum / count : (double)NAN;
}
#define MEAN(r, field) mean_over_runs(r, offsetof(ijepa_ablate_run, field))

/* What holds for all tables, a line each, each behind `bullet`. */
static void notes(const ijepa_ablate_result *r, const char *bullet, FILE *out) {
    if (r->steps)
        fprintf(out, "%s%d runs of %" PRId64 " steps: %d done, %d failed; seeds a row: %d\n", bullet, r->run_count, r->steps, r->done,
                r->failed, r->seeds);
    else
        fprintf(out, "%s%d runs of the base's epochs: %d done, %d failed; seeds a row: %d\n", bullet, r->run_count, r->done, r->failed,
                r->seeds);
    fprintf(out, "%skNN and linear probe on frozen features of the target encoder, percent; intervals of 95 %%: %s\n", bullet,
            r->seeds > 1 ? "of the test images, or Student's t over seeds where that is wider" : "of the test images (Wilson)");
    if (!isnan(MEAN(r, random_knn)))
        fprintf(out, "%sfor comparison: random initialisation kNN %.1f, linear %.1f; raw pixels kNN %.1f, linear %.1f\n", bullet,
                MEAN(r, random_knn), MEAN(r, random_linear), MEAN(r, pixels_knn), MEAN(r, pixels_linear));
    for (int i = 0; i < r->run_count; i++)
        if (r->runs[i].error[0]) fprintf(out, "%s%s failed: %s\n", bullet, r->runs[i].name, r->runs[i].error);
}

/* ---- for a terminal ---- */

static void print_text(const ijepa_ablate_result *r, FILE *out) {
    char a[64], b[64], c[96], d[96];
    for (int t = 0; t < r->table_count; t++) {
        const ijepa_ablate_table *table = &r->tables[t];
        fprintf(out, "%s: %s\n", table->name, table->title);
        fprintf(out, "  %-24s %-20s %-20s %5s  %-18s %s\n", "setting", "kNN %", "linear %", "seeds", "verdict",
                table->source[0] ? "paper" : "");
        for (int i = 0; i < table->row_count; i++) {
            const ijepa_ablate_row *row = &table->rows[i];
            fprintf(out, "  %-24s %-20s %-20s %5d  %-18s %s\n", row->setting, interval(row->knn, row->knn_low, row->knn_high, a),
                    interval(row->linear, row->linear_low, row->linear_high, b), row->seeds, verdict_of(row, c), paper_of(row, d));
            if (row->seeds == 0) /* nothing to show but what it will be */
                fprintf(out, "      %s%s%s\n", row->set[0] ? row->set : "the base", row->run[0] ? "  -> " : "; ",
                        row->run[0] ? row->run : row->note);
        }
        if (table->note[0]) fprintf(out, "  %s\n", table->note);
        if (table->source[0]) fputs("  ", out), caption(table, out);
        fprintf(out, "\n");
    }
    notes(r, "", out);
}

/* ---- Markdown ---- */

static void print_markdown(const ijepa_ablate_result *r, FILE *out) {
    char a[64], b[64], c[96], d[96];
    fprintf(out, "# Ablations\n\n");
    notes(r, "- ", out);
    for (int t = 0; t < r->table_count; t++) {
        const ijepa_ablate_table *table = &r->tables[t];
        bool paper = table->source[0];
        fprintf(out, "\n## %s: %s\n\n| setting | kNN %% | linear %% | seeds | verdict |%s\n|---|---|---|---|---|%s\n", table->name,
                table->title, paper ? " paper |" : "", paper ? "---|" : "");
        for (int i = 0; i < table->row_count; i++) {
            const ijepa_ablate_row *row = &table->rows[i];
            fprintf(out, "| %s | %s | %s | %d | %s |", row->setting, interval(row->knn, row->knn_low, row->knn_high, a),
                    interval(row->linear, row->linear_low, row->linear_high, b), row->seeds, verdict_of(row, c));
            fprintf(out, paper ? " %s |\n" : "%s\n", paper_of(row, d));
        }
        fprintf(out, "\n");
        if (table->note[0]) fprintf(out, "%s\n\n", table->note);
        if (paper) caption(table, out), fprintf(out, "\n");
        for (int i = 0; i < table->row_count; i++) {
            const ijepa_ablate_row *row = &table->rows[i];
            fprintf(out, "- %s: `%s`%s%s%s\n", row->setting, row->set[0] ? row->set : "the base", row->run[0] ? ", runs `" : "; ",
                    row->run[0] ? row->run : row->note, row->run[0] ? "-s*`" : "");
        }
    }
}

/* ---- CSV ---- */

static void csv_text(FILE *out, const char *text) {
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"') fputc('"', out);
        fputc(*text, out);
    }
    fputs("\",", out);
}

static void csv_number(FILE *out, double value, const char *end) {
    char text[32] = "";
    if (!isnan(value)) ij_number_text(value, text);
    fprintf(out, "%s%s", text, end);
}

static void print_csv(const ijepa_ablate_result *r, FILE *out) {
    char words[96];
    fprintf(out, "table,setting,set,run,verdict,seeds,failed,knn,knn_low,knn_high,linear,linear_low,linear_high,paper_setting,paper_model,"
                 "paper_top1\n");
    for (int t = 0; t < r->table_count; t++)
        for (int i = 0; i < r->tables[t].row_count; i++) {
            const ijepa_ablate_row *row = &r->tables[t].rows[i];
            const double numbers[] = {row->knn, row->knn_low, row->knn_high, row->linear, row->linear_low, row->linear_high};
            csv_text(out, r->tables[t].name), csv_text(out, row->setting), csv_text(out, row->set), csv_text(out, row->run);
            csv_text(out, verdict_of(row, words));
            fprintf(out, "%d,%d,", row->seeds, row->failed);
            for (int n = 0; n < IJ_COUNT(numbers); n++) csv_number(out, numbers[n], ",");
            csv_text(out, row->paper_setting), csv_text(out, row->paper_model);
            csv_number(out, row->paper, "\n");
        }
}

/* ---- JSON ---- */

static void json_text(ij_json *j, const char *key, const char *text) { ij_json_key(j, key), ij_json_string(j, text); }
static void json_number(ij_json *j, const char *key, double value) { ij_json_key(j, key), ij_json_number(j, value); }
static void json_integer(ij_json *j, const char *key, int64_t value) { ij_json_key(j, key), ij_json_integer(j, value); }

static void json_row(ij_json *j, const ijepa_ablate_row *row) {
    ij_json_open(j, '{');
    json_text(j, "setting", row->setting), json_text(j, "set", row->set), json_text(j, "run", row->run), json_text(j, "note", row->note);
    json_integer(j, "seeds", row->seeds), json_integer(j, "failed", row->failed);
    json_text(j, "verdict", row->verdict);
    json_number(j, "knn", row->knn), json_number(j, "knn_low", row->knn_low), json_number(j, "knn_high", row->knn_high);
    json_number(j, "linear", row->linear), json_number(j, "linear_low", row->linear_low), json_number(j, "linear_high", row->linear_high);
    json_text(j, "paper_setting", row->paper_setting), json_text(j, "paper_model", row->paper_model);
    json_number(j, "paper_top1", row->paper);
    ij_json_close(j, '}');
}

static void json_run(ij_json *j, const ijepa_ablate_run *run) {
    ij_json_open(j, '{');
    json_text(j, "name", run->name);
    json_integer(j, "seed", (int64_t)run->seed);
    json_text(j, "state", run->state), json_text(j, "error", run->error), json_text(j, "verdict", run->verdict);
    json_number(j, "knn", run->knn), json_number(j, "knn_low", run->knn_low), json_number(j, "knn_high", run->knn_high);
    json_number(j, "linear", run->linear), json_number(j, "linear_low", run->linear_low), json_number(j, "linear_high", run->linear_high);
    json_number(j, "random_knn", run->random_knn), json_number(j, "random_linear", run->random_linear);
    json_number(j, "pixels_knn", run->pixels_knn), json_number(j, "pixels_linear", run->pixels_linear);
    json_number(j, "seconds", run->seconds);
    ij_json_close(j, '}');
}

static void fill_json(const ijepa_ablate_result *r, ij_json *j) {
    ij_json_open(j, '{');
    json_text(j, "out", r->out);
    json_integer(j, "steps", r->steps), json_integer(j, "seeds", r->seeds);
    json_integer(j, "runs_done", r->done), json_integer(j, "runs_failed", r->failed);
    ij_json_key(j, "tables"), ij_json_open(j, '[');
    for (int t = 0; t < r->table_count; t++) {
        ij_json_open(j, '{');
        json_text(j, "name", r->tables[t].name), json_text(j, "title", r->tables[t].title), json_text(j, "source", r->tables[t].source);
        json_text(j, "note", r->tables[t].note);
        ij_json_key(j, "rows"), ij_json_open(j, '[');
        for (int i = 0; i < r->tables[t].row_count; i++) json_row(j, &r->tables[t].rows[i]);
        ij_json_close(j, ']'), ij_json_close(j, '}');
    }
    ij_json_close(j, ']');
    ij_json_key(j, "runs"), ij_json_open(j, '[');
    for (int i = 0; i < r->run_count; i++) json_run(j, &r->runs[i]);
    ij_json_close(j, ']'), ij_json_close(j, '}');
    ij_json_raw(j, "\n");
}

/* ---- out ---- */

ij_status ablate_print(const ijepa_ablate_result *result, ablate_format format, char **out, ij_error *err) {
    static void (*const printers[])(const ijepa_ablate_result *, FILE *) = {print_text, print_markdown, print_csv};
    size_t bytes = 0;
    *out = NULL;
    if (format == ABLATE_JSON) {
        ij_json j = {0};
        fill_json(result, &j);
        if (!j.failed) return *out = j.text, IJ_OK;
        ij_json_free(&j);
        return ij_fail(err, IJ_ERROR_MEMORY, "out of host memory: report");
    }
    FILE *file = open_memstream(out, &bytes);
    if (file) {
        printers[format](result, file);
        bool failed = ferror(file);
        if (fclose(file) == 0 && !failed) return IJ_OK;
    }
    free(*out);
    *out = NULL;
    return ij_fail(err, IJ_ERROR_MEMORY, "out of host memory: report");
}

ij_status ablate_write_report(const ijepa_ablate_result *result, ij_error *err) {
    static const char *const names[ABLATE_FORMATS] = {
        [ABLATE_MARKDOWN] = "ablation.md", [ABLATE_CSV] = "ablation.csv", [ABLATE_JSON] = "ablation.json"};
    for (int f = ABLATE_MARKDOWN; f < ABLATE_FORMATS; f++) {
        char path[4200], *text;
        IJ_TRY(ij_path_join(path, sizeof path, result->out, names[f], err));
        IJ_TRY(ablate_print(result, (ablate_format)f, &text, err));
        ij_status status = ij_file_replace(path, text, strlen(text), err);
        free(text);
        IJ_TRY(status);
    }
    return IJ_OK;
}

ijepa_status ijepa_ablate_text(const ijepa_ablate_result *result, const char *format, char **text, ijepa_error *err) {
    static const char *const names[ABLATE_FORMATS] = {"text", "markdown", "csv", "json"};
    API_NEED(result);
    API_NEED(format);
    API_NEED(text);
    ij_error ours = {0};
    *text = NULL;
    for (int f = 0; f < ABLATE_FORMATS; f++)
        if (strcmp(format, names[f]) == 0) {
            ij_status status = ablate_print(result, (ablate_format)f, text, &ours);
            return api_result(status, &ours, err);
        }
    return api_result(ij_fail(&ours, IJ_ERROR_ARGUMENT, "format \"%.40s\": text, markdown, csv or json", format), &ours, err);
}
