/* A picture of benchmark rows: bars of speed against a baseline, and a roofline plot.       layer: view; uses: picture, base */
#ifndef IJ_VIEW_BENCH_PICTURE_H
#define IJ_VIEW_BENCH_PICTURE_H

#include "base/error.h"

#include <stdbool.h>

typedef struct ij_bench_mark {
    const char *name;    /* what was measured; marks of one name share a line of bars */
    const char *element; /* "f32", "f16", "bf16": a panel of bars, a shape of point */
    const char *kernel;  /* a colour */
    double rate;         /* flops a second */
    double intensity;    /* flops a byte; 0: no point */
    double ratio;        /* the baseline's time / ours; 0: no bar */
} ij_bench_mark;

typedef struct ij_bench_picture {
    const char *device, *baseline; /* for the titles */
    const ij_bench_mark *marks;
    int count;
    double roofs[3]; /* flops a second of f32, f16, bf16; 0: unknown */
    double memory;   /* bytes a second; 0: unknown, then there is no roofline */
} ij_bench_picture;

/* PNG. Without bars and points it says so in words. */
ij_status ij_bench_picture_write(const ij_bench_picture *picture, const char *path, ij_error *err);

#endif
