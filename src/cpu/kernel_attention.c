/* kernel_attention.c - softmax(scale q k^T + bias) v for every head, and its gradient.
 *
 * Queries are taken VN_QUERIES at a time, and their scores held as [Tk, queries], in panels that
 * the products of kernel_gemm.h read as they are: vectors run along the queries, so that the
 * softmax needs no sums across a vector and a head may have any width. Nothing is as large as Tq x
 * Tk. Queries are scaled by scale / ln 2 when they are turned, which makes the softmax one of
 * powers of two; its division comes last, on what is smaller than the scores. The gradient computes
 * the scores anew; its tasks are whole heads of keys, because all queries of all heads that read
 * one add to the same dk and dv. Of causal attention, a panel takes the keys that its last query
 * sees; what the others of it do not see is masked. Products of bfloat16 (kernel_terms.h) read
 * copies: of keys and values, made for each block of queries, and of panels; the softmax is of
 * floats. */
#include "cpu/kernel_gemm.h"
#include "cpu/kernel_math.h"
#include "cpu/kernel_turn.h"

#define VN_QUERIES 64

#define VN_LOG2E  1.44269504f
#define VN_MASKED (-1e30f) /* what a bias is at least */
/* the score of a key after a causal query: below any that a bias makes */
#define VN_UNSEEN (-1e38f)

/* One head of one image: sizes, and its arrays, whose rows are `step` floats apart, those of keys
 * and values `key_step`. The bias of query i and key j is bias[i * bias_step + j]; NULL: none. */
typedef struct vn_head {
    int64_t tq, tk, whole_tk; /* tk: the keys that are looked at, of whole_tk */
    int64_t d, step, key_step, bias_step;
    float scale;
    bool causal;
    const float *bias;
    const float *q, *k, *v, *dy;
    float *out, *dq, *dk, *dv;
} vn_head;

/* ---- a thread's own memory ------------------------------------------------------------------- */

/* Of the block's queries a panel is taken at a time, as long as its scores are in the first cache;
 * only what is summed over all queries of the block waits for the last. p and ds lie panel by
 * panel: panel b begins at b * tk * VN_PANEL, its rows are as wide as the panel. */
typedef struct vn_scratch {
    /* [tk, VN_QUERIES] probabilities, still to be divided by their sum; gradient of the scores */
    float *p, *ds;
    float *q, *dy;          /* [d, VN_PANEL] the panel's queries, scaled, and dy, both turned */
    float *turned;          /* [d, VN_PANEL] out or dq, before it is turned back */
    float *along;           /* [VN_QUERIES, d] packed: q or dy of the block */
    float *inverse;         /* [VN_QUERIES] 1 / sum of p */
    const vn_term **k, **v; /* [tk] rows of k and v ... */
    float **dk, **dv;       /* ... of their gradients */
    float **row;            /* ... and of a panel of p or ds */
    /* What sum_rows sums: rows of k or v or, where terms come in pairs, [tk / 2] of two each. */
    const vn_term **summed;
    /* Of rounded products: k, v and summed themselves; a panel; [VN_QUERIES, d] scaled rows. */
    vn_term *copies, *panel;
    float *scaled;
} vn_scratch;

#if defined(VN_ROUNDED)
#define VN_COPIES 1
#else
#define VN_COPIES 0
#endif

/* Terms of all rows of k or v. */
static int64_t copied_terms(const vn_head *h) {
    return VN_COPIES * vn_paired(h->tk) * vn_paired(h->d);
}

static size_t panel_bytes(const vn_head *h) {
    const int64_t rows = vn_max_i64(vn_paired(h->tk), vn_paired(h->d));
    return VN_COPIES * vn_region((size_t)(rows * VN_PANEL), sizeof(vn_term));
}

/* Every array of floats is whole cache lines long. */
static size_t scratch_floats(const vn_head *h) {
    return (size_t)(2 * VN_QUERIES * h->tk + 3 * VN_PANEL * h->d) +
           vn_packed_floats(VN_QUERIES, h->d) + VN_QUERIES;
}

static size_t scratch_bytes(const vn_head *h) {
    return vn_region(scratch_floats(h), sizeof(float)) +
           vn_region(6 * (size_t)h->tk, sizeof(void *)) +
           vn_region(3 * (size_t)copied_terms(h), sizeof(vn_term)) + panel_bytes(h) +
           vn_region((size_t)(VN_COPIES * VN_QUERIES * h->d), sizeof(float));
}

static vn_scratch scratch_at(const vn_head *h, char *memory) {
    vn_scratch s = {.p = (float *)memory};
    s.ds = s.p + h->tk * VN_QUERIES;
    s.q = s.ds + h->tk * VN_QUERIES;
    s.dy = s.q + h->d * VN_PANEL;
    s.turned = s.dy + h->d * VN_PANEL;
    s.along = s.turned + h->d * VN_PANEL;
    s.inverse = s.along + vn_packed_floats(VN_QUERIES, h->d);
    memory += vn_region(scratch_floats(h), sizeof(float));
    s.k = (const vn_term **)(void *)memory;
    s.v = s.k + h->tk;
    s.dk = (float **)(s.v + h->tk);
    s.dv = s.dk + h->tk;
    s.row = s.dv + h->tk;
    s.summed = (const vn_term **)(s.row + h->tk);
    memory += vn_region(6 * (size_t)h->tk, sizeof(void *));
    s.copies = (vn_term *)(void *)memory;
    memory += vn_region(3 * (size_t)copied_terms(h), sizeof(vn_term));
    s.panel = (vn_term *)(void *)memory;
    s.scaled = (float *)(void *)(memory + panel_bytes(h));
    return s;
}

/* ---- what products read ---------------------------------------------------------------------- */

#if defined(VN_ROUNDED)

/* Points to the rows of k or v. */
static void find_rows(const vn_head *h, const float *from, vn_term *copies, const vn_term **row) {
    for (int64_t i = 0; i < h->tk; i++, copies += vn_paired(h->d)) {
        vn_terms_round(copies, from + i * h->key_step, h->d);
        row[i] = copies;
    }
}

/* The last row is its own pair, if it has none: it meets zeros there. */
static void find_summed(const vn_head *h, const vn_scratch *s, const float *from) {
    vn_term *to = s->copies + 2 * copied_terms(h);
    for (int64_t i = 0; i < h->tk; i += VN_PAIR, to += h->d * VN_PAIR) {
        const float *even = from + i * h->key_step, *odd = even + h->key_step;
        vn_terms_interleave(to, even, i + 1 < h->tk ? odd : even, h->d);
        s->summed[i / VN_PAIR] = to;
    }
}

/* A panel [count, width] as terms, in pairs of rows. */
static const vn_term *panel_terms(const vn_scratch *s, const float *x, int64_t count,
                                  int64_t width) {
    static const float none[VN_PANEL];
    vn_term *to = s->panel;
    for (int64_t i = 0; i < count; i += VN_PAIR, x += VN_PAIR * width, to += VN_PAIR * width)
        vn_terms_interleave(to, x, i + 1 < count ? x + width : none, width);
    return s->panel;
}

/* `count` floats as terms, in their place. */
static vn_term *rounded_in_place(float *x, int64_t count) {
    vn_terms_round((vn_term *)(void *)x, x, count);
    return (vn_term *)(void *)x;
}

#else

static void find_rows(const vn_head *h, const float *from, vn_term *copies, const vn_term **row) {
    (void)copies;
    for (int64_t i = 0; i < h->tk; i++) row[i] = from + i * h->key_step;
}

static void find_summed(const vn_head *h, const vn_scratch *s, const float *from) {
    find_rows(h, from, NULL, s->summed);
}

static const vn_term *panel_terms(const vn_scratch *s, const float *x, int64_t count,
                                  int64_t width) {
    (void)s, (void)count, (void)width;
    return x;
}

static vn_term *rounded_in_place(float *x, int64_t count) {
    (void)count;
    return x;
}

#endif

/* ---- steps on a panel of queries ------------------------------------------------------------- */

/* Queries of a panel, and the same in whole vectors. */
typedef struct vn_key_panel {
    int64_t count, width;
} vn_key_panel;

/* Panel `first` / VN_PANEL of a block of `count` queries. */
static vn_key_panel panel_at(int64_t count, int64_t first) {
    const int64_t columns = vn_min_i64(count - first, VN_PANEL);
    return (vn_key_panel){columns, vn_ceil_div(columns, VN_LANES) * VN_LANES};
}

/* to [d, width] = factor x^T, zeros beside it. */
static void turn_panel(const vn_head *h, const float *x, const vn_key_panel *panel, float factor,
                       float *to) {
    const int64_t all = h->d * panel->width;
    if (panel->count < panel->width) memset(to, 0, (size_t)all * sizeof(float));
    vn_turn(to, panel->width, x, h->step, panel->count, h->d);
    for (int64_t i = 0; i < all && factor != 1; i += VN_LANES)
        vn_store(to + i, factor * vn_load(to + i));
}

/* s[i][j] = row i . x_j, for the tk rows and the panel's queries x, turned. */
static void times_panel(const vn_head *h, const vn_scratch *m, const vn_term *const *rows,
                        const float *x, const vn_key_panel *panel, float *s) {
    const vn_reach reach = vn_reach_row(vn_paired(h->d));
    for (int64_t i = 0; i < h->tk; i++) m->row[i] = s + i * panel->width;
    vn_gemm_rows(h->tk, panel->width, h->d, &reach, rows, panel_terms(m, x, h->d, panel->width),
                 NULL, false, m->row);
}

/* out[j] = factor[j] sum_i s[i][j] row i, of the rows that find_summed has found; factor NULL:
 * 1. */
static void sum_rows(const vn_head *h, const vn_scratch *m, const float *s,
                     const vn_key_panel *panel, const float *factor, float *out) {
    const int64_t all = h->d * panel->width;
    memset(m->turned, 0, (size_t)all * sizeof(float));
    vn_gemm_outer_panel(h->d, panel->width, vn_ceil_div(h->tk, VN_PAIR), m->summed,
                        panel_terms(m, s, h->tk, panel->width), m->turned);
    for (int64_t i = 0; i < all && factor; i += panel->width)
        for (int64_t j = 0; j < panel->width; j += VN_LANES)
            vn_store(m->turned + i + j, vn_load(factor + j) * vn_load(m->turned + i + j));
    vn_turn(out, h->step, m->turned, panel->width, h->d, panel->count);
}

/* Scores to base 2 of a panel of nv vectors become their powers of two over that of the largest;
 * inverse = 1 / their sum. */
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

static void softmax_panel(const vn_head *h, const vn_key_panel *panel, float *p, float *inverse) {
    if (panel->width == VN_PANEL)
        powers(2, h->tk, p, inverse);
    else
        powers(1, h->tk, p, inverse);
}

/* ds holds dL/dp and becomes dL/d(q k^T) = scale p (ds - sum of its column's p ds), p being divided
 * by its sum here. */
VN_INLINE void powers_gradient(const int nv, const vn_head *h, const float *p, float *ds,
                               const float *inverse) {
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

static void softmax_panel_gradient(const vn_head *h, const vn_key_panel *panel, const float *p,
                                   float *ds, const float *inverse) {
    if (panel->width == VN_PANEL)
        powers_gradient(2, h, p, ds, inverse);
    else
        powers_gradient(1, h, p, ds, inverse);
}

/* Scores to base 2 of one key, for a panel: + the bias, which is the same for all queries if step
 * is 0. */
static void add_bias_row(const float *bias, int64_t step, const vn_key_panel *panel, float *p) {
    for (int64_t j = 0; j < panel->width; j += VN_LANES) {
        const vn_vec b = step ? vn_load(bias + j) : vn_set(*bias);
        vn_store(p + j, vn_fma(vn_vmax(vn_set(VN_MASKED), b), vn_set(VN_LOG2E), vn_load(p + j)));
    }
}

/* Rows of the bias are turned as many keys at a time as m->turned, which is free here, has room
 * for. */
static void add_bias(const vn_head *h, const vn_scratch *m, int64_t query,
                     const vn_key_panel *panel, float *p) {
    const float *bias = h->bias + query * h->bias_step;
    for (int64_t i = 0; i < h->tk && h->bias_step == 0; i++)
        add_bias_row(bias + i, 0, panel, p + i * panel->width);
    for (int64_t from = 0; from < h->tk && h->bias_step > 0; from += h->d) {
        const int64_t keys = vn_min_i64(h->d, h->tk - from);
        if (panel->count < panel->width)
            memset(m->turned, 0, (size_t)(keys * panel->width) * sizeof(float));
        vn_turn(m->turned, panel->width, bias + from, h->bias_step, panel->count, keys);
        for (int64_t i = 0; i < keys; i++)
            add_bias_row(m->turned + i * panel->width, 1, panel, p + (from + i) * panel->width);
    }
}

/* The keys that query `query` of a causal head sees. */
static int64_t keys_seen(const vn_head *h, int64_t query) {
    return h->causal ? vn_min_i64(query + 1 + h->whole_tk - h->tq, h->whole_tk) : h->whole_tk;
}

/* What the first queries of a causal panel do not see of the keys that its last one does. */
static void mask_future(const vn_head *h, int64_t query, const vn_key_panel *panel, float *p) {
    for (int64_t j = 0; j < panel->count; j++)
        for (int64_t i = keys_seen(h, query + j); i < h->tk; i++)
            p[i * panel->width + j] = VN_UNSEEN;
}

/* p and inverse of a panel of queries, the first of which is `query`; h->tk keys of it. */
static void scores(const vn_head *h, const vn_scratch *s, int64_t query, const vn_key_panel *panel,
                   float *p, float *inverse) {
    turn_panel(h, h->q + query * h->step, panel, h->scale * VN_LOG2E, s->q);
    times_panel(h, s, s->k, s->q, panel, p);
    if (h->bias) add_bias(h, s, query, panel, p);
    if (h->causal) mask_future(h, query, panel, p);
    softmax_panel(h, panel, p, inverse);
}

/* h with the keys alone that a panel sees. */
static vn_head of_panel(const vn_head *h, int64_t query, const vn_key_panel *panel) {
    vn_head part = *h;
    part.tk = keys_seen(h, query + panel->count - 1);
    return part;
}

/* ---- a block of `count` queries -------------------------------------------------------------- */

/* x's `count` rows, times their factors, are packed to m->along. */
static void pack_block(const vn_head *h, const vn_scratch *m, const float *x, int64_t count,
                       const float *factor) {
    int64_t step = h->step;
    if (VN_COPIES && factor) { /* before they are rounded */
        for (int64_t j = 0; j < count; j++)
            for (int64_t i = 0; i < h->d; i++)
                m->scaled[j * h->d + i] = factor[j] * x[j * h->step + i];
        x = m->scaled;
        step = h->d;
        factor = NULL;
    }
    for (int64_t p = 0; p < vn_panels(h->d); p++)
        vn_gemm_pack((vn_term *)(void *)m->along, count, h->d, p, 0, count, x, step, 1);
    for (int64_t p = 0; p < vn_panels(h->d) && factor; p++) {
        const int64_t width =
            vn_min_i64(vn_ceil_div(h->d - p * VN_PANEL, VN_LANES) * VN_LANES, VN_PANEL);
        float *at = m->along + p * VN_PANEL * count;
        for (int64_t j = 0; j < count; j++)
            for (int64_t i = 0; i < width; i += VN_LANES, at += VN_LANES)
                vn_store(at, factor[j] * vn_load(at));
    }
}

/* out[i] += sum_j s[i][j] factor[j] x_j; set at the first block. factor NULL: 1. s is not kept. */
static void add_block(const vn_head *h, const vn_scratch *m, float *s, const float *x,
                      int64_t count, const float *factor, bool first, float *const *out) {
    const vn_term **row = (const vn_term **)m->row,
                  *packed = (const vn_term *)(const void *)m->along;
    pack_block(h, m, x, count, factor);
    /* all whole panels in one sum, a segment each; what is left in another */
    const int64_t whole = count / VN_PANEL, rest = count % VN_PANEL,
                  width = vn_ceil_div(rest, VN_LANES) * VN_LANES;
    const vn_reach panels = {
        .segments = whole, .length = VN_PANEL, .jump = h->tk * VN_PANEL, .step = VN_PANEL};
    const vn_reach last = {.segments = 1, .length = vn_paired(rest), .first = whole * VN_PANEL};
    const vn_term *terms = rounded_in_place(s, h->tk * (whole * VN_PANEL + width));
    for (int64_t i = 0; i < h->tk; i++) row[i] = terms + i * VN_PANEL;
    if (whole > 0 || rest == 0)
        vn_gemm_rows(h->tk, h->d, count, &panels, row, packed, NULL, !first, out);
    for (int64_t i = 0; i < h->tk; i++) row[i] = terms + whole * h->tk * VN_PANEL + i * width;
    if (rest > 0)
        vn_gemm_rows(h->tk, h->d, count, &last, row, packed, NULL, !first || whole > 0, out);
}

static void block_forward(const vn_head *h, const vn_scratch *s, int64_t from, int64_t count) {
    for (int64_t i = 0; i < count; i += VN_PANEL) {
        const vn_key_panel panel = panel_at(count, i);
        const vn_head part = of_panel(h, from + i, &panel);
        scores(&part, s, from + i, &panel, s->p, s->inverse);
        sum_rows(&part, s, s->p, &panel, s->inverse, h->out + (from + i) * h->step);
    }
}

/* first: dk and dv are set, not added to. */
static void block_gradient(const vn_head *h, const vn_scratch *s, int64_t from, int64_t count,
                           bool first) {
    for (int64_t i = 0; i < count; i += VN_PANEL) {
        const vn_key_panel panel = panel_at(count, i);
        const vn_head part = of_panel(h, from + i, &panel);
        const int64_t at = (from + i) * h->step, unseen = (h->tk - part.tk) * panel.width;
        float *p = s->p + i * h->tk, *ds = s->ds + i * h->tk, *inverse = s->inverse + i;
        scores(&part, s, from + i, &panel, p, inverse);
        turn_panel(h, h->dy + at, &panel, 1, s->dy);
        times_panel(&part, s, s->v, s->dy, &panel, ds);
        softmax_panel_gradient(&part, &panel, p, ds, inverse);
        sum_rows(&part, s, ds, &panel, NULL, h->dq + at);
        memset(p + part.tk * panel.width, 0, (size_t)unseen * sizeof(float));
        memset(ds + part.tk * panel.width, 0, (size_t)unseen * sizeof(float));
    }
    add_block(h, s, s->p, h->dy + from * h->step, count, s->inverse, first, s->dv);
    add_block(h, s, s->ds, h->q + from * h->step, count, NULL, first, s->dk);
}

/* first: of the heads that read these keys. */
static void head_gradient(const vn_head *h, const vn_scratch *s, bool first) {
    find_rows(h, h->k, s->copies, s->k);
    find_rows(h, h->v, s->copies + copied_terms(h), s->v);
    find_summed(h, s, h->k);
    for (int64_t i = 0; i < h->tk; i++) {
        s->dk[i] = h->dk + i * h->key_step;
        s->dv[i] = h->dv + i * h->key_step;
    }
    for (int64_t from = 0; from == 0 || from < h->tq; from += VN_QUERIES)
        block_gradient(h, s, from, vn_min_i64(VN_QUERIES, h->tq - from), first && from == 0);
}

/* ---- ops ------------------------------------------------------------------------------------- */

static int key_heads(const vn_node *n) {
    return n->attr.attention.key_heads ? n->attr.attention.key_heads : n->attr.attention.heads;
}

/* What all heads share. */
static vn_head describe(const vn_node *n) {
    const vn_shape *q = &n->in[0]->shape, *k = &n->in[1]->shape;
    const int heads = n->attr.attention.heads;
    return (vn_head){.tq = q->dim[1],
                     .tk = k->dim[1],
                     .whole_tk = k->dim[1],
                     .d = q->dim[2] / heads,
                     .step = q->dim[2],
                     .key_step = k->dim[2],
                     .scale = (float)n->attr.attention.scale,
                     .causal = n->attr.attention.causal};
}

static int64_t head_count(const vn_node *n) {
    return n->in[0]->shape.dim[0] * n->attr.attention.heads;
}

/* The bias of image i's head, of an input of the node; axes of length 1 are shared. */
static void find_bias(const vn_kernel_args *a, int input, int64_t image, int64_t head, vn_head *h) {
    if (a->node->inputs <= input) return;
    const int64_t *b = a->node->in[input]->shape.dim;
    const int64_t row = (b[0] > 1 ? image * b[1] : 0) + (b[1] > 1 ? head : 0);
    h->bias = (const float *)a->in[input] + row * b[2] * b[3];
    h->bias_step = b[2] > 1 ? b[3] : 0;
}

/* Head i of all heads of all images: its inputs, and the offsets of its arrays of queries and of
 * keys. bias: the input that is one. */
static vn_head head_at(const vn_kernel_args *a, const vn_head *shared, int64_t i, int bias,
                       int64_t *query, int64_t *key) {
    const int64_t heads = a->node->attr.attention.heads, image = i / heads, head = i % heads;
    vn_head h = *shared;
    *query = image * h.tq * h.step + head * h.d;
    *key = image * h.tk * h.key_step + head * key_heads(a->node) / heads * h.d;
    h.q = (const float *)a->in[0] + *query;
    h.k = (const float *)a->in[1] + *key;
    h.v = (const float *)a->in[2] + *key;
    find_bias(a, bias, image, head, &h);
    return h;
}

static vn_thread_pool *attention_pool(const vn_kernel_args *a, const vn_head *h, int products) {
    const double scores = (double)head_count(a->node) * (double)h->tq * (double)h->tk;
    return vn_share(a->pool, scores * (products * (double)h->d + 16) / 25);
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
    vn_head h = head_at(t->a, &t->shared, i / t->blocks, 3, &query, &key);
    h.out = (float *)t->a->out + query;
    const vn_scratch s = scratch_of(t, &h, thread);
    const int64_t from = i % t->blocks * VN_QUERIES, count = vn_min_i64(VN_QUERIES, h.tq - from);
    find_rows(&h, h.k, s.copies, s.k);
    find_summed(&h, &s, h.v);
    block_forward(&h, &s, from, count);
}

void VN_K(attention)(const vn_kernel_args *a) {
    vn_attending t = {.a = a, .shared = describe(a->node)};
    t.blocks = vn_ceil_div(t.shared.tq, VN_QUERIES);
    if (t.shared.tk == 0)
        memset(a->out, 0, (size_t)vn_shape_count(&a->node->shape) * sizeof(float));
    else
        vn_thread_pool_run(attention_pool(a, &t.shared, 2), head_count(a->node) * t.blocks,
                           forward_task, &t);
}

size_t VN_W(attention_grad)(const vn_node *n, int threads) {
    return VN_W(attention)(n, threads);
}

/* Head i of the keys, with all heads of queries that read it. */
static void gradient_task(void *context, int64_t i, int thread) {
    const vn_attending *t = context;
    const vn_kernel_args *a = t->a;
    const int64_t queries = vn_shape_count(&a->node->in[0]->shape),
                  keys = vn_shape_count(&a->node->in[1]->shape);
    const int64_t readers = a->node->attr.attention.heads / key_heads(a->node);
    for (int64_t r = 0; r < readers; r++) {
        int64_t query, key;
        vn_head h = head_at(a, &t->shared, i * readers + r, 4, &query, &key);
        h.dy = (const float *)a->in[3] + query;
        h.dq = (float *)a->out + query;
        h.dk = (float *)a->out + queries + key;
        h.dv = (float *)a->out + queries + keys + key;
        const vn_scratch s = scratch_of(t, &h, thread);
        head_gradient(&h, &s, r == 0);
    }
}

void VN_K(attention_grad)(const vn_kernel_args *a) {
    vn_attending t = {.a = a, .shared = describe(a->node)};
    if (t.shared.tk == 0)
        memset(a->out, 0, (size_t)vn_shape_count(&a->node->in[0]->shape) * sizeof(float));
    else
        vn_thread_pool_run(attention_pool(a, &t.shared, 5),
                           a->node->in[0]->shape.dim[0] * key_heads(a->node), gradient_task, &t);
}
