/* dit.h - the config of a diffusion transformer, which dit.c reads and dit_preset.c makes. */
#ifndef VN_DIT_H
#define VN_DIT_H

#include "nn/internal.h"

/* By the names of its keys. */
typedef struct vn_dit_keys {
    int64_t num_attention_heads, attention_head_dim, in_channels, out_channels, num_layers;
    double dropout;
    int64_t norm_num_groups; /* not used: diffusers reads it too, but has no group norm here */
    bool attention_bias;
    int64_t sample_size, patch_size, activation_fn, num_embeds_ada_norm;
    bool upcast_attention; /* not used: everything is in float32 here */
    int64_t norm_type;
    bool norm_elementwise_affine;
    double norm_eps;
    int64_t internal_head;       /* vane's own, which diffusers passes over; 0: there is none */
    int64_t block_norm, qk_norm; /* vane's own, from here on */
    double rope_theta;           /* 0: none */
    int64_t num_register_tokens;
    bool takes_step_end, takes_guidance;
    double time_scale;
} vn_dit_keys;

extern const vn_dit_keys vn_dit_defaults; /* diffusers' */
extern const vn_field vn_dit_fields[];
extern const size_t vn_dit_field_count;
#define VN_DIT_OWN_FIELDS 7 /* the last of them: those that diffusers' config has not */

#endif
