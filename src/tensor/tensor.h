/* tensor.h - graphs of array operations: built once for a shape, differentiated by rule, planned
 * once into one arena, run many times without allocating.
 *
 *   build      vn_graph_open, then ops; errors stick to the graph, so model code reads straight through
 *   gradient   vn_graph_gradient appends more graph; applied twice it gives gradients of gradients
 *   program    vn_program_open plans memory for the nodes that the outputs need
 *   run        vn_program_run
 *
 * All arrays are dense and row-major; images are [N,H,W,C]. A fused op may carry an `expand` rule
 * that writes it with simpler ops: that is its truth in tests and its gradient when it has no rule
 * of its own.
 */
#ifndef VN_TENSOR_H
#define VN_TENSOR_H

#include "base/base.h"

#define VN_MAX_IN 6

/* name, then what it computes. Order is the enum's; src/tensor/ops.c and each backend are locked to
 * it. */
/* clang-format off */
#define VN_OPS(X)                                                                                             \
    X(INPUT, "input")              /* bound before a run, any dtype */                                        \
    X(PARAM, "param")              /* a weight: values + offset of the run's flat array */                    \
    X(CONST, "const")              /* data owned by the graph */                                              \
    X(FILL, "fill")                /* one number everywhere */                                                \
    X(VIEW, "view")                /* contiguous part of in0 from attr.view.offset, new shape; no copy */     \
    X(PERMUTE, "permute")          /* out axis i is in axis perm[i] */                                        \
    X(CONCAT, "concat")            /* along axis, 1..VN_MAX_IN inputs */                                      \
    X(SLICE, "slice")              /* [begin, begin+out.dim[axis]) of axis */                                 \
    X(PLACE, "place")              /* zeros, with in0 at begin along axis; adjoint of slice */                \
    X(BROADCAST, "broadcast")      /* to a larger shape, numpy rules (trailing axes aligned) */               \
    X(SUM_TO, "sum_to")            /* adjoint of broadcast: x, or x y of one shape, summed to a smaller one */ \
    X(ADD, "add")                  /* add..div: numpy broadcasting of either side */                          \
    X(SUB, "sub")                                                                                             \
    X(MUL, "mul")                                                                                             \
    X(DIV, "div")                                                                                             \
    X(MUL_ADD, "mul_add")          /* (x, y, z): x y + z; x and z of one shape, y broadcast to it */          \
    X(AFFINE, "affine")            /* scale * x + shift */                                                    \
    X(UNARY, "unary")              /* f(x), f'(x) or f''(x): attr.unary.fn, .order */                         \
    X(UNARY_GRAD, "unary_grad")    /* (x, dy): dy * f'(x) */                                                  \
    X(MATMUL, "matmul")            /* a [..,M,K], b [..,K,N]: same leading axes, or b of rank 2; ta, tb */     \
    X(LINEAR, "linear")            /* x [..,I], w [O,I], b [O] or none: act(x w^T + b) */                     \
    X(CONV2D, "conv2d")            /* x [N,H,W,I], w [kh,kw,I,O], b [O] or none */                            \
    X(CONV2D_GRAD_X, "conv2d_grad_x") /* (dy, w) -> x's shape */                                              \
    X(CONV2D_GRAD_W, "conv2d_grad_w") /* (x, dy) -> w's shape */                                              \
    X(NORM_STATS, "norm_stats")    /* x [N,..,C], groups, eps -> [N,G,2] mean and 1/sqrt(var+eps) */          \
    X(NORM, "norm")                /* (x, stats, gamma, beta; both or none): act((x-m) r gamma + beta) */     \
    X(NORM_GRAD_X, "norm_grad_x")  /* (x, stats, dy, gamma, beta) through the statistics too */               \
    X(NORM_GRAD_AFFINE, "norm_grad_affine") /* (x, stats, dy, gamma, beta) -> [2,(B,)C] dgamma, dbeta */      \
    X(SOFTMAX, "softmax")          /* over the last axis */                                                   \
    X(SOFTMAX_GRAD, "softmax_grad") /* (y, dy): y (dy - sum(y dy)) */                                         \
    X(CROSS_ENTROPY, "cross_entropy") /* logits [N,K], labels i32 [N] -> [N] */                               \
    X(CROSS_ENTROPY_GRAD, "cross_entropy_grad") /* (logits, labels, dy [N]) -> [N,K] */                       \
    X(ONE_HOT, "one_hot")          /* i32 [..] -> [..,K] */                                                   \
    X(EMBEDDING, "embedding")      /* (table [V,D], index i32 [..]) -> [..,D] */                              \
    X(EMBEDDING_GRAD, "embedding_grad") /* (index, dy) -> [V,D] */                                            \
    X(ATTENTION, "attention")      /* (q, k, v, bias or none): softmax(scale q k^T + bias) v; see builder */  \
    X(ATTENTION_GRAD, "attention_grad") /* (q, k, v, dy, bias or none) -> flat [dq | dk | dv] */              \
    X(RESAMPLE, "resample")        /* x [N,H,W,C]: up- and down-sampling by a separable FIR; see builder */    \
    X(DROPOUT, "dropout")          /* x * mask / (1-p), mask by (run.seed, run.step, sample, site) */         \
    X(ENTMAX_ROOT, "entmax_root")  /* over the last axis: max(x/2 - t, 0), t such that the squares add up to 1 */
/* clang-format on */

typedef enum vn_op {
#define VN_OP_ENUM(id, name) VN_OP_##id,
    VN_OPS(VN_OP_ENUM)
#undef VN_OP_ENUM
        VN_OP_COUNT
} vn_op;

typedef enum vn_fn {
    VN_FN_IDENTITY,
    VN_FN_SILU,
    VN_FN_GELU,      /* x Phi(x), by erf */
    VN_FN_GELU_TANH, /* the tanh approximation */
    VN_FN_RELU,
    VN_FN_TANH,
    VN_FN_SIGMOID,
    VN_FN_MISH,
    VN_FN_EXP,
    VN_FN_LOG,
    VN_FN_SQRT,
    VN_FN_RSQRT,
    VN_FN_SQUARE,
    VN_FN_RECIPROCAL,
    VN_FN_ABS,
    VN_FN_SIN,
    VN_FN_COS,
    VN_FN_COUNT
} vn_fn;

#define VN_MAX_TAPS 8

/* clang-format off */
typedef union vn_attr {
    struct { double value; } fill;
    /* in elements; stops: no gradient goes back through it */
    struct { int64_t offset; bool stops; } view;
    struct { int perm[VN_MAX_RANK]; } permute;
    struct { int axis; int64_t begin; } slice; /* slice, place; concat uses axis */
    struct { double scale, shift; } affine;
    struct { vn_fn fn; int order; } unary;     /* order 0, 1 or 2 */
    struct { bool ta, tb; } matmul;            /* read the last two axes transposed */
    struct { vn_fn act; } linear;
    struct { int stride, pad[4]; } conv;       /* pad: top, bottom, left, right */
    struct { int groups; double eps; vn_fn act; } norm; /* act: identity or silu */
    /* key_heads 0: as many as heads */
    struct { int heads; double scale; int key_heads; bool causal; } attention;
    /* pad[0] rows, pad[1] columns, before */
    struct { int up, down, pad[2], taps; float tap[VN_MAX_TAPS]; } resample;
    struct { double p; uint32_t site; } dropout;
} vn_attr;
/* clang-format on */

typedef struct vn_graph vn_graph;
typedef struct vn_node vn_node;

struct vn_node {
    vn_graph *graph;
    vn_op op;
    vn_dtype dtype;
    vn_shape shape;
    int id; /* index in the graph; inputs have smaller ones */
    int inputs;
    vn_node *in[VN_MAX_IN];
    vn_attr attr;
    union {
        size_t param;     /* PARAM: offset in the flat array, in floats */
        const void *data; /* CONST */
    } from;
    const char *label; /* where in the model: for profiles and errors; may be NULL */
    bool block_end;    /* see vn_block_end */
};

/* ---- weights: one flat array of floats for all parameters of a network ----------------------- */

typedef enum vn_layout {
    VN_LAYOUT_PLAIN, /* as in the file */
    VN_LAYOUT_CONV   /* file [O,I,kh,kw], inside [kh,kw,I,O] */
} vn_layout;

typedef enum vn_init_kind {
    VN_INIT_ZEROS,
    VN_INIT_ONES,
    VN_INIT_UNIFORM,
    VN_INIT_NORMAL
} vn_init_kind;

typedef struct vn_init {
    vn_init_kind kind;
    double scale; /* uniform in [-scale, scale]; normal with this deviation */
} vn_init;

typedef struct vn_weight {
    const char *name; /* PyTorch's, e.g. "conv_in.weight" */
    vn_shape file;    /* PyTorch's shape */
    vn_shape shape;   /* the shape inside */
    vn_layout layout;
    vn_init init;
    bool frozen;   /* not trained (Fourier features) */
    size_t offset; /* in the flat array, a multiple of 16 floats; the gap is zero */
    size_t count;
} vn_weight;

/* The list of a network's parameters; the numbers live outside, so that live, EMA and gradient
 * arrays share it. */
typedef struct vn_weights vn_weights;
vn_status vn_weights_open(vn_weights **out, vn_err *err);
void vn_weights_close(vn_weights **w);
size_t vn_weights_count(const vn_weights *w);
const vn_weight *vn_weights_at(const vn_weights *w, size_t i);
const vn_weight *vn_weights_find(const vn_weights *w, const char *name); /* NULL if unknown */
/* length of the flat array */
size_t vn_weights_floats(const vn_weights *w);
int64_t vn_weights_parameters(const vn_weights *w); /* without gaps */
/* Fills values[vn_weights_floats] by each weight's init, Philox stream VN_STREAM_WEIGHTS, sample =
 * index. */
void vn_weights_init(const vn_weights *w, float *values, uint64_t seed);
/* one weight, repacked */
void vn_weight_to_file(const vn_weight *w, const float *inside, float *file);
void vn_weight_from_file(const vn_weight *w, const float *file, float *inside);

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
/* A weight by name: declared in w on first use, found (and its shape checked) afterwards. `file` is
 * PyTorch's shape. */
vn_node *vn_param_node(vn_graph *g, vn_weights *w, const char *name, vn_shape file,
                       vn_layout layout, vn_init init);
vn_node *vn_param_frozen(vn_graph *g, vn_weights *w, const char *name, vn_shape file, vn_init init);
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
vn_node *vn_affine(vn_graph *g, vn_node *x, double scale, double shift);
vn_node *vn_unary(vn_graph *g, vn_node *x, vn_fn fn); /* x itself for identity */
vn_node *vn_matmul(vn_graph *g, vn_node *a, vn_node *b, bool ta, bool tb);
vn_node *vn_linear(vn_graph *g, vn_node *x, vn_node *w, vn_node *b /* or NULL */, bool has_bias);
/* With a function of the result, in one pass; where a gradient is to come it is better apart, since
 * that needs what came before. */
vn_node *vn_linear_act(vn_graph *g, vn_node *x, vn_node *w, vn_node *b, bool has_bias, vn_fn act);
vn_node *vn_conv2d(vn_graph *g, vn_node *x, vn_node *w, vn_node *b, bool has_bias, int stride,
                   const int pad[4]);
/* x [N,..,C] with `groups` groups of channels; layer norm is x viewed as [rows, C] with one group.
 * gamma, beta: [C]; or [B,C], a row for each N/B samples (of a layer norm: rows) in turn, as time
 * and class steer a norm; or both NULL with has_affine false. act: VN_FN_IDENTITY or VN_FN_SILU. */
vn_node *vn_norm(vn_graph *g, vn_node *x, vn_node *gamma, vn_node *beta, bool has_affine,
                 int groups, double eps, vn_fn act);
vn_node *vn_layer_norm(vn_graph *g, vn_node *x, vn_node *gamma, vn_node *beta, bool has_affine,
                       double eps); /* last axis */
vn_node *vn_softmax(vn_graph *g, vn_node *x);
/* alpha-entmax of alpha 1.5 over the last axis: sparse, adds up to 1 */
vn_node *vn_entmax15(vn_graph *g, vn_node *x);
vn_node *vn_cross_entropy(vn_graph *g, vn_node *logits, vn_node *labels);
vn_node *vn_one_hot(vn_graph *g, vn_node *index, int64_t k);
vn_node *vn_embedding(vn_graph *g, vn_node *table, vn_node *index);
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
    bool
        has_bias; /* bias is added to the scaled scores: [B or 1, heads or 1, Tq or 1, Tk]. A mask is one of 0 and -INFINITY; */
    /* below -1e30 counts as -1e30, so that a query that sees nothing takes the mean of all
     * values */
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
/* x itself if p = 0; each call is a site of its own */
vn_node *vn_dropout(vn_graph *g, vn_node *x, double p);
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

/* How much of the forward pass is computed again on the way back, instead of kept in memory from
 * the one to the other. The gradients are the same bits. */
typedef enum vn_recompute {
    VN_RECOMPUTE_CHEAP,  /* what costs little: norms, activations, sums */
    VN_RECOMPUTE_BLOCKS, /* all but what vn_block_end marks */
    VN_RECOMPUTE_NONE
} vn_recompute;

/* Marks what a block of a model hands on: from here VN_RECOMPUTE_BLOCKS computes what follows.
 * Returns x. */
vn_node *vn_block_end(vn_node *x);

/* The gradients of a network by its weights and its input, as a program wants them. */
typedef struct vn_gradients {
    /* What is asked for: */
    vn_weights *weights; /* NULL: by x alone */
    bool frozen;         /* by the weights that do not train too */
    vn_node *x;          /* NULL: by weights alone */
    vn_recompute recompute;
    /* What it gives: */
    int n;
    vn_node **node; /* [n] in a weight's inside shape */
    size_t *offset; /* [n] where in run.grads, in floats */
    vn_node *by_x;
} vn_gradients;

/* vn_graph_gradient of sum(cotangent * y) by what *d asks for. d is closed with vn_gradients_close,
 * after a failure too. */
vn_status vn_gradients_open(vn_gradients *d, vn_node *y, vn_node *cotangent, vn_err *err);
void vn_gradients_close(vn_gradients *d);

/* ---- op table -------------------------------------------------------------------------------- */

typedef struct vn_cost {
    double flops, bytes;
} vn_cost;

typedef struct vn_op_row {
    const char *name;
    /* Checks in[] and attr, sets shape and dtype (when it is not given by the builder); an error
     * text or NULL. */
    const char *(*shape)(vn_node *n);
    /* Gradients: given n and its cotangent dy, sets grad[i] for each input that has one (leave
     * NULL: none). NULL rule: expand's gradient, or none. */
    void (*gradient)(vn_node *n, vn_node *dy, vn_node **grad);
    /* The same value by simpler ops, or NULL. */
    vn_node *(*expand)(vn_node *n);
    vn_cost (*cost)(const vn_node *n);
    unsigned in_place; /* bit i: out may share memory with in[i] when that is its last use */
} vn_op_row;

const vn_op_row *vn_op_get(vn_op op); /* locked to VN_OPS by _Static_assert */
vn_cost vn_node_cost(const vn_node *n);

/* ---- backends and programs ------------------------------------------------------------------- */

typedef struct vn_run {
    /* flat weights (live or EMA), vn_weights_floats; may be NULL if the graph has no PARAM */
    const float *values;
    /* flat gradients, for outputs bound with vn_program_options.grads; else NULL */
    float *grads;
    uint64_t seed; /* dropout */
    uint64_t step;
    uint64_t first_sample; /* dropout of row i of the batch is keyed by first_sample + i */
} vn_run;

/* The seed from which a dropout site draws: row i of the batch takes vn_random_uniform(..,
 * VN_STREAM_DROPOUT, first_sample + i, step), one number for each of its elements; an element is
 * dropped where that is below p. */
static inline uint64_t vn_dropout_seed(uint64_t seed, uint32_t site) {
    return seed + UINT64_C(0x9E3779B97F4A7C15) * (site + UINT64_C(1));
}

typedef struct vn_kernel_args {
    const vn_node *node;
    const void *in[VN_MAX_IN];
    void *out; /* 64-byte aligned; in-place: equals one of in[] */
    /* as many bytes as the backend's workspace function asked for, 64-byte aligned */
    void *work;
    vn_thread_pool *pool; /* NULL: one thread */
    const vn_run *run;
} vn_kernel_args;

typedef void (*vn_kernel)(const vn_kernel_args *a); /* cannot fail; must not allocate */

/* AdamW as in PyTorch: decoupled decay, bias-corrected, one pass over flat arrays of n floats. */
typedef struct vn_adamw {
    double lr, beta1, beta2, eps, weight_decay;
    int64_t step;      /* 1 for the first */
    double grad_scale; /* gradient clipping: grads are multiplied by it */
    /* ema = decay*ema + (1-decay)*value after the update; 0 with ema array NULL: none */
    double ema;
} vn_adamw;

typedef struct vn_backend {
    const char *name; /* "avx2", "portable" */
    vn_kernel kernel[VN_OP_COUNT];
    size_t (*workspace[VN_OP_COUNT])(const vn_node *n, int threads); /* NULL: none */
    void (*adamw)(const vn_adamw *o, size_t n, float *value, const float *grad, float *m, float *v,
                  float *ema, vn_thread_pool *pool);
    double (*sum_squares)(size_t n, const float *x,
                          vn_thread_pool *pool); /* fixed order, in double */
} vn_backend;

typedef struct vn_program vn_program;

typedef struct vn_program_options {
    const vn_backend *backend;
    vn_thread_pool *pool; /* that runs it: outlives the program; NULL: one thread */
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
    size_t
        alive_bytes; /* of them, all that is alive at the step where most is; the rest: work space, and gaps between arrays */
    vn_cost cost;    /* vn_program_cost */
    int arrays;
    vn_footprint_line *array; /* [arrays] alive at that step, the largest first */
} vn_footprint;

vn_status vn_footprint_open(const vn_graph *g, const vn_program_options *options, vn_footprint *out,
                            vn_err *err);
void vn_footprint_close(vn_footprint *f);

/* Where to write an INPUT before a run / read an output after it; NULL if the node is not part of
 * the program. */
void *vn_program_input(vn_program *p, const vn_node *input);
const void *vn_program_output(const vn_program *p, const vn_node *output);
void vn_program_run(vn_program *p, const vn_run *run);
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
