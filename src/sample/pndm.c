/* pndm.c - pseudo numerical methods on manifolds (2202.09778, algorithm 2): classical rules for
 * ODEs applied to the noise e, in which each move is exact for a constant noise (equation 11),
 *
 *     phi(x, e; from, to) = alpha'/alpha x + (sigma' - alpha' sigma/alpha) e
 *
 * pndm   three steps by Runge and Kutta's rule of order 4, four predictions each, then Adams and
 *        Bashforth's with constant weights: e = (55 e_0 - 59 e_1 + 37 e_2 - 9 e_3)/24
 * plms   one step by Heun's rule, two predictions, then the rules of Adams and Bashforth of order
 *        2, 3, 4, 4, ...
 * ipndm  only these, from order 1 on (2204.13902)
 *
 * Constant weights are exact for steps that are even in t. Out of pure noise phi is not defined;
 * such a step is DDIM's, and so is one to sigma = 0 in rules that would predict there. */
#include "sample/internal.h"

#include <math.h>
#include <string.h>

enum { X0, EPS, PAST, THERE_X0 = PAST + 3, THERE_EPS, SUM, SLOTS };

/* The factor by which a change of e changes x at `to`. */
static double weight_of_noise(const vn_level *from, const vn_level *to) {
    return to->sigma - to->alpha * from->sigma / from->alpha;
}

/* x = phi(x, e; from, to), where x at `from` is given by its estimate. */
static void transfer(vn_step *s, vn_estimate begin, const vn_level *to, const float *e) {
    const double w = weight_of_noise(s->from, to);
    const float a = (float)to->alpha, b = (float)(to->sigma - w), c = (float)w;
    for (size_t i = 0; i < (size_t)(s->n * s->size); i++)
        s->x[i] = a * begin.x0[i] + b * begin.eps[i] + c * e[i];
}

static void add(const vn_step *s, float *sum, double share, const float *e) {
    for (size_t i = 0; i < (size_t)(s->n * s->size); i++) sum[i] += (float)share * e[i];
}

/* ---- Adams and Bashforth --------------------------------------------------------------------- */

/* Adds to DDIM's step what the earlier predictions change. */
static void even_rule(vn_step *s, int order) {
    static const double node[] = {-1, -2, -3};
    double moment[3];
    const int n = s->from->alpha > 0 ? vn_step_order(s, order, false) - 1 : 0;
    vn_adams_moments(n, 0, moment);
    vn_step_adams(s, weight_of_noise(s->from, s->to), n, node, moment, &s->slot[PAST],
                  s->slot[EPS]);
}

/* DDIM's step to the level that this one ends on. even: steps are T/N apart (vn_step_target). */
static void move_to_target(vn_step *s, vn_estimate p, bool even) {
    const vn_level *next = s->to,
                   target = vn_step_target(s, even ? VN_TARGET_EVEN : VN_TARGET_NEXT);
    s->to = &target;
    vn_step_ddim(s, p);
    s->to = next;
}

static void move_by_rule(vn_step *s, vn_estimate p, int order, bool even) {
    const vn_level *next = s->to,
                   target = vn_step_target(s, even ? VN_TARGET_EVEN : VN_TARGET_NEXT);
    s->to = &target;
    vn_step_ddim(s, p);
    even_rule(s, order);
    s->to = next;
}

/* ---- the first steps ------------------------------------------------------------------------- */

/* The middle of a step, in t. Where it lies between two steps of a discrete path, diffusers moves
 * to the one above and predicts at the one below; its half step is that of even steps. */
static vn_level middle(const vn_step *s, bool even, bool below) {
    const double own = (s->from->t - s->to->t) * s->path->steps;
    const double gap = even ? floor((double)s->path->steps / s->count) : own,
                 half = floor(round(gap) / 2);
    if (!s->path->steps || fabs(gap - round(gap)) > 1e-3)
        return vn_path_level(s->path, (s->from->t + s->to->t) / 2);
    return vn_path_level(s->path, below ? s->to->t + half / s->path->steps
                                        : s->from->t - half / s->path->steps);
}

/* e = (e_1 + 2 e_2 + 2 e_3 + e_4)/6. */
static vn_status runge_kutta(vn_step *s, vn_estimate begin, bool even, vn_err *err) {
    const vn_level first = middle(s, even, false), second = middle(s, even, true);
    const struct {
        const vn_level *to, *at; /* moved to, predicted at */
        double share;
    } stages[] = {{&first, &second, 1 / 3.0}, {&second, &second, 1 / 3.0}, {s->to, s->to, 1 / 6.0}};
    const vn_estimate there = {s->slot[THERE_X0], s->slot[THERE_EPS]};
    float *sum = s->slot[SUM];
    const float *e = begin.eps;
    memset(sum, 0, (size_t)(s->n * s->size) * sizeof *sum);
    add(s, sum, 1 / 6.0, e);
    for (size_t i = 0; i < VN_COUNT(stages); i++) {
        transfer(s, begin, stages[i].to, e);
        vn_status status = vn_step_predict(s, s->x, stages[i].at, there, err);
        if (status) return status;
        e = there.eps;
        add(s, sum, stages[i].share, e);
    }
    transfer(s, begin, s->to, sum);
    return VN_OK;
}

/* The move from T/N steps above `to`, wherever x was, as diffusers makes it. */
static void transfer_evenly(vn_step *s, vn_estimate begin, const float *e) {
    const double above =
        rint(s->to->t * s->path->steps - 1) + floor((double)s->path->steps / s->count);
    const vn_level from = vn_path_level_of_step(s->path, fmin(above, s->path->steps - 1));
    const double keep = s->to->alpha / from.alpha;
    vn_step_blend(s, keep * s->from->alpha, begin.x0, keep * s->from->sigma, begin.eps, s->x);
    add(s, s->x, weight_of_noise(&from, s->to), e);
}

/* e = (e_1 + e_2)/2. */
static vn_status heun(vn_step *s, vn_estimate begin, bool even, vn_err *err) {
    const vn_estimate there = {s->slot[THERE_X0], s->slot[THERE_EPS]};
    move_to_target(s, begin, even);
    vn_status status = vn_step_predict(s, s->x, s->to, there, err);
    if (status) return status;
    memset(s->slot[SUM], 0, (size_t)(s->n * s->size) * sizeof *s->x);
    add(s, s->slot[SUM], 0.5, begin.eps);
    add(s, s->slot[SUM], 0.5, there.eps);
    if (even)
        transfer_evenly(s, begin, s->slot[SUM]);
    else
        transfer(s, begin, s->to, s->slot[SUM]);
    return VN_OK;
}

/* ---- the rows -------------------------------------------------------------------------------- */

typedef vn_status first_step(vn_step *s, vn_estimate begin, bool even, vn_err *err);

/* The first `count` steps by `begin_by`, the others by Adams and Bashforth. */
static vn_status step(vn_step *s, int count, first_step *begin_by, int order, bool even,
                      vn_err *err) {
    const vn_estimate p = {s->slot[X0], s->slot[EPS]};
    const bool ddim_only = s->from->alpha == 0 || s->to->sigma == 0;
    vn_status status = vn_step_predict(s, s->x, s->from, p, err);
    if (!status && begin_by && s->history < count && !ddim_only) {
        status = begin_by(s, p, even, err);
    } else if (!status) {
        move_by_rule(s, p, order, even);
    }
    vn_step_record(s, EPS, PAST, 3);
    return status;
}

enum { TARGET };
static const vn_param pndm_params[] = {VN_TARGET_PARAM, {0}};

static vn_status pndm_check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    return vn_target_check(c, TARGET, d, err);
}

static vn_status pndm_step(vn_step *s, vn_err *err) {
    return step(s, 3, runge_kutta, 4, s->choice->value[TARGET] == VN_TARGET_EVEN, err);
}

static vn_status plms_step(vn_step *s, vn_err *err) {
    return step(s, 1, heun, 4, s->choice->value[TARGET] == VN_TARGET_EVEN, err);
}

enum { ORDER, START };
enum { NOISE, BOTH };
static const vn_param ipndm_params[] = {
    {"order", "how many predictions a step goes by", 4, 1, 4, 1, NULL},
    {"start", "out of pure noise: by eps alone as in diffusers, where x0 is then 0, or by x0 too",
     NOISE, 0, 1, 1, "noise|both"},
    {0},
};

static vn_status ipndm_check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    if (c->given[START] && vn_path_level(d->path, 1).alpha > 0)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "ipndm: start has no effect on %s, which has no pure noise",
                       d->path->row->row.name);
    return VN_OK;
}

static vn_status ipndm_step(vn_step *s, vn_err *err) {
    vn_status status = step(s, 0, NULL, (int)s->choice->value[ORDER], false, err);
    if (!status && s->from->alpha == 0 && s->choice->value[START] == NOISE)
        add(s, s->x, -s->to->alpha, s->slot[X0]);
    return status;
}

const vn_sampler_row vn_pndm_sampler = {
    .row = {"pndm", "pseudo linear multistep, order 4, after three steps of Runge and Kutta's",
            "2202.09778", pndm_params},
    .spacing = VN_SPACING_WHOLE,
    .slots = SLOTS,
    .check = pndm_check,
    .step = pndm_step,
};

const vn_sampler_row vn_plms_sampler = {
    .row = {"plms", "pseudo linear multistep, order 4, after one step of Heun's", "2202.09778",
            pndm_params},
    .spacing = VN_SPACING_WHOLE,
    .slots = SLOTS,
    .check = pndm_check,
    .step = plms_step,
};

const vn_sampler_row vn_ipndm_sampler = {
    .row = {"ipndm", "pseudo linear multistep from order 1 on: one prediction a step", "2204.13902",
            ipndm_params},
    .spacing = VN_SPACING_WHOLE,
    .slots = PAST + 3,
    .check = ipndm_check,
    .step = ipndm_step,
};
