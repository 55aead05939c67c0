/* A line chart as a picture: loss curves and their relatives.       layer: view; uses: picture, base */
#ifndef IJ_VIEW_CHART_H
#define IJ_VIEW_CHART_H

#include "base/error.h"
#include "view/picture.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct ij_chart_series {
    const char *name; /* in the legend [NULL: not listed] */
    const double *x;  /* [count], ascending [NULL: 0, 1, 2, ...] */
    const double *y;  /* [count]; NaN and infinities leave a gap, on a logarithmic axis also what is not positive */
    int64_t count;
    ij_color color; /* [0: the palette's next] */
    bool faint;     /* thin and pale: the raw values behind a smoothed line */
} ij_chart_series;

typedef struct ij_chart {
    const char *title, *x_label, *y_label; /* [NULL: none] */
    const ij_chart_series *series;
    int series_count;
    int width, height; /* [900 x 520] */
    bool log_y;
} ij_chart;

/* Draws into a new picture (ij_picture_free). A chart without one finite value shows empty axes from 0 to 1. */
ij_status ij_chart_draw(const ij_chart *chart, ij_picture *out, ij_error *err);
ij_status ij_chart_write(const ij_chart *chart, const char *path, ij_error *err); /* PNG */

#endif
