/* test_device.c - programs on a device whose memory the host does not see: the same bits as on the
 * CPU, trained and run, and no address of the device followed by the host, which would fault. And
 * what has no kernel is planned as its simpler form. */
#include "support/bound.h"
#include "support/kernels.h"

#include <math.h>
#include <string.h>

#include "support/guarded.h"
#include "support/thread_pool.h"
#include "tensor/internal.h"

enum { N = 4, SIDE = 6, IN = 3, WIDE = 16, CLASSES = 5, STEPS = 8, MAX_WEIGHTS = 2048 };

/* A network with most kinds of ops, its loss and its gradients. */
typedef struct network {
    vn_graph *g;
    vn_weights *w;
    vn_node *x, *labels, *y, *loss;
    vn_gradients by;
} network;

static vn_node *weight(network *n, const char *name, vn_shape shape) {
    return vn_param_node(n->g, n->w, name, shape,
                         shape.rank == 4 ? VN_LAYOUT_CONV : VN_LAYOUT_PLAIN,
                         (vn_init){VN_INIT_NORMAL, 0.2});
}

static void build(network *n) {
    static const float shift[WIDE] = {0.5f, -1, 0.25f};
    *n = (network){0};
    assert_int_equal(vn_graph_open(&n->g, NULL), VN_OK);
    assert_int_equal(vn_weights_open(&n->w, NULL), VN_OK);
    vn_graph *g = n->g;
    n->x = vn_input(g, VN_F32, VN_SHAPE(N, SIDE, SIDE, IN));
    n->labels = vn_input(g, VN_I32, VN_SHAPE(N));
    vn_node *h = vn_conv2d(g, n->x, weight(n, "conv", VN_SHAPE(WIDE, IN, 3, 3)),
                           weight(n, "bias", VN_SHAPE(WIDE)), true, 1, (int[]){1, 1, 1, 1});
    vn_node *of_class = vn_embedding(g, weight(n, "table", VN_SHAPE(CLASSES, WIDE)), n->labels);
    h = vn_add(g, h, vn_reshape(g, of_class, VN_SHAPE(N, 1, 1, WIDE)));
    h = vn_add(g, h, vn_const(g, VN_F32, VN_SHAPE(WIDE), shift));
    h = vn_norm(g, h, weight(n, "gamma", VN_SHAPE(WIDE)), weight(n, "beta", VN_SHAPE(WIDE)), true,
                4, 1e-5, VN_FN_SILU);
    h = vn_reshape(g, vn_dropout(g, h, 0.1), VN_SHAPE(N, SIDE * SIDE, WIDE));
    vn_node *q = vn_linear(g, h, weight(n, "q", VN_SHAPE(WIDE, WIDE)), NULL, false);
    h = vn_add(g, h, vn_attention(g, q, h, h, 2, 0.3));
    n->y = vn_linear(g, h, weight(n, "out", VN_SHAPE(IN, WIDE)), NULL, false);
    n->y = vn_reshape(g, n->y, VN_SHAPE(N, SIDE, SIDE, IN));
    n->loss = vn_mean(g, vn_unary(g, vn_sub(g, n->y, n->x), VN_FN_SQUARE));
    vn_err err = {0};
    if (vn_graph_status(g, &err) != VN_OK) fail_msg("%s", err.text);
    n->by = (vn_gradients){.weights = n->w};
    assert_int_equal(vn_gradients_open(&n->by, n->loss, NULL, NULL), VN_OK);
    assert_true(vn_weights_floats(n->w) <= MAX_WEIGHTS);
}

static void close_network(network *n) {
    vn_gradients_close(&n->by);
    vn_graph_close(&n->g);
    vn_weights_close(&n->w);
}

static vn_program *plan(const network *n, const vn_device *d) {
    vn_program *p = NULL;
    vn_err err = {0};
    vn_node *const outputs[] = {n->loss, n->y};
    const vn_program_options o = {.device = d,
                                  .n_outputs = 2,
                                  .outputs = outputs,
                                  .n_grads = n->by.n,
                                  .grads = n->by.node,
                                  .grad_offset = n->by.offset};
    if (vn_program_open(n->g, &o, &p, &err) != VN_OK) fail_msg("%s", err.text);
    return p;
}

static void fill(vn_program *p, const network *n, int step) {
    float x[N * SIDE * SIDE * IN];
    const int32_t labels[N] = {4, 0, 2, 1};
    vn_random_normal(x, VN_COUNT(x), 3, VN_STREAM_TEST, 0, 0);
    if (step % 2)
        vn_program_write(p, n->x, x);
    else
        memcpy(vn_program_map(p, n->x), x, sizeof x);
    vn_program_write(p, n->labels, labels);
}

/* What training comes to. */
typedef struct result {
    float losses[STEPS], y[N * SIDE * SIDE * IN], weights[MAX_WEIGHTS];
} result;

enum { VALUES, GRADS, FIRST, SECOND, ARRAYS };

static void train(const vn_device *d, result *r) {
    network n;
    build(&n);
    vn_program *p = plan(&n, d);
    const size_t floats = vn_weights_floats(n.w), bytes = floats * sizeof(float);
    void *at[ARRAYS];
    for (int i = 0; i < ARRAYS; i++)
        assert_int_equal(vn_device_zeros(d, bytes, &at[i], NULL), VN_OK);
    *r = (result){0};
    vn_weights_init(n.w, r->weights, 7);
    d->row->write(d->self, at[VALUES], r->weights, bytes);
    vn_values *values = NULL;
    assert_int_equal(vn_values_over(n.w, d, at[VALUES], &values, NULL), VN_OK);
    for (int i = 0; i < STEPS; i++) {
        fill(p, &n, i);
        vn_program_run(p, &(vn_run){.values = values, .grads = at[GRADS], .step = (uint64_t)i});
        assert_int_equal(vn_program_wait(p, NULL), VN_OK);
        r->losses[i] = *(const float *)vn_program_map(p, n.loss);
        const double norm = sqrt(squares_of(d, floats, at[GRADS]));
        const vn_adamw o = {.lr = 1e-2,
                            .beta1 = 0.9,
                            .beta2 = 0.99,
                            .eps = 1e-8,
                            .step = i + 1,
                            .grad_scale = 1 / norm};
        d->row->adamw(d, &o, floats, at[VALUES], at[GRADS], at[FIRST], at[SECOND], NULL);
    }
    vn_program_read(p, n.y, r->y);
    d->row->read(d->self, r->weights, at[VALUES], bytes);
    vn_values_close(&values);
    for (int i = 0; i < ARRAYS; i++) vn_device_give(d, at[i]);
    vn_program_close(&p);
    close_network(&n);
}

static void the_host_follows_no_address_of_a_device(void **state) {
    (void)state;
    static result here, there;
    const vn_device_row row = guarded_row(kernels, 0, NULL);
    vn_device device;
    train(&(vn_device){kernels, NULL, crew_of(2)}, &here);
    assert_int_equal(vn_device_open(&row, NULL, crew_of(2), &device, NULL), VN_OK);
    train(&device, &there);
    assert_int_equal(guarded_arrays(&device), 0);
    vn_device_close(&device);
    assert_memory_equal(&here, &there, sizeof here);
    assert_true(here.losses[STEPS - 1] < here.losses[0]);
}

static const vn_op fused[] = {VN_OP_LINEAR,         VN_OP_NORM_STATS,       VN_OP_NORM,
                              VN_OP_NORM_GRAD_X,    VN_OP_NORM_GRAD_AFFINE, VN_OP_ATTENTION,
                              VN_OP_ATTENTION_GRAD, VN_OP_SOFTMAX_GRAD,     VN_OP_UNARY_GRAD,
                              VN_OP_MUL_ADD};

static void what_has_no_kernel_is_planned_as_its_simpler_form(void **state) {
    (void)state;
    static result whole, plain, there;
    vn_device_row lesser = *kernels;
    for (size_t i = 0; i < VN_COUNT(fused); i++) lesser.kernel[fused[i]] = NULL;
    const vn_device_row row = guarded_row(kernels, (int)VN_COUNT(fused), fused);
    vn_device device;
    train(&(vn_device){kernels, NULL, crew_of(2)}, &whole);
    train(&(vn_device){&lesser, NULL, crew_of(2)}, &plain);
    assert_int_equal(vn_device_open(&row, NULL, crew_of(2), &device, NULL), VN_OK);
    train(&device, &there);
    vn_device_close(&device);
    assert_memory_equal(&plain, &there, sizeof plain);
    for (int i = 0; i < STEPS; i++)
        expect_small(fabs((double)plain.losses[i] - (double)whole.losses[i]),
                     1e-4 * (double)whole.losses[i]);
}

static void a_footprint_lists_the_simpler_ops(void **state) {
    (void)state;
    vn_device_row lesser = *kernels;
    for (size_t i = 0; i < VN_COUNT(fused); i++) lesser.kernel[fused[i]] = NULL;
    const vn_device device = {&lesser, NULL, NULL};
    network n;
    build(&n);
    const vn_program_options o = {.device = &device, .n_outputs = 1, .outputs = &n.y};
    vn_program *p = NULL;
    vn_footprint f;
    assert_int_equal(vn_footprint_open(n.g, &o, &f, NULL), VN_OK);
    assert_int_equal(vn_program_open(n.g, &o, &p, NULL), VN_OK);
    assert_true(f.bytes == vn_program_bytes(p) && f.arrays > 0);
    for (int i = 0; i < f.arrays; i++)
        for (size_t k = 0; k < VN_COUNT(fused); k++)
            assert_int_not_equal(f.array[i].node->op, fused[k]);
    vn_program_close(&p);
    vn_footprint_close(&f);
    close_network(&n);
}

static void outputs_are_fetched_after_every_run(void **state) {
    (void)state;
    const vn_device_row row = guarded_row(kernels, 0, NULL);
    vn_device device;
    vn_graph *g = NULL;
    vn_program *p = NULL;
    assert_int_equal(vn_device_open(&row, NULL, NULL, &device, NULL), VN_OK);
    assert_int_equal(vn_graph_open(&g, NULL), VN_OK);
    vn_node *x = vn_input(g, VN_F32, VN_SHAPE(2)), *other = vn_input(g, VN_F32, VN_SHAPE(2)),
            *c = vn_const(g, VN_F32, VN_SHAPE(2), (float[]){1, 2}), *y = vn_add(g, x, c);
    vn_node *const outputs[] = {y, c, x};
    const vn_program_options o = {.device = &device, .n_outputs = 3, .outputs = outputs};
    assert_int_equal(vn_program_open(g, &o, &p, NULL), VN_OK);
    for (int i = 0; i < 3; i++) {
        float out[2] = {0};
        ((float *)vn_program_map(p, x))[1] = (float)i;
        vn_program_read(p, x, out); /* before it is sent */
        assert_true(out[1] == (float)i);
        vn_program_run(p, &(vn_run){0});
        assert_int_equal(vn_program_wait(p, NULL), VN_OK);
        assert_true(((const float *)vn_program_map(p, y))[1] == (float)i + 2);
        assert_true(((const float *)vn_program_map(p, y))[1] == (float)i + 2);
        assert_true(((const float *)vn_program_map(p, c))[0] == 1);
        vn_program_read(p, x, out);
        assert_true(out[1] == (float)i);
    }
    /* what was mapped, and then written, is as it was written */
    ((float *)vn_program_map(p, x))[1] = 9;
    vn_program_write(p, x, (float[]){0, 5});
    vn_program_run(p, &(vn_run){0});
    assert_true(((const float *)vn_program_map(p, y))[1] == 7);
    assert_null(vn_program_map(p, other));
    vn_program_write(p, other, (float[]){0, 5});
    vn_program_close(&p);
    vn_graph_close(&g);
    vn_device_close(&device);
}

static void what_fails_on_a_device_is_told_by_wait(void **state) {
    (void)state;
    const vn_device_row row = guarded_row(kernels, 0, NULL);
    vn_device device;
    network n;
    vn_err err = {0};
    assert_int_equal(vn_device_open(&row, NULL, NULL, &device, NULL), VN_OK);
    build(&n);
    vn_program *p = plan(&n, &device);
    guarded_break(&device);
    assert_int_equal(vn_program_wait(p, &err), VN_IO);
    assert_string_equal(err.text, "the device broke");
    assert_int_equal(vn_program_wait(p, &err), VN_OK);
    vn_program_close(&p);
    close_network(&n);
    vn_device_close(&device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_host_follows_no_address_of_a_device),
        cmocka_unit_test(what_has_no_kernel_is_planned_as_its_simpler_form),
        cmocka_unit_test(a_footprint_lists_the_simpler_ops),
        cmocka_unit_test(outputs_are_fetched_after_every_run),
        cmocka_unit_test(what_fails_on_a_device_is_told_by_wait),
    };
    return run_under_each_kernel_set(tests, NULL, NULL);
}
