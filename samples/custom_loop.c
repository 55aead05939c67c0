/* A training loop of one's own: stops when the monitor calls the representation collapsed, or when the predictor has been no better
 * than the trivial one for a while, and keeps what it had.
 *
 *   cc custom_loop.c -lijepa -o custom_loop
 *   ./custom_loop samples/configs/fashion-mnist.yaml out.safetensors 200 */
#include <ijepa.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE 500 /* steps without beating the trivial predictor */

static void on_message(void *user, const char *line) {
    (void)user;
    fprintf(stderr, "%s\n", line);
}

static int fail(const ijepa_error *err) {
    fprintf(stderr, "%s\n%s%s%s", err->text, err->hint[0] ? "  hint: " : "", err->hint, err->hint[0] ? "\n" : "");
    return EXIT_FAILURE;
}

/* The decision this sample is about. */
static bool give_up(const ijepa_progress *p, int64_t *last_better) {
    if (isnan(p->trivial_loss) || p->loss < p->trivial_loss) *last_better = p->step;
    return strcmp(p->verdict, "collapsed") == 0 || p->step - *last_better > PATIENCE;
}

static int train(ijepa_trainer *trainer, const char *checkpoint) {
    ijepa_error err;
    ijepa_progress p = {0};
    bool finished = false;
    int64_t last_better = 0;
    while (!finished) {
        if (ijepa_trainer_step(trainer, &p, &finished, &err) != IJEPA_OK) return fail(&err);
        if (p.step % 50 == 1)
            printf("step %lld of %lld: loss %.4f, trivial %.4f, %s\n", (long long)p.step, (long long)p.steps, p.loss, p.trivial_loss,
                   p.verdict);
        if (p.step && give_up(&p, &last_better)) {
            printf("giving up at step %lld: %s\n", (long long)p.step, *p.reason ? p.reason : "no better than the trivial predictor");
            break;
        }
    }
    if (ijepa_trainer_save(trainer, checkpoint, &err) != IJEPA_OK) return fail(&err);
    printf("step %lld: loss %.4f; saved %s\n", (long long)p.step, p.loss, checkpoint);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: custom_loop CONFIG.yaml CHECKPOINT.safetensors STEPS\n");
        return 2;
    }
    char steps[64];
    snprintf(steps, sizeof steps, "optimization.steps=%ld", strtol(argv[3], NULL, 10));
    ijepa_error err;
    ijepa_config *config;
    if (ijepa_config_create(&config, &err) != IJEPA_OK) return fail(&err);
    int code = EXIT_FAILURE;
    ijepa_trainer *trainer;
    ijepa_trainer_options options = {.device.device = getenv("IJEPA_DEVICE"), .no_files = true, .message = on_message};
    if (ijepa_config_load(config, argv[1], &err) != IJEPA_OK || ijepa_config_set(config, steps, &err) != IJEPA_OK ||
        ijepa_trainer_open(config, &options, &trainer, &err) != IJEPA_OK) {
        fail(&err);
    } else {
        code = train(trainer, argv[2]);
        ijepa_trainer_close(trainer);
    }
    ijepa_config_destroy(config);
    return code;
}
