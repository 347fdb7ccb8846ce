/* test_precision.c - networks whose products are of bfloat16 numbers: near to float32 and not the
 * same, the same bits for any number of threads, and a run that goes on with its own precision. */
#include "api/support_context.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"

static vn_context *open_precision(const char *precision, int threads) {
    vn_context *out = NULL;
    vn_context_options o = vn_context_options_default();
    o.cpu = kernels->name;
    o.precision = precision;
    o.threads = threads;
    assert_int_equal(vn_context_open(&out, &o), VN_OK);
    return out;
}

static vn_train_options dit_options(int64_t steps) {
    vn_train_options o = tiny_options(steps);
    o.model = "dit:width=32,depth=2,heads=2,patch=2";
    o.batch = 16;
    o.lr = 1e-2; /* the blocks begin as nothing: they are to have grown */
    o.warmup = 1;
    return o;
}

/* 2 pictures of 8x8 of a run, in a context that is closed again. */
static void draw(vn_context *in, const char *run, float *out) {
    vn_model *m = NULL;
    vn_samples *samples = NULL;
    vn_sample_options o = vn_sample_options_default();
    o.count = 2;
    o.steps = 3;
    o.seed = 5;
    expect_ok(in, vn_model_open(in, run, &m));
    expect_ok(in, vn_sample(m, &o, &samples));
    memcpy(out, vn_samples_data(samples), 128 * sizeof(float));
    vn_samples_close(&samples);
    vn_model_close(&m);
    vn_context_close(&in);
}

static void samples_are_near_those_of_float32(void **state) {
    float exact[128], rounded[128], again[128];
    double square = 0, off = 0;
    (void)state;
    const vn_train_options t = dit_options(20);
    expect_ok(vn, vn_train(vn, "data", "run", &t, NULL));
    draw(open_precision("float32", 1), "run", exact);
    draw(open_precision("bf16", 1), "run", rounded);
    draw(open_precision("bf16", 2), "run", again);
    assert_memory_equal(rounded, again, sizeof again);
    for (int i = 0; i < 128; i++) {
        square += (double)exact[i] * (double)exact[i];
        off += ((double)exact[i] - (double)rounded[i]) * ((double)exact[i] - (double)rounded[i]);
    }
    /* A rounded operand is off by 2^-9 of itself at most, the results of many by less. */
    assert_true(sqrt(off / square) > 1e-5);
    expect_below("relative to float32", sqrt(off / square), 0x1p-9);
}

static bool same_weights(const char *a, const char *b) {
    char path[2][256];
    static unsigned char bytes[2][1 << 20];
    size_t size[2];
    const char *run[] = {a, b};
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/transformer/diffusion_pytorch_model.safetensors",
                 run[i]);
        FILE *f = fopen(path[i], "rb");
        if (!f) fail_msg("%s is missing", path[i]);
        size[i] = fread(bytes[i], 1, sizeof bytes[i], f);
        fclose(f);
    }
    return size[0] == size[1] && size[0] > 0 && memcmp(bytes[0], bytes[1], size[0]) == 0;
}

static void a_run_goes_on_with_its_own_precision(void **state) {
    (void)state;
    vn_train_options t = dit_options(6), half = dit_options(6);
    vn_context *one = open_precision("bf16", 1), *two = open_precision("bf16", 2);
    expect_ok(vn, vn_train(vn, "data", "float", &t, NULL));
    expect_ok(one, vn_train(one, "data", "whole", &t, NULL));
    assert_false(same_weights("float", "whole"));
    half.schedule = t.schedule = "constant";
    half.steps = 3;
    t.overwrite = 1;
    expect_ok(one, vn_train(one, "data", "whole", &t, NULL));
    expect_ok(two, vn_train(two, "data", "parts", &half, NULL));
    vn_train_options on = vn_train_options_default();
    on.resume = 1;
    on.steps = 6;
    expect_refused(vn_train(vn, "data", "parts", &on, NULL), VN_BAD_ARGUMENT,
                   "`precision`: the run began with bf16 and would go on with float32");
    expect_ok(two, vn_train(two, "data", "parts", &on, NULL));
    assert_true(same_weights("whole", "parts"));
    assert_int_equal(vn_train(two, "data", "float", &on, NULL), VN_BAD_ARGUMENT);
    assert_non_null(strstr(vn_error_text(two), "began with float32"));
    vn_context_close(&one);
    vn_context_close(&two);
}

static int enter(void **state) {
    const int failed = context_enter(state);
    if (!failed) make_data("data", 40);
    return failed;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(samples_are_near_those_of_float32),
                                       cmocka_unit_test(a_run_goes_on_with_its_own_precision)};
    return run_under_each_kernel_set(tests, enter, context_leave);
}
