/* Every sampler x guide x path x prediction of the tables, walked on exact worlds: all of them end
 * in finite numbers or are refused by name before they begin, and none takes memory on its way; at
 * guidance 1 every rule is the conditional model; and where the guided flow has a closed form,
 * every sampler that makes no noise of its own ends there. Rows are taken from the tables, so a new
 * one is tried without a word here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/alloc.h"
#include "support/bound.h"
#include "support_trajectory.h"

#if defined(__SANITIZE_ADDRESS__)
/* One combination in so many is sampled: sanitizers are slow, and what they look for is not in the
 * numbers. */
#define EACH 17
#else
#define EACH 1
#endif

enum { N = 2, D = 2 };
/* PNDM in 10 steps from alpha = 5e-5 goes to 1e7, as it does in diffusers; numbers stay numbers */
#define FAR 1e9f

static const float noise[N * D] = {0.3f, -1.1f, -0.7f, 0.9f};

/* Choices of a path's first parameter are paths of their own. */
static const char *const paths[] = {
    "rectified", "trigonometric", "polynomial",         "edm",         "ve",          "vp",
    "sub-vp",    "ddpm",          "ddpm:scaled-linear", "ddpm:cosine", "ddpm:sigmoid"};

/* What rows are told where their defaults do not say enough. */
static const struct {
    const char *row, *text;
} settings[] = {
    {"negative", "negative:class=1"},
    {"compose", "compose:class=1,weight=0.5"},
    {"perp-neg", "perp-neg:class=1"},
};

static const char *guide_text(size_t row) {
    const char *name = vn_table_row(&vn_guides, row)->name;
    for (size_t i = 0; i < VN_COUNT(settings); i++)
        if (strcmp(settings[i].row, name) == 0) return settings[i].text;
    return name;
}

/* Minus the squared distance to (1, 1), halved. */
static vn_status reward(void *self, int64_t n, const float *x0, const int32_t *labels, float *value,
                        float *gradient, vn_err *err) {
    (void)self, (void)labels, (void)err;
    for (int64_t i = 0; i < n; i++) {
        value[i] = 0;
        for (int j = 0; j < D; j++) {
            const float d = x0[i * D + j] - 1;
            value[i] -= d * d / 2;
            if (gradient) gradient[i * D + j] = -d;
        }
    }
    return VN_OK;
}

static const vn_reward to_one = {.evaluate = reward};

static const char *grid_of(const char *path) {
    return strcmp(path, "ve") == 0 ? "karras" : NULL;
}

/* ---- all together ---------------------------------------------------------------------------- */

typedef struct log_weight {
    int walked, refused, wrong;
    int layerless; /* refused for want of what a network has inside, and an exact world has not */
} log_weight;

/* Says what is wrong, of the first few; the test fails at its end. */
static void complain(log_weight *t, const bench *b, const vn_trajectory_options *o,
                     const char *what, double number) {
    if (t->wrong++ < 30)
        print_error("%s, %s, %s, %s: %s %g\n", o->sampler, o->guide, b->path->row->row.name,
                    b->prediction.row->row.name, what, number);
}

/* The part of `text` before its parameters is in the line. */
static bool names(const char *line, const char *text) {
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(text, ":"), text);
    return strstr(line, name) != NULL;
}

static bool is_of_networks(const char *refusal) {
    return strstr(refusal, "layers that can be perturbed") ||
           strstr(refusal, "attention to a text") || strstr(refusal, "an internal head") ||
           strstr(refusal, "conditions that noise can be added to");
}

/* PNDM leaves the data far behind here by itself (FAR); guides that grow with the numbers that they
 * see then have no bound, and may be refused for it in the middle. */
static bool has_no_bound(const char *sampler, const char *guide) {
    return !strcmp(sampler, "pndm") &&
           (!strcmp(guide, "power-law") || !strcmp(guide, "epsilon-scaling"));
}

static void walk_one(const bench *b, const char *grid, const char *sampler, const char *guide,
                     log_weight *t) {
    float x[N * D];
    vn_err err = {0};
    const vn_trajectory_options o = {.sampler = sampler,
                                     .guide = guide,
                                     .guidance = 1.5,
                                     .grid = grid,
                                     .steps = 10,
                                     .reward = &to_one,
                                     .seed = 5};
    const vn_status status = bench_run(b, o, N, 0, 0, noise, x, NULL, &err);
    if (status == VN_BAD_ARGUMENT && names(err.text, guide) && is_of_networks(err.text)) {
        t->layerless++;
        return;
    }
    if (status == VN_BAD_ARGUMENT && (names(err.text, sampler) || names(err.text, guide))) {
        t->refused++;
        return;
    }
    t->walked++;
    if (has_no_bound(sampler, guide) && (!status || status == VN_NOT_FINITE)) return;
    if (status) complain(t, b, &o, err.text, 0);
    for (int i = 0; i < N * D && !status; i++)
        if (!(fabsf(x[i]) < FAR)) {
            complain(t, b, &o, "ended at", (double)x[i]);
            break;
        }
}

/* For networks that guide themselves, which a world does not: tests/sample/test_query.c. */
static bool takes_guidance(size_t guide) {
    return ((const vn_guide_row *)vn_table_row(&vn_guides, guide))->needs & VN_NEEDS_EMBEDDED;
}

/* For networks that take the end of a step: likewise. */
static bool takes_step_end(size_t sampler) {
    return !strcmp(vn_table_row(&vn_samplers, sampler)->name, "flow-map");
}

static void every_combination_ends_in_numbers_or_is_refused(void **state) {
    (void)state;
    log_weight t = {0};
    int count = 0, inside = 0;
    for (size_t g = 0; g < vn_guides.count; g++) {
        const vn_guide_row *row = (const vn_guide_row *)vn_table_row(&vn_guides, g);
        inside += row->perturbations != 0 || row->needs & VN_NEEDS_ANNEAL;
    }
    for (size_t p = 0; p < VN_COUNT(paths); p++)
        for (size_t r = 0; r < vn_prediction_row_count; r++) {
            bench b = bench_open(bench_world, paths[p], vn_prediction_rows[r].row.name);
            for (size_t s = 0; s < vn_samplers.count; s++)
                for (size_t g = 0; g < vn_guides.count; g++)
                    if (!takes_guidance(g) && !takes_step_end(s) && count++ % EACH == 0)
                        walk_one(&b, grid_of(paths[p]), vn_table_row(&vn_samplers, s)->name,
                                 guide_text(g), &t);
            bench_close(&b);
        }
    print_message("%d samplers x %d guides x %d paths x %d predictions: %d walked, %d refused by "
                  "name, %d for want of layers\n",
                  (int)vn_samplers.count, (int)vn_guides.count, (int)VN_COUNT(paths),
                  (int)vn_prediction_row_count, t.walked, t.refused, t.layerless);
    assert_int_equal(t.wrong, 0);
    if (EACH == 1) /* these rows are walked on networks, in tests/api/test_inside.c */
        assert_int_equal(
            t.layerless,
            (int)((vn_samplers.count - 1) * VN_COUNT(paths) * vn_prediction_row_count) * inside);
    assert_true(t.walked > 5 * t.refused);
}

/* A row for each path of the table, so that none is forgotten above. */
static void all_paths_are_tried(void **state) {
    (void)state;
    for (size_t i = 0; i < vn_path_row_count; i++) {
        bool tried = false;
        for (size_t k = 0; k < VN_COUNT(paths); k++)
            tried |= strcmp(paths[k], vn_path_rows[i].row.name) == 0;
        if (!tried) fail_msg("the path %s is not tried", vn_path_rows[i].row.name);
    }
}

/* ---- guidance 1 ------------------------------------------------------------------------------ */

/* Rules whose paper makes something else than the conditional model of gamma = 1. */
static bool is_conditional_at_one(const vn_guide_row *row) {
    static const char *const others[] = {"compose",
                                         "perp-neg",
                                         "energy",
                                         "fk",
                                         "rescale",
                                         "dynamic-threshold",
                                         "negative",
                                         "cfg-zero-star",
                                         "cfg-plus-plus",
                                         "clip",
                                         "epsilon-scaling",
                                         "momentum",
                                         "higs",
                                         "tag",
                                         "classifier-gradient"};
    for (size_t i = 0; i < VN_COUNT(others); i++)
        if (strcmp(others[i], row->row.name) == 0) return false;
    return !row->route;
}

static void at_guidance_one_rules_are_the_conditional_model(void **state) {
    (void)state;
    float want[N * D], x[N * D];
    int count = 0;
    for (size_t p = 0; p < VN_COUNT(paths); p++) {
        bench b = bench_open(bench_world, paths[p], NULL);
        for (size_t g = 1; g < vn_guides.count; g++) {
            const vn_guide_row *row = (const vn_guide_row *)vn_table_row(&vn_guides, g);
            vn_err err = {0};
            vn_trajectory_options o = {
                .sampler = "euler", .guidance = 1, .grid = grid_of(paths[p]), .steps = 10};
            if (!is_conditional_at_one(row) || (row->needs & VN_NEEDS_SDE)) continue;
            if (bench_run(&b, o, N, 0, 1, noise, want, NULL, &err))
                fail_msg("%s: %s", paths[p], err.text);
            o.guide = guide_text(g);
            const vn_status status = bench_run(&b, o, N, 0, 1, noise, x, NULL, &err);
            if (status == VN_BAD_ARGUMENT) continue; /* needs what points do not have */
            if (status) fail_msg("%s on %s: %s", o.guide, paths[p], err.text);
            /* measured: 8.4e-5 on ddpm:cosine, whose first level has alpha 5e-5 */
            for (int i = 0; i < N * D; i++)
                expect_below_as(fabsf(x[i] - want[i]), 2e-4f * (1 + fabsf(want[i])), "%s on %s",
                                o.guide, paths[p]);
            count++;
        }
        bench_close(&b);
    }
    print_message("%d rules and paths\n", count);
    assert_true(count >= 8 * (int)VN_COUNT(paths));
}

/* ---- a guided flow in closed form ------------------------------------------------------------ */

/* p(x|c) = N(mu, s^2), p(x) = N(0, s^2): guided by gamma the ODE ends in N(gamma mu, s^2), with
 * x0 = gamma mu + s (x_T - alpha_T gamma mu) / sqrt(alpha_T^2 s^2 + sigma_T^2). */
static const char shifted[] =
    "{\"classes\": [{\"components\": [{\"mean\": [0.6, -0.4], \"std\": 0.5}]}],"
    " \"unconditional\": [{\"mean\": [0, 0], \"std\": 0.5}]}";
static const double mu[D] = {0.6, -0.4}, s_data = 0.5, gamma_of_flow = 2;

/* Guides that are CFG on this world. */
static const char *const same_as_cfg[] = {"cfg", "classifier", "interval:lo=0,hi=1e9",
                                          "schedule:shape=constant"};

static double worst_error(const bench *b, const float *x) {
    const vn_level noisy = vn_path_level(b->path, 1);
    const double spread =
        sqrt(noisy.alpha * noisy.alpha * s_data * s_data + noisy.sigma * noisy.sigma);
    double worst = 0;
    for (int i = 0; i < N * D; i++) {
        const double centre = gamma_of_flow * mu[i % D];
        const double want =
            centre + s_data * (noisy.sigma * (double)noise[i] - noisy.alpha * centre) / spread;
        worst = fmax(worst, fabs((double)x[i] - want));
    }
    return worst;
}

/* A sampler that makes noise of its own ends elsewhere with another seed. */
static bool is_deterministic(const bench *b, vn_trajectory_options o) {
    float a[N * D], c[N * D];
    vn_err err;
    o.steps = 6;
    o.seed = 1;
    if (bench_run(b, o, N, 0, 0, noise, a, NULL, &err)) return false;
    o.seed = 2;
    return bench_run(b, o, N, 0, 0, noise, c, NULL, &err) == VN_OK && memcmp(a, c, sizeof a) == 0;
}

static void guided_flows_end_where_they_should(void **state) {
    (void)state;
    log_weight t = {0};
    double worst = 0;
    for (size_t p = 0; p < VN_COUNT(paths); p++) {
        /* at alpha = 5e-5 float32 noise says nothing of x0 */
        if (strcmp(paths[p], "ddpm:cosine") == 0) continue;
        for (size_t r = 0; r<vn_prediction_row_count; r += EACH> 1 ? 3 : 1) {
            bench b = bench_open(shifted, paths[p], vn_prediction_rows[r].row.name);
            for (size_t s = 0; s < vn_samplers.count; s++)
                for (size_t g = 0; g < VN_COUNT(same_as_cfg); g++) {
                    float x[N * D];
                    vn_err err = {0};
                    const vn_trajectory_options o = {.sampler = vn_table_row(&vn_samplers, s)->name,
                                                     .guide = same_as_cfg[g],
                                                     .guidance = gamma_of_flow,
                                                     .grid = grid_of(paths[p]),
                                                     .steps = 200};
                    if (!is_deterministic(&b, o)) break;
                    if (bench_run(&b, o, N, 0, 0, noise, x, NULL, &err))
                        fail_msg("%s: %s", o.sampler, err.text);
                    const double error = worst_error(&b, x);
                    worst = fmax(worst, error);
                    if (!(error < 0.05)) complain(&t, &b, &o, "off by", error);
                    t.walked++;
                }
            bench_close(&b);
        }
    }
    print_message("%d flows in closed form, off by %.4f at most after 200 steps\n", t.walked,
                  worst);
    assert_int_equal(t.wrong, 0);
    assert_true(t.walked > 500 / EACH);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_combination_ends_in_numbers_or_is_refused),
        cmocka_unit_test(all_paths_are_tried),
        cmocka_unit_test(at_guidance_one_rules_are_the_conditional_model),
        cmocka_unit_test(guided_flows_end_where_they_should),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
