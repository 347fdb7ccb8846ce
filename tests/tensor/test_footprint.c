/* test_footprint.c - what a network's steps take, told without taking it: the footprint is what the
 * program then takes, and planning a deep network does not take long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <time.h>

#include "tensor/internal.h"
#include "tensor/support_toy.h"

/* So many layers x + gelu(W silu(x)), each the end of a block, with the gradient of their loss. */
typedef struct deep {
    vn_graph *g;
    vn_weights *w;
    vn_node *loss;
    vn_gradients by;
} deep;

static void open_deep(deep *d, int layers, int64_t rows, int64_t width, vn_recompute how) {
    *d = (deep){0};
    assert_int_equal(vn_graph_open(&d->g, NULL), VN_OK);
    assert_int_equal(vn_weights_open(&d->w, NULL), VN_OK);
    vn_node *y = vn_input(d->g, VN_F32, VN_SHAPE(rows, width));
    for (int i = 0; i < layers; i++) {
        char name[16];
        snprintf(name, sizeof name, "w%d", i);
        const vn_init init = {VN_INIT_NORMAL, 0.1};
        vn_node *w = vn_param_node(d->g, d->w, name, VN_SHAPE(width, width), VN_LAYOUT_PLAIN, init);
        vn_node *x = vn_linear(d->g, vn_unary(d->g, y, VN_FN_SILU), w, NULL, false);
        y = vn_block_end(vn_add(d->g, y, vn_unary(d->g, x, VN_FN_GELU)));
    }
    d->loss = vn_mean(d->g, vn_unary(d->g, y, VN_FN_SQUARE));
    d->by = (vn_gradients){.weights = d->w, .recompute = how};
    assert_int_equal(vn_gradients_open(&d->by, d->loss, NULL, NULL), VN_OK);
}

static void close_deep(deep *d) {
    vn_gradients_close(&d->by);
    vn_graph_close(&d->g);
    vn_weights_close(&d->w);
}

static vn_program_options options_of(const deep *d, const vn_device *device) {
    return (vn_program_options){.device = device,
                                .n_outputs = 1,
                                .outputs = &d->loss,
                                .n_grads = d->by.n,
                                .grads = d->by.node,
                                .grad_offset = d->by.offset};
}

/* What a footprint says is what the program then takes, and what is alive at the fullest step fits
 * in it. */
static void footprint_is_the_program_s(void **state) {
    vn_device_row row = toy_row();
    const vn_device device = {&row, NULL, NULL};
    (void)state;
    for (int how = VN_RECOMPUTE_CHEAP; how <= VN_RECOMPUTE_NONE; how++) {
        deep d;
        open_deep(&d, 6, 8, 64, (vn_recompute)how);
        assert_int_equal(d.by.n, 6);
        assert_null(d.by.by_x);
        const vn_program_options o = options_of(&d, &device);
        vn_footprint f = {0};
        vn_program *p = NULL;
        assert_int_equal(vn_footprint_open(d.g, &o, &f, NULL), VN_OK);
        assert_int_equal(vn_program_open(d.g, &o, &p, NULL), VN_OK);
        assert_int_equal(f.bytes, vn_program_bytes(p));
        assert_true(f.cost.flops == vn_program_cost(p).flops &&
                    f.cost.bytes == vn_program_cost(p).bytes);
        size_t sum = 0;
        for (int i = 0; i < f.arrays; i++) {
            sum += f.array[i].bytes;
            assert_true(i == 0 || f.array[i].bytes <= f.array[i - 1].bytes);
        }
        assert_true(f.arrays > 6 && sum == f.alive_bytes && sum <= f.bytes);
        vn_program_close(&p);
        vn_footprint_close(&f);
        close_deep(&d);
    }
}

/* Processor seconds to build a network of so many layers with its gradient and to plan it. */
static double planning_time(const vn_device *device, int layers) {
    const clock_t begin = clock();
    deep d;
    vn_footprint f = {0};
    open_deep(&d, layers, 2, 16, VN_RECOMPUTE_CHEAP);
    const vn_program_options o = options_of(&d, device);
    assert_int_equal(vn_footprint_open(d.g, &o, &f, NULL), VN_OK);
    vn_footprint_close(&f);
    close_deep(&d);
    return (double)(clock() - begin) / CLOCKS_PER_SEC;
}

/* Eight times as deep takes some eight times as long; where all pairs were looked at it was 50. The
 * least of three counts. */
static void planning_is_near_linear_in_depth(void **state) {
    (void)state;
    vn_device_row row = toy_row();
    const vn_device device = {&row, NULL, NULL};
    double shallow = 1e9, deeper = 1e9;
    for (int i = 0; i < 3; i++) {
        shallow = fmin(shallow, planning_time(&device, 250));
        deeper = fmin(deeper, planning_time(&device, 2000));
    }
    print_message("250 layers: %.4f s, 2000: %.4f s\n", shallow, deeper);
    assert_true(deeper < 25 * shallow);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(footprint_is_the_program_s),
        cmocka_unit_test(planning_is_near_linear_in_depth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
