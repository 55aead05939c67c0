/* Fine-tuning.       layer: api; uses: base, eval */
#include "api/api.h"
#include "eval/finetune.h"

#include <assert.h>
#include <stdio.h>

static_assert(sizeof(((ijepa_finetune_result *)0)->seed) == FINETUNE_SEEDS_MAX * sizeof(ijepa_finetune_seed),
              "the two tables have room for as many seeds");

static bool on_progress(void *user, const ij_finetune_progress *p) {
    const ijepa_finetune_options *o = user;
    ijepa_finetune_progress theirs = {.what = p->what,
                                      .seed = p->seed,
                                      .seeds = p->seeds,
                                      .epoch = p->epoch,
                                      .epochs = p->epochs,
                                      .step = p->step,
                                      .steps = p->steps,
                                      .loss = p->loss,
                                      .images_per_second = p->images_per_second,
                                      .seconds_left = p->seconds_left};
    return o->progress(o->user, &theirs);
}

static void on_message(void *user, const char *line) {
    const ijepa_finetune_options *o = user;
    if (o->message)
        o->message(o->user, line);
    else
        api_log(o->device.context, IJEPA_LOG_INFO, line);
}

static void copy_result(const ij_finetune_result *from, ijepa_finetune_result *to) {
    *to = (ijepa_finetune_result){.train_images = from->train_images,
                                  .test_images = from->test_images,
                                  .damaged_images = from->damaged_images,
                                  .classes = from->classes,
                                  .seeds = from->seeds,
                                  .mean = from->mean,
                                  .low = from->low,
                                  .high = from->high,
                                  .last_blocks = from->last_blocks,
                                  .epochs = from->epochs,
                                  .batch = from->batch,
                                  .warmup_epochs = from->warmup_epochs,
                                  .lr = from->lr,
                                  .weight_decay = from->weight_decay,
                                  .layer_decay = from->layer_decay,
                                  .smoothing = from->smoothing,
                                  .augment = ij_augmentation_names[from->augment],
                                  .steps = from->steps,
                                  .seconds = from->seconds,
                                  .images_per_second = from->images_per_second,
                                  .out_written = from->out_written};
    snprintf(to->precision, sizeof to->precision, "%s", from->precision);
    for (int i = 0; i < from->seeds; i++) {
        const ij_finetune_seed *s = &from->seed[i];
        to->seed[i] = (ijepa_finetune_seed){.seed = s->seed,
                                            .test = s->test.percent,
                                            .test_low = s->test.low,
                                            .test_high = s->test.high,
                                            .train = s->train_right,
                                            .loss = s->loss,
                                            .skipped_steps = s->skipped_steps};
    }
}

ijepa_status ijepa_finetune(const char *run, const ijepa_finetune_options *options, ijepa_finetune_result *result, ijepa_error *err) {
    API_NEED(run);
    API_NEED(result);
    static const ijepa_finetune_options defaults = {0};
    ijepa_finetune_options o = options ? *options : defaults;
    if (o.per_class < 0) return api_range(__func__, "per_class", (double)o.per_class, "0 or more", err);
    if (o.last_blocks < 0) return api_range(__func__, "last_blocks", o.last_blocks, "0 or more", err);
    API_CONTEXT(&o.device);
    ij_finetune_desc ours = {.device = api_device_desc(&o.device),
                             .train = o.train,
                             .test = o.test,
                             .train_set = api_dataset(o.train_data),
                             .test_set = api_dataset(o.test_data),
                             .fraction = o.fraction,
                             .per_class = o.per_class,
                             .last_blocks = o.last_blocks,
                             .epochs = o.epochs,
                             .warmup_epochs = o.warmup_epochs,
                             .batch = o.batch,
                             .lr = o.lr,
                             .weight_decay = o.weight_decay,
                             .layer_decay = o.layer_decay,
                             .smoothing = o.smoothing,
                             .random_init = o.random_init,
                             .seed = o.seed,
                             .seeds = o.seeds,
                             .out = o.out,
                             .progress = o.progress ? on_progress : NULL,
                             .message = o.message || api_logs(o.device.context) ? on_message : NULL,
                             .user = &o};
    ij_error own = {0};
    ij_finetune_result found = {0};
    ij_status status = o.augment ? ij_augmentation_find(o.augment, &ours.augment, &own) : IJ_OK;
    if (status == IJ_OK && o.precision) status = ij_precision_find(o.precision, &ours.precision, &own);
    if (status == IJ_OK) status = ij_finetune_run(run, &ours, &found, &own);
    if (status == IJ_OK || status == IJ_ERROR_STOPPED) copy_result(&found, result);
    return api_result(status, &own, err);
}
