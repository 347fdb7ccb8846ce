/* clip_text.c - the text encoder of CLIP (arXiv 2103.00020), as transformers' CLIPTextModel and
 * CLIPTextModelWithProjection have it: learned positions, pre-norm blocks, causal attention. What
 * stands for a whole text is the last layer's output, normed, at its end token; the class with a
 * projection maps that to where images are compared with texts. */
#include "nn/transformer.h"

#include <math.h>
#include <string.h>

static const char net_name[] = "clip-text", projected_name[] = "clip-text-projected";

/* By the names of the config's keys. */
typedef struct clip_keys {
    int64_t vocab_size, hidden_size, intermediate_size, projection_dim, num_hidden_layers,
        num_attention_heads, max_position_embeddings, hidden_act;
    double layer_norm_eps, attention_dropout;
} clip_keys;

static const clip_keys defaults = {.vocab_size = 49408,
                                   .hidden_size = 512,
                                   .intermediate_size = 2048,
                                   .projection_dim = 512,
                                   .num_hidden_layers = 12,
                                   .num_attention_heads = 8,
                                   .max_position_embeddings = 77,
                                   .hidden_act = VN_ACTIVATION_QUICK_GELU,
                                   .layer_norm_eps = 1e-5};

#define KEY(kind, member) VN_CONFIG_KEY(clip_keys, kind, member)
/* clang-format off */
static const vn_field fields[] = {
    /* kind, key                        null   min max    choices              null is */
    {KEY(INT, vocab_size),               false, 1,  1e7,   NULL,                0},
    {KEY(INT, hidden_size),              false, 1,  65536, NULL,                0},
    {KEY(INT, intermediate_size),        false, 1,  1e6,   NULL,                0},
    {KEY(INT, projection_dim),           false, 1,  65536, NULL,                0},
    {KEY(INT, num_hidden_layers),        false, 1,  1024,  NULL,                0},
    {KEY(INT, num_attention_heads),      false, 1,  65536, NULL,                0},
    {KEY(INT, max_position_embeddings),  false, 1,  65536, NULL,                0},
    {KEY(CHOICE, hidden_act),            false, 0,  0,     vn_activation_names, 0},
    {KEY(NUMBER, layer_norm_eps),        false, 0,  1,     NULL,                0},
    {KEY(NUMBER, attention_dropout),     true,  0,  1,     NULL,                0},
};
/* clang-format on */

typedef struct clip {
    clip_keys config;
    bool projection;
    int64_t end; /* the end token; 2: the largest id, which configs of old versions stand for */
} clip;

#define MAX_ID 2

/* ---- config ---------------------------------------------------------------------------------- */

static const char *name_of(bool projection) {
    return projection ? projected_name : net_name;
}

static vn_status read_end(const json_t *config, clip *c, vn_err *err) {
    const json_t *end = json_object_get(config, "eos_token_id");
    c->end = end ? -1 : 49407;
    if (json_is_integer(end)) c->end = json_integer_value(end);
    if (c->end >= 0) return VN_OK; /* one that the vocabulary has not is in no text */
    return vn_fail(err, VN_BAD_FILE, "%s: eos_token_id is not one id", name_of(c->projection));
}

static vn_status check(const clip *c, vn_err *err) {
    const clip_keys *k = &c->config;
    if (k->hidden_size % k->num_attention_heads == 0) return VN_OK;
    return vn_fail(err, VN_BAD_FILE, "%s: hidden_size %lld does not divide into %lld heads",
                   name_of(c->projection), (long long)k->hidden_size,
                   (long long)k->num_attention_heads);
}

static void set_io(const clip *c, vn_net_io *io) {
    const clip_keys *k = &c->config;
    const vn_shape tokens = VN_SHAPE(VN_DIM_BATCH, VN_DIM_TOKENS, k->hidden_size),
                   text = VN_SHAPE(VN_DIM_BATCH, k->hidden_size),
                   embeds = VN_SHAPE(VN_DIM_BATCH, k->projection_dim);
    *io = (vn_net_io){.multiple = 1, .max_tokens = k->max_position_embeddings};
    vn_net_add_input(io, (vn_port){.name = "input_ids",
                                   .dtype = VN_I32,
                                   .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_TOKENS),
                                   .below = k->vocab_size});
    if (c->projection) vn_net_add_output(io, (vn_port){.name = "text_embeds", .shape = embeds});
    vn_net_add_output(io,
                      (vn_port){.name = "last_hidden_state", .shape = tokens, .features = true});
    if (!c->projection)
        vn_net_add_output(io, (vn_port){.name = "pooler_output", .shape = text, .features = true});
    vn_net_add_output(io, (vn_port){.name = "penultimate", .shape = tokens, .features = true});
}

static vn_status open_any(const json_t *config, bool projection, void **self, vn_net_io *io,
                          vn_err *err) {
    static const char *const own[] = {NULL};
    clip *c = vn_calloc(1, sizeof *c);
    if (!c) return vn_no_memory(err);
    c->config = defaults;
    c->projection = projection;
    vn_status status = vn_config_read_transformers(config, name_of(projection), own, fields,
                                                   VN_COUNT(fields), &c->config, err);
    if (!status) status = read_end(config, c, err);
    if (!status) status = check(c, err);
    if (status) {
        vn_free(c);
        return status;
    }
    set_io(c, io);
    *self = c;
    return VN_OK;
}

static vn_status open_clip(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    return open_any(config, false, self, io, err);
}

static vn_status open_projected(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    return open_any(config, true, self, io, err);
}

/* ---- where a text ends ----------------------------------------------------------------------- */

/* What becomes 1 where the id is the end token; of the largest id, a multiple of the id. */
#define STEEP 100.0F

static vn_node *mark_ids(const vn_scope *s, const clip *c, vn_node *ids) {
    const int64_t rows = c->config.vocab_size;
    float *table = vn_alloc((size_t)rows, sizeof *table);
    if (!table) return vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
    for (int64_t i = 0; i < rows; i++)
        table[i] = c->end == MAX_ID ? STEEP * (float)i : (float)(i == c->end);
    vn_node *mark = vn_look_up(s, table, rows, ids);
    vn_free(table);
    return mark;
}

/* 1 at every token of the text's largest id, else 0. A softmax of steep numbers is 1/m at the m
 * largest and 0 elsewhere. */
static vn_node *largest(const vn_scope *s, vn_node *steep) {
    if (!steep) return NULL;
    const double tokens = (double)steep->shape.dim[1];
    vn_node *share = vn_softmax(s->g, steep);
    vn_node *below = vn_unary(s->g, vn_affine(s->g, share, -2 * tokens, 1), VN_FN_RELU);
    return vn_affine(s->g, below, -1, 1);
}

/* [T,T]: 1 where i <= j, so that x times it is the running sum. */
static vn_node *running_sum(const vn_scope *s, int64_t tokens) {
    float *ones = vn_calloc((size_t)(tokens * tokens), sizeof *ones);
    if (!ones) return vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
    for (int64_t i = 0; i < tokens; i++)
        for (int64_t j = i; j < tokens; j++) ones[i * tokens + j] = 1;
    vn_node *node = vn_const(s->g, VN_F32, VN_SHAPE(tokens, tokens), ones);
    vn_free(ones);
    return node;
}

/* [N,T]: 1 at the first marked token of each text, or at its first one where none is. */
static vn_node *text_end(const vn_scope *s, const clip *c, vn_node *ids) {
    vn_node *mark = mark_ids(s, c, ids);
    if (c->end == MAX_ID) mark = largest(s, mark);
    if (!mark) return NULL;
    const int64_t tokens = mark->shape.dim[1];
    vn_node *count = vn_matmul(s->g, mark, running_sum(s, tokens), false, false);
    vn_node *none = vn_unary(s->g, vn_affine(s->g, vn_slice(s->g, count, -1, tokens - 1, 1), -1, 1),
                             VN_FN_RELU);
    vn_node *first = vn_mul(s->g, mark, vn_unary(s->g, vn_affine(s->g, count, -1, 2), VN_FN_RELU));
    return vn_add(s->g, first, vn_place(s->g, none, -1, 0, tokens));
}

/* h [N,T,C] at the end of each text: [N,C]. */
static vn_node *pool(const vn_scope *s, const clip *c, vn_node *ids, vn_node *h) {
    vn_node *end = text_end(s, c, ids);
    if (!end || !h) return NULL;
    const int64_t n = end->shape.dim[0], tokens = end->shape.dim[1];
    end = vn_reshape(s->g, end, VN_SHAPE(n, 1, tokens));
    return vn_reshape(s->g, vn_matmul(s->g, end, h, false, false),
                      VN_SHAPE(n, c->config.hidden_size));
}

/* ---- the network ----------------------------------------------------------------------------- */

static vn_node *embed(const vn_scope *s, const clip *c, vn_node *ids) {
    const clip_keys *k = &c->config;
    vn_node *x = vn_layer_embedding(s, "token_embedding", ids, k->vocab_size, k->hidden_size);
    return vn_add_positions(s, "position_embedding", x, k->max_position_embeddings);
}

static vn_node *attention(const vn_scope *s, const clip_keys *k, vn_node *x) {
    const int64_t width = k->hidden_size, head = width / k->num_attention_heads;
    vn_node *q = vn_layer_linear(s, "q_proj", x, width, width);
    vn_node *key = vn_layer_linear(s, "k_proj", x, width, width);
    vn_node *v = vn_layer_linear(s, "v_proj", x, width, width);
    const vn_attention_options how = {
        .heads = (int)k->num_attention_heads, .scale = 1 / sqrt((double)head), .causal = true};
    return vn_layer_linear(s, "out_proj", vn_attention_of(s->g, q, key, v, &how), width, width);
}

static vn_node *feed_forward(const vn_scope *s, const clip_keys *k, vn_node *x) {
    vn_node *h = vn_layer_linear(s, "fc1", x, k->hidden_size, k->intermediate_size);
    return vn_layer_linear(s, "fc2", vn_activation(s, h, k->hidden_act), k->intermediate_size,
                           k->hidden_size);
}

static vn_node *block(const vn_scope *s, const clip_keys *k, vn_node *x) {
    const vn_scope attend = vn_scope_in(s, "self_attn"), feed = vn_scope_in(s, "mlp");
    const double eps = k->layer_norm_eps;
    x = vn_add(
        s->g, x,
        attention(&attend, k, vn_layer_token_norm(s, "layer_norm1", x, k->hidden_size, eps)));
    return vn_add(
        s->g, x,
        feed_forward(&feed, k, vn_layer_token_norm(s, "layer_norm2", x, k->hidden_size, eps)));
}

static void build(const void *self, const vn_scope *root) {
    const clip *c = self;
    const clip_keys *k = &c->config;
    vn_scope s = c->projection ? vn_scope_in(root, "text_model") : *root, top = *root;
    s.init = top.init = VN_LAYER_INIT_SMALL;
    const vn_scope at = vn_scope_in(&s, "embeddings");
    vn_node *ids = vn_scope_input(root, "input_ids");
    if (root->train && k->attention_dropout > 0) {
        vn_scope_fail(root, "attention_dropout %g: attention's weights are not dropped here",
                      k->attention_dropout);
        return;
    }
    vn_node *x = embed(&at, c, ids), *before = x;
    for (int i = 0; i < k->num_hidden_layers; i++) {
        const vn_scope layer = vn_scope_in(&s, "encoder.layers.%d", i);
        before = x;
        x = vn_block_end(block(&layer, k, x));
    }
    x = vn_layer_token_norm(&s, "final_layer_norm", x, k->hidden_size, k->layer_norm_eps);
    vn_node *text = pool(&s, c, ids, x);
    vn_scope_output(root, "last_hidden_state", x);
    vn_scope_output(root, "penultimate", before);
    vn_scope_output(root, "pooler_output", text);
    if (c->projection)
        vn_scope_output(root, "text_embeds",
                        vn_layer_linear_if(&top, "text_projection", text, k->hidden_size,
                                           k->projection_dim, false));
}

const vn_net_row vn_clip_text_net = {
    .row = {.name = net_name,
            .summary = "CLIP's text encoder: transformers' CLIPTextModel",
            .source = "arXiv 2103.00020; transformers 5.24"},
    .role = VN_ROLE_ENCODER,
    .class_name = "CLIPTextModel",
    .folder = "text_encoder",
    .open = open_clip,
    .close = vn_free,
    .build = build,
};

const vn_net_row vn_clip_projected_net = {
    .row = {.name = projected_name,
            .summary = "the same and its projection: transformers' CLIPTextModelWithProjection",
            .source = "arXiv 2103.00020; transformers 5.24"},
    .role = VN_ROLE_ENCODER,
    .class_name = "CLIPTextModelWithProjection",
    .folder = "text_encoder",
    .open = open_projected,
    .close = vn_free,
    .build = build,
};
