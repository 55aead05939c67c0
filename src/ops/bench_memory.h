/* How fast a device moves memory: the memory roof of the benchmarks.       layer: ops; uses: base, gpu */
#ifndef IJ_OPS_BENCH_MEMORY_H
#define IJ_OPS_BENCH_MEMORY_H

#include "base/error.h"
#include "gpu/gpu.h"

/* Bytes a second, read and written ones counted, of the faster of a copy and a fill of blocks far larger than caches: 512 MiB each, or an
 * eighth of the memory where that is less, 64 MiB on a CPU. Median of `runs`. */
ij_status memory_bench(gpu_device *device, int runs, double *bytes_per_second, ij_error *err);

#endif
