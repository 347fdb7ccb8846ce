/* tensor.h - graphs of array operations: built once for a shape, differentiated by rule, planned
 * once into one arena, run many times without allocating.
 *
 *   build      vn_graph_open, then ops; the graph keeps the first error, so that model code needs
 *              no check after each op
 *   gradient   vn_graph_gradient appends more graph; applied twice it gives gradients of gradients
 *   program    vn_program_open plans memory for the nodes that the outputs need
 *   run        vn_program_run, on the device that it was planned for (device.h)
 *
 * All arrays are dense and row-major; images are [N,H,W,C]. A fused op may carry an `expand` rule
 * that writes it with simpler ops: that is its truth in tests and its gradient when it has no rule
 * of its own.
 */
#ifndef VN_TENSOR_H
#define VN_TENSOR_H

#include "tensor/device.h"
#include "tensor/weights.h"

/* ---- building -------------------------------------------------------------------------------- */

vn_status vn_graph_open(vn_graph **out, vn_err *err);
void vn_graph_close(vn_graph **g);
/* VN_OK, or the first thing that went wrong while building, copied to *err. Every builder returns
 * NULL from then on, and accepts NULL nodes, so one check at the end is enough. */
vn_status vn_graph_status(const vn_graph *g, vn_err *err);
int vn_graph_size(const vn_graph *g);
vn_node *vn_graph_node(const vn_graph *g, int id);
/* Nodes made from now on carry this label (copied). "" for none. */
void vn_graph_label(vn_graph *g, const char *format, ...) VN_PRINTF(2, 3);
/* Records an error found by model code (a shape that does not fit, say); returns NULL. */
vn_node *vn_graph_fail(vn_graph *g, vn_status status, const char *format, ...) VN_PRINTF(3, 4);

vn_node *vn_input(vn_graph *g, vn_dtype dtype, vn_shape shape);
/* Weights asked for from now on have the values of this set (vn_run), 0 at first. A network that is
 * built under two sets is there twice, with weights of its own each time; so are two networks. */
void vn_graph_set_values(vn_graph *g, int set);
/* A weight by name: declared in w on first use, found (and its shape checked) afterwards. `file` is
 * PyTorch's shape. */
vn_node *vn_param_node(vn_graph *g, vn_weights *w, const char *name, vn_shape file,
                       vn_layout layout, vn_init init);
vn_node *vn_param_frozen(vn_graph *g, vn_weights *w, const char *name, vn_shape file, vn_init init);
/* A frozen weight that is a table by a formula: `fill` writes it, init.scale being `scale`. */
vn_node *vn_param_computed(vn_graph *g, vn_weights *w, const char *name, vn_shape file,
                           double scale, void (*fill)(const vn_weight *weight, float *values));
vn_node *vn_const(vn_graph *g, vn_dtype dtype, vn_shape shape, const void *data); /* copied */
vn_node *vn_fill(vn_graph *g, vn_shape shape, double value);
vn_node *vn_reshape(vn_graph *g, vn_node *x, vn_shape shape); /* one dim may be -1 */
vn_node *vn_view(vn_graph *g, vn_node *x, int64_t offset, vn_shape shape);
/* x, a constant to derivatives */
vn_node *vn_stop_gradient(vn_graph *g, vn_node *x);
vn_node *vn_permute(vn_graph *g, vn_node *x, const int *perm); /* perm[rank] */
/* axis may be negative, here and below */
vn_node *vn_concat(vn_graph *g, int axis, int n, vn_node *const *x);
vn_node *vn_slice(vn_graph *g, vn_node *x, int axis, int64_t begin, int64_t length);
vn_node *vn_place(vn_graph *g, vn_node *x, int axis, int64_t begin, int64_t total);
vn_node *vn_broadcast(vn_graph *g, vn_node *x, vn_shape shape); /* x itself if equal */
vn_node *vn_sum_to(vn_graph *g, vn_node *x, vn_shape shape);
/* of x y, both of one shape */
vn_node *vn_sum_product_to(vn_graph *g, vn_node *x, vn_node *y, vn_shape shape);
vn_node *vn_add(vn_graph *g, vn_node *a, vn_node *b);
vn_node *vn_sub(vn_graph *g, vn_node *a, vn_node *b);
vn_node *vn_mul(vn_graph *g, vn_node *a, vn_node *b);
vn_node *vn_div(vn_graph *g, vn_node *a, vn_node *b);
/* x y + z: z of x's shape, y broadcasts to it */
vn_node *vn_mul_add(vn_graph *g, vn_node *x, vn_node *y, vn_node *z);
/* x in another number type, rounded to nearest, ties to even; x itself if it has the type. To
 * derivatives it is the identity, and they are floats of 32 bits. */
vn_node *vn_cast(vn_graph *g, vn_node *x, vn_dtype dtype);
vn_node *vn_affine(vn_graph *g, vn_node *x, double scale, double shift);
vn_node *vn_unary(vn_graph *g, vn_node *x, vn_fn fn); /* x itself for identity */
vn_node *vn_matmul(vn_graph *g, vn_node *a, vn_node *b, bool ta, bool tb);
vn_node *vn_linear(vn_graph *g, vn_node *x, vn_node *w, vn_node *b /* or NULL */, bool has_bias);
/* act(x w^T + b) in one op. Where a gradient follows, the function is better an op of its own, as
 * its gradient needs the input. */
vn_node *vn_linear_act(vn_graph *g, vn_node *x, vn_node *w, vn_node *b, bool has_bias, vn_fn act);
/* Of an x that is a part of what the weight takes: its columns from `from` on. */
vn_node *vn_linear_part(vn_graph *g, vn_node *x, vn_node *w, int64_t from, vn_node *b /* or NULL */,
                        bool has_bias);
vn_node *vn_conv2d(vn_graph *g, vn_node *x, vn_node *w, vn_node *b, bool has_bias, int stride,
                   const int pad[4]);
/* x [N,..,C] with `groups` groups of channels; layer norm is x viewed as [rows, C] with one group.
 * gamma, beta: [C]; or [B,C], a row for each N/B samples (of a layer norm: rows) in turn, as time
 * and class modulate a norm; or both NULL with has_affine false. act: VN_FN_IDENTITY or
 * VN_FN_SILU. */
vn_node *vn_norm(vn_graph *g, vn_node *x, vn_node *gamma, vn_node *beta, bool has_affine,
                 int groups, double eps, vn_fn act);
vn_node *vn_layer_norm(vn_graph *g, vn_node *x, vn_node *gamma, vn_node *beta, bool has_affine,
                       double eps); /* last axis */
/* x [..,C] over the root of its mean square (1910.07467), times gamma [C]: in one op, or, where a
 * gradient follows, by ops that keep what it needs. The same bits either way. */
vn_node *vn_rms(vn_graph *g, vn_node *x, vn_node *gamma, bool has_gamma, double eps);
vn_node *vn_rms_by_parts(vn_graph *g, vn_node *x, vn_node *gamma, bool has_gamma, double eps);
/* x [..,D], every pair (a, b) of it as (a c - b s, b c + a s), with the cosine and sine of its own
 * place, which are of one shape [..,D] and broadcast to x's. Pairs are neighbours, or with `halves`
 * the numbers i and i + D/2. */
vn_node *vn_rotate(vn_graph *g, vn_node *x, vn_node *cosine, vn_node *sine, bool halves);
vn_node *vn_softmax(vn_graph *g, vn_node *x);
/* alpha-entmax of alpha 1.5 over the last axis: sparse, adds up to 1 */
vn_node *vn_entmax15(vn_graph *g, vn_node *x);
vn_node *vn_cross_entropy(vn_graph *g, vn_node *logits, vn_node *labels);
vn_node *vn_one_hot(vn_graph *g, vn_node *index, int64_t k);
vn_node *vn_embedding(vn_graph *g, vn_node *table, vn_node *index);
/* For each row of x [..,D] the index in table [V,D] of the row at the least Euclidean distance, the
 * first of several: i32 [..]. It has no derivative. */
vn_node *vn_nearest_row(vn_graph *g, vn_node *x, vn_node *table);
/* Attention of queries q [B,Tq,heads d] over keys and values k, v [B,Tk,heads d]: out [B,Tq,heads
 * d]. */
vn_node *vn_attention(vn_graph *g, vn_node *q, vn_node *k, vn_node *v, int heads, double scale);

typedef struct vn_attention_options {
    int heads;
    /* of k and v [B,Tk,key_heads d], a divisor of heads: query head h reads key head h key_heads /
     * heads (grouped queries, 2305.13245); 0: as many as heads */
    int key_heads;
    double scale;
    /* query i sees the keys up to i + Tk - Tq, so that the last query sees all; Tk >= Tq */
    bool causal;
    /* bias is added to the scaled scores: [B or 1, heads or 1, Tq or 1, Tk]. A mask is one of 0
     * and -INFINITY; below -1e30 counts as -1e30, so that a query that sees nothing takes the
     * mean of all values */
    bool has_bias;
    vn_node *bias;
} vn_attention_options;

vn_node *vn_attention_of(vn_graph *g, vn_node *q, vn_node *k, vn_node *v,
                         const vn_attention_options *o);
/* Separable FIR resampling of rows and columns. In one dimension, with x zero outside:
 *   out[o] = sum_i x[i] tap[o*down - i*up + pad],  0 <= index < taps.
 * Nearest upsampling by f: up f, taps f ones, pad 0, out f*H. Average pooling by f: down f, taps f
 * of 1/f, pad f-1, out H/f. The adjoint is the same op with up and down exchanged, the taps
 * reversed and pad' = taps-1-pad. */
vn_node *vn_resample(vn_graph *g, vn_node *x, int up, int down, int taps, const float *tap,
                     const int pad[2], int64_t out_h, int64_t out_w);
vn_node *vn_upsample_nearest(vn_graph *g, vn_node *x, int factor);
vn_node *vn_avg_pool(vn_graph *g, vn_node *x, int factor); /* floor(H/f) x floor(W/f) */
/* x itself if p = 0; each call is a site of its own, and its mask is drawn by the site's number */
vn_node *vn_dropout(vn_graph *g, vn_node *x, double p);
/* The number of the next site. What is built a second time from the same number on has the same
 * masks. */
uint32_t vn_graph_site(const vn_graph *g);
void vn_graph_set_site(vn_graph *g, uint32_t site);
vn_node *vn_mean(vn_graph *g, vn_node *x); /* of all elements, rank 0 */

/* Appends the gradient of sum(cotangent * y) for each of n nodes in `wrt`: out[i] has wrt[i]'s
 * shape, a zero fill where y does not depend on it. cotangent NULL: ones. Applies to what it made
 * itself, up to the rules' reach; beyond: VN_UNSUPPORTED, naming the op. */
vn_status vn_graph_gradient(vn_graph *g, vn_node *y, vn_node *cotangent, int n, vn_node *const *wrt,
                            vn_node **out, vn_err *err);

/* Appends the forward derivative of y, J t: what y changes by, to first order, when each of n nodes
 * wrt[i] changes by tangent[i] (of its shape). *out has y's shape; a zero fill where y depends on
 * none of them. Fails as vn_graph_gradient does. */
vn_status vn_graph_jvp(vn_graph *g, vn_node *y, int n, vn_node *const *wrt, vn_node *const *tangent,
                       vn_node **out, vn_err *err);

/* How much of the forward pass is computed again in the backward pass, instead of kept in memory
 * from the one to the other. The gradients are the same bits. */
typedef enum vn_recompute {
    VN_RECOMPUTE_CHEAP,  /* what costs little: norms, activations, sums */
    VN_RECOMPUTE_BLOCKS, /* all but what vn_block_end marks */
    VN_RECOMPUTE_NONE
} vn_recompute;

/* Marks what a block of a model hands on: from here VN_RECOMPUTE_BLOCKS computes what follows.
 * Returns x. */
vn_node *vn_block_end(vn_node *x);

/* The weights of a network whose values are one of a graph's sets. */
typedef struct vn_weight_set {
    vn_weights *weights;
    int set;
    size_t base; /* where they begin in run.grads, in floats */
} vn_weight_set;

/* The gradients of a network by its weights and its input, as a program takes them. */
typedef struct vn_gradients {
    /* What is asked for: */
    vn_weights *weights; /* NULL: by x alone */
    int sets;            /* instead of weights: those of several networks */
    const vn_weight_set *set;
    bool frozen; /* by the weights that do not train too */
    vn_node *x;  /* NULL: none */
    int inputs;  /* beside x */
    vn_node *const *input;
    vn_recompute recompute;
    /* What it gives: */
    int n;
    vn_node **node; /* [n] in a weight's inside shape */
    size_t *offset; /* [n] where in run.grads, in floats */
    vn_node *by_x;
    vn_node **by_input; /* [inputs] */
} vn_gradients;

/* vn_graph_gradient of sum(cotangent * y) by what *d asks for. d is closed with vn_gradients_close,
 * after a failure too. */
vn_status vn_gradients_open(vn_gradients *d, vn_node *y, vn_node *cotangent, vn_err *err);
void vn_gradients_close(vn_gradients *d);

/* ---- programs -------------------------------------------------------------------------------- */

typedef struct vn_program vn_program;

/* Memory of a device that programs share which run one at a time: as large as the largest of them.
 * Zero at first; it outlives the programs. What one left in its inputs and outputs is gone once
 * another is opened or run. */
typedef struct vn_program_arena {
    vn_device device; /* of the programs */
    void *memory;
    size_t bytes;
} vn_program_arena;

void vn_program_arena_close(vn_program_arena *arena);

typedef struct vn_program_options {
    const vn_device *device; /* that runs it: outlives the program */
    vn_program_arena *arena; /* to run in; NULL: memory of its own */
    int n_outputs;
    vn_node *const *outputs; /* kept readable after a run */
    /* nodes that are written to run.grads + offset of a weight, in its inside shape */
    int n_grads;
    vn_node *const *grads;
    const size_t *grad_offset;
    bool profile; /* time each op */
} vn_program_options;

/* Plans the nodes that outputs and grads need. The graph must outlive the program. Several programs
 * may come from one graph. */
vn_status vn_program_open(vn_graph *g, const vn_program_options *options, vn_program **out,
                          vn_err *err);
void vn_program_close(vn_program **p);

/* An array that is alive. */
typedef struct vn_footprint_line {
    const vn_node *node;
    size_t bytes;
} vn_footprint_line;

/* What a program of these options would take, without taking it. */
typedef struct vn_footprint {
    size_t bytes; /* vn_program_bytes */
    /* of them, all that is alive at the step where most is; the rest: work space, and gaps
     * between arrays */
    size_t alive_bytes;
    vn_cost cost; /* vn_program_cost */
    int arrays;
    vn_footprint_line *array; /* [arrays] alive at that step, the largest first */
    vn_graph *lowered;        /* nodes of `array` that the program has of its own; or NULL */
} vn_footprint;

vn_status vn_footprint_open(const vn_graph *g, const vn_program_options *options, vn_footprint *out,
                            vn_err *err);
void vn_footprint_close(vn_footprint *f);

/* An input's numbers from the host's memory, before a run; nothing happens if the node is not part
 * of the program. */
void vn_program_write(vn_program *p, const vn_node *input, const void *from);
/* The numbers of an output (or input) into the host's memory, after a run. */
void vn_program_read(vn_program *p, const vn_node *output, void *to);
/* Host memory that stands for an input, to be filled before a run, or for an output, to be looked
 * at after vn_program_wait; for one run, then it is asked for again. It is the program's own where
 * the host sees the device's memory, else a copy. NULL if the node is not part of the program. */
void *vn_program_map(vn_program *p, const vn_node *node);
void vn_program_run(vn_program *p, const vn_run *run);
/* The first and the last step of such a run that read or write any of these bytes of its values or
 * gradients; -1: none does. */
void vn_program_uses(const vn_program *p, const vn_run *run, const void *at, size_t bytes,
                     int *first, int *last);
/* Returns when the runs are done; or what failed of them. */
vn_status vn_program_wait(const vn_program *p, vn_err *err);
size_t vn_program_bytes(const vn_program *p); /* arena and workspace */
vn_cost vn_program_cost(const vn_program *p); /* of one run */

/* A line of a profile: all steps of one op, or of one op at one place in the model. */
typedef struct vn_profile_line {
    const char *op;    /* "copy" where a view is copied */
    const char *label; /* NULL: at all places, or at one without a label */
    int64_t steps;     /* of a run */
    double seconds;    /* of a run, on average */
    vn_cost cost;      /* of a run */
} vn_profile_line;

/* With options.profile, and after a run: the time of each op or, by_place, of each op at each
 * place, the slowest first. *lines is freed with vn_free; its texts are the graph's. */
vn_status vn_program_profile(const vn_program *p, bool by_place, vn_profile_line **lines, int *n,
                             vn_err *err);
/* the profile begins anew: after runs that warmed up */
void vn_program_forget_times(vn_program *p);

#endif
