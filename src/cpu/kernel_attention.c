/* kernel_attention.c - softmax(scale q k^T) v for every head, and its gradient.
 *
 * A task takes VN_QUERIES queries of one head and holds their scores as [Tk, VN_QUERIES]: vectors run along the queries, so that
 * the softmax needs no sums across a vector and a head may have any width. The gradient computes the scores anew; its tasks are
 * whole heads, because all queries of a head add to the same dk and dv. */
#include <omp.h>

#include "cpu/kernel_gemm.h"
#include "cpu/kernel_math.h"

#define VN_QUERIES 32

/* One head of one image: sizes, and its arrays, whose rows are `step` floats apart. */
typedef struct vn_head {
    int64_t tq, tk, d, step;
    float scale;
    const float *q, *k, *v, *dy;
    float *out, *dq, *dk, *dv;
} vn_head;

/* ---- a thread's own memory -------------------------------------------------------------------------- */

typedef struct vn_scratch {
    float *p, *ds;           /* [tk, VN_QUERIES] probabilities; gradient of the scores */
    float *across;           /* [d, VN_QUERIES] packed: q or dy of the block, turned */
    float *turned;           /* [d, VN_QUERIES] out or dq of the block, before it is turned back */
    float *along;            /* [VN_QUERIES, d] packed: q or dy of the block */
    float *outer;            /* for vn_gemm_outer */
    const float **k, **v;    /* [tk] rows of k and v ... */
    float **dk, **dv;        /* ... of their gradients */
    float **p_row, **ds_row; /* ... of p and ds */
} vn_scratch;

/* Every array of floats is whole cache lines long. */
static size_t scratch_floats(const vn_head *h) {
    return (size_t)(2 * VN_QUERIES * (h->tk + h->d)) + vn_packed_floats(VN_QUERIES, h->d) + VN_OUTER_FLOATS;
}

static size_t scratch_bytes(const vn_head *h) {
    return vn_region(scratch_floats(h), sizeof(float)) + vn_region(6 * (size_t)h->tk, sizeof(void *));
}

static vn_scratch scratch_at(const vn_head *h, char *memory) {
    vn_scratch s = {.p = (float *)memory};
    s.ds = s.p + h->tk * VN_QUERIES;
    s.across = s.ds + h->tk * VN_QUERIES;
    s.turned = s.across + h->d * VN_QUERIES;
    s.along = s.turned + h->d * VN_QUERIES;
    s.outer = s.along + vn_packed_floats(VN_QUERIES, h->d);
    s.k = (const float **)(memory + vn_region(scratch_floats(h), sizeof(float)));
    s.v = s.k + h->tk;
    s.dk = (float **)(s.v + h->tk);
    s.dv = s.dk + h->tk;
    s.p_row = s.dv + h->tk;
    s.ds_row = s.p_row + h->tk;
    for (int64_t i = 0; i < h->tk; i++) {
        s.k[i] = h->k + i * h->step;
        s.v[i] = h->v + i * h->step;
        s.p_row[i] = s.p + i * VN_QUERIES;
        s.ds_row[i] = s.ds + i * VN_QUERIES;
    }
    return s;
}

/* ---- steps on a block of `count` queries ------------------------------------------------------------ */

/* Columns of the block in whole vectors. */
static int64_t block_width(int64_t count) {
    return vn_ceil_div(count, VN_LANES) * VN_LANES;
}

/* s[i][j] = row i . x_j, for the tk rows and the block's queries x. */
static void times_queries(const vn_head *h, const float *const *rows, const float *x, int64_t count, float *across,
                          float *const *s) {
    const vn_reach reach = vn_reach_row(h->d);
    for (int64_t p = 0; p < vn_panels(count); p++) vn_gemm_pack(across, h->d, count, p, 0, h->d, x, 1, h->step);
    vn_gemm_rows(h->tk, block_width(count), h->d, &reach, rows, across, NULL, false, s);
}

/* out[j] = sum_i s[i][j] row i */
static void sum_rows(const vn_head *h, const vn_scratch *m, const float *const *rows, float *const *s, int64_t count,
                     float *out) {
    const vn_reach reach = vn_reach_row(h->d);
    memset(m->turned, 0, (size_t)(h->d * VN_QUERIES) * sizeof(float));
    vn_gemm_outer(&reach, block_width(count), h->tk, rows, (const float *const *)s, 0, m->turned, VN_QUERIES, m->outer);
    for (int64_t j = 0; j < count; j++)
        for (int64_t i = 0; i < h->d; i++) out[j * h->step + i] = m->turned[i * VN_QUERIES + j];
}

/* out[i] += sum_j s[i][j] x_j; set at the first block. */
static void add_queries(const vn_head *h, float *const *s, const float *x, int64_t count, bool first, float *along,
                        float *const *out) {
    const vn_reach reach = vn_reach_row(count);
    for (int64_t p = 0; p < vn_panels(h->d); p++) vn_gemm_pack(along, count, h->d, p, 0, count, x, h->step, 1);
    vn_gemm_rows(h->tk, h->d, count, &reach, (const float *const *)s, along, NULL, !first, out);
}

/* Columns of p become softmax(scale p). */
static void softmax_columns(const vn_head *h, float *p, int64_t count) {
    const vn_vec scale = vn_set(h->scale);
    for (float *column = p; column < p + block_width(count); column += VN_LANES) {
        vn_vec top = scale * vn_load(column), sum = vn_set(0);
        for (int64_t i = 1; i < h->tk; i++) top = vn_vmax(top, scale * vn_load(column + i * VN_QUERIES));
        for (int64_t i = 0; i < h->tk; i++) {
            float *at = column + i * VN_QUERIES;
            const vn_vec e = vn_vexp(scale * vn_load(at) - top);
            sum += e;
            vn_store(at, e);
        }
        const vn_vec share = 1.0f / sum;
        for (int64_t i = 0; i < h->tk; i++) vn_store(column + i * VN_QUERIES, share * vn_load(column + i * VN_QUERIES));
    }
}

/* ds holds dL/dp and becomes dL/d(q k^T) = scale p (ds - sum of its column's p ds). */
static void softmax_columns_gradient(const vn_head *h, const float *p, float *ds, int64_t count) {
    for (int64_t j = 0; j < block_width(count); j += VN_LANES) {
        vn_vec sum = vn_set(0);
        for (int64_t i = j; i < h->tk * VN_QUERIES; i += VN_QUERIES) sum = vn_fma(vn_load(p + i), vn_load(ds + i), sum);
        for (int64_t i = j; i < h->tk * VN_QUERIES; i += VN_QUERIES)
            vn_store(ds + i, h->scale * vn_load(p + i) * (vn_load(ds + i) - sum));
    }
}

/* ---- tasks ------------------------------------------------------------------------------------------ */

static void head_forward(const vn_head *h, const vn_scratch *s, int64_t from, int64_t count) {
    times_queries(h, s->k, h->q + from * h->step, count, s->across, s->p_row);
    softmax_columns(h, s->p, count);
    sum_rows(h, s, s->v, s->p_row, count, h->out + from * h->step);
}

static void head_gradient(const vn_head *h, const vn_scratch *s) {
    for (int64_t i = 0; i < h->tk; i++) {
        s->dk[i] = h->dk + i * h->step;
        s->dv[i] = h->dv + i * h->step;
    }
    for (int64_t from = 0; from == 0 || from < h->tq; from += VN_QUERIES) {
        const int64_t count = vn_min_i64(VN_QUERIES, h->tq - from), at = from * h->step;
        times_queries(h, s->k, h->q + at, count, s->across, s->p_row);
        softmax_columns(h, s->p, count);
        add_queries(h, s->p_row, h->dy + at, count, from == 0, s->along, s->dv);
        times_queries(h, s->v, h->dy + at, count, s->across, s->ds_row);
        softmax_columns_gradient(h, s->p, s->ds, count);
        add_queries(h, s->ds_row, h->q + at, count, from == 0, s->along, s->dk);
        sum_rows(h, s, s->k, s->ds_row, count, h->dq + at);
    }
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

static int attention_team(const vn_kernel_args *a, const vn_head *h, int products) {
    const double scores = (double)head_count(a->node) * (double)h->tq * (double)h->tk;
    return vn_threads_for(a->threads, scores * (products * (double)h->d + 16) / 25);
}

size_t VN_W(attention)(const vn_node *n, int threads) {
    const vn_head h = describe(n);
    return (size_t)threads * scratch_bytes(&h);
}

void VN_K(attention)(const vn_kernel_args *a) {
    const vn_head shared = describe(a->node);
    const int64_t blocks = vn_ceil_div(shared.tq, VN_QUERIES), tasks = head_count(a->node) * blocks;
    if (shared.tk == 0) {
        memset(a->out, 0, (size_t)vn_shape_count(&a->node->shape) * sizeof(float));
        return;
    }
#pragma omp parallel for schedule(dynamic) num_threads(attention_team(a, &shared, 2))
    for (int64_t i = 0; i < tasks; i++) {
        int64_t query, key;
        vn_head h = head_at(a, &shared, i / blocks, &query, &key);
        h.out = (float *)a->out + query;
        const vn_scratch s = scratch_at(&h, (char *)a->work + (size_t)omp_get_thread_num() * scratch_bytes(&h));
        const int64_t from = i % blocks * VN_QUERIES;
        head_forward(&h, &s, from, vn_min_i64(VN_QUERIES, h.tq - from));
    }
}

size_t VN_W(attention_grad)(const vn_node *n, int threads) {
    return VN_W(attention)(n, threads);
}

void VN_K(attention_grad)(const vn_kernel_args *a) {
    const vn_head shared = describe(a->node);
    const int64_t queries = vn_shape_count(&a->node->in[0]->shape), keys = vn_shape_count(&a->node->in[1]->shape);
    if (shared.tk == 0) {
        memset(a->out, 0, (size_t)queries * sizeof(float));
        return;
    }
#pragma omp parallel for schedule(dynamic) num_threads(attention_team(a, &shared, 5))
    for (int64_t i = 0; i < head_count(a->node); i++) {
        int64_t query, key;
        vn_head h = head_at(a, &shared, i, &query, &key);
        h.dy = (const float *)a->in[3] + query;
        h.dq = (float *)a->out + query;
        h.dk = (float *)a->out + queries + key;
        h.dv = (float *)a->out + queries + keys + key;
        const vn_scratch s = scratch_at(&h, (char *)a->work + (size_t)omp_get_thread_num() * scratch_bytes(&h));
        head_gradient(&h, &s);
    }
}
