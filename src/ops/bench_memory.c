/* layer: ops; uses: base, gpu */
#include "ops/bench_memory.h"
#include "base/file.h"
#include "base/memory.h"
#include "ops/bench_values.h"

#include <stdlib.h>

typedef struct memory_test {
    gpu_arena *arena;
    gpu_program *copy, *fill;
    gpu_tensor from, to;
    double *times;
} memory_test;

static ij_status record(gpu_device *device, memory_test *t, uint64_t bytes, ij_error *err) {
    IJ_TRY(gpu_arena_create(device, "memory test", GPU_MEMORY_DEVICE, &t->arena, err));
    IJ_TRY(gpu_reserve(t->arena, bytes, "source", &t->from, err));
    IJ_TRY(gpu_reserve(t->arena, bytes, "destination", &t->to, err));
    IJ_TRY(gpu_arena_commit(t->arena, err));
    IJ_TRY(gpu_program_create(device, "fill", true, &t->fill, err));
    IJ_TRY(gpu_fill(t->fill, t->from, 0x3f9d70a4u, err));
    IJ_TRY(gpu_program_finish(t->fill, err));
    IJ_TRY(gpu_program_create(device, "copy", true, &t->copy, err));
    IJ_TRY(gpu_copy(t->copy, t->to, t->from, t->from.bytes, err));
    return gpu_program_finish(t->copy, err);
}

static ij_status time_program(memory_test *t, gpu_program *program, int runs, double *seconds, ij_error *err) {
    const gpu_op_time *op;
    int count;
    for (int r = -1; r < runs; r++) { /* one more to touch the memory */
        double begin = ij_seconds();
        IJ_TRY(gpu_run(program, err));
        if (r < 0) continue;
        t->times[r] = ij_seconds() - begin;
        if (gpu_program_times(program, &op, &count, NULL) == IJ_OK && count == 1 && op->seconds > 0) t->times[r] = op->seconds;
    }
    *seconds = bench_median(t->times, runs);
    return IJ_OK;
}

ij_status memory_bench(gpu_device *device, int runs, double *bytes_per_second, ij_error *err) {
    const gpu_info *info = gpu_device_info(device);
    uint64_t bytes = info->kind == GPU_KIND_CPU ? 64u << 20 : 512u << 20;
    double fill = 0, copy = 0;
    if (info->heap_bytes && bytes > info->heap_bytes / 8) bytes = info->heap_bytes / 8;
    if (bytes > info->range_max) bytes = info->range_max;
    bytes = bytes / 4096 * 4096;
    memory_test t = {0};
    ij_status status = ij_alloc(&t.times, runs, sizeof *t.times, "times", err);
    if (status == IJ_OK) status = record(device, &t, bytes, err);
    if (status == IJ_OK) status = time_program(&t, t.fill, runs, &fill, err);
    if (status == IJ_OK) status = time_program(&t, t.copy, runs, &copy, err);
    if (status == IJ_OK) {
        double filled = (double)bytes / fill, copied = 2 * (double)bytes / copy;
        *bytes_per_second = filled > copied ? filled : copied;
    }
    gpu_program_destroy(t.fill);
    gpu_program_destroy(t.copy);
    gpu_arena_destroy(t.arena);
    free(t.times);
    return status;
}
