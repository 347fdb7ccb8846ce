/* muon.c - Muon (Keller Jordan, 2024: kellerjordan.github.io/posts/muon). A matrix between hidden
 * features moves along its momentum M with the singular values made nearly equal: with M = U S V^T,
 * nearly U V^T. An iteration of Newton and Schulz does that with products alone: X -> a X + b G X +
 * c G^2 X, G = X X^T, moves each singular value s to a s + b s^3 + c s^5. Its coefficients are
 * chosen for a steep start rather than for convergence, so that five iterations bring what is above
 * some 0.003 of the whole into about [0.7, 1.2].
 *
 * The step is scaled to the root mean square that AdamW's have, `scale` sqrt(max(rows, columns)) U
 * V^T (Moonlight, arXiv 2502.16982), so that one learning rate and one decay serve both: what is no
 * such matrix is AdamW's.
 *
 * All matrices of a part are one program: it reads each from the gradients' array, where the
 * momentum has been written before, and puts the result into the same place. */
#include "train/internal.h"

#include <math.h>

enum { MOMENTUM, ITERATIONS, SCALE, ADAMW };
static const vn_param params[] = {
    {"momentum", "decay of the mean of gradients", 0.95, 0, 0.999999, 0, NULL},
    {"iterations", "of Newton and Schulz", 5, 1, 20, VN_PARAM_WHOLE, NULL},
    {"scale", "root mean square of a step at a learning rate of 1", 0.2, 1e-6, 1e6, 0, NULL},
    VN_ADAMW_PARAMS,
    {0},
};

static bool takes(const vn_weight *w) {
    return w->hidden && !w->frozen;
}

/* The matrix that a weight is inside: [O,I], or of a convolution [kh kw I,O], whose transpose is
 * (out, in k k) in another order of columns, which makes no difference here. */
static vn_shape matrix_of(const vn_weight *w) {
    const int64_t count = (int64_t)w->count;
    const int64_t columns = w->layout == VN_LAYOUT_CONV ? w->file.dim[0] : count / w->file.dim[0];
    return VN_SHAPE(count / columns, columns);
}

/* ---- a matrix with its singular values near 1 ------------------------------------------------ */

#define A     3.4445
#define B     (-4.7750)
#define C     2.0315
#define LEAST 1e-20 /* of a sum of squares: nothing stays nothing */

static vn_node *number(vn_graph *g, double value) {
    return vn_fill(g, VN_SHAPE(1, 1), value);
}

/* The smaller of X X^T and X^T X is squared: with the rows fewer, (a + b G + c G^2) X. */
static vn_node *iterate(vn_graph *g, vn_node *x) {
    const bool wide = x && x->shape.dim[0] <= x->shape.dim[1];
    vn_node *gram = vn_matmul(g, x, x, !wide, wide);
    vn_node *square = vn_matmul(g, gram, gram, false, false);
    vn_node *sum = vn_mul_add(g, square, number(g, C), vn_affine(g, gram, B, 0));
    vn_node *product =
        wide ? vn_matmul(g, sum, x, false, false) : vn_matmul(g, x, sum, false, false);
    return vn_mul_add(g, x, number(g, A), product);
}

vn_node *vn_orthogonal(vn_graph *g, vn_node *x, int iterations) {
    vn_node *squares = vn_sum_product_to(g, x, x, VN_SHAPE(1, 1));
    x = vn_mul(g, x, vn_unary(g, vn_affine(g, squares, 1, LEAST), VN_FN_RSQRT));
    for (int i = 0; i < iterations; i++) x = iterate(g, x);
    return x;
}

/* ---- the program ----------------------------------------------------------------------------- */

typedef struct muon {
    vn_graph *g;
    vn_program *program;
    vn_values *momentum; /* the gradients' array, which the momentum has been written over */
    vn_node **made;      /* [n] of each matrix */
    size_t *offset;      /* [n] of the weight */
    int n;
} muon;

static vn_status build(muon *m, const vn_choice *c, vn_weights *w, vn_err *err) {
    const size_t count = vn_weights_count(w);
    m->made = vn_calloc(count + 1, sizeof *m->made);
    m->offset = vn_calloc(count + 1, sizeof *m->offset);
    if (!m->made || !m->offset) return vn_no_memory(err);
    vn_status status = vn_graph_open(&m->g, err);
    for (size_t i = 0; i < count && !status; i++) {
        const vn_weight *one = vn_weights_at(w, i);
        if (!takes(one)) continue;
        vn_node *x = vn_param_node(m->g, w, one->name, one->file, one->layout, one->init);
        x = vn_reshape(m->g, x, matrix_of(one));
        m->made[m->n] = vn_orthogonal(m->g, x, (int)c->value[ITERATIONS]);
        m->offset[m->n++] = one->offset;
    }
    return status ? status : vn_graph_status(m->g, err);
}

static vn_program_options options_of(const muon *m, const vn_device *d) {
    return (vn_program_options){
        .device = d, .n_grads = m->n, .grads = m->made, .grad_offset = m->offset};
}

static void close_muon(void *self) {
    muon *m = self;
    if (!m) return;
    vn_program_close(&m->program);
    vn_values_close(&m->momentum);
    if (m->g) vn_graph_close(&m->g);
    vn_free(m->made);
    vn_free(m->offset);
    vn_free(m);
}

static vn_status open_muon(const vn_choice *c, const vn_device *d, vn_weights *w,
                           const float *grads, void **self, vn_err *err) {
    muon *m = *self = vn_calloc(1, sizeof *m);
    if (!m) return vn_no_memory(err);
    vn_status status = build(m, c, w, err);
    const vn_program_options options = options_of(m, d);
    if (!status) status = vn_values_over(w, d, grads, &m->momentum, err);
    if (!status) status = vn_program_open(m->g, &options, &m->program, err);
    if (!status) return VN_OK;
    close_muon(m);
    *self = NULL;
    return status;
}

static vn_status measure(const vn_choice *c, const vn_device *d, vn_weights *w, size_t *bytes,
                         vn_err *err) {
    muon m = {0};
    vn_footprint f = {0};
    vn_status status = build(&m, c, w, err);
    const vn_program_options options = options_of(&m, d);
    if (!status) status = vn_footprint_open(m.g, &options, &f, err);
    *bytes = f.bytes;
    if (!status) vn_footprint_close(&f);
    if (m.g) vn_graph_close(&m.g);
    vn_free(m.made);
    vn_free(m.offset);
    return status;
}

/* ---- a step ---------------------------------------------------------------------------------- */

static void update(void *self, const vn_update *u) {
    const muon *m = self;
    const double *value = u->choice->value;
    const vn_device_row *row = u->device->row;
    const vn_momentum momentum = {.mean = value[MOMENTUM], .grad_scale = u->grad_scale};
    const size_t count = vn_weights_count(u->weights);
    vn_update_by_adamw(u, ADAMW);
    for (size_t i = 0; i < count; i++) {
        const vn_weight *w = vn_weights_at(u->weights, i);
        if (takes(w))
            row->momentum(u->device, &momentum, w->count, u->grads + w->offset,
                          u->moment1 + w->offset);
    }
    vn_program_run(m->program, &(vn_run){.values = m->momentum, .grads = u->grads});
    for (size_t i = 0; i < count; i++) {
        const vn_weight *w = vn_weights_at(u->weights, i);
        if (!takes(w)) continue;
        const vn_shape matrix = matrix_of(w);
        const double longer =
            (double)(matrix.dim[0] > matrix.dim[1] ? matrix.dim[0] : matrix.dim[1]);
        const vn_descent o = {.rate = u->rate * value[SCALE] * sqrt(longer),
                              .decay = u->rate * u->weight_decay,
                              .ema = u->average ? u->ema : 0};
        row->descend(u->device, &o, w->count, u->live + w->offset, u->grads + w->offset,
                     u->average ? u->average + w->offset : NULL);
    }
}

const vn_optimizer_row vn_muon_optimizer = {
    .row = {"muon",
            "matrices between hidden features by their momentum with all singular values made "
            "nearly equal; the other weights by adamw",
            "kellerjordan.github.io/posts/muon, scaled as in arXiv 2502.16982", params},
    .takes = takes,
    .open = open_muon,
    .measure = measure,
    .close = close_muon,
    .update = update,
};
