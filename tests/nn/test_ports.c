/* Ports: a network of the documentation's (docs/extending.md, compiled from the page) on images of
 * two sizes, and one of tokens that is the test's own; arrays are held to the ports by name. */
#include "nn/internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nn/support_batch.h"
#include "support/bound.h"
#include "support/kernels.h"
#include "support/reference.h"
#include "support/thread_pool.h"

extern const vn_net_row vn_stack_net;

/* ---- a network of tokens --------------------------------------------------------------------- */

/* states = table[ids] + bias, and on request their mean over the tokens. */
static vn_status open_tokens(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    (void)config;
    if (!(*self = vn_alloc(1, 1))) return vn_no_memory(err);
    *io = (vn_net_io){.multiple = 1};
    vn_net_add_input(io, (vn_port){.name = "input_ids",
                                   .dtype = VN_I32,
                                   .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_TOKENS),
                                   .below = 10});
    vn_net_add_input(io, (vn_port){.name = "bias",
                                   .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_TOKENS, 2),
                                   .optional = true});
    vn_net_add_output(
        io, (vn_port){.name = "states", .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_TOKENS, 2)});
    vn_net_add_output(
        io, (vn_port){.name = "mean", .shape = VN_SHAPE(VN_DIM_BATCH, 1, 2), .optional = true});
    return VN_OK;
}

static void build_tokens(const void *self, const vn_scope *s) {
    (void)self;
    vn_node *x = vn_layer_embedding(s, "table", vn_scope_input(s, "input_ids"), 10, 2);
    x = vn_add(s->g, x, vn_scope_input(s, "bias"));
    vn_scope_output(s, "states", x);
    vn_node *sum = x ? vn_sum_to(s->g, x, VN_SHAPE(x->shape.dim[0], 1, 2)) : NULL;
    vn_scope_output(s, "mean", sum ? vn_affine(s->g, sum, 1 / (double)x->shape.dim[1], 0) : NULL);
}

static const vn_net_row tokens_row = {.row = {.name = "tokens"},
                                      .class_name = "Tokens",
                                      .folder = "model",
                                      .open = open_tokens,
                                      .close = vn_free,
                                      .build = build_tokens};

/* ---- a network, open ------------------------------------------------------------------------- */

typedef struct fixture {
    vn_net *net;
    vn_values *values;
    vn_device device;
    vn_runner *runner;
} fixture;

static fixture open_fixture(const vn_net_row *row, const char *text) {
    fixture f = {.device = {kernels, NULL, crew_of(2)}};
    vn_err err = {0};
    json_t *config = json_loads(text, 0, NULL);
    if (vn_net_open_row(row, config, &f.net, &err)) fail_msg("%s", err.text);
    json_decref(config);
    if (vn_values_open(vn_net_weights(f.net), &f.device, NULL, &f.values, &err) ||
        vn_values_init(f.values, 3, &err))
        fail_msg("%s", err.text);
    if (vn_runner_open(f.net, &f.device, f.values, &f.runner, &err)) fail_msg("%s", err.text);
    return f;
}

static void close_fixture(fixture *f) {
    vn_runner_close(&f->runner);
    vn_values_close(&f->values);
    vn_net_close(&f->net);
}

#define STACK "{\"in_channels\": 2, \"width\": 4, \"layers\": 2}"

enum { MAX_SIZE = 2 * 2 * 8 * 6 };
static float x[MAX_SIZE];
static const float time[2] = {3, 0.5F};

static void make_batch(void) {
    vn_random_normal(x, MAX_SIZE, 1, VN_STREAM_TEST, 0, 0);
}

/* ---- extents --------------------------------------------------------------------------------- */

/* What the nodes of a call hold, by the reference evaluator. */
static void set_reference(const fixture *f, ref_graph *r, const vn_net_nodes *nodes) {
    vn_node *sample = vn_net_in(f->net, nodes, "sample");
    const int64_t *d = sample->shape.dim, pixels = d[1] * d[2];
    ref_set_f32(r, vn_net_in(f->net, nodes, "timestep"), time);
    r->set[sample->id] = true;
    for (int64_t i = 0; i < vn_shape_count(&sample->shape); i++)
        r->value[sample->id][i] =
            (double)x[i / (2 * pixels) * 2 * pixels + i % 2 * pixels + i / 2 % pixels];
}

static double off_by(const fixture *f, const ref_graph *r, const vn_net_nodes *nodes,
                     const batch *b) {
    float y[MAX_SIZE];
    vn_err err = {0};
    double worst = 0;
    const int64_t pixels = b->height * b->width;
    const double *expected = ref_get(r, nodes->out[0]);
    if (batch_run(f->runner, f->net, b, y, NULL, &err)) fail_msg("%s", err.text);
    for (int64_t i = 0; i < b->n * 2 * pixels; i++) {
        const int64_t last = i / (2 * pixels) * 2 * pixels + i % pixels * 2 + i / pixels % 2;
        worst = fmax(worst, fabs((double)y[i] - expected[last]));
    }
    return worst;
}

static void two_extents_share_weights(void **state) {
    (void)state;
    fixture f = open_fixture(&vn_stack_net, STACK);
    vn_graph *g = NULL;
    vn_err err = {0};
    make_batch();
    const batch b[] = {{2, 8, 6, x, time, NULL, NULL}, {1, 5, 9, x, time, NULL, NULL}};
    vn_net_nodes nodes[2];
    const size_t weights = vn_weights_count(vn_net_weights(f.net));
    assert_int_equal(vn_graph_open(&g, &err), VN_OK);
    for (int k = 0; k < 2; k++) {
        const vn_net_spec spec = batch_spec(&b[k]);
        if (vn_net_build(f.net, g, &spec, &nodes[k], &err)) fail_msg("%s", err.text);
        const vn_shape shape = vn_net_file_shape(nodes[k].out[0]),
                       expected = VN_SHAPE(b[k].n, 2, b[k].height, b[k].width);
        assert_true(vn_shape_equal(&shape, &expected));
    }
    assert_int_equal(vn_weights_count(vn_net_weights(f.net)), weights);
    ref_graph r = ref_open(g);
    for (int k = 0; k < 2; k++) set_reference(&f, &r, &nodes[k]);
    ref_run(&r, &(vn_run){.values = f.values});
    for (int k = 0; k < 2; k++) {
        const double off = off_by(&f, &r, &nodes[k], &b[k]);
        expect_below("output", off, 1e-5); /* some ten roundings of numbers near 1 */
    }
    ref_close(&r);
    vn_graph_close(&g);
    close_fixture(&f);
}

static void lengths_come_from_the_arrays(void **state) {
    (void)state;
    fixture f = open_fixture(&tokens_row, "{}");
    vn_err err = {0};
    const int64_t ids[6] = {0, 9, 3, 3, 1, 2};
    const vn_feed in = {.array = {"input_ids", VN_I64, VN_SHAPE(2, 3), ids}};
    vn_extent extent = {0};
    assert_int_equal(vn_net_match(f.net, &extent, 1, &in, &err), VN_OK);
    assert_true(extent.batch == 2 && extent.tokens == 3 && extent.height == 0);
    close_fixture(&f);
}

/* ---- values ---------------------------------------------------------------------------------- */

static void run_tokens(const fixture *f, int n, const vn_feed *in, float *states, float *mean) {
    vn_err err = {0};
    const vn_net_spec spec = {.extent = {.batch = 2}}; /* tokens: as the arrays have them */
    const vn_fetch out[] = {{"states", states}, {"mean", mean}};
    if (vn_runner_run(f->runner, &spec, n, in, mean ? 2 : 1, out, &err)) fail_msg("%s", err.text);
}

static void arrays_of_any_type_are_taken(void **state) {
    (void)state;
    fixture f = open_fixture(&tokens_row, "{}");
    static const int64_t wide[6] = {0, 9, 3, 3, 1, 2};
    static const uint8_t small[6] = {0, 9, 3, 3, 1, 2},
                         eights[12] = {8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8};
    float plain[12], same[12], moved[12], mean[4];
    vn_feed in[] = {{.array = {"input_ids", VN_I64, VN_SHAPE(2, 3), wide}},
                    {.array = {"bias", VN_U8, VN_SHAPE(2, 3, 2), eights}}};
    run_tokens(&f, 2, in, moved, NULL);
    run_tokens(&f, 1, in, plain, mean); /* the bias that is left out is not the last one's */
    in[0].array.dtype = VN_U8;
    in[0].array.data = small;
    run_tokens(&f, 1, in, same, NULL);
    assert_memory_equal(plain, same, sizeof same);
    for (int i = 0; i < 12; i++) assert_true(moved[i] == plain[i] + 8);
    for (int i = 0; i < 4; i++) {
        const float *row = plain + i / 2 * 6 + i % 2;
        expect_small(fabsf(mean[i] - (row[0] + row[2] + row[4]) / 3), 1e-6F);
    }
    close_fixture(&f);
}

static void one_number_does_for_a_batch(void **state) {
    (void)state;
    fixture f = open_fixture(&vn_stack_net, STACK);
    vn_err err = {0};
    float one[MAX_SIZE], each[MAX_SIZE];
    const float same[2] = {3, 3};
    make_batch();
    const batch b = {2, 8, 6, x, same, NULL, NULL};
    vn_feed in[3];
    const vn_net_spec spec = batch_spec(&b);
    assert_int_equal(batch_feeds(f.net, &b, in), 2);
    assert_int_equal(vn_runner_run(f.runner, &spec, 2, in, 1, &(vn_fetch){"sample", each}, &err),
                     VN_OK);
    in[1].array.shape = (vn_shape){0};
    assert_int_equal(vn_runner_run(f.runner, &spec, 2, in, 1, &(vn_fetch){"sample", one}, &err),
                     VN_OK);
    assert_memory_equal(one, each, sizeof one);
    close_fixture(&f);
}

/* ---- refused --------------------------------------------------------------------------------- */

static void arrays_are_refused_by_name(void **state) {
    (void)state;
    static const float f32[64] = {0.5F};
    static const int32_t i32[64] = {10};
    static const struct {
        vn_feed in[3];
        int n;
        const char *words;
    } cases[] = {
        {{{.array = {"input_idx", VN_I32, {2, {2, 3}}, i32}}},
         1,
         "tokens has no input \"input_idx\"; it has input_ids, bias; did you mean \"input_ids\"?"},
        {{{.array = {"bias", VN_F32, {3, {2, 3, 2}}, f32}}},
         1,
         "tokens needs input_ids, I32 [2, T]"},
        {{{.array = {"input_ids", VN_F32, {2, {2, 3}}, f32}}},
         1,
         "tokens: input_ids is F32, expected I32 [2, T] or other whole numbers"},
        {{{.array = {"input_ids", VN_I32, {2, {3, 3}}, i32}}},
         1,
         "tokens: input_ids has shape [3, 3], expected I32 [2, T]"},
        {{{.array = {"input_ids", VN_I32, {1, {2}}, i32}}},
         1,
         "tokens: input_ids has shape [2], expected I32 [2, T]"},
        {{{.array = {"input_ids", VN_I32, {2, {2, 3}}, i32 + 1}},
          {.array = {"bias", VN_F32, {3, {2, 4, 2}}, f32}}},
         2,
         "tokens: bias has shape [2, 4, 2], expected F32 [2, 3, 2]"},
        {{{.array = {"input_ids", VN_I32, {2, {2, 3}}, i32}}},
         1,
         "tokens: input_ids has 10, which is not a whole number in 0 .. 9"},
    };
    fixture f = open_fixture(&tokens_row, "{}");
    float y[64];
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        vn_err err = {0};
        const vn_net_spec spec = {.extent = {.batch = 2}};
        const vn_status status = vn_runner_run(f.runner, &spec, cases[i].n, cases[i].in, 1,
                                               &(vn_fetch){"states", y}, &err);
        if (status != VN_BAD_ARGUMENT || strcmp(err.text, cases[i].words) != 0)
            fail_msg("%d \"%s\", not \"%s\"", status, err.text, cases[i].words);
    }
    close_fixture(&f);
}

static void outputs_are_refused_by_name(void **state) {
    (void)state;
    fixture f = open_fixture(&vn_stack_net, STACK);
    vn_err err = {0};
    float y[MAX_SIZE];
    make_batch();
    const batch b = {2, 8, 6, x, time, NULL, NULL};
    vn_feed in[3];
    const int n = batch_feeds(f.net, &b, in);
    const vn_net_spec spec = batch_spec(&b);
    assert_int_equal(vn_runner_run(f.runner, &spec, n, in, 1, &(vn_fetch){"variance", y}, &err),
                     VN_BAD_ARGUMENT);
    assert_string_equal(err.text, "stack has no output \"variance\"; it has sample");
    assert_int_equal(vn_runner_derive(f.runner, &spec, VN_VJP, "logits", n, in, x, y, &err),
                     VN_BAD_ARGUMENT);
    close_fixture(&f);
}

/* ---- the table ------------------------------------------------------------------------------- */

static void every_row_is_listed_under_its_role(void **state) {
    (void)state;
    size_t rows = 0, listed = 0;
    while (vn_net_row_at(rows)) rows++;
    for (int role = 0; role < VN_ROLE_COUNT; role++)
        for (size_t i = 0; i < vn_models[role].count; i++, listed++) {
            const vn_net_row *row = (const vn_net_row *)vn_table_row(&vn_models[role], i);
            assert_int_equal(row->role, role);
        }
    assert_int_equal(listed, rows);
    assert_true(rows >= 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_extents_share_weights),
        cmocka_unit_test(lengths_come_from_the_arrays),
        cmocka_unit_test(arrays_of_any_type_are_taken),
        cmocka_unit_test(one_number_does_for_a_batch),
        cmocka_unit_test(arrays_are_refused_by_name),
        cmocka_unit_test(outputs_are_refused_by_name),
        cmocka_unit_test(every_row_is_listed_under_its_role),
    };
    return run_under_each_kernel_set(tests, NULL, NULL);
}
