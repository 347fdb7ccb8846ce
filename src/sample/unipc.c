/* unipc.c - UniPC (2302.04867, algorithms 5 and 6, multistep, data prediction): a predictor UniP-p
 * and a corrector UniC-p that takes the prediction made at the predicted point into the polynomial,
 * so one prediction a step serves both. Each step first corrects the state that the step before has
 * predicted, and then predicts the next one.
 *
 *     UniP    x' = sigma'/sigma x + (alpha' - alpha sigma'/sigma) x0
 *                  + alpha' h sum_k w_k (x0_k - x0)
 *     UniC    the same from the last level to this one, this one's x0 among the x0_k at r = 1
 *
 * The weights are those of exact moments (adams.c), whatever B(h) is, except with one node: there
 * the moment is the paper's 1/2 B(h), with B(h) = h for bh1 and 1 - e^-h for bh2. The order is at
 * most the number of steps left, as in diffusers. Flows begin at sigma = 1 - 1e-6 instead of 1, as
 * there, so that lambda is finite. */
#include "sample/internal.h"

#include <math.h>
#include <string.h>

#define MAX_ORDER 4
enum { X0, EPS, LAST, PAST, SLOTS = PAST + MAX_ORDER };
enum { ORDER, VARIANT, LOWER_FINAL };
enum { BH1, BH2 };
static const vn_param params[] = {
    {"order", "p of UniPC-p", 2, 1, MAX_ORDER, 1, NULL},
    {"variant", "which B(h)", BH2, 0, 1, 1, "bh1|bh2"},
    {"lower_final", "yes: the order is at most the number of steps left", 0, 0, 1, 1, "yes|no"},
    {0},
};

static double lambda(const vn_level *l) {
    const double least = 1 - (double)(float)(1 - 1e-6); /* diffusers' levels are float32 */
    return log(fmax(l->alpha, least)) - log(l->sigma);
}

/* One move of either kind: out = x at `to`, by values m_k at nodes, from x at `from` where m =
 * now. */
typedef struct move {
    const vn_level *from, *to;
    const float *x, *now;
    int n;
    double node[MAX_ORDER];
    float *value[MAX_ORDER];
} move;

static void make(vn_step *s, const move *m) {
    const double ratio = m->to->sigma / m->from->sigma, h = lambda(m->to) - lambda(m->from);
    const float a = (float)ratio, b = (float)(m->to->alpha - m->from->alpha * ratio);
    double moment[MAX_ORDER];
    for (size_t i = 0; i < (size_t)(s->n * s->size); i++) s->x[i] = a * m->x[i] + b * m->now[i];
    vn_adams_moments(m->n, -h, moment);
    if (m->n == 1) moment[0] = s->choice->value[VARIANT] == BH1 ? 0.5 : vn_phi(1, -h) / 2;
    vn_step_adams(s, m->to->alpha * h, m->n, m->node, moment, m->value, m->now);
}

/* Nodes at the levels before `from` and their x0, the latest of which is latest[0]. */
static void add_past(move *m, int count, float **latest) {
    double past[MAX_ORDER];
    for (int k = 0; k < count; k++) past[k] = lambda(m->from - k - 1);
    m->n = vn_step_nodes(count, lambda(m->from), lambda(m->to), past, m->node);
    for (int k = 0; k < m->n; k++) m->value[k] = latest[k];
}

static void correct(vn_step *s, int order) {
    move m = {.from = s->from - 1, .to = s->from, .x = s->slot[LAST], .now = s->slot[PAST]};
    add_past(&m, order - 1, &s->slot[PAST + 1]);
    m.node[m.n] = 1;
    m.value[m.n++] = s->slot[X0];
    make(s, &m);
}

static void predict(vn_step *s, int order) {
    move m = {.from = s->from, .to = s->to, .x = s->slot[LAST], .now = s->slot[X0]};
    add_past(&m, order - 1, &s->slot[PAST]);
    make(s, &m);
}

static vn_status step(vn_step *s, vn_err *err) {
    const int order = (int)s->choice->value[ORDER];
    const bool lower_final = s->choice->value[LOWER_FINAL] == 0;
    const vn_step before = {.index = s->index - 1, .count = s->count, .history = s->history - 1};
    vn_status status =
        vn_step_predict(s, s->x, s->from, (vn_estimate){s->slot[X0], s->slot[EPS]}, err);
    if (status) return status;
    if (s->history) correct(s, vn_step_order(&before, order, lower_final));
    memcpy(s->slot[LAST], s->x, (size_t)(s->n * s->size) * sizeof *s->x);
    predict(s, vn_step_order(s, order, lower_final));
    vn_step_record(s, X0, PAST, MAX_ORDER);
    return VN_OK;
}

const vn_sampler_row vn_unipc_sampler = {
    .row = {"unipc", "predictor and corrector in one, order p and more", "2302.04867", params},
    .spacing = VN_SPACING_EXTRA,
    .slots = SLOTS,
    .step = step,
};
