/* SD3's and Flux's transformers beyond what diffusers answers (test_golden.c): configs and sizes
 * that are refused, what stands for ids that are left out, blocks that are skipped, and attention
 * that is the identity beside a text. */
#include "nn/support_golden.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nn/internal.h"
#include "support/bound.h"
#include "support/kernels.h"

#define CHECK(call)                                                                                \
    do {                                                                                           \
        vn_err err = {0};                                                                          \
        if ((call) != VN_OK) fail_msg("%s", err.text);                                             \
    } while (0)

#define SD3 "\"_class_name\": \"SD3Transformer2DModel\""
#define SMALL                                                                                      \
    SD3 ", \"num_layers\": 2, \"num_attention_heads\": 1, \"attention_head_dim\": 8, "             \
        "\"caption_projection_dim\": 8, \"joint_attention_dim\": 3, \"pooled_projection_dim\": 4"
#define FLUX "\"_class_name\": \"FluxTransformer2DModel\""
#define THIN                                                                                       \
    FLUX ", \"num_layers\": 1, \"num_single_layers\": 1, \"num_attention_heads\": 1, "             \
         "\"attention_head_dim\": 8, \"joint_attention_dim\": 3, \"pooled_projection_dim\": 4"

static vn_status open_text(const char *text, vn_net **net, vn_err *err) {
    json_t *config = json_loads(text, 0, NULL);
    if (!config) fail_msg("no JSON: %s", text);
    const vn_status status = vn_net_open(config, net, err);
    json_decref(config);
    return status;
}

static void configs_are_refused_by_name(void **state) {
    (void)state;
    /* clang-format off */
    static const struct { const char *config, *words; } cases[] = {
        {"{" SMALL ", \"caption_projection_dim\": 12}",
         "sd3: caption_projection_dim is 12; the text's tokens must be as wide as the image's, 8"},
        {"{" SMALL ", \"attention_head_dim\": 6, \"caption_projection_dim\": 6}",
         "sd3: num_attention_heads 1 of attention_head_dim 6 make tokens 6 wide"},
        {"{" SMALL ", \"sample_size\": 3, \"patch_size\": 4}",
         "sd3: sample_size 3 is less than patch_size 4"},
        {"{" SMALL ", \"dual_attention_layers\": [0, 2]}",
         "sd3: dual_attention_layers has 2; there are num_layers 2"},
        {"{" SMALL ", \"dual_attention_layers\": 1}",
         "sd3: dual_attention_layers must be a list of layers"},
        {"{" SMALL ", \"dual_attention_layers\": [-1]}",
         "sd3: dual_attention_layers is -1; it must be in [0, 1023]"},
        {"{" SMALL ", \"qk_norm\": \"rms\"}",
         "sd3: qk_norm: \"rms\" is not one of layer_norm, fp32_layer_norm, rms_norm"},
        {"{" SMALL ", \"pos_embed_max_size\": 0}",
         "sd3: pos_embed_max_size is 0; it must be in [1, 8192]"},
        {"{" SMALL ", \"num_layer\": 3}",
         "sd3: unknown key \"num_layer\"; did you mean \"num_layers\"?"},
        {"{" THIN ", \"axes_dims_rope\": [2, 4, 4]}",
         "flux: axes_dims_rope add up to 10; attention_head_dim is 8"},
        {"{" THIN ", \"axes_dims_rope\": [3, 5]}",
         "flux: axes_dims_rope has 3: pairs are rotated"},
        {"{" THIN ", \"axes_dims_rope\": []}",
         "flux: axes_dims_rope must be a list"},
        {"{" THIN ", \"guidance_embeds\": 1}",
         "flux: guidance_embeds must be true or false"},
        {"{" THIN ", \"in_channels\": 0}",
         "flux: in_channels is 0; it must be in [1, 65536]"},
    };
    /* clang-format on */
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        vn_err err = {0};
        vn_net *net = NULL;
        const vn_status status = open_text(cases[i].config, &net, &err);
        assert_null(net);
        if (status != VN_BAD_FILE || !strstr(err.text, cases[i].words))
            fail_msg("%s\n  gives %d \"%s\", not \"%s\"", cases[i].config, status, err.text,
                     cases[i].words);
    }
}

static void defaults_are_those_of_diffusers(void **state) {
    (void)state;
    static const char *const texts[] = {"{" SD3 "}", "{" FLUX "}"};
    /* sum(p.numel()), with SD3's table of 96 x 96 positions of 1152 numbers */
    static const int64_t parameters[] = {866776384, 11891178560};
    for (size_t i = 0; i < VN_COUNT(texts); i++) {
        vn_net *net = NULL;
        CHECK(open_text(texts[i], &net, &err));
        assert_int_equal(vn_weights_parameters(vn_net_weights(net)), parameters[i]);
        vn_net_close(&net);
    }
}

/* ---- running --------------------------------------------------------------------------------- */

/* The golden file's inputs but for those that begin with `without`; returns how many. */
static int feeds_of(const vn_golden *g, const char *without, vn_feed in[VN_MAX_PORTS]) {
    const vn_net_io *io = vn_net_get_io(g->net);
    int n = 0;
    for (int i = 0; i < io->inputs; i++) {
        const vn_array *t = vn_safetensors_find(g->file, io->input[i].name);
        if (t && (!without || !strstr(t->name, without))) in[n++].array = *t;
    }
    return n;
}

static vn_status run(const vn_net *net, vn_values *values, const vn_perturb *perturb, int n,
                     const vn_feed *in, float *out, vn_err *err) {
    vn_runner *runner = NULL;
    vn_net_spec spec = {0};
    if (perturb) spec.perturb[0] = *perturb;
    vn_status status = vn_net_match(net, &spec.extent, n, in, err);
    if (!status)
        status = vn_runner_open(net, &(vn_device){kernels, NULL, NULL}, values, &runner, err);
    if (!status) status = vn_runner_run(runner, &spec, n, in, 1, &(vn_fetch){"sample", out}, err);
    vn_runner_close(&runner);
    return status;
}

enum { MOST_NUMBERS = 512 };

static void ids_that_are_left_out_are_a_square(void **state) {
    (void)state;
    vn_golden g;
    float with[MOST_NUMBERS], without[MOST_NUMBERS];
    vn_feed in[VN_MAX_PORTS] = {{.scale = NULL}};
    vn_golden_open(&g, "mmdit/flux-guided"); /* of 2 x 2 patches, its text's ids 0 */
    CHECK(run(g.net, g.values, NULL, feeds_of(&g, NULL, in), in, with, &err));
    memset(without, 0, sizeof without);
    CHECK(run(g.net, g.values, NULL, feeds_of(&g, "_ids", in), in, without, &err));
    const size_t count =
        (size_t)vn_shape_count(&vn_safetensors_find(g.file, "output")->shape) * sizeof(float);
    assert_true(count <= sizeof with);
    assert_memory_equal(with, without, count);
    vn_golden_close(&g);
    /* 3 x 4 patches are no square */
    vn_err err = {0};
    vn_golden_open(&g, "mmdit/flux");
    assert_int_equal(run(g.net, g.values, NULL, feeds_of(&g, "_ids", in), in, without, &err),
                     VN_BAD_ARGUMENT);
    assert_string_equal(err.text,
                        "flux: 12 patches are no square image: img_ids must say where each is");
    vn_golden_close(&g);
}

static void images_are_no_larger_than_the_table(void **state) {
    (void)state;
    static const float x[2 * 2 * 14 * 4];
    vn_golden g;
    float out[1];
    vn_feed in[VN_MAX_PORTS] = {{.scale = NULL}};
    vn_err err = {0};
    vn_golden_open(&g, "mmdit/sd3");
    const int n = feeds_of(&g, NULL, in);
    in[0].array.shape = VN_SHAPE(2, 2, 14, 4);
    in[0].array.dtype = VN_F32;
    in[0].array.data = x;
    assert_int_equal(run(g.net, g.values, NULL, n, in, out, &err), VN_BAD_ARGUMENT);
    assert_string_equal(err.text, "sd3: images of 14 x 4; it takes up to 12 on a side");
    vn_golden_close(&g);
}

/* ---- skipped blocks -------------------------------------------------------------------------- */

/* The weights of `from` that are left when block `skipped` of `list` is taken out of the config. */
static void without_block(const vn_golden *g, const char *list, const char *key, int skipped,
                          vn_net **net, vn_values **values) {
    json_t *config = json_deep_copy(vn_net_config(g->net));
    const int count = (int)json_integer_value(json_object_get(config, key));
    json_object_set_new(config, key, json_integer(count - 1));
    CHECK(vn_net_open(config, net, &err));
    json_decref(config);
    const vn_weights *w = vn_net_weights(*net), *whole = vn_net_weights(g->net);
    CHECK(vn_values_open(w, &(vn_device){kernels, NULL, NULL}, NULL, values, &err));
    const size_t length = strlen(list);
    for (size_t i = 0; i < vn_weights_count(w); i++) {
        const vn_weight *weight = vn_weights_at(w, i);
        char name[256];
        snprintf(name, sizeof name, "%s", weight->name);
        if (!strncmp(name, list, length) && name[length] - '0' >= skipped) name[length]++;
        const vn_weight *from = vn_weights_find(whole, name);
        if (!from) fail_msg("no weight %s", name);
        vn_values_write(*values, i, vn_values_at(g->values, from->index));
    }
}

static void skipped_blocks_are_as_if_they_were_not(void **state) {
    (void)state;
    static const struct {
        const char *golden, *list, *key;
        int block, layer;
    } cases[] = {
        {"mmdit/sd3", "transformer_blocks.", "num_layers", 0, 0},
        {"mmdit/flux-guided", "transformer_blocks.", "num_layers", 1, 1},
        {"mmdit/flux-guided", "single_transformer_blocks.", "num_single_layers", 1, 3},
    };
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        vn_golden g;
        vn_net *net = NULL;
        vn_values *values = NULL;
        float skipped[MOST_NUMBERS], shorter[MOST_NUMBERS];
        vn_feed in[VN_MAX_PORTS] = {{.scale = NULL}};
        vn_golden_open(&g, cases[i].golden);
        const int n = feeds_of(&g, NULL, in);
        const vn_perturb skip = {
            .kind = VN_BLOCKS_SKIPPED, .first = cases[i].layer, .last = cases[i].layer};
        CHECK(run(g.net, g.values, &skip, n, in, skipped, &err));
        without_block(&g, cases[i].list, cases[i].key, cases[i].block, &net, &values);
        CHECK(run(net, values, NULL, n, in, shorter, &err));
        const size_t count = (size_t)vn_shape_count(&vn_safetensors_find(g.file, "output")->shape);
        assert_true(count <= MOST_NUMBERS);
        assert_memory_equal(skipped, shorter, count * sizeof(float));
        vn_values_close(&values);
        vn_net_close(&net);
        vn_golden_close(&g);
    }
}

/* ---- identity beside a text ------------------------------------------------------------------ */

/* One head of one text token and two of the grid, by the definition, in double. */
static void identity_of_the_grid_still_sees_the_text(void **state) {
    (void)state;
    enum { T = 3, D = 2 };
    static const float q[T * D] = {1, -2, 0.5F, 3, -1, 0.25F},
                             k[T * D] = {0.5F, 1, -2, 1, 2, 0.75F},
                             v[T * D] = {3, -1, 2, 5, -4, 0.5F};
    static const bool sees[T][T] = {{true, true, true}, {true, true, false}, {true, false, true}};
    const vn_perturb identity[VN_NET_PERTURBS] = {{.kind = VN_ATTENTION_IDENTITY}};
    const vn_heads heads = {
        .count = 1, .scale = 0.5, .prefix = 1, .rows = 1, .columns = 2, .text = true};
    const vn_shape shape = VN_SHAPE(1, T, D);
    vn_graph *g = NULL;
    vn_program *program = NULL;
    float out[T * D];
    CHECK(vn_graph_open(&g, &err));
    const vn_scope s = {.g = g, .net = "test", .perturb = identity};
    vn_node *y = vn_self_attention(&s, vn_const(g, VN_F32, shape, q), vn_const(g, VN_F32, shape, k),
                                   vn_const(g, VN_F32, shape, v), &heads);
    CHECK(vn_graph_status(g, &err));
    const vn_program_options options = {
        .device = &(vn_device){kernels, NULL, NULL}, .n_outputs = 1, .outputs = &y};
    CHECK(vn_program_open(g, &options, &program, &err));
    vn_program_run(program, &(vn_run){0});
    vn_program_read(program, y, out);
    for (int i = 0; i < T; i++) {
        double weight[T], sum = 0;
        for (int j = 0; j < T; j++) {
            double score = 0;
            for (int d = 0; d < D; d++) score += (double)q[i * D + d] * (double)k[j * D + d];
            sum += weight[j] = sees[i][j] ? exp(0.5 * score) : 0;
        }
        for (int d = 0; d < D; d++) {
            double want = 0;
            for (int j = 0; j < T; j++) want += weight[j] / sum * (double)v[j * D + d];
            expect_small(fabs((double)out[i * D + d] - want), 4e-6); /* a few roundings of 5 */
        }
    }
    vn_program_close(&program);
    vn_graph_close(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configs_are_refused_by_name),
        cmocka_unit_test(defaults_are_those_of_diffusers),
        cmocka_unit_test(ids_that_are_left_out_are_a_square),
        cmocka_unit_test(images_are_no_larger_than_the_table),
        cmocka_unit_test(skipped_blocks_are_as_if_they_were_not),
        cmocka_unit_test(identity_of_the_grid_still_sees_the_text),
    };
    return run_under_each_kernel_set(tests, NULL, NULL);
}
