/* unet.h - what diffusers' U-Nets have in common: the levels on the way down and up and the middle
 * between them, each of one of the block types in a table (unet_blocks.c). UNet2DModel (unet2d.c)
 * and UNet2DConditionModel (unet2d_condition.c) read their configs into a vn_unet, embed their time
 * and conditions, and run it. */
#ifndef VN_UNET_H
#define VN_UNET_H

#include "nn/internal.h"

/* The classes, which do not run the same blocks. */
typedef enum vn_unet_class { VN_UNET_PLAIN, VN_UNET_CONDITION, VN_UNET_CLASSES } vn_unet_class;

#define VN_UNET_MAX_LAYERS 32
#define VN_UNET_MAX_SKIPS  (1 + VN_CONFIG_MAX_LIST * (VN_UNET_MAX_LAYERS + 1))

/* What every block of one U-Net has in common. */
typedef struct vn_unet_style {
    int64_t groups; /* 0: null in the config; only skip and K blocks allow it */
    double eps, dropout;
    vn_fn act;
    bool scale_shift;
    int64_t downsample_pad;
    bool resnet_downsample, resnet_upsample; /* of the attention blocks */
    /* of the blocks that resize by residual blocks: what their sums are divided by (0: 1), and
     * whether they take the time's embedding without the activation */
    double resnet_scale;
    bool resnet_raw_time;
    bool linear_projection; /* of the transformers: linear layers in place of 1x1 convolutions */
    /* residual blocks of the last level on the way up after which its features are kept as the
     * state's `inner`; 0: they are not */
    int64_t inner;
    int64_t added_norm; /* vn_unet_added_norm, of the attention with added keys */
} vn_unet_style;

typedef enum vn_unet_added_norm {
    VN_UNET_NORM_LAYER,
    VN_UNET_NORM_GROUP,
    VN_UNET_NORM_NONE
} vn_unet_added_norm;

/* What attends in a level or in the middle. */
typedef enum vn_unet_attends {
    VN_UNET_NO_ATTENTION,
    VN_UNET_PIXELS,       /* pixels to pixels */
    VN_UNET_TRANSFORMERS, /* pixels to pixels, then to the text, and a feed-forward layer */
    VN_UNET_ADDED_KEYS    /* pixels to the text and to pixels, at once */
} vn_unet_attends;

/* How a level attends. */
typedef struct vn_unet_attention {
    int64_t head_dim;                      /* of pixels and added keys; 0: one head */
    int64_t heads;                         /* of transformers */
    int64_t context;                       /* numbers in a token of the text */
    bool only_cross;                       /* pixels attend to the text alone */
    int64_t depth[VN_UNET_MAX_LAYERS + 1]; /* blocks of each layer's transformer */
} vn_unet_attention;

/* One level. Its channels on the way down: `in` of its input, `out` of its output. On the way up:
 * `prev` of its input, `out` of its output, `in` of the output of the level after it. */
typedef struct vn_unet_level {
    int64_t in, out, prev;
    int64_t layers; /* of the level on the way down; on the way up there is one more */
    bool resize;    /* in all but the last level */
    vn_unet_attention attention;
} vn_unet_level;

/* What is handed on from level to level. */
typedef struct vn_unet_state {
    vn_node *x;
    /* of the skip blocks: on the way down the input in smaller sizes, on the way up the output in
     * larger ones; or NULL */
    vn_node *image;
    vn_time time;
    vn_node *context; /* [N,T,context] the text's tokens, or NULL */
    vn_node *bias;    /* of the text's tokens as keys, or NULL */
    /* the same of a text to be led away from, or NULL */
    vn_node *negative, *negative_bias;
    int attentions; /* attention layers built so far: those that can be perturbed */
    vn_node *inner; /* features on the way up (vn_unet_style.inner); or NULL */
    size_t skips;   /* skip connections that are kept, the latest last */
    vn_node *skip[VN_UNET_MAX_SKIPS];
} vn_unet_state;

typedef struct vn_unet_block {
    const char *name;
    void (*build)(const vn_scope *s, const vn_unet_style *style, const vn_unet_level *level,
                  vn_unet_state *state, const struct vn_unet_block *self);
    vn_unet_attends attends;
    bool resnet;                          /* resizes by a residual block, not by a convolution */
    const char *refusal[VN_UNET_CLASSES]; /* why a class cannot run it, or NULL */
} vn_unet_block;

/* The middle; layers 0: there is none. */
typedef struct vn_unet_mid {
    int64_t channels, groups;
    int layers; /* residual blocks; the attention is between the first and the second */
    double output_scale;
    bool raw_time;
    vn_unet_attends attends;
    int64_t attention_groups; /* of attention over pixels; 0: no norm */
    vn_unet_attention attention;
} vn_unet_mid;

/* The whole of it, between the first convolution and the last. */
typedef struct vn_unet {
    vn_unet_class class;
    vn_unet_style style;
    size_t levels;
    const vn_unet_block *down[VN_CONFIG_MAX_LIST], *up[VN_CONFIG_MAX_LIST];
    vn_unet_level going_down[VN_CONFIG_MAX_LIST], going_up[VN_CONFIG_MAX_LIST];
    vn_unet_mid mid;
} vn_unet;

/* A block type by diffusers' name, with or without "UNetRes" in front; fails if it is unknown or
 * the class cannot run it. */
vn_status vn_unet_find_block(vn_unet_class class, bool up, const char *name,
                             const vn_unet_block **out, vn_err *err);
/* Those of all levels; fails if the lists are not of one length too. */
vn_status vn_unet_find_blocks(vn_unet *u, const vn_config_names *down, const vn_config_names *up,
                              const vn_config_ints *channels, vn_err *err);
/* The channels of all levels, and which of them change the size. */
void vn_unet_set_channels(vn_unet *u, const vn_config_ints *channels);
/* How many residual blocks the last level on the way up has, after which features can be kept: 0
 * where it is of a type that keeps none. */
int64_t vn_unet_inner_blocks(const vn_unet *u);
/* Says in *io which layers can be perturbed, and what sizes images must have. */
void vn_unet_set_io(const vn_unet *u, vn_net_io *io);

/* From state->x, whose result is the first skip connection, down and through the middle; and up. */
void vn_unet_go_down(const vn_scope *s, const vn_unet *u, vn_unet_state *state);
void vn_unet_go_up(const vn_scope *s, const vn_unet *u, vn_unet_state *state);

int64_t vn_unet_default_groups(int64_t channels); /* where norm_num_groups is null */
/* The skip blocks' image plus features of the same size; fails the graph where the sizes differ. */
vn_node *vn_unet_add_image(const vn_scope *s, vn_node *image, vn_node *x);

/* ---- unet_transformer.c: attention to a text ------------------------------------------------- */

/* Transformer2DModel of `depth` blocks on x [N,H,W,channels]. */
vn_node *vn_unet_transformer(const vn_scope *s, const vn_unet_style *u, vn_node *x,
                             int64_t channels, int64_t groups, const vn_unet_attention *a,
                             int64_t depth, const vn_unet_state *state);
/* Attention whose keys and values are the text's beside the pixels' own, residual. */
vn_node *vn_unet_added_keys(const vn_scope *s, const vn_unet_style *u, vn_node *x, int64_t channels,
                            int64_t groups, const vn_unet_attention *a, const vn_unet_state *state);

/* Activations by diffusers' names, as choices of a field. */
extern const char *const vn_unet_activations[];
extern const vn_fn vn_unet_activation_fn[];

#endif
