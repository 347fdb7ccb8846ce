/* Each rule against diffusers' guiders (golden/guides.py), in the space that the guider works in:
 * the denoiser answers with the guider's inputs, and the raw output that vane's pair means is
 * compared with the guider's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support_rules.h"
#include "support/bound.h"

#define GOLDEN VN_SOURCE_DIR "/tests/golden/guides/rules.json"
/* Largest error: 4.3e-7, of the largest number of the answer. */
#define TOLERANCE 1e-6
#define ROWS      2

static double number_of(const json_t *o, const char *key) {
    return json_number_value(json_object_get(o, key));
}

static const char *text_of(const json_t *o, const char *key) {
    return json_string_value(json_object_get(o, key));
}

static void read_floats(const json_t *o, const char *key, int64_t n, float *out) {
    const json_t *list = json_object_get(o, key);
    assert_int_equal((int64_t)json_array_size(list), n);
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)json_number_value(json_array_get(list, (size_t)i));
}

/* Of one call: the raw output, whose error is returned, and x0 and eps that belong to one x. */
static double run_call(vn_guidance *g, parrot *p, const vn_denoiser *d, const vn_level *level,
                       const json_t *call) {
    float c[MAX_FLOATS], u[MAX_FLOATS], want[MAX_FLOATS], x[MAX_FLOATS], x0[MAX_FLOATS],
        eps[MAX_FLOATS], raw[MAX_FLOATS];
    const int64_t n = ROWS * d->size;
    const vn_level next = vn_path_level(d->path, level->t / 2);
    vn_err err;
    read_floats(call, "c", n, c);
    read_floats(call, "u", n, u);
    read_floats(call, "out", n, want);
    p->raw[1] = c;
    p->raw[ANSWER_NULL] = p->raw[ANSWER_WEAK] = u;
    vn_random_normal(x, (size_t)n, 1, VN_STREAM_TEST, 0, 0);
    vn_guidance_step(g, 5, 28, 0, &next);
    if (vn_guidance_predict(g, &(vn_request){.x = x, .level = level}, (vn_estimate){x0, eps}, &err))
        fail_msg("%s", err.text);
    vn_prediction_from_estimate(&d->prediction, level, (size_t)n, x0, eps, raw);
    float back[MAX_FLOATS];
    for (int64_t i = 0; i < n; i++)
        back[i] = (float)level->alpha * x0[i] + (float)level->sigma * eps[i];
    near("alpha x0 + sigma eps", (size_t)n, back, x, 3e-6); /* 1.1e-6 measured, under gamma 10 */
    return error_of((size_t)n, raw, want);
}

static double run_case(const json_t *c) {
    static const int32_t labels[ROWS] = {1, 1};
    const json_t *shape = json_object_get(c, "shape"), *calls = json_object_get(c, "calls");
    vn_path *path;
    vn_err err;
    double worst = 0;
    assert_int_equal(vn_path_open(text_of(c, "path"), &path, &err), VN_OK);
    parrot p = {.n = ROWS, .size = 1};
    for (size_t i = 0; i < json_array_size(shape); i++)
        p.size *= json_integer_value(json_array_get(shape, i));
    vn_denoiser d = parrot_denoiser(&p, path, text_of(c, "predict"));
    d.sample.rank = (int)json_array_size(shape);
    for (size_t i = 0; i < json_array_size(shape); i++)
        d.sample.dim[i] = json_integer_value(json_array_get(shape, i));
    const vn_level level = vn_path_level(path, number_of(c, "t"));
    vn_guidance *g = open_guides(text_of(c, "guide"), number_of(c, "gamma"), &d, ROWS);
    vn_guidance_begin(g, ROWS, 0, labels);
    for (size_t i = 0; i < json_array_size(calls); i++)
        worst = fmax(worst, run_call(g, &p, &d, &level, json_array_get(calls, i)));
    vn_guidance_close(&g);
    vn_path_close(&path);
    return worst;
}

static void rules_equal_those_of_diffusers(void **state) {
    (void)state;
    json_t *golden;
    vn_err err;
    double worst = 0;
    assert_int_equal(vn_json_read(GOLDEN, &golden, &err), VN_OK);
    assert_int_equal(json_integer_value(json_object_get(golden, "rows")), ROWS);
    const json_t *cases = json_object_get(golden, "cases");
    assert_true(json_array_size(cases) >= 20);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        const double e = run_case(c);
        print_message("reference: %s in %s: off by %.2g\n", text_of(c, "guide"),
                      text_of(c, "predict"), e);
        expect_below(text_of(c, "guide"), e, TOLERANCE);
        worst = fmax(worst, e);
    }
    assert_true(worst > 0);
    json_decref(golden);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_equal_those_of_diffusers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
