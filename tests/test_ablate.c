/* Ablations: what a specification can get wrong, which rows share a run, and tiny runs trained, interrupted, continued and refused. */
#include "suites.h"
#include "scratch.h"

#include "base/file.h"
#include "ijepa.h"
#include "model/config.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define API_OK(call) ck_assert_msg((call) == IJEPA_OK, "%s: %s", #call, err.text)
#define API_FAILS(call, wanted, part)                                                                                                      \
    do {                                                                                                                                   \
        err = (ijepa_error){0};                                                                                                            \
        ijepa_status api_fails_status_ = (call);                                                                                           \
        ck_assert_msg(api_fails_status_ == (wanted) && strstr(err.text, part), "%s gave status %d: %s", #call, (int)api_fails_status_,     \
                      err.text);                                                                                                           \
    } while (0)

static ijepa_ablate_options options_of(const char *out) {
    return (ijepa_ablate_options){.device = {.device = getenv("IJEPA_DEVICE"), .validation = getenv("IJEPA_VALIDATION") != NULL},
                                  .out = out};
}

/* ---- data, base, specification ---- */

enum { SIDE = 16, IMAGES = 48, CLASSES = 3 };

static void write_data(const char *images_name, const char *labels_name) {
    uint8_t bytes[16 + IMAGES * SIDE * SIDE] = {0, 0, 8, 3, 0, 0, 0, IMAGES, 0, 0, 0, SIDE, 0, 0, 0, SIDE},
                                       labels[8 + IMAGES] = {0, 0, 8, 1, 0, 0, 0, IMAGES};
    for (int i = 0; i < IMAGES; i++) {
        labels[8 + i] = (uint8_t)(i % CLASSES);
        for (int p = 0; p < SIDE * SIDE; p++)
            bytes[16 + i * SIDE * SIDE + p] = (uint8_t)(i % CLASSES * 70 + (i * 31 + p * 17 + p / SIDE * 5) % 61);
    }
    scratch_write(labels_name, labels, sizeof labels);
    scratch_write(images_name, bytes, sizeof bytes);
}

/* A base of 10 steps, checkpoints every 3, beside a specification with these lines. */
static const char *write_specification(const char *lines) {
    char base[1600], spec[1600];
    write_data("train-images-idx3-ubyte", "train-labels-idx1-ubyte");
    write_data("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte");
    snprintf(
        base, sizeof base,
        "data: {path: \"%s\", channels: 1, crop_size: 16, random_crop: false, batch_size: 8, mean: 0.5, std: 0.25, num_workers: 1}\n"
        "mask: {patch_size: 4, min_keep: 1, num_pred_masks: 4, context_keep: 0.25}\n"
        "meta: {model_name: custom, embed_dim: 16, depth: 1, num_heads: 2, pred_emb_dim: 8, pred_depth: 2, pred_num_heads: 1, seed: 5}\n"
        "optimization: {epochs: 2, steps: 10, warmup: 1, start_lr: 0.0001, lr: 0.001}\n"
        "logging: {monitor_every: 2, checkpoint_every: 3}\n",
        scratch_path("train-images-idx3-ubyte"));
    scratch_write("base.yaml", base, strlen(base));
    snprintf(spec, sizeof spec, "base: base.yaml\n%s", lines);
    return scratch_write("spec.yaml", spec, strlen(spec));
}

/* ---- what is wrong ---- */

START_TEST(test_wrong_specifications) {
    static const struct {
        const char *lines;
        int status;
        const char *part;
    } cases[] = {
        {"tables: [mask, colours]\n", IJEPA_ERROR_ARGUMENT, "\"colours\"; there are mask, targets, target_scale"},
        {"tabels: [mask]\n", IJEPA_ERROR_ARGUMENT, "spec.yaml line 2: unknown key tabels"},
        {"seeds: 17\n", IJEPA_ERROR_ARGUMENT, "seeds is \"17\", expected a whole number from 1 to 16"},
        {"steps: none\n", IJEPA_ERROR_ARGUMENT, "steps is \"none\""},
        {"set: [optimization.speed=3]\n", IJEPA_ERROR_ARGUMENT, "optimization.speed"},
        {"rows: {fast: [optimization.lr=quick]}\n", IJEPA_ERROR_ARGUMENT, "rows.fast: --set: optimization.lr is \"quick\""},
        {"rows: {\"two words\": [optimization.lr=1]}\n", IJEPA_ERROR_ARGUMENT, "rows.two words: a name of letters"},
        {"rows: {both: [meta.targets=pixels, meta.target_mask=input]}\n", IJEPA_ERROR_ARGUMENT, "nothing to mask"},
        {"base: nowhere.yaml\n", IJEPA_ERROR_FORMAT, "base"}, /* a key given twice */
        {"eval: {seed: -1}\n", IJEPA_ERROR_ARGUMENT, "eval.seed is \"-1\""},
    };
    ijepa_error err;
    ijepa_ablate_result result;
    scratch_begin();
    const char *spec = write_specification(cases[_i].lines);
    ijepa_ablate_options o = options_of(scratch_path("out"));
    o.list = true;
    API_FAILS(ijepa_ablate(spec, &o, &result, &err), (ijepa_status)cases[_i].status, cases[_i].part);
    scratch_end();
}
END_TEST

START_TEST(test_wrong_calls) {
    ijepa_error err;
    ijepa_ablate_result result = {0};
    char *text;
    scratch_begin();
    ijepa_ablate_options o = options_of(NULL);
    API_FAILS(ijepa_ablate(NULL, &o, &result, &err), IJEPA_ERROR_ARGUMENT, "specification is NULL");
    API_FAILS(ijepa_ablate("x", &o, NULL, &err), IJEPA_ERROR_ARGUMENT, "result is NULL");
    API_FAILS(ijepa_ablate(scratch_path("missing.yaml"), &o, &result, &err), IJEPA_ERROR_FILE, "missing.yaml");
    API_FAILS(ijepa_ablate(scratch_write("empty.yaml", "seeds: 1\n", 9), &o, &result, &err), IJEPA_ERROR_ARGUMENT, "no base");
    ck_assert_ptr_nonnull(strstr(err.hint, "base: "));
    API_FAILS(ijepa_ablate(scratch_write("lost.yaml", "base: gone.yaml\n", 16), &o, &result, &err), IJEPA_ERROR_FILE,
              "gone.yaml is neither");
    o.seeds = 17;
    API_FAILS(ijepa_ablate("x", &o, &result, &err), IJEPA_ERROR_ARGUMENT, "seeds is 17");
    o = options_of(NULL), o.list = true, o.tables = "mask,rows"; /* the specification has no rows of its own */
    const char *spec = write_specification("");
    API_FAILS(ijepa_ablate(spec, &o, &result, &err), IJEPA_ERROR_ARGUMENT, "\"rows\"");
    API_FAILS(ijepa_ablate_text(&result, "prose", &text, &err), IJEPA_ERROR_ARGUMENT, "text, markdown, csv or json");
    ijepa_ablate_free(&result);
    ijepa_ablate_free(NULL);
    scratch_end();
}
END_TEST

/* ---- the plan ---- */

static const ijepa_ablate_row *row_of(const ijepa_ablate_result *r, const char *table, int row) {
    for (int t = 0; t < r->table_count; t++)
        if (strcmp(r->tables[t].name, table) == 0) {
            ck_assert_int_lt(row, r->tables[t].row_count);
            return &r->tables[t].rows[row];
        }
    ck_abort_msg("no table %s", table);
}

/* Without `tables` all are planned. Rows that mean the base are its run; a run's name does not depend on the tables asked for. */
START_TEST(test_plan) {
    ijepa_error err;
    ijepa_ablate_result r;
    scratch_begin();
    const char *spec = write_specification("");
    ijepa_ablate_options o = options_of(scratch_path("out"));
    o.list = true;
    API_OK(ijepa_ablate(spec, &o, &r, &err));
    ck_assert_int_eq(r.table_count, 10);
    ck_assert_int_eq(r.steps, 10);
    ck_assert_str_eq(row_of(&r, "mask", 0)->run, "base");
    ck_assert_str_eq(row_of(&r, "targets", 0)->run, "base");
    ck_assert_str_eq(row_of(&r, "targets", 1)->run, "targets-pixels");
    ck_assert_str_eq(row_of(&r, "target_scale", 3)->run, "base");
    ck_assert_str_eq(row_of(&r, "context_scale", 3)->run, "context_scale-0.85"); /* the base caps its context, this row does not */
    ck_assert_str_eq(row_of(&r, "target_count", 3)->run, "base");
    ck_assert_str_eq(row_of(&r, "target_mask", 1)->run, "target_mask-input");
    ck_assert_str_eq(row_of(&r, "predictor_depth", 0)->set, "meta.pred_depth=1");
    ck_assert_str_eq(row_of(&r, "predictor_depth", 1)->run, "base");
    ck_assert_str_eq(row_of(&r, "predictor_width", 1)->set, "meta.pred_emb_dim=16; meta.pred_num_heads=1");
    ck_assert_double_eq(row_of(&r, "mask", 1)->paper, 15.5);
    ck_assert_str_eq(row_of(&r, "predictor_depth", 1)->paper_setting, "12 blocks");
    ck_assert(isnan(row_of(&r, "loss", 0)->paper));
    ck_assert_str_eq(r.runs[0].name, "base-s5");
    ck_assert_str_eq(r.runs[0].state, "waiting");
    int count = r.run_count;
    for (int i = 0; i < count; i++)
        for (int k = 0; k < i; k++) ck_assert_str_ne(r.runs[i].name, r.runs[k].name);
    ijepa_ablate_free(&r);
    o.tables = "target_count,target_scale", o.seeds = 2;
    API_OK(ijepa_ablate(spec, &o, &r, &err));
    ck_assert_int_eq(r.table_count, 2);
    ck_assert_int_eq(r.run_count, 2 * (3 + 6)); /* 1, 2, 3 blocks; six scales, one of which is the base and 4 blocks */
    ck_assert_str_eq(r.runs[9].name, "target_scale-0.075-s6");
    ck_assert(!ij_file_exists(scratch_path("out")));
    ijepa_ablate_free(&r);
    /* What the base's model cannot do is said in the row; the others stand. */
    const char *const odd[] = {"meta.embed_dim=12", "meta.num_heads=1", "meta.pred_emb_dim=12"};
    o = options_of(scratch_path("out")), o.list = true, o.tables = "predictor_width", o.set = odd, o.set_count = 3;
    API_OK(ijepa_ablate(spec, &o, &r, &err));
    ck_assert_int_eq(r.run_count, 1);
    ck_assert_ptr_nonnull(strstr(row_of(&r, "predictor_width", 0)->note, "dim 6 is not a multiple of 4"));
    ck_assert_str_eq(row_of(&r, "predictor_width", 0)->run, "");
    ck_assert_str_eq(row_of(&r, "predictor_width", 1)->run, "base");
    ijepa_ablate_free(&r);
    scratch_end();
}
END_TEST

/* ---- runs ---- */

typedef struct watch {
    int64_t steps, stop_after; /* [0: never] */
    int runs;
} watch;

static bool stop_now(void *user) {
    watch *w = user;
    return w->steps++, w->stop_after && w->steps > w->stop_after;
}
static void count_run(void *user, const ijepa_ablate_run *run, double seconds_left) {
    watch *w = user;
    w->runs++;
    ck_assert(seconds_left >= 0 && run->state[0] != 'w');
}

static ijepa_status ablate(const char *spec, const char *out, watch *w, ijepa_ablate_result *r, ijepa_error *err) {
    ijepa_ablate_options o = options_of(out);
    o.stop = stop_now, o.on_run = count_run, o.user = w;
    return ijepa_ablate(spec, &o, r, err);
}

/* The tensors of a run's last checkpoint. */
static char *tensors_of(const char *out, const char *run, size_t *bytes) {
    ij_error err = {0};
    char path[600], *all;
    uint64_t header;
    snprintf(path, sizeof path, "%s/%s/checkpoints/step-00000010.safetensors", out, run);
    CHECK_OK(ij_file_read(path, 0, (void **)&all, bytes, &err));
    memcpy(&header, all, sizeof header);
    *bytes -= 8 + header;
    memmove(all, all + 8 + header, *bytes);
    return all;
}

static bool holds(const char *path, const char *part) {
    ij_error err = {0};
    char *text;
    size_t bytes;
    CHECK_OK(ij_file_read(path, 0, (void **)&text, &bytes, &err));
    bool found = strstr(text, part) != NULL;
    free(text);
    return found;
}

#define LINES "tables: [targets, target_mask]\neval: {seed: 3}\n"

START_TEST(test_runs) {
    ijepa_error err;
    ijepa_ablate_result r;
    watch w = {0};
    char out[300], path[600];
    scratch_begin();
    const char *spec = write_specification(LINES);
    snprintf(out, sizeof out, "%s", scratch_path("out"));
    API_OK(ablate(spec, out, &w, &r, &err));
    ck_assert_int_eq(r.run_count, 3); /* the base, pixels, masked input */
    ck_assert(r.done == 3 && r.failed == 0 && r.trained == 3 && w.runs == 3);
    for (int t = 0; t < r.table_count; t++)
        for (int i = 0; i < r.tables[t].row_count; i++) {
            const ijepa_ablate_row *row = &r.tables[t].rows[i];
            ck_assert_msg(row->seeds == 1 && row->knn > 0 && row->knn_low <= row->knn && row->knn <= row->knn_high + 1e-9 &&
                              row->linear > 0,
                          "%s: kNN %g [%g, %g]", row->run, row->knn, row->knn_low, row->knn_high);
        }
    ck_assert_double_eq(row_of(&r, "targets", 0)->knn, row_of(&r, "target_mask", 0)->knn);
    double knn = row_of(&r, "targets", 1)->knn, linear = row_of(&r, "target_mask", 1)->linear;
    ijepa_ablate_free(&r);
    snprintf(path, sizeof path, "%s/ablation.json", out);
    static const char *const fields[] = {"\"runs_done\":3",
                                         "\"name\":\"targets\"",
                                         "\"paper_top1\":40.7",
                                         "\"run\":\"targets-pixels\"",
                                         "\"knn_low\":",
                                         "\"verdict\":",
                                         "\"set\":\"meta.target_mask=input\"",
                                         "\"random_knn\":"};
    for (int i = 0; i < IJ_COUNT(fields); i++) ck_assert_msg(holds(path, fields[i]), "no %s in ablation.json", fields[i]);
    snprintf(path, sizeof path, "%s/ablation.md", out);
    ck_assert(holds(path, "| pixels |") && holds(path, "table 11") && holds(path, "ViT-H/16, 300 epochs"));
    snprintf(path, sizeof path, "%s/ablation.csv", out);
    ck_assert(holds(path, "\"targets-pixels\""));
    /* A second call trains nothing, and knows what the first found. */
    w = (watch){0};
    API_OK(ablate(spec, out, &w, &r, &err));
    ck_assert(r.trained == 0 && w.runs == 0 && w.steps == 0 && r.done == 3);
    ck_assert_double_eq(row_of(&r, "targets", 1)->knn, knn);
    ck_assert_double_eq(row_of(&r, "target_mask", 1)->linear, linear);
    ijepa_ablate_free(&r);
    /* What was made with other settings is refused by the key's name. */
    ijepa_ablate_options o = options_of(out);
    const char *const other[] = {"optimization.lr=0.5"};
    o.set = other, o.set_count = 1;
    API_FAILS(ijepa_ablate(spec, &o, &r, &err), IJEPA_ERROR_MISMATCH, "optimization.lr: 0.001, now it is 0.5");
    o.set_count = 0, o.steps = 11;
    API_FAILS(ijepa_ablate(spec, &o, &r, &err), IJEPA_ERROR_MISMATCH, "optimization.steps: 10, now it is 11");
    spec = write_specification("tables: [targets, target_mask]\neval: {seed: 4}\n");
    API_FAILS(ablate(spec, out, &w, &r, &err), IJEPA_ERROR_MISMATCH, "eval.seed: 3, now it is 4");
    scratch_end();
}
END_TEST

/* Stopped in the second run; then the newest checkpoint is lost too, as where a run is killed: it goes on from the one before and ends with
 * the bytes of a run that was never stopped. */
START_TEST(test_interrupted) {
    ijepa_error err;
    ijepa_ablate_result r;
    watch w = {.stop_after = 11 + 7};
    char whole[300], out[300], path[600];
    scratch_begin();
    const char *spec = write_specification(LINES);
    snprintf(out, sizeof out, "%s", scratch_path("out"));
    snprintf(whole, sizeof whole, "%s", scratch_path("whole"));
    API_FAILS(ablate(spec, out, &w, &r, &err), IJEPA_ERROR_STOPPED, "targets-pixels-s5, which is saved; 1 of 3 runs");
    ck_assert(r.done == 1 && strcmp(r.runs[0].state, "done") == 0 && strcmp(r.runs[1].state, "waiting") == 0);
    ijepa_ablate_free(&r);
    snprintf(path, sizeof path, "%s/targets-pixels-s5/checkpoints/step-00000008.safetensors", out);
    ck_assert_msg(ij_file_exists(path), "%s", path);
    ck_assert_int_eq(unlink(path), 0);
    w = (watch){0};
    API_OK(ablate(spec, out, &w, &r, &err));
    ck_assert_int_eq(r.trained, 2);
    ck_assert_int_eq(w.steps, (10 - 6) + 10);
    ijepa_ablate_free(&r);
    w = (watch){0};
    API_OK(ablate(spec, whole, &w, &r, &err));
    for (int i = 0; i < r.run_count; i++) {
        size_t a_bytes, b_bytes;
        char *a = tensors_of(out, r.runs[i].name, &a_bytes), *b = tensors_of(whole, r.runs[i].name, &b_bytes);
        ck_assert(a_bytes == b_bytes && a_bytes > 10000);
        ck_assert_msg(memcmp(a, b, a_bytes) == 0, "%s has other weights than the run that was not stopped", r.runs[i].name);
        free(a), free(b);
    }
    ijepa_ablate_free(&r);
    scratch_end();
}
END_TEST

/* A learning rate of 100 ends in numbers that are not finite: this row fails and is remembered, the others are done. */
START_TEST(test_one_row_fails) {
    ijepa_error err;
    ijepa_ablate_result r;
    watch w = {0};
    char *text;
    scratch_begin();
    const char *spec = write_specification(
        "seeds: 3\nsteps: 40\nset: [meta.precision=f32]\neval: {train_limit: 30}\n"
        "rows:\n  calm: \"optimization.lr=0.0005; optimization.warmup=0\"\n  wild: [optimization.lr=100, optimization.start_lr=100]\n");
    API_OK(ablate(spec, scratch_path("out"), &w, &r, &err));
    ck_assert_int_eq(r.table_count, 1);
    ck_assert_int_eq(r.run_count, 6);
    ck_assert(r.done == 3 && r.failed == 3 && w.runs == 6);
    const ijepa_ablate_row *calm = row_of(&r, "rows", 0), *wild = row_of(&r, "rows", 1);
    ck_assert(wild->failed == 3 && wild->seeds == 0 && isnan(wild->knn));
    ck_assert_msg(strstr(r.runs[1].error, "without finite gradients"), "%s", r.runs[1].error);
    /* Mean and Student's interval over three seeds. */
    double x[3], mean = 0, squares = 0;
    for (int s = 0; s < 3; s++) x[s] = r.runs[2 * s].linear, mean += x[s] / 3;
    for (int s = 0; s < 3; s++) squares += (x[s] - mean) * (x[s] - mean);
    ck_assert_int_eq(calm->seeds, 3);
    ck_assert_double_eq_tol(calm->linear, mean, 1e-9);
    ck_assert_double_eq_tol(calm->linear_high - calm->linear, 4.303 * sqrt(squares / 2 / 3), 1e-9);
    API_OK(ijepa_ablate_text(&r, "text", &text, &err));
    ck_assert_msg(strstr(text, "3 failed") && strstr(text, "wild-s6 failed: ") && strstr(text, "over seeds"), "%s", text);
    free(text);
    ijepa_ablate_free(&r);
    w = (watch){0};
    API_OK(ablate(spec, scratch_path("out"), &w, &r, &err));
    ck_assert(r.trained == 0 && w.steps == 0 && r.failed == 3);
    ijepa_ablate_free(&r);
    scratch_end();
}
END_TEST

Suite *ablate_suite(void) {
    Suite *suite = suite_create("ablate");
    TCase *host = tcase_create("plan");
    tcase_add_loop_test(host, test_wrong_specifications, 0, 10);
    tcase_add_test(host, test_wrong_calls);
    tcase_add_test(host, test_plan);
    suite_add_tcase(suite, host);
    TCase *work = tcase_create("runs");
    tcase_set_timeout(work, 0);
    tcase_add_test(work, test_runs);
    tcase_add_test(work, test_interrupted);
    tcase_add_test(work, test_one_row_fails);
    suite_add_tcase(suite, work);
    return suite;
}
