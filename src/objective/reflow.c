/* reflow.c - the second round of rectified flow (2209.03003): flow matching on pairs of noise and
 * the sample that the teacher's guided ODE makes of it, drawn once (api/train_reflow.c). Such
 * pairs do not cross, so the new flow is nearly straight, and few steps follow it. */
#include "objective/internal.h"
#include "objective/teacher.h"

static const vn_param params[] = {
    {VN_PAIRS_COUNT, "pairs that are drawn and kept", 20000, 2, 1e7, 1, NULL},
    {VN_PAIRS_STEPS, "of the teacher's ODE, by Heun's rule", 16, 1, 1024, 1, NULL},
    VN_TEACHER_PARAMS,
    {0},
};

static vn_node *loss(const vn_choice *c, vn_loss *l) {
    (void)c;
    vn_graph *g = l->g;
    vn_node *output = vn_loss_output(l);
    return vn_mean(g, vn_unary(g, vn_sub(g, output, vn_loss_target(l)), VN_FN_SQUARE));
}

/* The ODE begins at noise alone. */
static vn_status check(vn_choice *c, const vn_path *path, const vn_prediction *prediction,
                       vn_err *err) {
    (void)prediction;
    if (!path->steps && vn_path_level(path, 1).alpha == 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "the method %s is for paths that end in noise alone, as rectified; not for %s",
                   c->row->name, path->row->row.name);
}

static void sampled(const vn_choice *c, vn_sampled *out) {
    (void)c;
    *out = (vn_sampled){.sampler = "euler", .steps = 4, .guided = true};
}

const vn_objective_row vn_reflow_method = {
    .row = {"reflow",
            "rectified flow's second round: pairs of noise and the guided teacher's sample of it, "
            "for a straighter flow",
            "2209.03003", params},
    .predictions = "velocity",
    .check = check,
    .sampled = sampled,
    .loss = loss,
};
