/* layer: eval; uses: base, eval */
#include "eval/adapted.h"

#include <math.h>
#include <stdio.h>

typedef struct told {
    const eval_adapted *desc;
    eval_method method;
    eval_features features;
} told;

static bool on_progress(void *user, const ij_finetune_progress *p) {
    const told *t = user;
    const eval_adapted *d = t->desc;
    if (d->progress) {
        char what[160];
        snprintf(what, sizeof what, "%s, %s, seed %d of %d, %s", eval_method_names[t->method], eval_features_names[t->features], p->seed,
                 p->seeds, p->what);
        d->progress(d->user, what, p->step, p->steps);
    }
    return !(d->stop && d->stop(d->user));
}

static void write_setting(const ij_finetune_result *r, char *out, size_t out_bytes) {
    snprintf(out, out_bytes, "%d epochs of batches of %d, lr %.3g, weight decay %g, layer decay %g, smoothing %g, %s, last %d blocks",
             r->epochs, r->batch, r->lr, r->weight_decay, r->layer_decay, r->smoothing, ij_augmentation_names[r->augment], r->last_blocks);
}

ij_status ij_adapted_row(const char *run, const eval_adapted *desc, eval_method method, eval_features features, ij_eval_result *result,
                         ij_error *err) {
    told t = {desc, method, features};
    ij_finetune_desc ask = desc->finetune;
    ij_finetune_result found;
    if (method == EVAL_LOW_SHOT) ask.fraction = desc->fraction;
    if (method == EVAL_PARTIAL) ask.last_blocks = desc->blocks;
    ask.seeds = method == EVAL_LOW_SHOT ? desc->seeds : 1;
    ask.random_init = features == EVAL_RANDOM;
    ask.progress = on_progress;
    ask.user = &t;
    IJ_TRY(ij_finetune_run(run, &ask, &found, err));
    ij_eval_row row = {.method = method,
                       .features = features,
                       .chosen = true,
                       .accuracy = {found.mean, found.low, found.high},
                       .held_out = NAN,
                       .mean = found.mean,
                       .settings = 1,
                       .train_images = found.train_images,
                       .test_images = found.test_images,
                       .classes = found.classes,
                       .seeds = found.seeds,
                       .seed = ask.seed,
                       .seconds = found.seconds};
    snprintf(row.task, sizeof row.task, "%s", desc->task);
    write_setting(&found, row.setting, sizeof row.setting);
    return ij_eval_add(result, &row, err);
}
