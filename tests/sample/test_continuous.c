/* Samplers from continuous time on worlds: the orders of fixed steps, the error and the cost of
 * adaptive ones, one by one, and the moments of those that follow an SDE or Langevin's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support_trajectory.h"
#include "support/bound.h"

#define D      2
#define GOLDEN VN_SOURCE_DIR "/tests/golden/sampler/"

static const char *const paths[] = {"rectified", "trigonometric", "edm", "vp", "ve", "ddpm"};

static void must(vn_status status, const vn_err *err) {
    if (status) fail_msg("%s", err->text);
}

static double distance(size_t n, const float *a, const float *b) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += pow((double)a[i] - (double)b[i], 2);
    return sqrt(sum);
}

/* ---- fixed steps ----------------------------------------------------------------------------- */

/* Two Gaussians, wide enough that the ODE is smooth at few steps. */
static const char wide[] =
    "{\"classes\": [{\"components\": [{\"weight\": 0.6, \"mean\": [-1, 0.4], \"cov\": [[0.5, 0.2], "
    "[0.2, 0.4]]},"
    "                             {\"weight\": 0.4, \"mean\": [0.8, -0.6], \"std\": 0.7}]}]}";

/* The state at the last level that is not 0. */
static void end_state(const bench *b, const char *sampler, const char *grid, int steps, int64_t n,
                      float *x) {
    static const int32_t labels[8] = {0};
    vn_trajectory *w;
    vn_err err = {0};
    vn_trajectory_options o = {.denoiser = &b->denoiser,
                               .sampler = sampler,
                               .grid = grid,
                               .steps = steps + 1,
                               .guidance = 1,
                               .seed = 11,
                               .capacity = n};
    must(vn_trajectory_open(&o, &w, &err), &err);
    const vn_trajectory_batch batch = {.n = n, .condition = labels, .x = x};
    bool done;
    must(vn_trajectory_begin(w, &batch, &err), &err);
    for (int i = 0; i < steps; i++) must(vn_trajectory_step(w, &done, &err), &err);
    vn_trajectory_close(&w);
}

/* Few enough steps that float32 does not show, many enough for the order to. */
static void fixed_steps_converge_at_their_order(void **state) {
    (void)state;
    enum { N = 4 };
    static const struct {
        const char *path, *grid;
        int steps; /* of midpoint; rk4 needs half */
    } walks[] = {{"edm", "karras", 64},
                 {"ve", "exponential", 64},
                 {"vp", "karras", 64},
                 {"rectified", "linspace", 16},
                 {"trigonometric", "linspace", 16}};
    static const struct {
        const char *name;
        double order, above,
            /* one order less would measure 1 less; measured: 1.96 to 2.09, 3.72 to 4.85, 4.01 to
             * 4.67 */
            below;
    } samplers[] = {{"midpoint", 2, 0.5, 0.5},
                    {"rk4", 4, HUGE_VAL, 0.6},
                    {"rk4:rule=classical", 4, HUGE_VAL, 0.5}};
    for (size_t i = 0; i < VN_COUNT(walks); i++)
        for (size_t k = 0; k < VN_COUNT(samplers); k++) {
            bench b = bench_open(wide, walks[i].path, "v");
            float truth[N * D], coarse[N * D], fine[N * D];
            const int steps = samplers[k].order > 2 ? walks[i].steps / 2 : walks[i].steps;
            end_state(&b, "dopri5:rtol=1e-6,atol=1e-7", walks[i].grid, 16, N, truth);
            end_state(&b, samplers[k].name, walks[i].grid, steps, N, coarse);
            end_state(&b, samplers[k].name, walks[i].grid, 2 * steps, N, fine);
            const double error = distance(N * D, fine, truth),
                         order = log2(distance(N * D, coarse, truth) / error);
            print_message("%-18s on %-13s order %.2f (error %.1e at %d steps)\n", samplers[k].name,
                          walks[i].path, order, error, 2 * steps);
            if (!(order > samplers[k].order - samplers[k].below &&
                  order < samplers[k].order + samplers[k].above))
                fail_msg("%s on %s: order %.2f", samplers[k].name, walks[i].path, order);
            bench_close(&b);
        }
}

/* ---- adaptive steps -------------------------------------------------------------------------- */

/* Error of all samples together and passes of one, by tolerance. */
static void dopri5_keeps_to_its_tolerance(void **state) {
    (void)state;
    enum { N = 8 };
    static const struct {
        const char *sampler;
        double error;   /* measured: 2.4e-2, 1.3e-3, 5.9e-4, 5.4e-6 */
        int64_t passes; /* 151, 245, 257, 274 */
    } runs[] = {{"dopri5:rtol=1e-3,atol=1e-4", 5e-2, 200},
                {"dopri5:rtol=1e-4,atol=1e-5", 3e-3, 320},
                {"dopri5", 1.3e-3, 330},
                {"dopri5:rtol=1e-6,atol=1e-6", 1.2e-5, 350}};
    for (size_t p = 0; p < VN_COUNT(paths); p++) {
        bench b = bench_open(wide, paths[p], "v");
        float truth[N * D], x[N * D];
        vn_err err = {0};
        vn_trajectory_options o = {.sampler = "dopri5:rtol=2e-7,atol=1e-7",
                                   .steps = 1,
                                   .guidance = 1,
                                   .seed = 3,
                                   .grid = "karras"};
        must(bench_run(&b, o, N, 0, 0, NULL, truth, NULL, &err), &err);
        for (size_t k = 0; k < VN_COUNT(runs); k++) {
            int64_t passes;
            o.sampler = runs[k].sampler;
            must(bench_run(&b, o, N, 0, 0, NULL, x, &passes, &err), &err);
            const double error = distance(N * D, x, truth);
            print_message("%-13s %-27s error %.1e, %lld passes\n", paths[p], runs[k].sampler, error,
                          (long long)passes);
            expect_below_as(error, runs[k].error, "%s on %s", runs[k].sampler, paths[p]);
            assert_true(passes < runs[k].passes);
        }
        bench_close(&b);
    }
}

/* Samples and their steps are their own: alone and together the same bits, and the mean of the
 * passes. */
static void adaptive_samples_do_not_depend_on_their_batch(void **state) {
    (void)state;
    enum { N = 6 };
    static const char *const samplers[] = {"dopri5", "dpm-adaptive"};
    bench b = bench_open(bench_world, "rectified", NULL);
    for (size_t k = 0; k < VN_COUNT(samplers); k++) {
        vn_trajectory_options o = {.sampler = samplers[k], .steps = 2, .guidance = 2, .seed = 8};
        float together[N * D], alone[D];
        int64_t mean, one, sum = 0, least = INT64_MAX, most = 0;
        vn_err err = {0};
        must(bench_run(&b, o, N, 40, 1, NULL, together, &mean, &err), &err);
        for (uint64_t i = 0; i < N; i++) {
            must(bench_run(&b, o, 1, 40 + i, 1, NULL, alone, &one, &err), &err);
            assert_memory_equal(alone, together + i * D, sizeof alone);
            sum += one;
            least = one < least ? one : least;
            most = one > most ? one : most;
        }
        assert_int_equal(mean, (sum + N - 1) / N);
        assert_true(least < most);
    }
    bench_close(&b);
}

static void too_many_evaluations_name_the_sample(void **state) {
    (void)state;
    static const struct {
        const char *sampler, *words;
    } cases[] = {
        {"dopri5:most=20",
         "dopri5: sample 70: more than 20 evaluations at tolerances 1e-05 and 1e-05"},
        {"dpm-adaptive:most=9",
         "dpm-adaptive: sample 70: more than 9 evaluations at tolerances 0.05 and 0.0078"}};
    bench b = bench_open(bench_world, "edm", NULL);
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        vn_trajectory_options o = {.sampler = cases[i].sampler, .steps = 1, .guidance = 1};
        float x[2 * D];
        vn_err err = {0};
        assert_int_equal(bench_run(&b, o, 2, 70, 0, NULL, x, NULL, &err), VN_BAD_ARGUMENT);
        if (!strstr(err.text, cases[i].words)) fail_msg("%s", err.text);
    }
    bench_close(&b);
}

/* k-diffusion's float64, a sample at a time, in as many passes; the denoiser answering in double,
 * or as a network does. */
static void takes_the_steps_of_k_diffusion(bool exact, double tolerance) {
    char *world;
    size_t size;
    json_t *golden;
    vn_err err = {0};
    double worst = 0;
    must(vn_read_file(GOLDEN "world.json", 1 << 20, &world, &size, &err), &err);
    must(vn_json_read(GOLDEN "continuous.json", &golden, &err), &err);
    const json_t *cases = json_object_get(golden, "adaptive"),
                 *starts = json_object_get(golden, "noise");
    assert_int_equal(json_array_size(cases), 8);
    for (size_t i = 0; i < json_array_size(cases) * json_array_size(starts); i++) {
        const size_t row = i % json_array_size(starts);
        json_t *c = json_array_get(cases, i / json_array_size(starts));
        const char *sampler, *path, *predict, *grid;
        int steps, label;
        double gamma;
        assert_int_equal(json_unpack(c, "{s:s, s:s, s:s, s:s, s:i, s:i, s:F}", "sampler", &sampler,
                                     "path", &path, "predict", &predict, "grid", &grid, "steps",
                                     &steps, "label", &label, "gamma", &gamma),
                         0);
        bench b = bench_open(world, path, predict);
        if (!exact) b.denoiser.exact = NULL;
        vn_trajectory_options o = {
            .sampler = sampler, .grid = grid, .steps = steps, .guidance = gamma};
        float x[D], noise[D];
        int64_t passes;
        for (size_t k = 0; k < D; k++)
            noise[k] = (float)json_number_value(json_array_get(json_array_get(starts, row), k));
        must(bench_run(&b, o, 1, 0, label, noise, x, &passes, &err), &err);
        const json_int_t told =
            json_integer_value(json_array_get(json_object_get(c, "passes"), row));
        if (passes != told * (gamma == 1 ? 1 : 2))
            fail_msg("%s on %s, sample %zu: %lld passes, not %lld", sampler, path, row,
                     (long long)passes, (long long)told);
        for (size_t k = 0; k < D; k++) {
            const double want =
                json_number_value(json_array_get(json_array_get(json_object_get(c, "x"), row), k));
            worst = fmax(worst, fabs((double)x[k] - want));
        }
        bench_close(&b);
    }
    print_message("largest error: %.1e\n", worst);
    expect_below("steps of k-diffusion", worst, tolerance);
    json_decref(golden);
    vn_free(world);
}

static void dpm_adaptive_is_k_diffusion_s(void **state) {
    (void)state;
    takes_the_steps_of_k_diffusion(true, 4e-7); /* measured: 1.4e-7, float32 of noise and results */
}

/* Its steps hang on errors that float32 can hardly tell from 0. */
static void dpm_adaptive_by_float32_takes_the_same_steps(void **state) {
    (void)state;
    /* measured: 6.9e-5, where k-diffusion in float32 has 3e-3 */
    takes_the_steps_of_k_diffusion(false, 2e-4);
}

/* From pure noise, where sigma/alpha is infinite, data of any width. N(0, s^2): the flow ends at
 * s/sigma x. */
static void dpm_adaptive_begins_at_pure_noise(void **state) {
    (void)state;
    enum { N = 4 };
    static const struct {
        const char *std, *path;
        double tolerance; /* measured: 3.8e-6, 1.4e-6, 4.7e-7, 3.7e-7 */
    } cases[] = {{"1", "rectified", 8e-6},
                 {"10", "trigonometric", 3e-6},
                 {"100", "rectified", 1.2e-6},
                 {"1000", "polynomial", 1e-6}};
    for (size_t c = 0; c < VN_COUNT(cases); c++) {
        char world[128];
        float x[N * D], truth[N * D];
        snprintf(world, sizeof world,
                 "{\"classes\": [{\"components\": [{\"mean\": [0, 0], \"std\": %s}]}]}",
                 cases[c].std);
        bench b = bench_open(world, cases[c].path, NULL);
        vn_err err = {0};
        vn_trajectory_options o = {
            .sampler = "dpm-adaptive:rtol=1e-6,atol=1e-9", .steps = 1, .guidance = 1, .seed = 3};
        must(bench_run(&b, o, N, 0, 0, NULL, x, NULL, &err), &err);
        o.sampler = "dopri5:rtol=1e-7,atol=1e-9";
        must(bench_run(&b, o, N, 0, 0, NULL, truth, NULL, &err), &err);
        const double error = distance(N * D, x, truth) / distance(N * D, truth, (float[N * D]){0});
        print_message("std %s on %s: %.1e\n", cases[c].std, cases[c].path, error);
        expect_below_as(error, cases[c].tolerance, "std %s on %s", cases[c].std, cases[c].path);
        bench_close(&b);
    }
}

/* ---- noise ----------------------------------------------------------------------------------- */

/* Its definition, g^2 dt of the SDE summed up and carried to `from`; and what the forward step
 * adds. */
static void step_variance_is_the_integral_of_the_diffusion(void **state) {
    (void)state;
    for (size_t p = 0; p < 5; p++) {
        bench b = bench_open(bench_world, paths[p], NULL);
        const vn_level from = vn_path_level(b.path, 0.7), to = vn_path_level(b.path, 0.4);
        enum { PARTS = 2000 };
        double sum = 0;
        for (int i = 0; i < PARTS; i++) {
            const vn_level l = vn_path_level(b.path, 0.4 + 0.3 * (i + 0.5) / PARTS);
            sum += vn_level_diffusion(&l) * pow(from.alpha / l.alpha, 2) * 0.3 / PARTS;
        }
        const double variance = vn_step_variance(&from, &to);
        expect_small(fabs(variance / sum - 1), 2e-6); /* 1.1e-6 by the midpoint rule on vp */
        const vn_level noise = vn_path_level(b.path, 1);
        assert_true(isfinite(vn_step_variance(&noise, &to)) &&
                    vn_step_variance(&noise, &vn_level_clean) > 0);
        bench_close(&b);
    }
}

/* independent coordinates of a sample: each a sample of one dimension, at less cost */
#define WIDE 200

/* One class, N(mean, std^2) in every coordinate; and with null a wider unconditional N(mean,
 * null^2). */
static char *gaussian(double mean, double std, double null) {
    char *numbers = vn_format("%g", mean);
    for (int i = 1; i < WIDE; i++) {
        char *more = vn_format("%s,%g", numbers, mean);
        vn_free(numbers);
        numbers = more;
    }
    char *world = vn_format("{\"classes\": [{\"components\": [{\"mean\": [%s], \"std\": %.9g}]}],"
                            " \"unconditional\": [{\"mean\": [%s], \"std\": %.9g}]}",
                            numbers, std, numbers, null);
    vn_free(numbers);
    return world;
}

/* Of rows * WIDE numbers; returns the passes of a sample. */
static int64_t moments(const char *world, const char *path, const vn_trajectory_options *o,
                       int rows, double *mean, double *variance) {
    const int n = rows * WIDE;
    float *x = malloc((size_t)n * sizeof *x);
    bench b = bench_open(world, path, NULL);
    vn_err err = {0};
    int64_t passes;
    double sum = 0, squares = 0;
    must(bench_run(&b, *o, rows, 0, 0, NULL, x, &passes, &err), &err);
    for (int i = 0; i < n; i++) sum += (double)x[i];
    *mean = sum / n;
    for (int i = 0; i < n; i++) squares += pow((double)x[i] - *mean, 2);
    *variance = squares / (n - 1);
    bench_close(&b);
    free(x);
    return passes;
}

/* Moments of N(0.8, 0.5^2) from 20000 numbers, whose own errors are .0035 in the mean and 1% in the
 * variance; 3.5 of them are allowed for, beside what 100 steps do to the variance. Langevin's keep
 * some of the noise of earlier levels. */
static void noisy_samplers_keep_the_moments(void **state) {
    (void)state;
    static const struct {
        const char *sampler, *path, *grid;
        int steps;
        double bias; /* of the variance, measured */
    } walks[] = {
        {"euler-maruyama", "edm", "karras", 100, -0.019},
        {"euler-maruyama", "vp", NULL, 100, -0.054},
        {"euler-maruyama", "ve", NULL, 100, -0.013},
        {"euler-maruyama", "rectified", NULL, 100, -0.030},
        {"euler-maruyama", "ddpm:cosine", NULL, 100, -0.027},
        {"euler-maruyama", "trigonometric", NULL, 100, -0.034},
        {"flow-sde", "rectified", NULL, 100, -0.020},
        {"flow-sde:diffusion=constant,scale=0.3", "rectified", NULL, 100, -0.034},
        {"flow-sde:diffusion=sine,scale=3", "trigonometric", NULL, 100, -0.026},
        {"flow-sde:diffusion=sde,scale=0.3", "vp", NULL, 100, -0.035},
        {"flow-sde:scale=10", "edm", NULL, 100, -0.030},
        {"langevin:corrections=20", "edm", "exponential", 80, 0.082},
        {"langevin:epsilon=1.2e-5", "ve", NULL, 100, 0.171},
        {"langevin", "rectified", NULL, 100, 0.122},
        {"pc", "ve", NULL, 100, 0.046},
        {"pc", "vp", NULL, 100, 0.024},
        {"pc:predictor=ancestral", "rectified", NULL, 100, -0.048},
        {"pc:corrections=0", "vp", NULL, 100, 0.045},
        {"pcg", "edm", NULL, 100, -0.072},
        {"pcg:corrections=3", "rectified", NULL, 100, -0.055},
    };
    char *world = gaussian(0.8, 0.5, 0.5);
    for (size_t i = 0; i < VN_COUNT(walks); i++) {
        double mean, variance;
        const vn_trajectory_options o = {.sampler = walks[i].sampler,
                                         .grid = walks[i].grid,
                                         .steps = walks[i].steps,
                                         .guidance = 1,
                                         .seed = 38};
        moments(world, walks[i].path, &o, 100, &mean, &variance);
        const double excess = variance / 0.25 - 1;
        print_message("%-36s %-13s mean %.4f (.8 by .021) variance %+.1f%% (by 3.5%%)\n",
                      walks[i].sampler, walks[i].path, mean, 100 * excess);
        expect_below_as(fabs(mean - 0.8), 0.021, "%s on %s, mean", walks[i].sampler, walks[i].path);
        expect_below_as(fabs(excess - walks[i].bias), 0.035, "%s on %s, variance", walks[i].sampler,
                        walks[i].path);
    }
    vn_free(world);
}

/* p(x|c) = N(0,1), p(x) = N(0,2): what each samples under guidance gamma, in closed form. 20000
 * numbers know theirs to 1%; 3.5 such are allowed. Measured: 1.3% at most. */
static void guided_noise_has_the_variance_of_theory(void **state) {
    (void)state;
    static const struct {
        const char *sampler;
        double gamma;
        int steps;
        double variance;
    } walks[] = {
        {"euler-maruyama", 1, 1000, 1},
        {"euler-maruyama", 2, 1000, 7.0 / 12}, /* (2 - 2^(2-2gamma)) / (2 gamma - 1) */
        {"euler-maruyama", 5, 1000, 0.22179},
        {"pcg", 3, 400, 7.0 / 12},          /* as the SDE with (gamma + 1) / 2 */
        {"pcg:corrections=8", 3, 200, 0.5}, /* the tilt, 2/(gamma + 1) */
        {"dopri5", 3, 1, 0.25},             /* 2^(1-gamma) */
    };
    char *world = gaussian(0, 1, sqrt(2));
    for (size_t i = 0; i < VN_COUNT(walks); i++) {
        double mean, variance;
        const vn_trajectory_options o = {.sampler = walks[i].sampler,
                                         .grid = "karras",
                                         .steps = walks[i].steps,
                                         .guidance = walks[i].gamma,
                                         .seed = 38};
        moments(world, "edm", &o, 100, &mean, &variance);
        const double excess = variance / walks[i].variance - 1;
        print_message("%-18s gamma %g variance %+.1f%%\n", walks[i].sampler, walks[i].gamma,
                      100 * excess);
        expect_below_as(fabs(excess), 0.035, "%s, variance", walks[i].sampler);
    }
    vn_free(world);
}

/* One step of pc with published step sizes, by the formulas of 2011.13456 and the world's score, on
 * VE. */
static void corrections_have_the_published_size(void **state) {
    (void)state;
    enum { N = 3 };
    bench b = bench_open(bench_world, "ve", "score");
    vn_trajectory *w;
    vn_err err = {0};
    const int32_t labels[N] = {0, 1, 1};
    const vn_trajectory_options o = {.denoiser = &b.denoiser,
                                     .sampler = "pc:size=norm,snr=0.3,corrections=2",
                                     .steps = 3,
                                     .guidance = 1,
                                     .seed = 6,
                                     .capacity = N};
    float x[N * D];
    double want[N * D], *work = malloc(vn_world_work(b.world) * sizeof *work);
    bool done;
    must(vn_trajectory_open(&o, &w, &err), &err);
    const vn_level *l = vn_trajectory_levels(w);
    const vn_trajectory_batch batch = {.n = N, .first = 4, .condition = labels, .x = x};
    must(vn_trajectory_begin(w, &batch, &err), &err);
    for (size_t i = 0; i < N * D; i++) want[i] = (double)x[i];
    must(vn_trajectory_step(w, &done, &err), &err);
    for (size_t i = 0; i < N; i++)
        for (int stage = 1; stage <= 3; stage++) { /* draws 1 and 2 correct, 0 predicts */
            float z[D];
            double x0[D], eps[D], *at = want + i * D;
            vn_random_normal(z, D, 6, VN_STREAM_STEP_NOISE, 4 + i, (uint64_t)stage % 3);
            vn_world_denoise(b.world, VN_NETWORK_MAIN, labels[i], 1, l[0].sigma, at, x0, eps, work);
            const double ratio =
                hypot((double)z[0], (double)z[1]) / hypot(eps[0] / l[0].sigma, eps[1] / l[0].sigma);
            const double variance = pow(l[0].sigma, 2) - pow(l[1].sigma, 2);
            const double a = stage < 3 ? 2 * pow(0.3 * ratio, 2) : variance;
            const double noise = stage < 3 ? sqrt(2 * a) : sqrt(variance);
            for (int k = 0; k < D; k++) at[k] += -a * eps[k] / l[0].sigma + noise * (double)z[k];
        }
    /* 8e-6 of numbers up to 90 */
    for (size_t i = 0; i < N * D; i++) expect_small(fabs((double)x[i] - want[i]), 2e-5);
    vn_trajectory_close(&w);
    free(work);
    bench_close(&b);
}

static void options_without_effect_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *sampler, *words;
    } cases[] = {
        {"pc:corrections=0,snr=0.2", "pc: snr and size have no effect without corrections"},
        {"langevin:snr=0.2,epsilon=0.001", "langevin: snr has no effect beside epsilon"},
        {"langevin:epsilon=1", "langevin: epsilon 1 is too much for a last sigma of 0.002"}};
    bench b = bench_open(bench_world, "edm", NULL);
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        const vn_trajectory_options o = {.sampler = cases[i].sampler, .steps = 5, .guidance = 1};
        float x[D];
        vn_err err = {0};
        assert_int_equal(bench_run(&b, o, 1, 0, 0, NULL, x, NULL, &err), VN_BAD_ARGUMENT);
        if (!strstr(err.text, cases[i].words)) fail_msg("%s", err.text);
    }
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_steps_converge_at_their_order),
        cmocka_unit_test(dopri5_keeps_to_its_tolerance),
        cmocka_unit_test(adaptive_samples_do_not_depend_on_their_batch),
        cmocka_unit_test(too_many_evaluations_name_the_sample),
        cmocka_unit_test(dpm_adaptive_is_k_diffusion_s),
        cmocka_unit_test(dpm_adaptive_by_float32_takes_the_same_steps),
        cmocka_unit_test(dpm_adaptive_begins_at_pure_noise),
        cmocka_unit_test(step_variance_is_the_integral_of_the_diffusion),
        cmocka_unit_test(noisy_samplers_keep_the_moments),
        cmocka_unit_test(guided_noise_has_the_variance_of_theory),
        cmocka_unit_test(corrections_have_the_published_size),
        cmocka_unit_test(options_without_effect_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
