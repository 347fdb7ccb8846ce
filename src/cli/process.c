/* process.c - what the program, not the library, decides for its process: which signals ask it to
 * stop, what becomes of output that nobody takes, and where the standard streams go.
 *
 * SIGINT, SIGTERM and SIGHUP (a terminal that closes) ask the running call to stop, which saves; a
 * second SIGINT or SIGTERM ends at once. A hang-up often comes twice, from the shell and from the
 * terminal, so the second is like the first; `nohup` has it ignored, and so it stays. SIGXFSZ is
 * ignored everywhere, so that a limit on files is an error like a full disk; SIGPIPE where a verb
 * computes, so that `| head` does not end a training: that nobody reads its progress is no
 * reason. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

/* For the signal handler, which gets nothing else. One verb runs in a process. */
static vn_context *volatile running;
static volatile sig_atomic_t interrupted;

/* somebody at a terminal should read that stopping takes a while */
static volatile sig_atomic_t at_terminal;

static void on_interrupt(int number) {
    static const char words[] = "\nstopping when this step is done; a second Ctrl-C ends at once\n";
    const int code = errno;
    interrupted = 1;
    if (number == SIGINT && at_terminal && write(STDERR_FILENO, words, sizeof words - 1) < 0)
        at_terminal = 0;
    errno = code;
    if (running) vn_context_cancel(running);
}

static bool is_ignored(int number) {
    struct sigaction now;
    return sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

/* SA_RESETHAND: the second one meets the default action and ends the process. */
void cli_catch_signals(vn_context *vn) {
    struct sigaction action = {.sa_handler = on_interrupt,
                               .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};
    sigemptyset(&action.sa_mask);
    running = vn;
    at_terminal = isatty(STDERR_FILENO);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_flags = SA_RESTART;
    if (!is_ignored(SIGHUP)) sigaction(SIGHUP, &action, NULL);
    if (interrupted && vn) vn_context_cancel(vn);
}

void cli_forget_signals(void) {
    running = NULL;
}

bool cli_interrupted(void) {
    return interrupted != 0;
}

void cli_ignore_closed_pipes(void) {
    signal(SIGPIPE, SIG_IGN);
}

/* A standard stream that is closed would be the number of the next file that is opened: what is
 * meant for people would go into it. Nothing can be written to such a stdout, which is told at the
 * end. */
static void fill_standard_streams(void) {
    static const int modes[] = {O_RDONLY, O_RDONLY, O_WRONLY};
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", modes[fd]) < 0) return;
}

void cli_begin_process(void) {
    fill_standard_streams();
    signal(SIGXFSZ, SIG_IGN);
}

/* stdio keeps that a write failed, but not why: asks the system again. */
static bool output_failed(int *why) {
    const bool before = ferror(stdout) != 0;
    bool failed = fflush(stdout) != 0;
    *why = errno;
    if (before && !failed) {
        failed = true;
        *why = write(STDOUT_FILENO, "\n", 1) < 0 ? errno : EIO;
    }
    /* where a disk far away is full, this is when it says so */
    if (!failed && close(STDOUT_FILENO) != 0) {
        failed = true;
        *why = errno;
    }
    return failed;
}

int cli_end_process(int status) {
    int why = 0;
    if (!output_failed(&why) || status != CLI_DONE) return status;
    fprintf(stderr, "vane: the output cannot be written: %s\n", strerror(why));
    return CLI_FAILED;
}
