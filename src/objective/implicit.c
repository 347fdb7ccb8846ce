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
#define MOST_EXACT  64 /* coordinates: each is a pass back through the network */
#define MOST_SLICES 64

static const vn_param ism_params[] = {
    {"projections", "random directions a sample in the estimate of the divergence", 1, 1,
     MOST_SLICES, 1, NULL},
    {"exact", "1: the exact divergence, a derivative for each coordinate, of which there may be 64",
     0, 0, 1, 1, NULL},
    {0},
};
static const vn_param ssm_params[] = {
    {"projections", "random directions a sample", 1, 1, MOST_SLICES, 1, NULL},
    {"directions", "how they are drawn", 0, 0, 1, 1, "normal|signs"},
    {"reduced", "the variance-reduced form", 0, 0, 1, 1, "no|yes"},
    {0},
};
/* places of the parameters in both rows */
enum { PROJECTIONS, EXACT = 1, DIRECTIONS = 1, REDUCED };
enum { NORMAL, SIGNS };

/* ---- directions ------------------------------------------------------------------------------ */

static void draw_normal(const vn_choice *c, size_t size, uint64_t seed, uint64_t sample,
                        uint64_t step, float *v) {
    vn_random_normal(v, (size_t)c->value[PROJECTIONS] * size, seed, VN_STREAM_DIRECTION, sample,
                     step);
}

static void draw_signs(const vn_choice *c, size_t size, uint64_t seed, uint64_t sample,
                       uint64_t step, float *v) {
    const size_t count = (size_t)c->value[PROJECTIONS] * size;
    vn_random_uniform(v, count, seed, VN_STREAM_DIRECTION, sample, step);
    for (size_t i = 0; i < count; i++) v[i] = v[i] < 0.5f ? -1 : 1;
}

/* sqrt(size) times each unit vector, so that the mean of v v^T over them is 1, as it is in
 * expectation of random ones */
static void every_axis(size_t size, float *v) {
    for (size_t i = 0; i < size * size; i++) v[i] = i % (size + 1) ? 0 : sqrtf((float)size);
}

static int64_t directions_ism(const vn_choice *c, int64_t size) {
    return c->value[EXACT] ? size : (int64_t)c->value[PROJECTIONS];
}

static int64_t directions_ssm(const vn_choice *c, int64_t size) {
    (void)size;
    return (int64_t)c->value[PROJECTIONS];
}

static void probe_ism(const vn_choice *c, size_t size, uint64_t seed, uint64_t sample,
                      uint64_t step, float *v) {
    if (c->value[EXACT])
        every_axis(size, v);
    else
        draw_signs(c, size, seed, sample, step, v);
}

static void probe_ssm(const vn_choice *c, size_t size, uint64_t seed, uint64_t sample,
                      uint64_t step, float *v) {
    if ((int)c->value[DIRECTIONS] == SIGNS)
        draw_signs(c, size, seed, sample, step, v);
    else
        draw_normal(c, size, seed, sample, step, v);
}

/* ---- the loss -------------------------------------------------------------------------------- */

/* Row i of nodes->noise as a factor of what is shaped like x. */
static vn_node *noise_factor(vn_graph *g, const vn_loss_nodes *nodes, int i) {
    return vn_per_sample(g, vn_slice(g, nodes->noise, 0, i, 1), nodes->x);
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
 * too. */
static vn_node *loss_of(vn_graph *g, vn_loss_nodes *nodes, int64_t count, bool sliced) {
    const vn_shape shape = nodes->x->shape, all = with_directions(&shape, count);
    const double size = (double)vn_shape_count(&shape) / (double)shape.dim[0];
    nodes->probe = vn_input(g, VN_F32, all);
    nodes->noise = vn_input(g, VN_F32, VN_SHAPE(3, shape.dim[0]));
    vn_node *e = vn_add(g, vn_mul(g, nodes->x, noise_factor(g, nodes, 0)),
                        vn_mul(g, nodes->output, noise_factor(g, nodes, 1)));
    vn_node *turns = NULL, *squares = NULL;
    for (int64_t k = 0; k < count; k++) {
        vn_node *v = vn_reshape(g, vn_slice(g, nodes->probe, 1, k, 1), shape), *back = NULL;
        vn_graph_gradient(g, e, v, 1, &nodes->x, &back, NULL); /* (de/dx)^T v */
        add_to(g, &turns, vn_mul(g, v, back));
        if (sliced) {
            vn_node *along = vn_sum_to(g, vn_mul(g, v, e), vn_sample_shape(&shape)); /* v.e */
            add_to(g, &squares, vn_unary(g, along, VN_FN_SQUARE));
        }
    }
    vn_node *divergence = vn_mean(g, vn_mul(g, turns, noise_factor(g, nodes, 2)));
    vn_node *square = sliced ? vn_affine(g, vn_mean(g, squares), 1 / (size * (double)count), 0)
                             : vn_mean(g, vn_unary(g, e, VN_FN_SQUARE));
    return vn_add(g, square, vn_affine(g, divergence, -2 / (double)count, 0));
}

static vn_node *loss_ism(const vn_choice *c, vn_graph *g, vn_loss_nodes *nodes) {
    const int64_t size = vn_shape_count(&nodes->x->shape) / nodes->x->shape.dim[0];
    if (c->value[EXACT] && size > MOST_EXACT)
        return vn_graph_fail(g, VN_BAD_ARGUMENT,
                             "ism: exact=1 is for at most %d coordinates, not %lld", MOST_EXACT,
                             (long long)size);
    return loss_of(g, nodes, directions_ism(c, size), false);
}

static vn_node *loss_ssm(const vn_choice *c, vn_graph *g, vn_loss_nodes *nodes) {
    return loss_of(g, nodes, (int64_t)c->value[PROJECTIONS], c->value[REDUCED] == 0);
}

/* ---- the rows -------------------------------------------------------------------------------- */

static vn_status check_ism(const vn_choice *c, vn_err *err) {
    if (c->given[PROJECTIONS] && c->value[EXACT])
        return vn_fail(err, VN_BAD_ARGUMENT, "ism: projections has no effect with exact=1");
    return VN_OK;
}

const vn_objective_row vn_ism_objective = {
    {"ism", "implicit score matching: divergence and square of the score, no target",
     "Hyvarinen 2005, JMLR 6", ism_params},
    .predictions = PREDICTIONS,
    .check = check_ism,
    .directions = directions_ism,
    .probe = probe_ism,
    .loss = loss_ism,
};

const vn_objective_row vn_ssm_objective = {
    {"ssm", "sliced score matching: the same along random directions", "1905.07088", ssm_params},
    .predictions = PREDICTIONS,
    .directions = directions_ssm,
    .probe = probe_ssm,
    .loss = loss_ssm,
};
