/* equations.c - the equations of a linear operator A. A A^T + c I is divided by where it is
 * diagonal, and else solved by conjugate gradients in the space of observations, which is never
 * larger than the residual itself needs. */
#include "restore/internal.h"

#include <string.h>

enum { MAX_ITERATIONS = 300 };
#define SOLVED 1e-10 /* a residual, relative */

/* q = (A A^T + c I) p */
static void multiply(vn_operator *o, double c, const double *p, double *q, double *wide) {
    o->row->transpose(o, p, wide);
    o->row->apply(o, wide, q);
    for (int64_t i = 0; i < o->count; i++) q[i] += c * p[i];
}

static void solve_by_gradients(vn_operator *o, double c, const double *b, double *v) {
    const int64_t n = o->count;
    double *r = o->work, *p = r + n, *q = p + n, *wide = q + n;
    memcpy(r, b, (size_t)n * sizeof *r);
    memcpy(p, b, (size_t)n * sizeof *p);
    memset(v, 0, (size_t)n * sizeof *v);
    double rr = vn_dot(n, r, r);
    const double enough = SOLVED * SOLVED * rr;
    for (int k = 0; k < MAX_ITERATIONS && rr > enough; k++) {
        multiply(o, c, p, q, wide);
        const double curve = vn_dot(n, p, q);
        if (!(curve > 0)) break; /* what is left is outside A's range */
        const double step = rr / curve, before = rr;
        for (int64_t i = 0; i < n; i++) {
            v[i] += step * p[i];
            r[i] -= step * q[i];
        }
        rr = vn_dot(n, r, r);
        for (int64_t i = 0; i < n; i++) p[i] = r[i] + rr / before * p[i];
    }
}

void vn_operator_solve(vn_operator *o, double c, const double *r, double *v) {
    if (c < o->floor) c = o->floor;
    if (!o->gram) {
        solve_by_gradients(o, c, r, v);
        return;
    }
    for (int64_t i = 0; i < o->count; i++) v[i] = o->gram[i] + c > 0 ? r[i] / (o->gram[i] + c) : 0;
}

void vn_operator_pseudo_inverse(vn_operator *o, const double *y, double *x) {
    if (o->row->pseudo_inverse && !(o->user && !o->user->pseudo_inverse)) {
        o->row->pseudo_inverse(o, y, x);
        return;
    }
    double *v = o->work + 3 * o->count + o->size; /* before it vn_operator_solve's */
    vn_operator_solve(o, 0, y, v);
    o->row->transpose(o, v, x);
}
