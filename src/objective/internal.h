/* internal.h - what the files of objective share: the functions behind the tables' rows. */
#ifndef VN_OBJECTIVE_INTERNAL_H
#define VN_OBJECTIVE_INTERNAL_H

#include "objective/objective.h"

vn_status vn_regression_check(const vn_choice *c, vn_err *err);
double vn_regression_weight(const vn_choice *c, const vn_prediction *p, const vn_level *l);
vn_node *vn_regression_loss(vn_graph *g, const vn_loss_nodes *nodes);

double vn_uniform_quantile(const vn_choice *c, const vn_path *p, double u);
double vn_logit_normal_quantile(const vn_choice *c, const vn_path *p, double u);
double vn_log_normal_quantile(const vn_choice *c, const vn_path *p, double u);
/* z with P(N(0,1) < z) = u, for u in (0,1). */
double vn_normal_quantile(double u);

/* The rows' parameters, by their place in choice.value. */
enum { VN_WEIGHT, VN_WEIGHT_GAMMA, VN_WEIGHT_SIGMA_DATA };
enum { VN_WEIGHT_NONE, VN_WEIGHT_MIN_SNR, VN_WEIGHT_EDM };
enum { VN_TIMES_MEAN, VN_TIMES_STD, VN_TIMES_STRATIFIED };

#endif
