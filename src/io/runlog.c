/* layer: io; uses: base, json_writer */
#include "io/runlog.h"
#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct ij_runlog {
    char csv_path[4096], events_path[4096];
    FILE *csv, *events;
    int column_count;
    ij_json event; /* the line being built */
};

static ij_status header_line(const ij_runlog_desc *desc, char **out, ij_error *err) {
    size_t bytes = 2;
    for (int i = 0; i < desc->column_count; i++) bytes += strlen(desc->columns[i]) + 1;
    IJ_TRY(ij_alloc(out, (int64_t)bytes, 1, "log header", err));
    for (int i = 0; i < desc->column_count; i++) {
        if (i) strcat(*out, ",");
        strcat(*out, desc->columns[i]);
    }
    strcat(*out, "\n");
    return IJ_OK;
}

/* Bytes of `text` to keep: the header and the whole rows before (epoch, itr). A last line without its end was cut by a crash. */
static size_t kept_bytes(const char *text, const ij_runlog_desc *desc) {
    const char *line = strchr(text, '\n') + 1;
    for (const char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        long long epoch, itr;
        if (sscanf(line, "%lld,%lld", &epoch, &itr) != 2) break;
        if (epoch > desc->epoch || (epoch == desc->epoch && itr >= desc->itr)) break;
    }
    return (size_t)(line - text);
}

/* Leaves a CSV that holds the header and, when resuming, the rows of before. */
static ij_status prepare_csv(const ij_runlog *log, const ij_runlog_desc *desc, ij_error *err) {
    char *header = NULL;
    IJ_TRY(header_line(desc, &header, err));
    ij_status status;
    if (desc->resume && ij_file_exists(log->csv_path)) {
        void *text;
        size_t bytes;
        status = ij_file_read(log->csv_path, (uint64_t)1 << 32, &text, &bytes, err);
        if (status == IJ_OK) {
            if (strncmp(text, header, strlen(header)) != 0)
                status = ij_fail(err, IJ_ERROR_MISMATCH, "%s: its columns are %.*s, this run writes %.*s", log->csv_path,
                                 (int)strcspn(text, "\r\n"), (const char *)text, (int)strcspn(header, "\n"), header);
            else
                status = ij_file_replace(log->csv_path, text, kept_bytes(text, desc), err);
            free(text);
        }
    } else {
        status = ij_file_replace(log->csv_path, header, strlen(header), err);
    }
    free(header);
    return status;
}

static ij_status open_append(const char *path, const char *mode, FILE **out, ij_error *err) {
    *out = fopen(path, mode);
    return *out ? IJ_OK : ij_fail(err, IJ_ERROR_FILE, "%s: cannot write: %s", path, strerror(errno));
}

ij_status ij_runlog_open(const ij_runlog_desc *desc, ij_runlog **out, ij_error *err) {
    *out = NULL;
    ij_runlog *log;
    IJ_TRY(ij_alloc(&log, 1, sizeof *log, "run log", err));
    log->column_count = desc->column_count;
    ij_status status;
    IJ_TRY_GOTO(ij_path_join(log->csv_path, sizeof log->csv_path, desc->folder, "log.csv", err), failed);
    IJ_TRY_GOTO(ij_path_join(log->events_path, sizeof log->events_path, desc->folder, "events.jsonl", err), failed);
    IJ_TRY_GOTO(prepare_csv(log, desc, err), failed);
    IJ_TRY_GOTO(open_append(log->csv_path, "ab", &log->csv, err), failed);
    IJ_TRY_GOTO(open_append(log->events_path, desc->resume ? "ab" : "wb", &log->events, err), failed);
    *out = log;
    return IJ_OK;
failed:
    ij_runlog_close(log);
    return status;
}

void ij_runlog_close(ij_runlog *log) {
    if (!log) return;
    if (log->csv) fclose(log->csv);
    if (log->events) fclose(log->events);
    ij_json_free(&log->event);
    free(log);
}

static ij_status flush(FILE *file, const char *path, ij_error *err) {
    if (fflush(file) == 0 && !ferror(file)) return IJ_OK;
    ij_status status = ij_fail(err, IJ_ERROR_FILE, "%s: %s", path, strerror(errno));
    clearerr(file);
    return status;
}

ij_status ij_runlog_row(ij_runlog *log, const double *values, ij_error *err) {
    for (int i = 0; i < log->column_count; i++) {
        char text[32];
        ij_number_text(values[i], text);
        fprintf(log->csv, i ? ",%s" : "%s", isnan(values[i]) ? "nan" : text);
    }
    fputc('\n', log->csv);
    return flush(log->csv, log->csv_path, err);
}

ij_json *ij_runlog_event(ij_runlog *log, const char *name) {
    ij_json_clear(&log->event);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    ij_json_open(&log->event, '{');
    ij_json_key(&log->event, "event"), ij_json_string(&log->event, name);
    ij_json_key(&log->event, "time"), ij_json_number(&log->event, (double)now.tv_sec + (double)(now.tv_nsec / 1000000) * 1e-3);
    return &log->event;
}

ij_status ij_runlog_event_end(ij_runlog *log, ij_error *err) {
    ij_json_close(&log->event, '}');
    if (log->event.failed) {
        ij_json_free(&log->event);
        return ij_fail(err, IJ_ERROR_MEMORY, "out of host memory: an event of %s", log->events_path);
    }
    fprintf(log->events, "%s\n", log->event.text);
    return flush(log->events, log->events_path, err);
}
