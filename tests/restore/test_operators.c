/* Operators: what they do to known numbers, their transposes and pseudo-inverses, and what is
 * refused when they are opened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "restore/internal.h"
#include "support/bound.h"

enum { CHANNELS = 3, SIDE = 8, IMAGE = CHANNELS * SIDE * SIDE };

static vn_status open_on(const char *text, vn_shape sample, const vn_array *given,
                         vn_operator **out, vn_err *err) {
    const vn_operator_options options = {.text = text, .given = given, .sample = sample};
    return vn_operator_open(&options, out, err);
}

static vn_operator *open_image(const char *text, const vn_array *given) {
    vn_operator *o = NULL;
    vn_err err = {0};
    if (open_on(text, VN_SHAPE(CHANNELS, SIDE, SIDE), given, &o, &err)) fail_msg("%s", err.text);
    return o;
}

static void fill(double *x, int n, uint64_t sample) {
    float random[IMAGE];
    vn_random_normal(random, (size_t)n, 3, VN_STREAM_TEST, sample, 0);
    for (int i = 0; i < n; i++) x[i] = (double)random[i];
}

static const float half_mask[SIDE * SIDE] = {[0] = 1, [9] = 1, [20] = 1, [63] = 1};
static const vn_array mask = {"mask", VN_F32, {2, {SIDE, SIDE}}, half_mask};
static float numbers[5 * IMAGE];
static const vn_array matrix = {"matrix", VN_F32, {2, {5, IMAGE}}, numbers};

static const struct {
    const char *text;
    const vn_array *given;
    double bound; /* of A A^+ A u - A u; blur leaves out what it hardly shows, measured 0.032 */
} all[] = {{"mask", &mask, 1e-12},         {"downsample:factor=4", NULL, 1e-12},
           {"grey", NULL, 1e-12},          {"denoise", NULL, 1e-12},
           {"matrix", &matrix, 1e-7},      {"projection:rows=7", NULL, 1e-12},
           {"blur:sigma=1.2", NULL, 0.064}};

/* <A u, v> = <u, A^T v>, and A A^+ A = A. */
static void transposes_and_pseudo_inverses(void **state) {
    (void)state;
    double u[IMAGE], v[IMAGE], au[IMAGE], atv[IMAGE], back[IMAGE], again[IMAGE];
    vn_random_normal(numbers, VN_COUNT(numbers), 5, VN_STREAM_TEST, 0, 0);
    for (size_t k = 0; k < VN_COUNT(all); k++) {
        vn_operator *o = open_image(all[k].text, all[k].given);
        double left = 0, right = 0, worst = 0;
        fill(u, IMAGE, 1);
        fill(v, (int)o->count, 2);
        o->row->apply(o, u, au);
        o->row->transpose(o, v, atv);
        for (int i = 0; i < o->count; i++) left += au[i] * v[i];
        for (int i = 0; i < IMAGE; i++) right += u[i] * atv[i];
        vn_operator_pseudo_inverse(o, au, back);
        o->row->apply(o, back, again);
        for (int i = 0; i < o->count; i++) worst = fmax(worst, fabs(again[i] - au[i]));
        if (fabs(left - right) > 1e-10 || worst > all[k].bound)
            fail_msg("%s: <A u, v> %.12g, <u, A^T v> %.12g; A A^+ A off by %.3g of %.3g",
                     all[k].text, left, right, worst, all[k].bound);
        vn_operator_close(&o);
    }
}

/* (A A^T + c) v = r, by the diagonal and by conjugate gradients. */
static void equations_are_solved(void **state) {
    (void)state;
    double r[IMAGE], v[IMAGE], wide[IMAGE], back[IMAGE];
    for (size_t k = 0; k < VN_COUNT(all); k++) {
        vn_operator *o = open_image(all[k].text, all[k].given);
        double worst = 0;
        fill(r, (int)o->count, 4);
        vn_operator_solve(o, 0.3, r, v);
        o->row->transpose(o, v, wide);
        o->row->apply(o, wide, back);
        for (int i = 0; i < o->count; i++) worst = fmax(worst, fabs(back[i] + 0.3 * v[i] - r[i]));
        if (worst > 1e-8) fail_msg("%s: off by %.3g", all[k].text, worst);
        vn_operator_close(&o);
    }
}

static void known_numbers(void **state) {
    (void)state;
    double x[16], y[16];
    vn_operator *o = NULL;
    vn_err err = {0};
    for (int i = 0; i < 16; i++) x[i] = i;
    assert_int_equal(open_on("downsample:factor=2", VN_SHAPE(1, 4, 4), NULL, &o, &err), VN_OK);
    o->row->apply(o, x, y);
    assert_true(y[0] == 2.5 && y[1] == 4.5 && y[2] == 10.5 && y[3] == 12.5);
    vn_operator_close(&o);
    assert_int_equal(open_on("grey", VN_SHAPE(4, 2, 2), NULL, &o, &err), VN_OK);
    o->row->apply(o, x, y);
    assert_true(y[0] == 6 && y[3] == 9);
    vn_operator_close(&o);
    /* a blur keeps the mean, goes round at the edges, and is symmetric */
    assert_int_equal(open_on("blur:sigma=0.5", VN_SHAPE(1, 4, 4), NULL, &o, &err), VN_OK);
    memset(x, 0, sizeof x);
    x[0] = 1;
    o->row->apply(o, x, y);
    double sum = 0;
    for (int i = 0; i < 16; i++) sum += y[i];
    assert_true(fabs(sum - 1) < 1e-12);
    assert_true(fabs(y[1] - y[3]) < 1e-15 && fabs(y[1] - y[12]) < 1e-15 && y[1] > 0.08);
    /* e^-2/(1 + 2 e^-2 + 2 e^-8 ..), of a row of 4 in which two pixels away is one pixel */
    const double part = exp(-2.0), one = 1 + 2 * part + 2 * exp(-8.0) + 2 * exp(-18.0);
    assert_true(fabs(y[0] - pow(1 / one, 2)) < 1e-6);
    vn_operator_close(&o);
    /* a soft mask is a weight: A^T A = m, and A^T stands for A^+ */
    const float soft[4] = {1, 0.25, 0, 1};
    const vn_array weights = {"mask", VN_F32, {1, {4}}, soft};
    assert_int_equal(open_on("mask", VN_SHAPE(4), &weights, &o, &err), VN_OK);
    for (int i = 0; i < 4; i++) x[i] = 2;
    o->row->take(o, x);
    assert_true(x[0] == 2 && x[1] == 1 && x[2] == 0);
    vn_operator_pseudo_inverse(o, x, y);
    assert_true(y[0] == 2 && y[1] == 0.5 && y[2] == 0);
    vn_operator_close(&o);
}

static void refuse(const char *text, vn_shape sample, const vn_array *given, const char *words) {
    vn_operator *o = NULL;
    vn_err err = {0};
    assert_int_equal(open_on(text, sample, given, &o, &err), VN_BAD_ARGUMENT);
    assert_null(o);
    if (!strstr(err.text, words)) fail_msg("%s: '%s' is not in: %s", text, words, err.text);
}

static void what_does_not_fit(void **state) {
    (void)state;
    const vn_shape image = VN_SHAPE(CHANNELS, SIDE, SIDE), points = VN_SHAPE(2);
    static const float nothing[SIDE * SIDE], big[4] = {1, 2, 1, 1};
    const vn_array empty = {"mask", VN_F32, {2, {SIDE, SIDE}}, nothing},
                   small = {"mask", VN_F32, {2, {2, 2}}, big},
                   above = {"mask", VN_F32, {1, {4}}, big},
                   narrow = {"matrix", VN_F32, {2, {2, 2}}, big};
    refuse("downsample:factor=3", image, NULL, "factor 3 does not divide images of 8 x 8");
    refuse("downsample", points, NULL, "samples are points");
    refuse("grey", VN_SHAPE(1, 4, 4), NULL, "no effect on images of 1 channel");
    refuse("mask", image, NULL, "needs a mask");
    refuse("mask", image, &small, "size [2, 2] does not fit samples of size [3, 8, 8]");
    refuse("mask", image, &empty, "0 everywhere");
    refuse("mask", VN_SHAPE(4), &above, "number 1 of the mask is 2, outside [0, 1]");
    refuse("matrix", image, &narrow, "size [2, 2] does not act on samples of 192 numbers");
    refuse("denoise", image, &small, "takes no array");
    refuse("projection:rows=3", points, NULL, "3 rows of samples of 2 numbers");
    refuse("blurr", image, NULL, "did you mean 'blur'?");
    refuse("blur:sigma=0", image, NULL, "sigma");
}

/* ---- callbacks ------------------------------------------------------------------------------- */

/* y = (x0 + x1, 2 x1), and its transpose, right or wrong. */
static vn_status apply(void *user, const float *x, float *y) {
    (void)user;
    y[0] = x[0] + x[1];
    y[1] = 2 * x[1];
    return VN_OK;
}

static vn_status transpose(void *user, const float *y, float *x) {
    (void)user;
    x[0] = y[0];
    x[1] = y[0] + 2 * y[1];
    return VN_OK;
}

static vn_status fail_always(void *user, const float *x, float *y) {
    (void)user, (void)x, (void)y;
    return VN_IO;
}

static void callbacks(void **state) {
    (void)state;
    vn_callback_operator user = {.struct_size = sizeof user,
                                 .name = "mine",
                                 .rank = 1,
                                 .shape = {2},
                                 .apply = apply,
                                 .transpose = transpose};
    const vn_operator_options options = {.user = &user, .sample = VN_SHAPE(2)};
    vn_operator *o = NULL;
    vn_err err = {0};
    double y[2] = {3, 4}, x[2];
    assert_int_equal(vn_operator_open(&options, &o, &err), VN_OK);
    vn_operator_pseudo_inverse(o, y, x); /* A is invertible */
    assert_true(fabs(x[0] - 1) < 1e-5 && fabs(x[1] - 2) < 1e-5);
    vn_operator_close(&o);
    user.transpose = apply;
    assert_int_equal(vn_operator_open(&options, &o, &err), VN_BAD_ARGUMENT);
    assert_non_null(
        strstr(err.text, "mine: its transpose is not that of what it applies: <A u, v> ="));
    user.transpose = fail_always;
    assert_int_equal(vn_operator_open(&options, &o, &err), VN_IO);
    assert_non_null(strstr(err.text, "transpose returned"));
    user.transpose = NULL;
    assert_int_equal(vn_operator_open(&options, &o, &err), VN_BAD_ARGUMENT);
}

/* x to (x0^2, x0 x1, 2 x1), of which two sums are observed. */
static vn_status decode(void *self, const float *x, float *shown, vn_err *err) {
    if (*(bool *)self) return vn_fail(err, VN_NOT_FINITE, "the decoder fails");
    shown[0] = x[0] * x[0];
    shown[1] = x[0] * x[1];
    shown[2] = 2 * x[1];
    return VN_OK;
}

static vn_status decode_vjp(void *self, const float *x, const float *direction, float *out,
                            vn_err *err) {
    (void)self, (void)err;
    out[0] = 2 * x[0] * direction[0] + x[1] * direction[1];
    out[1] = x[0] * direction[1] + 2 * direction[2];
    return VN_OK;
}

/* y = A D(x), and J^T A^T v with J at the x before; small whole numbers are exact. */
static void of_what_samples_are_decoded_to(void **state) {
    (void)state;
    bool fails = false;
    const float sums[2][3] = {{1, 2, 3}, {0, -1, 1}};
    const vn_array given = {"matrix", VN_F32, {2, {2, 3}}, sums};
    const vn_decoding decoding = {
        .shown = VN_SHAPE(3), .decode = decode, .vjp = decode_vjp, .self = &fails};
    const vn_operator_options options = {
        .text = "matrix", .given = &given, .sample = VN_SHAPE(2), .decoding = &decoding};
    vn_operator *o = NULL;
    vn_err err = {0};
    const double x[2] = {3, -2}, v[2] = {1, 5};
    double y[2], by[2];
    if (vn_operator_open(&options, &o, &err)) fail_msg("%s", err.text);
    assert_int_equal(o->count, 2);
    assert_int_equal(o->observed.dim[0], 2);
    o->row->apply(o, x, y); /* D = (9, -6, -4) */
    assert_true(y[0] == 9 - 12 - 12 && y[1] == 6 - 4);
    o->row->transpose(o, v, by); /* A^T v = (1, -3, 8), J = ((6, 0), (-2, 3), (0, 2)) */
    assert_true(by[0] == 6 + 6 && by[1] == -9 + 16);
    assert_int_equal(vn_operator_status(o, &err), VN_OK);
    fails = true;
    o->row->apply(o, x, y);
    assert_int_equal(vn_operator_status(o, &err), VN_NOT_FINITE);
    assert_non_null(strstr(err.text, "the decoder fails"));
    assert_int_equal(vn_operator_status(o, &err), VN_OK);
    vn_operator_close(&o);
}

/* (s0, s1, s2) to (s0 s1, s1 - s2^2 / 4). */
static vn_status encode(void *self, const float *shown, float *x, vn_err *err) {
    (void)self, (void)err;
    x[0] = shown[0] * shown[1];
    x[1] = shown[1] - shown[2] * shown[2] / 4;
    return VN_OK;
}

static vn_status encode_vjp(void *self, const float *shown, const float *direction, float *out,
                            vn_err *err) {
    (void)self, (void)err;
    out[0] = shown[1] * direction[0];
    out[1] = shown[0] * direction[0] + direction[1];
    out[2] = -shown[2] / 2 * direction[1];
    return VN_OK;
}

static const double of_shown[2][3] = {{1, 2, 3}, {0, -1, 1}}, seen[2] = {4, 1};

/* A^T (A A^T)^-1 v: A A^T is ((14, 1), (1, 2)). */
static void back_from(const double v[2], double out[3]) {
    const double w[2] = {(2 * v[0] - v[1]) / 27, (14 * v[1] - v[0]) / 27};
    for (int k = 0; k < 3; k++) out[k] = of_shown[0][k] * w[0] + of_shown[1][k] * w[1];
}

/* scale |y - A D(x)| + gamma |E(D + A^+ (y - A D)) - x|, in double. */
static double glued(const double x[2], double scale, double gamma) {
    const double d[3] = {x[0] * x[0], x[0] * x[1], 2 * x[1]};
    double residual[2], g[3];
    for (int i = 0; i < 2; i++) {
        residual[i] = seen[i];
        for (int k = 0; k < 3; k++) residual[i] -= of_shown[i][k] * d[k];
    }
    back_from(residual, g);
    for (int k = 0; k < 3; k++) g[k] += d[k];
    return scale * hypot(residual[0], residual[1]) +
           gamma * hypot(g[0] * g[1] - x[0], g[1] - g[2] * g[2] / 4 - x[1]);
}

/* The gradient of psld against differences of its formula. */
static void what_is_observed_is_glued(void **state) {
    (void)state;
    static const double weights[][2] = {{1, 0}, {0.5, 0.1}, {2, 3}};
    bool fails = false;
    float sums[2][3];
    for (int i = 0; i < 6; i++) sums[i / 3][i % 3] = (float)of_shown[i / 3][i % 3];
    const vn_array given = {"matrix", VN_F32, {2, {2, 3}}, sums};
    const vn_decoding decoding = {VN_SHAPE(3), decode, decode_vjp, encode, encode_vjp, &fails};
    vn_operator_options options = {
        .text = "matrix", .given = &given, .sample = VN_SHAPE(2), .decoding = &decoding};
    vn_operator *o = NULL;
    vn_err err = {0};
    const double x[2] = {0.8, -0.6}, h = 1e-6;
    double y[2], begin[3], by[2];
    if (vn_operator_open(&options, &o, &err)) fail_msg("%s", err.text);
    for (size_t k = 0; k < VN_COUNT(weights); k++) {
        const double scale = weights[k][0], gamma = weights[k][1];
        o->row->apply(o, x, y);
        for (int i = 0; i < 2; i++) y[i] = seen[i] - y[i];
        vn_decoded_glue(o, y, scale, gamma, by);
        assert_int_equal(vn_operator_status(o, &err), VN_OK);
        for (int i = 0; i < 2; i++) {
            double up[2] = {x[0], x[1]}, down[2] = {x[0], x[1]};
            up[i] += h;
            down[i] -= h;
            const double slope = (glued(up, scale, gamma) - glued(down, scale, gamma)) / (2 * h);
            assert_true(fabs(slope) > 0.1);
            expect_small(fabs(by[i] + slope), 4e-6 * (scale + gamma));
        }
    }
    /* where there is a beginning to be had, it is E A^+ y */
    vn_operator_pseudo_inverse(o, seen, by);
    back_from(seen, begin);
    expect_small(fabs(by[0] - begin[0] * begin[1]), 1e-6);
    expect_small(fabs(by[1] - (begin[1] - begin[2] * begin[2] / 4)), 1e-6);
    vn_operator_close(&o);
    const vn_decoding blind = {
        .shown = VN_SHAPE(3), .decode = decode, .vjp = decode_vjp, .self = &fails};
    options.decoding = &blind;
    if (vn_operator_open(&options, &o, &err)) fail_msg("%s", err.text);
    vn_operator_pseudo_inverse(o, seen, by);
    assert_int_equal(vn_operator_status(o, &err), VN_UNSUPPORTED);
    vn_operator_close(&o);
}

/* A latent of 2x2 pixels is as well known as the least known of them, in any channel. */
static void masks_of_latents(void **state) {
    (void)state;
    static const float rows[4][4] = {{1, 1, 1, 1}, {1, 1, 0.5F, 1}, {0, 0, 1, 1}, {0, 0, 1, 0.25F}};
    float channels[2][4][4], whole[32], least[4];
    vn_err err = {0};
    const vn_shape shown = VN_SHAPE(2, 4, 4), sample = VN_SHAPE(3, 2, 2);
    vn_array given = {"mask", VN_F32, VN_SHAPE(4, 4), rows};
    assert_int_equal(vn_mask_reduce(&given, &shown, &sample, whole, least, &err), VN_OK);
    assert_true(least[0] == 1 && least[1] == 0.5F && least[2] == 0 && least[3] == 0.25F);
    assert_memory_equal(whole, rows, sizeof rows);
    assert_memory_equal(whole + 16, rows, sizeof rows);
    memcpy(channels[0], rows, sizeof rows);
    memcpy(channels[1], rows, sizeof rows);
    channels[1][0][1] = 0.75F;
    given = (vn_array){"mask", VN_F32, VN_SHAPE(2, 4, 4), channels};
    assert_int_equal(vn_mask_reduce(&given, &shown, &sample, whole, least, &err), VN_OK);
    assert_true(least[0] == 0.75F && least[3] == 0.25F && whole[17] == 0.75F);
    given.shape = VN_SHAPE(2, 2);
    assert_int_equal(vn_mask_reduce(&given, &shown, &sample, whole, least, &err), VN_BAD_ARGUMENT);
    static const float scattered[4][4] = {{1, 1, 0, 1}, {1, 0, 1, 1}, {0, 1, 1, 0}, {1, 1, 1, 1}};
    given = (vn_array){"mask", VN_F32, VN_SHAPE(4, 4), scattered};
    assert_int_equal(vn_mask_reduce(&given, &shown, &sample, whole, least, &err), VN_BAD_ARGUMENT);
    if (!strstr(err.text, "leaves no latent known")) fail_msg("%s", err.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transposes_and_pseudo_inverses),
        cmocka_unit_test(equations_are_solved),
        cmocka_unit_test(known_numbers),
        cmocka_unit_test(what_does_not_fit),
        cmocka_unit_test(callbacks),
        cmocka_unit_test(of_what_samples_are_decoded_to),
        cmocka_unit_test(what_is_observed_is_glued),
        cmocka_unit_test(masks_of_latents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
