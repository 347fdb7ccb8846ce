/* test_thread_pool.c - loops shared by threads: every task once, whatever the timing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
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
static _Atomic int missing;

static void meet(void *context, int64_t i, int thread) {
    const struct timespec briefly = {.tv_nsec = 1000000};
    count(context, i, thread);
    atomic_fetch_sub(&missing, 1);
    for (int k = 0; k < 60000 && atomic_load(&missing) > 0; k++) nanosleep(&briefly, NULL);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_task_runs_once),
        cmocka_unit_test(test_threads_take_part_after_sleeping),
        cmocka_unit_test(test_no_team_is_a_team_of_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
