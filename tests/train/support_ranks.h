/* support_ranks.h - ranks that are processes of this machine, which add in shared memory. */
#ifndef SUPPORT_RANKS_H
#define SUPPORT_RANKS_H

#include <pthread.h>

#include "train/internal.h"

enum { MAX_RANKS = 4, MAX_FLOATS = 1 << 16 };

/* What the processes share. */
typedef struct rank_table {
    pthread_barrier_t barrier;
    float x[MAX_RANKS][MAX_FLOATS];
    int64_t number[MAX_RANKS];
} rank_table;

rank_table *rank_table_open(int ranks); /* before the processes are forked */
void rank_table_close(rank_table *t);

/* One process of a training. */
typedef struct rank_seat {
    rank_table *table;
    int rank, count;
} rank_seat;

/* The seat as the trainer sees it; the seat outlives it. */
vn_ranks ranks_of(rank_seat *s);
/* Runs `train` of each rank in a process of its own, and fails the test unless all return VN_OK. */
void train_by_ranks(int ranks, vn_status (*train)(void *self, const vn_ranks *r), void *self);

#endif
