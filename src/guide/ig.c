/* ig.c - internal guidance (2512.24176): a network that was trained to answer from an inner place
 * too is led away from that answer, in all of its passes and so before any rule:
 *
 *     v = v_i + scale (v_f - v_i)        v_i: of the inner place, v_f: of the whole network
 *
 * Both come from one pass, so it costs none. The weights sum to 1, so that it is the same in every
 * space; the network does it on its raw answers. */
#include "guide/internal.h"

enum { SCALE, LO, HI };
static const vn_param params[] = {
    {"scale", "0: the inner answer, 1: the network's own, above: beyond it", 1.4, -1e3, 1e3, 0,
     NULL},
    {"lo", "it acts where sigma/alpha is above this", 0, 0, 1e9, 0, NULL},
    {"hi", "and not above this; 1e9: from pure noise on", 1e9, 0, 1e9, 0, NULL},
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    if (c->value[SCALE] == 1) return vn_fail(err, VN_BAD_ARGUMENT, "ig: scale=1 has no effect");
    if (c->value[LO] < c->value[HI]) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "ig: lo=%g is not below hi=%g", c->value[LO],
                   c->value[HI]);
}

static vn_perturb always(const vn_choice *c, const vn_denoiser *d, vn_condition none) {
    (void)d, (void)none;
    return (vn_perturb){.kind = VN_ANSWER_EXTRAPOLATED, .amount = c->value[SCALE]};
}

/* Pure noise has an infinite ratio, which the largest `hi` is to include. */
static bool holds(const vn_choice *c, const vn_level *level) {
    const double s = vn_level_ratio(level);
    return s > c->value[LO] && (s <= c->value[HI] || c->value[HI] >= params[HI].max);
}

const vn_guide_row vn_ig_guide = {
    .row = {"ig", "away from the answer of the network's own inner head, in all passes",
            "2512.24176", params},
    .stage = VN_GUIDE_NETWORK,
    .perturbations = VN_ANSWER_EXTRAPOLATED,
    .check = check,
    .always = always,
    .holds = holds,
};
