/* test_ranks.c - what a step's microbatches come to: the same weights, bit for bit, whoever makes
 * which, and as one batch but for rounding, in less memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "cpu/cpu.h"
#include "support/bound.h"
#include "support/guarded.h"
#include "support/kernels.h"
#include "support/scratch.h"
#include "train/support_ranks.h"

/* ---- the tree -------------------------------------------------------------------------------- */

/* Writes the sum that is made of terms first .. first + n - 1 as text. */
static void tree_text(int64_t first, int64_t n, char *out) {
    static char sum[8][512], joined[1100];
    int top = -1, most = 0;
    for (int64_t i = 0; i < n; i++) {
        snprintf(sum[++top], sizeof sum[0], "%d", (int)(first + i));
        most = top > most ? top : most;
        for (int joins = vn_tree_joins(i, n); joins > 0; joins--, top--) {
            snprintf(joined, sizeof joined, "(%s %s)", sum[top - 1], sum[top]);
            snprintf(sum[top - 1], sizeof sum[0], "%.500s", joined);
        }
    }
    assert_int_equal(top, 0);
    assert_int_equal(most + 1, vn_tree_depth(n));
    strcpy(out, sum[0]);
}

static void terms_are_added_as_a_tree_of_neighbours(void **state) {
    (void)state;
    static const char *const known[] = {
        [1] = "0",
        [2] = "(0 1)",
        [3] = "((0 1) 2)",
        [4] = "((0 1) (2 3))",
        [6] = "(((0 1) (2 3)) (4 5))",
        [7] = "(((0 1) (2 3)) ((4 5) 6))",
        [8] = "(((0 1) (2 3)) ((4 5) (6 7)))",
    };
    char text[512];
    for (int n = 1; n <= 8; n++) {
        tree_text(0, n, text);
        if (known[n]) assert_string_equal(text, known[n]);
    }
}

/* Branches of equal size, a power of two, joined by the same tree, are the whole tree. */
static void ranks_hold_whole_branches_of_it(void **state) {
    (void)state;
    static const int cases[][2] = {{8, 2}, {8, 4}, {8, 8}, {12, 3}, {6, 3}, {5, 5}, {16, 4}};
    for (size_t k = 0; k < VN_COUNT(cases); k++) {
        const int n = cases[k][0], ranks = cases[k][1], own = n / ranks;
        char whole[512], shape[512], with[512] = "";
        tree_text(0, n, whole);
        tree_text(0, ranks, shape);
        for (const char *at = shape; *at; at++) {
            char branch[512] = {*at};
            if (*at >= '0' && *at <= '9') tree_text((*at - '0') * own, own, branch);
            strcat(with, branch);
        }
        assert_string_equal(with, whole);
    }
}

/* ---- a run ----------------------------------------------------------------------------------- */

static const char config_text[] =
    "{\"_class_name\": \"VaneMLP\", \"dimension\": 2, \"width\": 32, \"layers\": 2, "
    "\"time_features\": 16, \"num_class_embeds\": 3, \"dropout\": 0.3}";

/* All that a run is made of. */
typedef struct job {
    vn_thread_pool *pool;
    vn_device_row row;
    vn_device device;
    vn_net *net;
    vn_data *data;
    vn_path *path;
    vn_prediction prediction;
    vn_objective *objective;
    vn_watch watch;
    vn_train_part part;
    vn_train_setup setup;
} job;

static void job_open(job *j, int64_t microbatches) {
    vn_err err = {0};
    json_t *config = NULL;
    *j = (job){.row = *kernels};
    vn_status status = vn_device_open(&j->row, NULL, NULL, &j->device, &err);
    if (!status) status = vn_json_parse(config_text, strlen(config_text), "config", &config, &err);
    if (!status) status = vn_net_open(config, &j->net, &err);
    const vn_data_options options = {.seed = 3, .validate = 0.1};
    if (!status) status = vn_data_open("points:moons:count=400", &options, &j->data, &err);
    if (!status) status = vn_path_open("rectified", &j->path, &err);
    if (!status) status = vn_prediction_parse("velocity", &j->prediction, &err);
    const vn_objective_options objective = {.path = j->path,
                                            .prediction = &j->prediction,
                                            .times = "stratified",
                                            .drop = 0.2,
                                            .null_label = 2,
                                            .seed = 9};
    if (!status) status = vn_objective_open(&objective, &j->objective, &err);
    if (status) fail_msg("%s", err.text);
    json_decref(config);
    j->part = (vn_train_part){.net = j->net};
    j->setup = (vn_train_setup){.device = &j->device,
                                .watch = &j->watch,
                                .parts = 1,
                                .part = &j->part,
                                .data = j->data,
                                .objective = j->objective,
                                .run = "run",
                                .seed = 4,
                                .batch = 32,
                                .microbatches = microbatches,
                                .steps = 12,
                                .lr = 0.01,
                                .clip = 0.5,
                                .ema = 0.9,
                                .log_every = 1,
                                .preview_every = -1};
}

static void job_close(job *j) {
    vn_objective_close(&j->objective);
    vn_path_close(&j->path);
    vn_data_close(&j->data);
    vn_net_close(&j->net);
    vn_device_close(&j->device);
    vn_thread_pool_close(&j->pool);
}

static void create(const job *j) {
    vn_err err = {0};
    const vn_model_parts parts = {.pipeline = "DDPMPipeline",
                                  .folder = vn_net_get_row(j->net)->folder,
                                  .config = vn_net_config(j->net)};
    vn_status status = vn_store_save_model("run", &parts, &err);
    if (!status) status = vn_train_create("run", 1, &j->part, false, 5, &err);
    if (status) fail_msg("%s", err.text);
}

enum { ARRAYS = 4 };

/* The run's live weights, average and moments [ARRAYS,floats], malloc. */
static float *result_of(const job *j, int64_t step) {
    const size_t floats = vn_weights_floats(vn_net_weights(j->net));
    float *all = malloc(ARRAYS * floats * sizeof *all);
    vn_err err = {0};
    assert_non_null(all);
    vn_checkpoint c = {.parts = 1,
                       .part = {{.folder = vn_net_get_row(j->net)->folder,
                                 .weights = vn_net_weights(j->net),
                                 .live = all,
                                 .average = all + floats,
                                 .moment1 = all + 2 * floats,
                                 .moment2 = all + 3 * floats}}};
    if (vn_store_load_checkpoint("run", &c, &err)) fail_msg("%s", err.text);
    assert_int_equal(c.step, step);
    json_decref(c.info);
    return all;
}

/* One process of a training. */
static vn_status train_as(void *microbatches, const vn_ranks *r) {
    job j;
    vn_err err = {0};
    job_open(&j, *(const int64_t *)microbatches);
    j.setup.ranks = r;
    const vn_status status = vn_train_run(&j.setup, NULL, &err);
    if (status) print_message("rank %d of %d: %s\n", r->rank, r->count, err.text);
    job_close(&j);
    return status;
}

/* The result of so many processes, from the first step. */
static float *trained_by(int ranks, int64_t microbatches) {
    job j;
    job_open(&j, microbatches);
    create(&j);
    train_by_ranks(ranks, train_as, &microbatches);
    float *all = result_of(&j, j.setup.steps);
    job_close(&j);
    scratch_remove("run");
    return all;
}

/* The result of this process; row NULL: on the CPU, else on such a device, as one of one rank. */
static float *trained_alone(const vn_device_row *row, int64_t microbatches) {
    job j;
    vn_err err = {0};
    rank_seat s = {.count = 1};
    const vn_ranks r = ranks_of(&s);
    job_open(&j, microbatches);
    create(&j);
    if (row) {
        vn_device_close(&j.device);
        assert_int_equal(vn_device_open(row, NULL, NULL, &j.device, &err), VN_OK);
        s.table = rank_table_open(1);
        j.setup.ranks = &r;
    }
    if (vn_train_run(&j.setup, NULL, &err)) fail_msg("%s", err.text);
    if (row) rank_table_close(s.table);
    float *all = result_of(&j, j.setup.steps);
    job_close(&j);
    scratch_remove("run");
    return all;
}

/* The result of this process with so many threads, and at most so many workers; 0: any number. */
static float *trained_on(int threads, int workers, int64_t microbatches) {
    job j;
    vn_err err = {0};
    job_open(&j, microbatches);
    create(&j);
    assert_int_equal(vn_thread_pool_open(threads, &j.pool, &err), VN_OK);
    j.device.pool = j.pool;
    j.setup.workers = workers;
    j.setup.batch = 4 * microbatches;
    if (vn_train_run(&j.setup, NULL, &err)) fail_msg("%s", err.text);
    float *all = result_of(&j, j.setup.steps);
    job_close(&j);
    scratch_remove("run");
    return all;
}

static size_t numbers(void) {
    job j;
    job_open(&j, 1);
    const size_t count = ARRAYS * vn_weights_floats(vn_net_weights(j.net));
    job_close(&j);
    return count;
}

static void the_weights_do_not_depend_on_the_ranks(void **state) {
    (void)state;
    const size_t bytes = numbers() * sizeof(float);
    float *alone = trained_alone(NULL, 8);
    for (int ranks = 1; ranks <= MAX_RANKS; ranks *= 2) {
        float *together = trained_by(ranks, 8);
        assert_memory_equal(together, alone, bytes);
        free(together);
    }
    free(alone);
}

/* Calls of another thread than the one that trains. */
static struct {
    const vn_ranks *inner;
    pthread_t trains;
    int reduced, shared;
} beside;

static vn_status count_reduce(void *self, float *x, int n, const vn_owned *run, vn_err *err) {
    beside.reduced += !pthread_equal(pthread_self(), beside.trains);
    return beside.inner->reduce(self, x, n, run, err);
}

static vn_status count_share(void *self, float *x, int n, const vn_owned *run, vn_err *err) {
    beside.shared += !pthread_equal(pthread_self(), beside.trains);
    return beside.inner->share(self, x, n, run, err);
}

/* One process with two threads. Gradients go piece by piece in each step; weights come so in each
 * but the first, and but those before which they were needed whole. */
static vn_status train_beside(void *microbatches, const vn_ranks *r) {
    job j;
    vn_err err = {0};
    vn_ranks counted = *r;
    beside.inner = r;
    beside.trains = pthread_self();
    counted.reduce = count_reduce;
    counted.share = count_share;
    job_open(&j, *(const int64_t *)microbatches);
    vn_status status = vn_thread_pool_open(2, &j.pool, &err);
    j.device.pool = j.pool;
    j.setup.ranks = &counted;
    j.setup.save_every = 5;
    if (!status) status = vn_train_run(&j.setup, NULL, &err);
    if (status) print_message("rank %d of %d: %s\n", r->rank, r->count, err.text);
    const int pieces = beside.reduced / (int)j.setup.steps;
    if (!status && (pieces < 2 || beside.reduced != pieces * (int)j.setup.steps ||
                    beside.shared != pieces * ((int)j.setup.steps - 3))) {
        print_message("%d pieces summed and %d sent beside\n", beside.reduced, beside.shared);
        status = VN_IO;
    }
    job_close(&j);
    return status;
}

static void ranks_send_while_they_compute(void **state) {
    (void)state;
    int64_t microbatches = 8;
    job j;
    job_open(&j, microbatches);
    float *alone = trained_alone(NULL, microbatches);
    for (int ranks = 2; ranks <= MAX_RANKS; ranks *= 2) {
        create(&j);
        train_by_ranks(ranks, train_beside, &microbatches);
        float *together = result_of(&j, j.setup.steps);
        scratch_remove("run");
        assert_memory_equal(together, alone, numbers() * sizeof(float));
        free(together);
    }
    free(alone);
    job_close(&j);
}

/* So many workers and no more; the last may have less to do than the others. */
static void microbatches_are_dealt_to_threads(void **state) {
    (void)state;
    static const struct {
        int64_t microbatches;
        int threads, bound, workers;
    } cases[] = {{1, 4, 0, 1}, {2, 2, 0, 2}, {2, 16, 0, 2}, {8, 2, 0, 2}, {8, 3, 0, 2},
                 {8, 4, 0, 4}, {8, 5, 0, 4}, {8, 8, 3, 2},  {8, 8, 1, 1}, {6, 4, 0, 3},
                 {5, 2, 0, 2}, {3, 3, 0, 3}, {7, 4, 0, 4}};
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        vn_device device = {.row = kernels};
        assert_int_equal(vn_thread_pool_open(cases[i].threads, &device.pool, NULL), VN_OK);
        vn_train_setup s = {
            .device = &device, .microbatches = cases[i].microbatches, .workers = cases[i].bound};
        assert_int_equal(vn_train_workers(&s), cases[i].workers);
        vn_thread_pool_close(&device.pool);
        assert_int_equal(vn_train_workers(&s), 1);
    }
}

/* Nor on the threads, which compute them at the same time: with as many workers as threads, with
 * fewer, and where the last has less to do. */
static void the_weights_do_not_depend_on_the_threads(void **state) {
    (void)state;
    static const int64_t parts[] = {2, 7, 8, 12};
    const size_t bytes = numbers() * sizeof(float);
    for (size_t i = 0; i < VN_COUNT(parts); i++) {
        float *alone = trained_on(1, 0, parts[i]);
        for (int threads = 2; threads <= 4; threads++) {
            float *together = trained_on(threads, threads == 4 ? 3 : 0, parts[i]);
            assert_memory_equal(together, alone, bytes);
            free(together);
        }
        free(alone);
    }
}

static void another_device_has_the_same_bits(void **state) {
    (void)state;
    const vn_device_row row = guarded_row(kernels, 0, NULL);
    float *here = trained_alone(NULL, 4), *there = trained_alone(&row, 4);
    assert_memory_equal(there, here, numbers() * sizeof(float));
    free(here);
    free(there);
}

/* Largest difference of two arrays' numbers over the largest of them. */
static double distance(const float *a, const float *b, size_t n) {
    double most = 0, off = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)a[i]));
        off = fmax(off, fabs((double)a[i] - (double)b[i]));
    }
    return off / most;
}

/* Noise, levels, dropped classes and dropout are those of the whole batch, and the gradient is its
 * mean: what is left is the order of sums, which AdamW's first steps enlarge where a gradient is
 * all but 0. */
static void microbatches_are_the_batch_but_for_rounding(void **state) {
    (void)state;
    const size_t n = numbers() / ARRAYS;
    float *whole = trained_alone(NULL, 1);
    for (int64_t microbatches = 2; microbatches <= 32; microbatches *= 4) {
        float *parts = trained_alone(NULL, microbatches);
        const double live = distance(whole, parts, n),
                     moment = distance(whole + 2 * n, parts + 2 * n, n);
        print_message("%d microbatches: weights %.1e, first moment %.1e\n", (int)microbatches, live,
                      moment);
        assert_true(live > 0);
        expect_small(live, 2e-5);
        expect_small(moment, 1e-5);
        free(parts);
    }
    free(whole);
}

static void a_step_in_parts_takes_less_memory(void **state) {
    (void)state;
    double whole = 0, parts = 0;
    vn_err err = {0};
    job j;
    job_open(&j, 1);
    j.setup.batch = 4096;
    assert_int_equal(vn_train_measure(&j.setup, &whole, &err), VN_OK);
    j.setup.microbatches = 8;
    assert_int_equal(vn_train_measure(&j.setup, &parts, &err), VN_OK);
    print_message("planned: %.0f bytes, in 8 parts %.0f\n", whole, parts);
    assert_true(parts < 0.3 * whole);
    job_close(&j);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* A device that counts the bytes that are taken of it. */
static size_t taken;

static vn_status count_and_take(void *self, size_t bytes, void **at, vn_err *err) {
    taken += bytes;
    return kernels->take(self, bytes, at, err);
}

/* What a run takes of the device is what was planned, for each rank; fails otherwise. */
static vn_status take_as_planned(void *microbatches, const vn_ranks *r) {
    job j;
    vn_err err = {0};
    double planned = 0;
    job_open(&j, *(const int64_t *)microbatches);
    j.row.take = count_and_take;
    j.setup.steps = 1;
    if (r->count > 1) j.setup.ranks = r;
    vn_status status = vn_train_measure(&j.setup, &planned, &err);
    taken = 0;
    if (!status) status = vn_train_run(&j.setup, NULL, &err);
    const size_t expected = (size_t)planned - vn_data_get_info(j.data)->memory;
    if (!status && taken != expected)
        status = vn_fail(&err, VN_NO_MEMORY, "%zu bytes, and %zu planned", taken, expected);
    if (status) print_message("rank %d of %d: %s\n", r->rank, r->count, err.text);
    job_close(&j);
    return status;
}

/* Moments and averages of rank 0 of so many. */
static double shards(int ranks) {
    job j;
    vn_err err = {0};
    double bytes = 0;
    const vn_ranks r = {.count = ranks};
    job_open(&j, 4);
    j.setup.ranks = &r;
    if (vn_shards_measure(&j.setup, &bytes, &err)) fail_msg("%s", err.text);
    job_close(&j);
    return bytes;
}

static void four_ranks_take_a_quarter_each(void **state) {
    (void)state;
    int64_t microbatches = 4;
    for (int ranks = 1; ranks <= 4; ranks *= 4) {
        job j;
        job_open(&j, microbatches);
        create(&j);
        train_by_ranks(ranks, take_as_planned, &microbatches);
        job_close(&j);
        scratch_remove("run");
    }
    print_message("moments and averages: %.0f bytes, of 4 ranks %.0f each\n", shards(1), shards(4));
    assert_true(shards(4) <= 0.27 * shards(1));
}

static void what_cannot_be_dealt_is_refused(void **state) {
    (void)state;
    static const struct {
        int64_t microbatches;
        int ranks;
        const char *text;
    } bad[] = {
        {3, 1, "a batch of 32 cannot be split into 3 equal microbatches"},
        {64, 1, "a batch of 32 cannot be split into 64 equal microbatches"},
        {8, 3,
         "a step's 8 microbatches cannot be dealt to 3 processes, each of which makes as many, "
         "1, 2, 4 or another power of two: start 2"},
        {1, 2, "start 1; or make a new run with `microbatches=2`"},
    };
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        job j;
        vn_err err = {0};
        double bytes;
        job_open(&j, bad[i].microbatches);
        const vn_ranks r = {.count = bad[i].ranks};
        if (bad[i].ranks > 1) j.setup.ranks = &r;
        assert_int_equal(vn_train_measure(&j.setup, &bytes, &err), VN_BAD_ARGUMENT);
        if (!strstr(err.text, bad[i].text)) fail_msg("%s", err.text);
        job_close(&j);
    }
}

/* ---- one that fails or stops ----------------------------------------------------------------- */

/* Rank 1 of 2 answers for itself with what the others of a training gave. */
static int64_t heard;

static vn_status hear(void *self, int64_t *least, vn_err *err) {
    (void)self, (void)err;
    if (heard < *least) *least = heard;
    return VN_OK;
}

static void all_stop_and_fail_together(void **state) {
    (void)state;
    const vn_ranks r = {.rank = 1, .count = 2, .agree = hear};
    const vn_train_setup setup = {.ranks = &r};
    vn_trainer t = {.s = &setup, .at.step = 7};
    vn_err err = {0};
    bool stop = false;
    heard = 2;
    assert_int_equal(vn_trainer_agree(&t, VN_OK, &stop, &err), VN_OK);
    assert_false(stop);
    heard = 1;
    assert_int_equal(vn_trainer_agree(&t, VN_OK, &stop, &err), VN_OK);
    assert_true(stop);
    heard = 0;
    assert_int_equal(vn_trainer_agree(&t, VN_OK, &stop, &err), VN_IO);
    assert_string_equal(err.text, "another process of this training failed after step 7");
    err = (vn_err){0};
    vn_fail(&err, VN_NO_MEMORY, "mine");
    assert_int_equal(vn_trainer_agree(&t, VN_NO_MEMORY, &stop, &err), VN_NO_MEMORY);
    assert_string_equal(err.text, "mine");
    assert_false(vn_trainer_leads(&t));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(terms_are_added_as_a_tree_of_neighbours),
        cmocka_unit_test(ranks_hold_whole_branches_of_it),
        cmocka_unit_test(the_weights_do_not_depend_on_the_ranks),
        cmocka_unit_test(ranks_send_while_they_compute),
        cmocka_unit_test(microbatches_are_dealt_to_threads),
        cmocka_unit_test(the_weights_do_not_depend_on_the_threads),
        cmocka_unit_test(another_device_has_the_same_bits),
        cmocka_unit_test(microbatches_are_the_batch_but_for_rounding),
        cmocka_unit_test(a_step_in_parts_takes_less_memory),
        cmocka_unit_test(four_ranks_take_a_quarter_each),
        cmocka_unit_test(what_cannot_be_dealt_is_refused),
        cmocka_unit_test(all_stop_and_fail_together),
    };
    return run_under_each_kernel_set(tests, scratch_enter, scratch_leave);
}
