/* test_threads.c - what several threads do with the library at once: one cancels what another runs,
 * two have a context each, and one call shares its work among several. `./check` runs it under the
 * thread sanitizer too, which sees races that happen to do no harm. Bits and statuses are compared,
 * so no kernel set matters. */
#include "api/support_api.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "support/scratch.h"

static vn_context *open_context(int threads) {
    vn_context_options o = vn_context_options_default();
    o.threads = threads;
    vn_context *vn = NULL;
    assert_int_equal(vn_context_open(&vn, &o), VN_OK);
    return vn;
}

enum { COUNT = 4, SIZE = 64 };

/* COUNT samples of the run, x [COUNT,SIZE]; fails no test, as it runs in other threads too. */
static vn_status draw(vn_context *vn, const char *path, int steps, float *x) {
    vn_model *model = NULL;
    vn_samples *out = NULL;
    vn_sample_options o = vn_sample_options_default();
    o.count = COUNT;
    o.steps = steps;
    o.guidance = 2;
    vn_status status = vn_model_open(vn, path, &model);
    if (!status) status = vn_sample(model, &o, &out);
    if (!status) memcpy(x, vn_samples_data(out), COUNT * SIZE * sizeof *x);
    vn_samples_close(&out);
    vn_model_close(&model);
    return status;
}

static void samples_are_the_same_on_any_number_of_threads(void **state) {
    (void)state;
    static float one[COUNT * SIZE], more[COUNT * SIZE];
    for (int threads = 1; threads <= 3; threads++) {
        vn_context *vn = open_context(threads);
        expect_ok(vn, draw(vn, "run", 6, threads == 1 ? one : more));
        if (threads > 1) assert_memory_equal(more, one, sizeof one);
        vn_context_close(&vn);
    }
}

typedef struct worker {
    vn_context *vn;
    vn_status status;
    float x[COUNT * SIZE];
    int64_t steps; /* of a training; 0: samples */
} worker;

static void *work(void *given) {
    worker *w = given;
    vn_train_options o = tiny_options(w->steps);
    w->status =
        w->steps ? vn_train(w->vn, "data", "cancelled", &o, NULL) : draw(w->vn, "run", 6, w->x);
    return NULL;
}

static void contexts_in_two_threads_do_not_touch(void **state) {
    (void)state;
    static worker w[2];
    static float alone[COUNT * SIZE];
    pthread_t thread[2];
    for (int i = 0; i < 2; i++) {
        w[i] = (worker){.vn = open_context(2)};
        assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
    }
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_join(thread[i], NULL), 0);
    expect_ok(w[0].vn, draw(w[0].vn, "run", 6, alone));
    for (int i = 0; i < 2; i++) {
        expect_ok(w[i].vn, w[i].status);
        assert_memory_equal(w[i].x, alone, sizeof alone);
        vn_context_close(&w[i].vn);
    }
}

/* Whenever the other's cancel comes, before the call or in it, the call ends with it: there is no
 * moment at which it is lost, else this trains for hours. */
static void another_thread_cancels(void **state) {
    (void)state;
    for (int i = 0; i < 6; i++) {
        static worker w;
        pthread_t thread;
        const struct timespec late = {.tv_nsec = 7000000L * i};
        w = (worker){.vn = open_context(2), .steps = 16000000};
        scratch_remove("cancelled");
        assert_int_equal(pthread_create(&thread, NULL, work, &w), 0);
        nanosleep(&late, NULL);
        vn_context_cancel(w.vn);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(w.status, VN_CANCELLED);
        vn_context_close(&w.vn);
    }
}

static int prepare(void **state) {
    scratch_enter(state);
    make_data("data", 24);
    vn_context *vn = open_context(2);
    vn_train_options o = tiny_options(3);
    expect_ok(vn, vn_train(vn, "data", "run", &o, NULL));
    vn_context_close(&vn);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_are_the_same_on_any_number_of_threads),
        cmocka_unit_test(contexts_in_two_threads_do_not_touch),
        cmocka_unit_test(another_thread_cancels),
    };
    return cmocka_run_group_tests(tests, prepare, scratch_leave);
}
