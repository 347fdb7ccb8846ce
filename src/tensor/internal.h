/* internal.h - what the files of this room share: how a node is made, and the rules that the op
 * table lists.
 *
 * One file an op family (movement, pointwise, product, conv, norm, heads, softmax, lookup,
 * attention) holds, for each op, its builder, shape rule, gradient and expansion; ops.c is the
 * table over them.
 */
#ifndef VN_TENSOR_INTERNAL_H
#define VN_TENSOR_INTERNAL_H

#include "tensor/tensor.h"

struct vn_graph {
    vn_arena arena; /* nodes, labels, constants */
    vn_node **node; /* by id */
    int count, capacity;
    int *shared; /* hash table of ids + 1 of nodes that equal requests give again; 0: free */
    int shared_size;
    vn_err err;
    const char *label;
    /* while differentiating: by id, does it depend on what the gradient is for? */
    const bool *wanted;
    int wanted_count;
    uint32_t sites; /* of dropout */
    int values;     /* the set that weights are of */
};

/* ---- nodes ----------------------------------------------------------------------------------- */

/* A node not yet in a graph, all zero but op and inputs; the builder sets attr and, where the op
 * cannot tell it, shape. */
vn_node vn_draft(vn_op op, int inputs, ...);
/* Checks the draft by its row and adds it, or gives the node that equals it. NULL with the graph's
 * error set. */
vn_node *vn_graph_add(vn_graph *g, vn_node *draft);
/* As vn_graph_add, but always a node of its own. */
vn_node *vn_graph_add_new(vn_graph *g, vn_node *draft);
/* As vn_graph_add_new, of a copy of a node with other inputs of the same shapes; it keeps its
 * label. */
vn_node *vn_graph_add_copy(vn_graph *g, const vn_node *draft);
/* x under another id: what is built on it depends on it alone, so that a gradient can stop
 * there. */
vn_node *vn_alias(vn_graph *g, vn_node *x);
bool vn_is_fill(const vn_node *n, double value);

/* ---- shapes ---------------------------------------------------------------------------------- */

/* Numpy's rule; false when the two do not fit. */
bool vn_shape_broadcast(const vn_shape *a, const vn_shape *b, vn_shape *out);
int64_t vn_shape_last(const vn_shape *s); /* last axis; 1 for rank 0 */
/* Do all rows of a, or equal runs of them, one after the other, meet one row each of b? So [N,1,C]
 * does with [N,T,C]. */
bool vn_shape_runs(const vn_shape *a, const vn_shape *b);
/* [product of all axes but the last, last] */
vn_shape vn_shape_rows(const vn_shape *s);
vn_shape vn_shape_with(const vn_shape *s, int axis, int64_t length); /* one axis changed */
/* negative ones counted from the end; -1 if there is none */
int vn_axis(const vn_node *x, int axis);
bool vn_all_floats(const vn_node *n); /* every input is VN_F32 */
/* The floats of 16 bits that x is cast from; NULL: it is not. Of what is a part of x, only the part
 * need be cast. */
vn_node *vn_widened_from(vn_node *x);

/* ---- gradients ------------------------------------------------------------------------------- */

/* While differentiating: should the rule set grad[i]? */
bool vn_wanted(const vn_node *n, int i);
/* vn_graph_gradient with out[i] NULL where y does not depend on wrt[i]; false on failure (the
 * graph's error is set). */
bool vn_gradient_parts(vn_graph *g, vn_node *y, vn_node *dy, int n, vn_node *const *wrt,
                       vn_node **out);

/* Builds what the wanted nodes need of a gradient, all nodes from `forward` on, once more, with
 * forward nodes computed again; gives the new nodes in wanted[n]. */
vn_status vn_graph_recompute(vn_graph *g, vn_recompute how, int forward, int n, vn_node **wanted,
                             vn_err *err);

/* ---- builders that only rules use ------------------------------------------------------------ */

vn_node *vn_unary_order(vn_graph *g, vn_node *x, vn_fn fn, int order);
vn_node *vn_conv2d_grad_x(vn_graph *g, vn_node *dy, vn_node *w, const vn_attr *attr,
                          vn_shape shape);
vn_node *vn_conv2d_grad_w(vn_graph *g, vn_node *x, vn_node *dy, const vn_attr *attr,
                          vn_shape shape);

/* ---- weights --------------------------------------------------------------------------------- */

/* Bytes of one weight's values, a multiple of 64. */
size_t vn_weight_bytes(const vn_weight *w);
void vn_weight_init(const vn_weight *w, float *value, uint64_t seed);

/* ---- plans ----------------------------------------------------------------------------------- */

/* Memory that is wanted from step `first` to step `last`, both included. */
typedef struct vn_buffer {
    size_t bytes; /* a multiple of 64 */
    int first, last;
    size_t offset; /* found by vn_pack */
} vn_buffer;

/* Gives each buffer an offset so that no two that are wanted at one time overlap; *total: bytes
 * needed. */
vn_status vn_pack(vn_buffer *buffer, int n, size_t *total, vn_err *err);

/* Where an array is when a program runs. */
typedef struct vn_location {
    enum { VN_IN_ARENA, VN_IN_VALUES, VN_IN_GRADS, VN_IN_CONSTANTS } home;
    int index;     /* which of the plan's buffers, of the weights, or of the plan's constants */
    int set;       /* of weights: whose values */
    size_t offset; /* bytes from the begin of the arena, the weight, run.grads or the constant */
} vn_location;

/* One call of a kernel; a step whose node is a view copies. */
typedef struct vn_program_step {
    const vn_node *node;
    vn_location in[VN_MAX_IN], out;
} vn_program_step;

/* A node that the caller reads or writes between runs. */
typedef struct vn_program_port {
    const vn_node *node;
    vn_location place;
} vn_program_port;

typedef struct vn_program_plan {
    vn_arena arena;    /* nodes of the plan's own */
    vn_graph *lowered; /* the graph that is planned, where that is not the one that was given */
    vn_program_step *step;
    int steps;
    vn_program_port *input, *output;
    const vn_node **constant;
    int inputs, outputs, constants, buffers;
    size_t arena_bytes, work_bytes; /* work begins where the arena ends */
} vn_program_plan;

/* What stands in the place of nodes, by id: see vn_fuse. */
typedef struct vn_fused {
    vn_node *draft; /* op VN_OP_COUNT: the node itself */
    int *uses;      /* by needed nodes, outputs and gradients; -1: it is part of another's draft */
} vn_fused;

/* Finds which needed nodes the device computes in one pass with those that use them. False: out of
 * memory. *any: there are some. *f is to be closed. */
bool vn_fuse(vn_fused *f, const vn_graph *g, const vn_program_options *o, const bool *needed,
             bool *any);
void vn_fused_close(vn_fused *f);

/* A graph in which every op that the device has no kernel for is written with simpler ones, and ops
 * that it computes in one pass are one. */
typedef struct vn_lowered {
    vn_graph *graph;                 /* NULL: all have kernels, so that the given one serves */
    const vn_program_options *asked; /* what was given */
    vn_program_options options;      /* the same, of graph's nodes */
    vn_node **outputs, **grads;
    const vn_node **origin; /* by id in graph: the node of the given one that it is, or NULL */
} vn_lowered;

/* *low is to be closed, after a failure too. */
vn_status vn_lower(const vn_graph *g, const vn_program_options *options, vn_lowered *low,
                   vn_err *err);
void vn_lowered_close(vn_lowered *low);

vn_cost vn_program_step_cost(const vn_program_step *step);
vn_status vn_program_plan_open(vn_program_plan *plan, const vn_graph *g,
                               const vn_program_options *options, vn_err *err);
void vn_program_plan_close(vn_program_plan *plan);

/* ---- the rules ------------------------------------------------------------------------------- */

const char *vn_shape_leaf(vn_node *n);
const char *vn_shape_view(vn_node *n);
const char *vn_shape_permute(vn_node *n);
const char *vn_shape_concat(vn_node *n);
const char *vn_shape_slice(vn_node *n);
const char *vn_shape_place(vn_node *n);
const char *vn_shape_broadcast_to(vn_node *n);
const char *vn_shape_sum_to(vn_node *n);
const char *vn_shape_binary(vn_node *n);
const char *vn_shape_mul_add(vn_node *n);
const char *vn_shape_cast(vn_node *n);
const char *vn_shape_same(vn_node *n);
const char *vn_shape_unary(vn_node *n);
const char *vn_shape_unary_grad(vn_node *n);
const char *vn_shape_dropout(vn_node *n);
const char *vn_shape_matmul(vn_node *n);
const char *vn_shape_linear(vn_node *n);
const char *vn_shape_linear_plus(vn_node *n);
const char *vn_shape_conv2d(vn_node *n);
const char *vn_shape_conv2d_plus(vn_node *n);
const char *vn_shape_conv2d_grad_x(vn_node *n);
const char *vn_shape_conv2d_grad_w(vn_node *n);
const char *vn_shape_resample(vn_node *n);
const char *vn_shape_norm_stats(vn_node *n);
const char *vn_shape_norm(vn_node *n);
const char *vn_shape_norm_grad_x(vn_node *n);
const char *vn_shape_norm_grad_affine(vn_node *n);
const char *vn_shape_rms_norm(vn_node *n);
const char *vn_shape_rotate(vn_node *n);
const char *vn_shape_softmax(vn_node *n);
const char *vn_shape_softmax_grad(vn_node *n);
const char *vn_shape_cross_entropy(vn_node *n);
const char *vn_shape_cross_entropy_grad(vn_node *n);
const char *vn_shape_one_hot(vn_node *n);
const char *vn_shape_nearest(vn_node *n);
const char *vn_shape_embedding(vn_node *n);
const char *vn_shape_embedding_grad(vn_node *n);
const char *vn_shape_attention(vn_node *n);
const char *vn_shape_attention_grad(vn_node *n);

void vn_gradient_view(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_permute(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_concat(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_slice(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_place(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_broadcast(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_sum_to(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_add(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_sub(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_mul(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_div(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_mul_add(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_cast(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_affine(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_unary(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_unary_grad(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_dropout(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_matmul(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_linear(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_conv2d(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_conv2d_grad_x(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_conv2d_grad_w(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_resample(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_norm(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_rotate(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_softmax(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_entmax_root(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_cross_entropy(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_embedding(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_embedding_grad(vn_node *n, vn_node *dy, vn_node **grad);
void vn_gradient_attention(vn_node *n, vn_node *dy, vn_node **grad);

vn_node *vn_expand_mul_add(vn_node *n);
vn_node *vn_expand_unary_grad(vn_node *n);
vn_node *vn_expand_linear(vn_node *n);
vn_node *vn_expand_linear_plus(vn_node *n);
vn_node *vn_expand_conv2d_plus(vn_node *n);
vn_node *vn_expand_norm_stats(vn_node *n);
vn_node *vn_expand_norm(vn_node *n);
vn_node *vn_expand_norm_grad_x(vn_node *n);
vn_node *vn_expand_norm_grad_affine(vn_node *n);
vn_node *vn_expand_rms_norm(vn_node *n);
vn_node *vn_expand_softmax_grad(vn_node *n);
vn_node *vn_expand_cross_entropy_grad(vn_node *n);
vn_node *vn_expand_attention(vn_node *n);
vn_node *vn_expand_attention_grad(vn_node *n);

#endif
