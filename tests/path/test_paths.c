/* Every path of the table: finite everywhere, true to its definition, its derivative and its
 * inverse, and equal to what diffusers, flow_matching and score_sde have (golden/grids/paths.json,
 * made by golden/grids.py). */
#include <float.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "path/path.h"
#include "support/alloc.h"
#include "support/bound.h"

static const char *const texts[] = {"rectified",
                                    "polynomial",
                                    "polynomial:n=1",
                                    "polynomial:n=2.5,of=alpha",
                                    "trigonometric",
                                    "edm",
                                    "edm:sigma_min=0.01,sigma_max=20",
                                    "vp",
                                    "vp:beta_max=5",
                                    "sub-vp",
                                    "sub-vp:beta_min=1,beta_max=8",
                                    "ve",
                                    "ve:sigma_max=300",
                                    "ddpm",
                                    "ddpm:scaled-linear",
                                    "ddpm:cosine",
                                    "ddpm:sigmoid",
                                    "ddpm:sigmoid-bar",
                                    "ddpm:sigmoid-bar,start=0,tau=0.7",
                                    "ddpm:linear,T=50,beta_end=0.3",
                                    "ddpm:T=1000",
                                    "ddpm:zero_snr=1",
                                    "ddpm:scaled-linear,zero_snr=1",
                                    "ddpm:cosine,T=100,zero_snr=1",
                                    "ddpm:sigmoid-bar,zero_snr=1"};

static vn_path *open(const char *text) {
    vn_path *p;
    vn_err err = {0};
    if (vn_path_open(text, &p, &err)) fail_msg("%s: %s", text, err.text);
    return p;
}

static void near(double a, double b, double relative, const char *what, double at) {
    const double error = fabs(a - b) / fmax(fmax(fabs(a), fabs(b)), DBL_MIN);
    if (!(error <= relative)) print_error("%s at %g: %.12g, not %.12g\n", what, at, a, b);
    expect_below(what, error, relative);
}

static void all_rows_are_tried(void **state) {
    (void)state;
    for (size_t i = 0; i < vn_path_row_count; i++) {
        bool tried = false;
        for (size_t k = 0; k < VN_COUNT(texts); k++)
            tried |= strcmp(texts[k], vn_path_rows[i].row.name) == 0;
        assert_true(tried);
    }
}

static void levels_are_finite_and_noise_grows(void **state) {
    (void)state;
    for (size_t i = 0; i < VN_COUNT(texts); i++) {
        vn_path *p = open(texts[i]);
        double before = -1;
        for (int k = 0; k <= 1000; k++) {
            vn_level l = vn_path_level(p, k / 1000.0);
            double s = vn_level_ratio(&l);
            assert_true(isfinite(l.alpha) && isfinite(l.sigma) && isfinite(l.dalpha));
            assert_true(isfinite(l.dsigma) || k == 0);
            assert_true(l.alpha >= 0 && l.sigma >= 0 && s > before);
            assert_true(isfinite(vn_path_network_time(p, &l)));
            before = s;
        }
        assert_true(p->row->min_time(p) >= 0 && p->row->min_time(p) < 1);
        vn_path_close(&p);
        assert_null(p);
    }
}

/* d/dt at the third (or, from one side, the last) of five levels h apart, of fourth order. */
static void differences(const vn_level a[5], double h, bool one_sided, double *dalpha,
                        double *dsigma) {
    static const double around[5] = {1, -8, 0, 8, -1}, before[5] = {3, -16, 36, -48, 25};
    *dalpha = *dsigma = 0;
    for (int i = 0; i < 5; i++) {
        const double weight = (one_sided ? before : around)[i] / (12 * h);
        *dalpha += weight * a[i].alpha;
        *dsigma += weight * a[i].sigma;
    }
}

/* A level's slopes against differences of the curve, on the side where it is smooth: below a step,
 * or around a t that is none. Measured: 1e-7, relative to the larger of slope and rounding. */
static void check_slopes(const vn_path *p, const vn_level *l, const char *what) {
    /* from the nearest step, in steps */
    const double place = fabs(l->t * p->steps - rint(l->t * p->steps));
    const bool one_sided = p->steps && place < 1e-6;
    const double h = !p->steps ? 1e-4 * l->t : (one_sided ? 0.01 : 0.02 * place) / p->steps;
    double dalpha, dsigma;
    vn_level a[5];
    for (int i = 0; i < 5; i++) a[i] = vn_path_level(p, l->t + (i - (one_sided ? 4 : 2)) * h);
    differences(a, h, one_sided, &dalpha, &dsigma);
    expect_below_as(fabs(dalpha - l->dalpha), 3e-7 * fmax(fabs(l->dalpha), 1e-8 / h * l->alpha),
                    "%s, dalpha", what);
    expect_below_as(fabs(dsigma - l->dsigma), 3e-7 * fmax(fabs(l->dsigma), 1e-8 / h * l->sigma),
                    "%s, dsigma", what);
}

static void derivatives_are_those_of_the_curve(void **state) {
    (void)state;
    for (size_t i = 0; i < VN_COUNT(texts); i++) {
        vn_path *p = open(texts[i]);
        for (int k = 1; k < 97; k++) {
            const vn_level l = vn_path_level(p, k / 97.0),
                           by_ratio = vn_path_level_of_ratio(p, vn_level_ratio(&l));
            check_slopes(p, &l, texts[i]);
            check_slopes(p, &by_ratio, texts[i]);
            if (l.alpha > 1e-3) { /* sigma says where it is */
                const vn_level by_sigma = vn_path_level_of_sigma(p, l.sigma);
                check_slopes(p, &by_sigma, texts[i]);
            }
        }
        for (int k = 0; k < p->steps; k += 7) {
            const vn_level l = vn_path_level_of_step(p, k);
            check_slopes(p, &l, texts[i]);
        }
        vn_path_close(&p);
    }
}

/* Some ten roundings of 1.1e-16, and t is steeper than what it is found from. Measured at most:
 * 1.6e-15 of t, 4.2e-16 of the others. */
static void inverses_come_back(void **state) {
    (void)state;
    for (size_t i = 0; i < VN_COUNT(texts); i++) {
        vn_path *p = open(texts[i]);
        for (int k = 1; k <= 200; k++) {
            double t = k / 200.0;
            vn_level l = vn_path_level(p, t), by_sigma = vn_path_level_of_sigma(p, l.sigma),
                     by_ratio = vn_path_level_of_ratio(p, vn_level_ratio(&l)),
                     by_clock = vn_path_level_of_clock(p, vn_path_clock(p, &l));
            near(by_ratio.t, t, 5e-15, "t of ratio", t);
            near(by_ratio.alpha, l.alpha, 2e-15, "alpha of ratio", t);
            near(by_ratio.sigma, l.sigma, 2e-15, "sigma of ratio", t);
            near(by_sigma.sigma, l.sigma, 1e-15, "sigma", t);
            /* 1 - sigma is all that is left of alpha: a rounding of sigma by 1e-16 moves alpha^2 by
             * that */
            double lost = 8e-16 / fmax(l.alpha * l.alpha, 1e-16);
            if (l.alpha > 1e-6) near(by_sigma.alpha, l.alpha, 2e-15 + lost, "alpha of sigma", t);
            near(by_clock.sigma, l.sigma, 2e-15, "sigma of clock", t);
        }
        vn_path_close(&p);
    }
}

static void levels_lie_on_straight_lines(void **state) {
    (void)state;
    const double x0 = 0.7, eps = -1.3;
    for (size_t i = 0; i < VN_COUNT(texts); i++) {
        vn_path *p = open(texts[i]);
        const double k = p->row->straight_k;
        for (int j = 1; j <= 20; j++) {
            vn_level l = vn_path_level(p, j / 20.0);
            if (l.alpha == 0 && k == 0) continue; /* sigma/alpha is infinite */
            double c = vn_path_clock(p, &l),
                   y = (l.alpha * x0 + l.sigma * eps) / vn_path_scale(p, &l);
            assert_true(isfinite(c));
            near(y, (1 - k * c) * x0 + c * eps, 2e-14, texts[i], l.t); /* measured: 5.1e-15 */
        }
        vn_path_close(&p);
    }
}

/* What the definitions say, at places that can be worked out on paper. */
static void known_values(void **state) {
    (void)state;
    static const struct {
        const char *path;
        double t, alpha, sigma, time;
    } known[] = {
        {"rectified", 0.25, 0.75, 0.25, 250},
        {"rectified", 1, 0, 1, 1000},
        {"trigonometric", 0.5, 0.70710678118654757, 0.70710678118654746, 500},
        {"trigonometric", 1, 0, 1, 1000},
        {"edm", 0.5, 1, 40, 0.9222198635285},                   /* ln(40)/4 */
        {"ve", 0.5, 1, 0.70710678118654757, -1.03972077083992}, /* sqrt(.01 50), ln(sigma/2) */
        {"vp", 0.5, 0.28118288079675, 0.95965420206804, 499.5}, /* exp(-19.9/16 - 0.1/4) */
        {"ddpm", 1, 0.006352818549449, 0.9999798206446, 999},
        /* one step: alpha-bar = 1 - 1e-4 in float32 */
        {"ddpm", 0.001, 0.9999499904526, 0.01000082966224, 0},
        {"ddpm:cosine", 0.5, 0.7027399704325, 0.711446789266, 499},
        {"polynomial:n=3", 0.5, 0.875, 0.125, 500},
        {"polynomial:n=3,of=alpha", 0.5, 0.125, 0.875, 500},
        {"sub-vp", 0.5, 0.28118288079675, 0.92093618754644, 499.5}, /* alpha of vp, 1 - alpha^2 */
    };
    for (size_t i = 0; i < VN_COUNT(known); i++) {
        vn_path *p = open(known[i].path);
        vn_level l = vn_path_level(p, known[i].t);
        near(l.alpha, known[i].alpha, 2e-12, known[i].path, known[i].t);
        near(l.sigma, known[i].sigma, 2e-12, known[i].path, known[i].t);
        expect_small(fabs(vn_path_network_time(p, &l) - known[i].time), 1e-8);
        vn_path_close(&p);
    }
}

/* float32 alpha-bar of diffusers' DDPMScheduler at steps 0, 500 and 999. */
static void tables_are_those_of_diffusers(void **state) {
    (void)state;
    static const struct {
        const char *path;
        float bar[3];
    } known[] = {
        {"ddpm:linear", {9.998999834e-01f, 7.779665291e-02f, 4.035830352e-05f}},
        {"ddpm:scaled-linear", {9.991499782e-01f, 2.763324678e-01f, 4.660095088e-03f}},
        {"ddpm:cosine", {9.999586940e-01f, 4.922850430e-01f, 2.428734991e-09f}},
    };
    for (size_t i = 0; i < VN_COUNT(known); i++) {
        vn_path *p = open(known[i].path);
        for (int k = 0; k < 3; k++) {
            vn_level l = vn_path_level_of_step(p, k == 0 ? 0 : k == 1 ? 500 : 999);
            near(l.alpha * l.alpha, (double)known[i].bar[k], 2e-14, known[i].path, k);
        }
        vn_path_close(&p);
    }
}

static json_t *read_golden(void) {
    json_t *json = NULL;
    vn_err err = {0};
    if (vn_json_read(VN_SOURCE_DIR "/tests/golden/grids/paths.json", &json, &err))
        fail_msg("%s", err.text);
    return json;
}

static double row_entry(const json_t *c, size_t i, size_t j) {
    return json_number_value(json_array_get(json_array_get(json_object_get(c, "rows"), i), j));
}

/* Rows of alpha, sigma, and either their slopes or rate and g^2 of the forward SDE. */
static void compare_rows(const char *list, size_t count, bool sde, double limit) {
    json_t *golden = read_golden(), *cases = json_object_get(golden, list);
    assert_true(json_array_size(cases) == count);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i), *times = json_object_get(c, "t");
        const char *name = json_string_value(json_object_get(c, "path"));
        vn_path *p = open(name);
        for (size_t k = 0; k < json_array_size(times); k++) {
            const vn_level l = vn_path_level(p, json_number_value(json_array_get(times, k)));
            near(l.alpha, row_entry(c, k, 0), limit, name, l.t);
            near(l.sigma, row_entry(c, k, 1), limit, name, l.t);
            near(sde ? vn_level_rate(&l) : l.dalpha, row_entry(c, k, 2), limit, name, l.t);
            near(sde ? vn_level_diffusion(&l) : l.dsigma, row_entry(c, k, 3), limit, name, l.t);
        }
        vn_path_close(&p);
    }
    json_decref(golden);
}

/* In float64, some thirty roundings of 1.1e-16 by chance and larger where numbers nearly cancel:
 * measured 3.4e-15. */
static void curves_are_those_of_flow_matching(void **state) {
    (void)state;
    compare_rows("slopes", 5, false, 4e-14);
}

/* As score_sde writes them: measured 4e-15. */
static void sdes_are_those_of_score_sde(void **state) {
    (void)state;
    compare_rows("sde", 3, true, 4e-14);
}

/* alpha-bar against diffusers (and 2212.11972's schedule) in float32: measured 1e-7 where it is the
 * same arithmetic; with zero_snr 3e-5 at step 998, where torch's float32 square root is off by its
 * last bit and the difference of two such is taken. */
static void alpha_bars_are_those_of_diffusers(void **state) {
    (void)state;
    json_t *golden = read_golden(), *cases = json_object_get(golden, "alpha_bar");
    assert_true(json_array_size(cases) == 10);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i), *steps = json_object_get(c, "step");
        const char *name = json_string_value(json_object_get(c, "path"));
        const double limit = strstr(name, "zero_snr=1") ? 1e-4 : 3e-7;
        vn_path *p = open(name);
        for (size_t k = 0; k < json_array_size(steps); k++) {
            const double step = json_number_value(json_array_get(steps, k));
            const vn_level l = vn_path_level_of_step(p, step);
            near(l.alpha * l.alpha, json_number_value(json_array_get(json_object_get(c, "bar"), k)),
                 limit, name, step);
        }
        vn_path_close(&p);
    }
    json_decref(golden);
}

/* zero_snr ends in pure noise, begins where it did, and alpha/sigma falls straight on the last
 * interval. */
static void zero_snr_ends_in_pure_noise(void **state) {
    (void)state;
    vn_path *p = open("ddpm:scaled-linear,zero_snr=1"), *plain = open("ddpm:scaled-linear");
    const vn_level last = vn_path_level(p, 1), half = vn_path_level_of_step(p, 998.5),
                   before = vn_path_level_of_step(p, 998), first = vn_path_level_of_step(p, 0),
                   same = vn_path_level_of_step(plain, 0);
    assert_true(last.alpha == 0 && last.sigma == 1 && last.dalpha < 0 && last.dsigma == 0);
    near(half.alpha / half.sigma, 0.5 * before.alpha / before.sigma, 1e-9, "alpha/sigma", half.t);
    near(first.alpha, same.alpha, 1e-7, "first alpha", first.t);
    vn_path_close(&p);
    vn_path_close(&plain);
}

static void times_snap_to_steps(void **state) {
    (void)state;
    vn_path *p = open("ddpm:T=10"), *q = open("rectified");
    assert_true(vn_path_snap(p, 1e-9) == 0.1);
    assert_true(vn_path_snap(p, 0.1) == 0.1);
    assert_true(vn_path_snap(p, 0.1001) == 0.2);
    assert_true(vn_path_snap(p, 1) == 1);
    assert_true(vn_path_snap(q, 0.1234) == 0.1234);
    vn_path_close(&p);
    vn_path_close(&q);
}

static void texts_come_back(void **state) {
    (void)state;
    for (size_t i = 0; i < VN_COUNT(texts); i++) {
        vn_path *p = open(texts[i]);
        char *text = vn_path_text(p);
        vn_path *q = open(text);
        assert_memory_equal(p->choice.value, q->choice.value, sizeof p->choice.value);
        assert_ptr_equal(p->row, q->row);
        vn_free(text);
        vn_path_close(&p);
        vn_path_close(&q);
    }
}

/* Paths that are the same have the same text, however they were spelled. */
static void texts_are_canonical(void **state) {
    (void)state;
    static const char *const spelled[][2] = {
        {"ddpm", "ddpm:linear"},
        {"ddpm:schedule=linear,T=1000,beta_start=0.0001,beta_end=0.02", "ddpm:linear"},
        {"ddpm:scaled-linear,beta_end=0.012", "ddpm:scaled-linear"},
        {"ddpm:scaled-linear,beta_end=0.02", "ddpm:scaled-linear,beta_end=0.02"},
        {"ddpm:cosine,T=500", "ddpm:cosine,T=500"},
        {"edm:sigma_max=80", "edm"},
        {"edm:sigma_max=40,sigma_min=0.002", "edm:sigma_max=40"},
        {"rectified", "rectified"},
        {"ddpm:linear,zero_snr=1,start=-3", "ddpm:linear,zero_snr=1"},
        {"ddpm:sigmoid,beta_end=0.02", "ddpm:sigmoid"},
        {"ddpm:sigmoid-bar,end=3,start=0", "ddpm:sigmoid-bar,start=0"},
        {"polynomial:of=sigma,n=3", "polynomial:n=3"},
        {"polynomial:of=alpha", "polynomial:of=alpha"},
        {"sub-vp:beta_max=20", "sub-vp"},
    };
    for (size_t i = 0; i < VN_COUNT(spelled); i++) {
        vn_path *p = open(spelled[i][0]);
        char *text = vn_path_text(p);
        assert_string_equal(text, spelled[i][1]);
        vn_free(text);
        vn_path_close(&p);
    }
}

static void nonsense_is_refused_by_name(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"rectifed", "rectified"},
        {"", "path"},
        {"ddpm:quadratic", "linear|scaled-linear|cosine"},
        {"ddpm:cosine,beta_end=0.1", "ddpm:cosine has its own betas"},
        {"ddpm:sigmoid-bar,beta_end=0.1", "ddpm:sigmoid-bar has its own betas"},
        {"ddpm:sigmoid,tau=2", "no effect without schedule=sigmoid-bar"},
        {"ddpm:sigmoid-bar,start=3", "start 3 is not below end 3"},
        {"ddpm:zero_snr=2", "zero_snr"},
        {"sub-vp:beta_min=9,beta_max=8", "sub-vp: beta_min"},
        {"polynomial:n=0.5", "n=0.5"},
        {"polynomial:of=beta", "sigma|alpha"},
        {"ddpm:T=1", "T=1"},
        {"ddpm:beta_start=0.3,beta_end=0.1", "beta_start"},
        {"ddpm:beta_end=0.999,T=100000", "float32"},
        {"edm:sigma_min=80,sigma_max=2", "sigma_min"},
        {"ve:sigma_max=nan", "sigma_max"},
        {"vp:beta_min=9,beta_max=8", "beta_min"},
        {"rectified:shift=2", "no"},
        {"vp:20", "20"},
        {"rectified:linear", "linear"},
    };
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        vn_path *p = (void *)1;
        vn_err err = {0};
        vn_status status = vn_path_open(bad[i][0], &p, &err);
        assert_int_equal(status, VN_BAD_ARGUMENT);
        assert_null(p);
        if (!strstr(err.text, bad[i][1])) fail_msg("%s: %s", bad[i][0], err.text);
    }
}

static void failed_allocations_are_reported(void **state) {
    (void)state;
    for (alloc_turn t = {.once = true}; alloc_next(&t);) {
        vn_path *p;
        vn_err err;
        assert_true(alloc_hit(&t, vn_path_open("ddpm:cosine", &p, &err)) || t.n >= 3);
        vn_path_close(&p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_rows_are_tried),
        cmocka_unit_test(levels_are_finite_and_noise_grows),
        cmocka_unit_test(derivatives_are_those_of_the_curve),
        cmocka_unit_test(inverses_come_back),
        cmocka_unit_test(levels_lie_on_straight_lines),
        cmocka_unit_test(known_values),
        cmocka_unit_test(tables_are_those_of_diffusers),
        cmocka_unit_test(curves_are_those_of_flow_matching),
        cmocka_unit_test(sdes_are_those_of_score_sde),
        cmocka_unit_test(alpha_bars_are_those_of_diffusers),
        cmocka_unit_test(zero_snr_ends_in_pure_noise),
        cmocka_unit_test(times_snap_to_steps),
        cmocka_unit_test(texts_come_back),
        cmocka_unit_test(texts_are_canonical),
        cmocka_unit_test(nonsense_is_refused_by_name),
        cmocka_unit_test(failed_allocations_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
