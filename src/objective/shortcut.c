/* shortcut.c - shortcut models (2410.12557): a flow map (mean_flow.c) learned without derivatives.
 * One step of length d is what two of half the length are,
 *
 *     u(x_t, t - d, t) = (u(x_t, t - d/2, t) + u(x', t - d, t - d/2)) / 2
 *     x' = x_t - d/2 u(x_t, t - d/2, t)
 *
 * with the halves by the average of the weights, held constant. Lengths are 1, 1/2, ..,
 * 2/sections, and t a multiple of the length; the halves of the shortest are by the velocity,
 * which the other samples learn, at r = t, by flow matching. So a step is learned of steps that
 * are learned already, from the short ones up. Guidance is inside the velocity, and with it
 * inside all steps. */
#include "objective/flow_map.h"

#include <math.h>

static const vn_param params[] = {
    VN_FLOW_MAP_GUIDANCE,
    {"bootstrap", "part of the samples that learn a step of two halves", 0.25, 0, 1, 0, NULL},
    {"sections", "a power of two: half of the shortest step is 1/sections", 128, 2, 4096, 1, NULL},
    {0},
};
enum { BOOTSTRAP = VN_FLOW_MAP_GUIDED, SECTIONS };

/* The length of the sample's step; 0: it learns the velocity. */
static double length_drawn(const vn_choice *c, uint64_t seed, uint64_t sample, uint64_t step) {
    float u[2];
    vn_random_uniform(u, 2, seed, VN_STREAM_STEP_END, sample, step);
    const double lengths = log2(c->value[SECTIONS]);
    return (double)u[0] < c->value[BOOTSTRAP] ? exp2(-floor((double)u[1] * lengths)) : 0;
}

static double time_of(const vn_choice *c, double t, const vn_draw_key *draw) {
    const double d = length_drawn(c, draw->seed, draw->sample, draw->step);
    return d > 0 ? d * fmin(fmax(ceil(t / d - 1e-9), 1), 1 / d) : t;
}

/* Where the step and its halves begin and end. */
typedef struct halves {
    double length, middle, end;
    double first_end, second_end; /* as the network is told: of the shortest, where they begin */
} halves;

static halves halves_of(const vn_loss_sample *s) {
    const double t = s->level->t, d = vn_loss_is_dropped(s)
                                          ? 0
                                          : length_drawn(s->choice, s->seed, s->sample, s->step);
    const bool shortest = d * s->choice->value[SECTIONS] < 3;
    const double middle = t - d / 2, end = fmax(t - d, 0);
    return (halves){d, middle, end, shortest ? t : middle, shortest ? middle : end};
}

static void fill_end(const vn_loss_sample *s, float *row) {
    *row = vn_flow_map_end_time(s, halves_of(s).end);
}

static void fill_first_end(const vn_loss_sample *s, float *row) {
    *row = vn_flow_map_end_time(s, halves_of(s).first_end);
}

static void fill_middle(const vn_loss_sample *s, float *row) {
    *row = vn_flow_map_end_time(s, halves_of(s).middle);
}

static void fill_second_end(const vn_loss_sample *s, float *row) {
    *row = vn_flow_map_end_time(s, halves_of(s).second_end);
}

enum { HALF, LEARNS, NUMBERS };

static void fill_numbers(const vn_loss_sample *s, float *row) {
    const halves h = halves_of(s);
    row[HALF] = (float)(h.length / 2);
    row[LEARNS] = h.length > 0;
}

/* The mean velocity over the two halves. */
static vn_node *two_halves(vn_loss *l, vn_node *numbers) {
    vn_graph *g = l->g;
    const vn_shape n = VN_SHAPE(l->x->shape.dim[0]);
    const vn_given to = {VN_LOSS_STEP_END, vn_loss_filled(l, "first-end", n, fill_first_end)};
    const vn_loss_call begin = {.average = true, .n = 1, .given = &to, .same_dropout = true};
    vn_node *first = l->network(l->self, &begin);
    vn_node *between = vn_sub(g, l->x, vn_mul(g, first, vn_number_of(g, numbers, HALF, l->x)));
    const vn_given given[] = {
        {"sample", between},
        {"timestep", vn_loss_filled(l, "middle", n, fill_middle)},
        {VN_LOSS_STEP_END, vn_loss_filled(l, "second-end", n, fill_second_end)}};
    const vn_loss_call go_on = {.average = true, .n = 3, .given = given, .same_dropout = true};
    vn_node *second = l->network(l->self, &go_on);
    return vn_affine(g, vn_add(g, first, second), 0.5, 0);
}

static vn_node *loss(const vn_choice *c, vn_loss *l) {
    vn_graph *g = l->g;
    const vn_shape n = VN_SHAPE(l->x->shape.dim[0]);
    const vn_given end = {VN_LOSS_STEP_END, vn_loss_filled(l, "end", n, fill_end)};
    vn_node *u = l->network(l->self, &(vn_loss_call){.n = 1, .given = &end});
    vn_node *v = vn_flow_map_guided(c, l, vn_loss_target(l));
    vn_node *numbers =
        vn_loss_filled(l, "numbers", VN_SHAPE(l->x->shape.dim[0], NUMBERS), fill_numbers);
    vn_node *differs = vn_sub(g, two_halves(l, numbers), v);
    vn_node *target = vn_add(g, v, vn_mul(g, differs, vn_number_of(g, numbers, LEARNS, l->x)));
    vn_node *apart = vn_sub(g, u, vn_stop_gradient(g, target));
    return vn_mean(g, vn_unary(g, apart, VN_FN_SQUARE));
}

static vn_status check(vn_choice *c, const vn_path *path, const vn_prediction *prediction,
                       vn_err *err) {
    const double power = log2(c->value[SECTIONS]);
    if (power != floor(power))
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: sections %g is no power of two", c->row->name,
                       c->value[SECTIONS]);
    return vn_flow_map_check(c, path, prediction, err);
}

static void sampled(const vn_choice *c, vn_sampled *out) {
    (void)c;
    *out = (vn_sampled){.sampler = "flow-map", .steps = 4, .guided = true};
}

const vn_objective_row vn_shortcut_objective = {
    .row =
        {"shortcut",
         "shortcut models: a step is what two of half its length are, for samples in 1, 2, 4, .. "
         "steps",
         "2410.12557", params},
    .predictions = "velocity",
    .gives = VN_GIVES_STEP_END,
    .times = "uniform",
    .averages = true,
    .time = time_of,
    .check = check,
    .sampled = sampled,
    .loss = loss,
};
