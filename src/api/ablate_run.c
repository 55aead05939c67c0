/* One run of an ablation, and the file that says it is over.       layer: api; uses: base, io, train, view
 *
 * A run's folder is a training run's own (config.yaml, log.csv, checkpoints/, loss.png) with score.json beside. A run without score.json is
 * not over; with one, it is never opened again. JSON is read with the YAML reader, of which it is a part. */
#include "api/ablate.h"
#include "base/file.h"
#include "base/memory.h"
#include "io/json_writer.h"
#include "train/checkpoint.h"
#include "train/trainer.h"
#include "view/run_picture.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "ijepa ablation score 1"

static const char *const verdicts[] = {"", "healthy", "warning", "collapsed"}, *const states[] = {"waiting", "done", "failed"};

static const ablate_setup *setup_of(const ablate *a, int run) {
    const ablate_setup *s = a->setups;
    while (s->first_run != run % a->used) s++;
    return s;
}

/* a->work is what this run is trained with. */
static ij_status configure_run(ablate *a, int run, const char *folder, ij_error *err) {
    IJ_TRY(ablate_configure(a, setup_of(a, run)->set, err));
    a->work->seed = a->result->runs[run].seed;
    if (snprintf(a->work->folder, sizeof a->work->folder, "%s", folder) >= (int)sizeof a->work->folder)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "path too long: %.200s", folder);
    return IJ_OK;
}

/* ---- is it the same run? ---- */

static void value_text(const ij_config_entry *entry, char out[200]) {
    out[0] = 0;
    for (int i = 0; i < entry->count; i++) snprintf(out + strlen(out), 200 - strlen(out), "%s%s", i ? ", " : "", entry->text[i]);
}

/* Where files go and how they are read does not change what a run computes. */
static void make_comparable(ij_train_config *c, const ij_train_config *like) {
    memcpy(c->folder, like->folder, sizeof c->folder);
    c->threads = like->threads;
    c->keep = like->keep;
    c->checkpoint_every = like->checkpoint_every;
}

static ij_status read_stored(const char *path, const ij_train_config *like, ij_config_text *out, ij_error *err) {
    ij_config_text text = {0};
    ij_train_config *stored;
    IJ_TRY(ij_alloc(&stored, 1, sizeof *stored, "configuration", err));
    ij_train_config_defaults(stored);
    ij_status status = ij_config_text_load(&text, path, err);
    if (status == IJ_OK) status = ij_train_config_read(&text, stored, NULL, 0, err);
    if (status == IJ_OK) make_comparable(stored, like);
    if (status == IJ_OK) status = ij_train_config_write(stored, out, err);
    ij_config_text_free(&text);
    free(stored);
    return status;
}

static ij_status changed(const char *folder, const char *key, const char *was, const char *now, ij_error *err) {
    ij_fail(err, IJ_ERROR_MISMATCH, "%s was made with %s: %s, now it is %s", folder, key, was, now);
    return ij_hint(err, "--out writes elsewhere; deleting the folder makes the run anew");
}

/* The folder's config.yaml against a->work. */
static ij_status compare_config(const ablate *a, const char *folder, const char *path, ij_error *err) {
    ij_config_text stored = {0}, wanted = {0};
    ij_status status = read_stored(path, a->work, &stored, err);
    if (status == IJ_OK) status = ij_train_config_write(a->work, &wanted, err);
    for (int64_t i = 0; i < wanted.count && status == IJ_OK; i++) {
        const ij_config_entry *was = ij_config_text_find(&stored, wanted.entries[i].key);
        char now_text[200], was_text[200] = "not set";
        value_text(&wanted.entries[i], now_text);
        if (was) value_text(was, was_text);
        if (strcmp(was_text, now_text) != 0) status = changed(folder, wanted.entries[i].key, was_text, now_text, err);
    }
    ij_config_text_free(&stored);
    ij_config_text_free(&wanted);
    return status;
}

/* ---- the score ---- */

static ij_status score_path(const char *folder, char out[4300], ij_error *err) {
    return ij_path_join(out, 4300, folder, "score.json", err);
}

/* The numbers of a run, by their names in the file. */
#define SCORE_NUMBERS 11
static void score_numbers(ijepa_ablate_run *run, const char *names[SCORE_NUMBERS], double *at[SCORE_NUMBERS]) {
    const struct {
        const char *name;
        double *at;
    } all[SCORE_NUMBERS] = {{"knn", &run->knn},
                            {"knn_low", &run->knn_low},
                            {"knn_high", &run->knn_high},
                            {"linear", &run->linear},
                            {"linear_low", &run->linear_low},
                            {"linear_high", &run->linear_high},
                            {"random_knn", &run->random_knn},
                            {"random_linear", &run->random_linear},
                            {"pixels_knn", &run->pixels_knn},
                            {"pixels_linear", &run->pixels_linear},
                            {"seconds", &run->seconds}};
    for (int i = 0; i < SCORE_NUMBERS; i++) names[i] = all[i].name, at[i] = all[i].at;
}

static ij_status write_score(const ablate *a, ijepa_ablate_run *run, const char *folder, ij_error *err) {
    char path[4300];
    const char *names[SCORE_NUMBERS];
    double *at[SCORE_NUMBERS];
    const ablate_eval *e = &a->eval;
    ij_json j = {0};
    score_numbers(run, names, at);
    ij_json_open(&j, '{');
    ij_json_key(&j, "format"), ij_json_string(&j, FORMAT);
    ij_json_key(&j, "state"), ij_json_string(&j, run->state);
    ij_json_key(&j, "error"), ij_json_string(&j, run->error);
    ij_json_key(&j, "verdict"), ij_json_string(&j, run->verdict);
    for (int i = 0; i < SCORE_NUMBERS; i++) ij_json_key(&j, names[i]), ij_json_number(&j, *at[i]);
    ij_json_key(&j, "eval"), ij_json_open(&j, '{');
    ij_json_key(&j, "train"), ij_json_string(&j, e->train);
    ij_json_key(&j, "test"), ij_json_string(&j, e->test);
    ij_json_key(&j, "train_limit"), ij_json_integer(&j, e->train_limit);
    ij_json_key(&j, "test_limit"), ij_json_integer(&j, e->test_limit);
    ij_json_key(&j, "seed"), ij_json_integer(&j, e->seed);
    ij_json_close(&j, '}');
    ij_json_close(&j, '}');
    ij_json_raw(&j, "\n");
    ij_status status = j.failed ? ij_fail(err, IJ_ERROR_MEMORY, "out of host memory: score") : score_path(folder, path, err);
    if (status == IJ_OK) status = ij_file_replace(path, j.text, (size_t)j.length, err);
    ij_json_free(&j);
    return status;
}

static ij_status compare_eval(const ablate *a, ij_config_text *score, const char *folder, ij_error *err) {
    const ablate_eval *e = &a->eval;
    char text[2][4096] = {"", ""}, was_text[32], now_text[32];
    const struct {
        const char *key;
        int64_t now;
    } numbers[] = {{"eval.train_limit", e->train_limit}, {"eval.test_limit", e->test_limit}, {"eval.seed", e->seed}};
    IJ_TRY(ij_config_text_string(score, "eval.train", text[0], sizeof text[0], err));
    IJ_TRY(ij_config_text_string(score, "eval.test", text[1], sizeof text[1], err));
    if (strcmp(text[0], e->train) != 0) return changed(folder, "eval.train", text[0], e->train, err);
    if (strcmp(text[1], e->test) != 0) return changed(folder, "eval.test", text[1], e->test, err);
    for (int i = 0; i < IJ_COUNT(numbers); i++) {
        int64_t was = 0;
        IJ_TRY(ij_config_text_integer(score, numbers[i].key, 0, INT64_MAX, &was, err));
        if (was == numbers[i].now) continue;
        snprintf(was_text, sizeof was_text, "%" PRId64, was), snprintf(now_text, sizeof now_text, "%" PRId64, numbers[i].now);
        return changed(folder, numbers[i].key, was_text, now_text, err);
    }
    return IJ_OK;
}

static ij_status read_score(const ablate *a, ij_config_text *score, const char *path, const char *folder, ijepa_ablate_run *run,
                            ij_error *err) {
    char format[64] = "";
    int state = 0, verdict = 0;
    const char *names[SCORE_NUMBERS];
    double *at[SCORE_NUMBERS];
    IJ_TRY(ij_config_text_load(score, path, err));
    IJ_TRY(ij_config_text_string(score, "format", format, sizeof format, err));
    if (strcmp(format, FORMAT) != 0) return ij_fail(err, IJ_ERROR_FORMAT, "%s: not an \"%s\"", path, FORMAT);
    IJ_TRY(compare_eval(a, score, folder, err));
    IJ_TRY(ij_config_text_choice(score, "state", states, IJ_COUNT(states), &state, err));
    IJ_TRY(ij_config_text_choice(score, "verdict", verdicts, IJ_COUNT(verdicts), &verdict, err));
    IJ_TRY(ij_config_text_string(score, "error", run->error, sizeof run->error, err));
    score_numbers(run, names, at);
    for (int i = 0; i < SCORE_NUMBERS; i++) IJ_TRY(ij_config_text_number(score, names[i], 0, 1e12, at[i], err));
    run->state = states[state], run->verdict = verdicts[verdict];
    return IJ_OK;
}

ij_status ablate_look(ablate *a, int run, ij_error *err) {
    char folder[4200], config[4300], score[4300];
    IJ_TRY(ablate_folder(a, run, folder, err));
    IJ_TRY(ij_path_join(config, sizeof config, folder, "config.yaml", err));
    if (!ij_file_exists(config)) return IJ_OK;
    IJ_TRY(configure_run(a, run, folder, err));
    IJ_TRY(compare_config(a, folder, config, err));
    IJ_TRY(score_path(folder, score, err));
    if (!ij_file_exists(score)) return IJ_OK;
    ij_config_text text = {0};
    ij_status status = read_score(a, &text, score, folder, &a->result->runs[run], err);
    ij_config_text_free(&text);
    return status;
}

/* ---- training ---- */

static int64_t runs_over(const ablate *a) {
    int64_t over = 0;
    for (int i = 0; i < a->result->run_count; i++) over += !ablate_waits(&a->result->runs[i]);
    return over;
}

static ij_status stop(const ablate *a, ij_trainer *trainer, const char *folder, ij_error *err) {
    IJ_TRY(ij_trainer_save(trainer, NULL, err));
    ij_fail(err, IJ_ERROR_STOPPED, "stopped in %s, which is saved; %" PRId64 " of %d runs are over", folder, runs_over(a),
            a->result->run_count);
    return ij_hint(err, "the same command goes on from there");
}

static ij_status step_to_the_end(ablate *a, ij_trainer *trainer, const char *folder, ijepa_ablate_run *run, ij_error *err) {
    const ijepa_ablate_options *o = a->options;
    ij_progress p = {.verdict = ""};
    bool finished = false;
    int64_t first = -1, over = runs_over(a);
    while (!finished) {
        if (o->stop && o->stop(o->user)) return stop(a, trainer, folder, err);
        IJ_TRY(ij_trainer_step(trainer, &p, &finished, err));
        if (p.steps > 0) a->result->steps = p.steps;
        if (p.step > 0 && first < 0) first = p.step - 1;
        if (o->progress && p.step > 0) o->progress(o->user, run->name, over * p.steps + p.step, a->result->run_count * p.steps);
    }
    if (first >= 0) a->steps_trained += p.step - first, a->result->trained++;
    for (int i = 0; i < IJ_COUNT(verdicts); i++)
        if (strcmp(verdicts[i], p.verdict) == 0) run->verdict = verdicts[i];
    return IJ_OK;
}

/* Continues what is there, else begins. */
static ij_status train(ablate *a, int number, const char *folder, ij_error *err) {
    char checkpoint[4600];
    ij_trainer *trainer;
    const ijepa_ablate_options *o = a->options;
    IJ_TRY(configure_run(a, number, folder, err));
    bool there = ij_checkpoint_find(folder, checkpoint, sizeof checkpoint, NULL, 0, NULL) == IJ_OK;
    ij_trainer_options options = {.device = api_device_desc(&o->device),
                                  .resume = there,
                                  .overwrite = !there,
                                  .no_tune = o->no_tune,
                                  .message = o->message,
                                  .user = o->user};
    IJ_TRY(ij_trainer_open(a->work, &options, &trainer, err));
    ij_status status = step_to_the_end(a, trainer, folder, &a->result->runs[number], err);
    ij_trainer_close(trainer);
    return status == IJ_OK ? ij_run_picture(folder, err) : status;
}

/* ---- evaluating ---- */

/* Frozen features of the run's target encoder, and what they are to be compared with: kNN, and logistic regression as the linear probe. */
static ij_status score_run(const ablate *a, const char *folder, ijepa_ablate_run *run, ij_error *err) {
    const ablate_eval *e = &a->eval;
    const ijepa_ablate_options *o = a->options;
    ijepa_eval_options ask = {.device = o->device,
                              .train = *e->train ? e->train : NULL,
                              .test = *e->test ? e->test : NULL,
                              .train_limit = e->train_limit,
                              .test_limit = e->test_limit,
                              .methods = "knn,logistic",
                              .no_files = true,
                              .seed = (uint64_t)e->seed,
                              .progress = o->progress,
                              .user = o->user};
    ijepa_eval_result result;
    ijepa_error theirs;
    if (ijepa_eval(folder, &ask, &result, &theirs) != IJEPA_OK) {
        ij_fail(err, (ij_status)theirs.status, "%s", theirs.text);
        return *theirs.hint ? ij_hint(err, "%s", theirs.hint) : err->status;
    }
    const ijepa_eval_row *knn = ijepa_eval_find(&result, "classes", "knn", "trained"),
                         *linear = ijepa_eval_find(&result, "classes", "logistic", "trained");
    run->knn = knn->percent, run->knn_low = knn->low, run->knn_high = knn->high;
    run->linear = linear->percent, run->linear_low = linear->low, run->linear_high = linear->high;
    run->random_knn = ijepa_eval_find(&result, "classes", "knn", "random")->percent;
    run->random_linear = ijepa_eval_find(&result, "classes", "logistic", "random")->percent;
    run->pixels_knn = ijepa_eval_find(&result, "classes", "knn", "pixels")->percent;
    run->pixels_linear = ijepa_eval_find(&result, "classes", "logistic", "pixels")->percent;
    ijepa_eval_free(&result);
    if (isnan(run->knn) || isnan(run->linear)) return ij_fail(err, IJ_ERROR_NUMBER, "%s: its features have no score", folder);
    return IJ_OK;
}

ij_status ablate_run(ablate *a, int number, ij_error *err) {
    char folder[4200];
    ijepa_ablate_run *run = &a->result->runs[number];
    double began = ij_seconds();
    IJ_TRY(ablate_folder(a, number, folder, err));
    ij_status status = train(a, number, folder, err);
    if (status == IJ_OK) status = score_run(a, folder, run, err);
    run->seconds = ij_seconds() - began;
    a->seconds += run->seconds;
    if (status == IJ_OK) {
        run->state = states[1];
        return write_score(a, run, folder, err);
    }
    if (status != IJ_ERROR_NUMBER && status != IJ_ERROR_MEMORY) return status;
    run->state = states[2];
    snprintf(run->error, sizeof run->error, "%s", err->text);
    /* Numbers fail again; memory may be there the next time. */
    return status == IJ_ERROR_NUMBER ? write_score(a, run, folder, err) : IJ_OK;
}
