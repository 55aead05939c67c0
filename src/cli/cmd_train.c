/* ijepa train       layer: cli; uses: ijepa.h */
#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PLAIN_SECONDS 5.0 /* between lines when the output is not a terminal */
#define REDRAW_SECONDS 0.1

/* ---- showing ---- */

typedef struct display {
    bool quiet, terminal;
    bool line_open;  /* the self-overwriting line stands on the terminal */
    double shown_at; /* seconds; 0: never */
    int64_t shown_step;
    char verdict[32];
} display;

static void close_line(display *d) {
    if (d->line_open) fputs("\r\033[K", stdout);
    d->line_open = false;
}

static void on_message(void *user, const char *line) {
    display *d = user;
    close_line(d);
    if (!d->quiet) printf("%s\n", line);
    fflush(stdout);
}

static int columns_of_terminal(void) {
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) return size.ws_col;
    return 80;
}

/* The line's parts, the most wanted first; those that do not fit are left out. */
static void format_line(const ijepa_progress *p, int columns, char *out, size_t out_bytes) {
    char parts[7][48], left[32];
    static const int wanted[] = {1, 4, 6, 3, 2, 0, 5}; /* indices of parts */
    bool take[7] = {false};
    int room = columns - 1;
    snprintf(parts[0], sizeof parts[0], "epoch %lld/%lld", (long long)p->epoch, (long long)p->epochs);
    snprintf(parts[1], sizeof parts[1], "step %lld/%lld", (long long)p->step, (long long)p->steps);
    parts[2][0] = parts[3][0] = 0;
    if (p->images_per_second > 0) { /* not known after the first step */
        snprintf(parts[2], sizeof parts[2], "%.*f img/s", p->images_per_second < 99.95 ? 1 : 0, p->images_per_second);
        snprintf(parts[3], sizeof parts[3], "%s left", text_duration(p->seconds_left, left));
    }
    if (p->regularizer != 0)
        snprintf(parts[4], sizeof parts[4], "loss %.4f +%.4f", p->loss, p->regularizer);
    else
        snprintf(parts[4], sizeof parts[4], "loss %.4f", p->loss);
    snprintf(parts[5], sizeof parts[5], "lr %.1e", p->learning_rate);
    snprintf(parts[6], sizeof parts[6], "%s", p->verdict);
    for (int i = 0; i < 7; i++) {
        int length = (int)strlen(parts[wanted[i]]);
        if (length == 0 || room < length) continue;
        take[wanted[i]] = true;
        room -= length + 2;
    }
    size_t used = 0;
    out[0] = 0;
    for (int i = 0; i < 7; i++)
        if (take[i]) used += (size_t)snprintf(out + used, out_bytes - used, "%s%s", used ? "  " : "", parts[i]);
}

/* A change of verdict is news: its reason gets a line of its own. That a run begins healthy is none. */
static void show_verdict(display *d, const ijepa_progress *p) {
    if (!*p->verdict || strcmp(d->verdict, p->verdict) == 0) return;
    bool news = d->verdict[0] || strcmp(p->verdict, "healthy") != 0;
    snprintf(d->verdict, sizeof d->verdict, "%s", p->verdict);
    if (!news) return;
    close_line(d);
    printf("step %lld: %s: %s\n", (long long)p->step, p->verdict, p->reason);
}

static void show(display *d, const ijepa_progress *p, bool last) {
    if (p->step == 0) return; /* nothing has finished yet */
    if (!d->quiet) show_verdict(d, p);
    double now = cli_seconds();
    bool due =
        d->shown_at == 0 || now - d->shown_at >= (d->terminal ? REDRAW_SECONDS : PLAIN_SECONDS) || (last && p->step != d->shown_step);
    if (d->quiet || !due) return;
    char line[400];
    format_line(p, d->terminal ? columns_of_terminal() : 160, line, sizeof line);
    close_line(d);
    printf(d->terminal && !last ? "%s" : "%s\n", line);
    d->line_open = d->terminal && !last;
    d->shown_at = now;
    d->shown_step = p->step;
    fflush(stdout);
}

/* ---- the run ---- */

typedef struct request {
    const char *config, *data, *out, *checkpoint, *precision, *on_collapse;
    cli_texts assignments;
    int64_t steps, seed;
    bool resume, overwrite, quiet, print_config, no_files, no_tune;
} request;

/* A run that is resumed without a configuration uses the one that is stored with it. */
static ijepa_status make_config(const request *r, ijepa_config **out, ijepa_error *err) {
    char stored[4200], number[64];
    const char *path = r->config;
    if (!path) snprintf(stored, sizeof stored, "%s/config.yaml", r->out), path = stored;
    ijepa_status status = cli_config(path, &r->assignments, out, err);
    if (status != IJEPA_OK) return status;
    if (r->data) status = cli_config_text(*out, "data.path", r->data, err);
    if (r->out && status == IJEPA_OK) status = cli_config_text(*out, "logging.folder", r->out, err);
    if (r->on_collapse && status == IJEPA_OK) status = cli_config_text(*out, "logging.on_collapse", r->on_collapse, err);
    if (r->precision && status == IJEPA_OK) status = cli_config_text(*out, "meta.precision", r->precision, err);
    if (r->steps >= 0 && status == IJEPA_OK)
        snprintf(number, sizeof number, "optimization.steps=%lld", (long long)r->steps), status = ijepa_config_set(*out, number, err);
    if (r->seed >= 0 && status == IJEPA_OK)
        snprintf(number, sizeof number, "meta.seed=%lld", (long long)r->seed), status = ijepa_config_set(*out, number, err);
    if (status != IJEPA_OK) ijepa_config_destroy(*out);
    return status;
}

static int stopped(ijepa_trainer *trainer, const request *r, display *d, const ijepa_progress *p) {
    ijepa_error err;
    int code = cli_stop_code();
    close_line(d);
    if (r->no_files) {
        fprintf(stderr, "ijepa: stopped after step %lld; nothing is kept (--no-files)\n", (long long)p->step);
        return code;
    }
    if (ijepa_trainer_save(trainer, NULL, &err) != IJEPA_OK) {
        cli_fail(&err);
        return code;
    }
    fprintf(stderr, "ijepa: stopped; a checkpoint is saved\n  hint: to continue: ijepa train --resume --out %s\n",
            ijepa_trainer_folder(trainer));
    return code;
}

static int train(const request *r, ijepa_config *config, const ijepa_device_options *device) {
    char folder[4200];
    display d = {.quiet = r->quiet, .terminal = isatty(STDOUT_FILENO) && !r->quiet};
    ijepa_trainer_options options = {.device = *device,
                                     .resume = r->resume,
                                     .checkpoint = r->checkpoint,
                                     .overwrite = r->overwrite,
                                     .no_files = r->no_files,
                                     .no_tune = r->no_tune,
                                     .message = on_message,
                                     .user = &d};
    ijepa_trainer *trainer;
    ijepa_error err;
    ijepa_progress progress = {0};
    bool finished = false;
    if (ijepa_trainer_open(config, &options, &trainer, &err) != IJEPA_OK) return cli_fail(&err);
    cli_catch_signals();
    snprintf(folder, sizeof folder, "%s", ijepa_trainer_folder(trainer));
    ijepa_status status = IJEPA_OK;
    while (!finished && !cli_stopped(NULL) && (status = ijepa_trainer_step(trainer, &progress, &finished, &err)) == IJEPA_OK)
        show(&d, &progress, finished);
    int code = CLI_DONE;
    if (status != IJEPA_OK) {
        close_line(&d);
        code = cli_fail(&err);
    } else if (!finished) {
        code = stopped(trainer, r, &d, &progress);
    } else if (progress.collapsed) {
        close_line(&d);
        fprintf(stderr, "ijepa: collapsed, stopped after step %lld%s: %s\n", (long long)progress.step,
                r->no_files ? "" : "; a checkpoint is saved", progress.reason);
        code = CLI_COLLAPSED;
    }
    ijepa_trainer_close(trainer);
    if (r->no_files) return code;
    if (ijepa_draw_run(folder, &err) != IJEPA_OK) {
        if (code == CLI_DONE) code = cli_fail(&err);
    } else if (code == CLI_DONE && !r->quiet) {
        printf("done: %s holds checkpoints, log.csv and loss.png; next: ijepa eval %s\n", folder, folder);
    }
    return code;
}

static int prepare(const request *r, const ijepa_device_options *device) {
    ijepa_error err;
    ijepa_config *config;
    char notes[4096], *yaml = NULL;
    if (make_config(r, &config, &err) != IJEPA_OK) return cli_fail(&err);
    int code = CLI_DONE;
    ijepa_status status = ijepa_config_check(config, notes, sizeof notes, &err);
    if (status == IJEPA_OK && r->print_config) status = ijepa_config_text(config, &yaml, &err);
    if (status != IJEPA_OK) {
        code = cli_fail(&err);
    } else if (r->print_config) {
        fputs(yaml, stdout);
    } else {
        if (!r->quiet) fputs(notes, stdout);
        code = train(r, config, device);
    }
    free(yaml);
    ijepa_config_destroy(config);
    return code;
}

/* CONFIG.yaml, and what --resume may name behind itself: whatever does not end in .yaml or .yml. */
static void sort_operands(request *r, char **argv, int operands) {
    for (int i = 1; i <= operands; i++) {
        size_t length = strlen(argv[i]);
        bool yaml = (length > 5 && strcmp(argv[i] + length - 5, ".yaml") == 0) || (length > 4 && strcmp(argv[i] + length - 4, ".yml") == 0);
        if (r->resume && !yaml)
            r->checkpoint = argv[i], r->resume = false;
        else
            r->config = argv[i];
    }
}

static int run(const cli_environment *environment, int argc, char **argv) {
    cli_common common = {0};
    request r = {.steps = -1, .seed = -1};
    const cli_option options[] = {
        {"--data", "DIR", "folder of pictures, or an IDX file", "data.path", CLI_TEXT, &r.data, 0},
        {"--out", "RUN", "the run's folder", "logging.folder", CLI_TEXT, &r.out, 0},
        {"--set", "KEY=VALUE", "change the configuration; may be given again", NULL, CLI_TEXTS, &r.assignments, 0},
        {"--steps", "N", "stop after N optimiser steps in all", "all epochs", CLI_INTEGER, &r.steps, 0},
        {"--seed", "N", "of everything random", "meta.seed", CLI_INTEGER, &r.seed, 0},
        {"--resume", NULL, "continue the run folder's newest intact checkpoint; or FILE, if one follows: a .pth.tar too", NULL, CLI_FLAG,
         &r.resume, 0},
        {"--checkpoint", "FILE", "continue this checkpoint, or a model of others", NULL, CLI_TEXT, &r.checkpoint, 0},
        {"--overwrite", NULL, "replace a run that the folder holds", "refuse", CLI_FLAG, &r.overwrite, 0},
        {"--no-files", NULL, "write nothing", NULL, CLI_FLAG, &r.no_files, 0},
        {"--precision", "P", "of matrix products: auto, f32, f16, bf16", "meta.precision: auto", CLI_TEXT, &r.precision, 0},
        {"--on-collapse", "WHAT", "when the verdict is collapsed: warn, stop, backoff", "logging.on_collapse: warn", CLI_TEXT,
         &r.on_collapse, 0},
        {"--no-tune", NULL, "do not time kernels on this GPU's first run; take their defaults", NULL, CLI_FLAG, &r.no_tune, 0},
        {"--print-config", NULL, "print the effective configuration and stop", NULL, CLI_FLAG, &r.print_config, 0},
        {"--quiet", NULL, "print errors only", NULL, CLI_FLAG, &r.quiet, 0},
        CLI_OPTION_DEVICE(common),
        CLI_OPTION_OFF(common),
        CLI_OPTION_VALIDATION(common),
    };
    int operands, code = cli_parse(&cmd_train, options, CLI_COUNT(options), argc, argv, &operands);
    if (code >= 0) return code;
    sort_operands(&r, argv, operands);
    if (!r.config && !(r.resume && r.out))
        return cli_usage("train", "a configuration is needed: ijepa train CONFIG.yaml, or to continue: ijepa train --resume --out RUN");
    if (r.resume && r.overwrite) return cli_usage("train", "--resume and --overwrite exclude each other");
    ijepa_device_options device = cli_device(&common, environment);
    return prepare(&r, &device);
}

const cli_command cmd_train = {
    .name = "train",
    .purpose = "pretrain: CONFIG.yaml and a folder of pictures in, a run folder out",
    .operands = "[CONFIG.yaml]",
    .operands_max = 2,
    .notes = "A run folder holds config.yaml, log.csv, events.jsonl, checkpoints/ and loss.png. Ctrl-C finishes the step and saves;\n"
             "a second one ends at once. A resumed run continues bit for bit.\n"
             "--on-collapse stop saves a checkpoint and ends with exit code 3; backoff halves the learning rate and 1 - momentum, at most\n"
             "three times, six looks of the monitor apart.\n",
    .examples = "  ijepa train samples/configs/fashion-mnist.yaml --out runs/fashion\n"
                "  ijepa train samples/configs/photos.yaml --data PHOTOS --out runs/photos --set data.batch_size=32\n"
                "  ijepa train --resume --out runs/photos\n"
                "  ijepa train in1k_vith14_ep300.yaml --resume IN1K-vit.h.14-300e.pth.tar --data PHOTOS --set optimization.epochs=310\n",
    .run = run,
};
