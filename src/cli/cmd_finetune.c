/* ijepa finetune       layer: cli; uses: ijepa.h */
#include "cli.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#define PLAIN_SECONDS 5.0 /* between lines when stderr is not a terminal */
#define REDRAW_SECONDS 0.1

/* ---- progress ---- */

typedef struct display {
    bool terminal, open;
    double shown_at;
} display;

static void close_line(display *d) {
    if (d->open) fputs("\r\033[K", stderr);
    d->open = false;
}

static bool on_progress(void *user, const ijepa_finetune_progress *p) {
    display *d = user;
    char loss[32] = "", rate[64] = "", left[32];
    double now = cli_seconds();
    if (cli_stopped(NULL)) return false;
    if (d->shown_at != 0 && now - d->shown_at < (d->terminal ? REDRAW_SECONDS : PLAIN_SECONDS)) return true;
    if (!isnan(p->loss)) snprintf(loss, sizeof loss, "  loss %.4f", p->loss);
    if (p->images_per_second > 0)
        snprintf(rate, sizeof rate, "  %.*f img/s  %s left", p->images_per_second < 99.95 ? 1 : 0, p->images_per_second,
                 text_duration(p->seconds_left, left));
    close_line(d);
    fprintf(stderr, "seed %d/%d  epoch %lld/%lld  %s %lld/%lld%s%s%s", p->seed, p->seeds, (long long)p->epoch, (long long)p->epochs,
            p->what, (long long)p->step, (long long)p->steps, loss, rate, d->terminal ? "" : "\n");
    d->open = d->terminal;
    d->shown_at = now;
    fflush(stderr);
    return true;
}

static void on_message(void *user, const char *line) {
    close_line(user);
    fprintf(stderr, "%s\n", line);
}

/* ---- results ---- */

static void print_table(const ijepa_finetune_options *o, const ijepa_finetune_result *r) {
    char time[32];
    printf("%s, %lld training images, %lld test images, %d classes\n", o->random_init ? "random initialisation" : "target encoder",
           (long long)r->train_images, (long long)r->test_images, r->classes);
    printf("%d blocks, %d epochs of %lld steps, batch %d, lr %g, weight decay %g, layer decay %g, smoothing %g, warm-up %g epochs, "
           "augmentation %s, %s\n\n",
           r->last_blocks, r->epochs, (long long)(r->steps / (r->epochs ? r->epochs : 1)), r->batch, r->lr, r->weight_decay, r->layer_decay,
           r->smoothing, r->warmup_epochs, r->augment, r->precision);
    printf("%-6s %-25s %8s %8s\n", "seed", "test % [95 % interval]", "train %", "loss");
    for (int i = 0; i < r->seeds; i++) {
        const ijepa_finetune_seed *s = &r->seed[i];
        printf("%-6llu %6.2f [%6.2f, %6.2f]   %8.2f %8.4f", (unsigned long long)s->seed, s->test, s->test_low, s->test_high, s->train,
               s->loss);
        if (s->skipped_steps) printf("  %lld steps skipped", (long long)s->skipped_steps);
        putchar('\n');
    }
    if (r->seeds > 1) printf("%-6s %6.2f [%6.2f, %6.2f]   over %d seeds\n", "mean", r->mean, r->low, r->high, r->seeds);
    if (r->damaged_images) printf("\n%lld images could not be decoded\n", (long long)r->damaged_images);
    printf("\nThe last epoch counts: nothing is chosen on test images. %s in all, %.1f images/s\n", text_duration(r->seconds, time),
           r->images_per_second);
    if (r->out_written) printf("%s holds the encoder and head of seed %llu\n", o->out, (unsigned long long)o->seed);
}

static void print_json(const ijepa_finetune_options *o, const ijepa_finetune_result *r) {
    cli_json json = {.file = stdout};
    json_open(&json, NULL, '{');
    json_text(&json, "start", o->random_init ? "random" : "target encoder");
    json_integer(&json, "train_images", r->train_images);
    json_integer(&json, "test_images", r->test_images);
    json_integer(&json, "damaged_images", r->damaged_images);
    json_integer(&json, "classes", r->classes);
    json_integer(&json, "last_blocks", r->last_blocks);
    json_integer(&json, "epochs", r->epochs);
    json_integer(&json, "steps", r->steps);
    json_integer(&json, "batch", r->batch);
    json_number(&json, "lr", r->lr);
    json_number(&json, "weight_decay", r->weight_decay);
    json_number(&json, "layer_decay", r->layer_decay);
    json_number(&json, "smoothing", r->smoothing);
    json_number(&json, "warmup_epochs", r->warmup_epochs);
    json_text(&json, "augment", r->augment);
    json_text(&json, "precision", r->precision);
    json_number(&json, "mean", r->mean);
    json_number(&json, "low", r->low);
    json_number(&json, "high", r->high);
    json_number(&json, "seconds", r->seconds);
    json_number(&json, "images_per_second", r->images_per_second);
    json_open(&json, "seeds", '[');
    for (int i = 0; i < r->seeds; i++) {
        const ijepa_finetune_seed *s = &r->seed[i];
        json_open(&json, NULL, '{');
        json_integer(&json, "seed", (int64_t)s->seed);
        json_number(&json, "test", s->test);
        json_number(&json, "test_low", s->test_low);
        json_number(&json, "test_high", s->test_high);
        json_number(&json, "train", s->train);
        json_number(&json, "loss", s->loss);
        json_integer(&json, "skipped_steps", s->skipped_steps);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_close(&json, '}');
}

/* What is there of a run that was stopped. */
static int stopped(const ijepa_finetune_options *o, const ijepa_finetune_result *r, const ijepa_error *err) {
    fprintf(stderr, "ijepa: %s; %d finished\n", err->text, r->seeds);
    if (o->out && r->out_written)
        fprintf(stderr, "  hint: %s holds the encoder and head as they are\n", o->out);
    else if (o->out)
        fprintf(stderr, "  hint: %s was not written: there was nothing to write\n", o->out);
    return cli_stop_code();
}

static int run(const cli_environment *environment, int argc, char **argv) {
    cli_common common = {0};
    ijepa_finetune_options o = {0};
    int64_t blocks = 0, epochs = 0, batch = 0, seed = 0, seeds = 3;
    double warmup = NAN, weight_decay = NAN, smoothing = NAN;
    const cli_option options[] = {
        {"--train", "DIR", "labelled images to learn from: folder or IDX file", "the run's own data", CLI_TEXT, &o.train, 0},
        {"--test", "DIR", "labelled images to classify", "its test part, where it has one", CLI_TEXT, &o.test, 0},
        {"--fraction", "F", "use this part of each class, at least one image", "1", CLI_NUMBER, &o.fraction, 0},
        {"--per-class", "N", "use N images of each class", "all", CLI_INTEGER, &o.per_class, 1},
        {"--last-blocks", "K", "train the last K blocks only", "all, and the patch embedding", CLI_INTEGER, &blocks, 1},
        {"--epochs", "N", "passes over the images", "50", CLI_INTEGER, &epochs, 1},
        {"--warmup-epochs", "F", "of them, the rate rises", "5, at most a tenth", CLI_NUMBER, &warmup, 0},
        {"--batch", "N", "images of a step", "512, less where that leaves fewer than 25 steps an epoch", CLI_INTEGER, &batch, 1},
        {"--lr", "F", "learning rate of the head", "3e-5 x 1024 / width; of all images 1e-4 x 1280 / width", CLI_NUMBER, &o.lr, 0},
        {"--weight-decay", "F", "of matrices", "0.05; of all images 0.04", CLI_NUMBER, &weight_decay, 0},
        {"--layer-decay", "F", "a block's rate is this times that of the block above", "0.75", CLI_NUMBER, &o.layer_decay, 0},
        {"--smoothing", "F", "of labels", "0.1", CLI_NUMBER, &smoothing, 0},
        {"--augment", "A", "auto, none, crop, flip, randaugment", "auto: randaugment for photographs, else crop", CLI_TEXT, &o.augment, 0},
        {"--seeds", "N", "runs, each with images and order of its own", "3", CLI_INTEGER, &seeds, 1},
        {"--seed", "N", "of the first run", "0", CLI_INTEGER, &seed, 0},
        {"--random-init", NULL, "start from no pretraining, for comparison", NULL, CLI_FLAG, &o.random_init, 0},
        {"--precision", "P", "of matrix products: auto, f32, f16, bf16", "auto", CLI_TEXT, &o.precision, 0},
        {"--out", "FILE", "write the first run's encoder and head there", "nothing", CLI_TEXT, &o.out, 0},
        CLI_OPTION_DEVICE(common),
        CLI_OPTION_OFF(common),
        CLI_OPTION_VALIDATION(common),
        CLI_OPTION_JSON(common),
    };
    int operands, code = cli_parse(&cmd_finetune, options, CLI_COUNT(options), argc, argv, &operands);
    if (code >= 0) return code;
    if (blocks > 65536 || epochs > 65535 || batch > 4096 || seeds > 32)
        return cli_usage("finetune", "--epochs is at most 65535, --batch 4096, --seeds 32");
    if (o.fraction > 1) return cli_usage("finetune", "--fraction %g: it is at most 1", o.fraction);
    if (o.fraction > 0 && o.per_class) return cli_usage("finetune", "--fraction and --per-class exclude each other");
    display d = {.terminal = isatty(STDERR_FILENO)};
    o.device = cli_device(&common, environment);
    o.last_blocks = (int)blocks, o.epochs = (int)epochs, o.batch = (int)batch, o.seed = (uint64_t)seed, o.seeds = (int)seeds;
    o.warmup_epochs = isnan(warmup) ? 0 : warmup > 0 ? warmup : -1; /* here 0 means none */
    o.weight_decay = isnan(weight_decay) ? 0 : weight_decay > 0 ? weight_decay : -1;
    o.smoothing = isnan(smoothing) ? 0 : smoothing > 0 ? smoothing : -1;
    o.progress = on_progress, o.message = on_message, o.user = &d;
    cli_catch_signals();
    ijepa_finetune_result result;
    ijepa_error err;
    ijepa_status status = ijepa_finetune(argv[1], &o, &result, &err);
    close_line(&d);
    if (status == IJEPA_ERROR_STOPPED) return stopped(&o, &result, &err);
    if (status != IJEPA_OK) return cli_fail(&err);
    (common.json ? print_json : print_table)(&o, &result);
    return CLI_DONE;
}

const cli_command cmd_finetune = {
    .name = "finetune",
    .purpose = "train a pretrained encoder and a linear head on few or all labels, and test it",
    .operands = "RUN|CHECKPOINT",
    .operands_min = 1,
    .operands_max = 1,
    .notes =
        "The recipe is the paper's (AdamW, cosine, layer decay, label smoothing, RandAugment on photographs), without mixup, cutmix and\n"
        "stochastic depth. The accuracy is the last epoch's. Ctrl-C ends at the next step and writes what --out asked for.\n",
    .examples = "  ijepa finetune runs/fashion --fraction 0.01\n"
                "  ijepa finetune runs/fashion --fraction 0.01 --random-init\n"
                "  ijepa finetune runs/photos --train photos/train --test photos/val --last-blocks 2 --out photos.safetensors\n",
    .run = run,
};
