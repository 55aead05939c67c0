/* The one checker of all ops.       layer: ops; uses: base, gpu */
#include "ops/op.h"
#include "base/file.h"
#include "base/memory.h"
#include "philox.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CANARY_BYTES 256
#define CANARY_BYTE 0xC5
#define POISON_F32 0x7fc0dead /* a NaN that no arithmetic produces */
#define POISON_WORD 0xdeadbeefu
#define POISON_BYTE 0xdb

/* A case under test: for each argument the host value (double, u32, u8), what the device got, and where it lies there. */
typedef struct bench_tensor {
    op_arg arg;
    void *host;     /* the reference's side */
    uint8_t *image; /* canary, value as the device has it, canary */
    uint8_t *after; /* the same after the run */
    int64_t image_bytes, value_bytes;
    gpu_tensor whole, value;
} bench_tensor;

typedef struct bench {
    const op_desc *op;
    const op_case *c;
    int count;
    bench_tensor tensors[OP_ARGS_MAX];
    void *host[OP_ARGS_MAX];
    gpu_arena *arena;
    gpu_program *program;
} bench;

#define POISON_HALF 0x7fadu /* a NaN in f16 and, as 0x7fad, in bf16 */

static bool is_half(op_dtype dtype) { return dtype == OP_F16 || dtype == OP_BF16; }
static bool is_float(op_dtype dtype) { return dtype == OP_F32 || is_half(dtype); }
static size_t host_bytes(op_dtype dtype) { return is_float(dtype) ? 8 : dtype == OP_U32 ? 4 : 1; }
static size_t device_bytes(op_dtype dtype) { return dtype == OP_U8 ? 1 : is_half(dtype) ? 2 : 4; }

/* Where element e of the host's side lies on the device, in elements, and how many there are with the padding of rows. */
static int64_t place(const op_arg *arg, int64_t e) {
    if (!is_half(arg->dtype)) return e;
    int64_t columns = arg->columns, row = (int64_t)gpu_row(op_element(arg->dtype), (uint64_t)columns);
    return e / columns * row + e % columns;
}
static int64_t places(const op_arg *arg) {
    if (!is_half(arg->dtype)) return arg->count;
    return arg->count / arg->columns * (int64_t)gpu_row(op_element(arg->dtype), (uint64_t)arg->columns);
}

static void bench_free(bench *b) {
    gpu_program_destroy(b->program);
    gpu_arena_destroy(b->arena);
    for (int i = 0; i < b->count; i++) {
        free(b->tensors[i].host);
        free(b->tensors[i].image);
        free(b->tensors[i].after);
    }
}

static uint64_t hash_text(const char *text) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *text; text++) hash = (hash ^ (uint8_t)*text) * 0x100000001b3u;
    return hash;
}

/* A standard normal number of (case, tensor name, element): equal names get equal numbers, so that a backward op and its
 * forward op share their inputs. Rounded to f32: what the device will see. */
static double seeded_normal(const char *case_name, const char *tensor, int64_t element) {
    uint64_t seed = hash_text(case_name), stream = hash_text(tensor);
    philox_words w =
        philox((uint32_t)seed, (uint32_t)(seed >> 32), (uint32_t)stream, (uint32_t)element, (uint32_t)(element >> 32), PHILOX_STREAM_TEST);
    double u = ((double)w.x + 1) / 4294967297.0, v = (double)w.y / 4294967296.0;
    return sqrt(-2 * log(u)) * cos(6.283185307179586477 * v);
}

static ij_status fill_host(bench *b, ij_error *err) {
    b->count = b->op->args(b->c, (op_arg[OP_ARGS_MAX]){{0}});
    op_arg args[OP_ARGS_MAX] = {{0}};
    b->op->args(b->c, args);
    for (int i = 0; i < b->count; i++) {
        bench_tensor *t = &b->tensors[i];
        t->arg = args[i];
        IJ_TRY(ij_alloc(&t->host, args[i].count, host_bytes(args[i].dtype), args[i].name, err));
        b->host[i] = t->host;
        bool has_value = args[i].role == OP_IN || args[i].role == OP_INOUT;
        assert(!is_half(args[i].dtype) || (args[i].columns > 0 && args[i].count % args[i].columns == 0));
        double scale = args[i].scale != 0 ? args[i].scale : 1;
        for (int64_t e = 0; e < args[i].count && has_value; e++) {
            double z = scale * seeded_normal(b->c->name, args[i].name, e);
            if (is_float(args[i].dtype))
                ((double *)t->host)[e] = op_round(args[i].dtype, z);
            else if (args[i].dtype == OP_U8)
                ((uint8_t *)t->host)[e] = (uint8_t)(int)(128 + 60 * z / scale);
        }
        for (int64_t e = 0; e < args[i].count && !has_value; e++) {
            if (is_float(args[i].dtype))
                ((double *)t->host)[e] = (double)NAN;
            else if (args[i].dtype == OP_U32)
                ((uint32_t *)t->host)[e] = POISON_WORD;
            else
                ((uint8_t *)t->host)[e] = POISON_BYTE;
        }
    }
    if (b->op->prepare) b->op->prepare(b->c, b->host);
    for (int i = 0; i < b->count; i++) /* what prepare computed is seen by both sides as the device stores it */
        if (is_float(b->tensors[i].arg.dtype) && b->tensors[i].arg.role != OP_OUT)
            for (int64_t e = 0; e < b->tensors[i].arg.count; e++)
                ((double *)b->host[i])[e] = op_round(b->tensors[i].arg.dtype, ((double *)b->host[i])[e]);
    return IJ_OK;
}

static void write_image(bench_tensor *t) {
    uint8_t *value = t->image + CANARY_BYTES;
    memset(t->image, CANARY_BYTE, (size_t)t->image_bytes);
    bool poisoned = t->arg.role == OP_OUT || t->arg.role == OP_SCRATCH;
    if (is_half(t->arg.dtype)) { /* the padding of an output is poisoned too; the op has to leave zeros there */
        const uint16_t poison = poisoned ? POISON_HALF : 0;
        for (int64_t e = 0; e < places(&t->arg); e++) memcpy(value + 2 * e, &poison, 2);
        for (int64_t e = 0; e < t->arg.count && !poisoned; e++) {
            uint16_t bits = op_encode(t->arg.dtype, ((double *)t->host)[e]);
            memcpy(value + 2 * place(&t->arg, e), &bits, 2);
        }
        return;
    }
    for (int64_t e = 0; e < t->arg.count; e++) {
        if (t->arg.dtype == OP_F32) {
            float f = (float)((double *)t->host)[e];
            uint32_t bits = POISON_F32;
            if (!poisoned) memcpy(&bits, &f, 4);
            memcpy(value + 4 * e, &bits, 4);
        } else {
            size_t size = device_bytes(t->arg.dtype);
            memcpy(value + (size_t)e * size, (uint8_t *)t->host + (size_t)e * size, size);
        }
    }
}

static ij_status build(bench *b, gpu_device *device, ij_error *err) {
    IJ_TRY(fill_host(b, err));
    IJ_TRY(gpu_arena_create(device, b->op->name, GPU_MEMORY_DEVICE, &b->arena, err));
    for (int i = 0; i < b->count; i++) {
        bench_tensor *t = &b->tensors[i];
        t->value_bytes = (int64_t)device_bytes(t->arg.dtype) * places(&t->arg);
        t->image_bytes = (2 * CANARY_BYTES + t->value_bytes + 3) / 4 * 4;
        IJ_TRY(ij_alloc(&t->image, t->image_bytes, 1, t->arg.name, err));
        IJ_TRY(ij_alloc(&t->after, t->image_bytes, 1, t->arg.name, err));
        IJ_TRY(gpu_reserve(b->arena, (uint64_t)t->image_bytes, t->arg.name, &t->whole, err));
        t->value = gpu_part(t->whole, CANARY_BYTES, ((uint64_t)t->value_bytes + 3) / 4 * 4);
        t->value.element = op_element(t->arg.dtype);
        write_image(t);
    }
    IJ_TRY(gpu_arena_commit(b->arena, err));
    IJ_TRY(gpu_program_create(device, b->op->name, true, &b->program, err));
    gpu_tensor tensors[OP_ARGS_MAX];
    for (int i = 0; i < b->count; i++) tensors[i] = b->tensors[i].value;
    IJ_TRY(b->op->record(b->program, b->c, tensors, err));
    return gpu_program_finish(b->program, err);
}

static ij_status run_once(bench *b, gpu_device *device, double *seconds, ij_error *err) {
    for (int i = 0; i < b->count; i++)
        IJ_TRY(gpu_write(device, b->tensors[i].whole, 0, b->tensors[i].image, (uint64_t)b->tensors[i].image_bytes, err));
    IJ_TRY(gpu_run(b->program, err));
    const gpu_op_time *rows;
    int count;
    *seconds = 0;
    if (gpu_program_times(b->program, &rows, &count, NULL) == IJ_OK)
        for (int i = 0; i < count; i++) *seconds += rows[i].seconds;
    return IJ_OK;
}

static bool canaries_stand(const bench_tensor *t) {
    for (int64_t i = 0; i < t->image_bytes; i++)
        if ((i < CANARY_BYTES || i >= CANARY_BYTES + t->value_bytes) && t->after[i] != CANARY_BYTE) return false;
    return true;
}

/* Element e of a float tensor as the device left it; whether it still has its poison. */
static double device_value(const bench_tensor *t, const uint8_t *value, int64_t e, bool *poisoned) {
    if (is_half(t->arg.dtype)) {
        uint16_t half;
        memcpy(&half, value + 2 * place(&t->arg, e), 2);
        *poisoned = half == POISON_HALF;
        return op_decode(t->arg.dtype, half);
    }
    uint32_t bits;
    float f;
    memcpy(&bits, value + 4 * e, 4);
    memcpy(&f, &bits, 4);
    *poisoned = bits == POISON_F32;
    return (double)f;
}

static void set_device_value(const bench_tensor *t, uint8_t *value, int64_t e, double number) {
    if (is_half(t->arg.dtype)) {
        uint16_t half = op_encode(t->arg.dtype, number);
        memcpy(value + 2 * place(&t->arg, e), &half, 2);
    } else {
        float f = (float)number;
        memcpy(value + 4 * e, &f, 4);
    }
}

/* What a stored number may differ by: the op's own bound, and the rounding of the store (for f16 at least a unit of 2^-24, its
 * finest step, which the device may round either way). */
static double allowed(const bench_tensor *t, double ref, double rms) {
    double bound = t->arg.tolerance * (fabs(ref) + rms) + 1e-37;
    if (is_half(t->arg.dtype)) bound += op_rounding(t->arg.dtype) * (fabs(ref) + bound) * 1.001 + (t->arg.dtype == OP_F16 ? 0x1p-24 : 0);
    return bound;
}

/* Padding of written rows must be zero, of rows that are not written still poisoned. */
static bool padding_right(const bench_tensor *t, const uint8_t *value) {
    if (!is_half(t->arg.dtype)) return true;
    int64_t columns = t->arg.columns, row = (int64_t)gpu_row(op_element(t->arg.dtype), (uint64_t)columns);
    const double *ref = t->host;
    for (int64_t r = 0; r < t->arg.count / columns; r++)
        for (int64_t c = columns; c < row; c++) {
            uint16_t bits, wanted = isnan(ref[r * columns]) ? POISON_HALF : 0;
            memcpy(&bits, value + 2 * (r * row + c), 2);
            if (bits != wanted) return false;
        }
    return true;
}

/* Largest error / tolerance of a tensor's value against the reference; infinity for what cannot be compared. */
static double compare(const bench_tensor *t, const uint8_t *value, int64_t *where) {
    const double *ref = t->host;
    double worst = 0, sum = 0;
    int64_t finite = 0;
    *where = 0;
    for (int64_t e = 0; e < t->arg.count && is_float(t->arg.dtype); e++)
        if (isfinite(ref[e])) sum += ref[e] * ref[e], finite++;
    double rms = finite ? sqrt(sum / (double)finite) : 0;
    for (int64_t e = 0; e < t->arg.count; e++) {
        double error;
        if (is_float(t->arg.dtype)) {
            bool poisoned;
            double got = device_value(t, value, e, &poisoned);
            if (isnan(ref[e]))
                error = poisoned ? 0 : INFINITY; /* the reference did not write it */
            else
                error = fabs(got - ref[e]) / allowed(t, ref[e], rms);
        } else {
            size_t size = device_bytes(t->arg.dtype);
            error = memcmp(value + (size_t)e * size, (uint8_t *)t->host + (size_t)e * size, size) == 0 ? 0 : INFINITY;
        }
        if (!(error <= worst)) {
            worst = error;
            *where = e;
            if (!(error < INFINITY)) return INFINITY;
        }
    }
    return worst;
}

/* Moves one written element by four tolerances; the comparison must notice. */
static bool nudge_noticed(bench_tensor *t) {
    uint8_t *value = t->after + CANARY_BYTES;
    const double *ref = t->host;
    int64_t where, middle = t->arg.count / 2;
    if (!is_float(t->arg.dtype)) {
        value[middle * (int64_t)device_bytes(t->arg.dtype)] ^= 1;
        return !(compare(t, value, &where) <= 1);
    }
    double sum = 0;
    int64_t finite = 0;
    for (int64_t e = 0; e < t->arg.count; e++)
        if (isfinite(ref[e])) sum += ref[e] * ref[e], finite++;
    while (middle < t->arg.count && isnan(ref[middle])) middle++;
    if (middle == t->arg.count)
        for (middle = 0; middle < t->arg.count && isnan(ref[middle]);) middle++;
    if (middle == t->arg.count) return true; /* nothing is written at all in this case */
    double rms = sqrt(sum / (double)finite);
    set_device_value(t, value, middle, ref[middle] + 4 * allowed(t, ref[middle], rms) + 1e-36);
    return !(compare(t, value, &where) <= 1);
}

static ij_status mismatch(const bench *b, const char *what, const char *tensor, ij_error *err) {
    return ij_fail(err, IJ_ERROR_MISMATCH, "%s %s: %s: %s", b->op->name, b->c->name, tensor, what);
}

static ij_status check_outputs(bench *b, gpu_device *device, op_report *report, ij_error *err) {
    report->canaries = true;
    for (int i = 0; i < b->count; i++) {
        bench_tensor *t = &b->tensors[i];
        IJ_TRY(gpu_read(device, t->whole, 0, t->after, (uint64_t)t->image_bytes, err));
        if (!canaries_stand(t)) {
            report->canaries = false;
            return mismatch(b, "written outside its bytes", t->arg.name, err);
        }
        if (t->arg.role == OP_IN && memcmp(t->image, t->after, (size_t)t->image_bytes) != 0)
            return mismatch(b, "an input was changed", t->arg.name, err);
        if (t->arg.role != OP_OUT && t->arg.role != OP_INOUT) continue;
        if (!padding_right(t, t->after + CANARY_BYTES)) return mismatch(b, "the padding of its rows is not zero", t->arg.name, err);
        int64_t where;
        double error = compare(t, t->after + CANARY_BYTES, &where);
        if (!(error <= report->error)) {
            report->error = error;
            snprintf(report->worst, sizeof report->worst, "%s", t->arg.name);
        }
        if (!(error <= 1)) {
            char text[200];
            double got = 0, want = 0;
            if (is_float(t->arg.dtype)) {
                bool poisoned;
                got = device_value(t, t->after + CANARY_BYTES, where, &poisoned), want = ((double *)t->host)[where];
            } else if (t->arg.dtype == OP_U32) {
                uint32_t u;
                memcpy(&u, t->after + CANARY_BYTES + 4 * where, 4);
                got = u, want = ((uint32_t *)t->host)[where];
            } else
                got = t->after[CANARY_BYTES + where], want = ((uint8_t *)t->host)[where];
            snprintf(text, sizeof text, "element %lld of %lld is %.9g, the reference has %.9g (%.1f tolerances of %.2g)", (long long)where,
                     (long long)t->arg.count, got, want, error, t->arg.tolerance);
            return mismatch(b, text, t->arg.name, err);
        }
    }
    return IJ_OK;
}

static ij_status check_rerun(bench *b, gpu_device *device, op_report *report, ij_error *err) {
    double seconds;
    IJ_TRY(run_once(b, device, &seconds, err));
    if (seconds < report->seconds) report->seconds = seconds;
    report->identical = true;
    for (int i = 0; i < b->count; i++) {
        bench_tensor *t = &b->tensors[i];
        if (t->arg.role != OP_OUT && t->arg.role != OP_INOUT) continue;
        IJ_TRY(gpu_read(device, t->whole, 0, t->image, (uint64_t)t->image_bytes, err));
        if (memcmp(t->image, t->after, (size_t)t->image_bytes) != 0) {
            report->identical = false;
            return mismatch(b, "a second run gave other bits", t->arg.name, err);
        }
    }
    report->nudge_found = true;
    for (int i = 0; i < b->count; i++) {
        bench_tensor *t = &b->tensors[i];
        if ((t->arg.role == OP_OUT || t->arg.role == OP_INOUT) && t->arg.count && !nudge_noticed(t)) {
            report->nudge_found = false;
            return mismatch(b, "an element moved by four tolerances went unnoticed", t->arg.name, err);
        }
    }
    return IJ_OK;
}

ij_status op_check(gpu_device *device, const op_desc *op, const op_case *c, op_report *report, ij_error *err) {
    return op_check_timed(device, op, c, 0, NULL, report, err);
}

/* Tensors that are read and written drift from run to run; the work does not depend on their values. */
static ij_status time_runs(bench *b, int runs, double *seconds, ij_error *err) {
    const gpu_op_time *rows;
    int count;
    for (int r = 0; r < runs; r++) {
        double begin = ij_seconds();
        IJ_TRY(gpu_run(b->program, err));
        seconds[r] = ij_seconds() - begin;
        if (gpu_program_times(b->program, &rows, &count, NULL) != IJ_OK) continue;
        seconds[r] = 0;
        for (int i = 0; i < count; i++) seconds[r] += rows[i].seconds;
    }
    return IJ_OK;
}

ij_status op_check_timed(gpu_device *device, const op_desc *op, const op_case *c, int runs, double *seconds, op_report *report,
                         ij_error *err) {
    memset(report, 0, sizeof *report);
    report->skipped = op->supported && !op->supported(device, c);
    if (report->skipped) {
        for (int r = 0; r < runs; r++) seconds[r] = 0;
        return IJ_OK;
    }
    bench *b;
    IJ_TRY(ij_alloc(&b, 1, sizeof *b, "case", err));
    b->op = op;
    b->c = c;
    ij_status status = build(b, device, err);
    if (status == IJ_OK) status = run_once(b, device, &report->seconds, err);
    if (status == IJ_OK) {
        op->ref(c, b->host);
        status = check_outputs(b, device, report, err);
    }
    if (status == IJ_OK) status = check_rerun(b, device, report, err);
    if (status == IJ_OK) status = time_runs(b, runs, seconds, err);
    bench_free(b);
    free(b);
    return status;
}

/* ---- gradients of the references ---- */

static int index_of(const bench *b, const char *prefix, const char *name) {
    char full[80];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    for (int i = 0; i < b->count; i++)
        if (strcmp(b->tensors[i].arg.name, full) == 0) return i;
    return -1;
}

/* sum over outputs y of <dy, y> after a forward run, dy taken from the backward op's inputs. */
static double weighted_output(bench *forward, const bench *backward) {
    forward->op->ref(forward->c, forward->host);
    double sum = 0;
    for (int i = 0; i < forward->count; i++) {
        const bench_tensor *y = &forward->tensors[i];
        int dy = index_of(backward, "d", y->arg.name);
        if ((y->arg.role != OP_OUT && y->arg.role != OP_INOUT) || !is_float(y->arg.dtype) || dy < 0 ||
            backward->tensors[dy].arg.role != OP_IN)
            continue;
        const double *weight = backward->host[dy], *value = y->host;
        for (int64_t e = 0; e < y->arg.count; e++)
            if (!isnan(value[e])) sum += weight[e] * value[e];
    }
    return sum;
}

static ij_status check_input_gradient(bench *forward, bench *backward, int input, int gradient, int samples, ij_error *err) {
    bench_tensor *x = &forward->tensors[input];
    const double *dx = backward->host[gradient];
    double scale = 0;
    for (int64_t e = 0; e < x->arg.count; e++)
        if (isfinite(dx[e])) scale = fmax(scale, fabs(dx[e]));
    for (int s = 0; s < samples; s++) {
        int64_t e = (int64_t)s * 7919 % x->arg.count;
        double *value = x->host, kept = value[e];
        if (isnan(dx[e]) || isnan(kept)) continue; /* nothing that the op has to read */
        double h = 1e-5 * (1 + fabs(kept));
        value[e] = kept + h;
        double above = weighted_output(forward, backward);
        value[e] = kept - h;
        double below = weighted_output(forward, backward);
        value[e] = kept;
        double numeric = (above - below) / (2 * h);
        /* Truncation is O(h^2), cancellation 1e-16 / h: about 1e-9 of the sum's size; 1e-5 leaves room and is far below an error in a formula. */
        if (!(fabs(numeric - dx[e]) <= 1e-5 * (scale + fabs(numeric) + 1e-9)))
            return ij_fail(err, IJ_ERROR_MISMATCH, "%s %s: reference gradient %s[%lld] is %.9g, central differences give %.9g",
                           backward->op->name, backward->c->name, backward->tensors[gradient].arg.name, (long long)e, dx[e], numeric);
    }
    return IJ_OK;
}

ij_status op_check_gradient(const op_desc *op, const op_case *c, int samples, ij_error *err) {
    if (!op->grad_of) return IJ_OK;
    const op_desc *forward_op = op_find(op->grad_of);
    if (!forward_op) return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: no op %s in the registry", op->name, op->grad_of);
    bench *forward, *backward = NULL;
    IJ_TRY(ij_alloc(&forward, 2, sizeof *forward, "gradient check", err));
    backward = forward + 1;
    forward->op = forward_op;
    backward->op = op;
    forward->c = backward->c = c;
    ij_status status = fill_host(forward, err);
    if (status == IJ_OK) status = fill_host(backward, err);
    int checked = 0;
    for (int i = 0; i < forward->count && status == IJ_OK; i++) { /* the backward op's own prepare decides shared inputs */
        int same = index_of(backward, "", forward->tensors[i].arg.name);
        if (same >= 0 && backward->tensors[same].arg.role == OP_IN && forward->tensors[i].arg.role == OP_IN)
            memcpy(forward->host[i], backward->host[same],
                   (size_t)forward->tensors[i].arg.count * host_bytes(forward->tensors[i].arg.dtype));
    }
    if (status == IJ_OK) {
        for (int i = 0; i < backward->count; i++) /* gradients that are added to start from zero */
            if (backward->tensors[i].arg.role == OP_INOUT && is_float(backward->tensors[i].arg.dtype))
                memset(backward->host[i], 0, 8 * (size_t)backward->tensors[i].arg.count);
        op->ref(c, backward->host);
    }
    for (int i = 0; i < forward->count && status == IJ_OK; i++) {
        int gradient = index_of(backward, "d", forward->tensors[i].arg.name);
        if (gradient < 0 || forward->tensors[i].arg.role != OP_IN || !is_float(forward->tensors[i].arg.dtype)) continue;
        if (backward->tensors[gradient].arg.role == OP_IN) continue;
        checked++;
        status = check_input_gradient(forward, backward, i, gradient, samples, err);
    }
    if (status == IJ_OK && !checked)
        status = ij_fail(err, IJ_ERROR_ARGUMENT, "%s: no output is named as the gradient of an input of %s", op->name, op->grad_of);
    bench_free(forward);
    bench_free(backward);
    free(forward);
    return status;
}
