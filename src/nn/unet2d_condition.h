/* unet2d_condition.h - the config of a U-Net that attends to a text: unet2d_condition_config.c
 * reads it, unet2d_condition.c builds what it says. */
#ifndef VN_UNET2D_CONDITION_H
#define VN_UNET2D_CONDITION_H

#include "nn/unet.h"

/* The keys of config.json, by the names of its keys. */
typedef struct vn_unet2d_condition_keys {
    int64_t sample_size[2], in_channels, out_channels;
    bool center_input_sample, flip_sin_to_cos;
    double freq_shift;
    vn_config_names down_block_types, up_block_types;
    int64_t mid_block_type;
    vn_config_levels only_cross_attention;
    vn_config_ints block_out_channels;
    vn_config_levels layers_per_block;
    int64_t downsample_padding;
    double mid_block_scale_factor, dropout;
    int64_t act_fn, norm_num_groups;
    double norm_eps;
    vn_config_levels cross_attention_dim, transformer_layers_per_block,
        reverse_transformer_layers_per_block;
    int64_t encoder_hid_dim, encoder_hid_dim_type;
    vn_config_levels attention_head_dim, num_attention_heads;
    bool dual_cross_attention, use_linear_projection;
    int64_t class_embed_type, addition_embed_type, addition_time_embed_dim, num_class_embeds;
    bool upcast_attention;
    int64_t resnet_time_scale_shift;
    bool resnet_skip_time_act;
    double resnet_out_scale_factor;
    int64_t time_embedding_type, time_embedding_dim, time_embedding_act_fn, timestep_post_act,
        time_cond_proj_dim, conv_in_kernel, conv_out_kernel, projection_class_embeddings_input_dim,
        attention_type;
    bool class_embeddings_concat;
    vn_config_levels mid_block_only_cross_attention;
    int64_t cross_attention_norm, addition_embed_type_num_heads;
} vn_unet2d_condition_keys;

enum { VN_CONDITION_POSITIONAL, VN_CONDITION_FOURIER };
enum {
    VN_CONDITION_MID_TRANSFORMERS,
    VN_CONDITION_MID_PLAIN,
    VN_CONDITION_MID_ADDED_KEYS,
    VN_CONDITION_MID_NONE
};
enum {
    VN_CONDITION_CLASS_TIME,
    VN_CONDITION_CLASS_VECTOR,
    VN_CONDITION_CLASS_PROJECTION,
    VN_CONDITION_CLASS_LINEAR,
    VN_CONDITION_CLASS_TABLE
};
enum {
    VN_CONDITION_ADDED_TEXT,
    VN_CONDITION_ADDED_TEXT_TIME,
    VN_CONDITION_ADDED_TEXT_IMAGE,
    VN_CONDITION_ADDED_IMAGE,
    VN_CONDITION_ADDED_HINT,
    VN_CONDITION_ADDED_NONE
};
enum {
    VN_CONDITION_TEXT_PROJECTION,
    VN_CONDITION_TEXT_IMAGE,
    VN_CONDITION_IMAGE,
    VN_CONDITION_IP_IMAGE,
    VN_CONDITION_TEXT_PLAIN
};
#define VN_CONDITION_MID_AS_LEVELS 2 /* of mid_block_only_cross_attention: null */
#define VN_CONDITION_NO_ACT        5 /* of an activation that may be null */

/* A config ready to build. */
typedef struct vn_unet2d_condition {
    vn_unet2d_condition_keys config;
    vn_unet body;
    int64_t time_features; /* what the time becomes before its embedding */
    int64_t time_width;    /* of the embedding */
    int64_t text_width;    /* of a token of encoder_hidden_states */
    int64_t context;       /* the same, projected, as the levels attend to it */
} vn_unet2d_condition;

extern const vn_unet2d_condition_keys vn_unet2d_condition_defaults; /* diffusers' */
extern const vn_field vn_unet2d_condition_fields[];
extern const size_t vn_unet2d_condition_field_count;

/* Reads u->config and what follows from it, refusing by name what is not supported. */
vn_status vn_unet2d_condition_read(const json_t *config, vn_unet2d_condition *u, vn_err *err);

#endif
