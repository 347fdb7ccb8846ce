/* tds.c - twisted diffusion sampler (2306.17775): samples are particles of sequential Monte Carlo,
 * drawn by guided steps and weighed by what guidance got wrong, so that in the limit of many they
 * are samples of p(x|y) of the model, whatever its data.
 *
 *     twist     q(y|x_t) = N(y; A D, noise^2 + r^2 A A^T), r^2 = sigma^2/(alpha^2 + sigma^2)
 *     proposal  an ancestral step (ddpm) from D_y = D + sigma^2/alpha grad log q(y|x_t)
 *     weight    *= q(y|x') p(x'|x) / (q(y|x) p_y(x'|x))      p, p_y: steps from D and from D_y
 *
 * The last step, which has no noise, is made from D, and its q is p(y|x0). Particles are resampled
 * where less than half of them count, and at the end. The prediction at x' that the weight needs
 * is that of the next step, so a step costs one pass and one derivative. */
#include "restore/internal.h"

#include <math.h>
#include <string.h>

enum { ESS };
static const vn_param params[] = {
    {"ess", "resample where fewer than this part of the particles counts", 0.5, 0, 1, VN_PARAM_REAL,
     NULL},
    {0},
};

enum { STATE, PLAIN, TWISTED, SPARE, SLOTS }; /* slots: x, D and D_y of each sample */
enum { WEIGHT, TWIST };                       /* kept: logarithms */

static vn_status check(const vn_restoration *r, vn_err *err) {
    if (!(r->inner->can & (VN_TAKES_TO | VN_TAKES_GUIDANCE))) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "tds needs a model whose predictions depend on the level "
                   "alone, not on where the step goes or on guidance");
}

static void to_slot(const vn_restoring *s, int slot, const float *rows) {
    const int64_t size = s->r->inner->size;
    for (int64_t i = 0; i < s->n; i++)
        memcpy(s->r->slot[slot] + (int64_t)vn_sample_row(s, i) * size, rows + i * size,
               (size_t)size * sizeof *rows);
}

/* D, D_y and the twist at s->x, into the slots. */
static vn_status evaluate(const vn_restoring *s, vn_err *err) {
    vn_restoration *r = s->r;
    double *twist = r->row_work[1], *amount = r->row_work[0];
    vn_status status = vn_query_x0(s, s->x, s->level, s->x0, err);
    if (status) return status;
    to_slot(s, STATE, s->x);
    to_slot(s, PLAIN, s->x0);
    vn_unit_twist(s, twist);
    status = vn_query_vjp(s, err);
    for (int64_t i = 0; i < s->n; i++) {
        amount[i] = vn_covariance_scale(&s->level[i]) / vn_unit_variance(&s->level[i]);
        r->per_sample[TWIST][vn_sample_row(s, i)] = twist[i];
    }
    if (!status) vn_shift_within(s, amount);
    to_slot(s, TWISTED, s->x0);
    return status;
}

/* Whether the slots hold what is asked. */
static bool knows(const vn_restoring *s) {
    const int64_t size = s->r->inner->size;
    bool same = s->r->known;
    for (int64_t i = 0; i < s->n && same; i++)
        same = !memcmp(s->r->slot[STATE] + (int64_t)vn_sample_row(s, i) * size, s->x + i * size,
                       (size_t)size * sizeof(float));
    return same;
}

static vn_status restore(const vn_restoring *s, vn_err *err) {
    vn_restoration *r = s->r;
    const int64_t size = r->inner->size;
    const bool last = vn_restoring_to(s, 0)->sigma == 0;
    vn_status status = knows(s) ? VN_OK : evaluate(s, err);
    for (int64_t i = 0; i < s->n && !status; i++) {
        const int64_t at = (int64_t)vn_sample_row(s, i) * size;
        float *twisted = r->slot[TWISTED] + at;
        if (last) memcpy(twisted, r->slot[PLAIN] + at, (size_t)size * sizeof *twisted);
        memcpy(s->x0 + i * size, twisted, (size_t)size * sizeof *twisted);
    }
    return status;
}

/* log p(x'|x)/p_y(x'|x) of one sample */
static double step_weight(const vn_restoration *r, const vn_step *s, int64_t row) {
    const double q = vn_step_ratio(s->from, s->to), keep = s->to->sigma * q / s->from->sigma,
                 share = vn_ancestral_share(s->from, s->to),
                 variance = s->to->sigma * s->to->sigma * (1 - q) * (1 + q);
    const int64_t size = r->inner->size;
    double sum = 0;
    if (variance == 0) return 0;
    for (int64_t j = row * size; j < (row + 1) * size; j++) {
        const double twisted = (double)r->slot[TWISTED][j],
                     moved = share * (twisted - (double)r->slot[PLAIN][j]),
                     z = (double)s->x[j] - keep * (double)r->slot[STATE][j] - share * twisted;
        sum += (2 * z + moved) * moved;
    }
    return -sum / (2 * variance);
}

/* log p(y|x0) of a finished sample */
static double likelihood(vn_restoration *r, const vn_step *s, int64_t row) {
    const int64_t size = r->inner->size, count = r->op->count;
    const double *y = vn_observed(r, s->first + (uint64_t)row);
    double square = 0;
    for (int64_t j = 0; j < size; j++) r->x_work[0][j] = (double)s->x[row * size + j];
    r->op->row->apply(r->op, r->x_work[0], r->y_work[0]);
    for (int64_t j = 0; j < count; j++)
        square += (y[j] - r->y_work[0][j]) * (y[j] - r->y_work[0][j]);
    return -square / (2 * r->noise * r->noise);
}

/* What the next step will ask, so that the particles can be weighed by it. */
static vn_status look_ahead(vn_restoration *r, const vn_step *s, const vn_condition *condition,
                            vn_err *err) {
    for (int64_t i = 0; i < s->n; i++) {
        r->free_level[i] = *s->to;
        r->sample[i] = s->first + (uint64_t)i;
    }
    const vn_query q = {.n = s->n,
                        .x = s->x,
                        .level = r->free_level,
                        .condition = condition,
                        .sample = r->sample,
                        .step = (uint64_t)s->index + 1};
    vn_place_query(r, &q);
    const vn_restoring next = {r, &q, s->n, r->x, r->level, r->x0};
    r->known = true;
    return evaluate(&next, err);
}

static void move(vn_restoration *r, int64_t n, const int64_t *ancestor) {
    const size_t size = (size_t)r->inner->size, row = size * sizeof(float);
    float *spare = r->slot[SPARE];
    for (int k = 0; k < SPARE; k++) {
        memcpy(spare, r->slot[k], (size_t)n * row);
        for (int64_t i = 0; i < n; i++)
            memcpy(r->slot[k] + (size_t)i * size, spare + (size_t)ancestor[i] * size, row);
    }
    memcpy(r->row_work[0], r->per_sample[TWIST], (size_t)n * sizeof(double));
    for (int64_t i = 0; i < n; i++) r->per_sample[TWIST][i] = r->row_work[0][ancestor[i]];
}

static vn_status after(vn_restoration *r, vn_step *s, const vn_condition *condition,
                       int64_t *ancestor, vn_err *err) {
    const bool end = s->to->sigma == 0;
    double *weight = r->per_sample[WEIGHT];
    for (int64_t i = 0; i < s->n; i++) weight[i] += step_weight(r, s, i) - r->per_sample[TWIST][i];
    vn_status status = end ? VN_OK : look_ahead(r, s, condition, err);
    for (int64_t i = 0; i < s->n && !status; i++)
        weight[i] += end ? likelihood(r, s, i) : r->per_sample[TWIST][i];
    if (status) return status;
    const vn_guide_at at = {.n = s->n,
                            .first = s->first,
                            .seed = r->seed,
                            .condition = condition,
                            .step = s->index,
                            .steps = s->count};
    vn_guide keeper = {.log_weight = weight, .condition = r->condition};
    vn_population all = {.at = &at, .x = s->x, .ancestor = ancestor};
    vn_population_resample(&keeper, &all, end ? 1 : r->choice.value[ESS]);
    if (keeper.status) return vn_fail(err, keeper.status, "tds: %s", keeper.err.text);
    move(r, s->n, ancestor);
    return VN_OK;
}

const vn_restorer_row vn_tds_restorer = {
    .row = {"tds", "particles: exact for every model in the limit of many", "2306.17775", params},
    .needs = VN_RULE_VJP | VN_RULE_NOISE | VN_RULE_ONE_PASS,
    .sampler = "ddpm",
    .only = true,
    .selects = true,
    .queries = true,
    .slots = SLOTS,
    .check = check,
    .restore = restore,
    .after = after,
};
