/* A run's record: log.csv, one row a step, and events.jsonl, one JSON object a line.       layer: io; uses: base, json_writer
 *
 * The first two columns of the CSV are epoch and itr, as in the released logs. After a crash the log may be ahead of the newest
 * checkpoint; a resumed run opens it with the place where it begins, rows from there on are dropped, and the log reads like
 * that of a run that never stopped. Events are history and are never dropped. Every row is flushed: a killed run loses none.
 *
 * events.jsonl of a training run (src/train/trainer.c writes it, src/train/monitor.h defines the numbers of a look), in the order in which
 * things happened. Every event has "event", its name, and "time", seconds since 1970. A step N below is the number of optimiser steps done
 * when the event was written, so the first look of a run, at the features of the fresh network, has "step" 1. A number that does not exist
 * is null. A run that is resumed from an older checkpoint repeats steps: of two looks with one step the later line counts.
 *   start, resume  step, device, driver, images, parameters
 *   look           of the monitor, every logging.monitor_every steps and of the last step:
 *                    step, loss, regularizer, trivial_loss, rankme_target, rankme_prediction, lidar_target, image_share_target,
 *                    top_share_target           the largest eigenvalue of the features' covariance, as a part of the sum of all
 *                    cosine_target, cosine_prediction, position_variance_target, position_variance_prediction,
 *                    ema_distance               between the encoders' weights, relative
 *                    spectrum_at                [ints] which eigenvalues follow, 1 being the largest; at most IJ_SPECTRUM_POINTS
 *                    spectrum_target            [numbers] those eigenvalues of the covariance, descending, not normalised
 *                    verdict, reason            "healthy", "warning", "collapsed"; a sentence
 *   verdict        step, verdict, reason        the first verdict, and every change
 *   backoff        step, count, most, lr_factor, ema_factor, reason      logging.on_collapse: backoff
 *   stopped        step, reason                 logging.on_collapse: stop
 *   checkpoint     step, path
 *   damaged image  text */
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
