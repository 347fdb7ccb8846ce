/* text_dit.h - the config of a diffusion transformer of texts, which text_dit.c reads and
 * text_dit_preset.c makes. */
#ifndef VN_TEXT_DIT_H
#define VN_TEXT_DIT_H

#include "nn/internal.h"

/* By the names of its keys, which are those of diffusers' SD3Transformer2DModel where it has
 * them. */
typedef struct vn_text_dit_keys {
    int64_t num_attention_heads, attention_head_dim, in_channels, out_channels, num_layers;
    double dropout;
    int64_t sample_size[2]; /* height, width */
    int64_t patch_size;
    int64_t joint_attention_dim; /* width of a text's tokens */
} vn_text_dit_keys;

extern const vn_text_dit_keys vn_text_dit_defaults;
extern const vn_field vn_text_dit_fields[];
extern const size_t vn_text_dit_field_count;

#endif
