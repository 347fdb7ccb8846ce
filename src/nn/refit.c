/* refit.c - the time of a network that is counted otherwise than in the one that it is made from.
 *
 * A flow map is differentiated by its time, and so its sinusoids turn a hundred times slower than
 * those of a velocity (extras.c). The layer that reads them was trained on fast ones, h(t) = W f(t)
 * + b. It becomes the layer whose answer to the slow ones is nearest to that over all times, which
 * is linear in it: with F and S the sinusoids, and 1, at evenly spaced times,
 *
 *     [W'; b'] = X [W; b],      (S'S/T + lambda) X = S'F/T
 *
 * What is lost is what h does faster than slow sinusoids can follow, which is noise that training
 * left there. The ridge keeps W' small, as slow sinusoids are nearly alike. */
#include "nn/internal.h"

#include <math.h>
#include <string.h>

enum { TIMES = 1001 }; /* 0 .. 1000 */
#define RIDGE 1e-3

/* What X is solved for: rows of n numbers, n the sinusoids and 1. */
typedef struct refit {
    int64_t n;
    double *fast, *slow;  /* [TIMES,n] */
    double *square, *map; /* [n,n] S'S/T + lambda, then its Cholesky factor; S'F/T, then X */
} refit;

static void sinusoids(const vn_net_time *of, double *row, double t) {
    const int64_t half = of->width / 2;
    for (int64_t i = 0; i < half; i++) {
        const double turn = of->scale * t * pow(10000, -(double)i / ((double)half - of->shift));
        row[of->flip ? i : half + i] = cos(turn);
        row[of->flip ? half + i : i] = sin(turn);
    }
    if (of->width % 2) row[2 * half] = 0;
    row[of->width] = 1;
}

static double dot(const double *a, int64_t step_a, const double *b, int64_t step_b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i * step_a] * b[i * step_b];
    return sum;
}

static vn_status open_refit(refit *r, const vn_net_time *from, const vn_net_time *to, vn_err *err) {
    const int64_t n = to->width + 1;
    const size_t numbers = (size_t)(n * n), rows = (size_t)(TIMES * n);
    *r = (refit){.n = n,
                 .fast = vn_alloc(rows, sizeof(double)),
                 .slow = vn_alloc(rows, sizeof(double)),
                 .square = vn_calloc(numbers + 1, sizeof(double)),
                 .map = vn_calloc(numbers + 1, sizeof(double))};
    if (!r->fast || !r->slow || !r->square || !r->map) return vn_no_memory(err);
    for (int t = 0; t < TIMES; t++) {
        sinusoids(from, r->fast + t * n, t);
        sinusoids(to, r->slow + t * n, t);
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < n; k++) {
            r->square[i * n + k] =
                dot(r->slow + i, n, r->slow + k, n, TIMES) / TIMES + (i == k ? RIDGE : 0);
            r->map[i * n + k] = dot(r->slow + i, n, r->fast + k, n, TIMES) / TIMES;
        }
    if (!vn_cholesky(r->square, n)) /* the ridge makes it definite */
        return vn_fail(err, VN_NOT_FINITE, "sinusoids of the time that are not finite");
    vn_cholesky_solve(r->square, n, r->map, n);
    return VN_OK;
}

static void close_refit(refit *r) {
    vn_free(r->fast);
    vn_free(r->slow);
    vn_free(r->square);
    vn_free(r->map);
}

/* One output of the layer: its row of weights and its bias. old [n] is to work in. */
static void refit_row(const refit *r, float *weight, float *bias, double *old) {
    for (int64_t i = 0; i + 1 < r->n; i++) old[i] = (double)weight[i];
    old[r->n - 1] = (double)*bias;
    for (int64_t i = 0; i + 1 < r->n; i++)
        weight[i] = (float)dot(r->map + i * r->n, 1, old, 1, r->n);
    *bias = (float)dot(r->map + (r->n - 1) * r->n, 1, old, 1, r->n);
}

/* Whether the name is `layer`.weight, or that of a layer inside others. */
static bool is_time_layer(const char *name, const char *layer) {
    const size_t tail = sizeof ".weight" - 1, n = strlen(layer), all = strlen(name);
    if (all < n + tail || strcmp(name + all - tail, ".weight") != 0) return false;
    const char *at = name + all - tail - n;
    return !strncmp(at, layer, n) && (at == name || at[-1] == '.');
}

static vn_status refit_layer(const refit *r, const vn_weights *w, const vn_weight *weight,
                             float *values, vn_err *err) {
    const size_t length = strlen(weight->name) - (sizeof "weight" - 1);
    char *name = vn_format("%.*sbias", (int)length, weight->name);
    double *old = vn_alloc((size_t)r->n, sizeof *old);
    const vn_weight *bias = name ? vn_weights_find(w, name) : NULL;
    vn_status status = name && old ? VN_OK : vn_no_memory(err);
    if (!status && !bias) status = vn_fail(err, VN_UNSUPPORTED, "%s has no bias", weight->name);
    for (int64_t i = 0; !status && i < weight->shape.dim[0]; i++)
        refit_row(r, values + weight->offset + i * (r->n - 1), values + bias->offset + i, old);
    vn_free(name);
    vn_free(old);
    return status;
}

vn_status vn_net_refit_time(const vn_net *from, const vn_net *to, float *values, vn_err *err) {
    const vn_net_time *a = &vn_net_get_io(from)->time, *b = &vn_net_get_io(to)->time;
    const vn_weights *w = vn_net_weights(to);
    if (!a->layer || !b->layer || a->scale == b->scale) return VN_OK;
    refit r;
    vn_status status = open_refit(&r, a, b, err);
    for (size_t i = 0; i < vn_weights_count(w) && !status; i++)
        if (is_time_layer(vn_weights_at(w, i)->name, b->layer))
            status = refit_layer(&r, w, vn_weights_at(w, i), values, err);
    close_refit(&r);
    return status;
}
