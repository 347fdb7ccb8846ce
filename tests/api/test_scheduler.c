/* Pipelines through the public interface: their scheduler says how they are sampled, a user
 * overrides what he names, and the settings say what was done. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "api/support_context.h"
#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"

#define CASE   VN_SOURCE_DIR "/tests/cases/clip_sample"
#define GOLDEN VN_SOURCE_DIR "/tests/golden/schedulers/clip.safetensors"

static const char *setting(const vn_samples *s, const char *key) {
    const char *text = json_string_value(json_object_get(s->settings, key));
    return text ? text : "";
}

static double largest(const vn_samples *s) {
    double most = 0;
    for (int64_t i = 0; i < s->count * s->size; i++) most = fmax(most, fabs((double)s->data[i]));
    return most;
}

static vn_samples *draw(const char *source, const vn_sample_options *o) {
    vn_model *m;
    vn_samples *s;
    expect_ok(vn, vn_model_open(vn, source, &m));
    expect_ok(vn, vn_sample(m, o, &s));
    vn_model_close(&m);
    return s;
}

static vn_sample_options few_steps(void) {
    vn_sample_options o = vn_sample_options_default();
    o.steps = 10;
    o.noise_file = CASE "/noise.safetensors";
    return o;
}

/* A copy of the pipeline with this scheduler, as "pipeline". */
static void make_pipeline(const char *scheduler) {
    assert_int_equal(system("rm -rf pipeline && cp -r " CASE " pipeline && chmod -R u+w pipeline"),
                     0);
    scratch_write_text("pipeline/scheduler/scheduler_config.json", scheduler);
}

static void a_pipeline_is_sampled_as_its_scheduler_says(void **state) {
    (void)state;
    const vn_sample_options o = few_steps();
    vn_samples *s = draw(CASE, &o);
    assert_string_equal(setting(s, "sampler"), "ddpm:variance=small");
    assert_string_equal(setting(s, "grid"), "leading:offset=0,end=zero");
    assert_string_equal(setting(s, "guide"), "cfg,clip");
    assert_string_equal(setting(s, "begin"), "unit");
    assert_true(largest(s) <= 1);
    assert_int_equal(vn_samples_passes(s), 10); /* clipping costs none */
    vn_samples_close(&s);
}

/* diffusers' DDIMScheduler.from_pretrained(..., timestep_spacing="trailing") on the same network
 * and noise: 5.1e-5, as eps over alpha makes of float32. */
static void what_is_named_is_overridden_and_nothing_else(void **state) {
    (void)state;
    vn_err err;
    vn_safetensors *st;
    const vn_array *t;
    float want[128];
    vn_sample_options o = few_steps();
    o.sampler = "ddim";
    o.grid = "trailing";
    vn_samples *s = draw(CASE, &o);
    assert_int_equal(vn_safetensors_open(GOLDEN, &st, &err), VN_OK);
    assert_int_equal(vn_safetensors_get(st, "samples", &t, &err), VN_OK);
    assert_int_equal(s->count * s->size, VN_COUNT(want));
    vn_array_read_f32(t, want);
    vn_safetensors_close(&st);
    for (size_t i = 0; i < VN_COUNT(want); i++)
        expect_small(fabs((double)s->data[i] - (double)want[i]), 1.2e-4);
    assert_string_equal(setting(s, "guide"), "cfg,clip:noise=keep");
    assert_string_equal(setting(s, "grid"), "trailing");
    vn_samples_close(&s);
}

static void clipping_stays_beside_a_guide_that_does_not_clip(void **state) {
    (void)state;
    static const struct {
        const char *guide, *used;
        bool within;
    } cases[] = {
        {"cfg-zero-star", "cfg-zero-star,clip", true},
        {"cfg,clip:range=0.5", "cfg,clip:range=0.5", true},
        {"dynamic-threshold", "dynamic-threshold", true},
        {"cfg,clip:range=0", "cfg", false},
        {"clip:range=0", "cfg", false},
    };
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        vn_sample_options o = few_steps();
        o.sampler = "ddpm";
        o.guide = cases[i].guide;
        vn_samples *s = draw(CASE, &o);
        assert_string_equal(setting(s, "guide"), cases[i].used);
        assert_true((largest(s) <= 1.001) == cases[i].within);
        vn_samples_close(&s);
    }
}

static void a_list_of_sigmas_stands_for_the_grid(void **state) {
    (void)state;
    static const double sigmas[] = {0.9, 0.5, 0.1, 0};
    vn_sample_options o = few_steps();
    o.steps = 0;
    o.sigmas = sigmas;
    o.sigma_count = VN_COUNT(sigmas);
    vn_samples *s = draw(CASE, &o);
    assert_string_equal(setting(s, "sampler"), "ddpm:variance=small");
    assert_string_equal(setting(s, "grid"), "");
    vn_samples_close(&s);
}

/* sigma(t) of step 901, the first of ten, is 0.999868; where noise begins is one step's input, so
 * the difference stays. */
static void noise_begins_scaled_or_of_unit_variance(void **state) {
    (void)state;
    vn_samples *s[3];
    static const char *const begin[] = {NULL, "unit", "scaled"};
    for (int i = 0; i < 3; i++) {
        vn_sample_options o = few_steps();
        o.begin = begin[i];
        o.trace = 1;
        o.grid = "leading";
        s[i] = draw(CASE, &o);
    }
    const int64_t n = s[0]->count * s[0]->size;
    const vn_path *path = NULL;
    vn_model *m;
    expect_ok(vn, vn_model_open(vn, CASE, &m));
    path = m->path;
    const double sigma = vn_path_level_of_step(path, 901).sigma;
    assert_true(sigma < 0.9999);
    assert_memory_equal(s[0]->trace, s[1]->trace, (size_t)n * sizeof(float));
    for (int64_t i = 0; i < n; i++)
        expect_small(fabs((double)s[2]->trace[i] - sigma * (double)s[1]->trace[i]), 1e-6);
    vn_model_close(&m);
    for (int i = 0; i < 3; i++) vn_samples_close(&s[i]);
}

static void what_cannot_be_honoured_is_named(void **state) {
    (void)state;
    vn_model *m;
    vn_samples *s;
    vn_sample_options o = few_steps();
    make_pipeline("{\"_class_name\": \"UniPCMultistepScheduler\", \"predict_x0\": false, "
                  "\"timestep_spacing\": \"odd\"}");
    expect_ok(vn, vn_model_open(vn, "pipeline", &m));
    expect_refused(vn_sample(m, &o, &s), VN_UNSUPPORTED,
                   "pipeline: UniPCMultistepScheduler: predict_x0 false");
    o.sampler = "unipc";
    expect_refused(vn_sample(m, &o, &s), VN_UNSUPPORTED, "timestep_spacing odd");
    o.grid = "trailing";
    expect_ok(vn, vn_sample(m, &o, &s));
    vn_samples_close(&s);
    o.begin = "half";
    expect_refused(vn_sample(m, &o, &s), VN_BAD_ARGUMENT,
                   "unknown `begin` 'half'; known: scaled, unit");
    o.begin = NULL;
    o.guide = "clip:range=0";
    expect_refused(vn_sample(m, &o, &s), VN_BAD_ARGUMENT, "does not clip");
    o.guide = "clip:noise=keep";
    expect_refused(vn_sample(m, &o, &s), VN_BAD_ARGUMENT, "moves x0 and noise apart");
    vn_model_close(&m);
    make_pipeline("{\"_class_name\": \"DDIMScheduler\", \"steps_offset\": \"one\"}");
    expect_refused(vn_model_open(vn, "pipeline", &m), VN_BAD_FILE, "steps_offset is not a number");
}

/* vane.json says how its own runs are sampled, as before. */
static void runs_keep_their_own_way(void **state) {
    (void)state;
    vn_sample_options o = few_steps();
    make_pipeline("{\"_class_name\": \"DDPMScheduler\", \"clip_sample\": true}");
    scratch_write_text("pipeline/vane.json", "{\"path\": \"ddpm:linear\", \"predict\": \"eps\"}");
    vn_samples *s = draw("pipeline", &o);
    assert_string_equal(setting(s, "sampler"), "ddim");
    assert_string_equal(setting(s, "grid"), "trailing");
    assert_string_equal(setting(s, "guide"), "cfg");
    assert_string_equal(setting(s, "begin"), "");
    vn_samples_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pipeline_is_sampled_as_its_scheduler_says),
        cmocka_unit_test(what_is_named_is_overridden_and_nothing_else),
        cmocka_unit_test(clipping_stays_beside_a_guide_that_does_not_clip),
        cmocka_unit_test(a_list_of_sigmas_stands_for_the_grid),
        cmocka_unit_test(noise_begins_scaled_or_of_unit_variance),
        cmocka_unit_test(what_cannot_be_honoured_is_named),
        cmocka_unit_test(runs_keep_their_own_way),
    };
    return run_under_each_kernel_set(tests, context_enter, context_leave);
}
