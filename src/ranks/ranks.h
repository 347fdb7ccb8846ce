/* ranks.h - the processes that train one model together.
 *
 * A launcher (mpirun, srun) starts one program several times, and says to each process by its
 * environment how many there are. They find each other through MPI, which is not linked: a module,
 * a shared library of its own for each implementation of MPI, carries messages (transport.h) and is
 * loaded when there is more than one process. How messages become sums is decided here and not by
 * MPI, whose sums need not be the same bits for another number of processes. */
#ifndef VN_RANKS_H
#define VN_RANKS_H

#include "base/base.h"
#include "ranks/transport.h"
#include "ranks/tree.h"

/* What a launcher says by the environment. */
typedef struct vn_launch {
    int rank, count; /* of this process, rank < count; 0 of 1 where nothing launched it */
    int local;       /* of them on this machine; 0: unknown */
    const char *by;  /* the launcher, for messages */
    bool mpich;      /* its processes meet by MPICH's protocol rather than by Open MPI's */
} vn_launch;
vn_launch vn_launched(void);

/* A run of floats of an array that every rank has, and whose it is. */
typedef struct vn_owned {
    size_t at, n;
    int rank;
} vn_owned;

/* This process among those that train together. All make the same calls in the same order; a call
 * returns when all have made it, or fails when one has not for too long. The first rank alone
 * writes files and reports. */
typedef struct vn_ranks {
    int rank, count; /* rank < count */
    int local;       /* of them on this machine; 0: unknown */
    void *self;
    /* Runs [n] of x, in the order of their places, the same on all ranks, that do not overlap.
     * reduce: this rank's become the sums over the ranks, added by the tree in their order, and the
     * others' are undefined. share: each rank's go to all. collect: to the first rank. */
    vn_status (*reduce)(void *self, float *x, int n, const vn_owned *run, vn_err *err);
    vn_status (*share)(void *self, float *x, int n, const vn_owned *run, vn_err *err);
    vn_status (*collect)(void *self, float *x, int n, const vn_owned *run, vn_err *err);
    /* *least becomes the smallest of what the ranks gave. */
    vn_status (*agree)(void *self, int64_t *least, vn_err *err);
    /* rows [count,bytes]: each rank has filled its own, and gets those of the others. */
    vn_status (*gather)(void *self, void *rows, size_t bytes, vn_err *err);
    /* The step that what follows belongs to, for messages; < 0: none. May be NULL. */
    void (*at_step)(void *self, int64_t step);
    /* Whether no rank has been lost so far: else all of these fail. NULL: none can be. */
    bool (*complete)(const void *self);
} vn_ranks;

/* What a rank says that fails because another has. */
#define VN_ANOTHER_FAILED "another process of this training failed"

typedef struct vn_ranks_options {
    const vn_watch *watch; /* stays; may be NULL */
    double timeout;        /* seconds that a process may be waited for; 0: without end */
} vn_ranks_options;

/* Joins the processes that were launched with this one; *out NULL: there are none, or this is the
 * only one. VN_UNSUPPORTED where there are some and no module for them: each would train a run of
 * its own. */
vn_status vn_ranks_open(const vn_ranks_options *o, vn_ranks **out, vn_err *err);
/* Over any transport: what the launcher said is not looked at. */
vn_status vn_ranks_open_over(const vn_transport *t, const vn_ranks_options *o, vn_ranks **out,
                             vn_err *err);
/* Safe on NULL. Others are waited for only where the last that this rank did with them was to
 * settle: one that has failed by itself ends without them, and its launcher ends them. */
void vn_ranks_close(vn_ranks **r);

/* The first call of a rank may come long after that of another, which reads and encodes the data:
 * while `patient`, nobody is given up. */
void vn_ranks_be_patient(vn_ranks *r, bool patient);
/* Of n items this rank's are `own` from `first` on: those of all ranks follow each other. */
void vn_ranks_deal(const vn_ranks *r, int64_t n, int64_t *first, int64_t *own);
/* x [n,bytes]: each rank has filled its items, and the first gets those of all. */
vn_status vn_ranks_collect(const vn_ranks *r, void *x, int64_t n, size_t bytes, vn_err *err);
/* What all come to: where any rank has failed, all have, with the words of the first that failed by
 * itself, under its number. */
vn_status vn_ranks_settle(const vn_ranks *r, vn_status status, vn_err *err);
/* *other becomes the first rank whose `bytes` at `own` are not this rank's; -1: all have the same.
 */
vn_status vn_ranks_compare(const vn_ranks *r, const void *own, size_t bytes, int *other,
                           vn_err *err);
/* Whether this rank is the one that people hear: the first, or the next where the first is lost. */
bool vn_ranks_speaks(const vn_ranks *r);

#endif
