/* autoencoder.h - the keys of autoencoders' configs, which their files read and presets write
 * (autoencoder_kinds.c); and what diffusers' AutoencoderKL and VQModel have in common: an encoder
 * of levels that make an image smaller, a decoder of levels that make it larger again, and a middle
 * in each (autoencoder.c). What stands between them is for autoencoder_kl.c and
 * autoencoder_vq.c. */
#ifndef VN_AUTOENCODER_H
#define VN_AUTOENCODER_H

#include "nn/unet.h"

/* Keys that both configs have, by their names. */
typedef struct vn_coder_keys {
    int64_t in_channels, out_channels;
    vn_config_names down_block_types, up_block_types;
    vn_config_ints block_out_channels;
    int64_t layers_per_block, act_fn, latent_channels, norm_num_groups, sample_size[2];
    double scaling_factor;
    bool force_upcast; /* vane computes in float32 always */
    bool mid_block_add_attention;
} vn_coder_keys;

/* Rows of a table of fields for these keys, `keys` being the member of `type` that they are. */
#define VN_AUTOENCODER_FIELD(type, kind, member)                                                   \
#member, VN_FIELD_##kind, offsetof(type, keys) + offsetof(vn_coder_keys, member)
/* clang-format off */
#define VN_AUTOENCODER_FIELDS(type)                                                                \
    {VN_AUTOENCODER_FIELD(type, INT, in_channels), false, 1, 65536, NULL, 0},                      \
    {VN_AUTOENCODER_FIELD(type, INT, out_channels), false, 1, 65536, NULL, 0},                     \
    {VN_AUTOENCODER_FIELD(type, NAMES, down_block_types), false, 0, 0, NULL, 0},                   \
    {VN_AUTOENCODER_FIELD(type, NAMES, up_block_types), false, 0, 0, NULL, 0},                     \
    {VN_AUTOENCODER_FIELD(type, INTS, block_out_channels), false, 1, 65536, NULL, 0},              \
    {VN_AUTOENCODER_FIELD(type, INT, layers_per_block), false, 0, 32, NULL, 0},                    \
    {VN_AUTOENCODER_FIELD(type, CHOICE, act_fn), false, 0, 0, vn_unet_activations, 0},             \
    {VN_AUTOENCODER_FIELD(type, INT, latent_channels), false, 1, 65536, NULL, 0},                  \
    {VN_AUTOENCODER_FIELD(type, INT, norm_num_groups), false, 1, 65536, NULL, 0},                  \
    {VN_AUTOENCODER_FIELD(type, SIZE, sample_size), false, 1, 65536, NULL, 0},                     \
    {VN_AUTOENCODER_FIELD(type, NUMBER, scaling_factor), false, -1e6, 1e6, NULL, 0},               \
    {VN_AUTOENCODER_FIELD(type, BOOL, force_upcast), true, 0, 0, NULL, 0},                         \
    {VN_AUTOENCODER_FIELD(type, BOOL, mid_block_add_attention), true, 0, 0, NULL, 0}
/* clang-format on */

/* diffusers' defaults; latent_channels is each class' own. */
extern const vn_coder_keys vn_coder_defaults;

/* ---- the keys of each kind, by their names --------------------------------------------------- */

typedef struct vn_kl_keys {
    vn_coder_keys keys;
    double shift_factor;
    vn_config_numbers latents_mean, latents_std;
    bool use_quant_conv, use_post_quant_conv;
} vn_kl_keys;
extern const vn_field vn_kl_fields[];
extern const size_t vn_kl_field_count;

typedef struct vn_tiny_keys {
    int64_t in_channels, out_channels;
    vn_config_ints encoder_block_out_channels, decoder_block_out_channels, block_out_channels;
    int64_t act_fn, upsample_fn, latent_channels, upsampling_scaling_factor;
    vn_config_ints num_encoder_blocks, num_decoder_blocks;
    double latent_magnitude, latent_shift;
    bool force_upcast; /* vane computes in float32 always */
    double scaling_factor, shift_factor;
} vn_tiny_keys;
extern const vn_tiny_keys vn_tiny_defaults;
extern const vn_field vn_tiny_fields[];
extern const size_t vn_tiny_field_count;

/* VQModel and VaneFSQModel have some of them each. */
typedef struct vn_vq_keys {
    vn_coder_keys keys;
    int64_t num_vq_embeddings, vq_embed_dim, norm_type;
    bool lookup_from_codebook; /* what diffusers' decode() makes of whole numbers; codes have a port
                                  of their own here */
    vn_config_ints levels;
} vn_vq_keys;
extern const vn_field vn_vq_fields[], vn_fsq_fields[];
extern const size_t vn_vq_field_count, vn_fsq_field_count;

/* ---- encoders and decoders ------------------------------------------------------------------- */

/* Keys that were read and checked. */
typedef struct vn_coder {
    const char *net; /* for messages */
    const vn_coder_keys *keys;
    bool down_attends[VN_CONFIG_MAX_LIST], up_attends[VN_CONFIG_MAX_LIST];
    int64_t factor;
    /* of the decoder's norms: the channels of the latents that modulate them; 0: none do */
    int64_t z_channels;
} vn_coder;

vn_status vn_coder_check(vn_coder *a, const char *net, const vn_coder_keys *keys, vn_err *err);
/* The size of images, the input "sample" and the output "decoded"; and of the halves, the encoder's
 * input and the decoder's output. */
void vn_coder_set_io(const vn_coder *a, vn_net_io *io);
void vn_coder_encoder_ports(const vn_coder *a, vn_net_io *io);
void vn_coder_decoder_ports(const vn_coder *a, vn_net_io *io);
/* An output [N,channels,H/f,W/f]. */
vn_port vn_port_of_latents(const char *name, int64_t channels, int64_t factor);

/* x [N,H,W,in_channels] to [N,H/f,W/f,out], under "encoder". */
vn_node *vn_coder_encode(const vn_scope *s, const vn_coder *a, vn_node *x, int64_t out);
/* z [N,h,w,latent_channels] to [N,h f,w f,out_channels], under "decoder". by: the latents that
 * modulate its norms, [N,h,w,z_channels], or NULL. */
vn_node *vn_coder_decode(const vn_scope *s, const vn_coder *a, vn_node *z, vn_node *by);

/* How they are trained where nothing else is asked for (bench/LOG.md). */
#define VN_AUTOENCODER_HABITS                                                                      \
    { .optimizer = "muon", .lr = 4e-3, .batch = 16 }

#endif
