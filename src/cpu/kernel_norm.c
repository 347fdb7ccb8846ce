/* kernel_norm.c - statistics of group and layer norms, and their use with an affine map and SiLU in
 * one pass.
 *
 * Variances are taken over short runs around a number near the run's own mean, and runs are joined
 * by the formula of Chan, Golub and LeVeque (1979), so that a large mean costs no digits: nowhere
 * is x^2 summed. */
#include "cpu/kernel_norm.h"
#include "cpu/kernel_sums.h"

/* ---- moments --------------------------------------------------------------------------------- */

/* Mean and sum of squared deviations of `count` numbers. */
typedef struct moments {
    double count, mean, m2;
} moments;

static inline void join(moments *a, double count, double mean, double m2) {
    double total = a->count + count, d = mean - a->mean;
    if (count == 0) return;
    a->m2 += m2 + d * d * a->count * count / total;
    a->mean += d * count / total;
    a->count = total;
}

/* 1 / deviation. Rounding may leave m2 just below 0; NaN stays. */
static inline float inverse_deviation(double m2, double count, double eps) {
    return (float)(1 / sqrt((m2 > 0 ? m2 / count : 0 * m2) + eps));
}

#define CHUNK 4096 /* floats: read twice, the second time from the first-level cache */

/* x[n], n <= CHUNK, in two passes; what rounding left in the mean is taken out of the deviations
 * again. */
static inline moments row_moments(const float *x, int64_t n) {
    double over = 1 / (double)n;
    float mean = (float)(vn_sum(x, n) * over);
    vn_vec d1 = {0}, d2 = {0}, e1 = {0}, e2 = {0};
    int64_t i = 0;
    for (; i + 2 * VN_LANES <= n; i += 2 * VN_LANES) {
        vn_vec d = vn_load(x + i) - mean, e = vn_load(x + i + VN_LANES) - mean;
        d1 += d, d2 = vn_fma(d, d, d2);
        e1 += e, e2 = vn_fma(e, e, e2);
    }
    double sum = (double)vn_hsum(d1 + e1), square = (double)vn_hsum(d2 + e2);
    for (; i < n; i++) {
        double d = (double)(x[i] - mean);
        sum += d, square += d * d;
    }
    return (moments){(double)n, (double)mean + sum * over, square - sum * sum * over};
}

/* `tile` vectors of n columns each, of `rows` <= VN_SUM_RUN rows: mean and m2 of each column, by
 * deviations from the mean of four of the rows. Those are among the data, so even if one of them
 * lies far from all others, cancellation in m2 costs at most rows/16 times the rounding. */
VN_INLINE void column_moments(const float *x, int64_t step, int64_t rows, float *mean, float *m2,
                              int tile, int64_t n) {
    vn_vec pivot[VN_NORM_TILE] = {{0}}, d1[VN_NORM_TILE] = {{0}}, d2[VN_NORM_TILE] = {{0}};
    for (int t = 0; t < tile; t++)
        for (int64_t k = 0; k < 4; k++)
            pivot[t] += 0.25f * vn_load_n(x + rows * k / 4 * step + t * VN_LANES, n);
    for (int64_t r = 0; r < rows; r++)
        for (int t = 0; t < tile; t++) {
            vn_vec d = vn_load_n(x + r * step + t * VN_LANES, n) - pivot[t];
            d1[t] += d, d2[t] = vn_fma(d, d, d2[t]);
        }
    for (int t = 0; t < tile; t++) {
        vn_vec shift = d1[t] * (1.0f / (float)rows);
        vn_store_n(mean + t * VN_LANES, pivot[t] + shift, n);
        vn_store_n(m2 + t * VN_LANES, d2[t] - d1[t] * shift, n);
    }
}

/* Joins the columns' moments, each of `rows` numbers, to their groups'. */
static void join_columns(const vn_norm_view *v, int64_t rows, const float *mean, const float *m2,
                         moments *group) {
    for (int64_t g = 0; g < v->groups; g++) {
        const float *m = mean + g * v->width;
        double sum = 0, square = 0, spread = 0;
        for (int64_t c = 0; c < v->width; c++) sum += (double)m[c];
        double middle = sum / (double)v->width;
        for (int64_t c = 0; c < v->width; c++) {
            double d = (double)m[c] - middle;
            spread += d * d;
            square += (double)m2[g * v->width + c];
        }
        join(&group[g], (double)(rows * v->width), middle, square + spread * (double)rows);
    }
}

/* All groups of rows [begin, end) of a sample; scratch [2C]. */
static void part_moments(const vn_norm_view *v, const float *x, int64_t begin, int64_t end,
                         float *scratch, moments *group) {
    int64_t channels = v->channels;
    for (int64_t g = 0; g < v->groups; g++) group[g] = (moments){0};
    if (v->whole) {
        for (int64_t i = begin * channels; i < end * channels; i += CHUNK) {
            moments m = row_moments(x + i, vn_min_i64(CHUNK, end * channels - i));
            join(group, m.count, m.mean, m.m2);
        }
        return;
    }
    for (int64_t r = begin; r < end; r += VN_SUM_RUN) {
        int64_t rows = vn_min_i64(VN_SUM_RUN, end - r), tile = VN_NORM_TILE * VN_LANES, c = 0;
        const float *run = x + r * channels;
        float *mean = scratch, *m2 = scratch + channels;
        for (; c + tile <= channels; c += tile)
            column_moments(run + c, channels, rows, mean + c, m2 + c, VN_NORM_TILE, VN_LANES);
        for (; c + VN_LANES <= channels; c += VN_LANES)
            column_moments(run + c, channels, rows, mean + c, m2 + c, 1, VN_LANES);
        if (c < channels)
            column_moments(run + c, channels, rows, mean + c, m2 + c, 1, channels - c);
        join_columns(v, rows, mean, m2, group);
    }
}

/* A layer norm's row of n <= CHUNK numbers: nothing to join. */
static void row_stats(const float *x, int64_t n, double eps, float *out) {
    moments m = row_moments(x, n);
    out[0] = (float)m.mean;
    out[1] = inverse_deviation(m.m2, m.count, eps);
}

/* ---- norm_stats ------------------------------------------------------------------------------ */

static size_t moment_count(const vn_norm_view *v, int threads) {
    return (size_t)(v->parts * v->groups) * (v->tasks > 1 ? (size_t)v->samples : (size_t)threads);
}

size_t VN_W(norm_stats)(const vn_node *n, int threads) {
    vn_norm_view v = vn_norm_view_of(n);
    return vn_region(moment_count(&v, threads), sizeof(moments)) +
           (size_t)threads * vn_norm_scratch(&v);
}

/* One sample's statistics from its parts'. */
static void write_stats(const vn_norm_view *v, const moments *parts, double eps, float *out) {
    for (int64_t g = 0; g < v->groups; g++) {
        moments m = {0};
        for (int64_t p = 0; p < v->parts; p++) {
            const moments *part = &parts[p * v->groups + g];
            join(&m, part->count, part->mean, part->m2);
        }
        out[2 * g] = (float)m.mean;
        out[2 * g + 1] = inverse_deviation(m.m2, m.count, eps);
    }
}

typedef struct statistics {
    vn_norm_view v;
    const float *x;
    float *out;
    double eps;
    /* of the parts of every sample where they are tasks, else of each thread's sample */
    moments *moment;
    char *scratch;
} statistics;

static void stats_task(void *context, int64_t i, int thread) {
    const statistics *s = context;
    const vn_norm_view *v = &s->v;
    const int64_t count = vn_norm_parts_of_task(v), sample = i / v->tasks;
    float *scratch = (float *)(void *)(s->scratch + (size_t)thread * vn_norm_scratch(v));
    moments *m = s->moment + (v->tasks > 1 ? i : thread) * count * v->groups;
    for (int64_t k = 0; k < count; k++) {
        const vn_norm_rows r = vn_norm_part(v, i, k);
        part_moments(v, s->x + sample * v->rows * v->channels, r.begin, r.end, scratch,
                     m + k * v->groups);
    }
    if (v->tasks == 1) write_stats(v, m, s->eps, s->out + sample * v->groups * 2);
}

static void row_stats_task(void *context, int64_t part, int thread) {
    const statistics *s = context;
    const int64_t n = s->v.channels;
    int64_t begin, end;
    (void)thread;
    vn_part(s->v.samples, vn_row_parts(s->v.samples, n), part, &begin, &end);
    for (int64_t row = begin; row < end; row++)
        row_stats(s->x + row * n, n, s->eps, s->out + row * 2);
}

void VN_K(norm_stats)(const vn_kernel_args *a) {
    const vn_norm_view v = vn_norm_view_of(a->node);
    statistics s = {v, a->in[0], a->out, a->node->attr.norm.eps, a->work, a->work};
    vn_thread_pool *pool = vn_share(a->pool, (double)(v.samples * v.rows * v.channels));
    if (v.whole && v.rows == 1 && v.channels > 0 && v.channels <= CHUNK) {
        vn_thread_pool_run(pool, vn_row_parts(v.samples, v.channels), row_stats_task, &s);
        return;
    }
    s.scratch += vn_region(moment_count(&v, vn_thread_pool_threads(a->pool)), sizeof(moments));
    vn_thread_pool_run(pool, v.samples * v.tasks, stats_task, &s);
    for (int64_t sample = 0; sample < v.samples && v.tasks > 1; sample++)
        write_stats(&v, s.moment + sample * v.parts * v.groups, s.eps,
                    s.out + sample * v.groups * 2);
}

/* ---- norm ------------------------------------------------------------------------------------ */

size_t VN_W(norm)(const vn_node *n, int threads) {
    vn_norm_view v = vn_norm_view_of(n);
    return (size_t)threads * vn_norm_scratch(&v);
}

/* `tile` vectors of n columns each, from c on, of `rows` rows. */
VN_INLINE void norm_columns(bool whole, bool silu, const vn_norm_stat *s, const float *x,
                            const float *gamma, const float *beta, float *y, int64_t rows,
                            int64_t channels, int64_t c, int tile, int64_t n) {
    vn_norm_lane k[VN_NORM_TILE];
    for (int t = 0; t < tile; t++)
        k[t] = vn_norm_lane_of(whole, s, gamma, beta, c + t * VN_LANES, n);
    for (int64_t at = c; at < rows * channels; at += channels)
        for (int t = 0; t < tile; t++) {
            vn_vec z = vn_norm_z(&k[t], vn_norm_xhat(&k[t], vn_load_n(x + at + t * VN_LANES, n)));
            vn_store_n(y + at + t * VN_LANES, silu ? vn_vsilu(z, 0) : z, n);
        }
}

VN_INLINE void norm_rows(bool whole, bool silu, const vn_norm_stat *s, const float *x,
                         const float *gamma, const float *beta, float *y, int64_t rows,
                         int64_t channels) {
    const int64_t tile = VN_NORM_TILE * VN_LANES;
    for (int64_t r = 0; r < rows;
         r += VN_NORM_RUN, x += VN_NORM_RUN * channels, y += VN_NORM_RUN * channels) {
        int64_t run = vn_min_i64(VN_NORM_RUN, rows - r), c = 0;
        for (; c + tile <= channels; c += tile)
            norm_columns(whole, silu, s, x, gamma, beta, y, run, channels, c, VN_NORM_TILE,
                         VN_LANES);
        for (; c + VN_LANES <= channels; c += VN_LANES)
            norm_columns(whole, silu, s, x, gamma, beta, y, run, channels, c, 1, VN_LANES);
        if (c < channels)
            norm_columns(whole, silu, s, x, gamma, beta, y, run, channels, c, 1, channels - c);
    }
}

typedef struct normalisation {
    vn_norm_view v;
    const vn_kernel_args *a;
} normalisation;

static void norm_task(void *context, int64_t i, int thread) {
    const normalisation *n = context;
    const vn_norm_view *v = &n->v;
    const vn_kernel_args *a = n->a;
    const bool silu = a->node->attr.norm.act == VN_FN_SILU;
    const vn_norm_rows r = vn_norm_task(v, i);
    const int64_t sample = r.sample, at = (sample * v->rows + r.begin) * v->channels,
                  rows = r.end - r.begin;
    const float *x = (const float *)a->in[0] + at;
    const int64_t affine = vn_norm_affine_at(v, sample);
    const float *gamma = a->node->inputs > 2 ? (const float *)a->in[2] + affine : NULL;
    const float *beta = gamma ? (const float *)a->in[3] + affine : NULL;
    float *y = (float *)a->out + at;
    char *scratch = (char *)a->work + (size_t)thread * vn_norm_scratch(v);
    const vn_norm_stat s = vn_norm_expand(v, a->in[1], sample, (float *)(void *)scratch);
    if (v->whole && silu)
        norm_rows(true, true, &s, x, gamma, beta, y, rows, v->channels);
    else if (v->whole)
        norm_rows(true, false, &s, x, gamma, beta, y, rows, v->channels);
    else if (silu)
        norm_rows(false, true, &s, x, gamma, beta, y, rows, v->channels);
    else
        norm_rows(false, false, &s, x, gamma, beta, y, rows, v->channels);
}

void VN_K(norm)(const vn_kernel_args *a) {
    normalisation n = {vn_norm_view_of(a->node), a};
    const double floats = 2.0 * (double)(n.v.samples * n.v.rows * n.v.channels);
    vn_thread_pool_run(vn_share(a->pool, floats), n.v.samples * n.v.tasks, norm_task, &n);
}
