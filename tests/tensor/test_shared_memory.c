/* test_shared_memory.c - programs against the same graph with a buffer for every node, bit for bit:
 * on random graphs with gradients and on every op, so that whatever two arrays share memory, none
 * is overwritten too early. */
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

static uint64_t draw(uint64_t *state, uint64_t below) {
    return (uint64_t)(vn_random_double(test_seed(++*state), VN_STREAM_TEST, 0, 0) * (double)below);
}

/* ---- a buffer for every node ----------------------------------------------------------------- */

typedef struct apart {
    const vn_graph *g;
    float **value; /* by id */
} apart;

static apart run_apart(const vn_graph *g, uint64_t seed, const vn_run *run) {
    apart a = {g, calloc((size_t)vn_graph_size(g), sizeof(float *))};
    for (int id = 0; id < vn_graph_size(g); id++) {
        const vn_node *n = vn_graph_node(g, id);
        size_t count = (size_t)vn_shape_count(&n->shape);
        float *y = a.value[id] = calloc(count + 1, sizeof(float));
        double *exact = calloc(count + 1, sizeof(double)), *work = malloc(toy_work(n, 1) + 8);
        vn_kernel_args args = {.node = n, .out = y, .work = work, .run = run};
        for (int i = 0; i < n->inputs; i++) args.in[i] = a.value[n->in[i]->id];
        if (n->op == VN_OP_INPUT) {
            fill_input(n, exact, false, seed);
            for (size_t i = 0; i < count; i++) y[i] = (float)exact[i];
        } else if (n->op == VN_OP_PARAM)
            memcpy(y, vn_values_at(run->values, n->from.param), count * sizeof(float));
        else if (n->op == VN_OP_CONST)
            memcpy(y, n->from.data, count * sizeof(float));
        else
            toy_run(&args);
        free(exact);
        free(work);
    }
    return a;
}

static void free_apart(apart *a) {
    for (int id = 0; id < vn_graph_size(a->g); id++) free(a->value[id]);
    free(a->value);
}

static void set_inputs(vn_program *p, const apart *a) {
    for (int id = 0; id < vn_graph_size(a->g); id++) {
        const vn_node *n = vn_graph_node(a->g, id);
        void *to = n->op == VN_OP_INPUT ? vn_program_map(p, n) : NULL;
        if (to) memcpy(to, a->value[id], (size_t)vn_shape_count(&n->shape) * sizeof(float));
    }
}

static void assert_same(const char *what, uint64_t seed, const vn_node *n, const float *got,
                        const float *want) {
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++)
        if (memcmp(&got[i], &want[i], sizeof *got) != 0)
            fail_msg("seed %llu: %s, node %d (%s), element %d: %g instead of %g",
                     (unsigned long long)seed, what, n->id, vn_op_get(n->op)->name, (int)i,
                     (double)got[i], (double)want[i]);
}

/* ---- random graphs --------------------------------------------------------------------------- */

/* All of the pool is [2,3,4]. */
typedef struct pool {
    vn_graph *g;
    vn_weights *w;
    uint64_t random;
    vn_node *node[80], *param[8];
    int nodes, params;
} pool;

static vn_node *pick(pool *p) {
    return p->node[draw(&p->random, (uint64_t)p->nodes)];
}

static vn_node *pick_param(pool *p, vn_shape shape) {
    char name[32];
    snprintf(name, sizeof name, "w%d.%d", (int)draw(&p->random, 2), (int)vn_shape_count(&shape));
    vn_node *n =
        vn_param_node(p->g, p->w, name, shape, VN_LAYOUT_PLAIN, (vn_init){VN_INIT_NORMAL, 0.7});
    for (int i = 0; i < p->params; i++)
        if (p->param[i] == n) return n;
    return p->param[p->params++] = n;
}

static vn_node *grow_views(pool *p) {
    vn_graph *g = p->g;
    vn_node *two[2] = {pick(p), pick(p)};
    switch (draw(&p->random, 4)) {
    case 0: return vn_view(g, vn_concat(g, 0, 2, two), 16, VN_SHAPE(2, 3, 4));
    case 1:
        return vn_reshape(g, vn_softmax(g, vn_reshape(g, two[0], VN_SHAPE(4, 6))),
                          VN_SHAPE(2, 3, 4));
    case 2: return vn_permute(g, vn_reshape(g, two[0], VN_SHAPE(4, 3, 2)), (int[3]){2, 1, 0});
    default: {
        vn_node *part[2] = {vn_slice(g, two[0], 2, 1, 3), vn_slice(g, two[1], 2, 0, 1)};
        return vn_concat(g, -1, 2, part);
    }
    }
}

static vn_node *grow_layers(pool *p) {
    vn_graph *g = p->g;
    vn_node *x = pick(p), *w = pick_param(p, VN_SHAPE(4, 4)), *b = pick_param(p, VN_SHAPE(4));
    switch (draw(&p->random, 5)) {
    case 0: return vn_linear(g, x, w, b, true);
    case 1: return vn_matmul(g, x, w, false, true);
    case 2: return vn_norm(g, x, b, pick_param(p, VN_SHAPE(4)), true, 2, 1e-3, VN_FN_SILU);
    case 3: return vn_attention(g, x, pick(p), x, 2, 0.5);
    default: return vn_dropout(g, vn_layer_norm(g, x, NULL, NULL, false, 1e-3), 0.3);
    }
}

static vn_node *grow_pointwise(pool *p) {
    vn_graph *g = p->g;
    vn_node *x = pick(p), *y = pick(p);
    switch (draw(&p->random, 7)) {
    case 0: return vn_affine(g, x, -0.5, 0.1);
    case 1: return vn_unary(g, x, VN_FN_SILU);
    case 2: return vn_add(g, x, y);
    case 3: return vn_sub(g, x, vn_broadcast(g, vn_sum_to(g, y, VN_SHAPE(3, 1)), x->shape));
    case 4: return vn_mul(g, x, vn_unary(g, y, VN_FN_TANH));
    case 5:
        return vn_mul(g, vn_sum_to(g, x, VN_SHAPE(4)),
                      vn_broadcast(g, vn_sum_to(g, y, VN_SHAPE(3, 1)), y->shape));
    default: return vn_mul(g, vn_view(g, x, 0, VN_SHAPE(1, 1, 4)), y);
    }
}

static void grow(pool *p) {
    p->node[p->nodes++] = vn_input(p->g, VN_F32, VN_SHAPE(2, 3, 4));
    p->node[p->nodes++] = vn_input(p->g, VN_F32, VN_SHAPE(2, 3, 4));
    while (p->nodes < 25) {
        uint64_t kind = draw(&p->random, 3);
        vn_node *n = kind == 0 ? grow_views(p) : kind == 1 ? grow_layers(p) : grow_pointwise(p);
        p->node[p->nodes] = vn_affine(p->g, vn_unary(p->g, n, VN_FN_TANH), 1, 0.01 * p->nodes);
        p->nodes++;
    }
}

/* The gradient of a mean for all weights and an input, some of it kept as outputs too; with forward
 * nodes computed again or not, which changes no bit. */
static void check_random_graph(uint64_t seed, vn_recompute how, const vn_device *device) {
    pool p = {.g = open_graph(), .random = seed * 1000};
    assert_int_equal(vn_weights_open(&p.w, NULL), VN_OK);
    grow(&p);
    vn_node *wrt[9], *grad[9], *plain[9], *out[5];
    size_t offset[9];
    for (int i = 0; i < p.params; i++) wrt[i] = p.param[i];
    wrt[p.params] = p.node[0];
    vn_err err = {0};
    vn_node *loss = vn_mean(p.g, vn_mul(p.g, p.node[24], p.node[23]));
    for (int i = 3; i < 25; i += 7) vn_block_end(p.node[i]);
    const int forward = vn_graph_size(p.g);
    if (vn_graph_gradient(p.g, loss, NULL, p.params + 1, wrt, grad, &err) != VN_OK)
        fail_msg("%s", err.text);
    memcpy(plain, grad, sizeof plain);
    if (vn_graph_recompute(p.g, how, forward, p.params + 1, grad, &err) != VN_OK)
        fail_msg("%s", err.text);
    for (int i = 0; i < p.params; i++)
        offset[i] = vn_weights_at(p.w, p.param[i]->from.param)->offset;
    out[0] = loss;
    out[1] = grad[p.params];
    out[2] = pick(&p);
    out[3] = vn_reshape(p.g, pick(&p), VN_SHAPE(24));
    out[4] = p.params ? grad[0] : loss;

    size_t floats = vn_weights_floats(p.w);
    float *grads = vn_alloc_aligned(floats, 4);
    vn_values *values = random_values(p.w, device, seed);
    vn_run run = {.values = values, .grads = grads, .seed = seed, .step = 3, .first_sample = 7};
    apart want = run_apart(p.g, seed, &run);
    vn_program *program = open_program(p.g,
                                       (vn_program_options){.n_outputs = 5,
                                                            .outputs = out,
                                                            .n_grads = p.params,
                                                            .grads = grad,
                                                            .grad_offset = offset},
                                       device);
    set_inputs(program, &want);
    /* inputs are still there, and what was left does not matter */
    for (int again = 0; again < 2; again++) {
        for (size_t i = 0; i < floats; i++) grads[i] = 77;
        vn_program_run(program, &run);
        for (int i = 0; i < 5; i++)
            assert_same("output", seed, out[i], vn_program_map(program, out[i]),
                        want.value[out[i] == grad[p.params] ? plain[p.params]->id : out[i]->id]);
        for (int i = 0; i < p.params; i++)
            assert_same("gradient", seed, plain[i], grads + offset[i], want.value[plain[i]->id]);
    }
    vn_program_close(&program);
    free_apart(&want);
    vn_values_close(&values);
    vn_free(grads);
    vn_weights_close(&p.w);
    vn_graph_close(&p.g);
}

static void random_graphs_as_if_apart(void **state) {
    vn_device_row row = toy_row();
    const vn_device device = {&row, NULL, NULL};
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++)
        for (int how = VN_RECOMPUTE_CHEAP; how <= VN_RECOMPUTE_NONE; how++)
            check_random_graph(seed, (vn_recompute)how, &device);
}

static void every_op_as_if_apart(void **state) {
    vn_device_row row = toy_row();
    const vn_device device = {&row, NULL, NULL};
    (void)state;
    for (size_t k = 0; k < op_case_count; k++)
        for (int v = 0; v < op_cases[k].variants; v++) {
            vn_graph *g = open_graph();
            vn_run run = {.values = op_case_values(), .seed = 3};
            vn_node *n = op_cases[k].build(g, v);
            if (n->op == VN_OP_PARAM) n = vn_affine(g, n, 2, 0);
            apart want = run_apart(g, 5, &run);
            vn_program *p =
                open_program(g, (vn_program_options){.n_outputs = 1, .outputs = &n}, &device);
            set_inputs(p, &want);
            vn_program_run(p, &run);
            assert_same("output", k, n, vn_program_map(p, n), want.value[n->id]);
            vn_program_close(&p);
            free_apart(&want);
            vn_graph_close(&g);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_graphs_as_if_apart),
        cmocka_unit_test(every_op_as_if_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
