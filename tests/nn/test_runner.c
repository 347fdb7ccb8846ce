/* Runners and what every network promises: no allocation for a shape seen before, samples that do
 * not depend on their batch, inputs checked before they are used as indices, dropout in training
 * alone, second derivatives. */
#include "nn/support_slope.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/alloc.h"
#include "support/thread_pool.h"
#include "support/kernels.h"
#include "support/reference.h"

/* A network with random weights. */
typedef struct fixture {
    vn_net *net;
    float *values;
    const vn_device_row *row;
} fixture;

static const char unet[] =
    "{\"_class_name\": \"UNet2DModel\", \"in_channels\": 2, \"out_channels\": 3, "
    "\"layers_per_block\": 1, "
    "\"down_block_types\": [\"DownBlock2D\", \"AttnDownBlock2D\"], \"norm_num_groups\": 2, "
    "\"up_block_types\": [\"AttnUpBlock2D\", \"UpBlock2D\"], \"block_out_channels\": [4, 8], "
    "\"attention_head_dim\": 4, \"num_class_embeds\": 6, \"dropout\": 0.5}";
static const char mlp[] = "{\"_class_name\": \"VaneMLP\", \"width\": 16, \"layers\": 2, "
                          "\"num_class_embeds\": 6, \"dropout\": 0.5}";
static const char classifier[] =
    "{\"_class_name\": \"VaneClassifier\", \"in_channels\": 2, \"num_classes\": 5, "
    "\"block_out_channels\": [4, 8], \"norm_num_groups\": 2, \"dropout\": 0.5}";
static const char learned[] =
    "{\"_class_name\": \"UNet2DModel\", \"in_channels\": 2, \"out_channels\": 1, "
    "\"layers_per_block\": 1, "
    "\"down_block_types\": [\"AttnDownBlock2D\"], \"up_block_types\": [\"UpBlock2D\"], "
    "\"block_out_channels\": [4], \"norm_num_groups\": 2, \"attention_head_dim\": 2, "
    "\"time_embedding_type\": \"learned\", \"num_train_timesteps\": 10}";

static void open_fixture(fixture *f, const char *config_text) {
    vn_err err = {0};
    json_t *config = json_loads(config_text, 0, NULL);
    assert_non_null(config);
    *f = (fixture){.row = kernels};
    if (vn_net_open(config, &f->net, &err) != VN_OK) fail_msg("%s", err.text);
    json_decref(config);
    f->values = vn_alloc(vn_weights_floats(vn_net_weights(f->net)), sizeof *f->values);
    assert_non_null(f->values);
    vn_weights_init(vn_net_weights(f->net), f->values, 3);
}

static void close_fixture(fixture *f) {
    vn_net_close(&f->net);
    vn_free(f->values);
}

static vn_runner *open_runner(const fixture *f) {
    vn_runner *r = NULL;
    vn_err err = {0};
    if (vn_runner_open(f->net, &(vn_device){f->row, NULL, crew_of(2)}, f->values, &r, &err) !=
        VN_OK)
        fail_msg("%s", err.text);
    return r;
}

/* A batch of up to 9 samples of up to 2 x 16 x 16, the same ones whatever their number. */
enum { MAX_BATCH = 9, SAMPLE = 2 * 16 * 16 };
static float x[MAX_BATCH * SAMPLE], y[MAX_BATCH * SAMPLE * 2], times[MAX_BATCH];
static int32_t labels[MAX_BATCH];

static void make_batch(void) {
    vn_random_normal(x, VN_COUNT(x), 1, VN_STREAM_TEST, 0, 0);
    for (int i = 0; i < MAX_BATCH; i++) {
        times[i] = (float)(37 * i);
        labels[i] = i % 6;
    }
}

static vn_status forward(vn_runner *r, int64_t n, int64_t h, int64_t w, vn_err *err) {
    return vn_runner_forward(r, n, h, w, x, times, labels, y, NULL, err);
}

static void must_run(vn_runner *r, int64_t n, int64_t h, int64_t w) {
    vn_err err = {0};
    if (forward(r, n, h, w, &err) != VN_OK) fail_msg("%s", err.text);
}

static int64_t allocations_for(vn_runner *r, int64_t n, bool skipped) {
    static const vn_perturb skip[VN_NET_PERTURBS] = {
        {.kind = VN_BLOCKS_SKIPPED, .first = 1, .last = 2}};
    const int64_t before = alloc_made();
    vn_runner_perturb(r, skipped ? skip : NULL);
    must_run(r, n, 8, 4);
    return alloc_made() - before;
}

static void a_known_shape_allocates_nothing(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, unet);
    vn_runner *r = open_runner(&f);
    make_batch();
    for (int k = 0; k < 2; k++) /* as many as are kept, half of them perturbed */
        for (int i = 8; i >= 1; i--) assert_true(allocations_for(r, i, k) > 0);
    for (int k = 0; k < 2; k++)
        for (int i = 8; i >= 1; i--) assert_int_equal(allocations_for(r, i, k), 0);
    /* takes the place of the one unused longest, 8 */
    assert_true(allocations_for(r, 9, false) > 0);
    for (int k = 0; k < 2; k++)
        for (int i = 1; i <= 7 + k; i++) assert_int_equal(allocations_for(r, i, k), 0);
    assert_true(allocations_for(r, 8, false) > 0);
    vn_runner_close(&r);
    close_fixture(&f);
}

/* What is taken for a batch of n that is new. */
static int64_t bytes_for(vn_runner *r, int64_t n) {
    const int64_t before = alloc_bytes();
    must_run(r, n, 16, 16);
    return alloc_bytes() - before;
}

/* A further shape costs its graph and plan, the same for each; its arrays lie where the largest's
 * do. */
static void memory_does_not_grow_with_the_shapes(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, unet);
    vn_runner *r = open_runner(&f);
    make_batch();
    const int64_t largest = bytes_for(r, 9), plan = bytes_for(r, 1);
    assert_true(largest >= 3 * plan);
    for (int64_t n = 8; n > 1; n--) assert_true(bytes_for(r, n) <= plan + plan / 50);
    vn_runner_close(&r);
    close_fixture(&f);
}

/* x or y's size for one sample. */
static size_t out_size(const vn_net_io *io, int64_t h, int64_t w, const char *config) {
    bool image_out = io->rank == 3 && config != classifier;
    return (size_t)io->out_channels * (image_out ? (size_t)(h * w) : 1);
}

static void samples_do_not_depend_on_their_batch(void **state) {
    const char *config = *state;
    fixture f;
    open_fixture(&f, config);
    const vn_net_io *io = vn_net_get_io(f.net);
    vn_runner *r = open_runner(&f);
    make_batch();
    int64_t h = 8, w = 12;
    must_run(r, 5, h, w);
    size_t size = out_size(io, h, w, config),
           in = (size_t)io->in_channels * (io->rank == 3 ? (size_t)(h * w) : 1);
    float all[5 * 3 * 96], one[3 * 96];
    memcpy(all, y, 5 * size * sizeof *y);
    for (size_t i = 0; i < 5; i++) {
        vn_err err = {0};
        const int32_t *label = io->labels ? labels + i : NULL;
        if (vn_runner_forward(r, 1, h, w, x + i * in, times + i, label, one, NULL, &err) != VN_OK)
            fail_msg("%s", err.text);
        assert_memory_equal(one, all + i * size, size * sizeof *one);
        /* neither does another time or class leave them as they are */
        float before = one[0];
        vn_runner_forward(r, 1, h, w, x + i * in, times + (i + 1) % 5, label, one, NULL, &err);
        assert_true(fabsf(one[0] - before) > 1e-5f);
        if (!io->labels) continue;
        vn_runner_forward(r, 1, h, w, x + i * in, times + i, labels + (i + 1) % 5, one, NULL, &err);
        assert_true(fabsf(one[0] - before) > 1e-5f);
    }
    vn_runner_close(&r);
    close_fixture(&f);
}

static void expect_refusal(vn_runner *r, int64_t n, int64_t h, int64_t w, const char *words) {
    vn_err err = {0};
    assert_int_equal(forward(r, n, h, w, &err), VN_BAD_ARGUMENT);
    if (!strstr(err.text, words)) fail_msg("\"%s\" lacks \"%s\"", err.text, words);
}

static void inputs_are_checked(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, unet);
    vn_runner *r = open_runner(&f);
    make_batch();
    expect_refusal(r, 2, 7, 4, "unet2d: images of 7 x 4: both sides must be multiples of 2");
    expect_refusal(r, 2, 0, 0, "unet2d: no sample_size in the config");
    expect_refusal(r, 2, -2, 4, "unet2d: a batch of 2 images of -2 x 4 pixels");
    expect_refusal(r, -1, 8, 4, "a batch of -1");
    labels[1] = 6;
    expect_refusal(r, 2, 8, 4, "unet2d: class label 6 is not in 0 .. 5");
    labels[1] = -1;
    expect_refusal(r, 2, 8, 4, "class label -1");
    vn_err err = {0};
    assert_int_equal(vn_runner_forward(r, 1, 8, 4, x, times, NULL, y, NULL, &err), VN_BAD_ARGUMENT);
    assert_int_equal(vn_runner_forward(r, 1, 8, 4, x, NULL, labels, y, NULL, &err),
                     VN_BAD_ARGUMENT);
    vn_runner_close(&r);
    close_fixture(&f);

    open_fixture(&f, learned);
    r = open_runner(&f);
    make_batch();
    times[1] = 9;
    must_run(r, 2, 3, 4);
    static const float bad[] = {10, -1, 0.5F, NAN};
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        times[1] = bad[i];
        expect_refusal(r, 2, 3, 4, "is not a whole number in 0 .. 9");
    }
    vn_runner_close(&r);
    close_fixture(&f);
}

static void says_when_memory_runs_out(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, unet);
    make_batch();
    vn_thread_pool *pool = crew_of(2);
    alloc_turn t = {.recovers = true}; /* libc's qsort gets by without a buffer */
    while (alloc_next(&t)) {
        vn_runner *r = NULL;
        vn_err err = {0};
        vn_status status =
            vn_runner_open(f.net, &(vn_device){f.row, NULL, pool}, f.values, &r, &err);
        if (!status) status = forward(r, 2, 4, 4, &err);
        if (!status) status = vn_runner_vjp(r, 2, 4, 4, x, times, labels, x, y, &err);
        alloc_hit(&t, status);
        vn_runner_close(&r);
    }
    assert_true(t.refused > 80);
    close_fixture(&f);
}

/* ---- graphs ---------------------------------------------------------------------------------- */

/* Output of the network in training or not, at one run's seed. */
static void run_once(const fixture *f, bool train, uint64_t seed, float *out, size_t count) {
    vn_graph *g = NULL;
    vn_program *p = NULL;
    vn_net_inputs in;
    vn_err err = {0};
    assert_int_equal(vn_graph_open(&g, &err), VN_OK);
    vn_node *node = vn_net_build(f->net, g, 2, 8, 8, train, &in);
    vn_program_options o = {
        .device = &(vn_device){f->row, NULL, crew_of(2)}, .n_outputs = 1, .outputs = &node};
    if (vn_graph_status(g, &err) != VN_OK || vn_program_open(g, &o, &p, &err) != VN_OK)
        fail_msg("%s", err.text);
    assert_int_equal(vn_net_write_inputs(f->net, p, &in, times, labels, &err), VN_OK);
    memcpy(vn_program_map(p, in.sample), x, (size_t)vn_shape_count(&in.sample->shape) * sizeof *x);
    vn_program_run(p, &(vn_run){.values = f->values, .seed = seed});
    assert_true((size_t)vn_shape_count(&node->shape) >= count);
    memcpy(out, vn_program_map(p, node), count * sizeof *out);
    vn_program_close(&p);
    vn_graph_close(&g);
}

static void dropout_is_for_training_alone(void **state) {
    fixture f;
    open_fixture(&f, *state);
    make_batch();
    enum { N = 4 };
    float evaluated[N], again[N], trained[N], other[N];
    run_once(&f, false, 1, evaluated, N);
    run_once(&f, false, 2, again, N);
    run_once(&f, true, 1, trained, N);
    run_once(&f, true, 2, other, N);
    assert_memory_equal(evaluated, again, sizeof again);
    assert_memory_not_equal(evaluated, trained, sizeof trained);
    assert_memory_not_equal(trained, other, sizeof other);
    close_fixture(&f);
}

/* The graph of a network and its gradient by the sample, in double. */
typedef struct second {
    vn_graph *graph;
    /* product: derivative of <gradient, direction> by the sample */
    vn_node *sample, *direction, *gradient, *product;
    ref_graph ref;
} second;

static void open_second(second *s, const fixture *f, int64_t h, int64_t w) {
    vn_err err = {0};
    vn_net_inputs in;
    assert_int_equal(vn_graph_open(&s->graph, &err), VN_OK);
    vn_node *out = vn_net_build(f->net, s->graph, 1, h, w, false, &in);
    vn_node *loss = out ? vn_unary(s->graph, out, VN_FN_SQUARE) : NULL;
    if (vn_graph_status(s->graph, &err) != VN_OK) fail_msg("%s", err.text);
    s->sample = in.sample;
    s->direction = vn_input(s->graph, VN_F32, in.sample->shape);
    if (vn_graph_gradient(s->graph, loss, NULL, 1, &in.sample, &s->gradient, &err) != VN_OK)
        fail_msg("%s", err.text);
    if (vn_graph_gradient(s->graph, s->gradient, s->direction, 1, &in.sample, &s->product, &err) !=
        VN_OK)
        fail_msg("%s", err.text);
    s->ref = ref_open(s->graph);
    if (in.timestep && in.timestep->dtype == VN_F32) ref_set(&s->ref, in.timestep, (double[]){3});
    if (in.timestep && in.timestep->dtype == VN_I32) ref_set(&s->ref, in.timestep, (double[]){7});
    if (in.class_labels) ref_set(&s->ref, in.class_labels, (double[]){2});
}

/* The network is a function that can be differentiated twice: Hessian times a direction against
 * differences of the gradient. */
static void second_derivatives(void **state) {
    fixture f;
    second s;
    open_fixture(&f, *state);
    make_batch();
    open_second(&s, &f, 4, 2);
    vn_run run = {.values = f.values};
    enum { MOST = 2 * 4 * 2 };
    size_t n = (size_t)vn_shape_count(&s.sample->shape);
    assert_true(n <= MOST);
    double at[MOST], direction[MOST], product[MOST], above[MOST], step = 1e-4, error = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        at[i] = (double)x[i];
        direction[i] = (double)x[n + i];
    }
    ref_set(&s.ref, s.direction, direction);
    ref_set(&s.ref, s.sample, at);
    ref_run(&s.ref, &run);
    memcpy(product, ref_get(&s.ref, s.product), n * sizeof *product);
    for (int side = 1; side >= -1; side -= 2) {
        double moved[MOST];
        for (size_t i = 0; i < n; i++) moved[i] = at[i] + side * step * direction[i];
        ref_set(&s.ref, s.sample, moved);
        ref_run(&s.ref, &run);
        if (side > 0) memcpy(above, ref_get(&s.ref, s.gradient), n * sizeof *above);
    }
    for (size_t i = 0; i < n; i++) {
        double difference = (above[i] - ref_get(&s.ref, s.gradient)[i]) / (2 * step);
        error += (difference - product[i]) * (difference - product[i]);
        norm += difference * difference;
    }
    assert_true(norm > 0);
    if (!(sqrt(error / norm) < 1e-6)) fail_msg("relative error %.2e", sqrt(error / norm));
    ref_close(&s.ref);
    vn_graph_close(&s.graph);
    close_fixture(&f);
}

/* ---- back ------------------------------------------------------------------------------------ */

static float cotangent[MAX_BATCH * SAMPLE];

static void vjp(vn_runner *r, int64_t n, float *back) {
    vn_err err = {0};
    vn_random_normal(cotangent, VN_COUNT(cotangent), 2, VN_STREAM_TEST, 0, 0);
    if (vn_runner_vjp(r, n, 8, 4, x, times, labels, cotangent, back, &err) != VN_OK)
        fail_msg("%s", err.text);
}

static void vjp_is_the_derivative(void **state) {
    fixture f;
    open_fixture(&f, *state);
    vn_runner *r = open_runner(&f);
    make_batch();
    static float back[MAX_BATCH * SAMPLE];
    vjp(r, 3, back);
    const slope_at at = {f.net, f.values, NULL, 3, 8, 4, x, times, labels};
    const double error = slope_error(&at, cotangent, back);
    vn_runner_close(&r);
    close_fixture(&f);
    expect_slope_error(error);
}

static void a_known_shape_goes_back_without_allocating(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, unet);
    vn_runner *r = open_runner(&f);
    make_batch();
    static float back[MAX_BATCH * SAMPLE];
    must_run(r, 3, 8, 4);
    const int64_t before = alloc_made();
    vjp(r, 3, back); /* planned when it is first asked for */
    const int64_t planned = alloc_made();
    assert_true(planned > before);
    vjp(r, 3, back);
    must_run(r, 3, 8, 4);
    vjp(r, 3, back);
    assert_int_equal(alloc_made(), planned);
    vn_runner_close(&r);
    close_fixture(&f);
}

#define TEST_WITH(function, config)                                                                \
    { #function " of " #config, function, NULL, NULL, (void *)config }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_known_shape_allocates_nothing),
        cmocka_unit_test(memory_does_not_grow_with_the_shapes),
        TEST_WITH(samples_do_not_depend_on_their_batch, unet),
        TEST_WITH(samples_do_not_depend_on_their_batch, mlp),
        TEST_WITH(samples_do_not_depend_on_their_batch, classifier),
        cmocka_unit_test(inputs_are_checked),
        cmocka_unit_test(says_when_memory_runs_out),
        TEST_WITH(dropout_is_for_training_alone, unet),
        TEST_WITH(dropout_is_for_training_alone, mlp),
        TEST_WITH(dropout_is_for_training_alone, classifier),
        TEST_WITH(vjp_is_the_derivative, unet),
        TEST_WITH(vjp_is_the_derivative, mlp),
        TEST_WITH(vjp_is_the_derivative, classifier),
        cmocka_unit_test(a_known_shape_goes_back_without_allocating),
        TEST_WITH(second_derivatives, unet),
        TEST_WITH(second_derivatives, mlp),
        TEST_WITH(second_derivatives, classifier),
        TEST_WITH(second_derivatives, learned),
    };
    return run_under_each_kernel_set(tests, NULL, NULL);
}
