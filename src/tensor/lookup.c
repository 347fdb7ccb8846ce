/* lookup.c - integers in, rows out: one-hot vectors and embeddings; and rows in, integers out: the
 * nearest row of a table. An index outside the table stands for a row of zeros, and what is sent
 * back to it is dropped. */
#include "tensor/internal.h"

/* index's shape with one more axis of length k. */
static vn_shape with_axis(const vn_shape *index, int64_t k) {
    vn_shape s = *index;
    if (s.rank < VN_MAX_RANK) s.dim[s.rank] = k;
    s.rank++; /* too large a rank is refused with the shape */
    return s;
}

const char *vn_shape_one_hot(vn_node *n) {
    if (n->in[0]->dtype != VN_I32) return "the index is not of integers";
    return n->shape.rank == n->in[0]->shape.rank + 1 && vn_shape_valid(&n->shape)
               ? NULL
               : "such a shape cannot be";
}

vn_node *vn_one_hot(vn_graph *g, vn_node *index, int64_t k) {
    vn_node n = vn_draft(VN_OP_ONE_HOT, 1, index);
    if (index) n.shape = with_axis(&index->shape, k);
    return vn_graph_add(g, &n);
}

const char *vn_shape_embedding(vn_node *n) {
    const vn_shape *table = &n->in[0]->shape;
    if (n->in[0]->dtype != VN_F32 || n->in[1]->dtype != VN_I32)
        return "takes a float table and an integer index";
    if (table->rank != 2) return "the table is not [V,D]";
    n->shape = with_axis(&n->in[1]->shape, table->dim[1]);
    return NULL;
}

vn_node *vn_embedding(vn_graph *g, vn_node *table, vn_node *index) {
    vn_node n = vn_draft(VN_OP_EMBEDDING, 2, table, index);
    return vn_graph_add(g, &n);
}

const char *vn_shape_embedding_grad(vn_node *n) {
    const vn_shape *dy = &n->in[1]->shape;
    if (n->in[0]->dtype != VN_I32 || n->in[1]->dtype != VN_F32)
        return "takes an integer index and float rows";
    if (n->shape.rank != 2 || !vn_shape_valid(&n->shape)) return "the table is not [V,D]";
    vn_shape want = with_axis(&n->in[0]->shape, n->shape.dim[1]);
    return vn_shape_equal(dy, &want) ? NULL : "the rows do not fit the index and the table";
}

void vn_gradient_embedding(vn_node *n, vn_node *dy, vn_node **grad) {
    vn_node draft = vn_draft(VN_OP_EMBEDDING_GRAD, 2, n->in[1], dy);
    draft.shape = n->in[0]->shape;
    grad[0] = vn_graph_add(n->graph, &draft);
}

void vn_gradient_embedding_grad(vn_node *n, vn_node *c, vn_node **grad) {
    grad[1] = vn_embedding(n->graph, c, n->in[0]);
}

const char *vn_shape_nearest(vn_node *n) {
    const vn_shape *x = &n->in[0]->shape, *table = &n->in[1]->shape;
    if (n->in[0]->dtype != VN_F32 || n->in[1]->dtype != VN_F32) return "takes floats";
    if (table->rank != 2 || table->dim[0] < 1) return "the table is not [V,D]";
    if (x->rank < 1 || x->dim[x->rank - 1] != table->dim[1])
        return "the rows are not as long as the table's";
    n->shape = *x;
    n->shape.rank--;
    n->dtype = VN_I32;
    return NULL;
}

vn_node *vn_nearest_row(vn_graph *g, vn_node *x, vn_node *table) {
    vn_node n = vn_draft(VN_OP_NEAREST, 2, x, table);
    n.dtype = VN_I32;
    return vn_graph_add(g, &n);
}
