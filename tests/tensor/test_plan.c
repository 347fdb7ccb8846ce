/* test_plan.c - where gradients land, what is planned, what a run allocates, and which programs are
 * refused. What shares memory is tested in test_shared_memory.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/alloc.h"
#include "support/bound.h"
#include "support/seed.h"
#include "tensor/internal.h"
#include "tensor/support_program.h"
#include "tensor/support_toy.h"
#include "tensor/support_cases.h"

/* ---- a small network ------------------------------------------------------------------------- */

typedef struct network {
    vn_graph *g;
    vn_weights *w;
    vn_node *x, *loss, *grad[8];
    size_t offset[8];
    int grads;
} network;

static vn_status build_network(network *net, vn_err *err) {
    const int pad[4] = {1, 1, 1, 1};
    vn_init init = {VN_INIT_NORMAL, 0.3};
    vn_node *p[7], *h;
    *net = (network){.grads = 7};
    if (vn_graph_open(&net->g, err) != VN_OK || vn_weights_open(&net->w, err) != VN_OK)
        return err->status;
    vn_graph *g = net->g;
    vn_graph_label(g, "conv");
    p[0] = vn_param_node(g, net->w, "conv.weight", VN_SHAPE(16, 3, 3, 3), VN_LAYOUT_CONV, init);
    p[1] = vn_param_node(g, net->w, "conv.bias", VN_SHAPE(16), VN_LAYOUT_PLAIN, init);
    p[2] = vn_param_node(g, net->w, "norm.weight", VN_SHAPE(16), VN_LAYOUT_PLAIN, init);
    p[3] = vn_param_node(g, net->w, "norm.bias", VN_SHAPE(16), VN_LAYOUT_PLAIN, init);
    p[4] = vn_param_node(g, net->w, "linear.weight", VN_SHAPE(5, 16), VN_LAYOUT_PLAIN, init);
    p[5] = vn_param_node(g, net->w, "linear.bias", VN_SHAPE(5), VN_LAYOUT_PLAIN, init);
    p[6] = vn_param_node(g, net->w, "unused", VN_SHAPE(3), VN_LAYOUT_PLAIN, init);
    net->x = vn_input(g, VN_F32, VN_SHAPE(2, 4, 4, 3));
    h = vn_conv2d(g, net->x, p[0], p[1], true, 1, pad);
    h = vn_norm(g, h, p[2], p[3], true, 4, 1e-3, VN_FN_SILU);
    h = vn_linear(g, vn_reshape(g, h, VN_SHAPE(32, 16)), p[4], p[5], true);
    net->loss = vn_mean(g, vn_unary(g, h, VN_FN_SQUARE));
    if (vn_graph_gradient(g, net->loss, NULL, 7, p, net->grad, err) != VN_OK) return err->status;
    for (int i = 0; i < 7; i++) net->offset[i] = vn_weights_at(net->w, p[i]->from.param)->offset;
    return VN_OK;
}

static void close_network(network *net) {
    vn_graph_close(&net->g);
    vn_weights_close(&net->w);
}

static vn_program_options train_options(const network *net, const vn_device *device) {
    return (vn_program_options){.device = device,
                                .n_outputs = 1,
                                .outputs = &net->loss,
                                .n_grads = net->grads,
                                .grads = net->grad,
                                .grad_offset = net->offset};
}

static void gradients_are_written_in_their_place(void **state) {
    vn_device_row row = toy_row();
    const vn_device device = {&row, NULL, NULL};
    vn_program_plan plan = {0};
    network net;
    vn_err err = {0};
    (void)state;
    assert_int_equal(build_network(&net, &err), VN_OK);
    vn_program_options o = train_options(&net, &device);
    assert_int_equal(vn_program_plan_open(&plan, net.g, &o, &err), VN_OK);
    int direct = 0;
    for (int s = 0; s < plan.steps; s++) {
        assert_int_not_equal(plan.step[s].node->op, VN_OP_VIEW); /* no copies */
        direct += plan.step[s].out.home == VN_IN_GRADS;
    }
    assert_int_equal(direct, 6); /* gamma and beta come from one op */
    vn_program_plan_close(&plan);
    close_network(&net);
}

/* One array that is the gradient of two weights, and an input that is: written once or not at all,
 * and copied. */
static void shared_gradients_are_copied(void **state) {
    vn_device_row row = toy_row();
    const vn_device device = {&row, NULL, NULL};
    vn_weights *w = NULL;
    (void)state;
    vn_graph *g = open_graph();
    assert_int_equal(vn_weights_open(&w, NULL), VN_OK);
    vn_init init = {VN_INIT_ONES, 0};
    vn_node *x = vn_input(g, VN_F32, VN_SHAPE(3)), *grad[3], *wrt[3];
    size_t offset[3];
    for (int i = 0; i < 3; i++) {
        wrt[i] = vn_param_node(g, w, (const char *[]){"a", "b", "c"}[i], VN_SHAPE(3),
                               VN_LAYOUT_PLAIN, init);
        offset[i] = vn_weights_at(w, wrt[i]->from.param)->offset;
    }
    vn_node *sum = vn_mul(g, vn_add(g, wrt[0], wrt[1]), vn_affine(g, x, 2, 0));
    vn_node *y = vn_sum_to(g, vn_add(g, sum, vn_mul(g, wrt[2], x)), (vn_shape){.rank = 0});
    assert_int_equal(vn_graph_gradient(g, y, NULL, 3, wrt, grad, NULL), VN_OK);
    assert_ptr_equal(grad[0], grad[1]);
    assert_ptr_equal(grad[2], x);
    vn_program *p = open_program(
        g, (vn_program_options){.n_grads = 3, .grads = grad, .grad_offset = offset}, &device);
    memcpy(vn_program_map(p, x), (float[]){1, 2, 3}, 3 * sizeof(float));
    float *grads = vn_alloc_aligned(48, sizeof *grads);
    vn_values *values = random_values(w, &device, 1);
    vn_program_run(p, &(vn_run){.values = values, .grads = grads});
    for (int i = 0; i < 3; i++) {
        assert_true(grads[i] == 2 * (float)(i + 1) && grads[16 + i] == grads[i]);
        assert_true(grads[32 + i] == (float)(i + 1));
    }
    vn_free(grads);
    vn_values_close(&values);
    vn_program_close(&p);
    vn_graph_close(&g);
    vn_weights_close(&w);
}

/* A chain runs in place, what nobody needs is not run, and a broadcast that feeds arithmetic is not
 * made. */
static void what_is_dead_shares_memory(void **state) {
    vn_device_row row = toy_row();
    const vn_device device = {&row, NULL, NULL};
    vn_program_plan plan = {0};
    vn_err err = {0};
    (void)state;
    vn_graph *g = open_graph();
    vn_node *x = vn_input(g, VN_F32, VN_SHAPE(1024)), *y = x, *unused = NULL;
    for (int i = 0; i < 10; i++) y = vn_unary(g, vn_affine(g, y, 0.5, 1), VN_FN_TANH);
    unused = vn_unary(g, y, VN_FN_EXP);
    vn_node *z = vn_add(g, vn_broadcast(g, vn_sum_to(g, y, VN_SHAPE(1)), VN_SHAPE(1024)),
                        vn_reshape(g, y, VN_SHAPE(1024)));
    vn_program_options o = {.device = &device, .n_outputs = 1, .outputs = &z};
    assert_int_equal(vn_program_plan_open(&plan, g, &o, &err), VN_OK);
    assert_int_equal(plan.arena_bytes, 2 * 4096 + 64); /* x, the chain, one number */
    assert_int_equal(plan.steps, 22);
    for (int s = 0; s < plan.steps; s++) assert_ptr_not_equal(plan.step[s].node, unused);
    vn_program_plan_close(&plan);
    vn_graph_close(&g);
}

static void run_does_not_allocate(void **state) {
    vn_device_row row = toy_row();
    const vn_device device = {&row, NULL, NULL};
    network net;
    vn_err err = {0};
    (void)state;
    assert_int_equal(build_network(&net, &err), VN_OK);
    vn_program_options o = train_options(&net, &device);
    o.profile = true;
    vn_program *p = NULL;
    assert_int_equal(vn_program_open(net.g, &o, &p, &err), VN_OK);
    size_t floats = vn_weights_floats(net.w);
    float *grads = vn_alloc_aligned(floats, 4);
    vn_values *values = random_values(net.w, &device, 1);
    memset(vn_program_map(p, net.x), 0, 2 * 4 * 4 * 3 * sizeof(float));
    int64_t before = alloc_made();
    vn_program_run(p, &(vn_run){.values = values, .grads = grads});
    assert_int_equal(alloc_made(), before);
    vn_values_close(&values);
    vn_free(grads);
    vn_program_close(&p);
    close_network(&net);
}

static vn_status build_and_plan(const vn_device *device, vn_err *err) {
    network net = {0};
    vn_program *p = NULL;
    vn_status status = build_network(&net, err);
    vn_gradients by = {.weights = net.w};
    vn_footprint f = {0};
    if (!status) status = vn_gradients_open(&by, net.loss, NULL, err);
    if (!status) {
        vn_program_options o = train_options(&net, device);
        o.profile = true;
        o.n_grads = by.n;
        o.grads = by.node;
        o.grad_offset = by.offset;
        status = vn_program_open(net.g, &o, &p, err);
        if (!status) status = vn_footprint_open(net.g, &o, &f, err);
    }
    vn_footprint_close(&f);
    vn_gradients_close(&by);
    vn_program_close(&p);
    close_network(&net);
    return status;
}

/* y = silu(x) of n numbers, in the arena. */
static void open_in(vn_program_arena *arena, const vn_device *device, int64_t n, vn_program **out,
                    vn_graph **graph, vn_node **x, vn_node **y) {
    *graph = open_graph();
    *x = vn_input(*graph, VN_F32, VN_SHAPE(n));
    *y = vn_unary(*graph, *x, VN_FN_SILU);
    *out = open_program(*graph, (vn_program_options){.arena = arena, .n_outputs = 1, .outputs = y},
                        device);
}

static void programs_share_an_arena_as_large_as_the_largest(void **state) {
    (void)state;
    enum { PROGRAMS = 3 };
    static const int64_t size[PROGRAMS] = {100, 5000, 300};
    vn_device_row row = toy_row();
    const vn_device device = {.row = &row};
    vn_program_arena arena = {0};
    vn_program *p[PROGRAMS];
    vn_graph *g[PROGRAMS];
    vn_node *x[PROGRAMS], *y[PROGRAMS];
    for (int i = 0; i < PROGRAMS; i++) {
        open_in(&arena, &device, size[i], &p[i], &g[i], &x[i], &y[i]);
        assert_int_equal(arena.bytes, vn_program_bytes(p[i ? 1 : 0]));
    }
    for (int i = 0; i < PROGRAMS; i++) {
        float *in = vn_program_map(p[i], x[i]);
        assert_ptr_equal(in, vn_program_map(p[0], x[0])); /* one after the other */
        for (int64_t k = 0; k < size[i]; k++) in[k] = (float)(k % 7) - 3;
        vn_program_run(p[i], &(vn_run){0});
        const float *out = vn_program_map(p[i], y[i]);
        for (int64_t k = 0; k < size[i]; k++) {
            const double v = (double)(k % 7) - 3;
            expect_small(fabs((double)out[k] - v / (1 + exp(-v))), 1e-6);
        }
    }
    for (int i = 0; i < PROGRAMS; i++) {
        vn_program_close(&p[i]);
        vn_graph_close(&g[i]);
    }
    vn_program_arena_close(&arena);
    assert_null(arena.memory);
}

static void every_failed_allocation_is_reported(void **state) {
    vn_device_row row = toy_row();
    const vn_device device = {&row, NULL, NULL};
    alloc_turn t = {0};
    (void)state;
    while (alloc_next(&t)) {
        vn_err err = {0};
        vn_status status = build_and_plan(&device, &err);
        if (alloc_hit(&t, status)) assert_string_equal(err.text, "out of memory");
    }
    print_message("%d allocations failed\n", (int)t.refused);
    assert_true(t.refused >= 30);
}

/* The lines add up to the program, slowest first, each op (or op and place) once. */
static void check_profile(const vn_program *p, bool by_place) {
    vn_profile_line *lines = NULL;
    int n = 0, found = 0;
    vn_cost sum = {0, 0}, whole = vn_program_cost(p);
    assert_int_equal(vn_program_profile(p, by_place, &lines, &n, NULL), VN_OK);
    for (int i = 0; i < n; i++) {
        sum.flops += lines[i].cost.flops;
        sum.bytes += lines[i].cost.bytes;
        assert_true(i == 0 || lines[i].seconds <= lines[i - 1].seconds);
        for (int k = 0; k < i; k++) assert_true(strcmp(lines[i].op, lines[k].op) != 0 || by_place);
        if (strcmp(lines[i].op, "conv2d_grad_w") != 0) continue;
        found++;
        assert_int_equal(lines[i].steps, 1);
        assert_true(by_place ? strcmp(lines[i].label, "conv") == 0 : !lines[i].label);
    }
    assert_int_equal(found, 1);
    assert_true(sum.flops == whole.flops && sum.bytes == whole.bytes);
    vn_free(lines);
}

static void profile_names_each_op(void **state) {
    vn_device_row row = toy_row();
    const vn_device device = {&row, NULL, NULL};
    network net;
    vn_err err = {0};
    vn_profile_line *lines = NULL;
    int n = 0;
    (void)state;
    assert_int_equal(build_network(&net, &err), VN_OK);
    vn_program_options o = train_options(&net, &device);
    vn_program *p = NULL;
    o.profile = true;
    assert_int_equal(vn_program_open(net.g, &o, &p, &err), VN_OK);
    float *grads = vn_alloc_aligned(vn_weights_floats(net.w), 4);
    vn_values *values = random_values(net.w, &device, 1);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(vn_program_profile(p, true, &lines, &n, &err), VN_BAD_ARGUMENT);
        vn_program_run(p, &(vn_run){.values = values, .grads = grads});
        for (int by_place = 0; by_place < 2; by_place++) check_profile(p, by_place);
        vn_program_forget_times(p);
    }
    double conv = 2.0 * 2 * 16 * 16 * 27, linear = 2.0 * 32 * 5 * 16;
    /* nobody asked for dx: one product less */
    assert_true(vn_program_cost(p).flops > 2 * conv + 3 * linear);
    assert_true(vn_program_cost(p).flops < 3 * conv + 3 * linear);
    vn_values_close(&values);
    vn_free(grads);
    vn_program_close(&p);
    close_network(&net);
}

/* ---- refused --------------------------------------------------------------------------------- */

static void assert_refused(vn_graph *g, vn_program_options o, vn_status status, const char *text) {
    vn_program *p = NULL;
    vn_err err = {0};
    assert_int_equal(vn_program_open(g, &o, &p, &err), status);
    assert_null(p);
    assert_string_equal(err.text, text);
}

static void bad_programs_are_refused(void **state) {
    vn_device_row row = toy_row();
    const vn_device device = {&row, NULL, NULL};
    network net;
    vn_err err = {0};
    (void)state;
    assert_int_equal(build_network(&net, &err), VN_OK);
    vn_graph *other = open_graph();
    vn_node *foreign = vn_fill(other, VN_SHAPE(2), 1), *none = NULL,
            *labels = vn_input(other, VN_I32, VN_SHAPE(2));
    vn_node *weight = vn_param_node(net.g, net.w, "unused", VN_SHAPE(3), VN_LAYOUT_PLAIN,
                                    (vn_init){VN_INIT_ZEROS, 0});
    vn_program_options o = {.device = &device, .n_outputs = 1, .outputs = &foreign};
    assert_refused(net.g, o, VN_BAD_ARGUMENT, "output 0 is not a node of this graph");
    o.outputs = &none;
    assert_refused(net.g, o, VN_BAD_ARGUMENT, "output 0 is not a node of this graph");
    o.outputs = &weight;
    assert_refused(net.g, o, VN_UNSUPPORTED, "output 0 is a weight: it is in the values already");
    o.outputs = &net.loss;
    o.n_grads = 1;
    o.grads = &labels;
    o.grad_offset = net.offset;
    assert_refused(net.g, o, VN_BAD_ARGUMENT, "gradient 0 is not a float node of this graph");
    o.n_grads = 0;
    row.kernel[VN_OP_CONV2D] = NULL;
    assert_refused(net.g, o, VN_UNSUPPORTED,
                   "the toy device has no kernel for conv2d, which has no simpler form");
    vn_graph_fail(net.g, VN_BAD_FILE, "broken");
    assert_refused(net.g, o, VN_BAD_FILE, "conv: broken");
    vn_graph_close(&other);
    close_network(&net);
}

static void only_the_program_s_nodes_have_memory(void **state) {
    vn_device_row row = toy_row();
    const vn_device device = {&row, NULL, NULL};
    (void)state;
    vn_graph *g = open_graph();
    vn_node *x = vn_input(g, VN_F32, VN_SHAPE(2)), *other = vn_input(g, VN_F32, VN_SHAPE(2));
    vn_node *y = vn_affine(g, x, 2, 0), *data = vn_const(g, VN_F32, VN_SHAPE(2), (float[]){1, 2}),
            *out[3] = {y, x, data};
    vn_program *p = open_program(g, (vn_program_options){.n_outputs = 3, .outputs = out}, &device);
    assert_null(vn_program_map(p, other));
    assert_non_null(vn_program_map(p, y));
    assert_true(((const float *)vn_program_map(p, data))[1] == 2);
    vn_program_close(&p);
    vn_graph_close(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_written_in_their_place),
        cmocka_unit_test(shared_gradients_are_copied),
        cmocka_unit_test(what_is_dead_shares_memory),
        cmocka_unit_test(run_does_not_allocate),
        cmocka_unit_test(programs_share_an_arena_as_large_as_the_largest),
        cmocka_unit_test(every_failed_allocation_is_reported),
        cmocka_unit_test(profile_names_each_op),
        cmocka_unit_test(bad_programs_are_refused),
        cmocka_unit_test(only_the_program_s_nodes_have_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
