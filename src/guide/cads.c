/* cads.c - condition-annealed sampling (2310.17347): noise on the condition y while x is mostly
 * noise, which makes samples of one condition differ more, most of all under strong guidance. In
 * place of y the network is given
 *
 *     y' = sqrt(g) y + scale sqrt(1 - g) n    g = 1 for t <= from, 0 for t >= to, a line between
 *     mix (y' with the mean and deviation of y) + (1 - mix) y'
 *
 * with n ~ N(0, I) of the sample and the step. t is the path's. The null pass has no noise. It is
 * done where conditions are handed to the network (model/anneal.c). */
#include "guide/internal.h"

enum { FROM, TO, SCALE, MIX };
static const vn_param params[] = {
    {"from", "t up to which the condition is whole", 0.6, 0, 1, 0, NULL},
    {"to", "t from which it is noise alone", 0.9, 0, 1, 0, NULL},
    {"scale", "deviation of the noise", 0.25, 0, 1e3, 0, NULL},
    {"mix", "how much of the condition's own mean and deviation is kept", 1, 0, 1, 0, NULL},
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    (void)d;
    if (!(c->value[FROM] < c->value[TO]))
        return vn_fail(err, VN_BAD_ARGUMENT, "cads: from=%g is not below to=%g", c->value[FROM],
                       c->value[TO]);
    if (c->value[SCALE] == 0) return vn_fail(err, VN_BAD_ARGUMENT, "cads: scale=0 is no noise");
    return VN_OK;
}

static vn_anneal anneal(const vn_choice *c) {
    return (vn_anneal){
        .from = c->value[FROM], .to = c->value[TO], .scale = c->value[SCALE], .mix = c->value[MIX]};
}

const vn_guide_row vn_cads_guide = {
    .row = {"cads", "noise on the condition while there is much in x: samples differ more",
            "2310.17347", params},
    .stage = VN_GUIDE_NETWORK,
    .needs = VN_NEEDS_CONDITION | VN_NEEDS_ANNEAL,
    .check = check,
    .anneal = anneal,
};
