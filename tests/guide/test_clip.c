/* Guides that replace x0 by one within bounds: exactly, the noise with it or not, and never hiding
 * what is no number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "guide/guide.h"
#include "support/bound.h"

#define SIZE 4

static const float said[SIZE] = {0.5F, -3, 1.25F, -1};

/* Answers x0 = said, with NaN in the place of its third number where the label is 1. */
static vn_status predict(void *self, const vn_query *q, float *raw, vn_err *err) {
    (void)self, (void)err;
    memcpy(raw, said, sizeof said);
    if (q->condition[0] == 1) raw[2] = NAN;
    return VN_OK;
}

/* x0 and eps of one sample at alpha 0.6, sigma 0.8 and x = 1. */
static void guided(const char *guide, int32_t label, float *x0, float *eps, double *passes) {
    vn_err err = {0};
    vn_path *path;
    vn_denoiser d = {.sample = VN_SHAPE(SIZE),
                     .size = SIZE,
                     .conditions = {.classes = 2, .has_null = true},
                     .predict = predict};
    const vn_level level = {.t = 0.5, .alpha = 0.6, .sigma = 0.8};
    const float x[SIZE] = {1, 1, 1, 1};
    vn_guidance *g;
    assert_int_equal(vn_path_open("vp", &path, &err), VN_OK);
    assert_int_equal(vn_prediction_parse("x0", &d.prediction, &err), VN_OK);
    d.path = path;
    const vn_guidance_options o = {.guide = guide, .gamma = 1, .denoiser = &d, .capacity = 1};
    if (vn_guidance_open(&o, &g, &err)) fail_msg("%s", err.text);
    vn_guidance_begin(g, 1, 0, &label);
    vn_guidance_step(g, 0, 1, 0, &level);
    assert_int_equal(vn_guidance_predict(g, &(vn_request){.x = x, .level = &level},
                                         (vn_estimate){x0, eps}, &err),
                     VN_OK);
    *passes = vn_guidance_passes(g);
    vn_guidance_close(&g);
    vn_path_close(&path);
}

static void expect(const char *guide, const double want[SIZE], bool follows) {
    float x0[SIZE], eps[SIZE];
    double passes;
    guided(guide, 0, x0, eps, &passes);
    assert_true(passes == 1);
    for (int i = 0; i < SIZE; i++) {
        expect_small(fabs((double)x0[i] - want[i]), 1e-7);
        const double noise = (1 - 0.6 * (follows ? want[i] : (double)said[i])) / 0.8;
        expect_below_as(fabs((double)eps[i] - noise), 1e-6, "eps, %s", guide);
    }
}

static void x0_is_clipped_and_the_noise_follows_or_not(void **state) {
    (void)state;
    expect("clip", (const double[]){0.5, -1, 1, -1}, true);
    expect("clip:range=0.75", (const double[]){0.5, -0.75, 0.75, -0.75}, true);
    expect("clip:noise=keep", (const double[]){0.5, -1, 1, -1}, false);
    expect("clip:range=5", (const double[]){0.5, -3, 1.25, -1}, true);
    expect("dynamic-threshold:most=2,percentile=1", (const double[]){0.25, -1, 0.625, -0.5}, true);
    expect("dynamic-threshold:most=2,percentile=1,noise=keep",
           (const double[]){0.25, -1, 0.625, -0.5}, false);
    expect("dynamic-threshold:most=1", (const double[]){0.5, -1, 1, -1}, true);
}

static void what_is_no_number_stays_so(void **state) {
    (void)state;
    float x0[SIZE], eps[SIZE];
    double passes;
    guided("clip", 1, x0, eps, &passes);
    assert_true(isnan(x0[2]) && isnan(eps[2]) && x0[1] == -1);
}

static void a_list_is_finished_by_what_it_lacks(void **state) {
    (void)state;
    static const struct {
        const char *guide, *whole;
    } lists[] = {
        {NULL, "cfg,clip"},
        {"apg:r=2,eta=0.5", "apg:r=2,eta=0.5,clip"},
        {"clip:range=2,cfg", "clip:range=2,cfg"},
        {"cfg,dynamic-threshold:most=3,bound=1,interval",
         "cfg,dynamic-threshold:most=3,bound=1,interval"},
        {"clip:range=0", "cfg"},
        {"apg,clip:range=0,interval:lo=0.1,hi=2", "apg,interval:lo=0.1,hi=2"},
        {"nonsense", "nonsense,clip"}, /* refused by those who open it */
    };
    for (size_t i = 0; i < VN_COUNT(lists); i++) {
        char *whole = vn_guides_finish(lists[i].guide, "clip");
        assert_string_equal(whole, lists[i].whole);
        vn_free(whole);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(x0_is_clipped_and_the_noise_follows_or_not),
        cmocka_unit_test(what_is_no_number_stays_so),
        cmocka_unit_test(a_list_is_finished_by_what_it_lacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
