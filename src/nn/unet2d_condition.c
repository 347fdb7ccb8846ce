/* unet2d_condition.c - diffusers' UNet2DConditionModel (0.42.1): the U-Net of Stable Diffusion 1.x,
 * 2.x (2112.10752) and XL (2307.01952), whose pixels attend to a text. As UNet2DModel it is a
 * convolution, levels down, a middle and levels up, with the embedding of time and conditions in
 * every residual block; to that embedding it adds classes, and of SDXL the text as a whole
 * (text_embeds) beside the sizes that the image had and has (time_ids). A network that was
 * distilled to know its guidance gets that as timestep_cond. State dicts are the same as
 * diffusers', tensor for tensor; what vane does not run is refused by name. */
#include "nn/unet2d_condition.h"

#include <math.h>

static const char net_name[] = "unet2d-condition";

/* ---- ports ----------------------------------------------------------------------------------- */

/* Lengths of SDXL's time_ids: sizes before and after cropping, where it was cropped, and the size
 * that is asked for, two numbers each; the refiner has one less. */
#define USUAL_IDS 6

static void add_vectors(vn_net_io *io, const char *name, int64_t width, bool optional) {
    vn_net_add_input(
        io, (vn_port){.name = name, .shape = VN_SHAPE(VN_DIM_BATCH, width), .optional = optional});
}

static void take_class(const vn_unet2d_condition *u, vn_net_io *io) {
    const vn_unet2d_condition_keys *c = &u->config;
    switch (c->class_embed_type) {
    case VN_CONDITION_CLASS_TABLE: vn_net_add_labels(io, c->num_class_embeds); break;
    case VN_CONDITION_CLASS_TIME:
        vn_net_add_input(io, (vn_port){.name = "class_labels", .shape = VN_SHAPE(VN_DIM_BATCH)});
        break;
    case VN_CONDITION_CLASS_VECTOR: add_vectors(io, "class_labels", u->time_width, false); break;
    default: add_vectors(io, "class_labels", c->projection_class_embeddings_input_dim, false);
    }
}

/* text_embeds and time_ids, which share the width that the config says. */
static void take_addition(const vn_unet2d_condition_keys *c, vn_net_io *io) {
    if (c->addition_embed_type != VN_CONDITION_ADDED_TEXT_TIME) return;
    const int64_t dim = c->addition_time_embed_dim,
                  width = c->projection_class_embeddings_input_dim, most = (width - 1) / dim;
    io->usual_ids = most < USUAL_IDS ? most : USUAL_IDS;
    io->usual_pooled = width - io->usual_ids * dim;
    add_vectors(io, "text_embeds", VN_DIM_POOLED, false);
    add_vectors(io, "time_ids", VN_DIM_IDS, false);
}

static void set_io(const vn_unet2d_condition *u, vn_net_io *io) {
    const vn_unet2d_condition_keys *c = &u->config;
    *io = (vn_net_io){.height = c->sample_size[0], .width = c->sample_size[1]};
    vn_unet_set_io(&u->body, io);
    vn_net_add_sample(io, true, c->in_channels);
    vn_net_add_time(io, 0);
    vn_net_add_input(io, (vn_port){.name = "encoder_hidden_states",
                                   .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_TOKENS, u->text_width),
                                   .features = true});
    take_class(u, io);
    take_addition(c, io);
    if (c->time_cond_proj_dim) add_vectors(io, "timestep_cond", c->time_cond_proj_dim, true);
    vn_net_add_input(io, (vn_port){.name = "encoder_attention_mask",
                                   .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_TOKENS),
                                   .optional = true,
                                   .missing = 1});
    vn_net_add_denoised(io, c->out_channels);
}

static vn_status open_unet(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    vn_unet2d_condition *u = vn_calloc(1, sizeof *u);
    if (!u) return vn_no_memory(err);
    const vn_status status = vn_unet2d_condition_read(config, u, err);
    if (status) {
        vn_free(u);
        return status;
    }
    set_io(u, io);
    *self = u;
    return VN_OK;
}

/* ---- the embedding of time and conditions ---------------------------------------------------- */

#define FOURIER_SCALE 1.0
#define TEXT_NORM_EPS 1e-5
#define MASKED        10000.0 /* what a mask of 0 takes from a score */

static vn_fn activation(int64_t choice) {
    return choice == VN_CONDITION_NO_ACT ? VN_FN_IDENTITY : vn_unet_activation_fn[choice];
}

/* The time, or a class given as one, as numbers [N,time_features]. */
static vn_node *features(const vn_scope *s, const vn_unet2d_condition *u, vn_node *t) {
    const vn_unet2d_condition_keys *c = &u->config;
    if (c->time_embedding_type == VN_CONDITION_FOURIER)
        return vn_time_fourier_plain(s, "time_proj", t, u->time_features / 2, FOURIER_SCALE,
                                     c->flip_sin_to_cos);
    return vn_time_sinusoids(s, t, u->time_features, c->flip_sin_to_cos, c->freq_shift);
}

static vn_node *embed_time(const vn_scope *s, const vn_unet2d_condition *u) {
    const vn_unet2d_condition_keys *c = &u->config;
    const vn_scope at = vn_scope_in(s, "time_embedding");
    vn_node *t = features(s, u, vn_scope_input(s, "timestep"));
    if (c->time_cond_proj_dim)
        t = vn_add(s->g, t,
                   vn_layer_linear_if(&at, "cond_proj", vn_scope_input(s, "timestep_cond"),
                                      c->time_cond_proj_dim, u->time_features, false));
    t = vn_time_embedding_act(s, "time_embedding", t, u->time_features, u->time_width,
                              u->body.style.act);
    return vn_unary(s->g, t, activation(c->timestep_post_act));
}

/* [N,time_width]; NULL: there are no classes. */
static vn_node *embed_class(const vn_scope *s, const vn_unet2d_condition *u) {
    static const char name[] = "class_embedding";
    const vn_unet2d_condition_keys *c = &u->config;
    vn_node *class = vn_scope_input(s, "class_labels");
    if (!class) return NULL;
    switch (c->class_embed_type) {
    case VN_CONDITION_CLASS_TIME:
        return vn_time_embedding_act(s, name, features(s, u, class), u->time_features,
                                     u->time_width, u->body.style.act);
    case VN_CONDITION_CLASS_VECTOR: return class;
    case VN_CONDITION_CLASS_PROJECTION:
        return vn_time_embedding(s, name, class, c->projection_class_embeddings_input_dim,
                                 u->time_width);
    case VN_CONDITION_CLASS_LINEAR:
        return vn_layer_linear(s, name, class, c->projection_class_embeddings_input_dim,
                               u->time_width);
    default: return vn_layer_embedding(s, name, class, c->num_class_embeds, u->time_width);
    }
}

/* text_embeds beside the sinusoids of all time_ids. */
static vn_node *embed_text_time(const vn_scope *s, const vn_unet2d_condition *u) {
    const vn_unet2d_condition_keys *c = &u->config;
    vn_node *text = vn_scope_input(s, "text_embeds"), *ids = vn_scope_input(s, "time_ids");
    if (!text || !ids) return NULL;
    const int64_t dim = c->addition_time_embed_dim, n = ids->shape.dim[0],
                  count = ids->shape.dim[1], width = c->projection_class_embeddings_input_dim;
    if (text->shape.dim[1] + count * dim != width)
        return vn_scope_fail(s,
                             "text_embeds of %lld numbers and %lld time_ids of "
                             "addition_time_embed_dim %lld are not "
                             "projection_class_embeddings_input_dim %lld",
                             (long long)text->shape.dim[1], (long long)count, (long long)dim,
                             (long long)width);
    vn_node *t = vn_time_sinusoids(s, vn_reshape(s->g, ids, VN_SHAPE(n * count)), dim,
                                   c->flip_sin_to_cos, c->freq_shift);
    t = vn_reshape(s->g, t, VN_SHAPE(n, count * dim));
    return vn_time_embedding(s, "add_embedding", vn_concat(s->g, -1, 2, (vn_node *[]){text, t}),
                             width, u->time_width);
}

static vn_node *mean_token(const vn_scope *s, vn_node *x) {
    const int64_t *d = x->shape.dim;
    return vn_affine(s->g, vn_sum_to(s->g, x, VN_SHAPE(d[0], 1, d[2])), 1 / (double)d[1], 0);
}

/* The text as a whole by attention pooling: what its mean token asks of all and of itself. */
static vn_node *embed_text(const vn_scope *s, const vn_unet2d_condition *u) {
    const vn_unet2d_condition_keys *c = &u->config;
    const int64_t width = u->text_width, heads = c->addition_embed_type_num_heads,
                  head = width / heads;
    const vn_scope at = vn_scope_in(s, "add_embedding"), pool = vn_scope_in(&at, "pool");
    vn_node *x = vn_layer_token_norm(&at, "norm1", vn_scope_text(s, "encoder_hidden_states", 1),
                                     width, TEXT_NORM_EPS);
    if (!x) return NULL;
    const int64_t n = x->shape.dim[0];
    const vn_init small = {VN_INIT_NORMAL, 1 / sqrt((double)width)};
    vn_graph_label(s->g, "%s", pool.path);
    vn_node *place = vn_param_node(s->g, s->w, "add_embedding.pool.positional_embedding",
                                   VN_SHAPE(1, width), VN_LAYOUT_PLAIN, small);
    vn_node *first = vn_add(s->g, mean_token(s, x), vn_reshape(s->g, place, VN_SHAPE(1, 1, width)));
    x = vn_concat(s->g, 1, 2, (vn_node *[]){first, x});
    vn_node *k = vn_layer_linear(&pool, "k_proj", x, width, width);
    vn_node *q = vn_layer_linear(&pool, "q_proj", first, width, width);
    vn_node *v = vn_layer_linear(&pool, "v_proj", x, width, width);
    x = vn_attention(s->g, q, k, v, (int)heads, 1 / sqrt((double)head));
    x = vn_layer_linear(&at, "proj", vn_reshape(s->g, x, VN_SHAPE(n, width)), width, u->time_width);
    return vn_layer_token_norm(&at, "norm2", x, u->time_width, TEXT_NORM_EPS);
}

static vn_time embed(const vn_scope *s, const vn_unet2d_condition *u) {
    const vn_unet2d_condition_keys *c = &u->config;
    vn_node *e = embed_time(s, u), *class = embed_class(s, u);
    if (class)
        e = c->class_embeddings_concat ? vn_concat(s->g, -1, 2, (vn_node *[]){e, class})
                                       : vn_add(s->g, e, class);
    if (c->addition_embed_type == VN_CONDITION_ADDED_TEXT)
        e = vn_add(s->g, e, embed_text(s, u));
    else if (c->addition_embed_type == VN_CONDITION_ADDED_TEXT_TIME)
        e = vn_add(s->g, e, embed_text_time(s, u));
    e = vn_unary(s->g, e, activation(c->time_embedding_act_fn));
    return (vn_time){e, vn_unary(s->g, e, u->body.style.act),
                     (c->class_embeddings_concat ? 2 : 1) * u->time_width};
}

/* ---- the network ----------------------------------------------------------------------------- */

/* The bias of a text's tokens as keys, of a mask that is 1 where they are seen. */
static vn_node *bias_of(const vn_scope *s, vn_node *mask) {
    if (!mask) return NULL;
    return vn_reshape(s->g, vn_affine(s->g, mask, MASKED, -MASKED),
                      VN_SHAPE(mask->shape.dim[0], 1, 1, mask->shape.dim[1]));
}

static vn_node *convolve(const vn_scope *s, const char *name, vn_node *x, int64_t in, int64_t out,
                         int64_t kernel) {
    const int pad = (int)(kernel - 1) / 2;
    return vn_layer_conv(s, name, x,
                         (vn_conv){.in = in,
                                   .out = out,
                                   .kernel = (int)kernel,
                                   .stride = 1,
                                   .pad = {pad, pad, pad, pad},
                                   .bias = true});
}

static void build(const void *self, const vn_scope *s) {
    static const char text[] = "encoder_hidden_states", mask[] = "encoder_attention_mask";
    const vn_unet2d_condition *u = self;
    const vn_unet2d_condition_keys *c = &u->config;
    const int64_t first = c->block_out_channels.at[0];
    vn_node *x = vn_scope_input(s, "sample");
    if (c->center_input_sample) x = vn_affine(s->g, x, 2, -1);
    vn_unet_state state = {.time = embed(s, u),
                           .context = vn_scope_text(s, text, 1),
                           .bias = bias_of(s, vn_scope_text(s, mask, 1)),
                           .negative = vn_scope_negative(s, text, 1),
                           .negative_bias = bias_of(s, vn_scope_negative(s, mask, 1))};
    vn_node **const of[2] = {&state.context, &state.negative};
    for (int i = 0; i < 2 && c->encoder_hid_dim; i++)
        if (*of[i])
            *of[i] = vn_layer_linear(s, "encoder_hid_proj", *of[i], c->encoder_hid_dim, u->context);
    state.x = vn_block_end(convolve(s, "conv_in", x, c->in_channels, first, c->conv_in_kernel));
    vn_unet_go_down(s, &u->body, &state);
    vn_unet_go_up(s, &u->body, &state);
    x = state.x;
    if (c->norm_num_groups)
        x = vn_layer_group_norm(s, "conv_norm_out", x, first, c->norm_num_groups, c->norm_eps,
                                u->body.style.act);
    vn_scope_denoised(s, convolve(s, "conv_out", x, first, c->out_channels, c->conv_out_kernel));
}

const vn_net_row vn_unet2d_condition_net = {
    .row = {.name = net_name,
            .summary = "U-Net that attends to a text, as of Stable Diffusion 1, 2 and XL: "
                       "diffusers' UNet2DConditionModel",
            .source = "arXiv 2112.10752, 2307.01952; diffusers 0.42.1",
            .params = vn_unet2d_condition_presets},
    .role = VN_ROLE_DENOISER,
    .class_name = "UNet2DConditionModel",
    .folder = "unet",
    .takes_texts = true,
    .config = vn_unet2d_condition_config,
    .open = open_unet,
    .close = vn_free,
    .build = build,
};
