/* test_train_memory.c - what would not fit in memory is refused before anything of it is made, with
 * what it would take, what there is, and a choice that does fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "base/base.h"
#include "image/image.h"
#include "support/scratch.h"

static void make_pictures(int width, int height) {
    vn_image image;
    assert_int_equal(vn_image_alloc(&image, width, height, 3, NULL), VN_OK);
    memset(image.pixels, 77, (size_t)(width * height * 3));
    mkdir("photos", 0777);
    mkdir("photos/a", 0777);
    assert_int_equal(vn_png_write("photos/a/1.png", &image, NULL, 0, NULL), VN_OK);
    assert_int_equal(vn_png_write("photos/a/2.png", &image, NULL, 0, NULL), VN_OK);
    vn_image_free(&image);
}

static const char *refused(vn_context *vn, const char *data, const vn_train_options *o) {
    assert_int_equal(vn_train(vn, data, "run", o, NULL), VN_NO_MEMORY);
    assert_false(vn_is_dir("run"));
    return vn_error_text(vn);
}

static vn_train_options options(int64_t size, int64_t batch) {
    vn_train_options o = vn_train_options_default();
    o.steps = 1;
    o.size = size;
    o.batch = batch;
    o.preview_every = -1;
    return o;
}

static int64_t number_behind(const char *text, const char *word) {
    const char *at = strstr(text, word);
    if (!at) fail_msg("%s: no %s", text, word);
    return strtoll(at + strlen(word), NULL, 10);
}

/* Four photographs of 24 megapixels were "out of memory": now it is said of what, and the size
 * named can be trained. */
static void large_pictures_are_refused_with_a_size_that_fits(void **state) {
    vn_context *vn = *state;
    make_pictures(600, 400);
    setenv("VANE_MEMORY", "2G", 1);
    vn_train_options o = options(-1, 64);
    const char *text = refused(vn, "photos", &o);
    assert_non_null(strstr(text, "photos: training at 600x400 would take 14 GB with 64 samples in "
                                 "a step, and there are 2.1 GB of "
                                 "memory: use `size=64`, `microbatches=16` or `batch=4`"));
    o = options(64, 64);
    assert_int_equal(vn_train(vn, "photos", "run", &o, NULL), VN_OK);
    scratch_remove("run");
}

static void a_batch_that_does_not_fit_names_one_that_does(void **state) {
    vn_context *vn = *state;
    setenv("VANE_MEMORY", "64M", 1);
    vn_train_options o = options(0, 65536);
    const char *text = refused(vn, "points:moons:count=1000", &o);
    assert_non_null(strstr(text, "with 65536 samples in a step, and there are 67 MB of memory: use "
                                 "`microbatches="));
    const int64_t batch = number_behind(text, "` or `batch="),
                  parts = number_behind(text, "`microbatches=");
    assert_in_range(batch, 1024, 32768);
    o = options(0, batch);
    assert_int_equal(vn_train(vn, "points:moons:count=1000", "run", &o, NULL), VN_OK);
    scratch_remove("run");
    o = options(0, 65536);
    o.microbatches = parts / 2;
    refused(vn, "points:moons:count=1000", &o);
    o.microbatches = parts;
    assert_int_equal(vn_train(vn, "points:moons:count=1000", "run", &o, NULL), VN_OK);
    scratch_remove("run");
}

static void a_model_that_does_not_fit_is_refused_too(void **state) {
    vn_context *vn = *state;
    setenv("VANE_MEMORY", "64M", 1);
    vn_train_options o = options(0, 64);
    o.model = "mlp:width=2048,layers=8";
    const char *text = refused(vn, "points:moons:count=1000", &o);
    assert_non_null(strstr(text, "of memory: use a smaller model, or `recompute`"));
}

/* The plan of a step on so many threads. */
static int64_t planned_on(int threads, vn_train_result *r) {
    vn_context_options with = vn_context_options_default();
    vn_context *vn = NULL;
    vn_train_options o = options(0, 4096);
    with.threads = threads;
    assert_int_equal(vn_context_open(&vn, &with), VN_OK);
    o.microbatches = 2;
    if (vn_train(vn, "points:moons:count=1000", "run", &o, r)) fail_msg("%s", vn_error_text(vn));
    vn_context_close(&vn);
    scratch_remove("run");
    return r->planned_bytes;
}

/* Two threads compute two microbatches at the same time, unless memory is for one alone. */
static void as_many_microbatches_at_once_as_fit(void **state) {
    (void)state;
    unsetenv("VANE_MEMORY");
    vn_train_result one = vn_train_result_default(), two = one, bounded = one;
    const int64_t less = planned_on(1, &one), more = planned_on(2, &two);
    char between[32];
    assert_true(more > less);
    snprintf(between, sizeof between, "%lld", (long long)(less + more) / 2);
    setenv("VANE_MEMORY", between, 1);
    assert_in_range(planned_on(2, &bounded), less, (less + more) / 2);
    assert_true(one.loss == two.loss && one.loss == bounded.loss);
    unsetenv("VANE_MEMORY");
}

/* Not even a resume, which would find its run too large for another machine, touches it. */
static void a_run_that_no_longer_fits_is_left_alone(void **state) {
    vn_context *vn = *state;
    unsetenv("VANE_MEMORY");
    vn_train_options o = options(0, 4096);
    assert_int_equal(vn_train(vn, "points:moons:count=1000", "run", &o, NULL), VN_OK);
    vn_train_options on = vn_train_options_default();
    on.resume = 1;
    on.steps = 2;
    on.preview_every = -1;
    setenv("VANE_MEMORY", "16M", 1);
    assert_int_equal(vn_train(vn, "points:moons:count=1000", "run", &on, NULL), VN_NO_MEMORY);
    assert_non_null(strstr(vn_error_text(vn), "17 MB of memory"));
    unsetenv("VANE_MEMORY");
    assert_int_equal(vn_train(vn, "points:moons:count=1000", "run", &on, NULL), VN_OK);
    scratch_remove("run");
}

/* A config of a few hundred bytes, with a weights file of ten, that claims to know millions of
 * classes: each would have a name. */
static void a_config_cannot_claim_more_than_its_weights_hold(void **state) {
    vn_context *vn = *state;
    vn_model *model = NULL;
    mkdir("claims", 0777);
    scratch_write_text(
        "claims/config.json",
        "{\"_class_name\": \"UNet2DModel\", \"sample_size\": 8, \"in_channels\": 1, "
        "\"out_channels\": 1, "
        "\"block_out_channels\": [8, 8], \"layers_per_block\": 1, \"norm_num_groups\": 4, "
        "\"down_block_types\": [\"DownBlock2D\", \"DownBlock2D\"], "
        "\"up_block_types\": [\"UpBlock2D\", \"UpBlock2D\"], \"num_class_embeds\": 20000000}");
    scratch_write("claims/diffusion_pytorch_model.safetensors", "\2\0\0\0\0\0\0\0{}", 10);
    unsetenv("VANE_MEMORY");
    struct timespec began, ended;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &began);
    setenv("VANE_MEMORY", "100G", 1);
    assert_int_equal(vn_model_open(vn, "claims", &model), VN_BAD_FILE);
    assert_non_null(strstr(vn_error_text(vn), "claims/diffusion_pytorch_model.safetensors: "));
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ended);
    assert_true(ended.tv_sec - began.tv_sec < 2); /* names alone took seconds and a gigabyte */
    setenv("VANE_MEMORY", "1G", 1);
    assert_int_equal(vn_model_open(vn, "claims", &model), VN_BAD_FILE);
    vn_bench_options o = vn_bench_options_default(); /* floats of its own, four arrays of them */
    vn_bench_result r = vn_bench_result_default();
    assert_int_equal(vn_bench(vn, "claims", &o, &r), VN_NO_MEMORY);
    assert_non_null(strstr(vn_error_text(vn), "claims: its weights would take 10"));
    assert_non_null(strstr(vn_error_text(vn), " GB, and there are 1.1 GB of memory"));
    unsetenv("VANE_MEMORY");
}

static int enter(void **state) {
    scratch_enter(state);
    vn_context *vn = NULL;
    const vn_status status = vn_context_open(&vn, NULL);
    *state = vn;
    return status;
}

static int leave(void **state) {
    vn_context *vn = *state;
    unsetenv("VANE_MEMORY");
    vn_context_close(&vn);
    return scratch_leave(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_pictures_are_refused_with_a_size_that_fits),
        cmocka_unit_test(a_batch_that_does_not_fit_names_one_that_does),
        cmocka_unit_test(a_model_that_does_not_fit_is_refused_too),
        cmocka_unit_test(as_many_microbatches_at_once_as_fit),
        cmocka_unit_test(a_run_that_no_longer_fits_is_left_alone),
        cmocka_unit_test(a_config_cannot_claim_more_than_its_weights_hold),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
