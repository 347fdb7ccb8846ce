/* internal.h - what the files of objective share: the rows of the objectives' table, and the
 * quantile of the normal distribution. */
#ifndef VN_OBJECTIVE_INTERNAL_H
#define VN_OBJECTIVE_INTERNAL_H

#include "objective/objective.h"

/* Every objective: a row NAME is vn_NAME_objective, in its family's file. To add one, write its row
 * and name it here. */
/* clang-format off */
#define VN_OBJECTIVES(ROW) \
    ROW(dsm) ROW(cfm) ROW(esm) \
    ROW(ism) ROW(ssm) \
    ROW(mean_flow) ROW(improved_mean_flow) ROW(shortcut) ROW(consistency) \
    ROW(scm) \
    ROW(hybrid) ROW(cross_entropy) ROW(next_token) \
    ROW(reconstruction) ROW(vae) ROW(vq_vae)
/* clang-format on */

#define VN_DECLARE_OBJECTIVE(name) extern const vn_objective_row vn_##name##_objective;
VN_OBJECTIVES(VN_DECLARE_OBJECTIVE)
#undef VN_DECLARE_OBJECTIVE

/* Objectives that learn from a teacher: a row NAME is vn_NAME_method. */
#define VN_METHODS(ROW)                                                                            \
    ROW(guidance) ROW(consistency) ROW(multistep) ROW(scm) ROW(progressive) ROW(reflow)

#define VN_DECLARE_METHOD(name) extern const vn_objective_row vn_##name##_method;
VN_METHODS(VN_DECLARE_METHOD)
#undef VN_DECLARE_METHOD

/* The first parameters of every regression, and their places: the edm prediction sets sigma_data
 * where the user does not. */
enum { VN_WEIGHT, VN_WEIGHT_GAMMA, VN_WEIGHT_SIGMA_DATA, VN_WEIGHT_FLOOR, VN_WEIGHT_PARAMS };
/* clang-format off */
#define VN_WEIGHTS \
    {"weight", "how much each noise level counts", 0, 0, 3, 1, "none|min-snr|edm|velocity"}, \
    {"gamma", "min-snr's bound on the signal-to-noise ratio (2303.09556)", 5, 1e-3, 1e6, 0, NULL}, \
    {"sigma_data", "edm's standard deviation of the data (2206.00364)", 0.5, 1e-3, 1e3, 0, NULL}, \
    {"floor", "velocity's least share of noise, sigma/(alpha + sigma) (2511.13720)", 0.05, 1e-4, \
     1, 0, NULL}
/* clang-format on */
/* weights.c: the row's check of these. */
vn_status vn_weight_check(vn_choice *c, const vn_path *path, const vn_prediction *prediction,
                          vn_err *err);
double vn_weight_of(const vn_choice *c, const vn_prediction *p, const vn_level *l);
/* The inputs "target" [N,..], for the (x0, eps) that made x_t, and "weight" [N]. */
vn_node *vn_loss_target(vn_loss *l);
vn_node *vn_loss_weight(vn_loss *l);
/* The mean over samples of weight times the mean of (prediction - target)^2. */
vn_node *vn_regression_loss(vn_loss *l, vn_node *prediction, vn_node *target);
/* The same with weights [N]; and, where it estimates, with those divided by e^u and u added, u what
 * the part VN_LOSS_UNCERTAINTY says of the time (EDM2's loss, 2312.02696): the minimum over u is
 * the log of what is divided. */
vn_node *vn_weighed_loss(vn_loss *l, vn_node *prediction, vn_node *target, vn_node *weight,
                         bool estimates);

/* clang-format off */
/* The noise that guidance inside is at, and the places of the two. */
#define VN_GUIDED_PARAMS \
    {VN_GUIDED_ABOVE, "guidance is where sigma/alpha is above this, and 1 elsewhere", \
     0, 0, 1e9, 0, NULL}, \
    {VN_GUIDED_UP_TO, "and not above this; 0: at any noise", 0, 0, 1e9, 0, NULL}
/* clang-format on */
enum { VN_GUIDED_LO, VN_GUIDED_HI };
/* Whether guidance by these two values is at the level. */
static inline bool vn_guided_at(const double *bound, const vn_level *l) {
    const double s = vn_level_ratio(l);
    return bound[VN_GUIDED_HI] == 0 || (s > bound[VN_GUIDED_LO] && s <= bound[VN_GUIDED_HI]);
}

/* The predictions of which consistency models are made: whose x0 is bounded at any noise, and x
 * without any. And how they are sampled. */
#define VN_CONSISTENT "v|velocity|edm"
void vn_consistency_sampled(const vn_choice *c, vn_sampled *out);

/* Whether the network answers from an inner place too. */
bool vn_loss_has_head(const vn_loss *l);

/* Places of the weights of further terms in the regressions that have them. */
enum { VN_CONTRAST = VN_WEIGHT_PARAMS, VN_HEAD, VN_DISPERSE, VN_DISPERSE_TAU, VN_UNCERTAINTY };
/* contrast.c: the term that they take away, with the inputs "other" [N,..] and "contrast" [N]. */
vn_node *vn_contrast_loss(vn_loss *l, vn_node *prediction);
/* dispersive.c: log mean exp(-|z_i - z_j|^2 / (D tau)) over all pairs of the rows of z [N,..] of D
 * numbers, a sample with itself among them (2506.09027). */
vn_node *vn_dispersive_loss(vn_graph *g, vn_node *z, double tau);
/* By a uniform u in [0,1): one of the step's samples but i, of another label if there is one.
 * labels NULL: there are none. -1: there is no other. */
int64_t vn_contrast_partner(const int32_t *labels, int64_t total, int64_t i, double u);

/* A sample's numbers in the input "bound" [N,VN_BOUND_NUMBERS]: hybrid.c says what they mean. */
enum {
    VN_BOUND_RANGE,
    VN_BOUND_GAP,
    VN_BOUND_BIN,
    VN_BOUND_LATER,
    VN_BOUND_FIRST,
    VN_BOUND_NUMBERS
};

/* What the variational bound of the reverse step from the sample's level is made of. */
void vn_bound_numbers(const vn_loss_sample *s, double number[VN_BOUND_NUMBERS]);

/* [N,1,..]: one number for each sample of something of this shape. */
vn_shape vn_sample_shape(const vn_shape *x);
/* Numbers of the samples, [N], as a factor of something shaped like x. */
vn_node *vn_per_sample(vn_graph *g, vn_node *numbers, const vn_node *x);
/* The same of number i of each in [N,K]. */
vn_node *vn_number_of(vn_graph *g, vn_node *numbers, int i, const vn_node *x);

/* The first parameters of the objectives of autoencoders, and their places. */
enum {
    VN_DISTANCE,
    VN_PERCEPTUAL,
    VN_ADVERSARIAL,
    VN_DISC_START,
    VN_DISC_ADAPTIVE,
    VN_DISC_CHANNELS,
    VN_DISC_LAYERS,
    VN_RECONSTRUCTION_PARAMS
};
/* clang-format off */
#define VN_DISCRIMINATOR_PARAMS \
    {"adversarial", "weight of a discriminator of patches; 0: there is none", \
     0, 0, 1e6, 0, NULL}, \
    {"disc_start", "with it: the step that it begins at", 2000, 0, 1e9, 1, NULL}, \
    {"disc_adaptive", "with it: its gradient at the last layer as long as the distance's", \
     1, 0, 1, 1, "no|yes"}, \
    {"disc_channels", "with it: channels of its first layer", 64, 1, 512, 1, NULL}, \
    {"disc_layers", "with it: its layers of stride 2; 0: 3, of small pictures fewer", \
     0, 0, 6, 1, NULL}
/* clang-format on */
/* adversarial.c: the row's check of these, when the discriminator begins (-1: never), and the part
 * that it is. */
vn_status vn_adversarial_check(vn_choice *c, const vn_path *path, const vn_prediction *prediction,
                               vn_err *err);
int64_t vn_adversarial_from(const vn_choice *c);
bool vn_adversarial_part(const vn_choice *c, vn_adversary *out);
/* The distance of the batch and what it is decoded to, x [N,H,W,C], and what the discriminator says
 * of x; and the loss of the discriminator. */
vn_node *vn_adversarial_loss(const vn_choice *c, vn_loss *l, vn_node *distance, vn_node *x);
vn_node *vn_discriminator_loss(vn_loss *l, vn_node *x);

/* vq-vae's parameter of the steps between revivals, where it is, and its default; and what moves
 * codes that are not used (codebook.c). */
enum { VN_REVIVE = VN_RECONSTRUCTION_PARAMS + 2, VN_REVIVE_STEPS = 100 };
extern const vn_tending vn_codebook_tending;

/* z with P(N(0,1) < z) = u, for u in (0,1). */
double vn_normal_quantile(double u);

#endif
