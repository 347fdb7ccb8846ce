/* internal.h - what the networks share: reading a config, layers that declare their weights, the
 * residual and attention blocks of diffusers. Nodes are channels last. A NULL node stands for an
 * earlier error, which the graph keeps; every function takes NULL nodes and returns NULL for
 * them. */
#ifndef VN_NN_INTERNAL_H
#define VN_NN_INTERNAL_H

#include "nn/nn.h"

/* ---- ports.c: what a network takes and gives ------------------------------------------------- */

/* A network's `open` adds its ports to the io, beginning with "sample". */
void vn_net_add_input(vn_net_io *io, vn_port port);
void vn_net_add_output(vn_net_io *io, vn_port port);
/* f32 [N,channels,H,W], or [N,channels] of points. */
vn_port vn_port_of_sample(const char *name, bool image, int64_t channels);
void vn_net_add_sample(vn_net_io *io, bool image, int64_t channels);
/* "timestep" f32 [N]; below: how many rows the table has that it is an index of, 0: no table. */
void vn_net_add_time(vn_net_io *io, int64_t below);
/* "class_labels" i32 [N], indices of a table of so many rows; rows 0: adds nothing. */
void vn_net_add_labels(vn_net_io *io, int64_t rows);
/* The output "sample" of so many channels. Where they are twice those of the input "sample", also
 * its halves as the outputs "prediction" and "variance". */
void vn_net_add_denoised(vn_net_io *io, int64_t channels);
/* After it: the output VN_INTERNAL, of a network with such a head. */
void vn_net_add_internal(vn_net_io *io, int64_t channels);

/* extras.c: the inputs VN_STEP_END and "guidance", each f32 [N]. */
void vn_net_add_extras(vn_net_io *io, bool step_end, bool guidance);

/* What the row's `open` made. */
const void *vn_net_self(const vn_net *net);
/* hidden.c: tells the weights of a network with these ports, of which g is a build with these
 * nodes, which of them are hidden matrices. */
vn_status vn_net_find_hidden(vn_weights *w, const vn_net_io *io, const vn_graph *g,
                             const vn_net_nodes *nodes, vn_err *err);

/* The index of the output of this name; -1, with err set: there is none. */
int vn_net_find_output(const vn_net *net, const char *name, vn_err *err);
/* Sets height and width that are 0 to the config's, and lengths that no input has to 0. */
void vn_net_complete(const vn_net *net, vn_extent *extent);

/* ---- config.c: a JSON object into a struct, by a table of its keys --------------------------- */

#define VN_CONFIG_MAX_LIST 16 /* entries of a list in a config: levels of a U-Net */

typedef struct vn_config_ints {
    size_t count;
    int64_t at[VN_CONFIG_MAX_LIST];
} vn_config_ints;

#define VN_CONFIG_MAX_NUMBERS 64

typedef struct vn_config_numbers {
    size_t count; /* 0: null */
    double at[VN_CONFIG_MAX_NUMBERS];
} vn_config_numbers;

typedef struct vn_config_names {
    size_t count;
    const char *at[VN_CONFIG_MAX_LIST]; /* owned by the JSON */
} vn_config_names;

#define VN_CONFIG_MAX_LAYERS 1024

typedef struct vn_config_layers {
    bool has[VN_CONFIG_MAX_LAYERS];
} vn_config_layers;

/* What each level of a network has; null in a config is one number `none` for all. */
typedef struct vn_config_levels {
    size_t count;                             /* 0: level[0] is for all */
    vn_config_ints level[VN_CONFIG_MAX_LIST]; /* count 0: at[0] is for all of its layers */
} vn_config_levels;

typedef enum vn_field_kind {
    VN_FIELD_INT,     /* int64_t; null is 0 */
    VN_FIELD_NUMBER,  /* double; null is 0 */
    VN_FIELD_BOOL,    /* bool; null is false */
    VN_FIELD_CHOICE,  /* int64_t: index in `choices`, any case; null is `none` */
    VN_FIELD_INTS,    /* vn_config_ints */
    VN_FIELD_NUMBERS, /* vn_config_numbers */
    VN_FIELD_NAMES,   /* vn_config_names */
    VN_FIELD_LAYERS,  /* vn_config_layers: a list of their indices, which may be empty */
    VN_FIELD_LEVELS,  /* vn_config_levels: a whole number for all levels, or a list of them */
    VN_FIELD_NESTED,  /* the same, where an entry may be a list itself */
    VN_FIELD_FLAGS,   /* vn_config_levels: true or false for all levels, or a list */
    VN_FIELD_SIZE     /* int64_t[2]: one number for both, a pair, or null for 0 */
} vn_field_kind;

typedef struct vn_field {
    const char *name;
    vn_field_kind kind;
    size_t offset; /* of the member in the struct that is filled */
    bool nullable;
    double min, max;            /* of numbers, and of a list's entries */
    const char *const *choices; /* ends with NULL */
    int64_t none;
} vn_field;

/* A row's beginning: the key is the member's name. */
#define VN_CONFIG_KEY(type, kind, member) #member, VN_FIELD_##kind, offsetof(type, member)

/* Fills `into`, which holds the defaults already. Keys that begin with "_" are skipped; unknown
 * ones are refused with the nearest. */
vn_status vn_config_read(const json_t *config, const char *net, const vn_field *fields,
                         size_t count, void *into, vn_err *err);
/* "what: text is not one of a, b, c; did you mean b?" */
vn_status vn_config_refuse(const char *net, const char *key, const char *text,
                           const char *const *known, size_t count, vn_err *err);
/* A preset's parameter by name; *given (or NULL): whether the user set it. */
double vn_preset(const vn_choice *preset, const char *name, bool *given);
/* A config of all these keys, in their order; NULL with err set. What vn_config_read makes of it is
 * `from`. diffusers: the class is one of theirs. */
json_t *vn_config_write(const char *class_name, bool diffusers, const vn_field *fields,
                        size_t count, const void *from, vn_err *err);
/* One number of a level, which has no list of its own. */
int64_t vn_config_level(const vn_config_levels *levels, size_t level);
/* n lengths, each `growth` times the one before. */
vn_config_ints vn_config_growing(int64_t n, int64_t first, int64_t growth);

/* What a network's config is read into: a struct that begins with the members that the fields
 * name. */
typedef struct vn_config_kind {
    const char *net;
    const vn_field *fields;
    size_t count, size; /* of the fields; of the struct */
    const void *defaults;
    size_t known; /* bytes of the defaults, with which the struct begins */
    /* what the members say together; NULL: nothing to check */
    vn_status (*check)(void *self, vn_err *err);
} vn_config_kind;

/* A new struct of a config, freed with vn_free; *self is NULL after a failure. */
vn_status vn_config_open(const json_t *config, const vn_config_kind *kind, void **self,
                         vn_err *err);

/* Rewrites a config of an earlier version of diffusers as today's, in place (legacy.c). */
vn_status vn_config_update(json_t *config, vn_err *err);

/* ---- layers.c: where in the network, and layers that declare their weights there ------------- */

#define VN_SCOPE_PATH 160

/* How the weights of layers are initialised, but for norms, which begin at one and zero. */
typedef enum vn_layer_init {
    VN_LAYER_INIT_TORCH, /* as PyTorch's reset_parameters leaves them */
    /* uniform within sqrt(6 / (fan-in + fan-out)); biases zero, here and below */
    VN_LAYER_INIT_XAVIER,
    /* normal with a deviation of sqrt(2 / fan-in), for ReLU (1502.01852) */
    VN_LAYER_INIT_HE,
    VN_LAYER_INIT_SMALL, /* normal with this deviation: */
    VN_LAYER_INIT_ZERO
} vn_layer_init;
#define VN_LAYER_SMALL_DEVIATION 0.02

typedef struct vn_scope {
    vn_graph *g;
    vn_weights *w;
    bool train;
    vn_layer_init init;  /* 0: VN_LAYER_INIT_TORCH */
    const char *net;     /* for messages: "unet2d" */
    const vn_net_io *io; /* the network's ports, and what they are in this graph */
    vn_net_nodes *nodes;
    const vn_perturb *perturb; /* [VN_NET_PERTURBS] */
    int64_t negative;          /* tokens of the text to be led away from, after the others; or 0 */
    int layer;                 /* this layer's index among those that can be perturbed */
    char path[VN_SCOPE_PATH];  /* "down_blocks.0.resnets.1" */
} vn_scope;

/* The scope of a child, whose path is path.child. */
vn_scope vn_scope_in(const vn_scope *s, const char *format, ...) VN_PRINTF(2, 3);
/* The node of the network's input of this name; NULL: it has none. */
vn_node *vn_scope_input(const vn_scope *s, const char *name);
/* Of an input that has tokens along `axis`, those of the text; and those of the text to be led away
 * from, NULL where there is none. */
vn_node *vn_scope_text(const vn_scope *s, const char *name, int axis);
vn_node *vn_scope_negative(const vn_scope *s, const char *name, int axis);
/* Makes y the network's output of this name; nothing happens where it declares none. */
void vn_scope_output(const vn_scope *s, const char *name, vn_node *y);
/* Makes y the outputs that vn_net_add_denoised declared: "sample" and, where there are, its
 * halves. */
void vn_scope_denoised(const vn_scope *s, vn_node *y);
/* The same of a network that vn_net_add_internal was called for: inner is what its head answers.
 * Where the perturbation says so, y is extrapolated from it first. */
void vn_scope_denoised_twice(const vn_scope *s, vn_node *inner, vn_node *y);
/* Names x as the features of the network's inner place (vn_net_nodes.hidden). */
void vn_scope_hidden(const vn_scope *s, vn_node *x);
/* Refuses what cannot be built here, naming network and place. Returns NULL. */
vn_node *vn_scope_fail(const vn_scope *s, const char *format, ...) VN_PRINTF(2, 3);

typedef struct vn_conv {
    int64_t in, out;
    int kernel, stride;
    int pad[4]; /* top, bottom, left, right */
    bool bias;
} vn_conv;

/* c.in: the channels that the config declares; fails the graph if x has others. */
vn_node *vn_layer_conv(const vn_scope *s, const char *name, vn_node *x, vn_conv c);
/* 3x3, same size */
vn_node *vn_layer_conv3(const vn_scope *s, const char *name, vn_node *x, int64_t in, int64_t out);
vn_node *vn_layer_conv1(const vn_scope *s, const char *name, vn_node *x, int64_t in, int64_t out,
                        bool bias);
vn_node *vn_layer_linear(const vn_scope *s, const char *name, vn_node *x, int64_t in, int64_t out);
/* Of x and y side by side, [..,of_x] and [..,of_y], without a copy of both. */
vn_node *vn_layer_linear_of_two(const vn_scope *s, const char *name, vn_node *x, vn_node *y,
                                int64_t of_x, int64_t of_y, int64_t out);
/* The first `out` numbers of a layer of 2 out, and the rest: each of its own half of the weight, so
 * that both are never copied out of one array, nor their gradients put into one. */
typedef struct vn_halves {
    vn_node *first, *second;
} vn_halves;
vn_halves vn_layer_linear_halves(const vn_scope *s, const char *name, vn_node *x, int64_t in,
                                 int64_t out);
/* vn_layer_linear, then the function `act`. */
vn_node *vn_layer_linear_act(const vn_scope *s, const char *name, vn_node *x, int64_t in,
                             int64_t out, vn_fn act);
vn_node *vn_layer_linear_if(const vn_scope *s, const char *name, vn_node *x, int64_t in,
                            int64_t out, bool bias);
vn_node *vn_layer_group_norm(const vn_scope *s, const char *name, vn_node *x, int64_t channels,
                             int64_t groups, double eps, vn_fn act);
/* LayerNorm, over the channels of each token. */
vn_node *vn_layer_token_norm(const vn_scope *s, const char *name, vn_node *x, int64_t channels,
                             double eps);
/* RMSNorm, x / sqrt(mean of x^2 + eps) over the last axis: the first without a weight, the second
 * with one under `name`. */
vn_node *vn_rms_norm(const vn_scope *s, vn_node *x, double eps);
vn_node *vn_layer_rms_norm(const vn_scope *s, const char *name, vn_node *x, int64_t channels,
                           double eps);
/* How time and class modulate a norm's output y: y (1 + scale) + shift, both [N,C]. The function
 * takes them from the two halves of e [N,2C]. */
typedef struct vn_modulation {
    vn_node *scale, *shift;
} vn_modulation;
vn_modulation vn_modulation_of(const vn_scope *s, vn_node *e, int64_t channels);
/* A GroupNorm, or with groups 0 a LayerNorm, with the affine map under `name` (NULL: none), and
 * then modulated. */
vn_node *vn_layer_modulated_norm(const vn_scope *s, const char *name, vn_node *x,
                                 const vn_modulation *by, int64_t channels, int64_t groups,
                                 double eps, vn_fn act);
/* AdaGroupNorm: scale and shift come from time [N,time_width] by a linear layer. */
vn_node *vn_layer_ada_norm(const vn_scope *s, const char *name, vn_node *x, vn_node *time,
                           int64_t time_width, int64_t channels, int64_t groups, double eps);
vn_node *vn_layer_embedding(const vn_scope *s, const char *name, vn_node *index, int64_t rows,
                            int64_t width);
vn_node *vn_layer_dropout(const vn_scope *s, vn_node *x, double p);
/* x [N,..,C] plus e [N,C] at every position. */
vn_node *vn_add_channels(const vn_scope *s, vn_node *x, vn_node *e);
vn_node *vn_spatial_mean(const vn_scope *s, vn_node *x); /* [N,H,W,C] -> [N,C] */

/* Sinusoids of t [N]: [N,width], frequencies 10000^(-i/(half-shift)); cosines first if flip. */
vn_node *vn_time_sinusoids(const vn_scope *s, vn_node *t, int64_t width, bool flip, double shift);
/* sin | cos of 2 pi log(t) w, with frozen random w [width]: [N, 2 width]. */
vn_node *vn_time_fourier(const vn_scope *s, const char *name, vn_node *t, int64_t width,
                         double scale);
/* The same of 2 pi t w, cosines first if flip. */
vn_node *vn_time_fourier_plain(const vn_scope *s, const char *name, vn_node *t, int64_t width,
                               double scale, bool flip);
/* linear_1, SiLU, linear_2 under `name`; and with another activation. */
vn_node *vn_time_embedding(const vn_scope *s, const char *name, vn_node *x, int64_t in,
                           int64_t width);
vn_node *vn_time_embedding_act(const vn_scope *s, const char *name, vn_node *x, int64_t in,
                               int64_t width, vn_fn act);

/* extras.c: what the time is multiplied by before its sinusoids, where a config's time_scale is
 * this (0: it has none); the time so; what the inputs that vn_net_add_extras declared add to the
 * embedding of the time, [N,width], NULL where there are none; and e with it. */
double vn_time_scale(bool step_end, double time_scale);
vn_node *vn_scope_time(const vn_scope *s, double time_scale);
vn_node *vn_extras(const vn_scope *s, int64_t width);
vn_node *vn_add_extras(const vn_scope *s, vn_node *e, int64_t width);
/* Whether the last keys of a config have an effect; and how many of them a preset leaves out. */
bool vn_has_extras(bool step_end, bool guidance, double time_scale);
size_t vn_extras_left_out(const vn_net_data *data);
/* The time_scale of a new config. */
double vn_extras_time_scale(const vn_net_data *data);
/* The last keys of a config. */
/* clang-format off */
#define VN_EXTRA_FIELDS(type) \
    {VN_CONFIG_KEY(type, BOOL, takes_step_end), false, 0, 0, NULL, 0}, \
    {VN_CONFIG_KEY(type, BOOL, takes_guidance), false, 0, 0, NULL, 0}, \
    {VN_CONFIG_KEY(type, NUMBER, time_scale), true, 1e-6, 1e3, NULL, 0}
/* clang-format on */
#define VN_EXTRAS 3

/* ---- perturb.c: perturbations of attention, for guides --------------------------------------- */

/* Whether the scope's layer has this perturbation; *amount (or NULL): its strength. */
bool vn_perturbed(const vn_scope *s, vn_perturbation kind, double *amount);
/* What tokens take from a text by attention, z [N,T,C], led away from what they take from another
 * where the scope's layer is so perturbed (VN_ATTENTION_NORMALIZED), else z. */
vn_node *vn_normalized_attention(const vn_scope *s, vn_node *z, vn_node *other);

/* inner + amount (y - inner) where VN_ANSWER_EXTRAPOLATED says so, else y. */
vn_node *vn_extrapolated(const vn_scope *s, vn_node *inner, vn_node *y);

/* Tokens x [N,T,C], of which those after the first `prefix` are in another order where the scope's
 * layer is so perturbed (VN_TOKENS_SHUFFLED), the same for all samples of the batch; else x. */
vn_node *vn_shuffled_tokens(const vn_scope *s, vn_node *x, int64_t prefix);
/* That order of n tokens: token i is that which was order[i]. */
void vn_token_order(int64_t n, double which, int64_t *order);

/* The tokens of self-attention: `prefix` tokens without a position, then a grid in row-major
 * order. */
typedef struct vn_heads {
    int count;
    double scale;
    int64_t prefix, rows, columns;
    /* the prefix is a text, which the grid's tokens see and which sees them, whatever is perturbed:
     * identity is of the grid alone */
    bool text;
    vn_node *bias; /* of the keys (vn_key_bias); NULL: all are seen */
    bool dense;    /* the sparse perturbation is for the cross-attention beside it */
} vn_heads;
/* q [B,prefix+rows*columns,C], and k, v of as many tokens or more: softmax(scale q k^T + bias) v
 * for each head, with the perturbations of the scope. The identity is for as many. */
vn_node *vn_self_attention(const vn_scope *s, vn_node *q, vn_node *k, vn_node *v,
                           const vn_heads *heads);
/* The same of queries over the keys and values of a text, k, v [B,T,C]: of the perturbations only
 * the sparse one is for it. */
vn_node *vn_cross_attention(const vn_scope *s, vn_node *q, vn_node *k, vn_node *v,
                            const vn_heads *heads);

/* ---- blocks.c: the blocks of diffusers that U-Nets, autoencoders and classifiers are made of - */

/* The time embedding [N,width] as it is, and through the network's activation; both NULL where a
 * network has none. */
typedef struct vn_time {
    vn_node *raw, *active;
    int64_t width;
} vn_time;

typedef enum vn_resize {
    VN_RESIZE_NONE,
    VN_RESIZE_UP,
    VN_RESIZE_DOWN,
    VN_RESIZE_FIR_UP,
    VN_RESIZE_FIR_DOWN
} vn_resize;

typedef struct vn_resnet {
    int64_t in, out;
    int64_t groups_in, groups_out;
    double eps, dropout;
    vn_fn act;
    double output_scale; /* the sum is divided by it */
    bool raw_time;       /* the time's embedding as it is, without the activation */
    /* the time scales and shifts after norm2, instead of being added before it */
    bool scale_shift;
    bool always_shortcut; /* a convolution on the shortcut even where in = out */
    int64_t z_channels;   /* of the latents of vn_resnet_spatial_block */
    vn_resize resize;     /* after norm1, on both branches */
} vn_resnet;

/* ResnetBlock2D */
vn_node *vn_resnet_block(const vn_scope *s, vn_node *x, const vn_time *time, const vn_resnet *r);
/* ResnetBlockCondNorm2D with "ada_group": scale and shift by the time replace both norms' affine
 * maps. */
vn_node *vn_resnet_ada_block(const vn_scope *s, vn_node *x, const vn_time *time,
                             const vn_resnet *r);

/* The same with norms that the latents z modulate (vn_layer_spatial_norm). */
vn_node *vn_resnet_spatial_block(const vn_scope *s, vn_node *x, vn_node *z, const vn_resnet *r);
/* SpatialNorm (2209.09002): GroupNorm of x, times one 1x1 convolution of z [N,h,w,*] and plus
 * another, each as if z were enlarged to the size of x, whose sides are those of z times a power
 * of 2. */
vn_node *vn_layer_spatial_norm(const vn_scope *s, const char *name, vn_node *x, vn_node *z,
                               int64_t channels, int64_t z_channels, vn_fn act);

typedef struct vn_attention_layer {
    int64_t channels, head_dim; /* channels / head_dim heads, rounded down */
    int64_t groups;             /* of the norm before; 0: none */
    vn_node *z;                 /* latents that modulate the norm before it; NULL: none */
    int64_t z_channels;
    double eps, output_scale;
} vn_attention_layer;

/* self-attention over pixels, residual */
vn_node *vn_attention_block(const vn_scope *s, vn_node *x, const vn_attention_layer *a);

/* 3x3, stride 2 */
vn_node *vn_downsample_conv(const vn_scope *s, vn_node *x, int64_t channels, int pad);
/* nearest, then 3x3 */
vn_node *vn_upsample_conv(const vn_scope *s, vn_node *x, int64_t channels);
/* by 2, without weights */
vn_node *vn_resize_to(const vn_scope *s, vn_node *x, vn_resize resize);
/* k-diffusion's smooth resampling by 2, edges reflected. */
vn_node *vn_resize_reflect(const vn_scope *s, vn_node *x, bool up);

/* ---- maps.c: what pictures are compared by, level by level ----------------------------------- */

/* Outputs "map0", "map1", .. [N,channels,H/2^i,W/2^i] of the first levels of a network of images,
 * given if asked for. */
#define VN_MAPS 4
void vn_net_add_maps(vn_net_io *io, const vn_config_ints *channels);
void vn_scope_map(const vn_scope *s, size_t level, vn_node *x);

/* ---- mlp.c ----------------------------------------------------------------------------------- */

/* Residual layers on points: x [N,in] -> [N,width], the time (if any) added in each. */
vn_node *vn_mlp_trunk(const vn_scope *s, vn_node *x, const vn_time *time, int64_t in, int64_t width,
                      int64_t layers, double dropout);

/* ---- one file a network: its row; the table (table.c) ---------------------------------------- */

/* By role, in the order in which they are listed. */
/* A row without `config` is read from files alone. */
#define VN_DENOISERS(ROW)                                                                          \
    ROW(unet2d) ROW(unet2d_condition) ROW(dit) ROW(text_dit) ROW(mlp) ROW(sd3) ROW(flux)
#define VN_CLASSIFIERS(ROW) ROW(classifier)
#define VN_ENCODERS(ROW)    ROW(text_encoder) ROW(clip_text) ROW(clip_projected) ROW(t5_encoder)
#define VN_EXTRACTORS(ROW)  ROW(features)
#define VN_SEQUENCES(ROW)   ROW(gpt)
#define VN_AUTOENCODERS(ROW)                                                                       \
    ROW(autoencoder_kl)                                                                            \
    ROW(autoencoder_tiny) ROW(autoencoder_vq) ROW(autoencoder_fsq) ROW(autoencoder_patches)

#define VN_DECLARE(name) extern const vn_net_row vn_##name##_net;
VN_DENOISERS(VN_DECLARE)
VN_CLASSIFIERS(VN_DECLARE)
VN_ENCODERS(VN_DECLARE)
VN_EXTRACTORS(VN_DECLARE)
VN_AUTOENCODERS(VN_DECLARE)
VN_SEQUENCES(VN_DECLARE)
#undef VN_DECLARE

/* The presets of all autoencoders, whose kind says which network they are of: a name of models that
 * can be trained, and no network by itself. */
extern const vn_net_row vn_any_autoencoder_net;

#define VN_ONE(name) +1
enum {
    VN_NET_ROWS = 0 VN_DENOISERS(VN_ONE) VN_CLASSIFIERS(VN_ONE) VN_ENCODERS(VN_ONE)
        VN_EXTRACTORS(VN_ONE) VN_AUTOENCODERS(VN_ONE) VN_SEQUENCES(VN_ONE)
};
#undef VN_ONE

/* NAME_preset.c */
extern const vn_param vn_unet2d_presets[], vn_unet2d_condition_presets[], vn_dit_presets[],
    vn_text_dit_presets[], vn_sd3_presets[], vn_flux_presets[];
json_t *vn_unet2d_condition_config(const vn_choice *preset, const vn_net_data *data, vn_err *err);
json_t *vn_sd3_config(const vn_choice *preset, const vn_net_data *data, vn_err *err);
json_t *vn_flux_config(const vn_choice *preset, const vn_net_data *data, vn_err *err);
/* Rows of the presets of networks that take texts: the text encoder that is trained with them, of
 * `depth` blocks and `width` numbers in a token where nothing else is asked for. */
/* clang-format off */
#define VN_TEXT_PRESETS(depth, width)                                            \
    {"text_depth", "blocks of the text encoder",                                 \
     depth, 1, 1024, 1, NULL},                                                   \
    {"text_length", "tokens of a text; 0: as the captions need, up to 64",       \
     0, 0, 1024, 1, NULL},                                                       \
    {"text_tokens", "tokens of a vocabulary that is learned from the captions; " \
                    "0: bytes",                                                  \
     1024, 0, 8192, 1, NULL},                                                    \
    {"text_width", "numbers in a token of its texts; 4 must divide it",          \
     width, 4, 65536, 1, NULL}
/* clang-format on */
/* Of networks that take texts (text_preset.c): images with captions alone are allowed; *width: of a
 * text's tokens, the preset's or a given encoder's. */
vn_status vn_preset_text(const vn_choice *preset, const vn_net_data *data, int64_t *width,
                         vn_err *err);
/* Of U-Nets (unet2d_preset.c): as many levels as were asked for, or as the images' sides allow;
 * groups of a norm of so many channels, and of all levels that grow from them. */
vn_status vn_preset_levels(const vn_choice *preset, const vn_net_data *data, int64_t *levels,
                           vn_err *err);
int64_t vn_preset_groups(int64_t channels);
json_t *vn_unet2d_config(const vn_choice *preset, const vn_net_data *data, vn_err *err);
json_t *vn_dit_config(const vn_choice *preset, const vn_net_data *data, vn_err *err);
json_t *vn_text_dit_config(const vn_choice *preset, const vn_net_data *data, vn_err *err);

#define VN_DIT_OWN_CLASS    "VaneDiT"
#define VN_UNET2D_OWN_CLASS "VaneUNet2D"

#endif
