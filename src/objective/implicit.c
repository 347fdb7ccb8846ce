/* implicit.c - objectives without a target: integration by parts turns the distance to the unknown
 * score into something that needs samples and derivatives only.
 *
 *     1/2 E|s - grad log p_t|^2 = E[ div s + 1/2 |s|^2 ] + constant
 *
 *     ism   Hyvarinen's (2005), the divergence by Hutchinson's estimate v.(ds/dx)v, or, with
 *           exact=1, as a sum over all unit vectors
 *     ssm   sliced (1905.07088): E_v[ v.(ds/dx)v + 1/2 (v.s)^2 ], or, with reduced=yes, its
 *           variance-reduced form, with 1/2 |s|^2
 *
 * With v of signs the reduced form is ism's. s is p_t's: x is the data with noise, at the t drawn.
 * Each level counts by 2 sigma^2, so that in e = -sigma s = E[eps|x] the loss of a sample is
 *
 *     |e|^2 - 2 sigma div e       (sliced: (v.e)^2 - 2 sigma v.(de/dx)v)
 *
 * and its mean over coordinates is, in expectation, dsm's loss of eps less 1 (Stein: E[e.eps] =
 * sigma E[div e]), so never below -1. e is affine in every prediction; for x0 it is (x - alpha
 * x0)/sigma, whose error has no bound near the data, which is why x0 is not trained so. */
#include "objective/internal.h"

#include <math.h>

#define PREDICTIONS "eps|v|score|velocity|edm"
#define MAX_EXACT   64 /* coordinates: each is a pass back through the network */
#define MAX_SLICES  64

static const vn_param ism_params[] = {
    {"projections", "random directions a sample in the estimate of the divergence", 1, 1,
     MAX_SLICES, 1, NULL},
    {"exact", "1: the exact divergence, a derivative for each coordinate, of which there may be 64",
     0, 0, 1, 1, NULL},
    {0},
};
static const vn_param ssm_params[] = {
    {"projections", "random directions a sample", 1, 1, MAX_SLICES, 1, NULL},
    {"directions", "how they are drawn", 0, 0, 1, 1, "normal|signs"},
    {"reduced", "the variance-reduced form", 0, 0, 1, 1, "no|yes"},
    {0},
};
/* places of the parameters in both rows */
enum { PROJECTIONS, EXACT = 1, DIRECTIONS = 1, REDUCED };
enum { NORMAL, SIGNS };

/* ---- directions ------------------------------------------------------------------------------ */

static void draw_normal(const vn_loss_sample *s, float *v) {
    vn_random_normal(v, (size_t)(s->choice->value[PROJECTIONS] * (double)s->size), s->seed,
                     VN_STREAM_DIRECTION, s->sample, s->step);
}

static void draw_signs(const vn_loss_sample *s, float *v) {
    const size_t count = (size_t)(s->choice->value[PROJECTIONS] * (double)s->size);
    vn_random_uniform(v, count, s->seed, VN_STREAM_DIRECTION, s->sample, s->step);
    for (size_t i = 0; i < count; i++) v[i] = v[i] < 0.5f ? -1 : 1;
}

/* sqrt(size) times each unit vector, so that the mean of v v^T over them is 1, as it is in
 * expectation of random ones */
static void every_axis(const vn_loss_sample *s, float *v) {
    for (int64_t i = 0; i < s->size * s->size; i++)
        v[i] = i % (s->size + 1) ? 0 : sqrtf((float)s->size);
}

/* ---- the loss -------------------------------------------------------------------------------- */

/* E[eps|x] = p x + q output for the network's x, and sigma times d/dx_t = r d/dx. */
enum { P, Q, R, NOISE_NUMBERS };

static void fill_noise(const vn_loss_sample *s, float *row) {
    row[P] = (float)(s->m->eps_x / s->m->input);
    row[Q] = (float)s->m->eps_raw;
    row[R] = (float)(s->level->sigma * s->m->input);
}

static void add_to(vn_graph *g, vn_node **sum, vn_node *part) {
    *sum = *sum ? vn_add(g, *sum, part) : part;
}

static vn_shape with_directions(const vn_shape *x, int64_t count) {
    vn_shape all = {.rank = x->rank + 1, .dim = {x->dim[0], count}};
    for (int i = 1; i < x->rank; i++) all.dim[i + 1] = x->dim[i];
    return all;
}

/* The mean over samples and coordinates; `count` directions v a sample, over which it is a mean
 * too: E[v v^T] = 1. */
static vn_node *loss_of(vn_loss *l, int64_t count, vn_loss_fill *directions, bool sliced) {
    vn_graph *g = l->g;
    const vn_shape shape = l->x->shape, all = with_directions(&shape, count);
    const double size = (double)vn_shape_count(&shape) / (double)shape.dim[0];
    vn_node *output = vn_loss_output(l);
    vn_node *probe = vn_loss_filled(l, "probe", all, directions);
    vn_node *noise = vn_loss_filled(l, "noise", VN_SHAPE(shape.dim[0], NOISE_NUMBERS), fill_noise);
    vn_node *e = vn_add(g, vn_mul(g, l->x, vn_number_of(g, noise, P, l->x)),
                        vn_mul(g, output, vn_number_of(g, noise, Q, l->x)));
    vn_node *turns = NULL, *squares = NULL;
    for (int64_t k = 0; k < count; k++) {
        vn_node *v = vn_reshape(g, vn_slice(g, probe, 1, k, 1), shape), *back = NULL;
        vn_graph_gradient(g, e, v, 1, &l->x, &back, NULL); /* (de/dx)^T v */
        add_to(g, &turns, vn_mul(g, v, back));
        if (sliced) {
            vn_node *along = vn_sum_to(g, vn_mul(g, v, e), vn_sample_shape(&shape)); /* v.e */
            add_to(g, &squares, vn_unary(g, along, VN_FN_SQUARE));
        }
    }
    vn_node *divergence = vn_mean(g, vn_mul(g, turns, vn_number_of(g, noise, R, l->x)));
    vn_node *square = sliced ? vn_affine(g, vn_mean(g, squares), 1 / (size * (double)count), 0)
                             : vn_mean(g, vn_unary(g, e, VN_FN_SQUARE));
    return vn_add(g, square, vn_affine(g, divergence, -2 / (double)count, 0));
}

static vn_node *loss_ism(const vn_choice *c, vn_loss *l) {
    const int64_t size = vn_shape_count(&l->x->shape) / l->x->shape.dim[0];
    if (!c->value[EXACT]) return loss_of(l, (int64_t)c->value[PROJECTIONS], draw_signs, false);
    if (size > MAX_EXACT)
        return vn_graph_fail(l->g, VN_BAD_ARGUMENT,
                             "ism: exact=1 is for at most %d coordinates, not %lld", MAX_EXACT,
                             (long long)size);
    return loss_of(l, size, every_axis, false);
}

static vn_node *loss_ssm(const vn_choice *c, vn_loss *l) {
    return loss_of(l, (int64_t)c->value[PROJECTIONS],
                   (int)c->value[DIRECTIONS] == SIGNS ? draw_signs : draw_normal,
                   c->value[REDUCED] == 0);
}

/* ---- the rows -------------------------------------------------------------------------------- */

static vn_status check_ism(vn_choice *c, const vn_path *path, const vn_prediction *prediction,
                           vn_err *err) {
    (void)path, (void)prediction;
    if (c->given[PROJECTIONS] && c->value[EXACT])
        return vn_fail(err, VN_BAD_ARGUMENT, "ism: projections has no effect with exact=1");
    return VN_OK;
}

const vn_objective_row vn_ism_objective = {
    {"ism", "implicit score matching: divergence and square of the score, no target",
     "Hyvarinen 2005, JMLR 6", ism_params},
    .predictions = PREDICTIONS,
    .check = check_ism,
    .loss = loss_ism,
};

const vn_objective_row vn_ssm_objective = {
    {"ssm", "sliced score matching: the same along random directions", "1905.07088", ssm_params},
    .predictions = PREDICTIONS,
    .loss = loss_ssm,
};
