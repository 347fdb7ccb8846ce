/* A step cache through the interface: passes are saved and counted, samples stay near, without one
 * nothing changes, and what does not fit is refused by name. */
#include "api/support_context.h"

#include <math.h>
#include <string.h>

#include "base/base.h"
#include "support/bound.h"
#include "support/scratch.h"

enum { N = 64 };

static const char world[] =
    "{\"classes\": [{\"components\": [{\"mean\": [-1, 0.4], \"std\": 0.3},"
    " {\"mean\": [0.5, -1], \"std\": 0.4}]}, {\"components\": [{\"mean\": [1, -0.5], \"std\": 0.5},"
    " {\"mean\": [0, 1], \"std\": 0.2}]}]}";

static vn_samples *draw(vn_model *m, const char *sampler, int steps, const char *cache) {
    vn_sample_options o = vn_sample_options_default();
    vn_samples *s = NULL;
    o.count = N;
    o.guidance = 2;
    o.sampler = sampler;
    o.steps = steps;
    o.cache = cache;
    expect_ok(vn, vn_sample(m, &o, &s));
    return s;
}

static double distance(const vn_samples *a, const vn_samples *b) {
    double sum = 0;
    for (int i = 0; i < 2 * N; i++)
        sum += pow((double)vn_samples_data(a)[i] - (double)vn_samples_data(b)[i], 2);
    return sqrt(sum / (2 * N));
}

/* 32 steps with a cache are nearer to those without than 25 steps of as many passes are. */
static void passes_are_saved_for_less_than_fewer_steps_cost(void **state) {
    (void)state;
    static const char *const samplers[] = {"euler", "heun", "dpmpp-2m"};
    vn_model *m = NULL;
    scratch_write("world.json", world, sizeof world - 1);
    expect_ok(vn, vn_model_open(vn, "world.json", &m));
    for (size_t i = 0; i < VN_COUNT(samplers); i++) {
        vn_samples *all = draw(m, samplers[i], 32, NULL), *again = draw(m, samplers[i], 32, NULL),
                   *cached = draw(m, samplers[i], 32, "branch"),
                   *fewer = draw(m, samplers[i], 25, NULL);
        assert_memory_equal(vn_samples_data(all), vn_samples_data(again), 2 * N * sizeof(float));
        assert_true(vn_samples_passes(all) == (i == 1 ? 126 : 64));
        assert_true(vn_samples_passes(cached) <= vn_samples_passes(fewer) + (i == 1));
        expect_below_as(distance(cached, all) / distance(fewer, all), 0.95,
                        "branch over fewer steps, %s", samplers[i]);
        vn_samples_close(&all);
        vn_samples_close(&again);
        vn_samples_close(&cached);
        vn_samples_close(&fewer);
    }
    vn_model_close(&m);
}

/* It grows with what is left out, is that of all samples whatever their batches, of samples that
 * are appended lies between, and is not known without a cache. */
static void a_cache_tells_how_far_off_it_was(void **state) {
    (void)state;
    vn_model *m = NULL;
    scratch_write("world.json", world, sizeof world - 1);
    expect_ok(vn, vn_model_open(vn, "world.json", &m));
    vn_samples *none = draw(m, "euler", 32, NULL), *near = draw(m, "euler", 32, "branch"),
               *far = draw(m, "euler", 32, "branch:every=6");
    assert_true(isnan(vn_samples_cache_error(none)) && isnan(vn_samples_cache_error(NULL)));
    const double least = vn_samples_cache_error(near), most = vn_samples_cache_error(far);
    assert_true(0 < least && least < 0.5 * most);
    expect_below("what two steps differ by", least, 0.045);
    vn_sample_options o = vn_sample_options_default();
    o.count = N;
    o.guidance = 2;
    o.sampler = "euler";
    o.steps = 32;
    o.cache = "branch";
    o.batch = 7;
    vn_written w = vn_written_default();
    assert_true(isnan(w.cache_error));
    expect_ok(vn, vn_sample_to(m, &o, 1, "s.safetensors", VN_EXISTING_REFUSE, &w));
    assert_true(fabs(w.cache_error / least - 1) < 1e-9);
    expect_ok(vn, vn_samples_append(near, far));
    assert_true(least < vn_samples_cache_error(near) && vn_samples_cache_error(near) < most);
    vn_samples_close(&none);
    vn_samples_close(&near);
    vn_samples_close(&far);
    vn_model_close(&m);
}

static void what_does_not_fit_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *guide, *cache, *words;
    } cases[] = {{NULL, "brunch", "branch"},
                 {NULL, "branch:every=1", "every"},
                 {NULL, "easy:space=eps", "no parameter 'space'"}};
    vn_model *m = NULL;
    scratch_write("world.json", world, sizeof world - 1);
    expect_ok(vn, vn_model_open(vn, "world.json", &m));
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        vn_sample_options o = vn_sample_options_default();
        vn_samples *s = NULL;
        o.guide = cases[i].guide;
        o.cache = cases[i].cache;
        expect_refused(vn_sample(m, &o, &s), VN_BAD_ARGUMENT, cases[i].words);
        assert_null(s);
    }
    vn_model_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_are_saved_for_less_than_fewer_steps_cost),
        cmocka_unit_test(a_cache_tells_how_far_off_it_was),
        cmocka_unit_test(what_does_not_fit_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, context_enter_once, context_leave);
}
