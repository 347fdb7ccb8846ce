/* text_encoder.c - vane's own text encoder, small enough to be trained with a denoiser from
 * nothing: pre-norm blocks (arXiv 2002.04745) over the tokens of the tokenizer "bytes", each of
 * which attends to all that are no padding. Positions are learned, GELU stands between two
 * linear layers of four times the width, and what stands for a whole text is the mean of its
 * tokens. Config class "VaneTextEncoder". */
#include "nn/transformer.h"

#include <math.h>

static const char net_name[] = "text";

/* By the names of the config's keys. */
typedef struct text_encoder_keys {
    int64_t vocab_size, width, layers, heads, max_length, pad_token_id;
    double dropout;
} text_encoder_keys;

static const text_encoder_keys defaults = {.vocab_size = 259,
                                           .width = 128,
                                           .layers = 4,
                                           .heads = 4,
                                           .max_length = 64,
                                           .pad_token_id = 256};

#define NORM_EPS 1e-5
#define HIDDEN   4 /* width of the hidden layer over that of a token */

#define KEY(kind, member) VN_CONFIG_KEY(text_encoder_keys, kind, member)
/* clang-format off */
static const vn_field fields[] = {
    /* kind, key             null   min max    choices null is */
    {KEY(INT, vocab_size),    false, 1,  1e7,   NULL,   0},
    {KEY(INT, width),         false, 1,  65536, NULL,   0},
    {KEY(INT, layers),        false, 0,  1024,  NULL,   0},
    {KEY(INT, heads),         false, 1,  65536, NULL,   0},
    {KEY(INT, max_length),    false, 1,  8192,  NULL,   0},
    {KEY(INT, pad_token_id),  false, 0,  1e7,   NULL,   0},
    {KEY(NUMBER, dropout),    false, 0,  0.999, NULL,   0},
};
/* clang-format on */

static vn_status check(const text_encoder_keys *k, vn_err *err) {
    if (k->width % k->heads)
        return vn_fail(err, VN_BAD_FILE, "%s: width %lld does not divide into %lld heads", net_name,
                       (long long)k->width, (long long)k->heads);
    if (k->pad_token_id >= k->vocab_size)
        return vn_fail(err, VN_BAD_FILE, "%s: pad_token_id is %lld; vocab_size is %lld", net_name,
                       (long long)k->pad_token_id, (long long)k->vocab_size);
    return VN_OK;
}

static vn_status open_text(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    text_encoder_keys *k = vn_calloc(1, sizeof *k);
    if (!k) return vn_no_memory(err);
    *k = defaults;
    vn_status status = vn_config_read(config, net_name, fields, VN_COUNT(fields), k, err);
    if (!status) status = check(k, err);
    if (status) {
        vn_free(k);
        return status;
    }
    *io = (vn_net_io){.multiple = 1, .max_tokens = k->max_length};
    vn_net_add_input(io, (vn_port){.name = "input_ids",
                                   .dtype = VN_I32,
                                   .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_TOKENS),
                                   .below = k->vocab_size});
    vn_net_add_output(io, (vn_port){.name = "last_hidden_state",
                                    .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_TOKENS, k->width),
                                    .features = true});
    vn_net_add_output(io, (vn_port){.name = "pooler_output",
                                    .shape = VN_SHAPE(VN_DIM_BATCH, k->width),
                                    .features = true});
    *self = k;
    return VN_OK;
}

/* The attention mask [N,T]: 0 where a token is padding, else 1. */
static vn_node *seen_of(const vn_scope *s, const text_encoder_keys *k, vn_node *ids) {
    float *table = vn_alloc((size_t)k->vocab_size, sizeof *table);
    if (!table) return vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
    for (int64_t i = 0; i < k->vocab_size; i++) table[i] = (float)(i != k->pad_token_id);
    vn_node *seen = vn_look_up(s, table, k->vocab_size, ids);
    vn_free(table);
    return seen;
}

static vn_node *block(const vn_scope *s, const text_encoder_keys *k, vn_node *x, vn_node *bias) {
    const int64_t head = k->width / k->heads;
    const vn_attention_options how = {
        .heads = (int)k->heads, .scale = 1 / sqrt((double)head), .has_bias = true, .bias = bias};
    vn_node *h = vn_layer_token_norm(s, "norm1", x, k->width, NORM_EPS);
    vn_node *q = vn_layer_linear(s, "to_q", h, k->width, k->width);
    vn_node *key = vn_layer_linear(s, "to_k", h, k->width, k->width);
    vn_node *v = vn_layer_linear(s, "to_v", h, k->width, k->width);
    h = vn_layer_linear(s, "to_out", vn_attention_of(s->g, q, key, v, &how), k->width, k->width);
    x = vn_add(s->g, x, vn_layer_dropout(s, h, k->dropout));
    h = vn_layer_token_norm(s, "norm2", x, k->width, NORM_EPS);
    h = vn_layer_linear_act(s, "linear_1", h, k->width, HIDDEN * k->width, VN_FN_GELU);
    h = vn_layer_linear(s, "linear_2", h, HIDDEN * k->width, k->width);
    return vn_block_end(vn_add(s->g, x, vn_layer_dropout(s, h, k->dropout)));
}

static void build(const void *self, const vn_scope *root) {
    const text_encoder_keys *k = self;
    vn_scope s = *root;
    s.init = VN_LAYER_INIT_SMALL;
    vn_node *ids = vn_scope_input(&s, "input_ids"), *seen = seen_of(&s, k, ids);
    vn_node *x = vn_layer_embedding(&s, "token_embedding", ids, k->vocab_size, k->width);
    x = vn_add_positions(&s, "position_embedding", x, k->max_length);
    vn_node *bias = vn_key_bias(&s, seen);
    for (int i = 0; i < k->layers; i++) {
        const vn_scope layer = vn_scope_in(&s, "layers.%d", i);
        x = block(&layer, k, x, bias);
    }
    x = vn_layer_token_norm(&s, "norm_out", x, k->width, NORM_EPS);
    vn_scope_output(root, "last_hidden_state", x);
    vn_scope_output(root, "pooler_output", vn_token_mean(&s, x, seen));
}

json_t *vn_text_encoder_config(const vn_text_encoder_size *size, vn_err *err) {
    text_encoder_keys k = defaults;
    k.vocab_size = size->tokens;
    k.pad_token_id = size->pad;
    k.max_length = size->length;
    k.width = size->width;
    k.layers = size->depth;
    k.dropout = size->dropout;
    while (k.width % k.heads) k.heads /= 2;
    return vn_config_write(vn_text_encoder_net.class_name, false, fields, VN_COUNT(fields), &k,
                           err);
}

const vn_net_row vn_text_encoder_net = {
    .row = {.name = net_name,
            .summary = "a small encoder of bytes, to be trained with a denoiser",
            .source = "arXiv 2002.04745, 2105.13626"},
    .role = VN_ROLE_ENCODER,
    .class_name = "VaneTextEncoder",
    .folder = "text_encoder",
    .tokenizer = "bytes",
    .open = open_text,
    .close = vn_free,
    .build = build,
};
