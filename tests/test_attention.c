/* What the op registry's cases cannot say of attention: a sequence gets the same bits alone and in any company, and arguments that do
 * not fit are refused with their names. */
#include "suites.h"
#include "base/memory.h"
#include "ops/attention.h"

#include <string.h>

#define HEADS 3
#define HEAD_DIM 20
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

static void run_batch(const uint32_t *offsets, uint32_t sequences, uint32_t first, uint32_t company, uint32_t split,
                      watched_result *result) {
    ij_error err = {0};
    gpu_arena *arena;
    gpu_program *program;
    gpu_tensor places[7]; /* qkv, dout, out, lse, delta, dqkv, offsets */
    static const uint32_t columns[6] = {3 * DIM, DIM, DIM, HEADS, HEADS, 3 * DIM};
    CHECK_OK(gpu_arena_create(test_device, "attention", GPU_MEMORY_DEVICE, &arena, &err));
    for (int i = 0; i < 6; i++) CHECK_OK(gpu_reserve(arena, 4 * ROWS_MAX * columns[i], "rows", &places[i], &err));
    CHECK_OK(gpu_reserve(arena, 4 * (sequences + 1), "offsets", &places[6], &err));
    CHECK_OK(gpu_arena_commit(arena, &err));
    for (uint32_t i = 0; i < 2; i++) {
        static float values[ROWS_MAX * 3 * DIM];
        for (uint32_t e = 0; e < ROWS_MAX * columns[i]; e++) {
            uint32_t row = e / columns[i];
            bool mine = row >= first && row < first + WATCHED;
            values[e] = mine ? number(i, e - first * columns[i]) : number(company + i, e);
        }
        CHECK_OK(gpu_write(test_device, places[i], 0, values, 4 * ROWS_MAX * columns[i], &err));
    }
    CHECK_OK(gpu_write(test_device, places[6], 0, offsets, 4 * (sequences + 1), &err));
    op_attention_shape shape = {places[6], sequences, ROWS_MAX, 64, HEADS, HEAD_DIM, split};
    op_attention_desc forward = {shape, places[0], places[2], places[3]};
    op_attention_bwd_desc backward = {shape, places[0], places[2], places[3], places[1], places[4], places[5]};
    CHECK_OK(gpu_program_create(test_device, "attention", false, &program, &err));
    CHECK_OK(op_attention(program, &forward, &err));
    CHECK_OK(op_attention_bwd(program, &backward, &err));
    CHECK_OK(gpu_program_finish(program, &err));
    CHECK_OK(gpu_run(program, &err));
    CHECK_OK(gpu_read(test_device, places[2], 4 * first * DIM, result->out, sizeof result->out, &err));
    CHECK_OK(gpu_read(test_device, places[3], 4 * first * HEADS, result->lse, sizeof result->lse, &err));
    CHECK_OK(gpu_read(test_device, places[5], 4 * first * 3 * DIM, result->dqkv, sizeof result->dqkv, &err));
    gpu_program_destroy(program);
    gpu_arena_destroy(arena);
}

START_TEST(test_company_changes_no_bit) {
    static const uint32_t splits[] = {0, 1, 4}; /* the device's own layout, and a GPU's two */
    static const uint32_t alone[] = {0, WATCHED}, behind[] = {0, 7, 7, 7 + WATCHED, 40, 101}, last[] = {0, 64, 65, 65 + WATCHED};
    static watched_result a, b, c, other;
    for (int i = 0; i < IJ_COUNT(splits); i++) {
        run_batch(alone, 1, 0, 100, splits[i], &a);
        run_batch(behind, 5, 7, 200, splits[i], &b);
        run_batch(last, 3, 65, 300, splits[i], &c);
        ck_assert_msg(memcmp(&a, &b, sizeof a) == 0, "split %u: company changed a result", splits[i]);
        ck_assert_msg(memcmp(&a, &c, sizeof a) == 0, "split %u: the place changed a result", splits[i]);
        run_batch(behind, 5, 8, 200, splits[i], &other); /* one row of company inside the sequence must show */
        ck_assert_msg(memcmp(&a, &other, sizeof a) != 0, "split %u: the comparison cannot fail", splits[i]);
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
