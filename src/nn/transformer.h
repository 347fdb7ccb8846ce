/* transformer.h - what networks over tokens share, those of texts and those of images: attention's
 * masks and places, patches, and the blocks in which an image and a text meet. */
#ifndef VN_NN_TRANSFORMER_H
#define VN_NN_TRANSFORMER_H

#include "nn/internal.h"

/* ---- transformers.c: what networks of transformers share ------------------------------------- */

/* As vn_config_read of a config of transformers, without the keys that all of its models have and
 * those in `own` (ends with NULL), which the network reads or knows not to need. */
vn_status vn_config_read_transformers(const json_t *config, const char *net, const char *const *own,
                                      const vn_field *fields, size_t count, void *into,
                                      vn_err *err);

/* The activations by transformers' names, as choices of a field. */
extern const char *const vn_activation_names[];
enum { VN_ACTIVATION_QUICK_GELU = 6, VN_ACTIVATION_SILU = 8, VN_ACTIVATIONS = 14 };
/* f(x) of them. */
vn_node *vn_activation(const struct vn_scope *s, vn_node *x, int64_t activation);

/* ---- tokens.c: what networks over a text's tokens share -------------------------------------- */

/* table [rows], a constant, at ids: in the ids' shape. */
vn_node *vn_look_up(const struct vn_scope *s, const float *table, int64_t rows, vn_node *ids);
/* x [N,T,C] and a learned row of `name` for each place, of which there are `most`. */
vn_node *vn_add_positions(const struct vn_scope *s, const char *name, vn_node *x, int64_t most);
/* The bias of attention [N,1,1,T] of a mask: seen [N,T] is 1, or 0 for keys that are masked out. */
vn_node *vn_key_bias(const struct vn_scope *s, vn_node *seen);
/* The mean of x [N,T,C] over the tokens that are seen [N,T]: [N,C]; of none it is 0. */
vn_node *vn_token_mean(const struct vn_scope *s, vn_node *x, vn_node *seen);

/* ---- rope.c: rotary positions ---------------------------------------------------------------- */

/* Rotations of the heads of T tokens by their positions. */
typedef struct vn_rope {
    vn_node *cosine, *sine; /* [1,T,1,head_dim] */
    bool halves;            /* as vn_rotate takes it */
    /* [head_dim,head_dim]: takes every pair (a, b) to (-b, a); NULL: pairs are vn_rotate's */
    vn_node *pair_rotation;
} vn_rope;

/* The positions of tokens on each axis. Every axis rotates a part of each head. */
typedef struct vn_rope_axes {
    int64_t tokens;
    int axes;
    const float *position; /* [tokens,axes] */
    /* [axes] how many elements of a head each axis rotates, even; they add up to head_dim */
    const int64_t *dims;
    double theta;
    bool split_halves; /* pairs are i and i + dims/2 of an axis, not 2i and 2i + 1 */
} vn_rope_axes;

vn_rope vn_rope_of(const vn_scope *s, const vn_rope_axes *axes);
/* The cosines and sines of the one token at `position` [axes], each [head_dim]. */
void vn_rope_angles(const vn_rope_axes *axes, const float *position, float *cosine, float *sine);
/* The same of positions [T,axes] that are known when the network runs; those of *axes do not
 * count. */
vn_rope vn_rope_by(const vn_scope *s, vn_node *position, const vn_rope_axes *axes);
/* For `prefix` tokens at position 0, which are not rotated, followed by rows x columns patches,
 * `tokens_per_unit` of them for a unit of position. The first half of a head is rotated by the row,
 * the second by the column. head_dim is a multiple of 4, up to VN_ROPE_MAX_HEAD. */
#define VN_ROPE_MAX_HEAD 1024
vn_rope vn_rope_2d(const vn_scope *s, int64_t prefix, int64_t rows, int64_t columns,
                   float tokens_per_unit, int64_t head_dim, double theta);
/* x [N,T,heads,head_dim], rotated. */
vn_node *vn_rope_rotate(const vn_scope *s, vn_node *x, const vn_rope *rope);

/* ---- transformer.c: what transformers of images share ---------------------------------------- */

#define VN_MAX_SIZE  65536.0 /* pixels on a side, channels, numbers in a token */
#define VN_MAX_PATCH 64

/* clang-format off */
/* Rows of their configs, whose keys are members of `keys`. most_head: numbers of a head; layers:
 * how many there are at least. */
#define VN_TRANSFORMER_FIELDS(keys, most_head, layers)                                             \
    {VN_CONFIG_KEY(keys, INT, num_attention_heads), false, 1, VN_MAX_SIZE, NULL, 0},               \
    {VN_CONFIG_KEY(keys, INT, attention_head_dim), false, 1, most_head, NULL, 0},                  \
    {VN_CONFIG_KEY(keys, INT, in_channels), false, 1, VN_MAX_SIZE, NULL, 0},                       \
    {VN_CONFIG_KEY(keys, INT, out_channels), true, 1, VN_MAX_SIZE, NULL, 0},                       \
    {VN_CONFIG_KEY(keys, INT, num_layers), false, layers, VN_CONFIG_MAX_LAYERS, NULL, 0}
#define VN_PATCH_FIELD(keys)                                                                       \
    {VN_CONFIG_KEY(keys, INT, patch_size), false, 1, VN_MAX_PATCH, NULL, 0}
/* How wide the tokens of a text are, and the vector that stands for all of it. */
#define VN_TOKENS_FIELD(keys)                                                                      \
    {VN_CONFIG_KEY(keys, INT, joint_attention_dim), false, 1, VN_MAX_SIZE, NULL, 0}
#define VN_POOLED_FIELD(keys)                                                                      \
    {VN_CONFIG_KEY(keys, INT, pooled_projection_dim), false, 1, VN_MAX_SIZE, NULL, 0}
/* clang-format on */

/* How many numbers a token of so many heads has. Refused are too many, and, where tokens have
 * sinusoids of their positions, what is no multiple of 4. */
vn_status vn_token_width(const char *net, int64_t heads, int64_t head_dim, bool positions,
                         int64_t *width, vn_err *err);

/* eps of the norms that diffusers' transformers do not let the config choose. */
#define VN_MODULATED_EPS 1e-6

/* [N,H,W,in] to tokens [N,T,width], one for each patch x patch pixels, by a convolution under
 * `name`. */
vn_node *vn_layer_patches(const vn_scope *s, const char *name, vn_node *image, int64_t in,
                          int64_t width, int64_t patch);
/* Tokens [N,rows*columns,patch*patch*C] to [N,rows*patch,columns*patch,C]. */
vn_node *vn_patch_pixels(const vn_scope *s, vn_node *x, int64_t rows, int64_t columns,
                         int64_t patch);

/* A grid of patches, of which so many are a unit of position. */
typedef struct vn_patch_grid {
    int64_t rows, columns;
    float row_unit, column_unit;
} vn_patch_grid;
/* Their sinusoidal positions, [rows*columns,width]: half of a token's numbers encode its column,
 * half its row. width is a multiple of 4. */
void vn_patch_positions_fill(const vn_patch_grid *grid, int64_t width, float *to);
vn_node *vn_patch_positions(const vn_scope *s, const vn_patch_grid *grid, int64_t width);

/* The i-th `width` numbers of e [N,..]; and the same as [N,1,width], to be broadcast over
 * tokens. */
vn_node *vn_part_of(const vn_scope *s, vn_node *e, int i, int64_t width);
vn_node *vn_token_part(const vn_scope *s, vn_node *e, int i, int64_t width);

/* How tokens or heads are normed. PLAIN: without weights of its own. */
typedef enum vn_norm_kind {
    VN_NORM_LAYER,
    VN_NORM_RMS,
    VN_NORM_NONE,
    VN_NORM_LAYER_PLAIN
} vn_norm_kind;

/* Heads of attention, each of whose queries and keys is normed. */
typedef struct vn_head_style {
    int64_t heads, head_dim;
    int64_t norm; /* vn_norm_kind */
} vn_head_style;

/* Queries or keys x [N,T,heads head_dim] with each head normed, its weights under `name`; and with
 * each head rotated by its token's position, where the rope is not empty. */
vn_node *vn_normed_heads(const vn_scope *s, const char *name, vn_node *x, const vn_head_style *h);
vn_node *vn_rotated_heads(const vn_scope *s, vn_node *x, const vn_head_style *h,
                          const vn_rope *rope);

/* The function between the two linear layers of a feed-forward layer: f(slope x) / slope; or,
 * gated, one half of x times f of the other half. */
typedef struct vn_feed_forward {
    vn_fn fn;
    double slope;
    bool gated;
    double dropout;
} vn_feed_forward;

/* x [N,T,width] to the same; the hidden layer is four times as wide. */
vn_node *vn_layer_feed_forward(const vn_scope *s, vn_node *x, int64_t width,
                               const vn_feed_forward *f);

/* ---- joint.c: two streams of tokens, an image's and a text's, that meet in attention --------- */

typedef struct vn_streams {
    vn_node *image, *text; /* [N,T,width] each */
    /* the tokens of a text to be led away from, which meet the image as the text's do; or NULL */
    vn_node *negative;
} vn_streams;

/* What the blocks of a network have in common. */
typedef struct vn_joint {
    vn_head_style style;
    vn_rope rope;          /* of the text's tokens and then the image's; empty: none */
    vn_rope negative_rope; /* of the other text's and then the image's */
    int64_t rows, columns; /* the image's tokens as a grid, where a network has one */
} vn_joint;

typedef struct vn_joint_kind {
    bool last; /* the text is only attended to, and goes no further */
    bool dual; /* the image attends to itself alone too */
} vn_joint_kind;

vn_streams vn_joint_block(const vn_scope *s, const vn_joint *j, vn_streams x, vn_node *c,
                          vn_joint_kind kind);
/* Attention of the image's tokens x to each other, without the linear layer after it. */
vn_node *vn_joint_self_attention(const vn_scope *s, const vn_joint *j, vn_node *x);
/* The same of x, `text` tokens of the text and the image's after them, all by the same weights.
 * *negative: the tokens of a text to be led away from, which become what they take; or NULL. */
vn_node *vn_joint_single_attention(const vn_scope *s, const vn_joint *j, int64_t text, vn_node *x,
                                   vn_node **negative);
/* The streams as one row of tokens, the text's first, and back. */
vn_node *vn_joint_join(const vn_scope *s, const vn_streams *x);
vn_streams vn_joint_split(const vn_scope *s, vn_node *both, int64_t text);
/* W silu(c) under name.linear, [N,parts width]; and norm(x) (1 + scale) + shift of two of its
 * parts. */
vn_node *vn_joint_modulation(const vn_scope *s, const char *name, vn_node *c, int64_t width,
                             int parts);
vn_node *vn_joint_norm(const vn_scope *s, vn_node *x, vn_node *e, int shift, int scale,
                       int64_t width);
/* What c is the sum of: the embeddings, under time_text_embed, of a number for each sample [N] and
 * of the text as a whole, the input "pooled_projections". */
vn_node *vn_joint_embed_number(const vn_scope *s, const char *name, vn_node *number, int64_t width);
vn_node *vn_joint_embed_pooled(const vn_scope *s, int64_t in, int64_t width);
/* norm_out, modulated by c, and proj_out. */
vn_node *vn_joint_output(const vn_scope *s, vn_node *x, vn_node *c, int64_t width, int64_t out);
/* The inputs "encoder_hidden_states" [N,T,width] and "pooled_projections" [N,pooled]. */
void vn_joint_add_text(vn_net_io *io, int64_t width, int64_t pooled);

#endif
