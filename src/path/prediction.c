/* prediction.c - the kinds of prediction. x0 and eps are linear in (x, raw), and raw is linear in
 * (x0, eps), with coefficients that depend on the level only; so a row is one function that gives
 * the coefficients, and the loops are written once.
 *
 * At the ends x0 or eps may not follow from the output. At alpha = 0 (pure noise) with eps or
 * score, x0 is set to 0: that has no weight where t = 1 is only a limit, and is refused where pure
 * noise is a step of the path (vn_path_allows). At sigma = 0 (data) with x0, eps is set to 0, which
 * is E[eps|x] there. */
#include "path/internal.h"

#include <math.h>

static void x0_coefficients(const vn_choice *c, const vn_level *l, vn_coefficients *m) {
    (void)c;
    m->x0_raw = 1;
    if (l->sigma > 0) {
        m->eps_x = 1 / l->sigma;
        m->eps_raw = -l->alpha / l->sigma;
    }
    m->raw_x0 = 1;
    m->eps_error = l->alpha / l->sigma;
}

static void eps_coefficients(const vn_choice *c, const vn_level *l, vn_coefficients *m) {
    (void)c;
    if (l->alpha > 0) {
        m->x0_x = 1 / l->alpha;
        m->x0_raw = -l->sigma / l->alpha;
    }
    m->eps_raw = 1;
    m->raw_eps = 1;
    m->eps_error = 1;
}

/* score = -eps/sigma */
static void score_coefficients(const vn_choice *c, const vn_level *l, vn_coefficients *m) {
    eps_coefficients(c, l, m);
    m->x0_raw *= -l->sigma;
    m->eps_raw = -l->sigma;
    m->raw_eps = l->sigma > 0 ? -1 / l->sigma : 0;
    m->eps_error = l->sigma;
    m->weight = l->sigma * l->sigma;
}

/* v = alpha eps - sigma x0 (2202.00512), on any path: divided by alpha^2 + sigma^2, which is 1 on
 * the paper's. */
static void v_coefficients(const vn_choice *c, const vn_level *l, vn_coefficients *m) {
    (void)c;
    double n = l->alpha * l->alpha + l->sigma * l->sigma;
    m->x0_x = m->eps_raw = l->alpha / n;
    m->eps_x = l->sigma / n;
    m->x0_raw = -m->eps_x;
    m->raw_x0 = -l->sigma;
    m->raw_eps = l->alpha;
    m->eps_error = l->alpha / n;
}

/* u = dalpha x0 + dsigma eps, by t. Where dsigma is infinite (vp at t = 0), or the level has no
 * slope (the clean one, or pure noise on polynomial:of=alpha), nothing follows from u that does not
 * follow from x. */
static void velocity_coefficients(const vn_choice *c, const vn_level *l, vn_coefficients *m) {
    (void)c;
    double det = l->alpha * l->dsigma - l->dalpha * l->sigma; /* alpha^2 d(sigma/alpha)/dt */
    m->raw_x0 = l->dalpha;
    if (!(det > 0 && isfinite(det))) {
        if (l->alpha > 0)
            m->x0_x = 1 / l->alpha;
        else
            m->eps_x = 1 / l->sigma;
        return;
    }
    m->raw_eps = l->dsigma;
    m->x0_x = l->dsigma / det;
    m->x0_raw = -l->sigma / det;
    m->eps_x = -l->dalpha / det;
    m->eps_raw = l->alpha / det;
    m->eps_error = l->alpha / det;
}

/* EDM's F (2206.00364): x0 = c_skip y + c_out F(c_in y) with y = x/alpha, s = sigma/alpha, written
 * so that alpha may be 0. */
static void edm_coefficients(const vn_choice *c, const vn_level *l, vn_coefficients *m) {
    double sd = c->value[VN_EDM_SIGMA_DATA],
           q = l->sigma * l->sigma + l->alpha * l->alpha * sd * sd, root = sqrt(q);
    m->x0_x = sd * sd * l->alpha / q;
    m->x0_raw = l->sigma * sd / root;
    m->eps_x = l->sigma / q;
    m->eps_raw = -l->alpha * sd / root;
    m->raw_x0 = l->sigma / (sd * root);
    m->raw_eps = -l->alpha * sd / root;
    m->input = 1 / root;
    m->eps_error = l->alpha * sd / root;
}

static const vn_param edm_params[] = {
    {"sigma_data", "standard deviation of the data", 0.5, 1e-3, 1e3, 0, NULL},
    {0},
};

const vn_prediction_row vn_prediction_rows[] = {
    {{"x0", "the data", "2006.11239", NULL}, "dsm", x0_coefficients},
    {{"eps", "the noise", "2006.11239", NULL}, "dsm", eps_coefficients},
    {{"v", "alpha eps - sigma x0", "2202.00512", NULL}, "dsm", v_coefficients},
    {{"score", "gradient of log p(x)", "2011.13456", NULL}, "dsm", score_coefficients},
    {{"velocity", "dx/dt along the path", "2210.02747", NULL}, "cfm", velocity_coefficients},
    {{"edm", "EDM's preconditioned F; scales the network's input too", "2206.00364", edm_params},
     "dsm",
     edm_coefficients},
};
const size_t vn_prediction_row_count = VN_COUNT(vn_prediction_rows);

static const vn_word words[] = {
    {"epsilon", "eps"}, {"noise", "eps"},  {"v-prediction", "v"}, {"v-pred", "v"},
    {"sample", "x0"},   {"x", "x0"},       {"x-start", "x0"},     {"xstart", "x0"},
    {"data", "x0"},     {"start-x", "x0"}, {"flow", "velocity"},  {"flow-prediction", "velocity"},
    {"rf", "velocity"}, {NULL, NULL}};
static const vn_table predictions = {"prediction",
                                     vn_prediction_rows,
                                     sizeof vn_prediction_rows[0],
                                     VN_COUNT(vn_prediction_rows),
                                     words,
                                     NULL};

double vn_prediction_deviation(const vn_prediction *p) {
    return p->row->coefficients == edm_coefficients ? p->choice.value[VN_EDM_SIGMA_DATA] : 0;
}

/* ---- at work --------------------------------------------------------------------------------- */

vn_status vn_prediction_parse(const char *text, vn_prediction *out, vn_err *err) {
    vn_status status = vn_choice_parse(text, &predictions, &out->choice, err);
    if (!status) out->row = &vn_prediction_rows[out->choice.index];
    return status;
}

vn_status vn_path_allows(const vn_path *p, const vn_prediction *predict, vn_err *err) {
    const vn_level last = vn_path_level(p, 1);
    const vn_coefficients m = vn_prediction_coefficients(predict, &last);
    if (!p->steps || last.alpha > 0 || m.x0_raw != 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "%s says nothing of the data at the last step of this %s path, which is pure "
                   "noise; predict v or x0",
                   predict->row->row.name, p->row->row.name);
}

vn_coefficients vn_prediction_coefficients(const vn_prediction *p, const vn_level *l) {
    vn_coefficients m = {.input = 1, .weight = 1};
    p->row->coefficients(&p->choice, l, &m);
    return m;
}

void vn_prediction_to_estimate(const vn_prediction *p, const vn_level *l, size_t size,
                               const float *x, const float *raw, float *x0, float *eps) {
    const vn_coefficients m = vn_prediction_coefficients(p, l);
    const float a = (float)m.x0_x, b = (float)m.x0_raw, c = (float)m.eps_x, d = (float)m.eps_raw;
    for (size_t i = 0; i < size; i++) {
        float r = raw[i];
        x0[i] = a * x[i] + b * r;
        eps[i] = c * x[i] + d * r;
    }
}

void vn_prediction_from_estimate(const vn_prediction *p, const vn_level *l, size_t size,
                                 const float *x0, const float *eps, float *raw) {
    const vn_coefficients m = vn_prediction_coefficients(p, l);
    const float a = (float)m.raw_x0, b = (float)m.raw_eps;
    for (size_t i = 0; i < size; i++) raw[i] = a * x0[i] + b * eps[i];
}
