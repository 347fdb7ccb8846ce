/* nn.h - networks: functions that build graphs. A row of the table turns a config (diffusers' JSON)
 * into a graph whose weights have diffusers' names. A network knows nothing of paths and samplers.
 *
 * What goes in and comes out are ports, by diffusers' names ("sample", "timestep", "class_labels";
 * "sample", "logits"): who runs a network hands it arrays with names, and what it does not take, or
 * takes in another shape, is refused by name. */
#ifndef VN_NN_H
#define VN_NN_H

#include "tensor/tensor.h"

/* ---- what a network takes and gives ---------------------------------------------------------- */

/* Lengths of a port's shape that differ from batch to batch; messages write them N, H, W, T, P, I
 * and C. Tokens are those of a text; patches are those of an image that comes as a row of them. IDS
 * and POOLED are how many numbers say sizes (time_ids) and a text as a whole (text_embeds), where a
 * config has only the sum that both come to. */
enum {
    VN_DIM_BATCH = -1,
    VN_DIM_HEIGHT = -2,
    VN_DIM_WIDTH = -3,
    VN_DIM_TOKENS = -4,
    VN_DIM_PATCHES = -5,
    VN_DIM_IDS = -6,
    VN_DIM_POOLED = -7
};

typedef struct vn_port {
    const char *name;
    vn_dtype dtype;  /* F32 takes numbers of any type, I32 whole ones */
    vn_shape shape;  /* as files have it: the batch first, channels before height and width */
    int64_t below;   /* numbers are indices of a table, 0 .. below-1; 0: any numbers */
    bool optional;   /* an input may be left out; an output: given only if asked for by name */
    int32_t missing; /* what stands for an input that is left out */
    /* its numbers are hidden features of another network, not data: what reads them is no first
     * layer, and what writes them no last one */
    bool features;
    /* an output's height and width are those of the inputs divided by the one and times the other;
     * 0: 1 */
    int64_t reduced, enlarged;
    /* Writes what stands for it [shape's count] where that is not one number; VN_BAD_ARGUMENT where
     * nothing can, of this shape. NULL: `missing` does. */
    vn_status (*fill)(const vn_shape *shape, float *to, vn_err *err);
} vn_port;

#define VN_MAX_PORTS 8

/* The latents [N,channels,H/factor,W/factor] of an autoencoder. A diffusion model sees
 * (z - shift - mean) scale / deviation of latents z. */
typedef struct vn_latents {
    int64_t channels, factor; /* 0: the network has none */
    double scale, shift;
    const double *mean, *deviation; /* [channels] each, the network's; NULL: 0 and 1 */
    int64_t codes;                  /* rows of the codebook that they are quantised by; 0: none */
    int64_t tile; /* pixels on a side of a part of a large image; 0: it has none */
    bool ramps;   /* how its parts meet (model/tiles.c) */
} vn_latents;

/* The ports of a network, and what else its config says of it. */
/* How "timestep", of at most 1000, becomes numbers: times `scale` it is `width` sinusoids, of
 * frequencies 10000^(-i/(width/2 - shift)), cosines first if flip, which every linear layer of the
 * name takes. layer NULL: otherwise. */
typedef struct vn_net_time {
    const char *layer;
    int64_t width;
    bool flip;
    double shift, scale;
} vn_net_time;

typedef struct vn_net_io {
    int inputs, outputs;
    vn_port input[VN_MAX_PORTS], output[VN_MAX_PORTS];
    int64_t height, width; /* the config's sample_size; 0: any */
    int64_t multiple;      /* images: height and width must be multiples of it */
    int64_t max_side;      /* images: neither is more than it; 0: any number */
    bool fixed_size;       /* images are of height x width alone */
    int64_t max_tokens;    /* of a text, where the network has a table of places; 0: any number */
    /* "sample" is [N,P,C packing^2]: rows of patches of packing x packing pixels of an image
     * [N,C,H,W], the numbers of each in the order C, row, column; 0: it is not */
    int64_t packing;
    /* what "timestep" counts, in thousandths of the way to noise: 1, or 0.001 where it is from 0 to
     * 1; 0: as 1 */
    double time_unit;
    int64_t usual_ids, usual_pooled; /* VN_DIM_IDS and VN_DIM_POOLED where no array says */
    /* the last row of the class table is the null condition, by the network's class; false: only
     * its files can say which row is */
    bool null_row;
    /* sum of the vn_perturbation kinds that its layers 0 .. layers-1 support; middle: the innermost
     * of them */
    unsigned perturbations;
    int layers, middle;
    vn_latents latents;
    vn_net_time time;
} vn_net_io;

/* NULL: it has none of the name. */
const vn_port *vn_net_input(const vn_net_io *io, const char *name);
const vn_port *vn_net_output(const vn_net_io *io, const char *name);
/* One sample as the config has it, [C,H,W] (0: any) or [D]. Of patches, the image's. */
vn_shape vn_net_sample(const vn_net_io *io);
/* Channels of the output "sample", the variance's too; 0: it has none. Of patches, the image's. */
int64_t vn_net_out_channels(const vn_net_io *io);
/* Rows of the class table, the null one included; 0: it has no class table. */
int64_t vn_net_labels(const vn_net_io *io);
/* The output that is the prediction: "prediction" of a network that learned a variance too, else
 * "sample". */
const vn_port *vn_net_prediction(const vn_net_io *io);

/* The optional output of a network that answers from an inner place too, by a head of its own
 * (2512.24176), in the shape of "sample"; and the key of its config, which says after how many
 * blocks that is. */
#define VN_INTERNAL      "internal"
#define VN_INTERNAL_HEAD "internal_head"

#define VN_NET_PERTURBS 2 /* perturbations at once: that of a pass, and that of every pass */

/* The lengths of a batch. Those that no port of the network has are ignored. */
typedef struct vn_extent {
    int64_t batch;
    int64_t height, width; /* 0: the config's */
    int64_t tokens;
    int64_t patches;
    int64_t ids, pooled; /* 0: usual ones */
} vn_extent;

/* A port's shape for these lengths. */
vn_shape vn_port_shape(const vn_port *port, const vn_extent *extent);
/* Sets the lengths of *extent that the port leaves open to those of a node that stands for it. */
void vn_extent_take(vn_extent *extent, const vn_port *port, const vn_node *node);
/* The lengths of a batch of samples [C,H,W] or [D]. */
vn_extent vn_extent_of(int64_t batch, const vn_shape *sample);
/* Lengths that are 0, and that neither the batch nor the config gives, become usual ones: texts of
 * VN_USUAL_TOKENS, images of VN_USUAL_PATCHES. For plans and timings. */
enum { VN_USUAL_TOKENS = 77, VN_USUAL_PATCHES = 256 };
vn_extent vn_net_usual(const vn_net_io *io, const vn_extent *extent);
/* The ids of the patches of an image, rows x columns of them, [P,3]: 0, row, column. */
enum { VN_PATCH_AXES = 3 };
void vn_patch_ids(int64_t rows, int64_t columns, float *to);
/* So many patches are an image of height x width pixels. 0: the io has none. */
int64_t vn_net_patches(const vn_net_io *io, int64_t height, int64_t width);

/* What a network's graph is built for. */
typedef struct vn_net_spec {
    vn_extent extent;
    bool train; /* with dropout */
    /* so many of the extent's tokens, the last ones, are those of a text to be led away from, which
     * VN_ATTENTION_NORMALIZED needs; 0: there is none */
    int64_t negative;
    /* kind 0: none. They do not change which weights the network has. Kinds and layers that its io
     * does not declare are refused */
    vn_perturb perturb[VN_NET_PERTURBS];
} vn_net_spec;

/* Ports as nodes of a graph, in the order of the io. Nodes are channels last: [N,H,W,C] for a port
 * [N,C,H,W]. Those of whole numbers below a bound are i32, all others f32. */
typedef struct vn_net_nodes {
    vn_node *in[VN_MAX_PORTS], *out[VN_MAX_PORTS];
    /* [N,..] features of an inner place, for losses; NULL: the network names none */
    vn_node *hidden;
} vn_net_nodes;

/* ---- the table ------------------------------------------------------------------------------- */

/* What a network is for. */
typedef enum vn_role {
    VN_ROLE_DENOISER,
    VN_ROLE_CLASSIFIER,
    VN_ROLE_ENCODER,     /* of texts */
    VN_ROLE_FEATURES,    /* of samples, to compare them by */
    VN_ROLE_AUTOENCODER, /* of images: into latents and back */
    VN_ROLE_SEQUENCE,    /* of tokens: which comes next */
    VN_ROLE_COUNT
} vn_role;

/* What `vane train --model NAME:...` needs to know of the data to write a config. */
typedef struct vn_net_data {
    vn_shape sample;      /* [C,H,W] or [D] */
    int64_t labels;       /* classes, and one more for the null row; 0: no classes */
    double dropout;       /* < 0: the model's own */
    bool learns_variance; /* the variance of a step too, in as many channels again */
    bool clean;           /* it is to see samples without noise alone (classifiers) */
    bool captions;        /* each sample has a text */
    /* numbers in a token of what a frozen text encoder makes of it; 0: an encoder is trained with
     * the network, of the preset's own width */
    int64_t text_width;
    int64_t text_pooled; /* and in what stands for the text as a whole */
    /* of sequence models: how many kinds of tokens there are, and how many tokens a sequence has */
    int64_t vocabulary, tokens;
    bool step_end, guidance; /* it is to take these inputs too (vn_net_row.extras) */
    /* its time is to be counted as that of networks that take the end of a step */
    bool slow_time;
} vn_net_data;

/* A new config.json of a codebook of patches (autoencoder_patches.c), whose only weight this is:
 * [codes, patch patch channels], rows of patches one after another, channels last; NULL with err
 * set. */
#define VN_PATCH_CODEBOOK "codebook.weight"
json_t *vn_patch_codes_config(int64_t channels, int64_t height, int64_t width, int64_t patch,
                              int64_t codes, vn_err *err);

/* A text encoder that is trained with a denoiser. */
typedef struct vn_text_encoder_size {
    int64_t tokens, pad;  /* of its tokenizer: how many ids there are, and which fills up */
    int64_t length;       /* tokens of its longest text */
    int64_t width, depth; /* of a token; blocks */
    double dropout;
} vn_text_encoder_size;
/* A new config.json of vane's own encoder (text_encoder.c); NULL with err set. */
json_t *vn_text_encoder_config(const vn_text_encoder_size *size, vn_err *err);

/* What EDM2's loss learns of its own size at each time (uncertainty.c), with the output [N,1] of
 * its log; and its config. It is in no table. */
extern const struct vn_net_row vn_uncertainty_net;
#define VN_LOG_VARIANCE "log_variance"
json_t *vn_uncertainty_config(vn_err *err);

/* What an autoencoder is trained against (discriminator.c), with the output "logits", one number
 * for each patch; and its config for pictures [C,H,W]: so many channels in its first layer, and
 * layers of stride 2, 0: three, or fewer where the pictures are small. It is in no table. */
extern const struct vn_net_row vn_discriminator_net;
json_t *vn_discriminator_config(const vn_shape *sample, int64_t channels, int64_t layers,
                                vn_err *err);

struct vn_scope;

/* The input [N] of where the step ends, by diffusers' name: in the unit of "timestep". */
#define VN_STEP_END "r_timestep"

/* A new config: that of a network, or of one that takes these inputs too, or whose time is counted
 * slowly. VN_UNSUPPORTED: its row has none such. NULL with err set. */
json_t *vn_net_config_with(const json_t *config, bool step_end, bool guidance, bool slow_time,
                           vn_err *err);

/* The parts of an autoencoder that are networks by themselves. */
typedef enum vn_half {
    VN_HALF_ENCODER, /* "sample" [N,C,H,W] to the latents, or "mean" and "logvar" of them */
    VN_HALF_DECODER, /* "sample", the latents, to "decoded" */
    VN_HALF_LOOKUP,  /* "codes" i32 [N,H/f,W/f] to "decoded" */
    VN_HALF_COUNT
} vn_half;

typedef struct vn_half_row {
    void (*ports)(const void *self, vn_net_io *io); /* NULL: the network has no such part */
    void (*build)(const void *self, const struct vn_scope *s);
} vn_half_row;

/* What a network is trained with where nothing else is asked for; NULL or 0: as all are. */
typedef struct vn_net_habits {
    const char *optimizer, *schedule;
    double lr, weight_decay;
    int64_t batch;
} vn_net_habits;

typedef struct vn_net_row {
    vn_row row; /* parameters are the presets' */
    vn_role role;
    /* diffusers' _class_name, or what transformers' "architectures" has; vane's own for networks
     * that they lack */
    const char *class_name;
    const char *own_class; /* vane's _class_name for what goes beyond diffusers' class, or NULL */
    const char *folder;    /* "unet", "transformer", "model", "classifier" */
    bool takes_texts;      /* its presets are for samples with captions, or may be */
    /* its configs may say takes_step_end and takes_guidance, for inputs VN_STEP_END and "guidance"
     * (extras.c) */
    bool extras;
    /* of a text encoder: a tokenizer that needs no files (text.h), which it has where none lies
     * beside it; NULL: one has to */
    const char *tokenizer;
    vn_net_habits habits; /* of training */
    /* a new config.json; NULL: only files have this network */
    json_t *(*config)(const vn_choice *preset, const vn_net_data *data, vn_err *err);
    /* Reads and checks a config, refusing by name what is not supported. */
    vn_status (*open)(const json_t *config, void **self, vn_net_io *io, vn_err *err);
    void (*close)(void *self);
    /* Builds from the scope's inputs to its outputs (internal.h). */
    void (*build)(const void *self, const struct vn_scope *s);
    vn_half_row half[VN_HALF_COUNT]; /* of an autoencoder */
} vn_net_row;

extern const vn_table vn_models[VN_ROLE_COUNT]; /* of vn_net_row, by role */
extern const vn_table vn_trained_models;        /* of vn_net_row: what can be trained */
/* The rows of all roles; NULL past the last. */
const vn_net_row *vn_net_row_at(size_t i);

/* ---- a network ------------------------------------------------------------------------------- */

typedef struct vn_net vn_net;

/* Opens the network of the config's _class_name; the config stays the caller's. It builds the
 * network once, so that vn_net_weights has all weights. Close with vn_net_close. */
vn_status vn_net_open(const json_t *config, vn_net **out, vn_err *err);
/* The same with a given row, which need not be in a table. */
vn_status vn_net_open_row(const vn_net_row *row, const json_t *config, vn_net **out, vn_err *err);
/* A part of an autoencoder, on its weights and its values: they are the same objects, so the whole
 * is closed after its parts. VN_UNSUPPORTED: it has none of the kind. */
vn_status vn_net_open_half(const vn_net *whole, vn_half half, vn_net **out, vn_err *err);
void vn_net_close(vn_net **net);
const vn_net_row *vn_net_get_row(const vn_net *net);
const vn_net_io *vn_net_get_io(const vn_net *net);
const json_t *vn_net_config(const vn_net *net);
vn_weights *vn_net_weights(const vn_net *net);
/* values [floats of `to`] have the weights of `from`, whose time may be counted otherwise: the
 * layers that take it get the weights by which they answer as before, as nearly as they can
 * (refit.c). */
vn_status vn_net_refit_time(const vn_net *from, const vn_net *to, float *values, vn_err *err);

/* Builds the network into g. It may be built several times, into one graph or several, which share
 * its weights. */
vn_status vn_net_build(const vn_net *net, vn_graph *g, const vn_net_spec *spec, vn_net_nodes *nodes,
                       vn_err *err);
/* The same in two parts: the input nodes; and the network on nodes->in, which may be any nodes of
 * the inputs' types and shapes. */
vn_status vn_net_make_inputs(const vn_net *net, vn_graph *g, const vn_net_spec *spec,
                             vn_net_nodes *nodes, vn_err *err);
vn_status vn_net_build_on(const vn_net *net, vn_graph *g, const vn_net_spec *spec,
                          vn_net_nodes *nodes, vn_err *err);
/* The node of the input or output of this name; NULL: there is none. */
vn_node *vn_net_in(const vn_net *net, const vn_net_nodes *nodes, const char *name);
vn_node *vn_net_out(const vn_net *net, const vn_net_nodes *nodes, const char *name);

/* ---- arrays into ports and out of them ------------------------------------------------------- */

/* An array for the input of the array's name, in the port's shape. Where each sample takes one
 * number, a single number is taken for all. */
typedef struct vn_feed {
    vn_array array;
    const float *scale; /* [N], what each sample's numbers are multiplied by; NULL: 1 */
} vn_feed;

/* Checks arrays against the inputs of a network: VN_BAD_ARGUMENT names one that is unknown, missing
 * or of another shape or type than its port. Lengths of *extent that are 0 are set to those of the
 * arrays. */
vn_status vn_net_match(const vn_net *net, vn_extent *extent, int n, const vn_feed *in, vn_err *err);
/* Writes arrays that match into the inputs of a program, numbers checked; an optional input that is
 * left out becomes zeros, any other stays as it is. Allocates only where an image is not floats. */
vn_status vn_net_fill(const vn_net *net, vn_program *p, const vn_net_nodes *nodes, int n,
                      const vn_feed *in, vn_thread_pool *pool, vn_err *err);

/* Images between a file's order and the graph's: [n,C,H,W] to [n,H,W,C] and back, each times its
 * scale (NULL: 1). */
void vn_channels_last(float *out, const float *in, int64_t n, int64_t channels, int64_t pixels,
                      const float *scale, vn_thread_pool *pool);
void vn_channels_first(float *out, const float *in, int64_t n, int64_t channels, int64_t pixels,
                       const float *scale, vn_thread_pool *pool);
/* Writes or reads what the program holds for a node of rank 2 or 4; in and out are in a file's
 * order. */
void vn_net_write_node(vn_program *p, const vn_node *node, const float *in, const float *scale,
                       vn_thread_pool *pool);
void vn_net_read_node(vn_program *p, const vn_node *node, float *out, const float *scale,
                      vn_thread_pool *pool);
/* A node's shape in that order. */
vn_shape vn_net_file_shape(const vn_node *node);

/* ---- running: passes, with a program kept for each spec -------------------------------------- */

/* The largest number of rows, from 1 to the extent's batch, whose forward pass is planned to take
 * at most so many bytes (vn_footprint); 1 where even one row takes more. */
vn_status vn_net_rows_within(const vn_net *net, const vn_device *device, const vn_extent *extent,
                             size_t bytes, int64_t *rows, vn_err *err);

/* The same with as many bytes as are worth a pass: large enough for the weights, which each pass
 * reads, to cost little, and no larger, since what exceeds the processor's caches makes no row
 * faster. */
vn_status vn_net_rows_a_pass(const vn_net *net, const vn_device *device, const vn_extent *extent,
                             int64_t *rows, vn_err *err);

/* What a forward pass of the extent's batch is planned to take, in bytes. */
vn_status vn_net_pass_bytes(const vn_net *net, const vn_device *device, const vn_extent *extent,
                            size_t *bytes, vn_err *err);

typedef struct vn_runner vn_runner;
/* values: of the network's weights, shared with the caller. Close with vn_runner_close. */
vn_status vn_runner_open(const vn_net *net, const vn_device *device, vn_values *values,
                         vn_runner **out, vn_err *err);
void vn_runner_close(vn_runner **r);

/* An output to be fetched: its numbers go to `data`, the caller's memory, in the port's shape. */
typedef struct vn_fetch {
    const char *name;
    float *data;
} vn_fetch;

/* Feeds arrays, runs the network and fetches outputs. Allocates only where the spec is new; a batch
 * of 0 does nothing. */
vn_status vn_runner_run(vn_runner *r, const vn_net_spec *spec, int n_in, const vn_feed *in,
                        int n_out, const vn_fetch *out, vn_err *err);
/* A product with the derivative J of an output by the array fed to "sample", its scale included:
 * VN_VJP, J^T direction, direction in the output's shape and out in the sample's; or VN_JVP, J
 * direction, the other way round. Planned when first asked for. */
vn_status vn_runner_derive(vn_runner *r, const vn_net_spec *spec, vn_want want, const char *output,
                           int n_in, const vn_feed *in, const float *direction, float *out,
                           vn_err *err);

/* ---- a sequence model, one token at a time (decoder.c) --------------------------------------- */

/* Plans for `rows` sequences at once, of at most so many tokens. */
typedef struct vn_decoder vn_decoder;
/* The keys and values of so many sequences; several may be decoded with one set of plans. */
typedef struct vn_decoder_cache vn_decoder_cache;

/* The network outlives it, the values are shared with the caller; VN_UNSUPPORTED: it is no sequence
 * model. */
vn_status vn_decoder_open(const vn_net *net, const vn_device *device, vn_values *values,
                          int64_t rows, int64_t tokens, vn_decoder **out, vn_err *err);
void vn_decoder_close(vn_decoder **d); /* after its caches; safe on NULL */
vn_status vn_decoder_cache_open(const vn_decoder *d, vn_decoder_cache **out, vn_err *err);
void vn_decoder_cache_close(vn_decoder_cache **c); /* safe on NULL */
/* Takes token ids[i] of each row, which is at `position`, the tokens before it having been taken;
 * logits [rows,vocab] are those of the next. To the bit those of the whole network. wanted [rows]:
 * others are as they were, and their logits mean nothing; NULL: all are. Allocates nothing. */
vn_status vn_decoder_step(vn_decoder *d, vn_decoder_cache *c, int64_t position, const bool *wanted,
                          const int32_t *ids, float *logits, vn_err *err);

#endif
