/* layer: ops; uses: base, gpu */
#include "ops/tune.h"
#include "base/file.h"
#include "base/memory.h"
#include "ops/matmul_rungs.h"
#include "philox.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNS 3                 /* timed, the fastest counts: what else runs on the device only adds */
#define GIVE_UP 2.0            /* a candidate this many times slower than the best so far in its first run is not run again */
#define BLOCK_ELEMENTS 1048582 /* of random numbers, repeated over operands; a multiple of no usual row, so that rows differ */
#define SAMPLES 1024           /* elements that are verified */

typedef struct tuner {
    void (*on_row)(void *user, const tune_row *row);
    void *user;
} tuner;

/* ---- the product under test, on memory of its own ---- */

typedef struct trial {
    gpu_device *device;
    op_matmul_desc desc;
    gpu_arena *arena;
    float *block;             /* [BLOCK_ELEMENTS] as the device sees them */
    float *c;                 /* one row of c */
    double expected[SAMPLES]; /* of the elements that are verified, computed once for all candidates */
    bool expecting;
    uint32_t m, n, k;
} trial;

static void trial_free(trial *t) {
    gpu_arena_destroy(t->arena);
    free(t->block);
    free(t->c);
}

/* Value at (row, column) of an operand whose memory is the block over and over. */
static double value_at(const trial *t, gpu_tensor tensor, uint64_t row, uint64_t column, uint64_t columns) {
    return (double)t->block[(row * gpu_row(tensor.element, columns) + column) % BLOCK_ELEMENTS];
}

static ij_status fill_operand(gpu_program *program, gpu_tensor to, gpu_tensor block, uint64_t size, ij_error *err) {
    uint64_t bytes = size * BLOCK_ELEMENTS;
    for (uint64_t at = 0; at < to.bytes; at += bytes) {
        gpu_tensor part = to;
        part.offset += at;
        part.bytes = to.bytes - at < bytes ? to.bytes - at : bytes;
        IJ_TRY(gpu_copy(program, part, block, part.bytes / 4 * 4, err));
    }
    return IJ_OK;
}

static ij_status make_block(trial *t, gpu_element element, gpu_tensor block, ij_error *err) {
    IJ_TRY(ij_alloc(&t->block, BLOCK_ELEMENTS, sizeof *t->block, "tuning operands", err));
    uint16_t *halves = NULL;
    if (element != GPU_WORD) IJ_TRY(ij_alloc(&halves, BLOCK_ELEMENTS, sizeof *halves, "tuning operands", err));
    for (uint32_t i = 0; i < BLOCK_ELEMENTS; i++) {
        philox_words w = philox(20230408, 0, 0, i, 0, PHILOX_STREAM_TEST);
        double value = (double)w.x / 2147483648.0 - 1;
        if (halves) halves[i] = op_encode(op_dtype_of(element), value);
        t->block[i] = (float)(halves ? op_decode(op_dtype_of(element), halves[i]) : value);
    }
    ij_status status =
        gpu_write(t->device, block, 0, halves ? (void *)halves : (void *)t->block, (uint64_t)BLOCK_ELEMENTS * (halves ? 2 : 4), err);
    free(halves);
    return status;
}

static ij_status fill_operands(trial *t, gpu_tensor block, ij_error *err) {
    gpu_program *program;
    gpu_tensor *from = &t->desc.a;
    uint64_t size = from->element == GPU_WORD ? 4 : 2;
    IJ_TRY(gpu_program_create(t->device, "tuning operands", false, &program, err));
    ij_status status = fill_operand(program, t->desc.a, block, size, err);
    if (status == IJ_OK) status = fill_operand(program, t->desc.b, block, size, err);
    gpu_tensor zeroed[] = {t->desc.c, t->desc.bias, t->desc.residual, t->desc.pre, t->desc.gelu_grad_of, t->desc.bias_grad};
    for (int i = 0; i < IJ_COUNT(zeroed) && status == IJ_OK; i++)
        if (zeroed[i].arena) status = gpu_fill(program, zeroed[i], 0, err);
    if (status == IJ_OK) status = gpu_program_finish(program, err);
    if (status == IJ_OK) status = gpu_run(program, err);
    gpu_program_destroy(program);
    return status;
}

/* Tensors of the product's own sizes in place of the model's, which may not exist yet. What is added to sums is zero, so that c is the
 * product alone (times gelu'(0) = 1/2, or through GELU): verifying needs no second formula. Row lists are left out. */
static ij_status reserve_trial(trial *t, const op_matmul_desc *from, ij_error *err) {
    op_matmul_desc *d = &t->desc;
    bool nt = d->form == OP_MATMUL_NT, tn = d->form == OP_MATMUL_TN;
    gpu_element in = from->a.element, out = from->c.element;
    uint64_t m = t->m, n = t->n, k = t->k;
    d->rows.offsets = d->gather = d->residual_index = (gpu_tensor){0};
    d->residual_period = 0;
    IJ_TRY(gpu_arena_create(t->device, "tuning", GPU_MEMORY_DEVICE, &t->arena, err));
    IJ_TRY(gpu_reserve_matrix(t->arena, in, tn ? k : m, tn ? m : k, "a", &d->a, err));
    IJ_TRY(gpu_reserve_matrix(t->arena, in, nt ? n : k, nt ? k : n, "b", &d->b, err));
    IJ_TRY(gpu_reserve_matrix(t->arena, out, m, n, "c", &d->c, err));
    if (from->bias.arena) IJ_TRY(gpu_reserve(t->arena, 4 * n, "bias", &d->bias, err));
    if (from->residual.arena) IJ_TRY(gpu_reserve(t->arena, 4 * m * n, "residual", &d->residual, err));
    if (from->pre.arena) IJ_TRY(gpu_reserve_matrix(t->arena, in, m, n, "pre", &d->pre, err));
    if (from->gelu_grad_of.arena) IJ_TRY(gpu_reserve_matrix(t->arena, in, m, n, "pre", &d->gelu_grad_of, err));
    if (from->bias_grad.arena) IJ_TRY(gpu_reserve(t->arena, 4 * m, "bias_grad", &d->bias_grad, err));
    uint64_t scratch = op_matmul_scratch(t->device, d);
    return scratch ? gpu_reserve(t->arena, scratch, "scratch", &d->scratch, err) : IJ_OK;
}

static ij_status make_trial(trial *t, gpu_device *device, const op_matmul_desc *from, ij_error *err) {
    bool tn = from->form == OP_MATMUL_TN;
    *t = (trial){.device = device, .desc = *from, .m = tn ? from->m : from->rows.max, .n = from->n, .k = tn ? from->rows.max : from->k};
    t->desc.kernel = OP_MATMUL_TILE; /* a choice of its own while scratch is asked for: no tuning inside tuning */
    gpu_tensor block;
    IJ_TRY(reserve_trial(t, from, err));
    IJ_TRY(gpu_reserve(t->arena, (uint64_t)BLOCK_ELEMENTS * (from->a.element == GPU_WORD ? 4 : 2), "random numbers", &block, err));
    IJ_TRY(gpu_arena_commit(t->arena, err));
    IJ_TRY(make_block(t, from->a.element, block, err));
    IJ_TRY(fill_operands(t, block, err));
    return ij_alloc(&t->c, t->n, sizeof *t->c, "a row of c", err);
}

/* ---- verifying ---- */

static double gelu_of(double x) { return 0.5 * x * (1 + erf(x * 0.70710678118654752)); }

static double expected_at(const trial *t, uint32_t row, uint32_t column) {
    const op_matmul_desc *d = &t->desc;
    double sum = 0;
    for (uint32_t i = 0; i < t->k; i++) {
        double a = d->form == OP_MATMUL_TN ? value_at(t, d->a, i, row, t->m) : value_at(t, d->a, row, i, t->k);
        double b = d->form == OP_MATMUL_NT ? value_at(t, d->b, column, i, t->k) : value_at(t, d->b, i, column, t->n);
        sum += a * b;
    }
    if (d->gelu_grad_of.arena) sum *= 0.5;
    return d->gelu ? gelu_of(sum) : sum;
}

/* The elements that are verified: `rows` rows, the first and the last among them, `per_row` of each. */
static void sample_place(const trial *t, uint32_t r, uint32_t s, uint32_t *row, uint32_t *column) {
    *row = r == 0 ? 0 : r == 1 ? t->m - 1 : (uint32_t)((uint64_t)r * 2654435761u % t->m);
    *column = s == 0 ? 0 : s == 1 ? t->n - 1 : (uint32_t)(((uint64_t)s * 2246822519u + r) % t->n);
}

/* Sampled elements, those of the first and last row and column among them: right when within the bound of sums of k exact products of
 * numbers in [-1, 1] (size sqrt(k) / 3) and the rounding of the store. */
static ij_status verify(trial *t, bool *right, ij_error *err) {
    gpu_element element = t->desc.c.element;
    uint64_t row_bytes = (element == GPU_WORD ? 4 : 2) * gpu_row(element, t->n);
    double size = sqrt((double)t->k) / 3, tolerance = op_tolerance(t->k) + 1e-6,
           rounding = element == GPU_WORD ? 0 : op_rounding(op_dtype_of(element));
    *right = true;
    const uint32_t rows = t->m < 16 ? t->m : 16, per_row = SAMPLES / rows;
    uint32_t row, column;
    for (uint32_t i = 0; i < rows * per_row && !t->expecting; i++) {
        sample_place(t, i / per_row, i % per_row, &row, &column);
        t->expected[i] = expected_at(t, row, column);
    }
    t->expecting = true;
    for (uint32_t r = 0; r < rows && *right; r++) {
        sample_place(t, r, 0, &row, &column);
        gpu_tensor part = t->desc.c;
        part.offset += row * row_bytes, part.bytes = row_bytes;
        IJ_TRY(op_read_floats(t->device, part, 1, t->n, t->c, err));
        for (uint32_t s = 0; s < per_row; s++) {
            sample_place(t, r, s, &row, &column);
            double want = t->expected[r * per_row + s], got = (double)t->c[column];
            if (!(fabs(got - want) <= tolerance * (fabs(want) + size) + rounding * (fabs(want) + tolerance * size) * 1.01 + 0x1p-24))
                *right = false;
        }
    }
    return IJ_OK;
}

/* The verdict must be able to fall: one element of c moved by four tolerances. Once a product. */
static ij_status verdict_can_fall(trial *t, bool *falls, ij_error *err) {
    gpu_element element = t->desc.c.element;
    double size = sqrt((double)t->k) / 3, want = t->expected[0];
    double moved =
        want + 4 * ((op_tolerance(t->k) + 1e-6 + (element == GPU_WORD ? 0 : op_rounding(op_dtype_of(element)))) * (fabs(want) + size));
    float single = (float)moved;
    uint16_t half = op_encode(op_dtype_of(element), moved);
    gpu_tensor first = t->desc.c;
    bool right = true;
    if (element == GPU_WORD)
        IJ_TRY(gpu_write(t->device, first, 0, &single, 4, err));
    else
        IJ_TRY(gpu_write(t->device, first, 0, (uint16_t[]){half, half}, 4, err));
    IJ_TRY(verify(t, &right, err));
    *falls = !right;
    return IJ_OK;
}

/* ---- timing ---- */

static ij_status run_timed(gpu_program *program, double *seconds, ij_error *err) {
    const gpu_op_time *rows;
    int count;
    double begin = ij_seconds();
    IJ_TRY(gpu_run(program, err));
    *seconds = ij_seconds() - begin;
    if (gpu_program_times(program, &rows, &count, NULL) != IJ_OK) return IJ_OK;
    *seconds = 0;
    for (int i = 0; i < count; i++) *seconds += rows[i].seconds;
    return IJ_OK;
}

/* One candidate: *seconds is the fastest of its runs, infinity when it is wrong or hopeless. */
static ij_status time_candidate(trial *t, matmul_choice choice, double best, double *seconds, bool *right, ij_error *err) {
    gpu_program *program;
    op_matmul_desc desc = t->desc;
    desc.kernel = choice.kernel, desc.variant = choice.variant + 1;
    desc.accumulate = false; /* what verifying reads is one product */
    *seconds = INFINITY;
    *right = true;
    IJ_TRY(gpu_program_create(t->device, "tuning", true, &program, err));
    ij_status status = op_matmul(program, &desc, err);
    if (status == IJ_OK) status = gpu_program_finish(program, err);
    double one;
    if (status == IJ_OK) status = run_timed(program, &one, err); /* compiles, touches memory */
    if (status == IJ_OK) status = verify(t, right, err);
    for (int r = 0; r < RUNS && status == IJ_OK && *right; r++) {
        status = run_timed(program, &one, err);
        if (status == IJ_OK && one < *seconds) *seconds = one;
        if (*seconds > GIVE_UP * best) break;
    }
    if (!*right) *seconds = INFINITY;
    gpu_program_destroy(program);
    return status;
}

static void describe(const trial *t, const op_matmul_desc *from, char out[96]) {
    static const char *const forms[] = {"nt", "nn", "tn"}, *const elements[] = {"f32", "f16", "bf16"};
    snprintf(out, 96, "%s %u x %u x %u %s%s%s%s%s%s", forms[from->form], t->m, t->n, t->k, elements[from->a.element],
             from->bias.arena ? ", bias" : "", from->gelu ? ", gelu" : "", from->gelu_grad_of.arena ? ", gelu'" : "",
             from->residual.arena ? ", residual" : "", from->bias_grad.arena ? ", sums" : "");
}

/* Fills *best and row; a candidate that the driver refuses is passed over, a lost device ends everything. */
static ij_status compare_candidates(trial *t, const op_matmul_desc *from, matmul_choice *best, tune_row *row, ij_error *err) {
    matmul_choice list[MATMUL_CANDIDATES_MAX];
    int count = matmul_candidates(t->device, from, list, MATMUL_CANDIDATES_MAX);
    double fastest = INFINITY;
    describe(t, from, row->product);
    row->fallback_seconds = INFINITY;
    for (int i = 0; i < count; i++) {
        double seconds;
        bool right;
        ij_error why = {0};
        ij_status status = time_candidate(t, list[i], fastest, &seconds, &right, &why);
        if (status == IJ_ERROR_DEVICE && strstr(why.text, "device lost")) {
            *err = why;
            return status;
        }
        row->candidates++;
        row->wrong += status == IJ_OK && !right;
        row->failed += status != IJ_OK;
        if (status != IJ_OK) continue;
        if (i == 0) row->fallback_seconds = seconds;
        bool falls = true;
        if (i == 0 && right) IJ_TRY(verdict_can_fall(t, &falls, err));
        if (!falls) return ij_fail(err, IJ_ERROR_MISMATCH, "%s: an element moved by four tolerances went unnoticed", row->product);
        if (seconds < fastest) fastest = seconds, *best = list[i];
    }
    if (!(fastest < INFINITY))
        return ij_fail(err, IJ_ERROR_MISMATCH, "%s: none of %d kernels computes it right on %s", row->product, count,
                       gpu_device_info(t->device)->name);
    row->seconds = fastest;
    matmul_choice_name(t->device, from, *best, row->choice);
    if (count) matmul_choice_name(t->device, from, list[0], row->fallback);
    return IJ_OK;
}

static void save(gpu_device *device);

/* No room beside the model, or a driver that fails: the default is taken, and what is really wrong shows when the model runs. */
static bool tune(gpu_device *device, const op_matmul_desc *desc, void *user, matmul_choice *out) {
    const tuner *with = user;
    trial t;
    tune_row row = {0};
    ij_error err = {0};
    ij_status status = make_trial(&t, device, desc, &err);
    if (status == IJ_OK) status = compare_candidates(&t, desc, out, &row, &err);
    trial_free(&t);
    if (status != IJ_OK) return false;
    if (with->on_row) with->on_row(with->user, &row);
    matmul_key key = matmul_key_of(desc);
    matmul_table_put(device, &key, *out);
    save(device);
    return true;
}

/* ---- the table on disk ----
 * A line a product: form m n k element element_c epilogue kernel variant. The name has device, driver version and the words of the kernels,
 * so a table never meets another build's tiles. */

static bool table_path(gpu_device *device, char out[4400]) {
    const char *folder = gpu_device_cache(device);
    if (!*folder) return false;
    int length =
        snprintf(out, 4400, "%s/matmul-%s-%016" PRIx64 ".txt", folder, gpu_device_info(device)->identity, gpu_shaders_hash("matmul"));
    return length > 0 && length < 4400;
}

static void save(gpu_device *device) {
    char path[4400], *text;
    matmul_key key;
    matmul_choice choice;
    int rows = 0;
    size_t used = 0;
    if (!table_path(device, path) || ij_make_folders(gpu_device_cache(device), NULL) != IJ_OK) return;
    while (matmul_table_row(device, rows, &key, &choice)) rows++;
    size_t room = 120 * (size_t)(rows + 1);
    if (ij_alloc(&text, (int64_t)room, 1, "tuning table", NULL) != IJ_OK) return;
    for (int i = 0; i < rows && matmul_table_row(device, i, &key, &choice); i++)
        used += (size_t)snprintf(text + used, room - used, "%u %u %u %u %u %u %u %u %u\n", key.form, key.m, key.n, key.k, key.element,
                                 key.element_c, key.epilogue, (unsigned)choice.kernel, choice.variant);
    (void)ij_file_replace(path, text, used, NULL); /* a table that cannot be kept costs the next start the tuning, nothing else */
    free(text);
}

ij_status tune_load(gpu_device *device, ij_error *err) {
    char path[4400], *text = NULL;
    size_t bytes = 0;
    if (!table_path(device, path) || !ij_file_exists(path)) return IJ_OK;
    IJ_TRY(ij_file_read(path, 1u << 20, (void **)&text, &bytes, err));
    char *rest, *line = strtok_r(text, "\n", &rest);
    for (; line; line = strtok_r(NULL, "\n", &rest)) {
        matmul_key key;
        unsigned kernel, variant;
        int end = 0;
        int found = sscanf(line, "%u %u %u %u %u %u %u %u %u%n", &key.form, &key.m, &key.n, &key.k, &key.element, &key.element_c,
                           &key.epilogue, &kernel, &variant, &end);
        /* A damaged line is passed over; a choice that this device cannot run is not taken by the plan. */
        if (found == 9 && !line[end] && kernel > OP_MATMUL_AUTO && kernel < OP_MATMUL_KERNEL_COUNT)
            matmul_table_put(device, &key, (matmul_choice){(op_matmul_kernel)kernel, variant});
    }
    free(text);
    return IJ_OK;
}

/* ---- on and off ---- */

ij_status tune_enable(gpu_device *device, bool retune, void (*on_row)(void *user, const tune_row *row), void *user, ij_error *err) {
    tuner *with;
    if (!retune) IJ_TRY(tune_load(device, err));
    IJ_TRY(ij_alloc(&with, 1, sizeof *with, "tuner", err));
    *with = (tuner){on_row, user};
    tune_disable(device);
    matmul_on_miss(device, tune, with);
    return IJ_OK;
}

void tune_disable(gpu_device *device) { free(matmul_on_miss(device, NULL, NULL)); }
