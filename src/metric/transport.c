/* transport.c - how far points have to be carried: the 2-Wasserstein distance of two sets of as
 * many points, by the best assignment, and its mean over directions, where sorting finds it.
 *
 * The assignment is found by shortest augmenting paths with potentials (Jonker & Volgenant 1987,
 * Crouse 2016), in O(n^3); its potentials u_i + v_j <= |x_i - y_j|^2, with equality where i goes to
 * j, say what each point adds, so that means of resampled potentials give the interval
 * (1705.01299). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "metric/internal.h"

/* ---- assignment ------------------------------------------------------------------------------ */

enum { MAX_ASSIGNED = 5000 };

/* Rows and columns count from 1, and column 0 is where a path begins. */
typedef struct assignment {
    const vn_features *x, *y;
    int64_t n;
    double *u, *v;   /* [n+1] potentials of rows and columns */
    double *nearest; /* [n+1] of each column, along the tree */
    int64_t *row;    /* [n+1] that a column is assigned to; 0: none */
    int64_t *before; /* [n+1] the column before on the path */
    bool *reached;   /* [n+1] */
} assignment;

static double cost(const assignment *a, int64_t i, int64_t j) {
    return vn_squared_distance(a->x->x + (i - 1) * a->x->d, a->y->x + (j - 1) * a->y->d, a->x->d);
}

/* Grows the tree from column `at` by its nearest column, which is returned. */
static int64_t grow(assignment *a, int64_t at) {
    const int64_t row = a->row[at];
    double least = (double)INFINITY;
    int64_t next = 0;
    a->reached[at] = true;
    for (int64_t j = 1; j <= a->n; j++) {
        if (a->reached[j]) continue;
        const double reduced = cost(a, row, j) - a->u[row] - a->v[j];
        if (reduced < a->nearest[j]) {
            a->nearest[j] = reduced;
            a->before[j] = at;
        }
        if (a->nearest[j] < least) {
            least = a->nearest[j];
            next = j;
        }
    }
    for (int64_t j = 0; j <= a->n; j++) {
        if (a->reached[j]) {
            a->u[a->row[j]] += least;
            a->v[j] -= least;
        } else {
            a->nearest[j] -= least;
        }
    }
    return next;
}

static void assign(assignment *a, int64_t row) {
    int64_t at = 0;
    for (int64_t j = 0; j <= a->n; j++) {
        a->nearest[j] = (double)INFINITY;
        a->reached[j] = false;
    }
    a->row[0] = row;
    do at = grow(a, at);
    while (a->row[at]);
    while (at) {
        const int64_t before = a->before[at];
        a->row[at] = a->row[before];
        at = before;
    }
}

/* Potentials to begin with, each as large as the others allow, and rows to columns that are tight:
 * most paths are then short (Jonker and Volgenant's reduction). */
static void reduce(assignment *a) {
    for (int64_t j = 1; j <= a->n; j++) a->v[j] = (double)INFINITY;
    for (int64_t i = 1; i <= a->n; i++)
        for (int64_t j = 1; j <= a->n; j++) a->v[j] = fmin(a->v[j], cost(a, i, j));
    for (int64_t i = 1; i <= a->n; i++) {
        int64_t best = 0;
        a->u[i] = (double)INFINITY;
        for (int64_t j = 1; j <= a->n; j++) {
            const double reduced = cost(a, i, j) - a->v[j];
            if (reduced < a->u[i] || (reduced == a->u[i] && a->row[best] && !a->row[j])) {
                a->u[i] = reduced;
                best = j;
            }
        }
        if (!a->row[best]) a->row[best] = i;
    }
}

static vn_status open_assignment(assignment *a, vn_err *err) {
    const size_t n = (size_t)a->n + 1;
    a->u = vn_calloc(n, sizeof *a->u);
    a->v = vn_calloc(n, sizeof *a->v);
    a->nearest = vn_alloc(n, sizeof *a->nearest);
    a->row = vn_calloc(n, sizeof *a->row);
    a->before = vn_calloc(n, sizeof *a->before);
    a->reached = vn_alloc(n, sizeof *a->reached);
    const bool ok = a->u && a->v && a->nearest && a->row && a->before && a->reached;
    return ok ? VN_OK : vn_no_memory(err);
}

static void close_assignment(assignment *a) {
    vn_free(a->u);
    vn_free(a->v);
    vn_free(a->nearest);
    vn_free(a->row);
    vn_free(a->before);
    vn_free(a->reached);
}

static vn_status check_counts(const vn_measuring *m, vn_err *err) {
    const int64_t n = m->samples.n, of_data = m->data.n;
    if (n != of_data)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "w2: %lld samples and %lld of the data: an assignment needs as many of both "
                       "(sliced-w2 does not)",
                       (long long)n, (long long)of_data);
    if (n > MAX_ASSIGNED)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "w2: the assignment of %lld points takes too long; at most %d are possible "
                       "(`count`), and sliced-w2 takes any number",
                       (long long)n, MAX_ASSIGNED);
    return VN_OK;
}

/* sqrt of the mean of u + the mean of v, of resamples of both. */
static vn_status add_w2(vn_measuring *m, const assignment *a, vn_err *err) {
    double total = 0;
    for (int64_t j = 1; j <= a->n; j++) total += cost(a, a->row[j], j);
    const double value = sqrt(total / (double)a->n);
    const int64_t resamples = m->o->resamples;
    int32_t *count = vn_alloc((size_t)a->n, sizeof *count);
    double *of = vn_alloc((size_t)resamples, sizeof *of);
    vn_status status = count && of ? VN_OK : vn_no_memory(err);
    for (int64_t r = 0; r < resamples && !status; r++) {
        double sum = 0;
        for (int which = 0; which < 2; which++) {
            const double *potential = which ? a->v : a->u;
            vn_metric_resample_counts(m->o->seed, which, r, a->n, count);
            for (int64_t i = 0; i < a->n; i++) sum += count[i] * potential[i + 1];
        }
        of[r] = sqrt(fmax(sum / (double)a->n, 0));
    }
    if (!status) {
        const vn_interval i = vn_interval_of_distance(value, of, resamples);
        status =
            vn_metric_add(m, "w2", "2-Wasserstein distance", "", a->n, value, i.low, i.high, err);
    }
    vn_free(count);
    vn_free(of);
    return status;
}

static vn_status measure_w2(vn_measuring *m, const vn_choice *choice, vn_err *err) {
    assignment a = {.x = &m->samples, .y = &m->data, .n = m->samples.n};
    (void)choice;
    vn_status status = check_counts(m, err);
    if (!status) status = open_assignment(&a, err);
    bool *has = vn_calloc((size_t)a.n + 1, sizeof *has); /* rows that have a column */
    if (!status && !has) status = vn_no_memory(err);
    if (!status) reduce(&a);
    for (int64_t j = 1; j <= a.n && !status; j++) has[a.row[j]] = true;
    for (int64_t i = 1; i <= a.n && !status; i++) {
        if (i % 16 == 1) status = vn_metric_report(m, i - 1, a.n, err);
        if (!status && !has[i]) assign(&a, i);
    }
    vn_free(has);
    if (!status) status = add_w2(m, &a, err);
    close_assignment(&a);
    return status;
}

/* ---- sliced ---------------------------------------------------------------------------------- */

/* A point on a line, and which one it is. */
typedef struct projected {
    double at;
    int64_t index;
} projected;

static int by_projection(const void *a, const void *b) {
    const projected *x = a, *y = b;
    if (x->at != y->at) return x->at < y->at ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

typedef struct slices {
    const vn_features *set[2];
    uint64_t seed;
    int64_t weights;   /* one, and one of each resample */
    int32_t *count[2]; /* [weights, n] */
    projected *places; /* [threads, n of both] */
    double *direction; /* [threads, d] */
    double *out;       /* [directions, weights] W2^2 */
} slices;

/* W2^2 of weighted points on a line, by their quantiles: a point of one set has the mass of its
 * count times the other set's size, so that masses are whole. */
static double carry(const projected *x, const int32_t *of_x, int64_t n, const projected *y,
                    const int32_t *of_y, int64_t m) {
    int64_t i = 0, j = 0, left_x = of_x[x[0].index] * m, left_y = of_y[y[0].index] * n;
    double sum = 0;
    for (;;) {
        while (!left_x && ++i < n) left_x = of_x[x[i].index] * m;
        while (!left_y && ++j < m) left_y = of_y[y[j].index] * n;
        if (i >= n || j >= m) break;
        const int64_t mass = left_x < left_y ? left_x : left_y;
        sum += (double)mass * (x[i].at - y[j].at) * (x[i].at - y[j].at);
        left_x -= mass;
        left_y -= mass;
    }
    return sum / ((double)n * (double)m);
}

static void draw_direction(const slices *s, int64_t number, double *direction, int64_t d) {
    double squares = 0;
    for (int64_t j = 0; j < d; j++) {
        float z;
        vn_random_normal(&z, 1, s->seed, VN_STREAM_DIRECTION, (uint64_t)number, (uint64_t)j);
        direction[j] = (double)z;
        squares += direction[j] * direction[j];
    }
    for (int64_t j = 0; j < d; j++) direction[j] /= sqrt(squares);
}

static void slice(void *context, int64_t number, int thread) {
    const slices *s = context;
    const int64_t d = s->set[0]->d, n = s->set[0]->n, m = s->set[1]->n;
    double *direction = s->direction + thread * d;
    projected *places[2] = {s->places + thread * (n + m), s->places + thread * (n + m) + n};
    draw_direction(s, number, direction, d);
    for (int k = 0; k < 2; k++) {
        for (int64_t i = 0; i < s->set[k]->n; i++) {
            double at = 0;
            for (int64_t j = 0; j < d; j++) at += direction[j] * (double)s->set[k]->x[i * d + j];
            places[k][i] = (projected){at, i};
        }
        qsort(places[k], (size_t)s->set[k]->n, sizeof(projected), by_projection);
    }
    for (int64_t w = 0; w < s->weights; w++)
        s->out[number * s->weights + w] =
            carry(places[0], s->count[0] + w * n, n, places[1], s->count[1] + w * m, m);
}

static void fill_counts(const vn_measuring *m, const slices *s) {
    for (int k = 0; k < 2; k++) {
        const int64_t n = s->set[k]->n;
        for (int64_t i = 0; i < n; i++) s->count[k][i] = 1;
        for (int64_t w = 1; w < s->weights; w++)
            vn_metric_resample_counts(m->o->seed, k, w - 1, n, s->count[k] + w * n);
    }
}

/* The root of the mean over directions, under each of the weights. */
static vn_status add_sliced(vn_measuring *m, const slices *s, int64_t directions, vn_err *err) {
    double *of = vn_calloc((size_t)s->weights, sizeof *of);
    if (!of) return vn_no_memory(err);
    for (int64_t l = 0; l < directions; l++)
        for (int64_t w = 0; w < s->weights; w++)
            of[w] += s->out[l * s->weights + w] / (double)directions;
    for (int64_t w = 0; w < s->weights; w++) of[w] = sqrt(of[w]);
    const double value = of[0];
    const vn_interval i = vn_interval_of_distance(value, of + 1, s->weights - 1);
    vn_free(of);
    return vn_metric_add(m, "sliced-w2", "sliced 2-Wasserstein distance", "", m->samples.n, value,
                         i.low, i.high, err);
}

/* Steps along the lines that the resamples may take. */
#define BUDGET 1e9
enum { MIN_RESAMPLES = 20 };

static int64_t resamples_of(const vn_measuring *m, int64_t directions) {
    const double each = (double)directions * (double)(m->samples.n + m->data.n);
    const int64_t most = (int64_t)(BUDGET / each),
                  few = most < MIN_RESAMPLES ? MIN_RESAMPLES : most;
    return m->o->resamples < few ? m->o->resamples : few;
}

static vn_status measure_sliced(vn_measuring *m, const vn_choice *choice, vn_err *err) {
    const int64_t directions = (int64_t)choice->value[0], both = m->samples.n + m->data.n;
    const size_t threads = (size_t)vn_thread_pool_threads(m->o->pool);
    slices s = {.set = {&m->samples, &m->data},
                .seed = m->o->seed,
                .weights = 1 + resamples_of(m, directions)};
    if (m->samples.n < 1 || m->data.n < 1)
        return vn_fail(err, VN_BAD_ARGUMENT, "sliced-w2: a set is empty");
    for (int k = 0; k < 2; k++)
        s.count[k] = vn_alloc((size_t)s.set[k]->n, (size_t)s.weights * sizeof(int32_t));
    s.places = vn_alloc(threads, (size_t)both * sizeof(projected));
    s.direction = vn_alloc(threads, (size_t)m->samples.d * sizeof(double));
    s.out = vn_alloc((size_t)directions, (size_t)s.weights * sizeof(double));
    vn_status status =
        s.count[0] && s.count[1] && s.places && s.direction && s.out ? VN_OK : vn_no_memory(err);
    if (!status) fill_counts(m, &s);
    if (!status) status = vn_metric_run(m, directions, slice, &s, err);
    if (!status) status = add_sliced(m, &s, directions, err);
    vn_free(s.count[0]);
    vn_free(s.count[1]);
    vn_free(s.places);
    vn_free(s.direction);
    vn_free(s.out);
    return status;
}

static const vn_param sliced_params[] = {
    {"directions", "random ones, of which the mean is taken", 1000, 1, 1000000, VN_PARAM_WHOLE,
     NULL},
    {0},
};

const vn_metric_row vn_w2_metric = {
    .row = {"w2", "2-Wasserstein distance of as many points, by the best assignment",
            "10.1109/TAES.2016.140952, 1705.01299", NULL},
    .unit = "",
    .needs = VN_METRIC_SAMPLES | VN_METRIC_DATA | VN_METRIC_POINTS,
    .measure = measure_w2,
};

const vn_metric_row vn_sliced_w2_metric = {
    .row = {"sliced-w2", "root of the mean over directions of the squared 2-Wasserstein distance",
            "10.1007/978-3-642-24785-9_37", sliced_params},
    .unit = "",
    .needs = VN_METRIC_SAMPLES | VN_METRIC_DATA | VN_METRIC_POINTS,
    .measure = measure_sliced,
};
