/* nag.c - normalized attention guidance (2505.21179): inside the network, what the image's tokens
 * take from a text by attention, z, is led away from what they take from a negative text, z-,
 *
 *     z' = z- + scale (z - z-)
 *     z' <- z' min(1, tau |z| / |z'|)        the 1-norm of each token
 *     z  <- (1 - alpha) z + alpha z'
 *
 * in each pass through the network, which sees both texts at once. So a negative text acts where
 * there is one pass alone: at guidance 1, and on networks that were distilled to guide themselves.
 * The scale is the authors' code's: 1 is no guidance, as with G.
 *
 * The negative text is `class`, or what stands for none in guidance; under that one, and under
 * none, the network is left as it is, and so is the null pass of other rules. Time and the text as
 * a whole, where a network is told of it, are those of the prompt. */
#include "guide/internal.h"

#include <limits.h>

enum { SCALE, FIRST = VN_PARAM_FIRST, LAST = VN_PARAM_LAST, TAU, ALPHA, CLASS };
static const vn_param params[] = {
    {"scale", "how far from the negative text; 1: not at all", 5, -1e3, 1e3, 0, NULL},
    {"first", "first layer changed; -1: all of them", -1, -1, 65535, 1, NULL},
    {"last", "last layer changed; -1: the first one alone", -1, -1, 65535, 1, NULL},
    {"tau", "largest growth of what a token takes", 2.5, 1, 1e30, 0, NULL},
    {"alpha", "how much of it is taken", 0.25, 0, 1, 0, NULL},
    {"class", "the negative text; without it what stands for none", VN_CONDITION_NULL, 0, 1e6,
     VN_PARAM_CONDITION, NULL},
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    if (c->value[SCALE] == 1) return vn_fail(err, VN_BAD_ARGUMENT, "nag: scale=1 has no effect");
    if (c->value[ALPHA] == 0) return vn_fail(err, VN_BAD_ARGUMENT, "nag: alpha=0 has no effect");
    if (!c->given[CLASS] && (d->perturbations & VN_ATTENTION_NORMALIZED) && !d->conditions.has_null)
        return vn_fail(
            err, VN_BAD_ARGUMENT,
            "nag: class= has to name the negative text: this model has no null condition");
    return vn_check_layers(c, d, err);
}

static vn_perturb always(const vn_choice *c, const vn_denoiser *d, vn_condition none) {
    const int first = (int)c->value[FIRST], last = (int)c->value[LAST];
    (void)d;
    return (vn_perturb){.kind = VN_ATTENTION_NORMALIZED,
                        .amount = c->value[SCALE],
                        .first = first < 0 ? 0 : first,
                        .last = first < 0  ? INT_MAX
                                : last < 0 ? first
                                           : last,
                        .limit = c->value[TAU],
                        .part = c->value[ALPHA],
                        .against = c->given[CLASS] ? (vn_condition)c->value[CLASS] : none,
                        .none = none};
}

const vn_guide_row vn_nag_guide = {
    .row = {"nag", "attention to the text led away from that to a negative text, in all passes",
            "2505.21179", params},
    .stage = VN_GUIDE_NETWORK,
    .needs = VN_NEEDS_CONDITION,
    .perturbations = VN_ATTENTION_NORMALIZED,
    .check = check,
    .always = always,
};
