/* Which kernel and tile a matrix product takes. That each computes the right thing is the op registry's business
 * (tests/test_ops.c); here: what is chosen, what is refused, and that the choice never shows in a gradient's bits. */
#include "suites.h"
#include "base/memory.h"
#include "ops/matmul_plan.h"

#include <string.h>

static op_matmul_desc desc_of(op_matmul_form form, uint32_t rows, uint32_t out, uint32_t in, gpu_element element) {
    op_matmul_desc desc = {.form = form, .rows = {.max = rows}, .a = {.element = element}, .b = {.element = element}};
    desc.m = form == OP_MATMUL_TN ? out : 0, desc.n = form == OP_MATMUL_NT ? out : in, desc.k = form == OP_MATMUL_NN ? out : in;
    return desc;
}

START_TEST(test_keys_bucket_rows) {
    op_matmul_desc desc = desc_of(OP_MATMUL_NT, 600, 96, 48, GPU_F16);
    matmul_key key = matmul_key_of(&desc), same, other;
    desc.rows.max = 1024;
    same = matmul_key_of(&desc);
    ck_assert(memcmp(&key, &same, sizeof key) == 0);
    desc.rows.max = 1025;
    other = matmul_key_of(&desc);
    ck_assert(memcmp(&key, &other, sizeof key) != 0);
    desc.rows.max = 600, desc.gelu = true;
    other = matmul_key_of(&desc);
    ck_assert(memcmp(&key, &other, sizeof key) != 0);
}
END_TEST

/* A matrix engine is used when it is trusted, and not before; a forced kernel asks nobody. */
START_TEST(test_only_trusted_rungs_are_automatic) {
    const gpu_element elements[] = {GPU_F16, GPU_BF16};
    for (int e = 0; e < IJ_COUNT(elements); e++)
        for (op_matmul_kernel kernel = OP_MATMUL_COOPMAT; kernel < OP_MATMUL_KERNEL_COUNT; kernel++) {
            op_matmul_desc desc = desc_of(OP_MATMUL_NT, 600, 576, 192, elements[e]);
            bool runs = matmul_rung_runs(test_device, kernel, elements[e]);
            matmul_choice found[MATMUL_CANDIDATES_MAX];
            int count = matmul_candidates(test_device, &desc, found, MATMUL_CANDIDATES_MAX);
            ck_assert_int_gt(count, 0);
            for (int i = 0; i < count; i++) ck_assert_int_eq(found[i].kernel, OP_MATMUL_TILE);
            matmul_rung_trust(test_device, kernel, elements[e], true);
            count = matmul_candidates(test_device, &desc, found, MATMUL_CANDIDATES_MAX);
            ck_assert_int_eq(found[0].kernel, runs ? kernel : OP_MATMUL_TILE);
            matmul_rung_trust(test_device, kernel, elements[e], false);
            desc.kernel = kernel;
            count = matmul_candidates(test_device, &desc, found, MATMUL_CANDIDATES_MAX);
            ck_assert_int_eq(count > 0, runs);
            for (int i = 0; i < count; i++) {
                char name[80];
                ck_assert_int_eq(found[i].kernel, kernel);
                ck_assert(matmul_choice_runs(test_device, &desc, found[i]));
                ck_assert(strstr(matmul_choice_name(test_device, &desc, found[i], name), "coopmat") != NULL);
            }
            ck_assert(!matmul_choice_runs(test_device, &desc, (matmul_choice){kernel, 1000}));
        }
}
END_TEST

START_TEST(test_table_decides) {
    op_matmul_desc desc = desc_of(OP_MATMUL_NT, 70, 576, 192, GPU_F16);
    matmul_key key = matmul_key_of(&desc);
    matmul_plan plan;
    matmul_choice found;
    ck_assert(!matmul_table_find(test_device, &key, &found));
    ck_assert(matmul_plan_make(test_device, &desc, &plan));
    matmul_choice other = {OP_MATMUL_TILE, plan.choice.variant ? 0 : 1};
    ck_assert(matmul_table_put(test_device, &key, other) && matmul_table_find(test_device, &key, &found));
    ck_assert(found.kernel == other.kernel && found.variant == other.variant);
    ck_assert(matmul_plan_make(test_device, &desc, &plan) && plan.choice.variant == other.variant);
    /* What is not trusted, or is not in the list, is not used, whatever the table says. */
    ck_assert(matmul_table_put(test_device, &key, (matmul_choice){OP_MATMUL_COOPMAT, 0}));
    ck_assert(matmul_plan_make(test_device, &desc, &plan) && plan.choice.kernel == OP_MATMUL_TILE);
    ck_assert(matmul_table_put(test_device, &key, (matmul_choice){OP_MATMUL_TILE, 77}));
    ck_assert(matmul_plan_make(test_device, &desc, &plan) && plan.choice.variant < 3);
    ck_assert(matmul_table_row(test_device, 0, &key, &found) && !matmul_table_row(test_device, 1, &key, &found));
}
END_TEST

/* dW with one choice; the same numbers every time, read back into out. */
static ij_status weight_gradient(op_matmul_desc desc, matmul_choice choice, float *out, ij_error *err) {
    gpu_arena *arena = NULL;
    gpu_program *program = NULL;
    gpu_element element = desc.a.element;
    uint64_t rows = desc.rows.max, a_bytes = gpu_matrix_bytes(element, rows, desc.m), b_bytes = gpu_matrix_bytes(element, rows, desc.n);
    uint16_t *noise;
    desc.kernel = choice.kernel, desc.variant = 1 + choice.variant;
    IJ_TRY(ij_alloc(&noise, (int64_t)(a_bytes + b_bytes) / 2, sizeof *noise, "noise", err));
    for (uint64_t i = 0; i < (a_bytes + b_bytes) / 2; i++) noise[i] = (uint16_t)(0x3800 + i * 2654435761u % 1024 + (i % 3 ? 0x8000 : 0));
    ij_status status = gpu_arena_create(test_device, "gradient", GPU_MEMORY_DEVICE, &arena, err);
    if (status == IJ_OK) status = gpu_reserve_matrix(arena, element, rows, desc.m, "dy", &desc.a, err);
    if (status == IJ_OK) status = gpu_reserve_matrix(arena, element, rows, desc.n, "x", &desc.b, err);
    if (status == IJ_OK) status = gpu_reserve(arena, 4 * (uint64_t)desc.m * desc.n, "dw", &desc.c, err);
    if (status == IJ_OK) status = gpu_reserve(arena, op_matmul_scratch(test_device, &desc), "scratch", &desc.scratch, err);
    if (status == IJ_OK) status = gpu_arena_commit(arena, err);
    if (status == IJ_OK) status = gpu_write(test_device, desc.a, 0, noise, a_bytes, err);
    if (status == IJ_OK) status = gpu_write(test_device, desc.b, 0, noise + a_bytes / 2, b_bytes, err);
    if (status == IJ_OK) status = gpu_program_create(test_device, "gradient", false, &program, err);
    if (status == IJ_OK) status = op_matmul(program, &desc, err);
    if (status == IJ_OK) status = gpu_program_finish(program, err);
    if (status == IJ_OK) status = gpu_run(program, err);
    if (status == IJ_OK) status = gpu_read(test_device, desc.c, 0, out, 4 * (uint64_t)desc.m * desc.n, err);
    gpu_program_destroy(program);
    gpu_arena_destroy(arena);
    free(noise);
    return status;
}

/* All tiles of a kernel add the same terms in the same order: what a tuner picks must not change a training run. */
START_TEST(test_tiles_do_not_change_bits) {
    const op_matmul_kernel kernels[] = {OP_MATMUL_TILE, OP_MATMUL_COOPMAT};
    static float first[72 * 88], other[72 * 88];
    ij_error err = {0};
    for (int k = 0; k < IJ_COUNT(kernels); k++) {
        op_matmul_desc desc = desc_of(OP_MATMUL_TN, 1500, 72, 88, GPU_F16);
        matmul_choice found[MATMUL_CANDIDATES_MAX];
        desc.kernel = kernels[k];
        int count = matmul_candidates(test_device, &desc, found, MATMUL_CANDIDATES_MAX);
        for (int i = 0; i < count; i++) {
            CHECK_OK(weight_gradient(desc, found[i], i ? other : first, &err));
            ck_assert(i == 0 || memcmp(first, other, sizeof first) == 0);
        }
    }
}
END_TEST

/* A batch may leave a part of the model without rows: its weights' gradient is then zero, whatever was there. */
START_TEST(test_no_rows_no_gradient) {
    const op_matmul_kernel kernels[] = {OP_MATMUL_LANE, OP_MATMUL_VECTOR, OP_MATMUL_TILE};
    for (int i = 0; i < IJ_COUNT(kernels); i++) {
        op_matmul_desc desc = desc_of(OP_MATMUL_TN, 5, 40, 24, GPU_WORD);
        gpu_arena *arena;
        gpu_program *program;
        ij_error err = {0};
        uint32_t offsets[] = {0, 0};
        float ones[40 * 24], sums[40];
        for (int j = 0; j < IJ_COUNT(ones); j++) ones[j] = 1;
        if (!matmul_rung_runs(test_device, kernels[i], GPU_WORD)) continue;
        desc.kernel = kernels[i], desc.rows.at = 1;
        CHECK_OK(gpu_arena_create(test_device, "no rows", GPU_MEMORY_DEVICE, &arena, &err));
        CHECK_OK(gpu_reserve(arena, 4 * 5 * 40, "dy", &desc.a, &err));
        CHECK_OK(gpu_reserve(arena, 4 * 5 * 24, "x", &desc.b, &err));
        CHECK_OK(gpu_reserve(arena, sizeof ones, "dw", &desc.c, &err));
        CHECK_OK(gpu_reserve(arena, sizeof sums, "dbias", &desc.bias_grad, &err));
        CHECK_OK(gpu_reserve(arena, sizeof offsets, "offsets", &desc.rows.offsets, &err));
        CHECK_OK(gpu_arena_commit(arena, &err));
        CHECK_OK(gpu_write(test_device, desc.c, 0, ones, sizeof ones, &err));
        CHECK_OK(gpu_write(test_device, desc.bias_grad, 0, ones, sizeof sums, &err));
        CHECK_OK(gpu_write(test_device, desc.rows.offsets, 0, offsets, sizeof offsets, &err));
        CHECK_OK(gpu_program_create(test_device, "no rows", false, &program, &err));
        CHECK_OK(op_matmul(program, &desc, &err));
        CHECK_OK(gpu_program_finish(program, &err));
        CHECK_OK(gpu_run(program, &err));
        CHECK_OK(gpu_read(test_device, desc.c, 0, ones, sizeof ones, &err));
        CHECK_OK(gpu_read(test_device, desc.bias_grad, 0, sums, sizeof sums, &err));
        for (int j = 0; j < IJ_COUNT(ones); j++) ck_assert(ones[j] == 0);
        for (int j = 0; j < IJ_COUNT(sums); j++) ck_assert(sums[j] == 0);
        gpu_program_destroy(program);
        gpu_arena_destroy(arena);
    }
}
END_TEST

Suite *matmul_suite(void) {
    Suite *suite = suite_create("matmul");
    TCase *choices = tcase_create("choices");
    tcase_add_unchecked_fixture(choices, open_test_device, close_test_device);
    tcase_set_timeout(choices, 0);
    tcase_add_test(choices, test_keys_bucket_rows);
    tcase_add_test(choices, test_only_trusted_rungs_are_automatic);
    tcase_add_test(choices, test_table_decides);
    tcase_add_test(choices, test_tiles_do_not_change_bits);
    tcase_add_test(choices, test_no_rows_no_gradient);
    suite_add_tcase(suite, choices);
    return suite;
}
