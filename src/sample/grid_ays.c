/* grid_ays.c - Align Your Steps (2404.14507): sigma/alpha of the ten steps that were optimised for
 * three models. For another number of steps log(sigma/alpha) of the table is interpolated linearly
 * in i/N, as in the paper. The first level is the path's own noisiest, of which the table's entry
 * is a rounding; the last level is 0 in place of the table's last entry.
 *
 * Samplers that stay on whole steps use the timesteps published with the table, on the path that
 * they were made for. */
#include "sample/internal.h"

#include <math.h>

#define KNOTS 11

enum { SD15, SDXL, SVD };
static const struct {
    double ratio[KNOTS]; /* sigma/alpha */
    int step[KNOTS];     /* of ddpm:scaled-linear, T = 1000; all 0: none */
} tables[] = {
    [SD15] = {{14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029},
              {999, 850, 736, 645, 545, 455, 343, 233, 124, 24, 0}},
    [SDXL] = {{14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029},
              {999, 845, 730, 587, 443, 310, 193, 116, 53, 13, 0}},
    [SVD] = {{700.00, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002}, {0}},
};

static const vn_param params[] = {
    {"model", "which it was optimised for", SD15, 0, 2, 1, "sd15|sdxl|svd"},
    {0},
};

static double largest_ratio(const vn_path *p) {
    vn_level l = vn_path_level(p, 1);
    return vn_level_ratio(&l);
}

/* knot = log(sigma/alpha) of the table. */
static void read_table(int model, const vn_path *p, bool whole, double knot[KNOTS]) {
    const bool has_steps = tables[model].step[0] > 0 && p->steps == tables[model].step[0] + 1 &&
                           fabs(largest_ratio(p) / tables[model].ratio[0] - 1) < 1e-3;
    for (int k = 0; k < KNOTS; k++) {
        knot[k] = log(tables[model].ratio[k]);
        if (!(whole && has_steps)) continue;
        vn_level l = vn_path_level_of_step(p, tables[model].step[k]);
        knot[k] = log(vn_level_ratio(&l));
    }
}

static vn_level level_at(const vn_path *p, bool whole, double ratio) {
    vn_level l = vn_path_level_of_ratio(p, ratio);
    return whole ? vn_path_level_of_step(p, fmax(rint(l.t * p->steps - 1), 0)) : l;
}

static vn_status fill(const vn_choice *c, const vn_path *p, vn_spacing spacing, int steps,
                      vn_level *level, vn_level *last, vn_err *err) {
    (void)last;
    const bool whole = p->steps && spacing != VN_SPACING_BETWEEN;
    double knot[KNOTS];
    read_table((int)c->value[0], p, whole, knot);
    level[0] = vn_path_level(p, 1);
    if (steps > 1 && exp(knot[1]) >= largest_ratio(p))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "ays: the table's second sigma, %g, is above the path's largest, %g",
                       exp(knot[1]), largest_ratio(p));
    for (int i = 1; i < steps; i++) {
        const double at = (double)i * (KNOTS - 1) / steps;
        const int k = (int)at;
        level[i] = level_at(p, whole, exp(knot[k] + (at - k) * (knot[k + 1] - knot[k])));
    }
    return VN_OK;
}

const vn_grid_row vn_ays_grid = {
    .row = {"ays", "levels optimised for Stable Diffusion 1.5, XL or Video", "2404.14507", params},
    .fill = fill,
};
