/* layer: ops; uses: base, gpu
 *
 * Tolerances are those of the op's own cases (attention.c) for f32. With 16-bit elements, what is rounded to them on the way (forward:
 * exp(score - lse); backward: that, ds, and out within delta) moves each sum like a random walk whose steps are that rounding's share of
 * the terms: five standard deviations of u / sqrt(3) are 3 u of the sum's own size, taken as 4. Matrix units may cut off instead of
 * rounding: 2^-23 for every four products. Storing the result adds u / 2 x its size, which op_rounding counts as u. */
#include "ops/bench_attention.h"
#include "base/file.h"
#include "base/memory.h"
#include "ops/bench_values.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECKED_SEQUENCES 3
#define CHECKED_HEADS 2

typedef struct bench {
    const attention_bench_desc *desc;
    gpu_device *device;
    int64_t rows, dim, length_max;
    bench_matrix qkv, dout;
    gpu_arena *arena;
    gpu_tensor d_offsets, d_qkv, d_out, d_lse, d_dout, d_delta, d_dqkv;
    gpu_program *forward[OP_ATTENTION_KERNEL_COUNT], *backward[OP_ATTENTION_KERNEL_COUNT];
    double *times; /* [2, KERNEL_COUNT, runs] */
    /* The checked part: rows of the checked sequences, checked heads only. */
    uint32_t at_sequences[CHECKED_SEQUENCES], at_heads[CHECKED_HEADS], offsets[CHECKED_SEQUENCES + 1];
    double *part_qkv, *part_out, *part_dout, *part_dqkv; /* [part rows, 3 or 1, CHECKED_HEADS, head_dim] */
} bench;

const char *attention_kernel_name(op_attention_kernel kernel) {
    static const char *const names[OP_ATTENTION_KERNEL_COUNT] = {"auto", "row", "coopmat", "coopmat2"};
    return names[kernel];
}

bool attention_bench_supports(const gpu_device *device, op_attention_kernel kernel, gpu_element element) {
    const op_attention_shape usual = {.heads = 1, .head_dim = 64, .length_max = 256, .kernel = kernel};
    return kernel < OP_ATTENTION_COOPMAT || (element != GPU_WORD && op_attention_supported(device, &usual, element));
}

void attention_bench_cost(const attention_bench_desc *d, bool backward, double *flops, double *bytes) {
    double pairs = 0, rows = (double)d->offsets[d->sequences], dim = (double)d->heads * d->head_dim, width = d->element == GPU_WORD ? 4 : 2;
    for (uint32_t s = 0; s < d->sequences; s++) {
        double length = (double)(d->offsets[s + 1] - d->offsets[s]);
        pairs += length * length;
    }
    *flops = (backward ? 10 : 4) * pairs * dim;
    *bytes = rows * (width * (backward ? 8 : 4) * dim + (d->forward_only ? 0 : 4.0 * d->heads));
}

static void bench_free(bench *b) {
    for (int i = 0; i < OP_ATTENTION_KERNEL_COUNT; i++) gpu_program_destroy(b->forward[i]), gpu_program_destroy(b->backward[i]);
    gpu_arena_destroy(b->arena);
    bench_matrix_free(&b->qkv), bench_matrix_free(&b->dout);
    free(b->times);
    free(b->part_qkv), free(b->part_out), free(b->part_dout), free(b->part_dqkv);
}

/* ---- the reference of a part ---- */

/* Values of a tensor [rows, groups, heads, head_dim] at the checked places, in their order. */
static void take_part(const bench *b, const bench_matrix *from, int groups, double *to) {
    const attention_bench_desc *d = b->desc;
    for (int s = 0; s < CHECKED_SEQUENCES; s++)
        for (uint32_t r = d->offsets[b->at_sequences[s]]; r < d->offsets[b->at_sequences[s] + 1]; r++)
            for (int g = 0; g < groups; g++)
                for (int h = 0; h < CHECKED_HEADS; h++)
                    for (uint32_t e = 0; e < d->head_dim; e++)
                        *to++ = bench_matrix_at(from, r, ((int64_t)g * d->heads + b->at_heads[h]) * d->head_dim + e);
}

static ij_status make_part(bench *b, ij_error *err) {
    const attention_bench_desc *d = b->desc;
    for (uint32_t s = 0; s < CHECKED_SEQUENCES; s++) {
        b->at_sequences[s] = s * (d->sequences - 1) / (CHECKED_SEQUENCES - 1);
        b->offsets[s + 1] = b->offsets[s] + d->offsets[b->at_sequences[s] + 1] - d->offsets[b->at_sequences[s]];
    }
    b->at_heads[1] = d->heads - 1;
    int64_t numbers = (int64_t)b->offsets[CHECKED_SEQUENCES] * CHECKED_HEADS * d->head_dim;
    IJ_TRY(ij_alloc(&b->part_qkv, 3 * numbers, sizeof(double), "reference", err));
    IJ_TRY(ij_alloc(&b->part_out, numbers, sizeof(double), "reference", err));
    take_part(b, &b->qkv, 3, b->part_qkv);
    ref_attention(b->part_qkv, b->offsets, CHECKED_SEQUENCES, CHECKED_HEADS, d->head_dim, b->part_out, NULL);
    if (d->forward_only) return IJ_OK;
    IJ_TRY(ij_alloc(&b->part_dout, numbers, sizeof(double), "reference", err));
    IJ_TRY(ij_alloc(&b->part_dqkv, 3 * numbers, sizeof(double), "reference", err));
    take_part(b, &b->dout, 1, b->part_dout);
    ref_attention_bwd(b->part_qkv, b->offsets, CHECKED_SEQUENCES, CHECKED_HEADS, d->head_dim, b->part_dout, b->part_dqkv);
    return IJ_OK;
}

static double tolerance_of(const bench *b, bool backward) {
    const attention_bench_desc *d = b->desc;
    double score = op_tolerance(d->head_dim), bound = score + op_tolerance(b->length_max) + 0x1p-24 * 8;
    if (backward) bound += 2 * score;
    if (d->element != GPU_WORD)
        bound += (backward ? 12 : 4) * op_rounding(op_dtype_of(d->element)) + (double)(d->head_dim + b->length_max) / 4 * 0x1p-23;
    return bound;
}

/* Compares a device tensor [rows, groups, heads, head_dim] with the reference at the checked places. */
static ij_status verify(const bench *b, gpu_tensor tensor, int groups, const double *reference, const char *whose, ij_error *err) {
    const attention_bench_desc *d = b->desc;
    uint64_t row_bytes = gpu_matrix_bytes(d->element, 1, (uint64_t)(groups * b->dim));
    int64_t numbers = (int64_t)b->offsets[CHECKED_SEQUENCES] * groups * CHECKED_HEADS * d->head_dim;
    double rms = 0, bound = tolerance_of(b, groups == 3), rounding = d->element == GPU_WORD ? 0 : op_rounding(op_dtype_of(d->element));
    for (int64_t i = 0; i < numbers; i++) rms += reference[i] * reference[i] / (double)numbers;
    rms = sqrt(rms);
    bench_matrix part = {
        .element = d->element, .columns = groups * b->dim, .row = (int64_t)gpu_row(d->element, (uint64_t)(groups * b->dim))};
    IJ_TRY(ij_alloc(&part.data, b->length_max, row_bytes, "rows", err));
    ij_status status = IJ_OK;
    for (int s = 0; s < CHECKED_SEQUENCES && status == IJ_OK; s++) {
        uint64_t first = d->offsets[b->at_sequences[s]], rows = d->offsets[b->at_sequences[s] + 1] - first;
        if (rows) status = gpu_read(b->device, tensor, first * row_bytes, part.data, rows * row_bytes, err);
        for (uint64_t i = 0; i < rows * (uint64_t)groups * CHECKED_HEADS * d->head_dim && status == IJ_OK; i++) {
            uint64_t e = i % d->head_dim, h = i / d->head_dim % CHECKED_HEADS, g = i / d->head_dim / CHECKED_HEADS % (uint64_t)groups;
            uint64_t r = i / d->head_dim / CHECKED_HEADS / (uint64_t)groups;
            double want = *reference++;
            double got = bench_matrix_at(&part, (int64_t)r, (int64_t)((g * d->heads + b->at_heads[h]) * d->head_dim + e));
            if (!(fabs(got - want) <= bound * (fabs(want) + rms) + rounding * fabs(want)))
                status = ij_fail(
                    err, IJ_ERROR_MISMATCH, "attention, kernel %s: %s row %llu, head %u, element %llu is %.9g, it should be %.9g", whose,
                    groups == 3 ? "dqkv" : "out", (unsigned long long)(first + r), b->at_heads[h], (unsigned long long)e, got, want);
        }
    }
    bench_matrix_free(&part);
    return status;
}

/* ---- the device ---- */

static ij_status reserve(bench *b, ij_error *err) {
    const attention_bench_desc *d = b->desc;
    uint64_t rows = (uint64_t)b->rows, dim = (uint64_t)b->dim, offsets_bytes = 4 * ((uint64_t)d->sequences + 1);
    IJ_TRY(gpu_arena_create(b->device, "attention", GPU_MEMORY_DEVICE, &b->arena, err));
    IJ_TRY(gpu_reserve(b->arena, offsets_bytes, "offsets", &b->d_offsets, err));
    IJ_TRY(gpu_reserve_matrix(b->arena, d->element, rows, 3 * dim, "qkv", &b->d_qkv, err));
    IJ_TRY(gpu_reserve_matrix(b->arena, d->element, rows, dim, "out", &b->d_out, err));
    if (!d->forward_only) {
        IJ_TRY(gpu_reserve(b->arena, 4 * rows * d->heads, "lse", &b->d_lse, err));
        IJ_TRY(gpu_reserve(b->arena, 4 * rows * d->heads, "delta", &b->d_delta, err));
        IJ_TRY(gpu_reserve_matrix(b->arena, d->element, rows, dim, "dout", &b->d_dout, err));
        IJ_TRY(gpu_reserve_matrix(b->arena, d->element, rows, 3 * dim, "dqkv", &b->d_dqkv, err));
    }
    IJ_TRY(gpu_arena_commit(b->arena, err));
    IJ_TRY(gpu_write(b->device, b->d_offsets, 0, d->offsets, offsets_bytes, err));
    IJ_TRY(gpu_write(b->device, b->d_qkv, 0, b->qkv.data, b->qkv.bytes, err));
    return d->forward_only ? IJ_OK : gpu_write(b->device, b->d_dout, 0, b->dout.data, b->dout.bytes, err);
}

static ij_status record(bench *b, op_attention_kernel kernel, ij_error *err) {
    const attention_bench_desc *d = b->desc;
    op_attention_shape shape = {.offsets = b->d_offsets,
                                .sequences = d->sequences,
                                .rows_max = (uint32_t)b->rows,
                                .length_max = (uint32_t)b->length_max,
                                .heads = d->heads,
                                .head_dim = d->head_dim,
                                .kernel = kernel};
    op_attention_desc forward = {.shape = shape, .qkv = b->d_qkv, .out = b->d_out, .lse = b->d_lse};
    op_attention_bwd_desc backward = {
        .shape = shape, .qkv = b->d_qkv, .out = b->d_out, .lse = b->d_lse, .dout = b->d_dout, .delta = b->d_delta, .dqkv = b->d_dqkv};
    IJ_TRY(gpu_program_create(b->device, "attention", true, &b->forward[kernel], err));
    IJ_TRY(op_attention(b->forward[kernel], &forward, err));
    IJ_TRY(gpu_program_finish(b->forward[kernel], err));
    if (d->forward_only) return IJ_OK;
    IJ_TRY(gpu_program_create(b->device, "attention, backward", true, &b->backward[kernel], err));
    IJ_TRY(op_attention_bwd(b->backward[kernel], &backward, err));
    return gpu_program_finish(b->backward[kernel], err);
}

static ij_status poison(bench *b, ij_error *err) {
    gpu_program *program;
    IJ_TRY(gpu_program_create(b->device, "poison", false, &program, err));
    ij_status status = gpu_fill(program, b->d_out, 0x7fff7fffu, err);
    if (status == IJ_OK && b->d_dqkv.arena) status = gpu_fill(program, b->d_dqkv, 0x7fff7fffu, err);
    if (status == IJ_OK) status = gpu_program_finish(program, err);
    if (status == IJ_OK) status = gpu_run(program, err);
    gpu_program_destroy(program);
    return status;
}

/* Records, runs and verifies; what is the kernel's own fault goes into *time. */
static ij_status prepare_kernel(bench *b, op_attention_kernel kernel, attention_bench_time *time, ij_error *err) {
    const char *name = attention_kernel_name(kernel);
    const gpu_op_time *ops;
    int count;
    ij_error own = {0};
    time->status = record(b, kernel, &own);
    if (time->status == IJ_OK) {
        IJ_TRY(poison(b, err));
        IJ_TRY(gpu_run(b->forward[kernel], err));
        if (b->backward[kernel]) IJ_TRY(gpu_run(b->backward[kernel], err));
        time->status = verify(b, b->d_out, 1, b->part_out, name, &own);
    }
    if (time->status == IJ_OK && b->backward[kernel]) time->status = verify(b, b->d_dqkv, 3, b->part_dqkv, name, &own);
    if (time->status == IJ_OK && gpu_program_times(b->forward[kernel], &ops, &count, NULL) == IJ_OK && count)
        snprintf(time->detail, sizeof time->detail, "%s", ops[0].detail);
    if (time->status == IJ_OK) return IJ_OK;
    snprintf(time->note, sizeof time->note, "%.239s", own.text);
    gpu_program_destroy(b->forward[kernel]);
    gpu_program_destroy(b->backward[kernel]);
    b->forward[kernel] = b->backward[kernel] = NULL;
    if (time->status == IJ_ERROR_MISMATCH || time->status == IJ_ERROR_ARGUMENT || time->status == IJ_ERROR_DEVICE) return IJ_OK;
    if (err) *err = own;
    return time->status;
}

static ij_status time_program(gpu_program *program, double *seconds, ij_error *err) {
    const gpu_op_time *ops;
    int count;
    double begin = ij_seconds();
    IJ_TRY(gpu_run(program, err));
    *seconds = ij_seconds() - begin;
    if (gpu_program_times(program, &ops, &count, NULL) != IJ_OK) return IJ_OK;
    *seconds = 0;
    for (int i = 0; i < count; i++) *seconds += ops[i].seconds;
    return IJ_OK;
}

static ij_status time_all(bench *b, attention_bench_time *times, ij_error *err) {
    int runs = b->desc->runs;
    double ignored;
    for (int r = -1; r < runs; r++) /* one more to warm up */
        for (int i = 0; i < OP_ATTENTION_KERNEL_COUNT; i++) {
            double *at = b->times + (int64_t)2 * i * runs + r;
            if (b->forward[i]) IJ_TRY(time_program(b->forward[i], r < 0 ? &ignored : at, err));
            if (b->backward[i]) IJ_TRY(time_program(b->backward[i], r < 0 ? &ignored : at + runs, err));
        }
    for (int i = 0; i < OP_ATTENTION_KERNEL_COUNT; i++) {
        if (b->forward[i]) times[i].forward = bench_median(b->times + (int64_t)2 * i * runs, runs);
        if (b->backward[i]) times[i].backward = bench_median(b->times + (int64_t)(2 * i + 1) * runs, runs);
    }
    return IJ_OK;
}

static ij_status measure(bench *b, attention_bench_time *times, ij_error *err) {
    const attention_bench_desc *d = b->desc;
    int timed = 0;
    IJ_TRY(ij_alloc(&b->times, (int64_t)2 * OP_ATTENTION_KERNEL_COUNT * d->runs, sizeof *b->times, "times", err));
    IJ_TRY(bench_matrix_make(d->element, b->rows, 3 * b->dim, 3, 2, "qkv", &b->qkv, err));
    if (!d->forward_only) IJ_TRY(bench_matrix_make(d->element, b->rows, b->dim, 4, 1, "dout", &b->dout, err));
    IJ_TRY(make_part(b, err));
    IJ_TRY(reserve(b, err));
    for (int i = 0; i < OP_ATTENTION_KERNEL_COUNT; i++) {
        if (!d->kernels[i]) continue;
        IJ_TRY(prepare_kernel(b, (op_attention_kernel)i, &times[i], err));
        timed += times[i].status == IJ_OK;
    }
    return timed ? time_all(b, times, err) : IJ_OK;
}

ij_status attention_bench(gpu_device *device, const attention_bench_desc *desc, attention_bench_time *times, ij_error *err) {
    bench b = {.desc = desc, .device = device, .rows = desc->offsets[desc->sequences], .dim = (int64_t)desc->heads * desc->head_dim};
    for (uint32_t s = 0; s < desc->sequences; s++) {
        int64_t length = desc->offsets[s + 1] - desc->offsets[s];
        if (length > b.length_max) b.length_max = length;
    }
    memset(times, 0, OP_ATTENTION_KERNEL_COUNT * sizeof *times);
    if (b.rows < 1 || desc->runs < 1)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "attention: %lld rows, %d runs", (long long)b.rows, desc->runs);
    ij_status status = measure(&b, times, err);
    bench_free(&b);
    return status;
}
