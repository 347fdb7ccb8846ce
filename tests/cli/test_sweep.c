/* test_sweep.c - `vane sweep`: the table, the page and the recommendation; a sweep that is stopped
 * or killed goes on; the run is sampled as recommended, and says so; what is refused. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/support_program.h"
#include "support/scratch.h"

#define SWEEP "sweep run --data points:moons -n 100 --resamples 20 --quiet "

static int prepare(void **state) {
    if (scratch_enter(state) != 0) return -1;
    make_world();
    expect_status(0, "train points:moons --out run --steps 30 --preview-every -1 --quiet --model "
                     "mlp:width=16,layers=1");
    return 0;
}

static void expect_words(const char *text, const char *words) {
    if (!strstr(text, words)) fail_msg("no \"%s\" in:\n%s", words, text);
}

static int lines_of(const char *path) {
    size_t size;
    int lines = 0;
    if (!exists(path)) return 0;
    char *text = scratch_read(path, &size);
    for (size_t i = 0; i < size; i++) lines += text[i] == '\n';
    free(text);
    return lines;
}

static json_t *sampling_of_run(void) {
    json_t *vane = json_load_file("run/vane.json", 0, NULL);
    json_t *sampling = json_deep_copy(json_object_get(vane, "sampling"));
    json_decref(vane);
    return sampling;
}

static void a_sweep_recommends_and_the_run_follows(void **state) {
    (void)state;
    const outcome *o = expect_status(0, SWEEP "--guidance 1,2 --steps 2,4 --guide cfg --guide "
                                              "cfg,interval:lo=0.3 --out keep --keep");
    assert_null(strstr(o->out, "from here on"));
    json_t *before = sampling_of_run();
    assert_int_equal(json_object_size(before), 2);
    json_decref(before);

    o = expect_status(0, SWEEP "--guidance 1,2 --steps 2,4 --out sweep");
    expect_words(o->out, "\nsweep/report.html: 4 points, 0 measured before");
    expect_words(o->out, "\nrecommended: cfg, guidance ");
    expect_words(o->out, "\n* cfg, guidance ");
    expect_words(o->out, "\nrun is sampled so from here on");
    assert_string_equal(o->err, "");
    assert_int_equal(lines_of("sweep/results.jsonl"), 4);
    assert_true(exists("sweep/report.html") && exists("sweep/samples-004.png"));
    json_t *sampling = sampling_of_run();
    const double guidance = json_number_value(json_object_get(sampling, "guidance"));
    const int steps = (int)json_integer_value(json_object_get(sampling, "steps"));
    const char *by = json_string_value(json_object_get(sampling, "by"));
    assert_true((guidance == 1 || guidance == 2) && (steps == 2 || steps == 4));
    expect_words(by, "sweep: fd ");

    /* the same from what it says by itself, in one line, and from flags */
    char line[256];
    snprintf(line, sizeof line, "as run says (%s): guidance %g, %d steps\n", by, guidance, steps);
    o = expect_status(0, "sample run -n 5 --out own.npy");
    assert_string_equal(o->err, line);
    o = expect_status(0, "sample run -n 5 --guidance %g --steps %d --out same.npy", guidance,
                      steps);
    assert_string_equal(o->err, "");
    expect_same_file("own.npy", "same.npy");
    o = expect_status(0, "sample run -n 5 --guidance 3 --out other.npy");
    snprintf(line, sizeof line, "as run says (%s): %d steps\n", by, steps);
    assert_string_equal(o->err, line);
    json_decref(sampling);
    expect_words(expect_status(0, "info run")->out, "sweep: fd ");

    /* gone on with after the recommendation it is the same sweep, and more values are added */
    o = expect_status(0, SWEEP "--guidance 1,2 --steps 2,4 --out sweep");
    expect_words(o->out, "4 points, 4 measured before");
    o = expect_status(0, SWEEP "--guidance 1,2,4 --steps 2,4 --out sweep");
    expect_words(o->out, "6 points, 4 measured before");
    /* and training that goes on keeps it */
    expect_status(0, "train points:moons --out run --resume --steps 31 --preview-every -1 --quiet");
    sampling = sampling_of_run();
    expect_words(json_string_value(json_object_get(sampling, "by")), "sweep: fd ");
    json_decref(sampling);
}

/* A guide and a sampler that are not the usual ones are kept too, and drawn with. */
static void guide_and_sampler_are_kept(void **state) {
    (void)state;
    expect_status(0, SWEEP "--guidance 2 --steps 3 --guide cfg,rescale --sampler heun --out heun");
    json_t *sampling = sampling_of_run();
    assert_string_equal(json_string_value(json_object_get(sampling, "guide")), "cfg,rescale");
    assert_string_equal(json_string_value(json_object_get(sampling, "sampler")), "heun");
    json_decref(sampling);
    const outcome *o = expect_status(0, "sample run -n 5 --out own.safetensors");
    expect_words(o->err, "): guide cfg,rescale, guidance 2, sampler heun, 3 steps\n");
    expect_status(0, "sample run -n 5 --guide cfg,rescale --guidance 2 --sampler heun --steps 3 "
                     "--out same.safetensors --quiet");
    expect_same_file("own.safetensors", "same.safetensors");
    /* what is no guide is refused where it is used */
    json_t *vane = json_load_file("run/vane.json", 0, NULL);
    json_object_set_new(json_object_get(vane, "sampling"), "guide", json_string("cgf"));
    assert_int_equal(json_dump_file(vane, "run/vane.json", 0), 0);
    expect_complaint(expect_status(2, "sample run -n 5 --quiet --out x.npy"), "'cgf'");
    json_object_set_new(json_object_get(vane, "sampling"), "guide", json_integer(3));
    assert_int_equal(json_dump_file(vane, "run/vane.json", 0), 0);
    expect_complaint(expect_status(1, "sample run -n 5 --out x.npy"),
                     "run/vane.json: sampling: guide is not a text");
    json_object_del(json_object_get(vane, "sampling"), "guide");
    json_object_del(json_object_get(vane, "sampling"), "sampler");
    assert_int_equal(json_dump_file(vane, "run/vane.json", 0), 0);
    json_decref(vane);
}

static void json_has_points_and_choice(void **state) {
    (void)state;
    json_t *all = expect_json(expect_status(0, "sweep world.json -n 60 --resamples 10 --guidance 1 "
                                               "--steps 2,4,8 --out world --json"));
    assert_int_equal(json_array_size(json_object_get(all, "points")), 3);
    assert_true(json_is_false(json_object_get(all, "written"))); /* a world is no run */
    const json_t *best = json_object_get(all, "best"), *fd;
    fd = json_object_get(json_object_get(best, "metrics"), "fd");
    assert_true(json_number_value(json_object_get(fd, "low")) <=
                json_number_value(json_object_get(fd, "high")));
    assert_true(json_is_object(json_object_get(all, "recommended")));
    json_decref(all);
}

/* Killed amid a point, then stopped, then ended: each point is measured once, in order. */
static void a_killed_sweep_goes_on(void **state) {
    (void)state;
    static const char words[] = "sweep run --data points:moons -n 4000 --resamples 0 --metric "
                                "fd --guidance 1,2 --steps 50,60,70 --keep --out killed";
    for (int signal_number = SIGKILL;; signal_number = SIGINT) {
        const int before = lines_of("killed/results.jsonl");
        const pid_t pid = start_vane("%s", words);
        for (int wait = 0; wait < 6000 && lines_of("killed/results.jsonl") <= before; wait++)
            sleep_ms(10);
        kill(pid, signal_number);
        const int ended = wait_vane(pid);
        assert_true(ended == 0 || ended == (signal_number == SIGKILL ? 128 + SIGKILL : 130));
        const int after = lines_of("killed/results.jsonl");
        assert_in_range(after, before + 1, 6);
        if (signal_number == SIGINT) break;
    }
    const outcome *o = expect_status(0, "%s --quiet", words);
    expect_words(o->out, "6 points, ");
    assert_null(strstr(o->out, " 0 measured before"));
    json_error_t error;
    size_t size;
    char *text = scratch_read("killed/results.jsonl", &size);
    int points = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), points++) {
        json_t *one = json_loads(line, 0, &error);
        assert_non_null(one);
        assert_int_equal(json_integer_value(json_object_get(one, "steps")), 50 + 10 * (points / 2));
        json_decref(one);
    }
    assert_int_equal(points, 6);
    free(text);
}

static void mistakes_are_one_line_and_leave_nothing(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *words, *complaint;
    } wrong[] = {
        {2, "sweep run --data points:moons --guide cgf --out x", "'cgf'"},
        {2, "sweep run --data points:moons --guide cfg --guide nothing --out x",
         "unknown guide 'nothing'"},
        {2, "sweep run --data points:moons --guide cfg --guide negative:class=x --out x",
         "negative:class=x, guidance 1, unipc, 32 steps: "},
        {2, "sweep run --data points:moons --sampler hoin --out x", "'hoin'"},
        {2, "sweep run --data points:moons --steps 2.5 --out x", "--steps: expected whole numbers"},
        {2, "sweep run --data points:moons --search all --out x", "unknown --search 'all'"},
        {2, "sweep run --data points:moons --metric fid --out x", "'fid'"},
        {2, "sweep run --data points:moons --features pixels --out x", "'pixels'"},
        {2, "sweep run --data points:moons --out run/sweep", "lies in the folder of a model"},
        {2, "sweep run --data points:moons --objective kd --steps 2 -n 50 --out x",
         "--objective 'kd' is not among what is measured: fd,precision,recall"},
        {1, "sweep run --data nothing --out x", "nothing"},
        {1, "sweep nothing --data points:moons --out x", "nothing"},
        {1, "sweep run --data points:moons --steps 2 -n 50 --out world.json", "world.json"},
        {2, "sweep run --data points:moons", "--out DIR is missing"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        expect_complaint(expect_status(wrong[i].status, "%s --quiet", wrong[i].words),
                         wrong[i].complaint);
        if (exists("x")) fail_msg("x is there after: %s", wrong[i].words);
    }
    expect_status(0, SWEEP "--guidance 1 --steps 2 --out mine --keep");
    expect_complaint(expect_status(2, SWEEP "--guidance 1 --steps 2 --seed 3 --out mine"),
                     "mine is a sweep of another seed: 0 there, 3 here");
    assert_int_equal(mkdir("photos", 0777), 0);
    scratch_write_text("photos/a.txt", "");
    expect_complaint(expect_status(2, SWEEP "--guidance 1 --steps 2 --out photos"),
                     "photos holds other files and is no sweep");
    assert_int_equal(scratch_count("photos"), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sweep_recommends_and_the_run_follows),
        cmocka_unit_test(guide_and_sampler_are_kept),
        cmocka_unit_test(json_has_points_and_choice),
        cmocka_unit_test(a_killed_sweep_goes_on),
        cmocka_unit_test(mistakes_are_one_line_and_leave_nothing),
    };
    return cmocka_run_group_tests(tests, prepare, scratch_leave);
}
