/* jvp.c - forward derivatives: what an output changes by when inputs change in a given direction.
 *
 * No op has a rule of its own for it. A gradient is linear in its cotangent u, G(u) = J^T u, so the
 * derivative of <G(u), t> by u is J t, by the rules that gradients have already: a reverse sweep
 * over a reverse sweep. The result does not depend on u, so a program that computes it alone plans
 * neither u nor the gradient, only the nodes of J t; for most ops that is about the arithmetic of
 * one forward pass. Attention costs more, because its gradient's expansion stores the scores.
 */
#include "tensor/internal.h"

static bool check_tangents(vn_graph *g, int n, vn_node *const *wrt, vn_node *const *tangent) {
    for (int i = 0; i < n && !g->err.status; i++)
        if (!tangent[i] || tangent[i]->graph != g || tangent[i]->dtype != VN_F32 ||
            !vn_shape_equal(&tangent[i]->shape, &wrt[i]->shape))
            vn_graph_fail(g, VN_BAD_ARGUMENT, "jvp: tangent %d does not have its variable's shape",
                          i);
    return !g->err.status;
}

/* Does y depend on x? Marks every node that does in reached [y->id + 1], which comes cleared. */
static bool depends_on(const vn_graph *g, const vn_node *y, const vn_node *x, bool *reached) {
    for (int id = x->id; id <= y->id; id++) {
        const vn_node *node = g->node[id];
        reached[id] = node == x;
        for (int i = 0; i < node->inputs && !reached[id]; i++)
            reached[id] = reached[node->in[i]->id];
    }
    return x->id <= y->id && reached[y->id];
}

/* A rule that was not linear in its cotangent would give a result that reads u, which nobody
 * sets. */
static void refuse_cotangent(vn_graph *g, const vn_node *out, const vn_node *u) {
    bool *reached = vn_calloc((size_t)out->id + 1, sizeof *reached);
    if (!reached)
        vn_no_memory(&g->err);
    else if (depends_on(g, out, u, reached))
        vn_graph_fail(g, VN_UNSUPPORTED,
                      "jvp: a gradient on the way is not linear in its cotangent");
    vn_free(reached);
}

vn_status vn_graph_jvp(vn_graph *g, vn_node *y, int n, vn_node *const *wrt, vn_node *const *tangent,
                       vn_node **out, vn_err *err) {
    vn_node **grad = vn_calloc((size_t)(n > 0 ? n : 1), sizeof(vn_node *)), *sum = NULL;
    if (!grad) return vn_no_memory(err);
    vn_node *u = y && y->graph == g ? vn_input(g, VN_F32, y->shape) : NULL;
    /* refuses what cannot be differentiated */
    vn_status status = vn_graph_gradient(g, y, u, n, wrt, grad, err);
    if (!status && check_tangents(g, n, wrt, tangent)) {
        for (int i = 0; i < n; i++) {
            vn_node *part = vn_sum_product_to(g, grad[i], tangent[i], (vn_shape){.rank = 0});
            sum = sum ? vn_add(g, sum, part) : part;
        }
        if (sum && !g->err.status) vn_graph_gradient(g, sum, NULL, 1, &u, out, NULL);
        if (!sum) *out = vn_fill(g, y->shape, 0);
        if (!g->err.status) refuse_cotangent(g, *out, u);
    }
    vn_free(grad);
    return !status ? vn_graph_status(g, err) : status;
}
