/* kernel_attention.c - softmax(scale q k^T) v for every head, and its gradient.
 *
 * Queries are taken VN_QUERIES at a time, and their scores held as [Tk, queries], in panels that the products of kernel_gemm.h read as
 * they are: vectors run along the queries, so that the softmax needs no sums across a vector and a head may have any width. Nothing
 * is as large as Tq x Tk. Queries are scaled by scale / ln 2 when they are turned, which makes the softmax one of powers of two; its
 * division comes last, on what is smaller than the scores. The gradient computes the scores anew; its tasks are whole heads, because
 * all queries of a head add to the same dk and dv. */
#include "cpu/kernel_gemm.h"
#include "cpu/kernel_math.h"
#include "cpu/kernel_turn.h"

#define VN_QUERIES 64

/* One head of one image: sizes, and its arrays, whose rows are `step` floats apart. */
typedef struct vn_head {
    int64_t tq, tk, d, step;
    float scale;
    const float *q, *k, *v, *dy;
    float *out, *dq, *dk, *dv;
} vn_head;

/* ---- a thread's own memory -------------------------------------------------------------------------- */

/* Of the block's queries a panel is taken at a time, as long as its scores are in the first cache; only what is summed over all queries
 * of the block waits for the last. p and ds lie panel by panel: panel b begins at b * tk * VN_PANEL, its rows are as wide as the panel. */
typedef struct vn_scratch {
    float *p, *ds;        /* [tk, VN_QUERIES] probabilities, still to be divided by their sum; gradient of the scores */
    float *q, *dy;        /* [d, VN_PANEL] the panel's queries, scaled, and dy, both turned */
    float *turned;        /* [d, VN_PANEL] out or dq, before it is turned back */
    float *along;         /* [VN_QUERIES, d] packed: q or dy of the block */
    float *inverse;       /* [VN_QUERIES] 1 / sum of p */
    const float **k, **v; /* [tk] rows of k and v ... */
    float **dk, **dv;     /* ... of their gradients */
    float **row;          /* ... and of a panel of p or ds */
} vn_scratch;

/* Every array of floats is whole cache lines long. */
static size_t scratch_floats(const vn_head *h) {
    return (size_t)(2 * VN_QUERIES * h->tk + 3 * VN_PANEL * h->d) + vn_packed_floats(VN_QUERIES, h->d) + VN_QUERIES;
}

static size_t scratch_bytes(const vn_head *h) {
    return vn_region(scratch_floats(h), sizeof(float)) + vn_region(5 * (size_t)h->tk, sizeof(void *));
}

static vn_scratch scratch_at(const vn_head *h, char *memory) {
    vn_scratch s = {.p = (float *)memory};
    s.ds = s.p + h->tk * VN_QUERIES;
    s.q = s.ds + h->tk * VN_QUERIES;
    s.dy = s.q + h->d * VN_PANEL;
    s.turned = s.dy + h->d * VN_PANEL;
    s.along = s.turned + h->d * VN_PANEL;
    s.inverse = s.along + vn_packed_floats(VN_QUERIES, h->d);
    s.k = (const float **)(memory + vn_region(scratch_floats(h), sizeof(float)));
    s.v = s.k + h->tk;
    s.dk = (float **)(s.v + h->tk);
    s.dv = s.dk + h->tk;
    s.row = s.dv + h->tk;
    for (int64_t i = 0; i < h->tk; i++) {
        s.k[i] = h->k + i * h->step;
        s.v[i] = h->v + i * h->step;
    }
    return s;
}

/* ---- steps on a panel of queries ---------------------------------------------------------------------- */

/* Queries of a panel, and the same in whole vectors. */
typedef struct vn_panel {
    int64_t count, width;
} vn_panel;

/* Panel `first` / VN_PANEL of a block of `count` queries. */
static vn_panel panel_at(int64_t count, int64_t first) {
    const int64_t columns = vn_min_i64(count - first, VN_PANEL);
    return (vn_panel){columns, vn_ceil_div(columns, VN_LANES) * VN_LANES};
}

/* to [d, width] = factor x^T, zeros beside it. */
static void turn_panel(const vn_head *h, const float *x, const vn_panel *panel, float factor, float *to) {
    const int64_t all = h->d * panel->width;
    if (panel->count < panel->width) memset(to, 0, (size_t)all * sizeof(float));
    vn_turn(to, panel->width, x, h->step, panel->count, h->d);
    for (int64_t i = 0; i < all && factor != 1; i += VN_LANES) vn_store(to + i, factor * vn_load(to + i));
}

/* s[i][j] = row i . x_j, for the tk rows and the panel's queries x, turned. */
static void times_panel(const vn_head *h, const vn_scratch *m, const float *const *rows, const float *x,
                        const vn_panel *panel, float *s) {
    const vn_reach reach = vn_reach_row(h->d);
    for (int64_t i = 0; i < h->tk; i++) m->row[i] = s + i * panel->width;
    vn_gemm_rows(h->tk, panel->width, h->d, &reach, rows, x, NULL, false, m->row);
}

/* out[j] = factor[j] sum_i s[i][j] row i; factor NULL: 1. */
static void sum_rows(const vn_head *h, const vn_scratch *m, const float *const *rows, const float *s,
                     const vn_panel *panel, const float *factor, float *out) {
    const int64_t all = h->d * panel->width;
    memset(m->turned, 0, (size_t)all * sizeof(float));
    vn_gemm_outer_panel(h->d, panel->width, h->tk, rows, s, m->turned);
    for (int64_t i = 0; i < all && factor; i += panel->width)
        for (int64_t j = 0; j < panel->width; j += VN_LANES)
            vn_store(m->turned + i + j, vn_load(factor + j) * vn_load(m->turned + i + j));
    vn_turn(out, h->step, m->turned, panel->width, h->d, panel->count);
}

/* Scores to base 2 of a panel of nv vectors become their powers of two over that of the largest; inverse = 1 / their sum. */
VN_INLINE void powers(const int nv, int64_t tk, float *p, float *inverse) {
    vn_vec top[2], sum[2] = {{0}};
    float *const end = p + tk * nv * VN_LANES;
    for (int j = 0; j < nv; j++) top[j] = vn_load(p + j * VN_LANES);
    for (const float *at = p; at < end; at += nv * VN_LANES)
        for (int j = 0; j < nv; j++) top[j] = vn_vmax(top[j], vn_load(at + j * VN_LANES));
    for (float *at = p; at < end; at += nv * VN_LANES)
        for (int j = 0; j < nv; j++) {
            const vn_vec e = vn_vexp2_down(vn_load(at + j * VN_LANES) - top[j]);
            sum[j] += e;
            vn_store(at + j * VN_LANES, e);
        }
    for (int j = 0; j < nv; j++) vn_store(inverse + j * VN_LANES, 1.0f / sum[j]);
}

static void softmax_panel(const vn_head *h, const vn_panel *panel, float *p, float *inverse) {
    if (panel->width == VN_PANEL)
        powers(2, h->tk, p, inverse);
    else
        powers(1, h->tk, p, inverse);
}

/* ds holds dL/dp and becomes dL/d(q k^T) = scale p (ds - sum of its column's p ds), p being divided by its sum here. */
VN_INLINE void powers_gradient(const int nv, const vn_head *h, const float *p, float *ds, const float *inverse) {
    vn_vec sum[2] = {{0}}, factor[2];
    const int64_t step = nv * VN_LANES, all = h->tk * step;
    for (int64_t i = 0; i < all; i += step)
        for (int j = 0; j < nv; j++)
            sum[j] = vn_fma(vn_load(p + i + j * VN_LANES), vn_load(ds + i + j * VN_LANES), sum[j]);
    for (int j = 0; j < nv; j++) {
        const vn_vec share = vn_load(inverse + j * VN_LANES);
        sum[j] *= share;
        factor[j] = h->scale * share;
    }
    for (int64_t i = 0; i < all; i += step)
        for (int j = 0; j < nv; j++) {
            float *at = ds + i + j * VN_LANES;
            vn_store(at, factor[j] * vn_load(p + i + j * VN_LANES) * (vn_load(at) - sum[j]));
        }
}

static void softmax_panel_gradient(const vn_head *h, const vn_panel *panel, const float *p, float *ds,
                                   const float *inverse) {
    if (panel->width == VN_PANEL)
        powers_gradient(2, h, p, ds, inverse);
    else
        powers_gradient(1, h, p, ds, inverse);
}

/* p and inverse of a panel of queries. */
static void scores(const vn_head *h, const vn_scratch *s, const float *q, const vn_panel *panel, float *p,
                   float *inverse) {
    turn_panel(h, q, panel, h->scale * 1.44269504f, s->q);
    times_panel(h, s, s->k, s->q, panel, p);
    softmax_panel(h, panel, p, inverse);
}

/* ---- a block of `count` queries ------------------------------------------------------------------------ */

/* out[i] += sum_j s[i][j] factor[j] x_j; set at the first block. factor NULL: 1. */
static void add_block(const vn_head *h, const vn_scratch *m, const float *s, const float *x, int64_t count,
                      const float *factor, bool first, float *const *out) {
    for (int64_t p = 0; p < vn_panels(h->d); p++) vn_gemm_pack(m->along, count, h->d, p, 0, count, x, h->step, 1);
    for (int64_t p = 0; p < vn_panels(h->d) && factor; p++) {
        const int64_t width = vn_min_i64(vn_ceil_div(h->d - p * VN_PANEL, VN_LANES) * VN_LANES, VN_PANEL);
        float *at = m->along + p * VN_PANEL * count;
        for (int64_t j = 0; j < count; j++)
            for (int64_t i = 0; i < width; i += VN_LANES, at += VN_LANES) vn_store(at, factor[j] * vn_load(at));
    }
    /* all whole panels in one sum, a segment each; what is left in another */
    const int64_t whole = count / VN_PANEL, rest = count % VN_PANEL, width = vn_ceil_div(rest, VN_LANES) * VN_LANES;
    const vn_reach panels = {.segments = whole, .length = VN_PANEL, .jump = h->tk * VN_PANEL, .step = VN_PANEL};
    const vn_reach last = {.segments = 1, .length = rest, .first = whole * VN_PANEL};
    for (int64_t i = 0; i < h->tk; i++) m->row[i] = (float *)s + i * VN_PANEL;
    if (whole > 0 || rest == 0)
        vn_gemm_rows(h->tk, h->d, count, &panels, (const float *const *)m->row, m->along, NULL, !first, out);
    for (int64_t i = 0; i < h->tk; i++) m->row[i] = (float *)s + whole * h->tk * VN_PANEL + i * width;
    if (rest > 0)
        vn_gemm_rows(h->tk, h->d, count, &last, (const float *const *)m->row, m->along, NULL, !first || whole > 0, out);
}

static void block_forward(const vn_head *h, const vn_scratch *s, int64_t from, int64_t count) {
    for (int64_t i = 0; i < count; i += VN_PANEL) {
        const vn_panel panel = panel_at(count, i);
        const int64_t at = (from + i) * h->step;
        scores(h, s, h->q + at, &panel, s->p, s->inverse);
        sum_rows(h, s, s->v, s->p, &panel, s->inverse, h->out + at);
    }
}

static void block_gradient(const vn_head *h, const vn_scratch *s, int64_t from, int64_t count) {
    for (int64_t i = 0; i < count; i += VN_PANEL) {
        const vn_panel panel = panel_at(count, i);
        const int64_t at = (from + i) * h->step;
        float *p = s->p + i * h->tk, *ds = s->ds + i * h->tk, *inverse = s->inverse + i;
        scores(h, s, h->q + at, &panel, p, inverse);
        turn_panel(h, h->dy + at, &panel, 1, s->dy);
        times_panel(h, s, s->v, s->dy, &panel, ds);
        softmax_panel_gradient(h, &panel, p, ds, inverse);
        sum_rows(h, s, s->k, ds, &panel, NULL, h->dq + at);
    }
    add_block(h, s, s->p, h->dy + from * h->step, count, s->inverse, from == 0, s->dv);
    add_block(h, s, s->ds, h->q + from * h->step, count, NULL, from == 0, s->dk);
}

static void head_gradient(const vn_head *h, const vn_scratch *s) {
    for (int64_t i = 0; i < h->tk; i++) {
        s->dk[i] = h->dk + i * h->step;
        s->dv[i] = h->dv + i * h->step;
    }
    for (int64_t from = 0; from == 0 || from < h->tq; from += VN_QUERIES)
        block_gradient(h, s, from, vn_min_i64(VN_QUERIES, h->tq - from));
}

/* ---- ops -------------------------------------------------------------------------------------------- */

/* What all heads share. */
static vn_head describe(const vn_node *n) {
    const vn_shape *q = &n->in[0]->shape, *k = &n->in[1]->shape;
    const int heads = n->attr.attention.heads;
    return (vn_head){.tq = q->dim[1],
                     .tk = k->dim[1],
                     .d = q->dim[2] / heads,
                     .step = q->dim[2],
                     .scale = (float)n->attr.attention.scale};
}

static int64_t head_count(const vn_node *n) {
    return n->in[0]->shape.dim[0] * n->attr.attention.heads;
}

/* Head i of all heads of all images: its inputs, and the offsets of its arrays of queries and of keys. */
static vn_head head_at(const vn_kernel_args *a, const vn_head *shared, int64_t i, int64_t *query, int64_t *key) {
    const int heads = a->node->attr.attention.heads;
    vn_head h = *shared;
    *query = i / heads * h.tq * h.step + i % heads * h.d;
    *key = i / heads * h.tk * h.step + i % heads * h.d;
    h.q = (const float *)a->in[0] + *query;
    h.k = (const float *)a->in[1] + *key;
    h.v = (const float *)a->in[2] + *key;
    return h;
}

static vn_crew *attention_crew(const vn_kernel_args *a, const vn_head *h, int products) {
    const double scores = (double)head_count(a->node) * (double)h->tq * (double)h->tk;
    return vn_share(a->crew, scores * (products * (double)h->d + 16) / 25);
}

/* What a task knows. */
typedef struct vn_attending {
    const vn_kernel_args *a;
    vn_head shared;
    int64_t blocks; /* of a head's queries */
} vn_attending;

static vn_scratch scratch_of(const vn_attending *t, const vn_head *h, int thread) {
    return scratch_at(h, (char *)t->a->work + (size_t)thread * scratch_bytes(h));
}

size_t VN_W(attention)(const vn_node *n, int threads) {
    const vn_head h = describe(n);
    return (size_t)threads * scratch_bytes(&h);
}

static void forward_task(void *context, int64_t i, int thread) {
    const vn_attending *t = context;
    int64_t query, key;
    vn_head h = head_at(t->a, &t->shared, i / t->blocks, &query, &key);
    h.out = (float *)t->a->out + query;
    const vn_scratch s = scratch_of(t, &h, thread);
    const int64_t from = i % t->blocks * VN_QUERIES, count = vn_min_i64(VN_QUERIES, h.tq - from);
    block_forward(&h, &s, from, count);
}

void VN_K(attention)(const vn_kernel_args *a) {
    vn_attending t = {.a = a, .shared = describe(a->node)};
    t.blocks = vn_ceil_div(t.shared.tq, VN_QUERIES);
    if (t.shared.tk == 0)
        memset(a->out, 0, (size_t)vn_shape_count(&a->node->shape) * sizeof(float));
    else
        vn_crew_run(attention_crew(a, &t.shared, 2), head_count(a->node) * t.blocks, forward_task, &t);
}

size_t VN_W(attention_grad)(const vn_node *n, int threads) {
    return VN_W(attention)(n, threads);
}

static void gradient_task(void *context, int64_t i, int thread) {
    const vn_attending *t = context;
    const vn_kernel_args *a = t->a;
    const int64_t queries = vn_shape_count(&a->node->in[0]->shape), keys = vn_shape_count(&a->node->in[1]->shape);
    int64_t query, key;
    vn_head h = head_at(a, &t->shared, i, &query, &key);
    h.dy = (const float *)a->in[3] + query;
    h.dq = (float *)a->out + query;
    h.dk = (float *)a->out + queries + key;
    h.dv = (float *)a->out + queries + keys + key;
    const vn_scratch s = scratch_of(t, &h, thread);
    head_gradient(&h, &s);
}

void VN_K(attention_grad)(const vn_kernel_args *a) {
    vn_attending t = {.a = a, .shared = describe(a->node)};
    if (t.shared.tk == 0)
        memset(a->out, 0, (size_t)vn_shape_count(&a->node->in[0]->shape) * sizeof(float));
    else
        vn_crew_run(attention_crew(a, &t.shared, 5), head_count(a->node), gradient_task, &t);
}
