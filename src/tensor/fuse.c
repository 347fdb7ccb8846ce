/* fuse.c - which nodes a device computes in one pass with what uses them.
 *
 * A pass over an array that is read from memory and written there costs as much as many operations
 * on it, so what is done to a result before or after a product is done within it where the device
 * has a kernel for both together:
 *
 *   conv2d_plus  a convolution of an image that was enlarged by repeating pixels; a convolution
 *                whose result is added to another array
 *   linear_plus  a linear layer of whose result a function is taken, or which is multiplied, added
 *                to something, or both
 *
 * The inner node must be wanted by the outer one alone; it then has no memory of its own. Each rule
 * looks at one node and at one of its inputs, which may be the outcome of a rule itself. The fused
 * op rounds as the ops did, so that the bits are the same.
 */
#include "tensor/internal.h"

/* What node n is: itself, or what it was fused to. */
static const vn_node *seen(const vn_fused *f, const vn_node *n) {
    return f->draft[n->id].op == VN_OP_COUNT ? n : &f->draft[n->id];
}

/* Node i of n's inputs as it is seen, if n alone uses it; NULL otherwise. */
static const vn_node *own_input(const vn_fused *f, const vn_node *n, int i) {
    return f->uses[n->in[i]->id] == 1 ? seen(f, n->in[i]) : NULL;
}

/* A convolution as conv2d_plus, in the place of n. */
static vn_node plus_of(const vn_node *conv, const vn_node *n) {
    vn_node d = *conv;
    d.op = VN_OP_CONV2D_PLUS;
    d.id = n->id;
    d.block_end = n->block_end;
    if (conv->op == VN_OP_CONV2D) {
        d.attr.conv.up = 1;
        d.attr.conv.bias = conv->inputs > 2;
    }
    return d;
}

static bool repeats_pixels(const vn_node *n) {
    const vn_attr *a = &n->attr;
    if (n->op != VN_OP_RESAMPLE || a->resample.up != 2 || a->resample.down != 1 ||
        a->resample.taps != 2 || a->resample.pad[0] || a->resample.pad[1])
        return false;
    const vn_shape *x = &n->in[0]->shape, *y = &n->shape;
    return a->resample.tap[0] == 1 && a->resample.tap[1] == 1 && y->dim[1] == 2 * x->dim[1] &&
           y->dim[2] == 2 * x->dim[2];
}

/* ---- the rules: does n swallow its input i? then *draft is what n becomes -------------------- */

static bool enlarged_conv(const vn_fused *f, const vn_node *n, int i, vn_node *draft) {
    if (n->op != VN_OP_CONV2D || i > 0) return false;
    const vn_node *x = own_input(f, n, i);
    if (!x || !repeats_pixels(x)) return false;
    *draft = plus_of(n, n);
    draft->attr.conv.up = 2;
    draft->in[0] = x->in[0];
    return true;
}

static bool added_conv(const vn_fused *f, const vn_node *n, int i, vn_node *draft) {
    if (n->op != VN_OP_ADD) return false;
    const vn_node *y = own_input(f, n, i), *z = n->in[1 - i];
    const bool conv =
        y && (y->op == VN_OP_CONV2D || (y->op == VN_OP_CONV2D_PLUS && !y->attr.conv.plus));
    if (!conv || z->dtype != VN_F32 || !vn_shape_equal(&y->shape, &n->shape) ||
        !vn_shape_equal(&z->shape, &n->shape))
        return false;
    *draft = plus_of(y, n);
    draft->attr.conv.plus = true;
    draft->in[draft->inputs++] = (vn_node *)z;
    return true;
}

static bool is_linear(const vn_node *n) {
    return n && (n->op == VN_OP_LINEAR ||
                 (n->op == VN_OP_LINEAR_PLUS && !n->attr.linear.times && !n->attr.linear.plus));
}

/* A linear layer in the place of n, with a factor and an addend where they are not NULL; false: it
 * does not fit these. */
static bool linear_end(const vn_node *linear, const vn_node *n, const vn_node *times,
                       const vn_node *plus, vn_node *draft) {
    vn_node d = *linear;
    if (!vn_shape_equal(&linear->shape, &n->shape)) return false;
    if (times && (times->dtype != VN_F32 || !vn_shape_runs(&n->shape, &times->shape))) return false;
    if (plus && (plus->dtype != VN_F32 || !vn_shape_equal(&n->shape, &plus->shape))) return false;
    d.op = VN_OP_LINEAR_PLUS;
    d.id = n->id;
    d.block_end = n->block_end;
    d.attr.linear.bias = linear->inputs > 2;
    d.attr.linear.times = times != NULL;
    d.attr.linear.plus = plus != NULL;
    if (times) d.in[d.inputs++] = (vn_node *)times;
    if (plus) d.in[d.inputs++] = (vn_node *)plus;
    *draft = d;
    return true;
}

static bool added_linear(const vn_fused *f, const vn_node *n, int i, vn_node *draft) {
    if (n->op != VN_OP_ADD) return false;
    const vn_node *y = own_input(f, n, i);
    return is_linear(y) && linear_end(y, n, NULL, n->in[1 - i], draft);
}

static bool multiplied_linear(const vn_fused *f, const vn_node *n, int i, vn_node *draft) {
    if (n->op != VN_OP_MUL) return false;
    const vn_node *y = own_input(f, n, i);
    return is_linear(y) && linear_end(y, n, n->in[1 - i], NULL, draft);
}

static bool gated_linear(const vn_fused *f, const vn_node *n, int i, vn_node *draft) {
    if (n->op != VN_OP_MUL_ADD || i > 0) return false;
    const vn_node *y = own_input(f, n, i);
    return is_linear(y) && linear_end(y, n, n->in[1], n->in[2], draft);
}

static bool function_of_linear(const vn_fused *f, const vn_node *n, int i, vn_node *draft) {
    if (n->op != VN_OP_UNARY || n->attr.unary.order > 0) return false;
    const vn_node *y = own_input(f, n, i);
    if (!y || y->op != VN_OP_LINEAR || y->attr.linear.act != VN_FN_IDENTITY) return false;
    linear_end(y, n, NULL, NULL, draft);
    draft->attr.linear.act = n->attr.unary.fn;
    return true;
}

typedef struct rule {
    bool (*apply)(const vn_fused *f, const vn_node *n, int i, vn_node *draft);
    vn_op op; /* what it makes */
} rule;

static const rule rules[] = {
    {enlarged_conv, VN_OP_CONV2D_PLUS},      {added_conv, VN_OP_CONV2D_PLUS},
    {function_of_linear, VN_OP_LINEAR_PLUS}, {added_linear, VN_OP_LINEAR_PLUS},
    {multiplied_linear, VN_OP_LINEAR_PLUS},  {gated_linear, VN_OP_LINEAR_PLUS},
};

/* ---- all nodes ------------------------------------------------------------------------------- */

/* Fuses n with an input, the latest one that can be. */
static bool fuse_node(vn_fused *f, const vn_device_row *row, const vn_node *n) {
    const vn_node *best = NULL;
    vn_node draft;
    for (size_t k = 0; k < VN_COUNT(rules); k++)
        for (int i = 0; i < n->inputs && row->kernel[rules[k].op]; i++)
            if ((!best || n->in[i]->id > best->id) && rules[k].apply(f, n, i, &draft)) {
                best = n->in[i];
                f->draft[n->id] = draft;
            }
    if (best) f->uses[best->id] = -1;
    return best != NULL;
}

static void count_uses(vn_fused *f, const vn_graph *g, const vn_program_options *o,
                       const bool *needed) {
    for (int i = 0; i < o->n_outputs; i++) f->uses[o->outputs[i]->id] += 2;
    for (int i = 0; i < o->n_grads; i++) f->uses[o->grads[i]->id] += 2;
    for (int id = 0; id < g->count; id++)
        for (int i = 0; needed[id] && i < g->node[id]->inputs; i++)
            f->uses[g->node[id]->in[i]->id]++;
}

bool vn_fuse(vn_fused *f, const vn_graph *g, const vn_program_options *o, const bool *needed,
             bool *any) {
    *any = false;
    if (!o->device->row->fuses) return true;
    f->draft = vn_alloc((size_t)g->count, sizeof *f->draft);
    f->uses = vn_calloc((size_t)g->count, sizeof *f->uses);
    if (!f->draft || !f->uses) return false;
    for (int id = 0; id < g->count; id++) f->draft[id].op = VN_OP_COUNT;
    count_uses(f, g, o, needed);
    for (int id = 0; id < g->count; id++)
        if (needed[id]) *any = fuse_node(f, o->device->row, g->node[id]) || *any;
    return true;
}

void vn_fused_close(vn_fused *f) {
    vn_free(f->draft);
    vn_free(f->uses);
    *f = (vn_fused){0};
}
