/* test_memory.c - memory: steps take none, and a whole train-and-sample run survives each
 * allocation failing in turn. */
#include "support/alloc.h"

#include "api/support_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/kernels.h"
#include "support/scratch.h"

/* ---- no allocation in a step ----------------------------------------------------------------- */

enum { MAX_STEPS = 64 };

/* Allocations made so far, at each report. */
typedef struct record {
    int64_t made[MAX_STEPS];
    int count;
} record;

static int note(void *user, const vn_progress *p) {
    record *r = user;
    (void)p;
    if (r->count < MAX_STEPS) r->made[r->count++] = alloc_made();
    return 0;
}

static vn_context *open_context(record *r) {
    vn_context_options o = vn_context_options_default();
    o.cpu = kernels->name;
    o.threads = 2;
    o.progress = r ? note : NULL;
    o.user = r;
    vn_context *vn = NULL;
    return vn_context_open(&vn, &o) == VN_OK ? vn : NULL;
}

/* After the first two reports: what is taken once has been taken. */
static void expect_none_between(const record *r, int last) {
    assert_true(last > 6 && last <= r->count);
    for (int i = 2; i + 1 < last; i++)
        if (r->made[i + 1] != r->made[i])
            fail_msg("%lld allocations between reports %d and %d",
                     (long long)(r->made[i + 1] - r->made[i]), i, i + 1);
}

static void test_a_training_step_does_not_allocate(void **state) {
    (void)state;
    for (int recompute = 0; recompute < 2; recompute++) {
        record r = {.count = 0};
        vn_context *vn = open_context(&r);
        vn_train_options o = tiny_options(20);
        o.recompute = recompute;
        expect_ok(vn, vn_train(vn, "data", recompute ? "again" : "steps", &o, NULL));
        expect_none_between(&r, r.count - 1); /* the last step saves */
        vn_context_close(&vn);
    }
}

static void test_a_sampling_step_does_not_allocate(void **state) {
    (void)state;
    static const char *const samplers[] = {"euler", "heun", "ddim", "dpmpp-2m", "ddpm"};
    for (size_t i = 0; i < sizeof samplers / sizeof *samplers; i++) {
        record r = {.count = 0};
        vn_context *vn = open_context(&r);
        vn_model *model = NULL;
        vn_samples *out = NULL;
        vn_sample_options o = vn_sample_options_default();
        o.count = 4;
        o.steps = 20;
        o.guidance = 3;
        o.guide = "cfg,interval:lo=0.2,hi=2";
        o.sampler = samplers[i];
        expect_ok(vn, vn_model_open(vn, "steps", &model));
        expect_ok(vn, vn_sample(model, &o, &out)); /* plans the network for one pass and for two */
        vn_samples_close(&out);
        r.count = 0;
        expect_ok(vn, vn_sample(model, &o, &out));
        expect_none_between(&r, r.count);
        vn_samples_close(&out);
        vn_model_close(&model);
        vn_context_close(&vn);
    }
}

/* ---- every allocation fails once ------------------------------------------------------------- */

/* Trains two steps with a preview and a checkpoint, samples, saves in each format. Returns the
 * first failure. */
static vn_status train_and_sample(void) {
    vn_context *vn = open_context(NULL);
    if (!vn) return VN_NO_MEMORY;
    vn_train_options o = tiny_options(2);
    o.model = "unet2d:channels=4,levels=2,attention=1";
    o.recompute = 1;
    o.overwrite = 1;
    o.log_every = 1;
    o.preview_every = 2;
    vn_model *model = NULL;
    vn_samples *out = NULL;
    vn_sample_options s = vn_sample_options_default();
    s.count = 2;
    s.steps = 2;
    s.guidance = 2;
    s.trace = 1;
    vn_status status = vn_train(vn, "data", "run", &o, NULL);
    if (!status) status = vn_model_open(vn, "run", &model);
    if (!status) status = vn_sample(model, &s, &out);
    if (!status) status = vn_samples_append(out, out);
    if (!status) status = vn_samples_save(out, "out.png");
    if (!status) status = vn_samples_save(out, "out.safetensors");
    if (!status) status = vn_samples_save(out, "out.npy");
    vn_sample_options bands[] = {s, s};
    bands[1].guidance = 1;
    if (!status)
        status = vn_sample_to(model, bands, 2, "out.safetensors", VN_EXISTING_REFUSE, NULL);
    bands[0].trace = bands[1].trace = 0;
    if (!status) status = vn_sample_to(model, bands, 2, "out", VN_EXISTING_REPLACE, NULL);
    if (!status) status = vn_sample_check(model, bands, 2, "out", VN_EXISTING_APPEND);
    if (!status) status = vn_sample_check(model, bands, 2, "out.png", VN_EXISTING_REFUSE);
    char *text = NULL;
    if (!status) status = vn_describe(vn, "run", &text);
    vn_text_free(&text);
    if (!status) status = vn_describe_plan(vn, "run", 2, &text);
    vn_text_free(&text);
    vn_samples_close(&out);
    vn_model_close(&model);
    vn_context_close(&vn);
    return status;
}

static void test_each_allocation_may_fail(void **state) {
    (void)state;
    assert_int_equal(train_and_sample(), VN_OK);
    const int64_t before = alloc_made();
    assert_int_equal(train_and_sample(), VN_OK);
    const int64_t total = alloc_made() - before, live = alloc_live();
    /* All of them would be tens of thousands of runs, which VANE_TEST_EVERY_ALLOCATION makes: else
     * the first, which differ most, and about 150 of the others, evenly. */
    const char *all = getenv("VANE_TEST_EVERY_ALLOCATION");
    const int64_t stride = all ? 1 : total / 150 + 1;
    int64_t failed = 0, survived = 0;
    for (int64_t n = 0; n < total; n += n < 60 ? 1 : stride) {
        alloc_fail(n, ALLOC_ONCE);
        const vn_status status = train_and_sample();
        if (!alloc_fail_end()) break;
        /* without some one gets by: those of libc, and of a preview, which is left out */
        if (status != VN_NO_MEMORY && status)
            fail_msg("allocation %lld: %s", (long long)n, vn_status_name(status));
        status == VN_NO_MEMORY ? failed++ : survived++;
        if (alloc_live() != live)
            fail_msg("allocation %lld: %lld blocks leak", (long long)n,
                     (long long)(alloc_live() - live));
    }
    print_message("%lld failed, %lld were got by without, of at most a third\n", (long long)failed,
                  (long long)survived);
    assert_true(failed > 2 * survived && failed + survived >= 60);
    assert_int_equal(train_and_sample(), VN_OK);
}

static int prepare(void **state) {
    scratch_enter(state);
    make_data("data", 24);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_training_step_does_not_allocate),
        cmocka_unit_test(test_a_sampling_step_does_not_allocate),
        cmocka_unit_test(test_each_allocation_may_fail),
    };
    return run_under_each_kernel_set(tests, prepare, scratch_leave);
}
