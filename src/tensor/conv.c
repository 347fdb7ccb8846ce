/* conv.c - two-dimensional convolution and resampling on [N,H,W,C].
 *
 * Convolution, its gradient by x and its gradient by w come from one trilinear form, sum x w y: the
 * gradient of each is one of the other two, so derivatives of any order need no further op.
 */
#include "tensor/internal.h"

/* ---- the three convolutions ------------------------------------------------------------------ */

/* Do x [N,H,W,I], w [kh,kw,I,O] and y [N,OH,OW,O] fit each other under n's stride and padding? */
static const char *check_conv(const vn_node *n, const vn_shape *x, const vn_shape *w, vn_shape *y,
                              bool fill_y) {
    int stride = n->attr.conv.stride;
    const int *pad = n->attr.conv.pad;
    if (!vn_all_floats(n)) return "takes floats";
    if (x->rank != 4) return "x is not [N,H,W,C]";
    if (w->rank != 4) return "the weight is not [kh,kw,in,out]";
    if (!vn_shape_valid(x) || !vn_shape_valid(w)) return "such a shape cannot be";
    if (x->dim[3] != w->dim[2]) return "x's channels are not the weight's";
    if (stride < 1) return "the stride is below 1";
    vn_shape want = {.rank = 4, .dim = {x->dim[0], 0, 0, w->dim[3]}};
    for (int i = 0; i < 2; i++) {
        int64_t before = pad[2 * i], after = pad[2 * i + 1], kernel = w->dim[i];
        if (before < 0 || after < 0 || kernel < 1) return "padding below 0 or a kernel below 1";
        int64_t padded = x->dim[1 + i] + before + after;
        if (padded < kernel) return "the kernel is larger than the padded image";
        want.dim[1 + i] = (padded - kernel) / stride + 1;
    }
    if (fill_y) *y = want;
    return vn_shape_equal(y, &want) ? NULL : "x, the weight and the result do not fit";
}

const char *vn_shape_conv2d(vn_node *n) {
    const vn_shape *w = &n->in[1]->shape;
    const char *why = check_conv(n, &n->in[0]->shape, w, &n->shape, true);
    if (why || n->inputs < 3) return why;
    return n->in[2]->shape.rank == 1 && n->in[2]->shape.dim[0] == w->dim[3]
               ? NULL
               : "the bias is not [out]";
}

const char *vn_shape_conv2d_plus(vn_node *n) {
    const vn_shape *w = &n->in[1]->shape;
    const int up = n->attr.conv.up, bias = n->attr.conv.bias, plus = n->attr.conv.plus;
    vn_shape x = n->in[0]->shape;
    if (up != 1 && up != 2) return "pixels stand for 1 or 2 x 2";
    if (n->inputs != 2 + bias + plus) return "inputs are missing or too many";
    for (int i = 1; i < 3 && x.rank == 4; i++) x.dim[i] *= up;
    const char *why = check_conv(n, &x, w, &n->shape, true);
    if (why) return why;
    if (bias && (n->in[2]->shape.rank != 1 || n->in[2]->shape.dim[0] != w->dim[3]))
        return "the bias is not [out]";
    return plus && !vn_shape_equal(&n->in[2 + bias]->shape, &n->shape)
               ? "what is added has another shape"
               : NULL;
}

vn_node *vn_expand_conv2d_plus(vn_node *n) {
    vn_graph *g = n->graph;
    const bool bias = n->attr.conv.bias;
    vn_node *x = vn_upsample_nearest(g, n->in[0], n->attr.conv.up),
            *y = vn_conv2d(g, x, n->in[1], n->in[2], bias, n->attr.conv.stride, n->attr.conv.pad);
    return n->attr.conv.plus ? vn_add(g, y, n->in[2 + bias]) : y;
}

const char *vn_shape_conv2d_grad_x(vn_node *n) {
    return check_conv(n, &n->shape, &n->in[1]->shape, &n->in[0]->shape, false);
}

const char *vn_shape_conv2d_grad_w(vn_node *n) {
    return check_conv(n, &n->in[0]->shape, &n->shape, &n->in[1]->shape, false);
}

static vn_node *conv2d_like(vn_graph *g, vn_node *x, vn_node *w, const vn_attr *attr) {
    vn_node n = vn_draft(VN_OP_CONV2D, 2, x, w);
    n.attr = *attr;
    return vn_graph_add(g, &n);
}

vn_node *vn_conv2d_grad_x(vn_graph *g, vn_node *dy, vn_node *w, const vn_attr *attr,
                          vn_shape shape) {
    vn_node n = vn_draft(VN_OP_CONV2D_GRAD_X, 2, dy, w);
    n.attr = *attr;
    n.shape = shape;
    return vn_graph_add(g, &n);
}

vn_node *vn_conv2d_grad_w(vn_graph *g, vn_node *x, vn_node *dy, const vn_attr *attr,
                          vn_shape shape) {
    vn_node n = vn_draft(VN_OP_CONV2D_GRAD_W, 2, x, dy);
    n.attr = *attr;
    n.shape = shape;
    return vn_graph_add(g, &n);
}

vn_node *vn_conv2d(vn_graph *g, vn_node *x, vn_node *w, vn_node *b, bool has_bias, int stride,
                   const int pad[4]) {
    vn_node n = vn_draft(VN_OP_CONV2D, has_bias ? 3 : 2, x, w, b);
    n.attr.conv.stride = stride;
    for (int i = 0; i < 4; i++) n.attr.conv.pad[i] = pad[i];
    return vn_graph_add(g, &n);
}

void vn_gradient_conv2d(vn_node *n, vn_node *dy, vn_node **grad) {
    vn_graph *g = n->graph;
    vn_node *x = n->in[0], *w = n->in[1];
    if (vn_wanted(n, 1)) grad[1] = vn_conv2d_grad_w(g, x, dy, &n->attr, w->shape);
    if (n->inputs > 2 && vn_wanted(n, 2)) grad[2] = vn_sum_to(g, dy, n->in[2]->shape);
    if (vn_wanted(n, 0)) grad[0] = vn_conv2d_grad_x(g, dy, w, &n->attr, x->shape);
}

/* n = grad_x(dy, w), c has x's shape. */
void vn_gradient_conv2d_grad_x(vn_node *n, vn_node *c, vn_node **grad) {
    vn_graph *g = n->graph;
    vn_node *dy = n->in[0], *w = n->in[1];
    if (vn_wanted(n, 1)) grad[1] = vn_conv2d_grad_w(g, c, dy, &n->attr, w->shape);
    if (vn_wanted(n, 0)) grad[0] = conv2d_like(g, c, w, &n->attr);
}

/* n = grad_w(x, dy), c has w's shape. */
void vn_gradient_conv2d_grad_w(vn_node *n, vn_node *c, vn_node **grad) {
    vn_graph *g = n->graph;
    vn_node *x = n->in[0], *dy = n->in[1];
    if (vn_wanted(n, 1)) grad[1] = conv2d_like(g, x, c, &n->attr);
    if (vn_wanted(n, 0)) grad[0] = vn_conv2d_grad_x(g, dy, c, &n->attr, x->shape);
}

/* ---- resampling ------------------------------------------------------------------------------ */

const char *vn_shape_resample(vn_node *n) {
    const vn_shape *x = &n->in[0]->shape;
    if (!vn_all_floats(n)) return "takes floats";
    if (x->rank != 4 || n->shape.rank != 4) return "x is not [N,H,W,C]";
    if (n->attr.resample.up < 1 || n->attr.resample.down < 1) return "a factor is below 1";
    if (n->attr.resample.taps < 1 || n->attr.resample.taps > VN_MAX_TAPS)
        return "too few or too many taps";
    return vn_shape_valid(&n->shape) ? NULL : "such a shape cannot be";
}

vn_node *vn_resample(vn_graph *g, vn_node *x, int up, int down, int taps, const float *tap,
                     const int pad[2], int64_t out_h, int64_t out_w) {
    vn_node n = vn_draft(VN_OP_RESAMPLE, 1, x);
    n.attr.resample.up = up;
    n.attr.resample.down = down;
    n.attr.resample.taps = taps;
    n.attr.resample.pad[0] = pad[0];
    n.attr.resample.pad[1] = pad[1];
    for (int i = 0; i < taps && i < VN_MAX_TAPS; i++) n.attr.resample.tap[i] = tap[i];
    if (x && x->shape.rank == 4) n.shape = VN_SHAPE(x->shape.dim[0], out_h, out_w, x->shape.dim[3]);
    return vn_graph_add(g, &n);
}

/* out[o] = sum x[i] tap[o down - i up + pad], read from i's side: factors exchanged, taps
 * reversed. */
void vn_gradient_resample(vn_node *n, vn_node *dy, vn_node **grad) {
    const vn_attr *a = &n->attr;
    const vn_shape *x = &n->in[0]->shape;
    int last = a->resample.taps - 1,
        pad[2] = {last - a->resample.pad[0], last - a->resample.pad[1]};
    float tap[VN_MAX_TAPS];
    for (int i = 0; i <= last; i++) tap[i] = a->resample.tap[last - i];
    grad[0] = vn_resample(n->graph, dy, a->resample.down, a->resample.up, last + 1, tap, pad,
                          x->dim[1], x->dim[2]);
}

vn_node *vn_upsample_nearest(vn_graph *g, vn_node *x, int factor) {
    if (!x || factor == 1) return x;
    if (factor < 1 || factor > VN_MAX_TAPS || x->shape.rank != 4)
        return vn_graph_fail(g, VN_BAD_ARGUMENT, "upsample: factor %d of an array of rank %d",
                             factor, x->shape.rank);
    float tap[VN_MAX_TAPS];
    for (int i = 0; i < factor; i++) tap[i] = 1;
    return vn_resample(g, x, factor, 1, factor, tap, (int[2]){0, 0}, factor * x->shape.dim[1],
                       factor * x->shape.dim[2]);
}

vn_node *vn_avg_pool(vn_graph *g, vn_node *x, int factor) {
    if (!x || factor == 1) return x;
    if (factor < 1 || factor > VN_MAX_TAPS || x->shape.rank != 4)
        return vn_graph_fail(g, VN_BAD_ARGUMENT, "avg_pool: factor %d of an array of rank %d",
                             factor, x->shape.rank);
    float tap[VN_MAX_TAPS];
    for (int i = 0; i < factor; i++) tap[i] = 1 / (float)factor;
    int pad[2] = {factor - 1, factor - 1};
    return vn_resample(g, x, 1, factor, factor, tap, pad, x->shape.dim[1] / factor,
                       x->shape.dim[2] / factor);
}
