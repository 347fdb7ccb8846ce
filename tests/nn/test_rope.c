/* test_rope.c - rotary positions against their formula, in double: several axes, both kinds of
 * pairs, and what they are for, that a query and a key meet as their distance says. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nn/transformer.h"
#include "support/bound.h"
#include "support/reference.h"

#define TOLERANCE 1e-7 /* cosines and sines are kept as floats; largest seen: 4.9e-8 */

enum { TOKENS = 5, HEADS = 2, HEAD = 16 };

static const float places[TOKENS * 3] = {0, 0, 0, 1, 0, 7, 2, 3, 0.5f, 30, 1, 4, 511, 2, 9};

/* x [1,TOKENS,HEADS,HEAD] turned, into out. */
static void rotated(const vn_rope_axes *axes, const double *x, double *out) {
    vn_graph *g = NULL;
    vn_err err = {0};
    assert_int_equal(vn_graph_open(&g, NULL), VN_OK);
    const vn_scope scope = {.g = g};
    vn_node *in = vn_input(g, VN_F32, VN_SHAPE(1, TOKENS, HEADS, HEAD));
    const vn_rope rope = vn_rope_of(&scope, axes);
    vn_node *y = vn_rope_rotate(&scope, in, &rope);
    if (vn_graph_status(g, &err) != VN_OK) fail_msg("%s", err.text);
    ref_graph r = ref_open(g);
    ref_set(&r, in, x);
    ref_run(&r, &(vn_run){.seed = 1});
    memcpy(out, ref_get(&r, y), TOKENS * HEADS * HEAD * sizeof *out);
    ref_close(&r);
    vn_graph_close(&g);
}

static void fill(double *x) {
    for (int i = 0; i < TOKENS * HEADS * HEAD; i++)
        x[i] = 2 * vn_random_double(3, VN_STREAM_TEST, 0, (uint64_t)i) - 1;
}

static void check_rotations(const vn_rope_axes *axes) {
    double x[TOKENS * HEADS * HEAD], out[TOKENS * HEADS * HEAD], worst = 0;
    fill(x);
    rotated(axes, x, out);
    for (int row = 0; row < TOKENS * HEADS; row++) {
        const double *a = x + row * HEAD, *y = out + row * HEAD;
        for (int64_t axis = 0, first = 0; axis < axes->axes; first += axes->dims[axis++])
            for (int64_t k = 0; k < axes->dims[axis] / 2; k++) {
                const int64_t d = axes->dims[axis], i = first + (axes->split_halves ? k : 2 * k);
                const int64_t j = i + (axes->split_halves ? d / 2 : 1);
                const double place = (double)axes->position[row / HEADS * axes->axes + axis];
                const double angle = place * pow(axes->theta, -2.0 * (double)k / (double)d);
                worst = fmax(worst, fabs(y[i] - (a[i] * cos(angle) - a[j] * sin(angle))));
                worst = fmax(worst, fabs(y[j] - (a[j] * cos(angle) + a[i] * sin(angle))));
            }
    }
    print_message("largest error %.1e\n", worst);
    expect_below("rotated", worst, TOLERANCE);
}

static void each_axis_turns_its_own_numbers(void **state) {
    (void)state;
    const int64_t numbers[3] = {4, 6, 6};
    check_rotations(&(vn_rope_axes){TOKENS, 3, places, numbers, 10000, false});
    check_rotations(&(vn_rope_axes){TOKENS, 3, places, numbers, 100, true});
}

static void one_axis_of_halves_is_llamas(void **state) {
    (void)state;
    const int64_t numbers[1] = {HEAD};
    const float place[TOKENS] = {0, 1, 2, 3, 4};
    check_rotations(&(vn_rope_axes){TOKENS, 1, place, numbers, 10000, true});
}

/* The product of a turned query and a turned key does not change when both move by as much. */
static void products_depend_on_distance_alone(void **state) {
    (void)state;
    const int64_t numbers[2] = {8, 8};
    float here[TOKENS * 2], there[TOKENS * 2];
    double x[TOKENS * HEADS * HEAD], a[TOKENS * HEADS * HEAD], b[TOKENS * HEADS * HEAD];
    for (int i = 0; i < TOKENS * 2; i++) {
        here[i] = (float)(i % 5);
        there[i] = here[i] + (i % 2 ? 4 : 9);
    }
    fill(x);
    rotated(&(vn_rope_axes){TOKENS, 2, here, numbers, 100, false}, x, a);
    rotated(&(vn_rope_axes){TOKENS, 2, there, numbers, 100, false}, x, b);
    for (int t = 1; t < TOKENS; t++) {
        double first = 0, second = 0, moved = 0;
        for (int i = 0; i < HEAD; i++) {
            first += a[i] * a[t * HEADS * HEAD + i];
            second += b[i] * b[t * HEADS * HEAD + i];
            moved += fabs(a[t * HEADS * HEAD + i] - b[t * HEADS * HEAD + i]);
        }
        expect_small(fabs(first - second), HEAD * TOLERANCE);
        assert_true(moved > 0.1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_axis_turns_its_own_numbers),
        cmocka_unit_test(one_axis_of_halves_is_llamas),
        cmocka_unit_test(products_depend_on_distance_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
