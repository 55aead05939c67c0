/* Crop, resize, normalise, cut into patches, in double: along the rows first, then down the columns, window weights written
 * out; the device does it the other way round.       layer: ops (reference); uses: nothing */
#include "ops/patches.h"

#include <math.h>

static double filter(double t, bool bicubic) {
    t = fabs(t);
    if (!bicubic) return t < 1 ? 1 - t : 0;
    if (t < 1) return 1.5 * t * t * t - 2.5 * t * t + 1; /* Keys, a = -1/2 */
    return t < 2 ? -0.5 * t * t * t + 2.5 * t * t - 4 * t + 2 : 0;
}

/* Where output i of a crop [start, start + size) resized to `outputs` looks. */
typedef struct look {
    double centre, stretch;
    int first, last; /* pixels that can have a weight, cut at the crop */
} look;

static look look_at(double start, double size, int source, int outputs, int i) {
    look l = {start + (i + 0.5) * size / outputs, fmax(1, size / outputs), 0, 0};
    l.first = (int)fmax(floor(start), floor(l.centre - 2 * l.stretch) - 1);
    l.last = (int)fmin(fmin(ceil(start + size), source), ceil(l.centre + 2 * l.stretch) + 1);
    return l;
}

static double weight(look l, int pixel, bool bicubic) { return filter((pixel + 0.5 - l.centre) / l.stretch, bicubic); }

static double resized(const patches_desc *desc, const uint8_t *pixels, const struct patches_crop *crop, int y, int x, int channel) {
    look down = look_at((double)crop->y, (double)crop->h, (int)crop->height, desc->image_h, y);
    look along = look_at((double)crop->x, (double)crop->w, (int)crop->width, desc->image_w, x);
    double total = 0, total_weight = 0;
    for (int py = down.first; py < down.last; py++) {
        double line = 0, line_weight = 0;
        const uint8_t *from = pixels + crop->offset + (int64_t)py * crop->width * crop->channels + channel;
        for (int px = along.first; px < along.last; px++) {
            double kx = weight(along, px, desc->bicubic);
            line += kx * from[(int64_t)px * crop->channels];
            line_weight += kx;
        }
        double ky = weight(down, py, desc->bicubic);
        total += ky * line / line_weight;
        total_weight += ky;
    }
    return total / total_weight;
}

static void one_pixel(const patches_desc *desc, const uint8_t *pixels, const struct patches_crop *crop, int y, int x, double *row) {
    int ps = desc->patch, inside = y % ps * ps + x % ps;
    double colour[3];
    for (int c = 0; c < 3; c++) colour[c] = resized(desc, pixels, crop, y, x, crop->channels == 3 ? c : 0);
    if (desc->channels == 1 && crop->channels == 3) colour[0] = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2];
    for (int c = 0; c < desc->channels; c++) row[c * ps * ps + inside] = (colour[c] / 255 - (double)desc->mean[c]) / (double)desc->std[c];
}

void ref_patches(const patches_desc *desc, const uint8_t *pixels, const struct patches_crop *crops, double *rows) {
    int grid_w = desc->image_w / desc->patch, patches = desc->image_h / desc->patch * grid_w,
        row_size = desc->channels * desc->patch * desc->patch;
    for (int64_t image = 0; image < desc->batch; image++)
        for (int y = 0; y < desc->image_h; y++)
            for (int x = 0; x < desc->image_w; x++) {
                int64_t row = image * patches + y / desc->patch * grid_w + x / desc->patch;
                one_pixel(desc, pixels, crops + image, y, x, rows + row * row_size);
            }
}
