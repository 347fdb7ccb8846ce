/* test_hidden.c - which weights of each network that can be trained are matrices between hidden
 * features: all of its matrices but those named here, which are first and last layers and tables of
 * embeddings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "nn/nn.h"

/* others: the matrices that are not hidden, in their order, with a space after each; least: so many
 * are, at least. What is no matrix never is. */
static void check(vn_net *net, const char *others, size_t least) {
    const vn_weights *w = vn_net_weights(net);
    char found[4096] = "";
    size_t hidden = 0, used = 0;
    for (size_t i = 0; i < vn_weights_count(w); i++) {
        const vn_weight *one = vn_weights_at(w, i);
        hidden += one->hidden;
        if (one->file.rank < 2) assert_false(one->hidden);
        if (one->file.rank >= 2 && !one->hidden)
            used += (size_t)snprintf(found + used, sizeof found - used, "%s ", one->name);
        assert_true(used < sizeof found);
    }
    assert_string_equal(found, others);
    assert_true(hidden >= least);
    vn_net_close(&net);
}

static vn_net *open_config(json_t *config) {
    vn_net *net = NULL;
    vn_err err = {0};
    if (!config || vn_net_open(config, &net, &err)) fail_msg("%s", err.text);
    json_decref(config);
    return net;
}

static vn_net *preset(const char *text, vn_net_data data) {
    vn_choice choice;
    vn_err err = {0};
    if (vn_choice_parse(text, &vn_trained_models, &choice, &err)) fail_msg("%s", err.text);
    return open_config(((const vn_net_row *)choice.row)->config(&choice, &data, &err));
}

static vn_net *written(const char *text) {
    return open_config(json_loads(text, 0, NULL));
}

static void of_networks_that_are_trained(void **state) {
    (void)state;
    const vn_net_data images = {.sample = VN_SHAPE(1, 16, 16), .labels = 4, .dropout = -1},
                      points = {.sample = VN_SHAPE(2), .labels = 4, .dropout = -1},
                      texts = {.sample = VN_SHAPE(3, 16, 16),
                               .dropout = -1,
                               .captions = true,
                               .text_width = 24};
    static const char unet[] =
        "time_embedding.linear_1.weight class_embedding.weight conv_in.weight conv_out.weight ";
    check(preset("unet2d:channels=8", images), unet, 20);
    check(preset("dit:depth=2,width=32,patch=4", images),
          "pos_embed.proj.weight "
          "transformer_blocks.0.norm1.emb.timestep_embedder.linear_1.weight "
          "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight "
          "transformer_blocks.1.norm1.emb.timestep_embedder.linear_1.weight "
          "transformer_blocks.1.norm1.emb.class_embedder.embedding_table.weight "
          "proj_out_2.weight ",
          15);
    check(preset("mlp:layers=2", points),
          "time_embedding.linear_1.weight class_embedding.weight input.weight output.weight ", 2);
    check(
        preset("text-dit:depth=2,width=32", texts),
        "time_text_embed.timestep_embedder.linear_1.weight pos_embed.proj.weight proj_out.weight ",
        10);
    check(preset("classifier", images),
          "time_embedding.linear_1.weight conv_in.weight pool.positional_embedding head.weight ",
          4);
}

/* What an encoder hands on is features, so that it has no last layer. */
static void of_encoders(void **state) {
    (void)state;
    vn_err err = {0};
    const vn_text_encoder_size size = {.tokens = 30, .length = 8, .width = 16, .depth = 2};
    check(open_config(vn_text_encoder_config(&size, &err)),
          "token_embedding.weight position_embedding.weight ", 8);
}

/* And what is made of a text by another network is no end of the one that reads it. */
static void of_networks_that_read_features(void **state) {
    (void)state;
    check(written("{\"_class_name\": \"UNet2DConditionModel\", \"sample_size\": 16, "
                  "\"block_out_channels\": [8, 16], \"layers_per_block\": 1, "
                  "\"down_block_types\": [\"DownBlock2D\", \"CrossAttnDownBlock2D\"], "
                  "\"up_block_types\": [\"CrossAttnUpBlock2D\", \"UpBlock2D\"], "
                  "\"cross_attention_dim\": 12, \"attention_head_dim\": 4, "
                  "\"norm_num_groups\": 4}"),
          "time_embedding.linear_1.weight conv_in.weight conv_out.weight ", 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_networks_that_are_trained),
        cmocka_unit_test(of_encoders),
        cmocka_unit_test(of_networks_that_read_features),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
