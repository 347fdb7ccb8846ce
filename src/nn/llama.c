/* llama.c - a decoder-only transformer, as transformers' LlamaForCausalLM has it: pre-norm blocks
 * with RMSNorm (1910.07467) and a gated feed-forward layer (2002.05202), rotary positions
 * (2104.09864), queries that may share heads of keys (2305.13245), and causal attention. At each
 * token it says which comes next. Config and tensors are transformers'. */
#include "nn/llama.h"

#include <math.h>
#include <string.h>

static const char net_name[] = "gpt";

const vn_llama_keys vn_llama_defaults = {.vocab_size = 32000,
                                         .hidden_size = 4096,
                                         .intermediate_size = 11008,
                                         .num_hidden_layers = 32,
                                         .num_attention_heads = 32,
                                         .max_position_embeddings = 2048,
                                         .hidden_act = VN_ACTIVATION_SILU,
                                         .rms_norm_eps = 1e-6};

#define KEY(kind, member) VN_CONFIG_KEY(vn_llama_keys, kind, member)
/* clang-format off */
const vn_field vn_llama_fields[] = {
    /* kind, key                        null   min max    choices              null is */
    {KEY(INT, vocab_size),               false, 1,  1e7,   NULL,                0},
    {KEY(INT, hidden_size),              false, 1,  65536, NULL,                0},
    {KEY(INT, intermediate_size),        false, 1,  1e6,   NULL,                0},
    {KEY(INT, num_hidden_layers),        false, 0,  1024,  NULL,                0},
    {KEY(INT, num_attention_heads),      false, 1,  65536, NULL,                0},
    {KEY(INT, num_key_value_heads),      true,  1,  65536, NULL,                0},
    {KEY(INT, head_dim),                 true,  1,  65536, NULL,                0},
    {KEY(INT, max_position_embeddings),  false, 1,  1e7,   NULL,                0},
    {KEY(CHOICE, hidden_act),            false, 0,  0,     vn_activation_names, 0},
    {KEY(NUMBER, rms_norm_eps),          false, 0,  1,     NULL,                0},
    {KEY(NUMBER, attention_dropout),     true,  0,  1,     NULL,                0},
    {KEY(BOOL, attention_bias),          true,  0,  0,     NULL,                0},
    {KEY(BOOL, mlp_bias),                true,  0,  0,     NULL,                0},
};
/* clang-format on */
const size_t vn_llama_field_count = VN_COUNT(vn_llama_fields);

/* ---- config ---------------------------------------------------------------------------------- */

/* Keys that are read here, or that change nothing. */
static const char *const own[] = {"rope_theta", "rope_scaling", "rope_parameters", "pretraining_tp",
                                  NULL};

static vn_status read_number(const json_t *from, const char *key, double *to, vn_err *err) {
    const json_t *value = json_object_get(from, key);
    if (!value || json_is_null(value)) return VN_OK;
    *to = json_number_value(value);
    if (json_is_number(value) && *to > 0 && *to < 1e15) return VN_OK;
    return vn_fail(err, VN_BAD_FILE, "%s: %s is not a number above 0", net_name, key);
}

/* Rotary positions: as they are, or "linear", divided by a factor (2306.15595). */
static vn_status read_rope(const json_t *rope, vn_llama *l, vn_err *err) {
    static const char *const known[] = {"rope_theta", "rope_type", "type", "factor"};
    const char *key;
    json_t *value;
    if (!rope || json_is_null(rope)) return VN_OK;
    if (!json_is_object(rope))
        return vn_fail(err, VN_BAD_FILE, "%s: what it says of rotary positions is no object",
                       net_name);
    const char *type = json_string_value(json_object_get(rope, "rope_type"));
    if (!type) type = json_string_value(json_object_get(rope, "type"));
    if (!type) type = "default";
    const bool linear = !strcmp(type, "linear");
    if (!linear && strcmp(type, "default") != 0)
        return vn_fail(err, VN_UNSUPPORTED,
                       "%s: rope_type \"%.40s\" is not supported; default and linear are", net_name,
                       type);
    json_object_foreach((json_t *)rope, key, value) {
        bool read = json_is_null(value);
        for (size_t i = 0; i < VN_COUNT(known); i++) read = read || !strcmp(key, known[i]);
        if (!read)
            return vn_fail(err, VN_UNSUPPORTED,
                           "%s: rotary positions with \"%.40s\" are not supported", net_name, key);
    }
    vn_status status = read_number(rope, "rope_theta", &l->theta, err);
    return status || !linear ? status : read_number(rope, "factor", &l->stretch, err);
}

static vn_status check(vn_llama *l, vn_err *err) {
    const vn_llama_keys *k = &l->config;
    l->key_heads = k->num_key_value_heads ? k->num_key_value_heads : k->num_attention_heads;
    l->head_dim = k->head_dim ? k->head_dim : k->hidden_size / k->num_attention_heads;
    if (!k->head_dim && k->hidden_size % k->num_attention_heads)
        return vn_fail(err, VN_BAD_FILE, "%s: hidden_size %lld does not divide into %lld heads",
                       net_name, (long long)k->hidden_size, (long long)k->num_attention_heads);
    if (k->num_attention_heads % l->key_heads)
        return vn_fail(err, VN_BAD_FILE,
                       "%s: num_attention_heads %lld do not divide among num_key_value_heads %lld",
                       net_name, (long long)k->num_attention_heads, (long long)l->key_heads);
    if (l->head_dim % 2 || l->head_dim > VN_ROPE_MAX_HEAD)
        return vn_fail(err, VN_BAD_FILE,
                       "%s: heads of %lld numbers; rotary positions need an even number, up to %d",
                       net_name, (long long)l->head_dim, VN_ROPE_MAX_HEAD);
    return VN_OK;
}

static vn_status open_llama(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    vn_llama *l = vn_calloc(1, sizeof *l);
    if (!l) return vn_no_memory(err);
    *l = (vn_llama){.config = vn_llama_defaults, .theta = 10000, .stretch = 1};
    l->tied = json_is_true(json_object_get(config, "tie_word_embeddings"));
    vn_status status = vn_config_read_transformers(config, net_name, own, vn_llama_fields,
                                                   vn_llama_field_count, &l->config, err);
    if (!status) status = read_number(config, "rope_theta", &l->theta, err);
    if (!status) status = read_rope(json_object_get(config, "rope_scaling"), l, err);
    if (!status) status = read_rope(json_object_get(config, "rope_parameters"), l, err);
    if (!status) status = check(l, err);
    if (status) {
        vn_free(l);
        return status;
    }
    *io = (vn_net_io){.multiple = 1};
    vn_net_add_input(io, (vn_port){.name = "input_ids",
                                   .dtype = VN_I32,
                                   .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_TOKENS),
                                   .below = l->config.vocab_size});
    vn_net_add_output(
        io, (vn_port){.name = "logits",
                      .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_TOKENS, l->config.vocab_size)});
    *self = l;
    return VN_OK;
}

/* ---- positions ------------------------------------------------------------------------------- */

static vn_rope_axes axes_of(const vn_llama *l, int64_t tokens, const float *position) {
    return (vn_rope_axes){.tokens = tokens,
                          .axes = 1,
                          .position = position,
                          .dims = &l->head_dim,
                          .theta = l->theta,
                          .split_halves = true};
}

vn_rope vn_llama_rope(const vn_scope *s, const vn_llama *l, int64_t tokens) {
    float *position = vn_alloc((size_t)tokens, sizeof *position);
    if (!position) {
        vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
        return (vn_rope){0};
    }
    for (int64_t i = 0; i < tokens; i++) position[i] = (float)((double)i / l->stretch);
    const vn_rope_axes axes = axes_of(l, tokens, position);
    const vn_rope rope = vn_rope_of(s, &axes);
    vn_free(position);
    return rope;
}

void vn_llama_angles(const vn_llama *l, int64_t position, float *cosine, float *sine) {
    const float at = (float)((double)position / l->stretch);
    const vn_rope_axes axes = axes_of(l, 1, &at);
    vn_rope_angles(&axes, &at, cosine, sine);
}

/* ---- the network ----------------------------------------------------------------------------- */

vn_node *vn_llama_table(const vn_scope *s, const vn_llama *l) {
    return vn_param_node(s->g, s->w, "model.embed_tokens.weight",
                         VN_SHAPE(l->config.vocab_size, l->config.hidden_size), VN_LAYOUT_PLAIN,
                         (vn_init){VN_INIT_NORMAL, VN_LAYER_SMALL_DEVIATION});
}

vn_scope vn_llama_layer(const vn_scope *s, int layer) {
    return vn_scope_in(s, "model.layers.%d", layer);
}

static vn_node *rotate(const vn_scope *s, const vn_llama *l, vn_node *x, int64_t heads,
                       const vn_rope *rope) {
    const vn_head_style style = {.heads = heads, .head_dim = l->head_dim};
    return vn_rotated_heads(s, x, &style, rope);
}

vn_llama_heads vn_llama_project(const vn_scope *layer, const vn_llama *l, vn_node *x,
                                const vn_rope *rope) {
    const vn_llama_keys *k = &l->config;
    const vn_scope s = vn_scope_in(layer, "self_attn");
    const int64_t width = k->hidden_size, queries = k->num_attention_heads * l->head_dim,
                  keys = l->key_heads * l->head_dim;
    x = vn_layer_rms_norm(layer, "input_layernorm", x, width, k->rms_norm_eps);
    vn_node *q = vn_layer_linear_if(&s, "q_proj", x, width, queries, k->attention_bias);
    vn_node *key = vn_layer_linear_if(&s, "k_proj", x, width, keys, k->attention_bias);
    vn_node *v = vn_layer_linear_if(&s, "v_proj", x, width, keys, k->attention_bias);
    return (vn_llama_heads){rotate(&s, l, q, k->num_attention_heads, rope),
                            rotate(&s, l, key, l->key_heads, rope), v, NULL};
}

static vn_node *feed_forward(const vn_scope *s, const vn_llama_keys *k, vn_node *x) {
    const int64_t width = k->hidden_size, hidden = k->intermediate_size;
    vn_node *gate = vn_layer_linear_if(s, "gate_proj", x, width, hidden, k->mlp_bias);
    vn_node *up = vn_layer_linear_if(s, "up_proj", x, width, hidden, k->mlp_bias);
    vn_node *h = vn_mul(s->g, vn_activation(s, gate, k->hidden_act), up);
    return vn_layer_linear_if(s, "down_proj", h, hidden, width, k->mlp_bias);
}

vn_node *vn_llama_attend(const vn_scope *layer, const vn_llama *l, vn_node *x, vn_llama_heads h) {
    const vn_llama_keys *k = &l->config;
    const vn_scope s = vn_scope_in(layer, "self_attn"), mlp = vn_scope_in(layer, "mlp");
    const vn_attention_options how = {.heads = (int)k->num_attention_heads,
                                      .key_heads = (int)l->key_heads,
                                      .scale = 1 / sqrt((double)l->head_dim),
                                      .causal = !h.bias,
                                      .has_bias = h.bias != NULL,
                                      .bias = h.bias};
    vn_node *y = vn_attention_of(s.g, h.q, h.k, h.v, &how);
    y = vn_layer_linear_if(&s, "o_proj", y, k->num_attention_heads * l->head_dim, k->hidden_size,
                           k->attention_bias);
    x = vn_add(s.g, x, y);
    y = vn_layer_rms_norm(layer, "post_attention_layernorm", x, k->hidden_size, k->rms_norm_eps);
    return vn_add(s.g, x, feed_forward(&mlp, k, y));
}

vn_node *vn_llama_logits(const vn_scope *s, const vn_llama *l, vn_node *table, vn_node *x) {
    const vn_llama_keys *k = &l->config;
    x = vn_layer_rms_norm(s, "model.norm", x, k->hidden_size, k->rms_norm_eps);
    if (l->tied) return vn_linear(s->g, x, table, NULL, false);
    return vn_layer_linear_if(s, "lm_head", x, k->hidden_size, k->vocab_size, false);
}

static void build(const void *self, const vn_scope *root) {
    const vn_llama *l = self;
    vn_scope s = *root;
    s.init = VN_LAYER_INIT_SMALL;
    vn_node *ids = vn_scope_input(&s, "input_ids");
    if (root->train && l->config.attention_dropout > 0) {
        vn_scope_fail(root, "attention_dropout %g: attention's weights are not dropped here",
                      l->config.attention_dropout);
        return;
    }
    if (!ids) return;
    const vn_rope rope = vn_llama_rope(&s, l, ids->shape.dim[1]);
    vn_node *table = vn_llama_table(&s, l), *x = vn_embedding(s.g, table, ids);
    for (int i = 0; i < l->config.num_hidden_layers; i++) {
        const vn_scope layer = vn_llama_layer(&s, i);
        x = vn_block_end(vn_llama_attend(&layer, l, x, vn_llama_project(&layer, l, x, &rope)));
    }
    vn_scope_output(root, "logits", vn_llama_logits(&s, l, table, x));
}

const vn_llama *vn_llama_of(const vn_net *net) {
    return vn_net_get_row(net) == &vn_gpt_net ? vn_net_self(net) : NULL;
}

const vn_net_row vn_gpt_net = {
    .row = {.name = net_name,
            .summary = "a decoder-only transformer over tokens: transformers' LlamaForCausalLM",
            .source = "arXiv 2302.13971; transformers 5.24",
            .params = vn_llama_presets},
    .role = VN_ROLE_SEQUENCE,
    .class_name = "LlamaForCausalLM",
    .folder = "transformer",
    .takes_texts = true,
    .config = vn_llama_config,
    .open = open_llama,
    .close = vn_free,
    .build = build,
};
