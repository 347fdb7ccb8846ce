/* flow_map.h - what losses of flow maps share: a network that is told where the step ends, r,
 * learns the average velocity u(x_t, r, t) = (x_t - x_r)/(t - r), with guidance inside. */
#ifndef VN_OBJECTIVE_FLOW_MAP_H
#define VN_OBJECTIVE_FLOW_MAP_H

#include "objective/internal.h"

/* clang-format off */
/* The first four parameters of a row whose guidance is inside (vn_flow_map_guided). */
#define VN_FLOW_MAP_GUIDANCE \
    {"omega", \
     "of the velocity, the strength of guidance inside; 0: for pictures with classes what " \
     "they are sampled with, else 1", \
     0, 0, 100, 0, NULL}, \
    {"kappa", "of the network's own guided velocity; the strength is omega/(1-kappa)", 0, 0, 0.99, \
     0, NULL}, \
    VN_GUIDED_PARAMS
#define VN_FLOW_MAP_GUIDED 4
/* MeanFlow's own. */
#define VN_MEAN_FLOW_PARAMS(same) \
    {"same", "part of the samples with r = t", same, 0, 1, 0, NULL}, \
    {"p", \
     "power of the adaptive weight; -1: 0.75 for pictures, and 0 for points, whose few numbers " \
     "it would bias", \
     -1, -1, 2, 0, NULL}, \
    {"c", "added to the squared error in it", 1e-3, 0, 1e6, 0, NULL}
/* clang-format on */

/* Whether the sample has a class that the network is not told. */
static inline bool vn_loss_is_dropped(const vn_loss_sample *s) {
    return s->given != s->label;
}
/* r, evenly from 0 to t, or t: of the part `same` of the samples, and of those that are dropped. */
double vn_flow_map_end(const vn_loss_sample *s, double same);
/* The network's time there. */
float vn_flow_map_end_time(const vn_loss_sample *s, double r);
/* Refuses paths whose velocity is not finite, or whose network's time is not even in t. */
vn_status vn_flow_map_check(vn_choice *c, const vn_path *path, const vn_prediction *prediction,
                            vn_err *err);

/* The network's own velocity, u at r = t, a constant: of the batch's conditions, or of none; with
 * this strength as an input [N], or without (NULL). */
vn_node *vn_flow_map_velocity(vn_loss *l, bool conditioned, vn_node *strength);
/* The velocity of the samples with guidance inside, by the row's first four parameters. */
vn_node *vn_flow_map_guided(const vn_choice *c, vn_loss *l, vn_node *velocity);
/* du/dt along dx/dt = along, where u is the network's answer to the batch. */
vn_node *vn_flow_map_slope(vn_loss *l, vn_node *u, vn_node *along);
/* Of each sample e/(e + added)^power, with e its squared error and the denominator constant. power
 * < 0: 0.75 for pictures, 0 for points. */
vn_node *vn_flow_map_error(vn_loss *l, vn_node *u, vn_node *target, double power, double added);

#endif
