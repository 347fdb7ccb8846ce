/* kernel_norm_grad.c - gradients of group and layer norms, with the affine map and SiLU that follow
 * them.
 *
 *     xhat = (x - mean) r,  z = xhat gamma + beta,  y = act(z),  g = dy act'(z)
 *     dgamma = sum g xhat,  dbeta = sum g                         over samples and rows
 *     dx = r (h - mean(h) - xhat mean(h xhat)),  h = g gamma      means over the group
 *
 * dx takes two passes over a sample: the first sums, the second finishes; what it reads is still in
 * the cache. With SiLU, h is dear and the first pass leaves it in dx for the second, unless dx
 * shares x's memory. Sums are as in kernel_sums.h: float for a short run of rows, double beyond. */
#include "cpu/kernel_norm.h"
#include "cpu/kernel_sums.h"

/* What both gradients read. */
typedef struct grads {
    vn_norm_view view;
    const float *x, *stats, *dy, *gamma, *beta; /* gamma, beta: NULL without affine map */
    bool silu;
    float *dx;
    bool keep; /* dx holds h between the passes */
} grads;

static grads grads_of(const vn_kernel_args *a) {
    bool affine = a->node->inputs > 3, silu = a->node->attr.norm.act == VN_FN_SILU;
    return (grads){.view = vn_norm_view_of(a->node),
                   .x = a->in[0],
                   .stats = a->in[1],
                   .dy = a->in[2],
                   .gamma = affine ? a->in[3] : NULL,
                   .beta = affine ? a->in[4] : NULL,
                   .silu = silu,
                   .dx = a->out,
                   .keep = silu && a->out != a->in[0]};
}

/* The same with gamma and beta at a sample's row. */
static grads grads_at(const grads *g, int64_t sample) {
    grads at = *g;
    if (g->gamma)
        at.gamma += vn_norm_affine_at(&g->view, sample),
            at.beta += vn_norm_affine_at(&g->view, sample);
    return at;
}

static double grads_floats(const grads *g) {
    return 3.0 * (double)(g->view.samples * g->view.rows * g->view.channels);
}

/* g, and xhat, of n columns of a row; x and dy point at them. */
VN_INLINE vn_vec grad_vector(bool silu, const vn_norm_lane *k, const float *x, const float *dy,
                             int64_t n, vn_vec *xhat) {
    vn_vec d = vn_load_n(dy, n);
    *xhat = vn_norm_xhat(k, vn_load_n(x, n));
    return silu ? d * vn_vsilu(vn_norm_z(k, *xhat), 1) : d;
}

/* Two sums for each of C channels: sum[c] and sum[C + c]. */
VN_INLINE void add_lanes(double *sum, int64_t channels, vn_vec first, vn_vec second, int64_t c,
                         int64_t n) {
    for (int l = 0; l < VN_LANES && l < n; l++) {
        sum[c + l] += (double)first[l];
        sum[channels + c + l] += (double)second[l];
    }
}

/* ---- norm_grad_x ----------------------------------------------------------------------------- */

/* Sums of h and of h xhat over a group. */
typedef struct pair {
    double h, hx;
} pair;

/* First pass over `tile` vectors of n columns each, from c on, of `rows` rows from element `at` on:
 * adds h and h xhat to lanes. */
VN_INLINE void sum_columns(bool whole, bool silu, const grads *g, const vn_norm_stat *s, int64_t at,
                           int64_t rows, int64_t c, int tile, int64_t n, vn_vec *total,
                           vn_vec *dot) {
    vn_norm_lane k[VN_NORM_TILE];
    int64_t channels = g->view.channels;
    const float *x = g->x + at + c, *dy = g->dy + at + c;
    float *keep = g->keep ? g->dx + at + c : NULL;
    for (int t = 0; t < tile; t++)
        k[t] = vn_norm_lane_of(whole, s, g->gamma, g->beta, c + t * VN_LANES, n);
    for (int64_t r = 0; r < rows; r++)
        for (int t = 0; t < tile; t++) {
            int64_t i = r * channels + t * VN_LANES;
            vn_vec xhat, h = k[t].gamma * grad_vector(silu, &k[t], x + i, dy + i, n, &xhat);
            if (keep) vn_store_n(keep + i, h, n);
            total[t] += h; /* lanes from n on: dy, and so h, is 0 there */
            dot[t] = vn_fma(h, xhat, dot[t]);
        }
}

/* The same into the channels' sums. */
VN_INLINE void sum_tile(bool whole, bool silu, const grads *g, const vn_norm_stat *s, int64_t at,
                        int64_t rows, int64_t c, int tile, int64_t n, double *sum) {
    vn_vec total[VN_NORM_TILE] = {{0}}, dot[VN_NORM_TILE] = {{0}};
    sum_columns(whole, silu, g, s, at, rows, c, tile, n, total, dot);
    for (int t = 0; t < tile; t++)
        add_lanes(sum, g->view.channels, total[t], dot[t], c + t * VN_LANES, n);
}

VN_INLINE void sum_rows(bool whole, bool silu, const grads *g, const vn_norm_stat *s, int64_t at,
                        int64_t rows, double *sum) {
    const int64_t channels = g->view.channels, tile = VN_NORM_TILE * VN_LANES;
    memset(sum, 0, 2 * (size_t)channels * sizeof *sum);
    for (int64_t r = 0; r < rows; r += VN_NORM_RUN) {
        int64_t from = at + r * channels, run = vn_min_i64(VN_NORM_RUN, rows - r), c = 0;
        for (; c + tile <= channels; c += tile)
            sum_tile(whole, silu, g, s, from, run, c, VN_NORM_TILE, VN_LANES, sum);
        for (; c + VN_LANES <= channels; c += VN_LANES)
            sum_tile(whole, silu, g, s, from, run, c, 1, VN_LANES, sum);
        if (c < channels) sum_tile(whole, silu, g, s, from, run, c, 1, channels - c, sum);
    }
}

/* First pass over one long row, a layer norm's. */
VN_INLINE pair sum_row(bool silu, const grads *g, const vn_norm_stat *s, int64_t at) {
    const int64_t channels = g->view.channels, tile = VN_NORM_TILE * VN_LANES;
    pair sums = {0};
    for (int64_t c = 0, end; c < channels; c = end) {
        vn_vec total[VN_NORM_TILE] = {{0}}, dot[VN_NORM_TILE] = {{0}};
        end = vn_min_i64(channels, c + VN_SUM_RUN * tile);
        for (; c + tile <= end; c += tile)
            sum_columns(true, silu, g, s, at, 1, c, VN_NORM_TILE, VN_LANES, total, dot);
        for (; c + VN_LANES <= end; c += VN_LANES)
            sum_columns(true, silu, g, s, at, 1, c, 1, VN_LANES, total, dot);
        if (c < end) sum_columns(true, silu, g, s, at, 1, c, 1, end - c, total, dot);
        for (int t = 1; t < VN_NORM_TILE; t++) total[0] += total[t], dot[0] += dot[t];
        sums.h += (double)vn_hsum(total[0]);
        sums.hx += (double)vn_hsum(dot[0]);
    }
    return sums;
}

/* Second pass over `tile` vectors of n columns each; mean: of h [1 or C], then as many of h
 * xhat. */
VN_INLINE void finish_columns(bool whole, bool silu, const grads *g, const vn_norm_stat *s,
                              int64_t at, int64_t rows, const float *mean, int64_t c, int tile,
                              int64_t n) {
    vn_norm_lane k[VN_NORM_TILE];
    vn_vec mean_h[VN_NORM_TILE], mean_hx[VN_NORM_TILE];
    int64_t channels = g->view.channels;
    const float *x = g->x + at + c, *dy = g->dy + at + c;
    float *dx = g->dx + at + c;
    bool kept = silu && g->keep;
    for (int t = 0; t < tile; t++) {
        int64_t first = c + t * VN_LANES;
        k[t] = vn_norm_lane_of(whole, s, g->gamma, g->beta, first, n);
        mean_h[t] = whole ? vn_set(mean[0]) : vn_load_n(mean + first, n);
        mean_hx[t] = whole ? vn_set(mean[1]) : vn_load_n(mean + channels + first, n);
    }
    for (int64_t r = 0; r < rows; r++)
        for (int t = 0; t < tile; t++) {
            int64_t i = r * channels + t * VN_LANES;
            vn_vec xhat = vn_norm_xhat(&k[t], vn_load_n(x + i, n));
            vn_vec h = kept ? vn_load_n(dx + i, n)
                            : k[t].gamma * grad_vector(silu, &k[t], x + i, dy + i, n, &xhat);
            vn_store_n(dx + i, k[t].r * (h - mean_h[t] - xhat * mean_hx[t]), n);
        }
}

VN_INLINE void finish_rows(bool whole, bool silu, const grads *g, const vn_norm_stat *s, int64_t at,
                           int64_t rows, const float *mean) {
    const int64_t channels = g->view.channels, tile = VN_NORM_TILE * VN_LANES;
    for (int64_t r = 0; r < rows; r += VN_NORM_RUN) {
        int64_t from = at + r * channels, run = vn_min_i64(VN_NORM_RUN, rows - r), c = 0;
        for (; c + tile <= channels; c += tile)
            finish_columns(whole, silu, g, s, from, run, mean, c, VN_NORM_TILE, VN_LANES);
        for (; c + VN_LANES <= channels; c += VN_LANES)
            finish_columns(whole, silu, g, s, from, run, mean, c, 1, VN_LANES);
        if (c < channels) finish_columns(whole, silu, g, s, from, run, mean, c, 1, channels - c);
    }
}

/* A thread's own memory: the expanded statistics, channels' sums [2C], and means [2 or 2C]. */
typedef struct scratch {
    float *stat, *mean;
    double *sum;
} scratch;

static size_t scratch_bytes(const vn_norm_view *v) {
    return vn_norm_scratch(v) + vn_region(2 * (size_t)v->channels, sizeof(double)) +
           vn_region(2 * (size_t)v->channels, sizeof(float));
}

static scratch scratch_at(const vn_norm_view *v, char *at) {
    char *sum = at + vn_norm_scratch(v),
         *mean = sum + vn_region(2 * (size_t)v->channels, sizeof(double));
    return (scratch){(float *)(void *)at, (float *)(void *)mean, (double *)(void *)sum};
}

static size_t sums_bytes(const vn_norm_view *v) {
    return vn_region((size_t)(v->samples * v->parts * v->groups), sizeof(pair));
}

size_t VN_W(norm_grad_x)(const vn_node *n, int threads) {
    vn_norm_view v = vn_norm_view_of(n);
    return sums_bytes(&v) + (size_t)threads * scratch_bytes(&v);
}

/* First pass of a part, rows from element `at` on: the groups' sums. */
static void sum_part(const grads *g, const vn_norm_stat *s, int64_t at, int64_t rows, double *sum,
                     pair *group) {
    const vn_norm_view *v = &g->view;
    if (v->whole && rows == 1) {
        *group = g->silu ? sum_row(true, g, s, at) : sum_row(false, g, s, at);
        return;
    }
    if (v->whole && g->silu)
        sum_rows(true, true, g, s, at, rows, sum);
    else if (v->whole)
        sum_rows(true, false, g, s, at, rows, sum);
    else if (g->silu)
        sum_rows(false, true, g, s, at, rows, sum);
    else
        sum_rows(false, false, g, s, at, rows, sum);
    for (int64_t k = 0; k < v->groups; k++) {
        group[k] = (pair){0};
        for (int64_t c = k * v->width; c < (k + 1) * v->width; c++) {
            group[k].h += sum[c];
            group[k].hx += sum[v->channels + c];
        }
    }
}

static void finish_part(const grads *g, const vn_norm_stat *s, int64_t at, int64_t rows,
                        const float *mean) {
    if (g->view.whole && g->silu)
        finish_rows(true, true, g, s, at, rows, mean);
    else if (g->view.whole)
        finish_rows(true, false, g, s, at, rows, mean);
    else if (g->silu)
        finish_rows(false, true, g, s, at, rows, mean);
    else
        finish_rows(false, false, g, s, at, rows, mean);
}

/* A sample's means from its parts' sums, in order; expanded to channels unless whole. */
static void group_means(const vn_norm_view *v, const pair *parts, float *mean) {
    double over = 1 / (double)(v->rows * v->width);
    int64_t width = v->whole ? 1 : v->width, channels = v->whole ? 1 : v->channels;
    for (int64_t g = 0; g < v->groups; g++) {
        pair sum = {0};
        for (int64_t p = 0; p < v->parts; p++) {
            sum.h += parts[p * v->groups + g].h;
            sum.hx += parts[p * v->groups + g].hx;
        }
        for (int64_t c = g * width; c < (g + 1) * width; c++) {
            mean[c] = (float)(sum.h * over);
            mean[channels + c] = (float)(sum.hx * over);
        }
    }
}

typedef struct passes {
    grads g;
    char *work;
    bool first, second;
} passes;

/* One or both passes of a task. */
static void grad_x_task(void *context, int64_t i, int thread) {
    const passes *p = context;
    const vn_norm_view *v = &p->g.view;
    pair *sums = (pair *)(void *)p->work;
    const vn_norm_rows all = vn_norm_task(v, i);
    const int64_t sample = all.sample, first = sample * v->rows * v->channels,
                  count = vn_norm_parts_of_task(v);
    scratch own = scratch_at(v, p->work + sums_bytes(v) + (size_t)thread * scratch_bytes(v));
    const grads g = grads_at(&p->g, sample);
    vn_norm_stat s = vn_norm_expand(v, g.stats, sample, own.stat);
    for (int64_t k = 0; k < count && p->first; k++) {
        const vn_norm_rows r = vn_norm_part(v, i, k);
        sum_part(&g, &s, first + r.begin * v->channels, r.end - r.begin, own.sum,
                 sums + (i * count + k) * v->groups);
    }
    if (!p->second) return;
    group_means(v, sums + sample * v->parts * v->groups, own.mean);
    finish_part(&g, &s, first + all.begin * v->channels, all.end - all.begin, own.mean);
}

static void grad_x_passes(const vn_kernel_args *a, bool first, bool second) {
    passes p = {grads_of(a), a->work, first, second};
    vn_thread_pool_run(vn_share(a->pool, grads_floats(&p.g)), p.g.view.samples * p.g.view.tasks,
                       grad_x_task, &p);
}

void VN_K(norm_grad_x)(const vn_kernel_args *a) {
    if (vn_norm_view_of(a->node).tasks == 1) {
        grad_x_passes(a, true, true);
    } else { /* a sample's sums are complete only when all its parts are */
        grad_x_passes(a, true, false);
        grad_x_passes(a, false, true);
    }
}

/* ---- norm_grad_affine ------------------------------------------------------------------------ */

#define MAX_PARTS   64
#define PART_FLOATS 16384

/* All rows of a run's samples, cut into parts. */
static int64_t affine_parts(const vn_norm_view *v) {
    int64_t rows = v->run * v->rows, have = rows * v->channels / PART_FLOATS,
            want = MAX_PARTS / v->runs;
    return vn_max_i64(1, vn_min_i64(vn_min_i64(want, have), rows));
}

static size_t affine_bytes(const vn_norm_view *v) {
    return vn_region((size_t)(v->runs * affine_parts(v) * 2 * v->channels), sizeof(double));
}

size_t VN_W(norm_grad_affine)(const vn_node *n, int threads) {
    vn_norm_view v = vn_norm_view_of(n);
    return affine_bytes(&v) + (size_t)threads * vn_norm_scratch(&v);
}

/* `tile` vectors of n columns each, of `rows` rows that share statistics, or (layer norm) have one
 * after the other. */
VN_INLINE void affine_columns(bool whole, bool silu, const grads *g, const vn_norm_stat *s,
                              int64_t at, int64_t rows, int64_t c, int tile, int64_t n,
                              double *sum) {
    vn_norm_lane k[VN_NORM_TILE];
    vn_vec gamma[VN_NORM_TILE] = {{0}}, beta[VN_NORM_TILE] = {{0}};
    int64_t channels = g->view.channels, row_step = s->row_step;
    const float *x = g->x + at + c, *dy = g->dy + at + c, *mean = s->mean, *r = s->r;
    for (int t = 0; t < tile; t++)
        k[t] = vn_norm_lane_of(whole, s, g->gamma, g->beta, c + t * VN_LANES, n);
    for (int64_t row = 0; row < rows; row++)
        for (int t = 0; t < tile; t++) {
            int64_t i = row * channels + t * VN_LANES;
            if (whole) k[t].mean = vn_set(mean[row * row_step]), k[t].r = vn_set(r[row * row_step]);
            vn_vec xhat, d = grad_vector(silu, &k[t], x + i, dy + i, n, &xhat);
            gamma[t] = vn_fma(d, xhat, gamma[t]);
            beta[t] += d;
        }
    for (int t = 0; t < tile; t++) add_lanes(sum, channels, gamma[t], beta[t], c + t * VN_LANES, n);
}

VN_INLINE void affine_rows(bool whole, bool silu, const grads *g, const vn_norm_stat *s, int64_t at,
                           int64_t rows, double *sum) {
    const int64_t channels = g->view.channels, tile = VN_NORM_TILE * VN_LANES;
    int64_t c = 0;
    for (; c + tile <= channels; c += tile)
        affine_columns(whole, silu, g, s, at, rows, c, VN_NORM_TILE, VN_LANES, sum);
    for (; c + VN_LANES <= channels; c += VN_LANES)
        affine_columns(whole, silu, g, s, at, rows, c, 1, VN_LANES, sum);
    if (c < channels) affine_columns(whole, silu, g, s, at, rows, c, 1, channels - c, sum);
}

/* Rows [begin, end) of all samples' rows, in runs that neither are long nor cross from one sample's
 * statistics to another's. */
static void affine_part(const grads *g, int64_t begin, int64_t end, float *stat, double *sum) {
    const vn_norm_view *v = &g->view;
    int64_t expanded = -1;
    vn_norm_stat s = {0};
    memset(sum, 0, 2 * (size_t)v->channels * sizeof *sum);
    for (int64_t row = begin, rows; row < end; row += rows) {
        int64_t sample = row / v->rows,
                left = v->whole && v->rows == 1 ? end - row : (sample + 1) * v->rows - row;
        rows = vn_min_i64(VN_NORM_RUN, vn_min_i64(left, end - row));
        if (sample != expanded) s = vn_norm_expand(v, g->stats, sample, stat), expanded = sample;
        if (v->whole && g->silu)
            affine_rows(true, true, g, &s, row * v->channels, rows, sum);
        else if (v->whole)
            affine_rows(true, false, g, &s, row * v->channels, rows, sum);
        else if (g->silu)
            affine_rows(false, true, g, &s, row * v->channels, rows, sum);
        else
            affine_rows(false, false, g, &s, row * v->channels, rows, sum);
    }
}

typedef struct affine_sums {
    grads g;
    char *work;
    int64_t parts;
} affine_sums;

static void affine_task(void *context, int64_t i, int thread) {
    const affine_sums *s = context;
    const vn_norm_view *v = &s->g.view;
    char *stat = s->work + affine_bytes(v) + (size_t)thread * vn_norm_scratch(v);
    double *sums = (double *)(void *)s->work;
    const int64_t rows = v->run * v->rows, run = i / s->parts;
    const grads g = grads_at(&s->g, run * v->run);
    int64_t begin, end;
    vn_part(rows, s->parts, i % s->parts, &begin, &end);
    affine_part(&g, run * rows + begin, run * rows + end, (float *)(void *)stat,
                sums + i * 2 * v->channels);
}

void VN_K(norm_grad_affine)(const vn_kernel_args *a) {
    affine_sums s = {.g = grads_of(a), .work = a->work};
    const double *sums = a->work;
    const int64_t runs = s.g.view.runs, parts = s.parts = affine_parts(&s.g.view),
                  channels = s.g.view.channels;
    float *out = a->out;
    vn_thread_pool_run(vn_share(a->pool, grads_floats(&s.g)), runs * parts, affine_task, &s);
    for (int64_t run = 0; run < runs; run++, sums += parts * 2 * channels)
        for (int64_t c = 0; c < 2 * channels; c++) {
            double sum = 0;
            for (int64_t i = 0; i < parts; i++) sum += sums[i * 2 * channels + c];
            out[(c / channels * runs + run) * channels + c % channels] = (float)sum;
        }
}
