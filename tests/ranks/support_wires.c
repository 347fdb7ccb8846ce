/* support_wires.c - see the header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ranks/support_wires.h"

static int wire[MAX_RANKS][MAX_RANKS]; /* [i][j]: of rank i, to rank j */
static int ranks, own;

static int open_wires(int *rank, int *count, char *why) {
    (void)why;
    *rank = own;
    *count = ranks;
    return 0;
}

/* Moves what the socket takes or has; < 0: the other end is gone. */
static int move(const vn_message *m, size_t *done) {
    char *at = (char *)m->at + *done;
    const size_t left = m->bytes - *done;
    const ssize_t n = m->sends ? send(wire[own][m->rank], at, left, MSG_DONTWAIT | MSG_NOSIGNAL)
                               : recv(wire[own][m->rank], at, left, MSG_DONTWAIT);
    if (n > 0) *done += (size_t)n;
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    return n > 0 ? 0 : -1;
}

enum { MOST_MESSAGES = 256 };

static int exchange(int n, const vn_message *m, vn_exchange_state *state, char *why) {
    size_t done[MOST_MESSAGES] = {0};
    if (n > MOST_MESSAGES) return 1;
    for (;;) {
        bool over = true, waits[MAX_RANKS][2] = {{false}}; /* a wire for the message before */
        for (int i = 0; i < n; i++) {
            if (done[i] == m[i].bytes) continue;
            if (waits[m[i].rank][m[i].sends]) continue;
            atomic_store(&state->missing, m[i].rank);
            over = false;
            waits[m[i].rank][m[i].sends] = true;
            if (move(&m[i], &done[i]) == 0) continue;
            snprintf(why, VN_TRANSPORT_WHY, "the wire is cut");
            return 1;
        }
        if (over) return 0;
        if (atomic_load(&state->stop)) return 1;
        poll(NULL, 0, 1);
    }
}

static void close_wires(bool alone) {
    (void)alone;
}

const vn_transport wires = {.version = VN_TRANSPORT_VERSION,
                            .name = "wires",
                            .open = open_wires,
                            .exchange = exchange,
                            .close = close_wires};

/* A process keeps its own ends alone, so that it is seen when another has ended. */
static void keep_own_ends(void) {
    for (int i = 0; i < ranks; i++)
        for (int k = 0; k < ranks; k++)
            if (i != own && i != k) close(wire[i][k]);
}

static void open_pairs(int count) {
    ranks = count;
    for (int i = 0; i < count; i++)
        for (int k = i + 1; k < count; k++) {
            int ends[2];
            assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
            wire[i][k] = ends[0];
            wire[k][i] = ends[1];
        }
}

static void close_pairs(int count) {
    for (int i = 0; i < count; i++)
        for (int k = 0; k < count; k++)
            if (i != k) close(wire[i][k]);
}

void run_ranks(int count, int (*work)(int rank, void *user), void *user, int *statuses) {
    pid_t child[MAX_RANKS];
    assert_true(count <= MAX_RANKS);
    open_pairs(count);
    fflush(NULL);
    for (int i = 0; i < count; i++) {
        child[i] = fork();
        assert_true(child[i] >= 0);
        if (child[i] == 0) {
            own = i;
            keep_own_ends();
            _exit(work(i, user));
        }
    }
    close_pairs(count);
    for (int i = 0; i < count; i++) {
        int status = 0;
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        statuses[i] = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}

void expect_ranks(int count, int (*work)(int rank, void *user), void *user) {
    int statuses[MAX_RANKS];
    run_ranks(count, work, user, statuses);
    for (int i = 0; i < count; i++) assert_int_equal(statuses[i], 0);
}
