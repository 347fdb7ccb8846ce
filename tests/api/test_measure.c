/* test_measure.c - vn_eval and vn_eval_samples on sets of every kind: what is compared with what,
 * what is told of it, and what is refused. The numbers are tested in tests/metric. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/support_context.h"
#include "support/kernels.h"
#include "support/scratch.h"

static vn_model *world;

/* Samples of the world in files: a and b of 60 each, the second by another seed. */
static int prepare(void **state) {
    if (context_enter(state)) return -1;
    make_world("world.json");
    make_data("data", 40);
    if (vn_model_open(vn, "world.json", &world) != VN_OK) return -1;
    for (int i = 0; i < 2; i++) {
        vn_samples *s = NULL;
        vn_sample_options o = vn_sample_options_default();
        o.count = 60;
        o.seed = (uint64_t)i;
        expect_ok(vn, vn_sample(world, &o, &s));
        expect_ok(vn, vn_samples_save(s, i ? "b.safetensors" : "a.safetensors"));
        if (i == 0) expect_ok(vn, vn_samples_save(s, "a.npy"));
        vn_samples_close(&s);
    }
    return 0;
}

static int leave(void **state) {
    vn_model_close(&world);
    return context_leave(state);
}

static vn_eval_options of(const char *metric, const char *samples, const char *data) {
    vn_eval_options o = vn_eval_options_default();
    o.metric = metric;
    o.samples = samples;
    o.data = data;
    o.resamples = 20;
    return o;
}

static const vn_eval_row *find(const vn_eval_result *r, const char *key, int32_t label) {
    for (size_t i = 0; i < r->rows; i++)
        if (!strcmp(r->row[i].metric, key) && r->row[i].label == label) return &r->row[i];
    fail_msg("no %s of class %d", key, (int)label);
    return NULL;
}

/* The same numbers from each kind of file, from the model that drew them, and in another order of
 * the metrics. */
static void test_every_kind_of_set(void **state) {
    (void)state;
    vn_eval_result r = vn_eval_result_default();
    vn_eval_options o = of("fd,energy", "a.safetensors", "b.safetensors");
    expect_ok(vn, vn_eval_samples(vn, &o, &r));
    assert_true(r.count == 60 && r.data_count == 60 && r.available == 60 && !r.drawn);
    assert_string_equal(r.features, "raw");
    const double fd = find(&r, "fd", VN_LABEL_ALL)->value,
                 energy = find(&r, "energy", VN_LABEL_ALL)->value;
    assert_true(fd > 0);
    o = of("energy,fd", "a.npy", "b.safetensors");
    expect_ok(vn, vn_eval_samples(vn, &o, &r));
    assert_true(find(&r, "fd", VN_LABEL_ALL)->value == fd);
    assert_true(find(&r, "energy", VN_LABEL_ALL)->value == energy);
    assert_string_equal(r.measure[0].name, "energy distance");
    assert_true(r.measure[0].value == energy);
    /* the model with the seed of a: of each class in turn, as b is */
    o = of("fd", NULL, "b.safetensors");
    expect_ok(vn, vn_eval(world, &o, &r));
    assert_true(r.count == 60 && find(&r, "fd", VN_LABEL_ALL)->value == fd);
    assert_true(r.classes == 2 && r.drawn[0] == 30);
    o.seed = 1; /* and with that of b it is b itself */
    expect_ok(vn, vn_eval(world, &o, &r));
    assert_true(find(&r, "fd", VN_LABEL_ALL)->value == 0);
    o = of("psnr", "data", "data");
    expect_ok(vn, vn_eval_samples(vn, &o, &r));
    assert_true(r.count == 40 && isinf(find(&r, "psnr", VN_LABEL_ALL)->value) && !r.features);
    o = of("fd", "a.safetensors", "points:moons:count=200");
    expect_ok(vn, vn_eval_samples(vn, &o, &r));
    assert_true(r.count == 60 && r.data_count == 200);
}

static void test_counts(void **state) {
    (void)state;
    vn_eval_result r = vn_eval_result_default();
    vn_eval_options o = of("fd", "a.safetensors", "b.safetensors");
    o.count = 40;
    expect_ok(vn, vn_eval_samples(vn, &o, &r));
    assert_true(r.count == 40 && r.data_count == 40);
    o.data_count = -1;
    expect_ok(vn, vn_eval_samples(vn, &o, &r));
    assert_true(r.count == 40 && r.data_count == 60);
    o = of("fd", NULL, NULL); /* exact draws of the world */
    o.count = 30;
    o.data_count = 0;
    expect_ok(vn, vn_eval(world, &o, &r));
    assert_true(r.count == 30 && r.data_count == 30 && r.available == 0);
}

/* A class by itself is what its own samples alone give. */
static void test_classes_by_themselves(void **state) {
    (void)state;
    vn_eval_result r = vn_eval_result_default();
    vn_eval_options o = of("fd,precision", "a.safetensors", "b.safetensors");
    o.per_class = 1;
    expect_ok(vn, vn_eval_samples(vn, &o, &r));
    const vn_eval_row *one = find(&r, "fd", 1);
    const double fd = one->value;
    assert_int_equal(one->count, 30);
    find(&r, "precision", 0);
    find(&r, "fd", VN_LABEL_ALL);
    o.per_class = 0;
    o.label = 1;
    expect_ok(vn, vn_eval_samples(vn, &o, &r));
    assert_true(r.count == 30 && r.data_count == 30);
    assert_true(find(&r, "fd", VN_LABEL_ALL)->value == fd);
    /* and drawn: class b alone */
    o.samples = NULL;
    expect_ok(vn, vn_eval(world, &o, &r));
    assert_true(r.count == 30 && r.data_count == 30);
}

/* Samples that are the training data lie nearer to it; those of another draw do not. */
static void test_memorisation(void **state) {
    (void)state;
    vn_eval_result r = vn_eval_result_default();
    vn_eval_options o = of("memorisation", "a.safetensors", "b.safetensors");
    o.training = "a.npy";
    expect_ok(vn, vn_eval_samples(vn, &o, &r));
    assert_true(find(&r, "memorisation", VN_LABEL_ALL)->value == 1);
    assert_true(find(&r, "memorisation-chance", VN_LABEL_ALL)->value == 0.5);
    assert_true(find(&r, "memorisation-ratio", VN_LABEL_ALL)->value == 0);
    vn_samples *s = NULL;
    vn_sample_options draw = vn_sample_options_default();
    draw.count = 60;
    draw.seed = 5;
    expect_ok(vn, vn_sample(world, &draw, &s));
    expect_ok(vn, vn_samples_save(s, "c.safetensors"));
    vn_samples_close(&s);
    o.samples = "c.safetensors";
    expect_ok(vn, vn_eval_samples(vn, &o, &r));
    const vn_eval_row *row = find(&r, "memorisation", VN_LABEL_ALL);
    assert_true(row->low < 0.5 && 0.5 < row->high);
}

/* Kept features give the same numbers, and a damaged file is computed again. */
static void test_features_of_data_are_kept(void **state) {
    (void)state;
    vn_eval_result r = vn_eval_result_default();
    vn_eval_options o = of("kd", "data", "data");
    o.cache = "kept/here";
    o.seed = 3;
    expect_ok(vn, vn_eval_samples(vn, &o, &r));
    const double first = find(&r, "kd", VN_LABEL_ALL)->value;
    assert_string_equal(r.features, "random:seed=0");
    DIR *folder = opendir("kept/here");
    assert_non_null(folder);
    char name[512] = "";
    for (const struct dirent *e; (e = readdir(folder));)
        if (e->d_name[0] != '.') snprintf(name, sizeof name, "kept/here/%s", e->d_name);
    closedir(folder);
    assert_non_null(strstr(name, "features-"));
    struct stat before, after;
    assert_int_equal(stat(name, &before), 0);
    expect_ok(vn, vn_eval_samples(vn, &o, &r));
    assert_true(find(&r, "kd", VN_LABEL_ALL)->value == first);
    assert_int_equal(stat(name, &after), 0);
    assert_true(before.st_ino == after.st_ino); /* it was not written again */
    scratch_write_text(name, "nothing");
    expect_ok(vn, vn_eval_samples(vn, &o, &r));
    assert_true(find(&r, "kd", VN_LABEL_ALL)->value == first);
    assert_int_equal(stat(name, &after), 0);
    assert_int_equal(after.st_size, before.st_size);
}

static void test_what_cannot_be_compared_is_named(void **state) {
    (void)state;
    scratch_write("short.npy", "\x93NUMPY\x01", 7);
    const struct {
        const char *metric, *samples, *data, *features, *training;
        int per_class;
        int64_t count;
        int32_t label;
        const char *words;
    } cases[] = {
        {"fd", NULL, "b.safetensors", NULL, NULL, 0, 0, VN_LABEL_ALL, "`samples` is needed"},
        {"fd", "a.npy", NULL, NULL, NULL, 0, 0, VN_LABEL_ALL, "`data` is needed"},
        {"nll", "a.npy", "b.safetensors", NULL, NULL, 0, 0, VN_LABEL_ALL, "nll is of a model"},
        {"fd", "a.npy", "data", NULL, NULL, 0, 0, VN_LABEL_ALL, "another shape, [1, 8, 8]"},
        {"fd", "a.npy", "b.safetensors", NULL, NULL, 0, 61, VN_LABEL_ALL, "only 60 samples"},
        {"fd", "a.npy", "b.safetensors", NULL, "a.npy", 0, 0, VN_LABEL_ALL,
         "`training` has no effect"},
        {"psnr", "data", "data", "raw", NULL, 0, 0, VN_LABEL_ALL, "`features` has no effect"},
        {"memorisation", "a.npy", "b.safetensors", NULL, NULL, 0, 0, VN_LABEL_ALL,
         "`training` is needed"},
        {"fd", "a.safetensors", "b.safetensors", NULL, NULL, 0, 0, 7,
         "none of its 60 samples is of class 7"},
        {"fd", "short.npy", "b.safetensors", NULL, NULL, 0, 0, VN_LABEL_ALL, "short.npy: ends"},
        {"accuracy", "data", NULL, "random", NULL, 0, 0, VN_LABEL_ALL, "needs a classifier"},
        {"ssim", "data", "data", NULL, NULL, 0, 0, VN_LABEL_ALL, "8 x 8 are smaller"},
        {"w2", "a.npy", "points:moons:count=90", NULL, NULL, 0, 0, VN_LABEL_ALL,
         "60 samples and 90 of the data"},
        {"fd", "a.npy", "b.safetensors", "nosuch", NULL, 0, 0, VN_LABEL_ALL, "'nosuch'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vn_eval_result r = vn_eval_result_default();
        vn_eval_options o = of(cases[i].metric, cases[i].samples, cases[i].data);
        o.features = cases[i].features;
        o.training = cases[i].training;
        o.per_class = cases[i].per_class;
        o.count = cases[i].count;
        o.label = cases[i].label;
        assert_int_not_equal(vn_eval_samples(vn, &o, &r), VN_OK);
        if (!strstr(vn_error_text(vn), cases[i].words))
            fail_msg("'%s' lacks '%s'", vn_error_text(vn), cases[i].words);
        assert_null(strchr(vn_error_text(vn), '\n'));
        assert_int_equal(r.rows, 0);
    }
    assert_int_equal(vn_eval_samples(NULL, NULL, NULL), VN_BAD_ARGUMENT);
    expect_refused(vn_eval_samples(vn, NULL, NULL), VN_BAD_ARGUMENT, "options and result");
}

/* All samples of one class against all of the other. */
static void test_classes_that_differ_are_named(void **state) {
    (void)state;
    for (int32_t k = 0; k < 2; k++) {
        vn_samples *s = NULL;
        vn_sample_options o = vn_sample_options_default();
        o.count = 40;
        o.label = k;
        expect_ok(vn, vn_sample(world, &o, &s));
        expect_ok(vn, vn_samples_save(s, k ? "right.safetensors" : "left.safetensors"));
        vn_samples_close(&s);
    }
    vn_eval_result r = vn_eval_result_default();
    const vn_eval_options o = of("fd", "left.safetensors", "right.safetensors");
    expect_refused(vn_eval_samples(vn, &o, &r), VN_BAD_ARGUMENT,
                   "of class 0 left.safetensors has 40 samples and right.safetensors 0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_of_set),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_classes_by_themselves),
        cmocka_unit_test(test_memorisation),
        cmocka_unit_test(test_features_of_data_are_kept),
        cmocka_unit_test(test_what_cannot_be_compared_is_named),
        cmocka_unit_test(test_classes_that_differ_are_named),
    };
    return run_under_each_kernel_set(tests, prepare, leave);
}
