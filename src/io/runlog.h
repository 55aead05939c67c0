/* A run's record: log.csv, one row a step, and events.jsonl, one JSON object a line.       layer: io; uses: base, json_writer
 *
 * The first two columns of the CSV are epoch and itr, as in the released logs. After a crash the log may be ahead of the newest
 * checkpoint; a resumed run opens it with the place where it begins, rows from there on are dropped, and the log reads like
 * that of a run that never stopped. Events are history and are never dropped. Every row is flushed: a killed run loses none. */
#ifndef IJ_IO_RUNLOG_H
#define IJ_IO_RUNLOG_H

#include "base/error.h"
#include "io/json_writer.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct ij_runlog ij_runlog;

typedef struct ij_runlog_desc {
    const char *folder;         /* exists */
    const char *const *columns; /* names; the first is "epoch", the second "itr" */
    int column_count;
    bool resume;        /* [false: old files are replaced] */
    int64_t epoch, itr; /* with resume: the first step that this run will log */
} ij_runlog_desc;

ij_status ij_runlog_open(const ij_runlog_desc *desc, ij_runlog **out, ij_error *err);
void ij_runlog_close(ij_runlog *log); /* NULL is fine */

/* One row, values[column_count]; whole numbers are written without a point, NaN as "nan". */
ij_status ij_runlog_row(ij_runlog *log, const double *values, ij_error *err);

/* One event: begin gives the writer inside an object that has "event" and "time" (seconds since 1970); add keys; end writes the line.
 *     ij_json *event = ij_runlog_event(log, "checkpoint");
 *     ij_json_key(event, "path"), ij_json_string(event, path);
 *     IJ_TRY(ij_runlog_event_end(log, err)); */
ij_json *ij_runlog_event(ij_runlog *log, const char *name);
ij_status ij_runlog_event_end(ij_runlog *log, ij_error *err);

#endif
