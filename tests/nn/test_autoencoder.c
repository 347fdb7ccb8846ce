/* Autoencoders beyond what is decoded as a whole (test_golden.c): encoder, decoder and codebook by
 * themselves against diffusers, gradients against slopes, the clamp of the variance, configs that
 * are refused. */
#include "nn/support_golden.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nn/internal.h"
#include "nn/support_config.h"
#include "nn/support_slope.h"
#include "support/bound.h"
#include "support/kernels.h"
#include "support/thread_pool.h"

#define CHECK(call)                                                                                \
    do {                                                                                           \
        vn_err err = {0};                                                                          \
        if ((call) != VN_OK) fail_msg("%s", err.text);                                             \
    } while (0)

/* Measured on all kernel sets: at most 9e-7. */
#define OUTPUT_TOLERANCE 4e-6

static const char *const cases[] = {
    "autoencoder/kl",         "autoencoder/kl-plain",  "autoencoder/kl-statistics",
    "autoencoder/tiny",       "autoencoder/tiny-four", "autoencoder/vq",
    "autoencoder/vq-spatial", "autoencoder/fsq",
};

/* ---- the halves ------------------------------------------------------------------------------ */

/* What half of a network makes of a tensor of the file, fed as `as`, in the file's order. */
static float *run_half(const vn_golden *g, vn_half half, const char *tensor, const char *as,
                       const char *output) {
    vn_net *net = NULL;
    vn_runner *runner = NULL;
    vn_net_spec spec = {0};
    const vn_array *given = vn_safetensors_find(g->file, tensor);
    assert_non_null(given);
    vn_feed in = {.array = *given};
    in.array.name = as;
    CHECK(vn_net_open_half(g->net, half, &net, &err));
    CHECK(vn_net_match(net, &spec.extent, 1, &in, &err));
    const vn_shape shape = vn_port_shape(vn_net_output(vn_net_get_io(net), output), &spec.extent);
    float *y = vn_alloc((size_t)vn_shape_count(&shape), sizeof *y);
    assert_non_null(y);
    const vn_device device = {kernels, NULL, crew_of(2)};
    CHECK(vn_runner_open(net, &device, g->values, &runner, &err));
    CHECK(vn_runner_run(runner, &spec, 1, &in, 1, &(vn_fetch){output, y}, &err));
    vn_runner_close(&runner);
    vn_net_close(&net);
    return y;
}

/* Frees `found`; relative, in the norm. */
static double error_of(const vn_golden *g, float *found, const char *tensor) {
    vn_shape shape;
    float *expected = vn_golden_read(g, tensor, &shape);
    double off = 0, norm = 0;
    assert_non_null(expected);
    for (int64_t i = 0; i < vn_shape_count(&shape); i++) {
        off += pow((double)found[i] - (double)expected[i], 2);
        norm += pow((double)expected[i], 2);
    }
    vn_free(expected);
    vn_free(found);
    return sqrt(off / norm);
}

static void encodes_as_diffusers(void **state) {
    static const char *const outputs[] = {"mean", "logvar", "latents", "codes"};
    vn_golden g;
    vn_golden_open(&g, *state);
    int compared = 0;
    for (size_t i = 0; i < VN_COUNT(outputs); i++) {
        if (!vn_safetensors_find(g.file, outputs[i])) continue;
        const double error =
            error_of(&g, run_half(&g, VN_HALF_ENCODER, "sample", "sample", outputs[i]), outputs[i]);
        expect_below_as(error, strcmp(outputs[i], "codes") ? OUTPUT_TOLERANCE : 0, "%s, %s",
                        (char *)*state, outputs[i]);
        compared++;
    }
    assert_true(compared > 0);
    vn_golden_close(&g);
}

static void decodes_as_diffusers(void **state) {
    vn_golden g;
    vn_golden_open(&g, *state);
    const char *latents = vn_safetensors_find(g.file, "mean") ? "mean" : "latents";
    const double error =
        error_of(&g, run_half(&g, VN_HALF_DECODER, latents, "sample", "decoded"), "output");
    expect_below_as(error, OUTPUT_TOLERANCE, "%s, decoded", (char *)*state);
    if (vn_safetensors_find(g.file, "codes")) {
        const double looked_up =
            error_of(&g, run_half(&g, VN_HALF_LOOKUP, "codes", "codes", "decoded"), "output");
        expect_below_as(looked_up, OUTPUT_TOLERANCE, "%s, looked up", (char *)*state);
    } else {
        vn_err err = {0};
        vn_net *net = NULL;
        assert_int_equal(vn_net_open_half(g.net, VN_HALF_LOOKUP, &net, &err), VN_UNSUPPORTED);
        assert_non_null(strstr(err.text, "has no codebook"));
    }
    vn_golden_close(&g);
}

/* ---- gradients ------------------------------------------------------------------------------- */

/* Of the decoder, as restoration asks for it, by the latents; a codebook's is straight through, so
 * it is no slope. */
static void gradients_are_slopes(void **state) {
    static const char *const of[] = {"autoencoder/kl", "autoencoder/kl-plain"};
    (void)state;
    double worst = 0;
    for (size_t k = 0; k < VN_COUNT(of); k++) {
        vn_golden g;
        vn_golden_open(&g, of[k]);
        vn_shape shape;
        float *z = vn_golden_read(&g, "mean", &shape);
        vn_net *net = NULL;
        CHECK(vn_net_open_half(g.net, VN_HALF_DECODER, &net, &err));
        const slope_at at = {
            net,
            g.values,
            {.n = shape.dim[0], .height = shape.dim[2], .width = shape.dim[3], .x = z}};
        const vn_net_spec spec = batch_spec(&at.batch);
        const vn_shape whole =
            vn_port_shape(vn_net_output(vn_net_get_io(net), "decoded"), &spec.extent);
        const size_t count = (size_t)vn_shape_count(&whole);
        float *c = vn_alloc(count, sizeof *c),
              *back = vn_alloc((size_t)vn_shape_count(&shape), sizeof *back);
        assert_true(c && back);
        vn_random_normal(c, count, 5, VN_STREAM_TEST, 0, 0);
        vn_runner *runner = NULL;
        const vn_feed in = {
            .array = {.name = "sample", .dtype = VN_F32, .shape = shape, .data = z}};
        CHECK(
            vn_runner_open(net, &(vn_device){kernels, NULL, crew_of(2)}, g.values, &runner, &err));
        CHECK(vn_runner_derive(runner, &spec, VN_VJP, "decoded", 1, &in, c, back, &err));
        worst = fmax(worst, slope_error(&at, c, back));
        vn_runner_close(&runner);
        vn_net_close(&net);
        vn_free(c);
        vn_free(back);
        vn_free(z);
        vn_golden_close(&g);
    }
    /* four times as many roundings follow upon each other as SLOPE_BOUND is for */
    expect_below("gradient, of its norm", worst, 2 * SLOPE_BOUND);
}

/* ---- AutoencoderKL --------------------------------------------------------------------------- */

static void the_variance_is_clamped(void **state) {
    static const float bias[] = {1000, -1000};
    static const float bound[] = {20, -30};
    (void)state;
    vn_golden g;
    vn_golden_open(&g, "autoencoder/kl");
    const vn_weights *w = vn_net_weights(g.net);
    size_t at = 0;
    while (strcmp(vn_weights_at(w, at)->name, "quant_conv.bias")) at++;
    vn_shape shape;
    float *mean = vn_golden_read(&g, "mean", &shape);
    const int64_t channels = shape.dim[1], count = vn_shape_count(&shape);
    for (size_t k = 0; k < VN_COUNT(bias); k++) {
        float values[64] = {0};
        for (int64_t i = channels; i < 2 * channels; i++) values[i] = bias[k];
        vn_values_write(g.values, at, values);
        float *logvar = run_half(&g, VN_HALF_ENCODER, "sample", "sample", "logvar");
        /* what is beyond is taken away again: of a thousand a rounding is 3e-5 */
        for (int64_t i = 0; i < count; i++)
            expect_below("logvar", fabs((double)(logvar[i] - bound[k])), 2 * 6.2e-5);
        vn_free(logvar);
    }
    vn_free(mean);
    vn_golden_close(&g);
}

/* That of Stable Diffusion. */
static void parameters_are_those_of_stable_diffusion(void **state) {
    (void)state;
    vn_net *net = must_open(
        "{\"_class_name\": \"AutoencoderKL\", \"down_block_types\": [\"DownEncoderBlock2D\", "
        "\"DownEncoderBlock2D\", \"DownEncoderBlock2D\", \"DownEncoderBlock2D\"], "
        "\"up_block_types\": [\"UpDecoderBlock2D\", \"UpDecoderBlock2D\", \"UpDecoderBlock2D\", "
        "\"UpDecoderBlock2D\"], \"block_out_channels\": [128, 256, 512, 512], "
        "\"layers_per_block\": 2, \"sample_size\": 512}");
    assert_int_equal(vn_weights_parameters(vn_net_weights(net)), 83653863);
    assert_int_equal(vn_weights_count(vn_net_weights(net)), 248);
    const vn_latents *latents = &vn_net_get_io(net)->latents;
    assert_true(latents->channels == 4 && latents->factor == 8 && latents->tile == 512);
    vn_net_close(&net);
}

/* ---- configs --------------------------------------------------------------------------------- */

#define KL                                                                                         \
    "{\"_class_name\": \"AutoencoderKL\", \"norm_num_groups\": 2, \"block_out_channels\": [4], "
#define TINY "{\"_class_name\": \"AutoencoderTiny\", "
#define VQ   "{\"_class_name\": \"VQModel\", \"norm_num_groups\": 2, \"block_out_channels\": [32], "
#define FSQ                                                                                        \
    "{\"_class_name\": \"VaneFSQModel\", \"norm_num_groups\": 2, \"block_out_channels\": [32], "

static void configs_are_refused_by_name(void **state) {
    (void)state;
    /* clang-format off */
    static const struct { const char *config; vn_status status; const char *words; } refused[] = {
        {KL "\"latent_channel\": 4}", VN_BAD_FILE,
         "autoencoder-kl: unknown key \"latent_channel\"; did you mean \"latent_channels\"?"},
        {KL "\"down_block_types\": [\"DownBlock2D\"]}", VN_BAD_FILE,
         "down_block_types: \"DownBlock2D\" is not one of DownEncoderBlock2D, "
         "AttnDownEncoderBlock2D"},
        {KL "\"up_block_types\": [\"UpDecoderBlock2D\", \"UpDecoderBlock2D\"]}", VN_BAD_FILE,
         "must be of one length; they have 1, 2 and 1 entries"},
        {KL "\"scaling_factor\": 0}", VN_BAD_FILE, "autoencoder-kl: scaling_factor must not be 0"},
        {KL "\"latents_mean\": [0, 0, 0, 0]}", VN_BAD_FILE,
         "latents_mean and latents_std have 4 and 0 entries"},
        {KL "\"latents_mean\": [0, 0], \"latents_std\": [1, 1]}", VN_BAD_FILE,
         "one for each of the 4 latent_channels"},
        {KL "\"latents_mean\": [0, 0, 0, 0], \"latents_std\": [1, 1, 0, 1]}", VN_BAD_FILE,
         "latents_std is 0"},
        {KL "\"latents_mean\": 1}", VN_BAD_FILE, "latents_mean must be a list of numbers"},
        {KL "\"norm_num_groups\": 3}", VN_BAD_FILE,
         "encoder.down_blocks.0.resnets.0: norm1 cannot split 4 channels into 3 groups"},
        {KL "\"act_fn\": \"tanh\"}", VN_BAD_FILE, "act_fn: \"tanh\" is not one of silu"},
        {TINY "\"num_encoder_blocks\": [1]}", VN_BAD_FILE,
         "encoder_block_out_channels and num_encoder_blocks must be of one length; they have 4 and "
         "1 entries"},
        {TINY "\"upsample_fn\": \"bilinear\"}", VN_UNSUPPORTED,
         "upsample_fn: \"bilinear\" is not supported; vane enlarges by \"nearest\""},
        {TINY "\"block_out_channels\": [64]}", VN_BAD_FILE,
         "block_out_channels is not decoder_block_out_channels"},
        {TINY "\"decoder_block_out_channels\": [4, 8, 4, 4]}", VN_BAD_FILE,
         "expects 8 channels, gets 4"},
        {VQ "\"norm_type\": \"layer\"}", VN_BAD_FILE, "\"layer\" is not one of group, spatial"},
        {VQ "\"norm_type\": \"spatial\", \"vq_embed_dim\": 2}", VN_BAD_FILE,
         "norm_type \"spatial\" needs quantised latents of latent_channels 3 numbers; vq_embed_dim "
         "makes them 2"},
        {VQ "\"levels\": [4]}", VN_BAD_FILE, "autoencoder-vq: unknown key \"levels\""},
        {FSQ "\"levels\": [1]}", VN_BAD_FILE, "levels is 1; it must be in [2,"},
        {FSQ "\"levels\": []}", VN_BAD_FILE, "levels must be a list"},
        {FSQ "\"levels\": [4096, 4096]}", VN_UNSUPPORTED,
         "autoencoder-fsq: levels make more than 1048576 codes"},
        {FSQ "\"num_vq_embeddings\": 4}", VN_BAD_FILE, "unknown key \"num_vq_embeddings\""},
    };
    /* clang-format on */
    for (size_t i = 0; i < VN_COUNT(refused); i++) {
        vn_err err = {0};
        vn_net *net = NULL;
        const vn_status status = open_text(refused[i].config, &net, &err);
        assert_null(net);
        if (status != refused[i].status || !strstr(err.text, refused[i].words))
            fail_msg("%s\n  gives %d \"%s\", expected \"%s\"", refused[i].config, status, err.text,
                     refused[i].words);
    }
}

static void sizes_are_refused_with_both_numbers(void **state) {
    (void)state;
    vn_golden g;
    vn_golden_open(&g, "autoencoder/kl");
    vn_graph *graph = NULL;
    vn_net_nodes nodes;
    const vn_net_spec spec = {.extent = {.batch = 1, .height = 9, .width = 8}};
    CHECK(vn_graph_open(&graph, &err));
    vn_err err = {0};
    assert_int_equal(vn_net_build(g.net, graph, &spec, &nodes, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "images of 9 x 8: both sides must be multiples of 2"));
    vn_graph_close(&graph);
    vn_golden_close(&g);
}

int main(void) {
    struct CMUnitTest tests[2 * VN_COUNT(cases) + 5];
    size_t n = 0;
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        void *path = (void *)cases[i];
        tests[n++] = (struct CMUnitTest){"encodes", encodes_as_diffusers, NULL, NULL, path};
        tests[n++] = (struct CMUnitTest){"decodes", decodes_as_diffusers, NULL, NULL, path};
    }
    const struct CMUnitTest others[] = {
        cmocka_unit_test(gradients_are_slopes),
        cmocka_unit_test(the_variance_is_clamped),
        cmocka_unit_test(parameters_are_those_of_stable_diffusion),
        cmocka_unit_test(configs_are_refused_by_name),
        cmocka_unit_test(sizes_are_refused_with_both_numbers),
    };
    memcpy(tests + n, others, sizeof others);
    return run_under_each_kernel_set(tests, NULL, NULL);
}
