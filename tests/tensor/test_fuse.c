/* Ops that a program computes in one pass have the bits of the same ops one by one, on every
 * instruction set, and what is wanted by itself stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/cpu.h"
#include "tensor/support_program.h"

#define INPUTS 12
#define SIDE   16
#define WIDTH  32

/* A convolution of an enlarged image, added to another, and a layer of every kind on its pixels. */
typedef struct net {
    vn_graph *g;
    vn_node *input[INPUTS];
    int inputs;
    vn_node *inner, *y; /* inner: a result that only y's last ops use */
} net;

static vn_node *input(net *n, vn_shape shape) {
    return n->input[n->inputs++] = vn_input(n->g, VN_F32, shape);
}

static vn_node *linear(net *n, vn_node *x, int64_t out, bool bias) {
    vn_node *w = input(n, VN_SHAPE(out, x->shape.dim[2]));
    return vn_linear(n->g, x, w, bias ? input(n, VN_SHAPE(out)) : NULL, bias);
}

static void open_net(net *n) {
    vn_graph *g = open_graph();
    *n = (net){.g = g};
    vn_node *x = input(n, VN_SHAPE(2, SIDE / 2, SIDE / 2, WIDTH)),
            *w = input(n, VN_SHAPE(3, 3, WIDTH, WIDTH)), *b = input(n, VN_SHAPE(WIDTH)),
            *other = input(n, VN_SHAPE(2, SIDE, SIDE, WIDTH));
    vn_node *conv = vn_conv2d(g, vn_upsample_nearest(g, x, 2), w, b, true, 1, (int[4]){1, 1, 1, 1});
    vn_node *t = vn_reshape(g, vn_add(g, other, conv), VN_SHAPE(2, SIDE * SIDE, WIDTH));
    vn_node *gate = vn_unary(g, linear(n, t, 150, true), VN_FN_SILU);
    vn_node *hidden = vn_mul(g, gate, linear(n, t, 150, false));
    n->inner = linear(n, hidden, WIDTH, true);
    vn_node *z = vn_mul_add(g, n->inner, input(n, VN_SHAPE(2, 1, WIDTH)), t);
    n->y = vn_add(g, z, linear(n, z, WIDTH, false));
}

/* The outputs one after the other, by kernels of `row`; returns how many steps that takes. */
static int run_net(const net *n, const vn_device_row *row, int outputs, float *out) {
    const vn_device device = {.row = row};
    vn_node *const wanted[] = {n->y, n->inner};
    vn_program *p = open_program(
        n->g, (vn_program_options){.outputs = wanted, .n_outputs = outputs, .profile = true},
        &device);
    for (int i = 0; i < n->inputs; i++)
        vn_random_normal(vn_program_map(p, n->input[i]),
                         (size_t)vn_shape_count(&n->input[i]->shape), 3, VN_STREAM_TEST,
                         (uint64_t)i, 0);
    vn_program_run(p, &(vn_run){0});
    for (int i = 0; i < outputs; i++) {
        vn_program_read(p, wanted[i], out);
        out += vn_shape_count(&wanted[i]->shape);
    }
    vn_profile_line *lines = NULL;
    int count = 0, steps = 0;
    assert_int_equal(vn_program_profile(p, false, &lines, &count, NULL), VN_OK);
    for (int i = 0; i < count; i++) steps += lines[i].steps;
    vn_free(lines);
    vn_program_close(&p);
    return steps;
}

static void check(int outputs, int steps) {
    static float fused[2][2 * SIDE * SIDE * WIDTH], apart[2][2 * SIDE * SIDE * WIDTH];
    net n;
    open_net(&n);
    for (size_t i = 0; vn_cpu_row_at(i); i++) {
        vn_device_row plain = *vn_cpu_row_at(i);
        plain.fuses = false;
        assert_int_equal(run_net(&n, vn_cpu_row_at(i), outputs, fused[0]), steps);
        assert_int_equal(run_net(&n, &plain, outputs, apart[0]), 11);
        assert_memory_equal(fused, apart, (size_t)outputs * sizeof fused[0]);
    }
    vn_graph_close(&n.g);
}

/* Enlarging, convolving and adding are one step, and so is each of the four layers. */
static void one_pass_has_the_bits_of_many(void **state) {
    (void)state;
    check(1, 5);
}

static void what_is_wanted_by_itself_stays(void **state) {
    (void)state;
    check(2, 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_pass_has_the_bits_of_many),
        cmocka_unit_test(what_is_wanted_by_itself_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
