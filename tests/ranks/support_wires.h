/* support_wires.h - ranks that are processes of this machine: a transport over pairs of sockets. */
#ifndef SUPPORT_WIRES_H
#define SUPPORT_WIRES_H

#include "ranks/ranks.h"

enum { MAX_RANKS = 8 };

/* The transport of a process that run_ranks has begun. */
extern const vn_transport wires;

/* Runs `work` in `count` processes of their own; each leaves with what it returns. [count]
 * statuses, 128 + signal where one ended it. */
void run_ranks(int count, int (*work)(int rank, void *user), void *user, int *statuses);
/* The same, which must all return 0. */
void expect_ranks(int count, int (*work)(int rank, void *user), void *user);

#endif
