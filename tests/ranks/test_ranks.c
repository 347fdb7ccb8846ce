/* test_ranks.c - what processes say to each other: sums by the tree, to the bit, whatever their
 * number; agreement; failures that all hear of; and one that does not answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ranks/support_wires.h"

static vn_ranks *joined(double timeout) {
    vn_ranks *r = NULL;
    vn_err err = {0};
    const vn_ranks_options options = {.timeout = timeout};
    if (vn_ranks_open_over(&wires, &options, &r, &err)) _exit(99);
    return r;
}

/* ---- sums ------------------------------------------------------------------------------------ */

enum { LONG = (1 << 21) + 4099 }; /* more than a block, and no multiple of anything */

/* Term i of 8 at place k: its sums depend on their order. */
static float term(int i, size_t k) {
    const uint32_t bits = (uint32_t)(k * 2654435761U + (uint32_t)i * 40503U) >> 8;
    return ((float)bits - 8388608.0F) * (i % 2 ? 1e-3F : 1.7F);
}

/* Terms first .. first + n - 1, n a power of two, by the tree. */
static float branch(int first, int n, size_t k) {
    return n == 1 ? term(first, k) : branch(first, n / 2, k) + branch(first + n / 2, n / 2, k);
}

/* Runs of x [n] in turn to the ranks, of different lengths; the last rank has no long ones. */
enum { RUNS = 11 };
static int deal(int ranks, size_t n, vn_owned run[RUNS]) {
    size_t at = 0;
    for (int i = 0; i < RUNS; i++) {
        const size_t end =
            i == RUNS - 1 ? n : n * (size_t)(i + 1) * (size_t)(i + 1) / (RUNS * RUNS);
        run[i] = (vn_owned){at, end - at, i == RUNS - 1 ? 0 : i % ranks};
        at = end;
    }
    return RUNS;
}

/* x [n] becomes the sum over the ranks on all of them, in the two halves that training does it
 * in. */
static vn_status sum(vn_ranks *r, float *x, size_t n, vn_err *err) {
    vn_owned run[RUNS];
    const int runs = deal(r->count, n, run);
    const vn_status status = r->reduce(r->self, x, runs, run, err);
    return status ? status : r->share(r->self, x, runs, run, err);
}

typedef struct summing {
    int ranks;
    size_t n;
} summing;

static int sum_of_branches(int rank, void *user) {
    const summing *s = user;
    vn_ranks *r = joined(30);
    vn_err err = {0};
    float *x = malloc((s->n + 1) * sizeof *x);
    const int own = 8 / s->ranks;
    int wrong = x ? 0 : 1;
    if (r->rank != rank || r->count != s->ranks) wrong = 2;
    for (size_t k = 0; k < s->n && x; k++) x[k] = branch(rank * own, own, k);
    if (!wrong && sum(r, x, s->n, &err)) wrong = 3;
    for (size_t k = 0; k < s->n && !wrong; k++)
        if (x[k] != branch(0, 8, k)) wrong = 4;
    free(x);
    vn_ranks_close(&r);
    return wrong;
}

static void sums_are_the_trees(void **state) {
    (void)state;
    static const size_t lengths[] = {0, 1, 5, 1024, 1025, 70000};
    for (int ranks = 1; ranks <= 8; ranks *= 2)
        for (size_t i = 0; i < VN_COUNT(lengths); i++) {
            summing s = {ranks, lengths[i]};
            expect_ranks(ranks, sum_of_branches, &s);
        }
    summing s = {4, LONG};
    expect_ranks(4, sum_of_branches, &s);
    /* the order matters to these terms, or all of this would show nothing */
    size_t other = 0;
    for (size_t k = 0; k < 1000; k++) {
        float line = 0;
        for (int i = 0; i < 8; i++) line += term(i, k);
        other += line != branch(0, 8, k);
    }
    assert_true(other > 100);
}

/* Three are a tree too: ((0 1) 2). */
static int sum_of_three(int rank, void *user) {
    vn_ranks *r = joined(30);
    vn_err err = {0};
    float x[2000];
    int wrong = 0;
    (void)user;
    for (size_t k = 0; k < 2000; k++) x[k] = term(rank, k);
    if (sum(r, x, 2000, &err)) wrong = 1;
    for (size_t k = 0; k < 2000; k++)
        if (x[k] != (term(0, k) + term(1, k)) + term(2, k)) wrong = 2;
    vn_ranks_close(&r);
    return wrong;
}

static void three_ranks_add_too(void **state) {
    (void)state;
    expect_ranks(3, sum_of_three, NULL);
}

/* After a reduction a rank's own runs are sums; the first gets what the others have, and they
 * nothing. */
static int collect_runs(int rank, void *user) {
    vn_ranks *r = joined(30);
    vn_err err = {0};
    float x[2000];
    vn_owned run[RUNS];
    int wrong = 0;
    const int runs = deal(r->count, 2000, run);
    (void)user;
    for (size_t k = 0; k < 2000; k++) x[k] = branch(2 * rank, 2, k);
    if (r->reduce(r->self, x, runs, run, &err)) wrong = 1;
    for (int i = 0; i < runs; i++)
        for (size_t k = 0; k < run[i].n && run[i].rank == rank; k++)
            if (x[run[i].at + k] != branch(0, 8, run[i].at + k)) wrong = 2;
    for (int i = 0; i < runs; i++)
        for (size_t k = 0; k < run[i].n && run[i].rank != rank; k++) x[run[i].at + k] = -1;
    if (r->collect(r->self, x, runs, run, &err)) wrong = 3;
    for (int i = 0; i < runs; i++)
        for (size_t k = run[i].at; k < run[i].at + run[i].n; k++) {
            const bool knows = rank == 0 || run[i].rank == rank;
            if (x[k] != (knows ? branch(0, 8, k) : -1)) wrong = 4;
        }
    if (!r->complete(r->self)) wrong = 5;
    vn_ranks_close(&r);
    return wrong;
}

static void the_first_collects(void **state) {
    (void)state;
    expect_ranks(4, collect_runs, NULL);
}

/* ---- agreement ------------------------------------------------------------------------------- */

static int agree_on_things(int rank, void *user) {
    vn_ranks *r = joined(30);
    vn_err err = {0};
    int64_t least = rank == 2 ? -7 : 5 + rank;
    int other = 5, wrong = 0;
    const int64_t same[] = {4, INT64_MIN}, differs[] = {4, rank == 3};
    (void)user;
    if (r->agree(r->self, &least, &err) || least != -7) wrong = 1;
    if (vn_ranks_compare(r, same, sizeof same, &other, &err) || other != -1) wrong = 2;
    if (vn_ranks_compare(r, differs, sizeof differs, &other, &err)) wrong = 3;
    if (other != (rank == 3 ? 0 : 3)) wrong = 4;
    if (vn_ranks_settle(r, VN_OK, &err)) wrong = 5;
    if (vn_ranks_speaks(r) != (rank == 0)) wrong = 6;
    vn_ranks_close(&r);
    return wrong;
}

static void ranks_agree(void **state) {
    (void)state;
    expect_ranks(4, agree_on_things, NULL);
}

/* Rank 2 fails by itself, rank 1 because another has, and 0 and 3 do not. */
static int fail_on_one(int rank, void *user) {
    vn_ranks *r = joined(30);
    vn_err err = {0};
    vn_status status = VN_OK;
    (void)user;
    if (rank == 1) status = vn_fail(&err, VN_IO, VN_ANOTHER_FAILED " after step 3");
    if (rank == 2) status = vn_fail(&err, VN_BAD_FILE, "photos/7.png is broken");
    status = vn_ranks_settle(r, status, &err);
    vn_ranks_close(&r);
    return status != VN_BAD_FILE || strcmp(err.text, "rank 2 of 4: photos/7.png is broken") != 0;
}

/* What the first says itself needs no number: all were asked the same. */
static int fail_on_all(int rank, void *user) {
    vn_ranks *r = joined(30);
    vn_err err = {0};
    (void)rank, (void)user;
    vn_fail(&err, VN_BAD_ARGUMENT, "no such model");
    const vn_status status = vn_ranks_settle(r, VN_BAD_ARGUMENT, &err);
    vn_ranks_close(&r);
    return status != VN_BAD_ARGUMENT || strcmp(err.text, "no such model") != 0;
}

static void all_hear_who_failed(void **state) {
    (void)state;
    expect_ranks(4, fail_on_one, NULL);
    expect_ranks(3, fail_on_all, NULL);
    vn_err err = {0};
    vn_fail(&err, VN_IO, "alone");
    assert_int_equal(vn_ranks_settle(NULL, VN_IO, &err), VN_IO);
    assert_string_equal(err.text, "alone");
    assert_true(vn_ranks_speaks(NULL));
}

/* ---- one that is lost ------------------------------------------------------------------------ */

/* Rank 1 of 3 hangs, or is killed, where the others sum; they hear it in time, and all that they
 * ask afterwards fails at once with the same words. */
static int lose_one(int rank, void *killed) {
    vn_ranks *r = joined(rank == 1 ? 30 : 0.5);
    vn_err err = {0}, second = {0};
    float x[3] = {1, 2, 3};
    const vn_owned run[3] = {{0, 1, 0}, {1, 1, 1}, {2, 1, 2}};
    int64_t least = 0;
    const char *words = killed ? "rank 1 of 3 is lost in step 7: the wire is cut"
                               : "rank 1 of 3 has not answered for 0.";
    if (rank == 1 && killed) raise(SIGKILL);
    if (rank == 1) sleep(3);
    if (rank == 1) _exit(0);
    r->at_step(r->self, 7);
    const double began = vn_now();
    if (r->reduce(r->self, x, 3, run, &err) != VN_IO) return 1;
    if (strncmp(err.text, words, strlen(words)) != 0 || !strstr(err.text, "in step 7")) return 2;
    if (vn_now() - began > 2.5) return 3;
    if (r->agree(r->self, &least, &second) != VN_IO || strcmp(second.text, err.text) != 0) return 4;
    if (vn_ranks_settle(r, VN_IO, &err) != VN_IO || r->complete(r->self)) return 5;
    if (vn_ranks_speaks(r) != (rank == 0)) return 6;
    if (rank == 0) sleep(1);           /* or the other could miss it too */
    if (rank == 0) vn_ranks_close(&r); /* the other would linger */
    return 0;
}

static void one_that_is_lost_is_named(void **state) {
    (void)state;
    int statuses[3], killed = 1;
    run_ranks(3, lose_one, NULL, statuses);
    for (int i = 0; i < 3; i++) assert_int_equal(statuses[i], 0);
    run_ranks(3, lose_one, &killed, statuses);
    assert_int_equal(statuses[0], 0);
    assert_int_equal(statuses[1], 128 + SIGKILL);
    assert_int_equal(statuses[2], 0);
}

/* Longer than the time-out, while all are patient. */
static int wait_patiently(int rank, void *user) {
    vn_ranks *r = joined(0.3);
    vn_err err = {0};
    (void)user;
    vn_ranks_be_patient(r, true);
    if (rank == 1) sleep(1);
    const vn_status status = vn_ranks_settle(r, VN_OK, &err);
    vn_ranks_close(&r);
    return (int)status;
}

static void patience_has_no_end(void **state) {
    (void)state;
    expect_ranks(2, wait_patiently, NULL);
}

/* ---- launchers ------------------------------------------------------------------------------- */

static void clear_environment(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE",
                                        "OMPI_COMM_WORLD_RANK",
                                        "OMPI_COMM_WORLD_LOCAL_SIZE",
                                        "PMI_SIZE",
                                        "PMI_RANK",
                                        "MPI_LOCALNRANKS",
                                        "SLURM_STEP_NUM_TASKS",
                                        "SLURM_PROCID",
                                        "SLURM_NODEID",
                                        "SLURM_STEP_TASKS_PER_NODE",
                                        "SLURM_NTASKS"};
    for (size_t i = 0; i < VN_COUNT(names); i++) unsetenv(names[i]);
}

static void launchers_are_known(void **state) {
    (void)state;
    clear_environment();
    vn_launch l = vn_launched();
    assert_int_equal(l.count, 1);
    assert_null(l.by);
    setenv("SLURM_NTASKS", "4", 1); /* of a batch script, which is one process */
    setenv("SLURM_PROCID", "0", 1);
    assert_int_equal(vn_launched().count, 1);
    setenv("SLURM_STEP_NUM_TASKS", "4", 1);
    setenv("SLURM_PROCID", "3", 1);
    l = vn_launched();
    assert_int_equal(l.count, 4);
    assert_int_equal(l.rank, 3);
    assert_int_equal(l.local, 0);
    assert_string_equal(l.by, "srun");
    setenv("PMI_SIZE", "2", 1);
    setenv("PMI_RANK", "1", 1);
    setenv("MPI_LOCALNRANKS", "2", 1);
    l = vn_launched();
    assert_int_equal(l.count, 2);
    assert_int_equal(l.local, 2);
    assert_true(l.mpich);
    setenv("OMPI_COMM_WORLD_SIZE", "8", 1);
    setenv("OMPI_COMM_WORLD_RANK", "8", 1); /* nonsense is not believed */
    assert_int_equal(vn_launched().count, 2);
    setenv("OMPI_COMM_WORLD_RANK", "7", 1);
    l = vn_launched();
    assert_int_equal(l.rank, 7);
    assert_false(l.mpich);
    clear_environment();
}

/* The tasks of Slurm on the machine of this number. */
static int tasks_on(const char *node, const char *list) {
    setenv("SLURM_NODEID", node, 1);
    setenv("SLURM_STEP_TASKS_PER_NODE", list, 1);
    return vn_launched().local;
}

/* srun's tasks are its own, though it sets MPICH's variables too; a list that is none says nothing.
 */
static void tasks_of_slurm_are_known(void **state) {
    (void)state;
    clear_environment();
    setenv("SLURM_STEP_NUM_TASKS", "7", 1);
    setenv("SLURM_PROCID", "6", 1);
    setenv("PMI_SIZE", "7", 1);
    setenv("PMI_RANK", "6", 1);
    const vn_launch l = vn_launched();
    assert_string_equal(l.by, "srun");
    assert_int_equal(l.count, 7);
    assert_int_equal(l.rank, 6);
    assert_int_equal(tasks_on("0", "2(x3),1"), 2);
    assert_int_equal(tasks_on("2", "2(x3),1"), 2);
    assert_int_equal(tasks_on("3", "2(x3),1"), 1);
    assert_int_equal(tasks_on("1", "3,4"), 4);
    assert_int_equal(tasks_on("4", "2(x3),1"), 0);
    assert_int_equal(tasks_on("1", "2(x"), 0);
    assert_int_equal(tasks_on("1", ""), 0);
    assert_int_equal(tasks_on("0", "9"), 0); /* more than there are */
    /* a shell of srun's, in which a launcher starts several */
    setenv("SLURM_STEP_NUM_TASKS", "1", 1);
    setenv("SLURM_PROCID", "0", 1);
    assert_int_equal(vn_launched().count, 7);
    assert_string_equal(vn_launched().by, "mpirun");
    unsetenv("PMI_SIZE");
    assert_int_equal(vn_launched().count, 1);
    clear_environment();
}

/* Without a module nobody trains alone. */
static void a_missing_module_is_said(void **state) {
    (void)state;
    vn_ranks *r = NULL;
    vn_err err = {0};
    const vn_ranks_options options = {.timeout = 1};
    clear_environment();
    assert_int_equal(vn_ranks_open(&options, &r, &err), VN_OK);
    assert_null(r);
    setenv("PMI_SIZE", "4", 1);
    setenv("PMI_RANK", "0", 1);
    setenv("VANE_MPI", "nowhere/vane-none.so", 1);
    assert_int_equal(vn_ranks_open(&options, &r, &err), VN_UNSUPPORTED);
    assert_null(r);
    if (!strstr(err.text,
                "4 processes would each train a run of their own, or draw all samples: ") ||
        !strstr(err.text, "nowhere/vane-none.so"))
        fail_msg("%s", err.text);
    unsetenv("VANE_MPI");
    clear_environment();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_the_trees),       cmocka_unit_test(three_ranks_add_too),
        cmocka_unit_test(the_first_collects),       cmocka_unit_test(ranks_agree),
        cmocka_unit_test(all_hear_who_failed),      cmocka_unit_test(one_that_is_lost_is_named),
        cmocka_unit_test(patience_has_no_end),      cmocka_unit_test(launchers_are_known),
        cmocka_unit_test(tasks_of_slurm_are_known), cmocka_unit_test(a_missing_module_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
