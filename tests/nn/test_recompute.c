/* test_recompute.c - gradients with forward values computed again, on every network that trains:
 * the same bits with dropout on, in less memory, for the arithmetic that was promised, on one
 * thread and on two. */
#include "nn/nn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "support/thread_pool.h"
#include "support/values.h"
#include "support/kernels.h"

/* clang-format off */
static const struct {
    const char *name, *config;
    double cheap, blocks; /* most of the memory that keeping all takes */
    double arithmetic;    /* most that the blocks add, as a part of it */
} networks[] = {
    {"DiT", "{\"_class_name\": \"DiTTransformer2DModel\", \"num_attention_heads\": 2, "
            "\"attention_head_dim\": 16, "
            "\"in_channels\": 1, \"num_layers\": 6, \"sample_size\": 16, \"patch_size\": 2, "
            "\"num_embeds_ada_norm\": 5, "
            "\"dropout\": 0.3}", 0.66, 0.3, 0.3},
    {"gated DiT", "{\"_class_name\": \"DiTTransformer2DModel\", \"num_attention_heads\": 2, "
                  "\"attention_head_dim\": 16, "
            "\"in_channels\": 1, \"num_layers\": 6, \"sample_size\": 16, \"patch_size\": 2, "
            "\"num_embeds_ada_norm\": 5, "
            "\"dropout\": 0.3, \"activation_fn\": \"geglu\"}", 0.66, 0.3, 0.3},
    {"U-Net", "{\"_class_name\": \"UNet2DModel\", \"in_channels\": 1, \"out_channels\": 1, "
              "\"sample_size\": 16, "
              "\"layers_per_block\": 2, \"block_out_channels\": [16, 32, 32], \"norm_num_groups\": "
              "8, \"dropout\": 0.3, "
              "\"down_block_types\": [\"DownBlock2D\", \"AttnDownBlock2D\", \"AttnDownBlock2D\"], "
              "\"up_block_types\": [\"AttnUpBlock2D\", \"AttnUpBlock2D\", \"UpBlock2D\"], "
              "\"num_class_embeds\": 6}",
              0.59, 0.4, 0.2}, /* 0.60 with a skip's concatenation kept */
    {"scaled U-Net", "{\"_class_name\": \"UNet2DModel\", \"in_channels\": 1, \"out_channels\": 1, "
                     "\"sample_size\": 16, "
              "\"layers_per_block\": 1, \"block_out_channels\": [32, 64], \"norm_num_groups\": 8, "
              "\"dropout\": 0.3, "
              "\"down_block_types\": [\"ResnetDownsampleBlock2D\", \"DownBlock2D\"], "
              "\"up_block_types\": [\"UpBlock2D\", \"ResnetUpsampleBlock2D\"], "
              "\"num_class_embeds\": 6, "
              "\"resnet_time_scale_shift\": \"scale_shift\"}", 0.6, 0.49, 0.2},
    {"MLP", "{\"_class_name\": \"VaneMLP\", \"width\": 64, \"layers\": 8, \"num_class_embeds\": 6, "
            "\"dropout\": 0.3}",
            0.6, 0.5, 0.3},
};
/* clang-format on */

/* A training step's gradients. */
typedef struct outcome {
    float *grads, loss;
    size_t bytes; /* of arrays alive at once: work space is the same */
    double flops;
} outcome;

enum { BATCH = 3 };

static void fill(vn_program *p, const vn_node *input, uint64_t index) {
    const size_t count = (size_t)vn_shape_count(&input->shape);
    vn_random_normal(vn_program_map(p, input), count, 5, VN_STREAM_TEST, index, 0);
}

static outcome run(const vn_net *net, const vn_values *values, vn_recompute how, int threads) {
    vn_graph *g = NULL;
    vn_net_nodes nodes;
    const vn_net_spec spec = {.extent = {.batch = BATCH}, .train = true};
    vn_err err = {0};
    assert_int_equal(vn_graph_open(&g, NULL), VN_OK);
    if (vn_net_build(net, g, &spec, &nodes, &err) != VN_OK) fail_msg("%s", err.text);
    vn_node *y = nodes.out[0];
    vn_node *target = vn_input(g, VN_F32, y->shape);
    vn_node *loss = vn_mean(g, vn_unary(g, vn_sub(g, y, target), VN_FN_SQUARE));
    vn_gradients by = {.weights = vn_net_weights(net), .recompute = how};
    if (vn_gradients_open(&by, loss, NULL, &err) != VN_OK) fail_msg("%s", err.text);
    vn_program *p = NULL;
    const vn_program_options o = {.device = &(vn_device){kernels, NULL, crew_of(threads)},
                                  .n_outputs = 1,
                                  .outputs = &loss,
                                  .n_grads = by.n,
                                  .grads = by.node,
                                  .grad_offset = by.offset};
    if (vn_program_open(g, &o, &p, &err) != VN_OK) fail_msg("%s", err.text);
    vn_footprint f;
    assert_int_equal(vn_footprint_open(g, &o, &f, &err), VN_OK);
    fill(p, vn_net_in(net, &nodes, "sample"), 0);
    fill(p, target, 1);
    const float time[BATCH] = {0.1F, 0.5F, 0.8F};
    const int32_t labels[BATCH] = {0, 3, 5};
    const vn_feed in[] = {{.array = {"timestep", VN_F32, VN_SHAPE(BATCH), time}},
                          {.array = {"class_labels", VN_I32, VN_SHAPE(BATCH), labels}}};
    assert_int_equal(vn_net_fill(net, p, &nodes, VN_COUNT(in), in, NULL, &err), VN_OK);
    const size_t floats = vn_weights_floats(vn_net_weights(net));
    outcome r = {.grads = vn_alloc_aligned(floats, sizeof(float)), .bytes = f.alive_bytes};
    assert_non_null(r.grads);
    memset(r.grads, 0, floats * sizeof(float));
    vn_program_run(p, &(vn_run){.values = values, .grads = r.grads, .seed = 9, .step = 4});
    r.loss = *(const float *)vn_program_map(p, loss);
    r.flops = vn_program_cost(p).flops;
    vn_footprint_close(&f);
    vn_program_close(&p);
    vn_gradients_close(&by);
    vn_graph_close(&g);
    return r;
}

static void gradients_are_the_same_bits_in_less_memory(void **state) {
    (void)state;
    for (size_t k = 0; k < VN_COUNT(networks); k++) {
        vn_net *net = NULL;
        vn_err err = {0};
        json_t *config = json_loads(networks[k].config, 0, NULL);
        assert_non_null(config);
        if (vn_net_open(config, &net, &err) != VN_OK) fail_msg("%s", err.text);
        json_decref(config);
        const size_t floats = vn_weights_floats(vn_net_weights(net));
        float *values = vn_alloc_aligned(floats, sizeof(float));
        /* zeros at first would hide what is wrong */
        vn_random_normal(values, floats, 0, VN_STREAM_TEST, 0, 0);
        for (size_t i = 0; i < floats; i++) values[i] *= 0.1F;
        vn_values *seen = values_over(vn_net_weights(net), values);
        outcome keep = run(net, seen, VN_RECOMPUTE_NONE, 1);
        double size[2], more[2];
        for (int how = VN_RECOMPUTE_CHEAP; how <= VN_RECOMPUTE_BLOCKS; how++)
            for (int threads = 1; threads <= 2; threads++) {
                outcome again = run(net, seen, (vn_recompute)how, threads);
                if (memcmp(again.grads, keep.grads, floats * sizeof(float)) != 0 ||
                    again.loss != keep.loss)
                    fail_msg("%s: other gradients", networks[k].name);
                size[how] = (double)again.bytes / (double)keep.bytes;
                more[how] = again.flops / keep.flops - 1;
                vn_free(again.grads);
            }
        print_message(
            "%s: cheap %.2f of the memory for %.3f more arithmetic; blocks %.2f for %.2f\n",
            networks[k].name, size[0], more[0], size[1], more[1]);
        assert_true(size[0] <= networks[k].cheap && size[1] <= networks[k].blocks);
        assert_true(more[0] > 0 && more[0] < 0.05 && more[1] > 0.1 &&
                    more[1] <= networks[k].arithmetic);
        vn_free(keep.grads);
        vn_values_close(&seen);
        vn_free(values);
        vn_net_close(&net);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_the_same_bits_in_less_memory),
    };
    return run_under_each_kernel_set(tests, NULL, NULL);
}
