/* Grids: the very levels of diffusers' schedulers and k-diffusion (golden/grids, made by
 * golden/grids.py), falling levels everywhere on every path, slopes that are those of the path,
 * refusals by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "sample/internal.h"
#include "support/bound.h"

#define MAX_LEVELS 1200
#define GOLDEN     VN_SOURCE_DIR "/tests/golden/grids/"

static json_t *read(const char *file) {
    json_t *json = NULL;
    vn_err err = {0};
    if (vn_json_read(file, &json, &err)) fail_msg("%s", err.text);
    return json;
}

static const char *text_of(const json_t *c, const char *key) {
    return json_string_value(json_object_get(c, key));
}

static double entry(const json_t *c, const char *key, size_t i) {
    return json_number_value(json_array_get(json_object_get(c, key), i));
}

static vn_path *open(const char *text) {
    vn_path *p;
    vn_err err = {0};
    if (vn_path_open(text, &p, &err)) fail_msg("%s: %s", text, err.text);
    return p;
}

/* Printed by set_timesteps of DDIMScheduler, EulerDiscreteScheduler and
 * DPMSolverMultistepScheduler, steps_offset 1. */
static void steps_are_those_of_diffusers(void **state) {
    (void)state;
    static const struct {
        const char *grid;
        vn_spacing spacing;
        int steps;
        double at[8], last; /* last: -1 for clean */
    } known[] = {
        {"leading", VN_SPACING_WHOLE, 7, {853, 711, 569, 427, 285, 143, 1}, 0},
        {"leading", VN_SPACING_BETWEEN, 4, {751, 501, 251, 1}, 0},
        {"leading", VN_SPACING_EXTRA, 4, {801, 601, 401, 201}, 0},
        {"linspace", VN_SPACING_WHOLE, 7, {999, 832, 666, 500, 333, 166, 0}, -1},
        {"linspace", VN_SPACING_BETWEEN, 7, {999, 832.5, 666, 499.5, 333, 166.5, 0}, -1},
        {"linspace", VN_SPACING_EXTRA, 4, {999, 749, 500, 250}, -1},
        {"trailing", VN_SPACING_WHOLE, 7, {999, 856, 713, 570, 428, 285, 142}, -1},
        {"trailing", VN_SPACING_BETWEEN, 8, {999, 874, 749, 624, 499, 374, 249, 124}, -1},
        {"trailing", VN_SPACING_EXTRA, 3, {999, 666, 332}, -1},
    };
    vn_path *p = open("ddpm");
    vn_level level[16];
    vn_err err;
    for (size_t i = 0; i < VN_COUNT(known); i++) {
        assert_int_equal(
            vn_grid_levels(known[i].grid, p, known[i].spacing, known[i].steps, level, &err), VN_OK);
        for (int k = 0; k < known[i].steps; k++) {
            double got = vn_path_network_time(p, &level[k]);
            expect_small(fabs(got - known[i].at[k]), 1e-9);
        }
        vn_level first = vn_path_level_of_step(p, 0);
        expect_small(fabs(level[known[i].steps].sigma - (known[i].last < 0 ? 0 : first.sigma)),
                     1e-15);
    }
    vn_path_close(&p);
}

/* As diffusers' multistep classes; its others would begin at step 0, where there is no noise. */
static void one_step_of_linspace_begins_at_the_noisiest(void **state) {
    (void)state;
    vn_path *p = open("ddpm");
    vn_level level[2];
    vn_err err;
    for (int spacing = VN_SPACING_WHOLE; spacing <= VN_SPACING_EXTRA; spacing++) {
        assert_int_equal(vn_grid_levels("linspace", p, (vn_spacing)spacing, 1, level, &err), VN_OK);
        assert_float_equal(vn_path_network_time(p, &level[0]), 999, 0);
    }
    vn_path_close(&p);
}

static vn_spacing spacing_of(const json_t *c) {
    const char *name = text_of(c, "spacing");
    return !strcmp(name, "whole")   ? VN_SPACING_WHOLE
           : !strcmp(name, "extra") ? VN_SPACING_EXTRA
                                    : VN_SPACING_BETWEEN;
}

/* How noise is counted in the golden files; -1 for pure noise where that is infinite. */
static double noise_of(const vn_path *p, const vn_level *l) {
    return p->row->straight_k ? l->sigma : l->alpha > 0 ? vn_level_ratio(l) : -1;
}

/* Largest relative error of a level; *told: of what the network is told, in its own units. */
static double error_of_case(const json_t *c, double *told) {
    static vn_level level[64];
    const int steps = (int)json_integer_value(json_object_get(c, "steps"));
    vn_path *p = open(text_of(c, "path"));
    vn_err err = {0};
    double worst = 0;
    assert_true(steps < 64);
    if (vn_grid_levels(text_of(c, "grid"), p, spacing_of(c), steps, level, &err))
        fail_msg("%s on %s: %s", text_of(c, "grid"), text_of(c, "path"), err.text);
    for (int i = 0; i <= steps; i++) {
        const double want = entry(c, "noise", (size_t)i), got = noise_of(p, &level[i]);
        worst = fmax(worst, fabs(got - want) / fmax(fabs(want), 1e-9));
        if (i < steps && json_array_size(json_object_get(c, "told")) > 0)
            *told =
                fmax(*told, fabs(vn_path_network_time(p, &level[i]) - entry(c, "told", (size_t)i)));
    }
    vn_path_close(&p);
    return worst;
}

/* Measured: 9e-7 of the level, from diffusers' float32; 1.9e-6 with zero_snr, where it takes square
 * roots in float32 that are not rounded as IEEE has it; and 1.4e-4 of a step (of 1000) from its
 * float32 logarithms. */
static void levels_are_those_of_diffusers(void **state) {
    (void)state;
    json_t *cases = read(GOLDEN "levels.json");
    assert_true(json_array_size(cases) > 150);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        const double limit = strstr(text_of(c, "path"), "zero_snr") ? 4e-6 : 2e-6;
        double told = 0, error = error_of_case(c, &told);
        expect_below_as(error, limit, "%s on %s, %s", text_of(c, "grid"), text_of(c, "path"),
                        "levels");
        expect_small(told, 4e-4);
    }
    json_decref(cases);
}

/* get_sigmas_* of k-diffusion in float64: measured 3.3e-13. */
static void levels_are_those_of_k_diffusion(void **state) {
    (void)state;
    static vn_level level[64];
    json_t *cases = read(GOLDEN "k_diffusion.json");
    assert_true(json_array_size(cases) == 5);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        const int steps = (int)json_array_size(json_object_get(c, "sigmas")) - 1;
        vn_path *p = open(text_of(c, "path"));
        vn_err err;
        assert_int_equal(
            vn_grid_levels(text_of(c, "grid"), p, VN_SPACING_BETWEEN, steps, level, &err), VN_OK);
        for (int k = 0; k < steps; k++) {
            const double error =
                fabs(vn_level_ratio(&level[k]) / entry(c, "sigmas", (size_t)k) - 1);
            expect_below_as(error, 1e-12, "%s", text_of(c, "grid"));
        }
        vn_path_close(&p);
    }
    json_decref(cases);
}

/* Against scipy, down to x = 1e-121: measured 2.8e-13 of x. */
static void quantiles_are_those_of_scipy(void **state) {
    (void)state;
    json_t *cases = read(GOLDEN "beta.json");
    assert_true(json_array_size(cases) == 10);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        const double a = json_number_value(json_object_get(c, "a")),
                     b = json_number_value(json_object_get(c, "b"));
        for (size_t k = 0; k < json_array_size(json_object_get(c, "p")); k++) {
            const double p = entry(c, "p", k), want = entry(c, "x", k),
                         got = vn_beta_quantile(a, b, p);
            expect_small(fabs(got - want), 8e-13 * want);
        }
        assert_true(vn_beta_quantile(a, b, 0) == 0 && vn_beta_quantile(a, b, 1) == 1);
    }
    json_decref(cases);
}

/* Between two steps sigma/alpha is interpolated straight. */
static void levels_between_steps(void **state) {
    (void)state;
    vn_path *p = open("ddpm:scaled-linear");
    vn_level level[8], low = vn_path_level_of_step(p, 832), high = vn_path_level_of_step(p, 833);
    vn_err err;
    assert_int_equal(vn_grid_levels("linspace", p, VN_SPACING_BETWEEN, 7, level, &err), VN_OK);
    double want = (vn_level_ratio(&low) + vn_level_ratio(&high)) / 2;
    expect_small(fabs(vn_level_ratio(&level[1]) - want), 1e-12);
    expect_small(fabs(level[1].alpha * level[1].alpha + level[1].sigma * level[1].sigma - 1),
                 1e-12);
    vn_path_close(&p);
}

static void formulas_of_continuous_grids(void **state) {
    (void)state;
    vn_level level[16];
    vn_err err;
    vn_path *edm = open("edm"), *flow = open("rectified");
    assert_int_equal(vn_grid_levels("karras", edm, VN_SPACING_BETWEEN, 5, level, &err), VN_OK);
    for (int i = 0; i < 5; i++) {
        double root = pow(80, 1 / 7.0) + i / 4.0 * (pow(0.002, 1 / 7.0) - pow(80, 1 / 7.0));
        expect_small(fabs(level[i].sigma / pow(root, 7) - 1), 1e-12);
    }
    assert_int_equal(vn_grid_levels("exponential", edm, VN_SPACING_BETWEEN, 5, level, &err), VN_OK);
    for (int i = 0; i < 5; i++)
        expect_small(fabs(level[i].sigma / (80 * pow(0.002 / 80, i / 4.0)) - 1), 1e-12);
    assert_int_equal(vn_grid_levels("uniform", flow, VN_SPACING_BETWEEN, 4, level, &err), VN_OK);
    for (int i = 0; i < 4; i++) expect_small(fabs(level[i].sigma - (4 - i) / 4.0), 1e-15);
    assert_int_equal(vn_grid_levels("uniform:shift=3", flow, VN_SPACING_BETWEEN, 4, level, &err),
                     VN_OK);
    expect_small(fabs(level[2].sigma - 3 * 0.5 / 2), 1e-15);
    assert_true(level[0].sigma == 1);
    assert_int_equal(vn_grid_levels("linspace", flow, VN_SPACING_WHOLE, 10, level, &err), VN_OK);
    assert_true(level[0].sigma == 1);
    expect_small(fabs(level[9].sigma - 1e-3), 1e-15);
    assert_true(level[10].sigma == 0);
    vn_path_close(&edm);
    vn_path_close(&flow);
}

/* Its t is where the path has this level, and the slopes are the path's there. */
static void check_level(const vn_path *p, const vn_level *l, const char *grid) {
    const vn_level there = vn_path_level(p, l->t);
    const bool same = fabs(there.alpha - l->alpha) <= 1e-10 * l->alpha &&
                      fabs(there.sigma - l->sigma) <= 1e-10 * l->sigma &&
                      there.dalpha == l->dalpha && there.dsigma == l->dsigma;
    if (!same) fail_msg("%s on %s: t = %.17g is not where it says", grid, p->row->row.name, l->t);
}

static void check_fall(const vn_path *p, const char *grid, const vn_level *level, int steps) {
    assert_true(level[0].sigma > 0);
    for (int i = 0; i < steps; i++) {
        assert_true(vn_level_ratio(&level[i]) > vn_level_ratio(&level[i + 1]));
        assert_true(level[i + 1].alpha > 0);
        check_level(p, &level[i], grid);
    }
}

/* Every grid on every path, from one step to many: falls to the end, or says why not. */
static void all_grids_fall_on_all_paths(void **state) {
    (void)state;
    static vn_level level[MAX_LEVELS];
    static const int steps[] = {1, 2, 3, 10, 33, 999};
    static const char *const more[] = {
        "ddpm:scaled-linear",      "ddpm:cosine",      "ddpm:sigmoid",
        "ddpm:sigmoid-bar",        "ddpm:zero_snr=1",  "ddpm:scaled-linear,zero_snr=1",
        "polynomial:n=3,of=alpha", "edm:sigma_max=700"};
    int filled = 0, refused = 0;
    for (size_t i = 0; i < vn_path_row_count + VN_COUNT(more); i++) {
        vn_path *p =
            open(i < vn_path_row_count ? vn_path_rows[i].row.name : more[i - vn_path_row_count]);
        for (size_t k = 0; k < vn_grids.count; k++)
            for (int spacing = VN_SPACING_WHOLE; spacing <= VN_SPACING_EXTRA; spacing++)
                for (size_t n = 0; n < VN_COUNT(steps); n++) {
                    const vn_grid_row *row = (const vn_grid_row *)vn_table_row(&vn_grids, k);
                    vn_err err = {0};
                    vn_status status = vn_grid_levels(row->row.name, p, (vn_spacing)spacing,
                                                      steps[n], level, &err);
                    if (status) {
                        assert_int_equal(status, VN_BAD_ARGUMENT);
                        assert_true(strlen(err.text) > 20 && !strchr(err.text, '\n'));
                        if (!(row->discrete && !p->steps) && steps[n] < 999)
                            fail_msg("%s: %s", p->row->row.name, err.text);
                        refused++;
                        continue;
                    }
                    filled++;
                    check_fall(p, row->row.name, level, steps[n]);
                }
        vn_path_close(&p);
    }
    assert_true(filled > 2500 && refused < filled / 5);
}

/* Samplers that divide by alpha begin at the least one that diffusers knows, and the network is
 * told the last step. */
static void pure_noise_is_for_those_who_can(void **state) {
    (void)state;
    static const double list[] = {1, 0.9, 0};
    vn_path *p = open("ddpm:zero_snr=1");
    vn_level level[4];
    vn_err err;
    for (int spacing = VN_SPACING_WHOLE; spacing <= VN_SPACING_EXTRA; spacing++)
        for (int listed = 0; listed <= 1; listed++) {
            vn_status status =
                listed ? vn_sigma_levels(list, 3, p, (vn_spacing)spacing, level, &err)
                       : vn_grid_levels("trailing", p, (vn_spacing)spacing, 2, level, &err);
            assert_int_equal(status, VN_OK);
            assert_true(vn_path_network_time(p, &level[0]) == 999);
            if (spacing == VN_SPACING_WHOLE)
                assert_true(level[0].alpha == 0 && level[0].sigma == 1);
            else
                expect_small(fabs(level[0].alpha * level[0].alpha * exp2(24) - 1), 1e-12);
        }
    vn_path_close(&p);
}

static void lists_of_sigmas(void **state) {
    (void)state;
    vn_path *flow = open("rectified"), *vp = open("vp"), *ve = open("ve");
    vn_level level[8];
    vn_err err;
    const double list[] = {1, 0.5, 0.25, 0}, high[] = {300, 1, 0};
    assert_int_equal(vn_sigma_levels(list, 4, flow, VN_SPACING_WHOLE, level, &err), VN_OK);
    for (int i = 0; i < 4; i++)
        assert_true(level[i].sigma == list[i] && level[i].alpha == 1 - list[i] &&
                    level[i].t == list[i]);
    assert_int_equal(vn_sigma_levels(list + 1, 3, vp, VN_SPACING_WHOLE, level, &err), VN_OK);
    expect_small(fabs(level[0].alpha - sqrt(0.75)), 1e-15);
    assert_int_equal(vn_sigma_levels(high, 3, ve, VN_SPACING_WHOLE, level, &err),
                     VN_OK); /* beyond sigma_max, where alpha is 1 all the same */
    assert_true(level[0].sigma == 300);

    static const struct {
        double sigma[4];
        size_t count;
        const char *word;
    } bad[] = {
        {{0}, 1, "between 2"},
        {{1, 0.5}, 2, "the last number is 0.5, not 0"},
        {{0.5, 0.5, 0}, 3, "number 2"},
        {{0.2, 0.5, 0}, 3, "not below"},
        {{(double)NAN, 0.5, 0}, 3, "number 1"},
        {{1, (double)NAN, 0}, 3, "number 2 is not finite"},
        {{1.5, 0.5, 0}, 3, "largest"},
        {{1, 0.5, -0.1}, 3, "not 0"},
        {{(double)INFINITY, 0}, 2, "finite"},
    };
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        assert_int_equal(
            vn_sigma_levels(bad[i].sigma, bad[i].count, flow, VN_SPACING_WHOLE, level, &err),
            VN_BAD_ARGUMENT);
        if (!strstr(err.text, bad[i].word)) fail_msg("%zu: %s", i, err.text);
    }
    vn_path_close(&flow);
    vn_path_close(&vp);
    vn_path_close(&ve);
}

static void nonsense_is_refused_by_name(void **state) {
    (void)state;
    static vn_level level[MAX_LEVELS];
    static const struct {
        const char *path, *grid, *word;
        int steps;
    } bad[] = {
        {"rectified", "leading", "rectified is continuous", 10},
        {"edm", "trailing", "edm is continuous", 10},
        {"ddpm", "leading", "too many", 1000},
        {"ddpm:T=20", "trailing", "no 30 different levels", 30},
        {"ddpm", "karas", "karras", 10},
        {"edm", "karras:rho=0", "rho", 10},
        {"rectified", "uniform:shift=-1", "shift", 10},
        {"rectified", "uniform:shift=nan", "not a number", 10},
        {"ddpm", "linspace:shift=3", "no effect on the steps of ddpm", 10},
        {"ddpm", "karras:sigma_max=200", "above the path's largest, 157.4", 10},
        {"rectified", "beta:sigma_min=0.5,sigma_max=0.4", "not below sigma_max 0.4", 10},
        {"edm", "exponential:sigma_min=100", "not below sigma_max 80", 10},
        {"edm", "beta:a=0", "outside [0.1, 10]", 10},
        {"rectified", "dynamic:base_tokens=4096", "both 4096", 10},
        {"rectified", "dynamic:tokens=-1", "tokens", 10},
        {"rectified", "dynamic:base_shift=-1,tokens=256,type=linear", "shift of -1", 10},
        {"rectified", "dynamic:terminal=0.1", "single step", 1},
        {"rectified", "linear-quadratic:linear=10", "leave none of 10", 10},
        {"rectified", "linear-quadratic:threshold=0.9,linear=2", "too few of 10", 10},
        {"edm:sigma_max=40", "ays:model=svd", "second sigma, 54.5", 10},
        {"edm", "ays:model=sd3", "sd15|sdxl|svd", 10},
    };
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        vn_path *p = open(bad[i].path);
        vn_err err = {0};
        assert_int_equal(
            vn_grid_levels(bad[i].grid, p, VN_SPACING_WHOLE, bad[i].steps, level, &err),
            VN_BAD_ARGUMENT);
        if (!strstr(err.text, bad[i].word)) fail_msg("%s: %s", bad[i].grid, err.text);
        vn_path_close(&p);
    }
}

/* Where the number of tokens is not given, it is the model's. */
static void the_shift_of_dynamic_follows_the_model(void **state) {
    (void)state;
    vn_path *p = NULL;
    vn_err err = {0};
    vn_level own[11], given[11];
    assert_int_equal(vn_path_open("rectified", &p, &err), VN_OK);
    assert_int_equal(vn_grid_levels_of("dynamic", 256, p, VN_SPACING_BETWEEN, 10, own, &err),
                     VN_OK);
    assert_int_equal(vn_grid_levels("dynamic:tokens=256", p, VN_SPACING_BETWEEN, 10, given, &err),
                     VN_OK);
    for (int i = 0; i < 11; i++) assert_true(own[i].t == given[i].t);
    assert_int_equal(
        vn_grid_levels_of("dynamic:tokens=4096", 256, p, VN_SPACING_BETWEEN, 10, own, &err), VN_OK);
    assert_true(own[5].t > given[5].t);
    assert_int_equal(vn_grid_levels("dynamic", p, VN_SPACING_BETWEEN, 10, given, &err), VN_OK);
    for (int i = 0; i < 11; i++) assert_true(own[i].t == given[i].t);
    vn_path_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_those_of_diffusers),
        cmocka_unit_test(one_step_of_linspace_begins_at_the_noisiest),
        cmocka_unit_test(levels_are_those_of_diffusers),
        cmocka_unit_test(levels_are_those_of_k_diffusion),
        cmocka_unit_test(quantiles_are_those_of_scipy),
        cmocka_unit_test(levels_between_steps),
        cmocka_unit_test(formulas_of_continuous_grids),
        cmocka_unit_test(all_grids_fall_on_all_paths),
        cmocka_unit_test(pure_noise_is_for_those_who_can),
        cmocka_unit_test(lists_of_sigmas),
        cmocka_unit_test(nonsense_is_refused_by_name),
        cmocka_unit_test(the_shift_of_dynamic_follows_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
