/* layer: view; uses: chart, train, base */
#include "view/run_picture.h"
#include "base/file.h"
#include "base/memory.h"
#include "train/monitor.h"
#include "view/chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_BYTES_MAX ((uint64_t)1 << 30)
#define COLUMNS_MAX 64
#define SMOOTH_PART 100 /* the smoothed line averages over about this part of the steps */
#define WIDTH 960
#define LOSS_HEIGHT 460
#define RANK_HEIGHT 300

/* What is drawn, by the log's column names. */
enum { LOSS, TRIVIAL, REGULARIZER, RANK_TARGET, RANK_PREDICTION, VERDICT, QUANTITIES };
static const char *const names[QUANTITIES] = {"loss", "trivial_loss", "regularizer", "rankme_target", "rankme_prediction", "verdict"};

typedef struct curve {
    double *x, *y; /* [count] only where there is a number; x is the step, from 1 */
    int64_t count, x_capacity, y_capacity;
} curve;

typedef struct run_log {
    curve curves[QUANTITIES];
    int64_t steps;
} run_log;

static void run_log_free(run_log *log) {
    for (int i = 0; i < QUANTITIES; i++) {
        free(log->curves[i].x);
        free(log->curves[i].y);
    }
}

static ij_status add(curve *c, double x, double y, ij_error *err) {
    if (!isfinite(y)) return IJ_OK;
    IJ_TRY(ij_grow(&c->x, &c->x_capacity, c->count + 1, sizeof *c->x, "curve", err));
    IJ_TRY(ij_grow(&c->y, &c->y_capacity, c->count + 1, sizeof *c->y, "curve", err));
    c->x[c->count] = x;
    c->y[c->count++] = y;
    return IJ_OK;
}

/* Which column of the header line each quantity is in; -1: in none. */
static void find_columns(const char *header, int where[QUANTITIES]) {
    for (int q = 0; q < QUANTITIES; q++) where[q] = -1;
    for (int column = 0; column < COLUMNS_MAX; column++) {
        size_t length = strcspn(header, ",\r\n");
        for (int q = 0; q < QUANTITIES; q++)
            if (strlen(names[q]) == length && strncmp(header, names[q], length) == 0) where[q] = column;
        if (header[length] != ',') return;
        header += length + 1;
    }
}

/* Numbers of a line; returns how many, 0 for a line that is not all numbers. */
static int read_row(const char *line, const char *end, double values[COLUMNS_MAX]) {
    int count = 0;
    while (line < end && count < COLUMNS_MAX) {
        char *after;
        values[count] = strtod(line, &after);
        if (after == line || (*after != ',' && after != end && *after != '\r')) return 0;
        count++;
        line = after + 1;
    }
    return count;
}

static ij_status read_log(const char *path, run_log *log, ij_error *err) {
    void *text;
    size_t bytes;
    int where[QUANTITIES];
    double values[COLUMNS_MAX];
    IJ_TRY(ij_file_read(path, LOG_BYTES_MAX, &text, &bytes, err));
    find_columns(text, where);
    ij_status status = IJ_OK;
    const char *line = strchr(text, '\n');
    for (const char *end; line && status == IJ_OK && (end = strchr(line + 1, '\n')); line = end) {
        int count = read_row(line + 1, end, values);
        if (count == 0) break;
        log->steps++;
        for (int q = 0; q < QUANTITIES && status == IJ_OK; q++)
            if (where[q] >= 0 && where[q] < count) status = add(&log->curves[q], (double)log->steps, values[where[q]], err);
    }
    free(text);
    if (status == IJ_OK && log->curves[LOSS].count == 0) return ij_fail(err, IJ_ERROR_FORMAT, "%s has no step with a loss in it", path);
    return status;
}

/* Mean over a centred window, in place of y. */
static ij_status smooth(const curve *c, double **out, ij_error *err) {
    int64_t half = c->count / SMOOTH_PART / 2;
    double sum = 0;
    IJ_TRY(ij_alloc(out, c->count, sizeof **out, "smoothed curve", err));
    for (int64_t i = -half, begin = 0, end = 0; i < c->count; i++) {
        while (end < c->count && end <= i + half) sum += c->y[end++];
        while (begin < i - half) sum -= c->y[begin++];
        if (i >= 0) (*out)[i] = sum / (double)(end - begin);
    }
    return IJ_OK;
}

static ij_chart_series series_of(const char *name, const curve *c) {
    return (ij_chart_series){.name = name, .x = c->x, .y = c->y, .count = c->count};
}

static ij_status draw_loss(const run_log *log, const char *title, const double *smoothed, ij_picture *out, ij_error *err) {
    const curve *loss = &log->curves[LOSS], *regularizer = &log->curves[REGULARIZER];
    ij_chart_series series[4] = {series_of(NULL, loss), series_of("loss", loss)};
    int count = 2;
    series[0].faint = true, series[0].color = series[1].color = 0x1f77b4;
    series[1].y = smoothed;
    if (log->curves[TRIVIAL].count)
        series[count] = series_of("trivial predictor: the mean target of each position", &log->curves[TRIVIAL]),
        series[count++].color = 0xd62728;
    double most = 0;
    for (int64_t i = 0; i < regularizer->count; i++) most = fmax(most, regularizer->y[i]);
    if (most > 0) series[count] = series_of("regularizer", regularizer), series[count++].color = 0x9aa5b1;
    return ij_chart_draw(&(ij_chart){.title = title,
                                     .x_label = "step",
                                     .y_label = "loss",
                                     .series = series,
                                     .series_count = count,
                                     .width = WIDTH,
                                     .height = LOSS_HEIGHT,
                                     .log_y = true},
                         out, err);
}

static ij_status draw_rank(const run_log *log, ij_picture *out, ij_error *err) {
    ij_chart_series series[2] = {series_of("targets", &log->curves[RANK_TARGET]), series_of("predictions", &log->curves[RANK_PREDICTION])};
    return ij_chart_draw(&(ij_chart){.title = "effective rank (RankMe): a collapse goes to 1",
                                     .x_label = "step",
                                     .y_label = "rank",
                                     .series = series,
                                     .series_count = 2,
                                     .width = WIDTH,
                                     .height = RANK_HEIGHT},
                         out, err);
}

static ij_status draw(const run_log *log, const char *run, const char *path, ij_error *err) {
    const curve *loss = &log->curves[LOSS], *verdict = &log->curves[VERDICT];
    const char *last = verdict->count ? ij_verdict_name((ij_verdict)verdict->y[verdict->count - 1]) : "not judged";
    int rank_height = log->curves[RANK_TARGET].count ? RANK_HEIGHT : 0;
    char title[200];
    double *smoothed = NULL;
    ij_picture upper = {0}, lower = {0}, whole = {0};
    ij_status status = smooth(loss, &smoothed, err);
    if (status == IJ_OK) {
        size_t length = strlen(run);
        snprintf(title, sizeof title, "%s%s: loss %.4g at step %lld, %s", length > 60 ? "..." : "", length > 60 ? run + length - 60 : run,
                 smoothed[loss->count - 1], (long long)log->steps, last);
        status = draw_loss(log, title, smoothed, &upper, err);
    }
    if (status == IJ_OK && rank_height) status = draw_rank(log, &lower, err);
    if (status == IJ_OK) status = ij_picture_open(WIDTH, LOSS_HEIGHT + rank_height, 0xffffff, &whole, err);
    if (status == IJ_OK) {
        ij_picture_image(&whole, 0, 0, WIDTH, LOSS_HEIGHT, upper.pixels, upper.width, upper.height, 3);
        if (rank_height) ij_picture_image(&whole, 0, LOSS_HEIGHT, WIDTH, RANK_HEIGHT, lower.pixels, lower.width, lower.height, 3);
        status = ij_picture_write(&whole, path, err);
    }
    ij_picture_free(&upper);
    ij_picture_free(&lower);
    ij_picture_free(&whole);
    free(smoothed);
    return status;
}

ij_status ij_run_picture(const char *run, ij_error *err) {
    char path[4200], picture[4200];
    run_log log = {0};
    IJ_TRY(ij_path_join(path, sizeof path, run, "log.csv", err));
    IJ_TRY(ij_path_join(picture, sizeof picture, run, "loss.png", err));
    ij_status status = read_log(path, &log, err);
    if (status == IJ_OK) status = draw(&log, run, picture, err);
    run_log_free(&log);
    return status;
}
