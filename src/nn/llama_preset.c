/* llama_preset.c - `--model gpt:depth=...`: a config.json for the data at hand. The default has 1.2
 * million parameters beside those of the table of codes and is for some 50 tokens on two cores: of
 * an autoencoder of vane's or, without one, of patches of 4 x 4 pixels. Tokens are the codes, then
 * the classes, then the null condition, and a sequence begins with one of the latter; or, of
 * pictures with captions, the codes, then the tokens of texts, and a sequence begins with those. */
#include "nn/llama.h"

/* clang-format off */
const vn_param vn_llama_presets[] = {
    {"depth", "transformer blocks",
     6, 1, 1024, VN_PARAM_WHOLE, NULL},
    {"width", "numbers in a token",
     128, 2, 65536, VN_PARAM_WHOLE, NULL},
    {"heads", "attention heads; width must be an even multiple of them",
     4, 1, 1024, VN_PARAM_WHOLE, NULL},
    {"key_heads", "heads of keys and values, a divisor of heads; 0: as many",
     0, 0, 1024, VN_PARAM_WHOLE, NULL},
    {"patch", "without an autoencoder: pixels on a side of a token",
     4, 1, 64, VN_PARAM_WHOLE, NULL},
    {"codes", "without an autoencoder: how many patches there are, or levels of a grey pixel "
              "(patch=1); 0: 1024, or 16 levels",
     0, 0, 65536, VN_PARAM_WHOLE, NULL},
    {"text_length", "of captions: tokens of a text; 0: as they need, up to 64",
     0, 0, 1024, VN_PARAM_WHOLE, NULL},
    {"text_tokens", "of captions: tokens of a vocabulary that is learned from them; 0: bytes",
     1024, 0, 8192, VN_PARAM_WHOLE, NULL},
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
/* clang-format on */

#define HIDDEN_UNIT 32 /* the hidden layer is 8/3 of the width, rounded up to a multiple */

/* What is said of texts where there are none. */
static vn_status check_texts(const vn_choice *preset, const vn_net_data *data, vn_err *err) {
    static const char *const names[] = {"text_length", "text_tokens"};
    for (size_t i = 0; i < VN_COUNT(names); i++) {
        bool given;
        vn_preset(preset, names[i], &given);
        if (given && !data->captions)
            return vn_fail(err, VN_BAD_ARGUMENT, "gpt: %s has no effect: the data has no captions",
                           names[i]);
    }
    return VN_OK;
}

static vn_status check(const vn_llama_keys *k, const vn_net_data *data, vn_err *err) {
    if (k->hidden_size % (2 * k->num_attention_heads))
        return vn_fail(err, VN_BAD_ARGUMENT, "gpt: width=%lld is no even multiple of heads=%lld",
                       (long long)k->hidden_size, (long long)k->num_attention_heads);
    if (k->num_attention_heads % k->num_key_value_heads)
        return vn_fail(err, VN_BAD_ARGUMENT, "gpt: heads=%lld do not divide among key_heads=%lld",
                       (long long)k->num_attention_heads, (long long)k->num_key_value_heads);
    if (data->dropout > 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "gpt: dropout %g: this network has none",
                       data->dropout);
    return VN_OK;
}

/* What transformers knows its models by. No token ends a sequence: all are of one length. */
static bool name_class(json_t *config) {
    json_t *classes = json_pack("[s]", vn_gpt_net.class_name);
    json_object_del(config, "_class_name");
    return json_object_set_new(config, "architectures", classes) == 0 &&
           json_object_set_new(config, "bos_token_id", json_null()) == 0 &&
           json_object_set_new(config, "eos_token_id", json_null()) == 0 &&
           json_object_set_new(config, "model_type", json_string("llama")) == 0 &&
           json_object_set_new(config, "tie_word_embeddings", json_false()) == 0;
}

json_t *vn_llama_config(const vn_choice *preset, const vn_net_data *data, vn_err *err) {
    vn_llama_keys k = vn_llama_defaults;
    const int64_t keys = (int64_t)vn_preset(preset, "key_heads", NULL);
    k.hidden_size = (int64_t)vn_preset(preset, "width", NULL);
    k.num_hidden_layers = (int64_t)vn_preset(preset, "depth", NULL);
    k.num_attention_heads = (int64_t)vn_preset(preset, "heads", NULL);
    k.num_key_value_heads = keys ? keys : k.num_attention_heads;
    k.head_dim = k.hidden_size / k.num_attention_heads;
    k.intermediate_size = (k.hidden_size * 8 / 3 + HIDDEN_UNIT - 1) / HIDDEN_UNIT * HIDDEN_UNIT;
    k.vocab_size = data->vocabulary;
    k.max_position_embeddings = data->tokens;
    if (check_texts(preset, data, err) != VN_OK || check(&k, data, err) != VN_OK) return NULL;
    json_t *config = vn_config_write(vn_gpt_net.class_name, false, vn_llama_fields,
                                     vn_llama_field_count, &k, err);
    if (!config || name_class(config)) return config;
    json_decref(config);
    vn_no_memory(err);
    return NULL;
}
