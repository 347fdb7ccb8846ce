/* autoencoder.c - the encoder and decoder of diffusers' AutoencoderKL and VQModel (0.42.1), which
 * are those of VQGAN (2012.09841) and of latent diffusion (2112.10752): residual blocks in levels,
 * each but the last of half the size of the one before, and a middle that attends. State dicts are
 * the same as diffusers', tensor for tensor. */
#include "nn/autoencoder.h"

#include <string.h>

#define EPS        1e-6 /* of all norms */
#define MAX_LEVELS 10

const vn_coder_keys vn_coder_defaults = {
    .in_channels = 3,
    .out_channels = 3,
    .down_block_types = {1, {"DownEncoderBlock2D"}},
    .up_block_types = {1, {"UpDecoderBlock2D"}},
    .block_out_channels = {1, {64}},
    .layers_per_block = 1,
    .norm_num_groups = 32,
    .sample_size = {32, 32},
    .scaling_factor = 0.18215,
    .mid_block_add_attention = true,
};

/* ---- config ---------------------------------------------------------------------------------- */

/* Which of two block types a name is: the plain one, or the one whose layers attend too. */
static vn_status find_type(const char *net, const char *key, const char *name,
                           const char *const types[2], bool *attends, vn_err *err) {
    static const char prefix[] = "UNetRes"; /* an old spelling that diffusers still reads */
    const char *bare = strncmp(name, prefix, sizeof prefix - 1) ? name : name + sizeof prefix - 1;
    for (int i = 0; i < 2; i++) {
        *attends = i == 1;
        if (!strcmp(bare, types[i])) return VN_OK;
    }
    return vn_config_refuse(net, key, name, types, 2, err);
}

vn_status vn_coder_check(vn_coder *a, const char *net, const vn_coder_keys *keys, vn_err *err) {
    static const char *const down[] = {"DownEncoderBlock2D", "AttnDownEncoderBlock2D"},
                             *const up[] = {"UpDecoderBlock2D", "AttnUpDecoderBlock2D"};
    const size_t levels = keys->block_out_channels.count;
    a->net = net;
    a->keys = keys;
    if (keys->down_block_types.count != levels || keys->up_block_types.count != levels)
        return vn_fail(err, VN_BAD_FILE,
                       "%s: down_block_types, up_block_types and block_out_channels must be of one "
                       "length; they have %zu, %zu and %zu entries",
                       net, keys->down_block_types.count, keys->up_block_types.count, levels);
    if (levels > MAX_LEVELS)
        return vn_fail(err, VN_UNSUPPORTED,
                       "%s: block_out_channels has %zu entries; at most %d are supported", net,
                       levels, MAX_LEVELS);
    if (keys->scaling_factor == 0)
        return vn_fail(err, VN_BAD_FILE, "%s: scaling_factor must not be 0", net);
    a->factor = (int64_t)1 << (levels - 1);
    vn_status status = VN_OK;
    for (size_t i = 0; i < levels && !status; i++) {
        status = find_type(net, "down_block_types", keys->down_block_types.at[i], down,
                           &a->down_attends[i], err);
        if (!status)
            status = find_type(net, "up_block_types", keys->up_block_types.at[i], up,
                               &a->up_attends[i], err);
    }
    return status;
}

/* ---- ports ----------------------------------------------------------------------------------- */

vn_port vn_port_of_latents(const char *name, int64_t channels, int64_t factor) {
    vn_port port = vn_port_of_sample(name, true, channels);
    port.reduced = factor;
    return port;
}

void vn_coder_encoder_ports(const vn_coder *a, vn_net_io *io) {
    io->height = a->keys->sample_size[0];
    io->width = a->keys->sample_size[1];
    io->multiple = a->factor;
    vn_net_add_sample(io, true, a->keys->in_channels);
}

void vn_coder_decoder_ports(const vn_coder *a, vn_net_io *io) {
    vn_port decoded = vn_port_of_sample("decoded", true, a->keys->out_channels);
    decoded.enlarged = a->factor;
    vn_net_add_output(io, decoded);
}

void vn_coder_set_io(const vn_coder *a, vn_net_io *io) {
    *io = (vn_net_io){.latents = {.channels = a->keys->latent_channels,
                                  .factor = a->factor,
                                  .scale = a->keys->scaling_factor,
                                  .tile = a->keys->sample_size[0]}};
    vn_coder_encoder_ports(a, io);
    vn_net_add_output(io, vn_port_of_sample("decoded", true, a->keys->out_channels));
}

/* ---- graph ----------------------------------------------------------------------------------- */

/* What the layers of an encoder or a decoder have in common. */
typedef struct body {
    const vn_coder *a;
    vn_node *by; /* latents that modulate the norms, or NULL */
} body;

static vn_node *residual(const vn_scope *s, const body *b, vn_node *x, int64_t in, int64_t out) {
    const int64_t groups = b->a->keys->norm_num_groups;
    const vn_resnet r = {.in = in,
                         .out = out,
                         .groups_in = groups,
                         .groups_out = groups,
                         .eps = EPS,
                         .act = vn_unet_activation_fn[b->a->keys->act_fn],
                         .output_scale = 1,
                         .z_channels = b->a->z_channels};
    return b->by ? vn_resnet_spatial_block(s, x, b->by, &r)
                 : vn_resnet_block(s, x, &(vn_time){0}, &r);
}

static vn_node *attend(const vn_scope *s, const body *b, vn_node *x, int64_t channels) {
    const vn_attention_layer layer = {.channels = channels,
                                      .head_dim = channels,
                                      .groups = b->by ? 0 : b->a->keys->norm_num_groups,
                                      .z = b->by,
                                      .z_channels = b->a->z_channels,
                                      .eps = EPS,
                                      .output_scale = 1};
    return vn_attention_block(s, x, &layer);
}

/* The layers of a level; `in` are the channels of the first. */
static vn_node *layers(const vn_scope *s, const body *b, vn_node *x, int64_t count, bool attends,
                       int64_t in, int64_t out) {
    for (int i = 0; i < count; i++) {
        const vn_scope r = vn_scope_in(s, "resnets.%d", i), t = vn_scope_in(s, "attentions.%d", i);
        x = residual(&r, b, x, i == 0 ? in : out, out);
        if (attends) x = attend(&t, b, x, out);
    }
    return x;
}

static vn_node *middle(const vn_scope *s, const body *b, vn_node *x, int64_t channels) {
    const vn_scope first = vn_scope_in(s, "mid_block.resnets.0"),
                   between = vn_scope_in(s, "mid_block.attentions.0"),
                   second = vn_scope_in(s, "mid_block.resnets.1");
    x = residual(&first, b, x, channels, channels);
    if (b->a->keys->mid_block_add_attention) x = attend(&between, b, x, channels);
    return residual(&second, b, x, channels, channels);
}

static vn_node *last_norm(const vn_scope *s, const body *b, vn_node *x, int64_t channels) {
    if (b->by)
        return vn_layer_spatial_norm(s, "conv_norm_out", x, b->by, channels, b->a->z_channels,
                                     VN_FN_SILU);
    return vn_layer_group_norm(s, "conv_norm_out", x, channels, b->a->keys->norm_num_groups, EPS,
                               VN_FN_SILU);
}

vn_node *vn_coder_encode(const vn_scope *root, const vn_coder *a, vn_node *x, int64_t out) {
    const vn_coder_keys *k = a->keys;
    const vn_config_ints *channels = &k->block_out_channels;
    const vn_scope s = vn_scope_in(root, "encoder");
    const body b = {.a = a};
    x = vn_block_end(vn_layer_conv3(&s, "conv_in", x, k->in_channels, channels->at[0]));
    for (size_t i = 0; i < channels->count; i++) {
        const vn_scope at = vn_scope_in(&s, "down_blocks.%zu", i),
                       smaller = vn_scope_in(&at, "downsamplers.0");
        x = layers(&at, &b, x, k->layers_per_block, a->down_attends[i], channels->at[i ? i - 1 : 0],
                   channels->at[i]);
        if (i + 1 < channels->count) x = vn_downsample_conv(&smaller, x, channels->at[i], 0);
    }
    const int64_t last = channels->at[channels->count - 1];
    x = last_norm(&s, &b, middle(&s, &b, x, last), last);
    return vn_layer_conv3(&s, "conv_out", x, last, out);
}

vn_node *vn_coder_decode(const vn_scope *root, const vn_coder *a, vn_node *z, vn_node *by) {
    const vn_coder_keys *k = a->keys;
    const vn_config_ints *channels = &k->block_out_channels;
    const size_t levels = channels->count;
    const vn_scope s = vn_scope_in(root, "decoder");
    const body b = {a, by};
    int64_t in = channels->at[levels - 1];
    vn_node *x = vn_block_end(vn_layer_conv3(&s, "conv_in", z, k->latent_channels, in));
    x = middle(&s, &b, x, in);
    for (size_t i = 0; i < levels; i++) {
        const vn_scope at = vn_scope_in(&s, "up_blocks.%zu", i),
                       larger = vn_scope_in(&at, "upsamplers.0");
        const int64_t out = channels->at[levels - 1 - i];
        x = layers(&at, &b, x, k->layers_per_block + 1, a->up_attends[i], in, out);
        if (i + 1 < levels) x = vn_upsample_conv(&larger, x, out);
        in = out;
    }
    return vn_layer_conv3(&s, "conv_out", last_norm(&s, &b, x, in), in, k->out_channels);
}
