/* progress.c - see progress.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli/progress.h"
#include "cli/text.h"

static const double live_every = 0.1, plain_every = 10; /* seconds */

double cli_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

const char *cli_duration(double seconds, char *text, size_t size) {
    long long s = (long long)(seconds + 0.5);
    if (s < 3600)
        snprintf(text, size, "%lld:%02lld", s / 60, s % 60);
    else
        snprintf(text, size, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    return text;
}

void cli_progress_begin(cli_progress *p, bool quiet) {
    *p = (cli_progress){.quiet = quiet, .live = isatty(STDERR_FILENO) != 0, .shown = cli_now()};
}

static int terminal_width(void) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20) return size.ws_col;
    return 80;
}

/* "training  34%  1234/5000 steps  8.1 steps/s  loss 0.0731  1:42 left" */
static void progress_text(const vn_progress *now, char *text, size_t size) {
    char left[32];
    size_t used = (size_t)snprintf(text, size, "%s", now->what);
    if (now->total > 0) {
        used += (size_t)snprintf(text + used, size - used, "  %3.0f%%  %lld/%lld %s",
                                 100 * (double)now->done / (double)now->total, (long long)now->done,
                                 (long long)now->total, now->unit);
    } else {
        used += (size_t)snprintf(text + used, size - used, "  %lld %s", (long long)now->done,
                                 now->unit);
    }
    if (now->rate > 0) {
        used += (size_t)snprintf(text + used, size - used, "  %.*f %s/s", now->rate < 100 ? 1 : 0,
                                 now->rate, now->unit);
    }
    if (isfinite(now->loss))
        used += (size_t)snprintf(text + used, size - used, "  loss %.4f", now->loss);
    if (now->seconds_left >= 0) {
        snprintf(text + used, size - used, "  %s left",
                 cli_duration(now->seconds_left, left, sizeof left));
    }
}

void cli_progress_show(cli_progress *p, const vn_progress *now) {
    char text[240];
    double time = cli_now();
    if (p->quiet || time - p->shown < (p->live ? live_every : plain_every)) return;
    p->shown = time;
    progress_text(now, text, sizeof text);
    if (p->live) {
        cli_print(stderr, "\r\033[K%.*s", terminal_width() - 1, text);
        fflush(stderr);
        p->open = true;
    } else {
        cli_print(stderr, "%s\n", text);
    }
}

void cli_progress_clear(cli_progress *p) {
    if (p->open) fputs("\r\033[K", stderr);
    p->open = false;
}
