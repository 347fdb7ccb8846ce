/* test_threads.c - what several threads do with the library at once: one cancels what another runs,
 * two have a context each, and one call shares its work among several. `./check` runs it under the
 * thread sanitizer too, which sees races that happen to do no harm. Bits and statuses are compared,
 * so no kernel set matters. */
#include "api/support_api.h"
#include "api/support_words.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "support/kernels.h"
#include "support/scratch.h"

static vn_context *open_context(int threads) {
    vn_context_options o = vn_context_options_default();
    o.threads = threads;
    o.cpu = kernels->name;
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

/* COUNT samples of the model, x [COUNT,SIZE] or of points [COUNT,2]; fails no test. */
static vn_status draw_of(vn_model *model, float *x) {
    vn_samples *out = NULL;
    vn_sample_options o = vn_sample_options_default();
    o.count = COUNT;
    o.steps = 6;
    o.guidance = 2;
    const vn_status status = vn_sample(model, &o, &out);
    int64_t shape[3], size = 1;
    for (int i = 0; !status && i < vn_samples_shape(out, shape); i++) size *= shape[i];
    if (!status) memcpy(x, vn_samples_data(out), COUNT * (size_t)size * sizeof *x);
    vn_samples_close(&out);
    return status;
}

typedef struct sharer {
    vn_model *model; /* closed by its thread */
    vn_status status;
    float x[COUNT * SIZE];
} sharer;

static void *draw_shared(void *given) {
    sharer *s = given;
    s->status = draw_of(s->model, s->x);
    vn_model_close(&s->model);
    return NULL;
}

/* The first handle is closed before the others are used, and asked what it is meanwhile. */
static void expect_shared(const char *source) {
    enum { SHARERS = 3 };
    static sharer s[SHARERS];
    static float alone[COUNT * SIZE];
    vn_context *vn = open_context(1), *each[SHARERS];
    pthread_t thread[SHARERS];
    vn_model *model = NULL;
    memset(alone, 0, sizeof alone);
    expect_ok(vn, vn_model_open(vn, source, &model));
    expect_ok(vn, draw_of(model, alone));
    for (int i = 0; i < SHARERS; i++) {
        s[i] = (sharer){0};
        each[i] = open_context(i + 1);
        expect_ok(each[i], vn_model_share(i < 2 ? model : s[0].model, each[i], &s[i].model));
        assert_string_equal(vn_model_fingerprint(s[i].model), vn_model_fingerprint(model));
    }
    vn_model_close(&model);
    for (int i = 0; i < SHARERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, draw_shared, &s[i]), 0);
    for (int i = 0; i < SHARERS; i++) assert_int_equal(pthread_join(thread[i], NULL), 0);
    for (int i = 0; i < SHARERS; i++) {
        expect_ok(each[i], s[i].status);
        assert_memory_equal(s[i].x, alone, sizeof alone);
        vn_context_close(&each[i]);
    }
    vn_context_close(&vn);
}

static void threads_sample_one_shared_model(void **state) {
    (void)state;
    make_world("world.json");
    expect_shared("run");
    expect_shared("world.json");
}

/* ---- prompts of one model in several threads ------------------------------------------------- */

enum { WORDS_SIZE = WORDS_SIDE * WORDS_SIDE, TEXTS = 3, ROUNDS = 2, ASKERS = 3 };

typedef struct asker {
    vn_model *model;
    const char *text[TEXTS];
    vn_status status;
    float x[TEXTS * WORDS_SIZE];
} asker;

/* The texts of an asker, one after another and then in turn, so that some are known by then. */
static void *ask(void *given) {
    asker *a = given;
    for (int round = 0; round < ROUNDS && !a->status; round++) {
        vn_samples *out = NULL;
        vn_sample_options o = vn_sample_options_default();
        o.count = round ? TEXTS : 1;
        o.steps = 3;
        o.guidance = 2;
        o.prompts = a->text;
        o.prompt_count = round ? TEXTS : 1;
        o.negative = a->text[1];
        o.guide = "compose:class=fog,weight=0.5";
        a->status = vn_sample(a->model, &o, &out);
        if (!a->status)
            memcpy(a->x, vn_samples_data(out), (size_t)o.count * WORDS_SIZE * sizeof *a->x);
        vn_samples_close(&out);
    }
    return NULL;
}

/* Each thread asks its handle for texts of its own, some of which another asks for too or the first
 * handle knew: the bits are those of a model that is opened for these texts alone. */
static void threads_ask_one_shared_model_for_their_own_texts(void **state) {
    (void)state;
    static asker shared[ASKERS] = {{.text = {"a red boat", "fog", "two boats"}},
                                   {.text = {"two boats", "night", "a red boat"}},
                                   {.text = {"a house", "two boats", "\xE8\x88\xB9"}}};
    static asker alone[ASKERS];
    vn_context *vn = open_context(1), *each[ASKERS];
    pthread_t thread[ASKERS];
    vn_model *model = NULL;
    make_words_run("words");
    for (size_t i = 0; i < ASKERS; i++) {
        memcpy(alone[i].text, shared[i].text, sizeof alone[i].text);
        expect_ok(vn, vn_model_open(vn, "words", &alone[i].model));
        ask(&alone[i]);
        expect_ok(vn, alone[i].status);
        vn_model_close(&alone[i].model);
    }
    asker before = {.text = {"two boats", "dusk", "dawn"}};
    expect_ok(vn, vn_model_open(vn, "words", &model));
    before.model = model;
    ask(&before);
    expect_ok(vn, before.status);
    for (size_t i = 0; i < ASKERS; i++) {
        each[i] = open_context(1);
        expect_ok(each[i], vn_model_share(model, each[i], &shared[i].model));
    }
    for (size_t i = 0; i < ASKERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, ask, &shared[i]), 0);
    ask(&before); /* the handle that the others were made of goes on too */
    expect_ok(vn, before.status);
    for (size_t i = 0; i < ASKERS; i++) assert_int_equal(pthread_join(thread[i], NULL), 0);
    vn_model_close(&model);
    for (size_t i = 0; i < ASKERS; i++) {
        expect_ok(each[i], shared[i].status);
        assert_memory_equal(shared[i].x, alone[i].x, sizeof alone[i].x);
        vn_model_close(&shared[i].model);
        vn_context_close(&each[i]);
    }
    vn_context_close(&vn);
}

static void a_shared_model_samples_while_the_other_is_held(void **state) {
    (void)state;
    vn_context *vn = open_context(1);
    vn_model *model = NULL, *other = NULL;
    make_world("world.json");
    expect_ok(vn, vn_model_open(vn, "world.json", &model));
    assert_int_equal(vn_model_share(NULL, vn, &other), VN_BAD_ARGUMENT);
    assert_int_equal(vn_model_share(model, NULL, &other), VN_BAD_ARGUMENT);
    assert_int_equal(vn_model_share(model, vn, NULL), VN_BAD_ARGUMENT);
    /* in the same context, where one is in an open sampling */
    vn_sampling *s = NULL;
    float x[COUNT * SIZE];
    expect_ok(vn, vn_sampling_open(model, NULL, &s));
    assert_int_equal(draw_of(model, x), VN_BAD_ARGUMENT);
    expect_ok(vn, vn_model_share(model, vn, &other));
    expect_ok(vn, draw_of(other, x));
    expect_ok(vn, vn_sampling_step(s, NULL));
    vn_sampling_close(&s);
    vn_model_close(&model);
    expect_ok(vn, draw_of(other, x));
    vn_model_close(&other);
    vn_context_close(&vn);
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
        cmocka_unit_test(threads_sample_one_shared_model),
        cmocka_unit_test(threads_ask_one_shared_model_for_their_own_texts),
        cmocka_unit_test(a_shared_model_samples_while_the_other_is_held),
        cmocka_unit_test(another_thread_cancels),
    };
    return run_under_each_kernel_set(tests, prepare, scratch_leave);
}
