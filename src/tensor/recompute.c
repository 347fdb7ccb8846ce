/* recompute.c - values of the forward pass that are not kept for the backward pass but computed
 * there again (gradient checkpointing, 1604.06174).
 *
 * A gradient reads activations of the forward pass, so all of them are in memory when the backward
 * pass begins. Here the gradient's part of the graph is built once more, reading copies of forward
 * nodes, each made just before the first node that reads it; the plan then frees the originals
 * early. A copy is the same op on the same numbers, dropout with its site, so that no bit of a
 * gradient changes. Which values are copied:
 *
 *   cheap    what takes a few operations for each of its numbers (norms, activations, sums) and
 *            depends only on what the backward pass reads anyway: a percent or two of a step's
 *            arithmetic
 *   blocks   all but what the model marked with vn_block_end: the forward pass a second time, from
 *            mark to mark
 *
 * Small arrays are always kept, and so is what follows the last mark but one: it is read as soon as
 * the backward pass begins.
 */
#include "tensor/internal.h"

#define SMALL 64 /* times smaller than the largest forward value: not worth a copy */
#define CHEAP 12 /* operations for a number, at most */

/* The most cheap steps in a row that are recomputed: all of them are alive while the last is made.
 * On transformers 4 to 14 differ by 10%. */
#define MAX_CHAIN 8

typedef struct recompute {
    vn_graph *g;
    int forward; /* nodes before the gradient */
    /* By id, of all nodes that there are at first: */
    bool *read;     /* forward nodes: the backward pass reads it; later ones: it is needed */
    bool *again;    /* forward nodes: it is computed again */
    bool *wanted;   /* scratch of copy_forward */
    int *length;    /* forward nodes: cheap steps from what is kept */
    vn_node **copy; /* what is read instead; NULL: not made, or none */
} recompute;

static double bytes_of(const vn_node *n) {
    return (double)vn_dtype_size(n->dtype) * (double)vn_shape_count(&n->shape);
}

static bool is_leaf(const vn_node *n) {
    return n->op == VN_OP_INPUT || n->op == VN_OP_PARAM || n->op == VN_OP_CONST;
}

static const vn_node *memory_of(const vn_node *n) {
    while (n->op == VN_OP_VIEW) n = n->in[0];
    return n;
}

/* ---- which values ---------------------------------------------------------------------------- */

/* What of the gradient the n wanted nodes need, and which forward nodes it reads. */
static void find_read(recompute *r, int size, int n, vn_node *const *wanted) {
    for (int i = 0; i < n; i++) r->read[wanted[i]->id] = true;
    for (int id = size - 1; id >= r->forward; id--)
        for (int i = 0; r->read[id] && i < r->g->node[id]->inputs; i++)
            r->read[memory_of(r->g->node[id]->in[i])->id] = r->read[r->g->node[id]->in[i]->id] =
                true;
}

static bool is_cheap(const vn_node *n) {
    return vn_node_cost(n).flops <= CHEAP * (double)vn_shape_count(&n->shape);
}

/* kept[id]: whether it is in memory in the backward pass. Cheap nodes are computed again if keeping
 * the inputs that are not kept anyway would take no more than half of their memory; what is only
 * moved, if it would take less: of a skip's concatenation the skip is kept anyway. */
static void choose_cheap(recompute *r, const vn_node *n, double small, bool *kept) {
    const double most = bytes_of(n) * (vn_node_cost(n).flops > 0 ? 0.5 : 0.75);
    double missing = 0;
    int longest = 0;
    for (int i = 0; i < n->inputs; i++) {
        const vn_node *in = memory_of(n->in[i]);
        if (!kept[in->id] && !r->again[in->id] && !is_leaf(in)) missing += bytes_of(in);
        if (r->again[in->id] && r->length[in->id] > longest) longest = r->length[in->id];
    }
    if (bytes_of(n) > small && is_cheap(n) && longest < MAX_CHAIN && missing <= most) {
        r->again[n->id] = true;
        r->length[n->id] = longest + 1;
        for (int i = 0; i < n->inputs; i++) {
            const vn_node *in = memory_of(n->in[i]);
            kept[in->id] = kept[in->id] || !r->again[in->id];
        }
    } else
        kept[n->id] = r->read[n->id];
}

/* The id after which nothing is computed again. */
static int last_worth(const recompute *r) {
    int last = -1, before = -1;
    for (int id = 0; id < r->forward; id++)
        if (r->g->node[id]->block_end) {
            before = last;
            last = id;
        }
    return before;
}

static void choose(recompute *r, vn_recompute how, bool *kept) {
    const int end = how == VN_RECOMPUTE_BLOCKS ? last_worth(r) : r->forward - 1;
    double small = 0;
    for (int id = 0; id < r->forward; id++) {
        const vn_node *n = r->g->node[id];
        if (!is_leaf(n) && bytes_of(n) / SMALL > small) small = bytes_of(n) / SMALL;
    }
    for (int id = 0; id <= end; id++) {
        const vn_node *n = r->g->node[id], *root = memory_of(n);
        if (is_leaf(n)) continue;
        if (n != root)
            r->again[id] = r->again[root->id];
        else if (how == VN_RECOMPUTE_CHEAP)
            choose_cheap(r, n, small, kept);
        else
            r->again[id] = !n->block_end && bytes_of(n) > small;
    }
}

/* ---- copies ---------------------------------------------------------------------------------- */

static vn_node *to_read(const recompute *r, vn_node *n) {
    return r->copy[n->id] ? r->copy[n->id] : n;
}

static void copy_node(recompute *r, const vn_node *n) {
    vn_node draft = *n;
    for (int i = 0; i < n->inputs; i++) draft.in[i] = to_read(r, n->in[i]);
    r->copy[n->id] = vn_graph_add_copy(r->g, &draft);
}

/* Copies n and what it comes from that is computed again and has no copy yet, in order. */
static void copy_forward(recompute *r, const vn_node *n) {
    if (!r->again[n->id] || r->copy[n->id]) return;
    int first = n->id;
    r->wanted[n->id] = true;
    for (int id = n->id; id >= first; id--)
        for (int i = 0; r->wanted[id] && i < r->g->node[id]->inputs; i++) {
            const int in = r->g->node[id]->in[i]->id;
            if (!r->again[in] || r->copy[in]) continue;
            r->wanted[in] = true;
            if (in < first) first = in;
        }
    for (int id = first; id <= n->id; id++) {
        if (r->wanted[id]) copy_node(r, r->g->node[id]);
        r->wanted[id] = false;
    }
}

static void rebuild(recompute *r, int size) {
    for (int id = r->forward; id < size && !r->g->err.status; id++) {
        const vn_node *n = r->g->node[id];
        if (!r->read[id] || is_leaf(n)) continue;
        for (int i = 0; i < n->inputs; i++)
            if (n->in[i]->id < r->forward) copy_forward(r, n->in[i]);
        copy_node(r, n);
    }
}

vn_status vn_graph_recompute(vn_graph *g, vn_recompute how, int forward, int n, vn_node **wanted,
                             vn_err *err) {
    if (g->err.status || how == VN_RECOMPUTE_NONE) return vn_graph_status(g, err);
    const int size = g->count;
    const char *label = g->label;
    recompute r = {.g = g, .forward = forward};
    r.read = vn_calloc((size_t)size, sizeof *r.read);
    r.again = vn_calloc((size_t)size, sizeof *r.again);
    r.wanted = vn_calloc((size_t)size, sizeof *r.wanted);
    r.length = vn_calloc((size_t)size, sizeof *r.length);
    r.copy = vn_calloc((size_t)size, sizeof(vn_node *));
    bool *kept = vn_calloc((size_t)size, sizeof *kept);
    if (r.read && r.again && r.wanted && r.length && r.copy && kept) {
        find_read(&r, size, n, wanted);
        choose(&r, how, kept);
        rebuild(&r, size);
        for (int i = 0; i < n && !g->err.status; i++) wanted[i] = to_read(&r, wanted[i]);
    } else
        vn_no_memory(&g->err);
    g->label = label;
    vn_free(r.read);
    vn_free(r.again);
    vn_free(r.wanted);
    vn_free(r.length);
    vn_free(r.copy);
    vn_free(kept);
    return vn_graph_status(g, err);
}

vn_node *vn_block_end(vn_node *x) {
    if (x) x->block_end = true;
    return x;
}
