/* nn.h - networks: functions that build graphs. A row of the table turns a config (diffusers' JSON)
 * into a graph whose weights have diffusers' names. A network knows nothing of paths and
 * samplers. */
#ifndef VN_NN_H
#define VN_NN_H

#include "tensor/tensor.h"

/* The form in which a network takes the class. */
typedef enum vn_class_kind {
    VN_CLASS_NONE,
    /* i32 [N], 0 .. labels-1: a row of a table; what training and sampling by class need */
    VN_CLASS_INDEX,
    VN_CLASS_NUMBER, /* f32 [N], embedded like a time (class_embed_type "timestep") */
    VN_CLASS_VECTOR  /* f32 [N,class_width], added as it is (class_embed_type "identity") */
} vn_class_kind;

/* What a network takes and gives, read from its config. */
typedef struct vn_net_io {
    int rank;             /* 3: images [C,H,W]; 1: points [D] */
    int64_t in_channels;  /* or D */
    int64_t out_channels; /* of its output */
    /* out_channels is twice in_channels: a prediction, then v of the learned variance */
    bool learns_variance;
    bool classifies;       /* its output is logits [N,out_channels], not a sample */
    int64_t height, width; /* the config's sample_size; 0: any */
    int64_t multiple;      /* images: height and width must be multiples of it */
    int64_t labels;        /* rows of the class embedding, null included; 0: takes no class */
    /* its class defines the last of them as null; else its files say what the rows are */
    bool null_row;
    bool takes_time;
    /* the time is a whole number below this, a row of a learned table; 0: any number */
    int64_t times;
    vn_class_kind class_kind;
    int64_t class_width; /* of VN_CLASS_VECTOR */
    /* sum of the vn_perturbation kinds it supports, on layers 0 .. layers-1; `middle`: the
     * innermost */
    unsigned perturbations;
    int layers, middle;
} vn_net_io;

#define VN_NET_PERTURBS 2 /* at once: one of a pass, one of all passes */

/* A network's inputs as nodes; those it does not take are NULL. */
typedef struct vn_net_inputs {
    vn_node *sample;       /* [N,H,W,C] or [N,D] */
    vn_node *timestep;     /* f32 [N]; i32 [N] where io.times > 0 */
    vn_node *class_labels; /* as io.class_kind says */
    bool train;            /* dropout on */
    vn_perturb perturb[VN_NET_PERTURBS];
} vn_net_inputs;

typedef struct vn_net vn_net;

/* What `vane train --model NAME:...` needs to know of the data to write a config. */
typedef struct vn_net_data {
    int rank;
    int64_t channels, height, width; /* points: channels = D */
    int64_t labels;                  /* with the null row; 0: none */
    double dropout;                  /* < 0: the model's own */
    bool learns_variance;            /* as in vn_net_io */
} vn_net_data;

typedef struct vn_net_row {
    vn_row row;             /* parameters are the presets' */
    const char *class_name; /* diffusers' _class_name; vane's own for networks it lacks */
    const char *own_class;  /* vane's _class_name for what goes beyond diffusers' class, or NULL */
    const char *folder;     /* "unet", "transformer", "model", "classifier" */
    /* a new config.json */
    json_t *(*config)(const vn_choice *preset, const vn_net_data *data, vn_err *err);
    /* Reads and checks a config, refusing by name what is not supported. */
    vn_status (*open)(const json_t *config, void **self, vn_net_io *io, vn_err *err);
    void (*close)(void *self);
    /* -> the output */
    vn_node *(*build)(const void *self, vn_graph *g, vn_weights *w, const vn_net_inputs *in);
} vn_net_row;

extern const vn_net_row vn_net_rows[];
extern const size_t vn_net_row_count;
extern const size_t vn_net_denoiser_count; /* the first of them: what can be trained to denoise */

/* Opens the network of the config's _class_name; the config stays the caller's. It builds the
 * network once, so that vn_net_weights has all weights. Close with vn_net_close. */
vn_status vn_net_open(const json_t *config, vn_net **out, vn_err *err);
void vn_net_close(vn_net **net);
const vn_net_row *vn_net_get_row(const vn_net *net);
const vn_net_io *vn_net_get_io(const vn_net *net);
const json_t *vn_net_config(const vn_net *net);
vn_weights *vn_net_weights(const vn_net *net);
/* Builds the network for a batch into g: makes the inputs it takes (height, width 0: the config's)
 * and its output node. */
vn_node *vn_net_build(const vn_net *net, vn_graph *g, int64_t batch, int64_t height, int64_t width,
                      bool train, vn_net_inputs *in);

/* The same with perturbations: perturb [VN_NET_PERTURBS], or NULL for none. The weights are the
 * same. A perturbation that the network's io does not declare fails the graph. */
vn_node *vn_net_build_perturbed(const vn_net *net, vn_graph *g, int64_t batch, int64_t height,
                                int64_t width, bool train, const vn_perturb *perturb,
                                vn_net_inputs *in);

/* The prediction in an output: all of it, or, if the network learns a variance, the first
 * in_channels. */
vn_node *vn_net_prediction(const vn_net *net, vn_graph *g, vn_node *output);
/* The last in_channels of the output of a network that learns a variance; else NULL. */
vn_node *vn_net_variance(const vn_net *net, vn_graph *g, vn_node *output);

/* Writes a batch's times and labels (NULL for what the network does not take) into the inputs of a
 * program, checked: a label in 0 .. io.labels-1, a time whole and in 0 .. io.times-1 where io.times
 * > 0. Refuses VN_CLASS_VECTOR. */
vn_status vn_net_write_inputs(const vn_net *net, vn_program *p, const vn_net_inputs *in,
                              const float *time, const int32_t *labels, vn_err *err);
/* Images between a file's order and the graph's: [n,C,H,W] to [n,H,W,C] and back. */
void vn_channels_last(float *out, const float *in, int64_t n, int64_t channels, int64_t pixels,
                      vn_thread_pool *pool);
void vn_channels_first(float *out, const float *in, int64_t n, int64_t channels, int64_t pixels,
                       vn_thread_pool *pool);

/* ---- running: passes forward and back, one program for each shape and perturbation ----------- */

typedef struct vn_runner vn_runner;
/* values: the flat array of weights, which stays the caller's and must outlive the runner. Close
 * with vn_runner_close. */
vn_status vn_runner_open(const vn_net *net, const vn_device *device, const float *values,
                         vn_runner **out, vn_err *err);
void vn_runner_close(vn_runner **r);
/* Sets the perturbations of the runs from now on, [VN_NET_PERTURBS]; NULL: none. */
void vn_runner_perturb(vn_runner *r, const vn_perturb *perturb);
/* x, y channels-first [n,C,H,W] or [n,D]; time f32 [n] or NULL; labels i32 [n] or NULL. y receives
 * the prediction; variance, of the same shape or NULL, receives v of the learned variance.
 * Allocates only for a new shape. */
vn_status vn_runner_forward(vn_runner *r, int64_t n, int64_t height, int64_t width, const float *x,
                            const float *time, const int32_t *labels, float *y, float *variance,
                            vn_err *err);
/* back = d<cotangent, y>/dx at x: cotangent in y's order and shape, back in x's. The program is
 * planned at the first call for a shape. */
vn_status vn_runner_vjp(vn_runner *r, int64_t n, int64_t height, int64_t width, const float *x,
                        const float *time, const int32_t *labels, const float *cotangent,
                        float *back, vn_err *err);

#endif
