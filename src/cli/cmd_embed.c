/* ijepa embed       layer: cli; uses: ijepa.h */
#include "cli.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DAMAGED_SHOWN 5
#define REDRAW_SECONDS 0.1
#define PLAIN_SECONDS 5.0 /* between lines when the output is not a terminal */

/* ---- stopping ---- */

/* The signal that asked to stop; 0: none. A signal handler has no other way than data of the file. */
static volatile sig_atomic_t stop_signal;

/* The first lets the batch finish and the half-written file be removed; the handler is then the system's again, so a second ends at once. */
static void on_signal(int number) { stop_signal = number; }

static void catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static bool must_stop(void *user) {
    (void)user;
    return stop_signal != 0;
}

/* ---- showing ---- */

typedef struct display {
    bool terminal, line_open;
    double start, shown_at; /* seconds; of the first batch */
    int64_t first;          /* images done then */
    int64_t damaged;
} display;

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void close_line(display *d) {
    if (d->line_open) fputs("\r\033[K", stderr);
    d->line_open = false;
}

/* Speed is counted from the first batch on: it waits for kernels to be compiled. */
static void on_progress(void *user, const char *what, int64_t done, int64_t total) {
    display *d = user;
    double now = seconds_now();
    char left[32];
    if (d->start == 0) d->start = d->shown_at = now, d->first = done;
    if (now - d->shown_at < (d->terminal ? REDRAW_SECONDS : PLAIN_SECONDS)) return;
    d->shown_at = now;
    double rate = (double)(done - d->first) / (now - d->start);
    if (d->terminal) fputs("\r\033[K", stderr);
    fprintf(stderr, "%s %lld/%lld  %.0f img/s  %s left%s", what, (long long)done, (long long)total, rate,
            text_duration((double)(total - done) / rate, left), d->terminal ? "" : "\n");
    fflush(stderr);
    d->line_open = d->terminal;
}

static void on_damaged(void *user, const char *line) {
    display *d = user;
    if (++d->damaged > DAMAGED_SHOWN) return;
    close_line(d);
    fprintf(stderr, "ijepa: left out: %s\n", line);
    if (d->damaged == DAMAGED_SHOWN) fprintf(stderr, "ijepa: further images that cannot be read are counted, not named\n");
}

static void on_message(void *user, const char *line) {
    close_line(user);
    fprintf(stderr, "ijepa: %s\n", line);
}

static void print_text(const ijepa_embed_result *r, const char *out) {
    char size[64] = "";
    if (r->patches > 1) snprintf(size, sizeof size, "%d patches x ", r->patches);
    printf("%s: %lld images, %sdim %d\n", out, (long long)r->count, size, r->dim);
    if (r->damaged) printf("%lld images could not be read and were left out\n", (long long)r->damaged);
    printf("%.0f images/s at %d x %d in %s on %s", r->images_per_second, r->height, r->width, r->precision, r->device);
    if (!isnan(r->busy)) printf(", the device busy %.0f %% of the time", 100 * r->busy);
    printf("\n");
}

static void print_json(const ijepa_embed_result *r, const char *out) {
    cli_json json = {.file = stdout};
    json_open(&json, NULL, '{');
    json_text(&json, "file", out);
    json_integer(&json, "count", r->count);
    json_integer(&json, "damaged", r->damaged);
    json_integer(&json, "dim", r->dim);
    json_integer(&json, "patches", r->patches);
    json_integer(&json, "height", r->height);
    json_integer(&json, "width", r->width);
    json_text(&json, "model", r->model);
    json_text(&json, "device", r->device);
    json_text(&json, "precision", r->precision);
    json_number(&json, "seconds", r->seconds);
    json_number(&json, "images_per_second", r->images_per_second);
    json_number(&json, "device_busy", r->busy);
    json_close(&json, '}');
}

/* ---- the command ---- */

/* "224" or "224x320" (height x width). */
static bool parse_size(const char *text, int *height, int *width) {
    char *end;
    long h = strtol(text, &end, 10), w = h;
    if (end != text && *end == 'x') {
        const char *second = end + 1;
        w = strtol(second, &end, 10);
        if (end == second) return false;
    }
    if (end == text || *end || h < 1 || w < 1 || h > 65500 || w > 65500) return false;
    *height = (int)h, *width = (int)w;
    return true;
}

static int embed(char **words, int count, const ijepa_embed_options *options, bool json) {
    display *d = options->user;
    ijepa_embed_result result;
    ijepa_error err;
    catch_signals();
    ijepa_status status = ijepa_embed(words[0], (const char *const *)words + 1, count - 1, options, &result, &err);
    close_line(d);
    if (status == IJEPA_ERROR_STOPPED && stop_signal) {
        fprintf(stderr, "ijepa: stopped; nothing is written\n");
        return 128 + stop_signal;
    }
    if (status != IJEPA_OK) return cli_fail(&err);
    (json ? print_json : print_text)(&result, options->out);
    return CLI_DONE;
}

static int run(const cli_environment *environment, int argc, char **argv) {
    cli_common common = {0};
    const char *out = NULL, *layers = NULL, *encoder = NULL, *size = NULL, *precision = NULL;
    const char *resize = NULL, *filter = NULL, *resampler = NULL, *positions = NULL;
    bool patches = false, whole = false;
    int64_t batch = 0;
    const cli_option options[] = {
        {"--out", "FILE", "what to write: .safetensors, .npy or .csv; also -o", NULL, CLI_TEXT, &out, 0},
        {"-o", "FILE", "the same", NULL, CLI_TEXT, &out, 0},
        {"--layers", "L", "last: of the last block; last4: of the last four, side by side", "last", CLI_TEXT, &layers, 0},
        {"--patches", NULL, "the features of each patch instead of their mean", NULL, CLI_FLAG, &patches, 0},
        {"--encoder", "E", "target or context", "target", CLI_TEXT, &encoder, 0},
        {"--size", "HxW", "bring images to this size, or N for N x N; multiples of the patch size", "as trained", CLI_TEXT, &size, 0},
        {"--whole", NULL, "take the whole image, not its centre square", "as trained", CLI_FLAG, &whole, 0},
        {"--resize", "R", "trained; exact: to the size, shape lost; shorter:N: the shorter side to N, then the centre", "model file",
         CLI_TEXT, &resize, 0},
        {"--filter", "F", "bilinear or bicubic", "model file", CLI_TEXT, &filter, 0},
        {"--resampler", "R", "device: floats; 8 bits as pil or torchvision has them", "model file", CLI_TEXT, &resampler, 0},
        {"--positions", "P", "at another size: fixed, or interpolated as transformers does", "as stored, else fixed", CLI_TEXT, &positions,
         0},
        {"--batch", "N", "images encoded at once", "32", CLI_INTEGER, &batch, 1},
        {"--precision", "P", "of matrix products: auto, f32, f16, bf16", "auto", CLI_TEXT, &precision, 0},
        CLI_OPTION_DEVICE(common),
        CLI_OPTION_OFF(common),
        CLI_OPTION_VALIDATION(common),
        CLI_OPTION_JSON(common),
    };
    int operands, code = cli_parse(&cmd_embed, options, CLI_COUNT(options), argc, argv, &operands);
    if (code >= 0) return code;
    display d = {.terminal = isatty(STDERR_FILENO)};
    ijepa_embed_options ask = {.device = cli_device(&common, environment),
                               .out = out,
                               .layers = layers,
                               .patches = patches,
                               .encoder = encoder,
                               .precision = precision,
                               .whole = whole,
                               .resize = resize,
                               .filter = filter,
                               .resampler = resampler,
                               .positions = positions,
                               .batch = (int)batch,
                               .progress = on_progress,
                               .stop = must_stop,
                               .damaged = on_damaged,
                               .message = on_message,
                               .user = &d};
    if (!out) return cli_usage("embed", "-o FILE is missing: what to write, .safetensors, .npy or .csv");
    if (batch > 4096) return cli_usage("embed", "--batch is at most 4096");
    if (size && !parse_size(size, &ask.height, &ask.width))
        return cli_usage("embed", "--size %s: pixels are expected, 224 or 224x320 (height x width)", size);
    return embed(argv + 1, operands, &ask, common.json);
}

const cli_command cmd_embed = {
    .name = "embed",
    .purpose = "write the features of images: a folder, an IDX file or pictures in, a file of vectors out",
    .operands = "RUN|CHECKPOINT DATA...",
    .operands_min = 2,
    .operands_max = 1 << 20,
    .notes =
        "DATA is a folder (class folders become labels), an IDX file, or any number of pictures. A row of the file is an image, in the\n"
        "order of the paths. .safetensors holds features, labels and names, and is what search reads; .npy holds the features, and\n"
        "the names are in FILE.npy.names.txt; .csv has name, label, f0, f1, ... The file appears when it is whole: Ctrl-C leaves\n"
        "nothing. Images that cannot be read are named and left out.\n",
    .examples = "  ijepa embed runs/photos photos/val -o val.safetensors\n"
                "  ijepa embed runs/fashion t10k-images-idx3-ubyte.gz -o test.npy --layers last4\n"
                "  ijepa embed runs/photos a.jpg b.png -o two.csv --size 448x640 --whole\n",
    .run = run,
};
