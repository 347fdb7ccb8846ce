/* reference.h - every op of the table in double on plain loops: the independent truth for kernels,
 * gradients and plans.
 *
 *   one op     ref_eval(node, in, out, run)       all arrays in double, integers too
 *   a graph    ref_open, ref_set..., ref_run, ref_get, ref_close
 *
 * Header only, so that any room's tests can include it.
 */
#ifndef REFERENCE_H
#define REFERENCE_H

#include "support/reference_ops.h"

/* ---- one op ---------------------------------------------------------------------------------- */

/* in[i] and out hold vn_shape_count numbers; integers are numbers too. Not for the leaves input,
 * param and const. */
static inline void ref_eval(const vn_node *n, ref_in in, double *out, const vn_run *run) {
    int64_t count = vn_shape_count(&n->shape);
    switch (n->op) {
    case VN_OP_FILL:
        for (int64_t i = 0; i < count; i++) out[i] = n->attr.fill.value;
        break;
    case VN_OP_VIEW:
        for (int64_t i = 0; i < count; i++) out[i] = in[0][n->attr.view.offset + i];
        break;
    case VN_OP_BROADCAST:
        for (int64_t i = 0; i < count; i++)
            out[i] = in[0][ref_broadcast_at(&n->in[0]->shape, &n->shape, i)];
        break;
    case VN_OP_ADD:
    case VN_OP_SUB:
    case VN_OP_MUL:
    case VN_OP_DIV:
        for (int64_t i = 0; i < count; i++)
            out[i] = ref_binary(n->op, in[0][ref_broadcast_at(&n->in[0]->shape, &n->shape, i)],
                                in[1][ref_broadcast_at(&n->in[1]->shape, &n->shape, i)]);
        break;
    case VN_OP_MUL_ADD:
        for (int64_t i = 0; i < count; i++)
            out[i] = in[0][i] * in[1][ref_broadcast_at(&n->in[1]->shape, &n->shape, i)] + in[2][i];
        break;
    case VN_OP_CAST: ref_cast(n, in, out); break;
    case VN_OP_AFFINE:
        for (int64_t i = 0; i < count; i++)
            out[i] = n->attr.affine.scale * in[0][i] + n->attr.affine.shift;
        break;
    case VN_OP_PERMUTE: ref_permute(n, in, out); break;
    case VN_OP_CONCAT: ref_concat(n, in, out); break;
    case VN_OP_SLICE: ref_slice(n, in, out); break;
    case VN_OP_PLACE: ref_place(n, in, out); break;
    case VN_OP_SUM_TO: ref_sum_to(n, in, out); break;
    case VN_OP_UNARY:
    case VN_OP_UNARY_GRAD: ref_unary(n, in, out); break;
    case VN_OP_MATMUL: ref_matmul(n, in, out); break;
    case VN_OP_LINEAR: ref_linear(n, in, out); break;
    case VN_OP_CONV2D:
    case VN_OP_CONV2D_GRAD_X:
    case VN_OP_CONV2D_GRAD_W: ref_conv(n, in, out); break;
    case VN_OP_NORM_STATS: ref_norm_stats(n, in, out); break;
    case VN_OP_NORM: ref_norm(n, in, out); break;
    case VN_OP_NORM_GRAD_X: ref_norm_grad_x(n, in, out); break;
    case VN_OP_NORM_GRAD_AFFINE: ref_norm_grad_affine(n, in, out); break;
    case VN_OP_RMS_NORM: ref_rms_norm(n, in, out); break;
    case VN_OP_ROTATE: ref_rotate(n, in, out); break;
    case VN_OP_CONV2D_PLUS: ref_conv_plus(n, in, out); break;
    case VN_OP_LINEAR_PLUS: ref_linear_plus(n, in, out); break;
    case VN_OP_SOFTMAX: ref_softmax(n, in, out); break;
    case VN_OP_SOFTMAX_GRAD: ref_softmax_grad(n, in, out); break;
    case VN_OP_ENTMAX_ROOT: ref_entmax_root(n, in, out); break;
    case VN_OP_CROSS_ENTROPY: ref_cross_entropy(n, in, out); break;
    case VN_OP_CROSS_ENTROPY_GRAD: ref_cross_entropy_grad(n, in, out); break;
    case VN_OP_ONE_HOT: ref_one_hot(n, in, out); break;
    case VN_OP_NEAREST: ref_nearest(n, in, out); break;
    case VN_OP_EMBEDDING: ref_embedding(n, in, out); break;
    case VN_OP_EMBEDDING_GRAD: ref_embedding_grad(n, in, out); break;
    case VN_OP_ATTENTION: ref_attention_walk(n, in, 3, NULL, out, NULL, NULL, NULL); break;
    case VN_OP_ATTENTION_GRAD: ref_attention_grad(n, in, out); break;
    case VN_OP_RESAMPLE: ref_resample(n, in, out); break;
    case VN_OP_DROPOUT: ref_dropout(n, in, out, run); break;
    default: abort(); /* a leaf, or an op without a reference: the test fails here */
    }
}

/* ---- a graph --------------------------------------------------------------------------------- */

typedef struct ref_graph {
    const vn_graph *graph;
    int size;
    double **value; /* by node id */
    bool *set;      /* given by ref_set */
} ref_graph;

static inline ref_graph ref_open(const vn_graph *g) {
    ref_graph r = {g, vn_graph_size(g), NULL, NULL};
    r.value = calloc((size_t)r.size + 1, sizeof(*r.value));
    r.set = calloc((size_t)r.size + 1, sizeof(*r.set));
    if (!r.value || !r.set) abort();
    for (int i = 0; i < r.size; i++) {
        r.value[i] =
            calloc((size_t)vn_shape_count(&vn_graph_node(g, i)->shape) + 1, sizeof(double));
        if (!r.value[i]) abort();
    }
    return r;
}

static inline void ref_close(ref_graph *r) {
    for (int i = 0; i < r->size; i++) free(r->value[i]);
    free(r->value);
    free(r->set);
    memset(r, 0, sizeof(*r));
}

/* The node's value, to read after ref_run. */
static inline const double *ref_get(const ref_graph *r, const vn_node *n) {
    return r->value[n->id];
}

/* Gives an input its value, or overrides a param's or any other node's. Returns where the numbers
 * are, to change them. */
static inline double *ref_set(ref_graph *r, const vn_node *n, const double *value) {
    r->set[n->id] = true;
    memcpy(r->value[n->id], value, sizeof(double) * (size_t)vn_shape_count(&n->shape));
    return r->value[n->id];
}

static inline void ref_set_f32(ref_graph *r, const vn_node *n, const float *value) {
    r->set[n->id] = true;
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) r->value[n->id][i] = (double)value[i];
}

static inline void ref_set_i32(ref_graph *r, const vn_node *n, const int32_t *value) {
    r->set[n->id] = true;
    for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) r->value[n->id][i] = value[i];
}

/* Evaluates every node in order. Params that were not set come from run->values, which are floats
 * in the host's memory. */
static inline void ref_run(ref_graph *r, const vn_run *run) {
    for (int id = 0; id < r->size; id++) {
        const vn_node *n = vn_graph_node(r->graph, id);
        const double *in[VN_MAX_IN] = {0};
        if (r->set[id]) continue;
        for (int i = 0; i < n->inputs; i++) in[i] = r->value[n->in[i]->id];
        for (int64_t i = 0; i < vn_shape_count(&n->shape); i++) {
            if (n->op == VN_OP_PARAM)
                r->value[id][i] =
                    (double)((const float *)vn_values_at(run->values, n->from.param))[i];
            if (n->op == VN_OP_CONST)
                r->value[id][i] = n->dtype == VN_I32 ? ((const int32_t *)n->from.data)[i]
                                                     : (double)((const float *)n->from.data)[i];
        }
        if (n->op != VN_OP_INPUT && n->op != VN_OP_PARAM && n->op != VN_OP_CONST)
            ref_eval(n, in, r->value[id], run);
    }
}

#endif
