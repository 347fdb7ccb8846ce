/* autoencoder_kl.c - diffusers' AutoencoderKL (0.42.1), with all its options: the autoencoder of
 * Stable Diffusion (2112.10752), 3 and Flux. The encoder gives a normal distribution of latents:
 * "mean", and "logvar" within -30 .. 20. The whole network decodes the mean; the encoder by itself
 * gives the "moments" too, both as they are before the bounds, which parts of an image are blended
 * by. */
#include "nn/autoencoder.h"

static const char net_name[] = "autoencoder-kl";

typedef vn_kl_keys keys;

#define KEY(kind, member) VN_CONFIG_KEY(keys, kind, member)
/* clang-format off */
const vn_field vn_kl_fields[] = {
    VN_AUTOENCODER_FIELDS(keys),
    /* kind, key                       null   min   max  choices null is */
    {KEY(NUMBER, shift_factor),        true,  -1e6, 1e6, NULL,   0},
    {KEY(NUMBERS, latents_mean),       true,  -1e6, 1e6, NULL,   0},
    {KEY(NUMBERS, latents_std),        true,  1e-6, 1e6, NULL,   0},
    {KEY(BOOL, use_quant_conv),        true,  0,    0,   NULL,   0},
    {KEY(BOOL, use_post_quant_conv),   true,  0,    0,   NULL,   0},
};
const size_t vn_kl_field_count = VN_COUNT(vn_kl_fields);
/* clang-format on */

typedef struct autoencoder_kl {
    keys config; /* first: vn_config_open */
    vn_coder body;
} autoencoder_kl;

/* ---- config ---------------------------------------------------------------------------------- */

static vn_status check_config(void *self, vn_err *err) {
    autoencoder_kl *n = self;
    const keys *c = &n->config;
    const vn_status status = vn_coder_check(&n->body, net_name, &c->keys, err);
    if (status) return status;
    const size_t channels = (size_t)c->keys.latent_channels, mean = c->latents_mean.count,
                 deviation = c->latents_std.count;
    if (mean == deviation && (mean == 0 || mean == channels)) return VN_OK;
    return vn_fail(err, VN_BAD_FILE,
                   "%s: latents_mean and latents_std have %zu and %zu entries; both are null, or "
                   "have one for each of the %zu latent_channels",
                   net_name, mean, deviation, channels);
}

static void encoder_ports(const void *self, vn_net_io *io) {
    const autoencoder_kl *n = self;
    const int64_t channels = n->config.keys.latent_channels;
    const bool half = io->inputs == 0;
    if (half) vn_coder_encoder_ports(&n->body, io);
    vn_net_add_output(io, vn_port_of_latents("mean", channels, n->body.factor));
    vn_net_add_output(io, vn_port_of_latents("logvar", channels, n->body.factor));
    if (half) vn_net_add_output(io, vn_port_of_latents("moments", 2 * channels, n->body.factor));
}

static void decoder_ports(const void *self, vn_net_io *io) {
    const autoencoder_kl *n = self;
    vn_net_add_sample(io, true, n->config.keys.latent_channels);
    vn_coder_decoder_ports(&n->body, io);
}

static vn_status open_kl(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    keys defaults = {
        .keys = vn_coder_defaults, .use_quant_conv = true, .use_post_quant_conv = true};
    defaults.keys.latent_channels = 4;
    const vn_config_kind kind = {.net = net_name,
                                 .fields = vn_kl_fields,
                                 .count = vn_kl_field_count,
                                 .size = sizeof(autoencoder_kl),
                                 .defaults = &defaults,
                                 .known = sizeof defaults,
                                 .check = check_config};
    const vn_status status = vn_config_open(config, &kind, self, err);
    if (status) return status;
    const autoencoder_kl *n = *self;
    const keys *c = &n->config;
    vn_coder_set_io(&n->body, io);
    encoder_ports(n, io);
    io->latents.shift = c->shift_factor;
    io->latents.mean = c->latents_mean.count ? c->latents_mean.at : NULL;
    io->latents.deviation = c->latents_std.count ? c->latents_std.at : NULL;
    return VN_OK;
}

/* ---- graph ----------------------------------------------------------------------------------- */

#define LEAST (-30.0)
#define MOST  20.0

/* x within LEAST .. MOST, to the bit where it is. */
static vn_node *clamped(const vn_scope *s, vn_node *x) {
    vn_node *above = vn_unary(s->g, vn_affine(s->g, x, 1, -MOST), VN_FN_RELU),
            *below = vn_unary(s->g, vn_affine(s->g, x, -1, LEAST), VN_FN_RELU);
    return vn_add(s->g, vn_sub(s->g, x, above), below);
}

/* Returns the mean. */
static vn_node *encode(const vn_scope *s, const autoencoder_kl *n) {
    const int64_t channels = n->config.keys.latent_channels;
    vn_node *moments = vn_coder_encode(s, &n->body, vn_scope_input(s, "sample"), 2 * channels);
    if (n->config.use_quant_conv)
        moments = vn_layer_conv1(s, "quant_conv", moments, 2 * channels, 2 * channels, true);
    vn_scope_output(s, "moments", moments);
    vn_node *mean = vn_slice(s->g, moments, -1, 0, channels);
    vn_scope_output(s, "mean", mean);
    vn_scope_output(s, "logvar", clamped(s, vn_slice(s->g, moments, -1, channels, channels)));
    return mean;
}

static void decode(const vn_scope *s, const autoencoder_kl *n, vn_node *z) {
    const int64_t channels = n->config.keys.latent_channels;
    if (n->config.use_post_quant_conv)
        z = vn_layer_conv1(s, "post_quant_conv", z, channels, channels, true);
    vn_scope_output(s, "decoded", vn_coder_decode(s, &n->body, z, NULL));
}

static void build_encoder(const void *self, const vn_scope *s) {
    encode(s, self);
}

static void build_decoder(const void *self, const vn_scope *s) {
    decode(s, self, vn_scope_input(s, "sample"));
}

static void build(const void *self, const vn_scope *s) {
    decode(s, self, encode(s, self));
}

const vn_net_row vn_autoencoder_kl_net = {
    .row = {.name = net_name,
            .summary = "images as normal distributions of latents: diffusers' AutoencoderKL",
            .source = "arXiv 1312.6114, 2112.10752; diffusers 0.42.1"},
    .role = VN_ROLE_AUTOENCODER,
    .class_name = "AutoencoderKL",
    .folder = "vae",
    .habits = VN_AUTOENCODER_HABITS,
    .open = open_kl,
    .close = vn_free,
    .build = build,
    .half = {[VN_HALF_ENCODER] = {encoder_ports, build_encoder},
             [VN_HALF_DECODER] = {decoder_ports, build_decoder}},
};
