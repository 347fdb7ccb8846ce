/* test_train_on.c - training on samples of a program's own: the bits are those of the same samples
 * in a file, in arrays or from a callback, resumed or not; what is other data is refused; and
 * samples that bring their noise are learned as pairs. */
#include "api/support_api.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "support/bound.h"
#include "support/scratch.h"

#define ARRAYS(name) VN_SOURCE_DIR "/tests/golden/arrays/" name ".npz"

enum { N = 7, H = 4, W = 5, D = 3 };

static vn_context *vn;

/* The samples of arrays/points32.npz, colour.npz and pairs-points.npz: see arrays.py. */
static float points[N * D], images[N * 3 * H * W], noise[N * D];
static int32_t labels[N];

static int enter(void **state) {
    for (int i = 0; i < N; i++) {
        labels[i] = i % 3;
        for (int d = 0; d < D; d++) points[i * D + d] = (float)i - (float)d / 4;
        for (int d = 0; d < D; d++) noise[i * D + d] = 10 * points[i * D + d] + 1;
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < H; y++)
                for (int x = 0; x < W; x++)
                    images[((i * 3 + c) * H + y) * W + x] =
                        (float)((131 * i + 17 * y + 5 * x + 71 * c) % 256) / 127.5f - 1.0f;
    }
    scratch_enter(state);
    return vn_context_open(&vn, NULL) ? -1 : 0;
}

static int leave(void **state) {
    vn_context_close(&vn);
    return scratch_leave(state);
}

static vn_train_data points_data(void) {
    vn_train_data d = vn_train_data_default();
    d.count = N;
    d.sample = (vn_shape){1, {D}};
    d.samples = points;
    d.labels = labels;
    d.classes = 3;
    return d;
}

static vn_train_data images_data(void) {
    static const char *const names[] = {"a", "b\xc3\xa9", "c \xe2\x98\x95"};
    vn_train_data d = points_data();
    d.sample = (vn_shape){3, {3, H, W}};
    d.samples = images;
    d.class_names = names;
    return d;
}

/* A callback that gives the samples of a vn_train_data of arrays, which is its user. */
static int calls;

static vn_status read_array(void *user, int64_t i, float *out, float *its_noise) {
    const vn_train_data *d = user;
    size_t size = 1;
    calls++;
    for (int k = 0; k < d->sample.rank; k++) size *= (size_t)d->sample.dim[k];
    memcpy(out, d->samples + (size_t)i * size, size * sizeof *out);
    if (its_noise) memcpy(its_noise, d->noise + (size_t)i * size, size * sizeof *out);
    return VN_OK;
}

static vn_train_data by_callback(const vn_train_data *arrays) {
    vn_train_data d = *arrays;
    d.samples = d.noise = NULL;
    d.has_noise = arrays->noise != NULL;
    d.read = read_array;
    d.user = (void *)arrays;
    d.key = 5;
    return d;
}

static vn_train_options few(const char *model, int64_t steps) {
    vn_train_options o = tiny_options(steps);
    o.model = model;
    o.validate = 0.3;
    o.microbatches = 2;
    return o;
}

/* The run's weights; freed by the caller. */
static char *weights_of(const char *run, const char *folder, size_t *size) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s/diffusion_pytorch_model.safetensors", run, folder);
    return scratch_read(path, size);
}

static void expect_same(const char *a, const char *b, const char *folder) {
    size_t size_a, size_b;
    char *one = weights_of(a, folder, &size_a), *other = weights_of(b, folder, &size_b);
    assert_int_equal(size_a, size_b);
    assert_memory_equal(one, other, size_a);
    free(one);
    free(other);
}

/* ---- the same samples ------------------------------------------------------------------------ */

static void train_three_ways(const char *file, const vn_train_data *arrays,
                             const vn_train_options *o, const char *folder) {
    const vn_train_data callback = by_callback(arrays);
    scratch_remove("file");
    scratch_remove("arrays");
    scratch_remove("callback");
    calls = 0;
    expect_ok(vn, vn_train(vn, file, "file", o, NULL));
    expect_ok(vn, vn_train_on(vn, arrays, "arrays", o, NULL));
    expect_ok(vn, vn_train_on(vn, &callback, "callback", o, NULL));
    assert_true(calls >= o->steps * o->batch);
    expect_same("file", "arrays", folder);
    expect_same("file", "callback", folder);
}

static void the_bits_are_those_of_a_file(void **state) {
    (void)state;
    vn_train_options o = few("mlp:width=8,layers=1", 4);
    vn_train_data d = points_data();
    train_three_ways(ARRAYS("points32"), &d, &o, "model");
    d.noise = noise;
    train_three_ways(ARRAYS("pairs-points"), &d, &o, "model");
    o = few("unet2d:channels=8,levels=1", 3);
    o.flip = 1;
    d = images_data();
    train_three_ways(ARRAYS("colour"), &d, &o, "unet");
}

/* Noise makes another run of the same samples. */
static void noise_that_is_brought_is_used(void **state) {
    (void)state;
    size_t size_a, size_b;
    const vn_train_options o = few("mlp:width=8,layers=1", 2);
    vn_train_data d = points_data();
    expect_ok(vn, vn_train_on(vn, &d, "drawn", &o, NULL));
    d.noise = noise;
    expect_ok(vn, vn_train_on(vn, &d, "brought", &o, NULL));
    char *a = weights_of("drawn", "model", &size_a), *b = weights_of("brought", "model", &size_b);
    assert_true(size_a == size_b && memcmp(a, b, size_a) != 0);
    free(a);
    free(b);
}

/* ---- going on -------------------------------------------------------------------------------- */

static void a_resumed_run_ends_in_the_same_bits(void **state) {
    (void)state;
    vn_train_options o = few("mlp:width=8,layers=1", 9), first = few("mlp:width=8,layers=1", 4),
                     then = vn_train_options_default();
    vn_train_result result = vn_train_result_default();
    vn_train_data d = points_data();
    d.noise = noise;
    const vn_train_data callback = by_callback(&d);
    const vn_train_data *const both[] = {&d, &callback};
    then.steps = 9;
    then.resume = 1;
    for (int i = 0; i < 2; i++) {
        scratch_remove("whole");
        scratch_remove("parts");
        expect_ok(vn, vn_train_on(vn, both[i], "whole", &o, NULL));
        expect_ok(vn, vn_train_on(vn, both[i], "parts", &first, NULL));
        expect_ok(vn, vn_train_on(vn, both[i], "parts", &then, &result));
        assert_int_equal(result.steps, 9);
        expect_same("whole", "parts", "model");
    }
}

static void expect_refused(const vn_train_data *d, const char *run, const vn_train_options *o,
                           const char *words) {
    assert_int_equal(vn_train_on(vn, d, run, o, NULL), VN_BAD_ARGUMENT);
    if (!strstr(vn_error_text(vn), words)) fail_msg("%s", vn_error_text(vn));
}

static void other_samples_do_not_go_on(void **state) {
    (void)state;
    static const char words[] = "is not the data that";
    vn_train_options o = few("mlp:width=8,layers=1", 2), more = vn_train_options_default();
    float moved[N * D], other_noise[N * D];
    int32_t turned[N];
    vn_train_data d = points_data();
    d.name = "memory";
    d.noise = noise;
    const vn_train_data good = d;
    more.steps = 3;
    more.resume = 1;
    scratch_remove("run");
    expect_ok(vn, vn_train_on(vn, &d, "run", &o, NULL));
    memcpy(moved, points, sizeof moved);
    memcpy(other_noise, noise, sizeof other_noise);
    memcpy(turned, labels, sizeof turned);
    moved[N * D - 1] += 1e-3f;
    other_noise[0] += 1e-3f;
    turned[0] = 1, turned[1] = 0;
    d.samples = moved;
    expect_refused(&d, "run", &more, "memory is not the data that run was trained on");
    d = good, d.noise = other_noise;
    expect_refused(&d, "run", &more, words);
    d = good, d.noise = NULL;
    expect_refused(&d, "run", &more, words);
    d = good, d.labels = turned;
    expect_refused(&d, "run", &more, words);
    d = good, d.count = N - 1;
    expect_refused(&d, "run", &more, words);
    expect_ok(vn, vn_train_on(vn, &good, "run", &more, NULL));
    /* a callback is known by its key */
    vn_train_data callback = by_callback(&good);
    scratch_remove("run");
    expect_ok(vn, vn_train_on(vn, &callback, "run", &o, NULL));
    callback.key = 6;
    expect_refused(&callback, "run", &more, words);
    callback.key = 5;
    expect_ok(vn, vn_train_on(vn, &callback, "run", &more, NULL));
    /* and no file is either */
    more.steps = 4;
    assert_int_equal(vn_train(vn, ARRAYS("points32"), "run", &more, NULL), VN_BAD_ARGUMENT);
}

/* ---- what is refused, and what fails --------------------------------------------------------- */

static void members_that_make_no_sense_are_named(void **state) {
    (void)state;
    vn_train_options o = few("mlp:width=8,layers=1", 2);
    static const int32_t outside[N] = {0, 1, 3};
    static const char *const holes[] = {"a", NULL, "c"};
    float broken[N * D];
    memcpy(broken, points, sizeof broken);
    broken[4 * D] = (float)NAN;
    const vn_train_data good = points_data(), callback = by_callback(&good);
    vn_train_data d;
    d = good, d.samples = NULL;
    expect_refused(&d, "no", &o, "callback: vn_train_data has neither `samples` nor `read`");
    d = callback, d.samples = points;
    expect_refused(&d, "no", &o, "vn_train_data has both `samples` and `read`");
    d = callback, d.noise = noise;
    expect_refused(&d, "no", &o, "`noise` goes with `samples`");
    d = good, d.key = 1;
    expect_refused(&d, "no", &o, "arrays: `key` has no effect without `read`");
    d = good, d.has_noise = 1;
    expect_refused(&d, "no", &o, "`has_noise` has no effect without `read`");
    d = good, d.labels = NULL;
    expect_refused(&d, "no", &o, "`classes` has no effect without `labels`");
    d = good, d.classes = 0;
    expect_refused(&d, "no", &o, "`classes` is 0");
    d = good, d.labels = outside;
    expect_refused(&d, "no", &o, "label 3 of sample 2 is not in [0, 3)");
    d = good, d.class_names = holes;
    expect_refused(&d, "no", &o, "class 1 has no name");
    d = good, d.count = 0;
    expect_refused(&d, "no", &o, "`count` is 0");
    d = good, d.count = INT64_MAX / 8;
    expect_refused(&d, "no", &o, "arrays: its 1152921504606846975 samples would take");
    d = good, d.sample = (vn_shape){2, {3, 4}};
    expect_refused(&d, "no", &o, "`sample` is [3, 4]: images are [C,H,W], points [D]");
    d = good, d.sample = (vn_shape){99, {0}};
    expect_refused(&d, "no", &o, "`sample` has 99 axes");
    d = good, d.sample = (vn_shape){1, {0}};
    expect_refused(&d, "no", &o, "`sample` is [0]");
    d = good, d.samples = broken;
    expect_refused(&d, "no", &o, "the array of sample 4 has a number that is not finite");
    d = good, d.noise = broken;
    expect_refused(&d, "no", &o, "the noise of sample 4 has a number that is not finite");
    d = good;
    o.size = 8;
    expect_refused(&d, "no", &o, "size has no effect on arrays");
    o.size = 0, o.skip_bad = 1;
    expect_refused(&d, "no", &o, "`skip_bad` has no effect on arrays");
    o.skip_bad = 0, o.flip = 1;
    expect_refused(&d, "no", &o, "flip has no effect on points");
    assert_int_equal(vn_train_on(vn, NULL, "no", &o, NULL), VN_BAD_ARGUMENT);
    assert_int_equal(vn_train_on(NULL, &d, "no", &o, NULL), VN_BAD_ARGUMENT);
    assert_false(access("no", F_OK) == 0);
}

static int64_t fails_at;
static float gives;

static vn_status read_and_fail(void *user, int64_t i, float *out, float *its_noise) {
    const vn_status status = read_array(user, i, out, its_noise);
    if (i != fails_at || calls < 15) return status;
    out[1] = gives;
    return isfinite(gives) ? VN_IO : VN_OK;
}

/* After a step that was made the run stays, and goes on when the callback can. */
static void a_callback_that_fails_ends_the_call(void **state) {
    (void)state;
    const vn_train_data arrays = points_data();
    vn_train_options o = few("mlp:width=8,layers=1", 6), more = vn_train_options_default();
    for (int k = 0; k < 2; k++) {
        vn_train_result result = vn_train_result_default();
        vn_train_data d = by_callback(&arrays);
        d.read = read_and_fail;
        fails_at = 2;
        gives = k ? (float)INFINITY : 0;
        calls = 0;
        scratch_remove("run");
        scratch_remove("whole");
        o.validate = 0;
        assert_int_equal(vn_train_on(vn, &d, "run", &o, &result), k ? VN_BAD_ARGUMENT : VN_IO);
        const char *words = k ? "callback: the array of sample 2 has a number that is not finite"
                              : "callback: `read` failed at sample 2 (";
        if (!strstr(vn_error_text(vn), words)) fail_msg("%s", vn_error_text(vn));
        assert_int_equal(result.end, VN_TRAIN_FAILED);
        assert_true(result.steps >= 1 && result.steps < 6);
        fails_at = -1;
        more.resume = 1;
        expect_ok(vn, vn_train_on(vn, &d, "run", &more, NULL));
        expect_ok(vn, vn_train_on(vn, &arrays, "whole", &o, NULL));
        expect_same("whole", "run", "model");
    }
}

/* ---- pairs ----------------------------------------------------------------------------------- */

/* x0 = 1 + eps/2 in each of two coordinates. As a coupling the velocity eps - x0 at (x_t, t) is one
 * number, so that the least loss is 0; with independent noise it is the mean over t of its variance
 * s^2 / ((1-t)^2 s^2 + t^2), which is s pi/2 = 0.785 for s = 1/2. */
static void pairs_are_learned_as_pairs(void **state) {
    (void)state;
    enum { COUNT = 2000 };
    static float x0[COUNT * 2], eps[COUNT * 2];
    vn_samples *drawn = NULL;
    vn_model *normal = NULL;
    vn_sample_options s = vn_sample_options_default();
    /* numbers of a normal distribution, from an exact model of it */
    scratch_write_text("normal.json",
                       "{\"classes\": [{\"name\": \"n\", \"components\": [{\"weight\""
                       ": 1, \"mean\": [0, 0], \"std\": 1}]}]}");
    expect_ok(vn, vn_model_open(vn, "normal.json", &normal));
    s.count = COUNT;
    s.guidance = 1;
    s.sampler = "heun";
    s.steps = 16;
    expect_ok(vn, vn_sample(normal, &s, &drawn));
    memcpy(eps, vn_samples_data(drawn), sizeof eps);
    for (int i = 0; i < COUNT * 2; i++) x0[i] = 1 + eps[i] / 2;
    vn_samples_close(&drawn);
    vn_model_close(&normal);

    vn_train_data d = vn_train_data_default();
    d.count = COUNT;
    d.sample = (vn_shape){1, {2}};
    d.samples = x0;
    vn_train_options o = tiny_options(600);
    o.model = "mlp:width=32,layers=2";
    o.times = "uniform";
    o.batch = 64;
    o.validate =
        0.25; /* 500, whose loss of squares of normals is off by 0.05, and 600 steps leave some */
    o.lr = 3e-3;
    vn_train_result alone = vn_train_result_default(), paired = vn_train_result_default();
    expect_ok(vn, vn_train_on(vn, &d, "alone", &o, &alone));
    d.noise = eps;
    expect_ok(vn, vn_train_on(vn, &d, "paired", &o, &paired));
    print_message("held-out loss: independent %.3f, paired %.4f\n", alone.held_loss,
                  paired.held_loss);
    expect_small(fabs(alone.held_loss - 0.785), 0.22);
    expect_small(paired.held_loss, 2e-3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bits_are_those_of_a_file),
        cmocka_unit_test(noise_that_is_brought_is_used),
        cmocka_unit_test(a_resumed_run_ends_in_the_same_bits),
        cmocka_unit_test(other_samples_do_not_go_on),
        cmocka_unit_test(members_that_make_no_sense_are_named),
        cmocka_unit_test(a_callback_that_fails_ends_the_call),
        cmocka_unit_test(pairs_are_learned_as_pairs),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
