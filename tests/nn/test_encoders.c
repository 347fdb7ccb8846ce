/* Text encoders and a decoder against transformers (golden/encoders.py, llama_random.py), on every
 * kernel set that runs here: all outputs, and the gradient of the first by each weight; and configs
 * that are refused. */
#include "nn/support_golden.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/kernels.h"
#include "support/thread_pool.h"

/* Relative, in the norm of a tensor. Measured on all kernel sets: at most 5e-7, and 2.2e-5 of a
 * gradient that is zero but for rounding (attention does not see the bias of keys), else 2e-6. */
#define OUTPUT_TOLERANCE   1e-6
#define GRADIENT_TOLERANCE 5e-5
#define FLOOR              1e-3 /* of the largest norm: a gradient may be zero but for rounding */

static const char *const cases[] = {"encoders/clip",
                                    "encoders/clip-largest",
                                    "encoders/clip-projection",
                                    "encoders/text",
                                    "encoders/t5",
                                    "encoders/t5-gated",
                                    "llama/grouped",
                                    "llama/tied"};

#define CHECK(call)                                                                                \
    do {                                                                                           \
        vn_err err = {0};                                                                          \
        if ((call) != VN_OK) fail_msg("%s", err.text);                                             \
    } while (0)

static double norm_of(const float *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

static double relative(const float *found, const float *expected, size_t n, double floor) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = (double)found[i] - (double)expected[i];
        if (!isfinite(d)) return HUGE_VAL;
        sum += d * d;
    }
    return sqrt(sum) / fmax(norm_of(expected, n), floor);
}

/* The file's arrays for the inputs; returns how many. */
static int feeds_of(const vn_golden *g, vn_feed in[VN_MAX_PORTS], vn_extent *extent) {
    const vn_net_io *io = vn_net_get_io(g->net);
    int n = 0;
    for (int i = 0; i < io->inputs; i++) {
        const vn_array *t = vn_safetensors_find(g->file, io->input[i].name);
        assert_non_null(t);
        in[n++] = (vn_feed){.array = *t};
    }
    CHECK(vn_net_match(g->net, extent, n, in, &err));
    return n;
}

static void outputs_are_those_of_transformers(void **state) {
    vn_golden g;
    vn_golden_open(&g, *state);
    const vn_net_io *io = vn_net_get_io(g.net);
    vn_feed in[VN_MAX_PORTS] = {0};
    vn_net_spec spec = {0};
    const int n = feeds_of(&g, in, &spec.extent);
    vn_runner *runner = NULL;
    CHECK(vn_runner_open(g.net, &(vn_device){kernels, NULL, crew_of(2)}, g.values, &runner, &err));
    for (int i = 0; i < io->outputs; i++) {
        char name[128];
        vn_shape shape;
        snprintf(name, sizeof name, "out.%s", io->output[i].name);
        float *expected = vn_golden_read(&g, name, &shape);
        if (!expected) fail_msg("the file has no %s", name);
        const vn_shape own = vn_port_shape(&io->output[i], &spec.extent);
        assert_true(vn_shape_equal(&shape, &own));
        const size_t count = (size_t)vn_shape_count(&shape);
        float *y = vn_alloc(count, sizeof *y);
        assert_non_null(y);
        CHECK(vn_runner_run(runner, &spec, n, in, 1, &(vn_fetch){io->output[i].name, y}, &err));
        const double error = relative(y, expected, count, 0);
        print_message("%-28s %-20s %.1e\n", (char *)*state, io->output[i].name, error);
        if (!(error < OUTPUT_TOLERANCE))
            fail_msg("%s is off by %.2e, of at most %.1e", name, error, OUTPUT_TOLERANCE);
        vn_free(expected);
        vn_free(y);
    }
    vn_runner_close(&runner);
    vn_golden_close(&g);
}

/* ---- gradients ------------------------------------------------------------------------------- */

static double largest_gradient(const vn_golden *g) {
    double largest = 0;
    for (size_t i = 0; i < vn_safetensors_count(g->file); i++) {
        const char *name = vn_safetensors_at(g->file, i)->name;
        vn_shape shape;
        if (strncmp(name, "grad.", 5) != 0) continue;
        float *values = vn_golden_read(g, name, &shape);
        largest = fmax(largest, norm_of(values, (size_t)vn_shape_count(&shape)));
        vn_free(values);
    }
    assert_true(largest > 0);
    return largest;
}

static double gradient_error(const vn_golden *g, const vn_weight *weight, const float *grads,
                             double floor) {
    char name[256];
    vn_shape shape;
    snprintf(name, sizeof name, "grad.%s", weight->name);
    float *expected = vn_golden_read(g, name, &shape),
          *file = vn_alloc(weight->count, sizeof *file);
    if (!expected || !file) fail_msg("the file has no %s", name);
    vn_weight_to_file(weight, grads + weight->offset, file);
    const size_t kept = (size_t)shape.dim[0], stride = (weight->count + 399) / 400;
    assert_int_equal(kept, (weight->count + stride - 1) / stride);
    for (size_t i = 0; i < kept; i++) file[i] = file[i * stride];
    const double error = relative(file, expected, kept, floor);
    vn_free(expected);
    vn_free(file);
    return error;
}

static void gradients_are_those_of_transformers(void **state) {
    vn_golden g;
    vn_golden_open(&g, *state);
    const vn_device device = {kernels, NULL, crew_of(2)};
    vn_weights *w = vn_net_weights(g.net);
    vn_feed in[VN_MAX_PORTS] = {0};
    vn_net_spec spec = {0};
    const int n = feeds_of(&g, in, &spec.extent);
    vn_graph *graph = NULL;
    vn_program *program = NULL;
    vn_net_nodes nodes;
    vn_gradients by = {.weights = w, .frozen = true};
    CHECK(vn_graph_open(&graph, &err));
    CHECK(vn_net_build(g.net, graph, &spec, &nodes, &err));
    vn_node *cotangent = vn_input(graph, VN_F32, nodes.out[0]->shape);
    CHECK(vn_gradients_open(&by, nodes.out[0], cotangent, &err));
    const vn_program_options options = {.device = &device,
                                        .n_outputs = 1,
                                        .outputs = nodes.out,
                                        .n_grads = by.n,
                                        .grads = by.node,
                                        .grad_offset = by.offset};
    CHECK(vn_program_open(graph, &options, &program, &err));
    CHECK(vn_net_fill(g.net, program, &nodes, n, in, NULL, &err));
    float *direction = vn_golden_read(&g, "cotangent", NULL),
          *grads = vn_calloc(vn_weights_floats(w), sizeof *grads);
    assert_true(direction && grads);
    vn_program_write(program, cotangent, direction);
    vn_program_run(program, &(vn_run){.values = g.values, .grads = grads});
    const double floor = FLOOR * largest_gradient(&g);
    double worst = 0;
    for (size_t i = 0; i < vn_weights_count(w); i++) {
        const double error = gradient_error(&g, vn_weights_at(w, i), grads, floor);
        worst = fmax(worst, error);
        if (!(error < GRADIENT_TOLERANCE))
            fail_msg("gradient of %s is off by %.2e, of at most %.1e", vn_weights_at(w, i)->name,
                     error, GRADIENT_TOLERANCE);
    }
    print_message("%-28s gradients %.1e\n", (char *)*state, worst);
    vn_free(direction);
    vn_free(grads);
    vn_program_close(&program);
    vn_gradients_close(&by);
    vn_graph_close(&graph);
    vn_golden_close(&g);
}

/* ---- a mask that is left out ----------------------------------------------------------------- */

/* Is one of ones. */
static void all_tokens_are_seen_without_a_mask(void **state) {
    (void)state;
    vn_golden g;
    vn_golden_open(&g, "encoders/t5");
    vn_feed in[VN_MAX_PORTS] = {0};
    vn_net_spec spec = {0};
    feeds_of(&g, in, &spec.extent);
    const size_t tokens = (size_t)(spec.extent.batch * spec.extent.tokens),
                 count =
                     tokens *
                     (size_t)vn_net_output(vn_net_get_io(g.net), "last_hidden_state")->shape.dim[2];
    int32_t *ones = vn_alloc(tokens, sizeof *ones);
    float *y = vn_alloc(3 * count, sizeof *y);
    assert_true(ones && y);
    for (size_t i = 0; i < tokens; i++) ones[i] = 1;
    const vn_feed masks[] = {{.array = {"attention_mask", VN_I32,
                                        VN_SHAPE(spec.extent.batch, spec.extent.tokens), ones}},
                             in[1]};
    vn_runner *runner = NULL;
    CHECK(vn_runner_open(g.net, &(vn_device){kernels, NULL, crew_of(2)}, g.values, &runner, &err));
    for (int i = 0; i < 3; i++) {
        if (i < 2) in[1] = masks[i];
        CHECK(vn_runner_run(runner, &spec, i < 2 ? 2 : 1, in, 1,
                            &(vn_fetch){"last_hidden_state", y + (size_t)i * count}, &err));
    }
    assert_memory_equal(y + 2 * count, y, count * sizeof *y);
    assert_memory_not_equal(y + count, y, count * sizeof *y);
    vn_runner_close(&runner);
    vn_free(ones);
    vn_free(y);
    vn_golden_close(&g);
}

/* ---- configs --------------------------------------------------------------------------------- */

static void configs_are_refused_by_name(void **state) {
    (void)state;
#define CLIP "{\"architectures\":[\"CLIPTextModel\"],"
#define TEXT "{\"_class_name\":\"VaneTextEncoder\","
#define T5   "{\"architectures\":[\"T5EncoderModel\"],"
#define GPT  "{\"architectures\":[\"LlamaForCausalLM\"],"
    static const struct {
        const char *config, *words;
    } refused[] = {
        {"{\"architectures\":[\"BertModel\"]}", "BertModel"},
        {"{\"architectures\":[]}", "no \"_class_name\""},
        {CLIP "\"hidden_sizes\":8}", "clip-text: unknown key \"hidden_sizes\"; did you mean"},
        {CLIP "\"hidden_size\":10,\"num_attention_heads\":3}",
         "clip-text: hidden_size 10 does not divide into 3 heads"},
        {CLIP "\"hidden_act\":\"gelu_10\"}", "hidden_act"},
        {CLIP "\"vocab_size\":50,\"eos_token_id\":[7]}", "clip-text: eos_token_id is not one id"},
        {CLIP "\"is_decoder\":true}", "clip-text: with is_decoder it is another network"},
        {"{\"architectures\":[\"CLIPTextModelWithProjection\"],\"projection_dim\":0}",
         "clip-text-projected: "},
        {TEXT "\"width\":10,\"heads\":4}", "text: width 10 does not divide into 4 heads"},
        {TEXT "\"vocab_size\":256}", "text: pad_token_id is 256; vocab_size is 256"},
        {TEXT "\"layer\":3}", "text: unknown key \"layer\"; did you mean \"layers\"?"},
        {T5 "\"feed_forward_proj\":\"gated-xelu\"}", "t5-encoder: feed_forward_proj"},
        {T5 "\"feed_forward_proj\":\"gated-gelu\",\"dense_act_fn\":\"relu\"}",
         "t5-encoder: dense_act_fn or is_gated_act are not those of feed_forward_proj"},
        {T5 "\"relative_attention_max_distance\":8}",
         "t5-encoder: relative_attention_max_distance 8; 32 buckets need more than 8"},
        {T5 "\"relative_attention_num_buckets\":3}", "relative_attention_num_buckets"},
        {GPT "\"hidden_size\":10,\"num_attention_heads\":3}",
         "gpt: hidden_size 10 does not divide into 3 heads"},
        {GPT "\"num_key_value_heads\":5}", "gpt: num_attention_heads 32 do not divide"},
        {GPT "\"head_dim\":7}", "gpt: heads of 7 numbers; rotary positions need an even number"},
        {GPT "\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":2}}",
         "gpt: rope_type \"yarn\" is not supported"},
        {GPT "\"rope_parameters\":{\"partial_rotary_factor\":0.5}}",
         "gpt: rotary positions with \"partial_rotary_factor\" are not supported"},
        {GPT "\"rope_parameters\":{\"rope_theta\":0}}", "gpt: rope_theta is not a number"},
        {GPT "\"hiden_act\":\"silu\"}", "unknown key \"hiden_act\"; did you mean"},
        {T5 "\"pruned_heads\":{\"0\":[1]}}", "t5-encoder: with pruned_heads it is another network"},
    };
    for (size_t i = 0; i < VN_COUNT(refused); i++) {
        vn_err err = {0};
        vn_net *net = NULL;
        json_t *config = json_loads(refused[i].config, 0, NULL);
        assert_non_null(config);
        assert_int_not_equal(vn_net_open(config, &net, &err), VN_OK);
        if (!strstr(err.text, refused[i].words))
            fail_msg("'%s' does not say '%s'", err.text, refused[i].words);
        assert_null(net);
        json_decref(config);
    }
}

/* A text longer than the positions; training with a dropout that is not to be had. */
static void calls_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *path, *words;
        vn_net_spec spec;
    } refused[] = {
        {"encoders/clip",
         "clip-text: embeddings: texts of 10 tokens; it takes up to 9",
         {.extent = {.batch = 1, .tokens = 10}}},
        {"encoders/t5",
         "t5-encoder: dropout_rate 0.1",
         {.extent = {.batch = 1, .tokens = 4}, .train = true}},
        {"encoders/t5",
         "texts of 8193 tokens; it takes up to 8192",
         {.extent = {.batch = 1, .tokens = 8193}}},
    };
    for (size_t i = 0; i < VN_COUNT(refused); i++) {
        vn_golden g;
        vn_err why = {0};
        vn_graph *graph = NULL;
        vn_net_nodes nodes;
        vn_golden_open(&g, refused[i].path);
        CHECK(vn_graph_open(&graph, &err));
        assert_int_equal(vn_net_build(g.net, graph, &refused[i].spec, &nodes, &why),
                         VN_BAD_ARGUMENT);
        if (!strstr(why.text, refused[i].words))
            fail_msg("'%s' does not say '%s'", why.text, refused[i].words);
        vn_graph_close(&graph);
        vn_golden_close(&g);
    }
}

/* The small one is built for training, with dropout, and begins with weights that answer; texts of
 * nothing but padding have a mean of 0. */
static void the_small_one_begins_small_and_trains(void **state) {
    (void)state;
    vn_net *net = NULL;
    vn_graph *graph = NULL;
    vn_net_nodes nodes;
    vn_values *values = NULL;
    vn_runner *runner = NULL;
    const vn_device device = {kernels, NULL, crew_of(2)};
    json_t *config =
        json_pack("{s:s, s:i, s:f}", "_class_name", "VaneTextEncoder", "width", 32, "dropout", 0.1);
    assert_non_null(config);
    CHECK(vn_net_open(config, &net, &err));
    json_decref(config);
    CHECK(vn_graph_open(&graph, &err));
    const vn_net_spec train = {.extent = {.batch = 2, .tokens = 7}, .train = true};
    const uint32_t sites = vn_graph_site(graph);
    CHECK(vn_net_build(net, graph, &train, &nodes, &err));
    assert_int_equal(vn_graph_site(graph) - sites, 8); /* two of dropout in each of four layers */
    vn_graph_close(&graph);
    CHECK(vn_values_open(vn_net_weights(net), &device, NULL, &values, &err));
    CHECK(vn_values_init(values, 0, &err));
    CHECK(vn_runner_open(net, &device, values, &runner, &err));
    static const int32_t ids[2][3] = {{257, 'a', 258}, {256, 256, 256}};
    const vn_feed in = {.array = {"input_ids", VN_I32, VN_SHAPE(2, 3), ids}};
    float y[2][32];
    CHECK(vn_runner_run(runner, &(vn_net_spec){.extent = {.batch = 2, .tokens = 3}}, 1, &in, 1,
                        &(vn_fetch){"pooler_output", y[0]}, &err));
    for (size_t i = 0; i < 32; i++) assert_true(isfinite(y[0][i]) && y[1][i] == 0);
    assert_true(norm_of(y[0], 32) > 1);
    vn_runner_close(&runner);
    vn_values_close(&values);
    vn_net_close(&net);
}

int main(void) {
    enum { EACH = VN_COUNT(cases) };
    struct CMUnitTest tests[2 * EACH + 4] = {
        cmocka_unit_test(all_tokens_are_seen_without_a_mask),
        cmocka_unit_test(configs_are_refused_by_name), cmocka_unit_test(calls_are_refused_by_name),
        cmocka_unit_test(the_small_one_begins_small_and_trains)};
    for (size_t i = 0; i < EACH; i++) {
        tests[4 + 2 * i] = (struct CMUnitTest){cases[i], outputs_are_those_of_transformers, NULL,
                                               NULL, (void *)cases[i]};
        tests[5 + 2 * i] = (struct CMUnitTest){cases[i], gradients_are_those_of_transformers, NULL,
                                               NULL, (void *)cases[i]};
    }
    return run_under_each_kernel_set(tests, NULL, NULL);
}
