/* Every path of the table: finite everywhere, true to its definition, its derivative and its inverse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "path/path.h"
#include "support/alloc.h"

static const char *const texts[] = {
    "rectified",  "trigonometric",      "edm",         "edm:sigma_min=0.01,sigma_max=20",
    "vp",         "vp:beta_max=5",      "ve",          "ve:sigma_max=300",
    "ddpm",       "ddpm:scaled-linear", "ddpm:cosine", "ddpm:linear,T=50,beta_end=0.3",
    "ddpm:T=1000"};

static vn_path *open(const char *text) {
    vn_path *p;
    vn_err err = {0};
    if (vn_path_open(text, &p, &err)) fail_msg("%s: %s", text, err.text);
    return p;
}

static void near(double a, double b, double relative, const char *what, double at) {
    if (!(fabs(a - b) <= relative * fmax(fabs(a), fabs(b)))) fail_msg("%s at %g: %.12g, not %.12g", what, at, a, b);
}

static void all_rows_are_tried(void **state) {
    (void)state;
    for (size_t i = 0; i < vn_path_row_count; i++) {
        bool tried = false;
        for (size_t k = 0; k < VN_COUNT(texts); k++) tried |= strcmp(texts[k], vn_path_rows[i].row.name) == 0;
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
        assert_true(p->row->least(p) >= 0 && p->row->least(p) < 1);
        vn_path_close(&p);
        assert_null(p);
    }
}

static void derivatives_are_those_of_the_curve(void **state) {
    (void)state;
    for (size_t i = 0; i < VN_COUNT(texts); i++) {
        vn_path *p = open(texts[i]);
        for (int k = 1; k < 40; k++) {
            double t = p->steps ? (k + 0.5) / p->steps * floor(p->steps / 45.0) + 0.3 / p->steps : k / 40.0, h = 1e-6;
            if (p->steps) h = 1e-3 / p->steps;
            vn_level a = vn_path_level(p, t - h), l = vn_path_level(p, t), b = vn_path_level(p, t + h);
            near((b.alpha - a.alpha) / (2 * h), l.dalpha, 1e-5, texts[i], t);
            near((b.sigma - a.sigma) / (2 * h), l.dsigma, 1e-5, texts[i], t);
        }
        vn_path_close(&p);
    }
}

static void inverses_come_back(void **state) {
    (void)state;
    for (size_t i = 0; i < VN_COUNT(texts); i++) {
        vn_path *p = open(texts[i]);
        for (int k = 1; k <= 200; k++) {
            double t = k / 200.0;
            vn_level l = vn_path_level(p, t), by_sigma = vn_path_level_of_sigma(p, l.sigma),
                     by_ratio = vn_path_level_of_ratio(p, vn_level_ratio(&l)),
                     by_clock = vn_path_level_of_clock(p, vn_path_clock(p, &l));
            near(by_ratio.t, t, 1e-10, "t of ratio", t);
            near(by_ratio.alpha, l.alpha, 1e-10, "alpha of ratio", t);
            near(by_ratio.sigma, l.sigma, 1e-10, "sigma of ratio", t);
            near(by_sigma.sigma, l.sigma, 1e-14, "sigma", t);
            // 1 - sigma is all that is left of alpha: a rounding of sigma by 1e-16 moves alpha^2 by that
            double lost = 4e-16 / fmax(l.alpha * l.alpha, 1e-16);
            if (l.alpha > 1e-6) near(by_sigma.alpha, l.alpha, 1e-12 + lost, "alpha of sigma", t);
            near(by_clock.sigma, l.sigma, 1e-10, "sigma of clock", t);
        }
        vn_path_close(&p);
    }
}

static void levels_lie_on_straight_lines(void **state) {
    (void)state;
    const double x0 = 0.7, eps = -1.3;
    for (size_t i = 0; i < VN_COUNT(texts); i++) {
        vn_path *p = open(texts[i]);
        const double k = p->row->straight;
        for (int j = 1; j <= 20; j++) {
            vn_level l = vn_path_level(p, j / 20.0);
            double c = vn_path_clock(p, &l), y = (l.alpha * x0 + l.sigma * eps) / vn_path_scale(p, &l);
            assert_true(isfinite(c));
            near(y, (1 - k * c) * x0 + c * eps, 1e-12, texts[i], l.t);
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
        {"edm", 0.5, 1, 40, 0.9222198635285},                   // ln(40)/4
        {"ve", 0.5, 1, 0.70710678118654757, -1.03972077083992}, // sqrt(.01 50), ln(sigma/2)
        {"vp", 0.5, 0.28118288079675, 0.95965420206804, 499.5}, // exp(-19.9/16 - 0.1/4)
        {"ddpm", 1, 0.006352818549449, 0.9999798206446, 999},
        {"ddpm", 0.001, 0.9999499904526, 0.01000082966224, 0}, // one step: alpha-bar = 1 - 1e-4 in float32
        {"ddpm:cosine", 0.5, 0.7027399704325, 0.711446789266, 499},
    };
    for (size_t i = 0; i < VN_COUNT(known); i++) {
        vn_path *p = open(known[i].path);
        vn_level l = vn_path_level(p, known[i].t);
        near(l.alpha, known[i].alpha, 1e-11, known[i].path, known[i].t);
        near(l.sigma, known[i].sigma, 1e-11, known[i].path, known[i].t);
        assert_true(fabs(vn_path_network_time(p, &l) - known[i].time) < 1e-8);
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
            near(l.alpha * l.alpha, (double)known[i].bar[k], 1e-12, known[i].path, k);
        }
        vn_path_close(&p);
    }
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
        {"ddpm:cosine,beta_end=0.1", "no effect"},
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
        vn_status s = vn_path_open(bad[i][0], &p, &err);
        assert_int_equal(s, VN_BAD_ARGUMENT);
        assert_null(p);
        if (!strstr(err.text, bad[i][1])) fail_msg("%s: %s", bad[i][0], err.text);
    }
}

static void failed_allocations_are_reported(void **state) {
    (void)state;
    for (int64_t n = 0;; n++) {
        vn_path *p;
        vn_err err;
        int64_t live = alloc_live();
        alloc_fail(n, ALLOC_ONCE);
        vn_status s = vn_path_open("ddpm:cosine", &p, &err);
        if (!alloc_fail_end()) {
            assert_true(n >= 3);
            vn_path_close(&p);
            return;
        }
        assert_int_equal(s, VN_NO_MEMORY);
        assert_int_equal(alloc_live(), live);
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
        cmocka_unit_test(times_snap_to_steps),
        cmocka_unit_test(texts_come_back),
        cmocka_unit_test(texts_are_canonical),
        cmocka_unit_test(nonsense_is_refused_by_name),
        cmocka_unit_test(failed_allocations_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
