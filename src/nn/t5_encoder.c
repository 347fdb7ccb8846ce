/* t5_encoder.c - the encoder of T5 (arXiv 1910.10683) and its later forms (v1.1, flan, whose
 * feed-forward layer is gated), as transformers' T5EncoderModel has it: pre-norm blocks with
 * RMSNorm and no biases; attention that is not scaled, with a learned bias for the distance of two
 * tokens, which the first block has for all. */
#include "nn/transformer.h"

#include <math.h>
#include <string.h>

static const char net_name[] = "t5-encoder";

/* By the names of the config's keys. */
typedef struct t5_keys {
    int64_t vocab_size, d_model, d_kv, d_ff, num_layers, num_heads, relative_attention_num_buckets,
        relative_attention_max_distance;
    double dropout_rate, layer_norm_epsilon;
} t5_keys;

static const t5_keys defaults = {.vocab_size = 32128,
                                 .d_model = 512,
                                 .d_kv = 64,
                                 .d_ff = 2048,
                                 .num_layers = 6,
                                 .num_heads = 8,
                                 .relative_attention_num_buckets = 32,
                                 .relative_attention_max_distance = 128,
                                 .dropout_rate = 0.1,
                                 .layer_norm_epsilon = 1e-6};

#define KEY(kind, member) VN_CONFIG_KEY(t5_keys, kind, member)
/* clang-format off */
static const vn_field fields[] = {
    /* kind, key                                null   min max    choices null is */
    {KEY(INT, vocab_size),                       false, 1,  1e7,   NULL,   0},
    {KEY(INT, d_model),                          false, 1,  65536, NULL,   0},
    {KEY(INT, d_kv),                             false, 1,  65536, NULL,   0},
    {KEY(INT, d_ff),                             false, 1,  1e6,   NULL,   0},
    {KEY(INT, num_layers),                       false, 1,  1024,  NULL,   0},
    {KEY(INT, num_heads),                        false, 1,  65536, NULL,   0},
    {KEY(INT, relative_attention_num_buckets),   false, 4,  65536, NULL,   0},
    {KEY(INT, relative_attention_max_distance),  false, 2,  1e6,   NULL,   0},
    {KEY(NUMBER, dropout_rate),                  false, 0,  1,     NULL,   0},
    {KEY(NUMBER, layer_norm_epsilon),            false, 0,  1,     NULL,   0},
};
/* clang-format on */

typedef struct t5 {
    t5_keys config;
    bool gated;
    int64_t act;
} t5;

/* ---- config ---------------------------------------------------------------------------------- */

/* The decoder's, and what feed_forward_proj says. */
static const char *const own[] = {
    "num_decoder_layers", "classifier_dropout", "scale_decoder_outputs",
    "feed_forward_proj",  "dense_act_fn",       "is_gated_act",
    "n_positions",        "output_past",        NULL};

static vn_status refuse_act(const char *text, vn_err *err) {
    return vn_config_refuse(net_name, "feed_forward_proj", text, vn_activation_names,
                            VN_ACTIVATIONS, err);
}

/* "relu", "gated-gelu", ...: gated or not, and by which function; "gated-gelu" is by gelu_new. */
static vn_status read_feed_forward(const json_t *config, t5 *t, vn_err *err) {
    static const char gated[] = "gated-";
    const json_t *value = json_object_get(config, "feed_forward_proj"),
                 *dense = json_object_get(config, "dense_act_fn"),
                 *is_gated = json_object_get(config, "is_gated_act");
    const char *text = value ? json_string_value(value) : "relu", *act = text;
    if (!text) return refuse_act("null", err);
    t->gated = !strncmp(text, gated, sizeof gated - 1);
    if (t->gated) act += sizeof gated - 1;
    if (!strcmp(text, "gated-gelu")) act = "gelu_new";
    for (t->act = 0; t->act < VN_ACTIVATIONS; t->act++)
        if (!strcmp(vn_activation_names[t->act], act)) break;
    if (t->act == VN_ACTIVATIONS) return refuse_act(text, err);
    const char *other = json_string_value(dense);
    if ((other && strcmp(other, act) != 0) ||
        (json_is_boolean(is_gated) && json_is_true(is_gated) != t->gated))
        return vn_fail(
            err, VN_BAD_FILE,
            "%s: dense_act_fn or is_gated_act are not those of feed_forward_proj \"%.40s\"",
            net_name, text);
    return VN_OK;
}

static vn_status check(const t5_keys *k, vn_err *err) {
    const int64_t exact = k->relative_attention_num_buckets / 2 / 2;
    if (k->relative_attention_max_distance <= exact)
        return vn_fail(err, VN_BAD_FILE,
                       "%s: relative_attention_max_distance %lld; %lld buckets need more than %lld",
                       net_name, (long long)k->relative_attention_max_distance,
                       (long long)k->relative_attention_num_buckets, (long long)exact);
    return VN_OK;
}

static vn_status open_t5(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    t5 *t = vn_calloc(1, sizeof *t);
    if (!t) return vn_no_memory(err);
    t->config = defaults;
    vn_status status = vn_config_read_transformers(config, net_name, own, fields, VN_COUNT(fields),
                                                   &t->config, err);
    if (!status) status = read_feed_forward(config, t, err);
    if (!status) status = check(&t->config, err);
    if (status) {
        vn_free(t);
        return status;
    }
    const vn_shape tokens = VN_SHAPE(VN_DIM_BATCH, VN_DIM_TOKENS);
    *io = (vn_net_io){.multiple = 1};
    vn_net_add_input(io, (vn_port){.name = "input_ids",
                                   .dtype = VN_I32,
                                   .shape = tokens,
                                   .below = t->config.vocab_size});
    vn_net_add_input(io, (vn_port){.name = "attention_mask",
                                   .dtype = VN_I32,
                                   .shape = tokens,
                                   .below = 2,
                                   .optional = true,
                                   .missing = 1});
    vn_net_add_output(io,
                      (vn_port){.name = "last_hidden_state",
                                .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_TOKENS, t->config.d_model),
                                .features = true});
    *self = t;
    return VN_OK;
}

/* ---- the bias of attention ------------------------------------------------------------------- */

#define MAX_TOKENS 8192 /* the table of distances has as many rows and columns */

/* The bucket of a distance: half of them for keys behind the query, half for those before it; of
 * each the first half for one distance each, the others wider and wider up to the largest. In
 * floats and in this order, as in PyTorch: a rounding decides on which side of an edge one is. */
static int32_t bucket_of(const t5_keys *k, int64_t distance) {
    const int64_t half = k->relative_attention_num_buckets / 2, exact = half / 2,
                  far = distance < 0 ? -distance : distance;
    int64_t bucket = far;
    if (far >= exact) {
        const float wide = logf((float)far / (float)exact) /
                           (float)log((double)k->relative_attention_max_distance / (double)exact) *
                           (float)(half - exact);
        bucket = exact + (int64_t)wide;
        if (bucket > half - 1) bucket = half - 1;
    }
    return (int32_t)(distance > 0 ? half + bucket : bucket);
}

/* [1,heads,T,T] */
static vn_node *distance_bias(const vn_scope *s, const t5_keys *k, int64_t tokens) {
    if (tokens > MAX_TOKENS)
        return vn_scope_fail(s, "texts of %lld tokens; it takes up to %d", (long long)tokens,
                             MAX_TOKENS);
    int32_t *bucket = vn_alloc((size_t)(tokens * tokens), sizeof *bucket);
    if (!bucket) return vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
    for (int64_t i = 0; i < tokens; i++)
        for (int64_t j = 0; j < tokens; j++) bucket[i * tokens + j] = bucket_of(k, j - i);
    vn_node *index = vn_const(s->g, VN_I32, VN_SHAPE(tokens * tokens), bucket);
    vn_free(bucket);
    vn_node *bias = vn_layer_embedding(s, "relative_attention_bias", index,
                                       k->relative_attention_num_buckets, k->num_heads);
    bias = vn_reshape(s->g, bias, VN_SHAPE(1, tokens, tokens, k->num_heads));
    return vn_permute(s->g, bias, (int[4]){0, 3, 1, 2});
}

/* ---- the network ----------------------------------------------------------------------------- */

static vn_node *attention(const vn_scope *s, const t5_keys *k, vn_node *x, vn_node *bias) {
    const int64_t inner = k->num_heads * k->d_kv;
    vn_node *q = vn_layer_linear_if(s, "q", x, k->d_model, inner, false);
    vn_node *key = vn_layer_linear_if(s, "k", x, k->d_model, inner, false);
    vn_node *v = vn_layer_linear_if(s, "v", x, k->d_model, inner, false);
    const vn_attention_options how = {
        .heads = (int)k->num_heads, .scale = 1, .has_bias = true, .bias = bias};
    return vn_layer_linear_if(s, "o", vn_attention_of(s->g, q, key, v, &how), inner, k->d_model,
                              false);
}

static vn_node *feed_forward(const vn_scope *s, const t5 *t, vn_node *x) {
    const t5_keys *k = &t->config;
    vn_node *h = vn_layer_linear_if(s, t->gated ? "wi_0" : "wi", x, k->d_model, k->d_ff, false);
    h = vn_activation(s, h, t->act);
    if (t->gated) h = vn_mul(s->g, h, vn_layer_linear_if(s, "wi_1", x, k->d_model, k->d_ff, false));
    return vn_layer_linear_if(s, "wo", h, k->d_ff, k->d_model, false);
}

static void build(const void *self, const vn_scope *root) {
    static const float seen[2] = {0, 1};
    const t5 *t = self;
    const t5_keys *k = &t->config;
    vn_scope top = *root;
    top.init = VN_LAYER_INIT_SMALL;
    vn_node *ids = vn_scope_input(root, "input_ids");
    if (root->train && k->dropout_rate > 0) {
        vn_scope_fail(root, "dropout_rate %g: attention's weights are not dropped here",
                      k->dropout_rate);
        return;
    }
    if (!ids) return;
    const vn_scope first = vn_scope_in(&top, "encoder.block.0.layer.0.SelfAttention"),
                   encoder = vn_scope_in(&top, "encoder");
    vn_node *x = vn_layer_embedding(&top, "shared", ids, k->vocab_size, k->d_model);
    vn_node *bias = vn_add(
        root->g, distance_bias(&first, k, ids->shape.dim[1]),
        vn_key_bias(&top, vn_look_up(&top, seen, 2, vn_scope_input(root, "attention_mask"))));
    for (int i = 0; i < k->num_layers; i++) {
        const vn_scope attend = vn_scope_in(&encoder, "block.%d.layer.0", i),
                       feed = vn_scope_in(&encoder, "block.%d.layer.1", i),
                       heads = vn_scope_in(&attend, "SelfAttention"),
                       dense = vn_scope_in(&feed, "DenseReluDense");
        const double eps = k->layer_norm_epsilon;
        vn_node *h = vn_layer_rms_norm(&attend, "layer_norm", x, k->d_model, eps);
        x = vn_add(root->g, x, attention(&heads, k, h, bias));
        h = vn_layer_rms_norm(&feed, "layer_norm", x, k->d_model, eps);
        x = vn_block_end(vn_add(root->g, x, feed_forward(&dense, t, h)));
    }
    vn_scope_output(
        root, "last_hidden_state",
        vn_layer_rms_norm(&encoder, "final_layer_norm", x, k->d_model, k->layer_norm_epsilon));
}

const vn_net_row vn_t5_encoder_net = {
    .row = {.name = net_name,
            .summary = "T5's encoder: transformers' T5EncoderModel",
            .source = "arXiv 1910.10683; transformers 5.24"},
    .role = VN_ROLE_ENCODER,
    .class_name = "T5EncoderModel",
    .folder = "text_encoder",
    .open = open_t5,
    .close = vn_free,
    .build = build,
};
