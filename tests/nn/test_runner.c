/* Runners and what every network promises: no allocation for a shape seen before, samples that do
 * not depend on their batch, inputs checked before they are used as indices, dropout in training
 * alone, second derivatives. */
#include "nn/internal.h"
#include "nn/support_slope.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/alloc.h"
#include "support/bound.h"
#include "support/thread_pool.h"
#include "support/kernels.h"
#include "support/reference.h"

/* A network with random weights, and its runner. */
typedef struct fixture {
    vn_net *net;
    vn_values *values;
    vn_device device;
    vn_runner *runner;
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
    "\"block_out_channels\": [4, 8], \"norm_num_groups\": 2, \"attention_head_dim\": 4, "
    "\"dropout\": 0.5}";
static const char pooled[] =
    "{\"_class_name\": \"VaneClassifier\", \"in_channels\": 2, \"num_classes\": 5, "
    "\"block_out_channels\": [4, 8], \"norm_num_groups\": 2, \"attention_head_dim\": 4, "
    "\"pool\": \"attention\", \"sample_size\": [8, 4]}";
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
    *f = (fixture){.device = {kernels, NULL, crew_of(2)}};
    if (vn_net_open(config, &f->net, &err) != VN_OK) fail_msg("%s", err.text);
    json_decref(config);
    if (vn_values_open(vn_net_weights(f->net), &f->device, NULL, &f->values, &err) ||
        vn_values_init(f->values, 3, &err))
        fail_msg("%s", err.text);
    if (vn_runner_open(f->net, &f->device, f->values, &f->runner, &err)) fail_msg("%s", err.text);
}

static void close_fixture(fixture *f) {
    vn_runner_close(&f->runner);
    vn_values_close(&f->values);
    vn_net_close(&f->net);
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

static vn_status forward(const fixture *f, int64_t n, int64_t h, int64_t w, vn_err *err) {
    const batch b = {n, h, w, x, times, labels, NULL};
    return batch_run(f->runner, f->net, &b, y, NULL, err);
}

static void must_run(const fixture *f, int64_t n, int64_t h, int64_t w) {
    vn_err err = {0};
    if (forward(f, n, h, w, &err) != VN_OK) fail_msg("%s", err.text);
}

static int64_t allocations_for(const fixture *f, int64_t n, bool skipped) {
    static const vn_perturb skip[VN_NET_PERTURBS] = {
        {.kind = VN_BLOCKS_SKIPPED, .first = 1, .last = 2}};
    const batch b = {n, 8, 4, x, times, labels, skipped ? skip : NULL};
    const int64_t before = alloc_made();
    vn_err err = {0};
    if (batch_run(f->runner, f->net, &b, y, NULL, &err)) fail_msg("%s", err.text);
    return alloc_made() - before;
}

static void a_known_shape_allocates_nothing(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, unet);
    make_batch();
    for (int k = 0; k < 2; k++) /* as many as are kept, half of them perturbed */
        for (int i = 8; i >= 1; i--) assert_true(allocations_for(&f, i, k) > 0);
    for (int k = 0; k < 2; k++)
        for (int i = 8; i >= 1; i--) assert_int_equal(allocations_for(&f, i, k), 0);
    /* takes the place of the one unused longest, 8 */
    assert_true(allocations_for(&f, 9, false) > 0);
    for (int k = 0; k < 2; k++)
        for (int i = 1; i <= 7 + k; i++) assert_int_equal(allocations_for(&f, i, k), 0);
    assert_true(allocations_for(&f, 8, false) > 0);
    close_fixture(&f);
}

/* What is taken for a batch of n that is new. */
static int64_t bytes_for(const fixture *f, int64_t n) {
    const int64_t before = alloc_bytes();
    must_run(f, n, 16, 16);
    return alloc_bytes() - before;
}

/* A further shape costs its graph and plan, the same for each; its arrays lie where the largest's
 * do. */
static void memory_does_not_grow_with_the_shapes(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, unet);
    make_batch();
    const int64_t largest = bytes_for(&f, 9), plan = bytes_for(&f, 1);
    assert_true(2 * plan <= largest); /* measured: 0.32 to 0.34 of it */
    for (int64_t n = 8; n > 1; n--) assert_true(bytes_for(&f, n) <= plan + plan / 50);
    close_fixture(&f);
}

/* Numbers that the network makes of a sample. */
static size_t out_size(const vn_net *net, int64_t h, int64_t w) {
    const vn_extent extent = {.batch = 1, .height = h, .width = w};
    const vn_net_io *io = vn_net_get_io(net);
    const vn_shape shape = vn_port_shape(&io->output[0], &extent);
    return (size_t)vn_shape_count(&shape);
}

static void samples_do_not_depend_on_their_batch(void **state) {
    fixture f;
    open_fixture(&f, *state);
    make_batch();
    int64_t h = 8, w = 12;
    must_run(&f, 5, h, w);
    vn_feed feed[3];
    const batch first = {1, h, w, x, times, labels, NULL};
    batch_feeds(f.net, &first, feed);
    const size_t size = out_size(f.net, h, w), in = (size_t)vn_shape_count(&feed[0].array.shape);
    float all[5 * 3 * 96], one[3 * 96];
    memcpy(all, y, 5 * size * sizeof *y);
    for (size_t i = 0; i < 5; i++) {
        vn_err err = {0};
        batch b = {1, h, w, x + i * in, times + i, labels + i, NULL};
        if (batch_run(f.runner, f.net, &b, one, NULL, &err) != VN_OK) fail_msg("%s", err.text);
        assert_memory_equal(one, all + i * size, size * sizeof *one);
        /* neither does another time or class leave them as they are */
        float before = one[0];
        b.time = times + (i + 1) % 5;
        batch_run(f.runner, f.net, &b, one, NULL, &err);
        assert_true(fabsf(one[0] - before) > 1e-5f);
        if (!vn_net_labels(vn_net_get_io(f.net))) continue;
        b.time = times + i;
        b.labels = labels + (i + 1) % 5;
        batch_run(f.runner, f.net, &b, one, NULL, &err);
        assert_true(fabsf(one[0] - before) > 1e-5f);
    }
    close_fixture(&f);
}

static void expect_refusal(const fixture *f, int64_t n, int64_t h, int64_t w, const char *words) {
    vn_err err = {0};
    assert_int_equal(forward(f, n, h, w, &err), VN_BAD_ARGUMENT);
    if (!strstr(err.text, words)) fail_msg("\"%s\" lacks \"%s\"", err.text, words);
}

static void inputs_are_checked(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, unet);
    make_batch();
    expect_refusal(&f, 2, 7, 4, "unet2d: images of 7 x 4: both sides must be multiples of 2");
    expect_refusal(&f, 2, -2, 4, "unet2d: a batch of 2 images of -2 x 4 pixels");
    expect_refusal(&f, -1, 8, 4, "a batch of -1");
    labels[1] = 6;
    expect_refusal(&f, 2, 8, 4,
                   "unet2d: class_labels has 6, which is not a whole number in 0 .. 5");
    labels[1] = -1;
    expect_refusal(&f, 2, 8, 4, "class_labels has -1");
    close_fixture(&f);

    open_fixture(&f, learned);
    make_batch();
    times[1] = 9;
    must_run(&f, 2, 3, 4);
    static const float bad[] = {10, -1, 0.5F, NAN};
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        times[1] = bad[i];
        expect_refusal(&f, 2, 3, 4, "timestep has");
    }
    close_fixture(&f);
}

static void says_when_memory_runs_out(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, unet);
    vn_runner_close(&f.runner);
    make_batch();
    const batch b = {2, 4, 4, x, times, labels, NULL};
    alloc_turn t = {.recovers = true}; /* libc's qsort gets by without a buffer */
    while (alloc_next(&t)) {
        vn_err err = {0};
        vn_status status = vn_runner_open(f.net, &f.device, f.values, &f.runner, &err);
        if (!status) status = forward(&f, 2, 4, 4, &err);
        if (!status) status = batch_derive(f.runner, f.net, &b, VN_VJP, x, y, &err);
        if (!status) status = batch_derive(f.runner, f.net, &b, VN_JVP, x, y, &err);
        alloc_hit(&t, status);
        vn_runner_close(&f.runner);
    }
    assert_true(t.refused > 80);
    close_fixture(&f);
}

/* ---- graphs ---------------------------------------------------------------------------------- */

/* Output of the network in training or not, at one run's seed. */
static void run_once(const fixture *f, bool train, uint64_t seed, float *out, size_t count) {
    vn_graph *g = NULL;
    vn_program *p = NULL;
    vn_net_nodes nodes;
    vn_err err = {0};
    const batch b = {2, 8, 8, x, times, labels, NULL};
    vn_net_spec spec = batch_spec(&b);
    spec.train = train;
    vn_feed in[3];
    const int n = batch_feeds(f->net, &b, in);
    vn_program_options o = {.device = &f->device, .n_outputs = 1, .outputs = nodes.out};
    assert_int_equal(vn_graph_open(&g, &err), VN_OK);
    if (vn_net_build(f->net, g, &spec, &nodes, &err) || vn_program_open(g, &o, &p, &err))
        fail_msg("%s", err.text);
    assert_int_equal(vn_net_fill(f->net, p, &nodes, n, in, f->device.pool, &err), VN_OK);
    vn_program_run(p, &(vn_run){.values = f->values, .seed = seed});
    assert_true((size_t)vn_shape_count(&nodes.out[0]->shape) >= count);
    memcpy(out, vn_program_map(p, nodes.out[0]), count * sizeof *out);
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
    vn_net_nodes nodes;
    const vn_net_spec spec = {.extent = {.batch = 1, .height = h, .width = w}};
    assert_int_equal(vn_graph_open(&s->graph, &err), VN_OK);
    if (vn_net_build(f->net, s->graph, &spec, &nodes, &err) != VN_OK) fail_msg("%s", err.text);
    vn_node *loss = vn_unary(s->graph, nodes.out[0], VN_FN_SQUARE);
    vn_node *time = vn_net_in(f->net, &nodes, "timestep"),
            *label = vn_net_in(f->net, &nodes, "class_labels");
    s->sample = vn_net_in(f->net, &nodes, "sample");
    s->direction = vn_input(s->graph, VN_F32, s->sample->shape);
    if (vn_graph_gradient(s->graph, loss, NULL, 1, &s->sample, &s->gradient, &err) != VN_OK)
        fail_msg("%s", err.text);
    if (vn_graph_gradient(s->graph, s->gradient, s->direction, 1, &s->sample, &s->product, &err) !=
        VN_OK)
        fail_msg("%s", err.text);
    s->ref = ref_open(s->graph);
    if (time) ref_set(&s->ref, time, (double[]){time->dtype == VN_F32 ? 3 : 7});
    if (label) ref_set(&s->ref, label, (double[]){2});
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
    enum { MAX_SIZE = 2 * 4 * 2 };
    size_t n = (size_t)vn_shape_count(&s.sample->shape);
    assert_true(n <= MAX_SIZE);
    double at[MAX_SIZE], direction[MAX_SIZE], product[MAX_SIZE], above[MAX_SIZE],
        step = 1e-4, error = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        at[i] = (double)x[i];
        direction[i] = (double)x[n + i];
    }
    ref_set(&s.ref, s.direction, direction);
    ref_set(&s.ref, s.sample, at);
    ref_run(&s.ref, &run);
    memcpy(product, ref_get(&s.ref, s.product), n * sizeof *product);
    for (int side = 1; side >= -1; side -= 2) {
        double moved[MAX_SIZE];
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
    expect_below("second derivative", sqrt(error / norm), 1e-6);
    ref_close(&s.ref);
    vn_graph_close(&s.graph);
    close_fixture(&f);
}

/* ---- back ------------------------------------------------------------------------------------ */

static float cotangent[MAX_BATCH * SAMPLE], tangent[MAX_BATCH * SAMPLE];

static batch of_three(void) {
    return (batch){3, 8, 4, x, times, labels, NULL};
}

static void derive(const fixture *f, vn_want want, const float *direction, float *out) {
    vn_err err = {0};
    const batch b = of_three();
    if (batch_derive(f->runner, f->net, &b, want, direction, out, &err)) fail_msg("%s", err.text);
}

static void make_directions(void) {
    vn_random_normal(cotangent, VN_COUNT(cotangent), 2, VN_STREAM_TEST, 0, 0);
    vn_random_normal(tangent, VN_COUNT(tangent), 2, VN_STREAM_TEST, 1, 0);
}

static void vjp_is_the_derivative(void **state) {
    fixture f;
    open_fixture(&f, *state);
    make_batch();
    make_directions();
    static float back[MAX_BATCH * SAMPLE];
    derive(&f, VN_VJP, cotangent, back);
    const slope_at at = {f.net, f.values, of_three()};
    const double error = slope_error(&at, cotangent, back);
    close_fixture(&f);
    expect_slope_error(error);
}

/* <c, J t> = <J^T c, t>, so that the one product is right if the other is. Each is a sum of a few
 * hundred numbers with the rounding of a pass. */
static void jvp_is_the_transpose_of_vjp(void **state) {
    fixture f;
    open_fixture(&f, *state);
    make_batch();
    make_directions();
    static float back[MAX_BATCH * SAMPLE], along[MAX_BATCH * SAMPLE * 2];
    derive(&f, VN_VJP, cotangent, back);
    derive(&f, VN_JVP, tangent, along);
    const batch b = of_three();
    vn_feed in[3];
    batch_feeds(f.net, &b, in);
    const size_t ins = (size_t)vn_shape_count(&in[0].array.shape), outs = 3 * out_size(f.net, 8, 4);
    double forward_sum = 0, back_sum = 0, norm = 0;
    for (size_t i = 0; i < outs; i++) forward_sum += (double)cotangent[i] * (double)along[i];
    for (size_t i = 0; i < ins; i++) {
        back_sum += (double)back[i] * (double)tangent[i];
        norm += (double)back[i] * (double)back[i];
    }
    close_fixture(&f);
    assert_true(norm > 0);
    expect_below("<u, J v> - <J^T u, v>", fabs(forward_sum - back_sum), SLOPE_BOUND * sqrt(norm));
}

/* A scale goes in with the sample, and by the chain rule into its derivatives. */
static void scales_are_part_of_what_is_differentiated(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, unet);
    make_batch();
    make_directions();
    static float scaled[3 * 64], expected[3 * 96], found[3 * 96], t[3 * 64];
    static const float scale[3] = {0.5F, -2, 1};
    batch b = of_three();
    vn_feed in[3];
    vn_err err = {0};
    const vn_net_spec spec = batch_spec(&b);
    for (int i = 0; i < 3 * 64; i++) {
        scaled[i] = scale[i / 64] * x[i];
        t[i] = scale[i / 64] * tangent[i];
    }
    const int n = batch_feeds(f.net, &b, in);
    in[0].scale = scale;
    b.x = scaled;
    assert_int_equal(batch_run(f.runner, f.net, &b, expected, NULL, &err), VN_OK);
    assert_int_equal(vn_runner_run(f.runner, &spec, n, in, 1, &(vn_fetch){"sample", found}, &err),
                     VN_OK);
    assert_memory_equal(found, expected, sizeof found);
    assert_int_equal(batch_derive(f.runner, f.net, &b, VN_JVP, t, expected, &err), VN_OK);
    assert_int_equal(
        vn_runner_derive(f.runner, &spec, VN_JVP, "sample", n, in, tangent, found, &err), VN_OK);
    assert_memory_equal(found, expected, sizeof found);
    assert_int_equal(batch_derive(f.runner, f.net, &b, VN_VJP, cotangent, expected, &err), VN_OK);
    for (int i = 0; i < 3 * 64; i++) expected[i] *= scale[i / 64];
    assert_int_equal(
        vn_runner_derive(f.runner, &spec, VN_VJP, "sample", n, in, cotangent, found, &err), VN_OK);
    assert_memory_equal(found, expected, 3 * 64 * sizeof *found);
    close_fixture(&f);
}

static void a_known_shape_goes_back_without_allocating(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, unet);
    make_batch();
    make_directions();
    static float back[MAX_BATCH * SAMPLE];
    must_run(&f, 3, 8, 4);
    const int64_t before = alloc_made();
    derive(&f, VN_VJP, cotangent, back); /* planned when it is first asked for */
    const int64_t planned = alloc_made();
    assert_true(planned > before);
    derive(&f, VN_VJP, cotangent, back);
    must_run(&f, 3, 8, 4);
    derive(&f, VN_VJP, cotangent, back);
    assert_int_equal(alloc_made(), planned);
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
        TEST_WITH(jvp_is_the_transpose_of_vjp, unet),
        TEST_WITH(jvp_is_the_transpose_of_vjp, mlp),
        TEST_WITH(jvp_is_the_transpose_of_vjp, classifier),
        TEST_WITH(jvp_is_the_transpose_of_vjp, pooled),
        cmocka_unit_test(scales_are_part_of_what_is_differentiated),
        TEST_WITH(vjp_is_the_derivative, unet),
        TEST_WITH(vjp_is_the_derivative, mlp),
        TEST_WITH(vjp_is_the_derivative, classifier),
        TEST_WITH(vjp_is_the_derivative, pooled),
        cmocka_unit_test(a_known_shape_goes_back_without_allocating),
        TEST_WITH(second_derivatives, unet),
        TEST_WITH(second_derivatives, mlp),
        TEST_WITH(second_derivatives, classifier),
        TEST_WITH(second_derivatives, learned),
    };
    return run_under_each_kernel_set(tests, NULL, NULL);
}
