/* watch.c - log, progress and cancel on behalf of the caller of a long call. */
#include "base/base.h"

#include <time.h>

double vn_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void vn_log(const vn_watch *watch, vn_log_level level, const char *format, ...) {
    if (!watch || !watch->log) return;
    char text[1024];
    va_list args;
    va_start(args, format);
    int length = vn_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (length < 0) return;
    vn_clean_line(text); /* names of files and classes are in it */
    watch->log(watch->user, level, text);
}

bool vn_report(const vn_watch *watch, const vn_progress *progress) {
    if (!watch) return false;
    bool stop = watch->progress && watch->progress(watch->user, progress) != 0;
    return stop || (watch->cancel && *watch->cancel);
}
