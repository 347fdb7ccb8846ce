/* pairwise.c - distances of two sets that are means over all pairs: for a kernel k
 *
 *     E k(x,x') + E k(y,y') - 2 E k(x,y)
 *
 * without a sample paired with itself: the unbiased squared MMD (Gretton 2012). kd has the cubic
 * kernel of the Kernel Inception Distance (1801.01401), mmd a Gaussian, and with minus the distance
 * it is the energy distance (Szekely 2013). A resample weights each sample by how often it was
 * drawn, and pairs of a sample with its own copies are left out too. */
#include <math.h>
#include <string.h>

#include "metric/internal.h"

typedef double (*kernel_fn)(const float *a, const float *b, int64_t d, double parameter);

static double cubic(const float *a, const float *b, int64_t d, double parameter) {
    (void)parameter;
    const double x = vn_inner_product(a, b, d) / (double)d + 1;
    return x * x * x;
}

static double gaussian(const float *a, const float *b, int64_t d, double bandwidth) {
    return exp(-vn_squared_distance(a, b, d) / (2 * bandwidth * bandwidth));
}

static double minus_distance(const float *a, const float *b, int64_t d, double parameter) {
    (void)parameter;
    return -sqrt(vn_squared_distance(a, b, d));
}

/* ---- sums over pairs ------------------------------------------------------------------------- */

enum { ROWS = 32, XX = 0, YY = 1, XY = 2, SUMS = 3 };

typedef struct pairs {
    const vn_features *set[2];
    kernel_fn kernel;
    double parameter;
    int64_t weights;   /* of each sample: one, and one of each resample */
    double *weight[2]; /* [n,weights] */
    double *values;    /* [threads, largest n] */
    int64_t largest;
    double *inner; /* [threads, weights] */
    double *sum;   /* [tasks, SUMS, weights] */
} pairs;

/* sum += weight_i sum_j k(i,j) weight_j, over j of `other` below `last`. */
static void add_row(const pairs *p, int own, int64_t i, int other, int64_t last, double *values,
                    double *inner, double *sum) {
    const vn_features *a = p->set[own], *b = p->set[other];
    const int64_t w = p->weights;
    memset(inner, 0, (size_t)w * sizeof *inner);
    for (int64_t j = 0; j < last; j++)
        values[j] = p->kernel(a->x + i * a->d, b->x + j * b->d, a->d, p->parameter);
    for (int64_t j = 0; j < last; j++) {
        const double *of = p->weight[other] + j * w, value = values[j];
        for (int64_t k = 0; k < w; k++) inner[k] += value * of[k];
    }
    const double *of = p->weight[own] + i * w;
    for (int64_t k = 0; k < w; k++) sum[k] += of[k] * inner[k];
}

static void add_rows(void *context, int64_t task, int thread) {
    const pairs *p = context;
    const int64_t w = p->weights, all = p->set[0]->n + p->set[1]->n;
    double *sum = p->sum + task * SUMS * w, *values = p->values + thread * p->largest,
           *inner = p->inner + thread * w;
    memset(sum, 0, (size_t)(SUMS * w) * sizeof *sum);
    for (int64_t row = task * ROWS; row < all && row < (task + 1) * ROWS; row++) {
        const int own = row >= p->set[0]->n;
        const int64_t i = own ? row - p->set[0]->n : row;
        add_row(p, own, i, own, i, values, inner, sum + own * w);
        if (!own) add_row(p, 0, i, 1, p->set[1]->n, values, inner, sum + XY * w);
    }
}

/* The statistic under weights number k. */
static double statistic(const pairs *p, const double *sums, int64_t k) {
    double total[2] = {0}, squares[2] = {0};
    for (int s = 0; s < 2; s++)
        for (int64_t i = 0; i < p->set[s]->n; i++) {
            const double w = p->weight[s][i * p->weights + k];
            total[s] += w;
            squares[s] += w * w;
        }
    const double xx = total[0] * total[0] - squares[0], yy = total[1] * total[1] - squares[1];
    return 2 * sums[XX * p->weights + k] / xx + 2 * sums[YY * p->weights + k] / yy -
           2 * sums[XY * p->weights + k] / (total[0] * total[1]);
}

/* Arithmetic that the resamples may take, as multiplications. */
#define BUDGET 4e10

static int64_t resamples_of(const vn_measuring *m) {
    const double n = (double)m->samples.n + (double)m->data.n;
    const int64_t most = (int64_t)(BUDGET / (n * n)), asked = m->o->resamples;
    return asked < most ? asked : most < 20 ? (asked < 20 ? asked : 20) : most;
}

static vn_status fill_weights(const vn_measuring *m, pairs *p, vn_err *err) {
    int32_t *counts = vn_alloc((size_t)p->largest, sizeof *counts);
    if (!counts) return vn_no_memory(err);
    for (int s = 0; s < 2; s++)
        for (int64_t k = 0; k < p->weights; k++) {
            if (k > 0) vn_metric_resample_counts(m->o->seed, s, k - 1, p->set[s]->n, counts);
            for (int64_t i = 0; i < p->set[s]->n; i++)
                p->weight[s][i * p->weights + k] = k > 0 ? counts[i] : 1;
        }
    vn_free(counts);
    return VN_OK;
}

static vn_status sum_up(vn_measuring *m, pairs *p, double *value, vn_interval *interval,
                        vn_err *err) {
    const int64_t tasks = (p->set[0]->n + p->set[1]->n + ROWS - 1) / ROWS;
    const size_t w = (size_t)p->weights;
    p->sum = vn_alloc((size_t)tasks * SUMS, w * sizeof(double));
    double *sums = vn_calloc(SUMS * w, sizeof *sums), *of = vn_alloc(w, sizeof *of);
    vn_status status =
        p->sum && sums && of ? vn_metric_run(m, tasks, add_rows, p, err) : vn_no_memory(err);
    for (int64_t t = 0; t < tasks && !status; t++)
        for (size_t k = 0; k < SUMS * w; k++) sums[k] += p->sum[(size_t)t * SUMS * w + k];
    for (int64_t k = 0; k < p->weights && !status; k++) of[k] = statistic(p, sums, k);
    if (!status) *value = of[0];
    if (!status) *interval = vn_interval_around(of[0], of + 1, p->weights - 1);
    vn_free(p->sum);
    vn_free(sums);
    vn_free(of);
    return status;
}

static vn_status measure_pairs(vn_measuring *m, const char *key, const char *name, const char *unit,
                               kernel_fn kernel, double parameter, vn_err *err) {
    const size_t threads = (size_t)vn_thread_pool_threads(m->o->pool);
    pairs p = {.set = {&m->samples, &m->data},
               .kernel = kernel,
               .parameter = parameter,
               .weights = 1 + resamples_of(m),
               .largest = m->samples.n > m->data.n ? m->samples.n : m->data.n};
    double value = 0;
    vn_interval interval = {0};
    vn_status status = VN_OK;
    for (int s = 0; s < 2; s++) {
        p.weight[s] = vn_alloc((size_t)p.set[s]->n, (size_t)p.weights * sizeof(double));
        if (!status && p.set[s]->n < 2)
            status = vn_fail(err, VN_BAD_ARGUMENT, "%s: %lld sample%s%s, and 2 are needed", key,
                             (long long)p.set[s]->n, VN_S(p.set[s]->n), s ? " of the data" : "");
    }
    p.values = vn_alloc(threads, (size_t)p.largest * sizeof(double));
    p.inner = vn_alloc(threads, (size_t)p.weights * sizeof(double));
    if (!status && !(p.weight[0] && p.weight[1] && p.values && p.inner)) status = vn_no_memory(err);
    if (!status) status = fill_weights(m, &p, err);
    if (!status) status = sum_up(m, &p, &value, &interval, err);
    if (!status)
        status = vn_metric_add(m, key, name, unit, m->samples.n, value, interval.low, interval.high,
                               err);
    for (int s = 0; s < 2; s++) vn_free(p.weight[s]);
    vn_free(p.values);
    vn_free(p.inner);
    return status;
}

/* ---- the median distance --------------------------------------------------------------------- */

/* Samples whose distances are looked at: all, or the first of a random order. */
enum { MAX_FOR_MEDIAN = 4000 };

/* Puts number k in its place among n, smaller ones before it (Hoare's find). */
static double find_place(double *x, int64_t n, int64_t k) {
    int64_t first = 0, last = n - 1;
    while (first < last) {
        const double pivot = x[first + (last - first) / 2];
        int64_t i = first, j = last;
        while (i <= j) {
            while (x[i] < pivot) i++;
            while (pivot < x[j]) j--;
            if (i > j) break;
            const double t = x[i];
            x[i++] = x[j];
            x[j--] = t;
        }
        if (k <= j)
            last = j;
        else if (k >= i)
            first = i;
        else
            break;
    }
    return x[k];
}

static vn_status median_distance(const vn_measuring *m, double *out, vn_err *err) {
    const vn_features *f = &m->data;
    const int64_t n = f->n < MAX_FOR_MEDIAN ? f->n : MAX_FOR_MEDIAN, count = n * (n - 1) / 2;
    int64_t *index = vn_alloc((size_t)f->n, sizeof *index);
    double *x = vn_alloc((size_t)count, sizeof *x);
    vn_status status = index && x ? VN_OK : vn_no_memory(err);
    if (!status && count < 1)
        status = vn_fail(err, VN_BAD_ARGUMENT, "mmd: %lld samples of the data, and 2 are needed",
                         (long long)n);
    if (!status) {
        vn_random_permutation(index, f->n, m->o->seed, VN_STREAM_SELECT, 0);
        int64_t k = 0;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < i; j++)
                x[k++] =
                    sqrt(vn_squared_distance(f->x + index[i] * f->d, f->x + index[j] * f->d, f->d));
        const double upper = find_place(x, count, count / 2);
        *out = count % 2 ? upper : (upper + find_place(x, count, count / 2 - 1)) / 2;
        if (*out <= 0)
            status = vn_fail(err, VN_BAD_ARGUMENT,
                             "mmd: half of the data lies in one point, so that its median distance "
                             "is 0 and no bandwidth");
    }
    vn_free(index);
    vn_free(x);
    return status;
}

/* ---- the rows -------------------------------------------------------------------------------- */

static vn_status measure_kd(vn_measuring *m, const vn_choice *choice, vn_err *err) {
    (void)choice;
    return measure_pairs(m, "kd", "kernel distance", "", cubic, 0, err);
}

static vn_status measure_energy(vn_measuring *m, const vn_choice *choice, vn_err *err) {
    (void)choice;
    return measure_pairs(m, "energy", "energy distance", "", minus_distance, 0, err);
}

static vn_status measure_mmd(vn_measuring *m, const vn_choice *choice, vn_err *err) {
    double bandwidth = choice->value[0];
    vn_status status = bandwidth > 0 ? VN_OK : median_distance(m, &bandwidth, err);
    if (!status)
        status = measure_pairs(m, "mmd", "squared maximum mean discrepancy", "", gaussian,
                               bandwidth, err);
    if (!status)
        status = vn_metric_add(m, "mmd-bandwidth", "bandwidth of mmd", "", m->data.n, bandwidth,
                               (double)NAN, (double)NAN, err);
    return status;
}

static const vn_param mmd_params[] = {
    {"bandwidth", "of the Gaussian kernel; 0: the median distance of the data", 0, 0, 1e30, 0,
     NULL},
    {0},
};

const vn_metric_row vn_kd_metric = {
    .row = {"kd", "unbiased squared MMD of the features with the kernel (x.y/d + 1)^3",
            "1801.01401", NULL},
    .unit = "",
    .needs = VN_METRIC_SAMPLES | VN_METRIC_DATA,
    .measure = measure_kd,
};

const vn_metric_row vn_energy_metric = {
    .row = {"energy", "energy distance, 2 E|x-y| - E|x-x'| - E|y-y'|", "10.1016/j.jspi.2013.03.018",
            NULL},
    .unit = "",
    .needs = VN_METRIC_SAMPLES | VN_METRIC_DATA | VN_METRIC_POINTS,
    .measure = measure_energy,
};

const vn_metric_row vn_mmd_metric = {
    .row = {"mmd", "unbiased squared MMD with a Gaussian kernel", "Gretton 2012, JMLR 13",
            mmd_params},
    .unit = "",
    .needs = VN_METRIC_SAMPLES | VN_METRIC_DATA | VN_METRIC_POINTS,
    .measure = measure_mmd,
};
