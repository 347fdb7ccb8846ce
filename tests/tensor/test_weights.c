/* test_weights.c - the list of parameters: declared once, aligned, initialised by name's index,
 * repacked for convolutions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "tensor/tensor.h"
#include "support/bound.h"

typedef struct fixture {
    vn_graph *g;
    vn_weights *w;
} fixture;

static fixture open_all(void) {
    fixture f = {NULL, NULL};
    assert_int_equal(vn_graph_open(&f.g, NULL), VN_OK);
    assert_int_equal(vn_weights_open(&f.w, NULL), VN_OK);
    return f;
}

static void close_all(fixture *f) {
    vn_graph_close(&f->g);
    vn_weights_close(&f->w);
}

static vn_node *plain(const fixture *f, const char *name, vn_shape shape, vn_init init) {
    return vn_param_node(f->g, f->w, name, shape, VN_LAYOUT_PLAIN, init);
}

static const vn_init ZEROS = {VN_INIT_ZEROS, 0};

static void weights_are_declared_once(void **state) {
    (void)state;
    fixture f = open_all();
    vn_node *a = plain(&f, "a", VN_SHAPE(3, 5), ZEROS), *b = plain(&f, "b", VN_SHAPE(16), ZEROS);
    vn_node *c = vn_param_frozen(f.g, f.w, "c", VN_SHAPE(1), ZEROS);
    assert_ptr_equal(plain(&f, "a", VN_SHAPE(3, 5), ZEROS), a);
    assert_int_equal(vn_weights_count(f.w), 3);
    assert_int_equal(vn_weights_parameters(f.w), 15 + 16 + 1);
    assert_int_equal(vn_weights_floats(f.w), 16 + 16 + 16);
    const vn_node *const each[] = {a, b, c};
    for (size_t i = 0; i < VN_COUNT(each); i++) {
        assert_int_equal(each[i]->from.param, i);
        assert_int_equal(vn_weights_at(f.w, i)->index, i);
        assert_int_equal(vn_weights_at(f.w, i)->offset, 16 * i);
    }
    assert_ptr_equal(vn_weights_find(f.w, "b"), vn_weights_at(f.w, 1));
    assert_null(vn_weights_find(f.w, "d"));
    assert_false(vn_weights_at(f.w, 1)->frozen);
    assert_true(vn_weights_at(f.w, 2)->frozen);

    vn_graph *second = NULL; /* another graph finds them */
    assert_int_equal(vn_graph_open(&second, NULL), VN_OK);
    vn_node *again = vn_param_node(second, f.w, "b", VN_SHAPE(16), VN_LAYOUT_PLAIN, ZEROS);
    assert_int_equal(again->from.param, 1);
    assert_int_equal(vn_weights_count(f.w), 3);
    vn_graph_close(&second);
    close_all(&f);
}

static void weight_pointers_stay(void **state) {
    (void)state;
    fixture f = open_all();
    plain(&f, "first", VN_SHAPE(1), ZEROS);
    const vn_weight *first = vn_weights_find(f.w, "first");
    for (int i = 0; i < 500; i++) {
        char name[16];
        snprintf(name, sizeof name, "w%d", i);
        plain(&f, name, VN_SHAPE(2), ZEROS);
    }
    assert_ptr_equal(vn_weights_find(f.w, "first"), first);
    assert_string_equal(first->name, "first");
    assert_int_equal(vn_weights_find(f.w, "w499")->offset, 500 * 16);
    close_all(&f);
}

static void conflicting_weights_are_refused(void **state) {
    (void)state;
    for (int k = 0; k < 3; k++) {
        vn_err err = {0};
        fixture f = open_all();
        plain(&f, "a", VN_SHAPE(3, 3, 3, 3), ZEROS);
        vn_shape shape = k == 0   ? VN_SHAPE(3, 3, 9)
                         : k == 1 ? VN_SHAPE(3, 3, 3, 3)
                                  : VN_SHAPE(3, 3);
        const char *name = k == 2 ? "b" : "a";
        assert_null(
            vn_param_node(f.g, f.w, name, shape, k == 0 ? VN_LAYOUT_PLAIN : VN_LAYOUT_CONV, ZEROS));
        assert_int_equal(vn_graph_status(f.g, &err), VN_BAD_ARGUMENT);
        assert_string_equal(err.text, k == 2 ? "weight b: such a shape cannot be"
                                             : "weight a: used in two shapes");
        assert_int_equal(vn_weights_count(f.w), 1);
        close_all(&f);
    }
}

static void convolutions_are_repacked(void **state) {
    enum { O = 3, I = 2, KH = 2, KW = 4, COUNT = O * I * KH * KW };
    float file[COUNT], inside[COUNT], back[COUNT];
    (void)state;
    fixture f = open_all();
    vn_node *n = vn_param_node(f.g, f.w, "conv", VN_SHAPE(O, I, KH, KW), VN_LAYOUT_CONV, ZEROS);
    const vn_weight *w = vn_weights_find(f.w, "conv");
    vn_shape want = VN_SHAPE(KH, KW, I, O);
    assert_true(vn_shape_equal(&n->shape, &want) && vn_shape_equal(&w->shape, &want));
    for (int i = 0; i < COUNT; i++) file[i] = (float)i;
    vn_weight_from_file(w, file, inside);
    for (int o = 0; o < O; o++)
        for (int i = 0; i < I; i++)
            for (int y = 0; y < KH; y++)
                for (int x = 0; x < KW; x++)
                    assert_true(inside[((y * KW + x) * I + i) * O + o] ==
                                file[((o * I + i) * KH + y) * KW + x]);
    vn_weight_to_file(w, inside, back);
    assert_memory_equal(back, file, sizeof file);

    const vn_weight *p =
        (plain(&f, "plain", VN_SHAPE(COUNT), ZEROS), vn_weights_find(f.w, "plain"));
    vn_weight_from_file(p, file, inside);
    vn_weight_to_file(p, inside, back);
    assert_memory_equal(inside, file, sizeof file);
    assert_memory_equal(back, file, sizeof file);
    close_all(&f);
}

static void values_begin_as_declared(void **state) {
    enum { N = 10001 };
    (void)state;
    fixture f = open_all();
    plain(&f, "zeros", VN_SHAPE(5), ZEROS);
    plain(&f, "ones", VN_SHAPE(5), (vn_init){VN_INIT_ONES, 0});
    plain(&f, "uniform", VN_SHAPE(N), (vn_init){VN_INIT_UNIFORM, 0.25});
    plain(&f, "normal", VN_SHAPE(N), (vn_init){VN_INIT_NORMAL, 2});
    size_t floats = vn_weights_floats(f.w), bytes = floats * sizeof(float);
    float *v = vn_alloc(floats, sizeof *v), *again = vn_alloc(floats, sizeof *v);
    memset(v, 1, bytes);
    vn_weights_init(f.w, v, 3);
    /* gaps are zero */
    for (int i = 0; i < 16; i++) assert_true(v[i] == 0 && v[16 + i] == (i < 5 ? 1 : 0));
    const float *u = v + vn_weights_at(f.w, 2)->offset, *z = v + vn_weights_at(f.w, 3)->offset;
    double sum[2] = {0}, square[2] = {0}, least = 1, most = -1;
    for (int i = 0; i < N; i++) {
        least = fmin(least, (double)u[i]);
        most = fmax(most, (double)u[i]);
        sum[0] += (double)u[i] / N;
        sum[1] += (double)z[i] / N;
        square[0] += (double)(u[i] * u[i]) / N;
        square[1] += (double)(z[i] * z[i]) / N;
    }
    assert_true(least >= -0.25 && least < -0.249 && most <= 0.25 && most > 0.249);
    expect_small(fabs(sum[0]), 0.006);
    expect_small(fabs(sum[1]), 0.08); /* four deviations */
    expect_small(fabs(square[0] * 48 - 1), 0.04);
    expect_small(fabs(square[1] / 4 - 1), 0.06);
    vn_weights_init(f.w, again, 3);
    assert_memory_equal(v, again, bytes);
    vn_weights_init(f.w, again, 4);
    assert_memory_not_equal(v, again, bytes);
    vn_free(v);
    vn_free(again);
    close_all(&f);
}

static bool is_b(const vn_weight *w) {
    return strcmp(w->name, "b") == 0;
}

static void a_list_without_some_has_places_of_its_own(void **state) {
    (void)state;
    fixture f = open_all();
    vn_weights *rest = NULL;
    plain(&f, "a", VN_SHAPE(3, 5), ZEROS);
    plain(&f, "b", VN_SHAPE(40), ZEROS);
    vn_param_frozen(f.g, f.w, "c", VN_SHAPE(17), ZEROS);
    assert_int_equal(vn_weights_without(f.w, is_b, &rest, NULL), VN_OK);
    assert_int_equal(vn_weights_count(rest), 2);
    assert_int_equal(vn_weights_floats(rest), 16 + 32);
    assert_null(vn_weights_find(rest, "b"));
    const vn_weight *c = vn_weights_find(rest, "c"), *was = vn_weights_find(f.w, "c");
    assert_int_equal(c->index, 1);
    assert_int_equal(c->offset, 16);
    assert_int_equal(c->count, 17);
    assert_true(c->frozen);
    assert_int_equal(was->offset, 16 + 48); /* as it was */
    vn_weights_close(&rest);
    close_all(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_declared_once),
        cmocka_unit_test(weight_pointers_stay),
        cmocka_unit_test(conflicting_weights_are_refused),
        cmocka_unit_test(convolutions_are_repacked),
        cmocka_unit_test(values_begin_as_declared),
        cmocka_unit_test(a_list_without_some_has_places_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
