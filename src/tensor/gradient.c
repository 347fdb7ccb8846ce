/* gradient.c - reverse-mode differentiation as graph building: one sweep from y down, in which each
 * node's rule turns its cotangent into its inputs' cotangents, and cotangents that meet are added.
 *
 * Only what the gradient needs is built: a node whose inputs do not depend on any of `wrt` is not
 * visited. Rules build the gradient of a weight before that of the activation, so that the
 * activation's memory is free before the new gradient needs some. A gradient's nodes have the label
 * of the node that they came from.
 */
#include "tensor/internal.h"

#include <string.h>

bool vn_wanted(const vn_node *n, int i) {
    const vn_graph *g = n->graph;
    return vn_dtype_is_float(n->in[i]->dtype) && n->in[i]->id < g->wanted_count &&
           g->wanted[n->in[i]->id];
}

static void add_to(vn_graph *g, vn_node **sum, vn_node *part) {
    *sum = *sum ? vn_add(g, *sum, part) : part;
}

/* The gradient of an op without a rule: its expansion on aliases of its inputs, differentiated. */
static void gradient_by_expand(vn_node *n, vn_node *dy, vn_node **grad) {
    vn_graph *g = n->graph;
    vn_node *leaf[VN_MAX_IN], *part[VN_MAX_IN] = {NULL};
    int at[VN_MAX_IN], leaves = 0;
    vn_node twin = *n;
    for (int i = 0; i < n->inputs; i++)
        if (vn_wanted(n, i)) {
            twin.in[i] = leaf[leaves] = vn_alias(g, n->in[i]);
            at[leaves++] = i;
        }
    if (g->err.status) return;
    if (!vn_gradient_parts(g, vn_op_get(n->op)->expand(&twin), dy, leaves, leaf, part)) return;
    for (int k = 0; k < leaves; k++) grad[at[k]] = part[k];
}

static bool stops(const vn_node *n) {
    return n->op == VN_OP_VIEW && n->attr.view.stops;
}

/* Adds n's contributions to the cotangents of its inputs; cotangent[] by id. */
static void step_down(vn_node *n, vn_node **cotangent) {
    vn_graph *g = n->graph;
    const vn_op_row *row = vn_op_get(n->op);
    vn_node *grad[VN_MAX_IN] = {NULL};
    bool any = false;
    for (int i = 0; i < n->inputs; i++) any = any || vn_wanted(n, i);
    if (!any || stops(n)) return;
    g->label = n->label;
    if (row->gradient)
        row->gradient(n, cotangent[n->id], grad);
    else if (row->expand)
        gradient_by_expand(n, cotangent[n->id], grad);
    else
        vn_graph_fail(g, VN_UNSUPPORTED, "%s: has no gradient", row->name);
    for (int i = 0; i < n->inputs && !g->err.status; i++)
        if (grad[i] && vn_wanted(n, i)) add_to(g, &cotangent[n->in[i]->id], grad[i]);
}

/* wanted[id]: is the node in wrt, or does it depend on one that is? */
static void mark_wanted(const vn_graph *g, int size, int n, vn_node *const *wrt, bool *wanted) {
    for (int i = 0; i < n; i++) wanted[wrt[i]->id] = true;
    for (int id = 0; id < size; id++) {
        const vn_node *node = g->node[id];
        for (int i = 0; i < node->inputs && !stops(node); i++)
            wanted[id] = wanted[id] || wanted[node->in[i]->id];
    }
}

bool vn_gradient_parts(vn_graph *g, vn_node *y, vn_node *dy, int n, vn_node *const *wrt,
                       vn_node **out) {
    if (g->err.status) return false;
    int size = g->count;
    bool *wanted = vn_calloc((size_t)size, sizeof *wanted);
    vn_node **cotangent = vn_calloc((size_t)size, sizeof(vn_node *));
    if (wanted && cotangent) {
        const bool *outer = g->wanted;
        int outer_count = g->wanted_count;
        const char *label = g->label;
        mark_wanted(g, size, n, wrt, wanted);
        g->wanted = wanted;
        g->wanted_count = size;
        if (wanted[y->id]) cotangent[y->id] = dy;
        for (int id = y->id; id >= 0 && !g->err.status; id--)
            if (cotangent[id]) step_down(g->node[id], cotangent);
        for (int i = 0; i < n; i++) out[i] = cotangent[wrt[i]->id];
        g->wanted = outer;
        g->wanted_count = outer_count;
        g->label = label;
    } else
        vn_no_memory(&g->err);
    vn_free(wanted);
    vn_free(cotangent);
    return !g->err.status;
}

/* Refuses requests that make no sense, through the graph's error. */
static bool check_request(vn_graph *g, const vn_node *y, const vn_node *dy, int n,
                          vn_node *const *wrt) {
    if (g->err.status) return false;
    if (!y || y->graph != g || y->dtype != VN_F32)
        vn_graph_fail(g, VN_BAD_ARGUMENT,
                      "gradient: what is differentiated is not a float node of this graph");
    else if (dy &&
             (dy->graph != g || dy->dtype != VN_F32 || !vn_shape_equal(&dy->shape, &y->shape)))
        vn_graph_fail(g, VN_BAD_ARGUMENT,
                      "gradient: the cotangent does not have the output's shape");
    for (int i = 0; i < n; i++)
        if (!wrt[i] || wrt[i]->graph != g || wrt[i]->dtype == VN_I32)
            vn_graph_fail(g, VN_BAD_ARGUMENT,
                          "gradient: variable %d is not a float node of this graph", i);
        /* builders fold fills away, so what depends on one is not known */
        else if (wrt[i]->op == VN_OP_FILL)
            vn_graph_fail(g, VN_BAD_ARGUMENT, "gradient: variable %d is a fill", i);
    return !g->err.status;
}

vn_status vn_graph_gradient(vn_graph *g, vn_node *y, vn_node *cotangent, int n, vn_node *const *wrt,
                            vn_node **out, vn_err *err) {
    if (!check_request(g, y, cotangent, n, wrt)) return vn_graph_status(g, err);
    vn_node *dy = cotangent ? cotangent : vn_fill(g, y->shape, 1);
    vn_gradient_parts(g, y, dy, n, wrt, out);
    for (int i = 0; i < n && !g->err.status; i++)
        if (!out[i]) out[i] = vn_fill(g, wrt[i]->shape, 0);
    return vn_graph_status(g, err);
}

/* ---- by weights ------------------------------------------------------------------------------ */

/* Room for the weights of the sets, x and the other inputs. */
static vn_status gradients_room(vn_gradients *d, int sets, const vn_weight_set *set, vn_node ***wrt,
                                vn_err *err) {
    size_t most = 1 + (size_t)d->inputs;
    for (int k = 0; k < sets; k++) most += vn_weights_count(set[k].weights);
    *wrt = vn_calloc(most, sizeof(vn_node *));
    d->node = vn_calloc(most, sizeof(vn_node *));
    d->offset = vn_calloc(most, sizeof *d->offset);
    return *wrt && d->node && d->offset ? VN_OK : vn_no_memory(err);
}

/* Adds those of a set to the n that there are. */
static void want_weights(vn_gradients *d, vn_graph *g, const vn_weight_set *set, vn_node **wrt) {
    const int before = g->values;
    g->values = set->set;
    for (size_t i = 0; i < vn_weights_count(set->weights); i++) {
        const vn_weight *w = vn_weights_at(set->weights, i);
        if (w->frozen && !d->frozen) continue;
        vn_node *node = vn_param_node(g, set->weights, w->name, w->file, w->layout, w->init);
        /* parts of a weight of 16 bits are taken before it is cast */
        vn_node *narrow = vn_widened_from(node);
        wrt[d->n] = narrow ? narrow : node;
        d->offset[d->n++] = set->base + w->offset;
    }
    g->values = before;
}

vn_status vn_gradients_open(vn_gradients *d, vn_node *y, vn_node *cotangent, vn_err *err) {
    vn_graph *g = y->graph;
    vn_node **wrt = NULL;
    const vn_weight_set one = {.weights = d->weights}, *set = d->sets ? d->set : &one;
    const int sets = d->sets ? d->sets : d->weights != NULL;
    vn_status status = gradients_room(d, sets, set, &wrt, err);
    d->n = 0;
    for (int k = 0; k < sets && !status; k++) want_weights(d, g, &set[k], wrt);
    const int before = d->n + (d->x != NULL), all = before + d->inputs, forward = g->count;
    if (!status && d->x) wrt[d->n] = d->x;
    for (int i = 0; i < d->inputs && !status; i++) wrt[before + i] = d->input[i];
    if (!status) status = vn_graph_gradient(g, y, cotangent, all, wrt, d->node, err);
    if (!status) status = vn_graph_recompute(g, d->recompute, forward, all, d->node, err);
    if (!status && d->x) d->by_x = d->node[d->n];
    if (!status) d->by_input = d->node + before;
    vn_free(wrt);
    return status;
}

void vn_gradients_close(vn_gradients *d) {
    vn_free(d->node);
    vn_free(d->offset);
    *d = (vn_gradients){0};
}
