/* What long commands share: Ctrl-C, and a line that says how far they are.       layer: cli; uses: ijepa.h */
#include "cli.h"

#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PLAIN_SECONDS 5.0 /* between lines when stderr is not a terminal */
#define REDRAW_SECONDS 0.1
#define QUIET_SECONDS 1.0 /* work that is over sooner shows nothing */

/* ---- stopping ---- */

/* The signal that asked to stop; 0: none. With the next, and the line below, the only mutable file-scope data of the program: a signal
 * handler has no other way. */
static volatile sig_atomic_t stop_signal;
static volatile sig_atomic_t stop_tenth; /* when it came, in tenths of a second */

/* The first signal lets the piece of work at hand finish, the second ends at once. Two within half a second are one: timeout(1) and batch
 * systems signal the process and then its group. */
static void on_signal(int number) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    sig_atomic_t tenth = (sig_atomic_t)(now.tv_sec % 10000000 * 10 + now.tv_nsec / 100000000);
    if (stop_signal && tenth - stop_tenth > 5) _exit(128 + number);
    if (stop_signal) return;
    stop_tenth = tenth;
    stop_signal = number;
}

void cli_catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool cli_stopped(void *user) {
    (void)user;
    return stop_signal != 0;
}

int cli_stop_code(void) { return 128 + stop_signal; }

/* ---- progress ---- */

static struct {
    char what[200];
    int64_t total;
    double began_at, shown_at;
    int64_t began_with; /* done when this work was first heard of */
    bool open;          /* the line stands on the terminal */
} line;

double cli_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void cli_progress_end(void) {
    if (line.open) fputs("\r\033[K", stderr);
    fflush(stderr);
    line.open = false;
    line.what[0] = 0;
}

void cli_progress(void *user, const char *what, int64_t done, int64_t total) {
    (void)user;
    double now = cli_seconds();
    bool terminal = isatty(STDERR_FILENO);
    if (strcmp(line.what, what) != 0 || line.total != total) {
        cli_progress_end();
        snprintf(line.what, sizeof line.what, "%s", what);
        line.total = total, line.began_at = now, line.began_with = done, line.shown_at = 0;
    }
    bool due = now - line.began_at >= QUIET_SECONDS && now - line.shown_at >= (terminal ? REDRAW_SECONDS : PLAIN_SECONDS);
    if (done < total && due) {
        char left[32] = "";
        double rate = (double)(done - line.began_with) / (now - line.began_at);
        if (rate > 0) text_duration((double)(total - done) / rate, left);
        fprintf(stderr, "%s%s  %lld/%lld%s%s%s%s", terminal ? "\r\033[K" : "", what, (long long)done, (long long)total, *left ? "  " : "",
                left, *left ? " left" : "", terminal ? "" : "\n");
        line.open = terminal;
        line.shown_at = now;
        fflush(stderr);
    }
    if (done >= total) cli_progress_end();
}

void cli_message(void *user, const char *text) {
    (void)user;
    cli_progress_end();
    fprintf(stderr, "%s\n", text);
}
