/* autoencoder_vq.c - autoencoders whose latents are quantised, each pixel of them to one of a
 * number of codes. The gradient goes straight through the rounding (1308.3432).
 *   VQModel of diffusers (0.42.1), the VQGAN of 2012.09841 and 2112.10752: to the nearest row of a
 *   learned codebook. With norm_type "spatial" the quantised latents modulate the decoder's norms
 *   (MoVQ, 2209.09002).
 *   VaneFSQModel, vane's own: the same encoder and decoder around finite scalar quantisation
 *   (2309.15505): each channel is rounded to one of its `levels` numbers, and there is no codebook.
 * What the output "latents" has is not quantised yet, as in diffusers. */
#include "nn/autoencoder.h"

#include <math.h>

#define MAX_ROWS  1e6
#define MAX_CODES (1 << 20)

typedef vn_vq_keys keys;

static const char *const norms[] = {"group", "spatial", NULL};
enum { GROUP, SPATIAL };

#define KEY(kind, member) VN_CONFIG_KEY(keys, kind, member)
/* clang-format off */
const vn_field vn_vq_fields[] = {
    VN_AUTOENCODER_FIELDS(keys),
    /* kind, key                        null   min max       choices null is */
    {KEY(INT, num_vq_embeddings),       false, 1,  MAX_ROWS, NULL,   0},
    {KEY(INT, vq_embed_dim),            true,  1,  65536,    NULL,   0},
    {KEY(CHOICE, norm_type),            false, 0,  0,        norms,  0},
    {KEY(BOOL, lookup_from_codebook),   true,  0,  0,        NULL,   0},
};
const vn_field vn_fsq_fields[] = {
    VN_AUTOENCODER_FIELDS(keys),
    {KEY(CHOICE, norm_type),            false, 0,  0,        norms,  0},
    {KEY(INTS, levels),                 false, 2,  4096,     NULL,   0},
};
const size_t vn_vq_field_count = VN_COUNT(vn_vq_fields);
const size_t vn_fsq_field_count = VN_COUNT(vn_fsq_fields);
/* clang-format on */

typedef struct quantised {
    keys config; /* first: vn_config_open */
    vn_coder body;
    int64_t width, codes; /* numbers of a latent pixel; what it can become */
} quantised;

static bool is_scalar(const quantised *n) {
    return n->config.levels.count > 0;
}

static const char *name_of(const quantised *n) {
    return is_scalar(n) ? vn_autoencoder_fsq_net.row.name : vn_autoencoder_vq_net.row.name;
}

/* ---- config ---------------------------------------------------------------------------------- */

static vn_status count_codes(quantised *n, vn_err *err) {
    const keys *c = &n->config;
    n->width = is_scalar(n)      ? (int64_t)c->levels.count
               : c->vq_embed_dim ? c->vq_embed_dim
                                 : c->keys.latent_channels;
    n->codes = c->num_vq_embeddings;
    if (!is_scalar(n)) return VN_OK;
    n->codes = 1;
    for (size_t i = 0; i < c->levels.count && n->codes <= MAX_CODES; i++)
        n->codes *= c->levels.at[i];
    if (n->codes <= MAX_CODES) return VN_OK;
    return vn_fail(err, VN_UNSUPPORTED, "%s: levels make more than %d codes", name_of(n),
                   MAX_CODES);
}

static vn_status check_config(void *self, vn_err *err) {
    quantised *n = self;
    const char *name = name_of(n);
    const keys *c = &n->config;
    vn_status status = vn_coder_check(&n->body, name, &c->keys, err);
    if (!status) status = count_codes(n, err);
    if (status || c->norm_type == GROUP) return status;
    n->body.z_channels = c->keys.latent_channels;
    if (n->width == c->keys.latent_channels) return VN_OK;
    return vn_fail(err, VN_BAD_FILE,
                   "%s: norm_type \"spatial\" needs quantised latents of latent_channels %lld "
                   "numbers; %s makes them %lld",
                   name, (long long)c->keys.latent_channels,
                   is_scalar(n) ? "levels" : "vq_embed_dim", (long long)n->width);
}

static void add_codes(const quantised *n, vn_net_io *io, bool optional) {
    vn_net_add_output(io, (vn_port){.name = "codes",
                                    .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_HEIGHT, VN_DIM_WIDTH),
                                    .reduced = n->body.factor,
                                    .optional = optional});
}

static void encoder_ports(const void *self, vn_net_io *io) {
    const quantised *n = self;
    vn_coder_encoder_ports(&n->body, io);
    vn_net_add_output(io, vn_port_of_latents("latents", n->width, n->body.factor));
    add_codes(n, io, false);
    if (is_scalar(n)) return;
    vn_port rows = vn_port_of_latents("quantised", n->width, n->body.factor);
    rows.optional = true;
    vn_net_add_output(io, rows);
}

static void decoder_ports(const void *self, vn_net_io *io) {
    const quantised *n = self;
    vn_net_add_sample(io, true, n->width);
    vn_coder_decoder_ports(&n->body, io);
}

static void lookup_ports(const void *self, vn_net_io *io) {
    const quantised *n = self;
    vn_net_add_input(io, (vn_port){.name = "codes",
                                   .dtype = VN_I32,
                                   .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_HEIGHT, VN_DIM_WIDTH),
                                   .below = n->codes});
    vn_coder_decoder_ports(&n->body, io);
}

static vn_status open_quantised(const char *net, const keys *defaults, const vn_field *fields,
                                size_t count, const json_t *config, void **self, vn_net_io *io,
                                vn_err *err) {
    const vn_config_kind kind = {.net = net,
                                 .fields = fields,
                                 .count = count,
                                 .size = sizeof(quantised),
                                 .defaults = defaults,
                                 .known = sizeof *defaults,
                                 .check = check_config};
    const vn_status status = vn_config_open(config, &kind, self, err);
    if (status) return status;
    const quantised *n = *self;
    vn_coder_set_io(&n->body, io);
    vn_net_add_output(io, vn_port_of_latents("latents", n->width, n->body.factor));
    add_codes(n, io, true);
    io->latents.channels = n->width;
    io->latents.codes = n->codes;
    io->latents.tile = 0; /* neither has diffusers' VQModel */
    return VN_OK;
}

static vn_status open_vq(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    keys defaults = {.keys = vn_coder_defaults, .num_vq_embeddings = 256};
    defaults.keys.latent_channels = 3;
    return open_quantised(vn_autoencoder_vq_net.row.name, &defaults, vn_vq_fields,
                          vn_vq_field_count, config, self, io, err);
}

static vn_status open_fsq(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    keys defaults = {.keys = vn_coder_defaults, .levels = {4, {8, 5, 5, 5}}};
    defaults.keys.latent_channels = 4;
    return open_quantised(vn_autoencoder_fsq_net.row.name, &defaults, vn_fsq_fields,
                          vn_fsq_field_count, config, self, io, err);
}

/* ---- quantisers ------------------------------------------------------------------------------ */

/* What a latent is rounded to. */
typedef struct rounded {
    vn_node *codes;  /* i32, or f32 of whole numbers; [N,h,w] */
    vn_node *values; /* [N,h,w,width], with a gradient to what was rounded */
    vn_node *rows;   /* the same with a gradient to the codebook alone; NULL: there is none */
} rounded;

/* z + (to - z) in value, z to derivatives. */
static vn_node *straight_through(const vn_scope *s, vn_node *z, vn_node *to) {
    return vn_add(s->g, z, vn_stop_gradient(s->g, vn_sub(s->g, to, z)));
}

/* VectorQuantizer's codebook, whose rows begin uniform within 1 over their number. */
static vn_node *codebook(const vn_scope *s, const quantised *n) {
    return vn_param_node(s->g, s->w, "quantize.embedding.weight", VN_SHAPE(n->codes, n->width),
                         VN_LAYOUT_PLAIN, (vn_init){VN_INIT_UNIFORM, 1 / (double)n->codes});
}

static rounded to_codebook(const vn_scope *s, const quantised *n, vn_node *z) {
    vn_node *table = codebook(s, n), *codes = vn_nearest_row(s->g, z, table);
    vn_node *rows = vn_embedding(s->g, table, codes);
    return (rounded){codes, straight_through(s, z, rows), rows};
}

/* Of a channel with L levels: rounded, h tanh(z + shift) - offset is one of the L whole numbers
 * from -floor(L/2). A little more than (L - 1)/2, so that the outermost are reached. */
typedef struct scalar {
    float half, offset, shift, below, place;
} scalar;

static scalar scalar_of(int64_t levels) {
    const int64_t below = levels / 2;
    const double half = (double)(levels - 1) * (1 + 1e-3) / 2, offset = levels % 2 ? 0 : 0.5;
    return (scalar){.half = (float)half,
                    .offset = (float)offset,
                    .shift = (float)atanh(offset / half),
                    .below = (float)below};
}

/* A number of each channel as [1,1,1,width]. */
static vn_node *each(const vn_scope *s, const quantised *n, size_t member) {
    float value[VN_CONFIG_MAX_LIST], place = 1;
    for (size_t i = 0; i < n->config.levels.count; i++) {
        scalar c = scalar_of(n->config.levels.at[i]);
        c.place = place;
        place *= (float)n->config.levels.at[i];
        value[i] = *(const float *)(const void *)((const char *)&c + member);
    }
    return vn_const(s->g, VN_F32, VN_SHAPE(1, 1, 1, n->width), value);
}
#define EACH(member) each(s, n, offsetof(scalar, member))

/* The whole number nearest to each of z, as floats: those of the widest channel are a table. */
static vn_node *nearest_whole(const vn_scope *s, const quantised *n, vn_node *z) {
    float table[4097]; /* as many as a channel may have, and one */
    int64_t widest = 0;
    if (!z) return NULL;
    for (size_t i = 0; i < n->config.levels.count; i++)
        if (n->config.levels.at[i] > widest) widest = n->config.levels.at[i];
    const int64_t below = widest / 2, count = 2 * below + 1;
    for (int64_t i = 0; i < count; i++) table[i] = (float)(i - below);
    vn_node *index =
        vn_nearest_row(s->g, vn_reshape(s->g, z, VN_SHAPE(vn_shape_count(&z->shape), 1)),
                       vn_const(s->g, VN_F32, VN_SHAPE(count, 1), table));
    index = vn_cast(s->g, index, VN_F32);
    return vn_affine(s->g, vn_reshape(s->g, index, z->shape), 1, -(double)below);
}

static rounded to_scalars(const vn_scope *s, const quantised *n, vn_node *z) {
    vn_graph *g = s->g;
    z = vn_mul(g, vn_unary(g, vn_add(g, z, EACH(shift)), VN_FN_TANH), EACH(half));
    z = vn_sub(g, z, EACH(offset));
    vn_node *whole = nearest_whole(s, n, z);
    if (!whole) return (rounded){0};
    const int64_t *d = whole->shape.dim;
    vn_node *digits = vn_mul(g, vn_add(g, whole, EACH(below)), EACH(place));
    vn_node *codes = vn_reshape(g, vn_sum_to(g, digits, VN_SHAPE(d[0], d[1], d[2], 1)),
                                VN_SHAPE(d[0], d[1], d[2]));
    return (rounded){codes, vn_div(g, straight_through(s, z, whole), EACH(below)), NULL};
}

static rounded quantise(const vn_scope *s, const quantised *n, vn_node *z) {
    return is_scalar(n) ? to_scalars(s, n, z) : to_codebook(s, n, z);
}

/* The values of all codes of scalars [codes,width], the first channel's digit changing fastest. */
static vn_node *all_scalars(const vn_scope *s, const quantised *n) {
    const vn_config_ints *levels = &n->config.levels;
    float *table = vn_alloc((size_t)(n->codes * n->width), sizeof *table);
    if (!table) return vn_graph_fail(s->g, VN_NO_MEMORY, "out of memory");
    for (int64_t i = 0; i < n->codes; i++) {
        int64_t rest = i;
        for (size_t k = 0; k < levels->count; k++) {
            const int64_t half = levels->at[k] / 2;
            table[i * n->width + (int64_t)k] = (float)(rest % levels->at[k] - half) / (float)half;
            rest /= levels->at[k];
        }
    }
    vn_node *y = vn_const(s->g, VN_F32, VN_SHAPE(n->codes, n->width), table);
    vn_free(table);
    return y;
}

/* ---- the network ----------------------------------------------------------------------------- */

/* Latents that are not quantised yet. */
static vn_node *encode(const vn_scope *s, const quantised *n) {
    const int64_t channels = n->config.keys.latent_channels;
    vn_node *z = vn_coder_encode(s, &n->body, vn_scope_input(s, "sample"), channels);
    z = vn_layer_conv1(s, "quant_conv", z, channels, n->width, true);
    vn_scope_output(s, "latents", z);
    return z;
}

static void give_codes(const vn_scope *s, vn_node *codes) {
    if (codes) vn_scope_output(s, "codes", vn_cast(s->g, codes, VN_F32));
}

static void decode(const vn_scope *s, const quantised *n, vn_node *values) {
    vn_node *z = vn_layer_conv1(s, "post_quant_conv", values, n->width,
                                n->config.keys.latent_channels, true);
    vn_scope_output(
        s, "decoded",
        vn_coder_decode(s, &n->body, z, n->config.norm_type == SPATIAL ? values : NULL));
}

static void build_encoder(const void *self, const vn_scope *s) {
    const rounded to = quantise(s, self, encode(s, self));
    give_codes(s, to.codes);
    if (to.rows) vn_scope_output(s, "quantised", to.rows);
}

static void build_decoder(const void *self, const vn_scope *s) {
    decode(s, self, quantise(s, self, vn_scope_input(s, "sample")).values);
}

static void build_lookup(const void *self, const vn_scope *s) {
    const quantised *n = self;
    vn_node *table = is_scalar(n) ? all_scalars(s, n) : codebook(s, n);
    decode(s, n, vn_embedding(s->g, table, vn_scope_input(s, "codes")));
}

static void build(const void *self, const vn_scope *s) {
    const rounded to = quantise(s, self, encode(s, self));
    give_codes(s, to.codes);
    decode(s, self, to.values);
}

#define HALVES                                                                                     \
    {                                                                                              \
        [VN_HALF_ENCODER] = {encoder_ports, build_encoder},                                        \
        [VN_HALF_DECODER] = {decoder_ports, build_decoder},                                        \
        [VN_HALF_LOOKUP] = {lookup_ports, build_lookup},                                           \
    }

const vn_net_row vn_autoencoder_vq_net = {
    .row = {.name = "autoencoder-vq",
            .summary = "images as rows of a learned codebook: diffusers' VQModel",
            .source = "arXiv 1711.00937, 2012.09841, 2209.09002; diffusers 0.42.1"},
    .role = VN_ROLE_AUTOENCODER,
    .class_name = "VQModel",
    .folder = "vqvae",
    .habits = VN_AUTOENCODER_HABITS,
    .open = open_vq,
    .close = vn_free,
    .build = build,
    .half = HALVES,
};

const vn_net_row vn_autoencoder_fsq_net = {
    .row = {.name = "autoencoder-fsq",
            .summary = "images as latents rounded to a few levels each (finite scalar "
                       "quantisation)",
            .source = "arXiv 2309.15505"},
    .role = VN_ROLE_AUTOENCODER,
    .class_name = "VaneFSQModel",
    .folder = "vqvae",
    .habits = VN_AUTOENCODER_HABITS,
    .open = open_fsq,
    .close = vn_free,
    .build = build,
    .half = HALVES,
};
