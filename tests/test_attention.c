/* What the op registry's cases cannot say of attention: a sequence gets the same bits alone and in any company, and arguments that do
 * not fit are refused with their names. */
#include "suites.h"
#include "base/memory.h"
#include "ops/attention.h"

#include <string.h>

#define HEADS 3
#define HEAD_DIM 24
#define DIM (HEADS * HEAD_DIM)
#define ROWS_MAX 160
#define WATCHED 19 /* rows of the sequence that is followed */

/* Any fixed numbers; those of the watched sequence depend on (tensor, place in the sequence) only. */
static float number(uint32_t stream, uint32_t element) {
    uint32_t x = (stream * 0x9e3779b9u) ^ (element * 0x85ebca6bu + 0x27d4eb2fu);
    x = (x ^ (x >> 15)) * 0x2c1b3c6du;
    x = (x ^ (x >> 12)) * 0x297a2d39u;
    return (float)((x ^ (x >> 15)) >> 8) * 0x1p-22f - 2;
}

/* Forward and backward of one batch: inputs of the watched sequence at row `first`, other rows filled with `company`. */
typedef struct watched_result {
    float out[WATCHED * DIM], lse[WATCHED * HEADS], dqkv[WATCHED * 3 * DIM];
} watched_result;

/* A layout of the work under test: which kernel, and how many invocations share a row. */
typedef struct watched_kernel {
    op_dtype dtype;
    op_attention_kernel kernel;
    uint32_t split;
} watched_kernel;

/* Numbers as rows of the element; DIM and 3 * DIM are multiples of 8, so there is no padding. */
static void write_rows(gpu_tensor to, op_dtype dtype, const float *values, uint32_t count) {
    ij_error err = {0};
    static uint16_t halves[ROWS_MAX * 3 * DIM];
    if (dtype == OP_F32) {
        CHECK_OK(gpu_write(test_device, to, 0, values, 4 * (uint64_t)count, &err));
        return;
    }
    for (uint32_t e = 0; e < count; e++) halves[e] = op_encode(dtype, op_round(dtype, (double)values[e]));
    CHECK_OK(gpu_write(test_device, to, 0, halves, 2 * (uint64_t)count, &err));
}

static void read_rows(gpu_tensor from, uint32_t first, uint32_t columns, float *out) {
    ij_error err = {0};
    static float all[ROWS_MAX * 3 * DIM];
    CHECK_OK(op_read_floats(test_device, from, ROWS_MAX, columns, all, &err));
    memcpy(out, all + first * columns, 4 * WATCHED * columns);
}

static void run_batch(const uint32_t *offsets, uint32_t sequences, uint32_t first, uint32_t company, watched_kernel with,
                      watched_result *result) {
    ij_error err = {0};
    gpu_arena *arena;
    gpu_program *program;
    gpu_tensor places[7]; /* qkv, dout, out, lse, delta, dqkv, offsets */
    static const uint32_t columns[6] = {3 * DIM, DIM, DIM, HEADS, HEADS, 3 * DIM};
    CHECK_OK(gpu_arena_create(test_device, "attention", GPU_MEMORY_DEVICE, &arena, &err));
    for (int i = 0; i < 6; i++) /* lse and delta are f32 always */
        CHECK_OK(gpu_reserve_matrix(arena, columns[i] == HEADS ? GPU_WORD : op_element(with.dtype), ROWS_MAX, columns[i], "rows",
                                    &places[i], &err));
    CHECK_OK(gpu_reserve(arena, 4 * (sequences + 1), "offsets", &places[6], &err));
    CHECK_OK(gpu_arena_commit(arena, &err));
    for (uint32_t i = 0; i < 2; i++) {
        static float values[ROWS_MAX * 3 * DIM];
        for (uint32_t e = 0; e < ROWS_MAX * columns[i]; e++) {
            uint32_t row = e / columns[i];
            bool mine = row >= first && row < first + WATCHED;
            values[e] = mine ? number(i, e - first * columns[i]) : number(company + i, e);
        }
        write_rows(places[i], with.dtype, values, ROWS_MAX * columns[i]);
    }
    CHECK_OK(gpu_write(test_device, places[6], 0, offsets, 4 * (sequences + 1), &err));
    op_attention_shape shape = {places[6], sequences, ROWS_MAX, 64, HEADS, HEAD_DIM, with.split, with.kernel};
    op_attention_desc forward = {shape, places[0], places[2], places[3]};
    op_attention_bwd_desc backward = {shape, places[0], places[2], places[3], places[1], places[4], places[5]};
    CHECK_OK(gpu_program_create(test_device, "attention", false, &program, &err));
    CHECK_OK(op_attention(program, &forward, &err));
    CHECK_OK(op_attention_bwd(program, &backward, &err));
    CHECK_OK(gpu_program_finish(program, &err));
    CHECK_OK(gpu_run(program, &err));
    read_rows(places[2], first, DIM, result->out);
    read_rows(places[3], first, HEADS, result->lse);
    read_rows(places[5], first, 3 * DIM, result->dqkv);
    gpu_program_destroy(program);
    gpu_arena_destroy(arena);
}

START_TEST(test_company_changes_no_bit) {
    static const watched_kernel kernels[] = {
        {OP_F32, OP_ATTENTION_AUTO, 0}, /* the device's own layout, and a GPU's two */
        {OP_F32, OP_ATTENTION_ROW, 1},      {OP_F32, OP_ATTENTION_ROW, 4},       {OP_F16, OP_ATTENTION_ROW, 0},
        {OP_BF16, OP_ATTENTION_ROW, 4},     {OP_F16, OP_ATTENTION_COOPMAT, 0},   {OP_BF16, OP_ATTENTION_COOPMAT, 0},
        {OP_F16, OP_ATTENTION_COOPMAT2, 0}, {OP_BF16, OP_ATTENTION_COOPMAT2, 0},
    };
    static const uint32_t alone[] = {0, WATCHED}, behind[] = {0, 7, 7, 7 + WATCHED, 40, 101}, last[] = {0, 64, 65, 65 + WATCHED};
    static watched_result a, b, c, other;
    for (int i = 0; i < IJ_COUNT(kernels); i++) {
        op_attention_shape shape = {.heads = HEADS, .head_dim = HEAD_DIM, .kernel = kernels[i].kernel};
        if (!op_attention_supported(test_device, &shape, op_element(kernels[i].dtype))) continue;
        run_batch(alone, 1, 0, 100, kernels[i], &a);
        run_batch(behind, 5, 7, 200, kernels[i], &b);
        run_batch(last, 3, 65, 300, kernels[i], &c);
        ck_assert_msg(memcmp(&a, &b, sizeof a) == 0, "kernel %d: company changed a result", i);
        ck_assert_msg(memcmp(&a, &c, sizeof a) == 0, "kernel %d: the place changed a result", i);
        run_batch(behind, 5, 8, 200, kernels[i], &other); /* one row of company inside the sequence must show */
        ck_assert_msg(memcmp(&a, &other, sizeof a) != 0, "kernel %d: the comparison cannot fail", i);
    }
}
END_TEST

START_TEST(test_misfits_are_refused) {
    ij_error err = {0};
    gpu_arena *arena;
    gpu_program *program;
    gpu_tensor offsets, rows;
    CHECK_OK(gpu_arena_create(test_device, "attention", GPU_MEMORY_DEVICE, &arena, &err));
    CHECK_OK(gpu_reserve(arena, 8, "offsets", &offsets, &err));
    CHECK_OK(gpu_reserve(arena, 4 * 10 * 3 * 8, "rows", &rows, &err));
    CHECK_OK(gpu_arena_commit(arena, &err));
    CHECK_OK(gpu_program_create(test_device, "attention", false, &program, &err));
    op_attention_desc good = {.shape = {offsets, 1, 10, 10, 1, 8, 0}, .qkv = rows, .out = rows}, bad = good;
    bad.shape.head_dim = 6;
    CHECK_FAILS(op_attention(program, &bad, &err), IJ_ERROR_ARGUMENT);
    ck_assert_msg(strstr(err.text, "head_dim is 6") != NULL, "%s", err.text);
    bad = good;
    bad.shape.head_dim = 132;
    CHECK_FAILS(op_attention(program, &bad, &err), IJ_ERROR_ARGUMENT);
    bad = good;
    bad.shape.rows_max = 11;
    CHECK_FAILS(op_attention(program, &bad, &err), IJ_ERROR_ARGUMENT);
    ck_assert_msg(strstr(err.text, "qkv has 960 bytes") != NULL, "%s", err.text);
    bad = good;
    bad.shape.sequences = 100;
    CHECK_FAILS(op_attention(program, &bad, &err), IJ_ERROR_ARGUMENT);
    ck_assert_msg(strstr(err.text, "offsets") != NULL, "%s", err.text);
    bad = good;
    bad.out.element = GPU_F16;
    CHECK_FAILS(op_attention(program, &bad, &err), IJ_ERROR_ARGUMENT);
    ck_assert_msg(strstr(err.text, "out has f16, it must have words") != NULL, "%s", err.text);
    bad = good;
    bad.shape.kernel = OP_ATTENTION_COOPMAT; /* not for f32 */
    CHECK_FAILS(op_attention(program, &bad, &err), IJ_ERROR_ARGUMENT);
    ck_assert_msg(strstr(err.text, "matrices of a subgroup") != NULL, "%s", err.text);
    bad.shape.kernel = OP_ATTENTION_COOPMAT2;
    CHECK_FAILS(op_attention(program, &bad, &err), IJ_ERROR_ARGUMENT);
    ck_assert_msg(strstr(err.text, "matrices of a workgroup") != NULL, "%s", err.text);
    gpu_program_destroy(program);
    gpu_arena_destroy(arena);
}
END_TEST

Suite *attention_suite(void) {
    Suite *suite = suite_create("attention");
    TCase *tests = tcase_create("attention");
    tcase_add_unchecked_fixture(tests, open_test_device, close_test_device);
    tcase_set_timeout(tests, 0);
    tcase_add_test(tests, test_company_changes_no_bit);
    tcase_add_test(tests, test_misfits_are_refused);
    suite_add_tcase(suite, tests);
    return suite;
}
