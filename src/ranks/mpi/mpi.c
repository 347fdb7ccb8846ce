/* mpi.c - messages by MPI: a module, compiled once for each implementation of MPI that vane is
 * built with, whose programs would not run with another. It sends bytes from one process to
 * another and nothing else: what is added to what is vane's matter (ranks.c). */
#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ranks/transport.h"

enum {
    TAG = 1,
    MOST = 1 << 30, /* bytes of a message to MPI, which counts them by an int */
    LOOK = 16,      /* tests between looks at which messages are missing */
    SPINS = 1000    /* tests in a row before the thread sleeps between them */
};

static MPI_Comm world = MPI_COMM_NULL;
static bool begun_here; /* MPI, which is then ended here too */

/* The messages of an exchange as they are to MPI. */
static MPI_Request *requests;
static MPI_Status *statuses;
static int *ranks, *done;
static int capacity;

static int fail(int code, const char *what, char *why) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) text[0] = '\0';
    snprintf(why, VN_TRANSPORT_WHY, "%s: %.200s", what, text);
    for (char *c = why; *c; c++)
        if (*c == '\n') *c = ' ';
    return 1;
}

/* A program that has begun MPI by itself must let more than one of its threads call it. */
static int begin(char *why) {
    int begun = 0, ended = 0, level = MPI_THREAD_SINGLE;
    int code = MPI_Initialized(&begun);
    if (code == MPI_SUCCESS) code = MPI_Finalized(&ended);
    if (ended) {
        snprintf(why, VN_TRANSPORT_WHY, "MPI has ended, and begins once in a process");
        return 1;
    }
    if (code == MPI_SUCCESS && begun) {
        code = MPI_Query_thread(&level);
        if (code == MPI_SUCCESS && level < MPI_THREAD_MULTIPLE) {
            snprintf(why, VN_TRANSPORT_WHY,
                     "the program has begun MPI without MPI_THREAD_MULTIPLE");
            return 1;
        }
    } else if (code == MPI_SUCCESS) {
        code = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level);
        begun_here = code == MPI_SUCCESS;
    }
    return code == MPI_SUCCESS ? 0 : fail(code, "MPI cannot begin", why);
}

static int open_mpi(int *rank, int *count, char *why) {
    if (begin(why)) return 1;
    int code = MPI_Comm_dup(MPI_COMM_WORLD, &world);
    if (code == MPI_SUCCESS) code = MPI_Comm_set_errhandler(world, MPI_ERRORS_RETURN);
    if (code == MPI_SUCCESS) code = MPI_Comm_rank(world, rank);
    if (code == MPI_SUCCESS) code = MPI_Comm_size(world, count);
    return code == MPI_SUCCESS ? 0 : fail(code, "MPI cannot begin", why);
}

static int pieces_of(const vn_message *m) {
    return (int)((m->bytes + MOST - 1) / MOST);
}

static int reserve(int n, char *why) {
    if (n <= capacity || n < 1) return 0;
    free(requests);
    free(statuses);
    free(ranks);
    free(done);
    requests = malloc((size_t)n * sizeof(MPI_Request));
    statuses = malloc((size_t)n * sizeof(MPI_Status));
    ranks = malloc((size_t)n * sizeof *ranks);
    done = malloc((size_t)n * sizeof *done);
    capacity = requests && statuses && ranks && done ? n : 0;
    if (!capacity) snprintf(why, VN_TRANSPORT_WHY, "out of memory");
    return !capacity;
}

/* Begins a message. */
static int begin_message(const vn_message *m, MPI_Request *request) {
    int code = MPI_SUCCESS;
    for (size_t at = 0; at < m->bytes && code == MPI_SUCCESS; at += MOST) {
        const int bytes = (int)(m->bytes - at < MOST ? m->bytes - at : MOST);
        char *from = (char *)m->at + at;
        code = m->sends ? MPI_Isend(from, bytes, MPI_BYTE, m->rank, TAG, world, request++)
                        : MPI_Irecv(from, bytes, MPI_BYTE, m->rank, TAG, world, request++);
    }
    return code;
}

/* A thread that only tests would take a core from those that compute. */
static void rest(int tests) {
    const struct timespec pause = {.tv_nsec = tests < 5 * SPINS ? 20000 : 100000};
    if (tests < SPINS)
        sched_yield();
    else
        nanosleep(&pause, NULL);
}

static void look_for_missing(int n, vn_exchange_state *state) {
    for (int i = 0; i < n; i++)
        if (requests[i] != MPI_REQUEST_NULL) {
            atomic_store(&state->missing, ranks[i]);
            return;
        }
}

static int finish(int n, vn_exchange_state *state, char *why) {
    int left = n;
    for (int tests = 0; left > 0; tests++) {
        int some = 0;
        const int code = MPI_Testsome(n, requests, &some, done, statuses);
        if (code != MPI_SUCCESS) {
            look_for_missing(n, state);
            return fail(code, "a message failed", why);
        }
        if (some != MPI_UNDEFINED && some > 0) {
            left -= some;
            tests = 0;
        }
        if (left > 0 && tests % LOOK == LOOK - 1) look_for_missing(n, state);
        if (atomic_load(&state->stop)) {
            snprintf(why, VN_TRANSPORT_WHY, "given up");
            return 1;
        }
        if (left > 0) rest(tests);
    }
    return 0;
}

static int exchange(int n, const vn_message *m, vn_exchange_state *state, char *why) {
    int pieces = 0, at = 0;
    for (int i = 0; i < n; i++) pieces += pieces_of(&m[i]);
    if (reserve(pieces, why)) return 1;
    for (int i = 0; i < n; i++) {
        const int code = begin_message(&m[i], requests + at);
        if (code != MPI_SUCCESS) {
            atomic_store(&state->missing, m[i].rank);
            return fail(code, "a message cannot be sent", why);
        }
        for (int k = 0; k < pieces_of(&m[i]); k++) ranks[at++] = m[i].rank;
    }
    return finish(pieces, state, why);
}

static void close_mpi(bool alone) {
    free(requests);
    free(statuses);
    free(ranks);
    free(done);
    requests = NULL;
    statuses = NULL;
    ranks = done = NULL;
    capacity = 0;
    if (alone) return; /* MPI's own end would wait for the others */
    MPI_Comm_free(&world);
    if (begun_here) MPI_Finalize();
}

static const vn_transport transport = {.version = VN_TRANSPORT_VERSION,
                                       .name =
#ifdef OPEN_MPI
                                           "Open MPI",
#else
                                           "MPICH",
#endif
                                       .open = open_mpi,
                                       .exchange = exchange,
                                       .close = close_mpi};

__attribute__((visibility("default"))) const vn_transport *vn_transport_module(void);
const vn_transport *vn_transport_module(void) {
    return &transport;
}
