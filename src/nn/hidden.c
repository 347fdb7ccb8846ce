/* hidden.c - which weights of a network are matrices from hidden features to hidden ones, for
 * optimisers that treat those in another way than the first and last layers, embeddings, norms and
 * biases (Muon). The graph says so, whatever the network: a weight is one if all that it is used
 * for are products, if each of them reads what an earlier product or embedding had a part in, and
 * if a later product has a part in every way from there to an output. Ports whose numbers are
 * features of other networks (vn_port.features) are no ends of the network in this. */
#include "nn/internal.h"

/* What is found of nodes and weights. */
typedef struct survey {
    const vn_graph *g;
    bool *deep;  /* [nodes] a product with weights, or an embedding, had a part in it */
    bool *ends;  /* [nodes] an output has it without a later product with weights */
    bool *used;  /* [weights] a product reads it */
    bool *other; /* [weights] it is used for something else, or in a first or last layer */
} survey;

/* The weight that a node is, but for number type, order and parts of it; NULL: it is none. */
static const vn_node *weight_of(const vn_node *n) {
    while (n->op == VN_OP_CAST || n->op == VN_OP_VIEW || n->op == VN_OP_PERMUTE ||
           n->op == VN_OP_SLICE)
        n = n->in[0];
    return n->op == VN_OP_PARAM ? n : NULL;
}

/* Which input of a node is the matrix of a product; -1: it is no product with a weight. */
static int matrix_input(const vn_node *n) {
    const bool either = n->op == VN_OP_MATMUL;
    if (!either && n->op != VN_OP_LINEAR && n->op != VN_OP_CONV2D) return -1;
    if (weight_of(n->in[1])) return 1;
    return either && weight_of(n->in[0]) ? 0 : -1;
}

/* What a node does to the weights that it reads, and whether it is deep. */
static void look_at(survey *s, const vn_node *n) {
    const int matrix = matrix_input(n);
    for (int k = 0; k < n->inputs; k++) {
        const vn_node *weight = weight_of(n->in[k]);
        s->deep[n->id] = s->deep[n->id] || s->deep[n->in[k]->id];
        if (!weight || weight_of(n)) continue; /* the same weight still, in another form */
        if (k != matrix || !s->deep[n->in[1 - matrix]->id]) s->other[weight->from.param] = true;
        if (k == matrix) s->used[weight->from.param] = true;
    }
    if (matrix >= 0 || n->op == VN_OP_EMBEDDING) s->deep[n->id] = true;
}

static void look_back_from(survey *s, const vn_node *n) {
    const int matrix = matrix_input(n);
    if (!s->ends[n->id]) return;
    if (matrix >= 0) s->other[weight_of(n->in[matrix])->from.param] = true;
    for (int k = 0; k < n->inputs && matrix < 0; k++) s->ends[n->in[k]->id] = true;
}

static void look(survey *s, const vn_net_io *io, const vn_net_nodes *nodes) {
    const int count = vn_graph_size(s->g);
    for (int i = 0; i < io->inputs; i++) s->deep[nodes->in[i]->id] = io->input[i].features;
    for (int i = 0; i < io->outputs; i++)
        if (nodes->out[i] && !io->output[i].features) s->ends[nodes->out[i]->id] = true;
    for (int i = 0; i < count; i++) look_at(s, vn_graph_node(s->g, i));
    for (int i = count; i-- > 0;) look_back_from(s, vn_graph_node(s->g, i));
}

static bool is_matrix(const vn_weight *w) {
    return !w->frozen && w->file.rank == (w->layout == VN_LAYOUT_CONV ? 4 : 2);
}

vn_status vn_net_find_hidden(vn_weights *w, const vn_net_io *io, const vn_graph *g,
                             const vn_net_nodes *nodes, vn_err *err) {
    const size_t count = vn_weights_count(w), size = (size_t)vn_graph_size(g);
    bool *all = vn_calloc(2 * (count + size) + 1, sizeof *all);
    if (!all) return vn_no_memory(err);
    survey s = {g, all, all + size, all + 2 * size, all + 2 * size + count};
    look(&s, io, nodes);
    for (size_t i = 0; i < count; i++)
        vn_weights_set_hidden(w, i, is_matrix(vn_weights_at(w, i)) && s.used[i] && !s.other[i]);
    vn_free(all);
    return VN_OK;
}
