/* Training.       layer: api; uses: base, train */
#include "api/api.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

struct ijepa_trainer {
    ij_trainer *trainer;
    ijepa_context *context; /* held; NULL: none */
    ijepa_model *model;     /* of its weights, once it was asked for */
    ij_dataset *dataset;    /* shared; NULL: the configuration's */
    int blocks;             /* target blocks of an image */
    bool no_files;
    char folder[4096];
};

ij_trainer_view api_trainer_view(const ijepa_trainer *trainer) { return ij_trainer_look(trainer->trainer); }

ij_dataset *api_trainer_dataset(const ijepa_trainer *trainer) { return trainer->dataset; }

static void log_message(void *user, const char *line) { api_log(user, IJEPA_LOG_INFO, line); }

static ij_status open_trainer(ijepa_config *config, const ijepa_trainer_options *options, ij_train_config *read, ijepa_trainer *out,
                              ij_error *err) {
    ij_trainer_options ours = {.device = api_device_desc(&options->device),
                               .resume = options->resume,
                               .checkpoint = options->checkpoint,
                               .overwrite = options->overwrite,
                               .no_files = options->no_files,
                               .no_tune = options->no_tune,
                               .message = options->message,
                               .user = options->user,
                               .dataset = api_dataset(options->dataset)};
    if (!ours.message && api_logs(out->context)) ours.message = log_message, ours.user = out->context;
    IJ_TRY(api_config_read(config, read, NULL, 0, err));
    out->blocks = read->masks.blocks;
    out->no_files = options->no_files;
    if (!options->no_files) memcpy(out->folder, read->folder, sizeof out->folder);
    return ij_trainer_open(read, &ours, &out->trainer, err);
}

ijepa_status ijepa_trainer_open(ijepa_config *config, const ijepa_trainer_options *options, ijepa_trainer **out, ijepa_error *err) {
    API_NEED(out);
    *out = NULL;
    API_NEED(config);
    static const ijepa_trainer_options defaults = {0};
    if (!options) options = &defaults;
    API_CONTEXT(&options->device);
    ij_error ours = {0};
    ij_train_config *read = NULL;
    ijepa_trainer *trainer = NULL;
    ij_status status = ij_alloc(&trainer, 1, sizeof *trainer, "trainer", &ours);
    if (status == IJ_OK) status = ij_alloc(&read, 1, sizeof *read, "configuration", &ours);
    if (status == IJ_OK) trainer->context = api_context_hold(options->device.context);
    if (status == IJ_OK) status = open_trainer(config, options, read, trainer, &ours);
    if (status == IJ_OK && options->dataset) trainer->dataset = ij_dataset_share(api_dataset(options->dataset));
    free(read);
    if (status == IJ_OK)
        *out = trainer;
    else
        ijepa_trainer_close(trainer);
    return api_result(status, &ours, err);
}

void ijepa_trainer_close(ijepa_trainer *trainer) {
    if (!trainer) return;
    api_model_destroy(trainer->model);
    ij_trainer_close(trainer->trainer);
    ij_dataset_close(trainer->dataset);
    api_context_release(trainer->context);
    free(trainer);
}

const char *ijepa_trainer_folder(const ijepa_trainer *trainer) { return trainer ? trainer->folder : ""; }

ijepa_status ijepa_trainer_step(ijepa_trainer *trainer, ijepa_progress *progress, bool *finished, ijepa_error *err) {
    API_NEED(trainer);
    API_NEED(progress);
    API_NEED(finished);
    ij_error ours = {0};
    ij_progress p;
    ij_status status = ij_trainer_step(trainer->trainer, &p, finished, &ours);
    if (status == IJ_OK)
        *progress = (ijepa_progress){.step = p.step,
                                     .steps = p.steps,
                                     .epoch = p.epoch,
                                     .epochs = p.epochs,
                                     .loss = p.result.loss,
                                     .regularizer = p.result.regularizer,
                                     .trivial_loss = p.trivial_loss,
                                     .learning_rate = p.lr,
                                     .weight_decay = p.weight_decay,
                                     .momentum = p.momentum,
                                     .gradient_norm = p.result.gradient_norm,
                                     .images_per_second = p.images_per_second,
                                     .seconds_left = p.seconds_left,
                                     .context_patches = p.result.context_rows,
                                     .target_patches = p.result.target_rows / trainer->blocks,
                                     .verdict = p.verdict,
                                     .reason = p.reason,
                                     .damaged_images = p.damaged_images,
                                     .skipped_steps = p.skipped_steps,
                                     .collapsed = p.collapsed};
    return api_result(status, &ours, err);
}

ijepa_status ijepa_trainer_save(ijepa_trainer *trainer, const char *path, ijepa_error *err) {
    API_NEED(trainer);
    ij_error ours = {0};
    ij_status status = IJ_OK;
    if (!path && trainer->no_files)
        status = ij_fail(&ours, IJ_ERROR_ARGUMENT, "ijepa_trainer_save: the trainer has no run folder (no_files): a path is needed");
    if (status == IJ_OK) status = ij_trainer_save(trainer->trainer, path, &ours);
    return api_result(status, &ours, err);
}

ijepa_status ijepa_trainer_model(ijepa_trainer *trainer, ijepa_model **out, ijepa_error *err) {
    API_NEED(out);
    *out = NULL;
    API_NEED(trainer);
    ij_error ours = {0};
    ij_trainer_view view = api_trainer_view(trainer);
    ij_status status = trainer->model ? IJ_OK : api_model_lend(&view, &trainer->model, &ours);
    if (status == IJ_OK) {
        api_model_set_step(trainer->model, view.step);
        *out = trainer->model;
    }
    return api_result(status, &ours, err);
}
