/* layer: data; uses: base */
#include "data/preprocess.h"

const char *const ij_resize_names[IJ_RESIZE_COUNT] = {"trained", "exact", "shorter"};
const char *const ij_filter_names[IJ_FILTER_COUNT] = {"bilinear", "bicubic"};
const char *const ij_resampler_names[IJ_RESAMPLER_COUNT] = {"device", "pil", "torchvision"};
