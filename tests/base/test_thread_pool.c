/* test_thread_pool.c - loops shared by threads: every task once, whatever the timing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "base/base.h"

enum { MAX_TASKS = 5000 };

typedef struct participation {
    _Atomic int seen[MAX_TASKS];
    _Atomic uint64_t threads; /* a bit for each that took part */
} participation;

static void count(void *context, int64_t i, int thread) {
    participation *t = context;
    atomic_fetch_add(&t->seen[i], 1);
    atomic_fetch_or(&t->threads, (uint64_t)1 << thread);
}

/* Whether a thread handles SIGINT, by its index. */
static void look_at_signals(void *context, int64_t i, int thread) {
    _Atomic int *handles = context;
    sigset_t blocked;
    (void)i;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    atomic_store(&handles[thread], sigismember(&blocked, SIGINT) ? 1 : 2);
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); /* for the others to take part */
}

static void test_signals_are_for_the_threads_of_the_program(void **state) {
    (void)state;
    static _Atomic int handles[3];
    vn_thread_pool *pool = NULL;
    assert_int_equal(vn_thread_pool_open(3, &pool, NULL), VN_OK);
    vn_thread_pool_run(pool, 60, look_at_signals, handles);
    vn_thread_pool_close(&pool);
    assert_int_equal(handles[0], 2); /* this one */
    assert_true(handles[1] + handles[2] > 0 && handles[1] < 2 && handles[2] < 2);
}

static void test_every_task_runs_once(void **state) {
    (void)state;
    static participation t;
    for (int threads = 1; threads <= 5; threads++) {
        vn_thread_pool *pool = NULL;
        assert_int_equal(vn_thread_pool_open(threads, &pool, NULL), VN_OK);
        assert_int_equal(vn_thread_pool_threads(pool), threads);
        for (int64_t round = 0; round < 400; round++) {
            const int64_t n = round * round % MAX_TASKS;
            t = (participation){.threads = 0};
            vn_thread_pool_run(pool, n, count, &t);
            for (int64_t i = 0; i < MAX_TASKS; i++) assert_int_equal(t.seen[i], i < n);
            assert_true(t.threads < (uint64_t)1 << threads);
        }
        vn_thread_pool_close(&pool);
        assert_null(pool);
    }
}

/* A task ends when as many others run, so that each needs a thread of its own; or after a minute,
 * when the test has failed. */
static void meet_at(_Atomic int *missing) {
    const struct timespec briefly = {.tv_nsec = 1000000};
    atomic_fetch_sub(missing, 1);
    for (int k = 0; k < 60000 && atomic_load(missing) > 0; k++) nanosleep(&briefly, NULL);
}

static _Atomic int missing;

static void meet(void *context, int64_t i, int thread) {
    count(context, i, thread);
    meet_at(&missing);
}

static void test_threads_take_part_after_sleeping(void **state) {
    (void)state;
    static participation t;
    vn_thread_pool *pool = NULL;
    assert_int_equal(vn_thread_pool_open(3, &pool, NULL), VN_OK);
    for (int round = 0; round < 3; round++) {
        const struct timespec pause = {.tv_nsec = 30000000};
        nanosleep(&pause, NULL); /* long enough for them to sleep */
        t = (participation){.threads = 0};
        atomic_store(&missing, 3);
        vn_thread_pool_run(pool, 3, meet, &t);
        for (int64_t i = 0; i < 3; i++) assert_int_equal(t.seen[i], 1);
        assert_int_equal(t.threads, 7);
    }
    vn_thread_pool_close(&pool);
}

static void test_no_team_is_a_team_of_one(void **state) {
    (void)state;
    static participation t;
    assert_int_equal(vn_thread_pool_threads(NULL), 1);
    vn_thread_pool_run(NULL, 3, count, &t);
    for (int64_t i = 0; i < 3; i++) assert_int_equal(t.seen[i], 1);
    assert_int_equal(t.threads, 1);
}

/* What two groups and more do at the same time: every task of every loop once, by threads that have
 * an index of their own in each. */
enum { GROUPS = 3, LOOPS = 50, GROUP_TASKS = 300 };

typedef struct group_work {
    vn_thread_groups *groups;
    participation part[GROUPS];
    _Atomic int busy[GROUPS][8]; /* by thread: whether it is in a task */
    _Atomic int doubled;         /* times that an index was used twice at once */
    int runs[GROUPS];
} group_work;

typedef struct group_loop {
    group_work *all;
    int group;
} group_loop;

static void count_in_group(void *context, int64_t i, int thread) {
    const group_loop *l = context;
    if (atomic_fetch_add(&l->all->busy[l->group][thread], 1)) atomic_fetch_add(&l->all->doubled, 1);
    count(&l->all->part[l->group], i, thread);
    atomic_fetch_sub(&l->all->busy[l->group][thread], 1);
}

static void run_loops(void *context, int64_t i, int thread) {
    group_work *w = context;
    vn_thread_pool *pool = vn_thread_groups_pool(w->groups, (int)i);
    (void)thread;
    for (int k = 0; k < LOOPS; k++)
        vn_thread_pool_run(pool, GROUP_TASKS - k, count_in_group, &(group_loop){w, (int)i});
    w->runs[i]++;
}

static void test_groups_run_loops_beside_each_other(void **state) {
    (void)state;
    static group_work w;
    for (int threads = 1; threads <= 5; threads++)
        for (int groups = 1; groups <= GROUPS && groups <= threads; groups++) {
            vn_thread_pool *pool = NULL;
            assert_int_equal(vn_thread_pool_open(threads, &pool, NULL), VN_OK);
            w = (group_work){.doubled = 0};
            assert_int_equal(vn_thread_groups_open(pool, groups, &w.groups, NULL), VN_OK);
            for (int round = 0; round < 20; round++) {
                vn_thread_groups_run(w.groups, run_loops, &w);
                vn_thread_pool_run(pool, GROUP_TASKS, count, &w.part[0]); /* all of it, between */
                for (int g = 0; g < GROUPS; g++) {
                    assert_int_equal(w.runs[g], g < groups ? round + 1 : 0);
                    for (int64_t i = 0; i < GROUP_TASKS; i++) {
                        const int64_t loops = GROUP_TASKS - i < LOOPS ? GROUP_TASKS - i : LOOPS;
                        assert_int_equal(w.part[g].seen[i],
                                         (g < groups) * (round + 1) * (loops + (g == 0)));
                    }
                    assert_true(w.part[g].threads < (uint64_t)1 << threads);
                }
            }
            assert_int_equal(w.doubled, 0);
            vn_thread_groups_close(&w.groups);
            assert_null(w.groups);
            vn_thread_pool_close(&pool);
        }
}

/* The tasks of two groups wait for each other, so that they must run at the same time; then one is
 * done, and the other has a loop that needs all three threads. */
static _Atomic int missing_groups;

static void meet_in_groups(void *context, int64_t i, int thread) {
    group_work *w = context;
    (void)thread;
    w->runs[i]++;
    meet_at(&missing_groups);
    if (i == 1) vn_thread_pool_run(vn_thread_groups_pool(w->groups, 1), 3, meet, &w->part[1]);
}

static void test_threads_that_are_done_help_other_groups(void **state) {
    (void)state;
    static group_work w;
    vn_thread_pool *pool = NULL;
    assert_int_equal(vn_thread_pool_open(3, &pool, NULL), VN_OK);
    w = (group_work){.doubled = 0};
    assert_int_equal(vn_thread_groups_open(pool, 2, &w.groups, NULL), VN_OK);
    for (int round = 0; round < 3; round++) {
        w.part[1] = (participation){.threads = 0};
        atomic_store(&missing, 3);
        atomic_store(&missing_groups, 2);
        vn_thread_groups_run(w.groups, meet_in_groups, &w);
        assert_int_equal(atomic_load(&missing_groups), 0);
        assert_int_equal(w.runs[0] + w.runs[1], 2 * (round + 1));
        assert_int_equal(w.part[1].threads, 7);
    }
    vn_thread_groups_close(&w.groups);
    vn_thread_pool_close(&pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signals_are_for_the_threads_of_the_program),
        cmocka_unit_test(test_every_task_runs_once),
        cmocka_unit_test(test_threads_take_part_after_sleeping),
        cmocka_unit_test(test_no_team_is_a_team_of_one),
        cmocka_unit_test(test_groups_run_loops_beside_each_other),
        cmocka_unit_test(test_threads_that_are_done_help_other_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
