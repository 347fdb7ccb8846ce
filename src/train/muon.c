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
 * Matrices are dealt to groups of threads, each with one program for all of its own: it reads each
 * from the gradients' array, where the momentum has been written before, and puts the result into
 * the same place. */
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

/* ---- the programs ---------------------------------------------------------------------------- */

/* Some of the matrices, with the program that is made of them. */
typedef struct share {
    vn_device device; /* with a group of the threads */
    vn_graph *g;
    vn_program *program;
    const vn_shard_run **run; /* [n] the matrices */
    vn_node **made;           /* [n] of each */
    size_t *offset;           /* [n] where it lies among the weights */
    int n;
    double work; /* multiplications of an iteration, about */
} share;

typedef struct muon {
    share *share; /* [shares] */
    int shares;
    vn_thread_groups *groups; /* NULL: there is one share */
    vn_values *momentum;      /* the gradients' array, which the momentum has been written over */
} muon;

/* Whether it is a matrix of this rank's. */
static bool has(const vn_shard *shard, const vn_shard_run *run) {
    return run->rank == shard->rank && run->matrix >= 0;
}

static const vn_weight *weight_of(const vn_weights *w, const vn_shard_run *run) {
    return vn_weights_at(w, (size_t)run->matrix);
}

/* A matrix goes to the share that has least to do so far. */
static void deal(const muon *m, const vn_weights *w, const vn_shard *shard) {
    for (int i = 0; i < shard->runs; i++) {
        const vn_shard_run *run = &shard->run[i];
        share *least = m->share;
        if (!has(shard, run)) continue;
        const vn_weight *one = weight_of(w, run);
        const vn_shape matrix = matrix_of(one);
        for (int k = 1; k < m->shares; k++)
            if (m->share[k].work < least->work) least = &m->share[k];
        least->run[least->n] = run;
        least->offset[least->n++] = one->offset;
        least->work += (double)one->count * fmin((double)matrix.dim[0], (double)matrix.dim[1]);
    }
}

static vn_status build_share(share *p, const vn_choice *c, vn_weights *w, vn_err *err) {
    const vn_status status = vn_graph_open(&p->g, err);
    for (int i = 0; i < p->n && !status; i++) {
        const vn_weight *one = weight_of(w, p->run[i]);
        vn_node *x = vn_param_node(p->g, w, one->name, one->file, one->layout, one->init);
        x = vn_reshape(p->g, x, matrix_of(one));
        p->made[i] = vn_orthogonal(p->g, x, (int)c->value[ITERATIONS]);
    }
    return status ? status : vn_graph_status(p->g, err);
}

/* As many shares as threads, which work at the same time: products of small matrices are too short
 * for all threads to share each. */
static vn_status build(muon *m, const vn_choice *c, const vn_device *d, vn_weights *w,
                       const vn_shard *shard, vn_err *err) {
    const size_t count = (size_t)shard->runs;
    int matrices = 0;
    for (int i = 0; i < shard->runs; i++) matrices += has(shard, &shard->run[i]);
    m->shares = d->row->host_memory ? vn_thread_pool_threads(d->pool) : 1;
    if (m->shares > matrices) m->shares = matrices > 0 ? matrices : 1;
    m->share = vn_calloc((size_t)m->shares, sizeof *m->share);
    if (!m->share) return vn_no_memory(err);
    for (int k = 0; k < m->shares; k++) {
        share *p = &m->share[k];
        p->device = *d;
        if (d->row->exact) p->device.row = d->row->exact; /* its iterations amplify rounding */
        p->run = vn_alloc(count + 1, sizeof *p->run);
        p->made = vn_calloc(count + 1, sizeof *p->made);
        p->offset = vn_alloc(count + 1, sizeof *p->offset);
        if (!p->run || !p->made || !p->offset) return vn_no_memory(err);
    }
    deal(m, w, shard);
    vn_status status = VN_OK;
    for (int k = 0; k < m->shares && !status; k++) status = build_share(&m->share[k], c, w, err);
    return status;
}

static vn_program_options options_of(const share *p) {
    return (vn_program_options){
        .device = &p->device, .n_grads = p->n, .grads = p->made, .grad_offset = p->offset};
}

static void close_muon(void *self) {
    muon *m = self;
    if (!m) return;
    for (int k = 0; k < m->shares && m->share; k++) {
        share *p = &m->share[k];
        vn_program_close(&p->program);
        if (p->g) vn_graph_close(&p->g);
        vn_free(p->run);
        vn_free(p->made);
        vn_free(p->offset);
    }
    vn_thread_groups_close(&m->groups);
    vn_values_close(&m->momentum);
    vn_free(m->share);
    vn_free(m);
}

static vn_status open_programs(muon *m, const vn_device *d, vn_err *err) {
    vn_status status = VN_OK;
    if (m->shares > 1) status = vn_thread_groups_open(d->pool, m->shares, &m->groups, err);
    for (int k = 0; k < m->shares && !status; k++) {
        share *p = &m->share[k];
        if (m->groups) p->device.pool = vn_thread_groups_pool(m->groups, k);
        const vn_program_options options = options_of(p);
        status = vn_program_open(p->g, &options, &p->program, err);
    }
    return status;
}

static vn_status open_muon(const vn_choice *c, const vn_device *d, vn_weights *w,
                           const vn_shard *shard, const float *grads, void **self, vn_err *err) {
    muon *m = *self = vn_calloc(1, sizeof *m);
    if (!m) return vn_no_memory(err);
    vn_status status = build(m, c, d, w, shard, err);
    if (!status) status = vn_values_over(w, d, grads, &m->momentum, err);
    if (!status) status = open_programs(m, d, err);
    if (!status) return VN_OK;
    close_muon(m);
    *self = NULL;
    return status;
}

static vn_status measure(const vn_choice *c, const vn_device *d, vn_weights *w,
                         const vn_shard *shard, size_t *bytes, vn_err *err) {
    muon *m = vn_calloc(1, sizeof *m);
    *bytes = 0;
    if (!m) return vn_no_memory(err);
    vn_status status = build(m, c, d, w, shard, err);
    for (int k = 0; k < m->shares && !status; k++) {
        vn_footprint f = {0};
        const vn_program_options options = options_of(&m->share[k]);
        status = vn_footprint_open(m->share[k].g, &options, &f, err);
        *bytes += f.bytes;
        if (!status) vn_footprint_close(&f);
    }
    close_muon(m);
    return status;
}

/* ---- a step ---------------------------------------------------------------------------------- */

typedef struct stepping {
    const muon *m;
    const vn_update *u;
} stepping;

/* The step of a share's matrices. */
static void step_share(void *context, int64_t k, int thread) {
    const stepping *s = context;
    const vn_update *u = s->u;
    const share *p = &s->m->share[k];
    const double *value = u->choice->value;
    const vn_device_row *row = p->device.row;
    const vn_momentum momentum = {.mean = value[MOMENTUM], .grad_scale = u->grad_scale};
    (void)thread;
    for (int i = 0; i < p->n; i++)
        row->momentum(&p->device, &momentum, weight_of(u->weights, p->run[i])->count,
                      u->grads + p->offset[i], u->moment1 + p->run[i]->own);
    vn_program_run(p->program, &(vn_run){.values = s->m->momentum, .grads = u->grads});
    for (int i = 0; i < p->n; i++) {
        const vn_weight *w = weight_of(u->weights, p->run[i]);
        const vn_shape matrix = matrix_of(w);
        const double longer =
            (double)(matrix.dim[0] > matrix.dim[1] ? matrix.dim[0] : matrix.dim[1]);
        const vn_descent o = {.rate = u->rate * value[SCALE] * sqrt(longer),
                              .decay = u->rate * u->weight_decay,
                              .ema = u->average ? u->ema : 0};
        row->descend(&p->device, &o, w->count, u->live + w->offset, u->grads + w->offset,
                     vn_average_of(u, p->run[i]));
    }
}

static void update(void *self, const vn_update *u) {
    const muon *m = self;
    stepping s = {m, u};
    vn_update_by_adamw(u, ADAMW);
    if (m->groups)
        vn_thread_groups_run(m->groups, step_share, &s);
    else
        step_share(&s, 0, 0);
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
