/* test_eval.c - `vane eval` as it is typed: what is printed for people and for programs, which
 * words name a mistake, and that nothing is left behind by one. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/support_program.h"
#include "support/scratch.h"

static int prepare(void **state) {
    if (scratch_enter(state) != 0) return -1;
    make_world();
    make_idx("data", 60);
    make_config();
    expect_status(0, "sample world.json -n 80 --out a.safetensors --quiet");
    expect_status(0, "sample world.json -n 80 --seed 1 --out b.npy --quiet");
    expect_status(0, "train data --out run --model tiny.json --steps 1 --batch 4 --validate 0.2 "
                     "--preview-every -1 --quiet");
    return 0;
}

/* The object of a metric, whose interval holds its value. */
static double value_of(const json_t *metrics, const char *key) {
    const json_t *m = json_object_get(metrics, key);
    if (!m) fail_msg("no %s", key);
    const double value = json_number_value(json_object_get(m, "value"));
    const json_t *low = json_object_get(m, "low"), *high = json_object_get(m, "high");
    if (json_is_number(low))
        assert_true(json_number_value(low) <= value && value <= json_number_value(high));
    return value;
}

static void test_two_sets(void **state) {
    (void)state;
    json_t *r = expect_json(expect_status(0, "eval --samples a.safetensors --data b.npy --metric "
                                             "fd,kd,precision,recall,density,coverage,w2,sliced-w2,"
                                             "energy,mmd --json --quiet")),
           *metrics = json_object_get(r, "metrics");
    static const char *const keys[] = {"fd",       "kd", "precision", "recall", "density",
                                       "coverage", "w2", "sliced-w2", "energy", "mmd"};
    assert_int_equal(json_integer_value(json_object_get(r, "count")), 80);
    assert_string_equal(json_string_value(json_object_get(r, "features")), "raw");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) value_of(metrics, keys[i]);
    const double fd = value_of(metrics, "fd");
    json_decref(r);
    /* the other way round it is the same distance, but for rounding */
    r = expect_json(
        expect_status(0, "eval --samples b.npy --data a.safetensors --metric fd --json --quiet"));
    assert_true(fabs(value_of(json_object_get(r, "metrics"), "fd") - fd) < 1e-12);
    json_decref(r);
    const outcome *o = expect_status(0, "eval --samples a.safetensors --data b.npy --metric fd "
                                        "-n 50 --quiet");
    assert_non_null(strstr(o->out, "50 samples and 50 of the data, features raw"));
    assert_non_null(strstr(o->out, "Frechet distance"));
}

/* Without resamples a distance has no interval: neither end of one, and no words of it. */
static void test_without_intervals(void **state) {
    (void)state;
#define EVAL "eval --samples a.safetensors --data b.npy --metric fd,w2,sliced-w2 --resamples 0 "
    json_t *r = expect_json(expect_status(0, EVAL "--json --quiet")), *m = NULL;
    const char *key;
    json_object_foreach(json_object_get(r, "metrics"), key, m) {
        if (strcmp(key, "sliced-w2") == 0) continue; /* its interval is one of directions */
        assert_true(json_is_null(json_object_get(m, "low")));
        assert_true(json_is_null(json_object_get(m, "high")));
    }
    json_decref(r);
    assert_null(strstr(expect_status(0, EVAL "--quiet")->out, "nan"));
}

/* Flags of sampling reach the samples, and a run as --samples is one to draw from. */
static void test_samples_of_a_model(void **state) {
    (void)state;
    json_t *one = expect_json(expect_status(
               0, "eval world.json --metric energy -n 60 --guidance 4 --steps 8 --json --quiet")),
           *two = expect_json(
               expect_status(0, "eval world.json --metric energy -n 60 --steps 8 --json --quiet")),
           *three = expect_json(expect_status(0, "eval --samples world.json --metric energy -n 60 "
                                                 "--steps 8 --json --quiet"));
    const double guided = value_of(json_object_get(one, "metrics"), "energy"),
                 plain = value_of(json_object_get(two, "metrics"), "energy"),
                 same = value_of(json_object_get(three, "metrics"), "energy");
    assert_true(guided > plain && plain == same);
    json_decref(one);
    json_decref(two);
    json_decref(three);
}

/* RUN as data is what it never saw, and as training data what it was trained on. */
static void test_data_of_a_run(void **state) {
    (void)state;
    json_t *r = expect_json(expect_status(0, "eval run --data run --training run --metric "
                                             "memorisation,kd --steps 2 --json --quiet"));
    const json_t *metrics = json_object_get(r, "metrics");
    assert_int_equal(json_integer_value(json_object_get(r, "count")), 12);
    assert_true(value_of(metrics, "memorisation-chance") == 0.8);
    value_of(metrics, "kd");
    assert_string_equal(json_string_value(json_object_get(r, "features")), "random:seed=0");
    json_decref(r);
    r = expect_json(expect_status(
        0, "eval run --data data --metric kd --per-class --steps 2 -n 30 --json --quiet"));
    assert_int_equal(json_array_size(json_object_get(r, "classes")), 3);
    json_decref(r);
}

static void test_mistakes(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *words, *complaint;
    } typed[] = {
        {2, "eval --metric fd", "SOURCE or --samples is missing"},
        {2, "eval world.json --samples a.safetensors --metric fd", "--samples has no effect"},
        {2, "eval --samples a.safetensors --metric fd", "--data is needed"},
        {2, "eval --samples a.safetensors --data b.npy --metric fid", "did you mean 'fd'?"},
        {2, "eval --samples a.safetensors --data b.npy --metric fd,fd", "named twice"},
        {2, "eval --samples a.safetensors --data b.npy --metric precision:k=0", "k"},
        {2, "eval --samples a.safetensors --data b.npy --metric recall:k=60 -n 50",
         "at least 61 samples, and there are 50"},
        {2, "eval --samples a.safetensors --data b.npy --metric fd -n 2",
         "2 samples are too few for a covariance of 2 features: at least 3"},
        {2, "eval --samples a.safetensors --data b.npy --metric accuracy", "needs a classifier"},
        {2, "eval --samples a.safetensors --data b.npy --metric psnr", "psnr is of images"},
        {2, "eval --samples data --data data --metric fd --features rand", "'random'"},
        {2, "eval --samples data --data data --metric ssim", "8 x 8 are smaller"},
        {1, "eval --samples a.safetensors --data data --metric fd", "another shape"},
        {1, "eval --samples nowhere.npy --data b.npy --metric fd", "nowhere.npy"},
        {2, "eval --samples a.safetensors --data b.npy --metric fd --cache x --resamples -1",
         "--resamples"},
        {2, "eval run --data run --metric fd --features run", "a denoiser"},
    };
    for (size_t i = 0; i < sizeof typed / sizeof *typed; i++)
        expect_complaint(expect_status(typed[i].status, "%s --quiet", typed[i].words),
                         typed[i].complaint);
    assert_false(exists("x"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_sets),           cmocka_unit_test(test_without_intervals),
        cmocka_unit_test(test_samples_of_a_model), cmocka_unit_test(test_data_of_a_run),
        cmocka_unit_test(test_mistakes),
    };
    return cmocka_run_group_tests(tests, prepare, scratch_leave);
}
