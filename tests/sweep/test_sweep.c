/* Sweeps over a measure in closed form: each point is measured once, whatever stops the sweep and
 * however often; halving finds what the whole grid finds, for less; and which point is
 * recommended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "support/alloc.h"
#include "support/scratch.h"
#include "sweep/sweep.h"

static const char *const guides[] = {"cfg", "cfg,interval:low=0.2", "apg"};
static const char *const samplers[] = {NULL, "heun"};
static const int steps[] = {8, 16, 32};
static const double strengths[] = {1, 1.5, 2, 3};
enum { POINTS = 3 * 2 * 3 * 4, COUNT = 1600 };

/* A distance as a Frechet distance behaves: a bowl in log guidance, an error of the steps, a bias
 * of 800/n, noise of 10/sqrt(n). */
typedef struct fake {
    uint64_t seed;
    int calls, stop_after; /* stop_after: calls until it says VN_CANCELLED; 0: never */
    double work;
    double nan_at; /* a guidance at which numbers are not finite */
} fake;

static double exact(const vn_point *p) {
    const double g = log(p->guidance / 1.6);
    return 5 + 12 * g * g + 60.0 / (p->steps * p->steps) + (p->sampler ? 0 : 40.0 / p->steps) +
           (strcmp(p->guide, "apg") == 0 ? 3 : 0);
}

static uint64_t number_of(const vn_point *p) {
    return (uint64_t)(p->guidance * 16) * 1000 + (uint64_t)p->steps * 7 +
           strlen(p->guide) * 100003 + (p->sampler ? 31337 : 0);
}

static vn_status measure(void *user, const vn_point *p, int64_t count, const vn_sweep_state *state,
                         vn_point_result *out, vn_err *err) {
    fake *f = user;
    if (f->stop_after && f->calls == f->stop_after) return vn_fail(err, VN_CANCELLED, "stopped");
    assert_true(state->done < state->total && state->work_done < state->work_all);
    f->calls++;
    f->work += (double)count * p->steps;
    if (p->guidance == f->nan_at) return vn_fail(err, VN_NOT_FINITE, "sample 3 is not finite");
    const double u = vn_random_double(f->seed, VN_STREAM_TEST, number_of(p), (uint64_t)count) - 0.5;
    const double deviation = 10 / sqrt((double)count), noise = u * sqrt(12.0) * deviation;
    const double fd = exact(p) + 800.0 / (double)count + noise;
    out->numbers = 2;
    out->number[0] = (vn_point_number){"fd", fd, fd - 2 * deviation, fd + 2 * deviation};
    out->number[1] = (vn_point_number){"accuracy", 1 - 1 / p->guidance, (double)NAN, (double)NAN};
    out->passes = p->steps * (p->guidance == 1 ? 1.0 : 2.0) * (p->sampler ? 2 : 1);
    out->seconds = 0.01 * out->passes;
    out->example = vn_strdup("x.png");
    return out->example ? VN_OK : vn_no_memory(err);
}

static vn_sweep_search search_of(fake *f, bool halving) {
    return (vn_sweep_search){.grid = {guides, samplers, steps, strengths, 3, 2, 3, 4},
                             .count = COUNT,
                             .objective = "fd",
                             .halving = halving,
                             .least = 100,
                             .measure = measure,
                             .user = f};
}

static json_t *settings_of(int count) {
    return json_pack("{s:s, s:i}", "model", "unet2d-01", "count", count);
}

/* Opens, runs and leaves the sweep open, for its results. */
static vn_status sweep(vn_sweep_folder *s, const char *dir, fake *f, bool halving, vn_err *err) {
    json_t *settings = settings_of(COUNT);
    const vn_sweep_search how = search_of(f, halving);
    vn_status status = settings ? vn_sweep_open(s, dir, settings, err) : vn_no_memory(err);
    if (!status) status = vn_sweep_run(s, &how, err);
    json_decref(settings);
    return status;
}

static void sweep_well(vn_sweep_folder *s, const char *dir, fake *f, bool halving) {
    vn_err err = {0};
    if (sweep(s, dir, f, halving, &err)) fail_msg("%s", err.text);
}

static void each_point_is_measured_once(void **state) {
    (void)state;
    vn_sweep_folder s;
    fake f = {.seed = 1};
    sweep_well(&s, "whole", &f, false);
    assert_int_equal(f.calls, POINTS);
    assert_int_equal(s.count, POINTS);
    assert_int_equal(s.found, 0);
    vn_sweep_search how = search_of(&f, false);
    assert_int_equal(vn_grid_points(&how.grid), POINTS);
    for (size_t i = 0; i < POINTS; i++) {
        const vn_point p = vn_grid_point(&how.grid, i);
        const vn_point_result *r = vn_sweep_find(&s, &p, COUNT);
        assert_non_null(r);
        assert_ptr_equal(r, &s.result[i]);
        assert_true(fabs(vn_point_find(r, "fd")->value - exact(&p)) < 2);
    }
    vn_sweep_close(&s);
    sweep_well(&s, "whole", &f, false);
    assert_int_equal(f.calls, POINTS);
    assert_int_equal(s.found, POINTS);
    assert_int_equal(s.count, POINTS);
    assert_string_equal(s.result[3].example, "x.png");
    assert_true(isnan(vn_point_find(&s.result[3], "accuracy")->low));
    vn_sweep_close(&s);
}

/* However often it is stopped, in the grid and in a search: the file is the same to the byte. */
static void a_stopped_sweep_goes_on(void **state) {
    (void)state;
    for (int halving = 0; halving < 2; halving++) {
        vn_sweep_folder s;
        fake whole = {.seed = 2}, parts = {.seed = 2};
        const char *const names[] = {"at once", "halved at once"};
        const char *const others[] = {"in parts", "halved in parts"};
        sweep_well(&s, names[halving], &whole, halving);
        vn_sweep_close(&s);
        vn_status status = VN_CANCELLED;
        for (int turn = 0; status == VN_CANCELLED; turn++) {
            assert_in_range(turn, 0, 100);
            parts.stop_after = parts.calls + 7;
            status = sweep(&s, others[halving], &parts, halving, NULL);
            vn_sweep_close(&s);
        }
        assert_int_equal(status, VN_OK);
        assert_int_equal(parts.calls, whole.calls);
        char a[64], b[64];
        snprintf(a, sizeof a, "%s/results.jsonl", names[halving]);
        snprintf(b, sizeof b, "%s/results.jsonl", others[halving]);
        expect_same_file(a, b);
    }
}

static void a_line_cut_short_is_measured_again(void **state) {
    (void)state;
    vn_sweep_folder s;
    fake f = {.seed = 3};
    sweep_well(&s, "cut", &f, false);
    vn_sweep_close(&s);
    size_t size;
    char *text = scratch_read("cut/results.jsonl", &size);
    scratch_write("cut/results.jsonl", text, size - 20);
    sweep_well(&s, "cut", &f, false);
    assert_int_equal(s.found, POINTS - 1);
    assert_int_equal(f.calls, POINTS + 1);
    vn_sweep_close(&s);
    size_t again;
    char *other = scratch_read("cut/results.jsonl", &again);
    assert_int_equal(size, again);
    assert_memory_equal(text, other, size);
    free(text);
    free(other);
}

static void expect_refusal(const char *dir, vn_status status, const char *words) {
    vn_sweep_folder s;
    vn_err err = {0};
    fake f = {.seed = 4};
    assert_int_equal(sweep(&s, dir, &f, false, &err), status);
    assert_int_equal(f.calls, 0);
    vn_sweep_close(&s);
    if (!strstr(err.text, words)) fail_msg("no \"%s\" in: %s", words, err.text);
}

static void what_is_no_sweep_of_these_settings_stays(void **state) {
    (void)state;
    vn_sweep_folder s;
    json_t *other = settings_of(50);
    assert_int_equal(vn_sweep_open(&s, "other", other, NULL), VN_OK);
    json_decref(other);
    expect_refusal("other", VN_IO, "other is being swept by another process");
    vn_sweep_close(&s);
    expect_refusal("other", VN_BAD_ARGUMENT,
                   "other is a sweep of another count: 50 there, 1600 here");
    scratch_write_text("other/sweep.json", "{\"model\": \"unet2d-01\", \"count\": 1600, \"x\": 1}");
    expect_refusal("other", VN_BAD_ARGUMENT, "another x: 1 there, none here");
    scratch_write_text("other/sweep.json", "[]");
    expect_refusal("other", VN_BAD_FILE, "other/sweep.json: is not a JSON object");
    assert_int_equal(mkdir("photos", 0777), 0);
    scratch_write_text("photos/a.txt", "mine");
    expect_refusal("photos", VN_BAD_ARGUMENT, "photos holds other files and is no sweep");
    assert_int_equal(scratch_count("photos"), 1);
    assert_int_equal(mkdir("failed", 0777), 0); /* what a sweep leaves whose first point failed */
    assert_int_equal(mkdir("failed/cache", 0777), 0);
    json_t *again = settings_of(50);
    assert_int_equal(vn_sweep_open(&s, "failed", again, NULL), VN_OK);
    json_decref(again);
    vn_sweep_close(&s);
    scratch_write_text("file", "");
    expect_refusal("file", VN_IO, "file");

    fake f = {.seed = 4};
    sweep_well(&s, "damaged", &f, false);
    vn_sweep_close(&s);
    size_t size;
    char *text = scratch_read("damaged/results.jsonl", &size);
    text[1] = 'x';
    scratch_write("damaged/results.jsonl", text, size);
    free(text);
    expect_refusal("damaged", VN_BAD_FILE, "damaged/results.jsonl: line 1 is no result; remove it");
}

/* A point whose numbers are not finite is a result; the sweep goes on. */
static void a_point_may_fail(void **state) {
    (void)state;
    vn_sweep_folder s;
    fake f = {.seed = 5, .nan_at = 1.5};
    sweep_well(&s, "nan", &f, true);
    size_t failed = 0;
    for (size_t i = 0; i < s.count; i++) {
        const vn_point_result *r = &s.result[i];
        failed += r->error != NULL;
        assert_int_equal(r->error != NULL, r->point.guidance == 1.5);
        if (r->error) assert_int_equal(r->count, COUNT / 16);
        if (r->error) assert_string_equal(r->error, "sample 3 is not finite");
    }
    assert_int_equal(failed, POINTS / 4);
    const vn_point_result *best = vn_sweep_recommend(&s, "fd", COUNT, NULL);
    assert_true(best && best->point.guidance != 1.5);
    vn_sweep_close(&s);

    vn_err err = {0};
    vn_sweep_search how = search_of(&f, false);
    how.objective = "kd";
    json_t *settings = settings_of(COUNT);
    assert_int_equal(vn_sweep_open(&s, "unmeasured", settings, NULL), VN_OK);
    json_decref(settings);
    assert_int_equal(vn_sweep_run(&s, &how, &err), VN_BAD_ARGUMENT);
    assert_string_equal(err.text, "the objective 'kd' is not among what is measured");
    assert_int_equal(s.count, 0);
    vn_sweep_close(&s);
}

/* What halving finds cannot be told from what the whole grid finds, by seeds of the noise; it costs
 * less than a third. */
static void halving_finds_what_the_grid_finds(void **state) {
    (void)state;
    double worst = 0, same = 0;
    enum { SEEDS = 25 };
    for (int seed = 0; seed < SEEDS; seed++) {
        vn_sweep_folder grid, halved;
        char a[32], b[32];
        snprintf(a, sizeof a, "grid-%d", seed);
        snprintf(b, sizeof b, "halved-%d", seed);
        fake of_grid = {.seed = 100 + (uint64_t)seed}, of_halving = of_grid;
        sweep_well(&grid, a, &of_grid, false);
        sweep_well(&halved, b, &of_halving, true);
        assert_int_equal(of_halving.calls, POINTS + POINTS / 4 + 5);
        /* 72 points from 100, 18 from 400, 5 from 1600: 0.19 of 72 from 1600, were all as dear */
        assert_in_range(of_halving.work / of_grid.work * 1000, 150, 300);
        const vn_point_result *best, *found,
            *chosen = vn_sweep_recommend(&grid, "fd", COUNT, &best);
        const vn_point_result *other = vn_sweep_recommend(&halved, "fd", COUNT, &found);
        assert_true(chosen && other);
        same += other->point.guidance == chosen->point.guidance &&
                other->point.steps == chosen->point.steps;
        worst = fmax(worst, exact(&found->point) - exact(&best->point));
        vn_sweep_close(&grid);
        vn_sweep_close(&halved);
    }
    /* the noise of a measure from all samples is 0.25, of an interval 1 */
    print_message("halving: the same point in %.0f of %d, at worst %.2f more\n", same, SEEDS,
                  worst);
    assert_true(worst < 1);
    const vn_sweep_search one = search_of(NULL, false), some = search_of(NULL, true);
    assert_true(fabs(vn_search_work(&one) / (POINTS * COUNT * (8 + 16 + 32) / 3.0) - 1) < 1e-12);
    assert_true(fabs(vn_search_work(&some) / vn_search_work(&one) - 0.1944) < 1e-3);
}

static void add(vn_sweep_folder *s, double guidance, int of_steps, double fd, double half,
                double accuracy) {
    const vn_point_result r = {.point = {"cfg", NULL, guidance, of_steps},
                               .count = 10,
                               .numbers = 2,
                               .number = {{"fd", fd, fd - half, fd + half},
                                          {"accuracy", accuracy, (double)NAN, (double)NAN}},
                               .passes = 2.0 * of_steps,
                               .seconds = (double)NAN};
    assert_int_equal(vn_sweep_append(s, &r, NULL), VN_OK);
}

static void the_cheapest_that_is_as_good_is_recommended(void **state) {
    (void)state;
    vn_sweep_folder s;
    json_t *settings = settings_of(10);
    const vn_point_result *best;
    assert_int_equal(vn_sweep_open(&s, "rank", settings, NULL), VN_OK);
    json_decref(settings);
    assert_null(vn_sweep_recommend(&s, "fd", 10, &best));
    add(&s, 1, 32, 9, 1, 0.5);
    add(&s, 2, 32, 5, 1, 0.9);
    add(&s, 3, 16, 5.9, 1, 0.95); /* within 5 .. 6 */
    add(&s, 4, 16, 5.8, 1, 0.94);
    add(&s, 5, 8, 6.1, 1, 0.97); /* not */
    const vn_point_result *chosen = vn_sweep_recommend(&s, "fd", 10, &best);
    assert_true(best->point.guidance == 2 && chosen->point.guidance == 4);
    chosen = vn_sweep_recommend(&s, "accuracy", 10, &best);
    assert_true(best == chosen && chosen->point.guidance == 5);
    assert_null(vn_sweep_recommend(&s, "fd", 11, NULL));
    assert_null(vn_sweep_recommend(&s, "kd", 10, NULL));
    char text[128];
    vn_point_text(&chosen->point, text, sizeof text);
    assert_string_equal(text, "cfg, guidance 5, 8 steps");
    vn_sweep_close(&s);
}

/* The disk is full: what is there stays whole, and goes on when it is not. */
static void a_full_disk_loses_nothing(void **state) {
    (void)state;
    vn_sweep_folder s;
    vn_err err = {0};
    fake f = {.seed = 6};
    struct rlimit before, few;
    getrlimit(RLIMIT_FSIZE, &before);
    few = before;
    few.rlim_cur = 2000;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &few);
    const vn_status status = sweep(&s, "full", &f, false, &err);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(status, VN_IO);
    assert_non_null(strstr(err.text, "full/results.jsonl: cannot be written"));
    const size_t there = s.count;
    vn_sweep_close(&s);
    size_t size;
    char *text = scratch_read("full/results.jsonl", &size);
    assert_true(size > 1000 && size <= 2000 && text[size - 1] == '\n');
    free(text);
    sweep_well(&s, "full", &f, false);
    assert_int_equal(s.found, there);
    assert_int_equal(s.count, POINTS);
    assert_int_equal(f.calls, POINTS + 1);
    vn_sweep_close(&s);
}

static void memory_may_run_out(void **state) {
    (void)state;
    static const double one[] = {2};
    vn_sweep_folder s;
    fake f = {.seed = 7};
    vn_sweep_search how = search_of(&f, false);
    how.grid = (vn_sweep_grid){guides, samplers, steps, one, 1, 2, 1, 1};
    json_t *settings = settings_of(COUNT);
    for (alloc_turn t = {.recovers = true}; alloc_next(&t);) {
        vn_err err = {0};
        vn_status status = vn_sweep_open(&s, "memory", settings, &err);
        if (!status) status = vn_sweep_run(&s, &how, &err);
        vn_sweep_close(&s);
        alloc_hit(&t, status);
    }
    json_decref(settings);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_point_is_measured_once),
        cmocka_unit_test(a_stopped_sweep_goes_on),
        cmocka_unit_test(a_line_cut_short_is_measured_again),
        cmocka_unit_test(what_is_no_sweep_of_these_settings_stays),
        cmocka_unit_test(a_point_may_fail),
        cmocka_unit_test(halving_finds_what_the_grid_finds),
        cmocka_unit_test(the_cheapest_that_is_as_good_is_recommended),
        cmocka_unit_test(a_full_disk_loses_nothing),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
