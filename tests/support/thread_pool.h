/* thread_pool.h - thread pools of 2, 3, .. threads for tests: opened when first asked for, closed
 * when the program ends. */
#ifndef VN_TEST_CREW_H
#define VN_TEST_CREW_H

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/base.h"

#define MAX_POOL 4

static vn_thread_pool *crews[MAX_POOL + 1];

static void crews_close(void) {
    for (int i = 0; i <= MAX_POOL; i++) vn_thread_pool_close(&crews[i]);
}

/* A task for every thread, which ends when all are there. */
static void crew_meet(void *missing, int64_t task, int thread) {
    (void)task, (void)thread;
    atomic_fetch_sub((atomic_int *)missing, 1);
    while (atomic_load((atomic_int *)missing) > 0) sched_yield();
}

/* threads <= MAX_POOL; 1: no thread pool, NULL. They have all begun: a thread allocates when it
 * does, at worst where a test fails that. */
static inline vn_thread_pool *crew_of(int threads) {
    static bool closes;
    if (!closes) closes = atexit(crews_close) == 0;
    if (threads > 1 && !crews[threads]) {
        atomic_int missing = threads;
        if (vn_thread_pool_open(threads, &crews[threads], NULL) != VN_OK) abort();
        vn_thread_pool_run(crews[threads], threads, crew_meet, &missing);
    }
    return threads > 1 ? crews[threads] : NULL;
}

#endif
