/* test_internal.c - an internal head: its answer is that of the shallower network that ends where
 * it stands, the network's own answer is that of the network without a head, and the extrapolation
 * between them is linear; which configs are refused. */
#include "nn/internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/bound.h"
#include "support/kernels.h"
#include "support/thread_pool.h"

enum { N = 2, SIDE = 8, MOST = N * 3 * SIDE * SIDE };

/* A network with weights of its own. */
typedef struct opened {
    vn_net *net;
    vn_device device;
    float *floats;
    vn_values *values;
    vn_runner *runner;
} opened;

static vn_status open_text(const char *text, vn_net **net, vn_err *err) {
    json_t *config = NULL;
    assert_int_equal(vn_json_parse(text, strlen(text), "config", &config, err), VN_OK);
    const vn_status status = vn_net_open(config, net, err);
    json_decref(config);
    return status;
}

/* Weights are small random numbers by their names' order, none of them zero. */
static void open_net(opened *o, const char *text) {
    vn_err err = {0};
    *o = (opened){.device = {kernels, NULL, crew_of(2)}};
    if (open_text(text, &o->net, &err)) fail_msg("%s", err.text);
    const vn_weights *w = vn_net_weights(o->net);
    const size_t count = vn_weights_floats(w);
    o->floats = vn_alloc_aligned(count, sizeof(float));
    vn_random_normal(o->floats, count, 5, VN_STREAM_TEST, 0, 0);
    for (size_t i = 0; i < count; i++) o->floats[i] *= 0.2F;
    if (vn_values_over(w, &o->device, o->floats, &o->values, &err) ||
        vn_runner_open(o->net, &o->device, o->values, &o->runner, &err))
        fail_msg("%s", err.text);
}

static void close_net(opened *o) {
    vn_runner_close(&o->runner);
    vn_values_close(&o->values);
    vn_net_close(&o->net);
    vn_free(o->floats);
}

static float *weight(const opened *o, const char *name) {
    const vn_weight *w = vn_weights_find(vn_net_weights(o->net), name);
    if (!w) fail_msg("no weight %s", name);
    return o->floats + w->offset;
}

/* Every weight of `to` becomes that of `from` under the same name, or under head + NAME for the
 * last layers, which are called `last`. */
static void copy_weights(const opened *to, const opened *from, const char *const last[],
                         const char *const head[]) {
    const vn_weights *w = vn_net_weights(to->net);
    for (size_t i = 0; i < vn_weights_count(w); i++) {
        const vn_weight *one = vn_weights_at(w, i);
        char name[128];
        snprintf(name, sizeof name, "%s", one->name);
        for (int k = 0; last && last[k]; k++)
            if (!strncmp(one->name, last[k], strlen(last[k])))
                snprintf(name, sizeof name, "internal_head.%s%s", head[k],
                         one->name + strlen(last[k]));
        memcpy(to->floats + one->offset, weight(from, name), one->count * sizeof(float));
    }
}

static void run(const opened *o, const vn_perturb *by, const char *output, float *y) {
    float x[MOST];
    const float time[N] = {120, 700};
    vn_err err = {0};
    vn_random_normal(x, MOST, 6, VN_STREAM_TEST, 0, 0);
    const vn_feed in[] = {{.array = {"sample", VN_F32, VN_SHAPE(N, 3, SIDE, SIDE), x}},
                          {.array = {"timestep", VN_F32, VN_SHAPE(N), time}}};
    vn_net_spec spec = {.extent = {.batch = N, .height = SIDE, .width = SIDE}};
    if (by) spec.perturb[0] = *by;
    if (vn_runner_run(o->runner, &spec, 2, in, 1, &(vn_fetch){output, y}, &err))
        fail_msg("%s", err.text);
}

static double furthest(const float *a, const float *b) {
    double most = 0;
    for (int i = 0; i < MOST; i++) most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

#define DIT(depth, more)                                                                           \
    "{\"_class_name\": \"DiTTransformer2DModel\", \"num_attention_heads\": 2, "                    \
    "\"attention_head_dim\": 8, \"in_channels\": 3, \"out_channels\": 3, \"num_layers\": " depth   \
    ", \"sample_size\": 8, \"patch_size\": 2, \"num_embeds_ada_norm\": 0" more "}"
#define UNET(more)                                                                                 \
    "{\"_class_name\": \"UNet2DModel\", \"sample_size\": 8, \"in_channels\": 3, "                  \
    "\"out_channels\": 3, \"block_out_channels\": [8, 16], \"layers_per_block\": 2, "              \
    "\"norm_num_groups\": 2, \"attention_head_dim\": 8, \"down_block_types\": [\"DownBlock2D\", "  \
    "\"AttnDownBlock2D\"], \"up_block_types\": [\"AttnUpBlock2D\", \"UpBlock2D\"]" more "}"

static const char *const with_head[] = {DIT("3", ", \"internal_head\": 2"),
                                        UNET(", \"internal_head\": 2")},
                         *const without[] = {DIT("3", ""), UNET("")};

/* The head changes nothing of what the network answers, to the bit. */
static void the_network_answers_as_without_a_head(void **state) {
    (void)state;
    for (size_t i = 0; i < VN_COUNT(without); i++) {
        opened with, plain;
        float a[MOST], b[MOST];
        open_net(&with, with_head[i]);
        open_net(&plain, without[i]);
        copy_weights(&plain, &with, NULL, NULL);
        run(&with, NULL, "sample", a);
        run(&plain, NULL, "sample", b);
        assert_memory_equal(a, b, sizeof a);
        assert_null(vn_net_output(vn_net_get_io(plain.net), VN_INTERNAL));
        assert_false(vn_net_get_io(plain.net)->perturbations & VN_ANSWER_EXTRAPOLATED);
        close_net(&plain);
        close_net(&with);
    }
}

/* A transformer's head answers as the transformer that ends there. */
static void a_transformers_head_is_a_shallower_transformer(void **state) {
    (void)state;
    static const char *const last[] = {"proj_out_1", "proj_out_2", NULL};
    opened with, shallow;
    float a[MOST], b[MOST];
    open_net(&with, with_head[0]);
    open_net(&shallow, DIT("2", ""));
    copy_weights(&shallow, &with, last, last);
    run(&with, NULL, VN_INTERNAL, a);
    run(&shallow, NULL, "sample", b);
    assert_memory_equal(a, b, sizeof a);
    close_net(&shallow);
    close_net(&with);
}

/* A U-Net's head answers as the U-Net whose last residual block does nothing: it adds 0 to its
 * input, of which its shortcut takes the features and leaves the skip connection. */
static void a_unets_head_is_before_its_last_block(void **state) {
    (void)state;
    static const char *const last[] = {"conv_norm_out", "conv_out", NULL}, *const head[] = {"norm",
                                                                                            "conv",
                                                                                            NULL};
    static const char block[] = "up_blocks.1.resnets.2.";
    enum { C = 8 };
    opened with, idle;
    float a[MOST], b[MOST];
    char name[96];
    open_net(&with, with_head[1]);
    open_net(&idle, without[1]);
    copy_weights(&idle, &with, last, head);
    const char *const zero[] = {"conv2.weight", "conv2.bias", "conv_shortcut.bias",
                                "conv_shortcut.weight"};
    for (size_t i = 0; i < VN_COUNT(zero); i++) {
        snprintf(name, sizeof name, "%s%s", block, zero[i]);
        const vn_weight *w = vn_weights_find(vn_net_weights(idle.net), name);
        assert_non_null(w);
        memset(weight(&idle, name), 0, w->count * sizeof(float));
    }
    for (int i = 0; i < C; i++) weight(&idle, name)[i * C + i] = 1; /* inside [2C,C] */
    run(&with, NULL, VN_INTERNAL, a);
    run(&idle, NULL, "sample", b);
    /* sums of zeros and one number round nothing; measured: 0 */
    expect_below("difference", furthest(a, b), 1e-5);
    float answer[MOST];
    run(&with, NULL, "sample", answer);
    assert_true(furthest(a, answer) > 0.01);
    close_net(&idle);
    close_net(&with);
}

static void the_extrapolation_is_linear(void **state) {
    (void)state;
    static const double amounts[] = {0, 1, 1.4, -2};
    for (size_t i = 0; i < VN_COUNT(with_head); i++) {
        opened o;
        float y[MOST], inner[MOST], got[MOST], want[MOST];
        open_net(&o, with_head[i]);
        run(&o, NULL, "sample", y);
        run(&o, NULL, VN_INTERNAL, inner);
        for (size_t k = 0; k < VN_COUNT(amounts); k++) {
            const vn_perturb by = {.kind = VN_ANSWER_EXTRAPOLATED, .amount = amounts[k]};
            run(&o, &by, "sample", got);
            for (int j = 0; j < MOST; j++)
                want[j] =
                    (float)((double)inner[j] + amounts[k] * ((double)y[j] - (double)inner[j]));
            /* some roundings of numbers up to 10 */
            expect_below("extrapolated", furthest(got, want), 1e-5);
        }
        close_net(&o);
    }
}

/* The head's own last layer is no matrix between hidden features, those before it are. */
static void heads_are_last_layers(void **state) {
    (void)state;
    static const char *const names[] = {"internal_head.proj_out_2.weight",
                                        "internal_head.conv.weight"};
    for (size_t i = 0; i < VN_COUNT(names); i++) {
        vn_net *net = NULL;
        vn_err err = {0};
        assert_int_equal(open_text(with_head[i], &net, &err), VN_OK);
        assert_false(vn_weights_find(vn_net_weights(net), names[i])->hidden);
        vn_net_close(&net);
    }
}

static void heads_that_cannot_be_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *config, *words;
    } bad[] = {
        {DIT("3", ", \"internal_head\": 3"), "internal_head is after block 3 of 3"},
        {UNET(", \"internal_head\": 3"), "internal_head is after residual block 3 of the last 3"},
        {DIT("3", ", \"internal_head\": 0"), "internal_head"},
    };
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        vn_net *net = NULL;
        vn_err err = {0};
        if (open_text(bad[i].config, &net, &err) == VN_OK) fail_msg("%s opens", bad[i].config);
        if (!strstr(err.text, bad[i].words)) fail_msg("%s", err.text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_network_answers_as_without_a_head),
        cmocka_unit_test(a_transformers_head_is_a_shallower_transformer),
        cmocka_unit_test(a_unets_head_is_before_its_last_block),
        cmocka_unit_test(the_extrapolation_is_linear),
        cmocka_unit_test(heads_are_last_layers),
        cmocka_unit_test(heads_that_cannot_be_are_refused),
    };
    return run_under_each_kernel_set(tests, NULL, NULL);
}
