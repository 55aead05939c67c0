/* Benchmarks: shapes are those of the models, wrong results are never timed, libraries that are missing say so. */
#include "suites.h"
#include "scratch.h"

#include "io/image.h"
#include "model/params.h"
#include "ops/bench_attention.h"
#include "ops/bench_matmul.h"
#include "ops/bench_memory.h"
#include "train/bench_shapes.h"
#include "view/bench_picture.h"

#include <dlfcn.h>
#include <math.h>

/* ---- shapes ---- */

static const char *const presets[] = {"vit_tiny", "vit_small", "vit_base", "vit_large", "vit_huge", "vit_giant"};

/* Layers of a part whose weight is [n, k], by count. */
static int layers_with(const ij_product_shape *products, int count, const char *part, int64_t n, int64_t k) {
    int found = 0;
    for (int i = 0; i < count; i++)
        if (products[i].form == OP_MATMUL_NT && strcmp(products[i].part, part) == 0 && products[i].n == n && products[i].k == k)
            found += products[i].count;
    return found;
}

/* Every weight matrix of the parameter table is multiplied by once forward in its net, and by nothing else. */
START_TEST(test_products_are_the_weights) {
    ij_error err;
    ij_train_config *config = calloc(1, sizeof *config);
    ij_batch_shape shape;
    ij_param_table table;
    ij_product_shape products[IJ_PRODUCTS_MAX];
    CHECK_OK(ij_recipe(presets[_i], 3, config, &err));
    CHECK_OK(ij_batch_shape_draw(config, &shape, &err));
    CHECK_OK(ij_param_table_make(&config->model, &table, &err));
    int count = ij_step_products(config, &shape, products), layers = 0, counted = 0;
    ck_assert_int_le(count, IJ_PRODUCTS_MAX);
    for (int i = 0; i < table.count; i++) {
        const ij_param *p = &table.params[i];
        if (p->dims < 2 || strcmp(p->name, "mask_token") == 0) continue;
        int64_t n = p->shape[0], k = p->count / n;
        int same = 0; /* weights of this shape in this net */
        for (int j = 0; j < table.count; j++)
            same += table.params[j].predictor == p->predictor && table.params[j].dims >= 2 && table.params[j].shape[0] == n &&
                    table.params[j].count / n == k && strcmp(table.params[j].name, "mask_token") != 0;
        ck_assert_msg(layers_with(products, count, p->predictor ? "predictor" : "context", n, k) == same, "%s: %s [%lld, %lld]",
                      presets[_i], p->name, (long long)n, (long long)k);
        if (!p->predictor) ck_assert_int_eq(layers_with(products, count, "target", n, k), same);
        layers += p->predictor ? 1 : 2;
    }
    for (int i = 0; i < count; i++) counted += products[i].form == OP_MATMUL_NT ? products[i].count : 0;
    ck_assert_int_eq(counted, layers);
    ij_param_table_free(&table);
    ij_batch_shape_free(&shape);
    free(config);
}
END_TEST

/* Backward products turn the forward one round; rows add up. */
START_TEST(test_forms_and_rows) {
    ij_error err;
    ij_train_config *config = calloc(1, sizeof *config);
    ij_batch_shape shape;
    ij_product_shape p[IJ_PRODUCTS_MAX];
    ij_attention_step attentions[IJ_ATTENTIONS];
    CHECK_OK(ij_recipe("vit_huge", 5, config, &err));
    ck_assert_int_eq(ij_patches(&config->model), 256);
    CHECK_OK(ij_batch_shape_draw(config, &shape, &err));
    int count = ij_step_products(config, &shape, p);
    for (int i = 0; i < count; i++)
        for (int j = 0; j < i; j++) {
            if (strcmp(p[i].layer, p[j].layer) != 0 || strcmp(p[i].part, p[j].part) != 0) continue;
            double flops = (double)p[i].m * (double)p[i].n * (double)p[i].k, other = (double)p[j].m * (double)p[j].n * (double)p[j].k;
            ck_assert_double_eq(flops, other);
            ck_assert_int_ne(p[i].form, p[j].form);
        }
    ck_assert_uint_eq(shape.full_offsets[5], 5 * 256);
    ck_assert_uint_eq(shape.predictor_offsets[20], 4 * shape.context_offsets[5] + shape.target_offsets[20]);
    ck_assert_uint_lt(shape.context_offsets[5], 5 * 256);
    ij_step_attentions(config, &shape, attentions);
    for (int i = 0; i < IJ_ATTENTIONS; i++)
        ck_assert_uint_eq(attentions[i].heads * attentions[i].head_dim, (uint32_t)(i < 2 ? config->model.dim : config->model.pred_dim));
    ij_batch_shape_free(&shape);
    CHECK_FAILS(ij_recipe("vit_vast", 0, config, &err), IJ_ERROR_ARGUMENT);
    CHECK_OK(ij_recipe("vit_giant", 0, config, &err));
    ck_assert_int_eq(config->batch, 16);
    free(config);
}
END_TEST

/* ---- operands ---- */

START_TEST(test_operands_are_exact) {
    ij_error err;
    const gpu_element element = (gpu_element)_i;
    bench_matrix m;
    double sum = 0, square = 0, most = 0;
    CHECK_OK(bench_matrix_make(element, 211, 67, 5, 2, "test", &m, &err));
    ck_assert_uint_eq(m.bytes, gpu_matrix_bytes(element, 211, 67));
    for (int r = 0; r < 211; r++)
        for (int c = 0; c < m.row; c++) {
            double value = bench_matrix_at(&m, r, c);
            if (c >= 67) ck_assert_double_eq(value, 0);
            if (c < 67) sum += value, square += value * value, most = fmax(most, fabs(value));
        }
    double n = 211 * 67;
    ck_assert_double_le(most, 2);
    ck_assert_double_le(fabs(sum / n), 5 * 2 / sqrt(3) / sqrt(n)); /* five standard deviations of the mean */
    ck_assert_double_le(fabs(square / n - 4.0 / 3), 0.1);
    bench_matrix_free(&m);
}
END_TEST

/* ---- libraries ---- */

START_TEST(test_missing_library) {
    ij_error err;
    baseline *library;
    CHECK_OK(baseline_open(BASELINE_NONE, NULL, "x", &library, &err));
    ck_assert_ptr_null(library);
    err = (ij_error){0};
    CHECK_FAILS(baseline_open(BASELINE_CUBLAS, "/nowhere/libcublas.so.13", "x", &library, &err), IJ_ERROR_FILE);
    ck_assert_msg(strstr(err.text, "/nowhere/libcublas.so.13 cannot be loaded") && strstr(err.hint, "--baseline-library"), "%s (%s)",
                  err.text, err.hint);
    ck_assert_ptr_null(library);
    CHECK_FAILS(baseline_open(BASELINE_OPENBLAS, "/nowhere/libopenblas.so.0", NULL, &library, &err), IJ_ERROR_FILE);
    ck_assert_msg(strstr(err.text, "/nowhere/libopenblas.so.0") && strstr(err.hint, "apt install"), "%s (%s)", err.text, err.hint);
    CHECK_FAILS(baseline_open(BASELINE_OPENBLAS, "libm.so.6", NULL, &library, &err), IJ_ERROR_FILE);
    ck_assert_msg(strstr(err.text, "has no cblas_sgemm"), "%s", err.text);
}
END_TEST

static double product_at(const baseline_product *p, int64_t i, int64_t j) {
    double sum = 0;
    for (int64_t l = 0; l < p->k; l++)
        sum += (p->form == OP_MATMUL_TN ? bench_matrix_at(p->a, l, i) : bench_matrix_at(p->a, i, l)) *
               (p->form == OP_MATMUL_NT ? bench_matrix_at(p->b, j, l) : bench_matrix_at(p->b, l, j));
    return sum;
}

/* All forms and elements through cuBLAS's interface, whose matrices are the other way round. */
START_TEST(test_cublas_is_asked_rightly) {
    ij_error err;
    baseline *library;
    void *real = dlopen("libcuda.so.1", RTLD_NOW), *fake;
    if (real) { /* a machine with an NVIDIA driver: the benchmark itself verifies the real library */
        dlclose(real);
        return;
    }
    fake = dlopen(IJ_TEST_FAKE_CUDA, RTLD_NOW); /* it calls itself libcuda.so.1 */
    ck_assert_msg(fake, "%s", dlerror());
    int (*allocations)(void);
    *(void **)&allocations = dlsym(fake, "fake_cuda_allocations");
    CHECK_FAILS(baseline_open(BASELINE_CUBLAS, IJ_TEST_FAKE_CUDA, "fake", &library, &err), IJ_ERROR_DEVICE);
    ck_assert_msg(strstr(err.text, "no device \"fake\" (it has 2"), "%s", err.text);
    CHECK_FAILS(baseline_open(BASELINE_CUBLAS, IJ_TEST_FAKE_CUDA, "fake 10", &library, &err), IJ_ERROR_DEVICE);
    ck_assert_msg(strstr(err.text, "invalid value"), "%s", err.text);
    CHECK_OK(baseline_open(BASELINE_CUBLAS, IJ_TEST_FAKE_CUDA, "fake 11", &library, &err));
    ck_assert_msg(strstr(library->name, "cuBLAS 13.2.3"), "%s", library->name);
    for (int form = 0; form < 3; form++)
        for (int e = GPU_WORD; e <= GPU_BF16; e++)
            for (int wide = 0; wide < 2; wide++) {
                const int64_t m = 13, n = 9, k = 21;
                gpu_element element = (gpu_element)e, result = wide ? GPU_WORD : element;
                bench_matrix a, b;
                double seconds, row[16]; /* of 9 elements, padded */
                bool nt = form == OP_MATMUL_NT, tn = form == OP_MATMUL_TN;
                CHECK_OK(bench_matrix_make(element, tn ? k : m, tn ? m : k, 1, 1, "a", &a, &err));
                CHECK_OK(bench_matrix_make(element, nt ? n : k, nt ? k : n, 2, 1, "b", &b, &err));
                baseline_product p = {(op_matmul_form)form, m, n, k, &a, &b, result};
                CHECK_OK(library->load(library, &p, &err));
                CHECK_OK(library->read_row(library, m - 1, row, &err));
                ck_assert(isnan(bench_element(result, row, n - 1)));
                CHECK_OK(library->run(library, 3, &seconds, &err));
                ck_assert_double_eq_tol(seconds, 2e-3, 1e-9);
                for (int64_t i = 0; i < m; i++) {
                    CHECK_OK(library->read_row(library, i, row, &err));
                    for (int64_t j = 0; j < n; j++) {
                        double want = product_at(&p, i, j), got = bench_element(result, row, j);
                        ck_assert_msg(fabs(got - want) <= op_rounding(op_dtype_of(result)) * fabs(want) + 1e-12,
                                      "form %d, element %d: %g, not %g", form, e, got, want);
                    }
                }
                library->unload(library);
                bench_matrix_free(&a), bench_matrix_free(&b);
            }
    ck_assert_int_eq(allocations(), 0);
    baseline_close(library);
    dlclose(fake);
}
END_TEST

/* ---- on the device ---- */

/* A library that is right, or off in one element by `error`. */
typedef struct honest {
    baseline base;
    baseline_product product;
    double error;
} honest;
static bool honest_takes(gpu_element element) { return element == GPU_WORD; }
static ij_status honest_load(baseline *b, const baseline_product *p, ij_error *err) { return ((honest *)b)->product = *p, IJ_OK; }
static ij_status honest_run(baseline *b, int repeats, double *seconds, ij_error *err) { return *seconds = 0.5, IJ_OK; }
static ij_status honest_row(baseline *b, int64_t row, void *out, ij_error *err) {
    const honest *h = (const honest *)b;
    for (int64_t j = 0; j < h->product.n; j++)
        ((float *)out)[j] = (float)(product_at(&h->product, row, j) + (row == h->product.m - 1 && j == h->product.n - 1 ? h->error : 0));
    return IJ_OK;
}
static void honest_unload(baseline *b) {}

START_TEST(test_wrong_results_are_not_timed) {
    ij_error err;
    honest h = {.base = {"honest", honest_takes, honest_load, honest_run, honest_row, honest_unload, honest_unload}};
    bool kernels[OP_MATMUL_KERNEL_COUNT] = {[OP_MATMUL_AUTO] = true, [OP_MATMUL_TILE] = true};
    matmul_bench_desc desc = {.form = (op_matmul_form)_i, .m = 70, .n = 37, .k = 129, .kernels = kernels, .library = &h.base, .runs = 2};
    matmul_bench_result r;
    CHECK_OK(matmul_bench(test_device, &desc, &r, &err));
    ck_assert(r.kernels[OP_MATMUL_AUTO].seconds > 0 && r.kernels[OP_MATMUL_TILE].seconds > 0);
    ck_assert(r.kernels[OP_MATMUL_LANE].seconds == 0 && r.library.seconds == 0.5);
    ck_assert_msg(strncmp(r.kernels[OP_MATMUL_TILE].detail, "tile", 4) == 0, "a dispatch's detail is \"%s\"",
                  r.kernels[OP_MATMUL_TILE].detail);
    h.error = 1e-3; /* one product of 129 is 0.25 on average */
    CHECK_OK(matmul_bench(test_device, &desc, &r, &err));
    ck_assert(r.library.status == IJ_ERROR_MISMATCH && r.library.seconds == 0 && r.kernels[OP_MATMUL_TILE].seconds > 0);
    ck_assert_msg(strstr(r.library.note, "honest: m 70, n 37, k 129: element (69, 36)"), "%s", r.library.note);
    desc.k = 0;
    CHECK_FAILS(matmul_bench(test_device, &desc, &r, &err), IJ_ERROR_ARGUMENT);
}
END_TEST

START_TEST(test_attention_is_verified) {
    ij_error err;
    const uint32_t offsets[] = {0, 7, 7, 40, 61};
    bool kernels[OP_ATTENTION_KERNEL_COUNT] = {[OP_ATTENTION_AUTO] = true, [OP_ATTENTION_ROW] = true};
    attention_bench_desc desc = {.offsets = offsets, .sequences = 4, .heads = 3, .head_dim = 24, .kernels = kernels, .runs = 3};
    attention_bench_time times[OP_ATTENTION_KERNEL_COUNT];
    double flops, bytes;
    CHECK_OK(attention_bench(test_device, &desc, times, &err));
    for (int i = OP_ATTENTION_AUTO; i <= OP_ATTENTION_ROW; i++)
        ck_assert_msg(times[i].status == IJ_OK && times[i].forward > 0 && times[i].backward > 0, "%s", times[i].note);
    ck_assert(times[OP_ATTENTION_COOPMAT].forward == 0);
    attention_bench_cost(&desc, false, &flops, &bytes);
    ck_assert_double_eq(flops, 4.0 * (49 + 33 * 33 + 21 * 21) * 72);
    desc.forward_only = true;
    CHECK_OK(attention_bench(test_device, &desc, times, &err));
    ck_assert(times[OP_ATTENTION_ROW].forward > 0 && times[OP_ATTENTION_ROW].backward == 0);
}
END_TEST

START_TEST(test_memory_moves) {
    ij_error err;
    double rate = 0;
    CHECK_OK(memory_bench(test_device, 2, &rate, &err));
    ck_assert(rate > 1e6 && rate < 1e15);
}
END_TEST

/* ---- picture ---- */

START_TEST(test_picture_of_rows) {
    ij_error err;
    const char *path;
    ij_bench_mark marks[] = {{"fc1 context nt", "f32", "tile", 1e13, 200, 0.5},
                             {"fc1 context nt", "f16", "coopmat", 3e14, 400, 0.7},
                             {"fc1 context nt", "bf16", "coopmat2", 5e14, 400, 1.2},
                             {"norm", "f32", "", 1e10, 0, 0}};
    ij_bench_picture picture = {"a device", "a library", marks, IJ_COUNT(marks), {2e13, 8e14, 7e14}, 3e12};
    ij_image image = {0};
    scratch_begin();
    path = scratch_path("rows.png");
    CHECK_OK(ij_bench_picture_write(&picture, path, &err));
    CHECK_OK(ij_image_read(path, 3, &image, &err));
    ck_assert_int_eq(image.width, 1280);
    ck_assert_int_gt(image.height, 560);
    ij_image_free(&image);
    picture.memory = 0, picture.count = 0; /* says that there is nothing */
    CHECK_OK(ij_bench_picture_write(&picture, path, &err));
    CHECK_FAILS(ij_bench_picture_write(&picture, scratch_path("no/such/folder.png"), &err), IJ_ERROR_FILE);
    scratch_end();
}
END_TEST

Suite *bench_suite(void) {
    Suite *suite = suite_create("bench");
    TCase *host = tcase_create("host"), *device = tcase_create("device");
    tcase_set_timeout(host, 0);
    tcase_add_loop_test(host, test_products_are_the_weights, 0, IJ_COUNT(presets));
    tcase_add_test(host, test_forms_and_rows);
    tcase_add_loop_test(host, test_operands_are_exact, GPU_WORD, GPU_BF16 + 1);
    tcase_add_test(host, test_missing_library);
    tcase_add_test(host, test_cublas_is_asked_rightly);
    tcase_add_test(host, test_picture_of_rows);
    suite_add_tcase(suite, host);
    tcase_add_unchecked_fixture(device, open_test_device, close_test_device);
    tcase_set_timeout(device, 0);
    tcase_add_loop_test(device, test_wrong_results_are_not_timed, 0, 3);
    tcase_add_test(device, test_attention_is_verified);
    tcase_add_test(device, test_memory_moves);
    suite_add_tcase(suite, device);
    return suite;
}
