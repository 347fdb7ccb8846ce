/* progress.h - how far a long call has come, on stderr: one live line on a terminal, a plain line
 * now and then where there is none (a log file, CI), nothing with --quiet. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>

#include "vane.h"

typedef struct cli_progress {
    bool quiet, live;
    bool open;    /* a live line stands on the screen */
    double shown; /* when the latest line was printed */
} cli_progress;

void cli_progress_begin(cli_progress *p, bool quiet);
void cli_progress_show(cli_progress *p, const vn_progress *now);
/* Takes the live line away, so that other text can be printed. */
void cli_progress_clear(cli_progress *p);
double cli_now(void); /* seconds, monotonic */
/* "4:05", "1:02:03". Returns text. */
const char *cli_duration(double seconds, char *text, size_t size);

#endif
