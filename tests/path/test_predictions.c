/* Every prediction on every path, at every t with both ends: conversions there and back, limits,
 * and what the names mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "path/path.h"
#include "support/bound.h"

#define SIZE 4
static const float x0[SIZE] = {0.7f, -1.2f, 0.05f, 2.1f}, eps[SIZE] = {-0.4f, 0.9f, 1.7f, -0.2f};

static const char *const paths[] = {"rectified",
                                    "polynomial:n=3",
                                    "polynomial:n=3,of=alpha",
                                    "trigonometric",
                                    "edm",
                                    "vp",
                                    "sub-vp",
                                    "ve",
                                    "ddpm:linear",
                                    "ddpm:cosine",
                                    "ddpm:zero_snr=1"};

typedef void (*visit)(const vn_path *path, const vn_prediction *p, const vn_level *l);

static void everywhere(visit f) {
    vn_err err;
    for (size_t i = 0; i < VN_COUNT(paths); i++) {
        vn_path *path;
        assert_int_equal(vn_path_open(paths[i], &path, &err), VN_OK);
        for (size_t k = 0; k < vn_prediction_row_count; k++)
            for (int j = 0; j <= 50; j++) {
                vn_prediction p;
                vn_level l = vn_path_level(path, j / 50.0);
                assert_int_equal(vn_prediction_parse(vn_prediction_rows[k].row.name, &p, &err),
                                 VN_OK);
                f(path, &p, &l);
                if (j == 0) f(path, &p, &vn_level_clean);
            }
        vn_path_close(&path);
    }
}

static void state_at(const vn_level *l, float x[SIZE]) {
    for (int i = 0; i < SIZE; i++)
        x[i] = (float)(l->alpha * (double)x0[i] + l->sigma * (double)eps[i]);
}

static void close_to(float got, float want, double tolerance, const char *path,
                     const vn_prediction *p, double t) {
    if (!(fabs((double)got - (double)want) <= tolerance))
        print_error("t = %g: %.8g, not %.8g\n", t, (double)got, (double)want);
    expect_below_as(fabs((double)got - (double)want), tolerance, "%s on %s", p->row->row.name,
                    path);
}

/* raw of (x0, eps) must give them back, as far as raw and x know them; rounding is amplified by the
 * coefficients: x, raw and the answer are rounded once each, by 6e-8, and two sums on the way; the
 * bound is twice that. */
static void there_and_back(const vn_path *path, const vn_prediction *p, const vn_level *l) {
    const vn_coefficients m = vn_prediction_coefficients(p, l);
    float x[SIZE], raw[SIZE], x0_back[SIZE], eps_back[SIZE];
    state_at(l, x);
    vn_prediction_from_estimate(p, l, SIZE, x0, eps, raw);
    vn_prediction_to_estimate(p, l, SIZE, x, raw, x0_back, eps_back);
    for (int i = 0; i < SIZE; i++) {
        assert_true(isfinite(raw[i]) && isfinite(x0_back[i]) && isfinite(eps_back[i]));
        double size = fabs((double)x[i]), scale = fabs((double)raw[i]);
        double x0_lost = 6e-7 * (fabs(m.x0_x) * size + fabs(m.x0_raw) * scale);
        double eps_lost = 6e-7 * (fabs(m.eps_x) * size + fabs(m.eps_raw) * scale);
        bool knows_x0 = l->alpha > 0 || m.x0_raw != 0, knows_eps = l->sigma > 0 || m.eps_raw != 0;
        close_to(x0_back[i], knows_x0 ? x0[i] : 0, 1e-7 + x0_lost, path->row->row.name, p, l->t);
        close_to(eps_back[i], knows_eps ? eps[i] : 0, 1e-7 + eps_lost, path->row->row.name, p,
                 l->t);
    }
}

static void conversions_come_back_everywhere(void **state) {
    (void)state;
    everywhere(there_and_back);
}

/* Whatever (x0, eps) comes out of a raw output is consistent with x, unless one of them is
 * unknown. */
static void consistent(const vn_path *path, const vn_prediction *p, const vn_level *l) {
    const vn_coefficients m = vn_prediction_coefficients(p, l);
    if (l->alpha == 0 || l->sigma == 0 || isinf(l->dsigma)) return;
    const double ones = l->alpha * m.x0_x + l->sigma * m.eps_x,
                 none = l->alpha * m.x0_raw + l->sigma * m.eps_raw;
    (void)path;
    expect_small(fabs(ones - 1), 1e-9);
    expect_small(fabs(none), 1e-9 * (1 + fabs(l->alpha * m.x0_raw)));
    expect_small(fabs(fabs(m.x0_raw) * l->alpha / l->sigma - m.eps_error),
                 1e-9 * (1 + m.eps_error));
}

static void pairs_agree_with_x(void **state) {
    (void)state;
    everywhere(consistent);
}

static double meaning_of(const char *name, const vn_level *l, double a, double e) {
    vn_prediction p;
    vn_err err;
    assert_int_equal(vn_prediction_parse(name, &p, &err), VN_OK);
    const vn_coefficients m = vn_prediction_coefficients(&p, l);
    return m.raw_x0 * a + m.raw_eps * e;
}

/* The definitions of the papers, worked out for one number. */
static void names_mean_what_they_say(void **state) {
    (void)state;
    const double a = 0.7, e = -0.4;
    vn_path *rectified, *vp, *edm;
    vn_err err;
    assert_int_equal(vn_path_open("rectified", &rectified, &err), VN_OK);
    assert_int_equal(vn_path_open("vp", &vp, &err), VN_OK);
    assert_int_equal(vn_path_open("edm", &edm, &err), VN_OK);
    vn_level r = vn_path_level(rectified, 0.3), v = vn_path_level(vp, 0.3),
             d = vn_path_level(edm, 0.02);
    expect_small(fabs(meaning_of("velocity", &r, a, e) - (e - a)), 1e-12);
    expect_small(fabs(meaning_of("v", &v, a, e) - (v.alpha * e - v.sigma * a)), 1e-12);
    expect_small(fabs(meaning_of("score", &v, a, e) - -e / v.sigma), 1e-12);
    /* x0 = c_skip x + c_out F with s = 1.6, sd = 0.5 */
    const double s = 1.6, sd = 0.5, x = a + s * e, c_skip = sd * sd / (s * s + sd * sd),
                 c_out = s * sd / sqrt(s * s + sd * sd);
    expect_small(fabs(meaning_of("edm", &d, a, e) - (a - c_skip * x) / c_out), 1e-12);
    vn_prediction p;
    assert_int_equal(vn_prediction_parse("edm:sigma_data=0.5", &p, &err), VN_OK);
    expect_small(fabs(vn_prediction_coefficients(&p, &d).input - 1 / sqrt(s * s + sd * sd)), 1e-12);
    /* velocity is dx/dt: by differences */
    vn_level before = vn_path_level(vp, 0.3 - 1e-6), after = vn_path_level(vp, 0.3 + 1e-6);
    double slope = ((after.alpha - before.alpha) * a + (after.sigma - before.sigma) * e) / 2e-6;
    expect_small(fabs(meaning_of("velocity", &v, a, e) - slope), 1e-7);
    vn_path_close(&rectified);
    vn_path_close(&vp);
    vn_path_close(&edm);
}

/* Only where the last step is pure noise and the output says nothing of the data there. */
static void blind_predictions_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < VN_COUNT(paths); i++)
        for (size_t k = 0; k < vn_prediction_row_count; k++) {
            const char *name = vn_prediction_rows[k].row.name;
            const bool blind =
                strstr(paths[i], "zero_snr") && (!strcmp(name, "eps") || !strcmp(name, "score"));
            vn_path *path;
            vn_prediction p;
            vn_err err = {0};
            assert_int_equal(vn_path_open(paths[i], &path, &err), VN_OK);
            assert_int_equal(vn_prediction_parse(name, &p, &err), VN_OK);
            assert_int_equal(vn_path_allows(path, &p, &err), blind ? VN_BAD_ARGUMENT : VN_OK);
            if (blind)
                assert_true(strncmp(err.text, name, strlen(name)) == 0 &&
                            strstr(err.text, "predict v or x0"));
            vn_path_close(&path);
        }
}

static void unknown_predictions_are_refused(void **state) {
    (void)state;
    vn_prediction p;
    vn_err err = {0};
    assert_int_equal(vn_prediction_parse("epsilon", &p, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "epsilon"));
    assert_int_equal(vn_prediction_parse("edm:sigma_data=0", &p, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "sigma_data"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversions_come_back_everywhere),
        cmocka_unit_test(pairs_agree_with_x),
        cmocka_unit_test(names_mean_what_they_say),
        cmocka_unit_test(blind_predictions_are_refused),
        cmocka_unit_test(unknown_predictions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
