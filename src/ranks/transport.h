/* transport.h - what carries messages between the processes of a launch: the table that a module
 * gives (mpi/mpi.c). It includes nothing of vane's, so that a module is built by itself. */
#ifndef VN_RANKS_TRANSPORT_H
#define VN_RANKS_TRANSPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum { VN_TRANSPORT_VERSION = 1, VN_TRANSPORT_WHY = 256 };

/* A message to a rank, or from it: `bytes` at `at`. */
typedef struct vn_message {
    int rank;
    bool sends;
    void *at;
    size_t bytes;
} vn_message;

/* An exchange as another thread may look at it while it lasts. */
typedef struct vn_exchange_state {
    atomic_int missing; /* a rank whose message has not come, or has not been taken; -1: unknown */
    atomic_bool stop;   /* set: it is given up */
} vn_exchange_state;

/* All functions are called from one thread. They return 0, or else say in `why`, an array of
 * VN_TRANSPORT_WHY, what failed; then only `close` may be called. */
typedef struct vn_transport {
    int version;      /* VN_TRANSPORT_VERSION */
    const char *name; /* "Open MPI" */
    int (*open)(int *rank, int *count, char *why);
    /* Begins the n messages, and returns when they are done. Between two ranks messages arrive in
     * the order in which they were begun. */
    int (*exchange)(int n, const vn_message *m, vn_exchange_state *state, char *why);
    /* Of all ranks; alone: others may not come to it, and are not waited for. */
    void (*close)(bool alone);
} vn_transport;

/* The function that a module has: vn_transport_module(). */
typedef const vn_transport *vn_transport_fn(void);

#endif
