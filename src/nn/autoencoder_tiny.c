/* autoencoder_tiny.c - diffusers' AutoencoderTiny (0.42.1): TAESD, 3x3 convolutions without norms,
 * small enough for previews. The decoder keeps latents within -3 .. 3 by 3 tanh(z/3); images are in
 * [0,1] inside. What diffusers' forward() does between encoder and decoder, rounding the latents to
 * bytes as a picture would store them, is not done: `latent_magnitude` and `latent_shift` say only
 * how such a picture is read. */
#include "nn/autoencoder.h"

#include <string.h>

static const char net_name[] = "autoencoder-tiny";

#define MAX_STAGES 10
#define USUAL_TILE 512 /* pixels on a side of a part of a large image, as in diffusers */

typedef vn_tiny_keys keys;

/* Ways of enlarging by a whole factor; the first two are the same. */
static const char *const resizes[] = {"nearest", "nearest-exact", "linear", "bilinear",
                                      "bicubic", "trilinear",     NULL};
enum { NEAREST, NEAREST_EXACT };

const keys vn_tiny_defaults = {
    .in_channels = 3,
    .out_channels = 3,
    .encoder_block_out_channels = {4, {64, 64, 64, 64}},
    .decoder_block_out_channels = {4, {64, 64, 64, 64}},
    .act_fn = 4, /* relu */
    .latent_channels = 4,
    .upsampling_scaling_factor = 2,
    .num_encoder_blocks = {4, {1, 3, 3, 3}},
    .num_decoder_blocks = {4, {3, 3, 3, 1}},
    .latent_magnitude = 3,
    .latent_shift = 0.5,
    .scaling_factor = 1,
};

#define KEY(kind, member) VN_CONFIG_KEY(keys, kind, member)
/* clang-format off */
const vn_field vn_tiny_fields[] = {
    /* kind, key                             null   min   max    choices null is */
    {KEY(INT, in_channels),                  false, 1,    65536, NULL,   0},
    {KEY(INT, out_channels),                 false, 1,    65536, NULL,   0},
    {KEY(INTS, encoder_block_out_channels),  false, 1,    65536, NULL,   0},
    {KEY(INTS, decoder_block_out_channels),  false, 1,    65536, NULL,   0},
    {KEY(INTS, block_out_channels),          false, 1,    65536, NULL,   0},
    {KEY(CHOICE, act_fn),                    false, 0,    0, vn_unet_activations, 0},
    {KEY(CHOICE, upsample_fn),               false, 0,    0, resizes,    0},
    {KEY(INT, latent_channels),              false, 1,    65536, NULL,   0},
    {KEY(INT, upsampling_scaling_factor),    false, 1,    VN_MAX_TAPS, NULL, 0},
    {KEY(INTS, num_encoder_blocks),          false, 0,    64,    NULL,   0},
    {KEY(INTS, num_decoder_blocks),          false, 0,    64,    NULL,   0},
    {KEY(NUMBER, latent_magnitude),          false, -1e6, 1e6,   NULL,   0},
    {KEY(NUMBER, latent_shift),              false, -1e6, 1e6,   NULL,   0},
    {KEY(BOOL, force_upcast),                true,  0,    0,     NULL,   0},
    {KEY(NUMBER, scaling_factor),            false, -1e6, 1e6,   NULL,   0},
    {KEY(NUMBER, shift_factor),              true,  -1e6, 1e6,   NULL,   0},
};
const size_t vn_tiny_field_count = VN_COUNT(vn_tiny_fields);
/* clang-format on */

typedef struct tiny {
    keys config;              /* first: vn_config_open */
    int64_t factor, enlarged; /* of the encoder; of the decoder, which is another in some configs */
} tiny;

/* ---- config ---------------------------------------------------------------------------------- */

static bool same_ints(const vn_config_ints *a, const vn_config_ints *b) {
    return a->count == b->count && !memcmp(a->at, b->at, a->count * sizeof *a->at);
}

static vn_status check_stages(const char *side, const vn_config_ints *channels,
                              const vn_config_ints *blocks, vn_err *err) {
    if (channels->count != blocks->count)
        return vn_fail(err, VN_BAD_FILE,
                       "%s: %s_block_out_channels and num_%s_blocks must be of one length; they "
                       "have %zu and %zu entries",
                       net_name, side, side, channels->count, blocks->count);
    if (channels->count > MAX_STAGES)
        return vn_fail(err, VN_UNSUPPORTED,
                       "%s: %s_block_out_channels has %zu entries; at most %d are supported",
                       net_name, side, channels->count, MAX_STAGES);
    return VN_OK;
}

static vn_status check_keys(const keys *c, vn_err *err) {
    vn_status status =
        check_stages("encoder", &c->encoder_block_out_channels, &c->num_encoder_blocks, err);
    if (!status)
        status =
            check_stages("decoder", &c->decoder_block_out_channels, &c->num_decoder_blocks, err);
    if (status) return status;
    if (c->block_out_channels.count &&
        !same_ints(&c->block_out_channels, &c->decoder_block_out_channels))
        return vn_fail(err, VN_BAD_FILE,
                       "%s: block_out_channels is not decoder_block_out_channels, which it repeats",
                       net_name);
    if (c->upsample_fn > NEAREST_EXACT)
        return vn_fail(err, VN_UNSUPPORTED,
                       "%s: upsample_fn: \"%s\" is not supported; vane enlarges by \"nearest\"",
                       net_name, resizes[c->upsample_fn]);
    if (c->scaling_factor == 0)
        return vn_fail(err, VN_BAD_FILE, "%s: scaling_factor must not be 0", net_name);
    return VN_OK;
}

/* upsampling_scaling_factor to the power of the stages that enlarge; 0: past what images have. */
static int64_t enlargement(const keys *c) {
    int64_t all = 1;
    for (size_t i = 1; i < c->decoder_block_out_channels.count && all && all <= 65536; i++)
        all *= c->upsampling_scaling_factor;
    return all <= 65536 ? all : 0;
}

static vn_status check_config(void *self, vn_err *err) {
    tiny *n = self;
    const keys *c = &n->config;
    const vn_status status = check_keys(c, err);
    if (status) return status;
    n->factor = (int64_t)1 << (c->encoder_block_out_channels.count - 1);
    n->enlarged = enlargement(c);
    if (n->enlarged) return VN_OK;
    return vn_fail(err, VN_BAD_FILE,
                   "%s: upsampling_scaling_factor %lld in %zu stages enlarges past any image",
                   net_name, (long long)c->upsampling_scaling_factor,
                   c->decoder_block_out_channels.count);
}

/* ---- ports ----------------------------------------------------------------------------------- */

static void encoder_ports(const void *self, vn_net_io *io) {
    const tiny *n = self;
    io->multiple = n->factor;
    if (!io->inputs) vn_net_add_sample(io, true, n->config.in_channels);
    vn_port latents = vn_port_of_sample("latents", true, n->config.latent_channels);
    latents.reduced = n->factor;
    vn_net_add_output(io, latents);
}

static void decoder_ports(const void *self, vn_net_io *io) {
    const tiny *n = self;
    vn_net_add_sample(io, true, n->config.latent_channels);
    vn_port decoded = vn_port_of_sample("decoded", true, n->config.out_channels);
    decoded.enlarged = n->enlarged;
    vn_net_add_output(io, decoded);
}

static void set_io(const tiny *n, vn_net_io *io) {
    const keys *c = &n->config;
    *io = (vn_net_io){.latents = {.channels = c->latent_channels,
                                  .factor = n->factor,
                                  .scale = c->scaling_factor,
                                  .shift = c->shift_factor,
                                  .tile = USUAL_TILE,
                                  .ramps = true}};
    vn_net_add_sample(io, true, c->in_channels);
    vn_port decoded = vn_port_of_sample("decoded", true, c->out_channels);
    decoded.reduced = n->factor;
    decoded.enlarged = n->enlarged;
    vn_net_add_output(io, decoded);
    encoder_ports(n, io);
}

static vn_status open_tiny(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    const vn_config_kind kind = {.net = net_name,
                                 .fields = vn_tiny_fields,
                                 .count = vn_tiny_field_count,
                                 .size = sizeof(tiny),
                                 .defaults = &vn_tiny_defaults,
                                 .known = sizeof vn_tiny_defaults,
                                 .check = check_config};
    const vn_status status = vn_config_open(config, &kind, self, err);
    if (!status) set_io(*self, io);
    return status;
}

/* ---- graph ----------------------------------------------------------------------------------- */

/* The layers of one side, numbered as in torch's Sequential. */
typedef struct stack {
    vn_scope s;
    vn_fn act;
    int next;
} stack;

static vn_node *convolve(stack *k, vn_node *x, int64_t in, int64_t out, int stride, bool bias) {
    char name[16];
    snprintf(name, sizeof name, "%d", k->next++);
    return vn_layer_conv(&k->s, name, x,
                         (vn_conv){.in = in,
                                   .out = out,
                                   .kernel = 3,
                                   .stride = stride,
                                   .pad = {1, 1, 1, 1},
                                   .bias = bias});
}

/* AutoencoderTinyBlock: three convolutions beside the image itself, and ReLU of the sum. */
static vn_node *block(stack *k, vn_node *x, int64_t channels) {
    const vn_scope at = vn_scope_in(&k->s, "%d", k->next++);
    vn_graph *g = at.g;
    vn_node *h = vn_unary(g, vn_layer_conv3(&at, "conv.0", x, channels, channels), k->act);
    h = vn_unary(g, vn_layer_conv3(&at, "conv.2", h, channels, channels), k->act);
    h = vn_layer_conv3(&at, "conv.4", h, channels, channels);
    return vn_block_end(vn_unary(g, vn_add(g, h, x), VN_FN_RELU));
}

static stack stack_of(const vn_scope *s, const char *side, const keys *c) {
    return (stack){vn_scope_in(s, "%s.layers", side), vn_unet_activation_fn[c->act_fn], 0};
}

static vn_node *encode(const vn_scope *s, const tiny *n) {
    const keys *c = &n->config;
    const vn_config_ints *channels = &c->encoder_block_out_channels;
    stack k = stack_of(s, "encoder", c);
    vn_node *x = vn_affine(s->g, vn_scope_input(s, "sample"), 0.5, 0.5);
    for (size_t i = 0; i < channels->count; i++) {
        const int64_t width = channels->at[i];
        x = convolve(&k, x, i ? width : c->in_channels, width, i ? 2 : 1, i == 0);
        for (int64_t j = 0; j < c->num_encoder_blocks.at[i]; j++) x = block(&k, x, width);
    }
    x = convolve(&k, x, channels->at[channels->count - 1], c->latent_channels, 1, true);
    vn_scope_output(s, "latents", x);
    return x;
}

static void decode(const vn_scope *s, const tiny *n, vn_node *z) {
    const keys *c = &n->config;
    const vn_config_ints *channels = &c->decoder_block_out_channels;
    stack k = stack_of(s, "decoder", c);
    vn_node *x = vn_affine(s->g, vn_unary(s->g, vn_affine(s->g, z, 1.0 / 3, 0), VN_FN_TANH), 3, 0);
    x = vn_unary(s->g, convolve(&k, x, c->latent_channels, channels->at[0], 1, true), k.act);
    k.next++; /* the function's */
    for (size_t i = 0; i < channels->count; i++) {
        const int64_t width = channels->at[i];
        const bool last = i + 1 == channels->count;
        for (int64_t j = 0; j < c->num_decoder_blocks.at[i]; j++) x = block(&k, x, width);
        if (!last) {
            x = vn_upsample_nearest(s->g, x, (int)c->upsampling_scaling_factor);
            k.next++;
        }
        x = convolve(&k, x, width, last ? c->out_channels : width, 1, last);
    }
    vn_scope_output(s, "decoded", vn_affine(s->g, x, 2, -1));
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

const vn_net_row vn_autoencoder_tiny_net = {
    .row = {.name = net_name,
            .summary = "small autoencoder of plain convolutions (TAESD): diffusers' "
                       "AutoencoderTiny",
            .source = "github.com/madebyollin/taesd; diffusers 0.42.1"},
    .role = VN_ROLE_AUTOENCODER,
    .class_name = "AutoencoderTiny",
    .folder = "vae",
    .habits = VN_AUTOENCODER_HABITS,
    .open = open_tiny,
    .close = vn_free,
    .build = build,
    .half = {[VN_HALF_ENCODER] = {encoder_ports, build_encoder},
             [VN_HALF_DECODER] = {decoder_ports, build_decoder}},
};
