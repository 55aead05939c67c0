/* Trust, tables and the tuner: what decides which kernel multiplies. */
#include "suites.h"
#include "ops/attention.h"
#include "ops/matmul_rungs.h"
#include "ops/rungs_check.h"
#include "ops/tune.h"
#include "scratch.h"

static gpu_device *device; /* of this suite, with a cache folder */

static void open_device(void) {
    ij_error err = {0};
    scratch_begin();
    CHECK_OK(gpu_device_open(&(gpu_device_desc){.select = getenv("IJEPA_DEVICE"), .cache_folder = scratch_folder}, &device, &err));
}

static void close_device(void) {
    gpu_device_close(device);
    scratch_end();
}

static op_matmul_desc product(gpu_element element) {
    const gpu_tensor operand = {.element = element};
    return (op_matmul_desc){.form = OP_MATMUL_NT, .n = 72, .k = 40, .rows = {.max = 130}, .a = operand, .b = operand, .c = operand};
}

static op_matmul_kernel default_kernel(gpu_element element) {
    matmul_choice list[MATMUL_CANDIDATES_MAX];
    op_matmul_desc desc = product(element);
    ck_assert_int_ge(matmul_candidates(device, &desc, list, MATMUL_CANDIDATES_MAX), 1);
    return list[0].kernel;
}

/* An engine is not used before it was checked, is used after it was, and not when it was found wrong. */
START_TEST(test_engines_are_used_once_they_are_trusted) {
    ij_error err = {0};
    char report[400];
    bool offered = matmul_rung_runs(device, OP_MATMUL_COOPMAT, GPU_F16);
    ck_assert_int_eq(default_kernel(GPU_F16), OP_MATMUL_TILE);
    ck_assert(!rungs_trusted(device, GPU_F16));
    CHECK_OK(rungs_check(device, GPU_F16, report, sizeof report, &err));
    ck_assert_int_eq(rungs_trusted(device, GPU_F16), offered);
    ck_assert_msg(!strstr(report, "NOT used"), "%s", report);
    ck_assert_msg(offered ? strstr(report, "coopmat") != NULL : strstr(report, "no matrix engine") != NULL, "%s", report);
    for (op_attention_kernel k = OP_ATTENTION_COOPMAT; k <= OP_ATTENTION_COOPMAT2; k++)
        ck_assert_int_eq(attention_rung_trusted(device, k, GPU_F16), attention_rung_runs(device, k, GPU_F16));
    if (!offered) {
        fprintf(stderr, "tune: this device multiplies no f16 matrices, the trusted half of the test is not run\n");
        return;
    }
    op_matmul_kernel kernel = default_kernel(GPU_F16);
    ck_assert(kernel == OP_MATMUL_COOPMAT || kernel == OP_MATMUL_COOPMAT2);
    matmul_rung_trust(device, OP_MATMUL_COOPMAT, GPU_F16, false);
    matmul_rung_trust(device, OP_MATMUL_COOPMAT2, GPU_F16, false);
    ck_assert_int_eq(default_kernel(GPU_F16), OP_MATMUL_TILE);
}
END_TEST

/* What is switched off is not there. */
START_TEST(test_off_switches) {
    ij_error err = {0};
    gpu_device *limited;
    CHECK_OK(gpu_device_open(&(gpu_device_desc){.select = getenv("IJEPA_DEVICE"), .off = "coopmat,bf16"}, &limited, &err));
    ck_assert(!matmul_rung_runs(limited, OP_MATMUL_COOPMAT, GPU_F16) && !matmul_rung_runs(limited, OP_MATMUL_COOPMAT2, GPU_F16));
    ck_assert(!attention_rung_runs(limited, OP_ATTENTION_COOPMAT, GPU_F16) &&
              !attention_rung_runs(limited, OP_ATTENTION_COOPMAT2, GPU_F16));
    ck_assert(!gpu_device_info(limited)->bf16);
    ck_assert(matmul_rung_runs(limited, OP_MATMUL_TILE, GPU_BF16));
    gpu_device_close(limited);
    CHECK_FAILS(gpu_device_open(&(gpu_device_desc){.off = "coopmat,"}, &limited, &err), IJ_OK);
    gpu_device_close(limited);
    CHECK_FAILS(gpu_device_open(&(gpu_device_desc){.off = "tensor cores"}, &limited, &err), IJ_ERROR_ARGUMENT);
    ck_assert(strstr(err.text, "tensor cores"));
}
END_TEST

typedef struct heard {
    int rows;
    tune_row last;
} heard;

static void on_row(void *user, const tune_row *row) {
    heard *h = user;
    h->rows++;
    h->last = *row;
}

/* Plans the product as the model does: dry, no memory. */
static void plan(gpu_element element, op_matmul_form form) {
    ij_error err = {0};
    gpu_arena *arena;
    gpu_program *program;
    op_matmul_desc desc = product(element);
    gpu_tensor *tensors[] = {&desc.a, &desc.b, &desc.c};
    desc.form = form;
    desc.m = 48; /* TN's */
    CHECK_OK(gpu_arena_create(device, "planned", GPU_MEMORY_DEVICE, &arena, &err));
    for (int i = 0; i < 3; i++)
        CHECK_OK(gpu_reserve_matrix(arena, i == 2 && form == OP_MATMUL_TN ? GPU_WORD : element, 130, 130, "matrix", tensors[i], &err));
    CHECK_OK(gpu_reserve(arena, op_matmul_scratch(device, &desc) + 16, "scratch", &desc.scratch, &err));
    CHECK_OK(gpu_program_create_dry(device, "planned", &program, &err));
    CHECK_OK(op_matmul(program, &desc, &err));
    gpu_program_destroy(program);
    gpu_arena_destroy(arena);
}

/* A product is measured once, every candidate verified; the next device of the same kind reads it from disk. */
START_TEST(test_products_are_tuned_once_and_kept) {
    static const gpu_element elements[] = {GPU_WORD, GPU_F16, GPU_BF16};
    ij_error err = {0};
    heard h = {0};
    CHECK_OK(rungs_check(device, GPU_F16, NULL, 0, &err));
    CHECK_OK(tune_enable(device, false, on_row, &h, &err));
    for (int e = 0; e < IJ_COUNT(elements); e++)
        for (int form = 0; form < 3; form++) {
            int before = h.rows;
            plan(elements[e], (op_matmul_form)form);
            ck_assert_int_eq(h.rows, before + 1);
            ck_assert_msg(h.last.candidates >= 1 && h.last.wrong == 0 && h.last.failed == 0 && h.last.seconds > 0,
                          "%s: %d candidates, %d wrong, %d failed", h.last.product, h.last.candidates, h.last.wrong, h.last.failed);
            ck_assert(h.last.seconds <= h.last.fallback_seconds);
            plan(elements[e], (op_matmul_form)form);
            ck_assert_int_eq(h.rows, before + 1);
        }
    tune_disable(device);
    gpu_device_close(device);
    CHECK_OK(gpu_device_open(&(gpu_device_desc){.select = getenv("IJEPA_DEVICE"), .cache_folder = scratch_folder}, &device, &err));
    CHECK_OK(rungs_check(device, GPU_F16, NULL, 0, &err));
    CHECK_OK(tune_enable(device, false, on_row, &h, &err));
    plan(GPU_F16, OP_MATMUL_NT);
    ck_assert_int_eq(h.rows, 9);
    tune_disable(device);
    CHECK_OK(tune_enable(device, true, on_row, &h, &err)); /* retune */
    plan(GPU_F16, OP_MATMUL_NN);
    tune_disable(device);
}
END_TEST

/* A table that was damaged, or made for tiles that are no more, is passed over line by line. */
START_TEST(test_damaged_tables_are_harmless) {
    ij_error err = {0};
    heard h = {0};
    char name[300] = "", path[700];
    CHECK_OK(tune_enable(device, false, on_row, &h, &err));
    plan(GPU_WORD, OP_MATMUL_NT);
    tune_disable(device);
    snprintf(path, sizeof path, "cd %s && ls matmul-*.txt", scratch_folder);
    FILE *found = popen(path, "r");
    ck_assert(found && fgets(name, sizeof name, found));
    pclose(found);
    name[strcspn(name, "\n")] = 0;
    static const char *const damage[] = {"", "nonsense\n", "0 256 72 40 1 1 0 2 999\n", "0 256 72 40 1 1 0 77 0\n0 1 2\n",
                                         "99999999999999999999 1 1 1 1 1 1 1 1\n\n\n0 256 72 40 0 0 0 4294967295 4294967295\n"};
    for (int i = 0; i < IJ_COUNT(damage); i++) {
        gpu_device_close(device);
        scratch_write(name, damage[i], strlen(damage[i]));
        CHECK_OK(gpu_device_open(&(gpu_device_desc){.select = getenv("IJEPA_DEVICE"), .cache_folder = scratch_folder}, &device, &err));
        CHECK_OK(tune_load(device, &err));
        plan(GPU_F16, OP_MATMUL_NT);
        plan(GPU_WORD, OP_MATMUL_NT);
    }
}
END_TEST

Suite *tune_suite(void) {
    Suite *suite = suite_create("tune");
    TCase *tcase = tcase_create("device");
    tcase_add_checked_fixture(tcase, open_device, close_device);
    tcase_set_timeout(tcase, 0);
    tcase_add_test(tcase, test_engines_are_used_once_they_are_trusted);
    tcase_add_test(tcase, test_off_switches);
    tcase_add_test(tcase, test_products_are_tuned_once_and_kept);
    tcase_add_test(tcase, test_damaged_tables_are_harmless);
    suite_add_tcase(suite, tcase);
    return suite;
}
