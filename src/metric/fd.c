/* fd.c - the Frechet distance of two sets of features, taken for Gaussians (1706.08500):
 *
 *     |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))
 *
 * with covariances that divide by n - 1. S1 S2 has the eigenvalues of the symmetric L^T S2 L, where
 * S1 = L L^T, whose roots make the trace of the root. Of finite sets it is too large by about
 * c / n: fd-infinity is where a line through the distances of 15 pairs of subsets meets 1/n = 0
 * (1911.07023). Both sets are made smaller by the same factor, since both are biased. */
#include <lapacke.h>
#include <math.h>
#include <string.h>

#include "loader/loader.h"
#include "metric/internal.h"

/* LAPACK, which is loaded when a distance is first measured. */
#define FUNCTIONS(ROW) ROW(LAPACKE_dpstrf_work) ROW(LAPACKE_dsyev_work)
static VN_LIBRARY_FUNCTIONS(FUNCTIONS) lapack;
static const char *const names[] = {FUNCTIONS(VN_LIBRARY_NAME)};
static vn_library library = {.purpose = "the metric fd",
                             .file = VN_LIBLAPACKE,
                             .names = names,
                             .count = VN_COUNT(names),
                             .functions = &lapack};

/* Arrays for one distance. */
typedef struct work {
    double *mean[2], *cov[2]; /* [d], [d,d] */
    double *product, *value;  /* [d,d], [d] */
    double *scratch;          /* of LAPACK */
    double *row;              /* [d] */
    lapack_int *pivot, scratch_size;
    double *all; /* that they lie in */
    int64_t *index[2];
} work;

static vn_status open_work(work *w, int64_t d, int64_t n, int64_t m, vn_err *err) {
    const size_t square = (size_t)d * (size_t)d, row = (size_t)d;
    *w = (work){.scratch_size = (lapack_int)(34 * d)};
    w->all = vn_alloc(3 * square + 4 * row + 34 * row, sizeof(double));
    w->pivot = vn_alloc(row, sizeof *w->pivot);
    w->index[0] = vn_alloc((size_t)n, sizeof(int64_t));
    w->index[1] = vn_alloc((size_t)m, sizeof(int64_t));
    if (!w->all || !w->pivot || !w->index[0] || !w->index[1]) return vn_no_memory(err);
    double *at = w->all;
    for (int k = 0; k < 2; k++) {
        w->cov[k] = at;
        at += square;
    }
    w->product = at;
    at += square;
    for (int k = 0; k < 2; k++) {
        w->mean[k] = at;
        at += row;
    }
    w->value = at;
    w->row = at + row;
    w->scratch = at + 2 * row;
    return VN_OK;
}

static void close_work(work *w) {
    vn_free(w->all);
    vn_free(w->pivot);
    vn_free(w->index[0]);
    vn_free(w->index[1]);
}

/* Mean, and the lower half of the covariance, of the rows `index` [n], or of the first n. */
static void moments(work *w, int k, const vn_features *f, const int64_t *index, int64_t n) {
    const int64_t d = f->d;
    double *mean = w->mean[k], *cov = w->cov[k];
    memset(mean, 0, (size_t)d * sizeof *mean);
    memset(cov, 0, (size_t)(d * d) * sizeof *cov);
    for (int64_t i = 0; i < n; i++) {
        const float *x = f->x + (index ? index[i] : i) * d;
        for (int64_t j = 0; j < d; j++) mean[j] += (double)x[j];
    }
    for (int64_t j = 0; j < d; j++) mean[j] /= (double)n;
    for (int64_t i = 0; i < n; i++) {
        const float *x = f->x + (index ? index[i] : i) * d;
        for (int64_t j = 0; j < d; j++) w->row[j] = (double)x[j] - mean[j];
        for (int64_t j = 0; j < d; j++)
            for (int64_t c = 0; c <= j; c++) cov[j * d + c] += w->row[j] * w->row[c];
    }
    for (int64_t j = 0; j < d; j++)
        for (int64_t c = 0; c <= j; c++) cov[j * d + c] /= (double)(n - 1);
}

/* product = L^T S2 L of the factor in cov[0] (columns beyond `rank` are 0), whose row j belongs to
 * feature pivot[j]; lower half. */
static void conjugate(work *w, int64_t d, int64_t rank) {
    const double *l = w->cov[0], *s = w->cov[1];
    double *half = w->product;
    /* half [d, rank] = S2 L, over the features in the factor's order */
    memset(half, 0, (size_t)(d * d) * sizeof *half);
    for (int64_t i = 0; i < d; i++) {
        const int64_t a = w->pivot[i] - 1;
        for (int64_t k = 0; k < d; k++) {
            const int64_t b = w->pivot[k] - 1;
            const double x = a >= b ? s[a * d + b] : s[b * d + a];
            const int64_t last = k < rank ? k : rank - 1;
            for (int64_t j = 0; j <= last; j++) half[i * d + j] += x * l[k * d + j];
        }
    }
    /* S2 is not needed any more: its memory takes L^T half */
    double *out = w->cov[1];
    memset(out, 0, (size_t)(d * d) * sizeof *out);
    for (int64_t k = 0; k < d; k++)
        for (int64_t i = 0; i < rank && i <= k; i++)
            for (int64_t j = 0; j <= i; j++) out[i * d + j] += l[k * d + i] * half[k * d + j];
}

/* The distance of what lies in mean and cov, which are used up. */
static vn_status distance(work *w, int64_t d, double *out, vn_err *err) {
    double sum = 0, roots = 0;
    for (int64_t j = 0; j < d; j++) {
        const double difference = w->mean[0][j] - w->mean[1][j];
        sum += difference * difference + w->cov[0][j * d + j] + w->cov[1][j * d + j];
    }
    lapack_int rank = 0;
    /* row-major lower is LAPACK's upper */
    lapack_int info = lapack.LAPACKE_dpstrf_work(LAPACK_COL_MAJOR, 'U', (lapack_int)d, w->cov[0],
                                                 (lapack_int)d, w->pivot, &rank, -1, w->scratch);
    if (info < 0) return vn_fail(err, VN_NOT_FINITE, "fd: a covariance is not finite");
    if (rank < 1) rank = 1;
    conjugate(w, d, rank);
    info = lapack.LAPACKE_dsyev_work(LAPACK_COL_MAJOR, 'N', 'U', rank, w->cov[1], (lapack_int)d,
                                     w->value, w->scratch, w->scratch_size);
    if (info)
        return vn_fail(err, VN_NOT_FINITE, "fd: the eigenvalues of a covariance were not found");
    for (lapack_int j = 0; j < rank; j++) roots += w->value[j] > 0 ? sqrt(w->value[j]) : 0;
    *out = fmax(sum - 2 * roots, 0); /* of equal sets rounding leaves some 1e-15 */
    return VN_OK;
}

/* ---- many distances -------------------------------------------------------------------------- */

/* Beyond the numbers of resamples. */
#define SUBSET_DRAWS ((uint64_t)1 << 40)

/* Distances of subsets or resamples, each by a task of its own. */
typedef struct many {
    const vn_measuring *m;
    work *work;              /* [threads] */
    const double *fractions; /* [count] of both sets, for subsets; NULL: resamples */
    double *out;             /* [count] */
    vn_status *status;       /* [count] */
} many;

static void one(void *context, int64_t i, int thread) {
    many *a = context;
    work *w = &a->work[thread];
    const vn_features *set[2] = {&a->m->samples, &a->m->data};
    for (int k = 0; k < 2; k++) {
        int64_t n = set[k]->n;
        if (a->fractions) {
            vn_random_permutation(w->index[k], n, a->m->o->seed, VN_STREAM_RESAMPLE,
                                  SUBSET_DRAWS + (uint64_t)(2 * i + k));
            n = (int64_t)(a->fractions[i] * (double)n + 0.5);
        } else {
            vn_metric_resample(a->m->o->seed, k, i, n, w->index[k]);
        }
        moments(w, k, set[k], w->index[k], n);
    }
    a->status[i] = distance(w, set[0]->d, &a->out[i], NULL);
}

static vn_status run_many(vn_measuring *m, work *works, int64_t count, const double *fractions,
                          double *out, vn_err *err) {
    many a = {.m = m, .work = works, .fractions = fractions, .out = out};
    a.status = vn_calloc((size_t)count, sizeof *a.status);
    vn_status status = a.status ? vn_metric_run(m, count, one, &a, err) : vn_no_memory(err);
    for (int64_t i = 0; i < count && !status; i++)
        if (a.status[i])
            status =
                vn_fail(err, a.status[i], "fd: the eigenvalues of a covariance were not found");
    vn_free(a.status);
    return status;
}

/* ---- the numbers ----------------------------------------------------------------------------- */

/* Arithmetic that the bootstrap may take, as multiplications: some twenty seconds of one core. */
#define BUDGET 4e10
enum { MIN_RESAMPLES = 20, SUBSETS = 15 };

static int64_t resamples_of(const vn_measuring *m) {
    const double d = (double)m->samples.d,
                 cost = d * d * ((double)(m->samples.n + m->data.n) / 2 + 4 * d);
    const int64_t most = (int64_t)(BUDGET / cost), asked = m->o->resamples;
    const int64_t few = most < MIN_RESAMPLES ? MIN_RESAMPLES : most;
    return asked < few ? asked : few;
}

static vn_status add_infinity(vn_measuring *m, work *works, double value, double spread,
                              vn_err *err) {
    const int64_t n = m->samples.n < m->data.n ? m->samples.n : m->data.n, d = m->samples.d;
    /* from a fifth of all, or twice what a covariance needs */
    const double least = fmax(0.2, 2 * (double)(d + 1) / (double)n);
    double fraction[SUBSETS], at[SUBSETS], fd[SUBSETS];
    if (least > 0.5) return VN_OK;
    for (int i = 0; i < SUBSETS; i++) {
        at[i] = 1 + (1 / least - 1) * i / (SUBSETS - 1); /* n of all / n of the subset */
        fraction[i] = 1 / at[i];
    }
    const vn_status status = run_many(m, works, SUBSETS, fraction, fd, err);
    if (status) return status;
    fd[0] = value; /* of all, whatever their order */
    double x = 0, y = 0, xx = 0, xy = 0, residual = 0;
    for (int i = 0; i < SUBSETS; i++) {
        x += at[i] / SUBSETS;
        y += fd[i] / SUBSETS;
    }
    for (int i = 0; i < SUBSETS; i++) {
        xx += (at[i] - x) * (at[i] - x);
        xy += (at[i] - x) * (fd[i] - y);
    }
    const double slope = xy / xx, end = y - slope * x;
    for (int i = 0; i < SUBSETS; i++) {
        const double off = fd[i] - end - slope * at[i];
        residual += off * off / (SUBSETS - 2);
    }
    const double error = sqrt(residual * (1.0 / SUBSETS + x * x / xx)),
                 half = 1.96 * hypot(error, spread);
    vn_status added = vn_metric_add(m, "fd-infinity", "Frechet distance of endless sets", "", n,
                                    end, end - half, end + half, err);
    if (!added)
        added = vn_metric_add(m, "fd-bias", "bias of fd at this count", "", n, slope, (double)NAN,
                              (double)NAN, err);
    return added;
}

static vn_status measure_with(vn_measuring *m, work *works, vn_err *err) {
    const vn_features *a = &m->samples, *b = &m->data;
    double value = (double)NAN;
    moments(works, 0, a, NULL, a->n);
    moments(works, 1, b, NULL, b->n);
    vn_status status = distance(works, a->d, &value, err);
    const int64_t resamples = resamples_of(m);
    double *of = vn_alloc((size_t)resamples, sizeof *of);
    if (!of) return vn_no_memory(err);
    if (!status) status = run_many(m, works, resamples, NULL, of, err);
    if (!status) {
        const vn_interval i = vn_interval_of_distance(value, of, resamples);
        status = vn_metric_add(m, "fd", "Frechet distance", "", a->n, value, i.low, i.high, err);
        if (!status) status = add_infinity(m, works, value, (i.high - i.low) / (2 * 1.96), err);
    }
    vn_free(of);
    return status;
}

static vn_status check(const vn_features *f, const char *of, vn_err *err) {
    if (f->n > f->d) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "fd: %lld %s are too few for a covariance of %lld features: at least %lld are "
                   "needed",
                   (long long)f->n, of, (long long)f->d, (long long)f->d + 1);
}

static vn_status measure(vn_measuring *m, const vn_choice *choice, vn_err *err) {
    (void)choice;
    const int threads = vn_thread_pool_threads(m->o->pool);
    vn_status status = check(&m->samples, "samples", err);
    if (!status) status = check(&m->data, "samples of the data", err);
    if (!status) status = vn_library_load(&library, err);
    if (status) return status;
    work *works = vn_calloc((size_t)threads, sizeof *works);
    if (!works) return vn_no_memory(err);
    for (int t = 0; t < threads && !status; t++)
        status = open_work(&works[t], m->samples.d, m->samples.n, m->data.n, err);
    if (!status) status = measure_with(m, works, err);
    for (int t = 0; t < threads; t++) close_work(&works[t]);
    vn_free(works);
    return status;
}

const vn_metric_row vn_fd_metric = {
    .row = {"fd", "Frechet distance of the features, and without its bias by regression",
            "1706.08500, 1911.07023", NULL},
    .unit = "",
    .needs = VN_METRIC_SAMPLES | VN_METRIC_DATA,
    .measure = measure,
};
