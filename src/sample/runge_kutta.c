/* runge_kutta.c - explicit Runge-Kutta methods as tables of coefficients, one stepper for all of
 * them, and the samplers that apply them. For dy/dc = f(y, c) and a step h, stage i is
 *
 *     d_i = f(y + h sum_j<i a_ij d_j, c + node_i h)
 *     y'  = y + h sum_i weight_i d_i        error = h sum_i error_i d_i
 *
 * midpoint (Runge 1895), rk4 (both rules are Kutta's, 1901), dopri5 (Dormand and Prince 1980; its
 * seventh stage is the first of the next step), which chooses its steps, and with which 2011.13456
 * solves the probability-flow ODE. The samplers work in the straight coordinates of path.h: y = x/m
 * against time c, with slope eps - k x0. */
#include "sample/internal.h"

#include <math.h>
#include <string.h>

/* clang-format off */
const vn_tableau vn_midpoint = {
    .stages = 2, .order = 2,
    .node = {0, 1./2},
    .a = {{0},
          {1./2}},
    .weight = {0, 1},
};
const vn_tableau vn_rk4 = {
    .stages = 4, .order = 4,
    .node = {0, 1./2, 1./2, 1},
    .a = {{0},
          {1./2},
          {0,    1./2},
          {0,    0,    1}},
    .weight = {1./6, 1./3, 1./3, 1./6},
};
const vn_tableau vn_rk4_three_eighths = {
    .stages = 4, .order = 4,
    .node = {0, 1./3, 2./3, 1},
    .a = {{0},
          {1./3},
          {-1./3, 1},
          {1,    -1,   1}},
    .weight = {1./8, 3./8, 3./8, 1./8},
};
const vn_tableau vn_dopri5 = {
    .stages = 7, .order = 5,
    .node = {0, 1./5, 3./10, 4./5, 8./9, 1, 1},
    .a = {{0},
          {1./5},
          {3./40,       9./40},
          {44./45,      -56./15,      32./9},
          {19372./6561, -25360./2187, 64448./6561, -212./729},
          {9017./3168,  -355./33,     46732./5247, 49./176,  -5103./18656},
          {35./384,     0,            500./1113,   125./192, -2187./6784,  11./84}},
    .weight = {35./384, 0, 500./1113,  125./192, -2187./6784,    11./84,   0},
    .error =  {71./57600, 0, -71./16695, 71./1920, -17253./339200, 22./525, -1./40},
};
/* clang-format on */

/* ---- one step -------------------------------------------------------------------------------- */

/* sum_j w_j d_j of one coordinate. */
static double weighted(const vn_ode *o, const double *w, int count, size_t i) {
    double sum = 0;
    for (int j = 0; j < count; j++) sum += w[j] * (double)o->slope[j][i];
    return sum;
}

/* Sets o->stage for stage i, and returns its clock. */
static double form_stage(vn_ode *o, int i, double from, double to, const float *y) {
    const vn_tableau *t = o->tableau;
    for (size_t j = 0; j < o->n; j++)
        o->stage[j] = (float)((double)y[j] + (to - from) * weighted(o, t->a[i], i, j));
    return (1 - t->node[i]) * from + t->node[i] * to; /* exactly from and to at the nodes 0 and 1 */
}

vn_status vn_ode_stages(vn_ode *o, double from, double to, const float *y, vn_err *err) {
    vn_status status = VN_OK;
    for (int i = 1; i < o->tableau->stages && !status; i++) {
        const double clock = form_stage(o, i, from, to, y);
        status = o->find_slope(o->self, clock, o->stage, o->slope[i], &o->rate[i], err);
        o->evaluations++;
    }
    return status;
}

void vn_ode_advance(vn_ode *o, double h, float *y) {
    const vn_tableau *t = o->tableau;
    for (size_t i = 0; i < o->n; i++)
        y[i] = (float)((double)y[i] + h * weighted(o, t->weight, t->stages, i));
    for (int i = 0; i < t->stages; i++) o->integral += h * t->weight[i] * o->rate[i];
}

/* ---- adaptive steps -------------------------------------------------------------------------- */

/* The step's error in units of the tolerance: the root mean square over y, and that of the
 * integral; NaN where any is. o->stage holds the new y, as the seventh stage of dopri5 leaves it.
 * Relative to the smaller of old and new y: y falls from sigma_max to 1, and an error that is small
 * beside the old one may be large beside the new one. */
static double error_of(const vn_ode *o, double h, const float *y) {
    const vn_tableau *t = o->tableau;
    double sum = 0, of_integral = 0;
    for (size_t i = 0; i < o->n; i++) {
        const double size = fmin(fabs((double)y[i]), fabs((double)o->stage[i]));
        const double error = h * weighted(o, t->error, t->stages, i) / (o->atol + o->rtol * size);
        sum += error * error;
    }
    for (int i = 0; i < t->stages; i++) of_integral += h * t->error[i] * o->rate[i];
    return hypot(sqrt(sum / (double)o->n), of_integral / (o->atol + o->rtol * fabs(o->integral)));
}

/* The seventh slope is that at the new y. */
static void keep_last_slope(vn_ode *o) {
    const int last = o->tableau->stages - 1;
    float *slope = o->slope[0];
    o->slope[0] = o->slope[last];
    o->slope[last] = slope;
    o->rate[0] = o->rate[last];
}

void vn_ode_begin(vn_ode *o, double from, double to) {
    o->clock = from;
    o->to = to;
    o->h = to - from;
    o->at = 0;
}

/* Where the step that is tried ends. */
static double end_of_step(const vn_ode *o) {
    return fabs(o->h) >= fabs(o->to - o->clock) ? o->to : o->clock + o->h;
}

vn_status vn_ode_next(vn_ode *o, const float *y, bool *more, double *clock, vn_err *err) {
    *more = o->clock != o->to;
    if (!*more) return VN_OK;
    if (o->at == 0) {
        if (end_of_step(o) == o->clock)
            return vn_fail(err, VN_NOT_FINITE, "the step has shrunk to nothing at clock %g",
                           o->clock);
        if (o->evaluations + o->tableau->stages - 1 > o->max_evaluations)
            return vn_fail(err, VN_BAD_ARGUMENT,
                           "more than %lld evaluations at tolerances %g and %g",
                           (long long)o->max_evaluations, o->rtol, o->atol);
        o->at = 1;
    }
    *clock = form_stage(o, o->at, o->clock, end_of_step(o), y);
    return VN_OK;
}

void vn_ode_evaluated(vn_ode *o, float *y) {
    o->evaluations++;
    if (++o->at < o->tableau->stages) return;
    const double next = end_of_step(o), h = next - o->clock;
    const double error = error_of(o, h, y);
    const double factor = isfinite(error) ? 0.9 * pow(error, -1.0 / o->tableau->order) : 0;
    o->at = 0;
    if (error <= 1) {
        vn_ode_advance(o, h, y);
        keep_last_slope(o);
        o->clock = next;
        o->h = h * fmin(fmax(factor, 1), 10);
    } else {
        o->h = h * fmax(factor, 0.2);
    }
}

vn_status vn_ode_run(vn_ode *o, double from, double to, float *y, vn_err *err) {
    bool more = false;
    double clock = from;
    vn_ode_begin(o, from, to);
    vn_status status = vn_ode_next(o, y, &more, &clock, err);
    while (!status && more) {
        status = o->find_slope(o->self, clock, o->stage, o->slope[o->at], &o->rate[o->at], err);
        if (status) break;
        vn_ode_evaluated(o, y);
        status = vn_ode_next(o, y, &more, &clock, err);
    }
    return status;
}

/* ---- the ODE of a sampling run's step -------------------------------------------------------- */

void vn_step_scale(size_t n, double by, float *x) {
    if (by != 1)
        for (size_t i = 0; i < n; i++) x[i] = (float)((double)x[i] * by);
}

void vn_flow_slope(const vn_path *p, size_t n, vn_estimate estimate) {
    const float k = (float)p->row->straight_k;
    if (k != 0)
        for (size_t i = 0; i < n; i++) estimate.eps[i] -= k * estimate.x0[i];
}

/* X0 and EPS: of all samples at the step's beginning, where vn_step_continuous leaves them. */
enum { X0, EPS, STAGE, X, MORE_SLOPES };
_Static_assert(VN_DOPRI5_SLOTS == MORE_SLOPES + VN_STAGES - 1, "a slot for every slope");

/* The ODE of n rows of a step, from `row` on; n 0: all. */
typedef struct flow {
    vn_step *step;
    int64_t row, n;
    size_t at; /* of `row` in an array */
    const vn_level *from, *to;
} flow;

/* The level at a clock. At both ends it is the grid's own, which may not be on the path's curve. */
static vn_level level_at(const flow *f, double clock) {
    const vn_path *p = f->step->path;
    if (clock == vn_path_clock(p, f->from)) return *f->from;
    return clock == vn_path_clock(p, f->to) ? *f->to : vn_path_level_of_clock(p, clock);
}

static vn_status find_slope(void *self, double clock, const float *y, float *slope, double *rate,
                            vn_err *err) {
    const flow *f = self;
    vn_step *s = f->step;
    const size_t n = (size_t)((f->n ? f->n : s->n) * s->size);
    const vn_level level = level_at(f, clock);
    float *x = s->slot[X] + f->at;
    const vn_estimate p = {s->slot[X0] + f->at, slope};
    memcpy(x, y, n * sizeof *y);
    vn_step_scale(n, vn_path_scale(s->path, &level), x);
    vn_status status = vn_step_predict_request(
        s, &(vn_request){.x = x, .level = &level, .row = f->row, .n = f->n}, p, err);
    if (!status) vn_flow_slope(s->path, n, p);
    *rate = 0;
    return status;
}

/* Sets up the ODE and its first slope, and turns x into y. */
static float *begin(flow *f, const vn_tableau *t, vn_ode *o) {
    const vn_step *s = f->step;
    float *y = s->x + f->at;
    o->tableau = t;
    o->n = (size_t)((f->n ? f->n : s->n) * s->size);
    o->find_slope = find_slope;
    o->self = f;
    o->stage = s->slot[STAGE] + f->at;
    o->slope[0] = s->slot[EPS] + f->at;
    for (int i = 1; i < t->stages; i++) o->slope[i] = s->slot[MORE_SLOPES + i - 1] + f->at;
    vn_flow_slope(s->path, o->n, (vn_estimate){s->slot[X0] + f->at, o->slope[0]});
    vn_step_scale(o->n, 1 / vn_path_scale(s->path, f->from), y);
    return y;
}

/* ---- fixed steps: midpoint, rk4 -------------------------------------------------------------- */

static vn_status step(vn_step *s, const vn_tableau *t, const vn_level *from, const vn_level *to,
                      vn_err *err) {
    flow f = {.step = s, .from = from, .to = to};
    vn_ode o = {0};
    float *y = begin(&f, t, &o);
    const double begins = vn_path_clock(s->path, from), ends = vn_path_clock(s->path, to);
    vn_status status = vn_ode_stages(&o, begins, ends, y, err);
    if (!status) vn_ode_advance(&o, ends - begins, y);
    vn_step_scale(o.n, vn_path_scale(s->path, to), y);
    return status;
}

enum { RULE };
enum { THREE_EIGHTHS, CLASSICAL };
static const vn_param rk4_params[] = {
    {"rule", "Kutta's 3/8 rule, as torchdiffeq's rk4, or his more usual one", THREE_EIGHTHS, 0, 1,
     1, "three-eighths|classical"},
    {0},
};

static vn_status midpoint_inside(vn_step *s, const vn_level *from, const vn_level *to,
                                 vn_err *err) {
    return step(s, &vn_midpoint, from, to, err);
}

static vn_status rk4_inside(vn_step *s, const vn_level *from, const vn_level *to, vn_err *err) {
    return step(s, s->choice->value[RULE] == CLASSICAL ? &vn_rk4 : &vn_rk4_three_eighths, from, to,
                err);
}

/* sigma/alpha where a rule with fixed or tight steps begins when its clock would be infinite at
 * alpha = 0. */
static double begin_ratio(const vn_step *s) {
    return vn_step_max_ratio(s, VN_MAX_RATIO);
}

static vn_status midpoint_step(vn_step *s, vn_err *err) {
    return vn_step_continuous(s, begin_ratio(s), midpoint_inside, err);
}

static vn_status rk4_step(vn_step *s, vn_err *err) {
    return vn_step_continuous(s, begin_ratio(s), rk4_inside, err);
}

/* ---- steps of its own: dopri5 ---------------------------------------------------------------- */

enum { RTOL, ATOL, MAX_EVALUATIONS };
static const vn_param dopri5_params[] = {
    {"rtol", "error of a step, relative to the state", 1e-5, 1e-7, 0.1, 0, NULL},
    {"atol", "and absolute", 1e-5, 1e-9, 0.1, 0, NULL},
    {"most", "evaluations of a sample in a step of the grid, before it gives up", 10000, 7, 1e9, 1,
     NULL},
    {0},
};

/* One sample alone: its steps do not depend on the batch. */
vn_status vn_step_dopri5(vn_step *s, int64_t row, const vn_level *from, const vn_level *to,
                         const vn_tolerance *by, vn_err *err) {
    flow f = {.step = s, .row = row, .n = 1, .at = (size_t)(row * s->size), .from = from, .to = to};
    vn_ode o = {.rtol = by->rtol, .atol = by->atol, .max_evaluations = by->max_evaluations};
    float *y = begin(&f, &vn_dopri5, &o);
    vn_status status =
        vn_ode_run(&o, vn_path_clock(s->path, from), vn_path_clock(s->path, to), y, err);
    vn_step_scale(o.n, vn_path_scale(s->path, to), y);
    return status;
}

static vn_status dopri5_row(vn_step *s, int64_t row, const vn_level *from, const vn_level *to,
                            vn_err *err) {
    const double *p = s->choice->value;
    const vn_tolerance by = {p[RTOL], p[ATOL], (int64_t)p[MAX_EVALUATIONS]};
    return vn_step_dopri5(s, row, from, to, &by, err);
}

static vn_status dopri5_inside(vn_step *s, const vn_level *from, const vn_level *to, vn_err *err) {
    return vn_step_rows(s, from, to, dopri5_row, err);
}

static vn_status dopri5_step(vn_step *s, vn_err *err) {
    return vn_step_continuous(s, begin_ratio(s), dopri5_inside, err);
}

/* ---- the rows -------------------------------------------------------------------------------- */

const vn_sampler_row vn_midpoint_sampler = {
    .row = {"midpoint", "Runge's midpoint rule on the ODE, order 2", "torchdiffeq", NULL},
    .spacing = VN_SPACING_BETWEEN,
    .slots = MORE_SLOPES + 1,
    .step = midpoint_step,
};

const vn_sampler_row vn_rk4_sampler = {
    .row = {"rk4", "Kutta's rules on the ODE, order 4", "torchdiffeq", rk4_params},
    .spacing = VN_SPACING_BETWEEN,
    .slots = MORE_SLOPES + 3,
    .step = rk4_step,
};

const vn_sampler_row vn_dopri5_sampler = {
    .row = {"dopri5", "Dormand-Prince 5(4) on the ODE; steps of its own between the grid's",
            "2011.13456", dopri5_params},
    .spacing = VN_SPACING_BETWEEN,
    .slots = VN_DOPRI5_SLOTS,
    .step = dopri5_step,
};
