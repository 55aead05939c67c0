/* A run's curves from its log.       layer: view; uses: chart, train, base */
#ifndef IJ_VIEW_RUN_PICTURE_H
#define IJ_VIEW_RUN_PICTURE_H

#include "base/error.h"

/* Reads RUN/log.csv and writes RUN/loss.png: above the loss with the trivial predictor's and the regulariser, below the effective ranks (where the monitor ran),
 * the last verdict in the title. A log without a single step is IJ_ERROR_FORMAT. Rows that cannot be read end the log: the last
 * one of a killed run may be cut. */
ij_status ij_run_picture(const char *run, ij_error *err);

#endif
