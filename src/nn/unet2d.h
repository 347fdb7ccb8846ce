/* unet2d.h - the config of a U-Net, which unet2d.c reads and unet2d_preset.c makes. */
#ifndef VN_UNET2D_H
#define VN_UNET2D_H

#include "nn/unet.h"

/* The keys of config.json, by the names of its keys. */
typedef struct vn_unet2d_keys {
    int64_t sample_size[2], in_channels, out_channels;
    bool center_input_sample;
    int64_t time_embedding_type, time_embedding_dim;
    double freq_shift;
    bool flip_sin_to_cos;
    vn_config_names down_block_types, up_block_types;
    int64_t mid_block_type;
    vn_config_ints block_out_channels;
    int64_t layers_per_block;
    double mid_block_scale_factor;
    int64_t downsample_padding, downsample_type, upsample_type;
    double dropout;
    int64_t act_fn, attention_head_dim, norm_num_groups, attn_norm_num_groups;
    double norm_eps;
    int64_t resnet_time_scale_shift;
    bool add_attention;
    int64_t class_embed_type, num_class_embeds, num_train_timesteps;
    int64_t internal_head; /* vane's own, which diffusers passes over; 0: there is none */
    bool takes_step_end, takes_guidance; /* vane's own, */
    double time_scale;                   /* and this */
} vn_unet2d_keys;

enum { VN_UNET2D_TIME_POSITIONAL, VN_UNET2D_TIME_FOURIER, VN_UNET2D_TIME_LEARNED };
enum { VN_UNET2D_MID_BLOCK, VN_UNET2D_MID_NONE };
enum { VN_UNET2D_BY_CONV, VN_UNET2D_BY_RESNET };
enum { VN_UNET2D_SHIFT_DEFAULT, VN_UNET2D_SHIFT_SCALE };
enum { VN_UNET2D_BY_TIME, VN_UNET2D_BY_VECTOR, VN_UNET2D_BY_TABLE };

extern const vn_unet2d_keys vn_unet2d_defaults; /* diffusers' */
extern const vn_field vn_unet2d_fields[];
extern const size_t vn_unet2d_field_count;

#endif
