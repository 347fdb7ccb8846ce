/* pladis.c - PLADIS (2503.07677): attention weights are extrapolated from dense to sparse ones,
 *
 *     attention = dense + scale (sparse - dense)        sparse: alpha-entmax of alpha 1.5
 *
 * in every pass through the network; it costs no further passes. As in the paper, what is changed
 * is the cross-attention to a text; of a network that has self-attention only, that. Scale 2 is
 * the paper's. */
#include "guide/internal.h"

#include <limits.h>

enum { SCALE, FIRST = VN_PARAM_FIRST, LAST = VN_PARAM_LAST };
static const vn_param params[] = {
    {"scale", "0: dense, 1: sparse, above: beyond it", 2, -1e3, 1e3, 0, NULL},
    {"first", "first layer changed; -1: all of them", -1, -1, 65535, 1, NULL},
    {"last", "last layer changed; -1: the first one alone", -1, -1, 65535, 1, NULL},
    {0},
};

static vn_status check(const vn_choice *c, const vn_denoiser *d, vn_err *err) {
    if (c->value[SCALE] == 0) return vn_fail(err, VN_BAD_ARGUMENT, "pladis: scale=0 has no effect");
    return vn_check_layers(c, d, err);
}

static vn_perturb always(const vn_choice *c, const vn_denoiser *d, vn_condition none) {
    const int first = (int)c->value[FIRST], last = (int)c->value[LAST];
    (void)d;
    (void)none;
    return (vn_perturb){.kind = VN_ATTENTION_SPARSE,
                        .amount = c->value[SCALE],
                        .first = first < 0 ? 0 : first,
                        .last = first < 0  ? INT_MAX
                                : last < 0 ? first
                                           : last};
}

const vn_guide_row vn_pladis_guide = {
    .row = {"pladis", "attention moved towards, and beyond, a sparse one, in all passes",
            "2503.07677", params},
    .stage = VN_GUIDE_NETWORK,
    .perturbations = VN_ATTENTION_SPARSE,
    .check = check,
    .always = always,
};
