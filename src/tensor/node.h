/* node.h - what a graph is made of: ops, and nodes that are one op each; and the table of what is
 * known of every op. A part of tensor.h, which other rooms include. */
#ifndef VN_TENSOR_NODE_H
#define VN_TENSOR_NODE_H

#include "base/base.h"

#define VN_MAX_IN 6

/* name, then what it computes. Order is the enum's; src/tensor/ops.c and each device are locked to
 * it. */
/* clang-format off */
#define VN_OPS(X)                                                                                  \
    X(INPUT, "input")          /* bound before a run, any dtype */                                 \
    X(PARAM, "param")          /* a weight in its number type, where the run's values have it */   \
    X(CONST, "const")          /* data owned by the graph */                                       \
    X(FILL, "fill")            /* one number everywhere */                                         \
    X(VIEW, "view")            /* contiguous part of in0 from attr.view.offset; no copy */         \
    X(PERMUTE, "permute")      /* out axis i is in axis perm[i] */                                 \
    X(CONCAT, "concat")        /* along axis, 1..VN_MAX_IN inputs */                               \
    X(SLICE, "slice")          /* [begin, begin+out.dim[axis]) of axis */                          \
    X(PLACE, "place")          /* zeros, with in0 at begin along axis; adjoint of slice */         \
    X(BROADCAST, "broadcast")  /* to a larger shape, numpy rules (trailing axes aligned) */        \
    X(SUM_TO, "sum_to")        /* adjoint of broadcast: x, or x y, summed to a smaller shape */    \
    X(ADD, "add")              /* add..div: numpy broadcasting of either side */                   \
    X(SUB, "sub")                                                                                  \
    X(MUL, "mul")                                                                                  \
    X(DIV, "div")                                                                                  \
    X(MUL_ADD, "mul_add")      /* (x, y, z): x y + z; x and z of one shape, y broadcast to it */   \
    X(CAST, "cast")            /* f32 to f16 or bf16; f16, bf16 or i32 to f32 */                   \
    X(AFFINE, "affine")        /* scale * x + shift */                                             \
    X(UNARY, "unary")          /* f(x), f'(x) or f''(x): attr.unary.fn, .order */                  \
    X(UNARY_GRAD, "unary_grad") /* (x, dy): dy * f'(x) */                                          \
    X(MATMUL, "matmul")        /* a [..,M,K], b [..,K,N]: same leading axes or b of rank 2 */      \
    X(LINEAR, "linear")        /* x [..,I], w [O,I..], b [O] or none: act(x w^T + b) */            \
    X(CONV2D, "conv2d")        /* x [N,H,W,I], w [kh,kw,I,O], b [O] or none */                     \
    X(CONV2D_GRAD_X, "conv2d_grad_x") /* (dy, w) -> x's shape */                                   \
    X(CONV2D_GRAD_W, "conv2d_grad_w") /* (x, dy) -> w's shape */                                   \
    X(NORM_STATS, "norm_stats") /* x [N,..,C], groups, eps -> [N,G,2] mean and 1/sqrt(var+eps) */  \
    X(NORM, "norm")            /* (x, stats, gamma and beta or none): act((x-m) r gamma + beta) */ \
    X(NORM_GRAD_X, "norm_grad_x") /* (x, stats, dy, gamma, beta) through the statistics too */     \
    X(NORM_GRAD_AFFINE, "norm_grad_affine") /* its inputs -> [2,(B,)C] dgamma, dbeta */            \
    X(SOFTMAX, "softmax")      /* over the last axis */                                            \
    X(SOFTMAX_GRAD, "softmax_grad") /* (y, dy): y (dy - sum(y dy)) */                              \
    X(CROSS_ENTROPY, "cross_entropy") /* logits [N,K], labels i32 [N] -> [N] */                    \
    X(CROSS_ENTROPY_GRAD, "cross_entropy_grad") /* (logits, labels, dy [N]) -> [N,K] */            \
    X(ONE_HOT, "one_hot")      /* i32 [..] -> [..,K] */                                            \
    X(EMBEDDING, "embedding")  /* (table [V,D], index i32 [..]) -> [..,D] */                       \
    X(EMBEDDING_GRAD, "embedding_grad") /* (index, dy) -> [V,D] */                                 \
    X(ATTENTION, "attention")  /* (q, k, v, bias or none): softmax(scale q k^T + bias) v */        \
    X(ATTENTION_GRAD, "attention_grad") /* (q, k, v, dy, bias or none) -> flat [dq | dk | dv] */   \
    X(RESAMPLE, "resample")    /* x [N,H,W,C]: resampling by a separable FIR; see builder */       \
    X(DROPOUT, "dropout")      /* x * mask / (1-p), mask by (run.seed, run.step, sample, site) */  \
    X(ENTMAX_ROOT, "entmax_root") /* max(x/2 - t, 0), t so that the last axis' squares sum to 1 */ \
    X(NEAREST, "nearest")      /* (x [..,D], table [V,D]) -> i32 [..]: the row nearest to x */     \
    X(RMS_NORM, "rms_norm")    /* x [..,C], gamma [C] or none: x / sqrt(mean(x^2) + eps) gamma */  \
    X(ROTATE, "rotate")        /* (x, cosine, sine): each pair (a, b) turned by its angle */       \
    X(CONV2D_PLUS, "conv2d_plus") /* conv2d of an enlarged x, plus z: fuse.c makes it of these */ \
    X(LINEAR_PLUS, "linear_plus") /* linear times y plus z: what fuse.c makes of these */
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
    struct { int set; } param;                 /* of values: see vn_graph_set_values */
    struct { double value; } fill;
    /* in elements; stops: no gradient goes back through it */
    struct { int64_t offset; bool stops; } view;
    struct { int perm[VN_MAX_RANK]; } permute;
    struct { int axis; int64_t begin; } slice; /* slice, place; concat uses axis */
    struct { double scale, shift; } affine;
    struct { vn_fn fn; int order; } unary;     /* order 0, 1 or 2 */
    struct { bool ta, tb; } matmul;            /* read the last two axes transposed */
    /* part: x meets the weight's columns from `from` on, not all. linear_plus alone: inputs after
     * the weight are a bias, a factor and what is added, as said */
    struct { vn_fn act; bool bias, times, plus, part; int64_t from; } linear;
    /* pad: top, bottom, left, right; of conv2d_plus alone: each pixel of x stands for up x up (1 or
     * 2) of them; the third input is a bias; the last one, z, is added */
    struct { int stride, pad[4], up; bool bias, plus; } conv;
    /* act: identity or silu; rms_norm: eps alone */
    struct { int groups; double eps; vn_fn act; } norm;
    struct { bool halves; } rotate;            /* pairs are i and i + D/2, not 2i and 2i + 1 */
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
        size_t param;     /* PARAM: place in the list of weights */
        const void *data; /* CONST */
    } from;
    const char *label; /* where in the model: for profiles and errors; may be NULL */
    bool block_end;    /* see vn_block_end */
};
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

#endif
